//! The scalars of the file: names, ranges, numbers, words. Each checks its own text and describes it.

use crate::diagnostic::{closest, shorten};
use crate::form::{Defs, Form, Reader};
use crate::node::{Kind, Node};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tombolo_model::{
    Action, AliasSpec, Direction, LogMetadata, NatRanges, PortRange, Protocol, Purpose, RedisTier, Refusal,
    StackType,
    flow_log::Interval,
    key::{check_name, check_project_id},
    managed_zone::TYPES,
    project::{COMPUTE, OTHERS, REDIS},
    region::{REGIONS, Region},
};

/// A regular expression for an IPv4 address as [`Ipv4Addr`] reads it.
const IPV4: &str =
    r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

/// A text with a format.
pub(crate) trait Text: Sized {
    /// Whether numbers and booleans count as their text too.
    const LOOSE: bool = false;

    /// Parses it; the error is the sentence that says what was expected.
    fn parse(text: &str) -> Result<Self, String>;

    /// Its schema; the type is a string unless said.
    fn format() -> Value;
}

impl<T: Text> Form for T {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let scalar = matches!(node.kind(), Kind::Boolean | Kind::Integer | Kind::Number);
        let Some(text) = node.text().filter(|_| node.kind() == Kind::String || (T::LOOSE && scalar)) else {
            let hint = if scalar { "a string (put it in quotes)" } else { "a string" };
            return reader.mistyped(node, hint);
        };
        T::parse(text).map_or_else(|expected| reader.invalid(node, expected), Some)
    }

    fn schema(_: &mut Defs) -> Value {
        let mut schema = T::format();
        if schema.get("type").is_none() {
            schema["type"] = "string".into();
        }
        schema
    }
}

/// What was expected, from the model's own refusal.
fn expected(refusal: Refusal) -> String {
    match refusal {
        Refusal::Invalid { expected, .. } => expected,
        other => other.to_string(),
    }
}

/// Defines a newtype of `String`.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident)+) => {
        $($(#[$doc])* #[derive(Clone, Debug, PartialEq, Eq)] pub(crate) struct $name(pub(crate) String);)+
    };
}
texts! {
    /// Any text.
    Plain
    /// Any text; a number or boolean is its text.
    Loose
    /// The name of a resource.
    Name
    /// A project's id.
    ProjectId
    /// A region.
    RegionName
    /// A zone.
    ZoneName
}

/// An alias range, or its length.
#[derive(Clone, Debug)]
pub(crate) struct AliasRange(pub(crate) AliasSpec);

impl Text for AliasRange {
    fn parse(text: &str) -> Result<Self, String> {
        AliasSpec::parse(text, None).map(Self).map_err(str::to_owned)
    }
    fn format() -> Value {
        let length = "/([12]?[0-9]|3[0-2])";
        json!({"pattern": format!("^({IPV4}({length})?|{length})$")})
    }
}

impl Text for Plain {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    fn format() -> Value {
        json!({})
    }
}

impl Text for Loose {
    const LOOSE: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    fn format() -> Value {
        json!({"type": ["string", "number", "boolean"]})
    }
}

impl Text for Name {
    fn parse(text: &str) -> Result<Self, String> {
        check_name("", text).map(|()| Self(text.to_owned())).map_err(expected)
    }
    fn format() -> Value {
        json!({"pattern": "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"})
    }
}

impl Text for ProjectId {
    fn parse(text: &str) -> Result<Self, String> {
        check_project_id(text).map(|()| Self(text.to_owned())).map_err(expected)
    }
    fn format() -> Value {
        json!({"pattern": "^[a-z][-a-z0-9]{4,28}[a-z0-9]$"})
    }
}

impl Text for RegionName {
    fn parse(text: &str) -> Result<Self, String> {
        let names = || REGIONS.iter().map(|r| r.name);
        let hint = || closest(text, names()).map(|r| format!(" Did you mean '{r}'?")).unwrap_or_default();
        Region::find(text)
            .map(|r| Self(r.name.to_owned()))
            .ok_or_else(|| format!("Unknown region.{}", hint()))
    }
    fn format() -> Value {
        json!({"enum": REGIONS.iter().map(|r| r.name).collect::<Vec<_>>()})
    }
}

impl Text for ZoneName {
    fn parse(text: &str) -> Result<Self, String> {
        if Region::of_zone(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        let zones = all_zones();
        let hint = closest(text, zones.iter().map(String::as_str));
        Err(format!("Unknown zone.{}", hint.map(|z| format!(" Did you mean '{z}'?")).unwrap_or_default()))
    }
    fn format() -> Value {
        json!({"enum": all_zones()})
    }
}

/// Every zone of every region.
fn all_zones() -> Vec<String> {
    REGIONS.iter().flat_map(|r| r.zones.chars().map(move |z| format!("{}-{z}", r.name))).collect()
}

impl Text for Ipv4Net {
    fn parse(text: &str) -> Result<Self, String> {
        let canonical = text.parse::<Ipv4Net>().ok().filter(|net| net.to_string() == text);
        canonical.ok_or_else(|| "Must be an IPv4 range in CIDR notation, such as '10.1.0.0/16'.".into())
    }
    fn format() -> Value {
        json!({"pattern": format!("^{IPV4}/(3[0-2]|[12]?[0-9])$")})
    }
}

impl Text for Ipv6Net {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "Must be an IPv6 range in CIDR notation, such as 'fd20:6bc:27e::/48'.".into())
    }
    fn format() -> Value {
        json!({"pattern": "^[0-9a-fA-F:]*:[0-9a-fA-F:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$"})
    }
}

impl Text for IpNet {
    fn parse(text: &str) -> Result<Self, String> {
        match text.contains(':') {
            true => <Ipv6Net as Text>::parse(text).map(IpNet::V6),
            false => <Ipv4Net as Text>::parse(text).map(IpNet::V4),
        }
    }
    fn format() -> Value {
        json!({"anyOf": [<Ipv4Net as Text>::format(), <Ipv6Net as Text>::format()]})
    }
}

/// A range, or the name of one.
#[derive(Clone, Debug)]
pub(crate) enum RangeOrName {
    Range(Ipv4Net),
    Name(String),
}

impl Text for RangeOrName {
    fn parse(text: &str) -> Result<Self, String> {
        match Name::parse(text) {
            Ok(Name(name)) => Ok(Self::Name(name)),
            Err(_) => <Ipv4Net as Text>::parse(text).map(Self::Range),
        }
    }
    fn format() -> Value {
        json!({"anyOf": [<Ipv4Net as Text>::format(), Name::format()]})
    }
}

impl Text for Ipv4Addr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "Must be an IPv4 address, such as '10.1.0.2'.".into())
    }
    fn format() -> Value {
        json!({"pattern": format!("^{IPV4}$")})
    }
}

impl Text for Protocol {
    const LOOSE: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "Must be tcp, udp, icmp, esp, ah, sctp, ipip, all or a protocol number.";
        text.parse().map_err(|_| expected.into())
    }
    fn format() -> Value {
        let names = ["tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "all"];
        let any_case = |c: char| format!("[{}{c}]", c.to_ascii_uppercase());
        let any_case = |name: &str| name.chars().map(any_case).collect::<String>();
        let pattern = format!("^({}|[0-9]{{1,3}})$", names.map(any_case).join("|"));
        json!({
            "type": ["string", "integer"], "minimum": 0, "maximum": 255,
            "anyOf": [{"enum": names}, {"pattern": pattern}],
        })
    }
}

impl Text for PortRange {
    const LOOSE: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "Must be a port or a port range, such as '22' or '8000-8999'.".into())
    }
    fn format() -> Value {
        json!({"type": ["string", "integer"], "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$", "minimum": 0, "maximum": 65535})
    }
}

impl Form for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.kind() {
            Kind::Boolean => Some(node.text().is_some_and(|t| t.eq_ignore_ascii_case("true"))),
            _ => reader.mistyped(node, "true or false"),
        }
    }
    fn schema(_: &mut Defs) -> Value {
        json!({"type": "boolean"})
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int<const MIN: u32, const MAX: u32>(pub(crate) u32);

/// A port.
pub(crate) type Port = Int<1, 65535>;

impl<const MIN: u32, const MAX: u32> Form for Int<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.kind() != Kind::Integer {
            return reader.mistyped(node, &format!("a whole number from {MIN} to {MAX}"));
        }
        match node.text().and_then(|t| t.parse().ok()) {
            Some(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => reader.invalid(node, format!("Must be between {MIN} and {MAX}.")),
        }
    }
    fn schema(_: &mut Defs) -> Value {
        json!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}

impl<const MIN: u32, const MAX: u32> Int<MIN, MAX> {
    /// The number as 16 bits; `MAX` is at most 65535 wherever this is asked.
    pub(crate) fn short(self) -> u16 {
        const { assert!(MAX <= 65535) };
        u16::try_from(self.0).unwrap_or(u16::MAX)
    }
}

/// A time in seconds, up to an hour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seconds(pub(crate) f64);

impl Form for Seconds {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.kind(), Kind::Integer | Kind::Number) {
            return reader.mistyped(node, "a number of seconds");
        }
        match node.text().and_then(|t| t.parse::<f64>().ok()) {
            Some(seconds) if (0.1..=3600.0).contains(&seconds) => Some(Self(seconds)),
            _ => reader.invalid(node, "Must be between 0.1 and 3600 seconds."),
        }
    }
    fn schema(_: &mut Defs) -> Value {
        json!({"type": "number", "minimum": 0.1, "maximum": 3600})
    }
}

/// A share of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share(pub(crate) f64);

impl Form for Share {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.kind(), Kind::Integer | Kind::Number) {
            return reader.mistyped(node, "a number from 0 to 1");
        }
        match node.text().and_then(|t| t.parse::<f64>().ok()) {
            Some(share) if (0.0..=1.0).contains(&share) => Some(Self(share)),
            _ => reader.invalid(node, "Must be between 0 and 1."),
        }
    }
    fn schema(_: &mut Defs) -> Value {
        json!({"type": "number", "minimum": 0, "maximum": 1})
    }
}

/// The type of a record set.
#[derive(Clone, Debug)]
pub(crate) struct RecordType(pub(crate) String);

impl Text for RecordType {
    fn parse(text: &str) -> Result<Self, String> {
        let known = TYPES.contains(&text);
        known.then(|| Self(text.to_owned())).ok_or_else(|| format!("Must be one of {}.", TYPES.join(", ")))
    }
    fn format() -> Value {
        json!({"enum": TYPES})
    }
}

/// A value that is one of a few words.
pub(crate) trait Words: Copy + 'static {
    /// The words and what they mean.
    const TABLE: &'static [(&'static str, Self)];
}

/// One of a few words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<T>(pub(crate) T);

impl<T: Words> Text for Word<T> {
    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<_> = T::TABLE.iter().map(|(word, _)| *word).collect();
        let found = T::TABLE.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Word(*value)).ok_or_else(|| format!("Must be {}.", words.join(" or ")))
    }
    fn format() -> Value {
        json!({"enum": T::TABLE.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
    }
}

impl Words for LogMetadata {
    const TABLE: &'static [(&'static str, Self)] = &[
        ("INCLUDE_ALL_METADATA", LogMetadata::IncludeAllMetadata),
        ("EXCLUDE_ALL_METADATA", LogMetadata::ExcludeAllMetadata),
    ];
}

impl Words for StackType {
    const TABLE: &'static [(&'static str, Self)] =
        &[("IPV4_ONLY", StackType::Ipv4Only), ("IPV4_IPV6", StackType::Ipv4Ipv6)];
}

impl Words for Interval {
    const TABLE: &'static [(&'static str, Self)] = &Interval::ALL;
}

/// Which addresses a Cloud NAT gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allocation {
    Auto,
}

impl Words for Allocation {
    const TABLE: &'static [(&'static str, Self)] = &[("AUTO_ONLY", Self::Auto)];
}

/// What a Cloud NAT gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    All(NatRanges),
    Listed,
}

impl Words for Sources {
    const TABLE: &'static [(&'static str, Self)] = &[
        ("ALL_SUBNETWORKS_ALL_IP_RANGES", Self::All(NatRanges::All)),
        ("ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", Self::All(NatRanges::Primary)),
        ("LIST_OF_SUBNETWORKS", Self::Listed),
    ];
}

impl Words for NatRanges {
    const TABLE: &'static [(&'static str, Self)] =
        &[("ALL_IP_RANGES", NatRanges::All), ("PRIMARY_IP_RANGE", NatRanges::Primary)];
}

/// Who sees a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Private,
}

impl Words for Visibility {
    const TABLE: &'static [(&'static str, Self)] = &[("private", Self::Private)];
}

/// Who knows the IPv6 addresses of a subnetwork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6Access {
    Internal,
}

impl Words for Ipv6Access {
    const TABLE: &'static [(&'static str, Self)] = &[("INTERNAL", Self::Internal)];
}

/// What a tag key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagPurpose {
    Firewall,
}

impl Words for TagPurpose {
    const TABLE: &'static [(&'static str, Self)] = &[("GCE_FIREWALL", Self::Firewall)];
}

/// All of the organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Everywhere {
    Auto,
}

impl Words for Everywhere {
    const TABLE: &'static [(&'static str, Self)] = &[("auto", Self::Auto)];
}

impl Words for Direction {
    const TABLE: &'static [(&'static str, Self)] =
        &[("INGRESS", Direction::Ingress), ("EGRESS", Direction::Egress)];
}

impl Words for Action {
    const TABLE: &'static [(&'static str, Self)] =
        &[("allow", Action::Allow), ("deny", Action::Deny), ("goto_next", Action::GotoNext)];
}

/// Whether a network's firewall policy comes before its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyOrder {
    After,
    Before,
}

impl Words for PolicyOrder {
    const TABLE: &'static [(&'static str, Self)] =
        &[("AFTER_CLASSIC_FIREWALL", Self::After), ("BEFORE_CLASSIC_FIREWALL", Self::Before)];
}

impl Words for Purpose {
    const TABLE: &'static [(&'static str, Self)] =
        &[("PRIVATE", Purpose::Private), ("PRIVATE_SERVICE_CONNECT", Purpose::PrivateServiceConnect)];
}

/// Which packets a forwarding rule takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForwardedProtocol {
    Tcp,
    Udp,
    All,
}

impl Words for ForwardedProtocol {
    const TABLE: &'static [(&'static str, Self)] =
        &[("TCP", Self::Tcp), ("UDP", Self::Udp), ("L3_DEFAULT", Self::All)];
}

/// Whose endpoints a service attachment takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    Automatic,
    Manual,
}

impl Words for Acceptance {
    const TABLE: &'static [(&'static str, Self)] =
        &[("ACCEPT_AUTOMATIC", Self::Automatic), ("ACCEPT_MANUAL", Self::Manual)];
}

impl Words for RedisTier {
    const TABLE: &'static [(&'static str, Self)] = &[("BASIC", RedisTier::Basic)];
}

/// Whether clients of a Redis instance speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransitEncryption {
    ServerAuthentication,
    Disabled,
}

impl Words for TransitEncryption {
    const TABLE: &'static [(&'static str, Self)] =
        &[("SERVER_AUTHENTICATION", Self::ServerAuthentication), ("DISABLED", Self::Disabled)];
}

/// How a Redis instance is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Direct,
    PrivateServices,
}

impl Words for Mode {
    const TABLE: &'static [(&'static str, Self)] =
        &[("DIRECT_PEERING", Mode::Direct), ("PRIVATE_SERVICE_ACCESS", Mode::PrivateServices)];
}

/// A service that a project can enable.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) String);

/// Every service that there is.
fn all_services() -> impl Iterator<Item = &'static str> {
    [COMPUTE, REDIS].into_iter().chain(OTHERS.iter().copied())
}

impl Text for Service {
    fn parse(text: &str) -> Result<Self, String> {
        if all_services().any(|known| known == text) {
            return Ok(Self(text.to_owned()));
        }
        let hint = closest(text, all_services()).map(|s| format!(" Did you mean '{s}'?")).unwrap_or_default();
        Err(format!("Unknown service.{hint}"))
    }
    fn format() -> Value {
        json!({"enum": all_services().collect::<Vec<_>>()})
    }
}

/// Whether an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Terminated,
}

impl Words for Status {
    const TABLE: &'static [(&'static str, Self)] =
        &[("RUNNING", Status::Running), ("TERMINATED", Status::Terminated)];
}

/// What a probe is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeProtocol {
    Icmp,
    Tcp,
    Udp,
}

impl Words for ProbeProtocol {
    const TABLE: &'static [(&'static str, Self)] =
        &[("icmp", ProbeProtocol::Icmp), ("tcp", ProbeProtocol::Tcp), ("udp", ProbeProtocol::Udp)];
}

/// The message for a name that the file does not have. Looks for what was meant among the first thousand.
pub(crate) fn unknown<'w>(what: &str, given: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    let hint = closest(given, known.into_iter().take(1000))
        .map(|k| format!(": did you mean '{k}'?"))
        .unwrap_or_default();
    format!("there is no {what} '{}' in this file{hint}", shorten(given))
}
