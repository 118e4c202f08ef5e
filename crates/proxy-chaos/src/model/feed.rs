//! What a sender and the only receiver of its tokens know together: of messages that are published,
//! or of elements that are pushed at one end of a list and popped at the other.
//!
//! Each arrives once at most, in the order in which they were sent. One whose sending was not
//! acknowledged may arrive late, or never: a server that was stopped finds it in the buffer of a
//! connection that was given up long ago. The sender may hear of the acknowledgement after the
//! receiver has the next one, so gaps are judged at the end, between two that were acknowledged.

use std::collections::{HashMap, HashSet};

use super::Check;
use crate::verdict::{Finding, Wrong};

/// Everything that one sender sent to one receiver.
#[derive(Debug, Default, Clone)]
pub struct Feed {
    sent: HashSet<u64>,
    /// With the kills of the server before it was sent.
    acknowledged: HashMap<u64, u64>,
    received: HashSet<u64>,
    late: Vec<u64>,
    /// What came in each uninterrupted reception, in its order.
    receptions: Vec<Vec<u64>>,
    /// Receptions that got no answer: each may have taken one.
    doubts: u64,
}

impl Feed {
    /// It is about to be sent.
    pub fn sent(&mut self, serial: u64) {
        self.sent.insert(serial);
    }

    /// The server has it.
    pub fn acknowledged(&mut self, serial: u64, since: u64) {
        self.acknowledged.insert(serial, since);
    }

    /// It has come, after `last` of the same uninterrupted reception.
    pub fn received(&mut self, serial: u64, last: Option<u64>) -> Check {
        if !self.sent.contains(&serial) {
            return Err(Finding::new(Wrong::Reordered, format!("number {serial} was never sent here")));
        }
        if !self.received.insert(serial) {
            return Err(Finding::new(Wrong::Duplicated, format!("number {serial} came twice")));
        }
        if last.is_some_and(|last| serial < last) {
            self.late.push(serial);
        }
        match self.receptions.last_mut().filter(|_| last.is_some()) {
            Some(reception) => reception.push(serial),
            None => self.receptions.push(vec![serial]),
        }
        Ok(())
    }

    /// A reception got no answer.
    pub fn doubt(&mut self) {
        self.doubts += 1;
    }

    /// How many have come.
    pub fn count(&self) -> usize {
        self.received.len()
    }

    /// At the end: what came late was not acknowledged, and what is missing between two that came
    /// and were acknowledged was not either. Those were published one after the other: what was not
    /// acknowledged may have been in front of all that the server had before it knew of a subscription.
    pub fn end(&self) -> Vec<Finding> {
        let known = |serial: &&u64| self.acknowledged.contains_key(serial);
        let late = self.late.iter().filter(known).map(|serial| {
            Finding::new(Wrong::Reordered, format!("number {serial} came after one that was sent later"))
        });
        let is_missing = |serial: &u64| known(&serial) && !self.received.contains(serial);
        let lost = self.receptions.iter().flat_map(|reception| {
            let acknowledged: Vec<u64> = reception.iter().filter(known).copied().collect();
            let gaps = acknowledged.windows(2).map(|pair| pair[0]..pair[1]).collect::<Vec<_>>();
            gaps.into_iter().flatten()
        });
        let lost = lost.filter(is_missing).map(|serial| {
            Finding::new(Wrong::Lost, format!("number {serial} was acknowledged, and did not come"))
        });
        late.chain(lost).collect()
    }

    /// At the end, when everything that is left was received: what was acknowledged and that no
    /// kill can have taken is there, or was taken by a reception that got no answer.
    pub fn end_of_queue(&self, kills: u64) -> Vec<Finding> {
        let known = |serial: &&u64| self.acknowledged.contains_key(serial);
        let mut findings: Vec<Finding> = self
            .late
            .iter()
            .filter(known)
            .map(|serial| Finding::new(Wrong::Reordered, format!("number {serial} was popped too late")))
            .collect();
        let missing = self
            .acknowledged
            .iter()
            .filter(|(serial, since)| **since == kills && !self.received.contains(*serial))
            .count() as u64;
        if missing > self.doubts {
            let story = format!("{missing} elements are gone, and {} pops in doubt", self.doubts);
            findings.push(Finding::new(Wrong::Lost, story));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(check: Check) -> Option<Wrong> {
        check.err().map(|finding| finding.wrong)
    }

    fn of(acknowledged: &[u64]) -> Feed {
        let mut feed = Feed::default();
        (1..=5).for_each(|serial| feed.sent(serial));
        acknowledged.iter().for_each(|serial| feed.acknowledged(*serial, 0));
        feed
    }

    fn after(mut feed: Feed, received: &[u64]) -> Feed {
        let mut last = None;
        for serial in received {
            assert_eq!(wrong(feed.received(*serial, last)), None);
            last = last.max(Some(*serial));
        }
        feed
    }

    #[test]
    fn nothing_comes_twice_or_from_elsewhere() {
        let mut feed = after(of(&[]), &[1]);
        assert_eq!(wrong(feed.received(1, None)), Some(Wrong::Duplicated));
        assert_eq!(wrong(feed.received(6, Some(1))), Some(Wrong::Reordered));
    }

    #[test]
    fn what_was_acknowledged_comes_in_its_order() {
        let kinds = |findings: Vec<Finding>| findings.iter().map(|found| found.wrong).collect::<Vec<_>>();
        assert_eq!(kinds(after(of(&[1, 2, 4]), &[1, 2, 4, 3]).end()), []);
        assert_eq!(kinds(after(of(&[1, 2, 3]), &[1, 3, 2]).end()), [Wrong::Reordered]);
        assert_eq!(kinds(after(of(&[1, 2, 3]), &[1, 3]).end()), [Wrong::Lost]);
        assert_eq!(kinds(after(of(&[1, 2, 4]), &[1, 3, 4]).end()), [Wrong::Lost]);
        assert_eq!(kinds(after(of(&[1, 3]), &[3, 4]).end()), [], "before the first");
        assert_eq!(kinds(after(of(&[2, 3]), &[1, 3]).end()), [], "1 was late, and 2 before the subscription");
        assert_eq!(kinds(after(of(&[1, 2]), &[2]).end_of_queue(0)), [Wrong::Lost]);
        assert_eq!(kinds(after(of(&[1, 2]), &[2]).end_of_queue(1)), [], "a kill took it");
        let mut taken = after(of(&[1, 2]), &[2]);
        taken.doubt();
        assert_eq!(kinds(taken.end_of_queue(0)), []);
    }
}
