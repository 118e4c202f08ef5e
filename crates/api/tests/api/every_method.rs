//! Every method that is answered is answered at least once, by a message that Google's schema allows (`common` checks
//! each answer), and every other one says that it is not: a handler that nobody exercises makes this test fail.

use crate::common::{Cloud, check};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tombolo_api::{Request, Verb, methods};

const C: &str = "/compute/v1/projects/project-1";
const R: &str = "/redis/v1/projects/project-1/locations/us-central1";
const ZONE: &str = "zones/us-central1-a";
const REGION: &str = "regions/us-central1";

/// A walk through the methods that remembers which have answered.
struct Walk {
    cloud: Cloud,
    answered: BTreeSet<String>,
}

impl Walk {
    fn send(&mut self, verb: &str, target: &str, body: Value) -> Value {
        let request = Request::new("localhost", Verb::parse(verb).expect("a verb"), target, Value::Null);
        let (method, _) = methods::find(&request).unwrap_or_else(|_| panic!("{verb} {target} is no method"));
        let answer = self.cloud.good(verb, target, body);
        self.answered.insert(format!("{} {}", method.api.name(), method.id));
        answer
    }

    fn get(&mut self, target: &str) -> Value {
        self.send("GET", target, Value::Null)
    }

    fn post(&mut self, target: &str, body: Value) -> Value {
        self.send("POST", target, body)
    }

    fn patch(&mut self, target: &str, body: Value) -> Value {
        self.send("PATCH", target, body)
    }

    fn delete(&mut self, target: &str) -> Value {
        self.send("DELETE", target, Value::Null)
    }
}

#[test]
fn every_method_is_answered_or_says_that_it_is_not() {
    let mut walk = Walk { cloud: Cloud::new(), answered: BTreeSet::new() };
    projects(&mut walk);
    hierarchy(&mut walk);
    what_every_project_has(&mut walk);
    networks(&mut walk);
    firewall_policies(&mut walk);
    routers(&mut walk);
    instances(&mut walk);
    tags(&mut walk);
    forwarding(&mut walk);
    addresses(&mut walk);
    shared_vpc(&mut walk);
    redis(&mut walk);
    dns(&mut walk);
    connections(&mut walk);
    operations(&mut walk);
    the_end(&mut walk);
    for line in include_str!("../../google/methods.tsv").lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (api, id, verb, path) = (columns[0], columns[1], columns[2], columns[3]);
        if tombolo_api::implements(id) {
            let answered = walk.answered.contains(&format!("{api} {id}"));
            assert!(answered, "{id} of {api} has a handler that nothing here exercises");
            continue;
        }
        let api = api.split('.').next().expect("an API");
        let target = if ["compute", "dns"].contains(&api) {
            example(path)
        } else {
            format!("/{api}{}", example(path))
        };
        check(
            &walk.cloud.refused(verb, &target, Value::Null),
            501,
            &format!("Tombolo does not support the method '{id}'."),
        );
    }
}

/// A path with something in the place of each parameter.
fn example(path: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((_, suffix)) => format!("x{suffix}"),
        None => segment.to_owned(),
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn projects(walk: &mut Walk) {
    walk.post("/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1", "name": "One" }));
    walk.post("/cloudresourcemanager/v3/projects", json!({ "projectId": "project-2", "displayName": "Two" }));
    for (version, list) in
        [("v1", "projects"), ("v3", "projects?parent=folders/1"), ("v3", "projects:search")]
    {
        walk.get(&format!("/cloudresourcemanager/{version}/projects/project-1"));
        walk.get(&format!("/cloudresourcemanager/{version}/{list}"));
    }
    let services = "/serviceusage/v1/projects/project-1/services";
    walk.post(&format!("{services}/compute.googleapis.com:enable"), json!({}));
    walk.post(
        &format!("{services}:batchEnable"),
        json!({ "serviceIds": ["redis.googleapis.com", "dns.googleapis.com"] }),
    );
    walk.post(&format!("{services}/dns.googleapis.com:disable"), json!({}));
    walk.get("/cloudbilling/v1/projects/project-1/billingInfo");
    walk.get(&format!("{services}/redis.googleapis.com"));
    walk.get(&format!("{services}:batchGet?names=projects/project-1/services/redis.googleapis.com"));
    walk.get(&format!("{services}?filter=state:ENABLED"));
    let two = "/serviceusage/v1/projects/project-2/services/compute.googleapis.com:enable";
    walk.post(two, json!({}));
}

fn hierarchy(walk: &mut Walk) {
    let (v1, v3) = ("/cloudresourcemanager/v1", "/cloudresourcemanager/v3");
    let org = walk.get(&format!("{v3}/organizations:search"))["organizations"][0]["name"].clone();
    let org = org.as_str().expect("a name").to_owned();
    walk.get(&format!("{v3}/{org}"));
    walk.get(&format!("{v1}/{org}"));
    walk.post(&format!("{v1}/organizations:search"), json!({}));
    let made = walk.post(&format!("{v3}/folders"), json!({ "parent": org, "displayName": "prod" }));
    let folder = made["response"]["name"].as_str().expect("a name").to_owned();
    walk.get(&format!("{v3}/{folder}"));
    walk.get(&format!("{v3}/folders?parent={org}"));
    walk.get(&format!("{v3}/folders:search"));
    walk.patch(&format!("{v3}/{folder}?updateMask=displayName"), json!({ "displayName": "live" }));
    let v2 = "/cloudresourcemanager/v2";
    let body = json!({ "displayName": "test" });
    let made = walk.post(&format!("{v2}/folders?parent={org}"), body);
    let test = made["response"]["name"].as_str().expect("a name").to_owned();
    walk.get(&format!("{v2}/{test}"));
    walk.get(&format!("{v2}/folders?parent={org}"));
    walk.post(&format!("{v2}/folders:search"), json!({}));
    walk.patch(&format!("{v2}/{test}?updateMask=displayName"), json!({ "displayName": "trial" }));
    walk.delete(&format!("{v2}/{test}"));
    walk.post(&format!("{v3}/projects/project-2:move"), json!({ "destinationParent": folder }));
    walk.post(&format!("{v1}/projects/project-2:getAncestry"), json!({}));

    let policies = "/compute/v1/locations/global/firewallPolicies";
    let made = walk.post(&format!("{policies}?parentId={org}"), json!({ "shortName": "policy-1" }));
    let policy = format!("{policies}/{}", made["targetId"].as_str().expect("an id"));
    walk.get(&policy);
    walk.get(&format!("{policies}?parentId={org}"));
    a_policys_rules(walk, &policy);
    walk.post(&format!("{policy}/move?parentId={folder}"), Value::Null);
    walk.post(&format!("{policy}/addAssociation"), json!({ "name": "at", "attachmentTarget": folder }));
    walk.get(&format!("{policy}/getAssociation?name=at"));
    walk.get(&format!("{policies}/listAssociations?targetResource={folder}"));
    walk.post(&format!("{policy}/removeAssociation?name=at"), Value::Null);
    walk.delete(&policy);
    let operations = "/compute/v1/locations/global/operations";
    let all = walk.get(&format!("{operations}?parentId={org}"));
    let one = all["items"][0]["name"].as_str().expect("a name").to_owned();
    walk.get(&format!("{operations}/{one}?parentId={org}"));
    walk.delete(&format!("{operations}/{one}?parentId={org}"));
    walk.post(&format!("{v3}/projects/project-2:move"), json!({ "destinationParent": org }));
    walk.delete(&format!("{v3}/{folder}"));
}

fn tags(walk: &mut Walk) {
    let v3 = "/cloudresourcemanager/v3";
    let named = |made: Value| made["response"]["name"].as_str().expect("a name").to_owned();
    let body = json!({ "parent": "projects/project-1", "shortName": "role", "purpose": "GCE_FIREWALL",
        "purposeData": { "network": "project-1/vpc-1" } });
    let key = named(walk.post(&format!("{v3}/tagKeys"), body));
    walk.get(&format!("{v3}/{key}"));
    walk.get(&format!("{v3}/tagKeys/namespaced?name=project-1/role"));
    walk.get(&format!("{v3}/tagKeys?parent=projects/project-1"));
    walk.patch(&format!("{v3}/{key}"), json!({ "description": "d" }));
    let body = json!({ "parent": key, "shortName": "web" });
    let value = named(walk.post(&format!("{v3}/tagValues"), body));
    walk.get(&format!("{v3}/{value}"));
    walk.get(&format!("{v3}/tagValues/namespaced?name=project-1/role/web"));
    walk.get(&format!("{v3}/tagValues?parent={key}"));
    walk.patch(&format!("{v3}/{value}"), json!({ "description": "d" }));
    let vm = format!("//compute.googleapis.com/projects/project-1/{ZONE}/instances/vm-1");
    let binding = named(walk.post(&format!("{v3}/tagBindings"), json!({ "parent": vm, "tagValue": value })));
    walk.get(&format!("{v3}/tagBindings?parent={vm}"));
    walk.get(&format!("{v3}/effectiveTags?parent={vm}"));
    walk.delete(&format!("{v3}/{binding}"));
    walk.delete(&format!("{v3}/{value}"));
    walk.delete(&format!("{v3}/{key}"));
}

fn what_every_project_has(walk: &mut Walk) {
    for target in [
        "",
        "/regions",
        "/regions/us-central1",
        "/zones",
        "/zones/us-central1-a",
        "/zones/us-central1-a/machineTypes",
        "/zones/us-central1-a/machineTypes/e2-micro",
        "/aggregated/machineTypes",
    ] {
        walk.get(&format!("{C}{target}"));
    }
    let debian = "/compute/v1/projects/debian-cloud";
    walk.get(&format!("{debian}/global/images"));
    let image = walk.get(&format!("{debian}/global/images/family/debian-12"));
    walk.get(&format!("{debian}/global/images/{}", image["name"].as_str().expect("a name")));
    walk.get(&format!("{debian}/{ZONE}/imageFamilyViews/debian-12"));
    let metadata = json!({ "items": [{ "key": "a", "value": "b" }] });
    walk.post(&format!("{C}/setCommonInstanceMetadata"), metadata);
}

fn networks(walk: &mut Walk) {
    let networks = format!("{C}/global/networks");
    for name in ["vpc-1", "vpc-2"] {
        walk.post(&networks, json!({ "name": name, "autoCreateSubnetworks": false }));
    }
    walk.get(&networks);
    walk.get(&format!("{networks}/vpc-1"));
    walk.patch(&format!("{networks}/vpc-1"), json!({ "routingConfig": { "routingMode": "GLOBAL" } }));
    walk.get(&format!("{networks}/vpc-1/getEffectiveFirewalls"));
    for (network, peer) in [("vpc-1", "vpc-2"), ("vpc-2", "vpc-1")] {
        let peering = json!({ "networkPeering":
            { "name": "peer", "network": format!("projects/project-1/global/networks/{peer}"), "exchangeSubnetRoutes": true } });
        walk.post(&format!("{networks}/{network}/addPeering"), peering);
    }
    let same = json!({ "networkPeering": { "name": "peer", "exportCustomRoutes": false } });
    walk.patch(&format!("{networks}/vpc-1/updatePeering"), same);
    let (subnetworks, subnetwork) =
        (format!("{C}/{REGION}/subnetworks"), format!("{C}/{REGION}/subnetworks/subnet-1"));
    let body = json!({ "name": "subnet-1", "network": "global/networks/vpc-1", "ipCidrRange": "10.1.0.0/24",
        "secondaryIpRanges": [{ "rangeName": "pods", "ipCidrRange": "10.8.0.0/16" }] });
    walk.post(&subnetworks, body);
    walk.get(&subnetworks);
    walk.get(&format!("{C}/aggregated/subnetworks"));
    walk.post(&format!("{subnetwork}/setPrivateIpGoogleAccess"), json!({ "privateIpGoogleAccess": true }));
    walk.post(&format!("{subnetwork}/expandIpCidrRange"), json!({ "ipCidrRange": "10.1.0.0/16" }));
    let found = walk.get(&subnetwork);
    let more = json!([{ "rangeName": "services", "ipCidrRange": "10.9.0.0/20" }]);
    let patch =
        json!({ "fingerprint": found["fingerprint"], "secondaryIpRanges": more, "enableFlowLogs": true });
    walk.patch(&subnetwork, patch);
    let routes = "listPeeringRoutes?peeringName=peer&region=us-central1&direction=INCOMING";
    walk.get(&format!("{networks}/vpc-2/{routes}"));
    walk.post(&format!("{networks}/vpc-2/removePeering"), json!({ "name": "peer" }));
    let rules = format!("{C}/global/firewalls");
    let rule = json!({ "name": "rule", "network": "global/networks/vpc-1", "allowed": [{ "IPProtocol": "tcp", "ports": ["22"] }] });
    walk.post(&rules, rule.clone());
    walk.get(&rules);
    walk.get(&format!("{rules}/rule"));
    walk.patch(&format!("{rules}/rule"), json!({ "priority": 900 }));
    walk.send("PUT", &format!("{rules}/rule"), rule);
    walk.delete(&format!("{rules}/rule"));
    let routes = format!("{C}/global/routes");
    let route = json!({ "name": "route", "network": "global/networks/vpc-1", "destRange": "192.168.0.0/16",
        "nextHopGateway": "global/gateways/default-internet-gateway", "priority": 900 });
    walk.post(&routes, route);
    walk.get(&routes);
    walk.get(&format!("{routes}/route"));
    walk.delete(&format!("{routes}/route"));
}

fn instances(walk: &mut Walk) {
    let instances = format!("{C}/{ZONE}/instances");
    let body = json!({
        "name": "vm-1",
        "machineType": format!("{ZONE}/machineTypes/e2-micro"),
        "disks": [{ "boot": true, "initializeParams": { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
        "networkInterfaces": [{
            "subnetwork": format!("{REGION}/subnetworks/subnet-1"),
            "accessConfigs": [{ "type": "ONE_TO_ONE_NAT" }],
            "aliasIpRanges": [{ "ipCidrRange": "/24", "subnetworkRangeName": "services" }],
        }],
        "labels": { "a": "b" },
        "serviceAccounts": [{ "email": "default", "scopes": [] }],
        "tags": { "items": ["web"] },
    });
    walk.post(&instances, body);
    walk.get(&instances);
    walk.get(&format!("{C}/aggregated/instances"));
    let vm = format!("{instances}/vm-1");
    let found = walk.get(&vm);
    let nic = &found["networkInterfaces"][0];
    walk.get(&format!("{vm}/getEffectiveFirewalls?networkInterface=nic0"));
    walk.patch(
        &format!("{vm}/updateNetworkInterface?networkInterface=nic0"),
        json!({ "fingerprint": nic["fingerprint"], "aliasIpRanges": [] }),
    );
    walk.post(
        &format!("{vm}/deleteAccessConfig?networkInterface=nic0&accessConfig=External+NAT"),
        Value::Null,
    );
    walk.post(&format!("{vm}/addAccessConfig?networkInterface=nic0"), json!({ "name": "nat" }));
    walk.post(&format!("{vm}/setTags"), json!({ "fingerprint": found["tags"]["fingerprint"], "items": [] }));
    walk.post(
        &format!("{vm}/setMetadata"),
        json!({ "fingerprint": found["metadata"]["fingerprint"], "items": [{ "key": "a", "value": "b" }] }),
    );
    walk.post(
        &format!("{vm}/setLabels"),
        json!({ "labelFingerprint": found["labelFingerprint"], "labels": {} }),
    );
    walk.post(&format!("{vm}/setScheduling"), json!({ "automaticRestart": false }));
    walk.post(&format!("{vm}/setDeletionProtection?deletionProtection=false"), Value::Null);
    walk.post(&format!("{vm}/reset"), Value::Null);
    walk.post(&format!("{vm}/stop"), Value::Null);
    walk.post(
        &format!("{vm}/setMachineType"),
        json!({ "machineType": format!("{ZONE}/machineTypes/e2-small") }),
    );
    walk.post(
        &format!("{vm}/setServiceAccount"),
        json!({ "email": "a@b.iam.gserviceaccount.com", "scopes": ["x"] }),
    );
    walk.get(&vm);
    walk.post(&format!("{vm}/start"), Value::Null);
    walk.get(&format!("{C}/{ZONE}/disks"));
    walk.get(&format!("{C}/{ZONE}/disks/vm-1"));
    walk.get(&format!("{C}/aggregated/disks"));
    // What an instance printed only a lab can tell; the server's tests look at that answer.
    walk.answered.insert("compute.v1 compute.instances.getSerialPortOutput".into());
}

/// An instance behind a forwarding rule, which is published, and an endpoint.
fn forwarding(walk: &mut Walk) {
    let nat = json!({ "name": "nat", "network": "global/networks/vpc-1", "ipCidrRange": "10.77.0.0/24",
        "purpose": "PRIVATE_SERVICE_CONNECT" });
    walk.post(&format!("{C}/{REGION}/subnetworks"), nat);
    let [targets, rules, attachments] = [
        format!("{C}/{ZONE}/targetInstances"),
        format!("{C}/{REGION}/forwardingRules"),
        format!("{C}/{REGION}/serviceAttachments"),
    ];
    for name in ["target-1", "target-2"] {
        walk.post(&targets, json!({ "name": name, "instance": format!("{ZONE}/instances/vm-1") }));
    }
    let rule = json!({ "name": "rule", "loadBalancingScheme": "INTERNAL", "target": format!("{ZONE}/targetInstances/target-1"),
        "ports": ["80"], "subnetwork": format!("{REGION}/subnetworks/subnet-1") });
    walk.post(&rules, rule);
    let target = json!({ "target": format!("{ZONE}/targetInstances/target-2") });
    walk.post(&format!("{rules}/rule/setTarget"), target);
    walk.patch(&format!("{rules}/rule"), json!({ "allowGlobalAccess": true }));
    let found = walk.get(&format!("{rules}/rule"));
    let labels = json!({ "labels": { "a": "b" }, "labelFingerprint": found["labelFingerprint"] });
    walk.post(&format!("{rules}/rule/setLabels"), labels);
    let attachment = json!({ "name": "service", "targetService": format!("{REGION}/forwardingRules/rule"),
        "natSubnets": [format!("{REGION}/subnetworks/nat")], "connectionPreference": "ACCEPT_AUTOMATIC" });
    walk.post(&attachments, attachment);
    let endpoint = json!({ "name": "endpoint", "target": format!("{REGION}/serviceAttachments/service"),
        "subnetwork": format!("{REGION}/subnetworks/subnet-1") });
    walk.post(&rules, endpoint);
    walk.patch(&format!("{attachments}/service"), json!({ "description": "d" }));
    walk.get(&format!("{attachments}/service?showNatIps=true"));
    for (collection, noun, name) in [
        (&attachments, "serviceAttachments", "service"),
        (&rules, "forwardingRules", "endpoint"),
        (&rules, "forwardingRules", "rule"),
        (&targets, "targetInstances", "target-1"),
        (&targets, "targetInstances", "target-2"),
    ] {
        walk.get(collection);
        walk.get(&format!("{C}/aggregated/{noun}"));
        walk.get(&format!("{collection}/{name}"));
        walk.delete(&format!("{collection}/{name}"));
    }
    walk.delete(&format!("{C}/{REGION}/subnetworks/nat"));
}

fn addresses(walk: &mut Walk) {
    for (place, body) in [
        (format!("{C}/{REGION}/addresses"), json!({ "name": "a" })),
        (
            format!("{C}/global/addresses"),
            json!({ "name": "a", "addressType": "INTERNAL", "purpose": "VPC_PEERING", "prefixLength": 16, "network": "global/networks/vpc-1" }),
        ),
    ] {
        walk.post(&place, body);
        walk.get(&place);
        let found = walk.get(&format!("{place}/a"));
        let labels = json!({ "labels": { "a": "b" }, "labelFingerprint": found["labelFingerprint"] });
        walk.post(&format!("{place}/a/setLabels"), labels);
        walk.get(&format!("{C}/aggregated/addresses"));
        walk.delete(&format!("{place}/a"));
    }
}

fn shared_vpc(walk: &mut Walk) {
    let service = json!({ "xpnResource": { "id": "project-2", "type": "PROJECT" } });
    walk.post(&format!("{C}/enableXpnHost"), Value::Null);
    walk.post(&format!("{C}/enableXpnResource"), service.clone());
    walk.get("/compute/v1/projects/project-2/getXpnHost");
    walk.get(&format!("{C}/getXpnResources"));
    walk.post(&format!("{C}/listXpnHosts"), json!({}));
    walk.post(&format!("{C}/disableXpnResource"), service);
    walk.post(&format!("{C}/disableXpnHost"), Value::Null);
}

fn redis(walk: &mut Walk) {
    walk.get(&format!("{R}?alt=json"));
    walk.get("/redis/v1/projects/project-1/locations");
    let body = json!({ "memorySizeGb": 1, "authorizedNetwork": "projects/project-1/global/networks/vpc-1", "authEnabled": true,
        "redisConfigs": { "maxmemory-policy": "noeviction" } });
    walk.post(&format!("{R}/instances?instanceId=redis-1"), body);
    walk.get(&format!("{R}/instances"));
    walk.get(&format!("{R}/instances/redis-1"));
    let string = walk.get(&format!("{R}/instances/redis-1/authString"));
    assert_eq!(string["authString"].as_str().map(str::len), Some(36));
    let patch = json!({ "labels": { "a": "b" }, "displayName": "One", "memorySizeGb": 2, "redisConfigs": {}, "authEnabled": false });
    let mask = "updateMask=labels,displayName,memorySizeGb,redisConfigs,authEnabled";
    let operation = walk.patch(&format!("{R}/instances/redis-1?{mask}"), patch);
    assert_eq!(operation["response"]["memorySizeGb"], 2);
    assert_eq!(operation["response"]["authEnabled"], Value::Null);
    walk.get(&format!("{R}/operations"));
    let name = format!("/redis/v1/{}", operation["name"].as_str().expect("a name"));
    walk.get(&name);
    walk.post(&format!("{name}:cancel"), json!({}));
    walk.delete(&name);
    assert_eq!(walk.cloud.refused("GET", &name, Value::Null)["error"]["code"], 404);
    walk.delete(&format!("{R}/instances/redis-1"));
}

fn connections(walk: &mut Walk) {
    let services = "/servicenetworking/v1/services/servicenetworking.googleapis.com/connections";
    let enable = "/serviceusage/v1/projects/project-1/services/servicenetworking.googleapis.com:enable";
    walk.post(enable, json!({}));
    let range = json!({ "name": "range", "addressType": "INTERNAL", "purpose": "VPC_PEERING", "prefixLength": 24,
        "network": "global/networks/vpc-1" });
    walk.post(&format!("{C}/global/addresses"), range);
    let network = "projects/project-1/global/networks/vpc-1";
    let body = json!({ "network": network, "reservedPeeringRanges": ["range"] });
    walk.post(services, body.clone());
    walk.get(&format!("{services}?network={network}"));
    walk.patch(&format!("{services}/-?updateMask=reservedPeeringRanges&force=true"), body);
    let gone = json!({ "consumerNetwork": network });
    let operation = walk.post(&format!("{services}/servicenetworking-googleapis-com"), gone);
    walk.delete(&format!("{C}/global/addresses/range"));
    walk.get("/servicenetworking/v1/operations");
    let name = format!("/servicenetworking/v1/{}", operation["name"].as_str().expect("a name"));
    walk.get(&name);
    walk.post(&format!("{name}:cancel"), json!({}));
    walk.delete(&name);
}

fn operations(walk: &mut Walk) {
    walk.get(&format!("{C}/aggregated/operations"));
    for scope in ["global", REGION, ZONE] {
        let operations = format!("{C}/{scope}/operations");
        let all = walk.get(&operations);
        let one = format!("{operations}/{}", all["items"][0]["name"].as_str().expect("an operation"));
        walk.get(&one);
        walk.post(&format!("{one}/wait"), Value::Null);
        walk.delete(&one);
        assert_eq!(walk.cloud.refused("GET", &one, Value::Null)["error"]["code"], 404);
    }
    let project = json!({ "projectId": "project-3" });
    let v1 = walk.post("/cloudresourcemanager/v1/projects", project);
    let v3 = walk.post("/cloudresourcemanager/v3/projects", json!({ "projectId": "project-4" }));
    for (version, operation) in [("v1", v1), ("v3", v3)] {
        walk.get(&format!("/cloudresourcemanager/{version}/{}", operation["name"].as_str().expect("a name")));
    }
    let all = walk.get("/serviceusage/v1/operations");
    let one = format!("/serviceusage/v1/{}", all["operations"][0]["name"].as_str().expect("a name"));
    walk.get(&one);
    walk.post(&format!("{one}:cancel"), json!({}));
    walk.delete(&one);
}

/// A private zone, a peering zone, and records in each way in which there can be some.
fn dns(walk: &mut Walk) {
    walk.post("/serviceusage/v1/projects/project-1/services/dns.googleapis.com:enable", json!({}));
    let zones = "/dns/v1/projects/project-1/managedZones";
    let network = |name: &str| json!({ "networkUrl": format!("projects/project-1/global/networks/{name}") });
    let private = json!({ "networks": [network("vpc-1")] });
    let zone = json!({
        "name": "net", "dnsName": "Example.com.", "description": "d", "visibility": "private",
        "privateVisibilityConfig": private,
    });
    let made = walk.post(zones, zone);
    assert_eq!((&made["dnsName"], &made["visibility"]), (&json!("example.com."), &json!("private")));
    let peering = json!({
        "name": "out", "dnsName": "example.com.", "visibility": "private",
        "privateVisibilityConfig": { "networks": [network("vpc-2")] },
        "peeringConfig": { "targetNetwork": network("vpc-1") },
    });
    walk.post(zones, peering);
    assert_eq!(walk.get(zones)["managedZones"].as_array().map(Vec::len), Some(2));
    assert_eq!(walk.get(&format!("{zones}?dnsName=example.org."))["managedZones"], json!([]));
    let by_number = format!("{zones}/{}", made["id"].as_str().expect("a number"));
    assert_eq!(walk.get(&by_number), walk.get(&format!("{zones}/net")));
    let operation = walk.patch(&format!("{zones}/net"), json!({ "labels": { "a": "b" } }));
    assert_eq!(operation["status"], "done");
    assert_eq!(operation["zoneContext"]["newValue"]["labels"], json!({ "a": "b" }));
    let mut whole = walk.get(&format!("{zones}/net"));
    whole["privateVisibilityConfig"]["networks"] = json!([]);
    walk.send("PUT", &format!("{zones}/net"), whole);
    walk.patch(&format!("{zones}/net"), json!({ "privateVisibilityConfig": private }));
    let operations = walk.get(&format!("{zones}/net/operations"));
    assert_eq!(operations["operations"].as_array().map(Vec::len), Some(3));
    assert_eq!(walk.get(&format!("{zones}/net/operations/0")), operations["operations"][0]);

    let records = format!("{zones}/net/rrsets");
    let record = json!({ "name": "a.example.com.", "type": "A", "ttl": 60, "rrdatas": ["10.9.0.1"] });
    assert_eq!(walk.post(&records, record.clone())["rrdatas"], json!(["10.9.0.1"]));
    let again = walk.cloud.refused("POST", &records, record.clone());
    check(&again, 409, "The resource 'entity.rrset[0]' named 'a.example.com. (A)' already exists");
    let one = format!("{records}/a.example.com./A");
    assert_eq!(walk.patch(&one, json!({ "rrdatas": ["10.9.0.2"] }))["ttl"], 60);
    assert_eq!(walk.get(&one)["rrdatas"], json!(["10.9.0.2"]));
    assert_eq!(walk.get(&records)["rrsets"].as_array().map(Vec::len), Some(3), "with NS and SOA");
    let named = format!("{records}?name=a.example.com.&type=A");
    assert_eq!(walk.get(&named)["rrsets"].as_array().map(Vec::len), Some(1));
    walk.delete(&one);
    let changes = format!("{zones}/net/changes");
    let change = walk.post(&changes, json!({ "additions": [record] }));
    assert_eq!((&change["status"], &change["id"]), (&json!("done"), &json!("4")));
    assert_eq!(walk.get(&format!("{changes}/4")), change);
    assert_eq!(walk.get(&changes)["changes"][0], change);
    let other = json!({ "name": "a.example.com.", "type": "A", "ttl": 61, "rrdatas": ["10.9.0.1"] });
    for (path, body, code, message) in [
        (
            zones,
            json!({ "name": "x", "dnsName": "x.", "visibility": "public" }),
            501,
            "Tombolo does not support public zones; the field 'visibility' must be 'private'.",
        ),
        (
            zones,
            json!({ "name": "net", "dnsName": "x.", "visibility": "private" }),
            409,
            "The resource 'entity.managedZone' named 'net' already exists",
        ),
        (
            &changes,
            json!({ "deletions": [other] }),
            412,
            "Precondition not met for 'entity.change.deletions[0]'",
        ),
        (
            &changes,
            json!({ "deletions": [{ "name": "b.example.com.", "type": "A", "rrdatas": ["10.9.0.1"] }] }),
            404,
            "The 'entity.change.deletions[0]' resource named 'b.example.com. (A)' does not exist.",
        ),
        (
            &records,
            json!({ "name": "b.example.com.", "type": "A", "rrdatas": ["10.9.0"] }),
            400,
            "Invalid value for 'entity.rrset.rrdata[0]': '10.9.0'. ",
        ),
        (
            &records,
            json!({ "name": "b.example.com.", "type": "CAA", "rrdatas": ["0 issue \"x\""] }),
            501,
            "Tombolo does not support records of the type 'CAA'.",
        ),
        (
            &records,
            json!({ "name": "b.example.com.", "type": "A", "routingPolicy": { "wrr": { "items": [{ "weight": 1 }] } } }),
            501,
            "Tombolo does not support the field 'rrset.routingPolicy'.",
        ),
        (
            &records,
            json!({ "name": "b.example.org.", "type": "A", "rrdatas": ["10.9.0.1"] }),
            400,
            "Invalid value for field ",
        ),
        (
            &records,
            json!({ "name": "a.example.com.", "type": "CNAME", "rrdatas": ["b.example.com."] }),
            400,
            "Invalid value for field ",
        ),
    ] {
        let refused = walk.cloud.refused("POST", path, body.clone());
        assert_eq!(refused["error"]["code"], code, "{body}: {refused:?}");
        let said = refused["error"]["message"].as_str().expect("a message");
        assert!(said.starts_with(message), "{body}: {said}");
    }
    let full = walk.cloud.refused("DELETE", &format!("{zones}/net"), Value::Null);
    let why =
        "The resource named 'net' cannot be deleted because it contains one or more 'resource records'.";
    check(&full, 400, why);
    walk.cloud.used(&format!("{C}/global/networks/vpc-1"));
    walk.delete(&one);
    for zone in ["net", "out"] {
        walk.delete(&format!("{zones}/{zone}"));
    }
}

fn the_end(walk: &mut Walk) {
    walk.delete(&format!("{C}/{ZONE}/instances/vm-1"));
    walk.delete(&format!("{C}/{REGION}/subnetworks/subnet-1"));
    walk.delete(&format!("{C}/global/networks/vpc-2"));
    walk.delete("/cloudresourcemanager/v1/projects/project-3");
    walk.delete("/cloudresourcemanager/v3/projects/project-4");
}

fn routers(walk: &mut Walk) {
    let routers = format!("{C}/{REGION}/routers");
    walk.post(&routers, json!({ "name": "router-1", "network": "global/networks/vpc-1" }));
    let router = format!("{routers}/router-1");
    let nat = json!({
        "name": "nat-1",
        "natIpAllocateOption": "AUTO_ONLY",
        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
    });
    walk.patch(&router, json!({ "nats": [nat] }));
    walk.get(&format!("{router}/getRouterStatus"));
    walk.get(&router);
    walk.get(&routers);
    walk.get(&format!("{C}/aggregated/routers"));
    walk.send("PUT", &router, json!({ "name": "router-1", "network": "global/networks/vpc-1" }));
    walk.delete(&router);
}

fn firewall_policies(walk: &mut Walk) {
    for scope in ["global", REGION] {
        firewall_policy(walk, &format!("{C}/{scope}/firewallPolicies"));
    }
    walk.get(&format!("{C}/{REGION}/firewallPolicies/getEffectiveFirewalls?network=global/networks/vpc-1"));
}

fn firewall_policy(walk: &mut Walk, policies: &str) {
    walk.post(policies, json!({ "name": "policy-1" }));
    let policy = format!("{policies}/policy-1");
    a_policys_rules(walk, &policy);
    let at = json!({ "name": "at", "attachmentTarget": "global/networks/vpc-1" });
    walk.post(&format!("{policy}/addAssociation"), at);
    walk.get(&format!("{policy}/getAssociation?name=at"));
    walk.get(&policy);
    walk.get(policies);
    walk.post(&format!("{policy}/removeAssociation?name=at"), Value::Null);
    walk.delete(&policy);
}

/// What is the same of policies of every kind.
fn a_policys_rules(walk: &mut Walk, policy: &str) {
    walk.patch(policy, json!({ "description": "all" }));
    let rule = json!({
        "priority": 1,
        "action": "goto_next",
        "direction": "INGRESS",
        "match": { "srcIpRanges": ["10.0.0.0/8"], "layer4Configs": [{ "ipProtocol": "tcp", "ports": ["22"] }] },
    });
    walk.post(&format!("{policy}/addRule"), rule);
    walk.post(&format!("{policy}/patchRule?priority=1"), json!({ "description": "ssh" }));
    walk.get(&format!("{policy}/getRule?priority=1"));
    walk.post(&format!("{policy}/removeRule?priority=1"), Value::Null);
    let name = policy.rsplit('/').next().expect("a name");
    walk.post(&format!("{policy}/cloneRules?sourceFirewallPolicy={name}"), Value::Null);
}
