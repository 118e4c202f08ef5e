//! Internal IPv6: a network's /48, its subnetworks' /64, and the /96 of each interface.
//!
//! All of it is unique local addresses (RFC 4193) out of [`ULA`]. No two networks share any, so that peerings never find an
//! overlap. There is no external IPv6: nothing leads from these addresses to the internet.
//! Source: Google's documentation of subnets, "IPv6 subnet ranges", and of IP addresses, "IPv6 addresses".

use crate::{
    InstanceKey, Network, NetworkKey, Nic, Refusal, Subnetwork, SubnetworkKey, World, instance, network,
    project,
};
use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Which versions of IP there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StackType {
    /// IPv4 alone.
    #[default]
    #[serde(rename = "IPV4_ONLY")]
    Ipv4Only,
    /// Both.
    #[serde(rename = "IPV4_IPV6")]
    Ipv4Ipv6,
}

impl StackType {
    /// Both where there is an IPv6 range.
    pub fn of<T>(ipv6: Option<T>) -> Self {
        if ipv6.is_some() { Self::Ipv4Ipv6 } else { Self::Ipv4Only }
    }

    /// Google's spelling: `IPV4_IPV6`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Only => "IPV4_ONLY",
            Self::Ipv4Ipv6 => "IPV4_IPV6",
        }
    }
}

/// What Google takes the internal ranges of networks from.
pub const ULA: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0, 0, 0, 0, 0, 0, 0), 20);

/// Google's own server, as instances without IPv4 know it (documentation of the metadata server). No network gets its /48.
/// Here it is only where routers' errors come from.
pub const SERVER: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Gives a network its /48: the one that is wanted, or one that follows from the World's seed and the network's key.
pub(crate) fn enable_network(
    world: &mut World,
    key: &NetworkKey,
    wanted: Option<Ipv6Net>,
) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let found = network::get_user(world, key)?;
    if let Some(has) = found.ipv6 {
        return match wanted.filter(|wanted| *wanted != has) {
            None => Ok(()),
            Some(other) => {
                let expected = format!("The range of a network is there for good: it is '{has}'.");
                Err(Refusal::invalid(NETWORK_FIELD, other, expected))
            }
        };
    }
    let range = match wanted {
        None => first_free(world, key)?,
        Some(range) if range.prefix_len() != 48 || range != range.trunc() || !ULA.contains(&range) => {
            let expected = format!("Must be a /48 range inside '{ULA}' with no host bits set.");
            return Err(Refusal::invalid(NETWORK_FIELD, range, expected));
        }
        Some(range) => match user_of(world, range) {
            None => range,
            Some(user) => {
                let expected = format!("The range is already used by {user}.");
                return Err(Refusal::invalid(NETWORK_FIELD, range, expected));
            }
        },
    };
    let network = Network { ipv6: Some(range), ..Network::clone(found) };
    world.networks.insert(key.clone(), Arc::new(network));
    Ok(())
}

const NETWORK_FIELD: &str = "internalIpv6Range";

/// Who has a /48, for a message.
fn user_of(world: &World, range: Ipv6Net) -> Option<String> {
    if range.contains(&SERVER) {
        return Some("Google's own services".into());
    }
    let found = world.networks.iter().find(|(_, network)| network.ipv6 == Some(range));
    found.map(|(key, _)| format!("'{key}'"))
}

/// A /48 that nobody has.
fn first_free(world: &World, key: &NetworkKey) -> Result<Ipv6Net, Refusal> {
    let seeded = world.seed.bytes(&format!("ula {key}"));
    let digest = Sha256::digest(seeded);
    let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    // After the 20 bits that are Google's there are 28.
    let nth = |offset: u32| nth(ULA, 48, u128::from(first.wrapping_add(offset) & 0x0fff_ffff));
    let found = (0..0x0fff_ffff).map(nth).find(|range| user_of(world, *range).is_none());
    found.ok_or_else(|| Refusal::invalid(NETWORK_FIELD, ULA, "There is no free range."))
}

/// The range of this length that is at a place in a larger one.
fn nth(within: Ipv6Net, prefix_len: u8, at: u128) -> Ipv6Net {
    let base = u128::from(within.network()) | at << (128 - prefix_len);
    Ipv6Net::new_assert(Ipv6Addr::from(base), prefix_len)
}

/// Gives a subnetwork the first free /64 of its network.
pub(crate) fn enable_subnetwork(world: &mut World, key: &SubnetworkKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    let found = world.subnetworks.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let network = network::get_user(world, &found.network)?;
    if found.ipv6.is_some() {
        return Ok(());
    }
    let wrong = |expected: &str| Refusal::invalid("stackType", StackType::Ipv4Ipv6.as_str(), expected);
    if network.auto_create_subnetworks {
        return Err(wrong("Subnetworks of auto subnet mode networks cannot have IPv6 ranges."));
    }
    let Some(within) = network.ipv6 else {
        return Err(wrong(
            "The network has no internal IPv6 range: it must have enableUlaInternalIpv6 before its subnetworks can be \
             dual-stack with internal IPv6 access.",
        ));
    };
    let taken = |range: &Ipv6Net| world.subnetworks.values().any(|other| other.ipv6 == Some(*range));
    let free = (0..1 << 16).map(|at| nth(within, 64, at)).find(|range| !taken(range));
    let free = free.ok_or_else(|| wrong("The network's IPv6 range has no free /64."))?;
    let subnetwork = Subnetwork { ipv6: Some(free), ..Subnetwork::clone(found) };
    world.subnetworks.insert(key.clone(), Arc::new(subnetwork));
    Ok(())
}

/// Gives an interface the first free /96 of its subnetwork. The first and the last one of every /64 are Google's own.
pub(crate) fn enable_nic(world: &mut World, key: &InstanceKey, nic: usize) -> Result<(), Refusal> {
    let found = world.instances.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let found = instance::get_nic(found, nic)?;
    if found.ipv6.is_some() {
        return Ok(());
    }
    let place = found.subnetwork.clone();
    let wrong = |expected: String| {
        let field = format!("networkInterfaces[{nic}].stackType");
        Refusal::invalid(&field, StackType::Ipv4Ipv6.as_str(), expected)
    };
    let within = world.subnetworks.get(&place).and_then(|subnetwork| subnetwork.ipv6);
    let within = within.ok_or_else(|| wrong(format!("The subnetwork '{place}' is IPV4_ONLY.")))?;
    let nics = world.instances.held(&place).flat_map(|(_, key)| &world.instances[key].nics);
    let taken: BTreeSet<Ipv6Net> =
        nics.filter(|nic| nic.subnetwork == place).filter_map(|nic| nic.ipv6).collect();
    let free = (1..u128::from(u32::MAX)).map(|at| nth(within, 96, at)).find(|range| !taken.contains(range));
    let free = free.ok_or_else(|| wrong("The subnetwork's IPv6 range has no free /96.".into()))?;
    instance::update(world, key, |instance| instance.nics[nic].ipv6 = Some(free))
}

impl Nic {
    /// Whether the address is its own, of whatever version of IP.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.address == address || self.has_alias(address),
            IpAddr::V6(address) => self.ipv6.is_some_and(|range| range.contains(&address)),
        }
    }

    /// Its IPv6 address: the first one of its /96.
    pub fn ipv6_address(&self) -> Option<Ipv6Addr> {
        self.ipv6.map(|range| range.network())
    }
}

impl Subnetwork {
    /// Its ranges, of whatever version of IP.
    pub fn ip_ranges(&self) -> impl Iterator<Item = IpNet> {
        self.ranges().map(IpNet::V4).chain(self.ipv6.map(IpNet::V6))
    }

    /// Whether the address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ip_ranges().any(|range| range.contains(&address))
    }
}
