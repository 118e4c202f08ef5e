//! Fabric to the state that the kernel should have. Pure.
//!
//! Names: a router's end of an endpoint's link is `v` and the address in hex (`v0a010002`), of a peering's `p` and a
//! hash of the peer, of the Identity-Aware Proxy client's `x0`; for others see [`crate::forwarding`]. The
//! rules tell them apart by the first letter.

use crate::fault::{self, Faults, Wrong};
use crate::forwarding::{self, Forwarding};
use crate::host::{self, Beyond};
use crate::ipv6::{self, Ipv6Rules};
use crate::rules::{Allow, Chain, ChainRule, INTERNET, Next, Ruleset, Side, group_of};
use crate::state::{Desired, Link, Lookup, Mac, Namespace, Neighbour, Route, RouteVia, State};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tombolo_fabric::{
    Fabric, Host, INTERNET_CLIENT, METADATA_SERVER, Network, Nic, Owner, Rules, Targets, To, Via,
    host::ENDPOINT, internet, table,
};
use tombolo_model::{Action, L4, NetworkKey, Protocol, address::EXTERNAL, instance::mac_of, range::PRIVATE};

/// What a router calls the next router; the same on every peering, since a permanent neighbour answers for it.
pub(crate) const PEER_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);

/// Where our tables' numbers begin: above all that the kernel gives a meaning to.
const FIRST_TABLE: u32 = 1000;

/// The router's interface for its Identity-Aware Proxy client, or, in the internet, for the client there.
const IAP_LINK: &str = "x0";

/// The kernel state that the Fabric means.
pub fn render(fabric: &Fabric) -> Desired {
    render_with(fabric, &Faults::new())
}

/// The same with faults. Those whose place is not there do nothing.
pub fn render_with(fabric: &Fabric, faults: &Faults) -> Desired {
    let mut forwarding = forwarding::of_routers(fabric);
    let rules = |(key, network): (&NetworkKey, &Network)| {
        let forwarding = forwarding.remove(key).unwrap_or_default();
        let wrong = fault::of_router(faults, key, network);
        let rules = rules_of(key, network, wrong, forwarding, fabric.host.as_ref());
        (key.to_string(), Arc::new(rules))
    };
    let rules = fabric.networks.iter().map(rules).collect();
    Desired { state: state_of(fabric), rules, lazy: Arc::default() }
}

/// The endpoints that may be lazy: the Identity-Aware Proxy's clients, and users' VMs, but for those that packets to other
/// addresses go by or that a forwarding rule leads to.
pub(crate) fn lazy_of(fabric: &Fabric) -> BTreeSet<String> {
    let (mut lazy, mut busy) = (BTreeSet::new(), BTreeSet::new());
    for network in fabric.networks.values() {
        let led_to: BTreeSet<Ipv4Addr> = network
            .forwarding
            .values()
            .filter_map(|rule| match &rule.to {
                To::Nic { address, .. } => Some(*address),
                _ => None,
            })
            .collect();
        let may = |nic: &&Nic| matches!(nic.owner, Owner::Instance(_) | Owner::Iap(_));
        for nic in network.nics.values().filter(may) {
            let is_busy = nic.can_ip_forward || led_to.contains(&nic.address);
            if is_busy { &mut busy } else { &mut lazy }.insert(nic.owner.to_string());
        }
    }
    lazy.retain(|name| !busy.contains(name));
    lazy
}

/// The namespaces that the Fabric means: no rule of a firewall has a part in them.
pub(crate) fn state_of(fabric: &Fabric) -> State {
    let mut namespaces = routers_of(fabric, |_| true);
    for (key, network) in &fabric.networks {
        for nic in network.nics.values() {
            let namespace = namespaces.entry(nic.owner.to_string()).or_default();
            add_endpoint_nic(namespace, key, network, nic);
            add_endpoint_ipv6(namespace, fabric, nic);
        }
    }
    if fabric.host.is_some() && fabric.networks.contains_key(&internet()) {
        namespaces.insert(ENDPOINT.to_owned(), host::endpoint());
    }
    State { namespaces: namespaces.into_iter().map(|(name, it)| (name, Arc::new(it))).collect() }
}

/// The routers of some networks.
pub(crate) fn routers_of(fabric: &Fabric, some: impl Fn(&NetworkKey) -> bool) -> BTreeMap<String, Namespace> {
    let chosen = || fabric.networks.iter().filter(|(key, _)| some(key));
    let mut routers: BTreeMap<String, Namespace> =
        chosen().map(|(key, network)| (key.to_string(), router(fabric, key, network))).collect();
    if let Some((key, network)) = fabric.networks.get_key_value(&internet()) {
        add_external(&mut routers, fabric, key, network);
        if let Some(router) = routers.get_mut(&key.to_string()).filter(|_| fabric.host.is_some()) {
            host::add_way(router);
        }
    }
    forwarding::add_links(&mut routers, fabric);
    // What these have added to others is not all that others are.
    let names: BTreeSet<String> = chosen().map(|(key, _)| key.to_string()).collect();
    routers.retain(|name, _| names.contains(name));
    routers
}

/// The rules of a network's router.
pub(crate) fn rules_of(
    key: &NetworkKey,
    network: &Network,
    wrong: Wrong,
    forwarding: Forwarding,
    host: Option<&Host>,
) -> Ruleset {
    let mut made = ruleset(network);
    if host.is_some() && has_internet(network) {
        // Of anybody: the internet's router lets through what is about a connection that it has.
        Arc::make_mut(&mut made.ends_of).insert(INTERNET.into(), [Ipv4Net::default()].into());
    }
    let host = host.and_then(|host| beyond(host, key));
    // The internet knows addresses, not peers: whoever has one may talk to whoever has another.
    let Wrong { faults, late } = wrong;
    Ruleset { faults, late, transit: *key == internet(), forwarding, host, ..made }
}

/// What there is to know of the host's network, for the router by which one gets there.
pub(crate) fn beyond(host: &Host, key: &NetworkKey) -> Option<Beyond> {
    (*key == internet()).then(|| Beyond::of(host))
}

/// Links the internet's router to those of networks that have addresses there. Each has its own side of the link here:
/// the internet's knows where every external address is, and takes no other source from there.
fn add_external(
    namespaces: &mut BTreeMap<String, Namespace>,
    fabric: &Fabric,
    key: &NetworkKey,
    outside: &Network,
) {
    for (peer, network) in &fabric.networks {
        let nics = || network.nics.values();
        let nat = nics().filter_map(|nic| nic.nat.as_ref()).map(|nat| nat.address);
        let external: BTreeSet<Ipv4Addr> = nics().filter_map(|nic| nic.external).chain(nat).collect();
        if external.is_empty() {
            continue;
        }
        let name = peering_link(peer);
        let mtu = network.mtu.min(outside.mtu).into();
        let ends =
            [(key, name.clone(), peer, INTERNET.to_owned()), (peer, INTERNET.to_owned(), key, name.clone())];
        for (here, link, there, other) in ends {
            let router = namespaces.entry(here.to_string()).or_default();
            let end = Link {
                mac: peering_mac(here, there),
                mtu,
                group: group_of(&link),
                strict_source: link != INTERNET,
                peer: Some((there.to_string(), other)),
            };
            router.links.insert(link.clone(), end);
            let mac = peering_mac(there, here);
            router.neighbours.insert(Neighbour { link, address: PEER_GATEWAY.into(), mac });
        }
        let router = namespaces.entry(key.to_string()).or_default();
        for address in external {
            let destination = Ipv4Net::new_assert(address, 32);
            router
                .routes
                .insert(Route::new(destination.into(), RouteVia::Gateway(name.clone(), PEER_GATEWAY.into())));
        }
    }
}

/// The name of the router's end of an interface's link.
pub fn link_of(nic: &Nic) -> String {
    match nic.owner {
        Owner::Iap(_) | Owner::Internet => IAP_LINK.into(),
        _ => format!("v{:08x}", u32::from(nic.address)),
    }
}

/// The name of a router's end of its link to a peer.
pub fn peering_link(peer: &NetworkKey) -> String {
    format!("p{}", hex(peer.to_string().as_bytes(), 6))
}

/// The first `n` bytes of a hash, in hex.
pub(crate) fn hex(bytes: &[u8], n: usize) -> String {
    Sha256::digest(bytes).iter().take(n).map(|b| format!("{b:02x}")).collect()
}

/// The MAC of what has this name: locally administered, from a hash of it.
pub(crate) fn mac_named(name: &str) -> Mac {
    let digest = Sha256::digest(name);
    [0x02, digest[0], digest[1], digest[2], digest[3], digest[4]]
}

/// The MAC of a router's end of a peering, named by both networks.
fn peering_mac(local: &NetworkKey, peer: &NetworkKey) -> Mac {
    mac_named(&format!("{local} {peer}"))
}

/// Adds an interface to its endpoint's namespace.
fn add_endpoint_nic(namespace: &mut Namespace, network_key: &NetworkKey, network: &Network, nic: &Nic) {
    let eth = format!("eth{}", nic.index);
    let link = Link {
        mac: mac_of(nic.address),
        mtu: network.mtu.into(),
        group: group_of(&eth),
        strict_source: false,
        peer: Some((network_key.to_string(), link_of(nic))),
    };
    namespace.links.insert(eth.clone(), link);
    namespace.addresses.insert((eth.clone(), nic.address.into()));
    let gateway = Neighbour { link: eth.clone(), address: nic.gateway.into(), mac: mac_of(nic.gateway) };
    namespace.neighbours.insert(gateway);
    // An alias range is the guest's own, as Google's guest agent makes it: `ip route add local RANGE dev eth0`.
    // What two interfaces have in networks that overlap is its own by one of them.
    for range in &nic.aliases {
        let local = Route::new((*range).into(), RouteVia::Local(eth.clone()));
        let is = |route: &&Route| route.destination == local.destination;
        if !namespace.routes.iter().filter(is).any(|route| matches!(route.via, RouteVia::Local(_))) {
            namespace.routes.insert(local);
        }
    }
    // As on Google's images: nic0 has the default route, the others only the way to their subnetwork.
    let destination = if nic.index == 0 { Ipv4Net::default() } else { nic.range };
    namespace.routes.insert(Route::new(destination.into(), RouteVia::Gateway(eth, nic.gateway.into())));
}

/// Adds IPv6 to an interface in its endpoint's namespace: the address is what Google's DHCPv6 gives, and all else is behind
/// the router. The interface that has the guest's default route is the first one with IPv6.
fn add_endpoint_ipv6(namespace: &mut Namespace, fabric: &Fabric, nic: &Nic) {
    let Some((address, range)) = nic.ipv6_address().zip(nic.ipv6_range()) else { return };
    let eth = format!("eth{}", nic.index);
    namespace.ipv6.insert(eth.clone());
    namespace.addresses.insert((eth.clone(), address.into()));
    // The kernel makes this route too, but only once it has got round to it.
    namespace.routes.insert(Route::new(Ipv6Net::from(address).into(), RouteVia::Local(eth.clone())));
    let router = Neighbour { link: eth.clone(), address: ipv6::ROUTER.into(), mac: mac_of(nic.gateway) };
    namespace.neighbours.insert(router);
    let before = |other: &&Nic| other.ipv6.is_some() && other.index < nic.index;
    let first =
        nic.index == 0 || fabric.nics_of(&nic.owner).iter().map(|(_, nic)| *nic).find(before).is_none();
    let destination = if first { Ipv6Net::default() } else { range };
    namespace.routes.insert(Route::new(destination.into(), RouteVia::Gateway(eth, ipv6::ROUTER.into())));
}

/// A network's router.
fn router(fabric: &Fabric, key: &NetworkKey, network: &Network) -> Namespace {
    let mut router = Namespace { router: true, ..Namespace::default() };
    router.addresses.insert(("lo".into(), METADATA_SERVER.into()));
    if network.has_ipv6() {
        // What the errors that it makes come from: it answers nothing there.
        router.ipv6.insert("lo".into());
        router.addresses.insert(("lo".into(), tombolo_model::ipv6::SERVER.into()));
    }
    for nic in network.nics.values() {
        let name = link_of(nic);
        let link = Link {
            mac: mac_of(nic.gateway),
            mtu: network.mtu.into(),
            group: group_of(&name),
            strict_source: !nic.can_ip_forward,
            peer: Some((nic.owner.to_string(), format!("eth{}", nic.index))),
        };
        router.links.insert(name.clone(), link);
        router.neighbours.insert(Neighbour {
            link: name.clone(),
            address: nic.address.into(),
            mac: mac_of(nic.address),
        });
        let destination = Ipv4Net::new_assert(nic.address, 32);
        for range in &nic.aliases {
            let via = RouteVia::Gateway(name.clone(), nic.address.into());
            router.routes.insert(Route::new((*range).into(), via));
        }
        if let Some(range) = nic.ipv6 {
            router.ipv6.insert(name.clone());
            let guest =
                Neighbour { link: name.clone(), address: ipv6::GUEST.into(), mac: mac_of(nic.address) };
            router.neighbours.insert(guest);
            router
                .routes
                .insert(Route::new(range.into(), RouteVia::Gateway(name.clone(), ipv6::GUEST.into())));
        }
        router.routes.insert(Route::new(destination.into(), RouteVia::Link(name)));
    }
    for peer in network.peers.iter().filter(|peer| fabric.networks.contains_key(*peer)) {
        add_peering(&mut router, key, network, peer, &fabric.networks[peer]);
    }
    let hosts: BTreeSet<IpNet> = router.routes.iter().map(|route| route.destination).collect();
    add_wide_routes(&mut router, fabric, network, &hosts);
    router
}

/// Whether the kernel's reverse-path filter asks what it should of packets from peers, which takes it less time than a rule:
/// where routes have tags it would ask the tables of these, the receiver's.
pub(crate) fn peers_are_filtered(network: &Network) -> bool {
    network.routes.iter().all(|route| route.targets == Targets::All)
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
        group: group_of(&name),
        strict_source: peers_are_filtered(network),
        peer: Some((peer.to_string(), peering_link(key))),
    };
    router.links.insert(name.clone(), link);
    let mac = peering_mac(peer, key);
    if ipv6_by(network, peer).next().is_some() {
        router.ipv6.insert(name.clone());
        router.neighbours.insert(Neighbour { link: name.clone(), address: ipv6::ROUTER.into(), mac });
    }
    router.neighbours.insert(Neighbour { link: name, address: PEER_GATEWAY.into(), mac });
}

/// The IPv6 ranges that a network with IPv6 has from a peer.
fn ipv6_by<'n>(network: &'n Network, peer: &'n NetworkKey) -> impl Iterator<Item = Ipv6Net> + 'n {
    let routes = network.routes.iter().filter(|_| network.has_ipv6());
    routes.filter(move |route| route.via == Via::Peer(peer.clone())).filter_map(|route| {
        match route.destination {
            IpNet::V6(range) => Some(range),
            IpNet::V4(_) => None,
        }
    })
}

/// Adds the network's routes: of equal destinations those that win, and a blackhole where Google's network would be
/// silent. `hosts` are the destinations of the routes to interfaces, which a subnet route ends in.
///
/// Interfaces that routes with tags are for have a table of such routes, which comes first. What is the same for
/// everybody is thrown from there to the main table, so that the longest prefix of both tables wins.
fn add_wide_routes(router: &mut Namespace, fabric: &Fabric, network: &Network, hosts: &BTreeSet<IpNet>) {
    let private = private(fabric);
    let wide_routes = |nic| {
        let mut chosen = wide_routes(network, nic);
        keep_private(&mut chosen, &private);
        chosen
    };
    let main = wide_routes(None);
    for (destination, via) in main.iter().filter(|(destination, _)| !hosts.contains(*destination)) {
        router.routes.insert(Route::new(*destination, via.clone()));
    }
    let ipv6 = network.has_ipv6().then_some(IpNet::V6(Ipv6Net::default()));
    for all in [IpNet::V4(Ipv4Net::default())].into_iter().chain(ipv6) {
        if !main.contains_key(&all) {
            router.routes.insert(Route::new(all, RouteVia::Blackhole));
        }
    }
    let mut tables: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for nic in network.nics.values() {
        let tagged = network.routes.iter().filter(|route| is_for(route, nic));
        let names: Vec<&str> = tagged.map(|route| route.name.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let mut number = table_number(&names);
        while tables.get(&number).is_some_and(|others| *others != names) {
            number += 1;
        }
        router.lookups.insert(Lookup { link: link_of(nic), table: number });
        if tables.insert(number, names).is_some() {
            continue;
        }
        // No route with tags is for IPv6, nor is the table.
        let is_ipv4 = |range: &IpNet| matches!(range, IpNet::V4(_));
        let mut own = wide_routes(Some(nic.address));
        own.retain(|destination, _| is_ipv4(destination));
        for (destination, via) in &mut own {
            if main.get(destination) == Some(via) {
                *via = RouteVia::Throw;
            }
        }
        // Of a host that is in no subnetwork's range only the main table knows.
        let hosts = hosts.iter().filter(|host| is_ipv4(host));
        let outside = hosts.filter(|host| network.ranges.iter().all(|range| !range.contains(*host)));
        own.extend(outside.map(|host| (*host, RouteVia::Throw)));
        let routes = own.into_iter();
        router.routes.extend(routes.map(|(destination, via)| Route {
            table: Some(number),
            destination,
            via,
        }));
    }
}

/// Whether it is a route with tags for the interface.
fn is_for(route: &tombolo_fabric::Route, nic: &Nic) -> bool {
    route.targets != Targets::All && route.targets.contains(nic.address)
}

/// The number of the table of routes with these names: the same whatever else there is.
fn table_number(names: &[&str]) -> u32 {
    let digest = Sha256::digest(names.join(" "));
    FIRST_TABLE + (u32::from_be_bytes([0, digest[0], digest[1], digest[2]]))
}

/// Whether a network has a link to the internet.
fn has_internet(network: &Network) -> bool {
    network.nics.values().any(Nic::reaches_internet)
}

/// Where a network sends packets of an interface, or, with `None`, of a peering, by destination.
fn wide_routes(network: &Network, nic: Option<Ipv4Addr>) -> BTreeMap<IpNet, RouteVia> {
    let hop = |address: &Ipv4Addr| network.nics.get(address).map(|nic| (link_of(nic), nic.address.into()));
    let via = |routes: Vec<&tombolo_fabric::Route>| match routes.first().map(|route| &route.via) {
        Some(Via::Peer(peer)) => {
            let ipv6 = matches!(routes[0].destination, IpNet::V6(_));
            let gateway: IpAddr = if ipv6 { ipv6::ROUTER.into() } else { PEER_GATEWAY.into() };
            RouteVia::Gateway(peering_link(peer), gateway)
        }
        Some(Via::Nic(_)) => {
            let hops = routes.iter().filter_map(|route| match &route.via {
                Via::Nic(address) => hop(address),
                _ => None,
            });
            let mut hops: BTreeSet<_> = hops.collect();
            match (hops.pop_first(), hops.is_empty()) {
                (None, _) => RouteVia::Blackhole,
                (Some((link, gateway)), true) => RouteVia::Gateway(link, gateway),
                (Some(first), false) => RouteVia::Gateways(hops.into_iter().chain([first]).collect()),
            }
        }
        Some(Via::Internet) if has_internet(network) => {
            RouteVia::Gateway(INTERNET.into(), PEER_GATEWAY.into())
        }
        Some(Via::Subnetwork | Via::Internet | Via::Blackhole(_)) | None => RouteVia::Blackhole,
    };
    // A network without IPv6 has no use for that of its peers.
    let useful = |destination: &IpNet| network.has_ipv6() || matches!(destination, IpNet::V4(_));
    let chosen = table(&network.routes, nic).into_iter().filter(|(destination, _)| useful(destination));
    chosen.map(|(destination, routes)| (destination, via(routes))).collect()
}

/// What is private and never leaves for the internet: all of it, but where this goes on into the host's network what the
/// lab has itself.
fn private(fabric: &Fabric) -> Vec<IpNet> {
    let is_private = |range: &&Ipv4Net| PRIVATE.iter().any(|private| private.contains(*range));
    match &fabric.host {
        None => PRIVATE.map(IpNet::from).into(),
        Some(host) => host.kept.iter().filter(is_private).copied().map(IpNet::from).collect(),
    }
}

/// Has nothing private leave for the internet.
fn keep_private(chosen: &mut BTreeMap<IpNet, RouteVia>, private: &[IpNet]) {
    let leaves = |via: &RouteVia| matches!(via, RouteVia::Gateway(link, _) if link == INTERNET);
    if !chosen.values().any(leaves) {
        return;
    }
    for range in private.iter().copied() {
        let inside =
            chosen.iter_mut().filter(|(destination, via)| range.contains(*destination) && leaves(via));
        inside.for_each(|(_, via)| *via = RouteVia::Blackhole);
        // The route of what no other is for in the range.
        let around = chosen.iter().filter(|(destination, _)| destination.contains(&range));
        let longest = around.max_by_key(|(destination, _)| destination.prefix_len());
        if longest.is_some_and(|(_, via)| leaves(via)) {
            chosen.insert(range, RouteVia::Blackhole);
        }
    }
}

/// A network's two gates. Interfaces at which the same rules act share a chain.
fn ruleset(network: &Network) -> Ruleset {
    let mut rules = Ruleset { peers_filtered: peers_are_filtered(network), ..Ruleset::default() };
    let nics = || network.nics.values().filter(|nic| !nic.owner.is_iap()).map(|nic| nic.address);
    let (egress, ingress) =
        (Classes::new("e", &network.egress, nics()), Classes::new("i", &network.ingress, nics()));
    // Gathered first: a map is made of many at once in less time than one by one.
    let (mut egress_of, mut ingress_of, mut ends_of) = (Vec::new(), Vec::new(), Vec::new());
    for nic in network.nics.values() {
        let link = link_of(nic);
        if nic.owner.is_iap() {
            rules.trusted.insert(link); // and no ingress chain: nothing new ever reaches it
            continue;
        }
        if !nic.can_ip_forward {
            let own = nic.aliases.iter().copied().chain([Ipv4Net::new_assert(nic.address, 32)]);
            ends_of.push((link.clone(), own.collect()));
        }
        rules.external.extend(nic.external.map(|external| (link.clone(), (nic.address, external))));
        let nat = nic.nat.as_ref().map(|nat| (link.clone(), (nat.ranges.clone(), nat.address)));
        rules.nat.extend(nat);
        egress_of.push((link.clone(), egress.of(nic.address)));
        ingress_of.push((link, ingress.of(nic.address)));
    }
    if has_internet(network) {
        // What anybody there says of a connection is about one with the internet.
        let outside = [Ipv4Net::from(INTERNET_CLIENT), EXTERNAL];
        ends_of.push((INTERNET.into(), outside.into()));
    }
    rules.egress_of = Arc::new(egress_of.into_iter().collect());
    rules.ingress_of = Arc::new(ingress_of.into_iter().collect());
    rules.ends_of = Arc::new(ends_of.into_iter().collect());
    rules.chains.extend(egress.chains(Side::Destination, Allow::ToIngressGate, false));
    rules.chains.extend(ingress.chains(Side::Source, Allow::Deliver, false));
    add_ipv6_rules(&mut rules, network);
    rules
}

/// The same two gates for IPv6, and which sources may come by which interface.
fn add_ipv6_rules(rules: &mut Ruleset, network: &Network) {
    let nics = || network.nics.values().filter_map(|nic| Some((nic, nic.ipv6?)));
    if nics().next().is_none() {
        return;
    }
    let mut ipv6 = Ipv6Rules::default();
    let with_ipv6 = || nics().map(|(nic, _)| nic.address);
    let (egress, ingress) =
        (Classes::new("e6", &network.egress, with_ipv6()), Classes::new("i6", &network.ingress, with_ipv6()));
    for (nic, range) in nics() {
        if !nic.can_ip_forward {
            ipv6.sources.insert(link_of(nic), [range].into());
            ipv6.ends_of.insert(link_of(nic), [range].into());
        }
        ipv6.egress_of.insert(link_of(nic), egress.of(nic.address));
        ipv6.ingress_of.insert(link_of(nic), ingress.of(nic.address));
    }
    for peer in &network.peers {
        let ranges: BTreeSet<Ipv6Net> = ipv6_by(network, peer).collect();
        if !ranges.is_empty() {
            ipv6.sources.insert(peering_link(peer), ranges);
        }
    }
    rules.chains.extend(egress.chains(Side::Destination, Allow::ToIngressGate, true));
    rules.chains.extend(ingress.chains(Side::Source, Allow::Deliver, true));
    rules.ipv6 = Arc::new(ipv6);
}

/// The target classes of one gate: which rules act, and the name of the chain that has them.
///
/// A chain is named after the places of its rules, so that a rule that changes is a change of a chain and not of all that
/// leads to it.
struct Classes<'r> {
    rules: &'r Rules,
    /// By what tells the classes apart: the rules that act at some interfaces and not at others.
    names: BTreeMap<Vec<usize>, String>,
    /// Those of these rules that act at each interface.
    acting: BTreeMap<Ipv4Addr, Vec<usize>>,
}

impl<'r> Classes<'r> {
    /// The classes of these interfaces, and names for their chains.
    fn new(letter: &str, rules: &'r Rules, nics: impl Iterator<Item = Ipv4Addr>) -> Self {
        let mut acting: BTreeMap<Ipv4Addr, Vec<usize>> = nics.map(|nic| (nic, Vec::new())).collect();
        for (index, rule) in rules.iter().enumerate() {
            let Targets::Nics(targets) = &rule.targets else { continue };
            for nic in targets {
                acting.get_mut(nic).into_iter().for_each(|acting| acting.push(index));
            }
        }
        let mut classes = Self { rules, names: BTreeMap::new(), acting };
        for some in classes.acting.values() {
            if !classes.names.contains_key(some) {
                let name = format!("{letter}-{}", hex(format!("{:?}", classes.all(some)).as_bytes(), 6));
                classes.names.insert(some.clone(), name);
            }
        }
        classes
    }

    /// All rules of a class, which is known by `some`.
    fn all(&self, some: &[usize]) -> Vec<usize> {
        let acts =
            |index: &usize| self.rules[*index].targets == Targets::All || some.binary_search(index).is_ok();
        (0..self.rules.len()).filter(acts).collect()
    }

    /// The name of the chain for an interface that was added.
    fn of(&self, nic: Ipv4Addr) -> String {
        self.acting.get(&nic).and_then(|acting| self.names.get(acting)).cloned().unwrap_or_default()
    }

    /// All chains: one for each class, and one for each of its levels where a rule leaves it to the next one.
    fn chains(self, far: Side, allow: Allow, ipv6: bool) -> impl Iterator<Item = (String, Arc<Chain>)> {
        let rules = self.rules;
        let classes: Vec<_> = self.names.iter().map(|(some, name)| (self.all(some), name.clone())).collect();
        classes.into_iter().flat_map(move |(acting, name)| {
            let chain = |rules| Arc::new(Chain { far, allow, ipv6, rules });
            let (mut own, mut made) = (Vec::new(), Vec::new());
            for (level, acting) in acting.chunk_by(|a, b| rules[*a].level == rules[*b].level).enumerate() {
                let of_level = acting.iter().map(|i| chain_rule(&rules[*i], ipv6)).collect::<Vec<_>>();
                if acting.iter().all(|i| rules[*i].action != Action::GotoNext) {
                    own.extend(of_level);
                    continue;
                }
                let apart = format!("{name}-{level}");
                own.push(ask(&apart, ipv6));
                made.push((apart, chain(of_level)));
            }
            made.push((name, chain(own)));
            made
        })
    }
}

/// Has the chain of a level asked about everything.
fn ask(level: &str, ipv6: bool) -> ChainRule {
    let all = if ipv6 { IpNet::V6(Ipv6Net::default()) } else { IpNet::V4(Ipv4Net::default()) };
    ChainRule {
        name: "level".into(),
        far: BTreeSet::from([all]),
        matches: vec![L4::all_of(Protocol::All)],
        allow: false,
        next: Some(Next::Ask(level.to_owned())),
        log: false,
        near: BTreeSet::new(),
    }
}

/// A rule for one version of IP, without its targets, which the chain stands for.
fn chain_rule(rule: &tombolo_fabric::Rule, ipv6: bool) -> ChainRule {
    let alike = |ranges: &BTreeSet<IpNet>| -> BTreeSet<IpNet> {
        ranges.iter().filter(|range| matches!(range, IpNet::V6(_)) == ipv6).copied().collect()
    };
    let near = alike(&rule.near);
    // What is about near ends of the other version alone is about nobody of this one, whatever its source tags stand for.
    let none = near.is_empty() && !rule.near.is_empty();
    ChainRule {
        name: rule.id(),
        far: if none { BTreeSet::new() } else { alike(&rule.far) },
        matches: rule.matches.clone(),
        allow: rule.action == Action::Allow,
        next: (rule.action == Action::GotoNext).then_some(Next::Leave),
        log: rule.log,
        near,
    }
}
