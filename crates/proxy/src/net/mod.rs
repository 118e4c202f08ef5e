//! All I/O: a control thread, and workers that share nothing, each with an epoll instance (through
//! mio), an io_uring where there may be one, a core and connections to servers of its own.
//!
//! ```text
//!  control: listeners, signals ──accepted sockets──▶ worker with the fewest clients
//!  stats:   a question ──▶ every worker ──▶ the sum
//!
//!  a turn of a worker:
//!  epoll:     poll ─▶ note who is readable ─▶ one read each ─▶ core ─▶ one write each ─▶ poll
//!  io_uring:  enter ─▶ what has come ─▶ core ─▶ what is to be sent ─▶ enter
//! ```
//!
//! Everything that has come is looked at before anything is written, so requests of many clients
//! leave in one write to each server, and the other way. With epoll, sockets are registered once,
//! edge-triggered, for both directions: no system call but reads and writes in the steady state. With
//! io_uring there is one for all of them. TLS reads and writes as it goes, with epoll; its descriptor
//! is watched by the ring (`wire`).

mod admin;
mod clients;
mod control;
mod descriptors;
mod doors;
mod listener;
mod mailbox;
mod manager;
mod reload;
mod resolve;
mod servers;
mod signals;
mod stats;
mod stream;
mod tls;
mod wire;
mod worker;

use std::io;
use std::net::SocketAddr;

use clap::ValueEnum;
use thiserror::Error;

use crate::config::ConfigError;

pub use control::{Options, Proxy};
pub use stats::{StatsOptions, describe};
pub use tls::{Contexts, TlsError};

/// Why a proxy can not start or go on. The text has the reason in it, so none of these has a source,
/// which would be printed behind it once more.
#[derive(Debug, Error)]
pub enum NetError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(ConfigError),
    /// An address can not be listened on.
    #[error("pool '{pool}': can not listen on {address}: {reason}")]
    Listen {
        /// The pool.
        pool: String,
        /// Its address.
        address: String,
        /// What the system said.
        reason: io::Error,
    },
    /// TLS can not be set up.
    #[error("pool '{pool}', {reason}")]
    Tls {
        /// The pool.
        pool: String,
        /// Which file, and what is wrong with it.
        reason: TlsError,
    },
    /// Statistics can not be given.
    #[error("statistics: can not listen on {address}: {reason}; choose with -a and -s")]
    Stats {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// Metrics can not be given.
    #[error("metrics: can not listen on {address}: {reason}; choose with --metrics")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The event loop itself failed.
    #[error("{context}: {reason}")]
    Loop {
        /// What was being done.
        context: &'static str,
        /// What the system said.
        reason: io::Error,
    },
}

/// Who reads and writes sockets without TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum EventLoop {
    /// io_uring where the kernel has it and lets the proxy use it, and else epoll.
    #[default]
    Auto,
    /// The proxy, when epoll says that it may.
    Epoll,
    /// io_uring, or the proxy does not serve.
    #[value(name = "io_uring")]
    IoUring,
}

impl NetError {
    fn of(context: &'static str) -> impl FnOnce(io::Error) -> NetError {
        move |reason| NetError::Loop { context, reason }
    }
}

/// How much one read takes at most.
const READ_BYTES: usize = 128 << 10;
/// The longest start of a reply that is put in front of what is read next.
const REST_BYTES: usize = 64 << 10;
