//! What all threads know: which faults are under way, and how far the run is.
//!
//! A kill is counted twice, before it happens and when it has happened. A value that was asked to
//! be written when `done` was n can only be gone once `begun` is more than n.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::verdict::{Finding, Wrong};

/// How long after a fault its errors may still come: the proxy's timeout for a request, and some
/// more for a busy machine.
const GRACE_MS: u64 = 1_000;

/// The same over a Redis Cluster, where the proxy waits longer.
const CLUSTER_GRACE_MS: u64 = 3_000;

/// Errors that clients may get while there is a fault, as they start.
const DOCUMENTED: &[&str] = &[
    "ERR Connection refused",
    "ERR Connection timed out",
    "ERR Host is down",
    "ERR Connection reset by peer",
    "ERR TLS: the peer closed during the handshake",
];

/// The same over a Redis Cluster, whose own errors are passed on: keys of one command are in two
/// places, or a slot has no primary for longer than the proxy waits.
const OF_CLUSTERS: &[&str] = &["TRYAGAIN", "CLUSTERDOWN"];
/// The same on a connection of a client's own, whose state can not move with the slot: part of a text.
const OF_SESSIONS: &[&str] =
    &["MOVED ", "ASK ", "EXECABORT", "UNBLOCKED", "needs another server than this transaction"];

#[derive(Debug, Default)]
struct Server {
    kills_begun: AtomicU64,
    kills_done: AtomicU64,
    active: AtomicU32,
    /// When something of a fault happened last, plus 1; 0 for never.
    last: AtomicU64,
}

/// The state of a run.
#[derive(Debug)]
pub struct Board {
    started: Instant,
    servers: Vec<Server>,
    limit: u64,
    /// Requests per second, at most; 0 for no limit.
    rate: u64,
    /// When clients began, in milliseconds since the start.
    begun: AtomicU64,
    requests: AtomicU64,
    replies: AtomicU64,
    in_cluster: bool,
    storm: AtomicBool,
    over: AtomicBool,
    faults: Mutex<BTreeMap<&'static str, u64>>,
}

impl Board {
    /// For a run of `limit` requests, at most `rate` per second unless that is 0, with so many
    /// servers; over a Redis Cluster there is one.
    pub fn new(servers: usize, limit: u64, rate: u64, in_cluster: bool) -> Board {
        Board {
            started: Instant::now(),
            servers: (0..servers).map(|_| Server::default()).collect(),
            limit,
            rate,
            begun: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            in_cluster,
            storm: AtomicBool::new(false),
            over: AtomicBool::new(false),
            faults: Mutex::default(),
        }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Adds to the requests that were sent.
    pub fn sent(&self, count: usize) {
        self.requests.fetch_add(count as u64, SeqCst);
    }

    /// Adds to the replies that were checked.
    pub fn checked(&self, count: u64) {
        self.replies.fetch_add(count, SeqCst);
    }

    /// Requests and replies so far.
    pub fn progress(&self) -> (u64, u64) {
        (self.requests.load(SeqCst), self.replies.load(SeqCst))
    }

    /// Clients begin now.
    pub fn begin(&self) {
        self.begun.store(self.now(), SeqCst);
    }

    /// Waits while there were more requests than the rate allows.
    pub fn pace(&self) {
        let time = || self.now() - self.begun.load(SeqCst);
        while self.rate > 0 && !self.is_enough() && self.progress().0 * 1000 > self.rate * time() {
            self.sleep(2);
        }
    }

    /// Whether all requests were sent, or the run is over.
    pub fn is_enough(&self) -> bool {
        self.is_over() || self.requests.load(SeqCst) >= self.limit
    }

    /// Ends the run for every thread.
    pub fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// Whether every thread should end now.
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Whether faults may begin.
    pub fn is_storm(&self) -> bool {
        self.storm.load(SeqCst)
    }

    /// Lets faults begin, or no more of them.
    pub fn set_storm(&self, storm: bool) {
        self.storm.store(storm, SeqCst);
    }

    /// Sleeps, but not beyond the end of the run.
    pub fn sleep(&self, ms: u64) {
        let end = Instant::now() + Duration::from_millis(ms);
        while !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// A fault of `server` begins; `end_fault` must follow.
    pub fn begin_fault(&self, server: usize, kind: &'static str) {
        self.servers[server].active.fetch_add(1, SeqCst);
        self.touch(server);
        self.count(kind);
    }

    /// A fault of `server` has ended.
    pub fn end_fault(&self, server: usize) {
        self.touch(server);
        self.servers[server].active.fetch_sub(1, SeqCst);
    }

    /// Something that belongs to a fault happened just now.
    pub fn touch(&self, server: usize) {
        self.servers[server].last.store(self.now() + 1, SeqCst);
    }

    /// Counts a fault.
    pub fn count(&self, kind: &'static str) {
        if let Ok(mut faults) = self.faults.lock() {
            *faults.entry(kind).or_default() += 1;
        }
    }

    /// Faults by kind.
    pub fn faults(&self) -> BTreeMap<String, u64> {
        let faults = self.faults.lock().map(|faults| faults.clone()).unwrap_or_default();
        faults.into_iter().map(|(kind, count)| (kind.to_string(), count)).collect()
    }

    /// A server is about to be killed.
    pub fn begin_kill(&self, server: usize) {
        self.servers[server].kills_begun.fetch_add(1, SeqCst);
    }

    /// A server was killed and is gone.
    pub fn end_kill(&self, server: usize) {
        self.servers[server].kills_done.fetch_add(1, SeqCst);
    }

    /// Kills of a server that may have had an effect.
    pub fn kills_begun(&self, server: usize) -> u64 {
        self.servers[server].kills_begun.load(SeqCst)
    }

    /// Kills of a server that are behind a request which is sent now.
    pub fn kills_done(&self, server: usize) -> u64 {
        self.servers[server].kills_done.load(SeqCst)
    }

    /// The servers of a set of bits.
    fn among(&self, servers: u64) -> impl Iterator<Item = &Server> {
        let all = self.servers.iter().enumerate();
        all.filter(move |(index, _)| servers >> index & 1 == 1).map(|(_, server)| server)
    }

    /// Whether a request to `servers` (a set of bits), sent at `sent`, may have met a fault.
    pub fn is_troubled(&self, servers: u64, sent: u64) -> bool {
        self.among(servers).any(|server| {
            let last = server.last.load(SeqCst);
            server.active.load(SeqCst) > 0 || (last > 0 && last - 1 + self.grace() >= sent)
        })
    }

    /// Whether an error to a request is a documented one, and may have come of a fault: its start.
    /// `own`: of a client that may have a connection of its own.
    pub fn excuse(&self, servers: u64, sent: u64, own: bool, text: &str) -> Result<&'static str, Finding> {
        let unexpected = |text: String| Err(Finding::new(Wrong::UnexpectedError, text));
        let more: &[&str] = if self.in_cluster { OF_CLUSTERS } else { &[] };
        let sessions: &[&str] = if self.in_cluster && own { OF_SESSIONS } else { &[] };
        let known = DOCUMENTED.iter().chain(more).find(|known| text.starts_with(**known));
        match known.or_else(|| sessions.iter().find(|known| text.contains(**known))) {
            Some(known) if self.is_troubled(servers, sent) => Ok(known),
            Some(_) => unexpected(format!("without a fault ({}): {text}", self.story(servers, sent))),
            None => unexpected(text.to_string()),
        }
    }

    /// How long ago a request to `servers` was sent that an error came to, and how long before it
    /// was sent the last fault of one of them was over.
    fn story(&self, servers: u64, sent: u64) -> String {
        let last = self.among(servers).map(|server| server.last.load(SeqCst)).max().filter(|last| *last > 0);
        let before = last.map_or_else(
            || "before any".to_string(),
            |last| format!("{} ms after one", sent.saturating_sub(last - 1)),
        );
        format!("asked {} ms ago, {before}", self.now().saturating_sub(sent))
    }

    fn grace(&self) -> u64 {
        if self.in_cluster { CLUSTER_GRACE_MS } else { GRACE_MS }
    }

    /// Waits until errors of past faults can come no more.
    pub fn settle(&self) {
        while !self.is_over() && self.is_troubled(u64::MAX, self.now()) {
            self.sleep(20);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_excuses_what_was_sent_until_shortly_after_it() {
        let board = Board::new(2, 0, 0, false);
        assert!(!board.is_troubled(0b11, 0));
        board.begin_fault(1, "kill");
        assert!(board.is_troubled(0b10, 0) && board.is_troubled(0b11, 1_000_000));
        assert!(!board.is_troubled(0b01, 0));
        board.end_fault(1);
        let end = board.now();
        assert!(board.is_troubled(0b10, 0) && board.is_troubled(0b10, end + GRACE_MS / 2));
        assert!(!board.is_troubled(0b10, end + GRACE_MS + 1));
        assert_eq!(board.faults(), BTreeMap::from([("kill".to_string(), 1)]));
    }
}
