//! What threads tell a worker: a queue, and an eventfd that wakes its epoll.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use mio::Waker;

use super::stream::Stream;
use crate::core::{Sketch, Snapshot};

/// The longest that a worker may take to say how it is. A turn of its loop is far shorter.
const PATIENCE: Duration = Duration::from_secs(2);

/// A message to a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve this client.
    Serve(Arrival),
    /// Say how you are.
    Snapshot(Sender<Snapshot>),
    /// Look at which keys are asked for, for this long at most.
    SampleKeys(Duration),
    /// Say which were, and look no more.
    SampledKeys(Sender<Vec<(String, Sketch)>>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) pool: usize,
    pub(super) stream: Stream,
    pub(super) seat: Seat,
    /// The pool has as many clients as it may have: say so and close.
    pub(super) over: bool,
}

/// A client's place in the counts of its worker and its pool, which it leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    worker: Arc<AtomicUsize>,
    pool: Arc<AtomicUsize>,
}

impl Seat {
    pub(super) fn take(worker: &Arc<AtomicUsize>, pool: &Arc<AtomicUsize>) -> Seat {
        worker.fetch_add(1, Ordering::Relaxed);
        pool.fetch_add(1, Ordering::Relaxed);
        Seat { worker: Arc::clone(worker), pool: Arc::clone(pool) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
        self.pool.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a worker's messages go.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    sender: Sender<Command>,
    waker: Arc<Waker>,
    /// Clients that the worker has, or is about to have.
    pub(super) clients: Arc<AtomicUsize>,
}

impl Mailbox {
    pub(super) fn new(waker: Arc<Waker>) -> (Mailbox, Receiver<Command>) {
        let (sender, receiver) = channel();
        (Mailbox { sender, waker, clients: Arc::default() }, receiver)
    }

    /// Sends a message. The worker is only gone when the proxy ends.
    pub(super) fn send(&self, command: Command) {
        if self.sender.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// All workers, for who wants to know something of each.
#[derive(Debug, Clone)]
pub(super) struct Workers(pub(super) Arc<[Mailbox]>);

impl Workers {
    /// The worker with the fewest clients.
    pub(super) fn least_busy(&self) -> &Mailbox {
        let busy = |mailbox: &&Mailbox| mailbox.clients.load(Ordering::Relaxed);
        self.0.iter().min_by_key(busy).expect("there is a worker")
    }

    /// The sum of what all of them count.
    pub(super) fn snapshot(&self) -> io::Result<Snapshot> {
        let (sender, receiver) = channel();
        self.0.iter().for_each(|mailbox| mailbox.send(Command::Snapshot(sender.clone())));
        let mut sum = Snapshot::default();
        for _ in self.0.iter() {
            let part = receiver.recv_timeout(PATIENCE).map_err(io::Error::other)?;
            sum.add(part);
        }
        Ok(sum)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Makes all of them look at which keys are asked for, for this long at most.
    pub(super) fn sample_keys(&self, time: Duration) {
        self.0.iter().for_each(|mailbox| mailbox.send(Command::SampleKeys(time)));
    }

    /// What all of them have seen since, by pool.
    pub(super) fn sampled_keys(&self) -> io::Result<Vec<(String, Sketch)>> {
        let (sender, receiver) = channel();
        self.0.iter().for_each(|mailbox| mailbox.send(Command::SampledKeys(sender.clone())));
        let mut sum: Vec<(String, Sketch)> = Vec::new();
        for _ in self.0.iter() {
            for (pool, sketch) in receiver.recv_timeout(PATIENCE).map_err(io::Error::other)? {
                match sum.iter_mut().find(|(name, _)| *name == pool) {
                    Some((_, mine)) => mine.add(sketch),
                    None => sum.push((pool, sketch)),
                }
            }
        }
        Ok(sum)
    }
}
