//! VPC firewall rules.
//!
//! A rule belongs to a network and acts at its instances, never at its edge: an EGRESS rule where the packet is
//! sent, an INGRESS rule where it is received. The lower priority number wins; at equal priority deny wins.
//! Source: Google's documentation of VPC firewall rules.

use crate::{FirewallKey, NetworkKey, Refusal, Timestamp, World, key, network, project};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

/// The priority of the rules that every network has though nobody made them: allow egress, deny ingress.
pub const IMPLIED_PRIORITY: u16 = 65535;

/// An IP protocol by number, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Protocol {
    /// Every protocol.
    All,
    /// One protocol, by its IANA number.
    Number(u8),
}

impl Protocol {
    /// ICMP.
    pub const ICMP: Protocol = Protocol::Number(1);
    /// TCP.
    pub const TCP: Protocol = Protocol::Number(6);
    /// UDP.
    pub const UDP: Protocol = Protocol::Number(17);
    /// ICMPv6, which Google knows by its number alone.
    pub const ICMPV6: Protocol = Protocol::Number(58);
    /// SCTP.
    pub const SCTP: Protocol = Protocol::Number(132);

    /// Whether rules may name ports of it.
    pub fn has_ports(self) -> bool {
        [Self::TCP, Self::UDP, Self::SCTP].contains(&self)
    }
}

/// The names that Google accepts.
const PROTOCOL_NAMES: [(&str, u8); 7] =
    [("icmp", 1), ("ipip", 4), ("tcp", 6), ("udp", 17), ("esp", 50), ("ah", 51), ("sctp", 132)];

impl FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let by_name =
            PROTOCOL_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, n)| Protocol::Number(*n));
        match by_name {
            Some(protocol) => Ok(protocol),
            None if lower == "all" => Ok(Protocol::All),
            None => lower.parse().map(Protocol::Number).map_err(|_| {
                format!("'{text}' is not a protocol: expected tcp, udp, icmp, esp, ah, sctp, ipip, all or a number")
            }),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::All => f.write_str("all"),
            Protocol::Number(n) => match PROTOCOL_NAMES.iter().find(|(_, number)| number == n) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "{n}"),
            },
        }
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> String {
        protocol.to_string()
    }
}

impl TryFrom<String> for Protocol {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Ports `first..=last`, in text `22` or `8000-8999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
}

impl PortRange {
    /// Whether the port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(PortRange { first, last }),
            _ => Err(format!("'{text}' is not a port or port range: expected such as 22 or 8000-8999")),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        range.to_string()
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// One entry of a rule's `allowed` or `denied`: a protocol and, where it has them, destination ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct L4 {
    /// `IPProtocol`.
    pub protocol: Protocol,
    /// Destination ports; empty means every port.
    pub ports: Vec<PortRange>,
}

impl L4 {
    /// A protocol with certain ports (none: all).
    pub fn new(protocol: Protocol, ports: Vec<PortRange>) -> Self {
        Self { protocol, ports }
    }

    /// The whole protocol.
    pub fn all_of(protocol: Protocol) -> Self {
        Self::new(protocol, Vec::new())
    }
}

/// `tcp:22,80` or `icmp`, as gcloud's `--allow` has it.
impl fmt::Display for L4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        let colon = if ports.is_empty() { "" } else { ":" };
        write!(f, "{}{colon}{}", self.protocol, ports.join(","))
    }
}

/// Which gate a rule acts at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Direction {
    /// Where the packet is received.
    Ingress,
    /// Where the packet is sent.
    Egress,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Drop. Sorts before allow: deny wins at equal priority.
    Deny,
    /// Let through this gate.
    Allow,
    /// Of a firewall policy's rules only: what comes after the policy decides.
    #[serde(rename = "GOTO_NEXT")]
    GotoNext,
}

/// What is told of a connection that a logged rule has decided about, beside the connection and the rule. The names are
/// Google's (compute v1, `Firewall.logConfig.metadata`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogMetadata {
    /// The instances and networks at both ends, and what the rule matches.
    IncludeAllMetadata,
    /// Nothing.
    ExcludeAllMetadata,
}

impl LogMetadata {
    /// Google's spelling: `INCLUDE_ALL_METADATA`.
    pub fn as_str(self) -> &'static str {
        match self {
            LogMetadata::IncludeAllMetadata => "INCLUDE_ALL_METADATA",
            LogMetadata::ExcludeAllMetadata => "EXCLUDE_ALL_METADATA",
        }
    }
}

/// A firewall rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Firewall {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The network that it belongs to.
    pub network: NetworkKey,
    /// Ingress or egress.
    pub direction: Direction,
    /// Allow or deny.
    pub action: Action,
    /// 0 (first) to 65535 (last).
    pub priority: u16,
    /// What it matches (`allowed` or `denied`). Never empty.
    pub matches: Vec<L4>,
    /// INGRESS: the sources, any of which matches, or any of `source_tags`. EGRESS: only what is sent from these, if any
    /// are said: an interface's own address, its alias ranges, and whatever it forwards.
    pub source_ranges: BTreeSet<IpNet>,
    /// INGRESS: the packets of instances of the same network that have one of these tags.
    pub source_tags: BTreeSet<String>,
    /// INGRESS: the packets of instances of the same network that have one of these service accounts.
    #[serde(default)]
    pub source_service_accounts: BTreeSet<String>,
    /// EGRESS: the destinations. INGRESS: only what is for these, if any are said, as it arrives at the interface.
    pub destination_ranges: BTreeSet<IpNet>,
    /// The instances that it acts at; all of the network's where neither these nor accounts are said.
    pub target_tags: BTreeSet<String>,
    /// The instances that it acts at, by service account.
    #[serde(default)]
    pub target_service_accounts: BTreeSet<String>,
    /// A disabled rule does nothing.
    pub disabled: bool,
    /// Whether its hits are logged, and how much of them.
    #[serde(default)]
    pub logging: Option<LogMetadata>,
}

/// What a user says of a new rule. Omitted ranges of the far end mean `0.0.0.0/0`: IPv6 must be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirewallSpec {
    /// Which rule.
    pub key: FirewallKey,
    /// See [`Firewall`].
    pub network: NetworkKey,
    /// See [`Firewall`].
    pub direction: Direction,
    /// See [`Firewall`].
    pub action: Action,
    /// See [`Firewall`].
    pub priority: u16,
    /// See [`Firewall`].
    pub matches: Vec<L4>,
    /// See [`Firewall`].
    pub source_ranges: BTreeSet<IpNet>,
    /// See [`Firewall`].
    pub source_tags: BTreeSet<String>,
    /// See [`Firewall`].
    #[serde(default)]
    pub source_service_accounts: BTreeSet<String>,
    /// See [`Firewall`].
    pub destination_ranges: BTreeSet<IpNet>,
    /// See [`Firewall`].
    pub target_tags: BTreeSet<String>,
    /// See [`Firewall`].
    #[serde(default)]
    pub target_service_accounts: BTreeSet<String>,
    /// See [`Firewall`].
    pub disabled: bool,
    /// See [`Firewall`].
    #[serde(default)]
    pub logging: Option<LogMetadata>,
}

impl FirewallSpec {
    /// A rule with Google's defaults (INGRESS, allow, priority 1000) that matches nothing yet.
    pub fn new(key: FirewallKey, network: NetworkKey) -> Self {
        Self {
            key,
            network,
            direction: Direction::Ingress,
            action: Action::Allow,
            priority: 1000,
            matches: Vec::new(),
            source_ranges: BTreeSet::new(),
            source_tags: BTreeSet::new(),
            source_service_accounts: BTreeSet::new(),
            destination_ranges: BTreeSet::new(),
            target_tags: BTreeSet::new(),
            target_service_accounts: BTreeSet::new(),
            disabled: false,
            logging: None,
        }
    }
}

/// Creates a rule.
pub(crate) fn insert(world: &mut World, spec: &FirewallSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::COMPUTE)?;
    key::check_name("name", &spec.key.name)?;
    if spec.network.project != spec.key.project {
        let expected = "The network must be in the firewall rule's project.";
        return Err(Refusal::invalid("network", &spec.network, expected));
    }
    network::get_user(world, &spec.network)?;
    if world.firewalls.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    check(spec)?;
    let id = world.fresh_id();
    world.firewalls.insert(spec.key.clone(), Arc::new(rule(spec, id, now)));
    Ok(())
}

/// Puts a rule in the place of the one that has its name; it stays the same resource, of the same network.
pub(crate) fn update(world: &mut World, spec: &FirewallSpec) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::COMPUTE)?;
    let present = world.firewalls.get(&spec.key).ok_or_else(|| Refusal::not_found(&spec.key))?;
    if present.network != spec.network {
        return Err(Refusal::invalid(
            "network",
            &spec.network,
            "The network of a firewall rule cannot be changed.",
        ));
    }
    if present.direction != spec.direction {
        let direction = format!("{:?}", spec.direction).to_uppercase();
        return Err(Refusal::invalid(
            "direction",
            direction,
            "The direction of a firewall rule cannot be changed.",
        ));
    }
    check(spec)?;
    let updated = rule(spec, present.id, present.creation_timestamp);
    world.firewalls.insert(spec.key.clone(), Arc::new(updated));
    Ok(())
}

/// The rule that was said, with the defaults of what was not.
fn rule(spec: &FirewallSpec, id: u64, creation_timestamp: Timestamp) -> Firewall {
    let anywhere = || BTreeSet::from([IpNet::default()]);
    let ingress = spec.direction == Direction::Ingress;
    let named = [&spec.source_tags, &spec.source_service_accounts];
    let no_source = spec.source_ranges.is_empty() && named.iter().all(|names| names.is_empty());
    let no_destination = spec.destination_ranges.is_empty();
    Firewall {
        id,
        creation_timestamp,
        network: spec.network.clone(),
        direction: spec.direction,
        action: spec.action,
        priority: spec.priority,
        matches: spec.matches.clone(),
        source_ranges: if ingress && no_source { anywhere() } else { spec.source_ranges.clone() },
        source_tags: spec.source_tags.clone(),
        source_service_accounts: spec.source_service_accounts.clone(),
        destination_ranges: if !ingress && no_destination {
            anywhere()
        } else {
            spec.destination_ranges.clone()
        },
        target_tags: spec.target_tags.clone(),
        target_service_accounts: spec.target_service_accounts.clone(),
        disabled: spec.disabled,
        logging: spec.logging,
    }
}

/// Checks what a rule says of itself.
fn check(spec: &FirewallSpec) -> Result<(), Refusal> {
    if spec.action == Action::GotoNext {
        return Err(Refusal::invalid(
            "action",
            "goto_next",
            "Only a firewall policy's rule can have this action.",
        ));
    }
    let entries = if spec.action == Action::Allow { "allowed" } else { "denied" };
    if spec.matches.is_empty() {
        return Err(Refusal::invalid(entries, "", "At least one protocol must be specified."));
    }
    for (i, l4) in spec.matches.iter().enumerate() {
        if !l4.ports.is_empty() && !l4.protocol.has_ports() {
            let expected =
                format!("Ports may only be specified on TCP, UDP or SCTP, not on '{}'.", l4.protocol);
            return Err(Refusal::invalid(&format!("{entries}[{i}].ports"), l4.ports[0], expected));
        }
    }
    if let Some((field, value)) = misplaced(spec) {
        let direction = format!("{:?}", spec.direction).to_uppercase();
        let expected = format!("Cannot be specified for a rule whose direction is {direction}.");
        return Err(Refusal::invalid(field, value, expected));
    }
    let ranges = [("sourceRanges", &spec.source_ranges), ("destinationRanges", &spec.destination_ranges)];
    for (field, ranges) in ranges {
        if let Some(bad) = ranges.iter().find(|r| r.addr() != r.network()) {
            let expected = format!("Must be a CIDR range with no host bits set, such as '{}'.", bad.trunc());
            return Err(Refusal::invalid(field, bad, expected));
        }
    }
    check_families(spec)?;
    for (field, tags) in [("sourceTags", &spec.source_tags), ("targetTags", &spec.target_tags)] {
        tags.iter().enumerate().try_for_each(|(i, tag)| key::check_name(&format!("{field}[{i}]"), tag))?;
    }
    check_accounts(spec)?;
    check_sizes(spec)
}

/// A rule is about IPv4 or about IPv6, never both: neither in a list of ranges, nor in its two lists, of which the far end's
/// is the first.
/// Source: Google's documentation of VPC firewall rules, "Sources and destinations": either IPv4 or IPv6 ranges, but not
/// a combination of both.
pub(crate) fn check_family(lists: [(&str, &BTreeSet<IpNet>); 2]) -> Result<(), Refusal> {
    let ipv6 = |range: &IpNet| matches!(range, IpNet::V6(_));
    let mut all = lists.iter().flat_map(|(field, ranges)| ranges.iter().map(move |range| (field, range)));
    let first = all.next().is_some_and(|(_, first)| ipv6(first));
    match all.find(|(_, range)| ipv6(range) != first) {
        Some((field, range)) => {
            let expected = "A rule can have either IPv4 or IPv6 ranges, not a combination of both.";
            Err(Refusal::invalid(field, range, expected))
        }
        None => Ok(()),
    }
}

/// The same of a network's rule, whose far end is all of IPv4 where nothing is said of it.
fn check_families(spec: &FirewallSpec) -> Result<(), Refusal> {
    let (from, to) = (("sourceRanges", &spec.source_ranges), ("destinationRanges", &spec.destination_ranges));
    let ((field, far), near) = if spec.direction == Direction::Ingress { (from, to) } else { (to, from) };
    let named = !spec.source_tags.is_empty() || !spec.source_service_accounts.is_empty();
    let anywhere = BTreeSet::from([IpNet::default()]);
    check_family([(field, if far.is_empty() && !named { &anywhere } else { far }), near])
}

/// Service accounts are addresses, and a rule that has them has no tags.
fn check_accounts(spec: &FirewallSpec) -> Result<(), Refusal> {
    let lists = [
        ("sourceServiceAccounts", &spec.source_service_accounts),
        ("targetServiceAccounts", &spec.target_service_accounts),
    ];
    for (field, accounts) in lists {
        for (i, account) in accounts.iter().enumerate() {
            key::check_email(&format!("{field}[{i}]"), account)?;
        }
        let tag = spec.source_tags.first().or(spec.target_tags.first());
        if let (Some(account), Some(_)) = (accounts.first(), tag) {
            let expected = "Network tags and service accounts cannot be used in the same firewall rule.";
            return Err(Refusal::invalid(field, account, expected));
        }
    }
    Ok(())
}

/// How much a rule can say. Source: Google's documentation of VPC quotas, "Per firewall rule".
fn check_sizes(spec: &FirewallSpec) -> Result<(), Refusal> {
    for (field, size, most) in [
        ("sourceRanges", spec.source_ranges.len(), 5000),
        ("destinationRanges", spec.destination_ranges.len(), 5000),
        ("sourceTags", spec.source_tags.len(), 30),
        ("targetTags", spec.target_tags.len(), 70),
        ("sourceServiceAccounts", spec.source_service_accounts.len(), 10),
        ("targetServiceAccounts", spec.target_service_accounts.len(), 10),
    ] {
        if size > most {
            return Err(Refusal::TooLarge { field: field.to_owned(), most, size });
        }
    }
    Ok(())
}

/// A field that the rule's direction does not have, and the first value in it.
fn misplaced(spec: &FirewallSpec) -> Option<(&'static str, String)> {
    let source_tag = || Some(("sourceTags", spec.source_tags.first()?.clone()));
    let account = || Some(("sourceServiceAccounts", spec.source_service_accounts.first()?.clone()));
    match spec.direction {
        // Ranges of both ends are for both.
        Direction::Ingress => None,
        Direction::Egress => source_tag().or_else(account),
    }
}

/// Deletes a rule.
pub(crate) fn delete(world: &mut World, key: &FirewallKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.firewalls.remove(key).map(drop).ok_or_else(|| Refusal::not_found(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_ports_have_one_text_form() {
        for (text, want) in
            [("tcp", Protocol::TCP), ("TCP", Protocol::TCP), ("6", Protocol::TCP), ("all", Protocol::All)]
        {
            assert_eq!(text.parse(), Ok(want));
        }
        assert_eq!(Protocol::Number(89).to_string(), "89");
        assert!("256".parse::<Protocol>().is_err() && "foo".parse::<Protocol>().is_err());
        assert_eq!("80-90".parse(), Ok(PortRange { first: 80, last: 90 }));
        for bad in ["", "90-80", "65536", "-", "a", "1-2-3"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
        let l4 = L4::new(Protocol::TCP, vec!["22".parse().unwrap(), "80-90".parse().unwrap()]);
        assert_eq!(l4.to_string(), "tcp:22,80-90");
    }
}
