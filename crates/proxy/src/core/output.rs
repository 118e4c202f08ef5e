//! What servers do, and what clients get: connections coming and going, replies, and writes.

use super::effect::Effect;
use super::own;
use super::server::{InFlight, KEEP_BUFFER, Replies, State};
use super::session::End;
use super::{Action, ClientId, ConnectionId, Core, Micros, ServerError, ServerNews, memcache};
use crate::config::Protocol;

/// Takes bytes for a client; returns how many of them it took.
pub type Outlet<'a> = &'a mut dyn FnMut(ClientId, &[u8]) -> usize;

impl Core {
    /// Whether a connection is there, and the server has taken the password.
    pub fn server_is_ready(&self, id: ConnectionId) -> bool {
        self.connections[id.0].state == State::Ready
    }

    /// What may be written to a server now.
    pub fn server_output(&self, id: ConnectionId) -> &[u8] {
        self.connections[id.0].output()
    }

    /// `count` bytes of [`server_output`](Self::server_output) were written.
    pub fn server_wrote(&mut self, id: ConnectionId, count: usize) {
        self.connections[id.0].wrote(count);
        if let Some(owner) = self.connections[id.0].owner
            && self.clients.get(owner).is_some_and(|client| client.paused)
        {
            self.resumable.push_back(owner);
        }
        self.end_lingering(id.0);
    }

    /// Whether to hear that all of [`server_output`](Self::server_output) was written makes no difference
    /// until something else happens.
    pub fn server_is_settled(&self, id: ConnectionId) -> bool {
        let connection = &self.connections[id.0];
        let owner = connection.owner.and_then(|owner| self.clients.get(owner));
        !connection.lingers && owner.is_none_or(|client| !client.paused)
    }

    /// A connection that was asked for is there.
    pub fn server_connected(&mut self, id: ConnectionId, now: Micros) {
        let connection = &mut self.connections[id.0];
        let State::Connecting { deadline } = connection.state else { return };
        let pool = &self.pools[connection.pool];
        let mut missing = pool.greeting_replies;
        connection.greeting.push(pool.greeting.as_slice());
        if connection.resp3 {
            missing += 1;
            connection.greeting.push(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n");
        }
        if connection.shared {
            missing += pool.shared_greeting_replies;
            connection.greeting.push(pool.shared_greeting);
        }
        connection.state = match missing {
            0 => State::Ready,
            missing => State::Handshake { deadline, missing },
        };
        if missing == 0 {
            self.pools[connection.pool].servers[connection.server].trouble.now = false;
        }
        if !self.connections[id.0].shared {
            self.own_ready(id.0, now);
        }
        self.write_server(id.0);
    }

    /// A connection could not be made, or is gone.
    pub fn server_failed(&mut self, id: ConnectionId, error: &ServerError, now: Micros) {
        self.fail(id.0, error, now);
        self.resume_clients(now);
    }

    /// A server has sent `bytes`. An error means that it was disconnected for them.
    pub fn server_data(&mut self, id: ConnectionId, bytes: &[u8], now: Micros) -> Result<(), ServerError> {
        self.server_data_to(id, bytes, now, &mut |_, _| 0)
    }

    /// As [`server_data`](Self::server_data), for a caller who can pass replies on at once:
    /// `outlet` is offered what a client is to be written next, and says how many bytes of it were
    /// written. The rest is kept, and asked to be written as usual.
    pub fn server_data_to(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        now: Micros,
        outlet: Outlet<'_>,
    ) -> Result<(), ServerError> {
        self.clock = now;
        let connection = &mut self.connections[id.0];
        if let State::Idle | State::Connecting { .. } = connection.state {
            // Of a connection that is given up already.
            return Ok(());
        }
        let outcome = if connection.input.is_empty() {
            // The usual case: whole replies, framed where they were read to.
            self.frames(id.0, bytes, now, outlet)
                .map(|used| self.connections[id.0].input.extend_from_slice(&bytes[used..]))
        } else {
            connection.input.extend_from_slice(bytes);
            self.frames_of_input(id.0, now, outlet)
        };
        let outcome = outcome.and_then(|()| self.may_grow(id.0));
        if let Err(error) = &outcome {
            self.fail(id.0, error, now);
        }
        self.resume_clients(now);
        // What waited for these replies.
        self.write_server(id.0);
        outcome
    }

    /// Nobody takes any of a reply before all of it is there: one that no client may be left with is not
    /// waited for.
    fn may_grow(&self, index: usize) -> Result<(), ServerError> {
        let connection = &self.connections[index];
        match connection.input.len() > self.pools[connection.pool].bounds.most_unsent {
            true => Err(ServerError::Other(
                "tombolo-proxy: the server's reply is larger than max_client_buffer_hard".to_string(),
            )),
            false => Ok(()),
        }
    }

    /// How long the start of a reply is that is not complete.
    pub fn rest(&self, id: ConnectionId) -> usize {
        self.connections[id.0].input.len()
    }

    /// Moves the start of a reply that is not complete to the end of `room`, if there is enough, and
    /// returns how long it is. What is read next belongs behind it, and all of it is to be handed
    /// in together: a reply that a read cut is not copied again with everything that follows it.
    pub fn take_rest(&mut self, id: ConnectionId, room: &mut [u8]) -> usize {
        let rest = &mut self.connections[id.0].input;
        let Some(start) = room.len().checked_sub(rest.len()) else { return 0 };
        room[start..].copy_from_slice(rest);
        let length = rest.len();
        rest.clear();
        length
    }

    fn frames_of_input(&mut self, index: usize, now: Micros, outlet: Outlet<'_>) -> Result<(), ServerError> {
        let mut input = std::mem::take(&mut self.connections[index].input);
        let used = self.frames(index, &input, now, outlet)?;
        if used == input.len() && input.capacity() > KEEP_BUFFER {
            input = Vec::new();
        } else {
            input.drain(..used);
        }
        self.connections[index].input = input;
        Ok(())
    }

    /// Hands out the complete replies in `bytes`; returns how many bytes they are.
    fn frames(
        &mut self,
        index: usize,
        bytes: &[u8],
        now: Micros,
        outlet: Outlet<'_>,
    ) -> Result<usize, ServerError> {
        let connection = &self.connections[index];
        if connection.memcache.is_some() {
            return self.frames_memcache(index, bytes, now, outlet);
        }
        if connection.lingers && connection.state == State::Ready {
            // Nobody is there to get it.
            return Ok(bytes.len());
        }
        if connection.raw && connection.state == State::Ready {
            self.own_message(index, bytes, now)?;
            return Ok(bytes.len());
        }
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let connection = &mut self.connections[index];
            if connection.shared && connection.state == State::Ready && !connection.in_cluster {
                let (replies, outcome) = connection.replies(rest);
                if replies.count > 0 {
                    self.replies(index, &replies, &rest[..replies.length], now, outlet);
                    used += replies.length;
                }
                outcome.map_err(|_| ServerError::Protocol)?;
                if replies.cut {
                    break;
                }
                if replies.count > 0 {
                    continue;
                }
            }
            let Some(length) =
                self.connections[index].scanner.advance(rest).map_err(|_| ServerError::Protocol)?
            else {
                break;
            };
            self.frame(index, &rest[..length], now)?;
            if self.connections[index].state == State::Idle && !self.connections[index].shared {
                // Its client has gone, and it with it.
                return Ok(bytes.len());
            }
            used += length;
        }
        Ok(used)
    }

    fn frame(&mut self, index: usize, reply: &[u8], now: Micros) -> Result<(), ServerError> {
        let greeted = matches!(self.connections[index].state, State::Handshake { .. });
        if greeted && reply.starts_with(b"-") && !self.needs_no_password(index, reply) {
            let text = String::from_utf8_lossy(&reply[1..]);
            return Err(ServerError::Handshake(text.trim_end().to_string()));
        }
        let connection = &mut self.connections[index];
        match connection.state {
            // Answers nothing, not even AUTH or SELECT.
            State::Handshake { .. } if reply.starts_with(b">") => {}
            State::Handshake { missing, deadline } if missing > 1 => {
                connection.state = State::Handshake { missing: missing - 1, deadline };
            }
            // An answer to what was not asked yet; the rest of it would run into the first request.
            State::Handshake { .. } if !connection.greeting.is_empty() => return Err(ServerError::Protocol),
            State::Handshake { .. } => {
                connection.state = State::Ready;
                self.pools[connection.pool].servers[connection.server].trouble.now = false;
                if !connection.shared {
                    self.own_ready(index, now);
                }
                self.write_server(index);
            }
            _ if !connection.shared => return self.own_message(index, reply, now),
            // Nobody asked for pushes on a shared connection; they answer no request.
            _ if reply.starts_with(b">") => {}
            _ => {
                if connection.in_flight.is_empty() {
                    return Err(ServerError::Protocol);
                }
                let replies = Replies { count: 1, length: reply.len(), cut: false };
                if self.connections[index].in_cluster {
                    self.cluster_reply(index, &replies, reply, now);
                    return Ok(());
                }
                self.replies(index, &replies, reply, now, &mut |_, _| 0);
            }
        }
        Ok(())
    }

    /// Hands out replies to the oldest requests.
    #[inline]
    pub(super) fn replies(
        &mut self,
        index: usize,
        replies: &Replies,
        bytes: &[u8],
        now: Micros,
        outlet: Outlet<'_>,
    ) {
        let connection = &mut self.connections[index];
        let Some(run) = connection.answered(replies, now) else { return };
        self.pools[connection.pool].latency.record(now.saturating_sub(run.since), run.count.into());
        let keeps = connection.keeps;
        if std::mem::take(&mut connection.suspect) {
            let (pool, server) = (connection.pool, connection.server);
            self.pools[pool].eject.good(server);
        }
        if keeps {
            self.note_answered(index, &run);
        }
        self.deliver(run, bytes, outlet);
    }

    /// Ends a connection: every request on it gets an error, none is sent again.
    pub(super) fn fail(&mut self, index: usize, error: &ServerError, now: Micros) {
        let connection = &mut self.connections[index];
        if connection.state == State::Idle {
            return;
        }
        self.clock = now;
        if !connection.shared {
            return self.fail_own(index, error);
        }
        let trouble = &mut self.pools[connection.pool].servers[connection.server].trouble;
        trouble.failures.count(error);
        // Servers may close what is idle.
        let idle = connection.state == State::Ready && connection.in_flight.is_empty();
        trouble.now |= !idle || *error != ServerError::Closed;
        connection.traffic.failed(error);
        let (pool, server) = (connection.pool, connection.server);
        let (kept, unsent) = (std::mem::take(&mut connection.kept), connection.out.len());
        let runs = connection.reset();
        if *error == ServerError::TimedOut {
            self.server_news.push_back(ServerNews::Silent(ConnectionId(index)));
        }
        self.server_is_bad(pool, server, now);
        self.actions.push_back(Action::CloseServer(ConnectionId(index)));
        let reply = match self.pools[pool].config.protocol {
            Protocol::Redis => error.reply(),
            Protocol::Memcache => memcache::failure(error),
        };
        if self.connections[index].in_cluster {
            return self.cluster_failed(index, runs, (kept.as_slice(), unsent), (error, &reply), now);
        }
        self.pools[pool].stats.forward_error += runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
        let mut rest = kept.as_slice();
        for run in runs {
            if self.connections[index].keeps {
                let (wire, others) = rest.split_at_checked(run.bytes as usize).unwrap_or_default();
                rest = others;
                self.note_slow((pool, server), &run, wire);
            }
            self.deliver(run, &reply.repeat(run.count as usize), &mut |_, _| 0);
        }
    }

    /// Gives a client the replies to a run of its requests.
    #[inline]
    pub(super) fn deliver(&mut self, run: InFlight, replies: &[u8], outlet: Outlet<'_>) {
        let id = run.client;
        let Some(client) = self.clients.get_mut(id) else { return };
        client.complete(run.seq, run.part, run.count, replies, &mut |bytes| outlet(id, bytes));
        let unsent = client.unsent();
        if unsent == 0 {
            client.active = self.clock;
        }
        let unasked = !client.dirty && !client.out.is_empty();
        if unsent != client.counted || unasked || client.paused || client.closing {
            self.after_reply(id);
        }
    }

    /// A reply was added to what a client is sent.
    pub(super) fn after_reply(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let pool = &mut self.pools[client.pool];
        if client.unsent() > pool.bounds.most_unsent {
            return self.client_failed(id);
        }
        pool.count_unsent(client, self.clock);
        if client.paused && client.may_resume(&pool.bounds) {
            self.resumable.push_back(id);
        }
        self.ask_for_output(id);
    }

    /// Appends a reply of the proxy's own.
    pub(super) fn answer(&mut self, id: ClientId, reply: &[u8]) {
        if let Some(client) = self.clients.get_mut(id) {
            let session = client.session.as_mut().filter(|session| session.speaks_through_server());
            if let Some(session) = session
                && let Some(wire) = own::said_by_server(reply)
            {
                session.goes_on();
                return self.send_own(id, Effect::Plain, &wire, self.clock);
            }
            client.reply(reply);
            self.after_output(id);
        }
    }

    /// Closes a client once it has every reply.
    pub(super) fn finish(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.closing = true;
            client.input = Vec::new();
            self.end_session(id, End::Leave);
            self.after_output(id);
        }
    }

    /// Something may have been added to what a client is sent.
    fn after_output(&mut self, id: ClientId) {
        self.count_unsent(id);
        self.ask_for_output(id);
    }

    /// Asks for what a client needs next: a write, or the end.
    fn ask_for_output(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.closing && client.is_drained() {
            return self.client_gone(id);
        }
        if !client.dirty && !client.out.is_empty() {
            client.dirty = true;
            self.actions.push_back(Action::WriteClient(id));
        }
    }

    /// What may be written to a client now.
    pub fn client_output(&self, id: ClientId) -> &[u8] {
        self.clients.get(id).map_or(&[], |client| client.out.as_slice())
    }

    /// Whether to hear that all of [`client_output`](Self::client_output) was written makes no difference
    /// until something else happens: nobody waits for room, and nothing ends with it.
    pub fn client_is_settled(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| {
            let ends = client.closing || client.leaving || self.has_leaving();
            let throttled = client.session.as_ref().is_some_and(|session| session.throttled);
            !ends && !throttled && !client.paused && !self.pools[client.pool].bounds.crowded
        })
    }

    /// What an [`Outlet`] took was not written after all but for the start: `bytes` are what is left,
    /// and come before everything else that the client is owed.
    pub fn client_returned(&mut self, id: ClientId, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(id) {
            client.out.put_back(bytes);
            self.after_reply(id);
        }
    }

    /// `count` bytes of [`client_output`](Self::client_output) were written.
    pub fn client_wrote(&mut self, id: ClientId, count: usize, now: Micros) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.out.advance(count, 0);
        if count > 0 {
            client.active = now;
        }
        if client.closing && client.is_drained() {
            return self.client_gone(id);
        }
        let pool = &mut self.pools[client.pool];
        pool.count_unsent(client, now);
        if let Some(session) = &mut client.session
            && session.throttled
            && pool.bounds.lets_go(client.out.len())
        {
            session.throttled = false;
            session.start_clock(now, pool.timeout);
            let index = session.connection;
            self.actions.push_back(Action::ResumeServer(ConnectionId(index)));
            self.arm(index);
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.paused && client.may_resume(&self.pools[client.pool].bounds) {
            self.resumable.push_back(id);
            self.resume_clients(now);
        }
    }
}
