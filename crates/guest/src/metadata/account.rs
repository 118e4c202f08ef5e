//! Service accounts: their tokens, which open nothing.

use super::{Request, page};
use crate::Asker;
use crate::metadata::Answer;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tombolo_model::{Timestamp, World};

/// How long a token is good for, in seconds.
const LIFE: i64 = 3599;

/// The accounts of an instance: addresses and scopes.
pub(super) fn accounts(wire: &Value) -> Vec<(String, Vec<String>)> {
    let account = |said: &Value| {
        let scopes = said["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let scopes = scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some((said["email"].as_str()?.to_owned(), scopes))
    };
    wire["serviceAccounts"].as_array().into_iter().flatten().filter_map(account).collect()
}

/// The token or the identity of an account, which is called `default` or by its address.
pub(super) fn answer(
    world: &World,
    asker: &Asker<'_>,
    account: &str,
    what: &str,
    request: &Request,
    now: Timestamp,
) -> Answer {
    let wire = tombolo_api::instance(world, asker.key).unwrap_or_default();
    let found = accounts(&wire).into_iter().find(|(email, _)| account == "default" || account == email);
    let Some((email, _)) = found else { return page::not_found(&request.path) };
    if what == "token" {
        return page::made("application/json", token());
    }
    let audience = request.query("audience").filter(|audience| !audience.is_empty());
    let Some(audience) = audience else { return page::bad("non-empty audience parameter required") };
    page::made("application/text", identity(&email, &audience, now))
}

/// What `Authorization` may say to this lab's APIs, which look at nothing in it.
fn token() -> String {
    json!({ "access_token": "tombolo", "expires_in": LIFE, "token_type": "Bearer" }).to_string()
}

/// An identity that nobody signed (RFC 7519, section 6): who checks it, refuses it.
fn identity(email: &str, audience: &str, now: Timestamp) -> String {
    let seconds = now.0 / 1000;
    let claims = json!({
        "aud": audience,
        "azp": email,
        "email": email,
        "email_verified": true,
        "exp": seconds + LIFE,
        "iat": seconds,
        "iss": "https://tombolo.invalid",
        "sub": email,
    });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(json!({ "alg": "none", "typ": "JWT" })), part(claims))
}
