//! What a pool's clients are held to.
//!
//! | key | unit | default |
//! |---|---|---|
//! | `max_request_bytes` | bytes | 1072693248 (1 GiB - 1 MiB) |
//! | `max_pipeline` | requests | 256 |
//! | `max_client_buffer` | bytes | 1048576 (1 MiB) |
//! | `max_client_buffer_hard` | bytes | 1073741824 (1 GiB) |
//! | `max_buffered_bytes` | bytes | 4294967296 (4 GiB) |
//! | `client_timeout` | seconds | 0 (none) |

use std::time::Duration;

use tombolo_resp::MAX_REQUEST_BYTES;

use super::error::Problem;
use super::pool::{Read, Reader};
use crate::core::limits::{MAX_BUFFERED_BYTES, MAX_CLIENT_BYTES, MAX_PENDING_REQUESTS, MAX_UNSENT_BYTES};

/// The keys that this module gives a meaning.
pub(super) const KEYS: &[&str] = &[
    "client_timeout",
    "max_buffered_bytes",
    "max_client_buffer",
    "max_client_buffer_hard",
    "max_pipeline",
    "max_request_bytes",
];

/// Less would not hold an ordinary request, or reply.
const LEAST_BYTES: u64 = 1024;
/// What no machine has.
const MOST_BYTES: u64 = 1 << 48;

/// What a pool's clients are held to. Where a client is held back, it is not read from until it is
/// below half of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest request of a Redis client, in bytes; a longer one is answered with an error, and the
    /// client is disconnected. memcached's requests have bounds of their own.
    pub request_bytes: usize,
    /// Requests of one client that wait for a reply; at most so many are taken at a time.
    pub pipeline: usize,
    /// Bytes of replies that one client has not taken, where it is held back.
    pub client_buffer: usize,
    /// Where it is disconnected: replies to what it has asked for must be kept until it takes them.
    pub client_buffer_hard: usize,
    /// Bytes of replies that all clients together have not taken, where those that have something to
    /// take are held back. Each thread counts its own clients.
    pub buffered_bytes: usize,
    /// How long a client may be idle; `None` for ever. Who waits for a reply, is blocked, or is
    /// subscribed is not idle, as in Redis's `timeout`.
    pub client_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes: MAX_REQUEST_BYTES,
            pipeline: MAX_PENDING_REQUESTS,
            client_buffer: MAX_UNSENT_BYTES,
            client_buffer_hard: MAX_CLIENT_BYTES,
            buffered_bytes: MAX_BUFFERED_BYTES,
            client_timeout: None,
        }
    }
}

impl Reader<'_> {
    pub(super) fn limits(&self, redis: bool) -> Read<Limits> {
        if let Some(value) = self.entry.get("max_request_bytes").filter(|_| !redis) {
            let expected = "no such key in a pool without 'redis: true'";
            return Err(self.error("max_request_bytes", value, Problem::BadValue, expected));
        }
        let or = Limits::default();
        let limits = Limits {
            request_bytes: self
                .within("max_request_bytes", LEAST_BYTES, or.request_bytes as u64)?
                .unwrap_or(or.request_bytes),
            pipeline: self.within("max_pipeline", 1, 1_000_000)?.unwrap_or(or.pipeline),
            client_buffer: self
                .within("max_client_buffer", LEAST_BYTES, MOST_BYTES)?
                .unwrap_or(or.client_buffer),
            client_buffer_hard: self
                .within("max_client_buffer_hard", LEAST_BYTES, MOST_BYTES)?
                .unwrap_or(or.client_buffer_hard),
            buffered_bytes: self
                .within("max_buffered_bytes", LEAST_BYTES, MOST_BYTES)?
                .unwrap_or(or.buffered_bytes),
            client_timeout: self
                .number("client_timeout")?
                .filter(|seconds| *seconds > 0)
                .map(|seconds| Duration::from_secs(seconds.into())),
        };
        if limits.client_buffer_hard < limits.client_buffer {
            let keys = ["max_client_buffer_hard", "max_client_buffer"];
            if let Some((key, value)) = keys.iter().find_map(|key| Some((key, self.entry.get(key)?))) {
                let expected = format!(
                    "max_client_buffer ({}) to be at most max_client_buffer_hard ({})",
                    limits.client_buffer, limits.client_buffer_hard
                );
                return Err(self.error(key, value, Problem::BadValue, &expected));
            }
        }
        Ok(limits)
    }

    /// A number between two, inclusive.
    pub(super) fn within(&self, key: &str, least: u64, most: u64) -> Read<Option<usize>> {
        let expected = format!("a number from {least} to {most}");
        self.parsed(key, &expected, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse::<u64>().ok())?.filter(|n| (least..=most).contains(n))?;
            usize::try_from(number).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &[&str]) -> Result<Limits, String> {
        let mut text = "p:\n  listen: a:1\n  redis: true\n  servers:\n   - a:1:1\n".to_string();
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        Config::parse("f", &text).map(|config| config.pools[0].limits).map_err(|error| error.to_string())
    }

    #[test]
    fn every_limit_is_read() {
        assert_eq!(read(&[]), Ok(Limits::default()));
        let lines = [
            "max_request_bytes: 4096",
            "max_pipeline: 1",
            "max_client_buffer: 2048",
            "max_client_buffer_hard: 8192",
            "max_buffered_bytes: 8589934592",
            "client_timeout: 300",
        ];
        let expected = Limits {
            request_bytes: 4096,
            pipeline: 1,
            client_buffer: 2048,
            client_buffer_hard: 8192,
            buffered_bytes: 8 << 30,
            client_timeout: Some(Duration::from_secs(300)),
        };
        assert_eq!(read(&lines), Ok(expected));
        assert_eq!(read(&["client_timeout: 0"]), Ok(Limits::default()));
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for (lines, expected) in [
            (
                &["max_pipeline: 0"][..],
                "f:6: pool 'p', key 'max_pipeline': bad value: '0'; expected a number from 1 to 1000000",
            ),
            (&["max_request_bytes: 1g"], "bad value: '1g'; expected a number from 1024 to 1072693248"),
            (&["max_request_bytes: 2000000000"], "expected a number from 1024 to 1072693248"),
            (&["max_client_buffer: 100"], "bad value: '100'; expected a number from 1024 to"),
            (&["max_buffered_bytes: -1"], "key 'max_buffered_bytes': bad value: '-1'; expected a number"),
            (&["client_timeout: 1.5"], "key 'client_timeout': bad value: '1.5'; expected a number from 0"),
            (
                &["max_client_buffer: 2000000000"],
                "key 'max_client_buffer': bad value: '2000000000'; expected max_client_buffer (2000000000) to be at most",
            ),
            (
                &["max_client_buffer_hard: 2000"],
                "key 'max_client_buffer_hard': bad value: '2000'; expected max_client_buffer (1048576) to be at most max_client_buffer_hard (2000)",
            ),
            (
                &["max_client_buffer: 4000", "max_client_buffer_hard: 2000"],
                "f:7: pool 'p', key 'max_client_buffer_hard'",
            ),
        ] {
            let message = read(lines).expect_err(expected);
            assert!(message.contains(expected), "{lines:?}: {message}");
        }
        let text = "p:\n  listen: a:1\n  max_request_bytes: 4096\n  servers:\n   - a:1:1\n";
        let message = Config::parse("f", text).expect_err(text).to_string();
        assert!(message.contains("expected no such key in a pool without 'redis: true'"), "{message}");
    }
}
