//! Latency and jitter of links with faults: packets wait in a queue of their router, where they arrive, until it is their
//! time.
//!
//! ```text
//!  rules ─▶ a queue per router ─▶ thread `late`: when it came, by which links, what these add ─▶ heap ─▶ goes on
//! ```
//! Packets of one path stay in their order, whatever the jitter.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{EpollEvent, EpollTimeout};
use nix::sys::time::TimeSpec;
use tombolo_dataplane::fault::Late as Link;
use tombolo_dataplane::linux::probe;
use tombolo_dataplane::linux::queue::Queue;

use crate::lab::Lab;

/// Makes it so that what is to be late is read.
pub(crate) fn listen(lab: &Arc<Lab>) -> Result<()> {
    lab.late.follow(lab.dataplane.late_queues(), || {
        let lab = Arc::clone(lab);
        thread::Builder::new().name("late".into()).spawn(move || delay(&lab))?;
        Ok(())
    })
}

/// Delays packets, as long as the agent lives.
fn delay(lab: &Lab) {
    // The kernel keeps packets in order for each processor.
    let _ = probe::pin();
    let Some(epoll) = lab.late.epoll() else { return };
    let mut waiting = Waiting::default();
    loop {
        waiting.release(Instant::now());
        let until = waiting.next().map(|at| at.saturating_duration_since(Instant::now()));
        let mut ready = [PollFd::new(epoll.0.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut ready, until.map(TimeSpec::from), None) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        let mut events = [EpollEvent::empty(); 64];
        let Ok(ready) = epoll.wait(&mut events, EpollTimeout::ZERO) else { continue };
        lab.late.read(&events[..ready], |router, queue, packets| {
            let (now, links) = (Instant::now(), lab.dataplane.late(&router));
            for packet in packets {
                let by = queue.link(packet.input).unwrap_or_default();
                let is_to = |link: &Link| link.to.iter().any(|range| range.contains(&packet.destination));
                let to = links.iter().find(|(_, link)| is_to(link));
                let on_the_way = links.get(&by).into_iter().chain(to.map(|(_, link)| link));
                let delay = on_the_way.map(|link| sample(link, fastrand::f64())).sum();
                let path = (router.clone(), by, to.map(|(name, _)| name.clone()));
                let at = now + Duration::from_micros(delay);
                waiting.add(at, path, (Arc::clone(&queue), packet.number));
            }
        });
    }
}

/// A router, by which link packets come, and behind which of those that make them late they are going.
type Path = (String, String, Option<String>);

/// Packets that wait, by when they go on and which came first.
#[derive(Default)]
struct Waiting {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    packets: BTreeMap<u64, (Arc<Queue>, u32)>,
    count: u64,
    /// When the last of each path goes on.
    last: BTreeMap<Path, Instant>,
}

impl Waiting {
    fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A packet goes on then, or after all of its path that came before it.
    fn add(&mut self, at: Instant, path: Path, packet: (Arc<Queue>, u32)) {
        let last = self.last.entry(path).or_insert(at);
        let at = at.max(*last);
        *last = at;
        self.count += 1;
        self.heap.push(Reverse((at, self.count)));
        self.packets.insert(self.count, packet);
    }

    /// Lets those go on whose time it is.
    fn release(&mut self, now: Instant) {
        while self.next().is_some_and(|at| at <= now) {
            let number = self.heap.pop().map(|Reverse((_, number))| number);
            if let Some((queue, packet)) = number.and_then(|number| self.packets.remove(&number)) {
                let _ = queue.release(packet);
            }
        }
        // Paths are few, but links come and go.
        if self.packets.is_empty() {
            self.last.clear();
        }
    }
}

/// Microseconds that a link adds; `chance` is from 0 to 1.
fn sample(link: &Link, chance: f64) -> u64 {
    let jitter = f64::from(link.jitter) * (2.0 * chance - 1.0);
    (f64::from(link.latency) + jitter).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_to_both_sides_of_latency() {
        let link = Link { latency: 1000, jitter: 400, ..Link::default() };
        for (chance, want) in [(0.0, 600), (0.5, 1000), (1.0, 1400)] {
            assert_eq!(sample(&link, chance), want);
        }
        assert_eq!(sample(&Link { latency: 100, ..link }, 0.0), 0);
    }
}
