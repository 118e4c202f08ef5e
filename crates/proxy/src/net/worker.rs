//! The event loop.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::clients::Clients;
use super::listener::Listener;
use super::resolve::Resolver;
use super::servers::Servers;
use super::signals::{Signals, Wish};
use super::stats::{Stats, StatsOptions};
use super::stream::Stream;
use super::tls::{Contexts, Secure};
use super::{NetError, READ_BYTES};
use crate::config::Config;
use crate::core::{Action, Core, Micros, micros};
use crate::log::{ERROR, Log, NOTICE, WARN};

/// Events taken from the kernel at a time.
const EVENTS: usize = 1024;
/// When to try to accept again after the system refused to, for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What a token stands for: its kind in the low bits, an index above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Signals,
    Resolver,
    Listener(usize),
    Client(usize),
    Server(usize),
}

impl Source {
    pub(super) fn token(self) -> Token {
        Token(match self {
            Source::Signals => 0,
            Source::Resolver => 1 << 2,
            Source::Listener(index) => index << 2 | 1,
            Source::Client(index) => index << 2 | 2,
            Source::Server(index) => index << 2 | 3,
        })
    }

    fn of(token: Token) -> Source {
        let index = token.0 >> 2;
        match token.0 & 3 {
            0 if index == 0 => Source::Signals,
            0 => Source::Resolver,
            1 => Source::Listener(index),
            2 => Source::Client(index),
            _ => Source::Server(index),
        }
    }
}

/// One thread's share of a proxy: all of it, for now.
#[derive(Debug)]
pub struct Worker {
    poll: Poll,
    config: Config,
    core: Core,
    listeners: Vec<Listener>,
    clients: Clients,
    servers: Servers,
    contexts: Contexts,
    signals: Signals,
    stats: Stats,
    log: Log,
    started: Instant,
    buffer: Vec<u8>,
    accept_again: bool,
}

impl Worker {
    /// Listens for every pool of `config`. From here on, the signals that end a proxy are taken
    /// over by [`run`](Self::run).
    pub fn new(config: &Config, stats: StatsOptions, log: Log) -> Result<Worker, NetError> {
        let signals = Signals::take().map_err(NetError::of("signals"))?;
        let poll = Poll::new().map_err(NetError::of("epoll"))?;
        let resolver = Resolver::new(poll.registry(), Source::Resolver.token());
        let resolver = resolver.map_err(NetError::of("the resolver"))?;
        signals.register(poll.registry(), Source::Signals.token()).map_err(NetError::of("signals"))?;
        let contexts = Contexts::default();
        contexts.load(config)?;
        contexts.warn(config, &log);
        config.remarks.iter().for_each(|remark| log.line(WARN, format_args!("{remark}")));
        let mut listeners = Vec::new();
        for (index, pool) in config.pools.iter().enumerate() {
            let mut listener = Listener::bind(pool)?;
            listener
                .register(poll.registry(), Source::Listener(index).token())
                .map_err(NetError::of("a listening socket"))?;
            log.line(NOTICE, format_args!("pool '{}': listening on {}", pool.name, pool.listen));
            listeners.push(listener);
        }
        let stats = Stats::start(stats)?;
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut core = Core::new(&config.pools, epoch.as_nanos() as u64);
        core.set_epoch(micros(epoch));
        let servers = Servers::new(resolver, contexts.clone());
        for (index, _) in config.pools.iter().enumerate().filter(|(_, pool)| pool.preconnect) {
            core.preconnect(index, 0);
        }
        Ok(Worker {
            poll,
            config: config.clone(),
            core,
            listeners,
            clients: Clients::default(),
            servers,
            contexts,
            signals,
            stats,
            log,
            started: Instant::now(),
            buffer: vec![0; READ_BYTES],
            accept_again: false,
        })
    }

    /// Serves until a signal says to end.
    pub fn run(&mut self) -> Result<(), NetError> {
        let mut events = Events::with_capacity(EVENTS);
        let mut now = 0;
        self.act(now);
        loop {
            self.stats.refresh(&self.config, &self.core, now);
            let timeout = Some(self.timeout(now));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome.map_err(NetError::of("epoll"))?,
            }
            now = self.now();
            let mut end = false;
            for event in &events {
                end |= self.event(event, now);
            }
            if end {
                self.log.line(NOTICE, format_args!("ending: a signal said so"));
                return Ok(());
            }
            if std::mem::take(&mut self.accept_again) {
                (0..self.listeners.len()).for_each(|index| self.accept(index, now));
            }
            self.clients.read(&mut self.core, &mut self.buffer, now, &self.log);
            // Servers get their work before clients get replies.
            self.act(now);
            self.servers.read(&mut self.core, &mut self.clients, &mut self.buffer, now, &self.log);
            self.clients.tick(&mut self.core, now, &self.log);
            self.core.tick(now);
            self.act(now);
        }
    }

    fn now(&self) -> Micros {
        micros(self.started.elapsed())
    }

    /// How long there is nothing to do without an event, in a turn that began at `now`.
    fn timeout(&mut self, now: Micros) -> Duration {
        if self.clients.any_readable() || self.servers.any_readable() {
            return Duration::ZERO;
        }
        let deadline = [self.core.next_deadline(), self.clients.next_deadline()].into_iter().flatten().min();
        let deadline = deadline.map(|at| Duration::from_micros(at.saturating_sub(self.now())));
        let next = deadline.unwrap_or(Duration::MAX).min(self.stats.fresh_for(now));
        if self.accept_again { next.min(ACCEPT_AGAIN) } else { next }
    }

    /// Takes note of an event; true when it says to end.
    fn event(&mut self, event: &Event, now: Micros) -> bool {
        match Source::of(event.token()) {
            Source::Signals => return self.signal(),
            Source::Resolver => self.servers.resolved(&mut self.core, self.poll.registry(), now, &self.log),
            Source::Listener(index) => self.accept(index, now),
            Source::Client(index) => self.clients.event(&mut self.core, index, event, now),
            Source::Server(index) => self.servers.event(&mut self.core, index, event, now, &self.log),
        }
        false
    }

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

    fn accept(&mut self, index: usize, now: Micros) {
        let Some(listener) = self.listeners.get(index) else { return };
        loop {
            match listener.accept() {
                Ok(stream) => {
                    stream.tune(listener.keepalive);
                    if let Some(stream) = self.secured(index, stream) {
                        self.clients.add(&mut self.core, self.poll.registry(), index, stream, now);
                    }
                }
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

    /// Puts TLS on top of a connection to a pool that has it.
    fn secured(&self, pool: usize, stream: Stream) -> Option<Stream> {
        let Some(tls) = &self.config.pools[pool].tls else { return Some(stream) };
        let context = self.contexts.toward_clients(tls, &self.log).map_err(io::Error::other);
        match context.and_then(|context| Secure::of_client(stream, context)) {
            Ok(secure) => Some(Stream::Tls(Box::new(secure))),
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
        for source in
            [Source::Signals, Source::Resolver, Source::Listener(3), Source::Client(0), Source::Server(9)]
        {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
