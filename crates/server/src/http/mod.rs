//! HTTP in front of a service that answers requests: limits, the guard at the door, JSON.
//!
//! ```text
//!   accept ─▶ connection (hyper, HTTP/1.1) ─▶ guard: token, host, origin ─▶ body: size, time ─▶ JSON
//!                                                                                                │
//!   bytes ◀─ Failure's body and status, or the answer, cut to its `fields` ◀─ Service::answer ◀─┘
//! ```

mod batch;
mod exchange;
mod guard;

pub use guard::{Guard, Token};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tombolo_api::{Failure, Request};

/// An answer: a message, or a failure.
pub type Answer = Result<Value, Failure>;

/// An answer to be.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one.
    fn answer(self: Arc<Self>, request: Request) -> Answering;
}

/// What a client may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// For the head of a request to come; also how long a connection may be idle.
    pub head_time: Duration,
    /// For a body to come.
    pub body_time: Duration,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 8 << 20,
            head_time: Duration::from_secs(60),
            body_time: Duration::from_secs(30),
            connections: 256,
        }
    }
}

/// Bytes of a request's head.
const HEAD: usize = 64 << 10;

/// What every connection shares.
struct Door {
    service: Arc<dyn Service>,
    guard: Guard,
    limits: Limits,
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves on a listener, from a thread of its own.
    pub fn start(
        listener: TcpListener,
        service: Arc<dyn Service>,
        guard: Guard,
        limits: Limits,
    ) -> std::io::Result<Server> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let door = Arc::new(Door { service, guard, limits });
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let serve = move || {
            runtime.spawn(async move { accept(&listener, &door).await });
            // Also when nobody is left who could say it.
            let _ = runtime.block_on(stopped);
            // Clients are not waited for: what they were not told need not have happened.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("http".into()).spawn(serve)?;
        Ok(Server { address, stop, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes everything.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn accept(listener: &tokio::net::TcpListener, door: &Arc<Door>) {
    let places = Arc::new(Semaphore::new(door.limits.connections));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // No descriptor is left, for one: those who are served give theirs back.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let door = door.clone();
        tokio::spawn(async move {
            let answer = |request: hyper::Request<Incoming>| {
                let door = door.clone();
                async move { Ok::<_, Infallible>(exchange::exchange(&door, request).await) }
            };
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(door.limits.head_time).max_buf_size(HEAD);
            // Whatever a client does wrong ends its connection and nothing else.
            let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            drop(place);
        });
    }
}

/// A response.
type Response = hyper::Response<Full<Bytes>>;
