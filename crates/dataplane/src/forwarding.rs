//! Forwarding rules and Private Service Connect, as the kernel has them. Pure.
//!
//! An interface has a forwarding rule's address as it has an alias; the rules let in only what the forwarding rule takes.
//! Between an endpoint's network and that of its service is a link, one for each endpoint:
//!
//! ```text
//!   vpc-1 (router)                                        vpc-2 (router)
//!   10.1.0.9 by qXXXXXXXX ──────────veth────────── sXXXXXXXX   from there: 10.1.0.9 becomes 10.2.0.9
//!   what leaves by it is from 10.3.0.2                     10.3.0.2 by sXXXXXXXX
//! ```
//!
//! So neither router ever sees an address of the other's, and the networks may overlap.

use crate::render::{PEER_GATEWAY, hex, link_of, mac_named, peering_link};
use crate::rules::{GATE_IN, INTERNET, Side, group_of, one, peering, rule};
use crate::state::{Link, Namespace, Neighbour, Route, RouteVia};
use crate::table::{Family, Hook, Intervals, Match, Rule, Table, Verdict, Way};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tombolo_fabric::{Fabric, Network, Published, To};
use tombolo_model::{L4, NetworkKey, Protocol};

/// How the names of links to published services begin.
const ENDPOINT: &str = "q";
/// How the names of links from endpoints begin, at the service's side.
const SERVICE: &str = "s";

/// What a router knows of forwarding rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// The rules that lead to interfaces of the network: by address, the interface's link, and which packets.
    pub rules: BTreeMap<Ipv4Addr, (String, L4)>,
    /// The regions of interfaces that may not use every rule, by link.
    pub regions: BTreeMap<String, String>,
    /// By region: by which links the addresses are that interfaces there may not use.
    pub closed: BTreeMap<String, BTreeSet<(String, Ipv4Addr)>>,
    /// By link to a published service: what those become who leave by it.
    pub endpoints: BTreeMap<String, Ipv4Addr>,
    /// By link from an endpoint: the endpoint's address, and the one of the service's own rule.
    pub services: BTreeMap<String, (Ipv4Addr, Ipv4Addr)>,
}

/// The name of an endpoint's link, on both sides but for the first letter.
fn link(first: &str, network: &NetworkKey, endpoint: Ipv4Addr) -> String {
    format!("{first}{}", hex(format!("{network} {endpoint}").as_bytes(), 6))
}

/// What the routers of networks are to know, those that are to know anything.
pub(crate) fn of_routers(fabric: &Fabric) -> BTreeMap<NetworkKey, Forwarding> {
    if fabric.networks.values().all(|network| network.forwarding.is_empty()) {
        return BTreeMap::new();
    }
    let published: Vec<_> = fabric.published().collect();
    let of =
        |(key, network): (&NetworkKey, &Network)| (key.clone(), of_router(fabric, &published, key, network));
    fabric.networks.iter().map(of).collect()
}

/// What the router of a network is to know.
fn of_router(
    fabric: &Fabric,
    published: &[(&NetworkKey, Ipv4Addr, &Published)],
    key: &NetworkKey,
    network: &Network,
) -> Forwarding {
    let mut forwarding = Forwarding::default();
    for (address, found) in &network.forwarding {
        if let To::Nic { address: nic, takes } = &found.to
            && let Some(nic) = network.nics.get(nic)
        {
            forwarding.rules.insert(*address, (link_of(nic), takes.clone()));
        }
    }
    for (at, address, service) in published.iter().copied() {
        if at == key {
            forwarding.endpoints.insert(link(ENDPOINT, at, address), service.nat);
        }
        if service.network == *key {
            forwarding.services.insert(link(SERVICE, at, address), (address, service.address));
        }
    }
    for nic in network.nics.values().filter(|nic| !nic.region.is_empty()) {
        let region = &nic.region;
        if !forwarding.closed.contains_key(region) {
            forwarding.closed.insert(region.clone(), closed(fabric, key, network, region));
        }
        if !forwarding.closed[region].is_empty() {
            forwarding.regions.insert(link_of(nic), region.clone());
        }
    }
    forwarding.closed.retain(|_, closed| !closed.is_empty());
    forwarding
}

/// The addresses that are near to a network, and not for a region of it.
fn closed(
    fabric: &Fabric,
    key: &NetworkKey,
    network: &Network,
    region: &str,
) -> BTreeSet<(String, Ipv4Addr)> {
    let own = network.forwarding.iter().filter_map(|(address, found)| {
        let by = match &found.to {
            To::Nic { address: nic, .. } => link_of(network.nics.get(nic)?),
            To::Service(_) => link(ENDPOINT, key, *address),
            To::Nobody { .. } | To::NotAccepted(_) => return None,
        };
        (!fabric.is_for(found, region)).then_some((by, *address))
    });
    let peers = network.peers.iter().filter_map(|peer| Some((peer, fabric.networks.get(peer)?)));
    let theirs = peers.flat_map(|(peer, other)| {
        let shut = other
            .forwarding
            .iter()
            .filter(|(_, found)| matches!(found.to, To::Nic { .. }) && !fabric.is_for(found, region));
        shut.map(|(address, _)| (peering_link(peer), *address))
    });
    own.chain(theirs).collect()
}

/// Adds the links between endpoints' networks and those of their services, and the ways by them.
pub(crate) fn add_links(namespaces: &mut BTreeMap<String, Namespace>, fabric: &Fabric) {
    for (key, address, service) in fabric.published() {
        let Some((here, there)) = fabric.networks.get(key).zip(fabric.networks.get(&service.network)) else {
            continue;
        };
        let [near, far] = [ENDPOINT, SERVICE].map(|first| link(first, key, address));
        let mtu = here.mtu.min(there.mtu).into();
        let ends = [
            (key, &near, &service.network, &far, address),
            (&service.network, &far, key, &near, service.nat),
        ];
        for (router, link, peer, other, by) in ends {
            let router = namespaces.entry(router.to_string()).or_default();
            let peer = Some((peer.to_string(), other.clone()));
            router.links.insert(
                link.clone(),
                Link { mac: mac_named(link), mtu, group: group_of(link), strict_source: true, peer },
            );
            let neighbour =
                Neighbour { link: link.clone(), address: PEER_GATEWAY.into(), mac: mac_named(other) };
            router.neighbours.insert(neighbour);
            let via = RouteVia::Gateway(link.clone(), PEER_GATEWAY.into());
            router.routes.insert(Route::new(Ipv4Net::from(by).into(), via));
        }
    }
}

impl Forwarding {
    /// Adds what the table has for forwarding rules; `gate` is the receiver's gate so far.
    pub(crate) fn add(&self, table: &mut Table, gate: &mut Vec<Rule>) {
        // What is for nobody who asks like this has gone before; the last rule drops the rest.
        let first = 1;
        for (address, (link, takes)) in &self.rules {
            if takes.protocol == Protocol::All {
                continue;
            }
            let chain = format!("f-{:08x}", u32::from(*address));
            let to = [Match::Link(Way::Out, link.clone()), is(Side::Destination, *address)];
            gate.insert(first, rule(to, Verdict::Goto(chain.clone())));
            table.add(chain, None, taken(takes));
        }
        if !self.endpoints.is_empty() {
            let last = gate.len() - 1;
            gate.insert(last, rule([prefix(Way::Out, ENDPOINT)], Verdict::Accept));
        }
        if !self.closed.is_empty() {
            self.add_regions(table, gate);
        }
        self.add_nat(table);
    }

    /// Puts before the gate what interfaces in certain regions may not use.
    fn add_regions(&self, table: &mut Table, gate: &mut Vec<Rule>) {
        const REST: &str = "gate-rest";
        let chain = |region: &str| format!("g-{region}");
        let map = self.regions.iter().map(|(link, region)| (link.clone(), chain(region))).collect();
        table.maps.insert("regions".into(), Arc::new(map));
        for (region, closed) in &self.closed {
            let shut = |(link, address): &(String, Ipv4Addr)| {
                rule([Match::Link(Way::Out, link.clone()), is(Side::Destination, *address)], Verdict::Drop)
            };
            let rest = rule([], Verdict::Goto(REST.into()));
            let rules = closed.iter().map(shut).chain([rest]).collect();
            table.add(chain(region), None, rules);
        }
        table.add(REST, None, std::mem::take(gate));
        gate.push(rule([], Verdict::ByLink(Way::In, "regions".into())));
        gate.push(rule([], Verdict::Goto(REST.into())));
    }

    /// Adds what makes others of endpoints' clients, and of endpoints' addresses.
    fn add_nat(&self, table: &mut Table) {
        if !self.endpoints.is_empty() {
            let out = |(link, nat): (&String, &Ipv4Addr)| {
                rule([Match::Link(Way::Out, link.clone())], Verdict::NatTo(*nat))
            };
            table.add("psc-out", Some(Hook::Postrouting), self.endpoints.iter().map(out).collect());
        }
        if !self.services.is_empty() {
            let map = |link: &String| format!("to-{link}");
            for (link, (endpoint, address)) in &self.services {
                table.addresses.insert(map(link), [(*endpoint, *address)].into());
            }
            let into = |link: &String| {
                let nat = Verdict::Nat(Side::Destination, map(link));
                rule([Match::Link(Way::In, link.clone())], nat)
            };
            let nothing_else = rule([prefix(Way::In, SERVICE)], Verdict::Drop);
            let rules = self.services.keys().map(into).chain([nothing_else]).collect();
            table.add("psc-in", Some(Hook::Prerouting), rules);
        }
    }

    /// What never passes, whatever it belongs to.
    pub(crate) fn boundaries(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        let internet = |way| Match::Link(way, INTERNET.into());
        let mut between = |first: &str| {
            for others in [peering, internet] {
                rules.push(rule([others(Way::In), prefix(Way::Out, first)], Verdict::Drop));
                rules.push(rule([prefix(Way::In, first), others(Way::Out)], Verdict::Drop));
            }
        };
        if !self.endpoints.is_empty() {
            between(ENDPOINT);
        }
        if !self.services.is_empty() {
            between(SERVICE);
            rules.push(rule([prefix(Way::In, SERVICE), prefix(Way::Out, ENDPOINT)], Verdict::Drop));
            rules.push(rule([prefix(Way::In, ENDPOINT), prefix(Way::Out, SERVICE)], Verdict::Drop));
        }
        rules
    }

    /// Where new packets come in without a gate of their own: from endpoints, whose clients had theirs.
    pub(crate) fn entrances(&self) -> Option<Rule> {
        let there = !self.services.is_empty();
        there.then(|| rule([prefix(Way::In, SERVICE)], Verdict::Goto(GATE_IN.into())))
    }
}

/// Lets on to the interface's own gate what a rule takes.
fn taken(takes: &L4) -> Vec<Rule> {
    let on = || Verdict::ByLink(Way::Out, "ingress".into());
    let Protocol::Number(protocol) = takes.protocol else { return Vec::new() };
    let mut rules: Vec<Rule> = takes
        .ports
        .iter()
        .map(|ports| {
            let port = Match::Port(Intervals::new([(ports.first.into(), ports.last.into())]));
            rule([Match::Protocol(protocol), port], on())
        })
        .collect();
    if takes.ports.is_empty() {
        rules.push(rule([Match::Protocol(protocol)], on()));
    }
    rules.push(rule([], Verdict::Drop));
    rules
}

/// Whether an address of the packet is this one.
fn is(side: Side, address: Ipv4Addr) -> Match {
    Match::Address(Family::V4, side, one(address))
}

/// Whether the interface's name begins so.
fn prefix(way: Way, first: &str) -> Match {
    Match::LinkPrefix(way, first.into())
}
