//! Who the lab belongs to: its server, by a connection that is the *lease*. When it closes, the lab ends, at once or, if the
//! lab is to outlive a server that is killed, unless another one adopts it in time.

use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::lab::lock;
use crate::proto::Conn;

/// The lease, as those see it who serve other connections.
#[derive(Debug)]
pub(crate) struct Lease {
    state: Mutex<State>,
    adopted: Sender<Conn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    Free,
    /// Nobody came in time.
    Over,
}

impl Lease {
    /// One that is held, and where the connections come out that adopt it later.
    pub(crate) fn held() -> (Self, Receiver<Conn>) {
        let (adopted, adopters) = channel();
        (Self { state: Mutex::new(State::Held), adopted }, adopters)
    }

    /// Takes the lease, if nobody holds it. Who has it must say so to its client and then [`Lease::hand_over`].
    pub(crate) fn take(&self) -> bool {
        let mut state = lock(&self.state);
        let free = *state == State::Free;
        if free {
            *state = State::Held;
        }
        free
    }

    /// Makes a connection the lease.
    pub(crate) fn hand_over(&self, conn: Conn) {
        // Without a receiver the lab is ending.
        let _ = self.adopted.send(conn);
    }

    /// After the lease has closed: the one that follows, if there is one within this time.
    pub(crate) fn next(&self, adopters: &Receiver<Conn>, patience: Duration) -> Option<Conn> {
        *lock(&self.state) = State::Free;
        if let Ok(conn) = adopters.recv_timeout(patience) {
            return Some(conn);
        }
        let mut state = lock(&self.state);
        // Taken in the last moment: its connection is on the way.
        if *state == State::Held {
            drop(state);
            return adopters.recv().ok();
        }
        *state = State::Over;
        None
    }
}

/// Which file this process's binary is. Only processes of one binary are sure to understand each other.
pub(crate) fn build() -> String {
    match std::fs::metadata("/proc/self/exe") {
        Ok(meta) => format!("{}:{}:{}.{}", meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_is_free_and_once() {
        let (lease, adopters) = Lease::held();
        assert!(!lease.take());
        let adopters = std::thread::scope(|scope| {
            let lease = &lease;
            let next = scope.spawn(move || {
                let next = lease.next(&adopters, Duration::from_secs(60));
                (next.is_some(), adopters)
            });
            while !lease.take() {
                std::thread::yield_now();
            }
            assert!(!lease.take());
            lease.hand_over(Conn::pair().expect("a pair").0);
            let (came, adopters) = next.join().expect("no panic");
            assert!(came);
            adopters
        });
        assert!(lease.next(&adopters, Duration::ZERO).is_none());
        assert!(!lease.take(), "the lab is ending");
    }
}
