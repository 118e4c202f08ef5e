//! The memcached text protocol, classic and meta commands, as a proxy needs it: where a request
//! ends, which keys it has and what it may be answered, and where a reply ends.
//!
//! ```text
//!  client bytes ─▶ RequestParser ─▶ Request { verb, wire, keys, answer }
//!                        ├─▶ Step::Invalid: an error line is due, and the next request follows
//!                        └─▶ Step::Discard: the data block of one that was invalid
//!  server bytes ─▶ ReplyScanner ─▶ length of the next reply ─▶ reply::values, to join some
//! ```
//!
//! The source is memcached's `doc/protocol.txt`, and its behaviour where that is silent. Two rules
//! go beyond it, because a connection to a server is shared:
//!
//! - **Every request that is sent on has exactly one reply.** `noreply` and the quiet flag `q` are
//!   taken out of it; [`Request::answer`] says what its client is to get of the reply.
//! - **Whatever memcached would not take as one request is not sent on.** memcached 1.6.18 answers
//!   twice to a storage command with a NUL in its key, and runs its data block as a command.
//!
//! Nothing here does I/O, and every parser resumes where it stopped: bytes are looked at once,
//! however they are cut. Every length that a peer may announce is bounded by a constant here.

mod line;
mod meta;
mod number;
pub mod reply;
mod request;
mod verb;

pub use reply::{MAX_REPLY_BYTES, ReplyError, ReplyScanner};
pub use request::{Answer, Request, RequestError, RequestParser, Step};
pub use verb::Verb;

/// The longest key, in bytes, as in memcached and twemproxy; of a base64 key, its text.
pub const MAX_KEY_BYTES: usize = 250;
/// The longest line of a command that is no retrieval, without its end. Servers close a connection
/// on which they have read this much without the end of a line.
pub const MAX_LINE_BYTES: usize = 1024;
/// The longest line of a retrieval command, which may have many keys, without its end.
pub const MAX_RETRIEVAL_BYTES: usize = 1 << 20;
/// The longest value, in bytes: the most that memcached's `-I` allows.
pub const MAX_VALUE_BYTES: usize = 1 << 30;
