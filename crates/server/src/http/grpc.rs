//! gRPC's framing around what [`tombolo_api::grpc`] makes of its messages: one message in, one out, and trailers.
//!
//! Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of grpc).

use super::reply::Reply;
use super::{Door, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tombolo_api::Failure;
use tombolo_api::grpc::{Rpc, status};

/// What a message may not have as it is. Source: "Percent-Encoded" there.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is one of gRPC's.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest, [] | [b';', ..]) || rest.starts_with(b"+proto"))
}

/// Answers a request.
pub(super) async fn exchange(door: &Door, host: &str, path: &str, body: &[u8]) -> Response {
    match answer(door, host, path, body).await {
        Ok(message) => respond(Reply::new(framed(&message)), None),
        Err(failure) => refused(&failure),
    }
}

/// The answer that is a failure.
pub(super) fn refused(failure: &Failure) -> Response {
    respond(Reply::default(), Some(failure))
}

async fn answer(door: &Door, host: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
    let rpc = Rpc::find(path)?;
    let request = rpc.request(host, unframed(body)?)?;
    rpc.response(&door.service.clone().answer(request).await?)
}

/// The one message of a request.
fn unframed(body: &[u8]) -> Result<&[u8], Failure> {
    let (compressed, rest) =
        body.split_first().ok_or_else(|| Failure::bad_request("The request has no message."))?;
    if *compressed != 0 {
        return Err(Failure::unsupported("compressed messages"));
    }
    let (length, message) =
        rest.split_first_chunk().ok_or_else(|| Failure::bad_request("The message has no length."))?;
    match u32::from_be_bytes(*length) as usize == message.len() {
        true => Ok(message),
        false => Err(Failure::bad_request("The request is not exactly one message.")),
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

fn respond(reply: Reply, failure: Option<&Failure>) -> Response {
    let mut trailers = HeaderMap::new();
    let code = failure.map_or(0, Failure::rpc_code);
    trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Some(failure) = failure {
        let message = utf8_percent_encode(&failure.message, ENCODED).to_string();
        let details = STANDARD_NO_PAD.encode(status(failure));
        for (name, value) in [("grpc-message", message), ("grpc-status-details-bin", details)] {
            if let Ok(value) = value.parse() {
                trailers.insert(name, value);
            }
        }
    }
    let mut response = Response::new(reply.with_trailers(trailers));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_message() {
        assert_eq!(unframed(&framed(b"abc")).map_err(|failure| failure.code), Ok(b"abc".as_slice()));
        assert_eq!(unframed(&framed(b"")).map_err(|failure| failure.code), Ok(b"".as_slice()));
        for (bad, code) in [
            (&b""[..], 400),
            (b"\0", 400),
            (b"\0\0\0\0\x02a", 400),
            (b"\0\0\0\0\x01ab", 400),
            (b"\x01\0\0\0\x01a", 501),
        ] {
            assert_eq!(unframed(bad).map_err(|failure| failure.code), Err(code), "{bad:?}");
        }
    }

    #[test]
    fn it_is_known_by_its_type() {
        let mut headers = HeaderMap::new();
        assert!(!wanted(&headers));
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(wanted(&headers), is, "{kind}");
        }
    }
}
