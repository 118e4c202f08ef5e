//! What a VM is told by 169.254.169.254: the metadata server and internal DNS, by the programs that ask them.

use crate::support::http::Served;
use crate::support::{Home, as_each_user, eventually, homes, run};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const COMPUTE: &str = "/compute/v1/projects/project-1";
const V1: &str = "http://metadata.google.internal/computeMetadata/v1";

/// Two networks that are peers, each with a VM; vm-b beside vm-1.
const LAB: &str = "
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    peerings: [{name: a-to-b, network: vpc-2}]
    firewalls: [{name: all-1, allowed: [{IPProtocol: all}], sourceRanges: [10.0.0.0/8]}]
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    peerings: [{name: b-to-a, network: vpc-1}]
    firewalls: [{name: all-2, allowed: [{IPProtocol: all}], sourceRanges: [10.0.0.0/8]}]
instances:
  - name: vm-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.2}]
  - name: vm-b
    zone: us-central1-b
    networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.3}]
  - name: vm-2
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.2}]
";

/// What the metadata server says in a VM.
#[track_caller]
fn get(home: &Home, vm: &str, path: &str) -> String {
    home.sh(vm, &format!("curl -sSf --max-time 30 -H Metadata-Flavor:Google '{V1}/{path}'")).exits(0)
}

/// The address that a name has in a VM; none when it has none.
#[track_caller]
fn resolve(home: &Home, vm: &str, name: &str) -> Option<String> {
    let ran = home.sh(vm, &format!("getent ahostsv4 {name}"));
    assert!([0, 2].contains(&ran.code), "{name} in {vm}: {ran:?}");
    ran.out.split_whitespace().next().map(str::to_owned)
}

#[test]
fn vms_know_themselves_and_the_names_of_their_own_network() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        assert_eq!(get(home, "vm-1", "instance/name"), "vm-1");
        assert_eq!(get(home, "vm-2", "instance/name"), "vm-2");
        assert_eq!(get(home, "vm-1", "instance/network-interfaces/0/ip"), "10.1.0.2");
        let all: Value = serde_json::from_str(&get(home, "vm-b", "?recursive=true")).unwrap();
        assert_eq!(all["instance"]["hostname"], "vm-b.us-central1-b.c.project-1.internal");
        assert_eq!(all["project"]["projectId"], "project-1");
        let heads = home.sh("vm-1", &format!("curl -sS -D- -o /dev/null {V1}/instance/name")).exits(0);
        assert!(heads.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{heads}");
        for head in ["Metadata-Flavor: Google\r\n", "Server: Metadata Server for VM\r\n"] {
            assert!(heads.contains(head), "{heads}");
        }
        // A directory moves to where its slash is.
        let moved = format!("curl -sSfL -H Metadata-Flavor:Google {V1}/instance/network-interfaces");
        assert_eq!(home.sh("vm-1", &moved).exits(0), "0/\n");

        let long = "vm-b.us-central1-b.c.project-1.internal";
        for (vm, name, address) in [
            ("vm-1", long, Some("10.1.0.3")),
            ("vm-1", "vm-b.us-central1-b", Some("10.1.0.3")),
            ("vm-b", "vm-b", Some("10.1.0.3")),
            ("vm-1", "metadata", Some("169.254.169.254")),
            ("vm-1", "vm-1", Some("10.1.0.2")),
            ("vm-1", "vm-b", None), // of another zone: its name here is longer
            ("vm-1", "example.com", None),
            // Packets get there, names do not.
            ("vm-1", "vm-2.us-central1-a.c.project-1.internal", None),
            ("vm-2", long, None),
            ("vm-2", "vm-2.us-central1-a.c.project-1.internal", Some("10.2.0.2")),
        ] {
            assert_eq!(resolve(home, vm, name).as_deref(), address, "{name} in {vm}");
        }
        home.sh("vm-1", "ping -c1 -W5 10.2.0.2").exits(0);
        let reverse = home.sh("vm-1", "getent hosts 10.1.0.3").exits(0);
        assert!(reverse.contains(long), "{reverse}");
        // And the time: its packet begins with the version and the mode of a server.
        let ask = "exec 3<>/dev/udp/169.254.169.254/123; \
                   { printf '\\x23'; head -c 47 /dev/zero; } | dd bs=48 iflag=fullblock status=none >&3; \
                   timeout 20 dd bs=48 count=1 status=none <&3 | od -An -tx1 -N1";
        assert_eq!(home.run(&["exec", "vm-1", "--", "bash", "-c", ask]).exits(0).trim(), "24");
        // No other address of a router answers, and no peer's.
        for address in ["10.1.0.1", "10.2.0.1"] {
            let ran = home.sh("vm-1", &format!("curl -sS --max-time 2 http://{address}/"));
            assert_ne!(ran.code, 0, "{address}: {ran:?}");
        }
        home.down();
    });
}

/// A project with networks a and b, of which a has vm-1.
fn project(served: &Served) {
    served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1" }));
    let enable = "/serviceusage/v1/projects/project-1/services/compute.googleapis.com:enable";
    served.good("POST", enable, json!({}));
    network(served, "a", "10.0.0.0/24");
    instance(served, "vm-1", "a");
}

fn network(served: &Served, name: &str, range: &str) {
    let network = json!({ "name": name, "autoCreateSubnetworks": false });
    served.good("POST", &format!("{COMPUTE}/global/networks"), network);
    let network = format!("global/networks/{name}");
    let subnetwork = json!({ "name": name, "network": network, "ipCidrRange": range });
    served.good("POST", &format!("{COMPUTE}/regions/us-central1/subnetworks"), subnetwork);
}

fn instance(served: &Served, name: &str, subnetwork: &str) {
    let script =
        "#!/bin/sh\ncurl -sS -H Metadata-Flavor:Google http://metadata/computeMetadata/v1/instance/name\n";
    let instance = json!({
        "name": name,
        "machineType": "zones/us-central1-a/machineTypes/e2-micro",
        "disks": [{ "boot": true, "initializeParams":
            { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
        "networkInterfaces": [{ "subnetwork": format!("regions/us-central1/subnetworks/{subnetwork}") }],
        "metadata": { "items": [{ "key": "startup-script", "value": script }] },
    });
    served.good("POST", &format!("{COMPUTE}/zones/us-central1-a/instances"), instance);
}

fn set(served: &Served, key: &str, value: &str) {
    let path = format!("{COMPUTE}/zones/us-central1-a/instances/vm-1");
    let fingerprint = served.good("GET", &path, Value::Null)["metadata"]["fingerprint"].clone();
    let items = json!([{ "key": key, "value": value }]);
    let metadata = json!({ "fingerprint": fingerprint, "items": items });
    served.good("POST", &format!("{path}/setMetadata"), metadata);
}

#[test]
fn changes_are_seen_by_who_waits_for_them_and_networks_come_and_go() {
    as_each_user(|home| {
        let mut served = home.serve(&[]);
        project(&served);
        eventually("the startup script asked who it is", || {
            home.run(&["serial-output", "vm-1"]).out.contains("vm-1")
        });
        let target = format!("{V1}/instance/attributes/color?wait_for_change=true");
        set(&served, "color", "red");
        let quick = format!("curl -sSf -H Metadata-Flavor:Google '{target}&timeout_sec=1'");
        assert_eq!(home.sh("vm-1", &quick).exits(0), "red");
        std::thread::scope(|scope| {
            let wait =
                format!("touch /tmp/waits; curl -sSf --max-time 50 -H Metadata-Flavor:Google '{target}'");
            let wait = home.command(&["exec", "vm-1", "--", "sh", "-c", &wait]);
            let waiter = scope.spawn(move || run(wait, b""));
            eventually("somebody waits", || home.sh("vm-1", "test -e /tmp/waits && pgrep -x curl").code == 0);
            // Until it does: what it waits for is what is there when it asks.
            let mut value = 0;
            eventually("it is answered", || {
                value += 1;
                set(&served, "color", &format!("blue-{value}"));
                waiter.is_finished()
            });
            assert!(waiter.join().unwrap().exits(0).starts_with("blue-"));
        });

        // A network that comes is served; one that goes and comes again is another.
        network(&served, "b", "10.0.1.0/24");
        instance(&served, "vm-2", "b");
        assert_eq!(
            resolve(home, "vm-2", "vm-2.us-central1-a.c.project-1.internal").as_deref(),
            Some("10.0.1.2")
        );
        let remove = |path: &str| served.good("DELETE", &format!("{COMPUTE}/{path}"), Value::Null);
        remove("zones/us-central1-a/instances/vm-2");
        remove("regions/us-central1/subnetworks/b");
        remove("global/networks/b");
        network(&served, "b", "10.0.2.0/24");
        instance(&served, "vm-2", "b");
        assert_eq!(
            resolve(home, "vm-2", "vm-2.us-central1-a.c.project-1.internal").as_deref(),
            Some("10.0.2.2")
        );
        assert_eq!(get(home, "vm-2", "instance/network-interfaces/0/ip"), "10.0.2.2");
        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0));
    });
}

#[test]
fn private_zones_are_answered_where_they_are_seen_and_outlive_the_server() {
    as_each_user(|home| {
        let mut served = home.serve(&[]);
        project(&served);
        network(&served, "b", "10.0.1.0/24");
        instance(&served, "vm-2", "b");
        served.good(
            "POST",
            "/serviceusage/v1/projects/project-1/services/dns.googleapis.com:enable",
            json!({}),
        );
        let network =
            |name: &str| json!({ "networkUrl": format!("projects/project-1/global/networks/{name}") });
        let zones = "/dns/v1/projects/project-1/managedZones";
        let zone = json!({
            "name": "net", "dnsName": "example.com.", "visibility": "private",
            "privateVisibilityConfig": { "networks": [network("a")] },
        });
        served.good("POST", zones, zone);
        let record = |name: &str, kind: &str, value: &str| json!({ "name": name, "type": kind, "ttl": 60, "rrdatas": [value] });
        let additions = json!([
            record("db.example.com.", "A", "10.9.0.1"),
            record("vm.example.com.", "CNAME", "vm-1.us-central1-a.c.project-1.internal."),
        ]);
        let changes = format!("{zones}/net/changes");
        served.good("POST", &changes, json!({ "additions": additions }));
        let is = |vm: &str, name: &str, address: Option<&str>| {
            assert_eq!(resolve(home, vm, name).as_deref(), address, "{name} in {vm}");
        };
        is("vm-1", "db.example.com", Some("10.9.0.1"));
        is("vm-1", "vm.example.com", Some("10.0.0.2"));
        is("vm-2", "db.example.com", None);
        let peering = json!({
            "name": "out", "dnsName": "example.com.", "visibility": "private",
            "privateVisibilityConfig": { "networks": [network("b")] },
            "peeringConfig": { "targetNetwork": network("a") },
        });
        served.good("POST", zones, peering);
        is("vm-2", "db.example.com", Some("10.9.0.1"));

        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0));
        let mut served = home.serve(&[]);
        is("vm-1", "db.example.com", Some("10.9.0.1"));
        is("vm-2", "vm.example.com", Some("10.0.0.2"));
        let delete = json!({ "deletions": [record("db.example.com.", "A", "10.9.0.1")] });
        served.good("POST", &changes, delete);
        is("vm-1", "db.example.com", None);
        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0));
    });
}

/// A connection is a descriptor of the server's: a VM has only so many.
#[test]
fn a_vm_that_takes_all_connections_takes_its_own() {
    let home = homes().remove(0);
    home.up(&home.write("lab.yaml", LAB));
    std::thread::scope(|scope| {
        let hold =
            "for i in $(seq 64); do exec {fd}<>/dev/tcp/169.254.169.254/80; done; touch /tmp/full; sleep 20";
        let hold = home.command(&["exec", "vm-1", "--", "bash", "-c", hold]);
        scope.spawn(|| run(hold, b""));
        eventually("it has all of its own", || home.sh("vm-1", "test -e /tmp/full").code == 0);
        let refused = home.sh("vm-1", "curl -sS --max-time 5 http://169.254.169.254/");
        assert_ne!(refused.code, 0, "{refused:?}");
        assert_eq!(get(&home, "vm-b", "instance/name"), "vm-b");
        home.sh("vm-1", "pkill -x sleep");
    });
    eventually("its places are free again", || {
        home.sh("vm-1", "curl -sS --max-time 5 http://169.254.169.254/").code == 0
    });
    home.down();
}
