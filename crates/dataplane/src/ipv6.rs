//! What a router has for IPv6, where its network has it. IPv4's rules are as they are without it. Pure.
//!
//! ```text
//!   arrival-hook: to fe80::/10: drop    nobody has such an address, and the kernel would answer for them
//!   forward-hook: IPv6: goto forward-6
//!   forward-6: by its interface: s6-LINK     a source that is not to be behind it: drop (the kernel has no such filter)
//!              gates-6:
//!   gates-6:   established: accept    invalid, neighbour discovery: drop    related: goto gate-errors-6
//!              from a peering: goto gate-in-6
//!              from an interface: its egress chain for IPv6
//!   gate-in-6: udp:546: drop            nobody but Google's own server makes offers to DHCPv6 clients
//!              to an interface: its ingress chain for IPv6; to a peering: accept
//! ```
//! Chains of gates have rules of one version of IP only, and a rule's counter is the same in both.

use crate::rules::{GATE_IN_6, Side, ends, intervals6, peering, rule};
use crate::table::{self, Family, Intervals, Match, Table, Verdict, Way};
use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use tombolo_fabric::DHCP_V6_CLIENT;

/// Addresses that are of use on one link only (RFC 4291, 2.5.6).
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// What guests call their router, and routers each other: the same on every link, since a permanent neighbour answers for it.
pub(crate) const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What routers call their guests, who need not know it.
pub(crate) const GUEST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// The rules of one router for IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Rules {
    /// By interface, the sources that packets by it may have. By others (of instances that forward) they may have any.
    pub sources: BTreeMap<String, BTreeSet<Ipv6Net>>,
    /// Interfaces by which only errors about their own connections come, and the addresses that these may have there.
    pub ends_of: BTreeMap<String, BTreeSet<Ipv6Net>>,
    /// The egress chain of each interface of an endpoint.
    pub egress_of: BTreeMap<String, String>,
    /// The ingress chain of each interface of an endpoint.
    pub ingress_of: BTreeMap<String, String>,
}

impl Ipv6Rules {
    /// Whether no interface has IPv6.
    pub fn is_empty(&self) -> bool {
        self.egress_of.is_empty()
    }

    /// Adds them to a router's table, and the rule that leads to them.
    pub(crate) fn add_to(&self, table: &mut Table) -> table::Rule {
        let named = |links: &BTreeMap<String, BTreeSet<Ipv6Net>>, name: fn(&str) -> String| {
            Arc::new(links.keys().map(|link| (link.clone(), name(link))).collect())
        };
        table.maps.insert("sources-6".into(), named(&self.sources, source_chain));
        table.maps.insert("errors-6".into(), named(&self.ends_of, ends_chain));
        table.maps.insert("egress-6".into(), Arc::new(self.egress_of.clone()));
        table.maps.insert("ingress-6".into(), Arc::new(self.ingress_of.clone()));
        let dhcp = Intervals::new([(DHCP_V6_CLIENT.into(), DHCP_V6_CLIENT.into())]);
        let to_gates = || Verdict::Goto(GATES.into());
        let by_link = |way, map: &str| rule([], Verdict::ByLink(way, map.into()));
        let mut add = |name: &str, rules| table.add(name, None, rules);
        add(FORWARD, vec![by_link(Way::In, "sources-6"), rule([], to_gates())]);
        for (link, own) in &self.sources {
            let is_own = Match::Address(Family::V6, Side::Source, intervals6(own));
            add(&source_chain(link), vec![rule([is_own], to_gates()), rule([], Verdict::Drop)]);
        }
        let gates = vec![
            rule([Match::Established], Verdict::Accept),
            rule([], Verdict::ByState(Some(ERRORS.into()))),
            rule([peering(Way::In)], Verdict::Goto(GATE_IN_6.into())),
            by_link(Way::In, "egress-6"),
            rule([], Verdict::Drop),
        ];
        add(GATES, gates);
        let gate_in = vec![
            rule([Match::Protocol(17), Match::Port(dhcp)], Verdict::Drop),
            by_link(Way::Out, "ingress-6"),
            rule([peering(Way::Out)], Verdict::Accept),
            rule([], Verdict::Drop),
        ];
        add(GATE_IN_6, gate_in);
        add(ERRORS, vec![by_link(Way::In, "errors-6"), rule([], Verdict::Accept)]);
        for (link, own) in &self.ends_of {
            add(&ends_chain(link), ends(Family::V6, intervals6(own)));
        }
        rule([Match::Family(Family::V6)], Verdict::Goto(FORWARD.into()))
    }
}

/// Drops what is for addresses on a link.
pub(crate) fn on_no_link() -> table::Rule {
    let link_local = Match::Address(Family::V6, Side::Destination, intervals6(&[LINK_LOCAL].into()));
    rule([link_local], Verdict::Drop)
}

const FORWARD: &str = "forward-6";
const GATES: &str = "gates-6";
const ERRORS: &str = "gate-errors-6";

/// The name of the chain of an interface by which not every source comes.
fn source_chain(link: &str) -> String {
    format!("s6-{link}")
}

/// The name of the chain of an interface with errors about its own connections.
fn ends_chain(link: &str) -> String {
    format!("r6-{link}")
}
