//! A World as rows, one per resource: what a store keeps, and what has to be written when one World follows another.
//!
//! ```text
//!   World ──┐
//!           ├─ changed() ─▶ rows that are new, other or gone ─▶ a store ─▶ from_rows() ─▶ World'
//!   World' ─┘
//! ```
//!
//! Maps share structure with those that they were made from, so that finding a change costs what the change is large.

use crate::instance::{DEFAULT_ACCOUNT, ServiceAccount};
use crate::{InstanceKey, World};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The field of a World that is a number; it has one row, with an empty key.
const IDS: &str = "ids";
/// The field of a World that is a secret; it has one row too.
const SEED: &str = "seed";

/// A resource as a store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The collection, such as `networks`: the World's field.
    pub kind: String,
    /// The resource's key, as text.
    pub key: String,
    /// The resource; `None` for one that is gone.
    pub value: Option<Value>,
}

impl World {
    /// The rows in which this World differs from an earlier one. An error is a resource that is no JSON, which none is.
    pub fn changed(&self, before: &World) -> Result<Vec<Row>, serde_json::Error> {
        // Without `..`: a field that is added must be kept too.
        let World {
            projects,
            folders,
            networks,
            subnetworks,
            instances,
            firewalls,
            firewall_policies,
            hierarchical_policies,
            tag_keys,
            tag_values,
            routes,
            routers,
            target_instances,
            forwarding_rules,
            service_attachments,
            addresses,
            managed_zones,
            connections,
            redis,
            details,
            seed,
            // Whoever starts the lab says it anew.
            reaches_host: _,
            pings_host: _,
            ids,
        } = self;
        let mut rows = Vec::new();
        differ("projects", &before.projects, projects, &mut rows)?;
        differ("folders", &before.folders, folders, &mut rows)?;
        differ("networks", &before.networks, networks, &mut rows)?;
        differ("subnetworks", &before.subnetworks, subnetworks, &mut rows)?;
        differ("instances", &before.instances, instances, &mut rows)?;
        differ("firewalls", &before.firewalls, firewalls, &mut rows)?;
        differ("firewallPolicies", &before.firewall_policies, firewall_policies, &mut rows)?;
        differ("hierarchicalPolicies", &before.hierarchical_policies, hierarchical_policies, &mut rows)?;
        differ("tagKeys", &before.tag_keys, tag_keys, &mut rows)?;
        differ("tagValues", &before.tag_values, tag_values, &mut rows)?;
        differ("routes", &before.routes, routes, &mut rows)?;
        differ("routers", &before.routers, routers, &mut rows)?;
        differ("targetInstances", &before.target_instances, target_instances, &mut rows)?;
        differ("forwardingRules", &before.forwarding_rules, forwarding_rules, &mut rows)?;
        differ("serviceAttachments", &before.service_attachments, service_attachments, &mut rows)?;
        differ("addresses", &before.addresses, addresses, &mut rows)?;
        differ("managedZones", &before.managed_zones, managed_zones, &mut rows)?;
        differ("connections", &before.connections, connections, &mut rows)?;
        differ("redis", &before.redis, redis, &mut rows)?;
        differ("details", &before.details, details, &mut rows)?;
        if *seed != before.seed {
            rows.push(Row {
                kind: SEED.into(),
                key: String::new(),
                value: Some(serde_json::to_value(seed)?),
            });
        }
        if *ids != before.ids {
            rows.push(Row { kind: IDS.into(), key: String::new(), value: Some(Value::from(*ids)) });
        }
        Ok(rows)
    }

    /// The World of these rows, in whatever order. An error says what is not a World's.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>) -> Result<World, serde_json::Error> {
        let mut whole = match serde_json::to_value(World::default())? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        for Row { kind, key, value } in rows {
            let Some(value) = value else { continue };
            if kind == IDS || kind == SEED {
                whole.insert(kind, value);
            } else if let Some(map) = whole.entry(kind).or_insert_with(|| Map::new().into()).as_object_mut() {
                map.insert(key, value);
            }
        }
        let mut world: World = serde_json::from_value(Value::Object(whole))?;
        world.adopt_service_accounts();
        Ok(world)
    }

    /// Rows of before firewall rules knew service accounts have them among what no packet depends on.
    fn adopt_service_accounts(&mut self) {
        const FIELD: &str = "serviceAccounts";
        let said = self.details.iter().filter(|(_, details)| details.contains_key(FIELD));
        for (path, details) in
            said.map(|(path, details)| (path.clone(), Arc::clone(details))).collect::<Vec<_>>()
        {
            let key = path.parse().ok();
            let Some(key) = key.filter(|key: &InstanceKey| self.instances.contains_key(key)) else {
                continue;
            };
            let account = &details[FIELD][0];
            let scopes = account["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let account = account.is_object().then(|| ServiceAccount {
                email: account["email"].as_str().unwrap_or(DEFAULT_ACCOUNT).to_owned(),
                scopes: scopes.map(str::to_owned).collect(),
            });
            self.instances.update(&key, |instance| instance.service_account = account);
            let mut rest = (*details).clone();
            rest.remove(FIELD);
            self.details.insert(path, Arc::new(rest));
        }
    }
}

fn differ<K: Ord + Clone + ToString, V: PartialEq + Clone + Serialize>(
    kind: &str,
    before: &OrdMap<K, V>,
    after: &OrdMap<K, V>,
    rows: &mut Vec<Row>,
) -> Result<(), serde_json::Error> {
    for item in before.diff(after) {
        let (key, value) = match item {
            DiffItem::Add(key, value) => (key, Some(serde_json::to_value(value)?)),
            DiffItem::Update { new: (key, value), .. } => (key, Some(serde_json::to_value(value)?)),
            DiffItem::Remove(key, _) => (key, None),
        };
        rows.push(Row { kind: kind.to_owned(), key: key.to_string(), value });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AddressKey, AddressSpec, Change, Node, Reserve, Seed, Timestamp};
    use std::collections::BTreeMap;

    #[test]
    fn the_rows_of_every_step_make_the_last_world() {
        let mut world = World::default();
        let mut rows = BTreeMap::new();
        let enable =
            |service: &str| Change::ServiceEnable { project: "project-1".into(), service: service.into() };
        for change in [
            Change::ProjectCreate("project-1".into()),
            enable("compute.googleapis.com"),
            Change::ProjectCreate("project-2".into()),
            enable("redis.googleapis.com"),
            Change::AddressInsert(AddressSpec {
                key: AddressKey::regional("project-1", "us-central1", "a"),
                reserve: Reserve::External { address: None },
            }),
            Change::FolderCreate { parent: Node::Organization, display_name: "prod".into() },
            Change::HierarchicalPolicyInsert { parent: Node::Organization, short_name: "policy-1".into() },
            Change::ProjectMove { project: "project-1".into(), parent: Node::Organization },
        ] {
            let next = world.apply(&change, Timestamp(1)).expect("a good change");
            let changed = next.changed(&world).expect("rows");
            assert!(!changed.is_empty());
            rows.extend(changed.into_iter().map(|row| ((row.kind.clone(), row.key.clone()), row)));
            world = next;
        }
        let seeded = world.clone().seeded(Seed::new(&[7; 32]));
        rows.extend(
            seeded
                .changed(&world)
                .expect("rows")
                .into_iter()
                .map(|row| ((row.kind.clone(), row.key.clone()), row)),
        );
        world = seeded;
        assert_eq!(World::from_rows(rows.into_values()).expect("a World"), world);
        assert_eq!(world.changed(&world).expect("rows"), []);
        // And back to nothing: everything is gone.
        let gone = World::default().changed(&world).expect("rows");
        assert!(
            gone.iter().all(|row| row.value.is_none() || [IDS, SEED].contains(&row.kind.as_str())),
            "{gone:?}"
        );
    }

    #[test]
    fn rows_of_before_have_service_accounts_among_the_details() {
        let key = "projects/project-1/zones/us-central1-a/instances/vm-1";
        let row = |kind: &str, value| Row { kind: kind.into(), key: key.into(), value: Some(value) };
        let instance = serde_json::json!({
            "id": 1, "creationTimestamp": 0, "nics": [], "tags": [], "canIpForward": false, "metadata": {},
            "running": true, "starts": 1,
        });
        let account = serde_json::json!({ "email": "default", "scopes": ["all"] });
        let details = serde_json::json!({ "serviceAccounts": [account], "hostname": "a" });
        let world = World::from_rows([row("instances", instance), row("details", details)]).expect("a World");
        let found = &world.instances[&key.parse::<InstanceKey>().expect("a key")];
        let want = ServiceAccount { email: "default".into(), scopes: vec!["all".into()] };
        assert_eq!(found.service_account, Some(want));
        assert_eq!(world.details[key].keys().collect::<Vec<_>>(), ["hostname"]);
    }

    #[test]
    fn what_is_no_worlds_is_refused() {
        let row = Row { kind: "networks".into(), key: "nonsense".into(), value: Some(Value::Null) };
        World::from_rows([row]).expect_err("no network");
    }
}
