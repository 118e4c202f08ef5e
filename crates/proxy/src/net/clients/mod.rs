//! The sockets of clients.

mod ring;

use std::collections::VecDeque;
use std::io;

use mio::event::Event;
use tombolo_ring::{Group, Received};

use crate::core::{ClientId, Core, Micros};
use crate::log::{Log, NOTICE};
use crate::net::mailbox::{Arrival, Seat};
use crate::net::stream::{Got, Socket, Stream};
use crate::net::tls;
use crate::net::wire::{Io, Ring, Ringed, Wire};
use crate::net::worker::Source;

/// How long a client has for its TLS handshake.
const HANDSHAKE_TIMEOUT: Micros = 10_000_000;
/// Handshakes that fail are told to the log this often at most: whoever connects could fill it.
const COMPLAIN_EVERY: Micros = 1_000_000;

#[derive(Debug, Default)]
pub(in crate::net) struct Clients {
    /// By the index of their ids.
    sockets: Vec<Option<(ClientId, Wire, Seat)>>,
    /// Those that may have something to read, of which epoll tells.
    readable: Vec<ClientId>,
    /// The list of a turn, kept for its memory.
    turn: Vec<ClientId>,
    /// Those that the ring's next turn sends to.
    sends: Vec<ClientId>,
    /// Those of the ring's that leave if nothing is left to be read.
    looked_at: Vec<ClientId>,
    /// TLS handshakes under way, and some that are over, with the end of their time.
    handshakes: VecDeque<(Micros, ClientId)>,
    /// When the next failed handshake is worth a line.
    complain_at: Micros,
}

impl Clients {
    /// Takes over a new connection. One that can not be registered is dropped.
    pub(in crate::net) fn add(&mut self, core: &mut Core, io: &mut Io, arrival: Arrival, now: Micros) {
        let Arrival { pool, mut stream, seat, over } = arrival;
        let id = if over { core.client_refused(pool) } else { core.client_connected(pool) };
        if core.shows_clients(pool) {
            core.name_client(id, stream.peer());
        }
        if let Stream::Tls(_) = stream {
            self.handshakes.push_back((now.saturating_add(HANDSHAKE_TIMEOUT), id));
        }
        let token = Source::Client(id.index()).token();
        let wire = match &mut io.ring {
            Some(ring) if stream.is_plain() => {
                ring.add(stream, Group::Small, token.0).map(|slot| Wire::Ringed(Ringed::new(slot)))
            }
            _ => stream.register(io.registry(), token).map(|()| Wire::Polled(Socket::new(stream, true))),
        };
        let Ok(wire) = wire else { return core.client_gone(id) };
        // The place of one that has gone, which nobody has closed yet.
        if let Some((before, ..)) = self.sockets.get(id.index()).and_then(Option::as_ref) {
            self.close(io, *before, &mut []);
        }
        if self.sockets.len() <= id.index() {
            self.sockets.resize_with(id.index() + 1, || None);
        }
        self.sockets[id.index()] = Some((id, wire, seat));
    }

    /// When [`tick`](Self::tick) is due.
    pub(in crate::net) fn next_deadline(&mut self) -> Option<Micros> {
        while let Some(&(deadline, id)) = self.handshakes.front() {
            if self.get(id).is_some_and(|wire| wire.is_handshaking()) {
                return Some(deadline);
            }
            self.handshakes.pop_front();
        }
        None
    }

    /// Ends connections whose handshake takes too long.
    pub(in crate::net) fn tick(&mut self, core: &mut Core, now: Micros, log: &Log) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            if let Some((_, id)) = self.handshakes.pop_front() {
                self.failed(core, id, &io::ErrorKind::TimedOut.into(), now, log);
            }
        }
    }

    /// The connection of a client has failed. Of those that did so before there was a client to
    /// speak of, the log hears.
    fn failed(&mut self, core: &mut Core, id: ClientId, error: &io::Error, now: Micros, log: &Log) {
        if self.get(id).is_some_and(|wire| wire.is_handshaking()) && now >= self.complain_at {
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

    fn get(&mut self, id: ClientId) -> Option<&mut Wire> {
        let (owner, wire, _) = self.sockets.get_mut(id.index())?.as_mut()?;
        (*owner == id).then_some(wire)
    }

    fn polled(&mut self, id: ClientId) -> Option<&mut Socket> {
        self.get(id)?.polled()
    }

    pub(in crate::net) fn event(&mut self, core: &mut Core, index: usize, event: &Event, now: Micros) {
        let Some(Some((id, Wire::Polled(socket), _))) = self.sockets.get_mut(index) else { return };
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
            self.queue(id);
        }
    }

    /// Puts a client among those to be read, if there may be something.
    fn queue(&mut self, id: ClientId) {
        let Some(socket) = self.polled(id) else { return };
        if socket.readable && !socket.queued {
            socket.queued = true;
            self.readable.push(id);
        }
    }

    /// Goes on with a client that was over a limit.
    pub(in crate::net) fn resume(&mut self, core: &mut Core, io: &mut Io, id: ClientId) {
        if let (Some(Wire::Ringed(ringed)), Some(ring)) = (self.get(id), &mut io.ring) {
            if ringed.ended {
                core.client_eof(id);
            }
            ringed.resume(ring);
        }
        // That nothing is left to be read is what makes it leave.
        match core.has_leaving() {
            true => self.look(id),
            false => self.queue(id),
        }
    }

    /// Has a client read, whether or not an event has said that there is something.
    fn look(&mut self, id: ClientId) {
        match self.get(id) {
            Some(Wire::Polled(socket)) => socket.readable = true,
            Some(Wire::Ringed(_)) => self.looked_at.push(id),
            None => {}
        }
        self.queue(id);
    }

    /// The same for every client.
    pub(in crate::net) fn look_everywhere(&mut self) {
        let all: Vec<ClientId> = self.sockets.iter().flatten().map(|(id, ..)| *id).collect();
        all.into_iter().for_each(|id| self.look(id));
    }

    pub(in crate::net) fn any_readable(&self) -> bool {
        !self.readable.is_empty() || !self.looked_at.is_empty()
    }

    /// One read for each client that has something, so that none keeps the others waiting.
    pub(in crate::net) fn read(&mut self, core: &mut Core, buffer: &mut [u8], now: Micros, log: &Log) {
        let mut turn = std::mem::replace(&mut self.readable, std::mem::take(&mut self.turn));
        for &id in &turn {
            let Some(socket) = self.polled(id) else { continue };
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
                    self.queue(id);
                }
                Ok(Got::Nothing) => {}
                Ok(Got::Secured(count)) => {
                    // What it is owed from before, such as a refusal.
                    self.write(core, id, now);
                    core.client_data(id, &buffer[..count], now);
                    self.queue(id);
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
    /// wrong with the socket, the next write says again. The ring can only send what is in a buffer
    /// of its own, which is `received`.
    pub(in crate::net) fn offer(
        &mut self,
        id: ClientId,
        bytes: &[u8],
        received: Option<(&Ring, &Received)>,
    ) -> usize {
        let taken = match (self.get(id), received) {
            (Some(Wire::Polled(socket)), _) if socket.writable => return socket.write(bytes).unwrap_or(0),
            (Some(Wire::Ringed(ringed)), Some((ring, received))) => ringed.lend(ring, received, bytes),
            _ => false,
        };
        if taken {
            self.sends.push(id);
        }
        if taken { bytes.len() } else { 0 }
    }

    /// One write of everything that a client is owed.
    pub(in crate::net) fn write(&mut self, core: &mut Core, id: ClientId, now: Micros) {
        let written = match self.get(id) {
            Some(Wire::Polled(socket)) if socket.writable => socket.write(core.client_output(id)),
            Some(Wire::Ringed(ringed)) => {
                if ringed.queue() {
                    self.sends.push(id);
                }
                return;
            }
            _ => return,
        };
        match written {
            Ok(count) => core.client_wrote(id, count, now),
            Err(_) => core.client_failed(id),
        }
    }

    /// Ends a connection. What it still sent is read away first: closing with unread bytes makes
    /// the kernel reset the connection, and the last reply would be lost with it.
    pub(in crate::net) fn close(&mut self, io: &mut Io, id: ClientId, buffer: &mut [u8]) {
        match self.get(id) {
            Some(Wire::Polled(socket)) => {
                socket.stream.finish();
                let _ = socket.read(buffer);
            }
            Some(Wire::Ringed(ringed)) => {
                let (slot, lent) = (ringed.slot, ringed.take_lent());
                let lent = lent.zip(io.ring.as_ref()).map(|(piece, ring)| ring.piece_bytes(&piece).to_vec());
                io.remove(slot, lent.unwrap_or_default());
            }
            None => return,
        }
        self.sockets[id.index()] = None;
    }
}
