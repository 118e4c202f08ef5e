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
pub mod queue;
mod settings;
mod watch;

use crate::rules::Ruleset;
use crate::state::Namespace;
use crate::table::{HELD, LATE, Table};
use guests::Guests;
use ipnet::{IpNet, Ipv4Net};
use log::Log;
use netlink::Route;
use nft::{Loaded, Nft};
use queue::Queue;
use settings::{Proc, Settings};
use std::collections::BTreeMap;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use watch::{Watch, Watches};

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
    /// Which of them may be otherwise now than they were.
    watches: Watches,
}

impl Kernel {
    /// One without a namespace; endpoints' will be the guests'.
    pub fn new(guests: Arc<Guests>) -> Self {
        Self { guests: Some(guests), ..Self::default() }
    }

    /// Whether packets can be held (nfnetlink_queue, and xtables' NFQUEUE in nf_tables): tried out in a namespace of its own.
    pub fn can_hold(&self) -> Result<()> {
        let mut held = self.create(true)?;
        let everything = IpNet::V4(Ipv4Net::default());
        let rules = Ruleset { held: [everything].into(), ..Ruleset::default() };
        held.attend(&rules)?;
        held.with_nft(|nft| nft.load(None, &rules.table())).map(drop)
    }

    /// Makes routers of these names, but for those that there are, with `lo` up and settled and nothing else. So many
    /// endpoints' namespaces are begun meanwhile, for whoever makes some next. Whether there were any routers to make.
    pub fn expect(&mut self, routers: &[String], endpoints: usize) -> Result<bool> {
        self.guests.iter().for_each(|guests| guests.expect(endpoints));
        let mut any = false;
        for name in routers {
            any |= self.ensure(name, true)?;
        }
        Ok(any)
    }

    /// Makes a namespace of this name, empty, unless there is one; whether it did.
    pub fn ensure(&mut self, name: &str, router: bool) -> Result<bool> {
        let missing = !self.namespaces.contains_key(name);
        if missing {
            let made = self.create(router)?;
            self.namespaces.insert(name.to_owned(), made);
        }
        Ok(missing)
    }

    /// A new namespace with `lo` up and settled, that belongs to whom it should.
    pub fn create(&self, router: bool) -> Result<Held> {
        let made = match &self.guests {
            Some(guests) if !router => guests.order(1).next()?,
            _ => New::make(router, None)?,
        };
        Ok(Held::of(made, router))
    }
}

/// A new namespace with `lo` up and settled, and a connection to it.
#[derive(Debug)]
struct New {
    netns: OwnedFd,
    route: Route,
}

impl New {
    /// Makes one that belongs to the user namespace of the calling thread, with settings as this mount of `/proc` has
    /// them, if there is one.
    fn make(router: bool, proc: Option<&Proc>) -> Result<New> {
        let settle = || {
            settings::prepare(router, &mut Settings::through(proc))?;
            Route::open()
        };
        let (netns, route) = netns::create_with(settle)?;
        Ok(New { netns, route })
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
    /// What its rules hold, once any do.
    pub queue: Option<Arc<Queue>>,
    /// What its rules make late, once any do.
    pub late: Option<Arc<Queue>>,
    /// The connection to all the rest, if there is one.
    route: Option<Route>,
    /// What was seen in it last, but for the rules.
    seen: Option<Arc<Namespace>>,
    /// Whether it may be otherwise now. Not before it is looked at for the first time: every listener costs all
    /// namespaces, for the kernel asks each one of each event whether it wants to hear of it.
    watch: Option<Watch>,
}

impl Kernel {
    /// What has been counted since each rule was made: for each router, how many packets each counter.
    pub fn counters(&mut self) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
        let routers = self.namespaces.iter_mut().filter(|(_, held)| held.router);
        routers.map(|(name, held)| Ok((name.clone(), held.counters()?))).collect()
    }
}

impl Held {
    /// Holds a new namespace.
    fn of(made: New, router: bool) -> Held {
        let New { netns, route } = made;
        Held {
            fd: Arc::new(netns),
            router,
            rules: None,
            nft: None,
            log: None,
            queue: None,
            late: None,
            route: Some(route),
            seen: None,
            watch: None,
        }
    }

    /// Listens to what its rules hold or make late from before they do.
    fn attend(&mut self, rules: &Ruleset) -> Result<()> {
        let open =
            |number| Ok::<_, std::io::Error>(Arc::new(netns::with(&*self.fd, || Queue::open(number))??));
        if !rules.held.is_empty() && self.queue.is_none() {
            self.queue = Some(open(HELD)?);
        }
        if !rules.late.is_empty() && self.late.is_none() {
            self.late = Some(open(LATE)?);
        }
        Ok(())
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

    /// Makes these its rules.
    fn load(&mut self, rules: &Arc<Ruleset>) -> Result<()> {
        self.listen(rules.log())?;
        self.attend(rules)?;
        // Until they are loaded nothing is known of them: a part of them may be.
        let before = self.rules.take();
        let table = match &before {
            Some(before) => rules.table_after(&before.rules, &before.table),
            None => rules.table(),
        };
        let known = before.as_ref().map(|known| (&known.table, known.generation));
        let Loaded { table, generation } = self.with_nft(|nft| nft.load(known, &table))?;
        self.rules = Some(Rules { rules: Arc::clone(rules), table, generation });
        Ok(())
    }

    /// How many packets each counter of its rules has counted.
    fn counters(&mut self) -> Result<BTreeMap<String, u64>> {
        self.with_nft(Nft::counters)
    }

    /// Asks or changes its links, addresses, neighbours and routes. What fails leaves no connection, as with the rules.
    fn with_route<T>(&mut self, work: impl FnOnce(&mut Route) -> Result<T>) -> Result<T> {
        let mut route = match self.route.take() {
            Some(route) => route,
            None => netns::with(&*self.fd, Route::open)??,
        };
        let done = work(&mut route)?;
        self.route = Some(route);
        Ok(done)
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
    /// The rules.
    rules: Arc<Ruleset>,
    /// The table that they are.
    table: Table,
    /// The kernel's generation of rules that they were. If it is another one now, somebody else has changed the rules,
    /// and they are no longer known.
    generation: u32,
}
