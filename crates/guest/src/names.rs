//! Internal DNS names: `NAME.ZONE.c.PROJECT.internal`, and `NAME.c.PROJECT.internal` where a project still has those.
//!
//! Source: Google's documentation of internal DNS ("Internal DNS", "Migrate to using zonal DNS names").

use tombolo_model::{Instance, InstanceKey, World};

/// The metadata that says which names an instance has.
const SETTING: &str = "VmDnsSetting";
/// What is said of a project has the metadata of all its instances here. Source: `projects.get` of Compute.
const COMMON_METADATA: &str = "commonInstanceMetadata";

/// Which names an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsSetting {
    /// Its zonal name: what projects of today have.
    ZonalOnly,
    /// Both, and it calls itself by the zonal one.
    ZonalPreferred,
    /// Both, and it calls itself by the global one.
    GlobalDefault,
}

impl DnsSetting {
    /// What an instance's or its project's metadata says.
    pub fn of(world: &World, key: &InstanceKey, instance: &Instance) -> Self {
        let own = instance.metadata.get(SETTING).map(String::as_str);
        match own.or_else(|| project_metadata(world, &key.project, SETTING)) {
            Some("GlobalDefault") => Self::GlobalDefault,
            Some("ZonalPreferred") => Self::ZonalPreferred,
            _ => Self::ZonalOnly,
        }
    }
}

/// `NAME.ZONE.c.PROJECT.internal`.
pub fn zonal(key: &InstanceKey) -> String {
    format!("{}.{}.c.{}.internal", key.name, key.zone, key.project)
}

/// `NAME.c.PROJECT.internal`.
pub fn global(key: &InstanceKey) -> String {
    format!("{}.c.{}.internal", key.name, key.project)
}

/// The full name by which an instance calls itself, unless it was given another.
pub fn own(world: &World, key: &InstanceKey, instance: &Instance) -> String {
    match DnsSetting::of(world, key, instance) {
        DnsSetting::GlobalDefault => global(key),
        DnsSetting::ZonalOnly | DnsSetting::ZonalPreferred => zonal(key),
    }
}

/// Where an instance looks for names that are not full.
pub fn search(world: &World, key: &InstanceKey, instance: &Instance) -> String {
    let InstanceKey { project, zone, .. } = key;
    match DnsSetting::of(world, key, instance) {
        DnsSetting::GlobalDefault => format!("c.{project}.internal google.internal"),
        DnsSetting::ZonalOnly | DnsSetting::ZonalPreferred => {
            format!("{zone}.c.{project}.internal c.{project}.internal google.internal")
        }
    }
}

/// The metadata of all instances of a project.
pub fn project_attributes<'w>(
    world: &'w World,
    project: &str,
) -> impl Iterator<Item = (&'w str, &'w str)> + use<'w> {
    let details = world.details.get(&format!("projects/{project}"));
    let items = details.and_then(|details| details.get(COMMON_METADATA)?.as_array());
    let pair = |item: &'w serde_json::Value| {
        Some((item["key"].as_str()?, item["value"].as_str().unwrap_or_default()))
    };
    items.into_iter().flatten().filter_map(pair)
}

/// What a project's metadata says for all its instances; an item without a value says nothing, in so many words.
pub fn project_metadata<'w>(world: &'w World, project: &str, name: &str) -> Option<&'w str> {
    project_attributes(world, project).find(|(key, _)| *key == name).map(|(_, value)| value)
}
