//! What a client with a connection of its own is still to get.

use crate::core::effect::Effect;

/// Something that the client is still to get.
#[derive(Debug)]
pub(super) enum Pending {
    /// A server's reply to a request of so many bytes.
    Reply(Effect, usize),
    /// A server's reply, which the client gets this one for.
    Replaced(Vec<u8>),
    /// A reply of the proxy's own, behind those.
    Local(Vec<u8>),
}

impl Pending {
    /// What it counts for against the limits.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Pending::Reply(_, bytes) => *bytes,
            Pending::Replaced(reply) | Pending::Local(reply) => reply.len(),
        }
    }
}
