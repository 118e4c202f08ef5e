//! Waking lazy VMs: a packet for one that is not there is held by its router until it is.
//!
//! ```text
//!  rules hold ─▶ a queue per router ─▶ thread `held`: reads ─▶ thread `wake`: makes who is missing, listens on port 22,
//!                                                                 lets the packets go, in their order
//! ```
//! Two threads, since the kernel hands packets to a queue only as long as somebody reads. While a VM comes to life packets
//! keep coming: they go through the queue too, until none has come for [`QUIET`], so that none overtakes another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollTimeout};
use tombolo_dataplane::linux::probe;
use tombolo_dataplane::linux::queue::{HeldPacket, Queue};

use crate::lab::{Lab, lock};
use crate::queues::Queues;
use crate::{hits, ssh};

/// When packets for a VM come no closer together than this, it is awake.
const QUIET: Duration = Duration::from_millis(20);
/// When they come closer together for so long, it is awake as well.
const LONG: Duration = Duration::from_secs(2);

/// The queues of routers, and what waits in them.
#[derive(Debug, Default)]
pub(crate) struct Waker {
    queues: Queues,
    waiting: Mutex<Waiting>,
    stirred: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: Vec<(String, Arc<Queue>, HeldPacket)>,
    /// Somebody was woken otherwise than by a packet.
    woken: bool,
}

/// Makes it so that what routers hold is read.
pub(crate) fn listen(lab: &Arc<Lab>) -> Result<()> {
    lab.waker.queues.follow(lab.dataplane.queues(), || {
        ssh::prepare(lab)?;
        hits::prepare(lab)?;
        let (reads, wakes) = (Arc::clone(lab), Arc::clone(lab));
        thread::Builder::new().name("held".into()).spawn(move || read(&reads.waker))?;
        thread::Builder::new().name("wake".into()).spawn(move || wake(&wakes))?;
        Ok(())
    })
}

impl Waker {
    /// Somebody was woken otherwise than by a packet, and is to be let out of line.
    pub(crate) fn stir(&self) {
        lock(&self.waiting).woken = true;
        self.stirred.notify_one();
    }
}

/// Reads what routers hold, as long as the agent lives.
fn read(waker: &Waker) {
    let Some(epoll) = waker.queues.epoll() else { return };
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        waker.queues.read(&events[..ready], |router, queue, packets| {
            let packets = packets.into_iter().map(|packet| (router.clone(), Arc::clone(&queue), packet));
            lock(&waker.waiting).packets.extend(packets);
            waker.stirred.notify_one();
        });
    }
}

/// Who is in line.
struct InLine {
    since: Instant,
    last: Instant,
}

/// Wakes who is asked for, as long as the agent lives.
fn wake(lab: &Arc<Lab>) {
    // The kernel keeps packets in order for each processor. What this thread starts would stay there too.
    let _ = probe::pin();
    let mut line: BTreeMap<String, InLine> = BTreeMap::new();
    loop {
        let (packets, woken) = next(&lab.waker, (!line.is_empty()).then_some(QUIET));
        let owner = |(router, _, packet): &(String, Arc<Queue>, HeldPacket)| {
            lab.dataplane.held_for(router, packet.destination)
        };
        let owners: BTreeSet<String> = packets.iter().filter_map(owner).collect();
        // What can not be made is told by whoever converges next; its packets end where nothing leads on.
        let made = lab.dataplane.wake(owners.iter().map(String::as_str)).unwrap_or(true);
        if made || woken {
            let others = if woken { lab.dataplane.in_line() } else { Vec::new() };
            let _ = ssh::listen_too(lab, owners.iter().chain(&others).map(String::as_str));
            let _ = hits::listen(lab);
        }
        for (_, queue, packet) in &packets {
            let _ = queue.release(packet.number);
        }
        let now = Instant::now();
        for name in owners {
            line.entry(name).or_insert(InLine { since: now, last: now }).last = now;
        }
        if woken {
            for name in lab.dataplane.in_line() {
                line.entry(name).or_insert(InLine { since: now, last: now });
            }
        }
        let over = |it: &InLine| now.duration_since(it.last) >= QUIET || now.duration_since(it.since) >= LONG;
        let awake: Vec<String> =
            line.iter().filter(|(_, it)| over(it)).map(|(name, _)| name.clone()).collect();
        if !awake.is_empty() && lock(&lab.waker.waiting).packets.is_empty() {
            let _ = lab.dataplane.pass(awake.iter().map(String::as_str));
            line.retain(|name, _| !awake.contains(name));
        }
    }
}

/// Waits until something is held or somebody was woken, for so long at most.
fn next(waker: &Waker, limit: Option<Duration>) -> (Vec<(String, Arc<Queue>, HeldPacket)>, bool) {
    let waiting = lock(&waker.waiting);
    let idle = |it: &mut Waiting| it.packets.is_empty() && !it.woken;
    let mut waiting = match limit {
        None => waker.stirred.wait_while(waiting, idle).unwrap_or_else(|broken| broken.into_inner()),
        Some(limit) => match waker.stirred.wait_timeout_while(waiting, limit, idle) {
            Ok((waiting, _)) => waiting,
            Err(broken) => broken.into_inner().0,
        },
    };
    (std::mem::take(&mut waiting.packets), std::mem::take(&mut waiting.woken))
}
