//! The keys of one client, with what it knows of each.

use tombolo_resp::Value;

use crate::board::Board;
use crate::model::{Counter, Journal, Register};
use crate::shared::Shared;
use crate::token::{LENGTH, Token};
use crate::verdict::{Finding, Wrong};

/// A hash tag and the server that its keys are on.
#[derive(Debug, Clone)]
pub struct Tag {
    /// With its braces.
    pub text: String,
    /// The index of the server.
    pub server: usize,
}

/// A value on its way to a register; `None` for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The register.
    pub slot: usize,
    /// The value.
    pub value: Option<Token>,
    /// The kills of the server before it was sent.
    pub since: u64,
}

/// A key. It is given up for a new one when too much about it is in doubt.
#[derive(Debug)]
pub struct Key<M> {
    /// The key itself.
    pub name: String,
    /// Its server.
    pub server: usize,
    /// What is known of its value.
    pub model: M,
    prefix: String,
    generation: u32,
}

impl<M: Default> Key<M> {
    fn new(tag: &Tag, prefix: String) -> Key<M> {
        let mut key = Key {
            name: String::new(),
            server: tag.server,
            model: M::default(),
            prefix: format!("{}:{prefix}", tag.text),
            generation: 0,
        };
        key.renew();
        key
    }

    /// Begins with a key that was never used; returns the old one.
    pub fn renew(&mut self) -> String {
        self.generation += 1;
        self.model = M::default();
        let name = format!("{}:{}", self.prefix, self.generation);
        std::mem::replace(&mut self.name, name)
    }
}

/// All keys of a client.
#[derive(Debug)]
pub struct Keys {
    client: u32,
    serial: u64,
    /// For SET and GET.
    pub registers: Vec<Key<Register>>,
    /// For INCR.
    pub counters: Vec<Key<Counter>>,
    /// For APPEND.
    pub journals: Vec<Key<Journal>>,
    /// The last push to a list got no reply, or an error.
    pub push_failed: bool,
    /// The client may have a connection of its own.
    pub own: bool,
    /// What it knows together with others.
    pub shared: Shared,
    /// A counter that is watched.
    pub watch: Option<Watch>,
    /// The last element that was popped from the partner's list.
    pub popped: Option<u64>,
}

/// State on a connection: a counter that is watched there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Since when, in the board's milliseconds.
    pub at: u64,
    /// The life of the counter.
    pub life: u64,
    /// Its number, once it is known.
    pub number: Option<u64>,
}

impl Keys {
    /// For a client, spread over `tags`, so many of each kind.
    pub fn new(client: u32, tags: &[Tag], registers: usize, others: usize) -> Keys {
        let tag = |index: usize| &tags[(client as usize * 7 + index) % tags.len()];
        Keys {
            client,
            serial: 0,
            registers: (0..registers).map(|i| Key::new(tag(i), format!("c{client}:r{i}"))).collect(),
            counters: (0..others).map(|i| Key::new(tag(i), format!("c{client}:n{i}"))).collect(),
            journals: (0..others).map(|i| Key::new(tag(i), format!("c{client}:j{i}"))).collect(),
            push_failed: false,
            own: false,
            shared: Shared::default(),
            watch: None,
            popped: None,
        }
    }

    /// Begins anew with keys that were never used.
    pub fn forget(&mut self) {
        self.registers.iter_mut().for_each(|key| drop(key.renew()));
        self.counters.iter_mut().for_each(|key| drop(key.renew()));
        self.journals.iter_mut().for_each(|key| drop(key.renew()));
    }

    /// Whose keys they are.
    pub fn client(&self) -> u32 {
        self.client
    }

    /// Whether this client may see something of another one.
    pub fn knows(&self, client: u32) -> bool {
        client == self.client || matches!(&self.shared, Shared::Partner(pair) if pair.has(client))
    }

    /// A token that was never used.
    pub fn token(&mut self, slot: usize) -> Token {
        self.serial += 1;
        Token { client: self.client, slot: slot as u32, serial: self.serial }
    }

    /// Values were written.
    pub fn wrote(&mut self, writes: &[Write]) {
        writes.iter().for_each(|write| self.registers[write.slot].model.wrote(write.value, write.since));
    }

    /// The value of a register was read.
    pub fn read(&mut self, slot: usize, reply: &Value, board: &Board) -> Result<(), Finding> {
        let other = || {
            let text: String = reply.text().chars().take(80).collect();
            Finding::new(Wrong::Reordered, format!("{text:?} instead of the value of register {slot}"))
        };
        let seen = match reply {
            Value::Null => None,
            Value::Bulk(bytes) => {
                let token = Token::parse(bytes).filter(|token| is_value(bytes, *token)).ok_or_else(other)?;
                Some(token).filter(|token| token.slot as usize == slot).ok_or_else(other).map(Some)?
            }
            _ => return Err(other()),
        };
        let key = &mut self.registers[slot];
        key.model.read(seen, board.kills_begun(key.server))
    }

    /// Registers were deleted; so many had been there.
    pub fn deleted(&mut self, writes: &[Write], count: i64, board: &Board) -> Result<(), Finding> {
        let (mut sure, mut perhaps) = (0, 0);
        for write in writes {
            let key = &self.registers[write.slot];
            let exists = key.model.exists(board.kills_begun(key.server));
            (sure, perhaps) = (sure + i64::from(exists.0), perhaps + i64::from(exists.1));
        }
        self.wrote(writes);
        if (sure..=perhaps).contains(&count) {
            return Ok(());
        }
        let story = format!("{count} of {} keys deleted instead of {sure} to {perhaps}", writes.len());
        Err(Finding::new(if count < sure { Wrong::Lost } else { Wrong::Duplicated }, story))
    }
}

/// Whether a client asks for much and reads it late: what it is owed has to be kept, within limits.
pub fn is_greedy(client: u32) -> bool {
    client % 8 == 5
}

/// The text of a token, padded by dots; how far, the token says, so that replies differ in length.
pub fn value(token: Token) -> String {
    let mut text = token.text();
    let padding = match token.serial % 512 {
        rest if rest == 0 || (rest % 2 == 0 && is_greedy(token.client)) => 16 << 10,
        rest if rest % 16 == 0 => rest as usize,
        _ => 0,
    };
    text.extend(std::iter::repeat_n('.', padding));
    text
}

fn is_value(bytes: &[u8], token: Token) -> bool {
    bytes.len() == value(token).len() && bytes[LENGTH..].iter().all(|byte| *byte == b'.')
}
