//! Forwarding rules as a network has them: addresses whose packets go to an interface of the network, or, by an endpoint of
//! Private Service Connect, to another network's.
//!
//! ```text
//!   vpc-1: 10.1.0.2 ──▶ endpoint 10.1.0.9 ──NAT──▶ vpc-2: from 10.3.0.2 to rule 10.2.0.9 ──▶ vm-2
//! ```
//!
//! There is no route between the two networks, and the endpoint is there for its own network alone.

use crate::fabric::{Fabric, Network};
use crate::firewall::l4_matches;
use crate::trace::{Cause, State, Verdict, Way, arrive, drop_in, push};
use crate::{Flow, Nic};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use tombolo_model::{ConnectionStatus, Forward, L4, NetworkKey, World, target_instance};

/// A forwarding rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Its name.
    pub name: String,
    /// Its region, whose clients may use it.
    pub region: String,
    /// Whether clients of other regions may too.
    pub global: bool,
    /// Where its packets go.
    pub to: To,
}

/// Where a forwarding rule's packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// To an interface of the network, which has the rule's address too.
    Nic {
        /// The interface's own address.
        address: Ipv4Addr,
        /// Which packets.
        takes: L4,
    },
    /// Nowhere: the instance does not run, or does not exist.
    Nobody {
        /// Whether it exists.
        exists: bool,
    },
    /// To a published service.
    Service(Published),
    /// Nowhere: the published service does not take the endpoint, for this reason.
    NotAccepted(ConnectionStatus),
}

/// A published service, as an endpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name of its service attachment, for people.
    pub attachment: String,
    /// The network that the service is in.
    pub network: NetworkKey,
    /// The address of its forwarding rule there.
    pub address: Ipv4Addr,
    /// What the endpoint's clients become there.
    pub nat: Ipv4Addr,
}

impl Forwarding {
    /// Whether clients in that region, or Google's own in none, may use it.
    pub fn is_for(&self, region: &str) -> bool {
        self.global || region.is_empty() || region == self.region
    }
}

impl Network {
    /// The forwarding rule that has an address. None has an IPv6 one.
    pub fn forwarding_at(&self, address: IpAddr) -> Option<&Forwarding> {
        match address {
            IpAddr::V4(address) => self.forwarding.get(&address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Fabric {
    /// Every endpoint that a published service takes: its network, its address there, and the service.
    pub fn published(&self) -> impl Iterator<Item = (&NetworkKey, Ipv4Addr, &Published)> {
        self.networks.iter().flat_map(|(key, network)| {
            network.forwarding.iter().filter_map(move |(address, rule)| match &rule.to {
                To::Service(service) => Some((key, *address, service)),
                _ => None,
            })
        })
    }

    /// The forwarding rule of a published service.
    fn rule_of(&self, service: &Published) -> Option<(&NetworkKey, &Network, &Forwarding)> {
        let (key, network) = self.networks.get_key_value(&service.network)?;
        Some((key, network, network.forwarding.get(&service.address)?))
    }

    /// Whether clients in a region may use a forwarding rule. By an endpoint, those of other regions may where both it and
    /// the service's own rule say so (documentation of Private Service Connect, "Features and compatibility").
    pub fn is_for(&self, rule: &Forwarding, region: &str) -> bool {
        let service = match &rule.to {
            To::Service(service) => self.rule_of(service),
            _ => None,
        };
        rule.is_for(region) && service.is_none_or(|(_, _, rule)| rule.is_for(region))
    }
}

/// Adds the World's forwarding rules to its networks, which have their interfaces already.
pub(crate) fn add(world: &World, networks: &mut BTreeMap<NetworkKey, Network>) {
    for (key, rule) in &world.forwarding_rules {
        let Some(network) = networks.get_mut(&rule.network) else { continue };
        let to = match &rule.to {
            Forward::Instance { target, takes } => {
                let target = world.target_instances.get(target);
                let nic = target.and_then(|target| target_instance::nic_of(world, target));
                match nic.and_then(|address| network.nics.get_mut(&address)) {
                    Some(nic) => {
                        nic.aliases.push(Ipv4Net::from(rule.address));
                        To::Nic { address: nic.address, takes: takes.clone() }
                    }
                    None => To::Nobody { exists: nic.is_some() },
                }
            }
            Forward::Service(endpoint) => {
                let attachment = world.service_attachments.get(&endpoint.attachment);
                let service = attachment.and_then(|found| world.forwarding_rules.get(&found.target));
                match endpoint.nat.zip(service) {
                    Some((nat, service)) => To::Service(Published {
                        attachment: endpoint.attachment.name.clone(),
                        network: service.network.clone(),
                        address: service.address,
                        nat,
                    }),
                    None => To::NotAccepted(endpoint.status),
                }
            }
        };
        let (name, region, global) = (key.name.clone(), key.region.clone(), rule.global);
        network.forwarding.insert(rule.address, Forwarding { name, region, global, to });
    }
}

/// What becomes of a flow to a forwarding rule's address, which has come into the rule's network.
pub(crate) fn take(
    fabric: &Fabric,
    (key, network): (&NetworkKey, &Network),
    rule: &Forwarding,
    flow: &Flow,
    way: &mut Way,
) -> Verdict {
    let region = sender(fabric, flow).map_or("", |nic| nic.region.as_str());
    match &rule.to {
        To::Service(_) | To::NotAccepted(_) if *key != flow.network => {
            let what = format!("{} is for clients in {}", rule.name, key.name);
            let detail = "Private Service Connect does not cross a peering".to_owned();
            drop_in(way, key, Cause::PscEndpointAccessedFromPeeredNetwork, what, detail)
        }
        To::NotAccepted(status) => {
            let detail = format!("its connection is {}", status.as_str());
            drop_in(way, key, Cause::PscConnectionNotAccepted, rule.name.clone(), detail)
        }
        To::Nic { .. } | To::Service(_) if !fabric.is_for(rule, region) => {
            let what = format!("{} is for clients in {}", rule.name, rule.region);
            let detail = format!("no global access from {region}");
            drop_in(way, key, Cause::ForwardingRuleRegionMismatch, what, detail)
        }
        To::Nic { .. } | To::Nobody { .. } => give((key, network), rule, flow, way),
        To::Service(service) => {
            let detail = format!("endpoint of {}", service.attachment);
            push(way, State::ApplyForwardingRule, key, rule.name.clone(), detail);
            push(way, State::Nat, key, service.nat.to_string(), format!("for {}", flow.source));
            let inside =
                Flow { source: service.nat.into(), destination: service.address.into(), ..flow.clone() };
            match fabric.rule_of(service) {
                Some((key, network, rule)) => give((key, network), rule, &inside, way),
                None => gone(&service.network, rule, way),
            }
        }
    }
}

/// The interface that a flow leaves.
fn sender<'f>(fabric: &'f Fabric, flow: &Flow) -> Option<&'f Nic> {
    fabric.networks.get(&flow.network)?.nics.get(&flow.nic)
}

/// Hands a packet to the interface that the rule leads to, if it is one that the rule takes.
fn give((key, network): (&NetworkKey, &Network), rule: &Forwarding, flow: &Flow, way: &mut Way) -> Verdict {
    let (address, takes) = match &rule.to {
        To::Nic { address, takes } => (address, takes),
        To::Nobody { exists: true } => {
            let why = "its instance does not run".to_owned();
            return drop_in(way, key, Cause::InstanceNotRunning, rule.name.clone(), why);
        }
        // No endpoint is published.
        To::Nobody { exists: false } | To::Service(_) | To::NotAccepted(_) => return gone(key, rule, way),
    };
    if !l4_matches(takes, flow.protocol, flow.port) {
        let (what, detail) = (format!("{} does not take {flow}", rule.name), format!("it takes {takes}"));
        return drop_in(way, key, Cause::ForwardingRuleMismatch, what, detail);
    }
    let Some(nic) = network.nics.get(address) else { return gone(key, rule, way) };
    let detail = format!("{takes} to {} nic{}", nic.owner.name(), nic.index);
    push(way, State::ApplyForwardingRule, key, rule.name.clone(), detail);
    arrive(key, network, nic, flow, way, false)
}

/// The rule leads to nobody.
fn gone(key: &NetworkKey, rule: &Forwarding, way: &mut Way) -> Verdict {
    let why = "its instance does not exist".to_owned();
    drop_in(way, key, Cause::ForwardingRuleNoInstances, rule.name.clone(), why)
}
