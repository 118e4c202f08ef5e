//! What several clients know together: counters that all of them raise, and what one sends to another.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::board::Board;
use crate::keys::Tag;
use crate::model::{Feed, Raises};
use crate::token::Token;
use crate::verdict::{Finding, Wrong};

type Check = Result<(), Finding>;

/// Channels that a listener subscribes to; the last one by a pattern.
pub const CHANNELS: usize = 3;

/// What a client shares with others.
#[derive(Debug, Clone, Default)]
pub enum Shared {
    /// Nothing.
    #[default]
    Nothing,
    /// A counter.
    Counter(Arc<Ledger>),
    /// A partner that it sends to, or that sends to it.
    Partner(Arc<Pair>),
}

/// A counter that several clients raise. It has another name in each life of its server, so that
/// nobody goes on with a number that a kill took.
#[derive(Debug)]
pub struct Ledger {
    /// Where it is.
    pub tag: Tag,
    /// Pools may have a server in common.
    pool: usize,
    state: Mutex<Lives>,
}

#[derive(Debug, Default)]
struct Lives {
    /// The latest one, and what is known of it.
    life: u64,
    raises: Raises,
    /// Acknowledged transactions of those before.
    before: u64,
}

impl Ledger {
    /// Of a counter with this tag, in a pool.
    pub fn new(tag: Tag, pool: usize) -> Ledger {
        Ledger { tag, pool, state: Mutex::default() }
    }

    /// The counter's key in a life of its server.
    pub fn name(&self, life: u64) -> String {
        format!("{}:p{}:shared:{life}", self.tag.text, self.pool)
    }

    /// Does something with what is known of a life, unless a later one has begun.
    pub fn with<T>(&self, life: u64, what: impl FnOnce(&mut Raises) -> T) -> Option<T> {
        let mut state = lock(&self.state);
        if life > state.life {
            let before = state.before + state.raises.sum();
            *state = Lives { life, raises: Raises::default(), before };
        }
        (life == state.life).then(|| what(&mut state.raises))
    }

    /// How many transactions were acknowledged in all lives.
    pub fn sum(&self) -> u64 {
        let state = lock(&self.state);
        state.before + state.raises.sum()
    }

    /// The same for what a reply says: a server that may have been killed since proves nothing.
    pub fn judge(&self, life: u64, board: &Board, what: impl FnOnce(&mut Raises) -> Check) -> Check {
        if board.kills_begun(self.tag.server) > life {
            return Ok(());
        }
        self.with(life, what).unwrap_or(Ok(()))
    }
}

/// Two clients of which one publishes and pushes, and the other listens and pops.
#[derive(Debug)]
pub struct Pair {
    publisher: u32,
    listener: u32,
    /// Where the list is.
    pub tag: Tag,
    /// The server of messages, as a bit.
    pub messages_at: u64,
    /// A publication may be told of before its subscribers have it, and to nodes that have none.
    spread: bool,
    messages: Mutex<Feed>,
    elements: Mutex<Feed>,
    /// At the end: the listener has heard something, so the publisher need not go on.
    pub heard: AtomicBool,
}

impl Pair {
    /// Of two clients. `spread` is whether messages go from node to node.
    pub fn new(publisher: u32, listener: u32, tag: Tag, messages_at: u64, spread: bool) -> Pair {
        let (messages, elements, heard) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Pair { publisher, listener, tag, messages_at, spread, messages, elements, heard }
    }

    /// The list.
    pub fn list(&self) -> String {
        format!("{}:c{}:queue", self.tag.text, self.publisher)
    }

    /// A channel by its number.
    pub fn channel(&self, slot: usize) -> String {
        let kind = if slot + 1 == CHANNELS { "pattern" } else { "channel" };
        format!("c{}:{kind}:{slot}", self.publisher)
    }

    /// What has only the last channel.
    pub fn pattern(&self) -> String {
        format!("c{}:pattern:*", self.publisher)
    }

    /// Whether a client is one of them.
    pub fn has(&self, client: u32) -> bool {
        client == self.publisher || client == self.listener
    }

    /// What is known of messages.
    pub fn messages(&self) -> MutexGuard<'_, Feed> {
        lock(&self.messages)
    }

    /// What is known of the list's elements.
    pub fn elements(&self) -> MutexGuard<'_, Feed> {
        lock(&self.elements)
    }

    /// A publication was acknowledged; so many have got it.
    pub fn published(&self, serial: u64, receivers: i64) {
        if receivers > 0 || !self.spread {
            self.messages().acknowledged(serial, 0);
        }
    }

    /// A message has come in this channel, after `last` of the same subscription.
    pub fn message(&self, channel: &[u8], text: &[u8], last: &mut Option<u64>) -> Check {
        let alien = || {
            let (channel, text) = (String::from_utf8_lossy(channel), String::from_utf8_lossy(text));
            Finding::new(Wrong::Misdelivered, format!("message {text:?} of channel {channel:?}"))
        };
        let token = Token::parse(text).ok_or_else(alien)?;
        let right = token.client == self.publisher && self.channel(token.slot as usize).as_bytes() == channel;
        if !right || (token.slot as usize) >= CHANNELS {
            return Err(alien());
        }
        self.messages().received(token.serial, *last)?;
        // Over a cluster's bus, messages of different nodes are in no order.
        *last = if self.spread { None } else { (*last).max(Some(token.serial)) };
        Ok(())
    }

    /// An element was popped, after `last`.
    pub fn popped(&self, text: &[u8], last: &mut Option<u64>) -> Check {
        let token = Token::parse(text).filter(|token| token.client == self.publisher).ok_or_else(|| {
            let text = String::from_utf8_lossy(text);
            Finding::new(Wrong::Misdelivered, format!("{text:?} in the list of client {}", self.publisher))
        })?;
        self.elements().received(token.serial, *last)?;
        *last = (*last).max(Some(token.serial));
        Ok(())
    }

    /// Whatever is wrong with the whole.
    pub fn end(&self, board: &Board) -> Vec<Finding> {
        let mut findings = self.messages().end();
        findings.extend(self.elements().end_of_queue(board.kills_begun(self.tag.server)));
        findings
    }

    /// Tells the publisher that the listener has heard something.
    pub fn hear(&self) {
        self.heard.store(true, SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
