//! Numbers in headers, read as strictly as Redis reads them.

/// The longest header line worth waiting for: a sign, 19 digits and some slack. Anything longer
/// can not be a number that Redis accepts, so waiting for its end would only cost memory.
const MAX_HEADER: usize = 32;

/// What `header` found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The line is not complete yet.
    Incomplete,
    /// The number, and the offset of the first byte after its CRLF.
    Number(i64, usize),
    /// Not a number, too long, or not ended by CRLF.
    Bad,
}

/// Reads `<number>\r\n` at `buf[at..]`.
pub(crate) fn header(buf: &[u8], at: usize) -> Header {
    let rest = buf.get(at..).unwrap_or_default();
    let window = &rest[..rest.len().min(MAX_HEADER)];
    let Some(end) = window.iter().position(|&b| b == b'\r') else {
        return if window.len() == MAX_HEADER { Header::Bad } else { Header::Incomplete };
    };
    match (integer(&window[..end]), rest.get(end + 1)) {
        (_, None) => Header::Incomplete,
        (Some(number), Some(b'\n')) => Header::Number(number, at + end + 2),
        _ => Header::Bad,
    }
}

/// A decimal integer without a plus sign, leading zeros or anything around it, as Redis' own
/// `string2ll` has it.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    let mut number: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        number = number.checked_mul(10)?;
        number = if negative { number.checked_sub(digit)? } else { number.checked_add(digit)? };
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1a", None),
        ] {
            assert_eq!(integer(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn headers_end_with_crlf_and_stay_short() {
        assert_eq!(header(b"*12\r\nx", 1), Header::Number(12, 5));
        assert_eq!(header(b"*12\r", 1), Header::Incomplete);
        assert_eq!(header(b"*12\rx", 1), Header::Bad);
        assert_eq!(header(&[b'1'; 31], 0), Header::Incomplete);
        assert_eq!(header(&[b'1'; 32], 0), Header::Bad);
    }
}
