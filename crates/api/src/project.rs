//! Projects, as Resource Manager and Compute see them, and the services that are enabled in them.

use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::{Call, Handlers, links};
use serde_json::{Value, json};
use tombolo_model::{Project, Refusal, project};

pub(crate) const HANDLERS: Handlers = &[("compute.projects.get", get_compute)];

/// The project of a call.
pub(crate) fn find<'c>(call: &'c Call<'_>) -> Result<&'c Project, Failure> {
    let id = call.project();
    let found = call.world().projects.get(id);
    found.map(|project| &**project).ok_or_else(|| Refusal::not_found(format!("projects/{id}")).into())
}

/// Refuses a call of Compute in a project where it is not enabled.
pub(crate) fn require_compute(call: &Call<'_>) -> Result<(), Failure> {
    project::require(call.world(), call.project(), project::COMPUTE).map_err(Failure::from)
}

fn get_compute(call: &Call<'_>) -> Result<Outcome, Failure> {
    require_compute(call)?;
    let id = call.project();
    let found = find(call)?;
    Ok(Outcome::Reply(compute(id, found)))
}

fn compute(id: &str, project: &Project) -> Value {
    json!({
        "kind": "compute#project",
        "id": links::id(project.number),
        "creationTimestamp": project.create_time.to_string(),
        "name": id,
        "commonInstanceMetadata": { "kind": "compute#metadata", "fingerprint": links::fingerprint(&()) },
        "selfLink": links::link(format!("projects/{id}")),
        "defaultNetworkTier": "PREMIUM",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
    })
}
