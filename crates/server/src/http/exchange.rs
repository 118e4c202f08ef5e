//! One request and its answer.

use super::connection::Line;
use super::reply::Reply;
use super::{Answer, Door, Response, batch, grpc, oauth, proxy};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tombolo_api::fields::Mask;
use tombolo_api::{Failure, Request, Verb, methods};

/// Answers a request, good or bad.
pub(super) async fn exchange(line: &Line, request: hyper::Request<Incoming>) -> Response {
    if request.method() == Method::CONNECT {
        return proxy::connect(line, request).await;
    }
    let (head, body) = request.into_parts();
    let is_rpc = grpc::wanted(&head.headers);
    let refused = |failure| if is_rpc { grpc::refused(&failure) } else { refused(&failure, None) };
    let door = line.door.as_ref();
    let host = host(&head.headers, &head.uri);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if let Err(failure) = door.guard.admit(&head.headers, &host, line.inside) {
        return refused(failure);
    }
    let body = match read(door, body).await {
        Ok(body) => body,
        Err(failure) => return refused(failure),
    };
    if is_rpc {
        return grpc::exchange(door, &host, head.uri.path(), &body).await;
    }
    if oauth::wanted(&host, &head.method, &target) {
        return oauth::exchange(&body);
    }
    if let Some(kind) = batch::wanted(head.method.as_str(), &target, &head.headers) {
        return batch::exchange(door, &host, &kind, &body).await;
    }
    let (status, value) = answer(door, &host, head.method.as_str(), &target, &body).await;
    respond(status, &value)
}

/// The answer to a request: its status and its body.
pub(super) async fn answer(
    door: &Door,
    host: &str,
    verb: &str,
    target: &str,
    body: &[u8],
) -> (StatusCode, Value) {
    let mut request = match Verb::parse(verb) {
        Some(verb) => Request::new(host, verb, target, Value::Null),
        None => {
            let why = format!("The HTTP method '{}' is not supported.", verb.escape_debug());
            return failed(&Failure::new(405, "httpMethodNotAllowed", why), None);
        }
    };
    let api = methods::find(&request).map(|(method, _)| method.api).ok();
    match parse(body) {
        Ok(body) => request.body = body,
        Err(failure) => return failed(&failure, api),
    }
    match serve(door, request).await {
        Ok(value) => (StatusCode::OK, value),
        Err(failure) => failed(&failure, api),
    }
}

async fn serve(door: &Door, request: Request) -> Answer {
    // Before anything is done: who is refused has changed nothing.
    let mask = Mask::of(&request)?;
    let value = door.service.clone().answer(request).await?;
    Ok(mask.apply(value))
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let wrong = |error| Failure::new(400, "parseError", format!("Invalid JSON payload received. {error}"));
    serde_json::from_slice(body).map_err(wrong)
}

/// A body, if it is neither too large nor too slow.
async fn read(door: &Door, body: Incoming) -> Result<Bytes, Failure> {
    let most = door.limits.body;
    let too_large =
        || Failure::new(413, "uploadTooLarge", format!("The request's body is larger than {most} bytes."));
    // What announces that it is too large is not waited for.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let whole = tokio::time::timeout(door.limits.body_time, Limited::new(body, most).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::bad_request("The request's body did not come whole.")),
        Err(_) => Err(Failure::new(408, "requestTimeout", "The request's body took too long to come.")),
    }
}

/// The host that the client meant: the target's, if it has one, as a proxy's clients send it.
fn host(headers: &HeaderMap, uri: &hyper::Uri) -> String {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or(named).unwrap_or_default().to_owned()
}

fn failed(failure: &Failure, api: Option<tombolo_api::Api>) -> (StatusCode, Value) {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, failure.body(api))
}

/// The answer that is a failure.
pub(super) fn refused(failure: &Failure, api: Option<tombolo_api::Api>) -> Response {
    let (status, value) = failed(failure, api);
    respond(status, &value)
}

/// The answer that is JSON.
pub(super) fn respond(status: StatusCode, value: &Value) -> Response {
    bytes(status, "application/json; charset=UTF-8", pretty(value))
}

/// JSON as Google sends it: indented by two.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_else(|_| json!({}).to_string().into_bytes());
    body.push(b'\n');
    body
}

/// A response with a body.
pub(super) fn bytes(status: StatusCode, kind: &str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, hyper::header::HeaderValue::from_static("Bearer"));
    }
    response
}
