//! Clients, servers and time around the core, with every decision taken from the input.
//!
//! ```text
//!  honest clients ─┐                        ┌─ servers that answer as Redis does
//!  wild clients   ─┼─▶ core::Core ──▶ ──────┼─ servers that refuse, close, send anything
//!                  └── bytes cut anywhere ──┘
//! ```
//!
//! What must hold, whatever the wild ones do: an honest client gets its own answers, in its order,
//! and errors only if something failed; what reaches a server is well formed, and on a shared
//! connection free of state; buffers stay within the limits; the clock asks for nothing that is past;
//! and in the end nobody waits.

mod client;
mod script;
mod server;
mod settle;
mod world;

use script::Script;
use world::World;

/// Decisions that are taken of one input at most.
const MAX_STEPS: usize = 3000;

/// A pool: its text, the password of its clients, and what its connections start with.
pub(crate) struct Setting {
    text: &'static str,
    password: Option<&'static str>,
    greeting: &'static [&'static [&'static str]],
    limited: bool,
}

const SETTINGS: [Setting; 4] = [
    Setting {
        text: "p:\n  listen: a:1\n  redis: true\n  servers: [\"a:2:1\"]\n",
        password: None,
        greeting: &[],
        limited: false,
    },
    Setting {
        text: "p:\n  listen: a:1\n  redis: true\n  hash_tag: \"<>\"\n  timeout: 50\n  server_connections: 2\n  servers: [\"a:2:1\", \"a:3:2\", \"a:4:1\"]\n",
        password: None,
        greeting: &[],
        limited: false,
    },
    Setting {
        text: "p:\n  listen: a:1\n  redis: true\n  redis_auth: secret\n  redis_db: 1\n  timeout: 50\n  servers: [\"a:2:1\"]\n",
        password: Some("secret"),
        greeting: &[&["AUTH", "secret"], &["SELECT", "1"]],
        limited: false,
    },
    Setting {
        text: "p:\n  listen: a:1\n  redis: true\n  hash_tag: \"<>\"\n  distribution: modula\n  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 20\n  client_connections: 4\n  redis_auth: secret\n  servers: [\"a:2:1\", \"a:3:1\"]\n",
        password: Some("secret"),
        greeting: &[&["AUTH", "secret"]],
        limited: true,
    },
];

pub(crate) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let setting = &SETTINGS[script.below(SETTINGS.len())];
    let mode = script.byte();
    let mut world = World::new(setting, mode & 1 != 0, mode & 6 == 6);
    for _ in 0..MAX_STEPS {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
    }
    world.settle();
}
