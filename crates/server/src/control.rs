//! The server's socket: how a CLI process learns the World of a lab that keeps running, and ends it.

use crate::flow_log::Logged;
use crate::lab::LabError;
use crate::paths::{LabDir, LabLock};
use crate::ssh::Login;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use serde::{Deserialize, Serialize};
use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;
use tombolo_agent::{Conn, ProtoError, is_same_user};
use tombolo_dataplane::{Fault, Faults, Place};
use tombolo_model::World;

/// How often servers inside the lab are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How long a client may take to say what it wants.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// A request to the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Tell that the lab is up: no answer comes before it is.
    Ping,
    /// Tell the World.
    World,
    /// Tell where the API is.
    Api,
    /// Let a key in to an instance.
    Login(Login),
    /// Tell the faults, once this is done.
    Faults(FaultEdit),
    /// Tell the flows that were logged, from this number on.
    Flows(u64),
    /// End the lab.
    Shutdown,
}

/// What to do about faults.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FaultEdit {
    /// Nothing.
    Keep,
    /// Put one in its place, or take away what is there.
    Set(Place, Option<Fault>),
    /// Take all away.
    Clear,
}

/// The server's answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Ping`].
    Pong {
        /// The server's process.
        pid: u32,
    },
    /// To [`Request::World`].
    World(Box<World>),
    /// To [`Request::Api`]: where it is.
    Api(ApiAddress),
    /// To [`Request::Login`].
    Login {
        /// The instance's public host key, as `known_hosts` has it.
        host_key: String,
    },
    /// To [`Request::Faults`]: all that there are now.
    Faults(Vec<(Place, Fault)>),
    /// To [`Request::Flows`].
    Flows(Logged),
    /// It could not be done.
    Failed {
        /// Why.
        message: String,
    },
    /// To [`Request::Shutdown`]: the lab is about to end; the connection closes when it has.
    Ending,
}

/// Where Google's APIs are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiAddress {
    /// The address.
    pub address: SocketAddr,
    /// The folder of what outlives the server.
    pub state: PathBuf,
    /// Whether clients need the token.
    pub token: bool,
}

impl ApiAddress {
    /// The address as clients on this machine write it.
    pub fn url(&self) -> String {
        let mut address = self.address;
        // A server on every address is on loopback too.
        match address.ip() {
            ip if !ip.is_unspecified() => {}
            IpAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
        format!("http://{address}")
    }

    /// The file with the token.
    pub fn token_file(&self) -> PathBuf {
        self.state.join("token")
    }
}

/// What [`Control::serve`] tells of.
pub trait Served {
    /// The World as it is.
    fn world(&self) -> World;
    /// A descriptor that becomes readable when the agent is gone.
    fn watch(&self) -> Result<OwnedFd>;
    /// Looks after servers inside the lab; called about every second.
    fn tick(&self) -> std::result::Result<(), LabError>;
    /// Lets a key in to an instance, and returns the instance's host key.
    fn login(&self, login: Login) -> std::result::Result<String, LabError>;
    /// Does something about faults, and returns those that there are then.
    fn faults(&self, edit: FaultEdit) -> std::result::Result<Faults, LabError>;
    /// The flows that were logged, from this number on.
    fn flows(&self, since: u64) -> std::result::Result<Logged, LabError>;
}

/// Why a server ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to.
    Asked,
    /// The agent is gone, and so is the lab.
    AgentGone,
}

/// A bound socket that nobody is served on yet.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    signals: SignalFd,
    lock: LabLock,
}

impl Control {
    /// Becomes the lab's server; refused when there is one. From now on SIGINT and SIGTERM end [`Control::serve`]
    /// instead of the process.
    pub fn bind(dir: &LabDir) -> Result<Self> {
        // While there is one thread.
        tombolo_agent::make_room();
        let taken = || {
            std::io::Error::other(
                "the lab is up already; `tombolo down` ends it, and --lab NAME makes another one beside it",
            )
        };
        let lock = dir.lock()?.ok_or_else(taken)?;
        // Left by a server that was killed.
        let _ = std::fs::remove_file(dir.control());
        let listener = UnixListener::bind(dir.control())?;
        let mut mask = SigSet::empty();
        [Signal::SIGINT, Signal::SIGTERM].into_iter().for_each(|signal| mask.add(signal));
        mask.thread_block()?;
        Ok(Self { listener, signals: SignalFd::new(&mask)?, lock })
    }

    /// Serves until a signal, a request or the agent's end.
    pub fn serve(&self, lab: &impl Served, api: &ApiAddress) -> Result<Ended> {
        let watch = lab.watch()?;
        loop {
            let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::NONE);
            let fds = [self.listener.as_fd(), self.signals.as_fd(), watch.as_fd()];
            let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // A signal that interrupts is also readable; any other error shows as nothing ready.
            let _ = poll(&mut fds, timeout);
            let [client, signal, agent] = fds.map(|fd| fd.any().unwrap_or(false));
            if signal {
                return Ok(Ended::Asked);
            }
            if agent {
                return Ok(Ended::AgentGone);
            }
            if client
                && self
                    .listener
                    .accept()
                    .is_ok_and(|(stream, _)| answer(stream, lab, api).is_some_and(|end| end))
            {
                return Ok(Ended::Asked);
            }
            if let Err(error) = lab.tick() {
                eprintln!("tombolo: {error}");
            }
        }
    }

    /// Goes into a session of its own, so that no terminal's signals reach this process any more.
    pub fn leave_terminal(&self) -> Result<()> {
        nix::unistd::setsid()?;
        Ok(())
    }

    /// Lets go of the lab's folder, which goes.
    pub fn close(self) {
        self.lock.remove();
    }
}

/// Answers one request; whether the lab is to end, `None` if the client made no sense.
fn answer(stream: UnixStream, lab: &impl Served, api: &ApiAddress) -> Option<bool> {
    let conn = Conn::new(stream.into());
    conn.set_timeouts(CLIENT_PATIENCE).ok()?;
    match conn.recv::<Request>().ok()?.0 {
        Request::Ping => {
            conn.send(&Response::Pong { pid: std::process::id() }, &[]).ok()?;
            Some(false)
        }
        Request::World => {
            conn.send(&Response::World(Box::new(lab.world())), &[]).ok()?;
            Some(false)
        }
        Request::Api => {
            conn.send(&Response::Api(api.clone()), &[]).ok()?;
            Some(false)
        }
        Request::Login(login) => {
            let response = match lab.login(login) {
                Ok(host_key) => Response::Login { host_key },
                Err(error) => Response::Failed { message: error.to_string() },
            };
            conn.send(&response, &[]).ok()?;
            Some(false)
        }
        Request::Faults(edit) => {
            let response = match lab.faults(edit) {
                Ok(faults) => Response::Faults(faults.into_iter().collect()),
                Err(error) => Response::Failed { message: error.to_string() },
            };
            conn.send(&response, &[]).ok()?;
            Some(false)
        }
        Request::Flows(since) => {
            let response = match lab.flows(since) {
                Ok(logged) => Response::Flows(logged),
                Err(error) => Response::Failed { message: error.to_string() },
            };
            conn.send(&response, &[]).ok()?;
            Some(false)
        }
        Request::Shutdown => {
            conn.send(&Response::Ending, &[]).ok()?;
            Some(true)
        }
    }
}

/// Asks a server; `None` when none answers. One whose answer is none has failed: it is of another version. What somebody
/// else has put in its place, where everybody may, is not asked.
pub fn ask(dir: &LabDir, request: Request) -> Option<Response> {
    let stream = UnixStream::connect(dir.control()).ok()?;
    if !is_same_user(&stream) {
        let message = format!("{} is another user's", dir.control().display());
        return Some(Response::Failed { message });
    }
    let conn = Conn::new(stream.into());
    conn.send(&request, &[]).ok()?;
    match conn.recv::<Response>() {
        Ok((response, _)) => Some(response),
        Err(ProtoError::Decode(error)) => {
            let message = format!("the lab that is up is of another version of tombolo: {error}");
            Some(Response::Failed { message })
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_told_from_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let dir = LabDir { path: folder.path().to_owned() };
        assert!(ask(&dir, Request::World).is_none());
        let listener = UnixListener::bind(dir.control()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let conn = Conn::new(listener.accept().unwrap().0.into());
                conn.recv::<Request>().unwrap();
                conn.send(&"of old", &[]).unwrap();
            });
            let answer = ask(&dir, Request::World);
            assert!(
                matches!(answer, Some(Response::Failed { message }) if message.contains("another version"))
            );
        });
    }
}
