//! The two gates: how a packet's rule is found.
//!
//! A packet passes an egress gate where it is sent and an ingress gate where it is received, and both must let it
//! through. At each the first rule in order (level, priority, deny before allow, name; the implied rule last) that acts
//! at the interface and matches the packet decides, unless it leaves that to the next level.
//!
//! The levels are the organization's hierarchical firewall policy, those of the folders down to the network's project, the
//! network's own rules and its firewall policies, in the order that the network says, and the implied rules. Source: Google's documentation of Cloud NGFW, "Policy and rule evaluation order".

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use tombolo_model::{Action, L4, Protocol};

/// The rules of one gate of a network, in the order in which they win. The last matches everything.
pub type Rules = Vec<Rule>;

/// A firewall rule whose tags have become addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name; for an implied rule Google's name for that.
    pub name: String,
    /// True for the two rules that every network has though nobody made them.
    pub implied: bool,
    /// Rules of a lower level come first.
    pub level: u8,
    /// 0 to 65535; of a policy's rule, to 2147483647.
    pub priority: u32,
    /// Allow, deny, or leave it to the next level.
    pub action: Action,
    /// Protocols and destination ports.
    pub matches: Vec<L4>,
    /// The far end's addresses: sources at the ingress gate, destinations at the egress gate. Sorted, not merged.
    pub far: BTreeSet<IpNet>,
    /// The near end's addresses, of its own version of IP: destinations at the ingress gate, sources at the egress gate.
    /// Where there are none it does not look.
    pub near: BTreeSet<IpNet>,
    /// The interfaces that it acts at.
    pub targets: Targets,
    /// Its secure tags, so that people are told of them.
    pub tags: Tags,
    /// Whether its hits are logged.
    pub log: bool,
}

/// The secure tags of a rule, by their names: nothing is decided by them, since they are addresses and interfaces of the
/// rule already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Of its sources, each with the addresses that it stands for.
    pub sources: BTreeMap<String, BTreeSet<IpNet>>,
    /// Of its targets, each with the interfaces that it stands for.
    pub targets: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

/// The interfaces that a rule acts at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Targets {
    /// Every interface of the network.
    All,
    /// These, by IPv4 address.
    Nics(BTreeSet<Ipv4Addr>),
}

impl Targets {
    /// Whether the rule acts at the interface.
    pub fn contains(&self, nic: Ipv4Addr) -> bool {
        match self {
            Targets::All => true,
            Targets::Nics(nics) => nics.contains(&nic),
        }
    }
}

/// What of a packet a gate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The other end's address: source at the ingress gate, destination at the egress gate.
    pub far: IpAddr,
    /// This end's address, as the interface has the packet: what makes others of addresses is outside of both gates. It need
    /// not be the interface's own: that may forward.
    pub near: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; ignored for protocols without ports.
    pub port: u16,
}

impl Rule {
    /// What tells it from all other rules of its gate: its name, unless nobody made it. A user's rule may have the name
    /// of an implied one.
    pub fn id(&self) -> String {
        if self.implied { format!("implied/{}", self.name) } else { self.name.clone() }
    }

    /// Whether the rule matches the packet at the interface.
    pub fn matches(&self, nic: Ipv4Addr, packet: &Packet) -> bool {
        self.targets.contains(nic)
            && self.matches.iter().any(|l4| l4_matches(l4, packet.protocol, packet.port))
            && self.far.iter().any(|range| range.contains(&packet.far))
            && (self.near.is_empty() || self.near.iter().any(|range| range.contains(&packet.near)))
    }
}

/// Whether an entry of `allowed` or `denied` matches a packet of this protocol, to this port.
pub(crate) fn l4_matches(l4: &L4, protocol: u8, port: u16) -> bool {
    let alike = l4.protocol == Protocol::All || l4.protocol == Protocol::Number(protocol);
    alike && (l4.ports.is_empty() || l4.ports.iter().any(|range| range.contains(port)))
}

/// The rule that decides about a packet at an interface; `None` only where the implied rule is missing.
pub fn decide<'r>(rules: &'r Rules, nic: Ipv4Addr, packet: &Packet) -> Option<&'r Rule> {
    let mut left = None;
    rules.iter().find(|rule| {
        let asked = left != Some(rule.level) && rule.matches(nic, packet);
        if asked && rule.action == Action::GotoNext {
            left = Some(rule.level);
        }
        asked && rule.action != Action::GotoNext
    })
}
