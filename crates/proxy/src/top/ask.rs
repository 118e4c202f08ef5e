//! Asking a proxy over HTTP.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::exposition::{self, Sample};
use super::report::{Keys, SlowLog};

/// How long a connection, or an answer that is not to wait for anything, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: that of some ten thousand servers.
const MAX_ANSWER: u64 = 64 << 20;

/// Where a proxy is asked.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    /// Host and port.
    pub(super) address: String,
}

impl Proxy {
    pub(super) fn metrics(&self) -> Result<Vec<Sample>, String> {
        match self.get("/metrics", Duration::ZERO)? {
            (200, body) => exposition::parse(&body).map_err(|error| self.strange(&error)),
            (status, body) => Err(self.strange(&format!("status {status}: {}", body.trim_end()))),
        }
    }

    /// The keys that are asked for most, after so many seconds. `None` when somebody else looks at
    /// keys now.
    pub(super) fn keys(&self, seconds: u64) -> Result<Option<Keys>, String> {
        match self.get(&format!("/hotkeys?seconds={seconds}"), Duration::from_secs(seconds))? {
            (200, body) => {
                serde_json::from_str(&body).map(Some).map_err(|error| self.strange(&error.to_string()))
            }
            (409, _) => Ok(None),
            (status, body) => Err(self.strange(&format!("status {status}: {}", body.trim_end()))),
        }
    }

    /// The slow requests of pools that have a slow log. `None` when the proxy is too old to tell.
    pub(super) fn slow(&self) -> Result<Option<SlowLog>, String> {
        match self.get("/slowlog", Duration::ZERO)? {
            (200, body) => {
                serde_json::from_str(&body).map(Some).map_err(|error| self.strange(&error.to_string()))
            }
            (404, _) => Ok(None),
            (status, body) => Err(self.strange(&format!("status {status}: {}", body.trim_end()))),
        }
    }

    fn strange(&self, what: &str) -> String {
        format!("{}: {what}; is that the --metrics of a tombolo-proxy?", self.address)
    }

    /// The status and the body of what is answered after `wait` at the earliest.
    fn get(&self, target: &str, wait: Duration) -> Result<(u16, String), String> {
        self.exchange(target, wait).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.strange("this is no answer in HTTP"),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{}: no answer within {} s", self.address, (PATIENCE + wait).as_secs())
            }
            _ => format!("{}: {error}; is a tombolo-proxy with --metrics there?", self.address),
        })
    }

    fn exchange(&self, target: &str, wait: Duration) -> io::Result<(u16, String)> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return exchange(stream, &self.address, target, wait),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn exchange(mut stream: TcpStream, host: &str, target: &str, wait: Duration) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE + wait))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    match (head.parse(&answer), head.code) {
        (Ok(httparse::Status::Complete(length)), Some(status)) => {
            Ok((status, String::from_utf8_lossy(&answer[length..]).into_owned()))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
