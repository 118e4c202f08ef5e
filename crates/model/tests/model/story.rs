//! The product's story, step by step: two projects, two peered networks, and a Redis instance that only one reaches.

use crate::support::*;
use tombolo_model::*;

/// A change, and what is true after it.
type StoryStep = (&'static str, fn(&World) -> String, &'static str);

fn nothing(_: &World) -> String {
    String::new()
}

fn networks(world: &World) -> String {
    let users = world.networks.iter().filter(|(_, n)| !n.google_managed);
    users.map(|(k, _)| format!("{}/{}", k.project, k.name)).collect::<Vec<_>>().join(" ")
}

fn addresses(world: &World) -> String {
    let nics = world.instances.iter().map(|(k, i)| format!("{}={}", k.name, i.nics[0].address));
    nics.collect::<Vec<_>>().join(" ")
}

/// The user's peerings with their states, as Google's API shows them.
fn peerings(world: &World) -> String {
    let users = world.networks.iter().filter(|(_, n)| !n.google_managed);
    let shown = users.flat_map(|(key, n)| {
        n.peerings.iter().map(move |p| {
            let state = world.peering_state(key, &p.peer);
            format!("{} {} {}", p.name, state.as_str(), state.details(p.state_since))
        })
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn firewalls(world: &World) -> String {
    let shown = world.firewalls.iter().map(|(k, f)| {
        let sources: Vec<_> = f.source_ranges.iter().map(ToString::to_string).collect();
        let matches: Vec<_> = f.matches.iter().map(ToString::to_string).collect();
        format!("{}: {} from {}", k.name, matches.join(","), sources.join(","))
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn redis_hosts(world: &World) -> String {
    let shown = world.redis.iter().map(|(k, r)| {
        format!(
            "{} {}:{} in {} for {}",
            k.name, r.host, r.port, r.reserved_ip_range, r.authorized_network.name
        )
    });
    shown.collect::<Vec<_>>().join("\n")
}

const STORY: &[StoryStep] = &[
    ("empty project-1", networks, ""),
    ("enable compute.googleapis.com project-1", networks, "project-1/default"),
    ("delete rule default-allow-icmp", nothing, ""),
    ("delete rule default-allow-internal", nothing, ""),
    ("delete rule default-allow-rdp", nothing, ""),
    ("delete rule default-allow-ssh", firewalls, ""),
    ("delete network default", networks, ""),
    ("empty project-2", networks, ""),
    ("enable compute.googleapis.com project-2", networks, "project-2/default"),
    ("delete rule project-2/default-allow-icmp", nothing, ""),
    ("delete rule project-2/default-allow-internal", nothing, ""),
    ("delete rule project-2/default-allow-rdp", nothing, ""),
    ("delete rule project-2/default-allow-ssh", nothing, ""),
    ("delete network project-2/default", networks, ""),
    ("network vpc-1", networks, "project-1/vpc-1"),
    ("subnet subnet-1 vpc-1 10.1.0.0/16", nothing, ""),
    ("vm vm-1 subnet-1", addresses, "vm-1=10.1.0.2"),
    ("network project-2/vpc-2", networks, "project-1/vpc-1 project-2/vpc-2"),
    ("subnet project-2/subnet-2 project-2/vpc-2 10.2.0.0/16", nothing, ""),
    ("vm project-2/vm-2 project-2/subnet-2", addresses, "vm-1=10.1.0.2 vm-2=10.2.0.2"),
    (
        "peer vpc-1-to-vpc-2 vpc-1 project-2/vpc-2",
        peerings,
        "vpc-1-to-vpc-2 INACTIVE [1970-01-01T00:00:20.000+00:00]: Waiting for peer network to connect.",
    ),
    (
        "peer vpc-2-to-vpc-1 project-2/vpc-2 vpc-1",
        peerings,
        "vpc-1-to-vpc-2 ACTIVE [1970-01-01T00:00:21.000+00:00]: Connected.\n\
         vpc-2-to-vpc-1 ACTIVE [1970-01-01T00:00:21.000+00:00]: Connected.",
    ),
    ("allow vpc-1-allow-ssh vpc-1 tcp:22", firewalls, "vpc-1-allow-ssh: tcp:22 from 0.0.0.0/0"),
    (
        "allow project-2/vpc-2-allow-internal project-2/vpc-2 all sources=10.0.0.0/8",
        firewalls,
        "vpc-1-allow-ssh: tcp:22 from 0.0.0.0/0\nvpc-2-allow-internal: all from 10.0.0.0/8",
    ),
    ("enable redis.googleapis.com project-2", redis_hosts, ""),
    (
        "redis project-2/redis-1 project-2/vpc-2 10.34.175.88/29",
        redis_hosts,
        "redis-1 10.34.175.91:6379 in 10.34.175.88/29 for vpc-2",
    ),
    // Users see the automatic peering, but of the network behind it only the name.
    ("tags vm-1 web", networks, "project-1/vpc-1 project-2/vpc-2"),
    (
        "tags vm-1 web",
        peerings,
        "vpc-1-to-vpc-2 ACTIVE [1970-01-01T00:00:21.000+00:00]: Connected.\n\
         vpc-2-to-vpc-1 ACTIVE [1970-01-01T00:00:21.000+00:00]: Connected.\n\
         redis-peer-101 ACTIVE [1970-01-01T00:00:25.000+00:00]: Connected.",
    ),
    (
        "vm project-2/redis-proxy project-2/subnet-2",
        addresses,
        "vm-1=10.1.0.2 redis-proxy=10.2.0.3 vm-2=10.2.0.2",
    ),
];

#[test]
fn the_story() {
    let mut world = World::default();
    for (i, (line, facts, want)) in STORY.iter().enumerate() {
        world = then(&world, line, i as i64 * 1000);
        assert_eq!(facts(&world), *want, "after step {i}: {line}");
    }
}

#[test]
fn changes_print_as_a_line_for_people() {
    for (line, want) in [
        ("empty project-1", "create project project-1"),
        ("enable redis.googleapis.com project-1", "enable redis.googleapis.com in project-1"),
        ("network vpc-1", "create network vpc-1"),
        ("delete network vpc-1", "delete network vpc-1"),
        ("subnet subnet-1 vpc-1 10.1.0.0/16", "create subnetwork subnet-1 10.1.0.0/16"),
        ("delete subnet subnet-1", "delete subnetwork subnet-1"),
        ("vm vm-1 subnet-1", "create instance vm-1 in us-central1-a"),
        ("tags vm-1 b,a", "set tags of vm-1 to a,b"),
        ("delete vm vm-1", "delete instance vm-1"),
        ("allow rule-1 vpc-1 tcp", "create firewall rule rule-1"),
        ("delete rule rule-1", "delete firewall rule rule-1"),
        ("route r-1 vpc-1 192.168.0.0/16 gateway", "create route r-1 to 192.168.0.0/16"),
        ("delete route r-1", "delete route r-1"),
        ("peer a-to-b vpc-a vpc-b", "create peering a-to-b from vpc-a to vpc-b"),
        ("unpeer a-to-b vpc-a", "delete peering a-to-b of vpc-a"),
        ("redis redis-1 vpc-1", "create redis redis-1 for vpc-1"),
        ("delete redis redis-1", "delete redis redis-1"),
    ] {
        assert_eq!(change(line).to_string(), want);
        let json = serde_json::to_string(&change(line)).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change(line), "{json}");
    }
}
