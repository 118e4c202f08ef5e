//! A TCP relay between the proxy and a server, which holds up connections and cuts them at any
//! byte. It changes nothing and knows nothing of what it passes on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use anyhow::Result;
use socket2::SockRef;

use crate::board::Board;

/// No cut is due.
const NEVER: u64 = u64::MAX;

/// A relay to one server.
#[derive(Debug)]
pub struct Relay {
    server: usize,
    target: SocketAddrV4,
    delayed: AtomicBool,
    /// Bytes that pass until the cut: of requests, and of replies.
    budget: [AtomicU64; 2],
    board: Arc<Board>,
}

impl Relay {
    /// Listens at `address` and passes on to `target`, the address of `server`, from threads of
    /// its own that live as long as this process.
    pub fn start(
        address: SocketAddrV4,
        server: usize,
        target: SocketAddrV4,
        board: Arc<Board>,
    ) -> Result<Arc<Relay>> {
        let listener = TcpListener::bind(address)?;
        let budget = [AtomicU64::new(NEVER), AtomicU64::new(NEVER)];
        let relay = Arc::new(Relay { server, target, delayed: AtomicBool::new(false), budget, board });
        let accepting = Arc::clone(&relay);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let relay = Arc::clone(&accepting);
                std::thread::spawn(move || relay.serve(&client));
            }
        });
        Ok(relay)
    }

    /// Holds up everything, or nothing any more.
    pub fn delay(&self, delayed: bool) {
        self.delayed.store(delayed, SeqCst);
    }

    /// Cuts the connection on which the byte passes that comes after so many more.
    pub fn cut(&self, after: u64, requests: bool) {
        self.budget[usize::from(!requests)].store(after, SeqCst);
    }

    /// Whether a cut is due that has not happened; it does not happen any more.
    pub fn forget_cut(&self, requests: bool) -> bool {
        self.budget[usize::from(!requests)].swap(NEVER, SeqCst) != NEVER
    }

    fn serve(&self, client: &TcpStream) {
        // When the server is down, the end comes after the connection: another thing to survive.
        let Ok(server) = TcpStream::connect(self.target) else { return reset(client) };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        std::thread::scope(|scope| {
            scope.spawn(|| self.pass(client, &server, 0));
            self.pass(&server, client, 1);
        });
    }

    fn pass(&self, from: &TcpStream, to: &TcpStream, direction: usize) {
        let mut buffer = vec![0; 16 << 10];
        let end = loop {
            match (&mut &*from).read(&mut buffer) {
                Ok(0) => break None,
                Ok(count) => {
                    while self.delayed.load(SeqCst) {
                        self.board.sleep(2);
                    }
                    if let Err(error) = self.forward(&buffer[..count], to, direction) {
                        break Some(error);
                    }
                }
                Err(error) => break Some(error),
            }
        };
        if end.is_some() {
            [from, to].into_iter().for_each(reset);
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Passes bytes on, up to the cut if it is among them.
    fn forward(&self, bytes: &[u8], mut to: &TcpStream, direction: usize) -> io::Result<()> {
        let budget = &self.budget[direction];
        let left = budget.load(SeqCst);
        if left == NEVER {
            return to.write_all(bytes);
        }
        if left >= bytes.len() as u64 {
            let _ = budget.compare_exchange(left, left - bytes.len() as u64, SeqCst, SeqCst);
            return to.write_all(bytes);
        }
        budget.store(NEVER, SeqCst);
        self.board.touch(self.server);
        to.write_all(&bytes[..left as usize])?;
        // Half of the cuts let what was passed on arrive, half may lose some of it.
        if left.is_multiple_of(2) {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            to.shutdown(Shutdown::Both)
        }
    }
}

/// Makes the end of a connection a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
