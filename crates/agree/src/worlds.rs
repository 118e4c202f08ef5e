//! Random worlds. Everything is a [`Change`]; what the World refuses is left out, so every world is a legal one.

use crate::NOW;
use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use tombolo_model::{
    Action, AddressKey, AddressSpec, AliasSpec, Change, ConnectMode, ConnectionSpec, Direction, Exchange,
    FirewallKey, FirewallPolicyKey, FirewallSpec, InstanceKey, InstanceSpec, L4, LogMetadata, NatRanges,
    NatSources, NatSpec, NetworkKey, NetworkSpec, NextHop, NicSpec, Node, PeeringSpec, PolicyKey, PolicyRule,
    PortRange, Protocol, RedisKey, RedisSpec, RedisTier, Reserve, RouteKey, RouteSpec, RouterKey, RouterSpec,
    ServiceAccount, StackType, SubnetworkKey, SubnetworkSpec, World, connection, folder, hierarchical_policy,
    project, range,
};

pub(crate) const PROJECT: &str = "project-1";
pub(crate) const REGION: &str = "us-central1";
const ZONE: &str = "us-central1-a";
/// Ranges that touch, contain and equal each other, small ones most: their edges are near. One is a public range
/// used privately, one is what Memorystore does not talk to.
const RANGES: [&str; 12] = [
    "10.0.0.0/28",
    "10.0.0.16/28",
    "10.0.0.32/29",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.1.0.0/16",
    "10.2.0.0/16",
    "192.168.0.0/29",
    "192.168.0.8/29",
    "172.16.0.0/20",
    "172.17.5.0/24",
    "8.8.8.0/29",
];
/// Secondary ranges, near to the primary ones; one is a public range.
const SECOND: [&str; 5] = ["10.0.0.48/28", "10.0.0.64/26", "10.3.0.0/24", "192.168.0.16/29", "8.8.8.8/29"];
const TAGS: [&str; 3] = ["red", "green", "blue"];
const ACCOUNTS: [&str; 2] = ["web@project-1.iam.gserviceaccount.com", "db@project-1.iam.gserviceaccount.com"];
/// Ties are likely, and so are the first and the last priority.
const PRIORITIES: [u16; 8] = [0, 900, 1000, 1000, 1000, 1001, 65534, 65535];
/// Ports at which rules and flows meet: both ends of ranges and their neighbours; and those that are always blocked.
pub(crate) const PORTS: [u16; 12] = [21, 22, 23, 25, 68, 79, 80, 90, 91, 6378, 6379, 65535];

/// A random world.
pub fn world(rng: &mut Rng) -> World {
    let external = rng.u8(..100) < 60;
    let mut maker = Maker { external, world: World::default(), rng };
    maker.project();
    let networks: Vec<NetworkKey> = (0..maker.rng.usize(2..=6)).map(|i| maker.network(i)).collect();
    let instances = maker.rng.usize(2..=9);
    // Now and then they crowd in one network and forward: only there can next hops be equal.
    let crowd = if maker.chance(30) { networks.first() } else { None };
    (0..instances).for_each(|i| maker.instance(i, crowd));
    maker.peerings(&networks);
    networks.iter().for_each(|network| maker.rules(network));
    // Some have both a global and a regional one.
    networks.iter().for_each(|network| (0..2).for_each(|_| maker.policy(network)));
    networks.iter().for_each(|network| maker.nats(network));
    networks.iter().for_each(|network| maker.routes(network, crowd == Some(network)));
    if maker.rng.u8(..3) == 0 {
        maker.redis(&networks);
    }
    maker.forwarding(&networks);
    // With dice of its own: what comes after is as it would be without.
    let mut apart = maker.rng.clone();
    let mut maker = Maker { external, world: maker.world, rng: &mut apart };
    if maker.chance(35) {
        maker.hierarchy(&networks);
    }
    if maker.chance(35) {
        maker.secure_tags(&networks);
    }
    if maker.chance(8) {
        maker.many_rules(&networks);
    }
    if maker.chance(45) {
        maker.near_ranges();
    }
    maker.world
}

fn is_ipv6(range: &IpNet) -> bool {
    matches!(range, IpNet::V6(_))
}

pub(crate) struct Maker<'r> {
    /// Whether some instances have external addresses.
    external: bool,
    pub(crate) world: World,
    pub(crate) rng: &'r mut Rng,
}

impl Maker<'_> {
    /// Makes a change if it is legal.
    pub(crate) fn try_change(&mut self, change: &Change) -> bool {
        match self.world.apply(change, NOW) {
            Ok(next) => {
                self.world = next;
                true
            }
            Err(_) => false,
        }
    }

    /// Makes those of the changes that are legal.
    pub(crate) fn try_changes(&mut self, changes: &[Change]) {
        for change in changes {
            self.try_change(change);
        }
    }

    /// One of several.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())].clone()
    }

    /// Whether something happens that does so in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: u8) -> bool {
        self.rng.u8(..100) < percent
    }

    /// A project without its default network.
    fn project(&mut self) {
        self.try_change(&Change::ProjectCreate(PROJECT.into()));
        for service in [project::COMPUTE, project::REDIS] {
            self.try_change(&Change::ServiceEnable { project: PROJECT.into(), service: service.into() });
        }
        for rule in ["internal", "ssh", "rdp", "icmp"] {
            self.try_change(&Change::FirewallDelete(FirewallKey::new(
                PROJECT,
                format!("default-allow-{rule}"),
            )));
        }
        self.try_change(&Change::NetworkDelete(NetworkKey::new(PROJECT, "default")));
    }

    /// A network with one to three subnetworks.
    fn network(&mut self, i: usize) -> NetworkKey {
        let key = NetworkKey::new(PROJECT, format!("vpc-{i}"));
        let mtu = if self.chance(20) { Some(1300) } else { None };
        self.try_change(&Change::NetworkInsert(NetworkSpec {
            key: key.clone(),
            auto_create_subnetworks: false,
            mtu,
        }));
        if self.chance(60) {
            self.try_change(&Change::NetworkEnableIpv6 { network: key.clone(), range: None });
        }
        for j in 0..self.rng.usize(1..=3) {
            let subnet = SubnetworkKey::new(PROJECT, REGION, format!("subnet-{i}-{j}"));
            let range = self.pick(&RANGES).parse().unwrap_or_default();
            self.try_change(&Change::SubnetworkInsert(SubnetworkSpec::new(subnet, key.clone(), range)));
            // Refused where the network has no IPv6.
            if self.chance(75) {
                let subnetwork = SubnetworkKey::new(PROJECT, REGION, format!("subnet-{i}-{j}"));
                self.try_change(&Change::SubnetworkEnableIpv6(subnetwork));
            }
            if self.chance(40) {
                let subnetwork = SubnetworkKey::new(PROJECT, REGION, format!("subnet-{i}-{j}"));
                let second = self.pick(&SECOND).parse().unwrap_or_default();
                let ranges = BTreeMap::from([("second".to_owned(), second)]);
                self.try_change(&Change::SubnetworkSetSecondary { subnetwork, ranges });
            }
        }
        key
    }

    /// An instance of one or two interfaces, often at an edge of its range.
    fn instance(&mut self, i: usize, crowd: Option<&NetworkKey>) {
        let all = self.world.subnetworks.iter();
        let chosen = all.filter(|(_, s)| crowd.is_none_or(|network| s.network == *network));
        let subnetworks: Vec<(SubnetworkKey, Ipv4Net)> = chosen.map(|(k, s)| (k.clone(), s.range)).collect();
        if subnetworks.is_empty() {
            return;
        }
        let count = if self.chance(18) { 2 } else { 1 };
        let nics = (0..count)
            .map(|_| {
                let (subnetwork, range) = self.pick(&subnetworks);
                let last = Ipv4Addr::from(u32::from(range.broadcast()) - 2);
                let address = if self.chance(40) { Some(last) } else { None };
                NicSpec { subnetwork, address, stack_type: StackType::Ipv4Only, aliases: Vec::new() }
            })
            .collect();
        let spec = InstanceSpec {
            key: InstanceKey::new(PROJECT, ZONE, format!("vm-{i}")),
            nics,
            tags: self.tags(40),
            can_ip_forward: self.chance(crowd.map_or(30, |_| 70)),
            service_account: self
                .accounts(40)
                .pop_first()
                .map(|email| ServiceAccount { email, scopes: Vec::new() }),
            metadata: BTreeMap::new(),
        };
        let instance = spec.key.clone();
        self.try_change(&Change::InstanceInsert(spec));
        for nic in 0..count {
            // Refused where the subnetwork has no IPv6.
            if self.chance(80) {
                let instance = instance.clone();
                self.try_change(&Change::NicEnableIpv6 { instance, nic });
            }
        }
        if self.external && self.chance(50) {
            let nic = self.rng.usize(..2); // the second is refused where there is none
            let (instance, name) = (instance.clone(), "External NAT".to_owned());
            self.try_change(&Change::AccessConfigAdd { instance, nic, name, address: None });
        }
        // Of the primary range, of the secondary one, or of both; where there is none the World refuses.
        let alias = |prefix_len, secondary: Option<&str>| AliasSpec {
            base: None,
            prefix_len,
            secondary: secondary.map(str::to_owned),
        };
        let aliases = match self.rng.u8(..6) {
            0 => vec![alias(32, None)],
            1 => vec![alias(30, Some("second"))],
            2 => vec![alias(32, Some("second")), alias(31, Some("second"))],
            3 => vec![alias(29, Some("second")), alias(32, None)],
            _ => return,
        };
        self.try_change(&Change::AliasesSet { instance, nic: 0, aliases });
    }

    /// Some service accounts, each with a probability.
    fn accounts(&mut self, percent: u8) -> BTreeSet<String> {
        ACCOUNTS.into_iter().filter(|_| self.chance(percent)).map(str::to_owned).collect()
    }

    /// Some tags, each with a probability.
    fn tags(&mut self, percent: u8) -> BTreeSet<String> {
        TAGS.into_iter().filter(|_| self.chance(percent)).map(str::to_owned).collect()
    }

    /// Peerings in every state: both sides, one side, one side taken back, taken back and made again.
    fn peerings(&mut self, networks: &[NetworkKey]) {
        for (i, a) in networks.iter().enumerate() {
            for b in &networks[i + 1..] {
                let exchanges = [self.exchange(), self.exchange()];
                let side = |network: &NetworkKey, peer: &NetworkKey| {
                    let name = format!("{}-{}", network.name, peer.name);
                    let exchange = exchanges[usize::from(network == a)];
                    Change::PeeringAdd(PeeringSpec {
                        network: network.clone(),
                        name,
                        peer: peer.clone(),
                        exchange,
                    })
                };
                let take_back =
                    Change::PeeringRemove { network: a.clone(), name: format!("{}-{}", a.name, b.name) };
                let changes = match self.rng.u8(..10) {
                    0..4 => vec![side(a, b), side(b, a)],
                    4 => vec![side(a, b)],
                    5 => vec![side(b, a)],
                    6 => vec![side(a, b), side(b, a), take_back],
                    7 => vec![side(b, a), side(a, b), take_back, side(a, b)],
                    _ => vec![],
                };
                self.try_changes(&changes);
            }
        }
    }

    /// What a side of a peering gives and takes.
    fn exchange(&mut self) -> Exchange {
        Exchange {
            export_custom_routes: self.chance(60),
            import_custom_routes: self.chance(60),
            export_subnet_routes_with_public_ip: self.chance(70),
            import_subnet_routes_with_public_ip: self.chance(50),
            stack_type: if self.chance(70) { StackType::Ipv4Ipv6 } else { StackType::Ipv4Only },
        }
    }

    /// Up to eight rules, and in most networks a weak one that lets in what they leave: a world in which nothing
    /// gets through tells little.
    fn rules(&mut self, network: &NetworkKey) {
        if self.chance(60) {
            let key = FirewallKey::new(PROJECT, format!("{}-allow-rest", network.name));
            let mut spec = FirewallSpec::new(key, network.clone());
            (spec.priority, spec.matches) = (60000, vec![L4::all_of(Protocol::All)]);
            self.try_change(&Change::FirewallInsert(spec));
        }
        if self.chance(60) {
            let key = FirewallKey::new(PROJECT, format!("{}-allow-rest-6", network.name));
            let mut spec = FirewallSpec::new(key, network.clone());
            (spec.priority, spec.matches) = (60000, vec![L4::all_of(Protocol::All)]);
            spec.source_ranges = [IpNet::V6(Ipv6Net::default())].into();
            self.try_change(&Change::FirewallInsert(spec));
        }
        for i in 0..self.rng.usize(..=8) {
            let key = FirewallKey::new(PROJECT, format!("{}-rule-{i}", network.name));
            let mut spec = FirewallSpec::new(key, network.clone());
            spec.direction = if self.chance(70) { Direction::Ingress } else { Direction::Egress };
            spec.action = if self.chance(60) { Action::Allow } else { Action::Deny };
            spec.priority = self.pick(&PRIORITIES);
            spec.matches = (0..self.rng.usize(1..=2)).map(|_| self.l4()).collect();
            spec.disabled = self.chance(5);
            spec.logging = if self.chance(20) { Some(LogMetadata::IncludeAllMetadata) } else { None };
            // A rule has tags or service accounts, never both.
            let by_account = self.chance(30);
            if self.chance(30) {
                match by_account {
                    true => spec.target_service_accounts = self.accounts(50),
                    false => spec.target_tags = self.tags(50),
                }
            }
            let ranges = self.far_ranges();
            match spec.direction {
                Direction::Egress => spec.destination_ranges = ranges,
                Direction::Ingress => {
                    if self.chance(25) {
                        match by_account {
                            true => spec.source_service_accounts = self.accounts(50),
                            false => spec.source_tags = self.tags(50),
                        }
                    }
                    // With tags or accounts and without ranges only the tags match.
                    spec.source_ranges = if self.chance(75) { ranges } else { BTreeSet::new() };
                }
            }
            self.try_change(&Change::FirewallInsert(spec));
        }
    }

    /// A network with so many rules that no packet is compared with all of them: for clients or ports that differ, at and
    /// around those of flows.
    fn many_rules(&mut self, networks: &[NetworkKey]) {
        let network = self.pick(networks);
        let by_port = self.chance(50);
        let near: Vec<IpNet> = (0..3).flat_map(|_| self.far_ranges()).collect();
        for i in 0..self.rng.usize(110..=250) {
            let key = FirewallKey::new(PROJECT, format!("{}-many-{i}", network.name));
            let mut spec = FirewallSpec::new(key, network.clone());
            spec.direction = if self.chance(85) { Direction::Ingress } else { Direction::Egress };
            spec.action = if self.chance(60) { Action::Allow } else { Action::Deny };
            spec.priority = self.rng.u16(..);
            let port = match self.chance(30) {
                true => self.pick(&PORTS).wrapping_add_signed(self.rng.i16(-1..=1)),
                false => self.rng.u16(..),
            };
            let ports = PortRange { first: port, last: port.saturating_add(self.rng.u16(..20)) };
            let protocol = self.pick(&[Protocol::TCP, Protocol::TCP, Protocol::UDP]);
            spec.matches = match by_port || self.chance(50) {
                true => vec![L4::new(protocol, vec![ports])],
                false => vec![self.l4()],
            };
            let far = match by_port {
                true => self.far_ranges(),
                false => [self.far_from(near[i % near.len()])].into(),
            };
            match spec.direction {
                Direction::Egress => spec.destination_ranges = far,
                Direction::Ingress => spec.source_ranges = far,
            }
            self.try_change(&Change::FirewallInsert(spec));
        }
    }

    /// Some rules look at the near end too. Where it is of the other version of IP the World refuses.
    fn near_ranges(&mut self) {
        let rules: Vec<_> =
            self.world.firewalls.iter().map(|(key, rule)| (key.clone(), rule.clone())).collect();
        // Hundreds of them may differ by that alone.
        let by_near = self.chance(60);
        for (key, rule) in rules {
            let of_many = by_near && key.name.contains("-many-");
            // The weak ones that let in what others leave mostly stay.
            let weak = rule.priority == 60000;
            if !of_many && !self.chance(if weak { 10 } else { 35 }) {
                continue;
            }
            let (from, to) = (rule.source_ranges.clone(), rule.destination_ranges.clone());
            let far = if rule.direction == Direction::Ingress { from } else { to };
            let near = self.near(far.iter().any(is_ipv6));
            let mut spec = FirewallSpec::new(key, rule.network.clone());
            (spec.direction, spec.action, spec.priority) = (rule.direction, rule.action, rule.priority);
            (spec.disabled, spec.logging) = (rule.disabled, rule.logging);
            spec.matches = rule.matches.clone();
            let (far, near) = match of_many {
                true => {
                    spec.matches =
                        vec![L4::all_of(self.pick(&[Protocol::TCP, Protocol::UDP, Protocol::ICMP]))];
                    let around: Vec<IpNet> = near.into_iter().collect();
                    let around = self.pick(&around);
                    let far = if is_ipv6(&around) { Ipv6Net::default().into() } else { IpNet::default() };
                    ([far].into(), [self.far_from(around)].into())
                }
                false => (far, near),
            };
            (spec.source_ranges, spec.destination_ranges) =
                if rule.direction == Direction::Ingress { (far, near) } else { (near, far) };
            spec.source_tags = rule.source_tags.clone();
            spec.source_service_accounts = rule.source_service_accounts.clone();
            spec.target_tags = rule.target_tags.clone();
            spec.target_service_accounts = rule.target_service_accounts.clone();
            self.try_change(&Change::FirewallUpdate(spec));
        }
        let world = self.world.clone();
        let own = world.firewall_policies.iter().map(|(key, it)| (PolicyKey::from(key.clone()), &it.rules));
        let above = world.hierarchical_policies.iter();
        let above = above.map(|(key, it)| (PolicyKey::from(key.clone()), &it.rules));
        for (policy, rules) in own.chain(above) {
            for (priority, rule) in rules {
                if self.chance(40) {
                    let near_ranges = self.near(rule.ranges.iter().any(is_ipv6));
                    let (policy, priority) = (policy.clone(), *priority);
                    let rule = PolicyRule { near_ranges, ..rule.clone() };
                    self.try_change(&Change::PolicyRuleSet { policy, priority, rule, replace: true });
                }
            }
        }
    }

    /// Ranges that an interface's own address, an alias, a forwarding rule's address or what it forwards is in, at the edge of,
    /// or just outside.
    fn near(&mut self, ipv6: bool) -> BTreeSet<IpNet> {
        let aliases = self.world.instances.values().flat_map(|it| &it.nics).flat_map(|nic| &nic.aliases);
        let rules = self.world.forwarding_rules.values().map(|rule| rule.address.into());
        let others: Vec<Ipv4Net> = aliases.map(|alias| alias.range).chain(rules).collect();
        let far = self.world.routes.values().map(|route| route.dest_range);
        let far: Vec<Ipv4Net> = far.filter(|range| range.prefix_len() > 0).collect();
        let one = |dice: &mut Self| match dice.rng.u8(..8) {
            _ if ipv6 => IpNet::V6(dice.far_range_6()),
            0..3 if !others.is_empty() => {
                let range = dice.pick(&others);
                let wider = range.supernet().filter(|_| dice.chance(25));
                wider.unwrap_or(range).into()
            }
            3 if !far.is_empty() => dice.pick(&far).into(),
            _ => dice.far_range().into(),
        };
        (0..self.rng.usize(1..=3)).map(|_| one(self)).collect()
    }

    /// A small range, in another one or beside it.
    fn far_from(&mut self, near: IpNet) -> IpNet {
        match near {
            IpNet::V4(near) => {
                let address = u32::from(near.network()).wrapping_add_signed(self.rng.i32(-64..256));
                Ipv4Net::new_assert(address.into(), self.rng.u8(26..=32)).trunc().into()
            }
            IpNet::V6(near) => {
                let apart = self.rng.i128(-4..12) << 32;
                let address = u128::from(near.network()).wrapping_add_signed(apart);
                Ipv6Net::new_assert(address.into(), self.pick(&[95, 96, 97, 128])).trunc().into()
            }
        }
    }

    /// A router with one or two NAT gateways in most networks of worlds with an internet; some with reserved addresses.
    fn nats(&mut self, network: &NetworkKey) {
        if !self.external || self.chance(35) {
            return;
        }
        let own = self.world.subnetworks.iter().filter(|(_, s)| s.network == *network);
        let own: Vec<SubnetworkKey> = own.map(|(key, _)| key.clone()).collect();
        let key = RouterKey::new(PROJECT, REGION, format!("{}-router", network.name));
        let reserved =
            [0, 1].map(|i| AddressKey::regional(PROJECT, REGION, format!("{}-nat-{i}", network.name)));
        for key in &reserved {
            let (key, reserve) = (key.clone(), Reserve::External { address: None });
            self.try_change(&Change::AddressInsert(AddressSpec { key, reserve }));
        }
        self.try_change(&Change::RouterInsert(RouterSpec {
            key: key.clone(),
            network: network.clone(),
            nats: Vec::new(),
        }));
        let whole = self.chance(60);
        let mut nats = Vec::new();
        for i in 0..self.rng.usize(1..=2) {
            let ranges = if self.chance(50) { NatRanges::All } else { NatRanges::Primary };
            let sources = match whole || own.is_empty() {
                true => NatSources::AllSubnetworks(ranges),
                false => NatSources::Subnetworks([(self.pick(&own), ranges)].into()),
            };
            let addresses = (i == 0 && self.chance(40)).then(|| reserved.to_vec());
            nats.push(NatSpec { name: format!("nat-{i}"), addresses, sources, min_ports_per_vm: None });
            // The second one of two that serve the same is refused.
            if !self.try_change(&Change::RouterSetNats { router: key.clone(), nats: nats.clone() }) {
                nats.pop();
            }
        }
    }

    /// A firewall policy in half of the networks, of a region or global, before or after their own rules, now and then that of another one.
    fn policy(&mut self, network: &NetworkKey) {
        if self.chance(50) {
            return;
        }
        let name = format!("{}-policy", network.name);
        let region = self.pick(&["us-central1", "europe-west1"]);
        let policy = match self.chance(35) {
            true => FirewallPolicyKey::regional(PROJECT, region, name),
            false => FirewallPolicyKey::global(PROJECT, name),
        };
        let first = self.chance(50);
        self.try_changes(&[
            Change::FirewallPolicyInsert(policy.clone()),
            Change::NetworkSetPolicyFirst { network: network.clone(), first },
        ]);
        for priority in 0..self.rng.u32(1..=6) {
            let rule = self.policy_rule(30, |_| BTreeSet::new());
            let policy = policy.clone().into();
            self.try_change(&Change::PolicyRuleSet { policy, priority, rule, replace: false });
        }
        // What an earlier rule leaves to what comes after the policy would be this one's, if it stayed.
        if self.chance(40) {
            let rule = PolicyRule {
                name: String::new(),
                description: String::new(),
                action: self.pick(&[Action::Allow, Action::Deny]),
                direction: self.pick(&[Direction::Ingress, Direction::Egress]),
                matches: vec![L4::all_of(Protocol::All)],
                ranges: [IpNet::V4(Ipv4Net::default())].into(),
                near_ranges: BTreeSet::new(),
                src_secure_tags: BTreeSet::new(),
                target_service_accounts: BTreeSet::new(),
                target_secure_tags: BTreeSet::new(),
                target_networks: BTreeSet::new(),
                disabled: false,
                logging: false,
            };
            let policy = policy.clone().into();
            self.try_change(&Change::PolicyRuleSet { policy, priority: 9, rule, replace: false });
        }
        let policies: Vec<FirewallPolicyKey> = self.world.firewall_policies.keys().cloned().collect();
        let policy = if self.chance(20) { self.pick(&policies) } else { policy };
        self.try_change(&Change::PolicyAssociate {
            policy,
            name: format!("at-{}", network.name),
            network: network.clone(),
            replace: false,
        });
    }

    /// The project in a folder of a folder, and policies of most of what is above it, some of whose rules are for certain
    /// networks alone.
    fn hierarchy(&mut self, networks: &[NetworkKey]) {
        let mut node = Node::Organization;
        for name in ["top", "prod", "team"] {
            if name != "top" {
                let key = folder::key_of(&self.world, &node, name);
                self.try_change(&Change::FolderCreate { parent: node, display_name: name.into() });
                node = Node::Folder(key);
            }
            if self.chance(25) {
                continue;
            }
            let policy = hierarchical_policy::key_of(name);
            let parent = node.clone();
            self.try_change(&Change::HierarchicalPolicyInsert { parent, short_name: name.into() });
            for priority in 0..self.rng.u32(1..=4) {
                let rule = self.policy_rule(20, |dice| match dice.chance(30) {
                    true => networks.iter().filter(|_| dice.chance(50)).cloned().collect(),
                    false => BTreeSet::new(),
                });
                let policy = policy.clone().into();
                self.try_change(&Change::PolicyRuleSet { policy, priority, rule, replace: false });
            }
            let (name, at) = (format!("at-{name}"), node.clone());
            self.try_change(&Change::HierarchicalPolicyAssociate { policy, name, node: at, replace: false });
        }
        self.try_change(&Change::ProjectMove { project: PROJECT.into(), parent: node });
    }

    /// A rule of a policy, so often for certain service accounts, in a hundred; for these networks.
    pub(crate) fn policy_rule(
        &mut self,
        with_accounts: u8,
        networks: impl FnOnce(&mut Self) -> BTreeSet<NetworkKey>,
    ) -> PolicyRule {
        PolicyRule {
            name: String::new(),
            description: String::new(),
            action: self.pick(&[Action::Allow, Action::Deny, Action::GotoNext]),
            direction: if self.chance(70) { Direction::Ingress } else { Direction::Egress },
            matches: (0..self.rng.usize(1..=2)).map(|_| self.l4()).collect(),
            ranges: self.far_ranges(),
            near_ranges: BTreeSet::new(),
            src_secure_tags: BTreeSet::new(),
            target_secure_tags: BTreeSet::new(),
            target_service_accounts: match self.chance(with_accounts) {
                true => self.accounts(50),
                false => BTreeSet::new(),
            },
            target_networks: networks(self),
            disabled: self.chance(5),
            logging: self.chance(20),
        }
    }

    /// A protocol, perhaps with ports.
    fn l4(&mut self) -> L4 {
        let protocols = [
            Protocol::All,
            Protocol::ICMP,
            Protocol::TCP,
            Protocol::TCP,
            Protocol::TCP,
            Protocol::TCP,
            Protocol::UDP,
            Protocol::UDP,
            Protocol::SCTP,
            Protocol::Number(58),
            Protocol::Number(50),
            Protocol::Number(4),
        ];
        let protocol = self.pick(&protocols);
        if !protocol.has_ports() || self.chance(30) {
            return L4::all_of(protocol);
        }
        let port = |first, last| PortRange { first, last };
        let ranges =
            [port(22, 22), port(80, 90), port(0, 65535), port(23, 79), port(85, 6379), port(65535, 65535)];
        let count = self.rng.usize(1..=2);
        L4::new(protocol, (0..count).map(|_| self.pick(&ranges)).collect())
    }

    /// Ranges of one version of IP: of IPv6 where the world has it, now and then.
    fn far_ranges(&mut self) -> BTreeSet<IpNet> {
        let ipv6 = self.world.subnetworks.values().any(|s| s.ipv6.is_some()) && self.chance(40);
        (0..self.rng.usize(1..=2))
            .map(|_| if ipv6 { IpNet::V6(self.far_range_6()) } else { IpNet::V4(self.far_range()) })
            .collect()
    }

    /// As [`Maker::far_range`], of IPv6.
    fn far_range_6(&mut self) -> Ipv6Net {
        let ranges: Vec<Ipv6Net> = self.world.subnetworks.values().filter_map(|s| s.ipv6).collect();
        let nics: Vec<Ipv6Net> =
            self.world.instances.values().flat_map(|i| &i.nics).filter_map(|nic| nic.ipv6).collect();
        match self.rng.u8(..6) {
            0 => Ipv6Net::default(),
            1 | 2 if !ranges.is_empty() => self.pick(&ranges),
            3 if !nics.is_empty() => self.pick(&nics),
            // Half of an interface's addresses, or its neighbour's surroundings, or it alone.
            _ if !nics.is_empty() => {
                let nic = self.pick(&nics);
                let base = u128::from(nic.network()).wrapping_add(u128::from(self.rng.u32(..2)) << 32);
                let length = self.pick(&[47, 48, 63, 64, 94, 95, 96, 97, 128]);
                Ipv6Net::new_assert(Ipv6Addr::from(base), length).trunc()
            }
            _ => Ipv6Net::default(),
        }
    }

    /// A range that some flow's end is in, at the edge of, or just outside.
    fn far_range(&mut self) -> Ipv4Net {
        let ranges: Vec<Ipv4Net> = self.world.subnetworks.values().map(|s| s.range).collect();
        let addresses: Vec<Ipv4Addr> =
            self.world.instances.values().flat_map(|i| &i.nics).map(|nic| nic.address).collect();
        match self.rng.u8(..6) {
            0 | 1 => Ipv4Net::default(),
            2 | 3 if !ranges.is_empty() => self.pick(&ranges),
            4 if !addresses.is_empty() => Ipv4Net::new_assert(self.pick(&addresses), 32),
            // The half of an address's surroundings that it is in, or its neighbour's.
            _ if !addresses.is_empty() => {
                let address = u32::from(self.pick(&addresses)).wrapping_add(self.rng.u32(..2));
                let length = self.rng.u8(24..=31);
                Ipv4Net::new_assert(Ipv4Addr::from(address), length).trunc()
            }
            _ => Ipv4Net::default(),
        }
    }

    /// The default route may go; static routes may come, to other networks' ranges and to nowhere.
    fn routes(&mut self, network: &NetworkKey, crowd: bool) {
        if self.chance(25) {
            let default =
                self.world.routes.iter().find(|(_, r)| r.network == *network).map(|(k, _)| k.clone());
            let change: Vec<_> = default.into_iter().map(Change::RouteDelete).collect();
            self.try_changes(&change);
        }
        let nics: Vec<(InstanceKey, Ipv4Addr)> = self
            .world
            .instances
            .iter()
            .flat_map(|(key, i)| i.nics.iter().map(move |nic| (key.clone(), nic)))
            .filter(|(_, nic)| nic.network == *network)
            .map(|(key, nic)| (key, nic.address))
            .collect();
        // Some stop once they are next hops.
        let mut stopped = Vec::new();
        let count = if crowd { self.rng.usize(3..=7) } else { self.rng.usize(..=4) };
        for i in 0..count {
            if nics.is_empty() {
                break;
            }
            // Only an instance that forwards makes a difference.
            let may = |instance: &InstanceKey| self.world.instances[instance].can_ip_forward;
            let forwarders: Vec<_> = nics.iter().filter(|(instance, _)| may(instance)).cloned().collect();
            let use_them = self.chance(75) && !forwarders.is_empty();
            let (instance, address) = self.pick(if use_them { &forwarders } else { &nics });
            let next_hop = match self.rng.u8(..3) {
                0 => NextHop::Instance(instance),
                1 => NextHop::Address(address),
                _ => NextHop::InternetGateway,
            };
            // Where they crowd, few: several are to have the same.
            let destinations = [
                "10.0.0.0/8",
                "10.0.0.0/23",
                "8.8.0.0/16",
                "192.168.0.0/16",
                "192.168.0.0/16",
                "0.0.0.0/0",
                "0.0.0.0/0",
                "10.1.0.0/16",
                "203.0.113.7/32",
            ];
            let spec = RouteSpec {
                key: RouteKey::new(PROJECT, format!("{}-route-{i}", network.name)),
                network: network.clone(),
                dest_range: self
                    .pick(if crowd { &destinations[3..7] } else { &destinations })
                    .parse()
                    .unwrap_or_default(),
                priority: self.pick(&[0, 1000, 1000, 2000]),
                next_hop,
                tags: if self.chance(35) { self.tags(50) } else { BTreeSet::new() },
            };
            let hop = match &spec.next_hop {
                NextHop::Instance(instance) => Some(instance.clone()),
                _ => None,
            };
            if self.try_change(&Change::RouteInsert(spec)) && self.chance(12) {
                stopped.extend(hop);
            }
        }
        for instance in stopped {
            self.try_change(&Change::InstanceStop(instance));
        }
    }

    /// A Redis instance, and so a tenant network behind one of the networks.
    fn redis(&mut self, networks: &[NetworkKey]) {
        let tls = self.chance(40);
        let network = self.pick(networks);
        let connect_mode = if self.chance(50) {
            self.connect(&network);
            ConnectMode::PrivateServiceAccess { range: None }
        } else {
            ConnectMode::DirectPeering
        };
        let spec = RedisSpec {
            key: RedisKey::new(PROJECT, REGION, "redis-1"),
            authorized_network: network,
            reserved_ip_range: None,
            connect_mode,
            tier: RedisTier::Basic,
            memory_size_gb: 1,
            tls,
        };
        self.try_change(&Change::RedisInsert(spec));
        // Its peering may be deleted: the instance stays, and nobody reaches it.
        let network = self.pick(networks);
        let peering =
            self.world.networks.get(&network).and_then(|n| n.peerings.last()).map(|p| p.name.clone());
        if let (true, Some(name)) = (self.chance(20), peering) {
            self.try_change(&Change::PeeringRemove { network, name });
        }
    }
}

impl Maker<'_> {
    /// Private services access, half of the time with custom routes for the services.
    fn connect(&mut self, network: &NetworkKey) {
        let address = AddressSpec {
            key: AddressKey::global(PROJECT, "range"),
            reserve: Reserve::Peering { network: network.clone(), base: None, prefix_len: 28 },
        };
        let service = project::SERVICE_NETWORKING.to_owned();
        self.try_changes(&[
            Change::ServiceEnable { project: PROJECT.into(), service },
            Change::AddressInsert(address),
            Change::ConnectionCreate(ConnectionSpec {
                network: network.clone(),
                ranges: vec!["range".into()],
            }),
        ]);
        if self.chance(50) {
            self.try_change(&Change::PeeringUpdate {
                network: network.clone(),
                name: connection::PEERING.into(),
                exchange: Exchange { export_custom_routes: true, ..Exchange::default() },
            });
        }
    }
}

/// Addresses of a range that no instance has: its reserved ones.
pub(crate) fn edges(range: Ipv4Net) -> [Ipv4Addr; 4] {
    range::reserved(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_dataplane::render;
    use tombolo_dataplane::rules::Side;
    use tombolo_dataplane::table::{Match, Rule, Verdict};
    use tombolo_fabric::compile;

    /// Whether packets of some network are told which of its rules are for them, and whether by the near end.
    fn has_signposts(world: &World) -> (bool, bool) {
        let desired = render(&compile(world));
        let tables: Vec<_> = desired.rules.values().map(|rules| rules.table()).collect();
        let chains = || tables.iter().flat_map(|table| &table.chains);
        let signs = |rules: &[Rule], is: &dyn Fn(&Match) -> bool| {
            let leads = |rule: &&Rule| matches!(&rule.verdict, Verdict::Goto(to) if to.starts_with("c-"));
            rules.iter().filter(leads).filter(|rule| rule.matches.iter().any(is)).count() > 5
        };
        let near = |name: &str| if name.starts_with('i') { Side::Destination } else { Side::Source };
        let by_near = |name: &str, one: &Match| matches!(one, Match::Address(_, at, _) if *at == near(name));
        let has = |is: &dyn Fn(&str, &Match) -> bool| {
            chains().any(|(name, chain)| signs(&chain.rules, &|one| is(name, one)))
        };
        (has(&|_, _| true), has(&by_near))
    }

    #[test]
    fn some_worlds_have_signposts() {
        let all: Vec<_> = (0..120).map(|seed| has_signposts(&world(&mut Rng::with_seed(seed)))).collect();
        let with = (all.iter().filter(|(any, _)| *any).count(), all.iter().filter(|(_, near)| *near).count());
        assert!(with.0 > 3 && with.1 > 0, "{with:?}");
    }

    /// And many have rules for certain near ends, of networks' own ones and of policies'.
    #[test]
    fn many_worlds_look_at_near_ends() {
        let near = |seed| {
            let world = world(&mut Rng::with_seed(seed));
            let own = world.firewalls.values();
            let own =
                own.filter(|it| !it.source_ranges.is_empty() && !it.destination_ranges.is_empty()).count();
            let policies = world.firewall_policies.values().map(|policy| &policy.rules);
            let policies = policies.chain(world.hierarchical_policies.values().map(|policy| &policy.rules));
            let theirs =
                policies.flat_map(|rules| rules.values()).filter(|it| !it.near_ranges.is_empty()).count();
            (own, theirs)
        };
        let all: Vec<(usize, usize)> = (0..60).map(near).collect();
        let with =
            [all.iter().filter(|(own, _)| *own > 1).count(), all.iter().filter(|(_, its)| *its > 0).count()];
        assert!(with.iter().all(|with| *with > 12), "{with:?}");
    }
}
