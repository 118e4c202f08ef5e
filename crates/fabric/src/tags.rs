//! Secure tags: the interfaces that the tag values of firewall policies' rules stand for.
//!
//! A value that is bound to an instance stands for its interfaces in the network that its key is for, or in every network of
//! the organization. As a target it stands for those in the rule's network. As a source it stands for those there and in
//! the networks that this one is peered with, by their own addresses, IPv6 ones too, as network tags do; alias ranges are
//! nobody's. Source: Google's documentation of Cloud NGFW, "Secure tags for firewalls" (specifications; "Secure tags across
//! peered networks": the key is for the peer's network or for the organization, and the networks are peered).

use crate::firewall::Tags;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use tombolo_model::{NetworkKey, TagValueKey, World, peering, tag_value};

/// An interface's own addresses: the one that it is known by, and its IPv6 range.
type Own = (Ipv4Addr, Option<Ipv6Net>);

/// Which interfaces each tag value is bound to, by the network that they are in.
#[derive(Debug)]
pub(crate) struct Bound<'w> {
    world: &'w World,
    by_value: BTreeMap<(&'w TagValueKey, &'w NetworkKey), Vec<Own>>,
}

impl<'w> Bound<'w> {
    pub(crate) fn of(world: &'w World) -> Self {
        let mut by_value: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for instance in world.instances.values().filter(|instance| instance.running) {
            for value in instance.secure_tags.values() {
                let nics = instance.nics.iter().filter(|nic| tag_value::is_for(world, value, &nic.network));
                for nic in nics {
                    by_value.entry((value, &nic.network)).or_default().push((nic.address, nic.ipv6));
                }
            }
        }
        Self { world, by_value }
    }

    fn nics<'a>(&'a self, value: &'a TagValueKey, network: &'a NetworkKey) -> &'a [Own] {
        self.by_value.get(&(value, network)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The interfaces of a network that have a value.
    fn targets(&self, network: &NetworkKey, value: &TagValueKey) -> BTreeSet<Ipv4Addr> {
        self.nics(value, network).iter().map(|(address, _)| *address).collect()
    }

    /// The addresses that a value stands for as a source of a network's packets.
    fn sources(&self, network: &NetworkKey, value: &TagValueKey) -> BTreeSet<IpNet> {
        let own = |(address, ipv6): &Own| {
            std::iter::once(Ipv4Net::from(*address).into()).chain(ipv6.map(IpNet::from))
        };
        let mut all: BTreeSet<IpNet> = self.nics(value, network).iter().flat_map(own).collect();
        for peer in self.world.active_peers(network) {
            // What the peering does not exchange may be somebody else's addresses here.
            let imported = peering::imported_ranges(self.world, network, peer).map(|(_, range)| range.into());
            let ipv6 =
                peering::imported_ipv6_ranges(self.world, network, peer).map(|(_, range)| range.into());
            let ranges: Vec<IpNet> = imported.chain(ipv6).collect();
            let theirs = self.nics(value, peer).iter().flat_map(own);
            all.extend(theirs.filter(|address| ranges.iter().any(|range| range.contains(address))));
        }
        all
    }

    /// What a rule's values stand for in a network, by their names.
    pub(crate) fn named(
        &self,
        network: &NetworkKey,
        (sources, targets): (&BTreeSet<TagValueKey>, &BTreeSet<TagValueKey>),
    ) -> Tags {
        let name = |value| tag_value::namespaced_name(self.world, value).unwrap_or_default();
        Tags {
            sources: sources.iter().map(|value| (name(value), self.sources(network, value))).collect(),
            targets: targets.iter().map(|value| (name(value), self.targets(network, value))).collect(),
        }
    }
}
