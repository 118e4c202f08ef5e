//! Subnetworks: `compute.subnetworks.*`.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, ipv6, links, list, project, zone};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tombolo_model::flow_log::FlowLog;
use tombolo_model::{Change, Details, Refusal, StackType, Subnetwork, SubnetworkKey, SubnetworkSpec, World};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.subnetworks.aggregatedList", aggregated),
    ("compute.subnetworks.delete", delete),
    ("compute.subnetworks.expandIpCidrRange", expand),
    ("compute.subnetworks.get", get),
    ("compute.subnetworks.insert", insert),
    ("compute.subnetworks.list", list),
    ("compute.subnetworks.patch", patch),
    ("compute.subnetworks.setPrivateIpGoogleAccess", set_private_access),
];

const SAID: &[&str] =
    &["description", "enableFlowLogs", "logConfig", "privateIpGoogleAccess", "privateIpv6GoogleAccess"];
const DERIVED: &[&str] = &[
    "gatewayAddress",
    "internalIpv6Prefix",
    "ipCidrRange",
    ACCESS,
    "ipv6CidrRange",
    "name",
    "network",
    "purpose",
    "region",
    "secondaryIpRanges",
    STACK,
];
/// Which versions of IP it has, and who knows its IPv6 addresses.
const STACK: &str = "stackType";
const ACCESS: &str = "ipv6AccessType";

fn key(call: &Call<'_>) -> SubnetworkKey {
    SubnetworkKey::new(call.project(), call.param("region"), call.param("subnetwork"))
}

fn find<'w>(world: &'w World, key: &SubnetworkKey) -> Result<&'w Subnetwork, Failure> {
    world.subnetworks.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

/// The subnetworks of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c SubnetworkKey, Value)> {
    let own = call.world().subnetworks.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    list::in_place(call, ("subnetwork", "subnetworks"), own(call).map(|(key, wire)| (&*key.region, wire)))
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (format!("regions/{}", key.region), wire)).collect();
    list::aggregated(call, "compute#subnetworkAggregatedList", "subnetworks", zone::region_scopes(), items)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let range = call.text("ipCidrRange").ok_or_else(|| Failure::required("ipCidrRange"))?;
    let network = call.text("network").ok_or_else(|| Failure::required("network"))?;
    let for_nat = match call.text("purpose") {
        None | Some("PRIVATE") => false,
        Some("PRIVATE_SERVICE_CONNECT") => true,
        Some(other) => {
            return Err(Failure::unsupported(format_args!("subnetworks whose purpose is '{other}'")));
        }
    };
    if for_nat && stack(call)? == StackType::Ipv4Ipv6 {
        return Err(Failure::unsupported("dual-stack subnetworks for Private Service Connect"));
    }
    for name in ["internalIpv6Prefix", "ipv6CidrRange"] {
        if call.text(name).is_some() {
            return Err(Failure::unsupported(format_args!("choosing a subnetwork's '{name}'")));
        }
    }
    let details = details::read(call, SAID, DERIVED)?;
    FlowLog::of(&details)?;
    let key = SubnetworkKey::new(call.project(), call.param("region"), name);
    let spec = SubnetworkSpec {
        key: key.clone(),
        network: links::network(call.project(), network)
            .ok_or_else(|| Refusal::invalid("network", network, "The URL is malformed."))?,
        range: range
            .parse()
            .map_err(|_| Refusal::invalid("ipCidrRange", range, "Must be a CIDR address range."))?,
        stack_type: stack(call)?,
        secondary: secondary(call)?.unwrap_or_default(),
        details,
    };
    let insert = if for_nat { Change::NatSubnetworkInsert(spec) } else { Change::SubnetworkInsert(spec) };
    Ok(Commit::compute(call, "insert", key, vec![insert]))
}

/// The stack type that a body says.
fn stack(call: &Call<'_>) -> Result<StackType, Failure> {
    let stack = ipv6::stack(call.field(STACK).unwrap_or(&Value::Null))?;
    ipv6::check_access(call)?;
    match (stack, call.text(ACCESS)) {
        (StackType::Ipv4Ipv6, None) => Err(Failure::required(ACCESS)),
        (StackType::Ipv4Only, Some(access)) => {
            let expected = "It can only be specified for a subnetwork whose stackType is IPV4_IPV6.";
            Err(Refusal::invalid(ACCESS, access, expected).into())
        }
        (stack, _) => Ok(stack),
    }
}

/// The secondary ranges that a body says, if it says any.
fn secondary(call: &Call<'_>) -> Result<Option<BTreeMap<String, Ipv4Net>>, Failure> {
    let Some(said) = call.field("secondaryIpRanges").and_then(Value::as_array) else { return Ok(None) };
    let mut ranges = BTreeMap::new();
    for (index, range) in said.iter().enumerate() {
        let field = |name: &str| format!("secondaryIpRanges[{index}].{name}");
        for name in ["ipCollection", "reservedInternalRange"] {
            if range[name].is_string() {
                return Err(Failure::unsupported(format_args!("the field '{}'", field(name))));
            }
        }
        let text = |name: &str| range[name].as_str().filter(|text| !text.is_empty());
        let name = text("rangeName").ok_or_else(|| Failure::required(&field("rangeName")))?;
        let cidr = text("ipCidrRange").ok_or_else(|| Failure::required(&field("ipCidrRange")))?;
        let parsed = cidr
            .parse()
            .map_err(|_| Refusal::invalid(&field("ipCidrRange"), cidr, "Must be a CIDR address range."))?;
        if ranges.insert(name.to_owned(), parsed).is_some() {
            let expected = "The names of secondary ranges must be unique in a subnetwork.";
            return Err(Refusal::invalid(&field("rangeName"), name, expected).into());
        }
    }
    Ok(Some(ranges))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::SubnetworkDelete(key.clone())]))
}

fn expand(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let text = call.text("ipCidrRange").ok_or_else(|| Failure::required("ipCidrRange"))?;
    let wrong = |_| Refusal::invalid("ipCidrRange", text, "Must be a CIDR address range.");
    let change = Change::SubnetworkExpand { subnetwork: key.clone(), range: text.parse().map_err(wrong)? };
    Ok(Commit::compute(call, "expandIpCidrRange", key, vec![change]))
}

/// PATCH, which must say the present fingerprint.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    let present = wire(call.world(), &key, found);
    let fingerprint = present["fingerprint"].as_str().unwrap_or_default();
    details::fresh(call, "fingerprint", fingerprint, details::STALE)?;
    let none = || call.clears("secondaryIpRanges").then(BTreeMap::new);
    let secondary = secondary(call)?
        .or_else(none)
        .map(|ranges| Change::SubnetworkSetSecondary { subnetwork: key.clone(), ranges });
    let mut change =
        details::patch(call, &key, &present, SAID, DERIVED, &["secondaryIpRanges", STACK, ACCESS])?;
    // What is said as it is changes nothing; there is no way back.
    let says = |name| call.field(name).filter(|said| present.get(name) != Some(said));
    let dual_stack = match (says(STACK), says(ACCESS)) {
        (None, _) if call.clears(STACK) && found.ipv6.is_some() => {
            return Err(Failure::unsupported("taking IPv6 from a subnetwork"));
        }
        (None, None) => None,
        (Some(stack), _) if ipv6::stack(stack)? == StackType::Ipv4Only => {
            return Err(Failure::unsupported("taking IPv6 from a subnetwork"));
        }
        _ => Some(stack(call)?).map(|_| Change::SubnetworkEnableIpv6(key.clone())),
    };
    if let Change::Describe { details, .. } = &mut change {
        agree_on_flow_logs(call, details);
        FlowLog::of(details)?;
    }
    Ok(Commit::compute(call, "patch", key, secondary.into_iter().chain(dual_stack).chain([change]).collect()))
}

/// `enableFlowLogs` is the old name of `logConfig.enable`: what is said now of the one is said of the other.
fn agree_on_flow_logs(call: &Call<'_>, details: &mut Details) {
    let [old, new] = ["enableFlowLogs", "logConfig"];
    if call.clears(new) && call.field(old).is_none() || call.clears("logConfig.enable") {
        details.remove(old);
    }
    let said = match call.field(old) {
        None if call.clears(old) => Some(Value::Bool(false)),
        said => said.cloned(),
    };
    let said = said.filter(|_| call.field(new).is_none());
    if let (Some(said), Some(config)) = (said, details.get_mut("logConfig")) {
        config["enable"] = said;
    }
}

fn set_private_access(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let value = call.field("privateIpGoogleAccess").cloned().unwrap_or(Value::Bool(false));
    let change = details::set(call.world(), &key, [("privateIpGoogleAccess", value)]);
    Ok(Commit::compute(call, "setPrivateIpGoogleAccess", key, vec![change]))
}

fn wire(world: &World, key: &SubnetworkKey, found: &Subnetwork) -> Value {
    let mut wire = json!({
        "kind": "compute#subnetwork",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "network": links::link(&found.network),
        "ipCidrRange": found.range.to_string(),
        "gatewayAddress": found.gateway().to_string(),
        "region": links::link(format!("projects/{}/regions/{}", key.project, key.region)),
        "selfLink": links::link(key),
        "privateIpGoogleAccess": false,
        "privateIpv6GoogleAccess": "DISABLE_GOOGLE_ACCESS",
        "purpose": found.purpose.as_str(),
    });
    if !found.secondary.is_empty() {
        let ranges = found.secondary.iter();
        let ranges =
            ranges.map(|(name, range)| json!({ "rangeName": name, "ipCidrRange": range.to_string() }));
        wire["secondaryIpRanges"] = ranges.collect();
    }
    details::add(world, &key.to_string(), &mut wire);
    // After what was said: earlier versions kept it there.
    wire[STACK] = json!(StackType::of(found.ipv6).as_str());
    if let Some(range) = found.ipv6 {
        wire[ACCESS] = json!(ipv6::INTERNAL);
        wire["internalIpv6Prefix"] = json!(ipv6::range(range));
        wire["ipv6CidrRange"] = wire["internalIpv6Prefix"].clone();
    }
    let log = world.details.get(&key.to_string()).and_then(|details| FlowLog::of(details).ok()?);
    match log {
        Some(log) => (wire["enableFlowLogs"], wire["logConfig"]) = (json!(true), log.wire()),
        None if wire.get("logConfig").is_some() => wire["enableFlowLogs"] = json!(false),
        None => {}
    }
    let state = (found.range, &found.secondary, found.ipv6, world.details.get(&key.to_string()));
    wire["fingerprint"] = json!(links::fingerprint(&state));
    wire
}
