//! The stage: what happens next, and what must hold after it.

use std::collections::BTreeMap;

use tombolo_proxy::config::Config;
use tombolo_proxy::core::limits::{MAX_PENDING_BYTES, MAX_PENDING_REQUESTS, MAX_UNSENT_BYTES};
use tombolo_proxy::core::{Action, ConnectionId, Core, Micros, ServerError};

use super::Setting;
use super::client::Client;
use super::script::Script;
use super::server::{BIG, Server};
use crate::words::{REPLIES, REQUESTS};

const MAX_CLIENTS: usize = 8;
/// Bytes that are given or written at a time, at most.
const TURN: usize = 64 << 10;
/// What one client may have waiting: each of its requests may bring a large answer.
const MOST_UNSENT: usize = MAX_UNSENT_BYTES + (MAX_PENDING_REQUESTS + 1) * (BIG + 64) + 4 * TURN;
/// What the clients may have sent to one server, each argument of a split being some bytes longer.
const MOST_SENT: usize = 2 * MAX_CLIENTS * (MAX_PENDING_BYTES + TURN) + 64 * TURN;

pub(super) struct World {
    setting: &'static Setting,
    pub(super) core: Core,
    pub(super) now: Micros,
    pub(super) clients: Vec<Client>,
    pub(super) connecting: Vec<ConnectionId>,
    pub(super) servers: BTreeMap<ConnectionId, Server>,
    /// Whether servers may fail and time may pass.
    faults: bool,
    /// Whether servers may send anything.
    wild: bool,
    /// One has: what clients read from here on proves nothing.
    pub(super) tainted: bool,
    /// Bytes that are written at a time.
    pub(super) write: usize,
}

impl World {
    pub(super) fn new(setting: &'static Setting, faults: bool, wild: bool) -> World {
        let config = Config::parse("session", setting.text).expect("a configuration");
        World {
            setting,
            core: Core::new(&config.pools, 1),
            now: 0,
            clients: Vec::new(),
            connecting: Vec::new(),
            servers: BTreeMap::new(),
            faults,
            wild,
            tainted: false,
            write: usize::MAX,
        }
    }

    pub(super) fn step(&mut self, script: &mut Script<'_>) {
        match script.below(20) {
            0 => self.arrives(true),
            1 => self.arrives(false),
            2..=4 => self.asks(script),
            5 | 6 => self.babbles(script),
            7 | 8 => self.client_sends(script),
            9 => self.client_takes(script),
            10 | 11 => self.connects(script),
            12 => self.server_takes(script),
            13 | 14 => self.server_sends(script),
            15 => self.server_stirs(script),
            16 if self.faults => self.server_drops(script),
            17 if self.faults => self.time_passes(script.byte() as Micros * 1000),
            18 if self.wild => self.server_babbles(script),
            18 => self.client_leaves(script),
            19 => self.write = 1 + script.byte() * script.byte(),
            _ => self.server_sends(script),
        }
        self.act();
        self.check();
    }

    fn arrives(&mut self, honest: bool) {
        if self.clients.iter().filter(|client| client.open).count() >= MAX_CLIENTS {
            return;
        }
        let id = self.core.client_connected(0);
        let mut client = Client::new(id, self.clients.len(), honest);
        if let (true, Some(password)) = (honest, self.setting.password) {
            client.log_in(password);
        }
        self.clients.push(client);
    }

    /// One of the clients that are there.
    fn client(&mut self, script: &mut Script<'_>, which: impl Fn(&Client) -> bool) -> Option<usize> {
        let of = |(index, client): (usize, &Client)| (client.open && which(client)).then_some(index);
        let all: Vec<usize> = self.clients.iter().enumerate().filter_map(of).collect();
        script.choose(&all)
    }

    fn asks(&mut self, script: &mut Script<'_>) {
        if let Some(index) = self.client(script, |client| client.honest && !client.eof) {
            self.clients[index].prepare(script);
        }
    }

    /// A wild client has something to send: a command, or any bytes.
    fn babbles(&mut self, script: &mut Script<'_>) {
        let Some(index) = self.client(script, |client| !client.honest && !client.eof) else { return };
        let bytes = match script.below(4) {
            0 => {
                let length = script.byte();
                script.bytes(length)
            }
            _ => script.choose(REQUESTS).unwrap_or_default(),
        };
        self.clients[index].unsent.extend(bytes);
    }

    fn client_sends(&mut self, script: &mut Script<'_>) {
        if let Some(index) = self.client(script, |client| !client.unsent.is_empty()) {
            let most = if script.below(2) == 0 { 1 + script.byte() } else { TURN };
            self.send(index, most);
        }
    }

    /// Gives the core up to `most` bytes of a client, if it wants any.
    pub(super) fn send(&mut self, index: usize, most: usize) {
        let client = &mut self.clients[index];
        if client.open && self.core.wants_input(client.id) && !client.unsent.is_empty() {
            let bytes: Vec<u8> = client.unsent.drain(..most.min(client.unsent.len())).collect();
            self.core.client_data(client.id, &bytes, self.now);
        }
    }

    fn client_takes(&mut self, script: &mut Script<'_>) {
        if let Some(index) = self.client(script, |_| true) {
            self.write_client(index, self.write);
        }
    }

    pub(super) fn write_client(&mut self, index: usize, most: usize) {
        let client = &mut self.clients[index];
        let output = self.core.client_output(client.id);
        let bytes = output[..output.len().min(most)].to_vec();
        if client.honest && !self.tainted {
            client.take(&bytes, self.faults || self.setting.limited);
        }
        self.core.client_wrote(self.clients[index].id, bytes.len(), self.now);
    }

    fn connects(&mut self, script: &mut Script<'_>) {
        let Some(id) = script.choose(&self.connecting) else { return };
        self.connecting.retain(|other| *other != id);
        if self.faults && script.below(4) == 0 {
            self.core.server_failed(id, &ServerError::Refused, self.now);
        } else {
            self.connected(id);
        }
    }

    pub(super) fn connected(&mut self, id: ConnectionId) {
        let shared = self.core.place(id).2;
        self.servers.insert(id, Server::new(shared, self.setting.greeting));
        self.core.server_connected(id, self.now);
    }

    fn server(&self, script: &mut Script<'_>) -> Option<ConnectionId> {
        script.choose(&self.servers.keys().copied().collect::<Vec<_>>())
    }

    fn server_takes(&mut self, script: &mut Script<'_>) {
        if let Some(id) = self.server(script) {
            self.write_server(id, self.write);
        }
    }

    pub(super) fn write_server(&mut self, id: ConnectionId, most: usize) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let output = self.core.server_output(id);
        let count = output.len().min(most);
        server.take(&output[..count]);
        self.core.server_wrote(id, count);
    }

    fn server_sends(&mut self, script: &mut Script<'_>) {
        if let Some(id) = self.server(script) {
            let most = if script.below(2) == 0 { 1 + script.byte() } else { TURN };
            self.send_from(id, most);
        }
    }

    pub(super) fn send_from(&mut self, id: ConnectionId, most: usize) {
        if !self.core.wants_server_data(id) {
            return;
        }
        let Some(server) = self.servers.get_mut(&id) else { return };
        let bytes: Vec<u8> = server.output.drain(..most.min(server.output.len())).collect();
        if !bytes.is_empty() {
            let outcome = self.core.server_data(id, &bytes, self.now);
            assert!(outcome.is_ok() || self.tainted, "good replies are refused: {outcome:?}");
        }
    }

    fn server_stirs(&mut self, script: &mut Script<'_>) {
        if let Some(id) = self.server(script)
            && let Some(server) = self.servers.get_mut(&id)
        {
            server.stir();
        }
    }

    fn server_drops(&mut self, script: &mut Script<'_>) {
        if let Some(id) = self.server(script) {
            self.servers.remove(&id);
            self.core.server_failed(id, &ServerError::Closed, self.now);
        }
    }

    /// A server sends what nobody asked for, and what is no reply.
    fn server_babbles(&mut self, script: &mut Script<'_>) {
        let Some(id) = self.server(script).filter(|id| self.core.wants_server_data(*id)) else { return };
        let bytes = match script.below(4) {
            0 => {
                let length = script.byte();
                script.bytes(length)
            }
            _ => script.choose(REPLIES).unwrap_or_default(),
        };
        self.tainted = true;
        let _ = self.core.server_data(id, bytes, self.now);
    }

    fn client_leaves(&mut self, script: &mut Script<'_>) {
        let Some(index) = self.client(script, |client| client.unsent.is_empty()) else { return };
        if script.below(2) == 0 {
            self.clients[index].eof = true;
            self.core.client_eof(self.clients[index].id);
        } else {
            self.clients[index].open = false;
            self.core.client_failed(self.clients[index].id);
        }
    }

    fn time_passes(&mut self, by: Micros) {
        self.now += by;
        self.core.tick(self.now);
        let next = self.core.next_deadline();
        assert!(next.is_none_or(|at| at > self.now), "the clock asks for {next:?} at {}", self.now);
    }

    /// Does what the core asks for, as the network would.
    pub(super) fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Connect(id) => self.connecting.push(id),
                Action::CloseServer(id) => {
                    self.servers.remove(&id);
                    self.connecting.retain(|other| *other != id);
                }
                Action::WriteServer(id) => self.write_server(id, self.write),
                Action::WriteClient(id) => {
                    if let Some(index) = self.clients.iter().position(|client| client.id == id && client.open)
                    {
                        self.write_client(index, self.write);
                    }
                }
                Action::ResumeClient(_) | Action::ResumeServer(_) => {}
                Action::CloseClient(id) => {
                    let found = self.clients.iter_mut().find(|client| client.id == id && client.open);
                    let Some(client) = found else { continue };
                    client.open = false;
                    let excused = self.faults || self.tainted || self.setting.limited;
                    assert!(!client.honest || excused || client.may_end(), "an honest client is closed");
                }
            }
        }
    }

    fn check(&self) {
        for client in self.clients.iter().filter(|client| client.open) {
            let unsent = self.core.client_output(client.id).len();
            assert!(unsent <= MOST_UNSENT, "{unsent} bytes wait for a client");
        }
        for id in self.servers.keys() {
            let sent = self.core.server_output(*id).len();
            assert!(sent <= MOST_SENT, "{sent} bytes wait for a server");
        }
    }
}
