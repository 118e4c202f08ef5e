//! Shared VPC and private services access in a file: what they become, what is refused where, and that an export of
//! the World is the same file again.

use std::fs;
use tombolo_model::{AddressKey, AddressSpec, Change, ConnectMode, NetworkKey, Reserve, Timestamp};
use tombolo_topology::{export, parse};

fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn a_shared_vpc_is_made_in_order() {
    let topology = parse("shared-vpc.yaml", &example("shared-vpc.yaml")).unwrap();
    let lines: Vec<String> = topology.changes.iter().map(|change| change.value.to_string()).collect();
    let at = |line: &str| {
        lines.iter().position(|have| have == line).unwrap_or_else(|| panic!("{line}: {lines:#?}"))
    };
    let order = [
        "enable servicenetworking.googleapis.com in project-host",
        "make project-host a Shared VPC host",
        "attach project-i-1 to project-host",
        "attach project-i-2 to project-host",
        "create network vpc-shared",
        "reserve address google-managed-services",
        "connect vpc-shared to Google's services",
        "create redis redis-1 for vpc-shared",
    ];
    assert!(order.is_sorted_by_key(|line| at(line)));
    assert_eq!(lines.iter().filter(|line| line.starts_with("make ")).count(), 1);
    let Some(Change::RedisInsert(spec)) = topology.changes.last().map(|change| &change.value) else {
        panic!()
    };
    assert_eq!(spec.authorized_network, NetworkKey::new("project-host", "vpc-shared"));
    assert_eq!(spec.connect_mode, ConnectMode::PrivateServiceAccess { range: None });
}

#[test]
fn an_export_is_the_same_world() {
    for name in ["shared-vpc.yaml", "private-service-access.yaml", "private-service-connect.yaml"] {
        let world = parse(name, &example(name)).unwrap().world(Timestamp(0)).unwrap();
        let exported = export(&world);
        assert_eq!(exported.lost, Vec::<String>::new(), "{}", exported.text);
        let again = parse("again", &exported.text).unwrap().world(Timestamp(0)).unwrap();
        let hosts =
            |world: &tombolo_model::World| world.redis.values().map(|redis| redis.host).collect::<Vec<_>>();
        assert_eq!(hosts(&again), hosts(&world));
    }
}

#[test]
fn a_published_service_is_made_in_order() {
    let topology = parse("private-service-connect.yaml", &example("private-service-connect.yaml")).unwrap();
    let lines: Vec<String> = topology.changes.iter().map(|change| change.value.to_string()).collect();
    let at = |line: &str| {
        lines.iter().position(|have| have == line).unwrap_or_else(|| panic!("{line}: {lines:#?}"))
    };
    let order = [
        "create NAT subnetwork nat-1 10.3.0.0/24",
        "create instance redis-proxy in us-central1-a",
        "create target instance redis-proxy for redis-proxy",
        "create forwarding rule rule-1 in us-central1",
        "create service attachment redis of rule-1",
        "create forwarding rule endpoint-1 in us-central1",
    ];
    assert!(order.is_sorted_by_key(|line| at(line)));
    // What the file does not say is there, and is told where it is lost: here, a reserved address.
    let world = topology.world(Timestamp(0)).unwrap();
    let reserve = Change::AddressInsert(AddressSpec {
        key: AddressKey::regional("project-i-1", "us-central1", "a-1"),
        reserve: Reserve::Internal {
            subnetwork: "projects/project-i-1/regions/us-central1/subnetworks/subnet-1".parse().unwrap(),
            address: Some([10, 1, 0, 9].into()),
        },
    });
    let world = world.apply(&reserve, Timestamp(0)).unwrap();
    assert_eq!(export(&world).lost, ["projects/project-i-1/regions/us-central1/addresses/a-1"]);
}

/// A range may go while an instance is in it: then no file makes that instance.
#[test]
fn a_redis_instance_whose_range_is_gone_is_not_in_the_file() {
    let world = parse("x", &example("private-service-access.yaml")).unwrap().world(Timestamp(0)).unwrap();
    assert!(export(&world).is_whole);
    let key = AddressKey::global("project-i-2", "google-managed-services");
    let world = world.apply(&Change::AddressDelete(key), Timestamp(0)).unwrap();
    let exported = export(&world);
    assert!(!exported.is_whole && exported.lost[0].starts_with("all of it"), "{:?}", exported.lost);
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let good = example("private-service-access.yaml");
    for (old, new, path, message) in [
        (
            "    connectMode: PRIVATE_SERVICE_ACCESS\n",
            "",
            "redis[0].reservedIpRange",
            "the name of an allocated range needs connectMode: PRIVATE_SERVICE_ACCESS",
        ),
        (
            "reservedIpRange: google-managed-services",
            "reservedIpRange: 10.64.0.0/29",
            "redis[0].reservedIpRange",
            "with PRIVATE_SERVICE_ACCESS it must be the name of an allocated range",
        ),
        (
            "  - projectId: project-i-2\n",
            "  - projectId: project-i-2\n    hostProject: project-3\n",
            "projects[1].hostProject",
            "there is no project 'project-3' in this file",
        ),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good, "{old}");
        let text = parse("bad.yaml", &bad).unwrap_err()[0].to_string();
        assert!(text.contains(path) && text.contains(message), "{text}");
    }
    for (old, new, path, message) in [
        (
            "reservedPeeringRanges: [google-managed-services]",
            "reservedPeeringRanges: [other]",
            "networks[1].privateServicesAccess.reservedPeeringRanges",
            "Allocated IP range 'other' not found in network.",
        ),
        (
            "    privateServicesAccess:\n      reservedPeeringRanges: [google-managed-services]\n",
            "",
            "redis[0]",
            "Google private service access is not enabled. Enable private service access and try again",
        ),
        (
            "authorizedNetwork: vpc-2",
            "authorizedNetwork: vpc-1",
            "redis[0].authorizedNetwork",
            "Invalid network name vpc-1. Project project-i-1 referenced is not the host project for project-i-2.",
        ),
    ] {
        let bad = good.replacen(old, new, 1);
        assert_ne!(bad, good, "{old}");
        let text = parse("bad.yaml", &bad).unwrap().world(Timestamp(0)).unwrap_err().to_string();
        assert!(text.contains(path) && text.contains(message), "{text}");
    }
}
