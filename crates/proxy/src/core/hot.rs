//! Which keys are asked for most: some requests' keys, counted in bounded memory, while somebody
//! wants to know.
//!
//! The counting is the space-saving algorithm (Metwally, Agrawal, El Abbadi 2005): a new key takes
//! the place of the rarest and inherits its count, so a key that is more frequent than one in
//! `KEYS` is never missed, and each count is too high by `excess` at most.

use std::collections::HashMap;

use tombolo_resp::{RequestParser, Step, command, usual};

use super::limits::SHOWN_KEY_BYTES;
use super::{Core, Micros};
use crate::config::Protocol;

/// Keys that are counted, of a pool.
pub(super) const KEYS: usize = 256;
/// One in so many requests is looked at, on average.
pub const SAMPLE: u64 = 16;

/// How often a key was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// So often at most.
    pub count: u64,
    /// The count may be too high by this.
    pub excess: u64,
}

/// The keys of a pool that were seen most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    keys: HashMap<Vec<u8>, Seen>,
    /// Keys seen in all.
    total: u64,
}

impl Sketch {
    fn see(&mut self, key: &[u8]) {
        self.total += 1;
        // Long keys are told apart by how they start.
        let key = &key[..key.len().min(SHOWN_KEY_BYTES)];
        if let Some(seen) = self.keys.get_mut(key) {
            seen.count += 1;
            return;
        }
        let mut excess = 0;
        if self.keys.len() >= KEYS
            && let Some(rarest) =
                self.keys.iter().min_by_key(|(_, seen)| seen.count).map(|(key, _)| key.clone())
        {
            excess = self.keys.remove(&rarest).map_or(0, |seen| seen.count);
        }
        self.keys.insert(key.to_vec(), Seen { count: excess + 1, excess });
    }

    /// How many keys were looked at.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The keys that were seen most, and how often; the first [`SHOWN_KEY_BYTES`] of each.
    pub fn top(&self, most: usize) -> Vec<(&[u8], Seen)> {
        let mut all: Vec<(&[u8], Seen)> =
            self.keys.iter().map(|(key, seen)| (key.as_slice(), *seen)).collect();
        all.sort_by_key(|(key, seen)| (std::cmp::Reverse(seen.count - seen.excess), *key));
        all.truncate(most);
        all
    }

    /// Adds what another one has seen.
    pub fn add(&mut self, other: Sketch) {
        self.total += other.total;
        for (key, seen) in other.keys {
            let mine = self.keys.entry(key).or_default();
            mine.count += seen.count;
            mine.excess += seen.excess;
        }
    }
}

/// What is seen while somebody wants to know.
#[derive(Debug)]
pub(super) struct Sampling {
    /// By pool.
    sketches: Vec<Sketch>,
    /// Requests until the next one that is looked at.
    wait: u64,
    until: Micros,
}

impl Core {
    /// Begins to look at keys, and goes on until `until`, or until they are asked for.
    pub fn sample_keys(&mut self, until: Micros) {
        let sketches = self.pools.iter().map(|_| Sketch::default()).collect();
        self.sampling = Some(Box::new(Sampling { sketches, wait: 1, until }));
    }

    /// What was seen, by pool, since `sample_keys`. Nothing is looked at any more.
    pub fn sampled_keys(&mut self) -> Vec<(String, Sketch)> {
        let Some(sampling) = self.sampling.take() else { return Vec::new() };
        let names = self.pools.iter().map(|pool| pool.config.name.clone());
        names.zip(sampling.sketches).collect()
    }

    /// Looks at one of about [`SAMPLE`] requests; `wire` has `count` of them.
    #[cold]
    pub(super) fn sample(&mut self, pool: usize, count: u32, wire: &[u8], now: Micros) {
        let Some(mut sampling) = self.sampling.take() else { return };
        if now > sampling.until {
            return;
        }
        let protocol = self.pools[pool].config.protocol;
        let mut left = u64::from(count);
        let mut at = 0;
        while sampling.wait <= left {
            for _ in 1..sampling.wait {
                at += usual(&wire[at..]).map_or(0, |request| request.length);
            }
            if let Some(sketch) = sampling.sketches.get_mut(pool) {
                at += see(sketch, protocol, &wire[at..]);
            }
            left -= sampling.wait;
            // Clients have their rhythms; this has none.
            sampling.wait = 1 + self.roll() % (2 * SAMPLE - 1);
        }
        sampling.wait -= left;
        self.sampling = Some(sampling);
    }
}

/// Takes note of the keys of the request that `wire` starts with; returns its bytes.
fn see(sketch: &mut Sketch, protocol: Protocol, wire: &[u8]) -> usize {
    if protocol == Protocol::Memcache {
        let mut parser = tombolo_memcache::RequestParser::default();
        let Ok(tombolo_memcache::Step::Complete(length)) = parser.advance(wire) else { return 0 };
        parser.request(wire).keys().for_each(|key| sketch.see(key));
        return length;
    }
    let mut parser = RequestParser::default();
    let Ok(Step::Complete(length)) = parser.advance(wire) else { return 0 };
    let request = parser.request(wire);
    if let Some(command) = command::lookup(request.name(), request.arg(1)) {
        // A request without keys, or with a wrong number of them, is asked for nothing.
        let _ = command.keys(&request, |_, key| sketch.see(key));
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_keys_are_found_among_many() {
        let mut sketch = Sketch::default();
        for round in 0..20_000u32 {
            sketch.see(format!("rare:{round}").as_bytes());
            if round % 20 == 0 {
                sketch.see(b"hot");
            }
            if round % 40 == 0 {
                sketch.see(b"warm");
            }
        }
        assert_eq!((sketch.keys.len(), sketch.total()), (KEYS, 21_500));
        let top = sketch.top(2);
        assert_eq!([top[0].0, top[1].0], [b"hot".as_slice(), b"warm"]);
        for ((_, seen), true_count) in top.iter().zip([1000, 500]) {
            assert!(seen.count >= true_count && seen.count - seen.excess <= true_count, "{seen:?}");
        }
    }

    #[test]
    fn long_keys_are_bounded_and_sums_are_sums() {
        let (mut one, mut two) = (Sketch::default(), Sketch::default());
        one.see(&[b'x'; 10_000]);
        two.see(&[b'x'; 9_000]);
        two.see(b"y");
        one.add(two);
        assert_eq!(one.total(), 3);
        let longest = [b'x'; SHOWN_KEY_BYTES];
        assert_eq!(
            one.top(9),
            [(longest.as_slice(), Seen { count: 2, excess: 0 }), (b"y", Seen { count: 1, excess: 0 })]
        );
    }
}
