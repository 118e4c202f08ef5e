//! What a server tells the one that follows it when it is killed. The agent keeps it, and does not read it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tombolo_dataplane::{Fault, Place};
use tombolo_memorystore::Settings;
use tombolo_model::{RedisKey, World};

/// What is known of a lab that runs, and cannot be observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Whose lab it is.
    pub(crate) world: String,
    /// How often the instances that run were started, by id.
    pub(crate) booted: BTreeMap<u64, u64>,
    /// The settings that the redis-servers have.
    pub(crate) redis: BTreeMap<RedisKey, Settings>,
    /// What somebody has put in the packets' way.
    pub(crate) faults: Vec<(Place, Fault)>,
}

/// What tells a World and those that came before it from all others, and nothing of its secrets.
pub(crate) fn identity(world: &World) -> String {
    world.seed.uuid("lab")
}
