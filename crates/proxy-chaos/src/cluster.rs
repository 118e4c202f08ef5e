//! A Redis Cluster of three primaries and three replicas, and what goes wrong in it: failovers that
//! are asked for, primaries that are killed, frozen nodes, and slots that move.
//!
//! Replication is asynchronous, so a failover may lose what was acknowledged; that is the cluster's
//! business, and would hide what the proxy does wrong. Therefore a primary takes no more writes and
//! its replica has all of them before it is killed, and none is frozen for so long that the others
//! give it up. So nothing is ever lost, and the sums are exact throughout.
//!
//! For the same reason no node is elected twice within [`ELECTION`]: it would still count the votes of
//! the first time, and make itself a second primary beside the one that there is, for as long as it
//! takes to be told of the higher epoch; what it accepted until then is lost. Its log (Redis 7.0) says
//! "Failover election won" without "Starting a failover election".

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tombolo_proxy::placement::slots;
use tombolo_resp::Value;

use crate::board::Board;
use crate::keys::Tag;
use crate::process::{Ports, Redis, ask_server};

/// Primaries, each with one replica.
const SHARDS: usize = 3;
/// How long a node may be silent before the others give it up, in milliseconds.
const NODE_TIMEOUT: u64 = 3000;
/// More than any step needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long Redis tries a failover that was asked for, and some more.
const ATTEMPT: Duration = Duration::from_secs(7);
/// For how long a node keeps the votes of an election, and some more: Redis waits this long before
/// it asks for votes anew.
const ELECTION: Duration = Duration::from_millis(4 * NODE_TIMEOUT + 1000);
/// The last slot of each shard.
const LAST: [u16; SHARDS] = [5460, 10922, 16383];

/// A node and its folder, where it keeps what it knows of the others.
#[derive(Debug)]
struct Node {
    redis: Redis,
    id: String,
    _folder: TempDir,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A node is silent for so many milliseconds.
    Freeze(usize, u64),
    /// The primary of a shard is killed; its replica is told to take over, or finds out.
    Kill(usize, bool),
    /// The replica of a shard is told to take over.
    FailOver(usize),
    /// A slot moves to a shard.
    Move(u16, usize),
}

impl Fault {
    fn kind(self) -> &'static str {
        match self {
            Fault::Freeze(..) => "node frozen",
            Fault::Kill(..) => "primary killed, its replica takes over, restart",
            Fault::FailOver(_) => "failover asked for",
            Fault::Move(..) => "slot moved",
        }
    }
}

/// A cluster. Shard `n` has the nodes `n` and `n + 3`.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    /// The node that is the primary of each shard.
    primary: [usize; SHARDS],
    /// The shard of slots that have moved.
    moved: BTreeMap<u16, usize>,
    /// Slots that keys of clients are in.
    used: Vec<u16>,
    /// When each node was last elected, or may have been.
    elected: [Option<Instant>; 2 * SHARDS],
    /// Say what happens.
    verbose: bool,
}

impl Cluster {
    /// Starts one.
    pub fn start(ports: &mut Ports, verbose: bool) -> Result<Cluster> {
        let mut nodes = Vec::new();
        for _ in 0..2 * SHARDS {
            let folder = tempfile::tempdir()?;
            let (address, bus) = (ports.take(), ports.take());
            let options = [
                ("--cluster-enabled", "yes".to_string()),
                // The others would see whatever loopback address its connections come from.
                ("--cluster-announce-ip", address.ip().to_string()),
                ("--cluster-port", bus.port().to_string()),
                ("--cluster-node-timeout", NODE_TIMEOUT.to_string()),
                ("--cluster-replica-validity-factor", "0".to_string()),
                ("--cluster-require-full-coverage", "no".to_string()),
                // Replicas stay with their shard.
                ("--cluster-migration-barrier", "9".to_string()),
                ("--repl-diskless-sync-delay", "0".to_string()),
                ("--repl-ping-replica-period", "1".to_string()),
                ("--dir", folder.path().display().to_string()),
            ];
            let options = options.into_iter().flat_map(|(name, value)| [name.to_string(), value]).collect();
            let redis = Redis::start(address, options)?;
            let id = ask_server(address, "CLUSTER MYID")?.text();
            command(address, &format!("CLUSTER SET-CONFIG-EPOCH {}", nodes.len() + 1))?;
            for (other, bus) in &nodes {
                let other: &Node = other;
                let ip = other.redis.address.ip();
                command(address, &format!("CLUSTER MEET {ip} {} {bus}", other.redis.address.port()))?;
            }
            nodes.push((Node { redis, id, _folder: folder }, bus.port()));
        }
        let nodes: Vec<Node> = nodes.into_iter().map(|(node, _)| node).collect();
        let (primary, moved, used, elected) = ([0, 1, 2], BTreeMap::new(), Vec::new(), [None; 2 * SHARDS]);
        let cluster = Cluster { nodes, primary, moved, used, elected, verbose };
        let mut first = 0;
        for (shard, last) in LAST.into_iter().enumerate() {
            command(cluster.address(shard), &format!("CLUSTER ADDSLOTSRANGE {first} {last}"))?;
            first = last + 1;
        }
        let know = |node: usize| Ok(cluster.info(node, "CLUSTER INFO", "cluster_known_nodes")? == "6");
        (0..2 * SHARDS).try_for_each(|node| wait("nodes that know one another", || know(node)))?;
        for replica in SHARDS..2 * SHARDS {
            let line = format!("CLUSTER REPLICATE {}", cluster.nodes[replica - SHARDS].id);
            wait("a replica", || Ok(ask_server(cluster.address(replica), &line)?.text() == "OK"))?;
        }
        (0..SHARDS).try_for_each(|shard| cluster.wait_for_replica(shard))?;
        for node in 0..2 * SHARDS {
            let up = || Ok(cluster.info(node, "CLUSTER INFO", "cluster_state")? == "ok");
            wait("a cluster that is up", up)?;
            let full = || {
                let table = ask_server(cluster.address(node), "CLUSTER SLOTS")?;
                Ok(table.items().len() == SHARDS && table.items().iter().all(|row| row.items().len() == 4))
            };
            wait("a table with every replica", full)?;
        }
        Ok(cluster)
    }

    /// Where the nodes are.
    pub fn addresses(&self) -> Vec<SocketAddrV4> {
        (0..self.nodes.len()).map(|node| self.address(node)).collect()
    }

    /// Tags that are spread over the slots.
    pub fn tags(&mut self, count: u64) -> Vec<Tag> {
        let texts = (1..=count).map(|index| format!("{{{:x}}}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let tags: Vec<Tag> = texts.map(|text| Tag { text, server: 0 }).collect();
        self.used = tags.iter().map(|tag| slots::slot(tag.text.as_bytes())).collect();
        tags
    }

    /// Has faults while there is a storm. For the board the whole cluster is server 0.
    pub fn suffer(mut self, seed: u64, board: &Board) -> Result<()> {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xc105_7e12);
        for round in 0_u64.. {
            board.sleep(rng.u64(0..600));
            while !board.is_storm() && !board.is_over() {
                board.sleep(5);
            }
            if board.is_over() {
                break;
            }
            let slot = self.used[rng.usize(..self.used.len())];
            let electable: Vec<usize> = (0..SHARDS).filter(|shard| self.may_elect(*shard)).collect();
            let shard = rng.choice(electable);
            // A short run has what there is nowhere else.
            let fault = match (if round == 0 { 7 } else { rng.u8(0..8) }, shard) {
                (0..2, _) => Fault::Freeze(rng.usize(..self.nodes.len()), rng.u64(20..=700)),
                (2, Some(shard)) => Fault::Kill(shard, rng.u8(0..4) != 0),
                (3..5, Some(shard)) => Fault::FailOver(shard),
                _ => Fault::Move(slot, (self.shard(slot) + rng.usize(1..SHARDS)) % SHARDS),
            };
            if self.verbose {
                eprintln!("{:>8} ms  {}: {fault:?}", board.now(), fault.kind());
            }
            board.begin_fault(0, fault.kind());
            let candidate = match fault {
                Fault::Kill(shard, _) | Fault::FailOver(shard) => Some(self.replica(shard)),
                Fault::Freeze(..) | Fault::Move(..) => None,
            };
            let outcome = match fault {
                Fault::Freeze(node, ms) => self.freeze(node, ms, board),
                Fault::Kill(shard, force) => self.kill(shard, force, board),
                Fault::FailOver(shard) => self.fail_over(shard, false, board),
                Fault::Move(slot, shard) => self.move_slot(slot, shard, board),
            };
            if let Some(node) = candidate {
                // Also when it came to nothing: it may have got votes.
                self.elected[node] = Some(Instant::now());
            }
            // Before the end of the fault: the proxy may still ask nodes that learn of it late.
            let agreed = outcome.and_then(|()| self.agree());
            board.end_fault(0);
            agreed.with_context(|| self.views())?;
        }
        Ok(())
    }

    /// Whether a shard's replica can be elected as it should be.
    fn may_elect(&self, shard: usize) -> bool {
        self.elected[self.replica(shard)].is_none_or(|at| at.elapsed() > ELECTION)
    }

    fn freeze(&mut self, node: usize, ms: u64, board: &Board) -> Result<()> {
        self.nodes[node].redis.process.signal(Signal::SIGSTOP)?;
        board.sleep(ms);
        self.nodes[node].redis.process.signal(Signal::SIGCONT)
    }

    /// Kills a primary whose replica has everything.
    fn kill(&mut self, shard: usize, force: bool, board: &Board) -> Result<()> {
        let (old, new) = (self.primary[shard], self.replica(shard));
        self.wait_for_replica(shard)?;
        command(self.address(old), "CLIENT PAUSE 60000 WRITE")?;
        let offset: u64 = self.info(old, "INFO replication", "master_repl_offset")?.parse()?;
        wait("a replica that has everything", || {
            Ok(self.info(new, "INFO replication", "slave_repl_offset")?.parse::<u64>()? >= offset)
        })?;
        self.nodes[old].redis.process.kill();
        if force {
            self.fail_over(shard, true, board)?;
        } else {
            wait("a failover", || self.is_primary(new))?;
            self.primary[shard] = new;
        }
        board.sleep(100);
        self.nodes[old].redis.restart()?;
        self.wait_for_replica(shard)
    }

    /// The replica of a shard takes over; `force` when the primary is dead.
    fn fail_over(&mut self, shard: usize, force: bool, board: &Board) -> Result<()> {
        let (old, new) = (self.primary[shard], self.replica(shard));
        if !force {
            self.wait_for_replica(shard)?;
        }
        let line = if force { "CLUSTER FAILOVER FORCE" } else { "CLUSTER FAILOVER" };
        if !force {
            // The nodes may refuse, and an attempt ends by itself after 5 seconds. A late success is
            // seen by whoever waits for the replica the next time.
            ask_server(self.address(new), line)?;
            let end = Instant::now() + ATTEMPT;
            while Instant::now() < end && !self.is_primary(new)? {
                std::thread::sleep(Duration::from_millis(10));
            }
            if !self.is_primary(new)? {
                board.count("(failovers that the cluster refused)");
                return Ok(());
            }
            self.primary[shard] = new;
            return wait("a new replica", || Ok(!self.is_primary(old)?));
        }
        let mut asked: Option<Instant> = None;
        wait("a new primary", || {
            if asked.is_none_or(|at| at.elapsed() > ATTEMPT) {
                asked = Some(Instant::now());
                ask_server(self.address(new), line)?;
            }
            self.is_primary(new)
        })?;
        self.primary[shard] = new;
        Ok(())
    }

    /// Moves a slot with every key, as `redis-cli --cluster reshard` does.
    fn move_slot(&mut self, slot: u16, to: usize, board: &Board) -> Result<()> {
        let from = self.primary[self.shard(slot)];
        let shard = to;
        let to = self.primary[to];
        let (source, target) = (self.address(from), self.address(to));
        command(target, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.nodes[from].id))?;
        command(source, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.nodes[to].id))?;
        loop {
            let keys = ask_server(source, &format!("CLUSTER GETKEYSINSLOT {slot} 2"))?;
            let [_, ..] = keys.items() else { break };
            let names: Vec<String> = keys.items().iter().map(Value::text).collect();
            let (ip, port) = (target.ip(), target.port());
            let line = format!("MIGRATE {ip} {port}  0 5000 KEYS {}", names.join(" "));
            let answer = ask_server(source, &line)?.text();
            ensure!(answer == "OK" || answer == "NOKEY", "{line}: {answer}");
            board.sleep(1);
        }
        command(target, &format!("CLUSTER SETSLOT {slot} NODE {}", self.nodes[to].id))?;
        command(source, &format!("CLUSTER SETSLOT {slot} NODE {}", self.nodes[to].id))?;
        self.moved.insert(slot, shard);
        Ok(())
    }

    /// Waits until every node has every slot that clients use where it is: a replica that takes over
    /// before it has heard of a slot would not have it.
    fn agree(&self) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|node| wait("nodes that agree", || self.knows(node)))
    }

    fn knows(&self, node: usize) -> Result<bool> {
        let table = ask_server(self.address(node), "CLUSTER SLOTS")?;
        let owner = |slot: u16| {
            table.items().iter().find_map(|row| match row.items() {
                [Value::Integer(first), Value::Integer(last), primary, ..]
                    if (*first..=*last).contains(&i64::from(slot)) =>
                {
                    primary.items().get(1).map(Value::text)
                }
                _ => None,
            })
        };
        let right = |slot: &u16| {
            owner(*slot) == Some(self.address(self.primary[self.shard(*slot)]).port().to_string())
        };
        Ok(self.used.iter().all(right))
    }

    /// What each node knows of the others, for whoever has to find out why they do not come together.
    fn views(&self) -> String {
        let view = |node: usize| {
            let ask = |line| {
                ask_server(self.address(node), line)
                    .map_or_else(|error| error.to_string(), |reply| reply.text())
            };
            format!("{}\n{}{}", self.address(node), ask("CLUSTER NODES"), ask("INFO replication"))
        };
        let views: Vec<String> = (0..self.nodes.len()).map(view).collect();
        format!(
            "the cluster has gone wrong; shards should have the primaries {:?}\n{}",
            self.primary,
            views.join("\n")
        )
    }

    fn shard(&self, slot: u16) -> usize {
        let first = || LAST.iter().position(|last| slot <= *last).unwrap_or(0);
        self.moved.get(&slot).copied().unwrap_or_else(first)
    }

    fn replica(&self, shard: usize) -> usize {
        if self.primary[shard] == shard { shard + SHARDS } else { shard }
    }

    fn address(&self, node: usize) -> SocketAddrV4 {
        self.nodes[node].redis.address
    }

    /// Waits until a shard's replica follows its primary, which knows it.
    fn wait_for_replica(&self, shard: usize) -> Result<()> {
        let (primary, replica) = (self.primary[shard], self.replica(shard));
        wait("a replica that is up to date", || {
            let line = format!("CLUSTER REPLICAS {}", self.nodes[primary].id);
            let known = ask_server(self.address(primary), &line)?;
            Ok(known.items().iter().any(|line| line.text().starts_with(&self.nodes[replica].id))
                && self.info(replica, "INFO replication", "role")? == "slave"
                && self.info(replica, "INFO replication", "master_link_status")? == "up"
                && self.info(replica, "INFO replication", "master_port")?
                    == self.address(primary).port().to_string())
        })
    }

    fn is_primary(&self, node: usize) -> Result<bool> {
        Ok(self.info(node, "INFO replication", "role")? == "master")
    }

    /// A field of what a node says of itself; empty when it says nothing of it.
    fn info(&self, node: usize, line: &str, field: &str) -> Result<String> {
        let text = ask_server(self.address(node), line)?.text();
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.unwrap_or_default().trim().to_string())
    }
}

fn command(address: SocketAddrV4, line: &str) -> Result<()> {
    match ask_server(address, line)? {
        Value::Simple(text) if text == "OK" => Ok(()),
        other => bail!("{address}: {line}: {other:?}"),
    }
}

/// Asks until the answer is yes.
fn wait(what: &str, mut until: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !until()? {
        ensure!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
