//! What answers the VMs on 169.254.169.254: sockets in every network's router, and one thread for all of them.
//!
//! ```text
//!   World ─ leave: closes the sockets of networks that are gone ─▶ packets obey ─ serve: sockets of new ones, from the agent
//!     └─ published ─▶ metadata (port 80), dns (53), ntp (123) of each network: the answer is `tombolo_guest`'s
//! ```
//!
//! No VM has a process for it, and nothing of it listens outside the lab's networks. Where the lab's internet goes on into
//! the host's network, the same thread relays what goes there.

mod datagrams;
mod dns;
mod flows;
mod metadata;
mod packet;
mod relay;
mod resolver;

use crate::now;
use datagrams::LIMITS;
pub use datagrams::sends_pings;
use resolver::Resolver;
use std::collections::BTreeMap;
use std::io;
use std::mem::take;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{self, JoinSet};
use tombolo_agent::{Agent, AgentError};
use tombolo_dataplane::host::{OUT, RELAY};
use tombolo_fabric::{Fabric, Host, METADATA_SERVER, host, internet};
use tombolo_guest::ntp;
use tombolo_model::{NetworkKey, World};

/// Plain HTTP.
const METADATA: SocketAddrV4 = SocketAddrV4::new(METADATA_SERVER, 80);
const DNS: SocketAddrV4 = SocketAddrV4::new(METADATA_SERVER, 53);
const NTP: SocketAddrV4 = SocketAddrV4::new(METADATA_SERVER, 123);
/// Connections that one VM may have at a time, and so the requests that wait for a change; more are closed at once.
const MOST: usize = 64;

/// The servers of all networks.
#[derive(Debug)]
pub struct Guests {
    handle: Handle,
    networks: BTreeMap<NetworkKey, task::JoinHandle<()>>,
    publish: watch::Sender<World>,
    host: watch::Sender<Option<Host>>,
    own_ports: Arc<[u16]>,
    /// Names that the host may be asked for at a time.
    names: Arc<Semaphore>,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guests {
    /// Starts the thread, which serves no network yet. At these ports of the host's nobody in the lab reaches it.
    pub fn start(own_ports: &[u16]) -> io::Result<Self> {
        // Each network has sockets, and each of its VMs' connections.
        tombolo_agent::make_room();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(resolver::MOST)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("guests".into()).spawn(serve)?;
        let publish = watch::Sender::new(World::default());
        Ok(Self {
            handle,
            networks: BTreeMap::new(),
            publish,
            host: watch::Sender::new(None),
            own_ports: own_ports.into(),
            names: Arc::new(Semaphore::new(resolver::MOST)),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Closes the sockets of networks that are not in the World, or its Fabric, and returns when they are closed.
    pub fn leave(&mut self, world: &World, fabric: &Fabric) {
        // At once: what is to be the lab's own is none of the host's any more.
        self.host.send_replace(fabric.host.clone());
        let (kept, gone) =
            take(&mut self.networks).into_iter().partition::<BTreeMap<_, _>, _>(|(network, _)| {
                is_served(world, network) || is_relayed(fabric, network)
            });
        self.networks = kept;
        for served in gone.into_values() {
            served.abort();
            let _ = self.handle.block_on(served);
        }
    }

    /// Opens sockets in the networks that have none yet, which must have their routers, and answers from this World
    /// from now on.
    pub fn serve(&mut self, world: &World, fabric: &Fabric, agent: &Agent) -> Result<(), AgentError> {
        let networks = world.networks.keys().filter(|network| is_served(world, network));
        for network in networks {
            if self.serves(network) {
                continue;
            }
            let (listeners, datagrams) = agent.bind(&network.to_string(), &[METADATA, DNS], &[DNS, NTP])?;
            let sockets = Sockets::new(&self.handle, listeners, datagrams);
            let Some(sockets) = sockets.map_err(|error| AgentError::Refused(error.to_string()))? else {
                return Err(AgentError::Confused("Bind"));
            };
            let resolver = Resolver::new(Arc::clone(&self.names));
            let net = Net { network: network.clone(), worlds: self.publish.subscribe(), resolver };
            self.networks.insert(network.clone(), self.handle.spawn(sockets.serve(net)));
        }
        let outside = internet();
        if is_relayed(fabric, &outside) && !self.serves(&outside) {
            let (mut listeners, _) = agent.bind(&outside.to_string(), &[RELAY], &[])?;
            let listener = listeners.pop().ok_or(AgentError::Confused("Bind"))?;
            let out = agent.capture(host::ENDPOINT, OUT)?;
            let _entered = self.handle.enter();
            let listener = nonblocking(listener).and_then(|it| datagrams::attend(&out).map(|()| it));
            let listener = listener.map_err(|error| AgentError::Refused(error.to_string()))?;
            let reached =
                relay::Outside { host: self.host.subscribe(), own_ports: Arc::clone(&self.own_ports) };
            let datagrams = datagrams::serve(out, reached.clone(), LIMITS);
            // Neither goes on without the other: the next convergence begins both anew.
            let both = async move {
                tokio::select! {
                    () = relay::serve(listener, reached) => {}
                    _ = datagrams => {}
                }
            };
            self.networks.insert(outside, self.handle.spawn(both));
        }
        self.publish.send_replace(world.clone());
        Ok(())
    }

    /// Whether a network's sockets are there.
    fn serves(&self, network: &NetworkKey) -> bool {
        self.networks.get(network).is_some_and(|served| !served.is_finished())
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether a network has VMs that could ask: those of managed services have none.
fn is_served(world: &World, network: &NetworkKey) -> bool {
    world.networks.get(network).is_some_and(|found| !found.google_managed)
}

/// Whether it is the internet, and goes on into the host's network.
fn is_relayed(fabric: &Fabric, network: &NetworkKey) -> bool {
    *network == internet() && fabric.host.is_some() && fabric.networks.contains_key(network)
}

/// A listener of the thread's, which must be entered.
fn nonblocking(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// A network as those who serve it see it.
#[derive(Clone, Debug)]
struct Net {
    network: NetworkKey,
    worlds: watch::Receiver<World>,
    resolver: Resolver,
}

impl Net {
    fn world(&self) -> World {
        self.worlds.borrow().clone()
    }
}

/// What a network's router listens with.
struct Sockets {
    metadata: TcpListener,
    dns: TcpListener,
    datagrams: Arc<UdpSocket>,
    ntp: UdpSocket,
}

impl Sockets {
    /// Takes them over, unless they are not as many as were asked for.
    fn new(
        handle: &Handle,
        listeners: Vec<std::net::TcpListener>,
        datagrams: Vec<std::net::UdpSocket>,
    ) -> io::Result<Option<Self>> {
        let (Ok([metadata, dns]), Ok([datagrams, ntp])) =
            (<[_; 2]>::try_from(listeners), <[_; 2]>::try_from(datagrams))
        else {
            return Ok(None);
        };
        let _entered = handle.enter();
        let datagram = |socket: std::net::UdpSocket| {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        };
        Ok(Some(Self {
            metadata: nonblocking(metadata)?,
            dns: nonblocking(dns)?,
            datagrams: Arc::new(datagram(datagrams)?),
            ntp: datagram(ntp)?,
        }))
    }

    /// Serves for ever. When this is aborted, the sockets close, and so do all connections.
    async fn serve(self, net: Net) {
        let mut connections = JoinSet::new();
        let places = Places::new(MOST);
        let (mut datagram, mut packet) = ([0; 4096], [0; 256]);
        loop {
            tokio::select! {
                accepted = self.metadata.accept() => {
                    if let Some((stream, place)) = places.admit(accepted).await {
                        connections.spawn(metadata::serve(stream, net.clone(), place));
                    }
                }
                accepted = self.dns.accept() => {
                    if let Some((stream, place)) = places.admit(accepted).await {
                        connections.spawn(dns::serve(stream, net.clone(), place));
                    }
                }
                received = self.datagrams.recv_from(&mut datagram) => {
                    // An error is that of an earlier answer, to a VM that has closed its port.
                    if let Ok((length, from)) = received {
                        let later = dns::answer(&self.datagrams, &datagram[..length], from, &net);
                        later.map(|later| connections.spawn(later));
                    }
                }
                received = self.ntp.recv_from(&mut packet) => {
                    let answer = |(length, from)| Some((ntp::answer(&packet[..length], now())?, from));
                    if let Some((answer, from)) = received.ok().and_then(answer) {
                        // Whoever does not get it asks again.
                        let _ = self.ntp.try_send_to(&answer, from);
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// How many connections each VM has.
#[derive(Clone, Debug)]
struct Places {
    /// How many it may have.
    most: usize,
    taken: Arc<Mutex<BTreeMap<Ipv4Addr, usize>>>,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A connection and its place, if there is one for whoever it is from.
    async fn admit(
        &self,
        accepted: io::Result<(TcpStream, std::net::SocketAddr)>,
    ) -> Option<(TcpStream, Place)> {
        match accepted {
            Ok((stream, std::net::SocketAddr::V4(peer))) => Some((stream, self.take(*peer.ip())?)),
            Ok(_) => None,
            Err(_) => {
                // Out of descriptors, most likely: somebody will close one.
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }

    fn take(&self, of: Ipv4Addr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { of, places: self.clone() })
    }
}

/// A connection's place among those of its VM.
#[derive(Debug)]
struct Place {
    of: Ipv4Addr,
    places: Places,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.of).map_or(0, |count| count - 1);
        if left == 0 {
            taken.remove(&self.of);
        } else {
            taken.insert(self.of, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_has_so_many_places_and_no_more() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
        let places = Places::new(MOST);
        let mut taken: Vec<_> = (0..MOST).map(|_| places.take(a).expect("a place")).collect();
        assert!(places.take(a).is_none());
        let other = places.take(b).expect("another's place");
        taken.pop();
        assert!(places.take(a).is_some());
        drop((taken, other));
        assert!(places.taken.lock().expect("a lock").is_empty());
    }
}
