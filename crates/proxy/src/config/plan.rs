//! What a changed configuration means for a proxy that runs: the difference of two configurations.
//!
//! Pools are the same when they have the same name, and listening sockets when they have the same
//! address: a pool may get a new name on the old socket, or another socket.

use super::Pool;

/// What becomes of a pool that is in the new configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is. The index of the old pool.
    Kept(usize),
    /// It takes the place, and the clients, of the old pool with this index.
    Changed(usize),
    /// There was none, or one that spoke another protocol.
    Added,
}

/// The way to a pool of the new configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What becomes of it.
    pub change: Change,
    /// The old pool whose listening socket it gets; `None` for a new one.
    pub socket: Option<usize>,
}

/// The way from one configuration to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// For each pool of the new configuration, in its order.
    pub steps: Vec<Step>,
    /// Indices of old pools that end.
    pub removed: Vec<usize>,
}

impl Plan {
    /// The way from the pools `old` to the pools `new`.
    pub fn new(old: &[Pool], new: &[Pool]) -> Plan {
        let steps: Vec<Step> = new.iter().map(|pool| step(old, pool)).collect();
        let goes_on = |index| {
            steps
                .iter()
                .any(|step| step.change == Change::Kept(index) || step.change == Change::Changed(index))
        };
        let removed = (0..old.len()).filter(|&index| !goes_on(index)).collect();
        Plan { steps, removed }
    }

    /// How many pools are kept, changed, added and removed.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0, 0, 0, self.removed.len()];
        for step in &self.steps {
            let place = match step.change {
                Change::Kept(_) => 0,
                Change::Changed(_) => 1,
                Change::Added => 2,
            };
            counts[place] += 1;
        }
        counts
    }
}

fn step(old: &[Pool], pool: &Pool) -> Step {
    let named = old.iter().position(|other| other.name == pool.name && other.protocol == pool.protocol);
    let change = match named {
        Some(index) if old[index] == *pool => Change::Kept(index),
        Some(index) => Change::Changed(index),
        None => Change::Added,
    };
    let socket = old.iter().position(|other| other.listen.address == pool.listen.address);
    Step { change, socket }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn pools(text: &str) -> Vec<Pool> {
        let mut all = String::new();
        for line in text.split('|').map(str::trim) {
            let (name, rest) = line.split_once(' ').expect("a name");
            let (listen, more) = rest.split_once(' ').unwrap_or((rest, ""));
            let more: String =
                more.split_whitespace().map(|key| format!("  {}\n", key.replace('=', ": "))).collect();
            let redis = if more.contains("redis:") { "" } else { "  redis: true\n" };
            let servers = if more.contains("servers:") { "" } else { "  servers: [\"s:1:1\"]\n" };
            all.push_str(&format!("{name}:\n  listen: {listen}\n{redis}{more}{servers}"));
        }
        Config::parse("c.yml", &all).expect("a configuration").pools
    }

    #[test]
    fn plans() {
        let kept = |index, socket| Step { change: Change::Kept(index), socket };
        let changed = |index, socket| Step { change: Change::Changed(index), socket };
        let added = |socket| Step { change: Change::Added, socket };
        let cases: [(&str, &str, Vec<Step>, &[usize]); 13] = [
            ("a h:1", "a h:1", vec![kept(0, Some(0))], &[]),
            // The order in the file means nothing.
            ("a h:1 | b h:2", "b h:2 | a h:1", vec![kept(1, Some(1)), kept(0, Some(0))], &[]),
            ("a h:1", "a h:1 timeout=400", vec![changed(0, Some(0))], &[]),
            ("a h:1 redis_auth=x", "a h:1 redis_auth=y", vec![changed(0, Some(0))], &[]),
            ("a h:1", "a h:1 servers=[\"t:1:1\"]", vec![changed(0, Some(0))], &[]),
            ("a h:1", "a h:1 servers=[\"s:1:2\"]", vec![changed(0, Some(0))], &[]),
            ("a h:1", "a h:2", vec![changed(0, None)], &[]),
            ("a h:1", "a h:1 | b h:2", vec![kept(0, Some(0)), added(None)], &[]),
            ("a h:1 | b h:2", "b h:2", vec![kept(1, Some(1))], &[0]),
            // Another name on the same socket.
            ("a h:1", "b h:1", vec![added(Some(0))], &[0]),
            // Two pools swap their sockets.
            ("a h:1 | b h:2", "a h:2 | b h:1", vec![changed(0, Some(1)), changed(1, Some(0))], &[]),
            // Clients of one protocol can not go on with another.
            ("a h:1", "a h:1 redis=false", vec![added(Some(0))], &[0]),
            ("a /s1", "a /s2", vec![changed(0, None)], &[]),
        ];
        for (old, new, steps, removed) in cases {
            let plan = Plan::new(&pools(old), &pools(new));
            assert_eq!(plan, Plan { steps, removed: removed.to_vec() }, "from {old} to {new}");
        }
    }

    #[test]
    fn pools_are_counted() {
        let plan =
            Plan::new(&pools("a h:1 | b h:2 | c h:3"), &pools("a h:1 | b h:2 timeout=1 | d h:4 | e h:5"));
        assert_eq!(plan.counts(), [1, 1, 2, 1]);
    }
}
