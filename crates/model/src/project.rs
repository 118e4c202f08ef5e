//! Projects and the services enabled in them.

use crate::{Refusal, Timestamp, World, key, network};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// The service of VPC networks and VMs.
pub const COMPUTE: &str = "compute.googleapis.com";
/// The service of Memorystore for Redis.
pub const REDIS: &str = "redis.googleapis.com";
/// Services that can be enabled and that nothing here depends on: those that clients enable on the way.
pub const OTHERS: &[&str] = &[
    "cloudapis.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "iap.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "networkmanagement.googleapis.com",
    "oslogin.googleapis.com",
    "servicenetworking.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
];

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Its number, unique in the World.
    pub number: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// The enabled services, such as `compute.googleapis.com`.
    pub services: BTreeSet<String>,
}

/// Creates an empty project with no service enabled.
pub(crate) fn create(world: &mut World, id: &str, now: Timestamp) -> Result<(), Refusal> {
    key::check_project_id(id)?;
    if world.projects.contains_key(id) {
        return Err(Refusal::already_exists(format!("projects/{id}")));
    }
    let project = Project { number: world.fresh_id(), create_time: now, services: BTreeSet::new() };
    world.projects.insert(id.to_owned(), Arc::new(project));
    Ok(())
}

/// Enables a service. Enabling compute for the first time creates the network `default`, as Google does.
pub(crate) fn enable(world: &mut World, id: &str, service: &str, now: Timestamp) -> Result<(), Refusal> {
    let project = get(world, id)?;
    if project.services.contains(service) {
        return Ok(());
    }
    if ![COMPUTE, REDIS].contains(&service) && !OTHERS.contains(&service) {
        return Err(Refusal::not_found(format!("services/{service}")));
    }
    let mut changed = (**project).clone();
    changed.services.insert(service.to_owned());
    world.projects.insert(id.to_owned(), Arc::new(changed));
    if service == COMPUTE { network::create_default(world, id, now) } else { Ok(()) }
}

/// Disables a service. One whose resources are still there is refused, as Google refuses it without `force`.
pub(crate) fn disable(world: &mut World, id: &str, service: &str) -> Result<(), Refusal> {
    let project = get(world, id)?;
    let used = match service {
        COMPUTE => world.networks.keys().any(|key| key.project == id),
        REDIS => world.redis.keys().any(|key| key.project == id),
        _ => false,
    };
    if used {
        return Err(Refusal::in_use("service", service, format!("projects/{id}")));
    }
    let mut changed = (**project).clone();
    changed.services.remove(service);
    world.projects.insert(id.to_owned(), Arc::new(changed));
    Ok(())
}

/// Deletes a project. One that has resources is refused: Google would shut them down after a while.
pub(crate) fn delete(world: &mut World, id: &str) -> Result<(), Refusal> {
    get(world, id)?;
    if let Some(network) = world.networks.keys().find(|key| key.project == id) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), network));
    }
    world.projects.remove(id);
    Ok(())
}

/// The project, or why there is none.
fn get<'w>(world: &'w World, id: &str) -> Result<&'w Arc<Project>, Refusal> {
    world.projects.get(id).ok_or_else(|| Refusal::not_found(format!("projects/{id}")))
}

/// Checks that the project exists and has the service enabled.
pub fn require(world: &World, id: &str, service: &'static str) -> Result<(), Refusal> {
    if get(world, id)?.services.contains(service) {
        return Ok(());
    }
    let title =
        if service == REDIS { "Google Cloud Memorystore for Redis API" } else { "Compute Engine API" };
    Err(Refusal::ServiceDisabled { title, service, project: id.to_owned() })
}
