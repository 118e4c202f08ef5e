//! What the service manager is told, if it asks to be (`NOTIFY_SOCKET`; sd_notify(3)).
//!
//! The watchdog is fed at half of its time, and only when every worker has turned since the last
//! time: a worker that hangs is a proxy that hangs.

use std::env;
use std::io;
use std::num::NonZeroUsize;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState::{self, MonotonicUsec, Ready, Reloading, Status, Stopping};

use super::mailbox::{Command, Workers};

#[derive(Debug)]
pub(super) struct Manager {
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Instant,
    /// How many workers have not turned since they were asked to, of those that ran then.
    missing: Arc<AtomicUsize>,
    asked: usize,
}

impl Manager {
    pub(super) fn new(now: Instant) -> Manager {
        let every = sd_notify::watchdog_enabled().map(|time| time / 2).filter(|every| !every.is_zero());
        Manager {
            watchdog: every.map(|every| Watchdog { every, next: now, missing: Arc::default(), asked: 0 }),
        }
    }

    /// Clients are served.
    pub(super) fn ready(&self, pools: usize, threads: NonZeroUsize) {
        tell(&[Ready, Status(&format!("serving; pools: {pools}, threads: {threads}"))]);
    }

    /// The configuration is read again; [`ready`](Self::ready) follows.
    pub(super) fn reloading(&self) {
        if let Ok(MonotonicUsec(now)) = NotifyState::monotonic_usec_now() {
            tell(&[Reloading, MonotonicUsec(now)]);
        }
    }

    /// Clients are on their way out.
    pub(super) fn stopping(&self) {
        tell(&[Stopping, Status("ending; clients get what is under way")]);
    }

    /// When [`watch`](Self::watch) is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Feeds the watchdog when it is time to, and asks the workers for the next time.
    pub(super) fn watch(&mut self, workers: &Workers, now: Instant) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) else { return };
        watchdog.next = now + watchdog.every;
        // A worker that has ended answers no more; those that are left are asked anew.
        if watchdog.missing.load(Ordering::Relaxed) == 0 || workers.running() < watchdog.asked {
            tell(&[NotifyState::Watchdog]);
            watchdog.asked = workers.running();
            watchdog.missing = Arc::new(AtomicUsize::new(watchdog.asked));
            workers.send_all(|| Command::Turn(Arc::clone(&watchdog.missing)));
        }
    }
}

/// A service manager that does not listen must not stop a proxy.
fn tell(states: &[NotifyState<'_>]) {
    let socket = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let _ = match socket.as_bytes() {
        // An abstract one, which has no file; the library takes it for one.
        [b'@', name @ ..] => tell_abstract(name, states),
        _ => sd_notify::notify(states),
    };
}

fn tell_abstract(name: &[u8], states: &[NotifyState<'_>]) -> io::Result<()> {
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}
