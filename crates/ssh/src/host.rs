//! Host keys: one secret of the lab, and from it a key per VM.
//!
//! So there is one file to keep, nothing to make when a VM is made, and nothing to forget when it goes; an instance
//! that is made again has another id, and with it another key, as on Google's cloud.

use anyhow::{Context, Result, bail};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::{Debug, Formatter};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::identity;

/// What this use of the secret is called.
const PURPOSE: &[u8] = b"tombolo ssh host key";

/// The secret of a lab that host keys are made from. It is never printed.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A new one, for a lab that nobody sees again.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).context("get random bytes")?;
        Ok(Self(bytes))
    }

    /// The one in a file; makes both, for the owner's eyes only, if there is no file.
    pub fn in_file(path: &Path) -> Result<Self> {
        if !path.exists() {
            identity::put(path, &Self::random()?.0)?;
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(64).read_to_end(&mut bytes)?;
        match bytes.try_into() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => bail!("expected 32 bytes"),
        }
    }

    /// The key of the instance with this id.
    pub fn host_key(&self, id: u64) -> HostKey {
        let digest = Sha256::new().chain_update(self.0).chain_update(PURPOSE).chain_update(id.to_be_bytes());
        HostKey(digest.finalize().into())
    }
}

/// A VM's private key (Ed25519). It is never printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct HostKey([u8; 32]);

impl Debug for HostKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostKey")
    }
}

impl HostKey {
    pub(crate) fn private(&self) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&self.0))
    }

    /// The public key as `known_hosts` has it: type and key.
    pub fn public(&self) -> String {
        identity::public(&self.private(), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_per_instance_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/secret");
        let first = Secret::in_file(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = Secret::in_file(&path).unwrap();
        assert_eq!(first.host_key(7).public(), again.host_key(7).public());
        assert_ne!(first.host_key(7).public(), first.host_key(8).public());
        assert_ne!(first.host_key(7).public(), Secret::random().unwrap().host_key(7).public());
        assert!(first.host_key(7).public().starts_with("ssh-ed25519 "));
        assert_eq!(format!("{first:?} {:?}", first.host_key(7)), "Secret HostKey");
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "short").unwrap();
        assert!(Secret::in_file(&folder.path().join("secret")).is_err());
    }
}
