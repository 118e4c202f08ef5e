//! Subnetworks: a network's ranges, one region each.

use crate::{
    NetworkKey, Refusal, SubnetworkKey, Timestamp, World, key, network, peering, project, range, region,
    route,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, sync::Arc};

/// A subnetwork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnetwork {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The network that it is part of.
    pub network: NetworkKey,
    /// Its primary range (`ipCidrRange`).
    pub range: Ipv4Net,
}

impl Subnetwork {
    /// Its gateway's address: the first usable one.
    pub fn gateway(&self) -> Ipv4Addr {
        range::gateway(self.range)
    }
}

/// What a user says of a new subnetwork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetworkSpec {
    /// Which subnetwork.
    pub key: SubnetworkKey,
    /// The network that it is to be part of.
    pub network: NetworkKey,
    /// Its primary range (`ipCidrRange`).
    pub range: Ipv4Net,
}

/// Creates a subnetwork after checking its name, region, range and every overlap.
pub(crate) fn insert(world: &mut World, spec: &SubnetworkSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::COMPUTE)?;
    key::check_name("name", &spec.key.name)?;
    if region::Region::find(&spec.key.region).is_none() {
        return Err(Refusal::invalid("region", &spec.key.region, "Unknown region."));
    }
    if spec.network.project != spec.key.project {
        let expected = "The network must be in the subnetwork's project.";
        return Err(Refusal::invalid("network", &spec.network, expected));
    }
    network::get_user(world, &spec.network)?;
    range::check_subnet_range("ipCidrRange", spec.range)?;
    insert_checked(world, spec.clone(), now)
}

/// Creates a subnetwork whose form is known to be good; refuses a name or range that is taken.
pub(crate) fn insert_checked(world: &mut World, spec: SubnetworkSpec, now: Timestamp) -> Result<(), Refusal> {
    if world.subnetworks.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    let conflict = ranges_of(world, &spec.network).find(|(_, have)| range::overlap(have, &spec.range));
    if let Some((existing, _)) = conflict {
        return Err(Refusal::SubnetOverlap { range: spec.range, existing: existing.clone() });
    }
    peering::check_new_range(world, &spec.network, &spec.key, spec.range)?;
    check_static_routes(world, &spec)?;
    let id = world.fresh_id();
    let subnetwork = Subnetwork { id, creation_timestamp: now, network: spec.network, range: spec.range };
    world.subnetworks.insert(spec.key, Arc::new(subnetwork));
    Ok(())
}

/// Refuses a range that a static route lies inside: one of the network, or of a peer that would import the range.
fn check_static_routes(world: &World, spec: &SubnetworkSpec) -> Result<(), Refusal> {
    let imports = |peer: &&NetworkKey| peering::imports_range(world, peer, &spec.network, spec.range);
    let peers = peering::active_peers(world, &spec.network).filter(imports);
    for network in std::iter::once(&spec.network).chain(peers) {
        if let Some((key, inside)) = route::inside(world, network, spec.range) {
            let expected =
                format!("It conflicts with the destination range '{inside}' of the route '{key}'.");
            return Err(Refusal::invalid("ipCidrRange", spec.range, expected));
        }
    }
    Ok(())
}

/// Makes a subnetwork's range larger; the new range has the old one in it.
pub(crate) fn expand(world: &mut World, key: &SubnetworkKey, to: Ipv4Net) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let present = world.subnetworks.get(key).ok_or_else(|| Refusal::not_found(key))?;
    network::get_user(world, &present.network)?;
    range::check_subnet_range("ipCidrRange", to)?;
    if !to.contains(&present.range) || to == present.range {
        let expected =
            format!("New IP range must contain the present range '{}' and be larger.", present.range);
        return Err(Refusal::invalid("ipCidrRange", to, expected));
    }
    let mut expanded = (**present).clone();
    let conflict =
        ranges_of(world, &expanded.network).find(|(other, have)| *other != key && range::overlap(have, &to));
    if let Some((existing, _)) = conflict {
        return Err(Refusal::SubnetOverlap { range: to, existing: existing.clone() });
    }
    peering::check_new_range(world, &expanded.network, key, to)?;
    let spec = SubnetworkSpec { key: key.clone(), network: expanded.network.clone(), range: to };
    check_static_routes(world, &spec)?;
    expanded.range = to;
    world.subnetworks.insert(key.clone(), Arc::new(expanded));
    Ok(())
}

/// Deletes a subnetwork that no instance uses.
pub(crate) fn delete(world: &mut World, key: &SubnetworkKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let subnetwork = world.subnetworks.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let owner = network::get_user(world, &subnetwork.network)?;
    if owner.auto_create_subnetworks {
        let expected = "Cannot delete auto subnetwork from an auto subnet mode network.";
        return Err(Refusal::invalid("subnetwork", key, expected));
    }
    let uses = |i: &crate::Instance| i.nics.iter().any(|n| n.subnetwork == *key);
    if let Some((user, _)) = world.instances.iter().find(|(_, i)| uses(i)) {
        return Err(Refusal::in_use("subnetwork", key, user));
    }
    world.subnetworks.remove(key);
    Ok(())
}

/// The network's subnetworks and their ranges.
pub(crate) fn ranges_of<'w>(
    world: &'w World,
    network: &'w NetworkKey,
) -> impl Iterator<Item = (&'w SubnetworkKey, Ipv4Net)> {
    world.subnetworks.iter().filter(move |(_, s)| s.network == *network).map(|(k, s)| (k, s.range))
}
