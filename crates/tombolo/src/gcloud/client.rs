//! Requests to a served lab over HTTP: the only place where the verbs of this module leave their process.

use crate::clients::Served;
use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How often an operation that cannot be waited for is asked about.
const POLL: Duration = Duration::from_millis(50);

/// A refusal by the API: what Google's own tool ends with 1 for.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A client of one lab, with one connection that is kept.
pub(crate) struct Client {
    runtime: Runtime,
    sender: RefCell<Option<SendRequest<Full<Bytes>>>>,
    host: String,
    token: Option<HeaderValue>,
}

impl Client {
    /// A client of a lab; connects with the first request.
    pub(crate) fn new(served: &Served) -> Result<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let host = served.api.url().trim_start_matches("http://").to_owned();
        let token = match served.api.token {
            false => None,
            true => {
                let file = served.api.token_file();
                let token = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                    .map_err(|_| anyhow!("{} has no token", file.display()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Client { runtime, sender: RefCell::default(), host, token })
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None)
    }

    /// Every item of a list, page after page. Compute's lists have `items`; `field` is where other lists have theirs,
    /// and where an aggregated list has them in each scope.
    pub(crate) fn list(&self, path: &str, field: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut token = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = match token.as_str() {
                "" => self.get(path)?,
                token => self.get(&format!("{path}{separator}pageToken={}", encode(token)))?,
            };
            match &page["items"] {
                Value::Object(scopes) => {
                    scopes.values().for_each(|scope| items.extend(elements(&scope[field])));
                }
                Value::Array(page) => items.extend(page.iter().cloned()),
                _ => items.extend(elements(&page[field])),
            }
            match page["nextPageToken"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return Ok(items),
            }
        }
    }

    /// Sends a change and waits until its operation is done; the operation, or the answer of a method without one.
    pub(crate) fn change(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let mut operation = self.send(method, path, body)?;
        if operation["kind"] == "compute#operation" {
            while operation["status"] != "DONE" {
                let path = path_of(operation["selfLink"].as_str().unwrap_or_default());
                // Those of the organization cannot be waited for.
                operation = match path.contains("/locations/global/") {
                    true => {
                        std::thread::sleep(POLL);
                        self.get(&path)?
                    }
                    false => self.send(Method::POST, &format!("{path}/wait"), Some(json!({})))?,
                };
            }
            return match failed(&operation) {
                Some(refused) => Err(refused.into()),
                None => Ok(operation),
            };
        }
        // Operations of the other APIs have a name, and no end until they are done.
        let api = path.split('/').nth(1).unwrap_or_default();
        while is_running(&operation) {
            std::thread::sleep(POLL);
            operation = self.get(&format!("/{api}/v1/{}", operation["name"].as_str().unwrap_or_default()))?;
        }
        match operation.get("error") {
            Some(error) => Err(refusal(path, error).into()),
            None => Ok(operation),
        }
    }

    /// Sends a request and reads the answer; one that is no success is [`Refused`].
    fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        let (status, answer) = self.exchange(method, path, body)?;
        judge(path, status, answer)
    }

    fn exchange(&self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)))?;
        let talk = async {
            let mut sender = match self.sender.take() {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await?.to_bytes();
            self.sender.replace(Some(sender));
            anyhow::Ok((status, bytes))
        };
        let (status, bytes) =
            self.runtime.block_on(talk).with_context(|| format!("ask the lab at {}", self.host))?;
        let answer = serde_json::from_slice(&bytes)
            .with_context(|| format!("the lab's answer to {path} (status {status}) is no JSON"))?;
        Ok((status, answer))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = tokio::net::TcpStream::connect(&self.host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // What goes wrong on the connection is told to who sends.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// The items of an array; none of anything else.
fn elements(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A value in a query or a segment of a path.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The path on our host of a link to a resource of Compute.
pub(crate) fn path_of(link: &str) -> String {
    match link.split_once("/compute/v1/") {
        Some((_, path)) => format!("/compute/v1/{path}"),
        None => format!("/compute/v1/{}", link.trim_start_matches('/')),
    }
}

/// Whether an answer is a long-running operation that is not done.
fn is_running(answer: &Value) -> bool {
    let named = answer["name"].as_str().is_some_and(|name| name.contains("operations/"));
    named && answer["done"] != true
}

fn judge(path: &str, status: u16, answer: Value) -> Result<Value> {
    // An operation that has failed has an error too.
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    match answer.get("error") {
        Some(error) => Err(refusal(path, error).into()),
        None => bail!("the lab answered {path} with status {status}"),
    }
}

/// An error as gcloud words it: with a list in Compute, with the canonical status elsewhere.
fn refusal(path: &str, error: &Value) -> Refused {
    let message = error["message"].as_str().unwrap_or_default();
    if path.starts_with("/compute/") {
        return Refused(format!("Could not fetch resource:\n - {message}"));
    }
    match error["status"].as_str() {
        Some(status) => Refused(format!("{status}: {message}")),
        None => Refused(message.to_owned()),
    }
}

/// The errors of an operation of Compute that failed.
fn failed(operation: &Value) -> Option<Refused> {
    let errors = operation["error"]["errors"].as_array().filter(|errors| !errors.is_empty())?;
    let lines = errors.iter().map(|error| format!(" - {}", error["message"].as_str().unwrap_or_default()));
    Some(Refused(format!("Could not fetch resource:\n{}", lines.collect::<Vec<_>>().join("\n"))))
}
