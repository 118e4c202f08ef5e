//! Reserved addresses: internal ones of a subnetwork, external ones, and ranges for managed services.
//!
//! An internal address that is reserved is nobody's but who says it (`networkIP`); one that an instance has already can
//! be reserved too, which Google calls promoting it. What an address is used by follows from the instances.
//!
//! External addresses are from [`EXTERNAL`], the range of RFC 2544 that is never routed on the internet: no address of
//! a lab is anybody's elsewhere. They are known to the lab's own internet alone.

use crate::{
    AddressKey, InstanceKey, NetworkKey, Refusal, SubnetworkKey, Timestamp, World, forwarding_rule, key,
    network, peering, project, range, region, router, subnetwork,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{net::Ipv4Addr, sync::Arc};

/// Where external addresses are from: 198.18.0.0/15 (RFC 2544).
pub const EXTERNAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// A reserved address or range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// What is reserved.
    pub reserved: Reserved,
}

/// What an address resource reserves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reserved {
    /// An address of a subnetwork (`INTERNAL`, `GCE_ENDPOINT`).
    Internal {
        /// The subnetwork.
        subnetwork: SubnetworkKey,
        /// The address.
        address: Ipv4Addr,
    },
    /// An address of [`EXTERNAL`].
    External(Ipv4Addr),
    /// A range of a network that managed services may use (`INTERNAL`, `VPC_PEERING`).
    Peering {
        /// The network.
        network: NetworkKey,
        /// The range.
        range: Ipv4Net,
    },
}

/// What a user says of a new address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressSpec {
    /// Which address.
    pub key: AddressKey,
    /// What to reserve.
    pub reserve: Reserve,
}

/// What a new address is to reserve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reserve {
    /// An address of a subnetwork.
    Internal {
        /// The subnetwork, in the address's region.
        subnetwork: SubnetworkKey,
        /// A certain address; the first free one when not said.
        address: Option<Ipv4Addr>,
    },
    /// An external address.
    External {
        /// A certain address: one that an instance of the project has. The first free one when not said.
        address: Option<Ipv4Addr>,
    },
    /// A range for managed services; global.
    Peering {
        /// The network.
        network: NetworkKey,
        /// A certain range's base; a free range is chosen when not said.
        base: Option<Ipv4Addr>,
        /// Its length in bits.
        prefix_len: u8,
    },
}

/// Reserves an address or a range.
pub(crate) fn insert(world: &mut World, spec: &AddressSpec, now: Timestamp) -> Result<(), Refusal> {
    let key = &spec.key;
    project::require(world, &key.project, project::COMPUTE)?;
    key::check_name("name", &key.name)?;
    key.region.iter().try_for_each(|region| region::check("region", region))?;
    if world.addresses.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    let reserved = match &spec.reserve {
        Reserve::Internal { subnetwork, address } => internal(world, key, subnetwork, *address)?,
        Reserve::External { address } => Reserved::External(external(world, key, *address)?),
        Reserve::Peering { network, base, prefix_len } => {
            let range = peering_range(world, key, network, *base, *prefix_len)?;
            Reserved::Peering { network: network.clone(), range }
        }
    };
    let address = Address { id: world.fresh_id(), creation_timestamp: now, reserved };
    world.addresses.insert(key.clone(), Arc::new(address));
    Ok(())
}

/// An internal address: a free one, or one that an instance or a forwarding rule of the project has.
fn internal(
    world: &World,
    key: &AddressKey,
    place: &SubnetworkKey,
    wanted: Option<Ipv4Addr>,
) -> Result<Reserved, Refusal> {
    if key.region.as_ref() != Some(&place.region) {
        let expected = "An internal address is regional, and of its subnetwork's region.";
        return Err(Refusal::invalid("subnetwork", place, expected));
    }
    let missing = || Refusal::not_found(place);
    let subnetwork = world.subnetworks.get(place).ok_or_else(missing)?;
    network::get_user(world, &subnetwork.network)?;
    project::check_may_use(world, &key.project, place).map_err(|_| missing())?;
    subnetwork::check_private("subnetwork", place, subnetwork)?;
    let address = match wanted {
        None => subnetwork::free_address(world, place, subnetwork)?,
        Some(address) => {
            range::check_address("address", subnetwork.range, address)?;
            let instance = user_of(world, place, address).map(|user| &user.project);
            let rule = || forwarding_rule::user_of_address(world, place, address).map(|user| &user.project);
            let promoted = instance.or_else(rule) == Some(&key.project);
            let reserved = holder(world, place, address).is_some();
            if reserved || (!promoted && subnetwork::is_taken(world, place, address)) {
                return Err(Refusal::AddressInUse { address });
            }
            address
        }
    };
    Ok(Reserved::Internal { subnetwork: place.clone(), address })
}

/// An external address: a free one, or one that an instance of the project has.
fn external(world: &World, key: &AddressKey, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, Refusal> {
    let Some(address) = wanted else { return free_external(world, &BTreeSet::new()) };
    let promoted = user_of_external(world, address).is_some_and(|user| user.project == key.project);
    if holder_of_external(world, address).is_some() {
        return Err(Refusal::AddressInUse { address });
    }
    if promoted {
        return Ok(address);
    }
    let expected = "Only an external address that an instance of the project has can be asked for by value.";
    Err(Refusal::invalid("address", address, expected))
}

/// A range for managed services: in nobody's way, in the network or among its peers.
fn peering_range(
    world: &World,
    key: &AddressKey,
    network: &NetworkKey,
    base: Option<Ipv4Addr>,
    prefix_len: u8,
) -> Result<Ipv4Net, Refusal> {
    if key.region.is_some() || network.project != key.project {
        let expected = "A range with the purpose VPC_PEERING is global, and of a network of its project.";
        return Err(Refusal::invalid("purpose", "VPC_PEERING", expected));
    }
    network::get_user(world, network)?;
    if !(8..=29).contains(&prefix_len) {
        return Err(Refusal::invalid("prefixLength", prefix_len, "Must be between 8 and 29."));
    }
    let used = used_ranges(world, network);
    let free = |range: &Ipv4Net| used.iter().all(|used| !range::overlap(used, range));
    let Some(base) = base else {
        let room = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
        let found = room.subnets(prefix_len).ok().into_iter().flatten().find(free);
        let expected = "There is no free range of that length in 10.0.0.0/8.";
        return found.ok_or_else(|| Refusal::invalid("prefixLength", prefix_len, expected));
    };
    let range = Ipv4Net::new_assert(base, prefix_len);
    range::check_subnet_range("address", range)?;
    match used.iter().find(|used| range::overlap(used, &range)) {
        None => Ok(range),
        Some(used) => {
            let expected =
                format!("The range overlaps the range '{used}', which the network or a peer of it uses.");
            Err(Refusal::invalid("address", range, expected))
        }
    }
}

/// The ranges that a new one of the network must not overlap: its own, its peers', those reserved, and static routes'.
fn used_ranges(world: &World, network: &NetworkKey) -> Vec<Ipv4Net> {
    let near = std::iter::once(network).chain(peering::active_peers(world, network));
    let mut used: Vec<Ipv4Net> =
        near.flat_map(|network| subnetwork::ranges_of(world, network)).map(|(_, range)| range).collect();
    used.extend(allocated(world, network).map(|(_, range)| range));
    let statics = world.routes.values().filter(|route| route.network == *network);
    used.extend(statics.map(|route| route.dest_range).filter(|range| range.prefix_len() > 0));
    used
}

/// The ranges of a network that are reserved for managed services.
pub fn allocated<'w>(
    world: &'w World,
    network: &'w NetworkKey,
) -> impl Iterator<Item = (&'w AddressKey, Ipv4Net)> {
    world.addresses.iter().filter_map(move |(key, address)| match &address.reserved {
        Reserved::Peering { network: of, range } if of == network => Some((key, *range)),
        _ => None,
    })
}

/// Gives a reserved address back; one that is used is refused.
pub(crate) fn delete(world: &mut World, key: &AddressKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let address = world.addresses.get(key).ok_or_else(|| Refusal::not_found(key))?;
    if let Some(user) = user(world, address) {
        return Err(Refusal::in_use("address", key, user));
    }
    world.addresses.remove(key);
    Ok(())
}

/// The path of what has a reserved address: an instance, a forwarding rule, or a router with a NAT gateway.
pub fn user(world: &World, address: &Address) -> Option<String> {
    match &address.reserved {
        Reserved::Internal { subnetwork, address } => {
            let instance = user_of(world, subnetwork, *address).map(ToString::to_string);
            let rule = || forwarding_rule::user_of_address(world, subnetwork, *address);
            instance.or_else(|| rule().map(ToString::to_string))
        }
        Reserved::External(address) => {
            let instance = user_of_external(world, *address).map(ToString::to_string);
            instance.or_else(|| router::user_of_external(world, *address).map(ToString::to_string))
        }
        Reserved::Peering { .. } => None,
    }
}

fn user_of<'w>(world: &'w World, place: &SubnetworkKey, address: Ipv4Addr) -> Option<&'w InstanceKey> {
    let has = |nic: &crate::Nic| nic.subnetwork == *place && nic.address == address;
    let holder = world.instances.holder(place, address.into());
    holder.filter(|key| world.instances[*key].nics.iter().any(has))
}

fn user_of_external(world: &World, address: Ipv4Addr) -> Option<&InstanceKey> {
    let has = |nic: &crate::Nic| nic.access.as_ref().is_some_and(|access| access.address == address);
    world.instances.iter().find(|(_, instance)| instance.nics.iter().any(has)).map(|(key, _)| key)
}

/// The resource that reserves an address of a subnetwork.
pub(crate) fn holder<'w>(
    world: &'w World,
    place: &SubnetworkKey,
    address: Ipv4Addr,
) -> Option<&'w AddressKey> {
    let wanted = |reserved: &Reserved| matches!(reserved, Reserved::Internal { subnetwork, address: have } if *have == address && subnetwork == place);
    world.addresses.iter().find(|(_, found)| wanted(&found.reserved)).map(|(key, _)| key)
}

/// The resource that reserves an external address.
pub fn holder_of_external(world: &World, address: Ipv4Addr) -> Option<&AddressKey> {
    let wanted = |reserved: &Reserved| *reserved == Reserved::External(address);
    world.addresses.iter().find(|(_, found)| wanted(&found.reserved)).map(|(key, _)| key)
}

/// The external address that an access configuration gets: the one that is said, which must be a reserved one of the
/// project and unused, or the first free one.
pub(crate) fn external_for(
    world: &World,
    instance: &InstanceKey,
    field: &str,
    wanted: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, Refusal> {
    let Some(address) = wanted else { return free_external(world, &BTreeSet::new()) };
    let region = region::Region::of_zone(&instance.zone).map(|region| region.name);
    let holder = holder_of_external(world, address);
    let own = holder.is_some_and(|key| key.project == instance.project && key.region.as_deref() == region);
    if !own {
        let expected = format!(
            "The specified external IP address '{address}' was not found in region '{}'.",
            region.unwrap_or_default()
        );
        return Err(Refusal::invalid(field, address, expected));
    }
    if user_of_external(world, address).is_some() || router::user_of_external(world, address).is_some() {
        let expected = "The specified external IP address is already in use.";
        return Err(Refusal::invalid(field, address, expected));
    }
    Ok(address)
}

/// The first external address that nobody has and that is none of these.
pub(crate) fn free_external(world: &World, not: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, Refusal> {
    let reserved = world.addresses.values().filter_map(|address| match address.reserved {
        Reserved::External(address) => Some(address),
        _ => None,
    });
    let nics = world.instances.values().flat_map(|instance| &instance.nics);
    let used = nics.filter_map(|nic| nic.access.as_ref()).map(|access| access.address);
    let nats = world.routers.values().flat_map(|router| &router.nats).flat_map(|nat| &nat.addresses);
    let taken: BTreeSet<Ipv4Addr> = reserved.chain(used).chain(nats.chain(not).copied()).collect();
    let full = || Refusal::QuotaExceeded { quota: "STATIC_ADDRESSES", limit: EXTERNAL.hosts().count() };
    range::first_free(EXTERNAL, |address| taken.contains(&address)).ok_or_else(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_path_both_ways() {
        for path in ["projects/p/regions/r/addresses/a", "projects/p/global/addresses/a"] {
            assert_eq!(path.parse::<AddressKey>().map(|key| key.to_string()), Ok(path.to_owned()));
        }
        for bad in
            ["projects/p/regions//addresses/a", "projects/p/addresses/a", "projects/p/global/networks/a"]
        {
            bad.parse::<AddressKey>().expect_err(bad);
        }
    }
}
