//! Pools that are replaced while clients are served, and the end of it all.

use std::sync::Arc;
use std::time::Duration;

use tombolo_proxy::core::{ClientId, ConnectionId};

use crate::simulation::World;

impl World {
    /// A pool gets another configuration: other timeouts and numbers of connections.
    pub(crate) fn replace_pool(&mut self) {
        let origin = self.dice.below(3);
        let mut pool = self.core.pool(self.places[origin]).clone();
        pool.timeout = Some(Duration::from_millis(50 + self.dice.below(20) as u64));
        pool.server_connections = 1 + self.dice.below(3);
        pool.preconnect = self.dice.one_in(2);
        self.places[origin] = self.core.replace_pool(self.places[origin], Arc::new(pool), self.now);
        self.origins.push(origin);
        self.replaced += 1;
        assert_eq!(self.places[origin] + 1, self.origins.len());
    }

    /// Every client is told to go. Each gets what it has asked for, and nothing is left open.
    pub(crate) fn drain(&mut self) {
        self.core.drain();
        self.draining = true;
        for _ in 0..200_000 {
            for id in self.order.clone() {
                let Some(client) = self.clients.get(&id) else { continue };
                match self.core.wants_input(id) && !client.unsent.is_empty() {
                    true => self.feed(id, 10_000),
                    false => self.core.client_quiet(id),
                }
                self.write_client(id);
            }
            self.serve();
            self.core.tick(self.now);
            self.act();
            if self.core.is_idle() {
                assert!(self.clients.is_empty() && self.core.client_count() == 0);
                return self.audit();
            }
        }
        panic!("a client stays for ever: {:?}", self.clients.keys());
    }

    /// A client sends the next of what it has prepared. It is read from no more once it should not be, until the core
    /// says so.
    pub(crate) fn feed(&mut self, id: ClientId, count: usize) {
        if let Some(client) = self.clients.get_mut(&id)
            && !self.held_clients.contains(&id)
        {
            let bytes: Vec<u8> = client.unsent.drain(..client.unsent.len().min(count)).collect();
            self.core.client_data(id, &bytes, self.now);
            if !self.core.wants_input(id) {
                self.held_clients.insert(id);
            }
        }
    }

    /// Servers do all that they can.
    pub(crate) fn serve(&mut self) {
        for id in std::mem::take(&mut self.connecting) {
            self.connected(id);
        }
        let mut ids: Vec<ConnectionId> = self.servers.keys().copied().collect();
        ids.sort();
        for id in ids {
            self.write_server(id);
            if let Some(server) = self.servers.get_mut(&id) {
                server.stir(&mut self.executed);
            }
            self.send_from(id, usize::MAX);
        }
        self.act();
    }
}
