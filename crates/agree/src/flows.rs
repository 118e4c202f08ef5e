//! The flows to try in a world: from everywhere to every kind of destination.

use crate::worlds::{PORTS, edges};
use fastrand::Rng;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tombolo_fabric::{Fabric, Flow, INTERNET_CLIENT, METADATA_SERVER, Nic, Owner};
use tombolo_model::NetworkKey;
use tombolo_model::address::EXTERNAL;

/// So many random flows of a Fabric.
pub fn flows(fabric: &Fabric, most: usize, rng: &mut Rng) -> Vec<Flow> {
    let all =
        || fabric.networks.iter().flat_map(|(key, network)| network.nics.values().map(move |nic| (key, nic)));
    let senders: Vec<&Owner> = all().map(|(_, nic)| &nic.owner).collect();
    let addresses: Vec<IpAddr> = all()
        .filter(|(_, nic)| !nic.owner.is_iap())
        .flat_map(|(_, nic)| {
            own_addresses(nic).chain(nic.external.into_iter().chain(nat(nic)).map(IpAddr::V4))
        })
        .collect();
    // Few worlds have IPv6, and in those not everybody.
    let ipv6: Vec<IpAddr> = addresses.iter().copied().filter(IpAddr::is_ipv6).collect();
    let external = all().flat_map(|(_, nic)| nic.external.into_iter().chain(nat(nic)));
    let outside: Vec<IpAddr> = external.chain([INTERNET_CLIENT]).map(IpAddr::V4).collect();
    if addresses.is_empty() {
        return Vec::new();
    }
    let ranges = fabric.networks.values().flat_map(|n| n.ranges.iter().copied());
    let edges: Vec<IpAddr> = ranges.flat_map(edges_of).collect();
    // Where only a static route leads, one's own or a peer's.
    let routes = || fabric.networks.values().flat_map(|network| &network.routes);
    let far = routes().map(|route| inside(route.destination, rng));
    // What goes to 127.0.0.0/8 never leaves the guest.
    let far: Vec<IpAddr> = far.filter(|address| !address.is_loopback()).collect();
    // Forwarding rules' addresses, and what clients of published services become.
    let rules = fabric.networks.values().flat_map(|network| network.forwarding.keys().copied());
    let forwarded = rules.chain(fabric.published().map(|(_, _, to)| to.nat));
    let forwarded: Vec<IpAddr> = forwarded.map(IpAddr::V4).collect();
    let odd: [IpAddr; 3] = [BEYOND, METADATA_SERVER, tombolo_fabric::IAP_CLIENT].map(IpAddr::V4);
    // No group that guests listen to: they would hear themselves.
    let odd_6 = ["fe80::1", "ff05::2", "fd20:ce::254", "2001:db8::1"].map(|odd| odd.parse::<IpAddr>());
    let odd: Vec<IpAddr> = odd.into_iter().chain(odd_6.into_iter().flatten()).collect();
    let mut flows = Vec::new();
    while flows.len() < most {
        let owner = senders[rng.usize(..senders.len())];
        let destination = match rng.u8(..if forwarded.is_empty() { 28 } else { 40 }) {
            28.. => forwarded[rng.usize(..forwarded.len())],
            26.. => outside[rng.usize(..outside.len())],
            20.. if !far.is_empty() => far[rng.usize(..far.len())],
            0 => edges[rng.usize(..edges.len())],
            1 => next(addresses[rng.usize(..addresses.len())]),
            2 => odd[rng.usize(..odd.len())],
            3..8 if !ipv6.is_empty() => ipv6[rng.usize(..ipv6.len())],
            _ => addresses[rng.usize(..addresses.len())],
        };
        // What an endpoint sends to itself is tried apart.
        let own = fabric.nics_of(owner).iter().any(|(_, nic)| nic.has(destination));
        let sender = fabric.nic_towards(owner, destination).filter(|_| !own);
        // Who has no address of that version of IP sends nothing.
        let sender = sender.filter(|(_, nic)| nic.address_like(destination).is_some());
        flows.extend(sender.map(|sender| flow(fabric, sender, destination, &addresses, rng)));
    }
    flows.extend(outwards(fabric, rng));
    flows.extend(within(fabric, &addresses, rng));
    flows
}

/// An address that no world has.
const BEYOND: Ipv4Addr = Ipv4Addr::new(8, 8, 4, 4);

/// From every address of every instance to the internet, where there is one: which of them become others there differs. And
/// beyond it what is no connection, which gets there by another way.
fn outwards(fabric: &Fabric, rng: &mut Rng) -> Vec<Flow> {
    let mut flows = Vec::new();
    if fabric.nics_of(&Owner::Internet).is_empty() {
        return flows;
    }
    for (network, nic) in
        fabric.networks.iter().flat_map(|(key, n)| n.nics.values().map(move |nic| (key, nic)))
    {
        let leaves = fabric.nic_towards(&nic.owner, INTERNET_CLIENT.into()).is_some_and(|(_, by)| by == nic);
        if !leaves || !matches!(nic.owner, Owner::Instance(_)) {
            continue;
        }
        flows.extend(own_addresses(nic).filter(IpAddr::is_ipv4).map(|source| Flow {
            network: network.clone(),
            nic: nic.address,
            source,
            destination: INTERNET_CLIENT.into(),
            protocol: 6,
            port: PORTS[rng.usize(..PORTS.len())],
        }));
    }
    if fabric.host_has(BEYOND.into()) {
        let beyond = |(number, flow): (usize, &Flow)| {
            let (protocol, port) = if number % 2 == 0 { (1, 0) } else { (17, flow.port) };
            Flow { destination: BEYOND.into(), protocol, port, ..flow.clone() }
        };
        flows.extend(flows.iter().enumerate().map(beyond).collect::<Vec<_>>());
    }
    flows
}

/// From every endpoint to each of its own addresses: rules, routes and peerings have no say in it.
fn within(fabric: &Fabric, addresses: &[IpAddr], rng: &mut Rng) -> Vec<Flow> {
    let all = || fabric.networks.values().flat_map(|network| network.nics.values());
    let own = all().flat_map(|nic| own_addresses(nic).map(|address| (&nic.owner, address)));
    let sent = own.filter_map(|(owner, address)| {
        let sender = fabric.nic_towards(owner, address)?;
        Some(flow(fabric, sender, address, addresses, rng))
    });
    sent.collect()
}

/// The address of an interface's NAT gateway.
fn nat(nic: &Nic) -> Option<Ipv4Addr> {
    nic.nat.as_ref().map(|nat| nat.address)
}

/// Any address of a range.
fn inside(range: IpNet, rng: &mut Rng) -> IpAddr {
    match range {
        IpNet::V4(range) => {
            Ipv4Addr::from(rng.u32(u32::from(range.network())..=u32::from(range.broadcast()))).into()
        }
        IpNet::V6(range) => {
            Ipv6Addr::from(rng.u128(u128::from(range.network())..=u128::from(range.broadcast()))).into()
        }
    }
}

/// The edges of a subnetwork's range.
fn edges_of(range: IpNet) -> Vec<IpAddr> {
    match range {
        IpNet::V4(range) => edges(range).map(IpAddr::V4).to_vec(),
        IpNet::V6(range) => {
            let last = u128::from(range.broadcast());
            [range.network(), Ipv6Addr::from(last), Ipv6Addr::from(last.wrapping_add(1))]
                .map(IpAddr::V6)
                .to_vec()
        }
    }
}

/// The address after this one.
fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).wrapping_add(1)).into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address).wrapping_add(1)).into(),
    }
}

/// An interface's address, and the first and the last of each of its alias ranges and of its IPv6 range.
fn own_addresses(nic: &Nic) -> impl Iterator<Item = IpAddr> {
    let aliases = nic.aliases.iter().flat_map(|range| [range.network(), range.broadcast()]);
    let ipv6 = nic.ipv6.into_iter().flat_map(|range| [range.network(), range.broadcast()]);
    std::iter::once(nic.address).chain(aliases).map(IpAddr::V4).chain(ipv6.map(IpAddr::V6))
}

/// A flow from an interface, now and then from an alias of it or with another's source address.
fn flow(
    fabric: &Fabric,
    (network, nic): (&NetworkKey, &Nic),
    destination: IpAddr,
    addresses: &[IpAddr],
    rng: &mut Rng,
) -> Flow {
    // Mostly those that have ports: where a range of ports ends is found by chance.
    const PROTOCOLS: [u8; 16] = [1, 6, 6, 6, 6, 6, 6, 6, 17, 17, 17, 132, 132, 50, 51, 4];
    // Addresses that become others belong to other worlds' connections as well: there only ports tell these apart.
    let endpoint = fabric.published().any(|(_, endpoint, _)| destination == endpoint);
    let outside = endpoint || destination == INTERNET_CLIENT || IpNet::from(EXTERNAL).contains(&destination);
    let most = if outside { 13 } else { PROTOCOLS.len() };
    let protocol = match PROTOCOLS[rng.usize(..most)] {
        1 if destination.is_ipv6() => 58,
        protocol => protocol,
    };
    let port = if [6, 17, 132].contains(&protocol) { PORTS[rng.usize(..PORTS.len())] } else { 0 };
    let alike = |address: &IpAddr| address.is_ipv4() == destination.is_ipv4();
    let addresses: Vec<IpAddr> = addresses.iter().copied().filter(alike).collect();
    let own: Vec<IpAddr> = own_addresses(nic).filter(alike).collect();
    let spoof = if addresses.is_empty() { own[0] } else { addresses[rng.usize(..addresses.len())] };
    let nics = fabric.networks.values().flat_map(|network| network.nics.values());
    // No kernel takes a packet that says it is from itself.
    let receivers_own = nics.into_iter().any(|nic| nic.has(spoof) && nic.has(destination));
    let source = match rng.u8(..12) {
        0 if !receivers_own => spoof,
        1..5 => own[rng.usize(..own.len())],
        _ => own[0],
    };
    Flow { network: network.clone(), nic: nic.address, source, destination, protocol, port }
}
