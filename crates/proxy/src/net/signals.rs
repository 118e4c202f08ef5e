//! Signals as events: SIGTERM and SIGINT end the proxy, SIGHUP opens the log anew and reads the
//! configuration again, SIGTTIN and SIGTTOU make it say more and less, as twemproxy's do. Scripts that
//! were made for twemproxy may send SIGUSR1 and SIGUSR2, which do nothing there either.

use std::io;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

#[derive(Debug)]
pub(super) struct Signals(SignalFd);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    End,
    Reload,
    LogMore,
    LogLess,
    Nothing,
}

const WISHES: [(Signal, Wish); 7] = [
    (Signal::SIGTERM, Wish::End),
    (Signal::SIGINT, Wish::End),
    (Signal::SIGHUP, Wish::Reload),
    (Signal::SIGTTIN, Wish::LogMore),
    (Signal::SIGTTOU, Wish::LogLess),
    (Signal::SIGUSR1, Wish::Nothing),
    (Signal::SIGUSR2, Wish::Nothing),
];

impl Signals {
    /// Takes these signals over for this thread and those that it starts from now on.
    pub(super) fn take() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        WISHES.iter().for_each(|&(signal, _)| set.add(signal));
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, Interest::READABLE)
    }

    /// The next one that has come.
    pub(super) fn next(&self) -> Option<Wish> {
        let info = self.0.read_signal().ok().flatten()?;
        let found = WISHES.iter().find(|&&(signal, _)| signal as u32 == info.ssi_signo)?;
        Some(found.1)
    }
}
