//! Folders and the organization: Resource Manager v3; of folders also v2, and of organizations v1.

use crate::failure::Failure;
use crate::operation::{Scope, utc};
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list};
use serde_json::{Value, json};
use tombolo_model::{Change, Folder, FolderKey, Node, Refusal, Timestamp, World, folder};

pub(crate) const HANDLERS: Handlers = &[
    ("cloudresourcemanager.folders.create", create),
    ("cloudresourcemanager.folders.delete", delete),
    ("cloudresourcemanager.folders.get", get),
    ("cloudresourcemanager.folders.list", list),
    ("cloudresourcemanager.folders.patch", patch),
    ("cloudresourcemanager.folders.search", search),
    ("cloudresourcemanager.organizations.get", get_organization),
    ("cloudresourcemanager.organizations.search", search_organizations),
];

const DERIVED: &[&str] =
    &["createTime", "displayName", "etag", "lifecycleState", "name", "parent", "state", "updateTime"];
/// The organization's name, and when it was made.
const DOMAIN: &str = "tombolo.example";
const SINCE: Timestamp = Timestamp(1_577_836_800_000);

/// The organization or folder that a field names, by `folders/NUMBER`, `organizations/NUMBER` or a URL that ends so.
pub(crate) fn node(field: &str, said: &str) -> Result<Node, Failure> {
    let start = said.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    let expected = || format!("Must be folders/NUMBER, or the only organization, {}.", Node::Organization);
    said[start..].parse().map_err(|_| Refusal::invalid(field, said, expected()).into())
}

fn key(call: &Call<'_>) -> FolderKey {
    FolderKey::new(call.param("foldersId"))
}

fn find<'w>(world: &'w World, key: &FolderKey) -> Result<&'w Folder, Failure> {
    world.folders.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn is_v2(call: &Call<'_>) -> bool {
    call.method.api == crate::Api::ResourceManagerV2
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    details::read(call, &[], DERIVED)?;
    let said = call.query("parent").or_else(|| call.text("parent"));
    let parent = node("parent", said.ok_or_else(|| Failure::required("parent"))?)?;
    let display_name = call.text("displayName").ok_or_else(|| Failure::required("displayName"))?.to_owned();
    let key = folder::key_of(call.world(), &parent, &display_name);
    let change = Change::FolderCreate { parent, display_name };
    let metadata = "type.googleapis.com/google.cloud.resourcemanager.v3.CreateFolderMetadata";
    Ok(long_running(call, metadata, &key, change))
}

/// PATCH: the display name, which is all that Google lets change.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    details::read(call, &[], DERIVED)?;
    let display_name = call.text("displayName").ok_or_else(|| Failure::required("displayName"))?.to_owned();
    let change = Change::FolderRename { folder: key.clone(), display_name };
    Ok(commit(call, "type.googleapis.com/google.cloud.resourcemanager.v3.UpdateFolderMetadata", &key, change))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let change = Change::FolderDelete(key.clone());
    Ok(commit(call, "type.googleapis.com/google.cloud.resourcemanager.v3.DeleteFolderMetadata", &key, change))
}

/// A change that v2 answers with the folder, and v3 with an operation.
fn commit(call: &Call<'_>, metadata: &'static str, key: &FolderKey, change: Change) -> Outcome {
    match is_v2(call) {
        true => Commit::resource(call, key, vec![change], |world, path| by_path(world, path, v2)),
        false => long_running(call, metadata, key, change),
    }
}

fn long_running(call: &Call<'_>, metadata: &'static str, key: &FolderKey, change: Change) -> Outcome {
    let changes = vec![change];
    if is_v2(call) {
        let types = (
            "type.googleapis.com/google.cloud.resourcemanager.v2.FolderOperation",
            "type.googleapis.com/google.cloud.resourcemanager.v2.Folder",
        );
        return Commit::long_running(call, Scope::Service, key, changes, types, |world, path| {
            by_path(world, path, v2)
        });
    }
    let types = (metadata, "type.googleapis.com/google.cloud.resourcemanager.v3.Folder");
    Commit::long_running(call, Scope::Service, key, changes, types, |world, path| by_path(world, path, v3))
}

/// How a version shows a folder.
type Shown = fn(&FolderKey, &Folder) -> Value;

/// The folder as it is then; one that is gone is on its way out.
fn by_path(world: &World, path: &str, shown: Shown) -> Value {
    let found = path.parse().ok().and_then(|key: FolderKey| world.folders.get_key_value(&key));
    // Google tells all of it, and here there is nothing left to tell.
    found.map_or_else(|| json!({ "name": path }), |(key, found)| shown(key, found))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(shown(call)(&key, found)))
}

fn shown(call: &Call<'_>) -> Shown {
    if is_v2(call) { v2 } else { v3 }
}

/// Those that are directly in a node.
fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let parent = node("parent", call.query("parent").ok_or_else(|| Failure::required("parent"))?)?;
    let own = call.world().folders.iter().filter(|(_, found)| found.parent == parent);
    list::named(call, "folders", own.map(|(key, found)| shown(call)(key, found)).collect())
}

fn search(call: &Call<'_>) -> Result<Outcome, Failure> {
    no_query(call)?;
    let all = call.world().folders.iter();
    list::named(call, "folders", all.map(|(key, found)| shown(call)(key, found)).collect())
}

/// Refuses what a search was to be for.
pub(crate) fn no_query(call: &Call<'_>) -> Result<(), Failure> {
    match call.query("query").or_else(|| call.text("query")) {
        None => Ok(()),
        Some(_) => Err(Failure::unsupported(format_args!("the parameter 'query' of '{}'", call.method.id))),
    }
}

fn v2(key: &FolderKey, found: &Folder) -> Value {
    json!({
        "name": key,
        "parent": found.parent,
        "displayName": found.display_name,
        "lifecycleState": "ACTIVE",
        "createTime": utc(found.create_time),
    })
}

fn v3(key: &FolderKey, found: &Folder) -> Value {
    json!({
        "name": key,
        "parent": found.parent,
        "displayName": found.display_name,
        "state": "ACTIVE",
        "createTime": utc(found.create_time),
        "updateTime": utc(found.create_time),
        "etag": links::fingerprint(found),
    })
}

fn get_organization(call: &Call<'_>) -> Result<Outcome, Failure> {
    let path = format!("organizations/{}", call.param("organizationsId"));
    if path != Node::Organization.to_string() {
        return Err(Refusal::not_found(path).into());
    }
    Ok(Outcome::Reply(organization(call)))
}

fn search_organizations(call: &Call<'_>) -> Result<Outcome, Failure> {
    no_query(call)?;
    Ok(Outcome::Reply(json!({ "organizations": [organization(call)] })))
}

fn organization(call: &Call<'_>) -> Value {
    let (name, since) = (Node::Organization, utc(SINCE));
    match call.method.api {
        crate::Api::ResourceManagerV3 => json!({
            "name": name,
            "displayName": DOMAIN,
            "state": "ACTIVE",
            "createTime": since,
            "updateTime": since,
            "etag": links::fingerprint(&DOMAIN),
        }),
        _ => json!({
            "name": name, "displayName": DOMAIN, "lifecycleState": "ACTIVE", "creationTime": since,
        }),
    }
}
