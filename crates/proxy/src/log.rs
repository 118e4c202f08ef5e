//! A log of what happens to the proxy itself, on standard error or in a file. Never a line for a
//! request, unless it was slow and the verbosity is above the default.
//!
//! Text is for people, in twemproxy's manner; JSON has one object a line: `ts` (RFC 3339), `level`,
//! `message`, and what the line is about: `pool`, `server`.

use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// Something an operator must look at; twemproxy's `LOG_CRIT` and worse.
pub(crate) const ERROR: u8 = 2;
/// A server that comes or goes.
pub(crate) const WARN: u8 = 4;
/// Starting and ending; the most that the default verbosity shows.
pub(crate) const NOTICE: u8 = 5;
/// Slow requests.
pub(crate) const INFO: u8 = 6;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// `[seconds since 1970] message`
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Where lines go, which, and how.
#[derive(Debug)]
pub struct Log {
    path: Option<PathBuf>,
    format: LogFormat,
    file: Mutex<Option<File>>,
    verbosity: AtomicU8,
}

impl Log {
    /// A log of lines up to `verbosity`, appended to the file at `path` or to standard error.
    pub fn open(path: Option<&Path>, verbosity: u8, format: LogFormat) -> io::Result<Log> {
        let log = Log {
            path: path.map(Path::to_path_buf),
            format,
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
    pub fn line(&self, level: u8, text: Arguments<'_>) {
        self.about(level, &[], text);
    }

    /// The same, about a pool or a server, whose names are fields where the format has them; the
    /// text says them anyway.
    pub fn about(&self, level: u8, fields: &[(&str, &str)], text: Arguments<'_>) {
        if level > self.verbosity.load(Ordering::Relaxed) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = match self.format {
            LogFormat::Text => format!("[{}.{:03}] {text}\n", now.as_secs(), now.subsec_millis()),
            LogFormat::Json => json(now, level, fields, text),
        };
        let _ = match &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

/// A line in JSON; `now` is the time since 1970.
fn json(now: Duration, level: u8, fields: &[(&str, &str)], text: Arguments<'_>) -> String {
    let nanoseconds = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
    let ts = jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or(jiff::Timestamp::MAX);
    let level = match level {
        0..=ERROR => "error",
        3..=WARN => "warn",
        NOTICE => "info",
        _ => "debug",
    };
    let (ts, message) = (format!("{ts:.3}"), text.to_string());
    let all = [("ts", ts.as_str()), ("level", level), ("message", &message)];
    let all = all.iter().chain(fields).map(|(name, value)| (name.to_string(), Value::from(*value)));
    Value::Object(all.collect::<Map<String, Value>>()).to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_json_is_one_object() {
        let now = Duration::from_millis(1_700_000_000_123);
        let line = json(now, WARN, &[("pool", "a\"b\nc"), ("server", "s")], format_args!("one\ntwo"));
        assert_eq!(
            line,
            "{\"ts\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\",\"message\":\"one\\ntwo\",\
             \"pool\":\"a\\\"b\\nc\",\"server\":\"s\"}\n"
        );
        assert!(json(now, 0, &[], format_args!("")).contains("\"level\":\"error\""));
    }
}
