//! Which server of a pool holds a key: the same one as twemproxy chooses, byte for byte, so that
//! a proxy can be replaced without moving data.
//!
//! ```text
//!  key ─▶ hash_tag: the part between two characters, if any ─▶ hash ─▶ distribution ─▶ server
//! ```
//!
//! `tests/proxy/placement` compares every hash and distribution with Debian's nutcracker.
//!
//! A pool over a Redis Cluster has a table of slots instead, which changes while it is used; see
//! [`slots`].

mod hash;
mod md5;
pub mod slots;

pub use hash::Hash;
use slots::{ReadFrom, SlotTable};

/// Points of a server of average weight on the ketama circle.
const POINTS_PER_SERVER: u32 = 160;
/// Points that one MD5 makes.
const POINTS_PER_HASH: u32 = 4;

/// How a hash becomes a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// Consistent hashing: the first point at or after the hash on a circle.
    #[default]
    Ketama,
    /// The hash modulo the sum of weights.
    Modula,
    /// Any server, whatever the key.
    Random,
}

impl Distribution {
    /// Every distribution.
    pub const ALL: [Distribution; 3] = [Distribution::Ketama, Distribution::Modula, Distribution::Random];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Distribution::Ketama => "ketama",
            Distribution::Modula => "modula",
            Distribution::Random => "random",
        }
    }
}

/// The function from keys to servers of one pool.
#[derive(Debug, Clone)]
pub struct Placement {
    hash: Hash,
    hash_tag: Option<(u8, u8)>,
    /// Their names and weights.
    servers: Vec<(String, u32)>,
    distribution: Distribution,
    table: Table,
}

#[derive(Debug, Clone)]
enum Table {
    /// Points and their servers, in order of the points.
    Ketama(Vec<(u32, usize)>),
    /// Where the units of weight of each server end, and the server.
    Modula(Vec<(u32, usize)>),
    /// Servers.
    Random(Vec<usize>),
    /// A Redis Cluster.
    Slots(Box<SlotTable>),
}

impl Placement {
    /// A placement over `servers`, each with the name that is hashed and a weight of at least 1.
    pub fn new(
        distribution: Distribution,
        hash: Hash,
        hash_tag: Option<(u8, u8)>,
        servers: &[(&str, u32)],
    ) -> Placement {
        let servers: Vec<(String, u32)> =
            servers.iter().map(|(name, weight)| (name.to_string(), *weight)).collect();
        let table = table(distribution, &servers, &vec![true; servers.len()]);
        Placement { hash, hash_tag, servers, distribution, table }
    }

    /// The placement of a Redis Cluster, of which nothing is known yet.
    pub fn cluster(reads: ReadFrom) -> Placement {
        Placement {
            hash: Hash::default(),
            hash_tag: None,
            servers: Vec::new(),
            distribution: Distribution::default(),
            table: Table::Slots(Box::new(SlotTable::new(reads))),
        }
    }

    /// The table of a Redis Cluster; `None` for other pools.
    pub fn slots(&self) -> Option<&SlotTable> {
        match &self.table {
            Table::Slots(table) => Some(table),
            _ => None,
        }
    }

    /// The table of a Redis Cluster, to change it.
    pub fn slots_mut(&mut self) -> Option<&mut SlotTable> {
        match &mut self.table {
            Table::Slots(table) => Some(table),
            _ => None,
        }
    }

    /// Whether there is one server, and always will be: it can have every request as it is.
    pub fn is_single(&self) -> bool {
        self.servers.len() == 1
    }

    /// The server that messages go over, and requests that any server may answer.
    pub fn first(&self) -> usize {
        self.slots().and_then(|table| table.primaries().first()).map_or(0, |&(_, server)| server)
    }

    /// The servers that have all keys between them.
    pub fn everywhere(&self) -> Vec<usize> {
        match self.slots() {
            Some(table) => table.primaries().iter().map(|&(_, server)| server).collect(),
            None => (0..self.servers.len()).collect(),
        }
    }

    /// How many places the cursor of a SCAN over all servers tells apart: the servers, or the slots of
    /// a cluster, whose lowest ones stand for the primaries, so that a cursor means the same to
    /// whoever knows the cluster.
    pub fn scan_places(&self) -> u64 {
        self.groups() as u64
    }

    /// The server that a SCAN is at, its place, and the place of the next one.
    pub fn scan(&self, place: u64) -> (usize, u64, Option<u64>) {
        let Some(table) = self.slots() else {
            let next = (place + 1 < self.servers.len() as u64).then_some(place + 1);
            return (place as usize, place, next);
        };
        let all = table.primaries();
        let at = all.partition_point(|&(slot, _)| u64::from(slot) <= place).saturating_sub(1);
        let next = all.get(at + 1).map(|&(slot, _)| u64::from(slot));
        (all.get(at).map_or(0, |&(_, server)| server), place, next)
    }

    /// How many [`group`](Self::group)s there are.
    pub fn groups(&self) -> usize {
        if self.slots().is_some() { slots::SLOTS } else { self.servers.len() }
    }

    /// What the keys of one command must have in common: the server, or the slot in a cluster, whose
    /// nodes refuse a command over several slots.
    pub fn group(&self, key: &[u8], dice: u64) -> usize {
        match &self.table {
            Table::Slots(_) => slots::slot(key).into(),
            _ => self.server(key, dice),
        }
    }

    /// The server of a [`group`](Self::group).
    pub fn server_of(&self, group: usize) -> usize {
        match &self.table {
            Table::Slots(table) => {
                let owner = u16::try_from(group).ok().and_then(|slot| table.owner(slot));
                // Any node says where a slot is, or that nobody has it.
                owner.unwrap_or_else(|| self.first())
            }
            _ => group,
        }
    }

    /// The server that a command which only reads goes to, for keys of `server`.
    pub fn reader(&self, server: usize, dice: u64) -> usize {
        self.slots().map_or(server, |table| table.reader(server, dice))
    }

    /// Spreads the keys over those servers only that are `live`. When none is, nothing changes.
    pub fn keep(&mut self, live: &[bool]) {
        if live.contains(&true) && self.slots().is_none() {
            self.table = table(self.distribution, &self.servers, live);
        }
    }

    /// How many servers there are; 0 in a cluster, where that may change.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The index of the server for `key`. `dice`, a number that the caller draws anew for each
    /// request, is only used by the random distribution.
    pub fn server(&self, key: &[u8], dice: u64) -> usize {
        if self.servers.len() == 1 {
            return 0;
        }
        match &self.table {
            Table::Slots(_) => self.server_of(slots::slot(key).into()),
            Table::Ketama(points) => {
                let hash = self.hash(key);
                let at = points.partition_point(|&(point, _)| point < hash);
                points.get(at).or(points.first()).map_or(0, |&(_, server)| server)
            }
            Table::Modula(ends) => {
                let total = ends.last().map_or(1, |&(end, _)| end.max(1));
                let unit = self.hash(key) % total;
                let at = ends.partition_point(|&(end, _)| end <= unit);
                ends.get(at).map_or(0, |&(_, server)| server)
            }
            Table::Random(servers) => servers[(dice % servers.len() as u64) as usize],
        }
    }

    /// Whether one key can be on several servers, so that two keys are never known to be together.
    pub fn is_random(&self) -> bool {
        self.distribution == Distribution::Random && self.servers.len() > 1
    }

    fn hash(&self, key: &[u8]) -> u32 {
        let key = self.tagged(key);
        if key.is_empty() { 0 } else { self.hash.of(key) }
    }

    /// The [`group`](Self::group) of every key that matches `pattern`; `None` where they can have several.
    pub fn group_of_pattern(&self, pattern: &[u8]) -> Option<usize> {
        let known = !self.is_random() && !self.tagged(pattern).contains(&b'*');
        known.then(|| self.group(pattern, 0))
    }

    /// The part of `key` that is hashed: what the tag's characters enclose, unless it is empty.
    fn tagged<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        let Some((open, close)) = self.hash_tag else { return key };
        let Some(start) = key.iter().position(|&byte| byte == open) else { return key };
        let inside = &key[start + 1..];
        match inside.iter().position(|&byte| byte == close) {
            Some(len) if len > 0 => &inside[..len],
            _ => key,
        }
    }
}

fn table(distribution: Distribution, servers: &[(String, u32)], live: &[bool]) -> Table {
    let servers: Vec<(usize, &str, u32)> = servers
        .iter()
        .enumerate()
        .filter(|(index, _)| live.get(*index) == Some(&true))
        .map(|(index, (name, weight))| (index, name.as_str(), *weight))
        .collect();
    match distribution {
        Distribution::Ketama => Table::Ketama(ketama(&servers)),
        Distribution::Modula => Table::Modula(modula(&servers)),
        Distribution::Random => Table::Random(servers.iter().map(|&(index, ..)| index).collect()),
    }
}

fn modula(servers: &[(usize, &str, u32)]) -> Vec<(u32, usize)> {
    let ends = servers.iter().scan(0_u32, |end, &(index, _, weight)| {
        *end = end.wrapping_add(weight);
        Some((*end, index))
    });
    ends.collect()
}

fn ketama(servers: &[(usize, &str, u32)]) -> Vec<(u32, usize)> {
    let total: u32 = servers.iter().fold(0, |sum, &(.., weight)| sum.wrapping_add(weight));
    let mut points = Vec::new();
    for &(index, name, weight) in servers {
        for replica in 0..hashes_of(weight, total, servers.len()) {
            let digest = md5::digest(format!("{name}-{replica}").as_bytes());
            points.extend(digest.map(|point| (point, index)));
        }
    }
    points.sort_by_key(|&(point, _)| point);
    points
}

/// How many times a server is hashed. Single precision, in twemproxy's order of operations: the
/// rounding decides about points, and so about keys.
fn hashes_of(weight: u32, total: u32, servers: usize) -> u32 {
    let share = weight as f32 / total as f32;
    let points = share * POINTS_PER_SERVER as f32 / POINTS_PER_HASH as f32 * servers as f32;
    ((f64::from(points) + 0.000_000_000_1) as f32).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(tag: Option<(u8, u8)>) -> Placement {
        Placement::new(Distribution::Ketama, Hash::Fnv1a64, tag, &[("a", 1), ("b", 1), ("c", 2)])
    }

    #[test]
    fn a_hash_tag_is_what_decides() {
        let placement = placement(Some((b'{', b'}')));
        for (key, part) in
            [("{user}1", "user"), ("x{user}y", "user"), ("{}1", "{}1"), ("{user", "{user"), ("}{a}", "a")]
        {
            assert_eq!(placement.tagged(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    #[test]
    fn weights_decide_how_many_points_a_server_has() {
        assert_eq!([hashes_of(1, 4, 3), hashes_of(2, 4, 3)], [30, 60]);
        assert_eq!(placement(None).servers(), 3);
    }

    #[test]
    fn every_key_has_a_server_even_the_empty_one() {
        for distribution in Distribution::ALL {
            for hash in Hash::ALL {
                let placement = Placement::new(distribution, hash, None, &[("a", 1), ("b", 3)]);
                for (dice, key) in [b"".as_slice(), b"k", b"\xff\x80\0", &[7; 100]].iter().enumerate() {
                    assert!(placement.server(key, dice as u64) < 2);
                }
            }
        }
    }

    #[test]
    fn servers_that_are_left_out_get_no_keys_and_come_back() {
        for distribution in Distribution::ALL {
            let list = [("a", 1), ("b", 3), ("c", 1)];
            let mut placement = Placement::new(distribution, Hash::Murmur, None, &list);
            let keys: Vec<String> = (0..100).map(|index| format!("key:{index}")).collect();
            let places = |placement: &Placement| -> Vec<usize> {
                keys.iter().zip(0..).map(|(key, dice)| placement.server(key.as_bytes(), dice)).collect()
            };
            let before = places(&placement);
            placement.keep(&[true, false, true]);
            let without = places(&placement);
            assert!(
                !without.contains(&1) && without.contains(&0) && without.contains(&2),
                "{distribution:?}"
            );
            placement.keep(&[false; 3]);
            assert_eq!(places(&placement), without, "with nobody left, nothing changes");
            placement.keep(&[true; 3]);
            assert_eq!(places(&placement), before);
        }
    }
}
