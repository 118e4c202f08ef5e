//! What null means: in a PATCH a field that is to be as if nobody had said it, elsewhere nothing.

use crate::common::{Cloud, check, policy_rule};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";

fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    cloud.post(&format!("{P}/global/networks"), json!({ "name": "vpc-1", "autoCreateSubnetworks": false }));
    cloud
}

/// What a resource has in some fields.
fn fields<const N: usize>(found: &Value, names: [&str; N]) -> [Value; N] {
    names.map(|name| found[name].clone())
}

#[test]
fn a_firewall_rule() {
    let mut cloud = cloud();
    let (rules, r) = (format!("{P}/global/firewalls"), format!("{P}/global/firewalls/r"));
    let body = json!({
        "name": "r",
        "network": "global/networks/vpc-1",
        "allowed": [{ "IPProtocol": "all" }],
        "priority": 7,
        "sourceRanges": ["10.0.0.0/8"],
        "targetTags": ["a"],
        "description": "d",
        "logConfig": { "enable": true },
        "disabled": null,
    });
    cloud.post(&rules, body.clone());
    let before = cloud.get(&r);
    assert_eq!(before["disabled"], false);
    cloud.patch(&r, json!({ "targetTags": null, "description": null }));
    let found = cloud.get(&r);
    assert_eq!(fields(&found, ["targetTags", "description", "priority"]), [json!(null), json!(""), json!(7)]);
    let nulls =
        json!({ "sourceRanges": null, "priority": null, "logConfig": null, "name": null, "network": null });
    cloud.patch(&r, nulls);
    let found = cloud.get(&r);
    assert_eq!(
        fields(&found, ["sourceRanges", "priority", "logConfig", "network"]),
        [json!(["0.0.0.0/0"]), json!(1000), json!({ "enable": false }), before["network"].clone()]
    );
    // A rule must do something.
    assert_eq!(cloud.refused("PATCH", &r, json!({ "allowed": null }))["error"]["code"], 400);
    cloud.patch(&r, json!({ "allowed": null, "denied": [{ "IPProtocol": "tcp" }] }));
    assert_eq!(
        fields(&cloud.get(&r), ["allowed", "denied"]),
        [json!(null), json!([{ "IPProtocol": "tcp" }])]
    );
    // A PUT says all: what is null in it is what it does not say.
    let mut again = body;
    again["targetTags"] = json!(null);
    cloud.good("PUT", &r, again);
    assert_eq!(fields(&cloud.get(&r), ["targetTags", "priority"]), [json!(null), json!(7)]);
}

#[test]
fn a_rule_of_a_policy() {
    let mut cloud = cloud();
    let policies = format!("{P}/global/firewallPolicies");
    cloud.post(&policies, json!({ "name": "p", "description": "d" }));
    let (p, rule) = (format!("{policies}/p"), format!("{policies}/p/patchRule?priority=7"));
    cloud.patch(&p, json!({ "description": null }));
    assert_eq!(cloud.get(&p)["description"], "");
    let account = "a@project-1.iam.gserviceaccount.com";
    let more = json!({ "targetServiceAccounts": [account], "ruleName": "n", "description": "d" });
    cloud.post(&format!("{p}/addRule"), policy_rule(7, more));
    cloud.post(&rule, json!({ "targetServiceAccounts": null, "ruleName": null }));
    let found = cloud.get(&p)["rules"][0].clone();
    assert_eq!(
        fields(&found, ["targetServiceAccounts", "ruleName", "description"]),
        [json!(null), json!(null), json!("d")]
    );
    // Of a match, too, what is not said stays.
    assert_eq!(found["match"]["srcIpRanges"], json!(["10.0.0.0/8"]));
    let nothing_left = cloud.refused("POST", &rule, json!({ "match": { "layer4Configs": null } }));
    assert_eq!(nothing_left["error"]["code"], 400);
}

#[test]
fn a_network_and_its_parts() {
    let mut cloud = cloud();
    let network = format!("{P}/global/networks/vpc-1");
    cloud.patch(
        &network,
        json!({
            "networkFirewallPolicyEnforcementOrder": "BEFORE_CLASSIC_FIREWALL",
            "routingConfig": { "routingMode": "GLOBAL", "bgpBestPathSelectionMode": "STANDARD", "bgpAlwaysCompareMed": true },
        }),
    );
    cloud.patch(
        &network,
        json!({ "networkFirewallPolicyEnforcementOrder": null, "routingConfig": { "bgpAlwaysCompareMed": null } }),
    );
    let found = cloud.get(&network);
    assert_eq!(found["networkFirewallPolicyEnforcementOrder"], "AFTER_CLASSIC_FIREWALL");
    assert_eq!(
        found["routingConfig"],
        json!({ "routingMode": "GLOBAL", "bgpBestPathSelectionMode": "STANDARD" })
    );
    cloud.patch(&network, json!({ "routingConfig": null }));
    assert_eq!(cloud.get(&network)["routingConfig"], json!({ "routingMode": "REGIONAL" }));

    let (subnetworks, s) =
        (format!("{P}/regions/us-central1/subnetworks"), format!("{P}/regions/us-central1/subnetworks/s"));
    cloud.post(
        &subnetworks,
        json!({
            "name": "s",
            "ipCidrRange": "10.1.0.0/24",
            "network": "global/networks/vpc-1",
            "privateIpGoogleAccess": true,
            "logConfig": { "enable": true },
            "secondaryIpRanges": [{ "rangeName": "a", "ipCidrRange": "10.8.0.0/24" }],
        }),
    );
    let patch = |cloud: &mut Cloud, mut body: Value| {
        body["fingerprint"] = cloud.get(&s)["fingerprint"].clone();
        cloud.patch(&s, body);
        cloud.get(&s)
    };
    let found = patch(&mut cloud, json!({ "secondaryIpRanges": null, "stackType": null, "logConfig": null }));
    assert_eq!(
        fields(&found, ["secondaryIpRanges", "logConfig", "privateIpGoogleAccess"]),
        [json!(null), json!(null), json!(true)]
    );
    // What is false is said, too.
    let found = patch(&mut cloud, json!({ "privateIpGoogleAccess": false, "enableFlowLogs": true }));
    assert_eq!(fields(&found, ["privateIpGoogleAccess", "enableFlowLogs"]), [json!(false), json!(true)]);
    let found = patch(&mut cloud, json!({ "logConfig": { "enable": false } }));
    assert_eq!(found["enableFlowLogs"], false);

    let (routers, r) =
        (format!("{P}/regions/us-central1/routers"), format!("{P}/regions/us-central1/routers/r"));
    let nat = json!({
        "name": "n",
        "natIpAllocateOption": "AUTO_ONLY",
        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
        "tcpEstablishedIdleTimeoutSec": 1200,
    });
    cloud.post(
        &routers,
        json!({ "name": "r", "network": "global/networks/vpc-1", "nats": [nat], "description": "d" }),
    );
    cloud.patch(&r, json!({ "nats": null, "network": null }));
    assert_eq!(fields(&cloud.get(&r), ["nats", "description"]), [json!(null), json!("d")]);
    cloud.patch(&r, json!({ "description": null }));
    assert_eq!(cloud.get(&r)["description"], "");
}

#[test]
fn a_zone_and_its_records() {
    let mut cloud = cloud();
    let service = "/serviceusage/v1/projects/project-1/services/dns.googleapis.com:enable";
    cloud.post(service, json!({}));
    let (zones, z) = ("/dns/v1/projects/project-1/managedZones", "/dns/v1/projects/project-1/managedZones/z");
    let networks = json!({ "networks": [{ "networkUrl": "projects/project-1/global/networks/vpc-1" }] });
    cloud.post(
        zones,
        json!({
            "name": "z",
            "dnsName": "example.com.",
            "visibility": "private",
            "description": "d",
            "labels": { "a": "b" },
            "privateVisibilityConfig": networks,
        }),
    );
    cloud.patch(z, json!({ "description": null, "labels": null }));
    let found = cloud.get(z);
    assert_eq!(fields(&found, ["description", "labels"]), [json!(""), json!(null)]);
    assert_eq!(found["privateVisibilityConfig"]["networks"].as_array().map(Vec::len), Some(1));
    cloud.patch(z, json!({ "privateVisibilityConfig": null }));
    assert_eq!(cloud.get(z)["privateVisibilityConfig"]["networks"], json!([]));
    let record = json!({ "name": "a.example.com.", "type": "A", "ttl": 60, "rrdatas": ["10.1.0.2"] });
    cloud.post(&format!("{z}/rrsets"), record);
    let a = format!("{z}/rrsets/a.example.com./A");
    cloud.patch(&a, json!({ "ttl": null }));
    assert_eq!(fields(&cloud.get(&a), ["ttl", "rrdatas"]), [json!(300), json!(["10.1.0.2"])]);
    // What is no time to live is not the usual one.
    let refused = cloud.refused("PATCH", &a, json!({ "ttl": -1 }));
    check(&refused, 400, "Invalid value for 'entity.rrset.ttl': '-1'");
    assert_eq!(cloud.refused("PATCH", &a, json!({ "ttl": 1u64 << 31 }))["error"]["code"], 400);
    cloud.patch(&a, json!({ "ttl": 0 }));
    assert_eq!(cloud.get(&a)["ttl"], 0);
}
