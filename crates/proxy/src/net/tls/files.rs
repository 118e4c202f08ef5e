//! PEM files: certificates, private keys, and what about them an operator should be told.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Why TLS can not be set up as configured.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("key '{key}': {file}: {reason}")]
pub struct TlsError {
    /// The key of the configuration.
    pub key: &'static str,
    /// The file that it names.
    pub file: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

impl TlsError {
    pub(super) fn new(key: &'static str, file: &Path, reason: impl ToString) -> TlsError {
        TlsError { key, file: file.display().to_string(), reason: reason.to_string() }
    }
}

/// What tells that a file was replaced or rewritten: device, inode, size, and the times of the last
/// change of its content and of its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

impl Stamp {
    /// The stamp of a file, or of what a symbolic link leads to; `None` when there is none.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let meta = fs::metadata(path).ok()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Some(Stamp(meta.dev(), meta.ino(), meta.size(), modified, (meta.ctime(), meta.ctime_nsec())))
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::new(key, path, error))
}

/// Every certificate of a file, at least one.
pub(super) fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(key, path)?)
        .collect::<Result<_, pem::Error>>()
        .map_err(|error| TlsError::new(key, path, format!("{error}; expected certificates in PEM")))?;
    match certificates.is_empty() {
        true => Err(TlsError::new(key, path, "no certificate; expected '-----BEGIN CERTIFICATE-----'")),
        false => Ok(certificates),
    }
}

/// The private key of a file.
pub(super) fn private_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(key, path)?).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound => "no private key; an encrypted one can not be used".to_string(),
            other => other.to_string(),
        };
        TlsError::new(key, path, format!("{reason}; expected a private key in PEM"))
    })
}

/// The CA certificates of a file.
pub(super) fn roots(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| {
            TlsError::new(key, path, format!("{error}; expected the certificates of CAs"))
        })?;
    }
    Ok(roots)
}

/// The CA certificates that the system trusts.
pub(super) fn system_roots(key: &'static str) -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // As everywhere: those that can not be read are not trusted, and that is all.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let reason = found.errors.first().map_or("there are none".to_string(), ToString::to_string);
    let place = PathBuf::from("the system's CA certificates");
    Err(TlsError::new(key, &place, format!("{reason}; set server_tls_ca")))
}
