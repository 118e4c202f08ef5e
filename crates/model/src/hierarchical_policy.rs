//! Hierarchical firewall policies: those of the organization and its folders.
//!
//! A policy is kept in the organization or a folder, and acts at the nodes that it is associated with, each of which has
//! one at most: in every network of every project beneath. The organization's comes first, then each folder's from the top
//! down, then what a network has of its own. Its rules are those of other policies (see [`crate::firewall_policy`]), and
//! may be for certain networks alone.
//! Source: Google's documentation of Cloud NGFW, "Hierarchical firewall policies" and "Policy and rule evaluation order".

use crate::folder::{self, Node};
use crate::{HierarchicalPolicyKey, NetworkKey, PolicyRule, Refusal, Timestamp, World, key};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy of the organization or a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HierarchicalPolicy {
    /// Its number, which is its name too. It follows from its short name.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The node that it is kept in.
    pub parent: Node,
    /// What people call it; no other policy of the organization has the same.
    pub short_name: String,
    /// Its rules by priority.
    pub rules: BTreeMap<u32, PolicyRule>,
    /// The nodes at which it acts, by the associations' names.
    pub associations: BTreeMap<String, Node>,
}

/// The key that the policy of a short name has.
pub fn key_of(short_name: &str) -> HierarchicalPolicyKey {
    HierarchicalPolicyKey::new(folder::number(&format!("firewallPolicies/{short_name}")).to_string())
}

/// Creates a policy without rules.
pub(crate) fn insert(
    world: &mut World,
    parent: &Node,
    short_name: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    folder::require(world, parent)?;
    key::check_name("shortName", short_name)?;
    let key = key_of(short_name);
    if world.hierarchical_policies.contains_key(&key) {
        return Err(Refusal::already_exists(key));
    }
    let policy = HierarchicalPolicy {
        id: key.name.parse().unwrap_or_default(),
        creation_timestamp: now,
        parent: parent.clone(),
        short_name: short_name.to_owned(),
        rules: BTreeMap::new(),
        associations: BTreeMap::new(),
    };
    world.hierarchical_policies.insert(key, Arc::new(policy));
    Ok(())
}

/// Keeps a policy in another node. Where it acts stays.
pub(crate) fn move_to(world: &mut World, key: &HierarchicalPolicyKey, parent: &Node) -> Result<(), Refusal> {
    get(world, key)?;
    folder::require(world, parent)?;
    edit(world, key, |policy| policy.parent = parent.clone());
    Ok(())
}

/// Deletes a policy that acts nowhere.
pub(crate) fn delete(world: &mut World, key: &HierarchicalPolicyKey) -> Result<(), Refusal> {
    if let Some(user) = get(world, key)?.associations.values().next() {
        return Err(Refusal::in_use("firewall_policy", key, user));
    }
    world.hierarchical_policies.remove(key);
    Ok(())
}

/// Has a policy act at a node. With `replace` it takes the place of the one that does.
pub(crate) fn associate(
    world: &mut World,
    key: &HierarchicalPolicyKey,
    name: &str,
    at: &Node,
    replace: bool,
) -> Result<(), Refusal> {
    key::check_name("name", name)?;
    let taken = get(world, key)?.associations.get(name).is_some_and(|node| node != at);
    folder::require(world, at)?;
    if taken {
        return Err(Refusal::already_exists(format!("{key}/associations/{name}")));
    }
    if let Some((other, _)) = of_node(world, at) {
        if !replace {
            return Err(Refusal::in_use("attachment_target", at, other));
        }
        let other = other.clone();
        edit(world, &other, |policy| policy.associations.retain(|_, node| node != at));
    }
    edit(world, key, |policy| drop(policy.associations.insert(name.to_owned(), at.clone())));
    Ok(())
}

/// The policy that acts at a node.
pub fn of_node<'w>(
    world: &'w World,
    node: &Node,
) -> Option<(&'w HierarchicalPolicyKey, &'w HierarchicalPolicy)> {
    let acts = |policy: &HierarchicalPolicy| policy.associations.values().any(|at| at == node);
    let found = world.hierarchical_policies.iter().find(|(_, policy)| acts(policy));
    found.map(|(key, policy)| (key, &**policy))
}

/// The policies that act in a project's networks, in their order, with the nodes at which they do.
pub fn all_of_project<'w>(
    world: &'w World,
    project: &str,
) -> Vec<(Node, &'w HierarchicalPolicyKey, &'w HierarchicalPolicy)> {
    // Most worlds have none.
    if world.hierarchical_policies.is_empty() {
        return Vec::new();
    }
    let parent = world.projects.get(project).and_then(|project| project.parent.as_ref());
    let nodes = folder::ancestry(world, parent).into_iter();
    nodes.filter_map(|node| of_node(world, &node).map(|(key, policy)| (node, key, policy))).collect()
}

/// Whether a rule acts in a network: one that names none acts in all.
pub fn acts_in(rule: &PolicyRule, network: &NetworkKey) -> bool {
    rule.target_networks.is_empty() || rule.target_networks.contains(network)
}

pub(crate) fn get<'w>(
    world: &'w World,
    key: &HierarchicalPolicyKey,
) -> Result<&'w HierarchicalPolicy, Refusal> {
    world.hierarchical_policies.get(key).map(|policy| &**policy).ok_or_else(|| Refusal::not_found(key))
}

pub(crate) fn edit(
    world: &mut World,
    key: &HierarchicalPolicyKey,
    how: impl FnOnce(&mut HierarchicalPolicy),
) {
    if let Some(policy) = world.hierarchical_policies.get_mut(key) {
        how(Arc::make_mut(policy));
    }
}
