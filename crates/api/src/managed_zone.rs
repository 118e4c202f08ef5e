//! Private zones of Cloud DNS: `dns.managedZones.*` and the operations on them.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list, project};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tombolo_model::{
    Change, Details, ManagedZone, ManagedZoneKey, ManagedZoneSpec, NetworkKey, Timestamp, World, project::DNS,
};

pub(crate) const HANDLERS: Handlers = &[
    ("dns.managedZoneOperations.get", get_operation),
    ("dns.managedZoneOperations.list", list_operations),
    ("dns.managedZones.create", create),
    ("dns.managedZones.delete", delete),
    ("dns.managedZones.get", get),
    ("dns.managedZones.list", list),
    ("dns.managedZones.patch", update),
    ("dns.managedZones.update", update),
];

const SAID: &[&str] = &[LOGGING, "description", "labels"];
const LOGGING: &str = "cloudLoggingConfig";
const DERIVED: &[&str] = &[
    "creationTime",
    "dnsName",
    "name",
    "nameServers",
    "peeringConfig",
    "privateVisibilityConfig",
    "visibility",
];

/// The zone in a call's path, which may be its name or its number.
pub(crate) fn key(call: &Call<'_>) -> ManagedZoneKey {
    let said = call.param("managedZone");
    let own = call.world().managed_zones.iter().filter(|(key, _)| key.project == call.project());
    let numbered = own.into_iter().find(|(_, zone)| links::id(zone.id) == said).map(|(key, _)| key.clone());
    numbered.unwrap_or_else(|| ManagedZoneKey::new(call.project(), said))
}

/// The zone that a call is about.
pub(crate) fn find<'w>(call: &Call<'w>, key: &ManagedZoneKey) -> Result<&'w ManagedZone, Failure> {
    project::require(call, DNS)?;
    call.world().managed_zones.get(key).map(|zone| &**zone).ok_or_else(|| {
        let why = format!("The 'parameters.managedZone' resource named '{}' does not exist.", key.name);
        Failure::new(404, "notFound", why)
    })
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call, &key).map(|zone| Outcome::Reply(wire(call.world(), &key, zone)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require(call, DNS)?;
    let own = call.world().managed_zones.iter().filter(|(key, _)| key.project == call.project());
    let named = own.filter(|(_, zone)| call.query("dnsName").is_none_or(|name| zone.dns_name == lower(name)));
    let items = named.map(|(key, zone)| wire(call.world(), key, zone)).collect();
    list::dns(call, "dns#managedZonesListResponse", "managedZones", items)
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| required("managedZone.name"))?;
    let dns_name = call.text("dnsName").ok_or_else(|| required("managedZone.dnsName"))?;
    let key = ManagedZoneKey::new(call.project(), name);
    project::require(call, DNS)?;
    if call.world().managed_zones.contains_key(&key) {
        let why = format!("The resource 'entity.managedZone' named '{name}' already exists");
        return Err(Failure::new(409, "alreadyExists", why));
    }
    // What is public would be asked for from the internet, which there is not.
    if call.text("visibility").unwrap_or("public") != "private" {
        return Err(Failure::unsupported("public zones; the field 'visibility' must be 'private'"));
    }
    let spec = ManagedZoneSpec {
        key: key.clone(),
        dns_name: lower(dns_name),
        networks: networks(call)?.unwrap_or_default(),
        peering: peering(call)?,
    };
    let details = logging(call, details::read(call, SAID, DERIVED)?)?;
    let changes =
        vec![Change::ManagedZoneInsert(spec), Change::Describe { resource: key.to_string(), details }];
    Ok(Commit::resource(call, key, changes, by_path))
}

/// PATCH, and PUT, which must say all.
fn update(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let zone = find(call, &key)?;
    let present = wire(call.world(), &key, zone);
    let itself = ["nameServers", "peeringConfig", "privateVisibilityConfig"];
    logging(call, Details::new())?;
    let describe = details::patch(call, &key, &present, SAID, DERIVED, &itself)?;
    let change = Change::ManagedZoneUpdate {
        zone: key.clone(),
        networks: match networks(call)? {
            Some(networks) => networks,
            None if call.clears("privateVisibilityConfig.networks") => BTreeSet::new(),
            None => zone.networks.clone(),
        },
        peering: match peering(call)? {
            None if call.clears("peeringConfig.targetNetwork.networkUrl") => None,
            peering => peering.or_else(|| zone.peering.clone()),
        },
    };
    let path = operation_path(&key, zone.next_update());
    Ok(Commit::resource(call, path, vec![change, describe], operation_by_path))
}

/// Adds what is said of logging: that there is none is said too, and read back.
fn logging(call: &Call<'_>, mut details: Details) -> Result<Details, Failure> {
    if let Some(said) = call.field(LOGGING) {
        if said["enableLogging"] == json!(true) {
            return Err(Failure::unsupported(
                "logging of queries; 'cloudLoggingConfig.enableLogging' must be false",
            ));
        }
        details.insert(LOGGING.to_owned(), said.clone());
    }
    Ok(details)
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call, &key)?;
    Ok(Commit::resource(call, &key, vec![Change::ManagedZoneDelete(key.clone())], |_, _| json!({})))
}

/// The networks that a body says; none when it does not say.
fn networks(call: &Call<'_>) -> Result<Option<BTreeSet<NetworkKey>>, Failure> {
    if call.field("privateVisibilityConfig.gkeClusters").is_some_and(|clusters| !details::is_empty(clusters))
    {
        return Err(Failure::unsupported("the field 'privateVisibilityConfig.gkeClusters'"));
    }
    let Some(said) = call.field("privateVisibilityConfig.networks").and_then(Value::as_array) else {
        return Ok(None);
    };
    said.iter()
        .map(|network| by_url(call, "privateVisibilityConfig.networks", network))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn peering(call: &Call<'_>) -> Result<Option<NetworkKey>, Failure> {
    let target = call.field("peeringConfig.targetNetwork").filter(|target| !details::is_empty(target));
    target.map(|target| by_url(call, "peeringConfig.targetNetwork", target)).transpose()
}

fn by_url(call: &Call<'_>, field: &str, said: &Value) -> Result<NetworkKey, Failure> {
    let url = said["networkUrl"].as_str().unwrap_or_default();
    links::network(call.project(), url).filter(|_| !url.is_empty()).ok_or_else(|| {
        Failure::invalid(format!("Invalid value for 'entity.managedZone.{field}.networkUrl': '{url}'"))
    })
}

pub(crate) fn required(field: &str) -> Failure {
    Failure::new(400, "required", format!("The 'entity.{field}' parameter is required but was missing."))
}

/// Names mean the same in whatever letters.
pub(crate) fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn by_path(world: &World, path: &str) -> Value {
    let key = path.parse::<ManagedZoneKey>().ok();
    let found = key.and_then(|key| world.managed_zones.get(&key).map(|zone| wire(world, &key, zone)));
    found.unwrap_or_default()
}

fn wire(world: &World, key: &ManagedZoneKey, zone: &ManagedZone) -> Value {
    let mut wire = json!({
        "kind": "dns#managedZone",
        "id": links::id(zone.id),
        "creationTime": zone.creation_timestamp.to_string(),
        "name": key.name,
        "dnsName": zone.dns_name,
        "description": "",
        "nameServers": ["ns-gcp-private.googledomains.com."],
        "visibility": "private",
        "privateVisibilityConfig": {
            "kind": "dns#managedZonePrivateVisibilityConfig",
            "networks": zone.networks.iter().map(|network| json!({
                "kind": "dns#managedZonePrivateVisibilityConfigNetwork",
                "networkUrl": links::link(network),
            })).collect::<Value>(),
        },
    });
    if let Some(target) = &zone.peering {
        wire["peeringConfig"] = json!({
            "kind": "dns#managedZonePeeringConfig",
            "targetNetwork": {
                "kind": "dns#managedZonePeeringConfigTargetNetwork",
                "networkUrl": links::link(target),
            },
        });
    }
    details::add(world, &key.to_string(), &mut wire);
    wire
}

fn operation_path(key: &ManagedZoneKey, number: u64) -> String {
    format!("{key}/operations/{number}")
}

fn operation_by_path(world: &World, path: &str) -> Value {
    let found = || {
        let (zone, number) = path.rsplit_once("/operations/")?;
        let (key, number) = (zone.parse::<ManagedZoneKey>().ok()?, number.parse::<u64>().ok()?);
        let zone = world.managed_zones.get(&key)?;
        let update = zone.updates.iter().find(|(known, _)| *known == number)?;
        Some(operation(world, &key, zone, *update))
    };
    found().unwrap_or_default()
}

/// An update of a zone, which is done when it is answered.
fn operation(
    world: &World,
    key: &ManagedZoneKey,
    zone: &ManagedZone,
    (number, time): (u64, Timestamp),
) -> Value {
    json!({
        "kind": "dns#operation",
        "id": number.to_string(),
        "startTime": time.to_string(),
        "status": "done",
        "type": "update",
        "zoneContext": { "newValue": wire(world, key, zone) },
    })
}

fn get_operation(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call, &key)?;
    let said = call.param("operation");
    match operation_by_path(call.world(), &format!("{key}/operations/{said}")) {
        Value::Null => {
            let why = format!("The 'parameters.operation' resource named '{said}' does not exist.");
            Err(Failure::new(404, "notFound", why))
        }
        found => Ok(Outcome::Reply(found)),
    }
}

fn list_operations(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let zone = find(call, &key)?;
    let one = |update: &(u64, Timestamp)| {
        (format!("{:020}", update.0), operation(call.world(), &key, zone, *update))
    };
    let items = list::ranked(zone.updates.iter().map(one));
    list::dns(call, "dns#managedZoneOperationsListResponse", "operations", items)
}
