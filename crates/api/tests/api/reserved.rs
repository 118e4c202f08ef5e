//! Addresses, secondary and alias ranges, external addresses, what a stopped instance lets be changed, Shared VPC.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";

/// A project with a network, a subnetwork 10.1.0.0/24 and an instance in it.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    cloud.post(&format!("{P}/global/networks"), json!({ "name": "vpc-1", "autoCreateSubnetworks": false }));
    subnetwork(&mut cloud, "s", "10.1.0.0/24", json!([]));
    vm(&mut cloud, "vm-1", json!({}));
    cloud
}

fn subnetwork(cloud: &mut Cloud, name: &str, range: &str, secondary: Value) {
    let body = json!({
        "name": name,
        "ipCidrRange": range,
        "network": "global/networks/vpc-1",
        "secondaryIpRanges": secondary,
    });
    cloud.post(&format!("{P}/regions/us-central1/subnetworks"), body);
}

fn vm_body(name: &str, nic: Value) -> Value {
    let mut interface = json!({ "subnetwork": "regions/us-central1/subnetworks/s" });
    for (field, value) in nic.as_object().expect("an interface") {
        interface[field.as_str()] = value.clone();
    }
    json!({ "name": name, "networkInterfaces": [interface] })
}

fn vm(cloud: &mut Cloud, name: &str, nic: Value) {
    cloud.post(&format!("{P}/zones/us-central1-a/instances"), vm_body(name, nic));
}

fn instance(cloud: &mut Cloud, name: &str) -> Value {
    cloud.get(&format!("{P}/zones/us-central1-a/instances/{name}"))
}

#[test]
fn an_internal_address_is_reserved_used_and_given_back() {
    let mut cloud = cloud();
    let addresses = format!("{P}/regions/us-central1/addresses");
    let subnetwork =
        "https://www.googleapis.com/compute/v1/projects/project-1/regions/us-central1/subnetworks/s";
    let body = |name: &str, address: &str| json!({ "name": name, "addressType": "INTERNAL", "subnetwork": subnetwork, "address": address });
    cloud.post(&addresses, body("by-value", "10.1.0.7"));
    cloud.post(&addresses, body("by-url", ""));
    let found = cloud.get(&format!("{addresses}/by-url"));
    for (field, value) in [
        ("address", json!("10.1.0.3")),
        ("addressType", json!("INTERNAL")),
        ("purpose", json!("GCE_ENDPOINT")),
        ("status", json!("RESERVED")),
        ("subnetwork", json!(subnetwork)),
        ("users", Value::Null),
    ] {
        assert_eq!(found[field], value, "{field}");
    }
    vm(&mut cloud, "a", json!({ "networkIP": "10.1.0.7" }));
    vm(&mut cloud, "b", json!({ "networkIP": found["selfLink"] }));
    assert_eq!(instance(&mut cloud, "b")["networkInterfaces"][0]["networkIP"], "10.1.0.3");
    let used = cloud.get(&format!("{addresses}/by-url"));
    assert_eq!(
        (&used["status"], &used["users"][0]),
        (&json!("IN_USE"), &instance(&mut cloud, "b")["selfLink"])
    );
    check(
        &cloud.refused("DELETE", &format!("{addresses}/by-url"), json!(null)),
        400,
        "The address resource 'projects/project-1/regions/us-central1/addresses/by-url' is already being used by \
         'projects/project-1/zones/us-central1-a/instances/b'",
    );
    check(
        &cloud.refused("POST", &addresses, body("again", "10.1.0.7")),
        400,
        "IP '10.1.0.7' is already being used by another resource.",
    );
    check(
        &cloud.refused("POST", &addresses, body("far", "10.9.0.7")),
        400,
        "Invalid value for field 'resource.address': '10.9.0.7'. Requested internal IP is outside the subnetwork CIDR \
         range.",
    );
    cloud.delete(&format!("{P}/zones/us-central1-a/instances/b"));
    cloud.delete(&format!("{addresses}/by-url"));
    let none = json!({ "name": "x", "addressType": "INTERNAL" });
    cloud.post(&addresses, none.clone()); // the network `default` is there
    cloud.delete(&format!("{addresses}/x"));
}

#[test]
fn external_addresses_and_ranges() {
    let mut cloud = cloud();
    let (regional, global) = (format!("{P}/regions/us-central1/addresses"), format!("{P}/global/addresses"));
    cloud.post(&regional, json!({ "name": "nat", "description": "for a" }));
    let nat = cloud.get(&format!("{regional}/nat"));
    assert_eq!((&nat["addressType"], &nat["description"]), (&json!("EXTERNAL"), &json!("for a")));
    let access = json!([{ "name": "external-nat", "type": "ONE_TO_ONE_NAT", "natIP": nat["address"], "networkTier": "PREMIUM" }]);
    vm(&mut cloud, "a", json!({ "accessConfigs": access }));
    assert_eq!(
        instance(&mut cloud, "a")["networkInterfaces"][0]["accessConfigs"][0]["natIP"],
        nat["address"]
    );
    assert_eq!(cloud.get(&format!("{regional}/nat"))["status"], "IN_USE");
    let labels = json!({ "labels": { "a": "b" }, "labelFingerprint": nat["labelFingerprint"] });
    cloud.post(&format!("{regional}/nat/setLabels"), labels.clone());
    let stale = cloud.refused("POST", &format!("{regional}/nat/setLabels"), labels);
    check(&stale, 412, "Labels fingerprint either invalid or resource labels have changed");
    let range = json!({ "name": "range", "addressType": "INTERNAL", "purpose": "VPC_PEERING", "prefixLength": 20, "network": "global/networks/vpc-1" });
    cloud.post(&global, range.clone());
    let found = cloud.get(&format!("{global}/range"));
    assert_eq!((&found["address"], &found["prefixLength"]), (&json!("10.0.0.0"), &json!(20)));
    assert_eq!(cloud.refused("POST", &global, range)["error"]["code"], 409);
    let all = cloud.get(&format!("{P}/aggregated/addresses"));
    assert_eq!(all["items"]["global"]["addresses"][0]["name"], "range");
    assert_eq!(all["items"]["regions/us-central1"]["addresses"][0]["name"], "nat");
    for (body, code) in [
        (json!({ "name": "a", "networkTier": "STANDARD" }), 501),
        (json!({ "name": "a", "ipVersion": "IPV6" }), 501),
        (json!({ "name": "a", "addressType": "INTERNAL", "purpose": "SHARED_LOADBALANCER_VIP" }), 501),
        (json!({ "name": "a", "prefixLength": 20 }), 400),
        (json!({ "name": "a", "nonsense": 20 }), 400),
        (json!({ "name": "a", "address": "8.8.8.8" }), 400),
    ] {
        assert_eq!(cloud.refused("POST", &regional, body.clone())["error"]["code"], code, "{body}");
    }
}

#[test]
fn access_configs_come_and_go() {
    let mut cloud = cloud();
    let vm = format!("{P}/zones/us-central1-a/instances/vm-1");
    cloud.post(&format!("{vm}/addAccessConfig?networkInterface=nic0"), json!({ "type": "ONE_TO_ONE_NAT" }));
    let config = |cloud: &mut Cloud| cloud.get(&vm)["networkInterfaces"][0]["accessConfigs"][0].clone();
    assert_eq!(config(&mut cloud)["natIP"], "198.18.0.2");
    // What nobody reserved is gone while the instance is stopped.
    cloud.post(&format!("{vm}/stop"), json!(null));
    assert_eq!(
        (&config(&mut cloud)["name"], &config(&mut cloud)["natIP"]),
        (&json!("External NAT"), &Value::Null)
    );
    let delete = format!("{vm}/deleteAccessConfig?networkInterface=nic0&accessConfig=External%20NAT");
    cloud.post(&delete, json!(null));
    assert_eq!(config(&mut cloud), Value::Null);
    assert_eq!(cloud.refused("POST", &delete, json!(null))["error"]["code"], 400);
    let wrong = format!("{vm}/addAccessConfig?networkInterface=nic1");
    assert_eq!(cloud.refused("POST", &wrong, json!({}))["error"]["code"], 400);
    let ptr = json!({ "setPublicPtr": true });
    let refused = cloud.refused("POST", &format!("{vm}/addAccessConfig?networkInterface=nic0"), ptr);
    assert!(
        refused["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("accessConfigs[0].setPublicPtr"))
    );
}

#[test]
fn ranges_beside_the_primary_one() {
    let mut cloud = cloud();
    subnetwork(
        &mut cloud,
        "t",
        "10.2.0.0/24",
        json!([{ "rangeName": "pods", "ipCidrRange": "10.8.0.0/16" }]),
    );
    let target = format!("{P}/regions/us-central1/subnetworks/s");
    let found = cloud.get(&target);
    let ranges = json!([{ "rangeName": "pods", "ipCidrRange": "10.9.0.0/16" }]);
    cloud.patch(&target, json!({ "fingerprint": found["fingerprint"], "secondaryIpRanges": ranges }));
    let found = cloud.get(&target);
    assert_eq!(found["secondaryIpRanges"], ranges);
    let overlapping = json!([{ "rangeName": "more", "ipCidrRange": "10.8.4.0/24" }]);
    check(
        &cloud.refused(
            "PATCH",
            &target,
            json!({ "fingerprint": found["fingerprint"], "secondaryIpRanges": overlapping }),
        ),
        400,
        "Invalid value for field 'resource.ipCidrRange': '10.8.4.0/24'. Invalid IPCidrRange: 10.8.4.0/24 conflicts with \
         existing subnetwork 't' in region 'us-central1'.",
    );
    let stale = json!({ "fingerprint": "c3RhbGU=", "secondaryIpRanges": [] });
    check(&cloud.refused("PATCH", &target, stale), 412, "Invalid fingerprint.");
    let aliases =
        json!([{ "ipCidrRange": "10.9.1.0/24", "subnetworkRangeName": "pods" }, { "ipCidrRange": "/32" }]);
    vm(&mut cloud, "a", json!({ "aliasIpRanges": aliases }));
    let nic = instance(&mut cloud, "a")["networkInterfaces"][0].clone();
    assert_eq!(nic["aliasIpRanges"][1]["ipCidrRange"], "10.1.0.4/32");
    let update = format!("{P}/zones/us-central1-a/instances/a/updateNetworkInterface?networkInterface=nic0");
    let body = json!({ "fingerprint": nic["fingerprint"], "aliasIpRanges": [{ "ipCidrRange": "10.1.0.9" }] });
    cloud.patch(&update, body.clone());
    assert_eq!(cloud.refused("PATCH", &update, body)["error"]["code"], 412);
    let nic = instance(&mut cloud, "a")["networkInterfaces"][0].clone();
    assert_eq!(nic["aliasIpRanges"], json!([{ "ipCidrRange": "10.1.0.9/32" }]));
    let moved = json!({ "fingerprint": nic["fingerprint"], "networkIP": "10.1.0.30" });
    assert_eq!(cloud.refused("PATCH", &update, moved)["error"]["code"], 501);
    let routes = cloud.get(&format!("{P}/global/routes"));
    let routes = routes["items"].as_array().expect("routes");
    let ids: std::collections::BTreeSet<&str> =
        routes.iter().filter_map(|route| route["id"].as_str()).collect();
    assert_eq!(ids.len(), routes.len());
    assert!(routes.iter().any(|route| route["destRange"] == "10.9.0.0/16"));
}

#[test]
fn a_stopped_instance_can_be_made_another() {
    let mut cloud = cloud();
    let vm = format!("{P}/zones/us-central1-a/instances/vm-1");
    let machine = json!({ "machineType": "zones/us-central1-a/machineTypes/e2-medium" });
    let account = json!({ "email": "me@project-1.iam.gserviceaccount.com", "scopes": ["https://www.googleapis.com/auth/cloud-platform"] });
    for (method, body) in [("setMachineType", &machine), ("setServiceAccount", &account)] {
        let refused = cloud.refused("POST", &format!("{vm}/{method}"), body.clone());
        assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("must be stopped")));
    }
    cloud.post(&format!("{vm}/stop"), json!(null));
    cloud.post(&format!("{vm}/setMachineType"), machine);
    cloud.post(&format!("{vm}/setServiceAccount"), account.clone());
    cloud.post(&format!("{vm}/setScheduling"), json!({ "automaticRestart": false }));
    cloud.post(&format!("{vm}/setDeletionProtection"), json!(null));
    let found = cloud.get(&vm);
    assert!(found["machineType"].as_str().is_some_and(|machine| machine.ends_with("/e2-medium")));
    assert_eq!(found["serviceAccounts"], json!([account]));
    assert_eq!(
        (&found["scheduling"]["automaticRestart"], &found["deletionProtection"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(cloud.refused("DELETE", &vm, json!(null))["error"]["code"], 400);
    cloud.post(&format!("{vm}/setDeletionProtection?deletionProtection=false"), json!(null));
    cloud.post(&format!("{vm}/setServiceAccount"), json!({ "email": "" }));
    assert_eq!(cloud.get(&vm)["serviceAccounts"], Value::Null);
    let unknown = json!({ "machineType": "zones/us-central1-a/machineTypes/nonsense" });
    assert_eq!(cloud.refused("POST", &format!("{vm}/setMachineType"), unknown)["error"]["code"], 400);
    cloud.delete(&vm);
}

#[test]
fn a_shared_vpc() {
    let mut cloud = cloud();
    for change in [
        tombolo_model::Change::ProjectCreate("project-2".into()),
        tombolo_model::Change::ServiceEnable {
            project: "project-2".into(),
            service: "compute.googleapis.com".into(),
        },
    ] {
        cloud.apply(&change);
    }
    let service = json!({ "xpnResource": { "id": "project-2", "type": "PROJECT" } });
    assert_eq!(
        cloud.refused("POST", &format!("{P}/enableXpnResource"), service.clone())["error"]["code"],
        400
    );
    cloud.post(&format!("{P}/enableXpnHost"), json!(null));
    cloud.post(&format!("{P}/enableXpnResource"), service.clone());
    assert_eq!(cloud.get("/compute/v1/projects/project-2/getXpnHost")["name"], "project-1");
    assert_eq!(cloud.get(P)["xpnProjectStatus"], "HOST");
    let resources = cloud.get(&format!("{P}/getXpnResources"));
    assert_eq!(resources["resources"], json!([{ "id": "project-2", "type": "PROJECT" }]));
    let hosts = cloud.post(&format!("{P}/listXpnHosts"), json!({ "organization": "1" }));
    assert_eq!(hosts["items"][0]["name"], "project-1");
    let mut body = vm_body("shared", json!({}));
    body["networkInterfaces"][0]["subnetwork"] =
        json!("projects/project-1/regions/us-central1/subnetworks/s");
    cloud.post("/compute/v1/projects/project-2/zones/us-central1-a/instances", body);
    check(
        &cloud.refused("POST", &format!("{P}/disableXpnHost"), json!(null)),
        400,
        "Cannot disable project as a shared VPC host because it has active service projects.",
    );
    assert_eq!(
        cloud.refused("POST", &format!("{P}/disableXpnResource"), service.clone())["error"]["code"],
        400
    );
    cloud.delete("/compute/v1/projects/project-2/zones/us-central1-a/instances/shared");
    cloud.post(&format!("{P}/disableXpnResource"), service);
    cloud.post(&format!("{P}/disableXpnHost"), json!(null));
    assert_eq!(cloud.get("/compute/v1/projects/project-2/getXpnHost"), json!({ "kind": "compute#project" }));
}

#[test]
fn private_services_access_is_refused_in_googles_words() {
    let mut cloud = cloud();
    let create = "/redis/v1/projects/project-1/locations/us-central1/instances?instanceId=r";
    let body = |network: &str| {
        json!({ "memorySizeGb": 1, "connectMode": "PRIVATE_SERVICE_ACCESS",
            "authorizedNetwork": format!("projects/{network}") })
    };
    check(
        &cloud.refused("POST", create, body("project-1/global/networks/vpc-1")),
        400,
        "Google private service access is not enabled. Enable private service access and try again",
    );
    check(
        &cloud.refused("POST", create, body("project-2/global/networks/vpc-1")),
        400,
        "Invalid network name vpc-1. Project project-2 referenced is not the host project for project-1.",
    );
    for (configs, code) in [
        (json!({ "maxmemory-policy": "nonsense" }), 400),
        (json!({ "timeout-of-my-own": "1" }), 400),
        (json!({ "notify-keyspace-events": "\"\nrequirepass x" }), 400),
        (json!({ "maxmemory-gb": "2" }), 400),
        (json!({ "maxmemory-gb": "1e-10" }), 400),
    ] {
        let body = json!({ "memorySizeGb": 1, "authorizedNetwork": "projects/project-1/global/networks/vpc-1",
            "redisConfigs": configs });
        assert_eq!(cloud.refused("POST", create, body)["error"]["code"], code, "{configs}");
    }
}

#[test]
fn an_external_address_has_no_subnetwork() {
    let mut cloud = cloud();
    let addresses = format!("{P}/regions/us-central1/addresses");
    for (field, link, kind) in [
        ("subnetwork", "regions/us-central1/subnetworks/s", json!(null)),
        ("subnetwork", "regions/us-central1/subnetworks/s", json!("EXTERNAL")),
        ("network", "global/networks/vpc-1", json!("EXTERNAL")),
    ] {
        let refused =
            cloud.refused("POST", &addresses, json!({ "name": "a", "addressType": kind, field: link }));
        let expected = format!(
            "Invalid value for field 'resource.{field}': '{link}'. This field can only be used with INTERNAL type."
        );
        check(&refused, 400, &expected);
    }
}
