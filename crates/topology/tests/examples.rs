//! The examples are good files, the schema in the repository is the one the parser has, and the two agree.

use std::{fs, path::PathBuf};
use tombolo_model::{InstanceKey, NetworkKey, PeeringState, Timestamp, World};
use tombolo_topology::{CheckKind, Probe, json_schema, parse};

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every example by file name, with its text.
fn examples() -> Vec<(String, String)> {
    let files = fs::read_dir(repository().join("examples")).unwrap().map(|f| f.unwrap().path());
    let yaml = files.filter(|f| f.extension().is_some_and(|e| e == "yaml"));
    let mut examples: Vec<_> = yaml
        .map(|f| (f.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(f).unwrap()))
        .collect();
    examples.sort();
    examples
}

fn world(name: &str) -> World {
    let text = fs::read_to_string(repository().join("examples").join(name)).unwrap();
    let topology = parse(name, &text).unwrap_or_else(|errors| panic!("{}", errors[0]));
    topology.world(Timestamp(0)).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the schema accepts the text, read by a YAML library that is not the parser's.
fn schema_accepts(text: &str) -> bool {
    let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    jsonschema::draft202012::new(&json_schema()).unwrap().is_valid(&value)
}

#[test]
fn every_example_makes_a_world_and_fits_the_schema() {
    let examples = examples();
    assert!(examples.len() >= 4, "{}", examples.len());
    for (name, text) in examples {
        world(&name);
        assert!(schema_accepts(&text), "{name}");
        assert!(!parse(&name, &text).unwrap().checks.is_empty(), "{name} checks nothing");
    }
}

#[test]
fn the_schema_in_the_repository_is_current() {
    let file = repository().join("schema/topology.schema.json");
    let want = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&file, &want).unwrap();
    }
    let have = fs::read_to_string(&file).unwrap_or_default();
    assert!(have == want, "{} is stale: run this test with UPDATE_SCHEMA=1", file.display());
}

#[test]
fn the_schema_is_a_schema_and_documents_every_key() {
    let schema = json_schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(definition["description"].as_str().is_some_and(|d| d.ends_with('.')), "{name}");
        for (key, property) in definition["properties"].as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|d| d.len() > 5), "{name}.{key}");
        }
    }
}

#[test]
fn parser_and_schema_refuse_the_same_forms() {
    let good = examples().into_iter().find(|(name, _)| name == "article.yaml").unwrap().1;
    for (old, new) in [
        ("projects:", "project:"),
        ("  - projectId: project-i-1", "  - projectId: p1"),
        (
            "    region: us-central1\n        ipCidrRange: 10.1",
            "    region: mars-1\n        ipCidrRange: 10.1",
        ),
        ("region: us-central1\n        ipCidrRange: 10.1.0.0/16", "region: us-central1"),
        ("ipCidrRange: 10.1.0.0/16", "ipCidrRange: 10.1.0.0/33"),
        ("ipCidrRange: 10.1.0.0/16", "ipCidrRange: 10.1.0/16"),
        ("ipCidrRange: 10.1.0.0/16", "ipCidrRange: [10.1.0.0/16]"),
        ("name: vpc-1\n", "name: VPC_1\n"),
        ("name: vpc-1\n", "name: vpc-1\n    mtu: 1200\n"),
        ("name: vpc-1\n", "name: vpc-1\n    mtu: '1460'\n"),
        ("name: vpc-1\n", "name: vpc-1\n    autoCreateSubnetworks: maybe\n"),
        ("        allowed:", "        denied: []\n        allowed:"),
        ("        allowed: [{IPProtocol: all}]\n", ""),
        ("zone: us-central1-a", "zone: us-central1-z"),
        ("networkIP: 10.1.0.2", "networkIP: 10.1.0"),
        ("port: 22", "port: 0"),
        ("protocol: icmp", "protocol: gre"),
        ("    to: vm-1\n    port: 22\n", ""),
        ("    authorizedNetwork: vpc-2\n", ""),
        (
            "    region: us-central1\n    authorizedNetwork",
            "    tier: GOLD\n    region: us-central1\n    authorizedNetwork",
        ),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good, "{old}");
        assert!(parse("bad.yaml", &bad).is_err(), "the parser accepts {new}");
        assert!(!schema_accepts(&bad), "the schema accepts {new}");
    }
}

#[test]
fn the_article_is_the_story() {
    let world = world("article.yaml");
    let (vpc_1, vpc_2) = (NetworkKey::new("project-i-1", "vpc-1"), NetworkKey::new("project-i-2", "vpc-2"));
    assert_eq!(world.peering_state(&vpc_1, &vpc_2), PeeringState::Active);
    assert_eq!(world.peering_state(&vpc_2, &vpc_1), PeeringState::Active);
    assert!(world.networks.keys().all(|k| k.name != "default"));
    for (project, name, address) in [
        ("project-i-1", "vm-1", "10.1.0.2"),
        ("project-i-2", "vm-2", "10.2.0.2"),
        ("project-i-2", "redis-proxy", "10.2.0.3"),
    ] {
        let instance = &world.instances[&InstanceKey::new(project, "us-central1-a", name)];
        assert_eq!(instance.nics[0].address.to_string(), address);
    }
    let redis = world.redis.values().next().unwrap();
    assert_eq!((redis.host.to_string().as_str(), redis.port), ("10.34.175.91", 6379));
    let proxy = &world.instances[&InstanceKey::new("project-i-2", "us-central1-a", "redis-proxy")];
    let script = &proxy.metadata["startup-script"];
    assert!(
        script.starts_with("#!/bin/sh\n") && script.contains("    - 10.34.175.91:6379:1\nEOF\n"),
        "{script}"
    );
}

#[test]
fn the_broken_variants_are_broken_where_they_say() {
    let (vpc_1, vpc_2) = (NetworkKey::new("project-i-1", "vpc-1"), NetworkKey::new("project-i-2", "vpc-2"));
    let one_sided = world("one-sided-peering.yaml");
    assert_eq!(one_sided.peering_state(&vpc_1, &vpc_2), PeeringState::Inactive);
    let no_rule = world("missing-firewall-rule.yaml");
    assert_eq!(no_rule.peering_state(&vpc_1, &vpc_2), PeeringState::Active);
    assert_eq!((one_sided.firewalls.len(), no_rule.firewalls.len()), (3, 2));
}

#[test]
fn checks_read_as_lines() {
    let text = fs::read_to_string(repository().join("examples/article.yaml")).unwrap();
    let checks = parse("article.yaml", &text).unwrap().checks;
    let lines: Vec<_> = checks.iter().map(|c| c.value.to_string()).collect();
    assert_eq!(
        lines,
        [
            "vm-1 to vm-2 icmp",
            "vm-2: redis-cli -h 10.34.175.91 set mykey myvalue",
            "vm-1 to redis-1 tcp:6379",
            "vm-1: redis-cli -h 10.2.0.3 get mykey",
            "vm-2 to vm-1 icmp",
            "vm-2 to vm-1 tcp:22",
        ]
    );
    let CheckKind::Probe { probe, reachable, .. } = &checks[5].value.kind else { panic!() };
    assert_eq!((*probe, *reachable), (Probe::Tcp(22), true));
}
