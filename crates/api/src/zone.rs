//! Regions, zones and machine types: what every project has.

use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::{Call, Handlers, links, list, project};
use serde_json::{Value, json};
use tombolo_model::Refusal;
use tombolo_model::region::{REGIONS, Region};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.machineTypes.aggregatedList", aggregated_machine_types),
    ("compute.machineTypes.get", get_machine_type),
    ("compute.machineTypes.list", list_machine_types),
    ("compute.regions.get", get_region),
    ("compute.regions.list", list_regions),
    ("compute.zones.get", get_zone),
    ("compute.zones.list", list_zones),
];

/// Machine types: name, processors, memory in MiB. Source: Google's list of machine families.
const MACHINE_TYPES: &[(&str, u32, u32)] = &[
    ("e2-highcpu-2", 2, 2048),
    ("e2-medium", 2, 4096),
    ("e2-micro", 2, 1024),
    ("e2-small", 2, 2048),
    ("e2-standard-2", 2, 8192),
    ("e2-standard-4", 4, 16384),
    ("e2-standard-8", 8, 32768),
    ("f1-micro", 1, 614),
    ("g1-small", 1, 1740),
    ("n1-standard-1", 1, 3840),
    ("n1-standard-2", 2, 7680),
    ("n1-standard-4", 4, 15360),
    ("n2-standard-2", 2, 8192),
    ("n2-standard-4", 4, 16384),
];

/// Whether there is a machine type of that name, or a custom one.
pub(crate) fn is_machine_type(name: &str) -> bool {
    name.contains("custom-") || MACHINE_TYPES.iter().any(|(known, ..)| *known == name)
}

/// The region in a call's path, if there is such a one.
pub(crate) fn require_region<'c>(call: &'c Call<'_>) -> Result<&'c str, Failure> {
    known_region(call.param("region"))
}

/// The name of a region, if there is such a one.
pub(crate) fn known_region(name: &str) -> Result<&str, Failure> {
    Region::find(name).map(|_| name).ok_or_else(|| unknown("region", name))
}

/// The zone in a call's path, if there is such a one.
pub(crate) fn require_zone<'c>(call: &'c Call<'_>) -> Result<&'c str, Failure> {
    let name = call.param("zone");
    Region::of_zone(name).map(|_| name).ok_or_else(|| unknown("zone", name))
}

fn unknown(field: &str, name: &str) -> Failure {
    Failure::invalid(format!("Invalid value for field '{field}': '{name}'. Unknown {field}."))
}

/// `regions/NAME` of each.
pub(crate) fn region_scopes() -> impl Iterator<Item = String> {
    REGIONS.iter().map(|region| format!("regions/{}", region.name))
}

/// `zones/NAME` of each.
pub(crate) fn zone_scopes() -> impl Iterator<Item = String> {
    zones().map(|(zone, _)| format!("zones/{zone}"))
}

fn zones() -> impl Iterator<Item = (String, &'static Region)> {
    REGIONS.iter().flat_map(|region| {
        region.zones.chars().map(move |letter| (format!("{}-{letter}", region.name), region))
    })
}

/// A number that is the same for the same name, for ids of what nobody made.
fn number(name: &str) -> u64 {
    name.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(1_000_003) ^ u64::from(byte)) >> 4
}

fn get_region(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let name = call.param("region");
    let found = Region::find(name);
    let missing = || Refusal::not_found(format!("projects/{}/regions/{name}", call.project()));
    Ok(Outcome::Reply(region(call.project(), found.ok_or_else(missing)?)))
}

fn list_regions(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = list::fixed(REGIONS.iter().map(|found| region(call.project(), found)));
    list::compute(call, "compute#regionList", &format!("projects/{}/regions", call.project()), items)
}

fn region(project: &str, region: &Region) -> Value {
    let zones = region
        .zones
        .chars()
        .map(|letter| links::link(format!("projects/{project}/zones/{}-{letter}", region.name)));
    json!({
        "kind": "compute#region",
        "id": links::id(number(region.name)),
        "name": region.name,
        "description": region.name,
        "status": "UP",
        "zones": zones.collect::<Vec<_>>(),
        "selfLink": links::link(format!("projects/{project}/regions/{}", region.name)),
    })
}

fn get_zone(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let name = call.param("zone");
    let missing = || Refusal::not_found(format!("projects/{}/zones/{name}", call.project()));
    let found = Region::of_zone(name).ok_or_else(missing)?;
    Ok(Outcome::Reply(zone(call.project(), name, found)))
}

fn list_zones(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = list::fixed(zones().map(|(name, region)| zone(call.project(), &name, region)));
    list::compute(call, "compute#zoneList", &format!("projects/{}/zones", call.project()), items)
}

fn zone(project: &str, name: &str, region: &Region) -> Value {
    json!({
        "kind": "compute#zone",
        "id": links::id(number(name)),
        "name": name,
        "description": name,
        "status": "UP",
        "region": links::link(format!("projects/{project}/regions/{}", region.name)),
        "selfLink": links::link(format!("projects/{project}/zones/{name}")),
    })
}

fn get_machine_type(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (zone, name) = (require_zone(call)?, call.param("machineType"));
    let missing =
        || Refusal::not_found(format!("projects/{}/zones/{zone}/machineTypes/{name}", call.project()));
    let found = MACHINE_TYPES.iter().find(|(known, ..)| *known == name).ok_or_else(missing)?;
    Ok(Outcome::Reply(machine_type(call.project(), zone, found)))
}

fn list_machine_types(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let zone = require_zone(call)?;
    let items = list::fixed(MACHINE_TYPES.iter().map(|found| machine_type(call.project(), zone, found)));
    let path = format!("projects/{}/zones/{zone}/machineTypes", call.project());
    list::compute(call, "compute#machineTypeList", &path, items)
}

fn aggregated_machine_types(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let all = zones().flat_map(|(zone, _)| {
        MACHINE_TYPES
            .iter()
            .map(move |found| (format!("zones/{zone}"), machine_type(call.project(), &zone, found)))
            .collect::<Vec<_>>()
    });
    list::aggregated(call, "compute#machineTypeAggregatedList", "machineTypes", zone_scopes(), all.collect())
}

fn machine_type(project: &str, zone: &str, (name, processors, memory): &(&str, u32, u32)) -> Value {
    json!({
        "kind": "compute#machineType",
        "id": links::id(number(name)),
        "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
        "name": name,
        "description": format!("{processors} vCPUs, {memory} MB RAM"),
        "guestCpus": processors,
        "memoryMb": memory,
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "zone": zone,
        "selfLink": links::link(format!("projects/{project}/zones/{zone}/machineTypes/{name}")),
        "isSharedCpu": name.contains("micro") || name.contains("small") || name.contains("medium"),
    })
}
