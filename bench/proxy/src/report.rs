//! Results as text and as JSON. No colours, whatever the terminal.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::contender::Kind;
use crate::measure::Metric;
use crate::results::{PointResults, Series};
use crate::targets::Check;

/// A table for a point: a row for each contender, with the medians, and in the second half how
/// many times its figure tombolo-proxy has.
pub fn table(results: &PointResults) -> String {
    let rounds = results.series.iter().map(|series| series.rounds.len()).max().unwrap_or(0);
    let mut out = format!("{}, medians of {rounds} rounds\n", results.point);
    let _ = write!(out, "{:12}", "");
    for metric in Metric::ALL {
        let _ = write!(out, "{metric:>9}");
    }
    let _ = write!(out, "{:>9}    tombolo ÷", Metric::Others);
    for metric in Metric::ALL {
        let _ = write!(out, "{metric:>9}");
    }
    out.push('\n');
    for series in &results.series {
        let _ = write!(out, "{:12}", series.kind);
        match &series.unable {
            Some(reason) => out.push_str(&format!("  — {reason}")),
            None => row(&mut out, results, series),
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn row(out: &mut String, results: &PointResults, series: &Series) {
    for metric in Metric::ALL {
        let _ = write!(out, "{:>9}", figure(series.median(metric)));
    }
    let others = series.median(Metric::Others).map_or("—".to_string(), |percent| format!("{percent:.0}"));
    let _ = write!(out, "{others:>9}{:13}", "");
    if series.kind != Kind::Tombolo {
        for metric in Metric::ALL {
            let ratio = results.ratio(metric, series.kind);
            let _ = write!(out, "{:>9}", ratio.map_or("—".to_string(), |ratio| format!("{ratio:.2}")));
        }
    }
}

/// Three digits, or a dash.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "—".to_string(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) if value >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// A line for each target; those that hold first.
pub fn targets(checks: &[Check]) -> String {
    let mut out = String::new();
    for holds in [true, false] {
        for check in checks.iter().filter(|check| check.holds == holds) {
            let Check { point, metric, rival, ratio, bound, .. } = check;
            let verdict = if holds { "holds " } else { "MISSED" };
            let sign = if *metric == Metric::Rate { '≥' } else { '≤' };
            let point = point.to_string();
            let _ = writeln!(
                out,
                "{verdict}  {point:16} {metric:8} {ratio:6.2} × {rival:10}  target {sign} {bound}"
            );
        }
    }
    let held = checks.iter().filter(|check| check.holds).count();
    let _ = writeln!(out, "{held} of {} targets hold", checks.len());
    out
}

/// Everything, with the figures of each round.
pub fn json(results: &[PointResults], checks: &[Check]) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "point": check.point.to_string(),
                "metric": check.metric.name(),
                "rival": check.rival.name(),
                "ratio": check.ratio,
                "target": check.bound,
                "holds": check.holds,
            })
        })
        .collect();
    json!({ "points": results.iter().map(point).collect::<Vec<Value>>(), "targets": checks })
}

fn point(results: &PointResults) -> Value {
    let contenders: Map<String, Value> = results
        .series
        .iter()
        .map(|series| {
            let value = match &series.unable {
                Some(reason) => json!({ "unable": reason }),
                None => contender(results, series),
            };
            (series.kind.name().to_string(), value)
        })
        .collect();
    json!({ "point": results.point.to_string(), "contenders": contenders })
}

fn contender(results: &PointResults, series: &Series) -> Value {
    let rounds: Vec<Value> = series
        .rounds
        .iter()
        .map(|figures| object(|metric| figures.get(&metric).copied(), &[Metric::Others]))
        .collect();
    let ratios = object(|metric| results.ratio(metric, series.kind), &[]);
    json!({ "median": object(|metric| series.median(metric), &[Metric::Others]), "tombolo_ratio": ratios, "rounds": rounds })
}

/// The metrics that have a value, and `more` if they do.
fn object(value: impl Fn(Metric) -> Option<f64>, more: &[Metric]) -> Value {
    let metrics = Metric::ALL.iter().chain(more).copied();
    let entries = metrics.filter_map(|metric| Some((metric.name().to_string(), json!(value(metric)?))));
    Value::Object(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;
    use crate::targets::check;

    fn example() -> PointResults {
        let rounds: [(Kind, &[f64]); 3] = [
            (Kind::Tombolo, &[9.0, 10.0, 50.0]),
            (Kind::Nutcracker, &[20.0, 20.0, 20.0]),
            (Kind::Haproxy, &[]),
        ];
        let mut results = results("get/64/50x1", Metric::Cpu, &rounds);
        results.series[2].unable = Some("has no descriptors".to_string());
        results
    }

    #[test]
    fn a_table_has_medians_and_ratios() {
        let text = table(&example());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "get/64/50x1, medians of 3 rounds");
        assert!(lines[2].starts_with("tombolo          10.0"), "{text}");
        assert!(lines[3].contains("20.0") && lines[3].contains("0.50"), "{text}");
        assert_eq!(lines[4], "haproxy       — has no descriptors");
        let verdicts = targets(&check(&[example()]));
        assert!(verdicts.contains("holds   get/64/50x1      CPU s/M    0.50 × nutcracker"), "{verdicts}");
        assert!(verdicts.contains("1 of 1 targets hold"), "{verdicts}");
    }

    #[test]
    fn json_has_every_round() {
        let value = json(&[example()], &check(&[example()]));
        let contenders = &value["points"][0]["contenders"];
        assert_eq!(contenders["tombolo"]["rounds"][2]["cpu_seconds_per_million_requests"], 50.0);
        assert_eq!(contenders["nutcracker"]["tombolo_ratio"]["cpu_seconds_per_million_requests"], 0.5);
        assert_eq!(contenders["haproxy"]["unable"], "has no descriptors");
        assert_eq!(value["targets"][0]["holds"], true);
    }
}
