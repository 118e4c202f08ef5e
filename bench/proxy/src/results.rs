//! Figures of all rounds, their medians, and the ratios that are medians of a round's ratios.

use crate::contender::{Contender, Kind};
use crate::measure::{self, Figures, Metric, Outcome};
use crate::point::Point;

/// The figures of a contender at a point, round by round.
#[derive(Debug)]
pub struct Series {
    /// The contender.
    pub kind: Kind,
    /// Its figures; as many as there are rounds, or none when it is unable.
    pub rounds: Vec<Figures>,
    /// Why it has none.
    pub unable: Option<String>,
}

/// Everybody's figures at a point.
#[derive(Debug)]
pub struct PointResults {
    /// The point.
    pub point: Point,
    /// The contenders, in the order in which they were measured.
    pub series: Vec<Series>,
}

impl Series {
    /// The median of `metric`.
    pub fn median(&self, metric: Metric) -> Option<f64> {
        median(self.rounds.iter().filter_map(|figures| figures.get(&metric).copied()).collect())
    }
}

impl PointResults {
    /// Measures everybody in turn, `rounds` times.
    pub fn measure(
        contenders: &[Contender],
        point: Point,
        rounds: u32,
        scale: f64,
        mut progress: impl FnMut(u32, Kind),
    ) -> anyhow::Result<PointResults> {
        let series =
            |contender: &Contender| Series { kind: contender.kind, rounds: Vec::new(), unable: None };
        let mut series: Vec<Series> = contenders.iter().map(series).collect();
        for round in 1..=rounds {
            for (contender, series) in contenders.iter().zip(&mut series) {
                if series.unable.is_some() {
                    continue;
                }
                progress(round, contender.kind);
                match measure::once(contender, point, scale)? {
                    Outcome::Measured(figures) => series.rounds.push(figures),
                    Outcome::Unable(reason) => series.unable = Some(reason),
                }
            }
        }
        Ok(PointResults { point, series })
    }

    /// The figures of `kind`.
    pub fn of(&self, kind: Kind) -> Option<&Series> {
        self.series.iter().find(|series| series.kind == kind)
    }

    /// How many times the figure of `rival` tombolo-proxy has; the median of the rounds' ratios.
    pub fn ratio(&self, metric: Metric, rival: Kind) -> Option<f64> {
        let (ours, theirs) = (self.of(Kind::Tombolo)?, self.of(rival)?);
        let pairs = ours.rounds.iter().zip(&theirs.rounds);
        median(
            pairs
                .filter_map(|(ours, theirs)| Some((*ours.get(&metric)?, *theirs.get(&metric)?)))
                .filter(|&(_, theirs)| theirs > 0.0)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        )
    }
}

/// The one in the middle, or between the two that are.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Results at `point` where `series` has the figures of one metric, round by round.
    pub(crate) fn results(point: &str, metric: Metric, series: &[(Kind, &[f64])]) -> PointResults {
        let rounds = |values: &[f64]| values.iter().map(|&value| Figures::from([(metric, value)])).collect();
        let series = series.iter();
        PointResults {
            point: point.parse().expect("a point"),
            series: series
                .map(|&(kind, values)| Series { kind, rounds: rounds(values), unable: None })
                .collect(),
        }
    }

    #[test]
    fn medians() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![3.0, 1.0], Some(2.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
        ] {
            assert_eq!(median(values.clone()), expected, "{values:?}");
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds: [(Kind, &[f64]); 2] =
            [(Kind::Tombolo, &[10.0, 20.0, 30.0]), (Kind::FLOOR, &[5.0, 20.0, 60.0])];
        let results = results("get/64/1x1", Metric::Cpu, &rounds);
        // Of 2, 1 and 0.5.
        assert_eq!(results.ratio(Metric::Cpu, Kind::FLOOR), Some(1.0));
        assert_eq!(results.ratio(Metric::Rate, Kind::FLOOR), None);
        assert_eq!(results.ratio(Metric::Cpu, Kind::Haproxy), None);
    }
}
