//! What is there while some endpoints sleep, and that it becomes what is wanted as they wake.

use crate::kernel::Kernel;
use crate::worlds::histories;
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_dataplane::rules::{Next, Ruleset};
use tombolo_dataplane::{Desired, Faults, Rendered, Sleepers, plan};
use tombolo_fabric::{Fabric, Owner, compile};

/// The chains of each interface, for IPv4.
fn maps_of(rules: &Ruleset) -> [&BTreeMap<String, String>; 2] {
    [&rules.egress_of, &rules.ingress_of]
}

/// Every end of a link has its other end, and all that hangs on links hangs on links that are there. Chains are there that something
/// leads to, and while somebody sleeps no others but those that log.
fn is_whole(desired: &Desired) -> Result<(), TestCaseError> {
    for (name, namespace) in &desired.state.namespaces {
        for (link, it) in &namespace.links {
            let Some((peer, other)) = &it.peer else { continue };
            let back = desired.state.namespaces.get(peer).and_then(|peer| peer.links.get(other));
            prop_assert_eq!(back.and_then(|back| back.peer.clone()), Some((name.clone(), link.clone())));
        }
        let there = |link: &str| link == "lo" || namespace.links.contains_key(link);
        prop_assert!(namespace.routes.iter().all(|route| route.via.links().all(there)), "{}", name);
        prop_assert!(namespace.neighbours.iter().all(|it| there(&it.link)), "{}", name);
        prop_assert!(namespace.lookups.iter().all(|it| there(&it.link)), "{}", name);
        prop_assert!(namespace.ipv6.iter().all(|link| there(link)), "{}", name);
        let Some(rules) = desired.rules.get(name) else { continue };
        let links = maps_of(rules).into_iter().flat_map(|map| map.keys()).chain(rules.ends_of.keys());
        prop_assert!(links.into_iter().all(|link| there(link)), "{}", name);
        prop_assert!(rules.external.keys().chain(rules.nat.keys()).all(|link| there(link)), "{}", name);
        let ipv6 = [&rules.ipv6.egress_of, &rules.ipv6.ingress_of];
        let begin = maps_of(rules).into_iter().chain(ipv6).flat_map(|map| map.values());
        let asked =
            rules.chains.values().flat_map(|chain| &chain.rules).filter_map(|rule| match &rule.next {
                Some(Next::Ask(level)) => Some(level),
                _ => None,
            });
        let led_to: BTreeSet<&String> = begin.chain(asked).collect();
        prop_assert!(led_to.iter().all(|chain| rules.chains.contains_key(*chain)), "{}", name);
        if !rules.held.is_empty() {
            let logs = |name: &String| rules.chains[name].rules.iter().any(|rule| rule.log);
            prop_assert!(rules.chains.keys().all(|chain| led_to.contains(chain) || logs(chain)), "{}", name);
        }
    }
    Ok(())
}

/// The addresses by which each lazy endpoint is reached: its network's router, and what that holds.
fn addresses<'f>(
    fabric: &'f Fabric,
    lazy: &'f BTreeSet<String>,
) -> impl Iterator<Item = (String, String, IpNet)> + 'f {
    fabric.networks.iter().flat_map(move |(key, network)| {
        let lazy = network.nics.values().filter(|nic| lazy.contains(&nic.owner.to_string()));
        lazy.flat_map(move |nic| {
            let own = [nic.address]
                .into_iter()
                .chain(nic.external)
                .map(|address| IpNet::from(std::net::IpAddr::from(address)));
            let ranges = nic.aliases.iter().map(|range| IpNet::V4(*range)).chain(nic.ipv6.map(IpNet::V6));
            own.chain(ranges).map(move |range| (key.to_string(), nic.owner.to_string(), range))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// As a history goes on endpoints wake, and the kernel is made what is there after each step.
    #[test]
    fn what_wakes_becomes_what_is_wanted(history in histories(), chances in prop::collection::vec(0..3_u8, 8)) {
        let (mut kernel, mut sleepers, mut rendered) = (Kernel::default(), Sleepers::default(), Rendered::default());
        let mut chances = chances.into_iter().cycle();
        let make = |kernel: &mut Kernel, sleepers: &mut Sleepers| -> Result<(), TestCaseError> {
            // Made of what has changed since the last time or of all: the same.
            let mut anew = sleepers.clone();
            anew.want(sleepers.wanted().clone());
            let present = sleepers.present();
            prop_assert_eq!(present, anew.present());
            is_whole(present)?;
            for edit in plan(present, &kernel.observe()).edits {
                prop_assert!(kernel.apply(&edit.op).is_ok(), "{}", edit.op);
            }
            prop_assert!(plan(present, &kernel.observe()).is_empty());
            Ok(())
        };
        for world in &history {
            rendered = rendered.then(compile(world), &Faults::new()).lazily(true);
            let desired = rendered.desired();
            sleepers.want(desired.clone());
            make(&mut kernel, &mut sleepers)?;
            for (router, owner, range) in addresses(rendered.fabric(), &desired.lazy) {
                let asleep = sleepers.asleep().any(|name| *name == owner);
                let in_line = sleepers.in_line().any(|name| *name == owner);
                let held = sleepers.held_for(&router, range.addr()) == Some(&owner);
                prop_assert_eq!(held, asleep || in_line, "{} of {}", range, owner);
                let rules = &sleepers.present().rules[&router];
                prop_assert_eq!(rules.held.contains(&range), asleep || in_line, "{} of {}", range, owner);
                prop_assert_eq!(sleepers.present().state.namespaces.contains_key(&owner), !asleep);
            }
            let some: Vec<String> = sleepers.asleep().filter(|_| chances.next() == Some(0)).cloned().collect();
            sleepers.wake(some.iter().map(String::as_str));
            make(&mut kernel, &mut sleepers)?;
            let some: Vec<String> = sleepers.in_line().filter(|_| chances.next() == Some(0)).cloned().collect();
            sleepers.pass(some.iter().map(String::as_str));
            make(&mut kernel, &mut sleepers)?;
        }
        let desired = rendered.desired();
        let all: Vec<&str> = desired.lazy.iter().map(String::as_str).collect();
        sleepers.wake(all.iter().copied());
        sleepers.pass(all);
        let present = sleepers.present();
        prop_assert_eq!((&present.state, &present.rules), (&desired.state, &desired.rules));
    }

    /// Who was there before it could sleep stays, and nobody else is made.
    #[test]
    fn who_is_there_goes_on(history in histories()) {
        let mut sleepers = Sleepers::default();
        let mut rendered = Rendered::default();
        let mut before = BTreeSet::new();
        for (number, world) in history.iter().enumerate() {
            rendered = rendered.then(compile(world), &Faults::new()).lazily(number % 4 > 1);
            let desired = rendered.desired();
            sleepers.want(desired.clone());
            let there: BTreeSet<String> = sleepers.present().state.namespaces.keys().cloned().collect();
            let wanted = |name: &&String| desired.state.namespaces.contains_key(*name);
            let wanted: BTreeSet<String> = before.iter().filter(wanted).cloned().collect();
            prop_assert!(there.is_superset(&wanted));
            let new = there.difference(&before);
            prop_assert!(number % 4 < 2 || new.into_iter().all(|name| !desired.lazy.contains(name)));
            before = there;
        }
    }

    /// Lazy are users' VMs and the Identity-Aware Proxy's clients, but none that packets for others pass.
    #[test]
    fn routers_are_never_lazy(history in histories()) {
        for world in &history {
            let fabric = compile(world);
            let rendered = Rendered::default().then(fabric, &Faults::new()).lazily(true);
            for nic in rendered.fabric().networks.values().flat_map(|network| network.nics.values()) {
                let lazy = rendered.desired().lazy.contains(&nic.owner.to_string());
                let may = matches!(nic.owner, Owner::Instance(_) | Owner::Iap(_)) && !nic.can_ip_forward;
                prop_assert!(may || !lazy, "{}", nic.owner);
            }
        }
    }
}
