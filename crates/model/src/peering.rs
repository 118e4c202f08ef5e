//! VPC Network Peering: each network says it for itself, and it is ACTIVE only when both do.
//!
//! Peering is **not transitive**: nothing here, nor in anything that reads a World, ever follows two peerings.
//! The one place that looks two peerings far is the overlap check, as Google's does: a network imports the
//! subnet routes of all its active peers, so the ranges of any two of them must be disjoint too.

use crate::{
    NetworkKey, Refusal, Route, RouteKey, StackType, SubnetworkKey, Timestamp, World, key, network, project,
    range, route, subnetwork,
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Google's limit of peerings per network.
pub const MAX_PEERINGS: usize = 25;

/// One network's side of a peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peering {
    /// Its name, unique in the network.
    pub name: String,
    /// The network on the other side, which need not exist.
    pub peer: NetworkKey,
    /// When the state was last seen to change: what `stateDetails` shows.
    pub state_since: Timestamp,
    /// What this side gives and takes.
    #[serde(default)]
    pub exchange: Exchange,
}

/// Which routes one side of a peering gives to the other and takes from it, beside the subnet routes of private
/// ranges, which are always exchanged. A route crosses when one side exports it and the other imports it.
/// Source: Google's documentation of VPC Network Peering, "Options for exchanging routes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exchange {
    /// Give static routes; never those whose next hop is the default internet gateway.
    pub export_custom_routes: bool,
    /// Take static routes.
    pub import_custom_routes: bool,
    /// Give subnet routes of privately used public ranges.
    pub export_subnet_routes_with_public_ip: bool,
    /// Take subnet routes of privately used public ranges.
    pub import_subnet_routes_with_public_ip: bool,
    /// Whether IPv6 is exchanged too: only where both sides say so.
    pub stack_type: StackType,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            export_custom_routes: false,
            import_custom_routes: false,
            export_subnet_routes_with_public_ip: true,
            import_subnet_routes_with_public_ip: false,
            stack_type: StackType::Ipv4Only,
        }
    }
}

/// A peering's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PeeringState {
    /// Both networks name each other: subnet routes are exchanged.
    Active,
    /// The other side does not name this one (yet): nothing passes.
    Inactive,
}

impl PeeringState {
    /// Google's `stateDetails`.
    pub fn details(self, since: Timestamp) -> String {
        match self {
            Self::Active => format!("[{since}]: Connected."),
            Self::Inactive => format!("[{since}]: Waiting for peer network to connect."),
        }
    }

    /// Google's word for it.
    pub fn as_str(self) -> &'static str {
        if self == Self::Active { "ACTIVE" } else { "INACTIVE" }
    }
}

/// What a user says of a new peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeeringSpec {
    /// The local network.
    pub network: NetworkKey,
    /// The peering's name, unique in the local network.
    pub name: String,
    /// The network on the other side, which need not exist.
    pub peer: NetworkKey,
    /// What this side gives and takes.
    #[serde(default)]
    pub exchange: Exchange,
}

impl PeeringSpec {
    /// A peering that gives and takes what Google's does by default.
    pub fn new(network: NetworkKey, name: impl Into<String>, peer: NetworkKey) -> Self {
        Self { network, name: name.into(), peer, exchange: Exchange::default() }
    }
}

/// Adds a peering to a network.
pub(crate) fn add(world: &mut World, spec: &PeeringSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.network.project, project::COMPUTE)?;
    key::check_name("networkPeering.name", &spec.name)?;
    let local = network::get_user(world, &spec.network)?;
    if spec.peer == spec.network {
        return Err(Refusal::invalid(
            "networkPeering.network",
            &spec.peer,
            "A network cannot peer with itself.",
        ));
    }
    if world.networks.get(&spec.peer).is_some_and(|n| n.google_managed) {
        // No user can peer a managed service's network, nor learn that it exists.
        return Err(Refusal::not_found(&spec.peer));
    }
    if local.peerings.iter().any(|p| p.name == spec.name) {
        return Err(Refusal::already_exists(format!("{}/peerings/{}", spec.network, spec.name)));
    }
    if let Some(twin) = local.peerings.iter().find(|p| p.peer == spec.peer) {
        let expected = format!("The network is already peered with it by '{}'.", twin.name);
        return Err(Refusal::invalid("networkPeering.network", &spec.peer, expected));
    }
    if local.peerings.len() >= MAX_PEERINGS {
        return Err(Refusal::QuotaExceeded { quota: "PEERINGS_PER_NETWORK", limit: MAX_PEERINGS });
    }
    check_peers(world, &spec.network, &spec.peer)?;
    link(world, spec, now);
    check_static_routes(world, &spec.network, &spec.peer)
}

/// Changes what a side of a peering gives and takes.
pub(crate) fn update(
    world: &mut World,
    local: &NetworkKey,
    name: &str,
    exchange: Exchange,
) -> Result<(), Refusal> {
    project::require(world, &local.project, project::COMPUTE)?;
    let peer = find(world, local, "networkPeering.name", name)?.peer.clone();
    edit(world, local, |peerings| {
        peerings.iter_mut().filter(|p| p.name == name).for_each(|p| p.exchange = exchange);
    });
    check_static_routes(world, local, &peer)
}

/// A peering of a user's network, by its name, which was said in `field`.
fn find<'w>(
    world: &'w World,
    local: &NetworkKey,
    field: &'static str,
    name: &str,
) -> Result<&'w Peering, Refusal> {
    let network = network::get_user(world, local)?;
    network
        .peerings
        .iter()
        .find(|p| p.name == name)
        .ok_or_else(|| Refusal::invalid(field, name, "There is no peering with that name on the network."))
}

/// Adds a peering without asking; both ends note the moment if it became active.
pub(crate) fn link(world: &mut World, spec: &PeeringSpec, now: Timestamp) {
    let peering = Peering {
        name: spec.name.clone(),
        peer: spec.peer.clone(),
        state_since: now,
        exchange: spec.exchange,
    };
    edit(world, &spec.network, |peerings| peerings.push(peering));
    touch(world, &spec.peer, &spec.network, now);
}

/// Removes a peering; the other side, if it stays, becomes INACTIVE.
pub(crate) fn remove(
    world: &mut World,
    local: &NetworkKey,
    name: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    project::require(world, &local.project, project::COMPUTE)?;
    let peering = find(world, local, "name", name)?.clone();
    edit(world, local, |peerings| peerings.retain(|p| p.name != name));
    touch(world, &peering.peer, local, now);
    Ok(())
}

/// Notes that the state of `at`'s peering with `other` changed at `now`.
fn touch(world: &mut World, at: &NetworkKey, other: &NetworkKey, now: Timestamp) {
    if world.networks.contains_key(at) {
        edit(world, at, |peerings| {
            peerings.iter_mut().filter(|p| p.peer == *other).for_each(|p| p.state_since = now);
        });
    }
}

/// Edits the peerings of a network that exists.
pub(crate) fn edit(world: &mut World, key: &NetworkKey, change: impl FnOnce(&mut Vec<Peering>)) {
    if let Some(network) = world.networks.get_mut(key) {
        change(&mut Arc::make_mut(network).peerings);
    }
}

/// The state of `local`'s peering with `peer`, given that `local` names `peer`.
pub(crate) fn state(world: &World, local: &NetworkKey, peer: &NetworkKey) -> PeeringState {
    let names = |network: &NetworkKey, other: &NetworkKey| {
        world.networks.get(network).is_some_and(|n| n.peerings.iter().any(|p| p.peer == *other))
    };
    if names(peer, local) && names(local, peer) { PeeringState::Active } else { PeeringState::Inactive }
}

/// The networks that `network` exchanges routes with.
pub(crate) fn active_peers<'w>(
    world: &'w World,
    network: &'w NetworkKey,
) -> impl Iterator<Item = &'w NetworkKey> {
    let peerings = world.networks.get(network).map(|n| n.peerings.as_slice()).unwrap_or_default();
    peerings.iter().map(|p| &p.peer).filter(move |peer| state(world, network, peer) == PeeringState::Active)
}

/// Refuses peers whose ranges overlap, directly or with an active peer of either.
fn check_peers(world: &World, local: &NetworkKey, peer: &NetworkKey) -> Result<(), Refusal> {
    for (resource, local_range) in subnetwork::ranges_of(world, local) {
        check_range(world, local_range, resource, peer, local)?;
    }
    // The mirror image: what the local network imports already must not clash with the new peer's ranges.
    for far in active_peers(world, local).filter(|far| *far != peer) {
        if let Some((resource, local_range, far_range)) = clash(world, peer, far) {
            return Err(Refusal::PeerOfPeerOverlap { local_range, resource, far_range });
        }
    }
    Ok(())
}

/// Refuses a peering, as it is in `world`, by which either network would import a range that a static route of its own
/// lies inside.
fn check_static_routes(world: &World, local: &NetworkKey, peer: &NetworkKey) -> Result<(), Refusal> {
    for (importer, exporter) in [(local, peer), (peer, local)] {
        for (_, range) in imported_ranges(world, importer, exporter) {
            if let Some((key, inside)) = route::inside(world, importer, range) {
                let expected = format!(
                    "The destination range '{inside}' of the route '{key}' is within the range '{range}' that \
                     '{importer}' would import."
                );
                return Err(Refusal::invalid("networkPeering.network", peer, expected));
            }
        }
    }
    Ok(())
}

/// What `importer` says of its peering with `exporter`, and what that one says; nothing unless it is ACTIVE.
fn sides<'w>(
    world: &'w World,
    importer: &NetworkKey,
    exporter: &NetworkKey,
) -> Option<(&'w Exchange, &'w Exchange)> {
    let side = |network: &NetworkKey, other: &NetworkKey| {
        world.networks.get(network)?.peerings.iter().find(|p| p.peer == *other).map(|p| &p.exchange)
    };
    Some((side(importer, exporter)?, side(exporter, importer)?))
}

/// Whether subnet routes to a range cross from `exporter` to `importer`.
pub(crate) fn imports_range(
    world: &World,
    importer: &NetworkKey,
    exporter: &NetworkKey,
    range: Ipv4Net,
) -> bool {
    sides(world, importer, exporter).is_some_and(|(takes, gives)| {
        let public = takes.import_subnet_routes_with_public_ip && gives.export_subnet_routes_with_public_ip;
        public || range::is_private(range.network())
    })
}

/// The subnet ranges that `importer` takes from a peer.
pub fn imported_ranges<'w>(
    world: &'w World,
    importer: &'w NetworkKey,
    exporter: &'w NetworkKey,
) -> impl Iterator<Item = (&'w SubnetworkKey, Ipv4Net)> {
    subnetwork::ranges_of(world, exporter)
        .filter(move |(_, range)| imports_range(world, importer, exporter, *range))
}

/// The IPv6 subnet ranges that `importer` takes from a peer: all of them, or, where a side says IPV4_ONLY, none.
pub fn imported_ipv6_ranges<'w>(
    world: &'w World,
    importer: &NetworkKey,
    exporter: &'w NetworkKey,
) -> impl Iterator<Item = (&'w SubnetworkKey, Ipv6Net)> {
    let both = |exchange: &Exchange| exchange.stack_type == StackType::Ipv4Ipv6;
    let cross = sides(world, importer, exporter).is_some_and(|(takes, gives)| both(takes) && both(gives));
    let exported = world.subnetworks.iter().filter(move |(_, s)| cross && s.network == *exporter);
    exported.filter_map(|(key, subnetwork)| Some((key, subnetwork.ipv6?)))
}

/// The static routes that `importer` takes from a peer. Routes to the default internet gateway and those with tags never
/// cross, and those whose destination is a subnet route's of the importer, or inside of one, have no effect there.
/// Source: Google's documentation of VPC Network Peering, "Options for exchanging static routes" and "Ignored routes".
pub fn imported_routes<'w>(
    world: &'w World,
    importer: &'w NetworkKey,
    exporter: &'w NetworkKey,
) -> impl Iterator<Item = (&'w RouteKey, &'w Route)> {
    let crosses = sides(world, importer, exporter)
        .is_some_and(|(takes, gives)| takes.import_custom_routes && gives.export_custom_routes);
    let statics = world.routes.iter().filter(move |_| crosses).map(|(key, route)| (key, &**route));
    statics
        .filter(|(_, route)| route.network == *exporter && route.crosses_peerings())
        .filter(move |(_, route)| !is_in_subnet_route(world, importer, route.dest_range))
}

/// Whether a subnet route of the network, its own or one that it imports, has the whole range.
fn is_in_subnet_route(world: &World, network: &NetworkKey, range: Ipv4Net) -> bool {
    subnetwork::ranges_of(world, network).any(|(_, have)| have.contains(&range))
        || active_peers(world, network)
            .any(|peer| imported_ranges(world, network, peer).any(|(_, have)| have.contains(&range)))
}

/// Refuses a new range of `network` that would overlap what its active peers, or theirs, have.
pub(crate) fn check_new_range(
    world: &World,
    network: &NetworkKey,
    resource: &SubnetworkKey,
    new: Ipv4Net,
) -> Result<(), Refusal> {
    active_peers(world, network).try_for_each(|peer| check_range(world, new, resource, peer, network))
}

/// Refuses `local_range` if it overlaps a range of `peer`, or of an active peer of `peer` other than `local`.
fn check_range(
    world: &World,
    local_range: Ipv4Net,
    resource: &SubnetworkKey,
    peer: &NetworkKey,
    local: &NetworkKey,
) -> Result<(), Refusal> {
    let hit = |network| {
        subnetwork::ranges_of(world, network).map(|(_, r)| r).find(|r| range::overlap(r, &local_range))
    };
    if let Some(peer_range) = hit(peer) {
        return Err(Refusal::PeerOverlap { peer_range, local_range, resource: resource.clone() });
    }
    for far in active_peers(world, peer).filter(|far| *far != local) {
        if let Some(far_range) = hit(far) {
            return Err(Refusal::PeerOfPeerOverlap { local_range, resource: resource.clone(), far_range });
        }
    }
    Ok(())
}

/// The first overlap between two networks' ranges.
fn clash(world: &World, a: &NetworkKey, b: &NetworkKey) -> Option<(SubnetworkKey, Ipv4Net, Ipv4Net)> {
    subnetwork::ranges_of(world, a).find_map(|(key, ra)| {
        let rb = subnetwork::ranges_of(world, b).map(|(_, r)| r).find(|rb| range::overlap(&ra, rb))?;
        Some((key.clone(), ra, rb))
    })
}
