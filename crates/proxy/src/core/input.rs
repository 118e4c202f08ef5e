//! What clients send: from bytes to requests in a connection's buffer, or answers.

use std::borrow::Cow;

use tombolo_resp::{Request, RequestParser, Step, encode};

use super::client::Client;
use super::route::{self, Decision};
use super::server::InFlight;
use super::{Action, ClientId, ConnectionId, Core, Millis};

impl Core {
    /// A client of `pool` has connected.
    pub fn client_connected(&mut self, pool: usize) -> ClientId {
        let state = &mut self.pools[pool];
        let lane = state.next_lane;
        state.next_lane = (lane + 1) % state.lanes;
        state.clients += 1;
        let over = state.max_clients > 0 && state.clients > state.max_clients;
        let id = self.clients.insert(Client::new(pool, lane, state.password.is_none()));
        if over {
            self.answer(id, b"-ERR max number of clients reached\r\n");
            self.finish(id);
        }
        id
    }

    /// Whether it is of any use to read from a client: not when it is over a limit or leaving.
    pub fn wants_input(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| !client.paused && !client.closing && !client.eof)
    }

    /// A client has sent `bytes`.
    pub fn client_data(&mut self, id: ClientId, bytes: &[u8], now: Millis) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.closing {
            return;
        }
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
        if !client.paused {
            self.finish(id);
        }
    }

    /// A client is gone; so are its replies.
    pub fn client_gone(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(id) {
            self.pools[client.pool].clients -= 1;
            self.actions.push_back(Action::CloseClient(id));
        }
    }

    /// Goes on with clients that were paused and may be read from again.
    pub(super) fn resume_clients(&mut self, now: Millis) {
        while let Some(id) = self.resumable.pop_front() {
            let Some(client) = self.clients.get_mut(id) else { continue };
            if !client.paused || !client.may_resume() {
                continue;
            }
            client.paused = false;
            self.consume_input(id, now);
            let Some(client) = self.clients.get(id) else { continue };
            match (client.paused, client.eof) {
                (true, _) => {}
                (false, true) => self.finish(id),
                (false, false) => self.actions.push_back(Action::ResumeClient(id)),
            }
        }
    }

    fn consume_input(&mut self, id: ClientId, now: Millis) {
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
    fn consume(&mut self, id: ClientId, bytes: &[u8], now: Millis) -> usize {
        let Some(client) = self.clients.get_mut(id) else { return bytes.len() };
        let mut parser = std::mem::take(&mut client.parser);
        let used = self.consume_with(&mut parser, id, bytes, now);
        if let Some(client) = self.clients.get_mut(id) {
            client.parser = parser;
        }
        used
    }

    fn consume_with(&mut self, parser: &mut RequestParser, id: ClientId, bytes: &[u8], now: Millis) -> usize {
        let mut used = 0;
        while let Some(client) = self.clients.get_mut(id) {
            if client.closing {
                return bytes.len();
            }
            if client.must_pause() {
                client.paused = true;
                return used;
            }
            let rest = &bytes[used..];
            match parser.advance(rest) {
                Ok(Step::Incomplete) => return used,
                Ok(Step::Empty(length)) => used += length,
                Ok(Step::Complete(length)) => {
                    self.request(id, &parser.request(rest), now);
                    used += length;
                }
                Err(error) => {
                    self.answer_error(id, &error.to_string());
                    self.finish(id);
                }
            }
        }
        bytes.len()
    }

    fn request(&mut self, id: ClientId, request: &Request<'_>, now: Millis) {
        let dice = self.roll();
        let Some(client) = self.clients.get(id) else { return };
        let (pool, lane, authenticated) = (client.pool, client.lane, client.authenticated);
        let decision = route::decide(&self.pools[pool].placement, request, dice);
        match decision {
            Decision::Auth => self.authenticate(id, request),
            Decision::Quit => {
                self.answer(id, b"+OK\r\n");
                self.finish(id);
            }
            Decision::Drop => self.client_gone(id),
            _ if !authenticated => self.answer(id, b"-NOAUTH Authentication required\r\n"),
            Decision::Reply(reply) => self.answer(id, &reply),
            Decision::Forward(server) => {
                let state = &self.pools[pool];
                let connection = state.first_connection + server * state.lanes + lane;
                self.forward(id, connection, request.wire(), now);
            }
        }
    }

    fn forward(&mut self, id: ClientId, index: usize, wire: &[u8], now: Millis) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let seq = client.wait(wire.len());
        let timeout = self.pools[client.pool].timeout;
        let deadline = timeout.map_or(Millis::MAX, |timeout| now.saturating_add(timeout));
        let connection = &mut self.connections[index];
        connection.out.push(wire);
        connection.in_flight.push_back(InFlight { client: id, seq, deadline });
        self.connect(index, now);
        self.write_server(index);
    }

    pub(super) fn write_server(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.dirty && !connection.output().is_empty() {
            connection.dirty = true;
            self.actions.push_back(Action::WriteServer(ConnectionId(index)));
        }
    }

    /// AUTH as twemproxy has it: one password for the pool, and no users.
    fn authenticate(&mut self, id: ClientId, request: &Request<'_>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let password = self.pools[client.pool].password.as_deref().map(str::as_bytes);
        let given = match request.len() {
            2 => request.arg(1),
            _ if request.len() == 3 && request.arg(1) == Some(b"default") => request.arg(2),
            _ => return self.answer_error(id, "tombolo-proxy does not support AUTH with a user yet"),
        };
        let Some(password) = password else {
            return self.answer_error(id, "Client sent AUTH, but no password is set");
        };
        client.authenticated = given.is_some_and(|given| same(given, password));
        let reply: Cow<'_, [u8]> = match client.authenticated {
            true => Cow::Borrowed(b"+OK\r\n"),
            false => Cow::Borrowed(b"-ERR invalid password\r\n"),
        };
        self.answer(id, &reply);
    }

    fn answer_error(&mut self, id: ClientId, reason: &str) {
        let mut reply = Vec::new();
        encode::error(&mut reply, &format!("ERR {reason}"));
        self.answer(id, &reply);
    }
}

/// Compares passwords in a time that does not tell how much of them is right.
fn same(given: &[u8], password: &[u8]) -> bool {
    let differences = given.iter().zip(password).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == password.len() && differences == 0
}
