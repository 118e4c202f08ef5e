//! Forwarding rules, target instances and service attachments of a file: to changes, and back.

use crate::file;
use crate::lower::Lower;
use crate::names::{Names, by_path, network_name, only};
use crate::owners::Owners;
use crate::value::{Acceptance, ForwardedProtocol, unknown};
use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::str::FromStr;
use tombolo_model::{
    Change, Consumer, Forward, ForwardSpec, ForwardingRule, ForwardingRuleKey, ForwardingRuleSpec, L4,
    PortRange, Protocol, ServiceAttachmentKey, ServiceAttachmentSpec, SubnetworkKey, TargetInstanceKey,
    TargetInstanceSpec, World,
};

impl Lower<'_> {
    /// Target instances and the rules that lead to them, then service attachments, then endpoints.
    pub(crate) fn forwarding(&mut self, owners: &Owners) {
        self.target_instances(owners);
        let rules: Vec<(String, ForwardingRuleSpec)> = self.forwarding_rules(owners);
        let (endpoints, rules): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|(_, spec)| matches!(spec.to, ForwardSpec::Service(_)));
        for (path, spec) in rules {
            self.change(&path, Change::ForwardingRuleInsert(spec));
        }
        self.service_attachments(owners);
        for (path, spec) in endpoints {
            self.change(&path, Change::ForwardingRuleInsert(spec));
        }
    }

    fn target_instances(&mut self, owners: &Owners) {
        for (i, (said, owner)) in self.file.target_instances.iter().zip(&owners.target_instances).enumerate()
        {
            let path = format!("targetInstances[{i}]");
            let found = self.names.instance(&said.instance.0, Some(owner));
            let Some(instance) = self.noted(found, &format!("{path}.instance")) else { continue };
            let network = said.network.as_ref().map(|name| self.names.network(&name.0, Some(owner)));
            let network = match network {
                Some(found) => match self.noted(found, &format!("{path}.network")) {
                    Some(network) => Some(network),
                    None => continue,
                },
                None => None,
            };
            let key = TargetInstanceKey::new(owner, &said.zone.0, &said.name.0);
            self.change(&path, Change::TargetInstanceInsert(TargetInstanceSpec { key, instance, network }));
        }
    }

    fn forwarding_rules(&mut self, owners: &Owners) -> Vec<(String, ForwardingRuleSpec)> {
        let rules = self.file.forwarding_rules.iter().zip(&owners.forwarding_rules).enumerate();
        rules
            .filter_map(|(i, (said, owner))| {
                let path = format!("forwardingRules[{i}]");
                Some((path.clone(), self.forwarding_rule(said, owner, &path)?))
            })
            .collect()
    }

    fn forwarding_rule(
        &mut self,
        said: &file::ForwardingRule,
        owner: &str,
        path: &str,
    ) -> Option<ForwardingRuleSpec> {
        let found = self.names.subnetwork(&said.subnetwork.0, owner, &said.region.0);
        let subnetwork = self.noted(found, &format!("{path}.subnetwork"))?;
        let network = self.network_of(&subnetwork);
        let network = self.noted(network, &format!("{path}.subnetwork"))?;
        let to = target(&self.names, &said.target.0, owner);
        let (to, key) = match self.noted(to, &format!("{path}.target"))? {
            Target::Instance(target) => {
                let takes = self.noted(takes(said), &format!("{path}.ports"))?;
                (ForwardSpec::Instance { target, takes }, "allowPscGlobalAccess")
            }
            Target::Service(attachment) => {
                let ports = said.ports.as_ref().map(|_| "ports");
                let protocol = said.ip_protocol.map(|_| "IPProtocol");
                if let Some(key) = ports.or(protocol).or(said.all_ports.map(|_| "allPorts")) {
                    let message = "an endpoint of Private Service Connect has none";
                    self.error(&format!("{path}.{key}"), message.into());
                    return None;
                }
                (ForwardSpec::Service(attachment), "allowGlobalAccess")
            }
        };
        let global = [said.allow_global_access, said.allow_psc_global_access];
        let [own, other] = if key == "allowGlobalAccess" { [global[1], global[0]] } else { global };
        if other.is_some() {
            self.error(&format!("{path}.{key}"), "it is for forwarding rules of another kind".into());
            return None;
        }
        Some(ForwardingRuleSpec {
            key: ForwardingRuleKey::new(owner, &said.region.0, &said.name.0),
            network,
            subnetwork,
            address: said.ip_address,
            to,
            global: own.unwrap_or(false),
        })
    }

    /// The network that a subnetwork of the file is in.
    fn network_of(&self, subnetwork: &SubnetworkKey) -> Result<tombolo_model::NetworkKey, String> {
        let automatic = tombolo_model::NetworkKey::new(&subnetwork.project, &subnetwork.name);
        match self.names.network_of.get(subnetwork) {
            Some(network) => Ok(network.clone()),
            None if self.names.auto.contains(&automatic) => Ok(automatic),
            None => Err(unknown("subnetwork", &subnetwork.to_string(), None)),
        }
    }

    fn service_attachments(&mut self, owners: &Owners) {
        let all = self.file.service_attachments.iter().zip(&owners.service_attachments).enumerate();
        for (i, (said, owner)) in all {
            let path = format!("serviceAttachments[{i}]");
            let target = named("forwarding rule", &said.target_service.0, &self.names.rules, owner);
            let Some(target) = self.noted(target, &format!("{path}.targetService")) else { continue };
            let mut nat_subnetworks = Vec::new();
            for (at, name) in said.nat_subnets.0.iter().enumerate() {
                let found = self.names.subnetwork(&name.0, owner, &said.region.0);
                nat_subnetworks.extend(self.noted(found, &format!("{path}.natSubnets[{at}]")));
            }
            let mut acceptance = tombolo_model::Acceptance {
                manual: said.connection_preference.is_some_and(|said| said.0 == Acceptance::Manual),
                reconcile: said.reconcile_connections.unwrap_or(false),
                ..Default::default()
            };
            for (at, limit) in said.consumer_accept_lists.iter().enumerate() {
                let who = match (&limit.project_id_or_num, &limit.network_url) {
                    (Some(project), _) => Ok(Consumer::Project(project.0.clone())),
                    (None, network) => {
                        let name = network.as_ref().map_or("", |name| name.0.as_str());
                        self.names.network(name, Some(owner)).map(Consumer::Network)
                    }
                };
                let who = self.noted(who, &format!("{path}.consumerAcceptLists[{at}].networkUrl"));
                acceptance.accept.extend(who.map(|who| (who, limit.connection_limit.0)));
            }
            for (at, name) in said.consumer_reject_lists.iter().enumerate() {
                let who = match self.names.projects.contains(&name.0) {
                    true => Ok(Consumer::Project(name.0.clone())),
                    false => self.names.network(&name.0, Some(owner)).map(Consumer::Network),
                };
                let who = self.noted(who, &format!("{path}.consumerRejectLists[{at}]"));
                acceptance.reject.extend(who);
            }
            let key = ServiceAttachmentKey::new(owner, &said.region.0, &said.name.0);
            let spec = ServiceAttachmentSpec { key, target, nat_subnetworks, acceptance };
            self.change(&path, Change::ServiceAttachmentInsert(spec));
        }
    }
}

/// What a forwarding rule leads to.
enum Target {
    Instance(TargetInstanceKey),
    Service(ServiceAttachmentKey),
}

/// The target instance or service attachment that a text names.
fn target(names: &Names, given: &str, project: &str) -> Result<Target, String> {
    if let Some(Ok(key)) = by_path::<TargetInstanceKey>(given) {
        return Ok(Target::Instance(key));
    }
    if let Some(key) = by_path::<ServiceAttachmentKey>(given) {
        return key.map(Target::Service);
    }
    match (names.targets.contains_key(given), names.attachments.contains_key(given)) {
        (true, true) => Err(format!(
            "the name '{given}' is a target instance's and a service attachment's: use the whole path"
        )),
        (true, false) => named("target instance", given, &names.targets, project).map(Target::Instance),
        (false, true) => named("service attachment", given, &names.attachments, project).map(Target::Service),
        (false, false) => {
            let known = names.targets.keys().chain(names.attachments.keys());
            Err(unknown("target instance or service attachment", given, known.map(String::as_str)))
        }
    }
}

/// The resource that a text names, of that project rather than of another one.
fn named<K: FromStr<Err = String> + Display + Clone + Ord + OfProject>(
    what: &str,
    given: &str,
    among: &crate::names::ByName<K>,
    project: &str,
) -> Result<K, String> {
    match by_path(given) {
        Some(key) => key,
        None => only(what, given, among, |key| key.project() == project),
    }
}

/// A key that says a project.
trait OfProject {
    fn project(&self) -> &str;
}

impl OfProject for TargetInstanceKey {
    fn project(&self) -> &str {
        &self.project
    }
}

impl OfProject for ForwardingRuleKey {
    fn project(&self) -> &str {
        &self.project
    }
}

impl OfProject for ServiceAttachmentKey {
    fn project(&self) -> &str {
        &self.project
    }
}

/// Which packets a rule to a target instance takes.
fn takes(said: &file::ForwardingRule) -> Result<L4, String> {
    let protocol = match said.ip_protocol.map(|protocol| protocol.0) {
        None | Some(ForwardedProtocol::Tcp) => Protocol::TCP,
        Some(ForwardedProtocol::Udp) => Protocol::UDP,
        Some(ForwardedProtocol::All) => Protocol::All,
    };
    match (said.ports.as_deref().unwrap_or_default(), said.all_ports.unwrap_or(false)) {
        ([], true) => Ok(L4::all_of(protocol)),
        ([], false) | (_, true) => Err("give either 'ports' or 'allPorts: true'".into()),
        (ports, false) => {
            let port = |port: &crate::value::Port| PortRange { first: port.short(), last: port.short() };
            Ok(L4::new(protocol, ports.iter().map(port).collect()))
        }
    }
}

/// The parts of a file that a World's forwarding rules and what belongs to them are.
pub(crate) fn export(world: &World) -> [(&'static str, Value); 3] {
    let targets = world.target_instances.iter().map(|(key, found)| {
        let instance = &found.instance;
        let mut map = json!({
            "name": key.name,
            "project": key.project,
            "zone": key.zone,
            "instance": format!("{}/{}/{}", instance.project, instance.zone, instance.name),
        });
        if found.network_said {
            map["network"] = json!(network_name(&found.network));
        }
        map
    });
    // In the order in which they were made: so endpoints get the NAT addresses that they have.
    let mut rules: Vec<_> = world.forwarding_rules.iter().collect();
    rules.sort_by_key(|(_, rule)| rule.id);
    let attachments = world.service_attachments.iter().map(|(key, found)| {
        let mut map = Map::new();
        let mut put = |field: &str, value: Value| drop(map.insert(field.to_owned(), value));
        put("name", json!(key.name));
        put("project", json!(key.project));
        put("region", json!(key.region));
        put("targetService", json!(found.target.to_string()));
        put("natSubnets", found.nat_subnetworks.iter().map(|key| json!(key.to_string())).collect());
        let acceptance = &found.acceptance;
        if acceptance.manual {
            put("connectionPreference", json!("ACCEPT_MANUAL"));
        }
        let limits = acceptance.accept.iter().map(|(who, limit)| {
            let field = if matches!(who, Consumer::Project(_)) { "projectIdOrNum" } else { "networkUrl" };
            json!({ field: who.to_string(), "connectionLimit": limit })
        });
        let rejected = acceptance.reject.iter().map(|who| json!(who.to_string()));
        for (field, items) in
            [("consumerAcceptLists", limits.collect::<Vec<_>>()), ("consumerRejectLists", rejected.collect())]
        {
            if !items.is_empty() {
                put(field, Value::Array(items));
            }
        }
        if acceptance.reconcile {
            put("reconcileConnections", json!(true));
        }
        Value::Object(map)
    });
    [
        ("targetInstances", targets.collect()),
        ("forwardingRules", rules.into_iter().map(|(key, rule)| exported(key, rule)).collect()),
        ("serviceAttachments", attachments.collect()),
    ]
}

fn exported(key: &ForwardingRuleKey, rule: &ForwardingRule) -> Value {
    let mut map = json!({
        "name": key.name,
        "project": key.project,
        "region": key.region,
        "subnetwork": rule.subnetwork.to_string(),
        "IPAddress": rule.address.to_string(),
    });
    let access = match &rule.to {
        Forward::Instance { target, takes } => {
            map["target"] = json!(target.to_string());
            map["IPProtocol"] = json!(match takes.protocol {
                Protocol::UDP => "UDP",
                Protocol::All => "L3_DEFAULT",
                Protocol::Number(_) => "TCP",
            });
            match takes.ports.is_empty() {
                true => map["allPorts"] = json!(true),
                false => map["ports"] = takes.ports.iter().map(|ports| json!(ports.first)).collect(),
            }
            "allowGlobalAccess"
        }
        Forward::Service(endpoint) => {
            map["target"] = json!(endpoint.attachment.to_string());
            "allowPscGlobalAccess"
        }
    };
    if rule.global {
        map[access] = json!(true);
    }
    map
}
