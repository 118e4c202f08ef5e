//! A client of the served APIs: a request, a connection, an answer.

use super::{Home, LIMIT, Up};
use serde_json::Value;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

/// A served lab.
pub(crate) struct Served {
    pub(crate) up: Up,
    pub(crate) address: SocketAddr,
}

impl Home {
    /// Serves the lab `default` with the State in `state`, on a free port.
    pub(crate) fn serve(&self, more: &[&str]) -> Served {
        let mut up = self.start(&[&["serve", "--state", "state", "--listen", "127.0.0.1:0"], more].concat());
        up.wait_until_up();
        self.learn();
        let said = up.stdout();
        let address = said.split("http://").nth(1).and_then(|rest| rest.lines().next());
        let address = address.and_then(|address| address.parse().ok());
        Served { up, address: address.unwrap_or_else(|| panic!("no address: {said}")) }
    }
}

impl Served {
    /// Sends a request and expects 200.
    #[track_caller]
    pub(crate) fn good(&self, verb: &str, path: &str, body: Value) -> Value {
        let (status, answer) =
            send(self.address, verb, path, &body).unwrap_or_else(|e| panic!("{verb} {path}: {e}"));
        assert_eq!(status, 200, "{verb} {path}: {answer:#}");
        answer
    }
}

/// Sends a request: the status and the answer.
pub(crate) fn send(address: SocketAddr, verb: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = raw(address, request.as_bytes())?;
    parse(&answer).ok_or_else(|| Error::other(format!("no answer: {answer}")))
}

/// Sends bytes and reads until the server closes.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(bytes)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}
