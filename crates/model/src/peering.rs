//! VPC Network Peering: each network says it for itself, and it is ACTIVE only when both do.
//!
//! Peering is **not transitive**: nothing here, nor in anything that reads a World, ever follows two peerings.
//! The one place that looks two peerings far is the overlap check, as Google's does: a network imports the
//! subnet routes of all its active peers, so the ranges of any two of them must be disjoint too.

use crate::{
    NetworkKey, Refusal, SubnetworkKey, Timestamp, World, key, network, project, range, route, subnetwork,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Google's limit of peerings per network.
pub const MAX_PEERINGS: usize = 25;

/// One network's side of a peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peering {
    /// Its name, unique in the network.
    pub name: String,
    /// The network on the other side, which need not exist.
    pub peer: NetworkKey,
    /// When the state was last seen to change: what `stateDetails` shows.
    pub state_since: Timestamp,
}

/// A peering's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PeeringState {
    /// Both networks name each other: subnet routes are exchanged.
    Active,
    /// The other side does not name this one (yet): nothing passes.
    Inactive,
}

impl PeeringState {
    /// Google's `stateDetails`.
    pub fn details(self, since: Timestamp) -> String {
        match self {
            Self::Active => format!("[{since}]: Connected."),
            Self::Inactive => format!("[{since}]: Waiting for peer network to connect."),
        }
    }

    /// Google's word for it.
    pub fn as_str(self) -> &'static str {
        if self == Self::Active { "ACTIVE" } else { "INACTIVE" }
    }
}

/// What a user says of a new peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeeringSpec {
    /// The local network.
    pub network: NetworkKey,
    /// The peering's name, unique in the local network.
    pub name: String,
    /// The network on the other side, which need not exist.
    pub peer: NetworkKey,
}

/// Adds a peering to a network.
pub(crate) fn add(world: &mut World, spec: &PeeringSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.network.project, project::COMPUTE)?;
    key::check_name("networkPeering.name", &spec.name)?;
    let local = network::get_user(world, &spec.network)?;
    if spec.peer == spec.network {
        return Err(Refusal::invalid(
            "networkPeering.network",
            &spec.peer,
            "A network cannot peer with itself.",
        ));
    }
    if world.networks.get(&spec.peer).is_some_and(|n| n.google_managed) {
        // No user can peer a managed service's network, nor learn that it exists.
        return Err(Refusal::not_found(&spec.peer));
    }
    if local.peerings.iter().any(|p| p.name == spec.name) {
        return Err(Refusal::already_exists(format!("{}/peerings/{}", spec.network, spec.name)));
    }
    if let Some(twin) = local.peerings.iter().find(|p| p.peer == spec.peer) {
        let expected = format!("The network is already peered with it by '{}'.", twin.name);
        return Err(Refusal::invalid("networkPeering.network", &spec.peer, expected));
    }
    if local.peerings.len() >= MAX_PEERINGS {
        return Err(Refusal::QuotaExceeded { quota: "PEERINGS_PER_NETWORK", limit: MAX_PEERINGS });
    }
    check_peers(world, &spec.network, &spec.peer)?;
    check_static_routes(world, spec)?;
    link(world, spec, now);
    Ok(())
}

/// Adds a peering without asking; both ends note the moment if it became active.
pub(crate) fn link(world: &mut World, spec: &PeeringSpec, now: Timestamp) {
    let peering = Peering { name: spec.name.clone(), peer: spec.peer.clone(), state_since: now };
    edit(world, &spec.network, |peerings| peerings.push(peering));
    touch(world, &spec.peer, &spec.network, now);
}

/// Removes a peering; the other side, if it stays, becomes INACTIVE.
pub(crate) fn remove(
    world: &mut World,
    local: &NetworkKey,
    name: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    project::require(world, &local.project, project::COMPUTE)?;
    let network = network::get_user(world, local)?;
    let Some(peering) = network.peerings.iter().find(|p| p.name == name).cloned() else {
        let expected = "There is no peering with that name on the network.";
        return Err(Refusal::invalid("name", name, expected));
    };
    edit(world, local, |peerings| peerings.retain(|p| p.name != name));
    touch(world, &peering.peer, local, now);
    Ok(())
}

/// Notes that the state of `at`'s peering with `other` changed at `now`.
fn touch(world: &mut World, at: &NetworkKey, other: &NetworkKey, now: Timestamp) {
    if world.networks.contains_key(at) {
        edit(world, at, |peerings| {
            peerings.iter_mut().filter(|p| p.peer == *other).for_each(|p| p.state_since = now);
        });
    }
}

/// Edits the peerings of a network that exists.
pub(crate) fn edit(world: &mut World, key: &NetworkKey, change: impl FnOnce(&mut Vec<Peering>)) {
    if let Some(network) = world.networks.get_mut(key) {
        change(&mut Arc::make_mut(network).peerings);
    }
}

/// The state of `local`'s peering with `peer`, given that `local` names `peer`.
pub(crate) fn state(world: &World, local: &NetworkKey, peer: &NetworkKey) -> PeeringState {
    let names = |network: &NetworkKey, other: &NetworkKey| {
        world.networks.get(network).is_some_and(|n| n.peerings.iter().any(|p| p.peer == *other))
    };
    if names(peer, local) && names(local, peer) { PeeringState::Active } else { PeeringState::Inactive }
}

/// The networks that `network` exchanges routes with.
pub(crate) fn active_peers<'w>(
    world: &'w World,
    network: &'w NetworkKey,
) -> impl Iterator<Item = &'w NetworkKey> {
    let peerings = world.networks.get(network).map(|n| n.peerings.as_slice()).unwrap_or_default();
    peerings.iter().map(|p| &p.peer).filter(move |peer| state(world, network, peer) == PeeringState::Active)
}

/// Refuses peers whose ranges overlap, directly or with an active peer of either.
fn check_peers(world: &World, local: &NetworkKey, peer: &NetworkKey) -> Result<(), Refusal> {
    for (resource, local_range) in subnetwork::ranges_of(world, local) {
        check_range(world, local_range, resource, peer, local)?;
    }
    // The mirror image: what the local network imports already must not clash with the new peer's ranges.
    for far in active_peers(world, local).filter(|far| *far != peer) {
        if let Some((resource, local_range, far_range)) = clash(world, peer, far) {
            return Err(Refusal::PeerOfPeerOverlap { local_range, resource, far_range });
        }
    }
    Ok(())
}

/// Refuses to activate a peering by which either network would import a range that a static route of its own lies
/// inside.
fn check_static_routes(world: &World, spec: &PeeringSpec) -> Result<(), Refusal> {
    let Some(peer) = world.networks.get(&spec.peer) else { return Ok(()) };
    if !peer.peerings.iter().any(|p| p.peer == spec.network) {
        return Ok(()); // it stays INACTIVE: nothing is imported yet
    }
    for (importer, exporter) in [(&spec.network, &spec.peer), (&spec.peer, &spec.network)] {
        for range in exported(world, exporter) {
            if let Some((key, inside)) = route::inside(world, importer, range) {
                let expected = format!(
                    "The destination range '{inside}' of the route '{key}' is within the range '{range}' that \
                     '{importer}' would import."
                );
                return Err(Refusal::invalid("networkPeering.network", &spec.peer, expected));
            }
        }
    }
    Ok(())
}

/// The ranges that the peers of `network` import: the private ones. Privately used public ranges are exported by
/// default too, but by default no peer imports them.
pub(crate) fn exported<'w>(
    world: &'w World,
    network: &'w NetworkKey,
) -> impl Iterator<Item = Ipv4Net> + use<'w> {
    subnetwork::ranges_of(world, network).map(|(_, r)| r).filter(|r| range::is_private(r.network()))
}

/// Refuses a new range of `network` that would overlap what its active peers, or theirs, have.
pub(crate) fn check_new_range(
    world: &World,
    network: &NetworkKey,
    resource: &SubnetworkKey,
    new: Ipv4Net,
) -> Result<(), Refusal> {
    active_peers(world, network).try_for_each(|peer| check_range(world, new, resource, peer, network))
}

/// Refuses `local_range` if it overlaps a range of `peer`, or of an active peer of `peer` other than `local`.
fn check_range(
    world: &World,
    local_range: Ipv4Net,
    resource: &SubnetworkKey,
    peer: &NetworkKey,
    local: &NetworkKey,
) -> Result<(), Refusal> {
    let hit = |network| {
        subnetwork::ranges_of(world, network).map(|(_, r)| r).find(|r| range::overlap(r, &local_range))
    };
    if let Some(peer_range) = hit(peer) {
        return Err(Refusal::PeerOverlap { peer_range, local_range, resource: resource.clone() });
    }
    for far in active_peers(world, peer).filter(|far| *far != local) {
        if let Some(far_range) = hit(far) {
            return Err(Refusal::PeerOfPeerOverlap { local_range, resource: resource.clone(), far_range });
        }
    }
    Ok(())
}

/// The first overlap between two networks' ranges.
fn clash(world: &World, a: &NetworkKey, b: &NetworkKey) -> Option<(SubnetworkKey, Ipv4Net, Ipv4Net)> {
    subnetwork::ranges_of(world, a).find_map(|(key, ra)| {
        let rb = subnetwork::ranges_of(world, b).map(|(_, r)| r).find(|rb| range::overlap(&ra, rb))?;
        Some((key.clone(), ra, rb))
    })
}
