//! A World as a topology file: [`crate::parse`] the other way round.
//!
//! What the file cannot say is not guessed at from a list that somebody would have to keep: the text is read again, and
//! whatever the World that comes of it has otherwise is told.

use crate::names::{ORGANIZATION, network_name};
use crate::{forwarding, managed_zone, parse, router, tags};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::project::{COMPUTE, DNS, REDIS, SERVICE_NETWORKING};
use tombolo_model::{
    Action, Change, ConnectMode, Direction, Exchange, Firewall, FirewallPolicy, FirewallPolicyKey, Folder,
    HierarchicalPolicy, Instance, L4, LogMetadata, Network, NetworkKey, NextHop, Node, PolicyRule, Purpose,
    Route, RouteKey, StackType, Timestamp, World, flow_log::FlowLog, folder::ancestry, network::DEFAULT_MTU,
};

/// A World as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// The topology file.
    pub text: String,
    /// What of the World the file does not say, one line each: a resource, and which of its fields.
    pub lost: Vec<String>,
    /// Whether the file's lab does what this one does: lost is nothing, or what is said of resources (descriptions, labels,
    /// machine types) and no packet depends on.
    pub is_whole: bool,
}

/// What marks rows of such things among a World's.
const AS_SAID: &str = " (as said)";

/// Fields that a World made anew has its own values for.
const OWN: [&str; 9] = [
    "id",
    "networkId",
    "creationTimestamp",
    "createTime",
    "number",
    "stateSince",
    "starts",
    "lastStart",
    "lastStop",
];

/// The topology file of a World.
pub fn export(world: &World) -> Export {
    let text = yaml(&file(world));
    let (lost, is_whole) = match parse("the exported file", &text) {
        Ok(topology) => match topology.world(Timestamp(0)) {
            Ok(again) => differences(&normal(world), &normal(&again)),
            Err(refused) => (vec![format!("all of it: made anew, {refused}")], false),
        },
        Err(errors) => (errors.iter().map(|error| format!("all of it: {error}")).collect(), false),
    };
    Export { text, lost, is_whole }
}

fn yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! { compact_list_indent: false, folded_wrap_chars: usize::MAX };
    // JSON can always be written as YAML.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_default()
}

/// Adds a field that says something.
fn put(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        value => value.is_null(),
    };
    if !empty {
        map.insert(field.to_owned(), value);
    }
}

fn file(world: &World) -> Value {
    // Networks that their project has as it got them need one word.
    let defaults: BTreeSet<NetworkKey> =
        world.projects.keys().filter_map(|id| default_of(world, id)).collect();
    let users = world.networks.iter().filter(|(_, network)| !network.google_managed);
    let networks =
        users.filter(|(key, _)| !defaults.contains(key)).map(|(key, found)| network(world, key, found));
    let own = world.projects.iter().filter(|(id, _)| !is_managed(world, id));
    let projects = own.map(|(id, project)| {
        let mut map = Map::new();
        put(&mut map, "projectId", id.as_str());
        let implied = |service: &&String| {
            *service == COMPUTE
                || (*service == REDIS && world.redis.keys().any(|key| key.project == *id))
                || (*service == SERVICE_NETWORKING && world.connections.keys().any(|key| key.project == *id))
                || (*service == DNS && world.managed_zones.keys().any(|key| key.project == *id))
        };
        let services: Vec<&String> = project.services.iter().filter(|service| !implied(service)).collect();
        put(&mut map, "services", json!(services));
        if defaults.contains(&NetworkKey::new(id, "default")) {
            put(&mut map, "defaultNetwork", true);
        }
        put(&mut map, "hostProject", json!(project.host));
        put(&mut map, "parent", json!(project.parent.as_ref().map(|parent| place(world, parent))));
        Value::Object(map)
    });
    let redis = world.redis.iter().map(|(key, redis)| {
        let network = &redis.authorized_network;
        let mut map = Map::new();
        put(&mut map, "name", key.name.as_str());
        put(&mut map, "project", key.project.as_str());
        put(&mut map, "region", key.region.as_str());
        // A bare name is one of the instance's own project.
        put(
            &mut map,
            "authorizedNetwork",
            match network.project == key.project {
                true => network.name.clone(),
                false => network_name(network),
            },
        );
        match &redis.connect_mode {
            ConnectMode::DirectPeering => put(&mut map, "reservedIpRange", json!(redis.reserved_ip_range)),
            ConnectMode::PrivateServiceAccess { range } => {
                put(&mut map, "connectMode", "PRIVATE_SERVICE_ACCESS");
                put(&mut map, "reservedIpRange", json!(range));
            }
        }
        put(&mut map, "memorySizeGb", redis.memory_size_gb);
        if redis.tls {
            put(&mut map, "transitEncryptionMode", "SERVER_AUTHENTICATION");
        }
        if redis.auth > 0 {
            put(&mut map, "authEnabled", true);
        }
        Value::Object(map)
    });
    let mut map = Map::new();
    put(&mut map, "projects", projects.collect::<Value>());
    put(&mut map, "folders", folders(world));
    put(&mut map, "networks", networks.collect::<Value>());
    let policies = world.firewall_policies.iter().map(|(key, found)| policy(world, key, found));
    put(&mut map, "firewallPolicies", policies.collect::<Value>());
    let policies = world.hierarchical_policies.values().map(|found| hierarchical_policy(world, found));
    put(&mut map, "hierarchicalFirewallPolicies", policies.collect::<Value>());
    put(&mut map, "tagKeys", tags::export(world));
    let instances = world.instances.iter().map(|(key, found)| instance(world, key, found));
    put(&mut map, "instances", instances.collect::<Value>());
    put(&mut map, "routers", router::export(world));
    put(&mut map, "managedZones", managed_zone::export(world));
    for (field, items) in forwarding::export(world) {
        put(&mut map, field, items);
    }
    put(&mut map, "redis", redis.collect::<Value>());
    Value::Object(map)
}

/// Whether a project is a managed service's.
fn is_managed(world: &World, id: &str) -> bool {
    world.networks.iter().any(|(key, network)| key.project == id && network.google_managed)
}

/// The network `default` of a project, if nothing about it was changed.
fn default_of(world: &World, project: &str) -> Option<NetworkKey> {
    let key = NetworkKey::new(project, "default");
    world.networks.get(&key)?;
    let changes = [
        Change::ProjectCreate(project.to_owned()),
        Change::ServiceEnable { project: project.to_owned(), service: COMPUTE.to_owned() },
    ];
    let fresh =
        changes.iter().try_fold(World::default(), |world, change| world.applied(change, Timestamp(0)));
    let path = key.to_string();
    let of_it = |world: &World| {
        let mut rows = normal(world);
        rows.retain(|name, row| *name == path || row["network"] == path);
        rows
    };
    (of_it(world) == of_it(&fresh.ok()?)).then_some(key)
}

fn network(world: &World, key: &NetworkKey, found: &Network) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", key.name.as_str());
    put(&mut map, "project", key.project.as_str());
    if found.auto_create_subnetworks {
        put(&mut map, "autoCreateSubnetworks", true);
    }
    if found.mtu != DEFAULT_MTU {
        put(&mut map, "mtu", found.mtu);
    }
    if let Some(range) = found.ipv6 {
        put(&mut map, "enableUlaInternalIpv6", true);
        put(&mut map, "internalIpv6Range", range.to_string());
    }
    if found.policy_first {
        put(&mut map, "networkFirewallPolicyEnforcementOrder", "BEFORE_CLASSIC_FIREWALL");
    }
    let own = world.subnetworks.iter().filter(|(_, subnetwork)| subnetwork.network == *key);
    // Those of an auto-mode network come with it.
    let said = own.filter(|(subnetwork, _)| !found.is_automatic(key, subnetwork));
    let subnetworks = said.map(|(key, found)| {
        let mut map = Map::new();
        put(&mut map, "name", key.name.as_str());
        put(&mut map, "region", key.region.as_str());
        put(&mut map, "ipCidrRange", json!(found.range));
        put(&mut map, "purpose", (found.purpose != Purpose::Private).then(|| found.purpose.as_str()));
        put(&mut map, "stackType", found.ipv6.map(|_| StackType::Ipv4Ipv6.as_str()));
        let secondary =
            found.secondary.iter().map(|(name, range)| json!({ "rangeName": name, "ipCidrRange": range }));
        put(&mut map, "secondaryIpRanges", secondary.collect::<Value>());
        put(&mut map, "logConfig", flow_log(world, &key.to_string()));
        Value::Object(map)
    });
    put(&mut map, "subnetworks", subnetworks.collect::<Value>());
    let users = found
        .peerings
        .iter()
        .filter(|peering| world.networks.get(&peering.peer).is_none_or(|network| !network.google_managed));
    let peerings = users.map(|peering| {
        let mut map = Map::new();
        put(&mut map, "name", peering.name.as_str());
        put(&mut map, "network", network_name(&peering.peer));
        // What is as it is unless said is left out.
        let [said, usual] = [json!(peering.exchange), json!(Exchange::default())];
        for (field, value) in
            said.as_object().into_iter().flatten().filter(|(field, value)| **value != usual[*field])
        {
            put(&mut map, field, value.clone());
        }
        Value::Object(map)
    });
    put(&mut map, "peerings", peerings.collect::<Value>());
    let rules = world.firewalls.iter().filter(|(_, rule)| rule.network == *key);
    put(&mut map, "firewalls", rules.map(|(key, rule)| firewall(&key.name, rule)).collect::<Value>());
    let routes = world.routes.iter().filter(|(_, route)| route.network == *key);
    let said = routes.filter(|(name, _)| !found.is_default_route(name));
    put(&mut map, "routes", said.map(|(key, found)| route(&key.name, found)).collect::<Value>());
    let allocated = tombolo_model::address::allocated(world, key).map(|(address, range)| {
        json!({ "name": address.name, "address": range.network(), "prefixLength": range.prefix_len() })
    });
    put(&mut map, "allocatedRanges", allocated.collect::<Value>());
    if let Some(connection) = world.connections.get(key) {
        put(&mut map, "privateServicesAccess", json!({ "reservedPeeringRanges": connection.ranges }));
    }
    Value::Object(map)
}

/// How a subnetwork's flows are logged, if they are: what is as it is unless said is left out.
fn flow_log(world: &World, subnetwork: &str) -> Option<Value> {
    let log = FlowLog::of(world.details.get(subnetwork)?).ok()??;
    let (mut wire, usual) = (log.wire(), FlowLog::default().wire());
    wire.as_object_mut()?.retain(|field, value| field == "enable" || usual[field] != *value);
    Some(wire)
}

/// Folders, each after the one that it is in.
fn folders(world: &World) -> Value {
    let mut all: Vec<_> = world.folders.iter().collect();
    all.sort_by_cached_key(|(key, _)| {
        let node = Node::Folder((*key).clone());
        (ancestry(world, Some(&node)).len(), place(world, &node))
    });
    let one = |found: &Folder| {
        let mut map = Map::new();
        put(&mut map, "displayName", found.display_name.as_str());
        let inner = found.parent != Node::Organization;
        put(&mut map, "parent", json!(inner.then(|| place(world, &found.parent))));
        Value::Object(map)
    };
    all.into_iter().map(|(_, found)| one(found)).collect()
}

/// The organization or a folder as the file names it.
fn place(world: &World, node: &Node) -> String {
    let above = ancestry(world, Some(node));
    let names = above.iter().filter_map(|node| match node {
        Node::Organization => None,
        Node::Folder(key) => world.folders.get(key).map(|folder| folder.display_name.as_str()),
    });
    let way = names.collect::<Vec<_>>().join("/");
    if way.is_empty() { ORGANIZATION.to_owned() } else { way }
}

fn hierarchical_policy(world: &World, found: &HierarchicalPolicy) -> Value {
    let associations = found
        .associations
        .iter()
        .map(|(name, node)| json!({ "name": name, "attachmentTarget": place(world, node) }));
    let mut map = Map::new();
    put(&mut map, "shortName", found.short_name.as_str());
    if found.parent != Node::Organization {
        put(&mut map, "parent", place(world, &found.parent));
    }
    put(&mut map, "rules", policy_rules(world, &found.rules));
    put(&mut map, "associations", associations.collect::<Value>());
    Value::Object(map)
}

/// The rules of a policy of either kind.
fn policy_rules(world: &World, rules: &BTreeMap<u32, PolicyRule>) -> Value {
    let rules = rules.iter().filter(|(_, rule)| tags::does_something(world, rule)).map(|(priority, rule)| {
        let mut map = Map::new();
        put(&mut map, "priority", *priority);
        for (field, text) in [("ruleName", &rule.name), ("description", &rule.description)] {
            put(&mut map, field, Some(text).filter(|text| !text.is_empty()).cloned());
        }
        let ingress = rule.direction == Direction::Ingress;
        put(&mut map, "direction", if ingress { "INGRESS" } else { "EGRESS" });
        let action = match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::GotoNext => "goto_next",
        };
        put(&mut map, "action", action);
        let mut matched = Map::new();
        let (far, near) = (json!(rule.ranges), json!(rule.near_ranges));
        let (from, to) = if ingress { (far, near) } else { (near, far) };
        put(&mut matched, "srcIpRanges", from);
        put(&mut matched, "srcSecureTags", tags::names(world, rule.src_secure_tags.iter()));
        put(&mut matched, "destIpRanges", to);
        put(
            &mut matched,
            "layer4Configs",
            rule.matches.iter().map(|l4| entry("ipProtocol", l4)).collect::<Value>(),
        );
        put(&mut map, "match", matched);
        put(&mut map, "targetServiceAccounts", json!(rule.target_service_accounts));
        put(&mut map, "targetSecureTags", tags::names(world, rule.target_secure_tags.iter()));
        let targets = rule.target_networks.iter().map(|key| json!(network_name(key)));
        put(&mut map, "targetResources", targets.collect::<Value>());
        for (field, said) in [("disabled", rule.disabled), ("enableLogging", rule.logging)] {
            put(&mut map, field, said.then_some(true));
        }
        Value::Object(map)
    });
    rules.collect()
}

fn policy(world: &World, key: &FirewallPolicyKey, found: &FirewallPolicy) -> Value {
    let associations = found
        .associations
        .iter()
        .map(|(name, network)| json!({ "name": name, "attachmentTarget": network_name(network) }));
    let mut map = Map::new();
    put(&mut map, "name", key.name.as_str());
    put(&mut map, "region", key.region.clone());
    put(&mut map, "project", key.project.as_str());
    put(&mut map, "rules", policy_rules(world, &found.rules));
    put(&mut map, "associations", associations.collect::<Value>());
    Value::Object(map)
}

/// A protocol, with ports where it has them.
fn entry(field: &str, l4: &L4) -> Value {
    let mut map = Map::new();
    put(&mut map, field, l4.protocol.to_string());
    put(&mut map, "ports", l4.ports.iter().map(|ports| json!(ports.to_string())).collect::<Value>());
    Value::Object(map)
}

fn firewall(name: &str, rule: &Firewall) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", name);
    if rule.direction == Direction::Egress {
        put(&mut map, "direction", "EGRESS");
    }
    if rule.priority != 1000 {
        put(&mut map, "priority", rule.priority);
    }
    let entries = rule.matches.iter().map(|l4| entry("IPProtocol", l4));
    let action = if rule.action == Action::Allow { "allowed" } else { "denied" };
    put(&mut map, action, entries.collect::<Value>());
    put(&mut map, "sourceRanges", json!(rule.source_ranges));
    put(&mut map, "sourceTags", json!(rule.source_tags));
    put(&mut map, "targetTags", json!(rule.target_tags));
    put(&mut map, "sourceServiceAccounts", json!(rule.source_service_accounts));
    put(&mut map, "targetServiceAccounts", json!(rule.target_service_accounts));
    put(&mut map, "destinationRanges", json!(rule.destination_ranges));
    if rule.disabled {
        put(&mut map, "disabled", true);
    }
    match rule.logging {
        Some(LogMetadata::IncludeAllMetadata) => put(&mut map, "logConfig", json!({ "enable": true })),
        Some(metadata) => {
            put(&mut map, "logConfig", json!({ "enable": true, "metadata": metadata.as_str() }));
        }
        None => {}
    }
    Value::Object(map)
}

fn route(name: &str, route: &Route) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", name);
    put(&mut map, "destRange", json!(route.dest_range));
    if route.priority != 1000 {
        put(&mut map, "priority", route.priority);
    }
    match &route.next_hop {
        NextHop::InternetGateway => put(&mut map, "nextHopGateway", "default-internet-gateway"),
        NextHop::Instance(key) => {
            put(&mut map, "nextHopInstance", format!("{}/{}/{}", key.project, key.zone, key.name));
        }
        NextHop::Address(address) => put(&mut map, "nextHopIp", json!(address)),
    }
    put(&mut map, "tags", json!(route.tags));
    Value::Object(map)
}

fn instance(world: &World, key: &tombolo_model::InstanceKey, found: &Instance) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", key.name.as_str());
    put(&mut map, "project", key.project.as_str());
    put(&mut map, "zone", key.zone.as_str());
    let nics = found.nics.iter().map(|nic| {
        // A bare name is one of the instance's own project and region.
        let subnetwork = match nic.subnetwork.project == key.project {
            true => nic.subnetwork.name.clone(),
            false => nic.subnetwork.to_string(),
        };
        let mut map = Map::new();
        put(&mut map, "subnetwork", subnetwork);
        put(&mut map, "networkIP", json!(nic.address));
        put(&mut map, "stackType", nic.ipv6.map(|_| StackType::Ipv4Ipv6.as_str()));
        put(
            &mut map,
            "accessConfigs",
            nic.access.iter().map(|access| json!({ "name": access.name })).collect::<Value>(),
        );
        let aliases = nic.aliases.iter().map(|alias| {
            let mut map = Map::new();
            put(&mut map, "ipCidrRange", json!(alias.range));
            put(&mut map, "subnetworkRangeName", json!(alias.secondary));
            Value::Object(map)
        });
        put(&mut map, "aliasIpRanges", aliases.collect::<Value>());
        Value::Object(map)
    });
    put(&mut map, "networkInterfaces", nics.collect::<Value>());
    put(&mut map, "tags", json!(found.tags));
    put(&mut map, "resourceManagerTags", tags::names(world, found.secure_tags.values()));
    if found.can_ip_forward {
        put(&mut map, "canIpForward", true);
    }
    if let Some(account) = &found.service_account {
        put(&mut map, "serviceAccounts", json!([account]));
    }
    let said = found.metadata.iter().filter(|(key, _)| *key != "startup-script");
    let items: Vec<Value> = said.map(|(key, value)| json!({ "key": key, "value": value })).collect();
    if !items.is_empty() {
        put(&mut map, "metadata", json!({ "items": items }));
    }
    put(&mut map, "startupScript", json!(found.metadata.get("startup-script")));
    if !found.running {
        put(&mut map, "status", "TERMINATED");
    }
    Value::Object(map)
}

/// The rows of a World by what they are called, without what every World has its own values for.
fn normal(world: &World) -> BTreeMap<String, Value> {
    let managed = |path: &Value| {
        let key = path.as_str().and_then(|path| path.parse::<NetworkKey>().ok());
        key.and_then(|key| world.networks.get(&key)).is_some_and(|network| network.google_managed)
    };
    let mut rows = BTreeMap::new();
    // Everything that a World has is JSON.
    for row in world.changed(&World::default()).unwrap_or_default() {
        let Some(mut value) = row.value else { continue };
        let mut name = row.key;
        match row.kind.as_str() {
            // No resource, but something that every World has of its own.
            _ if name.is_empty() => continue,
            "details" => {
                // Flow logs are told in several ways.
                if let Some(log) = flow_log(world, &name) {
                    value["logConfig"] = log;
                    value.as_object_mut().map(|fields| fields.remove("enableFlowLogs"));
                }
                // That it was said: what it is, its network has.
                value.as_object_mut().map(|fields| fields.remove("mtu"));
                if value == json!({}) {
                    continue;
                }
                name += AS_SAID;
            }
            // With AUTO_ONLY it is any free one.
            "routers" => {
                for nat in value["nats"].as_array_mut().into_iter().flatten() {
                    if nat["spec"]["addresses"].is_null() {
                        nat["addresses"] = Value::Null;
                    }
                }
            }
            // What a zone remembers of its changes is its own.
            "managedZones" => {
                for field in ["changes", "updates"] {
                    value.as_object_mut().map(|fields| fields.remove(field));
                }
            }
            "projects" => name = format!("projects/{name}"),
            "connections" => name = format!("{name}/privateServicesAccess"),
            // Named after their network's number.
            "routes" => {
                let key = name.parse::<RouteKey>().ok();
                let network = value["network"].as_str().and_then(|path| path.parse().ok());
                let network = network.and_then(|key: NetworkKey| world.networks.get(&key));
                if key.zip(network).is_some_and(|(key, network)| network.is_default_route(&key)) {
                    name = format!("{}/default-route", value["network"].as_str().unwrap_or_default());
                }
            }
            "networks" => {
                // Either side of such a peering has a network's number in its name.
                let hidden = managed(&json!(name));
                for peering in value.get_mut("peerings").and_then(Value::as_array_mut).into_iter().flatten() {
                    if hidden || managed(&peering["peer"]) {
                        peering["name"] = json!("redis-peer");
                    }
                }
            }
            _ => {}
        }
        // A folder's number tells of the name that it had first.
        if ["folders", "hierarchicalPolicies", "projects"].contains(&row.kind.as_str()) {
            let named = |text: &str| text.parse::<Node>().ok().map(|node| place(world, &node));
            name = named(&name).map_or(name, |place| format!("folders/{place}"));
            by_place(&mut value, &named);
        }
        strip(&mut value);
        if let Some(peerings) = value.get_mut("peerings").and_then(Value::as_array_mut) {
            peerings.sort_by_key(|peering| peering["peer"].to_string());
        }
        rows.insert(name, value);
    }
    rows
}

/// Names folders as the file does.
fn by_place(value: &mut Value, named: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(place) = named(text) {
                *text = place;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| by_place(item, named)),
        Value::Object(map) => map.values_mut().for_each(|value| by_place(value, named)),
        _ => {}
    }
}

/// Takes out what every World has its own values for.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|field, _| !OWN.contains(&field.as_str()));
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// What one World has and another has not, or has otherwise; and whether that is no more than what is said of resources.
fn differences(world: &BTreeMap<String, Value>, again: &BTreeMap<String, Value>) -> (Vec<String>, bool) {
    let names: BTreeSet<&String> = world.keys().chain(again.keys()).collect();
    let line = |name: &String| match (world.get(name), again.get(name)) {
        (Some(have), Some(other)) if have == other => None,
        (Some(have), Some(other)) => {
            let fields: BTreeSet<&String> =
                [have, other].into_iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
            let differ = fields.into_iter().filter(|field| have[*field] != other[*field]);
            Some(format!("{name}: {}", differ.cloned().collect::<Vec<_>>().join(", ")))
        }
        (Some(have), None) if name.ends_with(AS_SAID) => {
            let fields = have.as_object().into_iter().flat_map(Map::keys).cloned();
            let name = name.trim_end_matches(AS_SAID);
            Some(format!("{name}: {}", fields.collect::<Vec<_>>().join(", ")))
        }
        (Some(_), None) => Some(name.clone()),
        (None, _) => Some(format!("that there is no {name}")),
    };
    let told: Vec<(&String, String)> =
        names.into_iter().filter_map(|name| Some((name, line(name)?))).collect();
    let is_whole = told.iter().all(|(name, _)| name.ends_with(AS_SAID));
    (told.into_iter().map(|(_, line)| line).collect(), is_whole)
}
