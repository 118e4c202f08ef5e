//! Faults that somebody has put into a lab: packets that are lost on a link, or too many for it. Pure.
//!
//! A fault is in the rules of one router, before the gates and for established connections too, in both directions. It is
//! the lab's, not the World's: no cloud has it, and no gate sees what it takes. What endpoints and Google's server at
//! 169.254.169.254 say to each other is not concerned.

use crate::render::{link_of, peering_link};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use tombolo_fabric::{Fabric, Network, Owner};
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
        f.write_str(&loss.into_iter().chain(rate).collect::<Vec<_>>().join(", "))
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
            Place::Nic(owner, index) => {
                let is = |nic: &&tombolo_fabric::Nic| {
                    nic.owner.to_string() == *owner && u32::from(nic.index) == *index
                };
                network.nics.values().find(is).map(link_of)
            }
            Place::Peering(first, second) => {
                (first == key && network.peers.contains(second)).then(|| peering_link(second))
            }
        }
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

/// The faults of one network's router, by link.
pub(crate) fn of_router(faults: &Faults, key: &NetworkKey, network: &Network) -> BTreeMap<String, Fault> {
    faults.iter().filter_map(|(place, fault)| Some((place.link(key, network)?, *fault))).collect()
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
            assert_eq!(Fault { loss, rate }.to_string(), want);
        }
    }
}
