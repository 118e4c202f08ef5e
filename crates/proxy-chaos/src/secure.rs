//! Certificates of a run with TLS: a CA, and one certificate for everybody's address.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// PEM files in a folder that goes with this, and what clients need.
#[derive(Debug)]
pub struct Secure {
    folder: TempDir,
    /// Trusts the CA.
    pub client: Arc<ClientConfig>,
}

impl Secure {
    /// Makes them anew.
    pub fn new(address: Ipv4Addr) -> Result<Secure> {
        let folder = tempfile::tempdir()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name.push(DnType::CommonName, "chaos");
        let key = KeyPair::generate()?;
        let certificate = authority.self_signed(&key)?;
        std::fs::write(folder.path().join("ca.pem"), certificate.pem())?;
        let issuer = Issuer::new(authority, key);
        let (own, key) = (CertificateParams::new(vec![address.to_string()])?, KeyPair::generate()?);
        std::fs::write(folder.path().join("own.pem"), own.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(folder.path().join("own.key"), key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(certificate.der().to_vec()))?;
        let provider = rustls::crypto::ring::default_provider().into();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Secure { folder, client: Arc::new(client) })
    }

    /// The CA's certificate.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// Options of a redis-server that speaks TLS on this port, too.
    pub fn redis(&self, port: u16) -> Vec<String> {
        let file = |name: &str| shown(&self.file(name));
        [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", file("ca.pem")),
            ("--tls-cert-file", file("own.pem")),
            ("--tls-key-file", file("own.key")),
            ("--tls-auth-clients", "no".to_string()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_string(), value])
        .collect()
    }

    /// Lines of a pool that speaks TLS on both sides.
    pub fn pool(&self) -> String {
        let file = |name: &str| shown(&self.file(name));
        format!(
            "  tls_cert: {}\n  tls_key: {}\n  server_tls_ca: {}\n",
            file("own.pem"),
            file("own.key"),
            file("ca.pem")
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
