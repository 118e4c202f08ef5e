//! What tells [`super::polled`] which sockets can be read and written: epoll by hand, or mio.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

/// Events that are taken from the kernel at a time.
const EVENTS: usize = 1024;

/// A socket that something can be done with.
pub(super) struct Ready {
    pub(super) token: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// Sockets are registered once, edge-triggered, and leave when they are closed.
pub(super) trait Poller {
    type Events: Default;

    fn add(&self, socket: &(impl AsFd + AsRawFd), token: usize) -> io::Result<()>;

    /// Waits until there are events.
    fn wait(&mut self, events: &mut Self::Events) -> io::Result<()>;

    fn ready(events: &Self::Events) -> impl Iterator<Item = Ready>;
}

/// Room for events, and those that are there.
pub(super) struct EpollEvents(Vec<EpollEvent>, usize);

impl Default for EpollEvents {
    fn default() -> EpollEvents {
        EpollEvents(vec![EpollEvent::empty(); EVENTS], 0)
    }
}

impl Poller for Epoll {
    type Events = EpollEvents;

    fn add(&self, socket: &(impl AsFd + AsRawFd), token: usize) -> io::Result<()> {
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
        Ok(Epoll::add(self, socket, EpollEvent::new(both | EpollFlags::EPOLLET, token as u64))?)
    }

    fn wait(&mut self, events: &mut EpollEvents) -> io::Result<()> {
        events.1 = match Epoll::wait(self, &mut events.0, EpollTimeout::NONE) {
            Err(Errno::EINTR) => 0,
            outcome => outcome?,
        };
        Ok(())
    }

    fn ready(events: &EpollEvents) -> impl Iterator<Item = Ready> {
        events.0[..events.1].iter().map(|event| Ready {
            token: event.data() as usize,
            readable: event.events() != EpollFlags::EPOLLOUT,
            writable: event.events().contains(EpollFlags::EPOLLOUT),
        })
    }
}

/// mio's events.
pub(super) struct MioEvents(mio::Events);

impl Default for MioEvents {
    fn default() -> MioEvents {
        MioEvents(mio::Events::with_capacity(EVENTS))
    }
}

impl Poller for mio::Poll {
    type Events = MioEvents;

    fn add(&self, socket: &(impl AsFd + AsRawFd), token: usize) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(token), both)
    }

    fn wait(&mut self, events: &mut MioEvents) -> io::Result<()> {
        match self.poll(&mut events.0, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.0.clear(),
            outcome => outcome?,
        }
        Ok(())
    }

    fn ready(events: &MioEvents) -> impl Iterator<Item = Ready> {
        events.0.iter().map(|event| Ready {
            token: event.token().0,
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable(),
        })
    }
}
