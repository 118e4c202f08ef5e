//! Projects and the services enabled in them.

use crate::folder::{self, Node};
use crate::{NetworkKey, Refusal, SubnetworkKey, TagParent, Timestamp, World, key, network};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// The service of VPC networks and VMs.
pub const COMPUTE: &str = "compute.googleapis.com";
/// The service of Memorystore for Redis.
pub const REDIS: &str = "redis.googleapis.com";
/// The service of Cloud DNS.
pub const DNS: &str = "dns.googleapis.com";
/// The service of private services access.
pub const SERVICE_NETWORKING: &str = "servicenetworking.googleapis.com";
/// Services that can be enabled and that nothing here depends on: those that clients enable on the way.
pub const OTHERS: &[&str] = &[
    "cloudapis.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    DNS,
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
    /// Whether it is the host of a Shared VPC.
    #[serde(default)]
    pub shared: bool,
    /// The host project that it is a service project of.
    #[serde(default)]
    pub host: Option<String>,
    /// The organization or folder that it is in.
    #[serde(default)]
    pub parent: Option<Node>,
}

impl Project {
    /// Its number as Google shows it: twelve digits.
    pub fn shown_number(&self) -> String {
        (100_000_000_000 + self.number).to_string()
    }

    /// The service account that instances have which say `default`.
    pub fn default_service_account(&self) -> String {
        format!("{}-compute@developer.gserviceaccount.com", self.shown_number())
    }
}

/// Creates an empty project with no service enabled.
pub(crate) fn create(world: &mut World, id: &str, now: Timestamp) -> Result<(), Refusal> {
    key::check_project_id(id)?;
    if world.projects.contains_key(id) {
        return Err(Refusal::already_exists(format!("projects/{id}")));
    }
    let project = Project {
        number: world.fresh_id(),
        create_time: now,
        services: BTreeSet::new(),
        shared: false,
        host: None,
        parent: None,
    };
    world.projects.insert(id.to_owned(), Arc::new(project));
    Ok(())
}

/// Puts a project in the organization or a folder.
pub(crate) fn move_to(world: &mut World, id: &str, parent: &Node) -> Result<(), Refusal> {
    folder::require(world, parent)?;
    edit(world, id, |project| project.parent = Some(parent.clone()))
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
        COMPUTE => {
            world.networks.keys().any(|key| key.project == id)
                || world.instances.keys().any(|key| key.project == id)
                || world.addresses.keys().any(|key| key.project == id)
                || world.routers.keys().any(|key| key.project == id)
                || forwarding(world, id).is_some()
        }
        DNS => world.managed_zones.keys().any(|key| key.project == id),
        REDIS => world.redis.keys().any(|key| key.project == id),
        SERVICE_NETWORKING => world.connections.keys().any(|network| network.project == id),
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
    // A service project's instances are in its host's networks.
    let own = |project: &String| project == id;
    if let Some((user, _)) = world.instances.iter().find(|(key, _)| own(&key.project)) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    if let Some(user) = world.addresses.keys().find(|key| own(&key.project)) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    if let Some(user) = world.firewall_policies.keys().find(|key| own(&key.project)) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    if let Some(user) = world.routers.keys().find(|key| own(&key.project)) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    if let Some(user) = forwarding(world, id) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    if let Some(user) = world.managed_zones.keys().find(|key| own(&key.project)) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    if let Some(user) = world.redis.keys().find(|key| own(&key.project)) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    let tags = TagParent::Project(id.to_owned());
    if let Some((user, _)) = world.tag_keys.iter().find(|(_, key)| key.parent == tags) {
        return Err(Refusal::in_use("project", format!("projects/{id}"), user));
    }
    // A host would take its service projects' networks with it.
    if world.projects.values().any(|other| other.host.as_deref() == Some(id)) {
        return Err(Refusal::HostHasServiceProjects);
    }
    world.projects.remove(id);
    Ok(())
}

/// The path of a forwarding rule of the project, or of what leads to one or comes from one.
fn forwarding(world: &World, id: &str) -> Option<String> {
    let attachments =
        world.service_attachments.keys().filter(|key| key.project == id).map(ToString::to_string);
    let rules = world.forwarding_rules.keys().filter(|key| key.project == id).map(ToString::to_string);
    let targets = world.target_instances.keys().filter(|key| key.project == id).map(ToString::to_string);
    attachments.chain(rules).chain(targets).next()
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
    let title = match service {
        REDIS => "Google Cloud Memorystore for Redis API",
        DNS => "Cloud DNS API",
        SERVICE_NETWORKING => "Service Networking API",
        _ => "Compute Engine API",
    };
    Err(Refusal::ServiceDisabled { title, service, project: id.to_owned() })
}

/// Checks that instances of a project may be in a subnetwork: it is the project's own, or its Shared VPC host's.
pub(crate) fn check_may_use(world: &World, project: &str, subnetwork: &SubnetworkKey) -> Result<(), Refusal> {
    let host =
        || world.projects.get(project).is_some_and(|found| found.host.as_ref() == Some(&subnetwork.project));
    if subnetwork.project == project || host() { Ok(()) } else { Err(Refusal::not_found(subnetwork)) }
}

/// Checks that a project's managed services may be reached from a network: its own, or its Shared VPC host's.
pub(crate) fn check_may_use_network(
    world: &World,
    project: &str,
    network: &NetworkKey,
) -> Result<(), Refusal> {
    let host = world.projects.get(project).and_then(|found| found.host.as_ref());
    if network.project == project || host == Some(&network.project) {
        return Ok(());
    }
    Err(Refusal::NotTheHost { network: network.clone(), project: project.to_owned() })
}

/// Makes a project the host of a Shared VPC.
pub(crate) fn enable_host(world: &mut World, id: &str) -> Result<(), Refusal> {
    require(world, id, COMPUTE)?;
    if get(world, id)?.host.is_some() {
        let why = "A service project of a Shared VPC cannot be a host.";
        return Err(Refusal::invalid("project", id, why));
    }
    edit(world, id, |project| project.shared = true)
}

/// Ends a project's being a host; it must have no service projects.
pub(crate) fn disable_host(world: &mut World, id: &str) -> Result<(), Refusal> {
    require(world, id, COMPUTE)?;
    if world.projects.values().any(|other| other.host.as_deref() == Some(id)) {
        return Err(Refusal::HostHasServiceProjects);
    }
    edit(world, id, |project| project.shared = false)
}

/// Attaches a service project to a host project.
pub(crate) fn attach(world: &mut World, host: &str, id: &str) -> Result<(), Refusal> {
    require(world, host, COMPUTE)?;
    require(world, id, COMPUTE)?;
    if !get(world, host)?.shared {
        return Err(Refusal::invalid("project", host, "The project is not a shared VPC host project."));
    }
    let service = get(world, id)?;
    if service.shared {
        return Err(Refusal::invalid(
            "xpnResource.id",
            id,
            "A shared VPC host project cannot be a service project.",
        ));
    }
    if let Some(other) = service.host.as_deref().filter(|other| *other != host) {
        let expected = format!("The project is attached to the shared VPC host project '{other}' already.");
        return Err(Refusal::invalid("xpnResource.id", id, expected));
    }
    edit(world, id, |project| project.host = Some(host.to_owned()))
}

/// Detaches a service project from its host project; nothing of it may be in the host's networks.
pub(crate) fn detach(world: &mut World, host: &str, id: &str) -> Result<(), Refusal> {
    require(world, host, COMPUTE)?;
    if get(world, id)?.host.as_deref() != Some(host) {
        let expected = format!("The project is not attached to the shared VPC host project '{host}'.");
        return Err(Refusal::invalid("xpnResource.id", id, expected));
    }
    let shares = |instance: &crate::Instance| instance.nics.iter().any(|nic| nic.network.project == host);
    let mut own = world.instances.iter().filter(|(key, _)| key.project == id);
    if let Some((user, _)) = own.find(|(_, instance)| shares(instance)) {
        return Err(Refusal::in_use("project", format!("projects/{host}"), user));
    }
    if let Some((user, _)) =
        world.redis.iter().find(|(key, redis)| key.project == id && redis.authorized_network.project == host)
    {
        return Err(Refusal::in_use("project", format!("projects/{host}"), user));
    }
    if let Some((user, _)) = world.addresses.iter().find(|(key, address)| {
        let internal = matches!(&address.reserved, crate::Reserved::Internal { subnetwork, .. } if subnetwork.project == host);
        key.project == id && internal
    }) {
        return Err(Refusal::in_use("project", format!("projects/{host}"), user));
    }
    let shares = |rule: &crate::ForwardingRule| rule.network.project == host;
    if let Some((user, _)) =
        world.forwarding_rules.iter().find(|(key, rule)| key.project == id && shares(rule))
    {
        return Err(Refusal::in_use("project", format!("projects/{host}"), user));
    }
    edit(world, id, |project| project.host = None)
}

fn edit(world: &mut World, id: &str, change: impl FnOnce(&mut Project)) -> Result<(), Refusal> {
    let project = world.projects.get_mut(id).ok_or_else(|| Refusal::not_found(format!("projects/{id}")))?;
    change(Arc::make_mut(project));
    Ok(())
}
