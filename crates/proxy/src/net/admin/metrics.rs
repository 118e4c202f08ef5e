//! The metrics, in the text format of OpenMetrics, which Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::core::{Micros, PoolSnapshot, ServerSnapshot, Snapshot};

/// What an answer in this format is called.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is not counted by workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    /// Seconds since 1970.
    pub(super) started: u64,
    pub(super) workers: usize,
    /// Nobody is accepted any more.
    pub(super) draining: bool,
}

/// A value and its labels beside `pool` and `server`.
type Values = Vec<(Option<(&'static str, &'static str)>, u64)>;

fn one(value: u64) -> Values {
    vec![(None, value)]
}

fn two(label: &'static str, first: (&'static str, u64), second: (&'static str, u64)) -> Values {
    vec![(Some((label, first.0)), first.1), (Some((label, second.0)), second.1)]
}

/// Something that is told of every pool, or of every server.
struct Family<T: 'static> {
    name: &'static str,
    help: &'static str,
    counter: bool,
    values: fn(&T) -> Values,
}

const POOLS: [Family<PoolSnapshot>; 8] = [
    Family {
        name: "clients",
        help: "Clients now",
        counter: false,
        values: |pool| one(pool.stats.client_connections),
    },
    Family {
        name: "dedicated_connections",
        help: "Clients that have a connection to a server to themselves",
        counter: false,
        values: |pool| one(pool.measures.dedicated),
    },
    Family {
        name: "paused_clients",
        help: "Clients that are not read from: over a limit, or waiting for an earlier reply",
        counter: false,
        values: |pool| one(pool.measures.paused),
    },
    Family {
        name: "buffered_bytes",
        help: "Bytes kept for clients and servers",
        counter: false,
        values: |pool| one(pool.measures.buffered),
    },
    Family {
        name: "client_ends",
        help: "Connections that clients ended, or that failed",
        counter: true,
        values: |pool| two("reason", ("eof", pool.stats.client_eof), ("error", pool.stats.client_err)),
    },
    Family {
        name: "forward_errors",
        help: "Requests answered with an error because a server failed",
        counter: true,
        values: |pool| one(pool.stats.forward_error),
    },
    Family {
        name: "fragments",
        help: "Parts of requests that were split over servers",
        counter: true,
        values: |pool| one(pool.stats.fragments),
    },
    Family {
        name: "server_ejections",
        help: "How often a server was left out of the distribution",
        counter: true,
        values: |pool| one(pool.stats.server_ejects),
    },
];

const SERVERS: [Family<ServerSnapshot>; 10] = [
    Family {
        name: "server_up",
        help: "0 when the last attempt to use the server has failed, or it is left out",
        counter: false,
        values: |server| one(u64::from(server.measures.failing + server.measures.ejected == 0)),
    },
    Family {
        name: "server_ejected",
        help: "1 while the server is left out of the distribution",
        counter: false,
        values: |server| one(u64::from(server.measures.ejected > 0)),
    },
    Family {
        name: "server_connections",
        help: "Connections to the server now",
        counter: false,
        values: |server| one(server.stats.server_connections),
    },
    Family {
        name: "server_queued_requests",
        help: "Requests still to be sent, and sent and waiting for a reply",
        counter: false,
        values: |server| two("state", ("unsent", server.stats.in_queue), ("waiting", server.stats.out_queue)),
    },
    Family {
        name: "server_queued_bytes",
        help: "Their bytes",
        counter: false,
        values: |server| {
            two("state", ("unsent", server.stats.in_queue_bytes), ("waiting", server.stats.out_queue_bytes))
        },
    },
    Family {
        name: "server_requests",
        help: "Requests for the server on shared connections",
        counter: true,
        values: |server| one(server.stats.requests),
    },
    Family {
        name: "server_request_bytes",
        help: "Their bytes",
        counter: true,
        values: |server| one(server.stats.request_bytes),
    },
    Family {
        name: "server_responses",
        help: "Replies of the server on shared connections",
        counter: true,
        values: |server| one(server.stats.responses),
    },
    Family {
        name: "server_response_bytes",
        help: "Their bytes",
        counter: true,
        values: |server| one(server.stats.response_bytes),
    },
    Family {
        name: "server_failures",
        help: "Connections to the server that failed, by kind",
        counter: true,
        values: |server| {
            let kinds = server.measures.failures.named();
            kinds.map(|(kind, count)| (Some(("kind", kind)), count)).collect()
        },
    },
];

/// A snapshot as Prometheus gets it.
#[derive(Debug)]
struct Exposition {
    process: Process,
    snapshot: Snapshot,
}

/// All metrics, as text.
pub(super) fn render(process: Process, snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("tombolo_proxy");
    registry.register_collector(Box::new(Exposition { process, snapshot }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        encoder
            .encode_descriptor("build", "The version that runs", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let started = "When the process started, since 1970";
        gauge(encoder, "start_time", started, Some(&Unit::Seconds), self.process.started)?;
        gauge(encoder, "workers", "Threads that serve clients", None, self.process.workers as u64)?;
        let draining = "1 while clients get what is under way before the proxy ends";
        gauge(encoder, "draining", draining, None, self.process.draining.into())?;
        counter(encoder, "connections", "Clients that have ever connected", self.snapshot.total_clients)?;
        for family in &POOLS {
            let mut metric = family.begin(encoder)?;
            for pool in &self.snapshot.pools {
                family.encode(&mut metric, &[("pool", pool.name.as_str())], pool)?;
            }
        }
        for family in &SERVERS {
            let mut metric = family.begin(encoder)?;
            for pool in &self.snapshot.pools {
                for server in &pool.servers {
                    let labels = [("pool", pool.name.as_str()), ("server", server.name.as_str())];
                    family.encode(&mut metric, &labels, server)?;
                }
            }
        }
        self.latencies(encoder)
    }
}

impl Exposition {
    fn latencies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "From a request to its reply, on shared connections";
        let mut metric = encoder.encode_descriptor(
            "request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for pool in &self.snapshot.pools {
            let latency = &pool.measures.latency;
            let labels = [("pool", pool.name.as_str())];
            let buckets = coarse(latency.buckets());
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                latency.total() as f64 / 1e6,
                latency.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// Two buckets to a power of two, from 8 µs on: what is worth storing for each pool. Ends in seconds.
fn coarse(buckets: impl Iterator<Item = (Micros, u64)>) -> Vec<(f64, u64)> {
    let mut coarse = Vec::new();
    let mut sum = 0;
    for (index, (end, count)) in buckets.enumerate() {
        sum += count;
        let seconds = if end == Micros::MAX { f64::INFINITY } else { end as f64 / 1e6 };
        if index >= 7 && index % 2 == 1 {
            coarse.push((seconds, std::mem::take(&mut sum)));
        }
    }
    coarse
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

impl<T> Family<T> {
    fn begin<'a>(
        &'a self,
        encoder: &'a mut DescriptorEncoder<'_>,
    ) -> Result<prometheus_client::encoding::MetricEncoder<'a>, fmt::Error> {
        let kind = if self.counter { MetricType::Counter } else { MetricType::Gauge };
        encoder.encode_descriptor(self.name, self.help, None, kind)
    }

    fn encode(
        &self,
        metric: &mut prometheus_client::encoding::MetricEncoder<'_>,
        labels: &[(&str, &str)],
        of: &T,
    ) -> fmt::Result {
        for (label, value) in (self.values)(of) {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain(label).collect();
            let mut metric = metric.encode_family(&labels)?;
            match self.counter {
                true => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                false => metric.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::exposition::parse;

    #[test]
    fn any_name_is_readable_and_all_replies_are_in_the_buckets() {
        let name = "a\"b\\c\nd} 1";
        let mut pool = PoolSnapshot { name: name.to_string(), ..PoolSnapshot::default() };
        for power in 0..40 {
            pool.measures.latency.record(1 << power, 2);
        }
        pool.servers.push(ServerSnapshot { name: name.to_string(), ..ServerSnapshot::default() });
        let snapshot = Snapshot { pools: vec![pool], ..Snapshot::default() };
        let text = render(Process { started: 1, workers: 1, draining: false }, snapshot).expect("text");
        let samples = parse(&text).expect("metrics");
        let up = samples.iter().find(|sample| sample.name == "tombolo_proxy_server_up").expect("a server");
        assert_eq!((up.label("pool"), up.label("server")), (name, name));
        let buckets: Vec<_> = samples.iter().filter(|sample| sample.name.ends_with("_bucket")).collect();
        let ends: Vec<f64> =
            buckets.iter().map(|sample| sample.label("le").parse().expect("a number")).collect();
        assert!(ends.is_sorted() && ends[0] == 8e-6 && ends[1] == 12e-6, "{ends:?}");
        // 1, 2 and 4 µs; everything.
        let (first, last) = (buckets[0], buckets[buckets.len() - 1]);
        assert_eq!((first.value, last.value, last.label("le")), (6.0, 80.0, "+Inf"));
    }
}
