//! What tombolo-proxy is meant to reach, and whether it does. Other points have no target.

use crate::contender::Kind;
use crate::measure::Metric;
use crate::point::{Op, Point};
use crate::results::PointResults;

/// A target at a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Where.
    pub point: Point,
    /// What is compared.
    pub metric: Metric,
    /// With whom.
    pub rival: Kind,
    /// The ratio that was measured.
    pub ratio: f64,
    /// The ratio that it is to be on the right side of.
    pub bound: f64,
    /// Whether it is.
    pub holds: bool,
}

/// Checks every target for which there are figures.
pub fn check(results: &[PointResults]) -> Vec<Check> {
    let mut checks = Vec::new();
    for results in results {
        for (metric, rival, bound) in targets(results.point) {
            let Some(ratio) = results.ratio(metric, rival) else { continue };
            // More is better for a rate only.
            let holds = if metric == Metric::Rate { ratio >= bound } else { ratio <= bound };
            checks.push(Check { point: results.point, metric, rival, ratio, bound, holds });
        }
    }
    checks
}

/// The targets at `point`: a metric, a rival, and the ratio.
fn targets(point: Point) -> Vec<(Metric, Kind, f64)> {
    let peers = || Kind::ALL.into_iter().filter(|kind| kind.is_peer());
    let mut targets = Vec::new();
    if point.op == Op::Idle {
        return vec![(Metric::Memory, Kind::Nutcracker, 1.0)];
    }
    if point.pipeline == 1 {
        for peer in peers() {
            let bound = match (peer, point.clients) {
                (Kind::Nutcracker, 50) => 0.8,
                (Kind::Nutcracker, 500) => 0.55,
                _ => 1.0,
            };
            targets.push((Metric::Cpu, peer, bound));
        }
    } else {
        targets.push((Metric::Cpu, Kind::Nutcracker, 0.15));
        targets.push((Metric::Cpu, Kind::Predixy, 0.6));
    }
    targets.push((Metric::Cpu, Kind::FLOOR, 1.25));
    if point.clients == 500 && point.pipeline == 1 {
        targets.push((Metric::Rate, Kind::Direct, 1.0));
    }
    targets.extend(peers().filter(|peer| peer.parses()).map(|peer| (Metric::P99, peer, 1.0)));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    fn held(point: &str, metric: Metric, rival: Kind, ratio: f64) -> Option<bool> {
        let rounds: [(Kind, &[f64]); 2] = [(Kind::Tombolo, &[ratio]), (rival, &[1.0])];
        let checks = check(&[results(point, metric, &rounds)]);
        assert!(checks.len() <= 1);
        checks.first().map(|check| check.holds)
    }

    #[test]
    fn bounds() {
        for (point, metric, rival, within, beyond) in [
            ("get/64/1x1", Metric::Cpu, Kind::Haproxy, 0.99, 1.01),
            ("get/64/50x1", Metric::Cpu, Kind::Nutcracker, 0.79, 0.81),
            ("get/64/500x1", Metric::Cpu, Kind::Nutcracker, 0.54, 0.56),
            ("get/64/5000x1", Metric::Cpu, Kind::Nutcracker, 0.99, 1.01),
            ("get/64/50x16", Metric::Cpu, Kind::Nutcracker, 0.14, 0.16),
            ("set/64/50x100", Metric::Cpu, Kind::Predixy, 0.59, 0.61),
            ("get/64/50x100", Metric::Cpu, Kind::FLOOR, 1.24, 1.26),
            ("get/64/500x1", Metric::Rate, Kind::Direct, 1.01, 0.99),
            ("get/64/50x1", Metric::P99, Kind::Envoy, 0.99, 1.01),
            ("idle/10000", Metric::Memory, Kind::Nutcracker, 0.99, 1.01),
        ] {
            assert_eq!(held(point, metric, rival, within), Some(true), "{point} {rival}");
            assert_eq!(held(point, metric, rival, beyond), Some(false), "{point} {rival}");
        }
        assert_eq!(held("get/64/50x16", Metric::Cpu, Kind::Haproxy, 9.0), None);
        assert_eq!(held("get/64/50x1", Metric::P99, Kind::Haproxy, 9.0), None);
    }
}
