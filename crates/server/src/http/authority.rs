//! The local certificate authority: who trusts it takes this server for Google's hosts, and for no other.
//!
//! ```text
//!   STATE/ca-key.pem  0600   the key and the certificate, made together
//!   STATE/ca.pem             the certificate, for clients to trust
//! ```
//!
//! The certificate is constrained to [`DOMAIN`] (RFC 5280, section 4.2.1.10), so that a key which gets away can speak
//! for nobody else.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The domain whose hosts it speaks for: Google's APIs.
pub const DOMAIN: &str = "googleapis.com";

/// How long the authority is valid, from when it is made.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a host's certificate is valid.
const LEAF_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a host's certificate is used.
const LEAF_USE: Duration = Duration::from_secs(24 * 3600);
/// Clients' clocks may differ.
const BEFORE: Duration = Duration::from_secs(24 * 3600);
/// Hosts whose certificates are kept. Google has fewer; any more are a client's fancy.
const HOSTS: usize = 256;

/// Whether a host, in lower case, is one that the authority speaks for.
pub(super) fn is_googles(host: &str) -> bool {
    let labels = host.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.'));
    let good = |label: &str| {
        !label.is_empty() && label.len() < 64 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() < 254 && labels.is_some_and(|labels| labels.split('.').all(good))
}

/// Where the certificate is, for clients.
pub fn certificate_file(state: &Path) -> PathBuf {
    state.join("ca.pem")
}

/// The authority of a state folder.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    /// By host, and since when.
    hosts: Mutex<HashMap<String, (Instant, Arc<ServerConfig>)>>,
}

impl Debug for Authority {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// The authority in a folder, made if there is none; several processes may ask at the same time.
    pub fn in_folder(state: &Path) -> Result<Authority> {
        let path = state.join("ca-key.pem");
        let at = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
        if !path.exists() {
            let (key, certificate) = make().map_err(Error::other)?;
            // The key comes first: that is the one that is read back from both.
            let both = format!("{}{certificate}", key.serialize_pem());
            write_once(&path, both.as_bytes(), 0o600).map_err(at)?;
        }
        let both = std::fs::read_to_string(&path).map_err(at)?;
        let broken =
            |what: &dyn std::fmt::Display| at(Error::other(format!("not a key and its certificate: {what}")));
        let key = KeyPair::from_pem(&both).map_err(|error| broken(&error))?;
        let certificate = CertificateDer::from_pem_slice(both.as_bytes()).map_err(|error| broken(&error))?;
        let public = both.find("-----BEGIN CERTIFICATE").and_then(|start| both.get(start..));
        let public = public.ok_or_else(|| broken(&"no certificate"))?;
        let for_clients = certificate_file(state);
        if std::fs::read(&for_clients).ok().as_deref() != Some(public.as_bytes()) {
            replace(&for_clients, public.as_bytes(), 0o644)?;
        }
        Ok(Authority { key, certificate, hosts: Mutex::default() })
    }

    /// How to be `host`, which must be [`DOMAIN`]'s.
    pub(super) fn host(&self, host: &str) -> Result<Arc<ServerConfig>> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, config)) = hosts.get(host)
            && since.elapsed() < LEAF_USE
        {
            return Ok(config.clone());
        }
        if hosts.len() >= HOSTS {
            hosts.clear();
        }
        let config = Arc::new(self.leaf(host).map_err(Error::other)?);
        hosts.insert(host.to_owned(), (Instant::now(), config.clone()));
        Ok(config)
    }

    fn leaf(
        &self,
        host: &str,
    ) -> std::result::Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = named("Tombolo");
        params.not_before = (SystemTime::now() - BEFORE).into();
        params.not_after = (SystemTime::now() + LEAF_LIFE).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let own = authority();
        let certificate = params.signed_by(&key, &Issuer::from_params(&own, &self.key))?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// What the authority is but for its dates and its key: those who sign with it say the same.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Tombolo's own certificate authority, on this machine only");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(DOMAIN.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params
}

fn make() -> std::result::Result<(KeyPair, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = authority();
    params.not_before = (SystemTime::now() - BEFORE).into();
    params.not_after = (SystemTime::now() + LIFE).into();
    let certificate = params.self_signed(&key)?;
    Ok((key, certificate.pem()))
}

/// Writes a file whole, beside, with a name of its own.
fn beside(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(beside)
}

/// Writes a file whole or not at all; whoever was first stays.
fn write_once(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let beside = beside(path, bytes, mode)?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, in the place of what there was.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    std::fs::rename(beside(path, bytes, mode)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_its_key_is_its_owners() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Authority::in_folder(folder.path()).expect("an authority");
        let again = Authority::in_folder(folder.path()).expect("the same");
        assert_eq!(first.certificate, again.certificate);
        let mode =
            |name: &str| folder.path().join(name).metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode("ca-key.pem"), mode("ca.pem")), (0o600, 0o644));
        let public = std::fs::read_to_string(certificate_file(folder.path())).expect("a file");
        assert!(public.starts_with("-----BEGIN CERTIFICATE") && !public.contains("PRIVATE"));
        let files = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(files, 2);
        std::fs::write(folder.path().join("ca-key.pem"), public).expect("written");
        let error = Authority::in_folder(folder.path()).expect_err("no key");
        assert!(error.to_string().contains("ca-key.pem: not a key"), "{error}");
    }

    #[test]
    fn hosts_have_one_certificate_for_a_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::in_folder(folder.path()).expect("an authority");
        let one = authority.host("redis.googleapis.com").expect("a certificate");
        assert!(Arc::ptr_eq(&one, &authority.host("redis.googleapis.com").expect("the same")));
        assert!(!Arc::ptr_eq(&one, &authority.host("compute.googleapis.com").expect("another")));
    }

    #[test]
    fn it_speaks_for_googles_hosts() {
        for (host, good) in [
            ("redis.googleapis.com", true),
            ("redis.us-central1.rep.googleapis.com", true),
            ("googleapis.com", false),
            (".googleapis.com", false),
            ("a..googleapis.com", false),
            ("evilgoogleapis.com", false),
            ("redis.googleapis.com.evil.example", false),
            ("*.googleapis.com", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(is_googles(host), good, "{host}");
        }
    }
}
