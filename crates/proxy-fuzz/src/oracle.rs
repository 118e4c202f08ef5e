//! Readings of the protocol that share no code with tombolo-resp: slow, plain, and after Redis' own
//! source, so that a mistake there is not repeated here.

/// A multibulk of the form that a server accepts, and its length; `None` when bytes are missing.
/// Panics when Redis would answer a protocol error.
pub(crate) fn multibulk(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = line(bytes, 0, b'*')?;
    assert!((1..=1024 * 1024).contains(&count), "a server is sent a multibulk of {count}");
    let mut args = Vec::new();
    for _ in 0..count {
        let (length, start) = line(bytes, at, b'$')?;
        assert!((0..=512 << 20).contains(&length), "a server is sent a bulk string of {length}");
        let end = start + length as usize;
        let arg = bytes.get(start..end)?;
        let terminator = bytes.get(end..end + 2)?;
        assert_eq!(terminator, b"\r\n", "a server is sent an argument without an end");
        args.push(arg.to_vec());
        at = end + 2;
    }
    Some((args, at))
}

fn line(bytes: &[u8], at: usize, kind: u8) -> Option<(i64, usize)> {
    assert_eq!(*bytes.get(at)?, kind, "a server is sent something else than {:?}", char::from(kind));
    let length = bytes[at..].iter().position(|&byte| byte == b'\r')?;
    assert_eq!(*bytes.get(at + length + 1)?, b'\n', "a server is sent CR without LF");
    let text = String::from_utf8_lossy(&bytes[at + 1..at + length]);
    let number = text.parse().unwrap_or_else(|_| panic!("a server is sent the length {text:?}"));
    Some((number, at + length + 2))
}

/// Redis' `sdssplitargs`, statement for statement; `None` for unbalanced quotes.
pub(crate) fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    // As in C, where a string has a NUL at its end.
    let at = |index: usize| line.get(index).copied().unwrap_or(0);
    let is_space = |byte: u8| matches!(byte, b' ' | 0x09..=0x0d);
    let mut p = 0;
    let mut vector = Vec::new();
    loop {
        while at(p) != 0 && is_space(at(p)) {
            p += 1;
        }
        if at(p) == 0 {
            return Some(vector);
        }
        let (mut in_double, mut in_single, mut done) = (false, false, false);
        let mut current = Vec::new();
        while !done {
            if in_double {
                let hex = |byte: u8| char::from(byte).to_digit(16);
                if at(p) == b'\\' && at(p + 1) == b'x' && hex(at(p + 2)).is_some() && hex(at(p + 3)).is_some()
                {
                    current.push((hex(at(p + 2))? * 16 + hex(at(p + 3))?) as u8);
                    p += 3;
                } else if at(p) == b'\\' && at(p + 1) != 0 {
                    p += 1;
                    current.push(match at(p) {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => other,
                    });
                } else if at(p) == b'"' {
                    if at(p + 1) != 0 && !is_space(at(p + 1)) {
                        return None;
                    }
                    done = true;
                } else if at(p) == 0 {
                    return None;
                } else {
                    current.push(at(p));
                }
            } else if in_single {
                if at(p) == b'\\' && at(p + 1) == b'\'' {
                    p += 1;
                    current.push(b'\'');
                } else if at(p) == b'\'' {
                    if at(p + 1) != 0 && !is_space(at(p + 1)) {
                        return None;
                    }
                    done = true;
                } else if at(p) == 0 {
                    return None;
                } else {
                    current.push(at(p));
                }
            } else {
                match at(p) {
                    b' ' | b'\n' | b'\r' | b'\t' | 0 => done = true,
                    b'"' => in_double = true,
                    b'\'' => in_single = true,
                    other => current.push(other),
                }
            }
            if at(p) != 0 {
                p += 1;
            }
        }
        vector.push(current);
    }
}
