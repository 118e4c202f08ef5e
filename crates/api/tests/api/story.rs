//! The story's steps by the API, with what each client's next step needs of the answers.

use crate::common::{Cloud, check};
use serde_json::{Value, json};

const COMPUTE: &str = "/compute/v1/projects";

fn enable(cloud: &mut Cloud, project: &str, service: &str) {
    let operation =
        cloud.post(&format!("/serviceusage/v1/projects/{project}/services/{service}:enable"), json!({}));
    assert_eq!(
        (&operation["done"], &operation["response"]["service"]["state"]),
        (&json!(true), &json!("ENABLED"))
    );
}

fn instance(name: &str, subnetwork: &str) -> Value {
    json!({
        "name": name,
        "machineType": "http://127.0.0.1:1/compute/v1/projects/p/zones/us-central1-a/machineTypes/e2-micro",
        "networkInterfaces": [{
            "subnetwork": subnetwork,
            "accessConfigs": [{ "name": "external-nat", "type": "ONE_TO_ONE_NAT" }],
        }],
        "disks": [{ "boot": true, "autoDelete": true, "initializeParams":
            { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
        "tags": { "items": ["ssh"] },
        "metadata": { "items": [{ "key": "startup-script", "value": "#!/bin/sh" }] },
        "serviceAccounts": [{ "email": "default", "scopes": [] }],
    })
}

/// Two projects with a network, a subnetwork and an instance each.
fn two_projects() -> Cloud {
    let mut cloud = Cloud::new();
    for (number, project) in ["project-i-1", "project-i-2"].into_iter().enumerate() {
        let n = number + 1;
        let operation = cloud
            .post("/cloudresourcemanager/v1/projects", json!({ "projectId": project, "name": "A project" }));
        assert_eq!(operation["response"]["lifecycleState"], "ACTIVE");
        let disabled = cloud.refused("GET", &format!("{COMPUTE}/{project}/global/networks"), json!(null));
        check(
            &disabled,
            403,
            &format!(
                "Compute Engine API has not been used in project {project} before or it is disabled. Enable it by \
                 visiting https://console.developers.google.com/apis/api/compute.googleapis.com/overview?project={project} \
                 then retry."
            ),
        );
        assert_eq!(disabled["error"]["details"][0]["reason"], "SERVICE_DISABLED");
        enable(&mut cloud, project, "compute.googleapis.com");
        let rules = cloud.get(&format!("{COMPUTE}/{project}/global/firewalls"));
        for rule in rules["items"].as_array().expect("rules").clone() {
            cloud.delete(&format!(
                "{COMPUTE}/{project}/global/firewalls/{}",
                rule["name"].as_str().expect("a name")
            ));
        }
        cloud.delete(&format!("{COMPUTE}/{project}/global/networks/default"));
        cloud.post(
            &format!("{COMPUTE}/{project}/global/networks"),
            json!({ "name": format!("vpc-{n}"), "autoCreateSubnetworks": false }),
        );
        cloud.post(
            &format!("{COMPUTE}/{project}/regions/us-central1/subnetworks"),
            json!({ "name": format!("subnet-{n}"), "ipCidrRange": format!("10.{n}.0.0/16"), "network": format!("global/networks/vpc-{n}") }),
        );
        let link =
            format!("http://127.0.0.1:1{COMPUTE}/{project}/regions/us-central1/subnetworks/subnet-{n}");
        cloud.post(
            &format!("{COMPUTE}/{project}/zones/us-central1-a/instances"),
            instance(&format!("vm-{n}"), &link),
        );
    }
    cloud
}

#[test]
fn instances_get_googles_addresses() {
    let mut cloud = two_projects();
    let vm = cloud.get(&format!("{COMPUTE}/project-i-1/zones/us-central1-a/instances/vm-1"));
    assert_eq!(vm["networkInterfaces"][0]["networkIP"], "10.1.0.2");
    assert_eq!(vm["networkInterfaces"][0]["accessConfigs"][0]["name"], "external-nat");
    assert_eq!(vm["status"], "RUNNING");
    let machine = "https://www.googleapis.com/compute/v1/projects/project-i-1/zones/us-central1-a/machineTypes/e2-micro";
    assert_eq!(vm["machineType"], machine);
    assert!(
        vm["serviceAccounts"][0]["email"]
            .as_str()
            .is_some_and(|email| email.ends_with("gserviceaccount.com"))
    );
    let all = cloud.get(&format!("{COMPUTE}/project-i-1/aggregated/instances"));
    assert_eq!(all["items"]["zones/us-central1-a"]["instances"], json!([vm]));
    assert_eq!(all["items"]["zones/us-central1-b"]["warning"]["code"], "NO_RESULTS_ON_PAGE");
    let tags = format!("{COMPUTE}/project-i-1/zones/us-central1-a/instances/vm-1/setTags");
    let stale = cloud.refused("POST", &tags, json!({ "items": ["web"], "fingerprint": "c3RhbGU=" }));
    assert_eq!(stale["error"]["code"], 412);
    cloud.post(&tags, json!({ "items": ["web"], "fingerprint": vm["tags"]["fingerprint"] }));
    let vm = cloud.get(&format!("{COMPUTE}/project-i-1/zones/us-central1-a/instances/vm-1"));
    assert_eq!(vm["tags"]["items"], json!(["web"]));
}

#[test]
fn a_peering_is_active_when_both_sides_say_so() {
    let mut cloud = two_projects();
    let peer = |from: u32, to: u32| {
        json!({ "networkPeering": {
            "name": format!("vpc-{from}-to-vpc-{to}"),
            "network": format!("http://127.0.0.1:1{COMPUTE}/project-i-{to}/global/networks/vpc-{to}"),
            "exchangeSubnetRoutes": true,
        } })
    };
    let state = |cloud: &mut Cloud| {
        let network = cloud.get(&format!("{COMPUTE}/project-i-1/global/networks/vpc-1"));
        network["peerings"][0]["state"].clone()
    };
    cloud.post(&format!("{COMPUTE}/project-i-1/global/networks/vpc-1/addPeering"), peer(1, 2));
    assert_eq!(state(&mut cloud), "INACTIVE");
    cloud.post(&format!("{COMPUTE}/project-i-2/global/networks/vpc-2/addPeering"), peer(2, 1));
    assert_eq!(state(&mut cloud), "ACTIVE");
    cloud.post(
        &format!("{COMPUTE}/project-i-2/global/networks/vpc-2/removePeering"),
        json!({ "name": "vpc-2-to-vpc-1" }),
    );
    assert_eq!(state(&mut cloud), "INACTIVE");
    let relative =
        json!({ "networkPeering": { "name": "x", "network": "vpc-2", "exchangeSubnetRoutes": true } });
    let target = format!("{COMPUTE}/project-i-1/global/networks/vpc-1/addPeering");
    assert_eq!(cloud.refused("POST", &target, relative)["error"]["code"], 400);
}

#[test]
fn a_redis_instance_is_in_a_network_that_nobody_sees() {
    let mut cloud = two_projects();
    let instances = "/redis/v1/projects/project-i-2/locations/us-central1/instances";
    let body = json!({ "tier": "BASIC", "memorySizeGb": 1, "authorizedNetwork": "projects/project-i-2/global/networks/vpc-2" });
    let disabled = cloud.refused("POST", &format!("{instances}?instanceId=redis-1"), body.clone());
    assert_eq!(disabled["error"]["status"], "PERMISSION_DENIED");
    enable(&mut cloud, "project-i-2", "redis.googleapis.com");
    let operation = cloud.post(&format!("{instances}?instanceId=redis-1"), body);
    assert_eq!(operation["response"]["@type"], "type.googleapis.com/google.cloud.redis.v1.Instance");
    let again = cloud.get(&format!("/redis/v1/{}", operation["name"].as_str().expect("a name")));
    assert_eq!(again, operation);
    let redis = cloud.get(&format!("{instances}/redis-1"));
    assert_eq!((&redis["state"], &redis["port"]), (&json!("READY"), &json!(6379)));
    assert!(redis["host"].as_str().is_some_and(|host| host.starts_with("10.")));
    let network = cloud.get(&format!("{COMPUTE}/project-i-2/global/networks/vpc-2"));
    let peering = &network["peerings"][0];
    assert!(peering["name"].as_str().is_some_and(|name| name.starts_with("redis-peer-")));
    let hidden =
        peering["network"].as_str().and_then(|link| link.split("/v1").nth(1)).expect("a link").to_owned();
    assert_eq!(cloud.refused("GET", &format!("/compute/v1{hidden}"), json!(null))["error"]["code"], 404);
    let body = json!({ "tier": "BASIC", "memorySizeGb": 1, "transitEncryptionMode": "SERVER_AUTHENTICATION",
        "authorizedNetwork": "projects/project-i-2/global/networks/vpc-2" });
    cloud.post(&format!("{instances}?instanceId=secure"), body);
    let secure = cloud.get(&format!("{instances}/secure"));
    assert_eq!(
        (&secure["port"], &secure["transitEncryptionMode"]),
        (&json!(6378), &json!("SERVER_AUTHENTICATION"))
    );
    let authority = &secure["serverCaCerts"][0];
    assert!(authority["cert"].as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----\n")));
    assert!(redis.get("serverCaCerts").is_none());
    cloud.delete(&format!("{instances}/secure"));
    assert_eq!(cloud.delete(&format!("{instances}/redis-1"))["done"], true);
    check(
        &cloud.refused("GET", &format!("{instances}/redis-1"), json!(null)),
        404,
        "Resource 'projects/project-i-2/locations/us-central1/instances/redis-1' was not found",
    );
}

#[test]
fn a_rule_is_patched_and_stays_the_same_rule() {
    let mut cloud = two_projects();
    let rules = format!("{COMPUTE}/project-i-1/global/firewalls");
    cloud.post(
        &rules,
        json!({
            "name": "allow-ssh",
            "network": "global/networks/vpc-1",
            "allowed": [{ "IPProtocol": "tcp", "ports": ["22"] }],
            "sourceRanges": ["0.0.0.0/0"],
            "description": "ssh",
        }),
    );
    let before = cloud.get(&format!("{rules}/allow-ssh"));
    cloud.patch(
        &format!("{rules}/allow-ssh"),
        json!({ "sourceRanges": ["10.0.0.0/8", "192.0.2.7"], "priority": 900 }),
    );
    let after = cloud.get(&format!("{rules}/allow-ssh"));
    assert_eq!(after["sourceRanges"], json!(["10.0.0.0/8", "192.0.2.7/32"]));
    for field in ["id", "name", "allowed", "description", "network", "creationTimestamp"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["priority"], 900);
    for verb in ["PATCH", "PUT"] {
        let renamed =
            json!({ "name": "b", "network": "global/networks/vpc-1", "allowed": [{ "IPProtocol": "tcp" }] });
        let refused = cloud.refused(verb, &format!("{rules}/allow-ssh"), renamed);
        let why = "Invalid value for field 'resource.name': 'b'. The name of 'allow-ssh' cannot be changed.";
        check(&refused, 400, why);
    }
    for (body, code) in [
        (
            json!({ "name": "a", "network": "global/networks/vpc-1", "allowed": [{ "IPProtocol": "nonsense" }] }),
            400,
        ),
        (
            json!({ "name": "a", "network": "global/networks/none", "allowed": [{ "IPProtocol": "tcp" }] }),
            404,
        ),
        (json!({ "name": "a", "network": "global/networks/vpc-1" }), 400),
        (
            json!({ "name": "a", "network": "global/networks/vpc-1", "allowed": [{ "IPProtocol": "tcp" }], "priority": 70000 }),
            400,
        ),
        (
            json!({ "name": "a", "network": "global/networks/vpc-1", "allowed": [{ "IPProtocol": "tcp" }], "sourceServiceAccounts": ["x"] }),
            400,
        ),
        (
            json!({ "name": "a", "network": "global/networks/vpc-1", "allowed": [{ "IPProtocol": "tcp" }], "params": { "resourceManagerTags": { "tagKeys/1": "tagValues/1" } } }),
            501,
        ),
    ] {
        assert_eq!(cloud.refused("POST", &rules, body.clone())["error"]["code"], code, "{body}");
    }
}

#[test]
fn what_every_project_has() {
    let mut cloud = two_projects();
    for target in [
        "zones/us-central1-a",
        "zones?maxResults=2",
        "regions/us-central1",
        "regions",
        "zones/us-central1-a/machineTypes/e2-micro",
        "zones/us-central1-a/machineTypes",
        "global/routes",
        "regions/us-central1/subnetworks",
        "aggregated/subnetworks",
        "global/operations",
        "zones/us-central1-a/operations",
    ] {
        cloud.get(&format!("{COMPUTE}/project-i-1/{target}"));
    }
    cloud.get(&format!("{COMPUTE}/debian-cloud/global/images/family/debian-12"));
    cloud.get(&format!("{COMPUTE}/debian-cloud/zones/us-central1-a/imageFamilyViews/debian-12"));
    cloud.get("/cloudresourcemanager/v1/projects");
    let filter = "lifecycleState%3AACTIVE%20AND%20(id%3Aproject-i-2)";
    let found = cloud.get(&format!("/cloudresourcemanager/v1/projects?filter={filter}"))["projects"].clone();
    assert_eq!((found[0]["projectId"].as_str(), found.get(1)), (Some("project-i-2"), None));
    cloud.get("/cloudresourcemanager/v3/projects:search");
    let search = "/cloudresourcemanager/v3/projects:search?query=id:project-i-2";
    assert_eq!(cloud.refused("GET", search, json!(null))["error"]["code"], 501);
    let services =
        cloud.get("/serviceusage/v1/projects/project-i-1/services?filter=state:ENABLED&pageSize=200");
    assert_eq!(services["services"].as_array().map(Vec::len), Some(1));
    let page = cloud.get(&format!("{COMPUTE}/project-i-1/zones?maxResults=2"));
    let next = page["nextPageToken"].as_str().expect("more zones").to_owned();
    let other = cloud.get(&format!("{COMPUTE}/project-i-1/zones?maxResults=2&pageToken={next}"));
    assert_ne!(page["items"], other["items"]);
}

#[test]
fn instances_stop_and_start() {
    let mut cloud = two_projects();
    let vm = format!("{COMPUTE}/project-i-1/zones/us-central1-a/instances/vm-1");
    let made = cloud.get(&vm);
    assert_eq!(made["lastStartTimestamp"], made["creationTimestamp"]);
    cloud.post(&format!("{vm}/reset"), json!(null));
    assert_eq!(cloud.get(&vm)["lastStartTimestamp"], made["lastStartTimestamp"]);
    let ended = |operation: &Value| operation["endTime"].as_str().map(str::to_owned).expect("a time");
    let stop = cloud.post(&format!("{vm}/stop"), json!(null));
    // One that is stopped already was so before.
    cloud.post(&format!("{vm}/stop"), json!(null));
    let stopped = cloud.get(&vm);
    assert_eq!(stopped["status"], "TERMINATED");
    assert_eq!(
        (&stopped["lastStopTimestamp"], &stopped["lastStartTimestamp"]),
        (&json!(ended(&stop)), &made["lastStartTimestamp"])
    );
    let refused = cloud.refused("POST", &format!("{vm}/reset"), json!(null));
    check(
        &refused,
        400,
        "The resource 'projects/project-i-1/zones/us-central1-a/instances/vm-1' is not ready",
    );
    let start = cloud.post(&format!("{vm}/start"), json!(null));
    cloud.post(&format!("{vm}/start"), json!(null));
    let found = cloud.get(&vm);
    assert_eq!(
        (&found["lastStartTimestamp"], &found["lastStopTimestamp"]),
        (&json!(ended(&start)), &stopped["lastStopTimestamp"])
    );
    assert_eq!(
        (&found["status"], &found["networkInterfaces"][0]["networkIP"]),
        (&json!("RUNNING"), &json!("10.1.0.2"))
    );
    let items = json!([{ "key": "a", "value": "b" }]);
    let body = json!({ "fingerprint": found["metadata"]["fingerprint"], "items": items });
    cloud.post(&format!("{vm}/setMetadata"), body);
    assert_eq!(cloud.get(&vm)["metadata"]["items"], items);
}

#[test]
fn networks_and_subnetworks_change_where_google_lets_them() {
    let mut cloud = two_projects();
    let network = format!("{COMPUTE}/project-i-1/global/networks/vpc-1");
    cloud.patch(&network, json!({ "routingConfig": { "routingMode": "GLOBAL" } }));
    assert_eq!(cloud.get(&network)["routingConfig"]["routingMode"], "GLOBAL");
    assert_eq!(cloud.refused("PATCH", &network, json!({ "mtu": 1300 }))["error"]["code"], 501);
    let subnetwork = format!("{COMPUTE}/project-i-1/regions/us-central1/subnetworks/subnet-1");
    let expand = format!("{subnetwork}/expandIpCidrRange");
    cloud.post(&expand, json!({ "ipCidrRange": "10.0.0.0/15" }));
    assert_eq!(cloud.get(&subnetwork)["ipCidrRange"], "10.0.0.0/15");
    check(
        &cloud.refused("POST", &expand, json!({ "ipCidrRange": "10.0.0.0/16" })),
        400,
        "Invalid value for field 'resource.ipCidrRange': '10.0.0.0/16'. New IP range must contain the present range \
         '10.0.0.0/15' and be larger.",
    );
    let found = cloud.get(&subnetwork);
    let body = json!({ "fingerprint": found["fingerprint"], "privateIpGoogleAccess": true });
    cloud.patch(&subnetwork, body.clone());
    assert_eq!(cloud.get(&subnetwork)["privateIpGoogleAccess"], true);
    assert_eq!(cloud.refused("PATCH", &subnetwork, body)["error"]["code"], 412);
    cloud.get(&format!("{network}/getEffectiveFirewalls"));
    let disk = cloud.get(&format!("{COMPUTE}/project-i-1/zones/us-central1-a/disks/vm-1"));
    assert_eq!(disk["sizeGb"], "10");
    let image =
        disk["sourceImage"].as_str().and_then(|link| link.split("googleapis.com").nth(1)).expect("a link");
    assert_eq!(cloud.get(image)["family"], "debian-12");
    cloud.get(&format!("{COMPUTE}/project-i-1/aggregated/disks"));
    let metadata = json!({ "items": [{ "key": "ssh-keys", "value": "me:ssh-ed25519 AAAA" }] });
    cloud.post(&format!("{COMPUTE}/project-i-1/setCommonInstanceMetadata"), metadata.clone());
    let project = cloud.get(&format!("{COMPUTE}/project-i-1"));
    assert_eq!(project["commonInstanceMetadata"]["items"], metadata["items"]);
    // From then on its fingerprint must be said.
    let set = format!("{COMPUTE}/project-i-1/setCommonInstanceMetadata");
    for fingerprint in [json!(null), json!("c3RhbGU=")] {
        let body = json!({ "fingerprint": fingerprint, "items": [] });
        let stale = "Supplied fingerprint does not match current metadata fingerprint.";
        check(&cloud.refused("POST", &set, body), 412, stale);
    }
    let fingerprint = &project["commonInstanceMetadata"]["fingerprint"];
    cloud.post(&set, json!({ "fingerprint": fingerprint, "items": [] }));
    assert_eq!(cloud.get(&format!("{COMPUTE}/project-i-1"))["commonInstanceMetadata"].get("items"), None);
}

#[test]
fn routes_of_a_peering_are_those_of_its_subnetworks() {
    let mut cloud = two_projects();
    for (from, to) in [(1, 2), (2, 1)] {
        let peering = json!({ "networkPeering": {
            "name": "peer",
            "network": format!("projects/project-i-{to}/global/networks/vpc-{to}"),
            "exchangeSubnetRoutes": true,
        } });
        cloud.post(&format!("{COMPUTE}/project-i-{from}/global/networks/vpc-{from}/addPeering"), peering);
    }
    let routes = format!(
        "{COMPUTE}/project-i-1/global/networks/vpc-1/listPeeringRoutes?peeringName=peer&region=us-central1&direction"
    );
    assert_eq!(cloud.get(&format!("{routes}=INCOMING"))["items"][0]["destRange"], "10.2.0.0/16");
    assert_eq!(cloud.get(&format!("{routes}=OUTGOING"))["items"][0]["destRange"], "10.1.0.0/16");
    assert_eq!(cloud.refused("GET", &format!("{routes}=UP"), json!(null))["error"]["code"], 400);
}

#[test]
fn a_peering_gives_and_takes_what_each_side_says() {
    let mut cloud = two_projects();
    let network = |n: u32| format!("{COMPUTE}/project-i-{n}/global/networks/vpc-{n}");
    for (from, to) in [(1, 2), (2, 1)] {
        let peering = json!({ "networkPeering": {
            "name": "peer",
            "network": format!("projects/project-i-{to}/global/networks/vpc-{to}"),
            "exchangeSubnetRoutes": true,
            "importCustomRoutes": from == 1,
        } });
        cloud.post(&format!("{}/addPeering", network(from)), peering);
    }
    let mut router = instance("router", "regions/us-central1/subnetworks/subnet-2");
    router["canIpForward"] = json!(true);
    cloud.post(&format!("{COMPUTE}/project-i-2/zones/us-central1-a/instances"), router);
    let route = json!({
        "name": "far",
        "network": "global/networks/vpc-2",
        "destRange": "192.168.0.0/16",
        "priority": 800,
        "nextHopInstance": "zones/us-central1-a/instances/router",
    });
    cloud.post(&format!("{COMPUTE}/project-i-2/global/routes"), route);
    let incoming = format!("{}/listPeeringRoutes?peeringName=peer&direction=INCOMING", network(1));
    assert_eq!(cloud.get(&incoming)["items"].as_array().map(Vec::len), Some(1));

    let update = json!({ "networkPeering": { "name": "peer", "exportCustomRoutes": true } });
    cloud.patch(&format!("{}/updatePeering", network(2)), update);
    let found = cloud.get(&network(2))["peerings"][0].clone();
    assert_eq!((&found["exportCustomRoutes"], &found["importCustomRoutes"]), (&json!(true), &json!(false)));
    assert_eq!(found["exportSubnetRoutesWithPublicIp"], true);
    let taken = json!({ "destRange": "192.168.0.0/16", "type": "STATIC_PEERING_ROUTE", "priority": 800, "imported": true });
    assert_eq!(cloud.get(&incoming)["items"][1], taken);

    // One with tags is there, and given to nobody.
    let routes = format!("{COMPUTE}/project-i-2/global/routes");
    let mut tagged = json!({
        "name": "tagged",
        "network": "global/networks/vpc-2",
        "destRange": "172.16.0.0/12",
        "nextHopInstance": "zones/us-central1-a/instances/router",
        "tags": ["web", "db"],
    });
    cloud.post(&routes, tagged.clone());
    assert_eq!(cloud.get(&format!("{routes}/tagged"))["tags"], json!(["db", "web"]));
    assert_eq!(cloud.get(&incoming)["items"].as_array().map(Vec::len), Some(2));
    tagged["tags"] = json!(["Web"]);
    tagged["name"] = json!("wrong");
    assert_eq!(cloud.refused("POST", &routes, tagged)["error"]["code"], 400);
    let balanced = json!({
        "name": "balanced",
        "network": "global/networks/vpc-2",
        "destRange": "172.16.0.0/12",
        "nextHopIlb": "regions/us-central1/forwardingRules/rule-1",
    });
    let refused = cloud.refused("POST", &routes, balanced);
    let expected = "Invalid value for field 'resource.nextHopIlb': 'regions/us-central1/forwardingRules/rule-1'. \
                    The referenced forwarding rule resource cannot be found.";
    assert_eq!(refused["error"]["message"], expected);

    // Given and not taken any more.
    let update = json!({ "networkPeering": { "name": "peer", "importCustomRoutes": false } });
    cloud.patch(&format!("{}/updatePeering", network(1)), update);
    assert_eq!(cloud.get(&incoming)["items"][1]["imported"], false);
    assert_eq!(cloud.get(&network(1))["peerings"][0]["importCustomRoutes"], false);

    for refused in [
        json!({ "name": "none", "exportCustomRoutes": true }),
        json!({ "name": "peer", "exchangeSubnetRoutes": false }),
        json!({ "exportCustomRoutes": true }),
    ] {
        let body = json!({ "networkPeering": refused });
        let error = cloud.refused("PATCH", &format!("{}/updatePeering", network(1)), body);
        assert_eq!(error["error"]["code"], 400, "{error}");
    }
    let body = json!({ "networkPeering": { "name": "peer", "updateStrategy": "CONSENSUS" } });
    let error = cloud.refused("PATCH", &format!("{}/updatePeering", network(1)), body);
    assert_eq!(error["error"]["code"], 501, "{error}");
}
