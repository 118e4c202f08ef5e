//! The bytes of a point: what clients send, and what must come back.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::frame;
use crate::point::{KEYS, Op, Point};

/// Requests of equal length, one after the other, and the reply that each of them must have.
#[derive(Debug)]
pub struct Workload {
    /// Requests, a pipeline longer than there are keys, so that one can start at any key.
    requests: Vec<u8>,
    request_length: usize,
    pipeline: usize,
    /// The reply, as often as fills a read and one more: what comes is compared with a part of it.
    replies: Vec<u8>,
    reply_length: usize,
}

/// Whether a proxy can do what a point asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gave the right reply.
    Right,
    /// It gave an error.
    Refused(String),
}

impl Workload {
    /// The bytes for `point`, compared in pieces of up to `read` bytes.
    pub fn new(point: Point, read: usize) -> Workload {
        let value = value(point.bytes);
        let stored = bulk(&value);
        let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
        let (texts, reply): (Vec<Vec<u8>>, Vec<u8>) = match point.op {
            Op::Get | Op::Idle => (keys.iter().map(|key| array(&[b"GET", key])).collect(), stored),
            Op::Set => (keys.iter().map(|key| array(&[b"SET", key, &value])).collect(), b"+OK\r\n".to_vec()),
            Op::Mget => {
                let mut words: Vec<&[u8]> = vec![b"MGET"];
                words.extend(keys.iter().map(Vec::as_slice));
                let reply = [format!("*{KEYS}\r\n").into_bytes(), stored.repeat(KEYS)].concat();
                (vec![array(&words)], reply)
            }
        };
        let requests: Vec<u8> =
            texts.iter().cycle().take(texts.len() + point.pipeline).flatten().copied().collect();
        let replies = reply.repeat(read / reply.len() + 2);
        Workload {
            requests,
            request_length: texts[0].len(),
            pipeline: point.pipeline,
            replies,
            reply_length: reply.len(),
        }
    }

    /// The requests of batch number `turn`.
    pub fn batch(&self, turn: usize) -> &[u8] {
        let starts = self.requests.len() / self.request_length - self.pipeline;
        let start = turn % starts * self.request_length;
        &self.requests[start..start + self.pipeline * self.request_length]
    }

    /// The bytes of the replies to a batch.
    pub fn batch_reply_length(&self) -> usize {
        self.pipeline * self.reply_length
    }

    /// How many replies end in the `count` bytes after `offset` bytes of replies.
    pub fn completed(&self, offset: usize, count: usize) -> usize {
        (offset + count) / self.reply_length - offset / self.reply_length
    }

    /// Whether `bytes` are right after `offset` bytes of replies.
    pub fn is_right(&self, offset: usize, bytes: &[u8]) -> bool {
        let start = offset % self.reply_length;
        self.replies[start..].starts_with(bytes)
    }

    /// Whether the server at `port` has some of the keys.
    pub fn has_keys(port: u16) -> anyhow::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("a connection")?;
        Ok(ask(&mut stream, &array(&[b"DBSIZE"]))? != b":0\r\n")
    }

    /// Sets every key through the proxy at `port`, and asks what the point asks, once.
    pub fn prepare(&self, point: Point, port: u16) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("a connection")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        let value = value(point.bytes);
        for number in 0..KEYS {
            let reply = ask(&mut stream, &array(&[b"SET", &key(number), &value]))?;
            if reply != b"+OK\r\n" {
                bail!("SET is answered {}", shown(&reply));
            }
        }
        let reply = ask(&mut stream, &self.requests[..self.request_length])?;
        match reply.first() {
            _ if reply == self.replies[..self.reply_length] => Ok(Answer::Right),
            Some(b'-') => Ok(Answer::Refused(String::from_utf8_lossy(&reply).trim_end().to_string())),
            _ => bail!("a wrong reply: {}", shown(&reply)),
        }
    }
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request).context("a request")?;
    let mut reply = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while frame::length(&reply) == Ok(None) {
        match stream.read(&mut chunk) {
            // A read with a timeout is not restarted by the kernel, and an io_uring that this process has closed
            // leaves work behind that interrupts the next one.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("a reply"),
            Ok(0) => bail!("the connection was closed instead of a reply"),
            Ok(count) => reply.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(reply)
}

/// The start of some bytes, for people.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(100)].escape_ascii().to_string()
}

/// Keys that differ in every digit: twemproxy's hash puts those that only differ at their end on
/// one server.
fn key(number: usize) -> Vec<u8> {
    format!("key:{:08x}", (number as u32).wrapping_mul(0x9e37_79b1)).into_bytes()
}

fn value(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + (at % 23) as u8).collect()
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn array(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    words.iter().for_each(|word| out.extend(bulk(word)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_whole_requests() {
        for point in Point::all() {
            if point.bytes > 64 {
                continue;
            }
            let workload = Workload::new(point, 1 << 10);
            for turn in [0, 1, 99, 100, 12_345] {
                let mut rest = workload.batch(turn);
                for _ in 0..point.pipeline {
                    let length = frame::length(rest).expect("RESP").expect("a whole request");
                    rest = &rest[length..];
                }
                assert!(rest.is_empty(), "{point}");
            }
        }
    }

    #[test]
    fn replies_are_compared_and_counted_wherever_reads_split_them() {
        let workload = Workload::new("get/4/1x3".parse().expect("a point"), 16);
        let replies = b"$4\r\nabcd\r\n$4\r\nabcd\r\n$4\r\nabcd\r\n";
        assert_eq!(workload.batch_reply_length(), replies.len());
        for start in 0..replies.len() {
            for end in start..(start + 16).min(replies.len()) {
                let part = &replies[start..end];
                assert!(workload.is_right(start, part));
                assert_eq!(workload.completed(start, part.len()), end / 10 - start / 10);
                if !part.is_empty() {
                    assert!(!workload.is_right(start + 1, part));
                }
            }
        }
    }
}
