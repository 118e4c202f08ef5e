//! The kernel: observing it and editing it, by netlink, in namespaces held by descriptor.

pub mod apply;
mod conntrack;
pub mod guests;
pub mod log;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod observe;
pub mod probe;
mod watch;

use crate::state::Namespace;
use crate::table::Table;
use guests::Guests;
use log::Log;
use nft::Nft;
use std::collections::BTreeMap;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use watch::Watch;

/// The routing table of a namespace's own addresses.
const RT_TABLE_LOCAL: u8 = 255;

/// The place of our lookups: after the local table's (0), before the main table's (32766).
const LOOKUP_PRIORITY: u32 = 100;

/// The namespaces of a lab, and what is remembered of each. Dropping it lets go of them all.
#[derive(Debug, Default)]
pub struct Kernel {
    /// By name.
    pub namespaces: BTreeMap<String, Held>,
    /// Whom endpoints' network namespaces belong to; without it to the same as routers', which is only for states whose
    /// endpoints nobody can log in to.
    pub guests: Option<Arc<Guests>>,
}

impl Kernel {
    /// A new namespace with `lo` up, that belongs to whom it should.
    pub fn create(&self, router: bool) -> Result<OwnedFd> {
        match &self.guests {
            Some(guests) if !router => guests.create_netns(),
            _ => netns::create(),
        }
    }
}

/// A namespace that is held by its descriptor.
#[derive(Debug)]
pub struct Held {
    /// The descriptor; shared with whoever runs something inside.
    pub fd: Arc<OwnedFd>,
    /// Whether it is a router.
    pub router: bool,
    /// The rules last loaded.
    rules: Option<Rules>,
    /// The connection to its rules, if there is one.
    nft: Option<Nft>,
    /// What its rules log, where any do.
    pub log: Option<Arc<Log>>,
    /// What was seen in it last, but for the rules.
    seen: Option<Namespace>,
    /// Whether it may be otherwise now.
    watch: Watch,
}

impl Kernel {
    /// What has been counted since each rule was made: for each router, how many packets each counter.
    pub fn counters(&mut self) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
        let routers = self.namespaces.iter_mut().filter(|(_, held)| held.router);
        routers.map(|(name, held)| Ok((name.clone(), held.counters()?))).collect()
    }
}

impl Held {
    /// Holds a namespace.
    pub fn new(fd: OwnedFd, router: bool) -> Result<Held> {
        let watch = netns::with(&fd, Watch::open)??;
        Ok(Held::watched(fd, router, watch))
    }

    /// Holds a namespace in which `watch` was opened.
    fn watched(fd: OwnedFd, router: bool, watch: Watch) -> Held {
        Held { fd: Arc::new(fd), router, rules: None, nft: None, log: None, seen: None, watch }
    }

    /// Listens to what its rules log from before they do, and as long as they do.
    fn listen(&mut self, logs: bool) -> Result<()> {
        match (&self.log, logs) {
            (None, true) => self.log = Some(Arc::new(netns::with(&*self.fd, Log::open)??)),
            (Some(_), false) => self.log = None,
            _ => {}
        }
        Ok(())
    }

    /// How many packets each counter of its rules has counted.
    fn counters(&mut self) -> Result<BTreeMap<String, u64>> {
        self.with_nft(Nft::counters)
    }

    /// Does something with its rules. What fails leaves no connection: there may be answers to it.
    fn with_nft<T>(&mut self, work: impl FnOnce(&mut Nft) -> Result<T>) -> Result<T> {
        let mut nft = match self.nft.take() {
            Some(nft) => nft,
            None => netns::with(&*self.fd, Nft::open)??,
        };
        let done = work(&mut nft)?;
        self.nft = Some(nft);
        Ok(done)
    }
}

/// Rules that were loaded, and by what it is known that they still are.
#[derive(Debug)]
struct Rules {
    /// Their fingerprint.
    fingerprint: String,
    /// The rules.
    table: Table,
    /// The kernel's generation of rules that they were. If it is another one now, somebody else has changed the rules,
    /// and they are no longer known.
    generation: u32,
}
