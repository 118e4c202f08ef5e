//! Network firewall policies: `compute.networkFirewallPolicies.*`, and the same of a region. What is about rules is for
//! hierarchical firewall policies too.
//!
//! A rule's match is ranges of the far end or the secure tags of sources, ranges of the near end, protocols and ports. What else Google's
//! rules can match (names, countries, threat intelligence, address groups) is refused by the field's name.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, firewall, links, list, project, zone};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::firewall_policy::LAST_PRIORITY;
use tombolo_model::{
    Action, Change, Direction, FirewallPolicy, FirewallPolicyKey, HierarchicalPolicyKey, L4, NetworkKey,
    PolicyKey, PolicyRule, Protocol, Refusal, TagValueKey, World, firewall_policy, hierarchical_policy,
    tag_value,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.networkFirewallPolicies.addAssociation", add_association),
    ("compute.networkFirewallPolicies.addRule", add_rule),
    ("compute.networkFirewallPolicies.cloneRules", clone_rules),
    ("compute.networkFirewallPolicies.delete", delete),
    ("compute.networkFirewallPolicies.get", get),
    ("compute.networkFirewallPolicies.getAssociation", get_association),
    ("compute.networkFirewallPolicies.getRule", get_rule),
    ("compute.networkFirewallPolicies.insert", insert),
    ("compute.networkFirewallPolicies.list", list),
    ("compute.networkFirewallPolicies.patch", patch),
    ("compute.networkFirewallPolicies.patchRule", patch_rule),
    ("compute.networkFirewallPolicies.removeAssociation", remove_association),
    ("compute.networkFirewallPolicies.removeRule", remove_rule),
    ("compute.regionNetworkFirewallPolicies.addAssociation", add_association),
    ("compute.regionNetworkFirewallPolicies.addRule", add_rule),
    ("compute.regionNetworkFirewallPolicies.cloneRules", clone_rules),
    ("compute.regionNetworkFirewallPolicies.delete", delete),
    ("compute.regionNetworkFirewallPolicies.get", get),
    ("compute.regionNetworkFirewallPolicies.getAssociation", get_association),
    ("compute.regionNetworkFirewallPolicies.getEffectiveFirewalls", get_effective),
    ("compute.regionNetworkFirewallPolicies.getRule", get_rule),
    ("compute.regionNetworkFirewallPolicies.insert", insert),
    ("compute.regionNetworkFirewallPolicies.list", list),
    ("compute.regionNetworkFirewallPolicies.patch", patch),
    ("compute.regionNetworkFirewallPolicies.patchRule", patch_rule),
    ("compute.regionNetworkFirewallPolicies.removeAssociation", remove_association),
    ("compute.regionNetworkFirewallPolicies.removeRule", remove_rule),
];

const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &["name", "rules"];
/// What an association says, or what clients send back of it.
pub(crate) const ASSOCIATION: &[&str] =
    &["attachmentTarget", "name", "firewallPolicy", "firewallPolicyId", "displayName", "shortName"];

/// The rules that every policy ends with, which leave everything to what comes after it: direction and range.
const LAST_RULES: [(Direction, &str); 4] = [
    (Direction::Egress, "::/0"),
    (Direction::Ingress, "::/0"),
    (Direction::Egress, "0.0.0.0/0"),
    (Direction::Ingress, "0.0.0.0/0"),
];

/// The policy of a name in the call's scope.
fn named(call: &Call<'_>, name: &str) -> FirewallPolicyKey {
    match call.param("region") {
        "" => FirewallPolicyKey::global(call.project(), name),
        region => FirewallPolicyKey::regional(call.project(), region, name),
    }
}

fn key(call: &Call<'_>) -> FirewallPolicyKey {
    named(call, call.param("firewallPolicy"))
}

/// The policy of a call's path, of either kind: a hierarchical one is in no project.
fn policy_key(call: &Call<'_>) -> PolicyKey {
    match call.project() {
        "" => HierarchicalPolicyKey::new(call.param("firewallPolicy")).into(),
        _ => key(call).into(),
    }
}

fn find<'w>(world: &'w World, key: &FirewallPolicyKey) -> Result<&'w FirewallPolicy, Failure> {
    let found = world.firewall_policies.get(key).map(|found| &**found);
    found.ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    if !call.param("region").is_empty() {
        zone::require_region(call)?;
    }
    let here = named(call, "any");
    let own = call.world().firewall_policies.iter();
    let own = own.filter(|(key, _)| (&key.project, &key.region) == (&here.project, &here.region));
    let items = own.map(|(key, found)| wire(call.world(), key, found)).collect();
    let path = format!("projects/{}/{}/firewallPolicies", call.project(), here.scope());
    listed(call, &path, items)
}

/// A list of policies of either kind.
pub(crate) fn listed(call: &Call<'_>, path: &str, items: Vec<Value>) -> Result<Outcome, Failure> {
    let mut outcome = list::compute(call, "compute#firewallPolicyList", path, items)?;
    if let Outcome::Reply(Value::Object(list)) = &mut outcome {
        // Unlike other lists.
        list.shift_remove("selfLink");
    }
    Ok(outcome)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = named(call, name);
    let details = details::read(call, SAID, DERIVED)?;
    let mut changes = vec![
        Change::FirewallPolicyInsert(key.clone()),
        Change::Describe { resource: key.to_string(), details },
    ];
    changes.extend(set_rules(call, &key.clone().into(), std::iter::empty())?);
    Ok(Commit::compute(call, "insert", key, changes))
}

/// The changes that put the rules in the place of the present ones, at these priorities, that a body says, if it does.
pub(crate) fn set_rules(
    call: &Call<'_>,
    policy: &PolicyKey,
    present: impl Iterator<Item = u32>,
) -> Result<Vec<Change>, Failure> {
    let said = call.field("rules").and_then(Value::as_array).map(Vec::as_slice);
    if said.is_none() && !call.clears("rules") {
        return Ok(Vec::new());
    }
    let mut changes: Vec<Change> =
        present.map(|priority| Change::PolicyRuleRemove { policy: policy.clone(), priority }).collect();
    for (index, said) in said.unwrap_or_default().iter().enumerate() {
        let body = said.as_object().cloned().unwrap_or_default();
        let at = body.get("priority").and_then(Value::as_i64);
        let at = at.ok_or_else(|| Failure::required(&format!("rules[{index}].priority")))?;
        // Those that every policy ends with are there.
        if at <= i64::from(LAST_PRIORITY) {
            let rule = rule(&body, matches!(policy, PolicyKey::Hierarchical(_)))?;
            let (policy, priority) = (policy.clone(), priority(at)?);
            changes.push(Change::PolicyRuleSet { policy, priority, rule, replace: false });
        }
    }
    Ok(changes)
}

/// PATCH: the description, and all rules at once. One rule, and associations, have methods of their own.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = wire(call.world(), &key, find(call.world(), &key)?);
    details::unless_stale(call, &present)?;
    let mut changes = vec![details::patch(call, &key, &present, SAID, DERIVED, &["rules"])?];
    let policy = PolicyKey::from(key.clone());
    changes.extend(set_rules(call, &policy, firewall_policy::rules(call.world(), &policy)?.keys().copied())?);
    Ok(Commit::compute(call, "patch", key, changes))
}

pub(crate) fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = policy_key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::FirewallPolicyDelete(key.clone())]))
}

pub(crate) fn add_rule(call: &Call<'_>) -> Result<Outcome, Failure> {
    for name in ["minPriority", "maxPriority"] {
        if call.query(name).is_some() {
            return Err(Failure::unsupported(format_args!("the parameter '{name}' of '{}'", call.method.id)));
        }
    }
    let body = call.body.as_object().cloned().unwrap_or_default();
    let at = body.get("priority").and_then(Value::as_i64).ok_or_else(|| Failure::required("priority"))?;
    set_rule(call, "addRule", priority(at)?, &body, false)
}

/// Fields that are said replace the present ones, and those that are null are as if nobody had said them.
pub(crate) fn patch_rule(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (key, at) = (policy_key(call), priority_of(call)?);
    let present = rule_at(call.world(), &key, at)?;
    let mut merged = present.as_object().cloned().unwrap_or_default();
    let said = call.body.as_object().cloned().unwrap_or_default();
    if said.get("priority").and_then(Value::as_u64).is_some_and(|said| said != u64::from(at)) {
        return Err(Failure::unsupported("a change of a rule's priority"));
    }
    // Of a match, too, what is not said stays.
    let mut matched = present["match"].as_object().cloned().unwrap_or_default();
    call.clear("match.", &mut matched);
    call.clear("", &mut merged);
    if let Some(said) = said.get("match").and_then(Value::as_object) {
        matched.extend(said.clone());
    }
    merged.extend(said);
    merged.insert("match".into(), Value::Object(matched));
    set_rule(call, "patchRule", at, &merged, true)
}

pub(crate) fn remove_rule(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (policy, priority) = (policy_key(call), priority_of(call)?);
    let change = Change::PolicyRuleRemove { policy: policy.clone(), priority };
    Ok(Commit::compute(call, "removeRule", policy, vec![change]))
}

pub(crate) fn get_rule(call: &Call<'_>) -> Result<Outcome, Failure> {
    rule_at(call.world(), &policy_key(call), priority_of(call)?).map(Outcome::Reply)
}

/// Another policy's rules in the place of its own.
pub(crate) fn clone_rules(call: &Call<'_>) -> Result<Outcome, Failure> {
    let policy = policy_key(call);
    let said = call.query("sourceFirewallPolicy").ok_or_else(|| Failure::required("sourceFirewallPolicy"))?;
    let path = said.rfind("locations/").map_or_else(|| links::path_of(said), |at| &said[at..]);
    let of_kind = || match &policy {
        PolicyKey::Network(key) => FirewallPolicyKey { name: path.to_owned(), ..key.clone() }.into(),
        PolicyKey::Hierarchical(_) => HierarchicalPolicyKey::new(path).into(),
    };
    let source: PolicyKey = match (path.parse::<FirewallPolicyKey>(), path.parse::<HierarchicalPolicyKey>()) {
        (Ok(key), _) => key.into(),
        (_, Ok(key)) => key.into(),
        _ if path.contains('/') => {
            return Err(Refusal::invalid("sourceFirewallPolicy", said, "The URL is malformed.").into());
        }
        _ => of_kind(),
    };
    let [own, new] = [&policy, &source].map(|key| firewall_policy::rules(call.world(), key));
    let gone =
        own?.keys().map(|priority| Change::PolicyRuleRemove { policy: policy.clone(), priority: *priority });
    let come = new?.iter().map(|(priority, rule)| Change::PolicyRuleSet {
        policy: policy.clone(),
        priority: *priority,
        rule: rule.clone(),
        replace: false,
    });
    Ok(Commit::compute(call, "cloneRules", &policy, gone.chain(come).collect()))
}

fn set_rule(
    call: &Call<'_>,
    kind: &str,
    priority: u32,
    body: &Map<String, Value>,
    replace: bool,
) -> Result<Outcome, Failure> {
    let policy = policy_key(call);
    let rule = rule(body, matches!(policy, PolicyKey::Hierarchical(_)))?;
    let change = Change::PolicyRuleSet { policy: policy.clone(), priority, rule, replace };
    Ok(Commit::compute(call, kind, policy, vec![change]))
}

/// The priority that the query names.
fn priority_of(call: &Call<'_>) -> Result<u32, Failure> {
    let said = call.query("priority").ok_or_else(|| Failure::required("priority"))?;
    let number = said.parse().map_err(|_| Refusal::invalid("priority", said, "Must be a number."))?;
    priority(number)
}

fn priority(said: i64) -> Result<u32, Failure> {
    let expected = || format!("Must be between 0 and {LAST_PRIORITY}.");
    u32::try_from(said).map_err(|_| Refusal::invalid("priority", said, expected()).into())
}

/// A rule on the wire, one of those that every policy ends with among them.
fn rule_at(world: &World, key: &PolicyKey, priority: u32) -> Result<Value, Failure> {
    let rules = rules(world, firewall_policy::rules(world, key)?);
    let found = rules.into_iter().find(|rule| rule["priority"] == priority);
    let expected = "The firewall policy does not contain a rule at this priority.";
    found.ok_or_else(|| Refusal::invalid("priority", priority, expected).into())
}

fn add_association(call: &Call<'_>) -> Result<Outcome, Failure> {
    let policy = key(call);
    details::read(call, &[], ASSOCIATION)?;
    let target = call.text("attachmentTarget").ok_or_else(|| Failure::required("attachmentTarget"))?;
    let network = links::network(call.project(), target)
        .ok_or_else(|| Refusal::invalid("attachmentTarget", target, "The URL is malformed."))?;
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?.to_owned();
    let replace = call.flag("replaceExistingAssociation");
    let change = Change::PolicyAssociate { policy: policy.clone(), name, network, replace };
    Ok(Commit::compute(call, "addAssociation", policy, vec![change]))
}

pub(crate) fn remove_association(call: &Call<'_>) -> Result<Outcome, Failure> {
    let policy = policy_key(call);
    let name = call.query("name").ok_or_else(|| Failure::required("name"))?.to_owned();
    let change = Change::PolicyDissociate { policy: policy.clone(), name };
    Ok(Commit::compute(call, "removeAssociation", policy, vec![change]))
}

fn get_association(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    let name = call.query("name").ok_or_else(|| Failure::required("name"))?;
    let found = find(call.world(), &key)?;
    let network = found.associations.get(name);
    let network = network.ok_or_else(|| Refusal::not_found(format!("{key}/associations/{name}")))?;
    Ok(Outcome::Reply(association(found, &key, name, network)))
}

/// The rule that a body says. Those of hierarchical policies may be for certain networks.
fn rule(body: &Map<String, Value>, hierarchical: bool) -> Result<PolicyRule, Failure> {
    const KNOWN: [&str; 14] = [
        "action",
        "description",
        "direction",
        "disabled",
        "enableLogging",
        // Which policy it is of, as Terraform says it once more.
        "firewallPolicy",
        "kind",
        "match",
        "priority",
        "ruleName",
        "ruleTupleCount",
        "targetSecureTags",
        "targetServiceAccounts",
        // Of hierarchical policies alone.
        "targetResources",
    ];
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let flag = |name: &str| body.get(name).and_then(Value::as_bool) == Some(true);
    only(body, &KNOWN[..KNOWN.len() - usize::from(!hierarchical)], "")?;
    let direction = match text("direction").as_str() {
        "" | "INGRESS" => Direction::Ingress,
        _ => Direction::Egress,
    };
    let action = match text("action").as_str() {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        "goto_next" => Action::GotoNext,
        other => {
            let expected = "Must be allow, deny or goto_next.";
            return Err(Refusal::invalid("action", other, expected).into());
        }
    };
    let empty = Map::new();
    let matched = body.get("match").and_then(Value::as_object).unwrap_or(&empty);
    only(matched, &["layer4Configs", "srcSecureTags", "srcIpRanges", "destIpRanges"], "match.")?;
    let (far, near) = ends(direction);
    let accounts = body.get("targetServiceAccounts").and_then(Value::as_array).into_iter().flatten();
    Ok(PolicyRule {
        name: text("ruleName"),
        description: text("description"),
        action,
        direction,
        matches: layer4(matched)?,
        ranges: firewall::ranges(matched, far)?,
        near_ranges: firewall::ranges(matched, near)?,
        src_secure_tags: secure_tags("match.srcSecureTags", matched.get("srcSecureTags"))?,
        target_secure_tags: secure_tags("targetSecureTags", body.get("targetSecureTags"))?,
        target_service_accounts: accounts
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>(),
        target_networks: target_networks(body)?,
        disabled: flag("disabled"),
        logging: flag("enableLogging"),
    })
}

/// The fields of a match that have the ranges of the far end, and of the near one.
fn ends(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Ingress => ("srcIpRanges", "destIpRanges"),
        Direction::Egress => ("destIpRanges", "srcIpRanges"),
    }
}

/// The tag values that a list names. Their states are Google's own, sent back by clients.
fn secure_tags(field: &str, said: Option<&Value>) -> Result<BTreeSet<TagValueKey>, Failure> {
    let one = |(index, tag): (usize, &Value)| {
        let name = tag["name"].as_str().unwrap_or_default();
        let expected = "Must be the name of a tag value, such as tagValues/123.";
        name.parse().map_err(|_| Refusal::invalid(&format!("{field}[{index}].name"), name, expected).into())
    };
    said.and_then(Value::as_array).into_iter().flatten().enumerate().map(one).collect()
}

/// The networks that a rule is for.
fn target_networks(body: &Map<String, Value>) -> Result<BTreeSet<NetworkKey>, Failure> {
    let said = body.get("targetResources").and_then(Value::as_array).into_iter().flatten();
    let one = |(index, link): (usize, &Value)| {
        let link = link.as_str().unwrap_or_default();
        let expected = "Must be the URL of a network.";
        let wrong = || Refusal::invalid(&format!("targetResources[{index}]"), link, expected).into();
        links::path_of(link).parse().map_err(|_| wrong())
    };
    said.enumerate().map(one).collect()
}

/// Refuses fields of a message that are not done, unless they say nothing.
fn only(message: &Map<String, Value>, known: &[&str], within: &str) -> Result<(), Failure> {
    let unknown =
        |(name, value): &(&String, &Value)| !known.contains(&name.as_str()) && !details::is_empty(value);
    match message.iter().find(unknown) {
        Some((name, _)) => {
            Err(Failure::unsupported(format_args!("the field '{within}{name}' of a firewall policy's rule")))
        }
        None => Ok(()),
    }
}

fn layer4(matched: &Map<String, Value>) -> Result<Vec<L4>, Failure> {
    let items = matched.get("layer4Configs").and_then(Value::as_array).into_iter().flatten();
    let one = |(index, item): (usize, &Value)| {
        let wrong = |name: &str, value: &str, expected: String| {
            let field = format!("match.layer4Configs[{index}].{name}");
            Failure::from(Refusal::invalid(&field, value, expected))
        };
        let protocol = item["ipProtocol"].as_str().unwrap_or_default();
        let parsed: Protocol = protocol.parse().map_err(|error| wrong("ipProtocol", protocol, error))?;
        let ports = item["ports"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let ports = ports.map(|port| port.parse().map_err(|error| wrong("ports", port, error)));
        Ok(L4::new(parsed, ports.collect::<Result<_, _>>()?))
    };
    items.enumerate().map(one).collect()
}

/// A policy's rules on the wire, and those that every policy ends with.
pub(crate) fn rules(world: &World, own: &BTreeMap<u32, PolicyRule>) -> Vec<Value> {
    let state = |value: &TagValueKey| {
        let state = if tag_value::is_effective(world, value) { "EFFECTIVE" } else { "INEFFECTIVE" };
        json!({ "name": value, "state": state })
    };
    let own = own.iter().map(|(priority, rule)| rule_wire(*priority, rule, &state));
    let last = LAST_RULES.iter().zip(1..).map(|((direction, range), after)| {
        let (far, _) = ends(*direction);
        json!({
            "kind": "compute#firewallPolicyRule",
            "priority": LAST_PRIORITY + after,
            "description": "",
            "action": "goto_next",
            "direction": if *direction == Direction::Ingress { "INGRESS" } else { "EGRESS" },
            "match": { far: [range], "layer4Configs": [{ "ipProtocol": "all" }] },
            "enableLogging": false,
            "ruleTupleCount": 2,
        })
    });
    own.chain(last).collect()
}

/// A rule as one says it.
pub(crate) fn said(priority: u32, rule: &PolicyRule) -> Value {
    let mut said = rule_wire(priority, rule, &|value| json!({ "name": value }));
    for derived in ["kind", "ruleTupleCount"] {
        said.as_object_mut().map(|said| said.shift_remove(derived));
    }
    said
}

fn rule_wire(priority: u32, rule: &PolicyRule, tag: &dyn Fn(&TagValueKey) -> Value) -> Value {
    let configs = rule.matches.iter().map(|l4| {
        let mut config = json!({ "ipProtocol": l4.protocol.to_string() });
        if !l4.ports.is_empty() {
            config["ports"] = l4.ports.iter().map(|ports| json!(ports.to_string())).collect();
        }
        config
    });
    let ingress = rule.direction == Direction::Ingress;
    let (far, near) = ends(rule.direction);
    let mut matched = json!({ "layer4Configs": configs.collect::<Value>() });
    for (field, ranges) in [(far, &rule.ranges), (near, &rule.near_ranges)] {
        if !ranges.is_empty() {
            matched[field] = json!(ranges);
        }
    }
    if !rule.src_secure_tags.is_empty() {
        matched["srcSecureTags"] = rule.src_secure_tags.iter().map(tag).collect();
    }
    let mut wire = json!({
        "kind": "compute#firewallPolicyRule",
        "priority": priority,
        "description": rule.description,
        "action": match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::GotoNext => "goto_next",
        },
        "direction": if ingress { "INGRESS" } else { "EGRESS" },
        "match": matched,
        "enableLogging": rule.logging,
        "disabled": rule.disabled,
        "ruleTupleCount": tuples(rule),
    });
    if !rule.name.is_empty() {
        wire["ruleName"] = json!(rule.name);
    }
    if !rule.target_service_accounts.is_empty() {
        wire["targetServiceAccounts"] = json!(rule.target_service_accounts);
    }
    if !rule.target_secure_tags.is_empty() {
        wire["targetSecureTags"] = rule.target_secure_tags.iter().map(tag).collect();
    }
    if !rule.target_networks.is_empty() {
        wire["targetResources"] = rule.target_networks.iter().map(|key| json!(links::link(key))).collect();
    }
    wire
}

/// How much all rules of a policy say, those that it ends with among them.
pub(crate) fn all_tuples(rules: &BTreeMap<u32, PolicyRule>) -> usize {
    rules.values().map(tuples).sum::<usize>() + 2 * LAST_RULES.len()
}

/// How much a rule says: ranges, protocols with their ports, and targets. Source: Google's documentation of firewall
/// policies, "Rule attribute counts".
fn tuples(rule: &PolicyRule) -> usize {
    let ports = rule.matches.iter().map(|l4| l4.ports.len().max(1)).sum::<usize>();
    let targets =
        rule.target_service_accounts.len() + rule.target_secure_tags.len() + rule.target_networks.len();
    rule.ranges.len() + rule.near_ranges.len() + rule.src_secure_tags.len() + ports + targets
}

fn association(policy: &FirewallPolicy, key: &FirewallPolicyKey, name: &str, network: &NetworkKey) -> Value {
    json!({
        "name": name,
        "attachmentTarget": links::link(network),
        "firewallPolicyId": links::id(policy.id),
        "shortName": key.name,
    })
}

/// Adds associations to what has them: a field that is not there when there are none.
pub(crate) fn add_associations(wire: &mut Value, all: impl Iterator<Item = Value>) {
    let all: Vec<Value> = all.collect();
    if !all.is_empty() {
        wire["associations"] = Value::Array(all);
    }
}

/// A policy on the wire.
pub(crate) fn wire(world: &World, key: &FirewallPolicyKey, policy: &FirewallPolicy) -> Value {
    let mut wire = json!({
        "kind": "compute#firewallPolicy",
        "id": links::id(policy.id),
        "creationTimestamp": policy.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "rules": rules(world, &policy.rules),
        "fingerprint": links::fingerprint(&policy),
        "selfLink": links::link(key),
        "selfLinkWithId":
            links::link(format!("projects/{}/{}/firewallPolicies/{}", key.project, key.scope(), links::id(policy.id))),
        "ruleTupleCount": all_tuples(&policy.rules),
    });
    if let Some(region) = &key.region {
        wire["region"] = json!(links::link(format!("projects/{}/regions/{region}", key.project)));
    }
    let associations = policy.associations.iter();
    add_associations(&mut wire, associations.map(|(name, network)| association(policy, key, name, network)));
    details::add(world, &key.to_string(), &mut wire);
    wire
}

/// The rules that act in a network as `getEffectiveFirewalls` tells them: its own, those of the hierarchical policies above
/// it, those of its policy, and those of its policy of a region.
pub(crate) fn effective(world: &World, network: &NetworkKey, region: Option<&str>) -> Value {
    let all = firewall_policy::all_of_network(world, network);
    let acting = all.filter(|(key, _)| key.region.is_none() || key.region.as_deref() == region);
    let one = |(key, policy): (&FirewallPolicyKey, &FirewallPolicy)| {
        json!({
            "name": key.name,
            "type": if key.region.is_some() { "NETWORK_REGIONAL" } else { "NETWORK" },
            "rules": rules(world, &policy.rules),
        })
    };
    let above = hierarchical_policy::all_of_project(world, &network.project).into_iter();
    let above = above.map(|(_, key, policy)| {
        json!({
            "name": key.name,
            "shortName": policy.short_name,
            "displayName": policy.short_name,
            "type": "HIERARCHY",
            "rules": rules(world, &policy.rules),
        })
    });
    let mut wire = json!({ "firewalls": firewall::of_network(world, network) });
    let policies: Vec<Value> = above.chain(acting.map(one)).collect();
    if !policies.is_empty() {
        wire["firewallPolicys"] = Value::Array(policies);
    }
    wire
}

/// The rules that act in a network's part in a region.
fn get_effective(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    zone::require_region(call)?;
    let said = call.query("network").ok_or_else(|| Failure::required("network"))?;
    let network = links::network(call.project(), said)
        .ok_or_else(|| Refusal::invalid("network", said, "The URL is malformed."))?;
    if !call.world().networks.contains_key(&network) {
        return Err(Refusal::not_found(&network).into());
    }
    Ok(Outcome::Reply(effective(call.world(), &network, Some(call.param("region")))))
}
