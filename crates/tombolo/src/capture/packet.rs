//! A frame in a line, or as JSON. Pure.

use etherparse::icmpv4::{TYPE_DEST_UNREACH, TYPE_ECHO_REPLY, TYPE_ECHO_REQUEST, TYPE_TIME_EXCEEDED};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice, icmpv6};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use tombolo_model::Protocol;

/// Which way a frame goes, as its endpoint sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// To the endpoint.
    In,
    /// From it.
    Out,
}

/// What a line says of a frame.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Packet {
    /// When the kernel had it.
    #[serde(serialize_with = "as_text")]
    time: Timestamp,
    direction: Direction,
    /// Bytes on the wire, with the Ethernet header.
    length: usize,
    #[serde(flatten)]
    what: What,
}

/// A frame by its network protocol.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum What {
    Ip(Ip),
    #[serde(rename_all = "camelCase")]
    Other {
        ether_type: u16,
    },
}

/// An IP packet.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ip {
    source: IpAddr,
    destination: IpAddr,
    /// As in firewall rules: a name, or a number.
    protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<Ports>,
    /// TCP's flags as tcpdump writes them, or what an ICMP message is.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// Bytes behind the transport's header; of other protocols, behind that of IP.
    payload: usize,
}

/// TCP's and UDP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Ports {
    source: u16,
    destination: u16,
}

impl Packet {
    /// Reads a frame. Whatever is in it, something can be said.
    pub(crate) fn read(time: Timestamp, direction: Direction, frame: &[u8], length: usize) -> Packet {
        let what = LaxSlicedPacket::from_ethernet(frame).ok().and_then(|sliced| Some(What::Ip(ip(&sliced)?)));
        let ether_type = || frame.get(12..14).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        Packet {
            time,
            direction,
            length,
            what: what.unwrap_or_else(|| What::Other { ether_type: ether_type() }),
        }
    }
}

/// As RFC 3339 has it.
fn as_text<S: serde::Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

fn ip(packet: &LaxSlicedPacket<'_>) -> Option<Ip> {
    let (source, destination, number, behind) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses.0, addresses.1, header.protocol().0, ip.payload().payload.len())
        }
        LaxNetSlice::Ipv6(ip) => {
            let (header, behind) = (ip.header(), ip.payload());
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            (addresses.0, addresses.1, behind.ip_number.0, behind.payload.len())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let (ports, detail, payload) = match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => {
            let ports = Ports { source: tcp.source_port(), destination: tcp.destination_port() };
            let flags =
                [(tcp.syn(), 'S'), (tcp.fin(), 'F'), (tcp.rst(), 'R'), (tcp.psh(), 'P'), (tcp.ack(), '.')];
            let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, letter)| letter);
            (Some(ports), format!("[{}]", flags.collect::<String>()), tcp.payload().len())
        }
        Some(TransportSlice::Udp(udp)) => {
            let ports = Ports { source: udp.source_port(), destination: udp.destination_port() };
            (Some(ports), String::new(), udp.payload().len())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let detail = match icmp.type_u8() {
                TYPE_ECHO_REQUEST => "echo request".to_owned(),
                TYPE_ECHO_REPLY => "echo reply".to_owned(),
                TYPE_DEST_UNREACH => format!("unreachable, code {}", icmp.code_u8()),
                TYPE_TIME_EXCEEDED => "time exceeded".to_owned(),
                other => format!("type {other}, code {}", icmp.code_u8()),
            };
            (None, detail, icmp.payload().len())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let detail = match icmp.type_u8() {
                icmpv6::TYPE_ECHO_REQUEST => "echo request".to_owned(),
                icmpv6::TYPE_ECHO_REPLY => "echo reply".to_owned(),
                icmpv6::TYPE_DST_UNREACH => format!("unreachable, code {}", icmp.code_u8()),
                icmpv6::TYPE_PACKET_TOO_BIG => "packet too big".to_owned(),
                icmpv6::TYPE_TIME_EXCEEDED => "time exceeded".to_owned(),
                other => format!("type {other}, code {}", icmp.code_u8()),
            };
            (None, detail, icmp.payload().len())
        }
        _ => (None, String::new(), behind),
    };
    let protocol = Protocol::Number(number).to_string();
    Some(Ip { source, destination, protocol, ports, detail, payload })
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.to_zoned(TimeZone::UTC).strftime("%H:%M:%S%.6f");
        let direction = match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        write!(f, "{time}  {direction:<3}  ")?;
        match &self.what {
            What::Ip(ip) => {
                let ends = [
                    (ip.source, ip.ports.map(|p| p.source)),
                    (ip.destination, ip.ports.map(|p| p.destination)),
                ];
                let [from, to] = ends.map(|(address, port)| match (address, port) {
                    (address, None) => address.to_string(),
                    (address, Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
                });
                write!(f, "{from:<21}  →  {to:<21}  {}", ip.protocol)?;
                if !ip.detail.is_empty() {
                    write!(f, " {}", ip.detail)?;
                }
                write!(f, ", {} bytes", ip.payload)
            }
            What::Other { ether_type: 0x0806 } => write!(f, "ARP, {} bytes", self.length),
            What::Other { ether_type } => write!(f, "ethertype {ether_type:#06x}, {} bytes", self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use std::net::Ipv6Addr;

    fn read(frame: &[u8]) -> Packet {
        let time = "2026-11-26T16:20:01.000123456Z".parse().unwrap();
        Packet::read(time, Direction::Out, frame, frame.len())
    }

    #[test]
    fn frames_in_a_line() {
        let ip = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 1, 0, 2], [10, 2, 0, 3], 64);
        let mut frames = vec![Vec::new(); 6];
        ip().tcp(40_312, 6379, 1, 1).syn().write(&mut frames[0], b"").unwrap();
        ip().tcp(40_312, 6379, 1, 1).psh().ack(7).write(&mut frames[1], b"PING\r\n").unwrap();
        ip().udp(53, 5353).write(&mut frames[2], b"four").unwrap();
        ip().icmpv4_echo_request(1, 2).write(&mut frames[3], b"").unwrap();
        let (from, to) = ("fd20::2".parse::<Ipv6Addr>().unwrap(), "fd20::3".parse::<Ipv6Addr>().unwrap());
        let ip6 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(from.octets(), to.octets(), 64);
        ip6.icmpv6_echo_request(1, 2).write(&mut frames[5], b"").unwrap();
        frames[4] = [&[2; 6][..], &[4; 6], &[0x88, 0xcc], b"lldp"].concat();
        let both = "16:20:01.000123  out  ";
        for (frame, expected) in frames.iter().zip([
            "10.1.0.2:40312         →  10.2.0.3:6379          tcp [S], 0 bytes",
            "10.1.0.2:40312         →  10.2.0.3:6379          tcp [P.], 6 bytes",
            "10.1.0.2:53            →  10.2.0.3:5353          udp, 4 bytes",
            "10.1.0.2               →  10.2.0.3               icmp echo request, 0 bytes",
            "ethertype 0x88cc, 18 bytes",
            "fd20::2                →  fd20::3                58 echo request, 0 bytes",
        ]) {
            assert_eq!(read(frame).to_string(), format!("{both}{expected}"));
        }
        let json = serde_json::to_value(read(&frames[1])).unwrap();
        assert_eq!(json["ports"]["destination"], 6379);
        assert_eq!(json["time"], "2026-11-26T16:20:01.000123456Z");
        assert_eq!((&json["direction"], &json["protocol"]), (&"out".into(), &"tcp".into()));
    }

    #[test]
    fn no_frame_is_too_short_or_too_wrong() {
        let mut whole = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 1, 0, 2], [10, 2, 0, 3], 64);
        ip.tcp(1, 2, 3, 4).write(&mut whole, b"text").unwrap();
        for length in 0..whole.len() {
            assert!(!read(&whole[..length]).to_string().is_empty());
        }
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0xff;
            assert!(!read(&wrong).to_string().is_empty());
        }
    }
}
