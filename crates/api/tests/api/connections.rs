//! Private services access as Terraform's provider and gcloud ask for it, and Redis instances behind it in a Shared VPC.

use crate::common::{Cloud, check};
use serde_json::{Value, json};
use tombolo_model::Change;

const P: &str = "/compute/v1/projects/project-1";
const CONNECTIONS: &str = "/servicenetworking/v1/services/servicenetworking.googleapis.com/connections";

/// Two projects, the second of which is a service project of the first, and a network with an allocated range.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    cloud.apply(&Change::ProjectCreate("project-2".into()));
    for (project, service) in
        [("project-1", "servicenetworking"), ("project-2", "compute"), ("project-2", "redis")]
    {
        let service = format!("{service}.googleapis.com");
        cloud.apply(&Change::ServiceEnable { project: project.into(), service });
    }
    cloud.post(&format!("{P}/enableXpnHost"), json!(null));
    let service = json!({ "xpnResource": { "id": "project-2", "type": "PROJECT" } });
    cloud.post(&format!("{P}/enableXpnResource"), service);
    cloud.post(&format!("{P}/global/networks"), json!({ "name": "vpc-1", "autoCreateSubnetworks": false }));
    let range = json!({ "name": "range-1", "addressType": "INTERNAL", "purpose": "VPC_PEERING", "prefixLength": 24,
        "address": "10.64.0.0", "network": "global/networks/vpc-1" });
    cloud.post(&format!("{P}/global/addresses"), range);
    cloud
}

/// The network as Service Networking names it: by its project's number.
fn network(cloud: &mut Cloud) -> String {
    let project = cloud.get("/cloudresourcemanager/v1/projects/project-1");
    format!("projects/{}/global/networks/vpc-1", project["projectNumber"].as_str().expect("a number"))
}

fn redis(cloud: &mut Cloud, more: Value) -> Result<Value, Value> {
    let mut body = json!({ "memorySizeGb": 1, "connectMode": "PRIVATE_SERVICE_ACCESS",
        "authorizedNetwork": "projects/project-1/global/networks/vpc-1" });
    for (field, value) in more.as_object().expect("fields") {
        body[field.as_str()] = value.clone();
    }
    let instances = "/redis/v1/projects/project-2/locations/us-central1/instances";
    cloud.send("POST", &format!("{instances}?instanceId=redis-1"), body)?;
    Ok(cloud.get(&format!("{instances}/redis-1")))
}

#[test]
fn terraform_connects_a_network() {
    let mut cloud = cloud();
    let network = network(&mut cloud);
    assert_eq!(cloud.get(&format!("{CONNECTIONS}?network={network}")), json!({}));
    let body = json!({ "network": network, "reservedPeeringRanges": ["range-1"] });
    let operation = cloud.post(CONNECTIONS, body.clone());
    assert_eq!((&operation["done"], &operation["response"]["network"]), (&json!(true), &json!(network)));
    let name = operation["name"].as_str().expect("a name");
    assert!(name.starts_with("operations/pssn."), "{name}");
    assert_eq!(cloud.get(&format!("/servicenetworking/v1/{name}"))["done"], true);
    let connection = json!({
        "network": network,
        "peering": "servicenetworking-googleapis-com",
        "reservedPeeringRanges": ["range-1"],
        "service": "services/servicenetworking.googleapis.com",
    });
    assert_eq!(cloud.get(&format!("{CONNECTIONS}?network={network}"))["connections"], json!([connection]));
    let found = cloud.get(&format!("{P}/global/networks/vpc-1"));
    assert_eq!(found["peerings"][0]["name"], "servicenetworking-googleapis-com");
    assert_eq!(found["peerings"][0]["state"], "ACTIVE");
    // The same again is no error; other ranges are one, which the provider looks for by its text.
    cloud.post(CONNECTIONS, body);
    let more = json!({ "name": "range-2", "addressType": "INTERNAL", "purpose": "VPC_PEERING", "prefixLength": 24,
        "network": "global/networks/vpc-1" });
    cloud.post(&format!("{P}/global/addresses"), more);
    let other = json!({ "network": network, "reservedPeeringRanges": ["range-2"] });
    check(
        &cloud.refused("POST", CONNECTIONS, other.clone()),
        400,
        "Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection.",
    );
    let patch = format!("{CONNECTIONS}/-?updateMask=reservedPeeringRanges");
    assert_eq!(cloud.refused("PATCH", &patch, other.clone())["error"]["code"], 400);
    cloud.patch(&format!("{patch}&force=true"), other);
    let delete = format!("{CONNECTIONS}/servicenetworking-googleapis-com");
    cloud.post(&delete, json!({ "consumerNetwork": network }));
    assert_eq!(cloud.get(&format!("{P}/global/networks/vpc-1"))["peerings"], Value::Null);
    assert_eq!(cloud.refused("POST", &delete, json!({ "consumerNetwork": network }))["error"]["code"], 404);
}

#[test]
fn a_redis_instance_of_a_service_project() {
    let mut cloud = cloud();
    let connection = json!({ "network": network(&mut cloud), "reservedPeeringRanges": ["range-1"] });
    let refused = redis(&mut cloud, json!({})).expect_err("no connection");
    check(
        &refused,
        400,
        "Google private service access is not enabled. Enable private service access and try again",
    );
    cloud.post(CONNECTIONS, connection);
    let direct =
        redis(&mut cloud, json!({ "connectMode": "DIRECT_PEERING" })).expect_err("another project's network");
    check(&direct, 400, "authorized_network must exist in the same project as redis instance");
    let range = redis(&mut cloud, json!({ "reservedIpRange": "10.64.0.0/29" })).expect_err("no name");
    assert_eq!(range["error"]["code"], 400);
    let made = redis(&mut cloud, json!({ "reservedIpRange": "range-1" })).expect("an instance");
    assert_eq!(made["connectMode"], "PRIVATE_SERVICE_ACCESS");
    assert_eq!(made["authorizedNetwork"], "projects/project-1/global/networks/vpc-1");
    for field in ["host", "reservedIpRange"] {
        assert!(made[field].as_str().is_some_and(|text| text.starts_with("10.64.0.")), "{made}");
    }
    let gone = json!({ "consumerNetwork": network(&mut cloud) });
    let refused = cloud.refused("POST", &format!("{CONNECTIONS}/servicenetworking-googleapis-com"), gone);
    check(
        &refused,
        400,
        "Failed to delete connection; Producer services (e.g. CloudSQL, Cloud Memstore, etc.) are still using this \
         connection.",
    );
    assert_eq!(refused["error"]["status"], "FAILED_PRECONDITION");
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let mut cloud = cloud();
    let network = network(&mut cloud);
    let body = json!({ "network": network, "reservedPeeringRanges": ["range-1"] });
    let other = "/servicenetworking/v1/services/sql.example.com/connections";
    check(
        &cloud.refused("POST", other, body.clone()),
        501,
        "Tombolo does not support connections to the service 'sql.example.com'.",
    );
    let unknown = json!({ "network": network, "reservedPeeringRanges": ["range-9"] });
    check(
        &cloud.refused("POST", CONNECTIONS, unknown),
        400,
        "Allocated IP range 'range-9' not found in network.",
    );
    for body in [json!({ "reservedPeeringRanges": ["range-1"] }), json!({ "network": "vpc-1" })] {
        assert_eq!(cloud.refused("POST", CONNECTIONS, body)["error"]["code"], 400);
    }
    let mask = format!("{CONNECTIONS}/-?updateMask=network");
    assert_eq!(cloud.refused("PATCH", &mask, body)["error"]["code"], 501);
    let missing = format!("{CONNECTIONS}/other");
    assert_eq!(cloud.refused("POST", &missing, json!({ "consumerNetwork": network }))["error"]["code"], 404);
}
