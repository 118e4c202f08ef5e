//! The time, as VMs ask for it: the machine's own, which is also theirs.
//!
//! Source: RFC 5905, section 7.3 (the packet) and section 14 (SNTP servers).

use tombolo_model::Timestamp;

/// Bytes of a packet without extensions.
const LENGTH: usize = 48;
/// A clock that follows no other says that it is far from one that does; as chrony's `local`.
const STRATUM: u8 = 10;
/// Its source: chrony's name of a local clock.
const LOCAL_CLOCK: [u8; 4] = [127, 127, 1, 1];
/// 2^-10 s: times are in milliseconds.
const PRECISION: i8 = -10;
/// Modes of packets.
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// From the beginning of NTP's time, 1900, to that of Unix's, in seconds.
const SINCE_1900: i64 = 2_208_988_800;

/// The answer to a client's packet; none to anything else.
pub fn answer(packet: &[u8], now: Timestamp) -> Option<[u8; LENGTH]> {
    let request: &[u8; LENGTH] = packet.first_chunk()?;
    let (version, mode) = (request[0] >> 3 & 7, request[0] & 7);
    if mode != CLIENT || !(1..=4).contains(&version) {
        return None;
    }
    let time = seconds_and_fraction(now);
    let mut answer = [0; LENGTH];
    answer[0] = version << 3 | SERVER;
    answer[1] = STRATUM;
    answer[2] = request[2];
    answer[3] = PRECISION.to_be_bytes()[0];
    answer[12..16].copy_from_slice(&LOCAL_CLOCK);
    answer[16..24].copy_from_slice(&time);
    // The client's own time of sending, by which it knows its packet again.
    answer[24..32].copy_from_slice(&request[40..48]);
    answer[32..40].copy_from_slice(&time);
    answer[40..48].copy_from_slice(&time);
    Some(answer)
}

/// Seconds in this era of NTP's and a fraction of 2^32.
fn seconds_and_fraction(time: Timestamp) -> [u8; 8] {
    let seconds = (time.0.div_euclid(1000) + SINCE_1900) as u32;
    let fraction = ((time.0.rem_euclid(1000) as u64) << 32) / 1000;
    ((u64::from(seconds) << 32) | fraction).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_the_time_and_gets_its_own_back() {
        let mut packet = [0; 68];
        packet[0] = 0b0010_0011;
        packet[2] = 6;
        packet[40..48].copy_from_slice(b"clients!");
        let answer = answer(&packet, Timestamp(1_500)).expect("an answer");
        assert_eq!(answer[..4], [0b0010_0100, 10, 6, 0xf6]);
        assert_eq!(&answer[24..32], b"clients!");
        // RFC 5905, figure 4: the first day of Unix is 2,208,988,800 seconds after 1900.
        assert_eq!(answer[40..44], 2_208_988_801u32.to_be_bytes());
        assert_eq!(answer[44..48], (1u32 << 31).to_be_bytes());
    }

    #[test]
    fn nothing_else_is_answered() {
        for first in [0b0010_0100, 0b0010_0101, 0b0000_0011, 0b0010_1011, 0] {
            assert_eq!(answer(&[first; 48], Timestamp(0)), None, "{first:#b}");
        }
        assert_eq!(answer(&[0b0010_0011; 47], Timestamp(0)), None);
    }
}
