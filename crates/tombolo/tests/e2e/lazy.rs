//! Lazy VMs: who is not there yet, and what wakes them. Their first packets are neither lost nor overtaken.

use crate::support::{Home, as_each_user};
use nix::sys::signal::Signal;
use std::fmt::Write;
use std::path::Path;

/// Two peered networks, with IPv6 in the first, and a VM with an external address.
const LAB: &str = r"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    enableUlaInternalIpv6: true
    internalIpv6Range: fd20:1:2::/48
    subnetworks:
      - {name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24, stackType: IPV4_IPV6, ipv6AccessType: INTERNAL}
    peerings: [{name: to-2, network: project-1/vpc-2}]
    firewalls:
      - {name: ping, allowed: [{IPProtocol: icmp}, {IPProtocol: tcp, ports: ['22']}], sourceRanges: [0.0.0.0/0]}
      - {name: ping-6, allowed: [{IPProtocol: '58'}], sourceRanges: ['::/0']}
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    peerings: [{name: to-1, network: project-1/vpc-1}]
instances:
  - {name: near, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, stackType: IPV4_IPV6}]}
  - {name: six, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.6, stackType: IPV4_IPV6}]}
  - {name: web, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.8, accessConfigs: [{}]}]}
  - {name: shell, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.9}]}
  - {name: far, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.2}]}
";

fn up(home: &Home, file: &Path) {
    home.run(&["up", file.to_str().unwrap(), "--detach", "--lazy-vms", "always"]).exits(0);
    home.learn();
}

/// Who is not there yet.
fn asleep(home: &Home) -> Vec<String> {
    let status = home.run(&["status", "--format", "json"]).json(0);
    let all = status["instances"].as_array().unwrap().iter();
    all.filter(|it| it["asleep"] == true).map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

/// The numbers of the answers to a ping, in the order in which they came.
fn answers(home: &Home, vm: &str, args: &str) -> Vec<u32> {
    let said = home.sh(vm, &format!("ping -n {args}")).out;
    let numbers =
        said.lines().filter_map(|line| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok());
    numbers.collect()
}

#[test]
fn packets_and_programs_wake_vms() {
    as_each_user(|home| {
        up(home, &home.write("lab.yaml", LAB));
        assert_eq!(asleep(home), ["far", "near", "shell", "six", "web"]);
        // A burst at somebody who is not there. `far` is woken by the program. Without -w ping goes two round trips after its last
        // packet, and on a busy machine answers come later; with it, it sends until it has a hundred. So few at a time that the
        // answers to all that was held for a second have room at ping's own socket, which has some for 170.
        let answered = answers(home, "far", "-l 40 -c 100 -i 0.01 -w 10 10.1.0.2");
        assert!(answered.len() >= 100, "{answered:?}");
        assert_eq!(answered, (1..=answered.len() as u32).collect::<Vec<_>>());
        assert_eq!(asleep(home), ["shell", "six", "web"]);
        // By IPv6 and by an external address.
        let six = home.run(&["status", "--format", "json"]).json(0);
        let six = six["instances"].as_array().unwrap().iter().find(|it| it["name"] == "six").unwrap();
        let six = six["ipv6Addresses"][0].as_str().unwrap();
        assert_eq!(answers(home, "near", &format!("-c 3 -i 0.2 -W 5 {six}")), [1, 2, 3]);
        assert_eq!(asleep(home), ["shell", "web"]);
        assert_eq!(answers(home, "internet", "-c 3 -i 0.2 -W 5 198.18.0.2"), [1, 2, 3]);
        assert_eq!(asleep(home), ["shell"]);
        // What a firewall drops wakes somebody as well, and is dropped.
        assert_eq!(answers(home, "near", "-c 1 -W 1 10.2.0.2"), [0; 0]);
        // Port 22 is there when the first packet is.
        let banner = home.sh("far", "timeout 10 bash -c 'exec 3<>/dev/tcp/10.1.0.9/22; head -c 8 <&3'");
        assert_eq!(banner.exits(0), "SSH-2.0-");
        assert_eq!(asleep(home), Vec::<String>::new());
        home.down();
    });
}

/// As many as lazy VMs are the default for.
fn many(count: u32) -> String {
    let mut lab = "projects: [{projectId: project-1}]\nnetworks:\n  - name: vpc-1\n    subnetworks: \
                   [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/16}]\n    firewalls: \
                   [{name: ping, allowed: [{IPProtocol: icmp}], sourceRanges: [0.0.0.0/0], targetTags: [odd]}]\ninstances:\n"
        .to_owned();
    for number in 0..count {
        let tags = if number % 2 == 1 { ", tags: [odd]" } else { "" };
        let _ = writeln!(
            lab,
            "  - {{name: vm-{number}, zone: us-central1-a{tags}, networkInterfaces: [{{subnetwork: subnet-1}}]}}"
        );
    }
    lab
}

#[test]
fn big_worlds_are_lazy() {
    as_each_user(|home| {
        home.up(&home.write("few.yaml", &many(256)));
        assert_eq!(asleep(home).len(), 0);
        home.down();
        home.up(&home.write("many.yaml", &many(257)));
        let said = home.run(&["status"]).exits(0);
        assert!(said.contains("257 of 257 instances are asleep: a packet or a program wakes them"), "{said}");
        let address = |vm: u32| format!("10.1.{}.{}", (vm + 2) / 256, (vm + 2) % 256);
        assert_eq!(answers(home, "vm-0", &format!("-c 2 -i 0.2 -W 5 {}", address(201))), [1, 2]);
        // Without the tag.
        assert_eq!(answers(home, "vm-0", &format!("-c 1 -W 1 {}", address(200))), [0; 0]);
        assert_eq!(asleep(home).len(), 254);
        // A rule changes for those who are there and for those who are not.
        let create =
            "firewall-rules create all --network vpc-1 --allow icmp --source-ranges 10.1.0.0/16 --quiet";
        home.run(&[&["compute"], &create.split(' ').collect::<Vec<_>>()[..]].concat()).exits(0);
        for vm in [200, 202] {
            assert_eq!(answers(home, "vm-0", &format!("-c 2 -i 0.2 -W 5 {}", address(vm))), [1, 2]);
        }
        home.run(&["compute", "instances", "stop", "vm-202", "--zone", "us-central1-a", "--quiet"]).exits(0);
        assert_eq!(answers(home, "vm-0", &format!("-c 1 -W 1 {}", address(202))), [0; 0]);
        home.run(&["compute", "instances", "start", "vm-202", "--zone", "us-central1-a", "--quiet"]).exits(0);
        assert!(asleep(home).contains(&"vm-202".to_owned()), "it is as new");
        assert_eq!(answers(home, "vm-0", &format!("-c 2 -i 0.2 -W 5 {}", address(202))), [1, 2]);
        home.down();
    });
}

#[test]
fn who_is_awake_stays_so_when_the_server_is_killed() {
    as_each_user(|home| {
        let file = home.write("lab.yaml", LAB);
        let mut served = home.serve(&["--lazy-vms", "always"]);
        home.run(&["import", file.to_str().unwrap()]).exits(0);
        assert_eq!(answers(home, "far", "-c 2 -i 0.2 -W 5 10.1.0.2"), [1, 2]);
        let before = asleep(home);
        assert_eq!(before, ["shell", "six", "web"]);
        served.up.signal(Signal::SIGKILL);
        assert_eq!(served.up.wait(), None);
        served = home.serve(&["--lazy-vms", "always"]);
        let said = served.up.stdout();
        assert!(said.contains("The lab of the server before goes on; 0 edits made it"), "{said}");
        assert_eq!(asleep(home), before);
        assert_eq!(answers(home, "far", "-c 2 -i 0.2 -W 5 10.1.0.6"), [1, 2]);
        served.up.signal(Signal::SIGTERM);
        assert_eq!(served.up.wait(), Some(0));
    });
}
