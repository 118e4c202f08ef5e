//! Clients that count: each has counters of its own, and checks every reply.
//!
//! A counter is only ever incremented by its client, so the replies to its INCRs are 1, 2, 3 … as long
//! as none runs twice, none is lost, and none overtakes another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tombolo_resp::Value;

use crate::common::{Client, PATIENCE, Proxy, request};

/// Requests that a client sends before it reads.
pub(crate) const PIPELINE: usize = 8;

/// What a client has seen.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The last number of each counter.
    pub(crate) counters: BTreeMap<String, i64>,
    /// Errors in place of replies.
    pub(crate) errors: Vec<String>,
}

/// How many more turns the clients may have together; `u64::MAX` for any number.
struct Turns(Mutex<u64>, Condvar);

impl Turns {
    /// Takes one, when there is one.
    fn take(&self) {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.1.wait_while(left, |left| *left == 0).unwrap_or_else(PoisonError::into_inner);
        if *left != u64::MAX {
            *left -= 1;
        }
    }

    fn set(&self, turns: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turns;
        self.1.notify_all();
    }
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    turns: Arc<Turns>,
    threads: Vec<JoinHandle<Outcome>>,
}

impl Load {
    /// `clients` clients, each with `keys` counters. `tag` is what a key has in braces. Not `exact`:
    /// a failover may lose what the old primary has acknowledged, so counters may go back.
    pub(crate) fn start(proxy: &Proxy, clients: usize, keys: usize, tag: Option<&str>, exact: bool) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let turns = Arc::new(Turns(Mutex::new(u64::MAX), Condvar::new()));
        let work = |number: usize| {
            let (stop, done, client) = (stop.clone(), done.clone(), proxy.client());
            let turns = turns.clone();
            let tag = tag.map(|tag| format!("{{{tag}}}")).unwrap_or_default();
            let names = (0..keys).map(|key| format!("{tag}count:{number}:{key}")).collect::<Vec<_>>();
            std::thread::spawn(move || count(client, &names, exact, &turns, (&stop, &done)))
        };
        let threads = (0..clients).map(work).collect();
        Load { stop, done, turns, threads }
    }

    /// How many replies have come.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits for so many more replies.
    pub(crate) fn wait_for(&self, more: u64) {
        let enough = self.done() + more;
        crate::common::wait_for("replies", || (self.done() >= enough).then_some(()));
    }

    /// Waits until `done` answers with something, for as long as an election may take. The clients go
    /// on meanwhile, a few turns each time that it is asked: nodes without a processor elect nobody.
    pub(crate) fn wait_gently<T>(&self, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + 4 * PATIENCE;
        let found = loop {
            self.turns.set(2);
            match done() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                found => break found,
            }
        };
        self.turns.set(u64::MAX);
        found.unwrap_or_else(|| panic!("waited too long for {what}"))
    }

    /// Ends it; what each client has seen.
    pub(crate) fn end(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
    }
}

fn count(
    mut client: Client,
    names: &[String],
    exact: bool,
    turns: &Turns,
    (stop, done): (&AtomicBool, &AtomicU64),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        turns.take();
        let turn: Vec<&String> = (0..PIPELINE).map(|n| &names[(next + n / 2) % names.len()]).collect();
        next += 3;
        let bytes: Vec<u8> = turn.iter().flat_map(|name| request(&[b"INCR", name.as_bytes()])).collect();
        client.send(&bytes);
        for name in turn {
            match client.reply() {
                Value::Integer(number) => {
                    let last = outcome.counters.insert(name.clone(), number).unwrap_or(0);
                    let lost =
                        outcome.errors.iter().filter(|error| error.starts_with(&format!("{name}: "))).count();
                    let least = if exact { last + 1 } else { 1 };
                    let expected = least..=last + 1 + lost as i64;
                    assert!(expected.contains(&number), "{name}: {number} after {last}, {lost} errors");
                }
                other => outcome.errors.push(format!("{name}: {}", other.text())),
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    outcome
}
