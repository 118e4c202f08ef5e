//! Peering: two sides that each say it for themselves, and ranges that never overlap.

use crate::support::*;
use tombolo_model::*;

/// Every peering of project-1 with its state and since when, in seconds.
fn states(world: &World) -> String {
    let shown = world.networks.iter().flat_map(|(key, n)| {
        n.peerings.iter().map(move |p| {
            let state = world.peering_state(key, &p.peer).as_str();
            format!("{} {state} {}", p.name, p.state_since.0 / 1000)
        })
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_peering_is_active_while_both_sides_say_so() {
    let mut world = world("project project-1\nnetwork vpc-a\nnetwork vpc-b");
    for (second, line, want) in [
        (1, "peer a-to-b vpc-a vpc-b", "a-to-b INACTIVE 1"),
        (2, "peer b-to-a vpc-b vpc-a", "a-to-b ACTIVE 2, b-to-a ACTIVE 2"),
        (3, "unpeer a-to-b vpc-a", "b-to-a INACTIVE 3"),
        (4, "network vpc-c", "b-to-a INACTIVE 3"),
        (5, "peer again vpc-a vpc-b", "again ACTIVE 5, b-to-a ACTIVE 5"),
        (6, "unpeer b-to-a vpc-b", "again INACTIVE 6"),
        (7, "unpeer again vpc-a", ""),
        // The other side need not exist; when it does and answers, the peering is active.
        (8, "peer c-to-d vpc-c vpc-d", "c-to-d INACTIVE 8"),
        (9, "network vpc-d", "c-to-d INACTIVE 8"),
        (10, "peer d-to-c vpc-d vpc-c", "c-to-d ACTIVE 10, d-to-c ACTIVE 10"),
    ] {
        world = then(&world, line, second * 1000);
        assert_eq!(states(&world), want, "{line}");
    }
    let (a, c) = (network("vpc-a"), network("vpc-c"));
    assert_eq!(world.active_peers(&a).count(), 0);
    assert_eq!(world.active_peers(&c).collect::<Vec<_>>(), [&network("vpc-d")]);
}

/// vpc-1 10.1.0.0/16, vpc-2 10.2.0.0/16, vpc-3 10.3.0.0/16; nothing is peered yet.
const THREE: &str = "project project-1
    network vpc-1
    subnet subnet-1 vpc-1 10.1.0.0/16
    network vpc-2
    subnet subnet-2 vpc-2 10.2.0.0/16
    network vpc-3
    subnet subnet-3 vpc-3 10.3.0.0/16";
const ONE_TWO: &str = "peer p12 vpc-1 vpc-2\npeer p21 vpc-2 vpc-1";
const TWO_THREE: &str = "peer p23 vpc-2 vpc-3\npeer p32 vpc-3 vpc-2";

#[test]
fn ranges_of_peers_are_disjoint_one_hop_further_too() {
    let sub = |name: &str| format!("projects/project-1/regions/us-central1/subnetworks/{name}");
    let direct = |peer: &str, local: &str, resource: &str| {
        format!(
            "An IP range in the peer network ({peer}) overlaps with an IP range in the local network ({local}) \
             allocated by resource ({}).",
            sub(resource)
        )
    };
    let further = |local: &str, resource: &str, far: &str| {
        format!(
            "An IP range in the local network ({local}) allocated by resource ({}) overlaps with an IP range ({far}) \
             in an active peer of the peer network.",
            sub(resource)
        )
    };
    let all = format!("{ONE_TWO}\n{TWO_THREE}");
    let rows: [(&str, &str, String); 13] = [
        // At the creation of a peering: equal, containing, contained.
        (
            "subnet s vpc-3 10.2.0.0/16",
            "peer p vpc-2 vpc-3",
            direct("10.2.0.0/16", "10.2.0.0/16", "subnet-2"),
        ),
        (
            "subnet s vpc-3 10.2.4.0/24",
            "peer p vpc-2 vpc-3",
            direct("10.2.4.0/24", "10.2.0.0/16", "subnet-2"),
        ),
        (
            "delete subnet subnet-3\nsubnet s vpc-3 10.2.0.0/15",
            "peer p vpc-3 vpc-2",
            direct("10.2.0.0/16", "10.2.0.0/15", "s"),
        ),
        // … with an active peer of the peer,
        (
            &format!("{ONE_TWO}\nsubnet s vpc-3 10.1.0.0/24"),
            "peer p vpc-3 vpc-2",
            further("10.1.0.0/24", "s", "10.1.0.0/16"),
        ),
        // … and from the other side: what vpc-2 imports already clashes with its new peer.
        (
            &format!("{ONE_TWO}\nsubnet s vpc-3 10.1.0.0/24"),
            "peer p vpc-2 vpc-3",
            further("10.1.0.0/24", "s", "10.1.0.0/16"),
        ),
        // At the creation of a subnetwork.
        (ONE_TWO, "subnet s vpc-1 10.2.128.0/24", direct("10.2.0.0/16", "10.2.128.0/24", "s")),
        (ONE_TWO, "subnet s vpc-2 10.1.128.0/24", direct("10.1.0.0/16", "10.1.128.0/24", "s")),
        (&all, "subnet s vpc-1 10.3.0.0/24", further("10.3.0.0/24", "s", "10.3.0.0/16")),
        (&all, "subnet s vpc-3 10.1.0.0/24", further("10.1.0.0/24", "s", "10.1.0.0/16")),
        // A peering of one side alone imports nothing; unrelated networks overlap freely.
        ("peer p12 vpc-1 vpc-2", "subnet s vpc-2 10.1.128.0/24", String::new()),
        ("", "subnet s vpc-3 10.1.0.0/16", String::new()),
        (
            "peer p12 vpc-1 vpc-2\nsubnet s vpc-2 10.1.128.0/24",
            "peer p21 vpc-2 vpc-1",
            direct("10.1.0.0/16", "10.1.128.0/24", "s"),
        ),
        // Two peerings away is as far as anyone looks.
        (
            &format!("{all}\nnetwork vpc-4\nsubnet s vpc-4 10.1.0.0/16\npeer p34 vpc-3 vpc-4"),
            "peer p43 vpc-4 vpc-3",
            String::new(),
        ),
    ];
    for (setup, line, want) in rows {
        let world = world(&format!("{THREE}\n{setup}"));
        let have = world.apply(&change(line), Timestamp(0)).err().map(|e| e.to_string()).unwrap_or_default();
        assert_eq!(have, want, "{setup} / {line}");
    }
}

#[test]
fn auto_mode_networks_cannot_peer() {
    let world = world("project project-1\nnetwork auto-1 auto\nnetwork auto-2 auto\nnetwork vpc-1");
    match refusal(&world, "peer p auto-1 auto-2") {
        Refusal::PeerOverlap { peer_range, local_range, .. } => assert_eq!(peer_range, local_range),
        other => panic!("{other}"),
    }
    then(&then(&world, "peer p auto-1 vpc-1", 0), "peer p vpc-1 auto-1", 0);
}

#[test]
fn peerings_are_limited_and_named_once() {
    let mut world = world("project project-1\nnetwork vpc-1\nnetwork vpc-2");
    world = then(&world, "peer p-0 vpc-1 vpc-2", 0);
    let exists = "projects/project-1/global/networks/vpc-1/peerings/p-0";
    assert_eq!(refusal(&world, "peer p-0 vpc-1 vpc-3"), Refusal::already_exists(exists));
    assert_eq!(
        refusal(&world, "peer p-1 vpc-1 vpc-2").to_string(),
        "Invalid value for field 'resource.networkPeering.network': 'projects/project-1/global/networks/vpc-2'. \
         The network is already peered with it by 'p-0'."
    );
    assert_eq!(
        refusal(&world, "peer p-1 vpc-1 vpc-1").to_string(),
        "Invalid value for field 'resource.networkPeering.network': 'projects/project-1/global/networks/vpc-1'. \
         A network cannot peer with itself."
    );
    for n in 1..25 {
        world = then(&world, &format!("peer p-{n} vpc-1 project-9/vpc-{n}"), 0);
    }
    let full = Refusal::QuotaExceeded { quota: "PEERINGS_PER_NETWORK", limit: 25 };
    assert_eq!(refusal(&world, "peer p-25 vpc-1 project-9/vpc-25"), full);
    assert_eq!(full.to_string(), "Quota 'PEERINGS_PER_NETWORK' exceeded. Limit: 25.0");
}

#[test]
fn a_side_changes_what_it_gives_and_takes() {
    let world = world(&format!("{THREE}\n{ONE_TWO}"));
    let exchange = |world: &World| world.networks[&network("vpc-1")].peerings[0].exchange;
    assert_eq!(exchange(&world), Exchange::default());
    let changed = then(&world, "exchange p12 vpc-1 export import", 9_000);
    assert!(exchange(&changed).export_custom_routes && exchange(&changed).import_custom_routes);
    // The state is as it was, and since when.
    assert_eq!(states(&changed), states(&world));
    assert_eq!(
        refusal(&world, "exchange none vpc-1 export").to_string(),
        "Invalid value for field 'resource.networkPeering.name': 'none'. There is no peering with that name on the \
         network."
    );
    // To take a range that a static route of its own lies inside of is refused, by either side's saying so.
    let public =
        "subnet public vpc-2 9.9.9.0/24\nvm vm-1 subnet-1 forward\nroute inside vpc-1 9.9.9.128/25 vm-1";
    let public =
        changes(public).iter().fold(world, |world, change| world.apply(change, Timestamp(0)).unwrap());
    let why = "The destination range '9.9.9.128/25' of the route 'projects/project-1/global/routes/inside' is within \
               the range '9.9.9.0/24' that 'projects/project-1/global/networks/vpc-1' would import.";
    assert!(refusal(&public, "exchange p12 vpc-1 import-public").to_string().ends_with(why));
    let not_given = then(&public, "exchange p21 vpc-2 no-export-public", 0);
    let taken = then(&not_given, "exchange p12 vpc-1 import-public", 0);
    assert!(refusal(&taken, "exchange p21 vpc-2").to_string().ends_with(why));
}
