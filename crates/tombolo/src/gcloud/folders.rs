//! `resource-manager folders` and `organizations`: Resource Manager v3.

use super::args::{Body, Listed, Named};
use super::client::encode;
use super::session::{Session, Usage, last};
use super::tags::Tags;
use super::{Globals, Noun};
use anyhow::Result;
use hyper::Method;
use serde_json::Value;

const TABLE: &str = "table(displayName, parent:label=PARENT_NAME, name.basename():label=ID)";
const ORGANIZATIONS: &str = "table(displayName, name.basename():label=ID, owner.directoryCustomerId)";
const V3: &str = "/cloudresourcemanager/v3";

/// The organization or a folder, as flags say it.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// In the organization of this number
    #[arg(long, conflicts_with = "folder")]
    organization: Option<String>,
    /// In the folder of this number
    #[arg(long)]
    folder: Option<String>,
}

impl Place {
    pub(super) fn of(organization: Option<&String>, folder: Option<&String>) -> Place {
        Place { organization: organization.cloned(), folder: folder.cloned() }
    }

    /// `organizations/1` or `folders/1`, if either is said.
    pub(super) fn said(&self) -> Option<String> {
        let of = |kind: &str, number: &Option<String>| {
            number.as_ref().map(|number| format!("{kind}/{}", last(number)))
        };
        of("organizations", &self.organization).or_else(|| of("folders", &self.folder))
    }

    /// The same, where one of the two must be.
    pub(super) fn node(&self) -> Result<String> {
        let missing = "Exactly one of (--folder | --organization) must be specified.";
        Ok(self.said().ok_or_else(|| Usage(missing.into()))?)
    }
}

/// The name of the organization that there is, and those of all folders.
pub(super) fn nodes(session: &Session<'_>) -> Result<Vec<String>> {
    let organizations = session.client.list(&format!("{V3}/organizations:search"), "organizations")?;
    let folders = session.client.list(&format!("{V3}/folders:search"), "folders")?;
    let names = organizations.iter().chain(&folders);
    Ok(names.filter_map(|node| node["name"].as_str()).map(str::to_owned).collect())
}

/// What projects are in: folders of the organization; and tags.
#[derive(Debug, clap::Args)]
pub(crate) struct ResourceManager {
    #[command(subcommand)]
    noun: ManagerNoun,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum ManagerNoun {
    /// Folders
    #[command(subcommand)]
    Folders(Verb),
    /// Tags, by which firewall policies know instances
    #[command(subcommand)]
    Tags(Tags),
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Create a folder
    #[command(
        after_help = "Example:\n  tombolo resource-manager folders create --display-name prod \\\n    --organization 433637338589"
    )]
    Create(Create),
    /// List the folders that are directly in the organization or a folder
    #[command(after_help = "Example:\n  tombolo resource-manager folders list --organization 433637338589")]
    List(ListIn),
    /// Show a folder
    #[command(after_help = "Example:\n  tombolo resource-manager folders describe 676775160624")]
    Describe(Named),
    /// Change a folder's display name
    #[command(
        after_help = "Example:\n  tombolo resource-manager folders update 676775160624 --display-name live"
    )]
    Update(Update),
    /// Delete a folder in which there is nothing
    #[command(after_help = "Example:\n  tombolo resource-manager folders delete 676775160624")]
    Delete(Named),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What people call it
    #[arg(long)]
    display_name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct ListIn {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    named: Named,
    /// What people call it from now on
    #[arg(long)]
    display_name: String,
}

fn path(name: &str) -> String {
    format!("{V3}/folders/{}", encode(last(name)))
}

impl Noun for ResourceManager {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        let verb = match &self.noun {
            ManagerNoun::Folders(verb) => verb,
            ManagerNoun::Tags(tags) => return tags.run(session),
        };
        match verb {
            Verb::Create(Create { display_name, place }) => {
                let body = Body::default().with("displayName", display_name.as_str());
                let body = body.with("parent", place.node()?).json();
                let made = session.client.change(Method::POST, &format!("{V3}/folders"), Some(body))?;
                let folder: &Value = &made["response"];
                eprintln!("Created [{}].", folder["name"].as_str().unwrap_or_default());
                session.show(folder.clone())
            }
            Verb::List(ListIn { place, listed }) => {
                let path = format!("{V3}/folders?parent={}", place.node()?);
                session.show_list(session.client.list(&path, "folders")?, listed, TABLE)
            }
            Verb::Describe(Named { name }) => session.show(session.client.get(&path(name))?),
            Verb::Update(Update { named, display_name }) => {
                let body = Body::default().with("displayName", display_name.as_str()).json();
                let path = format!("{}?updateMask=displayName", path(&named.name));
                session.client.change(Method::PATCH, &path, Some(body))?;
                eprintln!("Updated [folders/{}].", last(&named.name));
                Ok(())
            }
            Verb::Delete(Named { name }) => {
                session.confirm(&format!("The folder [{name}] will be deleted.\n"))?;
                session.client.change(Method::DELETE, &path(name), None)?;
                eprintln!("Deleted [folders/{}].", last(name));
                Ok(())
            }
        }
    }
}

/// The organization.
#[derive(Debug, clap::Args)]
pub(crate) struct Organizations {
    #[command(subcommand)]
    verb: OrganizationVerb,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum OrganizationVerb {
    /// List organizations: there is one
    #[command(after_help = "Example:\n  tombolo organizations list")]
    List(Listed),
    /// Show an organization
    #[command(after_help = "Example:\n  tombolo organizations describe 433637338589")]
    Describe(Named),
}

impl Noun for Organizations {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        match &self.verb {
            OrganizationVerb::List(listed) => {
                let all = session.client.list(&format!("{V3}/organizations:search"), "organizations")?;
                session.show_list(all, listed, ORGANIZATIONS)
            }
            OrganizationVerb::Describe(Named { name }) => {
                session.show(session.client.get(&format!("{V3}/organizations/{}", encode(last(name))))?)
            }
        }
    }
}
