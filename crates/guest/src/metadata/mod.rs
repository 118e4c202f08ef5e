//! The metadata server: `http://metadata.google.internal/computeMetadata/v1/`.
//!
//! Source: Google's documentation of VM metadata ("About VM metadata", "View and query VM metadata", "Predefined
//! metadata keys").

mod account;
mod page;
mod tree;
mod values;

pub use page::Answer;

use crate::Asker;
use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::time::Duration;
use tombolo_model::{NetworkKey, Timestamp, World};
use tree::Node;

/// The host by which it is known.
pub const HOST: &str = "metadata.google.internal";

const ROOT: &str = "/computeMetadata/v1/";

/// A request, as far as the answer depends on it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The path, with its escapes.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// The `Metadata-Flavor` header.
    pub flavor: Option<String>,
    /// Whether there is an `X-Forwarded-For` header.
    pub forwarded: bool,
}

/// A request that is answered when what it asks for is something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The ETag that the client has; without one, what is there when it asks.
    pub last_etag: Option<String>,
    /// When it is to be answered anyway.
    pub limit: Option<Duration>,
}

impl Request {
    /// The last value of a field of the query.
    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut fields = self.query.rsplit('&').map(|field| field.split_once('=').unwrap_or((field, "")));
        fields.find(|(field, _)| *field == name).map(|(_, value)| decode(value))
    }

    fn flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// What it waits for, if it does. An error is the field that is wrong.
    pub fn wait(&self) -> Result<Option<Wait>, &'static str> {
        if !self.flag("wait_for_change") {
            return Ok(None);
        }
        let limit = match self.query("timeout_sec").as_deref() {
            None => None,
            Some(seconds) => Some(Duration::from_secs(seconds.parse().map_err(|_| "timeout_sec")?)),
        };
        Ok(Some(Wait { last_etag: self.query("last_etag").map(Cow::into_owned), limit }))
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

/// Answers a request of whoever has `address` in `network`, with what is there now.
pub fn answer(
    world: &World,
    network: &NetworkKey,
    address: Ipv4Addr,
    request: &Request,
    now: Timestamp,
) -> Answer {
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return page::not_allowed(&request.method);
    }
    // By this one libraries find out where they are: those of Go say nothing about themselves before.
    if request.path == "/" {
        return page::text("computeMetadata/\n".into());
    }
    if request.forwarded {
        return page::forbidden(&request.path, "Requests with an X-Forwarded-For header are refused.");
    }
    if request.flavor.as_deref() != Some("Google") {
        return page::forbidden(&request.path, "Missing Metadata-Flavor:Google header.");
    }
    if let Err(field) = request.wait() {
        return page::bad(&format!("Invalid value for the parameter {field}."));
    }
    match request.path.as_str() {
        "/computeMetadata" | "/computeMetadata/v1" => return page::moved(request),
        "/computeMetadata/" => return page::text("v1/\n".into()),
        _ => {}
    }
    let Some(path) = request.path.strip_prefix(ROOT) else { return page::not_found(&request.path) };
    let Some(asker) = Asker::find(world, network, address) else { return page::not_found(&request.path) };
    let names: Vec<_> = path.split('/').map(decode).collect();
    if let ["instance", "service-accounts", account, what @ ("token" | "identity")] =
        names.iter().map(|name| &**name).collect::<Vec<_>>()[..]
    {
        return account::answer(world, &asker, account, what, request, now);
    }
    find(&values::tree(world, &asker), &names, request)
}

/// What is at a path of the tree.
fn find(root: &Node, names: &[Cow<'_, str>], request: &Request) -> Answer {
    let mut node = root;
    // After a slash at the end there is an empty name.
    let (slash, names) = match names.split_last() {
        Some((last, names)) if last.is_empty() => (true, names),
        _ => (false, names),
    };
    for name in names {
        match node.child(name) {
            Some(child) => node = child,
            None => return page::not_found(&request.path),
        }
    }
    match (node.is_directory(), slash) {
        (true, false) => return page::moved(request),
        (false, true) => return page::not_found(&request.path),
        _ => {}
    }
    let recursive = request.flag("recursive");
    match request.query("alt").as_deref() {
        Some("json") => page::json(&node.json()),
        Some("text") if node.is_directory() && recursive => page::text(node.lines()),
        Some("text") => page::text(node.text()),
        None if node.is_directory() && recursive => page::json(&node.json()),
        None if node.is_json() => page::json(&node.json()),
        None => page::text(node.text()),
        Some(_) => page::bad("Invalid value for the parameter alt."),
    }
}
