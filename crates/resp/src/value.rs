//! Replies as values, for those who want to look into one: tests, and an administrator's view.
//! The proxy's data path does not use this; see `FrameScanner`.

use crate::number::integer;

/// How deep aggregates may nest in a [`Value`].
pub const MAX_DEPTH: usize = 32;

/// A decoded reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `+`
    Simple(String),
    /// `-` or `!`, its code included
    Error(String),
    /// `:`
    Integer(i64),
    /// `$` or `=`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*`, `~` or `>`
    Array(Vec<Value>),
    /// `%`
    Map(Vec<(Value, Value)>),
    /// `,`, `#` and `(`, as they are written
    Text(String),
}

impl Value {
    /// Decodes the reply at the start of `buf`, with its length in bytes. `None` when it is not
    /// complete, not RESP, or nests deeper than [`MAX_DEPTH`].
    pub fn decode(buf: &[u8]) -> Option<(Value, usize)> {
        let mut at = 0;
        let value = decode(buf, &mut at, MAX_DEPTH)?;
        Some((value, at))
    }

    /// The elements of an array; empty for anything else.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The text of a string or an error, lossily; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(text) | Value::Error(text) | Value::Text(text) => text.clone(),
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Integer(number) => number.to_string(),
            _ => String::new(),
        }
    }
}

fn decode(buf: &[u8], at: &mut usize, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let (kind, line) = line(buf, at)?;
    let text = || String::from_utf8_lossy(line).into_owned();
    Some(match kind {
        b'+' => Value::Simple(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Integer(integer(line)?),
        b',' | b'#' | b'(' => Value::Text(text()),
        b'_' => Value::Null,
        b'$' | b'=' | b'!' => {
            let Ok(len) = usize::try_from(integer(line)?) else { return Some(Value::Null) };
            let bytes = buf.get(*at..at.checked_add(len)?)?;
            buf.get(*at + len..*at + len + 2).filter(|end| *end == b"\r\n")?;
            *at += len + 2;
            match kind {
                b'!' => Value::Error(String::from_utf8_lossy(bytes).into_owned()),
                _ => Value::Bulk(bytes.to_vec()),
            }
        }
        b'*' | b'~' | b'>' => {
            let Ok(count) = usize::try_from(integer(line)?) else { return Some(Value::Null) };
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(decode(buf, at, depth)?);
            }
            Value::Array(items)
        }
        b'%' => Value::Map(decode_pairs(buf, at, depth, integer(line)?)?),
        b'|' => {
            decode_pairs(buf, at, depth, integer(line)?)?;
            decode(buf, at, depth)?
        }
        _ => return None,
    })
}

fn decode_pairs(buf: &[u8], at: &mut usize, depth: usize, count: i64) -> Option<Vec<(Value, Value)>> {
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((decode(buf, at, depth)?, decode(buf, at, depth)?));
    }
    Some(pairs)
}

/// The first byte and the rest of the line at `at`, which moves past it.
fn line<'a>(buf: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    let rest = buf.get(*at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (&kind, line) = rest[..end].split_first()?;
    *at += end + 2;
    Some((kind, line))
}
