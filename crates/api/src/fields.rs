//! Partial responses: `fields=items(name,id),nextPageToken` keeps what is named and leaves the rest out.
//!
//! ```text
//!  mask  = field ("," field)*
//!  field = name ("/" name)* ["(" mask ")"]        `*` is every name
//! ```
//!
//! A list is looked through as if each of its items were in its place. Source: "Partial response" in the documentation
//! of Google's APIs (<https://cloud.google.com/compute/docs/api/how-tos/performance#partial-response>).

use crate::failure::Failure;
use serde_json::{Map, Value};

/// How deep names and parentheses may be nested.
const DEEPEST: usize = 64;

/// What is wanted of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    fields: Vec<(String, Mask)>,
}

impl Mask {
    /// Reads the value of a `fields` parameter.
    pub fn parse(text: &str) -> Result<Mask, Failure> {
        let wrong =
            || Failure::bad_request(format!("Invalid value '{text}' for 'fields': expected a,b(c,d),e/f"));
        let mut rest = text;
        let mask = mask(&mut rest, 0).ok_or_else(wrong)?;
        if rest.is_empty() { Ok(mask) } else { Err(wrong()) }
    }

    /// The part of a message that is wanted.
    pub fn apply(&self, value: Value) -> Value {
        // A field without parentheses is wanted whole.
        if self.fields.is_empty() {
            return value;
        }
        match value {
            Value::Object(map) => Value::Object(self.object(map)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.apply(item)).collect()),
            other => other,
        }
    }

    fn object(&self, map: Map<String, Value>) -> Map<String, Value> {
        let wanted = |name: &str| {
            let same = self.fields.iter().filter(|(field, _)| field == name || field == "*");
            same.map(|(_, mask)| mask).fold(None, |all: Option<Mask>, mask| Some(union(all, mask)))
        };
        map.into_iter()
            .filter_map(|(name, value)| Some((wanted(&name)?.apply(value), name)))
            .map(|(value, name)| (name, value))
            .collect()
    }
}

/// What either wants; one that wants all wants more than any.
fn union(all: Option<Mask>, more: &Mask) -> Mask {
    match all {
        None => more.clone(),
        Some(all) if all.fields.is_empty() || more.fields.is_empty() => Mask::default(),
        Some(mut all) => {
            all.fields.extend(more.fields.iter().cloned());
            all
        }
    }
}

fn mask(rest: &mut &str, depth: usize) -> Option<Mask> {
    let mut fields = vec![field(rest, depth)?];
    while let Some(after) = rest.strip_prefix(',') {
        *rest = after;
        fields.push(field(rest, depth)?);
    }
    Some(Mask { fields })
}

fn field(rest: &mut &str, depth: usize) -> Option<(String, Mask)> {
    if depth > DEEPEST {
        return None;
    }
    let text = rest.trim_start();
    let end = text.find(['/', ',', '(', ')']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let name = name.trim();
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.@*$:".contains(c);
    if name.is_empty() || !name.chars().all(good) {
        return None;
    }
    *rest = after;
    let inner = if let Some(after) = rest.strip_prefix('/') {
        *rest = after;
        Mask { fields: vec![field(rest, depth + 1)?] }
    } else if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let inner = mask(rest, depth + 1)?;
        *rest = rest.strip_prefix(')')?.trim_start();
        inner
    } else {
        Mask::default()
    };
    Some((name.to_owned(), inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kept(fields: &str, value: Value) -> Value {
        Mask::parse(fields).unwrap_or_else(|failure| panic!("{fields}: {failure:?}")).apply(value)
    }

    #[test]
    fn what_is_named_stays() {
        let list = || json!({ "kind": "k", "items": [{ "a": 1, "b": { "c": 2, "d": 3 } }, { "b": {} }], "next": "n" });
        for (fields, expected) in [
            ("kind", json!({ "kind": "k" })),
            ("kind,next", json!({ "kind": "k", "next": "n" })),
            ("items/a", json!({ "items": [{ "a": 1 }, {}] })),
            (
                "items(a,b/c),next",
                json!({ "items": [{ "a": 1, "b": { "c": 2 } }, { "b": {} }], "next": "n" }),
            ),
            ("items( a , b )", json!({ "items": [{ "a": 1, "b": { "c": 2, "d": 3 } }, { "b": {} }] })),
            ("items/b(c),items/b/d", json!({ "items": [{ "b": { "c": 2, "d": 3 } }, { "b": {} }] })),
            ("items/*/c", json!({ "items": [{ "a": 1, "b": { "c": 2 } }, { "b": {} }] })),
            ("items/b,items", list_without(list(), &["kind", "next"])),
            ("*", list()),
            ("nothing", json!({})),
        ] {
            assert_eq!(kept(fields, list()), expected, "{fields}");
        }
    }

    fn list_without(mut value: Value, names: &[&str]) -> Value {
        let map = value.as_object_mut().expect("an object");
        names.iter().for_each(|name| drop(map.remove(*name)));
        value
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        let deep = "a(".repeat(100_000);
        let slashes = "a/".repeat(100_000);
        for fields in
            ["", ",", "a,", "a(", "a()", "a)", "a/", "/a", "a b", "a(b)c", "(a)", "a(b", &deep, &slashes]
        {
            assert!(Mask::parse(fields).is_err(), "{}", &fields[..fields.len().min(20)]);
        }
    }
}
