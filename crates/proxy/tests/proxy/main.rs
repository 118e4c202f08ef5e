//! tombolo-proxy as its users meet it: the binary between real servers and clients; and the core in random schedules.
//!
//! One program for all, since each more is linked for as long as all of these run.

mod acl;
mod cluster;
mod cluster_simulation;
mod commands;
mod common;
mod config;
mod deploy;
mod descriptors;
mod dice;
mod drain;
mod event_loop;
mod every_command;
mod failures;
mod garbage;
mod limits;
mod log;
mod memcache;
mod metrics;
mod operation;
mod own;
mod placement;
mod reload;
mod replication;
mod several;
mod simulation;
mod threads;
mod tls;
mod top;
mod users;
