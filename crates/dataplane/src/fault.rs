//! Faults that somebody has put into a lab: packets that are lost on a link, too many for it, or late. Pure.
//!
//! A fault, but for packets that are late, is in the rules of one router, before the gates and for established connections too, in both directions. It is
//! the lab's, not the World's: no cloud has it, and no gate sees what it takes. What endpoints and Google's server at
//! 169.254.169.254 say to each other is not concerned.

use crate::render::{link_of, peering_link};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use tombolo_fabric::{Fabric, Network, Nic, Owner};
use tombolo_model::NetworkKey;

/// All packets, in the unit of [`Fault::loss`].
pub const ALL: u32 = 1_000_000;

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// How many of a million packets are lost, at random; [`ALL`] is a cut.
    pub loss: u32,
    /// Bytes per second in each direction; packets over that are dropped, and none is queued.
    pub rate: Option<u64>,
    /// Microseconds that packets take longer, in each direction.
    #[serde(default)]
    pub latency: u32,
    /// How many microseconds more or less than that it may be, at random; packets stay in their order.
    #[serde(default)]
    pub jitter: u32,
}

/// `cut`, or `1.5 % of packets are lost, at most 10 mbit/s`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = match self.loss {
            0 => None,
            ALL.. => Some("cut".to_owned()),
            loss => Some(format!("{} % of packets are lost", f64::from(loss) / f64::from(ALL / 100))),
        };
        let rate = self.rate.map(|rate| {
            let kbit = rate as f64 * 8.0 / 1000.0;
            let steps = [(1e6, "gbit"), (1e3, "mbit")];
            let (by, unit) = steps.into_iter().find(|(by, _)| kbit >= *by).unwrap_or((1.0, "kbit"));
            format!("at most {} {unit}/s", (kbit / by * 1000.0).round() / 1000.0)
        });
        let millis = |micros: u32| f64::from(micros) / 1000.0;
        let late = (self.latency > 0).then(|| match self.jitter {
            0 => format!("{} ms late", millis(self.latency)),
            jitter => format!("{} ± {} ms late", millis(self.latency), millis(jitter)),
        });
        f.write_str(&loss.into_iter().chain(rate).chain(late).collect::<Vec<_>>().join(", "))
    }
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// At an interface: its owner's text form, and its number.
    Nic(String, u32),
    /// Between two networks that are peered, the lesser key first.
    Peering(NetworkKey, NetworkKey),
}

impl Place {
    /// Between two networks, whichever is named first.
    pub fn peering(one: &NetworkKey, other: &NetworkKey) -> Place {
        let (first, second) = if one <= other { (one, other) } else { (other, one) };
        Place::Peering(first.clone(), second.clone())
    }

    /// An interface of an endpoint.
    pub fn nic(owner: &Owner, index: u32) -> Place {
        Place::Nic(owner.to_string(), index)
    }

    /// For people, who know which project they mean: `vm-1 nic0`, `vpc-1 – vpc-2`.
    pub fn short(&self) -> String {
        match self {
            Place::Nic(owner, index) => {
                format!("{} nic{index}", owner.rsplit('/').next().unwrap_or_default())
            }
            Place::Peering(first, second) => format!("{} – {}", first.name, second.name),
        }
    }

    /// The link in a network's router; `None` where the place is not that router's, or not there (any more).
    fn link(&self, key: &NetworkKey, network: &Network) -> Option<String> {
        match self {
            Place::Nic(..) => self.nic_in(network).map(link_of),
            Place::Peering(first, second) => {
                (first == key && network.peers.contains(second)).then(|| peering_link(second))
            }
        }
    }

    /// The interface in a network; `None` where the place is none, or not there (any more).
    fn nic_in<'n>(&self, network: &'n Network) -> Option<&'n Nic> {
        let Place::Nic(owner, index) = self else { return None };
        network.nics.values().find(|nic| nic.owner.to_string() == *owner && u32::from(nic.index) == *index)
    }
}

/// With every path in full.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Nic(owner, index) => write!(f, "{owner} nic{index}"),
            Place::Peering(first, second) => write!(f, "{first} – {second}"),
        }
    }
}

/// The faults of a lab.
pub type Faults = BTreeMap<Place, Fault>;

/// What is wrong with the links of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) faults: BTreeMap<String, Fault>,
    pub(crate) late: BTreeMap<String, Late>,
}

/// What is wrong with the links of one network's router.
pub(crate) fn of_router(faults: &Faults, key: &NetworkKey, network: &Network) -> Wrong {
    let at = faults.iter().filter_map(|(place, fault)| Some((place.link(key, network)?, *fault)));
    Wrong { faults: at.collect(), late: late_of_router(faults, key, network) }
}

/// What a router does about packets that are late by a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Microseconds.
    pub latency: u32,
    /// How many more or less than that it may be.
    pub jitter: u32,
    /// The addresses that are behind the link, whose packets are late as well; none behind a peering, where the other
    /// router sees to them.
    pub to: BTreeSet<IpNet>,
}

/// The links of one network's router whose packets are late. Each router sees to what comes in, so that both of a peering
/// do.
fn late_of_router(faults: &Faults, key: &NetworkKey, network: &Network) -> BTreeMap<String, Late> {
    let late = faults.iter().filter(|(_, fault)| fault.latency > 0);
    let of = |(place, fault): (&Place, &Fault)| {
        let (link, to) = match place {
            Place::Nic(..) => {
                let nic = place.nic_in(network)?;
                let own =
                    [nic.address].into_iter().chain(nic.external).map(|own| IpNet::from(IpAddr::from(own)));
                let ranges = nic.aliases.iter().map(|range| IpNet::V4(*range)).chain(nic.ipv6.map(IpNet::V6));
                (link_of(nic), own.chain(ranges).collect())
            }
            Place::Peering(first, second) => {
                let peer = [(first, second), (second, first)].into_iter().find(|(here, _)| *here == key)?.1;
                (network.peers.contains(peer).then(|| peering_link(peer))?, BTreeSet::new())
            }
        };
        Some((link, Late { latency: fault.latency, jitter: fault.jitter, to }))
    };
    late.filter_map(of).collect()
}

/// Whether there is the place.
pub fn exists(place: &Place, fabric: &Fabric) -> bool {
    fabric.networks.iter().any(|(key, network)| place.link(key, network).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_words() {
        for (loss, rate, want) in [
            (ALL, None, "cut"),
            (15_000, None, "1.5 % of packets are lost"),
            (1, Some(1_250_000), "0.0001 % of packets are lost, at most 10 mbit/s"),
            (0, Some(187_500_000), "at most 1.5 gbit/s"),
            (0, Some(1000), "at most 8 kbit/s"),
        ] {
            assert_eq!(Fault { loss, rate, ..Fault::default() }.to_string(), want);
        }
        let late = Fault { latency: 20_000, jitter: 1500, loss: 10_000, ..Fault::default() };
        assert_eq!(late.to_string(), "1 % of packets are lost, 20 ± 1.5 ms late");
        assert_eq!(Fault { latency: 250, ..Fault::default() }.to_string(), "0.25 ms late");
    }
}
