//! What firewall rules logged, as Google's log entries have it. Pure.
//!
//! The connection, the rule's name, what it did and the instance at which it did so are as they were at that moment;
//! what else is told of the rule, and who is at the other end, is as the World has it when it is asked.
//! Source: Google's documentation of VPC firewall rules logging, "Log format".

use crate::log_entry::{Origin, connection, instance_details, moment, owner_near, vpc_details};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tombolo_agent::Hit;
use tombolo_dataplane::rules::{Side, counted_by};
use tombolo_model::{
    Action, Direction, Firewall, FirewallKey, InstanceKey, L4, LogMetadata, NetworkKey, Node, Protocol,
    World, firewall::IMPLIED_PRIORITY, folder, hierarchical_policy,
};

/// A hit with the names of what it is about.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    hit: &'a Hit,
    /// The network that the rule is in.
    pub network: NetworkKey,
    /// The rule's name.
    pub rule: String,
    /// Where the rule acted.
    pub direction: Direction,
    /// The instance at which it did, unless that was gone at once.
    pub instance: Option<InstanceKey>,
}

impl<'a> Record<'a> {
    /// Reads a hit. `None` if it is not of a user's network.
    pub fn new(hit: &'a Hit) -> Option<Record<'a>> {
        let (side, rule) = counted_by(&hit.counter)?;
        Some(Record {
            hit,
            network: hit.router.parse().ok()?,
            rule: rule.to_owned(),
            direction: direction(side),
            instance: hit.endpoint.as_ref().and_then(|endpoint| endpoint.parse().ok()),
        })
    }

    /// Google's word for what became of the connection here.
    pub fn disposition(&self) -> &'static str {
        if self.hit.allowed { "ALLOWED" } else { "DENIED" }
    }

    /// Google's word for where the rule acted.
    pub fn direction_name(&self) -> &'static str {
        if self.direction == Direction::Ingress { "INGRESS" } else { "EGRESS" }
    }

    /// When it was, with microseconds: `2020-02-21T21:43:30.435127Z`.
    pub fn timestamp(&self) -> String {
        moment(self.hit.at)
    }

    /// `10.1.0.2:40000 -> 10.2.0.2:22 tcp`
    pub fn connection(&self) -> String {
        let it = &self.hit.connection;
        let (source, destination) = ((it.source, it.source_port), (it.destination, it.destination_port));
        let protocol = Protocol::Number(it.protocol);
        format!("{}:{} -> {}:{} {protocol}", source.0, source.1, destination.0, destination.1)
    }

    /// The log entry.
    pub fn entry(&self, world: &World) -> Value {
        let key = FirewallKey::new(&self.network.project, &self.rule);
        let rule = world.firewalls.get(&key);
        let rule = rule.filter(|rule| rule.network == self.network && rule.direction == self.direction);
        let metadata = rule.and_then(|rule| rule.logging) != Some(LogMetadata::ExcludeAllMetadata);
        let it = &self.hit.connection;
        let (own, far) = match self.direction {
            Direction::Ingress => (it.destination, it.source),
            Direction::Egress => (it.source, it.destination),
        };
        let mut payload = json!({
            "connection": connection(it),
            "disposition": self.disposition(),
            "rule_details": self.rule_details(world, rule.map(|rule| &**rule), metadata),
        });
        if metadata {
            if let Some(instance) = &self.instance {
                payload["instance"] = instance_details(instance);
            }
            payload["vpc"] = vpc_details(world, &self.network, own);
            if let Some((network, instance)) = owner_near(world, &self.network, far) {
                payload["remote_instance"] = instance_details(instance);
                payload["remote_vpc"] = vpc_details(world, network, far);
            }
        }
        let (at, number) = (self.hit.at, self.hit.number);
        Origin { log: "firewall", network: &self.network, end: own, at, number }.entry(world, payload)
    }

    fn rule_details(&self, world: &World, rule: Option<&Firewall>, metadata: bool) -> Value {
        let mut details = json!({
            "reference": format!("network:{}/firewall:{}", self.network.name, self.rule),
            "action": if self.hit.allowed { "ALLOW" } else { "DENY" },
            "direction": self.direction_name(),
        });
        // One of a policy: `POLICY/PRIORITY`, `REGION/POLICY/PRIORITY` or `folders/N/POLICY/PRIORITY`.
        if let Some((policy, priority)) = self.rule.rsplit_once('/') {
            details["reference"] = json!(match tier(world, &self.network, policy) {
                Some((tier, id)) => format!("{tier}/firewallPolicy:{id}"),
                None => format!("network:{}/firewallPolicy:{policy}", self.network.name),
            });
            details["priority"] = json!(priority.parse::<u32>().unwrap_or_default());
        }
        let Some(rule) = rule else { return details };
        details["priority"] = json!(rule.priority);
        details["ip_port_info"] = rule.matches.iter().map(ip_port_info).collect();
        for (name, values) in [
            ("source_range", json!(rule.source_ranges)),
            ("destination_range", json!(rule.destination_ranges)),
            ("source_tag", json!(rule.source_tags)),
            ("target_tag", json!(rule.target_tags)),
            ("source_service_account", json!(rule.source_service_accounts)),
            ("target_service_account", json!(rule.target_service_accounts)),
        ] {
            if metadata && values.as_array().is_some_and(|values| !values.is_empty()) {
                details[name] = values;
            }
        }
        details
    }
}

/// How many nodes are above the one at which a hierarchical policy acts, and the policy's number. `None` of another policy.
/// Source: Google's documentation of firewall policy rules logging, "Firewall policy rule log format".
fn tier(world: &World, network: &NetworkKey, policy: &str) -> Option<(usize, String)> {
    let (node, name) = policy.rsplit_once('/')?;
    let node: Node = node.parse().ok()?;
    let above = folder::ancestry(world, Some(&node)).len().saturating_sub(1);
    let acting = hierarchical_policy::all_of_project(world, &network.project);
    let found = acting.iter().find(|(at, _, policy)| *at == node && policy.short_name == name);
    Some((above, found.map_or_else(|| name.to_owned(), |(_, key, _)| key.name.clone())))
}

fn direction(far: Side) -> Direction {
    if far == Side::Source { Direction::Ingress } else { Direction::Egress }
}

fn ip_port_info(l4: &L4) -> Value {
    let mut info = Map::new();
    info.insert("ip_protocol".into(), json!(l4.protocol.to_string().to_uppercase()));
    if !l4.ports.is_empty() {
        info.insert("port_range".into(), l4.ports.iter().map(|ports| json!(ports.to_string())).collect());
    }
    Value::Object(info)
}

/// How often a rule has decided.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// The project of the rule and its network.
    pub project: String,
    /// The network.
    pub network: String,
    /// The rule; those that nobody made have Google's names for them.
    pub rule: String,
    /// Whether nobody made it.
    pub implied: bool,
    /// `INGRESS` or `EGRESS`.
    pub direction: Direction,
    /// `ALLOW` or `DENY`.
    pub action: Action,
    /// 0 to 65535; of a firewall policy's rule, to 2147483647.
    pub priority: u32,
    /// Packets that began a connection, or were denied; of every protocol.
    pub hits: u64,
}

/// How often each rule of users' networks that is not disabled has decided, in the order in which they win.
pub fn counts(world: &World, counters: &BTreeMap<String, BTreeMap<String, u64>>) -> Vec<Count> {
    let fabric = tombolo_fabric::compile(world);
    let mut counts = Vec::new();
    for (key, network) in fabric.networks.iter().filter(|(_, network)| !network.google_managed) {
        for (side, rules) in [(Side::Source, &network.ingress), (Side::Destination, &network.egress)] {
            counts.extend(rules.iter().map(|rule| {
                let counter = tombolo_dataplane::rules::counter(side, &rule.id());
                let hits = counters.get(&key.to_string()).and_then(|counters| counters.get(&counter));
                Count {
                    project: key.project.clone(),
                    network: key.name.clone(),
                    rule: rule.name.clone(),
                    implied: rule.implied,
                    direction: direction(side),
                    action: rule.action,
                    priority: if rule.implied { IMPLIED_PRIORITY.into() } else { rule.priority },
                    // One that acts nowhere has no counter.
                    hits: hits.copied().unwrap_or_default(),
                }
            }));
        }
    }
    counts
}
