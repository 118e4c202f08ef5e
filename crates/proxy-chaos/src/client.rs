//! One client: sends pipelines, checks every reply, and cuts its own connection now and then.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use tombolo_resp::{FrameScanner, Value};

use crate::board::Board;
use crate::expect::{Expect, Outcome};
use crate::keys::is_greedy;
use crate::report::Tally;
use crate::script::{Kind, Pipeline, Script};
use crate::verdict::{Finding, Wrong};

/// No fault and no timeout lasts as long: a reply that does not come until then is lost.
const PATIENCE: Duration = Duration::from_secs(15);
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
    address: SocketAddrV4,
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

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    used: usize,
    scanner: FrameScanner,
}

impl<'a> Client<'a> {
    /// A client of the pool at `address`.
    pub fn new(
        address: SocketAddrV4,
        script: Script,
        kind: Kind,
        rng: fastrand::Rng,
        board: &'a Board,
    ) -> Client<'a> {
        Client {
            address,
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
        }
    }

    fn cut(&mut self, pipeline: &Pipeline) -> Cut {
        let (kind, cut) = match self.rng.u8(0..5) {
            0 | 1 => ("client cut within a request", Cut::Write(self.rng.usize(..pipeline.bytes.len()))),
            // With state on it, a connection that is half closed is closed: the server does it too.
            2 if self.kind == Kind::Plain => ("client half closed", Cut::Half),
            _ => ("client cut with replies pending", Cut::Read(self.rng.usize(..pipeline.sent.len()))),
        };
        *self.tally.cuts.entry(kind).or_default() += 1;
        cut
    }

    fn pipeline(&mut self, pipeline: &Pipeline, cut: Option<Cut>) {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match Connection::open(self.address) {
                Ok(connection) => {
                    self.lost_state = false;
                    connection
                }
                Err(error) => {
                    let story = format!("no connection to the proxy: {error}");
                    self.tally.found(Finding::new(Wrong::UnexpectedClose, story));
                    return self.board.sleep(100);
                }
            },
        };
        self.board.sent(pipeline.sent.len());
        let mut judged = 0;
        let finding = match self.send(&mut connection, &pipeline.bytes, cut) {
            Ok(()) => self.receive(&mut connection, pipeline, cut, &mut judged),
            Err(error) => self.broken(pipeline, &error),
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
            connection.stream.write_all(first)?;
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..5)));
            rest = second;
        }
        connection.stream.write_all(rest)?;
        match cut {
            Some(Cut::Half) => connection.stream.shutdown(Shutdown::Write)?,
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
        let stateful = self.kind == Kind::Transactions
            && pipeline.sent.iter().any(|sent| matches!(sent.expect, Expect::Exec(_)));
        for sent in &pipeline.sent[..wanted] {
            let reply = match connection.reply() {
                Ok(reply) => reply,
                Err(error) => return self.broken(pipeline, &error),
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
        let more = connection.input.len() - connection.used;
        (cut.is_none() && more > 0).then(|| {
            Finding::new(Wrong::Duplicated, format!("{more} bytes more than the replies to a pipeline"))
        })
    }

    /// What an error of the connection means. Only a transaction may end with its connection, and
    /// only by a fault.
    fn broken(&mut self, pipeline: &Pipeline, error: &io::Error) -> Option<Finding> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Some(Finding::new(Wrong::Lost, format!("no reply in {} s", PATIENCE.as_secs())))
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
        self.kind == Kind::Transactions
            && pipeline.sent.iter().any(|sent| {
                matches!(sent.expect, Expect::Exec(_)) && self.board.is_troubled(sent.servers, sent.at)
            })
    }
}

impl Connection {
    fn open(address: SocketAddrV4) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, input: Vec::new(), used: 0, scanner: FrameScanner::default() })
    }

    /// Makes its end a reset.
    fn reset(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn reply(&mut self) -> io::Result<Value> {
        let invalid = |error: String| io::Error::new(ErrorKind::InvalidData, error);
        loop {
            let rest = &self.input[self.used..];
            if let Some(length) = self.scanner.advance(rest).map_err(|error| invalid(error.to_string()))? {
                let (value, _) = Value::decode(&rest[..length])
                    .ok_or_else(|| invalid("a reply that is none".to_string()))?;
                self.used += length;
                return Ok(value);
            }
            self.input.drain(..std::mem::take(&mut self.used));
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
