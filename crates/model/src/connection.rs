//! Private services access: a network's connection to Google's managed services (`servicenetworking`).
//!
//! ```text
//!   vpc-1 ==peering servicenetworking-googleapis-com== tenant network (Google-managed) -- /29s of the allocated ranges
//! ```
//!
//! One tenant network serves an authorized network and all projects that use it, those of a Shared VPC among them. The
//! addresses in it are from ranges that the user allocated: see [`crate::address::Reserve::Peering`].
//! A user may delete the peering; the connection stays, and to create it again brings the peering back.
//! Source: Google's documentation of VPC, "Configure private services access".

use crate::{
    Exchange, NetworkKey, PeeringState, Refusal, Reserved, Timestamp, World, network, peering, project, redis,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The name of the peering, in every network that has one.
pub const PEERING: &str = "servicenetworking-googleapis-com";

/// A network's connection to Google's managed services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// The hidden network on the other side.
    pub tenant_network: NetworkKey,
    /// The allocated ranges that services may use, by the names of their addresses (`reservedPeeringRanges`).
    pub ranges: Vec<String>,
}

/// What a user says of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSpec {
    /// The network that is to have it.
    pub network: NetworkKey,
    /// See [`Connection`].
    pub ranges: Vec<String>,
}

/// Connects a network. One that is connected with the same ranges stays so, and gets its peering back if it has none.
pub(crate) fn create(world: &mut World, spec: &ConnectionSpec, now: Timestamp) -> Result<(), Refusal> {
    check(world, spec)?;
    let network = &spec.network;
    let tenant = match world.connections.get(network) {
        Some(present) if present.ranges != spec.ranges => return Err(Refusal::ConnectionHasOtherRanges),
        Some(present) => present.tenant_network.clone(),
        None => {
            let project = redis::hidden_project(&format!("{network} {PEERING}"));
            let tenant_network = NetworkKey::new(project, "servicenetworking");
            let tenant = tenant_network.clone();
            let id = world.fresh_id();
            let ranges = spec.ranges.clone();
            let connection = Connection { id, create_time: now, tenant_network, ranges };
            world.connections.insert(network.clone(), Arc::new(connection));
            tenant
        }
    };
    link(world, network, &tenant, now)
}

/// Replaces a connection's ranges. Instances in a range that goes stay where they are.
pub(crate) fn update(
    world: &mut World,
    spec: &ConnectionSpec,
    force: bool,
    now: Timestamp,
) -> Result<(), Refusal> {
    check(world, spec)?;
    let present = find(world, &spec.network)?;
    if let Some(gone) = present.ranges.iter().find(|range| !force && !spec.ranges.contains(range)) {
        let expected = "A range that the connection has already may be left out only with force.";
        return Err(Refusal::invalid("reservedPeeringRanges", gone, expected));
    }
    let changed = Connection { ranges: spec.ranges.clone(), ..(**present).clone() };
    let tenant = changed.tenant_network.clone();
    world.connections.insert(spec.network.clone(), Arc::new(changed));
    link(world, &spec.network, &tenant, now)
}

/// Ends a connection behind which there is nothing; its peering goes with it.
pub(crate) fn delete(world: &mut World, network: &NetworkKey) -> Result<(), Refusal> {
    project::require(world, &network.project, project::SERVICE_NETWORKING)?;
    network::get_user(world, network)?;
    let tenant = find(world, network)?.tenant_network.clone();
    forget(world, network)?;
    peering::edit(world, network, |peerings| peerings.retain(|p| p.peer != tenant));
    Ok(())
}

/// Forgets the connection of a network, if it has one, and the tenant network.
pub(crate) fn forget(world: &mut World, network: &NetworkKey) -> Result<(), Refusal> {
    let Some(connection) = world.connections.get(network).cloned() else { return Ok(()) };
    if world.redis.values().any(|redis| redis.tenant_network == connection.tenant_network) {
        return Err(Refusal::ConnectionInUse);
    }
    world.connections.remove(network);
    world.networks.remove(&connection.tenant_network);
    Ok(())
}

/// The tenant network of a network that is connected, and the ranges for a new instance: the named one, or all.
pub(crate) fn rooms(
    world: &World,
    network: &NetworkKey,
    range: Option<&str>,
) -> Result<(NetworkKey, Vec<Ipv4Net>), Refusal> {
    let connection = world.connections.get(network).ok_or(Refusal::PrivateServiceAccessMissing)?;
    if peering::state(world, network, &connection.tenant_network) != PeeringState::Active {
        return Err(Refusal::PrivateServiceAccessMissing);
    }
    if let Some(range) = range.filter(|range| !connection.ranges.iter().any(|have| have == range)) {
        let expected = "Must be the name of an allocated address range of the private connection.";
        return Err(Refusal::invalid("reservedIpRange", range, expected));
    }
    let wanted = connection.ranges.iter().filter(|have| range.is_none_or(|range| *have == range));
    // A range whose address a user has released meanwhile has no room for anything new.
    let rooms = wanted.filter_map(|name| allocated(world, network, name)).collect();
    Ok((connection.tenant_network.clone(), rooms))
}

/// The range that an address of the network's project reserves for managed services.
fn allocated(world: &World, network: &NetworkKey, name: &str) -> Option<Ipv4Net> {
    let key = crate::AddressKey::global(&network.project, name);
    match &world.addresses.get(&key)?.reserved {
        Reserved::Peering { network: of, range } if of == network => Some(*range),
        _ => None,
    }
}

fn check(world: &World, spec: &ConnectionSpec) -> Result<(), Refusal> {
    project::require(world, &spec.network.project, project::SERVICE_NETWORKING)?;
    network::get_user(world, &spec.network)?;
    if spec.ranges.is_empty() {
        let expected = "At least one allocated range is needed.";
        return Err(Refusal::invalid("reservedPeeringRanges", "", expected));
    }
    let missing = spec.ranges.iter().find(|name| allocated(world, &spec.network, name).is_none());
    missing.map_or(Ok(()), |range| Err(Refusal::AllocatedRangeNotFound { range: range.clone() }))
}

fn find<'w>(world: &'w World, network: &NetworkKey) -> Result<&'w Arc<Connection>, Refusal> {
    let missing =
        || Refusal::not_found(format!("services/{}/connections/{PEERING}", project::SERVICE_NETWORKING));
    world.connections.get(network).ok_or_else(missing)
}

/// Makes the tenant network and both sides of the peering where they are missing. The tenant network takes custom
/// routes if the user's side gives them, so that what is behind a router reaches the services.
fn link(world: &mut World, network: &NetworkKey, tenant: &NetworkKey, now: Timestamp) -> Result<(), Refusal> {
    redis::ensure_network(world, tenant, now);
    let taken = |p: &crate::Peering| p.name == PEERING && p.peer != *tenant;
    if world.networks.get(network).is_some_and(|found| found.peerings.iter().any(taken)) {
        return Err(Refusal::already_exists(format!("{network}/peerings/{PEERING}")));
    }
    let exchange = Exchange { import_custom_routes: true, ..Exchange::default() };
    if redis::link_tenant(world, network, tenant, PEERING, exchange, now) {
        redis::check_relinked(world, network, tenant, "network")?;
    }
    Ok(())
}
