//! Service attachments of Private Service Connect: a forwarding rule that is published to other networks.
//!
//! Clients reach the service by endpoints ([`crate::forwarding_rule`]) in their own networks. There are no routes between
//! the networks, which may overlap: an endpoint's packets come to the service from an address of a NAT subnetwork.
//! Source: Google's documentation of Private Service Connect, "About published services" and "Manage published services".

use crate::forwarding_rule::{self, ConnectionStatus, Endpoint, Forward};
use crate::{
    ForwardingRuleKey, NetworkKey, Protocol, Purpose, Refusal, ServiceAttachmentKey, SubnetworkKey,
    Timestamp, World, key, project, range, region,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::{fmt, sync::Arc};

/// A service attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAttachment {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The forwarding rule that is published (`targetService`).
    pub target: ForwardingRuleKey,
    /// Where its clients' addresses are from (`natSubnets`). Never empty.
    pub nat_subnetworks: Vec<SubnetworkKey>,
    /// Whose endpoints it takes.
    pub acceptance: Acceptance,
}

/// Whose endpoints a service attachment takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    /// Only those that `accept` says (`ACCEPT_MANUAL`); everybody's otherwise (`ACCEPT_AUTOMATIC`).
    pub manual: bool,
    /// Whose, and how many of each.
    pub accept: BTreeMap<Consumer, u32>,
    /// Whose not; this beats `accept`.
    pub reject: BTreeSet<Consumer>,
    /// Whether a change of the lists changes what was accepted or rejected before it (`reconcileConnections`).
    pub reconcile: bool,
}

/// Whom a service attachment knows its clients by. A list of these has one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Consumer {
    /// The project that the endpoint is in, by its id or its number.
    Project(String),
    /// The network that the endpoint is in.
    Network(NetworkKey),
}

/// A project's id or number, or a network's path.
impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Consumer::Project(id) => f.write_str(id),
            Consumer::Network(key) => write!(f, "{key}"),
        }
    }
}

impl From<Consumer> for String {
    fn from(consumer: Consumer) -> String {
        consumer.to_string()
    }
}

impl TryFrom<String> for Consumer {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('/') { text.parse().map(Consumer::Network) } else { Ok(Consumer::Project(text)) }
    }
}

/// What a user says of a service attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAttachmentSpec {
    /// Which service attachment.
    pub key: ServiceAttachmentKey,
    /// The forwarding rule that is to be published.
    pub target: ForwardingRuleKey,
    /// Where its clients' addresses are to be from.
    pub nat_subnetworks: Vec<SubnetworkKey>,
    /// Whose endpoints it is to take.
    pub acceptance: Acceptance,
}

/// Creates a service attachment.
pub(crate) fn insert(world: &mut World, spec: &ServiceAttachmentSpec, now: Timestamp) -> Result<(), Refusal> {
    let key = &spec.key;
    project::require(world, &key.project, project::COMPUTE)?;
    key::check_name("name", &key.name)?;
    region::check("region", &key.region)?;
    if world.service_attachments.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    check(world, spec)?;
    let attachment = ServiceAttachment {
        id: world.fresh_id(),
        creation_timestamp: now,
        target: spec.target.clone(),
        nat_subnetworks: spec.nat_subnetworks.clone(),
        acceptance: spec.acceptance.clone(),
    };
    world.service_attachments.insert(key.clone(), Arc::new(attachment));
    Ok(())
}

/// Puts a service attachment in the place of one of the same name, whose endpoints stay.
pub(crate) fn update(world: &mut World, spec: &ServiceAttachmentSpec) -> Result<(), Refusal> {
    let found = get(world, &spec.key)?.clone();
    check(world, spec)?;
    // A NAT subnetwork may go that no endpoint has an address of.
    let gone = found.nat_subnetworks.iter().filter(|key| !spec.nat_subnetworks.contains(key));
    for key in gone {
        let range = world.subnetworks.get(key).map(|found| found.range);
        let inside = |endpoint: &Endpoint| endpoint.nat.zip(range).is_some_and(|(nat, at)| at.contains(&nat));
        if let Some((user, _)) = endpoints(world, &spec.key).find(|(_, endpoint)| inside(endpoint)) {
            return Err(Refusal::in_use("subnetwork", key, user));
        }
    }
    let changed = ServiceAttachment {
        target: spec.target.clone(),
        nat_subnetworks: spec.nat_subnetworks.clone(),
        acceptance: spec.acceptance.clone(),
        ..found
    };
    world.service_attachments.insert(spec.key.clone(), Arc::new(changed));
    settle(world, &spec.key);
    Ok(())
}

/// Deletes a service attachment. Its endpoints are closed, for good.
pub(crate) fn delete(world: &mut World, key: &ServiceAttachmentKey) -> Result<(), Refusal> {
    get(world, key)?;
    let own: Vec<ForwardingRuleKey> = endpoints(world, key).map(|(key, _)| key.clone()).collect();
    for rule in own {
        set(world, &rule, ConnectionStatus::Closed, None);
    }
    world.service_attachments.remove(key);
    Ok(())
}

fn get<'w>(world: &'w World, key: &ServiceAttachmentKey) -> Result<&'w ServiceAttachment, Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.service_attachments.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key))
}

/// Checks a service attachment against what there is.
fn check(world: &World, spec: &ServiceAttachmentSpec) -> Result<(), Refusal> {
    let key = &spec.key;
    let rule = world.forwarding_rules.get(&spec.target).ok_or_else(|| Refusal::not_found(&spec.target))?;
    let wrong = |expected: &str| Err(Refusal::invalid("targetService", &spec.target, expected));
    if (&spec.target.project, &spec.target.region) != (&key.project, &key.region) {
        return wrong("The forwarding rule must be in the project and region of the service attachment.");
    }
    match &rule.to {
        Forward::Service(_) => return wrong("A Private Service Connect endpoint cannot be published."),
        Forward::Instance { takes, .. } if takes.protocol == Protocol::All => {
            return wrong("The protocol of the forwarding rule must be TCP or UDP.");
        }
        Forward::Instance { .. } => {}
    }
    let others = || world.service_attachments.iter().filter(|(other, _)| *other != key);
    if let Some((user, _)) = others().find(|(_, other)| other.target == spec.target) {
        return Err(Refusal::in_use("forwarding_rule", &spec.target, user));
    }
    if spec.nat_subnetworks.is_empty() {
        return Err(Refusal::invalid("natSubnets", "", "At least one NAT subnetwork must be specified."));
    }
    for (i, at) in spec.nat_subnetworks.iter().enumerate() {
        let field = format!("natSubnets[{i}]");
        let found = world.subnetworks.get(at).ok_or_else(|| Refusal::not_found(at))?;
        if found.purpose != Purpose::PrivateServiceConnect {
            let expected = "The purpose of the subnetwork must be PRIVATE_SERVICE_CONNECT.";
            return Err(Refusal::invalid(&field, at, expected));
        }
        if found.network != rule.network || at.region != key.region {
            let expected = "The subnetwork must be of the target service's network and region.";
            return Err(Refusal::invalid(&field, at, expected));
        }
        if spec.nat_subnetworks[..i].contains(at) {
            return Err(Refusal::invalid(&field, at, "A subnetwork is specified twice."));
        }
        if let Some((user, _)) = others().find(|(_, other)| other.nat_subnetworks.contains(at)) {
            return Err(Refusal::in_use("subnetwork", at, user));
        }
    }
    check_acceptance(&spec.acceptance)
}

fn check_acceptance(acceptance: &Acceptance) -> Result<(), Refusal> {
    let all = || acceptance.accept.keys().chain(&acceptance.reject);
    if !acceptance.manual && all().next().is_some() {
        let expected = "Consumer lists can be specified with ACCEPT_MANUAL only.";
        return Err(Refusal::invalid("connectionPreference", "ACCEPT_AUTOMATIC", expected));
    }
    let is_project = |consumer: &&Consumer| matches!(consumer, Consumer::Project(_));
    if let (Some(project), Some(network)) = (all().find(is_project), all().find(|one| !is_project(one))) {
        let expected = format!("All consumers must be projects or all networks; '{network}' is another.");
        return Err(Refusal::invalid("consumerAcceptLists", project, expected));
    }
    if let Some(consumer) =
        acceptance.accept.iter().find_map(|(consumer, limit)| (*limit == 0).then_some(consumer))
    {
        let expected = format!("The limit of '{consumer}' must be at least 1.");
        return Err(Refusal::invalid("consumerAcceptLists.connectionLimit", 0, expected));
    }
    Ok(())
}

/// The endpoints of a service attachment that were not closed.
pub fn endpoints<'w>(
    world: &'w World,
    key: &'w ServiceAttachmentKey,
) -> impl Iterator<Item = (&'w ForwardingRuleKey, &'w Endpoint)> {
    world.forwarding_rules.iter().filter_map(move |(at, rule)| match &rule.to {
        Forward::Service(endpoint)
            if endpoint.attachment == *key && endpoint.status != ConnectionStatus::Closed =>
        {
            Some((at, endpoint))
        }
        _ => None,
    })
}

/// Says of every endpoint of a service attachment whether it is taken, and gives those that are an address. Those that
/// were taken come first, then the older ones.
pub(crate) fn settle(world: &mut World, key: &ServiceAttachmentKey) {
    let Some(attachment) = world.service_attachments.get(key).cloned() else { return };
    let Acceptance { manual, accept, reject, reconcile } = &attachment.acceptance;
    let mut own: Vec<(bool, u64, ForwardingRuleKey, Endpoint)> = endpoints(world, key)
        .map(|(at, endpoint)| {
            let taken = endpoint.status == ConnectionStatus::Accepted;
            (!taken, world.forwarding_rules[at].id, at.clone(), endpoint.clone())
        })
        .collect();
    own.sort_by_key(|(new, id, ..)| (*new, *id));
    let mut counts: BTreeMap<Consumer, u32> = BTreeMap::new();
    for (_, _, at, endpoint) in own {
        let network = &world.forwarding_rules[&at].network;
        let number = world.projects.get(&at.project).map(|project| project.shown_number());
        let names = [
            Consumer::Project(at.project.clone()),
            Consumer::Project(number.unwrap_or_default()),
            Consumer::Network(network.clone()),
        ];
        let listed = names.iter().find_map(|name| Some((name, *accept.get(name)?)));
        let old = [ConnectionStatus::Accepted, ConnectionStatus::Rejected].contains(&endpoint.status);
        let status = if old && !reconcile {
            endpoint.status
        } else if !manual {
            ConnectionStatus::Accepted
        } else if names.iter().any(|name| reject.contains(name)) {
            ConnectionStatus::Rejected
        } else {
            match listed {
                Some((name, limit)) if counts.get(name).copied().unwrap_or_default() < limit => {
                    ConnectionStatus::Accepted
                }
                _ => ConnectionStatus::Pending,
            }
        };
        if status != ConnectionStatus::Accepted {
            set(world, &at, status, None);
            continue;
        }
        match endpoint.nat.or_else(|| free_nat(world, &attachment)) {
            Some(nat) => {
                names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
                set(world, &at, status, Some(nat));
            }
            None => set(world, &at, ConnectionStatus::NeedsAttention, None),
        }
    }
}

/// The first address of the NAT subnetworks that no endpoint's clients have.
fn free_nat(world: &World, attachment: &ServiceAttachment) -> Option<Ipv4Addr> {
    let ranges = attachment.nat_subnetworks.iter().filter_map(|key| world.subnetworks.get(key));
    let taken: BTreeSet<Ipv4Addr> = ranges.clone().flat_map(|found| nats(world, &found.network)).collect();
    ranges.into_iter().find_map(|found| range::first_free(found.range, |address| taken.contains(&address)))
}

/// The addresses of a network that clients of its published services have.
pub fn nats<'w>(world: &'w World, network: &'w NetworkKey) -> impl Iterator<Item = Ipv4Addr> + 'w {
    world.forwarding_rules.values().filter_map(move |rule| {
        let Forward::Service(Endpoint { attachment, nat, .. }) = &rule.to else { return None };
        let service = &world.service_attachments.get(attachment)?.target;
        (*nat).filter(|_| world.forwarding_rules.get(service).is_some_and(|rule| rule.network == *network))
    })
}

/// Sets what an endpoint's connection is.
fn set(world: &mut World, rule: &ForwardingRuleKey, status: ConnectionStatus, nat: Option<Ipv4Addr>) {
    forwarding_rule::edit(world, rule, |rule| {
        if let Forward::Service(endpoint) = &mut rule.to {
            (endpoint.status, endpoint.nat) = (status, nat);
        }
    });
}

/// The service attachment that publishes a forwarding rule.
pub(crate) fn user_of_rule<'w>(
    world: &'w World,
    rule: &ForwardingRuleKey,
) -> Option<&'w ServiceAttachmentKey> {
    world.service_attachments.iter().find(|(_, found)| found.target == *rule).map(|(key, _)| key)
}

/// The service attachment whose clients have addresses of the subnetwork.
pub(crate) fn user_of_subnetwork<'w>(
    world: &'w World,
    place: &SubnetworkKey,
) -> Option<&'w ServiceAttachmentKey> {
    let uses = |found: &ServiceAttachment| found.nat_subnetworks.contains(place);
    world.service_attachments.iter().find(|(_, found)| uses(found)).map(|(key, _)| key)
}
