//! Attempts with IPv4 packets: what mallory sends to its gateway.

use std::net::Ipv4Addr;

use tombolo_fabric::{IAP_CLIENT, METADATA_SERVER};
use tombolo_model::instance::mac_of;

use crate::frame::{CLOSED_PORT, Frame, ICMP, IGMP, IPV4, Ip, PORT, TCP, UDP, ethernet};
use crate::scene::{CLOSED, FAR, GATEWAY, MALLORY, NOBODY, OPEN, OTHER, PEER, REDIS, Scene, gateway_mac};
use crate::suite::{Attempt, nothing};

/// ESP (RFC 4303), GRE (RFC 2784) and IPv4 in IPv4 (RFC 2003).
const ESP: u8 = 50;
const GRE: u8 = 47;
const IPIP: u8 = 4;

/// Where the gateway hears it.
fn to_gateway(packet: Vec<u8>) -> Vec<Frame> {
    vec![ethernet(gateway_mac(MALLORY), mac_of(MALLORY), IPV4, &packet)]
}

/// A datagram to an open VM that says it is from somebody else.
fn from(source: Ipv4Addr) -> Vec<Frame> {
    udp(source, OPEN)
}

fn udp(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<Frame> {
    to_gateway(Ip::new(source, destination, UDP).udp((PORT, PORT), b"isolation"))
}

/// A datagram of mallory's own to where it should not get.
fn to(destination: Ipv4Addr) -> Vec<Frame> {
    udp(MALLORY, destination)
}

fn ping(destination: Ipv4Addr) -> Vec<Frame> {
    to_gateway(Ip::new(MALLORY, destination, ICMP).ping())
}

fn tcp(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16), flags: u8) -> Vec<Frame> {
    to_gateway(Ip::new(source, destination, TCP).tcp(ports, flags))
}

const fn attempt(name: &'static str, tries: &'static str, frames: fn() -> Vec<Frame>) -> Attempt {
    Attempt { name, tries, from: "mallory", before: nothing, frames }
}

/// Sources that are not mallory's.
pub(crate) const SPOOFED: &[Attempt] = &[
    attempt("spoof-tcp", "a SYN in a neighbour's name", || tcp(CLOSED, OPEN, (4000, PORT), 2)),
    attempt("spoof-udp", "a datagram in a neighbour's name", || from(CLOSED)),
    attempt("spoof-icmp", "an echo request in a neighbour's name", || {
        to_gateway(Ip::new(CLOSED, OPEN, ICMP).ping())
    }),
    attempt("spoof-esp", "a protocol without ports in a neighbour's name", || {
        to_gateway(Ip::new(CLOSED, OPEN, ESP).packet(b"isolation"))
    }),
    attempt("spoof-across-a-peering", "a neighbour's name, told to a peer", || udp(CLOSED, PEER)),
    attempt("spoof-a-peer", "the name of a VM in the peer's network", || from(PEER)),
    attempt("spoof-a-peer-to-itself", "a peer's own name, told to the peer", || udp(PEER, PEER)),
    attempt("spoof-the-receiver", "the receiver's own name (land)", || from(OPEN)),
    attempt("spoof-nobody", "an address of the subnetwork that nobody has", || from(NOBODY)),
    attempt("spoof-the-gateway", "the gateway's name", || from(GATEWAY)),
    attempt("spoof-iap", "the name of Identity-Aware Proxy, whose packets pass no egress gate", || {
        from(IAP_CLIENT)
    }),
    attempt("spoof-the-metadata-server", "the metadata server's name", || from(METADATA_SERVER)),
    attempt("spoof-redis", "the name of a managed service behind a peer", || udp(REDIS, PEER)),
    attempt("spoof-the-internet", "the name of a host out there", || from(Ipv4Addr::new(8, 8, 8, 8))),
    attempt("spoof-loopback", "127.0.0.1", || from(Ipv4Addr::LOCALHOST)),
    attempt("spoof-unspecified", "0.0.0.0", || from(Ipv4Addr::UNSPECIFIED)),
    attempt("spoof-broadcast", "255.255.255.255", || from(Ipv4Addr::BROADCAST)),
    attempt("spoof-multicast", "a multicast group for a source", || from(Ipv4Addr::new(224, 0, 0, 1))),
    attempt("spoof-with-the-mac", "a neighbour's name and its MAC address too", || {
        let packet = Ip::new(CLOSED, OPEN, UDP).udp((PORT, PORT), b"isolation");
        vec![ethernet(gateway_mac(MALLORY), mac_of(CLOSED), IPV4, &packet)]
    }),
    attempt("spoof-to-the-metadata-server", "a question whose answer would go to a neighbour", || {
        to_gateway(Ip::new(OPEN, METADATA_SERVER, ICMP).ping())
    }),
];

/// Frames past the gateway.
pub(crate) const PAST_THE_GATEWAY: &[Attempt] = &[
    attempt("frame-to-a-neighbour", "a frame to a neighbour's MAC address", || {
        let packet = Ip::new(MALLORY, OPEN, UDP).udp((PORT, PORT), b"isolation");
        vec![ethernet(mac_of(OPEN), mac_of(MALLORY), IPV4, &packet)]
    }),
    attempt("frame-to-all", "a packet to a neighbour in a broadcast frame", || {
        let packet = Ip::new(MALLORY, OPEN, UDP).udp((PORT, PORT), b"isolation");
        vec![ethernet([0xff; 6], mac_of(MALLORY), IPV4, &packet)]
    }),
    attempt("frame-to-a-group", "a packet to a neighbour in a multicast frame", || {
        let packet = Ip::new(MALLORY, OPEN, UDP).udp((PORT, PORT), b"isolation");
        vec![ethernet([1, 0, 0x5e, 0, 0, 1], mac_of(MALLORY), IPV4, &packet)]
    }),
    attempt("broadcast", "a datagram to 255.255.255.255", || to(Ipv4Addr::BROADCAST)),
    attempt("directed-broadcast", "a datagram to the subnetwork's last address", || {
        to(Ipv4Addr::new(10, 1, 255, 255))
    }),
    attempt("subnetwork-zero", "a datagram to the subnetwork's first address", || {
        to(Ipv4Addr::new(10, 1, 0, 0))
    }),
    attempt("multicast", "a datagram to all hosts", || to(Ipv4Addr::new(224, 0, 0, 1))),
    attempt("multicast-dns", "a question to everybody's resolver", || to(Ipv4Addr::new(224, 0, 0, 251))),
    attempt("join-a-group", "an IGMP report, that groups be sent here", || {
        let report = [0x22, 0, 0xf9, 2, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3];
        to_gateway(Ip::new(MALLORY, Ipv4Addr::new(224, 0, 0, 22), IGMP).packet(&report))
    }),
    attempt("dhcp-question", "a DHCP discover to everybody", || {
        let discover = [&[1, 1, 6, 0][..], &[7; 4], &[0; 228], &[99, 130, 83, 99, 53, 1, 1, 255]].concat();
        to_gateway(Ip::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, UDP).udp((68, 67), &discover))
    }),
    attempt("dhcp-server", "a DHCP offer to everybody", || {
        let offer = [&[2, 1, 6, 0][..], &[7; 4], &[0; 228], &[99, 130, 83, 99, 53, 1, 2, 255]].concat();
        to_gateway(Ip::new(MALLORY, Ipv4Addr::BROADCAST, UDP).udp((67, 68), &offer))
    }),
];

/// Destinations that are not mallory's to reach.
pub(crate) const TRANSIT: &[Attempt] = &[
    attempt("transit", "a VM two peerings away", || to(FAR)),
    attempt("transit-ping", "the same by an echo request", || ping(FAR)),
    attempt("transit-to-redis", "a managed service behind a peer", || tcp(MALLORY, REDIS, (4000, 6379), 2)),
    attempt("stranger", "a VM of a network without a peering", || to(OTHER)),
    attempt("gateway-ping", "one's own gateway", || ping(GATEWAY)),
    attempt("gateway-tcp", "a port of one's own gateway", || tcp(MALLORY, GATEWAY, (4000, CLOSED_PORT), 2)),
    attempt("gateway-of-a-peer", "the gateway of the peer's network", || ping(Ipv4Addr::new(10, 2, 0, 1))),
    attempt("gateway-of-a-stranger", "the gateway of a network without a peering", || {
        ping(Ipv4Addr::new(10, 4, 0, 1))
    }),
    attempt("link-between-routers", "the address by which a router calls the next", || {
        ping(Ipv4Addr::new(169, 254, 0, 1))
    }),
    attempt("routers-loopback", "127.0.0.1, which would be the router's", || to(Ipv4Addr::LOCALHOST)),
    attempt("routers-unspecified", "0.0.0.0, which a kernel takes for itself", || to(Ipv4Addr::UNSPECIFIED)),
    attempt("iap-client", "the client of Identity-Aware Proxy, to which no flow goes", || to(IAP_CLIENT)),
    attempt("loose-source-route", "a peer is told to pass it on", || source_route(0x83, PEER, FAR)),
    attempt("strict-source-route", "a peer is told to pass it on, by no other way", || {
        source_route(0x89, PEER, FAR)
    }),
    attempt("source-route-by-the-router", "the router itself is told to pass it on", || {
        source_route(0x83, METADATA_SERVER, FAR)
    }),
    attempt("tunnel-to-the-router", "an IPv4 packet in one to the router", || {
        let inner = Ip::new(CLOSED, FAR, UDP).udp((PORT, PORT), b"isolation");
        to_gateway(Ip::new(MALLORY, GATEWAY, IPIP).packet(&inner))
    }),
    attempt("gre-to-the-router", "an IPv4 packet in a GRE tunnel to the router", || {
        let inner = Ip::new(CLOSED, FAR, UDP).udp((PORT, PORT), b"isolation");
        to_gateway(Ip::new(MALLORY, GATEWAY, GRE).packet(&[&[0, 0, 8, 0][..], &inner].concat()))
    }),
    attempt("last-hop", "a time to live that ends at the router, for a VM two peerings away", || {
        let ip = Ip { ttl: 1, ..Ip::new(MALLORY, FAR, UDP) };
        to_gateway(ip.udp((PORT, PORT), b"isolation"))
    }),
];

/// An LSRR (0x83) or SSRR (0x89) option (RFC 791).
fn source_route(option: u8, first: Ipv4Addr, then: Ipv4Addr) -> Vec<Frame> {
    let options = [&[option, 7, 4][..], &then.octets(), &[0]].concat();
    let ip = Ip { options, ..Ip::new(MALLORY, first, UDP) };
    to_gateway(ip.udp((PORT, PORT), b"isolation"))
}

/// Past a gate that lets only one port through, in pieces.
pub(crate) const FRAGMENTS: &[Attempt] = &[
    attempt(
        "tiny-fragments",
        "the ports in a first fragment of eight bytes, the flags in the second",
        || {
            let ip = Ip::new(MALLORY, CLOSED, TCP);
            pieces(&ip, &ip.tcp_body((4000, CLOSED_PORT), 2), 101, &[0, 8])
        },
    ),
    attempt("ports-in-no-first-fragment", "a second fragment alone", || {
        let ip = Ip::new(MALLORY, CLOSED, UDP);
        to_gateway(ip.fragment(102, 8, false).packet(b"isolation"))
    }),
    attempt("fragments-backwards", "the second fragment before the first, to a closed port", || {
        let ip = Ip::new(MALLORY, CLOSED, UDP);
        let mut frames = pieces(&ip, &ip.udp_body((PORT, CLOSED_PORT), b"isolation!!!"), 103, &[0, 8]);
        frames.reverse();
        frames
    }),
    attempt("overlapping-fragments", "an open port, and a fragment that lays a closed one over it", || {
        let ip = Ip::new(MALLORY, CLOSED, UDP);
        let open = ip.udp_body((PORT, PORT), b"isolation!!!isol");
        let closed = ip.udp_body((PORT, CLOSED_PORT), b"isolation!!!isol");
        // Not of the same length: that would be the same fragment once more, of which the first one counts.
        [
            to_gateway(ip.fragment(104, 0, true).packet(&open[..8])),
            to_gateway(ip.fragment(104, 0, true).packet(&closed[..16])),
            to_gateway(ip.fragment(104, 16, false).packet(&open[16..])),
        ]
        .concat()
    }),
    attempt("fragment-past-the-end", "a fragment that ends after 65,535 bytes (ping of death)", || {
        let ip = Ip::new(MALLORY, OPEN, ICMP);
        to_gateway(ip.fragment(105, 65528, false).packet(&[8; 64]))
    }),
    attempt("fragments-of-another", "fragments in a neighbour's name", || {
        let ip = Ip::new(CLOSED, OPEN, UDP);
        pieces(&ip, &ip.udp_body((PORT, PORT), b"isolation!!!"), 106, &[0, 8])
    }),
    attempt("fragments-in-transit", "fragments to a VM two peerings away", || {
        let ip = Ip::new(MALLORY, FAR, UDP);
        pieces(&ip, &ip.udp_body((PORT, PORT), b"isolation!!!"), 107, &[0, 8])
    }),
];

/// A packet in fragments that begin at these places.
pub(crate) fn pieces(ip: &Ip, body: &[u8], id: u16, starts: &[usize]) -> Vec<Frame> {
    let ends = starts.iter().skip(1).copied().chain([body.len()]);
    let one = |(start, end): (&usize, usize)| {
        let more = end < body.len();
        to_gateway(ip.fragment(id, *start as u16, more).packet(&body[*start..end]))
    };
    starts.iter().zip(ends).flat_map(one).collect()
}

/// What passes as a part of something that was let through.
pub(crate) const STATE: &[Attempt] = &[
    attempt("ack-of-nothing", "an ACK of no connection, to a closed port", || {
        tcp(MALLORY, CLOSED, (4001, CLOSED_PORT), 16)
    }),
    attempt("syn-ack-of-nothing", "the answer to a SYN that nobody sent", || {
        tcp(MALLORY, CLOSED, (4002, CLOSED_PORT), 18)
    }),
    attempt("rst-of-nothing", "a RST of no connection", || tcp(MALLORY, CLOSED, (4003, CLOSED_PORT), 4)),
    attempt("all-flags", "a segment with every flag (xmas)", || {
        tcp(MALLORY, CLOSED, (4004, CLOSED_PORT), 0x3f)
    }),
    attempt("no-flags", "a segment with none (null)", || tcp(MALLORY, CLOSED, (4005, CLOSED_PORT), 0)),
    Attempt {
        name: "rst-of-anothers-connection",
        from: "mallory",
        tries: "a RST with the ports of a connection between closed and a peer",
        before: closed_talks,
        frames: || tcp(MALLORY, CLOSED, (PORT, PORT), 4),
    },
    Attempt {
        name: "rst-in-a-peers-name",
        from: "mallory",
        tries: "the same in the peer's name",
        before: closed_talks,
        frames: || tcp(PEER, CLOSED, (PORT, PORT), 4),
    },
    Attempt {
        name: "reply-in-a-peers-name",
        from: "mallory",
        tries: "a datagram as if it were the peer's reply to closed, from where closed expects one",
        before: closed_talks,
        frames: || udp(PEER, CLOSED),
    },
    Attempt {
        name: "beside-anothers-flow",
        from: "mallory",
        tries: "a datagram to the port at which closed awaits a peer's reply",
        before: closed_talks,
        frames: || to_gateway(Ip::new(MALLORY, CLOSED, UDP).udp((PORT, CLOSED_PORT), b"isolation")),
    },
    attempt("error-about-nothing", "an ICMP error about a flow that does not exist", || {
        error(3, 3, CLOSED, &Ip::new(CLOSED, PEER, UDP).udp((999, 999), b"isolation"))
    }),
    Attempt {
        name: "error-about-anothers-flow",
        from: "mallory",
        tries: "that a peer's port cannot be reached, told to closed while it talks to the peer",
        before: closed_talks,
        frames: || error(3, 3, CLOSED, &Ip::new(CLOSED, PEER, UDP).udp((PORT, PORT), b"isolation")),
    },
    Attempt {
        name: "smaller-mtu-for-another",
        from: "mallory",
        tries: "that closed's packets to the peer are too large (the way's MTU, poisoned)",
        before: closed_talks,
        frames: || error(3, 4, CLOSED, &Ip::new(CLOSED, PEER, UDP).udp((PORT, PORT), b"isolation")),
    },
    Attempt {
        name: "redirect-in-the-gateways-name",
        from: "mallory",
        tries: "an ICMP redirect that says that the way is mallory, from the gateway",
        before: closed_talks,
        frames: || {
            let quoted = Ip::new(CLOSED, PEER, UDP).udp((PORT, PORT), b"isolation");
            to_gateway(Ip::new(GATEWAY, CLOSED, ICMP).icmp(5, 1, MALLORY.octets(), &quoted))
        },
    },
    Attempt {
        name: "redirect-in-ones-own-name",
        from: "mallory",
        tries: "the same from mallory itself",
        before: closed_talks,
        frames: || {
            let quoted = Ip::new(CLOSED, PEER, UDP).udp((PORT, PORT), b"isolation");
            to_gateway(Ip::new(MALLORY, CLOSED, ICMP).icmp(5, 1, MALLORY.octets(), &quoted))
        },
    },
    attempt("router-discovery", "an ICMP router advertisement to all", || {
        let ip = Ip::new(MALLORY, Ipv4Addr::new(224, 0, 0, 1), ICMP);
        to_gateway(ip.icmp(9, 0, [1, 2, 7, 8], &[MALLORY.octets(), [0x7f, 0xff, 0xff, 0xff]].concat()))
    }),
];

/// An ICMP error that quotes a packet; the MTU of code 4 is 68.
fn error(kind: u8, code: u8, destination: Ipv4Addr, quoted: &[u8]) -> Vec<Frame> {
    to_gateway(Ip::new(MALLORY, destination, ICMP).icmp(kind, code, [0, 0, 0, 68], quoted))
}

/// Closed talks to the peer by UDP and TCP, and awaits its replies.
fn closed_talks(scene: &mut Scene) {
    scene.ear("closed").connect(PEER.into());
    scene.settle();
}
