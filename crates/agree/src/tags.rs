//! Random secure tags: keys for a network each and for the organization, values that instances have, and rules of the world's
//! firewall policies that name them, as sources, as targets or as both.

use crate::worlds::{Maker, PROJECT};
use std::collections::BTreeSet;
use tombolo_model::{
    Change, Direction, FirewallPolicyKey, InstanceKey, NetworkKey, PolicyKey, TagKeySpec, TagParent,
    TagScope, TagValueKey, tag_key, tag_value,
};

impl Maker<'_> {
    /// Keys, values, bindings and rules.
    pub(crate) fn secure_tags(&mut self, networks: &[NetworkKey]) {
        let values = self.tag_values(networks);
        let instances: Vec<InstanceKey> = self.world.instances.keys().cloned().collect();
        for instance in instances {
            for value in &values {
                if self.chance(35) {
                    // Refused where no interface is in the key's network, and of a key's second value.
                    let (instance, value) = (instance.clone(), value.clone());
                    self.try_change(&Change::TagBind { instance, value });
                }
            }
        }
        // A policy for those networks that have none.
        for network in networks {
            let policy = FirewallPolicyKey::global(PROJECT, format!("{}-tags", network.name));
            let (name, network, replace) = (format!("tags-{}", network.name), network.clone(), false);
            self.try_changes(&[
                Change::FirewallPolicyInsert(policy.clone()),
                Change::PolicyAssociate { policy, name, network, replace },
            ]);
        }
        let own = self.world.firewall_policies.keys().cloned().map(PolicyKey::from);
        let above = self.world.hierarchical_policies.keys().cloned().map(PolicyKey::from);
        let policies: Vec<PolicyKey> = own.chain(above).collect();
        for policy in policies {
            for priority in 0..self.rng.u32(1..=4) {
                let mut rule = self.policy_rule(0, |_| BTreeSet::new());
                let (sources, targets) = (self.some(&values), self.some(&values));
                if rule.direction == Direction::Ingress && self.chance(70) {
                    rule.src_secure_tags = sources;
                    if !rule.src_secure_tags.is_empty() && self.chance(80) {
                        rule.ranges.clear();
                    }
                }
                if self.chance(50) {
                    rule.target_secure_tags = targets;
                }
                // One that is there already makes room, now and then.
                let replace = self.chance(40);
                let policy = policy.clone();
                self.try_change(&Change::PolicyRuleSet { policy, priority, rule, replace });
            }
        }
    }

    /// Two values of a key for most networks, and of one for all of the organization.
    fn tag_values(&mut self, networks: &[NetworkKey]) -> Vec<TagValueKey> {
        let mut keys = vec![(TagParent::Organization, "all".to_owned(), TagScope::Organization)];
        for network in networks {
            let project = TagParent::Project(PROJECT.to_owned());
            keys.push((project, network.name.clone(), TagScope::Network(network.clone())));
        }
        let mut values = Vec::new();
        for (parent, short_name, scope) in keys {
            if self.chance(20) {
                continue;
            }
            let key = tag_key::key_of(&self.world, &parent, &short_name);
            self.try_change(&Change::TagKeyCreate(TagKeySpec { parent, short_name, scope: Some(scope) }));
            for name in ["x", "y"] {
                let value = tag_value::key_of(&self.world, &key, name);
                let (parent, short_name) = (key.clone(), name.to_owned());
                if self.try_change(&Change::TagValueCreate { parent, short_name }) {
                    values.push(value);
                }
            }
        }
        values
    }

    /// Some values, each with a probability.
    fn some(&mut self, values: &[TagValueKey]) -> BTreeSet<TagValueKey> {
        values.iter().filter(|_| self.chance(30)).cloned().collect()
    }
}
