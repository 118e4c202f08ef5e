//! `tombolo trace`: the reason, and the packets beside it.

use crate::support::{as_each_user, example};

#[test]
fn trace_gives_the_reason_and_the_packets() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let far = home.run(&["trace", "vm-1", "redis-1:6379"]).exits(1);
        for part in [
            "UNREACHABLE  vm-1 (10.1.0.2, vpc-1)",
            "-> redis-1 (10.34.175.91, Google-managed) tcp/6379",
            "PRIVATE_TRAFFIC_TO_INTERNET",
            "3 sent, 0 delivered",
        ] {
            assert!(far.contains(part), "{part} is not in\n{far}");
        }
        assert!(far.lines().all(|line| line.chars().count() <= 80), "{far}");

        let near = home.run(&["trace", "vm-2", "redis-1"]).exits(0);
        assert!(near.starts_with("REACHABLE"), "{near}");
        assert!(near.contains("3 sent, 3 delivered"), "{near}");
        let by_address = home.run(&["trace", "vm-2", "10.34.175.91", "--protocol", "tcp", "--port", "6379"]);
        assert_eq!(by_address.exits(0), near);

        let json = home.run(&["trace", "vm-1", "redis-1", "--format", "json"]).json(1);
        assert_eq!(
            (&json["result"], &json["cause"]),
            (&"UNREACHABLE".into(), &"PRIVATE_TRAFFIC_TO_INTERNET".into())
        );
        assert_eq!((&json["packets"]["sent"], &json["packets"]["delivered"]), (&3.into(), &0.into()));
        assert!(!json["fixes"].as_array().unwrap().is_empty(), "{json:#}");
        let json = home.run(&["trace", "vm-1", "vm-2", "--no-packets", "--format", "json"]).json(0);
        assert_eq!((&json["result"], &json["packets"]), (&"REACHABLE".into(), &serde_json::Value::Null));
        assert_eq!(json["steps"][0]["state"], "START_FROM_INSTANCE");

        home.run(&["trace", "iap", "vm-1:22"]).exits(0);
        home.run(&["trace", "iap", "vm-1:23"]).exits(1);

        let bad = |args: &[&str]| home.run(&[&["trace"], args].concat()).refusal();
        assert!(bad(&["vm-1", "nobody"]).contains("'nobody' is neither an address nor an instance"));
        assert!(bad(&["nobody", "vm-1"]).contains("there is no instance 'nobody'"));
        assert!(bad(&["vm-1", "vm-2:99999"]).contains("not a port"));
        assert!(bad(&["vm-1", "vm-2", "--protocol", "udp"]).contains("needs a port"));
        home.down();
    });
}

/// Nobody may send and nobody may receive.
const CLOSED: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    firewalls: [{name: out, direction: EGRESS, denied: [{IPProtocol: all}]}]
instances:
  - name: vm-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, accessConfigs: [{}], aliasIpRanges: [{ipCidrRange: 10.1.0.64/28}]}]
  - {name: twin, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}]}
  - {name: twin, zone: us-central1-b, networkInterfaces: [{subnetwork: subnet-1}]}
"#;

#[test]
fn what_a_vm_sends_to_itself_meets_no_firewall() {
    as_each_user(|home| {
        home.up(&home.write("closed.yaml", CLOSED));
        let traced = |to: &str, code| home.run(&["trace", "vm-1", to]).exits(code);
        home.run(&["fault", "add", "vm-1", "--cut"]).exits(0);
        for to in ["vm-1", "vm-1:22", "10.1.0.70"] {
            let text = traced(to, 0);
            assert!(text.contains("DELIVER vm-1 nic0") && text.contains("3 sent, 3 delivered"), "{text}");
            assert!(!text.contains("EGRESS") && !text.contains("fault"), "{text}");
        }
        assert_eq!(home.sh("vm-1", "ping -n -c1 -W1 10.1.0.2").code, 0);
        home.run(&["fault", "remove", "vm-1"]).exits(0);
        // Its external address is the internet's, and the way there and back is like any other.
        let text = traced("198.18.0.2:22", 1);
        assert!(text.contains("FIREWALL_RULE") && text.contains("3 sent, 0 delivered"), "{text}");
        for words in
            ["delete out", "create self --network vpc-1 --allow tcp:22 --source-ranges 198.18.0.2/32"]
        {
            let words: Vec<&str> = words.split(' ').collect();
            home.run(&[&["compute", "firewall-rules"], &words[..], &["--quiet"]].concat()).exits(0);
        }
        let text = traced("198.18.0.2:22", 0);
        assert!(text.contains("INGRESS self") && text.contains("3 sent, 3 delivered"), "{text}");
        // A name of several is told as that at either end.
        for (from, to) in [("twin", "vm-1"), ("vm-1", "twin"), ("vm-1", "twin:22")] {
            let told = home.run(&["trace", from, to]).refusal();
            assert!(told.contains("'twin' means several instances: "), "{told}");
        }
        home.run(&["trace", "vm-1", "us-central1-b/twin"]).exits(1);
        home.down();
    });
}

#[test]
fn what_a_fault_stops_is_not_reachable() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let told = |args: &[&str], code| home.run(&[&["trace", "vm-1", "vm-2"], args].concat()).exits(code);
        home.run(&["fault", "add", "vm-2", "--cut"]).exits(0);
        // A cut is one whether or not packets are asked.
        for args in [&[][..], &["--no-packets"]] {
            let text = told(args, 1);
            assert!(text.starts_with("UNREACHABLE") && !text.contains("DROP"), "{text}");
            assert!(
                text.ends_with(" note   the configuration lets it through: a fault stops it\n"),
                "{text}"
            );
        }
        let json = home.run(&["trace", "vm-1", "vm-2", "--format", "json"]).json(1);
        assert_eq!((&json["result"], &json["cause"]), (&"UNREACHABLE".into(), &serde_json::Value::Null));
        // What the configuration stops, no fault does.
        let text = home.run(&["trace", "vm-2", "vm-1"]).exits(1);
        assert!(text.contains("DROP") && !text.contains("lets it through"), "{text}");
        // No fault is on the way there.
        let text = home.run(&["trace", "vm-2", "169.254.169.254:80"]).exits(0);
        assert!(text.starts_with("REACHABLE") && !text.contains("fault"), "{text}");
        home.run(&["fault", "add", "vm-2", "--latency", "1ms"]).exits(0);
        assert!(told(&[], 0).starts_with("REACHABLE"));
        assert!(told(&["--no-packets"], 0).starts_with("REACHABLE"));
        home.down();
    });
}

#[test]
fn of_many_names_the_nearest_are_told() {
    as_each_user(|home| {
        let mut file =
            example("single-vpc.yaml").split("instances:").next().unwrap().to_owned() + "instances:\n";
        for i in 0..40 {
            file += &format!(
                "  - {{name: vm-{i}, zone: europe-west1-b, networkInterfaces: [{{subnetwork: my-subnet}}]}}\n"
            );
        }
        home.up(&home.write("many.yaml", &file));
        let said = home.run(&["trace", "vm-0", "vm-17x"]).refusal();
        assert!(
            said.contains("did you mean 'vm-17'? (there is: vm-17, ") && said.contains(", and 32 more)"),
            "{said}"
        );
        let said = home.run(&["trace", "wm-3", "vm-0"]).refusal();
        assert!(said.contains("no instance 'wm-3' in the lab: did you mean 'vm-3'?"), "{said}");
        let said = home.run(&["fault", "add", "--peering", "none", "--cut"]).refusal();
        assert!(said.contains("there is no peering 'none' in the lab (there is none)"), "{said}");
        home.down();
    });
}
