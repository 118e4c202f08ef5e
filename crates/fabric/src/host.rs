//! The host's network, where the lab's internet goes on into it (`--internet host`).
//!
//! It has every address that nothing in the lab has, but for those that nobody is ever let through to.

use crate::fabric::Network;
use crate::{IAP_CLIENT, INTERNET_CLIENT};
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use tombolo_model::{NetworkKey, address::EXTERNAL};

/// What nobody in the lab reaches by the host, whatever the host has there: itself (RFC 1122, 3.2.1.3), its link, where a
/// cloud's VM has its metadata server (RFC 3927), groups (RFC 5771), and what is reserved (RFC 6890, RFC 1112), broadcasts
/// among them. Some clouds have their VMs' servers elsewhere: Alibaba's, Azure's.
pub const NEVER: [Ipv4Net; 8] = [
    Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The name of what stands for the host's network among the endpoints: packets that arrive there leave the lab.
pub const ENDPOINT: &str = "host";

/// The host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The ranges that it does not have: the lab's own, and [`NEVER`].
    pub kept: BTreeSet<Ipv4Net>,
    /// Whether pings get there.
    pub pings: bool,
}

impl Host {
    /// What is beyond these networks. Their ranges are theirs for everybody, whoever has a way to them: that a network
    /// cannot be reached must not become another one that can.
    pub(crate) fn around(networks: &BTreeMap<NetworkKey, Network>, pings: bool) -> Host {
        let all = || networks.values();
        let ranges = all().flat_map(|network| &network.ranges).filter_map(|range| match range {
            IpNet::V4(range) => Some(*range),
            IpNet::V6(_) => None,
        });
        // Managed services have no subnetworks.
        let nics = all().flat_map(|network| network.nics.values()).map(|nic| nic.range.trunc());
        let clients = [EXTERNAL, Ipv4Net::new_assert(INTERNET_CLIENT, 24).trunc(), Ipv4Net::from(IAP_CLIENT)];
        Host { kept: NEVER.into_iter().chain(clients).chain(ranges).chain(nics).collect(), pings }
    }

    /// The protocols that get there; of ICMP echo requests, and answers. TCP is not among them: its connections end in the
    /// internet's router, and others are made from there.
    pub fn datagrams(&self) -> impl Iterator<Item = u8> {
        self.pings.then_some(ICMP).into_iter().chain([UDP])
    }

    /// Why a protocol does not get there, unless it does.
    pub(crate) fn refuses(&self, protocol: u8) -> Option<&'static str> {
        match protocol {
            TCP | UDP => None,
            ICMP if self.pings => None,
            ICMP => Some("this system lets its user send no pings to the host's network"),
            _ => Some("the host's network is reached by tcp, udp and pings only"),
        }
    }

    /// Whether it has an address.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => !self.kept.iter().any(|range| range.contains(&address)),
            IpAddr::V6(_) => false,
        }
    }
}
