//! rtnetlink, spoken synchronously: batches of requests in one send, and dumps.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io::{Error, Result};

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

/// How many bytes of requests go out in one send.
const BATCH: usize = 16 * 1024;

impl Route {
    /// Opens a connection in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes the requests in order and tells what became of each.
    pub fn run(&mut self, requests: Vec<(Mode, RouteNetlinkMessage)>) -> Result<Vec<Result<()>>> {
        let mut results = Vec::with_capacity(requests.len());
        let (mut batch, mut pending) = (Vec::new(), 0);
        for (mode, request) in requests {
            let flags = NLM_F_REQUEST
                | NLM_F_ACK
                | match mode {
                    Mode::Create => NLM_F_CREATE | NLM_F_EXCL,
                    Mode::Replace => NLM_F_CREATE | NLM_F_REPLACE,
                    Mode::Change => 0,
                };
            self.append(&mut batch, flags, request);
            pending += 1;
            if batch.len() >= BATCH {
                results.extend(self.flush(&mut batch, &mut pending)?);
            }
        }
        results.extend(self.flush(&mut batch, &mut pending)?);
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

    /// Appends a request to a buffer.
    fn append(&mut self, buffer: &mut Vec<u8>, flags: u16, request: RouteNetlinkMessage) {
        let mut message = NetlinkMessage::from(request);
        self.sequence += 1;
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = buffer.len();
        buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut buffer[start..]);
    }

    /// Sends what has gathered and reads as many answers.
    fn flush(&mut self, batch: &mut Vec<u8>, pending: &mut usize) -> Result<Vec<Result<()>>> {
        if *pending > 0 {
            self.socket.send(batch, 0)?;
        }
        let mut results = Vec::with_capacity(*pending);
        while results.len() < *pending {
            for message in self.receive()? {
                if let NetlinkPayload::Error(error) = message.payload {
                    results.push(if error.code.is_none() { Ok(()) } else { Err(error.to_io()) });
                }
            }
        }
        batch.clear();
        *pending = 0;
        Ok(results)
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
