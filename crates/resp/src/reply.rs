//! Replies: where the next one ends.
//!
//! Contract: `FrameScanner::advance` is given the bytes of one reply from their first byte on,
//! again and with more of them until it answers with a length. A boundary needs no tree: the
//! scanner only counts the elements still to come, so nesting costs neither memory nor stack,
//! however deep a server makes it.
//!
//! All types of RESP2 and RESP3 are known, except the streamed ones (`$?`, `*?`), which no
//! released Redis sends and which are refused.

use thiserror::Error;

use crate::number::integer;
use crate::request::MAX_BULK_BYTES;
use crate::usual::number;

/// The longest reply, in bytes, that a scanner waits for.
pub const MAX_REPLY_BYTES: usize = 1 << 30;

/// Why bytes are not a reply. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// No type starts with this byte.
    #[error("no reply starts with byte {0:#04x}")]
    Type(u8),
    /// A length that is not a number or out of bounds.
    #[error("a reply announces an invalid length")]
    Length,
    /// A line or a string that is not ended by CRLF.
    #[error("a part of a reply does not end with CRLF")]
    Terminator,
    /// More than [`MAX_REPLY_BYTES`].
    #[error("a reply is longer than {MAX_REPLY_BYTES} bytes")]
    TooBig,
}

/// Finds the end of replies; one for each connection to a server.
#[derive(Debug)]
pub struct FrameScanner {
    /// First byte of the element that is looked at.
    element: usize,
    /// How far its line was searched for CRLF.
    searched: usize,
    /// End of the bulk string that is being waited for, its CRLF excluded.
    body_end: Option<usize>,
    /// Elements still to come, the current one included.
    missing: u64,
}

impl Default for FrameScanner {
    fn default() -> Self {
        FrameScanner { element: 0, searched: 0, body_end: None, missing: 1 }
    }
}

impl FrameScanner {
    /// Looks at `buf`, which starts with the first byte of the reply. `Some(length)` when the
    /// whole reply is there; the next call then starts a new one.
    #[inline]
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, ReplyError> {
        // At the start, nothing was searched; and so it stays after a reply of one usual element.
        match usual_element(buf, 0) {
            Some(length) if self.searched == 0 => Ok(Some(length)),
            _ => self.go_on(buf),
        }
    }

    fn go_on(&mut self, buf: &[u8]) -> Result<Option<usize>, ReplyError> {
        while self.missing > 0 {
            if self.body_end.is_none()
                && self.searched == self.element
                && let Some(next) = usual_element(buf, self.element)
            {
                if next > MAX_REPLY_BYTES {
                    return Err(ReplyError::TooBig);
                }
                (self.element, self.searched) = (next, next);
                self.missing -= 1;
                continue;
            }
            let complete = match self.body_end {
                Some(end) => self.body(buf, end)?,
                None => self.line(buf)?,
            };
            if self.element.max(self.body_end.unwrap_or(0)).max(self.searched) > MAX_REPLY_BYTES {
                return Err(ReplyError::TooBig);
            }
            if !complete {
                return Ok(None);
            }
        }
        let length = self.element;
        *self = FrameScanner::default();
        Ok(Some(length))
    }

    /// The line that starts an element; `false` when it is not complete.
    fn line(&mut self, buf: &[u8]) -> Result<bool, ReplyError> {
        let from = self.searched.max(self.element);
        let Some(at) = buf.get(from..).and_then(|rest| rest.iter().position(|&b| b == b'\n')) else {
            self.searched = buf.len();
            return Ok(false);
        };
        let end = from + at;
        let line = &buf[self.element..end];
        let Some(line) = line.strip_suffix(b"\r") else { return Err(ReplyError::Terminator) };
        self.element_line(line, end + 1)?;
        Ok(true)
    }

    fn element_line(&mut self, line: &[u8], next: usize) -> Result<(), ReplyError> {
        let (&kind, rest) = line.split_first().ok_or(ReplyError::Terminator)?;
        let more = match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => 0,
            b'$' | b'=' | b'!' => {
                if let Some(len) = length(rest, MAX_BULK_BYTES as u64)? {
                    self.body_end = Some(next + len as usize);
                }
                0
            }
            b'*' | b'~' | b'>' => length(rest, u64::MAX)?.unwrap_or(0),
            b'%' => pairs(rest)?,
            // An attribute is not an element: the one that it describes follows.
            b'|' => pairs(rest)?.checked_add(1).ok_or(ReplyError::Length)?,
            other => return Err(ReplyError::Type(other)),
        };
        self.element = next;
        self.searched = next;
        if self.body_end.is_none() {
            self.missing = (self.missing - 1).checked_add(more).ok_or(ReplyError::Length)?;
        }
        Ok(())
    }

    /// The contents of a bulk string; `false` when they are not complete.
    fn body(&mut self, buf: &[u8], end: usize) -> Result<bool, ReplyError> {
        let Some(terminator) = buf.get(end..end + 2) else { return Ok(false) };
        if terminator != b"\r\n" {
            return Err(ReplyError::Terminator);
        }
        self.element = end + 2;
        self.searched = self.element;
        self.body_end = None;
        self.missing -= 1;
        Ok(true)
    }
}

/// The end of the element at `at`, if it is of a usual kind and all there: the short way for nearly
/// all. Whatever else there is, the scanner looks at.
#[inline]
fn usual_element(buf: &[u8], at: usize) -> Option<usize> {
    match *buf.get(at)? {
        b'$' => match number(buf, at + 1) {
            Some((length, start)) => {
                let end = start + length;
                (buf.get(end..end + 2)? == b"\r\n").then_some(end + 2)
            }
            None => (buf.get(at..at + 5)? == b"$-1\r\n").then_some(at + 5),
        },
        b':' => number(buf, at + 1).map(|(_, next)| next),
        b'+' => (buf.get(at..at + 5)? == b"+OK\r\n").then_some(at + 5),
        _ => None,
    }
}

/// A length up to `max`; `None` for the null of RESP2, `-1`.
fn length(text: &[u8], max: u64) -> Result<Option<u64>, ReplyError> {
    match integer(text) {
        Some(-1) => Ok(None),
        Some(number) => match u64::try_from(number) {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => Err(ReplyError::Length),
        },
        None => Err(ReplyError::Length),
    }
}

fn pairs(text: &[u8]) -> Result<u64, ReplyError> {
    length(text, u64::MAX)?.unwrap_or(0).checked_mul(2).ok_or(ReplyError::Length)
}
