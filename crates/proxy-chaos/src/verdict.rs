//! What can be wrong.

use serde::Serialize;

/// A kind of failure; any of them fails the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// A reply with something of another client.
    Misdelivered,
    /// A reply that belongs to another request of the same client.
    Reordered,
    /// A write whose effect is there twice, or came back.
    Duplicated,
    /// No reply, or an acknowledged write that is gone although its server lived on.
    Lost,
    /// A transaction that ran although what it watched had changed.
    NotIsolated,
    /// A configuration that was told and does not hold, or a broken one that changed something.
    NotReloaded,
    /// A connection that was closed, or a proxy that is gone, for no reason.
    UnexpectedClose,
    /// An error that is not one of the documented ones, or without a fault.
    UnexpectedError,
}

impl Wrong {
    /// Every kind.
    pub const ALL: [Wrong; 8] = [
        Wrong::Misdelivered,
        Wrong::Reordered,
        Wrong::Duplicated,
        Wrong::Lost,
        Wrong::NotIsolated,
        Wrong::NotReloaded,
        Wrong::UnexpectedClose,
        Wrong::UnexpectedError,
    ];

    /// Its name in words.
    pub fn text(self) -> &'static str {
        match self {
            Wrong::Misdelivered => "misdelivered",
            Wrong::Reordered => "reordered",
            Wrong::Duplicated => "duplicated",
            Wrong::Lost => "lost",
            Wrong::NotIsolated => "not isolated",
            Wrong::NotReloaded => "not reloaded",
            Wrong::UnexpectedClose => "unexpected close",
            Wrong::UnexpectedError => "unexpected error",
        }
    }
}

/// A failure and how it was noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub wrong: Wrong,
    /// What was expected and what came.
    pub story: String,
}

impl Finding {
    /// A finding with its story.
    pub fn new(wrong: Wrong, story: impl Into<String>) -> Finding {
        Finding { wrong, story: story.into() }
    }
}
