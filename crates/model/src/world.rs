//! The World itself: an immutable snapshot, and how a change makes the next one.

use crate::{
    Address, AddressKey, Change, Connection, Details, Firewall, FirewallKey, FirewallPolicy,
    FirewallPolicyKey, Folder, FolderKey, ForwardingRule, ForwardingRuleKey, HierarchicalPolicy,
    HierarchicalPolicyKey, Instance, InstanceKey, Instances, ManagedZone, ManagedZoneKey, Network,
    NetworkKey, PeeringState, PolicyKey, Project, Redis, RedisKey, Refusal, Route, RouteKey, Router,
    RouterKey, Seed, ServiceAttachment, ServiceAttachmentKey, Subnetwork, SubnetworkKey, TagKey, TagKeyKey,
    TagValue, TagValueKey, TargetInstance, TargetInstanceKey, Timestamp, address, connection, details,
    firewall, firewall_policy, folder, forwarding_rule, hierarchical_policy, instance, ipv6, managed_zone,
    network, peering, project, redis, route, router, service_attachment, subnetwork, tag_key, tag_value,
    target_instance,
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;

/// Everything that exists, by key. A clone shares structure with its original, so snapshots are cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    /// Projects by id.
    pub projects: OrdMap<String, Arc<Project>>,
    /// Folders of the organization.
    #[serde(default)]
    pub folders: OrdMap<FolderKey, Arc<Folder>>,
    /// Networks, those of managed services (see [`Network::google_managed`]) among them.
    pub networks: OrdMap<NetworkKey, Arc<Network>>,
    /// Subnetworks, those of managed services among them.
    pub subnetworks: OrdMap<SubnetworkKey, Arc<Subnetwork>>,
    /// Instances.
    pub instances: Instances,
    /// Firewall rules; the implied ones are not resources.
    pub firewalls: OrdMap<FirewallKey, Arc<Firewall>>,
    /// Network firewall policies.
    #[serde(default)]
    pub firewall_policies: OrdMap<FirewallPolicyKey, Arc<FirewallPolicy>>,
    /// Hierarchical firewall policies.
    #[serde(default)]
    pub hierarchical_policies: OrdMap<HierarchicalPolicyKey, Arc<HierarchicalPolicy>>,
    /// Tag keys of Resource Manager.
    #[serde(default)]
    pub tag_keys: OrdMap<TagKeyKey, Arc<TagKey>>,
    /// Their values.
    #[serde(default)]
    pub tag_values: OrdMap<TagValueKey, Arc<TagValue>>,
    /// Default and static routes.
    pub routes: OrdMap<RouteKey, Arc<Route>>,
    /// Cloud Routers.
    #[serde(default)]
    pub routers: OrdMap<RouterKey, Arc<Router>>,
    /// Target instances.
    #[serde(default)]
    pub target_instances: OrdMap<TargetInstanceKey, Arc<TargetInstance>>,
    /// Forwarding rules, endpoints of Private Service Connect among them.
    #[serde(default)]
    pub forwarding_rules: OrdMap<ForwardingRuleKey, Arc<ForwardingRule>>,
    /// Service attachments of Private Service Connect.
    #[serde(default)]
    pub service_attachments: OrdMap<ServiceAttachmentKey, Arc<ServiceAttachment>>,
    /// Reserved addresses.
    #[serde(default)]
    pub addresses: OrdMap<AddressKey, Arc<Address>>,
    /// Private zones of Cloud DNS.
    #[serde(default)]
    pub managed_zones: OrdMap<ManagedZoneKey, Arc<ManagedZone>>,
    /// Connections to Google's services, by the network that has one.
    #[serde(default)]
    pub connections: OrdMap<NetworkKey, Arc<Connection>>,
    /// Memorystore for Redis instances.
    pub redis: OrdMap<RedisKey, Arc<Redis>>,
    /// What is said of resources and no packet depends on, by path; see [`crate::details`].
    #[serde(default)]
    pub details: OrdMap<String, Arc<Details>>,
    /// What its secrets follow from.
    #[serde(default)]
    pub seed: Seed,
    /// Whether its internet goes on into the network of the host that the lab runs on. That is how a lab was started:
    /// nobody asks for it by a change, and it is not kept.
    #[serde(default)]
    pub reaches_host: bool,
    /// Whether pings get there too: not every system lets every user send them. As `reaches_host`.
    #[serde(default)]
    pub pings_host: bool,
    /// How many ids were given out.
    pub(crate) ids: u64,
}

impl World {
    /// The World after the change, or why it was refused; `self` stays as it is.
    pub fn apply(&self, change: &Change, now: Timestamp) -> Result<World, Refusal> {
        self.clone().applied(change, now)
    }

    /// As [`World::apply`], of a World that nobody needs as it was. What no other snapshot shares is changed where it is
    /// instead of being copied, which is what many changes in a row cost most.
    pub fn applied(mut self, change: &Change, now: Timestamp) -> Result<World, Refusal> {
        self.make(change, now)?;
        if change.deletes() {
            details::sweep(&mut self);
        }
        Ok(self)
    }

    /// Makes the change in place. On refusal `self` may be half-changed: for [`World::applied`] only.
    fn make(&mut self, change: &Change, now: Timestamp) -> Result<(), Refusal> {
        match change {
            Change::ProjectCreate(id) => project::create(self, id, now),
            Change::ProjectMove { project, parent } => project::move_to(self, project, parent),
            Change::FolderCreate { parent, display_name } => folder::create(self, parent, display_name, now),
            Change::FolderRename { folder, display_name } => folder::rename(self, folder, display_name),
            Change::FolderDelete(key) => folder::delete(self, key),
            Change::ServiceEnable { project, service } => project::enable(self, project, service, now),
            Change::ServiceDisable { project, service } => project::disable(self, project, service),
            Change::HostEnable(id) => project::enable_host(self, id),
            Change::HostDisable(id) => project::disable_host(self, id),
            Change::ServiceProjectAttach { host, project } => project::attach(self, host, project),
            Change::ServiceProjectDetach { host, project } => project::detach(self, host, project),
            Change::ProjectDelete(id) => project::delete(self, id),
            Change::NetworkInsert(spec) => network::insert(self, spec, now),
            Change::NetworkDelete(key) => network::delete(self, key),
            Change::SubnetworkInsert(spec) => subnetwork::insert(self, spec, now),
            Change::NatSubnetworkInsert(spec) => subnetwork::insert_for_nat(self, spec, now),
            Change::SubnetworkExpand { subnetwork, range } => subnetwork::expand(self, subnetwork, *range),
            Change::SubnetworkSetSecondary { subnetwork, ranges } => {
                subnetwork::set_secondary(self, subnetwork, ranges)
            }
            Change::AddressInsert(spec) => address::insert(self, spec, now),
            Change::AddressDelete(key) => address::delete(self, key),
            Change::AccessConfigAdd { instance, nic, name, address } => {
                instance::add_access(self, instance, *nic, name, *address)
            }
            Change::AccessConfigDelete { instance, nic, name } => {
                instance::delete_access(self, instance, *nic, name)
            }
            Change::AliasesSet { instance, nic, aliases } => {
                instance::set_aliases(self, instance, *nic, aliases)
            }
            Change::SubnetworkDelete(key) => subnetwork::delete(self, key),
            Change::InstanceInsert(spec) => instance::insert(self, spec, now),
            Change::InstanceSetTags { instance, tags } => instance::set_tags(self, instance, tags),
            Change::InstanceSetMetadata { instance, metadata } => {
                instance::set_metadata(self, instance, metadata)
            }
            Change::InstanceSetServiceAccount { instance, account } => {
                instance::set_service_account(self, instance, account.as_ref())
            }
            Change::InstanceStart(key) => instance::start(self, key, now),
            Change::InstanceStop(key) => instance::stop(self, key, now),
            Change::InstanceReset(key) => instance::reset(self, key),
            Change::InstanceDelete(key) => instance::delete(self, key),
            Change::FirewallInsert(spec) => firewall::insert(self, spec, now),
            Change::FirewallUpdate(spec) => firewall::update(self, spec),
            Change::FirewallDelete(key) => firewall::delete(self, key),
            Change::FirewallPolicyInsert(key) => firewall_policy::insert(self, key, now),
            Change::FirewallPolicyDelete(PolicyKey::Network(key)) => firewall_policy::delete(self, key),
            Change::FirewallPolicyDelete(PolicyKey::Hierarchical(key)) => {
                hierarchical_policy::delete(self, key)
            }
            Change::HierarchicalPolicyInsert { parent, short_name } => {
                hierarchical_policy::insert(self, parent, short_name, now)
            }
            Change::HierarchicalPolicyMove { policy, parent } => {
                hierarchical_policy::move_to(self, policy, parent)
            }
            Change::HierarchicalPolicyAssociate { policy, name, node, replace } => {
                hierarchical_policy::associate(self, policy, name, node, *replace)
            }
            Change::PolicyRuleSet { policy, priority, rule, replace } => {
                firewall_policy::set_rule(self, policy, *priority, rule, *replace)
            }
            Change::PolicyRuleRemove { policy, priority } => {
                firewall_policy::remove_rule(self, policy, *priority)
            }
            Change::PolicyAssociate { policy, name, network, replace } => {
                firewall_policy::associate(self, policy, name, network, *replace)
            }
            Change::PolicyDissociate { policy, name } => firewall_policy::dissociate(self, policy, name),
            Change::TagKeyCreate(spec) => tag_key::create(self, spec, now),
            Change::TagKeyDelete(key) => tag_key::delete(self, key),
            Change::TagValueCreate { parent, short_name } => tag_value::create(self, parent, short_name, now),
            Change::TagValueDelete(key) => tag_value::delete(self, key),
            Change::TagBind { instance, value } => tag_value::bind(self, instance, value),
            Change::TagUnbind { instance, value } => tag_value::unbind(self, instance, value),
            Change::NetworkSetPolicyFirst { network, first } => {
                network::set_policy_first(self, network, *first)
            }
            Change::NetworkEnableIpv6 { network, range } => ipv6::enable_network(self, network, *range),
            Change::SubnetworkEnableIpv6(key) => ipv6::enable_subnetwork(self, key),
            Change::NicEnableIpv6 { instance, nic } => ipv6::enable_nic(self, instance, *nic),
            Change::RouteInsert(spec) => route::insert(self, spec, now),
            Change::RouteDelete(key) => route::delete(self, key),
            Change::RouterInsert(spec) => router::insert(self, spec, now),
            Change::RouterSetNats { router, nats } => router::set_nats(self, router, nats),
            Change::RouterDelete(key) => router::delete(self, key),
            Change::TargetInstanceInsert(spec) => target_instance::insert(self, spec, now),
            Change::TargetInstanceDelete(key) => target_instance::delete(self, key),
            Change::ForwardingRuleInsert(spec) => forwarding_rule::insert(self, spec, now),
            Change::ForwardingRuleSetTarget { rule, target } => {
                forwarding_rule::set_target(self, rule, target)
            }
            Change::ForwardingRuleSetGlobal { rule, global } => {
                forwarding_rule::set_global(self, rule, *global)
            }
            Change::ForwardingRuleDelete(key) => forwarding_rule::delete(self, key),
            Change::ServiceAttachmentInsert(spec) => service_attachment::insert(self, spec, now),
            Change::ServiceAttachmentUpdate(spec) => service_attachment::update(self, spec),
            Change::ServiceAttachmentDelete(key) => service_attachment::delete(self, key),
            Change::PeeringAdd(spec) => peering::add(self, spec, now),
            Change::PeeringUpdate { network, name, exchange } => {
                peering::update(self, network, name, *exchange)
            }
            Change::PeeringRemove { network, name } => peering::remove(self, network, name, now),
            Change::ManagedZoneInsert(spec) => managed_zone::insert(self, spec, now),
            Change::ManagedZoneUpdate { zone, networks, peering } => {
                managed_zone::update(self, zone, networks, peering.as_ref(), now)
            }
            Change::ManagedZoneDelete(key) => managed_zone::delete(self, key),
            Change::RecordSetsChange { zone, deletions, additions } => {
                managed_zone::change(self, zone, deletions, additions, now)
            }
            Change::ConnectionCreate(spec) => connection::create(self, spec, now),
            Change::ConnectionUpdate { connection: spec, force } => {
                connection::update(self, spec, *force, now)
            }
            Change::ConnectionDelete(network) => connection::delete(self, network),
            Change::RedisInsert(spec) => redis::insert(self, spec, now),
            Change::RedisUpdate { redis, memory_size_gb, configs, auth } => {
                redis::update(self, redis, *memory_size_gb, configs.as_ref(), *auth)
            }
            Change::RedisDelete(key) => redis::delete(self, key),
            Change::Describe { resource, details } => details::describe(self, resource, details),
        }
    }

    /// The same World with other secrets.
    pub fn seeded(self, seed: Seed) -> World {
        World { seed, ..self }
    }

    /// The same World, whose internet goes on into the host's network, or does not; pings too.
    pub fn reaching_host(self, reaches_host: bool) -> World {
        World { reaches_host, pings_host: reaches_host, ..self }
    }

    /// The same World, where pings get no further than the lab's internet.
    pub fn without_pings(self) -> World {
        World { pings_host: false, ..self }
    }

    /// The number of the resource at a path such as `projects/p/global/networks/n`, if there is one.
    pub fn id_of(&self, path: &str) -> Option<u64> {
        fn at<K: FromStr + Ord, V>(map: &OrdMap<K, Arc<V>>, path: &str, id: fn(&V) -> u64) -> Option<u64> {
            map.get(&path.parse::<K>().ok()?).map(|value| id(value))
        }
        match path.rsplit('/').nth(1)? {
            "networks" => at(&self.networks, path, |network| network.id),
            "subnetworks" => at(&self.subnetworks, path, |subnetwork| subnetwork.id),
            "instances" => at(&self.instances, path, |instance| instance.id)
                .or_else(|| at(&self.redis, path, |redis| redis.id)),
            "firewalls" => at(&self.firewalls, path, |firewall| firewall.id),
            "firewallPolicies" => at(&self.firewall_policies, path, |policy| policy.id)
                .or_else(|| at(&self.hierarchical_policies, path, |policy| policy.id)),
            "folders" => at(&self.folders, path, |folder| folder.id),
            "tagKeys" => at(&self.tag_keys, path, |key| key.id),
            "tagValues" => at(&self.tag_values, path, |value| value.id),
            "routes" => at(&self.routes, path, |route| route.id),
            "routers" => at(&self.routers, path, |router| router.id),
            "targetInstances" => at(&self.target_instances, path, |target| target.id),
            "forwardingRules" => at(&self.forwarding_rules, path, |rule| rule.id),
            "serviceAttachments" => at(&self.service_attachments, path, |attachment| attachment.id),
            "addresses" => at(&self.addresses, path, |address| address.id),
            "managedZones" => at(&self.managed_zones, path, |zone| zone.id),
            "projects" => self.projects.get(path.strip_prefix("projects/")?).map(|project| project.number),
            _ => None,
        }
    }

    /// The state of the peering by which `local` names `peer`.
    pub fn peering_state(&self, local: &NetworkKey, peer: &NetworkKey) -> PeeringState {
        peering::state(self, local, peer)
    }

    /// The networks that `network` exchanges subnet routes with: those that it names and that name it.
    pub fn active_peers<'w>(&'w self, network: &'w NetworkKey) -> impl Iterator<Item = &'w NetworkKey> {
        peering::active_peers(self, network)
    }

    /// The instances with this name, in whatever project and zone.
    pub fn instances_named<'w>(
        &'w self,
        name: &'w str,
    ) -> impl Iterator<Item = (&'w InstanceKey, &'w Arc<Instance>)> {
        self.instances.iter().filter(move |(k, _)| k.name == name)
    }

    /// A number that was not given out before.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }
}
