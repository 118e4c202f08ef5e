//! A log of what happens to the proxy itself, on standard error or in a file. Never a line for a
//! request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Something an operator must look at; twemproxy's `LOG_CRIT` and worse.
pub(crate) const ERROR: u8 = 2;
/// A server that comes or goes.
pub(crate) const WARN: u8 = 4;
/// Starting and ending; the most that the default verbosity shows.
pub(crate) const NOTICE: u8 = 5;

/// Where lines go, and which.
#[derive(Debug)]
pub struct Log {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
    verbosity: AtomicU8,
}

impl Log {
    /// A log of lines up to `verbosity`, appended to the file at `path` or to standard error.
    pub fn open(path: Option<&Path>, verbosity: u8) -> io::Result<Log> {
        let log = Log {
            path: path.map(Path::to_path_buf),
            file: Mutex::new(None),
            verbosity: AtomicU8::new(verbosity),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file again, for a rotation that renamed it.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        }
        Ok(())
    }

    /// Shows more when `step` is positive, less when it is negative.
    pub fn adjust(&self, step: i8) {
        let verbosity = self.verbosity.load(Ordering::Relaxed).saturating_add_signed(step).min(11);
        self.verbosity.store(verbosity, Ordering::Relaxed);
    }

    /// Writes a line, if `level` is shown. A log that can not be written must not stop a proxy.
    pub fn line(&self, level: u8, text: std::fmt::Arguments<'_>) {
        if level > self.verbosity.load(Ordering::Relaxed) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!("[{}.{:03}] {text}\n", now.as_secs(), now.subsec_millis());
        let _ = match &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}
