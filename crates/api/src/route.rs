//! Routes: `compute.routes.*`. Subnet and peering routes are shown with the names that Google gives them.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, firewall, ipv6, links, list, next_hop, project};
use serde_json::{Map, Value, json};
use tombolo_model::peering::{imported_ipv6_ranges, imported_ranges};
use tombolo_model::{Change, InstanceKey, NextHop, Refusal, Route, RouteKey, RouteSpec, Subnetwork, World};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.routes.delete", delete),
    ("compute.routes.get", get),
    ("compute.routes.insert", insert),
    ("compute.routes.list", list),
];

const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &[
    "destRange",
    "name",
    "network",
    "nextHopGateway",
    "nextHopIlb",
    "nextHopInstance",
    "nextHopIp",
    "priority",
    "tags",
    "warnings",
];

/// By which peering, in a route that one imports.
const PEERING: &str = "nextHopPeering";

fn key(call: &Call<'_>) -> RouteKey {
    RouteKey::new(call.project(), call.param("route"))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (world, key) = (call.world(), key(call));
    let own = world.routes.get(&key).map(|route| wire(world, &key, route));
    let found = own.or_else(|| derived(world, &key));
    found.map(Outcome::Reply).ok_or_else(|| Refusal::not_found(key).into())
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (world, project) = (call.world(), call.project());
    let own = world.routes.iter().filter(|(key, _)| key.project == project);
    let own = own.map(|(key, route)| wire(world, key, route));
    // Those that somebody made come first.
    let own = own.map(|route| (format!("0 {}", route["name"]), route));
    let all = list::ranked(own.chain(local(world, project)).chain(imported(world, project)));
    list::compute(call, "compute#routeList", &format!("projects/{project}/global/routes"), all)
}

/// The route of that name that nobody made.
fn derived(world: &World, key: &RouteKey) -> Option<Value> {
    let mut all = local(world, &key.project).chain(imported(world, &key.project)).map(|(_, route)| route);
    all.find(|route| route["name"] == json!(key.name))
}

/// The index of a subnetwork's IPv6 range; it has fewer others.
const IPV6: u64 = 255;

/// A subnetwork's ranges as they are shown, each with an index.
fn ranges(subnetwork: &Subnetwork) -> impl Iterator<Item = (u64, String)> {
    let ipv4 = subnetwork.ranges().enumerate();
    let ipv4 = ipv4.map(|(index, range)| (index as u64, range.to_string()));
    ipv4.chain(subnetwork.ipv6.map(|range| (IPV6, ipv6::range(range))))
}

/// Sixteen digits that tell nothing. They follow from a number, one to one.
fn digits(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The routes of the project's own subnetworks, each with its rank.
fn local(world: &World, project: &str) -> impl Iterator<Item = (String, Value)> {
    let own = world.subnetworks.iter().filter(move |(key, _)| key.project == project);
    let all = own.flat_map(|(key, subnetwork)| ranges(subnetwork).map(move |range| (key, subnetwork, range)));
    all.map(move |(key, subnetwork, (index, range))| {
        // The routes of secondary ranges have numbers of their own too.
        let number = subnetwork.id | index << 48;
        let name = format!("default-route-{}", digits(number));
        let wire = json!({
            "kind": "compute#route",
            "id": links::id(u64::MAX - number),
            "creationTimestamp": subnetwork.creation_timestamp.to_string(),
            "name": name,
            "description": format!("Default local route to the subnetwork {range}."),
            "network": links::link(&subnetwork.network),
            "destRange": range,
            "priority": 0,
            "nextHopNetwork": links::link(&subnetwork.network),
            "selfLink": links::link(RouteKey::new(project, name)),
        });
        (format!("1 {key} {index:03}"), wire)
    })
}

/// The routes to the subnetworks of the project's peers, each with its rank. Static routes that a peering imports are none of these: only
/// `listPeeringRoutes` shows them.
fn imported(world: &World, project: &str) -> impl Iterator<Item = (String, Value)> {
    let own = world.networks.iter().filter(move |(key, _)| key.project == project);
    let peerings =
        own.flat_map(|(key, network)| network.peerings.iter().map(move |peering| (key, network, peering)));
    peerings.flat_map(move |(key, network, peering)| {
        let ipv4 = imported_ranges(world, key, &peering.peer).map(|(of, range)| (of, range.to_string()));
        let ipv6 =
            imported_ipv6_ranges(world, key, &peering.peer).map(|(of, range)| (of, ipv6::range(range)));
        ipv4.chain(ipv6).filter_map(move |(of, range)| {
            let subnetwork = world.subnetworks.get(of)?;
            let (index, _) = ranges(subnetwork).find(|(_, known)| *known == range)?;
            // Each importer has a route of its own to the same range.
            let number = index << 52 ^ network.id << 26 ^ subnetwork.id;
            let name = format!("peering-route-{}", digits(number));
            let wire = json!({
                "kind": "compute#route",
                "id": links::id(number),
                "creationTimestamp": peering.state_since.max(subnetwork.creation_timestamp).to_string(),
                "name": name,
                "description": format!("Auto generated route via peering [{}].", peering.name),
                "network": links::link(key),
                "destRange": range,
                "priority": 0,
                PEERING: peering.name,
                "selfLink": links::link(RouteKey::new(project, name)),
            });
            Some((format!("2 {key} {} {of} {index:03}", peering.name), wire))
        })
    })
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let network = call.text("network").ok_or_else(|| Failure::required("network"))?;
    let range = call.text("destRange").ok_or_else(|| Failure::required("destRange"))?;
    if range.parse::<ipnet::Ipv6Net>().is_ok() {
        return Err(Failure::unsupported(format_args!("static IPv6 routes (the destRange '{range}')")));
    }
    // Before the next hop, which may be in a field that there is not here.
    let details = details::read(call, SAID, DERIVED)?;
    let key = RouteKey::new(call.project(), name);
    let priority = call.field("priority").and_then(Value::as_i64).unwrap_or(1000);
    let spec = RouteSpec {
        key: key.clone(),
        network: links::network(call.project(), network)
            .ok_or_else(|| Refusal::invalid("network", network, "The URL is malformed."))?,
        dest_range: range
            .parse()
            .map_err(|_| Refusal::invalid("destRange", range, "Must be a CIDR address range."))?,
        priority: u16::try_from(priority)
            .map_err(|_| Refusal::invalid("priority", priority, "Must be between 0 and 65535."))?,
        next_hop: next_hop(call)?,
        tags: firewall::set(call.body.as_object().unwrap_or(&Map::new()), "tags", "a network tag")?,
    };
    let changes = vec![Change::RouteInsert(spec), Change::Describe { resource: key.to_string(), details }];
    Ok(Commit::warning(call, "insert", key, changes, |world, path| {
        let route = path.parse().ok().and_then(|key: RouteKey| world.routes.get(&key));
        route.map(|route| next_hop::warnings(world, route)).unwrap_or_default()
    }))
}

fn next_hop(call: &Call<'_>) -> Result<NextHop, Failure> {
    const HOPS: [&str; 4] = ["nextHopGateway", "nextHopInstance", "nextHopIp", "nextHopIlb"];
    let said = HOPS.map(|field| (field, call.text(field)));
    let mut said = said.into_iter().filter_map(|(field, value)| Some((field, value?)));
    let (Some((field, value)), None) = (said.next(), said.next()) else {
        return Err(Failure::invalid(
            "Exactly one of nextHopGateway, nextHopInstance, nextHopIp and nextHopIlb must be specified.",
        ));
    };
    let wrong = |expected: &str| Failure::from(Refusal::invalid(field, value, expected));
    match field {
        "nextHopGateway" if links::last(value) == "default-internet-gateway" => Ok(NextHop::InternetGateway),
        "nextHopGateway" => Err(wrong("Must be the default internet gateway.")),
        // There are no internal load balancers, so that none can be named.
        "nextHopIlb" => Err(wrong("The referenced forwarding rule resource cannot be found.")),
        "nextHopIp" => value.parse().map(NextHop::Address).map_err(|_| wrong("Must be an IPv4 address.")),
        _ => {
            let path = links::path_of(value);
            let full = if path.starts_with("projects/") {
                path.to_owned()
            } else {
                format!("projects/{}/{path}", call.project())
            };
            full.parse::<InstanceKey>().map(NextHop::Instance).map_err(|_| wrong("The URL is malformed."))
        }
    }
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let (world, key) = (call.world(), key(call));
    let derived = if world.routes.contains_key(&key) { None } else { derived(world, &key) };
    if let Some(route) = derived {
        // Google's words: openshift/installer#3049 and kubernetes-sigs/boskos#250 quote them.
        return Err(Failure::bad_request(match route.get(PEERING) {
            None => "The local route cannot be deleted.",
            Some(_) => "The auto-generated peering route cannot be deleted.",
        }));
    }
    Ok(Commit::compute(call, "delete", &key, vec![Change::RouteDelete(key.clone())]))
}

fn wire(world: &World, key: &RouteKey, found: &Route) -> Value {
    let mut wire = json!({
        "kind": "compute#route",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": found.description,
        "network": links::link(&found.network),
        "destRange": found.dest_range.to_string(),
        "priority": found.priority,
        "selfLink": links::link(key),
    });
    match &found.next_hop {
        NextHop::InternetGateway => {
            let gateway = format!("projects/{}/global/gateways/default-internet-gateway", key.project);
            wire["nextHopGateway"] = json!(links::link(gateway));
        }
        NextHop::Instance(instance) => wire["nextHopInstance"] = json!(links::link(instance)),
        NextHop::Address(address) => wire["nextHopIp"] = json!(address.to_string()),
    }
    if !found.tags.is_empty() {
        wire["tags"] = json!(found.tags);
    }
    let warnings = next_hop::warnings(world, found);
    if !warnings.is_empty() {
        wire["warnings"] = json!(warnings);
    }
    details::add(world, &key.to_string(), &mut wire);
    wire
}
