//! What packets do, seen by the machine's own programs in VMs.

use crate::support::{Home, as_each_user, eventually};

/// How many echo requests have arrived at a VM: that no answer came proves nothing.
fn echo_requests(home: &Home, vm: &str) -> u64 {
    let table = home.sh(vm, "cat /proc/net/snmp").exits(0);
    let mut rows = table.lines().filter(|line| line.starts_with("Icmp:")).map(str::split_whitespace);
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    names.zip(values).find(|(name, _)| *name == "InEchos").unwrap().1.parse().unwrap()
}

/// Pings once; whether there was an answer.
fn ping(home: &Home, vm: &str, args: &str) -> bool {
    home.sh(vm, &format!("ping -n -c1 -W1 {args}")).code == 0
}

#[test]
fn a_vm_cannot_send_from_an_address_that_is_not_its_own() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        assert!(ping(home, "vm-1", "10.2.0.2"));
        assert_eq!(echo_requests(home, "vm-2"), 1);
        home.sh("vm-1", "ip address add 10.1.0.99/32 dev lo; ip address add 10.2.0.3/32 dev lo").exits(0);
        for source in ["10.1.0.99", "10.2.0.3"] {
            assert!(!ping(home, "vm-1", &format!("-I {source} 10.2.0.2")));
        }
        assert_eq!(echo_requests(home, "vm-2"), 1, "neither arrived");
        assert!(ping(home, "vm-1", "10.2.0.2"), "its own still does");
        home.down();
    });
}

/// Both VMs are in one subnetwork: the rule by tag counts there too.
#[test]
fn traffic_inside_a_subnetwork_is_filtered() {
    as_each_user(|home| {
        home.up(&home.example("single-vpc.yaml"));
        let address = |vm| home.sh(vm, "hostname -I").exits(0).trim().to_owned();
        let (client, server) = (address("client"), address("server"));
        assert!(ping(home, "client", &server));
        assert!(!ping(home, "server", &client));
        assert_eq!([echo_requests(home, "server"), echo_requests(home, "client")], [1, 0]);
        assert!(ping(home, "client", "server"), "by name");
        home.down();
    });
}

const TWINS: &str = r#"
projects: [{projectId: project-1}]
networks:
  - &twin
    name: red
    subnetworks: [{name: red-subnet, region: us-central1, ipCidrRange: 10.0.0.0/24}]
    firewalls: [{name: red-all, allowed: [{IPProtocol: all}], sourceRanges: [0.0.0.0/0]}]
  - name: blue
    subnetworks: [{name: blue-subnet, region: us-central1, ipCidrRange: 10.0.0.0/24}]
    firewalls: [{name: blue-all, allowed: [{IPProtocol: all}], sourceRanges: [0.0.0.0/0]}]
instances:
  - {name: red-1, zone: us-central1-a, networkInterfaces: [{subnetwork: red-subnet, networkIP: 10.0.0.2}]}
  - {name: red-2, zone: us-central1-a, networkInterfaces: [{subnetwork: red-subnet, networkIP: 10.0.0.3}]}
  - {name: blue-1, zone: us-central1-a, networkInterfaces: [{subnetwork: blue-subnet, networkIP: 10.0.0.2}]}
  - {name: blue-2, zone: us-central1-a, networkInterfaces: [{subnetwork: blue-subnet, networkIP: 10.0.0.3}]}
  - {name: blue-3, zone: us-central1-a, networkInterfaces: [{subnetwork: blue-subnet, networkIP: 10.0.0.4}]}
redis:
  - {name: red-redis, region: us-central1, authorizedNetwork: red, reservedIpRange: 10.8.0.0/29}
"#;

#[test]
fn networks_that_are_not_peered_may_have_the_same_ranges() {
    as_each_user(|home| {
        home.up(&home.write("twins.yaml", &TWINS.replace("  - &twin\n    name", "  - name")));
        assert!(ping(home, "red-1", "10.0.0.3") && ping(home, "red-1", "10.0.0.3"));
        assert_eq!([echo_requests(home, "red-2"), echo_requests(home, "blue-2")], [2, 0]);
        assert!(ping(home, "blue-1", "10.0.0.3"));
        assert_eq!([echo_requests(home, "red-2"), echo_requests(home, "blue-2")], [2, 1]);
        assert!(!ping(home, "red-1", "10.0.0.4"), "which only the other network has");
        assert_eq!(echo_requests(home, "blue-3"), 0);
        let set = "timeout 1 redis-cli -h 10.8.0.3 set color red";
        assert_eq!(home.sh("red-2", set).out, "OK\n");
        assert_ne!(home.sh("blue-2", set).code, 0);
        home.down();
    });
}

#[test]
fn startup_scripts_run_as_files_of_their_own() {
    as_each_user(|home| {
        let text = crate::support::example("single-vpc.yaml").replace(
            "    tags: [client]\n    networkInterfaces",
            "    tags: [client]\n    startupScript: |\n      #!/bin/sh\n      hostname >/root/started\n      \
             ping -n -c1 -W5 server >>/root/started || exit 1\n      exit 3\n    networkInterfaces",
        );
        home.up(&home.write("script.yaml", &text));
        let state = || {
            let status = home.run(&["status", "--format", "json"]).json(0);
            let rows = status["instances"].as_array().unwrap().clone();
            let client = rows.into_iter().find(|row| row["name"] == "client").unwrap();
            client["startupScript"].as_str().unwrap().to_owned()
        };
        eventually("the script ends", || state() != "running");
        assert_eq!(state(), "exited 3");
        let written = home.sh("client", "cat /root/started").exits(0);
        assert!(written.starts_with("client\n") && written.contains("1 received"), "{written}");
        home.sh("server", "test -e /root/started").exits(1);
        assert!(!std::path::Path::new("/root/started").exists(), "the host's /root is not the VM's");
        home.down();
    });
}

#[test]
fn a_redis_server_that_dies_is_started_again() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let cli =
            |command: &str| home.sh("vm-2", &format!("timeout 2 redis-cli -h 10.34.175.91 {command}")).out;
        assert_eq!(cli("set a b"), "OK\n");
        let servers = || home.learn().into_iter().filter(|p| p.comm == "redis-server").collect::<Vec<_>>();
        let before = servers();
        assert_eq!(before.len(), 1, "{before:?}");
        before[0].kill();
        eventually("there is another", || servers().iter().any(|server| server.pid != before[0].pid));
        eventually("it answers", || cli("ping") == "PONG\n");
        assert_eq!(cli("exists a"), "0\n", "a basic instance keeps nothing");
        let state = || home.run(&["status", "--format", "json"]).json(0)["redis"][0]["state"].clone();
        eventually("it is ready", || state() == "READY");
        // The proxy finds it again, too.
        let through = "timeout 2 redis-cli -h 10.2.0.3 get a";
        eventually("the proxy finds it again", || home.sh("vm-1", through).out == "\n");
        home.down();
    });
}

/// What Memorystore does not let its users do.
#[test]
fn redis_blocks_what_memorystore_blocks() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let cli = |command: &str| home.sh("vm-2", &format!("redis-cli -h 10.34.175.91 {command}")).out;
        for command in ["config get dir", "save", "shutdown", "debug sleep 0", "replicaof no one"] {
            assert!(cli(command).contains("unknown command"), "{command}: {}", cli(command));
        }
        assert_eq!(cli("ping"), "PONG\n");
        home.down();
    });
}
