//! Static routes: routers that forward, routes with tags, and equal next hops.

use crate::support::{Home, as_each_user, eventually};

const ROUTED: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    firewalls: [{name: open-1, allowed: [{IPProtocol: all}], sourceRanges: [0.0.0.0/0]}]
    routes:
      - {name: to-2, destRange: 10.2.0.0/24, nextHopInstance: router, tags: [routed]}
      - {name: far-1, destRange: 192.168.0.0/16, nextHopInstance: hop-1, tags: [routed]}
      - {name: nobody, destRange: 0.0.0.0/5, nextHopInstance: hop-2, tags: [routed]}
      - {name: far-2, destRange: 192.168.0.0/16, nextHopIp: 10.1.0.12, tags: [routed]}
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    firewalls: [{name: open-2, allowed: [{IPProtocol: all}], sourceRanges: [10.1.0.0/24]}]
    routes:
      - {name: to-1, destRange: 10.1.0.0/24, nextHopIp: 10.2.0.10}
instances:
  - {name: vm-1, zone: us-central1-a, tags: [routed], networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.2}]}
  - {name: plain, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.3}]}
  - {name: vm-2, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.2}]}
  - name: router
    zone: us-central1-a
    canIpForward: true
    networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.10}, {subnetwork: subnet-2, networkIP: 10.2.0.10}]
  - {name: hop-1, zone: us-central1-a, canIpForward: true, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.11}]}
  - {name: hop-2, zone: us-central1-a, canIpForward: true, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.12}]}
"#;

/// How many packets to others have come to a VM that does not forward.
fn strays(home: &Home, vm: &str) -> u64 {
    let table = home.sh(vm, "cat /proc/net/snmp").exits(0);
    let mut rows = table.lines().filter(|line| line.starts_with("Ip:")).map(str::split_whitespace);
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    names.zip(values).find(|(name, _)| *name == "InAddrErrors").unwrap().1.parse().unwrap()
}

#[test]
fn a_vm_with_two_interfaces_forwards_between_two_networks() {
    as_each_user(|home| {
        home.up(&home.write("routed.yaml", ROUTED));
        let ping = |vm: &str| home.sh(vm, "ping -n -c1 -W1 10.2.0.2").code;
        assert_ne!(ping("vm-1"), 0, "the router's kernel does not forward yet");
        home.sh("router", "sysctl -qw net.ipv4.ip_forward=1").exits(0);
        assert_eq!(ping("vm-1"), 0);
        assert_ne!(ping("plain"), 0, "the route is for instances with the tag");
        // The trace ends where the VM is to forward; the packets know more.
        let trace = home.run(&["trace", "vm-1", "vm-2"]).exits(0);
        assert!(trace.starts_with("FORWARDED") && trace.contains("3 sent, 3 delivered"), "{trace}");
        let trace = home.run(&["trace", "plain", "vm-2"]).exits(1);
        assert!(trace.contains("PRIVATE_TRAFFIC_TO_INTERNET"), "{trace}");
        home.down();
    });
}

#[test]
fn connections_are_spread_over_equal_next_hops_and_stay_on_theirs() {
    as_each_user(|home| {
        home.up(&home.write("routed.yaml", ROUTED));
        let seen = || [strays(home, "hop-1"), strays(home, "hop-2")];
        let send = "exec 3>/dev/udp/192.168.7.7/9; for i in $(seq 20); do echo $i >&3; done";
        let one = format!("bash -c '{send}'");
        home.sh("vm-1", &one).exits(0);
        eventually("all have arrived", || seen().iter().sum::<u64>() == 20);
        assert!(seen().contains(&0), "one connection, one next hop: {:?}", seen());
        let many = "for i in $(seq 60); do echo $i >/dev/udp/192.168.7.7/9; done";
        home.sh("vm-1", &format!("bash -c '{many}'")).exits(0);
        eventually("all have arrived", || seen().iter().sum::<u64>() == 80);
        assert!(seen().iter().all(|count| *count > 0), "{:?}", seen());
        let trace =
            home.run(&["trace", "vm-1", "192.168.7.7:9", "--protocol", "udp", "--no-packets"]).exits(0);
        assert!(trace.contains("10.1.0.11, 1 of 2") && trace.contains("10.1.0.12, 2 of 2"), "{trace}");
        // Nobody else's packets go there, and when one of the two stops all go by the other.
        home.sh("plain", &one).exits(0);
        home.run(&["compute", "instances", "stop", "hop-1", "--zone", "us-central1-a"]).exits(0);
        let before = strays(home, "hop-2");
        // Network 0 is nobody's, whatever a route says.
        home.sh("vm-1", &format!("bash -c 'echo >/dev/udp/0.1.2.3/9; {many}'")).exits(0);
        eventually("all have arrived", || strays(home, "hop-2") >= before + 60);
        assert_eq!(strays(home, "hop-2"), before + 60);
        home.sh("vm-1", "bash -c 'echo >/dev/udp/1.1.2.3/9'").exits(0);
        eventually("and its neighbour is somebody's", || strays(home, "hop-2") == before + 61);
        home.down();
    });
}

/// World 901258 of `agree`: the receiver has a route with its tag for the sender's address, and another network's static
/// route, imported, is the way back for everybody else.
const TAGGED_TO_THE_SENDER: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 8.8.8.0/24}]
    routes: [{name: wide, destRange: 8.0.0.0/8, nextHopInstance: vm-1}]
    peerings: [{name: one-to-two, network: vpc-2, exportCustomRoutes: true}]
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    firewalls: [{name: open-2, allowed: [{IPProtocol: all}], sourceRanges: [0.0.0.0/0]}]
    routes: [{name: elsewhere, destRange: 8.8.0.0/16, nextHopInstance: hop, tags: [routed]}]
    peerings: [{name: two-to-one, network: vpc-1, importCustomRoutes: true}]
instances:
  - {name: vm-1, zone: us-central1-a, canIpForward: true, networkInterfaces: [{subnetwork: subnet-1, networkIP: 8.8.8.5}]}
  - {name: vm-2, zone: us-central1-a, tags: [routed], networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.2}]}
  - {name: hop, zone: us-central1-a, canIpForward: true, networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.3}]}
"#;

#[test]
fn the_way_back_is_not_asked_of_routes_for_the_receivers_tags() {
    as_each_user(|home| {
        home.up(&home.write("tagged.yaml", TAGGED_TO_THE_SENDER));
        let trace = home.run(&["trace", "vm-1", "vm-2:9", "--protocol", "udp"]).exits(0);
        assert!(trace.starts_with("REACHABLE") && trace.contains("3 sent, 3 delivered"), "{trace}");
        home.sh("vm-1", "bash -c 'echo >/dev/udp/10.2.0.2/9'").exits(0);
        // The answers, that nobody listens there, went by the route with the tag.
        eventually("the answers are somewhere else", || strays(home, "hop") >= 1);
        // A source that the network has no way back to by the peering does not come in.
        home.sh("vm-1", "ip addr add 9.9.9.9/32 dev lo").exits(0);
        let strange = "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
                       s.bind((\"9.9.9.9\", 0)); s.sendto(b\"x\", (\"10.2.0.2\", 9))'";
        home.sh("vm-1", strange).exits(0);
        home.sh("vm-1", "bash -c 'echo >/dev/udp/10.2.0.2/9'").exits(0);
        let udp = "grep -m2 ^Udp: /proc/net/snmp | tail -n1 | cut -d\" \" -f3";
        eventually("five are there: three of the trace's, two sent", || {
            home.sh("vm-2", udp).exits(0).trim() == "5"
        });
        home.down();
    });
}
