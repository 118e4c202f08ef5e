//! Tag keys, their values and who has them, of a file: to changes, and back.
//!
//! A value is named by its parents' names and its own: `project-1/role/web`, `organization/role/web`, or `role/web` where that
//! is enough.

use crate::file::{Instance, PolicyRule, TagKey};
use crate::lower::Lower;
use crate::names::{Names, ORGANIZATION, network_name};
use crate::value::{Plain, unknown};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use tombolo_model::{
    Change, InstanceKey, TagKeySpec, TagParent, TagScope, TagValueKey, World, folder, tag_key, tag_value,
};

impl Lower<'_> {
    /// Tag keys, each with its values.
    pub(crate) fn tags(&mut self) {
        for (i, said) in self.file.tag_keys.iter().enumerate() {
            let path = format!("tagKeys[{i}]");
            if self.full() {
                return;
            }
            if let Some(spec) = self.tag_key(said, &path) {
                self.tag_values(said, spec, &path);
            }
        }
    }

    fn tag_key(&mut self, said: &TagKey, path: &str) -> Option<TagKeySpec> {
        let projects = self.names.projects.clone();
        let known = || projects.iter().map(String::as_str).chain([ORGANIZATION]);
        let parent = match (said.parent.as_ref().map(|parent| parent.0.as_str()), projects.first()) {
            (Some(ORGANIZATION), _) => Ok(TagParent::Organization),
            (Some(id), _) if projects.contains(id) => Ok(TagParent::Project(id.to_owned())),
            (Some(other), _) => Err(unknown("project", other, known())),
            (None, Some(only)) if projects.len() == 1 => Ok(TagParent::Project(only.clone())),
            (None, _) => Err("missing key 'parent': the file has more than one project".to_owned()),
        };
        let parent = self.noted(parent, &format!("{path}.parent"))?;
        let data = said.purpose_data.as_ref();
        if said.purpose.is_some() && data.is_none() {
            self.error(path, "missing key 'purposeData': this purpose needs it".to_owned());
            return None;
        }
        let scope = match data.map(|data| (&data.network, data.organization)) {
            None => None,
            Some((None, said)) => said.map(|_| TagScope::Organization),
            Some((Some(name), _)) => {
                let own = match &parent {
                    TagParent::Project(id) => Some(id.as_str()),
                    TagParent::Organization => None,
                };
                let found = self.names.network(&name.0, own);
                Some(TagScope::Network(self.noted(found, &format!("{path}.purposeData.network"))?))
            }
        };
        Some(TagKeySpec { parent, short_name: said.short_name.0.clone(), scope })
    }

    fn tag_values(&mut self, said: &TagKey, spec: TagKeySpec, path: &str) {
        // The numbers that they will get: there is nothing yet.
        let nothing = World::default();
        let key = tag_key::key_of(&nothing, &spec.parent, &spec.short_name);
        let name = format!("{}/{}", place(&spec.parent), spec.short_name);
        self.change(path, Change::TagKeyCreate(spec));
        for (j, Plain(short_name)) in said.values.iter().enumerate() {
            let value = tag_value::key_of(&nothing, &key, short_name);
            self.names.tag_values.insert(format!("{name}/{short_name}"), value);
            let (parent, short_name) = (key.clone(), short_name.clone());
            self.change(&format!("{path}.values[{j}]"), Change::TagValueCreate { parent, short_name });
        }
    }

    /// The values that an instance has.
    pub(crate) fn bindings(&mut self, instance: &Instance, key: &InstanceKey, path: &str) {
        for (i, Plain(name)) in instance.resource_manager_tags.iter().enumerate() {
            let path = format!("{path}.resourceManagerTags[{i}]");
            let found = self.names.tag_value(name);
            if let Some(value) = self.noted(found, &path) {
                self.change(&path, Change::TagBind { instance: key.clone(), value });
            }
        }
    }

    /// Adds the values that a rule names.
    pub(crate) fn secure_tags(
        &mut self,
        said: &PolicyRule,
        rule: &mut tombolo_model::PolicyRule,
        path: &str,
    ) {
        for (list, field) in [
            (&said.matched.src_secure_tags, "match.srcSecureTags"),
            (&said.target_secure_tags, "targetSecureTags"),
        ] {
            let mut values = BTreeSet::new();
            for (i, Plain(name)) in list.iter().enumerate() {
                let found = self.names.tag_value(name);
                values.extend(self.noted(found, &format!("{path}.{field}[{i}]")));
            }
            match field {
                "targetSecureTags" => rule.target_secure_tags = values,
                _ => rule.src_secure_tags = values,
            }
        }
    }
}

impl Names {
    /// The tag value that the text names.
    fn tag_value(&self, given: &str) -> Result<TagValueKey, String> {
        let number = format!("{}/", folder::ORGANIZATION);
        let by_word = given.strip_prefix(&number).map(|rest| format!("{ORGANIZATION}/{rest}"));
        let given = by_word.as_deref().unwrap_or(given);
        if let Some(key) = self.tag_values.get(given) {
            return Ok(key.clone());
        }
        let ending = format!("/{given}");
        let mut named =
            self.tag_values.iter().filter(|(name, _)| given.contains('/') && name.ends_with(&ending));
        match (named.next(), named.next()) {
            (None, _) => {
                let short = |name: &String| name.split_once('/').map(|(_, rest)| rest.to_owned());
                let names = self.tag_values.keys();
                let known: Vec<String> =
                    names.flat_map(|name| [Some(name.clone()), short(name)]).flatten().collect();
                Err(unknown("tag value", given, known.iter().map(String::as_str)))
            }
            (Some((_, key)), None) => Ok(key.clone()),
            (Some((one, _)), Some((other, _))) => {
                Err(format!("the name '{given}' is not unique: it may be {one} or {other}"))
            }
        }
    }
}

/// What a parent is called in a file.
fn place(parent: &TagParent) -> &str {
    match parent {
        TagParent::Organization => ORGANIZATION,
        TagParent::Project(id) => id,
    }
}

/// Whether a key can be made anew: not one whose network is gone.
fn is_whole(world: &World, key: &tombolo_model::TagKey) -> bool {
    key.scope.is_none() || key.effective_scope(world).is_some()
}

/// The names of those values that can be made anew.
pub(crate) fn names<'v>(world: &World, values: impl Iterator<Item = &'v TagValueKey>) -> Vec<String> {
    let name = |key| {
        let (value, parent) = tag_value::find(world, key)?;
        let name = format!("{}/{}/{}", place(&parent.parent), parent.short_name, value.short_name);
        is_whole(world, parent).then_some(name)
    };
    values.filter_map(name).collect()
}

/// Whether a rule does something by what can be made anew: not one that is for instances, or of sources, of values alone
/// that cannot.
pub(crate) fn does_something(world: &World, rule: &tombolo_model::PolicyRule) -> bool {
    let none = |values: &BTreeSet<TagValueKey>| !values.is_empty() && names(world, values.iter()).is_empty();
    !none(&rule.target_secure_tags) && (!rule.ranges.is_empty() || !none(&rule.src_secure_tags))
}

/// The tag keys of a World.
pub(crate) fn export(world: &World) -> Value {
    let keys = world.tag_keys.iter().filter(|(_, found)| is_whole(world, found));
    let one = |(key, found): (&tombolo_model::TagKeyKey, &std::sync::Arc<tombolo_model::TagKey>)| {
        let mut map = Map::new();
        map.insert("shortName".into(), json!(found.short_name));
        map.insert("parent".into(), json!(place(&found.parent)));
        if let Some(scope) = &found.scope {
            map.insert("purpose".into(), json!("GCE_FIREWALL"));
            let data = match scope {
                TagScope::Network(key) => json!({ "network": network_name(key) }),
                TagScope::Organization => json!({ "organization": "auto" }),
            };
            map.insert("purposeData".into(), data);
        }
        let values: Vec<&str> =
            tag_value::of_key(world, key).map(|(_, value)| value.short_name.as_str()).collect();
        if !values.is_empty() {
            map.insert("values".into(), json!(values));
        }
        Value::Object(map)
    };
    keys.map(one).collect()
}
