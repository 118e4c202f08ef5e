//! Dual-stack networks, subnetworks and interfaces: which ranges they get, and what is refused.

use crate::support::*;
use ipnet::Ipv6Net;
use tombolo_model::*;

const SETUP: &str = "project project-1
    network vpc-1
    network vpc-2
    network auto auto
    subnet s-1 vpc-1 10.1.0.0/24
    subnet s-2 vpc-1 10.2.0.0/24
    vm vm-1 s-1
    vm vm-2 s-1
    vm vm-3 s-2";

fn ranges(world: &World) -> [Vec<String>; 3] {
    let text = |range: Option<Ipv6Net>| range.map_or("-".into(), |range| range.to_string());
    let nics = world.instances.values().flat_map(|instance| &instance.nics);
    [
        world.networks.values().filter(|n| n.ipv6.is_some()).map(|n| text(n.ipv6)).collect(),
        world.subnetworks.values().filter(|s| s.ipv6.is_some()).map(|s| text(s.ipv6)).collect(),
        nics.map(|nic| text(nic.ipv6)).collect(),
    ]
}

#[test]
fn each_gets_the_next_range() {
    let lines = "ula vpc-1 fd20:6bc:27e::/48\ndual s-2\ndual s-1\ndual-vm vm-2\ndual-vm vm-1\ndual-vm vm-3";
    let made = lines.lines().fold(world(SETUP), |world, line| then(&world, line, 0));
    let [networks, subnetworks, nics] = ranges(&made);
    assert_eq!(networks, ["fd20:6bc:27e::/48"]);
    assert_eq!(subnetworks, ["fd20:6bc:27e:1::/64", "fd20:6bc:27e::/64"]);
    // The first /96 of each is Google's own.
    assert_eq!(nics, ["fd20:6bc:27e:1:0:2::/96", "fd20:6bc:27e:1:0:1::/96", "fd20:6bc:27e::1:0:0/96"]);
    let first = &made.instances[&vm("vm-2")].nics[0];
    assert_eq!(first.ipv6_address().unwrap().to_string(), "fd20:6bc:27e:1:0:1::");
    assert!(first.has("fd20:6bc:27e:1:0:1:ffff:ffff".parse().unwrap()));
    assert!(!first.has("fd20:6bc:27e:1:0:2::".parse().unwrap()));
    // Once more is no change, and what went is free.
    assert_eq!(then(&made, "dual-vm vm-2", 0), made);
    assert_eq!(then(&made, "ula vpc-1", 0), made);
    let again =
        ["delete vm vm-2", "vm vm-4 s-1", "dual-vm vm-4"].iter().fold(made.clone(), |w, l| then(&w, l, 0));
    assert_eq!(again.instances[&vm("vm-4")].nics[0].ipv6, first.ipv6);
    // What is kept is what there is; what earlier versions kept has no IPv6.
    let rows = made.changed(&World::default()).unwrap();
    assert_eq!(World::from_rows(rows).unwrap(), made);
    let mut old = serde_json::to_value(&*made.instances[&vm("vm-1")].nics).unwrap();
    old[0].as_object_mut().unwrap().remove("ipv6");
    assert_eq!(serde_json::from_value::<Vec<Nic>>(old).unwrap()[0].ipv6, None);
}

/// Of the same World and network it is the same, of others another.
#[test]
fn a_range_that_nobody_names_follows_from_the_seed() {
    let setup = world(SETUP);
    let range = |world: &World, name: &str| world.networks[&network(name)].ipv6.unwrap();
    let one = then(&setup, "ula vpc-1", 0);
    let other = then(&one, "ula vpc-2", 0);
    for name in ["vpc-1", "vpc-2"] {
        let range = range(&other, name);
        assert!(ipv6::ULA.contains(&range) && range.prefix_len() == 48 && range == range.trunc(), "{range}");
    }
    assert_ne!(range(&other, "vpc-1"), range(&other, "vpc-2"));
    assert_eq!(range(&then(&setup, "ula vpc-1", 5), "vpc-1"), range(&one, "vpc-1"));
    let seeded = then(&setup.clone().seeded(Seed::new(&[1; 32])), "ula vpc-1", 0);
    assert_ne!(range(&seeded, "vpc-1"), range(&one, "vpc-1"));
    // One that is taken is passed over.
    let taken = range(&one, "vpc-1");
    let blocked = then(&setup, &format!("ula vpc-2 {taken}"), 0);
    let next = range(&then(&blocked, "ula vpc-1", 0), "vpc-1");
    assert_eq!(u128::from(next.addr()) - u128::from(taken.addr()), 1 << 80);
}

#[test]
fn what_is_refused() {
    let setup = then(&world(SETUP), "ula vpc-1 fd20:6bc:27e::/48", 0);
    let dual = then(&setup, "dual s-1", 0);
    for (line, want) in [
        ("ula vpc-2 fd20:6bc:27e::/48", "'projects/project-1/global/networks/vpc-1'"),
        ("ula vpc-1 fd20:6bc:27f::/48", "it is 'fd20:6bc:27e::/48'"),
        ("ula vpc-2 fd20:6bc::/47", "Must be a /48 range inside 'fd20::/20'"),
        ("ula vpc-2 fd21:6bc:27e::/48", "Must be a /48 range inside 'fd20::/20'"),
        ("ula vpc-2 fd20:6bc:27e:1::/48", "Must be a /48 range inside 'fd20::/20'"),
        ("ula vpc-2 fd20:ce::/48", "Google's own services"),
        ("ula nowhere", "was not found"),
        ("dual nowhere", "was not found"),
        (
            "dual-vm vm-3",
            "The subnetwork 'projects/project-1/regions/us-central1/subnetworks/s-2' is IPV4_ONLY.",
        ),
        ("dual-vm vm-1 1", "There is no such interface."),
        ("dual-vm nobody", "was not found"),
    ] {
        assert!(refusal(&dual, line).to_string().contains(want), "{line}: {}", refusal(&dual, line));
    }
    let without = refusal(&world(SETUP), "dual s-1").to_string();
    assert!(without.contains("enableUlaInternalIpv6"), "{without}");
    let auto = then(&setup, "ula auto", 0);
    let key = auto.subnetworks.keys().find(|key| key.name == "auto").unwrap().clone();
    let refused = auto.apply(&Change::SubnetworkEnableIpv6(key), Timestamp(0)).unwrap_err().to_string();
    assert!(refused.contains("auto subnet mode"), "{refused}");
}

#[test]
fn a_rule_is_about_one_version_of_ip() {
    let setup = then(&world(SETUP), "policy p", 0);
    for line in [
        "allow a vpc-1 tcp:80 sources=::/0,fd20::/20",
        "allow a vpc-1 58 sources=10.0.0.0/8",
        "deny a vpc-1 all egress destinations=2001:db8::/32",
        "policy-rule p 1 allow tcp ranges=fd20::/20",
    ] {
        then(&setup, line, 0);
    }
    for (line, field) in [
        ("allow a vpc-1 tcp:80 sources=::/0,10.0.0.0/8", "sourceRanges"),
        ("deny a vpc-1 all egress destinations=10.0.0.0/8,fd20::/20", "destinationRanges"),
        ("policy-rule p 1 allow tcp ranges=10.0.0.0/8,fd20::/20", "match.srcIpRanges"),
    ] {
        let refused = refusal(&setup, line).to_string();
        assert!(refused.contains(field) && refused.contains("not a combination of both"), "{refused}");
    }
    let host = refusal(&setup, "allow a vpc-1 tcp:80 sources=fd20::1/64").to_string();
    assert!(host.ends_with("such as 'fd20::/64'."), "{host}");
}

/// IPv6 crosses where both sides say so, and only as long.
#[test]
fn a_peering_has_the_ipv6_of_both_its_sides() {
    let lines =
        "ula vpc-1 fd20:0:1::/48\nula vpc-2 fd20:0:2::/48\nsubnet s-3 vpc-2 10.3.0.0/24\ndual s-1\ndual s-3
        peer p12 vpc-1 vpc-2 ipv6\npeer p21 vpc-2 vpc-1";
    let made =
        changes(lines).iter().fold(world(SETUP), |world, change| world.apply(change, Timestamp(0)).unwrap());
    let crossing = |world: &World| {
        [("vpc-1", "vpc-2"), ("vpc-2", "vpc-1")].map(|(to, from)| {
            let (to, from) = (network(to), network(from));
            let all: Vec<_> =
                peering::imported_ipv6_ranges(world, &to, &from).map(|(_, r)| r.to_string()).collect();
            all
        })
    };
    assert_eq!(crossing(&made), [Vec::<String>::new(), vec![]]);
    let both = then(&made, "exchange p21 vpc-2 ipv6", 0);
    assert_eq!(crossing(&both), [vec!["fd20:0:2::/64".to_owned()], vec!["fd20:0:1::/64".to_owned()]]);
    assert_eq!(crossing(&then(&both, "exchange p12 vpc-1 export", 0)), [Vec::<String>::new(), vec![]]);
    assert_eq!(crossing(&then(&both, "unpeer p21 vpc-2", 0)), [Vec::<String>::new(), vec![]]);
}
