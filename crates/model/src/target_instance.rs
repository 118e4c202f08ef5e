//! Target instances: what forwarding rules call the instance that their packets go to.
//!
//! Source: Google's documentation of protocol forwarding. An instance that is gone leaves its target instance, which leads
//! nowhere then.

use crate::{
    InstanceKey, NetworkKey, Refusal, TargetInstanceKey, Timestamp, World, forwarding_rule, key, project,
    region,
};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A target instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetInstance {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The instance, of the same project and zone.
    pub instance: InstanceKey,
    /// The network whose interface of the instance gets the packets.
    pub network: NetworkKey,
    /// Whether the network was said; otherwise it is that of `nic0`.
    pub network_said: bool,
}

/// What a user says of a new target instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetInstanceSpec {
    /// Which target instance.
    pub key: TargetInstanceKey,
    /// The instance.
    pub instance: InstanceKey,
    /// The network of the interface that gets the packets; that of `nic0` when not said.
    pub network: Option<NetworkKey>,
}

/// Creates a target instance.
pub(crate) fn insert(world: &mut World, spec: &TargetInstanceSpec, now: Timestamp) -> Result<(), Refusal> {
    let key = &spec.key;
    project::require(world, &key.project, project::COMPUTE)?;
    key::check_name("name", &key.name)?;
    if region::Region::of_zone(&key.zone).is_none() {
        return Err(Refusal::invalid("zone", &key.zone, "Unknown zone."));
    }
    if world.target_instances.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    if (&spec.instance.project, &spec.instance.zone) != (&key.project, &key.zone) {
        let expected = "The instance must be in the target instance's project and zone.";
        return Err(Refusal::invalid("instance", &spec.instance, expected));
    }
    let instance = world.instances.get(&spec.instance).ok_or_else(|| Refusal::not_found(&spec.instance))?;
    let network = match &spec.network {
        None => instance.nics.first().map(|nic| nic.network.clone()),
        Some(network) => instance.nics.iter().map(|nic| &nic.network).find(|at| *at == network).cloned(),
    };
    let expected = "The instance has no network interface in that network.";
    let said = spec.network.as_ref().map(ToString::to_string).unwrap_or_default();
    let network = network.ok_or_else(|| Refusal::invalid("network", said, expected))?;
    let target = TargetInstance {
        id: world.fresh_id(),
        creation_timestamp: now,
        instance: spec.instance.clone(),
        network,
        network_said: spec.network.is_some(),
    };
    world.target_instances.insert(key.clone(), Arc::new(target));
    Ok(())
}

/// Deletes a target instance that no forwarding rule leads to.
pub(crate) fn delete(world: &mut World, key: &TargetInstanceKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    if !world.target_instances.contains_key(key) {
        return Err(Refusal::not_found(key));
    }
    if let Some(user) = forwarding_rule::user_of_target(world, key) {
        return Err(Refusal::in_use("target_instance", key, user));
    }
    world.target_instances.remove(key);
    Ok(())
}

/// The address of the interface that gets the packets, as long as its instance is there.
pub fn nic_of(world: &World, target: &TargetInstance) -> Option<Ipv4Addr> {
    let nics = &world.instances.get(&target.instance)?.nics;
    nics.iter().find(|nic| nic.network == target.network).map(|nic| nic.address)
}
