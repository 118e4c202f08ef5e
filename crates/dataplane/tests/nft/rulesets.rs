//! Random rules, stranger than those that worlds have.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tombolo_dataplane::forwarding::Forwarding;
use tombolo_dataplane::host::Beyond;
use tombolo_dataplane::ipv6::Ipv6Rules;
use tombolo_dataplane::rules::{Allow, Chain, ChainRule, Next, Side};
use tombolo_dataplane::{Fault, Ruleset};
use tombolo_model::{L4, PortRange, Protocol};

/// Addresses at the edges, and prefixes of every length.
fn ranges() -> impl Strategy<Value = ipnet::Ipv4Net> {
    let base = prop_oneof![Just(0u32), Just(u32::MAX), Just(0x0a00_0001), Just(0x0a00_0002), any::<u32>()];
    (base, 0u8..=32).prop_map(|(base, bits)| ipnet::Ipv4Net::new_assert(base.into(), bits).trunc())
}

/// Such as an interface has; never all addresses.
fn narrow() -> impl Strategy<Value = ipnet::Ipv4Net> {
    ranges().prop_map(|range| ipnet::Ipv4Net::new_assert(range.addr(), range.prefix_len().max(8)).trunc())
}

fn ports() -> impl Strategy<Value = PortRange> {
    let port = || prop_oneof![Just(0u16), Just(u16::MAX), 78u16..84, any::<u16>()];
    (port(), port()).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) })
}

fn l4s() -> impl Strategy<Value = L4> {
    let with_ports = (prop_oneof![Just(6u8), Just(17), Just(132)], prop::collection::vec(ports(), 0..4));
    prop_oneof![
        Just(L4::all_of(Protocol::All)),
        any::<u8>().prop_map(|number| L4::all_of(Protocol::Number(number))),
        with_ports.prop_map(|(number, ports)| L4::new(Protocol::Number(number), ports)),
    ]
}

/// The same of IPv6.
fn ranges_6() -> impl Strategy<Value = ipnet::Ipv6Net> {
    let near = 0xfd20_u128 << 112;
    let base = prop_oneof![Just(0), Just(u128::MAX), Just(near | 1), Just(near | 2), any::<u128>()];
    (base, 0u8..=128).prop_map(|(base, bits)| ipnet::Ipv6Net::new_assert(base.into(), bits).trunc())
}

fn rules(ipv6: bool) -> impl Strategy<Value = ChainRule> {
    let one = match ipv6 {
        false => ranges().prop_map(ipnet::IpNet::V4).boxed(),
        true => ranges_6().prop_map(ipnet::IpNet::V6).boxed(),
    };
    let far = prop::collection::btree_set(one.clone(), 0..4);
    let near = prop_oneof![2 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(one, 1..4)];
    let matches = prop::collection::vec(l4s(), 1..3);
    // Some ask another chain, if there is one after their own, and some leave it to who asked theirs.
    let next = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Next::Ask(String::new()))),
        1 => Just(Some(Next::Leave)),
    ];
    (0..40u32, far, near, matches, any::<bool>(), any::<bool>(), next).prop_map(
        |(name, far, near, matches, allow, log, next)| ChainRule {
            name: format!("rule-{name}"),
            far,
            matches,
            allow,
            next,
            log,
            near,
        },
    )
}

/// Chains of one gate; their names say nothing of what is in them.
fn chains(
    letter: &'static str,
    far: Side,
    allow: Allow,
    most: usize,
    ipv6: bool,
) -> impl Strategy<Value = BTreeMap<String, Chain>> {
    let chain =
        prop::collection::vec(rules(ipv6), 0..most).prop_map(move |rules| Chain { far, allow, ipv6, rules });
    let named =
        prop::collection::btree_map((0..4u32).prop_map(move |n| format!("{letter}-{n}")), chain, 1..4);
    named.prop_map(|mut chains: BTreeMap<String, Chain>| {
        let names: Vec<String> = chains.keys().cloned().collect();
        for (chain, after) in chains.values_mut().zip((1..).map(|next| names.get(next))) {
            for rule in &mut chain.rules {
                if let Some(Next::Ask(_)) = rule.next {
                    rule.next = after.cloned().map(Next::Ask);
                }
            }
        }
        chains
    })
}

/// What a router knows of forwarding rules. Only regions that something is closed to are those of links.
fn forwarding() -> impl Strategy<Value = Forwarding> {
    use prop::collection::{btree_map, btree_set, vec};
    let link = |letter: char| (0u8..4).prop_map(move |n| format!("{letter}0a0000{n:02x}"));
    let address = || (0u8..9).prop_map(|n| std::net::Ipv4Addr::from([10, 0, 1, n]));
    let one = prop_oneof![1u16..4, Just(u16::MAX)].prop_map(|port| PortRange { first: port, last: port });
    let takes = (prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP), Just(Protocol::All)], vec(one, 0..5));
    let takes = takes.prop_map(|(protocol, ports)| match protocol {
        Protocol::All => L4::all_of(protocol),
        protocol => L4::new(protocol, ports),
    });
    let closed = btree_map(
        prop_oneof![Just("us-central1".to_owned()), Just("europe-west1".to_owned())],
        btree_set((prop_oneof![link('v'), link('p'), link('q')], address()), 1..4),
        0..3,
    );
    let regions = vec((link('v'), any::<prop::sample::Index>()), 0..4);
    (
        btree_map(address(), (link('v'), takes), 0..4),
        closed,
        regions,
        btree_map(link('q'), address(), 0..3),
        btree_map(link('s'), (address(), address()), 0..3),
    )
        .prop_map(|(rules, closed, regions, endpoints, services)| {
            let names: Vec<&String> = closed.keys().collect();
            let of = |(link, at): (String, prop::sample::Index)| {
                (!names.is_empty()).then(|| (link, (*at.get(&names)).clone()))
            };
            let regions = regions.into_iter().filter_map(of).collect();
            Forwarding { rules, regions, closed, endpoints, services }
        })
}

/// Such as an interface has; never all addresses.
fn narrow_6() -> impl Strategy<Value = ipnet::Ipv6Net> {
    ranges_6().prop_map(|range| ipnet::Ipv6Net::new_assert(range.addr(), range.prefix_len().max(8)).trunc())
}

/// Rules for IPv6, and their chains.
fn rules_6(most: usize) -> impl Strategy<Value = (Ipv6Rules, BTreeMap<String, Chain>)> {
    let egress = chains("e6", Side::Destination, Allow::ToIngressGate, most, true);
    let ingress = chains("i6", Side::Source, Allow::Deliver, most, true);
    let own = || prop::collection::btree_map(0u8..9, prop::collection::btree_set(narrow_6(), 1..4), 0..4);
    (egress, ingress, own(), own()).prop_map(|(egress, ingress, sources, ends)| {
        let of = |link: u8| format!("v0a0000{link:02x}");
        let all = |sets: BTreeMap<u8, _>| sets.into_iter().map(|(link, own)| (of(link), own)).collect();
        let first = |chains: &BTreeMap<String, Chain>| {
            chains.keys().enumerate().map(|(link, name)| (of(link as u8), name.clone())).collect()
        };
        let (egress_of, ingress_of) = (first(&egress), first(&ingress));
        let rules = Ipv6Rules { sources: all(sources), ends_of: all(ends), egress_of, ingress_of };
        (rules, egress.into_iter().chain(ingress).collect())
    })
}

/// Rules, with at most so many in a chain.
pub(crate) fn rulesets(most: usize) -> impl Strategy<Value = Ruleset> {
    let egress = chains("e", Side::Destination, Allow::ToIngressGate, most, false);
    let ingress = chains("i", Side::Source, Allow::Deliver, most, false);
    let links =
        prop::collection::btree_map(0u8..9, any::<(prop::sample::Index, prop::sample::Index)>(), 0..6);
    let ends = prop::collection::btree_map(0u8..9, prop::collection::btree_set(ranges(), 1..4), 0..4);
    let external = prop::collection::btree_map(0u8..9, (0u8..9, any::<u32>()), 0..4);
    let nat = prop::collection::btree_map(
        0u8..9,
        (prop::collection::btree_set(narrow(), 1..4), (0u8..3).prop_map(|n| [198, 18, 1, n].into())),
        0..4,
    );
    let fault = (
        prop_oneof![Just(0), Just(1_000_000), 1u32..1_000_000],
        prop::option::of(1000u64..u64::from(u32::MAX)),
    );
    let fault = fault.prop_map(|(loss, rate)| Fault { loss, rate, ..Fault::default() });
    let faults = prop::collection::btree_map(0u8..9, fault, 0..3);
    let kept = prop::collection::btree_set(narrow(), 1..4);
    let datagrams = prop::collection::btree_set(prop_oneof![Just(1), Just(17)], 0..3);
    let host = (kept, datagrams).prop_map(|(kept, datagrams)| Beyond { kept, datagrams });
    let host = prop::option::weighted(0.3, host);
    let rest = (external, nat, host, forwarding(), prop::option::weighted(0.6, rules_6(most)));
    (egress, ingress, links, ends, faults, any::<bool>(), any::<[bool; 2]>(), rest).prop_map(
        |(egress, ingress, links, ends, faults, trusted, bools, (external, nat, host, forwarding, ipv6))| {
            let [transit, peers_filtered] = bools;
            let (ipv6, chains_6) = ipv6.unzip();
            let pick = |chains: &BTreeMap<String, Chain>, at: &prop::sample::Index| {
                at.get(&chains.keys().collect::<Vec<_>>()).to_string()
            };
            let of = |link: &u8| format!("v0a0000{link:02x}");
            Ruleset {
                transit,
                peers_filtered,
                egress_of: Arc::new(
                    links.iter().map(|(link, (at, _))| (of(link), pick(&egress, at))).collect(),
                ),
                ingress_of: Arc::new(
                    links.iter().map(|(link, (_, at))| (of(link), pick(&ingress, at))).collect(),
                ),
                ends_of: Arc::new(ends.into_iter().map(|(link, own)| (of(&link), own)).collect()),
                faults: faults.into_iter().map(|(link, fault)| (of(&link), fault)).collect(),
                trusted: if trusted { BTreeSet::from(["x0".to_owned()]) } else { BTreeSet::new() },
                // Each address has one other, and the reverse.
                external: external
                    .into_iter()
                    .map(|(link, (own, base))| {
                        let outside = (base & !0xff) | u32::from(link);
                        (of(&link), ([10, own, 0, link].into(), outside.into()))
                    })
                    .collect(),
                nat: nat.into_iter().map(|(link, served)| (of(&link), served)).collect(),
                host,
                forwarding,
                ipv6: Arc::new(ipv6.unwrap_or_default()),
                // What holds packets has no text that every kernel loads: `agree --lazy` shows that it does.
                held: BTreeSet::new(),
                late: BTreeMap::new(),
                chains: egress
                    .into_iter()
                    .chain(ingress)
                    .chain(chains_6.unwrap_or_default())
                    .map(|(name, chain)| (name, Arc::new(chain)))
                    .collect(),
            }
        },
    )
}
