//! The metadata server over plain HTTP, and requests that wait.

use super::{Net, Place};
use crate::now;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;
use tombolo_guest::metadata::{Answer, Request, answer};

/// How long a connection may be idle, or a request's head take.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;

/// Answers the requests of a connection.
pub(super) async fn serve(stream: TcpStream, net: Net, place: Place) {
    let from = place.of;
    let answer = |request: hyper::Request<Incoming>| {
        let net = net.clone();
        async move { Ok::<_, Infallible>(response(respond(&read(&request), net, from).await)) }
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD).title_case_headers(true);
    let _ = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

fn read(request: &hyper::Request<Incoming>) -> Request {
    let header = |name: &str| {
        request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Request {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        host: header("host"),
        flavor: header("metadata-flavor"),
        forwarded: request.headers().contains_key("x-forwarded-for"),
    }
}

/// What is there; for a request that waits, what is there when it is something else, or when it has waited enough.
async fn respond(request: &Request, mut net: Net, from: Ipv4Addr) -> Answer {
    let present = |net: &mut Net| {
        let world = net.worlds.borrow_and_update().clone();
        answer(&world, &net.network, from, request, now())
    };
    let first = present(&mut net);
    let (Ok(Some(wait)), Some(etag)) = (request.wait(), first.etag.clone()) else { return first };
    let known = wait.last_etag.unwrap_or(etag);
    let changed = async {
        let mut answer = first.clone();
        while answer.etag.as_ref() == Some(&known) && net.worlds.changed().await.is_ok() {
            answer = present(&mut net);
        }
        answer
    };
    match wait.limit {
        None => changed.await,
        Some(limit) => tokio::time::timeout(limit, changed).await.unwrap_or(first),
    }
}

fn response(answer: Answer) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
    headers.insert(header::SERVER, HeaderValue::from_static("Metadata Server for VM"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::X_XSS_PROTECTION, HeaderValue::from_static("0"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    let said = [(header::ETAG, answer.etag), (header::LOCATION, answer.location)];
    for (name, text) in said {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    response
}
