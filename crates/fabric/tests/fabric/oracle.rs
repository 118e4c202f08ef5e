//! The verdict of `trace` is that of a naive reading of Google's documentation, straight from the World: two gates,
//! the longest prefix, peering that goes one hop. Nothing of the Fabric is used.

use crate::support::*;
use crate::worlds::{AnyFlow, flows, worlds, worlds_of_routes, worlds_of_rules};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use tombolo_fabric::{
    Cause, Flow, IAP_CLIENT, INTERNET_CLIENT, METADATA_SERVER, Verdict, compile, internet, trace,
};
use tombolo_model::*;

/// Something that has an address in a network.
struct End<'w> {
    tags: Vec<&'w str>,
    secure: Vec<&'w TagValueKey>,
    account: Option<String>,
    region: Option<String>,
    forwards: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Vm,
    Redis,
    Iap,
    Internet,
}

/// What has the address in the network.
fn end<'w>(world: &'w World, network: &NetworkKey, address: Ipv4Addr) -> Option<End<'w>> {
    for (key, instance) in world.instances.iter().filter(|(_, instance)| instance.running) {
        let nic = instance.nics.iter().find(|n| n.network == *network && n.address == address);
        if let Some(nic) = nic {
            let region = Some(nic.subnetwork.region.clone());
            let tags = instance.tags.iter().map(String::as_str).collect();
            let account = instance.service_account.as_ref().map(|account| match account.email.as_str() {
                "default" => {
                    let number = 100_000_000_000 + world.projects[&key.project].number;
                    format!("{number}-compute@developer.gserviceaccount.com")
                }
                email => email.to_owned(),
            });
            let secure = instance.secure_tags.values().filter(|value| means(world, value, network)).collect();
            let (forwards, kind) = (instance.can_ip_forward, Kind::Vm);
            return Some(End { tags, secure, account, region, forwards, kind });
        }
    }
    let plain = |kind| {
        let (tags, secure) = (Vec::new(), Vec::new());
        Some(End { tags, secure, account: None, region: None, forwards: false, kind })
    };
    if world.redis.values().any(|r| r.tenant_network == *network && r.host == address) {
        return plain(Kind::Redis);
    }
    let mut nics = world.instances.values().filter(|i| i.running).flat_map(|i| &i.nics);
    let external = nics.any(|n| {
        n.access.is_some() || gateway(world, n, n.address).is_some() || {
            let aliases = n.aliases.iter().map(|alias| alias.range.network());
            aliases.into_iter().any(|address| gateway(world, n, address).is_some())
        }
    });
    if external && (network, address) == (&internet(), INTERNET_CLIENT) {
        return plain(Kind::Internet);
    }
    let user = world.networks.get(network).is_some_and(|n| !n.google_managed);
    if user && address == IAP_CLIENT { plain(Kind::Iap) } else { None }
}

/// Whether a tag value means interfaces in the network: documentation of Cloud NGFW, "Secure tags for firewalls", purpose
/// data. What has a parent is in the organization.
fn means(world: &World, value: &TagValueKey, network: &NetworkKey) -> bool {
    match &world.tag_keys[&world.tag_values[value].parent].scope {
        Some(TagScope::Network(own)) => own == network,
        Some(TagScope::Organization) => world.projects[&network.project].parent.is_some(),
        None => false,
    }
}

/// Whether an address is the own one of an interface with one of the tag values, in the network or in one that gives it the
/// address by a peering.
fn is_tagged_source(
    world: &World,
    values: &std::collections::BTreeSet<TagValueKey>,
    network: &NetworkKey,
    far: IpAddr,
) -> bool {
    let ways = ways(world, network, far, None);
    let near = |other: &NetworkKey| other == network || ways.contains(&Way::Peer(other.clone()));
    let networks = world.networks.keys().filter(|other| near(other));
    let mut ends = networks.filter_map(|other| named(world, other, far));
    !values.is_empty() && ends.any(|end| end.secure.iter().any(|value| values.contains(*value)))
}

/// What Cloud NAT makes of an address of the interface, other than one that has an external address: documentation of
/// Cloud NAT, "Public NAT".
fn gateway(world: &World, nic: &Nic, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let alias = nic.aliases.iter().find(|alias| alias.range.contains(&address));
    if alias.is_none() && (address != nic.address || nic.access.is_some()) {
        return None;
    }
    let secondary = alias.is_some_and(|alias| alias.secondary.is_some());
    for (key, router) in &world.routers {
        if router.network != nic.network || key.region != nic.subnetwork.region {
            continue;
        }
        for nat in &router.nats {
            let ranges = match &nat.spec.sources {
                NatSources::AllSubnetworks(ranges) => Some(ranges),
                NatSources::Subnetworks(some) => some.get(&nic.subnetwork),
            };
            match ranges {
                Some(NatRanges::Primary) if secondary => {}
                Some(_) => return nat.address_of(nic.address),
                None => {}
            }
        }
    }
    None
}

/// The own IPv4 address of the interface that has the address, itself, in an alias range, by a forwarding rule or in its IPv6
/// range. `None` of an IPv6 address that none has.
fn holder(world: &World, network: &NetworkKey, address: IpAddr) -> Option<Ipv4Addr> {
    let has = |nic: &&Nic| {
        nic.network == *network
            && match address {
                IpAddr::V4(address) => nic.aliases.iter().any(|a| a.range.contains(&address)),
                IpAddr::V6(address) => nic.ipv6.is_some_and(|range| range.contains(&address)),
            }
    };
    let nics = world.instances.values().filter(|i| i.running).flat_map(|i| &i.nics);
    let range = nics.into_iter().find(has).map(|nic| nic.address);
    let itself = v4(address);
    let rule = || {
        let is = |r: &&std::sync::Arc<ForwardingRule>| r.network == *network && Some(r.address) == itself;
        forwarded_to(world, world.forwarding_rules.values().find(is)?).ok()
    };
    range.or_else(rule).or(itself)
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Whether the sender has the flow's destination itself, by whichever of its interfaces: what it sends there it gets, whoever
/// may send it something else. Google's guest agent gives it alias ranges and forwarding rules' addresses too; of IPv6 DHCP
/// gives it the first address of its range.
fn is_senders(world: &World, sender: &End, flow: &Flow) -> bool {
    let Kind::Vm = sender.kind else { return flow.destination == flow.nic };
    let is = |nic: &Nic| nic.network == flow.network && nic.address == flow.nic;
    let mut running = world.instances.values().filter(|instance| instance.running);
    let Some(instance) = running.find(|instance| instance.nics.iter().any(is)) else { return false };
    instance.nics.iter().any(|nic| match flow.destination {
        IpAddr::V4(_) => holder(world, &nic.network, flow.destination) == Some(nic.address),
        IpAddr::V6(address) => nic.ipv6.is_some_and(|range| range.network() == address),
    })
}

/// What has the address, itself or, of IPv6, in its range: whose tags and account it has. An alias is nobody's.
fn named<'w>(world: &'w World, network: &NetworkKey, address: IpAddr) -> Option<End<'w>> {
    let itself = match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => {
            let has = |nic: &&Nic| {
                nic.network == *network && nic.ipv6.is_some_and(|range| range.contains(&address))
            };
            world
                .instances
                .values()
                .filter(|i| i.running)
                .flat_map(|i| &i.nics)
                .find(has)
                .map(|nic| nic.address)
        }
    };
    end(world, network, itself?)
}

/// The interface that a forwarding rule leads to; or why there is none.
fn forwarded_to(world: &World, rule: &ForwardingRule) -> Result<Ipv4Addr, Cause> {
    let Forward::Instance { target, .. } = &rule.to else { return Err(Cause::ForwardingRuleNoInstances) };
    let instance = world.instances.get(&world.target_instances[target].instance);
    let instance = instance.ok_or(Cause::ForwardingRuleNoInstances)?;
    let nic = instance.nics.iter().find(|nic| nic.network == rule.network);
    let nic = nic.ok_or(Cause::ForwardingRuleNoInstances)?;
    if instance.running { Ok(nic.address) } else { Err(Cause::InstanceNotRunning) }
}

/// What becomes of a packet that comes to a forwarding rule: documentation of protocol forwarding, and of Private Service
/// Connect, "About accessing published services through endpoints".
fn forward(world: &World, flow: &Flow, key: &ForwardingRuleKey, rule: &ForwardingRule) -> Verdict {
    let dropped = Verdict::Dropped;
    // A region is a zone without its last two letters.
    let own = |nic: &Nic| nic.network == flow.network && nic.address == flow.nic;
    let sender = world.instances.iter().find(|(_, i)| i.running && i.nics.iter().any(own));
    let region = sender.map(|(key, _)| key.zone[..key.zone.len() - 2].to_owned());
    let near = |global: bool| global || region.as_ref().is_none_or(|region| *region == key.region);
    match &rule.to {
        Forward::Instance { .. } => {
            let gives = give(world, flow, rule, flow.source);
            let nobody = [Cause::ForwardingRuleNoInstances, Cause::InstanceNotRunning];
            let there = !matches!(gives, Verdict::Dropped(cause) if nobody.contains(&cause));
            if there && !near(rule.global) {
                return dropped(Cause::ForwardingRuleRegionMismatch);
            }
            gives
        }
        Forward::Service(_) if rule.network != flow.network => {
            dropped(Cause::PscEndpointAccessedFromPeeredNetwork)
        }
        Forward::Service(endpoint) => {
            let Some(nat) = endpoint.nat else { return dropped(Cause::PscConnectionNotAccepted) };
            let service = &world.service_attachments[&endpoint.attachment].target;
            let service = &world.forwarding_rules[service];
            if !near(rule.global && service.global) {
                return dropped(Cause::ForwardingRuleRegionMismatch);
            }
            give(world, flow, service, nat.into())
        }
    }
}

/// What the instance of a rule is given, and its network's gate lets through, of a packet from `source`.
fn give(world: &World, flow: &Flow, rule: &ForwardingRule, source: IpAddr) -> Verdict {
    let Forward::Instance { takes, .. } = &rule.to else { panic!("{rule:?}") };
    let nic = match forwarded_to(world, rule) {
        Ok(nic) => nic,
        Err(cause) => return Verdict::Dropped(cause),
    };
    let protocol = takes.protocol == Protocol::All || takes.protocol == Protocol::Number(flow.protocol);
    if !protocol || !(takes.ports.is_empty() || takes.ports.iter().any(|p| p.first == flow.port)) {
        return Verdict::Dropped(Cause::ForwardingRuleMismatch);
    }
    if (flow.protocol, flow.port) == (17, 68) {
        return Verdict::Dropped(Cause::TrafficTypeBlocked);
    }
    let receiver = end(world, &rule.network, nic).unwrap();
    let ends = Ends { far: source, near: rule.address.into() };
    match allows(world, Direction::Ingress, flow, &rule.network, &receiver, ends) {
        true => Verdict::Delivered { network: rule.network.clone(), nic },
        false => Verdict::Dropped(Cause::FirewallRule),
    }
}

/// The addresses of a packet, as a gate sees it: the other end's, and this one's.
#[derive(Clone, Copy)]
struct Ends {
    far: IpAddr,
    near: IpAddr,
}

/// Whether the rules of a direction let the packet through at `at`; `ends` are the other end's address and this one's.
fn allows(
    world: &World,
    direction: Direction,
    flow: &Flow,
    network: &NetworkKey,
    at: &End,
    ends: Ends,
) -> bool {
    let hit = |rule: &Firewall| {
        let acts_as = |end: &End, accounts: &std::collections::BTreeSet<String>| {
            end.account.as_ref().is_some_and(|account| accounts.contains(account))
        };
        let anywhere = rule.target_tags.is_empty() && rule.target_service_accounts.is_empty();
        let target = anywhere
            || rule.target_tags.iter().any(|t| at.tags.contains(&t.as_str()))
            || acts_as(at, &rule.target_service_accounts);
        let packet = rule.matches.iter().any(|l4| {
            let protocol = match l4.protocol {
                Protocol::All => true,
                Protocol::Number(n) => n == flow.protocol,
            };
            protocol
                && (l4.ports.is_empty()
                    || l4.ports.iter().any(|p| p.first <= flow.port && flow.port <= p.last))
        });
        let (ranges, own) = match direction {
            Direction::Ingress => (&rule.source_ranges, &rule.destination_ranges),
            Direction::Egress => (&rule.destination_ranges, &rule.source_ranges),
        };
        // A source tag, as a source account, is that of an instance of the rule's own network.
        let is_source = |e: End| {
            e.tags.iter().any(|t| rule.source_tags.contains(*t)) || acts_as(&e, &rule.source_service_accounts)
        };
        let tagged =
            direction == Direction::Ingress && named(world, network, ends.far).is_some_and(is_source);
        let near = own.is_empty() || own.iter().any(|r| r.contains(&ends.near));
        target && packet && near && (tagged || ranges.iter().any(|r| r.contains(&ends.far)))
    };
    let mut verdict: Option<(u16, Action)> = None;
    for rule in world.firewalls.values() {
        if rule.network == *network && rule.direction == direction && !rule.disabled && hit(rule) {
            let better = match verdict {
                None => true,
                Some((priority, action)) => {
                    rule.priority < priority
                        || (rule.priority == priority
                            && rule.action == Action::Deny
                            && action == Action::Allow)
                }
            };
            if better {
                verdict = Some((rule.priority, rule.action));
            }
        }
    }
    let classic = verdict.map(|(_, action)| action == Action::Allow);
    let [global, regional] =
        [false, true].map(|regional| policy_allows(world, direction, flow, (network, regional), at, ends));
    // What is above the project decides before all of that.
    let above = hierarchy_allows(world, direction, flow, network, at, ends);
    let first = world.networks[network].policy_first;
    let [one, other, last] = if first { [global, regional, classic] } else { [classic, global, regional] };
    above.or(one).or(other).or(last).unwrap_or(direction == Direction::Egress)
}

/// What the policies of the organization and the folders that the network's project is in say, if anything: the last
/// folder is asked last.
fn hierarchy_allows(
    world: &World,
    direction: Direction,
    flow: &Flow,
    network: &NetworkKey,
    at: &End,
    ends: Ends,
) -> Option<bool> {
    fn at_node(
        world: &World,
        node: Option<&Node>,
        says: &dyn Fn(&PolicyRule) -> Option<Action>,
    ) -> Option<bool> {
        let node = node?;
        let parent = match node {
            Node::Folder(key) => Some(&world.folders[key].parent),
            Node::Organization => None,
        };
        let own = || {
            let mut acting = world.hierarchical_policies.values();
            let policy = acting.find(|policy| policy.associations.values().any(|there| there == node))?;
            let said = (0..=100).filter_map(|n| policy.rules.get(&n)).find_map(says)?;
            (said != Action::GotoNext).then_some(said == Action::Allow)
        };
        at_node(world, parent, says).or_else(own)
    }
    let says = |rule: &PolicyRule| {
        let here = rule.target_networks.is_empty() || rule.target_networks.iter().any(|it| it == network);
        (here && rule_matches(world, rule, direction, flow, network, at, ends)).then_some(rule.action)
    };
    at_node(world, world.projects.get(&network.project)?.parent.as_ref(), &says)
}

/// What the network's global firewall policy says, or the one of the end's region, if anything.
fn policy_allows(
    world: &World,
    direction: Direction,
    flow: &Flow,
    (network, regional): (&NetworkKey, bool),
    at: &End,
    ends: Ends,
) -> Option<bool> {
    let acts = |(key, policy): &(&FirewallPolicyKey, &std::sync::Arc<FirewallPolicy>)| {
        let here = match &key.region {
            Some(region) => regional && at.region.as_ref() == Some(region),
            None => !regional,
        };
        here && policy.associations.values().any(|n| n == network)
    };
    let (_, policy) = world.firewall_policies.iter().find(acts)?;
    let mut priorities: Vec<u32> = policy.rules.keys().copied().collect();
    priorities.sort();
    for priority in priorities {
        let rule = &policy.rules[&priority];
        if rule_matches(world, rule, direction, flow, network, at, ends) {
            return match rule.action {
                Action::Allow => Some(true),
                Action::Deny => Some(false),
                Action::GotoNext => None,
            };
        }
    }
    None
}

/// Whether a policy's rule is about a packet.
fn rule_matches(
    world: &World,
    rule: &PolicyRule,
    direction: Direction,
    flow: &Flow,
    network: &NetworkKey,
    at: &End,
    ends: Ends,
) -> bool {
    let (accounts, values) = (&rule.target_service_accounts, &rule.target_secure_tags);
    let acts_as = accounts.is_empty() || at.account.as_ref().is_some_and(|a| accounts.contains(a));
    let target = acts_as && (values.is_empty() || at.secure.iter().any(|value| values.contains(*value)));
    let packet = rule.matches.iter().any(|l4| {
        (l4.protocol == Protocol::All || l4.protocol == Protocol::Number(flow.protocol))
            && (l4.ports.is_empty() || l4.ports.iter().any(|p| p.first <= flow.port && flow.port <= p.last))
    });
    let far = rule.ranges.iter().any(|range| range.contains(&ends.far))
        || is_tagged_source(world, &rule.src_secure_tags, network, ends.far);
    let near = rule.near_ranges.is_empty() || rule.near_ranges.iter().any(|range| range.contains(&ends.near));
    !rule.disabled && rule.direction == direction && target && packet && far && near
}

/// Where a network sends a packet.
#[derive(Clone, PartialEq)]
enum Way {
    Own,
    Peer(NetworkKey),
    Hop(Result<Ipv4Addr, Cause>),
    Internet,
}

/// The next hop of this address in the network, or why it takes nothing: documentation of Connectivity Tests,
/// "Configuration analysis states", and of routes, "Next hops".
fn hop_at(world: &World, network: &NetworkKey, address: Ipv4Addr) -> Result<Ipv4Addr, Cause> {
    let is = |nic: &Nic| nic.network == *network && nic.address == address;
    let own = world.instances.values().find(|instance| instance.nics.iter().any(is));
    match own {
        Some(instance) if !instance.running => Err(Cause::InstanceNotRunning),
        Some(instance) if !instance.can_ip_forward => Err(Cause::ForeignIpDisallowed),
        Some(_) => Ok(address),
        None => Err(match holder(world, network, address.into()) {
            Some(other) if other != address => Cause::RouteNextHopInstanceNonPrimaryIp,
            _ => Cause::RouteNextHopIpAddressNotResolved,
        }),
    }
}

/// Where a network sends packets to an address that come from an instance with these tags, or, with `None`, by a
/// peering: nowhere, one way, or any of several next hops.
fn ways(world: &World, network: &NetworkKey, to: IpAddr, tags: Option<&[&str]>) -> Vec<Way> {
    if !world.networks.contains_key(network) {
        return Vec::new(); // the internet's
    }
    let to = match to {
        IpAddr::V4(to) => to,
        // Of IPv6 there are subnet routes only; they cross a peering where both sides say IPV4_IPV6.
        IpAddr::V6(to) => {
            let says = |a: &NetworkKey, b: &NetworkKey| {
                let peering = world.networks[a].peerings.iter().find(|p| p.peer == *b);
                peering.is_some_and(|p| p.exchange.stack_type == StackType::Ipv4Ipv6)
            };
            let found = world.subnetworks.values().find(|s| s.ipv6.is_some_and(|range| range.contains(&to)));
            return match found {
                Some(s) if s.network == *network => vec![Way::Own],
                Some(s) if says(network, &s.network) && says(&s.network, network) => {
                    vec![Way::Peer(s.network.clone())]
                }
                _ => Vec::new(),
            };
        }
    };
    // Prefix (longer is better), kind (own, peer, static), priority, name.
    let mut offers: Vec<((u8, u8, u16, String), Way)> = Vec::new();
    let mut offer = |rank: (u8, u8, u16, String), way: Way| offers.push((rank, way));
    // What `a` says of its peering with `b`.
    let says = |a: &NetworkKey, b: &NetworkKey| world.networks[a].peerings.iter().find(|p| p.peer == *b);
    let has = |s: &Subnetwork, range: &ipnet::Ipv4Net| {
        if s.network == *network {
            return Some(Way::Own);
        }
        let (takes, gives) = (says(network, &s.network)?.exchange, says(&s.network, network)?.exchange);
        let public = takes.import_subnet_routes_with_public_ip && gives.export_subnet_routes_with_public_ip;
        (public || tombolo_model::range::is_private(range.network())).then(|| Way::Peer(s.network.clone()))
    };
    let ranges = world.subnetworks.values().flat_map(|s| s.ranges().map(move |range| (s, range)));
    for (s, range) in ranges.filter(|(_, range)| range.contains(&to)) {
        let prefix = 32 - range.prefix_len();
        match has(s, &range) {
            Some(Way::Own) => offer((prefix, 0, 0, String::new()), Way::Own),
            Some(way) => offer((prefix, 1, 0, String::new()), way),
            None => {}
        }
    }
    for route in world.routes.values().filter(|r| r.network != *network && r.dest_range.contains(&to)) {
        let (Some(ours), Some(theirs)) = (says(network, &route.network), says(&route.network, network))
        else {
            continue;
        };
        let crosses = ours.exchange.import_custom_routes
            && theirs.exchange.export_custom_routes
            && route.next_hop != NextHop::InternetGateway
            && route.tags.is_empty();
        // A subnet route that has all of it makes it void.
        let void = world
            .subnetworks
            .values()
            .any(|s| s.ranges().any(|r| has(s, &r).is_some() && r.contains(&route.dest_range)));
        if crosses && !void {
            let rank = (32 - route.dest_range.prefix_len(), 3, route.priority, ours.name.clone());
            offer(rank, Way::Peer(route.network.clone()));
        }
    }
    for (key, route) in
        world.routes.iter().filter(|(_, r)| r.network == *network && r.dest_range.contains(&to))
    {
        if !route.tags.is_empty() && !tags.unwrap_or_default().iter().any(|tag| route.tags.contains(*tag)) {
            continue;
        }
        let way = match &route.next_hop {
            NextHop::InternetGateway => Way::Internet,
            NextHop::Address(address) => Way::Hop(hop_at(world, network, *address)),
            NextHop::Instance(key) => Way::Hop(match world.instances.get(key) {
                None => Err(Cause::RouteNextHopResourceNotFound),
                Some(instance) => match instance.nics.iter().find(|n| n.network == *network) {
                    None => Err(Cause::RouteNextHopInstanceWrongNetwork),
                    Some(nic) => hop_at(world, network, nic.address),
                },
            }),
        };
        offer((32 - route.dest_range.prefix_len(), 2, route.priority, key.name.clone()), way);
    }
    // The most specific destination, of the strongest kind.
    let Some(strongest) = offers.iter().map(|((prefix, kind, ..), _)| (*prefix, *kind)).min() else {
        return Vec::new();
    };
    offers.retain(|((prefix, kind, ..), _)| (*prefix, *kind) == strongest);
    // Next hops that are gone do not count, unless all are.
    offers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let is_gone = |way: &Way| matches!(way, Way::Hop(Err(_)));
    if offers.iter().all(|(_, way)| is_gone(way)) {
        return vec![offers.remove(0).1];
    }
    offers.retain(|(_, way)| !is_gone(way));
    let priority = offers[0].0.2;
    offers.retain(|((_, _, at, _), _)| *at == priority);
    // Instances before the gateway to the internet, and any of them.
    if offers.iter().any(|(_, way)| matches!(way, Way::Hop(_))) {
        offers.retain(|(_, way)| matches!(way, Way::Hop(_)));
    } else {
        offers.truncate(1);
    }
    offers.into_iter().map(|(_, way)| way).collect()
}

/// What Google's documentation says may become of the flow: more than one thing where next hops are equal.
fn oracle(world: &World, flow: &Flow) -> Vec<Verdict> {
    let tags = end(world, &flow.network, flow.nic).map(|end| end.tags).unwrap_or_default();
    let first = ways(world, &flow.network, flow.destination, Some(&tags));
    let second = |way: &Way| match way {
        Way::Peer(peer) => ways(world, peer, flow.destination, None),
        _ => Vec::new(),
    };
    let some =
        |ways: Vec<Way>| if ways.is_empty() { vec![None] } else { ways.into_iter().map(Some).collect() };
    let mut verdicts = Vec::new();
    for way in some(first) {
        for next in some(way.as_ref().map(second).unwrap_or_default()) {
            let verdict = by(world, flow, way.clone(), next);
            if !verdicts.contains(&verdict) {
                verdicts.push(verdict);
            }
        }
    }
    verdicts
}

/// What becomes of the flow that the network sends by `way`, and, where that is a peer, the peer by `next`.
fn by(world: &World, flow: &Flow, way: Option<Way>, next: Option<Way>) -> Verdict {
    let dropped = Verdict::Dropped;
    let Some(sender) = end(world, &flow.network, flow.nic) else {
        return dropped(Cause::SourceEndpointNotFound);
    };
    if flow.source.is_ipv4() == flow.destination.is_ipv4() && is_senders(world, &sender, flow) {
        return Verdict::Local;
    }
    if holder(world, &flow.network, flow.source) != Some(flow.nic) && !sender.forwards {
        return dropped(Cause::ForeignIpDisallowed);
    }
    if flow.destination == METADATA_SERVER {
        return Verdict::MetadataServer;
    }
    let never =
        ["224.0.0.0/4", "255.255.255.255/32", "127.0.0.0/8", "0.0.0.0/8", "ff00::/8", "fe80::/10", "::/127"];
    if never.iter().any(|range| range.parse::<ipnet::IpNet>().unwrap().contains(&flow.destination)) {
        return dropped(Cause::TrafficTypeBlocked);
    }
    let out = match sender.kind {
        Kind::Iap | Kind::Internet => true,
        Kind::Redis => false,
        Kind::Vm => {
            let ends = Ends { far: flow.destination, near: flow.source };
            allows(world, Direction::Egress, flow, &flow.network, &sender, ends)
        }
    };
    if !out {
        return dropped(Cause::FirewallRule);
    }
    if sender.kind == Kind::Internet {
        return outside(world, flow, flow.source);
    }
    let (network, forwarder) = match way {
        None => return dropped(Cause::NoRoute),
        Some(Way::Internet) if v4(flow.destination).is_none_or(range::is_private) => {
            return dropped(Cause::PrivateTrafficToInternet);
        }
        Some(Way::Internet) if (flow.protocol, flow.port) == (6, 25) => {
            return dropped(Cause::TrafficTypeBlocked);
        }
        Some(Way::Internet) => {
            // The interface's own addresses are known outside, by others: that of an access configuration, or Cloud NAT's.
            let own = |n: &&Nic| n.network == flow.network && n.address == flow.nic;
            let nics = world.instances.values().flat_map(|i| &i.nics);
            let nic = nics.into_iter().find(own);
            let access = nic.and_then(|nic| nic.access.as_ref()).filter(|_| flow.source == flow.nic);
            if let Some(address) = nic.and_then(|nic| gateway(world, nic, v4(flow.source)?)) {
                return match (flow.protocol, flow.port) {
                    (17, 68) => dropped(Cause::TrafficTypeBlocked),
                    (1 | 6 | 17, _) => outside(world, flow, address.into()),
                    _ => dropped(Cause::NoExternalAddress),
                };
            }
            return match access {
                Some(_) if (flow.protocol, flow.port) == (17, 68) => dropped(Cause::TrafficTypeBlocked),
                Some(access) => outside(world, flow, access.address.into()),
                None => dropped(Cause::NoExternalAddress),
            };
        }
        Some(Way::Hop(Err(cause))) => return dropped(cause),
        // The special way back to Identity-Aware Proxy beats a static route, and takes only replies.
        Some(Way::Hop(Ok(_)) | Way::Peer(_))
            if named(world, &flow.network, flow.destination).is_some_and(|e| e.kind == Kind::Iap) =>
        {
            return dropped(Cause::NoExternalAddress);
        }
        Some(Way::Hop(Ok(address))) => (flow.network.clone(), Some(address)),
        Some(Way::Own) => (flow.network.clone(), None),
        Some(Way::Peer(peer)) => {
            // Each network has its own client of Identity-Aware Proxy: replies to it never go to a peer.
            if ways(world, &peer, flow.source, None) != [Way::Peer(flow.network.clone())]
                || named(world, &peer, flow.source).is_some_and(|e| e.kind == Kind::Iap)
            {
                return dropped(Cause::NoRoute);
            }
            // A peer takes it on by its own subnetworks and static routes, never to a peer of its own.
            match next {
                Some(Way::Own) => (peer, None),
                Some(Way::Hop(Ok(address))) => (peer, Some(address)),
                Some(Way::Hop(Err(cause))) => return dropped(cause),
                Some(Way::Peer(_) | Way::Internet) | None => return dropped(Cause::NoRoute),
            }
        }
    };
    let is = |rule: &ForwardingRule| rule.network == network && flow.destination == rule.address;
    let rule = world.forwarding_rules.iter().find(|(_, rule)| is(rule));
    if let (Some((key, rule)), None) = (rule, forwarder) {
        return forward(world, flow, key, rule);
    }
    let nic = forwarder.or_else(|| holder(world, &network, flow.destination));
    let Some((nic, receiver)) = nic.and_then(|nic| Some((nic, end(world, &network, nic)?))) else {
        let mut stopped = world.instances.values().filter(|instance| !instance.running);
        let had = stopped.any(|instance| {
            instance.nics.iter().any(|nic| nic.network == network && flow.destination == nic.address)
        });
        return dropped(if had { Cause::InstanceNotRunning } else { Cause::UnknownInternalAddress });
    };
    if receiver.kind == Kind::Iap {
        return dropped(Cause::UnknownInternalAddress);
    }
    let dhcp = if flow.destination.is_ipv4() { 68 } else { 546 };
    if (flow.protocol, flow.port) == (17, dhcp) {
        return dropped(Cause::TrafficTypeBlocked);
    }
    if receiver.kind == Kind::Redis {
        let bridge: ipnet::Ipv4Net = "172.17.0.0/16".parse().unwrap();
        let port = world.redis.values().find(|r| r.tenant_network == network && r.host == nic).unwrap().port;
        match (flow.protocol, flow.port) {
            (6, at) if at == port && v4(flow.source).is_some_and(|source| bridge.contains(&source)) => {
                return dropped(Cause::DroppedInsideGoogleManagedService);
            }
            (6, at) if at == port => {}
            (6, _) => return dropped(Cause::RedisInstanceUnsupportedPort),
            _ => return dropped(Cause::RedisInstanceUnsupportedProtocol),
        }
    } else {
        let ends = Ends { far: flow.source, near: flow.destination };
        if !allows(world, Direction::Ingress, flow, &network, &receiver, ends) {
            return dropped(Cause::FirewallRule);
        }
    }
    match forwarder {
        Some(nic) => Verdict::Forwarded { network, nic },
        None => Verdict::Delivered { network, nic },
    }
}

/// What becomes of a packet in the internet, where it comes from `source`.
fn outside(world: &World, flow: &Flow, source: IpAddr) -> Verdict {
    if flow.destination == INTERNET_CLIENT {
        return Verdict::Delivered { network: internet(), nic: INTERNET_CLIENT };
    }
    let nics = world.instances.values().filter(|i| i.running).flat_map(|i| &i.nics);
    let has = |nic: &&Nic| nic.access.as_ref().is_some_and(|access| flow.destination == access.address);
    let Some(nic) = nics.into_iter().find(has) else {
        return Verdict::Dropped(Cause::UnknownExternalAddress);
    };
    if (flow.protocol, flow.port) == (17, 68) {
        return Verdict::Dropped(Cause::TrafficTypeBlocked);
    }
    let receiver = end(world, &nic.network, nic.address).unwrap();
    // The interface never sees its external address.
    let ends = Ends { far: source, near: nic.address.into() };
    match allows(world, Direction::Ingress, flow, &nic.network, &receiver, ends) {
        true => Verdict::Delivered { network: nic.network.clone(), nic: nic.address },
        false => Verdict::Dropped(Cause::FirewallRule),
    }
}

/// Compares trace and oracle on flows in a world.
fn compare(world: &World, flows: &[AnyFlow]) -> Result<(), TestCaseError> {
    let fabric = compile(world);
    for flow in flows {
        for flow in [flow.place(&fabric), flow.nowhere(&fabric)] {
            let have = trace(&fabric, &flow);
            let mut verdicts = Vec::new();
            for way in have.ways() {
                if !verdicts.contains(&way.verdict) {
                    verdicts.push(way.verdict.clone());
                }
                // The last step is where it ends, and only that has a cause.
                let causes: Vec<_> = way.steps.iter().map(|s| s.cause).collect();
                prop_assert_eq!(causes.last().copied().flatten(), way.cause());
                prop_assert!(causes[..causes.len() - 1].iter().all(Option::is_none));
            }
            let wanted = oracle(world, &flow);
            let same = verdicts.len() == wanted.len() && verdicts.iter().all(|one| wanted.contains(one));
            prop_assert!(same, "{:?}: {:?}, wanted {:?}", flow, verdicts, wanted);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn trace_says_what_the_documentation_says(world in worlds(), flows in prop::collection::vec(flows(), 30)) {
        compare(&world, &flows)?;
    }

    #[test]
    fn routes_win_as_documented(world in worlds_of_routes(), flows in prop::collection::vec(flows(), 30)) {
        compare(&world, &flows)?;
    }

    #[test]
    fn rules_win_as_documented(world in worlds_of_rules(), flows in prop::collection::vec(flows(), 30)) {
        compare(&world, &flows)?;
    }
}

/// Random worlds are worth their name: they have all kinds of verdicts.
#[test]
fn the_generator_finds_every_verdict() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (prop_oneof![worlds(), worlds_of_routes()], prop::collection::vec(flows(), 30));
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..1500 {
        let (world, flows) = strategy.new_tree(&mut runner).unwrap().current();
        for flow in flows {
            let verdicts = oracle(&world, &flow.place(&compile(&world)));
            let verdict = match verdicts.as_slice() {
                [Verdict::Delivered { .. }] => "DELIVERED".to_owned(),
                [Verdict::Forwarded { .. }] => "FORWARDED".into(),
                [Verdict::Local] => "LOCAL".into(),
                [Verdict::MetadataServer] => "METADATA".into(),
                [Verdict::Host] => "HOST".into(),
                [Verdict::Dropped(cause)] => cause.as_str().into(),
                _ => "SEVERAL".into(),
            };
            *seen.entry(verdict).or_default() += 1;
        }
    }
    // SOURCE_ENDPOINT_NOT_FOUND is what `nowhere` is for.
    assert_eq!(seen.len(), 23, "{seen:#?}");
}

#[test]
fn the_oracle_knows_the_story() {
    let world = world("project project-1\nnetwork vpc-1\nsubnet s vpc-1 10.1.0.0/16\nvm vm-1 s\nvm vm-2 s");
    let (from, to) = (Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 1, 0, 3));
    let flow = Flow {
        network: network("vpc-1"),
        nic: from,
        source: from.into(),
        destination: to.into(),
        protocol: 6,
        port: 22,
    };
    assert_eq!(oracle(&world, &flow), [Verdict::Dropped(Cause::FirewallRule)]);
    let open = then(&world, "allow ssh vpc-1 tcp:22", 0);
    assert_eq!(oracle(&open, &flow), [Verdict::Delivered { network: network("vpc-1"), nic: to }]);
}
