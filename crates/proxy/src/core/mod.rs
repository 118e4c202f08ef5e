//! The proxy as a state machine: clients, the connections to servers that they share or have to
//! themselves, and the requests between them. No I/O and no clock: bytes, events and the time come in, bytes to write
//! and `Action`s go out.
//!
//! ```text
//!  client_data ─▶ plain_run ────────▶ connection.out ─▶ Action::WriteServer
//!            └──▶ parse ─▶ route ─────┘
//!                              ├──▶ (answered here) ─▶ Action::WriteClient
//!                              └──▶ session, on a connection of the client's own
//!  server_data ─▶ frames ─▶ in_flight ─▶ client.complete ─▶ Action::WriteClient
//! ```
//!
//! Requests in a row that need nothing but to be sent on are handled as one, and so are their
//! replies: a run costs about what a single request does. Replies that complete what a client has
//! asked for are offered to it from where they were read to (`Outlet`), without a copy. What a
//! server near by has not asked for yet is kept back, so that its batches are large (`batches`).
//!
//! What never happens: a reply for another client or out of order (a connection's `in_flight` is
//! in the order of its bytes, a client's `order` that of its requests); a request written
//! twice; a client waiting for a connection that failed; unbounded memory (see [`limits`]).

mod auth;
mod batches;
mod buffer;
mod client;
mod cluster;
mod crowd;
mod effect;
mod eject;
mod hot;
mod idle;
mod input;
mod join;
mod latency;
pub mod limits;
mod measure;
mod memcache;
mod news;
mod order;
mod output;
mod own;
mod reload;
mod route;
mod run;
mod server;
mod session;
mod several;
mod slab;
mod slow;
mod stats;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use buffer::ByteQueue;
use client::Client;
use cluster::Cluster;
use crowd::Crowd;
use eject::Eject;
use hot::Sampling;
pub use hot::{SAMPLE, Seen, Sketch};
use idle::Idle;
pub use latency::{BUCKETS, Latency};
use limits::Bounds;
use measure::Trouble;
pub use measure::{Failures, PoolMeasures, ServerMeasures};
pub use news::ServerNews;
pub use output::Outlet;
use own::{Spare, Timers};
pub use server::ServerError;
use server::{Connection, State};
pub use slab::Id as ClientId;
use slab::Slab;
use slow::SlowLog;
pub use slow::SlowRequest;
pub use stats::{PoolSnapshot, PoolStats, ServerSnapshot, ServerStats, Snapshot};
use tombolo_resp::RequestParser;

use crate::config::{DEFAULT_CONNECT_TIMEOUT, Pool, Protocol, ReadFrom, Server};
use crate::placement::Placement;

/// Microseconds on a clock that only goes forward; its zero is the caller's.
pub type Micros = u64;

/// A connection to a server: an index that always stands for a connection to the same server, but
/// for a cluster's nodes: when one has left, another may have the index, after `CloseServer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub usize);

/// What the core wants done; see [`Core::poll_action`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Connect; answer with `server_connected` or `server_failed`.
    Connect(ConnectionId),
    /// Close the connection, if it is open. Nothing more is expected of it.
    CloseServer(ConnectionId),
    /// Write `server_output`, and say how much with `server_wrote`.
    WriteServer(ConnectionId),
    /// Write `client_output`, and say how much with `client_wrote`.
    WriteClient(ClientId),
    /// Read from the client again; it was over a limit.
    ResumeClient(ClientId),
    /// Read from the connection again; its client did not take what it sent.
    ResumeServer(ConnectionId),
    /// Close the client. Its id is of no more use.
    CloseClient(ClientId),
}

/// A server of a pool. Its index in the pool stands for it for good, unless it is a cluster's node
/// that has gone.
#[derive(Debug)]
struct ServerState {
    server: Server,
    /// It has left its cluster, and nothing of it is under way: its place is free for another.
    gone: bool,
    /// The connections that clients share, by lane: as many as the pool says for clients that speak RESP2, and as many
    /// more for those that speak RESP3, of whom there may be none.
    lanes: Vec<usize>,
    /// The one that a cluster's node is asked on about the cluster.
    control: Option<usize>,
    /// Connections of clients' own that nobody has.
    spare: Spare,
    trouble: Trouble,
    /// It has no password, and was given twemproxy's.
    open: bool,
}

/// A pool: its configuration, and what becomes of it.
#[derive(Debug)]
struct PoolState {
    config: Arc<Pool>,
    placement: Placement,
    servers: Vec<ServerState>,
    next_lane: usize,
    /// `Micros::MAX` for none.
    timeout: Micros,
    connect_timeout: Micros,
    /// Connections of clients' own, used or not.
    own_connections: usize,
    /// What a new connection starts with, and how many replies that has.
    greeting: ByteQueue,
    greeting_replies: usize,
    /// What a shared connection starts with behind that, and how many replies that has: `READONLY`,
    /// when a cluster's replicas are read from.
    shared_greeting: &'static [u8],
    shared_greeting_replies: usize,
    clients: usize,
    /// `Micros::MAX` for none.
    client_timeout: Micros,
    bounds: Bounds,
    crowd: Crowd,
    /// Set when the pool has one.
    slow: Option<Box<SlowLog>>,
    eject: Eject,
    /// Set when the servers are nodes of a Redis Cluster.
    cluster: Option<Cluster>,
    stats: PoolStats,
    latency: Latency,
    /// It takes no new clients, and goes when the last one has gone.
    retired: bool,
    /// The pool that took its place.
    successor: Option<usize>,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    pools: Vec<PoolState>,
    connections: Vec<Connection>,
    /// Those that clients share.
    shared: Vec<usize>,
    timers: Timers,
    clients: Slab<Client>,
    idle: Idle,
    /// The time of the latest input.
    clock: Micros,
    /// A slow request was not told yet.
    has_slow_news: bool,
    /// Servers without a password that were not told yet, with their pools.
    open_news: Vec<(usize, usize)>,
    server_news: VecDeque<ServerNews>,
    actions: VecDeque<Action>,
    /// A parser between requests, for the next client that needs one.
    parser: Box<RequestParser>,
    /// Clients that were paused and are below their limits again.
    resumable: VecDeque<ClientId>,
    /// The state of the random distribution's generator.
    dice: u64,
    /// Clients that have ever connected.
    total_clients: u64,
    /// What the clock's zero is since 1970.
    epoch: Micros,
    /// Tells it from other cores of the process.
    number: u8,
    /// Set while somebody wants to know which keys are asked for most.
    sampling: Option<Box<Sampling>>,
    /// Pools that are retired and still have clients or connections.
    retiring: Vec<usize>,
    /// How many clients are to leave.
    leaving: usize,
}

impl Core {
    /// A core for `pools`, with no client and no connection. `seed` is for the random
    /// distribution.
    pub fn new(pools: &[Pool], seed: u64) -> Core {
        let mut core = Core {
            pools: Vec::new(),
            connections: Vec::new(),
            shared: Vec::new(),
            timers: Timers::new(),
            clients: Slab::default(),
            idle: Idle::default(),
            clock: 0,
            has_slow_news: false,
            open_news: Vec::new(),
            server_news: VecDeque::new(),
            actions: VecDeque::new(),
            parser: Box::default(),
            resumable: VecDeque::new(),
            dice: seed | 1,
            total_clients: 0,
            epoch: 0,
            number: 0,
            sampling: None,
            retiring: Vec::new(),
            leaving: 0,
        };
        for pool in pools {
            core.add_pool(Arc::new(pool.clone()));
        }
        core
    }

    /// Adds a pool; returns its index: the number of those that were there before, and for good.
    pub fn add_pool(&mut self, config: Arc<Pool>) -> usize {
        let index = self.pools.len();
        self.pools.push(PoolState::new(config.clone()));
        for server in &config.servers {
            self.add_server(index, server.clone());
        }
        index
    }

    /// Adds a server to a pool, with its shared connections; returns its index there.
    fn add_server(&mut self, pool: usize, server: Server) -> usize {
        let state = &mut self.pools[pool];
        let index = state.servers.len();
        let count = state.config.server_connections;
        let protocols = if state.config.protocol == Protocol::Redis { 2 } else { 1 };
        let lanes = (0..count * protocols).map(|lane| {
            let mut connection = Connection::new(pool, index, true, state.timeout);
            connection.resp3 = lane >= count;
            connection.memcache = (state.config.protocol == Protocol::Memcache).then(Default::default);
            connection.in_cluster = state.cluster.is_some();
            connection.keeps = connection.in_cluster || state.slow.is_some();
            self.connections.push(connection);
            self.connections.len() - 1
        });
        let lanes: Vec<usize> = lanes.collect();
        self.shared.extend(&lanes);
        let (spare, trouble) = Default::default();
        state.servers.push(ServerState {
            server,
            gone: false,
            lanes,
            control: None,
            spare,
            trouble,
            open: false,
        });
        index
    }

    /// The configuration of a pool.
    pub fn pool(&self, pool: usize) -> &Pool {
        &self.pools[pool].config
    }

    /// The configuration of the pool that a client is connected to.
    pub fn pool_of(&self, client: ClientId) -> Option<&Pool> {
        Some(self.pool(self.clients.get(client)?.pool))
    }

    /// The server that a connection is to.
    pub fn server(&self, id: ConnectionId) -> &Server {
        let connection = &self.connections[id.0];
        &self.pools[connection.pool].servers[connection.server].server
    }

    /// Says what the clock's zero is in microseconds since 1970; only statistics show it.
    pub fn set_epoch(&mut self, epoch: Micros) {
        self.epoch = epoch;
    }

    /// Says which of the process's cores this is: clients' ids show it.
    pub fn set_number(&mut self, number: u8) {
        self.number = number;
    }

    /// Connects every server of `pool` now instead of on the first request, as clients speak by default.
    pub fn preconnect(&mut self, pool: usize, now: Micros) {
        if self.pools[pool].cluster.is_some() {
            return self.begin_cluster(pool, now);
        }
        for place in 0..self.shared.len() {
            let index = self.shared[place];
            if self.connections[index].pool == pool && !self.connections[index].resp3 {
                self.connect(index, now);
            }
        }
    }

    /// Every connection, with its pool and the index of its server there. Their number may grow
    /// whenever clients are served.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionId, usize, usize)> {
        self.connections.iter().enumerate().map(|(index, c)| (ConnectionId(index), c.pool, c.server))
    }

    /// The pool of a connection and the index of its server there, and whether clients share it.
    pub fn place(&self, id: ConnectionId) -> (usize, usize, bool) {
        let connection = &self.connections[id.0];
        (connection.pool, connection.server, connection.shared)
    }

    /// The next thing to do. To be asked after every input until it answers `None`; writes are
    /// better left until all that is ready was read, so that they are few and large.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front()?;
        match action {
            Action::WriteServer(id) => self.connections[id.0].dirty = false,
            Action::CloseServer(id) if !self.connections[id.0].shared => {
                let connection = &self.connections[id.0];
                self.pools[connection.pool].servers[connection.server].spare.closed.push(id.0);
            }
            Action::WriteClient(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.dirty = false;
                }
            }
            _ => {}
        }
        Some(action)
    }

    /// When [`tick`](Self::tick) is due.
    pub fn next_deadline(&self) -> Option<Micros> {
        let shared = self.shared.iter().map(|&index| self.connections[index].deadline()).min()?;
        let next = self.timers.first().map_or(shared, |(own, _)| shared.min(*own));
        let next = self.pools.iter().fold(next, |next, pool| {
            let cluster = pool.cluster.as_ref().map_or(Micros::MAX, Cluster::deadline);
            next.min(pool.eject.next_retry()).min(cluster).min(pool.crowd.deadline())
        });
        let next = next.min(self.idle.deadline());
        (next != Micros::MAX).then_some(next)
    }

    /// Fails what has timed out.
    pub fn tick(&mut self, now: Micros) {
        self.clock = now;
        for place in 0..self.shared.len() {
            let index = self.shared[place];
            if self.connections[index].deadline() <= now {
                self.fail(index, &ServerError::TimedOut, now);
            }
        }
        self.tick_idle(now);
        self.tick_crowds(now);
        self.tick_own(now);
        self.tick_eject(now);
        self.tick_clusters(now);
        self.resume_clients(now);
        self.close_retired();
    }

    fn roll(&mut self) -> u64 {
        // xorshift64; the state is never 0.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }

    fn connect(&mut self, index: usize, now: Micros) {
        let connection = &mut self.connections[index];
        if connection.state == State::Idle {
            let timeout = self.pools[connection.pool].connect_timeout;
            connection.state = State::Connecting { deadline: now.saturating_add(timeout) };
            self.actions.push_back(Action::Connect(ConnectionId(index)));
        }
        if !self.connections[index].shared {
            self.arm(index);
        }
    }
}

impl PoolState {
    /// The lane of the client that comes next.
    fn next_lane(&mut self, resp3: bool) -> usize {
        let lane = self.next_lane;
        self.next_lane = (lane + 1) % self.config.server_connections;
        self.lane(lane, resp3)
    }

    /// The lane beside `lane`, or itself, on which the protocol is spoken.
    fn lane(&self, lane: usize, resp3: bool) -> usize {
        let count = self.config.server_connections;
        lane % count + if resp3 { count } else { 0 }
    }

    fn new(pool: Arc<Pool>) -> PoolState {
        let mut greeting = Vec::new();
        let mut start = ByteQueue::default();
        let mut greeting_replies = 0;
        let database = (pool.redis_db > 0).then(|| pool.redis_db.to_string());
        let mut greet = |words: &[&[u8]]| {
            tombolo_resp::encode::request(&mut greeting, words);
            greeting_replies += 1;
        };
        match pool.toward_servers() {
            Some((None, password)) => greet(&[b"AUTH", password.reveal().as_bytes()]),
            Some((Some(user), password)) => {
                greet(&[b"AUTH", user.as_bytes(), password.reveal().as_bytes()]);
            }
            None => {}
        }
        if let Some(database) = &database {
            greet(&[b"SELECT", database.as_bytes()]);
        }
        start.push(&greeting);
        let reads_replicas = pool.cluster.is_some_and(|reads| reads != ReadFrom::Primary);
        PoolState {
            shared_greeting: if reads_replicas { b"*1\r\n$8\r\nREADONLY\r\n" } else { b"" },
            shared_greeting_replies: reads_replicas.into(),
            placement: pool.placement(),
            servers: Vec::new(),
            next_lane: 0,
            timeout: pool.timeout.map_or(Micros::MAX, micros),
            connect_timeout: micros(pool.timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT)),
            own_connections: 0,
            greeting: start,
            greeting_replies,
            clients: 0,
            client_timeout: pool.limits.client_timeout.map_or(Micros::MAX, micros),
            bounds: Bounds::of(&pool.limits),
            crowd: Crowd::new(pool.limits.buffered_bytes),
            slow: pool.slow_log.map(|config| Box::new(SlowLog::new(config))),
            eject: Eject::new(
                pool.eject.map(|eject| (eject.failures, micros(eject.retry))),
                pool.servers.len(),
            ),
            cluster: pool
                .cluster
                .map(|_| Cluster::new(micros(pool.timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT)))),
            stats: PoolStats::default(),
            latency: Latency::default(),
            retired: false,
            successor: None,
            config: pool,
        }
    }
}

/// A duration on the core's clock.
pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
