//! `slowlog_log_slower_than` and `slowlog_max_len`, with the meaning that they have in Redis.

use std::time::Duration;

use super::error::Problem;
use super::pool::{Read, Reader};

/// The keys that this module gives a meaning.
pub(super) const KEYS: &[&str] = &["slowlog_log_slower_than", "slowlog_max_len"];

const DEFAULT_MAX_LEN: usize = 128;

/// Which requests of a pool are told as slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowLog {
    /// Those that took so long or longer, from coming to their reply; zero for all.
    pub slower_than: Duration,
    /// How many are kept, the latest ones; at least 1. Each thread keeps its own.
    pub max_len: usize,
}

impl Reader<'_> {
    /// Off without `slowlog_log_slower_than`, or when it is `-1`, as in Redis.
    pub(super) fn slow_log(&self) -> Read<Option<SlowLog>> {
        let max_len = self.within("slowlog_max_len", 1, 1_000_000)?;
        let off = self.text("slowlog_log_slower_than")? == Some("-1");
        let key = "slowlog_log_slower_than";
        let slower_than = match off {
            true => None,
            false => self.parsed(key, "-1 for none, or microseconds from 0 to 2147483647", |text| {
                super::address::decimal(text).filter(|number| *number <= i32::MAX as u32)
            })?,
        };
        match (slower_than, self.entry.get("slowlog_max_len")) {
            (Some(micros), _) => Ok(Some(SlowLog {
                slower_than: Duration::from_micros(micros.into()),
                max_len: max_len.unwrap_or(DEFAULT_MAX_LEN),
            })),
            (None, Some(value)) if !off => {
                let expected = "no such key in a pool without 'slowlog_log_slower_than'";
                Err(self.error("slowlog_max_len", value, Problem::BadValue, expected))
            }
            (None, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &str) -> Result<Option<SlowLog>, String> {
        let text = format!("p:\n  listen: a:1\n{lines}  servers:\n   - a:1:1\n");
        Config::parse("f", &text).map(|config| config.pools[0].slow_log).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_unless_the_file_says_otherwise() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("  slowlog_log_slower_than: -1\n  slowlog_max_len: 3\n"), Ok(None));
        let slow = |micros, max_len| SlowLog { slower_than: Duration::from_micros(micros), max_len };
        assert_eq!(read("  slowlog_log_slower_than: 10000\n"), Ok(Some(slow(10_000, 128))));
        assert_eq!(read("  slowlog_log_slower_than: 0\n  slowlog_max_len: 3\n"), Ok(Some(slow(0, 3))));
        for (lines, expected) in [
            (
                "  slowlog_log_slower_than: 10ms\n",
                "f:3: pool 'p', key 'slowlog_log_slower_than': bad value: '10ms'; expected -1 for none, or micro",
            ),
            ("  slowlog_log_slower_than: -2\n", "bad value: '-2'; expected -1 for none"),
            (
                "  slowlog_max_len: 10\n",
                "key 'slowlog_max_len': bad value: '10'; expected no such key in a pool",
            ),
            (
                "  slowlog_log_slower_than: 0\n  slowlog_max_len: 0\n",
                "key 'slowlog_max_len': bad value: '0'; expected a number from 1 to 1000000",
            ),
        ] {
            let message = read(lines).expect_err(lines);
            assert!(message.contains(expected), "{lines}: {message}");
        }
    }
}
