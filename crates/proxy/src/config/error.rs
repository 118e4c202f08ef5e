//! Why a configuration is refused.

use thiserror::Error;

/// What is wrong with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Problem {
    /// No such key.
    #[error("unknown key")]
    UnknownKey,
    /// The key is there twice.
    #[error("duplicate key")]
    Duplicate,
    /// A required key is not there.
    #[error("missing key")]
    Missing,
    /// A list, a map or a scalar where another was expected.
    #[error("wrong type")]
    WrongType,
    /// A value that means nothing here.
    #[error("bad value")]
    BadValue,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("{file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// The file is not YAML, or not a map of pools.
    #[error("{file}:{line}: {reason}")]
    Document {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What was found and expected.
        reason: String,
    },
    /// A pool has a problem.
    #[error("{file}:{line}: pool '{pool}', key '{key}': {problem}: {found}; expected {expected}")]
    Pool {
        /// The file.
        file: String,
        /// The line, from 1: the value's, or the pool's when a key is missing.
        line: usize,
        /// The pool's name.
        pool: String,
        /// The key.
        key: String,
        /// What kind of problem it is.
        problem: Problem,
        /// The value, quoted, or what was found in its place.
        found: Box<str>,
        /// What would have been right.
        expected: Box<str>,
    },
}
