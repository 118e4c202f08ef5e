//! Whether anything has changed in a namespace, without looking at everything in it.
//!
//! The kernel tells of every change of links, addresses, neighbours, routes, rules and of a link's reverse-path filter before
//! whoever made it goes on. So a namespace of which nothing was told is as it was when it was last looked at. (Routes
//! that go with a link or an address go without a word, but the link or the address does not. Of an IPv6 address the kernel
//! tells a moment later: it is seen by one of the next looks.)

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};

/// What is told of: `enum rtnetlink_groups`, linux/rtnetlink.h
const GROUPS: [u32; 9] = [
    1,  // RTNLGRP_LINK
    3,  // RTNLGRP_NEIGH
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    8,  // RTNLGRP_IPV4_RULE
    24, // RTNLGRP_IPV4_NETCONF
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
    12, // RTNLGRP_IPV6_IFINFO
];

/// Listens for changes in the namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Socket,
    /// How [`Watches`] calls it.
    pub(super) token: u64,
}

/// All of them, to be asked at once: they are many, and most have heard nothing.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Made with the first.
    epoll: Option<Epoll>,
    /// How many there have been.
    opened: u64,
}

impl Watches {
    /// Listens in the calling thread's namespace.
    pub(super) fn open(&mut self) -> Result<Watch> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS.iter().fold(0, |groups, group| groups | 1 << (group - 1))))?;
        let epoll = match self.epoll.take() {
            Some(epoll) => epoll,
            None => Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        };
        self.opened += 1;
        let added = epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, self.opened));
        self.epoll = Some(epoll);
        added?;
        Ok(Watch { socket, token: self.opened })
    }

    /// The tokens of those that have heard something that was not read yet, of `most` that there are.
    pub(super) fn ready(&self, most: usize) -> Result<BTreeSet<u64>> {
        let Some(epoll) = &self.epoll else { return Ok(BTreeSet::new()) };
        let mut events = vec![EpollEvent::empty(); most.max(1)];
        loop {
            match epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(ready) => return Ok(events[..ready].iter().map(EpollEvent::data).collect()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Watch {
    /// Reads what was heard; whether that was nothing.
    pub(super) fn is_quiet(&self) -> bool {
        let mut quiet = true;
        let mut byte = Vec::with_capacity(1);
        loop {
            byte.clear();
            // What was said does not matter, only that something was: the rest of a datagram is thrown away.
            match self.socket.recv(&mut byte, libc::MSG_DONTWAIT) {
                Ok(_) => quiet = false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return quiet,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // More than there was room for (ENOBUFS): what it was is lost, and more may follow.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => quiet = false,
                Err(_) => return false,
            }
        }
    }
}
