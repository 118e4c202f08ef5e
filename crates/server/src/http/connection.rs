//! One connection: which HTTP it speaks, and how long it may be silent.

use super::exchange::exchange;
use super::{Door, HEAD};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io::Result;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

/// What a client of HTTP/2 begins with. Source: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests at a time on a connection of HTTP/2; more wait at the client.
const STREAMS: u32 = 16;

/// A connection, as its requests see it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) door: Arc<Door>,
    /// Whether it comes through a tunnel, at whose entrance somebody has asked already who it is.
    pub(super) inside: bool,
    /// Its place among all connections, which is free when the last of its clones is gone.
    pub(super) _place: Arc<OwnedSemaphorePermit>,
}

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Answers a connection's requests until one of the two ends it. Whatever a client does wrong ends its connection and
/// nothing else. (Boxed, because a tunnel is a connection in a connection.)
pub(super) fn serve(stream: impl Stream, line: Line) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let mut stream = stream;
        match timeout(line.door.limits.head_time, begin(&mut stream)).await {
            Ok(Ok(start)) if start == PREFACE => http2(Begun { start: start.into(), stream }, line).await,
            Ok(Ok(start)) => http1(Begun { start: start.into(), stream }, line).await,
            _ => {}
        }
    })
}

async fn http1(stream: impl Stream, line: Line) {
    let answer = |request: hyper::Request<Incoming>| {
        let line = line.clone();
        async move { Ok::<_, Infallible>(exchange(&line, request).await) }
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(line.door.limits.head_time).max_buf_size(HEAD);
    let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).with_upgrades().await;
}

async fn http2(stream: impl Stream, line: Line) {
    let patience = line.door.limits.head_time;
    let use_ = Arc::new(Use::default());
    let answer = |request: hyper::Request<Incoming>| {
        let (line, using) = (line.clone(), Using::begin(&use_));
        async move {
            let response = exchange(&line, request).await;
            drop(using);
            Ok::<_, Infallible>(response)
        }
    };
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).max_header_list_size(HEAD as u32).max_concurrent_streams(STREAMS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service_fn(answer)));
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = sleep(patience) => {}
        }
        if use_.idle_since().is_some_and(|since| since.elapsed() >= patience) {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(patience, connection).await;
            return;
        }
    }
}

/// Who uses a connection of HTTP/2, whose own timers know only of the head's bytes.
struct Use(Mutex<(usize, Instant)>);

impl Default for Use {
    fn default() -> Self {
        Use(Mutex::new((0, Instant::now())))
    }
}

impl Use {
    fn idle_since(&self) -> Option<Instant> {
        let (running, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (running == 0).then_some(since)
    }
}

/// A request that is being answered.
struct Using(Arc<Use>);

impl Using {
    fn begin(of: &Arc<Use>) -> Using {
        of.0.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        Using(of.clone())
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0 - 1, Instant::now());
    }
}

/// The first bytes: the whole of [`PREFACE`], or enough to see that it is not.
async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut start = Vec::with_capacity(PREFACE.len());
    while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
        let left = (PREFACE.len() - start.len()) as u64;
        if (&mut *stream).take(left).read_buf(&mut start).await? == 0 {
            break;
        }
    }
    Ok(start)
}

/// A stream of which the first bytes have been read.
struct Begun<S> {
    start: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.start.len().min(buf.remaining());
        buf.put_slice(&self.start.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
