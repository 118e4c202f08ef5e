//! The connections that a router knows, with what has passed of each: the kernel's connection tracking.
//!
//! Sources: `linux/netfilter/nfnetlink_conntrack.h`, and `nf_conntrack_netlink.c` of the kernel.

use super::nft::message::{self, HEAD};
use super::nft::{DUMP, attribute, dump, messages};
use super::{Kernel, netns};
use crate::connection::{Connection, Tracked, Volume};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io::{Error, Result};
use std::net::IpAddr;

/// `NFNL_SUBSYS_CTNETLINK`
const SUBSYSTEM: u16 = 1;
/// `IPCTNL_MSG_CT_GET`
const GET: u16 = 1;
/// Whether the kernel counts what passes of connections that begin; nobody pays for it who does not ask.
const ACCOUNTING: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";

impl Kernel {
    /// The connections of a router, and what has passed of them since they were counted: from the first call on.
    pub fn connections(&self, router: &str) -> Result<Vec<Tracked>> {
        let held = self.namespaces.get(router).filter(|held| held.router);
        let held = held.ok_or_else(|| Error::other(format!("there is no router {router}")))?;
        netns::with(&*held.fd, || {
            std::fs::write(ACCOUNTING, "1")?;
            all()
        })?
    }
}

fn all() -> Result<Vec<Tracked>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let request = message::bytes(SUBSYSTEM << 8 | GET, DUMP, libc::AF_UNSPEC as u8, 0, &[]);
    let mut found = Vec::new();
    dump(&socket, &request, |bytes| {
        let entries = messages(bytes).into_iter().filter(|(kind, _)| kind >> 8 == SUBSYSTEM);
        found.extend(entries.filter_map(|(_, entry)| tracked(entry.get(HEAD..)?)));
    })?;
    Ok(found)
}

/// Reads an entry. `None` where it lacks something. Its other end is as it answers, whatever its address outside is.
fn tracked(entry: &[u8]) -> Option<Tracked> {
    let (here, there) = (tuple(attribute(entry, 1)?)?, tuple(attribute(entry, 2)?)?); // CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
    let number =
        |bytes: Option<&[u8]>| bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let volume = |kind| {
        let counters = attribute(entry, kind).unwrap_or_default();
        Volume { packets: number(attribute(counters, 1)), bytes: number(attribute(counters, 2)) }
    };
    Some(Tracked {
        connection: Connection { destination: there.source, destination_port: there.source_port, ..here },
        id: u32::from_be_bytes(attribute(entry, 12)?.try_into().ok()?), // CTA_ID
        sent: volume(9),                                                // CTA_COUNTERS_ORIG
        answered: volume(10),                                           // CTA_COUNTERS_REPLY
    })
}

/// Reads one direction of a connection.
fn tuple(tuple: &[u8]) -> Option<Connection> {
    let (ip, protocol) = (attribute(tuple, 1)?, attribute(tuple, 2)?); // CTA_TUPLE_IP, CTA_TUPLE_PROTO
    // An IPv4 address has one kind, an IPv6 address another.
    let address = |kinds: [u16; 2]| {
        let bytes = kinds.into_iter().find_map(|kind| attribute(ip, kind))?;
        let ipv4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        ipv4().or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    };
    let port = |kind| {
        attribute(protocol, kind).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes)
    };
    Some(Connection {
        source: address([1, 3])?,                    // CTA_IP_V4_SRC, CTA_IP_V6_SRC
        destination: address([2, 4])?,               // CTA_IP_V4_DST, CTA_IP_V6_DST
        protocol: *attribute(protocol, 1)?.first()?, // CTA_PROTO_NUM
        source_port: port(2),                        // CTA_PROTO_SRC_PORT
        destination_port: port(3),                   // CTA_PROTO_DST_PORT
    })
}
