//! `auto_eject_hosts`: servers that fail are left out of the distribution for a while.
//!
//! As in twemproxy: every connection that fails counts, a reply sets the count back to 0; at
//! `server_failure_limit` the server's keys go to the others for `server_retry_timeout`. When all
//! servers are out, keys stay where they were. Commands that go to every server, and messages,
//! do not care.

use super::{Core, Micros};

/// A pool's view of its servers' health.
#[derive(Debug)]
pub(super) struct Eject {
    /// The failures in a row that a server may have, and how long it is out then; `None` when
    /// servers are never left out.
    pub(super) policy: Option<(u32, Micros)>,
    servers: Vec<Health>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Health {
    failures: u32,
    /// When it comes back, if it is out.
    retry: Option<Micros>,
    /// When it was last left out, in microseconds since 1970.
    ejected_at: u64,
}

impl Eject {
    pub(super) fn new(policy: Option<(u32, Micros)>, servers: usize) -> Eject {
        Eject { policy, servers: vec![Health::default(); servers] }
    }

    pub(super) fn ejected_at(&self, server: usize) -> u64 {
        // A cluster's nodes come while it runs, and are never left out.
        self.servers.get(server).map_or(0, |health| health.ejected_at)
    }

    /// Whether a server is left out now.
    pub(super) fn is_out(&self, server: usize) -> bool {
        self.servers.get(server).is_some_and(|health| health.retry.is_some())
    }

    /// When a server comes back next.
    pub(super) fn next_retry(&self) -> Micros {
        self.servers.iter().filter_map(|health| health.retry).min().unwrap_or(Micros::MAX)
    }

    /// A reply has come.
    pub(super) fn good(&mut self, server: usize) {
        if let Some(health) = self.servers.get_mut(server) {
            health.failures = 0;
        }
    }

    /// A connection has failed; `true` when the server is to be left out now.
    fn bad(&mut self, server: usize, now: Micros, epoch: Micros) -> bool {
        let Some((limit, retry)) = self.policy else { return false };
        let health = &mut self.servers[server];
        health.failures += 1;
        if health.failures < limit {
            return false;
        }
        let at = epoch.saturating_add(now);
        *health = Health { failures: 0, retry: Some(now.saturating_add(retry)), ejected_at: at };
        true
    }

    /// Takes servers back whose time has come; `true` when there is one.
    fn take_back(&mut self, now: Micros) -> bool {
        let due = |health: &&mut Health| health.retry.is_some_and(|retry| retry <= now);
        self.servers.iter_mut().filter(due).map(|health| health.retry = None).count() > 0
    }

    fn live(&self) -> Vec<bool> {
        self.servers.iter().map(|health| health.retry.is_none()).collect()
    }
}

impl Core {
    /// A shared connection has failed.
    pub(super) fn server_is_bad(&mut self, pool: usize, server: usize, now: Micros) {
        let (epoch, state) = (self.epoch, &mut self.pools[pool]);
        if state.eject.policy.is_none() {
            return;
        }
        for &lane in &state.servers[server].lanes {
            self.connections[lane].suspect = true;
        }
        if state.eject.bad(server, now, epoch) {
            state.stats.server_ejects += 1;
            state.placement.keep(&state.eject.live());
        }
    }

    /// Puts servers back into the distribution whose time has come.
    pub(super) fn tick_eject(&mut self, now: Micros) {
        for state in self.pools.iter_mut().filter(|state| state.eject.policy.is_some()) {
            if state.eject.take_back(now) {
                state.placement.keep(&state.eject.live());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_often_is_out_for_a_while() {
        let mut eject = Eject::new(Some((2, 100)), 2);
        assert!(!eject.bad(1, 10, 1_000_000));
        eject.good(1);
        assert!(!eject.bad(1, 20, 1_000_000));
        assert!(eject.bad(1, 30, 1_000_000));
        assert_eq!(
            (eject.live(), eject.next_retry(), eject.ejected_at(1)),
            (vec![true, false], 130, 1_000_030)
        );
        assert!(!eject.take_back(129));
        assert!(eject.take_back(130));
        assert_eq!((eject.live(), eject.next_retry()), (vec![true, true], Micros::MAX));
        assert!(!Eject::new(None, 1).bad(0, 0, 0));
    }
}
