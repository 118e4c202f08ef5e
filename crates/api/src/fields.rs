//! Partial responses: `fields=items(name,id),nextPageToken` keeps what is named and leaves the rest out.
//!
//! ```text
//!  mask  = field ("," field)*
//!  field = name ("/" name)* ["(" mask ")"]        `*` is every name
//! ```
//!
//! A list is looked through as if each of its items were in its place, and a name that no answer of the method has is
//! refused. Source: "Partial response" in the documentation of Google's APIs
//! (<https://cloud.google.com/compute/docs/api/how-tos/performance#partial-response>).

use crate::failure::Failure;
use crate::methods::{self, Api, Method};
use crate::request::Request;
use crate::schema::{self, Form};
use serde_json::{Map, Value, json};

/// How deep names and parentheses may be nested.
const DEEPEST: usize = 64;

/// What is wanted of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    fields: Vec<(String, Mask)>,
}

impl Mask {
    /// What a request wants of its answer; refused where no answer to it has that.
    pub fn of(request: &Request) -> Result<Mask, Failure> {
        let said = request.query.iter().find(|(name, _)| name == "fields" || name == "$fields");
        let Some((_, text)) = said.filter(|(_, text)| !text.is_empty()) else { return Ok(Mask::default()) };
        let mask = Mask::parse(text)?;
        // What is no method is refused as that.
        if let Ok((method, _)) = methods::find(request)
            && let Some(path) = mask.unknown(method.api, schema::response(method))
        {
            return Err(no_such_field(method, text, &path));
        }
        Ok(mask)
    }

    /// The path of the first field that is not in what is of this form.
    fn unknown(&self, api: Api, form: &'static Form) -> Option<Vec<&str>> {
        self.fields.iter().find_map(|(name, mask)| match schema::field(api, form, name) {
            None => Some(vec![name.as_str()]),
            Some(inner) => mask.unknown(api, inner).map(|path| [vec![name.as_str()], path].concat()),
        })
    }

    /// Reads the value of a `fields` parameter.
    fn parse(text: &str) -> Result<Mask, Failure> {
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

/// What Google says of a field that is in no answer of a method, in the words of the API's front end.
fn no_such_field(method: &Method, said: &str, path: &[&str]) -> Failure {
    if matches!(method.api, Api::Compute | Api::Dns) {
        let name = path.last().copied().unwrap_or_default();
        return Failure::invalid_parameter("fields", format!("Invalid field selection {name}"));
    }
    let path = path.join(".");
    let description =
        format!("Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'.");
    let mut failure = Failure::bad_request("Request contains an invalid argument.");
    failure.details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{ "field": said, "description": description }],
    })];
    failure
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

    #[test]
    fn what_no_answer_has_is_refused() {
        let refused = |target: &str| {
            let request = Request::new("localhost", crate::Verb::Get, target, Value::Null);
            let api = methods::find(&request).expect("a method").0.api;
            Mask::of(&request).err().map(|failure| failure.body(Some(api)))
        };
        let list = "/compute/v1/projects/p/global/networks?fields=";
        let aggregated = "/compute/v1/projects/p/aggregated/instances?fields=";
        let redis = "/redis/v1/projects/p/locations/l/instances?fields=";
        for good in [
            format!("{list}*"),
            format!("{list}items(name,peerings/name),nextPageToken"),
            format!("{list}items/*/anything"),
            format!("{aggregated}items/*/instances(labels/anything,networkInterfaces/networkIP)"),
            format!("{redis}instances(redisConfigs/maxmemory-policy,host)"),
            "/redis/v1/projects/p/locations/l/operations/o?fields=response/anything/at/all".to_owned(),
        ] {
            assert_eq!(refused(&good), None, "{good}");
        }
        for (bad, name) in [
            (format!("{list}xyz"), "xyz"),
            (format!("{list}nextPageToken,items(name,xyz)"), "xyz"),
            (format!("{list}items/peerings/xyz"), "xyz"),
            // Not of a text.
            (format!("{list}items/name/xyz"), "xyz"),
            (format!("{list}name"), "name"),
            (format!("{aggregated}items/*/networks"), "networks"),
        ] {
            let message = format!("Invalid field selection {name}");
            let expected = json!({ "error": { "code": 400, "message": message, "errors": [{
                "message": message, "domain": "global", "reason": "invalidParameter",
                "location": "fields", "locationType": "parameter",
            }] } });
            assert_eq!(refused(&bad), Some(expected), "{bad}");
        }
        let error = refused(&format!("{redis}instances/host,instances(tier,xyz)")).expect("refused");
        let expected = json!({
            "field": "instances/host,instances(tier,xyz)",
            "description":
                "Error expanding 'fields' parameter. Cannot find matching fields for path 'instances.xyz'.",
        });
        assert_eq!(error["error"]["details"][0]["fieldViolations"][0], expected, "{error}");
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
