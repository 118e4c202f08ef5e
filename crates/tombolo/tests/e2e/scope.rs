//! What the API changes beside the story is done to the packets and to the servers too.

use crate::support::http::{Served, send};
use crate::support::{Home, homes};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";
const REDIS: &str = "/redis/v1/projects/project-1/locations/us-central1/instances";

/// A lab with a network `vpc` that lets everything in, and a subnetwork with a secondary range.
fn lab(home: &Home) -> Served {
    let served = home.serve(&[]);
    project(&served, "project-1");
    served.good(
        "POST",
        &format!("{P}/global/networks"),
        json!({ "name": "vpc", "autoCreateSubnetworks": false }),
    );
    let secondary = json!([{ "rangeName": "pods", "ipCidrRange": "10.8.0.0/16" }]);
    let subnetwork = json!({
        "name": "subnet",
        "network": "global/networks/vpc",
        "ipCidrRange": "10.0.0.0/24",
        "secondaryIpRanges": secondary,
    });
    served.good("POST", &format!("{P}/regions/us-central1/subnetworks"), subnetwork);
    let rule =
        json!({ "name": "all", "network": "global/networks/vpc", "allowed": [{ "IPProtocol": "all" }] });
    served.good("POST", &format!("{P}/global/firewalls"), rule);
    served
}

fn project(served: &Served, id: &str) {
    served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": id }));
    for service in ["compute", "redis"] {
        let enable = format!("/serviceusage/v1/projects/{id}/services/{service}.googleapis.com:enable");
        served.good("POST", &enable, json!({}));
    }
}

fn vm(served: &Served, project: &str, name: &str, aliases: Value) {
    let subnetwork = "projects/project-1/regions/us-central1/subnetworks/subnet";
    let nic = json!({ "subnetwork": subnetwork, "aliasIpRanges": aliases });
    let instances = format!("/compute/v1/projects/{project}/zones/us-central1-a/instances");
    served.good("POST", &instances, json!({ "name": name, "networkInterfaces": [nic] }));
}

#[test]
fn alias_ranges_have_packets_of_their_own() {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = lab(home);
    vm(&served, "project-1", "vm-1", json!([]));
    let aliases = json!([{ "ipCidrRange": "10.8.1.0/24", "subnetworkRangeName": "pods" }, { "ipCidrRange": "10.0.0.77" }]);
    vm(&served, "project-1", "vm-2", aliases);
    home.sh("vm-1", "ping -c1 -W5 10.8.1.7 && ping -c1 -W5 10.0.0.77").exits(0);
    // It may send from what is its own, and from nothing else.
    home.sh("vm-2", "ping -c1 -W5 -I 10.8.1.9 10.0.0.2").exits(0);
    home.sh("vm-1", "ping -c1 -W1 10.8.2.1").exits(1);
    assert!(home.run(&["trace", "vm-1", "10.8.1.7"]).exits(0).contains("3 sent, 3 delivered"));
    let target = format!("{P}/zones/us-central1-a/instances/vm-2");
    let nic = served.good("GET", &target, Value::Null)["networkInterfaces"][0].clone();
    let body = json!({ "fingerprint": nic["fingerprint"], "aliasIpRanges": [] });
    served.good("PATCH", &format!("{target}/updateNetworkInterface?networkInterface=nic0"), body);
    home.sh("vm-1", "ping -c1 -W1 10.8.1.7").exits(1);
    home.sh("vm-1", "ping -c1 -W5 vm-2").exits(0);
    home.down();
}

#[test]
fn a_service_projects_vm_is_in_its_hosts_network() {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = lab(home);
    vm(&served, "project-1", "vm-1", json!([]));
    project(&served, "project-2");
    served.good("POST", &format!("{P}/enableXpnHost"), Value::Null);
    let service = json!({ "xpnResource": { "id": "project-2", "type": "PROJECT" } });
    served.good("POST", &format!("{P}/enableXpnResource"), service);
    vm(&served, "project-2", "vm-2", json!([]));
    home.sh("vm-2", "ping -c1 -W5 10.0.0.2").exits(0);
    home.sh("vm-1", "ping -c1 -W5 10.0.0.3").exits(0);
    home.down();
}

#[test]
fn a_redis_instance_is_changed_while_it_runs() {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = lab(home);
    vm(&served, "project-1", "vm-1", json!([]));
    let body = json!({
        "tier": "BASIC",
        "memorySizeGb": 1,
        "authorizedNetwork": "projects/project-1/global/networks/vpc",
        "authEnabled": true,
        "redisConfigs": { "maxmemory-policy": "allkeys-lru" },
    });
    served.good("POST", &format!("{REDIS}?instanceId=redis-1"), body);
    let target = format!("{REDIS}/redis-1");
    let host = served.good("GET", &target, Value::Null)["host"].as_str().unwrap().to_owned();
    let string = served.good("GET", &format!("{target}/authString"), Value::Null)["authString"].clone();
    let string = string.as_str().expect("an AUTH string").to_owned();
    // The password is in the VM's environment, not in its arguments.
    let redis = |command: &str| {
        home.sh("vm-1", &format!("export REDISCLI_AUTH={string}; redis-cli -h {host} {command}")).exits(0)
    };
    let open = |command: &str| home.sh("vm-1", &format!("redis-cli -h {host} {command}")).out;
    assert!(open("get k").contains("NOAUTH"));
    assert_eq!(redis("set k v"), "OK\n");
    assert!(redis("info memory").contains("maxmemory_policy:allkeys-lru"));
    assert!(redis("config get maxmemory").contains("unknown command"));
    assert!(home.processes().iter().all(|process| !process.args.contains(&string)));

    let change = json!({ "memorySizeGb": 2, "redisConfigs": { "maxmemory-policy": "noeviction", "notify-keyspace-events": "KEA" } });
    served.good("PATCH", &format!("{target}?updateMask=memorySizeGb,redisConfigs"), change);
    let info = redis("info memory");
    assert!(info.contains("maxmemory_policy:noeviction") && info.contains("maxmemory:2147483648"), "{info}");
    served.good("PATCH", &format!("{target}?updateMask=authEnabled"), json!({ "authEnabled": false }));
    assert_eq!(open("get k"), "v\n");
    assert_eq!(served.good("GET", &format!("{target}/authString"), Value::Null), json!({}));
    // A new one each time.
    served.good("PATCH", &format!("{target}?updateMask=authEnabled"), json!({ "authEnabled": true }));
    let other = served.good("GET", &format!("{target}/authString"), Value::Null)["authString"].clone();
    assert!(other.is_string() && other != string.as_str());
    assert!(open("get k").contains("NOAUTH"));

    // What is not accepted changes nothing.
    let wrong = json!({ "redisConfigs": { "maxmemory-policy": "nonsense" } });
    let (status, _) =
        send(served.address, "PATCH", &format!("{target}?updateMask=redisConfigs"), &wrong).unwrap();
    assert_eq!(status, 400);
    let configs = &served.good("GET", &target, Value::Null)["redisConfigs"];
    assert_eq!(configs["maxmemory-policy"], "noeviction");
    // It is the same instance after a restart, with the same AUTH string.
    home.down();
    let served = home.serve(&[]);
    assert_eq!(served.good("GET", &format!("{target}/authString"), Value::Null)["authString"], other);
    assert!(open("get k").contains("NOAUTH"));
    home.down();
}
