//! A client of the simulation: what it asks, and what it must be answered.

use std::collections::VecDeque;

use tombolo_resp::{Value, encode};

use crate::dice::Dice;

/// What the next reply must be, unless it is an error.
struct Expected {
    reply: Value,
    /// The connection holds state for the client after this reply, or would have.
    holds: bool,
    /// An error in place of this reply must end the client.
    vital: bool,
    /// It may never come, so that a client that says no more is not kept for it.
    endless: bool,
}

/// A client: what it is still to send, and what it expects.
#[derive(Default)]
pub(crate) struct FakeClient {
    pub(crate) unsent: VecDeque<u8>,
    pub(crate) input: Vec<u8>,
    pub(crate) asked: usize,
    pub(crate) answered: usize,
    expected: VecDeque<Expected>,
    /// What it is subscribed to, and the number of the next message.
    subscribed: Option<(String, i64)>,
    held: bool,
    failed: bool,
    /// It must be closed, because it has lost state.
    pub(crate) doomed: bool,
    /// It sends nothing more, and is to be closed once it has every reply.
    pub(crate) eof: bool,
}

impl FakeClient {
    fn ask(&mut self, words: &[&str], reply: Value, holds: bool, vital: bool) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &words);
        self.unsent.extend(bytes);
        let endless = matches!(words[0], b"BLPOP" | b"SUBSCRIBE" | b"UNSUBSCRIBE");
        self.expected.push_back(Expected { reply, holds, vital, endless });
        self.asked += 1;
    }

    /// Requests that belong together. A token says where it may run: `p` anywhere, `m` in a
    /// transaction, `d` in database 5. With several servers, what is between `<` and `>` keeps
    /// keys together.
    pub(crate) fn prepare(&mut self, name: &str, dice: &mut Dice, several: bool) {
        let ok = || Value::Simple("OK".to_string());
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let name = format!("{name}-{}", self.asked);
        let few = dice.below(4);
        let pad = "x".repeat(if dice.one_in(3) { dice.below(1200) } else { 0 });
        let tokens = |kind: &str| {
            (0..few)
                .map(|n| match kind {
                    "m" => format!("m-<{name}>-{n}{pad}"),
                    "d" => format!("d-{name}-{n}{pad}"),
                    _ => format!("{kind}-{name}-{n}"),
                })
                .collect::<Vec<String>>()
        };
        match dice.below(20) {
            // Small and large requests in a row, and what ends a run.
            14 | 15 => {
                for n in 0..dice.below(40) {
                    let size = if dice.one_in(200) { 60_000 } else { dice.below(30) };
                    let token = format!("p-<{name}>-{n}-{}", "x".repeat(size));
                    self.ask(&["GET", &token], bulk(&token), false, false);
                }
                match dice.below(4) {
                    0 => self.ask(&["PING"], Value::Simple("PONG".to_string()), false, false),
                    1 => self.ask(&["RESET"], Value::Simple("RESET".to_string()), false, false),
                    2 => self.ask(&["OBJECT", "ENCODING", &name], ok(), false, false),
                    _ => self.ask(
                        &["BLPOP", &format!("p-<{name}>"), "0"],
                        bulk(&format!("p-<{name}>")),
                        false,
                        false,
                    ),
                }
            }
            2 | 7 | 12 | 13 if several => {
                let tokens = tokens("p");
                let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
                let name = if few.is_multiple_of(2) { "MGET" } else { "DEL" };
                let reply = match name {
                    "MGET" => Value::Array(tokens.iter().map(|token| bulk(token)).collect()),
                    _ => Value::Integer(few as i64),
                };
                if few > 0 {
                    self.ask(&[&[name], &words[..]].concat(), reply, false, false);
                }
            }
            0 | 1 => {
                self.ask(&["MULTI"], ok(), true, true);
                for token in tokens("m") {
                    self.ask(&["GET", &token], Value::Simple("QUEUED".to_string()), true, true);
                }
                let all = tokens("m").iter().map(|token| bulk(token)).collect();
                self.ask(&["EXEC"], Value::Array(all), false, true);
            }
            2 => {
                self.ask(&["SELECT", "5"], ok(), true, true);
                tokens("d").iter().for_each(|token| self.ask(&["GET", token], bulk(token), true, true));
                self.ask(&["SELECT", "1"], ok(), false, true);
            }
            3 | 4 => {
                let token = format!("p-{name}");
                self.ask(&["BLPOP", &token, "0"], bulk(&token), false, false);
            }
            5 => {
                let confirm = |kind, left| Value::Array(vec![bulk(kind), bulk(&name), Value::Integer(left)]);
                self.ask(&["SUBSCRIBE", &name], confirm("subscribe", 1), true, true);
                self.ask(&["UNSUBSCRIBE", &name], confirm("unsubscribe", 0), false, true);
            }
            6 => {
                self.ask(&["WATCH", &name], ok(), true, true);
                self.ask(&["UNWATCH"], ok(), false, true);
            }
            7 => self.ask(&["ECHO", &name], bulk(&name), false, false),
            _ => {
                let token = format!("p-{name}");
                self.ask(&["GET", &token], bulk(&token), false, false);
            }
        }
    }

    /// Whether its end is no surprise: it has lost an answer, or state, or said that it ends and
    /// got all that it asked for.
    pub(crate) fn may_end(&self) -> bool {
        self.failed || self.held || (self.eof && self.has_all())
    }

    /// Whether everything is answered, but for what may never be.
    pub(crate) fn has_all(&self) -> bool {
        self.answered == self.asked || self.expected.iter().any(|expected| expected.endless)
    }

    /// Checks the replies that are complete; counts errors in `failed`.
    pub(crate) fn check(&mut self, failed: &mut usize) -> usize {
        let (mut count, mut used) = (0, 0);
        while let Some((reply, length)) = Value::decode(&self.input[used..]) {
            used += length;
            if reply.items().first().is_some_and(|word| word.text() == "message") {
                let (name, number) = self.subscribed.as_mut().expect("a message for a subscriber");
                assert_eq!(
                    (reply.items()[1].text(), reply.items()[2].text()),
                    (name.clone(), number.to_string())
                );
                *number += 1;
                continue;
            }
            count += 1;
            let expected = self.expected.pop_front().expect("a reply to a request");
            if let Value::Error(text) = &reply {
                let known = ["ERR Connection ", "ERR Invalid argument"];
                let known = known.iter().any(|known| text.starts_with(known));
                assert!(known, "{text} in place of {:?}", expected.reply);
                *failed += 1;
                self.failed = true;
                self.doomed |= expected.vital;
                continue;
            }
            assert_eq!(reply, expected.reply);
            assert!(!self.doomed, "{reply:?} after the loss of state");
            self.held = expected.holds;
            match reply.items().first().map(Value::text).as_deref() {
                Some("subscribe") => self.subscribed = Some((reply.items()[1].text(), 0)),
                Some("unsubscribe") => self.subscribed = None,
                _ => {}
            }
        }
        self.input.drain(..used);
        self.answered += count;
        count
    }
}
