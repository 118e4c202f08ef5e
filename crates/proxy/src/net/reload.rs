//! SIGHUP: the configuration is read again, and what has changed is taken over.
//!
//! ```text
//!  read, check, load certificates ─▶ plan ─▶ bind new sockets ─▶ tell the workers ─▶ close old sockets
//!           └──────────────── an error: nothing has changed ────────────┘
//! ```

use std::io;
use std::sync::Arc;

use super::control::Proxy;
use super::doors::{Door, Registered};
use super::mailbox::{Command, PoolStep};
use super::{Contexts, NetError};
use crate::config::plan::{Change, Plan};
use crate::config::{Address, Config, Pool};
use crate::log::{ERROR, NOTICE, WARN};

impl Proxy {
    /// Reads the configuration again. With an error in it, the old one stays.
    pub(super) fn reload(&mut self) {
        self.manager.reloading();
        match self.take_over() {
            Ok([kept, changed, added, removed]) => self.log.line(
                NOTICE,
                format_args!(
                    "the configuration was read again: pools: {kept} unchanged, {changed} changed, {added} added, {removed} removed"
                ),
            ),
            Err(error) => {
                self.log.line(ERROR, format_args!("the new configuration is not used, the old one stays: {error}"));
            }
        }
        self.manager.ready(self.config.pools.len(), self.options.threads);
    }

    fn take_over(&mut self) -> Result<[usize; 4], NetError> {
        let config = Config::load(&self.options.file).map_err(NetError::Config)?;
        let plan = Plan::new(&self.config.pools, &config.pools);
        // Certificates are tried before anything is done, and used when nothing can fail any more.
        Contexts::default().load(&config)?;
        let mut fresh = Vec::new();
        for (pool, step) in config.pools.iter().zip(&plan.steps) {
            fresh.push(match step.socket {
                Some(_) => None,
                None => {
                    let socket = self.next.listen(pool, self.poll.registry());
                    Some(socket.map_err(|error| self.explain(error, pool))?)
                }
            });
        }
        self.contexts.load(&config)?;
        for (pool, socket) in config.pools.iter().zip(&fresh) {
            socket.iter().for_each(|socket| socket.tell(pool, &self.log));
        }
        self.contexts.warn(&config, &self.log);
        config.remarks.iter().for_each(|remark| self.log.line(WARN, format_args!("{remark}")));
        self.accept_at_closing_doors(&plan);
        self.change_doors(&plan, &config, fresh);
        self.config = config;
        self.keep_descriptors_back();
        Ok(plan.counts())
    }

    /// Says so where it is the proxy itself that has a port: old sockets are there until new ones are.
    fn explain(&self, error: NetError, new: &Pool) -> NetError {
        let NetError::Listen { pool, address, reason } = error else { return error };
        let Address::Tcp(_, port) = new.listen.address else {
            return NetError::Listen { pool, address, reason };
        };
        let has_port = |old: &&Pool| matches!(old.listen.address, Address::Tcp(_, other) if other == port);
        let reason = match self.config.pools.iter().find(has_port) {
            Some(old) if reason.kind() == io::ErrorKind::AddrInUse => io::Error::other(format!(
                "{reason}: this proxy listens on {} for pool '{}'; another address with the same port \
                 needs a restart",
                old.listen, old.name
            )),
            _ => reason,
        };
        NetError::Listen { pool, address, reason }
    }

    /// Who waits at a socket that is closed would be cut off.
    fn accept_at_closing_doors(&mut self, plan: &Plan) {
        for index in 0..self.doors.len() {
            if !plan.steps.iter().any(|step| step.socket == Some(index)) {
                self.accept(index);
            }
        }
    }

    fn change_doors(&mut self, plan: &Plan, config: &Config, mut fresh: Vec<Option<Registered>>) {
        let mut steps = Vec::new();
        let (old, mut sockets): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.doors).into_iter().map(Door::apart).unzip();
        for (index, (pool, step)) in config.pools.iter().zip(&plan.steps).enumerate() {
            let socket = match step.socket {
                Some(place) => {
                    let before = &self.config.pools[place];
                    let socket = sockets[place].take();
                    if let Some(socket) = &socket {
                        self.adapt(socket, before, pool);
                    }
                    socket
                }
                None => fresh[index].take(),
            };
            // The plan gives each socket to one pool.
            let Some(socket) = socket else { continue };
            self.doors.push(match step.change {
                Change::Kept(place) => old[place].with(socket, pool, old[place].pool),
                Change::Changed(place) => {
                    steps.push(PoolStep::Replace(old[place].pool, Arc::new(pool.clone())));
                    old[place].with(socket, pool, self.next.pool())
                }
                Change::Added => {
                    steps.push(PoolStep::Add(Arc::new(pool.clone())));
                    Door::new(socket, pool, self.next.pool())
                }
            });
        }
        steps.extend(plan.removed.iter().map(|&place| PoolStep::Remove(old[place].pool)));
        if !steps.is_empty() {
            let steps: Arc<[PoolStep]> = steps.into();
            self.workers.send_all(|| Command::Reload(Arc::clone(&steps)));
        }
    }

    /// Gives a socket that goes on what the new configuration says about it.
    fn adapt(&self, socket: &Registered, before: &Pool, after: &Pool) {
        if let Err(error) = socket.adapt(before, after) {
            let (name, listen) = (&after.name, &after.listen);
            self.log.line(WARN, format_args!("pool '{name}': {listen}: {error}"));
        }
    }
}
