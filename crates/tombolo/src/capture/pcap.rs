//! The file format of libpcap, which tcpdump and Wireshark read. Pure.
//!
//! Source: "PCAP Capture File Format", draft-ietf-opsawg-pcap.

use jiff::Timestamp;

/// The most of a frame that is kept, in bytes: all of every frame that there can be.
pub(crate) const SNAP_LENGTH: usize = 262_144;
/// Frames begin with an Ethernet header.
const LINKTYPE_ETHERNET: u32 = 1;
/// Times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;

/// What a file begins with.
pub(crate) fn header() -> Vec<u8> {
    let words = [MAGIC, 2 | 4 << 16, 0, 0, SNAP_LENGTH as u32, LINKTYPE_ETHERNET];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What is before each frame: when it was there, and its length as kept and as it was.
pub(crate) fn record(time: Timestamp, kept: usize, length: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    let words = [time.as_second() as u32, time.subsec_nanosecond() as u32, kept as u32, length as u32];
    bytes.chunks_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_draft_has_it() {
        let header = header();
        assert_eq!(header[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(header[16..], [0, 0, 4, 0, 1, 0, 0, 0]);
        let record = record(Timestamp::new(258, 5).unwrap(), 60, 70);
        assert_eq!(record, [2, 1, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0, 70, 0, 0, 0]);
    }
}
