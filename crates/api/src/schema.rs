//! Requests and answers against Google's message schemas.
//!
//! [`normalise`] takes a body as clients may send it and makes it what Google's server would have read: names in
//! camel case, enums as strings (clients with `enum-encoding=int` send numbers), 64-bit numbers as strings, no nulls:
//! where a null says something, in what changes a resource, one asks which fields were null.
//! What no such message has is refused with the message that Google's front end gives.

use crate::failure::Failure;
use crate::methods::{Api, Method};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

/// Fields that Google's server reads and the discovery document does not have: API, message, field, schema of the value.
/// Source: the google provider for Terraform, version 7, sends the first with every routing mode
/// (`resourceComputeNetworkEncoder`), the second, which is empty, with every gateway of Cloud NAT, and the others with every rule and association of a hierarchical firewall policy.
fn undocumented() -> [(Api, &'static str, &'static str, Form); 5] {
    [
        (Api::Compute, "Network", "fingerprint", Form::Text),
        (Api::Compute, "NetworkRoutingConfig", "deleteBgpAlwaysCompareMed", Form::Boolean),
        (Api::Compute, "RouterNat", "initialNatIps", Form::List(Box::new(Form::Text))),
        (Api::Compute, "FirewallPolicyRule", "firewallPolicy", Form::Text),
        (Api::Compute, "FirewallPolicyAssociation", "firewallPolicy", Form::Text),
    ]
}

/// The deepest that a body may be nested.
const MAX_DEPTH: usize = 40;

/// The bundle of an API's schemas, as a JSON Schema document with `$defs`.
pub fn bundle(api: Api) -> Value {
    let text = match api {
        Api::Compute => include_str!("../google/compute.v1.schema.json"),
        Api::ResourceManagerV1 => include_str!("../google/cloudresourcemanager.v1.schema.json"),
        Api::ResourceManagerV2 => include_str!("../google/cloudresourcemanager.v2.schema.json"),
        Api::ResourceManagerV3 => include_str!("../google/cloudresourcemanager.v3.schema.json"),
        Api::ServiceUsage => include_str!("../google/serviceusage.v1.schema.json"),
        Api::Redis => include_str!("../google/redis.v1.schema.json"),
        Api::Dns => include_str!("../google/dns.v1.schema.json"),
        Api::ServiceNetworking => include_str!("../google/servicenetworking.v1.schema.json"),
        Api::CloudBilling => include_str!("../google/cloudbilling.v1.schema.json"),
    };
    // A schema that does not parse is found by the first test of any kind.
    serde_json::from_str(text).unwrap_or_default()
}

/// What a schema says of a value, read once.
#[derive(Debug)]
pub(crate) enum Form {
    /// Anything.
    Any,
    /// One of these names.
    OneOf(Vec<String>),
    /// An object.
    Object(Object),
    /// An array of these.
    List(Box<Form>),
    /// The message of this name.
    Message(String),
    /// Text.
    Text,
    /// A whole number in text.
    Int64,
    Boolean,
    /// A whole number.
    Int32,
    Number,
}

/// What an object may have.
#[derive(Debug)]
pub(crate) struct Object {
    fields: HashMap<String, Form>,
    /// What fields of other names are, if there may be any.
    others: Option<Box<Form>>,
}

/// The messages of an API, by name.
type Messages = HashMap<String, Form>;

impl Form {
    /// What the schema of a message's field, or of a part of it, says.
    fn of(schema: &Value) -> Form {
        if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
            return Form::Message(name.to_owned());
        }
        if let Some(names) = schema["enum"].as_array() {
            return Form::OneOf(names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
        match schema["type"].as_str() {
            Some("object") => Form::Object(Object::of(schema)),
            Some("array") => Form::List(Box::new(Form::of(&schema["items"]))),
            Some("string") if schema.get("pattern").is_some() => Form::Int64,
            Some("string") => Form::Text,
            Some("boolean") => Form::Boolean,
            Some("integer") => Form::Int32,
            Some("number") => Form::Number,
            _ => Form::Any,
        }
    }
}

impl Object {
    fn of(schema: &Value) -> Object {
        let (properties, others) = (schema["properties"].as_object(), &schema["additionalProperties"]);
        let others = match others {
            Value::Object(_) => Some(Form::of(others)),
            Value::Bool(false) => None,
            _ => properties.is_none().then_some(Form::Any),
        };
        let fields = properties.into_iter().flatten();
        let fields = fields.map(|(name, schema)| (name.clone(), Form::of(schema))).collect();
        Object { fields, others: others.map(Box::new) }
    }
}

/// The messages of an API.
fn messages(api: Api) -> &'static Messages {
    static MESSAGES: [OnceLock<Messages>; Api::ALL.len()] = [const { OnceLock::new() }; Api::ALL.len()];
    let read = || {
        let bundle = bundle(api);
        let all = bundle["$defs"].as_object().into_iter().flatten();
        let mut messages: Messages = all.map(|(name, schema)| (name.clone(), Form::of(schema))).collect();
        for (of, message, field, form) in undocumented() {
            if let Some(Form::Object(object)) = messages.get_mut(message).filter(|_| of == api) {
                object.fields.insert(field.to_owned(), form);
            }
        }
        messages
    };
    MESSAGES[api as usize].get_or_init(read)
}

/// What a method answers with; anything where that is not known.
pub(crate) fn response(method: &Method) -> &'static Form {
    method.response.and_then(|name| messages(method.api).get(name)).unwrap_or(&Form::Any)
}

/// A field of what is of this form; of each item of a list. `None` if there is no such field.
pub(crate) fn field(api: Api, form: &'static Form, name: &str) -> Option<&'static Form> {
    match form {
        Form::Message(message) => field(api, messages(api).get(message)?, name),
        Form::List(item) => field(api, item, name),
        // Each of them has a form of its own.
        Form::Object(object) if name == "*" && !object.fields.is_empty() => Some(&Form::Any),
        Form::Object(object) => object.fields.get(name).or(object.others.as_deref()),
        Form::Any => Some(form),
        _ => None,
    }
}

/// Makes `body` a proper message of type `name`, or says why it is none; and the paths of its fields that are null,
/// such as `logConfig.metadata`. Items of lists have no such paths.
pub(crate) fn normalise(api: Api, name: &str, body: &Value) -> Result<(Value, BTreeSet<String>), Failure> {
    let messages = messages(api);
    let form =
        messages.get(name).ok_or_else(|| Failure::unsupported(format_args!("the message '{name}'")))?;
    let mut reader =
        Reader { api, messages, path: Vec::new(), violations: Vec::new(), nulls: BTreeSet::new() };
    let value = reader.value(form, body);
    if !reader.violations.is_empty() {
        return Err(reader.failure());
    }
    Ok((value.unwrap_or_else(|| json!({})), reader.nulls))
}

struct Reader<'b> {
    api: Api,
    messages: &'static Messages,
    path: Vec<Part<'b>>,
    violations: Vec<(String, String)>,
    nulls: BTreeSet<String>,
}

/// Where a reader goes in.
enum Part<'b> {
    Field(&'b str),
    Item(usize),
}

impl<'b> Reader<'b> {
    /// The value as its schema wants it; `None` when it is null, which is as good as absent.
    fn value(&mut self, form: &'static Form, value: &'b Value) -> Option<Value> {
        if value.is_null() {
            self.nulls.insert(self.place());
            return None;
        }
        if self.path.len() > MAX_DEPTH {
            self.wrong("a message that is not nested so deeply", value);
            return None;
        }
        let form = match form {
            Form::Message(name) => self.messages.get(name).unwrap_or(form),
            form => form,
        };
        let wanted = match (form, value) {
            (Form::OneOf(names), _) => return self.enumeration(names, value),
            (Form::Object(object), Value::Object(map)) => return Some(self.object(object, map)),
            (Form::List(item), Value::Array(items)) => return Some(self.array(item, items)),
            (Form::Int64, _) => return self.int64(value),
            (Form::Int32, _) => return self.int32(value),
            (Form::Any | Form::Message(_), _)
            | (Form::Text, Value::String(_))
            | (Form::Boolean, Value::Bool(_))
            | (Form::Number, Value::Number(_)) => return Some(value.clone()),
            (Form::Number, Value::String(text)) if text.parse::<f64>().is_ok() => {
                return text.parse::<f64>().ok().map(|number| json!(number));
            }
            (Form::Object(_), _) => "object",
            (Form::List(_), _) => "array",
            (Form::Text, _) => "string",
            (Form::Boolean, _) => "boolean",
            (Form::Number, _) => "number",
        };
        self.wrong(wanted, value);
        None
    }

    fn object(&mut self, object: &'static Object, map: &'b Map<String, Value>) -> Value {
        let mut out = Map::new();
        for (name, value) in map {
            let known = object.fields.get_key_value(name);
            let known = known.or_else(|| object.fields.get_key_value(&camel_case(name)));
            let Some((name, form)) = known.or_else(|| Some((name, object.others.as_deref()?))) else {
                self.unknown(name);
                continue;
            };
            self.path.push(Part::Field(name));
            if let Some(value) = self.value(form, value) {
                out.insert(name.clone(), value);
            }
            self.path.pop();
        }
        Value::Object(out)
    }

    fn array(&mut self, item: &'static Form, items: &'b [Value]) -> Value {
        let mut out = Vec::new();
        for (index, value) in items.iter().enumerate() {
            self.path.push(Part::Item(index));
            match value {
                // A list among what is no list stands for its items: Terraform's provider sends the rules that every
                // policy has so, among those that somebody said.
                Value::Array(inner) if !matches!(item, Form::List(_) | Form::Any) => {
                    if let Value::Array(inner) = self.array(item, inner) {
                        out.extend(inner);
                    }
                }
                value => out.extend(self.value(item, value)),
            }
            self.path.pop();
        }
        Value::Array(out)
    }

    fn enumeration(&mut self, names: &'static [String], value: &Value) -> Option<Value> {
        // Compute takes an enum's empty name for none: Terraform's provider sends it for what nobody said.
        if self.api == Api::Compute && *value == json!("") {
            return None;
        }
        let names = || names.iter().map(String::as_str);
        let found = match value {
            Value::String(text) => names().find(|name| name == text),
            Value::Number(number) => {
                let mut numbered = names().enumerate();
                let is = |(index, name): &(usize, &str)| {
                    number.as_u64() == Some(enum_number(self.api, *index, name))
                };
                numbered.find(is).map(|(_, name)| name)
            }
            _ => None,
        };
        if found.is_none() {
            let all: Vec<&str> = names().collect();
            self.wrong(&format!("one of {}", all.join(", ")), value);
        }
        found.map(Value::from)
    }

    fn int64(&mut self, value: &Value) -> Option<Value> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        if text.parse::<i128>().is_ok() {
            return Some(Value::String(text));
        }
        self.wrong("a whole number", value);
        None
    }

    fn int32(&mut self, value: &Value) -> Option<Value> {
        let number = match value {
            Value::String(text) => text.parse().ok(),
            // 3.0 is a whole number in JSON.
            Value::Number(number) => {
                number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64))
            }
            _ => None,
        };
        if let Some(number) = number.and_then(|number| i32::try_from(number).ok()) {
            return Some(json!(number));
        }
        self.wrong("a 32-bit whole number", value);
        None
    }

    /// Where the reader is, as Google writes it: `network_interfaces[0].name`, in the names of the message.
    fn place(&self) -> String {
        let mut place = String::new();
        for part in &self.path {
            match part {
                Part::Item(index) => place.push_str(&format!("[{index}]")),
                Part::Field(name) if place.is_empty() => place.push_str(name),
                Part::Field(name) => place.push_str(&format!(".{name}")),
            }
        }
        place
    }

    fn unknown(&mut self, name: &str) {
        let place = self.place();
        let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
        let text = format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
        self.violations.push((place, text));
    }

    fn wrong(&mut self, wanted: &str, value: &Value) {
        let place = self.place();
        let text = format!("Invalid value at '{place}' (expected {wanted}), {value}");
        self.violations.push((place, text));
    }

    fn failure(self) -> Failure {
        let messages: Vec<&str> = self.violations.iter().map(|(_, text)| text.as_str()).collect();
        let mut failure = Failure::bad_request(messages.join("\n"));
        let fields: Vec<Value> = self
            .violations
            .iter()
            .map(|(field, text)| match field.is_empty() {
                true => json!({ "description": text }),
                false => json!({ "field": field, "description": text }),
            })
            .collect();
        failure.details =
            vec![json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": fields })];
        failure
    }
}

fn camel_case(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if std::mem::take(&mut upper) => out.extend(c.to_uppercase()),
            c => out.push(c),
        }
    }
    out
}

/// Numbers that the order in discovery does not tell, because the message has gaps in them.
/// Source: google/cloud/redis/v1/cloud_redis.proto.
const GAPS: &[(&str, u64)] = &[("STANDARD_HA", 3), ("READ_REPLICAS_ENABLED", 2)];

/// The number of an enum's value. Compute's clients number values by a hash of the name (Java's `hashCode`, 29 bits,
/// as the generator of their protos does); in the other APIs it is the place in the list.
fn enum_number(api: Api, index: usize, name: &str) -> u64 {
    if api == Api::Compute {
        let hash = name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        return u64::from(hash & 0x1fff_ffff);
    }
    GAPS.iter().find(|(gap, _)| *gap == name).map_or(index as u64, |(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_become_what_google_reads() {
        let firewall = |body| normalise(Api::Compute, "Firewall", &body).map(|(body, _)| body);
        assert_eq!(
            firewall(
                json!({ "direction": 432880501, "priority": "7", "id": 12, "name": null, "source_ranges": [] })
            ),
            Ok(json!({ "direction": "EGRESS", "priority": 7, "id": "12", "sourceRanges": [] })),
        );
        assert_eq!(firewall(json!({ "direction": "" })), Ok(json!({})));
        let redis = |body| normalise(Api::Redis, "Instance", &body).map(|(body, _)| body);
        assert!(redis(json!({ "tier": "" })).is_err());
        assert_eq!(
            redis(json!({ "tier": 3, "memory_size_gb": 1, "labels": { "a_b": "c" } })),
            Ok(json!({ "tier": "STANDARD_HA", "memorySizeGb": 1, "labels": { "a_b": "c" } })),
        );
    }

    #[test]
    fn nulls_are_told_by_their_paths() {
        let body = json!({ "target_tags": null, "logConfig": { "metadata": null, "enable": true } });
        let (read, nulls) = normalise(Api::Compute, "Firewall", &body).expect("a firewall rule");
        assert_eq!(read, json!({ "logConfig": { "enable": true } }));
        assert_eq!(nulls.into_iter().collect::<Vec<_>>(), ["logConfig.metadata", "targetTags"]);
    }

    #[test]
    fn what_no_message_has_is_refused_in_googles_words() {
        let message = |api, name, body| normalise(api, name, &body).expect_err("refused").message;
        assert_eq!(
            message(Api::Compute, "Network", json!({ "nonsense": 1 })),
            "Invalid JSON payload received. Unknown name \"nonsense\": Cannot find field."
        );
        assert_eq!(
            message(Api::Compute, "Network", json!({ "deleteBgpAlwaysCompareMed": true })),
            "Invalid JSON payload received. Unknown name \"deleteBgpAlwaysCompareMed\": Cannot find field."
        );
        assert_eq!(
            message(Api::Compute, "Firewall", json!({ "allowed": [{ "proto": "tcp" }] })),
            "Invalid JSON payload received. Unknown name \"proto\" at 'allowed[0]': Cannot find field."
        );
        for (body, place) in [
            (json!({ "direction": "UP" }), "'direction'"),
            (json!({ "direction": 5 }), "'direction'"),
            (json!({ "direction": -1 }), "'direction'"),
            (json!({ "priority": 1.5 }), "'priority'"),
            (json!({ "priority": 4294967296u64 }), "'priority'"),
            (json!({ "allowed": {} }), "'allowed'"),
            (json!({ "disabled": "true" }), "'disabled'"),
        ] {
            let text = message(Api::Compute, "Firewall", body);
            assert!(text.starts_with(&format!("Invalid value at {place} (expected ")), "{text}");
        }
        let mut deep = json!({});
        (0..200).for_each(|_| deep = json!({ "a": deep.clone() }));
        assert!(normalise(Api::Compute, "Network", &deep).is_err());
    }
}
