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

use super::New;
use super::netlink::Route;
use super::settings::{NAMESPACES_PER_PROC, Proc};
use nix::cmsg_space;
use nix::sched::{CloneFlags, unshare};
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
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is said between here and the process: a byte each way. There goes a mount of `/proc` with some, for the
/// namespaces from then on. From there it is an error's number if it is not this, and with a new namespace come its
/// descriptors.
const DONE: u8 = 0;

/// The namespaces that the process may be ahead: descriptors on their way count against a limit of their user's.
const AHEAD: usize = 64;

/// The user namespace, and the process in it that makes network namespaces. It ends when this is dropped.
#[derive(Debug)]
pub struct Guests {
    user: OwnedFd,
    maker: Mutex<Maker>,
}

/// The process, as this side knows it.
#[derive(Debug)]
struct Maker {
    socket: OwnedFd,
    /// How many namespaces have been asked for and have not come.
    awaited: usize,
    /// How many have been asked for.
    asked: usize,
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
                let started =
                    map(child, &ours).map(|user| Guests { user, maker: Mutex::new(Maker::new(ours)) });
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

    /// So many new network namespaces that belong to it, settled for endpoints. They are made while the caller does
    /// something else, and handed out one by one.
    pub(super) fn order(&self, count: usize) -> Order<'_> {
        let mut maker = self.maker();
        maker.ask(count);
        Order { maker, left: count }
    }

    /// Has the process begin with what will be ordered.
    pub(super) fn expect(&self, count: usize) {
        self.maker().ask(count);
    }

    fn maker(&self) -> MutexGuard<'_, Maker> {
        self.maker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maker {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, awaited: 0, asked: 0 }
    }

    /// Keeps the process at work while so many are wanted. A broken socket is noticed by who listens for the answer.
    fn ask(&mut self, wanted: usize) {
        while self.awaited < wanted.min(AHEAD) {
            // The process cannot mount one itself. Without it settings are found as well, if more slowly.
            let proc = Some(self.asked).filter(|asked| asked % NAMESPACES_PER_PROC == 0);
            let proc = proc.and_then(|_| Proc::new().ok());
            let with: Vec<_> = proc.iter().map(AsFd::as_fd).collect();
            let _ = say(&self.socket, DONE, &with);
            (self.awaited, self.asked) = (self.awaited + 1, self.asked + 1);
        }
    }
}

/// Network namespaces that are being made. What nobody takes is for the next order.
#[derive(Debug)]
pub(super) struct Order<'g> {
    maker: MutexGuard<'g, Maker>,
    /// How many are still to be handed out.
    left: usize,
}

impl Order<'_> {
    /// The next one, once it is made.
    pub(super) fn next(&mut self) -> Result<New> {
        if self.left == 0 {
            return Err(Error::other("no more network namespaces were ordered"));
        }
        let heard = hear(&self.maker.socket);
        (self.left, self.maker.awaited) = (self.left - 1, self.maker.awaited - 1);
        self.maker.ask(self.left);
        match <[OwnedFd; 2]>::try_from(heard?) {
            Ok([netns, route]) => Ok(New { netns, route: Route::adopt(route) }),
            Err(_) => Err(Error::other("a guest's network namespace came without its connection")),
        }
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
    say(socket, DONE, &[])?;
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
    say(socket, DONE, &[])?;
    hear(socket)?;
    // Where it is between two: it could not go back to a namespace of the lab's, and one that it stayed in would not go
    // when nobody needs it any more.
    unshare(CloneFlags::CLONE_NEWNET)?;
    say(socket, DONE, &[])?;
    let mut proc = None;
    loop {
        if let Some(mount) = hear(socket)?.pop() {
            proc = Some(Proc::adopt(mount));
        }
        match New::make(false, proc.as_ref()) {
            Ok(made) => say(socket, DONE, &[made.netns.as_fd(), made.route.as_fd()])?,
            // Never 0, so never taken for a success.
            Err(error) => {
                let code = error.raw_os_error().and_then(|code| u8::try_from(code).ok());
                say(socket, code.unwrap_or(libc::EIO as u8), &[])?;
            }
        }
    }
}

/// A byte, with these descriptors.
fn say(socket: &OwnedFd, byte: u8, with: &[BorrowedFd<'_>]) -> Result<()> {
    let raw: Vec<RawFd> = with.iter().map(AsRawFd::as_raw_fd).collect();
    match raw.is_empty() {
        true => send(socket.as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL)?,
        false => {
            let bytes = [byte];
            let parts = [IoSlice::new(&bytes)];
            let rights = [ControlMessage::ScmRights(&raw)];
            sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?
        }
    };
    Ok(())
}

/// The descriptors that came with a byte. An error's number is an error, and so is the end of the socket.
fn hear(socket: &OwnedFd) -> Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut space = cmsg_space!([RawFd; 2]);
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
    match byte[0] {
        DONE => Ok(fds),
        code => Err(Error::from_raw_os_error(code.into())),
    }
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
