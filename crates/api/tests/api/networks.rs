//! Networks by the API: the story's first steps, and what Google refuses.

use crate::common::{Cloud, check};
use serde_json::json;

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
