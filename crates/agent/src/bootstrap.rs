//! From a plain process to pid 1 of a lab.
//!
//! ```text
//! tombolo agent ─ unshare user ─ unshare mnt pid net uts ipc ─ fork ┬ stub: waits, passes the status on
//!                                                                   └ pid 1: `enter_lab` returns here only
//! ```
//! When the stub is killed the kernel kills pid 1 (parent-death signal), and with pid 1 everything in the lab.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, fork, setsid};

use crate::{advice, keyring, userns};

/// A step on the way into the lab that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the lab: {step}: {}{}", .errno.desc(), advice::text(*.errno))]
pub struct LabError {
    /// What was tried.
    pub step: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl LabError {
    pub(crate) fn at(step: &'static str, errno: Errno) -> Self {
        Self { step, errno }
    }
}

/// Moves into a new lab. Returns in its pid 1; the calling process stays outside it and never returns.
///
/// The process must be single-threaded. An error may come from either process; the one that got it
/// should report it and end.
pub fn enter_lab() -> Result<(), LabError> {
    // Ctrl-C goes to the foreground process group; whether the lab ends then is for the parent to say.
    // A process that already leads its group cannot leave it, hence the signals.
    let _ = setsid();
    for each in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { signal(each, SigHandler::SigIgn) }.map_err(|errno| LabError::at("ignore signals", errno))?;
    }
    keyring::leave();
    userns::enter()?;
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(flags).map_err(|errno| LabError::at("unshare namespaces", errno))?;

    let (stub_ended, stub_lives) = io::pipe().map_err(|_| LabError::at("pipe", Errno::last()))?;
    // SAFETY: single-threaded by contract, so the child may do anything.
    match unsafe { fork() }.map_err(|errno| LabError::at("fork", errno))? {
        ForkResult::Parent { child } => stub(child, stub_lives.as_raw_fd()),
        ForkResult::Child => {
            drop(stub_lives);
            first_process(&stub_ended)
        }
    }
}

/// The process outside: holds nothing of the caller's and passes the lab's end on.
fn stub(child: Pid, keep: i32) -> ! {
    // SAFETY: this process only waits from here on; no Rust object uses the descriptors that go away.
    unsafe {
        libc::dup2(keep, 0);
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
    let _ = chdir("/");
    let code = loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => break code,
            Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break 1,
        }
    };
    std::process::exit(code)
}

/// Pid 1: ties its life to the stub's, then gives the lab mounts and a /proc of its own.
fn first_process(stub_ended: &PipeReader) -> Result<(), LabError> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| LabError::at("set a parent-death signal", errno))?;
    // The stub may have died before the line above; the parent is outside this pid namespace, so getppid() is 0
    // either way. Its end of the pipe tells.
    let mut fds = [PollFd::new(stub_ended.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        std::process::exit(1);
    }
    let _ = setsid();
    umask(Mode::from_bits_truncate(0o022));
    chdir("/").map_err(|errno| LabError::at("chdir /", errno))?;

    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| LabError::at("make mounts private", errno))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
        .map_err(|errno| LabError::at("mount /proc", errno))
}
