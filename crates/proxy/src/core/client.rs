//! One client: its bytes in, its bytes out, and the limits between them.
//!
//! While the client has a connection of its own, its session keeps the order of replies; otherwise
//! `order` does.

use std::sync::Arc;

use tombolo_resp::RequestParser;

use super::Micros;
use super::buffer::ByteQueue;
use super::limits::{Bounds, MAX_PENDING_BYTES};
use super::order::Order;
use super::session::Session;
use crate::acl::User;
use crate::config::Pool;

/// Replies of which copying costs more than another write does, in bytes.
const LARGE: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) pool: usize,
    /// Which of the connections to a server it uses; always the same while requests are under way, so that its
    /// commands run in its order.
    pub(super) lane: usize,
    /// It speaks RESP3.
    pub(super) resp3: bool,
    pub(super) authenticated: bool,
    /// Its requests are looked at for what its user may not do.
    pub(super) restricted: bool,
    /// Who it is, where the pool has users.
    pub(super) user: Option<Arc<User>>,
    /// The parser of a request that is not complete.
    pub(super) parser: Option<Box<RequestParser>>,
    /// The parser of a memcached pool's client.
    pub(super) memcache: Option<Box<tombolo_memcache::RequestParser>>,
    /// Bytes that are not parsed: the start of a request, or what came while paused.
    pub(super) input: Vec<u8>,
    pub(super) out: ByteQueue,
    /// What it waits for on shared connections.
    pub(super) order: Order,
    /// Set while it has a connection of its own.
    pub(super) session: Option<Box<Session>>,
    /// Over a limit: not parsed, not read.
    pub(super) paused: bool,
    /// MULTI was answered, and no server has seen it yet: the first key will say which one does.
    pub(super) unbound: bool,
    /// Since when its next request waits for a node of a cluster that can be reached.
    pub(super) held_since: Option<Micros>,
    /// Paused because its next request needs everything before it to be answered.
    pub(super) barrier: bool,
    /// Sends nothing any more.
    pub(super) eof: bool,
    /// To be closed once every reply is out; further requests are not looked at.
    pub(super) closing: bool,
    /// To be closed once it is between two requests.
    pub(super) leaving: bool,
    /// A write for it is already asked for.
    pub(super) dirty: bool,
    /// What the table of a cluster was when it sent what it has under way.
    pub(super) epoch: u64,
    /// What it counts for among the bytes that the pool's clients have not taken.
    pub(super) counted: usize,
    /// What it calls itself, where a pool has several servers.
    pub(super) name: Option<Box<[u8]>>,
    /// Where it is, if the pool shows that.
    pub(super) address: Option<Box<str>>,
    /// When it last sent or took something.
    pub(super) active: Micros,
    /// When the clock looks whether it is idle, if it does.
    pub(super) idle_timer: Micros,
}

impl Client {
    pub(super) fn new(pool: usize, lane: usize, authenticated: bool) -> Client {
        Client {
            pool,
            lane,
            resp3: false,
            authenticated,
            restricted: false,
            user: None,
            parser: None,
            memcache: None,
            input: Vec::new(),
            out: ByteQueue::default(),
            order: Order::default(),
            session: None,
            paused: false,
            unbound: false,
            held_since: None,
            barrier: false,
            eof: false,
            closing: false,
            leaving: false,
            dirty: false,
            epoch: 0,
            counted: 0,
            name: None,
            address: None,
            active: 0,
            idle_timer: Micros::MAX,
        }
    }

    /// It is a user of the pool's from here on.
    pub(super) fn become_user(&mut self, user: &Arc<User>) {
        self.authenticated = true;
        self.restricted = !user.may_do_everything();
        self.user = Some(user.clone());
    }

    /// Whether its own connection is that of a user whom the server knows.
    pub(super) fn has_server_user(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_user())
    }

    /// It is nobody in particular, as at the start.
    pub(super) fn become_anonymous(&mut self, pool: &Pool) {
        match &pool.users {
            Some(users) => {
                self.become_user(users.default_user());
                self.authenticated = users.default_user().needs_no_password();
            }
            None => self.authenticated = pool.redis_auth.is_none(),
        }
    }

    /// Whether its requests may go straight to a shared connection, if they are of the kind.
    pub(super) fn is_plain(&self) -> bool {
        self.authenticated && !self.restricted && self.session.is_none() && !self.unbound && !self.closing
    }

    /// Appends a reply of the proxy's own, after those of earlier requests.
    pub(super) fn reply(&mut self, bytes: &[u8]) {
        if let Some(session) = &mut self.session {
            if !session.hold(bytes) {
                self.out.push(bytes);
            }
        } else if self.order.is_empty() {
            self.out.push(bytes);
        } else {
            self.order.hold(bytes);
        }
    }

    /// Puts the replies to `count` requests from `seq` on, or part of the reply to one, where they
    /// belong. `outlet` is offered those that may be written at once.
    #[inline]
    pub(super) fn complete(
        &mut self,
        seq: u64,
        part: u32,
        count: u32,
        replies: &[u8],
        outlet: &mut impl FnMut(&[u8]) -> usize,
    ) {
        if self.order.take(seq, part, count, replies) {
            // What follows in the same turn is better written together, unless it is large.
            let all = self.order.is_empty() || replies.len() >= LARGE;
            let straight = all && !self.dirty && self.out.is_empty() && !self.closing;
            let written = if straight { outlet(replies) } else { 0 };
            if written < replies.len() {
                self.out.push(&replies[written..]);
            }
        }
        self.order.release(&mut self.out);
    }

    /// Bytes of replies that it has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() + self.order.held()
    }

    /// How many answers are missing, those that wait behind them included, and the bytes of
    /// their requests.
    fn pending(&self) -> (usize, usize) {
        match &self.session {
            Some(session) => session.waiting(),
            None => (self.order.requests(), self.order.bytes()),
        }
    }

    /// Whether nothing was asked after request `seq`.
    pub(super) fn is_newest(&self, seq: u64) -> bool {
        self.order.is_newest(seq)
    }

    /// Whether answers are missing.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending().0 > 0
    }

    /// How many requests, and of how many bytes together, may follow before a limit says to stop
    /// reading; the last one may pass the second.
    pub(super) fn room(&self, bounds: &Bounds) -> (usize, usize) {
        let (requests, bytes) = self.pending();
        (bounds.requests.saturating_sub(requests), MAX_PENDING_BYTES.saturating_sub(bytes))
    }

    /// Whether a limit says to stop reading.
    pub(super) fn must_pause(&self, bounds: &Bounds) -> bool {
        let (requests, bytes) = self.pending();
        requests >= bounds.requests || bytes >= MAX_PENDING_BYTES || bounds.holds_back(self.unsent())
    }

    /// Whether reading may go on after a pause.
    pub(super) fn may_resume(&self, bounds: &Bounds) -> bool {
        let (requests, bytes) = self.pending();
        let requests_left = if self.barrier { 0 } else { bounds.requests / 2 };
        requests <= requests_left && bytes <= MAX_PENDING_BYTES / 2 && bounds.lets_go(self.unsent())
    }

    /// Whether everything that was asked is answered and taken. Who is to leave is not owed what may
    /// never come.
    pub(super) fn is_drained(&self) -> bool {
        let patient = || self.session.as_ref().is_some_and(|session| session.waits_only_for_ever());
        self.out.is_empty() && (!self.is_waiting() || (self.leaving && patient()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn limits_pause_and_resume_apart() {
        let mut client = Client::new(0, 0, true);
        let limits = Limits { pipeline: 8, client_buffer: 100, ..Limits::default() };
        let mut bounds = Bounds::of(&limits);
        assert_eq!(client.room(&bounds), (8, MAX_PENDING_BYTES));
        let first = client.order.wait(0, 8, 80);
        assert!(client.must_pause(&bounds));
        assert_eq!(client.room(&bounds), (0, MAX_PENDING_BYTES - 80));
        for seq in first..first + 4 {
            assert!(!client.may_resume(&bounds));
            client.complete(seq, 0, 1, b"", &mut |_| 0);
        }
        assert!(client.may_resume(&bounds) && !client.must_pause(&bounds));
        assert_eq!(client.room(&bounds).0, 4);
        client.out.push(&[0; 50]);
        assert!(client.may_resume(&bounds) && !client.must_pause(&bounds));
        client.out.push(&[0; 50]);
        assert!(!client.may_resume(&bounds) && client.must_pause(&bounds));
        client.out.advance(99, 0);
        bounds.crowded = true;
        assert!(!client.may_resume(&bounds) && client.must_pause(&bounds));
        client.out.advance(1, 0);
        assert!(client.may_resume(&bounds) && !client.must_pause(&bounds));
    }

    #[test]
    fn the_last_replies_may_leave_at_once() {
        let mut client = Client::new(0, 0, true);
        let mut taken = Vec::new();
        let mut give = |client: &mut Client, seq, count, replies: &[u8]| {
            client.complete(seq, 0, count, replies, &mut |bytes| {
                taken.extend_from_slice(&bytes[..bytes.len() - 1]);
                bytes.len() - 1
            });
            taken.len()
        };
        client.order.wait(0, 3, 30);
        assert_eq!(give(&mut client, 0, 1, b"a."), 0);
        assert_eq!(give(&mut client, 1, 2, b"b.c."), 0);
        assert_eq!(client.out.as_slice(), b"a.b.c.");
        client.out.advance(6, 0);
        client.order.wait(0, 2, 20);
        assert_eq!(give(&mut client, 3, 2, b"d.e."), 3);
        assert_eq!(client.out.as_slice(), b".");
        client.order.wait(0, 1, 10);
        assert_eq!(give(&mut client, 5, 1, b"f."), 3);
        assert_eq!(client.out.as_slice(), b".f.");
    }
}
