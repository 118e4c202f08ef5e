//! The way into the host's network, where the lab's internet goes on into it. Pure.
//!
//! ```text
//!   VM ─ its gates, its external address ─▶ internet's router ─ TCP: dnat ─────────▶ RELAY, a socket in the router
//!                                                            └─ UDP, pings: h0 ─▶ eth0 of the endpoint `host`
//! ```
//!
//! Whoever relays has a socket at each. Nobody is in the endpoint and it has no address: what arrives there leaves the lab, or is
//! lost.

use crate::render::mac_named;
use crate::rules::{add_apart, group_of, intervals, one, peering, rule};
use crate::state::{Link, Namespace, Neighbour, Route, RouteVia};
use crate::table::{self, Family, Hook, Intervals, Match, Table, Verdict, Way};
use crate::{render::PEER_GATEWAY, rules::Side};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use tombolo_fabric::{Host, METADATA_SERVER, host::ENDPOINT, internet};

/// Where TCP connections to the host's network come out in the internet's router. Nothing is sent there by itself: it is an
/// address of every router.
pub const RELAY: SocketAddrV4 = SocketAddrV4::new(METADATA_SERVER, 1080);

/// The router's end of the link by which datagrams leave.
const LINK: &str = "h0";

/// The other end, in the endpoint.
pub const OUT: &str = "eth0";

/// The largest IPv4 packet (RFC 791, 3.1), in bytes. On links of this MTU a packet is one: the kernel makes the packets of a
/// batch (UDP_SEGMENT) before it sends them there, as whoever listens knows packets only.
pub const LARGEST: u32 = 65535;

/// The length of an Ethernet header, in bytes.
pub const HEADER: usize = 14;

/// What the internet's router knows of the host's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beyond {
    /// The addresses that it does not have.
    pub kept: BTreeSet<Ipv4Net>,
    /// The protocols of which single packets go there, by number.
    pub datagrams: BTreeSet<u8>,
}

impl Beyond {
    pub(crate) fn of(host: &Host) -> Self {
        Self { kept: host.kept.clone(), datagrams: host.datagrams().collect() }
    }

    /// The condition that a packet goes to the host's network.
    fn there(&self) -> Match {
        let others = intervals(&self.kept).others(Family::V4.last());
        Match::Address(Family::V4, Side::Destination, others)
    }

    /// Has connections come to whoever relays them. The router itself is there for nobody in the host's network.
    pub(crate) fn divert(&self, table: &mut Table, input: &mut Vec<table::Rule>) {
        let apart =
            add_apart(table, vec![rule([self.there(), Match::Protocol(6)], Verdict::DivertTo(RELAY))]);
        table.add("host-in", Some(Hook::Prerouting), vec![rule([], Verdict::Goto(apart))]);
        let port = Intervals::new([(RELAY.port().into(), RELAY.port().into())]);
        let to = Match::Address(Family::V4, Side::Destination, one(*RELAY.ip()));
        input.insert(1, rule([Match::Link(Way::In, LINK.into())], Verdict::Drop));
        input.push(rule([peering(Way::In), to, Match::Protocol(6), Match::Port(port)], Verdict::Accept));
    }

    /// The rule that says what leaves by the link.
    pub(crate) fn gate(&self, table: &mut Table) -> table::Rule {
        let allow = |number: &u8| rule([self.there(), Match::Protocol(*number)], Verdict::Accept);
        let apart = add_apart(table, self.datagrams.iter().map(allow).collect());
        rule([Match::Link(Way::Out, LINK.into())], Verdict::Goto(apart))
    }
}

/// Links the internet's router to the endpoint. Whatever else it has no route to goes there too, and its rules drop it.
pub(crate) fn add_way(router: &mut Namespace) {
    router.links.insert(LINK.into(), end(LINK, (ENDPOINT, OUT), true));
    let mac = mac_named(ENDPOINT);
    router.neighbours.insert(Neighbour { link: LINK.into(), address: PEER_GATEWAY.into(), mac });
    let all = Ipv4Net::default().into();
    router.routes.remove(&Route::new(all, RouteVia::Blackhole));
    router.routes.insert(Route::new(all, RouteVia::Gateway(LINK.into(), PEER_GATEWAY.into())));
}

/// The endpoint.
pub(crate) fn endpoint() -> Namespace {
    let router = internet().to_string();
    let link = end(ENDPOINT, (&router, LINK), false);
    Namespace { links: [(OUT.to_owned(), link)].into(), ..Namespace::default() }
}

/// An end of the link. Only what has a route back by the link comes in by it.
fn end(name: &str, peer: (&str, &str), strict_source: bool) -> Link {
    let peer = Some((peer.0.to_owned(), peer.1.to_owned()));
    Link { mac: mac_named(name), mtu: LARGEST, group: group_of(name), strict_source, peer }
}

/// The Ethernet header of what comes in by the endpoint: to the router, from the endpoint, IPv4.
pub fn header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..6].copy_from_slice(&mac_named(LINK));
    header[6..12].copy_from_slice(&mac_named(ENDPOINT));
    header[12..].copy_from_slice(&0x0800_u16.to_be_bytes());
    header
}
