//! What the core can tell beside twemproxy's counters, when it is asked: why servers failed, how
//! servers are, and what memory and clients are held up in.

use super::client::Client;
use super::server::{Connection, State};
use super::{Core, Latency, ServerError};

/// Failures of connections to a server, by kind. Connections of clients' own count too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures([u64; 8]);

impl Failures {
    /// The names of the kinds.
    pub const KINDS: [&'static str; 8] =
        ["refused", "timed_out", "host_down", "closed", "protocol", "handshake", "tls", "other"];

    pub(super) fn count(&mut self, error: &ServerError) {
        let kind = match error {
            ServerError::Refused => 0,
            ServerError::TimedOut => 1,
            ServerError::HostDown => 2,
            ServerError::Closed => 3,
            ServerError::Protocol => 4,
            ServerError::Handshake(_) => 5,
            ServerError::Tls(_) => 6,
            ServerError::Descriptors | ServerError::Other(_) => 7,
        };
        self.0[kind] += 1;
    }

    /// Names and values.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Failures::KINDS.into_iter().zip(self.0)
    }

    fn add(&mut self, other: &Failures) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// A server's failures, and whether its last connection that mattered is one of them.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) failures: Failures,
    pub(super) now: bool,
}

/// What is measured of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolMeasures {
    /// From a request to its reply, for shared connections.
    pub latency: Latency,
    /// Clients that have a connection to a server to themselves.
    pub dedicated: u64,
    /// Clients that are not read from: over a limit, or waiting for what comes before.
    pub paused: u64,
    /// Bytes that are kept for clients and servers.
    pub buffered: u64,
}

/// What is measured of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerMeasures {
    /// Failures of its connections.
    pub failures: Failures,
    /// Cores whose last attempt to use it has failed. With several threads, each has connections of
    /// its own.
    pub failing: u64,
    /// Cores that have left it out of the distribution now.
    pub ejected: u64,
}

impl PoolMeasures {
    pub(super) fn add(&mut self, other: &PoolMeasures) {
        self.latency.add(&other.latency);
        self.dedicated += other.dedicated;
        self.paused += other.paused;
        self.buffered += other.buffered;
    }

    fn count_client(&mut self, client: &Client) {
        self.dedicated += u64::from(client.session.is_some());
        self.paused += u64::from(client.paused);
        self.buffered += (client.input.len() + client.unsent()) as u64;
    }

    fn count_connection(&mut self, connection: &Connection) {
        let bytes =
            [connection.input.len(), connection.out.len(), connection.greeting.len(), connection.kept.len()];
        self.buffered += bytes.iter().sum::<usize>() as u64;
    }
}

impl ServerMeasures {
    pub(super) fn add(&mut self, other: &ServerMeasures) {
        self.failures.add(&other.failures);
        self.failing += other.failing;
        self.ejected += other.ejected;
    }
}

impl Core {
    /// What is measured of each pool, in their order. One pass over clients and connections.
    pub(super) fn pool_measures(&self) -> Vec<PoolMeasures> {
        let measures = self.pools.iter();
        let mut measures: Vec<PoolMeasures> = measures
            .map(|pool| PoolMeasures { latency: pool.latency.clone(), ..PoolMeasures::default() })
            .collect();
        self.clients.entries().for_each(|(_, client)| measures[client.pool].count_client(client));
        self.connections.iter().for_each(|of| measures[of.pool].count_connection(of));
        measures
    }

    /// The first server of a pool that is not known to fail; the first one, when all do.
    pub(super) fn first_up(&self, pool: usize) -> usize {
        let mut servers = 0..self.pools[pool].servers.len();
        servers.find(|&server| self.server_measures(pool, server).failing == 0).unwrap_or_default()
    }

    /// Whether any server of a pool is not known to fail.
    pub(super) fn is_any_up(&self, pool: usize) -> bool {
        self.server_measures(pool, self.first_up(pool)).failing == 0
    }

    /// What is measured of a server of a pool.
    pub(super) fn server_measures(&self, pool: usize, server: usize) -> ServerMeasures {
        let pool = &self.pools[pool];
        let state = &pool.servers[server];
        let ready = state.lanes.iter().any(|&lane| self.connections[lane].state == State::Ready);
        ServerMeasures {
            failures: state.trouble.failures,
            failing: u64::from(state.trouble.now && !ready),
            ejected: u64::from(pool.eject.is_out(server)),
        }
    }
}
