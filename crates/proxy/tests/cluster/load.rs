//! Clients that count: each has counters of its own, and checks every reply.
//!
//! A counter is only ever incremented by its client, so the replies to its INCRs are 1, 2, 3 … as long
//! as none runs twice, none is lost, and none overtakes another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tombolo_resp::Value;

use crate::common::{Client, Proxy, request};

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

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Outcome>>,
}

impl Load {
    /// `clients` clients, each with `keys` counters. `tag` is what a key has in braces. Not `exact`:
    /// a failover may lose what the old primary has acknowledged, so counters may go back.
    pub(crate) fn start(proxy: &Proxy, clients: usize, keys: usize, tag: Option<&str>, exact: bool) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let work = |number: usize| {
            let (stop, done, client) = (stop.clone(), done.clone(), proxy.client());
            let tag = tag.map(|tag| format!("{{{tag}}}")).unwrap_or_default();
            let names = (0..keys).map(|key| format!("{tag}count:{number}:{key}")).collect::<Vec<_>>();
            std::thread::spawn(move || count(client, &names, exact, &stop, &done))
        };
        let threads = (0..clients).map(work).collect();
        Load { stop, done, threads }
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

    /// Ends it; what each client has seen.
    pub(crate) fn end(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
    }
}

fn count(mut client: Client, names: &[String], exact: bool, stop: &AtomicBool, done: &AtomicU64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
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
