//! Looking at a lab: names resolved, flows traced, packets asked.

use crate::known::instead;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tombolo_agent::{Agent, AgentError};
use tombolo_dataplane::{Fault, Faults, Place, Probe, Seen};
use tombolo_fabric::text::Packets;
use tombolo_fabric::{
    Fabric, Flow, INTERNET_CLIENT, METADATA_SERVER, Nic, Owner, Trace, Verdict, compile, fabric::internet,
    host, trace,
};
use tombolo_model::{InstanceKey, NetworkKey, Protocol, RedisKey, World};

/// A World, its Fabric, and the agent that has its packets.
#[derive(Debug)]
pub struct View<'a> {
    /// The World.
    pub world: World,
    /// Its Fabric.
    pub fabric: Fabric,
    /// The agent.
    pub agent: &'a Agent,
    /// What somebody has put in the packets' way.
    pub faults: Faults,
}

/// What a name or an address stands for as a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// The port, said or implied (Redis has one).
    pub port: Option<u16>,
}

/// By how much more than it should a packet may be late: a program lets it go on.
const UNPUNCTUAL: Duration = Duration::from_millis(100);

/// The word by which the Identity-Aware Proxy client of a destination's network is meant.
pub const IAP: &str = "iap";

/// The word by which the internet's client is meant, unless an instance has that name.
pub const INTERNET: &str = "internet";

impl<'a> View<'a> {
    /// A view of a World.
    pub fn new(world: World, agent: &'a Agent) -> Self {
        let fabric = compile(&world);
        Self { world, fabric, agent, faults: Faults::new() }
    }

    /// The instance that a name means: `vm-1`, `zone/vm-1`, `project/zone/vm-1`, or its whole path.
    pub fn instance(&self, name: &str) -> Result<&InstanceKey, String> {
        let known = || self.world.instances.keys().map(|k| k.name.clone()).collect();
        unique("instance", name, self.instances(name), known)
    }

    /// The instances that a name may mean.
    fn instances(&self, name: &str) -> Vec<&InstanceKey> {
        let forms = |key: &InstanceKey| {
            let InstanceKey { project, zone, name } = key;
            [name.clone(), format!("{zone}/{name}"), format!("{project}/{zone}/{name}"), key.to_string()]
        };
        self.world.instances.keys().filter(|key| forms(key).iter().any(|f| f == name)).collect()
    }

    /// The endpoint in which programs of a VM, or of the internet's client, run.
    pub fn machine(&self, name: &str) -> Result<Owner, String> {
        if !self.is_internet(name) {
            return Ok(Owner::Instance(self.instance(name)?.clone()));
        }
        match self.fabric.nics_of(&Owner::Internet).is_empty() {
            true => Err(
                "there is no internet: nothing that runs has an external address, or is served by Cloud NAT"
                    .into(),
            ),
            false => Ok(Owner::Internet),
        }
    }

    /// Whether a name means the internet's client.
    fn is_internet(&self, name: &str) -> bool {
        name == INTERNET && self.world.instances_named(name).next().is_none()
    }

    /// The Redis instance that a name means.
    pub fn redis(&self, name: &str) -> Result<&RedisKey, String> {
        let known = || self.world.redis.keys().map(|k| k.name.clone()).collect();
        unique("redis instance", name, self.redis_instances(name), known)
    }

    /// The Redis instances that a name may mean.
    fn redis_instances(&self, name: &str) -> Vec<&RedisKey> {
        self.world.redis.keys().filter(|k| k.name == name || k.to_string() == name).collect()
    }

    /// The instance or the Redis instance that a name means, or [`INTERNET`]'s client where there is one.
    pub fn endpoint(&self, name: &str) -> Result<Owner, String> {
        if self.is_internet(name) && self.fabric.networks.contains_key(&internet()) {
            return Ok(Owner::Internet);
        }
        match (self.instances(name).as_slice(), self.redis_instances(name).as_slice()) {
            ([], []) => {
                let instances = self.world.instances.keys().map(|key| key.name.as_str());
                let redis = self.world.redis.keys().map(|key| key.name.as_str());
                let known = instead(name, instances.chain(redis));
                Err(format!("there is no instance or redis instance '{name}' in the lab{known}"))
            }
            ([_], [_]) => Err(format!("'{name}' means an instance and a redis instance: use the whole path")),
            ([], _) | ([_, _, ..], [_]) => Ok(Owner::Redis(self.redis(name)?.clone())),
            _ => Ok(Owner::Instance(self.instance(name)?.clone())),
        }
    }

    /// An interface of an endpoint, with the network that it is in.
    pub fn nic(&self, owner: &Owner, index: u8) -> Result<(&NetworkKey, &Nic), String> {
        let nics = self.fabric.nics_of(owner);
        nics.iter().find(|(_, nic)| nic.index == index).copied().ok_or_else(|| {
            let all: Vec<_> = nics.iter().map(|(_, nic)| format!("nic{}", nic.index)).collect();
            format!("{} has no nic{index} (it has: {})", owner.name(), all.join(", "))
        })
    }

    /// What `redis-1`, `redis-1:6380`, `vm-2`, `vm-2:22`, a forwarding rule's name, `10.2.0.2`, `10.2.0.2:22`, `fd20::2`
    /// or `[fd20::2]:22` stands for.
    pub fn target(&self, text: &str) -> Result<Target, String> {
        // Its colons are not that of a port.
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            return Ok(Target { address: address.into(), port: None });
        }
        let parsed = text.parse::<std::net::SocketAddrV6>();
        if let Ok(address) = parsed {
            return Ok(Target { address: (*address.ip()).into(), port: Some(address.port()) });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let port =
                    port.parse().map_err(|_| format!("'{port}' in '{text}' is not a port (0 to 65535)"))?;
                (name, Some(port))
            }
            None => (text, None),
        };
        if let Ok(address) = name.parse() {
            return Ok(Target { address, port });
        }
        if self.is_internet(name) {
            self.machine(name)?;
            return Ok(Target { address: INTERNET_CLIENT.into(), port });
        }
        // A name of several is refused as that.
        match (self.instances(name).as_slice(), self.redis_instances(name).as_slice()) {
            ([], []) => {}
            ([], _) | (_, [_]) => {
                let redis = &self.world.redis[self.redis(name)?];
                return Ok(Target { address: redis.host.into(), port: port.or(Some(redis.port)) });
            }
            _ => {
                let instance = &self.world.instances[self.instance(name)?];
                return Ok(Target { address: instance.nics[0].address.into(), port });
            }
        }
        let mut rules = self.world.forwarding_rules.iter().filter(|(key, _)| key.name == name);
        if let (Some((_, rule)), None) = (rules.next(), rules.next()) {
            return Ok(Target { address: rule.address.into(), port });
        }
        let known = self.world.redis.keys().map(|key| key.name.as_str());
        let known = known.chain(self.world.instances.keys().map(|key| key.name.as_str()));
        let rules = self.world.forwarding_rules.keys().map(|key| key.name.as_str());
        let known = instead(name, known.chain(rules));
        Err(format!(
            "'{name}' is neither an address nor an instance nor a redis instance nor a forwarding rule of the lab{known}"
        ))
    }

    /// The same target by its IPv6 address: `vm-2:22` is `[fd20::2]:22`. What is an address already stays.
    pub fn ipv6_target(&self, text: &str) -> Result<String, String> {
        let Target { address, port } = self.target(text)?;
        let address = match address {
            IpAddr::V6(address) => address,
            IpAddr::V4(_) => {
                let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
                let found = self.instance(name).ok().and_then(|key| self.world.instances.get(key));
                let mut nics = found.iter().flat_map(|instance| &instance.nics);
                let address = nics.find_map(|nic| nic.ipv6_address());
                address.ok_or_else(|| format!("'{text}' has no IPv6 address"))?
            }
        };
        Ok(port.map_or(address.to_string(), |port| format!("[{address}]:{port}")))
    }

    /// The flow from an instance (or [`IAP`]) to a target. Without a protocol: TCP where there is a port, else ICMP.
    pub fn flow(
        &self,
        from: &str,
        to: &str,
        protocol: Option<Protocol>,
        port: Option<u16>,
    ) -> Result<Flow, String> {
        let mut target = self.target(to)?;
        // The internet knows a VM by its external address.
        let name = to.rsplit_once(':').map_or(to, |(name, _)| name);
        if let (true, Ok(key)) = (self.is_internet(from), self.instance(name)) {
            let nics = self.fabric.nics_of(&Owner::Instance(key.clone()));
            let external = nics.first().and_then(|(_, nic)| nic.external);
            target.address = external.ok_or_else(|| format!("{name} has no external address"))?.into();
        }
        if let (Some(said), Some(also)) = (port, target.port)
            && said != also
        {
            return Err(format!("there are two ports: {said}, and {also} of '{to}'"));
        }
        let port = port.or(target.port);
        let protocol = match protocol.unwrap_or(if port.is_some() { Protocol::TCP } else { Protocol::ICMP }) {
            // IPv6 has an ICMP of its own.
            Protocol::ICMP if target.address.is_ipv6() => Protocol::ICMPV6,
            protocol => protocol,
        };
        let Protocol::Number(number) = protocol else {
            return Err("a flow has one protocol, not 'all'".into());
        };
        // Redis brings its own port, which an echo request has no use for.
        if let (false, Some(port)) = (protocol.has_ports(), port.filter(|_| self.redis(to).is_err())) {
            return Err(format!("{protocol} has no ports: what is {port} for?"));
        }
        if protocol.has_ports() && port.is_none() {
            return Err(format!("{protocol} needs a port: write '{to}:PORT'"));
        }
        let (network, nic, source) = self.source(from, target.address)?;
        let source = source.ok_or_else(|| format!("{from} has no IPv6 address"))?;
        Ok(Flow {
            network: network.clone(),
            nic,
            source,
            destination: target.address,
            protocol: number,
            port: if protocol.has_ports() { port.unwrap_or_default() } else { 0 },
        })
    }

    /// The interface that packets from `from` to `destination` leave by: its network, its address, and the address of the
    /// destination's version of IP that it has, if any.
    fn source(
        &self,
        from: &str,
        destination: IpAddr,
    ) -> Result<(&NetworkKey, Ipv4Addr, Option<IpAddr>), String> {
        if from == IAP {
            let home = self
                .fabric
                .networks
                .iter()
                .find(|(_, n)| !n.google_managed && n.nic_with(destination).is_some());
            let (key, network) = home.ok_or_else(|| format!("no network of a user has {destination}"))?;
            let client = network.nics.values().find(|nic| nic.owner.is_iap());
            let client = client.map(|nic| (key, nic.address, nic.address_like(destination)));
            return client.ok_or_else(|| format!("{} has no IAP client", key.name));
        }
        let owner = self.machine(from)?;
        if let Some((network, nic)) = self.fabric.nic_towards(&owner, destination) {
            return Ok((network, nic.address, nic.address_like(destination)));
        }
        // One that is stopped keeps its addresses, and the trace tells that nothing leaves it.
        let stopped = match &owner {
            Owner::Instance(key) => self.world.instances.get(key).and_then(|found| found.nics.first()),
            _ => None,
        };
        let nic = stopped.ok_or_else(|| format!("{from} has no interface"))?;
        let source = match destination {
            IpAddr::V4(_) => Some(nic.address.into()),
            IpAddr::V6(_) => nic.ipv6_address().map(IpAddr::from),
        };
        Ok((&nic.network, nic.address, source))
    }

    /// What the Fabric says of a flow.
    pub fn trace(&self, flow: &Flow) -> Trace {
        trace(&self.fabric, flow)
    }

    /// The faults that a flow's packets meet, as far as they get.
    pub fn faults_on(&self, trace: &Trace) -> Vec<(&Place, &Fault)> {
        let flow = &trace.flow;
        if matches!(trace.verdict, Verdict::Local | Verdict::MetadataServer) {
            return Vec::new();
        }
        let mut places = Vec::new();
        let mut add_nic = |network: &NetworkKey, address: &std::net::Ipv4Addr| {
            let nic = self.fabric.networks.get(network).and_then(|network| network.nics.get(address));
            places.extend(nic.map(|nic| Place::nic(&nic.owner, nic.index.into())));
        };
        add_nic(&flow.network, &flow.nic);
        if let Verdict::Delivered { network, nic } | Verdict::Forwarded { network, nic } = &trace.verdict {
            add_nic(network, nic);
            places.push(Place::peering(&flow.network, network));
        }
        self.faults.iter().filter(|(place, _)| places.contains(place)).collect()
    }

    /// The peering that a name means, by either side's name.
    pub fn peering(&self, name: &str) -> Result<Place, String> {
        let all = || {
            self.world
                .networks
                .iter()
                .flat_map(|(key, network)| network.peerings.iter().map(move |peering| (key, peering)))
        };
        let found = all().filter(|(_, peering)| peering.name == name);
        let found: BTreeSet<Place> = found.map(|(key, peering)| Place::peering(key, &peering.peer)).collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(place), None) => Ok(place),
            (None, _) => {
                let known = instead(name, all().map(|(_, peering)| peering.name.as_str()));
                Err(format!("there is no peering '{name}' in the lab{known}"))
            }
            (Some(one), Some(other)) => Err(format!("'{name}' means several peerings: {one}, {other}")),
        }
    }

    /// What the packets say of flows: each is sent once.
    pub fn send(&self, flows: &[Flow]) -> Result<Vec<Seen>, AgentError> {
        let probes = flows.iter().map(|flow| Probe::of(&self.fabric, flow)).collect();
        let faulty = flows.iter().filter(|_| !self.faults.is_empty());
        let late = faulty.map(|flow| self.late(&self.trace(flow))).max();
        self.agent.probe(probes, late.unwrap_or_default())
    }

    /// How late a flow's packets may be for the faults that they meet; nothing where there is none.
    fn late(&self, trace: &Trace) -> Duration {
        let faults = self.faults_on(trace).into_iter();
        let micros = faults.map(|(_, fault)| u64::from(fault.latency) + u64::from(fault.jitter)).sum();
        let late = Duration::from_micros(micros);
        if late.is_zero() { late } else { late + UNPUNCTUAL }
    }

    /// Sends a flow's first packet several times and counts what arrived at its destination. A sender that is stopped
    /// sends none.
    pub fn packets(&self, flow: &Flow, sent: u32) -> Result<Packets, AgentError> {
        let network = self.fabric.networks.get(&flow.network);
        if !network.is_some_and(|network| network.nics.contains_key(&flow.nic)) {
            return Ok(Packets { sent: 0, delivered: 0 });
        }
        let flows = vec![flow.clone(); sent as usize];
        let seen = self.send(&flows)?;
        let delivered = seen.iter().filter(|seen| self.delivered(flow, seen)).count() as u32;
        Ok(Packets { sent, delivered })
    }

    /// Whether a probe arrived at an endpoint that has the flow's destination address, or at the published service that
    /// this leads to. Of Google's link-local server, and of the way into the host's network that connections take,
    /// only a reply can tell.
    pub fn delivered(&self, flow: &Flow, seen: &Seen) -> bool {
        let beyond = self.fabric.host_has(flow.destination);
        if beyond && Protocol::Number(flow.protocol) != Protocol::TCP {
            return seen.arrived.iter().any(|name| name == host::ENDPOINT);
        }
        if flow.destination == METADATA_SERVER || beyond {
            return seen.replied;
        }
        let owners = self.fabric.networks.values().filter_map(|n| n.nic_with(flow.destination));
        let external = self.fabric.with_external(flow.destination).map(|(_, _, nic)| nic);
        let published = self.fabric.published().filter_map(|(network, endpoint, service)| {
            let meant = *network == flow.network && endpoint == flow.destination;
            self.fabric.networks.get(&service.network)?.nic_with(service.address.into()).filter(|_| meant)
        });
        owners.chain(external).chain(published).any(|nic| seen.arrived.contains(&nic.owner.to_string()))
    }
}

/// The only one found, or an error that lists what there is.
fn unique<'k, K: ToString>(
    kind: &str,
    name: &str,
    found: Vec<&'k K>,
    known: impl Fn() -> Vec<String>,
) -> Result<&'k K, String> {
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let known = known();
            let known = instead(name, known.iter().map(String::as_str));
            Err(format!("there is no {kind} '{name}' in the lab{known}"))
        }
        several => {
            let paths: Vec<_> = several.iter().map(|k| k.to_string()).collect();
            Err(format!("'{name}' means several {kind}s: {}", paths.join(", ")))
        }
    }
}
