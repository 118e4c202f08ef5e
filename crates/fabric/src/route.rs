//! Routes as a network uses them: subnet routes, those imported from peers, and static ones.
//!
//! The longest prefix wins; of equal prefixes the network's own subnet, then a peer's, then static routes, then static
//! routes of peers. Of several static routes those whose next hop is gone are passed over, unless all are; then
//! those with the lowest priority value are left. Next hops that are instances are preferred to the default internet
//! gateway, and where there are several of them connections are spread over them.
//! Source: Google's documentation of routes, "Applicability and order" and "Behavior when instances are stopped or
//! deleted". Of several peers that have a static route to the same destination Google takes one by an order that it
//! does not tell; here it is the one whose route has the lowest priority value, then the first by name.

use crate::firewall::Targets;
use ipnet::IpNet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
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
    pub destination: IpNet,
    /// 0 for subnet routes.
    pub priority: u16,
    /// Where to.
    pub via: Via,
    /// What made it: a subnetwork, a peering or a route resource.
    pub name: String,
    /// Whose packets it routes: everybody's, or those of the interfaces that its tags stand for.
    pub targets: Targets,
}

impl Route {
    /// Whether it is there for packets of an interface, or, with `None`, for those that come by a peering.
    fn acts_on(&self, nic: Option<Ipv4Addr>) -> bool {
        nic.map_or(self.targets == Targets::All, |nic| self.targets.contains(nic))
    }
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
    /// A next hop that takes nothing: the packet is dropped.
    Blackhole(Gone),
}

impl Via {
    /// Whether the next hop takes nothing.
    pub fn is_gone(&self) -> bool {
        matches!(self, Via::Blackhole(_))
    }
}

/// Why a static route's next hop takes nothing. What is named is an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gone {
    /// Nothing in the network has the address.
    NoSuchAddress(Ipv4Addr),
    /// An instance has the address, and not as an interface's own one.
    NotPrimary(Ipv4Addr, String),
    /// The instance does not exist (any more).
    NoSuchInstance(String),
    /// The instance has no interface in the network.
    OtherNetwork(String),
    /// The instance does not run.
    Stopped(String),
    /// The instance may not forward.
    CannotForward(String),
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::NoSuchAddress(address) => write!(f, "nothing has its next hop {address}"),
            Gone::NotPrimary(address, name) => {
                write!(f, "its next hop {address} is {name}'s, and no interface's own address")
            }
            Gone::NoSuchInstance(name) => write!(f, "its next hop {name} does not exist"),
            Gone::OtherNetwork(name) => write!(f, "its next hop {name} has no interface in the network"),
            Gone::Stopped(name) => write!(f, "its next hop {name} is stopped"),
            Gone::CannotForward(name) => write!(f, "canIpForward of its next hop {name} is false"),
        }
    }
}

/// Puts routes into the order in which they win.
pub(crate) fn sort(routes: &mut [Route]) {
    routes.sort_by(|a, b| order(a).cmp(&order(b)));
}

/// Sorts more specific and stronger routes first.
fn order(route: &Route) -> (Reverse<u8>, Kind, u16, &str, IpNet) {
    (Reverse(route.destination.prefix_len()), route.kind, route.priority, &route.name, route.destination)
}

/// The routes that a packet to `destination` may take: none, one, or several with next hops among which its connection
/// is given one. `nic` is the interface that sends it; `None` stands for packets that come by a peering, which
/// routes with tags are not for.
pub fn candidates(routes: &[Route], destination: IpAddr, nic: Option<Ipv4Addr>) -> Vec<&Route> {
    let acting = || routes.iter().filter(|route| route.acts_on(nic));
    let Some(first) = acting().find(|route| route.destination.contains(&destination)) else {
        return Vec::new();
    };
    winners(acting().filter(|route| route.destination == first.destination).collect())
}

/// The same for every destination that a route has.
pub fn table(routes: &[Route], nic: Option<Ipv4Addr>) -> BTreeMap<IpNet, Vec<&Route>> {
    let mut table: BTreeMap<IpNet, Vec<&Route>> = BTreeMap::new();
    for route in routes.iter().filter(|route| route.acts_on(nic)) {
        table.entry(route.destination).or_default().push(route);
    }
    table.into_iter().map(|(destination, all)| (destination, winners(all))).collect()
}

/// Of routes to the same destination, in order, those that win.
fn winners(mut all: Vec<&Route>) -> Vec<&Route> {
    let Some(strongest) = all.first().copied() else { return all };
    all.retain(|route| route.kind == strongest.kind);
    // A destination whose next hops are all gone is not looked for by wider routes.
    let Some(best) = all.iter().copied().find(|route| !route.via.is_gone()) else {
        return vec![strongest];
    };
    let equal = all.into_iter().filter(|route| route.priority == best.priority);
    let mut hops: Vec<&Route> = equal.filter(|route| matches!(route.via, Via::Nic(_))).collect();
    hops.sort_by(|a, b| (&a.via, &a.name).cmp(&(&b.via, &b.name)));
    hops.dedup_by(|a, b| a.via == b.via);
    if hops.is_empty() { vec![best] } else { hops }
}

/// The name of the peering by which `local` names `peer`.
pub(crate) fn peering_name(world: &World, local: &NetworkKey, peer: &NetworkKey) -> String {
    let find = |p: &&peering::Peering| p.peer == *peer;
    let network = world.networks.get(local);
    network.and_then(|n| n.peerings.iter().find(find)).map(|p| p.name.clone()).unwrap_or_default()
}
