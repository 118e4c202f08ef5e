//! A server between a client and the served APIs: it passes requests on, one after the other, and keeps what was said.
//! It is also the client's way to everywhere else, which it refuses.

use super::http::send;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The recorder; it ends when dropped.
pub(crate) struct Recorder {
    /// Where clients are pointed at.
    pub(crate) address: SocketAddr,
    kept: Arc<Kept>,
}

struct Kept {
    api: SocketAddr,
    exchanges: Mutex<Vec<Value>>,
    refused: Mutex<BTreeSet<String>>,
    ended: AtomicBool,
}

impl Recorder {
    /// One that passes requests on to `api`.
    pub(crate) fn of(api: SocketAddr) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (exchanges, refused) = (Mutex::default(), Mutex::default());
        let kept = Arc::new(Kept { api, exchanges, refused, ended: AtomicBool::new(false) });
        let shared = kept.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::SeqCst) {
                    break;
                }
                let shared = shared.clone();
                thread::spawn(move || {
                    if let Err(error) = shared.exchange(stream) {
                        eprintln!("recorder: {error}");
                    }
                });
            }
        });
        Recorder { address, kept }
    }

    /// What was said since the last time: `verb`, `target` and `body` of each request, `status` and `answer`.
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.kept.exchanges.lock().unwrap())
    }

    /// The hosts elsewhere that were asked for.
    pub(crate) fn refused(&self) -> BTreeSet<String> {
        self.kept.refused.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.kept.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Kept {
    /// One request of one connection.
    fn exchange(&self, stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ');
        let (verb, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? <= 2 {
                break;
            }
            let (name, value) = header.trim().split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().map_err(std::io::Error::other)?,
                "transfer-encoding" => {
                    return Err(std::io::Error::other(format!("{verb} {target}: {value}")));
                }
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut stream = reader.into_inner();
        if verb == "CONNECT" {
            self.refused.lock().unwrap().insert(target.to_owned());
            return stream
                .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        let (status, answer) = self.pass_on(verb, target, body)?;
        let answer = answer.to_string();
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(answer.as_bytes())
    }

    /// One after the other: so that the same requests in the same order have the same answers.
    fn pass_on(&self, verb: &str, target: &str, body: Value) -> Result<(u16, Value)> {
        let mut exchanges = self.exchanges.lock().unwrap();
        let (status, answer) = send(self.api, verb, target, &body)?;
        exchanges.push(json!({
            "verb": verb, "target": target, "body": body, "status": status, "answer": answer,
        }));
        Ok((status, answer))
    }
}
