//! Descriptors: those inherited from the process that started this one, and room for many.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many descriptors as a process of ours has room for from the start: 256 KiB in the kernel.
const ROOM: u64 = 1 << 15;

/// Lets this process have as many descriptors as it may, and makes room for most of them.
///
/// The kernel makes room when it is needed too, each time for twice as many; but in a process with threads it waits until
/// none of them looks at the old table any more, and that takes it some 15 to 40 ms (`synchronize_rcu` in `expand_fdtable`,
/// Linux, `fs/file.c`). So at best it is called while there is one thread.
pub fn make_room() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let last = limit.min(ROOM).saturating_sub(1);
    // SAFETY: standard input may be closed, which is an error without an effect; the copy is owned by nobody else.
    unsafe {
        let copy = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, last as libc::c_int);
        if copy >= 0 {
            libc::close(copy);
        }
    }
}

/// Takes ownership of an inherited descriptor and puts a close-on-exec copy above the standard ones.
pub(crate) fn adopt(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor; a bad `fd` is an error, not undefined behaviour.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    if fd > 2 {
        // SAFETY: by the caller's contract nothing in this process owns the inherited number.
        unsafe { libc::close(fd) };
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes everything but the standard descriptors and `keep`.
///
/// Whatever the process was started with would otherwise show up in every VM. For the start of a program,
/// when no Rust object owns a descriptor yet.
pub(crate) fn close_others(keep: &OwnedFd) {
    let keep = keep.as_raw_fd() as libc::c_uint;
    // SAFETY: by contract nobody owns these. An empty range is an error without an effect.
    unsafe {
        libc::close_range(3, keep - 1, 0);
        libc::close_range(keep + 1, libc::c_uint::MAX, 0);
    }
}

/// Points a standard descriptor (0, 1 or 2) at /dev/null.
pub(crate) fn to_null(fd: i32) -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: replaces a standard descriptor, which no Rust object of this process closes.
    match unsafe { libc::dup2(null.as_raw_fd(), fd) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
