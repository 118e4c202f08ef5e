//! Asking the packets: a probe is a real packet with a cookie, and its answer is where the cookie was seen.
//!
//! There is no waiting for packets that do not come. After the probes each sender sends a barrier, an echo request to
//! Google's link-local server, which is always allowed, and waits for its reply, several times over. The kernel
//! queues packets in order on the processor that the sender is pinned to, so that when the barriers are back every
//! probe has arrived wherever it was going, or never will. But for those that a fault makes late, for as long as it may.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tombolo_fabric::{Fabric, Flow};

/// What echo requests and datagrams have after their cookie: whoever would send them on into the host's network knows by it
/// that they are probes, which leave no lab. A number like any other.
pub const MARK: [u8; 8] = 0x9d3c_61f7_28b4_e50a_u64.to_be_bytes();

/// Whether it is the payload of a probe, of a datagram, or of an echo request with identifier and sequence number.
pub fn is_probe(payload: &[u8]) -> bool {
    payload.len() == 4 + MARK.len() && payload.ends_with(&MARK)
}

/// A packet to be sent. TCP probes are SYNs, SCTP ones INITs, ICMP ones echo requests; all others carry their cookie as payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The namespace that sends it.
    pub from: String,
    /// Its source address: the sender's own, or not.
    pub source: IpAddr,
    /// Its destination address, of the same version of IP.
    pub destination: IpAddr,
    /// Its IP protocol number.
    pub protocol: u8,
    /// Its destination port, where the protocol has ports.
    pub port: u16,
}

impl Probe {
    /// The first packet of a flow. A flow from an interface that does not exist has no sender either.
    pub fn of(fabric: &Fabric, flow: &Flow) -> Self {
        let nic = fabric.networks.get(&flow.network).and_then(|network| network.nics.get(&flow.nic));
        Self {
            from: nic.map(|nic| nic.owner.to_string()).unwrap_or_default(),
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            port: flow.port,
        }
    }
}

/// What became of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The namespaces in which it arrived from outside.
    pub arrived: Vec<String>,
    /// Whether a reply (TCP's SYN-ACK or RST, ICMP's echo reply) came back to the sender.
    pub replied: bool,
    /// The counters of routers' rules that moved meanwhile, where these are looked at.
    #[serde(default)]
    pub counted: Vec<Counted>,
}

/// A counter that moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counted {
    /// The router's namespace.
    pub router: String,
    /// The counter: see [`crate::rules::counter`].
    pub counter: String,
    /// By how many packets.
    pub packets: u64,
}

/// A packet as bytes: an IPv4 header without checksum (a raw socket's kernel fills it in) or an IPv6 header (RFC 8200, 3), and
/// what follows. `None` of a packet that there cannot be: with addresses of both versions.
pub(crate) fn packet(probe: &Probe, cookie: u32) -> Option<Vec<u8>> {
    let port = source_port(cookie);
    let body = match (probe.protocol, probe.destination) {
        (1, IpAddr::V4(_)) => icmp_with(8, cookie, &MARK),
        (58, IpAddr::V6(_)) => echo_request_6(probe, cookie),
        (6, _) => tcp_syn(probe, port, cookie),
        (17, _) => udp(probe, port, cookie),
        (132, _) => sctp_init(probe, port, cookie),
        (51, _) => authentication_header(cookie),
        _ => cookie.to_be_bytes().to_vec(),
    };
    let mut bytes = match (probe.source, probe.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header(source, destination, probe.protocol, body.len())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header_6(source, destination, probe.protocol, body.len())
        }
        _ => return None,
    };
    bytes.extend(body);
    Some(bytes)
}

fn header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    bytes[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes
}

fn header_6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    bytes[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes
}

/// What a received packet is to the cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The probe itself.
    Probe(u32),
    /// A reply to it.
    Reply(u32),
}

/// Reads the cookie of a received packet. Probes have no extension headers.
pub(crate) fn read(packet: &[u8]) -> Option<Found> {
    let (header, protocol) = match packet.first()? >> 4 {
        4 => (usize::from(packet.first()? & 0x0f) * 4, *packet.get(9)?),
        6 => (40, *packet.get(6)?),
        _ => return None,
    };
    let body = packet.get(header..)?;
    let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    match protocol {
        1 | 58 => match (protocol, body.first()?) {
            (1, 8) | (58, 128) => Some(Found::Probe(word(4)?.rotate_left(16))),
            (1, 0) | (58, 129) => Some(Found::Reply(word(4)?.rotate_left(16))),
            _ => None,
        },
        6 if body.get(13)? & 0x12 == 0x02 => Some(Found::Probe(word(4)?)),
        // SYN-ACK and RST of a closed port both acknowledge the SYN's sequence number and one more.
        6 if body.get(13)? & 0x10 != 0 => Some(Found::Reply(word(8)?.wrapping_sub(1))),
        17 => Some(Found::Probe(word(8)?)),
        132 if *body.get(12)? == 1 => Some(Found::Probe(word(16)?)),
        132 => None,
        51 => Some(Found::Probe(word(4)?)),
        _ => Some(Found::Probe(word(0)?)),
    }
}

/// A source port that differs between probes that are sent soon after one another.
fn source_port(cookie: u32) -> u16 {
    20000 + (cookie % 40000) as u16
}

/// An echo request or reply with the cookie as identifier and sequence number. The part that changes is in the
/// identifier: connection tracking takes two echo requests of one identifier for the same connection.
pub(crate) fn icmp(kind: u8, cookie: u32) -> Vec<u8> {
    icmp_with(kind, cookie, &[])
}

fn icmp_with(kind: u8, cookie: u32, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0];
    body.extend(cookie.rotate_left(16).to_be_bytes());
    body.extend(payload);
    let sum = checksum(&body, 0);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    body
}

/// An echo request of ICMPv6 (RFC 4443, 4.1): as [`icmp`], with a checksum over the addresses too.
fn echo_request_6(probe: &Probe, cookie: u32) -> Vec<u8> {
    let mut body = vec![128, 0, 0, 0];
    body.extend(cookie.rotate_left(16).to_be_bytes());
    let sum = checksum(&body, pseudo_header(probe, body.len()));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    body
}

/// A SYN whose sequence number is the cookie.
fn tcp_syn(probe: &Probe, port: u16, cookie: u32) -> Vec<u8> {
    let mut body = [port.to_be_bytes(), probe.port.to_be_bytes()].concat();
    body.extend(cookie.to_be_bytes());
    body.extend([0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = checksum(&body, pseudo_header(probe, body.len()));
    body[16..18].copy_from_slice(&sum.to_be_bytes());
    body
}

/// A datagram whose payload is the cookie, and the mark.
fn udp(probe: &Probe, port: u16, cookie: u32) -> Vec<u8> {
    let length = 12 + MARK.len() as u16;
    let mut body = [port, probe.port, length, 0].map(u16::to_be_bytes).concat();
    body.extend(cookie.to_be_bytes());
    body.extend(MARK);
    let sum = checksum(&body, pseudo_header(probe, body.len()));
    // Zero would mean "no checksum" (RFC 768).
    body[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    body
}

/// An INIT whose initiate tag is the cookie (RFC 9260, 3.3.2): connection tracking takes no other first packet.
fn sctp_init(probe: &Probe, port: u16, cookie: u32) -> Vec<u8> {
    let mut body = [port.to_be_bytes(), probe.port.to_be_bytes()].concat();
    body.extend([0; 8]); // verification tag 0, and the checksum
    body.extend([1, 0, 0, 20]);
    body.extend(cookie.to_be_bytes());
    body.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]); // window, one stream each way, first number
    let sum = crc32c(&body);
    body[8..12].copy_from_slice(&sum.to_le_bytes());
    body
}

/// An authentication header whose security parameters index is the cookie (RFC 4302, 2), before a protocol for experiments
/// (RFC 3692). In IPv6 it is an extension header: the kernel goes on to what it says comes next.
fn authentication_header(cookie: u32) -> Vec<u8> {
    let mut body = vec![253, 4, 0, 0]; // its length in words, less two
    body.extend(cookie.to_be_bytes());
    body.extend([0; 16]); // sequence number, integrity check value
    body
}

/// SCTP's checksum (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// The sum of the pseudo header of TCP and UDP (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header(probe: &Probe, length: usize) -> u32 {
    let words = |octets: &[u8]| octets.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum::<u32>();
    let sum = |address: IpAddr| match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    };
    sum(probe.source) + sum(probe.destination) + u32::from(probe.protocol) + length as u32
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_carries_its_cookie() {
        let ends = [["10.0.0.2", "10.0.0.3"], ["fd20::2", "fd20::3"]]
            .map(|ends| ends.map(|end| end.parse().unwrap()));
        for (protocol, [source, destination]) in [1, 6, 17, 47, 50, 51, 132]
            .map(|p| (p, ends[0]))
            .into_iter()
            .chain([58, 6, 17, 47, 50, 51, 132].map(|p| (p, ends[1])))
        {
            let probe = Probe { from: String::new(), source, destination, protocol, port: 80 };
            let bytes = packet(&probe, 0xdead_beef).unwrap();
            assert_eq!(read(&bytes), Some(Found::Probe(0xdead_beef)), "protocol {protocol}");
            // After the header, and of UDP ports and length, of ICMP type and checksum.
            let payload = match protocol {
                17 => &bytes[bytes.len() - 12..],
                1 => &bytes[24..],
                _ => &bytes[..],
            };
            assert_eq!(is_probe(payload), [1, 17].contains(&protocol), "protocol {protocol}");
            for cut in 0..bytes.len() {
                let _ = read(&bytes[..cut]); // short packets are no panic
            }
        }
        let [[source, _], [_, destination]] = ends;
        let probe = Probe { from: String::new(), source, destination, protocol: 6, port: 80 };
        assert_eq!(packet(&probe, 7), None);
    }

    /// Otherwise whatever the cookie began with would come next: in IPv6 another authentication header, in 16 seconds of 71
    /// minutes, and then the packet would be malformed.
    #[test]
    fn what_an_authentication_header_leads_to_is_no_cookie() {
        let [source, destination] = ["fd20::2", "fd20::3"].map(|end| end.parse().unwrap());
        let probe = Probe { from: String::new(), source, destination, protocol: 51, port: 0 };
        let bytes = packet(&probe, 0x3333_3333).unwrap();
        let header = &bytes[40..];
        assert_eq!((header[0], (usize::from(header[1]) + 2) * 4), (253, header.len()));
        assert_eq!(header.len() % 8, 0);
    }

    #[test]
    fn checksums_verify() {
        // RFC 3720, B.4: 32 bytes of zeroes.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let body = icmp(8, 7);
        assert_eq!(checksum(&body, 0), 0);
        let probe = Probe {
            from: String::new(),
            source: Ipv4Addr::new(10, 0, 0, 2).into(),
            destination: Ipv4Addr::new(192, 168, 255, 3).into(),
            protocol: 6,
            port: 443,
        };
        let body = tcp_syn(&probe, 12345, 99);
        assert_eq!(checksum(&body, pseudo_header(&probe, body.len())), 0);
        let probe = Probe {
            source: "fd20::2".parse().unwrap(),
            destination: "fd20:0:0:1::3".parse().unwrap(),
            ..probe
        };
        let body = tcp_syn(&probe, 12345, 99);
        assert_eq!(checksum(&body, pseudo_header(&probe, body.len())), 0);
        let probe = Probe { protocol: 58, ..probe };
        let body = echo_request_6(&probe, 99);
        assert_eq!(checksum(&body, pseudo_header(&probe, body.len())), 0);
    }
}
