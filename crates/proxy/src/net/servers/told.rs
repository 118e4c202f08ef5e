//! What the log was told of servers. Each thread has connections of its own to each server, and
//! several: what is wrong with the server is said once all the same, and so is that it no longer is.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    /// A connection has failed: it is over when there is one.
    Failed,
    /// It took too long: it is over when something is answered. The system may take a connection for a
    /// program that does nothing.
    Silent,
    /// It is left out of the distribution.
    LeftOut,
}

/// What was told, of servers by the index of the pool and theirs. Neither is of another server later,
/// but for a cluster's nodes, which [`forget`](Told::forget) is for.
#[derive(Debug, Default)]
pub(in crate::net) struct Told(Mutex<HashSet<(usize, usize, Trouble)>>);

impl Told {
    /// Whether this is news.
    pub(super) fn begins(&self, (pool, server): (usize, usize), trouble: Trouble) -> bool {
        self.all().insert((pool, server, trouble))
    }

    /// Whether it was told that this is over, or that it ever began.
    pub(super) fn ends(&self, (pool, server): (usize, usize), trouble: Trouble) -> bool {
        self.all().remove(&(pool, server, trouble))
    }

    /// Another server has the place.
    pub(super) fn forget(&self, place: (usize, usize)) {
        self.all().retain(|&(pool, server, _)| (pool, server) != place);
    }

    fn all(&self) -> MutexGuard<'_, HashSet<(usize, usize, Trouble)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once() {
        let told = Told::default();
        let (one, other) = ((0, 1), (1, 1));
        assert!(told.begins(one, Trouble::Failed) && !told.begins(one, Trouble::Failed));
        assert!(told.begins(one, Trouble::Silent) && told.begins(other, Trouble::Failed));
        assert!(told.ends(one, Trouble::Failed) && !told.ends(one, Trouble::Failed));
        told.forget(one);
        assert!(!told.ends(one, Trouble::Silent) && told.ends(other, Trouble::Failed));
    }
}
