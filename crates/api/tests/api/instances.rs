//! Instances by the API: what they are made of, and what they have when nobody says it.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

const PROJECT: &str = "/compute/v1/projects/project-i-1";
const INSTANCES: &str = "/compute/v1/projects/project-i-1/zones/us-central1-a/instances";

/// A project with a network that has a subnetwork.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-i-1");
    cloud.post(
        &format!("{PROJECT}/global/networks"),
        json!({ "name": "vpc-1", "autoCreateSubnetworks": false }),
    );
    let body =
        json!({ "name": "subnet-1", "ipCidrRange": "10.1.0.0/16", "network": "global/networks/vpc-1" });
    cloud.post(&format!("{PROJECT}/regions/us-central1/subnetworks"), body);
    cloud
}

fn instance(name: &str) -> Value {
    json!({
        "name": name,
        "machineType": "zones/us-central1-a/machineTypes/e2-micro",
        "networkInterfaces": [{ "subnetwork": "regions/us-central1/subnetworks/subnet-1" }],
        "disks": [{ "boot": true, "initializeParams":
            { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
    })
}

#[test]
fn an_instance_is_made_of_an_image_that_there_is() {
    let mut cloud = cloud();
    let mut made_of = |name: &str, image: &str, params: Value| {
        let mut body = instance(name);
        body["disks"][0]["initializeParams"] = params;
        body["disks"][0]["initializeParams"]["sourceImage"] = json!(image);
        let answered = cloud.send("POST", INSTANCES, body);
        answered.map(|_| cloud.get(&format!("{PROJECT}/zones/us-central1-a/disks/{name}")))
    };
    let ubuntu = "https://www.googleapis.com/compute/v1/projects/ubuntu-os-cloud/global/images/ubuntu-2204-jammy-v20251014";
    let params = json!({ "diskSizeGb": "30", "diskType": "zones/us-central1-a/diskTypes/pd-ssd", "labels": { "a": "b" } });
    let disk = made_of("a", ubuntu, params).expect("a disk");
    assert_eq!((&disk["sourceImage"], &disk["sizeGb"]), (&json!(ubuntu), &json!("30")));
    assert_eq!(disk["labels"], json!({ "a": "b" }));
    assert!(
        disk["type"].as_str().is_some_and(|link| link.ends_with("/zones/us-central1-a/diskTypes/pd-ssd"))
    );
    let rocky = "projects/rocky-linux-cloud/zones/-/imageFamilyViews/rocky-linux-9";
    let disk = made_of("b", rocky, json!({})).expect("a disk");
    assert!(disk["sourceImage"].as_str().is_some_and(|link| link.ends_with("/rocky-linux-9-v20251014")));
    assert_eq!(disk["sizeGb"], "20");
    let refused =
        made_of("c", "projects/debian-cloud/global/images/family/debian-1", json!({})).expect_err("none");
    check(&refused, 404, "The resource 'projects/debian-cloud/global/images/family/debian-1' was not found");
    assert_eq!(made_of("c", "global/images/mine", json!({})).expect_err("none")["error"]["code"], 404);
    assert_eq!(made_of("c", "debian-12", json!({})).expect_err("malformed")["error"]["code"], 400);
}

#[test]
fn an_instance_has_what_was_said_of_it_and_defaults_for_the_rest() {
    let mut cloud = cloud();
    let mut body = instance("plain");
    body["scheduling"] = json!({ "automaticRestart": false });
    cloud.post(INSTANCES, body);
    let found = cloud.get(&format!("{INSTANCES}/plain"));
    assert_eq!(found.get("serviceAccounts"), None);
    let mut body = instance("scoped");
    body["serviceAccounts"] = json!([{ "scopes": ["https://www.googleapis.com/auth/cloud-platform"] }]);
    cloud.post(INSTANCES, body);
    let account = cloud.get(&format!("{INSTANCES}/scoped"))["serviceAccounts"][0]["email"].clone();
    assert_eq!(account, cloud.get(PROJECT)["defaultServiceAccount"]);
    let scheduling = json!({
        "onHostMaintenance": "MIGRATE", "automaticRestart": false, "preemptible": false, "provisioningModel": "STANDARD",
    });
    assert_eq!(found["scheduling"], scheduling);
}

#[test]
fn what_an_interface_is_made_of_is_kept_as_said() {
    let mut cloud = cloud();
    let mut body = instance("vm-1");
    body["networkInterfaces"][0]["nicType"] = json!("GVNIC");
    cloud.post(INSTANCES, body);
    let nic = &cloud.get(&format!("{INSTANCES}/vm-1"))["networkInterfaces"][0];
    assert_eq!((&nic["nicType"], &nic["networkIP"]), (&json!("GVNIC"), &json!("10.1.0.2")));
    let nic = |cloud: &mut Cloud| cloud.get(&format!("{INSTANCES}/vm-2"))["networkInterfaces"][0].clone();
    cloud.post(INSTANCES, instance("vm-2"));
    assert_eq!(nic(&mut cloud).get("nicType"), None);
}

#[test]
fn metadata_is_as_google_takes_it() {
    let mut cloud = cloud();
    cloud.post(INSTANCES, instance("vm-0"));
    let vm = format!("{INSTANCES}/vm-0");
    let long = "x".repeat((256 << 10) + 1);
    for (items, code, message) in [
        (
            json!([{ "key": "a", "value": "1" }, { "key": "a b", "value": "1" }]),
            400,
            "Invalid value for field 'resource.metadata.items[1].key': 'a b'. \
             Must be a match of regex '[a-zA-Z0-9-_]{1,128}'",
        ),
        (
            json!([{ "value": "1" }]),
            400,
            "Invalid value for field 'resource.metadata.items[0].key': ''. \
             Must be a match of regex '[a-zA-Z0-9-_]{1,128}'",
        ),
        (
            json!([{ "key": "b", "value": "1" }, { "key": "a" }, { "key": "b", "value": "1" }]),
            400,
            "Invalid value for field 'resource.metadata': 'b'. Metadata has duplicate keys: b",
        ),
        (
            json!([{ "key": "a", "value": long }]),
            413,
            "Value for field 'resource.metadata.items[0].value' is too large: maximum size 262144 character(s); \
             actual size 262145.",
        ),
    ] {
        let mut body = instance("vm-1");
        body["metadata"] = json!({ "items": items });
        check(&cloud.refused("POST", INSTANCES, body), code, message);
        let fingerprint = cloud.get(&vm)["metadata"]["fingerprint"].clone();
        let body = json!({ "fingerprint": fingerprint, "items": items });
        check(&cloud.refused("POST", &format!("{vm}/setMetadata"), body), code, message);
        let fingerprint = cloud.get(PROJECT)["commonInstanceMetadata"]["fingerprint"].clone();
        let body = json!({ "fingerprint": fingerprint, "items": items });
        check(&cloud.refused("POST", &format!("{PROJECT}/setCommonInstanceMetadata"), body), code, message);
    }
}

/// A network beside a subnetwork is the subnetwork's own, or refused.
#[test]
fn an_interfaces_network_is_its_subnetworks() {
    let mut cloud = cloud();
    cloud.post(
        &format!("{PROJECT}/global/networks"),
        json!({ "name": "vpc-2", "autoCreateSubnetworks": false }),
    );
    let with = |name: &str, network: &str| {
        let mut body = instance(name);
        body["networkInterfaces"][0]["network"] = json!(network);
        body
    };
    for (name, network) in [("vm-1", "global/networks/vpc-1"), ("vm-2", "vpc-1")] {
        cloud.post(INSTANCES, with(name, network));
    }
    for other in ["global/networks/vpc-2", "global/networks/none"] {
        let expected = format!(
            "Invalid value for field 'resource.networkInterfaces[0].network': '{other}'. The subnetwork \
             'projects/project-i-1/regions/us-central1/subnetworks/subnet-1' is in the network \
             'projects/project-i-1/global/networks/vpc-1'."
        );
        check(&cloud.refused("POST", INSTANCES, with("vm-3", other)), 400, &expected);
    }
}

/// Source of the texts: oap-project/cloudtik#14, googleapis/google-cloud-node-core#314.
#[test]
fn labels_are_checked() {
    let mut cloud = cloud();
    let with = |labels: Value| {
        let mut body = instance("vm-1");
        body["labels"] = labels;
        body
    };
    let value = "Invalid value for field 'resource.labels': ''. Label value 'head.default' violates format constraints. \
                 The value can only contain lowercase letters, numeric characters, underscores and dashes. The value can be \
                 at most 63 characters long. International characters are allowed.";
    let key = "Invalid value for field 'resource.labels': ''. Label key 'iAmVm' violates format constraints. The key must \
               start with a lowercase character, can only contain lowercase letters, numeric characters, underscores and \
               dashes. The key can be at most 63 characters long. International characters are allowed.";
    check(&cloud.refused("POST", INSTANCES, with(json!({ "a": "head.default" }))), 400, value);
    check(&cloud.refused("POST", INSTANCES, with(json!({ "iAmVm": "" }))), 400, key);
    let long = "x".repeat(64);
    for bad in ["", "1a", "-a", "_a", "a b", "\u{c9}a", &long] {
        assert_eq!(cloud.refused("POST", INSTANCES, with(json!({ bad: "" })))["error"]["code"], 400, "{bad}");
    }
    let mut disk = with(json!({}));
    disk["disks"][0]["initializeParams"]["labels"] = json!({ "A": "" });
    let refused = cloud.refused("POST", INSTANCES, disk);
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("'resource.disks[0].initializeParams.labels'"), "{message}");
    // Sixty-three characters of any script that has no capitals, or small ones.
    let labels = json!({ "a_-1": "", "\u{e9}t\u{e9}": "-_9", "\u{65e5}\u{672c}": "\u{e9}".repeat(63) });
    cloud.post(INSTANCES, with(labels.clone()));
    let vm = format!("{INSTANCES}/vm-1");
    let found = cloud.get(&vm);
    assert_eq!(found["labels"], labels);
    let bad = json!({ "labels": { "a": "B" }, "labelFingerprint": found["labelFingerprint"] });
    assert_eq!(cloud.refused("POST", &format!("{vm}/setLabels"), bad)["error"]["code"], 400);
    let redis = "/redis/v1/projects/project-i-1/locations/us-central1/instances";
    let body = |more: Value| {
        let mut body = json!({ "tier": "BASIC", "memorySizeGb": 1, "authorizedNetwork": "projects/project-i-1/global/networks/vpc-1" });
        for (field, value) in more.as_object().expect("fields") {
            body[field.as_str()] = value.clone();
        }
        body
    };
    let refused =
        cloud.refused("POST", &format!("{redis}?instanceId=r"), body(json!({ "labels": { "A": "b" } })));
    assert_eq!(refused["error"]["code"], 400);
    cloud.post(&format!("{redis}?instanceId=r"), body(json!({ "labels": { "a": "b" }, "replicaCount": 0 })));
    let patch = format!("{redis}/r?updateMask=labels");
    assert_eq!(cloud.refused("PATCH", &patch, json!({ "labels": { "a": "B" } }))["error"]["code"], 400);
    // What else Memorystore refuses of a new instance.
    check(
        &cloud.refused("POST", &format!("{redis}?instanceId=r-2"), body(json!({ "replicaCount": 1 }))),
        400,
        "Invalid value for field 'resource.replicaCount': '1'. Instances of the tier BASIC have no replicas.",
    );
    let forty_one = "r".repeat(41);
    check(
        &cloud.refused("POST", &format!("{redis}?instanceId={forty_one}"), body(json!({}))),
        400,
        &format!(
            "Invalid value for field 'resource.instance_id': '{forty_one}'. Must be between 1 and 40 characters."
        ),
    );
    cloud.post(&format!("{redis}?instanceId={}", &forty_one[1..]), body(json!({})));
}
