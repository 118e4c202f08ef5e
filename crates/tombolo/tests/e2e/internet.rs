//! External addresses: who reaches the lab's internet, and whom it reaches.

use crate::support::{Home, as_each_user, eventually};

const LAB: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    firewalls:
      - {name: web, allowed: [{IPProtocol: tcp, ports: ["80"]}, {IPProtocol: icmp}], sourceRanges: [203.0.113.0/24]}
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    firewalls:
      - {name: friend, allowed: [{IPProtocol: tcp, ports: ["80"]}], sourceRanges: [198.18.0.2/32]}
instances:
  - name: web-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, accessConfigs: [{}]}]
    startupScript: |
      #!/bin/sh
      echo web-1 >/tmp/index.html && cd /tmp && exec python3 -u -m http.server 80 2>/root/seen
  - name: web-2
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-2, accessConfigs: [{name: outside}]}]
    startupScript: |
      #!/bin/sh
      echo web-2 >/tmp/index.html && cd /tmp && exec python3 -u -m http.server 80 2>/root/seen
  - {name: inner, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
"#;

/// What a server's page says to somebody, within a second.
fn page(home: &Home, from: &str, address: &str) -> String {
    home.sh(from, &format!("curl -s -m1 http://{address}/index.html")).out
}

#[test]
fn the_internet_reaches_external_addresses_and_is_reached_by_them() {
    as_each_user(|home| {
        home.up(&home.write("internet.yaml", LAB));
        // Both know each other by external addresses only.
        eventually("web-1 answers", || page(home, "internet", "198.18.0.2") == "web-1\n");
        assert!(home.sh("web-1", "cat /root/seen").exits(0).starts_with("203.0.113.2 "));
        eventually("web-2 answers", || page(home, "web-1", "198.18.0.3") == "web-2\n");
        assert!(home.sh("web-2", "cat /root/seen").exits(0).starts_with("198.18.0.2 "));
        for (from, address) in [
            ("internet", "198.18.0.3"), // the firewall knows web-1 alone
            ("internet", "10.1.0.2"),
            ("internet", "198.18.0.4"),
            ("inner", "198.18.0.3"), // it has no external address
            ("web-1", "10.2.0.2"),
        ] {
            assert_eq!(page(home, from, address), "", "{from} reaches {address}");
        }
        let ping = |from: &str| home.sh(from, "ping -n -c1 -W1 203.0.113.2").code;
        assert_eq!(ping("web-1"), 0);
        assert_ne!(ping("inner"), 0);

        let status = home.run(&["status", "--format", "json"]).json(0);
        let external = |at: usize| status["instances"][at]["natIps"].to_string();
        assert_eq!([external(0), external(1)], ["[]", r#"["198.18.0.2"]"#], "of inner and web-1");
        assert!(home.run(&["status"]).exits(0).contains("EXTERNAL"));
        home.run(&["fault", "add", "internet", "--cut"]).exits(0);
        assert_eq!(page(home, "internet", "198.18.0.2"), "");
        home.run(&["fault", "remove", "internet"]).exits(0);
        assert_eq!(page(home, "internet", "198.18.0.2"), "web-1\n");

        let trace = |from: &str, to: &str, code| home.run(&["trace", from, to]).exits(code);
        let text = trace("internet", "web-1:80", 0);
        assert!(text.starts_with("REACHABLE  internet (203.0.113.2) -> web-1 (198.18.0.2, vpc-1)"), "{text}");
        assert!(text.contains("NAT     198.18.0.2") && text.contains("3 sent, 3 delivered"), "{text}");
        assert!(trace("internet", "web-2:80", 1).contains("FIREWALL_RULE"));
        assert!(trace("web-1", "internet:8080", 0).contains("3 sent, 3 delivered"));
        let text = trace("web-1", "internet:25", 1);
        assert!(text.contains("TRAFFIC_TYPE_BLOCKED") && text.contains("3 sent, 0 delivered"), "{text}");
        let text = trace("inner", "internet", 1);
        assert!(text.contains("NO_EXTERNAL_ADDRESS"), "{text}");
        assert!(text.contains("A  an external address for inner"), "{text}");
        let refused = home.run(&["trace", "internet", "inner"]).refusal();
        assert!(refused.contains("inner has no external address"), "{refused}");

        // Taken and given again, while everything runs.
        let config = ["--zone", "us-central1-a", "--access-config-name", "External NAT"];
        let verb = |verb: &str, vm: &str| {
            home.run(&[&["compute", "instances", verb, vm], &config[..]].concat()).exits(0)
        };
        verb("delete-access-config", "web-1");
        assert_eq!(page(home, "internet", "198.18.0.2"), "");
        assert_ne!(ping("web-1"), 0);
        verb("add-access-config", "inner");
        assert_eq!(ping("inner"), 0);
        home.down();
    });
}

#[test]
fn where_nothing_has_an_external_address_there_is_no_internet() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let refused = home.run(&["exec", "internet", "--", "true"]).refusal();
        assert!(refused.contains("nothing that runs has an external address"), "{refused}");
        home.down();
    });
}

/// What is there without Cloud NAT: a VM that forwards and has an external address is the way out of those with a tag.
const GATEWAY: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    firewalls: [{name: inside, allowed: [{IPProtocol: all}], sourceRanges: [10.1.0.0/24]}]
    routes:
      - {name: out, destRange: 0.0.0.0/0, priority: 900, nextHopInstance: nat, tags: [private]}
instances:
  - name: nat
    zone: us-central1-a
    canIpForward: true
    networkInterfaces: [{subnetwork: subnet-1, accessConfigs: [{}]}]
  - {name: private, zone: us-central1-a, tags: [private], networkInterfaces: [{subnetwork: subnet-1}]}
  - {name: other, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
"#;

#[test]
fn a_vm_may_be_the_way_out_of_others() {
    as_each_user(|home| {
        home.up(&home.write("gateway.yaml", GATEWAY));
        let ping = |from: &str| home.sh(from, "ping -n -c1 -W1 203.0.113.2").code;
        home.sh("nat", "sysctl -qw net.ipv4.ip_forward=1").exits(0);
        assert_ne!(ping("private"), 0, "nobody outside knows its address, nor would the gateway send it");
        let rules = "add table ip out; add chain ip out post { type nat hook postrouting priority srcnat; }; \
                     add rule ip out post oifname eth0 masquerade";
        home.sh("nat", &format!("nft '{rules}'")).exits(0);
        assert_eq!(ping("private"), 0);
        assert_ne!(ping("other"), 0, "the route is for instances with the tag");
        assert_eq!(home.sh("private", "ping -n -c1 -W1 10.1.0.4").code, 0, "and for what is not inside");
        let trace = home.run(&["trace", "private", "internet"]).exits(0);
        assert!(trace.contains("FORWARD nat nic0") && trace.contains("3 delivered"), "{trace}");
        home.down();
    });
}
