//! The secret of a World: other secrets follow from it, so that they are made without rolling dice.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::{Debug, Formatter};

/// Random text that only the World's owner knows. It is never printed. A World without one has no secrets.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(String);

impl Seed {
    /// A seed of random bytes; 32 are enough for anything.
    pub fn new(random: &[u8]) -> Seed {
        Seed(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether there is nothing secret in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Random bytes for a purpose, such as a key: the same for the same purpose, and telling nothing of another.
    pub fn bytes(&self, purpose: &str) -> [u8; 32] {
        Sha256::digest(format!("{} {purpose}", self.0)).into()
    }

    /// A UUID (version 4 in form) for a purpose: the same for the same purpose, and telling nothing of another.
    pub fn uuid(&self, purpose: &str) -> String {
        let mut bytes = self.bytes(purpose);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

impl Debug for Seed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_follow_from_the_seed_and_do_not_show_it() {
        let seed = Seed::new(&[7; 32]);
        let uuid = seed.uuid("a");
        assert_eq!(uuid, seed.uuid("a"));
        assert!(uuid != seed.uuid("b") && uuid != Seed::new(&[8; 32]).uuid("a"));
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert_eq!(format!("{seed:?}"), "Seed");
    }
}
