//! What Terraform's google provider asked for, asked again: `e2e/terraform/recorded` has its requests in their order,
//! and what it was answered when its plans were empty. Wherever it looks, the answers must be the same.

use crate::common::Cloud;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tombolo_api::fields::Mask;
use tombolo_api::methods::{self, Method};
use tombolo_api::{Request, Verb};

/// What the provider reads of each message. Another value, or none, would be a change in the next plan or an error.
/// Source: the provider's `flatten…` functions and `…Read`s, and `…OperationWait`, in its version 7.
const READ: &[(&str, &str, &[&str])] = &[
    ("cloudresourcemanager.v1", "Project", &["lifecycleState", "name", "parent", "projectId"]),
    (
        "compute.v1",
        "Address",
        &[
            "address",
            "addressType",
            "description",
            "ipCollection",
            "ipVersion",
            "ipv6EndpointType",
            "labels",
            "name",
            "network",
            "networkTier",
            "prefixLength",
            "purpose",
            "region",
            "selfLink",
            "subnetwork",
            "users",
        ],
    ),
    (
        "compute.v1",
        "Disk",
        &[
            "architecture",
            "enableConfidentialCompute",
            "labels",
            "provisionedIops",
            "provisionedThroughput",
            "replicaZones",
            "sizeGb",
            "sourceImage",
            "storagePool",
            "type",
        ],
    ),
    (
        "compute.v1",
        "Firewall",
        &[
            "allowed",
            "denied",
            "description",
            "destinationRanges",
            "direction",
            "disabled",
            "logConfig",
            "name",
            "network",
            "priority",
            "selfLink",
            "sourceRanges",
            "sourceServiceAccounts",
            "sourceTags",
            "targetServiceAccounts",
            "targetTags",
        ],
    ),
    ("compute.v1", "Image", &["family", "name", "selfLink"]),
    (
        "compute.v1",
        "Instance",
        &[
            "advancedMachineFeatures",
            "canIpForward",
            "confidentialInstanceConfig",
            "deletionProtection",
            "description",
            "disks",
            "displayDevice",
            "guestAccelerators",
            "hostname",
            "instanceEncryptionKey",
            "keyRevocationActionType",
            "labels",
            "machineType",
            "metadata.items",
            "minCpuPlatform",
            "name",
            "networkInterfaces",
            "networkPerformanceConfig",
            "reservationAffinity",
            "resourcePolicies",
            "scheduling",
            "selfLink",
            "serviceAccounts",
            "shieldedInstanceConfig",
            "status",
            "tags.items",
            "zone",
        ],
    ),
    (
        "compute.v1",
        "Network",
        &[
            "autoCreateSubnetworks",
            "description",
            "enableUlaInternalIpv6",
            "gatewayIPv4",
            "internalIpv6Range",
            "mtu",
            "name",
            "networkFirewallPolicyEnforcementOrder",
            "networkProfile",
            "peerings",
            "routingConfig",
            "selfLink",
        ],
    ),
    ("compute.v1", "Operation", &["error", "operationType", "region", "status", "targetLink", "zone"]),
    (
        "compute.v1",
        "Subnetwork",
        &[
            "allowSubnetCidrRoutesOverlap",
            "description",
            "externalIpv6Prefix",
            "gatewayAddress",
            "internalIpv6Prefix",
            "ipCidrRange",
            "ipCollection",
            "ipv6AccessType",
            "ipv6CidrRange",
            "logConfig",
            "name",
            "network",
            "privateIpGoogleAccess",
            "privateIpv6GoogleAccess",
            "purpose",
            "region",
            "role",
            "secondaryIpRanges",
            "selfLink",
            "stackType",
        ],
    ),
    (
        "compute.v1",
        "ForwardingRule",
        &[
            "IPAddress",
            "IPProtocol",
            "allPorts",
            "allowGlobalAccess",
            "allowPscGlobalAccess",
            "backendService",
            "baseForwardingRule",
            "description",
            "ipCollection",
            "ipVersion",
            "isMirroringCollector",
            "labels",
            "loadBalancingScheme",
            "name",
            "network",
            "networkTier",
            "portRange",
            "ports",
            "pscConnectionId",
            "pscConnectionStatus",
            "region",
            "selfLink",
            "serviceDirectoryRegistrations",
            "serviceLabel",
            "serviceName",
            "sourceIpRanges",
            "subnetwork",
            "target",
        ],
    ),
    (
        "compute.v1",
        "ServiceAttachment",
        &[
            "connectedEndpoints",
            "connectionPreference",
            "consumerAcceptLists",
            "consumerRejectLists",
            "description",
            "domainNames",
            "enableProxyProtocol",
            "name",
            "natSubnets",
            "propagatedConnectionLimit",
            "pscServiceAttachmentId",
            "reconcileConnections",
            "selfLink",
            "targetService",
        ],
    ),
    ("compute.v1", "TargetInstance", &["description", "instance", "name", "natPolicy", "selfLink", "zone"]),
    (
        "redis.v1",
        "Instance",
        &[
            "alternativeLocationId",
            "authEnabled",
            "authorizedNetwork",
            "connectMode",
            "currentLocationId",
            "customerManagedKey",
            "displayName",
            "host",
            "labels",
            "locationId",
            "maintenancePolicy",
            "maintenanceSchedule",
            "memorySizeGb",
            "name",
            "nodes",
            "persistenceConfig",
            "port",
            "readEndpoint",
            "readEndpointPort",
            "readReplicasMode",
            "redisConfigs",
            "redisVersion",
            "replicaCount",
            "reservedIpRange",
            "secondaryIpRange",
            "serverCaCerts",
            "state",
            "tier",
            "transitEncryptionMode",
        ],
    ),
    (
        "compute.v1",
        "Route",
        &[
            "asPaths",
            "description",
            "destRange",
            "name",
            "network",
            "nextHopGateway",
            "nextHopHub",
            "nextHopIlb",
            "nextHopInstance",
            "nextHopIp",
            "nextHopNetwork",
            "nextHopOrigin",
            "nextHopPeering",
            "nextHopVpnTunnel",
            "priority",
            "routeStatus",
            "routeType",
            "selfLink",
            "tags",
            "warnings",
        ],
    ),
    ("redis.v1", "Operation", &["done", "error"]),
    ("serviceusage.v1", "ListServicesResponse", &["nextPageToken", "services"]),
    ("serviceusage.v1", "Operation", &["done", "error"]),
];

/// What differs from run to run, wherever it is: it must be there, and later requests say the new one.
const CHANCE: &[&str] = &[
    "creationTimestamp",
    "fingerprint",
    "high",
    "id",
    "labelFingerprint",
    "lastStartTimestamp",
    "lastStopTimestamp",
    "low",
    "nextPageToken",
    "projectNumber",
    "pscConnectionId",
    "stateDetails",
];

/// A request and its answer as they were recorded.
struct Exchange {
    place: String,
    verb: String,
    target: String,
    body: Value,
    status: u64,
    answer: Value,
}

/// All that were recorded, in their order.
fn recorded() -> Vec<Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/terraform/recorded");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    files.sort();
    let mut exchanges = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a text");
        for (number, line) in text.lines().enumerate() {
            let exchange: Value = serde_json::from_str(line).expect("JSON");
            let text = |name: &str| exchange[name].as_str().expect("a text").to_owned();
            exchanges.push(Exchange {
                place: format!("{}:{}", path.display(), number + 1),
                verb: text("verb"),
                target: text("target"),
                body: exchange["body"].clone(),
                status: exchange["status"].as_u64().expect("a status"),
                answer: exchange["answer"].clone(),
            });
        }
    }
    exchanges
}

/// What was recorded, and what has its place in this run.
#[derive(Default)]
struct Substitutes(BTreeMap<String, String>);

impl Substitutes {
    /// A value as this run says it.
    fn apply(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.0.get(text).unwrap_or(text)),
            Value::Array(items) => items.iter().map(|item| self.apply(item)).collect(),
            Value::Object(map) => {
                Value::Object(map.iter().map(|(name, value)| (name.clone(), self.apply(value))).collect())
            }
            other => other.clone(),
        }
    }

    /// A request's target, of which operations' names and page tokens are parts.
    fn apply_to_target(&self, target: &str) -> String {
        let part = |part: &str| self.0.get(part).cloned().unwrap_or_else(|| part.to_owned());
        target
            .split_inclusive(['/', '?', '&', '='])
            .map(|text| {
                let end = text.trim_end_matches(['/', '?', '&', '=']);
                part(end) + &text[end.len()..]
            })
            .collect()
    }

    /// Learns what is chance in an answer, wherever both have it.
    fn learn(&mut self, then: &Value, now: &Value) {
        match (then, now) {
            (Value::Object(then), Value::Object(now)) => {
                for (name, value) in then {
                    let Some(new) = now.get(name) else { continue };
                    match (value.as_str(), new.as_str()) {
                        (Some(value), Some(new))
                            if CHANCE.contains(&name.as_str()) || is_operation(value) =>
                        {
                            self.0.insert(value.to_owned(), new.to_owned());
                        }
                        _ => self.learn(value, new),
                    }
                }
            }
            (Value::Array(then), Value::Array(now)) => {
                then.iter().zip(now).for_each(|(then, now)| self.learn(then, now));
            }
            _ => {}
        }
    }
}

/// Whether a name is one of an operation; all others are said by who asks.
fn is_operation(name: &str) -> bool {
    name.starts_with("operation-") || name.split('/').any(|part| part == "operations")
}

/// What the provider would see differently in an answer.
fn differences(method: &Method, then: &Value, now: &Value) -> Vec<String> {
    let schema = method.response.unwrap_or_default();
    let read = READ.iter().find(|(api, name, _)| *api == method.api.name() && *name == schema);
    let Some((_, _, fields)) = read else { return vec![format!("nothing is known of {schema}")] };
    let at =
        |value: &Value, path: &str| path.split('.').fold(value.clone(), |value, name| value[name].clone());
    let differ = fields.iter().filter_map(|path| {
        let (then, now) = (without_chance(&at(then, path)), without_chance(&at(now, path)));
        (then != now).then(|| format!("{path} was {then}, is {now}"))
    });
    differ.collect()
}

/// What is chance is either there or not.
fn without_chance(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, value)| {
                let chance = CHANCE.contains(&name.as_str()) && !value.is_null();
                (name.clone(), if chance { json!("chance") } else { without_chance(value) })
            });
            Value::Object(pairs.collect())
        }
        Value::Array(items) => items.iter().map(without_chance).collect(),
        other => other.clone(),
    }
}

/// What of an error clients act upon.
fn of_error(body: &Value) -> Value {
    let error = &body["error"];
    json!([error["code"], error["message"], error["status"], error["errors"][0]["reason"]])
}

/// The method that a request is.
fn method(exchange: &Exchange) -> &'static Method {
    let verb = Verb::parse(&exchange.verb).expect("a verb");
    let request = Request::new("localhost", verb, &exchange.target, Value::Null);
    methods::find(&request).expect("a method").0
}

#[test]
fn the_provider_is_answered_as_when_its_plans_were_empty() {
    let mut cloud = Cloud::new();
    for id in ["project-i-1", "project-i-2"] {
        cloud.post("/cloudresourcemanager/v1/projects", json!({ "projectId": id }));
    }
    let mut substitutes = Substitutes::default();
    let exchanges = recorded();
    assert!(exchanges.len() > 100, "only {} exchanges are recorded", exchanges.len());
    for exchange in &exchanges {
        let target = substitutes.apply_to_target(&exchange.target);
        let answered = cloud.send(&exchange.verb, &target, substitutes.apply(&exchange.body));
        let place = format!("{}: {} {target}", exchange.place, exchange.verb);
        match answered {
            Ok(answer) => {
                assert_eq!(exchange.status, 200, "{place}: {answer}");
                let verb = Verb::parse(&exchange.verb).expect("a verb");
                let request = Request::new("localhost", verb, &target, Value::Null);
                let mask = Mask::of(&request).expect("a mask");
                let answer = mask.apply(answer);
                substitutes.learn(&exchange.answer, &answer);
                let then = substitutes.apply(&exchange.answer);
                let differ = differences(method(exchange), &then, &answer);
                assert!(differ.is_empty(), "{place}:\n{}", differ.join("\n"));
            }
            Err(error) => {
                assert_eq!(error["error"]["code"], exchange.status, "{place}: {error}");
                assert_eq!(of_error(&error), of_error(&exchange.answer), "{place}");
            }
        }
    }
    // The last step was `terraform destroy`.
    let world = &cloud.state.world;
    assert!(world.instances.is_empty() && world.redis.is_empty());
    assert!(world.networks.keys().all(|key| key.name == "default"));
}

/// Every field of every answer that is read is compared: if it were another, or gone, it would be seen.
#[test]
fn a_field_that_differs_is_noticed() {
    let mut seen = BTreeMap::new();
    for exchange in recorded().iter().filter(|exchange| exchange.status == 200) {
        let method = method(exchange);
        assert_eq!(differences(method, &exchange.answer, &exchange.answer), [""; 0], "{}", exchange.place);
        let known =
            READ.iter().find(|(api, name, _)| *api == method.api.name() && Some(*name) == method.response);
        let (api, schema, fields) = known.expect("it is one that is read");
        for path in fields.iter().filter(|path| !path.contains('.')) {
            let Some(value) = exchange.answer.get(*path).filter(|_| !CHANCE.contains(path)) else { continue };
            for other in [json!("another"), Value::Null] {
                let mut answer = exchange.answer.clone();
                answer[*path] = other;
                assert_eq!(differences(method, &exchange.answer, &answer).len(), 1, "{path} {value}");
            }
            *seen.entry((api, schema)).or_insert(0) += 1;
        }
    }
    // There is something of each.
    assert_eq!(seen.len(), READ.len(), "{seen:#?}");
}
