//! Where a RESP message ends, and nothing else about it.

/// Arrays in arrays deeper than this are refused.
const MAX_DEPTH: usize = 32;

/// Bytes that are no RESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The length of the message that `bytes` starts with; `None` when its end is not there yet.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    message(bytes, MAX_DEPTH)
}

fn message(bytes: &[u8], depth: usize) -> Result<Option<usize>, Malformed> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    match kind {
        b'+' | b'-' | b':' => Ok(bytes.iter().position(|&byte| byte == b'\n').map(|at| at + 1)),
        b'$' => {
            let Some((number, header)) = line(bytes)? else { return Ok(None) };
            let end = usize::try_from(number).map_or(header, |number| header + number + 2);
            Ok((bytes.len() >= end).then_some(end))
        }
        b'*' if depth > 0 => {
            let Some((number, mut end)) = line(bytes)? else { return Ok(None) };
            for _ in 0..number {
                match message(&bytes[end..], depth - 1)? {
                    Some(length) => end += length,
                    None => return Ok(None),
                }
            }
            Ok(Some(end))
        }
        _ => Err(Malformed),
    }
}

/// The number after the first byte, and where the next line starts.
fn line(bytes: &[u8]) -> Result<Option<(i32, usize)>, Malformed> {
    let mut number = 0_i32;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' => {
                number = number.checked_mul(10).ok_or(Malformed)?;
                number = number.checked_add(i32::from(byte - b'0')).ok_or(Malformed)?;
            }
            b'-' if at == 1 => return Ok((bytes.len() >= 5).then_some((-1, 5))),
            b'\r' => return Ok((bytes.len() > at + 1).then_some((number, at + 2))),
            _ => return Err(Malformed),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_once_it_is_whole() {
        for message in [
            "+OK\r\n",
            "-ERR no\r\n",
            ":-12\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$5\r\na\r\nbc\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
            "*2\r\n*1\r\n:1\r\n$-1\r\n",
        ] {
            let followed = format!("{message}+x");
            assert_eq!(length(followed.as_bytes()), Ok(Some(message.len())), "{message:?}");
            for end in 0..message.len() {
                assert_eq!(length(&message.as_bytes()[..end]), Ok(None), "{message:?} up to {end}");
            }
        }
    }

    #[test]
    fn other_bytes_are_malformed() {
        for bytes in ["GET k\r\n", "$x\r\n", "*1\r\nhello", "$99999999999\r\n"] {
            assert_eq!(length(bytes.as_bytes()), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(length("*1\r\n".repeat(MAX_DEPTH + 1).as_bytes()), Err(Malformed));
    }
}
