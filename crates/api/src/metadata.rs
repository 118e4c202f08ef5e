//! Metadata, of an instance and of all instances of a project.

use crate::call::Call;
use crate::failure::Failure;
use crate::{details, links};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tombolo_model::metadata;

/// What a body's metadata says.
pub(crate) fn read(said: &Value) -> Result<BTreeMap<String, String>, Failure> {
    let items = said["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pairs = || items.iter().map(|item| (text(item, "key"), text(item, "value")));
    metadata::check(pairs())?;
    Ok(pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn text<'v>(item: &'v Value, field: &str) -> &'v str {
    item[field].as_str().unwrap_or_default()
}

/// Refuses a change of metadata whose client has not seen the last one; `kept` is what its fingerprint is of.
pub(crate) fn fresh(call: &Call<'_>, kept: &impl Serialize) -> Result<(), Failure> {
    let stale = "Supplied fingerprint does not match current metadata fingerprint.";
    details::fresh(call, "fingerprint", &links::fingerprint(kept), stale)
}

/// Metadata on the wire; `kept` is what its fingerprint is of.
pub(crate) fn wire(kept: &impl Serialize, items: Vec<Value>) -> Value {
    let mut wire = json!({ "kind": "compute#metadata", "fingerprint": links::fingerprint(kept) });
    if !items.is_empty() {
        wire["items"] = Value::Array(items);
    }
    wire
}
