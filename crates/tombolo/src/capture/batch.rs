//! Batches that are more than a packet of IPv4 can say it is. Pure.
//!
//! A stream passes the lab's links in batches of up to 192 KiB, whose headers say a length of 0 (Linux's "BIG TCP"). Nobody's
//! tcpdump reads that, so such a frame is shown as the packets that it stands for, each as large as a packet can be.

use std::borrow::Cow;
use std::ops::Range;

/// The header of Ethernet.
const ETHERNET: usize = 14;
/// What a packet of IPv4 has at most, its header included.
const MOST: usize = 65_535;
const IPV4: [u8; 2] = [0x08, 0x00];
const TCP: u8 = 6;
/// What TCP says with the last bytes only: FIN and PSH.
const AT_THE_END: u8 = 0x01 | 0x08;
/// What it says with the first: CWR.
const AT_THE_START: u8 = 0x80;

/// The packets that a frame is shown as: itself, but for batches.
pub(crate) fn packets(frame: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let Some((ip, tcp)) = headers(frame) else { return vec![frame.into()] };
    let (head, payload) = frame.split_at(tcp.end);
    let room = MOST - (tcp.end - ETHERNET);
    let chunks = payload.chunks(room);
    let last = chunks.len() - 1;
    let packet = |(number, chunk): (usize, &[u8])| {
        let mut packet = [head, chunk].concat();
        let length = (packet.len() - ETHERNET) as u16;
        packet[ip.start + 2..ip.start + 4].copy_from_slice(&length.to_be_bytes());
        packet[ip.start + 10..ip.start + 12].fill(0);
        let sum = checksum(&packet[ip.clone()]);
        packet[ip.start + 10..ip.start + 12].copy_from_slice(&sum.to_be_bytes());
        let sequence = &mut packet[tcp.start + 4..tcp.start + 8];
        let first = u32::from_be_bytes([sequence[0], sequence[1], sequence[2], sequence[3]]);
        sequence.copy_from_slice(&first.wrapping_add((number * room) as u32).to_be_bytes());
        let flags = &mut packet[tcp.start + 13];
        *flags &= if number < last { !AT_THE_END } else { 0xff };
        *flags &= if number > 0 { !AT_THE_START } else { 0xff };
        packet.into()
    };
    chunks.enumerate().map(packet).collect()
}

/// Where a batch has its headers of IPv4 and of TCP.
fn headers(frame: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    let rest = frame.get(ETHERNET..).filter(|rest| rest.len() > MOST)?;
    let is_batch = frame[12..14] == IPV4 && rest[0] >> 4 == 4 && rest[2..4] == [0, 0] && rest[9] == TCP;
    let ip = ETHERNET..ETHERNET + 4 * usize::from(rest[0] & 15);
    let tcp = ip.end..ip.end + 4 * usize::from(frame[ip.end + 12] >> 4);
    (is_batch && ip.len() >= 20 && tcp.len() >= 20).then_some((ip, tcp))
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with so many bytes of payload, with options in its header of TCP, and FIN, PSH and CWR.
    fn batch(payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(IPV4);
        frame.extend([0x45, 0, 0, 0, 1, 2, 0x40, 0, 64, TCP, 0, 0, 10, 1, 0, 2, 10, 1, 0, 3]);
        frame.extend([0x13, 0x89, 0x80, 0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x80, 0x99, 1, 0, 0, 0, 0, 0]);
        frame.extend([1; 12]);
        frame.extend((0..payload).map(|number| (number % 251) as u8));
        frame
    }

    #[test]
    fn a_batch_is_shown_as_the_packets_that_it_stands_for() {
        let frame = batch(196_000);
        let packets = packets(&frame);
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
        assert_eq!((packets.len(), &payload[..]), (3, &frame[66..]));
    }

    #[test]
    fn everything_else_is_shown_as_it_is() {
        let mut others = vec![batch(100), batch(MOST - 52), Vec::new(), vec![0; 13], vec![0; 200_000]];
        // A length, another version, another protocol, headers that are too short.
        for (at, byte) in [(17, 1), (14, 0x65), (23, 17), (14, 0x44), (46, 0x40)] {
            let mut frame = batch(100_000);
            frame[at] = byte;
            others.push(frame);
        }
        for frame in others {
            assert_eq!(packets(&frame), [Cow::Borrowed(&frame[..])]);
        }
        let whole = batch(70_000);
        (0..80).for_each(|length| assert_eq!(packets(&whole[..length]).len(), 1));
        assert_eq!(packets(&batch(MOST - 51)).len(), 2);
    }
}
