//! The user namespace of guests: endpoints' network namespaces belong to it, routers' do not.
//!
//! ```text
//!   the lab's user namespace: agent, routers
//!     └ guests': programs of VMs, endpoints' network namespaces
//! ```
//! Root in a VM may do as it likes with the VM's network, so it has CAP_NET_ADMIN in the user namespace that this belongs
//! to. Were that the lab's, it would have the routers' too: a veth's other end gets a number in the VM's
//! namespace (`IFLA_LINK_NETNSID`), and by that number rtnetlink lets the links of the router be listed, taken down and
//! deleted (`IFLA_TARGET_NETNSID`), unless the asker has no capability over them.
//!
//! A thread cannot enter a user namespace (setns(2)), so a process that is in it makes the network namespaces.

use super::netns::loopback_up;
use nix::cmsg_space;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, sendmsg,
    socketpair,
};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::{self, File};
use std::io::{Error, IoSlice, IoSliceMut, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// What is said between here and the process: a byte each way, with a descriptor when there is a new namespace.
const DONE: u8 = 0;

/// The user namespace, and the process in it that makes network namespaces. It ends when this is dropped.
#[derive(Debug)]
pub struct Guests {
    user: OwnedFd,
    socket: Mutex<OwnedFd>,
}

impl Guests {
    /// Makes the user namespace, in which every id of this one has the same number.
    ///
    /// The calling process must be single-threaded, and have all capabilities in its own user namespace.
    pub fn start() -> Result<Guests> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: single-threaded by contract, so the child may do anything.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(ours);
                let _ = serve(&theirs);
                std::process::exit(0)
            }
            ForkResult::Parent { child } => {
                drop(theirs);
                let started = map(child, &ours).map(|user| Guests { user, socket: Mutex::new(ours) });
                if started.is_err() {
                    // It ends with the socket.
                    let _ = waitpid(child, None);
                }
                started
            }
        }
    }

    /// The user namespace.
    pub fn user(&self) -> BorrowedFd<'_> {
        self.user.as_fd()
    }

    /// A new, empty network namespace that belongs to it, with `lo` up.
    pub fn create_netns(&self) -> Result<OwnedFd> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        say(&socket, None)?;
        hear(&socket)?.ok_or_else(|| Error::other("no network namespace could be made for a guest"))
    }
}

/// Gives the process its ids once it is in its namespace; the namespace.
fn map(child: Pid, socket: &OwnedFd) -> Result<OwnedFd> {
    hear(socket)?;
    for file in ["uid_map", "gid_map"] {
        fs::write(
            format!("/proc/{child}/{file}"),
            identity(&fs::read_to_string(format!("/proc/self/{file}"))?),
        )?;
    }
    let user = File::open(format!("/proc/{child}/ns/user"))?.into();
    say(socket, None)?;
    hear(socket)?; // It is ready.
    Ok(user)
}

/// The map that gives every id of this namespace the same number in a child.
fn identity(own: &str) -> String {
    let one = |line: &str| {
        let mut fields = line.split_whitespace();
        let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    };
    own.lines().filter_map(one).collect()
}

/// The process: a namespace for every byte, until the socket closes.
fn serve(socket: &OwnedFd) -> Result<()> {
    // SAFETY: this process uses no descriptor but its socket from here on.
    unsafe {
        let fd = socket.as_raw_fd() as libc::c_uint;
        libc::close_range(3, fd - 1, 0); // refused, rightly, when it is the first
        libc::close_range(fd + 1, libc::c_uint::MAX, 0);
    }
    let _ = prctl::set_name(c"guests");
    unshare(CloneFlags::CLONE_NEWUSER)?;
    say(socket, None)?;
    hear(socket)?;
    // Where it is between two: a namespace that it stayed in would not go when nobody needs it any more.
    let idle = create()?;
    say(socket, None)?;
    loop {
        hear(socket)?;
        let made = create();
        setns(&idle, CloneFlags::CLONE_NEWNET)?;
        say(socket, made.as_ref().ok().map(AsFd::as_fd))?;
    }
}

/// Moves into a new network namespace.
fn create() -> Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    Ok(File::open("/proc/self/ns/net")?.into())
}

fn say(socket: &OwnedFd, with: Option<BorrowedFd<'_>>) -> Result<()> {
    let raw: Vec<RawFd> = with.iter().map(AsRawFd::as_raw_fd).collect();
    match raw.is_empty() {
        true => send(socket.as_raw_fd(), &[DONE], MsgFlags::MSG_NOSIGNAL)?,
        false => {
            let parts = [IoSlice::new(&[DONE])];
            let rights = [ControlMessage::ScmRights(&raw)];
            sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?
        }
    };
    Ok(())
}

/// A byte, with the descriptor that came with it. The end of the socket is an error.
fn hear(socket: &OwnedFd) -> Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Err(Error::other("the process that makes guests' network namespaces has ended"));
    }
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel just made these descriptors for us; nothing else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(fds.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_numbers() {
        assert_eq!(identity("         0       1000          1\n"), "0 0 1\n");
        assert_eq!(identity("0 0 1000\n1000 5000 2\n"), "0 0 1000\n1000 1000 2\n");
    }
}
