//! One reply out of those of several servers.
//!
//! An error of one server is the whole reply: the first one, in the order of the parts. What the
//! other servers did stays done, as with twemproxy.

use tombolo_resp::{FrameScanner, encode, peek};

/// How replies become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gather {
    /// Arrays of which each element answers one key: the part that has the answer to each key.
    Interleave(Vec<u32>),
    /// The sum of integers.
    Sum,
    /// One array of the elements of all.
    Concat,
    /// All say the same.
    First,
    /// Arrays of 0 and 1: where all say 1.
    All,
    /// One of those that are not null, by this number.
    Pick(u64),
    /// Those of memcached's servers.
    Memcache(super::memcache::join::Gather),
    /// The answer to SCAN of one place of so many: its cursor is to say which place goes on.
    Scan { place: u64, places: u64, next: Option<u64> },
}

/// The parts of a reply that is not complete.
#[derive(Debug)]
pub(super) struct Join {
    gather: Gather,
    parts: Vec<Vec<u8>>,
    missing: usize,
    /// Bytes of the requests.
    pub(super) request_bytes: usize,
}

impl Join {
    pub(super) fn new(gather: Gather, parts: usize, request_bytes: usize) -> Join {
        Join { gather, parts: vec![Vec::new(); parts], missing: parts, request_bytes }
    }

    /// Takes a server's reply; `true` when it was the last one.
    pub(super) fn add(&mut self, part: u32, reply: &[u8]) -> bool {
        if let Some(place) = self.parts.get_mut(part as usize)
            && place.is_empty()
        {
            *place = reply.to_vec();
            self.missing -= 1;
        }
        self.missing == 0
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// The reply of all.
    pub(super) fn reply(&self) -> Vec<u8> {
        if let Gather::Memcache(gather) = &self.gather {
            return gather.reply(&self.parts);
        }
        if let Some(error) = self.parts.iter().find(|part| part.starts_with(b"-")) {
            return error.clone();
        }
        self.combine().unwrap_or_else(|| {
            b"-ERR tombolo-proxy: the servers' replies do not fit together (the command may have run)\r\n"
                .to_vec()
        })
    }

    fn combine(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.held() + 16);
        match &self.gather {
            Gather::Interleave(order) => {
                let mut parts: Vec<_> =
                    self.parts.iter().map(|part| elements(part)).collect::<Option<_>>()?;
                encode::array(&mut out, order.len());
                for &part in order {
                    out.extend_from_slice(parts.get_mut(part as usize)?.next()?);
                }
            }
            Gather::Sum => {
                let numbers = self.parts.iter().map(|part| number(part));
                encode::integer(&mut out, numbers.sum::<Option<i64>>()?);
            }
            Gather::Concat => {
                let parts: Vec<_> = self.parts.iter().map(|part| elements(part)).collect::<Option<_>>()?;
                let all: Vec<&[u8]> = parts.into_iter().flatten().collect();
                encode::array(&mut out, all.len());
                all.iter().for_each(|element| out.extend_from_slice(element));
            }
            Gather::Memcache(_) => return None,
            Gather::First => out.extend_from_slice(self.parts.first()?),
            Gather::All => {
                let mut parts: Vec<_> =
                    self.parts.iter().map(|part| elements(part)).collect::<Option<_>>()?;
                let mut all = Vec::new();
                while let Some(row) = parts.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
                    all.push(row.into_iter().map(number).min()??);
                }
                encode::array(&mut out, all.len());
                all.iter().for_each(|number| encode::integer(&mut out, *number));
            }
            Gather::Pick(dice) => {
                // Of RESP2, and of RESP3.
                let null = |part: &Vec<u8>| part == b"$-1\r\n" || part == b"_\r\n";
                let full: Vec<_> = self.parts.iter().filter(|part| !null(part)).collect();
                let picked = full.get((dice % full.len().max(1) as u64) as usize);
                out.extend_from_slice(picked.copied().or(self.parts.first())?);
            }
            Gather::Scan { place, places, next } => {
                let part = self.parts.first()?;
                let cursor = peek::first_bulk(part)?;
                let mut elements = elements(part)?;
                let (_, keys) = (elements.next()?, elements.next()?);
                let cursor = std::str::from_utf8(cursor).ok()?.parse().ok()?;
                encode::array(&mut out, 2);
                encode::bulk(&mut out, next_cursor(cursor, *place, *places, *next)?.to_string().as_bytes());
                out.extend_from_slice(keys);
            }
        }
        Some(out)
    }
}

/// The place that a client's cursor stands for, and the cursor there.
pub(super) fn scan_place(cursor: u64, places: u64) -> (u64, u64) {
    (cursor % places, cursor / places)
}

/// A place's cursor as clients see it: one place after the other, and 0 after the last. Redis'
/// cursors are below the size of a server's hash table, so the product has room.
fn next_cursor(cursor: u64, place: u64, places: u64, next: Option<u64>) -> Option<u64> {
    match cursor {
        0 => Some(next.unwrap_or(0)),
        _ => cursor.checked_mul(places)?.checked_add(place),
    }
}

fn number(reply: &[u8]) -> Option<i64> {
    let text = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The elements of an array.
fn elements(array: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let head = array.iter().position(|&byte| byte == b'\n')? + 1;
    let mut rest = array.strip_prefix(b"*").and_then(|_| array.get(head..))?;
    Some(std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = FrameScanner::default().advance(rest).ok()??;
        let (element, after) = rest.split_at(length);
        rest = after;
        Some(element)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(gather: Gather, parts: &[&str]) -> String {
        let mut join = Join::new(gather, parts.len(), 0);
        // They come in any order.
        for (part, reply) in parts.iter().enumerate().rev() {
            assert_eq!(join.add(part as u32, reply.as_bytes()), part == 0);
        }
        String::from_utf8(join.reply()).expect("text")
    }

    #[test]
    fn replies_become_one() {
        for (gather, parts, expected) in [
            (
                Gather::Interleave(vec![1, 0, 1]),
                ["*1\r\n$1\r\na\r\n", "*2\r\n$-1\r\n$1\r\nc\r\n"].as_slice(),
                "*3\r\n$-1\r\n$1\r\na\r\n$1\r\nc\r\n",
            ),
            (Gather::Sum, &[":1\r\n", ":41\r\n"], ":42\r\n"),
            (Gather::Sum, &[":1\r\n", "-ERR a\r\n", "-ERR b\r\n"], "-ERR a\r\n"),
            (Gather::Sum, &[":1\r\n", "+OK\r\n"], "-ERR tombolo-proxy: the servers' replies do not fit"),
            (Gather::Concat, &["*1\r\n$1\r\na\r\n", "*0\r\n"], "*1\r\n$1\r\na\r\n"),
            (Gather::First, &["+OK\r\n", "+OK\r\n"], "+OK\r\n"),
            (Gather::All, &["*2\r\n:1\r\n:0\r\n", "*2\r\n:1\r\n:1\r\n"], "*2\r\n:1\r\n:0\r\n"),
            (Gather::Pick(5), &["$-1\r\n", "$1\r\na\r\n"], "$1\r\na\r\n"),
            (Gather::Pick(5), &["$-1\r\n", "$-1\r\n"], "$-1\r\n"),
            (Gather::Pick(4), &["_\r\n", "$1\r\na\r\n"], "$1\r\na\r\n"),
            (Gather::Pick(5), &["_\r\n", "_\r\n"], "_\r\n"),
            (
                Gather::Scan { place: 1, places: 3, next: Some(2) },
                &["*2\r\n$1\r\n5\r\n*0\r\n"],
                "*2\r\n$2\r\n16\r\n*0\r\n",
            ),
        ] {
            let reply = joined(gather, parts);
            assert!(reply.starts_with(expected), "{parts:?}: {reply}");
        }
    }

    #[test]
    fn a_cursor_goes_from_server_to_server() {
        let story = [(0, 0, Some(1)), (7, 1, Some(2)), (0, 1, Some(2)), (0, 2, None)]
            .map(|(cursor, place, next)| next_cursor(cursor, place, 3, next));
        assert_eq!(story, [Some(1), Some(22), Some(2), Some(0)]);
        assert_eq!((scan_place(22, 3), scan_place(1, 3), scan_place(0, 3)), ((1, 7), (1, 0), (0, 0)));
        assert_eq!(next_cursor(u64::MAX, 1, 3, None), None);
    }
}
