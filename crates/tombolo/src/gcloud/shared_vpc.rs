//! `compute shared-vpc`: host projects and their service projects.

use super::args::Named;
use super::client::encode;
use super::session::Session;
use anyhow::Result;
use hyper::Method;
use serde_json::json;

const TABLE: &str = "table(id:label=RESOURCE_ID, type:label=RESOURCE_TYPE)";

/// What to do with Shared VPCs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a project the host of a Shared VPC
    #[command(after_help = "Example:\n  tombolo compute shared-vpc enable project-host")]
    Enable(Named),
    /// End a project's being a host
    #[command(after_help = "Example:\n  tombolo compute shared-vpc disable project-host")]
    Disable(Named),
    /// Service projects
    #[command(subcommand)]
    AssociatedProjects(Associated),
    /// Show the host project of a project; nothing if it has none
    #[command(after_help = "Example:\n  tombolo compute shared-vpc get-host-project project-i-1")]
    GetHostProject(Named),
    /// List what is attached to a host project
    #[command(after_help = "Example:\n  tombolo compute shared-vpc list-associated-resources project-host")]
    ListAssociatedResources(Named),
}

/// What to do with service projects.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Associated {
    /// Attach a service project to a host project
    #[command(
        after_help = "Example:\n  tombolo compute shared-vpc associated-projects add project-i-1 \\\n    --host-project project-host"
    )]
    Add(Service),
    /// Detach a service project from its host project
    #[command(
        after_help = "Example:\n  tombolo compute shared-vpc associated-projects remove project-i-1 \\\n    --host-project project-host"
    )]
    Remove(Service),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Service {
    /// The service project
    name: String,
    /// The host project
    #[arg(long, value_name = "PROJECT")]
    host_project: String,
}

fn path(project: &str, method: &str) -> String {
    format!("/compute/v1/projects/{}/{method}", encode(project))
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        let post = |project: &str, method| session.client.change(Method::POST, &path(project, method), None);
        match self {
            Verb::Enable(Named { name }) => post(name, "enableXpnHost").map(drop),
            Verb::Disable(Named { name }) => post(name, "disableXpnHost").map(drop),
            Verb::AssociatedProjects(Associated::Add(service)) => service.run(session, "enableXpnResource"),
            Verb::AssociatedProjects(Associated::Remove(service)) => {
                service.run(session, "disableXpnResource")
            }
            Verb::GetHostProject(Named { name }) => {
                session.show(session.client.get(&path(name, "getXpnHost"))?)
            }
            Verb::ListAssociatedResources(Named { name }) => {
                let items = session.client.list(&path(name, "getXpnResources"), "resources")?;
                session.show_all(items, TABLE)
            }
        }
    }
}

impl Service {
    fn run(&self, session: &Session<'_>, method: &str) -> Result<()> {
        let body = json!({ "xpnResource": { "id": self.name, "type": "PROJECT" } });
        session.client.change(Method::POST, &path(&self.host_project, method), Some(body)).map(drop)
    }
}
