//! Netlink messages of nf_tables, byte by byte. Pure.
//!
//! ```text
//!   message   = length u32, type u16, flags u16, sequence u32, port u32, family u8, version u8, id u16, attributes
//!   attribute = length u16, kind u16, value, padding to 4 bytes     (a nested one's value is attributes)
//! ```
//!
//! Sources: `linux/netlink.h`, `linux/netfilter/nfnetlink.h`, and for the kinds `linux/netfilter/nf_tables.h`.

use std::fmt::{self, Display, Formatter};

/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_ACK`
pub(in crate::linux) const ACK: u16 = 4;
/// `NLM_F_ECHO`: what was made is told, with what the kernel calls it.
pub(super) const ECHO: u16 = 8;
/// `NLM_F_CREATE`
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub(super) const APPEND: u16 = 0x800;
/// `NFNL_SUBSYS_NFTABLES`
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`
pub(super) const INET: u8 = 1;
/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// Bytes of the headers before the attributes.
pub(in crate::linux) const HEAD: usize = 20;

/// Something that an attribute has no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What was encoded.
    pub what: String,
}

impl std::error::Error for TooLong {}

impl Display for TooLong {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: too long for nf_tables", self.what)
    }
}

/// A message, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    what: String,
}

impl Message {
    /// A message of nf_tables about something in the family `inet`. `kind` is without its subsystem.
    pub(super) fn new(
        kind: u16,
        flags: u16,
        what: impl Into<String>,
        attributes: Attributes,
    ) -> Result<Message, TooLong> {
        let what = what.into();
        if attributes.overflow {
            return Err(TooLong { what });
        }
        let bytes = bytes(SUBSYSTEM << 8 | kind, flags, INET, 0, &attributes.bytes);
        Ok(Message { bytes, what })
    }

    /// What it is about.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Its bytes in a transaction: with a number, and whether its success is to be told.
    pub(super) fn append_to(&self, out: &mut Vec<u8>, sequence: u32, acknowledged: bool) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        out[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        if acknowledged {
            let flags = u16::from_ne_bytes([out[start + 6], out[start + 7]]) | ACK;
            out[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        }
    }
}

/// A message's bytes, with the sequence number 0.
pub(in crate::linux) fn bytes(kind: u16, flags: u16, family: u8, id: u16, attributes: &[u8]) -> Vec<u8> {
    let length = HEAD + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port
    bytes.extend([family, 0]); // nfgenmsg, version 0
    bytes.extend(id.to_be_bytes());
    bytes.extend_from_slice(attributes);
    bytes
}

/// Attributes, one after the other.
#[derive(Clone, Debug, Default)]
pub(in crate::linux) struct Attributes {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Attributes {
    /// With these in it.
    pub(in crate::linux) fn of(fill: impl FnOnce(&mut Attributes)) -> Attributes {
        let mut attributes = Attributes::default();
        fill(&mut attributes);
        attributes
    }

    /// Their bytes.
    pub(in crate::linux) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes as they are.
    pub(in crate::linux) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.with_length(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// A text, which ends with a NUL.
    pub(in crate::linux) fn text(&mut self, kind: u16, value: &str) {
        self.with_length(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// A number, in network order as everything in nf_tables.
    pub(in crate::linux) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Attributes in an attribute.
    pub(in crate::linux) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        fill(self);
        self.finish(start, kind | NESTED);
    }

    fn with_length(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        fill(&mut self.bytes);
        self.finish(start, kind);
    }

    /// Writes the header of the attribute that began at `start`.
    fn finish(&mut self, start: usize, kind: u16) {
        let length = u16::try_from(self.bytes.len() - start).unwrap_or_else(|_| {
            self.overflow = true;
            u16::MAX
        });
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_counted() {
        let all = Attributes::of(|a| a.nested(4, |a| a.text(1, "abcd")));
        let length = |n: u16| n.to_ne_bytes();
        let want =
            [&length(16)[..], &0x8004u16.to_ne_bytes(), &length(9), &length(1), b"abcd\0\0\0\0"].concat();
        assert_eq!(all.into_bytes(), want);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (length, fits) in [(65531, true), (65532, false)] {
            let attributes = Attributes::of(|a| a.bytes(1, &vec![0; length]));
            assert_eq!(Message::new(0, 0, "it", attributes).is_ok(), fits, "{length}");
        }
    }
}
