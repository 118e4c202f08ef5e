//! Starting one program in the VM.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::message::{Program, VmSpec, WinSize};

nix::ioctl_write_ptr_bad!(set_winsize, libc::TIOCSWINSZ, libc::winsize);

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/tombolo/bin";
const HOME: &str = "/root";

/// A program that runs.
pub(super) struct Started {
    /// Leader of its own session and process group.
    pub(super) pid: Pid,
    /// Its terminal's master, if it has one.
    pub(super) master: Option<OwnedFd>,
}

/// A program that does not.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) code: i32,
    pub(super) message: String,
}

impl NotStarted {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { code: 125, message: message.into() }
    }
}

/// Where a program reads and writes.
pub(super) enum Stdio3 {
    Given([OwnedFd; 3]),
    Terminal(WinSize),
}

/// Starts the program in a session of its own, with nothing open but its stdio.
pub(super) fn start(vm: &VmSpec, program: &Program, stdio: Stdio3) -> Result<Started, NotStarted> {
    let [name, args @ ..] = &program.argv[..] else { return Err(NotStarted::new("no program given")) };
    let (stdio, master) = match stdio {
        Stdio3::Given(fds) => (fds, None),
        Stdio3::Terminal(size) => {
            let (slaves, master) =
                terminal(size).map_err(|e| NotStarted::new(format!("open a terminal: {e}")))?;
            (slaves, Some(master))
        }
    };
    let [stdin, stdout, stderr] = stdio.map(Stdio::from);
    let mut command = Command::new(name);
    command.args(args).stdin(stdin).stdout(stdout).stderr(stderr).env_clear();
    command.envs([
        ("PATH", PATH),
        ("HOME", HOME),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
    ]);
    command.envs(vm.env.iter().cloned()).envs(program.env.iter().cloned());
    let wanted = program.cwd.as_deref().filter(|cwd| cwd.starts_with('/') && Path::new(cwd).is_dir());
    command.current_dir(wanted.unwrap_or(HOME));

    let controlling = master.is_some();
    // SAFETY: init is single-threaded, so the closure may do anything between fork and exec.
    unsafe { command.pre_exec(move || prepare(controlling)) };
    match command.spawn() {
        // Not waited for through `Child`: pid 1 reaps all in one place.
        Ok(child) => Ok(Started { pid: Pid::from_raw(child.id() as i32), master }),
        Err(error) => Err(explain(name, &error)),
    }
}

/// In the child, with its stdio in place.
fn prepare(controlling_terminal: bool) -> io::Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: takes no pointers; 0 is the slave that was just put in place.
    if controlling_terminal && unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for each in Signal::iterator().filter(|each| !matches!(each, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: sets the default action.
        unsafe { signal(each, SigHandler::SigDfl) }?;
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// A terminal in the VM's own devpts: the slave three times, and the master.
fn terminal(size: WinSize) -> io::Result<([OwnedFd; 3], OwnedFd)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let size = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    let raw = std::os::fd::AsRawFd::as_raw_fd(&master);
    // SAFETY: reads one winsize, which outlives the call.
    unsafe { set_winsize(raw, &size) }?;
    let slave =
        open(&*ptsname_r(&master)?, OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty())?;
    let slaves = [slave.try_clone()?, slave.try_clone()?, slave];
    // SAFETY: PtyMaster gives its descriptor up by into_raw_fd, so it has one owner again.
    let master = unsafe { std::os::fd::FromRawFd::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(master)) };
    Ok((slaves, master))
}

/// The status a shell would give, and its words.
fn explain(name: &str, error: &io::Error) -> NotStarted {
    let (code, why) = match error.raw_os_error() {
        Some(libc::ENOENT) if !name.contains('/') => (127, "command not found".to_owned()),
        Some(libc::ENOENT) if File::open(name).is_ok() => (126, "its interpreter is missing".to_owned()),
        Some(libc::ENOENT | libc::ENOTDIR) => (127, "no such file in the VM".to_owned()),
        Some(libc::EACCES) if Path::new(name).is_dir() => (126, "is a directory".to_owned()),
        Some(libc::EACCES) => (126, "permission denied".to_owned()),
        Some(libc::ENOEXEC) => (126, "not a program".to_owned()),
        _ => (125, error.to_string()),
    };
    NotStarted { code, message: format!("{name}: {why}") }
}
