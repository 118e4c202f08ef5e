//! Cloud Routers and their Cloud NAT gateways: `compute.routers.*`.
//!
//! A router has gateways here and nothing else: what it would say to other routers is refused by name (interfaces, peers),
//! but for how it would say it (`bgp`), which means nothing without them. Of a gateway, what would change which packets
//! pass and is not done (rules, private NAT) is refused too. Taken, and without an effect that a README does not tell of,
//! are logging, how ports are handed out, of which every instance may use all, and endpoint-independent mapping. Timeouts
//! are taken with Google's defaults only, and are the kernel's.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list, project, zone};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use tombolo_model::{
    AddressKey, Change, Details, Nat, NatRanges, NatSources, NatSpec, Refusal, Router, RouterKey, RouterSpec,
    SubnetworkKey, World, router,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.routers.aggregatedList", aggregated),
    ("compute.routers.delete", delete),
    ("compute.routers.get", get),
    ("compute.routers.getRouterStatus", status),
    ("compute.routers.insert", insert),
    ("compute.routers.list", list),
    ("compute.routers.patch", patch),
    ("compute.routers.update", update),
];

const SAID: &[&str] = &["bgp", "description"];
const DERIVED: &[&str] = &["name", "nats", "network", "region"];
/// The gateways on the wire; among the details, what is kept of each as it was said, by its name.
const NATS: &str = "nats";

/// Fields of a gateway that the World has.
const OF_NAT: [&str; 6] = [
    "minPortsPerVm",
    "name",
    "natIpAllocateOption",
    "natIps",
    "sourceSubnetworkIpRangesToNat",
    "subnetworks",
];

fn key(call: &Call<'_>) -> RouterKey {
    RouterKey::new(call.project(), call.param("region"), call.param("router"))
}

fn find<'w>(world: &'w World, key: &RouterKey) -> Result<&'w Router, Failure> {
    world.routers.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

/// The routers of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c RouterKey, Value)> {
    let own = call.world().routers.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    list::in_place(call, ("router", "routers"), own(call).map(|(key, wire)| (&*key.region, wire)))
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (format!("regions/{}", key.region), wire)).collect();
    list::aggregated(call, "compute#routerAggregatedList", "routers", zone::region_scopes(), items)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = RouterKey::new(call.project(), call.param("region"), name);
    let network = call.text("network").ok_or_else(|| Failure::required("network"))?;
    let network = links::network(call.project(), network)
        .ok_or_else(|| Refusal::invalid("network", network, "The URL is malformed."))?;
    let mut details = details::read(call, SAID, DERIVED)?;
    let nats = gateways(call, &mut details)?.unwrap_or_default();
    let changes = vec![
        Change::RouterInsert(RouterSpec { key: key.clone(), network, nats }),
        Change::Describe { resource: key.to_string(), details },
    ];
    Ok(Commit::compute(call, "insert", key, changes))
}

/// PATCH: fields that are said replace the present ones, all gateways among them.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    unchanged(call, &key, found)?;
    let present = wire(call.world(), &key, found);
    let mut change = details::patch(call, &key, &present, SAID, DERIVED, DERIVED)?;
    let mut changes = Vec::new();
    if let Change::Describe { details, .. } = &mut change {
        let nats = gateways(call, details)?.or_else(|| {
            call.clears(NATS).then(|| {
                details.remove(NATS);
                Vec::new()
            })
        });
        changes.extend(nats.map(|nats| Change::RouterSetNats { router: key.clone(), nats }));
    }
    changes.push(change);
    Ok(Commit::compute(call, "patch", key, changes))
}

/// PUT: the router is what is said, and nothing else.
fn update(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    unchanged(call, &key, find(call.world(), &key)?)?;
    let mut details = details::read(call, SAID, DERIVED)?;
    let nats = gateways(call, &mut details)?.unwrap_or_default();
    let changes = vec![
        Change::RouterSetNats { router: key.clone(), nats },
        Change::Describe { resource: key.to_string(), details },
    ];
    Ok(Commit::compute(call, "update", key, changes))
}

/// Refuses a change of what a router is made with.
fn unchanged(call: &Call<'_>, key: &RouterKey, found: &Router) -> Result<(), Failure> {
    let network = |link: &str| links::network(call.project(), link).as_ref() == Some(&found.network);
    let same = |field: &str, is: &dyn Fn(&str) -> bool| call.text(field).is_none_or(is);
    let changed = if !same("name", &|name| name == key.name) {
        "name"
    } else if !same("network", &network) {
        "network"
    } else if !same("region", &|link| links::last(link) == key.region) {
        "region"
    } else {
        return Ok(());
    };
    Err(Failure::unsupported(format_args!("a change of the field '{changed}' of a router")))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::RouterDelete(key.clone())]))
}

/// The gateways that a body says, if it says any; what is kept of them as it was said goes to the details.
fn gateways(call: &Call<'_>, details: &mut Details) -> Result<Option<Vec<NatSpec>>, Failure> {
    let Some(said) = call.field(NATS).and_then(Value::as_array) else { return Ok(None) };
    let (mut specs, mut kept) = (Vec::new(), Map::new());
    for (index, nat) in said.iter().enumerate() {
        let empty = Map::new();
        let nat = nat.as_object().unwrap_or(&empty);
        let field = |name: &str| format!("{NATS}[{index}].{name}");
        let rest = rest(nat, &field)?;
        let spec = gateway(call, nat, &field)?;
        if !rest.is_empty() {
            kept.insert(spec.name.clone(), Value::Object(rest));
        }
        specs.push(spec);
    }
    details.remove(NATS);
    if !kept.is_empty() {
        details.insert(NATS.to_owned(), Value::Object(kept));
    }
    Ok(Some(specs))
}

/// What a gateway says beside what the World has. It must be as it is anyway.
fn rest(nat: &Map<String, Value>, field: &dyn Fn(&str) -> String) -> Result<Map<String, Value>, Failure> {
    let mut kept = Map::new();
    for (name, value) in
        nat.iter().filter(|(name, value)| !OF_NAT.contains(&name.as_str()) && !details::is_empty(value))
    {
        let usual = match name.as_str() {
            "autoNetworkTier" => json!("PREMIUM"),
            "effectiveTcpTimeWaitTimeoutSec" | "tcpTimeWaitTimeoutSec" => json!(120),
            "endpointTypes" => json!(["ENDPOINT_TYPE_VM"]),
            "icmpIdleTimeoutSec" | "tcpTransitoryIdleTimeoutSec" | "udpIdleTimeoutSec" => json!(30),
            "enableDynamicPortAllocation"
            | "enableEndpointIndependentMapping"
            | "logConfig"
            | "maxPortsPerVm" => value.clone(),
            "tcpEstablishedIdleTimeoutSec" => json!(1200),
            "type" => json!("PUBLIC"),
            _ => Value::Null,
        };
        if *value == usual {
            kept.insert(name.clone(), value.clone());
        } else if usual.is_null() {
            return Err(Failure::unsupported(format_args!("the field '{}' of a router", field(name))));
        } else {
            let what = format!("the field '{}' of a router with another value than {usual}", field(name));
            return Err(Failure::unsupported(what));
        }
    }
    Ok(kept)
}

fn gateway(
    call: &Call<'_>,
    nat: &Map<String, Value>,
    field: &dyn Fn(&str) -> String,
) -> Result<NatSpec, Failure> {
    let text = |name: &str| nat.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let required = |name: &str| text(name).ok_or_else(|| Failure::required(&field(name)));
    let list = |name: &str| nat.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let addresses = match required("natIpAllocateOption")? {
        "MANUAL_ONLY" => {
            let links = list("natIps").iter().enumerate();
            Some(
                links
                    .map(|(i, link)| address(call, link, &field(&format!("natIps[{i}]"))))
                    .collect::<Result<_, _>>()?,
            )
        }
        option if !list("natIps").is_empty() => {
            let expected = "NAT IPs can only be specified with MANUAL_ONLY.";
            return Err(Refusal::invalid(&field("natIpAllocateOption"), option, expected).into());
        }
        _ => None,
    };
    let sources = match required("sourceSubnetworkIpRangesToNat")? {
        "LIST_OF_SUBNETWORKS" => NatSources::Subnetworks(subnetworks(call, list("subnetworks"), field)?),
        option if !list("subnetworks").is_empty() => {
            let expected = "Subnetworks can only be specified with LIST_OF_SUBNETWORKS.";
            return Err(Refusal::invalid(&field("sourceSubnetworkIpRangesToNat"), option, expected).into());
        }
        "ALL_SUBNETWORKS_ALL_IP_RANGES" => NatSources::AllSubnetworks(NatRanges::All),
        _ => NatSources::AllSubnetworks(NatRanges::Primary),
    };
    let ports = nat.get("minPortsPerVm").and_then(Value::as_i64).filter(|ports| *ports != 0);
    let wrong = |ports| Refusal::invalid(&field("minPortsPerVm"), ports, "Must be between 2 and 65536.");
    let min_ports_per_vm = ports.map(|ports| u32::try_from(ports).map_err(|_| wrong(ports))).transpose()?;
    Ok(NatSpec { name: required("name")?.to_owned(), addresses, sources, min_ports_per_vm })
}

/// The address resource that a link names.
fn address(call: &Call<'_>, link: &Value, field: &str) -> Result<AddressKey, Failure> {
    let path = links::path_of(link.as_str().unwrap_or_default());
    let full = match path.starts_with("projects/") {
        true => path.to_owned(),
        false => format!("projects/{}/{path}", call.project()),
    };
    full.parse().map_err(|_| Refusal::invalid(field, path, "The URL is malformed.").into())
}

fn subnetworks(
    call: &Call<'_>,
    said: &[Value],
    field: &dyn Fn(&str) -> String,
) -> Result<BTreeMap<SubnetworkKey, NatRanges>, Failure> {
    let mut all = BTreeMap::new();
    for (i, one) in said.iter().enumerate() {
        let field = |name: &str| field(&format!("subnetworks[{i}].{name}"));
        let name = one["name"].as_str().ok_or_else(|| Failure::required(&field("name")))?;
        let malformed = || Refusal::invalid(&field("name"), name, "The URL is malformed.");
        let subnetwork =
            links::subnetwork(call.project(), call.param("region"), name).ok_or_else(malformed)?;
        let options = one["sourceIpRangesToNat"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let ranges = match options.collect::<Vec<_>>().as_slice() {
            ["ALL_IP_RANGES"] => NatRanges::All,
            ["PRIMARY_IP_RANGE"] => NatRanges::Primary,
            [] => return Err(Failure::required(&field("sourceIpRangesToNat"))),
            options => {
                let what = format!("'{}' as '{}'", options.join(","), field("sourceIpRangesToNat"));
                return Err(Failure::unsupported(what));
            }
        };
        if !details::is_empty(&one["secondaryIpRangeNames"]) {
            let expected = "No secondary IP ranges should be provided if the subnetwork is not configured with LIST_OF_SECONDARY_IP_RANGES.";
            return Err(Refusal::invalid(&field("secondaryIpRangeNames"), "", expected).into());
        }
        if all.insert(subnetwork, ranges).is_some() {
            return Err(Refusal::invalid(&field("name"), name, "A subnetwork is specified twice.").into());
        }
    }
    Ok(all)
}

/// What each gateway has: its addresses, and how many interfaces it serves.
fn status(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (key, world) = (key(call), call.world());
    let found = find(world, &key)?;
    let one = |nat: &Nat| {
        let addresses: Vec<String> = nat.addresses.iter().map(Ipv4Addr::to_string).collect();
        let mut status = json!({
            "name": nat.spec.name,
            "numVmEndpointsWithNatMappings": served(world, &key, nat),
            "minExtraNatIpsNeeded": 0,
        });
        match &nat.spec.addresses {
            Some(reserved) => {
                status["userAllocatedNatIps"] = json!(addresses);
                let links = reserved.iter().map(|address| json!(links::link(address)));
                status["userAllocatedNatIpResources"] = links.collect();
            }
            None => status["autoAllocatedNatIps"] = json!(addresses),
        }
        status
    };
    let mut result = json!({ "network": links::link(&found.network) });
    if !found.nats.is_empty() {
        result["natStatus"] = found.nats.iter().map(one).collect();
    }
    Ok(Outcome::Reply(json!({ "kind": "compute#routerStatusResponse", "result": result })))
}

/// How many interfaces of instances that run a gateway serves.
fn served(world: &World, key: &RouterKey, nat: &Nat) -> usize {
    let nics = world.instances.values().filter(|instance| instance.running).flat_map(|i| &i.nics);
    let own = |nic: &&tombolo_model::Nic| {
        let by = router::serving(world, &nic.subnetwork, &nic.network);
        nic.access.is_none() && by.is_some_and(|(at, by, _)| at == key && by.spec.name == nat.spec.name)
    };
    nics.filter(own).count()
}

fn wire(world: &World, key: &RouterKey, found: &Router) -> Value {
    let path = key.to_string();
    let mut wire = json!({
        "kind": "compute#router",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "region": links::link(format!("projects/{}/regions/{}", key.project, key.region)),
        "network": links::link(&found.network),
        "encryptedInterconnectRouter": false,
        "selfLink": links::link(key),
    });
    details::add(world, &path, &mut wire);
    // After what was said, which has a part of each gateway by its name.
    let said = details::get(world, &path, NATS);
    let nats: Vec<Value> =
        found.nats.iter().map(|nat| nat_wire(nat, said.and_then(|said| said.get(&nat.spec.name)))).collect();
    match nats.is_empty() {
        true => drop(wire.as_object_mut().map(|map| map.shift_remove(NATS))),
        false => wire[NATS] = Value::Array(nats),
    }
    wire
}

fn nat_wire(nat: &Nat, kept: Option<&Value>) -> Value {
    let mut wire = said(&nat.spec);
    for (name, value) in [
        ("type", json!("PUBLIC")),
        ("endpointTypes", json!(["ENDPOINT_TYPE_VM"])),
        ("autoNetworkTier", json!("PREMIUM")),
        ("enableEndpointIndependentMapping", json!(false)),
        ("enableDynamicPortAllocation", json!(false)),
    ] {
        wire[name] = value;
    }
    for (name, value) in kept.and_then(Value::as_object).into_iter().flatten() {
        wire[name.as_str()] = value.clone();
    }
    wire
}

/// A gateway as a user says it.
pub(crate) fn said(spec: &NatSpec) -> Value {
    let mut wire = json!({
        "name": spec.name,
        "sourceSubnetworkIpRangesToNat": spec.sources.option(),
        "natIpAllocateOption": if spec.addresses.is_some() { "MANUAL_ONLY" } else { "AUTO_ONLY" },
    });
    if let Some(addresses) = &spec.addresses {
        wire["natIps"] = addresses.iter().map(|address| json!(links::link(address))).collect();
    }
    if let NatSources::Subnetworks(listed) = &spec.sources {
        let one = |(subnetwork, ranges): (&SubnetworkKey, &NatRanges)| json!({ "name": links::link(subnetwork), "sourceIpRangesToNat": [ranges.option()] });
        wire["subnetworks"] = listed.iter().map(one).collect();
    }
    if let Some(ports) = spec.min_ports_per_vm {
        wire["minPortsPerVm"] = json!(ports);
    }
    wire
}
