//! The usual shape of a request, found in one pass.
//!
//! Nearly every request is a complete multibulk of moderate length. For those this finds where
//! they end and what they are called, which is all that a proxy in front of one server needs.
//! Whatever looks different in any way is left to [`RequestParser`](crate::RequestParser), which
//! also says what is wrong with it: what is found here is exactly what that parser finds.

/// Longer requests are not usual.
const MAX_USUAL_BYTES: usize = 1 << 20;

/// A complete request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual<'a> {
    /// Its bytes on the wire.
    pub length: usize,
    /// How many of these are before its second argument.
    pub head: usize,
    /// How many arguments it has, its name included; at least 1.
    pub args: usize,
    /// The command's name, in the client's spelling.
    pub name: &'a [u8],
    /// The argument after the name, if there is one: a key, for most commands.
    pub first: Option<&'a [u8]>,
}

/// How a request starts: how many arguments it has, and what it is called. Those that start alike need not be looked
/// at so closely again.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    bytes: u128,
    mask: u128,
    length: usize,
    args: usize,
}

impl Head {
    /// That of the request which `buf` starts with; `None` of one that is longer than most are.
    #[inline]
    pub fn of(buf: &[u8], request: &Usual<'_>) -> Option<Head> {
        let length = request.head;
        let unused = u128::BITS.checked_sub(8 * u32::try_from(length).ok()?)?;
        let mask = u128::MAX >> unused;
        let bytes = u128::from_le_bytes(*buf.first_chunk()?) & mask;
        Some(Head { bytes, mask, length, args: request.args })
    }

    /// The length of the request that `buf` starts with, if it starts so, is all there and of the usual shape. Of one
    /// that is shorter than most are this is `None` too.
    #[inline]
    pub fn follow(&self, buf: &[u8]) -> Option<usize> {
        if (u128::from_le_bytes(*buf.first_chunk()?) ^ self.bytes) & self.mask != 0 {
            return None;
        }
        (1..self.args).try_fold(self.length, |at, _| bulk(buf, at).map(|(_, next)| next))
    }
}

/// The request that `buf` starts with, if it is all there and of the usual shape.
#[inline]
pub fn usual(buf: &[u8]) -> Option<Usual<'_>> {
    if *buf.first()? != b'*' {
        return None;
    }
    let (args, at) = number(buf, 1)?;
    if args == 0 {
        return None;
    }
    let (name, head) = bulk(buf, at)?;
    let (mut first, mut at) = (None, head);
    if args > 1 {
        let (argument, next) = bulk(buf, at)?;
        (first, at) = (Some(argument), next);
        for _ in 2..args {
            at = bulk(buf, at)?.1;
        }
    }
    Some(Usual { length: at, head, args, name, first })
}

/// The bulk string at `at`, and what follows it.
#[inline]
fn bulk(buf: &[u8], at: usize) -> Option<(&[u8], usize)> {
    if *buf.get(at)? != b'$' {
        return None;
    }
    let (length, start) = number(buf, at + 1)?;
    let end = start + length;
    if end > MAX_USUAL_BYTES || buf.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    Some((&buf[start..end], end + 2))
}

/// A number of at most seven digits at `at`, and what follows its CRLF.
#[inline]
pub(crate) fn number(buf: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut number = usize::from(buf.get(at)?.wrapping_sub(b'0'));
    if number > 9 {
        return None;
    }
    let mut at = at + 1;
    loop {
        let byte = *buf.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (byte == b'\r' && *buf.get(at + 1)? == b'\n').then_some((number, at + 2));
        }
        // A leading zero is no number to Redis.
        if number == 0 || number > 999_999 {
            return None;
        }
        number = number * 10 + usize::from(digit);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_shape_is_found_and_nothing_else() {
        let get = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
        let found = usual(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*1\r\n");
        assert_eq!(
            found,
            Some(Usual { length: get.len(), head: 13, args: 2, name: b"GET", first: Some(b"key") })
        );
        for end in 0..get.len() {
            assert_eq!(usual(&get[..end]), None);
        }
        let found = usual(b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(found, Some(Usual { length: 14, head: 14, args: 1, name: b"PING", first: None }));
        let found = usual(b"*3\r\n$1\r\na\r\n$0\r\n\r\n$10\r\n0123456789\r\n");
        assert_eq!(found, Some(Usual { length: 34, head: 11, args: 3, name: b"a", first: Some(b"") }));
        for other in [
            b"PING\r\n".as_slice(),
            b"*0\r\n",
            b"*-1\r\n",
            b"*01\r\n$1\r\na\r\n",
            b"*1\r\n$01\r\na\r\n",
            b"*1\r\n$+1\r\na\r\n",
            b"*1\r\n$1\n\na\r\n",
            b"*1\r\n$1\r\nab\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$99999999\r\n",
        ] {
            assert_eq!(usual(other), None, "{}", other.escape_ascii());
        }
    }
}
