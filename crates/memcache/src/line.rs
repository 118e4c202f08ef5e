//! The line that a request starts with: its words, and what they mean.

use std::ops::Range;

use super::meta;
use super::number::{signed, unsigned};
use super::request::{Answer, RequestError};
use super::verb::Verb;
use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// Words that an idle parser keeps room for.
const KEEP_WORDS: usize = 64;
/// The longest data block that memcached would skip after an error.
const MAX_ANNOUNCED: u64 = i32::MAX as u64 - 2;

/// The words of a line: where each one is.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    spans: Vec<(u32, u32)>,
    /// Some were taken out.
    pub(crate) edited: bool,
}

impl Tokens {
    /// Splits a line at its spaces.
    pub(crate) fn split(&mut self, line: &[u8]) {
        self.clear();
        let mut start = None;
        for (at, &byte) in line.iter().enumerate() {
            match (byte, start) {
                (b' ', Some(from)) => {
                    self.spans.push((from, at as u32));
                    start = None;
                }
                (b' ', None) | (_, Some(_)) => {}
                // Lines are below 4 GiB.
                (_, None) => start = Some(at as u32),
            }
        }
        self.spans.extend(start.map(|from| (from, line.len() as u32)));
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(KEEP_WORDS);
        self.edited = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Where the first word starts.
    pub(crate) fn start(&self) -> usize {
        self.spans.first().map_or(0, |span| span.0 as usize)
    }

    /// A word; empty if there are not so many.
    pub(crate) fn get<'a>(&self, line: &'a [u8], index: usize) -> &'a [u8] {
        let span = self.spans.get(index).and_then(|&(start, end)| line.get(start as usize..end as usize));
        span.unwrap_or_default()
    }

    fn truncate(&mut self, len: usize) {
        self.edited |= self.spans.len() > len;
        self.spans.truncate(len);
    }

    /// Takes out those from `from` on that `unwanted` says.
    pub(crate) fn remove(&mut self, line: &[u8], from: usize, unwanted: impl Fn(&[u8]) -> bool) {
        let mut index = 0;
        let before = self.spans.len();
        self.spans.retain(|&(start, end)| {
            index += 1;
            index <= from || !line.get(start as usize..end as usize).is_some_and(&unwanted)
        });
        self.edited |= self.spans.len() < before;
    }
}

/// What a line that is a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) verb: Verb,
    /// Which words are keys.
    pub(crate) keys: Range<usize>,
    /// The length of the data block, if there is one.
    pub(crate) data: Option<usize>,
    pub(crate) answer: Answer,
    /// The key is base64.
    pub(crate) binary: bool,
}

/// Why a line is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) error: RequestError,
    /// The length of the data block that follows all the same.
    pub(crate) data: Option<u64>,
    /// Its client expects no answer.
    pub(crate) silent: bool,
}

impl From<RequestError> for Bad {
    fn from(error: RequestError) -> Bad {
        Bad { error, data: None, silent: false }
    }
}

/// What the words of a line mean. Takes out those that are not to be sent on.
pub(crate) fn parse(line: &[u8], tokens: &mut Tokens) -> Result<Line, Bad> {
    let verb = Verb::named(tokens.get(line, 0)).ok_or(RequestError::Unknown)?;
    let parsed = Line { verb, keys: 1..2, data: None, answer: Answer::Full, binary: false };
    match verb {
        Verb::Get | Verb::Gets => retrieval(parsed, line, tokens, 1),
        Verb::Gat | Verb::Gats => {
            if tokens.len() > 1 && signed(tokens.get(line, 1)).is_none() {
                return Err(RequestError::Expiry.into());
            }
            retrieval(parsed, line, tokens, 2)
        }
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => {
            storage(parsed, line, tokens, 5)
        }
        Verb::Cas => storage(parsed, line, tokens, 6),
        Verb::Delete => delete(parsed, line, tokens),
        Verb::Increment | Verb::Decrement => {
            let delta = |text: &[u8]| unsigned(text).is_some();
            number(parsed, line, tokens, RequestError::Delta, delta)
        }
        Verb::Touch => number(parsed, line, tokens, RequestError::Expiry, |text| signed(text).is_some()),
        Verb::FlushAll => keyless(parsed, line, tokens, 1, RequestError::Expiry),
        Verb::Verbosity => keyless(parsed, line, tokens, 2, RequestError::Format),
        Verb::Version | Verb::Quit | Verb::MetaNoop => {
            tokens.truncate(1);
            Ok(Line { keys: 0..0, ..parsed })
        }
        Verb::Server => Ok(Line { keys: 0..0, ..parsed }),
        Verb::MetaSet => meta_set(parsed, line, tokens),
        Verb::MetaGet | Verb::MetaDelete | Verb::MetaArithmetic | Verb::MetaDebug => {
            meta_command(parsed, line, tokens, 2)
        }
    }
}

/// Keys have no spaces by now. A NUL ends a line for some servers, and a CR does for others.
fn check_key(key: &[u8]) -> Result<(), RequestError> {
    let good = (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.iter().any(|byte| matches!(byte, 0 | b'\r'));
    good.then_some(()).ok_or(RequestError::Format)
}

fn retrieval(parsed: Line, line: &[u8], tokens: &Tokens, first: usize) -> Result<Line, Bad> {
    if tokens.len() <= first {
        return Err(RequestError::Unknown.into());
    }
    (first..tokens.len()).try_for_each(|index| check_key(tokens.get(line, index)))?;
    Ok(Line { keys: first..tokens.len(), ..parsed })
}

/// Whether there is a `noreply` behind the `required` words.
fn is_silent(line: &[u8], tokens: &Tokens, required: usize) -> bool {
    tokens.len() > required && tokens.get(line, tokens.len() - 1) == b"noreply"
}

fn silence(parsed: Line, silent: bool) -> Line {
    Line { answer: if silent { Answer::Nothing } else { Answer::Full }, ..parsed }
}

/// `verb key flags expiry bytes [unique] [noreply]`: `required` words without the last one.
fn storage(parsed: Line, line: &[u8], tokens: &mut Tokens, required: usize) -> Result<Line, Bad> {
    let silent = is_silent(line, tokens, required);
    let announced = unsigned(tokens.get(line, 4)).filter(|length| *length <= MAX_ANNOUNCED);
    let bad = |error| Bad { error, data: announced, silent };
    if !(required..=required + 1).contains(&tokens.len()) {
        return Err(bad(RequestError::Unknown));
    }
    check_key(tokens.get(line, 1)).map_err(bad)?;
    // memcached reads 64 bits, and keeps 32 unless it was built otherwise.
    let flags = unsigned(tokens.get(line, 2)).is_some();
    let unique = required < 6 || unsigned(tokens.get(line, 5)).is_some();
    let data = announced.filter(|_| flags && unique && signed(tokens.get(line, 3)).is_some());
    let data = block(data.ok_or_else(|| bad(RequestError::Format))?).map_err(bad)?;
    tokens.truncate(required);
    Ok(Line { data: Some(data), ..silence(parsed, silent) })
}

/// A length that is not too large.
fn block(length: u64) -> Result<usize, RequestError> {
    usize::try_from(length).ok().filter(|length| *length <= MAX_VALUE_BYTES).ok_or(RequestError::TooLarge)
}

/// `delete key [0] [noreply]`.
fn delete(parsed: Line, line: &[u8], tokens: &mut Tokens) -> Result<Line, Bad> {
    let silent = is_silent(line, tokens, 2);
    let bad = |error| Bad { error, data: None, silent };
    let good = match tokens.len() {
        2 => true,
        3 => silent || tokens.get(line, 2) == b"0",
        4 => silent && tokens.get(line, 2) == b"0",
        _ => return Err(bad(RequestError::Unknown)),
    };
    if !good {
        return Err(bad(RequestError::Delete));
    }
    check_key(tokens.get(line, 1)).map_err(bad)?;
    tokens.truncate(2);
    Ok(silence(parsed, silent))
}

/// `verb key number [noreply]`.
fn number(
    parsed: Line,
    line: &[u8],
    tokens: &mut Tokens,
    error: RequestError,
    good: impl Fn(&[u8]) -> bool,
) -> Result<Line, Bad> {
    let silent = is_silent(line, tokens, 3);
    let bad = |error| Bad { error, data: None, silent };
    if !(3..=4).contains(&tokens.len()) {
        return Err(bad(RequestError::Unknown));
    }
    check_key(tokens.get(line, 1)).map_err(bad)?;
    if !good(tokens.get(line, 2)) {
        return Err(bad(error));
    }
    tokens.truncate(3);
    Ok(silence(parsed, silent))
}

/// `verb [number] [noreply]`: at least `required` words.
fn keyless(
    parsed: Line,
    line: &[u8],
    tokens: &mut Tokens,
    required: usize,
    error: RequestError,
) -> Result<Line, Bad> {
    let silent = is_silent(line, tokens, required);
    let words = tokens.len() - usize::from(silent);
    let bad = |error| Bad { error, data: None, silent };
    if !(required..=2).contains(&words) {
        return Err(bad(RequestError::Unknown));
    }
    if words == 2 && signed(tokens.get(line, 1)).is_none() {
        return Err(bad(error));
    }
    tokens.truncate(words);
    Ok(Line { keys: 0..0, ..silence(parsed, silent) })
}

/// `ms key bytes flags*`.
fn meta_set(parsed: Line, line: &[u8], tokens: &mut Tokens) -> Result<Line, Bad> {
    let announced = unsigned(tokens.get(line, 2)).filter(|length| *length <= MAX_ANNOUNCED);
    let bad = |error| Bad { error, data: announced, silent: false };
    let data = block(announced.ok_or(RequestError::Format)?).map_err(bad)?;
    let parsed = meta_command(parsed, line, tokens, 3).map_err(|error| bad(error.error))?;
    Ok(Line { data: Some(data), ..parsed })
}

fn meta_command(parsed: Line, line: &[u8], tokens: &mut Tokens, from: usize) -> Result<Line, Bad> {
    if tokens.len() < 2 {
        return Err(RequestError::Unknown.into());
    }
    check_key(tokens.get(line, 1))?;
    let flags = meta::flags(line, tokens, from)?;
    let answer = if flags.quiet { Answer::Remarkable } else { Answer::Full };
    Ok(Line { answer, binary: flags.binary, ..parsed })
}
