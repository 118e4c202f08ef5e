//! Fields of a resource that are kept as they were said, because no packet depends on them.
//!
//! A noun says which of its fields it keeps so, and which ones the World has. Every other field of the message is one
//! that Tombolo does not do: it is refused, never ignored.

use crate::call::Call;
use crate::failure::Failure;
use crate::links;
use serde_json::{Value, json};
use tombolo_model::{Change, Details, World};

/// Fields that every resource has and that clients send back as they got them.
const OUTPUT_ONLY: &[&str] =
    &["creationTimestamp", "createTime", "fingerprint", "id", "kind", "selfLink", "selfLinkWithId"];

/// What Google says of a fingerprint that is not the present one. Source: the google provider for Terraform, which looks
/// for it to try again (`IsFingerprintError`).
pub(crate) const STALE: &str = "Invalid fingerprint.";

/// The fields of the body that are kept as said. Refuses those that are neither `said` nor `derived`, unless they are
/// empty.
pub(crate) fn read(call: &Call<'_>, said: &[&str], derived: &[&str]) -> Result<Details, Failure> {
    let mut details = Details::new();
    let Some(body) = call.body.as_object() else { return Ok(details) };
    // A label says something without a value.
    let labels = |name: &str, value: &Value| name == "labels" && *value != json!({});
    for (name, value) in body.iter().filter(|(name, value)| !is_empty(value) || labels(name, value)) {
        if said.contains(&name.as_str()) {
            details.insert(name.clone(), value.clone());
        } else if !derived.contains(&name.as_str()) && !OUTPUT_ONLY.contains(&name.as_str()) {
            return Err(Failure::unsupported(format_args!("the field '{name}' of '{}'", call.method.id)));
        }
    }
    Ok(details)
}

/// The change that sets fields that are kept as said, and leaves the others.
pub(crate) fn set<const N: usize>(
    world: &World,
    resource: impl ToString,
    fields: [(&str, Value); N],
) -> Change {
    merge(world, resource, fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// As [`set`], for fields that a body says.
pub(crate) fn merge(world: &World, resource: impl ToString, fields: Details) -> Change {
    let resource = resource.to_string();
    let mut details = world.details.get(&resource).map(|details| (**details).clone()).unwrap_or_default();
    details.extend(fields);
    Change::Describe { resource, details }
}

/// The change that a `setLabels` makes; its client must have seen the last one.
pub(crate) fn labels(call: &Call<'_>, resource: impl ToString) -> Result<Change, Failure> {
    let path = resource.to_string();
    let stale = "Labels fingerprint either invalid or resource labels have changed";
    fresh(call, "labelFingerprint", &label_fingerprint(call.world(), &path), stale)?;
    let labels = call.field("labels").cloned().unwrap_or_else(|| json!({}));
    Ok(set(call.world(), path, [("labels", labels)]))
}

/// The fingerprint of the labels of the resource at `path`.
pub(crate) fn label_fingerprint(world: &World, path: &str) -> String {
    links::fingerprint(&get(world, path, "labels"))
}

/// Refuses a change whose client has not seen the last one, in the words of `stale`.
pub(crate) fn fresh(call: &Call<'_>, field: &str, present: &str, stale: &str) -> Result<(), Failure> {
    if call.text(field) == Some(present) { Ok(()) } else { Err(Failure::condition_not_met(stale)) }
}

/// Refuses a change whose client says that it has seen something else than what is `present` on the wire.
pub(crate) fn unless_stale(call: &Call<'_>, present: &Value) -> Result<(), Failure> {
    match call.field("fingerprint") {
        Some(said) if *said != present["fingerprint"] => Err(Failure::condition_not_met(STALE)),
        _ => Ok(()),
    }
}

/// What was said in one field of the resource at `path`.
pub(crate) fn get<'w>(world: &'w World, path: &str, field: &str) -> Option<&'w Value> {
    world.details.get(path)?.get(field)
}

/// The change that a PATCH of a resource makes, which is `present` on the wire now: fields that are kept as said are
/// set, and those that are null or empty are taken back. One that changes a derived field is refused, unless the noun
/// changes it `itself`.
pub(crate) fn patch(
    call: &Call<'_>,
    resource: impl ToString,
    present: &Value,
    said: &[&str],
    derived: &[&str],
    itself: &[&str],
) -> Result<Change, Failure> {
    let changed = |name: &&&str| {
        !itself.contains(*name) && call.field(name).is_some_and(|said| *said != present[**name])
    };
    if let Some(name) = derived.iter().find(changed) {
        return Err(Failure::unsupported(format_args!("a change of the field '{name}' by a patch")));
    }
    let mut change = merge(call.world(), resource, read(call, said, derived)?);
    if let Change::Describe { details, .. } = &mut change {
        for name in said {
            match call.field(name).filter(|value| is_empty(value)) {
                // A message that turns something off says more than no message.
                Some(value @ Value::Object(_)) => drop(details.insert((*name).to_owned(), value.clone())),
                Some(_) => drop(details.remove(*name)),
                None if call.clears(name) => drop(details.remove(*name)),
                None => {}
            }
        }
    }
    Ok(change)
}

/// Adds what was said of the resource at `path` to what is shown of it; said fields replace defaults.
pub(crate) fn add(world: &World, path: &str, wire: &mut Value) {
    let Some(details) = world.details.get(path) else { return };
    for (name, value) in details.iter() {
        // Google shows no lists and maps without anything in them.
        if matches!(value, Value::Array(items) if items.is_empty()) || *value == json!({}) {
            wire.as_object_mut().map(|map| map.shift_remove(name));
        } else {
            wire[name.as_str()] = value.clone();
        }
    }
}

/// Whether a value says nothing: what is false, zero or empty is as good as absent on Google's wire.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}
