//! Looking into a complete reply without decoding it: what a message of Redis' pub/sub is, and the
//! number that ends it.

use crate::number::{Header, header, integer};

/// The longest number, its sign and CRLF included.
const MAX_NUMBER: usize = 22;

/// The first element of an aggregate when it is a bulk string, such as `message`; `None` for
/// anything else.
pub fn first_bulk(frame: &[u8]) -> Option<&[u8]> {
    if !matches!(frame.first(), Some(b'*' | b'>' | b'~')) {
        return None;
    }
    let Header::Number(1.., next) = header(frame, 1) else { return None };
    if frame.get(next) != Some(&b'$') {
        return None;
    }
    let Header::Number(len, start) = header(frame, next + 1) else { return None };
    let len = usize::try_from(len).ok()?;
    frame.get(start..start.checked_add(len)?)
}

/// The last element of an aggregate when it is an integer.
pub fn last_integer(frame: &[u8]) -> Option<i64> {
    let line = frame.strip_suffix(b"\r\n")?;
    let tail = &line[line.len().saturating_sub(MAX_NUMBER)..];
    let colon = tail.windows(3).rposition(|part| part == b"\r\n:")?;
    integer(&tail[colon + 3..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_pub_sub_are_told_apart() {
        let found = |frame: &'static str| (first_bulk(frame.as_bytes()), last_integer(frame.as_bytes()));
        for (frame, word, number) in [
            ("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", Some("subscribe"), Some(1)),
            (">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n", Some("unsubscribe"), Some(0)),
            ("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n:1\r\n", Some("message"), Some(1)),
            ("*2\r\n:1\r\n:2\r\n", None, Some(2)),
            ("*0\r\n", None, None),
            ("*-1\r\n", None, None),
            ("+OK\r\n", None, None),
            ("$3\r\nfoo\r\n", None, None),
            ("*1\r\n$-1\r\n", None, None),
            ("*1\r\n$9\r\nx\r\n", None, None),
            ("", None, None),
        ] {
            assert_eq!(found(frame), (word.map(str::as_bytes), number), "{frame:?}");
        }
    }
}
