//! Network firewall policies: their rules, where they act, and what is refused.

use crate::common::{Cloud, check, policy_rule as rule};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";

fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    for name in ["vpc-1", "vpc-2"] {
        let body = json!({ "name": name, "autoCreateSubnetworks": false });
        cloud.post(&format!("{P}/global/networks"), body);
    }
    cloud.post(&format!("{P}/global/firewallPolicies"), json!({ "name": "p", "description": "d" }));
    cloud
}

fn policy() -> String {
    format!("{P}/global/firewallPolicies/p")
}

#[test]
fn rules_are_known_by_their_priority() {
    let (mut cloud, policy) = (cloud(), policy());
    let found = cloud.get(&policy);
    let last: Vec<&Value> = found["rules"].as_array().unwrap().iter().map(|rule| &rule["priority"]).collect();
    assert_eq!(
        last,
        [2147483644u32, 2147483645, 2147483646, 2147483647],
        "the rules that every policy ends with"
    );
    let (add, patch) = (format!("{policy}/addRule"), |n: u32| format!("{policy}/patchRule?priority={n}"));
    let get = |n: u32| format!("{policy}/getRule?priority={n}");
    cloud.post(&add, rule(7, json!({ "enableLogging": true, "targetServiceAccounts": ["a@b.c"] })));
    cloud.post(&add, rule(2147483643, json!({})));
    let found = cloud.get(&get(7));
    assert_eq!(found["match"]["layer4Configs"], json!([{ "ipProtocol": "tcp", "ports": ["22"] }]));
    assert_eq!(
        (&found["action"], &found["enableLogging"], &found["targetServiceAccounts"]),
        (&json!("deny"), &json!(true), &json!(["a@b.c"]))
    );
    // What a patch does not say stays, of the match too.
    cloud.post(&patch(7), json!({ "action": "allow", "match": { "srcIpRanges": ["10.1.0.0/16"] } }));
    let found = cloud.get(&get(7));
    assert_eq!(
        (&found["action"], &found["match"]["srcIpRanges"]),
        (&json!("allow"), &json!(["10.1.0.0/16"]))
    );
    assert_eq!(found["match"]["layer4Configs"], json!([{ "ipProtocol": "tcp", "ports": ["22"] }]));
    cloud.post(&format!("{policy}/removeRule?priority=7"), json!(null));
    let none = "Invalid value for field 'resource.priority': '7'. The firewall policy does not contain a rule at this \
                priority.";
    check(&cloud.refused("GET", &get(7), json!(null)), 400, none);
    check(&cloud.refused("POST", &patch(7), json!({ "action": "deny" })), 400, none);
    let twice = cloud.refused("POST", &add, rule(2147483643, json!({})));
    check(
        &twice,
        400,
        "Invalid value for field 'resource.priority': '2147483643'. Cannot have rules with the same priorities.",
    );
}

#[test]
fn a_rule_for_both_ends() {
    let (mut cloud, policy) = (cloud(), policy());
    for (priority, direction, near) in [(1, "INGRESS", "destIpRanges"), (2, "EGRESS", "srcIpRanges")] {
        let both = json!({
            "srcIpRanges": ["10.1.0.0/16"],
            "destIpRanges": ["10.2.0.0/16"],
            "layer4Configs": [{ "ipProtocol": "all" }],
        });
        let more = json!({ "direction": direction, "match": both });
        cloud.post(&format!("{policy}/addRule"), rule(priority, more));
        let get = format!("{policy}/getRule?priority={priority}");
        let found = cloud.get(&get);
        assert_eq!((&found["match"], &found["ruleTupleCount"]), (&both, &json!(3)));
        let patch = format!("{policy}/patchRule?priority={priority}");
        cloud.post(&patch, json!({ "match": { near: ["10.3.0.0/16"] } }));
        let mut wanted = both.clone();
        wanted[near] = json!(["10.3.0.0/16"]);
        assert_eq!(cloud.get(&get)["match"], wanted, "what is not said stays");
        cloud.post(&patch, json!({ "match": { near: [] } }));
        assert_eq!(cloud.get(&get)["match"].get(near), None);
    }
}

/// Terraform's provider sends the rules that every policy has as a list among those that somebody said.
#[test]
fn a_list_among_rules_stands_for_its_items() {
    let (mut cloud, policy) = (cloud(), policy());
    let present = cloud.get(&policy);
    let rules = json!([rule(7, json!({})), present["rules"]]);
    cloud.patch(&policy, json!({ "fingerprint": present["fingerprint"], "rules": rules }));
    let found = cloud.get(&policy);
    let found: Vec<&Value> =
        found["rules"].as_array().unwrap().iter().map(|rule| &rule["priority"]).collect();
    assert_eq!(found, [7, 2147483644u32, 2147483645, 2147483646, 2147483647]);
}

#[test]
fn what_is_not_done_is_refused_by_its_name() {
    let (mut cloud, policy) = (cloud(), policy());
    let add = format!("{policy}/addRule");
    let matching = |field: &str, value: Value| {
        let mut matched =
            json!({ "srcIpRanges": ["10.0.0.0/8"], "layer4Configs": [{ "ipProtocol": "all" }] });
        matched[field] = value;
        json!({ "match": matched })
    };
    for (more, named) in [
        (matching("srcFqdns", json!(["example.com"])), "match.srcFqdns"),
        (matching("srcRegionCodes", json!(["US"])), "match.srcRegionCodes"),
        (
            matching("srcThreatIntelligences", json!(["iplist-tor-exit-nodes"])),
            "match.srcThreatIntelligences",
        ),
        (matching("srcAddressGroups", json!(["g"])), "match.srcAddressGroups"),
        (matching("destAddressGroups", json!(["g"])), "match.destAddressGroups"),
        (json!({ "securityProfileGroup": "g" }), "securityProfileGroup"),
    ] {
        let refused = cloud.refused("POST", &add, rule(1, more));
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(refused["error"]["code"] == 501 && message.contains(named), "{named}: {refused}");
    }
    for (more, part) in [
        (json!({ "action": "apply_security_profile_group" }), "Must be allow, deny or goto_next."),
        (json!({ "action": "goto_next", "enableLogging": true }), "Logging cannot be enabled"),
        (
            json!({ "match": { "srcIpRanges": ["10.0.0.1/8"], "layer4Configs": [{ "ipProtocol": "all" }] } }),
            "CIDR",
        ),
        (json!({ "match": { "layer4Configs": [{ "ipProtocol": "all" }] } }), "At least one range"),
        (matching("destIpRanges", json!(["10.0.0.1/8"])), "CIDR"),
        (matching("destIpRanges", json!(["fd20::/20"])), "not a combination of both"),
        (
            json!({ "match": { "destIpRanges": ["10.0.0.0/8"], "layer4Configs": [{ "ipProtocol": "all" }] } }),
            "At least one range",
        ),
        (json!({ "match": { "srcIpRanges": ["10.0.0.0/8"] } }), "At least one protocol"),
        (json!({ "priority": -1 }), "Must be between 0 and"),
        (json!({ "priority": 2147483644u32 }), "Must be between 0 and"),
    ] {
        let refused = cloud.refused("POST", &add, rule(1, more));
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(refused["error"]["code"] == 400 && message.contains(part), "{part}: {refused}");
    }
}

#[test]
fn a_network_has_one_policy() {
    let (mut cloud, policy) = (cloud(), policy());
    cloud.post(&format!("{P}/global/firewallPolicies"), json!({ "name": "q" }));
    let (network, vpc_1) = (format!("{P}/global/networks/vpc-1"), json!("global/networks/vpc-1"));
    let effective = format!("{network}/getEffectiveFirewalls");
    let add = format!("{policy}/addAssociation");
    cloud.post(&add, json!({ "name": "at-1", "attachmentTarget": vpc_1 }));
    assert!(cloud.get(&network)["firewallPolicy"].as_str().is_some_and(|link| link.ends_with("/p")));
    cloud.post(&format!("{policy}/addRule"), rule(1, json!({})));
    let found = cloud.get(&effective)["firewallPolicys"][0].clone();
    assert_eq!((&found["name"], &found["rules"][0]["priority"]), (&json!("p"), &json!(1)));
    let other = format!("{P}/global/firewallPolicies/q/addAssociation");
    let body = json!({ "name": "at-1", "attachmentTarget": vpc_1 });
    let refused = cloud.refused("POST", &other, body.clone());
    check(
        &refused,
        400,
        "The network resource 'projects/project-1/global/networks/vpc-1' is already being used by \
         'projects/project-1/global/firewallPolicies/p'",
    );
    let in_use = cloud.refused("DELETE", &policy, json!(null));
    assert_eq!(in_use["error"]["errors"][0]["reason"], "resourceInUseByAnotherResource");
    let used = cloud.used(&network);
    assert!(used.contains("firewallPolicies/p"), "{used}");
    let stale = json!({ "description": "d", "fingerprint": "AAAAAAAAAAA=" });
    let stale = cloud.refused("PATCH", &policy, stale);
    check(&stale, 412, "Invalid fingerprint.");
    let fingerprint = cloud.get(&policy)["fingerprint"].clone();
    cloud.patch(&policy, json!({ "description": "d", "fingerprint": fingerprint }));
    cloud.post(&format!("{other}?replaceExistingAssociation=true"), body);
    assert_eq!(cloud.get(&effective)["firewallPolicys"][0]["name"], "q");
    cloud.good("DELETE", &policy, json!(null));

    assert_eq!(cloud.get(&network)["networkFirewallPolicyEnforcementOrder"], "AFTER_CLASSIC_FIREWALL");
    cloud.patch(&network, json!({ "networkFirewallPolicyEnforcementOrder": "BEFORE_CLASSIC_FIREWALL" }));
    assert_eq!(cloud.get(&network)["networkFirewallPolicyEnforcementOrder"], "BEFORE_CLASSIC_FIREWALL");
    cloud.patch(&network, json!({ "description": "d" }));
    assert_eq!(cloud.get(&network)["networkFirewallPolicyEnforcementOrder"], "BEFORE_CLASSIC_FIREWALL");
    let body = json!({
        "name": "vpc-3",
        "autoCreateSubnetworks": false,
        "networkFirewallPolicyEnforcementOrder": "BEFORE_CLASSIC_FIREWALL",
    });
    cloud.post(&format!("{P}/global/networks"), body);
    let found = cloud.get(&format!("{P}/global/networks/vpc-3"));
    assert_eq!(found["networkFirewallPolicyEnforcementOrder"], "BEFORE_CLASSIC_FIREWALL");
}

#[test]
fn a_region_has_policies_of_its_own() {
    let mut cloud = cloud();
    let regional = format!("{P}/regions/us-central1/firewallPolicies");
    cloud.post(&regional, json!({ "name": "p" }));
    cloud.post(&format!("{regional}/p/addRule"), rule(1, json!({ "action": "allow" })));
    let found = cloud.get(&format!("{regional}/p"));
    assert!(
        found["region"].as_str().is_some_and(|region| region.ends_with("/regions/us-central1")),
        "{found}"
    );
    assert!(found["selfLink"].as_str().is_some_and(|link| link.ends_with("/us-central1/firewallPolicies/p")));
    let names = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
    assert_eq!(names(&cloud.get(&regional)), 1);
    assert_eq!(names(&cloud.get(&format!("{P}/regions/europe-west1/firewallPolicies"))), 0);
    assert_eq!(names(&cloud.get(&format!("{P}/global/firewallPolicies"))), 1);
    // A network has a global one and one of each region, and no second one of the same.
    let at = |name: &str| json!({ "name": name, "attachmentTarget": "global/networks/vpc-1" });
    cloud.post(&format!("{}/addAssociation", policy()), at("a"));
    cloud.post(&format!("{regional}/p/addAssociation"), at("a"));
    cloud.post(&regional, json!({ "name": "q" }));
    let refused = cloud.refused("POST", &format!("{regional}/q/addAssociation"), at("b"));
    assert!(
        refused["error"]["message"].as_str().is_some_and(|text| text.contains("already being used")),
        "{refused}"
    );
    let effective = |cloud: &mut Cloud, region: &str| {
        let path = format!(
            "{P}/regions/{region}/firewallPolicies/getEffectiveFirewalls?network=global/networks/vpc-1"
        );
        let found = cloud.get(&path);
        let types =
            found["firewallPolicys"].as_array().expect("policies").iter().map(|one| one["type"].clone());
        types.collect::<Vec<_>>()
    };
    assert_eq!(effective(&mut cloud, "us-central1"), ["NETWORK", "NETWORK_REGIONAL"]);
    assert_eq!(effective(&mut cloud, "europe-west1"), ["NETWORK"]);
    let found = cloud.get(&format!("{P}/global/networks/vpc-1"));
    assert!(found["firewallPolicy"].as_str().is_some_and(|link| link.contains("/global/firewallPolicies/p")));
}
