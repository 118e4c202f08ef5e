//! Routes as a network uses them: subnet routes, those imported from peers, and static ones.
//!
//! The longest prefix wins; of equal prefixes the network's own subnet, then a peer's, then static routes by
//! priority, then static routes of peers by priority; of equal ones the first by name (Google spreads them; see the
//! README's limits).
//! Source: Google's documentation of routes, "Applicability and order".

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use tombolo_model::{NetworkKey, World, peering};

/// What kind of route it is, the strongest first among equal prefixes. The names are Google's (networkmanagement v1,
/// `RouteInfo.routeType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// To a subnetwork of the network's own.
    Subnet,
    /// To a subnetwork of a peer.
    PeeringSubnet,
    /// A static route of the network's own; the default route is one.
    Static,
    /// A static route of a peer.
    PeeringStatic,
}

/// A route of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What kind of route it is.
    pub kind: Kind,
    /// The destinations.
    pub destination: Ipv4Net,
    /// 0 for subnet routes.
    pub priority: u16,
    /// Where to.
    pub via: Via,
    /// What made it: a subnetwork, a peering or a route resource.
    pub name: String,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// The network's own subnetwork: to the interface that has the address.
    Subnetwork,
    /// To a peer, whose own subnetworks and static routes take it from there: it never goes on to another peer.
    Peer(NetworkKey),
    /// An interface of this network whose instance forwards.
    Nic(Ipv4Addr),
    /// The default internet gateway.
    Internet,
    /// A next hop that does not exist (any more): the packet is dropped.
    Blackhole,
}

/// Puts routes into the order in which they win.
pub(crate) fn sort(routes: &mut [Route]) {
    routes.sort_by(|a, b| order(a).cmp(&order(b)));
}

/// Sorts more specific and stronger routes first.
fn order(route: &Route) -> (u8, Kind, u16, &str, Ipv4Net) {
    (32 - route.destination.prefix_len(), route.kind, route.priority, &route.name, route.destination)
}

/// The route that a packet to `destination` takes.
pub fn lookup(routes: &[Route], destination: Ipv4Addr) -> Option<&Route> {
    routes.iter().find(|route| route.destination.contains(&destination))
}

/// The name of the peering by which `local` names `peer`.
pub(crate) fn peering_name(world: &World, local: &NetworkKey, peer: &NetworkKey) -> String {
    let find = |p: &&peering::Peering| p.peer == *peer;
    let network = world.networks.get(local);
    network.and_then(|n| n.peerings.iter().find(find)).map(|p| p.name.clone()).unwrap_or_default()
}
