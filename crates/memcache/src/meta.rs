//! The flags of meta commands. A server refuses bad ones too, but not every version then skips the
//! data block; so they are checked here, with memcached's own words.

use super::line::Tokens;
use super::number::{signed, unsigned};
use super::request::RequestError;

/// The most words of a command, its name included, that every memcached takes.
const MAX_WORDS: usize = 19;
/// The longest argument of a flag: memcached's limit for an opaque.
const MAX_ARGUMENT: usize = 32;

/// What the flags say that a proxy has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// The key is base64.
    pub(crate) binary: bool,
    /// Only what is remarkable is to be answered.
    pub(crate) quiet: bool,
}

/// Checks the flags from word `from` on, and takes the one for quiet out.
pub(crate) fn flags(line: &[u8], tokens: &mut Tokens, from: usize) -> Result<Flags, RequestError> {
    if tokens.len() > MAX_WORDS {
        return Err(RequestError::Flags);
    }
    let mut flags = Flags::default();
    let mut seen = 0_u128;
    for index in from..tokens.len() {
        let word = tokens.get(line, index);
        let Some((&flag, argument)) = word.split_first() else { continue };
        if !flag.is_ascii_alphabetic() || !word.iter().all(u8::is_ascii_graphic) {
            return Err(RequestError::Flag);
        }
        if seen & 1 << flag != 0 {
            return Err(RequestError::DuplicateFlag);
        }
        seen |= 1 << flag;
        let good = match flag {
            b'N' | b'T' | b'R' => signed(argument).is_some_and(|number| i32::try_from(number).is_ok()),
            b'F' => unsigned(argument).is_some_and(|number| u32::try_from(number).is_ok()),
            b'C' | b'E' | b'J' | b'D' => unsigned(argument).is_some(),
            b'M' => argument.len() == 1,
            b'O' => (1..=MAX_ARGUMENT).contains(&argument.len()),
            _ => argument.len() <= MAX_ARGUMENT,
        };
        if !good {
            return Err(RequestError::FlagArgument);
        }
        flags.binary |= flag == b'b';
        flags.quiet |= flag == b'q';
    }
    if flags.quiet {
        tokens.remove(line, from, |word| word.starts_with(b"q"));
    }
    Ok(flags)
}
