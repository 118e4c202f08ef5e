//! Google's gRPC methods as the REST ones that they are.
//!
//! ```text
//!   /google.cloud.redis.v1.CloudRedis/GetInstance          GET /v1/projects/p/locations/r/instances/i
//!   message ─▶ JSON ─▶ the method's google.api.http ─▶ Request ─▶ answer ─▶ JSON ─▶ message
//! ```
//!
//! Sources: google/api/http.proto for how a message becomes a path, a query and a body; the services' own .proto
//! files, compiled into `google/grpc.binpb` by `e2e/clients/descriptors.sh`.

use crate::failure::Failure;
use crate::request::{Request, Verb};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor,
};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!("../google/grpc.binpb");
    DescriptorPool::decode(bytes).unwrap_or_default()
});

/// What a segment of a path may have as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// The type of no answer.
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

/// Where APIs bind the methods of services that they share elsewhere than these services do themselves. Source: the
/// `http` rules of redis_v1.yaml and serviceusage_v1.yaml in googleapis.
const SHARED: &[(&str, Verb, &[&str])] = &[
    (
        "google.longrunning.Operations.GetOperation",
        Verb::Get,
        &["/v1/{name=operations/*}", "/v1/{name=projects/*/locations/*/operations/*}"],
    ),
    (
        "google.longrunning.Operations.ListOperations",
        Verb::Get,
        &["/v1/{name=projects/*/locations/*}/operations", "/v1/{name=operations}"],
    ),
    (
        "google.longrunning.Operations.DeleteOperation",
        Verb::Delete,
        &["/v1/{name=operations/*}", "/v1/{name=projects/*/locations/*/operations/*}"],
    ),
    (
        "google.longrunning.Operations.CancelOperation",
        Verb::Post,
        &["/v1/{name=operations/*}:cancel", "/v1/{name=projects/*/locations/*/operations/*}:cancel"],
    ),
    ("google.cloud.location.Locations.GetLocation", Verb::Get, &["/v1/{name=projects/*/locations/*}"]),
    ("google.cloud.location.Locations.ListLocations", Verb::Get, &["/v1/{name=projects/*}/locations"]),
];

/// How a method is bound to a REST one.
#[derive(Clone, Debug, PartialEq)]
struct Binding {
    verb: Verb,
    template: String,
    /// The field that is the body, `*` for all that is not in the path, or empty for none.
    body: String,
}

/// A method.
#[derive(Clone, Debug)]
pub struct Rpc {
    method: MethodDescriptor,
}

impl Rpc {
    /// The method of a request's path, `/SERVICE/METHOD`.
    pub fn find(path: &str) -> Result<Rpc, Failure> {
        let (service, name) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        let method = POOL
            .get_service_by_name(service)
            .and_then(|service| service.methods().find(|method| method.name() == name))
            .filter(|method| !method.is_client_streaming() && !method.is_server_streaming());
        let unknown = || Failure::unsupported(format_args!("the gRPC method '{path}'"));
        method.map(|method| Rpc { method }).ok_or_else(unknown)
    }

    /// The REST request that a message is. `host` is the one that the client meant, which says whose a method is
    /// that several APIs share.
    pub fn request(&self, host: &str, message: &[u8]) -> Result<Request, Failure> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::bad_request(format!("Invalid message of '{}': {why}.", self.method.full_name()))
        };
        let message = DynamicMessage::decode(self.method.input(), message).map_err(|error| wrong(&error))?;
        if let Some(number) = unknown(&message) {
            return Err(wrong(&format_args!("the field with number {number} is not known")));
        }
        let fields = serde_json::to_value(&message).map_err(|error| wrong(&error))?;
        let Value::Object(mut fields) = fields else { return Err(wrong(&"it is no object")) };
        let bindings = self.bindings();
        let mut bound = bindings
            .iter()
            .filter_map(|binding| Some((binding, expand(&binding.template, &self.method.input(), &fields)?)));
        let (binding, (path, used)) = bound.next().ok_or_else(|| match bindings.first() {
            Some(binding) => wrong(&format_args!("it does not match '{}'", binding.template)),
            None => Failure::unsupported(format_args!("the gRPC method '{}'", self.method.full_name())),
        })?;
        for name in used {
            fields.remove(&name);
        }
        let body = match binding.body.as_str() {
            "" => Value::Null,
            "*" => Value::Object(std::mem::take(&mut fields)),
            field => fields.remove(&json_name(&self.method.input(), field)).unwrap_or_else(|| json!({})),
        };
        let mut query = Vec::new();
        flatten("", &Value::Object(fields), &mut query);
        let own = option(&self.method.parent_service().options(), "google.api.default_host");
        let own = own.as_ref().and_then(|own| own.as_str()).filter(|_| self.shared().is_none());
        let host = own.unwrap_or(host).to_owned();
        Ok(Request { host, verb: binding.verb, path, query, body })
    }

    /// The message that an answer is. What this protocol's message does not have is left out.
    pub fn response(&self, answer: &Value) -> Result<Vec<u8>, Failure> {
        encode(self.method.output(), answer)
            .map_err(|error| Failure::backend_error(format_args!("{}: {error}", self.method.full_name())))
    }

    fn shared(&self) -> Option<&'static (&'static str, Verb, &'static [&'static str])> {
        SHARED.iter().find(|(shared, ..)| *shared == self.method.full_name())
    }

    fn bindings(&self) -> Vec<Binding> {
        if let Some((_, verb, templates)) = self.shared() {
            let body = if *verb == Verb::Post { "*" } else { "" };
            let binding =
                |template: &&str| Binding { verb: *verb, template: (*template).into(), body: body.into() };
            return templates.iter().map(binding).collect();
        }
        let rule = option(&self.method.options(), "google.api.http");
        let Some(rule) = rule.as_ref().and_then(|rule| rule.as_message()) else { return Vec::new() };
        let more = rule.get_field_by_name("additional_bindings");
        let more = more.as_ref().and_then(|more| more.as_list()).unwrap_or_default();
        let rules = std::iter::once(rule).chain(more.iter().filter_map(|rule| rule.as_message()));
        rules.filter_map(binding).collect()
    }
}

/// `google.rpc.Status` of a failure, as `grpc-status-details-bin` has it.
pub fn status(failure: &Failure) -> Vec<u8> {
    let mut status = json!({ "code": failure.rpc_code(), "message": failure.message });
    if !failure.details.is_empty() {
        status["details"] = json!(failure.details);
    }
    let descriptor = POOL.get_message_by_name("google.rpc.Status");
    descriptor.and_then(|descriptor| encode(descriptor, &status).ok()).unwrap_or_default()
}

fn encode(descriptor: MessageDescriptor, value: &Value) -> Result<Vec<u8>, serde_json::Error> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut value = value.clone();
    fill_empty(&mut value);
    let message = DynamicMessage::deserialize_with_options(descriptor, value, &options)?;
    Ok(message.encode_to_vec())
}

/// Google's own `Empty` in an `Any` has no value in JSON, and prost-reflect wants one.
fn fill_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("@type").and_then(Value::as_str) == Some(EMPTY) {
                fields.entry("value").or_insert_with(|| json!({}));
            }
            fields.values_mut().for_each(fill_empty);
        }
        Value::Array(values) => values.iter_mut().for_each(fill_empty),
        _ => {}
    }
}

/// An extension among options, if it is set.
fn option(options: &DynamicMessage, name: &str) -> Option<prost_reflect::Value> {
    let extension = POOL.get_extension_by_name(name)?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

fn binding(rule: &DynamicMessage) -> Option<Binding> {
    let text = |field: &str| {
        let value = rule.get_field_by_name(field)?;
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let verbs = [
        ("get", Verb::Get),
        ("put", Verb::Put),
        ("post", Verb::Post),
        ("delete", Verb::Delete),
        ("patch", Verb::Patch),
    ];
    let (verb, template) = verbs.into_iter().find_map(|(field, verb)| Some((verb, text(field)?)))?;
    Some(Binding { verb, template, body: text("body").unwrap_or_default() })
}

/// The path that a template is with a message's fields, and those of them that are used up; `None` if they do not
/// match.
fn expand(
    template: &str,
    message: &MessageDescriptor,
    fields: &Map<String, Value>,
) -> Option<(String, Vec<String>)> {
    let (mut path, mut used) = (String::new(), Vec::new());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, after) = after.split_once('}')?;
        rest = after;
        path += before;
        let (name, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
        let names = json_names(message, name);
        let (first, deeper) = names.split_first()?;
        let value = deeper.iter().try_fold(fields.get(first)?, |value, name| value.get(name))?.as_str()?;
        let (want, have): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), value.split('/').collect());
        let same = |(want, have): (&&str, &&str)| *want == "*" && !have.is_empty() || want == have;
        if want.len() != have.len() || !want.iter().zip(&have).all(same) {
            return None;
        }
        let segments: Vec<_> =
            have.iter().map(|segment| utf8_percent_encode(segment, PLAIN).to_string()).collect();
        path += &segments.join("/");
        // A field of a field stays in the body, as in a client's REST request.
        if deeper.is_empty() {
            used.push(first.clone());
        }
    }
    Some((path + rest, used))
}

/// The names that a path of fields has in JSON.
fn json_names(message: &MessageDescriptor, path: &str) -> Vec<String> {
    let mut message = Some(message.clone());
    let name = |name: &str| {
        let field = message.as_ref().and_then(|message| message.get_field_by_name(name));
        message = match field.as_ref().map(|field| field.kind()) {
            Some(Kind::Message(inner)) => Some(inner),
            _ => None,
        };
        field.map_or_else(|| name.to_owned(), |field| field.json_name().to_owned())
    };
    path.split('.').map(name).collect()
}

fn json_name(message: &MessageDescriptor, name: &str) -> String {
    json_names(message, name).concat()
}

/// Fields as parameters of a query, those of fields with dots.
fn flatten(prefix: &str, value: &Value, query: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&name, value, query);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| flatten(prefix, value, query)),
        Value::Null => {}
        Value::String(text) => query.push((prefix.to_owned(), text.clone())),
        other => query.push((prefix.to_owned(), other.to_string())),
    }
}

/// The number of a field that a message or one inside it has, and its descriptor does not.
fn unknown(message: &DynamicMessage) -> Option<u32> {
    fn inside(value: &prost_reflect::Value) -> Option<u32> {
        match value {
            prost_reflect::Value::Message(message) => unknown(message),
            prost_reflect::Value::List(values) => values.iter().find_map(inside),
            prost_reflect::Value::Map(values) => values.values().find_map(inside),
            _ => None,
        }
    }
    let own = message.unknown_fields().next().map(|field| field.number());
    own.or_else(|| message.fields().find_map(|(_, value)| inside(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as its client sends it.
    fn message(rpc: &Rpc, value: Value) -> Vec<u8> {
        encode(rpc.method.input(), &value).expect("a message")
    }

    fn request(path: &str, value: Value) -> Result<Request, Failure> {
        let rpc = Rpc::find(path)?;
        rpc.request("here", &message(&rpc, value))
    }

    #[test]
    fn a_message_is_a_rest_request() {
        let instance = json!({ "tier": "BASIC", "memorySizeGb": 1, "labels": { "a": "b" } });
        let create = json!({ "parent": "projects/p/locations/r", "instanceId": "i", "instance": instance });
        let made = request("/google.cloud.redis.v1.CloudRedis/CreateInstance", create).expect("a request");
        assert_eq!((made.host.as_str(), made.verb), ("redis.googleapis.com", Verb::Post));
        assert_eq!(made.path, "/v1/projects/p/locations/r/instances");
        assert_eq!(made.query, [("instanceId".to_owned(), "i".to_owned())]);
        assert_eq!(made.body, instance);

        let named = json!({ "name": "projects/p/locations/r/instances/i", "displayName": "d" });
        let update = json!({ "updateMask": "displayName,labels", "instance": named });
        let made = request("/google.cloud.redis.v1.CloudRedis/UpdateInstance", update).expect("a request");
        assert_eq!((made.verb, made.path.as_str()), (Verb::Patch, "/v1/projects/p/locations/r/instances/i"));
        assert_eq!(made.query, [("updateMask".to_owned(), "displayName,labels".to_owned())]);
        assert_eq!(made.body, named);

        let list = json!({ "parent": "projects/p", "filter": "state:ENABLED", "pageSize": 7 });
        let made = request("/google.api.serviceusage.v1.ServiceUsage/ListServices", list);
        let made = made.expect("a request");
        assert_eq!(made.path, "/v1/projects/p/services");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(made.query, [pair("filter", "state:ENABLED"), pair("pageSize", "7")]);

        let enable = json!({ "name": "projects/p/services/redis.googleapis.com" });
        let made = request("/google.api.serviceusage.v1.ServiceUsage/EnableService", enable);
        let made = made.expect("a request");
        assert_eq!(made.path, "/v1/projects/p/services/redis.googleapis.com:enable");
        assert_eq!((made.verb, made.body), (Verb::Post, json!({})));
    }

    #[test]
    fn methods_that_are_shared_are_the_hosts() {
        for (method, name, path) in [
            (
                "GetOperation",
                "projects/p/locations/r/operations/o",
                "/v1/projects/p/locations/r/operations/o",
            ),
            ("GetOperation", "operations/o", "/v1/operations/o"),
            ("ListOperations", "projects/p/locations/r", "/v1/projects/p/locations/r/operations"),
        ] {
            let made = request(&format!("/google.longrunning.Operations/{method}"), json!({ "name": name }));
            let made = made.expect("a request");
            assert_eq!((made.host.as_str(), made.path.as_str()), ("here", path));
        }
        let list = request("/google.cloud.location.Locations/ListLocations", json!({ "name": "projects/p" }));
        assert_eq!(list.expect("a request").path, "/v1/projects/p/locations");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let get = "/google.cloud.redis.v1.CloudRedis/GetInstance";
        for (path, value, code) in [
            (get, json!({}), 400),
            (get, json!({ "name": "projects/p/locations/r" }), 400),
            (get, json!({ "name": "projects/p/locations//instances/i" }), 400),
            ("/google.cloud.redis.v1.CloudRedis/Nonsense", json!({}), 501),
            ("/nonsense", json!({}), 501),
        ] {
            assert_eq!(request(path, value.clone()).map_err(|failure| failure.code), Err(code), "{value}");
        }
        let rpc = Rpc::find(get).expect("a method");
        assert_eq!(rpc.request("here", b"\xff").map_err(|failure| failure.code), Err(400));
        let unknown = [message(&rpc, json!({ "name": "x" })), vec![0xf8, 0x07, 0x01]].concat();
        let failure = rpc.request("here", &unknown).expect_err("a field that is not known");
        assert!(failure.message.contains("number 127"), "{}", failure.message);
        let odd =
            request(get, json!({ "name": "projects/a b/locations/r/instances/i?x" })).expect("a request");
        assert_eq!(odd.path, "/v1/projects/a%20b/locations/r/instances/i%3Fx");
    }

    #[test]
    fn answers_and_failures_are_messages() {
        let rpc = Rpc::find("/google.cloud.redis.v1.CloudRedis/DeleteInstance").expect("a method");
        let operation = json!({
            "name": "projects/p/locations/r/operations/o",
            "done": true,
            "metadata": {
                "@type": "type.googleapis.com/google.cloud.redis.v1.OperationMetadata",
                "target": "projects/p/locations/r/instances/i",
            },
            "response": { "@type": "type.googleapis.com/google.protobuf.Empty" },
        });
        let bytes = rpc.response(&operation).expect("a message");
        let back = DynamicMessage::decode(rpc.method.output(), bytes.as_slice()).expect("a message");
        let back = serde_json::to_value(&back).expect("JSON");
        assert_eq!((&back["name"], &back["metadata"]), (&operation["name"], &operation["metadata"]));
        assert_eq!(back["response"], json!({ "@type": EMPTY, "value": {} }));
        let failure = Failure {
            details: vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
            })],
            ..Failure::new(403, "accessNotConfigured", "no")
        };
        let descriptor = POOL.get_message_by_name("google.rpc.Status").expect("a message");
        let back = DynamicMessage::decode(descriptor, status(&failure).as_slice()).expect("a message");
        let back = serde_json::to_value(&back).expect("JSON");
        assert_eq!((&back["code"], &back["details"][0]["reason"]), (&json!(7), &json!("SERVICE_DISABLED")));
    }
}
