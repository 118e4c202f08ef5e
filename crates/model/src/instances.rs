//! The instances of a World, and which addresses of which subnetwork their interfaces have.
//!
//! Every address that is given asks whose it is. So that this takes no look at every interface there is, what they have is
//! kept beside them, by subnetwork: it follows from the instances, which only [`Instances::insert`], [`Instances::update`]
//! and [`Instances::remove`] change, and is neither compared nor stored.

use crate::{Instance, InstanceKey, SubnetworkKey};
use imbl::OrdMap;
use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;

/// What interfaces have of one subnetwork: addresses, as /32, and alias ranges, by their first address. No two overlap.
type Held = OrdMap<Ipv4Addr, (Ipv4Net, InstanceKey)>;

/// Instances by key; to be read as the map that it is.
#[derive(Clone, Debug, Default)]
pub struct Instances {
    by_key: OrdMap<InstanceKey, Arc<Instance>>,
    held: OrdMap<SubnetworkKey, Held>,
}

impl Instances {
    /// Adds an instance, in the place of one that has its key.
    pub fn insert(&mut self, key: InstanceKey, instance: Arc<Instance>) {
        self.remove(&key);
        for nic in &instance.nics {
            let held = self.held.entry(nic.subnetwork.clone()).or_default();
            for range in nic.ranges() {
                held.insert(range.addr(), (range, key.clone()));
            }
        }
        self.by_key.insert(key, instance);
    }

    /// Changes an instance, and gives what the change gives; `None` when there is none of that key.
    pub fn update<T>(&mut self, key: &InstanceKey, change: impl FnOnce(&mut Instance) -> T) -> Option<T> {
        let mut instance = Arc::clone(self.by_key.get(key)?);
        let given = change(Arc::make_mut(&mut instance));
        let has = |instance: &Instance| {
            let of = |nic: &crate::Nic| (nic.subnetwork.clone(), nic.ranges().collect::<Vec<_>>());
            instance.nics.iter().map(of).collect::<Vec<_>>()
        };
        if has(&instance) == has(&self.by_key[key]) {
            self.by_key.insert(key.clone(), instance);
        } else {
            self.insert(key.clone(), instance);
        }
        Some(given)
    }

    /// Takes an instance away, and gives it.
    pub fn remove(&mut self, key: &InstanceKey) -> Option<Arc<Instance>> {
        let instance = self.by_key.remove(key)?;
        for nic in &instance.nics {
            let Some(held) = self.held.get_mut(&nic.subnetwork) else { continue };
            nic.ranges().for_each(|range| drop(held.remove(&range.addr())));
            if held.is_empty() {
                self.held.remove(&nic.subnetwork);
            }
        }
        Some(instance)
    }

    /// What interfaces have of a subnetwork, and whose it is, in the order of addresses.
    pub fn held(&self, subnetwork: &SubnetworkKey) -> impl Iterator<Item = (Ipv4Net, &InstanceKey)> {
        let held = self.held.get(subnetwork).into_iter().flat_map(OrdMap::values);
        held.map(|(range, key)| (*range, key))
    }

    /// Who has something of a range in a subnetwork; the first one.
    pub fn holder(&self, subnetwork: &SubnetworkKey, range: Ipv4Net) -> Option<&InstanceKey> {
        let held = self.held.get(subnetwork)?;
        // Nothing that is held overlaps, so what begins last before the range's end also ends last.
        let (_, (found, key)) = held.get_prev(&range.broadcast())?;
        (found.broadcast() >= range.network()).then_some(key)
    }
}

impl Deref for Instances {
    type Target = OrdMap<InstanceKey, Arc<Instance>>;

    fn deref(&self) -> &Self::Target {
        &self.by_key
    }
}

impl PartialEq for Instances {
    fn eq(&self, other: &Self) -> bool {
        self.by_key == other.by_key
    }
}

impl Eq for Instances {}

impl FromIterator<(InstanceKey, Arc<Instance>)> for Instances {
    fn from_iter<I: IntoIterator<Item = (InstanceKey, Arc<Instance>)>>(all: I) -> Self {
        let mut instances = Self::default();
        all.into_iter().for_each(|(key, instance)| instances.insert(key, instance));
        instances
    }
}

impl<'i> IntoIterator for &'i Instances {
    type Item = (&'i InstanceKey, &'i Arc<Instance>);
    type IntoIter = <&'i OrdMap<InstanceKey, Arc<Instance>> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.by_key.iter()
    }
}

impl Serialize for Instances {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.by_key.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(OrdMap::deserialize(deserializer)?.into_iter().collect())
    }
}
