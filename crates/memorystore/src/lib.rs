//! Memorystore for Redis: from instances to redis-server processes. Pure: what should run, what does, and so what
//! to start and what to tell; the server does it inside the lab.

pub mod conf;
pub mod plan;
pub mod tls;

pub use conf::{Settings, TLS_FILE, redis_conf, settings};
pub use plan::{Action, Process, Step, Wanted, plan, wanted};
