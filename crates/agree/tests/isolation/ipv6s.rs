//! Attempts with IPv6 packets, where networks have it: what mallory sends to its gateway.

use std::net::{Ipv4Addr, Ipv6Addr};

use tombolo_model::instance::mac_of;

use crate::frame::{CLOSED_PORT, Frame, IPV4, IPV6, Ip, Ip6, PORT, ethernet};
use crate::scene::{CLOSED, MALLORY, OPEN, PEER, Scene, gateway_mac, ipv6_of};
use crate::suite::{Attempt, nothing};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Extension headers (IANA protocol numbers; RFC 8200, 4): hop-by-hop options, routing, fragment, destination options.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// IPv4 in IPv6, and IPv6 in anything.
const IPV4_IN: u8 = 4;
const IPV6_IN: u8 = 41;
/// Google's own server of those without IPv4: here where routers' errors come from.
const SERVER: Ipv6Addr = tombolo_model::ipv6::SERVER;
/// What guests call their router.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn mallory() -> Ipv6Addr {
    ipv6_of("mallory")
}

/// Where the gateway hears it.
fn to_gateway(packet: Vec<u8>) -> Vec<Frame> {
    vec![ethernet(gateway_mac(MALLORY), mac_of(MALLORY), IPV6, &packet)]
}

fn udp(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<Frame> {
    to_gateway(Ip6::new(source, destination).udp((PORT, PORT), b"isolation"))
}

/// A datagram to an open VM that says it is from somebody else.
fn from(source: Ipv6Addr) -> Vec<Frame> {
    udp(source, ipv6_of("open"))
}

/// A datagram of mallory's own to where it should not get.
fn to(destination: Ipv6Addr) -> Vec<Frame> {
    udp(mallory(), destination)
}

fn ping(destination: Ipv6Addr) -> Vec<Frame> {
    to_gateway(Ip6::new(mallory(), destination).icmp(128, [0x12, 0x34, 0, 1], b"isolation"))
}

/// A message of neighbour discovery to an open VM's own address, with the hop limit that these need.
fn discovery(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, word: [u8; 4], rest: &[u8]) -> Vec<Frame> {
    let ip = Ip6 { hops: 255, ..Ip6::new(source, destination) };
    to_gateway(ip.icmp(kind, word, rest))
}

/// A datagram to a port that the firewall closes, behind extension headers.
fn behind(headers: Vec<(u8, Vec<u8>)>) -> Vec<Frame> {
    let ip = Ip6 { headers, ..Ip6::new(mallory(), ipv6_of("closed")) };
    to_gateway(ip.udp((PORT, CLOSED_PORT), b"isolation"))
}

/// A header of options that are padding alone.
fn options() -> Vec<u8> {
    vec![0, 0, 1, 4, 0, 0, 0, 0]
}

/// A routing header of a type: on the packet's way lies `first`, and after it `then` (RFC 2460, 4.4; RFC 6275).
fn routing(kind: u8, then: Ipv6Addr) -> (u8, Vec<u8>) {
    (ROUTING, [&[0, 2, kind, 1, 0, 0, 0, 0][..], &then.octets()].concat())
}

/// A fragment header (RFC 8200, 4.5).
fn fragment(id: u32, at: u16, more: bool) -> (u8, Vec<u8>) {
    (FRAGMENT, [&[0, 0][..], &(at | u16::from(more)).to_be_bytes(), &id.to_be_bytes()].concat())
}

/// A body in fragments that begin at these places.
fn pieces(ip: &Ip6, protocol: u8, body: &[u8], id: u32, starts: &[usize]) -> Vec<Frame> {
    let ends = starts.iter().skip(1).copied().chain([body.len()]);
    let one = |(start, end): (&usize, usize)| {
        let headers = vec![fragment(id, *start as u16, end < body.len())];
        to_gateway(Ip6 { headers, ..ip.clone() }.packet(protocol, &body[*start..end]))
    };
    starts.iter().zip(ends).flat_map(one).collect()
}

/// The honest use of all this, and who should hear it: see the suite.
pub(crate) fn honest() -> Vec<(&'static str, &'static str, Vec<Frame>)> {
    let ip = Ip6::new(mallory(), ipv6_of("open"));
    let aside = Ip6 { headers: vec![(DESTINATION, options())], ..ip.clone() };
    vec![
        ("udp by IPv6", "open", to(ipv6_of("open"))),
        ("tcp by IPv6", "peer", to_gateway(Ip6::new(mallory(), ipv6_of("peer")).tcp((4100, PORT), 2))),
        ("an echo by IPv6", "open", ping(ipv6_of("open"))),
        ("options by IPv6", "open", to_gateway(aside.udp((PORT, PORT), b"isolation"))),
        (
            "fragments by IPv6",
            "open",
            pieces(&ip, UDP, &ip.udp_body((PORT, PORT), b"isolation!!!"), 200, &[0, 8]),
        ),
        ("the open port by IPv6", "closed", to(ipv6_of("closed"))),
    ]
}

const fn attempt(name: &'static str, tries: &'static str, frames: fn() -> Vec<Frame>) -> Attempt {
    Attempt { name, tries, from: "mallory", before: nothing, frames }
}

const fn while_closed_talks(name: &'static str, tries: &'static str, frames: fn() -> Vec<Frame>) -> Attempt {
    Attempt { name, tries, from: "mallory", before: closed_talks, frames }
}

/// Closed talks to the peer, and awaits its replies.
fn closed_talks(scene: &mut Scene) {
    scene.ear("closed").connect(ipv6_of("peer").into());
    scene.settle();
}

/// What closed has sent to the peer, as an error quotes it.
fn quoted() -> Vec<u8> {
    Ip6::new(ipv6_of("closed"), ipv6_of("peer")).udp((PORT, PORT), b"isolation")
}

/// Sources that are not mallory's.
pub(crate) const SPOOFED: &[Attempt] = &[
    attempt("ipv6-spoof-udp", "a datagram in a neighbour's name", || from(ipv6_of("closed"))),
    attempt("ipv6-spoof-tcp", "a SYN in a neighbour's name", || {
        to_gateway(Ip6::new(ipv6_of("closed"), ipv6_of("open")).tcp((4000, PORT), 2))
    }),
    attempt("ipv6-spoof-echo", "an echo request in a neighbour's name", || {
        to_gateway(Ip6::new(ipv6_of("closed"), ipv6_of("open")).icmp(128, [1, 2, 0, 1], b"isolation"))
    }),
    attempt("ipv6-spoof-across-a-peering", "a neighbour's name, told to a peer", || {
        udp(ipv6_of("closed"), ipv6_of("peer"))
    }),
    attempt("ipv6-spoof-a-peer", "the name of a VM in the peer's network", || from(ipv6_of("peer"))),
    attempt("ipv6-spoof-a-peer-to-itself", "a peer's own name, told to the peer", || {
        udp(ipv6_of("peer"), ipv6_of("peer"))
    }),
    attempt("ipv6-spoof-the-receiver", "the receiver's own name (land)", || from(ipv6_of("open"))),
    attempt("ipv6-spoof-nobody", "a range of the subnetwork that nobody has", || {
        from(Ipv6Addr::new(0xfd20, 0, 1, 0, 0, 0x99, 0, 0))
    }),
    attempt("ipv6-spoof-the-next-range", "the address after mallory's last one", || {
        from((u128::from(mallory()) + (1 << 32)).into())
    }),
    attempt("ipv6-spoof-link-local", "a link-local address", || {
        from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2))
    }),
    attempt("ipv6-spoof-the-router", "what guests call their router", || from(ROUTER)),
    attempt("ipv6-spoof-the-server", "what routers' errors come from", || from(SERVER)),
    attempt("ipv6-spoof-the-internet", "the name of a host out there", || {
        from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))
    }),
    attempt("ipv6-spoof-loopback", "::1", || from(Ipv6Addr::LOCALHOST)),
    attempt("ipv6-spoof-unspecified", "no source at all", || from(Ipv6Addr::UNSPECIFIED)),
    attempt("ipv6-spoof-multicast", "a group for a source", || {
        from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
    }),
    attempt("ipv6-spoof-mapped", "a neighbour's IPv4 address, mapped", || from(CLOSED.to_ipv6_mapped())),
    attempt("ipv6-spoof-with-the-mac", "a neighbour's name and its MAC address too", || {
        let packet = Ip6::new(ipv6_of("closed"), ipv6_of("open")).udp((PORT, PORT), b"isolation");
        vec![ethernet(gateway_mac(MALLORY), mac_of(CLOSED), IPV6, &packet)]
    }),
];

/// Destinations that are not mallory's to reach.
pub(crate) const TRANSIT: &[Attempt] = &[
    attempt("ipv6-transit", "a VM two peerings away", || to(ipv6_of("far"))),
    attempt("ipv6-transit-ping", "the same by an echo request", || ping(ipv6_of("far"))),
    attempt("ipv6-stranger", "a VM of a network without a peering", || to(ipv6_of("other"))),
    attempt("ipv6-closed", "a port that the firewall closes", || {
        to_gateway(Ip6::new(mallory(), ipv6_of("closed")).udp((PORT, CLOSED_PORT), b"isolation"))
    }),
    attempt("ipv6-frame-to-a-neighbour", "a frame to a neighbour's MAC address", || {
        let packet = Ip6::new(mallory(), ipv6_of("open")).udp((PORT, PORT), b"isolation");
        vec![ethernet(mac_of(OPEN), mac_of(MALLORY), IPV6, &packet)]
    }),
    attempt("ipv6-frame-to-all", "a packet to a neighbour in a frame to all nodes", || {
        let packet = Ip6::new(mallory(), ipv6_of("open")).udp((PORT, PORT), b"isolation");
        vec![ethernet([0x33, 0x33, 0, 0, 0, 1], mac_of(MALLORY), IPV6, &packet)]
    }),
    attempt("ipv6-all-nodes", "a datagram to all nodes of the link", || {
        to(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
    }),
    attempt("ipv6-site-group", "a datagram to a group beyond the link", || {
        to(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2))
    }),
    attempt("ipv6-neighbours-link-local", "the link-local address that a neighbour's MAC would have", || {
        let [a, b, c, d, e, f] = mac_of(OPEN);
        to(Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
    }),
    attempt("ipv6-router-ping", "what guests call their router", || ping(ROUTER)),
    attempt("ipv6-server-ping", "the metadata server by IPv6", || ping(SERVER)),
    attempt("ipv6-server-tcp", "a port of the metadata server by IPv6", || {
        to_gateway(Ip6::new(mallory(), SERVER).tcp((4000, 80), 2))
    }),
    attempt("ipv6-routers-loopback", "::1, which would be the router's", || to(Ipv6Addr::LOCALHOST)),
    attempt("ipv6-subnet-router", "the subnetwork's first address, which is any router's (RFC 4291)", || {
        ping(Ipv6Addr::new(0xfd20, 0, 1, 0, 0, 0, 0, 0))
    }),
    attempt("ipv6-last-hop", "a hop limit that ends at the router, for a VM two peerings away", || {
        let ip = Ip6 { hops: 1, ..Ip6::new(mallory(), ipv6_of("far")) };
        to_gateway(ip.udp((PORT, PORT), b"isolation"))
    }),
    attempt("ipv6-dhcp-server", "an offer to a neighbour's DHCPv6 client (udp:546)", || {
        to_gateway(Ip6::new(mallory(), ipv6_of("open")).udp((547, 546), &[2, 0, 0, 1]))
    }),
    attempt("ipv6-in-ipv4", "an IPv6 packet in an IPv4 one to the router", || {
        let inner = Ip6::new(ipv6_of("closed"), ipv6_of("far")).udp((PORT, PORT), b"isolation");
        let packet = Ip::new(MALLORY, Ipv4Addr::new(10, 1, 0, 1), IPV6_IN).packet(&inner);
        vec![ethernet(gateway_mac(MALLORY), mac_of(MALLORY), IPV4, &packet)]
    }),
    attempt("ipv4-in-ipv6", "an IPv4 packet in an IPv6 one to the router", || {
        let inner = Ip::new(CLOSED, PEER, UDP).udp((PORT, PORT), b"isolation");
        to_gateway(Ip6::new(mallory(), SERVER).packet(IPV4_IN, &inner))
    }),
];

/// Neighbour discovery to one's own router and past it (RFC 4861): nobody's business here.
pub(crate) const DISCOVERY: &[Attempt] = &[
    attempt("ipv6-solicit-the-router", "asks the router for its address", || {
        discovery(mallory(), ROUTER, 135, [0; 4], &ROUTER.octets())
    }),
    attempt("ipv6-claim-a-neighbours-address", "tells the router that a neighbour's address is here", || {
        let option = [&[2, 1][..], &mac_of(MALLORY)].concat();
        discovery(
            mallory(),
            ROUTER,
            136,
            [0x60, 0, 0, 0],
            &[&ipv6_of("closed").octets()[..], &option].concat(),
        )
    }),
    attempt(
        "ipv6-claim-the-guests-name",
        "tells the router that what it calls all its guests is here",
        || {
            let guest = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
            let option = [&[2, 1][..], &mac_of(MALLORY)].concat();
            discovery(guest, ROUTER, 136, [0x60, 0, 0, 0], &[&guest.octets()[..], &option].concat())
        },
    ),
    attempt("ipv6-advertise-to-a-neighbour", "tells a neighbour that the router is here", || {
        let option = [&[2, 1][..], &mac_of(MALLORY)].concat();
        discovery(mallory(), ipv6_of("open"), 136, [0xe0, 0, 0, 0], &[&ROUTER.octets()[..], &option].concat())
    }),
    attempt("ipv6-router-to-a-neighbour", "tells a neighbour that it is its router", || {
        discovery(mallory(), ipv6_of("open"), 134, [64, 0, 7, 8], &[0; 8])
    }),
    attempt("ipv6-redirect-a-neighbour", "tells a neighbour that a peer is here", || {
        let places = [mallory().octets(), ipv6_of("peer").octets()].concat();
        discovery(ROUTER, ipv6_of("open"), 137, [0; 4], &places)
    }),
    attempt("ipv6-redirect-in-ones-own-name", "the same from mallory itself", || {
        let places = [mallory().octets(), ipv6_of("peer").octets()].concat();
        discovery(mallory(), ipv6_of("open"), 137, [0; 4], &places)
    }),
    attempt("ipv6-solicit-a-neighbour", "asks a neighbour for its address, by its address", || {
        discovery(mallory(), ipv6_of("open"), 135, [0; 4], &ipv6_of("open").octets())
    }),
];

/// Past a gate that lets only one port through, behind headers or in pieces.
pub(crate) const HEADERS: &[Attempt] = &[
    attempt("ipv6-behind-options", "a closed port behind destination options", || {
        behind(vec![(DESTINATION, options())])
    }),
    attempt("ipv6-behind-hop-by-hop", "a closed port behind hop-by-hop options", || {
        behind(vec![(HOP_BY_HOP, options())])
    }),
    attempt("ipv6-behind-many", "a closed port behind a chain of headers", || {
        behind((0..7).map(|_| (DESTINATION, options())).collect())
    }),
    attempt("ipv6-router-alert", "a packet for a VM two peerings away that asks routers to look", || {
        let alert = (HOP_BY_HOP, vec![0, 0, 5, 2, 0, 0, 1, 0]);
        let ip = Ip6 { headers: vec![alert], ..Ip6::new(mallory(), ipv6_of("far")) };
        to_gateway(ip.udp((PORT, PORT), b"isolation"))
    }),
    attempt("ipv6-atomic-fragment", "a closed port in a fragment that is the whole", || {
        behind(vec![fragment(201, 0, false)])
    }),
    attempt("ipv6-tiny-fragments", "a closed port in a fragment of eight bytes", || {
        let ip = Ip6::new(mallory(), ipv6_of("closed"));
        pieces(&ip, TCP, &ip.tcp_body((4000, CLOSED_PORT), 2), 202, &[0, 8])
    }),
    attempt("ipv6-fragments-backwards", "the second fragment before the first, to a closed port", || {
        let ip = Ip6::new(mallory(), ipv6_of("closed"));
        let mut frames = pieces(&ip, UDP, &ip.udp_body((PORT, CLOSED_PORT), b"isolation!!!"), 203, &[0, 8]);
        frames.reverse();
        frames
    }),
    attempt(
        "ipv6-overlapping-fragments",
        "an open port, and a fragment that lays a closed one over it",
        || {
            let ip = Ip6::new(mallory(), ipv6_of("closed"));
            let open = ip.udp_body((PORT, PORT), b"isolation!!!isol");
            let closed = ip.udp_body((PORT, CLOSED_PORT), b"isolation!!!isol");
            let piece = |at: u16, more, body: &[u8]| {
                to_gateway(Ip6 { headers: vec![fragment(204, at, more)], ..ip.clone() }.packet(UDP, body))
            };
            [piece(0, true, &open[..8]), piece(0, true, &closed[..16]), piece(16, false, &open[16..])]
                .concat()
        },
    ),
    attempt("ipv6-fragments-of-another", "fragments in a neighbour's name", || {
        let ip = Ip6::new(ipv6_of("closed"), ipv6_of("open"));
        pieces(&ip, UDP, &ip.udp_body((PORT, PORT), b"isolation!!!"), 205, &[0, 8])
    }),
    attempt("ipv6-fragments-in-transit", "fragments to a VM two peerings away", || {
        let ip = Ip6::new(mallory(), ipv6_of("far"));
        pieces(&ip, UDP, &ip.udp_body((PORT, PORT), b"isolation!!!"), 206, &[0, 8])
    }),
    attempt("ipv6-route-by-the-router", "the router is told to pass it on (routing header 0)", || {
        let ip = Ip6 { headers: vec![routing(0, ipv6_of("far"))], ..Ip6::new(mallory(), SERVER) };
        to_gateway(ip.udp((PORT, PORT), b"isolation"))
    }),
    attempt("ipv6-behind-a-routing-header", "a closed port behind a routing header", || {
        behind(vec![routing(0, ipv6_of("far"))])
    }),
    attempt(
        "ipv6-behind-a-home-address",
        "a closed port behind a routing header of mobile nodes (2)",
        || behind(vec![routing(2, ipv6_of("far"))]),
    ),
];

/// What passes as a part of something that was let through.
pub(crate) const STATE: &[Attempt] = &[
    attempt("ipv6-ack-of-nothing", "an ACK of no connection, to a closed port", || {
        to_gateway(Ip6::new(mallory(), ipv6_of("closed")).tcp((4001, CLOSED_PORT), 16))
    }),
    attempt("ipv6-error-about-nothing", "an error about a flow that does not exist", || {
        let quoted = Ip6::new(ipv6_of("closed"), ipv6_of("peer")).udp((999, 999), b"isolation");
        to_gateway(Ip6::new(mallory(), ipv6_of("closed")).icmp(1, [0, 0, 0, 4], &quoted))
    }),
    while_closed_talks(
        "ipv6-error-about-anothers-flow",
        "that a peer's port cannot be reached, told to closed",
        || to_gateway(Ip6::new(mallory(), ipv6_of("closed")).icmp(1, [0; 4], &quoted())),
    ),
    while_closed_talks(
        "ipv6-smaller-mtu-for-another",
        "that closed's packets to the peer are too big",
        || to_gateway(Ip6::new(mallory(), ipv6_of("closed")).icmp(2, [0, 0, 5, 0], &quoted())),
    ),
    while_closed_talks(
        "ipv6-smaller-mtu-in-the-routers-name",
        "the same from where routers' errors come",
        || to_gateway(Ip6::new(SERVER, ipv6_of("closed")).icmp(2, [0, 0, 5, 0], &quoted())),
    ),
    while_closed_talks("ipv6-rst-in-a-peers-name", "a RST in the peer's name", || {
        to_gateway(Ip6::new(ipv6_of("peer"), ipv6_of("closed")).tcp((PORT, PORT), 4))
    }),
    while_closed_talks(
        "ipv6-reply-in-a-peers-name",
        "a datagram as if it were the peer's reply to closed",
        || udp(ipv6_of("peer"), ipv6_of("closed")),
    ),
    while_closed_talks("ipv6-unknown-message", "an ICMPv6 message of no known type, to closed", || {
        to_gateway(Ip6::new(mallory(), ipv6_of("closed")).icmp(200, [0; 4], &quoted()))
    }),
    attempt("ipv6-wrong-protocol", "ICMP of IPv4 in IPv6, to closed", || {
        let ip = Ip6::new(mallory(), ipv6_of("closed"));
        to_gateway(ip.packet(1, &[8, 0, 0, 0, 1, 2, 0, 1]))
    }),
    attempt("ipv6-no-next-header", "a packet with nothing in it, to closed", || {
        to_gateway(Ip6::new(mallory(), ipv6_of("closed")).packet(59, b"isolation"))
    }),
    attempt("ipv6-echo-reply", "an echo reply that nobody asked for, to closed", || {
        to_gateway(Ip6::new(mallory(), ipv6_of("closed")).icmp(129, [1, 2, 0, 1], b"isolation"))
    }),
];
