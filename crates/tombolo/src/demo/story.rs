//! The story's resources, as the changes that make them.

use std::collections::{BTreeMap, BTreeSet};
use tombolo_model::{
    Change, ConnectMode, FirewallKey, FirewallSpec, InstanceKey, InstanceSpec, L4, NetworkKey, NetworkSpec,
    NicSpec, PeeringSpec, PortRange, Protocol, RedisKey, RedisSpec, RedisTier, SubnetworkKey, SubnetworkSpec,
    project, range,
};

const PROJECTS: [&str; 2] = ["project-i-1", "project-i-2"];
const REGION: &str = "us-central1";
const ZONE: &str = "us-central1-a";
/// The /29 of the Redis instance: its host is the fourth address, 10.34.175.91.
const REDIS_RANGE: &str = "10.34.175.88/29";

/// The resources of the story.
pub(super) struct Story {
    /// The proxy's command.
    proxy: &'static str,
}

impl Story {
    /// The story with tombolo-proxy, or with Debian's nutcracker.
    pub(super) fn new(nutcracker: bool) -> Self {
        Self { proxy: if nutcracker { "nutcracker" } else { "tombolo-proxy" } }
    }

    /// vpc-1 and vpc-2.
    pub(super) fn vpcs(&self) -> (NetworkKey, NetworkKey) {
        (NetworkKey::new(PROJECTS[0], "vpc-1"), NetworkKey::new(PROJECTS[1], "vpc-2"))
    }

    /// Two projects with compute enabled, and so each with the network `default`.
    pub(super) fn projects(&self) -> Vec<Change> {
        let create = PROJECTS.map(|id| Change::ProjectCreate(id.into()));
        let enable =
            PROJECTS.map(|id| Change::ServiceEnable { project: id.into(), service: project::COMPUTE.into() });
        create.into_iter().chain(enable).collect()
    }

    /// The networks `default`, deleted.
    pub(super) fn delete_networks(&self) -> Vec<Change> {
        PROJECTS.map(|id| Change::NetworkDelete(NetworkKey::new(id, "default"))).into()
    }

    /// The rules of the networks `default`, and then the networks, deleted.
    pub(super) fn delete_defaults(&self) -> Vec<Change> {
        let rules = ["allow-internal", "allow-ssh", "allow-rdp", "allow-icmp"];
        let rule = |id, name| Change::FirewallDelete(FirewallKey::new(id, format!("default-{name}")));
        let all = PROJECTS.into_iter().flat_map(|id| rules.map(|name| rule(id, name)));
        all.chain(self.delete_networks()).collect()
    }

    /// vpc-1 with subnet-1 and vm-1, vpc-2 with subnet-2 and vm-2.
    pub(super) fn networks(&self) -> Vec<Change> {
        let (vpc_1, vpc_2) = self.vpcs();
        let network =
            |key| Change::NetworkInsert(NetworkSpec { key, auto_create_subnetworks: false, mtu: None });
        let subnet = |network: NetworkKey, name, range: &str| {
            let key = SubnetworkKey::new(&network.project, REGION, name);
            Change::SubnetworkInsert(SubnetworkSpec::new(key, network, range.parse().unwrap_or_default()))
        };
        vec![
            network(vpc_1.clone()),
            subnet(vpc_1, "subnet-1", "10.1.0.0/16"),
            instance(PROJECTS[0], "vm-1", "subnet-1", None),
            network(vpc_2.clone()),
            subnet(vpc_2, "subnet-2", "10.2.0.0/16"),
            instance(PROJECTS[1], "vm-2", "subnet-2", None),
        ]
    }

    /// vpc-1-to-vpc-2 and vpc-2-to-vpc-1.
    pub(super) fn peerings(&self) -> [Change; 2] {
        let (vpc_1, vpc_2) = self.vpcs();
        let peering = |network: &NetworkKey, peer: &NetworkKey| {
            let name = format!("{}-to-{}", network.name, peer.name);
            Change::PeeringAdd(PeeringSpec::new(network.clone(), name, peer.clone()))
        };
        [peering(&vpc_1, &vpc_2), peering(&vpc_2, &vpc_1)]
    }

    /// ssh into both networks; everything from 10.0.0.0/8 into vpc-2.
    pub(super) fn firewalls(&self) -> Vec<Change> {
        let (vpc_1, vpc_2) = self.vpcs();
        let ssh = || L4::new(Protocol::TCP, vec![PortRange { first: 22, last: 22 }]);
        vec![
            allow(vpc_1, "vpc-1-allow-ssh", ssh(), "0.0.0.0/0"),
            allow(vpc_2.clone(), "vpc-2-allow-ssh", ssh(), "0.0.0.0/0"),
            allow(vpc_2, "vpc-2-allow-internal", L4::all_of(Protocol::All), "10.0.0.0/8"),
        ]
    }

    /// Memorystore enabled in project-i-2, and redis-1 authorized on vpc-2.
    pub(super) fn redis(&self) -> Vec<Change> {
        let (_, vpc_2) = self.vpcs();
        let spec = RedisSpec {
            key: RedisKey::new(PROJECTS[1], REGION, "redis-1"),
            authorized_network: vpc_2,
            reserved_ip_range: REDIS_RANGE.parse().ok(),
            connect_mode: ConnectMode::DirectPeering,
            tier: RedisTier::Basic,
            memory_size_gb: 1,
            tls: false,
        };
        let enable = Change::ServiceEnable { project: PROJECTS[1].into(), service: project::REDIS.into() };
        vec![enable, Change::RedisInsert(spec)]
    }

    /// Where redis-1 will be.
    pub(super) fn redis_host(&self) -> String {
        range::nth(REDIS_RANGE.parse().unwrap_or_default(), 3).to_string()
    }

    /// The VM redis-proxy, whose startup script writes nutcracker.yaml and runs the proxy.
    pub(super) fn proxy(&self) -> Vec<Change> {
        let script = format!(
            "#!/bin/sh\ncat >/etc/nutcracker.yaml <<EOF\nredis-1:\n  listen: 0.0.0.0:6379\n  redis: true\n  servers:\n   \
             - {}:6379:1\nEOF\nexec {} --conf-file /etc/nutcracker.yaml\n",
            self.redis_host(),
            self.proxy
        );
        vec![instance(PROJECTS[1], "redis-proxy", "subnet-2", Some(script))]
    }
}

/// An instance with one interface.
fn instance(project: &str, name: &str, subnet: &str, startup_script: Option<String>) -> Change {
    let subnetwork = SubnetworkKey::new(project, REGION, subnet);
    Change::InstanceInsert(InstanceSpec {
        key: InstanceKey::new(project, ZONE, name),
        nics: vec![NicSpec {
            subnetwork,
            address: None,
            stack_type: Default::default(),
            aliases: Vec::new(),
        }],
        tags: BTreeSet::new(),
        can_ip_forward: false,
        service_account: None,
        metadata: startup_script
            .map(|s| BTreeMap::from([("startup-script".to_owned(), s)]))
            .unwrap_or_default(),
    })
}

/// An ingress rule that allows one thing from one range.
fn allow(network: NetworkKey, name: &str, l4: L4, source: &str) -> Change {
    let mut spec = FirewallSpec::new(FirewallKey::new(&network.project, name), network);
    spec.matches = vec![l4];
    spec.source_ranges = source.parse().into_iter().collect();
    Change::FirewallInsert(spec)
}
