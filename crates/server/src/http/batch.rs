//! Several requests in one, as `multipart/mixed`: how gcloud asks for more than one thing.
//!
//! ```text
//!   --B                                   --B
//!   Content-Type: application/http        Content-Type: application/http
//!   Content-ID: <abc + 1>                 Content-ID: <response-abc + 1>
//!
//!   GET /compute/v1/projects/p?… HTTP/1.1 HTTP/1.1 200 OK
//!                                         Content-Type: application/json; charset=UTF-8
//!                                         …
//!   --B--                                 --B--
//! ```
//!
//! Source: "Batching requests" in Compute's documentation. The parts are answered one after the other.

use super::{Door, Response, exchange};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use tombolo_api::Failure;

/// The most parts that one may have. Source: Compute's documentation has 1000.
const MOST: usize = 1000;
/// What separates our parts; no JSON that we print has a line that begins so.
const BOUNDARY: &str = "batch_tombolo";

/// The boundary of a batch, if a request is one.
pub(super) fn wanted(verb: &str, target: &str, headers: &HeaderMap) -> Option<String> {
    let path = target.split('?').next().unwrap_or_default();
    let is_batch = verb == "POST" && (path == "/batch" || path.starts_with("/batch/"));
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok().filter(|_| is_batch)?;
    let mut parameters = kind.split(';').map(str::trim);
    if !parameters.next()?.eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let boundary = parameters.find_map(|parameter| parameter.strip_prefix("boundary="))?;
    Some(boundary.trim_matches('"').to_owned()).filter(|boundary| !boundary.is_empty())
}

/// A request in a batch.
#[derive(Debug, PartialEq)]
struct Part<'b> {
    id: Option<&'b str>,
    verb: &'b str,
    target: &'b str,
    body: &'b str,
}

/// Answers a batch.
pub(super) async fn exchange(door: &Door, host: &str, boundary: &str, body: &[u8]) -> Response {
    let parts = match parse(body, boundary) {
        Ok(parts) => parts,
        Err(failure) => {
            return exchange::bytes(
                StatusCode::BAD_REQUEST,
                "application/json; charset=UTF-8",
                exchange::pretty(&failure.body(None)),
            );
        }
    };
    let mut all = Vec::new();
    for Part { id, verb, target, body } in parts {
        let (status, value) = exchange::answer(door, host, verb, target, body.as_bytes()).await;
        let value = exchange::pretty(&value);
        let mut head = format!("--{BOUNDARY}\r\nContent-Type: application/http\r\n");
        if let Some(id) = id {
            head += &format!("Content-ID: <response-{id}>\r\n");
        }
        head += &format!("\r\nHTTP/1.1 {status}\r\nContent-Type: application/json; charset=UTF-8\r\n");
        head += &format!("Content-Length: {}\r\n\r\n", value.len());
        all.extend_from_slice(head.as_bytes());
        all.extend_from_slice(&value);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    exchange::bytes(StatusCode::OK, &format!("multipart/mixed; boundary={BOUNDARY}"), all)
}

fn parse<'b>(body: &'b [u8], boundary: &str) -> Result<Vec<Part<'b>>, Failure> {
    let wrong = |what: &str| Failure::bad_request(format!("Failed to parse batch request: {what}."));
    let text = std::str::from_utf8(body).map_err(|_| wrong("it is not UTF-8"))?;
    let mark = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut ended = false;
    // The first piece is what comes before the first boundary.
    for piece in text.split(mark.as_str()).skip(1) {
        if piece.starts_with("--") {
            ended = true;
            break;
        }
        if parts.len() == MOST {
            return Err(wrong(&format!("it has more than {MOST} parts")));
        }
        parts.push(part(piece).ok_or_else(|| wrong("a part is no HTTP request"))?);
    }
    if ended && !parts.is_empty() { Ok(parts) } else { Err(wrong("it has no parts, or no end")) }
}

fn part(piece: &str) -> Option<Part<'_>> {
    let (head, inner) = halves(piece.trim_start_matches(['\r', '\n']))?;
    let header = |line: &'_ str| {
        line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-id")).is_some()
    };
    let id = head.lines().find(|line| header(line)).and_then(|line| line.split_once(':'));
    let id = id.map(|(_, id)| id.trim().trim_start_matches('<').trim_end_matches('>'));
    let inner = inner.trim_start();
    let (head, body) = halves(inner).unwrap_or((inner, ""));
    let mut words = head.lines().next()?.split(' ');
    let (verb, target) = (words.next()?, words.next()?);
    // The target may have a scheme and a host: those of the batch.
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
        None => target,
    };
    Some(Part { id, verb, target, body: body.trim() })
}

/// What comes before and after the first empty line.
fn halves(text: &str) -> Option<(&str, &str)> {
    let with = |end: &str| text.find(end).map(|at| (at, at + end.len()));
    let (end, start) = match (with("\r\n\r\n"), with("\n\n")) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b)?,
    };
    Some((text.get(..end)?, text.get(start..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_requests() {
        let body = "preamble\n--B\nContent-Type: application/http\nContent-ID: <x + 1>\n\n\
                    GET /compute/v1/projects/p?alt=json HTTP/1.1\nHost: h\n\n\n\
                    --B\r\nContent-Type: application/http\r\n\r\n\
                    POST http://127.0.0.1:1/compute/v1/x HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"a\": 1}\r\n--B--";
        let parts = parse(body.as_bytes(), "B").expect("parts");
        let part = |id, verb, target, body| Part { id, verb, target, body };
        assert_eq!(
            parts,
            [
                part(Some("x + 1"), "GET", "/compute/v1/projects/p?alt=json", ""),
                part(None, "POST", "/compute/v1/x", "{\"a\": 1}"),
            ]
        );
        for bad in [
            "",
            "--B",
            "--B--",
            "--B\n\n--B--",
            "--B\na: b\n\nGET\n\n--B--",
            "--B\na: b\n\nGET /x HTTP/1.1\n\n",
        ] {
            assert!(parse(bad.as_bytes(), "B").is_err(), "{bad:?}");
        }
        assert!(parse(b"\xff", "B").is_err());
    }

    #[test]
    fn a_batch_is_known_by_its_path_and_type() {
        let mut headers = HeaderMap::new();
        assert_eq!(wanted("POST", "/batch/compute/v1", &headers), None);
        headers.insert(CONTENT_TYPE, "multipart/mixed; boundary=\"===1==\"".parse().expect("a value"));
        assert_eq!(wanted("POST", "/batch/compute/v1?x", &headers).as_deref(), Some("===1=="));
        assert_eq!(wanted("GET", "/batch/compute/v1", &headers), None);
        assert_eq!(wanted("POST", "/compute/v1/batch", &headers), None);
    }
}
