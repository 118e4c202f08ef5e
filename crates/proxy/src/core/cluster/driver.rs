//! Learning the table of slots: asking nodes, taking over what they tell, and letting go of what
//! has left.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::refresh::Step;
use super::{PROXY, TOPOLOGY, topology};
use crate::config::{Address, Server};
use crate::core::measure::Trouble;
use crate::core::server::{Connection, State};
use crate::core::stats::Traffic;
use crate::core::{Action, ClientId, ConnectionId, Core, Micros, ServerError};
use crate::placement::slots::SlotRange;

impl Core {
    /// Whether a request of a client may be sent now. `false`: it has to be looked at again later.
    /// The error is for when nobody tells where slots are.
    pub(in crate::core) fn may_send(&mut self, id: ClientId, now: Micros) -> Result<bool, String> {
        let Some(client) = self.clients.get_mut(id) else { return Ok(true) };
        let state = &mut self.pools[client.pool];
        let Some(cluster) = &mut state.cluster else { return Ok(true) };
        if client.epoch != cluster.epoch {
            if client.is_waiting() {
                return Ok(false);
            }
            client.epoch = cluster.epoch;
        }
        if state.placement.slots().is_some_and(|table| table.is_known()) {
            return Ok(true);
        }
        cluster.refresh.want(None);
        match &cluster.failed {
            Some(failed) => Err(failed.clone()),
            None => {
                cluster.waiters.push(id);
                let pool = client.pool;
                self.drive_cluster(pool, now);
                Ok(false)
            }
        }
    }

    /// Begins to learn the table before anybody asks.
    pub(in crate::core) fn begin_cluster(&mut self, pool: usize, now: Micros) {
        if let Some(cluster) = &mut self.pools[pool].cluster {
            cluster.refresh.want(None);
            self.drive_cluster(pool, now);
        }
    }

    /// Does what is due in every cluster pool.
    pub(in crate::core) fn tick_clusters(&mut self, now: Micros) {
        for pool in 0..self.pools.len() {
            let Some(cluster) = &self.pools[pool].cluster else { continue };
            if cluster.deadline() > now {
                continue;
            }
            if let Some(server) = cluster.refresh.overdue(now) {
                let control = self.control(pool, server);
                self.fail(control, &ServerError::TimedOut, now);
                self.topology_refused(pool, &ServerError::TimedOut.reply());
            }
            self.expire_held(pool, now);
            self.drive_cluster(pool, now);
        }
    }

    /// Asks for the table, if it is time to.
    fn drive_cluster(&mut self, pool: usize, now: Micros) {
        let candidates = self.candidates(pool);
        let Some(cluster) = &mut self.pools[pool].cluster else { return };
        match cluster.refresh.step(now, &candidates) {
            Step::Nothing => {}
            Step::Ask(server) => {
                cluster.failed = None;
                let control = self.control(pool, server);
                self.enqueue(control, PROXY, TOPOLOGY, 0, 1, topology::REQUEST, now);
            }
            Step::Failed => {
                let reason = "tombolo-proxy: no node of the cluster tells its slots";
                cluster.failed = Some(format!("{} ({reason})", cluster.trouble));
                self.wake(pool);
                self.release_held(pool, now);
            }
        }
    }

    /// Who can be asked: nodes that answer before those that do not, primaries before replicas,
    /// the configured servers last.
    fn candidates(&self, pool: usize) -> Vec<usize> {
        let state = &self.pools[pool];
        let mut all: Vec<usize> = (0..state.servers.len()).collect();
        if let Some(table) = state.placement.slots().filter(|table| table.is_known()) {
            let seeds = state.config.servers.len();
            all.retain(|&server| server < seeds || table.is_member(server));
            let primary = |server| table.primaries().iter().any(|&(_, primary)| primary == server);
            all.sort_by_key(|&server| {
                Reverse((table.is_reachable(server), primary(server), table.is_member(server)))
            });
        }
        all
    }

    /// The connection to a server that the table is asked on: no command of a client holds it up.
    fn control(&mut self, pool: usize, server: usize) -> usize {
        let state = &mut self.pools[pool];
        if let Some(control) = state.servers[server].control {
            return control;
        }
        self.connections.push(Connection::new(pool, server, true, state.timeout).keeping());
        let control = self.connections.len() - 1;
        state.servers[server].control = Some(control);
        self.shared.push(control);
        control
    }

    /// The server at an address, which may be new; it has the place of one that has gone, if any.
    pub(super) fn node(&mut self, pool: usize, address: Address) -> usize {
        let servers = &self.pools[pool].servers;
        if let Some(known) = servers.iter().position(|state| !state.gone && state.server.address == address) {
            return known;
        }
        let free = servers.iter().position(|state| state.gone);
        let server = Server { name: address.to_string(), address, weight: 1 };
        match free {
            Some(place) => {
                self.take_place(pool, place, server);
                place
            }
            None => self.add_server(pool, server),
        }
    }

    /// Puts a server in the place of one that has gone, whose connections are all closed.
    fn take_place(&mut self, pool: usize, place: usize, server: Server) {
        let state = &mut self.pools[pool].servers[place];
        (state.server, state.gone, state.trouble) = (server, false, Trouble::default());
        for &index in state.lanes.iter().chain(&state.control) {
            self.connections[index].traffic = Traffic::default();
        }
    }

    /// A server has answered `CLUSTER SLOTS`.
    pub(super) fn topology_told(&mut self, pool: usize, server: usize, reply: &[u8], now: Micros) {
        let asked = self.pools[pool].servers[server].server.address.clone();
        let ranges = match topology::read(reply, &asked) {
            Ok(ranges) => ranges,
            Err(nonsense) => return self.topology_refused(pool, nonsense.as_bytes()),
        };
        let ranges: Vec<SlotRange> = ranges
            .into_iter()
            .map(|range| SlotRange {
                first: range.first,
                last: range.last,
                servers: range.nodes.into_iter().map(|address| self.node(pool, address)).collect(),
            })
            .collect();
        let state = &mut self.pools[pool];
        let (Some(cluster), Some(table)) = (&mut state.cluster, state.placement.slots_mut()) else { return };
        let first = !table.is_known();
        cluster.epoch += u64::from(table.replace(&ranges));
        cluster.refresh.told(now);
        cluster.failed = None;
        table.forgive();
        if first && state.config.preconnect {
            for server in state.placement.everywhere() {
                let mut lanes = self.pools[pool].servers[server].lanes.clone();
                lanes.retain(|lane| !self.connections[*lane].resp3);
                lanes.into_iter().for_each(|lane| self.connect(lane, now));
            }
        }
        self.let_go(pool, server);
        self.note_gone(pool);
        self.wake(pool);
        self.release_held(pool, now);
    }

    /// The server that was asked will not tell the table, for this error.
    pub(super) fn topology_refused(&mut self, pool: usize, error: &[u8]) {
        if let Some(cluster) = &mut self.pools[pool].cluster {
            let text = String::from_utf8_lossy(error.strip_prefix(b"-").unwrap_or(error));
            cluster.trouble = text.trim_end().to_string();
            cluster.refresh.refused();
        }
    }

    /// Lets clients go on that waited for the first table.
    fn wake(&mut self, pool: usize) {
        if let Some(cluster) = &mut self.pools[pool].cluster {
            self.resumable.extend(std::mem::take(&mut cluster.waiters));
        }
    }

    /// Closes connections that have nothing under way to servers that left the cluster, and those
    /// that the table was asked on, but the one to `told`.
    fn let_go(&mut self, pool: usize, told: usize) {
        let state = &self.pools[pool];
        let Some(table) = state.placement.slots() else { return };
        let mut idle = Vec::new();
        for (server, state) in state.servers.iter().enumerate() {
            let gone = !table.is_member(server);
            idle.extend(state.lanes.iter().filter(|_| gone));
            idle.extend(state.control.filter(|_| server != told));
        }
        for index in idle {
            let connection = &mut self.connections[index];
            if connection.state != State::Idle && connection.in_flight.is_empty() {
                connection.reset();
                self.actions.push_back(Action::CloseServer(ConnectionId(index)));
            }
        }
    }

    /// Finds out which servers have gone: in no table and not configured, without a connection, and
    /// nothing is on its way to them. They are not told of any more, and their places are used again:
    /// addresses may change as often as they like.
    fn note_gone(&mut self, pool: usize) {
        let state = &self.pools[pool];
        let (Some(table), Some(cluster)) = (state.placement.slots(), &state.cluster) else { return };
        let left = |server: &usize| {
            !state.servers[*server].gone
                && !table.is_member(*server)
                && !cluster.detours.any_waits_for(*server)
        };
        let mut gone: BTreeSet<usize> =
            (state.config.servers.len()..state.servers.len()).filter(left).collect();
        if gone.is_empty() {
            return;
        }
        for connection in self.connections.iter().filter(|connection| connection.pool == pool) {
            if connection.state != State::Idle || connection.owner.is_some() {
                gone.remove(&connection.server);
            }
        }
        gone.into_iter().for_each(|server| self.pools[pool].servers[server].gone = true);
    }
}
