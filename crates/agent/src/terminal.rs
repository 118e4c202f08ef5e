//! The user's terminal while a program runs in a VM: what `tombolo exec` and `tombolo ssh` do.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::client::own_stdio;
use crate::message::WinSize;
use crate::session::{Outcome, Session};
use crate::spawn::AgentError;

nix::ioctl_read_bad!(get_winsize, libc::TIOCGWINSZ, libc::winsize);

/// Passed on to the program; without a terminal these would end only this process.
const PASSED_ON: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
const END_OF_INPUT: u8 = 4;
/// After a program's end its last output may still be on the way through the terminal.
const LAST_WORDS_MS: u16 = 50;

/// Size of the terminal on this descriptor, if it is one.
pub fn terminal_size(fd: impl AsFd) -> Option<WinSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: writes one winsize.
    unsafe { get_winsize(fd.as_fd().as_raw_fd(), &mut size) }.ok()?;
    Some(WinSize { rows: size.ws_row, cols: size.ws_col })
}

/// Connects this process's terminal and signals to the program that `start` starts, until the program ends.
///
/// Blocks the signals it passes on, before the program can run, so it is for a process that has no other
/// thread and ends afterwards.
pub fn attach(start: impl FnOnce() -> Result<Session, AgentError>) -> Result<Outcome, AgentError> {
    let mut mask = SigSet::empty();
    PASSED_ON.into_iter().chain([Signal::SIGWINCH]).for_each(|signal| mask.add(signal));
    mask.thread_block().map_err(io::Error::from)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&mask, flags).map_err(io::Error::from)?;
    let session = start()?;
    match session.master().map(|master| master.try_clone_to_owned()).transpose()? {
        Some(master) => copy(session, &signals, master),
        None => wait(session, &signals),
    }
}

/// A program on a terminal of its own: this process's terminal becomes a window on it.
fn copy(mut session: Session, signals: &SignalFd, master: OwnedFd) -> Result<Outcome, AgentError> {
    let [stdin, stdout, _] = own_stdio();
    let _raw = RawMode::enter(stdin);
    fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    let mut copy =
        Copy { master: master.into(), stdout: stdout.try_clone_to_owned()?.into(), pending: Vec::new() };
    let mut input_open = true;
    while session.outcome().is_none() {
        // More input is read only when the program has taken the last: it may be busy printing.
        let reading = input_open && copy.pending.is_empty();
        let master_wants = if copy.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        let mut fds = vec![
            PollFd::new(session.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(copy.master.as_fd(), PollFlags::POLLIN | master_wants),
        ];
        if reading {
            fds.push(PollFd::new(stdin, PollFlags::POLLIN));
        }
        let ready = poll_ready(&mut fds)?;
        if ready[1] {
            pass_on(signals, &session)?;
        }
        if ready[2] {
            if !copy.out()? {
                // Nobody has the terminal open any more, but the program has not ended.
                return wait(session, signals);
            }
            copy.flush()?;
        }
        if reading && ready[3] {
            input_open = copy.take(stdin)?;
            copy.flush()?;
        }
        if ready[0] {
            session.receive()?;
        }
    }
    while poll(&mut [PollFd::new(copy.master.as_fd(), PollFlags::POLLIN)], LAST_WORDS_MS).is_ok_and(|n| n > 0)
    {
        if !copy.out()? {
            break;
        }
    }
    session.wait()
}

/// Which of these have something, or an end, to be read.
fn poll_ready(fds: &mut [PollFd<'_>]) -> Result<Vec<bool>, AgentError> {
    match poll(fds, PollTimeout::NONE) {
        Ok(_) => Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; fds.len()]),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}

/// A program on this process's own descriptors: only signals to see to.
fn wait(mut session: Session, signals: &SignalFd) -> Result<Outcome, AgentError> {
    while session.outcome().is_none() {
        let mut fds = [
            PollFd::new(session.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let ready = poll_ready(&mut fds)?;
        if ready[1] {
            pass_on(signals, &session)?;
        }
        if ready[0] {
            session.receive()?;
        }
    }
    session.wait()
}

fn pass_on(signals: &SignalFd, session: &Session) -> Result<(), AgentError> {
    while let Ok(Some(info)) = signals.read_signal() {
        match info.ssi_signo as i32 {
            libc::SIGWINCH => {
                if let Some(size) = own_stdio().into_iter().find_map(terminal_size) {
                    session.resize(size);
                }
            }
            number => session.signal(number)?,
        }
    }
    Ok(())
}

/// Bytes between the user and the program's terminal.
struct Copy {
    master: File,
    stdout: File,
    /// Typed but not yet taken.
    pending: Vec<u8>,
}

impl Copy {
    /// From the program to the user; false when the terminal has nobody left on its other side.
    fn out(&mut self) -> Result<bool, AgentError> {
        let mut buffer = [0; 16 << 10];
        match self.master.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(got) => {
                self.stdout.write_all(&buffer[..got])?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            // EIO: the last slave is closed.
            Err(_) => Ok(false),
        }
    }

    /// From the user; false at the end of input, which the program's terminal is told as Ctrl-D.
    fn take(&mut self, stdin: BorrowedFd<'_>) -> Result<bool, AgentError> {
        let mut buffer = [0; 4 << 10];
        let got = nix::unistd::read(stdin, &mut buffer).map_err(io::Error::from)?;
        match got {
            0 => self.pending.push(END_OF_INPUT),
            got => self.pending.extend_from_slice(&buffer[..got]),
        }
        Ok(got > 0)
    }

    fn flush(&mut self) -> Result<(), AgentError> {
        while !self.pending.is_empty() {
            match self.master.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The program is ending; its status tells the rest.
                Err(_) => self.pending.clear(),
            }
        }
        Ok(())
    }
}

/// The user's terminal in raw mode; as it was when dropped.
struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// None when it is not a terminal.
    fn enter(terminal: BorrowedFd<'_>) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(terminal, SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self { terminal: terminal.try_clone_to_owned().ok()?, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}
