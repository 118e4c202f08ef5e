//! The yardstick: a null multiplexer, the least that a proxy with shared connections can do.
//!
//! One thread, one connection to one server. It finds where requests and replies end and nothing
//! more: no parsing, no routing, no limits, no timeouts, no errors (it ends when anything is wrong
//! with its server). The yardstick is the one with epoll by hand. Its twins have the same parts and
//! another event loop, so that what differs is what a loop costs:
//!
//! ```text
//!  epoll, mio    polled.rs over poller.rs ─┐
//!  tokio         tokio.rs                  ├─▶ multiplex.rs ─▶ frame.rs
//!  io_uring      uring.rs over ring.rs    ─┘
//! ```

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use clap::ValueEnum;
use nix::sys::epoll::{Epoll, EpollCreateFlags};

mod multiplex;
mod polled;
mod poller;
mod ring;
mod tokio;
mod uring;

/// What tells a null multiplexer of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum EventLoop {
    /// epoll's system calls.
    Epoll,
    /// mio: epoll behind a portable face.
    Mio,
    /// tokio's runtime of one thread, a task for each client.
    Tokio,
    /// io_uring, which reads and writes too.
    #[value(name = "io_uring")]
    IoUring,
}

impl EventLoop {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            EventLoop::Epoll => "epoll",
            EventLoop::Mio => "mio",
            EventLoop::Tokio => "tokio",
            EventLoop::IoUring => "io_uring",
        }
    }

    /// Why it can not be had here, if it can not.
    pub fn unavailable(self) -> Option<String> {
        (self == EventLoop::IoUring).then(uring::unavailable).flatten()
    }
}

/// Serves clients of `listener` from the server at `server`; returns only with an error.
pub fn serve(event_loop: EventLoop, listener: TcpListener, server: SocketAddr) -> anyhow::Result<()> {
    match event_loop {
        EventLoop::Epoll => {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
            polled::serve(epoll, listener, server)
        }
        EventLoop::Mio => polled::serve(mio::Poll::new().context("epoll")?, listener, server),
        EventLoop::Tokio => tokio::serve(listener, server),
        EventLoop::IoUring => uring::serve(&listener, server),
    }
}
