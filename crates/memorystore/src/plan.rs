//! observe → plan → apply for redis-server processes: this is the plan.

use crate::redis_conf;
use std::collections::BTreeMap;
use tombolo_fabric::Owner;
use tombolo_model::{RedisKey, World};

/// What should run for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The endpoint in which it runs: the instance's own namespace.
    pub endpoint: String,
    /// Its configuration.
    pub conf: String,
}

/// What is observed of an instance's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// It was never started.
    Absent,
    /// It runs.
    Running,
    /// It ended, of itself or not.
    Ended,
}

/// What to do about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The instance.
    pub redis: RedisKey,
    /// What to start.
    pub start: Wanted,
    /// Why.
    pub why: &'static str,
}

/// What should run in a World.
pub fn wanted(world: &World) -> BTreeMap<RedisKey, Wanted> {
    let server = |key: &RedisKey, redis| Wanted {
        endpoint: Owner::Redis(key.clone()).to_string(),
        conf: redis_conf(redis),
    };
    world.redis.iter().map(|(key, redis)| (key.clone(), server(key, redis))).collect()
}

/// What to start so that everything wanted runs. An instance that is gone needs no stopping: its endpoint goes.
pub fn plan(wanted: &BTreeMap<RedisKey, Wanted>, observed: &BTreeMap<RedisKey, Process>) -> Vec<Action> {
    let missing = |key: &RedisKey| match observed.get(key).copied().unwrap_or(Process::Absent) {
        Process::Running => None,
        Process::Absent => Some("the instance is new"),
        Process::Ended => Some("its server ended"),
    };
    let action = |(key, start): (&RedisKey, &Wanted)| {
        missing(key).map(|why| Action { redis: key.clone(), start: start.clone(), why })
    };
    wanted.iter().filter_map(action).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_left_alone() {
        let wanted_one = || Wanted { endpoint: "e".into(), conf: "c".into() };
        let key = |name: &str| RedisKey::new("project-i-2", "us-central1", name);
        let wanted: BTreeMap<_, _> = ["a", "b", "c"].iter().map(|n| (key(n), wanted_one())).collect();
        let observed = BTreeMap::from([(key("a"), Process::Running), (key("b"), Process::Ended)]);
        let planned: Vec<_> = plan(&wanted, &observed).into_iter().map(|a| (a.redis.name, a.why)).collect();
        assert_eq!(planned, [("b".into(), "its server ended"), ("c".into(), "the instance is new")]);
    }
}
