//! Hierarchical firewall policies: `compute.firewallPolicies.*`. Their rules are those of network firewall policies, and what
//! is about rules is there.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, firewall_policy, folder, links};
use serde_json::{Value, json};
use tombolo_model::folder::ancestry;
use tombolo_model::{
    Change, HierarchicalPolicy, HierarchicalPolicyKey, Node, Refusal, World, hierarchical_policy,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.firewallPolicies.addAssociation", add_association),
    ("compute.firewallPolicies.addRule", firewall_policy::add_rule),
    ("compute.firewallPolicies.cloneRules", firewall_policy::clone_rules),
    ("compute.firewallPolicies.delete", firewall_policy::delete),
    ("compute.firewallPolicies.get", get),
    ("compute.firewallPolicies.getAssociation", get_association),
    ("compute.firewallPolicies.getRule", firewall_policy::get_rule),
    ("compute.firewallPolicies.insert", insert),
    ("compute.firewallPolicies.list", list),
    ("compute.firewallPolicies.listAssociations", list_associations),
    ("compute.firewallPolicies.move", move_to),
    ("compute.firewallPolicies.patch", patch),
    ("compute.firewallPolicies.patchRule", firewall_policy::patch_rule),
    ("compute.firewallPolicies.removeAssociation", firewall_policy::remove_association),
    ("compute.firewallPolicies.removeRule", firewall_policy::remove_rule),
];

const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &["displayName", "name", "parent", "ruleTupleCount", "rules", "shortName"];

fn key(call: &Call<'_>) -> HierarchicalPolicyKey {
    HierarchicalPolicyKey::new(call.param("firewallPolicy"))
}

fn find<'w>(world: &'w World, key: &HierarchicalPolicyKey) -> Result<&'w HierarchicalPolicy, Failure> {
    let found = world.hierarchical_policies.get(key).map(|found| &**found);
    found.ok_or_else(|| Refusal::not_found(key).into())
}

/// The node that a parameter of the query names.
fn node(call: &Call<'_>, name: &str) -> Result<Node, Failure> {
    folder::node(name, call.query(name).ok_or_else(|| Failure::required(name))?)
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

/// Those that are kept in a node.
fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let parent = node(call, "parentId")?;
    let own = call.world().hierarchical_policies.iter().filter(|(_, policy)| policy.parent == parent);
    let items = own.map(|(key, found)| wire(call.world(), key, found)).collect();
    firewall_policy::listed(call, "locations/global/firewallPolicies", items)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let parent = match (call.query("parentId"), call.text("parent")) {
        (None, Some(said)) => folder::node("parent", said)?,
        _ => node(call, "parentId")?,
    };
    // Before there were short names, they were called display names.
    let name = call.text("shortName").or_else(|| call.text("displayName"));
    let short_name = name.ok_or_else(|| Failure::required("shortName"))?.to_owned();
    let key = hierarchical_policy::key_of(&short_name);
    let details = details::read(call, SAID, DERIVED)?;
    let mut changes = vec![
        Change::HierarchicalPolicyInsert { parent, short_name },
        Change::Describe { resource: key.to_string(), details },
    ];
    changes.extend(firewall_policy::set_rules(call, &key.clone().into(), std::iter::empty())?);
    Ok(Commit::compute(call, "insert", key, changes))
}

/// PATCH: the description, and all rules at once. One rule, and associations, have methods of their own.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let found = find(call.world(), &key)?;
    let present = wire(call.world(), &key, found);
    details::unless_stale(call, &present)?;
    let mut changes = vec![details::patch(call, &key, &present, SAID, DERIVED, &["rules"])?];
    changes.extend(firewall_policy::set_rules(call, &key.clone().into(), found.rules.keys().copied())?);
    Ok(Commit::compute(call, "patch", key, changes))
}

fn move_to(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (policy, parent) = (key(call), node(call, "parentId")?);
    let change = Change::HierarchicalPolicyMove { policy: policy.clone(), parent };
    Ok(Commit::compute(call, "move", policy, vec![change]))
}

fn add_association(call: &Call<'_>) -> Result<Outcome, Failure> {
    let policy = key(call);
    details::read(call, &[], firewall_policy::ASSOCIATION)?;
    let target = call.text("attachmentTarget").ok_or_else(|| Failure::required("attachmentTarget"))?;
    let node = folder::node("attachmentTarget", target)?;
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?.to_owned();
    let replace = call.flag("replaceExistingAssociation");
    let change = Change::HierarchicalPolicyAssociate { policy: policy.clone(), name, node, replace };
    Ok(Commit::compute(call, "addAssociation", policy, vec![change]))
}

fn get_association(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let name = call.query("name").ok_or_else(|| Failure::required("name"))?;
    let found = find(call.world(), &key)?;
    let node = found.associations.get(name);
    let node = node.ok_or_else(|| Refusal::not_found(format!("{key}/associations/{name}")))?;
    Ok(Outcome::Reply(association(found, &key, name, node)))
}

/// What acts at a node, and with `includeInheritedPolicies` at those above it.
fn list_associations(call: &Call<'_>) -> Result<Outcome, Failure> {
    let target = node(call, "targetResource")?;
    let nodes = match call.flag("includeInheritedPolicies") {
        true => ancestry(call.world(), Some(&target)),
        false => vec![target],
    };
    let policies = &call.world().hierarchical_policies;
    let at = |node: &Node| -> Vec<Value> {
        let all = policies
            .iter()
            .flat_map(|(key, found)| found.associations.iter().map(move |(name, at)| (key, found, name, at)));
        let here = all.filter(|(_, _, _, at)| *at == node);
        here.map(|(key, found, name, at)| association(found, key, name, at)).collect()
    };
    let mut wire = json!({ "kind": "compute#firewallPoliciesListAssociationsResponse" });
    firewall_policy::add_associations(&mut wire, nodes.iter().flat_map(at));
    Ok(Outcome::Reply(wire))
}

fn association(policy: &HierarchicalPolicy, key: &HierarchicalPolicyKey, name: &str, node: &Node) -> Value {
    json!({
        "name": name,
        "attachmentTarget": node,
        "firewallPolicyId": key.name,
        "shortName": policy.short_name,
        "displayName": policy.short_name,
    })
}

/// A policy on the wire.
fn wire(world: &World, key: &HierarchicalPolicyKey, policy: &HierarchicalPolicy) -> Value {
    let mut wire = json!({
        "kind": "compute#firewallPolicy",
        "id": key.name,
        "creationTimestamp": policy.creation_timestamp.to_string(),
        "name": key.name,
        "shortName": policy.short_name,
        "displayName": policy.short_name,
        "parent": policy.parent,
        "description": "",
        "rules": firewall_policy::rules(world, &policy.rules),
        "fingerprint": links::fingerprint(&policy),
        "selfLink": links::link(key),
        "selfLinkWithId": links::link(key),
        "ruleTupleCount": firewall_policy::all_tuples(&policy.rules),
    });
    let associations = policy.associations.iter();
    let associations = associations.map(|(name, node)| association(policy, key, name, node));
    firewall_policy::add_associations(&mut wire, associations);
    details::add(world, &key.to_string(), &mut wire);
    wire
}
