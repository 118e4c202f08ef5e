//! Service attachments of Private Service Connect: `compute.serviceAttachments.*`.
//!
//! What would change packets or names and is not done (the PROXY protocol, several NAT addresses for an endpoint, domain
//! names, propagation by Network Connectivity Center, lists of endpoints) is refused by name.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, forwarding_rule, links, list, project, zone};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::service_attachment::endpoints;
use tombolo_model::{
    Acceptance, Change, Consumer, ForwardingRuleKey, Refusal, ServiceAttachment, ServiceAttachmentKey,
    ServiceAttachmentSpec, SubnetworkKey, World,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.serviceAttachments.aggregatedList", aggregated),
    ("compute.serviceAttachments.delete", delete),
    ("compute.serviceAttachments.get", get),
    ("compute.serviceAttachments.insert", insert),
    ("compute.serviceAttachments.list", list),
    ("compute.serviceAttachments.patch", patch),
];

const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &[
    "connectedEndpoints",
    "connectionPreference",
    "consumerAcceptLists",
    "consumerRejectLists",
    "name",
    "natSubnets",
    "producerForwardingRule",
    "pscServiceAttachmentId",
    "reconcileConnections",
    "region",
    "targetService",
];

fn key(call: &Call<'_>) -> ServiceAttachmentKey {
    ServiceAttachmentKey::new(call.project(), call.param("region"), call.param("serviceAttachment"))
}

fn find<'w>(world: &'w World, key: &ServiceAttachmentKey) -> Result<&'w ServiceAttachment, Failure> {
    world.service_attachments.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    let mut wire = wire(call.world(), &key, find(call.world(), &key)?);
    if call.flag("showNatIps") {
        let shown = wire["connectedEndpoints"].as_array_mut().into_iter().flatten();
        for (shown, (_, endpoint)) in shown.zip(endpoints(call.world(), &key)) {
            if let Some(nat) = endpoint.nat {
                shown["natIps"] = json!([nat.to_string()]);
            }
        }
    }
    Ok(Outcome::Reply(wire))
}

/// The service attachments of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c ServiceAttachmentKey, Value)> {
    let own = call.world().service_attachments.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    list::in_place(
        call,
        ("serviceAttachment", "serviceAttachments"),
        own(call).map(|(key, wire)| (&*key.region, wire)),
    )
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (format!("regions/{}", key.region), wire)).collect();
    list::aggregated(
        call,
        "compute#serviceAttachmentAggregatedList",
        "serviceAttachments",
        zone::region_scopes(),
        items,
    )
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = ServiceAttachmentKey::new(call.project(), call.param("region"), name);
    let details = details::read(call, SAID, DERIVED)?;
    let target = target(call)?.ok_or_else(|| Failure::required("targetService"))?;
    let nat_subnetworks = nat_subnetworks(call)?.ok_or_else(|| Failure::required("natSubnets"))?;
    call.text("connectionPreference").ok_or_else(|| Failure::required("connectionPreference"))?;
    let acceptance = acceptance(call, Acceptance::default())?;
    let spec = ServiceAttachmentSpec { key: key.clone(), target, nat_subnetworks, acceptance };
    let changes =
        vec![Change::ServiceAttachmentInsert(spec), Change::Describe { resource: key.to_string(), details }];
    Ok(Commit::compute(call, "insert", key, changes))
}

/// PATCH: what is not said stays.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    let present = wire(call.world(), &key, found);
    details::unless_stale(call, &present)?;
    let itself = [
        "connectedEndpoints",
        "connectionPreference",
        "consumerAcceptLists",
        "consumerRejectLists",
        "natSubnets",
        "producerForwardingRule",
        "pscServiceAttachmentId",
        "reconcileConnections",
        "targetService",
    ];
    let described = details::patch(call, &key, &present, SAID, DERIVED, &itself)?;
    let spec = ServiceAttachmentSpec {
        key: key.clone(),
        target: target(call)?.unwrap_or_else(|| found.target.clone()),
        nat_subnetworks: nat_subnetworks(call)?.unwrap_or_else(|| found.nat_subnetworks.clone()),
        acceptance: acceptance(call, found.acceptance.clone())?,
    };
    let changes = vec![Change::ServiceAttachmentUpdate(spec), described];
    Ok(Commit::compute(call, "patch", key, changes))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::ServiceAttachmentDelete(key.clone())]))
}

/// The forwarding rule that is published; the older field says the same.
fn target(call: &Call<'_>) -> Result<Option<ForwardingRuleKey>, Failure> {
    let fields = ["targetService", "producerForwardingRule"];
    let Some((field, link)) = fields.into_iter().find_map(|field| Some((field, call.text(field)?))) else {
        return Ok(None);
    };
    match links::resource(call.project(), link) {
        Some(key) => Ok(Some(key)),
        None => Err(Refusal::invalid(field, link, "Must be the URL of a regional forwarding rule.").into()),
    }
}

fn nat_subnetworks(call: &Call<'_>) -> Result<Option<Vec<SubnetworkKey>>, Failure> {
    let Some(said) = call.field("natSubnets").and_then(Value::as_array) else {
        return Ok(call.clears("natSubnets").then(Vec::new));
    };
    let one = |(i, link): (usize, &Value)| -> Result<SubnetworkKey, Failure> {
        let link = link.as_str().unwrap_or_default();
        let malformed =
            || Refusal::invalid(&format!("natSubnets[{i}]"), link, "The URL is malformed.").into();
        links::subnetwork(call.project(), call.param("region"), link).ok_or_else(malformed)
    };
    said.iter().enumerate().map(one).collect::<Result<_, _>>().map(Some)
}

/// Whose endpoints are taken: what is said, and otherwise what was.
fn acceptance(call: &Call<'_>, was: Acceptance) -> Result<Acceptance, Failure> {
    let list = |field: &str| call.field(field).and_then(Value::as_array);
    let says = |field: &str| list(field).is_some() || call.clears(field);
    let manual = match call.text("connectionPreference") {
        Some("ACCEPT_MANUAL") => true,
        Some("ACCEPT_AUTOMATIC") => false,
        Some(other) => {
            let expected = "Must be ACCEPT_AUTOMATIC or ACCEPT_MANUAL.";
            return Err(Refusal::invalid("connectionPreference", other, expected).into());
        }
        None => was.manual,
    };
    let reconcile = call.field("reconcileConnections").and_then(Value::as_bool);
    let reconcile = reconcile.unwrap_or(was.reconcile && !call.clears("reconcileConnections"));
    let mut accept = if says("consumerAcceptLists") { BTreeMap::new() } else { was.accept };
    for (i, one) in list("consumerAcceptLists").into_iter().flatten().enumerate() {
        let field = |name: &str| format!("consumerAcceptLists[{i}].{name}");
        let text = |name: &str| one[name].as_str().filter(|text| !text.is_empty());
        if text("endpointUrl").is_some() {
            return Err(Failure::unsupported(format_args!("the field '{}'", field("endpointUrl"))));
        }
        let who = match (text("projectIdOrNum"), text("networkUrl")) {
            (Some(project), None) => consumer(call, project),
            (None, Some(network)) => consumer(call, network),
            _ => None,
        };
        let expected = "Exactly one of projectIdOrNum and networkUrl must be specified.";
        let who = who.ok_or_else(|| Refusal::invalid(&field("projectIdOrNum"), "", expected))?;
        let limit = one["connectionLimit"].as_u64().unwrap_or_default();
        let large = |_| Refusal::invalid(&field("connectionLimit"), limit, "It is too large.");
        accept.insert(who, u32::try_from(limit).map_err(large)?);
    }
    let mut reject = if says("consumerRejectLists") { BTreeSet::new() } else { was.reject };
    for (i, one) in list("consumerRejectLists").into_iter().flatten().enumerate() {
        let text = one.as_str().unwrap_or_default();
        let expected = "Must be a project or a network.";
        let wrong = || Refusal::invalid(&format!("consumerRejectLists[{i}]"), text, expected);
        reject.insert(consumer(call, text).ok_or_else(wrong)?);
    }
    Ok(Acceptance { manual, accept, reject, reconcile })
}

/// A project by its id or number, or a network by its link.
fn consumer(call: &Call<'_>, text: &str) -> Option<Consumer> {
    let text = text.strip_prefix("projects/").filter(|rest| !rest.contains('/')).unwrap_or(text);
    match text.contains('/') {
        true => links::network(call.project(), text).map(Consumer::Network),
        false => Some(Consumer::Project(text.to_owned())).filter(|_| !text.is_empty()),
    }
}

fn wire(world: &World, key: &ServiceAttachmentKey, found: &ServiceAttachment) -> Value {
    let Acceptance { manual, accept, reject, reconcile } = &found.acceptance;
    let mut wire = json!({
        "kind": "compute#serviceAttachment",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "region": links::link(format!("projects/{}/regions/{}", key.project, key.region)),
        "targetService": links::link(&found.target),
        "producerForwardingRule": links::link(&found.target),
        "connectionPreference": if *manual { "ACCEPT_MANUAL" } else { "ACCEPT_AUTOMATIC" },
        "natSubnets": found.nat_subnetworks.iter().map(|key| json!(links::link(key))).collect::<Value>(),
        "enableProxyProtocol": false,
        "reconcileConnections": reconcile,
        "pscServiceAttachmentId": { "high": links::id(found.id | 1 << 48), "low": links::id(found.id) },
        "selfLink": links::link(key),
    });
    let limits = accept.iter().map(|(who, limit)| match who {
        Consumer::Project(id) => json!({ "projectIdOrNum": id, "connectionLimit": limit }),
        Consumer::Network(key) => json!({ "networkUrl": links::link(key), "connectionLimit": limit }),
    });
    let rejected = reject.iter().map(|who| match who {
        Consumer::Project(id) => json!(id),
        Consumer::Network(key) => json!(links::link(key)),
    });
    let connected = endpoints(world, key).filter_map(|(at, endpoint)| {
        let rule = world.forwarding_rules.get(at)?;
        Some(json!({
            "endpoint": links::link(at),
            "status": endpoint.status.as_str(),
            "pscConnectionId": forwarding_rule::connection_id(rule),
            "consumerNetwork": links::link(&rule.network),
        }))
    });
    for (field, items) in [
        ("consumerAcceptLists", limits.collect::<Vec<_>>()),
        ("consumerRejectLists", rejected.collect()),
        ("connectedEndpoints", connected.collect()),
    ] {
        if !items.is_empty() {
            wire[field] = Value::Array(items);
        }
    }
    details::add(world, &key.to_string(), &mut wire);
    let said = world.details.get(&key.to_string());
    let state = (&found.target, &found.nat_subnetworks, &found.acceptance, said);
    wire["fingerprint"] = json!(links::fingerprint(&state));
    wire
}
