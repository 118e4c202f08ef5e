//! Certificates for tests, made anew each time, as PEM files in a folder.
#![allow(unreachable_pub, reason = "a module of a test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A folder for certificates.
pub struct Folder(tempfile::TempDir);

/// A CA, whose certificate is in a file.
pub struct Ca<'a> {
    folder: &'a Folder,
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    pub file: PathBuf,
}

/// A certificate and its key in files.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary directory"))
    }

    /// Puts a file into the place of what had its name, in one step.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (fresh, path) = (self.0.path().join("fresh"), self.0.path().join(name));
        std::fs::write(&fresh, text).expect("a write");
        std::fs::rename(&fresh, &path).expect("a rename");
        path
    }

    pub fn ca(&self, name: &str) -> Ca<'_> {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let file = self.write(&format!("{name}.pem"), &pem);
        Ca { folder: self, issuer: Issuer::new(params, key), pem, file }
    }
}

impl Ca<'_> {
    /// A certificate for these names and addresses.
    pub fn sign(&self, file: &str, names: &[&str]) -> Pair {
        self.sign_with(file, names, |_| {})
    }

    /// One that is out of date.
    pub fn sign_expired(&self, file: &str, names: &[&str]) -> Pair {
        self.sign_with(file, names, |params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    fn sign_with(&self, file: &str, names: &[&str], change: impl Fn(&mut CertificateParams)) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, format!("the one in {file}"));
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            cert: self.folder.write(&format!("{file}.crt"), &cert.pem()),
            key: self.folder.write(&format!("{file}.key"), &key.serialize_pem()),
        }
    }

    /// What a client has that trusts this CA, and shows `identity`.
    pub fn client(&self, identity: Option<&Pair>) -> Arc<ClientConfig> {
        self.client_of(rustls::ALL_VERSIONS, identity)
    }

    pub fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Pair>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("a CA");
        let builder = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_file(&pair.cert).expect("PEM");
                let key = PrivateKeyDer::from_pem_file(&pair.key).expect("PEM");
                builder.with_client_auth_cert(vec![cert], key).expect("a pair")
            }
        })
    }
}

/// A path as it is written into a configuration.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
