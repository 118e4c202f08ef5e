//! A Redis Cluster of three primaries and three replicas, of Debian's redis-server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tombolo_proxy::placement::slots;

use crate::cluster::load::Load;
use crate::common::{Client, Redis, free_port, wait_for};

/// How long a node may be silent before the others give it up, in milliseconds: short, so that a
/// failover is.
const NODE_TIMEOUT: &str = "1500";
/// The slots of each primary.
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

/// The primaries are the first three; node 3 is a replica of node 0, and so on.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Redis>,
    _alone: MutexGuard<'static, ()>,
}

/// One cluster at a time: nodes that are starved of a processor are given up by the others.
static ALONE: Mutex<()> = Mutex::new(());

impl Nodes {
    pub(crate) fn start() -> Nodes {
        let start = || {
            let bus = free_port().to_string();
            Redis::with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                NODE_TIMEOUT,
                "--cluster-replica-validity-factor",
                "0",
                "--cluster-require-full-coverage",
                "no",
                "--repl-diskless-sync-delay",
                "0",
                "--repl-ping-replica-period",
                "1",
            ])
        };
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = Nodes { nodes: (0..6).map(|_| start()).collect(), _alone: alone };
        for (index, node) in nodes.nodes.iter().enumerate() {
            let mut admin = node.client();
            assert_eq!(admin.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)).text(), "OK");
            if let Some((first, last)) = RANGES.get(index) {
                assert_eq!(admin.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).text(), "OK");
            }
            // Since the bus has a port of its own, it has to be said.
            for other in &nodes.nodes[..index] {
                let bus = nodes.bus(other);
                assert_eq!(admin.ask(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port)).text(), "OK");
            }
        }
        for node in &nodes.nodes {
            wait_for("nodes that know one another", || {
                node.client().ask("CLUSTER INFO").text().contains("cluster_known_nodes:6").then_some(())
            });
        }
        for index in 3..6 {
            let primary = nodes.id(index - 3);
            wait_for("a replica", || {
                let told = nodes.nodes[index].client().ask(&format!("CLUSTER REPLICATE {primary}"));
                (told.text() == "OK").then_some(())
            });
        }
        for index in 3..6 {
            nodes.wait_for_replica(index);
        }
        wait_for("a table with replicas everywhere", || {
            let full = |node: &Redis| {
                let slots = node.client().ask("CLUSTER SLOTS");
                slots.items().len() == 3 && slots.items().iter().all(|range| range.items().len() == 4)
            };
            nodes.nodes.iter().all(full).then_some(())
        });
        // A primary takes nothing in its first two seconds.
        for node in &nodes.nodes {
            wait_for("a cluster that is up", || {
                node.client().ask("CLUSTER INFO").text().contains("cluster_state:ok").then_some(())
            });
        }
        nodes
    }

    fn bus(&self, node: &Redis) -> String {
        node.client().ask("CONFIG GET cluster-port").items()[1].text()
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    pub(crate) fn id(&self, node: usize) -> String {
        self.nodes[node].client().ask("CLUSTER MYID").text()
    }

    /// Waits until a node is a replica that has all its primary has.
    pub(crate) fn wait_for_replica(&self, node: usize) {
        wait_for("a replica that is up to date", || {
            let info = self.nodes[node].client().ask("INFO replication").text();
            (info.contains("role:slave") && info.contains("master_link_status:up")).then_some(())
        });
    }

    /// A replica takes over from its primary, with all that this has, under `load`.
    pub(crate) fn take_over(&self, replica: usize, primary: usize, load: &Load) {
        self.wait_for_replica(replica);
        let (old, new) = (self.id(primary), self.id(replica));
        // A primary does not listen to a replica that it does not know yet.
        wait_for("a primary that knows its replica", || {
            let known = self.nodes[primary].client().ask(&format!("CLUSTER REPLICAS {old}"));
            known.items().iter().any(|line| line.text().starts_with(&new)).then_some(())
        });
        let mut asked = None;
        load.wait_gently("a new primary", || {
            // Redis gives an attempt up after 5 seconds, when its primary did not hear of it.
            if asked.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(6)) {
                asked = Some(Instant::now());
                self.nodes[replica].client().ask("CLUSTER FAILOVER");
            }
            self.is_primary(replica).then_some(())
        });
    }

    pub(crate) fn wait_for_primary(&self, node: usize, load: &Load) {
        load.wait_gently("a new primary", || self.is_primary(node).then_some(()));
    }

    fn is_primary(&self, node: usize) -> bool {
        self.nodes[node].client().ask("INFO replication").text().contains("role:master")
    }

    /// The node that has the slot of `key` at the start.
    pub(crate) fn home(key: &str) -> usize {
        let slot = slots::slot(key.as_bytes());
        RANGES.iter().position(|&(_, last)| slot <= last).expect("a range")
    }

    /// Moves a slot with every key from one primary to another, as `redis-cli --cluster reshard` does.
    /// `between` is called between keys.
    pub(crate) fn migrate(&self, slot: u16, from: usize, to: usize, mut between: impl FnMut()) {
        let (source, target) = (self.id(from), self.id(to));
        let (mut old, mut new) = (self.nodes[from].client(), self.nodes[to].client());
        let ok = |client: &mut Client, line: &str| assert_eq!(client.ask(line).text(), "OK", "{line}");
        ok(&mut new, &format!("CLUSTER SETSLOT {slot} IMPORTING {source}"));
        ok(&mut old, &format!("CLUSTER SETSLOT {slot} MIGRATING {target}"));
        loop {
            let keys = old.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 3"));
            if keys.items().is_empty() {
                break;
            }
            for key in keys.items() {
                let line = format!("MIGRATE 127.0.0.1 {} {} 0 5000", self.nodes[to].port, key.text());
                let answer = old.ask(&line).text();
                assert!(answer == "OK" || answer == "NOKEY", "{line}: {answer}");
                between();
            }
        }
        ok(&mut new, &format!("CLUSTER SETSLOT {slot} NODE {target}"));
        ok(&mut old, &format!("CLUSTER SETSLOT {slot} NODE {target}"));
    }
}
