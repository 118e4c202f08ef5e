//! The sockets of a ring, and what is under way of each.

use std::os::fd::AsFd;

use crate::buffers::{Group, Received};

/// What a ring needs of a socket.
pub trait Socket: AsFd {
    /// Says to the peer that nothing more comes.
    fn finish(&mut self);

    /// Reads away what has come: closing with unread bytes makes the kernel reset the connection, and
    /// the last that was sent would be lost with it.
    fn discard(&mut self);
}

/// A socket's place in a ring. It stands for the socket until that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(pub(crate) u32);

/// What a turn has brought.
#[derive(Debug)]
pub enum Event {
    /// Bytes have come.
    Received {
        /// Where.
        slot: Slot,
        /// What the socket was added with.
        tag: usize,
        /// The bytes.
        received: Received,
    },
    /// Nothing more will come.
    Ended {
        /// Where.
        slot: Slot,
        /// What the socket was added with.
        tag: usize,
        /// The error's number; 0 when the peer has ended its side.
        error: i32,
    },
    /// What [`Ring::tell_writable`](crate::Ring::tell_writable) asked for.
    Writable {
        /// Where.
        slot: Slot,
        /// What the socket was added with.
        tag: usize,
    },
    /// The peer of a paused socket has ended its side, or the connection.
    Hung {
        /// Where.
        slot: Slot,
        /// What the socket was added with.
        tag: usize,
        /// Nothing can be sent either.
        over: bool,
    },
    /// The descriptor that is watched is readable.
    Watched,
}

/// Whether a socket is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The kernel does.
    On,
    /// It will stop.
    Stopping,
    /// It will stop, and is to go on.
    Restarting,
    /// It does not.
    Off,
    /// There is nothing to come.
    Ended,
}

/// A socket and what is under way of it.
#[derive(Debug)]
pub(crate) struct Place<T> {
    pub(crate) socket: T,
    pub(crate) tag: usize,
    pub(crate) group: Group,
    pub(crate) reading: Reading,
    /// It is to tell when it can be written to.
    pub(crate) telling: bool,
    /// It is to tell when its peer has gone, or has ended its side.
    pub(crate) listening: bool,
    /// The peer is known to have ended its side.
    pub(crate) half_over: bool,
    /// What is still to be sent; only of a socket that is removed.
    pub(crate) last: Vec<u8>,
    pub(crate) sending_last: bool,
    pub(crate) removed: bool,
}

impl<T> Place<T> {
    /// Whether the kernel has nothing to do with it any more.
    pub(crate) fn is_over(&self) -> bool {
        let reading = matches!(self.reading, Reading::Off | Reading::Ended);
        reading && !self.telling && !self.listening && !self.sending_last
    }
}
