//! The slow log: what a pool's servers took long to answer, as Redis's `SLOWLOG GET` shows it.
//!
//! ```text
//!  request ─▶ kept beside in_flight ─▶ reply after `slowlog_log_slower_than` or more ─▶ entry
//! ```
//!
//! The time is from when the request came to when the reply did, so it has the way to the server and
//! back and the wait behind others in it. A split request has an entry for each slow part. Blocking
//! commands have none, as in Redis. A pool without a slow log keeps nothing.

use std::collections::VecDeque;
use std::fmt;

use tombolo_resp::{Request, RequestParser, Step, command};

use super::server::{InFlight, KEEP_BUFFER};
use super::{ClientId, Core, Micros};
use crate::config::{self, Protocol};

/// Arguments of a request that are shown, its name included: Redis's `SLOWLOG_ENTRY_MAX_ARGC`.
const MAX_ARGUMENTS: usize = 32;
/// Bytes of an argument that are shown: Redis's `SLOWLOG_ENTRY_MAX_STRING`.
const MAX_BYTES: usize = 128;

/// A request that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowRequest {
    /// Its number among those of its pool and thread, from 0.
    pub id: u64,
    /// When the reply came, in microseconds since 1970.
    pub time: Micros,
    /// How long it took, in microseconds.
    pub duration: Micros,
    /// The client's address; empty when it is not known.
    pub client: String,
    /// The server's name.
    pub server: String,
    /// The command's name and its arguments, cut as Redis cuts them. Of commands that may have a
    /// password among their arguments, `(redacted)` is all there is.
    pub arguments: Vec<Vec<u8>>,
}

impl fmt::Display for SlowRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SlowRequest { duration, client, server, .. } = self;
        write!(f, "{duration} us for client '{client}' at server '{server}':")?;
        self.arguments.iter().try_for_each(|argument| write!(f, " \"{}\"", argument.escape_ascii()))
    }
}

/// The latest slow requests of a pool.
#[derive(Debug)]
pub(super) struct SlowLog {
    config: config::SlowLog,
    threshold: Micros,
    next: u64,
    entries: VecDeque<SlowRequest>,
    /// Those below were told.
    told: u64,
}

impl SlowLog {
    pub(super) fn new(config: config::SlowLog) -> SlowLog {
        let threshold = super::micros(config.slower_than);
        SlowLog { config, threshold, next: 0, entries: VecDeque::new(), told: 0 }
    }

    fn push(&mut self, entry: SlowRequest) {
        self.next += 1;
        self.entries.push_front(entry);
        self.entries.truncate(self.config.max_len);
    }
}

/// A request on a connection of a client's own, until its reply comes.
#[derive(Debug)]
pub(super) struct Timed {
    since: Micros,
    arguments: Vec<Vec<u8>>,
}

impl Core {
    /// The slow requests of a pool, the latest first; empty when it has no slow log.
    pub fn slow_log(&self, pool: usize) -> impl Iterator<Item = &SlowRequest> {
        self.pools[pool].slow.iter().flat_map(|slow| &slow.entries)
    }

    /// Whether a pool shows the addresses of its clients: see [`name_client`](Self::name_client).
    pub fn shows_clients(&self, pool: usize) -> bool {
        self.pools[pool].slow.is_some()
    }

    /// Says what the address of a client is.
    pub fn name_client(&mut self, id: ClientId, address: String) {
        if let Some(client) = self.clients.get_mut(id) {
            client.address = Some(address.into());
        }
    }

    /// The slow requests that were not told yet, with their pools, the oldest of a pool first.
    pub fn slow_news(&mut self) -> Vec<(&config::Pool, &SlowRequest)> {
        if !std::mem::take(&mut self.has_slow_news) {
            return Vec::new();
        }
        let mut news = Vec::new();
        for pool in &mut self.pools {
            let Some(slow) = &mut pool.slow else { continue };
            let told = std::mem::replace(&mut slow.told, slow.next);
            let fresh = slow.entries.iter().rev().filter(|entry| entry.id >= told);
            news.extend(fresh.map(|entry| (&*pool.config, entry)));
        }
        news
    }

    /// The oldest request on a connection that keeps requests was answered.
    pub(super) fn note_answered(&mut self, index: usize, request: &InFlight) {
        let connection = &mut self.connections[index];
        let place = (connection.pool, connection.server);
        let mut kept = std::mem::take(&mut connection.kept);
        let length = request.bytes as usize;
        self.note_slow(place, request, kept.as_slice().get(..length).unwrap_or_default());
        kept.advance(length, KEEP_BUFFER);
        self.connections[index].kept = kept;
    }

    /// A request was answered by a server of a pool, or never will be. `wire` is the request.
    pub(super) fn note_slow(&mut self, (pool, server): (usize, usize), request: &InFlight, wire: &[u8]) {
        let Some(slow) = &self.pools[pool].slow else { return };
        if self.clock.saturating_sub(request.since) >= slow.threshold && request.client != ClientId::NOBODY {
            let arguments = shown(self.pools[pool].config.protocol, wire);
            let timed = Timed { since: request.since, arguments };
            self.note_timed((pool, server), request.client, timed);
        }
    }

    /// What is to be kept of a request on a connection of the client's own.
    pub(super) fn timed(&self, pool: usize, wire: &[u8], now: Micros) -> Option<Box<Timed>> {
        self.pools[pool].slow.as_ref()?;
        Some(Box::new(Timed { since: now, arguments: shown(Protocol::Redis, wire) }))
    }

    /// As [`note_slow`](Self::note_slow), for a request on a connection of the client's own.
    pub(super) fn note_timed(&mut self, (pool, server): (usize, usize), client: ClientId, timed: Timed) {
        let state = &mut self.pools[pool];
        let duration = self.clock.saturating_sub(timed.since);
        let Some(slow) = state.slow.as_mut().filter(|slow| slow.threshold <= duration) else { return };
        let address = self.clients.get(client).and_then(|client| client.address.as_deref());
        slow.push(SlowRequest {
            id: slow.next,
            time: self.epoch.saturating_add(self.clock),
            duration,
            client: address.unwrap_or_default().to_string(),
            server: state.servers[server].server.name.clone(),
            arguments: timed.arguments,
        });
        self.has_slow_news = true;
    }
}

/// The name and the arguments of a request, as they are shown.
fn shown(protocol: Protocol, wire: &[u8]) -> Vec<Vec<u8>> {
    if protocol == Protocol::Memcache {
        let line = wire.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        return cut(words.len(), words.into_iter());
    }
    let mut parser = RequestParser::default();
    let Ok(Step::Complete(_)) = parser.advance(wire) else { return Vec::new() };
    let request = parser.request(wire);
    if request.len() > 1 && may_have_a_password(&request) {
        return vec![cut_argument(request.name()), b"(redacted)".to_vec()];
    }
    cut(request.len(), request.args())
}

/// Redis replaces some arguments of these. What is no command may be one of them with a slip in it.
/// MODULE LOADEX has a module's settings, and `COMMAND GETKEYS` a whole command.
fn may_have_a_password(request: &Request<'_>) -> bool {
    let name = request.name();
    let secret = ["acl", "auth", "config", "hello", "migrate", "module"];
    let quotes = |sub: &[u8]| sub.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"getkeys"));
    let quotes = name.eq_ignore_ascii_case(b"command") && request.arg(1).is_some_and(quotes);
    secret.iter().any(|secret| name.eq_ignore_ascii_case(secret.as_bytes()))
        || quotes
        || command::lookup(name, None).is_none() && !is_container(name)
}

/// Commands that are only found together with a subcommand, and that never have a password.
fn is_container(name: &[u8]) -> bool {
    let known = ["client", "cluster", "function", "latency", "memory", "object", "pubsub", "script"];
    ["slowlog", "xgroup", "xinfo"]
        .iter()
        .chain(&known)
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn cut<'a>(count: usize, arguments: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let most = if count > MAX_ARGUMENTS { MAX_ARGUMENTS - 1 } else { count };
    let mut shown: Vec<Vec<u8>> = arguments.take(most).map(cut_argument).collect();
    if count > most {
        shown.push(format!("... ({} more arguments)", count - most).into_bytes());
    }
    shown
}

fn cut_argument(argument: &[u8]) -> Vec<u8> {
    let Some((start, rest)) = argument.split_at_checked(MAX_BYTES).filter(|(_, rest)| !rest.is_empty())
    else {
        return argument.to_vec();
    };
    [start, format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::{Action, ConnectionId, ServerError};

    fn core(options: &str) -> Core {
        let text = format!(
            "p:\n  listen: a:1\n{options}  slowlog_log_slower_than: 100\n  slowlog_max_len: 3\n  servers:\n   - a:1:1\n"
        );
        let mut core = Core::new(&Config::parse("f", &text).expect("a good file").pools, 1);
        core.set_epoch(1_000_000);
        core
    }

    fn request(line: &str) -> Vec<u8> {
        let mut out = Vec::new();
        tombolo_resp::encode::request(&mut out, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        out
    }

    /// Connects and writes; returns the connection that was written to last.
    fn act(core: &mut Core, now: Micros) -> Option<ConnectionId> {
        let mut last = None;
        while let Some(action) = core.poll_action() {
            match action {
                Action::Connect(id) => core.server_connected(id, now),
                Action::WriteServer(id) => {
                    core.server_wrote(id, core.server_output(id).len());
                    last = Some(id);
                }
                _ => {}
            }
        }
        last
    }

    fn lines(core: &Core) -> Vec<String> {
        core.slow_log(0).map(ToString::to_string).collect()
    }

    #[test]
    fn requests_that_take_long_are_kept_with_what_they_were() {
        let mut core = core("  redis: true\n");
        let id = core.client_connected(0);
        core.name_client(id, "10.0.0.1:5".to_string());
        core.client_data(id, &[request("GET quick"), request("SET slow v\n")].concat(), 0);
        let server = act(&mut core, 0).expect("a connection");
        core.server_data(server, b"$-1\r\n", 99).expect("a reply");
        core.client_data(id, &request("GET third"), 99);
        assert_eq!(act(&mut core, 99), Some(server));
        core.server_data(server, b"+OK\r\n$-1\r\n", 100).expect("replies");
        let expected = "100 us for client '10.0.0.1:5' at server 'a:1': \"SET\" \"slow\" \"v\\n\"";
        assert_eq!(lines(&core), [expected]);
        let entry = core.slow_log(0).next().expect("an entry");
        assert_eq!((entry.id, entry.time), (0, 1_000_100));
        let told: Vec<String> =
            core.slow_news().iter().map(|(pool, slow)| format!("{} {}", pool.name, slow.id)).collect();
        assert_eq!(told, ["p 0"]);
        assert!(core.slow_news().is_empty());

        // What never got a reply took long as well; the oldest entries go.
        core.client_data(id, &["a", "b", "c"].map(|key| request(&format!("GET {key}"))).concat(), 1000);
        act(&mut core, 1000);
        core.server_failed(server, &ServerError::Closed, 1200);
        let keys = |core: &Core| core.slow_log(0).map(|slow| slow.arguments[1][0]).collect::<Vec<u8>>();
        assert_eq!((keys(&core), core.slow_news().len()), (b"cba".to_vec(), 3));
    }

    #[test]
    fn connections_of_clients_own_and_memcached_servers_are_no_exceptions() {
        let mut redis = core("  redis: true\n");
        let id = redis.client_connected(0);
        redis.client_data(id, &["MULTI", "EXEC", "BLPOP k 0"].map(request).concat(), 0);
        let server = act(&mut redis, 0).expect("a connection");
        redis.server_data(server, b"+OK\r\n", 10).expect("a reply");
        redis.server_data(server, b"*0\r\n", 150).expect("a reply");
        act(&mut redis, 150);
        redis.server_data(server, b"*-1\r\n", 5000).expect("a reply");
        assert_eq!(lines(&redis), ["150 us for client '' at server 'a:1': \"EXEC\""]);

        let mut memcached = core("");
        let id = memcached.client_connected(0);
        memcached.client_data(id, b"set k 0 0 3\r\nabc\r\nget k\r\n", 0);
        let server = act(&mut memcached, 0).expect("a connection");
        memcached.server_data(server, b"STORED\r\nEND\r\n", 200).expect("replies");
        assert_eq!(
            lines(&memcached),
            [
                "200 us for client '' at server 'a:1': \"get\" \"k\"",
                "200 us for client '' at server 'a:1': \"set\" \"k\" \"0\" \"0\" \"3\"",
            ]
        );
    }

    #[test]
    fn passwords_are_left_out_and_long_requests_cut() {
        let text = |line: &str| {
            let words = shown(Protocol::Redis, &request(line));
            words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
        };
        for line in [
            "AUTH hunter2",
            "auth user hunter2",
            "HELLO 3 AUTH default hunter2",
            "ACL SETUSER x >hunter2",
            "CONFIG SET requirepass hunter2",
            "MIGRATE h 1 k 0 1 AUTH hunter2",
            "ATUH hunter2",
            "ACL|SETUSER x >hunter2",
            "MODULE LOADEX m CONFIG password hunter2",
            "COMMAND GETKEYS MIGRATE h 1 k 0 1 AUTH hunter2",
            "COMMAND GetKeysAndFlags MIGRATE h 1 k 0 1 AUTH hunter2",
        ] {
            let name = line.split(' ').next().unwrap_or_default();
            assert_eq!(text(line), format!("{name} (redacted)"), "{line}");
        }
        for line in [
            "GET k",
            "PING",
            "CLIENT SETNAME x",
            "COMMAND DOCS get set",
            "OBJECT ENCODING k",
            "XGROUP CREATE k g $",
            "SCRIPT LOAD s",
        ] {
            assert_eq!(text(line), line);
        }
        assert_eq!(text(&format!("GET {}", "k".repeat(128))), format!("GET {}", "k".repeat(128)));
        assert_eq!(
            text(&format!("GET {}", "k".repeat(130))),
            format!("GET {}... (2 more bytes)", "k".repeat(128))
        );
        let keys = |count: usize| format!("MGET{}", " k".repeat(count));
        assert_eq!(text(&keys(31)), keys(31));
        assert_eq!(text(&keys(40)), format!("{} ... (10 more arguments)", keys(30)));
    }
}
