//! Long chains as signposts: rules that lead a packet to those rules of the chain that may match it.
//!
//! The kernel compares the first packet of a connection with one rule after the other, 20 to 30 ns each. Here it is first
//! told by an address of it, or by its protocol and port, which of some dozens of parts is for it:
//!
//! ```text
//!   name: ip saddr 10.0.0.0/12  goto c-1f…     c-1f…: the rules that may match a packet from there, in their order
//!         ip saddr 10.16.0.0/13 goto c-8a…     c-8a…: …
//!         goto c-07…                           c-07…: the rules that look at no address
//! ```
//!
//! A rule may be in several parts, with one counter. Ranges are cut in halves, and their halves, until few rules are left
//! that are for a part of a range only: so where it is cut depends on the rules there, and a rule that comes or goes changes
//! few parts. Chains that are short, or whose rules are about much the same packets, stay as they are.

use crate::rules::Side;
use crate::table::{Family, Intervals, Match, Rule, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::slice;

/// Chains with no more rules than this are left as they are.
const SHORT: usize = 100;

/// Parts have no more rules together than so many times those of the chain: what is in all parts is there often, and is to
/// be loaded often.
const COPIES: usize = 3;

/// What leads to a part: the conditions, and the rules of the part by their places in the chain.
type Sign = (Vec<Match>, Vec<usize>);

/// Rules that do what `rules` do, by leading to parts of these. `part` makes a chain and returns its name.
pub(crate) fn signposted(rules: Vec<Rule>, mut part: impl FnMut(Vec<Rule>) -> String) -> Vec<Rule> {
    if rules.len() <= SHORT {
        return rules;
    }
    let signs = addresses(&rules).into_iter().map(|address| by_address(&rules, address));
    let Some(signs) = signs.chain([by_port(&rules)]).flatten().min_by_key(|signs| steps(signs)) else {
        return rules;
    };
    let lead = |(matches, places): Sign| {
        let verdict = match places.is_empty() {
            true => Verdict::Return,
            false => Verdict::Goto(part(places.iter().map(|place| rules[*place].clone()).collect())),
        };
        Rule { matches, counter: None, log: None, verdict, comment: None }
    };
    signs.into_iter().map(lead).collect()
}

/// The signs by the smallest number of few rules that does not lead to too many copies, if so many rules gain by them.
fn find(rules: usize, signs: impl Fn(usize) -> Option<Vec<Sign>>) -> Option<Vec<Sign>> {
    // As many as there are ranges then. A rule that comes or goes makes another number of it seldom: with it all changes.
    let least = rules.ilog2().div_ceil(2);
    let all = (least..=rules.ilog2()).map_while(|few| signs(1 << few));
    let found = all.into_iter().find(|signs| copies(signs) <= COPIES * rules);
    found.filter(|signs| steps(signs) <= rules / 2)
}

/// With how many rules a packet is compared at most.
fn steps(signs: &[Sign]) -> usize {
    signs.len() + signs.iter().map(|(_, places)| places.len()).max().unwrap_or_default()
}

/// How many rules the parts have.
fn copies(signs: &[Sign]) -> usize {
    signs.iter().map(|(_, places)| places.len()).sum()
}

/// The addresses that the rules look at: of one version of IP, and mostly those of the far ends alone.
fn addresses(rules: &[Rule]) -> BTreeSet<(Family, Side)> {
    let of = |one: &Match| match one {
        Match::Address(family, side, _) => Some((*family, *side)),
        _ => None,
    };
    rules.iter().flat_map(|rule| &rule.matches).filter_map(of).collect()
}

/// Signs by an address, and last for what has no such address.
fn by_address(rules: &[Rule], (family, side): (Family, Side)) -> Option<Vec<Sign>> {
    let ranges = |rule| {
        first(rule, |one| match one {
            Match::Address(its, at, all) if (*its, *at) == (family, side) => Some(all.ranges()),
            _ => None,
        })
    };
    let ranges: Vec<_> = rules.iter().map(ranges).collect();
    let rest = rest(ranges.iter().map(Option::is_some))?;
    let all = (0, family.last());
    let items: Vec<_> =
        ranges.into_iter().map(|own| own.unwrap_or(slice::from_ref(&all))).enumerate().collect();
    find(rules.len(), |few| {
        let sign = |(range, places)| (vec![Match::Address(family, side, Intervals::new([range]))], places);
        Some(ending(cut(all, items.clone(), few).into_iter().map(sign), rest.clone()))
    })
}

/// Signs by protocol and port, and last for what has no such protocol or no port.
fn by_port(rules: &[Rule]) -> Option<Vec<Sign>> {
    let of = |rule| {
        let protocol = first(rule, |one| match one {
            Match::Protocol(number) => Some(*number),
            _ => None,
        });
        let ports = first(rule, |one| match one {
            Match::Port(ports) => Some(ports.ranges()),
            _ => None,
        });
        (protocol, ports)
    };
    let of: Vec<_> = rules.iter().map(of).collect();
    let mut with_ports = BTreeMap::<u8, usize>::new();
    for protocol in of.iter().filter(|(_, ports)| ports.is_some()).filter_map(|(protocol, _)| *protocol) {
        *with_ports.entry(protocol).or_default() += 1;
    }
    let all = (0, u16::MAX.into());
    find(rules.len(), |few| {
        let split = |protocol: &u8| with_ports.get(protocol).is_some_and(|rules| *rules > few);
        let led = |(protocol, ports): &(Option<u8>, _)| {
            Option::is_some(ports) && protocol.as_ref().is_some_and(split)
        };
        let rest = rest(of.iter().map(led))?;
        let signs = with_ports.keys().filter(|protocol| split(protocol)).flat_map(|protocol| {
            let items = of.iter().enumerate().filter(|(_, (its, _))| its.is_none_or(|its| its == *protocol));
            let items = items.map(|(place, (_, ports))| (place, ports.unwrap_or(slice::from_ref(&all))));
            let parts = cut(all, items.collect(), few).into_iter();
            parts.map(|(range, places)| {
                (vec![Match::Protocol(*protocol), Match::Port(Intervals::new([range]))], places)
            })
        });
        Some(ending(signs, rest))
    })
}

/// What the first condition of a rule gives that gives something.
fn first<'r, T>(rule: &'r Rule, of: impl Fn(&'r Match) -> Option<T>) -> Option<T> {
    rule.matches.iter().find_map(of)
}

/// The places of the rules that no sign but the last leads to; `None` if they are so many that nothing is gained.
fn rest(led: impl ExactSizeIterator<Item = bool>) -> Option<Vec<usize>> {
    let half = led.len() / 2;
    let rest: Vec<usize> = led.enumerate().filter(|(_, led)| !led).map(|(place, _)| place).collect();
    (rest.len() <= half).then_some(rest)
}

/// Signs, and the one for what none of them is for. Those that would lead to the same are left out.
fn ending(signs: impl Iterator<Item = Sign>, rest: Vec<usize>) -> Vec<Sign> {
    let mut signs: Vec<Sign> = signs.filter(|(_, places)| *places != rest).collect();
    signs.push((Vec::new(), rest));
    signs
}

/// Numbers from the first to the last.
type Range = (u128, u128);

/// A rule by its place, and the ranges that it is for: sorted, without gaps of nothing.
type Item<'r> = (usize, &'r [Range]);

/// A range as the parts, in their order, in each of which at most so many rules are for less than all of it; each with the
/// rules that are for any of it, in their order. Neighbours are for different rules.
fn cut(range: Range, items: Vec<Item>, few: usize) -> Vec<(Range, Vec<usize>)> {
    let mut parts = Vec::new();
    halve(range, Vec::new(), items, few, &mut parts);
    parts.dedup_by(|next, before| {
        let same = next.1 == before.1;
        if same {
            before.0.1 = next.0.1;
        }
        same
    });
    parts
}

/// Adds the parts of a range, for all of which are `whole`, and for some of which may be `items`.
fn halve(
    (first, last): Range,
    whole: Vec<usize>,
    items: Vec<Item>,
    few: usize,
    parts: &mut Vec<(Range, Vec<usize>)>,
) {
    let (mut whole, mut partly) = (whole, items);
    partly.retain(|(place, ranges)| {
        let next = ranges.partition_point(|(_, end)| *end < first);
        match ranges.get(next) {
            Some((start, end)) if *start <= first && last <= *end => {
                whole.push(*place);
                false
            }
            Some((start, _)) => *start <= last,
            None => false,
        }
    });
    if partly.len() <= few {
        whole.extend(partly.iter().map(|(place, _)| place));
        whole.sort_unstable();
        return parts.push(((first, last), whole));
    }
    let middle = first + (last - first) / 2;
    halve((first, middle), whole.clone(), partly.clone(), few, parts);
    halve((middle + 1, last), whole, partly, few, parts);
}
