//! Time, which is always an argument here: the core never asks what time it is.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A moment: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// RFC 3339 with milliseconds and an offset, as compute's `creationTimestamp` has it
/// (`2020-02-21T13:43:30.435-08:00`; ours is always `+00:00`).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{}", t.strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00")),
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn prints_as_google_does() {
        assert_eq!(Timestamp(1_582_321_410_435).to_string(), "2020-02-21T21:43:30.435+00:00");
    }
}
