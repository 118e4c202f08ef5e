//! Memorystore: an instance in a network that nobody sees, and the peering that leads to it.

use crate::support::*;
use tombolo_model::*;

const SETUP: &str = "project project-1
    project project-2
    network vpc-1
    subnet subnet-1 vpc-1 10.1.0.0/16
    network vpc-2
    subnet subnet-2 vpc-2 10.2.0.0/16
    peer p12 vpc-1 vpc-2
    peer p21 vpc-2 vpc-1
    route far vpc-2 10.50.0.0/30 gateway";

/// The names of a network's peerings.
fn peerings(world: &World, name: &str) -> Vec<String> {
    world.networks[&network(name)].peerings.iter().map(|p| p.name.clone()).collect()
}

#[test]
fn an_instance_is_in_a_hidden_network() {
    let world = world(&format!("{SETUP}\nredis redis-1 vpc-2"));
    let redis = &world.redis[&redis("redis-1")];
    assert_eq!(redis.reserved_ip_range.prefix_len(), 29);
    assert_eq!(redis.host, range::nth(redis.reserved_ip_range, 3));
    assert!(range::overlap(&redis.reserved_ip_range, &"10.0.0.0/8".parse().unwrap()));
    let tenant = &redis.tenant_network;
    assert!(world.networks[tenant].google_managed);
    assert!(!world.projects.contains_key(&tenant.project), "the tenant project is nobody's");
    // Google's look: a letter, 16 hex digits and -tp.
    let digits = tenant.project.strip_suffix("-tp").unwrap();
    assert_eq!(digits.len(), 17, "{digits}");
    assert!(digits.bytes().all(|b| b.is_ascii_hexdigit()) && digits.as_bytes()[0].is_ascii_lowercase());
    // The same lab gets the same address every time.
    let again = crate::support::world(&format!("{SETUP}\nredis redis-1 vpc-2"));
    assert_eq!(again.redis, world.redis);
}

#[test]
fn nobody_can_name_the_hidden_network() {
    let world = world(&format!("{SETUP}\nredis redis-1 vpc-2"));
    let tenant = world.redis[&redis("redis-1")].tenant_network.clone();
    let tenant_name = format!("{}/{}", tenant.project, tenant.name);
    let subnetwork = format!("{}/redis-redis-1", tenant.project);
    assert_eq!(refusal(&world, &format!("peer p vpc-1 {tenant_name}")), Refusal::not_found(&tenant));
    let gone = Refusal::not_found(format!("projects/{}", tenant.project));
    for line in [
        format!("delete network {tenant_name}"),
        format!("subnet s {tenant_name} 10.9.0.0/16")
            .replace("subnet s", &format!("subnet {}/s", tenant.project)),
        format!("delete subnet {subnetwork}"),
        format!("peer p {tenant_name} vpc-1"),
        format!("allow {}/r {tenant_name} all", tenant.project),
        format!("vm {}/vm {subnetwork}", tenant.project),
    ] {
        assert_eq!(refusal(&world, &line), gone, "{line}");
    }
    assert!(matches!(refusal(&world, &format!("vm vm-1 {subnetwork}")), Refusal::Invalid { .. }));
    assert!(matches!(
        refusal(&world, &format!("redis redis-2 {tenant_name}")),
        Refusal::AuthorizedNetworkElsewhere
    ));
}

#[test]
fn the_peering_comes_with_the_first_instance_and_goes_with_the_last() {
    let mut world = world(SETUP);
    let id = world.networks[&network("vpc-2")].id;
    let name = format!("redis-peer-{id}");
    let with = vec!["p21".to_owned(), name.clone()];
    let without = vec!["p21".to_owned()];
    for (line, want) in [
        ("redis redis-1 vpc-2".to_owned(), &with),
        ("redis redis-2 vpc-2".into(), &with),
        (format!("unpeer {name} vpc-2"), &without), // connections time out from now on
        ("redis redis-3 vpc-2".into(), &with),      // and work again
        ("delete redis redis-1".into(), &with),
        ("delete redis redis-3".into(), &with),
        (format!("unpeer {name} vpc-2"), &without),
        ("delete redis redis-2".into(), &without),
        ("redis redis-1 vpc-2".into(), &with),
        ("delete redis redis-1".into(), &without),
    ] {
        world = then(&world, &line, 0);
        assert_eq!(peerings(&world, "vpc-2"), *want, "{line}");
        let tenants = world.networks.iter().filter(|(_, n)| n.google_managed);
        for (tenant, _) in tenants {
            let active = world.peering_state(tenant, &network("vpc-2")) == PeeringState::Active;
            assert_eq!(active, want.len() == 2, "{line}");
        }
    }
    assert!(world.networks.values().all(|n| !n.google_managed));
    assert!(world.subnetworks.keys().all(|k| !k.project.ends_with("-tp")));
}

#[test]
fn a_name_that_the_user_took_is_not_taken_again() {
    let mut world = world(SETUP);
    let id = world.networks[&network("vpc-2")].id;
    world = then(&world, &format!("peer redis-peer-{id} vpc-2 vpc-9"), 0);
    world = then(&world, "redis redis-1 vpc-2", 0);
    let want = ["p21".to_owned(), format!("redis-peer-{id}"), format!("redis-peer-{}", id + 1)];
    assert_eq!(peerings(&world, "vpc-2"), want);
}

#[test]
fn a_given_range_is_refused_in_words_that_hide_the_tenant() {
    let world = world(&format!("{SETUP}\nredis redis-1 vpc-2 10.34.175.88/29"));
    assert_eq!(world.redis[&redis("redis-1")].host.to_string(), "10.34.175.91");
    for (range, want) in [
        ("10.2.3.0/29", "The range overlaps the range '10.2.0.0/16' of the authorized network."),
        (
            "10.1.3.0/29",
            "The range overlaps the range '10.1.0.0/16' of an active peer of the authorized network.",
        ),
        ("10.34.175.88/29", "The range overlaps the range '10.34.175.88/29' of another instance."),
        (
            "10.50.0.0/29",
            "The range contains the destination range '10.50.0.0/30' of the route 'projects/project-1/global/routes/far'.",
        ),
        ("10.9.0.0/28", "Must be a /29 of a private range."),
        ("9.9.9.0/29", "Must be a /29 of a private range."),
        ("10.9.0.1/29", "Must be a CIDR range with no host bits set, such as '10.9.0.0/29'."),
    ] {
        let refusal = refusal(&world, &format!("redis redis-2 vpc-2 {range}"));
        assert_eq!(refusal, Refusal::invalid("reservedIpRange", range, want));
        assert!(!refusal.to_string().contains("-tp"));
    }
}

#[test]
fn what_changed_behind_a_deleted_peering_keeps_it_from_coming_back() {
    let id = world(SETUP).networks[&network("vpc-2")].id;
    let setup = format!("{SETUP}\nredis redis-1 vpc-2 10.34.175.88/29\nunpeer redis-peer-{id} vpc-2");
    for (line, want) in [
        (
            "subnet late vpc-2 10.34.0.0/16",
            "The range '10.34.175.88/29' of its Redis instances conflicts: it overlaps the range '10.34.0.0/16' of the \
             authorized network.",
        ),
        (
            "route late vpc-2 10.34.175.88/30 gateway",
            "The range '10.34.175.88/29' of its Redis instances conflicts: it contains the destination range \
             '10.34.175.88/30' of the route 'projects/project-1/global/routes/late'.",
        ),
    ] {
        let world = world(&format!("{setup}\n{line}"));
        let want = Refusal::invalid("authorizedNetwork", network("vpc-2"), want);
        assert_eq!(refusal(&world, "redis redis-2 vpc-2"), want, "{line}");
    }
}

#[test]
fn a_wide_static_route_leaves_room() {
    let mut world = world(&format!("{SETUP}\nroute wide vpc-2 10.0.0.0/8 gateway"));
    world = then(&world, "redis redis-1 vpc-2", 0);
    // Where there is room beside a static route, its packets are left alone.
    let host = world.redis[&redis("redis-1")].host;
    let free = crate::support::world(&format!("{SETUP}\nroute around vpc-2 {host}/32 gateway"));
    let moved = then(&free, "redis redis-1 vpc-2", 0).redis[&redis("redis-1")].host;
    assert_ne!(moved, host);
}

#[test]
fn instances_are_refused_as_google_does() {
    let world = world(&format!("{SETUP}\nempty project-3\nredis redis-1 vpc-2"));
    for (line, want) in [
        (
            "redis project-3/redis-1 project-3/vpc",
            "Google Cloud Memorystore for Redis API has not been used in project project-3 before or it is disabled. \
             Enable it by visiting https://console.developers.google.com/apis/api/redis.googleapis.com/overview?project=project-3 \
             then retry.",
        ),
        (
            "redis project-2/redis-1 vpc-2",
            "authorized_network must exist in the same project as redis instance",
        ),
        ("redis redis-2 vpc-9", "The resource 'projects/project-1/global/networks/vpc-9' was not found"),
        (
            "redis redis-1 vpc-2",
            "The resource 'projects/project-1/locations/us-central1/instances/redis-1' already exists",
        ),
        (
            "redis Redis vpc-2",
            "Invalid value for field 'resource.instance_id': 'Redis'. Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'",
        ),
        (
            "redis redis-2 vpc-2 region=mars",
            "Invalid value for field 'resource.location': 'mars'. Unknown region.",
        ),
        (
            "redis redis-2 vpc-2 memory=0",
            "Invalid value for field 'resource.memorySizeGb': '0'. Must be between 1 and 300.",
        ),
        (
            "redis redis-2 vpc-2 memory=301",
            "Invalid value for field 'resource.memorySizeGb': '301'. Must be between 1 and 300.",
        ),
        (
            "delete redis redis-9",
            "The resource 'projects/project-1/locations/us-central1/instances/redis-9' was not found",
        ),
    ] {
        assert_eq!(refusal(&world, line).to_string(), want, "{line}");
    }
}
