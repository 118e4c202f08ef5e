//! What an instance's redis-server is told: its configuration when it starts, and commands when that changes while it
//! runs. Both are handed over on stdin: no secret of them reaches a file or a process list.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use tombolo_model::{Redis, Seed};

/// Commands that Memorystore blocks, of those that redis-server 7.0 can take away whole, but CONFIG.
/// Source: Google's documentation of Memorystore for Redis, "Product constraints".
const BLOCKED: [&str; 12] = [
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLUSTER",
    "DEBUG",
    "LASTSAVE",
    "MIGRATE",
    "MONITOR",
    "REPLICAOF",
    "SAVE",
    "SHUTDOWN",
    "SLAVEOF",
];

/// The parameters that can be changed, and what they are while nobody has: Memorystore's default of the policy, and
/// redis-server's of the others.
const DEFAULTS: [(&str, &str); 7] = [
    ("activedefrag", "no"),
    ("lfu-decay-time", "1"),
    ("lfu-log-factor", "10"),
    ("maxmemory-policy", "volatile-lru"),
    ("notify-keyspace-events", ""),
    ("stream-node-max-bytes", "4096"),
    ("stream-node-max-entries", "100"),
];

/// Where a server with TLS finds its certificate and key, in its own endpoint's private folder.
pub const TLS_FILE: &str = "/run/redis-tls.pem";

/// What can change of a server that runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Every parameter that can change, by name.
    config: BTreeMap<String, String>,
    /// What clients must say to AUTH.
    password: Option<String>,
    /// What CONFIG is called for nobody but the lab; without a name the command is gone.
    admin: Option<String>,
}

/// Without its secrets.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The settings of an instance.
pub fn settings(redis: &Redis, seed: &Seed) -> Settings {
    let said = |name: &str, default: &str| redis.configs.get(name).map_or(default, String::as_str).to_owned();
    let mut config: BTreeMap<_, _> =
        DEFAULTS.iter().map(|(name, default)| ((*name).to_owned(), said(name, default))).collect();
    config.insert("maxmemory".to_owned(), redis.max_memory().to_string());
    let admin = || format!("config-{}", seed.uuid(&format!("redis {} config", redis.id)));
    Settings { config, password: redis.auth_string(seed), admin: (!seed.is_empty()).then(admin) }
}

/// The text of redis.conf for an instance.
pub fn redis_conf(redis: &Redis, settings: &Settings) -> String {
    let mut conf =
        format!("bind {}\nprotected-mode no\ndaemonize no\ndir /tmp\nsave \"\"\nappendonly no\n", redis.host);
    let _ = match redis.tls {
        false => writeln!(conf, "port {}", redis.port),
        // Clients show no certificate: SERVER_AUTHENTICATION.
        true => writeln!(
            conf,
            "port 0\ntls-port {}\ntls-cert-file {TLS_FILE}\ntls-key-file {TLS_FILE}\ntls-auth-clients no",
            redis.port
        ),
    };
    for (name, value) in &settings.config {
        let _ = writeln!(conf, "{name} {}", quoted(value));
    }
    if let Some(password) = &settings.password {
        let _ = writeln!(conf, "requirepass {password}");
    }
    let _ = writeln!(conf, "rename-command CONFIG {}", quoted(settings.admin.as_deref().unwrap_or_default()));
    for command in BLOCKED {
        let _ = writeln!(conf, "rename-command {command} \"\"");
    }
    conf
}

/// The commands that make a server with the settings `from` one with `to`, a line each; none if it has no CONFIG.
/// What is not as it was is said in one command, which redis-server 7.0 does whole or not at all.
pub fn commands(from: &Settings, to: &Settings) -> Option<String> {
    let admin = from.admin.as_ref()?;
    let mut lines = String::new();
    if let Some(password) = &from.password {
        let _ = writeln!(lines, "AUTH {password}");
    }
    let mut set = String::new();
    for (name, value) in to.config.iter().filter(|(name, value)| from.config.get(*name) != Some(value)) {
        let _ = write!(set, " {name} {}", quoted(value));
    }
    if from.password != to.password {
        let _ = write!(set, " requirepass {}", quoted(to.password.as_deref().unwrap_or_default()));
    }
    let _ = writeln!(lines, "{admin} SET{set}");
    Some(lines)
}

/// No value has quotes or backslashes in it.
fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(password: Option<&str>, policy: &str) -> Settings {
        Settings {
            config: BTreeMap::from(
                [("maxmemory-policy", policy), ("maxmemory", "1")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
            password: password.map(str::to_owned),
            admin: Some("config-x".into()),
        }
    }

    #[test]
    fn only_what_changes_is_said() {
        for (from, to, lines) in [
            (with(None, "a"), with(None, "b"), "config-x SET maxmemory-policy b\n"),
            (with(None, "a"), with(Some("p"), "b"), "config-x SET maxmemory-policy b requirepass p\n"),
            (with(None, "a"), with(Some("p"), "a"), "config-x SET requirepass p\n"),
            (with(Some("p"), "a"), with(None, "a"), "AUTH p\nconfig-x SET requirepass \"\"\n"),
        ] {
            assert_eq!(commands(&from, &to).as_deref(), Some(lines));
        }
        let blind = Settings { admin: None, ..with(None, "a") };
        assert_eq!(commands(&blind, &with(None, "b")), None);
        assert!(!format!("{:?}", with(Some("secret"), "a")).contains("secret"));
    }
}
