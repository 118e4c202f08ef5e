//! VPC networks, and the network `default` that a new project has.

use crate::firewall::{Action, Direction, FirewallSpec, L4, PortRange, Protocol};
use crate::{
    FirewallKey, NetworkKey, NextHop, Peering, Refusal, Route, RouteKey, SubnetworkKey, SubnetworkSpec,
    Timestamp, World, firewall, key, project, region, subnetwork,
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Google's default MTU of a network.
pub const DEFAULT_MTU: u16 = 1460;

/// A VPC network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// Whether it has a subnetwork in every region by itself.
    pub auto_create_subnetworks: bool,
    /// Bytes, 1300 to 8896.
    pub mtu: u16,
    /// Its side of its peerings, in the order in which they were made.
    pub peerings: Vec<Peering>,
    /// True for the hidden network of a managed service: in a project that no user sees, with rules of its own.
    pub google_managed: bool,
    /// Whether its firewall policy comes before its own rules. Google calls it `BEFORE_CLASSIC_FIREWALL`, and the usual
    /// order `AFTER_CLASSIC_FIREWALL`.
    #[serde(default)]
    pub policy_first: bool,
    /// Its internal IPv6 range (`internalIpv6Range`), where it has one.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
}

impl Network {
    /// Whether a route is the one to the internet that the network came with.
    pub fn is_default_route(&self, key: &RouteKey) -> bool {
        key.name == default_route(self.id)
    }

    /// Whether a subnetwork of this network, whose key is `network`, is one of those that auto mode made.
    pub fn is_automatic(&self, network: &NetworkKey, subnetwork: &SubnetworkKey) -> bool {
        self.auto_create_subnetworks && subnetwork.name == network.name
    }
}

fn default_route(network_id: u64) -> String {
    format!("default-route-{network_id:016x}")
}

/// What a user says of a new network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// Which network.
    pub key: NetworkKey,
    /// Auto mode (true) or custom mode (false).
    pub auto_create_subnetworks: bool,
    /// Bytes; [`DEFAULT_MTU`] when not said.
    pub mtu: Option<u16>,
}

/// Creates a network with its default route and, in auto mode, its subnetworks.
pub(crate) fn insert(world: &mut World, spec: &NetworkSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::COMPUTE)?;
    key::check_name("name", &spec.key.name)?;
    let mtu = spec.mtu.unwrap_or(DEFAULT_MTU);
    if !(1300..=8896).contains(&mtu) {
        return Err(Refusal::invalid("mtu", mtu, "Must be between 1300 and 8896."));
    }
    if world.networks.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    let network = Network {
        id: world.fresh_id(),
        creation_timestamp: now,
        auto_create_subnetworks: spec.auto_create_subnetworks,
        mtu,
        peerings: Vec::new(),
        google_managed: false,
        policy_first: false,
        ipv6: None,
    };
    let id = network.id;
    world.networks.insert(spec.key.clone(), Arc::new(network));
    insert_default_route(world, &spec.key, id, now);
    if spec.auto_create_subnetworks {
        for region in region::REGIONS {
            let key = SubnetworkKey::new(&spec.key.project, region.name, &spec.key.name);
            let range = region.auto_range();
            subnetwork::insert_checked(world, SubnetworkSpec::new(key, spec.key.clone(), range), now)?;
        }
    }
    Ok(())
}

/// The route to the internet that every new network has.
fn insert_default_route(world: &mut World, network: &NetworkKey, network_id: u64, now: Timestamp) {
    let key = RouteKey::new(&network.project, default_route(network_id));
    let route = Route {
        id: world.fresh_id(),
        creation_timestamp: now,
        description: "Default route to the Internet.".into(),
        network: network.clone(),
        dest_range: Ipv4Net::default(),
        priority: 1000,
        next_hop: NextHop::InternetGateway,
        tags: Default::default(),
    };
    world.routes.insert(key, Arc::new(route));
}

/// The auto-mode network `default` with its four rules.
pub(crate) fn create_default(world: &mut World, project: &str, now: Timestamp) -> Result<(), Refusal> {
    let network = NetworkKey::new(project, "default");
    insert(world, &NetworkSpec { key: network.clone(), auto_create_subnetworks: true, mtu: None }, now)?;
    let port = |p| vec![PortRange { first: p, last: p }];
    let all_ports = || vec![PortRange { first: 0, last: 65535 }];
    let internal = vec![
        L4::new(Protocol::TCP, all_ports()),
        L4::new(Protocol::UDP, all_ports()),
        L4::all_of(Protocol::ICMP),
    ];
    let rules = [
        ("default-allow-internal", "10.128.0.0/9", internal),
        ("default-allow-ssh", "0.0.0.0/0", vec![L4::new(Protocol::TCP, port(22))]),
        ("default-allow-rdp", "0.0.0.0/0", vec![L4::new(Protocol::TCP, port(3389))]),
        ("default-allow-icmp", "0.0.0.0/0", vec![L4::all_of(Protocol::ICMP)]),
    ];
    for (name, source, matches) in rules {
        let mut spec = FirewallSpec::new(FirewallKey::new(project, name), network.clone());
        spec.direction = Direction::Ingress;
        spec.action = Action::Allow;
        spec.priority = 65534;
        spec.matches = matches;
        spec.source_ranges = source.parse().into_iter().collect();
        firewall::insert(world, &spec, now)?;
    }
    Ok(())
}

/// Says whether a network's firewall policy comes before its own rules.
pub(crate) fn set_policy_first(world: &mut World, key: &NetworkKey, first: bool) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let mut network = Network::clone(get_user(world, key)?);
    network.policy_first = first;
    world.networks.insert(key.clone(), Arc::new(network));
    Ok(())
}

/// Deletes a network that nothing uses any more.
pub(crate) fn delete(world: &mut World, key: &NetworkKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let network = get_user(world, key)?;
    if let Some((user, _)) = world.firewalls.iter().find(|(_, f)| f.network == *key) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = crate::firewall_policy::all_of_network(world, key).next() {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = world.routers.iter().find(|(_, router)| router.network == *key) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = world.instances.iter().find(|(_, i)| i.nics.iter().any(|n| n.network == *key)) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = world.redis.iter().find(|(_, r)| r.authorized_network == *key) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = crate::address::allocated(world, key).next() {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some(user) = crate::managed_zone::user_of(world, key) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = world.forwarding_rules.iter().find(|(_, rule)| rule.network == *key) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some((user, _)) = world.target_instances.iter().find(|(_, target)| target.network == *key) {
        return Err(Refusal::in_use("network", key, user));
    }
    let user_route = |k: &RouteKey, r: &Route| r.network == *key && !network.is_default_route(k);
    if let Some((user, _)) = world.routes.iter().find(|(k, r)| user_route(k, r)) {
        return Err(Refusal::in_use("network", key, user));
    }
    // An auto-mode network takes along the subnetworks that it came with, unless somebody uses one.
    let own: Vec<_> =
        world.subnetworks.iter().filter(|(_, s)| s.network == *key).map(|(k, _)| k.clone()).collect();
    if let Some(user) = own.iter().find(|k| !network.is_automatic(key, k)) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some(user) = own.iter().find_map(|k| subnetwork::user_of(world, k)) {
        return Err(Refusal::in_use("network", key, user));
    }
    if let Some(peering) = network.peerings.first() {
        return Err(Refusal::in_use("network", key, format!("{key}/peerings/{}", peering.name)));
    }
    crate::connection::forget(world, key)?;
    own.iter().for_each(|k| drop(world.subnetworks.remove(k)));
    world.routes =
        world.routes.iter().filter(|(_, r)| r.network != *key).map(|(k, r)| (k.clone(), r.clone())).collect();
    world.networks.remove(key);
    Ok(())
}

/// The network if it exists and is a user's own: a managed service's network cannot be named by anyone.
pub(crate) fn get_user<'w>(world: &'w World, key: &NetworkKey) -> Result<&'w Arc<Network>, Refusal> {
    world.networks.get(key).filter(|n| !n.google_managed).ok_or_else(|| Refusal::not_found(key))
}
