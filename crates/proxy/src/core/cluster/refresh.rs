//! When the table of slots is asked for, and whom: a state machine without I/O.
//!
//! ```text
//!  wanted, or PERIOD is over ──PAUSE since the last round──▶ ask a node ──told──▶ done
//!                                                             ▲      │ refused, late, nonsense
//!                                                             └──────┴─ next node ──none left──▶ failed
//! ```
//!
//! One node is asked at a time. Each round starts with another one, so that a node which is cut off
//! from the others is not believed twice in a row, unless a redirection has named one that must know.

use crate::core::Micros;

/// Between the end of a round and the next, at least.
pub(super) const PAUSE: Micros = 100_000;
/// After so long the table is asked for although nothing was noticed.
pub(super) const PERIOD: Micros = 10_000_000;
/// How long a node may take to answer.
pub(super) const PATIENCE: Micros = 1_000_000;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, now.
    Nothing,
    /// Ask this server.
    Ask(usize),
    /// No server has answered; the round is over.
    Failed,
}

#[derive(Debug, Default)]
pub(super) struct Refresh {
    wanted: bool,
    /// A server that is asked first.
    hint: Option<usize>,
    /// The server that is asked, and until when.
    asking: Option<(usize, Micros)>,
    /// Servers that have not told in this round; empty between rounds.
    tried: Vec<usize>,
    /// When the last round ended.
    last: Option<Micros>,
    rounds: usize,
}

impl Refresh {
    /// Something shows that the table is wrong; `hint` names a server that knows better.
    pub(super) fn want(&mut self, hint: Option<usize>) {
        self.wanted = true;
        self.hint = hint.or(self.hint);
    }

    /// What to do now. `candidates` are the servers that can be asked, the best first.
    pub(super) fn step(&mut self, now: Micros, candidates: &[usize]) -> Step {
        if self.asking.is_some() || (self.tried.is_empty() && now < self.due()) {
            return Step::Nothing;
        }
        if self.tried.is_empty() {
            self.wanted = false;
            self.rounds += 1;
        }
        let hint = self.hint.take().filter(|server| candidates.contains(server));
        let start = self.rounds % candidates.len().max(1);
        let turned = candidates[start..].iter().chain(&candidates[..start]);
        match hint.iter().chain(turned).find(|server| !self.tried.contains(server)) {
            Some(&server) => {
                self.asking = Some((server, now.saturating_add(PATIENCE)));
                Step::Ask(server)
            }
            None => {
                self.tried.clear();
                self.last = Some(now);
                Step::Failed
            }
        }
    }

    /// The server that was asked has told.
    pub(super) fn told(&mut self, now: Micros) {
        self.asking = None;
        self.tried.clear();
        self.last = Some(now);
    }

    /// The server that was asked has not told, and will not.
    pub(super) fn refused(&mut self) {
        if let Some((server, _)) = self.asking.take() {
            self.tried.push(server);
        }
    }

    /// The server that is asked, if it has taken too long.
    pub(super) fn overdue(&self, now: Micros) -> Option<usize> {
        self.asking.filter(|&(_, deadline)| deadline <= now).map(|(server, _)| server)
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Micros {
        match self.asking {
            Some((_, deadline)) => deadline,
            None if self.tried.is_empty() => self.due(),
            None => 0,
        }
    }

    /// When the next round begins.
    fn due(&self) -> Micros {
        match (self.wanted, self.last) {
            (true, None) => 0,
            (true, Some(last)) => last.saturating_add(PAUSE),
            (false, Some(last)) => last.saturating_add(PERIOD),
            (false, None) => Micros::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_at_a_time_until_one_tells() {
        let mut refresh = Refresh::default();
        assert_eq!((refresh.step(0, &[1, 2, 3]), refresh.deadline()), (Step::Nothing, Micros::MAX));
        refresh.want(None);
        assert_eq!(refresh.deadline(), 0);
        assert_eq!(refresh.step(5, &[1, 2, 3]), Step::Ask(2));
        assert_eq!((refresh.step(5, &[1, 2, 3]), refresh.deadline()), (Step::Nothing, 5 + PATIENCE));
        assert_eq!((refresh.overdue(6), refresh.overdue(5 + PATIENCE)), (None, Some(2)));
        refresh.refused();
        assert_eq!(refresh.deadline(), 0);
        assert_eq!(refresh.step(7, &[1, 2, 3]), Step::Ask(3));
        refresh.told(8);
        assert_eq!((refresh.step(9, &[1, 2, 3]), refresh.deadline()), (Step::Nothing, 8 + PERIOD));
        // Another one begins the next time.
        assert_eq!(refresh.step(8 + PERIOD, &[1, 2, 3]), Step::Ask(3));
    }

    #[test]
    fn rounds_keep_a_distance_and_end() {
        let mut refresh = Refresh::default();
        refresh.want(None);
        assert_eq!(refresh.step(0, &[1, 2]), Step::Ask(2));
        // What happens meanwhile may be later than what will be told.
        refresh.want(None);
        refresh.told(10);
        assert_eq!(refresh.step(9 + PAUSE, &[1, 2]), Step::Nothing);
        assert_eq!(refresh.deadline(), 10 + PAUSE);
        assert_eq!(refresh.step(10 + PAUSE, &[1, 2]), Step::Ask(1));
        refresh.refused();
        assert_eq!(refresh.step(11 + PAUSE, &[1, 2]), Step::Ask(2));
        refresh.refused();
        assert_eq!(refresh.step(12 + PAUSE, &[1, 2]), Step::Failed);
        assert_eq!(refresh.deadline(), 12 + PAUSE + PERIOD);
        refresh.want(None);
        assert_eq!(refresh.step(13 + PAUSE, &[]), Step::Nothing);
        assert_eq!(refresh.step(12 + 2 * PAUSE, &[]), Step::Failed);
    }

    #[test]
    fn a_redirection_says_who_knows() {
        let mut refresh = Refresh::default();
        refresh.want(Some(7));
        refresh.want(None);
        assert_eq!(refresh.step(0, &[1, 7]), Step::Ask(7));
        refresh.told(0);
        // It has left since.
        refresh.want(Some(8));
        assert_eq!(refresh.step(PAUSE, &[1, 7]), Step::Ask(1));
    }
}
