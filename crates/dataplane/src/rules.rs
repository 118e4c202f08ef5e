//! A router's nftables rules as data.
//!
//! What comes from a peering with a source to which there is no way back by it is dropped as it arrives. The order of
//! things in the forward hook:
//!
//! ```text
//!   over a link with a fault: perhaps drop         whatever it is
//!   from a peering to a peering: drop             peering is not transitive, whatever the routes say
//!   IPv6:                    goto forward-6       where the network has it: see crate::ipv6
//!   between peerings and the internet: drop       neither is what they have in common
//!   established: accept    invalid: drop          the gates look at first packets only
//!   between a published service and anything but the network's own interfaces: drop    likewise
//!   related:                 goto gate-errors     an end of a connection may complain of it, and nobody else
//!   to 0.0.0.0/8: drop                            which is nobody's, whoever has a route to it
//!   from a peering or IAP:   goto gate-in         (the sender's gate was in the sender's router)
//!   from an interface:       its egress chain     an allow goes on to gate-in, never to accept
//!   gate-in: udp:68: drop                         nobody but Google's own server makes offers to DHCP clients
//!            to a forwarding rule: only from its regions, and only what it takes
//!            to an interface: its ingress chain; to a peering or a published service: accept (the receiver's gate is there)
//!            in the internet, to the host's network: only what this has and by what gets there
//!            to the internet: no mail; only an interface's own address that has an external one or is served by Cloud NAT
//!   anything else: drop
//! ```

use crate::fault::{ALL, Fault, Late};
use crate::forwarding::Forwarding;
use crate::host::Beyond;
use crate::ipv6::{self, Ipv6Rules};
use crate::render::hex;
use crate::signposts::signposted;
use crate::table::{self, Family, Hook, Intervals, Match, Table, Verdict, Way};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tombolo_fabric::{DHCP_CLIENT, METADATA_SERVER, Nat, SMTP};
#[cfg(test)]
use tombolo_model::PortRange;
use tombolo_model::{L4, Protocol};

/// The rules of one router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Whether packets may pass from one peering to another. Always false: peering is not transitive.
    pub transit: bool,
    /// Whether the kernel's reverse-path filter looks at the sources of packets from peers; a rule does otherwise. The links
    /// must have it then: [`Link::strict_source`](crate::Link::strict_source).
    #[serde(default)]
    pub peers_filtered: bool,
    /// The egress chain of each interface of an endpoint.
    pub egress_of: Arc<BTreeMap<String, String>>,
    /// The ingress chain of each interface of an endpoint.
    pub ingress_of: Arc<BTreeMap<String, String>>,
    /// Interfaces by which only errors about their own connections come, and the addresses that these may have there. By
    /// others (of instances that forward, of peers, whose router has looked) may come errors about any.
    #[serde(default)]
    pub ends_of: Arc<BTreeMap<String, BTreeSet<Ipv4Net>>>,
    /// Interfaces without an egress gate: Google's own clients.
    pub trusted: BTreeSet<String>,
    /// Links with a fault.
    #[serde(default)]
    pub faults: BTreeMap<String, Fault>,
    /// By interface: the address that it has, and the one that this becomes in the internet. Where there is none, of
    /// these or of Cloud NAT's, there is no internet either.
    #[serde(default)]
    pub external: BTreeMap<String, (Ipv4Addr, Ipv4Addr)>,
    /// By interface: addresses of its own that Cloud NAT serves, and the one that these become in the internet.
    #[serde(default)]
    pub nat: BTreeMap<String, (BTreeSet<Ipv4Net>, Ipv4Addr)>,
    /// The host's network, where one gets there from here.
    #[serde(default)]
    pub host: Option<Beyond>,
    /// Forwarding rules.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// What goes for IPv6; nothing where no interface has it.
    #[serde(default)]
    pub ipv6: Arc<Ipv6Rules>,
    /// Addresses of endpoints that are not there yet: what comes for them waits, see [`crate::lazy`].
    #[serde(default)]
    pub held: BTreeSet<IpNet>,
    /// Links whose packets are late.
    #[serde(default)]
    pub late: BTreeMap<String, Late>,
    /// The chains by name, each ending with a rule for everything, but those of levels.
    pub chains: BTreeMap<String, Arc<Chain>>,
}

/// The rules that act at the interfaces of one target class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Which address of a packet is the far end's: the receiver's at the egress gate, the sender's at the ingress gate.
    pub far: Side,
    /// Where an allow leads: from the egress gate to the ingress gate, from there to the receiver.
    pub allow: Allow,
    /// Whether they are for IPv6. They are for IPv4 or for IPv6, never both.
    #[serde(default)]
    pub ipv6: bool,
    /// In the order in which they win.
    pub rules: Vec<ChainRule>,
}

/// An address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

/// Where an allow leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Allow {
    /// To the receiver's gate.
    ToIngressGate,
    /// To the receiver.
    Deliver,
}

/// One rule of a gate's chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainRule {
    /// The firewall rule that it comes from. Those that nobody made are `implied/NAME`.
    pub name: String,
    /// The far end's addresses, any of which matches: all of the chain's version of IP.
    pub far: BTreeSet<IpNet>,
    /// The protocols and ports, any of which matches.
    pub matches: Vec<L4>,
    /// Through the gate, or dropped.
    pub allow: bool,
    /// What it does where it decides nothing. Then it neither counts nor logs.
    #[serde(default)]
    pub next: Option<Next>,
    /// Whether its hits are logged. As in Google's cloud, of TCP and UDP only (documentation of VPC firewall rules
    /// logging, "Specifications").
    #[serde(default)]
    pub log: bool,
    /// The near end's addresses, of the chain's version of IP, any of which matches. Where there are none it does not look.
    #[serde(default)]
    pub near: BTreeSet<IpNet>,
}

/// What a rule does that decides nothing itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Next {
    /// The chain of a level is asked; what that leaves is for the next rule. So levels are beside each other: the kernel
    /// follows 16 chains at most from one into the next.
    Ask(String),
    /// The chain of a level has nothing more to say.
    Leave,
}

impl Ruleset {
    /// Whether there is a link to the internet.
    fn has_internet(&self) -> bool {
        !self.external.is_empty() || !self.nat.is_empty()
    }

    /// Whether any of them logs.
    pub fn log(&self) -> bool {
        self.chains.values().any(|chain| chain.logs())
    }

    /// A script for `nft -f -` that replaces whatever rules there were, in one transaction.
    pub fn script(&self) -> String {
        self.table().script()
    }

    /// The rules as nf_tables has them.
    pub fn table(&self) -> Table {
        self.table_after(&Ruleset::default(), &Table::default())
    }

    /// The same, when it is known that `table` has the rules `before`: what of them is the same is not made again.
    pub fn table_after(&self, before: &Ruleset, table: &Table) -> Table {
        let known = table;
        let maps = [("egress", &self.egress_of), ("ingress", &self.ingress_of)];
        let mut table = Table {
            maps: maps.into_iter().map(|(name, chains)| (name.to_owned(), Arc::clone(chains))).collect(),
            ..Table::default()
        };
        for chain in self.chains.values() {
            let deciding = chain.rules.iter().filter(|rule| rule.next.is_none());
            table.counters.extend(deciding.map(|rule| counter(chain.far, &rule.name)));
        }
        let dhcp = Intervals::new([(DHCP_CLIENT.into(), DHCP_CLIENT.into())]);
        let mut gate_in = vec![
            rule([Match::Protocol(17), Match::Port(dhcp)], Verdict::Drop),
            rule([], Verdict::ByLink(Way::Out, "ingress".into())),
            rule([peering(Way::Out)], Verdict::Accept),
            rule([], Verdict::Drop),
        ];
        if self.has_internet() {
            let out = || Match::Link(Way::Out, INTERNET.into());
            let mail = Intervals::new([(SMTP.into(), SMTP.into())]);
            let last = gate_in.len() - 1;
            gate_in.insert(last, rule([out(), Match::Protocol(6), Match::Port(mail)], Verdict::Drop));
            gate_in.insert(last + 1, rule([out()], Verdict::ByLink(Way::In, "outside".into())));
            self.add_internet(&mut table);
        }
        if let Some(host) = &self.host {
            gate_in.insert(1, host.gate(&mut table));
        }
        self.forwarding.add(&mut table, &mut gate_in);
        self.add_ends(&mut table, before, known);
        table.add(GATE_IN, None, gate_in);
        let gate_errors = vec![rule([], Verdict::ByLink(Way::In, ERRORS.into())), rule([], Verdict::Accept)];
        table.add(GATE_ERRORS, None, gate_errors);
        let to_ipv6 = (!self.ipv6.is_empty()).then(|| self.ipv6.add_to(&mut table));
        let mut arrival = self.arrival();
        // Last: what is dropped anyhow wakes nobody.
        arrival.extend(to_queue(&mut table, self.held.iter(), table::HELD));
        if !arrival.is_empty() {
            table.add("arrival-hook", Some(Hook::Arrival), arrival);
        }
        table.add("forward-hook", Some(Hook::Forward), self.forward(to_ipv6));
        let late = self.late(&mut table);
        if !late.is_empty() {
            table.add("late-hook", Some(Hook::Late), late);
        }
        // The router itself answers nobody but an endpoint that asks Google's link-local server.
        let asks = Match::Address(Family::V4, Side::Destination, one(METADATA_SERVER));
        let no_peering = Match::LinkGroup(Way::In, PEERINGS, false);
        let mut input = vec![rule([], Verdict::ByState(None)), rule([no_peering, asks], Verdict::Accept)];
        if let Some(host) = &self.host {
            host.divert(&mut table, &mut input);
        }
        table.add("input-hook", Some(Hook::Input), input);
        for (name, chain) in &self.chains {
            let same = before.chains.get(name) == Some(chain);
            match known.chains.get(name).filter(|_| same) {
                Some(_) => {
                    let all = known.led_to_by([name].into_iter(), |to| to.starts_with(APART));
                    let all = all.into_iter().filter_map(|name| known.chains.get_key_value(name));
                    table.chains.extend(all.map(|(name, made)| (name.clone(), Arc::clone(made))));
                }
                None => add_gate(&mut table, name, chain),
            }
        }
        table
    }

    /// Adds the chains of interfaces with errors about their own connections.
    fn add_ends(&self, table: &mut Table, before: &Ruleset, known: &Table) {
        let same = before.ends_of == self.ends_of;
        let errors = match known.maps.get(ERRORS).filter(|_| same) {
            Some(same) => Arc::clone(same),
            None => Arc::new(self.ends_of.keys().map(|link| (link.clone(), ends_chain(link))).collect()),
        };
        for (chain, (link, own)) in errors.values().zip(&*self.ends_of) {
            let made = known.chains.get(chain).filter(|_| same || before.ends_of.get(link) == Some(own));
            let made = made.cloned().unwrap_or_else(|| {
                Arc::new(table::Chain { hook: None, rules: ends(Family::V4, intervals(own)) })
            });
            table.chains.insert(chain.clone(), made);
        }
        table.maps.insert(ERRORS.into(), errors);
    }

    /// The rules for links with faults.
    fn faulty(&self) -> Vec<table::Rule> {
        let mut rules = Vec::new();
        for (link, fault) in &self.faults {
            for way in [Way::In, Way::Out] {
                let over = |condition: Option<Match>| table::Rule {
                    matches: [Match::Link(way, link.clone())].into_iter().chain(condition).collect(),
                    counter: None,
                    log: None,
                    verdict: Verdict::Drop,
                    comment: None,
                };
                rules.extend(match fault.loss {
                    0 => None,
                    ALL.. => Some(over(None)),
                    loss => Some(over(Some(Match::Chance(loss)))),
                });
                rules.extend(fault.rate.map(|rate| over(Some(Match::Over(rate)))));
            }
        }
        rules
    }

    /// Adds what makes external addresses of internal ones, and the reverse.
    fn add_internet(&self, table: &mut Table) {
        let links: BTreeSet<&String> = self.external.keys().chain(self.nat.keys()).collect();
        let chains = links.iter().map(|link| ((*link).clone(), outside_chain(link))).collect();
        table.maps.insert("outside".into(), Arc::new(chains));
        for link in links {
            let mut rules = Vec::new();
            if let Some((own, _)) = self.external.get(link) {
                rules.push(rule([Match::Address(Family::V4, Side::Source, one(*own))], Verdict::Accept));
            }
            if let Some((served, _)) = self.nat.get(link) {
                let served = || Match::Address(Family::V4, Side::Source, intervals(served));
                let allow = |number| rule([served(), Match::Protocol(number)], Verdict::Accept);
                rules.extend(Nat::PROTOCOLS.map(allow));
            }
            rules.push(rule([], Verdict::Drop));
            table.add(outside_chain(link), None, rules);
        }
        let pairs = self.external.values();
        table.addresses.insert("external".into(), pairs.clone().copied().collect());
        table.addresses.insert("internal".into(), pairs.map(|(own, external)| (*external, *own)).collect());
        let internet = |way| Match::Link(way, INTERNET.into());
        // Nothing that nobody asked for comes in by an address of Cloud NAT's, wherever a route would lead it.
        let nat_in = vec![
            rule([internet(Way::In)], Verdict::Nat(Side::Destination, "internal".into())),
            rule([internet(Way::In)], Verdict::Drop),
        ];
        let mut served: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Net>> = BTreeMap::new();
        for (ranges, address) in self.nat.values() {
            served.entry(*address).or_default().extend(ranges);
        }
        let by_nat = |(address, ranges): (Ipv4Addr, BTreeSet<Ipv4Net>)| {
            let from = Match::Address(Family::V4, Side::Source, intervals(&ranges));
            rule([internet(Way::Out), from], Verdict::NatTo(address))
        };
        let external = rule([internet(Way::Out)], Verdict::Nat(Side::Source, "external".into()));
        let nat_out = std::iter::once(external).chain(served.into_iter().map(by_nat)).collect();
        table.add("nat-in", Some(Hook::Prerouting), nat_in);
        table.add("nat-out", Some(Hook::Postrouting), nat_out);
    }

    /// The rules for packets as they come in.
    fn arrival(&self) -> Vec<table::Rule> {
        let mut rules = Vec::new();
        if !self.peers_filtered {
            // Of IPv6 the sources by each interface are known, and routers' errors come from none of them.
            let mut strangers = rule([peering(Way::In), Match::NoWayBack], Verdict::Drop);
            if !self.ipv6.is_empty() {
                strangers.matches.insert(1, Match::Family(Family::V4));
            }
            rules.push(strangers);
        }
        if !self.ipv6.is_empty() {
            rules.push(ipv6::on_no_link());
        }
        rules
    }

    /// The rules for packets that are to be late: before connection tracking, of which every packet would be the first one while
    /// the first one waits. What a router itself answers is not.
    fn late(&self, table: &mut Table) -> Vec<table::Rule> {
        if self.late.is_empty() {
            return Vec::new();
        }
        let asks = Match::Address(Family::V4, Side::Destination, one(METADATA_SERVER));
        let mut rules = vec![rule([asks], Verdict::Accept)];
        let late = Verdict::Goto(queue_chain(table::LATE));
        let by = |link: &String| rule([Match::Link(Way::In, link.clone())], late.clone());
        rules.extend(self.late.keys().map(by));
        rules.extend(to_queue(table, self.late.values().flat_map(|late| &late.to), table::LATE));
        add_queue(table, table::LATE);
        rules
    }

    /// The rules for packets that pass. One of them leads to those for IPv6, where there are any.
    fn forward(&self, to_ipv6: Option<table::Rule>) -> Vec<table::Rule> {
        let to_gate = || Verdict::Goto(GATE_IN.into());
        let mut rules = self.faulty();
        if !self.transit {
            rules.push(rule([peering(Way::In), peering(Way::Out)], Verdict::Drop));
        }
        rules.extend(to_ipv6);
        let internet = |way| Match::Link(way, INTERNET.into());
        if self.has_internet() {
            rules.push(rule([peering(Way::In), internet(Way::Out)], Verdict::Drop));
            rules.push(rule([internet(Way::In), peering(Way::Out)], Verdict::Drop));
            rules.push(rule([internet(Way::In), internet(Way::Out)], Verdict::Drop));
        }
        rules.extend(self.forwarding.boundaries());
        rules.push(rule([Match::Established], Verdict::Accept));
        rules.push(rule([], Verdict::ByState(Some(GATE_ERRORS.into()))));
        // Linux takes all but the first of these for anybody's.
        let nobody = Match::Address(Family::V4, Side::Destination, Intervals::new([(0, 0x00ff_ffff)]));
        rules.push(rule([nobody], Verdict::Drop));
        rules.push(rule([peering(Way::In)], to_gate()));
        rules.extend(self.forwarding.entrances());
        if self.has_internet() {
            rules.push(rule([internet(Way::In)], to_gate()));
        }
        rules.extend(self.trusted.iter().map(|link| rule([Match::Link(Way::In, link.clone())], to_gate())));
        rules.push(rule([], Verdict::ByLink(Way::In, "egress".into())));
        rules
    }
}

impl Chain {
    /// Whether any of its rules logs.
    pub(crate) fn logs(&self) -> bool {
        self.rules.iter().any(|rule| rule.log)
    }

    /// The chains of levels that it asks.
    pub(crate) fn asks(&self) -> impl Iterator<Item = &String> {
        self.rules.iter().filter_map(|rule| match &rule.next {
            Some(Next::Ask(level)) => Some(level),
            _ => None,
        })
    }
}

/// With more rules than this a chain is made apart from what leads to it: one transaction may have no room for them.
const MANY: usize = 100;

/// The name of the chain that leads to a queue.
fn queue_chain(queue: u16) -> String {
    format!("queue-{queue}")
}

/// Adds the chain that leads to a queue. It has the only rule that does: before the kernel makes such a rule it waits until all
/// that was there before has been taken apart, which may be 40 ms (`nft_target_init`).
fn add_queue(table: &mut Table, queue: u16) {
    table.add(queue_chain(queue), None, vec![rule([], Verdict::Queue(queue))]);
}

/// Adds rules that have packets to these addresses wait in a queue, and returns those that lead to them. They are made apart:
/// the addresses change all the time.
fn to_queue<'r>(
    table: &mut Table,
    ranges: impl Iterator<Item = &'r IpNet>,
    queue: u16,
) -> impl Iterator<Item = table::Rule> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for range in ranges {
        match range {
            IpNet::V4(range) => v4.push((bits(range.network()), bits(range.broadcast()))),
            IpNet::V6(range) => v6.push((range.network().into(), range.broadcast().into())),
        }
    }
    let all = [(Family::V4, v4), (Family::V6, v6)].into_iter().filter(|(_, ranges)| !ranges.is_empty());
    let all: Vec<_> = all.collect();
    if !all.is_empty() {
        add_queue(table, queue);
    }
    let lead = all.into_iter().map(|(family, ranges)| {
        let to = Match::Address(family, Side::Destination, Intervals::new(ranges));
        let apart = add_apart(table, vec![rule([to], Verdict::Goto(queue_chain(queue)))]);
        rule([Match::Family(family)], Verdict::Goto(apart))
    });
    lead.collect::<Vec<_>>().into_iter()
}

/// How the names of chains begin that are made apart.
const APART: &str = "c-";

/// Adds a chain of a gate.
fn add_gate(table: &mut Table, name: &str, chain: &Chain) {
    let rules = chain.rules.iter().flat_map(|rule| chain_rule(chain, rule)).collect();
    let made = table::Chain { hook: None, rules: signposted(rules, |part| add_apart(table, part)) };
    match made.has_sets() || made.rules.len() > MANY {
        // Packets change over to other rules as the one that leads to them changes.
        true => {
            let apart = add_apart(table, made.rules);
            table.add(name, None, vec![rule([], Verdict::Goto(apart))]);
        }
        false => table.add(name, None, made.rules),
    }
}

/// Adds a chain that is named by what it is; its name.
pub(crate) fn add_apart(table: &mut Table, rules: Vec<table::Rule>) -> String {
    let made = table::Chain { hook: None, rules };
    let apart = content_name(&made);
    table.add(apart.clone(), None, made.rules);
    apart
}

/// A name for a chain that is never another one than it is.
pub(crate) fn content_name(chain: &table::Chain) -> String {
    let text: String = chain.rules.iter().map(|rule| format!("{rule}\n")).collect();
    format!("{APART}{}", hex(text.as_bytes(), 8))
}

/// The chain in which the receiver's gate is.
pub(crate) const GATE_IN: &str = "gate-in";

/// The same for IPv6.
pub(crate) const GATE_IN_6: &str = "gate-in-6";

/// The map from interfaces to their chains of errors about connections.
const ERRORS: &str = "errors";

/// The chain that decides of errors about a connection. The kernel takes anybody's word for these: it only looks whether
/// there is the connection, and whether the error goes to the end that sent what is quoted (nf_conntrack_proto_icmp.c).
const GATE_ERRORS: &str = "gate-errors";

/// The name of the chain of an interface with errors about its own connections.
fn ends_chain(link: &str) -> String {
    format!("r-{link}")
}

/// The name of the chain that says what may leave an interface for the internet.
fn outside_chain(link: &str) -> String {
    format!("o-{link}")
}

/// Lets errors about connections with these addresses through.
pub(crate) fn ends(family: Family, ranges: Intervals) -> Vec<table::Rule> {
    let all = ranges.ranges() == [(0, family.last())];
    let of = |side| table::Rule {
        matches: if all { Vec::new() } else { vec![Match::End(family, side, ranges.clone())] },
        counter: None,
        log: None,
        verdict: Verdict::Accept,
        comment: None,
    };
    vec![of(Side::Source), of(Side::Destination), rule([], Verdict::Drop)]
}

/// The addresses of ranges.
pub(crate) fn intervals(ranges: &BTreeSet<Ipv4Net>) -> Intervals {
    let ends = |range: &Ipv4Net| (bits(range.network()), bits(range.broadcast()));
    Intervals::new(ranges.iter().map(ends))
}

/// The addresses of IPv6 ranges.
pub(crate) fn intervals6(ranges: &BTreeSet<Ipv6Net>) -> Intervals {
    Intervals::new(ranges.iter().map(|range| (range.network().into(), range.broadcast().into())))
}

/// One address.
pub(crate) fn one(address: Ipv4Addr) -> Intervals {
    Intervals::new([(bits(address), bits(address))])
}

/// An address as a number.
fn bits(address: Ipv4Addr) -> u128 {
    u32::from(address).into()
}

/// How the names of interfaces to peers begin.
const PEERING: &str = "p";

/// The group of interfaces to peers. All others are in the one that new ones are in.
const PEERINGS: u32 = 1;

/// The group of a router's interface of this name, or of an endpoint's.
pub(crate) fn group_of(link: &str) -> u32 {
    if link.starts_with(PEERING) { PEERINGS } else { 0 }
}

/// The name of the interface to the internet.
pub(crate) const INTERNET: &str = "n0";

/// Whether the packet comes from a peer, or goes to one.
pub(crate) fn peering(way: Way) -> Match {
    Match::LinkGroup(way, PEERINGS, true)
}

/// A rule that comes from no firewall rule.
pub(crate) fn rule<const N: usize>(matches: [Match; N], verdict: Verdict) -> table::Rule {
    table::Rule { matches: matches.into(), counter: None, log: None, verdict, comment: None }
}

/// The counter of the packets about which a firewall rule has decided, whichever of its chains and protocols it was.
/// A rule of each direction may have the same name. `far` is what its chain looks at.
pub fn counter(far: Side, rule: &str) -> String {
    let gate = if far == Side::Source { "ingress" } else { "egress" };
    format!("{gate}/{rule}")
}

/// What a counter's chain looks at, and its rule: the other way round.
pub fn counted_by(counter: &str) -> Option<(Side, &str)> {
    let (gate, rule) = counter.split_once('/')?;
    match gate {
        "ingress" => Some((Side::Source, rule)),
        "egress" => Some((Side::Destination, rule)),
        _ => None,
    }
}

/// A rule as one rule of nf_tables for each protocol that it names; if it logs every protocol, after one for each that is
/// logged.
fn chain_rule(chain: &Chain, rule: &ChainRule) -> Vec<table::Rule> {
    let family = if chain.ipv6 { Family::V6 } else { Family::V4 };
    if rule.far.is_empty() {
        return Vec::new(); // no instance has the source tag (yet), or the rule is about the other version of IP
    }
    let far = address_match(family, chain.far, &rule.far);
    let near = match rule.near.is_empty() {
        true => None,
        false => address_match(family, chain.far.other(), &rule.near),
    };
    let verdict = match (&rule.next, rule.allow, chain.allow) {
        (Some(Next::Ask(level)), ..) => Verdict::Jump(level.clone()),
        (Some(Next::Leave), ..) => Verdict::Return,
        (None, false, _) => Verdict::Drop,
        (None, true, Allow::ToIngressGate) => {
            Verdict::Goto(if chain.ipv6 { GATE_IN_6 } else { GATE_IN }.into())
        }
        (None, true, Allow::Deliver) => Verdict::Accept,
    };
    let name = counter(chain.far, &rule.name);
    let prefix = format!("{name} {}", if rule.allow { ALLOWED } else { DENIED });
    let log = rule.log && rule.next.is_none();
    let logged = |protocol| log && LOGGED.contains(&protocol);
    let one = |l4: &L4| table::Rule {
        matches: far.iter().chain(&near).cloned().chain(l4_match(l4)).collect(),
        counter: rule.next.is_none().then(|| name.clone()),
        log: logged(l4.protocol).then(|| prefix.clone()),
        verdict: verdict.clone(),
        comment: Some(rule.name.clone()),
    };
    let only_log = |protocol: &Protocol| table::Rule {
        counter: None,
        log: Some(prefix.clone()),
        verdict: Verdict::Next,
        ..one(&L4::all_of(*protocol))
    };
    let mut all = Vec::new();
    for l4 in &rule.matches {
        if log && l4.protocol == Protocol::All {
            all.extend(LOGGED.iter().map(only_log));
        }
        all.push(one(l4));
    }
    all
}

/// What a rule that lets through writes before what it logs, after its counter.
const ALLOWED: &str = "allowed";
/// The same of one that drops.
const DENIED: &str = "denied";

/// What is written before a logged packet: the rule's counter, and whether the packet was allowed.
pub fn read_prefix(prefix: &str) -> Option<(&str, bool)> {
    match prefix.split_once(' ')? {
        (counter, ALLOWED) => Some((counter, true)),
        (counter, DENIED) => Some((counter, false)),
        _ => None,
    }
}

/// The protocols whose connections are logged.
const LOGGED: [Protocol; 2] = [Protocol::TCP, Protocol::UDP];

/// Whether an address is in one of some ranges; nothing where every address is.
fn address_match(family: Family, side: Side, all: &BTreeSet<IpNet>) -> Option<Match> {
    let bits = |address| match address {
        IpAddr::V4(address) => bits(address),
        IpAddr::V6(address) => address.into(),
    };
    let ranges = Intervals::new(all.iter().map(|range| (bits(range.network()), bits(range.broadcast()))));
    (ranges.ranges() != [(0, family.last())]).then_some(Match::Address(family, side, ranges))
}

/// Nothing where every packet matches.
fn l4_match(l4: &L4) -> Vec<Match> {
    let mut matches = Vec::new();
    if let Protocol::Number(number) = l4.protocol {
        matches.push(Match::Protocol(number));
        if !l4.ports.is_empty() {
            let ports = l4.ports.iter().map(|range| (range.first.into(), range.last.into()));
            matches.push(Match::Port(Intervals::new(ports)));
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &[&str]) -> Vec<PortRange> {
        text.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn a_rule_becomes_a_line_for_each_protocol() {
        let matches = vec![L4::new(Protocol::TCP, ports(&["22", "80-90"])), L4::all_of(Protocol::ICMP)];
        let far =
            ["10.0.0.0/9", "10.128.0.0/9", "192.168.0.1/32"].iter().map(|r| r.parse().unwrap()).collect();
        let near = BTreeSet::new();
        let rule = ChainRule { name: "r".into(), far, matches, allow: true, next: None, log: false, near };
        let ingress = Chain { far: Side::Source, allow: Allow::Deliver, ipv6: false, rules: Vec::new() };
        let egress =
            Chain { far: Side::Destination, allow: Allow::ToIngressGate, ipv6: false, rules: Vec::new() };
        let denied = ChainRule { allow: false, ..rule.clone() };
        let lines = [chain_rule(&ingress, &rule), chain_rule(&egress, &denied)].concat();
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let want = [
            "ip saddr { 10.0.0.0/8, 192.168.0.1 } meta l4proto 6 th dport { 22, 80-90 } counter name \"ingress/r\" accept comment \"r\"",
            "ip saddr { 10.0.0.0/8, 192.168.0.1 } meta l4proto 1 counter name \"ingress/r\" accept comment \"r\"",
            "ip daddr { 10.0.0.0/8, 192.168.0.1 } meta l4proto 6 th dport { 22, 80-90 } counter name \"egress/r\" drop comment \"r\"",
            "ip daddr { 10.0.0.0/8, 192.168.0.1 } meta l4proto 1 counter name \"egress/r\" drop comment \"r\"",
        ];
        assert_eq!(lines, want);
        let all = ["0.0.0.0/1", "128.0.0.0/1"].iter().map(|r| r.parse().unwrap()).collect();
        let anybody = ChainRule { far: all, ..rule.clone() };
        let want = "meta l4proto 1 counter name \"ingress/r\" accept comment \"r\"";
        assert_eq!(chain_rule(&ingress, &anybody)[1].to_string(), want);
        let all = L4::all_of(Protocol::All);
        let logs = ChainRule { log: true, matches: vec![rule.matches[1].clone(), all], ..anybody.clone() };
        let lines: Vec<String> = chain_rule(&egress, &logs).iter().map(ToString::to_string).collect();
        let want = [
            "meta l4proto 1 counter name \"egress/r\" goto gate-in comment \"r\"",
            "meta l4proto 6 log prefix \"egress/r allowed\" group 1 snaplen 64 continue comment \"r\"",
            "meta l4proto 17 log prefix \"egress/r allowed\" group 1 snaplen 64 continue comment \"r\"",
            "counter name \"egress/r\" goto gate-in comment \"r\"",
        ];
        assert_eq!(lines, want);
        assert_eq!(read_prefix("egress/r allowed"), Some(("egress/r", true)));
        assert_eq!(read_prefix("egress/r denied"), Some(("egress/r", false)));
        assert_eq!(counted_by("egress/r"), Some((Side::Destination, "r")));
        let here = ChainRule { near: ["10.1.0.0/24".parse().unwrap()].into(), ..rule.clone() };
        let lines = [chain_rule(&ingress, &here), chain_rule(&egress, &here)].concat();
        let lines: Vec<String> = lines.iter().skip(1).step_by(2).map(ToString::to_string).collect();
        let want = [
            "ip saddr { 10.0.0.0/8, 192.168.0.1 } ip daddr 10.1.0.0/24 meta l4proto 1 counter name \"ingress/r\" accept comment \"r\"",
            "ip daddr { 10.0.0.0/8, 192.168.0.1 } ip saddr 10.1.0.0/24 meta l4proto 1 counter name \"egress/r\" goto gate-in comment \"r\"",
        ];
        assert_eq!(lines, want);
        let nobody = ChainRule { far: BTreeSet::new(), ..here };
        assert_eq!(chain_rule(&ingress, &nobody), []);
    }
}
