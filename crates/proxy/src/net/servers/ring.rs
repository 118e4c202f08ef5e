//! The connections to servers whose sockets the ring has.

use std::io;

use tombolo_ring::{Event, HEADROOM, Received, Send, Slot};

use super::{Servers, explain};
use crate::core::{ConnectionId, Core, Micros, ServerError};
use crate::log::Log;
use crate::net::clients::Clients;
use crate::net::wire::{Io, Ring, Ringed, Sent, Wire};
use crate::net::worker::Source;

impl Servers {
    fn ringed(&mut self, index: usize, slot: Slot) -> Option<&mut Ringed> {
        self.links.get_mut(index)?.wire.as_mut()?.ringed(slot)
    }

    /// Keeps what the ring has brought for the next [`read`](Self::read).
    pub(in crate::net) fn keep(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn look_at(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        clients: &mut Clients,
        event: Event,
        now: Micros,
        log: &Log,
    ) {
        match event {
            Event::Received { slot, tag, received } => {
                self.received(core, io, clients, (Source::index_of(tag), slot), received, now, log);
            }
            Event::Ended { slot, tag, error } => {
                let id = ConnectionId(Source::index_of(tag));
                if self.ringed(id.0, slot).is_some() {
                    let error = match error {
                        0 => ServerError::Closed,
                        error => explain(&io::Error::from_raw_os_error(error)),
                    };
                    self.fail(core, io, id, &error, now, log);
                }
            }
            Event::Writable { slot, tag } => {
                let id = ConnectionId(Source::index_of(tag));
                if let Some(ringed) = self.ringed(id.0, slot) {
                    ringed.drained();
                    if !core.server_output(id).is_empty() {
                        self.write(core, io, id, now, log);
                    }
                }
            }
            // When it is read from again, that shows.
            Event::Hung { .. } | Event::Watched => {}
        }
    }

    /// The ring has read something.
    #[expect(clippy::too_many_arguments)]
    fn received(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        clients: &mut Clients,
        (index, slot): (usize, Slot),
        mut received: Received,
        now: Micros,
        log: &Log,
    ) {
        let id = ConnectionId(index);
        let Some(ring) = &mut io.ring else { return };
        if self.ringed(index, slot).is_none() {
            return ring.give_back(received);
        }
        let rest = core.rest(id);
        if (1..=HEADROOM).contains(&rest)
            && let Some(room) = ring.before(&mut received, rest)
        {
            core.take_rest(id, room);
        }
        let there: &Ring = ring;
        let mut outlet = |client, bytes: &[u8]| clients.offer(client, bytes, Some((there, &received)));
        let outcome = core.server_data_to(id, there.bytes(&received), now, &mut outlet);
        self.lent.push(received);
        match outcome {
            Ok(()) => self.works(core, id, log),
            Err(error) => self.gone(io, id, &error, log),
        }
        if let (Some(ringed), Some(ring)) = (self.ringed(index, slot), &mut io.ring) {
            ringed.pace(core.wants_server_data(id), ring);
        }
    }

    /// What the ring is to send now.
    pub(in crate::net) fn sends<'a>(&'a mut self, core: &'a Core) -> impl Iterator<Item = Send<'a>> {
        let Servers { links, sends, .. } = self;
        sends.drain(..).filter_map(move |index| match &mut links[index].wire {
            Some(Wire::Ringed(ringed)) => {
                let id = ConnectionId(index);
                ringed.next(core.server_output(id), core.server_is_settled(id))
            }
            _ => None,
        })
    }

    /// What became of one of [`sends`](Self::sends).
    pub(in crate::net) fn sent(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        (index, slot): (usize, Slot),
        result: i32,
        now: Micros,
        log: &Log,
    ) {
        let Some(ring) = &mut io.ring else { return };
        let Some(ringed) = self.ringed(index, slot) else { return };
        let id = ConnectionId(index);
        match ringed.sent(result, ring) {
            Ok(Sent::Own(count) | Sent::Lent(_, count)) => core.server_wrote(id, count),
            Err(error) => return self.fail(core, io, id, &explain(&error), now, log),
        }
        if !core.server_output(id).is_empty() {
            self.write(core, io, id, now, log);
        }
    }

    /// A turn of the ring is over: what clients were lent is theirs no more.
    pub(in crate::net) fn give_back(&mut self, ring: &mut Ring) {
        self.lent.drain(..).for_each(|received| ring.give_back(received));
    }
}
