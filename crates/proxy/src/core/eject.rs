//! `auto_eject_hosts`: servers that fail are left out of the distribution for a while.
//!
//! As in twemproxy: every connection that fails counts, a reply sets the count back to 0; at
//! `server_failure_limit` the server's keys go to the others for `server_retry_timeout`. When all
//! servers are out, what would go over shared connections is refused, until the first one comes
//! back. Otherwise commands that go to every server, and messages, do not care.

use super::{ClientId, Core, Micros, ServerNews};

/// A pool's view of its servers' health.
#[derive(Debug)]
pub(super) struct Eject {
    /// The failures in a row that a server may have, and how long it is out then; `None` when
    /// servers are never left out.
    pub(super) policy: Option<(u32, Micros)>,
    servers: Vec<Health>,
    /// Whether no server is left.
    pub(super) all_out: bool,
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
        Eject { policy, servers: vec![Health::default(); servers], all_out: false }
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
        self.all_out = self.servers.iter().all(|health| health.retry.is_some());
        true
    }

    /// Takes servers back whose time has come; `true` when there is one.
    fn take_back(&mut self, now: Micros) -> bool {
        let due = |health: &&mut Health| health.retry.is_some_and(|retry| retry <= now);
        let some = self.servers.iter_mut().filter(due).map(|health| health.retry = None).count() > 0;
        self.all_out &= !some;
        some
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
        let was_out = state.eject.is_out(server);
        if state.eject.bad(server, now, epoch) {
            state.stats.server_ejects += 1;
            state.placement.keep(&state.eject.live());
            if !was_out {
                self.server_news.push_back(ServerNews::LeftOut(pool, server));
            }
        }
    }

    /// What is answered in place of sending a request to `servers` servers of a pool that are all
    /// left out.
    pub(super) fn refuse(&mut self, id: ClientId, servers: usize, reply: &[u8]) {
        let Some(client) = self.clients.get(id) else { return };
        self.pools[client.pool].stats.forward_error += servers as u64;
        self.answer(id, reply);
    }

    /// Puts servers back into the distribution whose time has come.
    pub(super) fn tick_eject(&mut self, now: Micros) {
        for (pool, state) in self.pools.iter_mut().enumerate() {
            if state.eject.next_retry() > now {
                continue;
            }
            let before = state.eject.live();
            state.eject.take_back(now);
            let after = state.eject.live();
            state.placement.keep(&after);
            let back = (0..after.len()).filter(|&server| after[server] && !before[server]);
            self.server_news.extend(back.map(|server| ServerNews::Back(pool, server)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::{Action, ServerError};

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
        assert!(Eject::new(Some((0, 100)), 1).bad(0, 0, 0), "as with 1");
    }

    #[test]
    fn all_are_out_until_the_first_comes_back() {
        let mut eject = Eject::new(Some((1, 100)), 2);
        assert!(eject.bad(0, 0, 0) && !eject.all_out);
        assert!(eject.bad(1, 50, 0) && eject.all_out);
        assert!(!eject.take_back(99) && eject.all_out);
        assert!(eject.take_back(100) && !eject.all_out && eject.is_out(1));
    }

    /// Plays a pool whose servers are never reached: the answers to each request, and the servers
    /// that are connected to for it. Its time is what the servers are out for, less one.
    fn answers(redis: bool, servers: usize, requests: &[&str]) -> (Core, Vec<(String, usize)>) {
        let servers = (1..=servers).map(|port| format!("a:{port}:1")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "p:\n  listen: a:1\n  redis: {redis}\n  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 1\n  servers: [{servers}]\n"
        );
        let config = Config::parse("f", &text).expect("a good file");
        let mut core = Core::new(&config.pools, 1);
        let client = core.client_connected(0);
        let story = requests.iter().map(|request| {
            core.client_data(client, request.as_bytes(), 0);
            core.tick(999);
            let mut connects = 0;
            while let Some(action) = core.poll_action() {
                if let Action::Connect(id) = action {
                    connects += 1;
                    core.server_failed(id, &ServerError::Refused, 0);
                }
            }
            let answer = String::from_utf8(core.client_output(client).to_vec()).expect("text");
            core.client_wrote(client, answer.len(), 0);
            (answer, connects)
        });
        let story = story.collect();
        (core, story)
    }

    #[test]
    fn when_all_are_out_nobody_is_asked() {
        let refused = |count: usize| "-ERR Connection refused\r\n".repeat(count);
        let get = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let mget = "*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n";
        let own = "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$1\r\n0\r\n";
        let (mut core, story) = answers(true, 1, &[get, &get.repeat(3), mget, "PING\r\n", own]);
        let pong = "+PONG\r\n".to_string();
        let expected = [(refused(1), 1), (refused(3), 0), (refused(1), 0), (pong, 0), (refused(1), 1)];
        assert_eq!(story, expected);
        assert_eq!((core.pools[0].stats.forward_error, core.pools[0].stats.server_ejects), (5, 1));
        assert_eq!(core.next_deadline(), Some(1000));
        core.tick(1000);
        let client = core.client_connected(0);
        core.client_data(client, get.as_bytes(), 1000);
        assert!(matches!(core.poll_action(), Some(Action::Connect(_))), "it is asked again");

        let all = "*1\r\n$6\r\nDBSIZE\r\n";
        let (core, story) = answers(true, 2, &[all, get, all, get]);
        assert_eq!(story, [(refused(1), 2), (refused(1), 0), (refused(1), 0), (refused(1), 0)]);
        assert_eq!((core.pools[0].stats.forward_error, core.pools[0].stats.server_ejects), (6, 2));
    }

    #[test]
    fn when_all_are_out_no_memcached_is_asked() {
        let refused = "SERVER_ERROR Connection refused\r\n";
        let lines = ["flush_all\r\n", "get a\r\n", "get a b\r\nset a 0 0 1 noreply\r\nx\r\nmd a q\r\nmn\r\n"];
        let (core, story) = answers(false, 2, &lines);
        let last = format!("{refused}{refused}MN\r\n");
        assert_eq!(story, [(refused.to_string(), 2), (refused.to_string(), 0), (last, 0)]);
        assert_eq!(core.pools[0].stats.server_ejects, 2);
    }
}
