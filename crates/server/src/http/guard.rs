//! Who may ask: whoever is on this machine, or, when others can reach the server, whoever has the token.
//!
//! A web page can have a browser send requests to loopback, and a name that resolves to loopback makes them its own
//! (DNS rebinding). So without a token a request must name the server by an address, `localhost` or a host of
//! Google's, and must not come from a page.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use std::fmt::{Debug, Formatter};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use subtle::ConstantTimeEq;
use tombolo_api::Failure;

/// Random bytes in a token.
const TOKEN: usize = 32;

/// A secret that clients send as `Authorization: Bearer TOKEN`. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Debug for Token {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the token in a file; makes both, at random and for the owner's eyes only, if there is no file.
    pub fn in_file(path: &Path) -> Result<Token> {
        match File::open(path) {
            Ok(file) => {
                let mut text = String::new();
                file.take(4096).read_to_string(&mut text)?;
                let token = text.trim();
                let good = token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_graphic());
                let bad = || Error::other("expected a token of at least 16 printable characters");
                good.then(|| Token(token.to_owned())).ok_or_else(bad)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut bytes = [0; TOKEN];
                getrandom::fill(&mut bytes).map_err(|error| Error::other(error.to_string()))?;
                let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                // Whole or not at all: written beside, then given its name.
                let beside = path.with_extension("new");
                let _ = std::fs::remove_file(&beside);
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
                file.write_all(token.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&beside, path)?;
                Ok(Token(token))
            }
            Err(error) => Err(error),
        }
    }
}

/// Who may ask.
#[derive(Clone, Debug)]
pub enum Guard {
    /// Whoever is on this machine, but no web page.
    Local,
    /// Whoever has the token.
    Token(Token),
}

impl Guard {
    /// Lets a request in by its head, or says why not.
    pub(super) fn admit(&self, headers: &HeaderMap, host: &str) -> std::result::Result<(), Failure> {
        match self {
            Guard::Token(token) => {
                let sent = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
                let bearer =
                    sent.split_at_checked(7).filter(|(kind, _)| kind.eq_ignore_ascii_case(b"bearer "));
                let same = bearer.is_some_and(|(_, sent)| token.0.as_bytes().ct_eq(sent).into());
                let why =
                    "Request had invalid authentication credentials. Expected the token of this Tombolo.";
                if same { Ok(()) } else { Err(Failure::new(401, "authError", why)) }
            }
            Guard::Local if headers.contains_key(ORIGIN) => {
                Err(Failure::new(403, "forbidden", "Web pages may not use this server."))
            }
            Guard::Local if is_ours(host) || !headers.contains_key(HOST) => Ok(()),
            Guard::Local => Err(Failure::new(
                403,
                "forbidden",
                format!("The host '{host}' is neither an address nor localhost nor one of Google's."),
            )),
        }
    }
}

/// Whether a host, with or without a port, is a name that no stranger can give to this machine.
fn is_ours(host: &str) -> bool {
    let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    bare == "localhost" || bare.ends_with(".googleapis.com") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (hyper::header::HeaderName::from_static(name), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn web_pages_are_kept_out() {
        for (host, code) in [
            ("127.0.0.1:8090", None),
            ("localhost", None),
            ("[::1]:8090", None),
            ("redis.googleapis.com", None),
            ("evil.example:8090", Some(403)),
            ("googleapis.com.evil.example", Some(403)),
        ] {
            let admitted = Guard::Local.admit(&headers(&[("host", host)]), host);
            assert_eq!(admitted.err().map(|failure| failure.code), code, "{host}");
        }
        let page = headers(&[("host", "localhost"), ("origin", "http://localhost")]);
        assert_eq!(Guard::Local.admit(&page, "localhost").err().map(|failure| failure.code), Some(403));
    }

    #[test]
    fn a_token_is_made_once_and_wanted_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let token = Token::in_file(&path).expect("a token");
        assert_eq!(token.0.len(), 2 * TOKEN);
        assert_eq!(Token::in_file(&path).expect("the same").0, token.0);
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{token:?}"), "Token");
        let guard = Guard::Token(token.clone());
        let admits = |value: &str| guard.admit(&headers(&[("authorization", value)]), "any.example").is_ok();
        assert!(admits(&format!("Bearer {}", token.0)) && admits(&format!("bearer {}", token.0)));
        for wrong in
            ["", "Bearer", "Bearer ", &format!("Basic {}", token.0), &format!("Bearer {}", &token.0[1..])]
        {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(guard.admit(&HeaderMap::new(), "localhost").is_err());
        std::fs::write(&path, "short\n").expect("written");
        Token::in_file(&path).expect_err("too short");
    }
}
