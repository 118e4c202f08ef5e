//! The organization and its folders: what projects are in, and what hierarchical firewall policies act at.
//!
//! ```text
//!   organizations/433637338589
//!   ├── folders/… "prod"
//!   │   └── folders/… "team-a" ── a project
//!   └── a project                                 a project without a parent is in none of it
//! ```
//!
//! There is one organization, which always exists. A folder's number follows from where it was made and its display name,
//! so that whoever describes folders can name them before they are there.
//! Source: Google's documentation of Resource Manager, "Resource hierarchy" and "Creating and managing folders".

use crate::{FolderKey, Refusal, Timestamp, World};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The number of the organization.
pub const ORGANIZATION: u64 = 433_637_338_589;
/// How deep folders may be nested.
const MAX_DEPTH: usize = 10;

/// The organization, or a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Node {
    /// The organization.
    Organization,
    /// A folder.
    Folder(FolderKey),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Organization => write!(f, "organizations/{ORGANIZATION}"),
            Node::Folder(key) => key.fmt(f),
        }
    }
}

impl From<Node> for String {
    fn from(node: Node) -> String {
        node.to_string()
    }
}

impl FromStr for Node {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == Node::Organization.to_string() {
            return Ok(Node::Organization);
        }
        let key = text.parse::<FolderKey>().ok().filter(|key| key.name.bytes().all(|b| b.is_ascii_digit()));
        let expected = || {
            format!("'{text}' is neither folders/NUMBER nor the only organization, {}", Node::Organization)
        };
        key.map(Node::Folder).ok_or_else(expected)
    }
}

impl TryFrom<String> for Node {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// Its number, which is its name too.
    pub id: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// What it is in.
    pub parent: Node,
    /// What people call it; no other folder beside it has the same.
    pub display_name: String,
}

/// A number of twelve digits that follows from a text: no project has such a one.
pub(crate) fn number(text: &str) -> u64 {
    // FNV-1a.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    500_000_000_000 + hash % 500_000_000_000
}

/// The key that a folder gets: the number of its name, or the first one after that which no folder has.
pub fn key_of(world: &World, parent: &Node, display_name: &str) -> FolderKey {
    let first = number(&format!("{parent}/{display_name}"));
    let free = (first..).map(|number| FolderKey::new(number.to_string()));
    let mut free = free;
    free.find(|key| !world.folders.contains_key(key)).unwrap_or_else(|| FolderKey::new(""))
}

/// Creates an empty folder.
pub(crate) fn create(
    world: &mut World,
    parent: &Node,
    display_name: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    require(world, parent)?;
    check_display_name(world, parent, display_name, None)?;
    if ancestry(world, Some(parent)).len() > MAX_DEPTH {
        let expected = format!("Folders may be nested {MAX_DEPTH} deep.");
        return Err(Refusal::invalid("parent", parent, expected));
    }
    let key = key_of(world, parent, display_name);
    let id = key.name.parse().unwrap_or_default();
    let (parent, display_name) = (parent.clone(), display_name.to_owned());
    world.folders.insert(key, Arc::new(Folder { id, create_time: now, parent, display_name }));
    Ok(())
}

/// Gives a folder another display name.
pub(crate) fn rename(world: &mut World, key: &FolderKey, display_name: &str) -> Result<(), Refusal> {
    let parent = get(world, key)?.parent.clone();
    check_display_name(world, &parent, display_name, Some(key))?;
    if let Some(folder) = world.folders.get_mut(key) {
        Arc::make_mut(folder).display_name = display_name.to_owned();
    }
    Ok(())
}

/// Deletes a folder in which there is nothing, and at which no firewall policy acts.
pub(crate) fn delete(world: &mut World, key: &FolderKey) -> Result<(), Refusal> {
    get(world, key)?;
    let node = Node::Folder(key.clone());
    let folders = world.folders.iter().filter(|(_, folder)| folder.parent == node);
    let projects = world.projects.iter().filter(|(_, project)| project.parent.as_ref() == Some(&node));
    let policies = world
        .hierarchical_policies
        .iter()
        .filter(|(_, policy)| policy.parent == node || policy.associations.values().any(|at| *at == node));
    let mut users = folders
        .map(|(key, _)| key.to_string())
        .chain(projects.map(|(id, _)| format!("projects/{id}")))
        .chain(policies.map(|(key, _)| key.to_string()));
    if let Some(user) = users.next() {
        return Err(Refusal::in_use("folder", key, user));
    }
    world.folders.remove(key);
    Ok(())
}

/// The organization and the folders down to a node, that itself among them. Nothing above what there is not.
pub fn ancestry(world: &World, node: Option<&Node>) -> Vec<Node> {
    let above = |node: &Node| match node {
        Node::Organization => None,
        Node::Folder(key) => world.folders.get(key).map(|folder| folder.parent.clone()),
    };
    // Nothing is deeper; a damaged store's circle would have no end.
    let up = std::iter::successors(node.cloned(), above).take(MAX_DEPTH + 1);
    let mut nodes: Vec<Node> = up.collect();
    nodes.reverse();
    nodes
}

/// Checks that there is such a node.
pub(crate) fn require(world: &World, node: &Node) -> Result<(), Refusal> {
    match node {
        Node::Organization => Ok(()),
        Node::Folder(key) => get(world, key).map(drop),
    }
}

fn get<'w>(world: &'w World, key: &FolderKey) -> Result<&'w Folder, Refusal> {
    world.folders.get(key).map(|folder| &**folder).ok_or_else(|| Refusal::not_found(key))
}

/// Checks a display name as Resource Manager does, and that no other folder beside it has it.
fn check_display_name(
    world: &World,
    parent: &Node,
    name: &str,
    own: Option<&FolderKey>,
) -> Result<(), Refusal> {
    let edge = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let inner = |c: char| c.is_alphanumeric() || " -_".contains(c);
    let length = name.chars().count();
    if !(3..=30).contains(&length)
        || !name.chars().all(inner)
        || !edge(name.chars().next())
        || !edge(name.chars().last())
    {
        let expected = "Must be 3 to 30 letters, digits, spaces, hyphens and underscores, and start and end with a letter or digit.";
        return Err(Refusal::invalid("displayName", name, expected));
    }
    let same = |(key, folder): &(&FolderKey, &Arc<Folder>)| {
        folder.parent == *parent && folder.display_name == name && Some(*key) != own
    };
    if world.folders.iter().any(|found| same(&found)) {
        return Err(Refusal::already_exists(format!("{parent}/folders/{name}")));
    }
    Ok(())
}
