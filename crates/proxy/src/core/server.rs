//! One connection to a server, which clients share or one of them has to itself.
//!
//! ```text
//!  Idle ──request──▶ Connecting ──connected──▶ Handshake (AUTH, …) ──answered──▶ Ready
//!    ▲                    │                         │                              │
//!    └────────────────────┴── refused, closed, timed out: an error for each request ┘
//! ```
//!
//! Requests wait in `out` until the connection is ready, so none runs before AUTH, SELECT and
//! HELLO succeeded. A request is written once: when a connection fails, nobody knows what ran.

use std::borrow::Cow;
use std::collections::VecDeque;

use thiserror::Error;
use tombolo_memcache::ReplyScanner;
use tombolo_resp::{FrameScanner, ReplyError, encode};

use super::batches::Batches;
use super::buffer::ByteQueue;
use super::stats::Traffic;
use super::{ClientId, Micros};

/// Memory that a connection's buffers keep when they are empty.
pub(super) const KEEP_BUFFER: usize = 256 << 10;

/// Why a connection is of no use, as the log tells it; clients read [`told`](Self::told).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServerError {
    /// Nobody listens there.
    #[error("Connection refused")]
    Refused,
    /// The connection, or a reply, took longer than the pool's timeout.
    #[error("Connection timed out")]
    TimedOut,
    /// Its name has no address.
    #[error("Host is down")]
    HostDown,
    /// The server closed the connection with requests in flight.
    #[error("Connection reset by peer (the server closed the connection; the command may have run)")]
    Closed,
    /// The server sent what is no reply, or a reply to no request.
    #[error("Protocol error from the server (the command may have run)")]
    Protocol,
    /// The server refused the pool's password or database; its answer.
    #[error("tombolo-proxy: the server refused AUTH or SELECT: {0}")]
    Handshake(String),
    /// There is no TLS with the server; why.
    #[error("TLS: {0}")]
    Tls(String),
    /// The proxy itself has no descriptor for it.
    #[error("no descriptor is left for a connection of the client's own")]
    Descriptors,
    /// Anything else that the system reports.
    #[error("{0}")]
    Other(String),
}

impl ServerError {
    /// Whether it will be so the next time: who does not accept the password or the certificate now will not then.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!(self, ServerError::Handshake(_) | ServerError::Protocol | ServerError::Tls(_))
    }

    /// The text that clients read after a code: twemproxy's, where it has one.
    pub(super) fn told(&self) -> Cow<'static, str> {
        match self {
            // twemproxy says "unknown" when nothing but the end has come.
            ServerError::Closed => Cow::Borrowed("Connection reset by peer"),
            ServerError::Protocol => Cow::Borrowed("Invalid argument"),
            other => Cow::Owned(other.to_string()),
        }
    }

    /// What a client reads. A wrong password of the pool has the code that a client would get whose
    /// own was missing: clients know what it means, and it is what comes through twemproxy.
    pub(super) fn reply(&self) -> Vec<u8> {
        let of_password = |answer: &str| {
            ["WRONGPASS", "NOAUTH", "ERR invalid password"].iter().any(|code| answer.starts_with(code))
        };
        let code = match self {
            ServerError::Handshake(answer) if of_password(answer) => "NOAUTH Authentication required.",
            _ => "ERR",
        };
        let mut reply = Vec::new();
        encode::error(&mut reply, &format!("{code} {}", self.told()));
        reply
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Connecting { deadline: Micros },
    Handshake { deadline: Micros, missing: usize },
    Ready,
}

/// Requests in a row of one client that the server has, or will have.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) client: ClientId,
    /// The sequence number of the first that is not answered.
    pub(super) seq: u64,
    /// How many are not answered; never 0.
    pub(super) count: u32,
    /// Which part of the reply this is, if it comes from several servers.
    pub(super) part: u32,
    /// Bytes of those that are not answered.
    pub(super) bytes: u32,
    /// When they came.
    pub(super) since: Micros,
}

impl InFlight {
    /// The bytes of `count` of the requests, of which each counts as the mean of all.
    pub(super) fn share(&self, count: u32) -> u32 {
        (u64::from(self.bytes) * u64::from(count) / u64::from(self.count.max(1))) as u32
    }
}

/// Replies in a row that belong to the oldest [`InFlight`] of a connection.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// How many are complete.
    pub(super) count: u32,
    /// Their bytes.
    pub(super) length: usize,
    /// What follows them is not complete.
    pub(super) cut: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) pool: usize,
    pub(super) server: usize,
    /// Clients share it; otherwise it belongs to one, or none.
    pub(super) shared: bool,
    /// The server speaks RESP3 on it, from its greeting on.
    pub(super) resp3: bool,
    /// The longest wait for a reply; `Micros::MAX` for as long as it takes.
    timeout: Micros,
    pub(super) state: State,
    pub(super) out: ByteQueue,
    /// AUTH, SELECT and HELLO, until they are written.
    pub(super) greeting: ByteQueue,
    pub(super) in_flight: VecDeque<InFlight>,
    /// Those of `in_flight` by when they were written; of use if it is shared.
    pub(super) batches: Batches,
    /// Whether the bytes of requests in flight are kept, in `kept`: a cluster's node may refuse one,
    /// and then it is sent to another; and a slow log shows them.
    pub(super) keeps: bool,
    /// Its server is a cluster's node: what it refuses may go another way.
    pub(super) in_cluster: bool,
    pub(super) kept: ByteQueue,
    /// The start of a reply that is not complete.
    pub(super) input: Vec<u8>,
    pub(super) scanner: FrameScanner,
    /// The scanner of a memcached pool's server.
    pub(super) memcache: Option<ReplyScanner>,
    /// A write for it is already asked for.
    pub(super) dirty: bool,
    pub(super) traffic: Traffic,
    /// Its server has failed, and not replied since.
    pub(super) suspect: bool,
    /// What it sends is a replication stream, which is not RESP.
    pub(super) raw: bool,
    /// It is kept for what its client, which has gone, has sent; what comes is for nobody.
    pub(super) lingers: bool,
    /// The client that has it to itself.
    pub(super) owner: Option<ClientId>,
    /// When it is closed, if it belongs to nobody and is not shared.
    pub(super) expires: Micros,
    /// When the clock looks at it, if it is not shared.
    pub(super) timer: Micros,
}

impl Connection {
    pub(super) fn new(pool: usize, server: usize, shared: bool, timeout: Micros) -> Connection {
        Connection {
            pool,
            server,
            shared,
            resp3: false,
            timeout,
            state: State::Idle,
            out: ByteQueue::default(),
            greeting: ByteQueue::default(),
            in_flight: VecDeque::new(),
            batches: Batches::default(),
            keeps: false,
            in_cluster: false,
            kept: ByteQueue::default(),
            input: Vec::new(),
            scanner: FrameScanner::default(),
            memcache: None,
            dirty: false,
            traffic: Traffic::default(),
            suspect: false,
            raw: false,
            lingers: false,
            owner: None,
            expires: Micros::MAX,
            timer: Micros::MAX,
        }
    }

    /// The same to a node of a cluster, keeping the bytes of requests until they are answered.
    pub(super) fn keeping(self) -> Connection {
        Connection { keeps: true, in_cluster: true, ..self }
    }

    /// What may be written now.
    pub(super) fn output(&self) -> &[u8] {
        match self.state {
            State::Idle | State::Connecting { .. } => &[],
            State::Handshake { .. } => self.greeting.as_slice(),
            State::Ready if self.shared && self.batches.are_enough() => &[],
            State::Ready => self.out.as_slice(),
        }
    }

    pub(super) fn wrote(&mut self, count: usize) {
        match self.state {
            State::Handshake { .. } => self.greeting.advance(count, 0),
            _ => {
                self.out.advance(count, KEEP_BUFFER);
                if self.out.is_empty() {
                    self.batches.written();
                }
            }
        }
    }

    /// The replies to the oldest run of requests that `bytes` start with. None, when the next
    /// message is no reply, or one to nothing: that is to be looked at by itself. After an error
    /// the replies before it still count.
    pub(super) fn replies(&mut self, bytes: &[u8]) -> (Replies, Result<(), ReplyError>) {
        let mut replies = Replies::default();
        let most = self.in_flight.front().map_or(0, |run| run.count);
        while replies.count < most
            && let Some(&first) = bytes.get(replies.length)
            && first != b'>'
        {
            match self.scanner.advance(&bytes[replies.length..]) {
                Ok(Some(length)) => {
                    replies.count += 1;
                    replies.length += length;
                }
                Ok(None) => {
                    replies.cut = true;
                    break;
                }
                Err(error) => return (replies, Err(error)),
            }
        }
        (replies, Ok(()))
    }

    /// Takes note of replies; returns the requests that they answer.
    pub(super) fn answered(&mut self, replies: &Replies, now: Micros) -> Option<InFlight> {
        let run = self.in_flight.front_mut()?;
        self.batches.answered(replies.count, now.saturating_sub(run.since));
        let mut answered = *run;
        if replies.count < run.count {
            (answered.count, answered.bytes) = (replies.count, run.share(replies.count));
            run.seq += u64::from(replies.count);
            run.count -= replies.count;
            run.bytes -= answered.bytes;
        } else {
            self.in_flight.pop_front();
        }
        self.traffic.responses += u64::from(replies.count);
        self.traffic.response_bytes += replies.length as u64;
        Some(answered)
    }

    /// When something times out next.
    pub(super) fn deadline(&self) -> Micros {
        let state = match self.state {
            State::Connecting { deadline } | State::Handshake { deadline, .. } => deadline,
            State::Idle | State::Ready => Micros::MAX,
        };
        // Requests of a pool all have the same timeout, so the first one is the first to expire.
        let oldest = self.in_flight.front().map_or(Micros::MAX, |request| request.since);
        state.min(oldest.saturating_add(self.timeout))
    }

    /// Back to the start; returns the requests that will never be answered.
    pub(super) fn reset(&mut self) -> VecDeque<InFlight> {
        self.state = State::Idle;
        self.out = ByteQueue::default();
        self.kept = ByteQueue::default();
        self.greeting = ByteQueue::default();
        self.input = Vec::new();
        self.scanner = FrameScanner::default();
        self.memcache = self.memcache.take().map(|_| ReplyScanner::default());
        self.raw = false;
        self.lingers = false;
        self.batches = Batches::default();
        std::mem::take(&mut self.in_flight)
    }
}
