//! Sockets that hear every frame of an interface, for a program that lives outside of the lab.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use tombolo_dataplane::linux::netns;

use crate::dispatch::Reply;
use crate::lab::Lab;
use crate::message::Response;

/// How much waits to be read, in bytes, before frames are dropped and counted.
const BACKLOG: usize = 16 << 20;

/// A packet socket bound to an interface. It hears both directions, with the kernel's times.
pub(crate) fn capture(lab: &Lab, name: &str, link: &str) -> Result<Reply> {
    let namespace = lab.netns_of(name).with_context(|| format!("the lab has no network namespace {name}"))?;
    let heard = netns::with(namespace.as_fd(), || listen(link))?;
    let fd = heard.with_context(|| format!("listen to {link} of {name}"))?;
    Ok(Reply { response: Response::Done, fds: vec![fd] })
}

/// How many frames the kernel has dropped since the last time, as nobody read them in time.
pub fn dropped(capture: &OwnedFd) -> io::Result<u32> {
    // `struct tpacket_stats` of linux/if_packet.h: packets, drops.
    let mut stats = [0_u32; 2];
    let mut length = size_of_val(&stats) as libc::socklen_t;
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
    // SAFETY: getsockopt writes at most `length` bytes to `stats`, which outlives the call.
    match unsafe {
        libc::getsockopt(capture.as_raw_fd(), level, name, stats.as_mut_ptr().cast(), &raw mut length)
    } {
        0 => Ok(stats[1]),
        _ => Err(io::Error::last_os_error()),
    }
}

fn listen(link: &str) -> io::Result<OwnedFd> {
    // With no protocol it hears nothing until it is bound: nothing of other interfaces.
    let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    // More than the limit of ordinary sockets, where this is allowed; otherwise as much as is.
    if setsockopt(&fd, sockopt::RcvBufForce, &BACKLOG).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &BACKLOG)?;
    }
    setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
    let all = SockProtocol::EthAll as i32 as u16; // in the network's byte order already
    // SAFETY: sockaddr_ll is plain data for which all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::sa_family_t;
    address.sll_protocol = all;
    address.sll_ifindex = if_nametoindex(link)? as libc::c_int;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: bind reads one sockaddr_ll, which outlives the call.
    match unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}
