//! The topology file as it is written: every key, with Google's names, and its documentation.
//!
//! These are the only definitions of the keys; the doc comments are what an editor shows.

use crate::form::{Defs, Form, Reader, form};
use crate::node::{Kind, Node};
use crate::value::{
    Acceptance, AliasRange, Allocation, Everywhere, ForwardedProtocol, Int, Ipv6Access, Loose, Mode, Name,
    Plain, PolicyOrder, Port, ProbeProtocol, ProjectId, RangeOrName, RecordType, RegionName, Seconds,
    Service, Share, Sources, Status, TagPurpose, TransitEncryption, Visibility, Word, ZoneName,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::json;
use std::net::Ipv4Addr;
use tombolo_model::{
    Action, Direction, LogMetadata, NatRanges, PortRange, Protocol, Purpose, RedisTier, StackType,
    flow_log::Interval,
};

form! {
    /// A topology file of Tombolo: projects, networks, instances, Redis instances and checks of what reaches what.
    part File {
        /// The projects. Compute is enabled in each of them.
        "projects" projects: Required<Project>,
        /// The folders of the organization, which projects may be in. One that is in another comes after that.
        "folders" folders: Vec<Folder>,
        /// The VPC networks, with what belongs to them.
        "networks" networks: Vec<Network>,
        /// The network firewall policies, global and regional.
        "firewallPolicies" firewall_policies: Vec<FirewallPolicy>,
        /// The firewall policies of the organization and its folders.
        "hierarchicalFirewallPolicies" hierarchical_policies: Vec<HierarchicalPolicy>,
        /// Tag keys: what instances are told apart by in firewall policies.
        "tagKeys" tag_keys: Vec<TagKey>,
        /// The VM instances.
        "instances" instances: Vec<Instance>,
        /// Cloud Routers, for their Cloud NAT gateways.
        "routers" routers: Vec<Router>,
        /// Private zones of Cloud DNS.
        "managedZones" managed_zones: Vec<ManagedZone>,
        /// Target instances: what forwarding rules call the instances that they lead to.
        "targetInstances" target_instances: Vec<TargetInstance>,
        /// Forwarding rules: addresses that lead to target instances, and endpoints of Private Service Connect.
        "forwardingRules" forwarding_rules: Vec<ForwardingRule>,
        /// Service attachments: forwarding rules that are published by Private Service Connect.
        "serviceAttachments" service_attachments: Vec<ServiceAttachment>,
        /// The Memorystore for Redis instances.
        "redis" redis: Vec<Redis>,
        /// What must and must not work once all is up.
        "checks" checks: Vec<Check>,
    }
}

form! {
    /// A project.
    resource Project {
        /// The project's id: 6 to 30 lowercase letters, digits and hyphens.
        "projectId" project_id: ProjectId,
        /// Services to enable besides compute. Redis is enabled by itself where a Redis instance is declared.
        "services" services: Vec<Service>,
        /// Whether the project keeps the auto-mode network `default` and its four firewall rules. False when
        /// left out.
        "defaultNetwork" default_network: Option<bool>,
        /// The Shared VPC host project that it is a service project of: its instances may be in the host's
        /// subnetworks, and its Redis instances may be reached from the host's networks.
        "hostProject" host_project: Option<ProjectId>,
        /// What it is in: `organization`, or a folder by its display name or those that lead to it (`prod/team-a`). In no
        /// organization when left out.
        "parent" parent: Option<Plain>,
    }
}

form! {
    /// A folder of the organization, which always exists.
    resource Folder {
        /// What people call it; no other folder beside it has the same.
        "displayName" display_name: Plain,
        /// The folder that it is in, as a project's `parent`; the organization when left out.
        "parent" parent: Option<Plain>,
    }
}

form! {
    /// A VPC network.
    resource Network {
        /// The network's name.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Whether the network has a subnetwork of its own name in every region. False when left out.
        "autoCreateSubnetworks" auto_create_subnetworks: Option<bool>,
        /// Maximum transmission unit in bytes; 1460 when left out.
        "mtu" mtu: Option<Int<1300, 8896>>,
        /// Whether the network's firewall policy comes before its own rules; AFTER_CLASSIC_FIREWALL when left out.
        "networkFirewallPolicyEnforcementOrder" policy_order: Option<Word<PolicyOrder>>,
        /// Whether it has an internal IPv6 range, which dual-stack subnetworks need.
        "enableUlaInternalIpv6" ula: Option<bool>,
        /// A certain /48 of fd20::/20; a free one is chosen when left out.
        "internalIpv6Range" ula_range: Option<Ipv6Net>,
        /// Its subnetworks.
        "subnetworks" subnetworks: Vec<Subnetwork>,
        /// Its side of its peerings. A peering is ACTIVE only when the other network has one too.
        "peerings" peerings: Vec<Peering>,
        /// Its firewall rules. Without any, all may leave and nothing may enter an instance.
        "firewalls" firewalls: Vec<Firewall>,
        /// Its static routes.
        "routes" routes: Vec<Route>,
        /// Ranges that are allocated for managed services: global addresses with the purpose VPC_PEERING.
        "allocatedRanges" allocated_ranges: Vec<AllocatedRange>,
        /// Private services access: the network's connection to Google's managed services.
        "privateServicesAccess" private_services_access: Option<Connection>,
    }
}

form! {
    /// A range that is allocated for managed services.
    resource AllocatedRange {
        /// The address's name, unique in its project.
        "name" name: Name,
        /// The range's first address; a free range is chosen when left out.
        "address" address: Option<Ipv4Addr>,
        /// The range's length in bits.
        "prefixLength" prefix_length: Int<8, 29>,
    }
}

form! {
    /// A network's connection to Google's managed services.
    resource Connection {
        /// The allocated ranges that services may use, by name.
        "reservedPeeringRanges" reserved_peering_ranges: Required<Name>,
    }
}

form! {
    /// A subnetwork: one range in one region.
    resource Subnetwork {
        /// The subnetwork's name, unique in its project and region.
        "name" name: Name,
        /// Its region, such as `us-central1`.
        "region" region: RegionName,
        /// Its primary range, such as `10.1.0.0/16`: /8 to /29, no host bits set.
        "ipCidrRange" ip_cidr_range: Ipv4Net,
        /// PRIVATE (when left out), or PRIVATE_SERVICE_CONNECT: no instance is in it, and its addresses are what clients
        /// of published services become.
        "purpose" purpose: Option<Word<Purpose>>,
        /// IPV4_IPV6 for a dual-stack one, which gets a /64 of its network's IPv6 range; IPV4_ONLY when left out.
        "stackType" stack_type: Option<Word<StackType>>,
        /// INTERNAL, the only one that there is: who knows the addresses of a dual-stack subnetwork.
        "ipv6AccessType" ipv6_access_type: Option<Word<Ipv6Access>>,
        /// Ranges beside the primary one, for the alias ranges of its instances.
        "secondaryIpRanges" secondary_ip_ranges: Vec<SecondaryRange>,
        /// Whether its instances' flows are logged: see `tombolo logs flows`.
        "logConfig" log_config: Option<SubnetworkLogConfig>,
    }
}

form! {
    /// What a subnetwork's flow logs are.
    part SubnetworkLogConfig {
        /// Whether flows are logged.
        "enable" enable: bool,
        /// How long what passes is summed up: INTERVAL_5_SEC (when left out), INTERVAL_30_SEC, INTERVAL_1_MIN, INTERVAL_5_MIN,
        /// INTERVAL_10_MIN or INTERVAL_15_MIN.
        "aggregationInterval" aggregation_interval: Option<Word<Interval>>,
        /// The share of connections that are logged, 0 to 1; 0.5 when left out.
        "flowSampling" flow_sampling: Option<Share>,
        /// INCLUDE_ALL_METADATA to tell of instances and networks; EXCLUDE_ALL_METADATA when left out.
        "metadata" metadata: Option<Word<LogMetadata>>,
    }
}

form! {
    /// A secondary range of a subnetwork.
    part SecondaryRange {
        /// The range's name, unique in its subnetwork.
        "rangeName" range_name: Name,
        /// The range, such as `10.8.0.0/16`: /8 to /29, no host bits set.
        "ipCidrRange" ip_cidr_range: Ipv4Net,
    }
}

form! {
    /// One network's side of a VPC Network Peering.
    resource Peering {
        /// The peering's name, unique in its network.
        "name" name: Name,
        /// The other network: its name when that is unique in the file, `PROJECT/NETWORK`,
        /// `projects/PROJECT/global/networks/NETWORK` or a full URL.
        "network" network: Plain,
        /// Give static routes to the other network; false when left out.
        "exportCustomRoutes" export_custom_routes: Option<bool>,
        /// Take static routes from the other network; false when left out.
        "importCustomRoutes" import_custom_routes: Option<bool>,
        /// Give subnet routes of privately used public ranges; true when left out.
        "exportSubnetRoutesWithPublicIp" export_public: Option<bool>,
        /// Take subnet routes of privately used public ranges; false when left out.
        "importSubnetRoutesWithPublicIp" import_public: Option<bool>,
        /// IPV4_IPV6 to exchange IPv6 too, where the other side says so as well; IPV4_ONLY when left out.
        "stackType" stack_type: Option<Word<StackType>>,
    }
}

form! {
    /// A VPC firewall rule.
    resource Firewall {
        /// The rule's name, unique in its project.
        "name" name: Name,
        /// INGRESS (when left out) acts where packets are received, EGRESS where they are sent.
        "direction" direction: Option<Word<Direction>>,
        /// 0 (first) to 65535 (last); 1000 when left out. At equal priority deny wins.
        "priority" priority: Option<Int<0, 65535>>,
        /// What the rule lets through. Give either this or `denied`.
        "allowed" allowed: Option<Vec<L4>>,
        /// What the rule drops. Give either this or `allowed`.
        "denied" denied: Option<Vec<L4>>,
        /// INGRESS: the sources; 0.0.0.0/0 when neither these nor tags or service accounts are given. EGRESS: only what is sent
        /// from these; from any when left out.
        "sourceRanges" source_ranges: Vec<IpNet>,
        /// INGRESS: instances of the same network, by tag, whose packets match too.
        "sourceTags" source_tags: Vec<Name>,
        /// The instances that the rule acts at, by tag; all of the network when left out.
        "targetTags" target_tags: Vec<Name>,
        /// INGRESS: instances of the same network, by service account, whose packets match too. Not together with tags.
        "sourceServiceAccounts" source_service_accounts: Vec<Plain>,
        /// The instances that the rule acts at, by service account. Not together with tags.
        "targetServiceAccounts" target_service_accounts: Vec<Plain>,
        /// EGRESS: the destinations; 0.0.0.0/0 when left out. INGRESS: only what is for these; for any when left out.
        "destinationRanges" destination_ranges: Vec<IpNet>,
        /// Whether the rule does nothing.
        "disabled" disabled: Option<bool>,
        /// Whether connections that it decides about are logged: see `tombolo logs firewall`.
        "logConfig" log_config: Option<LogConfig>,
    }
    exactly_one { "allowed", "denied" }
}

form! {
    /// What a firewall rule logs.
    part LogConfig {
        /// Whether it logs.
        "enable" enable: bool,
        /// INCLUDE_ALL_METADATA (when left out), or EXCLUDE_ALL_METADATA for the connection and the rule alone.
        "metadata" metadata: Option<Word<LogMetadata>>,
    }
}

form! {
    /// A protocol, with ports where it has them.
    part L4 {
        /// `tcp`, `udp`, `icmp`, `esp`, `ah`, `sctp`, `ipip`, `all` or a protocol number.
        "IPProtocol" ip_protocol: Protocol,
        /// Ports and ranges of ports, such as `22` and `8000-8999`; every port when left out.
        "ports" ports: Vec<PortRange>,
    }
}

form! {
    /// A network firewall policy: rules that act in the networks that it is associated with.
    resource FirewallPolicy {
        /// The policy's name.
        "name" name: Name,
        /// The region at whose instances it acts, after the global policy; a global one when left out.
        "region" region: Option<RegionName>,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its rules. What none of them matches is left to what comes after the policy.
        "rules" rules: Vec<PolicyRule>,
        /// The networks in which it acts, of its own project; each has one global policy at most, and one of each
        /// region.
        "associations" associations: Vec<Association>,
    }
}

form! {
    /// A hierarchical firewall policy: rules that act at the organization or folders, in all networks beneath.
    resource HierarchicalPolicy {
        /// What people call it, unique in the organization.
        "shortName" short_name: Name,
        /// The organization or folder that it is kept in, as a project's `parent`; the organization when left out.
        "parent" parent: Option<Plain>,
        /// Its rules. What none of them matches is left to what comes after the policy.
        "rules" rules: Vec<PolicyRule>,
        /// The organization and folders at which it acts; each has one such policy at most.
        "associations" associations: Vec<NodeAssociation>,
    }
}

form! {
    /// That a firewall policy acts at the organization or a folder.
    resource NodeAssociation {
        /// The association's name, unique in its policy.
        "name" name: Name,
        /// The organization or the folder, as a project's `parent`.
        "attachmentTarget" attachment_target: Plain,
    }
}

form! {
    /// A tag key of Resource Manager, with its values.
    resource TagKey {
        /// What people call it, unique in its parent.
        "shortName" short_name: Plain,
        /// What it is in: `organization`, or a project by its id. May be left out when the file has one project.
        "parent" parent: Option<Plain>,
        /// GCE_FIREWALL, the only one that there is: rules of firewall policies may name its values. It needs `purposeData`,
        /// which says it too.
        "purpose" purpose: Option<Word<TagPurpose>>,
        /// Where its values mean something to firewall policies; nowhere when left out.
        "purposeData" purpose_data: Option<PurposeData>,
        /// What people call its values. An instance has one of them at most.
        "values" values: Vec<Plain>,
    }
}

form! {
    /// Where the values of a tag key mean something to firewall policies.
    part PurposeData {
        /// At interfaces in one network: its name, a path or a URL.
        "network" network: Option<Plain>,
        /// `auto`: at interfaces in every network of the organization.
        "organization" organization: Option<Word<Everywhere>>,
    }
    exactly_one { "network", "organization" }
}

form! {
    /// A rule of a firewall policy.
    part PolicyRule {
        /// 0 (first) to 2147483643 (last), unique in the policy.
        "priority" priority: Int<0, 2_147_483_643>,
        /// What people call it.
        "ruleName" rule_name: Option<Plain>,
        /// What it is for.
        "description" description: Option<Plain>,
        /// INGRESS (when left out) acts where packets are received, EGRESS where they are sent.
        "direction" direction: Option<Word<Direction>>,
        /// `allow`, `deny`, or `goto_next`, which leaves it to what comes after the policy.
        "action" action: Word<Action>,
        /// What the rule matches.
        "match" matched: PolicyMatch,
        /// The instances that the rule acts at, by service account; all of the networks when left out.
        "targetServiceAccounts" target_service_accounts: Vec<Plain>,
        /// The instances that the rule acts at, by tag values (`project-1/role/web`, or `role/web` where that is enough). Not
        /// together with service accounts.
        "targetSecureTags" target_secure_tags: Vec<Plain>,
        /// Hierarchical policies: the networks that the rule acts in, by name, path or URL; all when left out.
        "targetResources" target_resources: Vec<Plain>,
        /// Whether the rule does nothing.
        "disabled" disabled: Option<bool>,
        /// Whether connections that it decides about are logged: see `tombolo logs firewall`.
        "enableLogging" enable_logging: Option<bool>,
    }
}

form! {
    /// What a rule of a firewall policy matches.
    part PolicyMatch {
        /// INGRESS: the sources. EGRESS: only what is sent from these; from any when left out.
        "srcIpRanges" src_ip_ranges: Vec<IpNet>,
        /// INGRESS: instances of the same network and of its peers, by tag values, whose packets match too.
        "srcSecureTags" src_secure_tags: Vec<Plain>,
        /// EGRESS: the destinations. INGRESS: only what is for these; for any when left out.
        "destIpRanges" dest_ip_ranges: Vec<IpNet>,
        /// The protocols and ports.
        "layer4Configs" layer4_configs: Required<Layer4Config>,
    }
}

form! {
    /// A protocol, with ports where it has them.
    part Layer4Config {
        /// `tcp`, `udp`, `icmp`, `esp`, `ah`, `sctp`, `ipip`, `all` or a protocol number.
        "ipProtocol" ip_protocol: Protocol,
        /// Ports and ranges of ports, such as `22` and `8000-8999`; every port when left out.
        "ports" ports: Vec<PortRange>,
    }
}

form! {
    /// That a firewall policy acts in a network.
    resource Association {
        /// The association's name, unique in its policy.
        "name" name: Name,
        /// The network, by name, path or URL.
        "attachmentTarget" attachment_target: Plain,
    }
}

form! {
    /// A static route.
    resource Route {
        /// The route's name, unique in its project.
        "name" name: Name,
        /// The destinations.
        "destRange" dest_range: Ipv4Net,
        /// Of equally specific routes the one with the lowest value wins; 1000 when left out.
        "priority" priority: Option<Int<0, 65535>>,
        /// The instance that forwards (it needs `canIpForward`), by name, path or URL.
        "nextHopInstance" next_hop_instance: Option<Plain>,
        /// The address of the instance that forwards.
        "nextHopIp" next_hop_ip: Option<Ipv4Addr>,
        /// `default-internet-gateway`.
        "nextHopGateway" next_hop_gateway: Option<Plain>,
        /// Of which instances' packets: those with one of these tags; of everybody's when left out.
        "tags" tags: Vec<Name>,
    }
    exactly_one { "nextHopInstance", "nextHopIp", "nextHopGateway" }
}

form! {
    /// A VM instance.
    resource Instance {
        /// The instance's name: its host name too.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its zone, such as `us-central1-a`.
        "zone" zone: ZoneName,
        /// Its network interfaces, `nic0` first; each in a network of its own.
        "networkInterfaces" network_interfaces: Required<NetworkInterface>,
        /// Its network tags: a list, or Google's `{items: […]}`.
        "tags" tags: Option<Tags>,
        /// Its tag values, one of a tag key: `project-1/role/web`, or `role/web` where that is enough.
        "resourceManagerTags" resource_manager_tags: Vec<Plain>,
        /// Whether it may forward packets that are not its own.
        "canIpForward" can_ip_forward: Option<bool>,
        /// Its service account, as Google has it: a list of one. None when left out.
        "serviceAccounts" service_accounts: Vec<ServiceAccount>,
        /// Its metadata, as Google's `{items: [{key: …, value: …}]}`.
        "metadata" metadata: Option<Metadata>,
        /// The program that it runs at boot: short for the metadata key `startup-script`.
        "startupScript" startup_script: Option<Plain>,
        /// Whether it runs: RUNNING (when left out) or TERMINATED, which is stopped.
        "status" status: Option<Word<Status>>,
    }
}

form! {
    /// A network interface of an instance.
    part NetworkInterface {
        /// The subnetwork: its name in the instance's project and region, a path or a URL. The subnetwork of an
        /// auto-mode network has the network's name.
        "subnetwork" subnetwork: Plain,
        /// A certain address of the subnetwork; the first free one when left out.
        "networkIP" network_ip: Option<Ipv4Addr>,
        /// IPV4_IPV6 for a dual-stack one, which gets a /96 of its subnetwork's IPv6 range; IPV4_ONLY when left out.
        "stackType" stack_type: Option<Word<StackType>>,
        /// Its external address, by which the lab's internet reaches it and it the internet: at most one, `[{}]`.
        "accessConfigs" access_configs: Vec<AccessConfig>,
        /// Addresses that it has beside its own, such as those of containers.
        "aliasIpRanges" alias_ip_ranges: Vec<AliasIpRange>,
    }
}

form! {
    /// A range of addresses that an interface has beside its own.
    part AliasIpRange {
        /// The range: `10.8.1.0/24`, `10.8.1.7` for one address, or `/24` for a free one.
        "ipCidrRange" ip_cidr_range: AliasRange,
        /// The secondary range of the subnetwork that it is from; the primary range when left out.
        "subnetworkRangeName" subnetwork_range_name: Option<Name>,
    }
}

form! {
    /// An external address of an interface: a free one.
    part AccessConfig {
        /// Its name; `External NAT` when left out.
        "name" name: Option<Plain>,
    }
}

form! {
    /// The service account of an instance.
    part ServiceAccount {
        /// Its address, or `default` for the project's default one.
        "email" email: Plain,
        /// What its programs may ask of Google's APIs.
        "scopes" scopes: Vec<Plain>,
    }
}

form! {
    /// Network tags as Google's API has them.
    part TagItems {
        /// The tags.
        "items" items: Vec<Name>,
    }
}

form! {
    /// Metadata as Google's API has it.
    part Metadata {
        /// The entries.
        "items" items: Vec<MetadataItem>,
    }
}

form! {
    /// An entry of an instance's metadata.
    part MetadataItem {
        /// Its key, such as `startup-script`.
        "key" key: Plain,
        /// Its value.
        "value" value: Loose,
    }
}

form! {
    /// A Cloud Router, which has Cloud NAT gateways and nothing else.
    resource Router {
        /// The router's name, unique in its project and region.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its region, such as `us-central1`.
        "region" region: RegionName,
        /// The network whose instances it serves, of its own project: its name, a path or a URL.
        "network" network: Plain,
        /// Its gateways: instances without an external address reach the internet by them.
        "nats" nats: Vec<Nat>,
    }
}

form! {
    /// A Cloud NAT gateway.
    part Nat {
        /// The gateway's name, unique in its router.
        "name" name: Name,
        /// AUTO_ONLY, the only one that a file has words for: a free address.
        "natIpAllocateOption" nat_ip_allocate_option: Option<Word<Allocation>>,
        /// What it serves: ALL_SUBNETWORKS_ALL_IP_RANGES (when left out, and no `subnetworks` are given),
        /// ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES or LIST_OF_SUBNETWORKS.
        "sourceSubnetworkIpRangesToNat" sources: Option<Word<Sources>>,
        /// With LIST_OF_SUBNETWORKS: these.
        "subnetworks" subnetworks: Vec<NatSubnetwork>,
        /// How many ports an instance may use at least, 2 to 65536; every one may use all.
        "minPortsPerVm" min_ports_per_vm: Option<Int<2, 65536>>,
    }
}

form! {
    /// A subnetwork that a Cloud NAT gateway serves.
    part NatSubnetwork {
        /// The subnetwork, of the router's network and region: its name, a path or a URL.
        "name" name: Plain,
        /// ALL_IP_RANGES (when left out), or PRIMARY_IP_RANGE: alias ranges from secondary ranges are not served.
        "sourceIpRangesToNat" ranges: Vec<Word<NatRanges>>,
    }
}

form! {
    /// A private zone of Cloud DNS.
    resource ManagedZone {
        /// The zone's name, unique in its project.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// What its names end in, such as `corp.example.`, with a dot at the end.
        "dnsName" dns_name: Plain,
        /// `private`, the only one that there is.
        "visibility" visibility: Option<Word<Visibility>>,
        /// The networks that see it.
        "privateVisibilityConfig" private_visibility_config: Option<PrivateVisibility>,
        /// For a peering zone: in which network its names are looked up.
        "peeringConfig" peering_config: Option<ZonePeering>,
        /// Its record sets, beside the NS and SOA records that every zone has.
        "rrsets" rrsets: Vec<RecordSet>,
    }
}

form! {
    /// Who sees a private zone.
    part PrivateVisibility {
        /// The networks.
        "networks" networks: Vec<ZoneNetwork>,
    }
}

form! {
    /// What a peering zone asks.
    part ZonePeering {
        /// The network.
        "targetNetwork" target_network: ZoneNetwork,
    }
}

form! {
    /// A network of a zone.
    part ZoneNetwork {
        /// The network's name, a path or a URL.
        "networkUrl" network_url: Plain,
    }
}

form! {
    /// The records of one name and type.
    part RecordSet {
        /// The whole name, with a dot at the end: `db.corp.example.`
        "name" name: Plain,
        /// The type, such as `A`.
        "type" kind: RecordType,
        /// Seconds for which they may be kept; 300 when left out.
        "ttl" ttl: Option<Int<0, 2_147_483_647>>,
        /// The values, as in zone files.
        "rrdatas" rrdatas: Required<Plain>,
    }
}

form! {
    /// A target instance.
    resource TargetInstance {
        /// The target instance's name.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its zone, which is its instance's.
        "zone" zone: ZoneName,
        /// The instance, by name, `PROJECT/ZONE/NAME`, path or URL.
        "instance" instance: Plain,
        /// The network whose interface of the instance gets the packets; that of `nic0` when left out.
        "network" network: Option<Plain>,
    }
}

form! {
    /// A forwarding rule: an internal address that leads to a target instance, or, as an endpoint of Private Service
    /// Connect, to a published service.
    resource ForwardingRule {
        /// The rule's name, unique in its project and region.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its region, such as `us-central1`.
        "region" region: RegionName,
        /// The target instance or the service attachment that it leads to, by name, path or URL.
        "target" target: Plain,
        /// The subnetwork that its address is from.
        "subnetwork" subnetwork: Plain,
        /// A certain address of the subnetwork; the first free one when left out.
        "IPAddress" ip_address: Option<Ipv4Addr>,
        /// Target instance: `TCP` (when left out), `UDP`, or `L3_DEFAULT` for everything.
        "IPProtocol" ip_protocol: Option<Word<ForwardedProtocol>>,
        /// Target instance: up to five ports. Give either these or `allPorts`.
        "ports" ports: Option<Vec<Port>>,
        /// Target instance: whether every port leads there.
        "allPorts" all_ports: Option<bool>,
        /// Target instance: whether clients of other regions may use it; false when left out.
        "allowGlobalAccess" allow_global_access: Option<bool>,
        /// Endpoint: whether clients of other regions may use it; false when left out.
        "allowPscGlobalAccess" allow_psc_global_access: Option<bool>,
    }
}

form! {
    /// A service attachment of Private Service Connect.
    resource ServiceAttachment {
        /// The service attachment's name.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its region, such as `us-central1`.
        "region" region: RegionName,
        /// The forwarding rule that is published, by name, path or URL.
        "targetService" target_service: Plain,
        /// The subnetworks that its clients' addresses are from, by name, path or URL; their purpose is
        /// PRIVATE_SERVICE_CONNECT.
        "natSubnets" nat_subnets: Required<Plain>,
        /// ACCEPT_AUTOMATIC (when left out) takes every endpoint, ACCEPT_MANUAL those that `consumerAcceptLists` says.
        "connectionPreference" connection_preference: Option<Word<Acceptance>>,
        /// Whose endpoints are taken.
        "consumerAcceptLists" consumer_accept_lists: Vec<ConsumerLimit>,
        /// Whose endpoints are not: projects or networks.
        "consumerRejectLists" consumer_reject_lists: Vec<Plain>,
        /// Whether changes of the lists change what was accepted or rejected before; false when left out.
        "reconcileConnections" reconcile_connections: Option<bool>,
    }
}

form! {
    /// Whose endpoints a service attachment takes.
    part ConsumerLimit {
        /// The project that the endpoints are in.
        "projectIdOrNum" project_id_or_num: Option<Plain>,
        /// The network that the endpoints are in, by name, path or URL.
        "networkUrl" network_url: Option<Plain>,
        /// How many of them.
        "connectionLimit" connection_limit: Int<1, 65535>,
    }
    exactly_one { "projectIdOrNum", "networkUrl" }
}

form! {
    /// A Memorystore for Redis instance.
    resource Redis {
        /// The instance's name.
        "name" name: Name,
        /// The project that it is in. May be left out when the file has one project.
        "project" project: Option<ProjectId>,
        /// Its region, such as `us-central1`.
        "region" region: RegionName,
        /// The network whose instances can reach it: its name, a path or a URL. It is in the same project or, with
        /// private services access, in the project's Shared VPC host project.
        "authorizedNetwork" authorized_network: Plain,
        /// How it is reached: DIRECT_PEERING (when left out) or PRIVATE_SERVICE_ACCESS, which the network must have.
        "connectMode" connect_mode: Option<Word<Mode>>,
        /// A certain /29 for it, whose fourth address is its host; a free one when left out. With
        /// private services access: the name of an allocated range; any of the connection's when left out.
        "reservedIpRange" reserved_ip_range: Option<RangeOrName>,
        /// Its tier; BASIC when left out.
        "tier" tier: Option<Word<RedisTier>>,
        /// Its memory in GiB; 1 when left out.
        "memorySizeGb" memory_size_gb: Option<Int<1, 300>>,
        /// SERVER_AUTHENTICATION: its clients speak TLS, on port 6378; DISABLED when left out.
        "transitEncryptionMode" transit_encryption_mode: Option<Word<TransitEncryption>>,
        /// Whether its clients must say its AUTH string; false when left out.
        "authEnabled" auth_enabled: Option<bool>,
    }
}

impl Redis {
    /// Whether its clients speak TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.transit_encryption_mode
            .as_ref()
            .is_some_and(|mode| mode.0 == TransitEncryption::ServerAuthentication)
    }
}

form! {
    /// A check: a probe of whether something is reached (`to`), or a program run in an instance (`command`).
    part Check {
        /// What the check shows, for people.
        "name" name: Option<Plain>,
        /// The instance that it starts from: its name, `PROJECT/ZONE/NAME`, a path or a URL.
        "from" from: Plain,
        /// Probe: an instance, a Redis instance, or an IPv4 address.
        "to" to: Option<Plain>,
        /// Probe: `icmp`, `tcp` or `udp`; tcp when only a port is given, and for a Redis instance.
        "protocol" protocol: Option<Word<ProbeProtocol>>,
        /// Probe: the port; 6379 when left out for a Redis instance.
        "port" port: Option<Port>,
        /// A program: a text is run by `sh -c`, a list is the program and its arguments.
        "command" command: Option<Command>,
        /// Probe: `reachable` or `unreachable`. Program: what it must print to its standard output, apart from
        /// blanks at both ends; it must always end with exit status 0.
        "expect" expect: Option<Loose>,
        /// How long the check may take, in seconds; 5 when left out.
        "timeoutSeconds" timeout_seconds: Option<Seconds>,
    }
    exactly_one { "to", "command" }
}

/// A list that must be there and have an item.
#[derive(Clone, Debug)]
pub(crate) struct Required<T>(pub(crate) Vec<T>);

impl<T: Form> Form for Required<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match Vec::<T>::read(node, reader)? {
            items if items.is_empty() => reader.mistyped(node, "a list with at least one item"),
            items => Some(Self(items)),
        }
    }

    fn schema(defs: &mut Defs) -> serde_json::Value {
        json!({"type": "array", "items": T::schema(defs), "minItems": 1})
    }
}

/// Network tags in either notation.
#[derive(Clone, Debug)]
pub(crate) struct Tags(pub(crate) Vec<Name>);

impl Form for Tags {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.kind() {
            Kind::Mapping => TagItems::read(node, reader).map(|tags| Self(tags.items)),
            _ => Vec::read(node, reader).map(Self),
        }
    }

    fn schema(defs: &mut Defs) -> serde_json::Value {
        json!({"anyOf": [Vec::<Name>::schema(defs), TagItems::schema(defs)]})
    }
}

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command(pub(crate) Vec<String>);

impl Form for Command {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.kind() == Kind::List {
            let argv = Required::<Loose>::read(node, reader)?;
            return Some(Self(argv.0.into_iter().map(|Loose(text)| text).collect()));
        }
        Plain::read(node, reader).map(|Plain(script)| Self(vec!["sh".into(), "-c".into(), script]))
    }

    fn schema(defs: &mut Defs) -> serde_json::Value {
        json!({"anyOf": [Plain::schema(defs), Required::<Loose>::schema(defs)]})
    }
}

/// The JSON Schema (draft 2020-12) of the topology file, for editors and other tools.
///
/// It says of the form what the parser checks: keys, types, formats, words. What depends on more than one place
/// of the file (names, overlaps) only [`crate::parse`] and [`crate::Topology::world`] know.
pub fn json_schema() -> serde_json::Value {
    let mut defs = Defs::new();
    let root = File::schema(&mut defs);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tombolo topology",
    });
    schema["$ref"] = root["$ref"].clone();
    schema["$defs"] = defs.into();
    schema
}
