//! Shared VPC: host projects and their service projects (`compute.projects.*Xpn*`).
//!
//! A service project's instances may be in the host's subnetworks. Who may use which, IAM would say; here all may.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, list, project};
use serde_json::{Value, json};
use tombolo_model::Change;

pub(crate) const HANDLERS: Handlers = &[
    ("compute.projects.disableXpnHost", disable_host),
    ("compute.projects.disableXpnResource", detach),
    ("compute.projects.enableXpnHost", enable_host),
    ("compute.projects.enableXpnResource", attach),
    ("compute.projects.getXpnHost", get_host),
    ("compute.projects.getXpnResources", get_resources),
    ("compute.projects.listXpnHosts", list_hosts),
];

fn enable_host(call: &Call<'_>) -> Result<Outcome, Failure> {
    commit(call, "enableXpnHost", Change::HostEnable(call.project().to_owned()))
}

fn disable_host(call: &Call<'_>) -> Result<Outcome, Failure> {
    commit(call, "disableXpnHost", Change::HostDisable(call.project().to_owned()))
}

fn attach(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (host, project) = (call.project().to_owned(), resource(call)?);
    commit(call, "enableXpnResource", Change::ServiceProjectAttach { host, project })
}

fn detach(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (host, project) = (call.project().to_owned(), resource(call)?);
    commit(call, "disableXpnResource", Change::ServiceProjectDetach { host, project })
}

fn commit(call: &Call<'_>, kind: &str, change: Change) -> Result<Outcome, Failure> {
    let target = format!("projects/{}", call.project());
    Ok(Commit::compute(call, kind, target, vec![change]))
}

/// The service project that a body says, by its id or its number.
fn resource(call: &Call<'_>) -> Result<String, Failure> {
    if let Some(kind) = call.text("xpnResource.type").filter(|kind| *kind != "PROJECT") {
        return Err(Failure::invalid(format!(
            "Invalid value for field 'xpnResource.type': '{kind}'. Must be PROJECT."
        )));
    }
    let id = call.text("xpnResource.id").ok_or_else(|| Failure::required("xpnResource.id"))?;
    project::find(call, id).map(|(id, _)| id.to_owned())
}

/// The host of a service project; nothing where there is none.
fn get_host(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let host = call.world().projects.get(call.project()).and_then(|found| found.host.as_ref());
    let found = host.and_then(|host| call.world().projects.get(host).map(|found| (host, found)));
    let wire = found.map(|(id, found)| project::compute(call.world(), id, found));
    Ok(Outcome::Reply(wire.unwrap_or_else(|| json!({ "kind": "compute#project" }))))
}

fn get_resources(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let host = call.project();
    let attached = call.world().projects.iter().filter(|(_, found)| found.host.as_deref() == Some(host));
    let items = attached.map(|(id, _)| json!({ "id": id, "type": "PROJECT" })).collect();
    let (items, next) = list::page(call, items)?;
    let mut wire = json!({ "kind": "compute#projectsGetXpnResources" });
    if !items.is_empty() {
        wire["resources"] = Value::Array(items);
    }
    if let Some(next) = next {
        wire["nextPageToken"] = json!(next);
    }
    Ok(Outcome::Reply(wire))
}

/// Every host project. There are no organizations: all are of the same.
fn list_hosts(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let hosts = call.world().projects.iter().filter(|(_, found)| found.shared);
    let items = hosts.map(|(id, found)| project::compute(call.world(), id, found)).collect();
    list::compute(call, "compute#xpnHostList", &format!("projects/{}/listXpnHosts", call.project()), items)
}
