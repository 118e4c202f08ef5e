//! The sockets of servers.

mod ring;
mod told;

use std::fmt::Arguments;
use std::io;
use std::sync::Arc;

use mio::event::Event;
use nix::errno::Errno;
use rustls::pki_types::ServerName;
use tombolo_ring::{Event as RingEvent, Group, Received};

use crate::config::{Address, Eject, ServerTls};
use crate::core::{ConnectionId, Core, Micros, ServerError, ServerNews};
use crate::log::{Log, WARN};
use crate::net::clients::Clients;
use crate::net::descriptors::{Descriptors, Hold};
use crate::net::resolve::Resolver;
use crate::net::stream::{Got, Socket, Stream};
use crate::net::tls::{self, Contexts, Secure};
use crate::net::wire::{Io, Ringed, Wire};
use crate::net::worker::Source;
use crate::net::{READ_BYTES, REST_BYTES};

pub(super) use told::Told;
use told::Trouble;

#[derive(Debug)]
struct Link {
    /// For the log: the pool, and what the configuration calls the server.
    pool: String,
    name: String,
    /// The index of the pool, and of the server there.
    place: (usize, usize),
    address: Address,
    keepalive: bool,
    /// TLS, and the name that the certificate must have.
    tls: Option<Box<(ServerTls, ServerName<'static>)>>,
    wire: Option<Wire>,
    /// The socket is there, the connection is not yet; of TLS's handshake the socket knows.
    connecting: bool,
    /// A lookup of its name is under way. There is never a second one, however often connecting
    /// fails meanwhile: a name server that does not answer must not collect threads.
    looking_up: bool,
    /// The core waits for a connection, and that for the lookup.
    awaited: bool,
    /// What was wrong with it, until it works.
    down: Option<Trouble>,
    /// Clients share it. What becomes of the others is their clients' business, not the log's.
    shared: bool,
    /// The descriptor of one that is a client's own.
    hold: Option<Hold>,
}

impl Link {
    fn new(core: &Core, id: ConnectionId) -> Link {
        let (pool, server, shared) = core.place(id);
        let place = (pool, server);
        let pool = core.pool(pool);
        let address = core.server(id).address.clone();
        let tls = pool.server_tls.clone().and_then(|tls| {
            let host = match &address {
                Address::Tcp(host, _) => host,
                Address::Unix(_) => "",
            };
            // The configuration was refused if there is no such name.
            let name = ServerName::try_from(tls.name.clone().unwrap_or(host.to_string())).ok()?;
            Some(Box::new((tls, name)))
        });
        Link {
            pool: pool.name.clone(),
            name: core.server(id).name.clone(),
            place,
            address,
            keepalive: pool.tcpkeepalive,
            tls,
            wire: None,
            connecting: false,
            looking_up: false,
            awaited: false,
            down: None,
            shared,
            hold: None,
        }
    }

    /// Whether its TLS handshake is under way.
    fn is_handshaking(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_handshaking) && !self.connecting
    }

    /// Writes a line about it.
    fn log(&self, log: &Log, text: Arguments<'_>) {
        let (pool, server) = (self.pool.as_str(), &self.address);
        let about = [("pool", pool), ("server", &self.name)];
        log.about(WARN, &about, format_args!("pool '{pool}': server {server}: {text}"));
    }

    /// Has the ring read and write from here on, if there is one and it is of use.
    fn give_to_ring(&mut self, io: &mut Io, id: ConnectionId) -> io::Result<()> {
        let registry = io.poll.registry();
        let Some(ring) = &mut io.ring else { return Ok(()) };
        match self.wire.take() {
            Some(Wire::Polled(Socket { mut stream, .. })) if stream.is_plain() => {
                stream.deregister(registry)?;
                let group = if self.shared { Group::Large } else { Group::Small };
                let slot = ring.add(stream, group, Source::Server(id.0).token().0)?;
                self.wire = Some(Wire::Ringed(Ringed::new(slot)));
            }
            other => self.wire = other,
        }
        Ok(())
    }

    fn disconnect(&mut self, io: &mut Io) {
        match self.wire.take() {
            Some(Wire::Polled(mut socket)) if !self.connecting => socket.stream.close_notify(),
            Some(Wire::Ringed(ringed)) => io.remove(ringed.slot, Vec::new()),
            _ => {}
        }
        self.connecting = false;
        self.hold = None;
    }
}

#[derive(Debug)]
pub(in crate::net) struct Servers {
    links: Vec<Link>,
    resolver: Resolver,
    contexts: Contexts,
    descriptors: Arc<Descriptors>,
    told: Arc<Told>,
    /// Those that epoll says may have something to read.
    readable: Vec<usize>,
    turn: Vec<usize>,
    /// What the ring has brought and nobody has looked at.
    events: Vec<RingEvent>,
    /// What clients are lent parts of: until the ring's next turn is over.
    lent: Vec<Received>,
    /// Those that the ring's next turn sends to.
    sends: Vec<usize>,
}

impl Servers {
    pub(in crate::net) fn new(
        resolver: Resolver,
        contexts: Contexts,
        descriptors: Arc<Descriptors>,
        told: Arc<Told>,
    ) -> Servers {
        Servers {
            links: Vec::new(),
            resolver,
            contexts,
            descriptors,
            told,
            readable: Vec::new(),
            turn: Vec::new(),
            events: Vec::new(),
            lent: Vec::new(),
            sends: Vec::new(),
        }
    }

    /// Begins a connection, which may be new here.
    pub(in crate::net) fn connect(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: ConnectionId,
        now: Micros,
        log: &Log,
    ) {
        while self.links.len() <= id.0 {
            self.links.push(Link::new(core, ConnectionId(self.links.len())));
        }
        let link = &mut self.links[id.0];
        if link.address != core.server(id).address {
            // A cluster's node has left, and another has its place. A lookup is not called back.
            self.told.forget(link.place);
            *link = Link { looking_up: link.looking_up, ..Link::new(core, id) };
        }
        if !link.shared {
            link.hold = None;
            link.hold = self.descriptors.for_more();
            if link.hold.is_none() {
                return self.fail(core, io, id, &ServerError::Descriptors, now, log);
            }
        }
        let begun = match &link.address {
            Address::Unix(path) => Stream::connect_unix(path),
            Address::Tcp(host, port) => match Resolver::literal(host, *port) {
                Some(address) => Stream::connect_tcp(address),
                None => {
                    link.awaited = true;
                    if link.looking_up {
                        return;
                    }
                    match self.resolver.start(id, host, *port) {
                        Ok(()) => {
                            link.looking_up = true;
                            return;
                        }
                        Err(error) => Err(error),
                    }
                }
            },
        };
        self.begin(core, io, id, begun, now, log);
    }

    /// Takes over a connection that is under way, or tells the core why there is none.
    fn begin(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: ConnectionId,
        begun: io::Result<Stream>,
        now: Micros,
        log: &Log,
    ) {
        let begun = begun.and_then(|stream| self.secured(id, stream, log)).and_then(|mut stream| {
            stream.register(io.registry(), Source::Server(id.0).token())?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => {
                let link = &mut self.links[id.0];
                stream.tune(link.keepalive);
                link.wire = Some(Wire::Polled(Socket::new(stream, false)));
                link.connecting = true;
            }
            Err(error) => self.fail(core, io, id, &explain(&error), now, log),
        }
    }

    /// Puts TLS on top of a connection that is to have it.
    fn secured(&self, id: ConnectionId, stream: Stream, log: &Log) -> io::Result<Stream> {
        let Some((tls, name)) = self.links[id.0].tls.as_deref() else { return Ok(stream) };
        let context = self.contexts.toward_servers(tls, log).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(Secure::to_server(stream, context, name.clone())?)))
    }

    /// Goes on with what the resolver has found.
    pub(in crate::net) fn resolved(&mut self, core: &mut Core, io: &mut Io, now: Micros, log: &Log) {
        while let Some(answer) = self.resolver.next() {
            let id = answer.connection;
            let link = &mut self.links[id.0];
            link.looking_up = false;
            if !std::mem::take(&mut link.awaited) {
                continue;
            }
            if answer.name != link.address {
                // It is about who had the place before.
                self.connect(core, io, id, now, log);
                continue;
            }
            match answer.address {
                Ok(address) => self.begin(core, io, id, Stream::connect_tcp(address), now, log),
                Err(_) => self.fail(core, io, id, &ServerError::HostDown, now, log),
            }
        }
    }

    pub(in crate::net) fn event(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        index: usize,
        event: &Event,
        now: Micros,
        log: &Log,
    ) {
        let id = ConnectionId(index);
        let Some(link) = self.links.get_mut(index) else { return };
        let Some(socket) = link.wire.as_mut().and_then(Wire::polled) else { return };
        socket.note(event);
        if link.connecting {
            match socket.stream.connected() {
                Ok(false) => return,
                Ok(true) => {
                    link.connecting = false;
                    if !socket.is_handshaking() {
                        if let Err(error) = link.give_to_ring(io, id) {
                            return self.fail(core, io, id, &explain(&error), now, log);
                        }
                        self.connected(core, id, now, log);
                    }
                }
                Err(error) => return self.fail(core, io, id, &explain(&error), now, log),
            }
        }
        if event.is_writable()
            && let Some(socket) = self.polled(index)
        {
            socket.flush();
        }
        if event.is_writable() && !core.server_output(id).is_empty() {
            self.write(core, io, id, now, log);
        }
        self.enqueue(index);
    }

    fn polled(&mut self, index: usize) -> Option<&mut Socket> {
        self.links.get_mut(index)?.wire.as_mut()?.polled()
    }

    fn connected(&mut self, core: &mut Core, id: ConnectionId, now: Micros, log: &Log) {
        core.server_connected(id, now);
        if self.links[id.0].down != Some(Trouble::Silent) {
            self.works(core, id, log);
        }
    }

    fn enqueue(&mut self, index: usize) {
        if let Some(socket) = self.polled(index)
            && socket.readable
            && !socket.queued
        {
            socket.queued = true;
            self.readable.push(index);
        }
    }

    /// Goes on with a connection that was not read from for a while.
    pub(in crate::net) fn resume(&mut self, io: &mut Io, id: ConnectionId) {
        let wire = self.links.get_mut(id.0).and_then(|link| link.wire.as_mut());
        if let (Some(Wire::Ringed(ringed)), Some(ring)) = (wire, &mut io.ring) {
            ringed.resume(ring);
        }
        self.enqueue(id.0);
    }

    pub(in crate::net) fn any_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// One read from each server that has something, and what the ring has read.
    pub(in crate::net) fn read(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        clients: &mut Clients,
        buffer: &mut [u8],
        now: Micros,
        log: &Log,
    ) {
        let mut turn = std::mem::replace(&mut self.readable, std::mem::take(&mut self.turn));
        for &index in &turn {
            let id = ConnectionId(index);
            let Some(socket) = self.polled(index) else { continue };
            // One that was closed and made anew since is not queued, or will be read as well.
            socket.queued = false;
            if !core.wants_server_data(id) && !socket.is_handshaking() {
                continue;
            }
            let (before, space) = buffer.split_at_mut(REST_BYTES);
            let start = REST_BYTES - core.take_rest(id, before);
            match socket.read(&mut space[..READ_BYTES]) {
                Ok(got @ (Got::Bytes(_) | Got::Nothing)) => {
                    let count = if let Got::Bytes(count) = got { count } else { 0 };
                    let bytes = &buffer[start..REST_BYTES + count];
                    let mut outlet = |client, bytes: &[u8]| clients.offer(client, bytes, None);
                    match core.server_data_to(id, bytes, now, &mut outlet) {
                        Err(error) => self.gone(io, id, &error, log),
                        Ok(()) if count > 0 => self.works(core, id, log),
                        Ok(()) => {}
                    }
                    self.enqueue(index);
                }
                Ok(Got::Secured(_)) => {
                    // A server says nothing before it is asked.
                    self.connected(core, id, now, log);
                    self.enqueue(index);
                }
                Ok(Got::End) => self.fail(core, io, id, &ServerError::Closed, now, log),
                Err(error) => self.fail(core, io, id, &explain(&error), now, log),
            }
        }
        turn.clear();
        self.turn = turn;
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.look_at(core, io, clients, event, now, log);
        }
        self.events = events;
    }

    /// One write of every request that a server is to have.
    pub(in crate::net) fn write(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: ConnectionId,
        now: Micros,
        log: &Log,
    ) {
        let written = match &mut self.links[id.0].wire {
            Some(Wire::Polled(socket)) if socket.writable => socket.write(core.server_output(id)),
            Some(Wire::Ringed(ringed)) => {
                if ringed.queue() {
                    self.sends.push(id.0);
                }
                return;
            }
            _ => return,
        };
        match written {
            Ok(count) => core.server_wrote(id, count),
            Err(error) => self.fail(core, io, id, &explain(&error), now, log),
        }
    }

    fn fail(
        &mut self,
        core: &mut Core,
        io: &mut Io,
        id: ConnectionId,
        error: &ServerError,
        now: Micros,
        log: &Log,
    ) {
        self.gone(io, id, error, log);
        core.server_failed(id, error, now);
    }

    fn gone(&mut self, io: &mut Io, id: ConnectionId, error: &ServerError, log: &Log) {
        let link = &mut self.links[id.0];
        link.disconnect(io);
        Servers::trouble(&self.told, link, Trouble::Failed, format_args!("{error}"), log);
    }

    /// Tells of what is wrong with a server, if it was not told.
    fn trouble(told: &Told, link: &mut Link, trouble: Trouble, text: Arguments<'_>, log: &Log) {
        if link.shared {
            link.down = match link.down {
                Some(Trouble::Silent) => link.down,
                _ => Some(trouble),
            };
            if told.begins(link.place, trouble, &text.to_string()) {
                link.log(log, text);
            }
        }
    }

    /// A connection is there, or the server has said something.
    #[inline]
    fn works(&mut self, core: &Core, id: ConnectionId, log: &Log) {
        let link = &mut self.links[id.0];
        if link.down.is_some() && core.server_is_ready(id) {
            link.down = None;
            match self.told.ends(link.place, &[Trouble::Failed, Trouble::Silent]) {
                Some(Trouble::Failed) => link.log(log, format_args!("connected again")),
                Some(_) => link.log(log, format_args!("it answers again")),
                None => {}
            }
        }
    }

    /// Tells of what the core has found out about servers.
    pub(in crate::net) fn tell_news(&mut self, core: &mut Core, log: &Log) {
        while let Some(news) = core.next_server_news() {
            let place = match news {
                ServerNews::Silent(id) => {
                    // A handshake that takes too long has a text of its own, when it is closed.
                    if let Some(link) = self.links.get_mut(id.0)
                        && !link.is_handshaking()
                    {
                        let text = format_args!("{}", ServerError::TimedOut);
                        Servers::trouble(&self.told, link, Trouble::Silent, text, log);
                    }
                    continue;
                }
                ServerNews::LeftOut(pool, server) | ServerNews::Back(pool, server) => (pool, server),
            };
            let Some(link) = self.links.iter().find(|link| link.place == place) else { continue };
            let news = match (news, core.pool(place.0).eject) {
                (ServerNews::LeftOut(..), Some(Eject { failures, retry })) => self
                    .told
                    .begins(place, Trouble::LeftOut, "")
                    .then(|| format!("left out for {retry:?}: {failures} failures in a row")),
                _ => self.told.ends(place, &[Trouble::LeftOut]).map(|_| "not left out any more".to_string()),
            };
            if let Some(text) = news {
                link.log(log, format_args!("{text}"));
            }
        }
    }

    /// Closes a connection that the core is done with.
    pub(in crate::net) fn close(&mut self, io: &mut Io, id: ConnectionId, log: &Log) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        if link.is_handshaking() {
            let text = format_args!("no answer to TLS's handshake; does it speak TLS?");
            Servers::trouble(&self.told, link, Trouble::Failed, text, log);
        }
        link.disconnect(io);
        link.awaited = false;
    }
}

/// An error of the system in twemproxy's words.
fn explain(error: &io::Error) -> ServerError {
    if let Some(reason) = tls::explain(error) {
        return ServerError::Tls(reason);
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => ServerError::Refused,
        Some(Errno::ETIMEDOUT) => ServerError::TimedOut,
        Some(Errno::ECONNRESET | Errno::EPIPE) => ServerError::Closed,
        Some(errno) => ServerError::Other(errno.desc().to_string()),
        None => ServerError::Other(error.to_string()),
    }
}
