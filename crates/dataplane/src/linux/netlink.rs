//! rtnetlink, spoken synchronously: batches of requests in one send, and dumps.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

/// What a request may do with what exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Make it; fail if it exists.
    Create,
    /// Make it or replace it.
    Replace,
    /// Change or delete what exists.
    Change,
}

/// A connection to the routing part of the kernel, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Route {
    socket: Socket,
    sequence: u32,
}

impl AsFd for Route {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How many bytes of requests go out in one send.
const BATCH: usize = 16 * 1024;
/// How many requests go out in one send: the kernel answers before the send returns, and all answers must have room in
/// the receive buffer, which is of 208 KiB where nobody has changed it.
const MOST: usize = 32;

/// `NLMSG_ERROR`, which is also how success is told, and `RTM_NEWLINK`.
const ANSWER: u16 = 2;
const NEW_LINK: u16 = 16;

impl Route {
    /// Opens a connection in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// A connection that somebody else has opened, and not used.
    pub(super) fn adopt(socket: OwnedFd) -> Self {
        // SAFETY: the descriptor is given away here, and belongs to nobody else.
        Self { socket: unsafe { Socket::from_raw_fd(socket.into_raw_fd()) }, sequence: 0 }
    }

    /// Makes the requests in order and tells what became of each: to a request for a link, the link's index.
    pub fn run(&mut self, requests: Vec<(Mode, RouteNetlinkMessage)>) -> Result<Vec<Result<u32>>> {
        let mut results = Vec::with_capacity(requests.len());
        let (mut batch, mut pending) = (Vec::new(), 0);
        let last = requests.len();
        for (index, (mode, request)) in requests.into_iter().enumerate() {
            let flags = NLM_F_REQUEST
                | match mode {
                    Mode::Create => NLM_F_CREATE | NLM_F_EXCL,
                    Mode::Replace => NLM_F_CREATE | NLM_F_REPLACE,
                    Mode::Change => 0,
                };
            let start = self.append(&mut batch, flags, request);
            pending += 1;
            if batch.len() >= BATCH || pending == MOST || index + 1 == last {
                // What fails is told in any case; when the last one's answer is there, all others have been made.
                let flags = flags | NLM_F_ACK;
                batch[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
                self.socket.send(&batch, 0)?;
                results.extend(self.answers(pending)?);
                batch.clear();
                pending = 0;
            }
        }
        Ok(results)
    }

    /// Everything that a dump request lists.
    pub fn dump(&mut self, request: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, NLM_F_REQUEST | NLM_F_DUMP, request);
        self.socket.send(&bytes, 0)?;
        let mut found = Vec::new();
        loop {
            for message in self.receive()? {
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Appends a request to a buffer; where it begins.
    fn append(&mut self, buffer: &mut Vec<u8>, flags: u16, request: RouteNetlinkMessage) -> usize {
        let mut message = NetlinkMessage::from(request);
        self.sequence += 1;
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = buffer.len();
        buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut buffer[start..]);
        start
    }

    /// The answers to the `pending` requests that were sent last.
    fn answers(&mut self, pending: usize) -> Result<Vec<Result<u32>>> {
        let first = self.sequence.wrapping_sub(pending as u32).wrapping_add(1);
        let mut results: Vec<Result<u32>> = (0..pending).map(|_| Ok(0)).collect();
        let mut bytes = Vec::with_capacity(1 << 15);
        loop {
            bytes.clear();
            self.socket.recv(&mut bytes, 0)?;
            let mut rest = bytes.as_slice();
            // Only what is asked of an answer is read: most of what a link's has is of no use here.
            while let Some((kind, sequence, word, length)) = head(rest) {
                let which = sequence.wrapping_sub(first) as usize;
                if let Some(result) = results.get_mut(which) {
                    match (kind, word) {
                        (ANSWER, 0) => {}
                        (ANSWER, code) => *result = Err(Error::from_raw_os_error(code.wrapping_neg())),
                        (NEW_LINK, _) => *result = Ok(link_index(rest)),
                        _ => {}
                    }
                    if kind == ANSWER && which + 1 == pending {
                        return Ok(results);
                    }
                }
                rest = rest.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
            }
        }
    }

    /// One datagram of answers.
    fn receive(&mut self) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (bytes, _) = self.socket.recv_from_full()?;
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        while rest.len() >= 16 {
            let message =
                NetlinkMessage::deserialize(rest).map_err(|e| Error::other(format!("netlink: {e}")))?;
            let length = (message.header.length as usize).next_multiple_of(4);
            messages.push(message);
            rest = rest.get(length.max(16)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Of the first message of these: its kind, its sequence number, the word after its header, its length.
fn head(bytes: &[u8]) -> Option<(u16, u32, i32, usize)> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    Some((kind, word(8)?, word(16)? as i32, word(0)? as usize))
}

/// The index of the link that the first message of these is about: `struct ifinfomsg`, linux/rtnetlink.h.
fn link_index(bytes: &[u8]) -> u32 {
    let index = bytes.get(20..24).and_then(|index| index.try_into().ok());
    index.map_or(0, u32::from_ne_bytes)
}
