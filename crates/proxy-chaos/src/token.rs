//! Tokens: values that say who wrote them, and where.

/// The length of a token in bytes; all have the same, so that they can be appended to one another
/// and told apart again.
pub const LENGTH: usize = 24;

/// A value that is written once. Its text is `t`, the client, `s`, the slot of the key in the
/// client's script, `n`, a serial number of the client's, and `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Who wrote it.
    pub client: u32,
    /// Which of the client's keys it was written to.
    pub slot: u32,
    /// Never the same twice for a client.
    pub serial: u64,
}

impl Token {
    /// Its text, of [`LENGTH`] bytes.
    pub fn text(self) -> String {
        let Token { client, slot, serial } = self;
        format!("t{client:05x}s{slot:04x}n{serial:011x}.")
    }

    /// Reads the token that `bytes` start with.
    pub fn parse(bytes: &[u8]) -> Option<Token> {
        let text = std::str::from_utf8(bytes.get(..LENGTH)?).ok()?;
        let (client, rest) = text.strip_prefix('t')?.split_at_checked(5)?;
        let (slot, rest) = rest.strip_prefix('s')?.split_at_checked(4)?;
        let serial = rest.strip_prefix('n')?.strip_suffix('.')?;
        Some(Token {
            client: u32::from_str_radix(client, 16).ok()?,
            slot: u32::from_str_radix(slot, 16).ok()?,
            serial: u64::from_str_radix(serial, 16).ok()?,
        })
    }

    /// Every token in `bytes`, wherever it is.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Token> {
        bytes.windows(LENGTH).filter(|window| window[0] == b't').filter_map(Token::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = Token { client: 63, slot: 4, serial: 123_456_789 };
        let text = token.text();
        assert_eq!(text.len(), LENGTH);
        assert_eq!(Token::parse(text.as_bytes()), Some(token));
        let other = Token { client: 64, ..token };
        let both = format!("xt{text}--{}", other.text());
        assert_eq!(Token::all(both.as_bytes()).collect::<Vec<_>>(), [token, other]);
        assert_eq!(Token::parse(b"t0003fs0004n0000075bcd1"), None);
    }
}
