//! One client: sends pipelines, checks every reply, and cuts its own connection now and then.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tombolo_resp::Value;

use crate::board::Board;
use crate::connection::{Connection, Door, PATIENCE};
use crate::expect::Outcome;
use crate::keys::is_greedy;
use crate::report::Tally;
use crate::script::{Kind, Pipeline, Script};
use crate::shared::{Pair, Shared};
use crate::verdict::{Finding, Wrong};

mod listen;

use listen::Plan;

/// One pipeline in so many is cut, during storms.
const CUTS: u32 = 60;
/// The same for the first one of a connection. What an earlier connection asked for is then still
/// under way, and its replies must not be taken for this one's.
const EARLY_CUTS: u32 = 4;
/// One pipeline in so many is sent in pieces, or its replies are read late.
const ODDITIES: u32 = 20;

/// How a client ends its own connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Within a request, after so many bytes.
    Write(usize),
    /// With so many replies read.
    Read(usize),
    /// Only its own direction, when all is sent; every reply must still come.
    Half,
}

/// A client with a script.
pub struct Client<'a> {
    door: Door,
    script: Script,
    kind: Kind,
    rng: fastrand::Rng,
    board: &'a Board,
    connection: Option<Connection>,
    /// A transaction got an error: the end of the connection may follow.
    lost_state: bool,
    /// What it has seen.
    pub tally: Tally,
}

impl<'a> Client<'a> {
    /// A client of the pool behind `door`.
    pub fn new(door: Door, script: Script, kind: Kind, rng: fastrand::Rng, board: &'a Board) -> Client<'a> {
        Client {
            door,
            script,
            kind,
            rng,
            board,
            connection: None,
            lost_state: false,
            tally: Tally::default(),
        }
    }

    /// Sends pipelines until there were enough requests.
    pub fn run(&mut self) {
        while !self.board.is_enough() {
            if self.connection.is_none() {
                self.script.keys.watch = None;
            }
            if self.kind == Kind::Listening && self.rng.bool() {
                if let Shared::Partner(pair) = self.script.keys.shared.clone() {
                    let cut = self.board.is_storm() && self.rng.u8(0..4) == 0;
                    let plan = Plan { messages: self.rng.usize(..200), ms: self.rng.u64(20..300), cut };
                    self.listen(&pair, plan);
                }
                continue;
            }
            let pipeline = self.script.next(&mut self.rng, self.board);
            let odds = if self.connection.is_some() { CUTS } else { EARLY_CUTS };
            let cut = (self.board.is_storm() && self.rng.u32(0..odds) == 0).then(|| self.cut(&pipeline));
            self.pipeline(&pipeline, cut);
            self.board.pace();
        }
    }

    /// Reads everything once more, when no fault excuses an error.
    pub fn verify(&mut self) {
        if !self.board.is_over() {
            let pipeline = self.script.last(self.board);
            self.pipeline(&pipeline, None);
            if let Shared::Partner(pair) = self.script.keys.shared.clone() {
                self.say_farewell(&pair);
            }
        }
    }

    /// The publisher goes on until the listener has heard something.
    fn say_farewell(&mut self, pair: &Arc<Pair>) {
        let end = Instant::now() + PATIENCE;
        if self.kind == Kind::Listening {
            let plan = Plan { messages: 1, ms: PATIENCE.as_millis() as u64, cut: false };
            if self.listen(pair, plan) == 0 && !self.board.is_over() {
                self.tally.found(Finding::new(Wrong::Lost, "no message comes any more"));
            }
            pair.hear();
        }
        while self.kind == Kind::Publishing && !pair.heard.load(SeqCst) && Instant::now() < end {
            let pipeline = self.script.farewell(self.board, pair);
            self.pipeline(&pipeline, None);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The present connection, or a new one.
    fn connect(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        match Connection::open(&self.door) {
            Ok(connection) => {
                self.lost_state = false;
                // Who listens reads messages, which are not replies in RESP3.
                let speaks_resp3 = self.kind != Kind::Listening && self.rng.bool();
                if speaks_resp3 { self.greet(connection) } else { Some(connection) }
            }
            Err(error) => {
                let story = format!("no connection to the proxy: {error}");
                self.tally.found(Finding::new(Wrong::UnexpectedClose, story));
                self.board.sleep(100);
                None
            }
        }
    }

    /// Has the proxy speak RESP3. Where its server is not there it may say so, or close the connection as a server's
    /// end would, but not be silent.
    fn greet(&mut self, mut connection: Connection) -> Option<Connection> {
        match connection.send(b"HELLO 3\r\n").and_then(|()| connection.reply()) {
            Ok(Value::Map(_) | Value::Error(_)) => return Some(connection),
            Ok(other) => {
                let story = format!("HELLO 3 was answered with {other:?}");
                self.tally.found(Finding::new(Wrong::Misdelivered, story));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.tally.found(Finding::new(Wrong::Lost, "HELLO 3 was not answered"));
            }
            Err(_) => self.board.sleep(10),
        }
        None
    }

    fn cut(&mut self, pipeline: &Pipeline) -> Cut {
        let (kind, cut) = match self.rng.u8(0..5) {
            0 | 1 => ("client cut within a request", Cut::Write(self.rng.usize(..pipeline.bytes.len()))),
            // With state on it, a connection that is half closed is closed: the server does it too.
            2 if self.kind.shares() => ("client half closed", Cut::Half),
            _ => ("client cut with replies pending", Cut::Read(self.rng.usize(..pipeline.sent.len()))),
        };
        *self.tally.cuts.entry(kind).or_default() += 1;
        cut
    }

    fn pipeline(&mut self, pipeline: &Pipeline, cut: Option<Cut>) {
        let Some(mut connection) = self.connect() else { return };
        self.board.sent(pipeline.sent.len());
        let mut judged = 0;
        let finding = match self.send(&mut connection, &pipeline.bytes, cut) {
            Ok(()) => self.receive(&mut connection, pipeline, cut, &mut judged),
            Err(error) => self.broken(pipeline, 0, &error),
        };
        self.board.checked(judged as u64);
        pipeline.sent[judged..].iter().for_each(|sent| sent.expect.doubt(&mut self.script.keys));
        if finding.is_some() {
            // One failure must not make others.
            self.script.keys.forget();
        }
        match finding {
            Some(finding) if finding.wrong == Wrong::Lost && judged < pipeline.sent.len() => {
                self.tally.count(finding, (pipeline.sent.len() - judged) as u64);
            }
            Some(finding) => self.tally.found(finding),
            None if judged == pipeline.sent.len() && cut != Some(Cut::Half) => {
                self.connection = Some(connection);
            }
            None if self.rng.bool() => connection.reset(),
            None => {}
        }
    }

    fn send(&mut self, connection: &mut Connection, bytes: &[u8], cut: Option<Cut>) -> io::Result<()> {
        let bytes = if let Some(Cut::Write(at)) = cut { &bytes[..at] } else { bytes };
        let mut rest = bytes;
        if self.rng.u32(0..ODDITIES) == 0 && !bytes.is_empty() {
            let (first, second) = bytes.split_at(self.rng.usize(..bytes.len()));
            connection.send(first)?;
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..5)));
            rest = second;
        }
        connection.send(rest)?;
        match cut {
            Some(Cut::Half) => connection.end_requests()?,
            None if self.rng.u32(0..ODDITIES) == 0 => {
                let ms = if is_greedy(self.script.keys.client()) { 500 } else { 30 };
                std::thread::sleep(Duration::from_millis(self.rng.u64(0..ms)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads and judges replies; counts them in `judged`.
    fn receive(
        &mut self,
        connection: &mut Connection,
        pipeline: &Pipeline,
        cut: Option<Cut>,
        judged: &mut usize,
    ) -> Option<Finding> {
        let wanted = match cut {
            Some(Cut::Write(_)) => 0,
            Some(Cut::Read(count)) => count,
            Some(Cut::Half) | None => pipeline.sent.len(),
        };
        let stateful = pipeline.sent.iter().any(|sent| sent.expect.is_stateful());
        for sent in &pipeline.sent[..wanted] {
            let reply = match connection.reply() {
                Ok(reply) => reply,
                Err(error) => return self.broken(pipeline, *judged, &error),
            };
            *judged += 1;
            match sent.judge(&reply, &mut self.script.keys, self.board) {
                Ok(Outcome::Fine) => {}
                Ok(Outcome::Error(text)) => {
                    *self.tally.errors.entry(text).or_default() += 1;
                    self.lost_state |= stateful;
                }
                Err(finding) => {
                    // A write that was answered wrongly may have run.
                    sent.expect.doubt(&mut self.script.keys);
                    let story = format!("reply {judged} of {}: {}", pipeline.sent.len(), finding.story);
                    return Some(Finding { story, ..finding });
                }
            }
        }
        let more = connection.rest();
        (cut.is_none() && more > 0).then(|| {
            Finding::new(Wrong::Duplicated, format!("{more} bytes more than the replies to a pipeline"))
        })
    }

    /// What an error of the connection means. Only a transaction may end with its connection, and
    /// only by a fault.
    fn broken(&mut self, pipeline: &Pipeline, judged: usize, error: &io::Error) -> Option<Finding> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let waits_for = pipeline.sent.get(judged).map(|sent| &sent.expect);
                let story = format!(
                    "no reply in {} s to request {} of {} of client {} ({:?}): {waits_for:?}",
                    PATIENCE.as_secs(),
                    judged + 1,
                    pipeline.sent.len(),
                    self.script.keys.client(),
                    self.kind,
                );
                Some(Finding::new(Wrong::Lost, story))
            }
            ErrorKind::InvalidData => Some(Finding::new(Wrong::Reordered, error.to_string())),
            _ if self.lost_state || self.may_lose_state(pipeline) => {
                self.tally.closed_with_state += 1;
                None
            }
            _ => {
                let story = format!("a connection for {:?} has ended: {error}", self.kind);
                Some(Finding::new(Wrong::UnexpectedClose, story))
            }
        }
    }

    fn may_lose_state(&self, pipeline: &Pipeline) -> bool {
        let ledger = self.script.ledger();
        let watched = self
            .script
            .keys
            .watch
            .zip(ledger)
            .is_some_and(|(watch, ledger)| self.board.is_troubled(1 << ledger.tag.server, watch.at));
        watched
            || pipeline
                .sent
                .iter()
                .any(|sent| sent.expect.is_stateful() && self.board.is_troubled(sent.servers, sent.at))
    }
}
