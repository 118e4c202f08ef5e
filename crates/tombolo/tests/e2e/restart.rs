//! A server that is killed and started again finds its lab as it was, and no packet knows of it; a change of rules is
//! whole for every packet.

use crate::support::http::Served;
use crate::support::{Home, as_each_user, eventually, homes};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;
use tombolo_agent::Agent;

const P: &str = "/compute/v1/projects/project-1";
const REDIS: &str = "/redis/v1/projects/project-1/locations/us-central1/instances";

/// Says that it was started, and stays.
const SCRIPT: &str = "#!/bin/sh\necho booted\nexec sleep 12345\n";

/// Two VMs in a network without rules.
fn lab(home: &Home, more: &[&str]) -> Served {
    let served = home.serve(more);
    served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1" }));
    for service in ["compute", "redis"] {
        let enable = format!("/serviceusage/v1/projects/project-1/services/{service}.googleapis.com:enable");
        served.good("POST", &enable, json!({}));
    }
    let network = json!({ "name": "vpc", "autoCreateSubnetworks": false });
    served.good("POST", &format!("{P}/global/networks"), network);
    let subnetwork = json!({ "name": "s", "network": "global/networks/vpc", "ipCidrRange": "10.0.0.0/24" });
    served.good("POST", &format!("{P}/regions/us-central1/subnetworks"), subnetwork);
    for name in ["vm-1", "vm-2"] {
        let body = json!({
            "name": name,
            "networkInterfaces": [{ "subnetwork": "regions/us-central1/subnetworks/s" }],
            "metadata": { "items": [{ "key": "startup-script", "value": SCRIPT }] },
        });
        served.good("POST", &format!("{P}/zones/us-central1-a/instances"), body);
    }
    served
}

fn rule(served: &Served, name: &str, priority: u32, action: &str, ports: Value) {
    let body = json!({ "name": name, "network": "global/networks/vpc", "priority": priority,
        action: [{ "IPProtocol": "udp", "ports": ports }] });
    served.good("POST", &format!("{P}/global/firewalls"), body);
}

/// Says that it is over, also when something has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A socket in a VM, whose address is 10.0.0.`last`.
fn socket(agent: &Agent, vm: &str, last: u8, port: u16) -> UdpSocket {
    let netns = format!("projects/project-1/zones/us-central1-a/instances/{vm}");
    let address = SocketAddrV4::new([10, 0, 0, last].into(), port);
    let socket = agent.bind(&netns, &[], &[address]).unwrap().1.pop().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// The processes that the startup script of a VM has become.
fn sleepers(home: &Home) -> usize {
    home.processes().iter().filter(|process| process.args == "sleep 12345").count()
}

#[test]
fn what_is_above_projects_outlives_the_server() {
    let homes = homes();
    let home = homes.first().unwrap();
    let mut served = lab(home, &[]);
    let organization = served.good("GET", "/cloudresourcemanager/v3/organizations:search", Value::Null);
    let parent = organization["organizations"][0]["name"].as_str().unwrap();
    let folder = json!({ "parent": parent, "displayName": "prod" });
    let folder = served.good("POST", "/cloudresourcemanager/v3/folders", folder);
    let folder = folder["response"]["name"].as_str().unwrap();
    let there = json!({ "destinationParent": folder });
    served.good("POST", "/cloudresourcemanager/v3/projects/project-1:move", there);
    let policies = "/compute/v1/locations/global/firewallPolicies";
    let made = served.good("POST", &format!("{policies}?parentId={folder}"), json!({ "shortName": "p" }));
    let policy = format!("{policies}/{}", made["targetId"].as_str().unwrap());
    let rule = json!({ "priority": 1, "action": "allow", "direction": "INGRESS",
        "match": { "srcIpRanges": ["10.0.0.0/24"], "layer4Configs": [{ "ipProtocol": "icmp" }] } });
    served.good("POST", &format!("{policy}/addRule"), rule);
    let at = json!({ "name": "at", "attachmentTarget": folder });
    served.good("POST", &format!("{policy}/addAssociation"), at);
    let before = served.good("GET", &policy, Value::Null);
    home.sh("vm-1", "ping -c1 -W1 10.0.0.3").exits(0);
    served.up.signal(Signal::SIGKILL);
    assert_eq!(served.up.wait(), None);
    served = home.serve(&[]);
    assert!(served.up.stdout().contains("The lab of the server before goes on; 0 edits made it"));
    assert_eq!(served.good("GET", &policy, Value::Null), before);
    let project = served.good("GET", "/cloudresourcemanager/v3/projects/project-1", Value::Null);
    assert_eq!(project["parent"].as_str(), Some(folder));
    home.sh("vm-1", "ping -c1 -W1 10.0.0.3").exits(0);
}

#[test]
fn a_server_that_is_killed_costs_no_packet() {
    // Who asks the agent for sockets must be who runs it.
    let homes = homes();
    let home = homes.first().unwrap();
    let mut served = lab(home, &[]);
    rule(&served, "stream", 1000, "allowed", json!(["7000"]));
    let body = json!({ "tier": "BASIC", "memorySizeGb": 1, "authEnabled": true,
        "authorizedNetwork": "projects/project-1/global/networks/vpc" });
    served.good("POST", &format!("{REDIS}?instanceId=redis-1"), body);
    let redis = served.good("GET", &format!("{REDIS}/redis-1"), Value::Null);
    let auth = served.good("GET", &format!("{REDIS}/redis-1/authString"), Value::Null);
    let ask = |command: &str| {
        let (host, auth) = (redis["host"].as_str().unwrap(), auth["authString"].as_str().unwrap());
        home.sh("vm-1", &format!("redis-cli --no-auth-warning -a {auth} -h {host} {command}")).exits(0)
    };
    assert_eq!(ask("set key kept"), "OK\n");
    eventually("the startup scripts run", || sleepers(home) == 2);

    let agent = Agent::connect(&home.runtime().join("default/agent.sock")).unwrap();
    let (from, to) = (socket(&agent, "vm-1", 2, 6000), socket(&agent, "vm-2", 3, 7000));
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0u32;
            // One that is lost is waited for in vain, so that none is lost for want of room.
            while !over.load(Ordering::SeqCst) {
                from.send_to(&sent.to_be_bytes(), "10.0.0.3:7000").unwrap();
                let mut packet = [0; 4];
                to.recv(&mut packet).unwrap_or_else(|error| panic!("packet {sent} did not arrive: {error}"));
                assert_eq!(u32::from_be_bytes(packet), sent);
                sent += 1;
            }
            sent
        });
        let ending = Over(&over);
        for _ in 0..3 {
            served.up.signal(Signal::SIGKILL);
            assert_eq!(served.up.wait(), None);
            // The stream has it to itself for a while.
            sleep(Duration::from_millis(50));
            served = home.serve(&[]);
            let said = served.up.stdout();
            assert!(said.contains("The lab of the server before goes on; 0 edits made it"), "{said}");
        }
        drop(ending);
        sender.join().unwrap()
    });
    eprintln!("{sent} packets");
    assert!(sent > 0);

    // What ran still runs, and nothing was started twice.
    assert_eq!(sleepers(home), 2);
    for vm in ["vm-1", "vm-2"] {
        let serial = format!("{P}/zones/us-central1-a/instances/{vm}/serialPort");
        assert_eq!(served.good("GET", &serial, Value::Null)["contents"], "booted\n");
    }
    assert_eq!(ask("get key"), "kept\n");
    // It is this server's lab in everything.
    served.good(
        "PATCH",
        &format!("{REDIS}/redis-1?updateMask=redisConfigs"),
        json!({ "redisConfigs": { "maxmemory-policy": "noeviction" } }),
    );
    assert_eq!(ask("get key"), "kept\n");
    served.good("DELETE", &format!("{P}/global/firewalls/stream"), Value::Null);
    rule(&served, "other", 1000, "allowed", json!(["7001"]));
    let (from, to) = (socket(&agent, "vm-1", 2, 6001), socket(&agent, "vm-2", 3, 7001));
    from.send_to(b"new", "10.0.0.3:7000").unwrap();
    from.send_to(b"other", "10.0.0.3:7001").unwrap();
    let mut packet = [0; 16];
    assert_eq!(to.recv(&mut packet).unwrap(), 5);
    // A socket keeps its namespace alive, but nothing of the lab is left.
    drop((from, to));
    served.up.signal(Signal::SIGTERM);
    assert_eq!(served.up.wait(), Some(0), "{}", served.up.stderr());
    home.assert_nothing_runs();
}

#[test]
fn a_lab_that_nobody_takes_over_ends() {
    as_each_user(|home| {
        let mut served = lab(home, &["--keep", "0"]);
        served.up.signal(Signal::SIGKILL);
        served.up.wait();
        home.assert_nothing_runs();

        let mut served = home.serve(&["--keep", "1"]);
        served.up.signal(Signal::SIGKILL);
        served.up.wait();
        home.assert_nothing_runs();

        // By name.
        let mut served = home.serve(&[]);
        served.up.signal(Signal::SIGKILL);
        served.up.wait();
        assert!(!home.processes().is_empty());
        home.down();
        home.run(&["down"]).refusal();

        // By a lab that takes its name and is another.
        let mut served = home.serve(&[]);
        eventually("the startup scripts run", || sleepers(home) == 2);
        served.up.signal(Signal::SIGKILL);
        served.up.wait();
        let other = home.start(&["serve", "--state", "other", "--listen", "127.0.0.1:0"]);
        let mut other = other;
        other.wait_until_up();
        assert!(!other.stdout().contains("goes on"), "{}", other.stdout());
        eventually("the old lab's programs are gone", || sleepers(home) == 0);
        home.down();
    });
}
/// Rules that let a packet pass, and rules that stop another one, are changed one after the other, a thousand times: the
/// one always arrives, the other never.
#[test]
fn a_change_of_rules_is_whole_for_every_packet() {
    const CHANGES: u32 = 1000;
    let homes = homes();
    let home = homes.first().unwrap();
    let served = lab(home, &[]);
    let ports = |always: u32, n: u32| json!([always.to_string(), format!("{}-{}", 8000 + n, 8000 + 2 * n)]);
    rule(&served, "denies", 900, "denied", ports(7001, 0));
    rule(&served, "allows", 1000, "allowed", json!(["7000-7001", "9999"]));
    let agent = Agent::connect(&home.runtime().join("default/agent.sock")).unwrap();
    let from = socket(&agent, "vm-1", 2, 6000);
    let (good, bad) = (socket(&agent, "vm-2", 3, 7000), socket(&agent, "vm-2", 3, 7001));
    bad.set_nonblocking(true).unwrap();
    let mut packet = [0; 4];
    let pair = |n: u32, packet: &mut [u8; 4]| {
        // Nobody answers, so each packet is a new connection to the rules.
        from.send_to(b"bad", "10.0.0.3:7001").unwrap();
        from.send_to(&n.to_be_bytes(), "10.0.0.3:7000").unwrap();
        good.recv(packet).unwrap_or_else(|error| panic!("packet {n} was stopped: {error}"));
        assert_eq!(*packet, n.to_be_bytes());
        assert!(bad.recv(packet).is_err(), "with packet {n} one came through that no rules allow");
    };
    let over = AtomicBool::new(false);
    let pairs = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::SeqCst) {
                pair(n, &mut packet);
                n += 1;
            }
            n
        });
        let ending = Over(&over);
        for n in 1..=CHANGES {
            let (name, body) = match n % 2 {
                1 => ("denies", json!({ "denied": [{ "IPProtocol": "udp", "ports": ports(7001, n) }] })),
                _ => (
                    "allows",
                    json!({ "allowed":
                        [{ "IPProtocol": "udp", "ports": ["7000-7001", (9000 + n).to_string()] }] }),
                ),
            };
            let answer = served.good("PATCH", &format!("{P}/global/firewalls/{name}"), body);
            assert_eq!((&answer["status"], answer.get("error")), (&json!("DONE"), None));
        }
        drop(ending);
        sender.join().unwrap()
    });
    eprintln!("{pairs} pairs of packets, {CHANGES} changes");
    // They do obey: without the rule the other one comes through.
    served.good("DELETE", &format!("{P}/global/firewalls/denies"), Value::Null);
    bad.set_nonblocking(false).unwrap();
    from.send_to(b"bad", "10.0.0.3:7001").unwrap();
    assert_eq!(bad.recv(&mut [0; 4]).unwrap(), 3);
    drop((from, good, bad));
    home.down();
}
