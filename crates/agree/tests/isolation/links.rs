//! Attempts with what is not IPv4.

use std::net::Ipv4Addr;

use tombolo_model::instance::mac_of;

use crate::frame::{ARP, BROADCAST, Frame, IPV4, IPV6, Ip, Mac, PORT, UDP, arp, ethernet, ipv6};
use crate::scene::{CLOSED, GATEWAY, MALLORY, NOBODY, OPEN, PEER, gateway_mac};
use crate::suite::{Attempt, nothing};

const fn attempt(name: &'static str, tries: &'static str, frames: fn() -> Vec<Frame>) -> Attempt {
    Attempt { name, tries, from: "mallory", before: nothing, frames }
}

fn mallory() -> Mac {
    mac_of(MALLORY)
}

/// A frame to the gateway.
fn frame(kind: u16, payload: &[u8]) -> Vec<Frame> {
    frame_to(gateway_mac(MALLORY), kind, payload)
}

fn frame_to(to: Mac, kind: u16, payload: &[u8]) -> Vec<Frame> {
    vec![ethernet(to, mallory(), kind, payload)]
}

fn ask(target: Ipv4Addr) -> Vec<Frame> {
    frame_to(BROADCAST, ARP, &arp(1, (mallory(), MALLORY), ([0; 6], target)))
}

/// Who has an address (RFC 826).
pub(crate) const ARPS: &[Attempt] = &[
    attempt("arp-who-has-a-neighbour", "asks for a neighbour", || ask(OPEN)),
    attempt("arp-who-has-the-gateway", "asks for the gateway", || ask(GATEWAY)),
    attempt("arp-who-has-a-peer", "asks for a VM behind a peering", || ask(PEER)),
    attempt("arp-gratuitous", "announces a neighbour's address as its own", || {
        frame_to(BROADCAST, ARP, &arp(1, (mallory(), OPEN), ([0; 6], OPEN)))
    }),
    attempt("arp-gratuitous-reply", "the same as an answer", || {
        frame_to(BROADCAST, ARP, &arp(2, (mallory(), OPEN), (BROADCAST, OPEN)))
    }),
    attempt("arp-poison-the-router", "tells the router that a neighbour is here", || {
        let router = (gateway_mac(MALLORY), GATEWAY);
        frame(ARP, &arp(2, (mallory(), OPEN), router))
    }),
    attempt("arp-poison-a-neighbour", "tells a neighbour that the gateway is here", || {
        frame_to(mac_of(OPEN), ARP, &arp(2, (mallory(), GATEWAY), (mac_of(OPEN), OPEN)))
    }),
    attempt("arp-claim-a-free-address", "announces an address that nobody has", || {
        frame_to(BROADCAST, ARP, &arp(1, (mallory(), NOBODY), ([0; 6], NOBODY)))
    }),
    attempt("reverse-arp", "asks who it is itself (RFC 903)", || {
        frame_to(BROADCAST, 0x8035, &arp(3, (mallory(), MALLORY), (mallory(), MALLORY)))
    }),
];

/// `fe80::` and a last byte.
fn local(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[1], address[15]) = (0xfe, 0x80, last);
    address
}

/// `ff02::` and a last byte.
fn group(last: u8) -> [u8; 16] {
    let mut address = local(last);
    (address[0], address[1]) = (0xff, 0x02);
    address
}

/// ICMPv6 to a group.
fn icmp6(last: u8, body: &[u8]) -> Vec<Frame> {
    let packet = ipv6(local(2), group(last), 58, body.to_vec());
    frame_to([0x33, 0x33, 0, 0, 0, last], IPV6, &packet)
}

/// IPv6 on the link itself.
pub(crate) const IPV6S: &[Attempt] = &[
    attempt("ipv6-ping-all", "an echo request to all nodes", || {
        icmp6(1, &[128, 0, 0, 0, 1, 2, 0, 1, b'i', b's', b'o', b'l'])
    }),
    attempt("ipv6-solicit", "asks for a neighbour (RFC 4861)", || {
        let option = [&[1, 1][..], &mallory()].concat();
        icmp6(1, &[&[135, 0, 0, 0, 0, 0, 0, 0][..], &local(3), &option].concat())
    }),
    attempt("ipv6-advertise", "announces a neighbour's address as its own", || {
        let option = [&[2, 1][..], &mallory()].concat();
        icmp6(1, &[&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &local(3), &option].concat())
    }),
    attempt("ipv6-router", "announces itself as everybody's router", || {
        icmp6(1, &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    attempt("ipv6-solicit-routers", "asks for routers", || icmp6(2, &[133, 0, 0, 0, 0, 0, 0, 0])),
    attempt("ipv6-join-a-group", "a listener report (RFC 3810)", || {
        let record = [&[4, 0, 0, 0][..], &group(0x99)].concat();
        icmp6(0x16, &[&[143, 0, 0, 0, 0, 0, 0, 1][..], &record].concat())
    }),
    attempt("ipv6-dhcp", "a DHCPv6 solicit", || {
        let body = [&[2, 34, 2, 35, 0, 12, 0, 0][..], &[1, 0, 0, 9]].concat();
        frame_to([0x33, 0x33, 0, 1, 0, 2], IPV6, &ipv6(local(2), group(2), UDP, body))
    }),
    attempt("ipv6-to-the-router", "a datagram to the link-local address of the gateway's MAC", || {
        let [a, b, c, d, e, f] = gateway_mac(MALLORY);
        let router = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        let port = PORT.to_be_bytes();
        let body = [&port[..], &port, &[0, 12, 0, 0], b"isol"].concat();
        frame(IPV6, &ipv6(local(2), router, UDP, body))
    }),
    attempt("ipv6-mapped", "a datagram to a neighbour's mapped IPv4 address", || {
        let mut mapped = [0; 16];
        (mapped[10], mapped[11]) = (0xff, 0xff);
        mapped[12..].copy_from_slice(&OPEN.octets());
        let port = PORT.to_be_bytes();
        let body = [&port[..], &port, &[0, 12, 0, 0], b"isol"].concat();
        frame(IPV6, &ipv6(local(2), mapped, UDP, body))
    }),
];

/// A packet that would be welcome, in something that it should not be in.
fn packet() -> Vec<u8> {
    Ip::new(MALLORY, OPEN, UDP).udp((PORT, PORT), b"isolation")
}

/// A frame with a length for an EtherType (IEEE 802.3), and so LLC after it.
fn llc(to: Mac, payload: &[u8]) -> Vec<Frame> {
    frame_to(to, payload.len() as u16, payload)
}

/// Other EtherTypes.
pub(crate) const ETHERTYPES: &[Attempt] = &[
    attempt("vlan", "a packet with an 802.1Q tag", || {
        frame(0x8100, &[&[0, 5, 8, 0][..], &packet()].concat())
    }),
    attempt("vlan-in-vlan", "a packet with two tags (802.1ad)", || {
        frame(0x88a8, &[&[0, 5, 0x81, 0, 0, 6, 8, 0][..], &packet()].concat())
    }),
    attempt("priority-tag", "a packet with an 802.1Q tag of VLAN 0 in a neighbour's name", || {
        let spoofed = Ip::new(CLOSED, OPEN, UDP).udp((PORT, PORT), b"isolation");
        frame(0x8100, &[&[0, 0, 8, 0][..], &spoofed].concat())
    }),
    attempt("mpls", "a packet with an MPLS label (RFC 3032)", || {
        frame(0x8847, &[&[0, 1, 1, 64][..], &packet()].concat())
    }),
    attempt("lldp", "tells bridges of itself (802.1AB)", || {
        let tlvs = [&[2, 7, 4][..], &mallory(), &[4, 7, 3], &mallory(), &[6, 2, 0, 120, 0, 0]].concat();
        frame_to([1, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &tlvs)
    }),
    attempt("spanning-tree", "says that it is the root of the tree (802.1D)", || {
        llc([1, 0x80, 0xc2, 0, 0, 0], &[&[0x42, 0x42, 3][..], &[0; 35]].concat())
    }),
    attempt("llc", "a packet in 802.2 LLC and SNAP", || {
        llc(gateway_mac(MALLORY), &[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet()].concat())
    }),
    attempt("pause", "asks the link to be silent (802.3x)", || {
        frame_to([1, 0x80, 0xc2, 0, 0, 1], 0x8808, &[&[0, 1, 0xff, 0xff][..], &[0; 42]].concat())
    }),
    attempt("pppoe", "looks for a PPPoE server (RFC 2516)", || {
        frame_to(BROADCAST, 0x8863, &[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0])
    }),
    attempt("802.1x", "asks to be let in", || frame_to([1, 0x80, 0xc2, 0, 0, 3], 0x888e, &[1, 1, 0, 0])),
    attempt("wake-on-lan", "wakes a neighbour", || {
        frame_to(BROADCAST, 0x0842, &[&[0xff; 6][..], &mac_of(OPEN).repeat(16)].concat())
    }),
    attempt("experimental", "an EtherType for experiments (IEEE 802)", || {
        frame_to(BROADCAST, 0x88b5, b"isolation")
    }),
    attempt("ipv4-as-ipv6", "an IPv4 packet that the EtherType says is IPv6", || frame(IPV6, &packet())),
    attempt("ipv6-as-ipv4", "an IPv6 packet that the EtherType says is IPv4", || {
        frame(IPV4, &ipv6(local(2), group(1), 58, vec![128, 0, 0, 0, 1, 2, 0, 1]))
    }),
];
