//! The records of private zones: `dns.resourceRecordSets.*`, and `dns.changes.*`, which change several at once.

use crate::failure::Failure;
use crate::managed_zone::{find, key, lower, required};
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, list};
use serde_json::{Value, json};
use tombolo_model::managed_zone::{TYPES, record_key};
use tombolo_model::{Change, ManagedZone, ManagedZoneKey, RecordChange, RecordSet, World, rdata};

pub(crate) const HANDLERS: Handlers = &[
    ("dns.changes.create", create_change),
    ("dns.changes.get", get_change),
    ("dns.changes.list", list_changes),
    ("dns.resourceRecordSets.create", create),
    ("dns.resourceRecordSets.delete", delete),
    ("dns.resourceRecordSets.get", get),
    ("dns.resourceRecordSets.list", list),
    ("dns.resourceRecordSets.patch", patch),
];

/// Seconds, for records that say none.
const TTL: u32 = 300;

/// A record set that a body says.
fn read(field: &str, said: &Value) -> Result<RecordSet, Failure> {
    for (name, _) in said.as_object().into_iter().flatten().filter(|(_, value)| !details::is_empty(value)) {
        if !["kind", "name", "rrdatas", "ttl", "type"].contains(&name.as_str()) {
            return Err(Failure::unsupported(format_args!("the field '{field}.{name}'")));
        }
    }
    let text = |name: &str| said[name].as_str().filter(|text| !text.is_empty());
    let r#type = text("type").ok_or_else(|| required(&format!("{field}.type")))?;
    if !TYPES.contains(&r#type) {
        return Err(Failure::unsupported(format_args!("records of the type '{}'", r#type)));
    }
    let values = said["rrdatas"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rrdatas: Vec<String> = values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for (index, value) in rrdatas.iter().enumerate() {
        rdata::parse(r#type, value).map_err(|why| {
            Failure::invalid(format!("Invalid value for 'entity.{field}.rrdata[{index}]': '{value}'. {why}"))
        })?;
    }
    let ttl = said["ttl"].as_i64().map_or(Ok(TTL), u32::try_from);
    Ok(RecordSet {
        name: lower(text("name").ok_or_else(|| required(&format!("{field}.name")))?),
        r#type: r#type.to_owned(),
        ttl: ttl.map_err(|_| {
            Failure::invalid(format!("Invalid value for 'entity.{field}.ttl': '{}'", said["ttl"]))
        })?,
        rrdatas,
    })
}

fn wire(record: &RecordSet) -> Value {
    json!({
        "kind": "dns#resourceRecordSet",
        "name": record.name,
        "type": record.r#type,
        "ttl": record.ttl,
        "rrdatas": record.rrdatas,
        "signatureRrdatas": [],
    })
}

/// The record set in a call's path.
fn named<'w>(call: &Call<'_>, zone: &'w ManagedZone) -> Result<&'w RecordSet, Failure> {
    let (name, r#type) = (lower(call.param("name")), call.param("type"));
    zone.records.get(&record_key(&name, r#type)).ok_or_else(|| {
        let why =
            format!("The 'parameters.name' resource named '{name} ({type})' does not exist.", type = r#type);
        Failure::new(404, "notFound", why)
    })
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    Ok(Outcome::Reply(wire(named(call, find(call, &key(call))?)?)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.query("name").map(lower);
    if call.query("type").is_some() && name.is_none() {
        return Err(required("parameters.name"));
    }
    let zone = find(call, &key(call))?;
    let wanted = |record: &&RecordSet| {
        name.as_ref().is_none_or(|name| record.name == *name)
            && call.query("type").is_none_or(|r#type| record.r#type == r#type)
    };
    let items = zone.records.values().filter(wanted).map(wire).collect();
    list::dns(call, "dns#resourceRecordSetsListResponse", "rrsets", items)
}

/// A change of a zone's records, answered with one of them.
fn commit(
    call: &Call<'_>,
    key: ManagedZoneKey,
    deletions: Vec<RecordSet>,
    addition: RecordSet,
) -> Result<Outcome, Failure> {
    let zone = find(call, &key)?;
    let additions = vec![addition.clone()];
    check(zone, "rrset", "rrset", &deletions, &additions)?;
    let path = format!("{key}/rrsets/{}", addition.key());
    Ok(Commit::resource(
        call,
        path,
        vec![Change::RecordSetsChange { zone: key, deletions, additions }],
        by_path,
    ))
}

fn by_path(world: &World, path: &str) -> Value {
    let found = || {
        let (zone, record) = path.split_once("/rrsets/")?;
        let zone = world.managed_zones.get(&zone.parse::<ManagedZoneKey>().ok()?)?;
        zone.records.get(record).map(wire)
    };
    found().unwrap_or_default()
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    commit(call, key(call), Vec::new(), read("rrset", &call.body)?)
}

/// What is not said stays.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = named(call, find(call, &key)?)?.clone();
    let mut said = wire(&present);
    if let Some(said) = said.as_object_mut() {
        call.clear("", said);
    }
    for (name, value) in call.body.as_object().into_iter().flatten() {
        said[name.as_str()] = value.clone();
    }
    let record = read("rrset", &said)?;
    if record.key() != present.key() {
        return Err(Failure::unsupported("a change of the name or the type of a resource record set"));
    }
    commit(call, key, vec![present], record)
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = named(call, find(call, &key)?)?.clone();
    let change =
        Change::RecordSetsChange { zone: key.clone(), deletions: vec![present], additions: Vec::new() };
    Ok(Commit::resource(call, key, vec![change], |_, _| json!({})))
}

/// Refuses, in Google's words, what is not there to be deleted and what is there already.
fn check(
    zone: &ManagedZone,
    deleted: &str,
    added: &str,
    deletions: &[RecordSet],
    additions: &[RecordSet],
) -> Result<(), Failure> {
    let shown = |record: &RecordSet| format!("{} ({})", record.name, record.r#type);
    for (index, record) in deletions.iter().enumerate() {
        let field = format!("entity.{deleted}[{index}]");
        match zone.records.get(&record.key()) {
            Some(present) if present == record => {}
            Some(_) => return Err(Failure::condition_not_met(format!("Precondition not met for '{field}'"))),
            None => {
                let why = format!("The '{field}' resource named '{}' does not exist.", shown(record));
                return Err(Failure::new(404, "notFound", why));
            }
        }
    }
    for (index, record) in additions.iter().enumerate() {
        let replaced = deletions.iter().any(|deletion| deletion.key() == record.key());
        if zone.records.contains_key(&record.key()) && !replaced {
            let why =
                format!("The resource 'entity.{added}[{index}]' named '{}' already exists", shown(record));
            return Err(Failure::new(409, "alreadyExists", why));
        }
    }
    Ok(())
}

fn create_change(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let zone = find(call, &key)?;
    let records = |name: &str| {
        let said = call.field(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let read = |(index, said)| read(&format!("change.{name}[{index}]"), said);
        said.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()
    };
    let (deletions, additions) = (records("deletions")?, records("additions")?);
    if deletions.is_empty() && additions.is_empty() {
        return Err(required("change"));
    }
    check(zone, "change.deletions", "change.additions", &deletions, &additions)?;
    let path = change_path(&key, zone.next_change());
    let change = Change::RecordSetsChange { zone: key, deletions, additions };
    Ok(Commit::resource(call, path, vec![change], change_by_path))
}

fn change_path(key: &ManagedZoneKey, id: impl std::fmt::Display) -> String {
    format!("{key}/changes/{id}")
}

fn change_by_path(world: &World, path: &str) -> Value {
    let found = || {
        let (zone, id) = path.rsplit_once("/changes/")?;
        let zone = world.managed_zones.get(&zone.parse::<ManagedZoneKey>().ok()?)?;
        zone.changes.iter().find(|change| change.id.to_string() == id).map(change_wire)
    };
    found().unwrap_or_default()
}

/// A change is in force when it is answered.
fn change_wire(change: &RecordChange) -> Value {
    let records = |records: &[RecordSet]| records.iter().map(wire).collect::<Value>();
    let mut wire = json!({
        "kind": "dns#change",
        "id": change.id.to_string(),
        "startTime": change.time.to_string(),
        "status": "done",
        "isServing": true,
    });
    for (name, list) in [("additions", &change.additions), ("deletions", &change.deletions)] {
        if !list.is_empty() {
            wire[name] = records(list);
        }
    }
    wire
}

fn get_change(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call, &key)?;
    let id = call.param("changeId");
    match change_by_path(call.world(), &change_path(&key, id)) {
        Value::Null => {
            let why = format!("The 'parameters.changeId' resource named '{id}' does not exist.");
            Err(Failure::new(404, "notFound", why))
        }
        found => Ok(Outcome::Reply(found)),
    }
}

/// The latest first, unless asked otherwise.
fn list_changes(call: &Call<'_>) -> Result<Outcome, Failure> {
    let zone = find(call, &key(call))?;
    let ascending = call.query("sortOrder") == Some("ascending");
    let rank = |id: u64| format!("{:020}", if ascending { id } else { u64::MAX - id });
    let items = zone.changes.iter().map(|change| (rank(change.id), change_wire(change)));
    list::dns(call, "dns#changesListResponse", "changes", list::ranked(items))
}
