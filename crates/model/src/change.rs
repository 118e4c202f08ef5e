//! Every mutation of a World, as one enum: what an API request, a line of a topology file or a fix becomes.

use crate::{
    AddressKey, AddressSpec, AliasSpec, ConnectionSpec, Details, Exchange, FirewallKey, FirewallPolicyKey,
    FirewallSpec, FolderKey, ForwardingRuleKey, ForwardingRuleSpec, HierarchicalPolicyKey, InstanceKey,
    InstanceSpec, ManagedZoneKey, ManagedZoneSpec, NatSpec, NetworkKey, NetworkSpec, Node, PeeringSpec,
    PolicyKey, PolicyRule, RecordSet, RedisKey, RedisSpec, RouteKey, RouteSpec, RouterKey, RouterSpec,
    ServiceAccount, ServiceAttachmentKey, ServiceAttachmentSpec, SubnetworkKey, SubnetworkSpec, TagKeyKey,
    TagKeySpec, TagValueKey, TargetInstanceKey, TargetInstanceSpec,
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// One mutation of a World. It is made whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Create a project.
    ProjectCreate(String),
    /// Put a project in the organization or a folder.
    ProjectMove {
        /// The project's id.
        project: String,
        /// What it is in from now on.
        parent: Node,
    },
    /// Create a folder.
    FolderCreate {
        /// What it is in.
        parent: Node,
        /// What people call it.
        display_name: String,
    },
    /// Give a folder another display name.
    FolderRename {
        /// The folder.
        folder: FolderKey,
        /// What people call it from now on.
        display_name: String,
    },
    /// Delete a folder in which there is nothing.
    FolderDelete(FolderKey),
    /// Enable a service in a project.
    ServiceEnable {
        /// The project's id.
        project: String,
        /// The service, such as `redis.googleapis.com`.
        service: String,
    },
    /// Disable a service in a project.
    ServiceDisable {
        /// The project's id.
        project: String,
        /// The service.
        service: String,
    },
    /// Make a project the host of a Shared VPC.
    HostEnable(String),
    /// End a project's being the host of a Shared VPC.
    HostDisable(String),
    /// Attach a service project to a host project.
    ServiceProjectAttach {
        /// The host project's id.
        host: String,
        /// The service project's id.
        project: String,
    },
    /// Detach a service project from its host project.
    ServiceProjectDetach {
        /// The host project's id.
        host: String,
        /// The service project's id.
        project: String,
    },
    /// Delete a project that has no resources.
    ProjectDelete(String),
    /// Create a network.
    NetworkInsert(NetworkSpec),
    /// Delete a network.
    NetworkDelete(NetworkKey),
    /// Create a subnetwork.
    SubnetworkInsert(SubnetworkSpec),
    /// Create a subnetwork whose addresses are for Private Service Connect's NAT.
    NatSubnetworkInsert(SubnetworkSpec),
    /// Make a subnetwork's range larger.
    SubnetworkExpand {
        /// The subnetwork.
        subnetwork: SubnetworkKey,
        /// Its range from now on.
        range: Ipv4Net,
    },
    /// Replace a subnetwork's secondary ranges.
    SubnetworkSetSecondary {
        /// The subnetwork.
        subnetwork: SubnetworkKey,
        /// All of them from now on, by name.
        ranges: BTreeMap<String, Ipv4Net>,
    },
    /// Delete a subnetwork.
    SubnetworkDelete(SubnetworkKey),
    /// Reserve an address.
    AddressInsert(AddressSpec),
    /// Give a reserved address back.
    AddressDelete(AddressKey),
    /// Create an instance.
    InstanceInsert(InstanceSpec),
    /// Replace an instance's network tags.
    InstanceSetTags {
        /// The instance.
        instance: InstanceKey,
        /// All its tags from now on.
        tags: BTreeSet<String>,
    },
    /// Replace an instance's metadata.
    InstanceSetMetadata {
        /// The instance.
        instance: InstanceKey,
        /// All its metadata from now on.
        metadata: BTreeMap<String, String>,
    },
    /// Replace an instance's service account.
    InstanceSetServiceAccount {
        /// The instance.
        instance: InstanceKey,
        /// Its service account from now on.
        account: Option<ServiceAccount>,
    },
    /// Give an interface of an instance an external address.
    AccessConfigAdd {
        /// The instance.
        instance: InstanceKey,
        /// The interface: 0 for `nic0`.
        nic: usize,
        /// The access configuration's name.
        name: String,
        /// A reserved address; a free one when not said.
        address: Option<Ipv4Addr>,
    },
    /// Take an interface's external address.
    AccessConfigDelete {
        /// The instance.
        instance: InstanceKey,
        /// The interface: 0 for `nic0`.
        nic: usize,
        /// The access configuration's name.
        name: String,
    },
    /// Replace the alias ranges of an interface of an instance.
    AliasesSet {
        /// The instance.
        instance: InstanceKey,
        /// The interface: 0 for `nic0`.
        nic: usize,
        /// All of them from now on.
        aliases: Vec<AliasSpec>,
    },
    /// Start an instance.
    InstanceStart(InstanceKey),
    /// Stop an instance.
    InstanceStop(InstanceKey),
    /// Start a running instance anew.
    InstanceReset(InstanceKey),
    /// Delete an instance.
    InstanceDelete(InstanceKey),
    /// Create a firewall rule.
    FirewallInsert(FirewallSpec),
    /// Put a firewall rule in the place of one of the same name.
    FirewallUpdate(FirewallSpec),
    /// Delete a firewall rule.
    FirewallDelete(FirewallKey),
    /// Create a firewall policy without rules.
    FirewallPolicyInsert(FirewallPolicyKey),
    /// Delete a firewall policy.
    FirewallPolicyDelete(PolicyKey),
    /// Create a hierarchical firewall policy without rules.
    HierarchicalPolicyInsert {
        /// The node that it is kept in.
        parent: Node,
        /// What people call it.
        short_name: String,
    },
    /// Keep a hierarchical firewall policy in another node.
    HierarchicalPolicyMove {
        /// The policy.
        policy: HierarchicalPolicyKey,
        /// The node that it is kept in from now on.
        parent: Node,
    },
    /// Have a hierarchical firewall policy act at the organization or a folder.
    HierarchicalPolicyAssociate {
        /// The policy.
        policy: HierarchicalPolicyKey,
        /// The association's name.
        name: String,
        /// The organization or the folder.
        node: Node,
        /// Whether a policy that acts there goes.
        replace: bool,
    },
    /// Add a rule to a firewall policy, or replace one.
    PolicyRuleSet {
        /// The policy.
        policy: PolicyKey,
        /// The rule's priority, which no other rule of the policy has.
        priority: u32,
        /// The rule.
        rule: PolicyRule,
        /// Whether there is a rule of this priority, which goes.
        replace: bool,
    },
    /// Take a rule out of a firewall policy.
    PolicyRuleRemove {
        /// The policy.
        policy: PolicyKey,
        /// The rule's priority.
        priority: u32,
    },
    /// Have a firewall policy act in a network.
    PolicyAssociate {
        /// The policy.
        policy: FirewallPolicyKey,
        /// The association's name.
        name: String,
        /// The network.
        network: NetworkKey,
        /// Whether a policy that acts there goes.
        replace: bool,
    },
    /// End a firewall policy's acting in a network, or at a node.
    PolicyDissociate {
        /// The policy.
        policy: PolicyKey,
        /// The association's name.
        name: String,
    },
    /// Create a tag key.
    TagKeyCreate(TagKeySpec),
    /// Delete a tag key.
    TagKeyDelete(TagKeyKey),
    /// Create a value of a tag key.
    TagValueCreate {
        /// The tag key.
        parent: TagKeyKey,
        /// What people call the value.
        short_name: String,
    },
    /// Delete a tag value.
    TagValueDelete(TagValueKey),
    /// Bind a tag value to an instance.
    TagBind {
        /// The instance.
        instance: InstanceKey,
        /// The value.
        value: TagValueKey,
    },
    /// Take a tag value from an instance.
    TagUnbind {
        /// The instance.
        instance: InstanceKey,
        /// The value.
        value: TagValueKey,
    },
    /// Say whether a network's firewall policy comes before its own rules.
    NetworkSetPolicyFirst {
        /// The network.
        network: NetworkKey,
        /// Before, or after.
        first: bool,
    },
    /// Give a network an internal IPv6 range.
    NetworkEnableIpv6 {
        /// The network.
        network: NetworkKey,
        /// A certain /48; a free one when not said.
        range: Option<Ipv6Net>,
    },
    /// Make a subnetwork dual-stack.
    SubnetworkEnableIpv6(SubnetworkKey),
    /// Make an interface of an instance dual-stack.
    NicEnableIpv6 {
        /// The instance.
        instance: InstanceKey,
        /// The interface: 0 for `nic0`.
        nic: usize,
    },
    /// Create a static route.
    RouteInsert(RouteSpec),
    /// Delete a route.
    RouteDelete(RouteKey),
    /// Create a router.
    RouterInsert(RouterSpec),
    /// Replace a router's NAT gateways.
    RouterSetNats {
        /// The router.
        router: RouterKey,
        /// All of them from now on.
        nats: Vec<NatSpec>,
    },
    /// Delete a router.
    RouterDelete(RouterKey),
    /// Create a target instance.
    TargetInstanceInsert(TargetInstanceSpec),
    /// Delete a target instance.
    TargetInstanceDelete(TargetInstanceKey),
    /// Create a forwarding rule.
    ForwardingRuleInsert(ForwardingRuleSpec),
    /// Have a forwarding rule lead to another target instance.
    ForwardingRuleSetTarget {
        /// The rule.
        rule: ForwardingRuleKey,
        /// The target instance.
        target: TargetInstanceKey,
    },
    /// Say whether clients of other regions may use a forwarding rule.
    ForwardingRuleSetGlobal {
        /// The rule.
        rule: ForwardingRuleKey,
        /// Whether they may.
        global: bool,
    },
    /// Delete a forwarding rule.
    ForwardingRuleDelete(ForwardingRuleKey),
    /// Create a service attachment.
    ServiceAttachmentInsert(ServiceAttachmentSpec),
    /// Put a service attachment in the place of one of the same name.
    ServiceAttachmentUpdate(ServiceAttachmentSpec),
    /// Delete a service attachment; its endpoints are closed.
    ServiceAttachmentDelete(ServiceAttachmentKey),
    /// Add a peering to a network.
    PeeringAdd(PeeringSpec),
    /// Change which routes a network's side of a peering gives and takes.
    PeeringUpdate {
        /// The local network.
        network: NetworkKey,
        /// The peering's name.
        name: String,
        /// All of it from now on.
        exchange: Exchange,
    },
    /// Remove a peering from a network.
    PeeringRemove {
        /// The local network.
        network: NetworkKey,
        /// The peering's name.
        name: String,
    },
    /// Create a private zone of Cloud DNS.
    ManagedZoneInsert(ManagedZoneSpec),
    /// Change which networks see a zone, or what a peering zone is a peer of.
    ManagedZoneUpdate {
        /// The zone.
        zone: ManagedZoneKey,
        /// All networks that see it from now on.
        networks: BTreeSet<NetworkKey>,
        /// The network that a peering zone asks from now on.
        peering: Option<NetworkKey>,
    },
    /// Delete a zone.
    ManagedZoneDelete(ManagedZoneKey),
    /// Take records out of a zone and put others in.
    RecordSetsChange {
        /// The zone.
        zone: ManagedZoneKey,
        /// What goes, exactly as it is.
        deletions: Vec<RecordSet>,
        /// What comes.
        additions: Vec<RecordSet>,
    },
    /// Connect a network to Google's services.
    ConnectionCreate(ConnectionSpec),
    /// Replace the ranges of a network's connection to Google's services.
    ConnectionUpdate {
        /// The network, and all ranges from now on.
        connection: ConnectionSpec,
        /// Whether ranges may be missing that there were before.
        force: bool,
    },
    /// End a network's connection to Google's services.
    ConnectionDelete(NetworkKey),
    /// Create a Redis instance.
    RedisInsert(RedisSpec),
    /// Change a Redis instance; what is not said stays.
    RedisUpdate {
        /// The instance.
        redis: RedisKey,
        /// Memory limit in GiB.
        memory_size_gb: Option<u32>,
        /// All of its configuration from now on.
        configs: Option<BTreeMap<String, String>>,
        /// Whether clients must say its AUTH string.
        auth: Option<bool>,
    },
    /// Delete a Redis instance.
    RedisDelete(RedisKey),
    /// Replace what is said of a resource and no packet depends on.
    Describe {
        /// The resource's path.
        resource: String,
        /// All of it from now on.
        details: Details,
    },
}

impl Change {
    /// Whether resources may be gone after it.
    pub fn deletes(&self) -> bool {
        matches!(
            self,
            Self::ProjectDelete(_)
                | Self::FolderDelete(_)
                | Self::NetworkDelete(_)
                | Self::SubnetworkDelete(_)
                | Self::AddressDelete(_)
                | Self::InstanceDelete(_)
                | Self::FirewallDelete(_)
                | Self::FirewallPolicyDelete(_)
                | Self::TagKeyDelete(_)
                | Self::TagValueDelete(_)
                | Self::RouteDelete(_)
                | Self::RouterDelete(_)
                | Self::TargetInstanceDelete(_)
                | Self::ForwardingRuleDelete(_)
                | Self::ServiceAttachmentDelete(_)
                | Self::ManagedZoneDelete(_)
                | Self::RedisDelete(_)
        )
    }
}

/// A line that says what the change does, for people.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProjectCreate(id) => write!(f, "create project {id}"),
            Self::ProjectMove { project, parent } => write!(f, "move project {project} to {parent}"),
            Self::FolderCreate { parent, display_name } => {
                write!(f, "create folder {display_name} in {parent}")
            }
            Self::FolderRename { folder, display_name } => write!(f, "rename {folder} to {display_name}"),
            Self::FolderDelete(k) => write!(f, "delete {k}"),
            Self::ServiceEnable { project, service } => write!(f, "enable {service} in {project}"),
            Self::ServiceDisable { project, service } => write!(f, "disable {service} in {project}"),
            Self::HostEnable(id) => write!(f, "make {id} a Shared VPC host"),
            Self::HostDisable(id) => write!(f, "end {id}'s Shared VPC"),
            Self::ServiceProjectAttach { host, project } => write!(f, "attach {project} to {host}"),
            Self::ServiceProjectDetach { host, project } => write!(f, "detach {project} from {host}"),
            Self::ProjectDelete(id) => write!(f, "delete project {id}"),
            Self::NetworkInsert(s) => write!(f, "create network {}", s.key.name),
            Self::NetworkDelete(k) => write!(f, "delete network {}", k.name),
            Self::SubnetworkInsert(s) => write!(f, "create subnetwork {} {}", s.key.name, s.range),
            Self::NatSubnetworkInsert(s) => {
                write!(f, "create NAT subnetwork {} {}", s.key.name, s.range)
            }
            Self::SubnetworkExpand { subnetwork, range } => {
                write!(f, "expand subnetwork {} to {range}", subnetwork.name)
            }
            Self::SubnetworkSetSecondary { subnetwork, .. } => {
                write!(f, "set secondary ranges of {}", subnetwork.name)
            }
            Self::AddressInsert(s) => write!(f, "reserve address {}", s.key.name),
            Self::AddressDelete(k) => write!(f, "release address {}", k.name),
            Self::AccessConfigAdd { instance, nic, .. } => {
                write!(f, "give nic{nic} of {} an external address", instance.name)
            }
            Self::AccessConfigDelete { instance, nic, .. } => {
                write!(f, "take the external address of nic{nic} of {}", instance.name)
            }
            Self::AliasesSet { instance, nic, .. } => {
                write!(f, "set alias ranges of nic{nic} of {}", instance.name)
            }
            Self::SubnetworkDelete(k) => write!(f, "delete subnetwork {}", k.name),
            Self::InstanceInsert(s) => write!(f, "create instance {} in {}", s.key.name, s.key.zone),
            Self::InstanceSetTags { instance, tags } => {
                let tags: Vec<_> = tags.iter().map(String::as_str).collect();
                write!(f, "set tags of {} to {}", instance.name, tags.join(","))
            }
            Self::InstanceSetMetadata { instance, .. } => write!(f, "set metadata of {}", instance.name),
            Self::InstanceSetServiceAccount { instance, .. } => {
                write!(f, "set service account of {}", instance.name)
            }
            Self::InstanceStart(k) => write!(f, "start instance {}", k.name),
            Self::InstanceStop(k) => write!(f, "stop instance {}", k.name),
            Self::InstanceReset(k) => write!(f, "reset instance {}", k.name),
            Self::InstanceDelete(k) => write!(f, "delete instance {}", k.name),
            Self::FirewallInsert(s) => write!(f, "create firewall rule {}", s.key.name),
            Self::FirewallUpdate(s) => write!(f, "update firewall rule {}", s.key.name),
            Self::FirewallDelete(k) => write!(f, "delete firewall rule {}", k.name),
            Self::FirewallPolicyInsert(k) => write!(f, "create firewall policy {}", k.name),
            Self::FirewallPolicyDelete(k) => write!(f, "delete firewall policy {}", k.name()),
            Self::HierarchicalPolicyInsert { parent, short_name } => {
                write!(f, "create firewall policy {short_name} in {parent}")
            }
            Self::HierarchicalPolicyMove { policy, parent } => {
                write!(f, "move firewall policy {} to {parent}", policy.name)
            }
            Self::HierarchicalPolicyAssociate { policy, node, .. } => {
                write!(f, "associate firewall policy {} with {node}", policy.name)
            }
            Self::PolicyRuleSet { policy, priority, .. } => {
                write!(f, "set rule {priority} of firewall policy {}", policy.name())
            }
            Self::PolicyRuleRemove { policy, priority } => {
                write!(f, "remove rule {priority} of firewall policy {}", policy.name())
            }
            Self::PolicyAssociate { policy, network, .. } => {
                write!(f, "associate firewall policy {} with {}", policy.name, network.name)
            }
            Self::PolicyDissociate { policy, name } => {
                write!(f, "remove association {name} of firewall policy {}", policy.name())
            }
            Self::TagKeyCreate(s) => write!(f, "create tag key {} in {}", s.short_name, s.parent),
            Self::TagKeyDelete(k) => write!(f, "delete {k}"),
            Self::TagValueCreate { parent, short_name } => {
                write!(f, "create tag value {short_name} of {parent}")
            }
            Self::TagValueDelete(k) => write!(f, "delete {k}"),
            Self::TagBind { instance, value } => write!(f, "bind {value} to {}", instance.name),
            Self::TagUnbind { instance, value } => write!(f, "take {value} from {}", instance.name),
            Self::NetworkSetPolicyFirst { network, .. } => {
                write!(f, "set the firewall policy order of {}", network.name)
            }
            Self::NetworkEnableIpv6 { network, .. } => {
                write!(f, "give {} an internal IPv6 range", network.name)
            }
            Self::SubnetworkEnableIpv6(k) => write!(f, "make subnetwork {} dual-stack", k.name),
            Self::NicEnableIpv6 { instance, nic } => {
                write!(f, "make nic{nic} of {} dual-stack", instance.name)
            }
            Self::RouteInsert(s) => write!(f, "create route {} to {}", s.key.name, s.dest_range),
            Self::RouteDelete(k) => write!(f, "delete route {}", k.name),
            Self::RouterInsert(s) => write!(f, "create router {} in {}", s.key.name, s.key.region),
            Self::RouterSetNats { router, .. } => write!(f, "set NAT gateways of router {}", router.name),
            Self::RouterDelete(k) => write!(f, "delete router {}", k.name),
            Self::TargetInstanceInsert(s) => {
                write!(f, "create target instance {} for {}", s.key.name, s.instance.name)
            }
            Self::TargetInstanceDelete(k) => write!(f, "delete target instance {}", k.name),
            Self::ForwardingRuleInsert(s) => {
                write!(f, "create forwarding rule {} in {}", s.key.name, s.key.region)
            }
            Self::ForwardingRuleSetTarget { rule, target } => {
                write!(f, "set target of forwarding rule {} to {}", rule.name, target.name)
            }
            Self::ForwardingRuleSetGlobal { rule, .. } => {
                write!(f, "set global access of forwarding rule {}", rule.name)
            }
            Self::ForwardingRuleDelete(k) => write!(f, "delete forwarding rule {}", k.name),
            Self::ServiceAttachmentInsert(s) => {
                write!(f, "create service attachment {} of {}", s.key.name, s.target.name)
            }
            Self::ServiceAttachmentUpdate(s) => write!(f, "update service attachment {}", s.key.name),
            Self::ServiceAttachmentDelete(k) => write!(f, "delete service attachment {}", k.name),
            Self::PeeringAdd(s) => {
                write!(f, "create peering {} from {} to {}", s.name, s.network.name, s.peer.name)
            }
            Self::PeeringUpdate { network, name, .. } => {
                write!(f, "update peering {name} of {}", network.name)
            }
            Self::PeeringRemove { network, name } => write!(f, "delete peering {name} of {}", network.name),
            Self::ManagedZoneInsert(s) => write!(f, "create zone {} of {}", s.key.name, s.dns_name),
            Self::ManagedZoneUpdate { zone, .. } => write!(f, "update zone {}", zone.name),
            Self::ManagedZoneDelete(k) => write!(f, "delete zone {}", k.name),
            Self::RecordSetsChange { zone, .. } => write!(f, "change records of zone {}", zone.name),
            Self::ConnectionCreate(s) => write!(f, "connect {} to Google's services", s.network.name),
            Self::ConnectionUpdate { connection, .. } => {
                write!(f, "update the connection of {} to Google's services", connection.network.name)
            }
            Self::ConnectionDelete(network) => {
                write!(f, "end the connection of {} to Google's services", network.name)
            }
            Self::RedisInsert(s) => {
                write!(f, "create redis {} for {}", s.key.name, s.authorized_network.name)
            }
            Self::RedisUpdate { redis, .. } => write!(f, "update redis {}", redis.name),
            Self::RedisDelete(k) => write!(f, "delete redis {}", k.name),
            Self::Describe { resource, .. } => write!(f, "describe {resource}"),
        }
    }
}
