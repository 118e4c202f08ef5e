//! What threads tell a worker: a queue, and an eventfd that wakes its epoll.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use mio::Waker;

use super::descriptors::Hold;
use super::stream::Stream;
use crate::config::Pool;
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
    /// The configuration has changed.
    Reload(Arc<[PoolStep]>),
    /// Let the clients leave, and end.
    Drain,
    /// Show that you are there: count this down.
    Turn(Arc<AtomicUsize>),
}

/// What becomes of a pool. Every worker gets the same steps in the same order, between the same
/// arrivals, so that the indices of pools are the same everywhere.
#[derive(Debug)]
pub(super) enum PoolStep {
    Add(Arc<Pool>),
    /// The old pool's index, and what takes its place.
    Replace(usize, Arc<Pool>),
    Remove(usize),
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
    _descriptor: Hold,
}

impl Seat {
    pub(super) fn take(worker: &Arc<AtomicUsize>, pool: &Arc<AtomicUsize>, descriptor: Hold) -> Seat {
        worker.fetch_add(1, Ordering::Relaxed);
        pool.fetch_add(1, Ordering::Relaxed);
        Seat { worker: Arc::clone(worker), pool: Arc::clone(pool), _descriptor: descriptor }
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
pub(super) struct Workers {
    mailboxes: Arc<[Mailbox]>,
    ended: usize,
}

impl Workers {
    pub(super) fn new(mailboxes: Vec<Mailbox>) -> Workers {
        Workers { mailboxes: mailboxes.into(), ended: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// One of them has done all that it was to do.
    pub(super) fn one_has_ended(&mut self) {
        self.ended += 1;
    }

    /// How many have not ended.
    pub(super) fn running(&self) -> usize {
        self.count().saturating_sub(self.ended)
    }

    pub(super) fn have_all_ended(&self) -> bool {
        self.running() == 0
    }

    /// Clients now.
    pub(super) fn clients(&self) -> usize {
        self.mailboxes.iter().map(|mailbox| mailbox.clients.load(Ordering::Relaxed)).sum()
    }

    /// Sends every worker such a message.
    pub(super) fn send_all(&self, command: impl Fn() -> Command) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(command()));
    }

    /// The worker with the fewest clients.
    pub(super) fn least_busy(&self) -> &Mailbox {
        let busy = |mailbox: &&Mailbox| mailbox.clients.load(Ordering::Relaxed);
        self.mailboxes.iter().min_by_key(busy).expect("there is a worker")
    }

    /// The sum of what all of them count.
    pub(super) fn snapshot(&self) -> io::Result<Snapshot> {
        let mut sum = Snapshot::default();
        self.ask(Command::Snapshot)?.into_iter().for_each(|part| sum.add(part));
        Ok(sum)
    }

    /// What each of them answers that has not ended.
    fn ask<T>(&self, question: impl Fn(Sender<T>) -> Command) -> io::Result<Vec<T>> {
        let (sender, receiver) = channel();
        self.send_all(|| question(sender.clone()));
        // The question goes with a worker that ends, and so does its way to answer.
        drop(sender);
        let mut answers = Vec::new();
        loop {
            match receiver.recv_timeout(PATIENCE) {
                Ok(answer) => answers.push(answer),
                Err(RecvTimeoutError::Disconnected) => return Ok(answers),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Makes all of them look at which keys are asked for, for this long at most.
    pub(super) fn sample_keys(&self, time: Duration) {
        self.send_all(|| Command::SampleKeys(time));
    }

    /// What all of them have seen since, by pool.
    pub(super) fn sampled_keys(&self) -> io::Result<Vec<(String, Sketch)>> {
        let mut sum: Vec<(String, Sketch)> = Vec::new();
        for part in self.ask(Command::SampledKeys)? {
            for (pool, sketch) in part {
                match sum.iter_mut().find(|(name, _)| *name == pool) {
                    Some((_, mine)) => mine.add(sketch),
                    None => sum.push((pool, sketch)),
                }
            }
        }
        Ok(sum)
    }
}
