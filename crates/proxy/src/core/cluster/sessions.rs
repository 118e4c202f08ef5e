//! Clients with a connection of their own to a cluster's node: a blocking command, WATCH or SSUBSCRIBE
//! may find that its slot has moved.
//!
//! A session that has done nothing yet begins anew on the right node. Later the client gets the
//! node's answer: what its connection remembers can not be moved.

use super::detour::MAX_REDIRECTS;
use super::flow::ASKING_WIRE;
use super::redirect::{self, Answer};
use crate::core::effect::Effect;
use crate::core::session::Session;
use crate::core::{ClientId, Core, Micros, ServerError};

/// The request that a session began with, while it is the only one.
#[derive(Debug)]
pub(in crate::core) struct Opening {
    wire: Vec<u8>,
    effect: Effect,
    redirects: u8,
    /// When it came.
    since: Micros,
}

impl Core {
    /// A session begins with this request.
    pub(in crate::core) fn remember_opening(
        &mut self,
        id: ClientId,
        effect: Effect,
        wire: &[u8],
        now: Micros,
    ) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if self.pools[client.pool].cluster.is_some()
            && let Some(session) = &mut client.session
        {
            let since = client.held_since.take().unwrap_or(now);
            session.opening = Some(Box::new(Opening { wire: wire.to_vec(), effect, redirects: 0, since }));
        }
    }

    /// Looks at an error on a connection of a client's own; `true` when its session has begun anew.
    pub(in crate::core) fn own_redirected(&mut self, id: ClientId, error: &[u8], now: Micros) -> bool {
        let Some(client) = self.clients.get(id) else { return false };
        let Some(session) = &client.session else { return false };
        let (pool, server) = (client.pool, session.server);
        let (slot, node, asks) = match redirect::read(error) {
            Answer::Moved(slot, node) => (slot, node, false),
            Answer::Ask(slot, node) => (slot, node, true),
            Answer::Later => {
                self.want_table(pool);
                return false;
            }
            Answer::Unready | Answer::Reply => return false,
        };
        let Some(session) = self.clients.get_mut(id).and_then(|client| client.session.as_mut()) else {
            return false;
        };
        let may_move = session.waiting().0 == 1 && session.is_clean();
        let Some(mut opening) = session.opening.take().filter(|_| may_move) else {
            // It may be the answer of a script, which can say what it likes.
            self.want_table(pool);
            return false;
        };
        let Some(target) = self.redirected(pool, server, node) else { return false };
        if !asks {
            self.moved(pool, slot, target);
        }
        // Only a single command can be asked for: what it would leave behind is where the slot is.
        if opening.redirects >= MAX_REDIRECTS || (asks && opening.effect != Effect::Blocking) {
            return false;
        }
        let Some(session) = self.clients.get_mut(id).and_then(|client| client.session.as_mut()) else {
            return false;
        };
        // The request is answered as far as this connection goes.
        session.message(error);
        let resp3 = session.has_agreed_resp3();
        self.leave(id, now);
        if !self.enter(id, target, resp3, now) {
            self.answer(id, error);
            return true;
        }
        if asks {
            self.send_own(id, Effect::Own, ASKING_WIRE, now);
        }
        self.send_own(id, opening.effect, &opening.wire, now);
        opening.redirects += 1;
        if let Some(session) = self.clients.get_mut(id).and_then(|client| client.session.as_mut()) {
            session.opening = Some(opening);
        }
        true
    }

    /// The node of a session that has done nothing yet can not be reached: `true` when its request waits for the
    /// table to be told again, and is then looked at anew, as one on a shared connection is.
    pub(in crate::core) fn hold_session(
        &mut self,
        id: ClientId,
        session: &mut Session,
        error: &ServerError,
    ) -> bool {
        let now = self.clock;
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some(cluster) = &mut self.pools[client.pool].cluster else { return false };
        let patience = cluster.patience;
        let waits = !error.is_hopeless() && !client.closing;
        let in_time = |opening: &mut Box<Opening>| opening.since.saturating_add(patience) > now;
        let Some(opening) = session.opening.take_if(|opening| waits && in_time(opening)) else {
            return false;
        };
        match opening.effect {
            // The request that made it known waits already.
            Effect::Begin => client.unbound = true,
            _ => client.input.splice(..0, opening.wire).for_each(drop),
        }
        // Of a request behind it, whose bytes are all there.
        client.parser = None;
        client.held_since = Some(opening.since);
        (client.paused, client.barrier) = (true, true);
        cluster.waiters.push(id);
        true
    }
}
