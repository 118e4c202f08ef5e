//! How much a near server has to do already, and whether it is sent more before it has done some of it.
//!
//! ```text
//!  requests ─▶ unsent ──written──▶ newer ──▶ oldest ──answered──▶ gone
//!                 ▲
//!                 └ waits here while both of the others are there and the server is near
//! ```
//!
//! What is written at once is a batch. A server reads one while it is sent its answers to the one
//! before, so with two of them it never waits for the proxy; a third one would lie in its socket's
//! buffer, and would have cost a system call, and its waking up, of its own. Left here it grows
//! instead: as Nagle's algorithm has it, but with two under way instead of one.
//!
//! That is so of a server that answers at once. With one that is some way off, more than two batches
//! are under way before the first answer can be there, and a third would come later for it.

use super::Micros;

/// A server is near that has answered this quickly, once on this connection: one on the same machine, or
/// not far from it.
const NEAR: Micros = 200;

/// The requests of a shared connection that are not answered, by when they were written.
#[derive(Debug)]
pub(super) struct Batches {
    /// Not written, or not all of them.
    unsent: u32,
    /// Of the batches that were written after the oldest.
    newer: u32,
    /// Of the oldest batch that is not answered.
    oldest: u32,
    /// The shortest time from a request's coming to its answer.
    quickest: Micros,
}

impl Default for Batches {
    fn default() -> Batches {
        Batches { unsent: 0, newer: 0, oldest: 0, quickest: Micros::MAX }
    }
}

impl Batches {
    /// Requests were added to what is to be written.
    pub(super) fn add(&mut self, count: u32) {
        self.unsent += count;
    }

    /// All that there was is written.
    pub(super) fn written(&mut self) {
        let batch = std::mem::take(&mut self.unsent);
        match self.oldest {
            0 => self.oldest = batch,
            _ => self.newer += batch,
        }
    }

    /// The oldest `count` requests were answered, the first of them `after` so long a time.
    pub(super) fn answered(&mut self, count: u32, after: Micros) {
        self.quickest = self.quickest.min(after);
        if count < self.oldest {
            self.oldest -= count;
            return;
        }
        // Some may be of a batch of which the last request is not written yet.
        let more = count - self.oldest;
        let of_newer = more.min(self.newer);
        self.oldest = self.newer - of_newer;
        self.newer = 0;
        self.unsent = self.unsent.saturating_sub(more - of_newer);
    }

    /// Whether what is not written can wait: until an answer, which will not be long.
    pub(super) fn are_enough(&self) -> bool {
        self.newer > 0 && self.quickest <= NEAR
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::{Action, Core};

    #[test]
    fn two_batches_are_enough_for_a_near_server() {
        let mut batches = Batches::default();
        batches.add(2);
        batches.written();
        batches.answered(2, NEAR);
        batches.add(3);
        batches.written();
        assert!(!batches.are_enough(), "one");
        batches.add(2);
        batches.written();
        assert!(batches.are_enough(), "two");
        batches.add(4);
        batches.answered(2, 5000);
        assert!(batches.are_enough(), "one request of the oldest is left");
        batches.answered(1, 5000);
        assert!(!batches.are_enough());
        batches.written();
        assert!(batches.are_enough());
        batches.answered(6, 5000);
        assert!(!batches.are_enough());
    }

    #[test]
    fn a_server_that_is_some_way_off_is_sent_everything() {
        let mut batches = Batches::default();
        for _ in 0..5 {
            batches.add(1);
            batches.written();
        }
        batches.answered(1, NEAR + 1);
        assert!(!batches.are_enough());
        batches.answered(1, NEAR);
        assert!(!batches.are_enough(), "those that were written before count as one");
        batches.add(1);
        batches.written();
        assert!(batches.are_enough());
    }

    #[test]
    fn answers_may_come_before_a_batch_is_written() {
        let mut batches = Batches::default();
        batches.add(3);
        batches.answered(2, 1);
        batches.written();
        batches.add(1);
        batches.written();
        batches.answered(1, 1);
        assert!(!batches.are_enough());
        batches.answered(1, 1);
        assert_eq!((batches.unsent, batches.newer, batches.oldest), (0, 0, 0));
    }

    /// Has a client ask for `key` now; what the server is sent for it.
    fn ask(core: &mut Core, client: crate::core::ClientId, key: &str, now: Micros) -> String {
        let mut request = Vec::new();
        tombolo_resp::encode::request(&mut request, &[b"GET", key.as_bytes()]);
        core.client_data(client, &request, now);
        sent(core, now)
    }

    /// The keys that are asked the server for.
    fn sent(core: &mut Core, now: Micros) -> String {
        let mut keys = String::new();
        while let Some(action) = core.poll_action() {
            match action {
                Action::Connect(id) => core.server_connected(id, now),
                Action::WriteServer(id) => {
                    let output = String::from_utf8_lossy(core.server_output(id)).into_owned();
                    keys.extend(output.split("\r\n").filter(|part| part.len() == 1));
                    core.server_wrote(id, output.len());
                }
                _ => {}
            }
        }
        keys
    }

    #[test]
    fn a_third_batch_waits_for_a_near_server_and_grows() {
        for (takes, one_by_one) in [(NEAR, false), (NEAR + 1, true)] {
            let text = "p:\n  listen: a:1\n  redis: true\n  servers:\n   - a:1:1\n";
            let mut core = Core::new(&Config::parse("f", text).expect("a good file").pools, 1);
            let [first, second, third] = [(); 3].map(|()| core.client_connected(0));
            assert_eq!(ask(&mut core, first, "a", 0), "a");
            let server = core.connections().next().expect("a connection").0;
            core.server_data(server, b"$-1\r\n", takes).expect("a reply");

            let now = 10_000;
            let came = [(first, "b"), (second, "c"), (third, "d"), (first, "e")];
            let keys = came.map(|(client, key)| ask(&mut core, client, key, now));
            assert_eq!(keys, if one_by_one { ["b", "c", "d", "e"] } else { ["b", "c", "", ""] });
            core.server_data(server, b"$-1\r\n", now + 5000).expect("a reply");
            assert_eq!(sent(&mut core, now + 5000), if one_by_one { "" } else { "de" });
        }
    }
}
