//! What all clients of a pool together have not taken: `max_buffered_bytes`.
//!
//! ```text
//!            total >= limit                     total <= limit / 2
//!  (free) ──────────────────▶ crowded ────────────────────────────▶ (free)
//!                                │ a client takes nothing for `STALLED`: it is disconnected
//! ```
//!
//! While it is crowded, no request is read of a client that has something to take, and no message of a
//! server for such a client on a connection of its own. Nobody waits for another: who has taken
//! everything goes on at once, who has nothing to take was never held back, and replies on shared
//! connections are always read. So the total passes the limit by what was asked for already, and by
//! what clients with nothing to take ask for in one read each.

use super::client::Client;
use super::limits::STALLED;
use super::{ClientId, Core, Micros, PoolState};

/// The state of a pool.
#[derive(Debug)]
pub(super) struct Crowd {
    total: usize,
    limit: usize,
    /// When to look for clients that take nothing.
    look: Micros,
}

impl Crowd {
    pub(super) fn new(limit: usize) -> Crowd {
        Crowd { total: 0, limit, look: Micros::MAX }
    }

    /// When the clock is to look at it.
    pub(super) fn deadline(&self) -> Micros {
        self.look
    }
}

impl PoolState {
    /// Takes note of what a client has not taken at `now`.
    pub(super) fn count_unsent(&mut self, client: &mut Client, now: Micros) {
        let unsent = client.unsent();
        let before = std::mem::replace(&mut client.counted, unsent);
        self.recount(before, unsent, now);
    }

    fn recount(&mut self, before: usize, after: usize, now: Micros) {
        let crowd = &mut self.crowd;
        crowd.total = crowd.total + after - before;
        if crowd.total >= crowd.limit && !self.bounds.crowded {
            self.bounds.crowded = true;
            crowd.look = now.saturating_add(STALLED);
        } else if crowd.total <= crowd.limit / 2 && self.bounds.crowded {
            self.bounds.crowded = false;
            crowd.look = Micros::MAX;
        }
    }
}

impl Core {
    /// Takes note of what a client has not taken.
    pub(super) fn count_unsent(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        self.pools[client.pool].count_unsent(client, self.clock);
    }

    /// What a client that has left its pool has not taken is of no matter there.
    pub(super) fn uncount(&mut self, pool: usize, counted: usize) {
        self.pools[pool].recount(counted, 0, self.clock);
    }

    /// Disconnects who takes nothing of what crowds a pool.
    pub(super) fn tick_crowds(&mut self, now: Micros) {
        for pool in 0..self.pools.len() {
            if self.pools[pool].crowd.look > now {
                continue;
            }
            self.pools[pool].crowd.look = now.saturating_add(STALLED / 4);
            let stalled = |client: &Client| {
                client.pool == pool && !client.out.is_empty() && client.active.saturating_add(STALLED) <= now
            };
            let entries = self.clients.entries();
            let ids: Vec<ClientId> =
                entries.filter(|(_, client)| stalled(client)).map(|(id, _)| id).collect();
            ids.into_iter().for_each(|id| self.client_failed(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::{Action, ConnectionId};

    const CONFIG: &str =
        "p:\n  listen: a:1\n  redis: true\n  max_buffered_bytes: 1024\n  servers:\n   - a:1:1\n";

    fn request(line: &str) -> Vec<u8> {
        let mut out = Vec::new();
        tombolo_resp::encode::request(&mut out, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        out
    }

    fn reply(length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        tombolo_resp::encode::bulk(&mut out, &vec![b'x'; length]);
        out
    }

    /// Does what the core wants toward servers; what they are sent, and the clients that are closed.
    fn act(core: &mut Core, now: Micros) -> (Vec<(ConnectionId, Vec<u8>)>, Vec<ClientId>) {
        let (mut sent, mut closed) = (Vec::new(), Vec::new());
        while let Some(action) = core.poll_action() {
            match action {
                Action::Connect(id) => core.server_connected(id, now),
                Action::WriteServer(id) => {
                    let bytes = core.server_output(id).to_vec();
                    core.server_wrote(id, bytes.len());
                    sent.push((id, bytes));
                }
                Action::CloseClient(id) => closed.push(id),
                _ => {}
            }
        }
        (sent, closed)
    }

    #[test]
    fn who_has_something_to_take_is_held_back_while_it_is_crowded() {
        let config = Config::parse("f", CONFIG).expect("a good file");
        let mut core = Core::new(&config.pools, 1);
        let [slow, quick, listener] = [(); 3].map(|()| core.client_connected(0));
        core.tick(0);
        core.client_data(slow, &request("GET a"), 0);
        let (sent, _) = act(&mut core, 0);
        let shared = sent[0].0;
        core.client_data(listener, &request("SUBSCRIBE c"), 0);
        let own = act(&mut core, 0).0[0].0;
        core.server_data(shared, &reply(1500), 0).expect("a reply");

        // The slow client has all of it before it; its next request waits, that of another does not.
        core.client_data(slow, &request("GET b"), 1);
        assert!(act(&mut core, 1).0.is_empty() && !core.wants_input(slow));
        core.client_data(quick, &request("GET c"), 1);
        assert_eq!(act(&mut core, 1).0, [(shared, request("GET c"))]);
        core.server_data(shared, &reply(10), 2).expect("a reply");
        core.client_wrote(quick, core.client_output(quick).len(), 2);
        assert!(core.wants_input(quick));
        // So does a server with messages for who takes none.
        core.server_data(own, b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", 3).expect("a message");
        assert!(!core.wants_server_data(own));
        core.client_wrote(listener, core.client_output(listener).len(), 4);
        assert!(core.wants_server_data(own));

        // Below the limit is not enough, half of it is; and then the request goes out.
        core.client_wrote(slow, 600, 5);
        assert!(act(&mut core, 5).0.is_empty() && !core.wants_input(slow));
        core.client_wrote(slow, 500, 6);
        assert_eq!(act(&mut core, 6).0, [(shared, request("GET b"))]);
        assert!(core.wants_input(slow));
        assert_eq!(core.pools[0].crowd.total, core.client_output(slow).len());
    }

    #[test]
    fn who_takes_nothing_of_it_for_long_is_disconnected() {
        let config = Config::parse("f", CONFIG).expect("a good file");
        let mut core = Core::new(&config.pools, 1);
        let [dead, slow] = [(); 2].map(|()| core.client_connected(0));
        core.tick(0);
        for id in [dead, slow] {
            core.client_data(id, &request("GET a"), 0);
        }
        let shared = act(&mut core, 0).0[0].0;
        core.server_data(shared, &[reply(1500), reply(1500)].concat(), 0).expect("replies");
        core.client_wrote(slow, 1, STALLED - 1);
        core.tick(STALLED - 1);
        assert!(act(&mut core, STALLED).1.is_empty());
        assert_eq!(core.next_deadline(), Some(STALLED));
        core.tick(STALLED);
        assert_eq!(act(&mut core, STALLED).1, [dead]);
        assert_eq!(
            (core.pools[0].stats.client_err, core.pools[0].crowd.total),
            (1, core.client_output(slow).len())
        );
        core.client_gone(slow);
        assert_eq!((core.pools[0].crowd.total, core.next_deadline()), (0, None));
    }
}
