//! Network firewall policies, global and regional.
//!
//! A policy is a list of rules by priority, and acts in the networks that it is associated with, each of which has one
//! global policy at most, and one of each region, which acts at the instances there, after the global one. Beside what VPC firewall rules do, a rule may leave the decision to what comes after the policy; so does a
//! packet that no rule of it matches. Whether a network's own rules come before or after is the network's to say.
//! Source: Google's documentation of Cloud NGFW, "Global network firewall policies", "Regional network firewall policies" and "Firewall policy rules".

use crate::firewall::{Action, Direction, L4};
use crate::{
    FirewallPolicyKey, NetworkKey, PolicyKey, Refusal, TagValueKey, Timestamp, World, firewall,
    hierarchical_policy, key, network, project, region, tag_value,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The last priority that a user's rule may have; those after it are the policy's own, which leave all to what comes after.
pub const LAST_PRIORITY: u32 = 2_147_483_643;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirewallPolicy {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// Its rules by priority.
    pub rules: BTreeMap<u32, PolicyRule>,
    /// The networks in which it acts, by the associations' names.
    pub associations: BTreeMap<String, NetworkKey>,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// What people call it; no rule is found by it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Allow, deny, or leave it to what comes after the policy.
    pub action: Action,
    /// Ingress or egress.
    pub direction: Direction,
    /// What it matches. Never empty.
    pub matches: Vec<L4>,
    /// INGRESS: the sources. EGRESS: the destinations. Empty only where there are source tags.
    pub ranges: BTreeSet<IpNet>,
    /// INGRESS: the destinations. EGRESS: the sources. Any where none is said.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub near_ranges: BTreeSet<IpNet>,
    /// INGRESS: tag values, of whose instances packets match too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub src_secure_tags: BTreeSet<TagValueKey>,
    /// The instances that it acts at, by service account; all of the networks when neither these nor tags are said.
    pub target_service_accounts: BTreeSet<String>,
    /// The instances that it acts at, by tag value.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub target_secure_tags: BTreeSet<TagValueKey>,
    /// The networks that it acts in, of a hierarchical policy; all that the policy acts in when none is said.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub target_networks: BTreeSet<NetworkKey>,
    /// A disabled rule does nothing.
    pub disabled: bool,
    /// Whether its hits are logged.
    pub logging: bool,
}

/// Creates a policy without rules.
pub(crate) fn insert(world: &mut World, key: &FirewallPolicyKey, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    key::check_name("name", &key.name)?;
    key.region.iter().try_for_each(|region| region::check("region", region))?;
    if world.firewall_policies.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    let id = world.fresh_id();
    let (rules, associations) = (BTreeMap::new(), BTreeMap::new());
    let policy = FirewallPolicy { id, creation_timestamp: now, rules, associations };
    world.firewall_policies.insert(key.clone(), Arc::new(policy));
    Ok(())
}

/// Deletes a policy that acts nowhere.
pub(crate) fn delete(world: &mut World, key: &FirewallPolicyKey) -> Result<(), Refusal> {
    if let Some(user) = get(world, key)?.associations.values().next() {
        return Err(Refusal::in_use("firewall_policy", key, user));
    }
    world.firewall_policies.remove(key);
    Ok(())
}

/// Adds a rule where there is none, or replaces the one that there is.
pub(crate) fn set_rule(
    world: &mut World,
    key: &PolicyKey,
    priority: u32,
    rule: &PolicyRule,
    replace: bool,
) -> Result<(), Refusal> {
    let known = rules(world, key)?.contains_key(&priority);
    if replace && !known {
        return Err(no_rule(priority));
    }
    if !replace && known {
        let expected = "Cannot have rules with the same priorities.";
        return Err(Refusal::invalid("priority", priority, expected));
    }
    if priority > LAST_PRIORITY {
        let expected = format!("Must be between 0 and {LAST_PRIORITY}.");
        return Err(Refusal::invalid("priority", priority, expected));
    }
    check(rule)?;
    tag_value::check_rule(world, rule)?;
    if let (PolicyKey::Network(_), Some(network)) = (key, rule.target_networks.first()) {
        let expected = "Only rules of hierarchical firewall policies have target resources.";
        return Err(Refusal::invalid("targetResources", network, expected));
    }
    edit_rules(world, key, |rules| drop(rules.insert(priority, rule.clone())));
    Ok(())
}

/// Takes a rule out.
pub(crate) fn remove_rule(world: &mut World, key: &PolicyKey, priority: u32) -> Result<(), Refusal> {
    rules(world, key)?.get(&priority).ok_or_else(|| no_rule(priority))?;
    edit_rules(world, key, |rules| drop(rules.remove(&priority)));
    Ok(())
}

/// The rules of a policy of either kind.
pub fn rules<'w>(world: &'w World, key: &PolicyKey) -> Result<&'w BTreeMap<u32, PolicyRule>, Refusal> {
    match key {
        PolicyKey::Network(key) => get(world, key).map(|policy| &policy.rules),
        PolicyKey::Hierarchical(key) => hierarchical_policy::get(world, key).map(|policy| &policy.rules),
    }
}

fn edit_rules(world: &mut World, key: &PolicyKey, how: impl FnOnce(&mut BTreeMap<u32, PolicyRule>)) {
    match key {
        PolicyKey::Network(key) => edit(world, key, |policy| how(&mut policy.rules)),
        PolicyKey::Hierarchical(key) => {
            hierarchical_policy::edit(world, key, |policy| how(&mut policy.rules));
        }
    }
}

/// Has a policy act in a network. With `replace` it takes the place of the one that does.
pub(crate) fn associate(
    world: &mut World,
    key: &FirewallPolicyKey,
    name: &str,
    at: &NetworkKey,
    replace: bool,
) -> Result<(), Refusal> {
    key::check_name("name", name)?;
    let taken = get(world, key)?.associations.get(name).is_some_and(|network| network != at);
    network::get_user(world, at)?;
    if at.project != key.project {
        let expected = "The network must be in the firewall policy's project.";
        return Err(Refusal::invalid("attachmentTarget", at, expected));
    }
    if taken {
        return Err(Refusal::already_exists(format!("{key}/associations/{name}")));
    }
    if let Some((other, _)) = of_network(world, at, key.region.as_deref()) {
        if !replace {
            return Err(Refusal::in_use("network", at, other));
        }
        let other = other.clone();
        edit(world, &other, |policy| policy.associations.retain(|_, network| network != at));
    }
    edit(world, key, |policy| drop(policy.associations.insert(name.to_owned(), at.clone())));
    Ok(())
}

/// Ends an association.
pub(crate) fn dissociate(world: &mut World, key: &PolicyKey, name: &str) -> Result<(), Refusal> {
    let missing = || Refusal::not_found(format!("{key}/associations/{name}"));
    match key {
        PolicyKey::Network(key) => {
            get(world, key)?.associations.get(name).ok_or_else(missing)?;
            edit(world, key, |policy| drop(policy.associations.remove(name)));
        }
        PolicyKey::Hierarchical(key) => {
            hierarchical_policy::get(world, key)?.associations.get(name).ok_or_else(missing)?;
            hierarchical_policy::edit(world, key, |policy| drop(policy.associations.remove(name)));
        }
    }
    Ok(())
}

/// The policies that act in a network: the global one first.
pub fn all_of_network<'w>(
    world: &'w World,
    network: &NetworkKey,
) -> impl Iterator<Item = (&'w FirewallPolicyKey, &'w FirewallPolicy)> {
    let acts = |policy: &FirewallPolicy| policy.associations.values().any(|at| at == network);
    let mut found: Vec<_> = world
        .firewall_policies
        .iter()
        .filter(|(_, policy)| acts(policy))
        .map(|(key, policy)| (key, &**policy))
        .collect();
    found.sort_by_key(|(key, _)| &key.region);
    found.into_iter()
}

/// The policy of a region, or the global one, that acts in a network.
pub fn of_network<'w>(
    world: &'w World,
    network: &NetworkKey,
    region: Option<&str>,
) -> Option<(&'w FirewallPolicyKey, &'w FirewallPolicy)> {
    all_of_network(world, network).find(|(key, _)| key.region.as_deref() == region)
}

fn get<'w>(world: &'w World, key: &FirewallPolicyKey) -> Result<&'w FirewallPolicy, Refusal> {
    project::require(world, &key.project, project::COMPUTE)?;
    world.firewall_policies.get(key).map(|policy| &**policy).ok_or_else(|| Refusal::not_found(key))
}

fn edit(world: &mut World, key: &FirewallPolicyKey, how: impl FnOnce(&mut FirewallPolicy)) {
    if let Some(policy) = world.firewall_policies.get_mut(key) {
        how(Arc::make_mut(policy));
    }
}

fn no_rule(priority: u32) -> Refusal {
    Refusal::invalid("priority", priority, "The firewall policy does not contain a rule at this priority.")
}

/// Checks what a rule says of itself.
fn check(rule: &PolicyRule) -> Result<(), Refusal> {
    if rule.matches.is_empty() {
        let expected = "At least one protocol must be specified.";
        return Err(Refusal::invalid("match.layer4Configs", "", expected));
    }
    for (i, l4) in rule.matches.iter().enumerate() {
        if !l4.ports.is_empty() && !l4.protocol.has_ports() {
            let expected =
                format!("Ports may only be specified on TCP, UDP or SCTP, not on '{}'.", l4.protocol);
            return Err(Refusal::invalid(&format!("match.layer4Configs[{i}].ports"), l4.ports[0], expected));
        }
    }
    let (from, to) = ("match.srcIpRanges", "match.destIpRanges");
    let (field, near) = if rule.direction == Direction::Ingress { (from, to) } else { (to, from) };
    let lists = [(field, &rule.ranges), (near, &rule.near_ranges)];
    if rule.direction == Direction::Egress && !rule.src_secure_tags.is_empty() {
        let expected = "Source secure tags cannot be specified in a rule whose direction is EGRESS.";
        return Err(Refusal::invalid("match.srcSecureTags", "", expected));
    }
    if !rule.target_secure_tags.is_empty() && !rule.target_service_accounts.is_empty() {
        let expected = "Target secure tags cannot be specified together with target service accounts.";
        return Err(Refusal::invalid("targetSecureTags", "", expected));
    }
    if rule.ranges.is_empty() && rule.src_secure_tags.is_empty() {
        return Err(Refusal::invalid(field, "", "At least one range must be specified."));
    }
    for (field, ranges) in lists {
        if let Some(bad) = ranges.iter().find(|range| range.addr() != range.network()) {
            let expected = format!("Must be a CIDR range with no host bits set, such as '{}'.", bad.trunc());
            return Err(Refusal::invalid(field, bad, expected));
        }
    }
    firewall::check_family(lists)?;
    for (i, account) in rule.target_service_accounts.iter().enumerate() {
        key::check_email(&format!("targetServiceAccounts[{i}]"), account)?;
    }
    if rule.action == Action::GotoNext && rule.logging {
        // "Logging is supported for allow and deny rules but is not supported for goto_next rules."
        let expected = "Logging cannot be enabled for a rule whose action is goto_next.";
        return Err(Refusal::invalid("enableLogging", true, expected));
    }
    Ok(())
}
