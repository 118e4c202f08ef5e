//! The other way round: the request that makes a change. A topology file becomes requests so, which are answered as
//! anybody's are.

use crate::links::link;
use crate::{Failure, Outcome, Request, State, Verb, answer, firewall_policy, forwarding_rule, ipv6, router};
use serde_json::{Map, Value, json};
use tombolo_model::network::DEFAULT_MTU;
use tombolo_model::project::SERVICE_NETWORKING;
use tombolo_model::{
    Acceptance, Action, AddressSpec, AliasSpec, Change, ConnectMode, Consumer, Direction, FirewallSpec,
    ForwardSpec, ForwardingRuleKey, ForwardingRuleSpec, InstanceSpec, ManagedZoneSpec, NextHop, RedisSpec,
    RedisTier, Reserve, RouteSpec, RouterSpec, ServiceAttachmentKey, ServiceAttachmentSpec, StackType,
    TagScope, TargetInstanceKey, Timestamp,
};

/// The request that makes a change; `None` of changes that no topology file makes.
pub fn ask(change: &Change) -> Option<Request> {
    let compute = |verb, path: String, body| request(verb, format!("/compute/v1/{path}"), body);
    Some(match change {
        Change::ProjectCreate(id) => {
            request(Verb::Post, "/cloudresourcemanager/v1/projects".into(), json!({ "projectId": id }))
        }
        Change::ProjectMove { project, parent } => request(
            Verb::Post,
            format!("/cloudresourcemanager/v3/projects/{project}:move"),
            json!({ "destinationParent": parent }),
        ),
        Change::FolderCreate { parent, display_name } => request(
            Verb::Post,
            "/cloudresourcemanager/v3/folders".into(),
            json!({ "parent": parent, "displayName": display_name }),
        ),
        Change::ServiceEnable { project, service } => request(
            Verb::Post,
            format!("/serviceusage/v1/projects/{project}/services/{service}:enable"),
            json!({}),
        ),
        Change::NetworkInsert(spec) => {
            let mut body =
                json!({ "name": spec.key.name, "autoCreateSubnetworks": spec.auto_create_subnetworks });
            if let Some(mtu) = spec.mtu.filter(|mtu| *mtu != DEFAULT_MTU) {
                body["mtu"] = json!(mtu);
            }
            compute(Verb::Post, format!("projects/{}/global/networks", spec.key.project), body)
        }
        Change::HostEnable(id) => compute(Verb::Post, format!("projects/{id}/enableXpnHost"), Value::Null),
        Change::ServiceProjectAttach { host, project } => {
            let body = json!({ "xpnResource": { "id": project, "type": "PROJECT" } });
            compute(Verb::Post, format!("projects/{host}/enableXpnResource"), body)
        }
        Change::NetworkDelete(key) => compute(Verb::Delete, key.to_string(), Value::Null),
        Change::SubnetworkInsert(spec) | Change::NatSubnetworkInsert(spec) => {
            let key = &spec.key;
            let path = format!("projects/{}/regions/{}/subnetworks", key.project, key.region);
            let mut body = json!({
                "name": key.name,
                "network": link(&spec.network),
                "ipCidrRange": spec.range.to_string(),
            });
            if matches!(change, Change::NatSubnetworkInsert(_)) {
                body["purpose"] = json!("PRIVATE_SERVICE_CONNECT");
            }
            if !spec.secondary.is_empty() {
                let ranges = spec.secondary.iter();
                body["secondaryIpRanges"] = ranges
                    .map(|(name, range)| json!({ "rangeName": name, "ipCidrRange": range.to_string() }))
                    .collect();
            }
            if spec.stack_type == StackType::Ipv4Ipv6 {
                (body["stackType"], body["ipv6AccessType"]) = (json!(spec.stack_type), json!(ipv6::INTERNAL));
            }
            for (field, value) in &spec.details {
                body[field.as_str()] = value.clone();
            }
            compute(Verb::Post, path, body)
        }
        Change::RouterInsert(RouterSpec { key, network, nats }) => {
            let nats = nats.iter().map(router::said).collect::<Value>();
            let body = json!({ "name": key.name, "network": link(network), "nats": nats });
            compute(Verb::Post, format!("projects/{}/regions/{}/routers", key.project, key.region), body)
        }
        Change::ManagedZoneInsert(spec) => request(
            Verb::Post,
            format!("/dns/v1/projects/{}/managedZones", spec.key.project),
            managed_zone(spec),
        ),
        Change::RecordSetsChange { zone, deletions, additions } => {
            let body = json!({ "additions": additions, "deletions": deletions });
            request(Verb::Post, format!("/dns/v1/{zone}/changes"), body)
        }
        Change::TargetInstanceInsert(spec) => {
            let TargetInstanceKey { project, zone, name } = &spec.key;
            let mut body = json!({ "name": name, "instance": link(&spec.instance) });
            if let Some(network) = &spec.network {
                body["network"] = json!(link(network));
            }
            compute(Verb::Post, format!("projects/{project}/zones/{zone}/targetInstances"), body)
        }
        Change::ForwardingRuleInsert(spec) => {
            let ForwardingRuleKey { project, region, .. } = &spec.key;
            let path = format!("projects/{project}/regions/{region}/forwardingRules");
            compute(Verb::Post, path, forwarding_rule(spec))
        }
        Change::ServiceAttachmentInsert(spec) => {
            let ServiceAttachmentKey { project, region, .. } = &spec.key;
            let path = format!("projects/{project}/regions/{region}/serviceAttachments");
            compute(Verb::Post, path, service_attachment(spec))
        }
        Change::InstanceInsert(spec) => {
            let key = &spec.key;
            let path = format!("projects/{}/zones/{}/instances", key.project, key.zone);
            compute(Verb::Post, path, instance(spec))
        }
        Change::AccessConfigAdd { instance, nic, name, address } => {
            let mut body = json!({ "name": name, "type": "ONE_TO_ONE_NAT" });
            if let Some(address) = address {
                body["natIP"] = json!(address);
            }
            compute(Verb::Post, format!("{instance}/addAccessConfig?networkInterface=nic{nic}"), body)
        }
        Change::InstanceStop(key) => compute(Verb::Post, format!("{key}/stop"), Value::Null),
        Change::FirewallInsert(spec) => {
            compute(Verb::Post, format!("projects/{}/global/firewalls", spec.key.project), firewall(spec))
        }
        Change::FirewallDelete(key) => compute(Verb::Delete, key.to_string(), Value::Null),
        Change::FirewallPolicyInsert(key) => {
            let path = format!("projects/{}/{}/firewallPolicies", key.project, key.scope());
            compute(Verb::Post, path, json!({ "name": key.name }))
        }
        Change::HierarchicalPolicyInsert { parent, short_name } => {
            let path = format!("locations/global/firewallPolicies?parentId={parent}");
            compute(Verb::Post, path, json!({ "shortName": short_name }))
        }
        Change::HierarchicalPolicyAssociate { policy, name, node, replace: false } => {
            let body = json!({ "name": name, "attachmentTarget": node });
            compute(Verb::Post, format!("{policy}/addAssociation"), body)
        }
        Change::PolicyRuleSet { policy, priority, rule, replace: false } => {
            compute(Verb::Post, format!("{policy}/addRule"), firewall_policy::said(*priority, rule))
        }
        Change::PolicyAssociate { policy, name, network, replace: false } => {
            let body = json!({ "name": name, "attachmentTarget": link(network) });
            compute(Verb::Post, format!("{policy}/addAssociation"), body)
        }
        Change::TagKeyCreate(spec) => {
            let mut body = json!({ "parent": spec.parent, "shortName": spec.short_name });
            if let Some(scope) = &spec.scope {
                body["purpose"] = json!("GCE_FIREWALL");
                body["purposeData"] = match scope {
                    TagScope::Network(key) => json!({ "network": format!("{}/{}", key.project, key.name) }),
                    TagScope::Organization => json!({ "organization": "auto" }),
                };
            }
            request(Verb::Post, "/cloudresourcemanager/v3/tagKeys".into(), body)
        }
        Change::TagValueCreate { parent, short_name } => request(
            Verb::Post,
            "/cloudresourcemanager/v3/tagValues".into(),
            json!({ "parent": parent, "shortName": short_name }),
        ),
        Change::TagBind { instance, value } => {
            let parent = format!("//compute.googleapis.com/{instance}");
            let body = json!({ "parent": parent, "tagValue": value });
            request(Verb::Post, "/cloudresourcemanager/v3/tagBindings".into(), body)
        }
        Change::NetworkSetPolicyFirst { network, first } => {
            let order = if *first { "BEFORE_CLASSIC_FIREWALL" } else { "AFTER_CLASSIC_FIREWALL" };
            let body = json!({ "networkFirewallPolicyEnforcementOrder": order });
            compute(Verb::Patch, network.to_string(), body)
        }
        Change::NetworkEnableIpv6 { network, range } => {
            let mut body = json!({ "enableUlaInternalIpv6": true });
            if let Some(range) = range {
                body["internalIpv6Range"] = json!(range);
            }
            compute(Verb::Patch, network.to_string(), body)
        }
        Change::RouteInsert(spec) => {
            compute(Verb::Post, format!("projects/{}/global/routes", spec.key.project), route(spec))
        }
        Change::PeeringAdd(spec) => {
            let mut peering = json!(spec.exchange);
            peering["name"] = json!(spec.name);
            peering["network"] = json!(link(&spec.peer));
            peering["exchangeSubnetRoutes"] = json!(true);
            let body = json!({ "networkPeering": peering });
            compute(Verb::Post, format!("{}/addPeering", spec.network), body)
        }
        Change::AddressInsert(spec) => return address(spec),
        Change::ConnectionCreate(spec) => {
            let body = json!({ "network": spec.network.to_string(), "reservedPeeringRanges": spec.ranges });
            let path = format!("/servicenetworking/v1/services/{SERVICE_NETWORKING}/connections");
            request(Verb::Post, path, body)
        }
        Change::RedisInsert(spec) => redis(spec),
        Change::RedisUpdate { redis, memory_size_gb, configs, auth } => {
            let fields = [
                ("memorySizeGb", memory_size_gb.map(Value::from)),
                ("redisConfigs", configs.as_ref().map(|configs| json!(configs))),
                ("authEnabled", auth.map(Value::from)),
            ];
            let said: Map<String, Value> =
                fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
            let mask: Vec<&str> = said.keys().map(String::as_str).collect();
            let path = format!("/redis/v1/{redis}?updateMask={}", mask.join(","));
            request(Verb::Patch, path, Value::Object(said))
        }
        _ => return None,
    })
}

/// The State after a request, whose changes are made at once; the same State after one that only asks.
pub fn after(state: State, request: &Request, now: Timestamp) -> Result<State, Failure> {
    let Outcome::Commit(commit) = answer(&state, request, now)? else { return Ok(state) };
    let State { world, mut operations } = state;
    let (world, operation) = commit.begin_from(world, &operations, now)?;
    let operation = commit.done(operation, &world, now);
    if commit.is_recorded() {
        operations.put(operation);
    }
    Ok(State { world, operations })
}

fn request(verb: Verb, path: String, body: Value) -> Request {
    Request::new("", verb, &path, body)
}

fn instance(spec: &InstanceSpec) -> Value {
    let nics = spec.nics.iter().map(|nic| {
        let mut wire = json!({ "subnetwork": link(&nic.subnetwork) });
        if let Some(address) = nic.address {
            wire["networkIP"] = json!(address);
        }
        if nic.stack_type == StackType::Ipv4Ipv6 {
            wire["stackType"] = json!(nic.stack_type);
        }
        if !nic.aliases.is_empty() {
            wire["aliasIpRanges"] = nic.aliases.iter().map(alias).collect();
        }
        wire
    });
    let mut body = json!({ "name": spec.key.name, "networkInterfaces": nics.collect::<Vec<_>>() });
    if spec.can_ip_forward {
        body["canIpForward"] = json!(true);
    }
    if !spec.tags.is_empty() {
        body["tags"] = json!({ "items": spec.tags });
    }
    if let Some(account) = &spec.service_account {
        body["serviceAccounts"] = json!([account]);
    }
    if !spec.metadata.is_empty() {
        let items = spec.metadata.iter().map(|(key, value)| json!({ "key": key, "value": value }));
        body["metadata"] = json!({ "items": items.collect::<Vec<_>>() });
    }
    body
}

fn alias(spec: &AliasSpec) -> Value {
    let mut wire = json!({ "ipCidrRange": spec.to_string() });
    if let Some(name) = &spec.secondary {
        wire["subnetworkRangeName"] = json!(name);
    }
    wire
}

fn firewall(spec: &FirewallSpec) -> Value {
    let entries = spec.matches.iter().map(|l4| {
        let mut entry = json!({ "IPProtocol": l4.protocol.to_string() });
        if !l4.ports.is_empty() {
            entry["ports"] = l4.ports.iter().map(|ports| json!(ports.to_string())).collect();
        }
        entry
    });
    let mut body = Map::new();
    body.insert("name".into(), json!(spec.key.name));
    body.insert("network".into(), json!(link(&spec.network)));
    body.insert("priority".into(), json!(spec.priority));
    let direction = if spec.direction == Direction::Ingress { "INGRESS" } else { "EGRESS" };
    body.insert("direction".into(), json!(direction));
    let action = if spec.action == Action::Allow { "allowed" } else { "denied" };
    body.insert(action.into(), entries.collect());
    if spec.disabled {
        body.insert("disabled".into(), json!(true));
    }
    if let Some(metadata) = spec.logging {
        body.insert("logConfig".into(), json!({ "enable": true, "metadata": metadata.as_str() }));
    }
    for (field, values) in [
        ("sourceRanges", json!(spec.source_ranges)),
        ("destinationRanges", json!(spec.destination_ranges)),
        ("sourceTags", json!(spec.source_tags)),
        ("targetTags", json!(spec.target_tags)),
        ("sourceServiceAccounts", json!(spec.source_service_accounts)),
        ("targetServiceAccounts", json!(spec.target_service_accounts)),
    ] {
        if values.as_array().is_some_and(|values| !values.is_empty()) {
            body.insert(field.into(), values);
        }
    }
    Value::Object(body)
}

fn route(spec: &RouteSpec) -> Value {
    let mut body = json!({
        "name": spec.key.name,
        "network": link(&spec.network),
        "destRange": spec.dest_range.to_string(),
        "priority": spec.priority,
    });
    let (field, hop) = match &spec.next_hop {
        NextHop::InternetGateway => {
            let gateway = format!("projects/{}/global/gateways/default-internet-gateway", spec.key.project);
            ("nextHopGateway", link(gateway))
        }
        NextHop::Instance(key) => ("nextHopInstance", link(key)),
        NextHop::Address(address) => ("nextHopIp", address.to_string()),
    };
    body[field] = json!(hop);
    if !spec.tags.is_empty() {
        body["tags"] = json!(spec.tags);
    }
    body
}

fn forwarding_rule(spec: &ForwardingRuleSpec) -> Value {
    let mut body = json!({
        "name": spec.key.name,
        "network": link(&spec.network),
        "subnetwork": link(&spec.subnetwork),
    });
    if let Some(address) = spec.address {
        body["IPAddress"] = json!(address);
    }
    match &spec.to {
        ForwardSpec::Instance { target, takes } => {
            body["loadBalancingScheme"] = json!("INTERNAL");
            body["target"] = json!(link(target));
            body["IPProtocol"] = json!(forwarding_rule::protocol(takes));
            match takes.ports.is_empty() {
                true => body["allPorts"] = json!(true),
                false => {
                    body["ports"] = takes.ports.iter().map(|ports| json!(ports.to_string())).collect();
                }
            }
            body["allowGlobalAccess"] = json!(spec.global);
        }
        ForwardSpec::Service(attachment) => {
            body["target"] = json!(link(attachment));
            body["allowPscGlobalAccess"] = json!(spec.global);
        }
    }
    body
}

fn service_attachment(spec: &ServiceAttachmentSpec) -> Value {
    let Acceptance { manual, accept, reject, reconcile } = &spec.acceptance;
    let limits = accept.iter().map(|(who, limit)| match who {
        Consumer::Project(id) => json!({ "projectIdOrNum": id, "connectionLimit": limit }),
        Consumer::Network(key) => json!({ "networkUrl": link(key), "connectionLimit": limit }),
    });
    json!({
        "name": spec.key.name,
        "targetService": link(&spec.target),
        "natSubnets": spec.nat_subnetworks.iter().map(|key| json!(link(key))).collect::<Value>(),
        "connectionPreference": if *manual { "ACCEPT_MANUAL" } else { "ACCEPT_AUTOMATIC" },
        "consumerAcceptLists": limits.collect::<Value>(),
        "consumerRejectLists": reject.iter().map(|who| json!(who.to_string())).collect::<Value>(),
        "reconcileConnections": reconcile,
    })
}

fn managed_zone(spec: &ManagedZoneSpec) -> Value {
    let network = |key| json!({ "networkUrl": link(key) });
    let mut body = json!({
        "name": spec.key.name,
        "dnsName": spec.dns_name,
        "visibility": "private",
        "privateVisibilityConfig": { "networks": spec.networks.iter().map(network).collect::<Value>() },
    });
    if let Some(target) = &spec.peering {
        body["peeringConfig"] = json!({ "targetNetwork": network(target) });
    }
    body
}

/// A range for managed services; topology files reserve nothing else.
fn address(spec: &AddressSpec) -> Option<Request> {
    let Reserve::Peering { network, base, prefix_len } = &spec.reserve else { return None };
    let mut body = json!({
        "name": spec.key.name,
        "addressType": "INTERNAL",
        "purpose": "VPC_PEERING",
        "network": link(network),
        "prefixLength": prefix_len,
    });
    if let Some(base) = base {
        body["address"] = json!(base);
    }
    let path = format!("/compute/v1/projects/{}/global/addresses", spec.key.project);
    Some(request(Verb::Post, path, body))
}

fn redis(spec: &RedisSpec) -> Request {
    let key = &spec.key;
    let path = format!(
        "/redis/v1/projects/{}/locations/{}/instances?instanceId={}",
        key.project, key.region, key.name
    );
    let tier = match spec.tier {
        RedisTier::Basic => "BASIC",
    };
    let mut body = json!({
        "authorizedNetwork": spec.authorized_network.to_string(),
        "tier": tier,
        "memorySizeGb": spec.memory_size_gb,
    });
    if spec.tls {
        body["transitEncryptionMode"] = json!("SERVER_AUTHENTICATION");
    }
    if let Some(range) = spec.reserved_ip_range {
        body["reservedIpRange"] = json!(range.to_string());
    }
    if let ConnectMode::PrivateServiceAccess { range } = &spec.connect_mode {
        body["connectMode"] = json!("PRIVATE_SERVICE_ACCESS");
        if let Some(range) = range {
            body["reservedIpRange"] = json!(range);
        }
    }
    request(Verb::Post, path, body)
}
