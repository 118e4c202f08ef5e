//! Network namespaces, held by descriptor only: no name under /run, no process inside.
//!
//! A namespace lives as long as a descriptor, a process or a thread holds it. The calling thread goes there and comes
//! back: a thread of its own for each visit would wait for a processor twice, which on a busy machine takes longer than
//! most work.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// A new, empty network namespace with `lo` up.
///
/// `lo` matters: without it there is no local table, so ping works and TCP dies silently.
pub fn create() -> io::Result<OwnedFd> {
    create_with(|| Ok(())).map(|(made, ())| made)
}

/// The same, with something done in it first.
pub fn create_with<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<(OwnedFd, T)> {
    let _home = Home::leave()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    let made = here()?;
    Ok((made.into(), work()?))
}

/// Runs `work` inside the namespace; a panic in it continues here.
pub fn with<T>(netns: impl AsFd, work: impl FnOnce() -> T) -> io::Result<T> {
    let _home = Home::leave()?;
    setns(netns, CloneFlags::CLONE_NEWNET)?;
    Ok(work())
}

/// The calling thread's namespace.
fn here() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// The namespace that the calling thread comes from. Dropping it brings the thread back.
struct Home(File);

impl Home {
    /// Notes where the thread is.
    fn leave() -> io::Result<Home> {
        here().map(Home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
            // Whatever this thread did next, it would do in the wrong network.
            eprintln!("cannot go back to a network namespace: {error}");
            std::process::abort();
        }
    }
}

/// Sets IFF_UP on `lo` of the calling thread's namespace.
fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
