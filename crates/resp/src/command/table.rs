//! The table itself: parsed once from `commands.txt`, found by a hash of the lower-case name, or,
//! where a name is a few letters as nearly all are, by the letters themselves as one number.

use std::sync::LazyLock;

use super::keys::KeySpec;
use super::{Command, Flags, STATEFUL};

const TEXT: &str = include_str!("commands.txt");
/// A power of two, some times the number of names, so that probes are short.
const SLOTS: usize = 2048;
/// A power of two, some times the number of short names.
const SHORT_SLOTS: usize = 1 << SHORT_BITS;
const SHORT_BITS: u32 = 10;
/// Letters of a name that fit into a number.
const MAX_SHORT: usize = 8;
/// Longer than any name in the table.
const MAX_NAME: usize = 48;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(TEXT));

/// The command that `name` and, where it has subcommands, `sub` name, in any case of letters. A
/// container's own entry is returned when the subcommand is missing or unknown.
#[inline]
pub fn lookup(name: &[u8], sub: Option<&[u8]>) -> Option<&'static Command> {
    let table = &*TABLE;
    match table.find_short(name) {
        Some(command) if !command.container => Some(command),
        _ => table.lookup_any(name, sub),
    }
}

impl Table {
    fn lookup_any(&self, name: &[u8], sub: Option<&[u8]>) -> Option<&Command> {
        // Our way to write a subcommand; to a server it is the name of nothing.
        if name.contains(&b'|') {
            return None;
        }
        let command = self.find(&Name::of(name, None)?)?;
        match sub {
            Some(sub) if command.container => {
                let found = Name::of(name, Some(sub)).and_then(|full| self.find(&full));
                Some(found.unwrap_or(command))
            }
            _ => Some(command),
        }
    }
}

struct Table {
    entries: Vec<Command>,
    /// Index into `entries` plus 1, by hash, linearly probed; 0 is free.
    slots: Vec<u16>,
    /// Names that are letters and at most [`MAX_SHORT`]: the name as a number, and the index into
    /// `entries`; by hash, linearly probed. No name is 0.
    short: Vec<(u64, u16)>,
}

impl Table {
    fn parse(text: &'static str) -> Table {
        let mut table =
            Table { entries: Vec::new(), slots: vec![0; SLOTS], short: vec![(0, 0); SHORT_SLOTS] };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            table.insert(parse_line(line));
        }
        table
    }

    fn insert(&mut self, command: Command) {
        if let Some((container, _)) = command.name.split_once('|')
            && let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == container)
        {
            entry.container = true;
        }
        let mut slot = hash(command.name.as_bytes()) % SLOTS;
        while self.slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        if command.name.bytes().all(|byte| byte.is_ascii_lowercase())
            && let Some(word) = short(command.name.as_bytes())
        {
            let mut slot = short_hash(word);
            while self.short[slot].0 != 0 {
                slot = (slot + 1) % SHORT_SLOTS;
            }
            self.short[slot] = (word, self.entries.len() as u16);
        }
        self.entries.push(command);
        self.slots[slot] = self.entries.len() as u16;
    }

    /// The entry of a name of a few letters.
    #[inline]
    fn find_short(&self, name: &[u8]) -> Option<&Command> {
        let word = short(name)?;
        let mut slot = short_hash(word);
        loop {
            match self.short[slot] {
                (0, _) => return None,
                (found, index) if found == word => return self.entries.get(usize::from(index)),
                _ => slot = (slot + 1) % SHORT_SLOTS,
            }
        }
    }

    fn find(&self, name: &Name) -> Option<&Command> {
        let name = name.bytes();
        let mut slot = hash(name) % SLOTS;
        loop {
            let entry = self.entries.get(usize::from(self.slots[slot]).checked_sub(1)?)?;
            if entry.name.as_bytes() == name {
                return Some(entry);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

fn hash(name: &[u8]) -> usize {
    name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) as usize
}

/// A name as a number, the same for upper and lower case; `None` when it is too long. Two names
/// have the same number only if they differ in case, or neither is letters only: a lower-case
/// letter comes of itself and its upper case, and of no other byte.
#[inline]
fn short(name: &[u8]) -> Option<u64> {
    if name.is_empty() || name.len() > MAX_SHORT {
        return None;
    }
    let mut word = 0;
    for &byte in name {
        word = word << 8 | u64::from(byte | 0x20);
    }
    Some(word)
}

fn short_hash(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SHORT_BITS)) as usize
}

/// A name in lower case, without an allocation.
struct Name {
    bytes: [u8; MAX_NAME],
    len: usize,
}

impl Name {
    fn of(name: &[u8], sub: Option<&[u8]>) -> Option<Name> {
        let mut full = Name { bytes: [0; MAX_NAME], len: 0 };
        full.push(name)?;
        if let Some(sub) = sub {
            full.push(b"|")?;
            full.push(sub)?;
        }
        Some(full)
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        let target = self.bytes.get_mut(self.len..self.len + part.len())?;
        for (to, from) in target.iter_mut().zip(part) {
            *to = from.to_ascii_lowercase();
        }
        self.len += part.len();
        Some(())
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// `name arity flags keys`; the file is ours and tested whole, so a bad line is a bug.
fn parse_line(line: &'static str) -> Command {
    let mut fields = line.split(' ');
    let mut field = || fields.next().expect("commands.txt: four fields in a line");
    let name = field();
    let arity = field().parse().expect("commands.txt: an arity is a number");
    let mut flags = field().split(',').map(Flags::named).fold(Flags::default(), Flags::with);
    let container = name.split('|').next().unwrap_or(name);
    if STATEFUL.contains(&name) || STATEFUL.contains(&container) {
        flags = flags.with(Flags::STATEFUL);
    }
    // Redis's table does not call it one, but who looks after a server asks it first of all: it must not
    // wait behind a request of others that CLIENT PAUSE holds up.
    if name == "info" {
        flags = flags.with(Flags::ADMIN);
    }
    let keys = field();
    let keys = if keys == "-" { Vec::new() } else { keys.split(',').map(KeySpec::parse).collect() };
    Command { name, arity, flags, keys, container: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        let name = |name: &str, sub: Option<&str>| {
            lookup(name.as_bytes(), sub.map(str::as_bytes)).map(|command| command.name)
        };
        assert_eq!(name("GET", None), Some("get"));
        assert_eq!(name("gEt", Some("encoding")), Some("get"));
        assert_eq!(name("OBJECT", Some("EnCoding")), Some("object|encoding"));
        assert_eq!(name("object", Some("nonsense")), Some("object"));
        assert_eq!(name("object|encoding", None), None);
        assert_eq!(name("nonsense", None), None);
        // What is a letter with the bit of lower case set, or looks like one, is none.
        for other in ["\u{7}et", "g\u{5}t", "ge\u{14}", " get", "get\0", "\0get", "object|", "sort_ro"] {
            assert_eq!(name(other, None), (other == "sort_ro").then_some("sort_ro"), "{other:?}");
        }
        assert_eq!(name("", None), None);
        assert_eq!(name(&"x".repeat(100), None), None);
    }

    #[test]
    fn every_name_is_found_as_by_its_hash() {
        for entry in &TABLE.entries {
            let name = entry.name;
            for name in [name.to_string(), name.to_uppercase()] {
                let (container, sub) = split(&name);
                let found = lookup(container, sub).expect("a command");
                assert!(std::ptr::eq(found, entry), "{name}");
                let slow = TABLE.lookup_any(container, sub).expect("a command");
                assert!(std::ptr::eq(found, slow), "{name}");
                // In one word it is no command, as with a server.
                assert_eq!(lookup(name.as_bytes(), None).is_some(), sub.is_none(), "{name}");
            }
        }
    }

    fn split(name: &str) -> (&[u8], Option<&[u8]>) {
        match name.split_once('|') {
            Some((container, sub)) => (container.as_bytes(), Some(sub.as_bytes())),
            None => (name.as_bytes(), None),
        }
    }

    fn named(name: &str) -> &'static Command {
        let (container, sub) = split(name);
        lookup(container, sub).unwrap_or_else(|| panic!("{name} is unknown"))
    }

    #[test]
    fn every_stateful_command_is_in_the_table() {
        for name in STATEFUL {
            assert!(named(name).flags.contains(Flags::STATEFUL), "{name}");
        }
        // What is true of a container is true of its subcommands.
        for sub in ["setname", "reply", "tracking", "no-evict"] {
            let command = lookup(b"client", Some(sub.as_bytes())).expect(sub);
            assert!(command.flags.contains(Flags::STATEFUL), "{sub}");
        }
    }

    #[test]
    fn flags_come_from_the_file() {
        let flags = |name: &str| named(name).flags;
        assert!(flags("blpop").contains(Flags::BLOCKING));
        assert!(flags("set").contains(Flags::WRITE));
        assert!(flags("get").contains(Flags::READONLY));
        assert!(flags("subscribe").contains(Flags::PUBSUB));
        assert!(flags("save").contains(Flags::ADMIN) && flags("info").contains(Flags::ADMIN));
        assert!(!flags("get").contains(Flags::STATEFUL));
        assert!(!flags("script|load").contains(Flags::STATEFUL));
    }
}
