//! Batches that are more than a packet of IPv4 can say it is. Pure.
//!
//! A stream passes the lab's links in batches of up to 192 KiB, whose headers say a length of 0 (Linux's "BIG TCP"). Nobody's
//! tcpdump reads that, so such a frame is shown as the packets that it stands for, each as large as a packet can be.

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, TcpHeader};
use std::borrow::Cow;

/// What a packet of IPv4 has at most, its header included.
const MOST: usize = 65_535;

/// The packets that a frame is shown as: itself, but for batches.
pub(crate) fn packets(frame: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let Some((ethernet, ip, tcp, payload)) = batch(frame) else { return vec![frame.into()] };
    let room = MOST - ip.header_len() - tcp.header_len();
    let chunks = payload.chunks(room);
    let last = chunks.len() - 1;
    let packet = |(number, chunk): (usize, &[u8])| {
        let (mut ip, mut tcp) = (ip.clone(), tcp.clone());
        ip.total_len = (ip.header_len() + tcp.header_len() + chunk.len()) as u16;
        ip.header_checksum = ip.calc_header_checksum();
        tcp.sequence_number = tcp.sequence_number.wrapping_add((number * room) as u32);
        // What is said with the last bytes, and with the first.
        (tcp.fin, tcp.psh) = (tcp.fin && number == last, tcp.psh && number == last);
        tcp.cwr &= number == 0;
        [&ethernet.to_bytes()[..], &ip.to_bytes(), &tcp.to_bytes(), chunk].concat().into()
    };
    chunks.enumerate().map(packet).collect()
}

/// A batch's headers, and what is behind them.
fn batch(frame: &[u8]) -> Option<(Ethernet2Header, Ipv4Header, TcpHeader, &[u8])> {
    let (ethernet, rest) = Ethernet2Header::from_slice(frame).ok()?;
    if ethernet.ether_type != EtherType::IPV4 || rest.len() <= MOST {
        return None;
    }
    let (ip, behind) = Ipv4Header::from_slice(rest).ok()?;
    let (tcp, payload) = TcpHeader::from_slice(behind).ok()?;
    (ip.total_len == 0 && ip.protocol == IpNumber::TCP).then_some((ethernet, ip, tcp, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERNET: usize = 14;
    const IPV4: [u8; 2] = [0x08, 0x00];
    const TCP: u8 = 6;

    /// A batch with so many bytes of payload, with options in its header of TCP, and FIN, PSH and CWR.
    fn frame(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4);
        frame.extend([0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, TCP, 0, 0, 10, 1, 0, 2, 10, 1, 0, 3]);
        frame.extend([0x13, 0x89, 0x80, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x80, 0x99, 1, 0, 0, 0, 0, 0]);
        frame.extend([1; 12]);
        frame.extend((0..payload).map(|number| (number % 251) as u8));
        frame
    }

    /// RFC 1071, of an even number of bytes.
    fn checksum(bytes: &[u8]) -> u16 {
        let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn a_batch_is_shown_as_the_packets_that_it_stands_for() {
        let whole = frame(196_000);
        let packets = packets(&whole);
        let mut payload = Vec::new();
        for (number, packet) in packets.iter().enumerate() {
            let length = u16::from_be_bytes([packet[16], packet[17]]);
            assert_eq!(usize::from(length) + ETHERNET, packet.len());
            assert_eq!(checksum(&packet[14..34]), 0, "as its receiver reckons it");
            let sequence = u32::from_be_bytes([packet[38], packet[39], packet[40], packet[41]]);
            assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(payload.len() as u32));
            assert_eq!(packet[47], [0x90, 0x10, 0x19][number], "CWR, nothing, FIN and PSH");
            payload.extend_from_slice(&packet[66..]);
        }
        assert_eq!((packets.len(), &payload[..]), (3, &whole[66..]));
    }

    #[test]
    fn everything_else_is_shown_as_it_is() {
        let mut others = vec![frame(100), frame(MOST - 52), Vec::new(), vec![0; 13], vec![0; 200_000]];
        // A length, another version, another protocol, headers that are too short.
        for (at, byte) in [(17, 1), (14, 0x65), (23, 17), (14, 0x44), (46, 0x40)] {
            let mut other = frame(100_000);
            other[at] = byte;
            others.push(other);
        }
        for other in others {
            assert_eq!(packets(&other), [Cow::Borrowed(&other[..])]);
        }
        let whole = frame(70_000);
        (0..80).for_each(|length| assert_eq!(packets(&whole[..length]).len(), 1));
        assert_eq!(packets(&frame(MOST - 51)).len(), 2);
    }
}
