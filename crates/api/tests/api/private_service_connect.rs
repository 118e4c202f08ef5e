//! Forwarding rules, target instances and service attachments: how a service is published and reached, as gcloud and
//! Terraform say it, and what is refused.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";
const R: &str = "/compute/v1/projects/project-1/regions/us-central1";
const Z: &str = "/compute/v1/projects/project-1/zones/us-central1-a";
const LINK: &str = "https://www.googleapis.com/compute/v1/projects/project-1";

/// Two networks, a VM in each, and a subnetwork for NAT in the second.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    for i in [1, 2] {
        let network = json!({ "name": format!("vpc-{i}"), "autoCreateSubnetworks": false });
        cloud.post(&format!("{P}/global/networks"), network);
        let body = json!({ "name": format!("subnet-{i}"), "network": format!("global/networks/vpc-{i}"),
            "ipCidrRange": format!("10.{i}.0.0/24") });
        cloud.post(&format!("{R}/subnetworks"), body);
        let subnetwork = format!("regions/us-central1/subnetworks/subnet-{i}");
        let vm = json!({ "name": format!("vm-{i}"), "networkInterfaces": [{ "subnetwork": subnetwork }] });
        cloud.post(&format!("{Z}/instances"), vm);
    }
    let nat = json!({ "name": "nat", "network": "global/networks/vpc-2", "ipCidrRange": "10.3.0.0/24",
        "purpose": "PRIVATE_SERVICE_CONNECT" });
    cloud.post(&format!("{R}/subnetworks"), nat);
    cloud
}

/// The same with a rule in front of vm-2 that is published.
fn published(preference: &str) -> Cloud {
    let mut cloud = cloud();
    cloud.post(
        &format!("{Z}/targetInstances"),
        json!({ "name": "target", "instance": format!("{Z}/instances/vm-2") }),
    );
    cloud.post(&format!("{R}/forwardingRules"), rule(json!({ "name": "rule", "ports": ["6379"] })));
    let attachment = json!({
        "name": "redis", "targetService": format!("{R}/forwardingRules/rule"), "natSubnets": ["nat"],
        "connectionPreference": preference, "enableProxyProtocol": false, "description": "a proxy",
    });
    cloud.post(&format!("{R}/serviceAttachments"), attachment);
    cloud
}

/// A rule in front of vm-2, with other fields.
fn rule(more: Value) -> Value {
    with(
        json!({ "loadBalancingScheme": "INTERNAL", "IPProtocol": "TCP", "target": format!("{Z}/targetInstances/target"),
            "network": "global/networks/vpc-2", "subnetwork": "subnet-2" }),
        &more,
    )
}

fn with(mut body: Value, more: &Value) -> Value {
    for (field, value) in more.as_object().expect("fields") {
        body[field.as_str()] = value.clone();
    }
    body
}

/// An endpoint in vpc-1, with other fields.
fn endpoint(more: Value) -> Value {
    with(
        json!({ "name": "endpoint", "target": format!("{LINK}/regions/us-central1/serviceAttachments/redis") }),
        &more,
    )
}

#[test]
fn a_service_is_published_and_reached() {
    let mut cloud = published("ACCEPT_AUTOMATIC");
    assert_eq!(cloud.get(&format!("{R}/subnetworks/nat"))["purpose"], "PRIVATE_SERVICE_CONNECT");
    let found = cloud.get(&format!("{R}/forwardingRules/rule"));
    for (field, want) in [
        ("IPAddress", json!("10.2.0.3")),
        ("IPProtocol", json!("TCP")),
        ("ports", json!(["6379"])),
        ("loadBalancingScheme", json!("INTERNAL")),
        ("target", json!(format!("{LINK}/zones/us-central1-a/targetInstances/target"))),
        ("subnetwork", json!(format!("{LINK}/regions/us-central1/subnetworks/subnet-2"))),
        ("network", json!(format!("{LINK}/global/networks/vpc-2"))),
    ] {
        assert_eq!(found[field], want, "{field}");
    }
    // As gcloud says it: the address is a reserved one, by its name or its link.
    let address = json!({ "name": "a-1", "addressType": "INTERNAL", "subnetwork": "regions/us-central1/subnetworks/subnet-1" });
    cloud.post(&format!("{R}/addresses"), address);
    let said = endpoint(
        json!({ "IPAddress": format!("{R}/addresses/a-1"), "network": "global/networks/vpc-1", "loadBalancingScheme": "" }),
    );
    cloud.post(&format!("{R}/forwardingRules"), said);
    let found = cloud.get(&format!("{R}/forwardingRules/endpoint"));
    for (field, want) in [
        ("IPAddress", json!("10.1.0.3")),
        ("pscConnectionStatus", json!("ACCEPTED")),
        ("target", json!(format!("{LINK}/regions/us-central1/serviceAttachments/redis"))),
        ("network", json!(format!("{LINK}/global/networks/vpc-1"))),
        ("IPProtocol", Value::Null),
        ("loadBalancingScheme", Value::Null),
    ] {
        assert_eq!(found[field], want, "{field}");
    }
    assert_eq!(found["pscConnectionId"].as_str().map(str::len), Some(19));
    let address = cloud.get(&format!("{R}/addresses/a-1"));
    assert_eq!(address["users"], json!([format!("{LINK}/regions/us-central1/forwardingRules/endpoint")]));
    let attachment = cloud.get(&format!("{R}/serviceAttachments/redis?showNatIps=true"));
    assert_eq!(
        attachment["connectedEndpoints"],
        json!([{
            "endpoint": format!("{LINK}/regions/us-central1/forwardingRules/endpoint"),
            "status": "ACCEPTED",
            "pscConnectionId": found["pscConnectionId"],
            "consumerNetwork": format!("{LINK}/global/networks/vpc-1"),
            "natIps": ["10.3.0.2"],
        }])
    );
    assert_eq!(attachment["description"], "a proxy");
    assert_eq!(
        cloud.get(&format!("{R}/serviceAttachments/redis"))["connectedEndpoints"][0].get("natIps"),
        None
    );
    // It ends with the service attachment.
    cloud.delete(&format!("{R}/serviceAttachments/redis"));
    assert_eq!(cloud.get(&format!("{R}/forwardingRules/endpoint"))["pscConnectionStatus"], "CLOSED");
    for path in ["forwardingRules/endpoint", "forwardingRules/rule", "addresses/a-1"] {
        cloud.delete(&format!("{R}/{path}"));
    }
    cloud.delete(&format!("{Z}/targetInstances/target"));
    assert_eq!(cloud.state.world.details.keys().filter(|path| path.contains("forwarding")).count(), 0);
}

#[test]
fn a_producer_says_whom_it_takes() {
    let mut cloud = published("ACCEPT_MANUAL");
    // By a number, of which the subnetwork follows.
    let said = endpoint(json!({ "IPAddress": "10.1.0.9", "network": "global/networks/vpc-1" }));
    cloud.post(&format!("{R}/forwardingRules"), said);
    let status = |cloud: &mut Cloud| {
        let rule = cloud.get(&format!("{R}/forwardingRules/endpoint"));
        rule["pscConnectionStatus"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status(&mut cloud), "PENDING");
    let path = format!("{R}/serviceAttachments/redis");
    for (patch, want) in [
        (json!({ "consumerRejectLists": ["project-1"] }), "REJECTED"),
        (
            json!({ "consumerRejectLists": [], "consumerAcceptLists": [{ "projectIdOrNum": "project-1", "connectionLimit": 1 }] }),
            "REJECTED",
        ),
        (json!({ "reconcileConnections": true }), "ACCEPTED"),
        (
            json!({ "consumerAcceptLists": [{ "networkUrl": "global/networks/vpc-2", "connectionLimit": 3 }] }),
            "PENDING",
        ),
        (
            json!({ "consumerAcceptLists": [{ "networkUrl": format!("{LINK}/global/networks/vpc-1"), "connectionLimit": 3 }] }),
            "ACCEPTED",
        ),
        (json!({ "consumerAcceptLists": [], "connectionPreference": "ACCEPT_AUTOMATIC" }), "ACCEPTED"),
    ] {
        cloud.patch(&path, patch.clone());
        assert_eq!(status(&mut cloud), want, "{patch}");
        let found = cloud.get(&path);
        for (field, said) in patch.as_object().expect("fields").iter().filter(|(_, said)| **said != json!([]))
        {
            let shown = &found[field.as_str()];
            match shown[0].get("networkUrl") {
                Some(link) => assert!(link.as_str().is_some_and(|link| link.starts_with(LINK)), "{link}"),
                None => assert_eq!(shown, said, "{field}"),
            }
        }
    }
    let stale = cloud.refused("PATCH", &path, json!({ "fingerprint": "AAAAAAAAAAA=", "description": "x" }));
    assert_eq!(stale["error"]["code"], 412);
}

#[test]
fn what_is_refused_says_so() {
    let mut cloud = published("ACCEPT_AUTOMATIC");
    let rules = format!("{R}/forwardingRules");
    let refused = |cloud: &mut Cloud, body: Value, code: u16, message: &str| {
        check(&cloud.refused("POST", &rules, body), code, message);
    };
    let invalid = |field: &str, value: &str, expected: &str| {
        format!("Invalid value for field 'resource.{field}': '{value}'. {expected}")
    };
    refused(
        &mut cloud,
        with(rule(json!({ "name": "x", "ports": ["80"] })), &json!({ "loadBalancingScheme": "EXTERNAL" })),
        501,
        "Tombolo does not support forwarding rules whose loadBalancingScheme is 'EXTERNAL'.",
    );
    refused(
        &mut cloud,
        with(rule(json!({ "name": "x", "ports": ["80"] })), &json!({ "backendService": "x" })),
        501,
        "Tombolo does not support the field 'backendService' of 'compute.forwardingRules.insert'.",
    );
    refused(
        &mut cloud,
        endpoint(json!({ "name": "x", "target": "all-apis" })),
        501,
        "Tombolo does not support forwarding rules whose target is 'all-apis', which is neither a target instance nor a service attachment.",
    );
    let ports = "Exactly one of ports and allPorts must be specified.";
    refused(&mut cloud, rule(json!({ "name": "x" })), 400, &invalid("ports", "0", ports));
    refused(
        &mut cloud,
        rule(json!({ "name": "x", "ports": ["80"], "allPorts": true })),
        400,
        &invalid("ports", "1", ports),
    );
    refused(
        &mut cloud,
        rule(json!({ "name": "x", "ports": ["80-90"] })),
        400,
        &invalid("ports", "80-90", "Must be ports from 1 to 65535, one by one."),
    );
    refused(
        &mut cloud,
        endpoint(json!({ "name": "x", "network": "global/networks/vpc-1" })),
        400,
        &invalid("subnetwork", "", "Subnetwork should be specified for custom subnetmode network"),
    );
    refused(
        &mut cloud,
        endpoint(json!({ "name": "x", "loadBalancingScheme": "INTERNAL" })),
        400,
        &invalid(
            "loadBalancingScheme",
            "INTERNAL",
            "An endpoint of Private Service Connect has no load balancing scheme.",
        ),
    );
    refused(
        &mut cloud,
        endpoint(json!({ "name": "x", "ports": ["80"], "subnetwork": "subnet-1" })),
        400,
        &invalid("ports", "[\"80\"]", "An endpoint of Private Service Connect has none."),
    );
    refused(
        &mut cloud,
        rule(json!({ "name": "x", "ports": ["80"], "IPAddress": "10.2.0.2" })),
        400,
        "IP '10.2.0.2' is already being used by another resource.",
    );
    for (body, message) in [
        (
            json!({ "enableProxyProtocol": true }),
            "the field 'enableProxyProtocol' of 'compute.serviceAttachments.patch'",
        ),
        (
            json!({ "domainNames": ["a.example.com."] }),
            "the field 'domainNames' of 'compute.serviceAttachments.patch'",
        ),
        (
            json!({ "consumerAcceptLists": [{ "endpointUrl": "x" }] }),
            "the field 'consumerAcceptLists[0].endpointUrl'",
        ),
    ] {
        let answer = cloud.refused("PATCH", &format!("{R}/serviceAttachments/redis"), body);
        check(&answer, 501, &format!("Tombolo does not support {message}."));
    }
    let used = "The forwarding_rule resource 'projects/project-1/regions/us-central1/forwardingRules/rule' is already being used by \
         'projects/project-1/regions/us-central1/serviceAttachments/redis'";
    check(&cloud.refused("DELETE", &format!("{rules}/rule"), Value::Null), 400, used);
    let other = json!({ "name": "x", "purpose": "REGIONAL_MANAGED_PROXY", "network": "global/networks/vpc-1", "ipCidrRange": "10.9.0.0/24" });
    check(
        &cloud.refused("POST", &format!("{R}/subnetworks"), other),
        501,
        "Tombolo does not support subnetworks whose purpose is 'REGIONAL_MANAGED_PROXY'.",
    );
}

#[test]
fn a_rule_changes_what_may_change() {
    let mut cloud = published("ACCEPT_AUTOMATIC");
    let path = format!("{R}/forwardingRules/rule");
    let found = cloud.get(&path);
    cloud.patch(&path, json!({ "allowGlobalAccess": true, "fingerprint": found["fingerprint"] }));
    let changed = cloud.get(&path);
    assert_eq!((&changed["allowGlobalAccess"], &changed["ports"]), (&json!(true), &found["ports"]));
    assert_ne!(changed["fingerprint"], found["fingerprint"]);
    let ports = cloud.refused("PATCH", &path, json!({ "ports": ["81"] }));
    check(&ports, 501, "Tombolo does not support a change of the field 'ports' by a patch.");
    let other = cloud.refused("PATCH", &path, json!({ "allowPscGlobalAccess": true }));
    assert_eq!(other["error"]["code"], 400);
    cloud.post(&format!("{Z}/targetInstances"), json!({ "name": "second", "instance": format!("{Z}/instances/vm-2"), "network": "global/networks/vpc-2" }));
    cloud.post(&format!("{path}/setTarget"), json!({ "target": format!("{Z}/targetInstances/second") }));
    assert_eq!(cloud.get(&path)["target"], format!("{LINK}/zones/us-central1-a/targetInstances/second"));
    cloud.delete(&format!("{Z}/targetInstances/target"));
}
