//! IPv4 packets with datagrams and pings, as they leave the lab's internet and come back. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};
use tombolo_dataplane::probe::is_probe;

/// The longest IPv4 packet (RFC 791, 3.1), in bytes.
pub(super) const LONGEST: usize = 65535;

const IP_HEADER: usize = 20;
/// Of UDP and of an echo (RFC 768, RFC 792).
const HEADER: usize = 8;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Datagrams.
    Udp,
    /// Echo requests: the port of where they come from is their identifier, that of where they go is 0.
    Ping,
}

impl Kind {
    fn protocol(self) -> u8 {
        match self {
            Kind::Udp => 17,
            Kind::Ping => 1,
        }
    }
}

/// Packets that belong together, as the lab's internet has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    /// What they are.
    pub(super) kind: Kind,
    /// Where they come from: an external address.
    pub(super) from: SocketAddrV4,
    /// Where they go.
    pub(super) to: SocketAddrV4,
}

/// A packet on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent<'p> {
    /// What it belongs to.
    pub(super) flow: Flow,
    /// A ping's sequence number.
    pub(super) sequence: u16,
    /// What it carries.
    pub(super) payload: &'p [u8],
}

/// Reads a packet. None of a fragment, which the kernel has put together, nor of a probe, which leaves no lab. Of
/// datagrams the checksum is not looked at: that of one on its way is mostly not made yet.
pub(super) fn read(packet: &[u8]) -> Option<Sent<'_>> {
    let word = |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = word(packet, 6)? & 0x3fff != 0;
    if packet[0] >> 4 != 4 || header < IP_HEADER || fragment {
        return None;
    }
    let (from, to) = (address(12)?, address(16)?);
    let body = packet.get(header..word(packet, 2)?.into())?;
    let flow = |kind, from_port, to_port| Flow {
        kind,
        from: SocketAddrV4::new(from, from_port),
        to: SocketAddrV4::new(to, to_port),
    };
    match packet[9] {
        17 => {
            let payload = body.get(HEADER..word(body, 4)?.into())?;
            let flow = flow(Kind::Udp, word(body, 0)?, word(body, 2)?);
            (!is_probe(payload)).then_some(Sent { flow, sequence: 0, payload })
        }
        1 => {
            let (payload, sequence) = (body.get(HEADER..)?, word(body, 6)?);
            let flow = flow(Kind::Ping, word(body, 4)?, 0);
            let asks = body[..2] == [ECHO_REQUEST, 0] && checksum(&[body]) == 0;
            (asks && !is_probe(&body[4..])).then_some(Sent { flow, sequence, payload })
        }
        _ => None,
    }
}

/// The echo request that a ping becomes in the host's network, under another identifier.
pub(super) fn echo_request(identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    echo(ECHO_REQUEST, identifier, sequence, payload)
}

/// An echo reply's identifier, sequence number and payload.
pub(super) fn read_echo_reply(message: &[u8]) -> Option<(u16, u16, &[u8])> {
    let (header, payload) = message.split_at_checked(HEADER)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    (header[0] == ECHO_REPLY).then(|| (word(4), word(6), payload))
}

/// What is behind an IPv4 header.
pub(super) fn body(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0x0f) * 4..)
}

/// An answer: a flow's packet in the other direction. `number` is one that its like have not had lately (RFC 791, 3.2).
/// None of what is too long for any packet.
pub(super) fn answer(flow: &Flow, sequence: u16, payload: &[u8], number: u16) -> Option<Vec<u8>> {
    let body = match flow.kind {
        Kind::Udp => datagram(flow, payload)?,
        Kind::Ping => echo(ECHO_REPLY, flow.from.port(), sequence, payload),
    };
    packet(flow, flow.kind.protocol(), &body, number)
}

/// That a flow's packet did not get where it goes, and why: a code of RFC 792 or RFC 1812, 5.2.7.1.
pub(super) fn unreachable(
    flow: &Flow,
    sequence: u16,
    length: usize,
    code: u8,
    number: u16,
) -> Option<Vec<u8>> {
    // Its header, and the first eight bytes of what followed.
    let length = u16::try_from(HEADER + length).ok()?;
    let quoted = match flow.kind {
        Kind::Udp => udp_header(flow.from.port(), flow.to.port(), length).to_vec(),
        Kind::Ping => echo(ECHO_REQUEST, flow.from.port(), sequence, &[]),
    };
    let header = ip_header((*flow.from.ip(), *flow.to.ip()), flow.kind.protocol(), length.into(), 0)?;
    let message = icmp([UNREACHABLE, code], [0; 4], &[&header[..], &quoted].concat());
    packet(flow, Kind::Ping.protocol(), &message, number)
}

/// A packet from where a flow goes to where it comes from.
pub(super) fn packet(flow: &Flow, protocol: u8, body: &[u8], number: u16) -> Option<Vec<u8>> {
    let header = ip_header((*flow.to.ip(), *flow.from.ip()), protocol, body.len(), number)?;
    Some([&header[..], body].concat())
}

/// An IPv4 header (RFC 791, 3.1), of a packet that may be fragmented.
fn ip_header(
    (from, to): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    length: usize,
    number: u16,
) -> Option<[u8; IP_HEADER]> {
    let mut header = [0; IP_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&u16::try_from(IP_HEADER + length).ok()?.to_be_bytes());
    header[4..6].copy_from_slice(&number.to_be_bytes());
    (header[8], header[9]) = (64, protocol);
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(header)
}

/// A datagram from where a flow goes to where it comes from.
fn datagram(flow: &Flow, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(HEADER + payload.len()).ok()?;
    let mut header = udp_header(flow.to.port(), flow.from.port(), length);
    let (from, to) = (flow.to.ip().octets(), flow.from.ip().octets());
    let [high, low] = length.to_be_bytes();
    let sum = checksum(&[&from, &to, &[0, 17, high, low], &header, payload]);
    // Zero would mean that there is none (RFC 768).
    header[6..].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    Some([&header[..], payload].concat())
}

fn udp_header(from: u16, to: u16, length: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (at, word) in [from, to, length].into_iter().enumerate() {
        header[2 * at..2 * at + 2].copy_from_slice(&word.to_be_bytes());
    }
    header
}

fn echo(kind: u8, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let [[a, b], [c, d]] = [identifier.to_be_bytes(), sequence.to_be_bytes()];
    icmp([kind, 0], [a, b, c, d], payload)
}

/// An ICMP message (RFC 792): type and code, the rest of the header, and what follows.
fn icmp(kind: [u8; 2], rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut message = [&kind[..], &[0, 0], &rest, payload].concat();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The internet checksum (RFC 1071) of parts that follow one another, each but the last of an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = |part: &&[u8]| -> u32 {
        part.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum()
    };
    let mut sum: u32 = parts.iter().map(words).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_dataplane::probe::MARK;

    fn flow(kind: Kind) -> Flow {
        let to = SocketAddrV4::new([9, 9, 9, 9].into(), if kind == Kind::Udp { 53 } else { 0 });
        Flow { kind, from: SocketAddrV4::new([198, 18, 0, 2].into(), 4100), to }
    }

    /// The same flow as seen from its other end.
    fn back(flow: Flow) -> Flow {
        Flow { from: flow.to, to: flow.from, ..flow }
    }

    #[test]
    fn an_answer_is_a_packet_of_the_same_flow() {
        let there = flow(Kind::Udp);
        for payload in [vec![], b"odd".to_vec(), vec![0xff; 65507]] {
            let packet = answer(&there, 0, &payload, 7).unwrap();
            assert_eq!(read(&packet), Some(Sent { flow: back(there), sequence: 0, payload: &payload }));
            let (from, to) = (&packet[12..16], &packet[16..20]);
            assert_eq!((checksum(&[&packet[..20]]), &packet[4..6]), (0, &[0, 7][..]));
            // Over the pseudo header too, unless it says that there is none.
            let pseudo = [0, 17, packet[24], packet[25]];
            assert_eq!(checksum(&[from, to, &pseudo, &packet[20..]]), 0);
            assert_ne!(packet[26..28], [0, 0]);
        }
        assert_eq!(answer(&there, 0, &[0; 65508], 7), None);
        let packet = answer(&flow(Kind::Ping), 9, b"ping", 7).unwrap();
        assert_eq!(checksum(&[&packet[20..]]), 0);
        assert_eq!(read_echo_reply(body(&packet).unwrap()), Some((4100, 9, &b"ping"[..])));
        // What is asked the other way round.
        assert_eq!(read(&packet), None);
    }

    #[test]
    fn pings_are_read() {
        let there = flow(Kind::Ping);
        let ends = (*there.from.ip(), *there.to.ip());
        let packet = |message: &[u8]| {
            [&ip_header(ends, 1, message.len(), 1).unwrap()[..], message, b"padding of the link"].concat()
        };
        let request = echo_request(4100, 3, b"abc");
        let sent = Sent { flow: there, sequence: 3, payload: b"abc" };
        assert_eq!(read(&packet(&request)), Some(sent));
        let mut wrong = request.clone();
        wrong[9] ^= 1;
        assert_eq!(read(&packet(&wrong)), None, "its checksum is wrong");
        let time = icmp([13, 0], [0; 4], &[0; 12]);
        assert_eq!(read(&packet(&time)), None, "it asks for the time");
        assert_eq!(read(&packet(&echo_request(4100, 3, &MARK))), None, "a probe");
    }

    #[test]
    fn what_is_no_whole_packet_is_not_read() {
        let whole = answer(&flow(Kind::Udp), 0, b"payload", 1).unwrap();
        assert!(read(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        for (at, byte, what) in [
            (0, 0x65, "version 6"),
            (0, 0x44, "a short header"),
            (6, 0x20, "the first fragment"),
            (7, 1, "a later fragment"),
            (9, 47, "another protocol"),
            (25, 7, "a datagram that is shorter than its header"),
            (24, 1, "a datagram that is longer than its packet"),
        ] {
            let mut packet = whole.clone();
            packet[at] = byte;
            assert_eq!(read(&packet), None, "{what}");
        }
        let mut may_not_be_fragmented = whole.clone();
        may_not_be_fragmented[6] = 0x40;
        assert!(read(&may_not_be_fragmented).is_some());
        let probe = [&[1, 2, 3, 4][..], &MARK].concat();
        assert_eq!(read(&answer(&flow(Kind::Udp), 0, &probe, 1).unwrap()), None);
    }

    #[test]
    fn a_refusal_quotes_what_is_refused() {
        for kind in [Kind::Udp, Kind::Ping] {
            let there = flow(kind);
            let packet = unreachable(&there, 5, 100, 3, 1).unwrap();
            let message = body(&packet).unwrap();
            assert_eq!((&message[..2], checksum(&[message]), packet[9]), (&[3, 3][..], 0, 1));
            assert_eq!((&packet[12..16], &packet[16..20]), (&[9, 9, 9, 9][..], &[198, 18, 0, 2][..]));
            let quoted = &message[8..];
            assert_eq!((checksum(&[&quoted[..20]]), quoted.len(), quoted[9]), (0, 28, kind.protocol()));
            assert_eq!((&quoted[12..16], &quoted[16..20]), (&[198, 18, 0, 2][..], &[9, 9, 9, 9][..]));
            // Of the packet that was sent.
            assert_eq!(quoted[2..4], 128_u16.to_be_bytes());
            let (ports, ping) = ([4100_u16, 53].map(u16::to_be_bytes), [4100_u16, 5].map(u16::to_be_bytes));
            match kind {
                Kind::Udp => assert_eq!(quoted[20..24], ports.concat()),
                Kind::Ping => assert_eq!((quoted[20], &quoted[24..28]), (8, &ping.concat()[..])),
            }
        }
    }
}
