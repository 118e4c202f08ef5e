//! CONNECT: Google's hosts are here, hosts that were allowed are where they are, and there are no others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};
use tombolo_api::{Failure, Request};
use tombolo_server::http::authority::certificate_file;
use tombolo_server::http::{AllowedHost, Answering, Guard, Limits, Proxy, Server, Service, Token};

/// Only to end a test that would hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Says what it was asked.
struct Echo;

impl Service for Echo {
    fn answer(self: Arc<Self>, request: Request) -> Answering {
        Box::pin(async move { Err(Failure::new(418, "echo", format!("{} {}", request.host, request.path))) })
    }
}

fn start(state: &Path, guard: Guard, allowed: &[AllowedHost], limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = Proxy::new(state, allowed.to_vec());
    Server::start_with(listener, Arc::new(Echo), guard, limits, Some(proxy)).expect("a server")
}

/// Asks for a tunnel: the answer's head, and the tunnel.
fn tunnel(server: SocketAddr, target: &str, header: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("an answer"), 1, "closed");
        head.extend(byte);
    }
    (String::from_utf8(head).expect("text"), stream)
}

/// TLS in a tunnel, by who trusts one authority alone.
fn secure(
    tunnel: TcpStream,
    authority: &Path,
    name: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).expect("a certificate")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(client, tunnel);
    stream.flush()?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A request in a tunnel; what comes until it closes.
fn get(stream: &mut StreamOwned<ClientConnection, TcpStream>, host: &str) -> String {
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

#[test]
fn googles_hosts_are_here() {
    let state = tempfile::tempdir().expect("a folder");
    let server = start(state.path(), Guard::Local, &[], Limits::default());
    for host in ["redis.googleapis.com", "compute.googleapis.com", "redis.googleapis.com"] {
        let (head, tunnel) = tunnel(server.address(), &format!("{host}:443"), "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut stream = secure(tunnel, &certificate_file(state.path()), host).expect("TLS");
        let answer = get(&mut stream, host);
        assert!(answer.starts_with("HTTP/1.1 418 ") && answer.contains(&format!("{host} /v1/x")), "{answer}");
    }
    // The certificate is that host's and no other's.
    let (_, tunnel) = tunnel(server.address(), "redis.googleapis.com:443", "");
    secure(tunnel, &certificate_file(state.path()), "compute.googleapis.com").expect_err("another host");
    server.stop();
}

#[test]
fn there_is_no_way_elsewhere() {
    let state = tempfile::tempdir().expect("a folder");
    let server = start(state.path(), Guard::Local, &[], Limits::default());
    for target in [
        "pypi.org:443",
        "redis.googleapis.com:80",
        "127.0.0.1:443",
        "[::1]:443",
        "redis.googleapis.com.evil.example:443",
    ] {
        let (head, _) = tunnel(server.address(), target, "");
        let status = head.lines().next().unwrap_or_default();
        assert!(status.starts_with("HTTP/1.1 403 "), "{target}: {head}");
        // Most clients show no more of it than this.
        assert!(status.contains(target) && status.contains("--allow-host"), "{status}");
    }
    let (head, _) = tunnel(server.address(), "redis.googleapis.com:443", "Origin: http://localhost\r\n");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(!state.path().join("ca-key.pem").exists(), "nobody needed it");
    server.stop();
}

#[test]
fn a_host_that_is_allowed_is_where_it_is() {
    let state = tempfile::tempdir().expect("a folder");
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = other.local_addr().expect("an address").to_string();
    let allowed = [target.parse().expect("a host")];
    let server = start(state.path(), Guard::Local, &allowed, Limits::default());
    let (head, mut tunnel) = tunnel(server.address(), &target, "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (mut inside, _) = other.accept().expect("a connection");
    tunnel.write_all(b"question").expect("written");
    let mut bytes = [0; 8];
    inside.read_exact(&mut bytes).expect("read");
    inside.write_all(b"answer").expect("written");
    drop(inside);
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).expect("read");
    assert_eq!((&bytes, answer.as_str()), (b"question", "answer"));
    drop(other);
    // Nobody listens there any more.
    let (head, _) = self::tunnel(server.address(), &target, "");
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    server.stop();
}

#[test]
fn with_a_token_the_tunnel_asks_for_it() {
    let state = tempfile::tempdir().expect("a folder");
    let token = Token::in_file(&state.path().join("token")).expect("a token");
    let text = std::fs::read_to_string(state.path().join("token")).expect("the token");
    let server = start(state.path(), Guard::Token(token), &[], Limits::default());
    let target = "redis.googleapis.com:443";
    for header in ["", "Proxy-Authorization: Bearer wrong\r\n", &format!("Authorization: Bearer {text}\r\n")]
    {
        let (head, _) = tunnel(server.address(), target, header);
        assert!(head.starts_with("HTTP/1.1 407 ") && head.contains("proxy-authenticate: Basic"), "{head}");
    }
    let header = format!("Proxy-Authorization: Bearer {text}\r\n");
    let (head, tunnel) = tunnel(server.address(), target, &header);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let host = "redis.googleapis.com";
    let mut stream = secure(tunnel, &certificate_file(state.path()), host).expect("TLS");
    assert!(get(&mut stream, host).starts_with("HTTP/1.1 418 "), "inside, nobody asks again");
    server.stop();
}

/// Tunnels in which nothing is said end, and give their places back; so do half of a preface and a silent connection of
/// HTTP/2.
#[test]
fn silence_takes_no_place_for_ever() {
    let state = tempfile::tempdir().expect("a folder");
    let soon = Duration::from_millis(300);
    let server = start(
        state.path(),
        Guard::Local,
        &[],
        Limits { head_time: soon, connections: 4, ..Limits::default() },
    );
    let mut silent = Vec::new();
    for start in [&b""[..], b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut stream = TcpStream::connect(server.address()).expect("a connection");
        stream.write_all(start).expect("written");
        silent.push(stream);
    }
    let (head, stream) = tunnel(server.address(), "redis.googleapis.com:443", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    silent.push(stream);
    // All places are taken, until one after the other is free: four more want one each.
    for _ in 0..4 {
        let (head, stream) = tunnel(server.address(), "redis.googleapis.com:443", "");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        silent.push(stream);
    }
    for mut stream in silent {
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes);
        assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    server.stop();
}
