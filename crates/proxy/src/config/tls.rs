//! The keys of a pool about TLS: which files there are and what they are for. The files themselves
//! are read when the proxy starts, and again when they change.
//!
//! ```text
//!  clients ──(tls_cert, tls_key, tls_client_ca)── proxy ──(server_tls, server_tls_*)── servers
//! ```

use std::path::PathBuf;

use super::address::{Address, Server};
use super::error::Problem;
use super::pool::{Read, Reader};

/// The keys that [`Reader::client_tls`] and [`Reader::server_tls`] give a meaning.
pub(super) const KEYS: &[&str] = &[
    "server_tls",
    "server_tls_ca",
    "server_tls_cert",
    "server_tls_key",
    "server_tls_name",
    "server_tls_verify",
    "tls_cert",
    "tls_client_ca",
    "tls_key",
];

/// A certificate chain and its private key, each in a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and the CA.
    pub cert: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// TLS toward clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// What clients are shown.
    pub identity: Identity,
    /// CA certificates one of which must have signed the client's certificate; without them,
    /// clients show none.
    pub client_ca: Option<PathBuf>,
}

/// TLS toward servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// CA certificates one of which must have signed the server's certificate; the system's when
    /// absent.
    pub ca: Option<PathBuf>,
    /// What servers are shown that ask for a certificate.
    pub identity: Option<Identity>,
    /// The name or IP address that certificates must be for; the host of each server's address
    /// when absent.
    pub name: Option<String>,
    /// What is checked.
    pub verify: Verify,
}

/// What of a server's certificate is checked. There is no way to check nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Its chain to a CA, its dates, and that it is for the server's name.
    #[default]
    Full,
    /// Its chain to a CA and its dates: for a CA that signs for nobody else, such as a Memorystore
    /// instance's own.
    Chain,
}

impl Verify {
    const ALL: [Verify; 2] = [Verify::Full, Verify::Chain];

    fn name(self) -> &'static str {
        match self {
            Verify::Full => "full",
            Verify::Chain => "chain",
        }
    }
}

impl Reader<'_> {
    pub(super) fn client_tls(&self) -> Read<Option<ClientTls>> {
        let identity = self.identity("tls_cert", "tls_key")?;
        match (identity, self.pem("tls_client_ca")?) {
            (Some(identity), client_ca) => Ok(Some(ClientTls { identity, client_ca })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(self.missing("tls_cert", "a PEM file, since tls_client_ca is set")),
        }
    }

    pub(super) fn server_tls(&self, servers: &[Server]) -> Read<Option<ServerTls>> {
        let wanted = self.flag("server_tls")?;
        let ca = self.pem("server_tls_ca")?;
        let on = wanted.unwrap_or(ca.is_some());
        let others = KEYS.iter().filter(|key| key.starts_with("server_tls_"));
        if let Some(key) = others.copied().find(|key| self.entry.get(key).is_some() && !on) {
            return Err(match self.entry.get("server_tls") {
                Some(value) => {
                    self.error("server_tls", value, Problem::BadValue, &format!("'true', since {key} is set"))
                }
                None => self.missing("server_tls", &format!("'true' or a server_tls_ca, since {key} is set")),
            });
        }
        if !on {
            return Ok(None);
        }
        let tls = ServerTls {
            ca,
            identity: self.identity("server_tls_cert", "server_tls_key")?,
            name: self.parsed("server_tls_name", "a host name or an IP address", |text| {
                rustls::pki_types::ServerName::try_from(text).is_ok().then(|| text.to_string())
            })?,
            verify: self.named("server_tls_verify", &Verify::ALL, Verify::name)?.unwrap_or_default(),
        };
        let nameless = |server: &&Server| match &server.address {
            Address::Unix(_) => true,
            Address::Tcp(host, _) => rustls::pki_types::ServerName::try_from(host.as_str()).is_err(),
        };
        match servers.iter().find(nameless) {
            Some(server) if tls.name.is_none() => Err(self.missing(
                "server_tls_name",
                &format!("the name in the certificate of '{}', whose address has none", server.address),
            )),
            _ => Ok(Some(tls)),
        }
    }

    /// A certificate and its key: both or neither.
    fn identity(&self, cert: &str, key: &str) -> Read<Option<Identity>> {
        match (self.pem(cert)?, self.pem(key)?) {
            (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.missing(key, &format!("a PEM file, since {cert} is set"))),
            (None, Some(_)) => Err(self.missing(cert, &format!("a PEM file, since {key} is set"))),
        }
    }

    fn pem(&self, key: &str) -> Read<Option<PathBuf>> {
        self.file(key, "the path of a PEM file")
    }

    pub(super) fn file(&self, key: &str, expected: &str) -> Read<Option<PathBuf>> {
        self.parsed(key, expected, |text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Pool};

    fn read(servers: &str, lines: &[&str]) -> Result<Pool, String> {
        let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
        let text = format!("p:\n  listen: 0.0.0.0:1\n  redis: true\n  servers:\n   - {servers}\n{lines}");
        match Config::parse("f", &text) {
            Ok(mut config) => Ok(config.pools.remove(0)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_not_said_has_a_meaning() {
        let plain = read("a:1:1", &[]).expect("no TLS");
        assert_eq!((plain.tls, plain.server_tls), (None, None));
        let pool = read("10.0.0.3:6378:1", &["server_tls_ca: ca.pem"]).expect("a CA is enough");
        let tls = pool.server_tls.expect("TLS");
        assert_eq!((tls.ca, tls.name, tls.verify), (Some(PathBuf::from("ca.pem")), None, Verify::Full));
        let pool =
            read("a:1:1", &["server_tls: true", "server_tls_verify: chain", "server_tls_name: b.example"])
                .expect("the system's CAs");
        let tls = pool.server_tls.expect("TLS");
        assert_eq!((tls.ca, tls.name.as_deref(), tls.verify), (None, Some("b.example"), Verify::Chain));
        let pool =
            read("a:1:1", &["tls_cert: c.pem", "tls_key: k.pem", "tls_client_ca: ca.pem"]).expect("all");
        let tls = pool.tls.expect("TLS");
        assert_eq!(tls.identity, Identity { cert: "c.pem".into(), key: "k.pem".into() });
        assert_eq!(tls.client_ca, Some("ca.pem".into()));
        assert_eq!(read("a:1:1", &["server_tls: false"]).expect("off").server_tls, None);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (server, lines, expected) in [
            (
                "a:1:1",
                &["tls_cert: c"][..],
                "key 'tls_key': missing key: ''; expected a PEM file, since tls_cert",
            ),
            ("a:1:1", &["tls_key: c"], "key 'tls_cert': missing key"),
            ("a:1:1", &["tls_client_ca: c"], "key 'tls_cert': missing key"),
            (
                "a:1:1",
                &["server_tls_name: a"],
                "key 'server_tls': missing key: ''; expected 'true' or a server_tls_ca",
            ),
            (
                "a:1:1",
                &["server_tls: false", "server_tls_ca: a"],
                "'false'; expected 'true', since server_tls_ca is set",
            ),
            ("a:1:1", &["server_tls: true", "server_tls_cert: a"], "key 'server_tls_key': missing key"),
            (
                "a:1:1",
                &["server_tls: true", "server_tls_verify: none"],
                "bad value: 'none'; expected one of full, chain",
            ),
            (
                "a:1:1",
                &["server_tls: true", "server_tls_name: a b"],
                "bad value: 'a b'; expected a host name",
            ),
            ("/run/redis.sock:1", &["server_tls: true"], "key 'server_tls_name': missing key"),
            ("a:1:1", &["tls_cert: "], "key 'tls_cert': bad value: ''; expected the path of a PEM file"),
        ] {
            let message = read(server, lines).expect_err(expected);
            assert!(message.contains(expected), "{lines:?}: {message}");
        }
    }
}
