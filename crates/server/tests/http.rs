//! The HTTP server against clients that mean no good, or do it badly; no lab is needed for that.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tombolo_api::{Failure, Outcome, Request, State, answer};
use tombolo_model::{Change, Timestamp};
use tombolo_server::http::{Answering, Guard, Limits, Server, Service};

/// Only to end a test that would hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Reads from a State that never changes.
struct Still(State);

impl Service for Still {
    fn answer(self: Arc<Self>, request: Request) -> Answering {
        Box::pin(async move {
            match answer(&self.0, &request, Timestamp(1))? {
                Outcome::Reply(reply) => Ok(reply),
                _ => Err(Failure::backend_error("nothing changes here")),
            }
        })
    }
}

fn start(limits: Limits) -> Server {
    let mut state = State::default();
    let enable =
        Change::ServiceEnable { project: "project-1".into(), service: "compute.googleapis.com".into() };
    for change in [Change::ProjectCreate("project-1".into()), enable] {
        state.world = state.world.apply(&change, Timestamp(1)).expect("a good change");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    Server::start(listener, Arc::new(Still(state)), Guard::Local, limits).expect("a server")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream
}

/// What comes until the server closes. What it has not read when it does can be lost with a reset.
fn rest(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends bytes; what comes until the server closes.
fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes);
    rest(&stream)
}

fn get(address: SocketAddr, target: &str) -> (u16, Value) {
    exchange(address, &format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

fn exchange(address: SocketAddr, request: &str) -> (u16, Value) {
    let answer = send(address, request.as_bytes());
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request}: {answer}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (
        status.expect("a status"),
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")),
    )
}

/// That others are served as ever.
#[track_caller]
fn assert_serves(address: SocketAddr) {
    let (status, answer) = get(address, "/compute/v1/projects/project-1?fields=name");
    assert_eq!((status, answer), (200, json!({ "name": "project-1" })));
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let server = start(Limits::default());
    let address = server.address();
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let mut noise = Vec::new();
    let mut seed = 1u32;
    for _ in 0..10_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((seed >> 24) as u8);
    }
    // A TLS client's first bytes, HTTP/2's with no frame after them, and what is no HTTP at all.
    let garbage: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand so on\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in garbage.into_iter().chain([noise.as_slice()]) {
        let said = send(address, bytes);
        assert!(!said.starts_with("HTTP/1.1 2"), "{said}");
        assert_serves(address);
    }
    server.stop();
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn what_is_no_request_of_googles_is_an_error_with_a_body() {
    let server = start(Limits::default());
    let address = server.address();
    let networks = "/compute/v1/projects/project-1/global/networks";
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST {networks} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let deep = "[".repeat(1_000_000);
    for (request, code) in [
        (format!("GET {networks} HTTP/1.0\r\nHost: evil.example\r\n\r\n"), 403),
        (format!("GET {networks} HTTP/1.0\r\nHost: localhost\r\nOrigin: http://page\r\n\r\n"), 403),
        (format!("BREW {networks} HTTP/1.0\r\n\r\n"), 405),
        ("GET /%ff%00/%2e%2e HTTP/1.0\r\n\r\n".to_owned(), 404),
        (format!("GET {networks}?fields=a( HTTP/1.0\r\n\r\n"), 400),
        (format!("GET {networks}?fields=items(name,xyz) HTTP/1.0\r\n\r\n"), 400),
        (format!("GET {networks}?nonsense=%zz HTTP/1.0\r\n\r\n"), 400),
        (post("{"), 400),
        (post("{\"name\": 1e999}"), 400),
        (post(&deep), 400),
        (post("\u{0}"), 400),
    ] {
        let (status, body) = exchange(address, &request);
        let start: String = request.chars().take(200).collect();
        assert_eq!((status, &body["error"]["code"]), (code, &json!(code)), "{start}: {body:#}");
        assert_serves(address);
    }
    server.stop();
}

#[test]
fn bodies_have_a_size() {
    let server = start(Limits { body: 1000, ..Limits::default() });
    let address = server.address();
    let target = "/compute/v1/projects/project-1/global/networks";
    let head = format!("POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let padded = |size: usize| format!("{}{{}}", " ".repeat(size - 2));
    let sized =
        |size: usize| exchange(address, &format!("{head}Content-Length: {size}\r\n\r\n{}", padded(size)));
    assert_eq!(sized(1000).0, 400, "it is read: there is no name in it");
    assert_eq!(sized(1001).0, 413);
    let chunked = |size: usize| {
        exchange(
            address,
            &format!("{head}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n", padded(size)),
        )
    };
    assert_eq!(chunked(1000).0, 400);
    assert_eq!(chunked(1001).0, 413);
    // Refused without waiting for what was announced.
    let stream = connect(address);
    (&stream).write_all(format!("{head}Content-Length: 100000000000\r\n\r\n").as_bytes()).expect("sent");
    assert!(rest(&stream).starts_with("HTTP/1.1 413 "));
    server.stop();
}

#[test]
fn slow_clients_are_given_up_and_hold_nobody_up() {
    let soon = Duration::from_millis(200);
    let server = start(Limits { head_time: soon, body_time: soon, connections: 4, ..Limits::default() });
    let address = server.address();
    let target = "/compute/v1/projects/project-1/global/networks";
    let half_body = format!("POST {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 10\r\n\r\n{{");
    let half_head = format!("GET {target} HTTP/1.1\r\nHost:");
    let silent: Vec<TcpStream> = (0..3).map(|_| connect(address)).collect();
    let slow = connect(address);
    (&slow).write_all(half_body.as_bytes()).expect("sent");
    let head = connect(address);
    (&head).write_all(half_head.as_bytes()).expect("sent");
    // More than there are places for: served once the slow ones are gone.
    assert_serves(address);
    assert!(rest(&slow).starts_with("HTTP/1.1 408 "));
    assert!(!rest(&head).starts_with("HTTP/1.1 2"));
    silent.iter().for_each(|stream| assert!(!rest(stream).starts_with("HTTP/1.1 2")));
    server.stop();
}

#[test]
fn a_connection_serves_many_requests_and_batches() {
    let server = start(Limits::default());
    let address = server.address();
    let part = |id: u32, target: &str| {
        format!(
            "--=B=\r\nContent-Type: application/http\r\nContent-ID: <x+{id}>\r\n\r\nGET {target} HTTP/1.1\r\n\r\n\r\n"
        )
    };
    let body = part(1, "/compute/v1/projects/project-1?fields=name")
        + &part(2, "/compute/v1/projects/none")
        + "--=B=--";
    let length = body.len();
    let batch = format!(
        "POST /batch/compute/v1 HTTP/1.1\r\nHost: {address}\r\nContent-Type: multipart/mixed; boundary=\"=B=\"\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let last = "GET /compute/v1/projects/project-1?fields=kind HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let said = send(address, (batch + last).as_bytes());
    let answers: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(answers, ["200", "200", "404", "200"], "{said}");
    assert!(
        said.contains("Content-ID: <response-x+1>") && said.contains("Content-ID: <response-x+2>"),
        "{said}"
    );
    assert!(said.ends_with("{\n  \"kind\": \"compute#project\"\n}\n"), "{said}");
    server.stop();
}
