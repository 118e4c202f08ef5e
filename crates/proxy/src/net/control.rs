//! The thread that owns what there is once: listening sockets, signals, the configuration, what the
//! service manager is told. It accepts clients and gives each to the worker with the fewest.
//!
//! ```text
//!  serving ──SIGHUP──▶ serving, with another configuration (`reload`)
//!     │ SIGTERM, SIGINT: nobody is accepted any more, clients leave (`drain`)
//!     ▼
//!  draining ──no client is left, or the time is over, or another signal──▶ end
//! ```

use std::fmt::Arguments;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use super::descriptors::Descriptors;
use super::doors::{Door, Next};
use super::mailbox::{Command, Workers};
use super::manager::Manager;
use super::signals::{Signals, Wish};
use super::stats::{self, StatsOptions};
use super::tls::Contexts;
use super::worker::{Shared, Worker};
use super::{EventLoop, NetError, admin};
use crate::config::Config;
use crate::log::{ERROR, Log, NOTICE, WARN};

/// When to try to accept again after the system refused to, for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const SIGNALS: Token = Token(0);
const WAKER: Token = Token(1);
/// Listeners have the tokens from here on.
const LISTENERS: usize = 2;

/// How a proxy is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration is read from again.
    pub file: PathBuf,
    /// Statistics in twemproxy's way.
    pub stats: StatsOptions,
    /// Threads that serve clients.
    pub threads: NonZeroUsize,
    /// Who reads and writes.
    pub event_loop: EventLoop,
    /// Where metrics and health are told, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// How long clients have for what is under way, when the proxy is to end.
    pub drain_timeout: Duration,
    /// The permissions of unix sockets that have none of their own; the umask's when absent.
    pub unix_mode: Option<u32>,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    pub(super) poll: Poll,
    pub(super) config: Config,
    pub(super) options: Options,
    pub(super) contexts: Contexts,
    /// One for each pool of `config`, in its order.
    pub(super) doors: Vec<Door>,
    /// What the next listener and the next pool get.
    pub(super) next: Next,
    pub(super) workers: Workers,
    pub(super) descriptors: Arc<Descriptors>,
    pub(super) log: Arc<Log>,
    pub(super) manager: Manager,
    signals: Signals,
    /// Kept, for what the last worker says is lost with the last waker.
    _waker: Arc<Waker>,
    /// How workers have ended: without an error only when they were to.
    ends: Receiver<Result<(), NetError>>,
    accept_again: bool,
    /// Set from the moment on when nobody is accepted any more.
    draining: Arc<AtomicBool>,
    /// Until when clients may stay that are to leave.
    deadline: Option<Instant>,
}

impl Proxy {
    /// Listens for every pool of `config` and starts the workers. From here on, the signals that
    /// end a proxy are taken over by [`run`](Self::run).
    pub fn start(config: &Config, options: &Options, log: Arc<Log>) -> Result<Proxy, NetError> {
        // Before the first thread: threads inherit which signals are blocked.
        let signals = Signals::take().map_err(NetError::of("signals"))?;
        let poll = Poll::new().map_err(NetError::of("epoll"))?;
        signals.register(poll.registry(), SIGNALS).map_err(NetError::of("signals"))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(NetError::of("an eventfd"))?);
        let contexts = Contexts::default();
        contexts.load(config)?;
        contexts.warn(config, &log);
        config.remarks.iter().for_each(|remark| log.line(WARN, format_args!("{remark}")));
        let mut next = Next { token: LISTENERS, pool: 0, mode: options.unix_mode };
        let mut doors = Vec::new();
        for pool in &config.pools {
            let listener = next.listen(pool, poll.registry())?;
            listener.tell(pool, &log);
            doors.push(Door::new(listener, pool, next.pool()));
        }
        let (sender, ends) = channel();
        let descriptors: Arc<Descriptors> = Arc::default();
        let shared = Shared {
            contexts: contexts.clone(),
            descriptors: Arc::clone(&descriptors),
            told: Arc::default(),
            log: Arc::clone(&log),
        };
        let workers = start_workers(config, options, &shared, &waker, &sender)?;
        stats::serve(options.stats, workers.clone())?;
        let draining: Arc<AtomicBool> = Arc::default();
        if let Some(address) = options.metrics {
            let address = admin::start(address, workers.clone(), Arc::clone(&draining))?;
            log.line(NOTICE, format_args!("metrics: listening on {address}"));
        }
        let manager = Manager::new(Instant::now());
        manager.ready(config.pools.len(), options.threads);
        let proxy = Proxy {
            poll,
            config: config.clone(),
            options: options.clone(),
            contexts,
            doors,
            next,
            workers,
            descriptors,
            log,
            manager,
            signals,
            _waker: waker,
            ends,
            accept_again: false,
            draining,
            deadline: None,
        };
        proxy.keep_descriptors_back();
        Ok(proxy)
    }

    /// Keeps back the descriptors that the configuration needs.
    pub(super) fn keep_descriptors_back(&self) {
        let Options { threads, metrics, .. } = self.options;
        if let Some(warning) = self.descriptors.keep_back(&self.config, threads.get(), metrics.is_some()) {
            self.log.line(WARN, format_args!("{warning}"));
        }
    }

    /// Serves until a signal says to end, and every client has what it is owed.
    pub fn run(&mut self) -> Result<(), NetError> {
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, self.timeout(Instant::now())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(NetError::of("epoll"))?,
            }
            while let Ok(end) = self.ends.try_recv() {
                end?;
                self.workers.one_has_ended();
            }
            let again = std::mem::take(&mut self.accept_again);
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        while let Some(wish) = self.signals.next() {
                            if self.signal(wish) {
                                return Ok(());
                            }
                        }
                    }
                    WAKER => {}
                    _ if again => {}
                    token => self.accept_at(token),
                }
            }
            if again {
                self.accept_everywhere();
            }
            let now = Instant::now();
            self.manager.watch(&self.workers, now);
            if self.is_over(now) {
                return Ok(());
            }
        }
    }

    /// How long there is nothing to do without an event.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        let until = |at: Instant| at.saturating_duration_since(now);
        let again = self.accept_again.then_some(ACCEPT_AGAIN);
        [again, self.deadline.map(until), self.manager.next().map(until)].into_iter().flatten().min()
    }

    /// Does what a signal asks for; true when it says to end now.
    fn signal(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::End if self.deadline.is_some() => {
                self.log.line(NOTICE, format_args!("ending at once: another signal said so"));
                return true;
            }
            Wish::End => self.drain(),
            Wish::LogMore => self.log.adjust(1),
            Wish::LogLess => self.log.adjust(-1),
            Wish::Nothing => {}
            Wish::Reload => {
                if let Err(error) = self.log.reopen() {
                    self.log.line(ERROR, format_args!("the log can not be opened anew: {error}"));
                }
                if self.deadline.is_none() {
                    self.reload();
                }
            }
        }
        false
    }

    /// Closes the listening sockets and lets the clients leave.
    fn drain(&mut self) {
        self.log.line(NOTICE, format_args!("ending: a signal said so; clients get what is under way"));
        self.draining.store(true, Ordering::Relaxed);
        self.manager.stopping();
        // Whoever is connected already may have asked something.
        self.accept_everywhere();
        self.accept_again = false;
        self.doors.clear();
        self.workers.send_all(|| Command::Drain);
        self.deadline = Some(Instant::now() + self.options.drain_timeout);
    }

    /// Whether the proxy is to end, and nothing is left to wait for.
    fn is_over(&self, now: Instant) -> bool {
        let Some(deadline) = self.deadline else { return false };
        if self.workers.have_all_ended() {
            self.log.line(NOTICE, format_args!("ended: every client has what it asked for"));
            return true;
        }
        if now >= deadline {
            let clients = self.workers.clients();
            self.log.line(
                WARN,
                format_args!(
                    "ended after {} s: {clients} clients still waited for something",
                    self.options.drain_timeout.as_secs()
                ),
            );
            return true;
        }
        false
    }

    fn accept_at(&mut self, token: Token) {
        if let Some(index) = self.doors.iter().position(|door| door.listener.token() == token) {
            self.accept(index);
        }
    }

    pub(super) fn accept_everywhere(&mut self) {
        (0..self.doors.len()).for_each(|index| self.accept(index));
    }

    /// Accepts all that wait at a door.
    pub(super) fn accept(&mut self, index: usize) {
        match self.doors[index].accept(&self.workers, &self.descriptors) {
            Ok(false) => {}
            Ok(true) => {
                let clients = self.workers.clients();
                self.complain(index, format_args!("clients are refused: there are {clients}, and no descriptors (RLIMIT_NOFILE) for more"));
            }
            Err(error) => {
                self.accept_again = true;
                self.complain(index, format_args!("can not accept: {error}"));
            }
        }
    }

    /// Writes a line about a door where it is hard to get in, but not for everybody who tries.
    fn complain(&mut self, index: usize, text: Arguments<'_>) {
        if self.doors[index].complaints.is_due(Instant::now()) {
            let pool = self.config.pools[index].name.as_str();
            self.log.about(ERROR, &[("pool", pool)], format_args!("pool '{pool}': {text}"));
        }
    }
}

fn start_workers(
    config: &Config,
    options: &Options,
    shared: &Shared,
    waker: &Arc<Waker>,
    ends: &Sender<Result<(), NetError>>,
) -> Result<Workers, NetError> {
    let started = Instant::now();
    let mut mailboxes = Vec::new();
    for number in 0..options.threads.get() {
        let (mut worker, mailbox) =
            Worker::new(config, options.event_loop, shared.clone(), started, number as u64)?;
        mailboxes.push(mailbox);
        let end = End { waker: Arc::clone(waker), ends: ends.clone() };
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || end.of(worker.run()))
            .map_err(NetError::of("a thread"))?;
    }
    Ok(Workers::new(mailboxes))
}

/// Tells the control thread of the end of a worker, also of one that panics.
struct End {
    waker: Arc<Waker>,
    ends: Sender<Result<(), NetError>>,
}

impl End {
    fn of(self, outcome: Result<(), NetError>) {
        let _ = self.ends.send(outcome);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.ends.send(Err(NetError::of("a worker")(io::Error::other("it has panicked"))));
        }
        let _ = self.waker.wake();
    }
}
