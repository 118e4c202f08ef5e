//! The kernel's state as plain data: what is wanted and what is observed have the same form.

use crate::rules::Ruleset;
use crate::small::{Map, Set};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A MAC address.
pub type Mac = [u8; 6];

/// Everything that is wanted: namespaces, and the rules of those that are routers.
///
/// Most changes are of one namespace among many. So what is large is shared: a copy is cheap, and what two of these share is
/// known to be the same without a look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Namespaces, links, routes.
    pub state: State,
    /// The rules of each router, by namespace.
    pub rules: BTreeMap<String, Arc<Ruleset>>,
    /// The endpoints that need not be there before somebody is in them or a packet comes for them: see [`crate::lazy`].
    #[serde(default)]
    pub lazy: Arc<BTreeSet<String>>,
}

/// What there is, in the same form. The rules are those that were loaded, unless somebody else has changed them.
pub type Observed = Desired;

/// Namespaces by name: a router has its network's key for a name, an endpoint its owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By name.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
}

/// One network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// A router forwards and has rules; an endpoint does neither.
    pub router: bool,
    /// Ends of veth pairs, by interface name.
    pub links: Map<String, Link>,
    /// Interfaces with IPv6; a new one is without. A guest's `lo` is its own affair, and not told of.
    pub ipv6: Set<String>,
    /// Addresses, each alone in its prefix (/32, /128), by interface name.
    pub addresses: Set<(String, IpAddr)>,
    /// Permanent neighbours: nothing ever asks by ARP or for IPv6 neighbours, so nothing can lie about them.
    pub neighbours: Set<Neighbour>,
    /// The main table, and what tables of our own have.
    pub routes: Set<Route>,
    /// Whose packets are looked up in a table of our own before the main one.
    pub lookups: Set<Lookup>,
}

/// One end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its MAC address.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Its group, by which rules tell links to peers from others (`ip link` has it).
    pub group: u32,
    /// Strict reverse-path filter: the kernel drops packets whose source is not routed back by this link.
    pub strict_source: bool,
    /// The other end: namespace and interface. `None` is observed of a link that nobody here made.
    pub peer: Option<(String, String)>,
}

/// A permanent entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    /// The interface.
    pub link: String,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
}

/// A route of the main table, or one that was added to the local table, or one of a table of our own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The number of a table of our own; none for the kernel's tables.
    pub table: Option<u32>,
    /// The destinations.
    pub destination: IpNet,
    /// Where to.
    pub via: RouteVia,
}

impl Route {
    /// One of the kernel's tables.
    pub fn new(destination: IpNet, via: RouteVia) -> Self {
        Self { table: None, destination, via }
    }
}

/// What comes in by an interface is looked up in a table of our own first (`ip rule`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lookup {
    /// The interface.
    pub link: String,
    /// The table.
    pub table: u32,
}

/// Where a kernel route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteVia {
    /// Dropped, without a word: Google's silence.
    Blackhole,
    /// Out of an interface, straight to the destination.
    Link(String),
    /// Out of an interface, to a gateway that is taken to be on it (`onlink`).
    Gateway(String, IpAddr),
    /// The same by several: each connection by one of them.
    Gateways(BTreeSet<(String, IpAddr)>),
    /// To be looked up in the next table.
    Throw,
    /// To this very namespace: the destinations are addresses of its own. In the local table.
    Local(String),
}

impl RouteVia {
    /// The interfaces that the route needs, all of them: it goes with any.
    pub fn links(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            RouteVia::Blackhole | RouteVia::Throw => (None, None),
            RouteVia::Link(link) | RouteVia::Gateway(link, _) | RouteVia::Local(link) => (Some(link), None),
            RouteVia::Gateways(gateways) => (None, Some(gateways)),
        };
        let several = several.into_iter().flatten().map(|(link, _)| link);
        one.into_iter().chain(several).map(String::as_str)
    }
}
