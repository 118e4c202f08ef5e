//! From the file as written to changes, in the order in which they can be made:
//! folders, projects, services, Shared VPCs, networks, subnetworks, tags, instances, firewalls, firewall policies, routes, peerings, allocated ranges,
//! connections to Google's services, redis, forwarding rules, routers, private zones.

use crate::diagnostic::{Diagnostic, Source};
use crate::file::{
    AliasIpRange, File, Firewall, Instance, L4, Network, PolicyRule, Project, Redis, Route, Subnetwork,
    SubnetworkLogConfig,
};
use crate::form::MAX_ERRORS;
use crate::names::{Names, network_name};
use crate::node::Node;
use crate::owners::Owners;
use crate::value::{Mode, Plain, PolicyOrder, RangeOrName, Status, unknown};
use crate::{Check, Located};
use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tombolo_model::project::{COMPUTE, DNS, REDIS, SERVICE_NETWORKING};
use tombolo_model::{
    Action, AddressKey, AddressSpec, AliasSpec, Change, ConnectMode, ConnectionSpec, Details, Direction,
    Exchange, FirewallKey, FirewallPolicyKey, FirewallSpec, InstanceKey, InstanceSpec, LogMetadata,
    NetworkKey, NetworkSpec, NextHop, NicSpec, PeeringSpec, PolicyKey, Purpose, RedisKey, RedisSpec, Reserve,
    RouteKey, RouteSpec, ServiceAccount, StackType, SubnetworkKey, SubnetworkSpec, World, folder,
    hierarchical_policy, metadata, region::Region,
};

/// The four rules of the network `default`, which must go before it can.
const DEFAULT_RULES: [&str; 4] =
    ["default-allow-internal", "default-allow-ssh", "default-allow-rdp", "default-allow-icmp"];

/// A file on its way to changes.
pub(crate) struct Lower<'f> {
    pub(crate) file: &'f File,
    source: &'f Source,
    root: &'f Node<'f>,
    pub(crate) names: Names,
    changes: Vec<Located<Change>>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// What a file comes to.
pub(crate) struct Lowered {
    pub(crate) changes: Vec<Located<Change>>,
    pub(crate) checks: Vec<Located<Check>>,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// The changes and checks of a file that is well-formed.
pub(crate) fn lower(file: &File, source: &Source, root: &Node) -> Result<Lowered, Vec<Diagnostic>> {
    let names = Names::default();
    let rules = file.networks.iter().map(|network| network.firewalls.len()).sum::<usize>();
    let changes = Vec::with_capacity(file.instances.len() + rules);
    let mut lower = Lower { file, source, root, names, changes, errors: Vec::new(), warnings: Vec::new() };
    let owners = lower.owners();
    if !lower.errors.is_empty() {
        return Err(lower.errors);
    }
    lower.folders();
    lower.projects(&owners);
    lower.hosts();
    lower.networks(&owners);
    lower.subnetworks(&owners);
    lower.tags();
    lower.instances(&owners);
    lower.firewalls(&owners);
    lower.policies(&owners);
    lower.hierarchical_policies();
    lower.routes(&owners);
    lower.peerings(&owners);
    lower.connections(&owners);
    lower.redis(&owners);
    lower.forwarding(&owners);
    lower.routers(&owners);
    lower.managed_zones(&owners);
    let checks = lower.checks();
    let Lower { changes, errors, warnings, .. } = lower;
    if errors.is_empty() { Ok(Lowered { changes, checks, warnings }) } else { Err(errors) }
}

impl<'f> Lower<'f> {
    /// A value with the place of `path`.
    pub(crate) fn located<T>(&self, value: T, path: String) -> Located<T> {
        let span = self.root.find(&path).map_or(crate::diagnostic::Span::START, |node| node.span);
        Located { value, path, line: span.line as usize, column: span.column as usize }
    }

    /// Whether there are as many errors as are shown, so that looking for more is no use.
    pub(crate) fn full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Notes an error at a path, or at the closest place above it that is in the file.
    pub(crate) fn error(&mut self, path: &str, message: String) {
        if !self.full() {
            self.errors.push(self.diagnostic(path, message));
        }
    }

    /// Notes what is allowed at a path, and likely a mistake.
    fn warn(&mut self, path: &str, message: String) {
        if self.warnings.len() < MAX_ERRORS {
            self.warnings.push(self.diagnostic(path, message));
        }
    }

    fn diagnostic(&self, path: &str, message: String) -> Diagnostic {
        let mut place = path;
        while self.root.find(place).is_none() {
            place = place.rfind(['.', '[']).map_or("", |end| &place[..end]);
        }
        let span = self.root.find(place).unwrap_or(self.root).span;
        self.source.diagnostic(span, path, message)
    }

    /// The value, or its error noted at the path.
    pub(crate) fn noted<T>(&mut self, result: Result<T, String>, path: &str) -> Option<T> {
        result.map_err(|message| self.error(path, message)).ok()
    }

    /// Adds a change.
    pub(crate) fn change(&mut self, path: &str, change: Change) {
        let located = self.located(change, path.to_owned());
        self.changes.push(located);
    }

    /// Folders, each after the one that it is in.
    fn folders(&mut self) {
        for (i, said) in self.file.folders.iter().enumerate() {
            let path = format!("folders[{i}]");
            if self.full() {
                return;
            }
            let Some(parent) = self.parent(said.parent.as_ref(), &path) else { continue };
            let display_name = said.display_name.0.clone();
            let above = self.names.folders.iter().find(|(_, node)| **node == parent);
            let way =
                above.map_or_else(|| display_name.clone(), |(above, _)| format!("{above}/{display_name}"));
            // The number that it will get: there is nothing yet.
            let key = folder::key_of(&World::default(), &parent, &display_name);
            self.names.folders.insert(way, folder::Node::Folder(key));
            self.change(&path, Change::FolderCreate { parent, display_name });
        }
    }

    /// What something is in: the organization when it does not say.
    fn parent(&mut self, said: Option<&Plain>, path: &str) -> Option<folder::Node> {
        let found = said.map_or(Ok(folder::Node::Organization), |said| self.names.node(&said.0));
        self.noted(found, &format!("{path}.parent"))
    }

    /// Projects, then their services and the end of their networks `default`.
    fn projects(&mut self, owners: &Owners) {
        let projects = &self.file.projects.0;
        for (i, project) in projects.iter().enumerate() {
            self.change(&format!("projects[{i}]"), Change::ProjectCreate(project.project_id.0.clone()));
        }
        for (i, project) in projects.iter().enumerate().filter(|(_, project)| project.parent.is_some()) {
            let path = format!("projects[{i}]");
            let Some(parent) = self.parent(project.parent.as_ref(), &path) else { continue };
            let project = project.project_id.0.clone();
            self.change(&format!("{path}.parent"), Change::ProjectMove { project, parent });
        }
        for (i, project) in projects.iter().enumerate() {
            self.services(project, &format!("projects[{i}]"), owners);
        }
    }

    /// The services of one project.
    fn services(&mut self, project: &Project, path: &str, owners: &Owners) {
        let id = &project.project_id.0;
        let enable =
            |service: &str| Change::ServiceEnable { project: id.clone(), service: service.to_owned() };
        self.change(path, enable(COMPUTE));
        if project.default_network != Some(true) {
            for rule in DEFAULT_RULES {
                self.change(path, Change::FirewallDelete(FirewallKey::new(id, rule)));
            }
            self.change(path, Change::NetworkDelete(NetworkKey::new(id, "default")));
        }
        for (i, service) in project.services.iter().enumerate() {
            self.change(&format!("{path}.services[{i}]"), enable(&service.0));
        }
        for (service, used) in [
            (REDIS, owners.with_redis.contains(id)),
            (SERVICE_NETWORKING, owners.with_connection.contains(id)),
            (DNS, owners.managed_zones.contains(id)),
        ] {
            let listed = project.services.iter().any(|s| s.0 == service);
            if !listed && used {
                self.change(path, enable(service));
            }
        }
    }

    /// Shared VPCs: a project is a host when another says so.
    fn hosts(&mut self) {
        let mut hosts = std::collections::BTreeSet::new();
        for (i, project) in self.file.projects.0.iter().enumerate() {
            let Some(host) = &project.host_project else { continue };
            let path = format!("projects[{i}].hostProject");
            if !self.names.projects.contains(&host.0) {
                let known = self.names.projects.iter().map(String::as_str);
                let message = unknown("project", &host.0, known);
                self.error(&path, message);
                continue;
            }
            if hosts.insert(&host.0) {
                self.change(&path, Change::HostEnable(host.0.clone()));
            }
            let (host, project) = (host.0.clone(), project.project_id.0.clone());
            self.change(&path, Change::ServiceProjectAttach { host, project });
        }
    }

    /// Every network with its key and path.
    fn each_network(&self, owners: &Owners) -> Vec<(&'f Network, NetworkKey, String)> {
        let networks = self.file.networks.iter().zip(&owners.networks).enumerate();
        networks
            .map(|(i, (n, owner))| (n, NetworkKey::new(owner, &n.name.0), format!("networks[{i}]")))
            .collect()
    }

    fn networks(&mut self, owners: &Owners) {
        for (network, key, path) in self.each_network(owners) {
            let auto_create_subnetworks = network.auto_create_subnetworks.unwrap_or(false);
            let mtu = network.mtu.map(|mtu| mtu.short());
            let ipv6 = network
                .ula
                .unwrap_or(false)
                .then(|| Change::NetworkEnableIpv6 { network: key.clone(), range: network.ula_range });
            if let (None, Some(_)) = (&ipv6, network.ula_range) {
                let message = "It can only be given together with 'enableUlaInternalIpv6: true'";
                self.error(&format!("{path}.internalIpv6Range"), message.into());
            }
            self.change(&path, Change::NetworkInsert(NetworkSpec { key, auto_create_subnetworks, mtu }));
            if let Some(ipv6) = ipv6 {
                self.change(&format!("{path}.enableUlaInternalIpv6"), ipv6);
            }
        }
    }

    fn subnetworks(&mut self, owners: &Owners) {
        for (network, key, path) in self.each_network(owners) {
            for (i, subnetwork) in network.subnetworks.iter().enumerate() {
                let stack_type = subnetwork.stack_type.map(|stack| stack.0).unwrap_or_default();
                if subnetwork.ipv6_access_type.is_some() && stack_type == StackType::Ipv4Only {
                    let message = "It can only be given together with 'stackType: IPV4_IPV6'";
                    self.error(&format!("{path}.subnetworks[{i}].ipv6AccessType"), message.into());
                }
                let secondary = self.secondary(subnetwork, &format!("{path}.subnetworks[{i}]"));
                let spec = SubnetworkSpec {
                    key: SubnetworkKey::new(&key.project, &subnetwork.region.0, &subnetwork.name.0),
                    network: key.clone(),
                    range: subnetwork.ip_cidr_range,
                    stack_type,
                    secondary,
                    details: subnetwork.log_config.as_ref().map(flow_log).unwrap_or_default(),
                };
                let for_nat = subnetwork.purpose.is_some_and(|said| said.0 == Purpose::PrivateServiceConnect);
                let change =
                    if for_nat { Change::NatSubnetworkInsert(spec) } else { Change::SubnetworkInsert(spec) };
                self.change(&format!("{path}.subnetworks[{i}]"), change);
            }
        }
    }

    /// The secondary ranges of a subnetwork, whose names differ.
    fn secondary(&mut self, subnetwork: &Subnetwork, path: &str) -> BTreeMap<String, Ipv4Net> {
        let mut ranges = BTreeMap::new();
        for (i, said) in subnetwork.secondary_ip_ranges.iter().enumerate() {
            if ranges.insert(said.range_name.0.clone(), said.ip_cidr_range).is_some() {
                let name = &said.range_name.0;
                let message = format!("another secondary range of the subnetwork is named '{name}' too");
                self.error(&format!("{path}.secondaryIpRanges[{i}].rangeName"), message);
            }
        }
        ranges
    }

    fn instances(&mut self, owners: &Owners) {
        for (i, (instance, owner)) in self.file.instances.iter().zip(&owners.instances).enumerate() {
            let path = format!("instances[{i}]");
            if self.full() {
                break;
            }
            if let Some(spec) = self.instance(instance, owner, &path) {
                let key = spec.key.clone();
                self.change(&path, Change::InstanceInsert(spec));
                self.access_configs(instance, &key, &path);
                self.bindings(instance, &key, &path);
                if instance.status.is_some_and(|status| status.0 == Status::Terminated) {
                    self.change(&format!("{path}.status"), Change::InstanceStop(key));
                }
            }
        }
    }

    fn access_configs(&mut self, instance: &Instance, key: &InstanceKey, path: &str) {
        for (nic, said) in instance.network_interfaces.0.iter().enumerate() {
            for (i, access) in said.access_configs.iter().enumerate() {
                let name = access.name.as_ref().map_or("External NAT", |name| name.0.as_str()).to_owned();
                let change = Change::AccessConfigAdd { instance: key.clone(), nic, name, address: None };
                self.change(&format!("{path}.networkInterfaces[{nic}].accessConfigs[{i}]"), change);
            }
        }
    }

    fn instance(&mut self, instance: &Instance, owner: &str, path: &str) -> Option<InstanceSpec> {
        let region = Region::of_zone(&instance.zone.0)?; // its form is known to be good
        let mut nics = Vec::with_capacity(instance.network_interfaces.0.len());
        for (i, nic) in instance.network_interfaces.0.iter().enumerate() {
            let found = self.names.subnetwork(&nic.subnetwork.0, owner, region.name);
            let subnetwork = self.noted(found, &format!("{path}.networkInterfaces[{i}].subnetwork"));
            nics.push(subnetwork.map(|subnetwork| NicSpec {
                subnetwork,
                address: nic.network_ip,
                stack_type: nic.stack_type.map(|stack| stack.0).unwrap_or_default(),
                aliases: nic.alias_ip_ranges.iter().map(alias).collect(),
            }));
        }
        let items = instance.metadata.iter().flat_map(|m| &m.items);
        // Here, where it is known which one was said twice, and where.
        if let Err(refusal) = metadata::check(items.clone().map(|item| (&*item.key.0, &*item.value.0))) {
            self.error(&format!("{path}.{}", refusal.field().unwrap_or_default()), refusal.to_string());
        }
        let mut metadata: BTreeMap<_, _> =
            items.map(|item| (item.key.0.clone(), item.value.0.clone())).collect();
        if let Some(script) = &instance.startup_script
            && metadata.insert("startup-script".into(), script.0.clone()).is_some()
        {
            let message = "'startupScript' cannot be given together with the metadata key 'startup-script'";
            self.error(&format!("{path}.startupScript"), message.into());
        }
        if let Some(second) = instance.service_accounts.get(1) {
            let message =
                format!("An instance has at most one service account; '{}' is another", second.email.0);
            self.error(&format!("{path}.serviceAccounts[1]"), message);
        }
        let service_account = instance.service_accounts.first().map(|account| ServiceAccount {
            email: account.email.0.clone(),
            scopes: account.scopes.iter().map(|scope| scope.0.clone()).collect(),
        });
        Some(InstanceSpec {
            key: InstanceKey::new(owner, &instance.zone.0, &instance.name.0),
            nics: nics.into_iter().collect::<Option<_>>()?,
            tags: instance.tags.iter().flat_map(|t| &t.0).map(|t| t.0.clone()).collect(),
            can_ip_forward: instance.can_ip_forward.unwrap_or(false),
            service_account,
            metadata,
        })
    }

    fn firewalls(&mut self, owners: &Owners) {
        for (network, key, path) in self.each_network(owners) {
            for (i, firewall) in network.firewalls.iter().enumerate() {
                let spec = firewall_spec(firewall, &key);
                self.change(&format!("{path}.firewalls[{i}]"), Change::FirewallInsert(spec));
            }
        }
    }

    /// Firewall policies, and in which networks they come before these networks' own rules.
    fn policies(&mut self, owners: &Owners) {
        let policies = &self.file.firewall_policies;
        for (i, (said, project)) in policies.iter().zip(&owners.policies).enumerate() {
            let path = format!("firewallPolicies[{i}]");
            let region = said.region.as_ref().map(|region| region.0.clone());
            let policy = FirewallPolicyKey { region, ..FirewallPolicyKey::global(project, &said.name.0) };
            self.change(&path, Change::FirewallPolicyInsert(policy.clone()));
            self.policy_rules(&said.rules, &policy.clone().into(), Some(project), &path);
            for (at, association) in said.associations.iter().enumerate() {
                let path = format!("{path}.associations[{at}]");
                let found = self.names.network(&association.attachment_target.0, Some(project));
                let Some(network) = self.noted(found, &format!("{path}.attachmentTarget")) else { continue };
                let (policy, name) = (policy.clone(), association.name.0.clone());
                self.change(&path, Change::PolicyAssociate { policy, name, network, replace: false });
            }
        }
        for (said, network, path) in self.each_network(owners) {
            if said.policy_order.is_some_and(|order| order.0 == PolicyOrder::Before) {
                self.change(&path, Change::NetworkSetPolicyFirst { network, first: true });
            }
        }
    }

    /// The rules of a policy of either kind.
    fn policy_rules(&mut self, rules: &[PolicyRule], policy: &PolicyKey, project: Option<&str>, path: &str) {
        for (at, said) in rules.iter().enumerate() {
            let path = format!("{path}.rules[{at}]");
            let mut rule = policy_rule(said);
            self.secure_tags(said, &mut rule, &path);
            for (i, target) in said.target_resources.iter().enumerate() {
                let found = self.names.network(&target.0, project);
                rule.target_networks.extend(self.noted(found, &format!("{path}.targetResources[{i}]")));
            }
            let (policy, priority) = (policy.clone(), said.priority.0);
            self.change(&path, Change::PolicyRuleSet { policy, priority, rule, replace: false });
        }
    }

    /// The firewall policies of the organization and its folders.
    fn hierarchical_policies(&mut self) {
        for (i, said) in self.file.hierarchical_policies.iter().enumerate() {
            let path = format!("hierarchicalFirewallPolicies[{i}]");
            if self.full() {
                return;
            }
            let Some(parent) = self.parent(said.parent.as_ref(), &path) else { continue };
            let short_name = said.short_name.0.clone();
            let policy = hierarchical_policy::key_of(&short_name);
            self.change(&path, Change::HierarchicalPolicyInsert { parent, short_name });
            self.policy_rules(&said.rules, &policy.clone().into(), None, &path);
            for (at, association) in said.associations.iter().enumerate() {
                let path = format!("{path}.associations[{at}]");
                let found = self.names.node(&association.attachment_target.0);
                let Some(node) = self.noted(found, &format!("{path}.attachmentTarget")) else { continue };
                let (policy, name) = (policy.clone(), association.name.0.clone());
                self.change(
                    &path,
                    Change::HierarchicalPolicyAssociate { policy, name, node, replace: false },
                );
            }
        }
    }

    fn routes(&mut self, owners: &Owners) {
        for (network, key, path) in self.each_network(owners) {
            for (i, route) in network.routes.iter().enumerate() {
                let path = format!("{path}.routes[{i}]");
                if self.full() {
                    return;
                }
                let Some(next_hop) = self.next_hop(route, &key, &path) else { continue };
                let spec = RouteSpec {
                    key: RouteKey::new(&key.project, &route.name.0),
                    network: key.clone(),
                    dest_range: route.dest_range,
                    priority: route.priority.map_or(1000, |p| p.short()),
                    next_hop,
                    tags: route.tags.iter().map(|tag| tag.0.clone()).collect(),
                };
                self.change(&path, Change::RouteInsert(spec));
            }
        }
    }

    fn next_hop(&mut self, route: &Route, network: &NetworkKey, path: &str) -> Option<NextHop> {
        if let Some(instance) = &route.next_hop_instance {
            let found = self.names.instance(&instance.0, Some(&network.project));
            return self.noted(found, &format!("{path}.nextHopInstance")).map(NextHop::Instance);
        }
        if let Some(address) = route.next_hop_ip {
            return Some(NextHop::Address(address));
        }
        let gateway = route.next_hop_gateway.as_ref().map_or("", |g| g.0.as_str());
        if gateway.rsplit('/').next() == Some("default-internet-gateway") {
            return Some(NextHop::InternetGateway);
        }
        let expected = "The only gateway is 'default-internet-gateway'.";
        let value = crate::diagnostic::shorten(gateway);
        let refusal = tombolo_model::Refusal::invalid("nextHopGateway", value, expected);
        self.error(&format!("{path}.nextHopGateway"), refusal.to_string());
        None
    }

    fn peerings(&mut self, owners: &Owners) {
        for (network, key, path) in self.each_network(owners) {
            for (i, said) in network.peerings.iter().enumerate() {
                let path = format!("{path}.peerings[{i}]");
                if self.full() {
                    return;
                }
                let found = self.names.network(&said.network.0, None);
                let Some(peer) = self.noted(found, &format!("{path}.network")) else { continue };
                self.warn_of_stranger(&peer, &format!("{path}.network"));
                let default = Exchange::default();
                let exchange = Exchange {
                    export_custom_routes: said.export_custom_routes.unwrap_or(default.export_custom_routes),
                    import_custom_routes: said.import_custom_routes.unwrap_or(default.import_custom_routes),
                    export_subnet_routes_with_public_ip: said
                        .export_public
                        .unwrap_or(default.export_subnet_routes_with_public_ip),
                    import_subnet_routes_with_public_ip: said
                        .import_public
                        .unwrap_or(default.import_subnet_routes_with_public_ip),
                    stack_type: said.stack_type.map(|stack| stack.0).unwrap_or_default(),
                };
                let spec = PeeringSpec { network: key.clone(), name: said.name.0.clone(), peer, exchange };
                self.change(&path, Change::PeeringAdd(spec));
            }
        }
    }

    /// Google lets a network peer with one that there is not, or not yet. In a file it is a name that somebody mistyped.
    fn warn_of_stranger(&mut self, peer: &NetworkKey, path: &str) {
        if self.names.networks.get(&peer.name).is_some_and(|known| known.contains(peer)) {
            return;
        }
        let known: Vec<String> = self.names.networks.values().flatten().map(network_name).collect();
        let unknown = unknown("network", &network_name(peer), known.iter().map(String::as_str));
        self.warn(path, format!("this peering stays INACTIVE: {unknown}"));
    }

    /// Allocated ranges, then the connections that use them.
    fn connections(&mut self, owners: &Owners) {
        for (network, key, path) in self.each_network(owners) {
            for (i, range) in network.allocated_ranges.iter().enumerate() {
                let spec = AddressSpec {
                    key: AddressKey::global(&key.project, &range.name.0),
                    reserve: Reserve::Peering {
                        network: key.clone(),
                        base: range.address,
                        prefix_len: u8::try_from(range.prefix_length.0).unwrap_or(u8::MAX),
                    },
                };
                self.change(&format!("{path}.allocatedRanges[{i}]"), Change::AddressInsert(spec));
            }
            if let Some(connection) = &network.private_services_access {
                let ranges = connection.reserved_peering_ranges.0.iter().map(|name| name.0.clone()).collect();
                let spec = ConnectionSpec { network: key, ranges };
                self.change(&format!("{path}.privateServicesAccess"), Change::ConnectionCreate(spec));
            }
        }
    }

    fn redis(&mut self, owners: &Owners) {
        for (i, (redis, owner)) in self.file.redis.iter().zip(&owners.redis).enumerate() {
            let path = format!("redis[{i}]");
            if self.full() {
                break;
            }
            let found = self.names.network(&redis.authorized_network.0, Some(owner));
            let Some(network) = self.noted(found, &format!("{path}.authorizedNetwork")) else { continue };
            let spec = redis_spec(redis, owner, network);
            if let Some(spec) = self.noted(spec, &format!("{path}.reservedIpRange")) {
                let auth = redis.auth_enabled.filter(|enabled| *enabled).map(|_| Change::RedisUpdate {
                    redis: spec.key.clone(),
                    memory_size_gb: None,
                    configs: None,
                    auth: Some(true),
                });
                self.change(&path, Change::RedisInsert(spec));
                if let Some(auth) = auth {
                    self.change(&path, auth);
                }
            }
        }
    }

    fn checks(&mut self) -> Vec<Located<Check>> {
        let checks = self.file.checks.iter().enumerate();
        checks
            .filter_map(|(i, check)| {
                if self.full() {
                    return None;
                }
                let path = format!("checks[{i}]");
                let value = crate::lower_check::check(self, check, &path)?;
                Some(self.located(value, path))
            })
            .collect()
    }
}

/// What a subnetwork that logs flows says of it. One that does not says nothing.
fn flow_log(said: &SubnetworkLogConfig) -> Details {
    let fields = [
        ("enable", said.enable.then_some(json!(true))),
        ("aggregationInterval", said.aggregation_interval.map(|interval| json!(interval.0.as_str()))),
        ("flowSampling", said.flow_sampling.map(|share| json!(share.0))),
        ("metadata", said.metadata.map(|metadata| json!(metadata.0.as_str()))),
    ];
    let config: Map<_, _> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    said.enable.then(|| ("logConfig".to_owned(), Value::Object(config))).into_iter().collect()
}

/// An alias range.
fn alias(said: &AliasIpRange) -> AliasSpec {
    let secondary = said.subnetwork_range_name.as_ref().map(|name| name.0.clone());
    AliasSpec { secondary, ..said.ip_cidr_range.0.clone() }
}

/// A firewall rule with the defaults of those keys that were left out.
fn firewall_spec(firewall: &Firewall, network: &NetworkKey) -> FirewallSpec {
    let key = FirewallKey::new(&network.project, &firewall.name.0);
    let mut spec = FirewallSpec::new(key, network.clone());
    if let Some(direction) = firewall.direction {
        spec.direction = direction.0;
    }
    if let Some(priority) = firewall.priority {
        spec.priority = priority.short();
    }
    spec.action = if firewall.denied.is_some() { Action::Deny } else { Action::Allow };
    let entries = firewall.allowed.iter().chain(&firewall.denied).flatten();
    spec.matches = entries
        .map(|L4 { ip_protocol, ports }| tombolo_model::L4::new(*ip_protocol, ports.clone()))
        .collect();
    let tags = |tags: &[crate::value::Name]| tags.iter().map(|t| t.0.clone()).collect();
    spec.source_ranges = firewall.source_ranges.iter().copied().collect();
    spec.source_tags = tags(&firewall.source_tags);
    spec.destination_ranges = firewall.destination_ranges.iter().copied().collect();
    spec.target_tags = tags(&firewall.target_tags);
    let plain = |accounts: &[crate::value::Plain]| accounts.iter().map(|account| account.0.clone()).collect();
    spec.source_service_accounts = plain(&firewall.source_service_accounts);
    spec.target_service_accounts = plain(&firewall.target_service_accounts);
    spec.disabled = firewall.disabled.unwrap_or(false);
    let logging = firewall.log_config.as_ref().filter(|config| config.enable);
    spec.logging =
        logging.map(|config| config.metadata.map_or(LogMetadata::IncludeAllMetadata, |metadata| metadata.0));
    spec
}

/// A firewall policy's rule with the defaults of those keys that were left out.
fn policy_rule(said: &PolicyRule) -> tombolo_model::PolicyRule {
    let direction = said.direction.map_or(Direction::Ingress, |direction| direction.0);
    let (from, to) = (&said.matched.src_ip_ranges, &said.matched.dest_ip_ranges);
    let (far, near) = if direction == Direction::Ingress { (from, to) } else { (to, from) };
    let text = |text: &Option<Plain>| text.as_ref().map(|text| text.0.clone()).unwrap_or_default();
    let configs = said.matched.layer4_configs.0.iter();
    tombolo_model::PolicyRule {
        name: text(&said.rule_name),
        description: text(&said.description),
        action: said.action.0,
        direction,
        matches: configs.map(|it| tombolo_model::L4::new(it.ip_protocol, it.ports.clone())).collect(),
        ranges: far.iter().copied().collect(),
        near_ranges: near.iter().copied().collect(),
        src_secure_tags: Default::default(), // names are the file's
        target_secure_tags: Default::default(),
        target_service_accounts: said.target_service_accounts.iter().map(|it| it.0.clone()).collect(),
        target_networks: Default::default(),
        disabled: said.disabled.unwrap_or(false),
        logging: said.enable_logging.unwrap_or(false),
    }
}

/// A Redis instance with the defaults of those keys that were left out.
fn redis_spec(redis: &Redis, project: &str, authorized_network: NetworkKey) -> Result<RedisSpec, String> {
    let private = redis.connect_mode.is_some_and(|mode| mode.0 == Mode::PrivateServices);
    let (reserved_ip_range, connect_mode) = match (private, redis.reserved_ip_range.clone()) {
        (false, None) => (None, ConnectMode::DirectPeering),
        (false, Some(RangeOrName::Range(range))) => (Some(range), ConnectMode::DirectPeering),
        (false, Some(RangeOrName::Name(_))) => {
            return Err("the name of an allocated range needs connectMode: PRIVATE_SERVICE_ACCESS".into());
        }
        (true, None) => (None, ConnectMode::PrivateServiceAccess { range: None }),
        (true, Some(RangeOrName::Name(name))) => {
            (None, ConnectMode::PrivateServiceAccess { range: Some(name) })
        }
        (true, Some(RangeOrName::Range(_))) => {
            return Err("with PRIVATE_SERVICE_ACCESS it must be the name of an allocated range".into());
        }
    };
    Ok(RedisSpec {
        key: RedisKey::new(project, &redis.region.0, &redis.name.0),
        authorized_network,
        reserved_ip_range,
        connect_mode,
        tier: redis.tier.map(|tier| tier.0).unwrap_or_default(),
        memory_size_gb: redis.memory_size_gb.map_or(1, |gb| gb.0),
        tls: redis.has_tls(),
    })
}
