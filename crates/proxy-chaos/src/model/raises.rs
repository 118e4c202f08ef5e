//! What all clients together know of a counter that each raises only in transactions which watch
//! it: read the number, then make it one more, unless it has changed.
//!
//! So every number was made by exactly one transaction. The sum is exact: as many as were
//! acknowledged, and those in doubt that are found to have run.

use std::collections::{HashMap, HashSet};

use super::Check;
use crate::verdict::{Finding, Wrong};

/// A counter during one life of its server.
#[derive(Debug, Default, Clone)]
pub struct Raises {
    /// How many transactions that may have run wanted to make each number.
    tried: HashMap<u64, u32>,
    acknowledged: HashSet<u64>,
    highest: u64,
}

impl Raises {
    /// A transaction is about to be sent that makes the number `to`.
    pub fn begin(&mut self, to: u64) {
        *self.tried.entry(to).or_default() += 1;
    }

    /// It did not run: what it watched had changed.
    pub fn refused(&mut self, to: u64) {
        if let Some(count) = self.tried.get_mut(&to) {
            *count = count.saturating_sub(1);
        }
    }

    /// It ran.
    pub fn acknowledged(&mut self, to: u64) -> Check {
        self.highest = self.highest.max(to);
        if self.acknowledged.insert(to) {
            return Ok(());
        }
        Err(Finding::new(Wrong::NotIsolated, format!("two transactions made the counter {to}")))
    }

    /// It ran, and made another number than it was to make.
    pub fn ran_as(&mut self, to: u64, seen: u64) {
        self.refused(to);
        self.begin(seen);
        self.highest = self.highest.max(seen);
        self.acknowledged.insert(seen);
    }

    /// No reader sees less from now on.
    pub fn floor(&self) -> u64 {
        self.highest
    }

    /// A reader saw `number`; `floor` is what it was when the reader asked.
    pub fn read(&self, number: u64, floor: u64) -> Check {
        if number < floor {
            let story = format!("the counter is {number} although {floor} was acknowledged");
            return Err(Finding::new(Wrong::Lost, story));
        }
        self.made(number)
    }

    /// The counter is `number` at the end, when no transaction is under way.
    pub fn end(&self, number: u64) -> Check {
        self.read(number, self.highest)?;
        (1..=number).try_for_each(|number| self.made(number))
    }

    /// How many transactions were acknowledged.
    pub fn sum(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    fn made(&self, number: u64) -> Check {
        if number == 0 || self.tried.get(&number).is_some_and(|count| *count > 0) {
            return Ok(());
        }
        let story = format!("the counter was {number}, which no transaction made that can have run");
        Err(Finding::new(Wrong::Duplicated, story))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(check: Check) -> Option<Wrong> {
        check.err().map(|finding| finding.wrong)
    }

    #[test]
    fn each_number_is_made_once() {
        let mut raises = Raises::default();
        raises.begin(1);
        raises.begin(1);
        assert_eq!(wrong(raises.acknowledged(1)), None);
        raises.refused(1);
        assert_eq!(wrong(raises.clone().acknowledged(1)), Some(Wrong::NotIsolated));
        assert_eq!(wrong(raises.read(0, 0)), None, "asked before it was acknowledged");
        assert_eq!(wrong(raises.read(0, 1)), Some(Wrong::Lost));
        assert_eq!(wrong(raises.read(2, 1)), Some(Wrong::Duplicated));
        raises.begin(2);
        assert_eq!(wrong(raises.end(2)), None, "in doubt, and it ran");
        assert_eq!((wrong(raises.end(1)), raises.sum()), (None, 1), "or did not");
        assert_eq!(wrong(raises.end(3)), Some(Wrong::Duplicated));
        raises.refused(2);
        assert_eq!(wrong(raises.end(2)), Some(Wrong::Duplicated));
    }
}
