//! The table of commands of Redis 7.0, and where each keeps its keys.
//!
//! `commands.txt` is the one source: it is written from the answer of `COMMAND` of a live server
//! (`TOMBOLO_BLESS=1 cargo test -p tombolo-resp --test live_commands`), and that test fails when
//! the file and the server disagree. What Redis does not report, which commands depend on the
//! connection they are sent on, is in `STATEFUL` below.

pub mod access;
mod keys;
mod table;

pub use keys::KeyError;
pub use table::lookup;

use keys::KeySpec;

/// Commands whose effect or answer depends on the connection's own state, or that change it: they
/// must never reach a connection that clients share.
const STATEFUL: &[&str] = &[
    "asking",
    "auth",
    "client",
    "discard",
    "exec",
    "hello",
    "monitor",
    "multi",
    "psync",
    "quit",
    "readonly",
    "readwrite",
    "replconf",
    "reset",
    "script|debug",
    "select",
    "sync",
    "unwatch",
    "wait",
    "watch",
];

/// A set of properties of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// It only reads.
    pub const READONLY: Flags = Flags(1);
    /// It may write.
    pub const WRITE: Flags = Flags(2);
    /// It may wait for other clients before it answers.
    pub const BLOCKING: Flags = Flags(4);
    /// It publishes, subscribes or unsubscribes.
    pub const PUBSUB: Flags = Flags(8);
    /// It administers the server.
    pub const ADMIN: Flags = Flags(16);
    /// It uses or changes the state of the connection it is sent on.
    pub const STATEFUL: Flags = Flags(32);
    /// The server runs it even while a script keeps it busy.
    pub const ALLOW_BUSY: Flags = Flags(64);

    /// Whether every property of `other` is in this set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any property of `other` is in this set.
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    fn named(name: &str) -> Flags {
        match name {
            "readonly" => Flags::READONLY,
            "write" => Flags::WRITE,
            "blocking" => Flags::BLOCKING,
            "pubsub" => Flags::PUBSUB,
            "admin" => Flags::ADMIN,
            "allow_busy" => Flags::ALLOW_BUSY,
            _ => Flags::default(),
        }
    }
}

/// A command, or a subcommand such as `object|encoding`.
#[derive(Debug)]
pub struct Command {
    /// In lower case; `container|subcommand` for a subcommand.
    pub name: &'static str,
    /// The number of arguments with the name, as Redis counts: exactly `n` when positive, at
    /// least `-n` when negative.
    pub arity: i32,
    /// Its properties.
    pub flags: Flags,
    keys: Vec<KeySpec>,
    container: bool,
}

impl Command {
    /// Whether what it is depends on its first argument.
    pub fn has_subcommands(&self) -> bool {
        self.container || self.name.contains('|')
    }

    /// Whether a subcommand was asked for that is not known.
    pub fn is_container(&self) -> bool {
        self.container
    }

    /// Whether a request of `args` arguments, the name included, has an acceptable number.
    pub fn accepts(&self, args: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { args >= least } else { args == least }
    }

    /// Whether the command can have keys at all.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// Commands of later servers that wait, in lower case: on a shared connection everyone behind them
/// would wait too, so a proxy has to know them although the table does not.
pub const LATER_BLOCKING: &[&str] = &["waitaof"];
