//! What the names in a file stand for: a resource is named by its bare name where that is enough, by
//! `PROJECT/…/NAME`, by Google's path or by a full URL.

use crate::value::unknown;
use std::collections::{BTreeMap, BTreeSet};
use std::{fmt::Display, str::FromStr};
use tombolo_model::{
    ForwardingRuleKey, InstanceKey, NetworkKey, Node, RedisKey, ServiceAttachmentKey, SubnetworkKey,
    TagValueKey, TargetInstanceKey,
};

/// What an exported file calls a network.
pub(crate) fn network_name(key: &NetworkKey) -> String {
    format!("{}/{}", key.project, key.name)
}

/// What the organization is called.
pub(crate) const ORGANIZATION: &str = "organization";

/// Everything in the file that can be named, by bare name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) projects: BTreeSet<String>,
    /// Folders by the display names that lead to them: `prod/team-a`.
    pub(crate) folders: BTreeMap<String, Node>,
    pub(crate) networks: ByName<NetworkKey>,
    pub(crate) subnetworks: ByName<SubnetworkKey>,
    pub(crate) instances: ByName<InstanceKey>,
    pub(crate) redis: ByName<RedisKey>,
    pub(crate) targets: ByName<TargetInstanceKey>,
    pub(crate) rules: ByName<ForwardingRuleKey>,
    pub(crate) attachments: ByName<ServiceAttachmentKey>,
    /// Tag values by their parents' names and their own: `project-1/role/web`.
    pub(crate) tag_values: BTreeMap<String, TagValueKey>,
    /// The network of each subnetwork of the file.
    pub(crate) network_of: BTreeMap<SubnetworkKey, NetworkKey>,
    /// Networks that have a subnetwork of their own name in every region.
    pub(crate) auto: BTreeSet<NetworkKey>,
}

/// Resources of one kind by their bare name, which several may share.
pub(crate) type ByName<K> = BTreeMap<String, BTreeSet<K>>;

/// The key that a full URL or a path (`projects/…`) stands for; `None` if the text is neither.
pub(crate) fn by_path<K: FromStr<Err = String>>(text: &str) -> Option<Result<K, String>> {
    if text.starts_with("projects/") {
        return Some(text.parse());
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let path = rest.find("/projects/").map_or(rest, |at| &rest[at + 1..]);
    Some(path.parse())
}

/// The one resource of those with the name that `wanted` lets pass.
pub(crate) fn only<K: Display + Clone>(
    what: &str,
    given: &str,
    among: &ByName<K>,
    wanted: impl Fn(&K) -> bool,
) -> Result<K, String> {
    let all = || among.get(given).into_iter().flatten();
    let preferred: Vec<&K> = all().filter(|k| wanted(k)).collect();
    let choice = if preferred.is_empty() { all().collect() } else { preferred };
    match choice.as_slice() {
        [] => Err(unknown(what, given, among.keys().map(String::as_str))),
        // The same resource twice is one here: it is refused where it is declared, not where it is named.
        [key] => Ok((*key).clone()),
        several => {
            let several: Vec<_> = several.iter().take(4).map(ToString::to_string).collect();
            Err(format!("the name '{given}' is not unique: it may be {}", several.join(" or ")))
        }
    }
}

impl Names {
    /// The network that the text names; a bare name means the one of `project` if that is given and has one.
    pub(crate) fn network(&self, given: &str, project: Option<&str>) -> Result<NetworkKey, String> {
        if let Some(key) = by_path(given) {
            return key;
        }
        match given.split('/').collect::<Vec<_>>().as_slice() {
            [project, name] if !project.is_empty() && !name.is_empty() => {
                Ok(NetworkKey::new(*project, *name))
            }
            _ => only("network", given, &self.networks, |k| project.is_some_and(|p| k.project == p)),
        }
    }

    /// The organization, or the folder that the text names: a bare display name where only one folder has it.
    pub(crate) fn node(&self, given: &str) -> Result<Node, String> {
        if given == ORGANIZATION || given == Node::Organization.to_string() {
            return Ok(Node::Organization);
        }
        if let Some(node) = self.folders.get(given) {
            return Ok(node.clone());
        }
        let named = |path: &&String| path.rsplit('/').next() == Some(given);
        match self.folders.keys().filter(named).collect::<Vec<_>>().as_slice() {
            [] => {
                let known = self.folders.keys().map(String::as_str).chain([ORGANIZATION]);
                Err(unknown("folder", given, known))
            }
            [path] => Ok(self.folders[*path].clone()),
            several => {
                let several: Vec<_> = several.iter().take(4).map(|path| path.as_str()).collect();
                Err(format!("the name '{given}' is not unique: it may be {}", several.join(" or ")))
            }
        }
    }

    /// The subnetwork that an instance of the project and region means.
    pub(crate) fn subnetwork(
        &self,
        given: &str,
        project: &str,
        region: &str,
    ) -> Result<SubnetworkKey, String> {
        if let Some(key) = by_path(given) {
            return key;
        }
        if self.auto.contains(&NetworkKey::new(project, given)) {
            return Ok(SubnetworkKey::new(project, region, given));
        }
        let here = |k: &SubnetworkKey| k.project == project && k.region == region;
        // Elsewhere in the project rather than in another one, so that the refusal says what is really wrong.
        let near = !self.subnetworks.get(given).into_iter().flatten().any(here);
        only("subnetwork", given, &self.subnetworks, |k| here(k) || (near && k.project == project))
    }

    /// The instance that the text names; a bare name means the one of `project` if that is given and has one.
    pub(crate) fn instance(&self, given: &str, project: Option<&str>) -> Result<InstanceKey, String> {
        if let Some(key) = by_path(given) {
            return key;
        }
        match given.split('/').collect::<Vec<_>>().as_slice() {
            [project, zone, name] => Ok(InstanceKey::new(*project, *zone, *name)),
            _ => only("instance", given, &self.instances, |k| project.is_some_and(|p| k.project == p)),
        }
    }

    /// An instance that is in the file.
    pub(crate) fn known_instance(&self, given: &str) -> Result<InstanceKey, String> {
        let key = self.instance(given, None)?;
        let known = self.instances.get(&key.name).is_some_and(|keys| keys.contains(&key));
        if known { Ok(key) } else { Err(unknown("instance", given, None)) }
    }

    /// A Redis instance that is in the file.
    pub(crate) fn known_redis(&self, given: &str) -> Result<RedisKey, String> {
        let key = match by_path::<RedisKey>(given) {
            Some(key) => key?,
            None => only("redis instance", given, &self.redis, |_| false)?,
        };
        let known = self.redis.get(&key.name).is_some_and(|keys| keys.contains(&key));
        if known { Ok(key) } else { Err(unknown("redis instance", given, None)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_four_notations() {
        let mut names = Names::default();
        let key = NetworkKey::new("project-i-2", "vpc-2");
        names.networks.insert("vpc-2".into(), BTreeSet::from([key.clone()]));
        for text in [
            "vpc-2",
            "project-i-2/vpc-2",
            "projects/project-i-2/global/networks/vpc-2",
            "https://www.googleapis.com/compute/v1/projects/project-i-2/global/networks/vpc-2",
            "https://compute.googleapis.com/compute/v1/projects/project-i-2/global/networks/vpc-2",
        ] {
            assert_eq!(names.network(text, None), Ok(key.clone()), "{text}");
        }
        for bad in ["vpc-3", "", "/", "projects/x", "https://", "https://x/projects/p/zones/z/networks/n"] {
            assert!(names.network(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_two_have_is_refused_unless_the_project_decides() {
        let mut names = Names::default();
        let keys = ["project-i-1", "project-i-2"].map(|p| NetworkKey::new(p, "vpc"));
        names.networks.insert("vpc".into(), keys.clone().into());
        assert_eq!(names.network("vpc", Some("project-i-2")), Ok(keys[1].clone()));
        let want = "the name 'vpc' is not unique: it may be projects/project-i-1/global/networks/vpc or \
                    projects/project-i-2/global/networks/vpc";
        assert_eq!(names.network("vpc", None), Err(want.into()));
    }
}
