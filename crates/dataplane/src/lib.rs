//! From a Fabric to the kernel: **render → observe → plan → apply**.
//!
//! ```text
//!   Fabric --render--> Desired --+
//!                                +--plan--> Plan: edits, each with its reason --apply--> kernel
//!   kernel --observe-> Observed -+
//! ```
//!
//! `render` and `plan` are pure. A [`State`] is plain data that both the wish and the observation are
//! made of, so a converged kernel plans nothing. One namespace is one router or one endpoint:
//!
//! ```text
//!   vm-1 (namespace)            vpc-1 (router namespace)                       vpc-2 (router)
//!   eth0 10.1.0.2/32 ---veth--- v0a010002   gates, routes   p<vpc-2> ---veth--- p<vpc-1>
//! ```
//!
//! The host's own namespaces are never touched: all this happens inside the agent's.

pub mod changes;
pub mod connection;
pub mod differ;
pub mod fault;
pub mod forwarding;
pub mod host;
pub mod ipv6;
pub mod lazy;
pub mod linux;
pub mod plan;
pub mod probe;
pub mod render;
pub mod rerender;
pub mod rules;
mod signposts;
pub mod small;
pub mod state;
pub mod table;

pub use changes::Changes;
pub use connection::{Connection, Tracked, Volume};
pub use fault::{Fault, Faults, Place};
pub use lazy::Sleepers;
pub use plan::{Edit, Op, Plan, plan};
pub use probe::{Counted, Probe, Seen};
pub use render::{render, render_with};
pub use rerender::Rendered;
pub use rules::Ruleset;
pub use state::{Desired, Link, Lookup, Namespace, Neighbour, Observed, Route, RouteVia, State};
pub use table::Table;
