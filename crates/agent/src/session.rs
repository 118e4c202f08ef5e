//! A program that runs in a VM, as its requester sees it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::message::{ExecControl, ExecEvent, ExecStatus, WinSize};
use crate::proto::{Conn, ProtoError};
use crate::spawn::AgentError;

nix::ioctl_write_ptr_bad!(set_winsize, libc::TIOCSWINSZ, libc::winsize);

/// How a request to run a program came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and ended.
    Ended(ExecStatus),
    /// It never ran.
    Failed {
        /// As a shell's: 127 not found, 126 not executable, 125 anything else.
        code: i32,
        /// Why.
        message: String,
    },
}

impl Outcome {
    /// The exit status to pass on.
    pub fn code(&self) -> i32 {
        match self {
            Self::Ended(status) => status.code(),
            Self::Failed { code, .. } => *code,
        }
    }
}

/// A running program. Dropping it hangs the program up, then kills it, unless it was started detached.
#[derive(Debug)]
pub struct Session {
    conn: Conn,
    pid: i32,
    outcome: Option<Outcome>,
    master: Option<OwnedFd>,
}

impl Session {
    pub(crate) fn new(conn: Conn, first: ExecEvent, master: Option<OwnedFd>) -> Self {
        let mut session = Self { conn, pid: 0, outcome: None, master };
        session.note(first);
        session
    }

    /// Pid in the VM; 0 when it never ran.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The master of its terminal, when it was given one.
    pub fn master(&self) -> Option<BorrowedFd<'_>> {
        self.master.as_ref().map(AsFd::as_fd)
    }

    /// Tells the terminal its new size; the program gets SIGWINCH.
    pub fn resize(&self, size: WinSize) {
        let Some(master) = &self.master else { return };
        let size = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: reads one winsize, which outlives the call. A failure leaves the old size, no harm.
        let _ = unsafe { set_winsize(master.as_raw_fd(), &size) };
    }

    /// Sends the program's process group a signal.
    pub fn signal(&self, signal: i32) -> Result<(), AgentError> {
        match self.conn.send(&ExecControl::Signal { signal }, &[]) {
            // It ended in the meantime; `wait` tells how.
            Ok(()) | Err(ProtoError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the program's end.
    pub fn wait(mut self) -> Result<Outcome, AgentError> {
        loop {
            if let Some(outcome) = self.outcome.take() {
                return Ok(outcome);
            }
            self.receive()?;
        }
    }

    /// Receives one event; blocks. For a caller that polls [`Session::as_fd`].
    pub(crate) fn receive(&mut self) -> Result<Option<&Outcome>, AgentError> {
        match self.conn.recv::<ExecEvent>() {
            Ok((event, _)) => self.note(event),
            Err(ProtoError::Closed) => {
                return Err(AgentError::Refused("the VM was stopped while the program ran".into()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.outcome.as_ref())
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn note(&mut self, event: ExecEvent) {
        match event {
            ExecEvent::Started { pid } => self.pid = pid,
            ExecEvent::Ended(status) => self.outcome = Some(Outcome::Ended(status)),
            ExecEvent::Failed { code, message } => self.outcome = Some(Outcome::Failed { code, message }),
        }
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.conn.as_fd()
    }
}
