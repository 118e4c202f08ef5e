//! A client that behaves, and knows what it must be answered; or one that sends anything.

use std::collections::VecDeque;

use tombolo_proxy::core::ClientId;
use tombolo_resp::{Value, encode};

use super::script::Script;
use super::server;

/// The most requests that one turn of a script adds.
const FLOOD: usize = 300;

pub(super) struct Client {
    pub(super) id: ClientId,
    number: usize,
    pub(super) honest: bool,
    pub(super) open: bool,
    pub(super) eof: bool,
    /// It has asked for something that waits: at its end of input it is given up, as Redis does.
    waits: bool,
    /// What it has not sent yet.
    pub(super) unsent: VecDeque<u8>,
    input: Vec<u8>,
    /// The bytes of the answers that are due.
    pub(super) due: VecDeque<Vec<u8>>,
    asked: usize,
    /// It had an error in place of an answer: its transactions may be broken from here on.
    failed: bool,
}

impl Client {
    pub(super) fn new(id: ClientId, number: usize, honest: bool) -> Client {
        Client {
            id,
            number,
            honest,
            open: true,
            eof: false,
            waits: false,
            unsent: VecDeque::new(),
            input: Vec::new(),
            due: VecDeque::new(),
            asked: 0,
            failed: false,
        }
    }

    fn ask(&mut self, words: &[&str], reply: Vec<u8>) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut bytes = Vec::new();
        encode::request(&mut bytes, &words);
        self.unsent.extend(bytes);
        self.due.push_back(reply);
        self.asked += 1;
    }

    /// A command without state, and the answer that any server gives.
    fn ask_plain(&mut self, words: &[&str]) {
        let args: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut reply = Vec::new();
        server::plain(&words[0].to_lowercase(), &args, &mut reply);
        self.ask(words, reply);
    }

    /// The password of the pool.
    pub(super) fn log_in(&mut self, password: &str) {
        self.ask(&["AUTH", password], b"+OK\r\n".to_vec());
    }

    /// Requests that belong together. Every answer is another one, and names its client.
    pub(super) fn prepare(&mut self, script: &mut Script<'_>) {
        let tag = |n: usize, prefix: &str| format!("{prefix}<{}>-{n}", self.number);
        let (n, ok) = (self.asked, || b"+OK\r\n".to_vec());
        let (a, b, c) = (tag(n, "a"), tag(n, "b"), tag(n, "c"));
        match script.below(10) {
            0 | 1 => self.ask_plain(&["GET", &a]),
            2 => self.ask_plain(&["mget", &format!("x{a}"), "<y>", &b, "<z>", &c]),
            3 => self.ask_plain(&["DEL", &a, "<y>", "<z>"]),
            4 => self.ask(&["PING"], b"+PONG\r\n".to_vec()),
            5 => self.ask_plain(&["ECHO", &a]),
            6 => {
                let mut reply = Vec::new();
                encode::bulk(&mut reply, a.as_bytes());
                self.waits = true;
                self.ask(&["BLPOP", &a, "0"], reply);
            }
            7 => {
                let mut answers = Vec::new();
                encode::array(&mut answers, 2);
                encode::bulk(&mut answers, a.as_bytes());
                encode::bulk(&mut answers, b.as_bytes());
                self.ask(&["MULTI"], ok());
                self.ask(&["GET", &a], b"+QUEUED\r\n".to_vec());
                self.ask(&["GET", &b], b"+QUEUED\r\n".to_vec());
                self.ask(&["EXEC"], answers);
            }
            8 => {
                self.ask(&["WATCH", &a], ok());
                self.ask(&["UNWATCH"], ok());
            }
            _ => {
                // Seldom enough to pass the limits, which takes its time.
                let count = if script.below(8) == 0 { FLOOD } else { script.below(8) };
                for n in 0..count {
                    self.ask_plain(&["GET", &format!("big<{}>-{}", self.number, self.asked + n)]);
                }
            }
        }
    }

    /// It reads `bytes`. `excused`: errors may stand in for answers. Returns whether all is well
    /// formed so far.
    pub(super) fn take(&mut self, bytes: &[u8], excused: bool) {
        self.input.extend_from_slice(bytes);
        let mut used = 0;
        while let Some((_, length)) = Value::decode(&self.input[used..]) {
            let frame = &self.input[used..used + length];
            let text = || String::from_utf8_lossy(&frame[..frame.len().min(200)]).into_owned();
            let due = self.due.pop_front();
            let due =
                due.unwrap_or_else(|| panic!("client {} gets more than it asked: {:?}", self.number, text()));
            if frame.starts_with(b"-") {
                let known = [
                    "-ERR Connection ",
                    "-ERR Host is down",
                    "-EXECABORT",
                    "-ERR EXEC without MULTI",
                    "-ERR max number of clients reached",
                ];
                // A server that is left out takes its keys, and so a transaction, apart.
                let moved = text().contains("another server than this transaction");
                let known = moved || known.iter().any(|start| frame.starts_with(start.as_bytes()));
                assert!(excused && known, "client {} gets {:?} without need", self.number, text());
                self.failed = true;
            } else if frame != due {
                let shown = String::from_utf8_lossy(&due[..due.len().min(200)]).into_owned();
                // After an error it may have lost its MULTI, and gets what GET says outside of one.
                assert!(
                    self.failed && shown == "+QUEUED\r\n",
                    "client {}: {:?} for {shown:?}",
                    self.number,
                    text()
                );
            }
            used += length;
        }
        self.input.drain(..used);
    }

    /// Whether its end is what it asked for.
    pub(super) fn may_end(&self) -> bool {
        self.eof && (self.waits || self.is_done())
    }

    /// Whether nothing is due and nothing left to send.
    pub(super) fn is_done(&self) -> bool {
        self.due.is_empty() && self.unsent.is_empty()
    }
}
