//! memcached itself, clients that read bytes, and nutcracker beside the proxy.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;

use tombolo_memcache::ReplyScanner;

use crate::common::{Process, free_port, listening, mortal, pool_text, retry, tcp, wait_for};

/// A real memcached.
pub(crate) struct Memcached {
    pub(crate) port: u16,
    pub(crate) process: Process,
}

impl Memcached {
    pub(crate) fn start() -> Memcached {
        retry("memcached", || Memcached::on(free_port()))
    }

    fn on(port: u16) -> Option<Memcached> {
        let child = mortal("memcached")
            // An account that every machine has; ordinary users stay who they are.
            .args([
                "-u",
                "root",
                "-l",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-U",
                "0",
                "-m",
                "64",
                "-t",
                "1",
            ])
            .stderr(Stdio::null())
            .spawn()
            .expect("memcached must be installed: cargo xtask installs what tests need");
        listening(Process(child), port).map(|process| Memcached { port, process })
    }

    pub(crate) fn kill(&mut self) {
        self.process.0.kill().expect("kill");
        self.process.0.wait().expect("wait");
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        let port = self.port;
        *self = wait_for("memcached on its old port", || Memcached::on(port));
    }
}

/// Debian's nutcracker over one pool of these servers.
pub(crate) struct Nutcracker {
    pub(crate) port: u16,
    _process: Process,
    _dir: tempfile::TempDir,
}

impl Nutcracker {
    pub(crate) fn start(options: &[&str]) -> Nutcracker {
        retry("nutcracker", || {
            let (dir, port) = (tempfile::tempdir().expect("a temporary directory"), free_port());
            let file = dir.path().join("nutcracker.yml");
            std::fs::write(&file, pool_text("p", &format!("127.0.0.1:{port}"), &[], options))
                .expect("a file");
            let child = mortal("nutcracker")
                .arg("-c")
                .arg(&file)
                .args(["-a", "127.0.0.1", "-s", &free_port().to_string()])
                .stderr(Stdio::null())
                .spawn()
                .expect("nutcracker must be installed: cargo xtask installs what tests need");
            listening(Process(child), port).map(|process| Nutcracker { port, _process: process, _dir: dir })
        })
    }
}

/// Sends `bytes`, says that there is no more, and returns everything that comes back.
pub(crate) fn exchange(port: u16, bytes: &[u8]) -> String {
    let mut stream = tcp(port);
    stream.write_all(bytes).expect("a write");
    stream.shutdown(Shutdown::Write).expect("the end");
    let mut out = Vec::new();
    // A peer that closes before it has read everything resets the connection.
    let _ = stream.read_to_end(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// A client that reads whole replies.
pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Client {
        Client { stream: tcp(port), input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("a write");
    }

    /// The next reply; `None` when the connection was closed instead.
    pub(crate) fn next(&mut self) -> Option<String> {
        let (mut scanner, mut chunk) = (ReplyScanner::default(), [0; 65536]);
        loop {
            if let Some(length) = scanner.advance(&self.input).expect("a reply") {
                let reply: Vec<u8> = self.input.drain(..length).collect();
                return Some(String::from_utf8(reply).expect("text"));
            }
            match self.stream.read(&mut chunk).expect("a reply in time") {
                0 => return None,
                count => self.input.extend_from_slice(&chunk[..count]),
            }
        }
    }

    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.send(text.as_bytes());
        self.next().expect("a reply, not the end")
    }
}
