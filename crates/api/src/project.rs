//! Projects: Resource Manager v1 and v3, and Compute's view of them.

use crate::failure::Failure;
use crate::operation::{Scope, utc};
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, folder, links, list, metadata};
use serde_json::{Value, json};
use std::sync::Arc;
use tombolo_model::folder::ancestry;
use tombolo_model::{Change, Project, Refusal, World, project};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.projects.get", get_compute),
    ("compute.projects.setCommonInstanceMetadata", set_metadata),
    ("cloudbilling.projects.getBillingInfo", billing_info),
    ("cloudresourcemanager.projects.create", create),
    ("cloudresourcemanager.projects.delete", delete),
    ("cloudresourcemanager.projects.get", get),
    ("cloudresourcemanager.projects.getAncestry", get_ancestry),
    ("cloudresourcemanager.projects.list", list),
    ("cloudresourcemanager.projects.move", move_to),
    ("cloudresourcemanager.projects.search", search),
];

const SAID: &[&str] = &["displayName", "labels", "name", "tags"];
/// Where the metadata of all instances is kept beside what Resource Manager was told.
const METADATA: &str = "commonInstanceMetadata";
const DERIVED: &[&str] = &["lifecycleState", "parent", "projectId", "projectNumber", "state"];

/// The project of a call, by its id or its number; one that is not there may not be seen either.
pub(crate) fn find<'c>(call: &'c Call<'_>, named: &'c str) -> Result<(&'c str, &'c Project), Failure> {
    let projects = &call.world().projects;
    let by_number = || projects.iter().find(|(_, project)| project.shown_number() == named);
    let found = projects.get_key_value(named).or_else(by_number);
    found.map(|(id, project)| (id.as_str(), &**project)).ok_or_else(|| {
        Failure::new(
            403,
            "forbidden",
            format!("Permission denied on resource project {named}: it does not exist."),
        )
    })
}

/// Refuses a call of Compute in a project where it is not enabled.
pub(crate) fn require_compute(call: &Call<'_>) -> Result<(), Failure> {
    project::require(call.world(), call.project(), project::COMPUTE).map_err(Failure::from)
}

/// Refuses a call in whose project a service is not enabled.
pub(crate) fn require(call: &Call<'_>, service: &'static str) -> Result<(), Failure> {
    project::require(call.world(), call.project(), service).map_err(Failure::from)
}

/// A project's number as Google shows it: twelve digits.
pub(crate) fn number(project: &Project) -> String {
    (100_000_000_000 + project.number).to_string()
}

fn get_compute(call: &Call<'_>) -> Result<Outcome, Failure> {
    require_compute(call)?;
    let id = call.project();
    let found = call.world().projects.get(id).ok_or_else(|| Refusal::not_found(format!("projects/{id}")))?;
    Ok(Outcome::Reply(compute(call.world(), id, found)))
}

/// Metadata that every instance of the project has; Google's guests look there for ssh keys. Who changes what there is
/// must say its fingerprint.
fn set_metadata(call: &Call<'_>) -> Result<Outcome, Failure> {
    require_compute(call)?;
    let target = format!("projects/{}", call.project());
    let kept = details::get(call.world(), &target, METADATA).cloned().unwrap_or_default();
    if call.text("fingerprint").is_some() || !details::is_empty(&kept) {
        metadata::fresh(call, &kept)?;
    }
    metadata::read(&call.body)?;
    let items = call.field("items").cloned().unwrap_or_else(|| json!([]));
    let change = details::set(call.world(), &target, [(METADATA, items)]);
    Ok(Commit::compute(call, "setMetadata", target, vec![change]))
}

/// A project as Compute shows it.
pub(crate) fn compute(world: &World, id: &str, project: &Project) -> Value {
    let kept = details::get(world, &format!("projects/{id}"), METADATA).cloned().unwrap_or_default();
    let items = kept.as_array().cloned().unwrap_or_default();
    json!({
        "kind": "compute#project",
        "id": project.shown_number(),
        "creationTimestamp": project.create_time.to_string(),
        "name": id,
        "commonInstanceMetadata": metadata::wire(&kept, items),
        "defaultServiceAccount": project.default_service_account(),
        "selfLink": links::link(format!("projects/{id}")),
        "defaultNetworkTier": "PREMIUM",
        "xpnProjectStatus": if project.shared { "HOST" } else { "UNSPECIFIED_XPN_PROJECT_STATUS" },
    })
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    let id = call.text("projectId").ok_or_else(|| Failure::required("projectId"))?;
    let target = format!("projects/{id}");
    let details = details::read(call, SAID, DERIVED)?;
    let mut changes =
        vec![Change::ProjectCreate(id.to_owned()), Change::Describe { resource: target.clone(), details }];
    // A text in v3, and a message in v1.
    let parent = match call.text("parent") {
        Some(said) => Some(said.to_owned()),
        None => call
            .text("parent.type")
            .map(|kind| format!("{kind}s/{}", call.text("parent.id").unwrap_or_default())),
    };
    if let Some(said) = parent {
        let parent = folder::node("parent", &said)?;
        changes.push(Change::ProjectMove { project: id.to_owned(), parent });
    }
    let v3 = is_v3(call);
    let types = if v3 {
        (
            "type.googleapis.com/google.cloud.resourcemanager.v3.CreateProjectMetadata",
            "type.googleapis.com/google.cloud.resourcemanager.v3.Project",
        )
    } else {
        (
            "type.googleapis.com/google.cloudresourcemanager.v1beta1.ProjectCreationStatus",
            "type.googleapis.com/google.cloudresourcemanager.v1.Project",
        )
    };
    let render = if v3 { by_path_v3 } else { by_path_v1 };
    Ok(Commit::long_running(call, Scope::Service, target, changes, types, render))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (id, _) = find(call, call.project())?;
    let (target, changes) = (format!("projects/{id}"), vec![Change::ProjectDelete(id.to_owned())]);
    if !is_v3(call) {
        return Ok(Commit::resource(call, target, changes, |_, _| json!({})));
    }
    let types = (
        "type.googleapis.com/google.cloud.resourcemanager.v3.DeleteProjectMetadata",
        "type.googleapis.com/google.cloud.resourcemanager.v3.Project",
    );
    Ok(Commit::long_running(
        call,
        Scope::Service,
        target,
        changes,
        types,
        |_, path| json!({ "projectId": links::last(path), "state": "DELETE_REQUESTED" }),
    ))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (id, project) = find(call, call.project())?;
    Ok(Outcome::Reply(if is_v3(call) {
        v3(call.world(), id, project)
    } else {
        v1(call.world(), id, project)
    }))
}

/// That nobody pays: Terraform's provider asks whenever it reads a project.
fn billing_info(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (id, _) = find(call, call.project())?;
    Ok(Outcome::Reply(json!({
        "name": format!("projects/{id}/billingInfo"),
        "projectId": id,
        "billingAccountName": "",
        "billingEnabled": false,
    })))
}

fn move_to(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (id, _) = find(call, call.project())?;
    let said = call.text("destinationParent").ok_or_else(|| Failure::required("destinationParent"))?;
    let parent = folder::node("destinationParent", said)?;
    let change = Change::ProjectMove { project: id.to_owned(), parent };
    let types = (
        "type.googleapis.com/google.cloud.resourcemanager.v3.MoveProjectMetadata",
        "type.googleapis.com/google.cloud.resourcemanager.v3.Project",
    );
    let target = format!("projects/{id}");
    Ok(Commit::long_running(call, Scope::Service, target, vec![change], types, by_path_v3))
}

/// The project and what it is in, from the bottom up.
fn get_ancestry(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (id, project) = find(call, call.project())?;
    let above = ancestry(call.world(), project.parent.as_ref());
    let above = above.iter().rev().map(|node| resource_id(&node.to_string()));
    let all = std::iter::once(json!({ "type": "project", "id": id })).chain(above);
    let all = all.map(|id| json!({ "resourceId": id }));
    Ok(Outcome::Reply(json!({ "ancestor": all.collect::<Value>() })))
}

/// `folders/1` as v1 has it.
fn resource_id(node: &str) -> Value {
    let (kind, id) = node.split_once("s/").unwrap_or_default();
    json!({ "type": kind, "id": id })
}

/// All, or those that are directly in a folder or the organization.
fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let render = if is_v3(call) { v3 } else { v1 };
    let parent = call.query("parent").map(|said| folder::node("parent", said)).transpose()?;
    let own = |(_, project): &(&String, &Arc<Project>)| parent.is_none() || project.parent == parent;
    let items =
        call.world().projects.iter().filter(own).map(|(id, project)| render(call.world(), id, project));
    list::named(call, "projects", items.collect())
}

fn search(call: &Call<'_>) -> Result<Outcome, Failure> {
    folder::no_query(call)?;
    list(call)
}

fn is_v3(call: &Call<'_>) -> bool {
    call.method.api == crate::Api::ResourceManagerV3
}

fn by_path_v1(world: &World, path: &str) -> Value {
    by_path(world, path, v1)
}

fn by_path_v3(world: &World, path: &str) -> Value {
    by_path(world, path, v3)
}

fn by_path(world: &World, path: &str, render: fn(&World, &str, &Project) -> Value) -> Value {
    let id = links::last(path);
    world.projects.get(id).map(|project| render(world, id, project)).unwrap_or_default()
}

fn v1(world: &World, id: &str, project: &Project) -> Value {
    let mut wire = json!({
        "projectNumber": project.shown_number(),
        "projectId": id,
        "lifecycleState": "ACTIVE",
        "name": id,
        "createTime": utc(project.create_time),
    });
    described(world, id, &mut wire);
    // What v3 calls the display name is the name here, and a parent is a message.
    if let Some(name) = wire.as_object_mut().and_then(|map| map.shift_remove("displayName")) {
        wire["name"] = name;
    }
    if let Some(parent) = &project.parent {
        wire["parent"] = resource_id(&parent.to_string());
    }
    wire
}

/// Adds what Resource Manager was told. Earlier versions kept a parent there, which was in nothing.
fn described(world: &World, id: &str, wire: &mut Value) {
    details::add(world, &format!("projects/{id}"), wire);
    for apart in [METADATA, "parent"] {
        wire.as_object_mut().map(|map| map.shift_remove(apart));
    }
}

fn v3(world: &World, id: &str, project: &Project) -> Value {
    let mut wire = json!({
        "projectId": id,
        "state": "ACTIVE",
        "displayName": id,
        "createTime": utc(project.create_time),
        "etag": links::fingerprint(&(id, project.number)),
    });
    described(world, id, &mut wire);
    // What v1 calls the name is the display name here.
    if let Some(name) = wire.as_object_mut().and_then(|map| map.shift_remove("name")) {
        wire["displayName"] = name;
    }
    if let Some(parent) = &project.parent {
        wire["parent"] = json!(parent);
    }
    wire["name"] = json!(format!("projects/{}", project.shown_number()));
    wire
}
