//! What a Fabric is made of.

use crate::{firewall::Rules, forwarding::Forwarding, host::Host, route::Route};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tombolo_model::{InstanceKey, NetworkKey, RedisKey};

/// All networks of a World, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fabric {
    /// By key; networks of managed services among them.
    pub networks: BTreeMap<NetworkKey, Network>,
    /// The host's network, where the lab's internet goes on into it.
    pub host: Option<Host>,
}

/// One network: its interfaces, where it sends packets, and the rules at its interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Hidden from users: the network of a managed service.
    pub google_managed: bool,
    /// Bytes.
    pub mtu: u16,
    /// Its interfaces by IPv4 address, which is unique in a network.
    pub nics: BTreeMap<Ipv4Addr, Nic>,
    /// The names of instances that are stopped, by their addresses: nothing is there, and people wonder why.
    pub stopped: BTreeMap<Ipv4Addr, String>,
    /// Where its managed services listen: the port of each address.
    pub services: BTreeMap<Ipv4Addr, u16>,
    /// Its forwarding rules, by address.
    pub forwarding: BTreeMap<Ipv4Addr, Forwarding>,
    /// The ranges of its own subnetworks: what is in them goes to one of `nics` or nowhere.
    pub ranges: BTreeSet<IpNet>,
    /// The networks that it has an active peering with.
    pub peers: BTreeSet<NetworkKey>,
    /// In the order in which they win; see [`crate::route`].
    pub routes: Vec<Route>,
    /// The egress gate's rules, in the order in which they win, the implied one last.
    pub egress: Rules,
    /// The ingress gate's rules, in the order in which they win, the implied one last.
    pub ingress: Rules,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// What it belongs to.
    pub owner: Owner,
    /// `nicN` in Google's words, `ethN` inside the VM.
    pub index: u8,
    /// Its own address.
    pub address: Ipv4Addr,
    /// The range that its address is from.
    pub range: Ipv4Net,
    /// The range's name, such as `subnet-1`.
    pub subnetwork: String,
    /// The region that it is in; empty for Google's own clients, which are nowhere and everywhere.
    pub region: String,
    /// More addresses of its own, in ranges: alias ranges, and the addresses of forwarding rules that lead to it.
    pub aliases: Vec<Ipv4Net>,
    /// The IPv6 addresses that are its own, a /96 of its subnetwork's /64; the first one is the guest's.
    pub ipv6: Option<Ipv6Net>,
    /// Its gateway's address: the first usable one of the range.
    pub gateway: Ipv4Addr,
    /// Whether packets with other sources may leave it, and packets to others enter it.
    pub can_ip_forward: bool,
    /// Its address in the internet: what its own address becomes on the way there.
    pub external: Option<Ipv4Addr>,
    /// The Cloud NAT gateway by which addresses of its own that have no other way reach the internet.
    pub nat: Option<Nat>,
}

/// A Cloud NAT gateway, as an interface has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Its name and its router's, for people.
    pub name: String,
    /// What the interface's addresses become in the internet. Nothing comes in by it but answers.
    pub address: Ipv4Addr,
    /// Which of the interface's addresses it serves: never the one that has an external address.
    pub ranges: BTreeSet<Ipv4Net>,
}

impl Nat {
    /// The protocols that it translates (documentation of Cloud NAT, "Public NAT", specifications): ICMP, TCP and UDP.
    pub const PROTOCOLS: [u8; 3] = [1, 6, 17];

    /// Whether it serves an address of the interface.
    pub fn serves(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| IpNet::V4(*range).contains(&address))
    }
}

impl Nic {
    /// Whether it has a way to the internet.
    pub fn reaches_internet(&self) -> bool {
        self.external.is_some() || self.nat.is_some()
    }

    /// The address that this one of its own becomes in the internet.
    pub fn outside(&self, source: IpAddr) -> Option<Ipv4Addr> {
        let external = self.external.filter(|_| source == self.address);
        external.or_else(|| self.nat.as_ref().filter(|nat| nat.serves(source)).map(|nat| nat.address))
    }

    /// Whether the address is its own: the one that it has, one of an alias range, or one of its IPv6 range.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                self.address == address || self.aliases.iter().any(|range| range.contains(&address))
            }
            IpAddr::V6(address) => self.ipv6.is_some_and(|range| range.contains(&address)),
        }
    }

    /// Whether the guest's kernel has the address, so that what it sends there never leaves it. Of its IPv6 range that has
    /// the first address alone.
    pub fn is_guests(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.has(address),
            IpAddr::V6(address) => self.ipv6_address() == Some(address),
        }
    }

    /// The guest's IPv6 address.
    pub fn ipv6_address(&self) -> Option<Ipv6Addr> {
        self.ipv6.map(|range| range.network())
    }

    /// The guest's address of the same version of IP as another one.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => Some(self.address.into()),
            IpAddr::V6(_) => self.ipv6_address().map(IpAddr::from),
        }
    }

    /// Its subnetwork's IPv6 range.
    pub fn ipv6_range(&self) -> Option<Ipv6Net> {
        self.ipv6.map(|range| Ipv6Net::new_assert(range.addr(), 64).trunc())
    }
}

impl Network {
    /// Whether any of its subnetworks is dual-stack.
    pub fn has_ipv6(&self) -> bool {
        // Ranges of IPv6 come last.
        matches!(self.ranges.last(), Some(IpNet::V6(_)))
    }

    /// The interface that has the address.
    pub fn nic_with(&self, address: IpAddr) -> Option<&Nic> {
        let first = match address {
            IpAddr::V4(address) => self.nics.get(&address),
            IpAddr::V6(_) => None,
        };
        first.or_else(|| self.nics.values().find(|nic| nic.has(address)))
    }
}

/// What an interface belongs to. Its text form names the endpoint everywhere: namespaces, status, errors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A user's VM.
    Instance(InstanceKey),
    /// A Memorystore for Redis instance.
    Redis(RedisKey),
    /// The network's client of Identity-Aware Proxy, by which people ssh to VMs without an external address.
    Iap(NetworkKey),
    /// The lab's client in the internet.
    Internet,
}

/// The name of the lab's internet among the networks: that of no project, since none may be called so.
pub fn internet() -> NetworkKey {
    NetworkKey::new("-", "internet")
}

impl Owner {
    /// Whether it is a client of Identity-Aware Proxy: no flow ends there, only replies.
    pub fn is_iap(&self) -> bool {
        matches!(self, Owner::Iap(_))
    }

    /// The short name that people use: `vm-1`.
    pub fn name(&self) -> &str {
        match self {
            Owner::Instance(key) => &key.name,
            Owner::Redis(key) => &key.name,
            Owner::Iap(_) => "iap",
            Owner::Internet => "internet",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Instance(key) => write!(f, "{key}"),
            Owner::Redis(key) => write!(f, "{key}"),
            Owner::Iap(key) => write!(f, "{key}/iap"),
            Owner::Internet => f.write_str("internet"),
        }
    }
}

impl Fabric {
    /// The interfaces of an owner, `nic0` first, each with the network that it is in.
    pub fn nics_of<'f>(&'f self, owner: &Owner) -> Vec<(&'f NetworkKey, &'f Nic)> {
        let mut found: Vec<_> = self
            .networks
            .iter()
            .flat_map(|(key, network)| network.nics.values().map(move |nic| (key, nic)))
            .filter(|(_, nic)| nic.owner == *owner)
            .collect();
        found.sort_by_key(|(_, nic)| nic.index);
        found
    }

    /// The interface that has an address in the internet.
    pub fn with_external(&self, address: IpAddr) -> Option<(&NetworkKey, &Network, &Nic)> {
        let IpAddr::V4(address) = address else { return None };
        self.networks.iter().find_map(|(key, network)| {
            let nic = network.nics.values().find(|nic| nic.external == Some(address))?;
            Some((key, network, nic))
        })
    }

    /// Whether it is the host's network that has an address.
    pub fn host_has(&self, address: IpAddr) -> bool {
        self.host.as_ref().is_some_and(|host| host.has(address))
    }

    /// The interface by which the owner's kernel sends to `destination`: one whose subnetwork has it, else `nic0`,
    /// which has the guest's default route. That of IPv6 has the first interface that has IPv6.
    pub fn nic_towards<'f>(
        &'f self,
        owner: &Owner,
        destination: IpAddr,
    ) -> Option<(&'f NetworkKey, &'f Nic)> {
        let nics = self.nics_of(owner);
        let nearest = match destination {
            IpAddr::V4(address) => nics.iter().find(|(_, nic)| nic.range.contains(&address)),
            IpAddr::V6(address) => {
                let has = |nic: &Nic| nic.ipv6_range().is_some_and(|range| range.contains(&address));
                let first = || nics.iter().find(|(_, nic)| nic.ipv6.is_some());
                nics.iter().find(|(_, nic)| has(nic)).or_else(first)
            }
        };
        nearest.or(nics.first()).copied()
    }
}
