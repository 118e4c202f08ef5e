//! Changes in a line each, so that tests read as tables.
//!
//! ```text
//!   project project-1                     with compute and redis enabled; it has its network `default`
//!   empty project-1                       no service enabled
//!   enable SERVICE project-1
//!   network vpc-1 [auto] [mtu=N]          subnet subnet-1 vpc-1 10.1.0.0/16 [region]
//!   vm vm-1 subnet-1[=10.1.0.9],subnet-2 [zone=Z] [in=REGION] [forward] [tags=a,b] [account=web]
//!   tags vm-1 a,b      account vm-1 [web]      stop|start vm-1       (web is web@project-1.iam.gserviceaccount.com)
//!   allow|deny rule-1 vpc-1 tcp:80,udp [egress] [priority=N] [sources=…] [destinations=…] [source-tags=…] [targets=…]
//!       [source-accounts=web,…] [accounts=web,…] [disabled]
//!   policy p-1                            policy-first|policy-last vpc-1
//!   policy-rule|policy-replace p-1 PRIORITY allow|deny|next tcp:80,udp ranges=… [egress] [accounts=web,…] [disabled]
//!       [logging]                         policy-remove p-1 PRIORITY
//!   associate p-1 NAME vpc-1 [replace]    dissociate p-1 NAME
//!   tag-key project-1/role|org/role [vpc-1|auto]         tag-value project-1/role/web
//!   bind|unbind vm-1 project-1/role/web   (policy-rule … from=org/role/web,… at=project-1/role/db,…)
//!   folder prod      folder prod/team     move project-1 org|prod|prod/team
//!   hierarchical p-1 [org|prod|…]         (from then on `^p-1`, whose rules may have networks=vpc-1,…)
//!   associate ^p-1 NAME org|prod|… [replace]
//!   route r-1 vpc-1 192.168.0.0/16 gateway|vm-1|10.1.0.9 [priority=N] [tags=a,b]
//!   peer a-to-b vpc-a vpc-b [export] [import] [import-public] [no-export-public]
//!       [ipv6]
//!   exchange a-to-b vpc-a [export] …      unpeer a-to-b vpc-a
//!   redis redis-1 vpc-2 [10.34.175.88/29] [region=R] [memory=N] [tls]
//!   redis redis-1 vpc-1 from=any|RANGE    by private services access
//!   connect vpc-1 RANGE,…                 reconnect vpc-1 RANGE,… [force]       disconnect vpc-1
//!   secondary subnet-1 pods=10.8.0.0/16,…    alias vm-1 pods=10.8.1.0/24,=10.1.0.77/32,pods=/28
//!   reserve a-1 subnet-1[=10.1.0.9]|external|external=A|range vpc-1 BASE|any LENGTH
//!   nat vm-1 [A]                          unnat vm-1
//!   router r-1 vpc-1 [NAT …]              nats r-1 [NAT …]       (NAT is NAME=all|primary|SUBNET[:all][+SUBNET…][@A-1[+A-2]])
//!   nat-subnet n-1 vpc-2 10.3.0.0/24      target t-1 vm-1 [network=vpc-2]        retarget f-1 t-2
//!   forward f-1 vpc-1 subnet-1[=10.1.0.9] t-1 tcp:80:81|udp|all [global] [region=R]
//!   endpoint e-1 vpc-1 subnet-1[=10.1.0.9] sa-1 [global] [region=R]                globally f-1    locally f-1
//!   publish|republish sa-1 f-1 n-1,n-2 [manual] [accept=project-1:2,@vpc-1:1] [reject=…] [reconcile]   (@ is for networks)
//!   ula vpc-1 [fd20:1:2::/48]             dual subnet-1              dual-vm vm-1 [NIC]
//!   host project-1                        unhost project-1
//!   attach project-2 project-1            detach project-2 project-1       (service project, host project)
//!   delete network|subnet|vm|rule|route|redis|address|target|forward|attachment|… NAME
//! ```
//!
//! A network, subnetwork and so on is of `project-1` unless written `project-2/NAME`.

#![allow(dead_code, reason = "the tests of other crates include this file, and not all use all of it")]

use tombolo_model::*;

/// The words of a line.
struct Words<'t> {
    words: Vec<&'t str>,
}

impl<'t> Words<'t> {
    fn nth(&self, i: usize) -> &'t str {
        self.words.get(i).copied().unwrap_or_else(|| panic!("word {i} is missing in {:?}", self.words))
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn option(&self, name: &str) -> Option<&'t str> {
        self.words.iter().find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
    }

    /// The comma-separated values of an option.
    fn list(&self, name: &str) -> Vec<&'t str> {
        self.option(name).map(|l| l.split(',').collect()).unwrap_or_default()
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// Project and name.
fn place(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("project-1", text))
}

pub(crate) fn network(text: &str) -> NetworkKey {
    let (project, name) = place(text);
    NetworkKey::new(project, name)
}

pub(crate) fn subnet(text: &str) -> SubnetworkKey {
    let (project, name) = place(text);
    SubnetworkKey::new(project, "us-central1", name)
}

pub(crate) fn vm(text: &str) -> InstanceKey {
    let (project, name) = place(text);
    InstanceKey::new(project, "us-central1-a", name)
}

pub(crate) fn redis(text: &str) -> RedisKey {
    let (project, name) = place(text);
    RedisKey::new(project, "us-central1", name)
}

/// `a-1` of the tests' region, `global/a-1` or `project-2/a-1`.
pub(crate) fn address(text: &str) -> AddressKey {
    match place(text) {
        ("global", name) => AddressKey::global("project-1", name),
        (project, name) => AddressKey::regional(project, "us-central1", name),
    }
}

fn firewall(text: &str) -> FirewallKey {
    let (project, name) = place(text);
    FirewallKey::new(project, name)
}

fn policy(text: &str) -> FirewallPolicyKey {
    let (text, region) = text.split_once('@').map_or((text, None), |(text, region)| (text, Some(region)));
    let (project, name) = place(text);
    FirewallPolicyKey { region: region.map(str::to_owned), ..FirewallPolicyKey::global(project, name) }
}

/// `r-1` of the tests' region.
pub(crate) fn router(text: &str) -> RouterKey {
    let (project, name) = place(text);
    RouterKey::new(project, "us-central1", name)
}

pub(crate) fn target(text: &str) -> TargetInstanceKey {
    let (project, name) = place(text);
    TargetInstanceKey::new(project, "us-central1-a", name)
}

pub(crate) fn forwarding_rule(text: &str) -> ForwardingRuleKey {
    let (project, name) = place(text);
    ForwardingRuleKey::new(project, "us-central1", name)
}

pub(crate) fn attachment(text: &str) -> ServiceAttachmentKey {
    let (project, name) = place(text);
    ServiceAttachmentKey::new(project, "us-central1", name)
}

fn route(text: &str) -> RouteKey {
    let (project, name) = place(text);
    RouteKey::new(project, name)
}

/// The change that a line says.
pub(crate) fn change(line: &str) -> Change {
    let w = Words { words: line.split_whitespace().collect() };
    match w.nth(0) {
        "empty" => Change::ProjectCreate(w.nth(1).into()),
        "enable" => Change::ServiceEnable { service: w.nth(1).into(), project: w.nth(2).into() },
        "network" => Change::NetworkInsert(NetworkSpec {
            key: network(w.nth(1)),
            auto_create_subnetworks: w.has("auto"),
            mtu: w.option("mtu").map(parse),
        }),
        "subnet" => {
            let mut key = subnet(w.nth(1));
            key.region = w.words.get(4).copied().unwrap_or("us-central1").into();
            Change::SubnetworkInsert(SubnetworkSpec::new(key, network(w.nth(2)), parse(w.nth(3))))
        }
        "expand" => Change::SubnetworkExpand { subnetwork: subnet(w.nth(1)), range: parse(w.nth(2)) },
        "vm" => vm_insert(&w),
        "tags" => Change::InstanceSetTags {
            instance: vm(w.nth(1)),
            tags: w.nth(2).split(',').map(String::from).collect(),
        },
        "account" => Change::InstanceSetServiceAccount {
            instance: vm(w.nth(1)),
            account: w.words.get(2).map(|text| account(text)),
        },
        "start" => Change::InstanceStart(vm(w.nth(1))),
        "stop" => Change::InstanceStop(vm(w.nth(1))),
        "allow" | "deny" => Change::FirewallInsert(rule(&w)),
        "move" => Change::ProjectMove { project: w.nth(1).into(), parent: node(w.nth(2)) },
        "folder" => {
            let (parent, name) = w.nth(1).rsplit_once('/').unwrap_or(("org", w.nth(1)));
            Change::FolderCreate { parent: node(parent), display_name: name.into() }
        }
        "policy" => Change::FirewallPolicyInsert(policy(w.nth(1))),
        "hierarchical" => Change::HierarchicalPolicyInsert {
            parent: node(w.words.get(2).map_or("org", |word| word)),
            short_name: w.nth(1).into(),
        },
        "policy-rule" | "policy-replace" => Change::PolicyRuleSet {
            policy: any_policy(w.nth(1)),
            priority: parse(w.nth(2)),
            rule: policy_rule(&w),
            replace: w.nth(0) == "policy-replace",
        },
        "policy-remove" => {
            Change::PolicyRuleRemove { policy: any_policy(w.nth(1)), priority: parse(w.nth(2)) }
        }
        "associate" if w.nth(1).starts_with('^') => Change::HierarchicalPolicyAssociate {
            policy: hierarchical_policy::key_of(w.nth(1).trim_start_matches('^')),
            name: w.nth(2).into(),
            node: node(w.nth(3)),
            replace: w.has("replace"),
        },
        "associate" => Change::PolicyAssociate {
            policy: policy(w.nth(1)),
            name: w.nth(2).into(),
            network: network(w.nth(3)),
            replace: w.has("replace"),
        },
        "dissociate" => Change::PolicyDissociate { policy: any_policy(w.nth(1)), name: w.nth(2).into() },
        "tag-key" => {
            let (parent, name) = w.nth(1).split_once('/').unwrap_or_default();
            let scope = w.words.get(2).map(|text| match *text {
                "auto" => TagScope::Organization,
                name => TagScope::Network(network(name)),
            });
            let (parent, short_name) = (tag_parent(parent), name.to_owned());
            Change::TagKeyCreate(TagKeySpec { parent, short_name, scope })
        }
        "tag-value" => {
            let (parent, name) = w.nth(1).rsplit_once('/').unwrap_or_default();
            Change::TagValueCreate { parent: tag_key(parent), short_name: name.to_owned() }
        }
        "bind" => Change::TagBind { instance: vm(w.nth(1)), value: tag_value(w.nth(2)) },
        "unbind" => Change::TagUnbind { instance: vm(w.nth(1)), value: tag_value(w.nth(2)) },
        "policy-first" | "policy-last" => {
            Change::NetworkSetPolicyFirst { network: network(w.nth(1)), first: w.nth(0) == "policy-first" }
        }
        "route" => Change::RouteInsert(RouteSpec {
            key: route(w.nth(1)),
            network: network(w.nth(2)),
            dest_range: parse(w.nth(3)),
            priority: w.option("priority").map_or(1000, parse),
            tags: w.list("tags").into_iter().map(String::from).collect(),
            next_hop: match (w.nth(4), w.nth(4).parse()) {
                ("gateway", _) => NextHop::InternetGateway,
                (_, Ok(address)) => NextHop::Address(address),
                (name, _) => NextHop::Instance(vm(name)),
            },
        }),
        "peer" => Change::PeeringAdd(PeeringSpec {
            name: w.nth(1).into(),
            network: network(w.nth(2)),
            peer: network(w.nth(3)),
            exchange: exchange(&w),
        }),
        "exchange" => Change::PeeringUpdate {
            name: w.nth(1).into(),
            network: network(w.nth(2)),
            exchange: exchange(&w),
        },
        "unpeer" => Change::PeeringRemove { name: w.nth(1).into(), network: network(w.nth(2)) },
        "redis" => {
            let mut key = redis(w.nth(1));
            key.region = w.option("region").unwrap_or("us-central1").into();
            Change::RedisInsert(RedisSpec {
                key,
                authorized_network: network(w.nth(2)),
                reserved_ip_range: w.words.get(3).and_then(|r| r.parse().ok()),
                connect_mode: match w.option("from") {
                    Some("any") => ConnectMode::PrivateServiceAccess { range: None },
                    Some(range) => ConnectMode::PrivateServiceAccess { range: Some(range.into()) },
                    None => ConnectMode::DirectPeering,
                },
                tier: RedisTier::Basic,
                memory_size_gb: w.option("memory").map_or(1, parse),
                tls: w.has("tls"),
            })
        }
        "connect" => Change::ConnectionCreate(connection(&w)),
        "reconnect" => Change::ConnectionUpdate { connection: connection(&w), force: w.has("force") },
        "disconnect" => Change::ConnectionDelete(network(w.nth(1))),
        "secondary" => Change::SubnetworkSetSecondary {
            subnetwork: subnet(w.nth(1)),
            ranges: pairs(w.words.get(2)).map(|(name, range)| (name.to_owned(), parse(range))).collect(),
        },
        "alias" => Change::AliasesSet {
            instance: vm(w.nth(1)),
            nic: 0,
            aliases: pairs(w.words.get(2)).map(alias).collect(),
        },
        "reserve" => Change::AddressInsert(AddressSpec { key: address(w.nth(1)), reserve: reserve(&w) }),
        "nat" => Change::AccessConfigAdd {
            instance: vm(w.nth(1)),
            nic: 0,
            name: "External NAT".into(),
            address: w.words.get(2).map(|address| parse(address)),
        },
        "unnat" => Change::AccessConfigDelete { instance: vm(w.nth(1)), nic: 0, name: "External NAT".into() },
        "router" => Change::RouterInsert(RouterSpec {
            key: router(w.nth(1)),
            network: network(w.nth(2)),
            nats: w.words.iter().skip(3).map(|text| gateway(text)).collect(),
        }),
        "nats" => Change::RouterSetNats {
            router: router(w.nth(1)),
            nats: w.words.iter().skip(2).map(|text| gateway(text)).collect(),
        },
        "nat-subnet" => Change::NatSubnetworkInsert(SubnetworkSpec::new(
            subnet(w.nth(1)),
            network(w.nth(2)),
            parse(w.nth(3)),
        )),
        "target" => Change::TargetInstanceInsert(TargetInstanceSpec {
            key: target(w.nth(1)),
            instance: vm(w.nth(2)),
            network: w.option("network").map(network),
        }),
        "retarget" => {
            Change::ForwardingRuleSetTarget { rule: forwarding_rule(w.nth(1)), target: target(w.nth(2)) }
        }
        "globally" | "locally" => Change::ForwardingRuleSetGlobal {
            rule: forwarding_rule(w.nth(1)),
            global: w.nth(0) == "globally",
        },
        "forward" | "endpoint" => Change::ForwardingRuleInsert(forwarding(&w)),
        "publish" => Change::ServiceAttachmentInsert(published(&w)),
        "republish" => Change::ServiceAttachmentUpdate(published(&w)),
        "ula" => Change::NetworkEnableIpv6 {
            network: network(w.nth(1)),
            range: w.words.get(2).map(|range| parse(range)),
        },
        "dual" => Change::SubnetworkEnableIpv6(subnet(w.nth(1))),
        "dual-vm" => {
            Change::NicEnableIpv6 { instance: vm(w.nth(1)), nic: w.words.get(2).map_or(0, |nic| parse(nic)) }
        }
        "host" => Change::HostEnable(w.nth(1).into()),
        "unhost" => Change::HostDisable(w.nth(1).into()),
        "attach" => Change::ServiceProjectAttach { project: w.nth(1).into(), host: w.nth(2).into() },
        "detach" => Change::ServiceProjectDetach { project: w.nth(1).into(), host: w.nth(2).into() },
        "delete" => delete(w.nth(1), w.nth(2)),
        other => panic!("what is {other}?"),
    }
}

/// `forward NAME NETWORK SUBNET[=ADDRESS] TARGET PROTOCOL[:PORT…]`, or `endpoint NAME NETWORK SUBNET[=ADDRESS] ATTACHMENT`
fn forwarding(w: &Words) -> ForwardingRuleSpec {
    let (mut key, at) = (forwarding_rule(w.nth(1)), w.nth(3));
    let (place, address) = at.split_once('=').map_or((at, None), |(p, a)| (p, Some(parse(a))));
    let mut place = subnet(place);
    if let Some(region) = w.option("region") {
        (key.region, place.region) = (region.into(), region.into());
    }
    let to = match w.nth(0) {
        "endpoint" => ForwardSpec::Service(attachment(w.nth(4))),
        _ => {
            let mut parts = w.nth(5).split(':');
            let protocol = parse(parts.next().unwrap_or_default());
            ForwardSpec::Instance {
                target: target(w.nth(4)),
                takes: L4::new(protocol, parts.map(parse).collect()),
            }
        }
    };
    let global = w.has("global");
    ForwardingRuleSpec { key, network: network(w.nth(2)), subnetwork: place, address, to, global }
}

fn published(w: &Words) -> ServiceAttachmentSpec {
    let consumer = |text: &str| match text.strip_prefix('@') {
        Some(name) => Consumer::Network(network(name)),
        None => Consumer::Project(text.into()),
    };
    let limited = |text: &str| {
        let (who, limit) = text.split_once(':').unwrap_or((text, "10"));
        (consumer(who), parse(limit))
    };
    ServiceAttachmentSpec {
        key: attachment(w.nth(1)),
        target: forwarding_rule(w.nth(2)),
        nat_subnetworks: w.nth(3).split(',').map(subnet).collect(),
        acceptance: Acceptance {
            manual: w.has("manual"),
            accept: w.list("accept").into_iter().map(limited).collect(),
            reject: w.list("reject").into_iter().map(consumer).collect(),
            reconcile: w.has("reconcile"),
        },
    }
}

/// `connect NETWORK RANGE,…`
fn connection(w: &Words) -> ConnectionSpec {
    let ranges = w.words.get(2).copied().into_iter().flat_map(|ranges| ranges.split(','));
    ConnectionSpec { network: network(w.nth(1)), ranges: ranges.map(String::from).collect() }
}

fn exchange(w: &Words) -> Exchange {
    Exchange {
        export_custom_routes: w.has("export"),
        import_custom_routes: w.has("import"),
        export_subnet_routes_with_public_ip: !w.has("no-export-public"),
        import_subnet_routes_with_public_ip: w.has("import-public"),
        stack_type: if w.has("ipv6") { StackType::Ipv4Ipv6 } else { StackType::Ipv4Only },
    }
}

/// `a=b,c=d`
fn pairs<'t>(text: Option<&&'t str>) -> impl Iterator<Item = (&'t str, &'t str)> {
    text.copied().into_iter().flat_map(|text| text.split(',')).filter_map(|pair| pair.split_once('='))
}

fn alias((secondary, range): (&str, &str)) -> AliasSpec {
    let (base, length) = range.split_once('/').unwrap_or((range, "32"));
    AliasSpec {
        base: (!base.is_empty()).then(|| parse(base)),
        prefix_len: parse(length),
        secondary: (!secondary.is_empty()).then(|| secondary.to_owned()),
    }
}

/// `n=all`, `n=subnet-1+subnet-2:all@a-1+a-2`
fn gateway(text: &str) -> NatSpec {
    let (name, rest) = text.split_once('=').unwrap_or((text, "all"));
    let (sources, addresses) = match rest.split_once('@') {
        Some((sources, addresses)) => (sources, Some(addresses.split('+').map(address).collect())),
        None => (rest, None),
    };
    let listed = |text: &str| match text.split_once(':') {
        Some((name, _)) => (subnet(name), NatRanges::All),
        None => (subnet(text), NatRanges::Primary),
    };
    let sources = match sources {
        "all" => NatSources::AllSubnetworks(NatRanges::All),
        "primary" => NatSources::AllSubnetworks(NatRanges::Primary),
        listed_ones => NatSources::Subnetworks(listed_ones.split('+').map(listed).collect()),
    };
    NatSpec { name: name.into(), addresses, sources, min_ports_per_vm: None }
}

fn reserve(w: &Words) -> Reserve {
    let (place, wanted) = w.nth(2).split_once('=').map_or((w.nth(2), None), |(p, a)| (p, Some(parse(a))));
    match place {
        "external" => Reserve::External { address: wanted },
        "range" => Reserve::Peering {
            network: network(w.nth(3)),
            base: w.nth(4).parse().ok(),
            prefix_len: parse(w.nth(5)),
        },
        place => Reserve::Internal { subnetwork: subnet(place), address: wanted },
    }
}

fn vm_insert(w: &Words) -> Change {
    let mut key = vm(w.nth(1));
    key.zone = w.option("zone").unwrap_or("us-central1-a").into();
    if let Some(region) = w.option("in") {
        key.zone = format!("{region}-b");
    }
    let nic = |text: &str| {
        let (name, address) = text.split_once('=').map_or((text, None), |(n, a)| (n, Some(parse(a))));
        let mut subnetwork = subnet(name);
        subnetwork.region = w.option("in").unwrap_or("us-central1").into();
        NicSpec { subnetwork, address, stack_type: StackType::Ipv4Only, aliases: Vec::new() }
    };
    Change::InstanceInsert(InstanceSpec {
        key,
        nics: if w.nth(2) == "none" { Vec::new() } else { w.nth(2).split(',').map(nic).collect() },
        tags: w.list("tags").into_iter().map(String::from).collect(),
        can_ip_forward: w.has("forward"),
        service_account: w.option("account").map(account),
        metadata: Default::default(),
    })
}

/// `web` is `web@project-1.iam.gserviceaccount.com`; what has an `@`, and `default`, is itself.
pub(crate) fn email(text: &str) -> String {
    match text.contains('@') || text == "default" {
        true => text.to_owned(),
        false => format!("{text}@project-1.iam.gserviceaccount.com"),
    }
}

fn account(text: &str) -> ServiceAccount {
    ServiceAccount { email: email(text), scopes: Vec::new() }
}

fn rule(w: &Words) -> FirewallSpec {
    let mut rule = FirewallSpec::new(firewall(w.nth(1)), network(w.nth(2)));
    let l4 = |text: &str| {
        let mut parts = text.split(':');
        let protocol = parse(parts.next().unwrap_or_default());
        L4::new(protocol, parts.map(parse).collect())
    };
    rule.action = if w.nth(0) == "deny" { Action::Deny } else { Action::Allow };
    rule.direction = if w.has("egress") { Direction::Egress } else { Direction::Ingress };
    rule.priority = w.option("priority").map_or(1000, parse);
    rule.matches = if w.nth(3) == "nothing" { Vec::new() } else { w.nth(3).split(',').map(l4).collect() };
    rule.source_ranges = w.list("sources").into_iter().map(parse).collect();
    rule.source_tags = w.list("source-tags").into_iter().map(String::from).collect();
    rule.source_service_accounts = w.list("source-accounts").into_iter().map(email).collect();
    rule.target_service_accounts = w.list("accounts").into_iter().map(email).collect();
    rule.destination_ranges = w.list("destinations").into_iter().map(parse).collect();
    rule.disabled = w.has("disabled");
    rule.target_tags = w.list("targets").into_iter().map(String::from).collect();
    rule
}

/// A network firewall policy, or a hierarchical one: `^NAME`.
fn any_policy(text: &str) -> PolicyKey {
    match text.strip_prefix('^') {
        Some(name) => hierarchical_policy::key_of(name).into(),
        None => policy(text).into(),
    }
}

/// `org`, or a folder by the display names that lead to it: `prod/team`.
pub(crate) fn node(text: &str) -> Node {
    if text == "org" { Node::Organization } else { Node::Folder(folder(text)) }
}

pub(crate) fn folder(text: &str) -> FolderKey {
    let (parent, name) = text.rsplit_once('/').unwrap_or(("org", text));
    folder::key_of(&World::default(), &node(parent), name)
}

/// What a tag key is in, by how its name begins.
fn tag_parent(text: &str) -> TagParent {
    match text {
        "org" => TagParent::Organization,
        id => TagParent::Project(id.to_owned()),
    }
}

/// The key that the first tag key of the name has.
pub(crate) fn tag_key(text: &str) -> TagKeyKey {
    let (parent, name) = text.split_once('/').unwrap_or_else(|| panic!("what is {text}?"));
    tag_key::key_of(&World::default(), &tag_parent(parent), name)
}

pub(crate) fn tag_value(text: &str) -> TagValueKey {
    let (parent, name) = text.rsplit_once('/').unwrap_or_else(|| panic!("what is {text}?"));
    tag_value::key_of(&World::default(), &tag_key(parent), name)
}

fn policy_rule(w: &Words) -> PolicyRule {
    let l4 = |text: &str| {
        let mut parts = text.split(':');
        let protocol = parse(parts.next().unwrap_or_default());
        L4::new(protocol, parts.map(parse).collect())
    };
    PolicyRule {
        name: String::new(),
        description: String::new(),
        action: match w.nth(3) {
            "allow" => Action::Allow,
            "deny" => Action::Deny,
            "next" => Action::GotoNext,
            other => panic!("what is {other}?"),
        },
        direction: if w.has("egress") { Direction::Egress } else { Direction::Ingress },
        matches: if w.nth(4) == "nothing" { Vec::new() } else { w.nth(4).split(',').map(l4).collect() },
        ranges: w.list("ranges").into_iter().map(parse).collect(),
        near_ranges: w.list("near").into_iter().map(parse).collect(),
        src_secure_tags: w.list("from").into_iter().map(tag_value).collect(),
        target_service_accounts: w.list("accounts").into_iter().map(email).collect(),
        target_secure_tags: w.list("at").into_iter().map(tag_value).collect(),
        target_networks: w.list("networks").into_iter().map(network).collect(),
        disabled: w.has("disabled"),
        logging: w.has("logging"),
    }
}

fn delete(kind: &str, name: &str) -> Change {
    match kind {
        "network" => Change::NetworkDelete(network(name)),
        "subnet" => Change::SubnetworkDelete(subnet(name)),
        "vm" => Change::InstanceDelete(vm(name)),
        "rule" => Change::FirewallDelete(firewall(name)),
        "policy" => Change::FirewallPolicyDelete(any_policy(name)),
        "folder" => Change::FolderDelete(folder(name)),
        "tag-key" => Change::TagKeyDelete(tag_key(name)),
        "tag-value" => Change::TagValueDelete(tag_value(name)),
        "route" => Change::RouteDelete(route(name)),
        "redis" => Change::RedisDelete(redis(name)),
        "router" => Change::RouterDelete(router(name)),
        "address" => Change::AddressDelete(address(name)),
        "target" => Change::TargetInstanceDelete(target(name)),
        "forward" => Change::ForwardingRuleDelete(forwarding_rule(name)),
        "attachment" => Change::ServiceAttachmentDelete(attachment(name)),
        other => panic!("what is {other}?"),
    }
}

/// The changes of a text, one a line; `#` begins a comment and `project` is short for several changes.
pub(crate) fn changes(text: &str) -> Vec<Change> {
    let lines =
        text.lines().map(|l| l.split('#').next().unwrap_or_default().trim()).filter(|l| !l.is_empty());
    lines
        .flat_map(|line| match line.strip_prefix("project ") {
            Some(project) => vec![
                change(&format!("empty {project}")),
                change(&format!("enable compute.googleapis.com {project}")),
                change(&format!("enable redis.googleapis.com {project}")),
            ],
            None => vec![change(line)],
        })
        .collect()
}

/// The World after a text of changes, made one second after another; each must be accepted.
pub(crate) fn world(text: &str) -> World {
    changes(text).iter().enumerate().fold(World::default(), |world, (i, change)| {
        world.apply(change, Timestamp(i as i64 * 1000)).unwrap_or_else(|e| panic!("{change}: {e}"))
    })
}

/// `world` after one more accepted change.
pub(crate) fn then(world: &World, line: &str, now: i64) -> World {
    world.apply(&change(line), Timestamp(now)).unwrap_or_else(|e| panic!("{line}: {e}"))
}

/// Why a change is refused.
pub(crate) fn refusal(world: &World, line: &str) -> Refusal {
    world.apply(&change(line), Timestamp(0)).err().unwrap_or_else(|| panic!("{line}: accepted"))
}
