//! Requests and answers against Google's message schemas.
//!
//! [`normalise`] takes a body as clients may send it and makes it what Google's server would have read: names in
//! camel case, enums as strings (clients with `enum-encoding=int` send numbers), 64-bit numbers as strings, no nulls.
//! What no such message has is refused with the message that Google's front end gives.

use crate::failure::Failure;
use crate::methods::{Api, Method};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static SCHEMAS: LazyLock<BTreeMap<Api, Value>> = LazyLock::new(|| {
    let text = |api| match api {
        Api::Compute => include_str!("../google/compute.v1.schema.json"),
        Api::ResourceManagerV1 => include_str!("../google/cloudresourcemanager.v1.schema.json"),
        Api::ResourceManagerV2 => include_str!("../google/cloudresourcemanager.v2.schema.json"),
        Api::ResourceManagerV3 => include_str!("../google/cloudresourcemanager.v3.schema.json"),
        Api::ServiceUsage => include_str!("../google/serviceusage.v1.schema.json"),
        Api::Redis => include_str!("../google/redis.v1.schema.json"),
        Api::Dns => include_str!("../google/dns.v1.schema.json"),
        Api::ServiceNetworking => include_str!("../google/servicenetworking.v1.schema.json"),
    };
    // A schema that does not parse is found by the first test of any kind.
    Api::ALL.into_iter().map(|api| (api, serde_json::from_str(text(api)).unwrap_or_default())).collect()
});

/// Fields that Google's server reads and the discovery document does not have: API, message, field, schema of the value.
/// Source: the google provider for Terraform, version 7, sends the first with every routing mode
/// (`resourceComputeNetworkEncoder`), the second, which is empty, with every gateway of Cloud NAT, and the others with every rule and association of a hierarchical firewall policy.
static UNDOCUMENTED: LazyLock<[(Api, &str, &str, Value); 4]> = LazyLock::new(|| {
    let text = || json!({ "type": "string" });
    [
        (Api::Compute, "NetworkRoutingConfig", "deleteBgpAlwaysCompareMed", json!({ "type": "boolean" })),
        (Api::Compute, "RouterNat", "initialNatIps", json!({ "type": "array", "items": text() })),
        (Api::Compute, "FirewallPolicyRule", "firewallPolicy", text()),
        (Api::Compute, "FirewallPolicyAssociation", "firewallPolicy", text()),
    ]
});

/// The deepest that a body may be nested.
const MAX_DEPTH: usize = 40;

/// The bundle of an API's schemas, as a JSON Schema document with `$defs`.
pub fn bundle(api: Api) -> &'static Value {
    static NONE: Value = Value::Null;
    SCHEMAS.get(&api).unwrap_or(&NONE)
}

fn definition(api: Api, name: &str) -> Option<&'static Value> {
    bundle(api).get("$defs")?.get(name)
}

/// The schema that another one refers to, or itself.
fn resolve(api: Api, schema: &'static Value) -> &'static Value {
    let name = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.and_then(|name| definition(api, name)).unwrap_or(schema)
}

/// The schema of the messages that a method answers with; one of anything where that is not known.
pub(crate) fn response(method: &Method) -> &'static Value {
    method.response.and_then(|name| definition(method.api, name)).unwrap_or(&Value::Null)
}

/// The schema of a field of what `schema` is of; of each item of a list. `None` if there is no such field.
pub(crate) fn field(api: Api, schema: &'static Value, name: &str) -> Option<&'static Value> {
    let schema = resolve(api, schema);
    match (schema["type"].as_str(), schema["properties"].as_object()) {
        (Some("array"), _) => field(api, &schema["items"], name),
        // Each of them has a schema of its own.
        (Some("object"), Some(_)) if name == "*" => Some(&Value::Null),
        (Some("object"), Some(properties)) => properties.get(name),
        (Some("object"), None) => Some(&schema["additionalProperties"]),
        (Some(_), _) => None,
        (None, _) => Some(&Value::Null),
    }
}

/// Makes `body` a proper message of type `name`, or says why it is none.
pub(crate) fn normalise(api: Api, name: &str, body: &Value) -> Result<Value, Failure> {
    let schema =
        definition(api, name).ok_or_else(|| Failure::unsupported(format_args!("the message '{name}'")))?;
    let mut reader = Reader { api, path: Vec::new(), violations: Vec::new() };
    let value = reader.value(schema, body);
    if reader.violations.is_empty() { Ok(value.unwrap_or_else(|| json!({}))) } else { Err(reader.failure()) }
}

struct Reader {
    api: Api,
    path: Vec<String>,
    violations: Vec<(String, String)>,
}

impl Reader {
    /// The value as its schema wants it; `None` when it is null, which is as good as absent.
    fn value(&mut self, schema: &'static Value, value: &Value) -> Option<Value> {
        let schema = resolve(self.api, schema);
        if value.is_null() {
            return None;
        }
        if self.path.len() > MAX_DEPTH {
            self.wrong("a message that is not nested so deeply", value);
            return None;
        }
        if let Some(names) = schema["enum"].as_array() {
            return self.enumeration(names, value);
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(map)) => Some(self.object(schema, map)),
            (Some("array"), Value::Array(items)) => Some(self.array(schema, items)),
            (Some("string"), Value::String(_)) if schema.get("pattern").is_none() => Some(value.clone()),
            (Some("string"), _) if schema.get("pattern").is_some() => self.int64(value),
            (Some("boolean"), Value::Bool(_)) => Some(value.clone()),
            (Some("integer"), _) => self.int32(value),
            (Some("number"), Value::Number(_)) => Some(value.clone()),
            (Some("number"), Value::String(text)) if text.parse::<f64>().is_ok() => {
                text.parse::<f64>().ok().map(|number| json!(number))
            }
            (None, _) => Some(value.clone()),
            (Some(wanted), _) => {
                self.wrong(wanted, value);
                None
            }
        }
    }

    fn object(&mut self, schema: &'static Value, map: &Map<String, Value>) -> Value {
        let mut out = Map::new();
        for (name, value) in map {
            let (properties, others) = (&schema["properties"], &schema["additionalProperties"]);
            let camel = camel_case(name);
            let known = [name, &camel].into_iter().find_map(|name| Some((name, properties.get(name)?)));
            let known = known.or_else(|| Some((name, self.undocumented(schema, name)?)));
            let (name, schema) = match known {
                Some(field) => field,
                None if others.is_object() => (name, others),
                // A map of anything.
                None if properties.is_null() && others.as_bool() != Some(false) => (name, others),
                None => {
                    self.unknown(name);
                    continue;
                }
            };
            self.path.push(name.clone());
            if let Some(value) = self.value(schema, value) {
                out.insert(name.clone(), value);
            }
            self.path.pop();
        }
        Value::Object(out)
    }

    /// The schema of a field of a message that is not in its own.
    fn undocumented(&self, message: &Value, field: &str) -> Option<&'static Value> {
        let is_here = |api: Api, name: &str| {
            api == self.api && definition(api, name).is_some_and(|found| std::ptr::eq(found, message))
        };
        let found = UNDOCUMENTED.iter().find(|(api, name, known, _)| *known == field && is_here(*api, name));
        found.map(|(.., schema)| schema)
    }

    fn array(&mut self, schema: &'static Value, items: &[Value]) -> Value {
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            self.path.push(format!("[{index}]"));
            out.extend(self.value(&schema["items"], item));
            self.path.pop();
        }
        Value::Array(out)
    }

    fn enumeration(&mut self, names: &[Value], value: &Value) -> Option<Value> {
        // Compute takes an enum's empty name for none: Terraform's provider sends it for what nobody said.
        if self.api == Api::Compute && *value == json!("") {
            return None;
        }
        let names = || names.iter().filter_map(Value::as_str);
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
            if !place.is_empty() && !part.starts_with('[') {
                place.push('.');
            }
            place.push_str(part);
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
        let firewall = |body| normalise(Api::Compute, "Firewall", &body);
        assert_eq!(
            firewall(
                json!({ "direction": 432880501, "priority": "7", "id": 12, "name": null, "source_ranges": [] })
            ),
            Ok(json!({ "direction": "EGRESS", "priority": 7, "id": "12", "sourceRanges": [] })),
        );
        assert_eq!(firewall(json!({ "direction": "" })), Ok(json!({})));
        let redis = |body| normalise(Api::Redis, "Instance", &body);
        assert!(redis(json!({ "tier": "" })).is_err());
        assert_eq!(
            redis(json!({ "tier": 3, "memory_size_gb": 1, "labels": { "a_b": "c" } })),
            Ok(json!({ "tier": "STANDARD_HA", "memorySizeGb": 1, "labels": { "a_b": "c" } })),
        );
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
