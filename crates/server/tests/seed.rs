//! Worlds as topology files, files as requests: what goes in comes out.

use fastrand::Rng;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_api::State;
use tombolo_model::flow_log::FlowLog;
use tombolo_model::{
    AddressKey, AddressSpec, Change, NatRanges, NatSources, NatSpec, RecordSet, Reserve, Timestamp, World,
    project,
};
use tombolo_server::seed::state;
use tombolo_topology::{export, parse};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn example(name: &str) -> String {
    let path = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The State of a file by its requests, which is the World of its changes.
fn by_requests(text: &str) -> State {
    let topology = parse("f", text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
    let state = state(&topology, NOW).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(state.world, topology.world(NOW).expect("a World"), "{text}");
    state
}

/// What packets and names depend on in a World: its rows without ids and times, and without what is named by ids.
fn essence(world: &World) -> BTreeMap<(String, String), Value> {
    let mut rows = BTreeMap::new();
    for row in world.changed(&World::default()).expect("rows") {
        let Some(Value::Object(mut fields)) = row.value else { continue };
        if fields.get("description") == Some(&json!("Default route to the Internet.")) {
            continue;
        }
        let keep = |name: &String| {
            ![
                "id",
                "creationTimestamp",
                "createTime",
                "lastStart",
                "lastStop",
                "number",
                "networkId",
                "starts",
            ]
            .contains(&name.as_str())
        };
        fields.retain(|name, _| keep(name));
        if row.kind == "managedZones" {
            // What came of its records counts, not in how many changes.
            fields.retain(|name, _| !["changes", "updates"].contains(&name.as_str()));
        }
        // Which address is free is another matter, where more is said.
        for nat in fields.get_mut("nats").and_then(Value::as_array_mut).into_iter().flatten() {
            if nat["spec"]["addresses"].is_null() {
                nat["addresses"] = json!(null);
            }
        }
        let peerings = fields.get_mut("peerings").and_then(Value::as_array_mut);
        let side = |peering: &Value| {
            let name = peering["name"].as_str().unwrap_or_default();
            let name = if name.starts_with("redis-peer-") { "" } else { name };
            (peering["peer"].as_str().unwrap_or_default().to_owned(), json!(name))
        };
        if let Some(peerings) = peerings {
            let sides: BTreeMap<String, Value> = peerings.iter().map(side).collect();
            *peerings = vec![Value::Object(sides.into_iter().collect::<Map<_, _>>())];
        }
        rows.insert((row.kind, row.key), Value::Object(fields));
    }
    rows
}

#[test]
fn examples_are_requests() {
    let all = std::fs::read_dir(format!("{}/../../examples", env!("CARGO_MANIFEST_DIR"))).expect("examples");
    let names = all.map(|entry| entry.expect("an example").file_name().into_string().expect("a name"));
    let names: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let world = by_requests(&example(&name)).world;
        let exported = export(&world);
        // Its instances say which IPv6 addresses they have, and files do not.
        if name == "dual-stack.yaml" {
            continue;
        }
        assert_eq!(exported.lost, Vec::<String>::new(), "{name}");
        assert_eq!(essence(&by_requests(&exported.text).world), essence(&world), "{}", exported.text);
    }
}

/// Random worlds: what does not come back is told, each resource by its name; often all of it comes back.
#[test]
fn random_worlds_come_back() {
    let (mut whole, mut with_aliases, mut gateways) = (0, 0, 0);
    for seed in 0..400 {
        let world = tombolo_agree::world(&mut Rng::with_seed(seed));
        let exported = export(&world);
        if exported.lost.iter().any(|line| line.starts_with("all of it: made anew")) {
            // Only the order of its changes allowed it, such as a Redis instance whose peering was deleted later.
            continue;
        }
        // Files have no words for reserved addresses, which gateways may have.
        let wordless = |line: &String| line.contains("/routers/") || line.contains("/addresses/");
        let routers = exported.lost.iter().any(|line| line.contains("/routers/"));
        gateways += usize::from(exported.text.contains("nats:") && !routers);
        whole += usize::from(exported.lost.iter().all(wordless));
        with_aliases += usize::from(
            exported.text.contains("aliasIpRanges") && exported.text.contains("secondaryIpRanges"),
        );
        let (before, after) = (essence(&world), essence(&by_requests(&exported.text).world));
        let rows: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for row @ (kind, key) in rows.into_iter().filter(|row| before.get(row) != after.get(row)) {
            let told = exported.lost.iter().any(|line| line.contains(key.as_str()));
            assert!(told, "seed {seed}: {kind} {key}: {:?} {:?}", before.get(row), after.get(row));
        }
    }
    eprintln!("{whole} of 400 worlds were whole");
    assert!(whole > 0 && with_aliases > 0 && gateways > 0, "{whole}, {with_aliases}, {gateways}");
}

#[test]
fn what_a_file_cannot_say_is_told() {
    let id = "project-1".to_owned();
    let world = by_requests(&example("single-vpc.yaml")).world;
    let network = world.networks.keys().next().expect("a network").clone();
    let said = [("description".to_owned(), json!("mine")), ("routingConfig".to_owned(), json!({}))];
    let route = world.routes.keys().next().expect("its default route").clone();
    let changes = [
        Change::Describe { resource: network.to_string(), details: said.into_iter().collect() },
        Change::RouteDelete(route),
        // A project without Compute: a file always enables it.
        Change::ProjectCreate(id.clone()),
        Change::ServiceEnable { project: id, service: project::REDIS.to_owned() },
    ];
    let world = changes.iter().try_fold(world, |world, change| world.apply(change, NOW)).expect("legal");
    let exported = export(&world);
    for want in [
        format!("{network}: description, routingConfig"),
        format!("that there is no {network}/default-route"),
        "projects/project-1: services".to_owned(),
    ] {
        assert!(exported.lost.contains(&want), "{want}: {:?}", exported.lost);
    }
    assert_eq!((exported.lost.len(), exported.is_whole), (3, false), "{:?}", exported.lost);
    // What is only said is told, too, and no lab is another one for it.
    let said = [("labels".to_owned(), json!({}))].into_iter().collect();
    let change = Change::Describe { resource: network.to_string(), details: said };
    let world = by_requests(&example("single-vpc.yaml")).world.apply(&change, NOW).expect("legal");
    let exported = export(&world);
    assert_eq!((exported.lost, exported.is_whole), (vec![format!("{network}: labels")], true));
}

#[test]
fn what_a_redis_instance_asks_for_comes_back() {
    let text = "
projects: [{projectId: project-1}]
networks: [{name: vpc-1, subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.3.0.0/24}]}]
redis:
  - {name: plain, region: us-central1, authorizedNetwork: vpc-1, memorySizeGb: 2}
  - {name: secret, region: us-central1, authorizedNetwork: vpc-1, authEnabled: true, transitEncryptionMode: SERVER_AUTHENTICATION}
";
    let world = by_requests(text).world;
    let auth: Vec<_> = world.redis.values().map(|redis| redis.auth > 0).collect();
    assert_eq!(auth, [false, true]);
    let exported = export(&world);
    assert_eq!(exported.lost, Vec::<String>::new());
    assert_eq!(essence(&by_requests(&exported.text).world), essence(&world));
}

/// What was made by the API, in other words or in parts, is the same in a file.
#[test]
fn gateways_flow_logs_and_zones_come_back() {
    let text = example("nat-and-private-zone.yaml");
    let world = by_requests(&text).world;
    let lists = [world.routers.len(), world.managed_zones.len(), world.details.len()];
    assert_eq!(lists, [1, 2, 1]);
    let subnetwork = "projects/project-1/regions/us-central1/subnetworks/subnet-1";
    let zone = world.managed_zones.keys().next().expect("a zone").clone();
    let records = |kind: &str, value: &str| RecordSet {
        name: "corp.example.".to_owned(),
        r#type: kind.to_owned(),
        ttl: 300,
        rrdatas: vec![value.to_owned()],
    };
    let (mail, text) = (records("MX", "10 db.corp.example."), records("TXT", "\"v=1\" two"));
    let change = |deletions: &[&RecordSet], additions: &[&RecordSet]| Change::RecordSetsChange {
        zone: zone.clone(),
        deletions: deletions.iter().map(|set| (*set).clone()).collect(),
        additions: additions.iter().map(|set| (*set).clone()).collect(),
    };
    let old_name = [("enableFlowLogs".to_owned(), json!(true))];
    let changes = [
        Change::Describe { resource: subnetwork.to_owned(), details: old_name.into_iter().collect() },
        change(&[], &[&mail, &text]),
        change(&[&text], &[]),
    ];
    let world = changes.iter().try_fold(world, |world, change| world.apply(change, NOW)).expect("legal");
    let exported = export(&world);
    assert_eq!(exported.lost, Vec::<String>::new());
    let again = by_requests(&exported.text).world;
    assert_eq!(again.managed_zones[&zone].records, world.managed_zones[&zone].records);
    let log = |world: &World| FlowLog::of(&world.details[subnetwork]).expect("a log");
    assert_eq!(log(&again), log(&world));
    assert!(log(&again).is_some_and(|log| log.sampling == 0.5));
    // An address that was reserved for a gateway has no words, nor have an apex' own records that are others now.
    let apex = world.managed_zones[&zone].records["corp.example. NS"].clone();
    let reserve = AddressSpec {
        key: AddressKey::regional("project-1", "us-central1", "a-1"),
        reserve: Reserve::External { address: None },
    };
    let router = world.routers.keys().next().expect("a router").clone();
    let sources = NatSources::AllSubnetworks(NatRanges::Primary);
    let addresses = Some(vec![reserve.key.clone()]);
    let nat = NatSpec { name: "nat-1".into(), addresses, sources, min_ports_per_vm: Some(64) };
    let changes = [
        Change::AddressInsert(reserve),
        Change::RouterSetNats { router: router.clone(), nats: vec![nat] },
        change(&[&apex], &[&records("NS", "ns.corp.example.")]),
    ];
    let world = changes.iter().try_fold(world, |world, change| world.apply(change, NOW)).expect("legal");
    let exported = export(&world);
    let address = "projects/project-1/regions/us-central1/addresses/a-1".to_owned();
    let want = [address, format!("{router}: nats"), format!("{zone}: records")];
    assert_eq!(exported.lost.iter().collect::<BTreeSet<_>>(), want.iter().collect());
    assert!(!exported.is_whole);
}

#[test]
fn networks_named_default_and_stopped_instances_come_back() {
    let text = "
projects: [{projectId: project-1, services: [cloudapis.googleapis.com], defaultNetwork: true}, {projectId: project-2}]
networks:
  - {name: default, project: project-2, autoCreateSubnetworks: true, mtu: 1500}
instances:
  - name: vm-1
    project: project-1
    zone: us-east1-b
    networkInterfaces: [{subnetwork: default}]
    status: TERMINATED
    metadata: {items: [{key: k, value: \"y\"}, {key: e, value: \"\"}, {key: l, value: \" a\\nb\\n\\n\"}]}
    startupScript: \"#!/bin/sh\\n  echo: 'x' # \\n\"
";
    let world = by_requests(text).world;
    assert!(world.instances.values().all(|instance| !instance.running));
    let exported = export(&world);
    assert_eq!(exported.lost, Vec::<String>::new());
    assert!(exported.text.contains("defaultNetwork: true"), "{}", exported.text);
    assert_eq!(essence(&by_requests(&exported.text).world), essence(&world));
    // A rule of `default` that is gone makes it a network like any other.
    let rule = tombolo_model::FirewallKey::new("project-1", "default-allow-rdp");
    let world = world.apply(&Change::FirewallDelete(rule), NOW).expect("legal");
    let exported = export(&world);
    assert_eq!(exported.lost, Vec::<String>::new());
    assert!(!exported.text.contains("defaultNetwork"), "{}", exported.text);
    assert_eq!(essence(&by_requests(&exported.text).world), essence(&world));
}
