//! Measures the lab itself: how fast many VMs come up, go and change, and what they cost.
//!
//! ```text
//!   round: floor ─▶ `tombolo up` ─▶ memory ─▶ `tombolo down` ─▶ `tombolo serve` with the same World ─▶ changes, each
//!          with connections that must obey as soon as it is answered ─▶ killed
//! ```
//! `traffic` measures streams and round trips instead: see [`traffic`]. The floor is the same number of namespaces, links, addresses and routes, made by a loop that does nothing else: see
//! [`floor`]. What does not come out as it should ends the benchmark.

pub mod floor;
pub mod lab;
pub mod measure;
pub mod traffic;
pub mod world;
