//! Processes for tests: redis-server, nutcracker and the proxy itself, on ports of 127.0.0.1 that
//! nobody else uses. Everything is killed when it is dropped, also by a panic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tombolo_resp::{Value, encode};

/// More than any step needs; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process that does not outlive the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.pid()]).status().expect("kill");
        assert!(status.success(), "kill {name} {}", self.pid());
        if name == "-STOP" {
            wait_for("all threads to stop", || self.is_stopped().then_some(()));
        }
    }

    /// Whether no thread runs: each stops when it next looks, which is after `kill` is done.
    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("threads");
        let stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        tasks
            .map_while(Result::ok)
            .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
            .all(stopped)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command whose process is killed also when the test itself is.
pub(crate) fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// A port that was free a moment ago, below those that the kernel gives to outgoing connections.
/// Whoever uses it must be ready to try another: see `retry`.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 1000) as u16 * 12;
    loop {
        let port = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000 + 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Tries with other ports until `start` succeeds.
pub(crate) fn retry<T>(what: &str, mut start: impl FnMut() -> Option<T>) -> T {
    (0..10).find_map(|_| start()).unwrap_or_else(|| panic!("{what} does not start"))
}

/// Waits until `done` answers with something.
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process once it listens at this port; `None` if it ends before.
pub(crate) fn listening(mut process: Process, port: u16) -> Option<Process> {
    let up = wait_for("a port", || match process.0.try_wait().expect("wait") {
        Some(_) => Some(false),
        None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
    });
    up.then_some(process)
}

/// A connection on which nothing hangs for ever.
pub(crate) fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// A real redis-server.
pub(crate) struct Redis {
    pub(crate) port: u16,
    pub(crate) process: Process,
    args: Vec<String>,
    /// Its own, so that a SAVE is not what another one starts with.
    _dir: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::with(&[])
    }

    pub(crate) fn with(args: &[&str]) -> Redis {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        retry("redis-server", || Redis::on(free_port(), &args))
    }

    fn on(port: u16, args: &[String]) -> Option<Redis> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut child = mortal("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(args)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server must be installed");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let process = Process(child);
        let ready =
            lines.lines().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
        ready.then(|| Redis { port, process, args: args.to_vec(), _dir: dir })
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("kill");
        self.process.0.wait().expect("wait");
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        let (port, args) = (self.port, self.args.clone());
        *self = wait_for("redis-server on its old port", || Redis::on(port, &args));
    }
}

/// The proxy, with the configuration it was given.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// The port of its statistics.
    pub(crate) stats: u16,
    dir: tempfile::TempDir,
}

/// Its statistics are on a port that no other has.
pub(crate) fn proxy_command() -> Command {
    let mut command = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
    command.arg(format!("--stats-port={}", free_port()));
    command
}

impl Proxy {
    /// One pool over `servers`, with the further lines `options`, which name the servers when
    /// `servers` is empty.
    pub(crate) fn start(servers: &[u16], options: &[&str]) -> Proxy {
        Proxy::pools(&[(servers, options)]).0
    }

    /// Several pools; also returns the port of each.
    pub(crate) fn pools(pools: &[(&[u16], &[&str])]) -> (Proxy, Vec<u16>) {
        retry("tombolo-proxy", || {
            let ports: Vec<u16> = pools.iter().map(|_| free_port()).collect();
            let mut text = String::new();
            for ((servers, options), port) in pools.iter().zip(&ports) {
                text.push_str(&pool_text(
                    &format!("pool-{port}"),
                    &format!("127.0.0.1:{port}"),
                    servers,
                    options,
                ));
            }
            Proxy::from_text(&text, ports[0], &[]).map(|proxy| (proxy, ports))
        })
    }

    /// One pool `p` over `servers`, run with further arguments.
    pub(crate) fn with_args(servers: &[u16], options: &[&str], args: &[&str]) -> Proxy {
        retry("tombolo-proxy", || {
            let port = free_port();
            Proxy::from_text(&pool_text("p", &format!("127.0.0.1:{port}"), servers, options), port, args)
        })
    }

    fn from_text(text: &str, port: u16, args: &[&str]) -> Option<Proxy> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("nutcracker.yaml");
        std::fs::write(&file, text).expect("a configuration");
        let stats = free_port();
        let child = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"))
            .arg(format!("--stats-port={stats}"))
            .arg("--conf-file")
            .arg(&file)
            .arg("--output")
            .arg(dir.path().join("log"))
            .args(args)
            .spawn()
            .expect("tombolo-proxy");
        listening(Process(child), port).map(|process| Proxy { process, port, stats, dir })
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// The file that it was started with.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("nutcracker.yaml")
    }

    /// Waits until the log has `text`: it is written a moment after what it tells of.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(&format!("the log to say '{text}'"), || self.log().contains(text).then_some(()));
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

pub(crate) fn pool_text(name: &str, listen: &str, servers: &[u16], options: &[&str]) -> String {
    let mut text = format!("{name}:\n  listen: {listen}\n");
    if !options.iter().any(|option| option.starts_with("redis:")) {
        text.push_str("  redis: true\n");
    }
    options.iter().for_each(|option| text.push_str(&format!("  {option}\n")));
    if servers.is_empty() {
        return text;
    }
    text.push_str("  servers:\n");
    servers.iter().for_each(|port| text.push_str(&format!("   - 127.0.0.1:{port}:1\n")));
    text
}

/// Something that bytes go into and come out of.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A client that reads whole replies.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Stream + Send>,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Client {
        Client::over(tcp(port))
    }

    /// A client over a connection that is there.
    pub(crate) fn over(stream: impl Stream + Send + 'static) -> Client {
        Client { stream: Box::new(stream), input: Vec::new() }
    }

    pub(crate) fn unix(path: &PathBuf) -> Client {
        let stream = wait_for("a unix socket", || std::os::unix::net::UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client { stream: Box::new(stream), input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a write");
    }

    /// The bytes of the next reply; `None` when the connection was closed instead.
    pub(crate) fn raw(&mut self) -> Option<Vec<u8>> {
        let mut chunk = [0; 65536];
        loop {
            if let Some((_, length)) = Value::decode(&self.input) {
                return Some(self.input.drain(..length).collect());
            }
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                outcome => match outcome.expect("a reply in time") {
                    0 => return None,
                    count => self.input.extend_from_slice(&chunk[..count]),
                },
            }
        }
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Value {
        let bytes = self.raw().expect("a reply, not the end");
        Value::decode(&bytes).expect("RESP").0
    }

    /// Sends a command in words, and reads its reply.
    pub(crate) fn ask(&mut self, line: &str) -> Value {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask_bytes(&words)
    }

    pub(crate) fn ask_bytes(&mut self, words: &[&[u8]]) -> Value {
        self.send(&request(words));
        self.reply()
    }
}

pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request(&mut out, words);
    out
}

pub(crate) fn simple(text: &str) -> Value {
    Value::Simple(text.to_string())
}

pub(crate) fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

pub(crate) fn error(text: &str) -> Value {
    Value::Error(text.to_string())
}
