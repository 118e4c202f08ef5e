//! In-transit encryption: an instance's certificate authority, and the certificate that it signed for the instance.
//!
//! Both follow from the World's seed, the instance and when it was made, and Ed25519 signs without dice: the same
//! instance has the same certificates for as long as it is there, and nothing is kept but the seed.
//! Source: Google's documentation of Memorystore for Redis, "In-transit encryption".

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha1::{Digest, Sha1};
use std::time::{Duration, SystemTime};
use tombolo_model::{Redis, Seed, Timestamp};

/// How long an authority is valid. Source: the documentation says ten years.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What comes before an Ed25519 key of 32 bytes in PKCS #8 (RFC 8410, section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What proves that an instance is the instance.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The server's certificate and its key, and the authority's certificate, as PEM. It is secret.
    pub server: String,
    /// The authority, for clients to trust.
    pub authority: Authority,
}

/// Without its secrets.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// A certificate authority as `serverCaCerts` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its number, in decimal.
    pub serial_number: String,
    /// Its certificate as PEM.
    pub cert: String,
    /// From when it is valid.
    pub create_time: Timestamp,
    /// Until when it is valid.
    pub expire_time: Timestamp,
    /// SHA-1 of the certificate, in hex.
    pub sha1_fingerprint: String,
}

/// The identity of an instance with TLS; none of one without.
pub fn identity(redis: &Redis, seed: &Seed) -> Option<Identity> {
    // What is signed here has a form that cannot fail.
    redis.tls.then(|| make(redis, seed).ok()).flatten()
}

fn make(redis: &Redis, seed: &Seed) -> Result<Identity, rcgen::Error> {
    let key = |of: &str| {
        let secret = seed.bytes(&format!("redis {} {of} key", redis.id));
        KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from([&PKCS8[..], &secret].concat()),
            &PKCS_ED25519,
        )
    };
    let number = |of: &str| {
        let bytes = seed.bytes(&format!("redis {} {of} number", redis.id));
        u64::from_be_bytes(std::array::from_fn(|i| bytes[i])) >> 1 | 1
    };
    let created = SystemTime::UNIX_EPOCH + Duration::from_millis(redis.create_time.0.max(0).unsigned_abs());
    // Certificates count in seconds.
    let params = |of: &str, names: Vec<String>| -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Google, Inc");
        params.distinguished_name.push(DnType::CommonName, format!("Memorystore {of} {}", redis.id));
        params.not_before = created.into();
        params.not_after = (created + LIFE).into();
        params.serial_number = Some(SerialNumber::from(number(of)));
        Ok(params)
    };
    let mut authority = params("Redis Server CA", Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = key("authority")?;
    let certificate = authority.self_signed(&authority_key)?;
    let mut server = params("Redis Server", vec![redis.host.to_string()])?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = key("server")?;
    let signed = server.signed_by(&server_key, &Issuer::from_params(&authority, &authority_key))?;
    let sha1 = Sha1::digest(certificate.der());
    Ok(Identity {
        server: format!("{}{}{}", signed.pem(), server_key.serialize_pem(), certificate.pem()),
        authority: Authority {
            serial_number: number("Redis Server CA").to_string(),
            cert: certificate.pem(),
            create_time: redis.create_time,
            expire_time: Timestamp(redis.create_time.0 + LIFE.as_millis() as i64),
            sha1_fingerprint: sha1.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_model::{Change, ConnectMode, NetworkKey, RedisKey, RedisSpec, RedisTier, World};

    fn redis(tls: bool) -> (Redis, Seed) {
        let seed = Seed::new(&[7; 32]);
        let enable =
            |service: &str| Change::ServiceEnable { project: "project-1".into(), service: service.into() };
        let key = RedisKey::new("project-1", "us-central1", "a");
        let changes = [
            Change::ProjectCreate("project-1".into()),
            enable("compute.googleapis.com"),
            enable("redis.googleapis.com"),
            Change::RedisInsert(RedisSpec {
                key: key.clone(),
                authorized_network: NetworkKey::new("project-1", "default"),
                reserved_ip_range: None,
                connect_mode: ConnectMode::DirectPeering,
                tier: RedisTier::Basic,
                memory_size_gb: 1,
                tls,
            }),
        ];
        let world = World::default().seeded(seed.clone());
        let apply =
            |world: World, change| world.apply(change, Timestamp(1_600_000_000_000)).expect("a good change");
        let world = changes.iter().fold(world, apply);
        ((*world.redis[&key]).clone(), seed)
    }

    #[test]
    fn an_identity_follows_from_the_seed_and_the_instance() {
        let (redis, seed) = redis(true);
        assert_eq!(redis.port, tombolo_model::redis::TLS_PORT);
        let one = identity(&redis, &seed).expect("an identity");
        assert_eq!(identity(&redis, &seed).as_ref(), Some(&one), "the same again");
        assert_ne!(identity(&redis, &Seed::new(&[8; 32])), Some(one.clone()), "another seed");
        let other = Redis { id: redis.id + 1, ..redis.clone() };
        assert_ne!(identity(&other, &seed), Some(one.clone()), "another instance");
        assert_eq!(one.server.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(one.server.ends_with(&one.authority.cert) && !one.authority.cert.contains("KEY"));
        assert_eq!(one.authority.sha1_fingerprint.len(), 40);
        assert!(!format!("{one:?}").contains("KEY"), "no key is printed");
    }

    #[test]
    fn without_tls_there_is_none() {
        let (redis, seed) = redis(false);
        assert_eq!(identity(&redis, &seed), None);
    }
}
