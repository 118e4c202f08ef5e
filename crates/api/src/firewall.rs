//! Firewall rules: `compute.firewalls.*`.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list, project};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use tombolo_model::{
    Action, Change, Direction, Firewall, FirewallKey, FirewallSpec, L4, LogMetadata, NetworkKey, Refusal,
    World,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.firewalls.delete", delete),
    ("compute.firewalls.get", get),
    ("compute.firewalls.insert", insert),
    ("compute.firewalls.list", list),
    ("compute.firewalls.patch", patch),
    ("compute.firewalls.update", update),
];

const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &[
    "allowed",
    "denied",
    "destinationRanges",
    "direction",
    "disabled",
    "logConfig",
    "name",
    "network",
    "priority",
    "sourceRanges",
    "sourceServiceAccounts",
    "sourceTags",
    "targetServiceAccounts",
    "targetTags",
];

fn key(call: &Call<'_>) -> FirewallKey {
    FirewallKey::new(call.project(), call.param("firewall"))
}

fn find<'w>(world: &'w World, key: &FirewallKey) -> Result<&'w Firewall, Failure> {
    world.firewalls.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let own = call.world().firewalls.iter().filter(|(key, _)| key.project == call.project());
    let items = own.map(|(key, found)| wire(call.world(), key, found)).collect();
    list::compute(
        call,
        "compute#firewallList",
        &format!("projects/{}/global/firewalls", call.project()),
        items,
    )
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = FirewallKey::new(call.project(), name);
    let spec = spec(call.project(), key.clone(), call.body.as_object())?;
    let details = details::read(call, SAID, DERIVED)?;
    let changes = vec![Change::FirewallInsert(spec), Change::Describe { resource: key.to_string(), details }];
    Ok(Commit::compute(call, "insert", key, changes))
}

/// PATCH: fields that are said replace the present ones, and those that are null are as if nobody had said them.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = wire(call.world(), &key, find(call.world(), &key)?);
    let mut merged = present.as_object().cloned().unwrap_or_default();
    let body = call.body.as_object().cloned().unwrap_or_default();
    // A rule allows or denies: saying the one takes the other back.
    for (said, other) in [("allowed", "denied"), ("denied", "allowed")] {
        if body.contains_key(said) {
            merged.shift_remove(other);
        }
    }
    call.clear("", &mut merged);
    // A rule stays in its network.
    merged.insert("network".to_owned(), present["network"].clone());
    merged.extend(body);
    replace(call, "patch", key, &merged)
}

/// PUT: the rule is what is said, and nothing else.
fn update(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let body = call.body.as_object().cloned().unwrap_or_default();
    replace(call, "update", key, &body)
}

fn replace(
    call: &Call<'_>,
    kind: &str,
    key: FirewallKey,
    body: &Map<String, Value>,
) -> Result<Outcome, Failure> {
    details::read(call, SAID, DERIVED)?;
    if let Some(name) = body.get("name").filter(|name| **name != key.name) {
        let said = name.as_str().unwrap_or_default();
        return Err(Failure::invalid(format!(
            "Invalid value for field 'resource.name': '{said}'. The name of '{}' cannot be changed.",
            key.name
        )));
    }
    let spec = spec(call.project(), key.clone(), Some(body))?;
    let said = SAID.iter().filter_map(|name| Some(((*name).to_owned(), body.get(*name)?.clone())));
    let changes = vec![
        Change::FirewallUpdate(spec),
        Change::Describe { resource: key.to_string(), details: said.collect() },
    ];
    Ok(Commit::compute(call, kind, key, changes))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::FirewallDelete(key.clone())]))
}

/// The rule that a body says.
fn spec(project: &str, key: FirewallKey, body: Option<&Map<String, Value>>) -> Result<FirewallSpec, Failure> {
    let empty = Map::new();
    let body = body.unwrap_or(&empty);
    let network = match body.get("network").and_then(Value::as_str) {
        None => NetworkKey::new(project, "default"),
        Some(link) => links::network(project, link)
            .ok_or_else(|| Refusal::invalid("network", link, "The URL is malformed."))?,
    };
    let mut spec = FirewallSpec::new(key, network);
    let entries = |name: &str| body.get(name).and_then(Value::as_array).filter(|items| !items.is_empty());
    match (entries("allowed"), entries("denied")) {
        (Some(_), Some(_)) => {
            return Err(Failure::invalid("Only one of 'allowed' and 'denied' may be specified."));
        }
        (Some(items), None) => spec.matches = matches("allowed", items)?,
        (None, denied) => {
            spec.action = if denied.is_some() { Action::Deny } else { Action::Allow };
            spec.matches = matches("denied", denied.map(Vec::as_slice).unwrap_or_default())?;
        }
    }
    if body.get("direction").and_then(Value::as_str) == Some("EGRESS") {
        spec.direction = Direction::Egress;
    }
    if let Some(priority) = body.get("priority").and_then(Value::as_i64) {
        spec.priority = u16::try_from(priority)
            .map_err(|_| Refusal::invalid("priority", priority, "Must be between 0 and 65535."))?;
    }
    spec.source_ranges = ranges(body, "sourceRanges")?;
    spec.destination_ranges = ranges(body, "destinationRanges")?;
    spec.source_tags = set(body, "sourceTags", "a network tag")?;
    spec.target_tags = set(body, "targetTags", "a network tag")?;
    spec.source_service_accounts = set(body, "sourceServiceAccounts", "a service account")?;
    spec.target_service_accounts = set(body, "targetServiceAccounts", "a service account")?;
    spec.disabled = body.get("disabled").and_then(Value::as_bool) == Some(true);
    spec.logging = logging(body)?;
    Ok(spec)
}

/// What `logConfig` says.
fn logging(body: &Map<String, Value>) -> Result<Option<LogMetadata>, Failure> {
    let Some(config) = body.get("logConfig").and_then(Value::as_object) else { return Ok(None) };
    let unknown = |name: &&String| !["enable", "metadata"].contains(&name.as_str());
    if let Some(name) = config.keys().find(unknown) {
        return Err(Failure::unsupported(format_args!("the field 'logConfig.{name}' of a firewall rule")));
    }
    let metadata = config.get("metadata").and_then(Value::as_str);
    let wrong = |expected: &str| {
        Failure::from(Refusal::invalid("logConfig.metadata", metadata.unwrap_or_default(), expected))
    };
    let enabled = config.get("enable").and_then(Value::as_bool) == Some(true);
    match (enabled, metadata) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(wrong("Can only be specified if logging is enabled.")),
        (true, None | Some("INCLUDE_ALL_METADATA")) => Ok(Some(LogMetadata::IncludeAllMetadata)),
        (true, Some("EXCLUDE_ALL_METADATA")) => Ok(Some(LogMetadata::ExcludeAllMetadata)),
        (true, Some(_)) => Err(wrong("Must be INCLUDE_ALL_METADATA or EXCLUDE_ALL_METADATA.")),
    }
}

/// The ranges of a list. A lone address is a range of one, whichever its family.
pub(crate) fn ranges(body: &Map<String, Value>, field: &str) -> Result<BTreeSet<IpNet>, Failure> {
    let parse = |text: &str| text.parse().or_else(|_| text.parse().map(|lone: IpAddr| lone.into()));
    parsed(body, field, "a CIDR range such as 10.0.0.0/8 or fd20::/20", parse)
}

/// The values of a list, each of which must be one of its kind.
pub(crate) fn set<T: FromStr + Ord>(
    body: &Map<String, Value>,
    field: &str,
    expected: &str,
) -> Result<BTreeSet<T>, Failure> {
    parsed(body, field, expected, T::from_str)
}

fn parsed<T: Ord, E>(
    body: &Map<String, Value>,
    field: &str,
    expected: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<BTreeSet<T>, Failure> {
    let items = body.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
        .map(|(index, text)| {
            let field = format!("{field}[{index}]");
            parse(text).map_err(|_| Refusal::invalid(&field, text, format!("Must be {expected}.")).into())
        })
        .collect()
}

fn matches(field: &str, items: &[Value]) -> Result<Vec<L4>, Failure> {
    let mut matches = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let wrong = |name: &str, value: &str, expected: String| {
            Failure::from(Refusal::invalid(&format!("{field}[{index}].{name}"), value, expected))
        };
        let protocol = item["IPProtocol"].as_str().unwrap_or_default();
        let parsed = protocol.parse().map_err(|error| wrong("IPProtocol", protocol, error))?;
        let ports = item["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ports = ports.iter().filter_map(Value::as_str);
        let ports = ports.map(|port| port.parse().map_err(|error| wrong("ports", port, error)));
        matches.push(L4::new(parsed, ports.collect::<Result<_, _>>()?));
    }
    Ok(matches)
}

/// A network's rules on the wire.
pub(crate) fn of_network(world: &World, network: &NetworkKey) -> Vec<Value> {
    let own = world.firewalls.iter().filter(|(_, rule)| rule.network == *network);
    own.map(|(key, rule)| wire(world, key, rule)).collect()
}

/// A rule on the wire.
pub(crate) fn wire(world: &World, key: &FirewallKey, found: &Firewall) -> Value {
    let mut wire = json!({
        "kind": "compute#firewall",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "network": links::link(&found.network),
        "priority": found.priority,
    });
    let mut add = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            wire[name] = json!(values);
        }
    };
    add("sourceRanges", found.source_ranges.iter().map(ToString::to_string).collect());
    add("destinationRanges", found.destination_ranges.iter().map(ToString::to_string).collect());
    add("sourceTags", found.source_tags.iter().cloned().collect());
    add("targetTags", found.target_tags.iter().cloned().collect());
    add("sourceServiceAccounts", found.source_service_accounts.iter().cloned().collect());
    add("targetServiceAccounts", found.target_service_accounts.iter().cloned().collect());
    let entries: Vec<Value> = found
        .matches
        .iter()
        .map(|l4| {
            let mut entry = json!({ "IPProtocol": l4.protocol.to_string() });
            if !l4.ports.is_empty() {
                entry["ports"] = json!(l4.ports.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
            entry
        })
        .collect();
    wire[if found.action == Action::Allow { "allowed" } else { "denied" }] = Value::Array(entries);
    wire["direction"] = json!(if found.direction == Direction::Ingress { "INGRESS" } else { "EGRESS" });
    wire["disabled"] = json!(found.disabled);
    wire["selfLink"] = json!(links::link(key));
    details::add(world, &key.to_string(), &mut wire);
    // After what was said: earlier versions kept it there.
    wire["logConfig"] = match found.logging {
        None => json!({ "enable": false }),
        Some(metadata) => json!({ "enable": true, "metadata": metadata.as_str() }),
    };
    wire
}
