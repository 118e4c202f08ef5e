//! Frames, byte by byte: what no kernel would send for a program.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The port at which every ear listens.
pub(crate) const PORT: u16 = 7777;
/// A port that the firewall closes.
pub(crate) const CLOSED_PORT: u16 = 22;

/// A frame, from the destination's MAC on.
pub(crate) type Frame = Vec<u8>;
/// A MAC address.
pub(crate) type Mac = [u8; 6];

pub(crate) const BROADCAST: Mac = [0xff; 6];
/// EtherTypes (IEEE 802 numbers, IANA).
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV6: u16 = 0x86dd;
/// Protocol numbers (IANA).
pub(crate) const ICMP: u8 = 1;
pub(crate) const IGMP: u8 = 2;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// An Ethernet frame.
pub(crate) fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Frame {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// An IPv4 header's fields, those that attempts lie about.
#[derive(Clone, Debug)]
pub(crate) struct Ip {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// Flags and fragment offset, in units of eight bytes: 0x2000 says that there is more.
    pub(crate) fragment: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
}

impl Ip {
    pub(crate) fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Ip {
        Ip { source, destination, protocol, ttl: 64, id: 1, fragment: 0, options: Vec::new() }
    }

    pub(crate) fn fragment(&self, id: u16, at: u16, more: bool) -> Ip {
        Ip { id, fragment: (at / 8) | if more { 0x2000 } else { 0 }, ..self.clone() }
    }

    /// The packet with this payload (RFC 791).
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut bytes = vec![0x40 | (header / 4) as u8, 0];
        bytes.extend(((header + payload.len()) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.options);
        let sum = checksum(&bytes, 0);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// The sum of the pseudo header.
    fn pseudo(&self, length: usize) -> u32 {
        let halves = |a: Ipv4Addr| (u32::from(a) >> 16) + (u32::from(a) & 0xffff);
        halves(self.source) + halves(self.destination) + u32::from(self.protocol) + length as u32
    }

    /// A UDP packet (RFC 768).
    pub(crate) fn udp(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        self.packet(&self.udp_body(ports, payload))
    }

    /// A UDP datagram, to be sent in pieces.
    pub(crate) fn udp_body(&self, (from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let length = 8 + payload.len() as u16;
        let mut body = [from, to, length, 0].map(u16::to_be_bytes).concat();
        body.extend(payload);
        let sum = checksum(&body, self.pseudo(body.len()));
        body[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
        body
    }

    /// A TCP segment without payload (RFC 9293); of the flags, 2 is SYN, 4 RST, 16 ACK.
    pub(crate) fn tcp(&self, ports: (u16, u16), flags: u8) -> Vec<u8> {
        self.packet(&self.tcp_body(ports, flags))
    }

    /// A TCP segment, to be sent in pieces.
    pub(crate) fn tcp_body(&self, (from, to): (u16, u16), flags: u8) -> Vec<u8> {
        let mut body = [from, to].map(u16::to_be_bytes).concat();
        body.extend([0, 0, 1, 0, 0, 0, 1, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let sum = checksum(&body, self.pseudo(body.len()));
        body[16..18].copy_from_slice(&sum.to_be_bytes());
        body
    }

    /// An ICMP message (RFC 792): type, code, four bytes that depend on these, and the rest.
    pub(crate) fn icmp(&self, kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let mut body = vec![kind, code, 0, 0];
        body.extend(word);
        body.extend(rest);
        let sum = checksum(&body, 0);
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(&body)
    }

    /// An echo request.
    pub(crate) fn ping(&self) -> Vec<u8> {
        self.icmp(8, 0, [0x12, 0x34, 0, 1], b"isolation")
    }
}

/// An ARP packet (RFC 826): 1 asks, 2 answers.
pub(crate) fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        bytes.extend(mac);
        bytes.extend(address.octets());
    }
    bytes
}

/// An IPv6 packet (RFC 8200) of one of these protocols, which sum over a pseudo header: 17 UDP, 58 ICMPv6.
pub(crate) fn ipv6(source: [u8; 16], destination: [u8; 16], protocol: u8, mut body: Vec<u8>) -> Vec<u8> {
    let pseudo =
        [&source[..], &destination, &(body.len() as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat();
    let at = if protocol == UDP { 6 } else { 2 };
    let sum = checksum(&[pseudo, body.clone()].concat(), 0);
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    // Neighbour discovery wants a hop limit of 255 (RFC 4861).
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([protocol, 255]);
    [bytes, source.to_vec(), destination.to_vec(), body].concat()
}

/// An IPv6 header's fields, those that attempts lie about (RFC 8200, 3).
#[derive(Clone, Debug)]
pub(crate) struct Ip6 {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hops: u8,
    /// Extension headers, by their numbers; the first byte of each is filled in.
    pub(crate) headers: Vec<(u8, Vec<u8>)>,
}

impl Ip6 {
    pub(crate) fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Ip6 {
        Ip6 { source, destination, hops: 64, headers: Vec::new() }
    }

    /// The packet with this payload.
    pub(crate) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let numbers = self.headers.iter().map(|(number, _)| *number).chain([protocol]);
        let mut rest = Vec::new();
        for ((_, header), next) in self.headers.iter().zip(numbers.clone().skip(1)) {
            rest.push(next);
            rest.extend(&header[1..]);
        }
        rest.extend(payload);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend([numbers.into_iter().next().unwrap_or(protocol), self.hops]);
        [bytes, self.source.octets().to_vec(), self.destination.octets().to_vec(), rest].concat()
    }

    /// A body whose checksum at `at` is over the addresses too.
    fn summed(&self, protocol: u8, at: usize, mut body: Vec<u8>) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        let ends = [self.source.octets(), self.destination.octets()].concat();
        let sum = checksum(&[&ends[..], &length, &[0, 0, 0, protocol], &body].concat(), 0);
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        body
    }

    /// A UDP packet.
    pub(crate) fn udp(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        self.packet(UDP, &self.udp_body(ports, payload))
    }

    /// A UDP datagram, to be sent in pieces.
    pub(crate) fn udp_body(&self, (from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut body = [from, to, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
        body.extend(payload);
        self.summed(UDP, 6, body)
    }

    /// A TCP segment without payload.
    pub(crate) fn tcp(&self, ports: (u16, u16), flags: u8) -> Vec<u8> {
        self.packet(TCP, &self.tcp_body(ports, flags))
    }

    /// A TCP segment, to be sent in pieces.
    pub(crate) fn tcp_body(&self, (from, to): (u16, u16), flags: u8) -> Vec<u8> {
        let mut body = [from, to].map(u16::to_be_bytes).concat();
        body.extend([0, 0, 1, 0, 0, 0, 1, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.summed(TCP, 16, body)
    }

    /// An ICMPv6 message (RFC 4443): type, four bytes that depend on it, and the rest.
    pub(crate) fn icmp(&self, kind: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let body = [&[kind, 0, 0, 0][..], &word, rest].concat();
        self.packet(58, &self.summed(58, 2, body))
    }
}

/// The internet checksum (RFC 1071) of bytes and what was summed before.
fn checksum(bytes: &[u8], before: u32) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum = before + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
