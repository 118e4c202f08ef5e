//! Where a lab that keeps running has its sockets: a folder that only its user can enter.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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
        Self { path: Self::base().join(name) }
    }

    /// The folder in which all labs of this user have theirs.
    pub fn base() -> PathBuf {
        let set = |variable| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
        set("TOMBOLO_RUNTIME_DIR")
            .or_else(|| set("XDG_RUNTIME_DIR").map(|dir| dir.join("tombolo")))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/tombolo-{}", nix::unistd::getuid())))
    }

    /// Makes the folder, 0700; refuses one that somebody else owns or can enter.
    pub fn create(&self) -> Result<()> {
        self.make().map_err(|error| {
            let problem = format!("{error}; TOMBOLO_RUNTIME_DIR can name another folder for labs");
            Error::new(error.kind(), problem)
        })
    }

    fn make(&self) -> Result<()> {
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

    /// What a lab from a topology file keeps, for as long as it is up.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// What the owner of the lab holds a lock on.
    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Makes the folder and becomes the lab's owner; `None` when somebody is. The kernel lets go of the lock with
    /// its process, so that a server that was killed is in nobody's way.
    pub fn lock(&self) -> Result<Option<LabLock>> {
        loop {
            self.create()?;
            let file = match OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.lock_file())
            {
                Ok(file) => file,
                // The owner before has just removed the folder.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // A file that the owner before removed meanwhile is no lock on anything.
            let current = std::fs::metadata(self.lock_file()).map(|meta| meta.ino());
            if current.is_ok_and(|ino| file.metadata().is_ok_and(|meta| meta.ino() == ino)) {
                return Ok(Some(LabLock { _file: file, dir: self.clone() }));
            }
        }
    }
}

/// Ownership of a lab's folder.
#[derive(Debug)]
pub struct LabLock {
    _file: File,
    dir: LabDir,
}

impl LabLock {
    /// Removes the folder and what is in it; what is gone already is no error.
    pub fn remove(self) {
        let dir = &self.dir;
        // First, for `down` returns when the socket is gone.
        let _ = std::fs::remove_dir_all(dir.state());
        for file in [dir.control(), dir.agent(), dir.log(), dir.lock_file()] {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(&dir.path);
        if let Some(base) = dir.path.parent() {
            let _ = std::fs::remove_dir(base); // only when this was the last lab
        }
    }
}
