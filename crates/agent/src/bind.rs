//! Sockets in a network namespace, for a server that lives outside: it serves the lab's networks without a process in
//! any of them.

use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use tombolo_dataplane::linux::netns;

use crate::dispatch::Reply;
use crate::lab::Lab;
use crate::message::Response;

/// Makes the sockets, all or none.
pub(crate) fn bind(lab: &Lab, name: &str, tcp: &[SocketAddrV4], udp: &[SocketAddrV4]) -> Result<Reply> {
    let netns = lab.netns_of(name).with_context(|| format!("the lab has no network namespace {name}"))?;
    let make = || -> io::Result<Vec<OwnedFd>> {
        let listeners = tcp.iter().map(|address| TcpListener::bind(address).map(OwnedFd::from));
        let datagrams = udp.iter().map(|address| UdpSocket::bind(address).map(OwnedFd::from));
        listeners.chain(datagrams).collect()
    };
    let fds = netns::with(netns.as_fd(), make)?.with_context(|| format!("listen in {name}"))?;
    Ok(Reply { response: Response::Done, fds })
}
