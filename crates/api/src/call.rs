//! A request that is known to be well formed: its method, parameters, query and body.

use crate::failure::Failure;
use crate::methods::{Api, Method, Params};
use crate::request::{Request, Verb};
use crate::schema;
use crate::state::State;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::{Timestamp, World};

/// Query parameters of every method. Source: the `parameters` of any discovery document.
const COMMON: &[&str] = &[
    "$.xgafv",
    "access_token",
    "alt",
    "apiVersion",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "prettyPrint",
    "quotaUser",
    "uploadType",
    "upload_protocol",
    "userIp",
    "userProject",
];

/// A request on its way to a handler.
#[derive(Debug)]
pub struct Call<'a> {
    /// What there is.
    pub state: &'a State,
    /// The method.
    pub method: &'static Method,
    params: Params,
    query: BTreeMap<String, Vec<String>>,
    /// The body, normalised; an empty object when there is none.
    pub body: Value,
    /// The paths of the fields that the body takes back.
    cleared: BTreeSet<String>,
    /// Now.
    pub now: Timestamp,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        state: &'a State,
        request: &Request,
        method: &'static Method,
        params: Params,
        now: Timestamp,
    ) -> Result<Call<'a>, Failure> {
        let (body, nulls) = match method.request {
            Some(name) => schema::normalise(method.api, name, &request.body)?,
            None => (Value::Object(Default::default()), BTreeSet::new()),
        };
        // What makes a thing, or says all of it anew, has nothing to take back.
        let merges = request.verb == Verb::Patch || method.id.ends_with(".patchRule");
        let cleared = if merges { nulls } else { BTreeSet::new() };
        Ok(Call { state, method, params, query: query(method, request)?, body, cleared, now })
    }

    /// The World.
    pub fn world(&self) -> &'a World {
        &self.state.world
    }

    /// A parameter of the path; empty when the method has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The project in the path, whatever the API calls it.
    pub fn project(&self) -> &str {
        let names = ["project", "projectsId", "projectId", "v1Id1"];
        names.iter().find_map(|name| self.params.get(name)).map(String::as_str).unwrap_or_default()
    }

    /// A query parameter that is there and not empty.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.last().map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Every value of a query parameter.
    pub fn query_all(&self, name: &str) -> &[String] {
        self.query.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// A query parameter that is `true` or `1`.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), Some("true" | "True" | "1"))
    }

    /// A field of the body, or of a message in it: `a.b`.
    pub fn field(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.body, |value, name| value.get(name))
    }

    /// Whether the body says null for a field, or for a message that it is in: it is to be as if nobody had ever said it.
    /// So only in a PATCH; elsewhere a null is as good as absent.
    pub fn clears(&self, path: &str) -> bool {
        let prefixes = path.match_indices('.').map(|(at, _)| &path[..at]);
        prefixes.chain([path]).any(|path| self.cleared.contains(path))
    }

    /// Takes the fields that the body clears from a message that it is merged into; `within` is such as `match.`, or
    /// nothing.
    pub(crate) fn clear(&self, within: &str, message: &mut Map<String, Value>) {
        message.retain(|name, _| !self.clears(&format!("{within}{name}")));
    }

    /// A text field of the body that is there and not empty.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.field(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// The body, or the part of it that `T` has fields for.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(&self.body).map_err(|error| Failure::bad_request(error.to_string()))
    }
}

fn query(method: &Method, request: &Request) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &request.query {
        // `$alt` and `alt`, `instance_id` and `instanceId` are the same.
        let bare = name.strip_prefix('$').filter(|bare| !bare.starts_with('.')).unwrap_or(name);
        let known = method
            .query
            .iter()
            .chain(COMMON)
            .chain(lists(method))
            .find(|known| **known == bare || snake_case(known) == bare);
        // The parts of a message in a query (`updateMask.paths`, `reservation.name`) come with their parent.
        let Some(known) = known else {
            return Err(Failure::bad_request(format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
                 Field '{name}' could not be found in request message."
            )));
        };
        query.entry((*known).to_owned()).or_default().push(value.clone());
    }
    let id = query.get("requestId").and_then(|ids| ids.last()).filter(|id| !id.is_empty());
    if let Some(id) = id.filter(|id| method.api == Api::Compute && !is_request_id(id)) {
        return Err(Failure::invalid(format!(
            "Invalid value for field 'requestId': '{id}'. Must be a valid UUID, and not the zero UUID."
        )));
    }
    if let Some(api_format) =
        query.get("alt").and_then(|alts| alts.last()).filter(|alt| !alt.starts_with("json"))
    {
        return Err(Failure::unsupported(format_args!("answers as '{api_format}', only as json")));
    }
    Ok(query)
}

/// Whether an id is a UUID (RFC 9562, 4) other than zero. Source: `requestId` of any method of Compute that has it.
fn is_request_id(id: &str) -> bool {
    let lengths = id.split('-').map(str::len);
    let digits = || id.bytes().filter(|byte| *byte != b'-');
    lengths.eq([8, 4, 4, 4, 12])
        && digits().all(|digit| digit.is_ascii_hexdigit())
        && digits().any(|digit| digit != b'0')
}

/// What Compute's lists have beside what the table says of them: clients of other versions send it to each.
fn lists(method: &Method) -> &'static [&'static str] {
    let is_list = method.id.ends_with(".list") || method.id.ends_with(".aggregatedList");
    if method.api == Api::Compute && is_list { &["returnPartialSuccess"] } else { &[] }
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

impl Call<'_> {
    /// Whether the call is one of Compute's.
    pub(crate) fn is_compute(&self) -> bool {
        self.method.api == Api::Compute
    }
}
