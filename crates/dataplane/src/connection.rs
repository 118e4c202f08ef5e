//! The connection that a packet begins. Pure.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A connection: what Google's logs call a 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// Where its first packet comes from.
    pub source: IpAddr,
    /// Where its first packet goes.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// 0 where the protocol has no ports.
    pub source_port: u16,
    /// 0 where the protocol has no ports.
    pub destination_port: u16,
}

impl Connection {
    /// That of a packet's first bytes: the header (RFC 791, 3.1; RFC 8200, 3) and, of TCP, UDP and SCTP, the ports. Of
    /// IPv6 only what has no extension headers.
    pub fn of(packet: &[u8]) -> Option<Connection> {
        let first = packet.first()?;
        let (header, protocol, source, destination) = match first >> 4 {
            4 => {
                let at = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
                (usize::from(first & 0x0f) * 4, *packet.get(9)?, at(12)?.into(), at(16)?.into())
            }
            6 => {
                let at =
                    |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
                (40, *packet.get(6)?, at(8)?.into(), at(24)?.into())
            }
            _ => return None,
        };
        let port = |at: usize| match protocol {
            6 | 17 | 132 => {
                Some(u16::from_be_bytes(packet.get(header + at..header + at + 2)?.try_into().ok()?))
            }
            _ => Some(0),
        };
        Some(Connection { source, destination, protocol, source_port: port(0)?, destination_port: port(2)? })
    }
}

/// What has passed in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Bytes, with IP's headers.
    pub bytes: u64,
}

/// A connection that a router knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracked {
    /// It, as its first packet has it.
    pub connection: Connection,
    /// What tells it from an earlier one of the same addresses and ports.
    pub id: u32,
    /// From its source.
    pub sent: Volume,
    /// To its source.
    pub answered: Volume,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_read_from_a_packet() {
        let mut packet = vec![0x46, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 3];
        packet.extend([1, 1, 1, 1]); // an option
        packet.extend([0x13, 0x88, 0, 53]);
        let want = Connection {
            source: Ipv4Addr::new(10, 1, 0, 2).into(),
            destination: Ipv4Addr::new(10, 2, 0, 3).into(),
            protocol: 17,
            source_port: 5000,
            destination_port: 53,
        };
        assert_eq!(Connection::of(&packet), Some(want));
        (0..packet.len()).for_each(|cut| assert_eq!(Connection::of(&packet[..cut]), None, "{cut}"));
        packet[9] = 50;
        assert_eq!(
            Connection::of(&packet),
            Some(Connection { protocol: 50, source_port: 0, destination_port: 0, ..want })
        );
        packet[0] = 0x76;
        assert_eq!(Connection::of(&packet), None);
        let mut packet = vec![0x60, 0, 0, 0, 0, 4, 17, 64];
        let ends: [Ipv6Addr; 2] = ["fd20::2", "fd20::3"].map(|end| end.parse().unwrap());
        packet.extend(ends.iter().flat_map(Ipv6Addr::octets));
        packet.extend([0x13, 0x88, 0, 53]);
        let [source, destination] = ends.map(IpAddr::from);
        assert_eq!(Connection::of(&packet), Some(Connection { source, destination, ..want }));
        (0..packet.len()).for_each(|cut| assert_eq!(Connection::of(&packet[..cut]), None, "{cut}"));
    }
}
