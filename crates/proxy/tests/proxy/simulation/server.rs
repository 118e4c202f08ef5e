//! A server's end of a connection in the simulation. It remembers what Redis remembers of a
//! connection, and panics about requests that must not run in that state.

use std::collections::{HashSet, VecDeque};

use tombolo_resp::{Request, RequestParser, Step, encode};

#[derive(Default)]
pub(crate) struct FakeServer {
    /// The database that tokens without state belong to.
    home: u32,
    parser: RequestParser,
    pub(crate) input: Vec<u8>,
    /// Replies that it has not sent yet.
    pub(crate) output: VecDeque<u8>,
    /// The reply to a command that waits; nothing else runs before it.
    blocked: Option<Vec<u8>>,
    database: u32,
    transaction: Option<Vec<String>>,
    subscribed: Option<(String, u32)>,
}

impl FakeServer {
    pub(crate) fn new(home: u32) -> FakeServer {
        FakeServer { home, ..FakeServer::default() }
    }

    /// Works on the requests that are complete. `executed` has every token that ran.
    pub(crate) fn work(&mut self, executed: &mut HashSet<String>) {
        let mut parser = std::mem::take(&mut self.parser);
        while self.blocked.is_none() {
            let Ok(Step::Complete(length)) = parser.advance(&self.input) else { break };
            let input = std::mem::take(&mut self.input);
            self.execute(&parser.request(&input), executed);
            self.input = input;
            self.input.drain(..length);
        }
        self.parser = parser;
    }

    fn execute(&mut self, request: &Request<'_>, executed: &mut HashSet<String>) {
        let text = |at: usize| String::from_utf8(request.arg(at).unwrap_or_default().to_vec()).expect("text");
        let (name, argument) = (text(0), text(1));
        let mut reply = Vec::new();
        assert!(self.subscribed.is_none() || name == "UNSUBSCRIBE", "{name} on a subscriber's connection");
        match name.as_str() {
            "GET" | "BLPOP" => {
                assert!(executed.insert(argument.clone()), "{argument} reached a server twice");
                let place = (self.transaction.is_some(), self.database == 5, self.database == self.home);
                let right = match &argument[..1] {
                    "m" => place.0,
                    "d" => !place.0 && place.1,
                    _ => !place.0 && place.2,
                };
                assert!(right, "{argument} ran in the wrong place");
                if let Some(tokens) = &mut self.transaction {
                    tokens.push(argument);
                    encode::simple(&mut reply, "QUEUED");
                } else {
                    encode::bulk(&mut reply, argument.as_bytes());
                    if name == "BLPOP" {
                        self.blocked = Some(std::mem::take(&mut reply));
                    }
                }
            }
            "MGET" | "DEL" => {
                let tokens: Vec<String> = (1..request.len()).map(text).collect();
                for token in &tokens {
                    assert!(executed.insert(token.clone()), "{token} reached a server twice");
                }
                assert!(self.transaction.is_none(), "{tokens:?} ran in a transaction");
                if name == "DEL" {
                    encode::integer(&mut reply, tokens.len() as i64);
                } else {
                    encode::array(&mut reply, tokens.len());
                    tokens.iter().for_each(|token| encode::bulk(&mut reply, token.as_bytes()));
                }
            }
            "MULTI" => {
                assert!(self.transaction.replace(Vec::new()).is_none(), "MULTI in MULTI");
                encode::simple(&mut reply, "OK");
            }
            "EXEC" => {
                let tokens = self.transaction.take().expect("EXEC without MULTI");
                encode::array(&mut reply, tokens.len());
                tokens.iter().for_each(|token| encode::bulk(&mut reply, token.as_bytes()));
            }
            "SELECT" => {
                self.database = argument.parse().expect("a database");
                encode::simple(&mut reply, "OK");
            }
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                let starts = name == "SUBSCRIBE";
                encode::array(&mut reply, 3);
                encode::bulk(&mut reply, name.to_lowercase().as_bytes());
                encode::bulk(&mut reply, argument.as_bytes());
                encode::integer(&mut reply, starts.into());
                self.subscribed = starts.then_some((argument, 0));
            }
            "PING" => encode::simple(&mut reply, "PONG"),
            "ECHO" => encode::bulk(&mut reply, argument.as_bytes()),
            _ => encode::simple(&mut reply, "OK"),
        }
        self.output.extend(reply);
    }

    /// A message that answers nothing.
    pub(crate) fn push(&mut self) {
        self.output.extend(b">2\r\n$10\r\ninvalidate\r\n:1\r\n");
    }

    /// Something that the connection waits for happens.
    pub(crate) fn stir(&mut self, executed: &mut HashSet<String>) {
        if let Some((name, number)) = &mut self.subscribed {
            let mut message = Vec::new();
            encode::request(&mut message, &[b"message", name.as_bytes(), number.to_string().as_bytes()]);
            *number += 1;
            self.output.extend(message);
        }
        if let Some(reply) = self.blocked.take() {
            self.output.extend(reply);
            self.work(executed);
        }
    }
}
