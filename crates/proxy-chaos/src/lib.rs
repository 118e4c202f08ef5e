//! The chaos test of tombolo-proxy: many clients whose replies prove who asked for what, servers
//! that are killed, frozen and cut off, clients that leave in the middle of a request, and a check
//! of every reply.
//!
//! ```text
//!  client ─▶ script ─▶ pipeline ─▶ proxy ─▶ (relay) ─▶ redis-server
//!    │                                        ▲            ▲
//!    └◀── expect ◀── keys (model)             └─ schedule ─┘ ─▶ board: what is excused
//! ```
//!
//! What clients do together is checked at the end, too: counters that several raise in transactions
//! which watch them (`model::Raises`), and messages and list elements from one client to another
//! (`model::Feed`). `reload` rewrites the configuration meanwhile, which excuses nothing. `cluster` is a
//! Redis Cluster in the servers' place, whose faults lose nothing either.
//!
//! A token says who wrote it, and to which key; every key has one client. So a reply for somebody
//! else, in another place, of a write that ran twice, or without a write that was acknowledged, is
//! noticed. An error is excused only by a fault of the server that the request depends on, at the
//! time. `mutant` is a proxy that is wrong on purpose, and must be found out.

pub mod board;
pub mod cast;
pub mod client;
pub mod cluster;
pub mod connection;
pub mod expect;
pub mod keys;
pub mod layout;
pub mod memory;
pub mod model;
pub mod mutant;
pub mod options;
pub mod process;
pub mod relay;
pub mod reload;
pub mod report;
pub mod run;
pub mod schedule;
pub mod script;
pub mod secure;
pub mod shared;
pub mod stage;
pub mod token;
pub mod torment;
pub mod verdict;

pub use options::{Format, Options};
pub use report::Report;
pub use run::run;
