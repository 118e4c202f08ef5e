//! Random sequences of changes from small pools of names and ranges, and what holds after each of them.

use crate::support::*;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use tombolo_model::*;

const NETWORKS: &[&str] = &["vpc-1", "vpc-2", "vpc-3", "project-2/vpc-4"];
const RANGES: &[&str] = &[
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.2.0.0/16",
    "10.2.0.0/29",
    "10.3.0.0/29",
    "10.34.175.88/29",
    "10.34.0.0/16",
    "9.9.9.0/24",
];
const NAMES: &[&str] = &["a", "b", "c", "project-2/d"];

/// A line of the table language, most of them acceptable in some World.
fn line() -> impl Strategy<Value = String> {
    let (network, range, name) = (|| select(NETWORKS), || select(RANGES), || select(NAMES));
    let peering = || select(&["p", "q", "r"][..]);
    let exchange = || select(&["", "import-public", "export import import-public", "no-export-public"][..]);
    let redis = prop_oneof![Just(""), Just("10.34.175.88/29"), Just("10.1.2.0/29"), Just("10.60.0.0/29")];
    let vm = (name(), name(), name(), select(&["", "=10.1.0.2", "=10.2.0.5", ",b", ",c"][..]));
    prop_oneof![
        2 => network().prop_map(|n| format!("network {n}")),
        1 => network().prop_map(|n| format!("delete network {n}")),
        6 => (name(), network(), range()).prop_map(|(s, n, r)| format!("subnet {s} {n} {r}")),
        2 => name().prop_map(|s| format!("delete subnet {s}")),
        4 => vm.prop_map(|(v, s, _, more)| format!("vm {v} {s}{more} forward")),
        1 => name().prop_map(|v| format!("delete vm {v}")),
        1 => (name(), select(&["x", "y", "x,y"][..])).prop_map(|(v, t)| format!("tags {v} {t}")),
        3 => (name(), select(&["p=10.1.0.0/24", "p=10.8.0.0/24,q=10.2.0.0/28", "q=10.9.0.0/28", ""][..]))
            .prop_map(|(s, ranges)| format!("secondary {s} {ranges}")),
        3 => (name(), select(&["=/32", "=10.1.0.3/32,p=/28", "q=/29,q=/30", "p=10.8.0.0/25", ""][..]))
            .prop_map(|(v, aliases)| format!("alias {v} {aliases}")),
        2 => (name(), name(), select(&["", "=10.1.0.2", "=10.1.0.3", "=10.2.0.5"][..]))
            .prop_map(|(a, s, address)| format!("reserve {a} {s}{address}")),
        1 => (name(), select(&["external", "external=198.18.0.2"][..])).prop_map(|(a, e)| format!("reserve {a} {e}")),
        3 => (name(), network(), select(&["any 16", "any 24", "10.1.0.0 24", "10.200.0.0 14"][..]))
            .prop_map(|(a, n, range)| format!("reserve global/{a} range {n} {range}")),
        1 => name().prop_map(|a| format!("delete address {a}")),
        1 => name().prop_map(|a| format!("delete address global/{a}")),
        2 => (name(), select(&["", " 198.18.0.2", " 198.18.0.3"][..])).prop_map(|(v, a)| format!("nat {v}{a}")),
        1 => name().prop_map(|v| format!("unnat {v}")),
        1 => (name(), network()).prop_map(|(f, n)| format!("allow {f} {n} tcp:80 sources=10.0.0.0/8")),
        1 => name().prop_map(|f| format!("delete rule {f}")),
        2 => (name(), network(), range(), select(&["gateway", "a", "10.1.0.2"][..]))
            .prop_map(|(r, n, d, hop)| format!("route {r} {n} {d} {hop}")),
        1 => name().prop_map(|r| format!("delete route {r}")),
        2 => (name(), network(), range()).prop_map(|(s, n, r)| format!("nat-subnet {s} {n} {r}")),
        2 => (name(), name()).prop_map(|(t, v)| format!("target {t} {v}")),
        3 => (name(), network(), name(), name(), select(&["", "=10.1.0.2", "=10.1.0.3"][..]))
            .prop_map(|(f, n, s, t, a)| format!("forward {f} {n} {s}{a} {t} tcp:80")),
        2 => (name(), network(), name(), name()).prop_map(|(f, n, s, a)| format!("endpoint {f} {n} {s} {a}")),
        3 => (name(), name(), name(), select(&["", "manual", "manual accept=project-1:1"][..]))
            .prop_map(|(a, f, n, how)| format!("publish {a} {f} {n} {how}")),
        1 => (name(), name(), name(), select(&["", "manual reject=project-1 reconcile"][..]))
            .prop_map(|(a, f, n, how)| format!("republish {a} {f} {n} {how}")),
        1 => (select(&["target", "forward", "attachment"][..]), name()).prop_map(|(k, n)| format!("delete {k} {n}")),
        8 => (peering(), network(), network(), exchange()).prop_map(|(p, a, b, x)| format!("peer {p} {a} {b} {x}")),
        2 => (peering(), network(), exchange()).prop_map(|(p, n, x)| format!("exchange {p} {n} {x}")),
        2 => (peering(), network()).prop_map(|(p, n)| format!("unpeer {p} {n}")),
        1 => network().prop_map(|n| format!("unredis {n}")),
        4 => (name(), network(), redis).prop_map(|(r, n, range)| format!("redis {r} {n} {range}")),
        2 => (name(), network()).prop_map(|(r, n)| format!("redis {r} {n} from=any")),
        1 => name().prop_map(|r| format!("delete redis {r}")),
        3 => (network(), name()).prop_map(|(n, a)| format!("connect {n} {a}")),
        1 => (network(), name()).prop_map(|(n, a)| format!("reconnect {n} {a} force")),
        1 => network().prop_map(|n| format!("disconnect {n}")),
        1 => network().prop_map(|n| format!("unpeer servicenetworking-googleapis-com {n}")),
    ]
}

/// The change of a line; `unredis N` deletes the automatic peering of N, whatever its name.
fn resolve(world: &World, line: &str) -> Change {
    let Some(name) = line.strip_prefix("unredis ") else { return change(line) };
    let key = network(name);
    let automatic =
        |n: &Network| n.peerings.iter().find(|p| p.name.starts_with("redis-peer-")).map(|p| p.name.clone());
    let name = world.networks.get(&key).and_then(|n| automatic(n)).unwrap_or_else(|| "none".into());
    Change::PeeringRemove { network: key, name }
}

/// Every id that is in use.
fn ids(world: &World) -> Vec<u64> {
    let mut ids: Vec<u64> = world.projects.values().map(|x| x.number).collect();
    ids.extend(world.networks.values().map(|x| x.id));
    ids.extend(world.subnetworks.values().map(|x| x.id));
    ids.extend(world.instances.values().map(|x| x.id));
    ids.extend(world.firewalls.values().map(|x| x.id));
    ids.extend(world.routes.values().map(|x| x.id));
    ids.extend(world.redis.values().map(|x| x.id));
    ids.extend(world.connections.values().map(|x| x.id));
    ids.extend(world.addresses.values().map(|x| x.id));
    ids.extend(world.target_instances.values().map(|x| x.id));
    ids.extend(world.forwarding_rules.values().map(|x| x.id));
    ids.extend(world.service_attachments.values().map(|x| x.id));
    ids
}

fn ranges_of<'w>(world: &'w World, network: &'w NetworkKey) -> Vec<ipnet::Ipv4Net> {
    world.subnetworks.values().filter(|s| s.network == *network).flat_map(|s| s.ranges()).collect()
}

/// What holds in every World that changes lead to.
fn check(world: &World) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for nic in world.instances.values().flat_map(|i| &i.nics) {
        prop_assert!(seen.insert((&nic.network, nic.address)), "{} twice in {}", nic.address, nic.network);
        let subnetwork = world.subnetworks.get(&nic.subnetwork);
        prop_assert!(subnetwork.is_some_and(|s| s.network == nic.network && s.range.contains(&nic.address)));
    }
    check_addresses(world)?;
    for (key, network) in &world.networks {
        // A network imports the ranges of its active peers: its own and theirs are disjoint, pair by pair.
        let importers = std::iter::once(key).chain(world.active_peers(key));
        let imported: Vec<_> = importers.flat_map(|n| ranges_of(world, n)).collect();
        for (i, a) in imported.iter().enumerate() {
            for b in &imported[i + 1..] {
                prop_assert!(!range::overlap(a, b), "{key} has {a} and {b}");
            }
        }
        let private = |range: &ipnet::Ipv4Net| range::is_private(range.network());
        let own = ranges_of(world, key);
        let says = |at: &NetworkKey, of: &NetworkKey| {
            world.networks[at].peerings.iter().find(|p| p.peer == *of).map(|p| p.exchange).unwrap()
        };
        let peers = world.active_peers(key).flat_map(|n| {
            let public = says(key, n).import_subnet_routes_with_public_ip
                && says(n, key).export_subnet_routes_with_public_ip;
            ranges_of(world, n).into_iter().filter(move |range| public || private(range))
        });
        for range in own.into_iter().chain(peers) {
            let statics = world.routes.iter().filter(|(_, r)| r.network == *key);
            for (route, r) in statics {
                // A more specific subnetwork may come after a route, never the other way round or equal.
                prop_assert!(!range.contains(&r.dest_range), "{route} {} in {range}", r.dest_range);
            }
        }
        let names: BTreeSet<_> = network.peerings.iter().map(|p| &p.name).collect();
        let peers: BTreeSet<_> = network.peerings.iter().map(|p| &p.peer).collect();
        prop_assert!(names.len() == network.peerings.len() && peers.len() == network.peerings.len());
        for peer in world.active_peers(key) {
            prop_assert_eq!(world.peering_state(peer, key), PeeringState::Active);
        }
        // A tenant network is there for its instances, and they for it.
        let tenants = world.redis.values().filter(|r| r.tenant_network == *key).count();
        let connections = world.connections.values().filter(|c| c.tenant_network == *key).count();
        prop_assert_eq!(network.google_managed, tenants + connections > 0);
    }
    for redis in world.redis.values() {
        prop_assert_eq!(redis.host, range::nth(redis.reserved_ip_range, 3));
        let held = world.subnetworks.values().filter(|s| s.network == redis.tenant_network);
        prop_assert_eq!(held.filter(|s| s.range == redis.reserved_ip_range).count(), 1);
    }
    Ok(())
}

/// No address is two interfaces', and what is reserved is nobody's but its user's.
fn check_addresses(world: &World) -> Result<(), TestCaseError> {
    let nics: Vec<&Nic> = world.instances.values().flat_map(|i| &i.nics).collect();
    let mut own = Vec::new();
    for nic in &nics {
        let subnetwork = &world.subnetworks[&nic.subnetwork];
        own.push((&nic.subnetwork, ipnet::Ipv4Net::from(nic.address)));
        for alias in &nic.aliases {
            let within = match &alias.secondary {
                None => Some(&subnetwork.range),
                Some(name) => subnetwork.secondary.get(name),
            };
            prop_assert!(within.is_some_and(|within| within.contains(&alias.range)), "{alias:?}");
            own.push((&nic.subnetwork, alias.range));
        }
    }
    // What is kept beside the instances is what a look at every interface finds.
    for place in world.subnetworks.keys() {
        let mut found: Vec<_> = own.iter().filter(|(of, _)| *of == place).map(|(_, range)| *range).collect();
        found.sort_by_key(|range| range.addr());
        prop_assert_eq!(world.instances.held(place).map(|(range, _)| range).collect::<Vec<_>>(), found);
        for (range, key) in world.instances.held(place) {
            prop_assert_eq!(world.instances.holder(place, range), Some(key));
            let has = |nic: &Nic| nic.subnetwork == *place && nic.ranges().any(|own| own == range);
            prop_assert!(world.instances[key].nics.iter().any(has), "{key} and {range}");
        }
    }
    let mut nats = BTreeSet::new();
    for (key, rule) in &world.forwarding_rules {
        own.push((&rule.subnetwork, ipnet::Ipv4Net::from(rule.address)));
        let place = &world.subnetworks[&rule.subnetwork];
        prop_assert!(place.network == rule.network && place.range.contains(&rule.address), "{key}");
        prop_assert_eq!(place.purpose, Purpose::Private);
        let Forward::Service(endpoint) = &rule.to else { continue };
        prop_assert_eq!(endpoint.nat.is_some(), endpoint.status == ConnectionStatus::Accepted, "{}", key);
        let attachment = world.service_attachments.get(&endpoint.attachment);
        prop_assert!(attachment.is_some() || endpoint.status == ConnectionStatus::Closed, "{key}");
        if let (Some(nat), Some(attachment)) = (endpoint.nat, attachment) {
            let service = &world.forwarding_rules[&attachment.target];
            prop_assert!(nats.insert((&service.network, nat)), "{nat} twice");
            let mut places = attachment.nat_subnetworks.iter().map(|key| &world.subnetworks[key]);
            prop_assert!(places.any(|place| place.range.contains(&nat)), "{nat} of {key}");
        }
    }
    for attachment in world.service_attachments.values() {
        let of = &world.forwarding_rules[&attachment.target].network;
        for place in attachment.nat_subnetworks.iter().map(|key| &world.subnetworks[key]) {
            prop_assert!(place.network == *of && place.purpose == Purpose::PrivateServiceConnect);
        }
    }
    prop_assert!(nics.iter().all(|nic| world.subnetworks[&nic.subnetwork].purpose == Purpose::Private));
    for (i, a) in own.iter().enumerate() {
        for b in &own[i + 1..] {
            prop_assert!(a.0 != b.0 || !range::overlap(&a.1, &b.1), "{a:?} and {b:?}");
        }
    }
    let mut external: Vec<_> = nics.iter().filter_map(|nic| nic.access.as_ref()).map(|a| a.address).collect();
    external.sort();
    prop_assert!(external.windows(2).all(|pair| pair[0] != pair[1]), "{external:?}");
    for (key, address) in &world.addresses {
        match &address.reserved {
            Reserved::Internal { subnetwork, address } => {
                prop_assert!(world.subnetworks[subnetwork].range.contains(address));
                prop_assert!(
                    nics.iter().all(|n| n.subnetwork != *subnetwork || !n.has_alias(*address)),
                    "{key}"
                );
            }
            Reserved::External(address) => prop_assert!(tombolo_model::address::EXTERNAL.contains(address)),
            Reserved::Peering { network, range } => {
                let ranges = ranges_of(world, network);
                prop_assert!(ranges.iter().all(|have| !range::overlap(have, range)), "{key} {range}");
            }
        }
    }
    Ok(())
}

fn start() -> World {
    world(
        "project project-1\nenable servicenetworking.googleapis.com project-1\nproject project-2\nnetwork vpc-1\nnetwork vpc-2\nnetwork vpc-3\nnetwork project-2/vpc-4",
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn changes_keep_the_world_whole(lines in prop::collection::vec(line(), 1..40)) {
        let mut world = start();
        let mut known: BTreeSet<u64> = ids(&world).into_iter().collect();
        for (i, line) in lines.iter().enumerate() {
            let now = Timestamp(i as i64);
            let change = resolve(&world, line);
            let before = world.clone();
            let result = world.apply(&change, now);
            prop_assert_eq!(&world, &before, "apply is pure");
            prop_assert_eq!(&world.apply(&change, now), &result, "apply is deterministic");
            let Ok(next) = result else { continue };
            check(&next)?;
            let have = ids(&next);
            let unique: BTreeSet<u64> = have.iter().copied().collect();
            prop_assert_eq!(unique.len(), have.len(), "ids are unique");
            let old: BTreeSet<u64> = ids(&world).into_iter().collect();
            let fresh: Vec<u64> = unique.difference(&old).copied().collect();
            prop_assert!(fresh.iter().all(|id| !known.contains(id)), "an id came back");
            known.extend(fresh);
            world = next;
        }
        let json = serde_json::to_string(&world).unwrap();
        let back: World = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&back, &world);
        // It goes on where it was: the next id too.
        let line = change("network vpc-new");
        prop_assert_eq!(back.apply(&line, Timestamp(0)), world.apply(&line, Timestamp(0)));
    }
}
