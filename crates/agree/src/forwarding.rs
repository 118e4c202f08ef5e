//! Forwarding rules, published services and endpoints of random worlds.

use crate::worlds::{Maker, PROJECT, REGION};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::{
    Acceptance, Change, Consumer, ForwardSpec, ForwardingRuleKey, ForwardingRuleSpec, InstanceKey,
    InstanceSpec, L4, NetworkKey, NicSpec, PortRange, Protocol, ServiceAttachmentKey, ServiceAttachmentSpec,
    StackType, SubnetworkKey, SubnetworkSpec, TargetInstanceKey, TargetInstanceSpec,
};

/// Another region than that of everything else.
const FAR: &str = "europe-west1";
/// Where clients of published services get addresses: near to subnetworks' ranges, and mostly free.
const NAT: [&str; 5] = ["10.0.2.0/29", "10.0.2.8/29", "10.9.0.0/24", "192.168.0.24/29", "172.16.16.0/28"];
/// Where VMs of the other region are.
const FAR_RANGES: [&str; 3] = ["10.0.3.0/29", "10.8.0.0/24", "192.168.0.32/29"];

impl Maker<'_> {
    /// In half of the worlds, all that forwarding rules are about.
    pub(crate) fn forwarding(&mut self, networks: &[NetworkKey]) {
        if self.chance(50) {
            return;
        }
        for (i, network) in networks.iter().enumerate() {
            if self.chance(40) {
                self.far_instance(i, network);
            }
            for j in 0..self.rng.usize(..=2) {
                self.rule(network, &format!("rule-{i}-{j}"));
            }
        }
        let services: Vec<ForwardingRuleKey> = self.world.forwarding_rules.keys().cloned().collect();
        for (i, service) in services.iter().enumerate() {
            self.publish(service, i);
        }
        let attachments: Vec<ServiceAttachmentKey> = self.world.service_attachments.keys().cloned().collect();
        for i in 0..self.rng.usize(..=6) {
            if !attachments.is_empty() {
                let (attachment, network) = (self.pick(&attachments), self.pick(networks));
                let to = ForwardSpec::Service(attachment);
                self.forward(&network, &format!("endpoint-{i}"), to);
            }
        }
        self.regrets(&attachments);
    }

    /// A VM in another region.
    fn far_instance(&mut self, i: usize, network: &NetworkKey) {
        let subnetwork = SubnetworkKey::new(PROJECT, FAR, format!("far-{i}"));
        let range = self.pick(&FAR_RANGES).parse().unwrap_or_default();
        let spec = SubnetworkSpec::new(subnetwork.clone(), network.clone(), range);
        if !self.try_change(&Change::SubnetworkInsert(spec)) {
            return;
        }
        let spec = InstanceSpec {
            key: InstanceKey::new(PROJECT, format!("{FAR}-b"), format!("far-{i}")),
            nics: vec![NicSpec {
                subnetwork,
                address: None,
                stack_type: StackType::default(),
                aliases: Vec::new(),
            }],
            tags: BTreeSet::new(),
            can_ip_forward: self.chance(30),
            service_account: None,
            metadata: BTreeMap::new(),
        };
        self.try_change(&Change::InstanceInsert(spec));
    }

    /// A rule that leads to an instance of the network.
    fn rule(&mut self, network: &NetworkKey, name: &str) {
        let inside = |instance: &tombolo_model::Instance| instance.nics.iter().any(|n| n.network == *network);
        let near =
            self.world.instances.iter().filter(|(key, found)| !key.zone.starts_with(FAR) && inside(found));
        let instances: Vec<InstanceKey> = near.map(|(key, _)| key.clone()).collect();
        if instances.is_empty() {
            return;
        }
        let instance = self.pick(&instances);
        let target = TargetInstanceKey::new(PROJECT, &instance.zone, name);
        let spec = TargetInstanceSpec { key: target.clone(), instance, network: Some(network.clone()) };
        self.try_change(&Change::TargetInstanceInsert(spec));
        let port = |port| PortRange { first: port, last: port };
        let takes = match self.rng.u8(..6) {
            0 => L4::all_of(Protocol::All),
            1 => L4::all_of(Protocol::UDP),
            2 => L4::new(Protocol::TCP, vec![port(22), port(80), port(6379)]),
            3 => L4::new(Protocol::UDP, vec![port(90)]),
            _ => L4::all_of(Protocol::TCP),
        };
        self.forward(network, name, ForwardSpec::Instance { target, takes });
    }

    /// A forwarding rule with an address of the network.
    fn forward(&mut self, network: &NetworkKey, name: &str, to: ForwardSpec) {
        let own = self.world.subnetworks.iter().filter(|(k, s)| s.network == *network && k.region == REGION);
        let own: Vec<(SubnetworkKey, Ipv4Net)> = own.map(|(key, found)| (key.clone(), found.range)).collect();
        if own.is_empty() {
            return;
        }
        let (subnetwork, range) = self.pick(&own);
        // The first free one, or that of every other network of the same range.
        let third = tombolo_model::range::nth(range, 3);
        let address = if self.chance(30) { Some(third) } else { None };
        let spec = ForwardingRuleSpec {
            key: ForwardingRuleKey::new(PROJECT, REGION, name),
            network: network.clone(),
            subnetwork,
            address,
            to,
            global: self.chance(30),
        };
        self.try_change(&Change::ForwardingRuleInsert(spec));
    }

    /// A service attachment for most rules.
    fn publish(&mut self, service: &ForwardingRuleKey, i: usize) {
        if self.chance(25) {
            return;
        }
        let network = self.world.forwarding_rules[service].network.clone();
        let nat = SubnetworkKey::new(PROJECT, REGION, format!("nat-{i}"));
        let range = self.pick(&NAT).parse().unwrap_or_default();
        let attachment = ServiceAttachmentSpec {
            key: ServiceAttachmentKey::new(PROJECT, REGION, format!("service-{i}")),
            target: service.clone(),
            nat_subnetworks: vec![nat.clone()],
            acceptance: Acceptance { manual: self.chance(15), ..Acceptance::default() },
        };
        self.try_changes(&[
            Change::NatSubnetworkInsert(SubnetworkSpec::new(nat, network, range)),
            Change::ServiceAttachmentInsert(attachment),
        ]);
    }

    /// Some services are taken back, or take some networks only; some instances stop.
    fn regrets(&mut self, attachments: &[ServiceAttachmentKey]) {
        for key in attachments {
            let Some(found) = self.world.service_attachments.get(key).cloned() else { continue };
            let rejected: BTreeSet<Consumer> =
                self.world.networks.keys().take(2).cloned().map(Consumer::Network).collect();
            let acceptance = Acceptance {
                manual: true,
                accept: self.world.networks.keys().cloned().map(|key| (Consumer::Network(key), 2)).collect(),
                reject: rejected,
                reconcile: true,
            };
            let change = match self.rng.u8(..12) {
                0 => Change::ServiceAttachmentDelete(key.clone()),
                1 => Change::ServiceAttachmentUpdate(ServiceAttachmentSpec {
                    key: key.clone(),
                    target: found.target.clone(),
                    nat_subnetworks: found.nat_subnetworks.clone(),
                    acceptance,
                }),
                2 => {
                    let Some(target) = self.world.target_instances.values().next() else { continue };
                    let instance = target.instance.clone();
                    if self.chance(50) {
                        Change::InstanceStop(instance)
                    } else {
                        Change::InstanceDelete(instance)
                    }
                }
                _ => continue,
            };
            self.try_change(&change);
        }
    }
}
