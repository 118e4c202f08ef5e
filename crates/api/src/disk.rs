//! Disks, as far as instances have them: each is shown where its instance says that it is. What a VM writes goes to
//! the lab's own file system, so a disk is a name and a size.

use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::{Call, Handlers, details, image, instance, links, list, project, zone};
use serde_json::{Value, json};
use tombolo_model::Refusal;

pub(crate) const HANDLERS: Handlers =
    &[("compute.disks.aggregatedList", aggregated), ("compute.disks.get", get), ("compute.disks.list", list)];

/// The disks of the project's instances, with their zones.
fn own(call: &Call<'_>) -> Vec<(String, Value)> {
    let instances = call.world().instances.iter().filter(|(key, _)| key.project == call.project());
    let disks = instances.flat_map(|(key, found)| {
        let wire = instance::wire(call.world(), key, found);
        let zone = wire["zone"].clone();
        let attached = wire["disks"].as_array().cloned().unwrap_or_default();
        let said = details::get(call.world(), &key.to_string(), "disks");
        attached.into_iter().enumerate().map(move |(index, disk)| {
            let params = said.map(|said| said[index]["initializeParams"].clone()).unwrap_or_default();
            let kind = params["diskType"].as_str().map_or("pd-standard", links::last);
            let source = disk["source"].as_str().unwrap_or_default().to_owned();
            let name = links::last(&source).to_owned();
            let mut made = json!({
                "kind": "compute#disk",
                "id": links::id(found.id << 8 | disk["index"].as_u64().unwrap_or_default() | 1 << 40),
                "creationTimestamp": found.creation_timestamp.to_string(),
                "name": name,
                "sizeGb": disk["diskSizeGb"],
                "zone": zone,
                "status": "READY",
                "type": format!("{}/diskTypes/{kind}", zone.as_str().unwrap_or_default()),
                "selfLink": source,
                "users": [links::link(key)],
                "labelFingerprint": links::fingerprint(&params["labels"]),
                "physicalBlockSizeBytes": "4096",
                "architecture": "X86_64",
            });
            if let Some(Ok(image)) = params["sourceImage"].as_str().map(|s| image::source(&key.project, s)) {
                made["sourceImage"] = json!(image.link);
            }
            if params["labels"].is_object() {
                made["labels"] = params["labels"].clone();
            }
            (key.zone.clone(), made)
        })
    });
    disks.collect()
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (zone, name) = (call.param("zone"), call.param("disk"));
    let found = own(call).into_iter().find(|(at, disk)| at == zone && disk["name"] == name);
    let missing =
        || Refusal::not_found(format!("projects/{}/zones/{zone}/disks/{name}", call.project())).into();
    found.map(|(_, disk)| Outcome::Reply(disk)).ok_or_else(missing)
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let zone = zone::require_zone(call)?;
    let items = own(call).into_iter().filter(|(at, _)| at == zone).map(|(_, disk)| disk).collect();
    list::compute(call, "compute#diskList", &format!("projects/{}/zones/{zone}/disks", call.project()), items)
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).into_iter().map(|(zone, disk)| (format!("zones/{zone}"), disk)).collect();
    list::aggregated(call, "compute#diskAggregatedList", "disks", zone::zone_scopes(), items)
}
