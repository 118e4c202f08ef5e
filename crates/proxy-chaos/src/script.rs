//! What clients ask: pipelines of random requests, each with what its reply may be.

use tombolo_resp::{Value, encode};

use crate::board::Board;
use crate::expect::{Expect, Sent};
use crate::keys::{Keys, Tag, Write, value};
use crate::shared::Shared;

mod shared;

/// Requests in a pipeline, at most.
pub const MAX_DEPTH: usize = 100;
/// A key with more in doubt than this is given up.
const MAX_DOUBTS: usize = 6;
/// A journal with more entries is given up.
const MAX_ENTRIES: usize = 60;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads and writes on shared connections.
    Plain,
    /// The same, and transactions.
    Transactions,
    /// Waits for lists.
    Blocking,
    /// Raises a counter together with others, in transactions that watch it.
    Watching,
    /// Publishes messages to a partner and pushes elements to its list, on shared connections.
    Publishing,
    /// Subscribes to a partner's channels, and waits for elements of its list.
    Listening,
}

impl Kind {
    /// Whether all of it happens on shared connections.
    pub fn shares(self) -> bool {
        matches!(self, Kind::Plain | Kind::Publishing)
    }
}

/// What the proxy can do, as it was found out at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// MGET, MSET and DEL of keys on several servers.
    pub several: bool,
    /// MULTI and EXEC in each pool.
    pub transactions: [bool; 2],
    /// BLPOP in each pool.
    pub blocking: [bool; 2],
    /// SUBSCRIBE in each pool.
    pub messages: [bool; 2],
    /// The configuration is read again while the proxy runs.
    pub reload: bool,
}

/// One pipeline: the bytes, where each request ends in them, and what is expected.
#[derive(Debug, Default)]
pub struct Pipeline {
    /// The requests.
    pub bytes: Vec<u8>,
    /// One for each request.
    pub sent: Vec<Sent>,
    now: u64,
}

impl Pipeline {
    fn push(&mut self, words: &[&str], servers: u64, expect: Expect) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        encode::request(&mut self.bytes, &words);
        self.sent.push(Sent { expect, servers, at: self.now });
    }

    /// The same for a request that depends on what was there at `at`.
    fn push_since(&mut self, at: u64, words: &[&str], servers: u64, expect: Expect) {
        self.push(words, servers, expect);
        self.sent.iter_mut().rev().take(1).for_each(|sent| sent.at = at);
    }
}

/// The requests of one client, one pipeline after the other.
#[derive(Debug)]
pub struct Script {
    kind: Kind,
    /// Whether one command may have keys on several servers.
    several: bool,
    /// What it knows.
    pub keys: Keys,
    tag: Tag,
    lists: u64,
}

impl Script {
    /// Of a client whose keys are on `tags`; of those on one server, if a connection has to be, or
    /// on one tag when that does not keep them together (`alone`).
    pub fn new(kind: Kind, client: u32, tags: &[Tag], able: (bool, bool), shared: Shared) -> Script {
        let (several, alone) = able;
        let tag = match &shared {
            Shared::Counter(ledger) => ledger.tag.clone(),
            Shared::Partner(pair) => pair.tag.clone(),
            Shared::Nothing => tags[client as usize % tags.len()].clone(),
        };
        let near = |other: &&Tag| if alone { other.text == tag.text } else { other.server == tag.server };
        let together: Vec<Tag> = tags.iter().filter(near).cloned().collect();
        let tags = if kind.shares() { tags } else { &together };
        let mut keys = Keys::new(client, tags, 8, 3);
        (keys.shared, keys.own) = (shared, !kind.shares());
        Script { kind, several, keys, tag, lists: 0 }
    }

    /// The next pipeline. Everything before it must be judged or in doubt.
    pub fn next(&mut self, rng: &mut fastrand::Rng, board: &Board) -> Pipeline {
        let mut pipeline = Pipeline { now: board.now(), ..Pipeline::default() };
        if self.keys.watch.is_some() {
            self.raise(&mut pipeline, rng);
        }
        self.renew(rng, &mut pipeline);
        // The shorter the time between reading and raising, the more often it succeeds.
        let depth = rng.usize(1..=if self.kind == Kind::Watching { 20 } else { MAX_DEPTH });
        while pipeline.sent.len() < depth {
            match (self.kind, rng.u8(0..8)) {
                (Kind::Blocking, 0..5) => self.list(&mut pipeline, rng, board),
                (Kind::Transactions, 0) => self.transaction(&mut pipeline, rng, board),
                (Kind::Publishing, 0..3) => self.send(&mut pipeline, rng, board),
                (Kind::Listening, 0) => self.take(&mut pipeline),
                _ => self.plain(&mut pipeline, rng, board),
            }
        }
        if self.kind == Kind::Watching {
            self.watch(&mut pipeline, board);
        }
        pipeline
    }

    /// Reads of everything, for the end.
    pub fn last(&mut self, board: &Board) -> Pipeline {
        let mut pipeline = Pipeline { now: board.now(), ..Pipeline::default() };
        self.unwatch(&mut pipeline);
        for slot in 0..self.keys.registers.len() {
            self.get(&mut pipeline, slot);
        }
        for slot in 0..self.keys.journals.len() {
            self.journal(&mut pipeline, slot);
        }
        (0..self.keys.counters.len()).for_each(|slot| self.count(&mut pipeline, slot, board));
        if self.kind == Kind::Listening {
            self.drain(&mut pipeline);
        }
        pipeline
    }

    /// Gives up keys about which too much is in doubt, and sometimes others, deleting them.
    fn renew(&mut self, rng: &mut fastrand::Rng, pipeline: &mut Pipeline) {
        let mut old = Vec::new();
        for key in &mut self.keys.registers {
            if key.model.doubts() > MAX_DOUBTS || rng.u8(0..64) == 0 {
                old.push((key.server, key.renew()));
            }
        }
        for key in &mut self.keys.counters {
            if key.model.doubts() > MAX_DOUBTS as u64 {
                old.push((key.server, key.renew()));
            }
        }
        for key in &mut self.keys.journals {
            let (entries, doubts) = key.model.size();
            if entries > MAX_ENTRIES || doubts > MAX_DOUBTS {
                old.push((key.server, key.renew()));
            }
        }
        for (server, name) in old {
            pipeline.push(&["DEL", &name], 1 << server, Expect::Swept);
        }
    }

    fn plain(&mut self, pipeline: &mut Pipeline, rng: &mut fastrand::Rng, board: &Board) {
        let register = rng.usize(..self.keys.registers.len());
        let other = rng.usize(..self.keys.counters.len());
        match rng.u8(0..20) {
            0..4 => self.set(pipeline, register, board),
            4..8 => self.get(pipeline, register),
            8..10 => {
                self.set(pipeline, register, board);
                self.get(pipeline, register);
            }
            10..12 => self.count(pipeline, other, board),
            12..14 => self.append(pipeline, other, board),
            14 => self.journal(pipeline, other),
            15 => self.echo(pipeline),
            16 => self.many(pipeline, rng, board, Many::Get),
            17 => self.many(pipeline, rng, board, Many::Set),
            18 => self.many(pipeline, rng, board, Many::Delete),
            _ => pipeline.push(&["PING"], self.local(), Expect::Exactly(Value::Simple("PONG".into()))),
        }
    }

    /// What the proxy answers by itself can not fail, except on a connection of the client's own.
    fn local(&self) -> u64 {
        if self.kind.shares() { 0 } else { 1 << self.tag.server }
    }

    fn write(&mut self, slot: usize, board: &Board) -> Write {
        let since = board.kills_done(self.keys.registers[slot].server);
        Write { slot, value: Some(self.keys.token(slot)), since }
    }

    fn set(&mut self, pipeline: &mut Pipeline, slot: usize, board: &Board) {
        let write = self.write(slot, board);
        let key = &self.keys.registers[slot];
        let text = write.value.map(value).unwrap_or_default();
        pipeline.push(&["SET", &key.name, &text], 1 << key.server, Expect::Written(vec![write]));
    }

    fn get(&self, pipeline: &mut Pipeline, slot: usize) {
        let key = &self.keys.registers[slot];
        pipeline.push(&["GET", &key.name], 1 << key.server, Expect::Get(slot));
    }

    fn count(&self, pipeline: &mut Pipeline, slot: usize, board: &Board) {
        let key = &self.keys.counters[slot];
        let since = board.kills_done(key.server);
        pipeline.push(&["INCR", &key.name], 1 << key.server, Expect::Counted(slot, since));
    }

    fn append(&mut self, pipeline: &mut Pipeline, slot: usize, board: &Board) {
        let token = self.keys.token(slot);
        let key = &self.keys.journals[slot];
        let since = board.kills_done(key.server);
        let expect = Expect::Appended(slot, token, since);
        pipeline.push(&["APPEND", &key.name, &token.text()], 1 << key.server, expect);
    }

    fn journal(&self, pipeline: &mut Pipeline, slot: usize) {
        let key = &self.keys.journals[slot];
        pipeline.push(&["GET", &key.name], 1 << key.server, Expect::Journal(slot));
    }

    fn echo(&mut self, pipeline: &mut Pipeline) {
        let text = self.keys.token(usize::from(u16::MAX)).text();
        let expect = Expect::Exactly(Value::Bulk(text.clone().into_bytes()));
        pipeline.push(&["ECHO", &text], self.local(), expect);
    }

    fn many(&mut self, pipeline: &mut Pipeline, rng: &mut fastrand::Rng, board: &Board, what: Many) {
        let mut slots: Vec<usize> = (0..self.keys.registers.len()).collect();
        rng.shuffle(&mut slots);
        let server = self.keys.registers[slots[0]].server;
        slots.retain(|slot| self.several || self.keys.registers[*slot].server == server);
        slots.truncate(rng.usize(1..=4));
        let servers = slots.iter().fold(0, |all, slot| all | 1 << self.keys.registers[*slot].server);
        let mut writes: Vec<Write> = slots.iter().map(|slot| self.write(*slot, board)).collect();
        let names: Vec<String> = slots.iter().map(|slot| self.keys.registers[*slot].name.clone()).collect();
        let texts: Vec<String> = writes.iter().filter_map(|write| write.value.map(value)).collect();
        let keys = names.iter().map(String::as_str);
        let pairs = || names.iter().zip(&texts).flat_map(|(name, text)| [name.as_str(), text]);
        match what {
            Many::Get => {
                pipeline.push(
                    &["MGET"].into_iter().chain(keys).collect::<Vec<_>>(),
                    servers,
                    Expect::Mget(slots),
                );
            }
            Many::Set => {
                let words: Vec<&str> = ["MSET"].into_iter().chain(pairs()).collect();
                pipeline.push(&words, servers, Expect::Written(writes));
            }
            Many::Delete => {
                writes.iter_mut().for_each(|write| write.value = None);
                let words: Vec<&str> = ["DEL"].into_iter().chain(keys).collect();
                pipeline.push(&words, servers, Expect::Deleted(writes));
            }
        }
    }

    fn transaction(&mut self, pipeline: &mut Pipeline, rng: &mut fastrand::Rng, board: &Board) {
        let mut inner = Pipeline { now: pipeline.now, ..Pipeline::default() };
        // With several servers, the first key says which one it is.
        let first = rng.usize(..self.keys.registers.len());
        self.set(&mut inner, first, board);
        (0..rng.usize(..6)).for_each(|_| self.plain(&mut inner, rng, board));
        let servers = inner.sent.iter().fold(1 << self.tag.server, |all, sent| all | sent.servers);
        pipeline.push(&["MULTI"], servers, Expect::Exactly(Value::Simple("OK".into())));
        pipeline.bytes.extend_from_slice(&inner.bytes);
        let queued = Expect::Exactly(Value::Simple("QUEUED".into()));
        let at = pipeline.now;
        pipeline.sent.extend(inner.sent.iter().map(|_| Sent { expect: queued.clone(), servers, at }));
        pipeline.push(
            &["EXEC"],
            servers,
            Expect::Exec(inner.sent.into_iter().map(|sent| sent.expect).collect()),
        );
    }

    /// A push, a wait for what is there, and sometimes one for what never comes.
    fn list(&mut self, pipeline: &mut Pipeline, rng: &mut fastrand::Rng, board: &Board) {
        self.lists += 1;
        let token = self.keys.token(0);
        let (tag, servers) = (&self.tag, 1 << self.tag.server);
        let key = format!("{}:c{}:l{}", tag.text, token.client, self.lists);
        let place = (tag.server, board.kills_done(tag.server));
        let popped = Expect::Popped { key: key.clone(), token, place };
        pipeline.push(&["RPUSH", &key, &token.text()], servers, Expect::Pushed);
        pipeline.push(&["BLPOP", &key, "0.05"], servers, popped);
        if rng.u8(0..16) == 0 {
            pipeline.push(&["BLPOP", &format!("{key}:none"), "0.01"], servers, Expect::Exactly(Value::Null));
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Many {
    Get,
    Set,
    Delete,
}
