//! The benchmark of tombolo-proxy: CPU, throughput, latency and memory, in turn with its peers.
//!
//! ```text
//!  point ─▶ workload ─┐
//!                     ├─▶ measure::once ─▶ Figures ─▶ results ─▶ report, targets
//!  contender ─────────┘    (load, process)
//! ```
//!
//! A round measures every contender once, one after the other, each with processes of its own
//! that are gone before the next one starts. Medians are taken over rounds, and ratios within a
//! round, so that a machine that is slow for a minute is slow for everybody.
//!
//! What never happens: a figure from a run with a wrong reply; a process that outlives the run; a
//! socket that listens beyond loopback.

pub mod contender;
pub mod floor;
pub mod frame;
pub mod load;
pub mod measure;
mod peers;
pub mod point;
pub mod process;
pub mod report;
pub mod results;
pub mod targets;
pub mod workload;
