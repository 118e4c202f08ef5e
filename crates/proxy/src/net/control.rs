//! The thread that owns what there is once: listening sockets, signals, statistics. It accepts
//! clients and gives each to the worker with the fewest.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use super::listener::Listener;
use super::mailbox::{Arrival, Command, Seat, Workers};
use super::signals::{Signals, Wish};
use super::stats::{self, StatsOptions};
use super::stream::Stream;
use super::tls::Contexts;
use super::worker::Worker;
use super::{NetError, admin};
use crate::config::Config;
use crate::log::{ERROR, Log, NOTICE, WARN};

/// When to try to accept again after the system refused to, for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const SIGNALS: Token = Token(0);
const WAKER: Token = Token(1);
/// Listeners have the tokens from here on.
const LISTENERS: usize = 2;

/// How a proxy is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Statistics in twemproxy's way.
    pub stats: StatsOptions,
    /// Threads that serve clients.
    pub threads: NonZeroUsize,
    /// Where metrics and health are told, if anywhere.
    pub metrics: Option<SocketAddr>,
}

/// A pool's listening socket, and its clients on all threads.
#[derive(Debug)]
struct Door {
    listener: Listener,
    /// The most clients at a time; 0 for no limit.
    limit: usize,
    clients: Arc<AtomicUsize>,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    poll: Poll,
    doors: Vec<Door>,
    workers: Workers,
    signals: Signals,
    log: Arc<Log>,
    /// Why a worker has ended; none should.
    ends: Receiver<NetError>,
    accept_again: bool,
}

impl Proxy {
    /// Listens for every pool of `config` and starts the workers. From here on, the signals that
    /// end a proxy are taken over by [`run`](Self::run).
    pub fn start(config: &Config, options: &Options, log: Log) -> Result<Proxy, NetError> {
        // Before the first thread: threads inherit which signals are blocked.
        let signals = Signals::take().map_err(NetError::of("signals"))?;
        let log = Arc::new(log);
        let poll = Poll::new().map_err(NetError::of("epoll"))?;
        signals.register(poll.registry(), SIGNALS).map_err(NetError::of("signals"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(NetError::of("an eventfd"))?;
        let contexts = Contexts::default();
        contexts.load(config)?;
        contexts.warn(config, &log);
        config.remarks.iter().for_each(|remark| log.line(WARN, format_args!("{remark}")));
        let mut doors = Vec::new();
        for (index, pool) in config.pools.iter().enumerate() {
            let mut listener = Listener::bind(pool)?;
            listener
                .register(poll.registry(), Token(LISTENERS + index))
                .map_err(NetError::of("a listening socket"))?;
            let about = [("pool", pool.name.as_str())];
            log.about(NOTICE, &about, format_args!("pool '{}': listening on {}", pool.name, pool.listen));
            doors.push(Door { listener, limit: pool.client_connections, clients: Arc::default() });
        }
        let (sender, ends) = channel();
        let workers = start_workers(config, options.threads, &contexts, &log, &Arc::new(waker), &sender)?;
        stats::serve(options.stats, workers.clone())?;
        if let Some(address) = options.metrics {
            let address = admin::start(address, workers.clone())?;
            log.line(NOTICE, format_args!("metrics: listening on {address}"));
        }
        Ok(Proxy { poll, doors, workers, signals, log, ends, accept_again: false })
    }

    /// Serves until a signal says to end.
    pub fn run(&mut self) -> Result<(), NetError> {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.accept_again.then_some(ACCEPT_AGAIN);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(NetError::of("epoll"))?,
            }
            if let Ok(error) = self.ends.try_recv() {
                return Err(error);
            }
            let again = std::mem::take(&mut self.accept_again);
            let mut end = false;
            for event in &events {
                match event.token() {
                    SIGNALS => end |= self.signal(),
                    WAKER => {}
                    Token(_) if again => {}
                    Token(token) => self.accept(token - LISTENERS),
                }
            }
            if end {
                self.log.line(NOTICE, format_args!("ending: a signal said so"));
                return Ok(());
            }
            if again {
                (0..self.doors.len()).for_each(|index| self.accept(index));
            }
        }
    }

    /// Does what a signal asks for; true when it says to end.
    fn signal(&mut self) -> bool {
        let mut end = false;
        while let Some(wish) = self.signals.next() {
            match wish {
                Wish::End => end = true,
                Wish::LogMore => self.log.adjust(1),
                Wish::LogLess => self.log.adjust(-1),
                Wish::ReopenLog => {
                    if let Err(error) = self.log.reopen() {
                        self.log.line(ERROR, format_args!("the log can not be opened anew: {error}"));
                    }
                }
            }
        }
        end
    }

    fn accept(&mut self, index: usize) {
        let Some(door) = self.doors.get(index) else { return };
        loop {
            match door.listener.accept() {
                Ok(stream) => self.admit(index, door, stream),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.log.line(ERROR, format_args!("can not accept: {error}"));
                        self.accept_again = true;
                        return;
                    }
                },
            }
        }
    }

    fn admit(&self, pool: usize, door: &Door, stream: Stream) {
        stream.tune(door.listener.keepalive);
        let worker = self.workers.least_busy();
        let seat = Seat::take(&worker.clients, &door.clients);
        let over = door.limit > 0 && door.clients.load(Ordering::Relaxed) > door.limit;
        worker.send(Command::Serve(Arrival { pool, stream, seat, over }));
    }
}

fn start_workers(
    config: &Config,
    threads: NonZeroUsize,
    contexts: &Contexts,
    log: &Arc<Log>,
    waker: &Arc<Waker>,
    ends: &Sender<NetError>,
) -> Result<Workers, NetError> {
    let started = Instant::now();
    let mut mailboxes = Vec::new();
    for number in 0..threads.get() {
        let (mut worker, mailbox) =
            Worker::new(config, contexts.clone(), Arc::clone(log), started, number as u64)?;
        mailboxes.push(mailbox);
        let end = End { waker: Arc::clone(waker), ends: ends.clone() };
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || end.of(worker.run()))
            .map_err(NetError::of("a thread"))?;
    }
    Ok(Workers(mailboxes.into()))
}

/// Tells the control thread of the end of a worker, also of one that panics.
struct End {
    waker: Arc<Waker>,
    ends: Sender<NetError>,
}

impl End {
    fn of(self, outcome: Result<(), NetError>) {
        if let Err(error) = outcome {
            let _ = self.ends.send(error);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.ends.send(NetError::of("a worker")(io::Error::other("it has panicked")));
        }
        let _ = self.waker.wake();
    }
}
