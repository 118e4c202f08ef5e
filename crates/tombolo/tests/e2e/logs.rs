//! What firewall rules log and count, of real connections.

use crate::support::{Home, as_each_user, eventually};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Two networks that are peers, each with a VM. In vpc-2 one rule logs all, one only the connection, one nothing.
const LAB: &str = "
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    peerings: [{name: a-to-b, network: vpc-2}]
    firewalls:
      - {name: out, direction: EGRESS, allowed: [{IPProtocol: all}], logConfig: {enable: true}}
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-east1, ipCidrRange: 10.2.0.0/24}]
    peerings: [{name: b-to-a, network: vpc-1}]
    firewalls:
      - name: web
        allowed: [{IPProtocol: tcp, ports: ['80', 8000-8009]}]
        sourceRanges: [10.1.0.0/16]
        targetTags: [web]
        priority: 900
        logConfig: {enable: true, metadata: INCLUDE_ALL_METADATA}
      - name: no-telnet
        denied: [{IPProtocol: tcp, ports: [23]}]
        logConfig: {enable: true, metadata: EXCLUDE_ALL_METADATA}
      - {name: ping, allowed: [{IPProtocol: icmp}], logConfig: {enable: true}}
      - {name: quiet, allowed: [{IPProtocol: tcp, ports: [9]}], logConfig: {enable: false}}
instances:
  - name: vm-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.2}]
  - name: vm-2
    zone: us-east1-b
    networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.2}]
    tags: [web]
";

/// Tries to connect from vm-1 to vm-2, from a certain port: nothing listens there, so that an attempt is refused or lost.
fn connect(home: &Home, from: u16, to: u16) {
    let script = format!(
        "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(PeerAddr => q(10.2.0.2:{to}), LocalPort => {from}, \
         Timeout => 0.5); exit 0'"
    );
    home.sh("vm-1", &script).exits(0);
}

fn logged(home: &Home, more: &[&str]) -> Vec<Value> {
    let all = home.run(&[&["logs", "firewall", "--format", "json"], more].concat()).json(0);
    all.as_array().expect("a list").clone()
}

/// Of entries: the rule and the ports.
fn brief(entries: &[Value]) -> Vec<String> {
    let one = |entry: &Value| {
        let (payload, connection) = (&entry["jsonPayload"], &entry["jsonPayload"]["connection"]);
        let reference = payload["rule_details"]["reference"].as_str().expect("a reference");
        let ports = [&connection["src_port"], &connection["dest_port"]];
        format!("{} {reference} {}-{}", payload["disposition"].as_str().expect("a word"), ports[0], ports[1])
    };
    entries.iter().map(one).collect()
}

#[test]
fn hits_of_rules_that_log_are_readable() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        assert_eq!(logged(home, &[]), Vec::<Value>::new());
        connect(home, 40001, 80);
        connect(home, 40002, 9);
        home.sh("vm-1", "ping -c1 -W2 10.2.0.2").exits(0);
        let both =
            ["ALLOWED network:vpc-1/firewall:out 40001-80", "ALLOWED network:vpc-2/firewall:web 40001-80"];
        let quiet = ["ALLOWED network:vpc-1/firewall:out 40002-9"];
        let all = logged(home, &[]);
        assert_eq!(
            brief(&all),
            [&both[..], &quiet].concat(),
            "no ICMP, and nothing of a rule that does not log"
        );
        let entry = &all[1];
        let vm = |name: &str, zone: &str| {
            let region = zone.rsplit_once('-').unwrap().0;
            json!({ "project_id": "project-1", "vm_name": name, "region": region, "zone": zone })
        };
        let vpc = |n: u8| {
            json!({
                "project_id": "project-1",
                "vpc_name": format!("vpc-{n}"),
                "subnetwork_name": format!("subnet-{n}"),
            })
        };
        let want = json!({
            "connection":
                { "src_ip": "10.1.0.2", "src_port": 40001, "dest_ip": "10.2.0.2", "dest_port": 80, "protocol": 6 },
            "disposition": "ALLOWED",
            "rule_details": {
                "reference": "network:vpc-2/firewall:web",
                "action": "ALLOW",
                "direction": "INGRESS",
                "priority": 900,
                "ip_port_info": [{ "ip_protocol": "TCP", "port_range": ["80", "8000-8009"] }],
                "source_range": ["10.1.0.0/16"],
                "target_tag": ["web"],
            },
            "instance": vm("vm-2", "us-east1-b"),
            "vpc": vpc(2),
            "remote_instance": vm("vm-1", "us-central1-a"),
            "remote_vpc": vpc(1),
        });
        assert_eq!(entry["jsonPayload"], want);
        assert_eq!(entry["logName"], "projects/project-1/logs/compute.googleapis.com%2Ffirewall");
        assert_eq!(entry["resource"]["type"], "gce_subnetwork");
        assert_eq!(entry["resource"]["labels"]["location"], "us-east1");
        assert!(entry["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{entry}");

        // What is denied, and told in few words; a retry of the same connection is another hit.
        connect(home, 40003, 23);
        let denied = logged(home, &["--rule", "no-telnet"]);
        assert!(!denied.is_empty());
        let payload = &denied[0]["jsonPayload"];
        assert_eq!(
            (&payload["disposition"], &payload["rule_details"]["action"]),
            (&json!("DENIED"), &json!("DENY"))
        );
        let fields: Vec<&String> = payload.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["connection", "disposition", "rule_details"], "without metadata");
        assert_eq!(brief(&logged(home, &["--vm", "vm-2", "--rule", "web"])), both[1..]);
        assert_eq!(brief(&logged(home, &["--vm", "vm-1", "--rule", "web"])), [""; 0]);
        let text = home.run(&["logs", "firewall", "--rule", "web"]).exits(0);
        assert!(
            text.ends_with("ALLOWED  INGRESS  vpc-2/web  vm-2  10.1.0.2:40001 -> 10.2.0.2:80 tcp\n"),
            "{text}"
        );
        let error = home.run(&["logs", "firewall", "--rule", "wed"]).refusal();
        assert!(error.contains("there is no firewall rule 'wed'"), "{error}");

        counts(home);
        follow(home);

        // A rule that no longer logs is quiet; what it logged stays, with what it did then.
        let rules = ["compute", "firewall-rules", "--project", "project-1"];
        home.run(&[&rules[..], &["update", "web", "--no-enable-logging"]].concat()).exits(0);
        let before = logged(home, &["--rule", "web"]).len();
        connect(home, 40009, 80);
        home.run(&[&rules[..], &["delete", "web", "--quiet"]].concat()).exits(0);
        let more = ["--network", "vpc-2", "--allow", "tcp:81", "--enable-logging", "--logging-metadata"];
        home.run(&[&rules[..], &["create", "more"], &more, &["exclude-all"]].concat()).exits(0);
        let config = home.run(&[&rules[..], &["describe", "more", "--format", "json"]].concat()).json(0);
        assert_eq!(config["logConfig"], json!({ "enable": true, "metadata": "EXCLUDE_ALL_METADATA" }));
        connect(home, 40010, 81);
        assert_eq!(
            brief(&logged(home, &["--rule", "more"])),
            ["ALLOWED network:vpc-2/firewall:more 40010-81"]
        );
        let after = logged(home, &["--rule", "web"]);
        assert_eq!((after.len(), &after[0]["jsonPayload"]["disposition"]), (before, &json!("ALLOWED")));
        home.down();
    });
}

/// Every rule counts, also those that log nothing and those that nobody made.
fn counts(home: &Home) {
    let all = home.run(&["logs", "firewall", "--counts", "--format", "json"]).json(0);
    let of = |network: &str, rule: &str| {
        let count = all.as_array().unwrap().iter().find(|c| c["network"] == network && c["rule"] == rule);
        count.unwrap_or_else(|| panic!("{rule} in {all}")).clone()
    };
    for (network, rule, hits) in [
        ("vpc-2", "web", 1),
        ("vpc-2", "ping", 1),
        ("vpc-2", "quiet", 1),
        ("vpc-2", "default-deny-ingress", 0),
    ] {
        assert_eq!(of(network, rule)["hits"], hits, "{rule}");
    }
    assert!(of("vpc-2", "no-telnet")["hits"].as_u64() >= Some(1));
    assert!(of("vpc-1", "out")["hits"].as_u64() >= Some(4));
    let text = home.run(&["logs", "firewall", "--counts", "--rule", "quiet"]).exits(0);
    let want =
        "NETWORK  RULE   DIRECTION  ACTION  PRIORITY  HITS\nvpc-2    quiet  INGRESS    ALLOW   1000      1\n";
    assert_eq!(text, want);
}

/// With `--follow`, what was logged comes first, then what is.
fn follow(home: &Home) {
    let mut command = home.command(&["logs", "firewall", "--rule", "web", "--follow", "--format", "json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || brief(&[serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()]).remove(0);
    assert_eq!(next(), "ALLOWED network:vpc-2/firewall:web 40001-80");
    connect(home, 40004, 8000);
    assert_eq!(next(), "ALLOWED network:vpc-2/firewall:web 40004-8000");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What has passed of connections, in a subnetwork that logs it; its peer does not.
#[test]
fn flows_are_logged_by_the_subnetworks_that_say_so() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        let subnets = ["compute", "networks", "subnets"];
        let which = ["subnet-1", "--region", "us-central1", "--project", "project-1"];
        let on = ["--enable-flow-logs", "--logging-flow-sampling", "1"];
        home.run(&[&subnets[..], &["update"], &which, &on].concat()).exits(0);
        let shown = home.run(&[&subnets[..], &["describe"], &which, &["--format", "json"]].concat()).json(0);
        let config = json!({
            "enable": true,
            "aggregationInterval": "INTERVAL_5_SEC",
            "filterExpr": "true",
            "flowSampling": 1.0,
            "metadata": "INCLUDE_ALL_METADATA",
        });
        assert_eq!((&shown["logConfig"], &shown["enableFlowLogs"]), (&config, &json!(true)));

        let flows = |more: &[&str]| {
            let all = home.run(&[&["logs", "flows", "--format", "json"], more].concat()).json(0);
            all.as_array().expect("a list").clone()
        };
        eventually("an interval is over", || {
            home.sh("vm-1", "ping -n -q -c1 -W2 -s 72 10.2.0.2").exits(0);
            flows(&[]).len() >= 2
        });
        let all = flows(&[]);
        for (entry, reporter, source) in [(&all[0], "SRC", "10.1.0.2"), (&all[1], "DEST", "10.2.0.2")] {
            let payload = &entry["jsonPayload"];
            assert_eq!(
                (&payload["reporter"], &payload["connection"]["src_ip"]),
                (&json!(reporter), &json!(source))
            );
            assert_eq!(payload["connection"]["protocol"], 1);
            let number = |field: &str| payload[field].as_str().unwrap().parse::<u64>().unwrap();
            // Headers of IP and ICMP, and 72 bytes.
            assert_eq!(number("bytes_sent"), number("packets_sent") * 100, "{payload}");
            let (near, far) = if reporter == "SRC" { ("src", "dest") } else { ("dest", "src") };
            assert_eq!(payload[format!("{near}_instance")]["vm_name"], "vm-1");
            assert_eq!(payload[format!("{far}_vpc")]["subnetwork_name"], "subnet-2");
            assert_eq!(entry["resource"]["labels"]["subnetwork_name"], "subnet-1");
        }
        assert_eq!(flows(&["--vm", "vm-2"]), Vec::<Value>::new(), "its subnetwork logs nothing");
        let text = home.run(&["logs", "flows", "--vm", "vm-1"]).exits(0);
        assert!(text.contains("  SRC   vpc-1  10.1.0.2 -> 10.2.0.2 icmp, "), "{text}");

        let custom = ["--logging-flow-sampling", "7"];
        let refused = home.run(&[&subnets[..], &["update"], &which, &custom].concat());
        assert!(refused.code == 1 && refused.err.contains("logConfig.flowSampling"), "{refused:?}");
        home.run(&[&subnets[..], &["update"], &which, &["--no-enable-flow-logs"]].concat()).exits(0);
        let shown = home.run(&[&subnets[..], &["describe"], &which, &["--format", "json"]].concat()).json(0);
        assert_eq!(shown["enableFlowLogs"], false);
        home.down();
    });
}

#[test]
fn what_follows_a_lab_ends_with_it() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        connect(home, 40000, 80);
        let mut command = home.command(&["logs", "firewall", "--follow"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Now it is at it.
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.contains("vpc-1/out"), "{line}");
        home.down();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), "the lab has ended\n"));
        // One that never was is an error.
        let said = home.run(&["logs", "flows", "--follow"]).refusal();
        assert!(said.contains("no lab is up"), "{said}");
    });
}
