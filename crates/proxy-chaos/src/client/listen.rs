//! A listener's time as a subscriber: from shared connections to one of its own and back.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tombolo_resp::{Value, encode};

use super::Client;
use crate::connection::{Connection, PATIENCE};
use crate::shared::{CHANNELS, Pair};
use crate::verdict::{Finding, Wrong};

/// How often a subscriber looks whether it has listened long enough.
const GLANCE: Duration = Duration::from_millis(20);

/// How a subscription goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Until so many messages have come,
    pub(super) messages: usize,
    /// or so many milliseconds are over.
    pub(super) ms: u64,
    /// It ends with the connection.
    pub(super) cut: bool,
}

/// What ends a subscription too early.
enum End {
    Wrong(Finding),
    Broken(io::Error),
}

impl From<Finding> for End {
    fn from(finding: Finding) -> End {
        End::Wrong(finding)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Broken(error)
    }
}

impl Client<'_> {
    /// Subscribes to the partner's channels, checks messages, and unsubscribes. Returns how many came.
    pub(super) fn listen(&mut self, pair: &Pair, plan: Plan) -> usize {
        let Some(mut connection) = self.connect() else { return 0 };
        let since = self.board.now();
        let mut heard = 0;
        match self.subscription(&mut connection, pair, plan, &mut heard) {
            Ok(()) if plan.cut => {
                *self.tally.cuts.entry("subscriber cut").or_default() += 1;
                if self.rng.bool() {
                    connection.reset();
                }
            }
            Ok(()) => self.connection = Some(connection),
            Err(End::Wrong(finding)) => self.tally.found(finding),
            Err(End::Broken(error)) => match error.kind() {
                ErrorKind::InvalidData => self.tally.found(Finding::new(Wrong::Reordered, error.to_string())),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    let story = format!("no confirmation of a subscription in {} s", PATIENCE.as_secs());
                    self.tally.found(Finding::new(Wrong::Lost, story));
                }
                _ if self.lost_state || self.board.is_troubled(pair.messages_at, since) => {
                    self.tally.closed_with_state += 1;
                }
                _ => {
                    let story = format!("a subscriber's connection has ended: {error}");
                    self.tally.found(Finding::new(Wrong::UnexpectedClose, story));
                }
            },
        }
        self.tally.messages += heard as u64;
        heard
    }

    fn subscription(
        &mut self,
        connection: &mut Connection,
        pair: &Pair,
        plan: Plan,
        heard: &mut usize,
    ) -> Result<(), End> {
        let channels: Vec<String> = (0..CHANNELS - 1).map(|slot| pair.channel(slot)).collect();
        let mut words: Vec<&str> = vec!["SUBSCRIBE"];
        words.extend(channels.iter().map(String::as_str));
        let asked = self.board.now();
        self.ask(connection, &words)?;
        self.ask(connection, &["PSUBSCRIBE", &pair.pattern()])?;
        // Until all is subscribed to, and after the first is not, gaps are as they should be.
        let mut nothing = None;
        self.confirmed(connection, pair, (asked, &["subscribe", "psubscribe"]), heard, &mut nothing)?;
        let (mut last, end) = (None, self.board.now() + plan.ms);
        connection.patience(GLANCE)?;
        while *heard < plan.messages && self.board.now() < end && !self.board.is_over() {
            match connection.reply() {
                Ok(message) => self.message(&message, pair, heard, &mut last)?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        connection.patience(PATIENCE)?;
        if plan.cut {
            return Ok(());
        }
        let asked = self.board.now();
        self.ask(connection, &["UNSUBSCRIBE"])?;
        self.ask(connection, &["PUNSUBSCRIBE", &pair.pattern()])?;
        self.confirmed(connection, pair, (asked, &["unsubscribe", "punsubscribe"]), heard, &mut nothing)?;
        match connection.rest() {
            0 => Ok(()),
            more => {
                let story = format!("{more} bytes more than the confirmations");
                Err(Finding::new(Wrong::Duplicated, story).into())
            }
        }
    }

    fn ask(&mut self, connection: &mut Connection, words: &[&str]) -> io::Result<()> {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        self.board.sent(1);
        connection.send(&bytes)
    }

    /// Reads until each channel and the pattern is confirmed, which was asked for at a time and is
    /// answered in words of two kinds, with messages in between.
    fn confirmed(
        &mut self,
        connection: &mut Connection,
        pair: &Pair,
        (asked, kinds): (u64, &[&str; 2]),
        heard: &mut usize,
        last: &mut Option<u64>,
    ) -> Result<(), End> {
        let mut wanted = CHANNELS;
        while wanted > 0 {
            let reply = connection.reply()?;
            let kind = reply.items().first().map(Value::text).unwrap_or_default();
            if kinds.contains(&kind.as_str()) && reply.items().len() == 3 {
                wanted -= 1;
                self.board.checked(u64::from(wanted == 0) * 2);
            } else if let Value::Error(text) = &reply {
                // The end of the connection follows, since a subscription was wanted of it.
                let known = self.board.excuse(pair.messages_at, asked, true, text)?;
                *self.tally.errors.entry(known).or_default() += 1;
                self.lost_state = true;
                wanted -= 1;
            } else {
                self.message(&reply, pair, heard, last)?;
                *last = None;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        reply: &Value,
        pair: &Pair,
        heard: &mut usize,
        last: &mut Option<u64>,
    ) -> Result<(), Finding> {
        let (kind, words): (&[u8], &[Value]) = match reply.items() {
            [Value::Bulk(kind), words @ ..] => (kind, words),
            _ => (b"", &[]),
        };
        match (kind, words) {
            (b"message", [Value::Bulk(channel), Value::Bulk(text)]) => pair.message(channel, text, last)?,
            (b"pmessage", [Value::Bulk(pattern), Value::Bulk(channel), Value::Bulk(text)])
                if *pattern == pair.pattern().into_bytes() =>
            {
                pair.message(channel, text, last)?;
            }
            _ => {
                let story = format!("{reply:?} to a subscriber of client {pair:?}");
                return Err(Finding::new(Wrong::Misdelivered, story.chars().take(300).collect::<String>()));
            }
        }
        *heard += 1;
        Ok(())
    }
}
