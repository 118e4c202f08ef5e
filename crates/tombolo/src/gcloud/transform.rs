//! The transforms of projections: those of gcloud's that its own lists and people's scripts use.

use super::projection::{get, parse_key};
use serde_json::{Value, json};

/// A transform and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Transform {
    /// Its name.
    pub(crate) name: String,
    arguments: Vec<String>,
}

/// Every one that there is. `map` is for the one after it.
const KNOWN: [&str; 16] = [
    "address_range",
    "basename",
    "count",
    "date",
    "firewall_rule",
    "firstof",
    "join",
    "len",
    "list",
    "machine_type",
    "map",
    "notnull",
    "operation_http_status",
    "scope",
    "segment",
    "yesno",
];

impl Transform {
    /// A transform; an error if there is none of that name.
    pub(crate) fn new(name: String, arguments: Vec<String>) -> Result<Transform, String> {
        if name != "status" && !KNOWN.contains(&name.as_str()) {
            return Err(format!("the transform '{name}()' is not supported"));
        }
        Ok(Transform { name, arguments })
    }

    /// An argument by its place or its name.
    fn argument(&self, place: usize, name: &str) -> Option<&str> {
        let named = |text: &'_ String| text.split_once('=').is_some_and(|(key, _)| key.trim() == name);
        if let Some((_, value)) = self.arguments.iter().find(|a| named(a)).and_then(|a| a.split_once('=')) {
            return Some(value.trim().trim_matches(['\'', '"']));
        }
        self.arguments.get(place).map(String::as_str).filter(|text| !text.contains('='))
    }
}

/// What a transform makes of a value of a resource.
pub(crate) fn apply(transform: &Transform, value: &Value, resource: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    match transform.name.as_str() {
        "basename" | "segment" if !value.is_string() => json!(""),
        "basename" => json!(text.rsplit('/').next()),
        "segment" => json!(segment(text, transform.argument(0, "index"))),
        "scope" => json!(scope(text, &transform.arguments)),
        "list" | "join" => match (transform.name.as_str(), value.is_array()) {
            ("join", false) => value.clone(),
            _ => json!(list(value, transform.argument(0, "separator").unwrap_or(","))),
        },
        "notnull" => match value {
            Value::Array(items) => items.iter().filter(|item| !is_nothing(item)).cloned().collect(),
            value => value.clone(),
        },
        "count" | "len" => match value {
            Value::Array(items) => json!(items.len()),
            Value::Object(map) => json!(map.len()),
            value => json!(value.as_str().map_or(0, |text| text.chars().count())),
        },
        "yesno" if is_nothing(value) || *value == json!(false) => {
            json!(transform.argument(1, "no").unwrap_or("No"))
        }
        "yesno" => transform.argument(0, "yes").map_or(value.clone(), |yes| json!(yes)),
        "date" => json!(text.get(..19).unwrap_or(text)),
        "firstof" => {
            let keys = transform.arguments.iter().filter_map(|key| parse_key(key).ok());
            keys.map(|key| get(resource, &key)).find(|value| !is_nothing(value)).unwrap_or_default()
        }
        "firewall_rule" => json!(firewall_rule(value)),
        "status" => resource["status"].clone(),
        "address_range" => match resource["prefixLength"].as_u64() {
            Some(length) => json!(format!("{}/{length}", plain(&resource["address"]))),
            None => resource["address"].clone(),
        },
        "operation_http_status" => match resource["httpErrorStatusCode"].as_u64() {
            Some(code) => json!(code),
            None => json!(200),
        },
        _ => value.clone(),
    }
}

/// Whether there is nothing to show.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_nothing),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A part of a path, from 0, or from -1 backwards; the last one unless said.
fn segment<'t>(text: &'t str, index: Option<&str>) -> &'t str {
    let parts: Vec<&str> = text.split('/').collect();
    let index: isize = index.and_then(|index| index.parse().ok()).unwrap_or(-1);
    let at = if index < 0 { parts.len().checked_add_signed(index) } else { usize::try_from(index).ok() };
    at.and_then(|at| parts.get(at)).copied().unwrap_or_default()
}

/// What follows the first of the scopes (`regions` and `zones` unless said) in a link, else its last part.
fn scope<'t>(text: &'t str, scopes: &[String]) -> &'t str {
    let said: Vec<&str> = match scopes {
        [] => vec!["regions", "zones"],
        scopes => scopes.iter().map(String::as_str).collect(),
    };
    let after = said.iter().find_map(|scope| text.split_once(&format!("/{scope}/")).map(|(_, after)| after));
    match after {
        Some(after) => after,
        None if text.starts_with("https://") => text.rsplit('/').next().unwrap_or_default(),
        None => text,
    }
}

/// Items one after the other.
fn list(value: &Value, separator: &str) -> String {
    match value {
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(separator),
        Value::Object(map) => {
            let mut pairs: Vec<_> =
                map.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
            pairs.sort();
            pairs.join(separator)
        }
        value => plain(value),
    }
}

/// A value as text: JSON's, but strings without quotes and nothing for nothing.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        value => value.to_string(),
    }
}

/// `tcp:22,tcp:80` of an entry of a rule's `allowed` or `denied`.
fn firewall_rule(entry: &Value) -> String {
    let protocol = entry["IPProtocol"].as_str().unwrap_or_default();
    match entry["ports"].as_array().map(Vec::as_slice).unwrap_or_default() {
        [] => protocol.to_owned(),
        ports => ports.iter().map(|port| format!("{protocol}:{}", plain(port))).collect::<Vec<_>>().join(","),
    }
}
