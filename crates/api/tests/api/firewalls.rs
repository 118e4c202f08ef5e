//! Firewall rules by service account, and the accounts of instances.

use crate::common::{Cloud, check, policy_rule};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";

fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    cloud.post(&format!("{P}/global/networks"), json!({ "name": "vpc-1", "autoCreateSubnetworks": false }));
    cloud
}

fn rule(more: Value) -> Value {
    let mut body = json!({
        "name": "r",
        "network": "global/networks/vpc-1",
        "allowed": [{ "IPProtocol": "tcp", "ports": ["80"] }],
    });
    for (field, value) in more.as_object().expect("fields") {
        body[field.as_str()] = value.clone();
    }
    body
}

#[test]
fn a_rule_by_service_accounts() {
    let mut cloud = cloud();
    let (rules, r) = (format!("{P}/global/firewalls"), format!("{P}/global/firewalls/r"));
    let (web, db) = ("web@project-1.iam.gserviceaccount.com", "db@project-1.iam.gserviceaccount.com");
    cloud.post(&rules, rule(json!({ "sourceServiceAccounts": [web], "targetServiceAccounts": [db] })));
    let found = cloud.get(&r);
    assert_eq!(
        (&found["sourceServiceAccounts"], &found["targetServiceAccounts"]),
        (&json!([web]), &json!([db]))
    );
    assert_eq!(found.get("sourceRanges"), None, "the accounts are all the sources there are");
    cloud.patch(&r, json!({ "targetServiceAccounts": [web, db] }));
    assert_eq!(cloud.get(&r)["targetServiceAccounts"], json!([db, web]));
    // The last word is the rule's that is there: a patch that would mix is refused, and changes nothing.
    let mixed = cloud.refused("PATCH", &r, json!({ "targetTags": ["a"] }));
    assert_eq!(
        (&mixed["error"]["code"], &mixed["error"]["errors"][0]["reason"]),
        (&json!(400), &json!("invalid"))
    );
    assert_eq!(cloud.get(&r).get("targetTags"), None);
    let eleven: Vec<String> = (0..11).map(|i| format!("a{i}@project-1.iam.gserviceaccount.com")).collect();
    let many = cloud.refused("PATCH", &r, json!({ "sourceServiceAccounts": eleven }));
    check(
        &many,
        413,
        "Value for field 'resource.sourceServiceAccounts' is too large: maximum size 10 element(s); actual size 11.",
    );
    cloud.patch(&r, json!({ "sourceServiceAccounts": [], "targetServiceAccounts": [], "targetTags": ["a"] }));
    let found = cloud.get(&r);
    assert_eq!((&found["sourceRanges"], &found["targetTags"]), (&json!(["0.0.0.0/0"]), &json!(["a"])));
}

/// Rules of either direction have ranges of both ends: a patch of the one list leaves the other, and an empty one takes it back.
#[test]
fn a_rule_for_both_ends() {
    let mut cloud = cloud();
    let (rules, r) = (format!("{P}/global/firewalls"), format!("{P}/global/firewalls/r"));
    for (direction, far, near) in
        [("INGRESS", "sourceRanges", "destinationRanges"), ("EGRESS", "destinationRanges", "sourceRanges")]
    {
        cloud.post(&rules, rule(json!({ "direction": direction, near: ["10.1.0.7", "10.1.8.0/24"] })));
        let found = cloud.get(&r);
        assert_eq!(
            (&found[far], &found[near]),
            (&json!(["0.0.0.0/0"]), &json!(["10.1.0.7/32", "10.1.8.0/24"]))
        );
        cloud.patch(&r, json!({ far: ["10.0.0.0/8"] }));
        let found = cloud.get(&r);
        assert_eq!(
            (&found[far], &found[near]),
            (&json!(["10.0.0.0/8"]), &json!(["10.1.0.7/32", "10.1.8.0/24"]))
        );
        let refused = cloud.refused("PATCH", &r, json!({ near: ["fd20::/20"] }));
        check(
            &refused,
            400,
            &format!(
                "Invalid value for field 'resource.{near}': 'fd20::/20'. A rule can have either IPv4 or IPv6 ranges, not \
                 a combination of both."
            ),
        );
        cloud.patch(&r, json!({ near: ["fd20::/20"], far: ["::/0"] }));
        assert_eq!(cloud.get(&r)[near], json!(["fd20::/20"]));
        let many: Vec<String> = (0..5001).map(|i| format!("10.{}.{}.0/24", i / 256, i % 256)).collect();
        let refused = cloud.refused("PATCH", &r, json!({ near: many, far: [] }));
        let expected = "is too large: maximum size 5000 element(s); actual size 5001.";
        check(&refused, 413, &format!("Value for field 'resource.{near}' {expected}"));
        cloud.patch(&r, json!({ near: [] }));
        let found = cloud.get(&r);
        assert_eq!((&found[far], found.get(near)), (&json!(["::/0"]), None));
        cloud.good("DELETE", &r, json!(null));
    }
    let refused = cloud.refused("POST", &rules, rule(json!({ "direction": "EGRESS", "sourceTags": ["a"] })));
    assert_eq!(refused["error"]["code"], 400, "tags are not ranges");
}

#[test]
fn protocols_by_name_and_number() {
    let mut cloud = cloud();
    let rules = format!("{P}/global/firewalls");
    let names = ["tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "47"];
    let allowed: Vec<Value> = names.iter().map(|name| json!({ "IPProtocol": name })).collect();
    cloud.post(&rules, rule(json!({ "allowed": allowed })));
    assert_eq!(cloud.get(&format!("{rules}/r"))["allowed"], json!(allowed));
    for (protocol, good) in
        [("sctp", true), ("132", true), ("esp", false), ("51", false), ("ipip", false), ("all", false)]
    {
        let body = json!({ "allowed": [{ "IPProtocol": protocol, "ports": ["80"] }] });
        if good {
            cloud.patch(&format!("{rules}/r"), body);
        } else {
            assert_eq!(
                cloud.refused("PATCH", &format!("{rules}/r"), body)["error"]["code"],
                400,
                "{protocol}"
            );
        }
    }
}

#[test]
fn an_instance_has_at_most_one_account() {
    let mut cloud = cloud();
    cloud.post(
        &format!("{P}/regions/us-central1/subnetworks"),
        json!({ "name": "s", "ipCidrRange": "10.1.0.0/24", "network": "global/networks/vpc-1" }),
    );
    let instances = format!("{P}/zones/us-central1-a/instances");
    let body = |accounts: Value| {
        let nic = json!({ "subnetwork": "regions/us-central1/subnetworks/s" });
        json!({ "name": "vm-1", "networkInterfaces": [nic], "serviceAccounts": accounts })
    };
    let email = "web@project-1.iam.gserviceaccount.com";
    let two = cloud.refused("POST", &instances, body(json!([{ "email": email }, { "email": "default" }])));
    assert_eq!(two["error"]["code"], 413);
    let bad = cloud.refused("POST", &instances, body(json!([{ "email": "me" }])));
    assert_eq!(bad["error"]["code"], 400);
    cloud.post(&instances, body(json!([{ "email": email, "scopes": ["a"] }])));
    let found = cloud.get(&format!("{instances}/vm-1"));
    assert_eq!(found["serviceAccounts"], json!([{ "email": email, "scopes": ["a"] }]));
}

/// `logConfig` is the rule's own: a patch of something else leaves it, and what it says is checked.
#[test]
fn a_rule_that_logs() {
    let mut cloud = cloud();
    let (rules, r) = (format!("{P}/global/firewalls"), format!("{P}/global/firewalls/r"));
    let all = json!({ "enable": true, "metadata": "INCLUDE_ALL_METADATA" });
    let none = json!({ "enable": true, "metadata": "EXCLUDE_ALL_METADATA" });
    cloud.post(&rules, rule(json!({ "logConfig": { "enable": true } })));
    assert_eq!(cloud.get(&r)["logConfig"], all, "as it is unless something else is said");
    cloud.patch(&r, json!({ "logConfig": none }));
    cloud.patch(&r, json!({ "priority": 7, "description": "d" }));
    let found = cloud.get(&r);
    assert_eq!((&found["logConfig"], &found["priority"]), (&none, &json!(7)));
    let idle = json!({ "logConfig": { "enable": false, "metadata": "EXCLUDE_ALL_METADATA" } });
    let refused = cloud.refused("PATCH", &r, idle);
    check(
        &refused,
        400,
        "Invalid value for field 'resource.logConfig.metadata': 'EXCLUDE_ALL_METADATA'. Can only be specified if \
         logging is enabled.",
    );
    cloud.patch(&r, json!({ "logConfig": { "enable": false } }));
    assert_eq!(cloud.get(&r)["logConfig"], json!({ "enable": false }));
    cloud.good("PUT", &r, rule(json!({ "logConfig": { "enable": true } })));
    assert_eq!(cloud.get(&r)["logConfig"], all);
    cloud.good("PUT", &r, rule(json!({})));
    assert_eq!(cloud.get(&r)["logConfig"], json!({ "enable": false }), "a PUT says all");
}

#[test]
fn a_lone_address_is_a_range_of_one() {
    let mut cloud = cloud();
    let (rules, r) = (format!("{P}/global/firewalls"), format!("{P}/global/firewalls/r"));
    cloud.post(&rules, rule(json!({ "sourceRanges": ["10.0.0.1"] })));
    assert_eq!(cloud.get(&r)["sourceRanges"], json!(["10.0.0.1/32"]));
    let (said, ranges) = (json!(["fd20::", "fd20::1/128"]), json!(["fd20::/128", "fd20::1/128"]));
    cloud.patch(&r, json!({ "sourceRanges": said }));
    assert_eq!(cloud.get(&r)["sourceRanges"], ranges);
    let policies = format!("{P}/global/firewallPolicies");
    cloud.post(&policies, json!({ "name": "p" }));
    let matched = json!({ "srcIpRanges": said, "layer4Configs": [{ "ipProtocol": "all" }] });
    cloud.post(&format!("{policies}/p/addRule"), policy_rule(7, json!({ "match": matched })));
    assert_eq!(cloud.get(&format!("{policies}/p"))["rules"][0]["match"]["srcIpRanges"], ranges);
    // Half an address, or a mask that an address cannot have, is none.
    for bad in ["10.0.0", "fd20::/129", "10.0.0.1/32/32"] {
        let refused = cloud.refused("PATCH", &r, json!({ "sourceRanges": [bad] }));
        let expected = format!(
            "Invalid value for field 'resource.sourceRanges[0]': '{bad}'. Must be a CIDR range such as \
             10.0.0.0/8 or fd20::/20."
        );
        check(&refused, 400, &expected);
    }
}
