//! Which command a line is.

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `get`: values.
    Get,
    /// `gets`: values and their unique numbers.
    Gets,
    /// `gat`: as `get`, and sets the time to live.
    Gat,
    /// `gats`: as `gets`, and sets the time to live.
    Gats,
    /// `set`.
    Set,
    /// `add`.
    Add,
    /// `replace`.
    Replace,
    /// `append`.
    Append,
    /// `prepend`.
    Prepend,
    /// `cas`: as `set`, if the value is the one that `gets` gave.
    Cas,
    /// `delete`.
    Delete,
    /// `incr`.
    Increment,
    /// `decr`.
    Decrement,
    /// `touch`.
    Touch,
    /// `flush_all`.
    FlushAll,
    /// `version`.
    Version,
    /// `verbosity`.
    Verbosity,
    /// `quit`.
    Quit,
    /// `mg`.
    MetaGet,
    /// `ms`.
    MetaSet,
    /// `md`.
    MetaDelete,
    /// `ma`.
    MetaArithmetic,
    /// `me`: what the server knows about a key.
    MetaDebug,
    /// `mn`: answered once everything before it is.
    MetaNoop,
    /// One that is about a single server, such as `stats`.
    Server,
}

impl Verb {
    /// The verb that `name` is; names are in lower case.
    pub(crate) fn named(name: &[u8]) -> Option<Verb> {
        Some(match name {
            b"get" => Verb::Get,
            b"set" => Verb::Set,
            b"gets" => Verb::Gets,
            b"gat" => Verb::Gat,
            b"gats" => Verb::Gats,
            b"add" => Verb::Add,
            b"replace" => Verb::Replace,
            b"append" => Verb::Append,
            b"prepend" => Verb::Prepend,
            b"cas" => Verb::Cas,
            b"delete" => Verb::Delete,
            b"incr" => Verb::Increment,
            b"decr" => Verb::Decrement,
            b"touch" => Verb::Touch,
            b"flush_all" => Verb::FlushAll,
            b"version" => Verb::Version,
            b"verbosity" => Verb::Verbosity,
            b"quit" => Verb::Quit,
            b"mg" => Verb::MetaGet,
            b"ms" => Verb::MetaSet,
            b"md" => Verb::MetaDelete,
            b"ma" => Verb::MetaArithmetic,
            b"me" => Verb::MetaDebug,
            b"mn" => Verb::MetaNoop,
            b"stats" | b"shutdown" | b"slabs" | b"lru" | b"lru_crawler" | b"watch" | b"cache_memlimit"
            | b"extstore" | b"refresh_certs" | b"debugtime" | b"misbehave" => Verb::Server,
            _ => return None,
        })
    }

    /// Whether it is a classic command that has any number of keys.
    pub fn is_retrieval(self) -> bool {
        matches!(self, Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats)
    }
}
