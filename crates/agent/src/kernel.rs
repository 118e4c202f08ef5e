//! The agent's side of the dataplane: observe, plan, apply, and probes.
//!
//! The agent knows nothing of VPCs: it is told the state that is wanted, and makes it so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tombolo_dataplane::fault::Late;
use tombolo_dataplane::linux::apply::Failure;
use tombolo_dataplane::linux::guests::Guests;
use tombolo_dataplane::linux::probe::cookies;
use tombolo_dataplane::linux::queue::Queue;
use tombolo_dataplane::linux::{Held, Kernel};
use tombolo_dataplane::{Changes, Desired, Op, Probe, Seen, Sleepers, Tracked, plan};

use crate::hits::Logging;
use crate::lab::lock;

/// What a convergence took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvergeReport {
    /// The edits that were planned, in order, each with its reason; none when the kernel was as desired.
    pub edits: Vec<(String, String)>,
    /// Those that failed.
    pub failures: Vec<Failure>,
}

/// Whether VMs can be lazy; if not, nobody is.
fn can_hold(kernel: &Kernel) -> bool {
    let can = kernel.can_hold();
    if let Err(error) = &can {
        eprintln!("VMs are not lazy: the kernel can not hold packets for them: {error}");
    }
    can.is_ok()
}

/// For how long probes are waited for at most: nothing is changed meanwhile.
const LATEST: Duration = Duration::from_secs(10);

/// Namespaces that are looked at ahead while others wait for the kernel: some milliseconds.
const AT_A_TIME: usize = 16;

/// The kernel's part of a lab.
#[derive(Debug)]
pub(crate) struct Dataplane {
    kernel: Mutex<Kernel>,
    desired: Mutex<Last>,
    /// The next probe's cookie.
    cookie: AtomicU32,
    /// How often namespaces have come or gone.
    turns: AtomicU64,
    /// Whether packets can be held until somebody is there, once that was asked.
    can_hold: OnceLock<bool>,
}

/// What was desired last.
#[derive(Debug, Default)]
struct Last {
    /// How many wishes there have been.
    number: u64,
    /// It, and who of it is not there yet.
    sleepers: Sleepers,
}

impl Dataplane {
    /// Nothing yet; endpoints will be the guests'.
    pub(crate) fn new(guests: Arc<Guests>) -> Self {
        // Connection tracking remembers probes for a while: a new agent begins elsewhere.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            kernel: Mutex::new(Kernel::new(guests)),
            desired: Mutex::default(),
            cookie: AtomicU32::new(since.as_micros() as u32),
            turns: AtomicU64::default(),
            can_hold: OnceLock::new(),
        }
    }

    /// One network namespace. The holder keeps it alive.
    pub(crate) fn netns_of(&self, name: &str) -> Option<Arc<OwnedFd>> {
        lock(&self.kernel).namespaces.get(name).map(|held| Arc::clone(&held.fd))
    }

    /// How often namespaces have come or gone.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Makes an empty network namespace unless there is one of that name.
    pub(crate) fn make_netns(&self, name: &str) -> Result<()> {
        let made = lock(&self.kernel).ensure(name, false);
        let made = made.with_context(|| format!("make network namespace {name}"))?;
        self.turns.fetch_add(made.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes routers that will be wanted, and begins with endpoints.
    pub(crate) fn expect(&self, routers: &[String], endpoints: usize) -> Result<()> {
        let made = lock(&self.kernel).expect(routers, endpoints).context("make routers")?;
        self.turns.fetch_add(made.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes the kernel's state the desired one; what that took, and the number of what was desired.
    pub(crate) fn converge(&self, desired: Desired) -> Result<(ConvergeReport, u64)> {
        let mut last = lock(&self.desired);
        last.number += 1;
        last.sleepers.want(desired);
        Ok((self.make(&mut last)?, last.number))
    }

    /// The same with changes to what was desired last, if that has this number.
    pub(crate) fn converge_changes(
        &self,
        since: u64,
        changes: Changes,
    ) -> Result<Option<(ConvergeReport, u64)>> {
        let mut last = lock(&self.desired);
        if last.number != since {
            return Ok(None);
        }
        last.number += 1;
        last.sleepers.change(changes);
        Ok(Some((self.make(&mut last)?, last.number)))
    }

    /// Has lazy endpoints be there; whether any of them was not.
    pub(crate) fn wake<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<bool> {
        let last = &mut *lock(&self.desired);
        let woken = last.sleepers.wake(names);
        if woken {
            self.make(last)?;
        }
        Ok(woken)
    }

    /// Holds no packets any more for endpoints that are there.
    pub(crate) fn pass<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<()> {
        let last = &mut *lock(&self.desired);
        last.sleepers.pass(names);
        self.make(last).map(drop)
    }

    /// The lazy endpoints that are not there yet.
    pub(crate) fn asleep(&self) -> BTreeSet<String> {
        lock(&self.desired).sleepers.asleep().cloned().collect()
    }

    /// The endpoints that are there, and for whom packets are still held.
    pub(crate) fn in_line(&self) -> Vec<String> {
        lock(&self.desired).sleepers.in_line().cloned().collect()
    }

    /// For whom a router holds packets to an address.
    pub(crate) fn held_for(&self, router: &str, address: IpAddr) -> Option<String> {
        lock(&self.desired).sleepers.held_for(router, address).cloned()
    }

    /// What routers hold packets in.
    pub(crate) fn queues(&self) -> Vec<(String, Arc<Queue>)> {
        self.queues_that(|held| held.queue.as_ref())
    }

    /// What routers make packets wait in that are to be late.
    pub(crate) fn late_queues(&self) -> Vec<(String, Arc<Queue>)> {
        self.queues_that(|held| held.late.as_ref())
    }

    fn queues_that(&self, pick: impl Fn(&Held) -> Option<&Arc<Queue>>) -> Vec<(String, Arc<Queue>)> {
        let kernel = lock(&self.kernel);
        let of = |(router, held): (&String, &Held)| Some((router.clone(), Arc::clone(pick(held)?)));
        kernel.namespaces.iter().filter_map(of).collect()
    }

    /// The links of a router whose packets are late.
    pub(crate) fn late(&self, router: &str) -> BTreeMap<String, Late> {
        let last = lock(&self.desired);
        let rules = last.sleepers.wanted().rules.get(router);
        rules.map(|rules| rules.late.clone()).unwrap_or_default()
    }

    /// Observes, plans and applies.
    fn make(&self, last: &mut Last) -> Result<ConvergeReport> {
        let mut kernel = lock(&self.kernel);
        if !last.sleepers.wanted().lazy.is_empty() && !*self.can_hold.get_or_init(|| can_hold(&kernel)) {
            last.sleepers.want_all();
        }
        let desired = last.sleepers.present();
        let plan = plan(desired, &kernel.observe_as(desired).context("observe the kernel")?);
        let failures = kernel.apply(&plan);
        let turns = |op: &Op| matches!(op, Op::CreateNamespace { .. } | Op::DeleteNamespace { .. });
        if plan.edits.iter().any(|edit| turns(&edit.op)) {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        let edits = plan.edits.iter().map(|edit| (edit.op.to_string(), edit.why.to_owned())).collect();
        Ok(ConvergeReport { edits, failures })
    }

    /// Looks at what is new now, while nobody waits for it: the next convergence is quicker for it.
    pub(crate) fn look_ahead(&self) {
        while lock(&self.kernel).look_ahead(AT_A_TIME) {
            // A mutex is not fair: whoever waits for it gets it now.
            std::thread::yield_now();
        }
    }

    /// Sends probes, and waits so long for those that are late; with `counted` it looks at the rules' counters after each.
    /// Who sends and who is sent to is woken first; whether anybody was.
    pub(crate) fn probe(&self, probes: &[Probe], counted: bool, late: Duration) -> Result<(Vec<Seen>, bool)> {
        let woken = self.wake_for(probes)?;
        let cookie = self.cookie.fetch_add(cookies(probes, counted), Ordering::Relaxed);
        Ok((
            lock(&self.kernel).probe(probes, cookie, counted, late.min(LATEST)).context("send probes")?,
            woken,
        ))
    }

    /// Wakes those that probes are from or for. Where a probe goes only the routers know, so whoever has its address in any
    /// network is woken: a probe must not be held.
    fn wake_for(&self, probes: &[Probe]) -> Result<bool> {
        let last = &mut *lock(&self.desired);
        if last.sleepers.wanted().lazy.is_empty() {
            return Ok(false);
        }
        let to: BTreeSet<IpAddr> = probes.iter().map(|probe| probe.destination).collect();
        let mut names: BTreeSet<String> =
            to.into_iter().flat_map(|address| last.sleepers.held_anywhere(address)).cloned().collect();
        names.extend(probes.iter().map(|probe| probe.from.clone()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let woken = last.sleepers.wake(names.iter().copied());
        last.sleepers.pass(names);
        self.make(last)?;
        Ok(woken)
    }

    /// The routers whose rules log.
    pub(crate) fn logging(&self) -> Vec<Logging> {
        let last = lock(&self.desired);
        let kernel = lock(&self.kernel);
        let logging = |(router, held): (&String, &Held)| {
            let log = Arc::clone(held.log.as_ref()?);
            let links = last.sleepers.wanted().state.namespaces.get(router).map(|namespace| &namespace.links);
            let links = links.into_iter().flatten();
            let peers = links.filter_map(|(link, it)| Some((link.clone(), it.peer.clone()?.0)));
            Some(Logging { router: router.clone(), log, endpoints: peers.collect() })
        };
        kernel.namespaces.iter().filter_map(logging).collect()
    }

    /// The connections that a router knows.
    pub(crate) fn connections(&self, router: &str) -> Result<Vec<Tracked>> {
        lock(&self.kernel).connections(router).context("list connections")
    }

    /// What the routers' rules have counted.
    pub(crate) fn counters(&self) -> Result<BTreeMap<String, BTreeMap<String, u64>>> {
        lock(&self.kernel).counters().context("read the rules' counters")
    }
}
