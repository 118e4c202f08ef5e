//! The processes of a run. All die with it: each is sent SIGKILL when the thread that started it
//! ends, and when it is dropped. Signals go to nobody else.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tombolo_resp::{Value, encode};

use crate::connection::{Connection, Door};

/// More than a step of the start needs.
const PATIENCE: Duration = Duration::from_secs(20);
/// The name of the proxy's configuration.
const FILE: &str = "nutcracker.yaml";
/// What its log says when a new one is not taken.
const REFUSAL: &str = "the new configuration is not used";

/// A child of this process.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    fn start(program: &Path, args: &[&str], stdout: Stdio) -> Result<Process> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        let child = command.stdin(Stdio::null()).stdout(stdout).spawn();
        child.map(Process).with_context(|| format!("{} can not be started", program.display()))
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.is_alive(), "process {} has ended", self.0.id());
        Ok(kill(Pid::from_raw(self.0.id() as i32), signal)?)
    }

    /// Whether it runs, or is stopped.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// The most resident memory that it has had, in KiB.
    pub fn peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports of a loopback address that is this run's alone, so that nobody takes the port of a server
/// while it is down.
#[derive(Debug)]
pub struct Ports {
    address: Ipv4Addr,
    next: u16,
}

impl Default for Ports {
    fn default() -> Ports {
        let [.., high, low] = std::process::id().to_be_bytes();
        Ports { address: Ipv4Addr::new(127, 77, high, low), next: 21_000 }
    }
}

impl Ports {
    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// One that is free.
    pub fn take(&mut self) -> SocketAddrV4 {
        loop {
            self.next += 1;
            let address = SocketAddrV4::new(self.address, self.next);
            if TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    }
}

/// A redis-server without persistence.
#[derive(Debug)]
pub struct Redis {
    /// Where it listens, also after a restart.
    pub address: SocketAddrV4,
    /// Its process.
    pub process: Process,
    options: Vec<String>,
}

impl Redis {
    /// Starts one and waits until it accepts connections.
    pub fn start(address: SocketAddrV4, options: Vec<String>) -> Result<Redis> {
        Ok(Redis { address, process: Redis::launch(address, &options)?, options })
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Redis::launch(self.address, &self.options)?;
        Ok(())
    }

    fn launch(address: SocketAddrV4, options: &[String]) -> Result<Process> {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let mut args = vec![
            "--bind",
            &ip,
            "--port",
            &port,
            "--protected-mode",
            "no",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        args.extend(options.iter().map(String::as_str));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut process = Process::start(Path::new("redis-server"), &args, Stdio::piped())?;
            let stdout = process.0.stdout.take().context("no output of redis-server")?;
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let mut said = String::new();
            if lines.any(|line| {
                said.push_str(&line);
                said.push('\n');
                line.contains("Ready to accept connections")
            }) {
                // It says nothing more, but must be able to.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(process);
            }
            ensure!(Instant::now() < deadline, "redis-server does not start on {address}:\n{said}");
        }
    }
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    process: Mutex<Process>,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts it with more options, with statistics at `stats`, and waits until it accepts
    /// connections at `address`.
    pub fn start(
        program: &Path,
        options: &[String],
        config: &str,
        address: SocketAddrV4,
        stats: SocketAddrV4,
    ) -> Result<Proxy> {
        let folder = tempfile::tempdir()?;
        let (file, output) = (folder.path().join(FILE), folder.path().join("log"));
        std::fs::write(&file, config)?;
        let text = |path: &Path| path.display().to_string();
        let (ip, port) = (stats.ip().to_string(), stats.port().to_string());
        let (file, output) = (text(&file), text(&output));
        let mut args =
            vec!["--conf-file", &file, "--output", &output, "--stats-addr", &ip, "--stats-port", &port];
        args.extend(options.iter().map(String::as_str));
        let mut process = Process::start(program, &args, Stdio::inherit())?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let said = std::fs::read_to_string(&output).unwrap_or_default();
            ensure!(process.is_alive(), "{} ends at once:\n{said}", program.display());
            ensure!(Instant::now() < deadline, "{} does not listen on {address}", program.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Proxy { process: Mutex::new(process), folder })
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        self.process().is_alive()
    }

    /// The most resident memory that it has had, in KiB.
    pub fn peak(&self) -> Option<u64> {
        self.process().peak()
    }

    /// Its configuration.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    /// Sends SIGHUP; `false` when it has ended.
    pub fn tell(&self) -> bool {
        self.process().signal(Signal::SIGHUP).is_ok()
    }

    /// How often its log says that a new configuration was not taken.
    pub fn refusals(&self) -> usize {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().filter(|line| line.contains(REFUSAL)).count()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A request in words.
pub fn words(words: &[&str]) -> Vec<u8> {
    let mut request = Vec::new();
    encode::request(&mut request, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    request
}

/// Asks one thing on a connection of its own.
pub fn ask(door: &Door, request: &[&str]) -> Result<Value> {
    let mut connection = Connection::open(door)?;
    connection.send(&words(request))?;
    connection.reply().with_context(|| format!("instead of an answer to {request:?}"))
}

/// Asks a server, in words that spaces are between.
pub fn ask_server(address: SocketAddrV4, line: &str) -> Result<Value> {
    ask(&Door { address, tls: None }, &line.split(' ').collect::<Vec<_>>())
}
