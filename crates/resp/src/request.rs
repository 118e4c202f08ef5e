//! Requests: what a client sends.
//!
//! Contract: `RequestParser::advance` is given the bytes of one request from their first byte on,
//! again and with more of them until it answers `Complete` or `Empty`. It remembers how far it
//! came, so the work is linear in the bytes whatever the pieces, and the result does not depend on
//! how they were cut. After an error the connection is of no more use: nobody knows where the
//! next request starts.
//!
//! Stricter than Redis in one point: a bulk string must be followed by CRLF. Redis skips two bytes
//! unseen, and another server behind a proxy may not, which would desynchronise a shared
//! connection.

use thiserror::Error;

use crate::encode;
use crate::number::{Header, header};

/// The longest argument, in bytes: Redis' default `proto-max-bulk-len`.
pub const MAX_BULK_BYTES: usize = 512 << 20;
/// The most arguments in a request, its name included: Redis' limit.
pub const MAX_ARGS: usize = i32::MAX as usize;
/// The longest request on the wire, in bytes; below Redis' `client-query-buffer-limit` of 1 GiB,
/// past which a server closes a connection that others may share.
pub const MAX_REQUEST_BYTES: usize = (1 << 30) - (1 << 20);
/// The longest inline command, in bytes.
pub const MAX_INLINE_BYTES: usize = 64 << 10;

/// The most arguments, and the longest one in bytes, of somebody who has yet to say a password: Redis' limits, so that
/// strangers take up no memory.
pub const STRANGERS_ARGS: usize = 10;
/// See [`STRANGERS_ARGS`].
pub const STRANGERS_BULK_BYTES: usize = 16 << 10;

/// Argument slots that an idle parser keeps allocated.
const KEEP_ARGS: usize = 64;

/// Why bytes are not a request. The text is what Redis answers, without its `-ERR `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// `*` without a number, or with one above [`MAX_ARGS`].
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// `$` without a number, or with one below zero or above [`MAX_BULK_BYTES`].
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// More than [`STRANGERS_ARGS`] from somebody who has yet to say a password.
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangersMultibulkLength,
    /// More than [`STRANGERS_BULK_BYTES`] from somebody who has yet to say a password.
    #[error("Protocol error: unauthenticated bulk length")]
    StrangersBulkLength,
    /// An argument that does not start with `$`; the byte found.
    #[error("Protocol error: expected '$', got '{}'", printable(*.0))]
    ExpectedBulk(u8),
    /// An argument that is not followed by CRLF.
    #[error("Protocol error: expected CRLF after an argument")]
    Terminator,
    /// An inline command with a quote that does not end.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// An inline command above [`MAX_INLINE_BYTES`].
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// A request above [`MAX_REQUEST_BYTES`], or what [`RequestParser::set_limit`] was told.
    #[error("Protocol error: too big request")]
    TooBig,
}

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' }
}

/// How far the parser is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Incomplete,
    /// A request without arguments (an empty line, `*0`), of this many bytes: no reply is due.
    Empty(usize),
    /// A request of this many bytes; see [`RequestParser::request`].
    Complete(usize),
}

/// Where an argument is, relative to the first byte of the request's wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    Argument,
    Body {
        len: usize,
    },
    Inline,
    Done {
        inline: bool,
    },
}

/// The incremental parser; one for each connection.
#[derive(Debug)]
pub struct RequestParser {
    state: State,
    /// The longest request, in bytes.
    limit: usize,
    /// Who sends has yet to say a password.
    of_stranger: bool,
    /// Bytes of the request looked at so far.
    pos: usize,
    /// Arguments announced and not complete yet.
    missing: usize,
    args: Vec<Span>,
    /// The multibulk form of an inline command.
    rewritten: Vec<u8>,
}

impl Default for RequestParser {
    fn default() -> Self {
        RequestParser {
            state: State::default(),
            limit: MAX_REQUEST_BYTES,
            of_stranger: false,
            pos: 0,
            missing: 0,
            args: Vec::new(),
            rewritten: Vec::new(),
        }
    }
}

impl RequestParser {
    /// From here on, requests of more than `bytes` are refused; [`MAX_REQUEST_BYTES`] at most, which
    /// is what a new parser takes. An announced argument that is too long is refused before it comes.
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes.min(MAX_REQUEST_BYTES);
    }

    /// From here on, requests are those of somebody who has yet to say a password, or not.
    pub fn set_stranger(&mut self, of_stranger: bool) {
        self.of_stranger = of_stranger;
    }

    /// Looks at `buf`, which starts with the first byte of the request. Allocates nothing for
    /// what is only announced.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Step, RequestError> {
        if let State::Done { .. } = self.state {
            self.reset();
        }
        loop {
            let step = match self.state {
                State::Start => self.start(buf)?,
                State::Argument => self.argument(buf)?,
                State::Body { len } => self.body(buf, len)?,
                State::Inline => self.inline(buf)?,
                State::Done { .. } => Some(Step::Complete(self.pos)),
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Whether no request has begun that is not complete.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Start | State::Done { .. })
    }

    /// The request that [`advance`](Self::advance) has just called complete, in the same bytes.
    pub fn request<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        let inline = self.state == State::Done { inline: true };
        let wire = if inline { &self.rewritten[..] } else { &buf[..self.pos.min(buf.len())] };
        Request { wire, args: &self.args }
    }

    fn reset(&mut self) {
        self.state = State::Start;
        self.pos = 0;
        self.args.clear();
        self.args.shrink_to(KEEP_ARGS);
        self.rewritten = Vec::new();
    }

    fn done(&mut self, step: Step, inline: bool) -> Option<Step> {
        self.state = State::Done { inline };
        Some(step)
    }

    fn start(&mut self, buf: &[u8]) -> Result<Option<Step>, RequestError> {
        match buf.first() {
            None => return Ok(Some(Step::Incomplete)),
            Some(b'*') => {}
            Some(_) => {
                self.state = State::Inline;
                return Ok(None);
            }
        }
        match header(buf, 1) {
            Header::Incomplete => Ok(Some(Step::Incomplete)),
            Header::Number(count, next) if count <= 0 => {
                self.pos = next;
                Ok(self.done(Step::Empty(next), false))
            }
            Header::Number(count, _) if self.of_stranger && count > STRANGERS_ARGS as i64 => {
                Err(RequestError::StrangersMultibulkLength)
            }
            Header::Number(count, next) if count <= MAX_ARGS as i64 => {
                self.missing = count as usize;
                self.pos = next;
                self.state = State::Argument;
                Ok(None)
            }
            _ => Err(RequestError::MultibulkLength),
        }
    }

    fn argument(&mut self, buf: &[u8]) -> Result<Option<Step>, RequestError> {
        if self.missing == 0 {
            return Ok(self.done(Step::Complete(self.pos), false));
        }
        match buf.get(self.pos) {
            None => return Ok(Some(Step::Incomplete)),
            Some(b'$') => {}
            Some(&other) => return Err(RequestError::ExpectedBulk(other)),
        }
        match header(buf, self.pos + 1) {
            Header::Incomplete => Ok(Some(Step::Incomplete)),
            Header::Number(len, _) if self.of_stranger && len > STRANGERS_BULK_BYTES as i64 => {
                Err(RequestError::StrangersBulkLength)
            }
            Header::Number(len, next) if (0..=MAX_BULK_BYTES as i64).contains(&len) => {
                let len = len as usize;
                if next + len + 2 > self.limit {
                    return Err(RequestError::TooBig);
                }
                self.pos = next;
                self.state = State::Body { len };
                Ok(None)
            }
            _ => Err(RequestError::BulkLength),
        }
    }

    fn body(&mut self, buf: &[u8], len: usize) -> Result<Option<Step>, RequestError> {
        let end = self.pos + len;
        let Some(terminator) = buf.get(end..end + 2) else { return Ok(Some(Step::Incomplete)) };
        if terminator != b"\r\n" {
            return Err(RequestError::Terminator);
        }
        // MAX_REQUEST_BYTES is below 4 GiB, so offsets fit.
        self.args.push(Span { start: self.pos as u32, end: end as u32 });
        self.missing -= 1;
        self.pos = end + 2;
        self.state = State::Argument;
        Ok(None)
    }

    fn inline(&mut self, buf: &[u8]) -> Result<Option<Step>, RequestError> {
        let Some(length) = buf[self.pos..].iter().position(|&b| b == b'\n') else {
            self.pos = buf.len();
            let too_big = buf.len() > MAX_INLINE_BYTES;
            return if too_big { Err(RequestError::InlineTooBig) } else { Ok(Some(Step::Incomplete)) };
        };
        let end = self.pos + length;
        if end > MAX_INLINE_BYTES {
            return Err(RequestError::InlineTooBig);
        }
        self.pos = end + 1;
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        // To Redis a line is a C string.
        let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
        let args = split_inline(line).ok_or(RequestError::UnbalancedQuotes)?;
        if args.is_empty() {
            return Ok(self.done(Step::Empty(self.pos), true));
        }
        self.rewrite(&args);
        Ok(self.done(Step::Complete(self.pos), true))
    }

    fn rewrite(&mut self, args: &[Vec<u8>]) {
        encode::array(&mut self.rewritten, args.len());
        for arg in args {
            encode::bulk(&mut self.rewritten, arg);
            let end = self.rewritten.len() - 2;
            self.args.push(Span { start: (end - arg.len()) as u32, end: end as u32 });
        }
    }
}

/// A complete request, borrowed from the bytes it was parsed from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    wire: &'a [u8],
    args: &'a [Span],
}

impl<'a> Request<'a> {
    /// The request as a multibulk, fit to be sent to a server as it is.
    pub fn wire(&self) -> &'a [u8] {
        self.wire
    }

    /// How many arguments it has, its name included; at least 1.
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Whether it has no arguments; never true of a request that a parser called complete.
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }

    /// The argument at `index`; the command's name is at 0.
    pub fn arg(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.args.get(index)?;
        self.wire.get(span.start as usize..span.end as usize)
    }

    /// The command's name, in the client's spelling.
    pub fn name(&self) -> &'a [u8] {
        self.arg(0).unwrap_or_default()
    }

    /// Every argument in order, the name first.
    pub fn args(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let wire = self.wire;
        self.args.iter().filter_map(move |span| wire.get(span.start as usize..span.end as usize))
    }
}

/// Splits an inline command as Redis' `sdssplitargs` does; `None` when its quotes do not balance.
fn split_inline(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    let mut rest = line;
    loop {
        let Some(start) = rest.iter().position(|&byte| !is_space(byte)) else { return Some(args) };
        rest = &rest[start..];
        let (arg, after) = inline_word(rest)?;
        args.push(arg);
        rest = after;
    }
}

/// C's `isspace`, which knows a vertical tab that `u8::is_ascii_whitespace` does not.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// One word of an inline command, and what follows it. A quote may open anywhere in a word, and
/// must be followed by a space once closed.
fn inline_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' | b'\'' => {
                rest = inline_quoted(byte, rest, &mut word)?;
                let ends = rest.first().is_none_or(|&byte| is_space(byte));
                return ends.then_some((word, rest));
            }
            b' ' | b'\t' | b'\r' | b'\n' => break,
            _ => word.push(byte),
        }
    }
    Some((word, rest))
}

/// Appends what a quote encloses to `word`, and returns what follows the closing quote.
fn inline_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match (quote, rest) {
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                word.push(b'\'');
                rest = after;
            }
            (_, [byte, after @ ..]) if *byte == quote => return Some(after),
            (_, [byte, after @ ..]) => {
                word.push(*byte);
                rest = after;
            }
            (_, []) => return None,
        }
    }
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or_default() as u8
}
