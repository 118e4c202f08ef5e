//! Connections of a client's own: how they are found, used, given back and lost.
//!
//! A slot in `Core::connections` belongs to one place among a pool's servers for good, and is only
//! used again once its closing was carried out, so that nothing which is still on its way can be taken
//! for something of its next user.

use std::collections::BTreeSet;

use tombolo_resp::encode;

use super::auth::with_id;
use super::effect::Effect;
use super::limits::{IDLE_OWN, KEEP_OWN_IDLE, LINGER, MAX_OWN_CONNECTIONS, MAX_PENDING_BYTES};
use super::server::{Connection, State};
use super::session::{END_REQUESTS, End, Session, Verdict};
use super::{Action, ClientId, ConnectionId, Core, Micros, ServerError};

/// The clock's ticks for connections of a client's own; they are many, and few wait for it.
///
/// A connection has at most one entry, at or before its true deadline.
pub(super) type Timers = BTreeSet<(Micros, usize)>;

/// Refused for its number of arguments, inside of a transaction and outside.
pub(super) const FAILS: &[u8] = b"*1\r\n$3\r\nGET\r\n";

/// A server's connections that belong to nobody.
#[derive(Debug, Default)]
pub(super) struct Spare {
    /// Connected and without state, the freshest last.
    idle: Vec<usize>,
    /// Closed.
    pub(super) closed: Vec<usize>,
}

/// A request that a server answers with `reply`, in its place, and not at all where replies are turned off; `None`
/// for a reply that is neither a status, an error nor a string.
pub(super) fn said_by_server(reply: &[u8]) -> Option<Vec<u8>> {
    let line = reply.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let (script, text) = match line.split_first()? {
        (b'+', text) => ("return redis.status_reply(ARGV[1])", text),
        (b'-', text) => ("return redis.error_reply(ARGV[1])", text),
        (b'$', _) => ("return ARGV[1]", reply.get(line.len() + 2..reply.len() - 2)?),
        _ => return None,
    };
    let mut wire = Vec::new();
    encode::request(&mut wire, &[b"EVAL", script.as_bytes(), b"0", text]);
    Some(wire)
}

impl Core {
    /// Sends a request on the client's own connection, which it gets now if it has none. `false`
    /// when that has to wait until everything before is answered.
    pub(super) fn own(
        &mut self,
        id: ClientId,
        server: usize,
        effect: Effect,
        wire: &[u8],
        now: Micros,
    ) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return true };
        let waits = client.is_waiting();
        match &mut client.session {
            Some(session) if session.holds_back(effect) => return false,
            Some(session) => session.goes_on(),
            None if waits => return false,
            None => {
                let resp3 = effect.protocol().unwrap_or(client.resp3);
                if !self.enter(id, server, resp3, now) {
                    self.answer(
                        id,
                        b"-ERR tombolo-proxy: too many clients have a connection of their own\r\n",
                    );
                    if effect.lasts() {
                        self.finish(id);
                    }
                    return true;
                }
                self.remember_opening(id, effect, wire, now);
                if effect == Effect::Wait {
                    // WAIT is about what its connection has seen: this makes it see all there is.
                    self.send_own(id, Effect::Own, b"*1\r\n$4\r\nPING\r\n", now);
                }
            }
        }
        self.send_own(id, effect, wire, now);
        true
    }

    /// As [`own`](Self::own), with the first server that is up.
    pub(super) fn ask_anyone(&mut self, id: ClientId, effect: Effect, wire: &[u8], now: Micros) -> bool {
        let Some(client) = self.clients.get(id) else { return true };
        if !self.own(id, self.first_up(client.pool), effect, wire, now) {
            return false;
        }
        if let Some(session) = self.clients.get_mut(id).and_then(|client| client.session.as_mut()) {
            session.for_anyone = Some(wire.to_vec());
        }
        true
    }

    /// Makes the server spoil the transaction that the client is in, for a reason that the proxy
    /// has: EXEC must not run the rest of it.
    pub(super) fn spoil(&mut self, id: ClientId, answer: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(session) = &mut client.session else { return };
        session.sent_to_fail(answer.to_vec());
        let index = session.connection;
        self.connections[index].out.push(FAILS);
        self.write_server(index);
    }

    /// Starts the transaction that the client was promised, on this server. The request that
    /// made it known has to come again.
    pub(super) fn bind(&mut self, id: ClientId, server: usize, now: Micros) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return true };
        if client.is_waiting() {
            return false;
        }
        client.unbound = false;
        if self.own(id, server, Effect::Begin, b"*1\r\n$5\r\nMULTI\r\n", now) {
            return self.clients.get(id).is_none_or(|client| client.session.is_none());
        }
        false
    }

    /// Gives a client a connection of its own that speaks RESP3, or RESP2; `false` when there are too many.
    pub(super) fn enter(&mut self, id: ClientId, server: usize, resp3: bool, now: Micros) -> bool {
        let Some(client) = self.clients.get(id) else { return true };
        let pool = client.pool;
        let Some(index) = self.acquire(pool, server, resp3) else { return false };
        self.connections[index].owner = Some(id);
        let home = self.pools[pool].config.redis_db;
        if let Some(client) = self.clients.get_mut(id) {
            client.session = Some(Box::new(Session::new(index, server, home, (resp3, client.resp3))));
        }
        self.connect(index, now);
        true
    }

    /// A connection that nobody has, and on which the protocol is spoken or will be.
    fn acquire(&mut self, pool: usize, server: usize, resp3: bool) -> Option<usize> {
        loop {
            let idle = &mut self.pools[pool].servers[server].spare.idle;
            let Some(place) = idle.iter().rposition(|&index| self.connections[index].resp3 == resp3) else {
                break;
            };
            let index = idle.remove(place);
            if self.connections[index].input.is_empty() {
                return Some(index);
            }
            self.close_own(index);
        }
        if let Some(index) = self.pools[pool].servers[server].spare.closed.pop() {
            self.connections[index].resp3 = resp3;
            return Some(index);
        }
        let state = &mut self.pools[pool];
        if state.own_connections >= MAX_OWN_CONNECTIONS {
            return None;
        }
        state.own_connections += 1;
        let mut connection = Connection::new(pool, server, false, state.timeout);
        connection.resp3 = resp3;
        self.connections.push(connection);
        Some(self.connections.len() - 1)
    }

    pub(super) fn send_own(&mut self, id: ClientId, effect: Effect, wire: &[u8], now: Micros) {
        let Some(client) = self.clients.get(id) else { return };
        let timed = match effect {
            Effect::Own => None,
            effect if effect.is_patient() => None,
            _ => self.timed(client.pool, wire, now),
        };
        let Some(client) = self.clients.get_mut(id) else { return };
        if self.sampling.is_some() {
            let pool = client.pool;
            self.sample(pool, 1, wire, now);
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(session) = &mut client.session else { return };
        let index = session.connection;
        session.sent(effect, wire.len(), timed);
        let connection = &mut self.connections[index];
        connection.out.push(wire);
        connection.raw |= effect == Effect::Replicate;
        if session.waiting().0 == 1 && connection.state == State::Ready {
            session.start_clock(now, self.pools[client.pool].timeout);
        }
        self.arm(index);
        self.write_server(index);
    }

    /// A message on a connection of a client's own.
    pub(super) fn own_message(&mut self, index: usize, frame: &[u8], now: Micros) -> Result<(), ServerError> {
        let Some(id) = self.connections[index].owner else { return Err(ServerError::Protocol) };
        let Some(client) = self.clients.get_mut(id) else { return Err(ServerError::Protocol) };
        let in_cluster = self.pools[client.pool].cluster.is_some();
        if in_cluster && frame.starts_with(b"-") && self.own_redirected(id, frame, now) {
            return Ok(());
        }
        let Some(client) = self.clients.get_mut(id) else { return Err(ServerError::Protocol) };
        let Some(session) = &mut client.session else { return Err(ServerError::Protocol) };
        // Pushed messages to a client that is about to go would keep it for ever.
        let is_late = client.closing && session.waits_for_ever() && session.waiting().0 == 0;
        let verdict = session.message(frame);
        let resp3 = session.has_agreed_resp3();
        (client.resp3, client.lane) = (resp3, self.pools[client.pool].lane(client.lane, resp3));
        match verdict {
            Verdict::Unasked => return Err(ServerError::Protocol),
            Verdict::Swallow => {}
            Verdict::Replace(answer) => client.out.push(&answer),
            Verdict::PassAuthenticated => {
                client.authenticated = true;
                client.out.push(frame);
            }
            Verdict::PassGreeting => client.out.push(&with_id(frame, id.number(self.number))),
            Verdict::Pass if is_late => {}
            Verdict::Pass => client.out.push(frame),
        }
        while let Some(reply) = session.next_local() {
            client.out.push(&reply);
        }
        session.start_clock(now, self.pools[client.pool].timeout);
        let answered = session.answered.take();
        let place = (client.pool, session.server);
        // Whoever is held back is let go by `client_wrote`, which has reading resumed, and by nothing else.
        session.throttled |= self.pools[client.pool].bounds.holds_back(client.out.len());
        if session.is_over() {
            self.leave(id, now);
            self.follow(id);
        } else {
            self.arm(index);
        }
        if let Some(timed) = answered {
            self.note_timed(place, id, *timed);
        }
        self.after_reply(id);
        Ok(())
    }

    /// A connection outlives its client's session, for which it may have been read from no more: the next
    /// client would wait for ever.
    fn read_on(&mut self, session: &Session) {
        if session.throttled {
            self.actions.push_back(Action::ResumeServer(ConnectionId(session.connection)));
        }
    }

    /// Takes a client back to the shared connections.
    pub(super) fn leave(&mut self, id: ClientId, now: Micros) {
        let Some(session) = self.clients.get_mut(id).and_then(|client| client.session.take()) else { return };
        let index = session.connection;
        self.read_on(&session);
        let connection = &mut self.connections[index];
        (connection.owner, connection.resp3) = (None, session.is_resp3());
        let (pool, server) = (connection.pool, connection.server);
        let idle = &mut self.pools[pool].servers[server].spare.idle;
        if connection.state == State::Ready && idle.len() < KEEP_OWN_IDLE {
            connection.expires = now.saturating_add(IDLE_OWN);
            idle.push(index);
            self.arm(index);
        } else {
            self.close_own(index);
        }
    }

    /// Ends a client's session together with its connection. What an opaque one has sent may be
    /// writes that nobody waits for an answer to, so the server gets them first.
    pub(super) fn abandon(&mut self, session: &Session) {
        let index = session.connection;
        self.read_on(session);
        let connection = &mut self.connections[index];
        connection.owner = None;
        if !session.is_opaque() || connection.out.is_empty() {
            return self.close_own(index);
        }
        connection.lingers = true;
        connection.expires = self.clock.saturating_add(LINGER);
        self.arm(index);
    }

    /// Closes a connection that was only kept for what its client has sent, if all of it is written.
    pub(super) fn end_lingering(&mut self, index: usize) {
        let connection = &self.connections[index];
        if connection.lingers && connection.out.is_empty() {
            self.close_own(index);
        }
    }

    /// Begins the end of a session whose replies can not be told apart, so that all of them reach
    /// the client first; `false` when there is nothing that has to end so. A replication stream
    /// is no dialogue, and is cut.
    pub(super) fn end_session(&mut self, id: ClientId, why: End) -> bool {
        let now = self.clock;
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some(session) = &mut client.session else { return false };
        let index = session.connection;
        let connection = &mut self.connections[index];
        if connection.raw || !session.end(why) {
            return false;
        }
        connection.out.push(END_REQUESTS);
        if connection.state == State::Ready {
            session.start_clock(now, self.pools[client.pool].timeout);
        }
        self.arm(index);
        self.write_server(index);
        true
    }

    /// A connection is no more; `true` when a session was to end with that.
    fn session_ended(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some((why, answer)) = client.session.as_ref().and_then(|session| session.ended()) else {
            return false;
        };
        client.session = None;
        client.out.push(answer);
        if why == End::Reset {
            self.renew(id);
            self.after_reply(id);
        } else {
            self.finish(id);
        }
        true
    }

    fn close_own(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.state != State::Idle {
            connection.reset();
            self.actions.push_back(Action::CloseServer(ConnectionId(index)));
        }
    }

    /// A connection of a client's own is lost. Each missing answer becomes an error; a client
    /// whose state was lost with it is closed, as it would be by the server.
    pub(super) fn fail_own(&mut self, index: usize, error: &ServerError) {
        let connection = &mut self.connections[index];
        let (pool, server, owner) = (connection.pool, connection.server, connection.owner.take());
        // A lack of the proxy's own says nothing about the server.
        let unreached = connection.state != State::Ready && *error != ServerError::Descriptors;
        self.pools[pool].servers[server].trouble.now |= unreached;
        self.pools[pool].servers[server].spare.idle.retain(|idle| *idle != index);
        self.close_own(index);
        let Some(id) = owner else { return };
        if self.session_ended(id) {
            return;
        }
        self.pools[pool].servers[server].trouble.failures.count(error);
        self.want_table(pool);
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(mut session) = client.session.take() else { return };
        let again = session.for_anyone.take().filter(|_| unreached && self.is_any_up(pool));
        if let Some(wire) = again {
            self.ask_anyone(id, Effect::Plain, &wire, self.clock);
            return;
        }
        if unreached && self.hold_session(id, &mut session, error) {
            return;
        }
        let unanswered = session.take_timed();
        unanswered.into_iter().for_each(|timed| self.note_timed((pool, server), id, timed));
        let Some(client) = self.clients.get_mut(id) else { return };
        if session.ends_with_connection() && *error == ServerError::Closed {
            return self.finish(id);
        }
        let relies = session.relies_on_connection();
        let reply = error.reply();
        for answer in session.into_answers() {
            client.out.push(answer.as_ref().unwrap_or(&reply));
        }
        if relies {
            self.finish(id);
        }
        self.follow(id);
        self.after_reply(id);
    }

    /// RESET: the client is as new. `false` when answers are still missing.
    pub(super) fn reset_client(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return true };
        if client.session.as_ref().is_some_and(|session| session.waiting().0 > 0) {
            return false;
        }
        if self.end_session(id, End::Reset) {
            // What follows waits until the server has answered all there is.
            if let Some(client) = self.clients.get_mut(id) {
                (client.paused, client.barrier) = (true, true);
            }
            return true;
        }
        let Some(client) = self.clients.get_mut(id) else { return true };
        if let Some(session) = client.session.take() {
            self.abandon(&session);
        }
        self.answer(id, b"+RESET\r\n");
        self.renew(id);
        true
    }

    /// A client without a connection of its own is as new.
    fn renew(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return };
        let rules = self.rules(client.pool);
        let Some(client) = self.clients.get_mut(id) else { return };
        client.become_anonymous(&rules);
        (client.unbound, client.name) = (false, None);
        (client.resp3, client.lane) = (false, self.pools[client.pool].lane(client.lane, false));
        self.follow(id);
    }

    /// Whether reading from a connection is of any use now: not while its client takes nothing.
    pub fn wants_server_data(&self, id: ConnectionId) -> bool {
        if self.connections[id.0].shared {
            return true;
        }
        let owner = self.connections[id.0].owner.and_then(|owner| self.clients.get(owner));
        let session = owner.and_then(|client| client.session.as_ref());
        session.is_none_or(|session| !session.throttled)
    }

    /// Whether a client that says no more waits for something that may never come. A server would
    /// close such a connection at once. An opaque one that is only held back by what the server has
    /// not taken yet goes on: a server reads on also when it has blocked the client.
    pub fn waits_for_ever(&self, id: ClientId) -> bool {
        let Some(client) = self.clients.get(id) else { return false };
        let Some(session) = &client.session else { return false };
        let goes_on = !self.connections[session.connection].out.is_empty()
            || (client.paused && client.may_resume(&self.pools[client.pool].bounds));
        session.waits_for_ever() && !(session.is_opaque() && goes_on)
    }

    /// Whether a client has put more on its own connection than the server has taken.
    pub(super) fn has_backlog(&self, id: ClientId) -> bool {
        let session = self.clients.get(id).and_then(|client| client.session.as_ref());
        session.is_some_and(|session| self.connections[session.connection].out.len() >= MAX_PENDING_BYTES)
    }

    /// The connection is ready: the time of its first request starts.
    pub(super) fn own_ready(&mut self, index: usize, now: Micros) {
        if let Some(client) = self.connections[index].owner.and_then(|id| self.clients.get_mut(id))
            && let Some(session) = &mut client.session
        {
            session.start_clock(now, self.pools[client.pool].timeout);
        }
        self.arm(index);
    }

    /// When something of a connection of a client's own times out.
    fn own_deadline(&self, index: usize) -> Micros {
        let connection = &self.connections[index];
        match (connection.state, connection.owner) {
            (State::Idle, _) => Micros::MAX,
            (_, None) => connection.expires,
            (State::Ready, Some(id)) => {
                let session = self.clients.get(id).and_then(|client| client.session.as_ref());
                session.filter(|session| !session.throttled).map_or(Micros::MAX, |session| session.deadline)
            }
            _ => connection.deadline(),
        }
    }

    /// Sees to it that the clock looks at a connection in time.
    pub(super) fn arm(&mut self, index: usize) {
        let at = self.own_deadline(index);
        let connection = &mut self.connections[index];
        if at < connection.timer {
            self.timers.remove(&(connection.timer, index));
            self.timers.insert((at, index));
            connection.timer = at;
        }
    }

    /// Ends what has timed out, and what has been idle for long.
    pub(super) fn tick_own(&mut self, now: Micros) {
        while let Some(&(at, index)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, index));
            self.connections[index].timer = Micros::MAX;
            if self.own_deadline(index) > now {
                self.arm(index);
            } else {
                self.fail_own(index, &ServerError::TimedOut);
            }
        }
    }
}
