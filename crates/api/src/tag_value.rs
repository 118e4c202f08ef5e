//! Tag values: Resource Manager v3.

use crate::failure::Failure;
use crate::operation::{Scope, utc};
use crate::outcome::{Commit, Outcome};
use crate::tag_key::{SAID, described, finish, for_real, fresh};
use crate::{Call, Handlers, details, list};
use serde_json::{Value, json};
use tombolo_model::{Change, Refusal, TagKeyKey, TagValue, TagValueKey, World, tag_value};

pub(crate) const HANDLERS: Handlers = &[
    ("cloudresourcemanager.tagValues.create", create),
    ("cloudresourcemanager.tagValues.delete", delete),
    ("cloudresourcemanager.tagValues.get", get),
    ("cloudresourcemanager.tagValues.getNamespaced", get_namespaced),
    ("cloudresourcemanager.tagValues.list", list),
    ("cloudresourcemanager.tagValues.patch", patch),
];

const DERIVED: &[&str] =
    &["createTime", "etag", "name", "namespacedName", "parent", "shortName", "updateTime"];
const TYPE: &str = "type.googleapis.com/google.cloud.resourcemanager.v3.TagValue";

fn key(call: &Call<'_>) -> TagValueKey {
    TagValueKey::new(call.param("tagValuesId"))
}

fn find<'w>(world: &'w World, key: &TagValueKey) -> Result<&'w TagValue, Failure> {
    world.tag_values.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

/// The value that `tagValues/NUMBER` or a namespaced name (`PARENT/KEY/VALUE`) means.
pub(crate) fn named(call: &Call<'_>, said: &str) -> Result<TagValueKey, Failure> {
    if let Ok(key) = said.parse::<TagValueKey>() {
        return Ok(key);
    }
    let missing = || Refusal::not_found(said);
    let (parent, short_name) = said.rsplit_once('/').ok_or_else(missing)?;
    let (parent, _) = crate::tag_key::namespaced(call, parent)?;
    of_key(call, parent, short_name)
}

/// The value of a tag key by what people call it.
pub(crate) fn of_key(call: &Call<'_>, parent: &TagKeyKey, short_name: &str) -> Result<TagValueKey, Failure> {
    let found = tag_value::of_key(call.world(), parent).find(|(_, found)| found.short_name == short_name);
    let missing = || Refusal::not_found(format!("{parent}/tagValues/{short_name}")).into();
    found.map(|(key, _)| key.clone()).ok_or_else(missing)
}

/// The tag key that a field or a parameter names.
fn parent(said: Option<&str>) -> Result<TagKeyKey, Failure> {
    let said = said.ok_or_else(|| Failure::required("parent"))?;
    said.parse().map_err(|_| Refusal::invalid("parent", said, "Must be tagKeys/NUMBER.").into())
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    for_real(call)?;
    let details = details::read(call, SAID, DERIVED)?;
    let parent = parent(call.text("parent"))?;
    let short_name = call.text("shortName").ok_or_else(|| Failure::required("shortName"))?.to_owned();
    let key = tag_value::key_of(call.world(), &parent, &short_name);
    let changes = vec![
        Change::TagValueCreate { parent, short_name },
        Change::Describe { resource: key.to_string(), details },
    ];
    let types = ("type.googleapis.com/google.cloud.resourcemanager.v3.CreateTagValueMetadata", TYPE);
    Ok(Commit::long_running(call, Scope::Service, key, changes, types, by_path))
}

/// PATCH: the description, which is all that Google lets change.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = wire(call.world(), &key, find(call.world(), &key)?);
    let change = described(call, &key.to_string(), &present, DERIVED)?;
    let types = ("type.googleapis.com/google.cloud.resourcemanager.v3.UpdateTagValueMetadata", TYPE);
    Ok(Commit::long_running(call, Scope::Service, key, vec![change], types, by_path))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    for_real(call)?;
    let key = key(call);
    fresh(call.query("etag"), &wire(call.world(), &key, find(call.world(), &key)?))?;
    let changes = vec![Change::TagValueDelete(key.clone())];
    let types = ("type.googleapis.com/google.cloud.resourcemanager.v3.DeleteTagValueMetadata", TYPE);
    Ok(Commit::long_running(call, Scope::Service, key, changes, types, by_path))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

fn get_namespaced(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = named(call, call.query("name").ok_or_else(|| Failure::required("name"))?)?;
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let parent = parent(call.query("parent"))?;
    if !call.world().tag_keys.contains_key(&parent) {
        return Err(Refusal::not_found(parent).into());
    }
    let own = tag_value::of_key(call.world(), &parent);
    list::named(call, "tagValues", own.map(|(key, found)| wire(call.world(), key, found)).collect())
}

/// The value as it is then; of one that is gone there is nothing left to tell but its name.
fn by_path(world: &World, path: &str) -> Value {
    let found = path.parse().ok().and_then(|key: TagValueKey| world.tag_values.get_key_value(&key));
    found.map_or_else(|| json!({ "name": path }), |(key, found)| wire(world, key, found))
}

fn wire(world: &World, key: &TagValueKey, found: &TagValue) -> Value {
    let mut wire = json!({
        "name": key,
        "parent": found.parent,
        "shortName": found.short_name,
        "namespacedName": tag_value::namespaced_name(world, key),
        "createTime": utc(found.create_time),
        "updateTime": utc(found.create_time),
    });
    finish(world, &key.to_string(), &mut wire);
    wire
}
