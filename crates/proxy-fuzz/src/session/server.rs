//! A server as the proxy meets it: it insists on well-formed requests, answers as Redis does where
//! the number and the order of answers matter, and tolerates nothing that depends on the connection
//! where clients share one.

use std::collections::{BTreeSet, VecDeque};

use tombolo_resp::encode;

use crate::oracle;

/// Commands that must not reach a connection which clients share; written apart from the proxy's
/// own table on purpose.
const NOT_SHARED: &[&str] = &[
    "asking",
    "auth",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "client",
    "discard",
    "exec",
    "hello",
    "monitor",
    "multi",
    "psubscribe",
    "psync",
    "punsubscribe",
    "quit",
    "readonly",
    "readwrite",
    "replconf",
    "reset",
    "select",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "sync",
    "unsubscribe",
    "unwatch",
    "wait",
    "waitaof",
    "watch",
];

/// What is added to the answer for a key that starts with `big`.
pub(super) const BIG: usize = 4 << 10;

#[derive(Default)]
pub(super) struct Server {
    shared: bool,
    /// What it must be told before anything else.
    greeting: VecDeque<Vec<Vec<u8>>>,
    /// It was told that, and maybe which protocol is spoken on a connection that clients share, and nothing else.
    greeted: bool,
    resp3: bool,
    input: Vec<u8>,
    /// What it has not sent yet.
    pub(super) output: VecDeque<u8>,
    /// The answer of a command that waits.
    blocked: Option<Vec<u8>>,
    transaction: Option<Vec<u8>>,
    queued: usize,
    /// A command of the transaction was refused.
    broken: bool,
    channels: [BTreeSet<Vec<u8>>; 3],
    silent: bool,
    skip: bool,
}

impl Server {
    /// `greeting` is what it must be told first; `shared`, whether several clients use it.
    pub(super) fn new(shared: bool, greeting: &[&[&str]]) -> Server {
        let words = |words: &&[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Server { shared, greeting: greeting.iter().map(words).collect(), ..Server::default() }
    }

    /// It is sent `bytes`.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.work();
    }

    /// Something that it waits for happens.
    pub(super) fn stir(&mut self) {
        if let Some(reply) = self.blocked.take() {
            self.output.extend(reply);
            self.work();
        }
    }

    fn work(&mut self) {
        let mut used = 0;
        while self.blocked.is_none()
            && let Some((args, length)) = oracle::multibulk(&self.input[used..])
        {
            used += length;
            let mut reply = Vec::new();
            let was_silent = self.silent || std::mem::take(&mut self.skip);
            self.execute(&args, &mut reply);
            let is_push = matches!(reply.first(), Some(b'*' | b'>')) && self.is_subscription(&args);
            if (!was_silent && !self.silent) || is_push {
                self.output.extend(reply);
            }
        }
        self.input.drain(..used);
    }

    fn is_subscription(&self, args: &[Vec<u8>]) -> bool {
        args[0].to_ascii_lowercase().ends_with(b"subscribe")
    }

    fn execute(&mut self, args: &[Vec<u8>], reply: &mut Vec<u8>) {
        if let Some(expected) = self.greeting.pop_front() {
            assert_eq!(args, expected, "a request overtook what a connection starts with");
            return encode::simple(reply, "OK");
        }
        let name = String::from_utf8_lossy(&args[0]).to_ascii_lowercase();
        let first = args.get(1).map_or(&b""[..], Vec::as_slice);
        let begins = !std::mem::replace(&mut self.greeted, true);
        if self.shared && begins && name == "hello" && first == b"3" {
            return self.hello(first, reply);
        }
        let shared = self.shared;
        assert!(!shared || !NOT_SHARED.contains(&name.as_str()), "'{name}' reached a shared connection");
        if name == "get" && args.len() != 2 {
            self.broken = self.transaction.is_some();
            return encode::error(reply, "ERR wrong number of arguments for 'get' command");
        }
        if self.transaction.is_some() && !matches!(name.as_str(), "exec" | "discard" | "reset") {
            let mut answer = std::mem::take(&mut self.transaction).unwrap_or_default();
            plain(&name, args, &mut answer);
            self.transaction = Some(answer);
            self.queued += 1;
            return encode::simple(reply, "QUEUED");
        }
        match name.as_str() {
            "multi" => self.transaction = Some(Vec::new()),
            "exec" => match self.transaction.take() {
                Some(_) if std::mem::take(&mut self.broken) => {
                    self.queued = 0;
                    return encode::error(
                        reply,
                        "EXECABORT Transaction discarded because of previous errors.",
                    );
                }
                Some(answers) => {
                    encode::array(reply, std::mem::take(&mut self.queued));
                    return reply.extend(answers);
                }
                None => return encode::error(reply, "ERR EXEC without MULTI"),
            },
            "auth" | "reset" | "select" | "unwatch" | "watch" => {}
            "discard" => (self.transaction, self.queued, self.broken) = (None, 0, false),
            "subscribe" | "psubscribe" | "ssubscribe" | "unsubscribe" | "punsubscribe" | "sunsubscribe" => {
                return self.subscription(&name, &args[1..], reply);
            }
            "client" if first.eq_ignore_ascii_case(b"reply") => {
                let how = args.get(2).map(|how| how.to_ascii_lowercase()).unwrap_or_default();
                self.silent = how == b"off" || (self.silent && how == b"skip");
                self.skip = how == b"skip";
                if self.skip {
                    return;
                }
            }
            "blpop" | "brpop" => {
                let mut answer = Vec::new();
                encode::bulk(&mut answer, first);
                self.blocked = Some(answer);
                return;
            }
            "hello" => return self.hello(first, reply),
            _ => return plain(&name, args, reply),
        }
        encode::simple(reply, "OK");
    }

    fn hello(&mut self, protocol: &[u8], reply: &mut Vec<u8>) {
        match protocol {
            b"2" | b"3" => self.resp3 = protocol == b"3",
            b"" => {}
            _ => return encode::error(reply, "NOPROTO unsupported protocol version"),
        }
        reply.extend(match self.resp3 {
            true => b"%1\r\n$5\r\nproto\r\n:3\r\n".as_slice(),
            false => b"*2\r\n$5\r\nproto\r\n:2\r\n",
        });
    }

    fn subscription(&mut self, name: &str, args: &[Vec<u8>], reply: &mut Vec<u8>) {
        let kind = match name {
            "psubscribe" | "punsubscribe" => 1,
            "ssubscribe" | "sunsubscribe" => 2,
            _ => 0,
        };
        let adds = !name.contains("unsub");
        let targets: Vec<Vec<u8>> = match args {
            [] => self.channels[kind].iter().cloned().collect(),
            _ => args.to_vec(),
        };
        let resp3 = self.resp3;
        let mut confirm = |channels: &[BTreeSet<Vec<u8>>; 3], target: Option<&[u8]>| {
            let count = if kind == 2 { channels[2].len() } else { channels[0].len() + channels[1].len() };
            match resp3 {
                true => reply.extend(b">3\r\n"),
                false => encode::array(reply, 3),
            }
            encode::bulk(reply, name.as_bytes());
            match target {
                Some(target) => encode::bulk(reply, target),
                None if resp3 => reply.extend(b"_\r\n"),
                None => reply.extend(b"$-1\r\n"),
            }
            encode::integer(reply, count as i64);
        };
        if targets.is_empty() {
            confirm(&self.channels, None);
        }
        for target in targets {
            match adds {
                true => self.channels[kind].insert(target.clone()),
                false => self.channels[kind].remove(&target),
            };
            confirm(&self.channels, Some(&target));
        }
    }
}

/// The answer of a command that leaves nothing behind.
pub(super) fn plain(name: &str, args: &[Vec<u8>], reply: &mut Vec<u8>) {
    let echo = |reply: &mut Vec<u8>, key: &[u8]| match key.starts_with(b"big") {
        true => encode::bulk(reply, &[key, &[b'x'; BIG]].concat()),
        false => encode::bulk(reply, key),
    };
    match name {
        "mget" => {
            encode::array(reply, args.len() - 1);
            args[1..].iter().for_each(|key| echo(reply, key));
        }
        "del" | "unlink" | "exists" | "touch" => encode::integer(reply, args.len() as i64 - 1),
        "mset" | "flushall" | "flushdb" => encode::simple(reply, "OK"),
        "ping" => encode::simple(reply, "PONG"),
        "dbsize" => encode::integer(reply, 1),
        "scan" => reply.extend(b"*2\r\n$1\r\n0\r\n*0\r\n"),
        "keys" => reply.extend(b"*1\r\n$1\r\nk\r\n"),
        _ => match args.get(1) {
            Some(key) => echo(reply, key),
            None => encode::simple(reply, "OK"),
        },
    }
}
