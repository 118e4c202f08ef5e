//! What a client knows of its keys, and so which replies are possible.
//!
//! A request that was answered by an error, or not at all, is in doubt: it ran, or will run (a
//! frozen server goes on with what it was sent before), or never does, but never twice. Nothing
//! here does I/O; `kills` is how many kills of the key's server may have had an effect, and `since`
//! how many were over when a request was sent.

use std::collections::{HashSet, VecDeque};

use crate::token::{LENGTH, Token};
use crate::verdict::{Finding, Wrong};

mod feed;
mod raises;

pub use feed::Feed;
pub use raises::Raises;

/// Events of a register that are remembered.
const PAST: usize = 16;

/// What a client has learnt of a register, for the story of a failure: what happened to which value, and the kills of its server,
/// those that were over when it was written, or that may have had an effect when it was read.
type Event = (&'static str, Option<Token>, u64);

type Check = Result<(), Finding>;

/// A key with one value: SET, GET, DEL.
#[derive(Debug, Default, Clone)]
pub struct Register {
    current: Option<Token>,
    since: u64,
    doubts: Vec<(Option<Token>, u64)>,
    past: VecDeque<Event>,
}

impl Register {
    /// A write (`None` for a DEL) was acknowledged.
    pub fn wrote(&mut self, value: Option<Token>, since: u64) {
        self.note(("wrote", value, since));
        (self.current, self.since) = (value, since);
    }

    /// A write is in doubt.
    pub fn doubt(&mut self, value: Option<Token>, since: u64) {
        self.note(("in doubt", value, since));
        self.doubts.push((value, since));
    }

    /// How many writes are in doubt.
    pub fn doubts(&self) -> usize {
        self.doubts.len()
    }

    /// What a reader saw.
    pub fn read(&mut self, seen: Option<Token>, kills: u64) -> Check {
        self.note(("read", seen, kills));
        if seen == self.current {
            return Ok(());
        }
        // A kill first: if that took it, a DEL in doubt may still run.
        if seen.is_none() && kills > self.since {
            self.current = None;
            return Ok(());
        }
        if let Some(at) = self.doubts.iter().position(|(value, _)| *value == seen) {
            (self.current, self.since) = self.doubts.swap_remove(at);
            return Ok(());
        }
        let story = format!("the key has {seen:?} and should have {:?}: {:?}", self.current, self.past);
        Err(Finding::new(if seen.is_some() { Wrong::Duplicated } else { Wrong::Lost }, story))
    }

    fn note(&mut self, event: Event) {
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(event);
    }

    /// Whether the key exists: for sure, or at least perhaps.
    pub fn exists(&self, kills: u64) -> (bool, bool) {
        let sure = self.current.is_some() && self.doubts.is_empty() && kills <= self.since;
        (sure, self.current.is_some() || !self.doubts.is_empty())
    }
}

/// A number that only this client increments.
#[derive(Debug, Default, Clone)]
pub struct Counter {
    value: u64,
    since: u64,
    doubts: u64,
}

impl Counter {
    /// An increment was acknowledged with the value `seen`.
    pub fn counted(&mut self, seen: u64, since: u64, kills: u64) -> Check {
        let extra = |base: u64| seen.checked_sub(base + 1).filter(|extra| *extra <= self.doubts);
        let anew = if kills > self.since { extra(0) } else { None };
        match extra(self.value).or(anew) {
            Some(extra) => {
                (self.value, self.since, self.doubts) = (seen, since, self.doubts - extra);
                Ok(())
            }
            None => {
                let story = format!(
                    "the counter is {seen}; it was {} and {} increments are in doubt",
                    self.value, self.doubts
                );
                Err(Finding::new(if seen > self.value { Wrong::Duplicated } else { Wrong::Lost }, story))
            }
        }
    }

    /// An increment is in doubt.
    pub fn doubt(&mut self) {
        self.doubts += 1;
    }

    /// How many increments are in doubt.
    pub fn doubts(&self) -> u64 {
        self.doubts
    }
}

/// A string to which tokens are appended.
#[derive(Debug, Default, Clone)]
pub struct Journal {
    length: Counter,
    kept: Vec<(Token, u64)>,
    doubts: HashSet<Token>,
}

impl Journal {
    /// An APPEND was acknowledged, with the length in bytes.
    pub fn appended(&mut self, token: Token, length: u64, since: u64, kills: u64) -> Check {
        self.kept.push((token, since));
        if !length.is_multiple_of(LENGTH as u64) {
            return Err(Finding::new(Wrong::Reordered, format!("a journal of {length} bytes")));
        }
        self.length.counted(length / LENGTH as u64, since, kills)
    }

    /// An APPEND is in doubt.
    pub fn doubt(&mut self, token: Token) {
        self.length.doubt();
        self.doubts.insert(token);
    }

    /// How many appends there were, and how many are in doubt.
    pub fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.doubts.len())
    }

    /// What a reader saw: no token twice, none from elsewhere, and of the acknowledged ones all
    /// that no kill can have taken, in order.
    pub fn read(&self, text: &[u8], kills: u64) -> Check {
        let seen: Vec<Token> = text.chunks(LENGTH).filter_map(Token::parse).collect();
        if seen.len() * LENGTH != text.len() {
            return Err(Finding::new(Wrong::Reordered, format!("a journal of {} bytes", text.len())));
        }
        let mut once = HashSet::new();
        if let Some(twice) = seen.iter().find(|token| !once.insert(**token)) {
            return Err(Finding::new(Wrong::Duplicated, format!("{twice:?} was appended twice")));
        }
        let acknowledged: HashSet<Token> = self.kept.iter().map(|(token, _)| *token).collect();
        let mut known = seen.iter().filter(|token| !self.doubts.contains(token));
        if let Some(alien) = known.clone().find(|token| !acknowledged.contains(token)) {
            return Err(Finding::new(Wrong::Reordered, format!("{alien:?} was never appended to this key")));
        }
        // What a kill took is a beginning.
        let missing = self.kept.len() - known.clone().count();
        let (taken, left) = self.kept.split_at(missing);
        if let Some((token, _)) = taken.iter().find(|(_, since)| kills <= *since) {
            return Err(Finding::new(
                Wrong::Lost,
                format!("an acknowledged append is missing, as {token:?}"),
            ));
        }
        if !known.by_ref().eq(left.iter().map(|(token, _)| token)) {
            return Err(Finding::new(Wrong::Reordered, "acknowledged appends are in another order"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
