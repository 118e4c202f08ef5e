//! Tables, loaded in every way.

use crate::oracle::Space;
use crate::rulesets::rulesets;
use crate::support::world;
use crate::worlds::worlds;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tombolo_dataplane::rules::{Allow, Chain, ChainRule, Next, Side};
use tombolo_dataplane::table::{self, Match, Rule, Verdict};
use tombolo_dataplane::{Ruleset, Table, render};
use tombolo_fabric::compile;
use tombolo_model::{L4, PortRange, Protocol, World};

pub(crate) type Test = (&'static str, fn());

pub(crate) const TESTS: &[Test] = &[
    ("the_rules_of_a_network", the_rules_of_a_network),
    ("random_worlds", random_worlds),
    ("random_rules_and_changes", random_rules_and_changes),
    ("a_chain_that_is_left_leaves_no_others", a_chain_that_is_left_leaves_no_others),
    ("a_chain_changes_rule_by_rule", a_chain_changes_rule_by_rule),
    ("what_others_changed_is_replaced", what_others_changed_is_replaced),
    ("what_is_refused_leaves_the_rules_as_they_were", what_is_refused_leaves_the_rules_as_they_were),
    ("a_thousand_rules", a_thousand_rules),
    ("long_chains_that_ask_long_chains_are_not_too_deep", long_chains_that_ask_long_chains_are_not_too_deep),
    ("counters_count_and_outlive_changes", counters_count_and_outlive_changes),
];

/// No limit of ours.
const ALL: usize = usize::MAX;

/// What `nft` lists of a table that it loaded from its text.
fn by_nft(table: &Table) -> Vec<String> {
    let space = Space::new();
    space.nft(&table.script());
    space.list()
}

fn tables(world: &World) -> Vec<Table> {
    render(&compile(world)).rules.values().map(|rules| rules.table()).collect()
}

/// A closure that fails by a panic, as a property.
fn property<S: Strategy>(cases: u32, values: S, holds: impl Fn(S::Value)) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    });
    let result = runner.run(&values, |value| {
        std::panic::catch_unwind(AssertUnwindSafe(|| holds(value)))
            .map_err(|_| TestCaseError::fail("see the panic above"))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn the_rules_of_a_network() {
    let world = world(
        "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/16
        vm web-1 subnet-1 tags=web
        vm web-2 subnet-1 tags=web
        vm db-1 subnet-1 tags=db
        network vpc-2
        subnet subnet-2 vpc-2 10.2.0.0/16
        peer p12 vpc-1 vpc-2
        peer p21 vpc-2 vpc-1
        allow ssh vpc-1 tcp:22 sources=35.235.240.0/20
        allow web vpc-1 tcp:80:443,icmp targets=web
        allow db vpc-1 tcp:5432 source-tags=web targets=db priority=900
        deny no-telnet vpc-1 tcp:23
        allow nobody vpc-1 tcp:9 source-tags=none
        deny no-mail vpc-1 tcp:25 egress targets=web
        nat web-1
        nat web-2
        nat db-1
        vm in-1 subnet-1
        vm in-2 subnet-1
        router r-1 vpc-1 nat-1=all
        ula vpc-1
        ula vpc-2
        dual subnet-1
        dual subnet-2
        dual-vm web-1
        dual-vm db-1
        vm r-2 subnet-2 forward
        dual-vm r-2
        exchange p12 vpc-1 ipv6
        exchange p21 vpc-2 ipv6
        allow web-6 vpc-1 tcp:80:443,58 targets=web sources=fd20::/20,2001:db8::1/128
        deny no-6 vpc-1 all egress destinations=::/0",
    )
    .reaching_host(true);
    for table in tables(&world) {
        let space = Space::new();
        let generation = space.load(None, &table, ALL).unwrap();
        assert_eq!(space.generation(), generation);
        assert_eq!(space.list(), by_nft(&table));
    }
}

fn random_worlds() {
    property(24, worlds(), |world| {
        for table in tables(&world) {
            let space = Space::new();
            space.load(None, &table, ALL).unwrap();
            assert_eq!(space.list(), by_nft(&table), "{}", table.script());
        }
    });
}

/// World 29 of `agree`: a chain with sets stayed for a change, and with it the rest of the gate, which looks into maps
/// that were to go.
fn a_chain_that_is_left_leaves_no_others() {
    let setup = "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/24
        subnet far vpc-1 10.2.0.0/24 europe-west1
        vm vm-1 subnet-1
        vm vm-2 far in=europe-west1";
    let more = "allow web vpc-1 tcp:80:443 egress destinations=10.1.0.0/24
        target t vm-1
        forward f vpc-1 subnet-1=10.1.0.9 t tcp:80
        nat vm-1";
    let of = |text: &str| tables(&world(text)).into_iter().last().unwrap();
    let [a, b] = [of(&format!("{setup}\n{more}")), of(setup)];
    assert!(a.chains.contains_key("gate-rest") && a.chains.values().any(|chain| chain.has_sets()));
    let space = Space::new();
    let first = space.load(None, &a, ALL).unwrap();
    space.load(Some((&a, first)), &b, ALL).unwrap();
    assert_eq!(space.list().iter().filter(|line| line.contains("gate-rest")).count(), 0);
}

/// From nothing to one table, to another, and back, in transactions of any size: always what `nft` makes of the text.
fn random_rules_and_changes() {
    let sizes = prop_oneof![Just(ALL), 200usize..6000];
    property(60, (rulesets(5), rulesets(5), sizes), |(a, b, most)| {
        let after = b.table_after(&a, &a.table());
        let (a, b) = (a.table(), b.table());
        assert_eq!(after, b, "made of what there was");
        let (listed_a, listed_b) = (by_nft(&a), by_nft(&b));
        let space = Space::new();
        let first = space.load(None, &a, most).unwrap();
        assert_eq!((space.generation(), space.list()), (first, listed_a.clone()), "{}", a.script());
        let second = space.load(Some((&a, first)), &b, most).unwrap();
        assert_eq!((space.generation(), space.list()), (second, listed_b), "{}\n{}", a.script(), b.script());
        let third = space.load(Some((&b, second)), &a, most).unwrap();
        assert_eq!((space.generation(), space.list()), (third, listed_a));
        // Nothing to do is no change.
        assert_eq!(space.load(Some((&a, third)), &a, most).unwrap(), third);
    });
}

/// Rules come, go and change places, often more of them than the kernel tells the handles of.
fn a_chain_changes_rule_by_rule() {
    let places = prop::collection::vec(prop_oneof![6 => 0u16..6, 1 => 6u16..150], 0..5);
    let steps = prop::collection::vec((places, prop_oneof![4 => 0u16..3, 1 => 50u16..90]), 2..7);
    property(24, steps, |steps| {
        let mut ports: Vec<u16> = (1000..1012).collect();
        let mut tables = vec![table_of(&ports)];
        for (step, (places, many)) in steps.into_iter().enumerate() {
            for place in places {
                // Some rules go, and others come there.
                let at = usize::from(place).min(ports.len());
                ports.drain(at..(at + 1 + usize::from(place % 2)).min(ports.len()));
                ports.splice(at..at, (0..many).map(|n| 2000 + 100 * step as u16 + n));
            }
            ports.truncate(95);
            tables.push(table_of(&ports));
        }
        let space = Space::new();
        space.load_all(&tables, |index| assert_eq!(space.list(), by_nft(&tables[index]), "{index}"));
    });
}

/// A chain with a rule for each port, and one before them that never changes.
fn table_of(ports: &[u16]) -> Table {
    let mut rules = small();
    let port = |port: &u16| rule(&format!("rule-{port}"), "10.0.0.0/8", *port);
    let all = std::iter::once(rule("first", "10.0.0.0/8", 1)).chain(ports.iter().map(port));
    rules.chains.insert("i-1".into(), chain(all.collect()));
    rules.table()
}

fn what_others_changed_is_replaced() {
    let table = small().table();
    let wanted = by_nft(&table);
    for script in
        ["flush table inet tombolo", "delete table inet tombolo", "add rule inet tombolo gate-in accept"]
    {
        let space = Space::new();
        let generation = space.load(None, &table, ALL).unwrap();
        space.nft(script);
        assert_ne!(space.generation(), generation);
        space.load(Some((&table, generation)), &table, ALL).unwrap();
        assert_eq!(space.list(), wanted, "{script}");
    }
}

/// Also when it is the very last thing that the kernel refuses. A chain that was made ahead may be left, and nothing leads to
/// it.
fn what_is_refused_leaves_the_rules_as_they_were() {
    let good = small().table();
    let space = Space::new();
    let generation = space.load(None, &good, ALL).unwrap();
    let before = space.list();
    let mut bad = small();
    bad.chains.insert("i-9".into(), chain(vec![rule("more", "10.9.0.0/16", 9)]));
    let mut bad = bad.table();
    let (matches, verdict) = (Vec::new(), Verdict::Goto("nowhere".into()));
    let nowhere = Rule { matches, counter: None, log: None, verdict, comment: Some("lost".into()) };
    Arc::make_mut(bad.chains.get_mut("input-hook").unwrap()).rules.push(nowhere);
    for known in [None, Some((&good, generation))] {
        let error = space.load(known, &bad, ALL).unwrap_err().to_string();
        assert_eq!(error, "nf_tables: rule lost in chain input-hook: No such file or directory (os error 2)");
        let now = space.list();
        assert!(before.iter().all(|line| now.contains(line)), "{now:?}");
        assert!(!now.iter().any(|line| line.contains("goto i-9") || line.contains("lost")), "{now:?}");
        assert_eq!(known.is_none(), (space.generation(), &now) == (generation, &before));
    }
    let generation = space.load(None, &good, ALL).unwrap();
    assert_eq!(space.list(), before);
    let mut bad = small();
    Arc::make_mut(&mut bad.egress_of).insert("a-name-of-16-byt".into(), "e-1".into());
    let error = space.load(None, &bad.table(), ALL).unwrap_err().to_string();
    assert_eq!(error, "interface a-name-of-16-byt: too long for nf_tables");
    bad = small();
    bad.chains.insert("i-9".into(), chain(vec![rule(&"x".repeat(129), "10.9.0.0/16", 9)]));
    let error = space.load(None, &bad.table(), ALL).unwrap_err().to_string();
    assert!(error.ends_with(" in chain i-9: too long for nf_tables"), "{error}");
    assert_eq!((space.generation(), space.list()), (generation, before));
}

/// A rule counts what it matches, and goes on where it was when others come and go.
fn counters_count_and_outlive_changes() {
    let counted = |number, name: &str| Rule {
        matches: vec![Match::Protocol(number)],
        counter: Some(name.into()),
        log: None,
        verdict: Verdict::Drop,
        comment: None,
    };
    let table = |rules: Vec<Rule>| {
        let mut table = small().table();
        table.counters.extend(rules.iter().filter_map(|rule| rule.counter.clone()));
        Arc::make_mut(table.chains.get_mut("input-hook").unwrap()).rules.splice(..0, rules);
        table
    };
    let space = Space::new();
    let one = table(vec![counted(6, "ingress/tcp"), counted(17, "ingress/udp"), counted(17, "ingress/late")]);
    let generation = space.load(None, &one, ALL).unwrap();
    assert_eq!(space.counters()["ingress/udp"], 0);
    space.send_to_itself(3);
    let all = space.counters();
    let moved: Vec<_> = all.iter().filter(|(_, packets)| **packets > 0).collect();
    assert_eq!(moved, [(&"ingress/udp".to_owned(), &3)]);
    assert_eq!(all.len(), one.counters.len());
    let other = table(vec![counted(17, "ingress/first"), counted(17, "ingress/udp")]);
    let generation = space.load(Some((&one, generation)), &other, ALL).unwrap();
    space.send_to_itself(2);
    let all = space.counters();
    assert_eq!((all["ingress/udp"], all["ingress/first"]), (3, 2));
    assert!(!all.contains_key("ingress/tcp"));
    space.load(Some((&other, generation)), &table(Vec::new()), ALL).unwrap();
    assert!(!space.counters().contains_key("ingress/udp"));
}

/// More than one datagram carries: the gates are closed meanwhile. Then one more rule, and one less.
fn a_thousand_rules() {
    let many = |count: u16| {
        let rules = |first: u16| {
            let rules =
                (0..count).map(|n| rule(&format!("rule-{n}"), &format!("10.{}.0.0/17", n % 256), first + n));
            chain(rules.collect())
        };
        let mut rules_of = small();
        rules_of.chains.extend([("i-8".to_owned(), rules(0)), ("i-9".to_owned(), rules(5000))]);
        Arc::make_mut(&mut rules_of.ingress_of).insert("v0a000003".into(), format!("i-{}", 8 + count % 2));
        rules_of.table()
    };
    let space = Space::new();
    let mut known: Option<(Table, u32)> = None;
    for count in [1000, 1001, 1000] {
        let table = many(count);
        let before = known.as_ref().map(|(table, generation)| (table, *generation));
        let generation = space.load(before, &table, ALL).unwrap();
        assert_eq!((space.generation(), space.list()), (generation, by_nft_in_parts(&table)), "{count}");
        known = Some((table, generation));
    }
}

/// The kernel follows 16 chains from one into the next. Both gates are long here, and so are the levels that they ask.
fn long_chains_that_ask_long_chains_are_not_too_deep() {
    let long = |far, allow, level: Option<&str>| {
        let mut rules: Vec<ChainRule> =
            (0..150_u16).map(|n| rule(&format!("rule-{n}"), &format!("10.{n}.0.0/17"), 1000 + n)).collect();
        // With sets, so that they are made apart.
        rules.iter_mut().for_each(|rule| rule.far.extend(["192.0.2.1/32".parse::<ipnet::IpNet>().unwrap()]));
        let all = ["0.0.0.0/0".parse().unwrap()].into();
        let asks =
            |level: &str| ChainRule { far: all, next: Some(Next::Ask(level.into())), ..rules[0].clone() };
        let asks = level.map(asks).map(|asks| ChainRule { matches: vec![L4::all_of(Protocol::All)], ..asks });
        rules.splice(75..75, asks);
        Arc::new(Chain { far, allow, ipv6: false, rules })
    };
    let mut rules = small();
    rules.chains.extend([
        ("e-1".to_owned(), long(Side::Destination, Allow::ToIngressGate, Some("e-level"))),
        ("e-level".to_owned(), long(Side::Destination, Allow::ToIngressGate, None)),
        ("i-1".to_owned(), long(Side::Source, Allow::Deliver, Some("i-level"))),
        ("i-level".to_owned(), long(Side::Source, Allow::Deliver, None)),
    ]);
    let space = Space::new();
    space.load(None, &rules.table(), ALL).unwrap();
    let parts = space.list().concat().matches("goto c-").count();
    assert!(parts > 20, "{parts}");
}

/// As [`by_nft`], for a table that is larger than `nft` can load: chain by chain.
fn by_nft_in_parts(table: &Table) -> Vec<String> {
    let space = Space::new();
    let large = |chain: &table::Chain| chain.rules.len() > 20;
    let mut rest = table.clone();
    rest.chains
        .values_mut()
        .filter(|chain| large(chain))
        .for_each(|chain| Arc::make_mut(chain).rules.clear());
    space.nft(&rest.script());
    for (name, chain) in table.chains.iter().filter(|(_, chain)| large(chain)) {
        for rules in chain.rules.chunks(200) {
            let lines: Vec<String> =
                rules.iter().map(|rule| format!("add rule inet tombolo {name} {rule}\n")).collect();
            space.nft(&lines.concat());
        }
    }
    space.list()
}

fn rule(name: &str, far: &str, port: u16) -> ChainRule {
    let ports = vec![PortRange { first: port, last: port }];
    let far = BTreeSet::from([far.parse().unwrap()]);
    ChainRule {
        name: name.into(),
        far,
        matches: vec![L4::new(Protocol::TCP, ports)],
        allow: true,
        next: None,
        log: false,
        near: BTreeSet::new(),
    }
}

fn chain(rules: Vec<ChainRule>) -> Arc<Chain> {
    Arc::new(Chain { far: Side::Source, allow: Allow::Deliver, ipv6: false, rules })
}

fn small() -> Ruleset {
    let mut rules = Ruleset::default();
    let egress =
        Chain { far: Side::Destination, allow: Allow::ToIngressGate, ipv6: false, rules: Vec::new() };
    rules.chains.insert("e-1".into(), Arc::new(egress));
    rules.chains.insert("i-1".into(), chain(vec![rule("ssh", "10.0.0.0/8", 22)]));
    Arc::make_mut(&mut rules.egress_of).insert("v0a000002".into(), "e-1".into());
    Arc::make_mut(&mut rules.ingress_of).insert("v0a000002".into(), "i-1".into());
    rules
}
