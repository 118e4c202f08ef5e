//! The sockets of clients.

use std::collections::VecDeque;
use std::io;

use mio::Registry;
use mio::event::Event;

use super::mailbox::{Arrival, Seat};
use super::stream::{Got, Socket, Stream};
use super::tls;
use super::worker::Source;
use crate::core::{ClientId, Core, Micros};
use crate::log::{Log, NOTICE};

/// How long a client has for its TLS handshake.
const HANDSHAKE_TIMEOUT: Micros = 10_000_000;
/// Handshakes that fail are told to the log this often at most: whoever connects could fill it.
const COMPLAIN_EVERY: Micros = 1_000_000;

#[derive(Debug, Default)]
pub(super) struct Clients {
    /// By the index of their ids.
    sockets: Vec<Option<(ClientId, Socket, Seat)>>,
    /// Those that may have something to read.
    readable: Vec<ClientId>,
    /// The list of a turn, kept for its memory.
    turn: Vec<ClientId>,
    /// TLS handshakes under way, and some that are over, with the end of their time.
    handshakes: VecDeque<(Micros, ClientId)>,
    /// When the next failed handshake is worth a line.
    complain_at: Micros,
}

impl Clients {
    /// Takes over a new connection. One that can not be registered is dropped.
    pub(super) fn add(&mut self, core: &mut Core, registry: &Registry, arrival: Arrival, now: Micros) {
        let Arrival { pool, mut stream, seat, over } = arrival;
        let id = if over { core.client_refused(pool) } else { core.client_connected(pool) };
        if core.shows_clients(pool) {
            core.name_client(id, stream.peer());
        }
        if stream.register(registry, Source::Client(id.index()).token()).is_err() {
            return core.client_gone(id);
        }
        if self.sockets.len() <= id.index() {
            self.sockets.resize_with(id.index() + 1, || None);
        }
        if let Stream::Tls(_) = stream {
            self.handshakes.push_back((now.saturating_add(HANDSHAKE_TIMEOUT), id));
        }
        self.sockets[id.index()] = Some((id, Socket::new(stream, true), seat));
    }

    /// When [`tick`](Self::tick) is due.
    pub(super) fn next_deadline(&mut self) -> Option<Micros> {
        while let Some(&(deadline, id)) = self.handshakes.front() {
            if self.get(id).is_some_and(|socket| socket.is_handshaking()) {
                return Some(deadline);
            }
            self.handshakes.pop_front();
        }
        None
    }

    /// Ends connections whose handshake takes too long.
    pub(super) fn tick(&mut self, core: &mut Core, now: Micros, log: &Log) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            if let Some((_, id)) = self.handshakes.pop_front() {
                self.failed(core, id, &io::ErrorKind::TimedOut.into(), now, log);
            }
        }
    }

    /// The connection of a client has failed. Of those that did so before there was a client to
    /// speak of, the log hears.
    fn failed(&mut self, core: &mut Core, id: ClientId, error: &io::Error, now: Micros, log: &Log) {
        if self.get(id).is_some_and(|socket| socket.is_handshaking()) && now >= self.complain_at {
            self.complain_at = now.saturating_add(COMPLAIN_EVERY);
            let reason = tls::explain(error).unwrap_or_else(|| error.to_string());
            let pool = core.pool_of(id).map_or("", |pool| pool.name.as_str());
            let about = [("pool", pool)];
            log.about(
                NOTICE,
                &about,
                format_args!("pool '{pool}': a client's TLS handshake failed: {reason}"),
            );
        }
        core.client_failed(id);
    }

    fn get(&mut self, id: ClientId) -> Option<&mut Socket> {
        let (owner, socket, _) = self.sockets.get_mut(id.index())?.as_mut()?;
        (*owner == id).then_some(socket)
    }

    pub(super) fn event(&mut self, core: &mut Core, index: usize, event: &Event, now: Micros) {
        let Some(Some((id, socket, _))) = self.sockets.get_mut(index) else { return };
        let id = *id;
        socket.note(event);
        if event.is_writable() {
            socket.flush();
        }
        let readable = socket.readable;
        // Both directions are over, so nobody is there to take a reply. What was sent before that
        // still counts, and is read until the end, unless it would not be read anyway.
        let over = event.is_error() || (event.is_read_closed() && event.is_write_closed());
        let left = event.is_read_closed() && core.waits_for_ever(id);
        if (over || left) && !core.wants_input(id) {
            return core.client_gone(id);
        }
        if event.is_writable() && !core.client_output(id).is_empty() {
            self.write(core, id, now);
        }
        if readable {
            self.resume(id);
        }
    }

    /// Puts a client among those to be read, if there may be something.
    pub(super) fn resume(&mut self, id: ClientId) {
        let Some(socket) = self.get(id) else { return };
        if socket.readable && !socket.queued {
            socket.queued = true;
            self.readable.push(id);
        }
    }

    /// Has a client read, whether or not an event has said that there is something.
    pub(super) fn look(&mut self, id: ClientId) {
        if let Some(socket) = self.get(id) {
            socket.readable = true;
        }
        self.resume(id);
    }

    /// The same for every client.
    pub(super) fn look_everywhere(&mut self) {
        let all: Vec<ClientId> = self.sockets.iter().flatten().map(|(id, ..)| *id).collect();
        all.into_iter().for_each(|id| self.look(id));
    }

    pub(super) fn any_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// One read for each client that has something, so that none keeps the others waiting.
    pub(super) fn read(&mut self, core: &mut Core, buffer: &mut [u8], now: Micros, log: &Log) {
        let mut turn = std::mem::replace(&mut self.readable, std::mem::take(&mut self.turn));
        for &id in &turn {
            let Some(socket) = self.get(id) else { continue };
            socket.queued = false;
            // It stays marked readable; the core says when to go on.
            if !core.wants_input(id) && !socket.is_handshaking() {
                continue;
            }
            let got = socket.read(buffer);
            let quiet = !socket.readable;
            match got {
                Ok(Got::Bytes(count)) => {
                    core.client_data(id, &buffer[..count], now);
                    self.resume(id);
                }
                Ok(Got::Nothing) => {}
                Ok(Got::Secured(count)) => {
                    // What it is owed from before, such as a refusal.
                    self.write(core, id, now);
                    core.client_data(id, &buffer[..count], now);
                    self.resume(id);
                }
                Ok(Got::End) => core.client_eof(id),
                Err(error) => self.failed(core, id, &error, now, log),
            }
            if quiet && core.has_leaving() {
                core.client_quiet(id);
            }
        }
        turn.clear();
        self.turn = turn;
    }

    /// One write of some bytes, which nothing waits before; returns how many were taken. What is
    /// wrong with the socket, the next write says again.
    pub(super) fn offer(&mut self, id: ClientId, bytes: &[u8]) -> usize {
        match self.get(id) {
            Some(socket) if socket.writable => socket.write(bytes).unwrap_or(0),
            _ => 0,
        }
    }

    /// One write of everything that a client is owed.
    pub(super) fn write(&mut self, core: &mut Core, id: ClientId, now: Micros) {
        let Some(socket) = self.get(id) else { return };
        if !socket.writable {
            return;
        }
        match socket.write(core.client_output(id)) {
            Ok(count) => core.client_wrote(id, count, now),
            Err(_) => core.client_failed(id),
        }
    }

    /// Ends a connection. What it still sent is read away first: closing with unread bytes makes
    /// the kernel reset the connection, and the last reply would be lost with it.
    pub(super) fn close(&mut self, id: ClientId, buffer: &mut [u8]) {
        if let Some(socket) = self.get(id) {
            socket.stream.finish();
            let _ = socket.read(buffer);
            self.sockets[id.index()] = None;
        }
    }
}
