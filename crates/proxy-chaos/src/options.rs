//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::mutant::Sabotage;

/// Many clients, many faults, every reply checked. Exit status 0: nothing was wrong; 1: something
/// was; 2: the test could not be run.
#[derive(Debug, Clone, Parser)]
#[command(name = "tombolo-proxy-chaos", version)]
pub struct Options {
    /// Requests to send
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub requests: u64,
    /// What the faults and the requests are drawn from; by default another one each time
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Connections of clients at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: u32,
    /// redis-servers to start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub servers: u8,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The proxy to test [default: tombolo-proxy beside this program]
    #[arg(long, value_name = "FILE")]
    pub proxy: Option<PathBuf>,
    /// Requests from one quiet stretch, where no error is excused, to the next
    #[arg(long, value_name = "N", default_value_t = 400_000)]
    pub storm: u64,
    /// Length of a quiet stretch
    #[arg(long, value_name = "MS", default_value_t = 2_500)]
    pub quiet: u64,
    /// Requests per second, at most, so that few requests meet many faults; 0 for as many as possible
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub rate: u64,
    /// The most memory that the proxy may have [default: what its limits come to]
    #[arg(long, value_name = "MIB")]
    pub max_memory: Option<u64>,
    /// Threads of the proxy
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: u8,
    /// A Redis Cluster of three primaries and three replicas instead of the servers, with slots that
    /// move and failovers
    #[arg(long, conflicts_with = "tls")]
    pub cluster: bool,
    /// TLS between clients and proxy, and between proxy and servers
    #[arg(long)]
    pub tls: bool,
    /// Say each fault
    #[arg(short, long)]
    pub verbose: bool,
    /// Test this wrong proxy instead, with one server and no faults: it must be found out. `deaf`:
    /// the right one, which is not told that its configuration has changed
    #[arg(long, value_enum, hide = true)]
    pub mutant: Option<Sabotage>,
}

impl Options {
    /// What the proxy is in front of and how, in words.
    pub fn stage(&self) -> String {
        let servers = if self.cluster { "Redis Cluster" } else { "servers" };
        let tls = if self.tls { ", TLS" } else { "" };
        format!("{servers}{tls}, {} threads of the proxy", self.threads.max(1))
    }
}

/// The form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}
