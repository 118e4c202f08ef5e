//! Packets that a router holds: the kernel hands the first bytes of each to whoever listens in its namespace, and keeps the packet until
//! it is told what becomes of it (nfnetlink_queue).
//!
//! Sources: `linux/netfilter/nfnetlink_queue.h`, and `nfnetlink_queue.c` of the kernel.

use super::log::link_name;
use super::nft::message::{self, ACK, Attributes, HEAD};
use super::nft::{ask, attribute, messages};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

/// `NFNL_SUBSYS_QUEUE`
const SUBSYSTEM: u16 = 3;
/// `NFQNL_MSG_PACKET`
const PACKET: u16 = 0;
/// `NFQNL_MSG_VERDICT`
const VERDICT: u16 = 1;
/// `NFQNL_MSG_CONFIG`
const CONFIG: u16 = 2;
/// Bytes of a packet that are told: a header of IPv6, which is longer than what is needed of IPv4's.
const BYTES: u32 = 40;
/// Packets that are held at most; more are dropped.
const MOST: u32 = 1 << 16;

/// Listens to what the rules hold in the namespace in which it was opened. When it is dropped, so are the packets.
#[derive(Debug)]
pub struct Queue {
    socket: Socket,
    number: u16,
}

/// A packet that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldPacket {
    /// Its number in its queue.
    pub number: u32,
    /// Where it goes.
    pub destination: IpAddr,
    /// The number of the interface by which it came.
    pub input: u32,
}

impl Queue {
    /// Listens to a queue of the calling thread's namespace.
    pub fn open(number: u16) -> Result<Queue> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Who reads too late loses packets: as much as the host lets everybody have.
        setsockopt(&socket.as_fd(), sockopt::RcvBuf, &(8 << 20))?;
        let queue = Queue { socket, number };
        // NFQA_CFG_CMD: NFQNL_CFG_CMD_BIND, padding, any family.
        queue.configure("bind", |a| a.bytes(1, &[1, 0, 0, 0]))?;
        queue.configure("set", |a| {
            // NFQA_CFG_PARAMS: range, NFQNL_COPY_PACKET
            a.bytes(2, &[&BYTES.to_be_bytes()[..], &[2]].concat());
            a.number(3, MOST); // NFQA_CFG_QUEUE_MAXLEN
            // NFQA_CFG_MASK, NFQA_CFG_FLAGS: NFQA_CFG_F_GSO, what came as one packet stays one.
            a.number(4, 1 << 2);
            a.number(5, 1 << 2);
        })?;
        Ok(queue)
    }

    fn configure(&self, what: &str, fill: impl FnOnce(&mut Attributes)) -> Result<()> {
        let attributes = Attributes::of(fill).into_bytes();
        let request = message::bytes(SUBSYSTEM << 8 | CONFIG, ACK, 0, self.number, &attributes);
        ask(&self.socket, &request, &format!("nfnetlink_queue: {what}"))
    }

    /// The packets that are held since this was asked last, in their order. It does not wait.
    pub fn read(&self) -> Result<Vec<HeldPacket>> {
        let mut held = Vec::new();
        let mut bytes = Vec::with_capacity(1 << 16);
        loop {
            bytes.clear();
            match self.socket.recv(&mut bytes, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(held),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There was no room for some, and the kernel has dropped them.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
            let packets = messages(&bytes).into_iter().filter(|(kind, _)| *kind == SUBSYSTEM << 8 | PACKET);
            held.extend(packets.filter_map(|(_, message)| packet(message.get(HEAD..)?)));
        }
    }

    /// The interface of this number, if it is there.
    pub fn link(&self, number: u32) -> Option<String> {
        link_name(&self.socket, number)
    }

    /// Lets a packet go on.
    pub fn release(&self, number: u32) -> Result<()> {
        let verdict = [(libc::NF_ACCEPT as u32).to_be_bytes(), number.to_be_bytes()].concat();
        let attributes = Attributes::of(|a| a.bytes(2, &verdict)).into_bytes(); // NFQA_VERDICT_HDR
        self.socket.send(&message::bytes(SUBSYSTEM << 8 | VERDICT, 0, 0, self.number, &attributes), 0)?;
        Ok(())
    }
}

/// What is told of a packet. One whose destination can't be read is one of no address.
fn packet(told: &[u8]) -> Option<HeldPacket> {
    let number = attribute(told, 1)?.get(..4)?; // NFQA_PACKET_HDR
    let bytes = attribute(told, 10).unwrap_or_default(); // NFQA_PAYLOAD
    let v4 = || Some(<[u8; 4]>::try_from(bytes.get(16..20)?).ok()?.into());
    let v6 = || Some(<[u8; 16]>::try_from(bytes.get(24..40)?).ok()?.into());
    let destination = match bytes.first().map(|first| first >> 4) {
        Some(6) => v6().map(|address: Ipv6Addr| address.into()),
        _ => v4().map(|address: Ipv4Addr| address.into()),
    };
    let input = attribute(told, 5).and_then(|bytes| bytes.try_into().ok()); // NFQA_IFINDEX_INDEV
    Some(HeldPacket {
        input: input.map_or(0, u32::from_be_bytes),
        number: u32::from_be_bytes(number.try_into().ok()?),
        destination: destination.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
    })
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
