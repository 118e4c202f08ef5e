//! The wrong proxy from a client's first subscription on: everything passes, but for messages.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail};
use tombolo_resp::FrameScanner;

use super::{OFTEN, Sabotage, Session};

/// How long one direction waits while the other may have something.
const TURN: Duration = Duration::from_millis(2);

/// A session that passes on whatever comes.
pub(super) struct Subscriber<'a> {
    session: &'a mut Session,
    held: Vec<u8>,
}

impl Subscriber<'_> {
    pub(super) fn new(session: &mut Session) -> Subscriber<'_> {
        Subscriber { session, held: Vec::new() }
    }

    /// Passes on `first`, and everything after it, until an end.
    pub(super) fn serve(mut self, first: &[u8]) -> Result<()> {
        self.session.client.set_read_timeout(Some(TURN))?;
        self.session.server.set_read_timeout(Some(TURN))?;
        self.session.server.write_all(first)?;
        let (mut input, mut scanner) = (Vec::new(), FrameScanner::default());
        loop {
            let requests = read(&mut self.session.client)?;
            self.session.server.write_all(&requests)?;
            input.extend(read(&mut self.session.server)?);
            let mut used = 0;
            while let Some(length) = scanner.advance(&input[used..])? {
                self.pass(&input[used..used + length])?;
                used += length;
            }
            input.drain(..used);
        }
    }

    fn pass(&mut self, frame: &[u8]) -> Result<()> {
        // `message` and `pmessage` with what follows.
        let is_message =
            frame.starts_with(b"*3\r\n$7\r\nmessage") || frame.starts_with(b"*4\r\n$8\r\npmessage");
        let mut out = frame.to_vec();
        if is_message && self.session.is_time_of(OFTEN) {
            match self.session.sabotage {
                Sabotage::Repeat => out.extend_from_slice(frame),
                Sabotage::Drop => out.clear(),
                Sabotage::Overtake => self.held = std::mem::take(&mut out),
                _ => {}
            }
        } else if is_message {
            out.append(&mut self.held);
        }
        Ok(self.session.client.write_all(&out)?)
    }
}

fn read(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut chunk = vec![0; 64 << 10];
    match stream.read(&mut chunk) {
        Ok(0) => bail!("the end"),
        Ok(count) => chunk.truncate(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => chunk.clear(),
        Err(error) => return Err(error.into()),
    }
    Ok(chunk)
}
