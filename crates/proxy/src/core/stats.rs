//! twemproxy's counters.

use std::cmp::Reverse;

use super::server::{Connection, State};
use super::{Core, PoolMeasures, ServerError, ServerMeasures, SlowRequest};

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

/// What a core, or several, have counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Clients that have ever connected.
    pub total_clients: u64,
    /// Connections of both sides now.
    pub connections: u64,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolSnapshot>,
}

/// What was counted for a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolSnapshot {
    /// Its name.
    pub name: String,
    /// Its own counters.
    pub stats: PoolStats,
    /// What else is measured.
    pub measures: PoolMeasures,
    /// Its servers, in the order of the configuration.
    pub servers: Vec<ServerSnapshot>,
    /// Its slow requests, the latest first, if it has a slow log.
    pub slow: Option<Vec<SlowRequest>>,
}

/// What was counted for a server of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerSnapshot {
    /// Its name.
    pub name: String,
    /// Its counters.
    pub stats: ServerStats,
    /// What else is measured.
    pub measures: ServerMeasures,
}

impl Snapshot {
    /// Adds what another core has counted. Pools and servers are the same when they have the same
    /// names.
    pub fn add(&mut self, other: Snapshot) {
        self.total_clients += other.total_clients;
        self.connections += other.connections;
        for pool in other.pools {
            match self.pools.iter_mut().find(|mine| mine.name == pool.name) {
                Some(mine) => mine.add(pool),
                None => self.pools.push(pool),
            }
        }
    }
}

impl PoolSnapshot {
    fn add(&mut self, other: PoolSnapshot) {
        self.stats.add(&other.stats);
        if let Some(slow) = other.slow {
            let mine = self.slow.get_or_insert_default();
            mine.extend(slow);
            mine.sort_by_key(|slow| Reverse(slow.time));
        }
        self.measures.add(&other.measures);
        for server in other.servers {
            match self.servers.iter_mut().find(|mine| mine.name == server.name) {
                Some(mine) => {
                    mine.stats.add(&server.stats);
                    mine.measures.add(&server.measures);
                }
                None => self.servers.push(server),
            }
        }
    }
}

impl PoolStats {
    fn add(&mut self, other: &PoolStats) {
        self.client_eof += other.client_eof;
        self.client_err += other.client_err;
        self.client_connections += other.client_connections;
        self.server_ejects += other.server_ejects;
        self.forward_error += other.forward_error;
        self.fragments += other.fragments;
    }
}

impl ServerStats {
    fn add(&mut self, other: &ServerStats) {
        self.server_eof += other.server_eof;
        self.server_err += other.server_err;
        self.server_timedout += other.server_timedout;
        self.server_connections += other.server_connections;
        self.server_ejected_at = self.server_ejected_at.max(other.server_ejected_at);
        self.requests += other.requests;
        self.request_bytes += other.request_bytes;
        self.responses += other.responses;
        self.response_bytes += other.response_bytes;
        self.in_queue += other.in_queue;
        self.in_queue_bytes += other.in_queue_bytes;
        self.out_queue += other.out_queue;
        self.out_queue_bytes += other.out_queue_bytes;
    }

    fn count(&mut self, connection: &Connection) {
        self.server_connections += u64::from(connection.state != State::Idle);
        if !connection.shared {
            return;
        }
        let traffic = &connection.traffic;
        self.server_eof += traffic.eof;
        self.server_err += traffic.err;
        self.server_timedout += traffic.timed_out;
        self.requests += traffic.requests;
        self.request_bytes += traffic.request_bytes;
        self.responses += traffic.responses;
        self.response_bytes += traffic.response_bytes;
        // The requests at the end of the queue are those that are not written yet. Where a run was
        // cut, each of its requests counts as the mean of them.
        let mut unsent = connection.out.len() as u64;
        for run in connection.in_flight.iter().rev() {
            let (count, bytes) = (u64::from(run.count), u64::from(run.bytes));
            let waiting = (unsent.min(bytes) * count).div_ceil(bytes.max(1));
            let waiting_bytes = u64::from(run.share(waiting as u32));
            self.in_queue += waiting;
            self.in_queue_bytes += waiting_bytes;
            self.out_queue += count - waiting;
            self.out_queue_bytes += bytes - waiting_bytes;
            unsent = unsent.saturating_sub(bytes);
        }
    }
}

impl Core {
    /// Everything that is counted. One pass over the connections; for an occasional question.
    pub fn snapshot(&self) -> Snapshot {
        let pools = self.pools.iter().zip(self.pool_measures()).enumerate();
        let pools = pools.map(|(place, (pool, measures))| {
            let servers = pool.servers.iter().enumerate().map(|(index, server)| ServerSnapshot {
                name: server.server.name.clone(),
                stats: ServerStats {
                    server_ejected_at: pool.eject.ejected_at(index),
                    ..ServerStats::default()
                },
                measures: self.server_measures(place, index),
            });
            PoolSnapshot {
                name: pool.config.name.clone(),
                stats: PoolStats { client_connections: pool.clients as u64, ..pool.stats },
                measures,
                servers: servers.collect(),
                slow: pool.slow.is_some().then(|| self.slow_log(place).cloned().collect()),
            }
        });
        let mut snapshot = Snapshot {
            total_clients: self.total_clients,
            connections: self.pools.iter().map(|pool| pool.clients as u64).sum(),
            pools: pools.collect(),
        };
        for connection in &self.connections {
            snapshot.connections += u64::from(connection.state != State::Idle);
            snapshot.pools[connection.pool].servers[connection.server].stats.count(connection);
        }
        for (pool, state) in snapshot.pools.iter_mut().zip(&self.pools) {
            let mut gone = state.servers.iter().map(|server| server.gone);
            pool.servers.retain(|_| !gone.next().unwrap_or_default());
        }
        // What was counted before a pool was replaced still counts, as far as there is a place for it.
        let all = std::mem::take(&mut snapshot.pools).into_iter().zip(&self.pools);
        let (old, new): (Vec<_>, Vec<_>) = all.partition(|(_, state)| state.retired);
        snapshot.pools = new.into_iter().map(|(pool, _)| pool).collect();
        for (pool, _) in old {
            if let Some(mine) = snapshot.pools.iter_mut().find(|mine| mine.name == pool.name) {
                let mut pool = pool;
                pool.servers.retain(|server| mine.servers.iter().any(|other| other.name == server.name));
                // What a connection was like that is not used any more says nothing about the server.
                pool.servers.iter_mut().for_each(|server| server.measures.failing = 0);
                mine.add(pool);
            }
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(pool: &str, server: &str, requests: u64, ejected: u64) -> Snapshot {
        let server = ServerSnapshot {
            name: server.to_string(),
            stats: ServerStats { requests, server_ejected_at: ejected, ..ServerStats::default() },
            measures: ServerMeasures { failing: 1, ..ServerMeasures::default() },
        };
        let mut measures = PoolMeasures { paused: 1, ..PoolMeasures::default() };
        measures.latency.record(requests, 1);
        let stats = PoolStats { client_connections: 2, ..PoolStats::default() };
        let slow = SlowRequest {
            id: 0,
            time: requests,
            duration: 1,
            client: String::new(),
            server: String::new(),
            arguments: Vec::new(),
        };
        let pools = vec![PoolSnapshot {
            name: pool.to_string(),
            stats,
            measures,
            servers: vec![server],
            slow: Some(vec![slow]),
        }];
        Snapshot { total_clients: 5, connections: 3, pools }
    }

    #[test]
    fn the_counts_of_threads_are_summed_by_name() {
        let mut sum = Snapshot::default();
        for part in [
            snapshot("a", "one", 10, 7),
            snapshot("b", "one", 100, 0),
            snapshot("a", "one", 1, 3),
            snapshot("a", "two", 1000, 0),
        ] {
            sum.add(part);
        }
        assert_eq!((sum.total_clients, sum.connections), (20, 12));
        let requests =
            |pool: &PoolSnapshot| pool.servers.iter().map(|server| server.stats.requests).collect();
        let all: Vec<Vec<u64>> = sum.pools.iter().map(requests).collect();
        assert_eq!(all, [vec![11, 1000], vec![100]]);
        assert_eq!(sum.pools[0].servers[0].stats.server_ejected_at, 7);
        assert_eq!((sum.pools[0].servers[0].measures.failing, sum.pools[0].measures.paused), (2, 3));
        assert_eq!((sum.pools[0].measures.latency.count(), sum.pools[0].measures.latency.total()), (3, 1011));
        assert_eq!(sum.pools[0].stats.client_connections, 6);
        let times = sum.pools[0].slow.iter().flatten().map(|slow| slow.time);
        assert_eq!(times.collect::<Vec<_>>(), [1000, 10, 1]);
    }
}
