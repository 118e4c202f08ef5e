//! What a run is played on: servers, relays, the proxy, and what is found out about it.
//!
//! ```text
//!  pool one  ─▶ relay ─▶ server 0           pool many ─▶ servers 0, 1, …
//!                                                     └▶ relay ─▶ the last server
//! ```
//!
//! Over a Redis Cluster both pools are in front of all of it, and for the board it is one server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tombolo_resp::Value;

use crate::board::Board;
use crate::cluster::Cluster;
use crate::connection::{Connection, Door};
use crate::keys::Tag;
use crate::layout::{Layout, Version};
use crate::mutant::{self, Sabotage};
use crate::options::Options;
use crate::process::{Ports, Proxy, Redis, ask, ask_server, words};
use crate::relay::Relay;
use crate::reload::Reloader;
use crate::script::Abilities;
use crate::secure::Secure;
use crate::torment::Victim;

/// Hash tags over which keys are spread.
const TAGS: usize = 24;
/// More are not tried to find one for each server.
const MAX_TAGS: u64 = 1000;
/// Longer than a proxy needs that reloads at all, in milliseconds.
const RELOAD_MS: u64 = 2_000;

/// A pool of the proxy.
#[derive(Debug)]
pub struct Pool {
    /// Where the proxy listens.
    pub door: Door,
    /// Tags, and where their keys are.
    pub tags: Vec<Tag>,
    /// The server that publications go to.
    pub messages_at: usize,
    /// The keys of one server need not stay together, and messages go from node to node.
    pub spread: bool,
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stage {
    /// The proxy; none when a wrong one takes its place.
    pub proxy: Option<Proxy>,
    /// The servers.
    pub victims: Vec<Victim>,
    /// Or the cluster.
    pub cluster: Option<Cluster>,
    /// Who rewrites the configuration.
    pub reloader: Option<Reloader>,
    /// The pool with one server, and the one with all.
    pub pools: [Pool; 2],
    /// What the proxy can do.
    pub abilities: Abilities,
    /// Certificates.
    pub secure: Option<Secure>,
}

/// Servers, and where the proxy finds them.
#[derive(Default)]
struct Servers {
    victims: Vec<Victim>,
    cluster: Option<Cluster>,
    /// For direct questions.
    direct: Vec<SocketAddrV4>,
    /// Of each pool.
    pools: [Vec<SocketAddrV4>; 2],
}

impl Servers {
    fn alone(
        options: &Options,
        ports: &mut Ports,
        secure: Option<&Secure>,
        board: &Arc<Board>,
    ) -> Result<Servers> {
        let (mut victims, mut direct, mut spoken) = (Vec::new(), Vec::new(), Vec::new());
        for server in 0..board.servers() {
            let (address, tls) = (ports.take(), ports.take());
            let more = secure.map(|secure| secure.redis(tls.port())).unwrap_or_default();
            let redis = Redis::start(address, more)?;
            victims.push(Victim { server, redis, relay: None, verbose: options.verbose });
            direct.push(address);
            spoken.push(if secure.is_some() { tls } else { address });
        }
        let (mut one, mut many) = (spoken[0], spoken.clone());
        for server in [0, spoken.len() - 1] {
            let address = ports.take();
            let relay = Relay::start(address, server, spoken[server], Arc::clone(board))?;
            victims[server].relay = Some(relay);
            *(if server == 0 { &mut one } else { &mut many[server] }) = address;
        }
        Ok(Servers { victims, cluster: None, direct, pools: [vec![one], many] })
    }

    fn cluster(options: &Options, ports: &mut Ports) -> Result<Servers> {
        let cluster = Cluster::start(ports, options.verbose)?;
        let direct = cluster.addresses();
        // A primary and a replica know as much.
        let pools = [vec![direct[0], direct[4]], vec![direct[5], direct[1], direct[2]]];
        Ok(Servers { cluster: Some(cluster), direct, pools, ..Servers::default() })
    }
}

impl Stage {
    /// Starts everything. The calling thread must live as long as the stage.
    pub fn build(options: &Options, program: &Path, board: &Arc<Board>) -> Result<Stage> {
        let mut ports = Ports::default();
        let secure = options.tls.then(|| Secure::new(ports.address())).transpose()?;
        let mut servers = match options.cluster {
            true => Servers::cluster(options, &mut ports)?,
            false => Servers::alone(options, &mut ports, secure.as_ref(), board)?,
        };
        let layout = Layout {
            listen: [ports.take(), ports.take()],
            servers: servers.pools.clone(),
            lines: secure.as_ref().map(Secure::pool).unwrap_or_default(),
            extra: ports.take(),
            // The extra pool is to answer whatever else happens.
            home: servers.direct[0],
            cluster: options.cluster,
        };
        let proxy = match options.mutant {
            Some(sabotage) if sabotage.replaces() => {
                let target = servers.direct[0];
                layout.listen.iter().try_for_each(|address| mutant::start(*address, target, sabotage))?;
                None
            }
            _ => {
                let more = match options.threads {
                    0 | 1 => Vec::new(),
                    threads => vec!["--threads".to_string(), threads.to_string()],
                };
                let text = layout.text(Version::default());
                Some(Proxy::start(program, &more, &text, layout.listen[1], ports.take())?)
            }
        };
        let client = secure.as_ref().map(|secure| Arc::clone(&secure.client));
        let door = |index: usize| Door { address: layout.listen[index], tls: client.clone() };
        let pools = match &mut servers.cluster {
            Some(cluster) => {
                let tags = cluster.tags(TAGS as u64);
                [0, 1].map(|index| Pool {
                    door: door(index),
                    tags: tags.clone(),
                    messages_at: 0,
                    spread: true,
                })
            }
            None => {
                [learn(door(0), &servers.direct, 1)?, learn(door(1), &servers.direct, servers.direct.len())?]
            }
        };
        let file = proxy.as_ref().map(Proxy::file);
        let mut abilities = probe(&pools)?;
        let tells = options.mutant != Some(Sabotage::Deaf);
        let reloader =
            file.map(|file| Reloader { layout, file, tells, checks: true, verbose: options.verbose });
        if let (Some(reloader), Some(proxy)) = (&reloader, &proxy) {
            abilities.reload = reloader.works(proxy, Duration::from_millis(RELOAD_MS))?;
        }
        let reloader = reloader.map(|reloader| Reloader { checks: abilities.reload, ..reloader });
        let Servers { victims, cluster, .. } = servers;
        Ok(Stage { proxy, victims, cluster, reloader, pools, abilities, secure })
    }
}

/// Finds out where the keys of a pool are, by looking; every one of the first
/// `used` servers has some.
fn learn(door: Door, servers: &[SocketAddrV4], used: usize) -> Result<Pool> {
    let messages_at = channel(&door, servers).unwrap_or(0);
    let mut tags: Vec<Tag> = Vec::new();
    let mut lacking: BTreeSet<usize> = (0..used).collect();
    for index in 1..=MAX_TAGS {
        // Alike tags would be on one server.
        let text = format!("{{{:x}}}", index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let server = locate(&door, servers, &format!("{text}:where"))?;
        lacking.remove(&server);
        tags.push(Tag { text, server });
        if tags.len() >= TAGS && lacking.is_empty() {
            return Ok(Pool { door, tags, messages_at, spread: false });
        }
    }
    bail!("of {MAX_TAGS} tags none is on servers {lacking:?}")
}

/// The server that a subscription goes to.
fn channel(door: &Door, servers: &[SocketAddrV4]) -> Result<usize> {
    let mut connection = Connection::open(door)?;
    connection.send(&words(&["SUBSCRIBE", "where"]))?;
    if let Value::Error(error) = connection.reply()? {
        bail!("{error}");
    }
    for (index, direct) in servers.iter().enumerate() {
        if !ask_server(*direct, "PUBSUB CHANNELS where")?.items().is_empty() {
            return Ok(index);
        }
    }
    bail!("a subscription is on no server")
}

fn locate(door: &Door, servers: &[SocketAddrV4], key: &str) -> Result<usize> {
    let written = ask(door, &["SET", key, "here"])?;
    for (index, direct) in servers.iter().enumerate() {
        if ask_server(*direct, &format!("DEL {key}"))? == Value::Integer(1) {
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
        several &= !matches!(ask(&many.door, &words)?, Value::Error(_));
    }
    let pools = [one, many];
    let can = |words: &[&str], expected: Value| {
        pools.map(|pool| ask(&pool.door, words).ok() == Some(expected.clone()))
    };
    let transactions = can(&["MULTI"], Value::Simple("OK".to_string()));
    let blocking = can(&["BLPOP", "nothing", "0.01"], Value::Null);
    let messages =
        pools.map(|pool| ask(&pool.door, &["SUBSCRIBE", "c"]).is_ok_and(|reply| reply.items().len() == 3));
    Ok(Abilities { several, transactions, blocking, messages, reload: false })
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
            ("subscriptions with one server", self.messages[0]),
            ("subscriptions with several servers", self.messages[1]),
            ("reload of the configuration", self.reload),
        ]
        .into()
    }
}

/// Whether every pool, and every server of each, takes and gives a value.
pub fn answers(pools: &[Pool]) -> Result<()> {
    for pool in pools {
        for tag in &pool.tags {
            let key = format!("{}:end", tag.text);
            let written = ask(&pool.door, &["SET", &key, &key])?;
            let read = ask(&pool.door, &["GET", &key])?;
            if read != Value::Bulk(key.clone().into_bytes()) {
                bail!("{key} was answered by {written:?}, then by {read:?}");
            }
        }
    }
    Ok(())
}
