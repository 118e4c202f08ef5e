//! Where the keys of a Redis Cluster are: 16384 slots, and the server that each belongs to.
//!
//! ```text
//!  key ─▶ what `{` and `}` enclose, if anything ─▶ CRC16 mod 16384 ─▶ slot ─▶ primary ─▶ its replicas
//! ```
//!
//! The table is what a node has told (`CLUSTER SLOTS`), corrected by what other nodes answered
//! since (`-MOVED`). It may be wrong at any time; a node that is asked for a slot of another says so.
//!
//! Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".

use std::collections::{BTreeMap, BTreeSet};

/// How many slots there are.
pub const SLOTS: usize = 16384;

const NOBODY: u32 = u32::MAX;

/// Which nodes commands that only read go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFrom {
    /// The slot's primary: what was written is read.
    #[default]
    Primary,
    /// One of its replicas, or the primary when none can be reached. What is read may be old.
    Replica,
    /// The primary or one of its replicas. What is read may be old.
    Any,
}

impl ReadFrom {
    /// Every value.
    pub const ALL: [ReadFrom; 3] = [ReadFrom::Primary, ReadFrom::Replica, ReadFrom::Any];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            ReadFrom::Primary => "primary",
            ReadFrom::Replica => "replica",
            ReadFrom::Any => "any",
        }
    }
}

/// The slot of a key.
pub fn slot(key: &[u8]) -> u16 {
    crc16(tagged(key)) % SLOTS as u16
}

/// The part of a key that is hashed: between the first `{` and the first `}` after it, unless
/// that is empty.
fn tagged(key: &[u8]) -> &[u8] {
    let Some(start) = key.iter().position(|&byte| byte == b'{') else { return key };
    let inside = &key[start + 1..];
    match inside.iter().position(|&byte| byte == b'}') {
        Some(length) if length > 0 => &inside[..length],
        _ => key,
    }
}

/// CRC16 as XMODEM has it: polynomial 0x1021, starting with 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

/// Slots that follow one another and the servers that have them, the primary first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRange {
    /// The first slot.
    pub first: u16,
    /// The last slot.
    pub last: u16,
    /// The primary, then its replicas; indexes of servers.
    pub servers: Vec<usize>,
}

/// The server of each slot.
#[derive(Debug, Clone)]
pub struct SlotTable {
    owners: Vec<u32>,
    /// The lowest slot of each primary, and the primary, in order.
    primaries: Vec<(u16, usize)>,
    /// The replicas of each primary.
    replicas: BTreeMap<usize, Vec<usize>>,
    reads: ReadFrom,
    /// Servers that no read should be tried on.
    unreachable: BTreeSet<usize>,
}

impl SlotTable {
    /// A table that knows nothing yet.
    pub fn new(reads: ReadFrom) -> SlotTable {
        SlotTable {
            owners: vec![NOBODY; SLOTS],
            primaries: Vec::new(),
            replicas: BTreeMap::new(),
            reads,
            unreachable: BTreeSet::new(),
        }
    }

    /// Whether any slot's server is known.
    pub fn is_known(&self) -> bool {
        !self.primaries.is_empty()
    }

    /// The primary of a slot.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let owner = *self.owners.get(usize::from(slot))?;
        (owner != NOBODY).then_some(owner as usize)
    }

    /// Every primary with its lowest slot, in the order of those.
    pub fn primaries(&self) -> &[(u16, usize)] {
        &self.primaries
    }

    /// Whether a server has slots or is a replica of one that has.
    pub fn is_member(&self, server: usize) -> bool {
        self.primaries.iter().any(|&(_, primary)| primary == server)
            || self.replicas.values().flatten().any(|&replica| replica == server)
    }

    /// Takes over what a node has told; `true` when a slot has another primary now.
    pub fn replace(&mut self, ranges: &[SlotRange]) -> bool {
        let mut owners = vec![NOBODY; SLOTS];
        self.replicas.clear();
        for range in ranges {
            let Some((&primary, replicas)) = range.servers.split_first() else { continue };
            let Some(slots) = owners.get_mut(usize::from(range.first)..=usize::from(range.last)) else {
                continue;
            };
            slots.fill(primary as u32);
            let known = self.replicas.entry(primary).or_default();
            for &replica in replicas {
                if !known.contains(&replica) {
                    known.push(replica);
                }
            }
        }
        let changed = owners != self.owners;
        self.owners = owners;
        self.list_primaries();
        changed
    }

    /// One slot has this primary; `true` when it had another.
    pub fn assign(&mut self, slot: u16, server: usize) -> bool {
        let Some(owner) = self.owners.get_mut(usize::from(slot)) else { return false };
        if std::mem::replace(owner, server as u32) == server as u32 {
            return false;
        }
        self.list_primaries();
        true
    }

    fn list_primaries(&mut self) {
        self.primaries.clear();
        let mut previous = NOBODY;
        for (slot, &owner) in self.owners.iter().enumerate() {
            // Most slots have the owner of the one before.
            if owner == previous || owner == NOBODY {
                continue;
            }
            previous = owner;
            if !self.primaries.iter().any(|&(_, primary)| primary == owner as usize) {
                self.primaries.push((slot as u16, owner as usize));
            }
        }
    }

    /// Says whether reads may be tried on a server.
    pub fn set_reachable(&mut self, server: usize, reachable: bool) {
        if reachable {
            self.unreachable.remove(&server);
        } else {
            self.unreachable.insert(server);
        }
    }

    /// Whether a server has not failed since the table was told.
    pub fn is_reachable(&self, server: usize) -> bool {
        !self.unreachable.contains(&server)
    }

    /// Every server may be tried again.
    pub fn forgive(&mut self) {
        self.unreachable.clear();
    }

    /// The server that a command which only reads goes to, for keys of `primary`.
    pub fn reader(&self, primary: usize, dice: u64) -> usize {
        let replicas = match (self.reads, self.replicas.get(&primary)) {
            (ReadFrom::Primary, _) | (_, None) => return primary,
            (_, Some(replicas)) => replicas.iter().filter(|replica| !self.unreachable.contains(replica)),
        };
        let all = (self.reads == ReadFrom::Any).then_some(&primary).into_iter().chain(replicas);
        let count = all.clone().count().max(1) as u64;
        all.copied().nth((dice % count) as usize).unwrap_or(primary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As `CLUSTER KEYSLOT` of Redis 7.0 answers.
        for (key, expected) in [
            ("", 0),
            ("foo", 12182),
            ("bar", 5061),
            ("123456789", 12739),
            ("{foo}bar", 12182),
            ("a{foo}b{bar}", 12182),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("{user1000}.following", 3443),
            ("user1000", 3443),
            ("{", 4092),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    fn range(first: u16, last: u16, servers: &[usize]) -> SlotRange {
        SlotRange { first, last, servers: servers.to_vec() }
    }

    #[test]
    fn a_table_is_learnt_whole_and_corrected_by_slots() {
        let mut table = SlotTable::new(ReadFrom::Primary);
        assert!(!table.is_known());
        let ranges = [range(8000, 16383, &[1, 3]), range(0, 4000, &[2]), range(4002, 7999, &[1, 3])];
        assert!(table.replace(&ranges));
        assert!(!table.replace(&ranges), "nothing has changed");
        assert_eq!(table.primaries(), [(0, 2), (4002, 1)]);
        assert_eq!((table.owner(0), table.owner(4001), table.owner(9000)), (Some(2), None, Some(1)));
        assert!(table.is_member(3) && !table.is_member(0));
        assert!(table.assign(4001, 5) && !table.assign(4001, 5));
        assert_eq!(table.primaries(), [(0, 2), (4001, 5), (4002, 1)]);
        assert!(!table.assign(20000, 5));
        assert!(table.replace(&[range(0, 16383, &[3, 1]), range(9, 70, &[])]));
        assert_eq!((table.primaries(), table.is_member(2)), ([(0, 3)].as_slice(), false));
    }

    #[test]
    fn reads_are_spread_over_what_can_be_reached() {
        let readers = |table: &SlotTable| (0..4).map(|dice| table.reader(0, dice)).collect::<Vec<_>>();
        for (reads, all, one_down, none) in [
            (ReadFrom::Primary, [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
            (ReadFrom::Replica, [1, 2, 1, 2], [2, 2, 2, 2], [0, 0, 0, 0]),
            (ReadFrom::Any, [0, 1, 2, 0], [0, 2, 0, 2], [0, 0, 0, 0]),
        ] {
            let mut table = SlotTable::new(reads);
            table.replace(&[range(0, 16383, &[0, 1, 2])]);
            assert_eq!(readers(&table), all, "{reads:?}");
            table.set_reachable(1, false);
            assert_eq!(readers(&table), one_down, "{reads:?}");
            table.set_reachable(2, false);
            assert_eq!(readers(&table), none, "{reads:?}");
            table.set_reachable(1, true);
            table.forgive();
            assert_eq!(readers(&table), all, "{reads:?}");
        }
    }
}
