//! Operations: how Google reports a change that is under way or done.
//!
//! Compute has its own kind, in three scopes; the other APIs have `google.longrunning.Operation`.

use crate::failure::Failure;
use crate::links;
use crate::methods::Api;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, list, zone};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tombolo_model::{Timestamp, folder::ORGANIZATION};

/// Operations that are kept; the oldest go first. Google keeps them for 14 days.
const KEPT: usize = 10_000;

pub(crate) const HANDLERS: Handlers = &[
    ("compute.globalOperations.aggregatedList", aggregated),
    ("compute.globalOperations.get", get),
    ("compute.globalOperations.list", list),
    ("compute.globalOperations.wait", get),
    ("compute.globalOperations.delete", delete),
    ("compute.globalOrganizationOperations.get", get),
    ("compute.globalOrganizationOperations.list", list),
    ("compute.globalOrganizationOperations.delete", delete),
    ("compute.regionOperations.get", get),
    ("compute.regionOperations.list", list),
    ("compute.regionOperations.wait", get),
    ("compute.regionOperations.delete", delete),
    ("compute.zoneOperations.get", get),
    ("compute.zoneOperations.list", list),
    ("compute.zoneOperations.wait", get),
    ("compute.zoneOperations.delete", delete),
    ("cloudresourcemanager.operations.get", get_by_name),
    ("serviceusage.operations.cancel", cancel),
    ("serviceusage.operations.delete", delete_by_name),
    ("serviceusage.operations.get", get_by_name),
    ("serviceusage.operations.list", list_by_name),
    ("redis.projects.locations.operations.cancel", cancel),
    ("redis.projects.locations.operations.delete", delete_by_name),
    ("redis.projects.locations.operations.get", get_by_name),
    ("redis.projects.locations.operations.list", list_by_name),
    ("servicenetworking.operations.cancel", cancel),
    ("servicenetworking.operations.delete", delete_by_name),
    ("servicenetworking.operations.get", get_by_name),
    ("servicenetworking.operations.list", list_by_name),
];

/// Where an operation is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The project.
    Global,
    /// A region of Compute.
    Region(String),
    /// A zone of Compute.
    Zone(String),
    /// A location of one of the other APIs.
    Location(String),
    /// The organization, in Compute: what is in no project.
    Organization,
    /// No project: `operations/NAME`.
    Service,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its number, which no other has.
    pub number: u64,
    /// Its API's name in discovery.
    pub api: String,
    /// Its project's id.
    pub project: String,
    /// Where it is listed.
    pub scope: Scope,
    /// The method that began it.
    pub method: String,
    /// Its type, such as `insert`.
    pub kind: String,
    /// The path of what it changes.
    pub target: String,
    /// That resource's number.
    pub target_id: Option<u64>,
    /// The client's `requestId`.
    pub request_id: Option<String>,
    /// When it began.
    pub start_time: Timestamp,
    /// When it ended; not yet, if missing.
    pub end_time: Option<Timestamp>,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
    /// What there is to be warned of, though it did not fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Value>,
    /// The `@type` of the metadata, in the other APIs.
    pub metadata_type: Option<String>,
    /// The response, in the other APIs.
    pub response: Option<Value>,
}

impl Operation {
    /// Its name, without a path.
    pub fn name(&self) -> String {
        let id = links::id(self.number);
        match &self.scope {
            Scope::Service => {
                let prefix = match self.api.as_str() {
                    api if api == Api::ServiceUsage.name() => "acat",
                    api if api == Api::ServiceNetworking.name() => "pssn",
                    _ => "cp",
                };
                format!("{prefix}.{id}")
            }
            // Google's have four parts too: the time, and numbers that mean nothing. gcloud reads the organization out of
            // the names of its operations.
            scope => {
                let of = match scope {
                    Scope::Organization => format!("org-{ORGANIZATION}-"),
                    _ => String::new(),
                };
                let (at, one, two, last) = (self.start_time.0, &id[..13], &id[13..], self.number);
                format!("{of}operation-{at}-{one}-{two}-{last:08x}")
            }
        }
    }

    /// Its path, which is also its key.
    pub fn path(&self) -> String {
        let (project, name) = (&self.project, self.name());
        match &self.scope {
            Scope::Global => format!("projects/{project}/global/operations/{name}"),
            Scope::Region(region) => format!("projects/{project}/regions/{region}/operations/{name}"),
            Scope::Zone(zone) => format!("projects/{project}/zones/{zone}/operations/{name}"),
            Scope::Location(location) => format!("projects/{project}/locations/{location}/operations/{name}"),
            Scope::Organization => format!("locations/global/operations/{name}"),
            Scope::Service => format!("operations/{name}"),
        }
    }

    /// As its API shows it.
    pub fn wire(&self) -> Value {
        if self.api == Api::Compute.name() { self.compute() } else { self.long_running() }
    }

    fn compute(&self) -> Value {
        let done = self.end_time.is_some();
        let mut wire = json!({
            "kind": "compute#operation",
            "id": links::id(self.number),
            "name": self.name(),
            "operationType": self.kind,
            "targetLink": links::link(&self.target),
            "status": if done { "DONE" } else { "RUNNING" },
            "user": "tombolo@localhost",
            "progress": if done { 100 } else { 0 },
            "insertTime": self.start_time.to_string(),
            "startTime": self.start_time.to_string(),
            "selfLink": links::link(self.path()),
        });
        if let Some(id) = self.target_id {
            wire["targetId"] = json!(links::id(id));
        }
        match &self.scope {
            // What is there is known by its number.
            Scope::Organization => wire["targetId"] = json!(links::last(&self.target)),
            Scope::Region(region) => {
                wire["region"] = json!(links::link(format!("projects/{}/regions/{region}", self.project)));
            }
            Scope::Zone(zone) => {
                wire["zone"] = json!(links::link(format!("projects/{}/zones/{zone}", self.project)));
            }
            _ => {}
        }
        if let Some(end) = self.end_time {
            wire["endTime"] = json!(end.to_string());
        }
        if let Some(id) = &self.request_id {
            wire["clientOperationId"] = json!(id);
        }
        if !self.warnings.is_empty() {
            wire["warnings"] = json!(self.warnings);
        }
        if let Some(error) = &self.error {
            // The code of an operation's error is the reason in capitals: RESOURCE_IN_USE_BY_ANOTHER_RESOURCE.
            wire["error"] = json!({ "errors": [{ "code": shout(&error.reason), "message": error.message }] });
            wire["httpErrorStatusCode"] = json!(error.code);
            wire["httpErrorMessage"] = json!(http_message(error.code));
        }
        wire
    }

    fn long_running(&self) -> Value {
        let mut wire = json!({ "name": self.path() });
        if let Some(kind) = &self.metadata_type {
            wire["metadata"] = self.metadata(kind);
        }
        wire["done"] = json!(self.end_time.is_some());
        if let Some(error) = &self.error {
            wire["error"] =
                json!({ "code": error.rpc_code(), "message": error.message, "details": error.details });
        } else if let Some(response) = self.response.as_ref().filter(|_| self.end_time.is_some()) {
            wire["response"] = response.clone();
        }
        wire
    }

    fn metadata(&self, kind: &str) -> Value {
        let mut metadata = json!({ "@type": kind });
        if self.api == Api::Redis.name() {
            metadata["createTime"] = json!(utc(self.start_time));
            if let Some(end) = self.end_time {
                metadata["endTime"] = json!(utc(end));
            }
            metadata["target"] = json!(self.target);
            metadata["verb"] = json!(self.kind);
            metadata["cancelRequested"] = json!(false);
            metadata["apiVersion"] = json!("v1");
        }
        metadata
    }
}

/// A moment as the other APIs write it: UTC, with a `Z`.
pub(crate) fn utc(at: Timestamp) -> String {
    at.to_string().replace("+00:00", "Z")
}

/// `resourceNotReady` as `RESOURCE_NOT_READY`.
fn shout(reason: &str) -> String {
    if reason.contains('_') {
        return reason.to_owned();
    }
    let mut out = String::new();
    for c in reason.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn http_message(code: u16) -> &'static str {
    match code {
        400 => "BAD REQUEST",
        403 => "FORBIDDEN",
        404 => "NOT FOUND",
        409 => "CONFLICT",
        412 => "PRECONDITION FAILED",
        501 => "NOT IMPLEMENTED",
        _ => "INTERNAL SERVER ERROR",
    }
}

/// Every operation that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// By name, which no two of them share.
    by_name: OrdMap<String, Arc<Operation>>,
    by_number: OrdMap<u64, Arc<Operation>>,
    /// How many there have been.
    count: u64,
}

impl Operations {
    /// One that begins now; it is not among the others yet.
    pub(crate) fn new_operation(&self, api: Api, project: &str, scope: Scope, now: Timestamp) -> Operation {
        Operation {
            number: self.count + 1,
            api: api.name().to_owned(),
            project: project.to_owned(),
            scope,
            method: String::new(),
            kind: String::new(),
            target: String::new(),
            target_id: None,
            request_id: None,
            start_time: now,
            end_time: None,
            error: None,
            warnings: Vec::new(),
            metadata_type: None,
            response: None,
        }
    }

    /// Puts an operation among the others, or in the place of what was known of it; the oldest may go.
    pub fn put(&mut self, operation: Operation) {
        let (number, name, operation) = (operation.number, operation.name(), Arc::new(operation));
        self.count = self.count.max(number);
        self.by_number.insert(number, Arc::clone(&operation));
        self.by_name.insert(name, operation);
        while self.by_number.len() > KEPT {
            let oldest = self.by_number.get_min().map(|(number, operation)| (*number, operation.name()));
            let Some((number, name)) = oldest else { break };
            self.by_number.remove(&number);
            self.by_name.remove(&name);
        }
    }

    /// Forgets the operation at a path.
    pub fn remove(&mut self, path: &str) {
        if let Some(number) = self.get(path).map(|operation| operation.number) {
            self.by_number.remove(&number);
            self.by_name.remove(links::last(path));
        }
    }

    /// The operation at a path.
    pub fn get(&self, path: &str) -> Option<&Arc<Operation>> {
        self.by_name.get(links::last(path)).filter(|operation| operation.path() == path)
    }

    /// All, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Operation>> {
        self.by_number.values().rev()
    }

    /// The operations in which this differs from what there was before, by number; `None` for those that are gone.
    pub fn changed<'o>(&'o self, before: &'o Operations) -> Vec<(u64, Option<&'o Operation>)> {
        let changes = before.by_number.diff(&self.by_number).map(|item| match item {
            DiffItem::Add(number, operation) | DiffItem::Update { new: (number, operation), .. } => {
                (*number, Some(operation.as_ref()))
            }
            DiffItem::Remove(number, _) => (*number, None),
        });
        changes.collect()
    }

    pub(crate) fn by_request(&self, project: &str, method: &str, id: &str) -> Option<&Operation> {
        let same = |operation: &&Arc<Operation>| {
            operation.request_id.as_deref() == Some(id)
                && operation.project == project
                && operation.method == method
        };
        self.newest_first().find(same).map(Arc::as_ref)
    }
}

/// The path of the collection that a call of Compute is about.
fn collection(call: &Call<'_>) -> String {
    let project = call.project();
    match (call.param("region"), call.param("zone")) {
        ("", "") if project.is_empty() => "locations/global/operations".to_owned(),
        ("", "") => format!("projects/{project}/global/operations"),
        (region, "") => format!("projects/{project}/regions/{region}/operations"),
        (_, zone) => format!("projects/{project}/zones/{zone}/operations"),
    }
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let collection = collection(call);
    let inside = |operation: &&Arc<Operation>| {
        operation.path().rsplit_once('/').is_some_and(|(parent, _)| parent == collection)
    };
    let items = call.state.operations.newest_first().filter(inside).map(ranked);
    list::compute(call, "compute#operationList", &collection, list::ranked(items))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let path = format!("{}/{}", collection(call), call.param("operation"));
    let missing = || Failure::new(404, "notFound", format!("The resource '{path}' was not found"));
    call.state.operations.get(&path).map(|operation| Outcome::Reply(operation.wire())).ok_or_else(missing)
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    get(call)?;
    Ok(Commit::forget(call, format!("{}/{}", collection(call), call.param("operation"))))
}

/// Every operation of the project, in all scopes.
fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    let own = |operation: &&Arc<Operation>| {
        operation.api == Api::Compute.name() && operation.project == call.project()
    };
    let items = call.state.operations.newest_first().filter(own).map(|operation| {
        let scope = match &operation.scope {
            Scope::Region(region) => format!("regions/{region}"),
            Scope::Zone(zone) => format!("zones/{zone}"),
            _ => "global".to_owned(),
        };
        (scope, operation)
    });
    let (at, items): (Vec<_>, Vec<_>) = items.unzip();
    let items = at.into_iter().zip(list::ranked(items.into_iter().map(ranked))).collect();
    let scopes = std::iter::once("global".to_owned()).chain(zone::region_scopes()).chain(zone::zone_scopes());
    list::aggregated(call, "compute#operationAggregatedList", "operations", scopes, items)
}

/// The newest first.
fn ranked(operation: &Arc<Operation>) -> (String, Value) {
    (format!("{:020}", u64::MAX - operation.number), operation.wire())
}

/// The path of an operation of one of the other APIs.
fn path(call: &Call<'_>) -> String {
    let name = call.param("operationsId");
    match call.param("locationsId") {
        "" => format!("operations/{name}"),
        location => format!("projects/{}/locations/{location}/operations/{name}", call.project()),
    }
}

fn get_by_name(call: &Call<'_>) -> Result<Outcome, Failure> {
    let path = path(call);
    let missing = || Failure::new(404, "notFound", format!("Operation not found: {path}"));
    call.state.operations.get(&path).map(|operation| Outcome::Reply(operation.wire())).ok_or_else(missing)
}

fn delete_by_name(call: &Call<'_>) -> Result<Outcome, Failure> {
    get_by_name(call)?;
    Ok(Commit::forget(call, path(call)))
}

/// An attempt, as Google's is: what is done is done, and what is under way will be in a moment.
fn cancel(call: &Call<'_>) -> Result<Outcome, Failure> {
    get_by_name(call).map(|_| Outcome::Reply(json!({})))
}

/// The operations of a location, or those without a place.
fn list_by_name(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (project, location) = (call.project(), call.param("locationsId"));
    let here = |operation: &&Arc<Operation>| match &operation.scope {
        Scope::Location(at) => operation.project == project && (location == "-" || at == location),
        Scope::Service => location.is_empty(),
        _ => false,
    };
    let own =
        call.state.operations.newest_first().filter(|operation| operation.api == call.method.api.name());
    list::named(call, "operations", list::ranked(own.filter(here).map(ranked)))
}
