//! One contender at one point, once.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::contender::{Contender, Running};
use crate::load::{Load, READ};
use crate::point::{Op, Point};
use crate::process;
use crate::workload::{Answer, Workload};

/// The longest that the measured part of a run may take.
const LIMIT: Duration = Duration::from_secs(4);
/// How long idle clients are silent before memory is looked at.
const IDLE: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// CPU time of the proxy: seconds per million requests.
    Cpu,
    /// Thousands of requests per second.
    Rate,
    /// The median of latency, in ms.
    P50,
    /// The 99th percentile of latency, in ms.
    P99,
    /// The proxy's memory, in MiB: the peak of it, or what it has when all clients are idle.
    Memory,
    /// How much of the machine was busy with something else, in percent: what to distrust a run
    /// for.
    Others,
}

impl Metric {
    /// All that say something about a contender.
    pub const ALL: [Metric; 5] = [Metric::Cpu, Metric::Rate, Metric::P50, Metric::P99, Metric::Memory];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Cpu => "cpu_seconds_per_million_requests",
            Metric::Rate => "thousand_requests_per_second",
            Metric::P50 => "p50_ms",
            Metric::P99 => "p99_ms",
            Metric::Memory => "memory_mib",
            Metric::Others => "others_percent",
        }
    }
}

/// For the heads of columns.
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Metric::Cpu => "CPU s/M",
            Metric::Rate => "k req/s",
            Metric::P50 => "p50 ms",
            Metric::P99 => "p99 ms",
            Metric::Memory => "RSS MiB",
            Metric::Others => "others %",
        })
    }
}

/// What a run has measured. Direct Redis has no proxy, and so no CPU time and no memory; idle
/// clients have memory only.
pub type Figures = BTreeMap<Metric, f64>;

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With figures.
    Measured(Figures),
    /// The contender can not do this, for this reason.
    Unable(String),
}

/// Measures `contender` at `point`, with `scale` times the usual number of requests. A wrong
/// reply is an error.
pub fn once(contender: &Contender, point: Point, scale: f64) -> anyhow::Result<Outcome> {
    if let Some(reason) = contender.unable(point) {
        return Ok(Outcome::Unable(reason));
    }
    let running = contender.start(point.servers())?;
    let workload = Workload::new(point, READ);
    let answer = workload.prepare(point, running.port);
    match answer.with_context(|| format!("{} does not do {point}", contender.kind))? {
        Answer::Refused(reply) => Ok(Outcome::Unable(format!("answers {reply}"))),
        Answer::Right => {
            for &(_, port) in &running.servers {
                ensure!(Workload::has_keys(port)?, "{}: a server has no keys at {point}", contender.kind);
            }
            let figures = figures(&running, &workload, point, scale);
            figures.map(Outcome::Measured).with_context(|| format!("{} at {point}", contender.kind))
        }
    }
}

fn figures(running: &Running, workload: &Workload, point: Point, scale: f64) -> anyhow::Result<Figures> {
    let mut load = Load::connect(running.port, workload, point.clients)?;
    let mut figures = Figures::new();
    if point.op == Op::Idle {
        load.once()?;
        thread::sleep(IDLE);
        if let Some(proxy) = &running.proxy {
            figures.insert(Metric::Memory, proxy.memory_kib("VmRSS")? as f64 / 1024.0);
        }
        return Ok(figures);
    }
    let requests = point.requests(scale);
    load.run((requests / 10).max((point.clients * point.pipeline) as u64), LIMIT / 3)?;
    let before = Cpu::now(running)?;
    let outcome = load.run(requests, LIMIT)?;
    let after = Cpu::now(running)?;
    load.finish()?;
    let done = outcome.requests as f64;
    if let (Some(before), Some(after)) = (before.proxy, after.proxy) {
        figures.insert(Metric::Cpu, (after - before).as_secs_f64() / done * 1e6);
    }
    let others = (after.machine - before.machine).saturating_sub(after.ours - before.ours);
    let whole = outcome.elapsed.as_secs_f64() * thread::available_parallelism()?.get() as f64;
    figures.insert(Metric::Others, others.as_secs_f64() / whole * 100.0);
    figures.insert(Metric::Rate, done / outcome.elapsed.as_secs_f64() / 1e3);
    figures.insert(Metric::P50, outcome.latency.value_at_quantile(0.5) as f64 / 1e3);
    figures.insert(Metric::P99, outcome.latency.value_at_quantile(0.99) as f64 / 1e3);
    if let Some(proxy) = &running.proxy {
        figures.insert(Metric::Memory, proxy.memory_kib("VmHWM")? as f64 / 1024.0);
    }
    Ok(figures)
}

/// CPU time until now.
struct Cpu {
    /// Of the proxy.
    proxy: Option<Duration>,
    /// Of everything that belongs to the run: load, proxy, servers.
    ours: Duration,
    /// Of everything.
    machine: Duration,
}

impl Cpu {
    fn now(running: &Running) -> anyhow::Result<Cpu> {
        let proxy = running.proxy.as_ref().map(|proxy| process::cpu(proxy.pid())).transpose()?;
        let mut ours = process::cpu(std::process::id())? + proxy.unwrap_or_default();
        for (server, _) in &running.servers {
            ours += process::cpu(server.pid())?;
        }
        Ok(Cpu { proxy, ours, machine: process::machine_cpu()? })
    }
}
