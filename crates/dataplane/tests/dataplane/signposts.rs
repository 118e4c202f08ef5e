//! A long chain does what its rules say one after the other, however it is cut into parts.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use tombolo_dataplane::rules::{Allow, Chain, ChainRule, Next, Side, counter};
use tombolo_dataplane::table::{Match, Verdict};
use tombolo_dataplane::{Ruleset, Table};
use tombolo_model::{L4, PortRange, Protocol};

const NAME: &str = "in-0";

/// What a chain looks at. Without a port: a protocol that has none, or a packet that is too short for it.
#[derive(Clone, Copy, Debug)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    port: Option<u16>,
}

/// What becomes of a packet, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Logged(String),
    Counted(String),
    Asked(String),
    Ended(Verdict),
}

/// As the rules say it.
fn by_rules(chain: &Chain, packet: Packet) -> Vec<Event> {
    let mut events = Vec::new();
    let among = |ranges: &BTreeSet<IpNet>, address| ranges.iter().any(|range| range.contains(address));
    let about = |rule: &&ChainRule| {
        among(&rule.far, &packet.from) && (rule.near.is_empty() || among(&rule.near, &packet.to))
    };
    for rule in chain.rules.iter().filter(about) {
        let name = counter(chain.far, &rule.name);
        let logs = rule.log && rule.next.is_none() && [6, 17].contains(&packet.protocol);
        let log = Event::Logged(format!("{name} {}", if rule.allow { "allowed" } else { "denied" }));
        for l4 in &rule.matches {
            let matches = match l4.protocol {
                Protocol::All => {
                    events.extend(logs.then(|| log.clone()));
                    true
                }
                Protocol::Number(number) => {
                    let port = |port| l4.ports.iter().any(|range| range.first <= port && port <= range.last);
                    number == packet.protocol && (l4.ports.is_empty() || packet.port.is_some_and(port))
                }
            };
            if !matches {
                continue;
            }
            match &rule.next {
                Some(Next::Ask(level)) => events.push(Event::Asked(level.clone())),
                Some(Next::Leave) => return [events, vec![Event::Ended(Verdict::Return)]].concat(),
                None => {
                    events.extend((logs && l4.protocol != Protocol::All).then(|| log.clone()));
                    events.push(Event::Counted(name));
                    let verdict = if rule.allow { Verdict::Accept } else { Verdict::Drop };
                    return [events, vec![Event::Ended(verdict)]].concat();
                }
            }
        }
    }
    [events, vec![Event::Ended(Verdict::Return)]].concat()
}

/// As the kernel goes through the table; and with how many rules it compares the packet.
fn by_table(table: &Table, packet: Packet) -> (Vec<Event>, usize) {
    let (mut events, mut compared, mut next) = (Vec::new(), 0, NAME.to_owned());
    'chains: loop {
        for rule in &table.chains[&next].rules {
            compared += 1;
            let matches = rule.matches.iter().all(|one| match one {
                Match::Address(family, side, all) => {
                    let (bits, address) = match if *side == Side::Source { packet.from } else { packet.to } {
                        IpAddr::V4(address) => (32, u32::from(address).into()),
                        IpAddr::V6(address) => (128, address.into()),
                    };
                    family.bits() == bits && within(all.ranges(), address)
                }
                Match::Protocol(number) => *number == packet.protocol,
                Match::Port(all) => packet.port.is_some_and(|port| within(all.ranges(), port.into())),
                other => panic!("{other:?}"),
            });
            if !matches {
                continue;
            }
            events.extend(rule.log.clone().map(Event::Logged));
            events.extend(rule.counter.clone().map(Event::Counted));
            match &rule.verdict {
                Verdict::Next => {}
                Verdict::Jump(level) => events.push(Event::Asked(level.clone())),
                Verdict::Goto(part) => {
                    next = part.clone();
                    continue 'chains;
                }
                verdict => {
                    events.push(Event::Ended(verdict.clone()));
                    return (events, compared);
                }
            }
        }
        events.push(Event::Ended(Verdict::Return));
        return (events, compared);
    }
}

fn within(ranges: &[(u128, u128)], number: u128) -> bool {
    ranges.iter().any(|(first, last)| *first <= number && number <= *last)
}

/// The rules of a router that has this chain alone.
fn ruleset(chain: &Chain) -> Ruleset {
    let chains = BTreeMap::from([(NAME.to_owned(), Arc::new(chain.clone()))]);
    Ruleset { chains, ..Ruleset::default() }
}

fn table(chain: &Chain) -> Table {
    ruleset(chain).table()
}

/// What the rules of a chain are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Different clients, and ports that are alike.
    Clients,
    /// Different ports, and clients that are alike.
    Ports,
    /// Different addresses of receivers, and clients that are alike.
    Receivers,
    /// Anything.
    Mixed,
}

/// All addresses, or few of them, somewhere or near to others.
fn range(ipv6: bool, all: u32) -> BoxedStrategy<IpNet> {
    let few = match ipv6 {
        false => (prop_oneof![0x0a00_0000..0x0a10_0000_u32, any::<u32>(), Just(u32::MAX)], 20..=32_u8)
            .prop_map(|(base, bits)| Ipv4Net::new_assert(base.into(), bits).trunc().into())
            .boxed(),
        true => {
            (prop_oneof![any::<u128>(), (0..1_u128 << 20).prop_map(|low| 0xfd20 << 112 | low)], 112..=128_u8)
                .prop_map(|(base, bits)| Ipv6Net::new_assert(base.into(), bits).trunc().into())
                .boxed()
        }
    };
    let whole: IpNet = if ipv6 { "::/0" } else { "0.0.0.0/0" }.parse().unwrap();
    prop_oneof![all => Just(whole), 20 => few].boxed()
}

fn l4(some: u32) -> impl Strategy<Value = L4> {
    let ports = || {
        let port = prop_oneof![1 => Just(0), 1 => Just(u16::MAX), 40 => any::<u16>()];
        (port, 0..50_u16).prop_map(|(first, more)| PortRange { first, last: first.saturating_add(more) })
    };
    let of = |ports: BoxedStrategy<Vec<PortRange>>| {
        (prop_oneof![3 => Just(6), 2 => Just(17), 1 => Just(132)], ports)
            .prop_map(|(number, ports)| L4::new(Protocol::Number(number), ports))
    };
    prop_oneof![
        1 => Just(L4::all_of(Protocol::All)),
        1 => Just(L4::all_of(Protocol::ICMP)),
        4 => of(Just(Vec::new()).boxed()),
        some => of(prop::collection::vec(ports(), 1..3).boxed()),
    ]
}

fn chain() -> impl Strategy<Value = Chain> {
    let kind = prop_oneof![Just(Kind::Clients), Just(Kind::Ports), Just(Kind::Receivers), Just(Kind::Mixed)];
    (any::<bool>(), kind, 60..500_usize).prop_flat_map(|(ipv6, kind, rules)| {
        let (all, some) = match kind {
            Kind::Clients => (1, 4),
            Kind::Ports => (40, 80),
            Kind::Receivers => (400, 4),
            Kind::Mixed => (20, 10),
        };
        let far = prop::collection::btree_set(range(ipv6, all), 0..3);
        let (anywhere, most) = if kind == Kind::Receivers { (1, 1) } else { (120, 2) };
        let near = prop_oneof![
            anywhere => Just(BTreeSet::new()),
            30 => prop::collection::btree_set(range(ipv6, 1), 1..=most)
        ];
        let next = prop_oneof![
            40 => Just(None), 1 => Just(Some(Next::Leave)), 1 => Just(Some(Next::Ask("level".into())))
        ];
        let rule =
            (0..300_u32, (far, near), prop::collection::vec(l4(some), 1..3), any::<bool>(), next, 0..10_u8);
        let rule = rule.prop_map(|(name, (far, near), matches, allow, next, log)| ChainRule {
            name: format!("r{name}"),
            far,
            matches,
            allow,
            next,
            log: log == 0,
            near,
        });
        prop::collection::vec(rule, rules).prop_map(move |rules| Chain {
            far: Side::Source,
            allow: Allow::Deliver,
            ipv6,
            rules,
        })
    })
}

/// Packets at the edges of what rules are about, where mistakes are.
fn packets(chain: &Chain, seed: u64) -> Vec<Packet> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut packets = Vec::new();
    for _ in 0..300 {
        let rule = &chain.rules[rng.usize(..chain.rules.len())];
        let l4 = &rule.matches[rng.usize(..rule.matches.len())];
        let mut end = |ranges: &BTreeSet<IpNet>| match ranges.iter().nth(rng.usize(..3)) {
            Some(IpNet::V4(net)) => {
                let edge = [net.network(), net.broadcast()][rng.usize(..2)];
                IpAddr::V4(u32::from(edge).wrapping_add_signed(rng.i32(-1..=1)).into())
            }
            Some(IpNet::V6(net)) => {
                let edge = [net.network(), net.broadcast()][rng.usize(..2)];
                IpAddr::V6(u128::from(edge).wrapping_add_signed(rng.i128(-1..=1)).into())
            }
            None if chain.ipv6 => IpAddr::V6(rng.u128(..).into()),
            None => IpAddr::V4(rng.u32(..).into()),
        };
        let (from, to) = (end(&rule.far), end(&rule.near));
        let protocol = match l4.protocol {
            Protocol::Number(number) => number,
            Protocol::All => [1, 6, 17, 132][rng.usize(..4)],
        };
        let port = match l4.ports.first() {
            Some(range) => [range.first, range.last][rng.usize(..2)].wrapping_add_signed(rng.i16(-1..=1)),
            None => rng.u16(..),
        };
        let port = (protocol != 1 && rng.u8(..20) > 0).then_some(port);
        packets.push(Packet { from, to, protocol, port });
    }
    packets
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_long_chain_does_what_its_rules_say(chain in chain(), seed in any::<u64>()) {
        let table = table(&chain);
        for packet in packets(&chain, seed) {
            prop_assert_eq!(by_table(&table, packet).0, by_rules(&chain, packet), "{:?}", packet);
        }
    }

    /// What is the same is not made again, and is all there.
    #[test]
    fn a_rule_that_comes_changes_little_of_a_table(chain in chain(), place in any::<prop::sample::Index>()) {
        let before = ruleset(&chain);
        prop_assert_eq!(before.table_after(&before, &before.table()), before.table());
        let mut more = chain.clone();
        more.rules.insert(place.index(chain.rules.len()), chain.rules[0].clone());
        prop_assert_eq!(ruleset(&more).table_after(&before, &before.table()), table(&more));
    }
}

#[test]
fn random_chains_are_cut_often_enough() {
    let mut runner = TestRunner::deterministic();
    let mut signs = || table(&chain().new_tree(&mut runner).unwrap().current()).chains[NAME].rules.clone();
    let all: Vec<_> = (0..128).map(|_| signs()).filter(|signs| signs.len() > 1).collect();
    let by = |side| {
        let at = |one: &Match| matches!(one, Match::Address(_, by, _) if *by == side);
        all.iter().filter(|signs| signs[0].matches.iter().any(at) && signs[0].counter.is_none()).count()
    };
    let found = (all.len(), by(Side::Source), by(Side::Destination));
    assert!(found.0 > 48 && found.1 > 12 && found.2 > 12, "{found:?}");
}

/// One rule for each of many clients, or for each of many ports.
fn many(rules: u32, one: impl Fn(u32) -> (IpNet, u16)) -> Chain {
    let rule = |number| {
        let (far, port) = one(number);
        ChainRule {
            name: format!("r{number}"),
            far: [far].into(),
            matches: vec![L4::new(Protocol::TCP, vec![PortRange { first: port, last: port }])],
            allow: true,
            next: None,
            log: false,
            near: BTreeSet::new(),
        }
    };
    Chain { far: Side::Source, allow: Allow::Deliver, ipv6: false, rules: (0..rules).map(rule).collect() }
}

fn client(number: u32) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert((0x0a00_0000 + 16 * number).into(), 28))
}

#[test]
fn of_many_rules_a_packet_is_compared_with_few() {
    let all: IpNet = "0.0.0.0/0".parse().unwrap();
    let by_client = many(10_000, |number| (client(number), 443));
    let by_port = many(10_000, |number| (all, number as u16));
    for (mut chain, what) in [(by_client, "client"), (by_port, "port")] {
        let pings = vec![L4::all_of(Protocol::ICMP)];
        chain.rules.push(ChainRule {
            name: "pings".into(),
            far: [all].into(),
            matches: pings,
            ..chain.rules[0].clone()
        });
        let table = table(&chain);
        let to = [10, 200, 0, 2].into();
        let nobody = Packet { from: [172, 16, 0, 1].into(), to, protocol: 6, port: Some(60_000) };
        assert_eq!(by_table(&table, nobody).0, [Event::Ended(Verdict::Return)]);
        let counted = Event::Counted("ingress/pings".into());
        assert_eq!(by_table(&table, Packet { protocol: 1, port: None, ..nobody }).0[0], counted);
        let compared = (0..10_000).step_by(7).map(|number| {
            let from = if what == "client" { client(number).addr() } else { all.addr() };
            let port = if what == "client" { 443 } else { number as u16 };
            let (events, compared) = by_table(&table, Packet { from, to, protocol: 6, port: Some(port) });
            assert_eq!(events[0], Event::Counted(format!("ingress/r{number}")));
            compared
        });
        assert!(compared.max() < Some(400), "by {what}");
        let copies: usize = table.chains.values().map(|chain| chain.rules.len()).sum();
        assert!(copies < 11_000, "by {what}: {copies} rules");
    }
}

/// By the receiver's address where that is what tells the rules apart; and rules that look at no such address are led to
/// as before, whatever others do.
#[test]
fn of_many_rules_for_receivers_a_packet_is_compared_with_few() {
    let all: IpNet = "0.0.0.0/0".parse().unwrap();
    let mut chain = many(10_000, |_| (all, 443));
    for (number, rule) in (0..).zip(&mut chain.rules) {
        rule.near = [client(number)].into();
    }
    let by_near = table(&chain);
    for number in (0..10_000).step_by(7) {
        let packet =
            Packet { from: [192, 0, 2, 1].into(), to: client(number).addr(), protocol: 6, port: Some(443) };
        let (events, compared) = by_table(&by_near, packet);
        assert_eq!(events[0], Event::Counted(format!("ingress/r{number}")));
        assert!(compared < 400);
    }
}

#[test]
fn a_rule_that_comes_changes_few_parts() {
    let before = many(2_000, |number| (client(number), 443));
    let mut after = before.clone();
    after.rules.insert(1_000, ChainRule { name: "new".into(), ..before.rules[1_500].clone() });
    let (before, after) = (table(&before), table(&after));
    let new: Vec<_> =
        after.chains.iter().filter(|(name, chain)| before.chains.get(*name) != Some(*chain)).collect();
    // The part, and what leads to it.
    assert!(new.len() <= 3, "{} of {} chains", new.len(), after.chains.len());
}

#[test]
fn what_gains_nothing_stays_as_it_is() {
    let all: IpNet = "0.0.0.0/0".parse().unwrap();
    let same = many(500, |_| (all, 443));
    assert!(table(&same).chains.values().any(|chain| chain.rules.len() == 500));
    let short = many(100, |number| (client(number), 443));
    assert_eq!(table(&short).chains[NAME].rules.len(), 100);
}
