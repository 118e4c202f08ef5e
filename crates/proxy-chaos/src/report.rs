//! What came out of a run.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::verdict::{Finding, Wrong};

/// Stories that are told; the others are counted.
const STORIES: usize = 20;

/// What one client has seen; they add up.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Documented errors, each while a fault excused it.
    pub errors: BTreeMap<&'static str, u64>,
    /// Faults that the client made, by kind.
    pub cuts: BTreeMap<&'static str, u64>,
    /// Connections that were closed with the state on them.
    pub closed_with_state: u64,
    /// Messages that subscribers have got.
    pub messages: u64,
    /// Failures by kind.
    pub wrong: BTreeMap<Wrong, u64>,
    /// The first failures.
    pub findings: Vec<Finding>,
}

impl Tally {
    /// Notes a failure.
    pub fn found(&mut self, finding: Finding) {
        self.count(finding, 1);
    }

    /// Notes a failure that concerns so many replies.
    pub fn count(&mut self, finding: Finding, times: u64) {
        *self.wrong.entry(finding.wrong).or_default() += times;
        if self.findings.len() < STORIES {
            self.findings.push(finding);
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: Tally) {
        other.errors.into_iter().for_each(|(kind, count)| *self.errors.entry(kind).or_default() += count);
        other.cuts.into_iter().for_each(|(kind, count)| *self.cuts.entry(kind).or_default() += count);
        other.wrong.into_iter().for_each(|(kind, count)| *self.wrong.entry(kind).or_default() += count);
        self.closed_with_state += other.closed_with_state;
        self.messages += other.messages;
        self.findings.extend(other.findings);
        self.findings.truncate(STORIES);
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// With the same one the schedule of faults is the same.
    pub seed: u64,
    /// What the proxy was in front of, and how.
    pub stage: String,
    /// How long it took.
    pub seconds: f64,
    /// Connections of clients at a time.
    pub clients: usize,
    /// How many servers there were.
    pub servers: usize,
    /// What the proxy was found to support: `several`, `transactions`, `blocking`.
    pub abilities: BTreeMap<&'static str, bool>,
    /// Requests that were sent, whole or in part.
    pub requests: u64,
    /// Replies that were checked.
    pub replies: u64,
    /// Documented errors during faults, by text.
    pub errors: BTreeMap<String, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Connections that ended with the transaction on them, as documented.
    pub closed_with_state: u64,
    /// What clients did together: messages, elements, raised counters.
    pub together: BTreeMap<&'static str, u64>,
    /// Failures by kind; all kinds are there.
    pub wrong: BTreeMap<Wrong, u64>,
    /// The first failures.
    pub findings: Vec<Finding>,
    /// The most memory that the proxy had at a time, in KiB, as the kernel has kept it.
    pub max_resident_kib: u64,
    /// What it may have had.
    pub resident_limit_kib: u64,
    /// Whether every pool answered at the end.
    pub answers_at_the_end: bool,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.wrong.values().all(|count| *count == 0)
            && self.answers_at_the_end
            && self.max_resident_kib <= self.resident_limit_kib
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { seed, seconds, clients, servers, requests, replies, .. } = self;
        writeln!(f, "seed {seed}, {clients} clients, {servers} servers, {seconds:.1} s")?;
        writeln!(f, "{}", self.stage)?;
        writeln!(f, "{requests} requests, {replies} replies checked")?;
        list(f, "supported", &self.abilities)?;
        list(f, "faults", &self.faults)?;
        list(f, "errors during faults", &self.errors)?;
        list(f, "together", &self.together)?;
        writeln!(f, "connections closed with the state on them: {}", self.closed_with_state)?;
        let (most, limit) = (self.max_resident_kib / 1024, self.resident_limit_kib / 1024);
        writeln!(f, "memory of the proxy: at most {most} MiB of {limit} MiB")?;
        writeln!(f, "every pool answers at the end: {}", self.answers_at_the_end)?;
        for (wrong, count) in &self.wrong {
            writeln!(f, "{}: {count}", wrong.text())?;
        }
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "! {}: {}", finding.wrong.text(), finding.story))?;
        write!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}

fn list<V: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    values: &BTreeMap<impl fmt::Display, V>,
) -> fmt::Result {
    writeln!(f, "{title}:")?;
    values.iter().try_for_each(|(kind, value)| writeln!(f, "  {value:>9}  {kind}"))
}
