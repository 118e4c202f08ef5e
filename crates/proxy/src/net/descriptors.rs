//! Descriptors (RLIMIT_NOFILE). Clients must not use up what the proxy needs itself: without one, a
//! lost server can not be connected to again, health is not told and the configuration not read. So,
//! as in twemproxy, what is needed is kept back, and clients above that are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit};

use crate::config::{Config, Pool, Protocol};

/// Those of the process: the log, the configuration and certificates while they are read, statistics,
/// signals, lookups of names. As many as twemproxy keeps.
const PROCESS: usize = 32;
/// Those of a thread: epoll, its waker, the ring.
const THREAD: usize = 6;
/// Those of a pool: its listening socket, and the next one, during a reload.
const POOL: usize = 2;
/// Those of `--metrics`, as long as few ask at a time.
const METRICS: usize = 40;
/// Nodes that a cluster is expected to have at least: the file names some.
const NODES: usize = 16;

/// How many descriptors clients may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    /// With connections of their own.
    most: usize,
    /// Without: the last ones are for the connections of those that are served.
    clients: usize,
    /// More is needed for all else than the limit can give.
    short: bool,
}

impl Budget {
    fn of(limit: usize, config: &Config, threads: usize, metrics: bool) -> Budget {
        let servers: usize = config.pools.iter().map(connections).sum();
        let kept = PROCESS
            + (THREAD + servers) * threads
            + POOL * config.pools.len()
            + if metrics { METRICS } else { 0 };
        // With a limit that is too low for everything, some clients are still better than none.
        let least = (limit / 4).max(1);
        let left = limit.saturating_sub(kept);
        let most = left.max(least);
        Budget { most, clients: most - most / 8, short: left < least }
    }
}

/// The most connections to the servers of a pool that the clients of a thread share.
fn connections(pool: &Pool) -> usize {
    let protocols = if pool.protocol == Protocol::Redis { 2 } else { 1 };
    let lanes = pool.server_connections * protocols;
    match pool.cluster {
        Some(_) => pool.servers.len().max(NODES) * (lanes + 1),
        None => pool.servers.len() * lanes,
    }
}

/// The count of the descriptors that clients have, on all threads.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    taken: AtomicUsize,
    most: AtomicUsize,
    clients: AtomicUsize,
}

impl Descriptors {
    /// Keeps back what `config` needs from here on; a warning, if that leaves too few.
    pub(super) fn keep_back(&self, config: &Config, threads: usize, metrics: bool) -> Option<String> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let budget = Budget::of(limit, config, threads, metrics);
        self.most.store(budget.most, Ordering::Relaxed);
        self.clients.store(budget.clients, Ordering::Relaxed);
        budget.short.then(|| {
            format!("{limit} descriptors (RLIMIT_NOFILE) are too few: at most {} clients", budget.clients)
        })
    }

    /// One for a client that has just connected.
    pub(super) fn for_client(self: &Arc<Self>) -> Option<Hold> {
        self.take(&self.clients)
    }

    /// One for a connection of a client's own, or for one that is told that there is none for it.
    pub(super) fn for_more(self: &Arc<Self>) -> Option<Hold> {
        self.take(&self.most)
    }

    fn take(self: &Arc<Self>, most: &AtomicUsize) -> Option<Hold> {
        let hold = (self.taken.fetch_add(1, Ordering::Relaxed), Hold(Arc::clone(self)));
        (hold.0 < most.load(Ordering::Relaxed)).then_some(hold.1)
    }
}

/// A descriptor in the count, until it is dropped.
#[derive(Debug)]
pub(super) struct Hold(Arc<Descriptors>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("c.yml", text).expect("a configuration")
    }

    #[test]
    fn what_servers_and_the_rest_need_is_kept_back() {
        let redis = "  redis: true\n  server_connections: 3\n  servers: [\"s:1:1\", \"s:2:1\"]\n";
        let one = config(&format!("a:\n  listen: h:1\n{redis}"));
        let budget = Budget::of;
        let roomy = budget(1000, &one, 1, false);
        assert_eq!(roomy, Budget { most: 1000 - 32 - 6 - 2 - 12, clients: 948 - 118, short: false });
        assert_eq!(budget(1000, &one, 2, true).most, roomy.most - 6 - 12 - 40);
        // A memcached pool's servers speak one protocol; a cluster has more nodes than are named.
        let more = config(
            "m:\n  listen: h:2\n  servers: [\"s:1:1\"]\n\
             c:\n  listen: h:3\n  redis: true\n  cluster: true\n  servers: [\"s:1:1\"]\n",
        );
        assert_eq!(budget(1000, &more, 1, false).most, 1000 - 32 - 6 - 4 - 1 - 16 * 3);
        let short = budget(40, &one, 1, false);
        assert_eq!(short, Budget { most: 10, clients: 9, short: true });
        assert_eq!(budget(0, &one, 1, true).most, 1);
    }

    #[test]
    fn the_last_ones_are_for_connections_of_clients_own() {
        let all = Arc::new(Descriptors::default());
        all.most.store(3, Ordering::Relaxed);
        all.clients.store(2, Ordering::Relaxed);
        let held = [all.for_client(), all.for_client()];
        assert!(held.iter().all(Option::is_some) && all.for_client().is_none());
        let own = all.for_more();
        assert!(own.is_some() && all.for_more().is_none());
        drop(held);
        assert!(all.for_client().is_some() && own.is_some());
    }
}
