//! Tag values: what of a tag key is bound to an instance, and what rules of firewall policies name.
//!
//! An instance has one value of a key at most. A value that is bound or named cannot go.
//! Source: Google's documentation of Cloud NGFW, "Secure tags for firewalls".

use crate::tag_key::{self, MOST, TagKey, TagScope};
use crate::{
    InstanceKey, NetworkKey, PolicyRule, Refusal, TagKeyKey, TagValueKey, Timestamp, World, instance,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The most values that may mean something at one interface.
const MOST_PER_NIC: usize = 10;
/// The most values that a rule may name as its sources, and as its targets.
const MOST_PER_RULE: usize = 256;

/// A tag value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagValue {
    /// Its number, which is its name too.
    pub id: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// The tag key that it is a value of.
    pub parent: TagKeyKey,
    /// What people call it, unique among its key's values.
    pub short_name: String,
}

/// The key that a value gets: the number of its name, or the first one after that which none has.
pub fn key_of(world: &World, parent: &TagKeyKey, short_name: &str) -> TagValueKey {
    let first = crate::folder::number(&format!("{parent}/tagValues/{short_name}"));
    let mut free = (first..).map(|number| TagValueKey::new(number.to_string()));
    free.find(|key| !world.tag_values.contains_key(key)).unwrap_or_else(|| TagValueKey::new(""))
}

/// Creates a value.
pub(crate) fn create(
    world: &mut World,
    parent: &TagKeyKey,
    short_name: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    tag_key::get(world, parent)?;
    tag_key::check_short_name(short_name)?;
    if of_key(world, parent).any(|(_, other)| other.short_name == short_name) {
        return Err(Refusal::already_exists(format!("{parent}/tagValues/{short_name}")));
    }
    if of_key(world, parent).count() >= MOST {
        return Err(Refusal::QuotaExceeded { quota: "TagValuesPerTagKey", limit: MOST });
    }
    let key = key_of(world, parent, short_name);
    let id = key.name.parse().unwrap_or_default();
    let (parent, short_name) = (parent.clone(), short_name.to_owned());
    world.tag_values.insert(key, Arc::new(TagValue { id, create_time: now, parent, short_name }));
    Ok(())
}

/// Deletes a value that no instance has and no rule names.
pub(crate) fn delete(world: &mut World, key: &TagValueKey) -> Result<(), Refusal> {
    get(world, key)?;
    let mut instances = world.instances.iter().filter(|(_, found)| found.has_tag(key));
    let names =
        |rule: &PolicyRule| rule.src_secure_tags.contains(key) || rule.target_secure_tags.contains(key);
    let policies = world.firewall_policies.iter().map(|(key, found)| (key.to_string(), &found.rules));
    let above = world.hierarchical_policies.iter().map(|(key, found)| (key.to_string(), &found.rules));
    let mut policies = policies.chain(above).filter(|(_, rules)| rules.values().any(names));
    let user = instances.next().map(|(key, _)| key.to_string()).or_else(|| Some(policies.next()?.0));
    if let Some(user) = user {
        return Err(Refusal::in_use("tag_value", key, user));
    }
    world.tag_values.remove(key);
    Ok(())
}

/// The values of a key.
pub fn of_key<'w>(
    world: &'w World,
    parent: &'w TagKeyKey,
) -> impl Iterator<Item = (&'w TagValueKey, &'w Arc<TagValue>)> {
    world.tag_values.iter().filter(move |(_, value)| value.parent == *parent)
}

/// A value with its key.
pub fn find<'w>(world: &'w World, key: &TagValueKey) -> Option<(&'w TagValue, &'w TagKey)> {
    let value = world.tag_values.get(key)?;
    Some((value, world.tag_keys.get(&value.parent)?))
}

fn get<'w>(world: &'w World, key: &TagValueKey) -> Result<(&'w TagValue, &'w TagKey), Refusal> {
    find(world, key).ok_or_else(|| Refusal::not_found(key))
}

/// A value's name with its key's before it: `project-1/role/web`.
pub fn namespaced_name(world: &World, key: &TagValueKey) -> Option<String> {
    let (value, parent) = find(world, key)?;
    Some(format!("{}/{}", parent.namespaced_name(), value.short_name))
}

/// Whether rules that name the value do something: not once its key's network is gone.
pub fn is_effective(world: &World, key: &TagValueKey) -> bool {
    find(world, key).is_some_and(|(_, parent)| parent.effective_scope(world).is_some())
}

/// Whether rules that name the value mean interfaces in a network.
pub fn is_for(world: &World, key: &TagValueKey, network: &NetworkKey) -> bool {
    find(world, key).is_some_and(|(_, parent)| parent.is_for(world, network))
}

/// Binds a value to an instance.
pub(crate) fn bind(world: &mut World, instance: &InstanceKey, key: &TagValueKey) -> Result<(), Refusal> {
    let (value, parent) = get(world, key)?;
    let found = world.instances.get(instance).ok_or_else(|| Refusal::not_found(instance))?;
    let refuse = |expected: &str| Err(Refusal::invalid("tagValue", key, expected));
    match found.secure_tags.get(&value.parent) {
        Some(same) if same == key => {
            return Err(Refusal::already_exists(format!("tagBindings/{instance}/{key}")));
        }
        Some(other) => {
            let other = namespaced_name(world, other).unwrap_or_default();
            return refuse(&format!("The instance has a value of the same tag key already, '{other}'."));
        }
        None => {}
    }
    let has = |nic: &crate::Nic| parent.is_for(world, &nic.network);
    match &parent.scope {
        Some(TagScope::Network(network)) if !found.nics.iter().any(has) => {
            return refuse(&format!(
                "The instance has no interface in '{network}', the network of the tag key."
            ));
        }
        Some(TagScope::Organization) if !tag_key::is_in_organization(world, &instance.project) => {
            return refuse("The instance's project must be in the organization of the tag key.");
        }
        _ => {}
    }
    let acting =
        |nic: &crate::Nic| found.secure_tags.values().filter(|it| is_for(world, it, &nic.network)).count();
    if found.nics.iter().any(|nic| has(nic) && acting(nic) >= MOST_PER_NIC) {
        return Err(Refusal::QuotaExceeded { quota: "SecureTagsPerNetworkInterface", limit: MOST_PER_NIC });
    }
    let parent = value.parent.clone();
    instance::update(world, instance, |found| drop(found.secure_tags.insert(parent, key.clone())))
}

/// Takes a value from an instance.
pub(crate) fn unbind(world: &mut World, instance: &InstanceKey, key: &TagValueKey) -> Result<(), Refusal> {
    let found = world.instances.get(instance).ok_or_else(|| Refusal::not_found(instance))?;
    if !found.has_tag(key) {
        return Err(Refusal::not_found(format!("tagBindings/{instance}/{key}")));
    }
    instance::update(world, instance, |found| found.secure_tags.retain(|_, value| value != key))
}

/// Checks that a rule may name the values that it names.
pub(crate) fn check_rule(world: &World, rule: &PolicyRule) -> Result<(), Refusal> {
    let lists =
        [("match.srcSecureTags", &rule.src_secure_tags), ("targetSecureTags", &rule.target_secure_tags)];
    for (field, values) in lists {
        if values.len() > MOST_PER_RULE {
            return Err(Refusal::TooLarge {
                field: field.to_owned(),
                most: MOST_PER_RULE,
                size: values.len(),
            });
        }
        for (i, key) in values.iter().enumerate() {
            let refuse = |expected| Err(Refusal::invalid(&format!("{field}[{i}].name"), key, expected));
            match find(world, key) {
                None => return refuse("The referenced tag value cannot be found."),
                Some((_, parent)) if parent.scope.is_none() => {
                    return refuse("The purpose of its tag key must be GCE_FIREWALL.");
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}
