//! `resource-manager tags`: keys, values and bindings, Resource Manager v3.

use super::args::{Body, List, Listed, Pairs};
use super::client::encode;
use super::session::{Session, Usage};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const TABLE: &str = "table(name, shortName, description)";
const V3: &str = "/cloudresourcemanager/v3";
const KEYS: &str = "tagKeys";
const VALUES: &str = "tagValues";

/// What instances are told apart by in firewall policies.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Tags {
    /// Tag keys
    #[command(subcommand)]
    Keys(Keys),
    /// Tag values
    #[command(subcommand)]
    Values(Values),
    /// Which values instances have
    #[command(subcommand)]
    Bindings(Bindings),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Create a tag key
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags keys create role --parent projects/my-project \\\n    --purpose GCE_FIREWALL --purpose-data network=my-project/vpc-1"
    )]
    Create(CreateKey),
    /// List the tag keys of the organization or a project
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags keys list --parent projects/my-project"
    )]
    List(ListIn),
    /// Show a tag key
    #[command(after_help = "Example:\n  tombolo resource-manager tags keys describe my-project/role")]
    Describe(One),
    /// Change a tag key's description
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags keys update my-project/role \\\n    --description 'what it is for'"
    )]
    Update(Update),
    /// Delete a tag key that has no values
    #[command(after_help = "Example:\n  tombolo resource-manager tags keys delete my-project/role")]
    Delete(One),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Values {
    /// Create a tag value
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags values create web --parent my-project/role"
    )]
    Create(CreateValue),
    /// List the values of a tag key
    #[command(after_help = "Example:\n  tombolo resource-manager tags values list --parent my-project/role")]
    List(ListIn),
    /// Show a tag value
    #[command(after_help = "Example:\n  tombolo resource-manager tags values describe my-project/role/web")]
    Describe(One),
    /// Change a tag value's description
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags values update my-project/role/web \\\n    --description 'what it is for'"
    )]
    Update(Update),
    /// Delete a tag value that no instance has and no rule names
    #[command(after_help = "Example:\n  tombolo resource-manager tags values delete my-project/role/web")]
    Delete(One),
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Bindings {
    /// Bind a tag value to an instance
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags bindings create \\\n    --tag-value my-lab/role/web \\\n    --parent \\\n    //compute.googleapis.com/projects/my-lab/zones/us-east1-b/instances/vm-1 \\\n    --location us-east1-b"
    )]
    Create(Bind),
    /// List the values that an instance has
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags bindings list \\\n    --parent \\\n    //compute.googleapis.com/projects/my-lab/zones/us-east1-b/instances/vm-1 \\\n    --location us-east1-b"
    )]
    List(ListBindings),
    /// Take a tag value from an instance
    #[command(
        after_help = "Example:\n  tombolo resource-manager tags bindings delete \\\n    --tag-value my-lab/role/web \\\n    --parent \\\n    //compute.googleapis.com/projects/my-lab/zones/us-east1-b/instances/vm-1 \\\n    --location us-east1-b"
    )]
    Delete(Bind),
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateKey {
    /// What people call it
    short_name: String,
    /// What it is in: projects/PROJECT or organizations/NUMBER
    #[arg(long)]
    parent: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// GCE_FIREWALL, if rules of firewall policies are to name its values
    #[arg(long)]
    purpose: Option<String>,
    /// Where its values mean something: network=PROJECT/NETWORK, or organization=auto
    #[arg(long, value_name = "KEY=VALUE", requires = "purpose")]
    purpose_data: Option<Pairs>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateValue {
    /// What people call it
    short_name: String,
    /// The tag key: tagKeys/NUMBER or PARENT/NAME
    #[arg(long)]
    parent: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListIn {
    /// What they are in: of keys projects/PROJECT or organizations/NUMBER, of values the tag key
    #[arg(long)]
    parent: String,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Its name, such as tagKeys/NUMBER, or those of its parents and its own: my-project/role
    #[arg(value_name = "RESOURCE_NAME")]
    name: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Update {
    #[command(flatten)]
    one: One,
    /// What it is for
    #[arg(long)]
    description: String,
}

#[derive(Debug, clap::Args)]
struct At {
    /// The instance's full resource name
    #[arg(long)]
    parent: String,
    /// Its zone
    #[arg(long)]
    location: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Bind {
    /// The value: tagValues/NUMBER, or its names: my-project/role/web
    #[arg(long)]
    tag_value: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListBindings {
    #[command(flatten)]
    at: At,
    /// Those that it has from above, too: instances have none
    #[arg(long)]
    effective: bool,
    #[command(flatten)]
    listed: Listed,
}

/// The name by number of a tag key or value that is said so or by its and its parents' names.
fn numbered(session: &Session<'_>, collection: &str, said: &str) -> Result<String> {
    if said.strip_prefix(collection).is_some_and(|rest| rest.starts_with('/')) {
        return Ok(said.to_owned());
    }
    let found = session.client.get(&format!("{V3}/{collection}/namespaced?name={}", encode(said)))?;
    Ok(found["name"].as_str().unwrap_or_default().to_owned())
}

/// The tag values of a list, as rules of firewall policies name them.
pub(super) fn named(session: &Session<'_>, values: Option<&List>) -> Result<Option<Value>> {
    let Some(List(values)) = values else { return Ok(None) };
    let one = |said: &String| Ok(json!({ "name": numbered(session, VALUES, said)? }));
    values.iter().map(one).collect::<Result<Value>>().map(Some)
}

/// Makes a change, and shows its operation, as gcloud does where there is no resource to show, or it has no other way to.
fn operate(session: &Session<'_>, method: Method, path: &str, body: Option<Value>) -> Result<()> {
    session.show(session.client.change(method, &format!("{V3}/{path}"), body)?)
}

/// Makes a change, and shows what comes of it.
fn change(session: &Session<'_>, method: Method, path: &str, body: Option<Value>) -> Result<()> {
    let mut made = session.client.change(method, &format!("{V3}/{path}"), body)?;
    let mut response = made["response"].take();
    response.as_object_mut().map(|fields| fields.shift_remove("@type"));
    session.show(response)
}

fn create(session: &Session<'_>, collection: &str, body: Body) -> Result<()> {
    change(session, Method::POST, collection, Some(body.json()))
}

fn list(session: &Session<'_>, collection: &str, parent: &str, listed: &Listed) -> Result<()> {
    let path = format!("{V3}/{collection}?parent={}", encode(parent));
    session.show_list(session.client.list(&path, collection)?, listed, TABLE)
}

fn describe(session: &Session<'_>, collection: &str, One { name }: &One) -> Result<()> {
    session.show(session.client.get(&format!("{V3}/{}", numbered(session, collection, name)?))?)
}

fn update(session: &Session<'_>, collection: &str, Update { one, description }: &Update) -> Result<()> {
    let path = format!("{}?updateMask=description", numbered(session, collection, &one.name)?);
    let body = Body::default().with("description", description.as_str());
    change(session, Method::PATCH, &path, Some(body.json()))
}

fn delete(session: &Session<'_>, collection: &str, One { name }: &One) -> Result<()> {
    operate(session, Method::DELETE, &numbered(session, collection, name)?, None)
}

impl Tags {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Tags::Keys(verb) => verb.run(session),
            Tags::Values(verb) => verb.run(session),
            Tags::Bindings(verb) => verb.run(session),
        }
    }
}

impl Keys {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Keys::Create(CreateKey { short_name, parent, description, purpose, purpose_data }) => {
                let body = Body::default()
                    .with("shortName", short_name.as_str())
                    .with("parent", parent.as_str())
                    .maybe("description", description.as_deref())
                    .maybe("purpose", purpose.as_deref())
                    .maybe("purposeData", purpose_data.as_ref().map(Pairs::map));
                create(session, KEYS, body)
            }
            Keys::List(ListIn { parent, listed }) => list(session, KEYS, parent, listed),
            Keys::Describe(one) => describe(session, KEYS, one),
            Keys::Update(said) => update(session, KEYS, said),
            Keys::Delete(one) => delete(session, KEYS, one),
        }
    }
}

impl Values {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Values::Create(CreateValue { short_name, parent, description }) => {
                let body = Body::default()
                    .with("shortName", short_name.as_str())
                    .with("parent", numbered(session, KEYS, parent)?)
                    .maybe("description", description.as_deref());
                create(session, VALUES, body)
            }
            Values::List(ListIn { parent, listed }) => {
                list(session, VALUES, &numbered(session, KEYS, parent)?, listed)
            }
            Values::Describe(one) => describe(session, VALUES, one),
            Values::Update(said) => update(session, VALUES, said),
            Values::Delete(one) => delete(session, VALUES, one),
        }
    }
}

impl At {
    /// The full resource name, which must be one of the location that is said.
    fn parent(&self) -> Result<&str> {
        let elsewhere = |place: &&String| !self.parent.contains(&format!("/zones/{place}/"));
        match self.location.as_ref().filter(elsewhere) {
            Some(place) => {
                Err(Usage(format!("argument --location: '{}' is not in {place}.", self.parent)).into())
            }
            None => Ok(&self.parent),
        }
    }
}

impl Bindings {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Bindings::Create(Bind { tag_value, at }) => {
                let value = numbered(session, VALUES, tag_value)?;
                let body = Body::default().with("parent", at.parent()?).with("tagValue", value);
                operate(session, Method::POST, "tagBindings", Some(body.json()))
            }
            Bindings::List(ListBindings { at, effective, listed }) => {
                let collection = if *effective { "effectiveTags" } else { "tagBindings" };
                let path = format!("{V3}/{collection}?parent={}", encode(at.parent()?));
                session.show_list(session.client.list(&path, collection)?, listed, "yaml")
            }
            Bindings::Delete(Bind { tag_value, at }) => {
                let value = numbered(session, VALUES, tag_value)?;
                let path = format!("tagBindings/{}/{value}", encode(at.parent()?));
                operate(session, Method::DELETE, &path, None)
            }
        }
    }
}
