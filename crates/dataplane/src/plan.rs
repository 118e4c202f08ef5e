//! The difference between what is wanted and what is observed, as edits in a safe order, each with its reason.
//!
//! The order keeps boundaries closed throughout: what must go goes first; a router's rules are there before any
//! of its links; links come before the routes that use them. A converged kernel gives an empty plan.

use crate::differ::differ;
use crate::rules::Ruleset;
use crate::state::{Desired, Link, Lookup, Namespace, Neighbour, Observed, Route};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Edits in the order in which to make them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The edits.
    pub edits: Vec<Edit>,
}

/// One edit of the kernel's state, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What to do.
    pub op: Op,
    /// Why: what was observed that should not be, or not observed that should.
    pub why: &'static str,
}

/// What an edit does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the namespace's name and the thing itself")]
pub enum Op {
    /// Deletes one end of a veth pair, and so the other.
    DeleteLink { namespace: String, link: String },
    /// Looks nothing up in a table of our own any more.
    DeleteLookup { namespace: String, lookup: Lookup },
    /// Deletes a route.
    DeleteRoute { namespace: String, route: Route },
    /// Deletes a neighbour.
    DeleteNeighbour { namespace: String, neighbour: Neighbour },
    /// Deletes an address.
    DeleteAddress { namespace: String, link: String, address: IpAddr },
    /// Lets go of a namespace.
    DeleteNamespace { namespace: String },
    /// Makes a namespace; a router's forwards, and drops everything until its rules are there.
    CreateNamespace { namespace: String, router: bool },
    /// Replaces a router's rules, in one transaction.
    LoadRules { namespace: String, rules: Arc<Ruleset> },
    /// Makes a veth pair, both ends up.
    CreateLink { a: (String, String, Link), b: (String, String, Link) },
    /// Sets the reverse-path filter of a link.
    SetStrictSource { namespace: String, link: String, strict: bool },
    /// Has IPv6 on a link, or not. What hangs on it goes with it.
    SetIpv6 { namespace: String, link: String, on: bool },
    /// Adds an address.
    AddAddress { namespace: String, link: String, address: IpAddr },
    /// Adds a permanent neighbour.
    AddNeighbour { namespace: String, neighbour: Neighbour },
    /// Adds a route.
    AddRoute { namespace: String, route: Route },
    /// Looks up what comes in by a link in a table of our own first.
    AddLookup { namespace: String, lookup: Lookup },
}

/// `add route 10.2.0.0/16 in projects/…/vpc-1`
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::DeleteLink { namespace, link } => write!(f, "delete link {link} in {namespace}"),
            Op::DeleteLookup { namespace, lookup } => {
                write!(f, "delete lookup of {} in {namespace}", lookup.link)
            }
            Op::DeleteRoute { namespace, route } => {
                write!(f, "delete route {} in {namespace}", route.destination)
            }
            Op::DeleteNeighbour { namespace, neighbour } => {
                write!(f, "delete neighbour {} in {namespace}", neighbour.address)
            }
            Op::DeleteAddress { namespace, address, .. } => {
                write!(f, "delete address {address} in {namespace}")
            }
            Op::DeleteNamespace { namespace } => write!(f, "delete namespace {namespace}"),
            Op::CreateNamespace { namespace, .. } => write!(f, "create namespace {namespace}"),
            Op::LoadRules { namespace, .. } => write!(f, "load rules in {namespace}"),
            Op::CreateLink { a, b } => write!(f, "create link {}/{} - {}/{}", a.0, a.1, b.0, b.1),
            Op::SetStrictSource { namespace, link, .. } => {
                write!(f, "set source filter of {link} in {namespace}")
            }
            Op::SetIpv6 { namespace, link, on } => {
                write!(f, "set IPv6 of {link} {} in {namespace}", if *on { "on" } else { "off" })
            }
            Op::AddAddress { namespace, address, .. } => write!(f, "add address {address} in {namespace}"),
            Op::AddNeighbour { namespace, neighbour } => {
                write!(f, "add neighbour {} in {namespace}", neighbour.address)
            }
            Op::AddRoute { namespace, route } => write!(f, "add route {} in {namespace}", route.destination),
            Op::AddLookup { namespace, lookup } => write!(f, "add lookup of {} in {namespace}", lookup.link),
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Adds an edit.
    fn push(&mut self, op: Op, why: &'static str) {
        self.edits.push(Edit { op, why });
    }
}

/// The edits that lead from what is observed to what is desired. What is as it should be is not looked at, however much
/// it is.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut otherwise: BTreeSet<&String> =
        differ(&observed.state.namespaces, &desired.state.namespaces).map(|(name, ..)| name).collect();
    let broken = broken_links(desired, observed, &otherwise);
    otherwise.extend(broken.iter().map(|(name, _)| name));
    let wanted = |name: &String| desired.state.namespaces.get(name).map(|want| &**want);
    let seen = |name: &String| observed.state.namespaces.get(name).map(|have| &**have);
    for name in &otherwise {
        let Some(have) = seen(name) else { continue };
        let want = wanted(name).filter(|want| want.router == have.router);
        remove(&mut plan, name, want, have, &broken);
        if let Some(want) = want {
            // Before rules that rely on it; and those that do without come before it is off.
            filter_sources(&mut plan, name, want, have, &broken, true);
        }
    }
    let rules = differ(&observed.rules, &desired.rules).map(|(name, ..)| name);
    let mut load = Vec::new();
    for name in otherwise.iter().copied().chain(rules).collect::<BTreeSet<_>>() {
        let Some(want) = wanted(name) else { continue };
        let known = seen(name).is_some_and(|have| have.router == want.router);
        if !known {
            plan.push(
                Op::CreateNamespace { namespace: name.clone(), router: want.router },
                "it does not exist",
            );
        }
        let otherwise = |rules: &&Arc<Ruleset>| !known || observed.rules.get(name) != Some(*rules);
        if let Some(rules) = desired.rules.get(name).filter(otherwise) {
            let why = if known { "its rules are not these" } else { "it has no rules" };
            load.push((Op::LoadRules { namespace: name.clone(), rules: Arc::clone(rules) }, why));
        }
    }
    // One after the other: they are loaded at the same time.
    load.into_iter().for_each(|(op, why)| plan.push(op, why));
    create_links(&mut plan, desired, &broken);
    let none = Namespace::default();
    for name in &otherwise {
        let Some(want) = wanted(name) else { continue };
        add(&mut plan, name, want, seen(name).unwrap_or(&none), &broken);
    }
    plan
}

/// An end of a link: namespace and interface.
type End = (String, String);

/// The ends of wanted links of which either end is missing or not as it should be: to be made anew as pairs. Ends name
/// each other, so it is enough to look at namespaces that are otherwise than they should be.
fn broken_links(desired: &Desired, observed: &Observed, otherwise: &BTreeSet<&String>) -> BTreeSet<End> {
    let good = |end: &End| {
        let want = desired.state.namespaces.get(&end.0);
        let have = observed.state.namespaces.get(&end.0);
        let (Some(want), Some(have)) = (want, have) else { return false };
        let links = want.links.get(&end.1).zip(have.links.get(&end.1));
        want.router == have.router
            && links
                .is_some_and(|(w, h)| (w.mac, w.mtu, w.group, &w.peer) == (h.mac, h.mtu, h.group, &h.peer))
    };
    let mut broken = BTreeSet::new();
    let wanted = otherwise.iter().filter_map(|name| Some((*name, desired.state.namespaces.get(*name)?)));
    for (name, namespace) in wanted {
        for (link, want) in &namespace.links {
            let here = (name.clone(), link.clone());
            let there = want.peer.clone();
            if !good(&here) || there.as_ref().is_some_and(|end| !good(end)) {
                broken.insert(here);
                broken.extend(there);
            }
        }
    }
    broken
}

/// Removes what is observed in a namespace and not wanted. What hangs on a link goes with it.
fn remove(plan: &mut Plan, name: &str, want: Option<&Namespace>, have: &Namespace, broken: &BTreeSet<End>) {
    let namespace = || name.to_owned();
    let stays = |link: &str| {
        let wanted = want.is_some_and(|w| w.links.contains_key(link) || link == "lo");
        wanted && !broken.contains(&(namespace(), link.to_owned()))
    };
    for link in have.links.keys().filter(|link| !stays(link)) {
        let why = if want.is_some_and(|w| w.links.contains_key(link)) {
            "it is not as it should be"
        } else {
            "nothing wants it"
        };
        plan.push(Op::DeleteLink { namespace: namespace(), link: link.clone() }, why);
    }
    let Some(want) = want else {
        return plan.push(Op::DeleteNamespace { namespace: namespace() }, "nothing wants it");
    };
    for lookup in have.lookups.difference(&want.lookups) {
        plan.push(Op::DeleteLookup { namespace: namespace(), lookup: lookup.clone() }, "nothing wants it");
    }
    for route in have.routes.difference(&want.routes).filter(|r| r.via.links().all(stays)) {
        plan.push(Op::DeleteRoute { namespace: namespace(), route: route.clone() }, "nothing wants it");
    }
    for neighbour in have.neighbours.difference(&want.neighbours).filter(|n| stays(&n.link)) {
        plan.push(
            Op::DeleteNeighbour { namespace: namespace(), neighbour: neighbour.clone() },
            "nothing wants it",
        );
    }
    for (link, address) in have.addresses.difference(&want.addresses).filter(|(link, _)| stays(link)) {
        let op = Op::DeleteAddress { namespace: namespace(), link: link.clone(), address: *address };
        plan.push(op, "nothing wants it");
    }
}

/// Makes the broken links, each pair once.
fn create_links(plan: &mut Plan, desired: &Desired, broken: &BTreeSet<End>) {
    let link = |end: &End| desired.state.namespaces.get(&end.0).and_then(|n| n.links.get(&end.1));
    for here in broken {
        let Some(mine) = link(here) else { continue };
        let Some(there) = mine.peer.as_ref().filter(|there| here < *there) else { continue };
        let Some(theirs) = link(there) else { continue };
        let side = |end: &End, link: &Link| (end.0.clone(), end.1.clone(), link.clone());
        // From the router: an endpoint's namespace is the guests', who may not make anything in a router.
        let is_router = |end: &End| desired.state.namespaces.get(&end.0).is_some_and(|n| n.router);
        let (a, b) = match is_router(there) && !is_router(here) {
            true => (side(there, theirs), side(here, mine)),
            false => (side(here, mine), side(there, theirs)),
        };
        plan.push(Op::CreateLink { a, b }, "it does not exist");
    }
}

/// Has links filter by reverse path that are to, or not those that are not to.
fn filter_sources(
    plan: &mut Plan,
    name: &str,
    want: &Namespace,
    have: &Namespace,
    broken: &BTreeSet<End>,
    strict: bool,
) {
    let stays =
        |link: &String| want.router == have.router && !broken.contains(&(name.to_owned(), link.clone()));
    for (link, _) in want.links.iter().filter(|(_, wanted)| wanted.strict_source == strict) {
        // A new link is strict by itself in a router: its namespace's default says so.
        let seen = have.links.get(link).filter(|_| stays(link)).map_or(want.router, |l| l.strict_source);
        if seen != strict {
            let op = Op::SetStrictSource { namespace: name.to_owned(), link: link.clone(), strict };
            plan.push(
                op,
                if strict { "not every source may come by it" } else { "any source may come by it" },
            );
        }
    }
}

/// Adds what is wanted in a namespace and not observed.
fn add(plan: &mut Plan, name: &str, want: &Namespace, have: &Namespace, broken: &BTreeSet<End>) {
    let namespace = || name.to_owned();
    let fresh = |link: &str| broken.contains(&(namespace(), link.to_owned())) || want.router != have.router;
    filter_sources(plan, name, want, have, broken, false);
    let on = |link: &String| have.ipv6.contains(link) && !fresh(link);
    let lo = want.router.then(|| "lo".to_owned());
    for link in want.links.keys().cloned().chain(lo).filter(|link| want.ipv6.contains(link) != on(link)) {
        let wanted = want.ipv6.contains(&link);
        let why = if wanted { "it is dual-stack" } else { "it is not dual-stack" };
        plan.push(Op::SetIpv6 { namespace: namespace(), link, on: wanted }, why);
    }
    for pair in &want.addresses {
        if fresh(&pair.0) || !have.addresses.contains(pair) {
            let op = Op::AddAddress { namespace: namespace(), link: pair.0.clone(), address: pair.1 };
            plan.push(op, "it is missing");
        }
    }
    for neighbour in &want.neighbours {
        if fresh(&neighbour.link) || !have.neighbours.contains(neighbour) {
            plan.push(
                Op::AddNeighbour { namespace: namespace(), neighbour: neighbour.clone() },
                "it is missing",
            );
        }
    }
    for route in &want.routes {
        if route.via.links().any(fresh) || !have.routes.contains(route) {
            plan.push(Op::AddRoute { namespace: namespace(), route: route.clone() }, "it is missing");
        }
    }
    // Only once its table is there.
    for lookup in &want.lookups {
        if want.router != have.router || !have.lookups.contains(lookup) {
            plan.push(Op::AddLookup { namespace: namespace(), lookup: lookup.clone() }, "it is missing");
        }
    }
}
