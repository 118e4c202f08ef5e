//! One network's rules as text, and names that the kernel takes.

use crate::support::world;
use crate::worlds::worlds;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::{fs, path::PathBuf};
use tombolo_dataplane::rules::Next;
use tombolo_dataplane::{Fault, Faults, Place, Route, RouteVia, render, render_with};
use tombolo_fabric::{compile, host::ENDPOINT, internet};
use tombolo_model::World;

/// UPDATE_GOLDEN=1 writes the text: read it before keeping.
#[test]
fn the_rules_of_a_network_read_as_they_should() {
    let world = world(
        "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/16
        vm web-1 subnet-1 tags=web
        vm web-2 subnet-1 tags=web
        vm db-1 subnet-1 tags=db
        network vpc-2
        subnet subnet-2 vpc-2 10.2.0.0/16
        peer p12 vpc-1 vpc-2
        peer p21 vpc-2 vpc-1
        allow ssh vpc-1 tcp:22 sources=35.235.240.0/20
        allow web vpc-1 tcp:80:443,icmp targets=web
        allow db vpc-1 tcp:5432 source-tags=web targets=db priority=900
        deny no-telnet vpc-1 tcp:23
        allow nobody vpc-1 tcp:9 source-tags=none
        deny no-mail vpc-1 tcp:25 egress targets=web
        allow off vpc-1 all disabled",
    );
    let desired = render(&compile(&world));
    let have = desired.rules["projects/project-1/global/networks/vpc-1"].script();
    let golden = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dataplane/golden/vpc-1.nft"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &have).unwrap();
    }
    assert_eq!(have, fs::read_to_string(&golden).unwrap_or_default());
}

/// The same of IPv6: what a network has for it beside all that it has without.
#[test]
fn the_rules_for_ipv6_read_as_they_should() {
    let world = world(
        "project project-1
        network vpc-1
        ula vpc-1 fd20:0:1::/48
        subnet subnet-1 vpc-1 10.1.0.0/16
        dual subnet-1
        vm web-1 subnet-1 tags=web
        dual-vm web-1
        vm web-2 subnet-1 tags=web
        vm gw-1 subnet-1 forward
        dual-vm gw-1
        network vpc-2
        ula vpc-2 fd20:0:2::/48
        subnet subnet-2 vpc-2 10.2.0.0/16
        dual subnet-2
        peer p12 vpc-1 vpc-2 ipv6
        peer p21 vpc-2 vpc-1 ipv6
        allow web vpc-1 tcp:80:443,58 targets=web sources=fd20::/20,2001:db8::1/128
        allow web-4 vpc-1 tcp:80
        allow tagged vpc-1 tcp:5432 source-tags=web priority=900
        deny nothing-out vpc-1 all egress destinations=::/0 targets=web",
    );
    let desired = render(&compile(&world));
    let have = desired.rules["projects/project-1/global/networks/vpc-1"].script();
    let golden = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dataplane/golden/dual-stack.nft"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &have).unwrap();
    }
    assert_eq!(have, fs::read_to_string(&golden).unwrap_or_default());
}

/// A fault is in one router, at one link; one whose place is not there is nowhere.
#[test]
fn faults_are_where_they_should_be() {
    let world = world(
        "project project-1
        network vpc-1
        subnet subnet-1 vpc-1 10.1.0.0/16
        vm web-1 subnet-1
        network vpc-2
        subnet subnet-2 vpc-2 10.2.0.0/16
        peer p12 vpc-1 vpc-2
        peer p21 vpc-2 vpc-1",
    );
    let fabric = compile(&world);
    let keys: Vec<_> = fabric.networks.keys().filter(|key| key.name.starts_with("vpc")).collect();
    let nics = || fabric.networks[keys[0]].nics.values();
    let owner = &nics().find(|nic| !nic.owner.is_iap()).unwrap().owner;
    let fault = Fault { loss: 1000, ..Fault::default() };
    for (place, network, letter) in [
        (Place::nic(owner, 0), 0, 'v'),
        (Place::peering(keys[1], keys[0]), 0, 'p'),
        (Place::nic(owner, 1), 9, ' '),
        (Place::peering(keys[0], keys[0]), 9, ' '),
    ] {
        let desired = render_with(&fabric, &Faults::from([(place.clone(), fault)]));
        for (at, key) in keys.iter().enumerate() {
            let (with, without) =
                (&desired.rules[&key.to_string()], &render(&fabric).rules[&key.to_string()]);
            let links: Vec<_> = with.faults.keys().map(|link| link.chars().next().unwrap()).collect();
            assert_eq!(links, if at == network { vec![letter] } else { vec![] }, "{place} in {key}");
            assert_eq!(with == without, at != network, "{place} in {key}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_desired_is_whole(world in worlds()) {
        let fabric = compile(&world);
        let desired = render(&fabric);
        prop_assert_eq!(&render(&fabric), &desired);
        for (name, namespace) in &desired.state.namespaces {
            prop_assert_eq!(namespace.router, desired.rules.contains_key(name));
            for (link, it) in &namespace.links {
                prop_assert!(link.len() <= 15, "{link} is too long for Linux");
                // Both ends name each other, with the same MTU.
                let (there, other) = it.peer.as_ref().unwrap();
                let back = &desired.state.namespaces[there].links.get(other).unwrap();
                prop_assert_eq!(back.peer.as_ref(), Some(&(name.clone(), link.clone())));
                prop_assert_eq!(back.mtu, it.mtu);
            }
            let mut destinations = BTreeSet::new();
            for route in &namespace.routes {
                prop_assert!(destinations.insert((route.table, route.destination)), "{} twice in {name}", route.destination);
                for link in route.via.links() {
                    prop_assert!(namespace.links.contains_key(link));
                }
                // A gateway is never asked for by ARP.
                let gateways = match &route.via {
                    RouteVia::Gateway(link, gateway) => BTreeSet::from([(link.clone(), *gateway)]),
                    RouteVia::Gateways(several) => several.clone(),
                    _ => BTreeSet::new(),
                };
                prop_assert!(!matches!(&route.via, RouteVia::Gateways(several) if several.len() < 2));
                for (link, gateway) in &gateways {
                    let known = |n: &tombolo_dataplane::Neighbour| n.link == *link && n.address == *gateway;
                    prop_assert!(namespace.neighbours.iter().any(known), "{gateway} in {name}");
                }
            }
            // A lookup is of a link that there is, in a table that there is; each link has one at most.
            let mut looked_up = BTreeSet::new();
            for lookup in &namespace.lookups {
                prop_assert!(looked_up.insert(&lookup.link) && namespace.links.contains_key(&lookup.link));
                prop_assert!(namespace.routes.iter().any(|route| route.table == Some(lookup.table)));
            }
            if let Some(rules) = desired.rules.get(name) {
                prop_assert_eq!(rules.transit, *name == internet().to_string());
                let chains = rules.egress_of.values().chain(rules.ingress_of.values());
                for chain in chains {
                    prop_assert!(rules.chains.contains_key(chain), "{chain}");
                }
                // Whatever a packet is, the last rule of a chain decides about it; but the chains of levels leave it to
                // the one that asks them, and ask nobody.
                let asked: BTreeSet<&String> = rules.chains.values().flat_map(|chain| &chain.rules).filter_map(|rule| {
                    match &rule.next {
                        Some(Next::Ask(level)) => Some(level),
                        _ => None,
                    }
                }).collect();
                prop_assert!(asked.iter().all(|level| rules.chains.contains_key(*level)));
                for (name, chain) in &rules.chains {
                    let last = chain.rules.last().unwrap();
                    if asked.contains(name) {
                        prop_assert!(chain.rules.iter().all(|rule| !matches!(rule.next, Some(Next::Ask(_)))));
                        continue;
                    }
                    prop_assert!(chain.rules.iter().all(|rule| rule.next != Some(Next::Leave)));
                    prop_assert!(last.next.is_none());
                    prop_assert!(last.far.iter().any(|f| f.prefix_len() == 0), "{:?}", last);
                }
                // Where there is IPv6 there are its rules, and what goes to another network may say it is from there.
                let (ours, theirs): (BTreeSet<&str>, BTreeSet<&str>) = namespace
                    .ipv6
                    .iter()
                    .map(String::as_str)
                    .filter(|link| *link != "lo")
                    .partition(|link| link.starts_with('v'));
                let ipv6 = &rules.ipv6;
                prop_assert_eq!(ipv6.is_empty(), ours.is_empty());
                prop_assert_eq!(&ipv6.egress_of.keys().map(String::as_str).collect::<BTreeSet<_>>(), &ours);
                prop_assert_eq!(&ipv6.ingress_of.keys().map(String::as_str).collect::<BTreeSet<_>>(), &ours);
                prop_assert!(ipv6.is_empty() || theirs.iter().all(|link| ipv6.sources.contains_key(*link)));
                for link in &ours {
                    let filtered = namespace.links.get(*link).unwrap().strict_source;
                    prop_assert_eq!(filtered, ipv6.sources.contains_key(*link));
                }
                for chain in ipv6.egress_of.values().chain(ipv6.ingress_of.values()) {
                    prop_assert!(rules.chains[chain].ipv6);
                }
                let gated = namespace.links.keys().filter(|l| l.starts_with('v'));
                for link in gated {
                    prop_assert!(rules.egress_of.contains_key(link) && rules.ingress_of.contains_key(link));
                }
            }
        }
    }
}

/// World 5665 of `agree`: the guest's kernel has a local address once, whichever interface it is told of.
#[test]
fn an_address_of_two_forwarding_rules_is_the_guests_once() {
    let world = world(
        "project project-1
        network vpc-1
        subnet s-1 vpc-1 10.1.0.0/24
        subnet same-1 vpc-1 10.9.0.0/24
        network vpc-2
        subnet s-2 vpc-2 10.2.0.0/24
        subnet same-2 vpc-2 10.9.0.0/24
        vm vm-1 s-1,s-2
        target t-1 vm-1
        target t-2 vm-1 network=vpc-2
        forward f-1 vpc-1 same-1=10.9.0.3 t-1 tcp
        forward f-2 vpc-2 same-2=10.9.0.3 t-2 tcp",
    );
    let desired = render(&compile(&world));
    let guest = &desired.state.namespaces["projects/project-1/zones/us-central1-a/instances/vm-1"];
    let local = |route: &&tombolo_dataplane::Route| matches!(route.via, RouteVia::Local(_));
    assert_eq!(guest.routes.iter().filter(local).count(), 1);
    // Each router knows the way to it.
    for network in ["vpc-1", "vpc-2"] {
        let router = &desired.state.namespaces[&format!("projects/project-1/global/networks/{network}")];
        assert!(router.routes.iter().any(|route| route.destination.to_string() == "10.9.0.3/32"));
    }
}

/// The rules of a published service and of its endpoint, which has another network's address.
#[test]
fn the_rules_of_private_service_connect_read_as_they_should() {
    let world = world(
        "project project-1
        network vpc-1
        subnet s-1 vpc-1 10.1.0.0/24
        subnet far vpc-1 10.7.0.0/24 europe-west1
        vm vm-1 s-1
        vm vm-7 far in=europe-west1
        network vpc-2
        subnet s-2 vpc-2 10.1.0.0/24
        nat-subnet nat vpc-2 10.3.0.0/24
        vm vm-2 s-2
        target t vm-2
        forward f vpc-2 s-2=10.1.0.8 t tcp:80:443
        publish sa f nat
        endpoint e vpc-1 s-1=10.1.0.9 sa",
    );
    let desired = render(&compile(&world));
    for network in ["vpc-1", "vpc-2"] {
        let have = desired.rules[&format!("projects/project-1/global/networks/{network}")].script();
        let golden = format!("{}/tests/dataplane/golden/psc-{network}.nft", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &have).unwrap();
        }
        assert_eq!(have, fs::read_to_string(&golden).unwrap_or_default());
    }
}

/// Where connections leave for the host's network, and by what else nothing does.
#[test]
fn the_way_into_the_hosts_network_is_in_the_internets_router() {
    let world = world(
        "project project-1
        network vpc-1
        subnet s-1 vpc-1 10.1.0.0/24
        vm vm-1 s-1
        nat vm-1",
    );
    let vpc = "projects/project-1/global/networks/vpc-1";
    let blackholes = |desired: &tombolo_dataplane::Desired| {
        let routes = desired.state.namespaces[vpc].routes.iter();
        let gone = routes.filter(|route| route.via == RouteVia::Blackhole);
        gone.map(|route| route.destination.to_string()).collect::<Vec<_>>()
    };
    let outside = internet().to_string();
    let lab = render(&compile(&world));
    assert!(!lab.rules.values().any(|rules| rules.script().contains("dnat ip to 169.254.169.254")));
    assert!(blackholes(&lab).contains(&"192.168.0.0/16".to_owned()));
    let all = |desired: &tombolo_dataplane::Desired| {
        let routes = desired.state.namespaces[&outside].routes.iter();
        let all: Vec<_> = routes.filter(|route| route.destination.prefix_len() == 0).cloned().collect();
        let [Route { via, .. }] = &all[..] else { panic!("{all:?}") };
        via.clone()
    };
    assert_eq!(all(&lab), RouteVia::Blackhole);
    assert!(!lab.state.namespaces.contains_key(ENDPOINT));
    let host = render(&compile(&world.clone().reaching_host(true)));
    // Nobody is in the endpoint by which datagrams leave, and it is nobody.
    assert!(matches!(all(&host), RouteVia::Gateway(link, _) if link == "h0"));
    let endpoint = &host.state.namespaces[ENDPOINT];
    assert!(endpoint.addresses.is_empty() && endpoint.routes.is_empty() && !endpoint.router);
    let datagrams = |world: &World, protocol: u8| {
        let script = render(&compile(world)).rules[&outside].script();
        script.contains(&format!("203.0.114.0-223.255.255.255 }} meta l4proto {protocol} accept"))
    };
    let world = world.reaching_host(true);
    assert!(datagrams(&world, 17) && datagrams(&world, 1) && !datagrams(&world, 47));
    let world = world.without_pings();
    assert!(datagrams(&world, 17) && !datagrams(&world, 1));
    // What the lab has of private addresses stays: the project's network `default` is a part of it.
    let stays = blackholes(&host);
    assert!(stays.contains(&"10.1.0.0/24".to_owned()) && stays.contains(&"10.128.0.0/20".to_owned()));
    assert!(!stays.iter().any(|range| ["10.0.0.0/8", "192.168.0.0/16"].contains(&range.as_str())));
    for (name, rules) in &host.rules {
        let diverts = |line: &&str| line.contains("dnat ip to 169.254.169.254:1080");
        let script = rules.script();
        let lines: Vec<&str> = script.lines().filter(diverts).collect();
        if *name != outside {
            assert!(lines.is_empty(), "{name}: {lines:?}");
            continue;
        }
        let [line] = lines[..] else { panic!("{script}") };
        for there in
            ["{ 1.0.0.0-10.0.255.255, 10.1.1.0-", "-35.235.240.0, 35.235.240.2-", "} meta l4proto 6 dnat"]
        {
            assert!(line.contains(there), "{line}");
        }
        let takes = "iifgroup 1 ip daddr 169.254.169.254 meta l4proto 6 th dport 1080 accept";
        assert!(script.contains(takes), "{script}");
    }
}
