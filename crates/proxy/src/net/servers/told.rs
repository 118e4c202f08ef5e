//! What the log was told of servers. Each thread has connections of its own to each server, and
//! several: what is wrong with the server is said once all the same, and so is that it no longer is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    /// A connection has failed: it is over when there is one, and the server has taken the password.
    Failed,
    /// It took too long: it is over when something is answered. The system may take a connection for a
    /// program that does nothing.
    Silent,
    /// It is left out of the distribution.
    LeftOut,
}

/// What was told and is not over, with the reasons, of servers by the index of the pool and theirs. Neither is of
/// another server later, but for a cluster's nodes, which [`forget`](Told::forget) is for.
#[derive(Debug, Default)]
pub(in crate::net) struct Told(Mutex<Reasons>);

type Reasons = HashMap<(usize, usize), Vec<(Trouble, String)>>;

/// Reasons of one server at most.
const MOST: usize = 8;

impl Told {
    /// Whether this is news. So is another reason: the first one may be a consequence of it.
    pub(super) fn begins(&self, place: (usize, usize), trouble: Trouble, reason: &str) -> bool {
        let mut all = self.all();
        let told = all.entry(place).or_default();
        let is_known = told.iter().any(|(of, known)| (*of, known.as_str()) == (trouble, reason));
        let is_news = !is_known && told.len() < MOST;
        if is_news {
            told.push((trouble, reason.to_string()));
        }
        is_news
    }

    /// Whether it was told that one of these is the case, which is over: the first of them.
    pub(super) fn ends(&self, place: (usize, usize), troubles: &[Trouble]) -> Option<Trouble> {
        let mut all = self.all();
        let told = all.get_mut(&place)?;
        let over = troubles.iter().find(|trouble| told.iter().any(|(of, _)| of == *trouble)).copied();
        told.retain(|(of, _)| !troubles.contains(of));
        over
    }

    /// Another server has the place.
    pub(super) fn forget(&self, place: (usize, usize)) {
        self.all().remove(&place);
    }

    fn all(&self) -> MutexGuard<'_, Reasons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble::{Failed, LeftOut, Silent};
    use super::*;

    #[test]
    fn everything_is_told_once() {
        let told = Told::default();
        let (one, other) = ((0, 1), (1, 1));
        assert!(told.begins(one, Failed, "a") && !told.begins(one, Failed, "a"));
        assert!(told.begins(one, Failed, "b") && !told.begins(one, Failed, "a"));
        assert!(told.begins(one, Silent, "a") && told.begins(other, Failed, "a"));
        assert!(told.begins(one, LeftOut, "a"));
        assert_eq!([(); 2].map(|()| told.ends(one, &[Failed, Silent])), [Some(Failed), None]);
        assert_eq!(told.ends(one, &[LeftOut]), Some(LeftOut));
        assert!(told.begins(one, Silent, "a"));
        told.forget(one);
        assert_eq!([one, other].map(|place| told.ends(place, &[Failed, Silent])), [None, Some(Failed)]);
    }

    #[test]
    fn reasons_that_never_end_are_not_all_told() {
        let told = Told::default();
        let count = (0..100).filter(|n| told.begins((0, 0), Failed, &n.to_string())).count();
        assert_eq!(count, MOST);
    }
}
