//! A client of the simulation: what it asks, and what it must be answered.

use std::collections::{BTreeMap, VecDeque};

use tombolo_resp::{Value, encode};

use crate::cluster_simulation::nodes::TAGS;
use crate::dice::Dice;

#[derive(Default)]
pub(crate) struct FakeClient {
    pub(crate) unsent: VecDeque<u8>,
    pub(crate) input: Vec<u8>,
    /// What the replies must be, with the tokens that must have run.
    pub(crate) expected: VecDeque<(Value, Vec<String>)>,
    asked: usize,
}

impl FakeClient {
    /// GETSET of one key, or MSET of several, with tokens as values: the client and a number that
    /// grows.
    pub(crate) fn prepare(&mut self, name: usize, dice: &mut Dice) {
        let keys = if dice.one_in(4) { 1 + dice.below(4) } else { 1 };
        let mut pairs: BTreeMap<String, String> = BTreeMap::new();
        for _ in 0..keys {
            self.asked += 1;
            let key = format!("{{{}}}{name}-{}", TAGS[dice.below(TAGS.len())], dice.below(2));
            pairs.insert(key, format!("{name}-{}", self.asked));
        }
        self.ask(pairs);
    }

    /// GETSET of one key with this in braces.
    pub(crate) fn prepare_one(&mut self, name: usize, tag: &str) {
        self.asked += 1;
        self.ask(BTreeMap::from([(format!("{{{tag}}}{name}"), format!("{name}-{}", self.asked))]));
    }

    fn ask(&mut self, pairs: BTreeMap<String, String>) {
        let mut words: Vec<&[u8]> = vec![if pairs.len() == 1 { b"GETSET" } else { b"MSET" }];
        pairs.iter().for_each(|(key, token)| words.extend([key.as_bytes(), token.as_bytes()]));
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &words);
        self.unsent.extend(bytes);
        let tokens: Vec<String> = pairs.into_values().collect();
        let reply = match &tokens[..] {
            [token] => Value::Bulk(token.as_bytes().to_vec()),
            _ => Value::Simple("OK".to_string()),
        };
        self.expected.push_back((reply, tokens));
    }
}
