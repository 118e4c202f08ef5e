//! Labs of the binary under test: each in a folder of its own, killed when it is no longer needed.

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tombolo_agent::Agent;
use tombolo_api::State;
use tombolo_server::now;
use tombolo_server::seed;
use tombolo_server::store::Store;

/// The name of every lab, in a folder that nobody else knows.
const NAME: &str = "bench";

/// A command about the lab in a folder.
fn command(tombolo: &Path, folder: &Path, verb: &str) -> Command {
    let mut command = Command::new(tombolo);
    command.args([verb, "--lab", NAME]).env("TOMBOLO_RUNTIME_DIR", folder).stdin(Stdio::null());
    command
}

/// Whether the binary can make VMs lazy.
pub fn knows_lazy_vms(tombolo: &Path) -> Result<bool> {
    let help = Command::new(tombolo).args(["up", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--lazy-vms"))
}

/// A lab from a topology file, in the background.
#[derive(Debug)]
pub struct Up<'t> {
    tombolo: &'t Path,
    folder: TempDir,
    down: bool,
}

impl<'t> Up<'t> {
    /// `tombolo up --detach`, with more arguments, and how long it took.
    pub fn start(tombolo: &'t Path, topology: &str, more: &[&str]) -> Result<(Up<'t>, Duration)> {
        let folder = TempDir::new()?;
        let file = folder.path().join("topology.yaml");
        fs::write(&file, topology)?;
        let lab = Up { tombolo, folder, down: false };
        let started = Instant::now();
        lab.run(command(tombolo, lab.folder.path(), "up").arg(file).arg("--detach").args(more))?;
        Ok((lab, started.elapsed()))
    }

    /// `tombolo down`, and how long it took.
    pub fn down(mut self) -> Result<Duration> {
        let started = Instant::now();
        self.down = true;
        self.run(&mut command(self.tombolo, self.folder.path(), "down"))?;
        Ok(started.elapsed())
    }

    /// The lab's agent.
    pub fn agent(&self) -> Result<Agent> {
        Ok(Agent::connect(&self.folder.path().join(NAME).join("agent.sock"))?)
    }

    /// `tombolo exec`: a program in a VM.
    pub fn exec(&self, vm: &str, words: &[&str]) -> Command {
        let mut command = command(self.tombolo, self.folder.path(), "exec");
        command.arg(vm).arg("--").args(words);
        command
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        let errors = self.folder.path().join("errors");
        let file = OpenOptions::new().create(true).append(true).open(&errors)?;
        let status = command.stdout(Stdio::null()).stderr(file).status();
        if !status.with_context(|| self.tombolo.display().to_string())?.success() {
            bail!("{command:?} failed: {}", fs::read_to_string(errors)?);
        }
        Ok(())
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if !self.down {
            // What went wrong before matters more.
            let _ = self.run(&mut command(self.tombolo, self.folder.path(), "down"));
        }
    }
}

/// `tombolo serve`, with a World from a topology file.
#[derive(Debug)]
pub struct Served {
    /// Where the API answers.
    pub address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Served {
    /// Starts it.
    pub fn start(tombolo: &Path, topology: &str) -> Result<Served> {
        let folder = TempDir::new()?;
        let state = folder.path().join("state");
        let read =
            tombolo_topology::parse("topology.yaml", topology).map_err(|problems| anyhow!("{problems:?}"))?;
        Store::open(&state)?.commit(&State::default(), &seed::state(&read, now())?)?;
        let mut child = command(tombolo, folder.path(), "serve")
            .args(["--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| tombolo.display().to_string())?;
        let stdout = child.stdout.take().context("its output")?;
        let mut served = Served { address: SocketAddr::from(([127, 0, 0, 1], 0)), folder, child };
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(address) = line.split("http://").nth(1).and_then(|address| address.parse().ok()) {
                served.address = address;
            }
            if line.starts_with("up in") {
                return Ok(served);
            }
        }
        bail!("{} serve did not start", tombolo.display())
    }

    /// The lab's agent.
    pub fn agent(&self) -> Result<Agent> {
        Ok(Agent::connect(&self.folder.path().join(NAME).join("agent.sock"))?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself. One that is killed would leave its lab to the next one.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
