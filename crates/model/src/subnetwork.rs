//! Subnetworks: a network's ranges, one region each.

use crate::{
    Details, NetworkKey, Refusal, StackType, SubnetworkKey, Timestamp, World, address, details,
    forwarding_rule, ipv6, key, network, peering, project, range, region, route, service_attachment,
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

/// A subnetwork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnetwork {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The network that it is part of.
    pub network: NetworkKey,
    /// Its primary range (`ipCidrRange`).
    pub range: Ipv4Net,
    /// Its secondary ranges, by name; nothing is reserved in them.
    #[serde(default)]
    pub secondary: BTreeMap<String, Ipv4Net>,
    /// What its addresses are for.
    #[serde(default)]
    pub purpose: Purpose,
    /// Its IPv6 range (`internalIpv6Prefix`), where it is dual-stack.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
}

/// What a subnetwork's addresses are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Purpose {
    /// Instances, forwarding rules, reserved addresses (`PRIVATE`).
    #[default]
    Private,
    /// The addresses that Private Service Connect's clients become (`PRIVATE_SERVICE_CONNECT`), and nothing else.
    PrivateServiceConnect,
}

impl Purpose {
    /// Google's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Private => "PRIVATE",
            Purpose::PrivateServiceConnect => "PRIVATE_SERVICE_CONNECT",
        }
    }
}

impl Subnetwork {
    /// Its primary range and its secondary ones.
    pub fn ranges(&self) -> impl Iterator<Item = Ipv4Net> {
        std::iter::once(self.range).chain(self.secondary.values().copied())
    }

    /// Its gateway's address: the first usable one.
    pub fn gateway(&self) -> Ipv4Addr {
        range::gateway(self.range)
    }
}

/// What a user says of a new subnetwork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetworkSpec {
    /// Which subnetwork.
    pub key: SubnetworkKey,
    /// The network that it is to be part of.
    pub network: NetworkKey,
    /// Its primary range (`ipCidrRange`).
    pub range: Ipv4Net,
    /// Which versions of IP it is to have.
    #[serde(default)]
    pub stack_type: StackType,
    /// Its secondary ranges (`secondaryIpRanges`), by name.
    #[serde(default)]
    pub secondary: BTreeMap<String, Ipv4Net>,
    /// What else is said of it: see [`crate::details`].
    #[serde(default)]
    pub details: Details,
}

impl SubnetworkSpec {
    /// One with a primary range of IPv4, and nothing else.
    pub fn new(key: SubnetworkKey, network: NetworkKey, range: Ipv4Net) -> Self {
        let (secondary, details) = (BTreeMap::new(), Details::new());
        Self { key, network, range, stack_type: StackType::Ipv4Only, secondary, details }
    }
}

/// Creates a subnetwork after checking its name, region, range and every overlap.
pub(crate) fn insert(world: &mut World, spec: &SubnetworkSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::COMPUTE)?;
    key::check_name("name", &spec.key.name)?;
    region::check("region", &spec.key.region)?;
    if spec.network.project != spec.key.project {
        let expected = "The network must be in the subnetwork's project.";
        return Err(Refusal::invalid("network", &spec.network, expected));
    }
    network::get_user(world, &spec.network)?;
    range::check_subnet_range("ipCidrRange", spec.range)?;
    insert_checked(world, spec.clone(), now)?;
    if !spec.secondary.is_empty() {
        set_secondary(world, &spec.key, &spec.secondary)?;
    }
    details::describe(world, &spec.key.to_string(), &spec.details)?;
    match spec.stack_type {
        StackType::Ipv4Only => Ok(()),
        StackType::Ipv4Ipv6 => ipv6::enable_subnetwork(world, &spec.key),
    }
}

/// Creates a subnetwork for Private Service Connect's NAT.
pub(crate) fn insert_for_nat(
    world: &mut World,
    spec: &SubnetworkSpec,
    now: Timestamp,
) -> Result<(), Refusal> {
    insert(world, spec, now)?;
    if let Some(subnetwork) = world.subnetworks.get_mut(&spec.key) {
        Arc::make_mut(subnetwork).purpose = Purpose::PrivateServiceConnect;
        if !spec.secondary.is_empty() {
            check_private("secondaryIpRanges", &spec.key, subnetwork)?;
        }
    }
    Ok(())
}

/// Refuses addresses of a subnetwork that is for Private Service Connect's NAT to anybody else (documentation of Private
/// Service Connect, "About published services": NAT subnets).
pub(crate) fn check_private(field: &str, key: &SubnetworkKey, found: &Subnetwork) -> Result<(), Refusal> {
    if found.purpose == Purpose::Private {
        return Ok(());
    }
    let expected =
        "A subnetwork with the purpose PRIVATE_SERVICE_CONNECT can be used by service attachments only.";
    Err(Refusal::invalid(field, key, expected))
}

/// Creates a subnetwork whose form is known to be good; refuses a name or range that is taken.
pub(crate) fn insert_checked(world: &mut World, spec: SubnetworkSpec, now: Timestamp) -> Result<(), Refusal> {
    if world.subnetworks.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    check_new_range(world, &spec.key, &spec.network, "ipCidrRange", spec.range)?;
    let id = world.fresh_id();
    let subnetwork = Subnetwork {
        id,
        creation_timestamp: now,
        network: spec.network,
        range: spec.range,
        secondary: BTreeMap::new(),
        purpose: Purpose::Private,
        ipv6: None,
    };
    world.subnetworks.insert(spec.key, Arc::new(subnetwork));
    Ok(())
}

/// Refuses a range that is new to a subnetwork if anybody has a part of it: the network (and so the subnetwork itself),
/// its peers and theirs, what is reserved for managed services, static routes.
fn check_new_range(
    world: &World,
    key: &SubnetworkKey,
    network: &NetworkKey,
    field: &str,
    range: Ipv4Net,
) -> Result<(), Refusal> {
    check_automatic(world, key, network, field, range)?;
    let conflict = ranges_of(world, network).find(|(_, have)| range::overlap(have, &range));
    if let Some((existing, _)) = conflict {
        return Err(Refusal::SubnetOverlap { range, existing: existing.clone() });
    }
    if let Some((by, have)) =
        address::allocated(world, network).find(|(_, have)| range::overlap(have, &range))
    {
        let expected = format!("It conflicts with the range '{have}' that is reserved by '{by}'.");
        return Err(Refusal::invalid(field, range, expected));
    }
    peering::check_new_range(world, network, key, range)?;
    check_static_routes(world, network, field, range)
}

/// Refuses, in an auto-mode network, a range that somebody adds to it from where its own come from. Source: Google's
/// documentation of subnets, "Auto mode IPv4 ranges".
fn check_automatic(
    world: &World,
    key: &SubnetworkKey,
    network: &NetworkKey,
    field: &str,
    range: Ipv4Net,
) -> Result<(), Refusal> {
    let Some(found) = world.networks.get(network).filter(|found| found.auto_create_subnetworks) else {
        return Ok(());
    };
    let own = field == "ipCidrRange" && found.is_automatic(network, key);
    if own || !range::overlap(&range, &range::AUTOMATIC) {
        return Ok(());
    }
    let expected = format!(
        "The range must not overlap '{}', which an auto mode network keeps for itself.",
        range::AUTOMATIC
    );
    Err(Refusal::invalid(field, range, expected))
}

/// Refuses a range that a static route lies inside: one of the network, or of a peer that would import the range.
fn check_static_routes(
    world: &World,
    network: &NetworkKey,
    field: &str,
    range: Ipv4Net,
) -> Result<(), Refusal> {
    let imports = |peer: &&NetworkKey| peering::imports_range(world, peer, network, range);
    let peers = peering::active_peers(world, network).filter(imports);
    for network in std::iter::once(network).chain(peers) {
        if let Some((key, inside)) = route::inside(world, network, range) {
            let expected =
                format!("It conflicts with the destination range '{inside}' of the route '{key}'.");
            return Err(Refusal::invalid(field, range, expected));
        }
    }
    Ok(())
}

/// The shortest prefix that the primary range of an automatically created subnetwork can be expanded to. Source: Google's
/// documentation of subnets, "Expand a primary IPv4 range".
const BROADEST_AUTOMATIC: u8 = 16;

/// Makes a subnetwork's range larger; the new range has the old one in it.
pub(crate) fn expand(world: &mut World, key: &SubnetworkKey, to: Ipv4Net) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let present = world.subnetworks.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let owner = network::get_user(world, &present.network)?;
    range::check_subnet_range("ipCidrRange", to)?;
    if owner.is_automatic(&present.network, key) && to.prefix_len() < BROADEST_AUTOMATIC {
        let expected = format!(
            "The prefix length of an automatically created subnetwork cannot be broader than {BROADEST_AUTOMATIC}."
        );
        return Err(Refusal::invalid("ipCidrRange", to, expected));
    }
    if !to.contains(&present.range) || to == present.range {
        let expected =
            format!("New IP range must contain the present range '{}' and be larger.", present.range);
        return Err(Refusal::invalid("ipCidrRange", to, expected));
    }
    // Its old range is in the new one's way nowhere: everything is asked as if that were gone.
    let mut rest = (**present).clone();
    let mut expanded = rest.clone();
    let mut without = world.clone();
    match rest.secondary.pop_first() {
        Some((_, first)) => {
            rest.range = first;
            without.subnetworks.insert(key.clone(), Arc::new(rest));
        }
        None => drop(without.subnetworks.remove(key)),
    }
    check_new_range(&without, key, &expanded.network, "ipCidrRange", to)?;
    expanded.range = to;
    world.subnetworks.insert(key.clone(), Arc::new(expanded));
    Ok(())
}

/// The most secondary ranges of a subnetwork. Source: Google's documentation of VPC quotas, "Per network".
const MAX_SECONDARY: usize = 170;

/// Replaces the secondary ranges of a subnetwork. One that an alias range is from stays as it is.
pub(crate) fn set_secondary(
    world: &mut World,
    key: &SubnetworkKey,
    ranges: &BTreeMap<String, Ipv4Net>,
) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let present = world.subnetworks.get(key).ok_or_else(|| Refusal::not_found(key))?.clone();
    network::get_user(world, &present.network)?;
    check_private("secondaryIpRanges", key, &present)?;
    if ranges.len() > MAX_SECONDARY {
        return Err(Refusal::QuotaExceeded {
            quota: "SECONDARY_RANGES_PER_SUBNETWORK",
            limit: MAX_SECONDARY,
        });
    }
    for (name, _) in present.secondary.iter().filter(|(name, range)| ranges.get(*name) != Some(range)) {
        let uses = |alias: &crate::Alias| alias.secondary.as_ref() == Some(name);
        let uses = |nic: &crate::Nic| nic.subnetwork == *key && nic.aliases.iter().any(uses);
        let mut holders = world.instances.held(key).map(|(_, holder)| holder);
        if let Some(user) = holders.find(|holder| world.instances[*holder].nics.iter().any(uses)) {
            return Err(Refusal::in_use("subnetwork", format!("{key}/secondaryIpRanges/{name}"), user));
        }
    }
    let mut changed = (*present).clone();
    changed.secondary.retain(|name, range| ranges.get(name) == Some(range));
    world.subnetworks.insert(key.clone(), Arc::new(changed.clone()));
    for (index, (name, range)) in ranges.iter().enumerate() {
        if changed.secondary.contains_key(name) {
            continue;
        }
        let field = |field: &str| format!("secondaryIpRanges[{index}].{field}");
        key::check_name(&field("rangeName"), name)?;
        range::check_subnet_range(&field("ipCidrRange"), *range)?;
        check_new_range(world, key, &changed.network, &field("ipCidrRange"), *range)?;
        changed.secondary.insert(name.clone(), *range);
        world.subnetworks.insert(key.clone(), Arc::new(changed.clone()));
    }
    Ok(())
}

/// Whether an address of a subnetwork is in use: an instance's, one of its alias ranges', or a forwarding rule's.
pub(crate) fn is_used(world: &World, key: &SubnetworkKey, address: Ipv4Addr) -> bool {
    world.instances.holder(key, address.into()).is_some()
        || forwarding_rule::user_of_address(world, key, address).is_some()
}

/// Whether it is somebody's: in use, or reserved.
pub(crate) fn is_taken(world: &World, key: &SubnetworkKey, address: Ipv4Addr) -> bool {
    is_used(world, key, address) || address::holder(world, key, address).is_some()
}

/// The first address of a subnetwork that is nobody's.
pub(crate) fn free_address(
    world: &World,
    key: &SubnetworkKey,
    subnetwork: &Subnetwork,
) -> Result<Ipv4Addr, Refusal> {
    range::first_free(subnetwork.range, |address| is_taken(world, key, address))
        .ok_or_else(|| Refusal::AddressesExhausted { subnetwork: key.clone() })
}

/// Deletes a subnetwork that no instance uses.
pub(crate) fn delete(world: &mut World, key: &SubnetworkKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let subnetwork = world.subnetworks.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let owner = network::get_user(world, &subnetwork.network)?;
    if owner.is_automatic(&subnetwork.network, key) {
        let expected = "Cannot delete auto subnetwork from an auto subnet mode network.";
        return Err(Refusal::invalid("subnetwork", key, expected));
    }
    if let Some(user) = user_of(world, key) {
        return Err(Refusal::in_use("subnetwork", key, user));
    }
    world.subnetworks.remove(key);
    Ok(())
}

/// Who is in the way of a subnetwork's deletion.
pub(crate) fn user_of(world: &World, key: &SubnetworkKey) -> Option<String> {
    let reserves = |address: &crate::Address| matches!(&address.reserved, crate::Reserved::Internal { subnetwork, .. } if subnetwork == key);
    let instance = || world.instances.held(key).next().map(|(_, user)| user.to_string());
    let address = || {
        let mut all = world.addresses.iter();
        all.find(|(_, address)| reserves(address)).map(|(user, _)| user.to_string())
    };
    instance()
        .or_else(address)
        .or_else(|| crate::router::user_of_subnetwork(world, key).map(|user| user.to_string()))
        .or_else(|| forwarding_rule::user_of_subnetwork(world, key).map(|user| user.to_string()))
        .or_else(|| service_attachment::user_of_subnetwork(world, key).map(|user| user.to_string()))
}

/// The network's subnetworks and their ranges, the secondary ones too.
pub(crate) fn ranges_of<'w>(
    world: &'w World,
    network: &'w NetworkKey,
) -> impl Iterator<Item = (&'w SubnetworkKey, Ipv4Net)> {
    let own = world.subnetworks.iter().filter(move |(_, s)| s.network == *network);
    own.flat_map(|(k, s)| s.ranges().map(move |range| (k, range)))
}
