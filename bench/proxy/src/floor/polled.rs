//! The null multiplexer over a [`Poller`]. A turn:
//!
//! ```text
//!  epoll_wait ─▶ one read per ready client ─▶ appended to one buffer ─▶ one write to the server
//!             └▶ one read from the server ─▶ one write per client, from the buffer read to
//! ```
//!
//! Sockets are registered once, edge-triggered; a read that does not fill its buffer emptied the
//! socket. So a request costs, beside its share of a turn, a read and a write, and one copy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, anyhow, bail};

use super::multiplex::{Owners, Partial};
use super::poller::{Poller, Ready};
use crate::frame::Malformed;

/// What one read takes at most.
const BUFFER: usize = 256 << 10;
/// Tokens; clients follow.
const LISTENER: usize = 0;
const SERVER: usize = 1;
const FIRST_CLIENT: usize = 2;

/// Serves clients of `listener` from the server at `server`; returns only with an error.
pub(super) fn serve<P: Poller>(poller: P, listener: TcpListener, server: SocketAddr) -> anyhow::Result<()> {
    let mut floor = Floor::new(poller, listener, server)?;
    let mut events = P::Events::default();
    loop {
        floor.poller.wait(&mut events).context("epoll")?;
        for Ready { token, readable, writable } in P::ready(&events) {
            match token {
                LISTENER => floor.accept()?,
                SERVER => {
                    floor.server.out.blocked &= !writable;
                    if readable {
                        floor.read_server()?;
                    }
                }
                token => floor.client_event(token - FIRST_CLIENT, readable, writable)?,
            }
        }
        floor.server.out.flush(&mut floor.server.stream).context("the server")?;
    }
}

struct Floor<P> {
    poller: P,
    listener: TcpListener,
    clients: Vec<Client>,
    free: Vec<usize>,
    server: Server,
    buffer: Vec<u8>,
}

struct Client {
    /// `None` once it is gone; its place is free when its replies are too.
    stream: Option<TcpStream>,
    partial: Partial,
    out: Outgoing,
    in_flight: usize,
}

struct Server {
    stream: TcpStream,
    out: Outgoing,
    owners: Owners,
    input: Vec<u8>,
    filled: usize,
}

/// Bytes that a socket did not take yet.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    taken: usize,
    blocked: bool,
}

impl Outgoing {
    /// One write of everything; what is refused stays.
    fn flush(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.blocked || self.bytes.is_empty() {
            return Ok(());
        }
        let rest = &self.bytes[self.taken..];
        let count = or_zero(stream.write(rest))?;
        self.blocked = count < rest.len();
        self.taken += count;
        if !self.blocked {
            self.bytes.clear();
            self.taken = 0;
        }
        Ok(())
    }

    /// Writes `bytes` from where they are, after what waits already.
    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut count = 0;
        if self.bytes.is_empty() {
            count = or_zero(stream.write(bytes))?;
            self.blocked = count < bytes.len();
        }
        self.bytes.extend_from_slice(&bytes[count..]);
        self.flush(stream)
    }
}

/// A socket that would block took, or gave, nothing.
fn or_zero(outcome: io::Result<usize>) -> io::Result<usize> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}

impl<P: Poller> Floor<P> {
    fn new(poller: P, listener: TcpListener, server: SocketAddr) -> anyhow::Result<Floor<P>> {
        let stream = TcpStream::connect(server).with_context(|| format!("the server at {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        listener.set_nonblocking(true)?;
        poller.add(&listener, LISTENER)?;
        poller.add(&stream, SERVER)?;
        let (out, owners) = (Outgoing::default(), Owners::default());
        let server = Server { stream, out, owners, input: vec![0; BUFFER], filled: 0 };
        let (clients, free, buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER]);
        Ok(Floor { poller, listener, clients, free, server, buffer })
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let index = self.free.pop().unwrap_or(self.clients.len());
            self.poller.add(&stream, index + FIRST_CLIENT)?;
            let (partial, out) = (Partial::default(), Outgoing::default());
            let client = Client { stream: Some(stream), partial, out, in_flight: 0 };
            match self.clients.get_mut(index) {
                Some(place) => *place = client,
                None => self.clients.push(client),
            }
        }
    }

    fn client_event(&mut self, index: usize, readable: bool, writable: bool) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        client.out.blocked &= !writable;
        if client.out.flush(stream).is_err() {
            self.gone(index);
        } else if readable {
            self.read_client(index)?;
        }
        Ok(())
    }

    /// Reads a client, and appends its whole requests to the server's buffer.
    fn read_client(&mut self, index: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        let Some(stream) = &mut client.stream else { return Ok(()) };
        loop {
            let count = match stream.read(&mut self.buffer) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                _ => {
                    self.gone(index);
                    return Ok(());
                }
            };
            let requests = client.partial.take(&self.buffer[..count], &mut self.server.out.bytes);
            let requests = requests.map_err(|Malformed| anyhow!("not a request"))?;
            client.in_flight += requests;
            self.server.owners.push(index, requests);
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Reads the server, and writes each client the replies that are its own.
    fn read_server(&mut self) -> anyhow::Result<()> {
        loop {
            let server = &mut self.server;
            let space = server.input.len() - server.filled;
            let count = match server.stream.read(&mut server.input[server.filled..]) {
                Ok(0) => bail!("the server is gone"),
                outcome => or_zero(outcome).context("the server")?,
            };
            server.filled += count;
            self.deliver()?;
            if count < space {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self) -> anyhow::Result<()> {
        let server = &mut self.server;
        let mut gone = Vec::new();
        let clients = &mut self.clients;
        let read = &server.input[..server.filled];
        let used = server.owners.split(read, |index, replies, at| {
            let client = &mut clients[index];
            client.in_flight -= replies;
            let sent = client.stream.as_mut().map(|stream| client.out.send(stream, &read[at]));
            if client.in_flight == 0 && sent.is_none() || matches!(sent, Some(Err(_))) {
                gone.push(index);
            }
        });
        let used = used.map_err(|Malformed| anyhow!("not a reply"))?;
        server.input.copy_within(used..server.filled, 0);
        server.filled -= used;
        if server.filled == server.input.len() {
            server.input.resize(server.filled * 2, 0);
        }
        gone.into_iter().for_each(|index| self.gone(index));
        Ok(())
    }

    /// Forgets a client; closing its socket takes it out of epoll.
    fn gone(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.stream = None;
        if client.in_flight == 0 {
            client.partial = Partial::default();
            client.out = Outgoing::default();
            self.free.push(index);
        }
    }
}
