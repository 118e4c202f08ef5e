//! CONNECT: for Google's hosts the tunnel ends here, with a certificate that clients were told to trust; to hosts that
//! were allowed it leads on, unread; and to no other.
//!
//! ```text
//!   CONNECT redis.googleapis.com:443 ─▶ 200 ─▶ TLS, as that host ─▶ a connection like any other
//!   CONNECT pypi.org:443             ─▶ 200 ─▶ bytes both ways      (serve --allow-host pypi.org)
//!   CONNECT other.example:443        ─▶ 403
//! ```

use super::authority::{Authority, DOMAIN, is_googles};
use super::connection::{Line, Stream, serve};
use super::{Response, exchange};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{HeaderValue, PROXY_AUTHENTICATE};
use hyper_util::rt::TokioIo;
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tombolo_api::Failure;

/// HTTPS.
const PORT: u16 = 443;
/// For a host that is allowed to answer.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A tunnel through which nothing comes, either way, for so long is closed.
const TUNNEL_TIME: Duration = Duration::from_secs(600);

/// A host that the proxy may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    host: String,
    port: u16,
}

impl Display for AllowedHost {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    /// `HOST` or `HOST:PORT`; IPv6 addresses in brackets.
    fn from_str(text: &str) -> Result<AllowedHost, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("'{port}' is no port"))?)
            }
            _ => (text, PORT),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let good = match address {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(allowed),
        };
        match good {
            true if is_googles(&host.to_ascii_lowercase()) => {
                Err(format!("'{host}' is Google's, which this server answers itself"))
            }
            true => Ok(AllowedHost { host: host.to_ascii_lowercase(), port }),
            false => Err(format!("'{host}' is no host: expected HOST or HOST:PORT")),
        }
    }
}

/// What a server does with CONNECT.
#[derive(Debug)]
pub struct Proxy {
    state: PathBuf,
    allowed: Vec<AllowedHost>,
    authority: Mutex<Option<Arc<Authority>>>,
}

impl Proxy {
    /// A proxy with the authority of a state folder, which is made when it is first needed.
    pub fn new(state: &Path, allowed: Vec<AllowedHost>) -> Proxy {
        Proxy { state: state.to_owned(), allowed, authority: Mutex::default() }
    }

    fn authority(&self) -> std::io::Result<Arc<Authority>> {
        let mut known = self.authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = known.as_ref() {
            return Ok(authority.clone());
        }
        let authority = Arc::new(Authority::in_folder(&self.state)?);
        Ok(known.insert(authority).clone())
    }
}

/// Answers CONNECT.
pub(super) async fn connect(line: &Line, mut request: hyper::Request<Incoming>) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    match lead(line, &request).await {
        Ok(way) => {
            let line = line.clone();
            tokio::spawn(async move {
                let patience = line.door.limits.head_time;
                let Ok(Ok(upgraded)) = timeout(patience, upgrade).await else { return };
                let client = TokioIo::new(upgraded);
                match way {
                    Way::Here(tls) => {
                        if let Ok(Ok(stream)) = timeout(patience, tls.accept(client)).await {
                            serve(stream, Line { inside: true, ..line }).await;
                        }
                    }
                    Way::On(server) => carry(client, server, TUNNEL_TIME).await,
                }
            });
            Response::default()
        }
        Err(failure) => refused(&failure),
    }
}

/// Where a tunnel leads.
enum Way {
    /// To this server, as the host that was meant.
    Here(TlsAcceptor),
    /// To the host that was meant.
    On(TcpStream),
}

async fn lead(line: &Line, request: &hyper::Request<Incoming>) -> Result<Way, Failure> {
    let no_proxy =
        || Failure::new(405, "httpMethodNotAllowed", "The HTTP method 'CONNECT' is not supported.");
    let proxy = line.door.proxy.as_ref().filter(|_| !line.inside).ok_or_else(no_proxy)?;
    line.door.guard.admit_proxied(request.headers())?;
    let target = request.uri().authority();
    let target = target.ok_or_else(|| Failure::bad_request("CONNECT needs HOST:PORT."))?;
    let wanted = AllowedHost {
        host: target.host().to_ascii_lowercase(),
        port: target.port_u16().ok_or_else(|| Failure::bad_request("CONNECT needs HOST:PORT."))?,
    };
    if is_googles(&wanted.host) && wanted.port == PORT {
        let config = proxy.authority().and_then(|authority| authority.host(&wanted.host));
        return Ok(Way::Here(config.map_err(Failure::backend_error)?.into()));
    }
    if !proxy.allowed.contains(&wanted) {
        let why = format!(
            "{wanted} is none of {DOMAIN}'s hosts, which this proxy is for; to let it through, start `tombolo serve \
             --allow-host {wanted}`"
        );
        return Err(Failure::new(403, "forbidden", why));
    }
    let bare = wanted.host.trim_start_matches('[').trim_end_matches(']');
    let unreachable =
        |why: &dyn Display| Failure::new(502, "badGateway", format!("{wanted} can not be reached: {why}"));
    match timeout(CONNECT_TIME, TcpStream::connect((bare, wanted.port))).await {
        Ok(Ok(server)) => Ok(Way::On(server)),
        Ok(Err(error)) => Err(unreachable(&error)),
        Err(_) => Err(unreachable(&"it does not answer")),
    }
}

/// A failure, also in the words of the status line: of a proxy's answer most clients show nothing else.
fn refused(failure: &Failure) -> Response {
    let mut response = exchange::refused(failure, None);
    if let Ok(reason) = ReasonPhrase::try_from(failure.message.as_bytes()) {
        response.extensions_mut().insert(reason);
    }
    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let realm = HeaderValue::from_static("Basic realm=\"Tombolo\"");
        response.headers_mut().insert(PROXY_AUTHENTICATE, realm);
    }
    response
}

/// Carries bytes both ways until both have ended, or nothing comes for too long.
async fn carry(client: impl Stream, server: impl Stream, patience: Duration) {
    let last = Mutex::new(Instant::now());
    let ((from_client, to_client), (from_server, to_server)) = (split(client), split(server));
    let both =
        async { tokio::join!(copy(from_client, to_server, &last), copy(from_server, to_client, &last)) };
    let silent = async {
        loop {
            let since = last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            match patience.checked_sub(since).filter(|left| !left.is_zero()) {
                Some(left) => sleep(left).await,
                None => return,
            }
        }
    };
    tokio::select! {
        _ = both => {}
        () = silent => {}
    }
}

/// Copies until one side ends, and tells the other.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, last: &Mutex<Instant>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if to.write_all(bytes.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_with_or_without_a_port() {
        for (text, want) in [
            ("pypi.org", Ok("pypi.org:443")),
            ("PyPI.org:8443", Ok("pypi.org:8443")),
            ("127.0.0.1:80", Ok("127.0.0.1:80")),
            ("[::1]", Ok("[::1]:443")),
            ("[::1]:80", Ok("[::1]:80")),
            ("pypi.org:x", Err("no port")),
            ("https://pypi.org", Err("no port")),
            ("a b", Err("no host")),
            ("", Err("no host")),
            ("::1", Err("no host")),
            ("redis.googleapis.com", Err("is Google's")),
        ] {
            match (text.parse::<AllowedHost>(), want) {
                (Ok(host), Ok(want)) => assert_eq!(host.to_string(), want),
                (Err(error), Err(want)) => assert!(error.contains(want), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_tunnel_ends_when_nothing_comes() {
        let (client, _outside) = tokio::io::duplex(64);
        let (server, _inside) = tokio::io::duplex(64);
        // Returns, though neither end was closed.
        carry(client, server, Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn a_tunnel_carries_both_ways_to_the_end() {
        let (client, mut outside) = tokio::io::duplex(64);
        let (server, mut inside) = tokio::io::duplex(64);
        let tunnel = tokio::spawn(carry(client, server, TUNNEL_TIME));
        outside.write_all(b"question").await.expect("written");
        outside.shutdown().await.expect("closed");
        let mut text = String::new();
        inside.read_to_string(&mut text).await.expect("read");
        inside.write_all(b"answer").await.expect("written");
        drop(inside);
        outside.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "questionanswer");
        tunnel.await.expect("it ends");
    }
}
