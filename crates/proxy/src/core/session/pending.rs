//! What a client with a connection of its own is still to get.

use crate::core::effect::Effect;
use crate::core::slow::Timed;

/// Something that the client is still to get.
#[derive(Debug)]
pub(super) enum Pending {
    /// A server's reply to a request of so many bytes, which a slow log may show.
    Reply(Effect, usize, Option<Box<Timed>>),
    /// A server's reply, which the client gets this one for.
    Replaced(Vec<u8>),
    /// A reply of the proxy's own, behind those.
    Local(Vec<u8>),
}

impl Pending {
    /// What a slow log may show of it.
    pub(super) fn take_timed(&mut self) -> Option<Timed> {
        match self {
            Pending::Reply(_, _, timed) => timed.take().map(|timed| *timed),
            Pending::Replaced(_) | Pending::Local(_) => None,
        }
    }

    /// What it counts for against the limits.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Pending::Reply(_, bytes, _) => *bytes,
            Pending::Replaced(reply) | Pending::Local(reply) => reply.len(),
        }
    }
}
