//! World to Fabric. The only place where tags become addresses and peerings become routes.

use crate::fabric::{Fabric, Nat, Network, Nic, Owner, internet};
use crate::firewall::{Rule, Rules, Tags, Targets};
use crate::forwarding;
use crate::host::Host;
use crate::route::{self, Gone, Kind, Route, Via};
use crate::tags::Bound;
use crate::{IAP_CLIENT, INTERNET_CLIENT, METADATA_SERVER};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use tombolo_model::firewall::IMPLIED_PRIORITY;
use tombolo_model::{
    Action, Direction, Firewall, FirewallKey, InstanceKey, L4, NatRanges, NetworkKey, NextHop, PolicyRule,
    PortRange, Protocol, World, hierarchical_policy, peering, range, redis, router,
};

/// The network that the World means.
pub fn compile(world: &World) -> Fabric {
    let mut networks: BTreeMap<NetworkKey, Network> =
        world.networks.iter().map(|(key, n)| (key.clone(), empty(n))).collect();
    add_instances(world, &mut networks);
    add_redis(world, &mut networks);
    forwarding::add(world, &mut networks);
    add_iap_clients(&mut networks);
    for (key, subnetwork) in &world.subnetworks {
        if let Some(network) = networks.get_mut(&subnetwork.network) {
            for range in subnetwork.ip_ranges() {
                network.ranges.insert(range);
                network.routes.push(Route {
                    kind: Kind::Subnet,
                    destination: range,
                    priority: 0,
                    via: Via::Subnetwork,
                    name: key.name.clone(),
                    targets: Targets::All,
                });
            }
        }
    }
    add_peers(world, &mut networks);
    let members = Members::of(world);
    add_routes(world, &members, &mut networks);
    add_rules(world, (&members, &Bound::of(world)), &mut networks);
    networks.values_mut().for_each(|n| route::sort(&mut n.routes));
    add_internet(&mut networks);
    let host = world.reaches_host.then(|| Host::around(&networks, world.pings_host));
    Fabric { networks, host }
}

/// A network with nothing in it.
fn empty(network: &tombolo_model::Network) -> Network {
    Network {
        google_managed: network.google_managed,
        mtu: network.mtu,
        nics: BTreeMap::new(),
        stopped: BTreeMap::new(),
        services: BTreeMap::new(),
        forwarding: BTreeMap::new(),
        ranges: BTreeSet::new(),
        peers: BTreeSet::new(),
        routes: Vec::new(),
        egress: Vec::new(),
        ingress: Vec::new(),
    }
}

/// Puts the interfaces of every instance where they belong; of one that is stopped, that they are not there.
fn add_instances(world: &World, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, instance) in &world.instances {
        for (index, nic) in instance.nics.iter().enumerate() {
            let Some(subnetwork) = world.subnetworks.get(&nic.subnetwork) else { continue };
            let Some(network) = networks.get_mut(&nic.network) else { continue };
            if !instance.running {
                network.stopped.insert(nic.address, key.name.clone());
                continue;
            }
            let compiled = Nic {
                owner: Owner::Instance(key.clone()),
                index: index as u8,
                address: nic.address,
                range: subnetwork.range,
                subnetwork: nic.subnetwork.name.clone(),
                region: nic.subnetwork.region.clone(),
                aliases: nic.aliases.iter().map(|alias| alias.range).collect(),
                ipv6: nic.ipv6,
                gateway: subnetwork.gateway(),
                can_ip_forward: instance.can_ip_forward,
                external: nic.access.as_ref().map(|access| access.address),
                nat: nat(world, nic),
            };
            network.nics.insert(nic.address, compiled);
        }
    }
}

/// The Cloud NAT gateway of an interface, if one serves any of its addresses. An external address stands for the
/// interface's own one only: alias ranges are served as ever (documentation of Cloud NAT, "NAT and external addresses").
fn nat(world: &World, nic: &tombolo_model::Nic) -> Option<Nat> {
    let (key, gateway, served) = router::serving(world, &nic.subnetwork, &nic.network)?;
    let own = nic.access.is_none().then(|| Ipv4Net::new_assert(nic.address, 32));
    let aliases = nic.aliases.iter().filter(|alias| served == NatRanges::All || alias.secondary.is_none());
    let ranges: BTreeSet<Ipv4Net> = own.into_iter().chain(aliases.map(|alias| alias.range)).collect();
    if ranges.is_empty() {
        return None;
    }
    let name = format!("{} of {}", gateway.spec.name, key.name);
    Some(Nat { name, address: gateway.address_of(nic.address)?, ranges })
}

/// Puts every Redis instance into its tenant network.
fn add_redis(world: &World, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, redis) in &world.redis {
        let Some(network) = networks.get_mut(&redis.tenant_network) else { continue };
        let range = redis.reserved_ip_range;
        let nic = Nic {
            owner: Owner::Redis(key.clone()),
            index: 0,
            address: redis.host,
            range,
            subnetwork: key.name.clone(),
            region: key.region.clone(),
            aliases: Vec::new(),
            ipv6: None,
            gateway: range::gateway(range),
            can_ip_forward: false,
            external: None,
            nat: None,
        };
        network.nics.insert(redis.host, nic);
        network.services.insert(redis.host, redis.port);
    }
}

/// Gives every network of a user its client of Identity-Aware Proxy, unless it uses that very address itself.
fn add_iap_clients(networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, network) in networks.iter_mut().filter(|(_, n)| !n.google_managed) {
        let nic = Nic {
            owner: Owner::Iap(key.clone()),
            index: 0,
            address: IAP_CLIENT,
            range: Ipv4Net::new_assert(IAP_CLIENT, 32),
            subnetwork: "iap".into(),
            region: String::new(),
            aliases: Vec::new(),
            ipv6: None,
            gateway: METADATA_SERVER,
            can_ip_forward: false,
            external: None,
            nat: None,
        };
        network.nics.entry(IAP_CLIENT).or_insert(nic);
    }
}

/// Where something has a way to the internet there is one, with one client that nothing is kept from.
fn add_internet(networks: &mut BTreeMap<NetworkKey, Network>) {
    let nics = networks.values().flat_map(|network| network.nics.values());
    if !nics.into_iter().any(Nic::reaches_internet) {
        return;
    }
    let range = Ipv4Net::new_assert(INTERNET_CLIENT, 24).trunc();
    let client = Nic {
        owner: Owner::Internet,
        index: 0,
        address: INTERNET_CLIENT,
        range,
        subnetwork: "internet".into(),
        region: String::new(),
        aliases: Vec::new(),
        ipv6: None,
        gateway: range::gateway(range),
        can_ip_forward: false,
        external: None,
        nat: None,
    };
    let network = Network {
        google_managed: true,
        mtu: 1500,
        nics: BTreeMap::from([(INTERNET_CLIENT, client)]),
        stopped: BTreeMap::new(),
        services: BTreeMap::new(),
        forwarding: BTreeMap::new(),
        ranges: BTreeSet::new(),
        peers: BTreeSet::new(),
        routes: Vec::new(),
        egress: vec![implied("internet", Action::Allow)],
        ingress: vec![implied("internet", Action::Allow)],
    };
    networks.insert(internet(), network);
}

/// Active peerings: the peer's own routes that cross, and nothing that the peer learnt elsewhere.
fn add_peers(world: &World, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, network) in networks.iter_mut() {
        for peer in world.active_peers(key) {
            network.peers.insert(peer.clone());
            let name = route::peering_name(world, key, peer);
            let mut add = |kind, destination, priority| {
                let (via, name) = (Via::Peer(peer.clone()), name.clone());
                let targets = Targets::All;
                network.routes.push(Route { kind, destination, priority, via, name, targets });
            };
            for (_, range) in peering::imported_ranges(world, key, peer) {
                add(Kind::PeeringSubnet, range.into(), 0);
            }
            for (_, range) in peering::imported_ipv6_ranges(world, key, peer) {
                add(Kind::PeeringSubnet, range.into(), 0);
            }
            for (_, route) in peering::imported_routes(world, key, peer) {
                add(Kind::PeeringStatic, route.dest_range.into(), route.priority);
            }
        }
    }
}

/// Default and static routes.
fn add_routes(world: &World, members: &Members<'_>, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, route) in &world.routes {
        let Some(network) = networks.get_mut(&route.network) else { continue };
        let via = match &route.next_hop {
            NextHop::InternetGateway => Via::Internet,
            NextHop::Address(address) => by_address(network, *address),
            NextHop::Instance(instance) => by_instance(world, (&route.network, network), instance),
        };
        let targets = match route.tags.is_empty() {
            true => Targets::All,
            false => members.targets(&route.network, &route.tags, &BTreeSet::new()),
        };
        let (kind, destination, priority) = (Kind::Static, route.dest_range.into(), route.priority);
        network.routes.push(Route { kind, destination, priority, via, name: key.name.clone(), targets });
    }
}

/// Whether the interface is one of the instance.
fn belongs_to(nic: &Nic, instance: &InstanceKey) -> bool {
    matches!(&nic.owner, Owner::Instance(key) if key == instance)
}

/// The next hop that an address leads to: an interface that may forward, or nowhere.
fn by_address(network: &Network, address: Ipv4Addr) -> Via {
    let aliased = || network.nic_with(address.into()).map(|nic| nic.owner.name().to_owned());
    Via::Blackhole(match (network.nics.get(&address), network.stopped.get(&address)) {
        (Some(nic), _) if nic.can_ip_forward => return Via::Nic(address),
        (Some(nic), _) => Gone::CannotForward(nic.owner.name().to_owned()),
        (None, Some(name)) => Gone::Stopped(name.clone()),
        (None, None) => match aliased() {
            Some(name) => Gone::NotPrimary(address, name),
            None => Gone::NoSuchAddress(address),
        },
    })
}

/// The same of an instance's name.
fn by_instance(world: &World, (key, network): (&NetworkKey, &Network), instance: &InstanceKey) -> Via {
    let mut own = network.nics.values().filter(|nic| belongs_to(nic, instance));
    let name = instance.name.clone();
    Via::Blackhole(match (own.next(), world.instances.get(instance)) {
        (Some(nic), _) if nic.can_ip_forward => return Via::Nic(nic.address),
        (Some(_), _) => Gone::CannotForward(name),
        (None, None) => Gone::NoSuchInstance(name),
        (None, Some(there)) if there.nics.iter().any(|nic| nic.network == *key) => Gone::Stopped(name),
        (None, Some(_)) => Gone::OtherNetwork(name),
    })
}

/// The level of the organization's policy; after it come those of its folders, from the top down, which are ten at most.
const HIERARCHICAL: u8 = 0;
/// The level of a network's own rules; its global policy and after that the regional one are before or after.
const CLASSIC: u8 = 23;
/// The level of the rules that nobody made.
const IMPLIED: u8 = 29;

/// Rules, tags resolved, in the order in which they win.
fn add_rules(world: &World, who: Who<'_, '_>, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, firewall) in world.firewalls.iter().filter(|(_, f)| !f.disabled) {
        let Some(network) = networks.get_mut(&firewall.network) else { continue };
        let rule = resolve(who.0, key, firewall);
        match firewall.direction {
            Direction::Ingress => network.ingress.push(rule),
            Direction::Egress => network.egress.push(rule),
        }
    }
    for (key, policy) in &world.firewall_policies {
        for at in policy.associations.values() {
            let Some(network) = networks.get_mut(at) else { continue };
            let first = world.networks.get(at).is_some_and(|network| network.policy_first);
            let global = if first { CLASSIC - 2 } else { CLASSIC + 1 };
            let level = global + u8::from(key.region.is_some());
            let region = key.region.as_ref().map_or_else(String::new, |region| format!("{region}/"));
            for (priority, rule) in policy.rules.iter().filter(|(_, rule)| !rule.disabled) {
                let name = format!("{region}{}/{priority}", key.name);
                let mut compiled = resolve_policy(who, at, (name, *priority, level), rule);
                if let Some(region) = &key.region {
                    let here = network.nics.values().filter(|nic| nic.region == *region);
                    let acts = here.map(|nic| nic.address).filter(|nic| compiled.targets.contains(*nic));
                    compiled.targets = Targets::Nics(acts.collect());
                }
                match rule.direction {
                    Direction::Ingress => network.ingress.push(compiled),
                    Direction::Egress => network.egress.push(compiled),
                }
            }
        }
    }
    add_hierarchical(world, who, networks);
    for network in networks.values_mut() {
        if network.google_managed {
            (network.egress, network.ingress) = managed_rules(&network.services);
        }
        network.egress.sort_by(|a, b| order(a).cmp(&order(b)));
        network.ingress.sort_by(|a, b| order(a).cmp(&order(b)));
        network.egress.push(implied("default-allow-egress", Action::Allow));
        network.ingress.push(implied("default-deny-ingress", Action::Deny));
    }
}

/// The rules of the organization's policy and its folders' ones, in the networks of the projects beneath.
fn add_hierarchical(world: &World, who: Who<'_, '_>, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, network) in networks.iter_mut() {
        let policies = hierarchical_policy::all_of_project(world, &key.project);
        for ((node, _, policy), level) in policies.iter().zip(HIERARCHICAL..) {
            let acting = policy.rules.iter().filter(|(_, rule)| !rule.disabled);
            for (priority, rule) in acting.filter(|(_, rule)| hierarchical_policy::acts_in(rule, key)) {
                let name = format!("{node}/{}/{priority}", policy.short_name);
                let compiled = resolve_policy(who, key, (name, *priority, level), rule);
                match rule.direction {
                    Direction::Ingress => network.ingress.push(compiled),
                    Direction::Egress => network.egress.push(compiled),
                }
            }
        }
    }
}

/// Rules that win over others come first.
fn order(rule: &Rule) -> (u8, u32, Action, &str) {
    (rule.level, rule.priority, rule.action, &rule.name)
}

/// Who instances are to rules: by tags and service accounts, and by secure tags.
type Who<'w, 'a> = (&'a Members<'w>, &'a Bound<'w>);

/// An interface's own addresses: the one that it is known by, and its IPv6 range.
type Own = (Ipv4Addr, Option<Ipv6Net>);

/// The addresses of instances in a network, by what rules call these: there may be many of both.
#[derive(Debug, Default)]
struct Members<'w> {
    by_tag: BTreeMap<(&'w NetworkKey, &'w str), Vec<Own>>,
    by_account: BTreeMap<(&'w NetworkKey, String), Vec<Own>>,
}

impl<'w> Members<'w> {
    fn of(world: &'w World) -> Self {
        let mut members = Self::default();
        for (key, instance) in &world.instances {
            let account = instance.account_email(world, &key.project);
            for nic in &instance.nics {
                for tag in &instance.tags {
                    members.by_tag.entry((&nic.network, tag)).or_default().push((nic.address, nic.ipv6));
                }
                if let Some(account) = account.clone() {
                    members
                        .by_account
                        .entry((&nic.network, account))
                        .or_default()
                        .push((nic.address, nic.ipv6));
                }
            }
        }
        members
    }

    /// The addresses of those that have one of these tags or act as one of these accounts.
    fn named(
        &self,
        network: &NetworkKey,
        tags: &BTreeSet<String>,
        accounts: &BTreeSet<String>,
    ) -> BTreeSet<Own> {
        let tagged = tags.iter().filter_map(|tag| self.by_tag.get(&(network, tag.as_str())));
        let acting = accounts.iter().filter_map(|account| self.by_account.get(&(network, account.clone())));
        tagged.chain(acting).flatten().copied().collect()
    }

    /// Their interfaces.
    fn targets(&self, network: &NetworkKey, tags: &BTreeSet<String>, accounts: &BTreeSet<String>) -> Targets {
        Targets::Nics(self.named(network, tags, accounts).into_iter().map(|(address, _)| address).collect())
    }
}

/// A rule with its tags and service accounts turned into the addresses of the network's instances that have them. As
/// sources they stand for the interfaces' own addresses, IPv6 ones too, not for their alias ranges, as in Google's cloud
/// (documentation of alias IP ranges; of VPC firewall rules, "Source and target filtering").
fn resolve(members: &Members<'_>, key: &FirewallKey, firewall: &Firewall) -> Rule {
    let network = &firewall.network;
    let sources = members.named(network, &firewall.source_tags, &firewall.source_service_accounts);
    let sources = sources.into_iter().flat_map(|(address, ipv6)| {
        std::iter::once(Ipv4Net::from(address).into()).chain(ipv6.map(IpNet::from))
    });
    let (from, to) = (&firewall.source_ranges, &firewall.destination_ranges);
    let (ranges, near) = match firewall.direction {
        Direction::Ingress => (from, to),
        Direction::Egress => (to, from),
    };
    let everywhere = firewall.target_tags.is_empty() && firewall.target_service_accounts.is_empty();
    let targets = if everywhere {
        Targets::All
    } else {
        members.targets(network, &firewall.target_tags, &firewall.target_service_accounts)
    };
    Rule {
        name: key.name.clone(),
        implied: false,
        level: CLASSIC,
        priority: firewall.priority.into(),
        action: firewall.action,
        matches: firewall.matches.clone(),
        far: ranges.iter().copied().chain(sources).collect(),
        near: near.clone(),
        targets,
        tags: Tags::default(),
        log: firewall.logging.is_some(),
    }
}

/// A rule of a firewall policy, which is known by the policy and its priority: `POLICY/10`, `us-central1/POLICY/10`, or
/// `folders/N/POLICY/10` where a hierarchical one acts at that folder.
fn resolve_policy(
    (members, bound): Who<'_, '_>,
    network: &NetworkKey,
    (name, priority, level): (String, u32, u8),
    rule: &PolicyRule,
) -> Rule {
    let (accounts, values) = (&rule.target_service_accounts, &rule.target_secure_tags);
    let tags = bound.named(network, (&rule.src_secure_tags, values));
    let targets = match (accounts.is_empty(), values.is_empty()) {
        (true, true) => Targets::All,
        (false, _) => members.targets(network, &BTreeSet::new(), accounts),
        (true, false) => Targets::Nics(tags.targets.values().flatten().copied().collect()),
    };
    Rule {
        name,
        implied: false,
        level,
        priority,
        action: rule.action,
        matches: rule.matches.clone(),
        far: rule.ranges.iter().chain(tags.sources.values().flatten()).copied().collect(),
        near: rule.near_ranges.clone(),
        targets,
        tags,
        log: rule.logging,
    }
}

/// A rule that matches everything of both versions of IP, last.
fn implied(name: &str, action: Action) -> Rule {
    Rule {
        implied: true,
        level: IMPLIED,
        far: [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())].into(),
        ..managed(name, IMPLIED_PRIORITY, action, L4::all_of(Protocol::All), Ipv4Net::default())
    }
}

/// The rules of a Memorystore tenant network: only the instances' ports, never from 172.17.0.0/16 (Google's
/// documentation of Memorystore networking: clients there cannot connect), and no connection from an instance.
fn managed_rules(services: &BTreeMap<Ipv4Addr, u16>) -> (Rules, Rules) {
    let bridge = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);
    let all = || L4::all_of(Protocol::All);
    let mut ingress = vec![managed("memorystore-deny-172-17", 900, Action::Deny, all(), bridge)];
    for (name, port) in
        [("memorystore-allow-redis", redis::PORT), ("memorystore-allow-redis-tls", redis::TLS_PORT)]
    {
        let hosts: BTreeSet<_> =
            services.iter().filter(|(_, at)| **at == port).map(|(host, _)| *host).collect();
        if !hosts.is_empty() {
            let tcp = L4::new(Protocol::TCP, vec![PortRange { first: port, last: port }]);
            let targets = Targets::Nics(hosts);
            ingress.push(Rule { targets, ..managed(name, 1000, Action::Allow, tcp, Ipv4Net::default()) });
        }
    }
    let egress = vec![managed("memorystore-deny-egress", 1000, Action::Deny, all(), Ipv4Net::default())];
    (egress, ingress)
}

/// A rule of one match and one range that acts everywhere.
fn managed(name: &str, priority: u16, action: Action, l4: L4, far: Ipv4Net) -> Rule {
    Rule {
        name: name.into(),
        implied: false,
        level: CLASSIC,
        priority: priority.into(),
        action,
        matches: vec![l4],
        far: BTreeSet::from([far.into()]),
        near: BTreeSet::new(),
        targets: Targets::All,
        tags: Tags::default(),
        log: false,
    }
}
