//! Where clients come in: the listening socket of a pool, and the count of its clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use super::NetError;
use super::descriptors::Descriptors;
use super::listener::Listener;
use super::mailbox::{Arrival, Command, Seat, Workers};
use super::stream::Stream;
use crate::config::Pool;
use crate::core::limits::refusal;
use crate::log::{Log, NOTICE};

/// How often a door is complained about that lets nobody in: whoever connects could fill the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A pool's listening socket, and its clients on all threads.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) listener: Registered,
    /// The most clients at a time; 0 for no limit.
    limit: usize,
    /// What a client reads for which there is no descriptor; nothing, if it expects TLS.
    refusal: &'static [u8],
    pub(super) complaints: Complaints,
    room: Room,
}

/// What is behind a door.
#[derive(Debug)]
pub(super) struct Room {
    /// The index of the pool in every core.
    pub(super) pool: usize,
    clients: Arc<AtomicUsize>,
}

/// A listening socket that is registered.
#[derive(Debug)]
pub(super) struct Registered {
    listener: Listener,
    token: Token,
}

/// What is said at once, and then seldom, while it goes on.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    latest: Option<Instant>,
}

impl Complaints {
    /// Whether it is to be said now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.latest.is_none_or(|latest| now.duration_since(latest) >= COMPLAIN_EVERY);
        if due {
            self.latest = Some(now);
        }
        due
    }
}

/// What the next listener and the next pool get. Neither is ever used again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) token: usize,
    pub(super) pool: usize,
    /// The permissions of a unix socket that has none of its own; the umask's when absent.
    pub(super) mode: Option<u32>,
}

impl Next {
    /// Binds the listening socket of a pool.
    pub(super) fn listen(&mut self, pool: &Pool, registry: &Registry) -> Result<Registered, NetError> {
        let mut listener = Listener::bind(pool, self.mode)?;
        let token = Token(self.token);
        self.token += 1;
        listener.register(registry, token).map_err(NetError::of("a listening socket"))?;
        Ok(Registered { listener, token })
    }

    /// The index that a core will give to its next pool.
    pub(super) fn pool(&mut self) -> usize {
        self.pool += 1;
        self.pool - 1
    }
}

impl Registered {
    /// Says that it is there, for a pool that is to be served.
    pub(super) fn tell(&self, pool: &Pool, log: &Log) {
        let about = [("pool", pool.name.as_str())];
        log.about(NOTICE, &about, format_args!("pool '{}': listening on {}", pool.name, pool.listen));
    }

    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Changes what can be changed of a socket that is bound.
    pub(super) fn adapt(&self, before: &Pool, after: &Pool) -> io::Result<()> {
        self.listener.adapt(before, after)
    }
}

impl Room {
    /// The door to the same clients, whose pool has number `index` now.
    pub(super) fn with(&self, mut listener: Registered, pool: &Pool, index: usize) -> Door {
        listener.listener.keepalive = pool.tcpkeepalive;
        let room = Room { pool: index, clients: Arc::clone(&self.clients) };
        let refusal = if pool.tls.is_some() { b"" } else { refusal(pool.protocol) };
        Door { listener, limit: pool.client_connections, refusal, complaints: Complaints::default(), room }
    }
}

impl Door {
    /// The door to `pool`, which is number `index` in every core.
    pub(super) fn new(listener: Registered, pool: &Pool, index: usize) -> Door {
        Room { pool: index, clients: Arc::default() }.with(listener, pool, index)
    }

    /// The socket, and what is behind it.
    pub(super) fn apart(self) -> (Room, Option<Registered>) {
        (self.room, Some(self.listener))
    }

    /// Gives all that wait to the workers; `true` when there are not descriptors enough for one. An
    /// error means that the system lets nobody in now.
    pub(super) fn accept(&self, workers: &Workers, descriptors: &Arc<Descriptors>) -> io::Result<bool> {
        let mut short = false;
        loop {
            match self.listener.listener.accept() {
                Ok(stream) => {
                    let hold = descriptors.for_client();
                    let over = hold.is_none();
                    short |= over;
                    // Refusing takes a while where there is TLS, and a descriptor as long.
                    let more = || self.refusal.is_empty().then(|| descriptors.for_more()).flatten();
                    let Some(hold) = hold.or_else(more) else {
                        self.refuse(stream);
                        continue;
                    };
                    stream.tune(self.listener.listener.keepalive);
                    let worker = workers.least_busy();
                    let seat = Seat::take(&worker.clients, &self.room.clients, hold);
                    let over =
                        over || (self.limit > 0 && self.room.clients.load(Ordering::Relaxed) > self.limit);
                    worker.send(Command::Serve(Arrival { pool: self.room.pool, stream, seat, over }));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(short),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Tells a client on the spot that it is one too many: however many come, it takes one descriptor.
    fn refuse(&self, mut stream: Stream) {
        if !self.refusal.is_empty() {
            // A socket that is new takes it; whoever has gone needs no answer.
            let _ = stream.write(self.refusal);
        }
        stream.finish();
        // Closing with unread bytes makes the kernel reset the connection.
        let _ = stream.read(&mut [0; 4096]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_few() {
        let (start, mut complaints) = (Instant::now(), Complaints::default());
        let said = (0..1000).filter(|tenths| complaints.is_due(start + Duration::from_millis(tenths * 100)));
        assert_eq!(said.collect::<Vec<_>>(), (0..10).map(|count| count * 100).collect::<Vec<_>>());
    }
}
