//! Tag keys, values and bindings as gcloud and Terraform ask for them, rules that name values, and what is refused.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";
const V3: &str = "/cloudresourcemanager/v3";
const ORG: &str = "organizations/433637338589";

/// A project of the organization with a network and an instance.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    cloud.post(&format!("{V3}/projects/project-1:move"), json!({ "destinationParent": ORG }));
    cloud.post(&format!("{P}/global/networks"), json!({ "name": "vpc-1", "autoCreateSubnetworks": true }));
    vm(&mut cloud, "vm-1", json!({})).unwrap();
    cloud
}

fn vm(cloud: &mut Cloud, name: &str, params: Value) -> Result<Value, Value> {
    let nics = json!([{ "network": "global/networks/vpc-1" }]);
    let body = json!({ "name": name, "networkInterfaces": nics, "params": params });
    cloud.send("POST", &format!("{P}/zones/us-central1-a/instances"), body)
}

/// A resource that is made at once: its name.
fn made(cloud: &mut Cloud, what: &str, body: Value) -> String {
    let operation = cloud.post(&format!("{V3}/{what}"), body);
    assert_eq!(operation["done"], true);
    let name = operation["name"].as_str().unwrap();
    assert_eq!(cloud.get(&format!("{V3}/{name}")), operation);
    operation["response"]["name"].as_str().unwrap().to_owned()
}

/// A key for a network with two values.
fn role(cloud: &mut Cloud) -> [String; 3] {
    let key = made(
        cloud,
        "tagKeys",
        json!({
            "parent": "projects/project-1",
            "shortName": "role",
            "description": "what it is for",
            "purpose": "GCE_FIREWALL",
            "purposeData": { "network": "project-1/vpc-1" },
        }),
    );
    let value =
        |cloud: &mut Cloud, name: &str| made(cloud, "tagValues", json!({ "parent": key, "shortName": name }));
    let values = ["web", "db"].map(|name| value(cloud, name));
    let [web, db] = values;
    [key, web, db]
}

#[test]
fn keys_and_values_are_shown_as_google_does() {
    let mut cloud = cloud();
    let number = cloud.get(&format!("{V3}/projects/project-1"))["name"].clone();
    let network = cloud.get(&format!("{P}/global/networks/vpc-1"))["id"].as_str().unwrap().to_owned();
    let [key, web, _] = role(&mut cloud);
    let found = cloud.get(&format!("{V3}/{key}"));
    let url = format!("https://www.googleapis.com/compute/v1/projects/project-1/global/networks/{network}");
    for (field, want) in [
        ("name", json!(key)),
        ("parent", number.clone()),
        ("shortName", json!("role")),
        ("namespacedName", json!("project-1/role")),
        ("description", json!("what it is for")),
        ("purpose", json!("GCE_FIREWALL")),
        ("purposeData", json!({ "network": url })),
    ] {
        assert_eq!(found[field], want, "{field}");
    }
    let value = cloud.get(&format!("{V3}/{web}"));
    assert_eq!(
        (&value["parent"], &value["namespacedName"], &value["shortName"]),
        (&json!(key), &json!("project-1/role/web"), &json!("web"))
    );
    // By their names, and in lists of their parents, which may be named by number.
    assert_eq!(cloud.get(&format!("{V3}/tagKeys/namespaced?name=project-1/role")), found);
    assert_eq!(cloud.get(&format!("{V3}/tagValues/namespaced?name=project-1/role/web")), value);
    let number = number.as_str().unwrap();
    assert_eq!(cloud.get(&format!("{V3}/tagKeys?parent={number}"))["tagKeys"], json!([found]));
    assert_eq!(cloud.get(&format!("{V3}/tagKeys?parent={ORG}")), json!({}));
    assert_eq!(cloud.get(&format!("{V3}/tagValues?parent={key}"))["tagValues"].as_array().unwrap().len(), 2);
    // The organization's keys may be for all of it, or for a network by its URL and number.
    for (name, data) in [("env", json!({ "organization": "auto" })), ("tier", json!({ "network": url }))] {
        let body =
            json!({ "parent": ORG, "shortName": name, "purpose": "GCE_FIREWALL", "purposeData": data });
        let key = made(&mut cloud, "tagKeys", body);
        let found = cloud.get(&format!("{V3}/{key}"));
        assert_eq!((&found["purposeData"], &found["parent"]), (&data, &json!(ORG)));
        assert_eq!(found["namespacedName"], format!("433637338589/{name}"));
    }
}

#[test]
fn descriptions_change_and_nothing_else() {
    let mut cloud = cloud();
    let [key, web, _] = role(&mut cloud);
    for (path, mask) in [(&key, "?updateMask=description"), (&web, ""), (&key, "?updateMask=*")] {
        // gcloud sends all of it.
        let mut body = cloud.get(&format!("{V3}/{path}"));
        body["description"] = json!("new");
        let changed = cloud.patch(&format!("{V3}/{path}{mask}"), body.clone());
        assert_eq!((&changed["response"]["description"], &changed["done"]), (&json!("new"), &json!(true)));
        // Whoever has an old etag has not seen that.
        if changed["response"]["etag"] != body["etag"] {
            let refused = cloud.refused("PATCH", &format!("{V3}/{path}"), body.clone());
            assert_eq!(refused["error"]["status"], "ABORTED");
        }
        body.as_object_mut().unwrap().retain(|name, _| name == "shortName");
        body["shortName"] = json!("other");
        let refused = cloud.refused("PATCH", &format!("{V3}/{path}"), body);
        assert_eq!(refused["error"]["code"], 501, "{refused}");
    }
    let cleared = cloud.patch(&format!("{V3}/{key}?updateMask=description"), json!({}));
    assert_eq!(cleared["response"]["description"], "");
    let refused = cloud.refused("PATCH", &format!("{V3}/{key}?updateMask=allowedValuesRegex"), json!({}));
    check(&refused, 501, "Tombolo does not support a change of the field 'allowedValuesRegex' of a tag.");
}

#[test]
fn values_are_bound_to_instances_by_name_and_by_number() {
    let mut cloud = cloud();
    let [key, web, db] = role(&mut cloud);
    let id = cloud.get(&format!("{P}/zones/us-central1-a/instances/vm-1"))["id"].as_str().unwrap().to_owned();
    let number = cloud.get(&format!("{V3}/projects/project-1"))["name"].as_str().unwrap().to_owned();
    let by_name = "//compute.googleapis.com/projects/project-1/zones/us-central1-a/instances/vm-1";
    let canonical = format!("//compute.googleapis.com/{number}/zones/us-central1-a/instances/{id}");
    let encoded = canonical.replace('/', "%2F");
    let bindings = format!("{V3}/tagBindings");
    let list = |cloud: &mut Cloud| {
        let found = cloud.get(&format!("{V3}/tagBindings/?parent={by_name}&pageSize=300"));
        found["tagBindings"].as_array().cloned().unwrap_or_default()
    };
    for (parent, value) in [
        (by_name, json!({ "tagValue": web })),
        (&canonical, json!({ "tagValueNamespacedName": "project-1/role/web" })),
    ] {
        let mut body = value;
        body["parent"] = json!(parent);
        let bound = cloud.post(&bindings, body.clone());
        let name = format!("tagBindings/{encoded}/{web}");
        let want = json!({
            "@type": "type.googleapis.com/google.cloud.resourcemanager.v3.TagBinding",
            "name": name, "parent": canonical, "tagValue": web, "tagValueNamespacedName": "project-1/role/web",
        });
        assert_eq!(bound["response"], want);
        let mut listed = want;
        listed.as_object_mut().unwrap().remove("@type");
        assert_eq!(list(&mut cloud), [listed]);
        assert_eq!(cloud.refused("POST", &bindings, body)["error"]["status"], "ALREADY_EXISTS");
        let other = cloud.refused("POST", &bindings, json!({ "parent": by_name, "tagValue": db }));
        let text = other["error"]["message"].as_str().unwrap();
        assert!(text.contains("a value of the same tag key already, 'project-1/role/web'"), "{text}");
        let effective = cloud.get(&format!("{V3}/effectiveTags?parent={canonical}"));
        let want = json!([{
            "tagValue": web,
            "namespacedTagValue": "project-1/role/web",
            "tagKey": key,
            "namespacedTagKey": "project-1/role",
            "tagKeyParentName": number,
            "inherited": false,
        }]);
        assert_eq!(effective["effectiveTags"], want);
        // As Terraform sends the name, and as gcloud does, which encodes it once more.
        let sent = if parent == by_name { name } else { name.replace('%', "%25") };
        assert_eq!(cloud.delete(&format!("{V3}/{sent}"))["done"], true);
        assert_eq!(list(&mut cloud), [] as [Value; 0]);
    }
    let body = json!({ "parent": "//cloudresourcemanager.googleapis.com/projects/1", "tagValue": web });
    assert_eq!(cloud.refused("POST", &bindings, body)["error"]["code"], 501);
    let body = json!({ "parent": by_name.replace("vm-1", "vm-2"), "tagValue": web });
    assert_eq!(cloud.refused("POST", &bindings, body)["error"]["code"], 404);
}

#[test]
fn new_instances_have_the_values_that_they_say() {
    let mut cloud = cloud();
    let [key, web, db] = role(&mut cloud);
    for (name, tags) in [
        ("vm-a", json!({ key.clone(): web })),
        ("vm-b", json!({ "project-1/role": "db" })),
        ("vm-c", json!({ key.clone(): "web" })),
    ] {
        vm(&mut cloud, name, json!({ "resourceManagerTags": tags })).unwrap();
    }
    let unknown = vm(&mut cloud, "vm-d", json!({ "resourceManagerTags": { key.clone(): "no" } }));
    check(&unknown.unwrap_err(), 404, &format!("The resource '{key}/tagValues/no' was not found"));
    let of = |cloud: &mut Cloud, name: &str| {
        let parent =
            format!("//compute.googleapis.com/projects/project-1/zones/us-central1-a/instances/{name}");
        cloud.get(&format!("{V3}/tagBindings?parent={parent}"))["tagBindings"][0]["tagValue"].clone()
    };
    let bound = ["vm-a", "vm-b", "vm-c"].map(|name| of(&mut cloud, name));
    assert_eq!(bound, [json!(web), json!(db), json!(web)]);
    // It is said once, and not shown again.
    assert!(cloud.get(&format!("{P}/zones/us-central1-a/instances/vm-a")).get("params").is_none());
    let plain = made(&mut cloud, "tagKeys", json!({ "parent": ORG, "shortName": "plain" }));
    let refused = vm(&mut cloud, "vm-d", json!({ "resourceManagerTags": { plain: web } })).unwrap_err();
    let text = refused["error"]["message"].as_str().unwrap().to_owned();
    assert!(text.contains("is not one of that tag key"), "{text}");
    let refused =
        vm(&mut cloud, "vm-d", json!({ "requestValidForDuration": { "seconds": "1" } })).unwrap_err();
    check(&refused, 501, "Tombolo does not support the field 'params.requestValidForDuration'.");
}

#[test]
fn rules_name_values() {
    let mut cloud = cloud();
    let [key, web, db] = role(&mut cloud);
    let policies = format!("{P}/global/firewallPolicies");
    cloud.post(&policies, json!({ "name": "policy-1" }));
    let policy = format!("{policies}/policy-1");
    let network = "https://www.googleapis.com/compute/v1/projects/project-1/global/networks/vpc-1";
    cloud.post(&format!("{policy}/addAssociation"), json!({ "name": "at", "attachmentTarget": network }));
    let rule = |priority: u32, matched: Value, more: Value| {
        let mut body =
            json!({ "priority": priority, "action": "allow", "direction": "INGRESS", "match": matched });
        body["match"]["layer4Configs"] = json!([{ "ipProtocol": "tcp" }]);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let tag = |name: &str| json!([{ "name": name }]);
    let one = rule(1, json!({ "srcSecureTags": tag(&web) }), json!({ "targetSecureTags": tag(&db) }));
    cloud.post(&format!("{policy}/addRule"), one);
    let shown = cloud.get(&format!("{policy}/getRule?priority=1"));
    let effective = |name: &str| json!([{ "name": name, "state": "EFFECTIVE" }]);
    assert_eq!(shown["match"]["srcSecureTags"], effective(&web));
    assert!(shown["match"].get("srcIpRanges").is_none());
    assert_eq!((&shown["targetSecureTags"], &shown["ruleTupleCount"]), (&effective(&db), &json!(3)));
    let effective_rules = cloud.get(&format!("{P}/global/networks/vpc-1/getEffectiveFirewalls"));
    assert_eq!(effective_rules["firewallPolicys"][0]["rules"][0], shown);
    // What was shown may come back, with its state.
    cloud.post(&format!("{policy}/patchRule?priority=1"), shown.clone());
    assert_eq!(cloud.get(&format!("{policy}/getRule?priority=1")), shown);
    // Hierarchical policies have them too.
    let above = "/compute/v1/locations/global/firewallPolicies";
    let made = cloud.post(&format!("{above}?parentId={ORG}"), json!({ "shortName": "above" }));
    let above = format!("{above}/{}", made["targetId"].as_str().unwrap());
    let two = rule(2, json!({ "srcIpRanges": ["10.0.0.0/8"] }), json!({ "targetSecureTags": tag(&web) }));
    cloud.post(&format!("{above}/addRule"), two);
    for (body, part) in [
        (
            rule(3, json!({ "srcSecureTags": tag("tagValues/1") }), json!({})),
            "'resource.match.srcSecureTags[0].name': 'tagValues/1'. The referenced tag value cannot be found.",
        ),
        (
            rule(3, json!({ "srcSecureTags": tag("project-1/role/web") }), json!({})),
            "Must be the name of a tag value, such as tagValues/123.",
        ),
        (
            rule(
                3,
                json!({ "destIpRanges": ["10.0.0.0/8"], "srcSecureTags": tag(&web) }),
                json!({ "direction": "EGRESS" }),
            ),
            "Source secure tags cannot be specified in a rule whose direction is EGRESS.",
        ),
        (
            rule(
                3,
                json!({ "srcIpRanges": ["10.0.0.0/8"] }),
                json!({ "targetSecureTags": tag(&web), "targetServiceAccounts": ["a@b.iam.gserviceaccount.com"] }),
            ),
            "Target secure tags cannot be specified together with target service accounts.",
        ),
    ] {
        let refused = cloud.refused("POST", &format!("{policy}/addRule"), body);
        let text = refused["error"]["message"].as_str().unwrap().to_owned();
        assert!(text.contains(part), "{text}");
    }
    // What is used does not go.
    for (path, user) in [(&key, "tagValues/"), (&web, "policy-1"), (&db, "policy-1")] {
        let refused = cloud.refused("DELETE", &format!("{V3}/{path}"), Value::Null);
        assert_eq!(refused["error"]["status"], "FAILED_PRECONDITION");
        assert!(refused["error"]["message"].as_str().unwrap().contains(user), "{refused}");
    }
    // The rule is ineffective once the network is gone, and tells so.
    cloud.post(&format!("{policy}/removeAssociation?name=at"), Value::Null);
    cloud.delete(&format!("{P}/zones/us-central1-a/instances/vm-1"));
    cloud.delete(&format!("{P}/global/networks/vpc-1"));
    let shown = cloud.get(&format!("{policy}/getRule?priority=1"));
    assert_eq!(shown["match"]["srcSecureTags"], json!([{ "name": web, "state": "INEFFECTIVE" }]));
    cloud.post(&format!("{policy}/removeRule?priority=1"), Value::Null);
    cloud.post(&format!("{above}/removeRule?priority=2"), Value::Null);
    for path in [&web, &db, &key] {
        let gone = cloud.delete(&format!("{V3}/{path}"));
        assert_eq!(gone["response"]["name"], **path);
        assert_eq!(cloud.refused("GET", &format!("{V3}/{path}"), Value::Null)["error"]["code"], 404);
    }
}

#[test]
fn what_is_refused() {
    let mut cloud = cloud();
    let key = |more: Value| {
        let mut body = json!({ "parent": "projects/project-1", "shortName": "x" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let firewall = |data: Value| key(json!({ "purpose": "GCE_FIREWALL", "purposeData": data }));
    for (body, code, part) in [
        (key(json!({ "parent": "folders/1" })), 400, "Must be projects/PROJECT or the only organization"),
        (key(json!({ "parent": "projects/project-9" })), 403, "project-9"),
        (key(json!({ "shortName": "a/b" })), 400, "'resource.shortName': 'a/b'. Must be 1 to 256"),
        (key(json!({ "purpose": "DATA_GOVERNANCE" })), 501, "tag keys whose purpose is 'DATA_GOVERNANCE'"),
        (key(json!({ "allowedValuesRegex": "a.*" })), 501, "the field 'allowedValuesRegex'"),
        (key(json!({ "purposeData": { "network": "project-1/vpc-1" } })), 400, "together with a purpose"),
        (firewall(json!({})), 400, "Must be one of a 'network' and an 'organization'"),
        (firewall(json!({ "network": "project-1/vpc-1", "organization": "auto" })), 400, "Must be one of"),
        (firewall(json!({ "network": "project-1/vpc-2" })), 400, "network resource cannot be found"),
        (firewall(json!({ "network": "vpc-1" })), 400, "Must be PROJECT/NETWORK or the URL of a network."),
        (firewall(json!({ "organization": "auto" })), 400, "Only a tag key of an organization"),
        (firewall(json!({ "organization": "1" })), 400, "Must be 'auto'."),
        (firewall(json!({ "zone": "a" })), 400, "Must be a 'network' or an 'organization'."),
    ] {
        let refused = cloud.refused("POST", &format!("{V3}/tagKeys"), body.clone());
        assert_eq!(refused["error"]["code"], code, "{body} {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(part), "{refused}");
    }
    let refused = cloud.refused("POST", &format!("{V3}/tagKeys?validateOnly=true"), key(json!({})));
    check(&refused, 501, "Tombolo does not support requests that are only validated.");
    for target in
        ["tagKeys/1", "tagValues/1", "tagKeys/namespaced?name=project-1/x", "tagValues?parent=tagKeys/1"]
    {
        assert_eq!(
            cloud.refused("GET", &format!("{V3}/{target}"), Value::Null)["error"]["code"],
            404,
            "{target}"
        );
    }
    assert_eq!(cloud.refused("GET", &format!("{V3}/tagValues?parent=x"), Value::Null)["error"]["code"], 400);
}
