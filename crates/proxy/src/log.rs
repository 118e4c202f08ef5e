//! A log of what happens to the proxy itself, on standard error or in a file. Never a line for a
//! request, unless it was slow and the verbosity is above the default.
//!
//! Text is for people, in twemproxy's manner; JSON has one object a line: `ts` (RFC 3339), `level`,
//! `message`, and what the line is about: `pool`, `server`.

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use nix::sys::signal::SigSet;
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
    verbosity: AtomicU8,
    queue: Arc<Queue>,
}

impl Log {
    /// A log of lines up to `verbosity`, appended to the file at `path` or to standard error.
    pub fn open(path: Option<&Path>, verbosity: u8, format: LogFormat) -> io::Result<Log> {
        let log = Log {
            path: path.map(Path::to_path_buf),
            format,
            verbosity: AtomicU8::new(verbosity),
            queue: Arc::default(),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file again, for a rotation that renamed it.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.queue.lock().file = Some(file);
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
        let line = line(self.format, level, fields, text);
        let mut waiting = self.queue.lock();
        waiting.push(self.format, line);
        if !waiting.has_writer {
            // Not before the first line: no thread survives the way to the background.
            waiting.has_writer = true;
            let (queue, format) = (Arc::clone(&self.queue), self.format);
            let writer = thread::Builder::new().name("log".to_string());
            // Without a thread for it, the next line tries again.
            waiting.has_writer = writer.spawn(move || queue.write(format)).is_ok();
        }
        self.queue.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than it may take.
    pub fn flush(&self) {
        let busy = |waiting: &mut Waiting| waiting.has_writer && !waiting.is_over();
        let _ = self.queue.changed.wait_timeout_while(self.queue.lock(), FLUSH, busy);
    }
}

/// The most bytes of lines that wait to be written.
const MOST_WAITING: usize = 1 << 20;
/// How long the end of the proxy waits for them.
const FLUSH: Duration = Duration::from_secs(1);
/// When a pipe is tried again that is full and does not say when it is not.
const AGAIN: Duration = Duration::from_millis(20);

/// What is between those who have something to say and the thread that writes it, which may wait for
/// ever: for who reads a pipe, for a disk.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<String>,
    /// Those of `lines`.
    bytes: usize,
    /// Lines for which there was no room, since the last one of `lines`.
    lost: u64,
    /// The file to write to from now on.
    file: Option<File>,
    has_writer: bool,
    /// A line is being written.
    writing: bool,
}

impl Waiting {
    fn push(&mut self, format: LogFormat, line: String) {
        // After a loss, not for every line that there is room for: each would say how many were lost.
        let room = if self.lost > 0 { MOST_WAITING / 2 } else { MOST_WAITING };
        if self.bytes + line.len() > room {
            self.lost += 1;
            return;
        }
        let loss = self.loss(format);
        for line in loss.into_iter().chain([line]) {
            self.bytes += line.len();
            self.lines.push_back(line);
        }
    }

    /// What is to be said of lines that were lost.
    fn loss(&mut self, format: LogFormat) -> Option<String> {
        let lost = std::mem::take(&mut self.lost);
        let text = format_args!("{lost} lines of the log were lost: they were not taken fast enough");
        (lost > 0).then(|| line(format, WARN, &[], text))
    }

    fn next(&mut self, format: LogFormat) -> Option<String> {
        match self.lines.pop_front() {
            Some(line) => {
                self.bytes -= line.len();
                Some(line)
            }
            None => self.loss(format),
        }
    }

    fn is_over(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.writing
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is said, for ever.
    fn write(&self, format: LogFormat) {
        // They are for the thread that waits for them.
        let _ = SigSet::all().thread_block();
        let mut file = None;
        loop {
            let mut waiting = self.lock();
            waiting.writing = false;
            let next = loop {
                if let Some(line) = waiting.next(format) {
                    break line;
                }
                self.changed.notify_all();
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            };
            waiting.writing = true;
            file = waiting.file.take().or(file);
            drop(waiting);
            // One write for a line: those of several processes may be in one file.
            match &mut file {
                Some(file) => write_all(file, next.as_bytes()),
                None => write_all(&mut io::stderr(), next.as_bytes()),
            }
        }
    }
}

/// Writes all of it, also where somebody else has made standard error one that does not wait.
fn write_all(file: &mut dyn Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(count @ 1..) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// A line as it is written.
fn line(format: LogFormat, level: u8, fields: &[(&str, &str)], text: Arguments<'_>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match format {
        LogFormat::Text => format!("[{}.{:03}] {text}\n", now.as_secs(), now.subsec_millis()),
        LogFormat::Json => json(now, level, fields, text),
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
    fn what_there_is_no_room_for_is_counted_in_its_place() {
        let mut waiting = Waiting::default();
        let large = "x".repeat(MOST_WAITING / 4);
        (0..6).for_each(|_| waiting.push(LogFormat::Text, large.clone()));
        assert_eq!((waiting.lines.len(), waiting.lost, waiting.is_over()), (4, 2, false));
        // One line's room is not enough to speak of a loss, when the next line would be lost too.
        assert_eq!(waiting.next(LogFormat::Text).as_ref(), Some(&large));
        waiting.push(LogFormat::Text, "small".to_string());
        assert_eq!((waiting.lines.len(), waiting.lost), (3, 3));
        (0..2).for_each(|_| assert_eq!(waiting.next(LogFormat::Text).as_ref(), Some(&large)));
        waiting.push(LogFormat::Text, "later".to_string());
        let rest: Vec<String> = std::iter::from_fn(|| waiting.next(LogFormat::Text)).collect();
        assert!(rest[1].contains("] 3 lines of the log were lost"), "{}", rest[1]);
        assert!(rest.len() == 3 && rest[2] == "later" && waiting.is_over() && waiting.bytes == 0);
        // Nothing comes behind it: it is said all the same.
        (0..5).for_each(|_| waiting.push(LogFormat::Text, large.clone()));
        let last = std::iter::from_fn(|| waiting.next(LogFormat::Text)).last();
        assert!(last.is_some_and(|line| line.contains("] 1 lines of the log were lost")));
    }

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
