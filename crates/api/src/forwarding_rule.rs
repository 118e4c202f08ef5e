//! Forwarding rules: `compute.forwardingRules.*`.
//!
//! There are two kinds here: those to a target instance (`INTERNAL`), and endpoints of Private Service Connect, whose
//! target is a service attachment and which have no load balancing scheme. Load balancers, external forwarding and endpoints
//! for Google's own APIs are refused by name.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, address, details, links, list, project, zone};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tombolo_model::{
    AddressKey, Change, ConnectionStatus, Endpoint, Forward, ForwardSpec, ForwardingRule, ForwardingRuleKey,
    ForwardingRuleSpec, L4, NetworkKey, PortRange, Protocol, Refusal, Reserved, ServiceAttachmentKey,
    SubnetworkKey, TargetInstanceKey, World,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.forwardingRules.aggregatedList", aggregated),
    ("compute.forwardingRules.delete", delete),
    ("compute.forwardingRules.get", get),
    ("compute.forwardingRules.insert", insert),
    ("compute.forwardingRules.list", list),
    ("compute.forwardingRules.patch", patch),
    ("compute.forwardingRules.setLabels", set_labels),
    ("compute.forwardingRules.setTarget", set_target),
];

const SAID: &[&str] = &["description", "labels", "noAutomateDnsZone"];
const DERIVED: &[&str] = &[
    "IPAddress",
    "IPProtocol",
    "allPorts",
    "allowGlobalAccess",
    "allowPscGlobalAccess",
    "ipVersion",
    "labelFingerprint",
    "loadBalancingScheme",
    "name",
    "network",
    "networkTier",
    "ports",
    "pscConnectionId",
    "pscConnectionStatus",
    "region",
    "subnetwork",
    "target",
];

/// The values that are supported of fields whose others are not.
const ONLY: &[(&str, &str)] = &[("ipVersion", "IPV4"), ("networkTier", "PREMIUM")];

fn key(call: &Call<'_>) -> ForwardingRuleKey {
    // Labels are set on a `resource`, everything else is done to a `forwardingRule`.
    let name = match call.param("forwardingRule") {
        "" => call.param("resource"),
        name => name,
    };
    ForwardingRuleKey::new(call.project(), call.param("region"), name)
}

fn find<'w>(world: &'w World, key: &ForwardingRuleKey) -> Result<&'w ForwardingRule, Failure> {
    world.forwarding_rules.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

/// The forwarding rules of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c ForwardingRuleKey, Value)> {
    let own = call.world().forwarding_rules.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    list::in_place(
        call,
        ("forwardingRule", "forwardingRules"),
        own(call).map(|(key, wire)| (&*key.region, wire)),
    )
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (format!("regions/{}", key.region), wire)).collect();
    let scopes = std::iter::once("global".to_owned()).chain(zone::region_scopes());
    list::aggregated(call, "compute#forwardingRuleAggregatedList", "forwardingRules", scopes, items)
}

/// What a new rule leads to.
enum Target {
    Instance(TargetInstanceKey),
    Service(ServiceAttachmentKey),
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = ForwardingRuleKey::new(call.project(), call.param("region"), name);
    let details = details::read(call, SAID, DERIVED)?;
    for (field, supported) in ONLY {
        if let Some(said) = call.text(field).filter(|said| said != supported) {
            return Err(Failure::unsupported(format_args!("forwarding rules whose {field} is '{said}'")));
        }
    }
    let (to, global) = match target(call)? {
        Target::Instance(target) => {
            refuse(call, "allowPscGlobalAccess", "It is for endpoints of Private Service Connect only.")?;
            let to = ForwardSpec::Instance { target, takes: takes(call)? };
            (to, call.field("allowGlobalAccess") == Some(&json!(true)))
        }
        Target::Service(attachment) => {
            for field in ["IPProtocol", "allPorts", "allowGlobalAccess", "ports"] {
                refuse(call, field, "An endpoint of Private Service Connect has none.")?;
            }
            (ForwardSpec::Service(attachment), call.field("allowPscGlobalAccess") == Some(&json!(true)))
        }
    };
    let (network, subnetwork, address) = place(call, &to)?;
    let spec = ForwardingRuleSpec { key: key.clone(), network, subnetwork, address, to, global };
    let changes =
        vec![Change::ForwardingRuleInsert(spec), Change::Describe { resource: key.to_string(), details }];
    Ok(Commit::compute(call, "insert", key, changes))
}

/// Refuses a field that says something.
fn refuse(call: &Call<'_>, field: &str, expected: &str) -> Result<(), Failure> {
    match call.field(field).filter(|value| !details::is_empty(value)) {
        Some(value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Err(Refusal::invalid(field, text, expected).into())
        }
        None => Ok(()),
    }
}

/// The target, which goes with a scheme.
fn target(call: &Call<'_>) -> Result<Target, Failure> {
    let link = call.text("target").ok_or_else(|| Failure::required("target"))?;
    let scheme = call.text("loadBalancingScheme");
    if let Some(attachment) = links::resource(call.project(), link) {
        let expected = "An endpoint of Private Service Connect has no load balancing scheme.";
        return match scheme {
            Some(scheme) => Err(Refusal::invalid("loadBalancingScheme", scheme, expected).into()),
            None => Ok(Target::Service(attachment)),
        };
    }
    let Some(target) = links::resource(call.project(), link) else {
        return Err(Failure::unsupported(format_args!(
            "forwarding rules whose target is '{link}', which is neither a target instance nor a service attachment"
        )));
    };
    match scheme {
        Some("INTERNAL") => Ok(Target::Instance(target)),
        scheme => {
            let scheme = scheme.unwrap_or("EXTERNAL");
            Err(Failure::unsupported(format_args!(
                "forwarding rules whose loadBalancingScheme is '{scheme}'"
            )))
        }
    }
}

/// Which packets a rule to a target instance takes.
fn takes(call: &Call<'_>) -> Result<L4, Failure> {
    let protocol = match call.text("IPProtocol").unwrap_or("TCP") {
        "TCP" => Protocol::TCP,
        "UDP" => Protocol::UDP,
        "L3_DEFAULT" => Protocol::All,
        other => {
            let what = format!("forwarding rules to target instances whose IPProtocol is '{other}'");
            return Err(Failure::unsupported(what));
        }
    };
    let said = call.field("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let one = |(i, port): (usize, &Value)| -> Result<PortRange, Failure> {
        let text = port.as_str().unwrap_or_default();
        let wrong = |_| Refusal::invalid(&format!("ports[{i}]"), text, "Must be a port.").into();
        text.parse().map_err(wrong)
    };
    let ports = said.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    let all = call.field("allPorts") == Some(&json!(true));
    if all != ports.is_empty() {
        let expected = "Exactly one of ports and allPorts must be specified.";
        return Err(Refusal::invalid("ports", said.len(), expected).into());
    }
    Ok(L4::new(protocol, ports))
}

/// The network, the subnetwork and the address that a body means.
fn place(
    call: &Call<'_>,
    to: &ForwardSpec,
) -> Result<(NetworkKey, SubnetworkKey, Option<Ipv4Addr>), Failure> {
    let (project, region) = (call.project(), call.param("region"));
    let malformed = |field: &str, link: &str| Refusal::invalid(field, link, "The URL is malformed.");
    let said = call
        .text("subnetwork")
        .map(|link| links::subnetwork(project, region, link).ok_or_else(|| malformed("subnetwork", link)))
        .transpose()?;
    let (address, of_address) = reserved(call)?;
    let subnetwork = said.or(of_address);
    let of_subnetwork = |key: &SubnetworkKey| call.world().subnetworks.get(key).map(|s| s.network.clone());
    let network = match (call.text("network"), subnetwork.as_ref().and_then(of_subnetwork)) {
        (Some(link), _) => links::network(project, link).ok_or_else(|| malformed("network", link))?,
        (None, Some(network)) => network,
        (None, None) => NetworkKey::new(project, "default"),
    };
    if let Some(subnetwork) = subnetwork {
        return Ok((network, subnetwork, address));
    }
    let found = call.world().networks.get(&network).ok_or_else(|| Refusal::not_found(&network))?;
    let automatic = SubnetworkKey::new(&network.project, region, &network.name);
    if found.auto_create_subnetworks && call.world().subnetworks.contains_key(&automatic) {
        return Ok((network, automatic, address));
    }
    // Of an endpoint the address says it.
    let near = |key: &SubnetworkKey, range: ipnet::Ipv4Net| {
        key.region == region && address.is_some_and(|address| range.contains(&address))
    };
    let mut own = call.world().subnetworks.iter().filter(|(_, found)| found.network == network);
    match own.find(|(key, found)| matches!(to, ForwardSpec::Service(_)) && near(key, found.range)) {
        Some((key, _)) => Ok((network, key.clone(), address)),
        None => {
            let expected = "Subnetwork should be specified for custom subnetmode network";
            Err(Refusal::invalid("subnetwork", "", expected).into())
        }
    }
}

/// The address that a body says: a number, the link of an address resource or its name; and the resource's subnetwork.
fn reserved(call: &Call<'_>) -> Result<(Option<Ipv4Addr>, Option<SubnetworkKey>), Failure> {
    let Some(text) = call.text("IPAddress") else { return Ok((None, None)) };
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok((Some(address), None));
    }
    let full = match text.contains('/') {
        true => text.to_owned(),
        false => format!("regions/{}/addresses/{text}", call.param("region")),
    };
    let address = address::resolve(call, "IPAddress", &full)?;
    let key: Option<AddressKey> = links::resource(call.project(), &full);
    let found = key.and_then(|key| call.world().addresses.get(&key));
    match found.map(|found| &found.reserved) {
        Some(Reserved::Internal { subnetwork, .. }) => Ok((Some(address), Some(subnetwork.clone()))),
        _ => Err(Refusal::invalid("IPAddress", text, "Must be an internal address.").into()),
    }
}

/// PATCH: whether clients of other regions may use it, and what no packet depends on.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    let present = wire(call.world(), &key, found);
    details::unless_stale(call, &present)?;
    let (own, other) = match &found.to {
        Forward::Instance { .. } => ("allowGlobalAccess", "allowPscGlobalAccess"),
        Forward::Service(_) => ("allowPscGlobalAccess", "allowGlobalAccess"),
    };
    refuse(call, other, "It is for forwarding rules of another kind.")?;
    let described = details::patch(call, &key, &present, SAID, DERIVED, &[own, other])?;
    let global = call.field(own).and_then(Value::as_bool).or(call.clears(own).then_some(false));
    let set = global.map(|global| Change::ForwardingRuleSetGlobal { rule: key.clone(), global });
    let changes = set.into_iter().chain([described]).collect();
    Ok(Commit::compute(call, "patch", key, changes))
}

fn set_target(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let link = call.text("target").ok_or_else(|| Failure::required("target"))?;
    let Some(target) = links::resource(call.project(), link) else {
        let what = format!("forwarding rules whose target is '{link}', which is no target instance");
        return Err(Failure::unsupported(what));
    };
    let changes = vec![Change::ForwardingRuleSetTarget { rule: key.clone(), target }];
    Ok(Commit::compute(call, "SetTarget", key, changes))
}

fn set_labels(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let change = details::labels(call, &key)?;
    Ok(Commit::compute(call, "setLabels", key, vec![change]))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::ForwardingRuleDelete(key.clone())]))
}

/// Google's name of what a rule takes.
pub(crate) fn protocol(takes: &L4) -> &'static str {
    match takes.protocol {
        Protocol::UDP => "UDP",
        Protocol::All => "L3_DEFAULT",
        Protocol::Number(_) => "TCP",
    }
}

/// The number of an endpoint's connection, as Google shows it.
pub(crate) fn connection_id(rule: &ForwardingRule) -> String {
    // Apart from the ids of resources.
    links::id(rule.id | 1 << 48)
}

fn wire(world: &World, key: &ForwardingRuleKey, found: &ForwardingRule) -> Value {
    let path = key.to_string();
    let mut wire = json!({
        "kind": "compute#forwardingRule",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "region": links::link(format!("projects/{}/regions/{}", key.project, key.region)),
        "IPAddress": found.address.to_string(),
        "network": links::link(&found.network),
        "networkTier": "PREMIUM",
        "labelFingerprint": details::label_fingerprint(world, &path),
        "selfLink": links::link(key),
    });
    match &found.to {
        Forward::Instance { target, takes } => {
            wire["IPProtocol"] = json!(protocol(takes));
            match takes.ports.is_empty() {
                true => wire["allPorts"] = json!(true),
                false => {
                    wire["ports"] = takes.ports.iter().map(|ports| json!(ports.to_string())).collect();
                }
            }
            wire["loadBalancingScheme"] = json!("INTERNAL");
            wire["subnetwork"] = json!(links::link(&found.subnetwork));
            wire["target"] = json!(links::link(target));
            wire["allowGlobalAccess"] = json!(found.global);
        }
        Forward::Service(Endpoint { attachment, status, .. }) => {
            wire["target"] = json!(links::link(attachment));
            wire["pscConnectionId"] = json!(connection_id(found));
            wire["pscConnectionStatus"] = json!(status.as_str());
            wire["allowPscGlobalAccess"] = json!(found.global);
        }
    }
    details::add(world, &path, &mut wire);
    let said = world.details.get(&path);
    wire["fingerprint"] = json!(links::fingerprint(&(state(found), found.global, said)));
    wire
}

/// What of a rule changes by itself or by other methods.
fn state(found: &ForwardingRule) -> (String, Option<ConnectionStatus>) {
    match &found.to {
        Forward::Instance { target, .. } => (target.to_string(), None),
        Forward::Service(endpoint) => (endpoint.attachment.to_string(), Some(endpoint.status)),
    }
}
