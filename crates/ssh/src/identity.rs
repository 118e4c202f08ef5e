//! The key pair with which one logs in to the VMs of a lab.

use anyhow::{Context, Result};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A key pair in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The private key, as OpenSSH has it.
    pub path: PathBuf,
    /// The public key: type, key and comment.
    pub public: String,
}

impl Identity {
    /// The pair in a file; makes both, for the owner's eyes only, if there is no file.
    pub fn in_file(path: &Path, comment: &str) -> Result<Self> {
        let read = || -> Result<Self> {
            if !path.exists() {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).context("get random bytes")?;
                let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
                put(path, key.to_openssh(LineEnding::LF)?.as_bytes())?;
            }
            let key = PrivateKey::from_openssh(std::fs::read(path)?).context("expected a private key")?;
            Ok(Self { path: path.to_owned(), public: public(&key, comment) })
        };
        read().with_context(|| path.display().to_string())
    }
}

/// The public key of a private one: type, key and comment.
pub(crate) fn public(key: &PrivateKey, comment: &str) -> String {
    // Cannot fail: nothing of the key is left to be checked.
    let text = key.public_key().to_openssh().unwrap_or_default();
    let bare: Vec<&str> = text.split(' ').take(2).collect();
    format!("{} {comment}", bare.join(" ")).trim_end().to_owned()
}

/// Makes a file that only its owner can read, whole or not at all; one that somebody else has made meanwhile stays.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("no folder")?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&beside, path);
    std::fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_pair_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh/id");
        let made = Identity::in_file(&path, "alice@lab").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(made, Identity::in_file(&path, "alice@lab").unwrap());
        assert!(made.public.starts_with("ssh-ed25519 ") && made.public.ends_with(" alice@lab"), "{made:?}");
        put(&path, b"of somebody who came second").unwrap();
        assert_eq!(made, Identity::in_file(&path, "alice@lab").unwrap());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
