//! `CLUSTER SLOTS`: what a node tells about its cluster.
//!
//! ```text
//!  [[first, last, [host, port, id, metadata], [host, port, id, metadata] …] …]
//!                  the primary                 its replicas
//! ```
//!
//! A host may be null or empty when the node does not know its own address, which is then the one
//! that it was reached by; with `cluster-preferred-endpoint-type` it may be a name, or `?`.
//!
//! Source: the documentation of `CLUSTER SLOTS`, Redis 7.0.

use std::net::IpAddr;

use tombolo_resp::Value;

use crate::config::Address;
use crate::placement::slots::SLOTS;

/// The request.
pub(super) const REQUEST: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";

/// Slots that follow one another and the nodes that have them, the primary first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NodeRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) nodes: Vec<Address>,
}

/// Reads the reply of the node at `asked`. The error, with its code, says what is wrong with it.
pub(super) fn read(reply: &[u8], asked: &Address) -> Result<Vec<NodeRange>, String> {
    let items = match Value::decode(reply) {
        Some((Value::Error(text), _)) => return Err(text),
        Some((Value::Array(items), _)) => items,
        _ => {
            return Err("ERR tombolo-proxy: the answer to CLUSTER SLOTS is not what it should be".to_string());
        }
    };
    let ranges: Vec<NodeRange> = items.iter().filter_map(|item| range(item, asked)).collect();
    if ranges.is_empty() {
        return Err("ERR tombolo-proxy: the answer to CLUSTER SLOTS has no slots".to_string());
    }
    Ok(ranges)
}

fn range(item: &Value, asked: &Address) -> Option<NodeRange> {
    let [first, last, nodes @ ..] = item.items() else { return None };
    let (first, last) = (number(first)?, number(last)?);
    if first > last || usize::from(last) >= SLOTS {
        return None;
    }
    let (primary, replicas) = nodes.split_first()?;
    // Without its primary a range says nothing; a replica can be done without.
    let mut found = vec![node(primary, asked)?];
    found.extend(replicas.iter().filter_map(|replica| node(replica, asked)));
    Some(NodeRange { first, last, nodes: found })
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Integer(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

fn node(value: &Value, asked: &Address) -> Option<Address> {
    let [host, port, rest @ ..] = value.items() else { return None };
    let port = number(port)?;
    let host = match host.text() {
        // The metadata may have its address.
        unknown if unknown == "?" => metadata(rest.get(1), "ip").unwrap_or_default(),
        host => host,
    };
    address(&host, port, asked)
}

fn metadata(value: Option<&Value>, name: &str) -> Option<String> {
    value?.items().chunks(2).find_map(|pair| match pair {
        [key, value] if key.text() == name => Some(value.text()),
        _ => None,
    })
}

/// The address of a node; an empty host is that of the node which said it.
pub(super) fn address(host: &str, port: u16, said_by: &Address) -> Option<Address> {
    let host = match (host, said_by) {
        ("", Address::Tcp(host, _)) => host.clone(),
        ("", Address::Unix(_)) => return None,
        _ => host.to_string(),
    };
    // An address may be written in several ways.
    let host = host.parse::<IpAddr>().map_or(host, |ip| ip.to_string());
    (port > 0).then_some(Address::Tcp(host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Address {
        Address::Tcp("10.0.0.9".to_string(), 7000)
    }

    fn told(reply: &str) -> Result<Vec<String>, String> {
        let ranges = read(reply.replace(' ', "\r\n").as_bytes(), &asked())?;
        let nodes = |range: &NodeRange| range.nodes.iter().map(Address::to_string).collect::<Vec<_>>();
        Ok(ranges
            .iter()
            .map(|range| format!("{}-{} {}", range.first, range.last, nodes(range).join(" ")))
            .collect())
    }

    #[test]
    fn replies_of_several_versions() {
        for (reply, expected) in [
            // Redis 3: no ids.
            ("*1 *3 :0 :16383 *2 $8 10.0.0.1 :7001 ", &["0-16383 10.0.0.1:7001"][..]),
            // Redis 7: ids and metadata; the primary first.
            (
                "*2 *4 :0 :9 *4 $8 10.0.0.1 :7001 $1 a *0 *4 $8 10.0.0.2 :7002 $1 b *0 *3 :10 :16383 *4 $3 ::1 :7003 $1 c *0 ",
                &["0-9 10.0.0.1:7001 10.0.0.2:7002", "10-16383 ::1:7003"],
            ),
            // Who does not know its own address has the one it was asked at.
            ("*1 *3 :0 :1 *3 $0  :7001 $1 a ", &["0-1 10.0.0.9:7001"]),
            ("*1 *3 :0 :1 *3 $-1 :7001 $1 a ", &["0-1 10.0.0.9:7001"]),
            // Names, and a name that is not known.
            ("*1 *3 :0 :1 *4 $9 a.example :7001 $1 a *2 $2 ip $7 1.2.3.4 ", &["0-1 a.example:7001"]),
            ("*1 *3 :0 :1 *4 $1 ? :7001 $1 a *2 $2 ip $7 1.2.3.4 ", &["0-1 1.2.3.4:7001"]),
            ("*1 *3 :0 :1 *4 $1 ? :7001 $1 a *0 ", &["0-1 10.0.0.9:7001"]),
            // A replica that makes no sense is left out; so is a range without a primary.
            ("*1 *4 :0 :1 *2 $1 a :1 *2 $1 b :0 ", &["0-1 a:1"]),
            ("*2 *2 :0 :1 *3 :2 :3 *2 $1 a :1 ", &["2-3 a:1"]),
        ] {
            assert_eq!(told(reply).expect(reply), expected, "{reply}");
        }
    }

    #[test]
    fn what_tells_nothing() {
        for (reply, expected) in [
            ("-ERR\u{a0}This\u{a0}instance ", "ERR\u{a0}This\u{a0}instance"),
            ("*0 ", "ERR tombolo-proxy: the answer to CLUSTER SLOTS has no slots"),
            ("*1 *3 :5 :4 *2 $1 a :1 ", "ERR tombolo-proxy: the answer to CLUSTER SLOTS has no slots"),
            ("*1 *3 :5 :16384 *2 $1 a :1 ", "ERR tombolo-proxy: the answer to CLUSTER SLOTS has no slots"),
            (":1 ", "ERR tombolo-proxy: the answer to CLUSTER SLOTS is not what it should be"),
            ("*1 *3 ", "ERR tombolo-proxy: the answer to CLUSTER SLOTS is not what it should be"),
        ] {
            assert_eq!(told(reply), Err(expected.to_string()), "{reply}");
        }
        let unix = Address::Unix("/s".into());
        assert_eq!((address("", 1, &unix), address("a", 0, &asked())), (None, None));
        assert_eq!(address("0:0:0:0:0:0:0:1", 1, &unix), Some(Address::Tcp("::1".to_string(), 1)));
    }
}
