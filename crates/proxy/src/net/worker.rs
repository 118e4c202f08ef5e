//! One thread's share of a proxy: an epoll instance, a core, and the sockets of its clients and of
//! its own connections to servers. Workers share nothing but counts of clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::clients::Clients;
use super::mailbox::{Arrival, Command, Mailbox, PoolStep};
use super::resolve::Resolver;
use super::servers::Servers;
use super::stream::Stream;
use super::tls::{Contexts, Secure};
use super::{NetError, READ_BYTES};
use crate::config::Config;
use crate::core::{Action, Core, Micros, micros};
use crate::log::{ERROR, INFO, Log};

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

    fn of(token: Token) -> Source {
        let index = token.0 >> 2;
        match token.0 & 3 {
            2 => Source::Client(index),
            3 => Source::Server(index),
            _ => Source::Waker,
        }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    poll: Poll,
    core: Core,
    clients: Clients,
    servers: Servers,
    contexts: Contexts,
    commands: Receiver<Command>,
    log: Arc<Log>,
    started: Instant,
    buffer: Vec<u8>,
    /// It ends when nothing is under way any more.
    draining: bool,
}

impl Worker {
    /// A worker for the pools of `config`, and where to send it messages. Its clock is at zero
    /// at `started`; `number` tells it from the others.
    pub(super) fn new(
        config: &Config,
        contexts: Contexts,
        log: Arc<Log>,
        started: Instant,
        number: u64,
    ) -> Result<(Worker, Mailbox), NetError> {
        let poll = Poll::new().map_err(NetError::of("epoll"))?;
        let waker = Waker::new(poll.registry(), Source::Waker.token());
        let waker = Arc::new(waker.map_err(NetError::of("an eventfd"))?);
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut core = Core::new(&config.pools, (epoch.as_nanos() as u64).wrapping_add(number << 32));
        core.set_epoch(micros(epoch.saturating_sub(started.elapsed())));
        for (index, _) in config.pools.iter().enumerate().filter(|(_, pool)| pool.preconnect) {
            core.preconnect(index, micros(started.elapsed()));
        }
        let (mailbox, commands) = Mailbox::new(Arc::clone(&waker));
        let worker = Worker {
            poll,
            core,
            clients: Clients::default(),
            servers: Servers::new(Resolver::new(waker), contexts.clone()),
            contexts,
            commands,
            log,
            started,
            buffer: vec![0; READ_BYTES],
            draining: false,
        };
        Ok((worker, mailbox))
    }

    /// Serves until it is told to end and nothing is under way any more.
    pub(super) fn run(&mut self) -> Result<(), NetError> {
        let mut events = Events::with_capacity(EVENTS);
        self.act(self.now());
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(NetError::of("epoll"))?,
            }
            let now = self.now();
            for event in &events {
                self.event(event, now);
            }
            self.clients.read(&mut self.core, &mut self.buffer, now, &self.log);
            // Servers get their work before clients get replies.
            self.act(now);
            self.servers.read(&mut self.core, &mut self.clients, &mut self.buffer, now, &self.log);
            self.clients.tick(&mut self.core, now, &self.log);
            self.core.tick(now);
            for (pool, slow) in self.core.slow_news() {
                let about = [("pool", pool.name.as_str()), ("server", slow.server.as_str())];
                self.log.about(INFO, &about, format_args!("pool '{}': {slow}", pool.name));
            }
            self.act(now);
            if self.draining && self.core.is_idle() {
                return Ok(());
            }
        }
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
                self.servers.resolved(&mut self.core, self.poll.registry(), now, &self.log);
                while let Ok(command) = self.commands.try_recv() {
                    self.command(command, now);
                }
            }
            Source::Client(index) => self.clients.event(&mut self.core, index, event, now),
            Source::Server(index) => self.servers.event(&mut self.core, index, event, now, &self.log),
        }
    }

    fn command(&mut self, command: Command, now: Micros) {
        match command {
            Command::Serve(arrival) => {
                if let Some(arrival) = self.secured(arrival) {
                    self.clients.add(&mut self.core, self.poll.registry(), arrival, now);
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
            match action {
                Action::Connect(id) => {
                    self.servers.connect(&mut self.core, self.poll.registry(), id, now, &self.log);
                }
                Action::CloseServer(id) => self.servers.close(id, &self.log),
                Action::WriteServer(id) => self.servers.write(&mut self.core, id, now, &self.log),
                Action::WriteClient(id) => self.clients.write(&mut self.core, id, now),
                // That nothing is left to be read is what makes it leave.
                Action::ResumeClient(id) if self.core.has_leaving() => self.clients.look(id),
                Action::ResumeClient(id) => self.clients.resume(id),
                Action::ResumeServer(id) => self.servers.resume(id),
                Action::CloseClient(id) => self.clients.close(id, &mut self.buffer),
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
