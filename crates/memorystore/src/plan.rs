//! observe → plan → apply for redis-server processes: this is the plan.

use crate::{Settings, conf, redis_conf, settings, tls};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use tombolo_fabric::Owner;
use tombolo_model::{Redis, RedisKey, World};

/// What should run for an instance.
#[derive(Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The endpoint in which it runs: the instance's own namespace.
    pub endpoint: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Its configuration. It has secrets in it.
    pub conf: String,
    /// Its certificate and key, which its configuration wants in [`TLS_FILE`]; none without TLS.
    pub tls: Option<String>,
    /// What can change of it while it runs.
    pub settings: Settings,
}

/// Without its secrets.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted")
            .field("endpoint", &self.endpoint)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What is observed of an instance's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// It was never started.
    Absent,
    /// It runs with these settings.
    Running(Settings),
    /// It ended, of itself or not.
    Ended,
}

/// What to do about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The instance.
    pub redis: RedisKey,
    /// What it should be like.
    pub wanted: Wanted,
    /// What makes it so.
    pub step: Step,
    /// Why.
    pub why: &'static str,
}

/// What makes a server as it should be.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Starting it, with its configuration on stdin.
    Start,
    /// Telling it these commands, a line each. They have secrets in them.
    Tell(String),
}

/// Without its secrets.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Start => "Start",
            Step::Tell(_) => "Tell",
        })
    }
}

/// What should run in a World.
pub fn wanted(world: &World) -> BTreeMap<RedisKey, Wanted> {
    let server = |key: &RedisKey, redis: &Redis| {
        let settings = settings(redis, &world.seed);
        Wanted {
            endpoint: Owner::Redis(key.clone()).to_string(),
            address: SocketAddrV4::new(redis.host, redis.port),
            conf: redis_conf(redis, &settings),
            tls: tls::identity(redis, &world.seed).map(|identity| identity.server),
            settings,
        }
    };
    world.redis.iter().map(|(key, redis)| (key.clone(), server(key, redis))).collect()
}

/// What to start and to tell so that everything is as wanted. An instance that is gone needs no stopping: its endpoint
/// goes.
pub fn plan(wanted: &BTreeMap<RedisKey, Wanted>, observed: &BTreeMap<RedisKey, Process>) -> Vec<Action> {
    let missing = |key: &RedisKey, wanted: &Wanted| match observed.get(key).unwrap_or(&Process::Absent) {
        Process::Running(settings) if *settings == wanted.settings => None,
        // One that cannot be told has nothing that changes.
        Process::Running(settings) => conf::commands(settings, &wanted.settings)
            .map(|lines| (Step::Tell(lines), "its settings changed")),
        Process::Absent => Some((Step::Start, "the instance is new")),
        Process::Ended => Some((Step::Start, "its server ended")),
    };
    let action = |(key, wanted): (&RedisKey, &Wanted)| {
        let (step, why) = missing(key, wanted)?;
        Some(Action { redis: key.clone(), wanted: wanted.clone(), step, why })
    };
    wanted.iter().filter_map(action).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_model::{Change, ConnectMode, NetworkKey, RedisSpec, RedisTier, Seed, Timestamp};

    /// A World with the instances `a` to `d`.
    fn world() -> World {
        let enable =
            |service: &str| Change::ServiceEnable { project: "project-1".into(), service: service.into() };
        let redis = |name: &str| {
            Change::RedisInsert(RedisSpec {
                key: key(name),
                authorized_network: NetworkKey::new("project-1", "default"),
                reserved_ip_range: None,
                connect_mode: ConnectMode::DirectPeering,
                tier: RedisTier::Basic,
                memory_size_gb: 1,
                tls: false,
            })
        };
        let changes = [
            Change::ProjectCreate("project-1".into()),
            enable("compute.googleapis.com"),
            enable("redis.googleapis.com"),
            redis("a"),
            redis("b"),
            redis("c"),
            redis("d"),
        ];
        let world = World::default().seeded(Seed::new(&[7; 32]));
        changes.iter().fold(world, |world, change| world.apply(change, Timestamp(0)).expect("a good change"))
    }

    fn key(name: &str) -> RedisKey {
        RedisKey::new("project-1", "us-central1", name)
    }

    #[test]
    fn what_runs_as_it_should_is_left_alone() {
        let world = world();
        let before = wanted(&world);
        let auth =
            Change::RedisUpdate { redis: key("d"), memory_size_gb: None, configs: None, auth: Some(true) };
        let after = wanted(&world.apply(&auth, Timestamp(0)).expect("a good change"));
        let observed = BTreeMap::from([
            (key("a"), Process::Running(before[&key("a")].settings.clone())),
            (key("b"), Process::Ended),
            (key("d"), Process::Running(before[&key("d")].settings.clone())),
        ]);
        let planned: Vec<_> = plan(&after, &observed).into_iter().map(|a| (a.redis.name, a.why)).collect();
        let steps = [("b", "its server ended"), ("c", "the instance is new"), ("d", "its settings changed")];
        assert_eq!(planned, steps.map(|(name, why)| (name.to_owned(), why)));
    }

    #[test]
    fn secrets_are_not_printed() {
        let auth =
            Change::RedisUpdate { redis: key("a"), memory_size_gb: None, configs: None, auth: Some(true) };
        let world = world().apply(&auth, Timestamp(0)).expect("a good change");
        let string = world.redis[&key("a")].auth_string(&world.seed).expect("an AUTH string");
        assert!(wanted(&world)[&key("a")].conf.contains(&format!("requirepass {string}\n")));
        let actions = plan(&wanted(&world), &BTreeMap::new());
        assert!(!format!("{actions:?} {world:?}").contains(&string));
    }
}
