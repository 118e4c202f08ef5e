//! One client: its bytes in, its bytes out, and the queue that keeps replies in order.
//!
//! ```text
//!  requests  1 2 3 4        slots    [1 waiting] [2 ready] [3 waiting] [4 ready]
//!  reply to 1 ─▶ out: 1 2   slots    [3 waiting] [4 ready]
//! ```
//!
//! A reply to the oldest request goes straight to `out`, which is every reply when there is one
//! server; only a reply that overtook another is kept in its slot. While the client has a
//! connection of its own there are no slots: its session keeps the order.

use std::collections::VecDeque;

use tombolo_resp::RequestParser;

use super::buffer::ByteQueue;
use super::join::Join;
use super::limits::{MAX_PENDING_BYTES, MAX_PENDING_REQUESTS, MAX_UNSENT_BYTES};
use super::session::Session;

/// Slots that an idle client keeps allocated.
const KEEP_SLOTS: usize = 16;

/// The place of a reply.
#[derive(Debug)]
enum Slot {
    /// A server has the request, of so many bytes.
    Waiting(usize),
    /// The reply came before an earlier one.
    Ready(Vec<u8>),
    /// Several servers have a part each.
    Joined(Box<Join>),
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) pool: usize,
    /// Which of the connections to a server it uses; always the same, so that its commands run in
    /// its order.
    pub(super) lane: usize,
    pub(super) authenticated: bool,
    pub(super) parser: RequestParser,
    /// Bytes that are not parsed: the start of a request, or what came while paused.
    pub(super) input: Vec<u8>,
    pub(super) out: ByteQueue,
    slots: VecDeque<Slot>,
    /// The sequence number of the first slot.
    first: u64,
    waiting: usize,
    waiting_bytes: usize,
    ready_bytes: usize,
    /// Set while it has a connection of its own.
    pub(super) session: Option<Box<Session>>,
    /// Over a limit: not parsed, not read.
    pub(super) paused: bool,
    /// MULTI was answered, and no server has seen it yet: the first key will say which one does.
    pub(super) unbound: bool,
    /// Paused because its next request needs everything before it to be answered.
    pub(super) barrier: bool,
    /// Sends nothing any more.
    pub(super) eof: bool,
    /// To be closed once every reply is out; further requests are not looked at.
    pub(super) closing: bool,
    /// A write for it is already asked for.
    pub(super) dirty: bool,
}

impl Client {
    pub(super) fn new(pool: usize, lane: usize, authenticated: bool) -> Client {
        Client {
            pool,
            lane,
            authenticated,
            parser: RequestParser::default(),
            input: Vec::new(),
            out: ByteQueue::default(),
            slots: VecDeque::new(),
            first: 0,
            waiting: 0,
            waiting_bytes: 0,
            ready_bytes: 0,
            session: None,
            paused: false,
            unbound: false,
            barrier: false,
            eof: false,
            closing: false,
            dirty: false,
        }
    }

    /// Reserves the place of a reply that a server will give; returns its sequence number.
    pub(super) fn wait(&mut self, request_bytes: usize) -> u64 {
        self.slots.push_back(Slot::Waiting(request_bytes));
        self.waiting += 1;
        self.waiting_bytes += request_bytes;
        self.first + self.slots.len() as u64 - 1
    }

    /// Reserves the place of a reply that several servers will give.
    pub(super) fn wait_for_parts(&mut self, join: Join) -> u64 {
        self.waiting += 1;
        self.waiting_bytes += join.request_bytes;
        self.slots.push_back(Slot::Joined(Box::new(join)));
        self.first + self.slots.len() as u64 - 1
    }

    /// Appends a reply of the proxy's own, after those of earlier requests.
    pub(super) fn reply(&mut self, bytes: &[u8]) {
        if let Some(session) = &mut self.session {
            if !session.hold(bytes) {
                self.out.push(bytes);
            }
        } else if self.slots.is_empty() {
            self.out.push(bytes);
        } else {
            self.ready_bytes += bytes.len();
            self.slots.push_back(Slot::Ready(bytes.to_vec()));
        }
    }

    /// Puts the reply to request `seq`, or part of it, where it belongs.
    pub(super) fn complete(&mut self, seq: u64, part: u32, bytes: &[u8]) {
        let index = (seq - self.first) as usize;
        match self.slots.get_mut(index) {
            Some(Slot::Waiting(request_bytes)) => {
                let request_bytes = *request_bytes;
                self.place(index, request_bytes, bytes);
            }
            Some(Slot::Joined(join)) => {
                self.ready_bytes += bytes.len();
                if join.add(part, bytes) {
                    let (request_bytes, reply) = (join.request_bytes, join.reply());
                    self.ready_bytes -= join.held();
                    self.place(index, request_bytes, &reply);
                }
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn place(&mut self, index: usize, request_bytes: usize, bytes: &[u8]) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        self.waiting -= 1;
        self.waiting_bytes -= request_bytes;
        if index > 0 {
            self.ready_bytes += bytes.len();
            *slot = Slot::Ready(bytes.to_vec());
            return;
        }
        self.out.push(bytes);
        self.pop();
        while let Some(Slot::Ready(bytes)) = self.slots.front_mut() {
            let bytes = std::mem::take(bytes);
            self.ready_bytes -= bytes.len();
            self.out.push(&bytes);
            self.pop();
        }
    }

    fn pop(&mut self) {
        self.slots.pop_front();
        self.first += 1;
        if self.slots.is_empty() && self.slots.capacity() > KEEP_SLOTS {
            self.slots = VecDeque::new();
        }
    }

    /// Bytes of replies that it has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() + self.ready_bytes
    }

    /// How many answers are missing, those that wait behind them included, and the bytes of
    /// their requests.
    fn pending(&self) -> (usize, usize) {
        match &self.session {
            Some(session) => session.waiting(),
            None => (self.slots.len(), self.waiting_bytes),
        }
    }

    /// Whether answers are missing.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending().0 > 0
    }

    /// Whether a limit says to stop reading.
    pub(super) fn must_pause(&self) -> bool {
        let (requests, bytes) = self.pending();
        requests >= MAX_PENDING_REQUESTS || bytes >= MAX_PENDING_BYTES || self.unsent() >= MAX_UNSENT_BYTES
    }

    /// Whether reading may go on after a pause.
    pub(super) fn may_resume(&self) -> bool {
        let (requests, bytes) = self.pending();
        let requests_left = if self.barrier { 0 } else { MAX_PENDING_REQUESTS / 2 };
        requests <= requests_left && bytes <= MAX_PENDING_BYTES / 2 && self.unsent() <= MAX_UNSENT_BYTES / 2
    }

    /// Whether everything that was asked is answered and taken.
    pub(super) fn is_drained(&self) -> bool {
        !self.is_waiting() && self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let mut client = Client::new(0, 0, true);
        let first = client.wait(10);
        let second = client.wait(10);
        client.reply(b"three");
        client.complete(second, 0, b"two ");
        assert!(client.out.is_empty());
        assert_eq!(client.unsent(), 9);
        client.complete(first, 0, b"one ");
        assert_eq!(client.out.as_slice(), b"one two three");
        assert_eq!((client.waiting, client.waiting_bytes, client.ready_bytes), (0, 0, 0));
        let fourth = client.wait(1);
        assert_eq!(fourth, 3);
    }

    #[test]
    fn limits_pause_and_resume_apart() {
        let mut client = Client::new(0, 0, true);
        let seqs: Vec<u64> = (0..MAX_PENDING_REQUESTS).map(|_| client.wait(1)).collect();
        assert!(client.must_pause());
        for &seq in &seqs[..MAX_PENDING_REQUESTS / 2] {
            assert!(!client.may_resume());
            client.complete(seq, 0, b"");
        }
        assert!(client.may_resume() && !client.must_pause());
        client.out.push(&vec![0; MAX_UNSENT_BYTES]);
        assert!(client.must_pause());
    }
}
