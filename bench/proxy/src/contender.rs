//! What is compared: tombolo-proxy, its peers, nothing at all, and the floor.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit};
use tempfile::TempDir;

use crate::floor::EventLoop;
use crate::peers;
use crate::point::{Op, Point};
use crate::process::{Process, start_at_free_port};

/// A kind of contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// tombolo-proxy.
    Tombolo,
    /// twemproxy.
    Nutcracker,
    /// haproxy in TCP mode: it looks at no byte.
    Haproxy,
    /// Envoy.
    Envoy,
    /// predixy.
    Predixy,
    /// No proxy.
    Direct,
    /// The null multiplexer of [`crate::floor`]: the yardstick with epoll by hand, and its twins, which are
    /// measured when they are named.
    Floor(EventLoop),
}

impl Kind {
    /// The yardstick.
    pub const FLOOR: Kind = Kind::Floor(EventLoop::Epoll);

    /// All of them; tombolo-proxy is the first.
    pub const ALL: [Kind; 10] = [
        Kind::Tombolo,
        Kind::Nutcracker,
        Kind::Haproxy,
        Kind::Envoy,
        Kind::Predixy,
        Kind::Direct,
        Kind::FLOOR,
        Kind::Floor(EventLoop::Mio),
        Kind::Floor(EventLoop::Tokio),
        Kind::Floor(EventLoop::IoUring),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tombolo => "tombolo",
            Kind::Nutcracker => "nutcracker",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
            Kind::Predixy => "predixy",
            Kind::Direct => "direct",
            Kind::FLOOR => "floor",
            Kind::Floor(EventLoop::Mio) => "floor-mio",
            Kind::Floor(EventLoop::Tokio) => "floor-tokio",
            Kind::Floor(EventLoop::IoUring) => "floor-uring",
        }
    }

    /// A proxy that others wrote.
    pub fn is_peer(self) -> bool {
        self.parses() && self != Kind::Tombolo || self == Kind::Haproxy
    }

    /// Whether it looks at requests, as it must to place keys on several servers.
    pub fn parses(self) -> bool {
        matches!(self, Kind::Tombolo | Kind::Nutcracker | Kind::Envoy | Kind::Predixy)
    }

    /// Whether it is measured only when it is named.
    pub fn is_hidden(self) -> bool {
        matches!(self, Kind::Floor(_)) && self != Kind::FLOOR
    }

    /// Whether a run without it is of no use, so that it must be found.
    fn is_required(self) -> bool {
        !matches!(self, Kind::Envoy | Kind::Predixy)
    }

    /// Descriptors that it needs for a client.
    fn descriptors(self) -> usize {
        if self == Kind::Haproxy { 2 } else { 1 }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Kind> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.with_context(|| format!("'{text}' is none of {}", Kind::ALL.map(Kind::name).join(", ")))
    }
}

/// A kind and the program for it.
#[derive(Debug, Clone)]
pub struct Contender {
    /// The kind.
    pub kind: Kind,
    program: PathBuf,
}

/// A contender with servers of its own, ready for clients.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect.
    pub port: u16,
    /// The proxy, if there is one; it ends before the servers do.
    pub proxy: Option<Process>,
    /// The servers and their ports.
    pub servers: Vec<(Process, u16)>,
    _dir: TempDir,
}

impl Contender {
    /// Finds the program of `kind`; `proxy` is that of tombolo-proxy. `None` when one that may be
    /// missing is.
    pub fn find(kind: Kind, proxy: Option<&Path>) -> anyhow::Result<Option<Contender>> {
        let this = std::env::current_exe().context("the path of this program")?;
        let program = match (kind, proxy) {
            (Kind::Tombolo, Some(path)) => Some(path.canonicalize().unwrap_or(path.to_path_buf())),
            (Kind::Tombolo, None) => Some(this.with_file_name("tombolo-proxy")),
            (Kind::Direct, _) => on_path("redis-server"),
            (Kind::Floor(_), _) => Some(this),
            _ => on_path(kind.name()),
        };
        match program.filter(|path| path.is_file()) {
            Some(program) => Ok(Some(Contender { kind, program })),
            None if !kind.is_required() => Ok(None),
            None if kind == Kind::Tombolo => bail!(
                "tombolo-proxy is not there: build it with 'cargo build --release -p tombolo-proxy', or \
                 say where it is with --proxy"
            ),
            None => bail!("{kind} is not installed, or not on PATH"),
        }
    }

    /// Why `point` can not be measured, if it can not.
    pub fn unable(&self, point: Point) -> Option<String> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        let needed = point.clients * self.kind.descriptors() + 100;
        if needed as u64 > hard {
            return Some(format!("needs {needed} descriptors, and the limit is {hard}"));
        }
        if self.kind == Kind::Direct && point.op == Op::Idle {
            return Some("is no proxy".to_string());
        }
        if let Kind::Floor(event_loop) = self.kind
            && let Some(reason) = event_loop.unavailable()
        {
            return Some(reason);
        }
        (point.servers() > 1 && !self.kind.parses()).then(|| "has one server".to_string())
    }

    /// Starts it, with `servers` redis-servers behind it that nobody else uses.
    pub fn start(&self, servers: usize) -> anyhow::Result<Running> {
        let dir = tempfile::tempdir().context("a temporary directory")?;
        let redis = on_path("redis-server").context("redis-server is not installed, or not on PATH")?;
        let mut running = Vec::new();
        for number in 0..servers {
            let log = dir.path().join(format!("redis-{number}.log"));
            running.push(start_at_free_port("redis-server", |port| {
                Process::start(&redis, &peers::redis_args(port), &log)
            })?);
        }
        let ports: Vec<u16> = running.iter().map(|&(_, port)| port).collect();
        let (port, proxy) = match self.kind {
            Kind::Direct => (ports[0], None),
            kind => {
                let (process, port) = start_at_free_port(kind.name(), |port| {
                    let args = peers::configure(kind, dir.path(), port, &ports)?;
                    Process::start(&self.program, &args, &dir.path().join("proxy.log"))
                })?;
                (port, Some(process))
            }
        };
        Ok(Running { port, proxy, servers: running, _dir: dir })
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Daemons are in places that are not on everybody's PATH.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().ok(), Some(kind));
        }
        let error = "twemproxy".parse::<Kind>().expect_err("no such name");
        assert!(error.to_string().contains("nutcracker"), "{error}");
        let peers: Vec<&str> = Kind::ALL.into_iter().filter(|kind| kind.is_peer()).map(Kind::name).collect();
        assert_eq!(peers, ["nutcracker", "haproxy", "envoy", "predixy"]);
    }
}
