//! Where a lab that keeps running has its sockets: a folder that only its user can enter.

use std::io::{Error, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// The folder of a lab, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabDir {
    /// The folder.
    pub path: PathBuf,
}

impl LabDir {
    /// The folder of the lab `name`: under `$TOMBOLO_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/tombolo`, else
    /// `/tmp/tombolo-UID`.
    pub fn of(name: &str) -> Self {
        let set = |variable| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = set("TOMBOLO_RUNTIME_DIR")
            .or_else(|| set("XDG_RUNTIME_DIR").map(|dir| dir.join("tombolo")))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/tombolo-{}", nix::unistd::getuid())));
        Self { path: base.join(name) }
    }

    /// Makes the folder, 0700; refuses one that somebody else owns or can enter.
    pub fn create(&self) -> Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        for folder in [self.path.parent().unwrap_or(&self.path), &self.path] {
            let meta = std::fs::symlink_metadata(folder)?;
            let mine = meta.is_dir() && meta.uid() == nix::unistd::getuid().as_raw();
            if !mine || (folder == self.path && meta.permissions().mode() & 0o077 != 0) {
                let problem = format!("{} is not a folder that only you can enter", folder.display());
                return Err(Error::other(problem));
            }
        }
        Ok(())
    }

    /// The server's socket.
    pub fn control(&self) -> PathBuf {
        self.path.join("server.sock")
    }

    /// The agent's socket.
    pub fn agent(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// What a detached server prints.
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Removes the folder and what is in it; what is gone already is no error.
    pub fn remove(&self) {
        for file in [self.control(), self.agent(), self.log()] {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(&self.path);
        if let Some(base) = self.path.parent() {
            let _ = std::fs::remove_dir(base); // only when this was the last lab
        }
    }
}
