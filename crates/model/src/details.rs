//! What is said of resources and no packet depends on: descriptions, labels, disks' sizes, schedules.
//!
//! It is kept beside the resources, by path, as the API was told it: so that what the packets depend on stays small,
//! and nothing that a user said is lost. It goes with its resource.

use crate::{Refusal, World};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields by their names on the wire.
pub type Details = BTreeMap<String, Value>;

/// Replaces what is said of a resource.
pub(crate) fn describe(world: &mut World, resource: &str, details: &Details) -> Result<(), Refusal> {
    if world.id_of(resource).is_none() {
        return Err(Refusal::not_found(resource));
    }
    if let Some(labels) = details.get("labels") {
        check_labels("labels", labels)?;
    }
    if details.is_empty() {
        world.details.remove(resource);
    } else {
        world.details.insert(resource.to_owned(), Arc::new(details.clone()));
    }
    Ok(())
}

/// The most labels of a resource, and the most characters of a label's key or value. Source: Google's documentation of
/// labels, "Requirements for labels".
const MOST_LABELS: usize = 64;
const LONGEST_LABEL: usize = 63;

/// Checks labels: an object of texts, anything else of which has none.
pub fn check_labels(field: &str, labels: &Value) -> Result<(), Refusal> {
    let Some(labels) = labels.as_object() else { return Ok(()) };
    if labels.len() > MOST_LABELS {
        return Err(Refusal::TooLarge { field: field.to_owned(), most: MOST_LABELS, size: labels.len() });
    }
    // Letters of scripts without capitals are as good as small ones.
    let letter = |c: char| c.is_alphabetic() && !c.is_uppercase();
    let inner = |c: char| letter(c) || c.is_numeric() || c == '_' || c == '-';
    let good = |text: &str| text.chars().count() <= LONGEST_LABEL && text.chars().all(inner);
    const REST: &str = "can only contain lowercase letters, numeric characters, underscores and dashes.";
    for (key, value) in labels {
        let wrong = |what: &str, text: &str, begins: &str| {
            let expected = format!(
                "Label {what} '{text}' violates format constraints. The {what} {begins}{REST} The {what} can be at \
                 most {LONGEST_LABEL} characters long. International characters are allowed."
            );
            Err(Refusal::invalid(field, "", expected))
        };
        if !good(key) || !key.starts_with(letter) {
            return wrong("key", key, "must start with a lowercase character, ");
        }
        if let Some(value) = value.as_str().filter(|value| !good(value)) {
            return wrong("value", value, "");
        }
    }
    Ok(())
}

/// Forgets what was said of resources that are gone.
pub(crate) fn sweep(world: &mut World) {
    let gone: Vec<String> =
        world.details.keys().filter(|path| world.id_of(path).is_none()).cloned().collect();
    gone.iter().for_each(|path| drop(world.details.remove(path)));
}
