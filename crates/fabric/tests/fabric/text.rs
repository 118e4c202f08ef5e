//! What people read: golden texts in `golden/`, none of them wider than a terminal.

use crate::support::*;
use crate::tables::flow;
use crate::worlds::{flows, worlds};
use proptest::prelude::*;
use std::{fs, path::PathBuf};
use tombolo_fabric::text::{Packets, Report, render};
use tombolo_fabric::{compile, fixes, trace};
use tombolo_model::{Timestamp, World};

/// The whole report about a flow.
fn report(world: &World, flow: &tombolo_fabric::Flow, packets: Option<Packets>) -> String {
    let fabric = compile(world);
    let trace = trace(&fabric, flow);
    let fixes = fixes(world, &trace, Timestamp(0));
    let faults = &[];
    render(&Report { world, fabric: &fabric, trace: &trace, fixes: &fixes, packets, faults, stopped: false })
}

const STORY: &str = "project project-1
    network vpc-1
    subnet subnet-1 vpc-1 10.1.0.0/16
    vm vm-1 subnet-1
    network vpc-2
    subnet subnet-2 vpc-2 10.2.0.0/16
    vm vm-2 subnet-2
    allow vpc-1-allow-ssh vpc-1 tcp:22
    redis redis-1 vpc-2 10.34.175.88/29";
const PEERED: &str = "peer vpc-1-to-vpc-2 vpc-1 vpc-2\npeer vpc-2-to-vpc-1 vpc-2 vpc-1";
const INTERNAL: &str = "allow vpc-2-allow-internal vpc-2 all sources=10.0.0.0/8";

const ENDPOINT: &str = "nat-subnet nat-1 vpc-2 10.3.0.0/24
    target proxy vm-2
    forward rule-1 vpc-2 subnet-2=10.2.0.9 proxy tcp:6379
    publish redis rule-1 nat-1
    endpoint endpoint-1 vpc-1 subnet-1=10.1.0.9 redis
    allow vpc-2-allow-nat vpc-2 tcp:6379 sources=10.3.0.0/24";

/// UPDATE_GOLDEN=1 writes the texts: read them before keeping.
#[test]
fn traces_read_as_they_should() {
    let probes = Some(Packets { sent: 3, delivered: 0 });
    let long = "network a-network-with-a-name-that-fills-a-line-of-a-terminal-nearly\n\
        subnet s a-network-with-a-name-that-fills-a-line-of-a-terminal-nearly 10.3.0.0/16\n\
        vm a-machine-with-a-name-that-is-long s\n\
        peer p a-network-with-a-name-that-fills-a-line-of-a-terminal-nearly vpc-2\n\
        peer q vpc-2 a-network-with-a-name-that-fills-a-line-of-a-terminal-nearly";
    for (name, more, text, packets) in [
        ("story", &[PEERED][..], "vm-1 -> 10.34.175.91 tcp/6379", probes),
        ("story-open", &[PEERED, INTERNAL], "vm-1 -> 10.34.175.91 tcp/6379", None),
        ("one-sided", &["peer vpc-1-to-vpc-2 vpc-1 vpc-2"], "vm-1 -> 10.2.0.2 tcp/80", None),
        (
            "public-range",
            &[PEERED, "subnet far vpc-2 44.1.0.0/24\nvm vm-9 far\nallow web vpc-2 tcp:80"],
            "vm-1 -> 44.1.0.2 tcp/80",
            None,
        ),
        ("no-peering", &[], "vm-1 -> 10.2.0.2 tcp/80", None),
        (
            "firewall",
            &[PEERED, "deny no-web vpc-2 tcp:80 sources=10.1.0.0/16"],
            "vm-1 -> 10.2.0.2 tcp/80",
            None,
        ),
        (
            "policy",
            &[
                PEERED,
                INTERNAL,
                "policy p\npolicy-rule p 10 deny icmp ingress ranges=10.0.0.0/8\npolicy-rule p 9 deny tcp:9 ingress \
                 ranges=10.0.0.0/8\nassociate p on-2 vpc-2\npolicy-first vpc-2",
            ],
            "vm-1 -> 10.2.0.2 icmp",
            None,
        ),
        (
            "hierarchical-policy",
            &[
                PEERED,
                INTERNAL,
                "folder prod\nmove project-1 prod\nhierarchical p\nhierarchical q prod\nassociate ^p at org\n\
                 associate ^q at prod\npolicy-rule ^p 5 next icmp ranges=10.0.0.0/8\n\
                 policy-rule ^p 6 deny icmp ranges=10.0.0.0/8\npolicy-rule ^q 7 deny icmp ranges=10.0.0.0/8",
            ],
            "vm-1 -> 10.2.0.2 icmp",
            None,
        ),
        (
            "secure-tags",
            &[
                PEERED,
                "move project-1 org\ntag-key org/role auto\ntag-value org/role/client\ntag-value org/role/server\n\
                 bind vm-1 org/role/client\nbind vm-2 org/role/server\npolicy p\nassociate p on-2 vpc-2\n\
                 policy-rule p 10 deny tcp:80 from=org/role/client at=org/role/server",
            ],
            "vm-1 -> 10.2.0.2 tcp/80",
            None,
        ),
        ("no-way-out", &["vm vm-3 subnet-1"], "vm-1 -> 203.0.113.2 tcp/443", None),
        ("beyond", &[], "vm-1 -> 8.8.8.8 tcp/443", None),
        ("beyond-by-address", &["nat vm-1"], "vm-1 -> 8.8.8.8 icmp", probes),
        ("egress", &[PEERED, "deny no-out vpc-1 all egress"], "vm-1 -> 10.2.0.2 tcp/80", None),
        ("reachable", &[PEERED, INTERNAL], "vm-1 -> 10.2.0.2 icmp", Some(Packets { sent: 3, delivered: 3 })),
        ("endpoint", &[ENDPOINT], "vm-1 -> 10.1.0.9 tcp/6379", Some(Packets { sent: 3, delivered: 3 })),
        ("endpoint-from-a-peer", &[PEERED, ENDPOINT], "vm-2 -> 10.1.0.9 tcp/6379", None),
        ("long-names", &[long], "a-machine-with-a-name-that-is-long -> 10.34.175.91 tcp/6379", None),
    ] {
        let world = world(&format!("{STORY}\n{}", more.join("\n")));
        let have = report(&world, &flow(&compile(&world), text), packets);
        let golden = PathBuf::from(format!("{}/tests/fabric/golden/{name}.txt", env!("CARGO_MANIFEST_DIR")));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &have).unwrap();
        }
        assert_eq!(have, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
        let widest = have.lines().max_by_key(|l| l.chars().count()).unwrap();
        assert!(widest.chars().count() <= 80, "{name}: {widest}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_wider_than_a_terminal(world in worlds(), flows in prop::collection::vec(flows(), 6)) {
        let fabric = compile(&world);
        for flow in flows {
            let text = report(&world, &flow.place(&fabric), Some(Packets { sent: 3, delivered: 0 }));
            prop_assert!(text.ends_with('\n'));
            for line in text.lines() {
                prop_assert!(line.chars().count() <= 80 && line.trim_end() == line, "{}", text);
            }
        }
    }
}
