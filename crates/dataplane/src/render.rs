//! Fabric to the state that the kernel should have. Pure.
//!
//! Names: a router's end of an endpoint's link is `v` and the address in hex (`v0a010002`), of a peering's `p` and a
//! hash of the peer, of the Identity-Aware Proxy client's `x0`. The rules tell them apart by the first letter.

use crate::fault::{self, Faults};
use crate::rules::{Allow, Chain, ChainRule, Ruleset, Side};
use crate::state::{Desired, Link, Mac, Namespace, Neighbour, Route, RouteVia};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use tombolo_fabric::{Fabric, METADATA_SERVER, Network, Nic, Owner, Rules, Via};
use tombolo_model::{Action, NetworkKey, instance::mac_of};

/// What a router calls the next router; the same on every peering, since a permanent neighbour answers for it.
const PEER_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);

/// The router's interface for its Identity-Aware Proxy client.
const IAP_LINK: &str = "x0";

/// The kernel state that the Fabric means.
pub fn render(fabric: &Fabric) -> Desired {
    render_with(fabric, &Faults::new())
}

/// The same with faults. Those whose place is not there do nothing.
pub fn render_with(fabric: &Fabric, faults: &Faults) -> Desired {
    let mut desired = Desired::default();
    for (key, network) in &fabric.networks {
        let mut rules = ruleset(network);
        rules.faults = fault::of_router(faults, key, network);
        let router = router(fabric, key, network, rules.fingerprint());
        desired.state.namespaces.insert(key.to_string(), router);
        desired.rules.insert(key.to_string(), rules);
        for nic in network.nics.values() {
            let namespace = desired.state.namespaces.entry(nic.owner.to_string()).or_default();
            add_endpoint_nic(namespace, key, network, nic);
        }
    }
    desired
}

/// The name of the router's end of an interface's link.
pub fn link_of(nic: &Nic) -> String {
    match nic.owner {
        Owner::Iap(_) => IAP_LINK.into(),
        _ => format!("v{:08x}", u32::from(nic.address)),
    }
}

/// The name of a router's end of its link to a peer.
pub fn peering_link(peer: &NetworkKey) -> String {
    format!("p{}", hex(peer.to_string().as_bytes(), 6))
}

/// The first `n` bytes of a hash, in hex.
fn hex(bytes: &[u8], n: usize) -> String {
    Sha256::digest(bytes).iter().take(n).map(|b| format!("{b:02x}")).collect()
}

/// The MAC of a router's end of a peering: locally administered, from a hash of both networks.
fn peering_mac(local: &NetworkKey, peer: &NetworkKey) -> Mac {
    let digest = Sha256::digest(format!("{local} {peer}"));
    [0x02, digest[0], digest[1], digest[2], digest[3], digest[4]]
}

/// Adds an interface to its endpoint's namespace.
fn add_endpoint_nic(namespace: &mut Namespace, network_key: &NetworkKey, network: &Network, nic: &Nic) {
    let eth = format!("eth{}", nic.index);
    let link = Link {
        mac: mac_of(nic.address),
        mtu: network.mtu.into(),
        strict_source: false,
        peer: Some((network_key.to_string(), link_of(nic))),
    };
    namespace.links.insert(eth.clone(), link);
    namespace.addresses.insert((eth.clone(), nic.address));
    let gateway = Neighbour { link: eth.clone(), address: nic.gateway, mac: mac_of(nic.gateway) };
    namespace.neighbours.insert(gateway);
    // An alias range is the guest's own, as Google's guest agent makes it: `ip route add local RANGE dev eth0`.
    for range in &nic.aliases {
        namespace.routes.insert(Route { destination: *range, via: RouteVia::Local(eth.clone()) });
    }
    // As on Google's images: nic0 has the default route, the others only the way to their subnetwork.
    let destination = if nic.index == 0 { Ipv4Net::default() } else { nic.range };
    namespace.routes.insert(Route { destination, via: RouteVia::Gateway(eth, nic.gateway) });
}

/// A network's router.
fn router(fabric: &Fabric, key: &NetworkKey, network: &Network, rules: String) -> Namespace {
    let mut router = Namespace { router: true, rules: Some(rules), ..Namespace::default() };
    router.addresses.insert(("lo".into(), METADATA_SERVER));
    for nic in network.nics.values() {
        let name = link_of(nic);
        let link = Link {
            mac: mac_of(nic.gateway),
            mtu: network.mtu.into(),
            strict_source: !nic.can_ip_forward,
            peer: Some((nic.owner.to_string(), format!("eth{}", nic.index))),
        };
        router.links.insert(name.clone(), link);
        router.neighbours.insert(Neighbour {
            link: name.clone(),
            address: nic.address,
            mac: mac_of(nic.address),
        });
        let destination = Ipv4Net::new_assert(nic.address, 32);
        for range in &nic.aliases {
            let via = RouteVia::Gateway(name.clone(), nic.address);
            router.routes.insert(Route { destination: *range, via });
        }
        router.routes.insert(Route { destination, via: RouteVia::Link(name) });
    }
    for peer in network.peers.iter().filter(|peer| fabric.networks.contains_key(*peer)) {
        add_peering(&mut router, key, network, peer, &fabric.networks[peer]);
    }
    router.routes.extend(wide_routes(network, &router.routes));
    router
}

/// Adds a router's end of a peering.
fn add_peering(
    router: &mut Namespace,
    key: &NetworkKey,
    network: &Network,
    peer: &NetworkKey,
    other: &Network,
) {
    let name = peering_link(peer);
    let link = Link {
        mac: peering_mac(key, peer),
        mtu: network.mtu.min(other.mtu).into(),
        strict_source: true,
        peer: Some((peer.to_string(), peering_link(key))),
    };
    router.links.insert(name.clone(), link);
    let mac = peering_mac(peer, key);
    router.neighbours.insert(Neighbour { link: name, address: PEER_GATEWAY, mac });
}

/// The network's routes as kernel routes: of equal destinations only the one that wins, and a blackhole where
/// Google's network would be silent. `hosts` are the /32 routes to interfaces, which a subnet route ends in.
fn wide_routes(network: &Network, hosts: &BTreeSet<Route>) -> BTreeSet<Route> {
    let mut chosen: BTreeMap<Ipv4Net, RouteVia> = BTreeMap::new();
    for route in &network.routes {
        let via = match &route.via {
            Via::Subnetwork | Via::Internet | Via::Blackhole => RouteVia::Blackhole,
            Via::Peer(peer) => RouteVia::Gateway(peering_link(peer), PEER_GATEWAY),
            Via::Nic(address) => match network.nics.get(address) {
                Some(nic) => RouteVia::Gateway(link_of(nic), nic.address),
                None => RouteVia::Blackhole,
            },
        };
        chosen.entry(route.destination).or_insert(via);
    }
    chosen.entry(Ipv4Net::default()).or_insert(RouteVia::Blackhole);
    let taken: BTreeSet<Ipv4Net> = hosts.iter().map(|r| r.destination).collect();
    let free = chosen.into_iter().filter(|(destination, _)| !taken.contains(destination));
    free.map(|(destination, via)| Route { destination, via }).collect()
}

/// A network's two gates. Interfaces at which the same rules act share a chain.
fn ruleset(network: &Network) -> Ruleset {
    let mut rules = Ruleset::default();
    let (mut egress, mut ingress) = (Classes::new('e', &network.egress), Classes::new('i', &network.ingress));
    for nic in network.nics.values().filter(|nic| !nic.owner.is_iap()) {
        egress.add(nic.address);
        ingress.add(nic.address);
    }
    egress.name();
    ingress.name();
    for nic in network.nics.values() {
        if nic.owner.is_iap() {
            rules.trusted.insert(link_of(nic)); // and no ingress chain: nothing new ever reaches it
            continue;
        }
        if !nic.can_ip_forward {
            let own = nic.aliases.iter().copied().chain([Ipv4Net::new_assert(nic.address, 32)]);
            rules.ends_of.insert(link_of(nic), own.collect());
        }
        rules.egress_of.insert(link_of(nic), egress.of(nic.address));
        rules.ingress_of.insert(link_of(nic), ingress.of(nic.address));
    }
    rules.chains.extend(egress.chains(Side::Destination, Allow::ToIngressGate));
    rules.chains.extend(ingress.chains(Side::Source, Allow::Deliver));
    rules
}

/// The target classes of one gate: which rules act, and the name of the chain that has them.
///
/// A chain is named after the places of its rules, so that a rule that changes is a change of a chain and not of all that
/// leads to it.
struct Classes<'r> {
    letter: char,
    rules: &'r Rules,
    names: BTreeMap<Vec<usize>, String>,
    /// The rules that act at each interface.
    acting: BTreeMap<Ipv4Addr, Vec<usize>>,
}

impl<'r> Classes<'r> {
    fn new(letter: char, rules: &'r Rules) -> Self {
        Self { letter, rules, names: BTreeMap::new(), acting: BTreeMap::new() }
    }

    /// Adds an interface, and so its class.
    fn add(&mut self, nic: Ipv4Addr) {
        let acting: Vec<usize> =
            (0..self.rules.len()).filter(|i| self.rules[*i].targets.contains(nic)).collect();
        self.acting.insert(nic, acting.clone());
        self.names.entry(acting).or_default();
    }

    /// Names the chains, once all interfaces are there.
    fn name(&mut self) {
        for (acting, name) in &mut self.names {
            *name = format!("{}-{}", self.letter, hex(format!("{acting:?}").as_bytes(), 6));
        }
    }

    /// The name of the chain for an interface that was added.
    fn of(&self, nic: Ipv4Addr) -> String {
        self.acting.get(&nic).and_then(|acting| self.names.get(acting)).cloned().unwrap_or_default()
    }

    /// All chains.
    fn chains(self, far: Side, allow: Allow) -> impl Iterator<Item = (String, Chain)> {
        self.names.into_iter().map(move |(acting, name)| {
            let rules = acting.into_iter().map(|i| chain_rule(&self.rules[i])).collect();
            (name, Chain { far, allow, rules })
        })
    }
}

/// A rule without its targets, which the chain stands for.
fn chain_rule(rule: &tombolo_fabric::Rule) -> ChainRule {
    ChainRule {
        name: rule.id(),
        far: rule.far.clone(),
        matches: rule.matches.clone(),
        allow: rule.action == Action::Allow,
        log: rule.log,
    }
}
