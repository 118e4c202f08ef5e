//! A proxy that is wrong on purpose, to prove that the checker notices.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};
use clap::ValueEnum;
use tombolo_resp::{FrameScanner, RequestParser, Step};

mod subscriber;

use subscriber::Subscriber;

/// One reply or request in so many is treated wrongly.
const SELDOM: u64 = 50;
/// The same for what there is less of: messages, and elements of a partner's list.
const OFTEN: u64 = 5;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// Nothing: the proof that the others are noticed for what they do.
    Nothing,
    /// Clients get each other's replies.
    Swap,
    /// Two replies of a client change places.
    Reorder,
    /// A request is sent to the server twice.
    Resend,
    /// A reply never comes, and the others move up.
    Swallow,
    /// The connection is closed.
    Close,
    /// An error comes instead of the reply.
    Invent,
    /// A WATCH is answered, and not told to the server.
    Unwatch,
    /// What was pushed is pushed again.
    Requeue,
    /// A subscriber gets a message twice.
    Repeat,
    /// A subscriber does not get a message.
    Drop,
    /// A subscriber gets two messages in the other order.
    Overtake,
    /// Not a wrong proxy: the right one is not told that its configuration has changed.
    Deaf,
}

impl Sabotage {
    /// Whether the wrong proxy takes the place of the right one.
    pub fn replaces(self) -> bool {
        self != Sabotage::Deaf
    }
}

/// A reply on its way to somebody else, with whose it is.
type Exchange = Mutex<Option<(u64, Vec<u8>)>>;

/// Listens at `address` and serves from the server at `target`, in threads that live as long as
/// this process.
pub fn start(address: SocketAddrV4, target: SocketAddrV4, sabotage: Sabotage) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    let exchange = Arc::new(Exchange::default());
    std::thread::spawn(move || {
        for (id, client) in (1..).zip(listener.incoming().flatten()) {
            let exchange = Arc::clone(&exchange);
            std::thread::spawn(move || {
                if let Ok(server) = TcpStream::connect(target) {
                    let _ = server.set_nodelay(true);
                    let mut session = Session { id, client, server, exchange, sabotage, count: id % SELDOM };
                    let _ = session.serve();
                }
            });
        }
    });
    Ok(())
}

struct Session {
    id: u64,
    client: TcpStream,
    server: TcpStream,
    exchange: Arc<Exchange>,
    sabotage: Sabotage,
    count: u64,
}

impl Session {
    fn serve(&mut self) -> Result<()> {
        let (mut input, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match self.client.read(&mut chunk)? {
                0 => return Ok(()),
                count => input.extend_from_slice(&chunk[..count]),
            }
            let mut parser = RequestParser::default();
            let (mut used, mut replies) = (0, Vec::new());
            while let Step::Complete(length) = parser.advance(&input[used..])? {
                let request = &input[used..used + length];
                used += length;
                let name = parser.request(request).name().to_vec();
                if name == b"SUBSCRIBE" {
                    let rest = input[used - length..].to_vec();
                    let replies: Vec<Vec<u8>> = replies;
                    self.client.write_all(&replies.concat())?;
                    return Subscriber::new(self).serve(&rest);
                }
                if name == b"WATCH" && self.sabotage == Sabotage::Unwatch {
                    replies.push(b"+OK\r\n".to_vec());
                    continue;
                }
                let is_write = name == b"INCR" || name == b"APPEND";
                if is_write && self.sabotage == Sabotage::Resend && self.is_time() {
                    self.forward(request)?;
                }
                replies.push(self.forward(request)?);
                if name == b"RPUSH" && self.sabotage == Sabotage::Requeue && self.is_time_of(OFTEN) {
                    self.forward(request)?;
                }
            }
            input.drain(..used);
            self.spoil(&mut replies)?;
            self.client.write_all(&replies.concat())?;
        }
    }

    fn is_time(&mut self) -> bool {
        self.is_time_of(SELDOM)
    }

    fn is_time_of(&mut self, times: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(times)
    }

    fn forward(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.server.write_all(request)?;
        let (mut reply, mut chunk, mut scanner) = (Vec::new(), [0; 32 << 10], FrameScanner::default());
        loop {
            match self.server.read(&mut chunk)? {
                0 => bail!("the server closed the connection"),
                count => reply.extend_from_slice(&chunk[..count]),
            }
            if scanner.advance(&reply)?.is_some() {
                return Ok(reply);
            }
        }
    }

    fn spoil(&mut self, replies: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut at = 0;
        while at < replies.len() {
            // Of alike ones nobody can say which is which.
            let bulk = replies[at].starts_with(b"$") && replies[at].len() > 20;
            if bulk && self.is_time() {
                match self.sabotage {
                    Sabotage::Swap => self.swap(&mut replies[at]),
                    Sabotage::Reorder if at + 1 < replies.len() => replies.swap(at, at + 1),
                    Sabotage::Reorder => {}
                    Sabotage::Swallow => drop(replies.remove(at)),
                    Sabotage::Close => bail!("sabotage"),
                    Sabotage::Invent => replies[at] = b"-ERR Connection refused\r\n".to_vec(),
                    _ => {}
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// Gives the reply to the next other client, and takes what the one before has given.
    fn swap(&self, reply: &mut Vec<u8>) {
        let Ok(mut slot) = self.exchange.lock() else { return };
        match &mut *slot {
            Some((from, given)) if *from != self.id => {
                std::mem::swap(given, reply);
                *from = self.id;
            }
            Some(_) => {}
            None => *slot = Some((self.id, reply.clone())),
        }
    }
}
