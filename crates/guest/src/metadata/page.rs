//! Answers: statuses, types, and Google's pages for what goes wrong.

use super::{HOST, Request};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An answer. Every one has also the headers `Metadata-Flavor: Google` and `Server: Metadata Server for VM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `ETag`: another one when the content is another one. Not of what is made anew each time, nor of errors.
    pub etag: Option<String>,
    /// `Location`.
    pub location: Option<String>,
    /// The body.
    pub body: String,
}

const HTML: &str = "text/html; charset=UTF-8";

pub(super) fn text(body: String) -> Answer {
    content("application/text", body)
}

pub(super) fn json(value: &Value) -> Answer {
    content("application/json", value.to_string())
}

fn content(content_type: &'static str, body: String) -> Answer {
    let digest = Sha256::digest(&body);
    let etag = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Answer { status: 200, content_type, etag: Some(etag), location: None, body }
}

/// What is made for this request alone.
pub(super) fn made(content_type: &'static str, body: String) -> Answer {
    Answer { status: 200, content_type, etag: None, location: None, body }
}

/// A directory was asked for as if it were a value.
pub(super) fn moved(request: &Request) -> Answer {
    let host = request.host.as_deref().unwrap_or(HOST);
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let location = format!("http://{host}{}/{query}", request.path);
    let why = format!("The document has moved <a href=\"{}\">here</a>.", escape(&location));
    Answer { location: Some(location), ..error(301, "Moved Permanently", &why) }
}

pub(super) fn bad(why: &str) -> Answer {
    error(400, "Bad Request", &format!("Your client has issued a malformed or illegal request. {why}"))
}

pub(super) fn forbidden(path: &str, why: &str) -> Answer {
    let path = escape(path);
    let why = format!(
        "Your client does not have permission to get URL <code>{path}</code> from this server. {why}"
    );
    error(403, "Forbidden", &why)
}

pub(super) fn not_found(path: &str) -> Answer {
    let why = format!("The requested URL <code>{}</code> was not found on this server.", escape(path));
    error(404, "Not Found", &why)
}

pub(super) fn not_allowed(method: &str) -> Answer {
    let why = format!("The request method <code>{}</code> is inappropriate for the URL.", escape(method));
    error(405, "Method Not Allowed", &why)
}

fn error(status: u16, title: &str, why: &str) -> Answer {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error {status} ({title})!!1</title>\n  \
         <p><b>{status}.</b> <ins>That’s an error.</ins>\n  <p>{why} <ins>That’s all we know.</ins>\n"
    );
    Answer { status, content_type: HTML, etag: None, location: None, body }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
