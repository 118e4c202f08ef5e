//! One thread's share of a proxy: an epoll instance, an io_uring, a core, and the sockets of its
//! clients and of its own connections to servers. Workers share nothing but counts of clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::{Events, Token, Waker};
use tombolo_ring as ring;

use super::clients::Clients;
use super::descriptors::Descriptors;
use super::mailbox::{Arrival, Command, Mailbox, PoolStep};
use super::resolve::Resolver;
use super::servers::{Servers, Told};
use super::stream::Stream;
use super::tls::{Contexts, Secure};
use super::wire::{Io, Ring};
use super::{EventLoop, NetError, READ_BYTES, REST_BYTES};
use crate::config::Config;
use crate::core::{Action, Core, Micros, micros};
use crate::log::{ERROR, INFO, Log, NOTICE};

/// Events taken from the kernel at a time.
const EVENTS: usize = 1024;

/// What a token stands for: its kind in the low bits, an index above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Another thread has something to say.
    Waker,
    Client(usize),
    Server(usize),
}

impl Source {
    pub(super) fn token(self) -> Token {
        Token(match self {
            Source::Waker => 0,
            Source::Client(index) => index << 2 | 2,
            Source::Server(index) => index << 2 | 3,
        })
    }

    /// The index in what was a token.
    pub(super) fn index_of(token: usize) -> usize {
        token >> 2
    }

    fn of(token: Token) -> Source {
        let index = Source::index_of(token.0);
        match token.0 & 3 {
            2 => Source::Client(index),
            3 => Source::Server(index),
            _ => Source::Waker,
        }
    }
}

/// What all workers have together.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) contexts: Contexts,
    pub(super) descriptors: Arc<Descriptors>,
    pub(super) told: Arc<Told>,
    pub(super) log: Arc<Log>,
}

#[derive(Debug)]
pub(super) struct Worker {
    io: Io,
    event_loop: EventLoop,
    core: Core,
    clients: Clients,
    servers: Servers,
    contexts: Contexts,
    commands: Receiver<Command>,
    log: Arc<Log>,
    started: Instant,
    buffer: Vec<u8>,
    /// What the ring's turn has brought, kept for the memory: what was sent, and what has happened.
    sent: Vec<(ring::Slot, usize, i32)>,
    brought: Vec<ring::Event>,
    /// It ends when nothing is under way any more.
    draining: bool,
}

impl Worker {
    /// A worker for the pools of `config`, and where to send it messages. Its clock is at zero
    /// at `started`; `number` tells it from the others.
    pub(super) fn new(
        config: &Config,
        event_loop: EventLoop,
        shared: Shared,
        started: Instant,
        number: u64,
    ) -> Result<(Worker, Mailbox), NetError> {
        let Shared { contexts, descriptors, told, log } = shared;
        let io = Io::new()?;
        let waker = Waker::new(io.registry(), Source::Waker.token());
        let waker = Arc::new(waker.map_err(NetError::of("an eventfd"))?);
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut core = Core::new(&config.pools, (epoch.as_nanos() as u64).wrapping_add(number << 32));
        core.set_epoch(micros(epoch.saturating_sub(started.elapsed())));
        core.set_number(number as u8);
        for (index, _) in config.pools.iter().enumerate().filter(|(_, pool)| pool.preconnect) {
            core.preconnect(index, micros(started.elapsed()));
        }
        let (mailbox, commands) = Mailbox::new(Arc::clone(&waker));
        let worker = Worker {
            io,
            event_loop,
            core,
            clients: Clients::default(),
            servers: Servers::new(Resolver::new(waker), contexts.clone(), descriptors, told),
            contexts,
            commands,
            log,
            started,
            buffer: vec![0; REST_BYTES + READ_BYTES],
            sent: Vec::new(),
            brought: Vec::new(),
            draining: false,
        };
        Ok((worker, mailbox))
    }

    /// Serves until it is told to end and nothing is under way any more.
    pub(super) fn run(&mut self) -> Result<(), NetError> {
        let mut events = Events::with_capacity(EVENTS);
        self.start_ring()?;
        let mut now = self.now();
        self.act(now);
        loop {
            let timeout = self.timeout();
            now = match self.io.ring.as_ref().is_some_and(|ring| !ring.is_empty()) {
                true => self.turn(&mut events, timeout, now)?,
                false => self.poll(&mut events, timeout)?,
            };
            self.clients.read(&mut self.core, &mut self.buffer, now, &self.log);
            self.clients.tell_quiet(&mut self.core, &mut self.io);
            // Servers get their work before clients get replies.
            self.act(now);
            let Worker { core, io, clients, buffer, log, .. } = self;
            self.servers.read(core, io, clients, buffer, now, log);
            self.clients.tick(&mut self.core, now, &self.log);
            self.core.tick(now);
            self.servers.tell_news(&mut self.core, &self.log);
            for (pool, slow) in self.core.slow_news() {
                let about = [("pool", pool.name.as_str()), ("server", slow.server.as_str())];
                self.log.about(INFO, &about, format_args!("pool '{}': {slow}", pool.name));
            }
            while let Some((pool, server)) = self.core.next_open_server() {
                let (pool, name, server) = (pool.name.as_str(), server.name.as_str(), &server.address);
                let text = "it has no password; redis_auth is what clients must give all the same";
                let about = [("pool", pool), ("server", name)];
                self.log.about(NOTICE, &about, format_args!("pool '{pool}': server {server}: {text}"));
            }
            self.act(now);
            if self.draining && self.core.is_idle() {
                return Ok(());
            }
        }
    }

    /// Makes the ring, if there is to be one. A ring is for the thread that made it.
    fn start_ring(&mut self) -> Result<(), NetError> {
        if self.event_loop == EventLoop::Epoll {
            return Ok(());
        }
        let made = Ring::new().and_then(|mut ring| {
            ring.watch(&self.io.poll)?;
            Ok(ring)
        });
        match made {
            Ok(ring) => self.io.ring = Some(ring),
            Err(error) if self.event_loop == EventLoop::IoUring => {
                return Err(NetError::of("io_uring")(error));
            }
            Err(error) => self.log.line(NOTICE, format_args!("epoll it is: there is no io_uring: {error}")),
        }
        Ok(())
    }

    /// Waits for events of epoll's; says when they were there.
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<Micros, NetError> {
        match self.io.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            outcome => outcome.map_err(NetError::of("epoll"))?,
        }
        let now = self.now();
        for event in &*events {
            self.event(event, now);
        }
        Ok(now)
    }

    /// One turn of the ring: sends at `before` what is to be sent, and waits for events, epoll's among
    /// them; says when they were there.
    fn turn(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
        before: Micros,
    ) -> Result<Micros, NetError> {
        let (mut sent, mut brought) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.brought));
        if let Some(ring) = &mut self.io.ring {
            let sends = self.servers.sends(&self.core).chain(self.clients.sends(&self.core));
            ring.turn(sends, timeout, &mut sent, &mut brought).map_err(NetError::of("io_uring"))?;
        }
        let now = self.now();
        let Worker { core, io, clients, servers, log, .. } = self;
        for (slot, tag, result) in sent.drain(..) {
            match (Source::of(Token(tag)), &mut io.ring) {
                (Source::Client(index), Some(ring)) => {
                    clients.sent(core, ring, (index, slot), result, before)
                }
                (Source::Server(index), _) => servers.sent(core, io, (index, slot), result, before, log),
                _ => {}
            }
        }
        if let Some(ring) = &mut io.ring {
            servers.give_back(ring);
        }
        for event in brought.drain(..) {
            self.brought(event, events, now)?;
        }
        (self.sent, self.brought) = (sent, brought);
        Ok(now)
    }

    fn brought(&mut self, event: ring::Event, events: &mut Events, now: Micros) -> Result<(), NetError> {
        let Worker { core, io, clients, servers, log, .. } = self;
        let Some(ring) = &mut io.ring else { return Ok(()) };
        let tag = match &event {
            ring::Event::Received { tag, .. }
            | ring::Event::Ended { tag, .. }
            | ring::Event::Writable { tag, .. }
            | ring::Event::Hung { tag, .. } => *tag,
            ring::Event::Watched => Source::Waker.token().0,
        };
        let Source::Client(index) = Source::of(Token(tag)) else {
            if !matches!(event, ring::Event::Watched) {
                servers.keep(event);
                return Ok(());
            }
            self.poll(events, Some(Duration::ZERO))?;
            let poll = &self.io.poll;
            let watched = self.io.ring.as_mut().map(|ring| ring.watch(poll));
            return watched.unwrap_or(Ok(())).map_err(NetError::of("io_uring"));
        };
        match event {
            ring::Event::Received { slot, received, .. } => {
                clients.received(core, ring, (index, slot), received, now);
            }
            ring::Event::Ended { slot, error, .. } => clients.ended(core, (index, slot), error, now, log),
            ring::Event::Writable { slot, .. } => clients.drained(core, (index, slot), now),
            ring::Event::Hung { slot, over, .. } => clients.hung(core, (index, slot), over),
            ring::Event::Watched => {}
        }
        Ok(())
    }

    fn now(&self) -> Micros {
        micros(self.started.elapsed())
    }

    /// How long there is nothing to do without an event; `None` for ever.
    fn timeout(&mut self) -> Option<Duration> {
        if self.clients.any_readable() || self.servers.any_readable() {
            return Some(Duration::ZERO);
        }
        let deadline = [self.core.next_deadline(), self.clients.next_deadline()].into_iter().flatten().min();
        deadline.map(|at| Duration::from_micros(at.saturating_sub(self.now())))
    }

    fn event(&mut self, event: &Event, now: Micros) {
        match Source::of(event.token()) {
            Source::Waker => {
                self.servers.resolved(&mut self.core, &mut self.io, now, &self.log);
                while let Ok(command) = self.commands.try_recv() {
                    self.command(command, now);
                }
            }
            Source::Client(index) => self.clients.event(&mut self.core, index, event, now),
            Source::Server(index) => {
                self.servers.event(&mut self.core, &mut self.io, index, event, now, &self.log);
            }
        }
    }

    fn command(&mut self, command: Command, now: Micros) {
        match command {
            Command::Serve(arrival) => {
                if let Some(arrival) = self.secured(arrival) {
                    self.clients.add(&mut self.core, &mut self.io, arrival, now);
                }
            }
            Command::Reload(steps) => steps.iter().for_each(|step| self.change(step, now)),
            Command::Drain => {
                self.draining = true;
                self.core.drain();
                self.clients.look_everywhere();
            }
            Command::Turn(count) => {
                count.fetch_sub(1, Ordering::Relaxed);
            }
            Command::Snapshot(sender) => {
                // Who has asked may have lost patience.
                let _ = sender.send(self.core.snapshot());
            }
            Command::SampleKeys(time) => self.core.sample_keys(now.saturating_add(micros(time))),
            Command::SampledKeys(sender) => {
                let _ = sender.send(self.core.sampled_keys());
            }
        }
    }

    fn change(&mut self, step: &PoolStep, now: Micros) {
        match step {
            PoolStep::Add(pool) => {
                let index = self.core.add_pool(Arc::clone(pool));
                if pool.preconnect {
                    self.core.preconnect(index, now);
                }
            }
            PoolStep::Replace(old, pool) => {
                self.core.replace_pool(*old, Arc::clone(pool), now);
            }
            PoolStep::Remove(pool) => {
                self.core.remove_pool(*pool);
                self.clients.look_everywhere();
            }
        }
    }

    /// Puts TLS on top of a connection to a pool that has it.
    fn secured(&self, mut arrival: Arrival) -> Option<Arrival> {
        let Some(tls) = &self.core.pool(arrival.pool).tls else { return Some(arrival) };
        let context = self.contexts.toward_clients(tls, &self.log).map_err(io::Error::other);
        match context.and_then(|context| Secure::of_client(arrival.stream, context)) {
            Ok(secure) => {
                arrival.stream = Stream::Tls(Box::new(secure));
                Some(arrival)
            }
            Err(error) => {
                self.log.line(ERROR, format_args!("a client can not be served: {error}"));
                None
            }
        }
    }

    /// Does what the core wants, until it wants nothing more.
    fn act(&mut self, now: Micros) {
        while let Some(action) = self.core.poll_action() {
            let Worker { core, io, clients, servers, log, .. } = self;
            match action {
                Action::Connect(id) => servers.connect(core, io, id, now, log),
                Action::CloseServer(id) => servers.close(io, id, log),
                Action::WriteServer(id) => servers.write(core, io, id, now, log),
                Action::WriteClient(id) => clients.write(core, id, now),
                Action::ResumeClient(id) => clients.resume(core, io, id),
                Action::ResumeServer(id) => servers.resume(io, id),
                Action::CloseClient(id) => clients.close(io, id, &mut self.buffer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_what_they_stand_for() {
        for source in [Source::Waker, Source::Client(0), Source::Client(3), Source::Server(9)] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
