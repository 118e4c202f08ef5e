//! What is said of resources and no packet depends on: descriptions, labels, disks' sizes, schedules.
//!
//! It is kept beside the resources, by path, as the API was told it: so that what the packets depend on stays small,
//! and nothing that a user said is lost. It goes with its resource.

use crate::{Refusal, World};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields by their names on the wire.
pub type Details = BTreeMap<String, Value>;

/// Replaces what is said of a resource.
pub(crate) fn describe(world: &mut World, resource: &str, details: &Details) -> Result<(), Refusal> {
    if world.id_of(resource).is_none() {
        return Err(Refusal::not_found(resource));
    }
    if details.is_empty() {
        world.details.remove(resource);
    } else {
        world.details.insert(resource.to_owned(), Arc::new(details.clone()));
    }
    Ok(())
}

/// Forgets what was said of resources that are gone.
pub(crate) fn sweep(world: &mut World) {
    let gone: Vec<String> =
        world.details.keys().filter(|path| world.id_of(path).is_none()).cloned().collect();
    gone.iter().for_each(|path| drop(world.details.remove(path)));
}
