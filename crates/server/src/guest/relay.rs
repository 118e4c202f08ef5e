//! The way from the lab's internet into the host's network: the internet's router has connections to it come out at a
//! socket of ours, and each is opened anew from here, by a process like any other.
//!
//! ```text
//!   VM ─ its gates, its external address ─▶ internet's router ─ dnat ─▶ RELAY ═ this ═▶ the host's network
//! ```
//!
//! What goes wrong out there is a reset in there, after the connection: the router has taken it up before anybody knows.

use super::{Place, Places};
use nix::sys::socket::{getsockopt, sockopt::OriginalDst};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tombolo_fabric::Host;

/// Connections at a time; more wait for one to end.
const MOST: usize = 1024;
/// Connections that one external address may have of these; more are closed at once.
const MOST_OF_ONE: usize = 256;
/// How long the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection may be silent, and twice that at most: as long as the lab's routers know one.
const IDLE: Duration = Duration::from_secs(600);
/// Bytes that are kept for each direction. Who sends more waits until they are taken.
const BUFFER: usize = 32 << 10;

/// What may be reached.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    /// The host's network, as it is beside the lab of the moment.
    pub(super) host: watch::Receiver<Option<Host>>,
    /// Ports of the host's own addresses that are not for the lab: this process listens there.
    pub(super) own_ports: Arc<[u16]>,
}

impl Outside {
    /// Whether somebody in the lab may reach an address. The router's rules have let it through; they are not all there is
    /// between a VM and the host.
    pub(super) fn admits(&self, to: SocketAddrV4) -> bool {
        let there = self.host.borrow().as_ref().is_some_and(|host| host.has(IpAddr::V4(*to.ip())));
        there && !(self.own_ports.contains(&to.port()) && is_own(*to.ip()))
    }
}

/// Whether the host itself has an address: one cannot listen at any other. Where nobody can tell, it is.
fn is_own(address: Ipv4Addr) -> bool {
    let bound = std::net::UdpSocket::bind((address, 0));
    !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Serves for ever. When this is aborted, the socket closes, and so do all connections.
pub(super) async fn serve(listener: TcpListener, outside: Outside) {
    let mut connections = JoinSet::new();
    let (places, all) = (Places::new(MOST_OF_ONE), Arc::new(Semaphore::new(MOST)));
    // Nobody closes it.
    while let Ok(one) = Arc::clone(&all).acquire_owned().await {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        if let Some((stream, place)) = places.admit(accepted).await {
            let outside = outside.clone();
            connections.spawn(async move {
                relay(stream, &outside, place).await;
                drop(one);
            });
        }
    }
}

/// A connection, to its end.
async fn relay(mut inside: TcpStream, outside: &Outside, _place: Place) {
    let to = match destination(&inside).filter(|to| outside.admits(*to)) {
        Some(to) => timeout(PATIENCE, TcpStream::connect(to)).await,
        None => return reset(&inside),
    };
    let Ok(Ok(mut there)) = to else { return reset(&inside) };
    if exchange(&mut inside, &mut there).await.is_err() {
        reset(&inside);
        reset(&there);
    }
}

/// Where a connection was going before the router diverted it.
fn destination(stream: &TcpStream) -> Option<SocketAddrV4> {
    let found = getsockopt(stream, OriginalDst).ok()?;
    Some(SocketAddrV4::new(u32::from_be(found.sin_addr.s_addr).into(), u16::from_be(found.sin_port)))
}

/// Has a connection end with a reset once it is dropped.
fn reset(stream: &TcpStream) {
    // Without, it ends as well, only not as it should.
    let _ = stream.set_zero_linger();
}

/// Has each side hear what the other one says, and its end, until both are at their end.
async fn exchange(one: &mut TcpStream, other: &mut TcpStream) -> io::Result<()> {
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    let moved = AtomicBool::new(false);
    let ((read_one, write_one), (read_other, write_other)) = (one.split(), other.split());
    let both =
        async { tokio::try_join!(pump(read_one, write_other, &moved), pump(read_other, write_one, &moved)) };
    tokio::select! {
        done = both => done.map(drop),
        () = silent(&moved) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Passes on what comes, and its end.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, moved: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        moved.store(true, Ordering::Relaxed);
    }
}

/// Returns when nothing has moved for a while.
async fn silent(moved: &AtomicBool) {
    loop {
        sleep(IDLE).await;
        if !moved.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn outside(kept: &[&str], own_ports: &[u16]) -> Outside {
        let kept: BTreeSet<_> = kept.iter().map(|range| range.parse().unwrap()).collect();
        Outside { host: watch::channel(Some(Host { kept, pings: true })).1, own_ports: own_ports.into() }
    }

    #[test]
    fn what_is_kept_and_our_own_ports_are_not_reached() {
        let outside = outside(&["10.1.0.0/24"], &[8090]);
        let own = Ipv4Addr::LOCALHOST;
        for (to, admitted) in [
            (SocketAddrV4::new([10, 1, 0, 7].into(), 80), false),
            (SocketAddrV4::new([10, 1, 1, 7].into(), 80), true),
            (SocketAddrV4::new(own, 80), true), // nothing keeps it here
            (SocketAddrV4::new(own, 8090), false),
        ] {
            assert_eq!(outside.admits(to), admitted, "{to}");
        }
        assert!(!Outside { host: watch::channel(None).1, ..outside }.admits(SocketAddrV4::new(own, 80)));
        // No interface has the one, and it is local; the other is nobody's (RFC 5737).
        assert!(is_own([127, 1, 2, 3].into()) && !is_own([198, 51, 100, 1].into()));
    }

    #[test]
    fn each_side_hears_the_other_and_its_end() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
        runtime.block_on(async {
            let pair = || async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                (near, listener.accept().await.unwrap().0)
            };
            let ((mut client, mut one), (mut other, mut server)) = (pair().await, pair().await);
            let relayed = tokio::spawn(async move { exchange(&mut one, &mut other).await });
            // More than all buffers on the way, and its end.
            let question = vec![7; 4 << 20];
            let asked = async {
                client.write_all(&question).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let heard = async {
                let mut heard = Vec::new();
                server.read_to_end(&mut heard).await.unwrap();
                heard
            };
            let ((), heard) = tokio::join!(asked, heard);
            assert!(heard == question);
            server.write_all(b"answer").await.unwrap();
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
            relayed.await.unwrap().unwrap();
        });
    }
}
