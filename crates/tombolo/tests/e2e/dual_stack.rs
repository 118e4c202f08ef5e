//! Dual-stack subnetworks by gcloud's words: what had IPv4 alone gets IPv6, and programs use it.

use crate::support::{Home, as_each_user, eventually};

/// A server and a client, with IPv4.
const LAB: &str = r"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
instances:
  - name: web
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1}]
    startupScript: |
      #!/bin/sh
      echo web >/tmp/index.html && cd /tmp && exec python3 -u -m http.server 80 --bind :: 2>/root/seen
  - {name: client, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
";

fn compute(home: &Home, words: &str) {
    let words: Vec<&str> = words.split_whitespace().collect();
    home.run(&[&["compute"], &words[..], &["--quiet"]].concat()).exits(0);
}

#[test]
fn instances_get_ipv6_while_they_run() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        compute(home, "networks update vpc-1 --enable-ula-internal-ipv6 --internal-ipv6-range fd20:1:2::/48");
        let region = "--region us-central1";
        compute(
            home,
            &format!(
                "networks subnets update subnet-1 --stack-type IPV4_IPV6 --ipv6-access-type INTERNAL {region}"
            ),
        );
        for vm in ["web", "client"] {
            let zone = "--network-interface nic0 --zone us-central1-a";
            compute(home, &format!("instances network-interfaces update {vm} --stack-type IPV4_IPV6 {zone}"));
        }
        let metadata = "curl -s -H Metadata-Flavor:Google 169.254.169.254/computeMetadata/v1/instance";
        let address = home.sh("web", &format!("{metadata}/network-interfaces/0/ipv6s")).exits(0);
        let address = address.trim();
        assert_eq!(address, "fd20:1:2::1:0:0");
        let page = || home.sh("client", &format!("curl -s -m1 http://[{address}]")).out;

        // Nothing comes in, and rules for IPv4 are for IPv4.
        compute(home, "firewall-rules create four --network vpc-1 --allow tcp:80 --source-ranges 0.0.0.0/0");
        assert_eq!(home.sh("client", "curl -s -m3 http://10.1.0.2").out, "web\n");
        assert_eq!(page(), "");
        compute(
            home,
            "firewall-rules create six --network vpc-1 --allow tcp:80 --source-ranges fd20:1:2::/48",
        );
        eventually("the page by IPv6", || page() == "web\n");
        let seen = home.sh("web", "tail -n1 /root/seen").exits(0);
        assert!(seen.starts_with("fd20:1:2::2:0:0 "), "{seen}");
        let text = home.run(&["trace", "client", "web:80", "--ipv6"]).exits(0);
        assert!(text.contains("3 sent, 3 delivered"), "{text}");
        let text = home.run(&["trace", "client", &format!("[{address}]:81")]).exits(1);
        assert!(text.contains("FIREWALL_RULE"), "{text}");
        home.down();
    });
}
