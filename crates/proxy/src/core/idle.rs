//! Clients that ask nothing for too long: `client_timeout`.
//!
//! As with Redis's `timeout`, a client that waits for a reply, is blocked, or is subscribed is not
//! idle. Neither input nor replies touch the timers: each client has one, which is moved on when it
//! rings too early.

use std::collections::BTreeSet;

use super::{ClientId, Core, Micros};

/// When clients are looked at.
#[derive(Debug, Default)]
pub(super) struct Idle {
    timers: BTreeSet<(Micros, ClientId)>,
    /// Clients that came since the clock was last looked at.
    fresh: Vec<ClientId>,
}

impl Idle {
    /// A client has come.
    pub(super) fn arrived(&mut self, id: ClientId) {
        self.fresh.push(id);
    }

    /// A client has gone; its timer rang at `at`, if it had one.
    pub(super) fn forget(&mut self, at: Micros, id: ClientId) {
        if at != Micros::MAX {
            self.timers.remove(&(at, id));
        }
    }

    /// When a client is to be looked at next.
    pub(super) fn deadline(&self) -> Micros {
        if !self.fresh.is_empty() {
            return 0;
        }
        self.timers.first().map_or(Micros::MAX, |(at, _)| *at)
    }
}

impl Core {
    /// Closes clients that have been idle for too long.
    pub(super) fn tick_idle(&mut self, now: Micros) {
        while let Some(id) = self.idle.fresh.pop() {
            if let Some(client) = self.clients.get_mut(id) {
                client.active = now;
                self.look_again(id, now);
            }
        }
        while let Some(&(at, id)) = self.idle.timers.first().filter(|(at, _)| *at <= now) {
            self.idle.timers.remove(&(at, id));
            let Some(client) = self.clients.get_mut(id) else { continue };
            client.idle_timer = Micros::MAX;
            let excused = client.is_waiting()
                || client.session.as_ref().is_some_and(|session| session.waits_for_ever());
            let timeout = self.pools[client.pool].client_timeout;
            let since = if excused { now } else { client.active };
            if since.saturating_add(timeout) <= now {
                self.client_gone(id);
            } else {
                self.look_again(id, since);
            }
        }
    }

    /// Looks at a client when it has done nothing since `since` for the whole time that it has.
    fn look_again(&mut self, id: ClientId, since: Micros) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.idle_timer = since.saturating_add(self.pools[client.pool].client_timeout);
        self.idle.timers.insert((client.idle_timer, id));
    }
}
