//! The kernel's state as plain data: what is wanted and what is observed have the same form.

use crate::rules::Ruleset;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A MAC address.
pub type Mac = [u8; 6];

/// Everything that is wanted: the state, and the rules that its fingerprints stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Namespaces, links, routes.
    pub state: State,
    /// The rules of each router, by namespace.
    pub rules: BTreeMap<String, Ruleset>,
}

/// Namespaces by name: a router has its network's key for a name, an endpoint its owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By name.
    pub namespaces: BTreeMap<String, Namespace>,
}

/// One network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// A router forwards and has rules; an endpoint does neither.
    pub router: bool,
    /// Ends of veth pairs, by interface name.
    pub links: BTreeMap<String, Link>,
    /// /32 addresses, by interface name.
    pub addresses: BTreeSet<(String, Ipv4Addr)>,
    /// Permanent neighbours: nothing ever asks by ARP, so nothing can lie by ARP.
    pub neighbours: BTreeSet<Neighbour>,
    /// The main table.
    pub routes: BTreeSet<Route>,
    /// The fingerprint of its rules; `None` where there are none.
    pub rules: Option<String>,
}

/// One end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its MAC address.
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
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
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: Mac,
}

/// A route of the main table, or one that was added to the local table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The destinations.
    pub destination: Ipv4Net,
    /// Where to.
    pub via: RouteVia,
}

/// Where a kernel route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteVia {
    /// Dropped, without a word: Google's silence.
    Blackhole,
    /// Out of an interface, straight to the destination.
    Link(String),
    /// Out of an interface, to a gateway that is taken to be on it (`onlink`).
    Gateway(String, Ipv4Addr),
    /// To this very namespace: the destinations are addresses of its own. In the local table.
    Local(String),
}

impl RouteVia {
    /// The interface that the route needs.
    pub fn link(&self) -> Option<&str> {
        match self {
            RouteVia::Blackhole => None,
            RouteVia::Link(link) | RouteVia::Gateway(link, _) | RouteVia::Local(link) => Some(link),
        }
    }
}
