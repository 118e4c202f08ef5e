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

/// A lab with vm-1 and the Redis instance redis-1, of which this is said beside what it needs; it as the API tells it, and
/// its AUTH string.
fn redis_lab(home: &Home, more: Value) -> (Served, Value, String) {
    let served = lab(home);
    vm(&served, "project-1", "vm-1", json!([]));
    let mut body = json!({
        "tier": "BASIC",
        "memorySizeGb": 1,
        "authorizedNetwork": "projects/project-1/global/networks/vpc",
        "authEnabled": true,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    served.good("POST", &format!("{REDIS}?instanceId=redis-1"), body);
    let found = served.good("GET", &format!("{REDIS}/redis-1"), Value::Null);
    let string = served.good("GET", &format!("{REDIS}/redis-1/authString"), Value::Null);
    let string = string["authString"].as_str().expect("an AUTH string").to_owned();
    (served, found, string)
}

#[test]
fn a_redis_instance_is_changed_while_it_runs() {
    let homes = homes();
    let home = homes.last().unwrap();
    let more = json!({ "redisConfigs": { "maxmemory-policy": "allkeys-lru" } });
    let (served, found, string) = redis_lab(home, more);
    let target = format!("{REDIS}/redis-1");
    let host = found["host"].as_str().unwrap();
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

/// What programs fail on that speak neither TLS nor AUTH: a few lines of the proxy's configuration bring them there.
#[test]
fn a_redis_instance_with_tls_and_auth_is_reached_through_the_proxy() {
    let homes = homes();
    let home = homes.last().unwrap();
    let (served, found, string) =
        redis_lab(home, json!({ "transitEncryptionMode": "SERVER_AUTHENTICATION" }));
    let target = format!("{REDIS}/redis-1");
    assert_eq!(
        (&found["port"], &found["transitEncryptionMode"]),
        (&json!(6378), &json!("SERVER_AUTHENTICATION"))
    );
    let (host, ca) = (found["host"].as_str().unwrap(), found["serverCaCerts"][0]["cert"].as_str().unwrap());
    let files = format!("umask 077; cd /root; printf %s '{ca}' >ca.pem; printf %s {string} >auth");
    home.sh("vm-1", &files).exits(0);
    let secure = |more: &str| {
        let tls = format!("redis-cli -h {host} -p 6378 --tls {more}");
        home.sh("vm-1", &format!("export REDISCLI_AUTH=$(cat /root/auth); {tls}"))
    };
    assert_eq!(secure("--cacert /root/ca.pem set k v").exits(0), "OK\n");
    // Who does not know the authority does not talk to it; plain text and the other port get nothing.
    assert!(!secure("set k w").out.contains("OK"));
    assert!(!home.sh("vm-1", &format!("timeout 2 redis-cli -h {host} -p 6378 ping")).out.contains("PONG"));
    assert!(!home.sh("vm-1", &format!("timeout 1 redis-cli -h {host} ping")).out.contains("PONG"));

    let proxy = format!(
        "cat >proxy.yml <<END
redis-1:
  listen: 127.0.0.1:6379
  redis: true
  server_password_file: /root/auth
  server_tls_ca: /root/ca.pem
  server_tls_verify: chain
  servers:
   - {host}:6378:1
END
tombolo-proxy -c proxy.yml -a 127.0.0.1 &
n=0; until redis-cli ping >ping.txt 2>&1; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done
redis-cli get k; kill $!"
    );
    assert_eq!(home.sh("vm-1", &format!("cd /root; {proxy}")).exits(0), "v\n");

    // Told while it runs, through TLS; and the same authority after a restart.
    served.good("PATCH", &format!("{target}?updateMask=memorySizeGb"), json!({ "memorySizeGb": 2 }));
    assert!(secure("--cacert /root/ca.pem info memory").exits(0).contains("maxmemory:2147483648"));
    assert!(home.processes().iter().all(|process| !process.args.contains(&string)));
    home.down();
    let served = home.serve(&[]);
    assert_eq!(served.good("GET", &target, Value::Null)["serverCaCerts"], found["serverCaCerts"]);
    home.down();
}
