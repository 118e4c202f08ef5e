//! Where the attempts are made.
//!
//! ```text
//!   mallory ─┐
//!   open    ─┤ vpc-1 ── peering ── vpc-2 ─┬─ peering ── vpc-3 ── far         other ── vpc-4
//!   closed  ─┘                      peer ─┴─ peering ── the tenant network of redis-1
//! ```
//! vpc-1 and vpc-2 have endpoints of a service that other is behind. `internet` is the lab's client there, and open, closed and peer have external addresses; far has Cloud NAT.
//! The internet goes on into the host's network, whose `host` stands for whatever leaves the lab.
//! All networks and VMs but redis-1's and the internet's are dual-stack, and so are the peerings.
//! Everybody is open to everything, but `closed` (only port 7777) and redis-1 (Google's rules): what keeps a packet
//! from them must be something else than a rule that could have been written otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tombolo_agent::{Agent, Outcome, Program, SpawnOptions, VmSpec};
use tombolo_dataplane::{Desired, Link, Namespace, render};
use tombolo_fabric::{Fabric, INTERNET_CLIENT, Owner, compile, host::ENDPOINT as ENDPOINT_OUT};
use tombolo_model::instance::mac_of;
use tombolo_model::{
    Acceptance, Change, ConnectMode, Exchange, FirewallKey, FirewallSpec, ForwardSpec, ForwardingRuleKey,
    ForwardingRuleSpec, InstanceKey, InstanceSpec, L4, NatRanges, NatSources, NatSpec, NetworkKey,
    NetworkSpec, NicSpec, PeeringSpec, PortRange, Protocol, RedisKey, RedisSpec, RedisTier, RouterKey,
    RouterSpec, ServiceAttachmentKey, ServiceAttachmentSpec, StackType, SubnetworkKey, SubnetworkSpec,
    TargetInstanceKey, TargetInstanceSpec, Timestamp, World, project,
};

use crate::ear::Ear;
use crate::frame::{Frame, IPV4, IPV6, Ip, Ip6, Mac, PORT, UDP, ethernet};

const PROJECT: &str = "project-1";
const REGION: &str = "us-central1";
const ZONE: &str = "us-central1-a";
/// Generous: only to end a test that would hang.
const LIMIT: Duration = Duration::from_secs(20);
/// How often what is allowed must arrive before what is not counts as lost: more than any packet has hops.
const ROUNDS: u32 = 4;

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const MALLORY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub(crate) const OPEN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
pub(crate) const CLOSED: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 4);
/// In vpc-1's subnetwork, and nobody's.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 99);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 2);
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 2);
pub(crate) const OPEN_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const CLOSED_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
pub(crate) const PEER_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);
/// Of the gateway that serves far.
pub(crate) const NAT_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 5);
pub(crate) const REDIS: Ipv4Addr = Ipv4Addr::new(10, 34, 175, 91);

/// In the host's network.
pub(crate) const BEYOND: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

/// The endpoint in vpc-1 of the service that other is behind, and the one in vpc-2.
pub(crate) const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 50);
pub(crate) const PEER_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 50);
/// The published rule's address, and what clients of the first endpoint become.
pub(crate) const RULE: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 50);
pub(crate) const NAT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// The VMs: name, network, address.
const VMS: [(&str, usize, Ipv4Addr); 6] = [
    ("mallory", 1, MALLORY),
    ("open", 1, OPEN),
    ("closed", 1, CLOSED),
    ("peer", 2, PEER),
    ("far", 3, FAR),
    ("other", 4, OTHER),
];

/// The IPv6 address of a VM: in its network the first one has the second /96, since the first is nobody's.
pub(crate) fn ipv6_of(name: &str) -> Ipv6Addr {
    let at = VMS.iter().position(|(vm, ..)| *vm == name).unwrap();
    let network = VMS[at].1;
    let before = VMS[..at].iter().filter(|(_, other, _)| *other == network).count();
    Ipv6Addr::new(0xfd20, 0, network as u16, 0, 0, before as u16 + 1, 0, 0)
}

/// Whether a router says which groups it listens to (RFC 3810), as every IPv6 router does: it has no address to say it from,
/// and passes on nothing that has none.
fn is_listener_report(frame: &[u8]) -> bool {
    let (kind, source, destination) = (frame.get(12..14), frame.get(22..38), frame.get(38..54));
    let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16).octets();
    kind == Some(&IPV6.to_be_bytes()) && source == Some(&[0; 16]) && destination == Some(&all_routers)
}

/// A lab with an ear in every endpoint.
pub(crate) struct Scene {
    pub(crate) agent: Agent,
    desired: Desired,
    ears: BTreeMap<&'static str, Ear>,
    mallory: String,
    controls: u32,
}

/// What was heard and should not have been.
pub(crate) type Heard = Vec<(&'static str, Frame)>;

impl Scene {
    pub(crate) fn new(options: &SpawnOptions) -> Scene {
        let agent = Agent::spawn(&std::env::current_exe().unwrap(), options).unwrap();
        let fabric = compile(&world());
        let desired = render(&fabric);
        let report = agent.converge(desired.clone()).unwrap();
        assert_eq!(report.failures, [], "the lab cannot be made");
        let endpoints = endpoints(&fabric);
        agent.set_vms(endpoints.iter().map(|(name, owner)| vm(owner, name)).collect()).unwrap();
        let ears = endpoints.iter().map(|(name, owner)| (*name, Ear::start(&agent, owner))).collect();
        let mallory = endpoints["mallory"].clone();
        Scene { agent, desired, ears, mallory, controls: 0 }
    }

    pub(crate) fn ear(&mut self, name: &str) -> &mut Ear {
        self.ears.get_mut(name).unwrap()
    }

    /// A frame that may pass, from one to another.
    pub(crate) fn allowed(&mut self, from: &'static str, to: &'static str) -> Frame {
        self.controls += 1;
        let outside = match (from, to) {
            ("internet", to) => external(to),
            ("mallory", "other") => Some(ENDPOINT),
            ("peer", "other") => Some(PEER_ENDPOINT),
            _ => None,
        };
        let (source, destination) = (address(from), outside.unwrap_or(address(to)));
        let ip = Ip::new(source, destination, UDP);
        let packet = ip.udp((PORT, PORT), format!("control {:08}", self.controls).as_bytes());
        ethernet(gateway_mac(source), mac_of(source), IPV4, &packet)
    }

    /// The same by IPv6.
    fn allowed_6(&mut self, from: &'static str, to: &'static str) -> Frame {
        self.controls += 1;
        let ip = Ip6::new(ipv6_of(from), ipv6_of(to));
        let packet = ip.udp((PORT, PORT), format!("control {:08}", self.controls).as_bytes());
        let source = address(from);
        ethernet(gateway_mac(source), mac_of(source), IPV6, &packet)
    }

    /// Sends what is allowed until it has arrived several times over, and tells what else was heard.
    pub(crate) fn settle(&mut self) -> Heard {
        let mut heard = Heard::new();
        for _ in 0..ROUNDS {
            for (from, to) in [
                ("mallory", "open"),
                ("mallory", "peer"),
                ("peer", "open"),
                ("mallory", "other"),
                ("peer", "other"),
                ("closed", "peer"),
                ("internet", "open"),
                ("open", "internet"),
                ("far", "internet"),
                ("open", "host"),
                ("far", "host"),
            ] {
                let frame = self.allowed(from, to);
                self.ear(from).send(&frame);
                self.await_frame(to, &frame, &mut heard);
            }
            for (from, to) in [("mallory", "open"), ("mallory", "peer"), ("peer", "open"), ("closed", "peer")]
            {
                let frame = self.allowed_6(from, to);
                self.ear(from).send(&frame);
                self.await_frame(to, &frame, &mut heard);
            }
        }
        for (name, ear) in &mut self.ears {
            heard.extend(ear.drain().into_iter().map(|frame| (*name, frame)));
        }
        heard.retain(|(_, frame)| !is_listener_report(frame));
        heard
    }

    /// Listens until a control has arrived, whose MACs are others by then.
    fn await_frame(&mut self, at: &'static str, control: &[u8], heard: &mut Heard) {
        let payload = &control[control.len() - 16..];
        let deadline = Instant::now() + LIMIT;
        loop {
            for frame in self.ear(at).drain() {
                if frame.ends_with(payload) {
                    return;
                }
                heard.push((at, frame));
            }
            assert!(Instant::now() < deadline, "what is allowed does not arrive at {at}");
        }
    }

    /// What is no longer as it was made.
    pub(crate) fn changed(&self) -> Vec<(String, String)> {
        self.agent.converge(self.desired.clone()).unwrap().edits
    }

    /// What a program in mallory's VM prints, and its exit status.
    pub(crate) fn run(&self, argv: &[String]) -> (i32, String) {
        use std::io::Read;
        use std::os::fd::AsFd;
        let (mut output, sink) = std::io::pipe().unwrap();
        let input = std::fs::File::open("/dev/null").unwrap();
        let stdio = [input.as_fd(), sink.as_fd(), sink.as_fd()];
        let session = self.agent.exec(&self.mallory, Program::new(argv.to_vec()), stdio).unwrap();
        drop(sink);
        let mut out = String::new();
        output.read_to_string(&mut out).unwrap();
        match session.wait().unwrap() {
            Outcome::Ended(status) => (status.code(), out),
            Outcome::Failed { message, .. } => panic!("{argv:?}: {message}"),
        }
    }
}

/// Two endpoints on a bare wire, where whatever is sent must arrive.
pub(crate) fn wire(options: &SpawnOptions) -> (Agent, Ear, Ear) {
    let agent = Agent::spawn(&std::env::current_exe().unwrap(), options).unwrap();
    let mut desired = Desired::default();
    for (here, there, address) in [("a", "b", MALLORY), ("b", "a", GATEWAY)] {
        let peer = Some((there.to_owned(), "eth0".to_owned()));
        let link = Link { mac: mac_of(address), mtu: 1460, group: 0, strict_source: false, peer };
        let links = [("eth0".to_owned(), link)].into();
        let namespace = Namespace { links, ..Namespace::default() };
        desired.state.namespaces.insert(here.into(), Arc::new(namespace));
    }
    assert_eq!(agent.converge(desired).unwrap().failures, []);
    agent.set_vms(vec![vm("a", "a"), vm("b", "b")]).unwrap();
    let (a, b) = (Ear::start(&agent, "a"), Ear::start(&agent, "b"));
    (agent, a, b)
}

/// The MAC that an endpoint's gateway has.
pub(crate) fn gateway_mac(of: Ipv4Addr) -> Mac {
    let [a, b, c, _] = of.octets();
    mac_of(if of == INTERNET_CLIENT { Ipv4Addr::new(a, b, c, 1) } else { Ipv4Addr::new(a, b, 0, 1) })
}

/// The external addresses, in the order in which they are given.
const OUTSIDE: [(&str, Ipv4Addr); 3] =
    [("open", OPEN_OUTSIDE), ("closed", CLOSED_OUTSIDE), ("peer", PEER_OUTSIDE)];

fn external(name: &str) -> Option<Ipv4Addr> {
    OUTSIDE.iter().find(|(vm, _)| *vm == name).map(|(_, address)| *address)
}

fn address(name: &str) -> Ipv4Addr {
    match name {
        "internet" => return INTERNET_CLIENT,
        "host" => return BEYOND,
        _ => {}
    }
    VMS.iter().find(|(vm, ..)| *vm == name).unwrap().2
}

fn vm(owner: &str, name: &str) -> VmSpec {
    VmSpec {
        key: owner.into(),
        netns: owner.into(),
        hostname: name.into(),
        hosts: "127.0.0.1 localhost\n".into(),
        bin: vec![std::env::current_exe().unwrap()],
        ..VmSpec::default()
    }
}

/// All that can have an ear, by short names.
fn endpoints(fabric: &Fabric) -> BTreeMap<&'static str, String> {
    let owners: BTreeSet<&Owner> =
        fabric.networks.values().flat_map(|network| network.nics.values()).map(|nic| &nic.owner).collect();
    let names = VMS.iter().map(|(name, ..)| *name).chain(["redis-1", "internet"]);
    let owner = |name| owners.iter().find(|owner| owner.name() == name).unwrap().to_string();
    names.map(|name| (name, owner(name))).chain([("host", ENDPOINT_OUT.to_owned())]).collect()
}

fn world() -> World {
    let mut changes = vec![Change::ProjectCreate(PROJECT.into())];
    for service in [project::COMPUTE, project::REDIS] {
        changes.push(Change::ServiceEnable { project: PROJECT.into(), service: service.into() });
    }
    let network = |i: usize| NetworkKey::new(PROJECT, format!("vpc-{i}"));
    let subnetwork = |i: usize| SubnetworkKey::new(PROJECT, REGION, format!("subnet-{i}"));
    for i in 1..=4 {
        let key = network(i);
        let spec = NetworkSpec { key: key.clone(), auto_create_subnetworks: false, mtu: None };
        changes.push(Change::NetworkInsert(spec));
        let ula = format!("fd20:0:{i}::/48").parse().unwrap();
        changes.push(Change::NetworkEnableIpv6 { network: key.clone(), range: Some(ula) });
        let range = format!("10.{i}.0.0/16").parse().unwrap();
        let spec = SubnetworkSpec::new(subnetwork(i), key, range);
        changes.push(Change::SubnetworkInsert(SubnetworkSpec { stack_type: StackType::Ipv4Ipv6, ..spec }));
    }
    let rule = |i: usize, name: &str, all: &str, matches: L4, tags: &[&str]| {
        let mut spec = FirewallSpec::new(FirewallKey::new(PROJECT, name), network(i));
        spec.source_ranges = BTreeSet::from([all.parse().unwrap()]);
        spec.matches = vec![matches];
        spec.target_tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Change::FirewallInsert(spec)
    };
    let all = || L4::all_of(Protocol::All);
    let port = || vec![PortRange { first: PORT, last: PORT }];
    for (version, everybody) in [("ipv4", "0.0.0.0/0"), ("ipv6", "::/0")] {
        changes.push(rule(1, &format!("open-{version}"), everybody, all(), &["open"]));
        let udp = L4::new(Protocol::UDP, port());
        changes.push(rule(1, &format!("port-{version}"), everybody, udp, &["closed"]));
        changes.extend((2..=4).map(|i| rule(i, &format!("all-{i}-{version}"), everybody, all(), &[])));
    }
    for (a, b) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
        let (network, peer, name) = (network(a), network(b), format!("peering-{a}-{b}"));
        let exchange = Exchange {
            export_custom_routes: true,
            import_custom_routes: true,
            stack_type: StackType::Ipv4Ipv6,
            ..Exchange::default()
        };
        changes.push(Change::PeeringAdd(PeeringSpec { network, name, peer, exchange }));
    }
    for (name, i, address) in VMS {
        changes.push(Change::InstanceInsert(InstanceSpec {
            key: InstanceKey::new(PROJECT, ZONE, name),
            nics: vec![NicSpec {
                subnetwork: subnetwork(i),
                address: Some(address),
                stack_type: StackType::Ipv4Ipv6,
                aliases: Vec::new(),
            }],
            // mallory is open too: what comes to it must be kept away by something else.
            tags: BTreeSet::from([if name == "closed" { "closed" } else { "open" }.to_owned()]),
            can_ip_forward: false,
            metadata: BTreeMap::new(),
            service_account: None,
        }));
    }
    for (name, _) in OUTSIDE {
        let instance = InstanceKey::new(PROJECT, ZONE, name);
        let name = "External NAT".to_owned();
        changes.push(Change::AccessConfigAdd { instance, nic: 0, name, address: None });
    }
    changes.push(Change::RouterInsert(RouterSpec {
        key: RouterKey::new(PROJECT, REGION, "router-1"),
        network: network(3),
        nats: vec![NatSpec {
            name: "nat-1".into(),
            addresses: None,
            sources: NatSources::AllSubnetworks(NatRanges::All),
            min_ports_per_vm: None,
        }],
    }));
    changes.extend(published(&network, &subnetwork));
    changes.push(Change::RedisInsert(RedisSpec {
        key: RedisKey::new(PROJECT, REGION, "redis-1"),
        authorized_network: network(2),
        reserved_ip_range: Some("10.34.175.88/29".parse().unwrap()),
        tier: RedisTier::Basic,
        memory_size_gb: 1,
        connect_mode: ConnectMode::DirectPeering,
        tls: false,
    }));
    let now = Timestamp(1_600_000_000_000);
    let world = changes.iter().fold(World::default(), |world, change| {
        world.apply(change, now).unwrap_or_else(|refusal| panic!("{change:?}: {refusal:?}"))
    });
    assert!(world.redis.values().all(|redis| redis.host == REDIS), "{:?}", world.redis);
    let nats: Vec<Ipv4Addr> = tombolo_model::service_attachment::nats(&world, &network(4)).collect();
    assert!(nats.contains(&NAT), "{nats:?}");
    world.reaching_host(true)
}

/// A service in vpc-4 that takes one port, and its endpoints in vpc-1 and vpc-2.
fn published(
    network: &impl Fn(usize) -> NetworkKey,
    subnetwork: &impl Fn(usize) -> SubnetworkKey,
) -> Vec<Change> {
    let nat = SubnetworkKey::new(PROJECT, REGION, "nat");
    let range = "10.9.0.0/29".parse().unwrap();
    let target = TargetInstanceKey::new(PROJECT, ZONE, "other");
    let attachment = ServiceAttachmentKey::new(PROJECT, REGION, "service");
    let rule = |name: &str, i: usize, address, to| {
        Change::ForwardingRuleInsert(ForwardingRuleSpec {
            key: ForwardingRuleKey::new(PROJECT, REGION, name),
            network: network(i),
            subnetwork: subnetwork(i),
            address: Some(address),
            to,
            global: false,
        })
    };
    let takes = L4::new(Protocol::UDP, vec![PortRange { first: PORT, last: PORT }]);
    let spec = ServiceAttachmentSpec {
        key: attachment.clone(),
        target: ForwardingRuleKey::new(PROJECT, REGION, "rule"),
        nat_subnetworks: vec![nat.clone()],
        acceptance: Acceptance::default(),
    };
    vec![
        Change::NatSubnetworkInsert(SubnetworkSpec::new(nat, network(4), range)),
        Change::TargetInstanceInsert(TargetInstanceSpec {
            key: target.clone(),
            instance: InstanceKey::new(PROJECT, ZONE, "other"),
            network: None,
        }),
        rule("rule", 4, RULE, ForwardSpec::Instance { target, takes }),
        Change::ServiceAttachmentInsert(spec),
        rule("endpoint-1", 1, ENDPOINT, ForwardSpec::Service(attachment.clone())),
        rule("endpoint-2", 2, PEER_ENDPOINT, ForwardSpec::Service(attachment)),
    ]
}
