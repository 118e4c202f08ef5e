//! What a null multiplexer knows: where requests end, and whose replies come next. No I/O.

use std::collections::VecDeque;
use std::ops::Range;

use crate::frame::{self, Malformed};

/// The start of a request whose end was not read yet.
#[derive(Debug, Default)]
pub(crate) struct Partial(Vec<u8>);

impl Partial {
    /// Appends the whole requests that end in `read` to `out`; returns how many they are.
    pub(crate) fn take(&mut self, read: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut requests = 0;
        if self.0.is_empty() {
            let used = frames(read, |_| requests += 1)?;
            out.extend_from_slice(&read[..used]);
            self.0.extend_from_slice(&read[used..]);
        } else {
            self.0.extend_from_slice(read);
            let used = frames(&self.0, |_| requests += 1)?;
            out.extend_from_slice(&self.0[..used]);
            self.0.drain(..used);
        }
        Ok(requests)
    }
}

/// Whose replies come next, and how many of them.
#[derive(Debug, Default)]
pub(crate) struct Owners(VecDeque<(usize, usize)>);

impl Owners {
    /// The next `requests` are those of `client`.
    pub(crate) fn push(&mut self, client: usize, requests: usize) {
        match self.0.back_mut() {
            _ if requests == 0 => {}
            Some((last, more)) if *last == client => *more += requests,
            _ => self.0.push_back((client, requests)),
        }
    }

    /// Calls `send` with each client that whole replies in `read` are for, how many they are, and
    /// where; returns where the last one ends.
    pub(crate) fn split(
        &mut self,
        read: &[u8],
        mut send: impl FnMut(usize, usize, Range<usize>),
    ) -> Result<usize, Malformed> {
        let (mut start, mut owner, mut replies) = (0, None, 0);
        let used = frames(read, |end| {
            let Some((client, left)) = self.0.front_mut() else { return };
            (owner, replies, *left) = (Some(*client), replies + 1, *left - 1);
            if *left == 0 {
                send(*client, replies, start..end);
                (start, owner, replies) = (end, None, 0);
                self.0.pop_front();
            }
        })?;
        if let Some(client) = owner {
            send(client, replies, start..used);
        }
        Ok(used)
    }
}

/// Calls `each` with the end of every whole message in `bytes`; returns the last one.
fn frames(bytes: &[u8], mut each: impl FnMut(usize)) -> Result<usize, Malformed> {
    let mut end = 0;
    while end < bytes.len() {
        let Some(length) = frame::length(&bytes[end..])? else { break };
        end += length;
        each(end);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_whole() {
        let (mut partial, mut out) = (Partial::default(), Vec::new());
        assert_eq!(partial.take(b"*1\r\n$4\r\nPING\r\n*1\r\n", &mut out), Ok(1));
        assert_eq!(partial.take(b"$4\r\nPI", &mut out), Ok(0));
        assert_eq!(partial.take(b"NG\r\n:1\r\n:", &mut out), Ok(2));
        assert_eq!(out, b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n:1\r\n");
        assert_eq!(partial.take(b"2\r\n", &mut out), Ok(1));
        assert_eq!(partial.take(b"x", &mut out), Err(Malformed));
    }

    #[test]
    fn replies_go_to_those_who_asked() {
        let mut owners = Owners::default();
        for (client, requests) in [(7, 1), (7, 1), (8, 0), (9, 3)] {
            owners.push(client, requests);
        }
        let mut sent = Vec::new();
        let mut split =
            |read: &[u8]| owners.split(read, |client, replies, at| sent.push((client, replies, at)));
        assert_eq!(split(b":1\r\n:2\r\n+a\r\n+b"), Ok(12));
        assert_eq!(split(b"+bc\r\n$1\r\nx\r\n"), Ok(12));
        assert_eq!(sent, [(7, 2, 0..8), (9, 1, 8..12), (9, 2, 0..12)]);
    }
}
