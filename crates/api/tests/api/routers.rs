//! Cloud Routers with Cloud NAT: what their gateways say and have, and what is refused.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";
const R: &str = "/compute/v1/projects/project-1/regions/us-central1";
const LINK: &str = "https://www.googleapis.com/compute/v1/projects/project-1/regions/us-central1";

/// Two networks with a subnetwork each, a router in the first, two reserved addresses, and a VM without one.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    for (i, name) in ["vpc-1", "vpc-2"].iter().enumerate() {
        cloud.post(&format!("{P}/global/networks"), json!({ "name": name, "autoCreateSubnetworks": false }));
        let network = format!("global/networks/{name}");
        let range = format!("10.{}.0.0/24", i + 1);
        let body = json!({ "name": format!("subnet-{}", i + 1), "network": network, "ipCidrRange": range });
        cloud.post(&format!("{R}/subnetworks"), body);
    }
    for name in ["a-1", "a-2"] {
        cloud.post(&format!("{R}/addresses"), json!({ "name": name }));
    }
    let vm = json!({ "name": "vm-1", "networkInterfaces": [{ "subnetwork": "regions/us-central1/subnetworks/subnet-1" }] });
    cloud.post(&format!("{P}/zones/us-central1-a/instances"), vm);
    cloud.post(&format!("{R}/routers"), json!({ "name": "r-1", "network": "global/networks/vpc-1" }));
    cloud
}

/// A gateway that serves everything, with other fields.
fn nat(name: &str, more: Value) -> Value {
    let mut nat = json!({
        "name": name,
        "natIpAllocateOption": "AUTO_ONLY",
        "sourceSubnetworkIpRangesToNat": "ALL_SUBNETWORKS_ALL_IP_RANGES",
    });
    for (field, value) in more.as_object().expect("fields") {
        nat[field.as_str()] = value.clone();
    }
    nat
}

fn listed(name: &str, subnetwork: &str, ranges: &str) -> Value {
    nat(
        name,
        json!({
            "sourceSubnetworkIpRangesToNat": "LIST_OF_SUBNETWORKS",
            "subnetworks": [{ "name": subnetwork, "sourceIpRangesToNat": [ranges] }],
        }),
    )
}

fn nats(cloud: &mut Cloud, nats: Value) -> Value {
    cloud.patch(&format!("{R}/routers/r-1"), json!({ "nats": nats }));
    cloud.get(&format!("{R}/routers/r-1"))["nats"].clone()
}

#[test]
fn a_gateway_is_as_it_was_said() {
    let mut cloud = cloud();
    let router = format!("{R}/routers/r-1");
    // As Terraform says it, with the defaults of its provider.
    let said = nat(
        "n",
        json!({
            "icmpIdleTimeoutSec": 30, "udpIdleTimeoutSec": 30, "tcpTransitoryIdleTimeoutSec": 30,
            "tcpEstablishedIdleTimeoutSec": 1200, "tcpTimeWaitTimeoutSec": 120, "type": "PUBLIC",
            "logConfig": { "enable": false, "filter": "ALL" }, "minPortsPerVm": 1024,
            "enableEndpointIndependentMapping": false,
        }),
    );
    let mut sent = said.clone();
    sent["initialNatIps"] = json!([]);
    let found = nats(&mut cloud, json!([sent]));
    for (field, value) in said.as_object().unwrap() {
        assert_eq!(found[0][field.as_str()], *value, "{field}");
    }
    let status = cloud.get(&format!("{router}/getRouterStatus"));
    let status = &status["result"]["natStatus"][0];
    assert_eq!(status["autoAllocatedNatIps"], json!(["198.18.0.4"]), "the first that nobody has");
    assert_eq!(status["numVmEndpointsWithNatMappings"], 1);
    // What is not said stays; another gateway is another one, and the address that was given stays with its own.
    cloud.patch(&router, json!({ "description": "d" }));
    let found = cloud.get(&router);
    assert_eq!((&found["description"], &found["nats"][0]["minPortsPerVm"]), (&json!("d"), &json!(1024)));
    let link = format!("{LINK}/subnetworks/subnet-1");
    let found = nats(&mut cloud, json!([listed("n", "subnet-1", "PRIMARY_IP_RANGE")]));
    assert_eq!(
        found[0]["subnetworks"],
        json!([{ "name": link, "sourceIpRangesToNat": ["PRIMARY_IP_RANGE"] }])
    );
    let status = cloud.get(&format!("{router}/getRouterStatus"));
    assert_eq!(status["result"]["natStatus"][0]["autoAllocatedNatIps"], json!(["198.18.0.4"]));
    // PUT: nothing else is left.
    cloud.good("PUT", &router, json!({ "name": "r-1", "network": "global/networks/vpc-1" }));
    let found = cloud.get(&router);
    assert_eq!((found.get("nats"), &found["description"]), (None, &json!("")));
    cloud.delete(&router);
    assert_eq!(cloud.state.world.routers.len(), 0);
}

#[test]
fn reserved_addresses_are_in_use_by_the_router() {
    let mut cloud = cloud();
    let links = json!([format!("{LINK}/addresses/a-1"), "regions/us-central1/addresses/a-2"]);
    let manual = |links: &Value| nat("n", json!({ "natIpAllocateOption": "MANUAL_ONLY", "natIps": links }));
    let found = nats(&mut cloud, json!([manual(&links)]));
    assert_eq!(found[0]["natIps"], json!([format!("{LINK}/addresses/a-1"), format!("{LINK}/addresses/a-2")]));
    let address = cloud.get(&format!("{R}/addresses/a-1"));
    assert_eq!(
        (&address["status"], &address["users"]),
        (&json!("IN_USE"), &json!([format!("{LINK}/routers/r-1")]))
    );
    let used = "The address resource 'projects/project-1/regions/us-central1/addresses/a-1' is already being used by \
                'projects/project-1/regions/us-central1/routers/r-1'";
    check(&cloud.refused("DELETE", &format!("{R}/addresses/a-1"), Value::Null), 400, used);
    let config = json!({ "name": "x", "natIP": address["address"] });
    let path = format!("{P}/zones/us-central1-a/instances/vm-1/addAccessConfig?networkInterface=nic0");
    assert_eq!(cloud.refused("POST", &path, config)["error"]["code"], 400);
    let second =
        json!({ "name": "r-2", "network": "global/networks/vpc-2", "nats": [manual(&json!([links[0]]))] });
    check(&cloud.refused("POST", &format!("{R}/routers"), second), 400, used);
    let status = cloud.get(&format!("{R}/routers/r-1/getRouterStatus"));
    assert_eq!(status["result"]["natStatus"][0]["userAllocatedNatIps"], json!(["198.18.0.2", "198.18.0.3"]));
    nats(&mut cloud, json!([]));
    cloud.delete(&format!("{R}/addresses/a-1"));
}

#[test]
fn a_subnetwork_has_one_gateway() {
    let mut cloud = cloud();
    let refused = |cloud: &mut Cloud, said: Value| {
        cloud.refused("PATCH", &format!("{R}/routers/r-1"), json!({ "nats": said }))
    };
    let all = "Invalid value for field 'resource.nats[1].sourceSubnetworkIpRangesToNat': ";
    check(
        &refused(&mut cloud, json!([nat("a", json!({})), listed("b", "subnet-1", "ALL_IP_RANGES")])),
        400,
        &format!(
            "{all}'LIST_OF_SUBNETWORKS'. Can not create new Nats since a Nat with option \
             ALL_SUBNETWORKS_ALL_IP_RANGES exists."
        ),
    );
    check(
        &refused(&mut cloud, json!([listed("a", "subnet-1", "ALL_IP_RANGES"), nat("b", json!({}))])),
        400,
        &format!(
            "{all}'ALL_SUBNETWORKS_ALL_IP_RANGES'. Can not create a Nat with option \
             ALL_SUBNETWORKS_ALL_IP_RANGES since other Nats exist."
        ),
    );
    let primary = |name: &str| listed(name, "subnet-1", "PRIMARY_IP_RANGE");
    check(
        &refused(&mut cloud, json!([primary("a"), primary("b")])),
        400,
        "Invalid value for field 'resource.nats[1].subnetworks[0].sourceIpRangesToNat[0]': 'PRIMARY_IP_RANGE'. Can not \
         specify PRIMARY_IP_RANGE for the Subnetwork since it is already configured for Nat with the option \
         PRIMARY_IP_RANGE.",
    );
    check(
        &refused(&mut cloud, json!([listed("a", "subnet-1", "ALL_IP_RANGES"), primary("b")])),
        400,
        "Invalid value for field 'resource.nats[1].subnetworks[0].sourceIpRangesToNat': ''. The subnetwork is already \
         configured with ALL_IP_RANGES for Nat which conflicts with the specified IpRangeToNatOption options in this \
         Nat.",
    );
    check(
        &refused(&mut cloud, json!([listed("a", "subnet-2", "ALL_IP_RANGES")])),
        400,
        "Invalid value for field 'resource.nats[0].subnetworks[0].name': \
         'projects/project-1/regions/us-central1/subnetworks/subnet-2'. The subnetwork must be of the router's network \
         and region.",
    );
    nats(&mut cloud, json!([primary("a")]));
    let why = cloud.used(&format!("{P}/global/networks/vpc-1"));
    assert!(why.contains("is already being used by"), "{why}");
}

/// As Terraform's modules for Cloud NAT say it unless told otherwise.
#[test]
fn what_changes_no_packet_is_kept_as_said() {
    let mut cloud = cloud();
    let gateway = json!({
        "logConfig": { "enable": true, "filter": "ERRORS_ONLY" },
        "enableEndpointIndependentMapping": true,
        "maxPortsPerVm": 128,
    });
    let router = format!("{R}/routers/r-1");
    cloud.patch(&router, json!({ "bgp": { "asn": 64514 }, "nats": [nat("n", gateway.clone())] }));
    let found = cloud.get(&router);
    assert_eq!(found["bgp"], json!({ "asn": 64514 }));
    for (field, value) in gateway.as_object().expect("fields") {
        assert_eq!(found["nats"][0][field], *value, "{field}");
    }
}

#[test]
fn what_is_not_done_is_refused_by_its_name() {
    let mut cloud = cloud();
    for (more, what) in [
        (json!({ "rules": [{ "ruleNumber": 1 }] }), "rules' of a router"),
        (json!({ "type": "PRIVATE" }), "type' of a router with another value than \"PUBLIC\""),
        (json!({ "udpIdleTimeoutSec": 60 }), "udpIdleTimeoutSec' of a router with another value than 30"),
    ] {
        let said = json!({ "nats": [nat("n", more)] });
        let want = format!("Tombolo does not support the field 'nats[0].{what}.");
        check(&cloud.refused("PATCH", &format!("{R}/routers/r-1"), said), 501, &want);
    }
    for field in ["interfaces", "bgpPeers"] {
        let mut body = json!({ "name": "r-2", "network": "global/networks/vpc-1" });
        body[field] = json!([{ "name": "x" }]);
        let want = format!("Tombolo does not support the field '{field}' of 'compute.routers.insert'.");
        check(&cloud.refused("POST", &format!("{R}/routers"), body), 501, &want);
    }
    let secondary = listed("n", "subnet-1", "LIST_OF_SECONDARY_IP_RANGES");
    check(
        &cloud.refused("PATCH", &format!("{R}/routers/r-1"), json!({ "nats": [secondary] })),
        501,
        "Tombolo does not support 'LIST_OF_SECONDARY_IP_RANGES' as 'nats[0].subnetworks[0].sourceIpRangesToNat'.",
    );
    let elsewhere = json!({ "network": "global/networks/vpc-2" });
    check(
        &cloud.refused("PATCH", &format!("{R}/routers/r-1"), elsewhere),
        501,
        "Tombolo does not support a change of the field 'network' of a router.",
    );
}
