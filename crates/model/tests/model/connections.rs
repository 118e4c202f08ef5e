//! Private services access: connections to Google's services, and Redis instances behind them, with a Shared VPC too.

use crate::support::*;
use tombolo_model::*;

/// A host project with a network and an allocated range, and a service project.
const SETUP: &str = "project project-1
    project project-2
    enable servicenetworking.googleapis.com project-1
    host project-1
    attach project-2 project-1
    network vpc-1
    subnet subnet-1 vpc-1 10.1.0.0/16
    reserve global/range-1 range vpc-1 10.64.0.0 28
    reserve global/range-2 range vpc-1 10.65.0.0 24
    network vpc-9
    reserve global/range-9 range vpc-9 10.66.0.0 24";

fn with(lines: &str) -> World {
    world(&format!("{SETUP}\n{lines}"))
}

fn names(world: &World, of: &str) -> Vec<String> {
    world.networks[&network(of)].peerings.iter().map(|p| p.name.clone()).collect()
}

#[test]
fn instances_of_all_projects_are_in_the_allocated_ranges() {
    let world = with(
        "connect vpc-1 range-1,range-2
        redis redis-1 vpc-1 from=any
        redis project-2/redis-1 project-1/vpc-1 from=range-1
        redis project-2/redis-2 project-1/vpc-1 from=range-1",
    );
    assert_eq!(names(&world, "vpc-1"), ["servicenetworking-googleapis-com"]);
    let tenants: std::collections::BTreeSet<_> = world.redis.values().map(|r| &r.tenant_network).collect();
    assert_eq!(tenants.len(), 1, "one tenant network for all");
    let tenant = tenants.first().unwrap();
    assert_eq!(world.peering_state(&network("vpc-1"), tenant), PeeringState::Active);
    let one: ipnet::Ipv4Net = "10.64.0.0/28".parse().unwrap();
    let range = |name: &str| world.redis[&redis(name)].reserved_ip_range;
    assert!(one.contains(&range("project-2/redis-1")) && one.contains(&range("project-2/redis-2")));
    assert_ne!(range("project-2/redis-1"), range("project-2/redis-2"));
    // A /28 has two /29s.
    let full = "redis project-2/redis-3 project-1/vpc-1 from=range-1";
    assert_eq!(refusal(&world, full), Refusal::AllocatedRangesExhausted);
    let world = then(&world, "delete redis project-2/redis-1", 0);
    let world = then(&world, full, 0);
    assert_eq!(world.redis.len(), 3);
    assert_eq!(World::from_rows(world.changed(&World::default()).unwrap()).unwrap(), world);
}

#[test]
fn who_may_connect_what() {
    let world = with("connect vpc-1 range-1");
    for (line, message) in [
        (
            "redis r vpc-9 from=any",
            "Google private service access is not enabled. Enable private service access and try again",
        ),
        (
            "redis project-2/r project-2/vpc-1 from=any",
            "The resource 'projects/project-2/global/networks/vpc-1' was not found",
        ),
        (
            "redis r project-2/vpc-1 from=any",
            "Invalid network name vpc-1. Project project-2 referenced is not the host project for project-1.",
        ),
        (
            "redis project-2/r project-1/vpc-1",
            "authorized_network must exist in the same project as redis instance",
        ),
        (
            "redis r vpc-1 from=range-2",
            "Invalid value for field 'resource.reservedIpRange': 'range-2'. Must be the name of an allocated address range of \
             the private connection.",
        ),
        (
            "redis r vpc-1 10.64.0.0/29 from=any",
            "Invalid value for field 'resource.reservedIpRange': '10.64.0.0/29'. Must be the name of an allocated address \
             range of the private connection.",
        ),
        ("connect vpc-1 range-9", "Allocated IP range 'range-9' not found in network."),
        (
            "connect vpc-1 range-1,range-2",
            "Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection.",
        ),
        (
            "reconnect vpc-1 range-2",
            "Invalid value for field 'resource.reservedPeeringRanges': 'range-1'. A range that the connection has already \
             may be left out only with force.",
        ),
        (
            "disconnect vpc-9",
            "The resource 'services/servicenetworking.googleapis.com/connections/servicenetworking-googleapis-com' was not \
             found",
        ),
    ] {
        assert_eq!(refusal(&world, line).to_string(), message, "{line}");
    }
    let off =
        crate::support::world(&SETUP.replace("enable servicenetworking.googleapis.com project-1\n", ""));
    assert!(matches!(refusal(&off, "connect vpc-1 range-1"), Refusal::ServiceDisabled { .. }));
}

#[test]
fn a_connection_ends_when_nothing_is_behind_it() {
    let world = with(
        "connect vpc-1 range-1
        redis project-2/redis-1 project-1/vpc-1 from=any",
    );
    assert_eq!(refusal(&world, "disconnect vpc-1"), Refusal::ConnectionInUse);
    assert!(matches!(refusal(&world, "detach project-2 project-1"), Refusal::InUse { .. }));
    let world = then(&world, "delete redis project-2/redis-1", 0);
    let managed = |world: &World| world.networks.values().filter(|network| network.google_managed).count();
    assert_eq!(managed(&world), 1, "the connection keeps its tenant network");
    let world = then(&world, "disconnect vpc-1", 0);
    assert_eq!((managed(&world), names(&world, "vpc-1").len(), world.connections.len()), (0, 0, 0));
    let world = then(&world, "connect vpc-1 range-2", 0);
    let world = then(&world, "reconnect vpc-1 range-1 force", 0);
    assert_eq!(world.connections[&network("vpc-1")].ranges, ["range-1"]);
}

#[test]
fn a_deleted_peering_comes_back_with_the_connection() {
    let world = with(
        "connect vpc-1 range-1
        redis redis-1 vpc-1 from=any
        unpeer servicenetworking-googleapis-com vpc-1",
    );
    let tenant = world.redis[&redis("redis-1")].tenant_network.clone();
    assert_eq!(world.peering_state(&network("vpc-1"), &tenant), PeeringState::Inactive);
    assert_eq!(refusal(&world, "redis redis-2 vpc-1 from=any"), Refusal::PrivateServiceAccessMissing);
    let again = then(&world, "connect vpc-1 range-1", 0);
    assert_eq!(again.peering_state(&network("vpc-1"), &tenant), PeeringState::Active);
    // Unless somebody has the addresses by now.
    let range = again.redis[&redis("redis-1")].reserved_ip_range;
    let taken = then(&world, "delete address global/range-1", 0);
    let taken = then(&taken, &format!("subnet taken vpc-1 {range}"), 0);
    let refused = refusal(&taken, "reconnect vpc-1 range-2 force").to_string();
    assert!(refused.contains(&format!("The range '{range}' of its Redis instances conflicts")), "{refused}");
}
