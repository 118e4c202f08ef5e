//! The processes of a run. All die with it: each is sent SIGKILL when the thread that started it
//! ends, and when it is dropped. Signals go to nobody else.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tombolo_resp::{Value, encode};

/// More than a step of the start needs.
const PATIENCE: Duration = Duration::from_secs(20);

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

    /// Its resident memory in KiB.
    pub fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
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
}

impl Redis {
    /// Starts one and waits until it accepts connections.
    pub fn start(address: SocketAddrV4) -> Result<Redis> {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let args =
            ["--bind", &ip, "--port", &port, "--protected-mode", "no", "--save", "", "--appendonly", "no"];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut process = Process::start(Path::new("redis-server"), &args, Stdio::piped())?;
            let stdout = process.0.stdout.take().context("no output of redis-server")?;
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            if lines.any(|line| line.contains("Ready to accept connections")) {
                // It says nothing more, but must be able to.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Redis { address, process });
            }
            ensure!(Instant::now() < deadline, "redis-server does not start on {address}");
        }
    }
}

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Its process.
    pub process: Process,
    log: tempfile::TempDir,
}

impl Proxy {
    /// Starts it, with statistics at `stats`, and waits until it accepts connections at `address`.
    pub fn start(program: &Path, config: &str, address: SocketAddrV4, stats: SocketAddrV4) -> Result<Proxy> {
        let log = tempfile::tempdir()?;
        let (file, output) = (log.path().join("nutcracker.yaml"), log.path().join("log"));
        File::create(&file)?.write_all(config.as_bytes())?;
        let text = |path: &Path| path.display().to_string();
        let (ip, port) = (stats.ip().to_string(), stats.port().to_string());
        let (file, output) = (text(&file), text(&output));
        let args = ["--conf-file", &file, "--output", &output, "--stats-addr", &ip, "--stats-port", &port];
        let mut process = Process::start(program, &args, Stdio::inherit())?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            ensure!(process.is_alive(), "{} ends at once", program.display());
            ensure!(Instant::now() < deadline, "{} does not listen on {address}", program.display());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Proxy { process, log })
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Asks one thing on a connection of its own.
pub fn ask(address: SocketAddrV4, words: &[&str]) -> Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    encode::request(&mut request, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    stream.write_all(&request)?;
    let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((value, _)) = Value::decode(&input) {
            return Ok(value);
        }
        match stream.read(&mut chunk)? {
            0 => bail!("closed instead of an answer to {words:?}"),
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}
