//! What is in a lab, as rows for people and as JSON.

use crate::run::state;
use crate::view::View;
use crate::{REDIS_PROGRAM, STARTUP_SCRIPT};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use tombolo_agent::{AgentError, ProcessState};
use tombolo_fabric::Owner;
use tombolo_model::{Forward, ForwardingRule, ForwardingRuleKey, World, region::Region};

/// A lab's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Users' networks.
    pub networks: Vec<NetworkRow>,
    /// Instances.
    pub instances: Vec<InstanceRow>,
    /// Peerings of users' networks.
    pub peerings: Vec<PeeringRow>,
    /// Forwarding rules, and endpoints of published services.
    pub forwarding_rules: Vec<ForwardingRuleRow>,
    /// Redis instances.
    pub redis: Vec<RedisRow>,
    /// Where the lab's internet ends: `lab`, or `host` where it goes on into the host's network.
    pub internet: &'static str,
    /// Whether pings get into the host's network.
    pub pings_host: bool,
}

/// A subnetwork of a network, or the network alone where it has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are Google's")]
pub struct NetworkRow {
    pub project: String,
    pub name: String,
    pub subnetwork: String,
    pub region: String,
    pub ip_cidr_range: String,
    /// `-` where it has none.
    pub internal_ipv6_prefix: String,
    /// It came with its auto-mode network, and nothing is in it: people are told of all such in a line.
    #[serde(skip)]
    pub is_spare: bool,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are Google's")]
pub struct InstanceRow {
    pub project: String,
    pub zone: String,
    pub name: String,
    /// Each interface's address, `nic0` first.
    pub network_ips: Vec<String>,
    /// The IPv6 addresses of those interfaces that have one.
    pub ipv6_addresses: Vec<String>,
    /// The external addresses of those interfaces that have one.
    pub nat_ips: Vec<String>,
    pub networks: Vec<String>,
    pub tags: Vec<String>,
    /// `RUNNING` or `TERMINATED`.
    pub status: &'static str,
    /// `running`, `exited 0` and so on; empty where there is none.
    pub startup_script: String,
    /// It is lazy, and not there yet: a packet for it or a program in it wakes it.
    pub asleep: bool,
}

/// One side of a peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are Google's")]
pub struct PeeringRow {
    pub name: String,
    pub network: String,
    pub peer: String,
    pub state: String,
    pub state_details: String,
}

/// A forwarding rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are Google's")]
pub struct ForwardingRuleRow {
    pub project: String,
    pub region: String,
    pub name: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    pub network: String,
    /// The target instance or the service attachment.
    pub target: String,
    /// Of an endpoint, whether the published service takes it; empty for other rules.
    pub psc_connection_status: String,
}

/// A Redis instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are Google's")]
pub struct RedisRow {
    pub project: String,
    pub region: String,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub authorized_network: String,
    pub reserved_ip_range: String,
    /// `READY` when its redis-server runs, `REPAIRING` when not.
    pub state: String,
}

/// The status of a lab.
pub fn status(view: &View) -> Result<Status, AgentError> {
    let world = &view.world;
    let own = |key: &tombolo_model::NetworkKey| world.networks.get(key).is_some_and(|n| !n.google_managed);
    let nics = world.instances.values().flat_map(|instance| &instance.nics);
    let rules = world.forwarding_rules.values().map(|rule| &rule.subnetwork);
    let used: BTreeSet<_> = nics.map(|nic| &nic.subnetwork).chain(rules).collect();
    let mut networks: Vec<NetworkRow> = Vec::new();
    for key in world.networks.keys().filter(|key| own(key)) {
        let row = |subnetwork: &str, region: &str, range: String, ipv6: Option<String>| NetworkRow {
            project: key.project.clone(),
            name: key.name.clone(),
            subnetwork: subnetwork.into(),
            region: region.into(),
            ip_cidr_range: range,
            internal_ipv6_prefix: ipv6.unwrap_or_else(|| "-".into()),
            is_spare: false,
        };
        let auto = world.networks.get(key).is_some_and(|network| network.auto_create_subnetworks);
        let subnetworks = world.subnetworks.iter().filter(|(_, s)| s.network == *key);
        let before = networks.len();
        networks.extend(subnetworks.map(|(k, s)| {
            let range = Region::find(&k.region).map(Region::auto_range);
            let as_made = auto
                && (k.name == key.name && range == Some(s.range))
                && (s.ipv6.is_none() && s.secondary.is_empty());
            NetworkRow {
                is_spare: as_made && !used.contains(k),
                ..row(&k.name, &k.region, s.range.to_string(), s.ipv6.map(|range| range.to_string()))
            }
        }));
        if networks.len() == before {
            networks.push(row("-", "-", "-".into(), None));
        }
    }
    let peering = |key: &tombolo_model::NetworkKey, p: &tombolo_model::Peering| {
        let state = world.peering_state(key, &p.peer);
        PeeringRow {
            name: p.name.clone(),
            network: key.name.clone(),
            peer: if own(&p.peer) { p.peer.name.clone() } else { p.peer.to_string() },
            state: state.as_str().into(),
            state_details: state.details(p.state_since),
        }
    };
    let with_peerings = world.networks.iter().filter(|(key, _)| own(key));
    let peerings =
        with_peerings.flat_map(|(key, n)| n.peerings.iter().map(move |p| peering(key, p))).collect();
    let forwarding_rules = forwarding_rules(&view.world);
    let internet = if world.reaches_host { "host" } else { "lab" };
    let (instances, redis) = (instances(view)?, redis(view)?);
    let pings_host = world.pings_host;
    Ok(Status { networks, instances, peerings, forwarding_rules, redis, internet, pings_host })
}

/// Rows of forwarding rules.
fn forwarding_rules(world: &World) -> Vec<ForwardingRuleRow> {
    let row = |(key, rule): (&ForwardingRuleKey, &Arc<ForwardingRule>)| {
        let (target, status) = match &rule.to {
            Forward::Instance { target, .. } => (target.to_string(), ""),
            Forward::Service(endpoint) => (endpoint.attachment.to_string(), endpoint.status.as_str()),
        };
        ForwardingRuleRow {
            project: key.project.clone(),
            region: key.region.clone(),
            name: key.name.clone(),
            ip_address: rule.address.to_string(),
            network: rule.network.name.clone(),
            target,
            psc_connection_status: status.to_owned(),
        }
    };
    world.forwarding_rules.iter().map(row).collect()
}

/// Rows of instances.
fn instances(view: &View) -> Result<Vec<InstanceRow>, AgentError> {
    let asleep = view.agent.asleep()?;
    let rows = view.world.instances.iter().map(|(key, instance)| {
        let owner = Owner::Instance(key.clone()).to_string();
        let asleep = asleep.contains(&owner);
        // Nothing runs in one that sleeps, and one that is stopped is not there.
        let there = instance.running && !asleep;
        let script = if there { state(view.agent, &owner, STARTUP_SCRIPT)? } else { None };
        Ok(InstanceRow {
            asleep,
            status: if instance.running { "RUNNING" } else { "TERMINATED" },
            project: key.project.clone(),
            zone: key.zone.clone(),
            name: key.name.clone(),
            network_ips: instance.nics.iter().map(|n| n.address.to_string()).collect(),
            ipv6_addresses: instance
                .nics
                .iter()
                .filter_map(|n| Some(n.ipv6_address()?.to_string()))
                .collect(),
            nat_ips: instance
                .nics
                .iter()
                .filter_map(|n| Some(n.access.as_ref()?.address.to_string()))
                .collect(),
            networks: instance.nics.iter().map(|n| n.network.name.clone()).collect(),
            tags: instance.tags.iter().cloned().collect(),
            startup_script: match script {
                None => String::new(),
                Some(ProcessState::Running { .. }) => "running".into(),
                Some(ProcessState::Ended(status)) => format!("exited {}", status.code()),
            },
        })
    });
    rows.collect()
}

/// Rows of Redis instances.
fn redis(view: &View) -> Result<Vec<RedisRow>, AgentError> {
    let rows = view.world.redis.iter().map(|(key, redis)| {
        let server = state(view.agent, &Owner::Redis(key.clone()).to_string(), REDIS_PROGRAM)?;
        let ready = matches!(server, Some(ProcessState::Running { .. }));
        Ok(RedisRow {
            project: key.project.clone(),
            region: key.region.clone(),
            name: key.name.clone(),
            host: redis.host.to_string(),
            port: redis.port,
            authorized_network: redis.authorized_network.name.clone(),
            reserved_ip_range: redis.reserved_ip_range.to_string(),
            state: if ready { "READY" } else { "REPAIRING" }.into(),
        })
    });
    rows.collect()
}
