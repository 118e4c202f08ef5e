//! Medians over rounds, as a table and as JSON.

use crate::measure::Figures;
use serde_json::{Value, json};
use std::fmt::Write;

/// A contender's figures, round by round.
#[derive(Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its rounds.
    pub rounds: Vec<Figures>,
}

impl Series {
    /// The figures of that name, sorted.
    fn sorted(&self, name: &str) -> Vec<f64> {
        let mut values: Vec<f64> = self.rounds.iter().filter_map(|round| round.get(name).copied()).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The one in the middle, or between the two that are.
    fn median(&self, name: &str) -> Option<f64> {
        let values = self.sorted(name);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(f64::midpoint(lower, upper))
    }
}

/// A line for each figure: the medians, and in parentheses the least and the greatest.
pub fn table(figures: &[(&str, &str)], all: &[Series]) -> String {
    let mut out = format!("{:<26}", "");
    for series in all {
        let _ = write!(out, "{:>28}", series.name);
    }
    for (name, unit) in figures {
        let _ = write!(out, "\n{name:<24}{unit:>2}");
        for series in all {
            let values = series.sorted(name);
            let text = match (series.median(name), values.first(), values.last()) {
                (Some(median), Some(least), Some(most)) => {
                    format!("{} ({}-{})", digits(median), digits(*least), digits(*most))
                }
                _ => "does not do it".to_owned(),
            };
            let _ = write!(out, "{text:>28}");
        }
    }
    out + "\n"
}

/// The same for programs, with every round.
pub fn json(figures: &[(&str, &str)], all: &[Series]) -> Value {
    let series = |series: &Series| {
        let medians: serde_json::Map<String, Value> = figures
            .iter()
            .filter_map(|(name, _)| Some(((*name).to_owned(), json!(series.median(name)?))))
            .collect();
        json!({ "name": series.name, "medians": medians, "rounds": series.rounds })
    };
    let units: serde_json::Map<String, Value> =
        figures.iter().map(|(name, unit)| ((*name).to_owned(), json!(unit))).collect();
    json!({ "units": units, "contenders": all.iter().map(series).collect::<Vec<_>>() })
}

/// Three digits that count.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_what_is_missing() {
        let rounds = |values: &[f64]| values.iter().map(|value| Figures::from([("story", *value)])).collect();
        let series = Series { name: "a".into(), rounds: rounds(&[4.0, 100.0, 2.0, 3.0]) };
        assert_eq!(series.median("story"), Some(3.5));
        assert_eq!(series.median("patch p50"), None);
        let text = table(&[("story", "ms"), ("patch p50", "ms")], &[series]);
        assert!(text.contains("3.50 (2.00-100)") && text.contains("does not do it"), "{text}");
    }
}
