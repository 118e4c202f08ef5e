//! The configuration of an instance's redis-server. It is handed over on stdin: no secret of it reaches a file or
//! a process list.

use std::fmt::Write;
use tombolo_model::Redis;

/// Commands that Memorystore blocks, of those that redis-server 7.0 can take away whole.
/// Source: Google's documentation of Memorystore for Redis, "Product constraints".
const BLOCKED: [&str; 13] = [
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLUSTER",
    "CONFIG",
    "DEBUG",
    "LASTSAVE",
    "MIGRATE",
    "MONITOR",
    "REPLICAOF",
    "SAVE",
    "SHUTDOWN",
    "SLAVEOF",
];

/// The text of redis.conf for an instance.
pub fn redis_conf(redis: &Redis) -> String {
    let mut conf = format!(
        "bind {}\nport {}\nprotected-mode no\ndaemonize no\ndir /tmp\nsave \"\"\nappendonly no\n\
         maxmemory {}gb\nmaxmemory-policy volatile-lru\n",
        redis.host, redis.port, redis.memory_size_gb
    );
    for command in BLOCKED {
        let _ = writeln!(conf, "rename-command {command} \"\"");
    }
    conf
}
