//! `tombolo serve`: what it made outlives it, whatever ends it; and it is told from outside as any lab.

use crate::support::http::{Served, raw, send};
use crate::support::{Dice, as_each_user, homes, number};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NETWORKS: &str = "/compute/v1/projects/project-1/global/networks";
const FIREWALLS: &str = "/compute/v1/projects/project-1/global/firewalls";
const INSTANCES: &str = "/compute/v1/projects/project-1/zones/us-central1-a/instances";

/// A project with a network that has a subnetwork.
fn project(served: &Served) {
    served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1" }));
    served.good(
        "POST",
        "/serviceusage/v1/projects/project-1/services/compute.googleapis.com:enable",
        json!({}),
    );
    served.good("POST", NETWORKS, json!({ "name": "vpc", "autoCreateSubnetworks": false }));
    let subnetwork =
        json!({ "name": "subnet", "network": "global/networks/vpc", "ipCidrRange": "10.0.0.0/24" });
    served.good("POST", "/compute/v1/projects/project-1/regions/us-central1/subnetworks", subnetwork);
}

fn instance(name: &str, address: &str, script: &str) -> Value {
    json!({
        "name": name,
        "machineType": "zones/us-central1-a/machineTypes/e2-micro",
        "disks": [{ "boot": true, "initializeParams":
            { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
        "networkInterfaces":
            [{ "subnetwork": "regions/us-central1/subnetworks/subnet", "networkIP": address }],
        "metadata": { "items": [{ "key": "startup-script", "value": script }] },
    })
}

#[test]
fn what_was_made_is_there_after_a_restart() {
    as_each_user(|home| {
        let mut served = home.serve(&[]);
        project(&served);
        served.good(
            "POST",
            FIREWALLS,
            json!({
                "name": "icmp", "network": "global/networks/vpc", "allowed": [{ "IPProtocol": "icmp" }]
            }),
        );
        let script = "#!/bin/sh\necho booted\n";
        let operation = served.good("POST", INSTANCES, instance("vm-1", "10.0.0.2", script));
        assert_eq!(operation["status"], "DONE");
        served.good("POST", INSTANCES, instance("vm-2", "10.0.0.3", script));
        let before = served.good("GET", &format!("{INSTANCES}/vm-1"), Value::Null);
        home.sh("vm-1", "ping -c1 -W5 10.0.0.3").exits(0);

        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0), "{}", served.up.stderr());
        home.assert_nothing_runs();

        let served = home.serve(&[]);
        assert_eq!(served.good("GET", &format!("{INSTANCES}/vm-1"), Value::Null), before);
        let path = operation["selfLink"].as_str().unwrap().replace("https://www.googleapis.com", "");
        assert_eq!(served.good("GET", &path, Value::Null), operation);
        // The packets too, and the other verbs.
        home.sh("vm-1", "ping -c1 -W5 vm-2").exits(0);
        assert!(home.run(&["trace", "vm-1", "vm-2"]).exits(0).contains("3 sent, 3 delivered"));
        assert!(home.run(&["status"]).exits(0).contains("vm-2"));
        let serial = served.good("GET", &format!("{INSTANCES}/vm-1/serialPort?fields=contents"), Value::Null);
        assert!(serial["contents"].as_str().is_some_and(|text| "booted\n".starts_with(text)), "{serial}");
        let environment = home.run(&["env"]).exits(0);
        let url = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=http://{}/compute/v1/\n", served.address);
        assert!(environment.contains(&url) && environment.contains("CLOUDSDK_CORE_PROJECT=project-1\n"));
        // A block makes Terraform need its provider: that of google-beta is for who asks.
        let blocks = |args: &[&str]| {
            let said = home.run(&[&["env", "--terraform"], args].concat()).exits(0);
            let of = |provider| {
                said.split_once(&format!("provider \"{provider}\" {{\n")).map(|(_, rest)| rest.to_owned())
            };
            let body = |rest: String| rest.split("}\n").next().unwrap().to_owned();
            (of("google").map(body), of("google-beta").map(body), said.contains("add --beta"))
        };
        let (google, beta, hint) = blocks(&[]);
        assert!(google.as_ref().is_some_and(|block| block.contains("compute_custom_endpoint")), "{google:?}");
        assert_eq!((beta, hint), (None, true));
        assert_eq!(blocks(&["--beta"]), (google.clone(), google, false));
        home.down();
    });
}

#[test]
fn operations_can_be_waited_for() {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = home.serve(&["--async-operations"]);
    project_async(&served);
    let operation = served.good(
        "POST",
        FIREWALLS,
        json!({ "name": "f", "network": "global/networks/vpc", "allowed": [{ "IPProtocol": "tcp" }] }),
    );
    assert_eq!(operation["status"], "RUNNING");
    wait(&served, &operation);
    served.good("GET", &format!("{FIREWALLS}/f"), Value::Null);
    // A refusal is no operation.
    let (status, error) = send(served.address, "DELETE", &format!("{FIREWALLS}/none"), &Value::Null).unwrap();
    assert_eq!((status, &error["error"]["errors"][0]["reason"]), (404, &json!("notFound")));
    home.down();
}

/// Two clients change peerings of one network at the same time: one is told to try again, as by Google, and can.
#[test]
fn peerings_change_one_at_a_time() {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = home.serve(&[]);
    project(&served);
    let (address, clients) = (served.address, 6);
    for n in 0..clients {
        served.good("POST", NETWORKS, json!({ "name": format!("peer-{n}"), "autoCreateSubnetworks": false }));
    }
    let add = |n: u32| {
        let peering = json!({ "networkPeering": { "name": format!("to-{n}"), "exchangeSubnetRoutes": true,
            "network": format!("projects/project-1/global/networks/peer-{n}") } });
        let mut refusals = 0;
        loop {
            match send(address, "POST", &format!("{NETWORKS}/vpc/addPeering"), &peering).unwrap() {
                (200, operation) => {
                    assert_eq!((&operation["status"], operation.get("error")), (&json!("DONE"), None));
                    return refusals;
                }
                (status, error) => {
                    let busy = "There is a peering operation in progress on the local or peer network. Try again later.";
                    assert_eq!((status, &error["error"]["message"]), (400, &json!(busy)));
                    refusals += 1;
                }
            }
        }
    };
    let refusals: u32 = std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|n| scope.spawn(move || add(n))).collect();
        all.into_iter().map(|client| client.join().unwrap()).sum()
    });
    eprintln!("{refusals} refusals");
    let network = served.good("GET", &format!("{NETWORKS}/vpc"), Value::Null);
    assert_eq!(network["peerings"].as_array().map(Vec::len), Some(clients as usize));
    home.down();
}

/// Waits until an operation of Compute is done, as clients do.
fn wait(served: &Served, operation: &Value) {
    let path = operation["selfLink"].as_str().unwrap().replace("https://www.googleapis.com", "");
    let done = served.good("POST", &format!("{path}/wait"), json!({}));
    assert_eq!((&done["status"], done.get("error")), (&json!("DONE"), None));
}

/// A project with a network, operation by operation.
fn project_async(served: &Served) {
    let until_done = |operation: Value, api: &str| {
        let path = format!("/{api}/v1/{}", operation["name"].as_str().unwrap());
        crate::support::eventually("the operation is done", || {
            served.good("GET", &path, Value::Null)["done"] == true
        });
    };
    let create =
        served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": "project-1" }));
    until_done(create, "cloudresourcemanager");
    let enable = "/serviceusage/v1/projects/project-1/services/compute.googleapis.com:enable";
    until_done(served.good("POST", enable, json!({})), "serviceusage");
    wait(served, &served.good("POST", NETWORKS, json!({ "name": "vpc", "autoCreateSubnetworks": false })));
}

#[test]
fn beyond_loopback_the_token_is_wanted() {
    let homes = homes();
    let home = homes.last().unwrap();
    let mut up = home.start(&["serve", "--state", "state", "--listen", "0.0.0.0:0"]);
    up.wait_until_up();
    home.learn();
    let said = up.stdout();
    let address = said.split("http://").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
    let token = std::fs::read_to_string(home.path.join("state/token")).unwrap();
    assert!(said.contains("state/token") && !said.contains(&token), "{said}");
    let get = |header: &str| {
        let request = format!("GET {NETWORKS} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{header}\r\n");
        raw(address, request.as_bytes()).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(get(""), "401");
    assert_eq!(get("Authorization: Bearer wrong\r\n"), "401");
    // Let in, and there is no such project.
    assert_eq!(get(&format!("Authorization: Bearer {token}\r\n")), "404");
    let environment = home.run(&["env"]).exits(0);
    assert!(environment.contains("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=") && !environment.contains(&token));
    home.down();
}

#[test]
fn a_taken_port_or_state_is_an_error() {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = home.serve(&[]);
    let said =
        home.run(&["serve", "--lab", "two", "--state", "two", "--listen", &served.address.to_string()]);
    assert!(said.refusal().contains("takes a free port"));
    let said = home.run(&["serve", "--lab", "two", "--state", "state", "--listen", "127.0.0.1:0"]);
    assert!(said.refusal().contains("another tombolo has it open"));
    assert!(
        home.run(&["serve", "--state", "two", "--listen", "127.0.0.1:0"]).refusal().contains("up already")
    );
    home.down();
}

/// The server is killed at random moments while a client inserts firewall rules: what the client was told is there
/// after the next start, and nothing that it did not ask for.
#[test]
fn kills_lose_nothing_that_was_acknowledged() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("TOMBOLO_KILL_SEED").unwrap_or(now);
    let rounds = number("TOMBOLO_KILL_ROUNDS").unwrap_or(4);
    eprintln!("{rounds} rounds; the same again: TOMBOLO_KILL_SEED={seed}");
    let mut dice = Dice(seed);
    let homes = homes();
    let home = homes.last().unwrap();
    let mut served = home.serve(&[]);
    project(&served);
    let (mut all, mut asked) = (Vec::new(), 0);
    for round in 0..rounds {
        let (told, sent) = insert_until_killed(served, round, dice.below(400));
        asked += sent;
        served = home.serve(&[]);
        for (name, operation) in &told {
            served.good("GET", &format!("{FIREWALLS}/{name}"), Value::Null);
            assert_eq!(served.good("GET", operation, Value::Null)["status"], "DONE");
        }
        all.extend(told);
    }
    for (name, _) in &all {
        served.good("GET", &format!("{FIREWALLS}/{name}"), Value::Null);
    }
    eprintln!("{} of {asked} inserts were acknowledged, and are there", all.len());
    home.down();
}

/// The names that were acknowledged, with the paths of their operations; and how many were asked for.
fn insert_until_killed(mut served: Served, round: u64, millis: u64) -> (Vec<(String, String)>, u32) {
    let (address, killed) = (served.address, AtomicBool::new(false));
    let (mut told, mut sent) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            // Bounded, should nobody kill.
            for n in 0..10_000 {
                let name = format!("rule-{round}-{n}");
                let rule = json!({ "name": name, "network": "global/networks/vpc", "allowed": [{ "IPProtocol": "tcp" }] });
                sent += 1;
                match send(address, "POST", FIREWALLS, &rule) {
                    Ok((status, operation)) => {
                        assert_eq!((status, &operation["status"]), (200, &json!("DONE")), "{operation}");
                        let path = operation["selfLink"].as_str().unwrap();
                        told.push((name, path.replace("https://www.googleapis.com", "")));
                    }
                    Err(error) => {
                        assert!(killed.load(Ordering::SeqCst), "nobody was killed: {error}");
                        return;
                    }
                }
            }
        });
        sleep(Duration::from_millis(millis));
        killed.store(true, Ordering::SeqCst);
        served.up.signal(Signal::SIGKILL);
        client.join().unwrap();
    });
    assert_eq!(served.up.wait(), None);
    (told, sent)
}

/// What follows in a script would be for Google itself.
#[test]
fn a_shell_goes_no_further_without_a_lab() {
    as_each_user(|home| {
        let said = home.run(&["env"]);
        assert_eq!((said.code, said.out.as_str()), (2, "false\n"));
        let said = home.run(&["env", "--terraform"]);
        assert_eq!((said.code, said.out.as_str()), (2, ""));
    });
}
