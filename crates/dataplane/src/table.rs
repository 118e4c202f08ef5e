//! A router's nf_tables table as data: what is encoded for the kernel, and what is printed for `nft` and for people.
//!
//! It knows just what a router's rules need, and both forms are made of it alone, so that they cannot differ unnoticed.

use crate::rules::Side;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::sync::Arc;

/// The name of every router's table, of the family `inet`.
pub const TABLE: &str = "tombolo";

/// The queue of packets to those who are not there yet.
pub const HELD: u16 = 0;

/// The queue of packets that are to be late.
pub const LATE: u16 = 1;

/// Which of its namespace's groups of listeners a router's rules log to.
pub const LOG_GROUP: u16 = 1;

/// How many bytes of a packet are logged: the longest IPv4 header (RFC 791, 3.1) or an IPv6 one, and the ports after it.
pub const LOG_BYTES: u32 = 64;

/// A table. What is large in it is shared by copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Counters, by name. They outlive a change of the rules that count with them.
    pub counters: BTreeSet<String>,
    /// Maps from interfaces to the chains that decide, by name.
    pub maps: BTreeMap<String, Arc<BTreeMap<String, String>>>,
    /// Maps from addresses to those that take their place, by name.
    pub addresses: BTreeMap<String, BTreeMap<Ipv4Addr, Ipv4Addr>>,
    /// Chains, by name.
    pub chains: BTreeMap<String, Arc<Chain>>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel calls it; `None` for a chain that others go to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets as they come in, before anything else is known of them. The policy is `accept`.
    Arrival,
    /// The same, after that. The policy is `accept`.
    Late,
    /// First packets of connections that come in, whose destination may become another one. The policy is `accept`.
    Prerouting,
    /// Packets for the router itself. The policy is `drop`.
    Input,
    /// Packets that pass. The policy is `drop`.
    Forward,
    /// First packets of connections that leave, whose source may become another one. The policy is `accept`.
    Postrouting,
}

impl Hook {
    /// Whether its chains are there to change addresses, not to decide.
    pub fn is_nat(self) -> bool {
        matches!(self, Hook::Prerouting | Hook::Postrouting)
    }

    /// Whether what its rules say nothing of passes. Where it does, other chains follow.
    pub fn accepts(self) -> bool {
        matches!(self, Hook::Arrival | Hook::Late) || self.is_nat()
    }

    /// Its number: `enum nf_inet_hooks` of `linux/netfilter.h`.
    pub fn number(self) -> u32 {
        match self {
            Hook::Arrival | Hook::Late | Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Postrouting => 4,
        }
    }

    /// Its place among the chains of its hook: `enum nf_ip_hook_priorities` of `linux/netfilter_ipv4.h`.
    pub fn priority(self) -> i32 {
        match self {
            Hook::Arrival => -300,
            Hook::Late => -290,
            Hook::Prerouting => -100,
            Hook::Input | Hook::Forward => 0,
            Hook::Postrouting => 100,
        }
    }
}

/// A rule: what it matches, all of it, and what becomes of a packet that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The conditions.
    pub matches: Vec<Match>,
    /// The counter that counts the packets that it matches.
    pub counter: Option<String>,
    /// What is written before the packets that it matches, which are logged.
    pub log: Option<String>,
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// The firewall rule that it comes from.
    pub comment: Option<String>,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Bits of an address.
    pub fn bits(self) -> u32 {
        if self == Family::V4 { 32 } else { 128 }
    }

    /// The largest address.
    pub fn last(self) -> u128 {
        u128::MAX >> (128 - self.bits())
    }

    /// How the text calls it.
    fn word(self) -> &'static str {
        if self == Family::V4 { "ip" } else { "ip6" }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The interface is this one.
    Link(Way, String),
    /// The interface's name begins so.
    LinkPrefix(Way, String),
    /// The interface is of this group, or, with `false`, is not: a third of the cost of a look at its name.
    LinkGroup(Way, u32, bool),
    /// The packet is one of this version of IP.
    Family(Family),
    /// The packet is one of this version of IP, and an address of it is in one of these.
    Address(Family, Side, Intervals),
    /// An end of the packet's connection is in one of these: that which began it, or, with `Destination`, the other one,
    /// as it answers.
    End(Family, Side, Intervals),
    /// The main routing table has no route by which the packet came to where it came from: what rp_filter asks, but for
    /// the rules of routing (`ip rule`), which it would apply as for packets that come from there.
    NoWayBack,
    /// The packet is of a connection that is known and was answered. [`Verdict::ByState`] says it too, at five times the
    /// cost, and nearly every packet is one.
    Established,
    /// The protocol number.
    Protocol(u8),
    /// The destination port is in one of these.
    Port(Intervals),
    /// So many of a million packets, at random.
    Chance(u32),
    /// The packet is over this rate of bytes per second, after [`BURST`] bytes that may come at once.
    Over(u64),
}

/// How much may come at once where a rate is limited: more than the largest packet that the kernel makes of a stream.
pub const BURST: u32 = 256 << 10;

/// By which of its interfaces a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That by which it came.
    In,
    /// That by which it will leave.
    Out,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
    /// The next rule decides.
    Next,
    /// It waits, where it is, until whoever listens to this queue of the namespace lets it go on, past the rest of its chain;
    /// without a listener it is dropped.
    Queue(u16),
    /// Another chain decides.
    Goto(String),
    /// Another chain is asked first; what it leaves is for the next rule.
    Jump(String),
    /// The chain leaves it to the one that asked it.
    Return,
    /// The chain decides that a map has for its interface; where it has none, the next rule.
    ByLink(Way, String),
    /// Known connections pass, invalid packets are dropped, and so are those that belong to none (IPv6's neighbour
    /// discovery); of new ones the next rule decides. Of what belongs to a
    /// connection without being a part of it (an ICMP error) this chain decides; without one it passes.
    ByState(Option<String>),
    /// This address of its connection's packets becomes, for good, the one that a map has for it; where it has none, the
    /// next rule.
    Nat(Side, String),
    /// The source address of its connection's packets becomes this one, for good, and their source port another one where
    /// a connection has it already.
    NatTo(Ipv4Addr),
    /// The destination of its connection's packets becomes this one, for good. For protocols with ports.
    DivertTo(SocketAddrV4),
}

/// Numbers, as ranges that are sorted and neither overlap nor touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervals(Vec<(u128, u128)>);

impl Intervals {
    /// The numbers in these ranges, whose ends belong to them.
    pub fn new(ranges: impl IntoIterator<Item = (u128, u128)>) -> Intervals {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Intervals(merged)
    }

    /// The ranges.
    pub fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// All other numbers up to `last`, which is not less than any of these.
    pub fn others(&self, last: u128) -> Intervals {
        let mut others = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for (first, end) in &self.0 {
            // They neither overlap nor touch, so there is something between them, but perhaps not before the first.
            others.extend(next.filter(|next| next < first).map(|next| (next, first - 1)));
            next = end.checked_add(1);
        }
        others.extend(next.filter(|next| *next <= last).map(|next| (next, last)));
        Intervals(others)
    }

    /// `22`, or `{ 22, 80-90 }`.
    fn print(&self, one: impl Fn(u128, u128) -> String) -> String {
        match self.0.as_slice() {
            [(first, last)] => one(*first, *last),
            all => {
                let all: Vec<_> = all.iter().map(|(first, last)| one(*first, *last)).collect();
                format!("{{ {} }}", all.join(", "))
            }
        }
    }
}

/// How many leading bits a range of addresses shares, if it is all that have these bits.
pub fn prefix_of(family: Family, first: u128, last: u128) -> Option<u32> {
    let host = first ^ last;
    let is_prefix = host & host.wrapping_add(1) == 0 && first & host == 0;
    is_prefix.then(|| host.leading_zeros() - (128 - family.bits()))
}

impl Table {
    /// Adds a chain, or puts it in the place of the one that has its name.
    pub(crate) fn add(&mut self, name: impl Into<String>, hook: Option<Hook>, rules: Vec<Rule>) {
        self.chains.insert(name.into(), Arc::new(Chain { hook, rules }));
    }
}

impl Chain {
    /// Whether rules of it have sets of their own, from several numbers in a condition.
    ///
    /// A packet that is on its way while rules change sees the old ones to their end, but of sets the new elements: it may
    /// find the sets of an old rule empty. So what has sets is not changed while packets come to it.
    pub fn has_sets(&self) -> bool {
        let several = |one: &Match| match one {
            Match::Address(_, _, all) | Match::End(_, _, all) | Match::Port(all) => all.ranges().len() != 1,
            Match::Link(..)
            | Match::LinkPrefix(..)
            | Match::LinkGroup(..)
            | Match::NoWayBack
            | Match::Established
            | Match::Family(_)
            | Match::Protocol(_)
            | Match::Chance(_)
            | Match::Over(_) => false,
        };
        self.rules.iter().any(|rule| rule.matches.iter().any(several))
    }

    /// The chains that its rules lead to, but by a map.
    pub fn leads_to(&self) -> impl Iterator<Item = &String> {
        self.rules.iter().filter_map(|rule| match &rule.verdict {
            Verdict::Goto(to) | Verdict::Jump(to) | Verdict::ByState(Some(to)) => Some(to),
            _ => None,
        })
    }
}

impl Table {
    /// These chains, and all that their rules lead to, on and on.
    pub fn led_to_from<'t>(&'t self, chains: impl Iterator<Item = &'t String>) -> HashSet<&'t String> {
        self.led_to_by(chains, |_| true)
    }

    /// The same, by none but those that `by` says.
    pub(crate) fn led_to_by<'t>(
        &'t self,
        chains: impl Iterator<Item = &'t String>,
        by: impl Fn(&str) -> bool,
    ) -> HashSet<&'t String> {
        let mut found = HashSet::new();
        let mut next: Vec<&String> = chains.collect();
        while let Some(name) = next.pop() {
            if found.insert(name) {
                let all = self.chains.get(name).into_iter().flat_map(|chain| chain.leads_to());
                next.extend(all.filter(|to| by(to)));
            }
        }
        found
    }

    /// A script for `nft -f -` that puts this table in the place of whatever table there was, in one transaction.
    pub fn script(&self) -> String {
        let mut out = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
        for name in &self.counters {
            let _ = writeln!(out, " counter {name} {{ }}");
        }
        for (name, elements) in &self.maps {
            let _ = writeln!(out, " map {name} {{\n  type ifname : verdict");
            if !elements.is_empty() {
                let elements: Vec<_> =
                    elements.iter().map(|(link, chain)| format!("\"{link}\" : goto {chain}")).collect();
                let _ = writeln!(out, "  elements = {{ {} }}", elements.join(", "));
            }
            out.push_str(" }\n");
        }
        for (name, elements) in &self.addresses {
            let _ = writeln!(out, " map {name} {{\n  type ipv4_addr : ipv4_addr;");
            if !elements.is_empty() {
                let elements: Vec<_> = elements.iter().map(|(from, to)| format!("{from} : {to}")).collect();
                let _ = writeln!(out, "  elements = {{ {} }}", elements.join(", "));
            }
            out.push_str(" }\n");
        }
        for (name, chain) in &self.chains {
            let _ = writeln!(out, " chain {name} {{");
            if let Some(hook) = chain.hook {
                let what = match hook {
                    Hook::Arrival => "filter hook prerouting priority raw; policy accept",
                    Hook::Late => "filter hook prerouting priority raw + 10; policy accept",
                    Hook::Prerouting => "nat hook prerouting priority dstnat; policy accept",
                    Hook::Input => "filter hook input priority filter; policy drop",
                    Hook::Forward => "filter hook forward priority filter; policy drop",
                    Hook::Postrouting => "nat hook postrouting priority srcnat; policy accept",
                };
                let _ = writeln!(out, "  type {what};");
            }
            for rule in &chain.rules {
                let _ = writeln!(out, "  {rule}");
            }
            out.push_str(" }\n");
        }
        out.push_str("}\n");
        out
    }
}

/// A line of a script.
impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.matches.iter().try_for_each(|one| write!(f, "{one} "))?;
        self.counter.iter().try_for_each(|counter| write!(f, "counter name \"{counter}\" "))?;
        self.log.iter().try_for_each(|prefix| {
            write!(f, "log prefix \"{prefix}\" group {LOG_GROUP} snaplen {LOG_BYTES} ")
        })?;
        write!(f, "{}", self.verdict)?;
        self.comment.iter().try_for_each(|comment| write!(f, " comment \"{comment}\""))
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Match::Link(way, link) => write!(f, "{way} \"{link}\""),
            Match::LinkPrefix(way, prefix) => write!(f, "{way} \"{prefix}*\""),
            Match::LinkGroup(way, group, is) => {
                let word = if *way == Way::In { "iifgroup" } else { "oifgroup" };
                write!(f, "{word} {}{group}", if *is { "" } else { "!= " })
            }
            Match::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Match::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Match::Address(family, side, addresses) => {
                let side = if *side == Side::Source { "saddr" } else { "daddr" };
                write!(f, "{} {side} {}", family.word(), addresses.print(print_addresses(*family)))
            }
            Match::End(family, side, addresses) => {
                let direction = if *side == Side::Source { "original" } else { "reply" };
                let addresses = addresses.print(print_addresses(*family));
                write!(f, "ct {direction} {} saddr {addresses}", family.word())
            }
            Match::NoWayBack => f.write_str("fib saddr . iif oif missing"),
            Match::Established => f.write_str("ct state established"),
            Match::Protocol(number) => write!(f, "meta l4proto {number}"),
            Match::Chance(chance) => write!(f, "numgen random mod 1000000 < {chance}"),
            Match::Over(rate) => write!(f, "limit rate over {rate} bytes/second burst {BURST} bytes"),
            Match::Port(ports) => write!(f, "th dport {}", ports.print(print_ports)),
        }
    }
}

impl Display for Way {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Way::In { "iifname" } else { "oifname" })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Next => f.write_str("continue"),
            Verdict::Queue(number) => write!(f, "queue to {number}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Return => f.write_str("return"),
            Verdict::ByLink(way, map) => write!(f, "{way} vmap @{map}"),
            Verdict::Nat(Side::Source, map) => write!(f, "snat ip to ip saddr map @{map}"),
            Verdict::Nat(Side::Destination, map) => write!(f, "dnat ip to ip daddr map @{map}"),
            Verdict::NatTo(address) => write!(f, "snat ip to {address}"),
            Verdict::DivertTo(to) => write!(f, "dnat ip to {to}"),
            Verdict::ByState(related) => {
                let related = related.clone().map_or(Verdict::Accept, Verdict::Goto);
                let known = format!("established : accept, related : {related}");
                write!(f, "ct state vmap {{ {known}, invalid : drop, untracked : drop }}")
            }
        }
    }
}

fn print_addresses(family: Family) -> impl Fn(u128, u128) -> String {
    let address = move |number: u128| match family {
        Family::V4 => Ipv4Addr::from(number as u32).to_string(),
        Family::V6 => Ipv6Addr::from(number).to_string(),
    };
    move |first, last| match prefix_of(family, first, last) {
        Some(bits) if bits == family.bits() => address(first),
        Some(bits) => format!("{}/{bits}", address(first)),
        None => format!("{}-{}", address(first), address(last)),
    }
}

fn print_ports(first: u128, last: u128) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_neither_overlap_nor_touch() {
        for (given, want) in [
            (vec![(22, 22)], vec![(22, 22)]),
            (vec![(80, 90), (85, 85), (91, 91)], vec![(80, 91)]),
            (vec![(443, 443), (80, 80), (80, 80)], vec![(80, 80), (443, 443)]),
            (vec![(0, 65535), (1, 1)], vec![(0, 65535)]),
            (vec![(7, u128::MAX), (u128::MAX, u128::MAX), (0, 5)], vec![(0, 5), (7, u128::MAX)]),
        ] {
            assert_eq!(Intervals::new(given).ranges(), want);
        }
    }

    #[test]
    fn others_are_all_the_rest() {
        for (given, want) in [
            (vec![], vec![(0, 9)]),
            (vec![(0, 9)], vec![]),
            (vec![(0, 0), (2, 3)], vec![(1, 1), (4, 9)]),
            (vec![(4, 9)], vec![(0, 3)]),
        ] {
            assert_eq!(Intervals::new(given).others(9).ranges(), want);
        }
        assert_eq!(Intervals::new([(1, u128::MAX)]).others(u128::MAX).ranges(), [(0, 0)]);
    }

    #[test]
    fn prefixes_are_found() {
        for (first, last, want) in [
            ([10, 0, 0, 0], [10, 255, 255, 255], Some(8)),
            ([10, 1, 0, 2], [10, 1, 0, 3], Some(31)),
            ([10, 1, 0, 1], [10, 1, 0, 2], None),
            ([10, 1, 0, 1], [10, 1, 0, 1], Some(32)),
            ([0, 0, 0, 0], [255, 255, 255, 255], Some(0)),
            ([10, 1, 0, 4], [10, 1, 0, 6], None),
        ] {
            let number = |bytes| u128::from(u32::from(Ipv4Addr::from(bytes)));
            assert_eq!(prefix_of(Family::V4, number(first), number(last)), want, "{first:?}-{last:?}");
        }
    }
    #[test]
    fn prefixes_of_ipv6_are_found() {
        for (first, last, want) in [
            ("fd20::", "fd20:0:0:0:ffff:ffff:ffff:ffff", Some(64)),
            ("fd20::1", "fd20::1", Some(128)),
            ("fd20::1", "fd20::2", None),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(0)),
        ] {
            let number = |text: &str| u128::from(text.parse::<Ipv6Addr>().unwrap());
            assert_eq!(prefix_of(Family::V6, number(first), number(last)), want, "{first}-{last}");
        }
    }
}
