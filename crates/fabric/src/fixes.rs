//! What would make an unreachable flow reachable: candidate changes, each tried on a copy of the World and traced
//! again before it is offered.
//!
//! A candidate is a list of [`Change`]s that a user could make. What no user can do (peer a network that Google
//! manages) is listed as impossible where people would look for it, with the reason.

use crate::fabric::{Fabric, Nic, Owner, internet};
use crate::trace::{Cause, State, Trace};
use crate::{Flow, compile, trace};
use ipnet::IpNet;
use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tombolo_model::{
    Action, Change, ConnectMode, Direction, Endpoint, Exchange, FirewallKey, FirewallSpec, Forward,
    ForwardSpec, ForwardingRule, ForwardingRuleKey, ForwardingRuleSpec, InstanceKey, InstanceSpec, L4,
    NatRanges, NatSources, NatSpec, NetworkKey, NicSpec, Node, PeeringSpec, PolicyKey, PolicyRule, PortRange,
    Protocol, Purpose, RedisKey, RedisSpec, RouterKey, RouterSpec, StackType, Subnetwork, SubnetworkKey,
    Timestamp, World, firewall_policy, hierarchical_policy, range, redis,
};

/// A way to make a flow reachable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What to do, in a line.
    pub title: String,
    /// What it costs: `1 VM, 1 rule`; or why it is not possible.
    pub cost: String,
    /// False for what people try and cannot do.
    pub possible: bool,
    /// The changes, in order; empty where it is not possible, or no more is needed than that start.
    pub changes: Vec<Change>,
    /// Whether the lab must be started with `--internet host`, which is no change of the World.
    pub host: bool,
    /// What the changes make reachable: the flow itself, or the two legs through a proxy.
    pub opens: Vec<Flow>,
}

/// Fixes for a flow that `trace` says is dropped, cheapest first. Empty for one that arrives.
pub fn fixes(world: &World, found: &Trace, now: Timestamp) -> Vec<Fix> {
    if found.cause().is_none() {
        return Vec::new();
    }
    let fabric = compile(world);
    let mut fixes = within(world, &fabric, found, now);
    if fixes.is_empty() {
        fixes = beyond(world, &found.flow, now);
    }
    fixes.extend(impossible(&fabric, &found.flow));
    fixes
}

/// The same by changes of the World alone.
fn within(world: &World, fabric: &Fabric, found: &Trace, now: Timestamp) -> Vec<Fix> {
    let mut candidates = vec![
        open_gates(world, &found.flow, Vec::new(), now),
        external(world, fabric, found, now),
        nat(world, fabric, found, now),
        endpoint(world, found, now),
        global_access(world, found, now),
    ];
    if let Some((target, nic)) = destination(fabric, &found.flow) {
        candidates.push(peer(world, fabric, &found.flow, target, now));
        if let Owner::Redis(key) = &nic.owner {
            candidates.push(proxy(world, &found.flow, key, nic.address, now));
            candidates.push(recreate(world, &found.flow, key));
        }
    }
    let mut fixes: Vec<Fix> = candidates.into_iter().flatten().filter(|fix| holds(world, fix, now)).collect();
    fixes.sort_by_key(|fix| fix.changes.len());
    fixes
}

/// Fixes for a flow to an address of the real internet, which is in no lab: what it takes besides where the lab's internet
/// goes on into the host's network. Private addresses there are somebody's own, and nobody is sent to these.
fn beyond(world: &World, flow: &Flow, now: Timestamp) -> Vec<Fix> {
    let there = world.clone().reaching_host(true);
    let fabric = compile(&there);
    let private = matches!(flow.destination, IpAddr::V4(address) if range::is_private(address));
    if world.reaches_host || private || !fabric.host_has(flow.destination) {
        return Vec::new();
    }
    let seen = trace(&fabric, flow);
    if seen.reachable() {
        return vec![Fix {
            title: "the host's network as internet: --internet host".into(),
            cost: "a restart".into(),
            possible: true,
            changes: Vec::new(),
            host: true,
            opens: vec![flow.clone()],
        }];
    }
    let too = |fix: Fix| Fix {
        title: format!("{} + --internet host", fix.title),
        cost: format!("{}, a restart", fix.cost),
        host: true,
        ..fix
    };
    within(&there, &fabric, &seen, now).into_iter().map(too).collect()
}

/// Whether the fix can be made and does what it says.
fn holds(world: &World, fix: &Fix, now: Timestamp) -> bool {
    let fixed = fix.changes.iter().try_fold(world.clone(), |w, change| w.apply(change, now));
    fixed.is_ok_and(|world| {
        let fabric = compile(&world);
        !fix.changes.is_empty() && fix.opens.iter().all(|flow| trace(&fabric, flow).reachable())
    })
}

/// The interface that has the flow's destination; `None` where several unrelated networks have it.
fn destination<'f>(fabric: &'f Fabric, flow: &Flow) -> Option<(&'f NetworkKey, &'f Nic)> {
    let mut found = fabric.networks.iter().filter_map(|(key, network)| {
        let nic = network.nic_with(flow.destination).filter(|nic| !nic.owner.is_iap())?;
        Some((key, nic))
    });
    found.next().filter(|_| found.next().is_none())
}

/// The key of a name that is free: the name itself, or with the first number that makes it so.
fn free<K>(base: &str, key: impl Fn(&str) -> K, taken: impl Fn(&K) -> bool) -> K {
    let numbered = (1..).map(|n: u32| key(&format!("{base}-{n}")));
    iter::once(key(base)).chain(numbered).find(|key| !taken(key)).unwrap_or_else(|| key(base))
}

/// A fix that is told by what it is for, and by the rules that it needs besides.
fn told(what: String, flow: &Flow, fix: Fix) -> Fix {
    let title = if fix.changes.iter().any(is_rule) { format!("{what} + allow {flow}") } else { what };
    Fix { title, ..fix }
}

/// After `first`, allow rules at whatever gates still drop the flow (two at most: one at each end).
fn open_gates(world: &World, flow: &Flow, first: Vec<Change>, now: Timestamp) -> Option<Fix> {
    let mut changes = first;
    let mut fixed = changes.iter().try_fold(world.clone(), |w, c| w.apply(c, now)).ok()?;
    for _ in 0..3 {
        let seen = trace(&compile(&fixed), flow);
        if seen.cause().is_none() {
            break;
        }
        let in_policy = policy_rule(&fixed, &seen);
        let rule = in_policy.or_else(|| allow_rule(&fixed, &seen).map(Change::FirewallInsert))?;
        fixed = fixed.apply(&rule, now).ok()?;
        changes.push(rule);
    }
    let rules: Vec<String> = changes.iter().filter_map(|change| rule_title(world, change)).collect();
    let title = format!("allow {flow}: {}", rules.join(" and "));
    Some(Fix {
        title,
        cost: count(&changes),
        possible: true,
        changes,
        host: false,
        opens: vec![flow.clone()],
    })
}

/// The instance and interface from which the flow does not reach the internet for want of an external address.
fn without_address<'f>(fabric: &'f Fabric, found: &Trace) -> Option<(&'f InstanceKey, &'f Nic)> {
    let nic = fabric.networks.get(&found.flow.network)?.nics.get(&found.flow.nic)?;
    let Owner::Instance(key) = &nic.owner else { return None };
    let wants = found.cause() == Some(Cause::NoExternalAddress) && nic.external.is_none();
    wants.then_some((key, nic))
}

/// An external address for the interface, where there is none.
fn external(world: &World, fabric: &Fabric, found: &Trace, now: Timestamp) -> Option<Fix> {
    let flow = &found.flow;
    let (key, nic) = without_address(fabric, found)?;
    let (instance, name) = (key.clone(), "External NAT".to_owned());
    let change = Change::AccessConfigAdd { instance, nic: nic.index.into(), name, address: None };
    let fix = open_gates(world, flow, vec![change], now)?;
    Some(told(format!("an external address for {}", key.name), flow, fix))
}

/// An endpoint in the flow's own network, of the service that it means by the endpoint of a peer.
fn endpoint(world: &World, found: &Trace, now: Timestamp) -> Option<Fix> {
    let flow = &found.flow;
    if found.cause() != Some(Cause::PscEndpointAccessedFromPeeredNetwork) {
        return None;
    }
    let network = &found.steps.last()?.network;
    let is = |rule: &&Arc<ForwardingRule>| rule.network == *network && rule.address == flow.destination;
    let rule = world.forwarding_rules.values().find(is)?;
    let Forward::Service(Endpoint { attachment, .. }) = &rule.to else { return None };
    let place = |(key, found): &(&SubnetworkKey, &Arc<Subnetwork>)| {
        found.network == flow.network && key.region == attachment.region && found.purpose == Purpose::Private
    };
    let (subnetwork, _) = world.subnetworks.iter().find(place)?;
    let base = format!("{}-endpoint", attachment.name);
    let key = |name: &str| ForwardingRuleKey::new(&flow.network.project, &attachment.region, name);
    let key = free(&base, key, |key| world.forwarding_rules.contains_key(key));
    let spec = ForwardingRuleSpec {
        key: key.clone(),
        network: flow.network.clone(),
        subnetwork: subnetwork.clone(),
        address: None,
        to: ForwardSpec::Service(attachment.clone()),
        global: false,
    };
    let change = Change::ForwardingRuleInsert(spec);
    let address = world.apply(&change, now).ok()?.forwarding_rules.get(&key)?.address;
    let leg = Flow { destination: address.into(), ..flow.clone() };
    let fix = open_gates(world, &leg, vec![change], now)?;
    let title = format!("an endpoint of {} in {}", attachment.name, flow.network.name);
    Some(Fix { title, ..fix })
}

/// Global access to the rule, and to the one of the service that it is an endpoint of.
fn global_access(world: &World, found: &Trace, now: Timestamp) -> Option<Fix> {
    if found.cause() != Some(Cause::ForwardingRuleRegionMismatch) {
        return None;
    }
    // Several networks may have the address: what would not help is not offered.
    let rules = world.forwarding_rules.iter().filter(|(_, rule)| rule.address == found.flow.destination);
    let of_service = |rule: &ForwardingRule| match &rule.to {
        Forward::Service(endpoint) => {
            world.service_attachments.get(&endpoint.attachment).map(|at| at.target.clone())
        }
        Forward::Instance { .. } => None,
    };
    let near = rules.flat_map(|(key, rule)| [Some(key.clone()), of_service(rule)]).flatten();
    let closed = near.filter(|key| world.forwarding_rules.get(key).is_some_and(|rule| !rule.global));
    let changes: Vec<Change> =
        closed.map(|rule| Change::ForwardingRuleSetGlobal { rule, global: true }).collect();
    let names = changes.iter().filter_map(|change| match change {
        Change::ForwardingRuleSetGlobal { rule, .. } => Some(rule.name.as_str()),
        _ => None,
    });
    let title = format!("global access to {}", names.collect::<Vec<_>>().join(" and "));
    let fix = open_gates(world, &found.flow, changes, now)?;
    Some(Fix { title, ..fix })
}

/// A NAT gateway for the interface's network and region, where it has no way to the internet.
fn nat(world: &World, fabric: &Fabric, found: &Trace, now: Timestamp) -> Option<Fix> {
    let flow = &found.flow;
    let (key, nic) = without_address(fabric, found).filter(|(_, nic)| nic.nat.is_none())?;
    let region = &world.instances.get(key)?.nics.get(usize::from(nic.index))?.subnetwork.region;
    let base = format!("{}-router", flow.network.name);
    let key = |name: &str| RouterKey::new(&flow.network.project, region, name);
    let key = free(&base, key, |key| world.routers.contains_key(key));
    let sources = NatSources::AllSubnetworks(NatRanges::All);
    let gateway = NatSpec { name: "nat".into(), addresses: None, sources, min_ports_per_vm: None };
    let spec = RouterSpec { key, network: flow.network.clone(), nats: vec![gateway] };
    let fix = open_gates(world, flow, vec![Change::RouterInsert(spec)], now)?;
    Some(told(format!("Cloud NAT for {} in {region}", flow.network.name), flow, fix))
}

/// `ingress rule in vpc-1, 10.1.0.0/16`
fn rule_title(world: &World, change: &Change) -> Option<String> {
    let (direction, place, ranges, priority) = match change {
        Change::FirewallInsert(rule) => {
            let ranges = match rule.direction {
                Direction::Ingress => &rule.source_ranges,
                Direction::Egress => &rule.destination_ranges,
            };
            let priority = (rule.priority != 1000).then_some(u32::from(rule.priority));
            (rule.direction, rule.network.name.clone(), ranges, priority)
        }
        Change::PolicyRuleSet { policy, priority, rule, .. } => {
            (rule.direction, format!("policy {}", policy_title(world, policy)), &rule.ranges, Some(*priority))
        }
        _ => return None,
    };
    let way = if direction == Direction::Ingress { "ingress" } else { "egress" };
    let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
    let priority = priority.map_or_else(String::new, |priority| format!(", priority {priority}"));
    Some(format!("{way} rule in {place}, {}{priority}", ranges.join(",")))
}

/// What people call a policy; a hierarchical one's key is a number that follows from it.
fn policy_title(world: &World, policy: &PolicyKey) -> String {
    match policy {
        PolicyKey::Network(key) => key.name.clone(),
        PolicyKey::Hierarchical(key) => {
            world.hierarchical_policies.get(key).map_or_else(|| key.name.clone(), |it| it.short_name.clone())
        }
    }
}

/// Which way the gate is passed at which the trace ends; `None` where it ends elsewhere.
fn gate(seen: &Trace) -> Option<Direction> {
    match seen.steps.last()?.state {
        State::ApplyIngressFirewallRule => Some(Direction::Ingress),
        State::ApplyEgressFirewallRule => Some(Direction::Egress),
        _ => None,
    }
}

/// The far end of the flow, seen from where it passes that way.
fn far(world: &World, flow: &Flow, direction: Direction) -> IpNet {
    range_of(world, if direction == Direction::Ingress { flow.source } else { flow.destination })
}

/// The rule before that of a firewall policy at which the trace ends; `None` where it ends elsewhere.
fn policy_rule(world: &World, seen: &Trace) -> Option<Change> {
    let (step, direction) = (seen.steps.last()?, gate(seen)?);
    // A policy's rule goes by the policy, with its region if it has one, and its priority; no other rule has a slash in its name.
    let (policy, decided) = step.what.rsplit_once('/')?;
    let (place, name) = policy.rsplit_once('/').map_or((None, policy), |(place, name)| (Some(place), name));
    let decided: u32 = decided.parse().ok()?;
    let key = match place.and_then(|place| place.parse::<Node>().ok()) {
        Some(node) => PolicyKey::from(hierarchical_policy::of_node(world, &node)?.0.clone()),
        None => {
            let mut acting = firewall_policy::all_of_network(world, &step.network);
            acting.find(|(key, _)| key.name == name && key.region.as_deref() == place)?.0.clone().into()
        }
    };
    let rules = firewall_policy::rules(world, &key).ok()?;
    let priority = (0..decided).rev().find(|priority| !rules.contains_key(priority))?;
    let rule = PolicyRule {
        name: String::new(),
        description: String::new(),
        action: Action::Allow,
        direction,
        matches: vec![exactly(&seen.flow)],
        ranges: [far(world, &seen.flow, direction)].into(),
        near_ranges: Default::default(),
        src_secure_tags: Default::default(),
        target_service_accounts: Default::default(),
        target_secure_tags: Default::default(),
        target_networks: match key {
            PolicyKey::Network(_) => Default::default(),
            // Nobody else's networks are opened on the way.
            PolicyKey::Hierarchical(_) => [step.network.clone()].into(),
        },
        disabled: false,
        logging: false,
    };
    Some(Change::PolicyRuleSet { policy: key, priority, rule, replace: false })
}

/// The flow's protocol and port.
fn exactly(flow: &Flow) -> L4 {
    let protocol = Protocol::Number(flow.protocol);
    let port = PortRange { first: flow.port, last: flow.port };
    L4::new(protocol, if protocol.has_ports() { vec![port] } else { Vec::new() })
}

/// The rule that opens the gate at which the trace ends; `None` where it ends elsewhere, or in a network whose
/// rules are not the user's.
fn allow_rule(world: &World, seen: &Trace) -> Option<FirewallSpec> {
    let (step, direction) = (seen.steps.last()?, gate(seen)?);
    world.networks.get(&step.network).filter(|n| !n.google_managed)?;
    // Deny wins at equal priority, so the new rule goes just before the one that decided.
    let decided = world.firewalls.iter().find(|(k, f)| f.network == step.network && k.name == step.what);
    let priority = decided.map_or(Some(1000), |(_, f)| f.priority.checked_sub(1))?;
    let mut rule = allow(world, &step.network, &seen.flow, priority);
    rule.direction = direction;
    let ranges = match direction {
        Direction::Ingress => &mut rule.source_ranges,
        Direction::Egress => &mut rule.destination_ranges,
    };
    ranges.insert(far(world, &seen.flow, direction));
    Some(rule)
}

/// A rule in `network` that allows the flow's protocol and port, with a name that is free.
fn allow(world: &World, network: &NetworkKey, flow: &Flow, priority: u16) -> FirewallSpec {
    let base = format!("allow-{}", flow.to_string().replace('/', "-"));
    let key = |name: &str| FirewallKey::new(&network.project, name);
    let key = free(&base, key, |key| world.firewalls.contains_key(key));
    let mut rule = FirewallSpec::new(key, network.clone());
    (rule.action, rule.priority, rule.matches) = (Action::Allow, priority, vec![exactly(flow)]);
    rule
}

/// The smallest subnetwork range that an address is in (networks may overlap), or the address alone.
fn range_of(world: &World, address: IpAddr) -> IpNet {
    let of = |s: &Subnetwork| [Some(IpNet::from(s.range)), s.ipv6.map(IpNet::from)];
    let ranges = world.subnetworks.values().flat_map(|s| of(s)).flatten().filter(|r| r.contains(&address));
    let range = ranges.max_by_key(IpNet::prefix_len);
    range.unwrap_or(address.into())
}

/// Whatever sides of a peering between the two networks are missing, and then the rules.
fn peer(world: &World, fabric: &Fabric, flow: &Flow, target: &NetworkKey, now: Timestamp) -> Option<Fix> {
    let managed = fabric.networks.get(target)?.google_managed;
    if managed || *target == flow.network {
        return None;
    }
    // IPv6 crosses only where both sides say so, and what leads to public addresses where the one gives and the other
    // takes it: an active peering may lack either.
    let is_public = |address| matches!(address, IpAddr::V4(address) if !range::is_private(address));
    let needed = |exchange: Exchange, takes: IpAddr, gives: IpAddr| Exchange {
        stack_type: match flow.destination {
            IpAddr::V4(_) => exchange.stack_type,
            IpAddr::V6(_) => StackType::Ipv4Ipv6,
        },
        import_subnet_routes_with_public_ip: exchange.import_subnet_routes_with_public_ip || is_public(takes),
        export_subnet_routes_with_public_ip: exchange.export_subnet_routes_with_public_ip || is_public(gives),
        ..exchange
    };
    let side = |from: &NetworkKey, to: &NetworkKey, takes: IpAddr, gives: IpAddr| {
        let Some(there) = world.networks.get(from)?.peerings.iter().find(|p| p.peer == *to) else {
            let name = format!("{}-to-{}", from.name, to.name);
            let spec = PeeringSpec::new(from.clone(), name, to.clone());
            let exchange = needed(spec.exchange, takes, gives);
            return Some(Change::PeeringAdd(PeeringSpec { exchange, ..spec }));
        };
        let exchange = needed(there.exchange, takes, gives);
        let (network, name) = (from.clone(), there.name.clone());
        let lacks = exchange != there.exchange;
        lacks.then_some(Change::PeeringUpdate { network, name, exchange })
    };
    let sides: Vec<Change> = [
        side(&flow.network, target, flow.destination, flow.source),
        side(target, &flow.network, flow.source, flow.destination),
    ]
    .into_iter()
    .flatten()
    .collect();
    let added = sides.iter().filter(|change| matches!(change, Change::PeeringAdd(_))).count();
    let what = match sides.as_slice() {
        [Change::PeeringAdd(one)] => {
            format!("the missing side of the peering: {} to {}", one.network.name, one.peer.name)
        }
        [] => return None,
        _ if added == 0 => {
            let what = match flow.destination {
                IpAddr::V4(_) => "subnet routes with public IP",
                IpAddr::V6(_) => "IPv6 (stackType IPV4_IPV6)",
            };
            format!("{what} in the peering between {} and {}", flow.network.name, target.name)
        }
        _ => format!("a peering between {} and {}", flow.network.name, target.name),
    };
    let fix = open_gates(world, flow, sides, now)?;
    Some(told(what, flow, fix))
}

/// A VM with tombolo-proxy in the network that the Redis instance is authorised on.
fn proxy(world: &World, flow: &Flow, redis: &RedisKey, host: Ipv4Addr, now: Timestamp) -> Option<Fix> {
    let authorized = &world.redis.get(redis)?.authorized_network;
    if *authorized == flow.network {
        return None;
    }
    let (subnet, _) =
        world.subnetworks.iter().find(|(k, s)| s.network == *authorized && k.region == redis.region)?;
    let vm = proxy_vm(world, redis, subnet, host);
    let inserted = world.apply(&Change::InstanceInsert(vm.clone()), now).ok()?;
    let address = inserted.instances.get(&vm.key)?.nics.first()?.address;
    // The proxy speaks plain text to its clients, whatever the instance wants.
    let leg = Flow { destination: address.into(), port: redis::PORT, ..flow.clone() };
    let second = Flow { network: authorized.clone(), nic: address, source: address.into(), ..flow.clone() };
    let fix = open_gates(world, &leg, vec![Change::InstanceInsert(vm)], now)?;
    let rule = match fix.changes.get(1) {
        Some(_) => format!(" + allow {flow} from {}", range_of(world, flow.source)),
        None => String::new(),
    };
    let title = format!("a proxy VM in {}{rule}", authorized.name);
    Some(Fix { title, opens: vec![leg, second], ..fix })
}

/// The VM of [`proxy`], which runs tombolo-proxy from its startup script.
fn proxy_vm(world: &World, redis: &RedisKey, subnet: &SubnetworkKey, host: Ipv4Addr) -> InstanceSpec {
    let zone = format!("{}-{}", redis.region, first_zone(&redis.region));
    let key = |name: &str| InstanceKey::new(&subnet.project, &zone, name);
    let key = free(&format!("{}-proxy", redis.name), key, |key| world.instances.contains_key(key));
    let found = world.redis.get(redis);
    let port = found.map_or(redis::PORT, |found| found.port);
    let mut config = format!("{}:\n  listen: 0.0.0.0:{}\n  redis: true\n", redis.name, redis::PORT);
    if found.is_some_and(|found| found.tls) {
        // What `gcloud redis instances describe --format='value(serverCaCerts.cert)'` prints.
        config += "  server_tls_ca: /etc/tombolo-proxy/server-ca.pem\n  server_tls_verify: chain\n";
    }
    if found.is_some_and(|found| found.auth > 0) {
        config += "  server_password_file: /etc/tombolo-proxy/auth-string\n";
    }
    config += &format!("  servers:\n   - {host}:{port}:1\n");
    let script = format!(
        "#!/bin/sh\ncat >/etc/nutcracker.yaml <<EOF\n{config}EOF\nexec tombolo-proxy --conf-file /etc/nutcracker.yaml\n"
    );
    InstanceSpec {
        key,
        nics: vec![NicSpec {
            subnetwork: subnet.clone(),
            address: None,
            stack_type: StackType::Ipv4Only,
            aliases: Vec::new(),
        }],
        tags: Default::default(),
        can_ip_forward: false,
        service_account: None,
        metadata: [("startup-script".to_owned(), script)].into(),
    }
}

/// The first zone of a region.
fn first_zone(region: &str) -> char {
    tombolo_model::region::Region::find(region).and_then(|r| r.zones.chars().next()).unwrap_or('a')
}

/// The instance again, empty, authorised on the flow's own network.
fn recreate(world: &World, flow: &Flow, redis: &RedisKey) -> Option<Fix> {
    let old = world.redis.get(redis)?;
    if old.authorized_network == flow.network {
        return None;
    }
    let spec = RedisSpec {
        key: RedisKey::new(&flow.network.project, &redis.region, &redis.name),
        authorized_network: flow.network.clone(),
        reserved_ip_range: Some(old.reserved_ip_range),
        connect_mode: ConnectMode::DirectPeering,
        tier: old.tier,
        memory_size_gb: old.memory_size_gb,
        tls: old.tls,
    };
    let project = &flow.network.project;
    let service = "redis.googleapis.com";
    let enabled = world.projects.get(project)?.services.contains(service);
    let enable = Change::ServiceEnable { project: project.clone(), service: service.into() };
    let mut changes = vec![Change::RedisDelete(redis.clone())];
    changes.extend((!enabled).then_some(enable));
    changes.push(Change::RedisInsert(spec));
    let title = format!("recreate {} authorised on {}", redis.name, flow.network.name);
    Some(Fix {
        title,
        cost: "new, empty instance".into(),
        possible: true,
        changes,
        host: false,
        opens: vec![flow.clone()],
    })
}

/// What people try first and no user can do.
fn impossible(fabric: &Fabric, flow: &Flow) -> Option<Fix> {
    let (target, _) = destination(fabric, flow)?;
    let network = fabric.networks.get(target).filter(|n| n.google_managed && *target != internet())?;
    if network.peers.contains(&flow.network) {
        return None;
    }
    let title = format!("peer {} with the tenant network", flow.network.name);
    let cost = "not possible: Google-managed".to_owned();
    Some(Fix { title, cost, possible: false, changes: Vec::new(), host: false, opens: Vec::new() })
}

/// Whether it is a firewall rule, of a network or of a policy.
fn is_rule(change: &Change) -> bool {
    matches!(change, Change::FirewallInsert(_) | Change::PolicyRuleSet { .. })
}

/// `1 VM, 1 rule`
fn count(changes: &[Change]) -> String {
    type Kind = fn(&Change) -> bool;
    let kinds: [(&str, Kind); 7] = [
        ("endpoint", |c| matches!(c, Change::ForwardingRuleInsert(_))),
        ("flag", |c| matches!(c, Change::ForwardingRuleSetGlobal { .. })),
        ("address", |c| matches!(c, Change::AccessConfigAdd { .. })),
        ("VM", |c| matches!(c, Change::InstanceInsert(_))),
        ("peering", |c| matches!(c, Change::PeeringAdd(_) | Change::PeeringUpdate { .. })),
        ("router", |c| matches!(c, Change::RouterInsert(_))),
        ("rule", is_rule),
    ];
    let counted = kinds.iter().filter_map(|(name, is)| {
        let n = changes.iter().filter(|c| is(c)).count();
        let plural = match n {
            1 => "",
            _ if *name == "address" => "es",
            _ => "s",
        };
        (n > 0).then(|| format!("{n} {name}{plural}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}
