//! The queue that keeps a client's replies in the order of its requests.
//!
//! ```text
//!  requests  1 2 3 4 5 6     slots  [1 2 3 at server A] [4 at server B] [5 6 at server A]
//!  reply to 4      ─▶ kept          [1 2 3 at server A] [4 is here    ] [5 6 at server A]
//!  replies to 1 2  ─▶ out: 1 2      [3 at server A    ] [4 is here    ] [5 6 at server A]
//!  reply to 3      ─▶ out: 3 4      [5 6 at server A  ]
//! ```
//!
//! Requests in a row that the same connection has share a slot: their replies come in order. A
//! reply to the oldest request leaves at once, which is every reply when there is one server; only
//! one that overtook another is kept.

use std::collections::VecDeque;

use super::buffer::ByteQueue;
use super::join::Join;

/// Slots that a client without requests keeps allocated.
const KEEP_SLOTS: usize = 16;
/// The connection of a slot that no further request may share.
const ALONE: u32 = u32::MAX;

/// The place of the replies to requests in a row.
#[derive(Debug, Default)]
struct Slot {
    /// The sequence number of the first reply that has not left.
    first: u64,
    /// Replies that are still to come.
    missing: u32,
    /// Replies that came before their turn: the first ones of the slot.
    early: u32,
    /// Bytes of the requests whose replies are missing. Requests are below 4 GiB, and those of a
    /// client far below.
    bytes: u32,
    /// The connection that all the requests are on.
    connection: u32,
    kept: Kept,
}

/// What has come of replies that can not leave yet.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    Nothing,
    /// The early replies.
    Replies(Vec<u8>),
    /// Several servers have a part each of the one reply.
    Parts(Box<Join>),
}

impl Slot {
    fn is_free(&self) -> bool {
        self.missing == 0 && self.early == 0
    }

    /// Takes `count` replies off those that are missing; returns the bytes of their requests, of
    /// which each counts as the mean of those in the slot.
    fn came(&mut self, count: u32) -> usize {
        let bytes = match self.missing {
            missing if missing == count => self.bytes,
            missing => (u64::from(self.bytes) * u64::from(count) / u64::from(missing)) as u32,
        };
        self.missing -= count;
        self.bytes -= bytes;
        bytes as usize
    }
}

/// The replies that a client waits for.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The oldest slot, here because most clients never have two; free when there is none.
    head: Slot,
    more: VecDeque<Slot>,
    /// The sequence number of the next request.
    next: u64,
    requests: usize,
    bytes: usize,
    held: usize,
}

impl Order {
    /// Reserves the places of `count` replies, to requests of `bytes` bytes together, that a
    /// connection will give; returns the sequence number of the first.
    pub(super) fn wait(&mut self, connection: usize, count: u32, bytes: usize) -> u64 {
        let (first, connection) = (self.next, connection as u32);
        self.next += u64::from(count);
        self.requests += count as usize;
        self.bytes += bytes;
        let last = self.more.back_mut().unwrap_or(&mut self.head);
        if last.missing > 0 && last.connection == connection {
            last.missing += count;
            last.bytes += bytes as u32;
        } else {
            let bytes = bytes as u32;
            self.push(Slot { first, missing: count, early: 0, bytes, connection, kept: Kept::Nothing });
        }
        first
    }

    /// Reserves the place of a reply that may overtake those around it.
    pub(super) fn wait_alone(&mut self, bytes: usize) -> u64 {
        let first = self.next;
        self.next += 1;
        self.requests += 1;
        self.bytes += bytes;
        let (connection, kept) = (ALONE, Kept::Nothing);
        self.push(Slot { first, missing: 1, early: 0, bytes: bytes as u32, connection, kept });
        first
    }

    /// Whether nothing was asked after request `seq`.
    pub(super) fn is_newest(&self, seq: u64) -> bool {
        seq + 1 == self.next
    }

    /// Reserves the place of a reply that several servers will give.
    pub(super) fn wait_for_parts(&mut self, join: Join) -> u64 {
        let first = self.next;
        self.next += 1;
        self.requests += 1;
        self.bytes += join.request_bytes;
        let (bytes, kept) = (join.request_bytes as u32, Kept::Parts(Box::new(join)));
        self.push(Slot { first, missing: 1, early: 0, bytes, connection: ALONE, kept });
        first
    }

    /// Takes a reply of the proxy's own to the last request of all, which others wait before.
    pub(super) fn hold(&mut self, reply: &[u8]) {
        let first = self.next;
        self.next += 1;
        self.requests += 1;
        self.held += reply.len();
        let kept = Kept::Replies(reply.to_vec());
        self.push(Slot { first, missing: 0, early: 1, bytes: 0, connection: ALONE, kept });
    }

    fn push(&mut self, slot: Slot) {
        if self.head.is_free() {
            self.head = slot;
        } else {
            self.more.push_back(slot);
        }
    }

    /// Takes note of `count` replies, to request `seq` and those after it. `true` when it is their
    /// turn: they are the caller's then, who calls [`release`](Self::release) after he has put
    /// them where they go. Otherwise they are kept, or are a part of what is.
    pub(super) fn take(&mut self, seq: u64, part: u32, count: u32, replies: &[u8]) -> bool {
        let head = &mut self.head;
        if head.first == seq && head.missing >= count && matches!(head.kept, Kept::Nothing) {
            head.first += u64::from(count);
            self.bytes -= head.came(count);
            self.requests -= count as usize;
            return true;
        }
        self.keep(seq, part, count, replies);
        false
    }

    fn keep(&mut self, seq: u64, part: u32, count: u32, replies: &[u8]) {
        let slot = match self.more.partition_point(|slot| slot.first <= seq) {
            0 => &mut self.head,
            after => &mut self.more[after - 1],
        };
        if slot.missing < count || slot.first + u64::from(slot.early) != seq {
            return;
        }
        self.held += replies.len();
        match &mut slot.kept {
            Kept::Parts(join) => {
                if !join.add(part, replies) {
                    return;
                }
                let reply = join.reply();
                self.held = self.held - join.held() + reply.len();
                slot.kept = Kept::Replies(reply);
            }
            Kept::Replies(early) => early.extend_from_slice(replies),
            Kept::Nothing => slot.kept = Kept::Replies(replies.to_vec()),
        }
        slot.early += count;
        self.bytes -= slot.came(count);
    }

    /// Lets the replies go to `out` whose turn it is.
    #[inline]
    pub(super) fn release(&mut self, out: &mut ByteQueue) {
        // A slot of which something is missing and nothing is here is the end, nearly always.
        while self.head.missing == 0 || self.head.early > 0 {
            if let Kept::Replies(replies) = std::mem::take(&mut self.head.kept) {
                self.held -= replies.len();
                out.push(&replies);
            }
            let early = std::mem::take(&mut self.head.early);
            self.requests -= early as usize;
            self.head.first += u64::from(early);
            if self.head.missing > 0 {
                return;
            }
            match self.more.pop_front() {
                Some(slot) => self.head = slot,
                None => {
                    if self.more.capacity() > KEEP_SLOTS {
                        self.more = VecDeque::new();
                    }
                    return;
                }
            }
        }
    }

    /// Whether nothing is missing.
    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// How many answers are missing, those that wait behind them included.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// The bytes of the requests that servers have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes of replies that are kept.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::join::Gather;

    /// Hands in replies, one letter each; returns what leaves for them.
    fn give(order: &mut Order, seq: u64, part: u32, replies: &str) -> String {
        let mut out = ByteQueue::default();
        if order.take(seq, part, replies.len() as u32, replies.as_bytes()) {
            out.push(replies.as_bytes());
        }
        order.release(&mut out);
        String::from_utf8(out.as_slice().to_vec()).expect("text")
    }

    fn counts(order: &Order) -> (usize, usize, usize) {
        (order.requests(), order.bytes(), order.held())
    }

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let mut order = Order::default();
        assert_eq!(order.wait(7, 3, 30), 0);
        assert_eq!(order.wait(8, 1, 10), 3);
        assert_eq!(order.wait(7, 2, 24), 4);
        order.hold(b"g");
        assert_eq!(counts(&order), (7, 64, 1));
        assert_eq!(give(&mut order, 3, 0, "d"), "");
        assert_eq!(give(&mut order, 0, 0, "ab"), "ab");
        assert_eq!(counts(&order), (5, 34, 2));
        assert_eq!(give(&mut order, 2, 0, "c"), "cd");
        assert_eq!(give(&mut order, 4, 0, "e"), "e");
        assert_eq!(counts(&order), (2, 12, 1));
        assert_eq!(give(&mut order, 5, 0, "f"), "fg");
        assert_eq!(counts(&order), (0, 0, 0));
        assert_eq!(order.wait(7, 1, 1), 7);
    }

    #[test]
    fn a_run_may_come_in_pieces_before_its_turn() {
        let mut order = Order::default();
        order.wait(7, 1, 10);
        order.wait(8, 2, 20);
        // The same connection, and still the same slot.
        order.wait(8, 2, 20);
        assert_eq!(order.more.len(), 1);
        assert_eq!(give(&mut order, 1, 0, "b"), "");
        assert_eq!(give(&mut order, 2, 0, "cd"), "");
        assert_eq!(give(&mut order, 0, 0, "a"), "abcd");
        assert_eq!(counts(&order), (1, 10, 0));
        assert_eq!(give(&mut order, 4, 0, "e"), "e");
        assert!(order.is_empty());
    }

    #[test]
    fn parts_are_joined_in_their_place() {
        let mut order = Order::default();
        order.wait(7, 1, 10);
        let joined = order.wait_for_parts(Join::new(Gather::First, 2, 20));
        order.wait(7, 1, 10);
        assert_eq!(give(&mut order, joined, 1, "x"), "");
        assert_eq!(give(&mut order, 0, 0, "a"), "a");
        assert_eq!(give(&mut order, 2, 0, "c"), "");
        assert_eq!(counts(&order), (2, 20, 2));
        assert_eq!(give(&mut order, joined, 0, "b"), "bc");
        assert_eq!(counts(&order), (0, 0, 0));
    }
}
