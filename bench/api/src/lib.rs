//! Measures Google's APIs as `tombolo serve` answers them, in turn with another emulator where one is.
//!
//! ```text
//!   round: for each contender: a fresh server ─▶ the story ─▶ many resources ─▶ reads, inserts, patches ─▶ killed
//! ```
//!
//! Every answer is looked at: one that is not what was asked for ends the benchmark.

pub mod client;
pub mod measure;
pub mod report;
pub mod requests;
pub mod server;
