//! The metadata of instances and of projects: what keys and values may be.
//!
//! Source: Google's documentation of VM metadata, "Limitations": a key has at most 128 bytes, a value 256 KiB, and all
//! of both together 512 KiB.

use crate::Refusal;
use std::collections::BTreeSet;

/// The longest key, in bytes.
const LONGEST_KEY: usize = 128;
/// The longest value, in bytes.
const LONGEST_VALUE: usize = 256 << 10;
/// The most that keys and values come to together, in bytes.
const MOST: usize = 512 << 10;

/// Checks keys and values, in the order in which they were said.
pub fn check<'a>(items: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), Refusal> {
    let mut keys = BTreeSet::new();
    let mut size = 0;
    for (i, (key, value)) in items.into_iter().enumerate() {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=LONGEST_KEY).contains(&key.len()) || !key.bytes().all(good) {
            let expected = "Must be a match of regex '[a-zA-Z0-9-_]{1,128}'";
            return Err(Refusal::invalid(&format!("metadata.items[{i}].key"), key, expected));
        }
        if value.len() > LONGEST_VALUE {
            let field = format!("metadata.items[{i}].value");
            return Err(Refusal::TooLong { field, most: LONGEST_VALUE, size: value.len() });
        }
        if !keys.insert(key) {
            let expected = format!("Metadata has duplicate keys: {key}");
            return Err(Refusal::invalid("metadata", key, expected));
        }
        size += key.len() + value.len();
    }
    if size > MOST {
        return Err(Refusal::TooLong { field: "metadata".to_owned(), most: MOST, size });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_as_googles() {
        let refused = |items: &[(&str, &str)]| check(items.iter().copied()).err().map(|why| why.to_string());
        let (key, long_key) = ("k".repeat(128), "k".repeat(129));
        let (value, long_value) = ("v".repeat(256 << 10), "v".repeat((256 << 10) + 1));
        // Two of the longest values leave no room for their keys.
        let rest = "v".repeat((256 << 10) - 2);
        for good in [
            vec![],
            vec![("ssh-keys", ""), ("VmDnsSetting", "é"), ("a_B-9", "\n"), (key.as_str(), "")],
            vec![("a", value.as_str()), ("b", rest.as_str())],
        ] {
            assert_eq!(refused(&good), None);
        }
        let regex = "Must be a match of regex '[a-zA-Z0-9-_]{1,128}'";
        for bad in ["", "a b", "a.b", "é", "a\n", long_key.as_str()] {
            assert_eq!(
                refused(&[("a", ""), (bad, "")]),
                Some(format!("Invalid value for field 'resource.metadata.items[1].key': '{bad}'. {regex}"))
            );
        }
        assert_eq!(
            refused(&[("a", ""), ("b", ""), ("a", "1")]).as_deref(),
            Some("Invalid value for field 'resource.metadata': 'a'. Metadata has duplicate keys: a")
        );
        assert_eq!(
            refused(&[("a", &long_value)]).as_deref(),
            Some(
                "Value for field 'resource.metadata.items[0].value' is too large: maximum size 262144 character(s); \
                 actual size 262145."
            )
        );
        assert_eq!(
            refused(&[("a", &value), ("bc", &rest)]).as_deref(),
            Some(
                "Value for field 'resource.metadata' is too large: maximum size 524288 character(s); \
                 actual size 524289."
            )
        );
    }
}
