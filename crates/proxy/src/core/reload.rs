//! Pools that change or go, and clients that are to leave.
//!
//! ```text
//!  replaced pool ──a client between two requests──────────▶ its successor
//!   │        └───── one with a connection of its own, once that is given back ──▶ (its rights: at once)
//!   │  no client is left, nothing is in flight
//!   ▼
//!  its connections are closed
//! ```
//!
//! A request is on one connection of one pool from its start to its reply, so none is dropped and
//! none runs twice. The index of a pool stands for it for good, also when it has gone.

use std::sync::Arc;

use super::client::Client;
use super::effect::Effect;
use super::eject::Eject;
use super::own::FAILS;
use super::server::{Connection, State};
use super::{Action, ClientId, ConnectionId, Core, Micros};
use crate::config::Pool;
use crate::placement::{Distribution, Placement};

impl Core {
    /// Puts a pool in the place of `old`; returns its index, as [`add_pool`](Self::add_pool) does.
    /// The clients move to it. Both must speak the same protocol.
    pub fn replace_pool(&mut self, old: usize, config: Arc<Pool>, now: Micros) -> usize {
        let preconnect = config.preconnect;
        let new = self.add_pool(config);
        if preconnect {
            self.preconnect(new, now);
        }
        self.retire(old);
        self.pools[old].successor = Some(new);
        for id in self.clients_of(new) {
            self.revise(id, new, now);
            self.follow(id);
        }
        new
    }

    /// A client that keeps a connection of its own to the old pool is who it is by the new one all
    /// the same. What was sent on by the old rights fails where it has not run, or ends with the client.
    fn revise(&mut self, id: ClientId, new: usize, now: Micros) {
        let config = self.pools[new].config.clone();
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(session) = &client.session else { return };
        let opaque = session.is_opaque();
        let (subscribed, queues) = (session.is_subscribed(), session.is_in_transaction());
        let before = client.user.clone();
        if !client.keep_identity(&config) {
            return self.expel(id);
        }
        let Some(user) = &client.user else { return };
        // Without users everybody could do everything.
        let same = before.as_ref().is_some_and(|before| user.may_the_same_as(before));
        if user.may_do_everything() || same {
            return;
        }
        let keeps_channels = user.keeps_channels_of(before.as_deref());
        if opaque || (subscribed && !keeps_channels) {
            // An opaque one may be in a transaction, or subscribed, and nobody knows.
            self.expel(id);
        } else if queues {
            self.send_own(id, Effect::Own, FAILS, now);
        }
    }

    /// A client goes as soon as it has the replies that will come.
    fn expel(&mut self, id: ClientId) {
        self.dismiss(id);
        self.finish(id);
    }

    /// Who clients of `pool` are and may become is up to what has its place now.
    pub(super) fn rules(&self, pool: usize) -> Arc<Pool> {
        self.pools[self.newest(pool)].config.clone()
    }

    /// Ends a pool: its clients leave, as with [`drain`](Self::drain).
    pub fn remove_pool(&mut self, pool: usize) {
        let clients = self.clients_of(pool);
        self.retire(pool);
        for id in clients {
            self.dismiss(id);
        }
    }

    /// Every client leaves: it is closed when it has every reply and no more than whole requests
    /// have come from it. The caller reads from all of them once more, and tells of those that had
    /// nothing with [`client_quiet`](Self::client_quiet).
    pub fn drain(&mut self) {
        let all: Vec<ClientId> = self.clients.entries().map(|(id, _)| id).collect();
        for id in all {
            self.dismiss(id);
        }
    }

    /// Whether it is of interest which clients have nothing to be read.
    pub fn has_leaving(&self) -> bool {
        self.leaving > 0
    }

    /// There is nothing to be read from a client now.
    pub fn client_quiet(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get(id)
            && client.leaving
            && !client.closing
            && !client.paused
            && client.input.is_empty()
        {
            self.finish(id);
        }
    }

    /// Whether there is no client, and nothing under way of one that has gone.
    pub fn is_idle(&self) -> bool {
        let is_done = |connection: &Connection| connection.in_flight.is_empty() && !connection.lingers;
        self.client_count() == 0 && self.connections.iter().all(is_done)
    }

    /// Clients now.
    pub fn client_count(&self) -> usize {
        self.pools.iter().map(|pool| pool.clients).sum()
    }

    fn dismiss(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.leaving
        {
            client.leaving = true;
            self.leaving += 1;
        }
    }

    fn retire(&mut self, pool: usize) {
        let state = &mut self.pools[pool];
        state.retired = true;
        state.eject = Eject::new(None, 0);
        self.retiring.push(pool);
    }

    /// The clients that are in `pool`, or on their way there.
    fn clients_of(&self, pool: usize) -> Vec<ClientId> {
        let there = self.clients.entries().filter(|(_, client)| self.newest(client.pool) == pool);
        there.map(|(id, _)| id).collect()
    }

    /// The pool that has the place of `pool` now; itself, if nothing took it.
    fn newest(&self, mut pool: usize) -> usize {
        while let Some(successor) = self.pools[pool].successor {
            pool = successor;
        }
        pool
    }

    /// Moves a client whose pool was replaced, or sees to it that it stops where it can move.
    pub(super) fn follow(&mut self, id: ClientId) {
        let Some(old) = self.clients.get(id).map(|client| client.pool) else { return };
        let new = self.newest(old);
        let Some(client) = self.clients.get_mut(id) else { return };
        // Who is to leave the pool that took the place leaves from where it is.
        if self.pools[new].retired || new == old || client.closing || client.session.is_some() {
            return;
        }
        if client.is_waiting() {
            (client.paused, client.barrier) = (true, true);
            return;
        }
        let paused = client.paused;
        let state = &mut self.pools[new];
        let lane = state.next_lane(client.resp3);
        state.clients += 1;
        let config = state.config.clone();
        self.pools[old].clients -= 1;
        let counted = std::mem::take(&mut client.counted);
        self.idle.forget(std::mem::replace(&mut client.idle_timer, Micros::MAX), id);
        self.uncount(old, counted);
        let Some(client) = self.clients.get_mut(id) else { return };
        (client.pool, client.lane, client.epoch) = (new, lane, 0);
        self.pools[new].count_unsent(client, self.clock);
        if self.pools[new].client_timeout != Micros::MAX {
            self.idle.arrived(id);
        }
        if !client.keep_identity(&config) {
            return self.finish(id);
        }
        if paused {
            self.resumable.push_back(id);
        }
    }

    /// Closes the connections of retired pools that nobody uses any more.
    pub(super) fn close_retired(&mut self) {
        if self.retiring.is_empty() {
            return;
        }
        for pool in std::mem::take(&mut self.retiring) {
            let of_pool = |index: &usize| self.connections[*index].pool == pool;
            let all: Vec<usize> = (0..self.connections.len()).filter(of_pool).collect();
            let used = |&index: &usize| {
                let connection = &self.connections[index];
                connection.owner.is_some() || connection.lingers || !connection.in_flight.is_empty()
            };
            if self.pools[pool].clients > 0 || all.iter().any(used) {
                self.retiring.push(pool);
                continue;
            }
            // What is left of it is counters; a circle of many servers is large.
            let state = &mut self.pools[pool];
            state.cluster = None;
            state.slow = None;
            state.placement = Placement::new(Distribution::Modula, state.config.hash, None, &[("", 1)]);
            self.shared.retain(|&index| self.connections[index].pool != pool);
            for index in all {
                let connection = &mut self.connections[index];
                if connection.state != State::Idle {
                    connection.reset();
                    self.actions.push_back(Action::CloseServer(ConnectionId(index)));
                }
            }
            self.pools[pool].servers.iter_mut().for_each(|server| server.spare = Default::default());
        }
    }
}

impl Client {
    /// Its pool has another configuration: it stays who it is, with the rights that this is now
    /// worth; who was let in stays in, as in Redis. `false` when its user is not there any more,
    /// which ends connections in Redis too.
    fn keep_identity(&mut self, config: &Pool) -> bool {
        let was_in = self.authenticated;
        match (self.user.take(), &config.users) {
            (None, None) => self.authenticated |= config.redis_auth.is_none(),
            // Whoever could do little must not be able to do everything for that.
            (Some(_), None) => {
                self.restricted = false;
                self.become_anonymous(config);
            }
            (user, Some(users)) => {
                let named = user.map_or(Some(users.default_user()), |user| users.get(user.name()));
                let Some(user) = named else { return false };
                self.become_user(user);
                self.authenticated = was_in || user.needs_no_password();
            }
        }
        true
    }
}
