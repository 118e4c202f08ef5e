//! The sockets of clients.

use mio::Registry;
use mio::event::Event;

use super::stream::{Got, Socket, Stream};
use super::worker::Source;
use crate::core::{ClientId, Core, Micros};

#[derive(Debug, Default)]
pub(super) struct Clients {
    /// By the index of their ids.
    sockets: Vec<Option<(ClientId, Socket)>>,
    /// Those that may have something to read.
    readable: Vec<ClientId>,
    /// The list of a turn, kept for its memory.
    turn: Vec<ClientId>,
}

impl Clients {
    /// Takes over a new connection to `pool`. One that can not be registered is dropped.
    pub(super) fn add(&mut self, core: &mut Core, registry: &Registry, pool: usize, mut stream: Stream) {
        let id = core.client_connected(pool);
        if stream.register(registry, Source::Client(id.index()).token()).is_err() {
            return core.client_gone(id);
        }
        if self.sockets.len() <= id.index() {
            self.sockets.resize_with(id.index() + 1, || None);
        }
        self.sockets[id.index()] = Some((id, Socket::new(stream, true)));
    }

    fn get(&mut self, id: ClientId) -> Option<&mut Socket> {
        let (owner, socket) = self.sockets.get_mut(id.index())?.as_mut()?;
        (*owner == id).then_some(socket)
    }

    pub(super) fn event(&mut self, core: &mut Core, index: usize, event: &Event, now: Micros) {
        let Some(Some((id, socket))) = self.sockets.get_mut(index) else { return };
        let id = *id;
        socket.note(event);
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

    pub(super) fn any_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// One read for each client that has something, so that none keeps the others waiting.
    pub(super) fn read(&mut self, core: &mut Core, buffer: &mut [u8], now: Micros) {
        let mut turn = std::mem::replace(&mut self.readable, std::mem::take(&mut self.turn));
        for &id in &turn {
            let Some(socket) = self.get(id) else { continue };
            socket.queued = false;
            // It stays marked readable; the core says when to go on.
            if !core.wants_input(id) {
                continue;
            }
            match socket.read(buffer) {
                Ok(Got::Bytes(count)) => {
                    core.client_data(id, &buffer[..count], now);
                    self.resume(id);
                }
                Ok(Got::Nothing) => {}
                Ok(Got::End) => core.client_eof(id),
                Err(_) => core.client_failed(id),
            }
        }
        turn.clear();
        self.turn = turn;
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
