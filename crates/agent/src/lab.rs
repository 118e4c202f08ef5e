//! What the agent holds: network namespaces by name and VMs by key.
//!
//! Locks are held for look-ups only, never while something starts or ends; a VM has locks of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use tombolo_dataplane::linux::guests::Guests;

use crate::hits;
use crate::kernel::Dataplane;
use crate::lease::Lease;
use crate::message::VmSpec;
use crate::queues::Queues;
use crate::ssh::Listeners;
use crate::vm::Vm;
use crate::wake::Waker;

/// The lab's state.
#[derive(Debug)]
pub struct Lab {
    /// The user namespace of VMs' programs.
    pub(crate) guests: Arc<Guests>,
    /// Folders of the host that VMs do not see.
    pub(crate) hide: Vec<PathBuf>,
    /// Network namespaces, links, routes and rules.
    pub(crate) dataplane: Dataplane,
    vms: Mutex<BTreeMap<String, Arc<Vm>>>,
    /// How often VMs have come or gone, or are reached otherwise.
    turns: AtomicU64,
    /// Who waits for ssh connections.
    pub(crate) listeners: Listeners,
    /// Who wakes VMs.
    pub(crate) waker: Waker,
    /// What packets that are to be late wait in.
    pub(crate) late: Queues,
    /// What firewall rules log.
    pub(crate) hits: hits::Listeners,
    /// What the holder of the lease wants its successor to know.
    pub(crate) note: Mutex<Option<String>>,
    /// Who the lab belongs to.
    pub(crate) lease: Lease,
    /// One declaration of VMs at a time.
    changing: Mutex<()>,
}

impl Lab {
    /// A lab with nothing in it.
    pub(crate) fn new(guests: Guests, lease: Lease, hide: Vec<PathBuf>) -> Self {
        let guests = Arc::new(guests);
        Self {
            dataplane: Dataplane::new(Arc::clone(&guests)),
            guests,
            hide,
            vms: Mutex::default(),
            turns: AtomicU64::default(),
            listeners: Listeners::default(),
            waker: Waker::default(),
            late: Queues::default(),
            hits: hits::Listeners::default(),
            note: Mutex::default(),
            lease,
            changing: Mutex::default(),
        }
    }

    /// One network namespace, for somebody who goes there: a lazy VM is woken. The holder keeps it alive.
    pub fn netns_of(&self, name: &str) -> Option<Arc<OwnedFd>> {
        // What keeps it from coming is seen by who converges next.
        if self.dataplane.wake([name]).unwrap_or(false) {
            self.waker.stir();
        }
        self.dataplane.netns_of(name)
    }

    /// How often VMs, and how often namespaces have come or gone: as long as both are the same, so is who is where.
    pub(crate) fn turns(&self) -> (u64, u64) {
        (self.turns.load(Ordering::Relaxed), self.dataplane.turns())
    }

    /// All VMs.
    pub(crate) fn vms(&self) -> Vec<Arc<Vm>> {
        lock(&self.vms).values().cloned().collect()
    }

    /// The VM of this key.
    pub(crate) fn vm(&self, key: &str) -> Result<Arc<Vm>> {
        lock(&self.vms).get(key).cloned().with_context(|| format!("the lab has no VM {key}"))
    }

    /// Declares all VMs. Those that are gone, or whose network namespace, hostname or binaries are others, are
    /// killed; those whose hosts and resolv.conf changed learn of it while they run.
    pub fn set_vms(&self, specs: Vec<VmSpec>) -> Result<()> {
        let _changing = lock(&self.changing);
        let keys: BTreeSet<&str> = specs.iter().map(|spec| &*spec.key).collect();
        if keys.len() != specs.len() {
            bail!("two VMs have the same key");
        }
        let gone: Vec<Arc<Vm>> = {
            let mut vms = lock(&self.vms);
            let (kept, gone) = take(&mut *vms).into_iter().partition(|(key, _)| keys.contains(&**key));
            *vms = kept;
            BTreeMap::into_values(gone).collect()
        };
        gone.iter().for_each(|vm| vm.remove());
        self.declare(specs, !gone.is_empty());
        Ok(())
    }

    /// Declares some VMs, and that others are gone. As [`Lab::set_vms`]; what is not named stays.
    pub(crate) fn change_vms(&self, gone: &[String], specs: Vec<VmSpec>) {
        let _changing = lock(&self.changing);
        for key in gone {
            let known = lock(&self.vms).remove(key);
            known.iter().for_each(|vm| vm.remove());
        }
        self.declare(specs, !gone.is_empty());
    }

    /// Declares VMs. `turned` is whether others have gone.
    fn declare(&self, specs: Vec<VmSpec>, mut turned: bool) {
        for spec in specs {
            let known = lock(&self.vms).get(&spec.key).cloned();
            match known {
                Some(vm) => {
                    let before = vm.spec();
                    turned |= (&before.netns, before.ssh.is_some()) != (&spec.netns, spec.ssh.is_some());
                    vm.update(spec);
                }
                None => {
                    turned = true;
                    lock(&self.vms).insert(spec.key.clone(), Arc::new(Vm::new(spec)));
                }
            }
        }
        self.turns.fetch_add(turned.into(), Ordering::Relaxed);
    }

    /// Ends whatever runs in a VM, for example before its network namespace is replaced. It starts anew with
    /// the next program.
    pub fn stop_vm(&self, key: &str) {
        if let Ok(vm) = self.vm(key) {
            vm.stop();
        }
    }
}

/// A panic of another request must not end the lab: the maps are whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
