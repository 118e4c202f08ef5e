//! Starting a program for a session: on pipes, or on a terminal of its own.

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::stat::Mode;
use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use russh::Pty;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::Stdio;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

nix::ioctl_write_ptr_bad!(set_winsize, libc::TIOCSWINSZ, libc::winsize);

/// Where Debian has the server of sftp and scp.
pub(super) const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// What a client wants to run.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// A login shell.
    Shell,
    /// A command, which a shell reads.
    Command(Vec<u8>),
    /// A program of the server's.
    Subsystem(&'static str),
}

/// The terminal that a client asked for.
#[derive(Clone, Debug)]
pub(super) struct TerminalRequest {
    pub(super) term: String,
    pub(super) size: libc::winsize,
    pub(super) modes: Vec<(Pty, u32)>,
}

/// A size as ssh says it.
pub(super) fn size(columns: u32, rows: u32, width: u32, height: u32) -> libc::winsize {
    let short = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    libc::winsize {
        ws_row: short(rows),
        ws_col: short(columns),
        ws_xpixel: short(width),
        ws_ypixel: short(height),
    }
}

/// The server's side of a terminal.
#[derive(Debug)]
pub(super) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    pub(super) fn resize(&self, size: &libc::winsize) {
        // SAFETY: reads one winsize, which outlives the call. A failure leaves the old size, no harm.
        let _ = unsafe { set_winsize(self.0.as_raw_fd(), size) };
    }

    /// Reads what was printed; 0 when nobody has the terminal open any more.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> usize {
        let read = self
            .0
            .async_io(tokio::io::Interest::READABLE, |fd| nix::unistd::read(fd, buffer).map_err(Error::from));
        // EIO: the last program has closed it.
        read.await.unwrap_or(0)
    }

    /// Types.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let write = self.0.async_io(tokio::io::Interest::WRITABLE, |fd| {
                nix::unistd::write(fd, bytes).map_err(Error::from)
            });
            bytes = &bytes[write.await?..];
        }
        Ok(())
    }
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    /// Leads a session and a process group of its own.
    pub(super) child: Child,
    /// Its terminal, if it has one; pipes otherwise.
    pub(super) terminal: Option<Terminal>,
}

/// Sends a program and what it started in the same process group a signal. One that has ended gets none: its number
/// is not given to another before it was waited for.
pub(super) fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id() {
        let _ = killpg(Pid::from_raw(pid as i32), signal);
    }
}

/// Starts it. `command` has its environment, and what it is.
pub(super) fn start(mut command: Command, terminal: Option<&TerminalRequest>) -> Result<Program> {
    let master = match terminal {
        Some(request) => {
            let (slaves, master, name) = open_terminal(request)?;
            let [stdin, stdout, stderr] = slaves.map(Stdio::from);
            command.stdin(stdin).stdout(stdout).stderr(stderr);
            command.env("TERM", &request.term).env("SSH_TTY", name);
            Some(master)
        }
        None => {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            None
        }
    };
    let controlling = master.is_some();
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(move || prepare(controlling)) };
    let child = command.spawn()?;
    // The slaves are the program's now; here they would hide its end.
    drop(command);
    // SAFETY: an OwnedFd is the same open descriptor as long as it lives.
    let terminal = master.map(|master| unsafe { AsyncFd::register(master) }).transpose();
    let terminal = terminal.map_err(Error::from)?.map(Terminal);
    Ok(Program { child, terminal })
}

/// In the child, with its stdio in place.
fn prepare(controlling_terminal: bool) -> Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: takes no pointers; 0 is the slave that was just put in place.
    if controlling_terminal && unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } != 0 {
        return Err(Error::last_os_error());
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// A terminal: the slave three times, the master, and its name.
fn open_terminal(request: &TerminalRequest) -> Result<([OwnedFd; 3], OwnedFd, String)> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname_r(&master)?;
    // SAFETY: reads one winsize, which outlives the call.
    unsafe { set_winsize(master.as_raw_fd(), &request.size) }?;
    let slave = open(&*name, OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty())?;
    set_modes(&slave, &request.modes)?;
    let slaves = [slave.try_clone()?, slave.try_clone()?, slave];
    // SAFETY: PtyMaster gives its descriptor up by into_raw_fd, so it has one owner again.
    let master = unsafe { OwnedFd::from_raw_fd(master.into_raw_fd()) };
    Ok((slaves, master, name))
}

/// Makes the terminal as the client's is, where programs notice: its control characters, and whether it is UTF-8. The
/// rest is as every new terminal has it. Source: RFC 4254, section 8.
fn set_modes(slave: &OwnedFd, modes: &[(Pty, u32)]) -> Result<()> {
    let mut termios = tcgetattr(slave)?;
    for (mode, value) in modes {
        let index = match mode {
            Pty::VINTR => libc::VINTR,
            Pty::VQUIT => libc::VQUIT,
            Pty::VERASE => libc::VERASE,
            Pty::VKILL => libc::VKILL,
            Pty::VEOF => libc::VEOF,
            Pty::VSUSP => libc::VSUSP,
            Pty::VWERASE => libc::VWERASE,
            Pty::VLNEXT => libc::VLNEXT,
            Pty::IUTF8 => {
                termios.input_flags.set(InputFlags::IUTF8, *value != 0);
                continue;
            }
            _ => continue,
        };
        // 255 is ssh's word for no character.
        termios.control_chars[index] = if *value == 255 { 0 } else { *value as u8 };
    }
    Ok(tcsetattr(slave, SetArg::TCSANOW, &termios)?)
}
