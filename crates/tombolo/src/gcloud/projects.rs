//! `projects`: Resource Manager v1, as gcloud uses it.

use super::args::{Body, Listed, Named, Pairs};
use super::client::encode;
use super::folders::Place;
use super::session::Session;
use super::{Globals, Noun};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const TABLE: &str = "table(projectId, name, projectNumber)";
const COLLECTION: &str = "/cloudresourcemanager/v1/projects";

/// Projects.
#[derive(Debug, clap::Args)]
pub(crate) struct Projects {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a project
    #[command(after_help = "Example:\n  tombolo projects create project-i-1 --name \"The first\"")]
    Create(Create),
    /// List projects
    #[command(after_help = "Example:\n  tombolo projects list --format \"value(projectId)\"")]
    List(Listed),
    /// Show a project
    #[command(after_help = "Example:\n  tombolo projects describe project-i-1")]
    Describe(Named),
    /// Put a project in the organization or a folder
    #[command(after_help = "Example:\n  tombolo projects move project-i-1 --folder 676775160624")]
    Move(Move),
    /// Delete a project that has no resources
    #[command(after_help = "Example:\n  tombolo projects delete project-i-1")]
    Delete(Named),
}

#[derive(Debug, clap::Args)]
struct Move {
    /// The project
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Its id: 6 to 30 lowercase letters, digits and hyphens
    id: String,
    /// Its name, for people
    #[arg(long)]
    name: Option<String>,
    /// Its labels
    #[arg(long, value_name = "KEY=VALUE")]
    labels: Option<Pairs>,
    #[command(flatten)]
    place: Place,
    /// Do not enable cloudapis.googleapis.com in it
    #[arg(long)]
    no_enable_cloud_apis: bool,
}

impl Noun for Projects {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        match &self.verb {
            Verb::Create(create) => create.run(session),
            Verb::List(listed) => {
                session.show_list(session.client.list(COLLECTION, "projects")?, listed, TABLE)
            }
            Verb::Describe(Named { name }) => session.show(session.client.get(&path(name))?),
            Verb::Move(Move { name, place }) => {
                let path = format!("/cloudresourcemanager/v3/projects/{}:move", encode(name));
                let node = place.node()?;
                let body = json!({ "destinationParent": node });
                session.client.change(Method::POST, &path, Some(body))?;
                eprintln!("Moved [projects/{name}] to [{node}].");
                Ok(())
            }
            Verb::Delete(Named { name }) => {
                session.confirm("Your project will be deleted.\n")?;
                session.client.change(Method::DELETE, &path(name), None)?;
                eprintln!("Deleted [{COLLECTION}/{name}].");
                Ok(())
            }
        }
    }
}

/// `folders/1` as v1 has it.
fn parent(node: &str) -> Option<Value> {
    let (kind, id) = node.split_once("s/")?;
    Some(json!({ "type": kind, "id": id }))
}

fn path(id: &str) -> String {
    format!("{COLLECTION}/{}", encode(id))
}

impl Create {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let body = Body::default()
            .with("projectId", self.id.as_str())
            .with("name", self.name.as_deref().unwrap_or(&self.id))
            .maybe("labels", self.labels.as_ref().map(Pairs::map))
            .maybe("parent", self.place.said().as_deref().and_then(parent));
        session.client.change(Method::POST, COLLECTION, Some(body.json()))?;
        eprintln!("Created [projects/{}].", self.id);
        if !self.no_enable_cloud_apis {
            let service = "cloudapis.googleapis.com";
            eprintln!("Enabling service [{service}] on project [{}]...", self.id);
            let enable = format!("/serviceusage/v1/projects/{}/services/{service}:enable", encode(&self.id));
            session.client.change(Method::POST, &enable, Some(json!({})))?;
        }
        // gcloud shows a new project only to who asks for a format.
        if session.has_format() { session.show(session.client.get(&path(&self.id))?) } else { Ok(()) }
    }
}
