//! Requests: what a client sends.
//!
//! Contract: `RequestParser::advance` is given the bytes of one request from their first byte on,
//! again and with more of them until it answers something else than `Incomplete`; what it then
//! names is to be dropped from the front. The work is linear in the bytes whatever the pieces, and
//! the outcome does not depend on how they were cut.
//!
//! ```text
//!  Line ──a request without data, or an invalid one──▶ Line
//!    ├──a storage command──▶ Data ──CRLF where it must be──▶ Line
//!    │                         └──something else──▶ Rest ──end of line──▶ Line
//!    └──invalid, data announced──▶ Skip ──so many bytes──▶ Rest
//! ```

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::line::{self, Line, Tokens};
use super::verb::Verb;
use super::{MAX_LINE_BYTES, MAX_RETRIEVAL_BYTES};

/// Memory that an idle parser keeps for requests that are sent on in other words.
const KEEP_REWRITTEN: usize = 1 << 10;

/// Why bytes are no request. The text is the line that memcached answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No command has this name, or it has another number of arguments.
    #[error("ERROR")]
    Unknown,
    /// A key that is too long or has bytes that end a line, a number that is none, or out of range.
    #[error("CLIENT_ERROR bad command line format")]
    Format,
    /// `delete` with something behind its key.
    #[error("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")]
    Delete,
    /// A time to live that is no number.
    #[error("CLIENT_ERROR invalid exptime argument")]
    Expiry,
    /// `incr` or `decr` by what is no number.
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    Delta,
    /// A data block that does not end where it should.
    #[error("CLIENT_ERROR bad data chunk")]
    Data,
    /// A data block above [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES).
    #[error("SERVER_ERROR object too large for cache")]
    TooLarge,
    /// A meta command with too many flags.
    #[error("CLIENT_ERROR options flags are too long")]
    Flags,
    /// A meta command's flag that is no letter, or has bytes that can not be shown.
    #[error("CLIENT_ERROR invalid flag")]
    Flag,
    /// A meta command with the same flag twice.
    #[error("CLIENT_ERROR duplicate flag")]
    DuplicateFlag,
    /// A meta command's flag with an argument that it can not have.
    #[error("CLIENT_ERROR bad token in command line format")]
    FlagArgument,
    /// A key that is called base64 and is not.
    #[error("CLIENT_ERROR error decoding key")]
    KeyEncoding,
    /// A line above its limit. The connection is of no more use, since nobody knows how far it is
    /// to the next line; memcached closes it without a word.
    #[error("CLIENT_ERROR line too long")]
    LineTooLong,
}

/// How far the parser is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Incomplete,
    /// So many bytes belong to what was invalid: no answer is due.
    Discard(usize),
    /// So many bytes are no request.
    Invalid {
        /// How many.
        length: usize,
        /// Why; its text is the answer.
        error: RequestError,
        /// The client asked for no answer.
        silent: bool,
    },
    /// A request of this many bytes; see [`RequestParser::request`].
    Complete(usize),
}

/// What the client is to get of the one reply that a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// All of it.
    Full,
    /// What is not as it should be: the quiet flag of meta commands. See [`Request::is_remarkable`].
    Remarkable,
    /// None of it: `noreply`.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Looking for the end of a line from here on.
    Line { searched: usize },
    /// The line ended here, and so many bytes of data follow.
    Data { line_end: usize, length: usize },
    /// Skipping so many bytes of data, then the rest of a line.
    Skip { left: u64 },
    /// Skipping up to the end of a line.
    Rest,
    #[default]
    Done,
}

/// The incremental parser; one for each connection.
#[derive(Debug, Default)]
pub struct RequestParser {
    state: State,
    tokens: Tokens,
    line: Option<Line>,
    /// What is sent on when it is not what came.
    rewritten: Vec<u8>,
    /// What is sent on when it is: from here, up to there.
    raw: (usize, usize),
}

impl RequestParser {
    /// Looks at `buf`, which starts with the first byte of the request. Allocates nothing for what
    /// is only announced. An error is [`RequestError::LineTooLong`].
    pub fn advance(&mut self, buf: &[u8]) -> Result<Step, RequestError> {
        if self.state == State::Done {
            self.state = State::Line { searched: 0 };
            self.tokens.clear();
            self.rewritten.clear();
            self.rewritten.shrink_to(KEEP_REWRITTEN);
        }
        if let State::Line { searched } = self.state {
            let newline = buf[searched.min(buf.len())..].iter().position(|&byte| byte == b'\n');
            let end = newline.map(|at| searched + at);
            check_length(buf, end.unwrap_or(buf.len()))?;
            let Some(end) = end else {
                self.state = State::Line { searched: buf.len() };
                return Ok(Step::Incomplete);
            };
            if let Some(step) = self.first_line(buf, end) {
                return Ok(step);
            }
        }
        Ok(match self.state {
            State::Data { line_end, length } => self.data(buf, line_end, length),
            State::Skip { left: 0 } | State::Rest => self.rest(buf),
            State::Skip { left } => {
                let some = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.state = State::Skip { left: left - some as u64 };
                if some == 0 { Step::Incomplete } else { Step::Discard(some) }
            }
            State::Line { .. } | State::Done => Step::Incomplete,
        })
    }

    /// The request that [`advance`](Self::advance) has just called complete, in the same bytes.
    pub fn request<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        let raw = || buf.get(self.raw.0..self.raw.1).unwrap_or_default();
        let wire = if self.rewritten.is_empty() { raw() } else { &self.rewritten };
        Request { buf, wire, tokens: &self.tokens, line: self.line.as_ref() }
    }

    /// Handles a line that ends before `end`; `None` when data follows.
    fn first_line(&mut self, buf: &[u8], end: usize) -> Option<Step> {
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        self.tokens.split(line);
        let parsed = match line::parse(line, &mut self.tokens)
            .and_then(|parsed| check_encoding(parsed, line, &self.tokens))
        {
            Ok(parsed) => parsed,
            Err(bad) => {
                self.state = bad.data.map_or(State::Done, |left| State::Skip { left });
                return Some(Step::Invalid { length: end + 1, error: bad.error, silent: bad.silent });
            }
        };
        let data = parsed.data;
        self.line = Some(parsed);
        match data {
            Some(length) => {
                self.state = State::Data { line_end: end + 1, length };
                None
            }
            None => Some(self.complete(buf, end + 1, end + 1)),
        }
    }

    fn data(&mut self, buf: &[u8], line_end: usize, length: usize) -> Step {
        let end = line_end + length;
        match buf.get(end..end + 2) {
            Some(b"\r\n") => self.complete(buf, line_end, end + 2),
            Some(_) => {
                self.state = State::Rest;
                let silent = self.line.as_ref().is_some_and(|line| line.answer == Answer::Nothing);
                Step::Invalid { length: end, error: RequestError::Data, silent }
            }
            None => Step::Incomplete,
        }
    }

    fn rest(&mut self, buf: &[u8]) -> Step {
        let newline = buf.iter().position(|&byte| byte == b'\n');
        self.state = if newline.is_some() { State::Done } else { State::Rest };
        match newline.map_or(buf.len(), |at| at + 1) {
            0 => Step::Incomplete,
            some => Step::Discard(some),
        }
    }

    fn complete(&mut self, buf: &[u8], line_end: usize, end: usize) -> Step {
        self.state = State::Done;
        self.raw = (self.tokens.start(), end);
        if self.tokens.edited || !buf[..line_end].ends_with(b"\r\n") {
            for index in 0..self.tokens.len() {
                self.rewritten.extend_from_slice(self.tokens.get(buf, index));
                self.rewritten.push(b' ');
            }
            self.rewritten.pop();
            self.rewritten.extend_from_slice(b"\r\n");
            self.rewritten.extend_from_slice(&buf[line_end..end]);
        }
        Step::Complete(end)
    }
}

/// Whether a line that is `length` bytes long, or longer, may be.
fn check_length(buf: &[u8], length: usize) -> Result<(), RequestError> {
    if length <= MAX_LINE_BYTES {
        return Ok(());
    }
    let start = buf[..=MAX_LINE_BYTES].iter().position(|&byte| byte != b' ');
    let start = start.map_or(buf, |start| &buf[start..=MAX_LINE_BYTES]);
    let retrieval =
        [b"get ".as_slice(), b"gets ", b"gat ", b"gats "].iter().any(|verb| start.starts_with(verb));
    let good = retrieval && length <= MAX_RETRIEVAL_BYTES;
    good.then_some(()).ok_or(RequestError::LineTooLong)
}

fn check_encoding(parsed: Line, line: &[u8], tokens: &Tokens) -> Result<Line, line::Bad> {
    if parsed.binary && !matches!(STANDARD.decode(tokens.get(line, 1)), Ok(key) if !key.is_empty()) {
        let data = parsed.data.map(|length| length as u64);
        return Err(line::Bad { error: RequestError::KeyEncoding, data, silent: false });
    }
    Ok(parsed)
}

/// A complete request, borrowed from the bytes it was parsed from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    buf: &'a [u8],
    wire: &'a [u8],
    tokens: &'a Tokens,
    line: Option<&'a Line>,
}

impl<'a> Request<'a> {
    /// The command.
    pub fn verb(&self) -> Verb {
        self.line.map_or(Verb::MetaNoop, |line| line.verb)
    }

    /// What to send to a server: the request without what would keep it from replying.
    pub fn wire(&self) -> &'a [u8] {
        self.wire
    }

    /// What its client is to get of the reply.
    pub fn answer(&self) -> Answer {
        self.line.map_or(Answer::Full, |line| line.answer)
    }

    /// A word of its line; the command's name is at 0. Empty if there are not so many.
    pub fn word(&self, index: usize) -> &'a [u8] {
        self.tokens.get(self.buf, index)
    }

    /// Its keys as they were sent; see [`key`](Self::key) for those in base64.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let (buf, tokens) = (self.buf, self.tokens);
        let keys = self.line.map_or(0..0, |line| line.keys.clone());
        keys.map(move |index| tokens.get(buf, index))
    }

    /// Its first key, decoded: what its server is chosen by, however it is written.
    pub fn key(&self) -> Option<Cow<'a, [u8]>> {
        let key = self.keys().next()?;
        match self.line {
            Some(line) if line.binary => STANDARD.decode(key).ok().map(Cow::Owned),
            _ => Some(Cow::Borrowed(key)),
        }
    }

    /// Whether a reply to such a command, if it is quiet, is still shown: a server leaves out what
    /// says that all is well, and a miss of `mg`.
    pub fn is_remarkable(verb: Verb, reply: &[u8]) -> bool {
        match verb {
            Verb::MetaGet => !reply.starts_with(b"EN"),
            Verb::MetaArithmetic => !reply.starts_with(b"HD") && !reply.starts_with(b"VA"),
            _ => !reply.starts_with(b"HD"),
        }
    }
}
