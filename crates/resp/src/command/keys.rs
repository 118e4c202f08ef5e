//! Where the keys of a request are: positions, counts in an argument, or keywords.

use super::Command;
use crate::number::integer;
use crate::request::Request;

/// Why the keys of a request can not be told; the server would refuse it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The number of keys is not a number, or larger than the request.
    #[error("invalid number of keys")]
    Count,
    /// A keyword that must precede the keys is missing, or what follows it does not fit.
    #[error("syntax error")]
    Syntax,
}

/// One rule; a command may need several. The text form, in `commands.txt`, is in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySpec {
    /// (`first:last:step`) from `first` to `last`, which counts from the end when negative.
    Range { first: usize, last: i32, step: usize },
    /// (`count@at`) the argument at `at` counts the keys that follow it.
    Counted { at: usize },
    /// (`streams@from`) the first half of what follows `STREAMS`; options start at `from`.
    Streams { from: usize },
    /// (`store@from`) what follows each `STORE` or `STOREDIST`, the last one being meant.
    Store { from: usize },
    /// (`migrate`) the third argument, or what follows `KEYS` when that is empty and there is one.
    Migrate,
}

impl KeySpec {
    /// Reads the text form; the file is ours and tested whole, so a bad rule is a bug.
    pub(super) fn parse(text: &str) -> KeySpec {
        let number = |text: &str| text.parse().expect("commands.txt: a position is a number");
        if let Some((kind, at)) = text.split_once('@') {
            return match kind {
                "count" => KeySpec::Counted { at: number(at) },
                "streams" => KeySpec::Streams { from: number(at) },
                _ => KeySpec::Store { from: number(at) },
            };
        }
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            [first, last, step] => KeySpec::Range {
                first: number(first),
                last: last.parse().expect("commands.txt: a position is a number"),
                step: number(step),
            },
            _ => KeySpec::Migrate,
        }
    }

    fn each<'a>(self, request: &Request<'a>, found: &mut dyn FnMut(usize, &'a [u8])) -> Result<(), KeyError> {
        match self {
            KeySpec::Range { first, last, step } => {
                let len = request.len() as i64;
                let last = if last < 0 { len + i64::from(last) } else { i64::from(last) };
                emit(request, first, usize::try_from(last + 1).unwrap_or(0), step, found);
            }
            KeySpec::Counted { at } => {
                let count = request.arg(at).and_then(integer).ok_or(KeyError::Count)?;
                let count = usize::try_from(count).map_err(|_| KeyError::Count)?;
                let room = request.len() - at - 1;
                if count > room {
                    return Err(KeyError::Count);
                }
                emit(request, at + 1, at + 1 + count, 1, found);
            }
            KeySpec::Streams { from } => {
                let first = streams(request, from).0.ok_or(KeyError::Syntax)? + 1;
                let half = (request.len() - first) / 2;
                if half == 0 || !(request.len() - first).is_multiple_of(2) {
                    return Err(KeyError::Syntax);
                }
                emit(request, first, first + half, 1, found);
            }
            KeySpec::Store { from } => {
                if let Some(at) = store(request, from) {
                    emit(request, at, at + 1, 1, found);
                }
            }
            KeySpec::Migrate => migrate(request, found),
        }
        Ok(())
    }
}

fn emit<'a>(
    request: &Request<'a>,
    first: usize,
    end: usize,
    step: usize,
    found: &mut dyn FnMut(usize, &'a [u8]),
) {
    for at in (first..end.min(request.len())).step_by(step.max(1)) {
        if let Some(key) = request.arg(at) {
            found(at, key);
        }
    }
}

/// Where the destination of SORT and GEORADIUS is: after the last `STORE`. Options are skipped with
/// their arguments, so that a pattern named `store` is not mistaken.
fn store(request: &Request<'_>, from: usize) -> Option<usize> {
    let mut at = from;
    let mut found = None;
    while let Some(arg) = request.arg(at) {
        let is = |keyword: &[u8]| arg.eq_ignore_ascii_case(keyword);
        if is(b"store") || is(b"storedist") {
            found = Some(at + 1);
        }
        at += match () {
            () if is(b"limit") => 3,
            () if is(b"store") || is(b"storedist") || is(b"get") || is(b"by") || is(b"count") => 2,
            () => 1,
        };
    }
    found
}

fn migrate<'a>(request: &Request<'a>, found: &mut dyn FnMut(usize, &'a [u8])) {
    if request.arg(3).is_some_and(|key| !key.is_empty()) {
        return emit(request, 3, 4, 1, found);
    }
    let keyword =
        (6..request.len()).find(|&at| request.arg(at).is_some_and(|a| a.eq_ignore_ascii_case(b"keys")));
    match keyword {
        Some(at) => emit(request, at + 1, request.len(), 1, found),
        // Then it is the empty key that is meant.
        None => emit(request, 3, 4, 1, found),
    }
}

/// Where `STREAMS` is in XREAD and XREADGROUP, and whether `BLOCK` is before it. Options are
/// skipped with their arguments, so that a group named `BLOCK` or `STREAMS` is not mistaken.
fn streams(request: &Request<'_>, from: usize) -> (Option<usize>, bool) {
    let mut at = from;
    let mut blocks = false;
    while let Some(arg) = request.arg(at) {
        let is = |keyword: &[u8]| arg.eq_ignore_ascii_case(keyword);
        if is(b"streams") {
            return (Some(at), blocks);
        }
        blocks |= is(b"block");
        at += match () {
            () if is(b"count") || is(b"block") => 2,
            () if is(b"group") => 3,
            () => 1,
        };
    }
    (None, blocks)
}

impl Command {
    /// Calls `found` with the position and the bytes of every key of `request`. The request must
    /// have passed [`Command::accepts`]. Positions come in the rules' order, not sorted.
    pub fn keys<'a>(
        &self,
        request: &Request<'a>,
        mut found: impl FnMut(usize, &'a [u8]),
    ) -> Result<(), KeyError> {
        // One key at 1 is nearly every request.
        if let [KeySpec::Range { first: 1, last: 1, .. }] = self.keys[..] {
            if let Some(key) = request.arg(1) {
                found(1, key);
            }
            return Ok(());
        }
        self.keys.iter().try_for_each(|spec| spec.each(request, &mut found))
    }

    /// Whether this request of the command may wait for other clients: XREAD and XREADGROUP only
    /// do with `BLOCK`.
    pub fn may_block(&self, request: &Request<'_>) -> bool {
        if !self.flags.contains(super::Flags::BLOCKING) {
            return false;
        }
        match self.keys[..] {
            [KeySpec::Streams { from }] => streams(request, from).1,
            _ => true,
        }
    }
}
