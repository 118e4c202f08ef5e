//! Memorystore for Redis: from instances to redis-server processes. Pure: what should run, what does, and so what
//! to start; the server starts it inside the lab.

pub mod conf;
pub mod plan;

pub use conf::redis_conf;
pub use plan::{Action, Process, Wanted, plan, wanted};
