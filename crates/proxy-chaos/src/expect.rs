//! What the reply to a request may be, and what it says about the client's keys.

use tombolo_resp::Value;

use crate::board::Board;
use crate::keys::{Keys, Write};
use crate::token::Token;
use crate::verdict::{Finding, Wrong};

/// Errors that clients may get while there is a fault, as they start.
const DOCUMENTED: &[&str] = &[
    "ERR Connection refused",
    "ERR Connection timed out",
    "ERR Host is down",
    "ERR Connection reset by peer (the server closed the connection; the command may have run)",
];

/// What is expected of a reply.
#[derive(Debug, Clone)]
pub enum Expect {
    /// This reply and no other.
    Exactly(Value),
    /// `+OK`, and the values are there.
    Written(Vec<Write>),
    /// The value of a register.
    Get(usize),
    /// The values of several.
    Mget(Vec<usize>),
    /// The number of registers that were there, and are not any more.
    Deleted(Vec<Write>),
    /// 0 or 1: a key that is not used any more was deleted.
    Swept,
    /// The next number of a counter.
    Counted(usize, u64),
    /// The length of a journal.
    Appended(usize, Token, u64),
    /// A journal.
    Journal(usize),
    /// An array of all these; an error concerns all of them.
    Exec(Vec<Expect>),
    /// The first length of a new list.
    Pushed,
    /// What was pushed to this list, or nothing once the server was killed or the push failed.
    Popped {
        /// The key.
        key: String,
        /// What was pushed.
        token: Token,
        /// Its server, and the kills before it.
        place: (usize, u64),
    },
}

/// A request that waits for its reply.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What its reply may be.
    pub expect: Expect,
    /// The servers that it depends on, as bits.
    pub servers: u64,
    /// When it was sent.
    pub at: u64,
}

/// What a reply was.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Fine,
    /// An error that is allowed; the start of its text.
    Error(&'static str),
}

impl Sent {
    /// Compares the reply with what is expected, and learns from it.
    pub fn judge(&self, reply: &Value, keys: &mut Keys, board: &Board) -> Result<Outcome, Finding> {
        if let Value::Error(text) = reply {
            self.expect.doubt(keys);
            return match DOCUMENTED.iter().find(|known| text.starts_with(**known)) {
                Some(known) if board.is_troubled(self.servers, self.at) => Ok(Outcome::Error(known)),
                Some(_) => Err(unexpected(format!("without a fault: {text}"))),
                None => Err(unexpected(text)),
            };
        }
        let checked = self.expect.check(reply, keys, board);
        checked.map(|()| Outcome::Fine).map_err(|finding| classify(finding, reply, keys.client()))
    }
}

fn unexpected(text: impl Into<String>) -> Finding {
    Finding::new(Wrong::UnexpectedError, text)
}

/// A reply with something of another client is misdelivered, whatever else is wrong with it.
fn classify(finding: Finding, reply: &Value, client: u32) -> Finding {
    match tokens(reply).into_iter().find(|token| token.client != client) {
        Some(alien) => {
            Finding::new(Wrong::Misdelivered, format!("{alien:?} came to client {client}: {}", finding.story))
        }
        None => finding,
    }
}

fn tokens(reply: &Value) -> Vec<Token> {
    match reply {
        Value::Bulk(bytes) => Token::all(bytes).collect(),
        Value::Array(items) => items.iter().flat_map(tokens).collect(),
        _ => Vec::new(),
    }
}

impl Expect {
    /// The request may have run, and may not have.
    pub fn doubt(&self, keys: &mut Keys) {
        match self {
            Expect::Written(writes) | Expect::Deleted(writes) => {
                writes
                    .iter()
                    .for_each(|write| keys.registers[write.slot].model.doubt(write.value, write.since));
            }
            Expect::Counted(slot, _) => keys.counters[*slot].model.doubt(),
            Expect::Appended(slot, token, _) => keys.journals[*slot].model.doubt(*token),
            Expect::Exec(all) => all.iter().for_each(|one| one.doubt(keys)),
            Expect::Pushed => keys.push_failed = true,
            _ => {}
        }
    }

    fn brief(&self) -> String {
        match self {
            Expect::Exactly(value) => brief(value),
            other => format!("{other:?}"),
        }
    }

    fn check(&self, reply: &Value, keys: &mut Keys, board: &Board) -> Result<(), Finding> {
        let other =
            || Finding::new(Wrong::Reordered, format!("{} instead of {}", brief(reply), self.brief()));
        match (self, reply) {
            (Expect::Exactly(expected), _) if expected == reply => Ok(()),
            (Expect::Written(writes), Value::Simple(text)) if text == "OK" => {
                keys.wrote(writes);
                Ok(())
            }
            (Expect::Get(slot), _) => keys.read(*slot, reply, board),
            (Expect::Mget(slots), Value::Array(items)) if items.len() == slots.len() => {
                slots.iter().zip(items).try_for_each(|(slot, item)| keys.read(*slot, item, board))
            }
            (Expect::Deleted(writes), Value::Integer(count)) => keys.deleted(writes, *count, board),
            (Expect::Swept, Value::Integer(0 | 1)) => Ok(()),
            (Expect::Counted(slot, since), Value::Integer(seen @ 1..)) => {
                let counter = &mut keys.counters[*slot];
                counter.model.counted(*seen as u64, *since, board.kills_begun(counter.server))
            }
            (Expect::Appended(slot, token, since), Value::Integer(length @ 1..)) => {
                let journal = &mut keys.journals[*slot];
                let kills = board.kills_begun(journal.server);
                journal.model.appended(*token, *length as u64, *since, kills)
            }
            (Expect::Journal(slot), Value::Bulk(text)) => {
                let journal = &keys.journals[*slot];
                journal.model.read(text, board.kills_begun(journal.server))
            }
            (Expect::Journal(slot), Value::Null) => {
                let journal = &keys.journals[*slot];
                journal.model.read(b"", board.kills_begun(journal.server))
            }
            (Expect::Exec(all), Value::Array(items)) if items.len() == all.len() => {
                all.iter().zip(items).try_for_each(|(one, item)| one.check(item, keys, board))
            }
            (Expect::Pushed, Value::Integer(1)) => {
                keys.push_failed = false;
                Ok(())
            }
            (Expect::Pushed, Value::Integer(2)) => Err(Finding::new(Wrong::Duplicated, "a push ran twice")),
            (Expect::Popped { key, token, .. }, Value::Array(items)) => {
                let expected =
                    [Value::Bulk(key.clone().into_bytes()), Value::Bulk(token.text().into_bytes())];
                if *items == expected { Ok(()) } else { Err(other()) }
            }
            (Expect::Popped { place: (server, since), .. }, Value::Null) => {
                let excused = keys.push_failed || board.kills_begun(*server) > *since;
                if excused { Ok(()) } else { Err(Finding::new(Wrong::Lost, "a pushed element is gone")) }
            }
            _ => Err(other()),
        }
    }
}

/// A reply, not all of it when it is long.
fn brief(reply: &Value) -> String {
    let mut text = format!("{:?}", reply.text());
    if let Value::Array(_) | Value::Null = reply {
        text = format!("{reply:?}");
    }
    text.truncate(text.char_indices().nth(200).map_or(text.len(), |(at, _)| at));
    text
}
