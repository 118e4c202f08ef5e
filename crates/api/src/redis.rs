//! Memorystore for Redis: `redis.projects.locations.*`.

use crate::failure::Failure;
use crate::operation::{Scope, utc};
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tombolo_memorystore::tls;
use tombolo_model::region::{REGIONS, Region};
use tombolo_model::{Change, ConnectMode, Redis, RedisKey, RedisSpec, RedisTier, Refusal, World, project};

pub(crate) const HANDLERS: Handlers = &[
    ("redis.projects.locations.get", get_location),
    ("redis.projects.locations.instances.create", create),
    ("redis.projects.locations.instances.delete", delete),
    ("redis.projects.locations.instances.get", get),
    ("redis.projects.locations.instances.getAuthString", get_auth_string),
    ("redis.projects.locations.instances.list", list),
    ("redis.projects.locations.instances.patch", patch),
    ("redis.projects.locations.list", list_locations),
];

const METADATA: &str = "type.googleapis.com/google.cloud.redis.v1.OperationMetadata";
const INSTANCE: &str = "type.googleapis.com/google.cloud.redis.v1.Instance";
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

const SAID: &[&str] = &["displayName", "labels", "locationId", "maintenancePolicy"];
const DERIVED: &[&str] = &[
    "authEnabled",
    "authorizedNetwork",
    "connectMode",
    "memorySizeGb",
    "name",
    "readReplicasMode",
    "redisConfigs",
    "redisVersion",
    "replicaCount",
    "reservedIpRange",
    "tier",
    "transitEncryptionMode",
];

/// The values that are supported of fields whose others are not.
const ONLY: &[(&str, &[&str])] = &[
    ("readReplicasMode", &["READ_REPLICAS_MODE_UNSPECIFIED", "READ_REPLICAS_DISABLED"]),
    ("redisVersion", &["REDIS_7_0"]),
    ("tier", &["BASIC"]),
    ("transitEncryptionMode", &["TRANSIT_ENCRYPTION_MODE_UNSPECIFIED", "SERVER_AUTHENTICATION", "DISABLED"]),
];

fn key(call: &Call<'_>) -> RedisKey {
    RedisKey::new(call.project(), call.param("locationsId"), call.param("instancesId"))
}

fn require(call: &Call<'_>) -> Result<(), Failure> {
    Ok(project::require(call.world(), call.project(), project::REDIS)?)
}

/// An instance that is not there, in this API's words.
fn missing(key: &RedisKey) -> Failure {
    Failure::new(404, "notFound", format!("Resource '{key}' was not found"))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let key = key(call);
    let found = call.world().redis.get(&key).ok_or_else(|| missing(&key))?;
    Ok(Outcome::Reply(wire(call.world(), &key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let location = call.param("locationsId");
    if location != "-" && Region::find(location).is_none() {
        return Err(unknown_location(location));
    }
    let wanted =
        |key: &RedisKey| key.project == call.project() && (location == "-" || key.region == location);
    let own = call.world().redis.iter().filter(|(key, _)| wanted(key));
    list::named(call, "instances", own.map(|(key, found)| wire(call.world(), key, found)).collect())
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let name = call
        .query("instanceId")
        .ok_or_else(|| Failure::bad_request("The field 'instance_id' is required."))?;
    let region = call.param("locationsId");
    if Region::find(region).is_none() {
        return Err(unknown_location(region));
    }
    for (field, supported) in ONLY {
        if let Some(said) = call.text(field).filter(|said| !supported.contains(said)) {
            return Err(Failure::unsupported(format_args!("Redis instances whose {field} is '{said}'")));
        }
    }
    if let Some(count) = call.field("replicaCount").and_then(Value::as_i64).filter(|count| *count != 0) {
        let expected = "Instances of the tier BASIC have no replicas.";
        return Err(Refusal::invalid("replicaCount", count, expected).into());
    }
    let key = RedisKey::new(call.project(), region, name);
    let network = call.text("authorizedNetwork").unwrap_or("default");
    let (range, connect_mode) = place(call)?;
    let memory = call.field("memorySizeGb").and_then(Value::as_u64).unwrap_or_default();
    let spec = RedisSpec {
        key: key.clone(),
        authorized_network: links::network(call.project(), network).ok_or_else(|| {
            Refusal::invalid(
                "authorizedNetwork",
                network,
                "Must be projects/PROJECT/global/networks/NETWORK.",
            )
        })?,
        reserved_ip_range: range,
        connect_mode,
        tier: RedisTier::Basic,
        memory_size_gb: u32::try_from(memory).unwrap_or(u32::MAX),
        tls: call.text("transitEncryptionMode") == Some("SERVER_AUTHENTICATION"),
    };
    let details = details::read(call, SAID, DERIVED)?;
    let settings = Change::RedisUpdate {
        redis: key.clone(),
        memory_size_gb: None,
        configs: Some(configs(call)),
        auth: Some(auth(call)),
    };
    let described = Change::Describe { resource: key.to_string(), details };
    let changes = vec![Change::RedisInsert(spec), settings, described];
    let scope = Scope::Location(region.to_owned());
    Ok(Commit::long_running(call, scope, key, changes, (METADATA, INSTANCE), by_path))
}

/// Where an instance is to be: `reservedIpRange` is a CIDR range with direct peering, and the name of an allocated range
/// with private services access. Source: the field's description in the discovery document.
fn place(call: &Call<'_>) -> Result<(Option<Ipv4Net>, ConnectMode), Failure> {
    let range = call.text("reservedIpRange");
    if call.text("connectMode") == Some("PRIVATE_SERVICE_ACCESS") {
        return Ok((None, ConnectMode::PrivateServiceAccess { range: range.map(str::to_owned) }));
    }
    let parsed = range.map(|range| range.parse()).transpose().map_err(|_| {
        Refusal::invalid("reservedIpRange", range.unwrap_or_default(), "Must be a /29 CIDR range.")
    })?;
    Ok((parsed, ConnectMode::DirectPeering))
}

/// The configuration that a body says.
fn configs(call: &Call<'_>) -> BTreeMap<String, String> {
    let said = call.field("redisConfigs").and_then(Value::as_object).into_iter().flatten();
    said.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn auth(call: &Call<'_>) -> bool {
    call.field("authEnabled").and_then(Value::as_bool) == Some(true)
}

/// PATCH: what the mask names. The server that runs is told, and goes on with its data.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let key = key(call);
    if !call.world().redis.contains_key(&key) {
        return Err(missing(&key));
    }
    let mask = call
        .query("updateMask")
        .ok_or_else(|| Failure::bad_request("The field 'update_mask' is required."))?;
    let mut said = tombolo_model::Details::new();
    let (mut memory_size_gb, mut new_configs, mut new_auth) = (None, None, None);
    for field in mask.split(',').map(str::trim) {
        match field {
            "displayName" | "display_name" => {
                said.insert("displayName".into(), call.field("displayName").cloned().unwrap_or(json!("")));
            }
            "labels" => {
                said.insert("labels".into(), call.field("labels").cloned().unwrap_or_else(|| json!({})));
            }
            "maintenancePolicy" | "maintenance_policy" => {
                said.insert(
                    "maintenancePolicy".into(),
                    call.field("maintenancePolicy").cloned().unwrap_or(json!({})),
                );
            }
            "memorySizeGb" | "memory_size_gb" => {
                let gb = call.field("memorySizeGb").and_then(Value::as_u64).unwrap_or_default();
                memory_size_gb = Some(u32::try_from(gb).unwrap_or(u32::MAX));
            }
            "redisConfigs" | "redis_configs" => new_configs = Some(configs(call)),
            "authEnabled" | "auth_enabled" => new_auth = Some(auth(call)),
            _ => {
                return Err(Failure::unsupported(format_args!(
                    "a change of the field '{field}' of a Redis instance"
                )));
            }
        }
    }
    let update =
        Change::RedisUpdate { redis: key.clone(), memory_size_gb, configs: new_configs, auth: new_auth };
    let scope = Scope::Location(key.region.clone());
    let changes = vec![update, details::merge(call.world(), &key, said)];
    Ok(Commit::long_running(call, scope, key, changes, (METADATA, INSTANCE), by_path))
}

/// What clients must say to AUTH. It is told to who asks for it, and shown nowhere.
fn get_auth_string(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let key = key(call);
    let found = call.world().redis.get(&key).ok_or_else(|| missing(&key))?;
    let string = found.auth_string(&call.world().seed);
    Ok(Outcome::Reply(string.map_or_else(|| json!({}), |string| json!({ "authString": string }))))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let key = key(call);
    if !call.world().redis.contains_key(&key) {
        return Err(missing(&key));
    }
    let scope = Scope::Location(key.region.clone());
    let changes = vec![Change::RedisDelete(key.clone())];
    Ok(Commit::long_running(call, scope, key, changes, (METADATA, EMPTY), |_, _| json!({})))
}

fn get_location(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let name = call.param("locationsId");
    let found = Region::find(name).ok_or_else(|| unknown_location(name))?;
    Ok(Outcome::Reply(location(call.project(), found)))
}

fn list_locations(call: &Call<'_>) -> Result<Outcome, Failure> {
    require(call)?;
    let all = REGIONS.iter().map(|region| location(call.project(), region));
    list::named(call, "locations", list::fixed(all))
}

fn unknown_location(name: &str) -> Failure {
    Failure::new(404, "notFound", format!("Location {name} is not found or access is unauthorized."))
}

fn location(project: &str, region: &Region) -> Value {
    let zones: serde_json::Map<String, Value> =
        region.zones.chars().map(|letter| (format!("{}-{letter}", region.name), json!({}))).collect();
    json!({
        "name": format!("projects/{project}/locations/{}", region.name),
        "locationId": region.name,
        "metadata": {
            "@type": "type.googleapis.com/google.cloud.redis.v1.LocationMetadata",
            "availableZones": zones,
        },
    })
}

fn by_path(world: &World, path: &str) -> Value {
    let found = path.parse().ok().and_then(|key: RedisKey| Some((world.redis.get(&key)?, key)));
    found.map(|(found, key)| wire(world, &key, found)).unwrap_or_default()
}

fn wire(world: &World, key: &RedisKey, found: &Redis) -> Value {
    let letter = Region::find(&key.region).and_then(|region| region.zones.chars().next()).unwrap_or('a');
    let path = key.to_string();
    let zone = details::get(world, &path, "locationId").and_then(Value::as_str);
    let zone = zone.map_or_else(|| format!("{}-{letter}", key.region), str::to_owned);
    let project = world.projects.get(&key.project).map(|project| project.shown_number());
    let mut wire = json!({
        "name": path,
        "locationId": zone,
        "redisVersion": found.redis_version,
        "reservedIpRange": found.reserved_ip_range.to_string(),
        "host": found.host.to_string(),
        "port": found.port,
        "currentLocationId": zone,
        "createTime": utc(found.create_time),
        "state": "READY",
        "tier": "BASIC",
        "memorySizeGb": found.memory_size_gb,
        "authorizedNetwork": found.authorized_network.to_string(),
        "persistenceIamIdentity": format!(
            "serviceAccount:service-{}@cloud-redis.iam.gserviceaccount.com",
            project.unwrap_or_default()
        ),
        "connectMode": match found.connect_mode {
            ConnectMode::DirectPeering => "DIRECT_PEERING",
            ConnectMode::PrivateServiceAccess { .. } => "PRIVATE_SERVICE_ACCESS",
        },
        "transitEncryptionMode": if found.tls { "SERVER_AUTHENTICATION" } else { "DISABLED" },
        "nodes": [{ "id": "node-0", "zone": zone }],
        "readReplicasMode": "READ_REPLICAS_DISABLED",
        "persistenceConfig": { "persistenceMode": "DISABLED" },
    });
    if let Some(identity) = tls::identity(found, &world.seed) {
        let authority = identity.authority;
        wire["serverCaCerts"] = json!([{
            "serialNumber": authority.serial_number,
            "cert": authority.cert,
            "createTime": utc(authority.create_time),
            "expireTime": utc(authority.expire_time),
            "sha1Fingerprint": authority.sha1_fingerprint,
        }]);
    }
    if found.auth > 0 {
        wire["authEnabled"] = json!(true);
    }
    if !found.configs.is_empty() {
        wire["redisConfigs"] = json!(found.configs);
    }
    details::add(world, &path, &mut wire);
    wire
}
