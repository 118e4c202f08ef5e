//! The servers: each in a folder of its own, killed when it is no longer needed.

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tombolo_agent::Agent;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is measured.
#[derive(Clone, Debug)]
pub enum Contender {
    /// A binary of tombolo.
    Tombolo {
        /// What it is called in the results.
        name: String,
        /// The binary.
        path: PathBuf,
    },
    /// cloudemu, an emulator that has no packets.
    Cloudemu(PathBuf),
}

impl Contender {
    /// What it is called in the results.
    pub fn name(&self) -> &str {
        match self {
            Contender::Tombolo { name, .. } => name,
            Contender::Cloudemu(_) => "cloudemu",
        }
    }

    /// Starts one.
    pub fn start(&self) -> Result<Server> {
        let folder = TempDir::new()?;
        match self {
            Contender::Tombolo { path, .. } => tombolo(path, folder),
            Contender::Cloudemu(path) => cloudemu(path, folder),
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where it answers.
    pub address: SocketAddr,
    /// What it runs in; kept until it has ended.
    folder: TempDir,
    child: Child,
}

impl Server {
    /// The lab's agent.
    pub fn agent(&self) -> Result<Agent> {
        Ok(Agent::connect(&self.folder.path().join("bench/agent.sock"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself. One that is killed would leave its lab to the next one.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A free port of loopback, as long as nobody takes it.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn tombolo(path: &Path, folder: TempDir) -> Result<Server> {
    let state = folder.path().join("state");
    let mut child = Command::new(path)
        .args(["serve", "--lab", "bench", "--listen", "127.0.0.1:0", "--state"])
        .arg(state)
        .env("TOMBOLO_RUNTIME_DIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| path.display().to_string())?;
    let stdout = child.stdout.take().context("its output")?;
    let mut server = Server { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), folder, child };
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(address) = line.split("http://").nth(1).and_then(|address| address.parse().ok()) {
            server.address = address;
        }
        if line.starts_with("up in") {
            return Ok(server);
        }
    }
    bail!("{} serve did not start", path.display())
}

fn cloudemu(path: &Path, folder: TempDir) -> Result<Server> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let log = File::create(folder.path().join("log"))?;
    let child = Command::new(path)
        .args(["serve", "--providers", "gcp", "--k8s-port", "", "--quiet", "--gcp-port"])
        .arg(address.port().to_string())
        .env("HOME", folder.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| path.display().to_string())?;
    let server = Server { address, folder, child };
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        if started.elapsed() > PATIENCE {
            return Err(anyhow!("{} did not start", path.display()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// What an answer must have for the benchmark to go on.
pub fn expect(answer: &Value, pointer: &str, wanted: &Value) -> Result<()> {
    match answer.pointer(pointer) {
        Some(found) if found == wanted => Ok(()),
        found => Err(anyhow!("{pointer} is {found:?} and not {wanted}: {answer}")),
    }
}
