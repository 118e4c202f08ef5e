//! Names of servers, looked up in a thread of their own: a name server that does not answer must
//! not hold up pools that have nothing to do with it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;

use crate::config::Address;
use crate::core::ConnectionId;

/// What a lookup found.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) connection: ConnectionId,
    /// What was looked up.
    pub(super) name: Address,
    pub(super) address: io::Result<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct Resolver {
    waker: Arc<Waker>,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// One whose answers `waker` announces.
    pub(super) fn new(waker: Arc<Waker>) -> Resolver {
        let (sender, answers) = channel();
        Resolver { waker, sender, answers }
    }

    /// The address, when `host` is one already.
    pub(super) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
        host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))
    }

    /// Starts a lookup; the loop is woken when `next` has the answer. The caller has one
    /// lookup for a connection at a time.
    pub(super) fn start(&self, connection: ConnectionId, host: &str, port: u16) -> io::Result<()> {
        let (sender, waker, host) = (self.sender.clone(), Arc::clone(&self.waker), host.to_string());
        thread::Builder::new().name("resolve".to_string()).spawn(move || {
            let address = (host.as_str(), port).to_socket_addrs().and_then(|mut addresses| {
                addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address"))
            });
            let name = Address::Tcp(host, port);
            // The receiver is only gone when the proxy ends.
            if sender.send(Answer { connection, name, address }).is_ok() {
                let _ = waker.wake();
            }
        })?;
        Ok(())
    }

    pub(super) fn next(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}
