//! What firewall rules log, kept until it is asked for.
//!
//! ```text
//! converge ─→ listen: a socket per router whose rules log, none else      one thread: epoll over all of them ─→ ring
//! ```
//! The ring has room for [`KEPT`] hits; the oldest go first. Nothing of it outlives the lab.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::{Deserialize, Serialize};
use tombolo_dataplane::Connection;
use tombolo_dataplane::linux::log::{Log, Logged};
use tombolo_dataplane::rules::{Side, counted_by, read_prefix};

use crate::lab::{Lab, lock};

/// How many hits are kept for a lab: some 3 MB.
pub const KEPT: usize = 10_000;

/// A connection about which a rule that logs has decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Which one it is of the lab's, the first being 0.
    pub number: u64,
    /// When it was read, in microseconds since 1970.
    pub at: u64,
    /// The router's namespace.
    pub router: String,
    /// The rule's counter: see [`tombolo_dataplane::rules::counter`].
    pub counter: String,
    /// Whether the rule let it through.
    pub allowed: bool,
    /// The namespace of the endpoint at which the rule acted; `None` if it was gone at once.
    pub endpoint: Option<String>,
    /// The connection.
    pub connection: Connection,
}

/// Hits, from one on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// In their order.
    pub hits: Vec<Hit>,
    /// The number that the next one will have.
    pub next: u64,
    /// How many times hits were lost because they came faster than they could be read.
    pub overruns: u64,
}

/// The listeners, and what they have heard.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    by_router: Mutex<BTreeMap<String, Arc<Listener>>>,
    ring: Mutex<Ring>,
    /// What the thread waits with; made with the first router whose rules log.
    epoll: OnceLock<Arc<Epoll>>,
    next: AtomicU64,
    /// One [`listen`] at a time.
    changing: Mutex<()>,
}

/// What is heard of one router.
#[derive(Debug)]
struct Listener {
    /// How epoll calls it.
    token: u64,
    log: Arc<Log>,
    /// The endpoint at the other end of each of the router's links.
    endpoints: BTreeMap<String, String>,
}

/// What has been heard.
#[derive(Debug, Default)]
struct Ring {
    hits: VecDeque<Hit>,
    next: u64,
    overruns: u64,
}

/// A router whose rules log.
pub(crate) struct Logging {
    pub(crate) router: String,
    pub(crate) log: Arc<Log>,
    pub(crate) endpoints: BTreeMap<String, String>,
}

/// Makes it so that the routers whose rules log are listened to, and no others.
pub(crate) fn listen(lab: &Arc<Lab>) -> Result<()> {
    let listeners = &lab.hits;
    let _changing = lock(&listeners.changing);
    let wanted = lab.dataplane.logging();
    // Whatever was logged until now belongs to what was there until now.
    read_all(listeners);
    let mut known = std::mem::take(&mut *lock(&listeners.by_router));
    for Logging { router, log, endpoints } in wanted {
        let same = known.remove(&router).filter(|known| Arc::ptr_eq(&known.log, &log));
        let token = match &same {
            Some(known) => known.token,
            None => listeners.next.fetch_add(1, Ordering::Relaxed),
        };
        let listener = Arc::new(Listener { token, log, endpoints });
        lock(&listeners.by_router).insert(router, Arc::clone(&listener));
        if same.is_none() {
            epoll(lab)?.add(&*listener.log, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        }
    }
    Ok(())
}

/// The hits from this number on that are still kept; everything that was logged before the call is among them.
pub(crate) fn since(lab: &Lab, first: u64) -> Hits {
    read_all(&lab.hits);
    let ring = lock(&lab.hits.ring);
    let hits = ring.hits.iter().filter(|hit| hit.number >= first).cloned().collect();
    Hits { hits, next: ring.next, overruns: ring.overruns }
}

/// Starts the thread, for whoever must not: it would be where that is, and so would all that it starts.
pub(crate) fn prepare(lab: &Arc<Lab>) -> Result<()> {
    let _changing = lock(&lab.hits.changing);
    epoll(lab).map(drop)
}

/// The epoll, with its thread.
fn epoll(lab: &Arc<Lab>) -> Result<Arc<Epoll>> {
    if let Some(epoll) = lab.hits.epoll.get() {
        return Ok(Arc::clone(epoll));
    }
    let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
    let (theirs, of) = (Arc::clone(&epoll), Arc::clone(lab));
    thread::Builder::new().name("hits".into()).spawn(move || wait(&of, &theirs))?;
    // Only one `listen` at a time comes here.
    let _ = lab.hits.epoll.set(Arc::clone(&epoll));
    Ok(epoll)
}

/// Reads what is logged, as long as the agent lives.
fn wait(lab: &Lab, epoll: &Epoll) {
    let mut events = [EpollEvent::empty(); 64];
    loop {
        match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(_) => read_all(&lab.hits),
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Reads everything that was logged.
fn read_all(listeners: &Listeners) {
    let known: Vec<(String, Arc<Listener>)> = lock(&listeners.by_router)
        .iter()
        .map(|(router, known)| (router.clone(), Arc::clone(known)))
        .collect();
    // Held while it reads: who comes second finds in the ring what the first has read.
    let mut ring = lock(&listeners.ring);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    for (router, listener) in known {
        let (logged, lost) = listener.log.read().unwrap_or_else(|_| {
            // It has nothing to tell any more, and must not wake the thread for ever.
            if let Some(epoll) = listeners.epoll.get() {
                let _ = epoll.delete(&*listener.log);
            }
            (Vec::new(), true)
        });
        ring.overruns += u64::from(lost);
        logged.into_iter().for_each(|logged| ring.add(at, &router, &listener.endpoints, logged));
    }
}

impl Ring {
    fn add(&mut self, at: u64, router: &str, endpoints: &BTreeMap<String, String>, logged: Logged) {
        let Some(connection) = Connection::of(&logged.packet) else { return };
        let Some((counter, allowed)) = read_prefix(&logged.prefix) else { return };
        let link = match counted_by(counter) {
            Some((Side::Destination, _)) => &logged.input,
            _ => &logged.output,
        };
        let hit = Hit {
            number: self.next,
            at,
            router: router.to_owned(),
            endpoint: endpoints.get(link).cloned(),
            counter: counter.to_owned(),
            allowed,
            connection,
        };
        self.next += 1;
        if self.hits.len() == KEPT {
            self.hits.pop_front();
        }
        self.hits.push_back(hit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut ring = Ring::default();
        let mut packet = vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 3];
        packet.extend([0, 1, 0, 22]);
        let endpoints =
            BTreeMap::from([("in".to_owned(), "a".to_owned()), ("out".to_owned(), "b".to_owned())]);
        let logged = |counter: &str, packet: &[u8]| Logged {
            prefix: format!("{counter} allowed"),
            input: "in".into(),
            output: "out".into(),
            packet: packet.to_vec(),
        };
        ring.add(1, "r", &endpoints, logged("egress/x", &packet));
        ring.add(1, "r", &endpoints, logged("ingress/x", &packet));
        ring.add(1, "r", &endpoints, logged("ingress/x", &packet[..3])); // no packet
        let at = |ring: &Ring| ring.hits.iter().map(|hit| hit.endpoint.clone()).collect::<Vec<_>>();
        assert_eq!(at(&ring), [Some("a".into()), Some("b".into())], "each where its rule acts");
        (0..KEPT).for_each(|_| ring.add(2, "r", &endpoints, logged("ingress/x", &packet)));
        assert_eq!((ring.hits.len(), ring.next), (KEPT, KEPT as u64 + 2));
        assert_eq!(ring.hits.front().map(|hit| (hit.number, hit.at)), Some((2, 2)));
    }
}
