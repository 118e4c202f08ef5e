//! tombolo-proxy, a Redis proxy that reads twemproxy's configuration.
//!
//! ```text
//!              ┌─────── net (mio, io_uring; the only I/O) ──────┐
//!  clients ◀──▶│ bytes, events, time ─▶ core ─▶ bytes, connects  │◀──▶ servers
//!              └─────────────────────────────────────────────────┘
//!   config ─▶ pools            core: clients, routing, connections; no I/O, no clock
//!   placement: key ─▶ server   tombolo-resp: where messages end, which arguments are keys
//! ```

pub mod acl;
pub mod cli;
pub mod config;
pub mod core;
mod log;
pub mod net;
pub mod placement;
pub mod top;

pub use log::{Log, LogFormat};
