//! A plan's edits, made. Failures are data: an edit that fails does not keep the others from being tried, and the
//! next observation shows what is still missing.

use super::netlink::{Mode, Route as Netlink};
use super::{Held, Kernel, LOOKUP_PRIORITY, RT_TABLE_LOCAL, Rules, Watch, netns};
use crate::plan::{Edit, Op, Plan};
use crate::state::{Link, Lookup, Neighbour, Route, RouteVia};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// An edit that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The edit, as text.
    pub edit: String,
    /// What the kernel said.
    pub error: String,
}

/// Settings of a router, made before it has any link but `lo`.
const ROUTER_SYSCTLS: [(&str, &str); 12] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"), // the kernel takes the larger of `all` and the link's own
    ("ipv4/conf/default/rp_filter", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    // Of equal next hops a connection has one by its addresses, protocol and ports, and keeps it.
    ("ipv4/fib_multipath_hash_policy", "1"),
    // Google forgets an idle connection after ten minutes, of whatever protocol (documentation of VPC firewall rules,
    // "Connection tracking"). Until then it outlives the rule that let it in.
    ("netfilter/nf_conntrack_tcp_timeout_established", "600"),
    ("netfilter/nf_conntrack_udp_timeout", "600"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "600"),
    ("netfilter/nf_conntrack_icmp_timeout", "600"),
    ("netfilter/nf_conntrack_generic_timeout", "600"),
];

/// Settings of an endpoint. A new namespace has those of the host, which may forward (Docker) or filter.
const ENDPOINT_SYSCTLS: [(&str, &str); 3] =
    [("ipv4/ip_forward", "0"), ("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")];

/// Settings of every namespace.
const COMMON_SYSCTLS: [(&str, &str); 2] =
    [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

impl Kernel {
    /// Makes the plan's edits in order and returns those that failed.
    pub fn apply(&mut self, plan: &Plan) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut edits = plan.edits.as_slice();
        while let Some(first) = edits.first() {
            // Edits by netlink of one namespace go to the kernel together.
            let run = edits
                .iter()
                .take_while(|e| small(&e.op).is_some() && small(&e.op) == small(&first.op))
                .count();
            let (now, later) = edits.split_at(run.max(1));
            edits = later;
            let results = match small(&first.op) {
                Some(namespace) => self.apply_small(namespace, now),
                None => Ok(vec![self.apply_big(&first.op)]),
            };
            let results =
                results.unwrap_or_else(|e| now.iter().map(|_| Err(Error::other(e.to_string()))).collect());
            failures.extend(now.iter().zip(results).filter_map(|(edit, result)| {
                let error = result.err().filter(|error| !went_by_itself(&edit.op, error))?;
                Some(Failure { edit: edit.op.to_string(), error: error.to_string() })
            }));
        }
        failures
    }

    /// The namespace of that name.
    fn held(&self, namespace: &str) -> Result<&Held> {
        self.namespaces
            .get(namespace)
            .ok_or_else(|| Error::other(format!("there is no namespace {namespace}")))
    }

    /// Makes an edit that is not a netlink request inside one namespace.
    fn apply_big(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::DeleteNamespace { namespace } => {
                self.namespaces.remove(namespace);
                Ok(())
            }
            Op::CreateNamespace { namespace, router } => {
                let fd = self.create(*router)?;
                let watch = netns::with(&fd, || prepare(*router).and_then(|()| Watch::open()))??;
                self.namespaces.insert(namespace.clone(), Held::watched(fd, *router, watch));
                Ok(())
            }
            Op::LoadRules { namespace, rules } => {
                let missing = || Error::other(format!("there is no namespace {namespace}"));
                let held = self.namespaces.get_mut(namespace).ok_or_else(missing)?;
                let table = rules.table();
                held.listen(rules.log())?;
                // Until they are loaded nothing is known of them: a part of them may be.
                let before = held.rules.take();
                let known = before.as_ref().map(|known| (&known.table, known.generation));
                let generation = held.with_nft(|nft| nft.load(known, &table))?;
                held.rules = Some(Rules { fingerprint: rules.fingerprint(), table, generation });
                Ok(())
            }
            Op::CreateLink { a, b } => {
                let other = Arc::clone(&self.held(&b.0)?.fd);
                netns::with(&*self.held(&a.0)?.fd, || {
                    create_veth((&a.1, &a.2), (&b.1, &b.2), other.as_raw_fd())?;
                    set_up(&a.1, &a.2)
                })??;
                netns::with(&*other, || {
                    set_up(&b.1, &b.2)?;
                    settle(&b.1)
                })??;
                netns::with(&*self.held(&a.0)?.fd, || settle(&a.1))?
            }
            Op::SetStrictSource { namespace, link, strict } => {
                let value = if *strict { "1" } else { "0" };
                netns::with(&*self.held(namespace)?.fd, || {
                    sysctl(&format!("ipv4/conf/{link}/rp_filter"), value)
                })?
            }
            _ => Err(Error::other("not an edit of this kind")),
        }
    }

    /// Makes edits that are netlink requests inside one namespace.
    fn apply_small(&self, namespace: &str, edits: &[Edit]) -> Result<Vec<Result<()>>> {
        netns::with(&*self.held(namespace)?.fd, || {
            // What cannot even be asked for (its interface is gone) fails by itself.
            let asked: Vec<_> = edits.iter().map(|edit| request(&edit.op)).collect();
            let (requests, refused): (Vec<_>, Vec<_>) =
                asked.into_iter().map(|a| a.map_or_else(|e| (None, Some(e)), |ok| (Some(ok), None))).unzip();
            let mut answers = Netlink::open()?.run(requests.into_iter().flatten().collect())?.into_iter();
            Ok(refused.into_iter().map(|r| r.map_or_else(|| answers.next().unwrap_or(Ok(())), Err)).collect())
        })?
    }
}

/// Whether a link that was to be deleted had gone with its other end, whose deletion stands earlier in the plan.
fn went_by_itself(op: &Op, error: &Error) -> bool {
    matches!(op, Op::DeleteLink { .. }) && error.raw_os_error() == Some(libc::ENODEV)
}

/// The namespace of an edit that is one netlink request.
fn small(op: &Op) -> Option<&str> {
    match op {
        Op::DeleteLink { namespace, .. }
        | Op::DeleteRoute { namespace, .. }
        | Op::DeleteNeighbour { namespace, .. }
        | Op::DeleteAddress { namespace, .. }
        | Op::AddAddress { namespace, .. }
        | Op::AddNeighbour { namespace, .. }
        | Op::AddRoute { namespace, .. }
        | Op::DeleteLookup { namespace, .. }
        | Op::AddLookup { namespace, .. } => Some(namespace),
        _ => None,
    }
}

/// Settles a new namespace. A router forwards from the start and, having no rules yet, must not have links yet.
fn prepare(router: bool) -> Result<()> {
    let own = if router { ROUTER_SYSCTLS.as_slice() } else { &ENDPOINT_SYSCTLS };
    // A kernel without IPv6 has no such settings, and needs none.
    let common = COMMON_SYSCTLS.iter().filter(|_| fs::exists("/proc/sys/net/ipv6").unwrap_or(false));
    common.chain(own).try_for_each(|(name, value)| sysctl(name, value))
}

/// Sets a value under `net` in the calling thread's namespace.
fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).map_err(|e| Error::new(e.kind(), format!("{path}: {e}")))
}

/// The index of an interface of the calling thread's namespace.
fn index_of(link: &str) -> Result<u32> {
    nix::net::if_::if_nametoindex(link).map_err(|e| Error::other(format!("interface {link}: {e}")))
}

/// Makes a veth pair with one end here and the other in another namespace.
fn create_veth(here: (&str, &Link), there: (&str, &Link), other: RawFd) -> Result<()> {
    let mut peer = describe(there.0, there.1);
    peer.attributes.push(LinkAttribute::NetNsFd(other));
    let mut message = describe(here.0, here.1);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    one(Mode::Create, Message::NewLink(message))
}

/// A link's name, MAC and MTU.
fn describe(name: &str, link: &Link) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message.attributes.push(LinkAttribute::Address(link.mac.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(link.mtu));
    message
}

/// Sets an end of a link up and notes as its alias where the other end is: of what hangs together the kernel would
/// otherwise only tell indexes.
fn set_up(name: &str, link: &Link) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index_of(name)?;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let alias = link.peer.as_ref().map(|(namespace, link)| format!("{namespace} {link}"));
    message.attributes.extend(alias.map(LinkAttribute::IfAlias));
    one(Mode::Change, Message::SetLink(message))
}

/// Asks for a link, which makes the kernel act on its carrier before it answers: until then, and that may be a while
/// on a busy machine, the link drops what is sent, though it is up.
fn settle(name: &str) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index_of(name)?;
    one(Mode::Change, Message::GetLink(message))
}

/// Makes one request in the calling thread's namespace.
fn one(mode: Mode, message: Message) -> Result<()> {
    Netlink::open()?.run(vec![(mode, message)])?.pop().unwrap_or(Ok(()))
}

/// The netlink request of a small edit, in the calling thread's namespace.
fn request(op: &Op) -> Result<(Mode, Message)> {
    Ok(match op {
        Op::DeleteLink { link, .. } => {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::IfName(link.clone()));
            (Mode::Change, Message::DelLink(message))
        }
        Op::DeleteAddress { link, address, .. } => {
            (Mode::Change, Message::DelAddress(address_message(link, *address)?))
        }
        Op::AddAddress { link, address, .. } => {
            (Mode::Replace, Message::NewAddress(address_message(link, *address)?))
        }
        Op::DeleteNeighbour { neighbour, .. } => {
            (Mode::Change, Message::DelNeighbour(neighbour_message(neighbour)?))
        }
        Op::AddNeighbour { neighbour, .. } => {
            (Mode::Replace, Message::NewNeighbour(neighbour_message(neighbour)?))
        }
        Op::DeleteRoute { route, .. } => (Mode::Change, Message::DelRoute(route_message(route)?)),
        Op::AddRoute { route, .. } => (Mode::Replace, Message::NewRoute(route_message(route)?)),
        Op::DeleteLookup { lookup, .. } => (Mode::Change, Message::DelRule(lookup_message(lookup))),
        Op::AddLookup { lookup, .. } => (Mode::Create, Message::NewRule(lookup_message(lookup))),
        _ => return Err(Error::other("not an edit of this kind")),
    })
}

/// A /32 address of an interface.
fn address_message(link: &str, address: Ipv4Addr) -> Result<AddressMessage> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = index_of(link)?;
    message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
    message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
    Ok(message)
}

/// A permanent neighbour.
fn neighbour_message(neighbour: &Neighbour) -> Result<NeighbourMessage> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index_of(&neighbour.link)?;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(neighbour.address)));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(neighbour.mac.to_vec()));
    Ok(message)
}

/// A rule that has packets that come in by an interface looked up in a table first.
fn lookup_message(lookup: &Lookup) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.action = RuleAction::ToTable;
    message.attributes.push(RuleAttribute::Priority(LOOKUP_PRIORITY));
    message.attributes.push(RuleAttribute::Iifname(lookup.link.clone()));
    message.attributes.push(RuleAttribute::Table(lookup.table));
    message
}

/// A route of the main table, of the local one or of one of our own.
fn route_message(route: &Route) -> Result<RouteMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = route.destination.prefix_len();
    let local = matches!(route.via, RouteVia::Local(_));
    message.header.table = if local { RT_TABLE_LOCAL } else { RouteHeader::RT_TABLE_MAIN };
    if let Some(table) = route.table {
        message.header.table = RouteHeader::RT_TABLE_UNSPEC; // it has no room for the number
        message.attributes.push(RouteAttribute::Table(table));
    }
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = match route.via {
        RouteVia::Blackhole => RouteType::BlackHole,
        RouteVia::Throw => RouteType::Throw,
        RouteVia::Local(_) => RouteType::Local,
        RouteVia::Link(_) | RouteVia::Gateway(..) | RouteVia::Gateways(_) => RouteType::Unicast,
    };
    let destination = RouteAddress::Inet(route.destination.network());
    message.attributes.push(RouteAttribute::Destination(destination));
    if let RouteVia::Link(link) | RouteVia::Gateway(link, _) | RouteVia::Local(link) = &route.via {
        message.attributes.push(RouteAttribute::Oif(index_of(link)?));
    }
    match &route.via {
        RouteVia::Gateway(_, gateway) => {
            message.header.flags = RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(*gateway)));
        }
        RouteVia::Gateways(gateways) => {
            let hops = gateways.iter().map(|(link, gateway)| next_hop(link, *gateway));
            message.attributes.push(RouteAttribute::MultiPath(hops.collect::<Result<_>>()?));
        }
        RouteVia::Link(_) => message.header.scope = RouteScope::Link,
        RouteVia::Local(_) => message.header.scope = RouteScope::Host,
        RouteVia::Blackhole | RouteVia::Throw => {}
    }
    Ok(message)
}

/// One of several next hops.
fn next_hop(link: &str, gateway: Ipv4Addr) -> Result<RouteNextHop> {
    let mut hop = RouteNextHop::default();
    hop.flags = RouteNextHopFlags::Onlink;
    hop.interface_index = index_of(link)?;
    hop.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    Ok(hop)
}
