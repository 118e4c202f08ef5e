//! Who may ask: whoever is on this machine, or, when others can reach the server, whoever has the token.
//!
//! A web page can have a browser send requests to loopback, and a name that resolves to loopback makes them its own
//! (DNS rebinding). So without a token a request must name the server by an address, `localhost` or a host of
//! Google's, and must not come from a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, PROXY_AUTHORIZATION};
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

impl Token {
    /// Whether a header has it: as `Bearer TOKEN` or, where clients know only passwords, as `Basic`, whoever the user.
    fn is_sent(&self, headers: &HeaderMap, name: HeaderName) -> bool {
        let basic = name == PROXY_AUTHORIZATION;
        let sent = headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
        let Some(space) = sent.iter().position(|byte| *byte == b' ') else { return false };
        let (kind, sent) = sent.split_at(space);
        let sent = sent.trim_ascii();
        let same = |sent: &[u8]| self.0.as_bytes().ct_eq(sent).into();
        if kind.eq_ignore_ascii_case(b"bearer") {
            return same(sent);
        }
        let pair = STANDARD.decode(sent).ok().filter(|_| basic && kind.eq_ignore_ascii_case(b"basic"));
        pair.is_some_and(|pair| pair.iter().position(|b| *b == b':').is_some_and(|at| same(&pair[at + 1..])))
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
    /// Lets a request in by its head, or says why not. One that is inside a tunnel has been asked for the token at
    /// its entrance, and what it sends for Google is not that.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        host: &str,
        inside: bool,
    ) -> std::result::Result<(), Failure> {
        match self {
            Guard::Token(token) if !inside => match token.is_sent(headers, AUTHORIZATION) {
                true => Ok(()),
                false => Err(Failure::new(
                    401,
                    "authError",
                    "Request had invalid authentication credentials. Expected the token of this Tombolo.",
                )),
            },
            _ if headers.contains_key(ORIGIN) => {
                Err(Failure::new(403, "forbidden", "Web pages may not use this server."))
            }
            // A request that names no host is no browser's. HTTP/2 names it elsewhere than in this header.
            _ if is_ours(host) || (host.is_empty() && !headers.contains_key(HOST)) => Ok(()),
            _ => Err(Failure::new(
                403,
                "forbidden",
                format!("The host '{host}' is neither an address nor localhost nor one of Google's."),
            )),
        }
    }
}

impl Guard {
    /// Lets a tunnel be made, or says why not.
    pub(super) fn admit_proxied(&self, headers: &HeaderMap) -> std::result::Result<(), Failure> {
        match self {
            Guard::Token(token) if !token.is_sent(headers, PROXY_AUTHORIZATION) => Err(Failure::new(
                407,
                "proxyAuthenticationRequired",
                "This proxy needs the token of this Tombolo, as a password or as Bearer",
            )),
            _ if headers.contains_key(ORIGIN) => {
                Err(Failure::new(403, "forbidden", "Web pages may not use this server."))
            }
            _ => Ok(()),
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
            (HeaderName::from_static(name), value.parse().expect("a value"))
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
            let admitted = Guard::Local.admit(&headers(&[("host", host)]), host, false);
            assert_eq!(admitted.err().map(|failure| failure.code), code, "{host}");
            // As HTTP/2 has it.
            let admitted = Guard::Local.admit(&HeaderMap::new(), host, false);
            assert_eq!(admitted.err().map(|failure| failure.code), code, "{host}");
        }
        let page = headers(&[("host", "localhost"), ("origin", "http://localhost")]);
        assert_eq!(
            Guard::Local.admit(&page, "localhost", false).err().map(|failure| failure.code),
            Some(403)
        );
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
        let admits =
            |value: &str| guard.admit(&headers(&[("authorization", value)]), "any.example", false).is_ok();
        assert!(admits(&format!("Bearer {}", token.0)) && admits(&format!("bearer {}", token.0)));
        for wrong in
            ["", "Bearer", "Bearer ", &format!("Basic {}", token.0), &format!("Bearer {}", &token.0[1..])]
        {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(guard.admit(&HeaderMap::new(), "localhost", false).is_err());
        // A tunnel asks for itself, and what is inside does not.
        let proxied = |value: &str| guard.admit_proxied(&headers(&[("proxy-authorization", value)])).is_ok();
        let password = |password: &str| format!("Basic {}", STANDARD.encode(format!("any:{password}")));
        assert!(proxied(&format!("Bearer {}", token.0)) && proxied(&password(&token.0)));
        for wrong in
            ["", "Basic", "Basic !", &password(""), &password("wrong"), &format!("Basic {}", token.0)]
        {
            assert!(!proxied(wrong), "{wrong}");
        }
        assert!(guard.admit_proxied(&headers(&[("authorization", &format!("Bearer {}", token.0))])).is_err());
        assert!(guard.admit(&headers(&[("authorization", "Bearer google's")]), "localhost", true).is_ok());
        std::fs::write(&path, "short\n").expect("written");
        Token::in_file(&path).expect_err("too short");
    }
}
