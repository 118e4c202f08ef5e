//! What bounds the memory of a proxy, beside the sizes of single messages in tombolo-resp. A pool
//! can say otherwise about the first ones: see [`Limits`](crate::config::Limits).
//!
//! A client that passes one of the soft limits is not read from until it is below half of it; its
//! socket's buffer fills and it feels it as backpressure. One large request or reply may pass a
//! soft limit, because it can not be split.

use super::memcache;
use crate::config::{Limits, Protocol};

/// Requests of one client that wait for a reply. Small requests can have large replies, so this is
/// also what bounds how much a client that does not read can ask for before it is held back.
pub const MAX_PENDING_REQUESTS: usize = 256;
/// Bytes of one client's requests that wait for a reply.
pub const MAX_PENDING_BYTES: usize = 1 << 20;
/// Bytes of replies that one client has not taken.
pub const MAX_UNSENT_BYTES: usize = 1 << 20;
/// Bytes of replies for one client at which it is disconnected: what its pending requests asked
/// for has to be kept until it is taken, and this is where that ends.
pub const MAX_CLIENT_BYTES: usize = 1 << 30;
/// Bytes of replies that all clients of a pool together have not taken, for each thread: where
/// clients are held back although none of them is over its own limit.
pub const MAX_BUFFERED_BYTES: usize = 4 << 30;
/// How long a client may take nothing while its pool is over that, in microseconds; it is
/// disconnected then. As long as Redis's soft limits for output buffers.
pub const STALLED: u64 = 60_000_000;
/// Arguments that are shown of an unknown command.
pub const SHOWN_ARGS: usize = 20;
/// Bytes of an argument or a name that are shown in an error.
pub const SHOWN_BYTES: usize = 64;
/// Bytes of a key that are kept and shown where keys are counted.
pub const SHOWN_KEY_BYTES: usize = 128;
/// Connections of clients' own, of one pool, idle ones included: as many as Redis has clients by
/// default.
pub const MAX_OWN_CONNECTIONS: usize = 10_000;
/// Connections without a client and without state that are kept for the next one, of one server.
pub const KEEP_OWN_IDLE: usize = 16;
/// How long they are kept, in microseconds.
pub const IDLE_OWN: u64 = 10_000_000;

/// How long a connection is kept for what a client has sent that has gone, in microseconds.
pub const LINGER: u64 = 60_000_000;

/// What a client is told that is one too many.
pub fn refusal(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Redis => b"-ERR max number of clients reached\r\n",
        Protocol::Memcache => memcache::TOO_MANY_CLIENTS,
    }
}

/// What a pool's clients are held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) request_bytes: usize,
    /// Requests of one client that wait for a reply.
    pub(super) requests: usize,
    /// Bytes of replies that one client has not taken: where it is held back, and where it is
    /// disconnected.
    pub(super) unsent: usize,
    pub(super) most_unsent: usize,
    /// All clients together are over their limit: who has something to take is held back.
    pub(super) crowded: bool,
}

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Bounds {
        Bounds {
            request_bytes: limits.request_bytes,
            requests: limits.pipeline,
            unsent: limits.client_buffer,
            most_unsent: limits.client_buffer_hard,
            crowded: false,
        }
    }

    /// Whether a client with so many bytes of replies to take is to get no more of them.
    pub(super) fn holds_back(&self, unsent: usize) -> bool {
        unsent >= self.unsent || (self.crowded && unsent > 0)
    }

    /// Whether it may get more of them again.
    pub(super) fn lets_go(&self, unsent: usize) -> bool {
        unsent <= self.unsent / 2 && !(self.crowded && unsent > 0)
    }
}
