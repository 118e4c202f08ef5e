//! A Redis Cluster as its nodes see it: who has which slot, which keys are on their way, and nodes
//! that have not heard of it yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tombolo_proxy::placement::slots;
use tombolo_resp::{Request, encode};

/// Nodes, on the ports from [`FIRST_PORT`] on.
pub(crate) const NODES: usize = 4;
pub(crate) const FIRST_PORT: u16 = 7001;
/// What keys have in braces; each stands for the slots up to the next one's.
pub(crate) const TAGS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A slot on its way.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Migration {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

pub(crate) struct Cluster {
    /// For each node, who it thinks has each tag's slots.
    pub(crate) views: Vec<Vec<usize>>,
    /// Who has them.
    pub(crate) owners: Vec<usize>,
    pub(crate) alive: Vec<bool>,
    pub(crate) migrations: BTreeMap<usize, Migration>,
    /// Keys that are at the target of their slot's migration.
    moved: HashSet<String>,
    /// Keys that exist.
    keys: HashMap<String, usize>,
    /// Tokens that ran.
    pub(crate) executed: HashSet<String>,
    /// The number of the last token that ran of each key.
    last: HashMap<String, usize>,
    pub(crate) redirections: usize,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        let owners: Vec<usize> = (0..TAGS.len()).map(|tag| tag % (NODES - 1)).collect();
        Cluster {
            views: vec![owners.clone(); NODES],
            owners,
            alive: vec![true; NODES],
            migrations: BTreeMap::new(),
            moved: HashSet::new(),
            keys: HashMap::new(),
            executed: HashSet::new(),
            last: HashMap::new(),
            redirections: 0,
        }
    }

    pub(crate) fn begin(&mut self, tag: usize, to: usize) {
        self.migrations.insert(tag, Migration { from: self.owners[tag], to });
    }

    /// Another key of a slot on its way arrives; `false` when all have.
    pub(crate) fn move_key(&mut self, tag: usize) -> bool {
        let mut left: Vec<&String> = self
            .keys
            .iter()
            .filter(|(key, of)| **of == tag && !self.moved.contains(*key))
            .map(|(key, _)| key)
            .collect();
        left.sort();
        let next = left.first().map(|key| key.to_string());
        next.is_some_and(|key| self.moved.insert(key))
    }

    /// A migration ends: the target knows first. Its source and the others hear of it later.
    pub(crate) fn end(&mut self, tag: usize, migration: Migration) {
        self.owners[tag] = migration.to;
        self.views[migration.to][tag] = migration.to;
    }

    /// A node takes over all of another; the two agree at once.
    pub(crate) fn take_over(&mut self, from: usize, to: usize) {
        for tag in 0..TAGS.len() {
            if self.owners[tag] == from && !self.migrations.contains_key(&tag) {
                self.owners[tag] = to;
                (self.views[from][tag], self.views[to][tag]) = (to, to);
            }
        }
    }

    /// A node hears who has a tag's slots.
    pub(crate) fn gossip(&mut self, node: usize, tag: usize) {
        self.views[node][tag] = self.owners[tag];
        if self
            .migrations
            .get(&tag)
            .is_some_and(|migration| migration.from == node && migration.to == self.owners[tag])
        {
            self.migrations.remove(&tag);
            let keys = &self.keys;
            self.moved.retain(|key| keys.get(key) != Some(&tag));
        }
    }

    /// `CLUSTER SLOTS` of a node.
    fn slots(&self, node: usize) -> Vec<u8> {
        let mut tags: Vec<(u16, usize)> =
            TAGS.iter().enumerate().map(|(tag, text)| (slots::slot(text.as_bytes()), tag)).collect();
        tags.sort_unstable();
        let mut reply = Vec::new();
        encode::array(&mut reply, tags.len());
        for (at, &(slot, tag)) in tags.iter().enumerate() {
            encode::array(&mut reply, 3);
            encode::integer(&mut reply, i64::from(if at == 0 { 0 } else { slot }));
            encode::integer(&mut reply, tags.get(at + 1).map_or(16383, |next| i64::from(next.0) - 1));
            encode::array(&mut reply, 2);
            encode::bulk(&mut reply, b"127.0.0.1");
            encode::integer(&mut reply, i64::from(FIRST_PORT) + self.views[node][tag] as i64);
        }
        reply
    }

    /// What `node` answers; `asking` says whether ASKING came before.
    pub(crate) fn answer(&mut self, node: usize, request: &Request<'_>, asking: &mut bool) -> Vec<u8> {
        let mut reply = Vec::new();
        let text = |at: usize| String::from_utf8_lossy(request.arg(at).unwrap_or_default()).into_owned();
        let asked = std::mem::take(asking);
        match text(0).as_str() {
            "CLUSTER" => return self.slots(node),
            "ASKING" => {
                *asking = true;
                encode::simple(&mut reply, "OK");
                return reply;
            }
            _ => {}
        }
        let pairs: Vec<(String, String)> =
            (1..request.len()).step_by(2).map(|at| (text(at), text(at + 1))).collect();
        let tags: BTreeSet<usize> = pairs.iter().map(|(key, _)| tag_of(key)).collect();
        assert_eq!(tags.len(), 1, "{pairs:?} are in several slots");
        let tag = tags.first().copied().expect("a tag");
        if let Some(refusal) = self.refusal(node, tag, &pairs, asked) {
            self.redirections += 1;
            encode::error(&mut reply, &refusal);
            return reply;
        }
        for (key, token) in &pairs {
            assert!(self.executed.insert(token.clone()), "{token} ran twice");
            let number = token.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a number");
            let last = self.last.insert(key.clone(), number);
            assert!(last.is_none_or(|last| last < number), "{key}: {token} ran after number {last:?}");
            self.keys.insert(key.clone(), tag);
            if self.migrations.get(&tag).is_some_and(|migration| migration.to == node) {
                self.moved.insert(key.clone());
            }
        }
        match &pairs[..] {
            [(_, token)] if text(0) == "GETSET" => encode::bulk(&mut reply, token.as_bytes()),
            _ => encode::simple(&mut reply, "OK"),
        }
        reply
    }

    /// Why a node does not execute a request, if it does not.
    fn refusal(&self, node: usize, tag: usize, pairs: &[(String, String)], asked: bool) -> Option<String> {
        let slot = slots::slot(TAGS[tag].as_bytes());
        let port = |node: usize| usize::from(FIRST_PORT) + node;
        let here = |target: bool| {
            pairs
                .iter()
                .filter(|(key, _)| self.keys.contains_key(key) && self.moved.contains(key) == target)
                .count()
        };
        let view = self.views[node][tag];
        match self.migrations.get(&tag) {
            Some(migration) if migration.from == node && view == node => match here(false) {
                0 => Some(format!("ASK {slot} 127.0.0.1:{}", port(migration.to))),
                all if all == pairs.len() => None,
                _ => Some("TRYAGAIN Multiple keys request during rehashing of slot".to_string()),
            },
            Some(migration) if migration.to == node && (asked || view == node) => {
                let late = here(true) < pairs.len() && pairs.len() > 1 && view != node;
                late.then(|| "TRYAGAIN Multiple keys request during rehashing of slot".to_string())
            }
            _ if view == node => None,
            _ => Some(format!("MOVED {slot} 127.0.0.1:{}", port(view))),
        }
    }
}

fn tag_of(key: &str) -> usize {
    let tag = key.strip_prefix('{').and_then(|rest| rest.split('}').next());
    TAGS.iter().position(|known| Some(*known) == tag).expect("a tag")
}
