//! What a run is played on: servers, relays, the proxy, and what is found out about it.
//!
//! ```text
//!  pool one  ─▶ relay ─▶ server 0           pool many ─▶ servers 0, 1, …
//!                                                     └▶ relay ─▶ the last server
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use tombolo_resp::Value;

use crate::board::Board;
use crate::keys::Tag;
use crate::mutant;
use crate::options::Options;
use crate::process::{Ports, Proxy, Redis, ask};
use crate::relay::Relay;
use crate::script::{Abilities, Kind};
use crate::torment::Victim;

/// Hash tags over which keys are spread.
const TAGS: usize = 24;
/// More are not tried to find one for each server.
const MAX_TAGS: u64 = 1000;

/// A pool of the proxy.
#[derive(Debug)]
pub struct Pool {
    /// Where the proxy listens.
    pub address: SocketAddrV4,
    /// Tags, and where their keys are.
    pub tags: Vec<Tag>,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    /// The proxy; none when a wrong one takes its place.
    pub proxy: Option<Proxy>,
    /// The servers.
    pub victims: Vec<Victim>,
    /// The pool with one server, and the one with all.
    pub pools: [Pool; 2],
    /// What the proxy can do.
    pub abilities: Abilities,
}

impl Stage {
    /// Starts everything. The calling thread must live as long as the stage.
    pub fn build(options: &Options, program: &Path, board: &Arc<Board>) -> Result<Stage> {
        let mut ports = Ports::default();
        let mut victims = Vec::new();
        for server in 0..board.servers() {
            let redis = Redis::start(ports.take())?;
            victims.push(Victim { server, redis, relay: None, verbose: options.verbose });
        }
        let direct: Vec<SocketAddrV4> = victims.iter().map(|victim| victim.redis.address).collect();
        let (mut one, mut many) = (direct[0], direct.clone());
        for server in [0, direct.len() - 1] {
            let address = ports.take();
            let relay = Relay::start(address, server, direct[server], Arc::clone(board))?;
            victims[server].relay = Some(relay);
            *(if server == 0 { &mut one } else { &mut many[server] }) = address;
        }
        let listen = [ports.take(), ports.take()];
        let proxy = match options.mutant {
            Some(sabotage) => {
                listen.iter().try_for_each(|address| mutant::start(*address, direct[0], sabotage))?;
                None
            }
            None => Some(Proxy::start(program, &config(listen, one, &many), listen[1], ports.take())?),
        };
        let pools = [learn(listen[0], &direct, 1)?, learn(listen[1], &direct, direct.len())?];
        let abilities = probe(&pools)?;
        Ok(Stage { proxy, victims, pools, abilities })
    }
}

fn config(listen: [SocketAddrV4; 2], one: SocketAddrV4, many: &[SocketAddrV4]) -> String {
    let mut text = String::new();
    for (name, listen, servers) in [("one", listen[0], &[one][..]), ("many", listen[1], many)] {
        text += &format!("{name}:\n  listen: {listen}\n  redis: true\n  timeout: 400\n");
        text += "  distribution: ketama\n  hash: fnv1a_64\n  hash_tag: \"{}\"\n  servers:\n";
        servers.iter().for_each(|server| text += &format!("   - {server}:1\n"));
    }
    text
}

/// Finds out where the keys of a pool are, by looking; every one of the first
/// `used` servers has some.
fn learn(address: SocketAddrV4, servers: &[SocketAddrV4], used: usize) -> Result<Pool> {
    let mut tags: Vec<Tag> = Vec::new();
    let mut lacking: BTreeSet<usize> = (0..used).collect();
    for index in 1..=MAX_TAGS {
        // Alike tags would be on one server.
        let text = format!("{{{:x}}}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let server = locate(address, servers, &format!("{text}:where"))?;
        lacking.remove(&server);
        tags.push(Tag { text, server });
        if tags.len() >= TAGS && lacking.is_empty() {
            return Ok(Pool { address, tags });
        }
    }
    bail!("of {MAX_TAGS} tags none is on servers {lacking:?}")
}

fn locate(address: SocketAddrV4, servers: &[SocketAddrV4], key: &str) -> Result<usize> {
    let written = ask(address, &["SET", key, "here"])?;
    for (index, direct) in servers.iter().enumerate() {
        if ask(*direct, &["DEL", key])? == Value::Integer(1) {
            return Ok(index);
        }
    }
    bail!("{key} is on no server; SET was answered by {written:?}")
}

/// Finds out what a proxy can do, by asking.
fn probe([one, many]: &[Pool; 2]) -> Result<Abilities> {
    let first = &many.tags[0];
    let other = many.tags.iter().find(|tag| tag.server != first.server).unwrap_or(first);
    let mut several = true;
    for words in [["MGET", "a", "b"].as_slice(), &["MSET", "a", "1", "b", "2"], &["DEL", "a", "b"]] {
        let place = |word: &&str| match *word {
            "a" => format!("{}:a", first.text),
            "b" => format!("{}:b", other.text),
            word => word.to_string(),
        };
        let words: Vec<String> = words.iter().map(place).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        several &= !matches!(ask(many.address, &words)?, Value::Error(_));
    }
    let pools = [one, many];
    let can = |words: &[&str], expected: Value| {
        pools.map(|pool| ask(pool.address, words).ok() == Some(expected.clone()))
    };
    let transactions = can(&["MULTI"], Value::Simple("OK".to_string()));
    let blocking = can(&["BLPOP", "nothing", "0.01"], Value::Null);
    Ok(Abilities { several, transactions, blocking })
}

impl Abilities {
    /// By name.
    pub fn names(self) -> BTreeMap<&'static str, bool> {
        [
            ("keys on several servers in one command", self.several),
            ("transactions with one server", self.transactions[0]),
            ("transactions with several servers", self.transactions[1]),
            ("blocking commands with one server", self.blocking[0]),
            ("blocking commands with several servers", self.blocking[1]),
        ]
        .into()
    }

    /// What a client does, and in which pool.
    pub fn part(self, client: u32) -> (Kind, usize) {
        let (kind, able) = match client % 8 {
            6 => (Kind::Transactions, self.transactions),
            7 => (Kind::Blocking, self.blocking),
            _ => (Kind::Plain, [true; 2]),
        };
        let pool = match kind {
            Kind::Plain => client as usize % 2,
            _ => client as usize / 8 % 2,
        };
        match able {
            able if able[pool] => (kind, pool),
            [true, _] => (kind, 0),
            _ => (Kind::Plain, pool),
        }
    }
}

/// Whether every pool, and every server of each, takes and gives a value.
pub fn answers(pools: &[Pool]) -> Result<()> {
    for pool in pools {
        for tag in &pool.tags {
            let key = format!("{}:end", tag.text);
            let written = ask(pool.address, &["SET", &key, &key])?;
            let read = ask(pool.address, &["GET", &key])?;
            if read != Value::Bulk(key.clone().into_bytes()) {
                bail!("{key} was answered by {written:?}, then by {read:?}");
            }
        }
    }
    Ok(())
}
