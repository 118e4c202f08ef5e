//! Cloud NAT: instances without an external address reach the internet, and nothing comes in but answers.

use crate::support::{Home, as_each_user, eventually};
use std::process::Stdio;

/// Everybody would answer everybody.
const LAB: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks:
      - {name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}
      - {name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}
    firewalls: [{name: open, allowed: [{IPProtocol: all}], sourceRanges: [0.0.0.0/0]}]
instances:
  - name: web
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, accessConfigs: [{}]}]
    startupScript: |
      #!/bin/sh
      echo web >/tmp/index.html && cd /tmp && exec python3 -u -m http.server 80 2>/root/seen
  - name: inner-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1}]
    startupScript: |
      #!/bin/sh
      echo inner >/tmp/index.html && cd /tmp && exec python3 -m http.server 80
  - {name: inner-2, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
  - {name: other, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2}]}
"#;

/// Answers once with the address that it is asked from.
const SERVER: &str = "import socket; s = socket.create_server(('', 8080)); c, a = s.accept(); c.recv(9999); \
                      c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n' + a[0].encode()); c.close()";

fn compute(home: &Home, words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    home.run(&[&["compute"], &words[..], &["--quiet"]].concat()).exits(0)
}

/// What somebody gets from a page within a second.
fn page(home: &Home, from: &str, of: &str) -> String {
    home.sh(from, &format!("curl -s -m1 http://{of}")).out
}

/// The address by which the last request to `web` came.
fn seen(home: &Home) -> String {
    let log = home.sh("web", "tail -n1 /root/seen").exits(0);
    log.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn instances_reach_the_internet_by_the_gateways_address() {
    as_each_user(|home| {
        home.up(&home.write("nat.yaml", LAB));
        let ping = |from: &str| home.sh(from, "ping -n -c1 -W1 203.0.113.2").code == 0;
        assert!(!ping("inner-1"));
        eventually("inner-1 answers", || page(home, "web", "10.1.0.3") == "inner\n");
        compute(home, "routers create r-1 --network vpc-1 --region us-central1");
        let at = "--router r-1 --region us-central1";
        let subnet = "--nat-custom-subnet-ip-ranges subnet-1";
        compute(home, &format!("routers nats create n-1 {at} --auto-allocate-nat-external-ips {subnet}"));
        let status = compute(home, "routers get-status r-1 --region us-central1");
        assert!(
            status.contains("198.18.0.3") && status.contains("numVmEndpointsWithNatMappings: 2"),
            "{status}"
        );
        assert!(compute(home, &format!("routers nats list {at}")).contains("n-1   AUTO_ONLY"));
        assert!(compute(home, "routers list").contains("r-1"));

        // The client in the internet sees the gateway's address, and so does a VM that has one of its own.
        let mut server = home.command(&["exec", "internet", "--", "timeout", "60", "python3", "-c", SERVER]);
        let mut server = server.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        eventually("the client answers", || page(home, "inner-1", "203.0.113.2:8080") == "198.18.0.3");
        server.wait().unwrap();
        assert!(ping("inner-1") && ping("inner-2") && !ping("other"));
        // Both from the same port: one of them gets another.
        for from in ["inner-1", "inner-2"] {
            assert_eq!(page(home, from, "198.18.0.2 --local-port 40000"), "web\n", "{from}");
            assert_eq!(seen(home), "198.18.0.3");
        }
        assert_eq!(page(home, "web", "10.1.0.3"), "inner\n");
        for from in ["internet", "web", "inner-2"] {
            assert_eq!(page(home, from, "198.18.0.3"), "", "{from} comes in");
        }

        // Long lines are broken.
        let trace = |from: &str, to: &str, code| {
            let text = home.run(&["trace", from, to]).exits(code);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let text = trace("inner-1", "internet:80", 0);
        assert!(text.contains("NAT 198.18.0.3 for 10.1.0.3, by Cloud NAT n-1 of r-1"), "{text}");
        assert!(text.contains("3 sent, 3 delivered"), "{text}");
        assert!(trace("inner-1", "internet:25", 1).contains("TRAFFIC_TYPE_BLOCKED"));
        assert!(trace("other", "internet", 1).contains("NO_EXTERNAL_ADDRESS"));
        assert!(trace("web", "198.18.0.3:80", 1).contains("only answers come in by 198.18.0.3"));
        compute(
            home,
            "firewall-rules create no --network vpc-1 --direction EGRESS --action DENY --rules icmp --priority 9",
        );
        assert!(!ping("inner-1"), "the egress gate is before");
        compute(home, "firewall-rules delete no");

        // A reserved address in the place of the other, and every subnetwork.
        compute(home, "addresses create a-1 --region us-central1");
        let all = "--nat-all-subnet-ip-ranges";
        compute(home, &format!("routers nats update n-1 {at} --nat-external-ip-pool a-1 {all}"));
        assert!(
            compute(home, &format!("routers nats describe n-1 {at}"))
                .contains("natIpAllocateOption: MANUAL_ONLY")
        );
        assert_eq!(page(home, "other", "198.18.0.2"), "web\n");
        assert_eq!(seen(home), "198.18.0.4");
        // With an external address of its own a VM is known by that.
        compute(home, "instances add-access-config other --zone us-central1-a");
        assert_eq!(page(home, "other", "198.18.0.2"), "web\n");
        assert_eq!(seen(home), "198.18.0.3");
        assert!(home.run(&["export"]).err.contains("routers/r-1"));
        compute(home, &format!("routers nats delete n-1 {at}"));
        assert!(!ping("inner-1") && ping("other"));
        compute(home, "routers delete r-1 --region us-central1");
        home.down();
    });
}
