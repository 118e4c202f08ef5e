//! VPC Flow Logs: what has passed of connections, as Google's log entries have it. Pure.
//!
//! ```text
//!   every interval:  router's connections ─ since the last time ─▶ a record for each direction and each end that logs
//! ```
//!
//! Google's documentation of VPC Flow Logs: "Record format". A record is of one direction; the end that reports it is
//! its source or its destination. What firewalls deny has no connection, and no record.

use crate::log_entry::{Origin, connection, instance_details, moment, owner_near, subnetwork, vpc_details};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use tombolo_dataplane::{Connection, Tracked, Volume};
use tombolo_fabric::METADATA_SERVER;
use tombolo_model::flow_log::FlowLog;
use tombolo_model::{LogMetadata, NetworkKey, Protocol, SubnetworkKey, World};

/// How many records are kept for a lab; the oldest go first.
pub const KEPT: usize = 10_000;

/// What has passed in one direction of a connection, in one interval, as one end reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Which one it is of the lab's, the first being 0.
    pub number: u64,
    /// The network of the end that reports it.
    pub network: NetworkKey,
    /// The connection in this direction: its source is who sent.
    pub connection: Connection,
    /// What was sent.
    pub sent: Volume,
    /// When it began and ended to be counted, in microseconds since 1970.
    pub time: (u64, u64),
    /// Whether the source reports it; else the destination does.
    pub by_source: bool,
}

/// Flows, from one on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// In their order.
    pub flows: Vec<Flow>,
    /// The number that the next one will have.
    pub next: u64,
}

/// What has been logged, and what is known of connections.
#[derive(Debug, Default)]
pub struct FlowLogs {
    networks: BTreeMap<NetworkKey, Seen>,
    kept: VecDeque<Flow>,
    next: u64,
}

/// A network's connections, as they were seen last.
#[derive(Debug)]
struct Seen {
    at: u64,
    volumes: HashMap<(Connection, u32), (Volume, Volume)>,
}

impl FlowLogs {
    /// The networks whose connections should be looked at, at this moment (microseconds since 1970); those that no
    /// longer log are forgotten.
    pub fn due(&mut self, world: &World, now: u64) -> Vec<NetworkKey> {
        let logs = logs(world);
        self.networks.retain(|network, _| logs.contains_key(network));
        let is_due = |network: &&NetworkKey, interval: &u32| {
            let seen = self.networks.get(*network);
            seen.is_none_or(|seen| now >= seen.at + u64::from(*interval) * 1_000_000)
        };
        logs.iter()
            .filter(|(network, interval)| is_due(network, interval))
            .map(|(network, _)| network.clone())
            .collect()
    }

    /// Adds what has passed in a network since it was looked at last. The first look only shows where to begin.
    pub fn add(&mut self, world: &World, network: &NetworkKey, all: &[Tracked], now: u64) {
        let volumes = all.iter().map(|it| ((it.connection, it.id), (it.sent, it.answered))).collect();
        let Some(before) = self.networks.insert(network.clone(), Seen { at: now, volumes }) else { return };
        let ends = Ends::of(world, network);
        for it in all.iter().filter(|it| !is_googles(&it.connection)) {
            let known = before.volumes.get(&(it.connection, it.id)).copied().unwrap_or_default();
            let both = [
                (it.connection, since(it.sent, known.0)),
                (reverse(it.connection), since(it.answered, known.1)),
            ];
            for (connection, sent) in both.into_iter().filter(|(_, sent)| sent.packets > 0) {
                for by_source in [true, false] {
                    let end = if by_source { connection.source } else { connection.destination };
                    let log = ends.log_of(end);
                    if log.is_some_and(|log| is_sampled(&it.connection, it.id, log.sampling)) {
                        let time = (before.at, now);
                        self.keep(Flow {
                            number: 0,
                            network: network.clone(),
                            connection,
                            sent,
                            time,
                            by_source,
                        });
                    }
                }
            }
        }
    }

    fn keep(&mut self, flow: Flow) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Flow { number: self.next, ..flow });
        self.next += 1;
    }

    /// The records from this number on that are still kept.
    pub fn since(&self, first: u64) -> Logged {
        let flows = self.kept.iter().filter(|flow| flow.number >= first).cloned().collect();
        Logged { flows, next: self.next }
    }
}

/// The networks with a subnetwork that logs, and the shortest interval in each, in seconds.
fn logs(world: &World) -> BTreeMap<NetworkKey, u32> {
    let mut all: BTreeMap<NetworkKey, u32> = BTreeMap::new();
    for (key, subnetwork) in &world.subnetworks {
        if let Some(log) = log_of(world, key) {
            let interval = all.entry(subnetwork.network.clone()).or_insert(log.interval);
            *interval = log.interval.min(*interval);
        }
    }
    all
}

/// How a subnetwork logs, if it does.
fn log_of(world: &World, subnetwork: &SubnetworkKey) -> Option<FlowLog> {
    FlowLog::of(world.details.get(&subnetwork.to_string())?).ok()?
}

/// The addresses in a network that instances have and whose subnetworks log. Made once for all connections, which may be many.
struct Ends {
    logs: Vec<(IpNet, FlowLog)>,
    addresses: BTreeSet<IpAddr>,
    /// Alias ranges and IPv6 ranges.
    ranges: Vec<IpNet>,
}

impl Ends {
    fn of(world: &World, network: &NetworkKey) -> Ends {
        let own = world.subnetworks.iter().filter(|(_, subnetwork)| subnetwork.network == *network);
        let logs = own.flat_map(|(key, subnetwork)| {
            let log = log_of(world, key);
            subnetwork.ip_ranges().filter_map(move |range| Some((range, log?)))
        });
        let nics = || world.instances.values().flat_map(|instance| &instance.nics);
        let nics = || nics().filter(|nic| nic.network == *network);
        Ends {
            logs: logs.collect(),
            addresses: nics().map(|nic| nic.address.into()).collect(),
            ranges: nics()
                .flat_map(|nic| {
                    let aliases = nic.aliases.iter().map(|alias| IpNet::V4(alias.range));
                    aliases.chain(nic.ipv6.map(IpNet::V6))
                })
                .collect(),
        }
    }

    /// How an address's flows are logged, if an instance has it and they are.
    fn log_of(&self, address: IpAddr) -> Option<FlowLog> {
        let (_, log) = self.logs.iter().find(|(range, _)| range.contains(&address))?;
        let in_range = || self.ranges.iter().any(|range| range.contains(&address));
        (self.addresses.contains(&address) || in_range()).then_some(*log)
    }
}

/// What instances and Google's own server say to each other is not logged.
fn is_googles(connection: &Connection) -> bool {
    connection.source == METADATA_SERVER || connection.destination == METADATA_SERVER
}

/// A connection is logged whole or not at all, and by both its ends alike.
fn is_sampled(connection: &Connection, id: u32, share: f64) -> bool {
    let mut hasher = DefaultHasher::new();
    (connection, id).hash(&mut hasher);
    (hasher.finish() as f64) < share * u64::MAX as f64
}

fn since(now: Volume, before: Volume) -> Volume {
    Volume {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    }
}

fn reverse(it: Connection) -> Connection {
    Connection {
        source: it.destination,
        destination: it.source,
        source_port: it.destination_port,
        destination_port: it.source_port,
        ..it
    }
}

impl Flow {
    /// `SRC` or `DEST`.
    pub fn reporter(&self) -> &'static str {
        if self.by_source { "SRC" } else { "DEST" }
    }

    /// The address of the end that reports it.
    pub fn end(&self) -> IpAddr {
        if self.by_source { self.connection.source } else { self.connection.destination }
    }

    /// When it was logged, with microseconds.
    pub fn timestamp(&self) -> String {
        moment(self.time.1)
    }

    /// `10.1.0.2:40000 -> 10.2.0.2:22 tcp`
    pub fn text(&self) -> String {
        let it = &self.connection;
        let protocol = Protocol::Number(it.protocol);
        if !protocol.has_ports() {
            return format!("{} -> {} {protocol}", it.source, it.destination);
        }
        let end = |address, port| SocketAddr::new(address, port);
        let (from, to) = (end(it.source, it.source_port), end(it.destination, it.destination_port));
        format!("{from} -> {to} {protocol}")
    }

    /// The log entry.
    pub fn entry(&self, world: &World) -> Value {
        let it = &self.connection;
        let mut payload = json!({
            "connection": connection(it),
            "bytes_sent": self.sent.bytes.to_string(),
            "packets_sent": self.sent.packets.to_string(),
            "start_time": moment(self.time.0),
            "end_time": moment(self.time.1),
            "reporter": self.reporter(),
        });
        let log = subnetwork(world, &self.network, self.end()).and_then(|(key, _)| log_of(world, key));
        if log.is_some_and(|log| log.metadata == LogMetadata::IncludeAllMetadata) {
            for (side, address) in [("src", it.source), ("dest", it.destination)] {
                if let Some((network, instance)) = owner_near(world, &self.network, address) {
                    payload[format!("{side}_instance")] = instance_details(instance);
                    payload[format!("{side}_vpc")] = vpc_details(world, network, address);
                }
            }
        }
        let (at, number) = (self.time.1, self.number);
        Origin { log: "vpc_flows", network: &self.network, end: self.end(), at, number }.entry(world, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_api::{Outcome, Request, State, Verb, answer};
    use tombolo_model::{Change, SubnetworkKey, Timestamp};

    /// vm-1 (10.1.0.2) in a subnetwork that says this of flow logs, and vm-2 (10.1.1.2) in one that says nothing.
    fn world(config: Value) -> (World, NetworkKey) {
        let text = "
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks:
      - {name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}
      - {name: subnet-2, region: us-central1, ipCidrRange: 10.1.1.0/24}
instances:
  - {name: vm-1, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.2}]}
  - {name: vm-2, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.1.1.2}]}
";
        let now = Timestamp(0);
        let world = tombolo_topology::parse("lab.yaml", text).unwrap().world(now).unwrap();
        let resource = SubnetworkKey::new("project-1", "us-central1", "subnet-1").to_string();
        let details = [("logConfig".to_owned(), config)].into_iter().collect();
        let world = world.apply(&Change::Describe { resource, details }, now).unwrap();
        (world, NetworkKey::new("project-1", "vpc-1"))
    }

    fn tracked(id: u32, ports: (u16, u16), sent: (u64, u64), answered: (u64, u64)) -> Tracked {
        let connection = Connection {
            source: [10, 1, 0, 2].into(),
            destination: [10, 1, 1, 2].into(),
            protocol: 6,
            source_port: ports.0,
            destination_port: ports.1,
        };
        let volume = |(packets, bytes)| Volume { packets, bytes };
        Tracked { connection, id, sent: volume(sent), answered: volume(answered) }
    }

    const SECOND: u64 = 1_000_000;

    #[test]
    fn what_has_passed_since_the_last_time() {
        let (world, network) = world(json!({ "enable": true, "flowSampling": 1.0 }));
        let mut logs = FlowLogs::default();
        assert_eq!(logs.due(&world, 100 * SECOND), std::slice::from_ref(&network));
        logs.add(&world, &network, &[tracked(1, (4000, 80), (5, 500), (4, 400))], 100 * SECOND);
        assert_eq!(logs.since(0).flows, [], "before the first look nothing is known");
        assert_eq!(logs.due(&world, 104 * SECOND), []);
        assert_eq!(logs.due(&world, 105 * SECOND), std::slice::from_ref(&network));
        let later = [tracked(1, (4000, 80), (7, 650), (4, 400)), tracked(2, (4001, 80), (1, 60), (1, 40))];
        logs.add(&world, &network, &later, 105 * SECOND);
        let told: Vec<String> = logs
            .since(0)
            .flows
            .iter()
            .map(|flow| format!("{} {} {}", flow.reporter(), flow.text(), flow.sent.bytes))
            .collect();
        let want = [
            // vm-1's subnetwork alone reports: what it sends as the source, what it is sent as the destination.
            "SRC 10.1.0.2:4000 -> 10.1.1.2:80 tcp 150",
            "SRC 10.1.0.2:4001 -> 10.1.1.2:80 tcp 60",
            "DEST 10.1.1.2:80 -> 10.1.0.2:4001 tcp 40",
        ];
        assert_eq!(told, want);
        assert_eq!(logs.since(2).flows.len(), 1);
        // Another connection with the same ports begins at nothing.
        logs.add(&world, &network, &[tracked(3, (4000, 80), (1, 70), (0, 0))], 110 * SECOND);
        assert_eq!(logs.since(3).flows[0].sent, Volume { packets: 1, bytes: 70 });
    }

    #[test]
    fn entries_say_what_the_subnetwork_wants() {
        for (metadata, names) in [("EXCLUDE_ALL_METADATA", false), ("INCLUDE_ALL_METADATA", true)] {
            let (world, network) =
                world(json!({ "enable": true, "flowSampling": 1.0, "metadata": metadata }));
            let mut logs = FlowLogs::default();
            logs.add(&world, &network, &[], 100 * SECOND);
            logs.add(&world, &network, &[tracked(1, (4000, 80), (5, 500), (0, 0))], 105 * SECOND);
            let entry = logs.since(0).flows[0].entry(&world);
            assert_eq!(entry["logName"], "projects/project-1/logs/compute.googleapis.com%2Fvpc_flows");
            let payload = &entry["jsonPayload"];
            assert_eq!((&payload["bytes_sent"], &payload["reporter"]), (&json!("500"), &json!("SRC")));
            assert_eq!(payload["end_time"], "1970-01-01T00:01:45.000000Z");
            assert_eq!(payload["dest_instance"]["vm_name"].as_str(), names.then_some("vm-2"));
            assert_eq!(payload["src_vpc"]["subnetwork_name"].as_str(), names.then_some("subnet-1"));
            let path = "/compute/v1/projects/project-1/regions/us-central1/subnetworks/subnet-1";
            let get = Request::new("localhost", Verb::Get, path, Value::Null);
            let answer = answer(&State { world, ..State::default() }, &get, Timestamp(0));
            let Ok(Outcome::Reply(subnetwork)) = answer else { panic!("{answer:?}") };
            assert_eq!(entry["resource"]["labels"]["subnetwork_id"], subnetwork["id"]);
        }
    }

    #[test]
    fn a_share_of_connections_is_logged() {
        let (world, network) = world(json!({ "enable": true, "flowSampling": 0.25 }));
        let mut logs = FlowLogs::default();
        logs.add(&world, &network, &[], 100 * SECOND);
        let all: Vec<Tracked> = (0..2000).map(|n| tracked(n, (4000, 80), (1, 60), (1, 40))).collect();
        logs.add(&world, &network, &all, 105 * SECOND);
        let flows = logs.since(0).flows;
        assert!((800..1200).contains(&flows.len()), "{} of 4000", flows.len());
        assert_eq!(
            flows.iter().filter(|flow| flow.by_source).count() * 2,
            flows.len(),
            "whole or not at all"
        );
        // Without logs there is nothing to look at, and nothing is remembered.
        let (world, _) = self::world(json!({ "enable": false }));
        assert_eq!(logs.due(&world, 200 * SECOND), []);
        assert!(logs.networks.is_empty());
    }

    #[test]
    fn the_oldest_go_first() {
        let (world, network) = world(json!({ "enable": true, "flowSampling": 1.0 }));
        let mut logs = FlowLogs::default();
        logs.add(&world, &network, &[], 100 * SECOND);
        let all: Vec<Tracked> = (0..=KEPT as u32).map(|n| tracked(n, (4000, 80), (1, 60), (0, 0))).collect();
        logs.add(&world, &network, &all, 105 * SECOND);
        let kept = logs.since(0);
        assert_eq!((kept.flows.len(), kept.flows[0].number, kept.next), (KEPT, 1, KEPT as u64 + 1));
    }
}
