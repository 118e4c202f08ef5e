//! HTTP in front of a service that answers requests: limits, the guard at the door, JSON.
//!
//! ```text
//!   accept ─▶ connection (hyper, HTTP/1.1 or 2) ─▶ guard: token, host, origin ─▶ body: size, time ─▶ JSON, or gRPC
//!                                                                                                       │
//!   bytes ◀─ Failure's body and status, or the answer, cut to its `fields` ◀───────── Service::answer ◀─┘
//! ```
//!
//! A connection can also be a [`proxy`]'s: one of Google's hosts in a tunnel, with a certificate of an
//! [`authority`] of our own.

pub mod authority;
mod batch;
mod connection;
mod exchange;
mod grpc;
mod guard;
mod oauth;
pub mod proxy;
mod reply;

pub use guard::{Guard, Token};
pub use proxy::{AllowedHost, Proxy};

use connection::Line;
use reply::Reply;
use serde_json::Value;
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
    proxy: Option<Proxy>,
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
        Server::start_with(listener, service, guard, limits, None)
    }

    /// As [`Server::start`], and answers CONNECT.
    pub fn start_with(
        listener: TcpListener,
        service: Arc<dyn Service>,
        guard: Guard,
        limits: Limits,
        proxy: Option<Proxy>,
    ) -> std::io::Result<Server> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let door = Arc::new(Door { service, guard, limits, proxy });
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
        let line = Line { door: door.clone(), inside: false, _place: Arc::new(place) };
        tokio::spawn(connection::serve(stream, line));
    }
}

/// A response.
type Response = hyper::Response<Reply>;
