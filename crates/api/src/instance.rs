//! Instances: `compute.instances.*`.

use crate::failure::Failure;
use crate::outcome::{Commit, Effect, Outcome};
use crate::{Call, Handlers, details, image, interface, links, list, metadata, project, tag_binding, zone};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::Range;
use tombolo_model::details::check_labels;
use tombolo_model::instance::DEFAULT_ACCOUNT;
use tombolo_model::region::Region;
use tombolo_model::{Change, Instance, InstanceKey, InstanceSpec, Refusal, ServiceAccount, World};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.instances.aggregatedList", aggregated),
    ("compute.instances.delete", delete),
    ("compute.instances.get", get),
    ("compute.instances.getSerialPortOutput", serial_output),
    ("compute.instances.insert", insert),
    ("compute.instances.list", list),
    ("compute.instances.reset", reset),
    ("compute.instances.setDeletionProtection", set_deletion_protection),
    ("compute.instances.setLabels", set_labels),
    ("compute.instances.setMachineType", set_machine_type),
    ("compute.instances.setMetadata", set_metadata),
    ("compute.instances.setScheduling", set_scheduling),
    ("compute.instances.setServiceAccount", set_service_account),
    ("compute.instances.setTags", set_tags),
    ("compute.instances.start", start),
    ("compute.instances.stop", stop),
];

const SAID: &[&str] = &[
    "confidentialInstanceConfig",
    "deletionProtection",
    "description",
    "disks",
    "displayDevice",
    "guestAccelerators",
    "hostname",
    "keyRevocationActionType",
    "labels",
    "machineType",
    "minCpuPlatform",
    "networkPerformanceConfig",
    "reservationAffinity",
    "scheduling",
    "shieldedInstanceConfig",
    "shieldedInstanceIntegrityPolicy",
];
const DERIVED: &[&str] =
    &["canIpForward", "metadata", "name", "networkInterfaces", "params", "serviceAccounts", "tags", "zone"];

/// The instance in a call's path.
pub(crate) fn key(call: &Call<'_>) -> InstanceKey {
    // `setDeletionProtection` calls it a resource.
    let name =
        if call.param("instance").is_empty() { call.param("resource") } else { call.param("instance") };
    InstanceKey::new(call.project(), call.param("zone"), name)
}

/// The instance, or why there is none.
pub(crate) fn find<'w>(world: &'w World, key: &InstanceKey) -> Result<&'w Instance, Failure> {
    world.instances.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

/// The instances of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c InstanceKey, Value)> {
    let own = call.world().instances.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    list::in_place(call, ("instance", "instances"), own(call).map(|(key, wire)| (&*key.zone, wire)))
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (format!("zones/{}", key.zone), wire)).collect();
    list::aggregated(call, "compute#instanceAggregatedList", "instances", zone::zone_scopes(), items)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let zone = call.param("zone");
    let region = Region::of_zone(zone).map(|region| region.name).unwrap_or_default();
    let key = InstanceKey::new(call.project(), zone, name);
    if call.query("sourceInstanceTemplate").is_some() {
        return Err(Failure::unsupported("instance templates"));
    }
    let said =
        call.field("networkInterfaces").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let nics = said.iter().enumerate().map(|(index, nic)| interface::read(call, region, index, nic));
    let tags = call.field("tags.items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let spec = InstanceSpec {
        key: key.clone(),
        nics: nics.collect::<Result<_, _>>()?,
        tags: strings(tags),
        can_ip_forward: call.field("canIpForward").and_then(Value::as_bool) == Some(true),
        service_account: account(call)?,
        metadata: metadata::read(&call.body["metadata"])?,
    };
    if let Some(machine) = call.text("machineType") {
        check_machine_type(machine)?;
    }
    let mut details = details::read(call, SAID, DERIVED)?;
    details.extend(interface::kept(said));
    if let Some(scheduling) = call.field("scheduling") {
        // Here `false` says something: `automaticRestart` is true by default.
        details.insert("scheduling".to_owned(), scheduling.clone());
    }
    for (index, disk) in call.field("disks").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let labels = format!("disks[{index}].initializeParams.labels");
        check_labels(&labels, &disk["initializeParams"]["labels"])?;
        if let Some(said) = disk["initializeParams"]["sourceImage"].as_str() {
            image::source(call.project(), said)?;
        }
    }
    let mut changes = vec![Change::InstanceInsert(spec)];
    for (index, nic) in said.iter().enumerate() {
        changes.extend(interface::additions(call, &key, index, nic)?);
    }
    changes.extend(tag_binding::said(call, &key)?);
    changes.push(Change::Describe { resource: key.to_string(), details });
    Ok(Commit::compute(call, "insert", key, changes))
}

fn check_machine_type(link: &str) -> Result<(), Failure> {
    let machine = links::last(link);
    if zone::is_machine_type(machine) {
        return Ok(());
    }
    Err(Refusal::invalid("machineType", machine, "The referenced resource does not exist.").into())
}

/// The service account that a new instance is to have.
fn account(call: &Call<'_>) -> Result<Option<ServiceAccount>, Failure> {
    let said = call.field("serviceAccounts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match said {
        [] => Ok(None),
        [one] => Ok(Some(read_account(one["email"].as_str(), &one["scopes"]))),
        more => {
            let (field, size) = ("serviceAccounts".to_owned(), more.len());
            Err(Refusal::TooLarge { field, most: 1, size }.into())
        }
    }
}

/// A service account with its scopes; the project's default one when no address is said.
fn read_account(email: Option<&str>, scopes: &Value) -> ServiceAccount {
    let scopes = scopes.as_array().map(Vec::as_slice).unwrap_or_default();
    ServiceAccount {
        email: email.filter(|email| !email.is_empty()).unwrap_or(DEFAULT_ACCOUNT).to_owned(),
        scopes: scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

fn strings(items: &[Value]) -> BTreeSet<String> {
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    if details::get(call.world(), &key.to_string(), "deletionProtection") == Some(&Value::Bool(true)) {
        return Err(Failure::invalid(format!(
            "Invalid value for field 'resource.deletionProtection': 'true'. Resource cannot be deleted if it's \
             protected against deletion: {key}"
        )));
    }
    Ok(Commit::compute(call, "delete", &key, vec![Change::InstanceDelete(key.clone())]))
}

fn set_tags(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    details::fresh(call, "fingerprint", &links::fingerprint(&found.tags), details::STALE)?;
    let tags = strings(call.field("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default());
    let change = Change::InstanceSetTags { instance: key.clone(), tags };
    Ok(Commit::compute(call, "setTags", key, vec![change]))
}

fn set_metadata(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    metadata::fresh(call, &found.metadata)?;
    let metadata = metadata::read(&call.body)?;
    let change = Change::InstanceSetMetadata { instance: key.clone(), metadata };
    Ok(Commit::compute(call, "setMetadata", key, vec![change]))
}

fn start(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "start", &key, vec![Change::InstanceStart(key.clone())]))
}

fn stop(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "stop", &key, vec![Change::InstanceStop(key.clone())]))
}

fn reset(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "reset", &key, vec![Change::InstanceReset(key.clone())]))
}

fn set_labels(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let change = details::labels(call, &key)?;
    Ok(Commit::compute(call, "setLabels", key, vec![change]))
}

/// Shuts an instance's deletion off, or allows it.
fn set_deletion_protection(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let protect = call.query("deletionProtection").is_none() || call.flag("deletionProtection");
    let change = details::set(call.world(), &key, [("deletionProtection", json!(protect))]);
    Ok(Commit::compute(call, "setDeletionProtection", key, vec![change]))
}

fn set_machine_type(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    require_stopped(call, &key, "machine type")?;
    let machine = call.text("machineType").ok_or_else(|| Failure::required("machineType"))?;
    check_machine_type(machine)?;
    let change = details::set(call.world(), &key, [("machineType", json!(machine))]);
    Ok(Commit::compute(call, "setMachineType", key, vec![change]))
}

/// What is not said goes back to what is shown of an instance that says nothing.
fn set_scheduling(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let mut scheduling = default_scheduling();
    for (name, value) in call.body.as_object().into_iter().flatten() {
        scheduling[name.as_str()] = value.clone();
    }
    let change = details::set(call.world(), &key, [("scheduling", scheduling)]);
    Ok(Commit::compute(call, "setScheduling", key, vec![change]))
}

fn default_scheduling() -> Value {
    json!({
        "onHostMaintenance": "MIGRATE",
        "automaticRestart": true,
        "preemptible": false,
        "provisioningModel": "STANDARD",
    })
}

/// An empty address takes the service account away.
fn set_service_account(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let email = call.text("email").filter(|email| !email.is_empty());
    let account = email.map(|email| read_account(Some(email), call.field("scopes").unwrap_or(&Value::Null)));
    let change = Change::InstanceSetServiceAccount { instance: key.clone(), account };
    Ok(Commit::compute(call, "setServiceAccount", key, vec![change]))
}

/// What makes a VM can be changed only while it is none.
fn require_stopped(call: &Call<'_>, key: &InstanceKey, what: &'static str) -> Result<(), Failure> {
    if !find(call.world(), key)?.running {
        return Ok(());
    }
    Err(Refusal::MustBeStopped { instance: key.clone(), what }.into())
}

fn serial_output(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    if !find(call.world(), &key)?.running {
        return Err(Refusal::NotReady { resource: key.to_string() }.into());
    }
    let port = call.query("port").unwrap_or("1");
    match port.parse() {
        Ok(1) => {}
        // Nothing here ever writes to the others.
        Ok(2..=4) => {
            return Ok(Outcome::Reply(serial_port_output(&key, "", 0..0)));
        }
        _ => {
            let why = "Must be greater than or equal to 1 and less than or equal to 4";
            return Err(Failure::invalid(format!("Invalid value for field 'port': '{port}'. {why}")));
        }
    }
    let start = call.query("start").and_then(|start| start.parse().ok()).unwrap_or_default();
    Ok(Outcome::Effect(Effect::SerialOutput { instance: key, start }))
}

/// What an instance has printed on a serial port, on the wire: `contents` are these of its bytes.
pub fn serial_port_output(instance: &InstanceKey, contents: &str, bytes: Range<u64>) -> Value {
    json!({
        "kind": "compute#serialPortOutput",
        "contents": contents,
        "start": bytes.start.to_string(),
        "next": bytes.end.to_string(),
        "selfLink": links::link(format!("{instance}/serialPort")),
    })
}

/// An instance on the wire.
pub(crate) fn wire(world: &World, key: &InstanceKey, found: &Instance) -> Value {
    let zone = links::link(format!("projects/{}/zones/{}", key.project, key.zone));
    let path = key.to_string();
    let mut wire = json!({
        "kind": "compute#instance",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "tags": tags(found),
        "machineType": format!("{zone}/machineTypes/n1-standard-1"),
        "status": if found.running { "RUNNING" } else { "TERMINATED" },
        "zone": zone,
        "canIpForward": found.can_ip_forward,
        "networkInterfaces": Value::Null,
        "disks": [],
        "metadata": metadata_wire(found),
        "selfLink": links::link(key),
        "cpuPlatform": "Unknown CPU Platform",
        "startRestricted": false,
        "deletionProtection": false,
        "lastStartTimestamp": found.last_start.unwrap_or(found.creation_timestamp).to_string(),
    });
    if let Some(at) = found.last_stop {
        wire["lastStopTimestamp"] = json!(at.to_string());
    }
    details::add(world, &path, &mut wire);
    // After what was said, which has a part of each interface.
    wire["networkInterfaces"] = interface::wires(world, key, found);
    // Clients say machine types by whatever address they were pointed at.
    let machine = wire["machineType"].as_str().map(|machine| links::last(machine).to_owned());
    wire["machineType"] = json!(format!("{zone}/machineTypes/{}", machine.unwrap_or_default()));
    wire["scheduling"] = scheduling(&wire["scheduling"]);
    wire["labelFingerprint"] = json!(details::label_fingerprint(world, &path));
    for (index, disk) in wire["disks"].as_array_mut().into_iter().flatten().enumerate() {
        dress_disk(key, index, disk);
    }
    if let Some(account) = &found.service_account {
        let email = found.account_email(world, &key.project);
        wire["serviceAccounts"] = json!([{ "email": email, "scopes": account.scopes }]);
    }
    wire
}

/// The path of the image that the first disk was made from, if that was said.
pub(crate) fn boot_image(world: &World, key: &InstanceKey) -> Option<String> {
    let disks = details::get(world, &key.to_string(), "disks")?.as_array()?;
    let said = disks.first()?["initializeParams"]["sourceImage"].as_str()?;
    let source = image::source(&key.project, said).ok()?;
    Some(links::path_of(&source.link).to_owned())
}

/// What was said of scheduling, and Google's defaults for the rest.
fn scheduling(said: &Value) -> Value {
    let mut scheduling = default_scheduling();
    if let (Some(all), Some(said)) = (scheduling.as_object_mut(), said.as_object()) {
        all.extend(said.clone());
    }
    scheduling
}

/// What Google adds to a disk that was said.
fn dress_disk(key: &InstanceKey, index: usize, disk: &mut Value) {
    let name = disk["initializeParams"]["diskName"].as_str().unwrap_or(&key.name).to_owned();
    let image = disk["initializeParams"]["sourceImage"].as_str();
    let least =
        image.and_then(|said| image::source(&key.project, said).ok()).map_or(10, |image| image.size_gb);
    let size =
        disk["initializeParams"]["diskSizeGb"].as_str().map_or_else(|| least.to_string(), str::to_owned);
    disk["kind"] = json!("compute#attachedDisk");
    disk["index"] = json!(index);
    for (field, value) in [
        ("type", json!("PERSISTENT")),
        ("mode", json!("READ_WRITE")),
        ("deviceName", json!(format!("persistent-disk-{index}"))),
        ("diskSizeGb", json!(size)),
        ("interface", json!("SCSI")),
        ("source", json!(links::link(format!("projects/{}/zones/{}/disks/{name}", key.project, key.zone)))),
    ] {
        if disk[field].is_null() {
            disk[field] = value;
        }
    }
    // What a disk was made from is not shown with its instance.
    disk.as_object_mut().map(|map| map.shift_remove("initializeParams"));
}

fn tags(found: &Instance) -> Value {
    let mut tags = json!({ "fingerprint": links::fingerprint(&found.tags) });
    if !found.tags.is_empty() {
        tags["items"] = json!(found.tags);
    }
    tags
}

fn metadata_wire(found: &Instance) -> Value {
    let items = found.metadata.iter().map(|(key, value)| json!({ "key": key, "value": value }));
    metadata::wire(&found.metadata, items.collect())
}
