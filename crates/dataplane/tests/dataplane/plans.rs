//! From any state to any other: a plan is applied without an error, leads where it should, and then nothing is left.

use crate::kernel::{End, Kernel, blackhole, goal};
use crate::support::world;
use crate::worlds::worlds;
use proptest::prelude::*;
use proptest::sample::Index;
use tombolo_dataplane::{Desired, Link, Lookup, Neighbour, Op, Route, RouteVia, Ruleset, plan, render};
use tombolo_fabric::compile;
use tombolo_model::World;

fn desired(world: &World) -> Desired {
    render(&compile(world))
}

/// Applies the plan to `kernel`, watching it after each edit.
fn converge(
    kernel: &mut Kernel,
    desired: &Desired,
    watch: impl Fn(&Kernel, &Op) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let edits = plan(desired, &kernel.observe());
    for edit in &edits.edits {
        prop_assert!(!edit.why.is_empty() && !edit.op.to_string().is_empty(), "{:?}", edit);
        let done = kernel.apply(&edit.op);
        prop_assert!(done.is_ok(), "{}: {}", edit.op, done.unwrap_err());
        watch(kernel, &edit.op)?;
    }
    let want = goal(desired);
    let (have, wanted) = (kernel.observe(), want.observe());
    prop_assert_eq!(&have, &wanted);
    prop_assert_eq!(&kernel.wires, &want.wires, "links lead elsewhere");
    prop_assert!(plan(desired, &have).is_empty(), "{:?}", plan(desired, &have));
    Ok(())
}

/// No router ever has a link while its rules are missing or are neither the old ones nor the new ones, nor one to a peer that
/// neither the kernel nor a rule looks at the sources by; and the kernel does not while tables of receivers would be asked.
fn gates_closed(before: &Desired, after: &Desired, kernel: &Kernel, op: &Op) -> Result<(), TestCaseError> {
    let seen = kernel.observe();
    for (name, _) in seen.state.namespaces.iter().filter(|(_, n)| n.router && !n.links.is_empty()) {
        let rules = seen.rules.get(name);
        let known = |desired: &Desired| rules.is_some() && desired.rules.get(name) == rules;
        prop_assert!(known(before) || known(after), "{name} after {op}");
    }
    for (name, router) in seen.state.namespaces.iter().filter(|(_, n)| n.router) {
        for (link, peer) in router.links.iter().filter(|(link, _)| link.starts_with('p')) {
            let by_rule = seen.rules.get(name).is_some_and(|rules| !rules.peers_filtered);
            prop_assert!(by_rule || peer.strict_source, "{link} in {name} after {op}");
            prop_assert!(router.lookups.is_empty() || !peer.strict_source, "{link} in {name} after {op}");
        }
    }
    Ok(())
}

/// Something that happened to the kernel behind the lab's back.
#[derive(Clone, Debug)]
enum Damage {
    LinkGone(Index),
    LinkChanged(Index),
    LinkRegrouped(Index),
    StrictSourceFlipped(Index),
    RouteGone(Index, Index),
    RouteElsewhere(Index, Index),
    RouteForeign(Index),
    LookupGone(Index, Index),
    LookupForeign(Index),
    NeighbourGone(Index, Index),
    NeighbourLies(Index, Index),
    AddressGone(Index, Index),
    AddressForeign(Index),
    Ipv6Flipped(Index),
    RulesGone(Index),
    RulesForeign(Index),
    NamespaceGone(Index),
    NamespaceForeign(bool),
    LinkForeign(Index, Index),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let one = || any::<Index>();
    let two = || (any::<Index>(), any::<Index>());
    let any = prop_oneof![
        one().prop_map(Damage::LinkGone),
        one().prop_map(Damage::LinkChanged),
        one().prop_map(Damage::LinkRegrouped),
        one().prop_map(Damage::StrictSourceFlipped),
        two().prop_map(|(a, b)| Damage::RouteGone(a, b)),
        two().prop_map(|(a, b)| Damage::RouteElsewhere(a, b)),
        one().prop_map(Damage::RouteForeign),
        two().prop_map(|(a, b)| Damage::LookupGone(a, b)),
        one().prop_map(Damage::LookupForeign),
        two().prop_map(|(a, b)| Damage::NeighbourGone(a, b)),
        two().prop_map(|(a, b)| Damage::NeighbourLies(a, b)),
        two().prop_map(|(a, b)| Damage::AddressGone(a, b)),
        one().prop_map(Damage::AddressForeign),
        one().prop_map(Damage::Ipv6Flipped),
        one().prop_map(Damage::RulesGone),
        one().prop_map(Damage::RulesForeign),
        one().prop_map(Damage::NamespaceGone),
        any::<bool>().prop_map(Damage::NamespaceForeign),
        two().prop_map(|(a, b)| Damage::LinkForeign(a, b)),
    ];
    prop::collection::vec(any, 1..8)
}

/// One of the items, where there are any.
fn pick<T: Clone>(items: impl IntoIterator<Item = T>, at: &Index) -> Option<T> {
    let items: Vec<T> = items.into_iter().collect();
    (!items.is_empty()).then(|| items[at.index(items.len())].clone())
}

fn inflict(kernel: &mut Kernel, damage: &Damage) -> Option<()> {
    let seen = kernel.observe();
    let space = |at: &Index| pick(seen.state.namespaces.iter().map(|(k, v)| (k.clone(), (**v).clone())), at);
    let end = |at: &Index| -> Option<End> { pick(kernel.wires.keys().cloned(), at) };
    match damage {
        Damage::LinkGone(at) => kernel.unlink(&end(at)?),
        Damage::LinkChanged(at) => {
            let (name, link) = end(at)?;
            kernel.damage(&name, |n| n.links.get_mut(&link).into_iter().for_each(|l| l.mac[5] ^= 1));
        }
        Damage::LinkRegrouped(at) => {
            let (name, link) = end(at)?;
            kernel.damage(&name, |n| n.links.get_mut(&link).into_iter().for_each(|l| l.group ^= 1));
        }
        Damage::StrictSourceFlipped(at) => {
            let (name, link) = end(at)?;
            kernel
                .damage(&name, |n| n.links.get_mut(&link).into_iter().for_each(|l| l.strict_source ^= true));
        }
        Damage::RouteGone(at, which) => {
            let (name, space) = space(at)?;
            let route = pick(space.routes.iter().cloned(), which)?;
            kernel.damage(&name, |n| assert!(n.routes.remove(&route)));
        }
        Damage::RouteElsewhere(at, which) => {
            let (name, space) = space(at)?;
            let route = pick(space.routes.iter().cloned(), which)?;
            let ipv6 = route.destination.addr().is_ipv6();
            let link = space.links.keys().find(|link| !ipv6 || space.ipv6.contains(*link))?.clone();
            kernel.add_route(&name, &Route { via: RouteVia::Link(link), ..route }).unwrap();
        }
        Damage::RouteForeign(at) => kernel.add_route(&space(at)?.0, &blackhole("203.0.113.0/24")).unwrap(),
        Damage::LookupGone(at, which) => {
            let (name, space) = space(at)?;
            let lookup = pick(space.lookups.iter().cloned(), which)?;
            kernel.damage(&name, |n| assert!(n.lookups.remove(&lookup)));
        }
        Damage::LookupForeign(at) => {
            let (name, link) = end(at)?;
            kernel.damage(&name, |n| assert!(n.lookups.insert(Lookup { link, table: 7 })));
        }
        Damage::NeighbourGone(at, which) => {
            let (name, space) = space(at)?;
            let neighbour = pick(space.neighbours.iter().cloned(), which)?;
            kernel.damage(&name, |n| assert!(n.neighbours.remove(&neighbour)));
        }
        Damage::NeighbourLies(at, which) => {
            let (name, space) = space(at)?;
            let neighbour = pick(space.neighbours.iter().cloned(), which)?;
            let lie = Neighbour { mac: [2, 0, 0, 0, 0, 9], ..neighbour };
            kernel.apply(&Op::AddNeighbour { namespace: name, neighbour: lie }).unwrap();
        }
        Damage::AddressGone(at, which) => {
            let (name, space) = space(at)?;
            let address = pick(space.addresses.iter().cloned(), which)?;
            kernel.damage(&name, |n| assert!(n.addresses.remove(&address)));
        }
        Damage::AddressForeign(at) => {
            let (name, link) = end(at)?;
            kernel.damage(&name, |n| n.addresses.extend([(link, "203.0.113.7".parse().unwrap())]));
        }
        Damage::Ipv6Flipped(at) => {
            let (namespace, link) = end(at)?;
            let on = !seen.state.namespaces[&namespace].ipv6.contains(&link);
            kernel.apply(&Op::SetIpv6 { namespace, link, on }).unwrap();
        }
        Damage::RulesGone(at) => kernel.damage_rules(&space(at)?.0, None),
        Damage::RulesForeign(at) => {
            let (name, space) = space(at)?;
            let foreign = space.router.then(|| Ruleset { transit: true, ..Ruleset::default() });
            kernel.damage_rules(&name, foreign);
        }
        Damage::NamespaceGone(at) => kernel.apply(&Op::DeleteNamespace { namespace: space(at)?.0 }).unwrap(),
        Damage::NamespaceForeign(router) => {
            let op = Op::CreateNamespace { namespace: format!("foreign-{router}"), router: *router };
            let _ = kernel.apply(&op);
        }
        Damage::LinkForeign(a, b) => {
            let link =
                Link { mac: [2, 0, 0, 0, 0, 7], mtu: 1500, group: 0, strict_source: false, peer: None };
            let side = |name: &str, at| Some((space(at)?.0, name.to_owned(), link.clone()));
            let _ = kernel.link(&side("foreign0", a)?, &side("foreign1", b)?);
        }
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn from_one_world_to_another(a in worlds(), b in worlds()) {
        let (a, b, mut kernel) = (desired(&a), desired(&b), Kernel::default());
        converge(&mut kernel, &a, |k, op| gates_closed(&Desired::default(), &a, k, op))?;
        converge(&mut kernel, &b, |k, op| gates_closed(&a, &b, k, op))?;
        converge(&mut kernel, &Desired::default(), |k, op| gates_closed(&b, &Desired::default(), k, op))?;
        prop_assert_eq!(kernel, Kernel::default());
    }

    #[test]
    fn changes_are_what_is_otherwise(a in worlds(), b in worlds()) {
        let (a, b) = (desired(&a), desired(&b));
        let changes = b.since(&a);
        for name in changes.namespaces.keys() {
            prop_assert_ne!(a.state.namespaces.get(name), b.state.namespaces.get(name), "{} is the same", name);
        }
        for name in changes.rules.keys() {
            prop_assert_ne!(a.rules.get(name), b.rules.get(name), "{}'s rules are the same", name);
        }
        let mut made = a.clone();
        made.change(changes);
        prop_assert_eq!(&made, &b);
        prop_assert_eq!(b.since(&made), Default::default());
    }

    #[test]
    fn from_a_damaged_kernel(a in worlds(), b in worlds(), damages in damages()) {
        let (a, b, mut kernel) = (desired(&a), desired(&b), Kernel::default());
        converge(&mut kernel, &a, |_, _| Ok(()))?;
        for damage in &damages {
            let _ = inflict(&mut kernel, damage);
        }
        converge(&mut kernel, &a, |_, _| Ok(()))?;
        for damage in &damages {
            let _ = inflict(&mut kernel, damage);
        }
        converge(&mut kernel, &b, |_, _| Ok(()))?;
    }
}

/// Two networks with the same range, one VM in each with the same address; then each VM is in the other network. Every
/// link has the name, MAC and MTU that it had, and leads elsewhere.
#[test]
fn links_that_lead_elsewhere_are_made_anew() {
    let setup = "project project-1
        network vpc-1\nsubnet s-1 vpc-1 10.1.0.0/16
        network vpc-2\nsubnet s-2 vpc-2 10.1.0.0/16\n";
    let before = desired(&world(&format!("{setup}vm vm-1 s-1\nvm vm-2 s-2")));
    let after = desired(&world(&format!("{setup}vm vm-1 s-2\nvm vm-2 s-1")));
    let mut kernel = Kernel::default();
    for wanted in [&before, &after] {
        converge(&mut kernel, wanted, |_, _| Ok(())).unwrap();
    }
}

/// What a small change costs.
#[test]
fn a_change_touches_what_it_must() {
    let setup = "project project-1
        network vpc-1\nsubnet s-1 vpc-1 10.1.0.0/16\nvm vm-1 s-1
        network vpc-2\nsubnet s-2 vpc-2 10.2.0.0/16\nvm vm-2 s-2
        peer p12 vpc-1 vpc-2\n";
    for (line, want) in [
        (
            "network vpc-1b",
            &[
                "create namespace",
                "create namespace",
                "load rules",
                "create link",
                "add address",
                "add address",
                "add neighbour",
                "add neighbour",
                "add route",
                "add route",
                "add route",
            ][..],
        ),
        ("allow a vpc-1 tcp", &["load rules"]),
        ("allow a vpc-1 tcp disabled", &[]),
        ("tags vm-1 web", &[]),
        ("route r vpc-1 192.168.0.0/16 gateway", &["add route"]),
        // Two of the main table's, thrown there, and its own.
        (
            "vm r s-1 forward\nroute r vpc-1 192.168.0.0/16 r tags=web\ntags vm-1 web",
            &[
                "create namespace",
                "load rules",
                "create link",
                "set source",
                "add address",
                "add neighbour",
                "add route",
                "add neighbour",
                "add route",
                "add route",
                "add route",
                "add route",
                "add route",
                "add lookup",
            ],
        ),
        (
            "peer p21 vpc-2 vpc-1",
            &["create link", "add neighbour", "add route", "add neighbour", "add route"],
        ),
        ("subnet s-3 vpc-1 10.3.0.0/16", &["add route"]),
        (
            "vm vm-3 s-1",
            &[
                "create namespace",
                "load rules",
                "create link",
                "add address",
                "add neighbour",
                "add route",
                "add neighbour",
                "add route",
            ],
        ),
        ("delete vm vm-1", &["delete link", "delete link", "delete namespace", "load rules"]),
    ] {
        let mut kernel = Kernel::default();
        converge(&mut kernel, &desired(&world(setup)), |_, _| Ok(())).unwrap();
        let after = desired(&world(&format!("{setup}{line}")));
        let edits = plan(&after, &kernel.observe()).edits;
        let words = |op: &Op| op.to_string().split(' ').take(2).collect::<Vec<_>>().join(" ");
        let mut have: Vec<String> = edits.iter().map(|e| words(&e.op)).collect();
        let mut want: Vec<String> = want.iter().map(|s| (*s).to_owned()).collect();
        have.sort();
        want.sort();
        assert_eq!(have, want, "{line}");
    }
}
