//! Routes that are resources of their own: the default route and static routes. Subnet routes and peering routes
//! follow from subnetworks and peerings, and are derived in the Fabric.

use crate::{
    InstanceKey, NetworkKey, Refusal, RouteKey, Timestamp, World, instance, key, network, peering, project,
    subnetwork,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{net::Ipv4Addr, sync::Arc};

/// Where a route sends packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NextHop {
    /// `global/gateways/default-internet-gateway`.
    InternetGateway,
    /// An instance, which must have `canIpForward`.
    Instance(InstanceKey),
    /// The instance that has this address in the route's network.
    Address(Ipv4Addr),
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// Free text.
    pub description: String,
    /// The network whose packets it routes.
    pub network: NetworkKey,
    /// The destinations.
    pub dest_range: Ipv4Net,
    /// Of equally specific routes the one with the lowest value wins.
    pub priority: u16,
    /// Where to.
    pub next_hop: NextHop,
    /// Of which instances' packets: those with one of these tags; of everybody's when empty.
    #[serde(default)]
    pub tags: BTreeSet<String>,
}

impl Route {
    /// Whether peers may take it: never a route to the default internet gateway, nor one with tags.
    /// Source: Google's documentation of VPC Network Peering, "Options for exchanging static routes".
    pub fn crosses_peerings(&self) -> bool {
        self.next_hop != NextHop::InternetGateway && self.tags.is_empty()
    }
}

/// What a user says of a new static route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// Which route.
    pub key: RouteKey,
    /// See [`Route`].
    pub network: NetworkKey,
    /// See [`Route`].
    pub dest_range: Ipv4Net,
    /// See [`Route`]; 1000 by default.
    pub priority: u16,
    /// See [`Route`].
    pub next_hop: NextHop,
    /// See [`Route`].
    #[serde(default)]
    pub tags: BTreeSet<String>,
}

/// Creates a static route.
pub(crate) fn insert(world: &mut World, spec: &RouteSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::COMPUTE)?;
    key::check_name("name", &spec.key.name)?;
    if spec.network.project != spec.key.project {
        return Err(Refusal::invalid(
            "network",
            &spec.network,
            "The network must be in the route's project.",
        ));
    }
    network::get_user(world, &spec.network)?;
    if world.routes.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    instance::check_tags("tags", &spec.tags)?;
    check_range(world, spec)?;
    check_next_hop(world, spec)?;
    let route = Route {
        id: world.fresh_id(),
        creation_timestamp: now,
        description: String::new(),
        network: spec.network.clone(),
        dest_range: spec.dest_range,
        priority: spec.priority,
        next_hop: spec.next_hop.clone(),
        tags: spec.tags.clone(),
    };
    world.routes.insert(spec.key.clone(), Arc::new(route));
    Ok(())
}

/// A static route's range may not equal or fit inside a subnet route, local or imported.
fn check_range(world: &World, spec: &RouteSpec) -> Result<(), Refusal> {
    let range = spec.dest_range;
    if range.addr() != range.network() {
        let expected = format!("Must be a CIDR range with no host bits set, such as '{}'.", range.trunc());
        return Err(Refusal::invalid("destRange", range, expected));
    }
    let within = |have: Ipv4Net, whose: &str| {
        let expected = format!("The destination range must not be within the range '{have}' {whose}.");
        Err(Refusal::invalid("destRange", range, expected))
    };
    if let Some((key, have)) = subnetwork::ranges_of(world, &spec.network).find(|(_, r)| r.contains(&range)) {
        return within(have, &format!("of '{key}'"));
    }
    for peer in peering::active_peers(world, &spec.network) {
        let mut imported = peering::imported_ranges(world, &spec.network, peer);
        if let Some((_, have)) = imported.find(|(_, r)| r.contains(&range)) {
            return within(have, &format!("that a peering with '{peer}' imports"));
        }
    }
    Ok(())
}

/// The first static route of `network` that a subnet route to `range` would take packets from: Google refuses a
/// subnet route, local or imported, that a static route equals or lies inside.
/// Source: Google's documentation of routes, "Interactions with static routes".
pub(crate) fn inside<'w>(
    world: &'w World,
    network: &NetworkKey,
    range: Ipv4Net,
) -> Option<(&'w RouteKey, Ipv4Net)> {
    let found = world.routes.iter().find(|(_, r)| r.network == *network && range.contains(&r.dest_range));
    found.map(|(key, route)| (key, route.dest_range))
}

/// The next hop must be an instance of the network that can forward, or an address inside the network.
fn check_next_hop(world: &World, spec: &RouteSpec) -> Result<(), Refusal> {
    match &spec.next_hop {
        NextHop::InternetGateway => Ok(()),
        NextHop::Instance(key) => {
            let expected =
                "The next hop must be an instance with canIpForward and an interface in the route's network.";
            let good = world
                .instances
                .get(key)
                .is_some_and(|i| i.can_ip_forward && i.nics.iter().any(|n| n.network == spec.network));
            if good { Ok(()) } else { Err(Refusal::invalid("nextHopInstance", key, expected)) }
        }
        NextHop::Address(address) => {
            let inside = subnetwork::ranges_of(world, &spec.network).any(|(_, r)| r.contains(address));
            let expected = "The address must be within a subnetwork of the route's network.";
            if inside { Ok(()) } else { Err(Refusal::invalid("nextHopIp", address, expected)) }
        }
    }
}

/// Deletes a route; the default route may go too.
pub(crate) fn delete(world: &mut World, key: &RouteKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.routes.remove(key).map(drop).ok_or_else(|| Refusal::not_found(key))
}
