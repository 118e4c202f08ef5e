//! twemproxy's counters.

use super::server::State;
use super::{Core, ServerError};

/// Counters of a pool, with twemproxy's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Clients that ended their connections.
    pub client_eof: u64,
    /// Clients whose connections failed, or that sent what is no request.
    pub client_err: u64,
    /// Clients now.
    pub client_connections: u64,
    /// How often a server was taken out of the distribution.
    pub server_ejects: u64,
    /// Requests that were answered with an error because a server failed.
    pub forward_error: u64,
    /// Parts of requests that were split.
    pub fragments: u64,
}

/// Counters of a server, with twemproxy's names. Connections of clients' own are part of
/// `server_connections` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Connections that the server ended.
    pub server_eof: u64,
    /// Connections that failed otherwise.
    pub server_err: u64,
    /// Connections that timed out.
    pub server_timedout: u64,
    /// Connections now.
    pub server_connections: u64,
    /// When it was last taken out of the distribution, in microseconds since 1970.
    pub server_ejected_at: u64,
    /// Requests sent.
    pub requests: u64,
    /// Their bytes.
    pub request_bytes: u64,
    /// Replies received.
    pub responses: u64,
    /// Their bytes.
    pub response_bytes: u64,
    /// Requests that are still to be sent.
    pub in_queue: u64,
    /// Their bytes.
    pub in_queue_bytes: u64,
    /// Requests that wait for a reply.
    pub out_queue: u64,
    /// Their bytes.
    pub out_queue_bytes: u64,
}

/// What a connection counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    pub(super) request_bytes: u64,
    pub(super) responses: u64,
    pub(super) response_bytes: u64,
    eof: u64,
    err: u64,
    timed_out: u64,
}

impl Traffic {
    /// The connection has failed.
    pub(super) fn failed(&mut self, error: &ServerError) {
        match error {
            ServerError::Closed => self.eof += 1,
            ServerError::TimedOut => self.timed_out += 1,
            _ => self.err += 1,
        }
    }
}

impl PoolStats {
    /// Names and values, in twemproxy's order.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("client_eof", self.client_eof),
            ("client_err", self.client_err),
            ("client_connections", self.client_connections),
            ("server_ejects", self.server_ejects),
            ("forward_error", self.forward_error),
            ("fragments", self.fragments),
        ]
    }
}

impl ServerStats {
    /// Names and values, in twemproxy's order.
    pub fn named(&self) -> [(&'static str, u64); 13] {
        [
            ("server_eof", self.server_eof),
            ("server_err", self.server_err),
            ("server_timedout", self.server_timedout),
            ("server_connections", self.server_connections),
            ("server_ejected_at", self.server_ejected_at),
            ("requests", self.requests),
            ("request_bytes", self.request_bytes),
            ("responses", self.responses),
            ("response_bytes", self.response_bytes),
            ("in_queue", self.in_queue),
            ("in_queue_bytes", self.in_queue_bytes),
            ("out_queue", self.out_queue),
            ("out_queue_bytes", self.out_queue_bytes),
        ]
    }
}

impl Core {
    /// How many connections clients have made, and how many connections of both sides there are.
    pub fn total_connections(&self) -> (u64, u64) {
        let clients: usize = self.pools.iter().map(|pool| pool.clients).sum();
        let servers = self.connections.iter().filter(|connection| connection.state != State::Idle).count();
        (self.total_clients, (clients + servers) as u64)
    }

    /// The counters of a pool.
    pub fn pool_stats(&self, pool: usize) -> PoolStats {
        let pool = &self.pools[pool];
        PoolStats { client_connections: pool.clients as u64, ..pool.stats }
    }

    /// The counters of a server of a pool.
    pub fn server_stats(&self, pool: usize, server: usize) -> ServerStats {
        let mut stats = ServerStats {
            server_ejected_at: self.pools[pool].eject.ejected_at(server),
            ..ServerStats::default()
        };
        let all = self.connections.iter();
        for connection in all.filter(|c| c.pool == pool && c.server == server) {
            stats.server_connections += u64::from(connection.state != State::Idle);
            if !connection.shared {
                continue;
            }
            let traffic = &connection.traffic;
            stats.server_eof += traffic.eof;
            stats.server_err += traffic.err;
            stats.server_timedout += traffic.timed_out;
            stats.requests += traffic.requests;
            stats.request_bytes += traffic.request_bytes;
            stats.responses += traffic.responses;
            stats.response_bytes += traffic.response_bytes;
            // The requests at the end of the queue are those that are not written yet. Where a run
            // was cut, each of its requests counts as the mean of them.
            let mut unsent = connection.out.len() as u64;
            for run in connection.in_flight.iter().rev() {
                let (count, bytes) = (u64::from(run.count), u64::from(run.bytes));
                let waiting = (unsent.min(bytes) * count).div_ceil(bytes.max(1));
                let waiting_bytes = u64::from(run.share(waiting as u32));
                stats.in_queue += waiting;
                stats.in_queue_bytes += waiting_bytes;
                stats.out_queue += count - waiting;
                stats.out_queue_bytes += bytes - waiting_bytes;
                unsent = unsent.saturating_sub(bytes);
            }
        }
        stats
    }
}
