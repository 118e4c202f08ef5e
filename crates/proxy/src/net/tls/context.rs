//! What TLS connections are made with: rustls's configurations, by the configuration they come
//! from. One `Contexts` serves every thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

pub use super::files::TlsError;
use super::files::{certificates, private_key, roots, system_roots};
use super::watch::{News, Watched};
use crate::config::{ClientTls, Config, Identity, ServerTls, Verify, is_world_readable};
use crate::log::{ERROR, Log, NOTICE, WARN};
use crate::net::NetError;

/// Every TLS configuration in use; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Contexts(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    clients: Table<ClientTls, ServerConfig>,
    servers: Table<ServerTls, ClientConfig>,
}

type Table<K, C> = Vec<(K, Watched<Arc<C>>)>;

impl Contexts {
    /// Reads the files of every pool. They replace what was read before; on an error nothing
    /// changes.
    pub fn load(&self, config: &Config) -> Result<(), NetError> {
        let mut tables = Tables::default();
        for pool in &config.pools {
            let named = |reason| NetError::Tls { pool: pool.name.clone(), reason };
            if let Some(key) = &pool.tls {
                tables.clients.find(key, files_of_clients, toward_clients).map_err(named)?;
            }
            if let Some(key) = &pool.server_tls {
                tables.servers.find(key, files_of_servers, toward_servers).map_err(named)?;
            }
        }
        *self.tables() = tables;
        Ok(())
    }

    /// Tells the log which private keys everybody on this machine may read.
    pub fn warn(&self, config: &Config, log: &Log) {
        for pool in &config.pools {
            let keys = [
                ("tls_key", pool.tls.as_ref().map(|tls| &tls.identity)),
                ("server_tls_key", pool.server_tls.as_ref().and_then(|tls| tls.identity.as_ref())),
            ];
            for (name, identity) in keys {
                if let Some(Identity { key, .. }) =
                    identity.filter(|identity| is_world_readable(&identity.key))
                {
                    let (pool, key) = (&pool.name, key.display());
                    log.about(
                        WARN,
                        &[("pool", pool)],
                        format_args!(
                            "pool '{pool}', key '{name}': {key}: everybody on this machine may read the private key"
                        ),
                    );
                }
            }
        }
    }

    /// What a new connection of a client is made with.
    pub(in crate::net) fn toward_clients(
        &self,
        key: &ClientTls,
        log: &Log,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        self.tables().clients.newest(key, files_of_clients, toward_clients, log)
    }

    /// What a new connection to a server is made with.
    pub(in crate::net) fn toward_servers(
        &self,
        key: &ServerTls,
        log: &Log,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        self.tables().servers.newest(key, files_of_servers, toward_servers, log)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Whoever panicked left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait Find<K, C> {
    fn find(
        &mut self,
        key: &K,
        files: fn(&K) -> Vec<PathBuf>,
        make: fn(&K) -> Result<Arc<C>, TlsError>,
    ) -> Result<&mut Watched<Arc<C>>, TlsError>;

    fn newest(
        &mut self,
        key: &K,
        files: fn(&K) -> Vec<PathBuf>,
        make: fn(&K) -> Result<Arc<C>, TlsError>,
        log: &Log,
    ) -> Result<Arc<C>, TlsError> {
        let entry = self.find(key, files, make)?;
        match entry.refresh(|| make(key), Instant::now()) {
            News::None => {}
            News::Changed => {
                log.line(NOTICE, format_args!("TLS: changed files are in use: {}", names(files(key))))
            }
            News::Broken(error) => {
                log.line(ERROR, format_args!("TLS: changed files are of no use, the old ones stay: {error}"));
            }
        }
        Ok(entry.value().clone())
    }
}

impl<K: Clone + PartialEq, C> Find<K, C> for Table<K, C> {
    fn find(
        &mut self,
        key: &K,
        files: fn(&K) -> Vec<PathBuf>,
        make: fn(&K) -> Result<Arc<C>, TlsError>,
    ) -> Result<&mut Watched<Arc<C>>, TlsError> {
        let place = match self.iter().position(|(other, _)| other == key) {
            Some(place) => place,
            None => {
                self.push((key.clone(), Watched::new(files(key), || make(key), Instant::now())?));
                self.len() - 1
            }
        };
        Ok(&mut self[place].1)
    }
}

fn names(files: Vec<PathBuf>) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn files_of_clients(tls: &ClientTls) -> Vec<PathBuf> {
    let Identity { cert, key } = tls.identity.clone();
    [cert, key].into_iter().chain(tls.client_ca.clone()).collect()
}

fn files_of_servers(tls: &ServerTls) -> Vec<PathBuf> {
    let identity = tls.identity.iter().flat_map(|identity| [identity.cert.clone(), identity.key.clone()]);
    tls.ca.iter().cloned().chain(identity).collect()
}

fn toward_clients(tls: &ClientTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let Identity { cert, key } = &tls.identity;
    let failed = |error: rustls::Error| TlsError::new("tls_cert", cert, error);
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots("tls_client_ca", ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| TlsError::new("tls_client_ca", ca, error))?,
            )
        }
    };
    let chain = certificates("tls_cert", cert)?;
    let mut config = builder
        .with_single_cert(chain, private_key("tls_key", key)?)
        .map_err(|error| mismatch("tls_cert", cert, key, error))?;
    // New keys for tickets with each change: a client whose CA is gone can not come back by one.
    config.ticketer = ring::Ticketer::new().map_err(failed)?;
    Ok(Arc::new(config))
}

fn toward_servers(tls: &ServerTls) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let (roots, ca) = match &tls.ca {
        Some(ca) => (roots("server_tls_ca", ca)?, ca.as_path()),
        None => (system_roots("server_tls_ca")?, Path::new("the system's CA certificates")),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new("server_tls_ca", ca, error))?;
    let builder = match tls.verify {
        Verify::Full => builder.with_root_certificates(roots),
        Verify::Chain => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(ChainVerifier { roots, provider }))
        }
    };
    Ok(Arc::new(match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(Identity { cert, key }) => builder
            .with_client_auth_cert(
                certificates("server_tls_cert", cert)?,
                private_key("server_tls_key", key)?,
            )
            .map_err(|error| mismatch("server_tls_cert", cert, key, error))?,
    }))
}

fn mismatch(name: &'static str, cert: &Path, key: &Path, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::new(
            name,
            cert,
            format!("the private key in {} is not the certificate's", key.display()),
        ),
        other => TlsError::new(name, cert, other),
    }
}

/// Checks a certificate's chain, dates and purpose, but not whom it is for.
#[derive(Debug)]
struct ChainVerifier {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
        .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
