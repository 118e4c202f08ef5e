//! RESP, the Redis protocol, as a proxy needs it: where a request ends and what its arguments are,
//! where a reply ends, and which arguments of a command are keys.
//!
//! ```text
//!  client bytes ─▶ RequestParser ─▶ Request { wire, args } ─▶ command::lookup ─▶ Command::keys
//!               └▶ usual, the short way for nearly every request
//!  server bytes ─▶ FrameScanner  ─▶ length of the next reply ─▶ peek, where its kind matters
//! ```
//!
//! Nothing here does I/O, nothing copies what it parses (inline commands excepted, which are
//! rewritten), and every parser resumes where it stopped: bytes are looked at once, however they
//! are cut. Every length that a peer may announce is bounded by a constant of this crate.

pub mod command;
pub mod encode;
mod number;
pub mod peek;
mod reply;
mod request;
mod usual;
mod value;

pub use reply::{FrameScanner, MAX_REPLY_BYTES, ReplyError};
pub use request::{
    MAX_ARGS, MAX_BULK_BYTES, MAX_INLINE_BYTES, MAX_REQUEST_BYTES, Request, RequestError, RequestParser,
    STRANGERS_ARGS, STRANGERS_BULK_BYTES, Step,
};
pub use usual::{Head, Usual, usual};
pub use value::{MAX_DEPTH, Value};
