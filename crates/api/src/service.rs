//! Services and whether they are enabled: Service Usage v1.

use crate::failure::Failure;
use crate::operation::Scope;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, links, list, project};
use serde_json::{Value, json};
use tombolo_model::{Change, Project, World, project as services};

pub(crate) const HANDLERS: Handlers = &[
    ("serviceusage.services.batchEnable", batch_enable),
    ("serviceusage.services.batchGet", batch_get),
    ("serviceusage.services.disable", disable),
    ("serviceusage.services.enable", enable),
    ("serviceusage.services.get", get),
    ("serviceusage.services.list", list),
];

const METADATA: &str = "type.googleapis.com/google.api.serviceusage.v1.OperationMetadata";

/// The most services that one call may enable, as Google has it.
const BATCH: usize = 20;

/// Every service that there is.
fn known() -> impl Iterator<Item = &'static str> {
    [services::COMPUTE, services::REDIS].into_iter().chain(services::OTHERS.iter().copied())
}

/// The service that a name says, such as `projects/p/services/redis.googleapis.com`.
fn check(name: &str) -> Result<&str, Failure> {
    let name = links::last(name);
    if known().any(|known| known == name) {
        return Ok(name);
    }
    Err(Failure::new(403, "forbidden", format!("Not found or permission denied for service(s): {name}.")))
}

fn enable(call: &Call<'_>) -> Result<Outcome, Failure> {
    change(
        call,
        "type.googleapis.com/google.api.serviceusage.v1.EnableServiceResponse",
        |project, service| Change::ServiceEnable { project, service },
    )
}

fn disable(call: &Call<'_>) -> Result<Outcome, Failure> {
    change(
        call,
        "type.googleapis.com/google.api.serviceusage.v1.DisableServiceResponse",
        |project, service| Change::ServiceDisable { project, service },
    )
}

fn change(
    call: &Call<'_>,
    response: &'static str,
    change: fn(String, String) -> Change,
) -> Result<Outcome, Failure> {
    let service = check(call.param("servicesId"))?;
    let (id, _) = project::find(call, call.project())?;
    let target = format!("projects/{id}/services/{service}");
    let changes = vec![change(id.to_owned(), service.to_owned())];
    let render = |world: &World, path: &str| json!({ "service": by_path(world, path) });
    Ok(Commit::long_running(call, Scope::Service, target, changes, (METADATA, response), render))
}

fn batch_enable(call: &Call<'_>) -> Result<Outcome, Failure> {
    let ids = call.field("serviceIds").and_then(Value::as_array).cloned().unwrap_or_default();
    if ids.is_empty() || ids.len() > BATCH {
        return Err(Failure::bad_request(format!(
            "Between 1 and {BATCH} service_ids are expected, not {}.",
            ids.len()
        )));
    }
    let (id, _) = project::find(call, call.project())?;
    let mut changes = Vec::new();
    for service in ids.iter().filter_map(Value::as_str) {
        changes.push(Change::ServiceEnable { project: id.to_owned(), service: check(service)?.to_owned() });
    }
    let response = "type.googleapis.com/google.api.serviceusage.v1.BatchEnableServicesResponse";
    let target = format!("projects/{id}");
    Ok(Commit::long_running(call, Scope::Service, target, changes, (METADATA, response), |world, path| {
        let id = links::last(path);
        let Some(project) = world.projects.get(id) else { return json!({}) };
        let enabled = project.services.iter().map(|service| wire(project, service));
        json!({ "services": enabled.collect::<Vec<_>>() })
    }))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let service = check(call.param("servicesId"))?;
    let (_, project) = project::find(call, call.project())?;
    Ok(Outcome::Reply(wire(project, service)))
}

fn batch_get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (_, project) = project::find(call, call.project())?;
    let names = call.query_all("names");
    let services = names.iter().map(|name| check(name).map(|service| wire(project, service)));
    Ok(Outcome::Reply(json!({ "services": services.collect::<Result<Vec<_>, _>>()? })))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (_, project) = project::find(call, call.project())?;
    list::named(call, "services", list::fixed(known().map(|service| wire(project, service))))
}

fn by_path(world: &World, path: &str) -> Value {
    let id = path.split('/').nth(1).unwrap_or_default();
    world.projects.get(id).map(|project| wire(project, links::last(path))).unwrap_or_default()
}

fn wire(project: &Project, service: &str) -> Value {
    let parent = format!("projects/{}", project.shown_number());
    json!({
        "name": format!("{parent}/services/{service}"),
        "config": { "name": service, "title": title(service) },
        "state": if project.services.contains(service) { "ENABLED" } else { "DISABLED" },
        "parent": parent,
    })
}

fn title(service: &str) -> &str {
    match service {
        services::COMPUTE => "Compute Engine API",
        services::REDIS => "Google Cloud Memorystore for Redis API",
        services::SERVICE_NETWORKING => "Service Networking API",
        other => other,
    }
}
