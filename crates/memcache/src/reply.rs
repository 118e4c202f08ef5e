//! Replies: where the next one ends, and the values in it.
//!
//! ```text
//!  VALUE key flags bytes [unique] CRLF data CRLF, any number of times, then END CRLF
//!  VA bytes flags* CRLF data CRLF
//!  anything else: one line
//! ```
//!
//! Contract: `ReplyScanner::advance` is given the bytes of one reply from their first byte on,
//! again and with more of them until it answers with a length.

use thiserror::Error;

use super::MAX_VALUE_BYTES;
use super::number::unsigned;

/// The longest reply, in bytes, that a scanner waits for.
pub const MAX_REPLY_BYTES: usize = 1 << 30;
/// The longest line of a reply.
const MAX_REPLY_LINE: usize = 8 << 10;

/// Why bytes are not a reply. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// A value's line without a length, or with one out of bounds.
    #[error("a reply announces an invalid length")]
    Length,
    /// A line or a data block that is not ended by CRLF, or a line without an end.
    #[error("a part of a reply does not end with CRLF")]
    Terminator,
    /// More than [`MAX_REPLY_BYTES`].
    #[error("a reply is longer than {MAX_REPLY_BYTES} bytes")]
    TooBig,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// So many bytes of data follow, then another line.
    Value(usize),
    /// So many bytes of data follow, and are the end.
    Last(usize),
    /// It is the end.
    End,
}

fn kind(line: &[u8]) -> Result<Kind, ReplyError> {
    let length = |word: usize| {
        let text = line.split(|&byte| byte == b' ').nth(word).ok_or(ReplyError::Length)?;
        let length = unsigned(text).and_then(|length| usize::try_from(length).ok());
        length.filter(|length| *length <= MAX_VALUE_BYTES).ok_or(ReplyError::Length)
    };
    if line.starts_with(b"VALUE ") {
        length(3).map(Kind::Value)
    } else if line.starts_with(b"VA ") {
        length(1).map(Kind::Last)
    } else {
        Ok(Kind::End)
    }
}

/// Finds the end of replies; one for each connection to a server.
#[derive(Debug, Default)]
pub struct ReplyScanner {
    /// First byte of the line that is looked at.
    start: usize,
    /// How far it was searched for its end.
    searched: usize,
    /// Where the data ends that is being waited for, its CRLF excluded, and whether it is the end.
    data: Option<(usize, bool)>,
}

impl ReplyScanner {
    /// The length of the reply that `buf` starts with; `None` when it is not complete.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, ReplyError> {
        loop {
            if let Some((end, last)) = self.data {
                if end > MAX_REPLY_BYTES {
                    return Err(ReplyError::TooBig);
                }
                match buf.get(end..end + 2) {
                    None => return Ok(None),
                    Some(b"\r\n") => self.data = None,
                    Some(_) => return Err(ReplyError::Terminator),
                }
                (self.start, self.searched) = (end + 2, end + 2);
                if last {
                    return Ok(Some(self.finish()));
                }
            }
            let newline =
                buf.get(self.searched..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'));
            let end = newline.map_or(buf.len(), |at| self.searched + at);
            if end.saturating_sub(self.start) > MAX_REPLY_LINE {
                return Err(ReplyError::Terminator);
            }
            self.searched = end;
            if newline.is_none() {
                return Ok(None);
            }
            let line = buf[self.start..end].strip_suffix(b"\r").ok_or(ReplyError::Terminator)?;
            match kind(line)? {
                Kind::Value(length) => self.data = Some((end + 1 + length, false)),
                Kind::Last(length) => self.data = Some((end + 1 + length, true)),
                Kind::End => {
                    self.start = end + 1;
                    return Ok(Some(self.finish()));
                }
            }
        }
    }

    fn finish(&mut self) -> usize {
        std::mem::take(self).start
    }
}

/// Whether a reply says that the request was not understood or did not work.
pub fn is_error(reply: &[u8]) -> bool {
    let kinds = [b"ERROR".as_slice(), b"CLIENT_ERROR ", b"SERVER_ERROR "];
    kinds.iter().any(|kind| reply.starts_with(kind))
}

/// The values of a complete reply to a retrieval: the key, and the value with its line. `None` when
/// it is something else.
pub fn values(reply: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut values = Vec::new();
    let mut rest = reply;
    while rest != b"END\r\n" {
        let newline = rest.iter().position(|&byte| byte == b'\n')?;
        let Ok(Kind::Value(length)) = kind(rest[..newline].strip_suffix(b"\r")?) else { return None };
        let (value, after) = rest.split_at_checked(newline + 1 + length + 2)?;
        values.push((value.split(|&byte| byte == b' ').nth(1)?, value));
        rest = after;
    }
    Some(values)
}
