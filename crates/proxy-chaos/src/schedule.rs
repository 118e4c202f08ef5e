//! Which faults a server has, and when: the same for the same seed.

use std::fmt;

/// Something that goes wrong, with how long it lasts in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a restart after that long.
    Kill(u64),
    /// SIGSTOP, and SIGCONT after that long.
    Freeze(u64),
    /// Connections through the relay are held up that long.
    Delay(u64),
    /// Connections through the relay are cut after so many more bytes, toward the server or from
    /// it.
    Cut {
        /// More bytes that pass.
        after: u64,
        /// Of the requests instead of the replies.
        requests: bool,
    },
}

impl Fault {
    /// Its kind, for the report.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Kill(_) => "server killed and restarted",
            Fault::Freeze(_) => "server frozen",
            Fault::Delay(_) => "relay delays",
            Fault::Cut { requests: true, .. } => "relay cuts requests",
            Fault::Cut { requests: false, .. } => "relay cuts replies",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(ms) | Fault::Freeze(ms) | Fault::Delay(ms) => {
                write!(f, "{} for {ms} ms", self.kind())
            }
            Fault::Cut { after, .. } => write!(f, "{} after {after} bytes", self.kind()),
        }
    }
}

/// The faults of one server, without end.
#[derive(Debug)]
pub struct Schedule {
    rng: fastrand::Rng,
    relayed: bool,
}

impl Schedule {
    /// Of a server by its index; `relayed` when there is a relay in front of it.
    pub fn new(seed: u64, server: usize, relayed: bool) -> Schedule {
        let rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (server as u64 + 1));
        Schedule { rng, relayed }
    }
}

/// A pause in milliseconds, and the fault after it.
impl Iterator for Schedule {
    type Item = (u64, Fault);

    fn next(&mut self) -> Option<(u64, Fault)> {
        let pause = self.rng.u64(0..400);
        let kinds = if self.relayed { 8 } else { 4 };
        let fault = match self.rng.u64(0..kinds) {
            0..2 => Fault::Kill(self.rng.u64(10..=500)),
            2 => Fault::Freeze(self.rng.u64(50..=350)),
            3 => Fault::Freeze(self.rng.u64(350..=1500)),
            4 => Fault::Delay(self.rng.u64(5..=700)),
            _ => Fault::Cut { after: self.rng.u64(0..20_000), requests: self.rng.bool() },
        };
        Some((pause, fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_schedule() {
        let take = |seed, server, relayed| Schedule::new(seed, server, relayed).take(100).collect::<Vec<_>>();
        assert_eq!(take(1, 0, true), take(1, 0, true));
        assert_ne!(take(1, 0, true), take(2, 0, true));
        assert_ne!(take(1, 0, true), take(1, 1, true));
        let relay = |(_, fault): &(u64, Fault)| matches!(fault, Fault::Delay(_) | Fault::Cut { .. });
        assert!(take(1, 0, true).iter().any(relay) && !take(1, 0, false).iter().any(relay));
    }
}
