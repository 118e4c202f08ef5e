//! As much of HTTP/1.1 (RFC 9112) as probes and scrapers need: one GET, one answer, the end of the
//! connection. What is read is bounded in bytes and in time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The longest request line and headers, in bytes.
const MAX_HEAD: usize = 8 << 10;
/// The most header fields.
const MAX_FIELDS: usize = 64;
/// How long a request may take to come: who asks has it ready.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer may take to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// The target of a GET.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    query: String,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

impl Answer {
    /// A line of text.
    pub(super) fn text(status: u16, line: &str) -> Answer {
        Answer { status, kind: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }

    pub(super) fn json(body: String) -> Answer {
        Answer { status: 200, kind: "application/json", body }
    }
}

impl Target {
    fn of(target: &str) -> Target {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Target { path: path.to_string(), query: query.to_string() }
    }

    /// The value of a parameter, as it is written.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Whether the client goes before `time` is over.
pub(super) fn goes_within(mut stream: &TcpStream, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    let mut chunk = [0; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        if stream.set_read_timeout(Some(left)).is_err() {
            return true;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ => return true,
            },
        }
    }
}

/// Writes an answer.
pub(super) fn write(mut stream: &TcpStream, answer: &Answer) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if answer.status == 405 { "Allow: GET\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(answer.body.as_bytes())
}

/// The request that comes; or what is answered to something else. An error when there is nobody to
/// answer.
pub(super) fn read(mut stream: &TcpStream) -> io::Result<Result<Target, Answer>> {
    let deadline = Instant::now() + HEAD_PATIENCE;
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => head.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if let Some(outcome) = parse(&head) {
            return Ok(outcome);
        }
    }
}

/// The request in `head`; `None` when the end of it is still to come.
fn parse(head: &[u8]) -> Option<Result<Target, Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let status = match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => match (request.method, request.path) {
            (Some("GET"), Some(target)) => return Some(Ok(Target::of(target))),
            _ => return Some(Err(Answer::text(405, "only GET is answered"))),
        },
        Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => 431,
        Err(_) => 400,
    };
    Some(Err(Answer::text(status, "this is no request that is understood here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &[u8]) -> Option<u16> {
        parse(head).map(|outcome| outcome.map_or_else(|refusal| refusal.status, |_| 200))
    }

    #[test]
    fn only_a_whole_get_of_some_size_is_answered() {
        let get = b"GET /hotkeys?seconds=3&x=y HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n";
        let target = parse(get).expect("whole").expect("good");
        assert_eq!((target.path.as_str(), target.parameter("seconds")), ("/hotkeys", Some("3")));
        assert_eq!((target.parameter("x"), target.parameter("z")), (Some("y"), None));
        for end in 0..get.len() {
            assert_eq!(status(&get[..end]), None, "{end}");
        }
        assert_eq!(status(b"POST / HTTP/1.1\r\n\r\n"), Some(405));
        assert_eq!(status(b"*1\r\n$4\r\nPING\r\n"), Some(400));
        assert_eq!(status(b"GET / HTTP/1.1\r\nno field\r\n\r\n"), Some(400));
        let long = [b"GET /".as_slice(), &[b'x'; MAX_HEAD]].concat();
        assert_eq!(status(&long), Some(431));
        let many = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(MAX_FIELDS + 1), b"\r\n"].concat();
        assert_eq!(status(&many), Some(431));
    }
}
