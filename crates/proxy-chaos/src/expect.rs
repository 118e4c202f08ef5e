//! What the reply to a request may be, and what it says about the client's keys.

use tombolo_resp::Value;

use crate::board::Board;
use crate::keys::{Keys, Watch, Write};
use crate::shared::Shared;
use crate::token::Token;
use crate::verdict::{Finding, Wrong};

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
    /// `+OK`, and this is watched.
    Watched(Watch),
    /// `+OK`, and a transaction has begun.
    Begun,
    /// `+OK`, and nothing is watched any more.
    Unwatched,
    /// The number of the shared counter, in a life of its server; no less than this.
    Seen(u64, u64),
    /// The counter was made this number by a transaction, in a life of its server; or was not,
    /// because it had changed.
    Raised(u64, u64),
    /// How many have got the message with this number.
    Published(u64),
    /// The length of the partner's list, with the number of the new element and the kills before.
    Queued(u64, u64),
    /// An element of the partner's list, or none in time.
    Taken,
    /// The rest of the partner's list.
    Drained,
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
            return board.excuse(self.servers, self.at, keys.own, text).map(Outcome::Error);
        }
        let checked = self.expect.check(reply, keys, board);
        checked.map(|()| Outcome::Fine).map_err(|finding| classify(finding, reply, keys))
    }
}

/// A reply with something of another client is misdelivered, whatever else is wrong with it.
fn classify(finding: Finding, reply: &Value, keys: &Keys) -> Finding {
    match tokens(reply).into_iter().find(|token| !keys.knows(token.client)) {
        Some(alien) => {
            let client = keys.client();
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
            Expect::Taken => {
                if let Shared::Partner(pair) = &keys.shared {
                    pair.elements().doubt();
                }
            }
            // Nothing is watched for sure, not even what was before: a number that is read next must not
            // be raised.
            Expect::Watched(_) => keys.watch = None,
            // The next number is not known, or the transaction may have run.
            Expect::Seen(..) | Expect::Raised(..) => {
                keys.watch.iter_mut().for_each(|watch| watch.number = None)
            }
            _ => {}
        }
    }

    /// Whether the request leaves state on the connection, or needs some: it ends with it.
    pub fn is_stateful(&self) -> bool {
        matches!(
            self,
            Expect::Exec(_)
                | Expect::Watched(_)
                | Expect::Begun
                | Expect::Unwatched
                | Expect::Seen(..)
                | Expect::Raised(..)
        )
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
            _ => self.check_shared(reply, keys, board).unwrap_or_else(|| Err(other())),
        }
    }

    /// The same for what clients share; `None` when the reply is none that this can have.
    fn check_shared(&self, reply: &Value, keys: &mut Keys, board: &Board) -> Option<Result<(), Finding>> {
        let shared = keys.shared.clone();
        match (self, reply, &shared) {
            (Expect::Begun, Value::Simple(text), _) if text == "OK" => Some(Ok(())),
            (Expect::Watched(watch), Value::Simple(text), _) if text == "OK" => {
                keys.watch = Some(*watch);
                Some(Ok(()))
            }
            (Expect::Unwatched, Value::Simple(text), _) if text == "OK" => {
                keys.watch = None;
                Some(Ok(()))
            }
            (Expect::Seen(life, floor), Value::Bulk(_) | Value::Null, Shared::Counter(ledger)) => {
                let text = reply.text();
                let number = if *reply == Value::Null { 0 } else { text.parse().ok()? };
                keys.watch.iter_mut().for_each(|watch| watch.number = Some(number));
                Some(ledger.judge(*life, board, |raises| raises.read(number, *floor)))
            }
            (Expect::Raised(..), Value::Null, _) => {
                keys.watch = None;
                self.refused(&shared);
                Some(Ok(()))
            }
            (Expect::Raised(life, to), Value::Array(items), Shared::Counter(ledger)) => {
                keys.watch = None;
                let [Value::Integer(seen)] = items[..] else { return None };
                Some(ledger.judge(*life, board, |raises| {
                    if seen as u64 == *to {
                        return raises.acknowledged(*to);
                    }
                    raises.ran_as(*to, seen as u64);
                    let story = format!("the counter became {seen} by a transaction that watched {}", to - 1);
                    Err(Finding::new(Wrong::NotIsolated, story))
                }))
            }
            (Expect::Published(serial), Value::Integer(receivers @ 0..), Shared::Partner(pair)) => {
                pair.published(*serial, *receivers);
                Some(Ok(()))
            }
            (Expect::Queued(serial, since), Value::Integer(1..), Shared::Partner(pair)) => {
                pair.elements().acknowledged(*serial, *since);
                Some(Ok(()))
            }
            (Expect::Taken, Value::Null, _) => Some(Ok(())),
            (Expect::Taken, Value::Array(items), Shared::Partner(pair)) => match &items[..] {
                [Value::Bulk(key), Value::Bulk(text)] if *key == pair.list().into_bytes() => {
                    Some(pair.popped(text, &mut keys.popped))
                }
                _ => None,
            },
            (Expect::Drained, Value::Null, _) => Some(Ok(())),
            (Expect::Drained, Value::Array(items), Shared::Partner(pair)) => {
                Some(items.iter().try_for_each(|item| match item {
                    Value::Bulk(text) => pair.popped(text, &mut keys.popped),
                    _ => Err(Finding::new(Wrong::Reordered, "a list whose element is none")),
                }))
            }
            _ => None,
        }
    }

    /// A transaction that did not run.
    fn refused(&self, shared: &Shared) {
        if let (Expect::Raised(life, to), Shared::Counter(ledger)) = (self, shared) {
            let _ = ledger.with(*life, |raises| raises.refused(*to));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::Tag;
    use crate::shared::Ledger;

    /// A slot moves: MULTI, INCR and EXEC are refused, and so is the next WATCH; but the GET behind it
    /// finds its way on a connection that watches nothing.
    #[test]
    fn a_number_read_without_a_watch_is_not_raised() {
        let tag = Tag { text: "{a}".into(), server: 0 };
        let board = Board::new(1, 1, 0, true);
        let mut keys = Keys::new(1, std::slice::from_ref(&tag), 1, 1);
        (keys.shared, keys.own) = (Shared::Counter(Arc::new(Ledger::new(tag, 0))), true);
        board.begin_fault(0, "slot moved");
        let error = |text: &str| Value::Error(text.to_string());
        let watch = |at| Watch { at, life: 0, number: None };
        keys.watch = Some(Watch { number: Some(13), ..watch(0) });
        for (expect, reply) in [
            (Expect::Raised(0, 14), error("EXECABORT Transaction discarded because of previous errors.")),
            (Expect::Watched(watch(9)), error("MOVED 7 10.0.0.1:7001")),
        ] {
            let sent = Sent { expect, servers: 1, at: 0 };
            assert!(matches!(sent.judge(&reply, &mut keys, &board), Ok(Outcome::Error(_))), "{sent:?}");
        }
        let get = Sent { expect: Expect::Seen(0, 0), servers: 1, at: 9 };
        assert!(get.judge(&Value::Null, &mut keys, &board).is_ok());
        assert_eq!(keys.watch, None);
    }
}
