//! Answers of a cluster's nodes: replies to clients, or requests on a detour.

use std::collections::VecDeque;

use tombolo_resp::command::{self, Command};
use tombolo_resp::{RequestParser, Step, encode};

use super::detour::{Detour, MAX_REDIRECTS, Progress};
use super::redirect::{self, Answer, Node};
use super::{ASKING, PROXY, TOPOLOGY, topology};
use crate::core::server::{InFlight, KEEP_BUFFER, Replies};
use crate::core::{ClientId, Core, Micros, ServerError, ServerState};
use crate::placement::slots;

pub(super) const ASKING_WIRE: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

impl Core {
    /// A node has answered a request.
    pub(in crate::core) fn cluster_reply(
        &mut self,
        index: usize,
        replies: &Replies,
        reply: &[u8],
        now: Micros,
    ) {
        let connection = &mut self.connections[index];
        let Some(request) = connection.answered(replies, now) else { return };
        let (pool, server, bytes) = (connection.pool, connection.server, request.bytes as usize);
        let mut answer = if reply.starts_with(b"-") { redirect::read(reply) } else { Answer::Reply };
        if answer != Answer::Reply {
            let wire = self.connections[index].kept.as_slice().get(..bytes).unwrap_or_default();
            if !self.is_said_by_node(pool, server, wire, &answer) {
                // If it is a node's after all, the table will tell.
                self.want_table(pool);
                answer = Answer::Reply;
            }
        }
        let connection = &mut self.connections[index];
        if request.client == PROXY {
            connection.kept.advance(bytes, KEEP_BUFFER);
            if request.seq == TOPOLOGY {
                self.topology_told(pool, server, reply, now);
            }
            return;
        }
        if answer == Answer::Reply {
            let first = InFlight { since: self.since(pool, &request), ..request };
            self.note_answered(index, &first);
            if let Some(slot) = self.end_detour(pool, request, reply, now) {
                // The slot has a node that answers: also for what was held as long as it may be.
                self.retry(pool, request.client, slot, now);
            }
            return;
        }
        let wire = connection.kept.as_slice().get(..bytes).unwrap_or_default().to_vec();
        connection.kept.advance(bytes, KEEP_BUFFER);
        match answer {
            Answer::Moved(slot, node) => match self.redirected(pool, server, node) {
                Some(target) => {
                    self.moved(pool, slot, target);
                    self.detour(pool, request, slot, (target, false), wire, reply, now);
                }
                None => self.finish_detour(pool, request, reply, now),
            },
            Answer::Ask(slot, node) => match self.redirected(pool, server, node) {
                Some(target) => self.detour(pool, request, slot, (target, true), wire, reply, now),
                None => self.finish_detour(pool, request, reply, now),
            },
            Answer::Later => self.try_later(pool, request, wire, reply, now),
            Answer::Unready => self.try_primary(pool, server, request, wire, reply, now),
            Answer::Reply => {}
        }
    }

    /// Whether such an answer to `wire` means that the request was not executed. A script can say what it likes,
    /// after what it did: to run it again would be to run it twice, and to follow it wherever it points would be to
    /// give the password away. So it is believed only where it names its own slot and another known node.
    fn is_said_by_node(&self, pool: usize, server: usize, wire: &[u8], answer: &Answer<'_>) -> bool {
        let Some((command, own)) = command_and_slot(wire) else { return true };
        let may_write = is_writing_script(command);
        if !may_write && !matches!(command.name, "eval_ro" | "evalsha_ro" | "fcall_ro") {
            return true;
        }
        let (Answer::Moved(slot, node) | Answer::Ask(slot, node)) = answer else { return !may_write };
        let servers = &self.pools[pool].servers;
        let address = topology::address(node.host, node.port, &servers[server].server.address);
        let is_other = |(index, state): (usize, &ServerState)| {
            index != server && !state.gone && Some(&state.server.address) == address.as_ref()
        };
        Some(*slot) == own && servers.iter().enumerate().any(is_other)
    }

    /// The server that a redirection by `server` points to.
    pub(super) fn redirected(&mut self, pool: usize, server: usize, node: Node<'_>) -> Option<usize> {
        let said_by = &self.pools[pool].servers[server].server.address;
        let address = topology::address(node.host, node.port, said_by)?;
        Some(self.node(pool, address))
    }

    /// A node has said that a slot belongs to `target`.
    pub(super) fn moved(&mut self, pool: usize, slot: u16, target: usize) {
        let state = &mut self.pools[pool];
        if let (Some(cluster), Some(table)) = (&mut state.cluster, state.placement.slots_mut())
            && table.assign(slot, target)
        {
            cluster.epoch += 1;
            cluster.refresh.want(Some(target));
        }
    }

    /// Sends a request that was not executed to another node, once its turn has come.
    #[expect(clippy::too_many_arguments, reason = "a request, what was said about it, and the time")]
    fn detour(
        &mut self,
        pool: usize,
        request: InFlight,
        slot: u16,
        to: (usize, bool),
        wire: Vec<u8>,
        reply: &[u8],
        now: Micros,
    ) {
        // What says that a script was not run may be the script: it is not sent back to where it was.
        let may_write = command_and_slot(&wire).is_some_and(|(command, _)| is_writing_script(command));
        let most = if may_write { 1 } else { MAX_REDIRECTS };
        let Some(detour) = self.take_detour(pool, request, slot, wire) else { return };
        detour.redirects += 1;
        if detour.redirects > most {
            let mut error = Vec::new();
            let last = String::from_utf8_lossy(reply.get(1..).unwrap_or_default());
            let text = format!(
                "ERR tombolo-proxy: sent on {most} times without finding its node; the last answer was: {}",
                last.trim_end()
            );
            encode::error(&mut error, &text);
            return self.finish_detour(pool, request, &error, now);
        }
        detour.progress = Progress::Waiting(to.0, to.1);
        let slot = self.slot_of_detour(pool, request).unwrap_or(slot);
        self.next_detour(pool, request.client, slot, now);
    }

    /// Puts a request on a detour, unless it is on one already.
    fn take_detour(
        &mut self,
        pool: usize,
        request: InFlight,
        slot: u16,
        wire: Vec<u8>,
    ) -> Option<&mut Detour> {
        let key = (request.client, request.seq, request.part);
        if let Some(client) = self.clients.get_mut(request.client) {
            // Nothing that it asks from now on may run before this.
            client.epoch = 0;
        }
        let detours = &mut self.pools[pool].cluster.as_mut()?.detours;
        match detours.slot(key) {
            Some(slot) => {
                // Whoever was sent is at the front.
                let detour = detours.front(request.client, slot)?;
                detour.wire = wire;
                Some(detour)
            }
            None => {
                let (seq, part, since) = (request.seq, request.part, request.since);
                let progress = Progress::Waiting(0, false);
                detours.begin(
                    request.client,
                    slot,
                    Detour { seq, part, wire, redirects: 0, since, progress },
                );
                detours.newest(request.client, slot)
            }
        }
    }

    fn slot_of_detour(&self, pool: usize, request: InFlight) -> Option<u16> {
        let detours = &self.pools[pool].cluster.as_ref()?.detours;
        detours.slot((request.client, request.seq, request.part))
    }

    /// Sends the request of a client whose turn it is, if it is not under way already.
    fn next_detour(&mut self, pool: usize, id: ClientId, slot: u16, now: Micros) {
        let Some(cluster) = &mut self.pools[pool].cluster else { return };
        let Some(client) = self.clients.get(id) else { return cluster.detours.forget(id, slot) };
        let Some(detour) = cluster.detours.front(id, slot) else { return };
        let Progress::Waiting(server, asking) = detour.progress else { return };
        detour.progress = Progress::Sent;
        let (seq, part, wire) = (detour.seq, detour.part, std::mem::take(&mut detour.wire));
        let index = self.pools[pool].servers[server].lanes[client.lane];
        if asking {
            self.enqueue(index, PROXY, ASKING, 0, 1, ASKING_WIRE, now);
        }
        self.enqueue(index, id, seq, part, 1, &wire, now);
    }

    /// Gives a client its reply, and the next request its turn if there is one. What was held as long
    /// as it may be is left to the clock: each would wait for a dead node once more.
    fn finish_detour(&mut self, pool: usize, request: InFlight, reply: &[u8], now: Micros) {
        let Some(slot) = self.end_detour(pool, request, reply, now) else { return };
        let Some(cluster) = &mut self.pools[pool].cluster else { return };
        let patience = cluster.patience;
        let next = cluster.detours.front(request.client, slot);
        if next.is_some_and(|next| !next.is_held() || next.since.saturating_add(patience) > now) {
            self.retry(pool, request.client, slot, now);
        }
    }

    /// Gives a client its reply; the slot whose next request has its turn now, if it was on a detour.
    fn end_detour(&mut self, pool: usize, request: InFlight, reply: &[u8], now: Micros) -> Option<u16> {
        let took = now.saturating_sub(self.since(pool, &request));
        self.pools[pool].latency.record(took, request.count.into());
        self.deliver(request, reply, &mut |_, _| 0);
        let detours = &mut self.pools[pool].cluster.as_mut()?.detours;
        if detours.is_empty() {
            return None;
        }
        detours.finish((request.client, request.seq, request.part))
    }

    /// Sends the request of a client whose turn it is; by the table as it is, if it was held.
    fn retry(&mut self, pool: usize, id: ClientId, slot: u16, now: Micros) {
        let state = &mut self.pools[pool];
        let target = state.placement.server_of(slot.into());
        let front = state.cluster.as_mut().and_then(|cluster| cluster.detours.front(id, slot));
        if let Some(held) = front.filter(|front| front.is_held()) {
            held.progress = Progress::Waiting(target, false);
        }
        self.next_detour(pool, id, slot, now);
    }

    /// When a request came: on a detour, before it was sent the last time.
    fn since(&self, pool: usize, request: &InFlight) -> Micros {
        let detours = self.pools[pool].cluster.as_ref().map(|cluster| &cluster.detours);
        let key = (request.client, request.seq, request.part);
        match detours.filter(|detours| !detours.is_empty()) {
            Some(detours) => detours.since(key).unwrap_or(request.since),
            None => request.since,
        }
    }

    /// What was refused for a reason that will pass is tried again later, if nothing that its
    /// client asked afterwards may have run.
    fn try_later(&mut self, pool: usize, request: InFlight, wire: Vec<u8>, reply: &[u8], now: Micros) {
        let newest = self.clients.get(request.client).is_some_and(|client| client.is_newest(request.seq));
        match slot_of(&wire).filter(|_| newest) {
            Some(slot) => self.hold(pool, request, slot, wire, reply, now),
            None => {
                self.want_table(pool);
                self.finish_detour(pool, request, reply, now);
            }
        }
    }

    /// A read that a replica has no data for goes to the primary.
    fn try_primary(
        &mut self,
        pool: usize,
        server: usize,
        request: InFlight,
        wire: Vec<u8>,
        reply: &[u8],
        now: Micros,
    ) {
        let Some(table) = self.pools[pool].placement.slots_mut() else { return };
        match slot_of(&wire).and_then(|slot| Some((slot, table.owner(slot)?))) {
            Some((slot, owner)) if owner != server => {
                table.set_reachable(server, false);
                self.detour(pool, request, slot, (owner, false), wire, reply, now);
            }
            _ => self.finish_detour(pool, request, reply, now),
        }
    }

    /// Keeps a request that was not executed until the table is told again.
    fn hold(&mut self, pool: usize, request: InFlight, slot: u16, wire: Vec<u8>, reply: &[u8], now: Micros) {
        self.want_table(pool);
        let patience = self.pools[pool].cluster.as_ref().map_or(0, |cluster| cluster.patience);
        let Some(detour) = self.take_detour(pool, request, slot, wire) else { return };
        if detour.since.saturating_add(patience) <= now {
            return self.finish_detour(pool, request, reply, now);
        }
        detour.progress = Progress::Held(reply.to_vec());
    }

    /// Something shows that the table may be wrong.
    pub(in crate::core) fn want_table(&mut self, pool: usize) {
        if let Some(cluster) = &mut self.pools[pool].cluster {
            cluster.refresh.want(None);
        }
    }

    /// The table was told: what is held is tried again, the first of each client and slot before the
    /// others.
    pub(super) fn release_held(&mut self, pool: usize, now: Micros) {
        let Some(cluster) = &self.pools[pool].cluster else { return };
        for (id, slot) in cluster.detours.held() {
            self.retry(pool, id, slot, now);
        }
    }

    /// Answers what was held too long.
    pub(super) fn expire_held(&mut self, pool: usize, now: Micros) {
        let Some(cluster) = &mut self.pools[pool].cluster else { return };
        let Some(then) = now.checked_sub(cluster.patience) else { return };
        for (id, slot) in cluster.detours.held_since(then) {
            let Some(cluster) = &mut self.pools[pool].cluster else { return };
            let Some(detour) = cluster.detours.front(id, slot) else { continue };
            let Progress::Held(reply) = std::mem::replace(&mut detour.progress, Progress::Sent) else {
                continue;
            };
            let (seq, part, since) = (detour.seq, detour.part, detour.since);
            self.finish_detour(
                pool,
                InFlight { client: id, seq, count: 1, part, bytes: 0, since },
                &reply,
                now,
            );
        }
    }

    /// A connection to a node has failed. `sent` has the bytes of `requests`, of which so many at the
    /// end were not written: what was not written at all goes another way, the rest gets the error.
    pub(in crate::core) fn cluster_failed(
        &mut self,
        index: usize,
        requests: VecDeque<InFlight>,
        (bytes, unsent): (&[u8], usize),
        (error, reply): (&ServerError, &[u8]),
        now: Micros,
    ) {
        let (pool, server) = (self.connections[index].pool, self.connections[index].server);
        self.want_table(pool);
        if let Some(table) = self.pools[pool].placement.slots_mut() {
            table.set_reachable(server, false);
        }
        let written = bytes.len().saturating_sub(unsent);
        let mut at = 0;
        for request in requests {
            let start = at;
            at += request.bytes as usize;
            if request.client == PROXY {
                if request.seq == TOPOLOGY {
                    self.topology_refused(pool, reply);
                }
                continue;
            }
            let wire = bytes.get(start..at).filter(|_| !error.is_hopeless() && start >= written);
            match wire.and_then(|wire| Some((slot_of(wire)?, wire.to_vec()))) {
                Some((slot, wire)) => match self.pools[pool].placement.server_of(slot.into()) {
                    owner if owner != server => {
                        self.detour(pool, request, slot, (owner, false), wire, reply, now);
                    }
                    _ => self.hold(pool, request, slot, wire, reply, now),
                },
                None => {
                    let first = InFlight { since: self.since(pool, &request), ..request };
                    self.note_slow((pool, server), &first, bytes.get(start..at).unwrap_or_default());
                    self.pools[pool].stats.forward_error += 1;
                    self.finish_detour(pool, request, reply, now);
                }
            }
        }
    }
}

fn is_writing_script(command: &Command) -> bool {
    matches!(command.name, "eval" | "evalsha" | "fcall")
}

/// The slot of the keys of a request.
fn slot_of(wire: &[u8]) -> Option<u16> {
    command_and_slot(wire)?.1
}

/// What a request is, and the slot of its keys.
fn command_and_slot(wire: &[u8]) -> Option<(&'static Command, Option<u16>)> {
    let mut parser = RequestParser::default();
    let Ok(Step::Complete(_)) = parser.advance(wire) else { return None };
    let request = parser.request(wire);
    let mut slot = None;
    let command = command::lookup(request.name(), request.arg(1))?;
    command.keys(&request, |_, key| slot = Some(slots::slot(key))).ok()?;
    Some((command, slot))
}
