//! What rules log: the kernel hands the first bytes of packets to whoever listens in their namespace (nfnetlink_log).
//!
//! Sources: `linux/netfilter/nfnetlink_log.h`, and `nfnetlink_log.c` of the kernel.

use super::nft::message::{self, ACK, Attributes, HEAD};
use super::nft::{ask, attribute, messages};
use crate::table::{LOG_BYTES, LOG_GROUP};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};
use std::ffi::CStr;
use std::io::{ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// `NFNL_SUBSYS_ULOG`
const SUBSYSTEM: u16 = 4;
/// `NFULNL_MSG_PACKET`
const PACKET: u16 = 0;
/// `NFULNL_MSG_CONFIG`
const CONFIG: u16 = 1;
/// How many bytes the kernel makes room for at a time; there is one packet in each.
const ROOM: u32 = 512;

/// Listens to what rules log in the namespace in which it was opened.
#[derive(Debug)]
pub struct Log {
    socket: Socket,
}

/// What a rule logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// What it wrote before the packet: see [`crate::rules::read_prefix`].
    pub prefix: String,
    /// The interface by which the packet came; empty if it is gone.
    pub input: String,
    /// The interface by which the packet would leave; empty if it is gone.
    pub output: String,
    /// The packet's first bytes.
    pub packet: Vec<u8>,
}

impl Log {
    /// Listens in the calling thread's namespace, where nobody else may.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // As much as the host lets everybody have.
        setsockopt(&socket.as_fd(), sockopt::RcvBuf, &(4 << 20))?;
        let log = Self { socket };
        log.configure("listen", |a| a.bytes(1, &[1]))?; // NFULA_CFG_CMD: NFULNL_CFG_CMD_BIND
        log.configure("set", |a| {
            // NFULA_CFG_MODE: range, NFULNL_COPY_PACKET, padding
            a.bytes(2, &[&LOG_BYTES.to_be_bytes()[..], &[2, 0]].concat());
            a.number(3, ROOM); // NFULA_CFG_NLBUFSIZ
            a.number(5, 1); // NFULA_CFG_QTHRESH: each packet at once
        })?;
        Ok(log)
    }

    fn configure(&self, what: &str, fill: impl FnOnce(&mut Attributes)) -> Result<()> {
        let attributes = Attributes::of(fill).into_bytes();
        let request = message::bytes(SUBSYSTEM << 8 | CONFIG, ACK, 0, LOG_GROUP, &attributes);
        ask(&self.socket, &request, &format!("nfnetlink_log: {what}"))
    }

    /// What has been logged since it was read last, in order; and whether some was lost, because nobody read for too
    /// long. It does not wait.
    pub fn read(&self) -> Result<(Vec<Logged>, bool)> {
        let (mut logged, mut lost) = (Vec::new(), false);
        let mut bytes = Vec::with_capacity(1 << 16);
        loop {
            bytes.clear();
            match self.socket.recv(&mut bytes, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((logged, lost)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => lost = true,
                Err(error) => return Err(error),
            }
            let packets = messages(&bytes).into_iter().filter(|(kind, _)| *kind == SUBSYSTEM << 8 | PACKET);
            logged.extend(packets.filter_map(|(_, message)| self.logged(message.get(HEAD..)?)));
        }
    }

    fn logged(&self, packet: &[u8]) -> Option<Logged> {
        let prefix = attribute(packet, 10)?; // NFULA_PREFIX
        let link = |kind| {
            let index = attribute(packet, kind).and_then(|bytes| bytes.try_into().ok());
            index.and_then(|index| link_name(&self.socket, u32::from_be_bytes(index))).unwrap_or_default()
        };
        Some(Logged {
            prefix: String::from_utf8_lossy(prefix.strip_suffix(&[0])?).into_owned(),
            input: link(4),                         // NFULA_IFINDEX_INDEV
            output: link(5),                        // NFULA_IFINDEX_OUTDEV
            packet: attribute(packet, 9)?.to_vec(), // NFULA_PAYLOAD
        })
    }
}

/// The interface that has a number in the socket's namespace, which need not be the calling thread's.
pub(super) fn link_name(socket: &Socket, index: u32) -> Option<String> {
    // SAFETY: ifreq is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = index as libc::c_int;
    // SAFETY: SIOCGIFNAME reads and writes one ifreq, which outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
    let name: Vec<u8> = request.ifr_name.iter().map(|c| *c as u8).collect();
    let name = CStr::from_bytes_until_nul(&name).ok()?.to_str().ok()?;
    (done == 0).then(|| name.to_owned())
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
