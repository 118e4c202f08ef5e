//! Starting an agent, or finding one that runs: how a server or a test gets its [`Agent`].
//!
//! ```text
//! this process ── lease ──────────────┐            the lease's end, however it comes, ends the lab (or, if it is to be
//!   │                                 │            kept, does so unless somebody adopts it in time)
//!   └ `tombolo agent` (stub: waits) ──└─ agent, pid 1 of the lab
//!                                          ├ VM ├ VM …
//! ```

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use tombolo_dataplane::Desired;

use crate::client::Line;
use crate::lease::build;
use crate::message::{Hello, Request, Response};
use crate::proto::{Conn, ProtoError};

/// Why a call to the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent's binary could not be started, or its socket not reached.
    #[error("cannot reach the agent: {0}")]
    Start(io::Error),
    /// The agent started but could not make the lab; the text says what to do about it.
    #[error("{0}")]
    Bootstrap(String),
    /// The connection failed; [`ProtoError::Closed`] when the agent is gone.
    #[error("agent: {0}")]
    Connection(ProtoError),
    /// The agent refused or failed the request.
    #[error("{0}")]
    Refused(String),
    /// The agent answered something else than the request's answer.
    #[error("the agent gave an answer of the wrong kind to {0}")]
    Confused(&'static str),
}

// What an error tells of the one below it is told once: that is no source too.
impl From<ProtoError> for AgentError {
    fn from(error: ProtoError) -> Self {
        Self::Connection(error)
    }
}

impl From<io::Error> for AgentError {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.into())
    }
}

/// How to start an agent.
#[derive(Clone, Debug, Default)]
pub struct SpawnOptions {
    /// Also listen on this socket, in a directory that only this user can enter (made when absent).
    pub listen: Option<PathBuf>,
    /// For how long the lab goes on when whoever holds its lease is killed, for [`Agent::adopt`].
    pub keep: Duration,
    /// Folders of the host that no VM sees. Where sockets are, whoever sees them can connect.
    pub hide: Vec<PathBuf>,
    /// Arguments of the binary before `agent`.
    pub prefix: Vec<OsString>,
}

/// Whether the process at the other end runs as this one's user. A socket's name says nothing of that where others may
/// make files too, as in /tmp.
pub fn is_same_user(stream: &UnixStream) -> bool {
    getsockopt(stream, sockopt::PeerCredentials).is_ok_and(|peer| peer.uid() == geteuid().as_raw())
}

/// A connection to an agent. The one that started it holds its lease: dropping that ends the lab.
#[derive(Debug)]
pub struct Agent {
    pub(crate) line: Mutex<Line>,
    /// What was desired last, by its number.
    pub(crate) told: Mutex<Option<(u64, Desired)>>,
    child: Option<Child>,
    /// Whether the control connection is the lease of a lab that would be kept without it.
    kept: bool,
}

/// How long the lease of a server that was killed may take to close: the agent may be at a request of it.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(10);

impl Agent {
    /// Starts `exe agent` and waits until the lab exists.
    pub fn spawn(exe: &Path, options: &SpawnOptions) -> Result<Self, AgentError> {
        let (ours, theirs) = Conn::pair().map_err(AgentError::Start)?;
        let mut command = Command::new(exe);
        // The lease is the agent's stdin: inherited without a descriptor that is open across exec here.
        command.args(&options.prefix).args(["agent", "--lease-fd", "0"]);
        if let Some(path) = &options.listen {
            command.arg("--listen").arg(std::path::absolute(path).map_err(AgentError::Start)?);
        }
        if !options.keep.is_zero() {
            command.arg("--keep").arg(options.keep.as_millis().to_string());
        }
        for folder in &options.hide {
            command.arg("--hide").arg(std::path::absolute(folder).map_err(AgentError::Start)?);
        }
        command.stdin(Stdio::from(theirs.into_fd())).stdout(Stdio::null());
        let mut child = command.spawn().map_err(AgentError::Start)?;
        // Only the child may hold its end, or its death would go unnoticed.
        drop(command);

        let failure = match ours.recv() {
            Ok((Hello::Ready { .. }, _)) => {
                let mut agent = Self::on(ours);
                (agent.child, agent.kept) = (Some(child), !options.keep.is_zero());
                return Ok(agent);
            }
            Ok((Hello::Failed { message }, _)) => AgentError::Bootstrap(message),
            Err(error) => error.into(),
        };
        drop(ours);
        match (child.wait(), failure) {
            (Ok(status), AgentError::Connection(ProtoError::Closed)) => {
                Err(AgentError::Bootstrap(format!("the agent ended before the lab was ready ({status})")))
            }
            (_, failure) => Err(failure),
        }
    }

    /// Connects to an agent that listens on `path`.
    pub fn connect(path: &Path) -> Result<Self, AgentError> {
        let stream = UnixStream::connect(path).map_err(AgentError::Start)?;
        if !is_same_user(&stream) {
            let why = format!("{} is another user's", path.display());
            return Err(AgentError::Start(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        Ok(Self::on(Conn::new(stream.into())))
    }

    pub(crate) fn on(conn: Conn) -> Self {
        Self { line: Mutex::new(Line::new(conn)), told: Mutex::default(), child: None, kept: false }
    }

    /// Takes over the lab of a server that was killed: its agent listens on `path`. `None` when there is none that this
    /// process can talk to; one of another binary is ended.
    pub fn adopt(path: &Path) -> Result<Option<Self>, AgentError> {
        let Ok(mut agent) = Self::connect(path) else { return Ok(None) };
        let deadline = Instant::now() + ADOPTION_PATIENCE;
        loop {
            match agent.call(&Request::Adopt { build: build() }, &[])?.0 {
                Response::Done => {
                    agent.kept = true;
                    return Ok(Some(agent));
                }
                Response::LeaseIsHeld if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Response::LeaseIsHeld => {
                    return Err(AgentError::Refused("the lab belongs to another server".into()));
                }
                _ => {
                    agent.end();
                    return Ok(None);
                }
            }
        }
    }

    /// Ends the lab, and returns when its agent has ended.
    pub fn end(&self) {
        let conn = &self.line().conn;
        // What is gone already has ended.
        if conn.send(&Request::Shutdown, &[]).is_ok() {
            while conn.recv::<Response>().is_ok() {}
        }
    }

    /// A descriptor that is readable once the agent is gone: it says nothing unasked. Only for polling.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        Ok(self.line().conn.try_clone()?.into_fd())
    }

    /// Pid of the process to wait for, when this agent was started here.
    pub fn child_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.kept {
            self.end();
        }
        let Some(mut child) = self.child.take() else { return };
        // The lease must close before the wait; shutting the socket down does so for every copy of it.
        let conn = &self.line.get_mut().unwrap_or_else(PoisonError::into_inner).conn;
        let _ = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(conn)),
            nix::sys::socket::Shutdown::Both,
        );
        let _ = child.wait();
    }
}
