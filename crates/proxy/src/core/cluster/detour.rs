//! Requests that a node did not execute, on their way to another.
//!
//! ```text
//!  client 1, slot 7   [INCR a: sent to B] [GET a: waits] [SET b: waits]
//!  client 1, slot 9   [GET c: held until the table is told again]
//! ```
//!
//! Those of one client for one slot go one after the other, each when the one before is answered:
//! nodes may disagree for a moment, and a request must not overtake another by a shorter way.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::core::{ClientId, Micros};

/// How often a request may be sent on before its client is told.
pub(super) const MAX_REDIRECTS: u8 = 16;

/// Where a request is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Behind another of the same client and slot, or about to be sent, to this server; with
    /// `ASKING`, if that is true.
    Waiting(usize, bool),
    /// On a connection.
    Sent,
    /// Until the table is told again, or its turn comes. The reply is for when that takes too long.
    Held(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Detour {
    pub(super) seq: u64,
    pub(super) part: u32,
    /// The request's bytes; empty while it is on a connection, which has them.
    pub(super) wire: Vec<u8>,
    pub(super) redirects: u8,
    /// When it was sent first.
    pub(super) since: Micros,
    pub(super) progress: Progress,
}

impl Detour {
    pub(super) fn is_held(&self) -> bool {
        matches!(self.progress, Progress::Held(_))
    }
}

/// Identifies a request: its client, its place among that client's, and its part.
pub(super) type Key = (ClientId, u64, u32);

/// Every detour of a pool.
#[derive(Debug, Default)]
pub(super) struct Detours {
    queues: BTreeMap<(ClientId, u16), VecDeque<Detour>>,
    slots: HashMap<Key, u16>,
}

impl Detours {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot that a request on a detour was taken for.
    pub(super) fn slot(&self, key: Key) -> Option<u16> {
        self.slots.get(&key).copied()
    }

    /// When a request on a detour was sent first.
    pub(super) fn since(&self, key: Key) -> Option<Micros> {
        let queue = self.queues.get(&(key.0, self.slot(key)?))?;
        queue.iter().find(|detour| (detour.seq, detour.part) == (key.1, key.2)).map(|detour| detour.since)
    }

    /// Puts a request behind those of its client and slot.
    pub(super) fn begin(&mut self, client: ClientId, slot: u16, detour: Detour) {
        self.slots.insert((client, detour.seq, detour.part), slot);
        self.queues.entry((client, slot)).or_default().push_back(detour);
    }

    /// The request whose turn it is.
    pub(super) fn front(&mut self, client: ClientId, slot: u16) -> Option<&mut Detour> {
        self.queues.get_mut(&(client, slot))?.front_mut()
    }

    /// The request that was put there last.
    pub(super) fn newest(&mut self, client: ClientId, slot: u16) -> Option<&mut Detour> {
        self.queues.get_mut(&(client, slot))?.back_mut()
    }

    /// A request is answered; the slot whose next request has its turn now. `None` when it was on
    /// no detour.
    pub(super) fn finish(&mut self, key: Key) -> Option<u16> {
        let slot = self.slots.remove(&key)?;
        let queue = self.queues.get_mut(&(key.0, slot))?;
        queue.retain(|detour| (detour.seq, detour.part) != (key.1, key.2));
        if queue.is_empty() {
            self.queues.remove(&(key.0, slot));
        }
        Some(slot)
    }

    /// Whether one that has no turn yet is to go to this server.
    pub(super) fn any_waits_for(&self, server: usize) -> bool {
        let mut all = self.queues.values().flatten();
        all.any(|detour| matches!(detour.progress, Progress::Waiting(to, _) if to == server))
    }

    /// The client is gone.
    pub(super) fn forget(&mut self, client: ClientId, slot: u16) {
        for detour in self.queues.remove(&(client, slot)).into_iter().flatten() {
            self.slots.remove(&(client, detour.seq, detour.part));
        }
    }

    /// The clients and slots whose turn is held.
    pub(super) fn held(&self) -> Vec<(ClientId, u16)> {
        self.held_fronts().map(|(place, _)| place).collect()
    }

    /// Those that are held since before `then`.
    pub(super) fn held_since(&self, then: Micros) -> Vec<(ClientId, u16)> {
        self.held_fronts().filter(|(_, since)| *since <= then).map(|(place, _)| place).collect()
    }

    /// Since when the oldest one that is held was sent first.
    pub(super) fn oldest_held(&self) -> Option<Micros> {
        self.held_fronts().map(|(_, since)| since).min()
    }

    fn held_fronts(&self) -> impl Iterator<Item = ((ClientId, u16), Micros)> {
        self.queues.iter().filter_map(|(place, queue)| {
            let front = queue.front()?;
            front.is_held().then_some((*place, front.since))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::slab::Slab;

    #[test]
    fn those_of_one_client_and_slot_take_turns() {
        let mut clients = Slab::default();
        let (one, two) = (clients.insert(()), clients.insert(()));
        let detour =
            |seq, since, progress| Detour { seq, part: 0, wire: vec![], redirects: 1, since, progress };
        let mut detours = Detours::default();
        detours.begin(one, 7, detour(1, 10, Progress::Sent));
        detours.begin(one, 7, detour(2, 11, Progress::Held(vec![])));
        detours.begin(one, 9, detour(3, 12, Progress::Held(vec![])));
        detours.begin(two, 7, detour(1, 9, Progress::Held(vec![])));
        detours.begin(two, 7, detour(2, 9, Progress::Held(vec![])));
        // Whoever has no turn is not held.
        assert_eq!(detours.held(), [(one, 9), (two, 7)]);
        assert_eq!((detours.held_since(9), detours.oldest_held()), (vec![(two, 7)], Some(9)));
        assert_eq!(detours.finish((one, 4, 0)), None);
        assert_eq!(detours.finish((one, 1, 0)), Some(7));
        assert_eq!(detours.front(one, 7).map(|detour| detour.seq), Some(2));
        assert_eq!((detours.slot((one, 2, 0)), detours.slot((one, 1, 0))), (Some(7), None));
        detours.forget(one, 7);
        assert_eq!((detours.slot((one, 2, 0)), detours.front(one, 7).is_none()), (None, true));
        assert_eq!(detours.finish((one, 3, 0)), Some(9));
        // One that had no turn yet.
        assert_eq!(detours.finish((two, 2, 0)), Some(7));
        assert_eq!(detours.front(two, 7).map(|detour| detour.seq), Some(1));
        assert_eq!(detours.finish((two, 1, 0)), Some(7));
        assert!(detours.is_empty() && detours.queues.is_empty());
    }
}
