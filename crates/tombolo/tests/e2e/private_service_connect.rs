//! Private Service Connect: a service is published, and reached by endpoints in other networks and by nothing else.

use crate::support::{Home, as_each_user, eventually};

/// A server in vpc-2, and clients of the same addresses in two networks, one of which has a peer.
const LAB: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    peerings: [{name: p13, network: vpc-3}]
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    firewalls:
      - {name: nat, allowed: [{IPProtocol: tcp, ports: [80]}], sourceRanges: [10.9.0.0/24]}
  - name: vpc-3
    subnetworks: [{name: subnet-3, region: us-central1, ipCidrRange: 10.3.0.0/24}]
    peerings: [{name: p31, network: vpc-1}]
  - name: vpc-4
    subnetworks: [{name: subnet-4, region: us-central1, ipCidrRange: 10.2.0.0/24}]
instances:
  - {name: client-1, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
  - {name: client-3, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-3}]}
  - {name: client-4, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-4}]}
  - {name: client-2, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2}]}
  - name: web
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-2}]
    startupScript: |
      #!/bin/sh
      echo web >/tmp/index.html && cd /tmp && exec python3 -u -m http.server 80 2>/root/seen
"#;

fn compute(home: &Home, words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    home.run(&[&["compute"], &words[..], &["--region", "us-central1", "--quiet"]].concat()).exits(0)
}

/// What somebody gets from a page within a second.
fn page(home: &Home, from: &str, of: &str) -> String {
    home.sh(from, &format!("curl -s -m1 http://{of}")).out
}

/// The address by which the last request came.
fn seen(home: &Home) -> String {
    let log = home.sh("web", "tail -n1 /root/seen").exits(0);
    log.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_service_is_reached_by_endpoints_alone() {
    as_each_user(|home| {
        home.up(&home.write("psc.yaml", LAB));
        let target = "target-instances create web --instance web --zone us-central1-a --quiet";
        home.run(&[vec!["compute"], target.split(' ').collect()].concat()).exits(0);
        compute(
            home,
            "networks subnets create nat --network vpc-2 --range 10.9.0.0/24 --purpose PRIVATE_SERVICE_CONNECT",
        );
        let rule = "--load-balancing-scheme internal --network vpc-2 --subnet subnet-2 --ports 80 --target-instance web \
                    --target-instance-zone us-central1-a";
        compute(home, &format!("forwarding-rules create rule --address 10.2.0.50 {rule}"));
        compute(home, "service-attachments create service --producer-forwarding-rule rule --nat-subnets nat");
        for i in [1, 2, 4] {
            let at = format!("--network vpc-{i} --subnet subnet-{i} --address 10.2.0.60");
            compute(
                home,
                &format!("forwarding-rules create endpoint-{i} {at} --target-service-attachment service"),
            );
        }
        eventually("client-1 is answered", || page(home, "client-1", "10.2.0.60") == "web\n");
        // The same addresses in another network, and in the service's own.
        for (from, nat) in [("client-1", "10.9.0.2"), ("client-2", "10.9.0.3"), ("client-4", "10.9.0.4")] {
            assert_eq!(page(home, from, "10.2.0.60"), "web\n", "{from}");
            assert_eq!(seen(home), nat, "{from}");
            // Both from the same port: one of them gets another.
            assert_eq!(page(home, from, "10.2.0.60 --local-port 40000"), "web\n", "{from}");
        }
        // No other way, no other port, no peer; the rule itself is for clients whom the firewall lets in.
        for (from, to) in [
            ("client-1", "10.2.0.50"),
            ("client-1", "10.2.0.60:81"),
            ("client-3", "10.2.0.60"),
            ("client-2", "10.2.0.50"),
            ("client-2", "10.9.0.2"),
        ] {
            assert_eq!(page(home, from, to), "", "{from} gets to {to}");
        }
        let trace = |from: &str, to: &str, code| {
            let text = home.run(&["trace", from, to]).exits(code);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let text = trace("client-1", "endpoint-1:80", 0);
        assert!(text.contains("FWDRULE endpoint-1 endpoint of service"), "{text}");
        assert!(text.contains("NAT 10.9.0.2 for 10.2.0.2") && text.contains("3 sent, 3 delivered"), "{text}");
        let text = trace("client-3", "10.2.0.60:80", 1);
        assert!(text.contains("PSC_ENDPOINT_ACCESSED_FROM_PEERED_NETWORK"), "{text}");
        assert!(text.contains("an endpoint of service in vpc-3"), "{text}");
        assert!(trace("client-1", "10.2.0.60:81", 1).contains("FORWARDING_RULE_MISMATCH"));

        let status = home.run(&["status"]).exits(0);
        let row = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("endpoint-4"), "us-central1 10.2.0.60 vpc-4 serviceAttachments/service ACCEPTED");
        assert_eq!(row("rule "), "us-central1 10.2.0.50 vpc-2 targetInstances/web -");
        let metadata =
            "curl -s -H Metadata-Flavor:Google metadata.google.internal/computeMetadata/v1/instance/";
        let forwarded = format!("{metadata}network-interfaces/0/target-instance-ips/0");
        assert_eq!(home.sh("web", &forwarded).exits(0), "10.2.0.50");

        // The producer takes one network only, and then nobody.
        let manual = "service-attachments update service --connection-preference ACCEPT_MANUAL --reconcile-connections";
        let network = "projects/project-1/global/networks/vpc-4";
        compute(home, &format!("{manual} --consumer-accept-list {network}=1"));
        assert_eq!(page(home, "client-4", "10.2.0.60"), "web\n");
        assert_eq!(page(home, "client-1", "10.2.0.60"), "");
        assert!(trace("client-1", "endpoint-1:80", 1).contains("its connection is PENDING"));
        compute(home, "service-attachments delete service");
        assert_eq!(page(home, "client-4", "10.2.0.60"), "");
        assert!(trace("client-4", "10.2.0.60:80", 1).contains("PSC_CONNECTION_NOT_ACCEPTED"));
        home.down();
    });
}
