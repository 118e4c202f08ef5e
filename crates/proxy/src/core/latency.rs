//! How long requests take, in a histogram of fixed size.
//!
//! ```text
//!  µs       0 1 2 3 │ 4 5 6 7 │ 8 10 12 14 │ 16 20 24 28 │ … │ 16.7 s 20.9 s 25.1 s 29.3 s and more
//!  bucket   0 1 2 3 │ 4 5 6 7 │ 8  9 10 11 │ 12 …
//! ```
//!
//! Log-linear: four buckets to each power of two, so what is read from it is wrong by a quarter at
//! most. Adding to it is a count of leading zeros and two additions.

use super::Micros;

/// The number of buckets.
pub const BUCKETS: usize = 96;
/// Buckets to a power of two, as a power of two.
const STEPS: u32 = 2;

/// How many requests took how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    counts: [u64; BUCKETS],
    total: Micros,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { counts: [0; BUCKETS], total: 0 }
    }
}

impl Latency {
    /// `count` requests took `time` each.
    #[inline]
    pub fn record(&mut self, time: Micros, count: u64) {
        self.counts[bucket(time)] += count;
        self.total = self.total.wrapping_add(time.wrapping_mul(count));
    }

    /// The sum of all times.
    pub fn total(&self) -> Micros {
        self.total
    }

    /// How many requests there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets: the time that everything in it is below, and how much is in it. The last has no
    /// such time, and `Micros::MAX`.
    pub fn buckets(&self) -> impl Iterator<Item = (Micros, u64)> {
        self.counts.iter().enumerate().map(|(index, &count)| (end(index), count))
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Latency) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total = self.total.wrapping_add(other.total);
    }
}

#[inline]
fn bucket(time: Micros) -> usize {
    let power = 63 - (time | 1).leading_zeros();
    if power < STEPS {
        return time as usize;
    }
    let step = (time >> (power - STEPS)) as usize & ((1 << STEPS) - 1);
    ((((power - STEPS + 1) as usize) << STEPS) + step).min(BUCKETS - 1)
}

/// The first time that is above a bucket.
fn end(index: usize) -> Micros {
    if index + 1 >= BUCKETS {
        return Micros::MAX;
    }
    let next = index as u64 + 1;
    match next >> STEPS {
        0 => next,
        power => ((1 << STEPS) + (next & ((1 << STEPS) - 1))) << (power - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_below_the_end_of_its_bucket_and_not_below_that_of_the_one_before() {
        let powers = (0..64).map(|power| 1u64 << power);
        for time in (0..5000).chain(powers.flat_map(|at| [at - 1, at, at + 1, at + at / 3])) {
            let index = bucket(time);
            assert!(time < end(index) || index == BUCKETS - 1, "{time} in {index}");
            assert!(index == 0 || time >= end(index - 1), "{time} in {index}");
        }
        assert_eq!(bucket(Micros::MAX), BUCKETS - 1);
        assert_eq!([end(3), end(4), end(11), end(12), end(BUCKETS - 2)], [4, 5, 16, 20, 29_360_128]);
    }

    #[test]
    fn buckets_are_a_quarter_wide_at_most() {
        for index in 4..BUCKETS - 1 {
            let (from, to) = (end(index - 1), end(index));
            assert!(to > from && (to - from) * 4 <= from, "{from} to {to}");
        }
    }

    #[test]
    fn what_is_added_is_there() {
        let (mut one, mut two) = (Latency::default(), Latency::default());
        one.record(100, 16);
        two.record(100, 1);
        two.record(1_000_000, 2);
        one.add(&two);
        assert_eq!((one.count(), one.total()), (19, 1700 + 2_000_000));
        let full: Vec<(Micros, u64)> = one.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(full, [(112, 17), (1_048_576, 2)]);
    }
}
