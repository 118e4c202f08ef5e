//! The lab: a World, the agent that holds its packets, and what keeps the two equal.
//!
//! [`Lab`] owns both and makes changes; a [`View`] looks at them and asks (names, traces, probes, checks), in the
//! server itself or in a CLI process that got the World over the [`control`] socket and talks to the same agent.
//! A [`Cloud`] has a lab that is changed over [`http`] and outlives its server in a [`store`].

pub mod checks;
pub mod cloud;
pub mod control;
pub mod firewall_log;
pub mod flow_log;
pub mod guest;
pub mod http;
mod known;
pub mod lab;
mod log_entry;
mod note;
pub mod paths;
pub mod run;
pub mod seed;
pub mod ssh;
pub mod status;
pub mod store;
pub mod view;
pub mod vms;

pub use cloud::{Begin, Cloud, CloudError, CloudOptions, Starting};
pub use lab::{Lab, LabError, LazyVms, Options};
pub use view::View;

/// The name under which an endpoint's redis-server runs.
pub const REDIS_PROGRAM: &str = "redis-server";
/// The name under which an instance's startup script runs.
pub const STARTUP_SCRIPT: &str = "startup-script";

/// Now, for changes.
pub fn now() -> tombolo_model::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    tombolo_model::Timestamp(since.as_millis() as i64)
}
