//! What Redis's access control knows about commands: their categories, and whether they read or
//! write their keys.
//!
//! `access.txt` is written from the answer of `COMMAND` of a live server, and tested against it, by
//! tests/live_commands.rs.

use std::collections::HashMap;
use std::sync::LazyLock;

const TEXT: &str = include_str!("access.txt");

/// Every category, in the order of `ACL CAT`.
pub const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// What a command does with a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAccess {
    /// It, or what is left of it, comes back or goes elsewhere.
    pub read: bool,
    /// It is changed or made.
    pub write: bool,
}

/// What access control knows about a command.
#[derive(Debug)]
pub struct Access {
    /// In lower case; `container|subcommand` for a subcommand.
    pub name: &'static str,
    /// Its place in [`all`].
    pub index: usize,
    categories: u32,
    first: Option<KeyAccess>,
    rest: Option<KeyAccess>,
}

impl Access {
    /// Whether it is in a category, which is its place in [`CATEGORIES`].
    pub fn is_in(&self, category: usize) -> bool {
        self.categories >> category & 1 == 1
    }

    /// What it does with the first of its keys, or with those behind it; `None` when that is not a
    /// key to access control, but the name of a channel.
    pub fn of_key(&self, first: bool) -> Option<KeyAccess> {
        if first { self.first } else { self.rest }
    }
}

static TABLE: LazyLock<Vec<Access>> = LazyLock::new(|| {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
    lines.enumerate().map(|(index, line)| parse(index, line)).collect()
});

static INDEX: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| TABLE.iter().map(|access| (access.name, access.index)).collect());

/// Every command and subcommand.
pub fn all() -> &'static [Access] {
    &TABLE
}

/// A command by its name in lower case.
pub fn access(name: &str) -> Option<&'static Access> {
    INDEX.get(name).map(|&index| &TABLE[index])
}

/// `name categories access`; the file is ours and tested whole, so a bad line is a bug.
fn parse(index: usize, line: &'static str) -> Access {
    let mut fields = line.split(' ');
    let mut field = || fields.next().expect("access.txt: three fields in a line");
    let name = field();
    let bit = |name: &str| {
        let place = CATEGORIES.iter().position(|category| *category == name);
        1 << place.expect("access.txt: a category")
    };
    let categories = field().split(',').filter(|name| *name != "-").map(bit).sum();
    let keys = field();
    let (first, rest) = keys.split_once(',').unwrap_or((keys, keys));
    let key = |text: &str| {
        let access = KeyAccess { read: text.contains('R'), write: text.contains('W') };
        (text != "N").then_some(access)
    };
    Access { name, index, categories, first: key(first), rest: key(rest) }
}
