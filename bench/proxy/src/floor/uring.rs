//! The null multiplexer with io_uring: the structure of [`super::polled`] with other system calls.
//!
//! ```text
//!  io_uring_enter ─▶ what came from clients ─▶ appended to one buffer ─▶ one send to the server
//!       ▲         └▶ what came from the server ─▶ one send per client, from the buffer read to
//!       └──────────── all sends of a turn are submitted with the next wait ◀──┘
//! ```
//!
//! Clients are accepted and read by one operation each that stays (multishot), into buffers that the
//! kernel picks. So a request costs, beside its share of a turn, no system call at all, but the
//! work of two. Replies stay in the block that they were read to until they are sent: blocks with
//! nothing under way are used again.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, anyhow, bail, ensure};
use nix::libc::ENFILE;
use nix::sys::resource::{Resource, getrlimit};

use super::multiplex::{Owners, Partial};
use super::ring::{Completion, Ring};
use crate::frame::Malformed;

/// What one read from the server takes at least.
const BLOCK: usize = 256 << 10;
/// The server's place in the table of sockets; the kernel gives the others to clients.
const SERVER: usize = 0;
/// No buffer was free.
const NO_BUFFER: i32 = -nix::libc::ENOBUFS;
/// No block: what is sent is the client's own.
const OWN: usize = 0xff_ffff;

/// Why there can be no io_uring here, if there can be none.
pub(super) fn unavailable() -> Option<String> {
    let probe = TcpListener::bind("127.0.0.1:0").and_then(|socket| Ring::new(16, socket.as_raw_fd()));
    probe.err().map(|error| format!("has no io_uring here: {error}"))
}

/// Serves clients of `listener` from the server at `server`; returns only with an error.
pub(super) fn serve(listener: &TcpListener, server: SocketAddr) -> anyhow::Result<()> {
    // Never freed, since operations under way use its memory even when an error ends this.
    let floor = Box::leak(Box::new(Floor::new(listener, server)?));
    let mut ready = Vec::new();
    loop {
        floor.ring.turn(&mut ready).context("io_uring_enter")?;
        for completion in ready.drain(..) {
            floor.completed(&completion)?;
        }
        floor.flush_server()?;
    }
}

/// What an operation is for: the kind, a block, a place in the table of sockets.
#[derive(Clone, Copy)]
enum Token {
    Accept,
    ServerRead(usize),
    ServerSent,
    ClientRead(usize),
    ClientSent(usize, usize),
    Closed,
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, block, socket) = match self {
            Token::Accept => (0, 0, 0),
            Token::ServerRead(block) => (1, block, 0),
            Token::ServerSent => (2, 0, 0),
            Token::ClientRead(socket) => (3, 0, socket),
            Token::ClientSent(socket, block) => (4, block, socket),
            Token::Closed => (5, 0, 0),
        };
        kind << 56 | (block as u64) << 32 | socket as u64
    }

    fn unpack(packed: u64) -> Token {
        let (block, socket) = ((packed >> 32) as usize & OWN, packed as u32 as usize);
        match packed >> 56 {
            0 => Token::Accept,
            1 => Token::ServerRead(block),
            2 => Token::ServerSent,
            3 => Token::ClientRead(socket),
            4 => Token::ClientSent(socket, block),
            _ => Token::Closed,
        }
    }
}

struct Floor {
    ring: Ring,
    listener: i32,
    /// By place in the table of sockets.
    clients: Vec<Client>,
    blocks: Vec<Block>,
    free: Vec<usize>,
    /// Keeps the server's socket open.
    _server: TcpStream,
    owners: Owners,
    out: Outgoing,
}

#[derive(Default)]
struct Client {
    /// It is read from, and so its place is taken.
    reading: bool,
    /// A send failed.
    broken: bool,
    partial: Partial,
    out: Outgoing,
    in_flight: usize,
}

/// What waits while something else is sent: of one socket one send is under way, or order is lost.
#[derive(Default)]
struct Outgoing {
    waiting: Vec<u8>,
    /// Under way if `busy`, unless that is from a block.
    sending: Vec<u8>,
    busy: bool,
}

impl Outgoing {
    /// Sends what waits, if nothing is under way.
    fn flush(&mut self, ring: &mut Ring, socket: usize, token: Token) -> anyhow::Result<()> {
        if self.busy || self.waiting.is_empty() {
            return Ok(());
        }
        self.sending.clear();
        std::mem::swap(&mut self.waiting, &mut self.sending);
        self.busy = true;
        // SAFETY: `sending` is left alone while `busy`, and the floor is never freed.
        unsafe { ring.send(socket, &raw const self.sending[..], token.pack())? };
        Ok(())
    }
}

/// Replies as the server sent them.
struct Block {
    bytes: Vec<u8>,
    filled: usize,
    /// Sends from it that are under way.
    sends: usize,
}

impl Floor {
    fn new(listener: &TcpListener, server: SocketAddr) -> anyhow::Result<Floor> {
        let server = TcpStream::connect(server).with_context(|| format!("the server at {server}"))?;
        server.set_nodelay(true)?;
        // Those that it accepts inherit this.
        socket2::SockRef::from(listener).set_tcp_nodelay(true)?;
        let (sockets, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let ring = Ring::new(sockets.min(32_768) as u32, server.as_raw_fd()).context("io_uring")?;
        let mut floor = Floor {
            ring,
            listener: listener.as_raw_fd(),
            clients: Vec::new(),
            blocks: Vec::new(),
            free: Vec::new(),
            _server: server,
            owners: Owners::default(),
            out: Outgoing::default(),
        };
        floor.ring.accept(floor.listener, Token::Accept.pack())?;
        floor.read_server(&[])?;
        Ok(floor)
    }

    fn completed(&mut self, completion: &Completion) -> anyhow::Result<()> {
        let &Completion { result, more, .. } = completion;
        match Token::unpack(completion.token) {
            Token::Accept => self.accepted(result, more),
            Token::ClientRead(index) => self.client_read(index, completion),
            Token::ClientSent(index, block) => self.client_sent(index, block, result),
            Token::ServerRead(_) if result <= 0 => bail!("the server is gone: {result}"),
            Token::ServerRead(block) => self.deliver(block, result as usize),
            Token::ServerSent => {
                ensure!(result as usize == self.out.sending.len(), "the server takes no more: {result}");
                self.out.busy = false;
                Ok(())
            }
            Token::Closed => Ok(()),
        }
    }

    fn accepted(&mut self, result: i32, more: bool) -> anyhow::Result<()> {
        ensure!(result != -ENFILE, "no place for another client");
        if let Ok(index) = usize::try_from(result) {
            if index >= self.clients.len() {
                self.clients.resize_with(index + 1, Client::default);
            }
            self.clients[index] = Client { reading: true, ..Client::default() };
            self.ring.receive_all(index, Token::ClientRead(index).pack())?;
        }
        if !more {
            self.ring.accept(self.listener, Token::Accept.pack())?;
        }
        Ok(())
    }

    /// Appends whole requests of a client to the server's buffer.
    fn client_read(&mut self, index: usize, completion: &Completion) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        if let Some(buffer) = completion.buffer {
            let read = self.ring.buffer(buffer, completion.result.max(0) as usize);
            let requests = client.partial.take(read, &mut self.out.waiting);
            let requests = requests.map_err(|Malformed| anyhow!("not a request"))?;
            client.in_flight += requests;
            self.owners.push(index, requests);
            self.ring.give_back(buffer);
        }
        match completion.result {
            _ if completion.more => Ok(()),
            // The client is there; reading it ended for another reason.
            NO_BUFFER | 1.. => Ok(self.ring.receive_all(index, Token::ClientRead(index).pack())?),
            _ => {
                client.reading = false;
                self.close_if_over(index)
            }
        }
    }

    fn client_sent(&mut self, index: usize, block: usize, result: i32) -> anyhow::Result<()> {
        if block != OWN {
            self.release(block);
        }
        let client = &mut self.clients[index];
        client.out.busy = false;
        client.broken |= result < 0;
        if client.broken {
            client.out.waiting.clear();
        }
        client.out.flush(&mut self.ring, index, Token::ClientSent(index, OWN))?;
        self.close_if_over(index)
    }

    /// Sends each client the replies that are its own, of all that is in `block` now.
    fn deliver(&mut self, block: usize, count: usize) -> anyhow::Result<()> {
        let Floor { ring, clients, blocks, owners, .. } = self;
        let Block { bytes, filled, sends } = &mut blocks[block];
        *filled += count;
        let (read, mut over, mut outcome) = (&bytes[..*filled], Vec::new(), Ok(()));
        // Held until all of its sends are submitted.
        *sends = 1;
        let used = owners.split(read, |index, replies, at| {
            let client = &mut clients[index];
            client.in_flight -= replies;
            if client.broken || !client.reading {
                over.push(index);
            } else if client.out.busy {
                client.out.waiting.extend_from_slice(&read[at]);
            } else {
                (client.out.busy, *sends) = (true, *sends + 1);
                let token = Token::ClientSent(index, block).pack();
                // SAFETY: the block is left alone while `sends` are under way, and never freed.
                let sent = unsafe { ring.send(index, &raw const read[at], token) };
                outcome = std::mem::replace(&mut outcome, Ok(())).and(sent);
            }
        });
        outcome?;
        let used = used.map_err(|Malformed| anyhow!("not a reply"))?;
        let rest = read[used..].to_vec();
        self.release(block);
        self.read_server(&rest)?;
        over.into_iter().try_for_each(|index| self.close_if_over(index))
    }

    /// Reads the server, after `rest`, to a block that nobody uses.
    fn read_server(&mut self, rest: &[u8]) -> anyhow::Result<()> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(Block { bytes: vec![0; BLOCK], filled: 0, sends: 0 });
            self.blocks.len() - 1
        });
        ensure!(index < OWN, "too many blocks");
        let block = &mut self.blocks[index];
        block.bytes.resize(block.bytes.len().max(rest.len() * 2), 0);
        block.bytes[..rest.len()].copy_from_slice(rest);
        block.filled = rest.len();
        let space = &raw mut block.bytes[rest.len()..];
        // SAFETY: the block is neither free nor used until this completes, and never freed.
        unsafe { self.ring.receive(SERVER, space, Token::ServerRead(index).pack())? };
        Ok(())
    }

    /// One send from `block` less; it is free after the last.
    fn release(&mut self, block: usize) {
        self.blocks[block].sends -= 1;
        if self.blocks[block].sends == 0 {
            self.free.push(block);
        }
    }

    fn flush_server(&mut self) -> anyhow::Result<()> {
        self.out.flush(&mut self.ring, SERVER, Token::ServerSent)
    }

    /// Gives a client's place away once nothing of it is under way.
    fn close_if_over(&mut self, index: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        if !client.reading && client.in_flight == 0 && !client.out.busy {
            self.clients[index] = Client::default();
            self.ring.close(index, Token::Closed.pack())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        let packed = [Token::Accept, Token::ServerRead(9), Token::ServerSent, Token::ClientRead(70_000)]
            .map(|token| (token.pack(), Token::unpack(token.pack()).pack()));
        assert!(packed.iter().all(|(before, after)| before == after));
        let Token::ClientSent(70_000, OWN) = Token::unpack(Token::ClientSent(70_000, OWN).pack()) else {
            panic!("another token")
        };
    }
}
