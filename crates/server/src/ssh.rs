//! Who may log in to a VM by ssh, from what the World says of it.

use crate::lab::LabError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tombolo_agent::SshConfig;
use tombolo_guest::names::project_metadata;
use tombolo_model::{Change, Instance, InstanceKey, Refusal, World};
use tombolo_ssh::{
    Config, KeyPlace, SSH_KEYS, Secret, entry, is_user_name, key_place, key_texts, with_entry,
};

/// What is said of a project has the metadata of all its instances here. Source: `projects.get` of Compute.
const COMMON_METADATA: &str = "commonInstanceMetadata";

/// A key that is to be let in to an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    /// Where.
    pub instance: InstanceKey,
    /// As whom.
    pub user: String,
    /// The public key, as in OpenSSH's files.
    pub public_key: String,
}

/// What the ssh server of an instance is told.
pub(crate) fn config(world: &World, key: &InstanceKey, instance: &Instance, secret: &Secret) -> SshConfig {
    let keys = key_texts(
        |name| instance.metadata.get(name).map(String::as_str),
        |name| project_metadata(world, &key.project, name),
    );
    let config = Config { host_key: secret.host_key(instance.id), keys };
    // Numbers and texts always have a JSON.
    SshConfig(serde_json::to_string(&config).unwrap_or_default())
}

/// The change that lets a key in, where gcloud would put it; `None` when it is in already.
pub(crate) fn let_in(world: &World, login: &Login) -> Result<Option<Change>, LabError> {
    let Login { instance: key, user, public_key } = login;
    let instance = world.instances.get(key).ok_or_else(|| Refusal::not_found(key))?;
    if !is_user_name(user) {
        return Err(LabError::Server(format!("'{user}' is not the name of a user")));
    }
    let entry = entry(user, public_key);
    let own = |name: &str| instance.metadata.get(name).map(String::as_str);
    let shared = |name: &str| project_metadata(world, &key.project, name);
    if key_texts(own, shared).iter().any(|text| with_entry(text, &entry).is_none()) {
        return Ok(None);
    }
    Ok(match key_place(own) {
        KeyPlace::Instance => with_entry(own(SSH_KEYS).unwrap_or_default(), &entry).map(|text| {
            let mut metadata = instance.metadata.clone();
            metadata.insert(SSH_KEYS.to_owned(), text);
            Change::InstanceSetMetadata { instance: key.clone(), metadata }
        }),
        KeyPlace::Project => with_entry(shared(SSH_KEYS).unwrap_or_default(), &entry)
            .map(|text| set_project_metadata(world, &key.project, SSH_KEYS, &text)),
    })
}

fn set_project_metadata(world: &World, project: &str, name: &str, value: &str) -> Change {
    let resource = format!("projects/{project}");
    let mut details = world.details.get(&resource).map(|details| (**details).clone()).unwrap_or_default();
    let said = details.get(COMMON_METADATA).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut items: Vec<Value> = said.into_iter().filter(|item| item["key"] != name).collect();
    items.push(json!({ "key": name, "value": value }));
    details.insert(COMMON_METADATA.to_owned(), items.into());
    Change::Describe { resource, details }
}
