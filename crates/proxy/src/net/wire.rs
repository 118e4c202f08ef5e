//! A socket of a client or of a server, and who does its reads and writes: this thread, when epoll
//! says that they may succeed, or io_uring.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::{Poll, Registry};
use nix::sys::socket::{MsgFlags, recv};
use tombolo_ring::{Bytes, Piece, Received, Send, Slot};

use super::NetError;
use super::stream::{Socket, Stream};

/// The sockets that io_uring reads and writes.
pub(super) type Ring = tombolo_ring::Ring<Stream>;

/// What tells a worker of its sockets.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) poll: Poll,
    /// None where there is no io_uring. TLS has no use for one: it reads and writes as it goes.
    pub(super) ring: Option<Ring>,
}

impl Io {
    pub(super) fn new() -> Result<Io, NetError> {
        Ok(Io { poll: Poll::new().map_err(NetError::of("epoll"))?, ring: None })
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Ends the connection of a socket, once it has been sent `last`.
    pub(super) fn remove(&mut self, slot: Slot, last: Vec<u8>) {
        if let Some(ring) = &mut self.ring {
            // What is wrong with the ring, its next turn says.
            let _ = ring.remove(slot, last);
        }
    }
}

#[derive(Debug)]
pub(super) enum Wire {
    Polled(Socket),
    Ringed(Ringed),
}

impl Wire {
    /// Whether its TLS handshake is under way.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Wire::Polled(socket) if socket.is_handshaking())
    }

    pub(super) fn polled(&mut self) -> Option<&mut Socket> {
        match self {
            Wire::Polled(socket) => Some(socket),
            Wire::Ringed(_) => None,
        }
    }

    /// The ring's socket in this place.
    pub(super) fn ringed(&mut self, slot: Slot) -> Option<&mut Ringed> {
        match self {
            Wire::Ringed(ringed) if ringed.slot == slot => Some(ringed),
            _ => None,
        }
    }
}

/// A socket that the ring has.
#[derive(Debug)]
pub(super) struct Ringed {
    pub(super) slot: Slot,
    sending: Sending,
    /// It takes nothing until an event says so.
    full: bool,
    /// What it is sent before anything else: bytes of a reply, where they were read to.
    lent: Option<Piece>,
    /// How many bytes the next send is of.
    asked: u32,
    /// More came than is wanted: when that goes on, it is read no more.
    ahead: bool,
    /// The peer has ended its side, which nobody was told.
    pub(super) ended: bool,
}

/// Whether a socket is sent to. Never twice at a time: who could say what came first?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    No,
    /// In the next turn.
    Queued,
    UnderWay,
}

impl Ringed {
    pub(super) fn new(slot: Slot) -> Ringed {
        let (sending, full, lent) = (Sending::No, false, None);
        Ringed { slot, sending, full, lent, asked: 0, ahead: false, ended: false }
    }

    /// Has the next turn send to it; false when that is so already, or is of no use.
    pub(super) fn queue(&mut self) -> bool {
        let free = !self.full && self.sending == Sending::No;
        if free {
            self.sending = Sending::Queued;
        }
        free
    }

    /// Has the next turn send it these bytes, which were received; false when something else is to be
    /// sent before, or they can not be kept.
    pub(super) fn lend(&mut self, ring: &Ring, received: &Received, bytes: &[u8]) -> bool {
        if self.full || self.sending != Sending::No {
            return false;
        }
        self.lent = ring.piece(received, bytes);
        self.lent.is_some() && self.queue()
    }

    /// What is sent in this turn: what was lent, or else `own`. `settled` says whether nothing follows
    /// when all that is the peer's has been sent.
    pub(super) fn next<'a>(&mut self, own: &'a [u8], settled: bool) -> Option<Send<'a>> {
        if self.sending != Sending::Queued {
            return None;
        }
        let (bytes, length, settled) = match self.lent {
            Some(piece) => (Bytes::Received(piece), piece.len(), settled && own.is_empty()),
            None => (Bytes::Own(own), own.len(), settled),
        };
        self.sending = if length > 0 { Sending::UnderWay } else { Sending::No };
        self.asked = length as u32;
        (length > 0).then_some(Send { slot: self.slot, bytes, settled })
    }

    /// Stops reading when twice in a row more came than is wanted.
    pub(super) fn pace(&mut self, wanted: bool, ring: &mut Ring) {
        if std::mem::replace(&mut self.ahead, !wanted) && !wanted {
            // What is wrong with the ring, its next turn says.
            let _ = ring.pause(self.slot);
        }
    }

    /// Reads on.
    pub(super) fn resume(&mut self, ring: &mut Ring) {
        self.ahead = false;
        // What is wrong with the ring, its next turn says.
        let _ = ring.resume(self.slot);
    }

    /// Takes note of what became of a send.
    pub(super) fn sent(&mut self, result: i32, ring: &mut Ring) -> io::Result<Sent> {
        self.sending = Sending::No;
        let lent = self.lent.take();
        let count = match result {
            0.. => result as usize,
            _ => match io::Error::from_raw_os_error(-result) {
                error if error.kind() == io::ErrorKind::WouldBlock => 0,
                error if error.kind() == io::ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        if count < self.asked as usize {
            self.full = true;
            ring.tell_writable(self.slot)?;
        }
        Ok(match lent {
            Some(piece) => Sent::Lent(piece, count),
            None => Sent::Own(count),
        })
    }

    /// It can be written to again.
    pub(super) fn drained(&mut self) {
        self.full = false;
    }

    /// Takes back what it was lent and not yet sent.
    pub(super) fn take_lent(&mut self) -> Option<Piece> {
        self.lent.take()
    }
}

/// How much was sent.
pub(super) enum Sent {
    /// Of what was lent.
    Lent(Piece, usize),
    Own(usize),
}

/// Whether a socket has nothing to be read at the moment, as far as the kernel knows.
pub(super) fn is_quiet(stream: &Stream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(stream.as_fd().as_raw_fd(), &mut [0], flags) == Err(nix::errno::Errno::EAGAIN)
}
