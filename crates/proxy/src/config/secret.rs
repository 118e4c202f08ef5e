//! Passwords, kept out of what is printed.

use std::fmt;

use subtle::ConstantTimeEq;

/// A password. It has no `Display`, and its `Debug` output tells nothing.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a password over.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The password itself, for those who must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the password, in a time that tells no more than its length.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_compared_and_not_shown() {
        let secret = Secret::new("open sesame");
        assert!(secret.matches(b"open sesame"));
        for other in ["", "open", "open sesame!", "Open sesame"] {
            assert!(!secret.matches(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{:?}", Some(&secret)), "Some(Secret)");
    }
}
