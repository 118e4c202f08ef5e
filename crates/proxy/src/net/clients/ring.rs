//! The clients whose sockets the ring has.

use std::io;

use tombolo_ring::{Received, Send, Slot};

use super::Clients;
use crate::core::{ClientId, Core, Micros};
use crate::log::Log;
use crate::net::wire::{Io, Ring, Ringed, Sent, Wire, is_quiet};

impl Clients {
    /// The client that the ring means.
    fn ringed(&mut self, index: usize, slot: Slot) -> Option<(ClientId, &mut Ringed)> {
        let (id, wire, _) = self.sockets.get_mut(index)?.as_mut()?;
        Some((*id, wire.ringed(slot)?))
    }

    /// The ring has read something.
    pub(in crate::net) fn received(
        &mut self,
        core: &mut Core,
        ring: &mut Ring,
        (index, slot): (usize, Slot),
        received: Received,
        now: Micros,
    ) {
        let Some((id, ringed)) = self.ringed(index, slot) else { return ring.give_back(received) };
        core.client_data(id, ring.bytes(&received), now);
        ring.give_back(received);
        ringed.pace(core.wants_input(id), ring);
        if core.has_leaving() {
            self.looked_at.push(id);
        }
    }

    /// The ring has nothing more to read.
    pub(in crate::net) fn ended(
        &mut self,
        core: &mut Core,
        (index, slot): (usize, Slot),
        error: i32,
        now: Micros,
        log: &Log,
    ) {
        let Some((id, ringed)) = self.ringed(index, slot) else { return };
        match (core.wants_input(id), error) {
            (true, 0) => core.client_eof(id),
            (true, error) => self.failed(core, id, &io::Error::from_raw_os_error(error), now, log),
            (false, 0) if !core.waits_for_ever(id) => ringed.ended = true,
            (false, _) => core.client_gone(id),
        }
    }

    /// The peer of a client that is over a limit has ended its side, or all of it.
    pub(in crate::net) fn hung(&mut self, core: &mut Core, (index, slot): (usize, Slot), over: bool) {
        let Some((id, _)) = self.ringed(index, slot) else { return };
        if (over || core.waits_for_ever(id)) && !core.wants_input(id) {
            core.client_gone(id);
        }
    }

    /// The ring can write to it again.
    pub(in crate::net) fn drained(&mut self, core: &mut Core, (index, slot): (usize, Slot), now: Micros) {
        let Some((id, ringed)) = self.ringed(index, slot) else { return };
        ringed.drained();
        if !core.client_output(id).is_empty() {
            self.write(core, id, now);
        }
    }

    /// Tells the core who of the ring's clients has sent all that there was.
    pub(in crate::net) fn tell_quiet(&mut self, core: &mut Core, io: &mut Io) {
        for id in std::mem::take(&mut self.looked_at) {
            let Some(Wire::Ringed(ringed)) = self.get(id) else { continue };
            let stream = io.ring.as_mut().and_then(|ring| ring.get(ringed.slot));
            if core.has_leaving() && core.wants_input(id) && stream.is_some_and(|stream| is_quiet(stream)) {
                core.client_quiet(id);
            }
        }
    }

    /// What the ring is to send now.
    pub(in crate::net) fn sends<'a>(&'a mut self, core: &'a Core) -> impl Iterator<Item = Send<'a>> {
        let Clients { sockets, sends, .. } = self;
        sends.drain(..).filter_map(move |id| match sockets.get_mut(id.index()) {
            Some(Some((owner, Wire::Ringed(ringed), _))) if *owner == id => {
                ringed.next(core.client_output(id), core.client_is_settled(id))
            }
            _ => None,
        })
    }

    /// What became of one of [`sends`](Self::sends).
    pub(in crate::net) fn sent(
        &mut self,
        core: &mut Core,
        ring: &mut Ring,
        (index, slot): (usize, Slot),
        result: i32,
        now: Micros,
    ) {
        let Some((id, ringed)) = self.ringed(index, slot) else { return };
        match ringed.sent(result, ring) {
            Ok(Sent::Own(count)) => core.client_wrote(id, count, now),
            Ok(Sent::Lent(piece, count)) if count < piece.len() => {
                core.client_returned(id, &ring.piece_bytes(&piece)[count..]);
            }
            Ok(Sent::Lent(..)) => {}
            Err(_) => return core.client_failed(id),
        }
        if !core.client_output(id).is_empty() {
            self.write(core, id, now);
        }
    }
}
