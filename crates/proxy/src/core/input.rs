//! What clients send: from bytes to requests in a connection's buffer, or answers.

use tombolo_resp::{Request, RequestParser, Step};

use super::client::Client;
use super::join::{Gather, Join};
use super::route::{self, Decision};
use super::run::plain_run;
use super::server::{InFlight, State};
use super::session::End;
use super::{Action, ClientId, ConnectionId, Core, Micros, ServerError, limits};
use crate::config::Protocol;

impl Core {
    /// A client of `pool` has connected. `client_connections` is for the caller to heed: it is a
    /// limit over all threads.
    pub fn client_connected(&mut self, pool: usize) -> ClientId {
        let state = &mut self.pools[pool];
        let lane = state.next_lane(false);
        state.clients += 1;
        self.total_clients += 1;
        let mut client = Client::new(pool, lane, true);
        client.become_anonymous(&state.config);
        if state.config.protocol == Protocol::Memcache {
            client.memcache = Some(Box::default());
        }
        let timed = state.client_timeout != Micros::MAX;
        let id = self.clients.insert(client);
        if timed {
            self.idle.arrived(id);
        }
        id
    }

    /// A client of `pool` has connected that is one too many: it is told so, and closed.
    pub fn client_refused(&mut self, pool: usize) -> ClientId {
        let id = self.client_connected(pool);
        self.answer(id, limits::refusal(self.pools[pool].config.protocol));
        self.finish(id);
        id
    }

    /// Whether it is of any use to read from a client: not when it is over a limit or leaving.
    pub fn wants_input(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| !client.paused && !client.closing && !client.eof)
    }

    /// A client has sent `bytes`.
    pub fn client_data(&mut self, id: ClientId, bytes: &[u8], now: Micros) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.closing {
            return;
        }
        self.clock = now;
        client.active = now;
        if client.paused {
            client.input.extend_from_slice(bytes);
        } else if client.input.is_empty() {
            // The usual case: whole requests, parsed where they were read to.
            let used = self.consume(id, bytes, now);
            if let Some(client) = self.clients.get_mut(id) {
                client.input.extend_from_slice(&bytes[used..]);
            }
        } else {
            client.input.extend_from_slice(bytes);
            self.consume_input(id, now);
        }
    }

    /// A client will send nothing more. It still gets the replies to what it sent.
    pub fn client_eof(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.eof = true;
        self.pools[client.pool].stats.client_eof += 1;
        if client.session.as_ref().is_some_and(|session| session.waits_for_ever()) {
            return self.client_gone(id);
        }
        if !client.paused {
            self.finish(id);
        }
    }

    /// The connection of a client has failed.
    pub fn client_failed(&mut self, id: ClientId) {
        self.count_client_error(id);
        self.client_gone(id);
    }

    pub(super) fn count_client_error(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get(id) {
            self.pools[client.pool].stats.client_err += 1;
        }
    }

    /// A client is gone; so are its replies.
    pub fn client_gone(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(id) {
            self.pools[client.pool].clients -= 1;
            self.uncount(client.pool, client.counted);
            self.idle.forget(client.idle_timer, id);
            self.leaving -= usize::from(client.leaving);
            if let Some(session) = &client.session {
                self.abandon(session);
            }
            self.actions.push_back(Action::CloseClient(id));
        }
    }

    /// Goes on with clients that were paused and may be read from again.
    pub(super) fn resume_clients(&mut self, now: Micros) {
        while let Some(id) = self.resumable.pop_front() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            if !client.paused || !client.may_resume(&self.pools[client.pool].bounds) {
                continue;
            }
            (client.paused, client.barrier) = (false, false);
            if self.pools[client.pool].retired {
                self.follow(id);
                if self.clients.get(id).is_none_or(|client| client.paused) {
                    continue;
                }
            }
            self.consume_input(id, now);
            let Some(client) = self.clients.get(id) else { continue };
            match (client.paused, client.eof) {
                (true, _) => {}
                (false, true) => self.finish(id),
                (false, false) => self.actions.push_back(Action::ResumeClient(id)),
            }
        }
    }

    fn consume_input(&mut self, id: ClientId, now: Micros) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let mut input = std::mem::take(&mut client.input);
        let used = self.consume(id, &input, now);
        if let Some(client) = self.clients.get_mut(id) {
            if used == input.len() {
                input = Vec::new();
            } else {
                input.drain(..used);
            }
            client.input = input;
        }
    }

    /// Parses and handles the requests in `bytes`; returns how many bytes they are.
    fn consume(&mut self, id: ClientId, bytes: &[u8], now: Micros) -> usize {
        let Some(client) = self.clients.get_mut(id) else { return bytes.len() };
        if client.memcache.is_some() {
            return self.consume_memcache(id, bytes, now);
        }
        let mut begun = client.parser.take();
        let pool = client.pool;
        let mut used = 0;
        if begun.is_none() {
            used = self.consume_runs(id, bytes, now);
            let bounds = |client: &Client| &self.pools[client.pool].bounds;
            let goes_on = |client: &Client| !client.must_pause(bounds(client));
            if used == bytes.len() && self.clients.get(id).is_none_or(goes_on) {
                return used;
            }
        }
        // Parsers are lent, so that clients between requests need no memory for one.
        let mut parser = begun.take().unwrap_or_else(|| std::mem::take(&mut self.parser));
        parser.set_limit(self.pools[pool].bounds.request_bytes);
        used += self.consume_with(&mut parser, id, &bytes[used..], now);
        if parser.is_between_requests() {
            self.parser = parser;
        } else if let Some(client) = self.clients.get_mut(id) {
            client.parser = Some(parser);
        }
        used
    }

    /// Handles the requests that `bytes` start with and that need no closer look, as far as limits
    /// allow.
    fn consume_runs(&mut self, id: ClientId, bytes: &[u8], now: Micros) -> usize {
        let Some(client) = self.clients.get_mut(id) else { return bytes.len() };
        let state = &self.pools[client.pool];
        let apart = !state.placement.is_single() || state.slow.is_some() || state.eject.all_out;
        if apart || !client.is_plain() || client.must_pause(&state.bounds) {
            return 0;
        }
        let run = plain_run(bytes, client.room(&state.bounds), state.bounds.request_bytes);
        if run.count > 0 {
            let connection = state.servers[0].lanes[client.lane];
            let seq = client.order.wait(connection, run.count, run.length);
            self.enqueue(connection, id, seq, 0, run.count, &bytes[..run.length], now);
        }
        run.length
    }

    fn consume_with(&mut self, parser: &mut RequestParser, id: ClientId, bytes: &[u8], now: Micros) -> usize {
        let mut used = 0;
        while let Some(client) = self.clients.get_mut(id) {
            if client.closing {
                return bytes.len();
            }
            if client.barrier {
                return used;
            }
            parser.set_stranger(!client.authenticated);
            let bounds = &self.pools[client.pool].bounds;
            if client.must_pause(bounds) || (client.session.is_some() && self.has_backlog(id)) {
                self.pause(id);
                return used;
            }
            let rest = &bytes[used..];
            match parser.advance(rest) {
                Ok(Step::Incomplete) => return used,
                Ok(Step::Empty(length)) => used += length,
                Ok(Step::Complete(length)) => {
                    if !self.request(id, &parser.request(rest), now) {
                        if let Some(client) = self.clients.get_mut(id) {
                            (client.paused, client.barrier) = (true, true);
                        }
                        return used;
                    }
                    used += length;
                    used += self.consume_runs(id, &bytes[used..], now);
                }
                Err(error) => {
                    self.count_client_error(id);
                    self.answer_error(id, &error.to_string());
                    self.finish(id);
                }
            }
        }
        bytes.len()
    }

    fn pause(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.paused = true;
        }
    }

    /// Handles one request; `false` when it has to be looked at again once everything before it
    /// is answered.
    fn request(&mut self, id: ClientId, request: &Request<'_>, now: Micros) -> bool {
        let dice = self.roll();
        let Some(client) = self.clients.get(id) else { return true };
        let (pool, lane, authenticated) = (client.pool, client.lane, client.authenticated);
        if client.user.is_some()
            && authenticated
            && let Some(done) = self.for_user(id, request, now)
        {
            return done;
        }
        let Some(client) = self.clients.get(id) else { return true };
        let state = &self.pools[pool];
        let decision = match &client.session {
            None if client.unbound => route::decide_unbound(&state.placement, request, dice),
            None => route::decide(&state.placement, state.config.redis_db, request, dice),
            Some(session) => route::decide_own(&state.placement, session, request),
        };
        if state.cluster.is_some()
            && decision.is_sent()
            && (authenticated || matches!(decision, Decision::Hello(..)))
        {
            match self.may_send(id, now) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(reason) => {
                    if let Some(client) = self.clients.get_mut(id) {
                        client.held_since = None;
                    }
                    let mut reply = Vec::new();
                    tombolo_resp::encode::error(&mut reply, &reason);
                    self.answer(id, &reply);
                    return true;
                }
            }
        }
        match decision {
            Decision::Auth(server) => return self.authenticate(id, server, request, now),
            Decision::Hello(server, effect) => return self.hello(id, server, effect, request, now),
            Decision::Quit => {
                if !self.end_session(id, End::Quit) {
                    self.answer(id, b"+OK\r\n");
                }
                self.finish(id);
            }
            Decision::Reset => return self.reset_client(id),
            Decision::Drop => self.client_gone(id),
            // The password may be on its way.
            _ if !authenticated && self.is_authenticating(id) => return false,
            _ if !authenticated => self.answer(id, b"-NOAUTH Authentication required\r\n"),
            Decision::Reply(reply) => self.answer(id, &reply),
            Decision::Own(server, effect) => return self.own(id, server, effect, request.wire(), now),
            Decision::Anyone(effect) => return self.ask_anyone(id, effect, request.wire(), now),
            Decision::SetName(name) => self.set_name(id, &name),
            Decision::GetName => self.tell_name(id),
            Decision::Wait => return false,
            Decision::Begin | Decision::End(_) => self.unbound(id, &decision),
            Decision::Bind(server) => return self.bind(id, server, now),
            Decision::Spoil(answer) => self.spoil(id, &answer),
            Decision::Split(parts, _) if self.pools[pool].eject.all_out => {
                self.refuse(id, parts.len(), &ServerError::Refused.reply());
            }
            Decision::Forward(_) if self.pools[pool].eject.all_out => {
                self.refuse(id, 1, &ServerError::Refused.reply());
            }
            Decision::Split(parts, gather) => self.split(id, parts, gather, now),
            Decision::Forward(server) => {
                let connection = self.pools[pool].servers[server].lanes[lane];
                self.forward(id, connection, request.wire(), now);
            }
        }
        true
    }

    /// Whether a password is being checked by the server.
    pub(super) fn is_authenticating(&self, id: ClientId) -> bool {
        let session = self.clients.get(id).and_then(|client| client.session.as_ref());
        session.is_some_and(|session| session.is_authenticating())
    }

    fn unbound(&mut self, id: ClientId, decision: &Decision) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.unbound = *decision == Decision::Begin;
        self.answer(id, if let Decision::End(reply) = decision { reply } else { b"+OK\r\n" });
    }

    fn forward(&mut self, id: ClientId, index: usize, wire: &[u8], now: Micros) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let seq = match self.connections[index].in_cluster {
            // It may be another connection that answers in the end.
            true => client.order.wait_alone(wire.len()),
            false => client.order.wait(index, 1, wire.len()),
        };
        self.enqueue(index, id, seq, 0, 1, wire, now);
    }

    /// Sends each part of a request to its server.
    pub(super) fn split(&mut self, id: ClientId, parts: Vec<(usize, Vec<u8>)>, gather: Gather, now: Micros) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let bytes = parts.iter().map(|(_, wire)| wire.len()).sum();
        let seq = client.order.wait_for_parts(Join::new(gather, parts.len(), bytes));
        let (pool, lane) = (client.pool, client.lane);
        self.pools[pool].stats.fragments += parts.len() as u64;
        for (part, (server, wire)) in (0..).zip(&parts) {
            let connection = self.pools[pool].servers[*server].lanes[lane];
            self.enqueue(connection, id, seq, part, 1, wire, now);
        }
    }

    /// Puts `count` requests, which are all of `wire`, on a connection.
    #[inline(always)]
    #[expect(clippy::too_many_arguments)]
    pub(super) fn enqueue(
        &mut self,
        index: usize,
        client: ClientId,
        seq: u64,
        part: u32,
        count: u32,
        wire: &[u8],
        now: Micros,
    ) {
        if self.sampling.is_some() && client != ClientId::NOBODY {
            self.sample(self.connections[index].pool, count, wire, now);
        }
        let connection = &mut self.connections[index];
        connection.out.push(wire);
        if connection.keeps {
            connection.kept.push(wire);
        }
        connection.batches.add(count);
        connection.traffic.requests += u64::from(count);
        connection.traffic.request_bytes += wire.len() as u64;
        // Requests are below 4 GiB, and several together far below.
        let bytes = wire.len() as u32;
        connection.in_flight.push_back(InFlight { client, seq, count, part, bytes, since: now });
        if connection.state != State::Ready {
            self.connect(index, now);
        }
        self.write_server(index);
    }

    pub(super) fn write_server(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.dirty && !connection.output().is_empty() {
            connection.dirty = true;
            self.actions.push_back(Action::WriteServer(ConnectionId(index)));
        }
    }
}
