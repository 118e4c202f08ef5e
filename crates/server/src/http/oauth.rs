//! Google's token endpoint: client libraries ask it, before anything else, for what they then send as
//! `Authorization`, which nobody here looks at. Who may use the server is decided at its door.
//!
//! Source: RFC 6749, sections 4.1.3, 5 and 6; RFC 7523 for service accounts.

use super::{Response, exchange};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

/// The endpoint's host.
const HOST: &str = "oauth2.googleapis.com";
/// What the libraries' credentials are worth here.
const GRANTS: [&str; 3] =
    ["refresh_token", "authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"];

/// Whether a request is to the endpoint.
pub(super) fn wanted(host: &str, method: &Method, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    host.split(':').next() == Some(HOST) && method == Method::POST && path == "/token"
}

/// Gives a token that means nothing.
pub(super) fn exchange(body: &[u8]) -> Response {
    let (status, answer) = answer(body);
    exchange::respond(status, &answer)
}

fn answer(body: &[u8]) -> (StatusCode, Value) {
    let grant = form(body, "grant_type").unwrap_or_default();
    if !GRANTS.contains(&grant.as_str()) {
        let why = format!("Expected a grant_type of {}.", GRANTS.join(", "));
        let error = json!({ "error": "unsupported_grant_type", "error_description": why });
        return (StatusCode::BAD_REQUEST, error);
    }
    let token = json!({
        "access_token": "tombolo",
        "expires_in": 3599,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "token_type": "Bearer",
    });
    (StatusCode::OK, token)
}

/// A field of a form, or of the JSON that some libraries send instead.
fn form(body: &[u8], name: &str) -> Option<String> {
    if let Ok(fields) = serde_json::from_slice::<Value>(body) {
        return Some(fields.get(name)?.as_str()?.to_owned());
    }
    let text = std::str::from_utf8(body).ok()?;
    let field = text.trim().split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(field).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_have_gets_a_token() {
        for (body, status) in [
            ("client_id=x&grant_type=refresh_token&refresh_token=y", 200),
            ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=z", 200),
            (r#"{"grant_type": "refresh_token"}"#, 200),
            ("grant_type=password", 400),
            ("xgrant_type=refresh_token", 400),
            ("", 400),
        ] {
            assert_eq!(answer(body.as_bytes()).0.as_u16(), status, "{body}");
        }
    }

    #[test]
    fn the_endpoint_is_one_host_and_path() {
        assert!(wanted("oauth2.googleapis.com", &Method::POST, "/token"));
        assert!(wanted("oauth2.googleapis.com:443", &Method::POST, "/token?x"));
        assert!(!wanted("oauth2.googleapis.com", &Method::GET, "/token"));
        assert!(!wanted("127.0.0.1", &Method::POST, "/token"));
        assert!(!wanted("oauth2.googleapis.com", &Method::POST, "/revoke"));
    }
}
