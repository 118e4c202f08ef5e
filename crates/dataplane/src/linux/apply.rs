//! A plan's edits, made. Failures are data: an edit that fails does not keep the others from being tried, and the
//! next observation shows what is still missing.

use super::guests::{Guests, Order};
use super::netlink::{Mode, Route as Netlink};
use super::settings::{self, Settings};
use super::{Held, Kernel, LOOKUP_PRIORITY, RT_TABLE_LOCAL, netns};
use crate::host::LARGEST;
use crate::plan::{Edit, Op, Plan};
use crate::rules::Ruleset;
use crate::state::{Link, Lookup, Neighbour, Route, RouteVia};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
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
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Error, Result};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ScopedJoinHandle;

/// An edit that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The edit, as text.
    pub edit: String,
    /// What the kernel said.
    pub error: String,
}

impl Kernel {
    /// Makes the plan's edits in order and returns those that failed.
    pub fn apply(&mut self, plan: &Plan) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut edits = plan.edits.as_slice();
        let mut indexes = Indexes::default();
        let guests = self.guests.clone();
        let mut making = Making::new(guests.as_deref(), plan);
        while let Some(first) = edits.first() {
            // What is asked of one namespace by netlink goes to the kernel together.
            let (run, namespace) = (run_of(&first.op), namespace_of(&first.op));
            let together = |edit: &&Edit| {
                let anywhere = run == Some(Run::Rules);
                run.is_some() && run_of(&edit.op) == run && (anywhere || namespace_of(&edit.op) == namespace)
            };
            let (now, later) = edits.split_at(edits.iter().take_while(together).count().max(1));
            edits = later;
            for name in now.iter().flat_map(|edit| namespaces_of(&edit.op)).flatten() {
                failures.extend(self.await_made(Some(name), &mut making));
            }
            let results = match run {
                Some(Run::Links) => self.create_links(namespace, now, &mut indexes),
                Some(Run::Small) => self.apply_small(namespace, now, &mut indexes),
                Some(Run::Rules) => self.load_rules(now),
                None => vec![self.apply_big(&first.op, &mut making)],
            };
            failures.extend(now.iter().zip(results).filter_map(|(edit, result)| {
                let error = result.err().filter(|error| !went_by_itself(&edit.op, error))?;
                Some(Failure { edit: edit.op.to_string(), error: error.to_string() })
            }));
        }
        failures.extend(self.await_made(None, &mut making));
        // Endpoints are many, and seldom changed: they would cost a descriptor each.
        self.namespaces.values_mut().filter(|held| !held.router).for_each(|held| held.route = None);
        failures
    }

    /// Takes in namespaces that are being made until there is one of this name, or all of them; what failed.
    fn await_made(&mut self, name: Option<&str>, making: &mut Making<'_>) -> Vec<Failure> {
        let mut failures = Vec::new();
        while name.is_none_or(|name| !self.namespaces.contains_key(name)) {
            match making.next() {
                None => break,
                Some((name, Ok(held))) => drop(self.namespaces.insert(name, held)),
                Some((name, Err(error))) => {
                    let edit = Op::CreateNamespace { namespace: name, router: false }.to_string();
                    failures.push(Failure { edit, error: error.to_string() });
                }
            }
        }
        failures
    }

    /// The namespace of that name.
    fn held(&mut self, namespace: &str) -> Result<&mut Held> {
        self.namespaces.get_mut(namespace).ok_or_else(|| missing(namespace))
    }

    /// Makes an edit that is not a netlink request inside one namespace.
    fn apply_big(&mut self, op: &Op, making: &mut Making<'_>) -> Result<()> {
        match op {
            Op::DeleteNamespace { namespace } => {
                self.namespaces.remove(namespace);
                Ok(())
            }
            Op::CreateNamespace { namespace, router } => {
                if making.begin(op) {
                    return Ok(());
                }
                let held = self.create(*router)?;
                self.namespaces.insert(namespace.clone(), held);
                Ok(())
            }
            Op::SetStrictSource { namespace, link, strict } => {
                let value = if *strict { "1" } else { "0" };
                netns::with(&*self.held(namespace)?.fd, || {
                    Settings::default().set(&format!("ipv4/conf/{link}/rp_filter"), value)
                })?
            }
            Op::SetIpv6 { namespace, link, on } => {
                netns::with(&*self.held(namespace)?.fd, || settings::set_ipv6(link, *on))?
            }
            _ => Err(Error::other("not an edit of this kind")),
        }
    }

    /// Loads rules, those of several routers at the same time: the kernel takes them in for each by itself.
    fn load_rules(&mut self, edits: &[Edit]) -> Vec<Result<()>> {
        let loads = edits.iter().filter_map(|edit| match &edit.op {
            Op::LoadRules { namespace, rules } => Some((&**namespace, rules)),
            _ => None,
        });
        let loads: Vec<(&str, &Arc<Ruleset>)> = loads.collect();
        // Then there is nobody to look for among thousands.
        if let [(namespace, rules)] = loads[..] {
            return vec![self.held(namespace).and_then(|held| held.load(rules))];
        }
        let mut results: Vec<Result<()>> =
            loads.iter().map(|(namespace, _)| Err(missing(namespace))).collect();
        let wanted =
            loads.iter().enumerate().map(|(place, (namespace, rules))| (*namespace, (place, *rules)));
        let wanted: BTreeMap<_, _> = wanted.collect();
        let all = self.namespaces.iter_mut();
        let jobs = Mutex::new(all.filter_map(|(name, held)| Some((held, *wanted.get(&**name)?))));
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let done = std::iter::from_fn(|| next().map(|(held, (place, rules))| (place, held.load(rules))));
            done.collect::<Vec<_>>()
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let others = processors.min(loads.len()) - 1;
        let done = std::thread::scope(|scope| {
            let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            let join = |other: ScopedJoinHandle<'_, Vec<_>>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            done.extend(others.into_iter().flat_map(join));
            done
        });
        done.into_iter().for_each(|(place, result)| results[place] = result);
        results
    }

    /// Makes edits that are one netlink request each inside one namespace.
    fn apply_small(&mut self, namespace: &str, edits: &[Edit], indexes: &mut Indexes) -> Vec<Result<()>> {
        let asked = self.held(namespace).and_then(|held| {
            held.with_route(|route| {
                let links = edits.iter().flat_map(|edit| links_of(&edit.op));
                let indexes = indexes.of(namespace, links, route)?;
                // What cannot even be asked for (its interface is gone) fails by itself.
                let asked = edits.iter().map(|edit| request(&edit.op, indexes));
                fill(asked.collect(), |requests| route.run(requests))
            })
        });
        asked.unwrap_or_else(|error| edits.iter().map(|_| Err(again(&error))).collect())
    }

    /// Makes veth pairs that have one end in the same namespace, and sets both ends up.
    fn create_links(&mut self, namespace: &str, edits: &[Edit], indexes: &mut Indexes) -> Vec<Result<()>> {
        let pairs: Vec<_> = edits.iter().filter_map(|edit| pair(&edit.op)).collect();
        let made = self.create_pairs(namespace, &pairs, indexes);
        let mut results = made.unwrap_or_else(|error| pairs.iter().map(|_| Err(again(&error))).collect());
        for ((_, b), result) in pairs.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
            *result = self.held(&b.0).and_then(|held| {
                held.with_route(|route| {
                    let answers = route.run(vec![set_up(&b.1, &b.2), settle(&b.1)])?;
                    for (answer, is_index) in answers.into_iter().zip([false, true]) {
                        let index = answer?;
                        if is_index {
                            indexes.add(&b.0, &b.1, index);
                        }
                    }
                    Ok(())
                })
            });
        }
        // Now that there is somebody at the other end.
        let settled = self.held(namespace).and_then(|held| {
            held.with_route(|route| route.run(pairs.iter().map(|(a, _)| settle(&a.1)).collect()))
        });
        let settled = settled.unwrap_or_else(|error| pairs.iter().map(|_| Err(again(&error))).collect());
        for (((a, _), result), settled) in pairs.iter().zip(&mut results).zip(settled) {
            match settled {
                Ok(index) => indexes.add(&a.0, &a.1, index),
                Err(error) if result.is_ok() => *result = Err(error),
                Err(_) => {}
            }
        }
        results
    }

    /// Makes the pairs, with the ends in this namespace up.
    fn create_pairs(
        &mut self,
        namespace: &str,
        pairs: &[(&Side, &Side)],
        indexes: &mut Indexes,
    ) -> Result<Vec<Result<()>>> {
        let mut asked = Vec::with_capacity(pairs.len());
        for (a, b) in pairs {
            let other = self.held(&b.0).map(|held| Arc::clone(&held.fd));
            asked.push(other.map(|other| {
                indexes.forget(&a.0, &a.1);
                indexes.forget(&b.0, &b.1);
                (create_veth((&a.1, &a.2), (&b.1, &b.2), other.as_raw_fd()), other)
            }));
        }
        // The descriptors stay open until the kernel has looked at them.
        let (asked, _others): (Vec<_>, Vec<_>) = asked
            .into_iter()
            .map(|asked| match asked {
                Ok((request, other)) => (Ok(request), Some(other)),
                Err(error) => (Err(error), None),
            })
            .unzip();
        self.held(namespace)?.with_route(|route| {
            let mut made = fill(asked, |requests| route.run(requests))?;
            let up: Vec<_> = pairs
                .iter()
                .zip(&made)
                .filter(|(_, made)| made.is_ok())
                .map(|((a, _), _)| set_up(&a.1, &a.2))
                .collect();
            let mut up = route.run(up)?.into_iter();
            for made in made.iter_mut().filter(|made| made.is_ok()) {
                *made = up.next().unwrap_or(Ok(0)).map(drop);
            }
            Ok(made)
        })
    }
}

/// Why nothing can be done in a namespace of that name.
fn missing(namespace: &str) -> Error {
    Error::other(format!("there is no namespace {namespace}"))
}

/// Sends the requests among these, and puts what became of each in its place.
fn fill(
    asked: Vec<Result<Request>>,
    send: impl FnOnce(Vec<Request>) -> Result<Vec<Result<u32>>>,
) -> Result<Vec<Result<()>>> {
    let (requests, refused): (Vec<_>, Vec<_>) =
        asked.into_iter().map(|asked| asked.map_or_else(|e| (None, Some(e)), |ok| (Some(ok), None))).unzip();
    let mut answers = send(requests.into_iter().flatten().collect())?.into_iter();
    let answer =
        |refused: Option<Error>| refused.map_or_else(|| answers.next().unwrap_or(Ok(0)).map(drop), Err);
    Ok(refused.into_iter().map(answer).collect())
}

/// An error once more: of one failure that many edits share.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

/// A netlink request.
type Request = (Mode, Message);

/// One side of a veth pair that is to be made: namespace, interface, and how it should be.
type Side = (String, String, Link);

/// The indexes of links, by namespace and name: as long as one plan is made, only it makes and deletes links whose
/// indexes are asked for.
#[derive(Debug, Default)]
struct Indexes(BTreeMap<String, BTreeMap<String, u32>>);

impl Indexes {
    /// Those of a namespace. What is not known yet of `links` is asked for; what does not exist is not there.
    fn of<'l>(
        &mut self,
        namespace: &str,
        links: impl Iterator<Item = &'l str>,
        route: &mut Netlink,
    ) -> Result<&BTreeMap<String, u32>> {
        let known = self.0.entry(namespace.to_owned()).or_default();
        let unknown: BTreeSet<&str> = links.filter(|link| !known.contains_key(*link)).collect();
        let found = route.run(unknown.iter().map(|link| settle(link)).collect())?;
        known.extend(
            unknown.into_iter().zip(found).filter_map(|(link, index)| Some((link.to_owned(), index.ok()?))),
        );
        Ok(known)
    }

    fn add(&mut self, namespace: &str, link: &str, index: u32) {
        self.0.entry(namespace.to_owned()).or_default().insert(link.to_owned(), index);
    }

    /// A link of that name may be another one from now on.
    fn forget(&mut self, namespace: &str, link: &str) {
        self.0.get_mut(namespace).map(|links| links.remove(link));
    }
}

/// Whether a link that was to be deleted had gone with its other end, whose deletion stands earlier in the plan.
fn went_by_itself(op: &Op, error: &Error) -> bool {
    matches!(op, Op::DeleteLink { .. }) && error.raw_os_error() == Some(libc::ENODEV)
}

/// Endpoints' namespaces of a plan, which the guests' process makes while the plan goes on, until somebody needs them.
#[derive(Debug)]
struct Making<'g> {
    order: Option<Order<'g>>,
    /// Those that the plan has come to, in its order.
    begun: VecDeque<String>,
}

impl<'g> Making<'g> {
    fn new(guests: Option<&'g Guests>, plan: &Plan) -> Self {
        let count = plan.edits.iter().filter(|edit| endpoint(&edit.op).is_some()).count();
        Self { order: guests.filter(|_| count > 0).map(|guests| guests.order(count)), begun: VecDeque::new() }
    }

    /// Counts the namespace of an edit among those that are being made, if it is one of them.
    fn begin(&mut self, op: &Op) -> bool {
        let name = endpoint(op).filter(|_| self.order.is_some());
        self.begun.extend(name.map(str::to_owned));
        name.is_some()
    }

    /// The next one, once it is made.
    fn next(&mut self) -> Option<(String, Result<Held>)> {
        let name = self.begun.pop_front()?;
        let made = self.order.as_mut()?.next();
        Some((name, made.map(|made| Held::of(made, false))))
    }
}

/// The name of the endpoint whose namespace an edit makes.
fn endpoint(op: &Op) -> Option<&str> {
    match op {
        Op::CreateNamespace { namespace, router: false } => Some(namespace),
        _ => None,
    }
}

/// The namespaces that must be there for an edit.
fn namespaces_of(op: &Op) -> [Option<&str>; 2] {
    match op {
        Op::CreateNamespace { .. } | Op::DeleteNamespace { .. } => [None, None],
        Op::CreateLink { a, b } => [Some(&a.0), Some(&b.0)],
        op => [Some(namespace_of(op)), None],
    }
}

/// The namespace that an edit is about, or in which it is asked for.
fn namespace_of(op: &Op) -> &str {
    match op {
        Op::CreateLink { a, .. } => &a.0,
        Op::DeleteLink { namespace, .. }
        | Op::DeleteLookup { namespace, .. }
        | Op::DeleteRoute { namespace, .. }
        | Op::DeleteNeighbour { namespace, .. }
        | Op::DeleteAddress { namespace, .. }
        | Op::DeleteNamespace { namespace }
        | Op::CreateNamespace { namespace, .. }
        | Op::LoadRules { namespace, .. }
        | Op::SetStrictSource { namespace, .. }
        | Op::SetIpv6 { namespace, .. }
        | Op::AddAddress { namespace, .. }
        | Op::AddNeighbour { namespace, .. }
        | Op::AddRoute { namespace, .. }
        | Op::AddLookup { namespace, .. } => namespace,
    }
}

/// Edits that can go to the kernel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// Each is one netlink request.
    Small,
    /// Each makes a veth pair.
    Links,
    /// Each loads the rules of another router.
    Rules,
}

/// What an edit can go together with: but for rules, in the same namespace.
fn run_of(op: &Op) -> Option<Run> {
    match op {
        Op::CreateLink { .. } => Some(Run::Links),
        Op::LoadRules { .. } => Some(Run::Rules),
        Op::DeleteLink { .. }
        | Op::DeleteLookup { .. }
        | Op::DeleteRoute { .. }
        | Op::DeleteNeighbour { .. }
        | Op::DeleteAddress { .. }
        | Op::AddAddress { .. }
        | Op::AddNeighbour { .. }
        | Op::AddRoute { .. }
        | Op::AddLookup { .. } => Some(Run::Small),
        Op::CreateNamespace { .. }
        | Op::DeleteNamespace { .. }
        | Op::SetStrictSource { .. }
        | Op::SetIpv6 { .. } => None,
    }
}

/// The two sides of a pair that is to be made.
fn pair(op: &Op) -> Option<(&Side, &Side)> {
    match op {
        Op::CreateLink { a, b } => Some((a, b)),
        _ => None,
    }
}

/// The links whose indexes an edit needs.
fn links_of(op: &Op) -> Vec<&str> {
    match op {
        Op::AddAddress { link, .. } | Op::DeleteAddress { link, .. } => vec![link],
        Op::AddNeighbour { neighbour, .. } | Op::DeleteNeighbour { neighbour, .. } => vec![&neighbour.link],
        Op::AddRoute { route, .. } | Op::DeleteRoute { route, .. } => route.via.links().collect(),
        _ => Vec::new(),
    }
}

/// The index of an interface.
fn index_of(link: &str, indexes: &BTreeMap<String, u32>) -> Result<u32> {
    indexes.get(link).copied().ok_or_else(|| Error::other(format!("there is no interface {link}")))
}

/// Makes a veth pair with one end here and the other in another namespace.
fn create_veth(here: (&str, &Link), there: (&str, &Link), other: RawFd) -> Request {
    let mut peer = describe(there.0, there.1);
    peer.attributes.push(LinkAttribute::NetNsFd(other));
    let mut message = describe(here.0, here.1);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    (Mode::Create, Message::NewLink(message))
}

/// Bytes of TCP over IPv4 that pass as one packet, which is cut nowhere before its receiver ("BIG TCP"): what a router takes for a
/// packet is spread over three times as many bytes as by default. Kernels before Linux 6.3 take no notice. No more than
/// [`BURST`](crate::table::BURST), or a narrow link would never let it through.
const BATCH: u32 = 192 << 10;

/// A link's name, MAC and MTU, and how large batches of packets it takes.
fn describe(name: &str, link: &Link) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message.attributes.push(LinkAttribute::Address(link.mac.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(link.mtu));
    message.attributes.push(LinkAttribute::Group(link.group));
    // With the queues of every processor, which it makes otherwise, the kernel then takes most of them away again, and
    // waits for all processors as it does so: twice for each pair.
    message.attributes.extend([LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)]);
    message.attributes.push(match link.mtu {
        LARGEST => LinkAttribute::GsoMaxSegs(1),
        _ => LinkAttribute::GsoIpv4MaxSize(BATCH),
    });
    message
}

/// Sets an end of a link up and notes as its alias where the other end is: of what hangs together the kernel would
/// otherwise only tell indexes.
fn set_up(name: &str, link: &Link) -> Request {
    let mut message = named(name);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    let alias = link.peer.as_ref().map(|(namespace, link)| format!("{namespace} {link}"));
    message.attributes.extend(alias.map(LinkAttribute::IfAlias));
    (Mode::Change, Message::SetLink(message))
}

/// Asks for a link, which makes the kernel act on its carrier before it answers: until then, and that may be a while
/// on a busy machine, the link drops what is sent, though it is up.
fn settle(name: &str) -> Request {
    let mut message = named(name);
    // There is no use for the counters here, which are most of an answer.
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    (Mode::Change, Message::GetLink(message))
}

/// A link by its name.
fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

/// The netlink request of a small edit, with the indexes of its namespace.
fn request(op: &Op, indexes: &BTreeMap<String, u32>) -> Result<Request> {
    Ok(match op {
        Op::DeleteLink { link, .. } => (Mode::Change, Message::DelLink(named(link))),
        Op::DeleteAddress { link, address, .. } => {
            (Mode::Change, Message::DelAddress(address_message(link, *address, indexes)?))
        }
        Op::AddAddress { link, address, .. } => {
            (Mode::Replace, Message::NewAddress(address_message(link, *address, indexes)?))
        }
        Op::DeleteNeighbour { neighbour, .. } => {
            (Mode::Change, Message::DelNeighbour(neighbour_message(neighbour, indexes)?))
        }
        Op::AddNeighbour { neighbour, .. } => {
            (Mode::Replace, Message::NewNeighbour(neighbour_message(neighbour, indexes)?))
        }
        Op::DeleteRoute { route, .. } => (Mode::Change, Message::DelRoute(route_message(route, indexes)?)),
        Op::AddRoute { route, .. } => (Mode::Replace, Message::NewRoute(route_message(route, indexes)?)),
        Op::DeleteLookup { lookup, .. } => (Mode::Change, Message::DelRule(lookup_message(lookup))),
        Op::AddLookup { lookup, .. } => (Mode::Create, Message::NewRule(lookup_message(lookup))),
        _ => return Err(Error::other("not an edit of this kind")),
    })
}

/// The family of an address, and how long it is in bits.
fn family(address: IpAddr) -> (AddressFamily, u8) {
    if address.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) }
}

/// An address of an interface, alone in its prefix.
fn address_message(link: &str, address: IpAddr, indexes: &BTreeMap<String, u32>) -> Result<AddressMessage> {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len) = family(address);
    message.header.index = index_of(link, indexes)?;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    if address.is_ipv6() {
        // Nobody else can have it, and the kernel need not make a route of it.
        let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    Ok(message)
}

/// A permanent neighbour.
fn neighbour_message(neighbour: &Neighbour, indexes: &BTreeMap<String, u32>) -> Result<NeighbourMessage> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(neighbour.address).0;
    message.header.ifindex = index_of(&neighbour.link, indexes)?;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(NeighbourAttribute::Destination(match neighbour.address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    }));
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
fn route_message(route: &Route, indexes: &BTreeMap<String, u32>) -> Result<RouteMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.addr()).0;
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
    let destination = RouteAddress::from(route.destination.network());
    message.attributes.push(RouteAttribute::Destination(destination));
    if let RouteVia::Link(link) | RouteVia::Gateway(link, _) | RouteVia::Local(link) = &route.via {
        message.attributes.push(RouteAttribute::Oif(index_of(link, indexes)?));
    }
    match &route.via {
        RouteVia::Gateway(_, gateway) => {
            message.header.flags = RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(*gateway)));
        }
        RouteVia::Gateways(gateways) => {
            let hops = gateways.iter().map(|(link, gateway)| next_hop(link, *gateway, indexes));
            message.attributes.push(RouteAttribute::MultiPath(hops.collect::<Result<_>>()?));
        }
        RouteVia::Link(_) => message.header.scope = RouteScope::Link,
        RouteVia::Local(_) => message.header.scope = RouteScope::Host,
        RouteVia::Blackhole | RouteVia::Throw => {}
    }
    Ok(message)
}

/// One of several next hops.
fn next_hop(link: &str, gateway: IpAddr, indexes: &BTreeMap<String, u32>) -> Result<RouteNextHop> {
    let mut hop = RouteNextHop::default();
    hop.flags = RouteNextHopFlags::Onlink;
    hop.interface_index = index_of(link, indexes)?;
    hop.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    Ok(hop)
}
