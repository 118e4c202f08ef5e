//! The flows to try in a world: from everywhere to every kind of destination.

use crate::worlds::{PORTS, edges};
use fastrand::Rng;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use tombolo_fabric::{Fabric, Flow, INTERNET_CLIENT, METADATA_SERVER, Nic, Owner};
use tombolo_model::NetworkKey;
use tombolo_model::address::EXTERNAL;

/// So many random flows of a Fabric.
pub fn flows(fabric: &Fabric, most: usize, rng: &mut Rng) -> Vec<Flow> {
    let all =
        || fabric.networks.iter().flat_map(|(key, network)| network.nics.values().map(move |nic| (key, nic)));
    let senders: Vec<&Owner> = all().map(|(_, nic)| &nic.owner).collect();
    let addresses: Vec<Ipv4Addr> = all()
        .filter(|(_, nic)| !nic.owner.is_iap())
        .flat_map(|(_, nic)| own_addresses(nic).chain(nic.external).chain(nat(nic)))
        .collect();
    let external = all().flat_map(|(_, nic)| nic.external.into_iter().chain(nat(nic)));
    let outside: Vec<Ipv4Addr> = external.chain([INTERNET_CLIENT]).collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    let ranges = fabric.networks.values().flat_map(|n| n.ranges.iter().copied());
    let edges: Vec<Ipv4Addr> = ranges.flat_map(edges).collect();
    // Where only a static route leads, one's own or a peer's.
    let routes = || fabric.networks.values().flat_map(|network| &network.routes);
    let far = routes().map(|route| inside(route.destination, rng));
    // What goes to 127.0.0.0/8 never leaves the guest.
    let far: Vec<Ipv4Addr> = far.filter(|address| !address.is_loopback()).collect();
    // Forwarding rules' addresses, and what clients of published services become.
    let rules = fabric.networks.values().flat_map(|network| network.forwarding.keys().copied());
    let forwarded: Vec<Ipv4Addr> = rules.chain(fabric.published().map(|(_, _, to)| to.nat)).collect();
    let mut flows = Vec::new();
    while flows.len() < most {
        let owner = senders[rng.usize(..senders.len())];
        let destination = match rng.u8(..if forwarded.is_empty() { 28 } else { 40 }) {
            28.. => forwarded[rng.usize(..forwarded.len())],
            26.. => outside[rng.usize(..outside.len())],
            20.. if !far.is_empty() => far[rng.usize(..far.len())],
            0 => edges[rng.usize(..edges.len())],
            1 => Ipv4Addr::from(u32::from(addresses[rng.usize(..addresses.len())]).wrapping_add(1)),
            2 => [Ipv4Addr::new(8, 8, 4, 4), METADATA_SERVER, tombolo_fabric::IAP_CLIENT][rng.usize(..3)],
            _ => addresses[rng.usize(..addresses.len())],
        };
        // What an endpoint sends to itself never leaves it.
        let own = fabric.nics_of(owner).iter().any(|(_, nic)| nic.has(destination));
        let sender = fabric.nic_towards(owner, destination).filter(|_| !own);
        flows.extend(sender.map(|sender| flow(fabric, sender, destination, &addresses, rng)));
    }
    flows.extend(outwards(fabric, rng));
    flows
}

/// From every address of every instance to the internet, where there is one: which of them become others there differs.
fn outwards(fabric: &Fabric, rng: &mut Rng) -> Vec<Flow> {
    let mut flows = Vec::new();
    if fabric.nics_of(&Owner::Internet).is_empty() {
        return flows;
    }
    for (network, nic) in
        fabric.networks.iter().flat_map(|(key, n)| n.nics.values().map(move |nic| (key, nic)))
    {
        let leaves = fabric.nic_towards(&nic.owner, INTERNET_CLIENT).is_some_and(|(_, by)| by == nic);
        if !leaves || !matches!(nic.owner, Owner::Instance(_)) {
            continue;
        }
        flows.extend(own_addresses(nic).map(|source| Flow {
            network: network.clone(),
            nic: nic.address,
            source,
            destination: INTERNET_CLIENT,
            protocol: 6,
            port: PORTS[rng.usize(..PORTS.len())],
        }));
    }
    flows
}

/// The address of an interface's NAT gateway.
fn nat(nic: &Nic) -> Option<Ipv4Addr> {
    nic.nat.as_ref().map(|nat| nat.address)
}

/// Any address of a range.
fn inside(range: Ipv4Net, rng: &mut Rng) -> Ipv4Addr {
    Ipv4Addr::from(rng.u32(u32::from(range.network())..=u32::from(range.broadcast())))
}

/// An interface's address, and the first and the last of each of its alias ranges.
fn own_addresses(nic: &Nic) -> impl Iterator<Item = Ipv4Addr> {
    let aliases = nic.aliases.iter().flat_map(|range| [range.network(), range.broadcast()]);
    std::iter::once(nic.address).chain(aliases)
}

/// A flow from an interface, now and then from an alias of it or with another's source address.
fn flow(
    fabric: &Fabric,
    (network, nic): (&NetworkKey, &Nic),
    destination: Ipv4Addr,
    addresses: &[Ipv4Addr],
    rng: &mut Rng,
) -> Flow {
    // Mostly those that have ports: where a range of ports ends is found by chance.
    const PROTOCOLS: [u8; 16] = [1, 6, 6, 6, 6, 6, 6, 6, 17, 17, 17, 132, 132, 50, 51, 4];
    // Addresses that become others belong to other worlds' connections as well: there only ports tell these apart.
    let endpoint = fabric.published().any(|(_, endpoint, _)| endpoint == destination);
    let outside = endpoint || destination == INTERNET_CLIENT || EXTERNAL.contains(&destination);
    let most = if outside { 13 } else { PROTOCOLS.len() };
    let protocol = PROTOCOLS[rng.usize(..most)];
    let port = if [6, 17, 132].contains(&protocol) { PORTS[rng.usize(..PORTS.len())] } else { 0 };
    let spoof = addresses[rng.usize(..addresses.len())];
    let nics = fabric.networks.values().flat_map(|network| network.nics.values());
    // No kernel takes a packet that says it is from itself.
    let receivers_own = nics.into_iter().any(|nic| nic.has(spoof) && nic.has(destination));
    let own: Vec<Ipv4Addr> = own_addresses(nic).collect();
    let source = match rng.u8(..12) {
        0 if !receivers_own => spoof,
        1..5 => own[rng.usize(..own.len())],
        _ => nic.address,
    };
    Flow { network: network.clone(), nic: nic.address, source, destination, protocol, port }
}
