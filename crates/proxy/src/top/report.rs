//! What two answers of a proxy say about the time between them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::exposition::Sample;

/// What happened between two looks at a proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The version of the proxy.
    pub version: String,
    /// How long it has been running.
    pub uptime_seconds: f64,
    /// Its threads that serve clients.
    pub workers: u64,
    /// Whether it is about to end.
    pub draining: bool,
    /// The time between the looks.
    pub interval_seconds: f64,
    /// The pools, as they are configured.
    pub pools: Vec<PoolReport>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolReport {
    /// Its name.
    pub name: String,
    /// Requests to its servers.
    pub requests_per_second: f64,
    /// Half of the replies came within this.
    pub p50_seconds: Option<f64>,
    /// All but one in a hundred came within this.
    pub p99_seconds: Option<f64>,
    /// Requests that were answered with an error because a server failed.
    pub errors_per_second: f64,
    /// Clients now.
    pub clients: u64,
    /// Those that have a connection to themselves.
    pub dedicated: u64,
    /// Those that are not read from.
    pub paused: u64,
    /// Bytes that are kept.
    pub buffered_bytes: u64,
    /// The servers, as they are configured.
    pub servers: Vec<ServerReport>,
    /// The keys that were asked for most; `None` when nobody has looked.
    pub hot_keys: Option<Vec<HotKey>>,
    /// Its slow requests, the latest first; `None` when it has no slow log.
    pub slow: Option<Vec<SlowRequest>>,
}

/// A server of a pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerReport {
    /// Its name.
    pub name: String,
    /// `up`, `down` or `ejected`.
    pub state: &'static str,
    /// Requests to it.
    pub requests_per_second: f64,
    /// Their bytes.
    pub request_bytes_per_second: f64,
    /// Bytes of its replies.
    pub response_bytes_per_second: f64,
    /// Requests without a reply now.
    pub pending: u64,
    /// Connections now.
    pub connections: u64,
    /// Failed connections since the proxy has started, by kind, where there were some.
    pub failures: BTreeMap<String, u64>,
}

/// A key that is asked for often.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HotKey {
    /// The key, or how it starts.
    pub key: String,
    /// Estimated from those requests that were looked at.
    pub requests_per_second: f64,
    /// Its part of all keys of the pool, from 0 to 1.
    pub share: f64,
}

/// A request that took long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowRequest {
    /// When it was answered, in seconds since 1970.
    pub timestamp: u64,
    /// How long it took, in microseconds.
    pub duration: u64,
    /// Who asked.
    pub client: String,
    /// Who answered.
    pub server: String,
    /// What was asked, as far as it is told.
    pub arguments: Vec<String>,
}

/// The answer to `/slowlog`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SlowLog {
    pools: Vec<PoolSlowLog>,
}

#[derive(Debug, Clone, Deserialize)]
struct PoolSlowLog {
    pool: String,
    slowlog: Vec<SlowRequest>,
}

/// What is known of pools beside metrics, as far as it was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Details {
    pub(super) keys: Option<Keys>,
    pub(super) slow: Option<SlowLog>,
}

/// The answer to `/hotkeys`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Keys {
    seconds: f64,
    one_in: f64,
    pools: Vec<PoolKeys>,
}

#[derive(Debug, Clone, Deserialize)]
struct PoolKeys {
    pool: String,
    seen: u64,
    keys: Vec<SeenKey>,
}

#[derive(Debug, Clone, Deserialize)]
struct SeenKey {
    key: String,
    count: u64,
    excess: u64,
}

impl Report {
    /// Whether every server may be used.
    pub fn is_well(&self) -> bool {
        self.pools.iter().all(|pool| pool.servers.iter().all(|server| server.state == "up"))
    }
}

/// Compares two looks, `seconds` apart; `now` is the time since 1970.
pub(super) fn compare(
    before: &[Sample],
    after: &[Sample],
    details: &Details,
    seconds: f64,
    now: f64,
) -> Result<Report, String> {
    let after = Look(after);
    let started = after.get("start_time_seconds", &[]).ok_or("there are no metrics of a tombolo-proxy")?;
    // A process that is new has counted from 0.
    let same = Look(before).get("start_time_seconds", &[]) == Some(started);
    let looks = Looks { before: Look(if same { before } else { &[] }), after, seconds };
    let pools = looks.after.all("clients").map(|sample| looks.pool(sample.label("pool"), details));
    let version = looks.after.all("build_info").next().map_or("", |sample| sample.label("version"));
    Ok(Report {
        version: version.to_string(),
        uptime_seconds: (now - started).max(0.0).floor(),
        workers: looks.gauge("workers", &[]),
        draining: looks.gauge("draining", &[]) > 0,
        interval_seconds: seconds,
        pools: pools.collect(),
    })
}

/// The metrics at one time.
#[derive(Clone, Copy)]
struct Look<'a>(&'a [Sample]);

impl<'a> Look<'a> {
    fn all(self, name: &'static str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name.strip_prefix("tombolo_proxy_") == Some(name))
    }

    fn get(self, name: &'static str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| labels.iter().all(|(label, value)| sample.label(label) == *value);
        let values: Vec<f64> = self.all(name).filter(fits).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The ends of the buckets of a pool's latency, and how many replies there were up to each.
    fn latency(self, pool: &str) -> Vec<(f64, f64)> {
        let buckets =
            self.all("request_duration_seconds_bucket").filter(|sample| sample.label("pool") == pool);
        buckets.map(|sample| (sample.label("le").parse().unwrap_or(f64::INFINITY), sample.value)).collect()
    }
}

struct Looks<'a> {
    before: Look<'a>,
    after: Look<'a>,
    seconds: f64,
}

impl Looks<'_> {
    fn rate(&self, name: &'static str, labels: &[(&str, &str)]) -> f64 {
        let [before, after] = [self.before, self.after].map(|look| look.get(name, labels).unwrap_or(0.0));
        (after - before).max(0.0) / self.seconds
    }

    fn gauge(&self, name: &'static str, labels: &[(&str, &str)]) -> u64 {
        self.after.get(name, labels).unwrap_or(0.0) as u64
    }

    fn pool(&self, name: &str, details: &Details) -> PoolReport {
        let labels = [("pool", name)];
        let before = self.before.latency(name);
        let mut took = self.after.latency(name);
        for (bucket, (_, count)) in took.iter_mut().zip(before) {
            bucket.1 -= count;
        }
        let servers = self.after.all("server_up").filter(|sample| sample.label("pool") == name);
        PoolReport {
            name: name.to_string(),
            requests_per_second: self.rate("server_requests_total", &labels),
            p50_seconds: quantile(&took, 0.5),
            p99_seconds: quantile(&took, 0.99),
            errors_per_second: self.rate("forward_errors_total", &labels),
            clients: self.gauge("clients", &labels),
            dedicated: self.gauge("dedicated_connections", &labels),
            paused: self.gauge("paused_clients", &labels),
            buffered_bytes: self.gauge("buffered_bytes", &labels),
            servers: servers.map(|server| self.server(name, server.label("server"), server.value)).collect(),
            hot_keys: details.keys.as_ref().map(|keys| keys.of(name)),
            slow: details.slow.as_ref().and_then(|slow| slow.of(name)),
        }
    }

    fn server(&self, pool: &str, name: &str, up: f64) -> ServerReport {
        let labels = [("pool", pool), ("server", name)];
        let failures = self.after.all("server_failures_total").filter(|sample| {
            sample.value > 0.0 && labels.iter().all(|(label, value)| sample.label(label) == *value)
        });
        ServerReport {
            name: name.to_string(),
            state: match (self.gauge("server_ejected", &labels), up > 0.0) {
                (0, true) => "up",
                (0, false) => "down",
                _ => "ejected",
            },
            requests_per_second: self.rate("server_requests_total", &labels),
            request_bytes_per_second: self.rate("server_request_bytes_total", &labels),
            response_bytes_per_second: self.rate("server_response_bytes_total", &labels),
            pending: self.gauge("server_queued_requests", &labels),
            connections: self.gauge("server_connections", &labels),
            failures: failures
                .map(|sample| (sample.label("kind").to_string(), sample.value as u64))
                .collect(),
        }
    }
}

impl SlowLog {
    fn of(&self, pool: &str) -> Option<Vec<SlowRequest>> {
        self.pools.iter().find(|slow| slow.pool == pool).map(|slow| slow.slowlog.clone())
    }
}

impl Keys {
    fn of(&self, pool: &str) -> Vec<HotKey> {
        let Some(pool) = self.pools.iter().find(|keys| keys.pool == pool) else { return Vec::new() };
        let certain = |key: &SeenKey| (key.count - key.excess.min(key.count)) as f64;
        let keys = pool.keys.iter().map(|key| HotKey {
            key: key.key.clone(),
            requests_per_second: certain(key) * self.one_in / self.seconds,
            share: certain(key) / pool.seen.max(1) as f64,
        });
        keys.collect()
    }
}

/// The time within which a part of the replies came, as Prometheus's `histogram_quantile` estimates
/// it. `None` without replies.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = part * total;
    let (mut from, mut below) = (0.0, 0.0);
    for &(to, count) in buckets {
        if count >= rank {
            let within = (rank - below) / (count - below).max(f64::MIN_POSITIVE);
            return Some(if to.is_finite() { from + (to - from) * within } else { from });
        }
        (from, below) = (to, count);
    }
    Some(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::exposition::parse;

    fn look(requests: u64, fast: u64, slow: u64, started: u64) -> Vec<Sample> {
        let all = fast + slow;
        parse(&format!(
            "tombolo_proxy_build_info{{version=\"1\"}} 1\n\
             tombolo_proxy_start_time_seconds {started}\n\
             tombolo_proxy_workers 2\n\
             tombolo_proxy_clients{{pool=\"a\"}} 3\n\
             tombolo_proxy_clients{{pool=\"b\"}} 4\n\
             tombolo_proxy_server_up{{pool=\"a\",server=\"x\"}} 1\n\
             tombolo_proxy_server_up{{pool=\"b\",server=\"x\"}} 0\n\
             tombolo_proxy_server_ejected{{pool=\"b\",server=\"x\"}} 0\n\
             tombolo_proxy_server_failures_total{{pool=\"b\",server=\"x\",kind=\"refused\"}} 7\n\
             tombolo_proxy_server_failures_total{{pool=\"b\",server=\"x\",kind=\"tls\"}} 0\n\
             tombolo_proxy_server_requests_total{{pool=\"a\",server=\"x\"}} {requests}\n\
             tombolo_proxy_request_duration_seconds_bucket{{pool=\"a\",le=\"0.001\"}} {fast}\n\
             tombolo_proxy_request_duration_seconds_bucket{{pool=\"a\",le=\"0.003\"}} {all}\n\
             tombolo_proxy_request_duration_seconds_bucket{{pool=\"a\",le=\"+Inf\"}} {all}\n"
        ))
        .expect("metrics")
    }

    #[test]
    fn rates_and_quantiles_are_those_of_the_time_between() {
        let (before, after) = (look(100, 1000, 5, 50), look(300, 1090, 15, 50));
        let report = compare(&before, &after, &Details::default(), 2.0, 60.0).expect("a report");
        assert_eq!((report.version.as_str(), report.uptime_seconds, report.workers), ("1", 10.0, 2));
        let pool = &report.pools[0];
        assert_eq!((pool.requests_per_second, pool.clients), (100.0, 3));
        let p99 = pool.p99_seconds.expect("replies");
        assert!((0.00279..0.00281).contains(&p99), "{p99}");
        assert!(pool.p50_seconds.is_some_and(|p50| (0.00055..0.00056).contains(&p50)));
        assert_eq!(report.pools[1].p50_seconds, None);
        let server = &report.pools[1].servers[0];
        assert_eq!((server.state, server.failures["refused"], server.failures.len()), ("down", 7, 1));
        assert!(!report.is_well());
    }

    #[test]
    fn a_new_process_has_counted_from_nothing() {
        let report = compare(&look(100, 10, 0, 50), &look(30, 1, 0, 70), &Details::default(), 1.0, 71.0)
            .expect("a report");
        assert_eq!(report.pools[0].requests_per_second, 30.0);
        assert!(compare(&[], &[], &Details::default(), 1.0, 0.0).is_err());
    }

    #[test]
    fn keys_are_estimated_from_what_was_looked_at() {
        let answer = r#"{"seconds": 2, "one_in": 16, "pools":
            [{"pool": "a", "seen": 50, "keys": [{"key": "k", "count": 30, "excess": 5}]}]}"#;
        let keys = Some(serde_json::from_str(answer).expect("keys"));
        let answer = r#"{"pools": [{"pool": "b", "slowlog": [{"id": 1, "timestamp": 2, "duration": 3,
            "client": "c", "server": "s", "arguments": ["GET", "k"]}]}]}"#;
        let slow = Some(serde_json::from_str(answer).expect("a slow log"));
        let look = look(0, 0, 0, 0);
        let report = compare(&look, &look, &Details { keys, slow }, 2.0, 0.0).expect("a report");
        let key = HotKey { key: "k".to_string(), requests_per_second: 200.0, share: 0.5 };
        assert_eq!(report.pools[0].hot_keys, Some(vec![key]));
        assert_eq!(report.pools[1].hot_keys, Some(vec![]));
        assert_eq!(report.pools[0].slow, None);
        assert!(report.pools[1].slow.as_ref().is_some_and(|slow| slow[0].arguments == ["GET", "k"]));
    }
}
