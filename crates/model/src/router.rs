//! Cloud Routers, which have Cloud NAT gateways here and nothing else.
//!
//! A gateway serves subnetworks of its router's network and region: instances there reach the internet by the gateway's
//! addresses, and nothing comes in by these but answers. A range is served by one gateway at most.
//! Source: Google's documentation of Cloud NAT, "Public NAT" and "Addresses and ports".

use crate::{
    AddressKey, NetworkKey, Refusal, Reserved, RouterKey, SubnetworkKey, Timestamp, World, address, key,
    network, project, region,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The network whose instances it serves, in its region.
    pub network: NetworkKey,
    /// Its NAT gateways, in the order in which they were said.
    pub nats: Vec<Nat>,
}

/// A NAT gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nat {
    /// What is said of it.
    pub spec: NatSpec,
    /// Its addresses in the internet. Never empty.
    pub addresses: Vec<Ipv4Addr>,
}

impl Nat {
    /// The address that an interface is known by in the internet: always the same one of several.
    pub fn address_of(&self, own: Ipv4Addr) -> Option<Ipv4Addr> {
        let count = u32::try_from(self.addresses.len()).ok().filter(|count| *count > 0)?;
        self.addresses.get((u32::from(own) % count) as usize).copied()
    }
}

/// What a user says of a NAT gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NatSpec {
    /// Its name, which no other gateway of its router has.
    pub name: String,
    /// The reserved external addresses that it has (`MANUAL_ONLY`); a free one when none is said (`AUTO_ONLY`).
    pub addresses: Option<Vec<AddressKey>>,
    /// What it serves.
    pub sources: NatSources,
    /// How many source ports each instance must be able to use; the kernel gives every one of them all there are.
    pub min_ports_per_vm: Option<u32>,
}

/// What a NAT gateway serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NatSources {
    /// Every subnetwork of the router's network and region.
    AllSubnetworks(NatRanges),
    /// These.
    Subnetworks(BTreeMap<SubnetworkKey, NatRanges>),
}

/// Which of a subnetwork's ranges a NAT gateway serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NatRanges {
    /// The primary one, and alias ranges from it.
    Primary,
    /// The secondary ones too.
    All,
}

/// What a user says of a new router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterSpec {
    /// Which router.
    pub key: RouterKey,
    /// Its network.
    pub network: NetworkKey,
    /// Its NAT gateways.
    pub nats: Vec<NatSpec>,
}

/// Creates a router.
pub(crate) fn insert(world: &mut World, spec: &RouterSpec, now: Timestamp) -> Result<(), Refusal> {
    let key = &spec.key;
    project::require(world, &key.project, project::COMPUTE)?;
    key::check_name("name", &key.name)?;
    region::check("region", &key.region)?;
    if world.routers.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    network::get_user(world, &spec.network)?;
    if spec.network.project != key.project {
        let expected = "The network must be in the router's project.";
        return Err(Refusal::invalid("network", &spec.network, expected));
    }
    let (id, network) = (world.fresh_id(), spec.network.clone());
    let router = Router { id, creation_timestamp: now, network, nats: Vec::new() };
    world.routers.insert(key.clone(), Arc::new(router));
    set_nats(world, key, &spec.nats)
}

/// Replaces a router's NAT gateways. One of the same name keeps the address that it was given.
pub(crate) fn set_nats(world: &mut World, key: &RouterKey, specs: &[NatSpec]) -> Result<(), Refusal> {
    let before = get(world, key)?.nats.clone();
    edit(world, key, |router| router.nats.clear());
    for (index, spec) in specs.iter().enumerate() {
        let field = |name: &str| format!("nats[{index}].{name}");
        check(world, key, spec, &field)?;
        let addresses = match &spec.addresses {
            Some(reserved) => {
                let one = |(i, at): (usize, &AddressKey)| {
                    reserved_for(world, key, &field(&format!("natIps[{i}]")), at)
                };
                reserved.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?
            }
            None => {
                let own =
                    before.iter().find(|nat| nat.spec.name == spec.name && nat.spec.addresses.is_none());
                // One that is not reached yet keeps its address: it is not to be given away before.
                let kept: BTreeSet<Ipv4Addr> = before.iter().flat_map(|nat| nat.addresses.clone()).collect();
                match own {
                    Some(own) => own.addresses.clone(),
                    None => vec![address::free_external(world, &kept)?],
                }
            }
        };
        let distinct: BTreeSet<&Ipv4Addr> = addresses.iter().collect();
        if distinct.len() != addresses.len() {
            return Err(Refusal::invalid(&field("natIps"), "", "An address is specified twice."));
        }
        let nat = Nat { spec: spec.clone(), addresses };
        edit(world, key, |router| router.nats.push(nat));
    }
    Ok(())
}

/// Deletes a router, and its gateways with it.
pub(crate) fn delete(world: &mut World, key: &RouterKey) -> Result<(), Refusal> {
    get(world, key)?;
    world.routers.remove(key);
    Ok(())
}

/// The gateway that serves a subnetwork, and which of its ranges.
pub fn serving<'w>(
    world: &'w World,
    subnetwork: &SubnetworkKey,
    network: &NetworkKey,
) -> Option<(&'w RouterKey, &'w Nat, NatRanges)> {
    let near = |(key, router): &(&RouterKey, &Arc<Router>)| {
        key.region == subnetwork.region && router.network == *network
    };
    world.routers.iter().filter(near).find_map(|(key, router)| {
        router.nats.iter().find_map(|nat| match &nat.spec.sources {
            NatSources::AllSubnetworks(ranges) => Some((key, nat, *ranges)),
            NatSources::Subnetworks(listed) => listed.get(subnetwork).map(|ranges| (key, nat, *ranges)),
        })
    })
}

/// The router with a gateway that has an external address.
pub(crate) fn user_of_external(world: &World, address: Ipv4Addr) -> Option<&RouterKey> {
    let has = |router: &Router| router.nats.iter().any(|nat| nat.addresses.contains(&address));
    world.routers.iter().find(|(_, router)| has(router)).map(|(key, _)| key)
}

/// The router with a gateway that names a subnetwork.
pub(crate) fn user_of_subnetwork<'w>(world: &'w World, subnetwork: &SubnetworkKey) -> Option<&'w RouterKey> {
    let names =
        |nat: &Nat| matches!(&nat.spec.sources, NatSources::Subnetworks(all) if all.contains_key(subnetwork));
    world.routers.iter().find(|(_, router)| router.nats.iter().any(names)).map(|(key, _)| key)
}

fn get<'w>(world: &'w World, key: &RouterKey) -> Result<&'w Router, Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.routers.get(key).map(|router| &**router).ok_or_else(|| Refusal::not_found(key))
}

fn edit(world: &mut World, key: &RouterKey, how: impl FnOnce(&mut Router)) {
    if let Some(router) = world.routers.get_mut(key) {
        how(Arc::make_mut(router));
    }
}

/// Checks a gateway against what there is: its name, and that nothing that it serves is served already.
fn check(
    world: &World,
    key: &RouterKey,
    spec: &NatSpec,
    field: &dyn Fn(&str) -> String,
) -> Result<(), Refusal> {
    let router = get(world, key)?;
    key::check_name(&field("name"), &spec.name)?;
    if router.nats.iter().any(|nat| nat.spec.name == spec.name) {
        let expected = "Another NAT of the router has the same name.";
        return Err(Refusal::invalid(&field("name"), &spec.name, expected));
    }
    if let Some(ports) = spec.min_ports_per_vm.filter(|ports| !(2..=65536).contains(ports)) {
        return Err(Refusal::invalid(&field("minPortsPerVm"), ports, "Must be between 2 and 65536."));
    }
    if spec.addresses.as_ref().is_some_and(Vec::is_empty) {
        let expected = "At least one address must be specified with MANUAL_ONLY.";
        return Err(Refusal::invalid(&field("natIps"), "", expected));
    }
    let near =
        |(other, at): &(&RouterKey, &Arc<Router>)| other.region == key.region && at.network == router.network;
    let there: Vec<&Nat> = world.routers.iter().filter(near).flat_map(|(_, at)| &at.nats).collect();
    let option = field("sourceSubnetworkIpRangesToNat");
    let said = spec.sources.option();
    let whole = there.iter().find(|nat| matches!(nat.spec.sources, NatSources::AllSubnetworks(_)));
    if let Some(whole) = whole {
        let expected = format!(
            "Can not create new Nats since a Nat with option {} exists.",
            whole.spec.sources.option()
        );
        return Err(Refusal::invalid(&option, said, expected));
    }
    let listed = match &spec.sources {
        NatSources::AllSubnetworks(_) if there.is_empty() => return Ok(()),
        NatSources::AllSubnetworks(_) => {
            let expected = format!("Can not create a Nat with option {said} since other Nats exist.");
            return Err(Refusal::invalid(&option, said, expected));
        }
        NatSources::Subnetworks(listed) => listed,
    };
    if listed.is_empty() {
        let expected = "At least one subnetwork must be specified with LIST_OF_SUBNETWORKS.";
        return Err(Refusal::invalid(&field("subnetworks"), "", expected));
    }
    for (i, (subnetwork, ranges)) in listed.iter().enumerate() {
        let found = world.subnetworks.get(subnetwork).ok_or_else(|| Refusal::not_found(subnetwork))?;
        if subnetwork.region != key.region || found.network != router.network {
            let expected = "The subnetwork must be of the router's network and region.";
            return Err(Refusal::invalid(&field(&format!("subnetworks[{i}].name")), subnetwork, expected));
        }
        let other = there.iter().find_map(|nat| match &nat.spec.sources {
            NatSources::Subnetworks(all) => all.get(subnetwork),
            NatSources::AllSubnetworks(_) => None,
        });
        let at = format!("subnetworks[{i}].sourceIpRangesToNat");
        match (other, ranges) {
            (None, _) => {}
            (Some(NatRanges::Primary), NatRanges::Primary) => {
                let expected = "Can not specify PRIMARY_IP_RANGE for the Subnetwork since it is already configured for Nat with the option PRIMARY_IP_RANGE.";
                return Err(Refusal::invalid(&field(&format!("{at}[0]")), "PRIMARY_IP_RANGE", expected));
            }
            (Some(other), _) => {
                let expected = format!(
                    "The subnetwork is already configured with {} for Nat which conflicts with the specified IpRangeToNatOption options in this Nat.",
                    other.option()
                );
                return Err(Refusal::invalid(&field(&at), "", expected));
            }
        }
    }
    Ok(())
}

/// The address of a resource that a gateway is to have: an external one of its project and region that nobody uses.
fn reserved_for(world: &World, key: &RouterKey, field: &str, at: &AddressKey) -> Result<Ipv4Addr, Refusal> {
    let found = world.addresses.get(at).ok_or_else(|| Refusal::not_found(at))?;
    let own = at.project == key.project && at.region.as_ref() == Some(&key.region);
    let Reserved::External(address) = found.reserved else {
        return Err(Refusal::invalid(field, at, "Must be an external address."));
    };
    if !own {
        return Err(Refusal::invalid(field, at, "The address must be of the router's project and region."));
    }
    match address::user(world, found) {
        Some(user) => Err(Refusal::in_use("address", at, user)),
        None => Ok(address),
    }
}

impl NatSources {
    /// Its name on Google's wire.
    pub fn option(&self) -> &'static str {
        match self {
            NatSources::AllSubnetworks(NatRanges::All) => "ALL_SUBNETWORKS_ALL_IP_RANGES",
            NatSources::AllSubnetworks(NatRanges::Primary) => "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES",
            NatSources::Subnetworks(_) => "LIST_OF_SUBNETWORKS",
        }
    }
}

impl NatRanges {
    /// Its name on Google's wire.
    pub fn option(self) -> &'static str {
        match self {
            NatRanges::All => "ALL_IP_RANGES",
            NatRanges::Primary => "PRIMARY_IP_RANGE",
        }
    }
}
