//! Forwarding rules: an internal address whose packets go to an instance (internal protocol forwarding), or to a service
//! that somebody has published (an endpoint of Private Service Connect).
//!
//! Sources: Google's documentation of protocol forwarding and of Private Service Connect, "About accessing published
//! services through endpoints". No two rules share an address.

use crate::{
    ForwardingRuleKey, L4, NetworkKey, Protocol, Refusal, ServiceAttachmentKey, SubnetworkKey,
    TargetInstanceKey, Timestamp, World, address, key, network, project, range, region, service_attachment,
    subnetwork, target_instance,
};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The most ports that a rule names. Source: compute v1, `ForwardingRule.ports`.
pub const MAX_PORTS: usize = 5;

/// A forwarding rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardingRule {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The network in which its address is.
    pub network: NetworkKey,
    /// The subnetwork that its address is from.
    pub subnetwork: SubnetworkKey,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where its packets go.
    pub to: Forward,
    /// Whether clients of other regions may use it (`allowGlobalAccess`, of an endpoint `allowPscGlobalAccess`).
    pub global: bool,
}

/// Where a forwarding rule's packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Forward {
    /// To an instance, as they are: internal protocol forwarding.
    Instance {
        /// The target instance.
        target: TargetInstanceKey,
        /// Which packets: TCP or UDP with ports, or, for `L3_DEFAULT`, all.
        takes: L4,
    },
    /// To a published service: the rule is an endpoint of Private Service Connect.
    Service(Endpoint),
}

/// An endpoint's connection to a published service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The service attachment, which may be gone.
    pub attachment: ServiceAttachmentKey,
    /// Whether the service takes it.
    pub status: ConnectionStatus,
    /// The address of a NAT subnetwork that the endpoint's clients have there, as long as the service takes it.
    pub nat: Option<Ipv4Addr>,
}

/// Whether a published service takes an endpoint. Source: compute v1, `ForwardingRule.pscConnectionStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionStatus {
    /// It does.
    Accepted,
    /// The service attachment is gone.
    Closed,
    /// It would, but for want of a free address in its NAT subnetworks.
    NeedsAttention,
    /// Nobody has said yet.
    Pending,
    /// It does not.
    Rejected,
}

impl ConnectionStatus {
    /// Google's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            ConnectionStatus::Accepted => "ACCEPTED",
            ConnectionStatus::Closed => "CLOSED",
            ConnectionStatus::NeedsAttention => "NEEDS_ATTENTION",
            ConnectionStatus::Pending => "PENDING",
            ConnectionStatus::Rejected => "REJECTED",
        }
    }
}

/// What a user says of a new forwarding rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardingRuleSpec {
    /// Which rule.
    pub key: ForwardingRuleKey,
    /// The network that its address is to be in.
    pub network: NetworkKey,
    /// The subnetwork that its address is to be from, in the rule's region.
    pub subnetwork: SubnetworkKey,
    /// A certain address, perhaps a reserved one of the rule's project; the first free one when not said.
    pub address: Option<Ipv4Addr>,
    /// Where its packets are to go.
    pub to: ForwardSpec,
    /// See [`ForwardingRule`].
    pub global: bool,
}

/// Where a new forwarding rule's packets are to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForwardSpec {
    /// To an instance.
    Instance {
        /// The target instance, in the rule's project and region.
        target: TargetInstanceKey,
        /// Which packets.
        takes: L4,
    },
    /// To a published service, in the rule's region.
    Service(ServiceAttachmentKey),
}

/// Creates a forwarding rule.
pub(crate) fn insert(world: &mut World, spec: &ForwardingRuleSpec, now: Timestamp) -> Result<(), Refusal> {
    let key = &spec.key;
    project::require(world, &key.project, project::COMPUTE)?;
    key::check_name("name", &key.name)?;
    region::check("region", &key.region)?;
    if world.forwarding_rules.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    let address = place(world, spec)?;
    let to = match &spec.to {
        ForwardSpec::Instance { target, takes } => {
            check_target(world, key, &spec.network, target)?;
            check_takes(takes)?;
            Forward::Instance { target: target.clone(), takes: takes.clone() }
        }
        ForwardSpec::Service(attachment) => {
            if attachment.region != key.region {
                let expected = "The service attachment must be in the region of the forwarding rule.";
                return Err(Refusal::invalid("target", attachment, expected));
            }
            if !world.service_attachments.contains_key(attachment) {
                return Err(Refusal::not_found(attachment));
            }
            let attachment = attachment.clone();
            Forward::Service(Endpoint { attachment, status: ConnectionStatus::Pending, nat: None })
        }
    };
    let rule = ForwardingRule {
        id: world.fresh_id(),
        creation_timestamp: now,
        network: spec.network.clone(),
        subnetwork: spec.subnetwork.clone(),
        address,
        to,
        global: spec.global,
    };
    world.forwarding_rules.insert(key.clone(), Arc::new(rule));
    if let ForwardSpec::Service(attachment) = &spec.to {
        service_attachment::settle(world, attachment);
    }
    Ok(())
}

/// The address of a new rule.
fn place(world: &World, spec: &ForwardingRuleSpec) -> Result<Ipv4Addr, Refusal> {
    let (key, place) = (&spec.key, &spec.subnetwork);
    network::get_user(world, &spec.network)?;
    let missing = || Refusal::not_found(place);
    let found = world.subnetworks.get(place).ok_or_else(missing)?;
    project::check_may_use(world, &key.project, place).map_err(|_| missing())?;
    if found.network != spec.network || place.region != key.region {
        let expected = "The subnetwork must be of the forwarding rule's network and region.";
        return Err(Refusal::invalid("subnetwork", place, expected));
    }
    subnetwork::check_private("subnetwork", place, found)?;
    let Some(address) = spec.address else { return subnetwork::free_address(world, place, found) };
    range::check_address("IPAddress", found.range, address)?;
    let own = address::holder(world, place, address).is_some_and(|holder| holder.project == key.project);
    let reserved = !own && address::holder(world, place, address).is_some();
    if reserved || subnetwork::is_used(world, place, address) {
        return Err(Refusal::AddressInUse { address });
    }
    Ok(address)
}

/// A target instance is of the rule's project, region and network.
fn check_target(
    world: &World,
    key: &ForwardingRuleKey,
    network: &NetworkKey,
    at: &TargetInstanceKey,
) -> Result<(), Refusal> {
    let target = world.target_instances.get(at).ok_or_else(|| Refusal::not_found(at))?;
    let region = region::Region::of_zone(&at.zone).map(|region| region.name);
    if at.project != key.project || region != Some(&key.region) {
        let expected = "The target instance must be in the project and region of the forwarding rule.";
        return Err(Refusal::invalid("target", at, expected));
    }
    if target.network != *network {
        let expected = format!("The target instance must be in the network '{network}'.");
        return Err(Refusal::invalid("target", at, expected));
    }
    Ok(())
}

/// Internal protocol forwarding takes TCP or UDP with up to five ports, or with all, or everything.
fn check_takes(takes: &L4) -> Result<(), Refusal> {
    let known = [Protocol::TCP, Protocol::UDP, Protocol::All].contains(&takes.protocol);
    if !known {
        let expected = "Internal forwarding rules to target instances must be TCP, UDP or L3_DEFAULT.";
        return Err(Refusal::invalid("IPProtocol", takes.protocol, expected));
    }
    if takes.protocol == Protocol::All && !takes.ports.is_empty() {
        let expected = "A forwarding rule with L3_DEFAULT must have allPorts set.";
        return Err(Refusal::invalid("ports", takes.ports.len(), expected));
    }
    if takes.ports.len() > MAX_PORTS {
        return Err(Refusal::TooLarge { field: "ports".into(), most: MAX_PORTS, size: takes.ports.len() });
    }
    match takes.ports.iter().find(|ports| ports.first != ports.last || ports.first == 0) {
        Some(ports) => Err(Refusal::invalid("ports", ports, "Must be ports from 1 to 65535, one by one.")),
        None => Ok(()),
    }
}

/// Has a rule lead to another target instance.
pub(crate) fn set_target(
    world: &mut World,
    key: &ForwardingRuleKey,
    to: &TargetInstanceKey,
) -> Result<(), Refusal> {
    let found = get(world, key)?.clone();
    let Forward::Instance { takes, .. } = found.to else {
        let expected = "The target of a Private Service Connect endpoint cannot be changed.";
        return Err(Refusal::invalid("target", to, expected));
    };
    check_target(world, key, &found.network, to)?;
    edit(world, key, |rule| rule.to = Forward::Instance { target: to.clone(), takes });
    Ok(())
}

/// Says whether clients of other regions may use a rule.
pub(crate) fn set_global(world: &mut World, key: &ForwardingRuleKey, global: bool) -> Result<(), Refusal> {
    get(world, key)?;
    edit(world, key, |rule| rule.global = global);
    Ok(())
}

/// Deletes a rule that no service attachment publishes.
pub(crate) fn delete(world: &mut World, key: &ForwardingRuleKey) -> Result<(), Refusal> {
    let found = get(world, key)?.clone();
    if let Some(user) = service_attachment::user_of_rule(world, key) {
        return Err(Refusal::in_use("forwarding_rule", key, user));
    }
    world.forwarding_rules.remove(key);
    if let Forward::Service(endpoint) = &found.to {
        service_attachment::settle(world, &endpoint.attachment);
    }
    Ok(())
}

fn get<'w>(world: &'w World, key: &ForwardingRuleKey) -> Result<&'w ForwardingRule, Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.forwarding_rules.get(key).map(|rule| &**rule).ok_or_else(|| Refusal::not_found(key))
}

/// Changes a rule that is there.
pub(crate) fn edit(world: &mut World, key: &ForwardingRuleKey, how: impl FnOnce(&mut ForwardingRule)) {
    if let Some(rule) = world.forwarding_rules.get_mut(key) {
        how(Arc::make_mut(rule));
    }
}

/// The rule that has an address of a subnetwork.
pub(crate) fn user_of_address<'w>(
    world: &'w World,
    place: &SubnetworkKey,
    address: Ipv4Addr,
) -> Option<&'w ForwardingRuleKey> {
    let has = |rule: &ForwardingRule| rule.address == address && rule.subnetwork == *place;
    world.forwarding_rules.iter().find(|(_, rule)| has(rule)).map(|(key, _)| key)
}

/// The addresses of a subnetwork that rules have.
pub(crate) fn addresses_of<'w>(
    world: &'w World,
    place: &'w SubnetworkKey,
) -> impl Iterator<Item = Ipv4Addr> + 'w {
    world.forwarding_rules.values().filter(move |rule| rule.subnetwork == *place).map(|rule| rule.address)
}

/// The addresses of the rules that lead to the interface with this address in a network.
pub fn leading_to<'w>(
    world: &'w World,
    network: &'w NetworkKey,
    nic: Ipv4Addr,
) -> impl Iterator<Item = Ipv4Addr> + 'w {
    let leads = move |rule: &&Arc<ForwardingRule>| {
        let Forward::Instance { target, .. } = &rule.to else { return false };
        let target = world.target_instances.get(target);
        rule.network == *network
            && target.and_then(|target| target_instance::nic_of(world, target)) == Some(nic)
    };
    world.forwarding_rules.values().filter(leads).map(|rule| rule.address)
}

/// A rule with an address of the subnetwork.
pub(crate) fn user_of_subnetwork<'w>(
    world: &'w World,
    place: &SubnetworkKey,
) -> Option<&'w ForwardingRuleKey> {
    world.forwarding_rules.iter().find(|(_, rule)| rule.subnetwork == *place).map(|(key, _)| key)
}

/// A rule that leads to the target instance.
pub(crate) fn user_of_target<'w>(world: &'w World, at: &TargetInstanceKey) -> Option<&'w ForwardingRuleKey> {
    let leads = |rule: &ForwardingRule| matches!(&rule.to, Forward::Instance { target, .. } if target == at);
    world.forwarding_rules.iter().find(|(_, rule)| leads(rule)).map(|(key, _)| key)
}
