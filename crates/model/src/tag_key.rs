//! Tag keys of Resource Manager: what instances are told apart by in firewall policies.
//!
//! ```text
//!   tagKeys/N "project-1/role"          for one network, or for all of the organization
//!   ├── tagValues/N "web"  ── bound to instances: one value of a key each
//!   └── tagValues/N "db"   ── named by rules of firewall policies: as their sources or targets
//! ```
//!
//! A key whose purpose is `GCE_FIREWALL` says in which network its values mean something to firewall policies. Its number
//! follows from its parent and its name, so that whoever describes keys can name them before they are there.
//! Source: Google's documentation of Resource Manager, "Creating and managing tags", and of Cloud NGFW, "Secure tags for
//! firewalls".

use crate::folder::{self, Node};
use crate::{NetworkKey, Refusal, TagKeyKey, Timestamp, World, tag_value};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The most keys that a parent may have, and the most values of a key ("Secure tags for firewalls", specifications).
pub(crate) const MOST: usize = 1000;

/// A tag key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagKey {
    /// Its number, which is its name too.
    pub id: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// What it is in.
    pub parent: TagParent,
    /// What people call it, unique in its parent.
    pub short_name: String,
    /// Where its values mean something to firewall policies; nowhere when it has not that purpose.
    pub scope: Option<TagScope>,
    /// The number of its network: another one of the same name, later, is not meant.
    pub network_id: Option<u64>,
}

/// What a tag key is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum TagParent {
    /// The organization.
    Organization,
    /// A project, by its id.
    Project(String),
}

impl fmt::Display for TagParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TagParent::Organization => Node::Organization.fmt(f),
            TagParent::Project(id) => write!(f, "projects/{id}"),
        }
    }
}

impl From<TagParent> for String {
    fn from(parent: TagParent) -> String {
        parent.to_string()
    }
}

impl FromStr for TagParent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("projects/").filter(|id| !id.is_empty() && !id.contains('/')) {
            Some(id) => Ok(TagParent::Project(id.to_owned())),
            None if text == Node::Organization.to_string() => Ok(TagParent::Organization),
            None => Err(format!(
                "'{text}' is neither projects/PROJECT nor the only organization, {}",
                Node::Organization
            )),
        }
    }
}

impl TryFrom<String> for TagParent {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TagParent {
    /// How namespaced names begin: the project's id or the organization's number.
    pub fn namespace(&self) -> String {
        match self {
            TagParent::Organization => folder::ORGANIZATION.to_string(),
            TagParent::Project(id) => id.clone(),
        }
    }
}

/// Where the values of a tag key mean something to firewall policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TagScope {
    /// At interfaces in one network (`network=PROJECT/NETWORK`).
    Network(NetworkKey),
    /// At interfaces in every network of the organization (`organization=auto`).
    Organization,
}

/// What a user says of a new tag key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TagKeySpec {
    /// What it is to be in.
    pub parent: TagParent,
    /// What people call it.
    pub short_name: String,
    /// Where its values are to mean something to firewall policies.
    pub scope: Option<TagScope>,
}

/// The key that a tag key gets: the number of its name, or the first one after that which none has.
pub fn key_of(world: &World, parent: &TagParent, short_name: &str) -> TagKeyKey {
    let first = folder::number(&format!("{parent}/tagKeys/{short_name}"));
    let mut free = (first..).map(|number| TagKeyKey::new(number.to_string()));
    free.find(|key| !world.tag_keys.contains_key(key)).unwrap_or_else(|| TagKeyKey::new(""))
}

/// Creates a key without values.
pub(crate) fn create(world: &mut World, spec: &TagKeySpec, now: Timestamp) -> Result<(), Refusal> {
    let TagKeySpec { parent, short_name, scope } = spec;
    if let TagParent::Project(id) = parent {
        world.projects.get(id).ok_or_else(|| Refusal::not_found(parent))?;
    }
    check_short_name(short_name)?;
    let beside = || world.tag_keys.values().filter(|other| other.parent == *parent);
    if beside().any(|other| other.short_name == *short_name) {
        return Err(Refusal::already_exists(format!("{parent}/tagKeys/{short_name}")));
    }
    if beside().count() >= MOST {
        return Err(Refusal::QuotaExceeded { quota: "TagKeysPerParent", limit: MOST });
    }
    let network_id = match scope {
        Some(TagScope::Network(network)) => Some(network_of(world, parent, network)?),
        Some(TagScope::Organization) if *parent != TagParent::Organization => {
            let expected = "Only a tag key of an organization can be for all of it.";
            return Err(Refusal::invalid("purposeData.organization", "auto", expected));
        }
        _ => None,
    };
    let key = key_of(world, parent, short_name);
    let id = key.name.parse().unwrap_or_default();
    let (parent, short_name, scope) = (parent.clone(), short_name.clone(), scope.clone());
    let found = TagKey { id, create_time: now, parent, short_name, scope, network_id };
    world.tag_keys.insert(key, Arc::new(found));
    Ok(())
}

/// The number of the network that a key of that parent is for: one of the project, or of the organization's projects.
fn network_of(world: &World, parent: &TagParent, network: &NetworkKey) -> Result<u64, Refusal> {
    let refuse = |expected: &str| Err(Refusal::invalid("purposeData.network", network, expected));
    let Some(found) = world.networks.get(network).filter(|found| !found.google_managed) else {
        return refuse("The referenced network resource cannot be found.");
    };
    match parent {
        TagParent::Project(id) if network.project != *id => {
            refuse("The network must be in the project that the tag key is in.")
        }
        TagParent::Organization if !is_in_organization(world, &network.project) => {
            refuse("The network's project must be in the organization that the tag key is in.")
        }
        _ => Ok(found.id),
    }
}

/// Whether a project is in the organization.
pub(crate) fn is_in_organization(world: &World, project: &str) -> bool {
    let parent = world.projects.get(project).and_then(|project| project.parent.as_ref());
    folder::ancestry(world, parent).first() == Some(&Node::Organization)
}

/// Deletes a key that has no values.
pub(crate) fn delete(world: &mut World, key: &TagKeyKey) -> Result<(), Refusal> {
    get(world, key)?;
    if let Some((value, _)) = tag_value::of_key(world, key).next() {
        return Err(Refusal::in_use("tag_key", key, value));
    }
    world.tag_keys.remove(key);
    Ok(())
}

pub(crate) fn get<'w>(world: &'w World, key: &TagKeyKey) -> Result<&'w TagKey, Refusal> {
    world.tag_keys.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key))
}

impl TagKey {
    /// Its name with its parent's before it: `project-1/role`.
    pub fn namespaced_name(&self) -> String {
        format!("{}/{}", self.parent.namespace(), self.short_name)
    }

    /// Where its values mean something to firewall policies now: nowhere once its network is gone.
    pub fn effective_scope(&self, world: &World) -> Option<&TagScope> {
        self.scope.as_ref().filter(|scope| match scope {
            TagScope::Network(network) => world.networks.get(network).map(|it| it.id) == self.network_id,
            TagScope::Organization => true,
        })
    }

    /// Whether its values mean something to firewall policies at interfaces in a network.
    pub fn is_for(&self, world: &World, network: &NetworkKey) -> bool {
        match self.effective_scope(world) {
            Some(TagScope::Network(own)) => own == network,
            Some(TagScope::Organization) => is_in_organization(world, &network.project),
            None => false,
        }
    }
}

/// Checks the name of a tag key or value as Resource Manager does.
pub(crate) fn check_short_name(name: &str) -> Result<(), Refusal> {
    let wrong = |c: char| "'\"\\/".contains(c) || c.is_control();
    if (1..=256).contains(&name.chars().count()) && !name.contains(wrong) {
        return Ok(());
    }
    let expected = "Must be 1 to 256 characters without quotes, slashes, backslashes and control characters.";
    Err(Refusal::invalid("shortName", name, expected))
}
