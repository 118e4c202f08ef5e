//! The sockets of servers.

use std::io;

use mio::Registry;
use mio::event::Event;
use nix::errno::Errno;
use rustls::pki_types::ServerName;

use super::clients::Clients;
use super::resolve::Resolver;
use super::stream::{Got, Socket, Stream};
use super::tls::{self, Contexts, Secure};
use super::worker::Source;
use crate::config::{Address, ServerTls};
use crate::core::{ConnectionId, Core, Micros, ServerError};
use crate::log::{Log, WARN};

#[derive(Debug)]
struct Link {
    /// For the log: the pool.
    pool: String,
    address: Address,
    keepalive: bool,
    /// TLS, and the name that the certificate must have.
    tls: Option<Box<(ServerTls, ServerName<'static>)>>,
    socket: Option<Socket>,
    /// The socket is there, the connection is not yet; of TLS's handshake the socket knows.
    connecting: bool,
    /// A lookup of its name is under way. There is never a second one, however often connecting
    /// fails meanwhile: a name server that does not answer must not collect threads.
    looking_up: bool,
    /// The core waits for a connection, and that for the lookup.
    awaited: bool,
    /// The last attempt failed; said once, not for each request.
    down: bool,
    /// Clients share it. What becomes of the others is their clients' business, not the log's.
    shared: bool,
}

impl Link {
    fn new(core: &Core, id: ConnectionId) -> Link {
        let (pool, _, shared) = core.place(id);
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
            address,
            keepalive: pool.tcpkeepalive,
            tls,
            socket: None,
            connecting: false,
            looking_up: false,
            awaited: false,
            down: false,
            shared,
        }
    }

    /// Writes a line about it.
    fn log(&self, log: &Log, text: std::fmt::Arguments<'_>) {
        let (pool, server) = (self.pool.as_str(), self.address.to_string());
        let about = [("pool", pool), ("server", &server)];
        log.about(WARN, &about, format_args!("pool '{pool}': server {server}: {text}"));
    }

    fn disconnect(&mut self) {
        if let Some(mut socket) = self.socket.take()
            && !self.connecting
        {
            socket.stream.close_notify();
        }
        self.connecting = false;
    }
}

#[derive(Debug)]
pub(super) struct Servers {
    links: Vec<Link>,
    resolver: Resolver,
    contexts: Contexts,
    readable: Vec<usize>,
    turn: Vec<usize>,
}

impl Servers {
    pub(super) fn new(resolver: Resolver, contexts: Contexts) -> Servers {
        Servers { links: Vec::new(), resolver, contexts, readable: Vec::new(), turn: Vec::new() }
    }

    /// Begins a connection, which may be new here.
    pub(super) fn connect(
        &mut self,
        core: &mut Core,
        registry: &Registry,
        id: ConnectionId,
        now: Micros,
        log: &Log,
    ) {
        while self.links.len() <= id.0 {
            self.links.push(Link::new(core, ConnectionId(self.links.len())));
        }
        let link = &mut self.links[id.0];
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
        self.begin(core, registry, id, begun, now, log);
    }

    /// Takes over a connection that is under way, or tells the core why there is none.
    fn begin(
        &mut self,
        core: &mut Core,
        registry: &Registry,
        id: ConnectionId,
        begun: io::Result<Stream>,
        now: Micros,
        log: &Log,
    ) {
        let begun = begun.and_then(|stream| self.secured(id, stream, log)).and_then(|mut stream| {
            stream.register(registry, Source::Server(id.0).token())?;
            Ok(stream)
        });
        match begun {
            Ok(stream) => {
                let link = &mut self.links[id.0];
                stream.tune(link.keepalive);
                link.socket = Some(Socket::new(stream, false));
                link.connecting = true;
            }
            Err(error) => self.fail(core, id, &explain(&error), now, log),
        }
    }

    /// Puts TLS on top of a connection that is to have it.
    fn secured(&self, id: ConnectionId, stream: Stream, log: &Log) -> io::Result<Stream> {
        let Some((tls, name)) = self.links[id.0].tls.as_deref() else { return Ok(stream) };
        let context = self.contexts.toward_servers(tls, log).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(Secure::to_server(stream, context, name.clone())?)))
    }

    /// Goes on with what the resolver has found.
    pub(super) fn resolved(&mut self, core: &mut Core, registry: &Registry, now: Micros, log: &Log) {
        while let Some(answer) = self.resolver.next() {
            let id = answer.connection;
            let link = &mut self.links[id.0];
            link.looking_up = false;
            if !std::mem::take(&mut link.awaited) {
                continue;
            }
            match answer.address {
                Ok(address) => self.begin(core, registry, id, Stream::connect_tcp(address), now, log),
                Err(_) => self.fail(core, id, &ServerError::HostDown, now, log),
            }
        }
    }

    pub(super) fn event(&mut self, core: &mut Core, index: usize, event: &Event, now: Micros, log: &Log) {
        let id = ConnectionId(index);
        let Some(link) = self.links.get_mut(index) else { return };
        let Some(socket) = &mut link.socket else { return };
        socket.note(event);
        if link.connecting {
            match socket.stream.connected() {
                Ok(false) => return,
                Ok(true) => {
                    link.connecting = false;
                    if !socket.is_handshaking() {
                        self.connected(core, id, now, log);
                    }
                }
                Err(error) => return self.fail(core, id, &explain(&error), now, log),
            }
        }
        if event.is_writable()
            && let Some(socket) = &mut self.links[index].socket
        {
            socket.flush();
        }
        if event.is_writable() && !core.server_output(id).is_empty() {
            self.write(core, id, now, log);
        }
        self.enqueue(index);
    }

    fn connected(&mut self, core: &mut Core, id: ConnectionId, now: Micros, log: &Log) {
        let link = &mut self.links[id.0];
        if std::mem::take(&mut link.down) {
            link.log(log, format_args!("connected again"));
        }
        core.server_connected(id, now);
    }

    fn enqueue(&mut self, index: usize) {
        if let Some(socket) = &mut self.links[index].socket
            && socket.readable
            && !socket.queued
        {
            socket.queued = true;
            self.readable.push(index);
        }
    }

    /// Goes on with a connection that was not read from for a while.
    pub(super) fn resume(&mut self, id: ConnectionId) {
        self.enqueue(id.0);
    }

    pub(super) fn any_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// One read from each server that has something.
    pub(super) fn read(
        &mut self,
        core: &mut Core,
        clients: &mut Clients,
        buffer: &mut [u8],
        now: Micros,
        log: &Log,
    ) {
        let mut turn = std::mem::replace(&mut self.readable, std::mem::take(&mut self.turn));
        for &index in &turn {
            let id = ConnectionId(index);
            let Some(socket) = &mut self.links[index].socket else { continue };
            // One that was closed and made anew since is not queued, or will be read as well.
            socket.queued = false;
            if !core.wants_server_data(id) && !socket.is_handshaking() {
                continue;
            }
            let rest = core.take_rest(id, buffer);
            match socket.read(&mut buffer[rest..]) {
                Ok(got @ (Got::Bytes(_) | Got::Nothing)) => {
                    let count = if let Got::Bytes(count) = got { count } else { 0 };
                    let mut outlet = |client, bytes: &[u8]| clients.offer(client, bytes);
                    if let Err(error) = core.server_data_to(id, &buffer[..rest + count], now, &mut outlet) {
                        self.gone(id, &error, log);
                    }
                    self.enqueue(index);
                }
                Ok(Got::Secured(_)) => {
                    // A server says nothing before it is asked.
                    self.connected(core, id, now, log);
                    self.enqueue(index);
                }
                Ok(Got::End) => self.fail(core, id, &ServerError::Closed, now, log),
                Err(error) => self.fail(core, id, &explain(&error), now, log),
            }
        }
        turn.clear();
        self.turn = turn;
    }

    /// One write of every request that a server is to have.
    pub(super) fn write(&mut self, core: &mut Core, id: ConnectionId, now: Micros, log: &Log) {
        let Some(socket) = &mut self.links[id.0].socket else { return };
        if !socket.writable {
            return;
        }
        match socket.write(core.server_output(id)) {
            Ok(count) => core.server_wrote(id, count),
            Err(error) => self.fail(core, id, &explain(&error), now, log),
        }
    }

    fn fail(&mut self, core: &mut Core, id: ConnectionId, error: &ServerError, now: Micros, log: &Log) {
        self.gone(id, error, log);
        core.server_failed(id, error, now);
    }

    fn gone(&mut self, id: ConnectionId, error: &ServerError, log: &Log) {
        let link = &mut self.links[id.0];
        link.disconnect();
        if link.shared && !std::mem::replace(&mut link.down, true) {
            link.log(log, format_args!("{error}"));
        }
    }

    /// Closes a connection that the core is done with.
    pub(super) fn close(&mut self, id: ConnectionId, log: &Log) {
        let Some(link) = self.links.get_mut(id.0) else { return };
        let handshaking = link.socket.as_ref().is_some_and(Socket::is_handshaking) && !link.connecting;
        if handshaking && link.shared && !std::mem::replace(&mut link.down, true) {
            link.log(log, format_args!("no answer to TLS's handshake; does it speak TLS?"));
        }
        link.disconnect();
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
