//! Who owns what: the project of each resource, and every name that others may refer to.

use crate::file::Network;
use crate::lower::Lower;
use crate::value::{ProjectId, unknown};
use std::collections::BTreeSet;
use tombolo_model::{
    ForwardingRuleKey, InstanceKey, NetworkKey, RedisKey, ServiceAttachmentKey, SubnetworkKey,
    TargetInstanceKey,
};

/// The project of each network, firewall policy, instance, and so on.
pub(crate) struct Owners {
    pub(crate) networks: Vec<String>,
    pub(crate) policies: Vec<String>,
    pub(crate) instances: Vec<String>,
    pub(crate) redis: Vec<String>,
    pub(crate) target_instances: Vec<String>,
    pub(crate) forwarding_rules: Vec<String>,
    pub(crate) service_attachments: Vec<String>,
    pub(crate) routers: Vec<String>,
    pub(crate) managed_zones: Vec<String>,
    /// The projects with a network that has private services access.
    pub(crate) with_connection: BTreeSet<String>,
    /// The projects that have a Redis instance.
    pub(crate) with_redis: BTreeSet<String>,
}

impl Lower<'_> {
    /// Finds every resource's project, and notes every name that others may refer to.
    pub(crate) fn owners(&mut self) -> Owners {
        let file = self.file;
        let of = |lower: &mut Self, given: Option<&ProjectId>, kind: &str, i: usize| {
            lower.owner(given, &format!("{kind}[{i}]"))
        };
        self.names.projects = file.projects.0.iter().map(|p| p.project_id.0.clone()).collect();
        let mut owners = Owners {
            networks: Vec::new(),
            policies: Vec::new(),
            instances: Vec::new(),
            redis: Vec::new(),
            target_instances: Vec::new(),
            forwarding_rules: Vec::new(),
            service_attachments: Vec::new(),
            routers: Vec::new(),
            managed_zones: Vec::new(),
            with_connection: BTreeSet::new(),
            with_redis: BTreeSet::new(),
        };
        for project in file.projects.0.iter().filter(|p| p.default_network == Some(true)) {
            let key = NetworkKey::new(&project.project_id.0, "default");
            self.names.networks.entry("default".into()).or_default().insert(key.clone());
            self.names.auto.insert(key);
        }
        for (i, network) in file.networks.iter().enumerate() {
            let owner = of(self, network.project.as_ref(), "networks", i);
            self.note_network(network, &owner);
            if network.private_services_access.is_some() {
                owners.with_connection.insert(owner.clone());
            }
            owners.networks.push(owner);
        }
        for (i, policy) in file.firewall_policies.iter().enumerate() {
            let owner = of(self, policy.project.as_ref(), "firewallPolicies", i);
            owners.policies.push(owner);
        }
        for (i, instance) in file.instances.iter().enumerate() {
            let owner = of(self, instance.project.as_ref(), "instances", i);
            let key = InstanceKey::new(&owner, &instance.zone.0, &instance.name.0);
            self.names.instances.entry(instance.name.0.clone()).or_default().insert(key);
            owners.instances.push(owner);
        }
        for (i, target) in file.target_instances.iter().enumerate() {
            let owner = of(self, target.project.as_ref(), "targetInstances", i);
            let key = TargetInstanceKey::new(&owner, &target.zone.0, &target.name.0);
            self.names.targets.entry(target.name.0.clone()).or_default().insert(key);
            owners.target_instances.push(owner);
        }
        for (i, rule) in file.forwarding_rules.iter().enumerate() {
            let owner = of(self, rule.project.as_ref(), "forwardingRules", i);
            let key = ForwardingRuleKey::new(&owner, &rule.region.0, &rule.name.0);
            self.names.rules.entry(rule.name.0.clone()).or_default().insert(key);
            owners.forwarding_rules.push(owner);
        }
        for (i, attachment) in file.service_attachments.iter().enumerate() {
            let owner = of(self, attachment.project.as_ref(), "serviceAttachments", i);
            let key = ServiceAttachmentKey::new(&owner, &attachment.region.0, &attachment.name.0);
            self.names.attachments.entry(attachment.name.0.clone()).or_default().insert(key);
            owners.service_attachments.push(owner);
        }
        for (i, redis) in file.redis.iter().enumerate() {
            let owner = of(self, redis.project.as_ref(), "redis", i);
            let key = RedisKey::new(&owner, &redis.region.0, &redis.name.0);
            self.names.redis.entry(redis.name.0.clone()).or_default().insert(key);
            owners.with_redis.insert(owner.clone());
            owners.redis.push(owner);
        }
        for (i, router) in file.routers.iter().enumerate() {
            let owner = of(self, router.project.as_ref(), "routers", i);
            owners.routers.push(owner);
        }
        for (i, zone) in file.managed_zones.iter().enumerate() {
            let owner = of(self, zone.project.as_ref(), "managedZones", i);
            owners.managed_zones.push(owner);
        }
        owners
    }

    /// Notes the names of a network and its subnetworks.
    fn note_network(&mut self, network: &Network, project: &str) {
        let key = NetworkKey::new(project, &network.name.0);
        for subnetwork in &network.subnetworks {
            let key = SubnetworkKey::new(project, &subnetwork.region.0, &subnetwork.name.0);
            self.names.network_of.insert(key.clone(), NetworkKey::new(project, &network.name.0));
            self.names.subnetworks.entry(subnetwork.name.0.clone()).or_default().insert(key);
        }
        if network.auto_create_subnetworks == Some(true) {
            self.names.auto.insert(key.clone());
        }
        self.names.networks.entry(network.name.0.clone()).or_default().insert(key);
    }

    /// The project of a resource: the one it names, or the file's only one. Empty after an error.
    fn owner(&mut self, given: Option<&ProjectId>, path: &str) -> String {
        let projects = &self.file.projects.0;
        let message = match (given, projects.as_slice()) {
            (Some(id), _) if self.names.projects.contains(&id.0) => return id.0.clone(),
            _ if self.full() => return String::new(),
            (Some(id), _) => unknown("project", &id.0, self.names.projects.iter().map(String::as_str)),
            (None, [only]) => return only.project_id.0.clone(),
            (None, _) => "missing key 'project': the file has more than one project".to_owned(),
        };
        let path = if given.is_some() { format!("{path}.project") } else { path.to_owned() };
        self.error(&path, message);
        String::new()
    }
}
