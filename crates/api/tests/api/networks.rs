//! Networks by the API: the story's first steps, and what Google refuses.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

#[test]
fn a_network_is_inserted_shown_listed_and_deleted() {
    let mut cloud = Cloud::with_project("project-i-1");
    let networks = "/compute/v1/projects/project-i-1/global/networks";
    let operation =
        cloud.post(networks, json!({ "name": "vpc-1", "autoCreateSubnetworks": false, "mtu": 1500 }));
    assert_eq!(operation["status"], "DONE");
    assert_eq!(operation["operationType"], "insert");
    assert_eq!(
        operation["targetLink"],
        "https://www.googleapis.com/compute/v1/projects/project-i-1/global/networks/vpc-1"
    );
    let network = cloud.get(&format!("{networks}/vpc-1"));
    assert_eq!((&network["mtu"], &network["autoCreateSubnetworks"]), (&json!(1500), &json!(false)));
    assert_eq!(network["id"], operation["targetId"]);
    let list = cloud.get(&format!("{networks}?filter=name%3Dvpc-1"));
    assert_eq!(list["items"], json!([network]));
    let name = operation["name"].as_str().expect("a name");
    let again =
        cloud.post(&format!("/compute/v1/projects/project-i-1/global/operations/{name}/wait"), json!(""));
    assert_eq!(again, operation);
    cloud.delete(&format!("{networks}/vpc-1"));
    let gone = cloud.refused("GET", &format!("{networks}/vpc-1"), json!(null));
    assert_eq!(
        gone,
        json!({ "error": {
            "code": 404,
            "message": "The resource 'projects/project-i-1/global/networks/vpc-1' was not found",
            "errors": [{
                "message": "The resource 'projects/project-i-1/global/networks/vpc-1' was not found",
                "domain": "global",
                "reason": "notFound",
            }],
        } })
    );
}

/// As Terraform's module for networks says it: 0 where nobody has an opinion.
#[test]
fn an_mtu_that_nobody_said_is_not_shown() {
    let mut cloud = Cloud::with_project("project-i-1");
    let networks = "/compute/v1/projects/project-i-1/global/networks";
    cloud.post(networks, json!({ "name": "vpc-1", "autoCreateSubnetworks": false, "mtu": 0 }));
    cloud.post(networks, json!({ "name": "vpc-2", "autoCreateSubnetworks": false, "mtu": 1460 }));
    assert_eq!(cloud.get(&format!("{networks}/vpc-1")).get("mtu"), None);
    assert_eq!(cloud.get(&format!("{networks}/vpc-2"))["mtu"], 1460);
    cloud.patch(&format!("{networks}/vpc-1"), json!({ "mtu": 1460, "fingerprint": null }));
    let other = cloud.refused("PATCH", &format!("{networks}/vpc-1"), json!({ "mtu": 1500 }));
    check(&other, 501, "Tombolo does not support a change of the field 'mtu' by a patch.");
}

#[test]
fn the_same_request_id_is_the_same_operation() {
    let mut cloud = Cloud::with_project("project-i-1");
    let networks = "/compute/v1/projects/project-i-1/global/networks?requestId=";
    let target = &format!("{networks}0192f3a4-5b6c-7d8e-9f00-112233445566");
    let body = json!({ "name": "vpc-1", "autoCreateSubnetworks": false });
    let first = cloud.post(target, body.clone());
    assert_eq!(cloud.post(target, body.clone()), first);
    let other = format!("{networks}0192f3a4-5b6c-7d8e-9f00-112233445567");
    let other = cloud.refused("POST", &other, body.clone());
    check(&other, 409, "The resource 'projects/project-i-1/global/networks/vpc-1' already exists");
    for id in ["7", "0192f3a4-5b6c-7d8e-9f00-11223344556g", "00000000-0000-0000-0000-000000000000"] {
        let refused = cloud.refused("POST", &format!("{networks}{id}"), body.clone());
        let expected = format!(
            "Invalid value for field 'requestId': '{id}'. Must be a valid UUID, and not the zero UUID."
        );
        check(&refused, 400, &expected);
    }
}

#[test]
fn default_can_not_be_deleted_before_its_rules() {
    let mut cloud = Cloud::with_project("project-i-1");
    let network = "/compute/v1/projects/project-i-1/global/networks/default";
    assert_eq!(
        cloud.used(network),
        "The network resource 'projects/project-i-1/global/networks/default' is already being used by \
         'projects/project-i-1/global/firewalls/default-allow-icmp'",
    );
    assert_eq!(cloud.get(network)["name"], "default");
    // What is not there is not looked for later.
    let gone = cloud.refused("DELETE", &format!("{network}s"), json!(null));
    check(&gone, 404, "The resource 'projects/project-i-1/global/networks/defaults' was not found");
}

#[test]
fn methods_and_fields_that_are_not_there_say_so() {
    let mut cloud = Cloud::with_project("project-i-1");
    let refused =
        cloud.refused("GET", "/compute/v1/projects/project-i-1/global/acceleratorTypes", json!(null));
    check(
        &refused,
        404,
        "'/compute/v1/projects/project-i-1/global/acceleratorTypes' is no path of a supported API.",
    );
    let target = "/compute/v1/projects/project-i-1/aggregated/acceleratorTypes";
    let refused = cloud.refused("GET", target, json!(null));
    check(&refused, 501, "Tombolo does not support the method 'compute.acceleratorTypes.aggregatedList'.");
    for place in ["global/healthChecks", "regions/us-central1/backendServices/b", "aggregated/targetPools"] {
        let refused = cloud.refused("GET", &format!("/compute/v1/projects/project-i-1/{place}"), json!(null));
        let noun = place.split('/').find(|word| word.chars().any(char::is_uppercase)).expect("a noun");
        check(&refused, 501, &format!("Tombolo does not support '{noun}' of Compute Engine."));
    }
    let target = "/compute/v1/projects/project-i-1/aggregated/subnetworks?serviceProjectNumber=100000000001";
    check(
        &cloud.refused("GET", target, json!(null)),
        501,
        "Tombolo does not support the parameter 'serviceProjectNumber' of 'compute.subnetworks.aggregatedList'.",
    );
    let networks = "/compute/v1/projects/project-i-1/global/networks";
    let body =
        json!({ "name": "n", "autoCreateSubnetworks": true, "networkProfile": "global/networkProfiles/x" });
    let refused = cloud.refused("POST", networks, body);
    check(&refused, 501, "Tombolo does not support the field 'networkProfile' of 'compute.networks.insert'.");
}

#[test]
fn routing_is_merged() {
    let mut cloud = Cloud::with_project("project-i-1");
    let networks = "/compute/v1/projects/project-i-1/global/networks";
    let target = format!("{networks}/n");
    let config = json!({ "bgpBestPathSelectionMode": "STANDARD", "bgpAlwaysCompareMed": true, "deleteBgpAlwaysCompareMed": false });
    cloud.post(networks, json!({ "name": "n", "autoCreateSubnetworks": false, "routingConfig": config }));
    let routing = json!({
        "routingMode": "REGIONAL", "bgpBestPathSelectionMode": "STANDARD", "bgpAlwaysCompareMed": true,
    });
    assert_eq!(cloud.get(&target)["routingConfig"], routing);
    cloud.patch(
        &target,
        json!({ "routingConfig": { "routingMode": "GLOBAL", "deleteBgpAlwaysCompareMed": true } }),
    );
    let routing = json!({ "routingMode": "GLOBAL", "bgpBestPathSelectionMode": "STANDARD" });
    assert_eq!(cloud.get(&target)["routingConfig"], routing);
}

/// All pages of a list, each of whose items is deleted before the next page is asked for.
fn emptied(cloud: &mut Cloud, list: &str, field: &str, delete: impl Fn(&Value) -> String) -> Vec<String> {
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = cloud.get(&format!("{list}&pageToken={token}"));
        let items = page[field].as_array().cloned().unwrap_or_default();
        for item in &items {
            cloud.delete(&delete(item));
        }
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap_or_default().to_owned()));
        match page["nextPageToken"].as_str() {
            None => return seen,
            Some(next) => {
                assert!(next.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'), "{next}");
                token = next.to_owned();
            }
        }
    }
}

#[test]
fn pages_go_on_after_what_was_deleted() {
    let mut cloud = Cloud::with_project("project-i-1");
    let networks = "/compute/v1/projects/project-i-1/global/networks";
    let names = ["a", "b", "c", "d", "e", "f"];
    // "default" is the project's own, with rules that are in the way.
    for (order, desc) in [("", false), ("&orderBy=creationTimestamp+desc", true)] {
        for name in names {
            cloud.post(networks, json!({ "name": name, "autoCreateSubnetworks": false }));
        }
        let list = format!("{networks}?maxResults=2&filter=name!%3Ddefault{order}");
        let seen = emptied(&mut cloud, &list, "items", |item| {
            format!("{networks}/{}", item["name"].as_str().unwrap())
        });
        let mut expected = names.to_vec();
        if desc {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    for bad in ["at-2", "x", "e30", "WyJhIl0"] {
        let refused = cloud.refused("GET", &format!("{networks}?pageToken={bad}"), json!(null));
        let expected =
            format!("Invalid value for field 'pageToken': '{bad}'. It is none that was given out.");
        check(&refused, 400, &expected);
    }
}

#[test]
fn pages_of_every_kind_of_list_go_on() {
    let mut cloud = Cloud::with_project("project-i-1");
    let p = "/compute/v1/projects/project-i-1";
    for region in ["us-central1", "us-east1", "us-west1"] {
        for name in ["a", "b"] {
            cloud.post(&format!("{p}/regions/{region}/addresses"), json!({ "name": name }));
        }
    }
    let pages = |cloud: &mut Cloud, list: &str, of: &dyn Fn(&Value) -> Vec<String>, gone: Option<&str>| {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = cloud.get(&format!("{list}pageToken={token}"));
            seen.extend(of(&page));
            if let Some(gone) = gone.filter(|_| token.is_empty()) {
                cloud.delete(gone);
            }
            match page["nextPageToken"].as_str() {
                None => return seen,
                Some(next) => token = next.to_owned(),
            }
        }
    };
    let of = |field: &'static str, name: &'static str| {
        move |page: &Value| -> Vec<String> {
            let items = page[field].as_array().into_iter().flatten();
            items.map(|item| item[name].as_str().unwrap_or_default().to_owned()).collect()
        }
    };
    let aggregated = |page: &Value| {
        let scopes = page["items"].as_object().into_iter().flatten();
        let all = scopes.flat_map(|(scope, found)| {
            found["addresses"]
                .as_array()
                .into_iter()
                .flatten()
                .map(move |one| format!("{scope} {}", one["name"]))
        });
        all.collect::<Vec<_>>()
    };
    // The last of the first page is gone when the second is asked for.
    let list = format!("{p}/aggregated/addresses?maxResults=3&");
    let seen = pages(&mut cloud, &list, &aggregated, Some(&format!("{p}/regions/us-east1/addresses/a")));
    let expected = [
        "regions/us-central1 \"a\"",
        "regions/us-central1 \"b\"",
        "regions/us-east1 \"a\"",
        "regions/us-east1 \"b\"",
        "regions/us-west1 \"a\"",
        "regions/us-west1 \"b\"",
    ];
    assert_eq!(seen, expected);
    // Operations come in at the front, where no page is any more.
    let all = cloud.get(&format!("{p}/regions/us-east1/operations"));
    let all = of("items", "name")(&all);
    assert_eq!(all.len(), 3);
    let list = format!("{p}/regions/us-east1/operations?maxResults=1&");
    let gone = format!("{p}/regions/us-east1/addresses/b");
    assert_eq!(pages(&mut cloud, &list, &of("items", "name"), Some(&gone)), all);
    // Record sets may share their names.
    cloud.post("/serviceusage/v1/projects/project-i-1/services/dns.googleapis.com:enable", json!({}));
    let zones = "/dns/v1/projects/project-i-1/managedZones";
    cloud.post(zones, json!({ "name": "z", "dnsName": "example.com.", "visibility": "private" }));
    for (kind, value) in [("A", "10.1.0.2"), ("AAAA", "fd20::2"), ("TXT", "\"t\"")] {
        let record = json!({ "name": "a.example.com.", "type": kind, "ttl": 60, "rrdatas": [value] });
        cloud.post(&format!("{zones}/z/rrsets"), record);
    }
    let records = format!("{zones}/z/rrsets?");
    let whole = of("rrsets", "type")(&cloud.get(&records));
    let gone = format!("{zones}/z/rrsets/a.example.com./A");
    let seen = pages(&mut cloud, &format!("{records}maxResults=1&"), &of("rrsets", "type"), Some(&gone));
    assert_eq!(seen, whole);
    assert_eq!(seen[..3], ["A", "AAAA", "TXT"]);
    // The latest change comes first, unless the oldest is asked for; each is there once.
    for order in ["ascending", "descending"] {
        let changes = format!("{zones}/z/changes?sortOrder={order}&");
        let whole = of("changes", "id")(&cloud.get(&changes));
        assert_eq!(whole.len(), 5);
        assert_eq!(pages(&mut cloud, &format!("{changes}maxResults=2&"), &of("changes", "id"), None), whole);
    }
    // Lists of what nobody makes keep their order.
    for (list, size, field, name) in [
        (format!("{p}/zones?"), "maxResults", "items", "name"),
        (format!("{p}/zones/us-central1-a/machineTypes?"), "maxResults", "items", "name"),
        ("/redis/v1/projects/project-i-1/locations?".to_owned(), "pageSize", "locations", "name"),
        ("/serviceusage/v1/projects/project-i-1/services?".to_owned(), "pageSize", "services", "name"),
    ] {
        let whole = of(field, name)(&cloud.get(&list));
        assert!(whole.len() > 3, "{list}");
        assert_eq!(pages(&mut cloud, &format!("{list}{size}=3&"), &of(field, name), None), whole, "{list}");
    }
}

#[test]
fn numbers_are_as_good_as_names() {
    let mut cloud = Cloud::with_project("project-i-1");
    let p = "/compute/v1/projects/project-i-1";
    let networks = format!("{p}/global/networks");
    for name in ["vpc-1", "vpc-2"] {
        cloud.post(&networks, json!({ "name": name, "autoCreateSubnetworks": false }));
    }
    let network = cloud.get(&format!("{networks}/vpc-1"));
    let id = network["id"].as_str().expect("an id").to_owned();
    assert_eq!(cloud.get(&format!("{networks}/{id}")), network);
    // The link that Google tells is good for that.
    let link = network["selfLinkWithId"].as_str().expect("a link").to_owned();
    assert_eq!(cloud.get(link.strip_prefix("https://www.googleapis.com").expect("Google's")), network);
    let number = cloud.get("/cloudresourcemanager/v1/projects/project-i-1")["projectNumber"].clone();
    let by_number = format!("/compute/v1/projects/{}/global/networks", number.as_str().expect("a number"));
    assert_eq!(cloud.get(&format!("{by_number}/vpc-1")), network);
    assert_eq!(cloud.get(&format!("{by_number}/{id}")), network);
    assert_eq!(cloud.get(&by_number), cloud.get(&networks));
    // Of the same kind, in the same place: another kind's number is nothing here.
    let subnetworks = format!("{p}/regions/us-central1/subnetworks");
    cloud.post(
        &subnetworks,
        json!({ "name": "s", "ipCidrRange": "10.1.0.0/24", "network": network["selfLink"] }),
    );
    let subnetwork = cloud.get(&format!("{subnetworks}/s"));
    let s = subnetwork["id"].as_str().expect("an id").to_owned();
    assert_eq!(cloud.get(&format!("{subnetworks}/{s}")), subnetwork);
    for elsewhere in [format!("{networks}/{s}"), format!("{p}/regions/us-east1/subnetworks/{s}")] {
        assert_eq!(cloud.refused("GET", &elsewhere, json!(null))["error"]["code"], 404);
    }
    // Every method, not only `get`; the operation names the resource.
    let expand =
        cloud.post(&format!("{subnetworks}/{s}/expandIpCidrRange"), json!({ "ipCidrRange": "10.1.0.0/16" }));
    assert_eq!(expand["targetLink"], subnetwork["selfLink"]);
    cloud.delete(&format!("{subnetworks}/{s}"));
    cloud.delete(&format!("{networks}/{id}"));
    let gone = cloud.refused("GET", &format!("{networks}/{id}"), json!(null));
    check(&gone, 404, &format!("The resource 'projects/project-i-1/global/networks/{id}' was not found"));
    let operation = cloud.get(&format!("{p}/global/operations"))["items"][0].clone();
    let id = operation["id"].as_str().expect("an id");
    assert_eq!(cloud.get(&format!("{p}/global/operations/{id}")), operation);
}
