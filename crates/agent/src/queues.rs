//! The queues of routers in which packets wait, and what their readers wait with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use tombolo_dataplane::linux::queue::{HeldPacket, Queue};

use crate::lab::lock;

/// The queues of one kind.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    by_token: Mutex<BTreeMap<u64, (String, Arc<Queue>)>>,
    /// Made with the first queue.
    epoll: OnceLock<Epoll>,
    next: AtomicU64,
    /// One [`follow`](Self::follow) at a time.
    changing: Mutex<()>,
}

impl Queues {
    /// Makes it so that these queues are waited for, and no others; each with its router. `start` is called before the first
    /// one is: whoever reads begins then.
    pub(crate) fn follow(
        &self,
        there: Vec<(String, Arc<Queue>)>,
        start: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let _changing = lock(&self.changing);
        // One that is dropped leaves the epoll with its socket.
        lock(&self.by_token).retain(|_, (_, known)| there.iter().any(|(_, queue)| Arc::ptr_eq(queue, known)));
        if there.is_empty() {
            return Ok(());
        }
        if self.epoll.get().is_none() {
            let _ = self.epoll.set(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
            start()?;
        }
        let Some(epoll) = self.epoll() else { return Ok(()) };
        for (router, queue) in there {
            if lock(&self.by_token).values().any(|(_, known)| Arc::ptr_eq(known, &queue)) {
                continue;
            }
            let token = self.next.fetch_add(1, Ordering::Relaxed);
            epoll.add(&*queue, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            lock(&self.by_token).insert(token, (router, queue));
        }
        Ok(())
    }

    /// What a reader waits with.
    pub(crate) fn epoll(&self) -> Option<&Epoll> {
        self.epoll.get()
    }

    /// Reads the queues that the epoll has told of: each router's, with the packets in their order.
    pub(crate) fn read(
        &self,
        ready: &[EpollEvent],
        mut each: impl FnMut(String, Arc<Queue>, Vec<HeldPacket>),
    ) {
        for event in ready {
            // One that went meanwhile is not found.
            let known = lock(&self.by_token).get(&event.data()).cloned();
            let Some((router, queue)) = known else { continue };
            match queue.read() {
                Ok(packets) => each(router, queue, packets),
                // It has nothing to tell any more, and must not wake its reader for ever.
                Err(_) => drop(self.epoll().map(|epoll| epoll.delete(&*queue))),
            }
        }
    }
}
