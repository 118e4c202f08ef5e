//! Networks: `default`, auto mode, and what holds a network or a subnetwork.

use crate::support::*;
use tombolo_model::*;

#[test]
fn compute_brings_the_network_default_with_four_rules_and_a_route() {
    let world = world("project project-1");
    let default = &world.networks[&network("default")];
    assert!(default.auto_create_subnetworks && !default.google_managed);
    assert_eq!(default.mtu, 1460);
    let rules = world.firewalls.iter().map(|(k, f)| {
        let matches: Vec<_> = f.matches.iter().map(ToString::to_string).collect();
        let sources: Vec<_> = f.source_ranges.iter().map(ToString::to_string).collect();
        format!("{} {} {} {}", k.name, f.priority, matches.join(","), sources.join(","))
    });
    assert_eq!(
        rules.collect::<Vec<_>>(),
        [
            "default-allow-icmp 65534 icmp 0.0.0.0/0",
            "default-allow-internal 65534 tcp:0-65535,udp:0-65535,icmp 10.128.0.0/9",
            "default-allow-rdp 65534 tcp:3389 0.0.0.0/0",
            "default-allow-ssh 65534 tcp:22 0.0.0.0/0",
        ]
    );
    let routes: Vec<_> = world.routes.values().collect();
    let [route] = routes.as_slice() else { panic!("{routes:?}") };
    assert_eq!((route.dest_range.prefix_len(), route.priority), (0, 1000));
    assert_eq!(route.description, "Default route to the Internet.");
    // A service is enabled once.
    assert_eq!(then(&world, "enable compute.googleapis.com project-1", 9), world);
}

#[test]
fn default_goes_only_after_its_four_rules() {
    let mut world = world("project project-1");
    for rule in ["icmp", "internal", "rdp", "ssh"] {
        let rule = format!("default-allow-{rule}");
        let want = format!(
            "The network resource 'projects/project-1/global/networks/default' is already being used by \
             'projects/project-1/global/firewalls/{rule}'"
        );
        assert_eq!(refusal(&world, "delete network default").to_string(), want);
        world = then(&world, &format!("delete rule {rule}"), 0);
    }
    world = then(&world, "delete network default", 0);
    // Its subnetworks and its route went along.
    assert!(world.networks.is_empty() && world.subnetworks.is_empty() && world.routes.is_empty());
}

#[test]
fn an_auto_mode_network_has_a_subnetwork_in_every_region() {
    let world = world("project project-1\nnetwork auto-1 auto");
    let own: Vec<_> = world.subnetworks.iter().filter(|(_, s)| s.network.name == "auto-1").collect();
    assert_eq!(own.len(), 41);
    assert!(own.iter().all(|(k, s)| k.name == "auto-1" && s.range.prefix_len() == 20));
    let central = &world.subnetworks[&subnet("auto-1")];
    assert_eq!(
        (central.range.to_string(), central.gateway().to_string()),
        ("10.128.0.0/20".into(), "10.128.0.1".into())
    );
    // It takes further subnetworks, but loses none.
    then(&world, "subnet more auto-1 10.1.0.0/16", 0);
    assert_eq!(
        refusal(&world, "delete subnet auto-1").to_string(),
        "Invalid value for field 'resource.subnetwork': 'projects/project-1/regions/us-central1/subnetworks/auto-1'. \
         Cannot delete auto subnetwork from an auto subnet mode network."
    );
}

/// A subnetwork that somebody added to an auto-mode network is like any other.
#[test]
fn an_auto_mode_network_with_a_users_subnetwork() {
    let setup = "project project-1\nnetwork auto-1 auto";
    let with = world(&format!("{setup}\nsubnet more auto-1 10.1.0.0/16"));
    assert_eq!(
        refusal(&with, "delete network auto-1"),
        Refusal::in_use("network", network("auto-1"), subnet("more"))
    );
    let without = then(&with, "delete subnet more", 0);
    let gone = then(&without, "delete network auto-1", 0);
    assert!(gone.subnetworks.values().all(|found| found.network.name == "default"));
    // An automatic one that somebody uses is in the way, too.
    let used = then(&without, "reserve a auto-1", 0);
    let user = "projects/project-1/regions/us-central1/addresses/a";
    assert_eq!(refusal(&used, "delete network auto-1"), Refusal::in_use("network", network("auto-1"), user));

    let kept = "The range must not overlap '10.128.0.0/9', which an auto mode network keeps for itself.";
    let broad = "The prefix length of an automatically created subnetwork cannot be broader than 16.";
    for (line, want) in [
        // Where no region has anything yet.
        ("subnet late auto-1 10.255.0.0/16", kept),
        ("subnet late auto-1 10.0.0.0/8", kept),
        ("subnet late auto-1 10.127.0.0/16", ""),
        ("expand more 10.0.0.0/8", kept),
        ("expand auto-1 10.128.0.0/16", ""),
        ("expand auto-1 10.128.0.0/15", broad),
        ("secondary more pods=10.255.0.0/24", kept),
        ("secondary auto-1 pods=10.255.0.0/24", kept),
        ("secondary auto-1 pods=10.8.0.0/24", ""),
    ] {
        let have = match with.apply(&change(line), Timestamp(0)) {
            Ok(_) => String::new(),
            Err(Refusal::Invalid { expected, .. }) => expected,
            Err(other) => panic!("{line}: {other}"),
        };
        assert_eq!(have, want, "{line}");
    }
    // A custom-mode network keeps nothing.
    then(&world("project project-1\nnetwork vpc-1\nsubnet s vpc-1 10.128.0.0/9"), "expand s 10.0.0.0/8", 0);
}

#[test]
fn the_default_route_goes_along_and_no_other() {
    let mut world = world("project project-1\nnetwork vpc-1\nroute mine vpc-1 8.8.8.0/24 gateway");
    assert_eq!(
        refusal(&world, "delete network vpc-1").to_string(),
        "The network resource 'projects/project-1/global/networks/vpc-1' is already being used by \
         'projects/project-1/global/routes/mine'"
    );
    let mine = Change::RouteDelete(RouteKey::new("project-1", "mine"));
    world = world.apply(&mine, Timestamp(0)).unwrap();
    world = then(&world, "delete network vpc-1", 0);
    assert!(world.routes.values().all(|route| route.network == network("default")));
}

#[test]
fn what_is_used_stays() {
    let setup = "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/16
        vm vm-1 subnet-1 forward
        network vpc-2
        peer to-2 vpc-1 vpc-2
        network vpc-3
        redis redis-1 vpc-3
        network vpc-4
        subnet subnet-4 vpc-4 10.4.0.0/16
        vm vm-4 subnet-4 forward
        route r-4 vpc-4 192.168.0.0/16 vm-4
        delete vm vm-4
        network vpc-5
        allow rule-5 vpc-5 tcp
        network vpc-6
        subnet subnet-6 vpc-6 10.6.0.0/16";
    for (line, user) in [
        ("delete network vpc-1", "projects/project-1/zones/us-central1-a/instances/vm-1"),
        ("delete subnet subnet-1", "projects/project-1/zones/us-central1-a/instances/vm-1"),
        ("delete network vpc-3", "projects/project-1/locations/us-central1/instances/redis-1"),
        ("delete network vpc-4", "projects/project-1/global/routes/r-4"),
        ("delete network vpc-5", "projects/project-1/global/firewalls/rule-5"),
        ("delete network vpc-6", "projects/project-1/regions/us-central1/subnetworks/subnet-6"),
    ] {
        match refusal(&world(setup), line) {
            Refusal::InUse { user: have, .. } => assert_eq!(have, user, "{line}"),
            other => panic!("{line}: {other}"),
        }
    }
    let world = world(&format!("{setup}\ndelete vm vm-1\ndelete subnet subnet-1"));
    let user = "projects/project-1/global/networks/vpc-1/peerings/to-2";
    assert_eq!(refusal(&world, "delete network vpc-1"), Refusal::in_use("network", network("vpc-1"), user));
    // The other side of a peering that only one network names holds nothing.
    then(&world, "delete network vpc-2", 0);
}

#[test]
fn routes_have_the_next_hops_that_google_takes() {
    let world = world(
        "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/16
        vm router subnet-1 forward
        vm host subnet-1
        network vpc-2
        subnet subnet-2 vpc-2 10.2.0.0/16
        vm elsewhere subnet-2 forward",
    );
    let hop = "Invalid value for field 'resource.nextHopInstance': 'projects/project-1/zones/us-central1-a/instances/X'. \
               The next hop must be an instance with canIpForward and an interface in the route's network.";
    for (line, want) in [
        ("route r vpc-1 192.168.0.0/16 router", String::new()),
        ("route r vpc-1 10.0.0.0/8 router", String::new()), // wider than a subnetwork
        ("route r vpc-1 0.0.0.0/0 10.1.0.77", String::new()), // an address that nobody has yet
        ("route r vpc-1 8.8.8.0/24 gateway", String::new()),
        ("route r vpc-1 192.168.0.0/16 host", hop.replace('X', "host")),
        ("route r vpc-1 192.168.0.0/16 elsewhere", hop.replace('X', "elsewhere")),
        ("route r vpc-1 192.168.0.0/16 nobody", hop.replace('X', "nobody")),
        ("route r vpc-1 192.168.0.0/16 router tags=red,blue", String::new()),
        (
            "route r vpc-1 192.168.0.0/16 router tags=red,Blue",
            "Invalid value for field 'resource.tags[0]': 'Blue'. Must be a match of regex \
             '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"
                .into(),
        ),
        (
            "route r vpc-1 192.168.0.0/16 10.2.0.2",
            "Invalid value for field 'resource.nextHopIp': '10.2.0.2'. \
             The address must be within a subnetwork of the route's network."
                .into(),
        ),
        (
            "route r vpc-1 192.168.0.1/16 gateway",
            "Invalid value for field 'resource.destRange': '192.168.0.1/16'. \
             Must be a CIDR range with no host bits set, such as '192.168.0.0/16'."
                .into(),
        ),
    ] {
        let have = world.apply(&change(line), Timestamp(0)).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(have, want, "{line}");
    }
    // Every route can go, the default route too.
    let default = world.routes.iter().find(|(_, r)| r.network == network("vpc-1")).unwrap().0.clone();
    let gone = world.apply(&Change::RouteDelete(default), Timestamp(0)).unwrap();
    assert!(gone.routes.values().all(|r| r.network != network("vpc-1")));
}

#[test]
fn a_static_route_is_not_inside_a_subnet_route() {
    let setup = "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/16
        network vpc-2
        subnet subnet-2 vpc-2 10.2.0.0/16
        subnet public vpc-2 9.9.0.0/16
        route far vpc-1 10.99.1.0/24 gateway";
    let active = "peer to-2 vpc-1 vpc-2\npeer to-1 vpc-2 vpc-1";
    let rows: [(&str, &str, &str); 12] = [
        // The route comes last.
        (
            "",
            "route r vpc-1 10.1.0.0/16 gateway",
            "The destination range must not be within the range '10.1.0.0/16' of \
             'projects/project-1/regions/us-central1/subnetworks/subnet-1'.",
        ),
        (
            "",
            "route r vpc-1 10.1.2.0/24 gateway",
            "The destination range must not be within the range '10.1.0.0/16' of \
             'projects/project-1/regions/us-central1/subnetworks/subnet-1'.",
        ),
        ("", "route r vpc-1 10.2.2.0/24 gateway", ""),
        (
            active,
            "route r vpc-1 10.2.2.0/24 gateway",
            "The destination range must not be within the range '10.2.0.0/16' \
             that a peering with 'projects/project-1/global/networks/vpc-2' imports.",
        ),
        (active, "route r vpc-1 10.2.0.0/15 gateway", ""),
        (active, "route r vpc-1 9.9.9.0/24 gateway", ""), // public ranges are not imported by default
        // The subnetwork comes last.
        (
            "",
            "subnet late vpc-1 10.99.0.0/16",
            "It conflicts with the destination range '10.99.1.0/24' of the route \
             'projects/project-1/global/routes/far'.",
        ),
        ("", "subnet late vpc-1 10.99.1.128/25", ""), // more specific than the route: it wins, as documented
        ("", "subnet late vpc-2 10.99.0.0/16", ""),
        (
            active,
            "subnet late vpc-2 10.99.0.0/16",
            "It conflicts with the destination range '10.99.1.0/24' of the route \
             'projects/project-1/global/routes/far'.",
        ),
        // The peering comes last, from either side; alone it imports nothing.
        ("subnet late vpc-2 10.99.0.0/16", "peer to-2 vpc-1 vpc-2", ""),
        (
            "subnet late vpc-2 10.99.0.0/16\npeer to-2 vpc-1 vpc-2",
            "peer to-1 vpc-2 vpc-1",
            "The destination range '10.99.1.0/24' of the route 'projects/project-1/global/routes/far' is within the \
             range '10.99.0.0/16' that 'projects/project-1/global/networks/vpc-1' would import.",
        ),
    ];
    for (more, line, want) in rows {
        let world = world(&format!("{setup}\n{more}"));
        let have = match world.apply(&change(line), Timestamp(0)) {
            Ok(_) => String::new(),
            Err(Refusal::Invalid { expected, .. }) => expected,
            Err(other) => panic!("{line}: {other}"),
        };
        assert_eq!(have, want, "{more} / {line}");
    }
}
