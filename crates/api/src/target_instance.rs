//! Target instances: `compute.targetInstances.*`.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list, project, zone};
use serde_json::{Value, json};
use tombolo_model::{Change, Refusal, TargetInstance, TargetInstanceKey, TargetInstanceSpec, World};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.targetInstances.aggregatedList", aggregated),
    ("compute.targetInstances.delete", delete),
    ("compute.targetInstances.get", get),
    ("compute.targetInstances.insert", insert),
    ("compute.targetInstances.list", list),
];

const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &["instance", "name", "natPolicy", "network", "zone"];

fn key(call: &Call<'_>) -> TargetInstanceKey {
    TargetInstanceKey::new(call.project(), call.param("zone"), call.param("targetInstance"))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    let found = call.world().target_instances.get(&key).ok_or_else(|| Refusal::not_found(&key))?;
    Ok(Outcome::Reply(wire(call.world(), &key, found)))
}

/// The target instances of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c TargetInstanceKey, Value)> {
    let own = call.world().target_instances.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    list::in_place(
        call,
        ("targetInstance", "targetInstances"),
        own(call).map(|(key, wire)| (&*key.zone, wire)),
    )
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (format!("zones/{}", key.zone), wire)).collect();
    list::aggregated(
        call,
        "compute#targetInstanceAggregatedList",
        "targetInstances",
        zone::zone_scopes(),
        items,
    )
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = TargetInstanceKey::new(call.project(), call.param("zone"), name);
    let link = call.text("instance").ok_or_else(|| Failure::required("instance"))?;
    let malformed = |field: &str, link: &str| Refusal::invalid(field, link, "The URL is malformed.");
    let instance = links::resource(call.project(), link).ok_or_else(|| malformed("instance", link))?;
    let network = call
        .text("network")
        .map(|link| links::network(call.project(), link).ok_or_else(|| malformed("network", link)))
        .transpose()?;
    let changes = vec![
        Change::TargetInstanceInsert(TargetInstanceSpec { key: key.clone(), instance, network }),
        Change::Describe { resource: key.to_string(), details: details::read(call, SAID, DERIVED)? },
    ];
    Ok(Commit::compute(call, "insert", key, changes))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::TargetInstanceDelete(key.clone())]))
}

fn wire(world: &World, key: &TargetInstanceKey, found: &TargetInstance) -> Value {
    let mut wire = json!({
        "kind": "compute#targetInstance",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "zone": links::link(format!("projects/{}/zones/{}", key.project, key.zone)),
        "natPolicy": "NO_NAT",
        "instance": links::link(&found.instance),
        "selfLink": links::link(key),
    });
    if found.network_said {
        wire["network"] = json!(links::link(&found.network));
    }
    details::add(world, &key.to_string(), &mut wire);
    wire
}
