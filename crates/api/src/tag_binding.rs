//! Tag bindings: Resource Manager v3, and what instances say of them when they are made.
//!
//! Google answers for an instance's bindings at its zone's endpoint (`ZONE-cloudresourcemanager.googleapis.com`), which is
//! here the same as the global one. Only instances have bindings.

use crate::failure::Failure;
use crate::operation::Scope;
use crate::outcome::{Commit, Outcome};
use crate::request::decode;
use crate::{Call, Handlers, details, links, list, project, tag_key, tag_value};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tombolo_model::{Change, Instance, InstanceKey, Refusal, TagValueKey, World};

pub(crate) const HANDLERS: Handlers = &[
    ("cloudresourcemanager.effectiveTags.list", list_effective),
    ("cloudresourcemanager.tagBindings.create", create),
    ("cloudresourcemanager.tagBindings.delete", delete),
    ("cloudresourcemanager.tagBindings.list", list),
];

/// How the full resource names of Compute's resources begin.
const COMPUTE: &str = "//compute.googleapis.com/";
/// What stays as it is in a binding's name (RFC 3986, section 2.3).
const ENCODED: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The instance of a full resource name, with its project and itself by name or number.
fn instance<'w>(call: &'w Call<'_>, said: &str) -> Result<(&'w InstanceKey, &'w Instance), Failure> {
    let key = said.strip_prefix(COMPUTE).and_then(|path| path.parse::<InstanceKey>().ok());
    let Some(key) = key else {
        return Err(Failure::unsupported(format_args!(
            "tag bindings of anything but instances, such as '{said}'"
        )));
    };
    let project = project::find(call, &key.project)?.0;
    let is = |(other, found): &(&InstanceKey, &std::sync::Arc<Instance>)| {
        let named = other.name == key.name || links::id(found.id) == key.name;
        named && other.project == project && other.zone == key.zone
    };
    let found = call.world().instances.iter().find(is);
    found.map(|(key, found)| (key, &**found)).ok_or_else(|| Refusal::not_found(&key).into())
}

/// An instance's full resource name as Google shows it: by numbers.
fn full_name(world: &World, key: &InstanceKey, found: &Instance) -> String {
    let project = world.projects.get(&key.project);
    let project = project.map_or_else(|| key.project.clone(), |project| project.shown_number());
    format!("{COMPUTE}projects/{project}/zones/{}/instances/{}", key.zone, links::id(found.id))
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    tag_key::for_real(call)?;
    details::read(call, &[], &["name", "parent", "tagValue", "tagValueNamespacedName"])?;
    let said = call.text("tagValue").or_else(|| call.text("tagValueNamespacedName"));
    let value = tag_value::named(call, said.ok_or_else(|| Failure::required("tagValue"))?)?;
    let (key, found) = instance(call, call.text("parent").ok_or_else(|| Failure::required("parent"))?)?;
    let change = Change::TagBind { instance: key.clone(), value: value.clone() };
    let types = (
        "type.googleapis.com/google.cloud.resourcemanager.v3.CreateTagBindingMetadata",
        "type.googleapis.com/google.cloud.resourcemanager.v3.TagBinding",
    );
    let name = name(&full_name(call.world(), key, found), &value);
    Ok(Commit::long_running(call, Scope::Service, name, vec![change], types, by_name))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    // Some clients encode it once more, since it is encoded in the name already.
    let parent = decode(call.param("tagBindingsId"));
    let value = TagValueKey::new(call.param("tagValuesId"));
    let (key, found) = instance(call, &parent)?;
    let change = Change::TagUnbind { instance: key.clone(), value: value.clone() };
    let types = (
        "type.googleapis.com/google.cloud.resourcemanager.v3.DeleteTagBindingMetadata",
        "type.googleapis.com/google.protobuf.Empty",
    );
    let name = name(&full_name(call.world(), key, found), &value);
    Ok(Commit::long_running(call, Scope::Service, name, vec![change], types, |_, _| json!({})))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (key, found) = instance(call, call.query("parent").ok_or_else(|| Failure::required("parent"))?)?;
    let parent = full_name(call.world(), key, found);
    let all = found.secure_tags.values().map(|value| wire(call.world(), &parent, value));
    list::named(call, "tagBindings", all.collect())
}

/// The values that an instance has: its own, since nothing else has any.
fn list_effective(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (_, found) = instance(call, call.query("parent").ok_or_else(|| Failure::required("parent"))?)?;
    let world = call.world();
    let one = |value: &TagValueKey| {
        let (named, parent) = tombolo_model::tag_value::find(world, value)?;
        Some(json!({
            "tagValue": value,
            "namespacedTagValue": tombolo_model::tag_value::namespaced_name(world, value),
            "tagKey": named.parent,
            "namespacedTagKey": parent.namespaced_name(),
            "tagKeyParentName": tag_key::parent_name(world, &parent.parent),
            "inherited": false,
        }))
    };
    list::named(call, "effectiveTags", found.secure_tags.values().filter_map(one).collect())
}

/// A binding's name: what it is of, encoded, and the value.
fn name(parent: &str, value: &TagValueKey) -> String {
    format!("tagBindings/{}/{value}", utf8_percent_encode(parent, ENCODED))
}

fn by_name(world: &World, name: &str) -> Value {
    let parts = name.strip_prefix("tagBindings/").and_then(|rest| rest.split_once('/'));
    let (parent, value) = parts.unwrap_or_default();
    value.parse().map(|value| wire(world, &decode(parent), &value)).unwrap_or_default()
}

fn wire(world: &World, parent: &str, value: &TagValueKey) -> Value {
    json!({
        "name": name(parent, value),
        "parent": parent,
        "tagValue": value,
        "tagValueNamespacedName": tombolo_model::tag_value::namespaced_name(world, value),
    })
}

/// The bindings that a new instance says: values by their keys, each by number or name, of which nothing is kept but that.
pub(crate) fn said(call: &Call<'_>, instance: &InstanceKey) -> Result<Vec<Change>, Failure> {
    const FIELD: &str = "params.resourceManagerTags";
    let params = call.field("params").and_then(Value::as_object).into_iter().flatten();
    let mut params =
        params.filter(|(name, value)| *name != "resourceManagerTags" && !details::is_empty(value));
    if let Some((name, _)) = params.next() {
        return Err(Failure::unsupported(format_args!("the field 'params.{name}'")));
    }
    let tags = call.field(FIELD).and_then(Value::as_object).into_iter().flatten();
    let one = |(key, value): (&String, &Value)| {
        let parent = match key.parse() {
            Ok(key) => key,
            Err(_) => tag_key::namespaced(call, key)?.0.clone(),
        };
        let value = match value.as_str().unwrap_or_default() {
            name if name.contains('/') => tag_value::named(call, name)?,
            name => tag_value::of_key(call, &parent, name)?,
        };
        let found = call.world().tag_values.get(&value).ok_or_else(|| Refusal::not_found(&value))?;
        if found.parent != parent {
            let expected = format!("The tag value '{value}' is not one of that tag key.");
            return Err(Refusal::invalid(FIELD, key, expected).into());
        }
        Ok(Change::TagBind { instance: instance.clone(), value })
    };
    tags.map(one).collect()
}
