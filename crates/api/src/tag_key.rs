//! Tag keys: Resource Manager v3.

use crate::failure::Failure;
use crate::operation::{Scope, utc};
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list, project};
use serde_json::{Map, Value, json};
use tombolo_model::{
    Change, NetworkKey, Node, Refusal, TagKey, TagKeyKey, TagKeySpec, TagParent, TagScope, World, tag_key,
};

pub(crate) const HANDLERS: Handlers = &[
    ("cloudresourcemanager.tagKeys.create", create),
    ("cloudresourcemanager.tagKeys.delete", delete),
    ("cloudresourcemanager.tagKeys.get", get),
    ("cloudresourcemanager.tagKeys.getNamespaced", get_namespaced),
    ("cloudresourcemanager.tagKeys.list", list),
    ("cloudresourcemanager.tagKeys.patch", patch),
];

pub(crate) const SAID: &[&str] = &["description"];
const DERIVED: &[&str] = &[
    "createTime",
    "etag",
    "name",
    "namespacedName",
    "parent",
    "purpose",
    "purposeData",
    "shortName",
    "updateTime",
];
/// The purpose of the keys that firewall policies know.
const FIREWALL: &str = "GCE_FIREWALL";
const TYPE: &str = "type.googleapis.com/google.cloud.resourcemanager.v3.TagKey";

fn key(call: &Call<'_>) -> TagKeyKey {
    TagKeyKey::new(call.param("tagKeysId"))
}

fn find<'w>(world: &'w World, key: &TagKeyKey) -> Result<&'w TagKey, Failure> {
    world.tag_keys.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

/// What keys are in, by `projects/ID`, `projects/NUMBER` or the organization's name.
pub(crate) fn parent(call: &Call<'_>, said: &str) -> Result<TagParent, Failure> {
    let expected = || format!("Must be projects/PROJECT or the only organization, {}.", Node::Organization);
    match said.parse() {
        Ok(TagParent::Project(named)) => Ok(TagParent::Project(project::find(call, &named)?.0.to_owned())),
        Ok(TagParent::Organization) => Ok(TagParent::Organization),
        Err(_) => Err(Refusal::invalid("parent", said, expected()).into()),
    }
}

/// The key of a namespaced name: `PROJECT/NAME` or `ORGANIZATION/NAME`.
pub(crate) fn namespaced<'c>(call: &'c Call<'_>, name: &str) -> Result<(&'c TagKeyKey, &'c TagKey), Failure> {
    let (namespace, short_name) = name.split_once('/').unwrap_or_default();
    let organization = TagParent::Organization;
    let parent = match namespace == organization.namespace() {
        true => organization,
        false => TagParent::Project(project::find(call, namespace)?.0.to_owned()),
    };
    let is = |found: &TagKey| found.parent == parent && found.short_name == short_name;
    let found = call.world().tag_keys.iter().find(|(_, found)| is(found));
    found.map(|(key, found)| (key, &**found)).ok_or_else(|| Refusal::not_found(name).into())
}

fn create(call: &Call<'_>) -> Result<Outcome, Failure> {
    for_real(call)?;
    let details = details::read(call, SAID, DERIVED)?;
    let parent = parent(call, call.text("parent").ok_or_else(|| Failure::required("parent"))?)?;
    let short_name = call.text("shortName").ok_or_else(|| Failure::required("shortName"))?.to_owned();
    let key = tag_key::key_of(call.world(), &parent, &short_name);
    let scope = scope(call)?;
    let changes = vec![
        Change::TagKeyCreate(TagKeySpec { parent, short_name, scope }),
        Change::Describe { resource: key.to_string(), details },
    ];
    let types = ("type.googleapis.com/google.cloud.resourcemanager.v3.CreateTagKeyMetadata", TYPE);
    Ok(Commit::long_running(call, Scope::Service, key, changes, types, by_path))
}

/// Where a key's values are to mean something, by its purpose.
fn scope(call: &Call<'_>) -> Result<Option<TagScope>, Failure> {
    let empty = Map::new();
    let data = call.field("purposeData").and_then(Value::as_object).unwrap_or(&empty);
    let refuse =
        |field: &str, value: &str, expected: &str| Err(Refusal::invalid(field, value, expected).into());
    match (call.text("purpose"), data.iter().next()) {
        (None | Some("PURPOSE_UNSPECIFIED"), None) => Ok(None),
        (None | Some("PURPOSE_UNSPECIFIED"), Some((name, _))) => {
            refuse("purposeData", name, "It can only be given together with a purpose.")
        }
        (Some(FIREWALL), Some((name, value))) if data.len() == 1 => {
            match (name.as_str(), value.as_str().unwrap_or_default()) {
                ("network", link) => Ok(Some(TagScope::Network(network(call, link)?))),
                ("organization", "auto") => Ok(Some(TagScope::Organization)),
                ("organization", other) => refuse("purposeData.organization", other, "Must be 'auto'."),
                (other, _) => refuse("purposeData", other, "Must be a 'network' or an 'organization'."),
            }
        }
        (Some(FIREWALL), _) => {
            refuse("purposeData", "", "Must be one of a 'network' and an 'organization' for this purpose.")
        }
        (Some(other), _) => Err(Failure::unsupported(format_args!("tag keys whose purpose is '{other}'"))),
    }
}

/// The network that a key is for: `PROJECT/NETWORK`, or a path or URL that ends with its name or its number.
fn network(call: &Call<'_>, said: &str) -> Result<NetworkKey, Failure> {
    let expected = "Must be PROJECT/NETWORK or the URL of a network.";
    let short = said.split_once('/').filter(|(_, name)| !name.contains('/'));
    let key = match short {
        Some((project, name)) => NetworkKey::new(project, name),
        None => links::path_of(said)
            .parse()
            .map_err(|_| Refusal::invalid("purposeData.network", said, expected))?,
    };
    let project = project::find(call, &key.project)?.0;
    let mut own = call.world().networks.iter().filter(|(other, _)| other.project == project);
    let numbered = own.find(|(_, found)| links::id(found.id) == key.name).map(|(key, _)| key.clone());
    Ok(numbered.unwrap_or_else(|| NetworkKey::new(project, &key.name)))
}

/// PATCH: the description, which is all that Google lets change.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = wire(call.world(), &key, find(call.world(), &key)?);
    let change = described(call, &key.to_string(), &present, DERIVED)?;
    let types = ("type.googleapis.com/google.cloud.resourcemanager.v3.UpdateTagKeyMetadata", TYPE);
    Ok(Commit::long_running(call, Scope::Service, key, vec![change], types, by_path))
}

/// The change of a patch of a tag key or value: of its description, if the mask has it.
pub(crate) fn described(
    call: &Call<'_>,
    path: &str,
    present: &Value,
    derived: &[&str],
) -> Result<Change, Failure> {
    for_real(call)?;
    fresh(call.text("etag"), present)?;
    let mask = call.query("updateMask");
    let mut fields = mask.unwrap_or("*").split(',');
    if let Some(other) = fields.find(|name| !["*", "description"].contains(name)) {
        return Err(Failure::unsupported(format_args!("a change of the field '{other}' of a tag")));
    }
    // Clients send back what they got, and change nothing else of it.
    let unchanged = details::patch(call, path, present, SAID, derived, &["etag", "updateTime"])?;
    match (call.text("description"), mask) {
        (None, None) if call.field("description").is_none() => Ok(unchanged),
        (said, _) => {
            let description = json!(said.unwrap_or_default());
            Ok(details::set(call.world(), path, [("description", description)]))
        }
    }
}

/// Refuses what is only to be tried.
pub(crate) fn for_real(call: &Call<'_>) -> Result<(), Failure> {
    match call.flag("validateOnly") {
        true => Err(Failure::unsupported("requests that are only validated")),
        false => Ok(()),
    }
}

/// Refuses a change whose client has not seen the last one, if it says which one it has.
pub(crate) fn fresh(etag: Option<&str>, present: &Value) -> Result<(), Failure> {
    match etag {
        Some(said) if present["etag"] != said => Err(Failure::new(
            409,
            "aborted",
            "There were concurrent changes: the etag is not the present one.",
        )),
        _ => Ok(()),
    }
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    for_real(call)?;
    let key = key(call);
    fresh(call.query("etag"), &wire(call.world(), &key, find(call.world(), &key)?))?;
    let changes = vec![Change::TagKeyDelete(key.clone())];
    let types = ("type.googleapis.com/google.cloud.resourcemanager.v3.DeleteTagKeyMetadata", TYPE);
    Ok(Commit::long_running(call, Scope::Service, key, changes, types, by_path))
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

fn get_namespaced(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (key, found) = namespaced(call, call.query("name").ok_or_else(|| Failure::required("name"))?)?;
    Ok(Outcome::Reply(wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    let parent = parent(call, call.query("parent").ok_or_else(|| Failure::required("parent"))?)?;
    let own = call.world().tag_keys.iter().filter(|(_, found)| found.parent == parent);
    list::named(call, "tagKeys", own.map(|(key, found)| wire(call.world(), key, found)).collect())
}

/// The key as it is then; of one that is gone there is nothing left to tell but its name.
fn by_path(world: &World, path: &str) -> Value {
    let found = path.parse().ok().and_then(|key: TagKeyKey| world.tag_keys.get_key_value(&key));
    found.map_or_else(|| json!({ "name": path }), |(key, found)| wire(world, key, found))
}

/// What keys are in, as Google shows it: a project by its number.
pub(crate) fn parent_name(world: &World, parent: &TagParent) -> String {
    match parent {
        TagParent::Organization => parent.to_string(),
        TagParent::Project(id) => world
            .projects
            .get(id)
            .map_or_else(|| parent.to_string(), |found| format!("projects/{}", found.shown_number())),
    }
}

fn wire(world: &World, key: &TagKeyKey, found: &TagKey) -> Value {
    let mut wire = json!({
        "name": key,
        "parent": parent_name(world, &found.parent),
        "shortName": found.short_name,
        "namespacedName": found.namespaced_name(),
        "createTime": utc(found.create_time),
        "updateTime": utc(found.create_time),
    });
    if let Some(scope) = &found.scope {
        wire["purpose"] = json!(FIREWALL);
        wire["purposeData"] = match scope {
            TagScope::Organization => json!({ "organization": "auto" }),
            TagScope::Network(network) => {
                let id = links::id(found.network_id.unwrap_or_default());
                json!({ "network": links::link(format!("projects/{}/global/networks/{id}", network.project)) })
            }
        };
    }
    finish(world, &key.to_string(), &mut wire);
    wire
}

/// Adds what was said of a tag key or value, and the etag of all of it.
pub(crate) fn finish(world: &World, path: &str, wire: &mut Value) {
    details::add(world, path, wire);
    wire["etag"] = json!(links::fingerprint(&*wire));
}
