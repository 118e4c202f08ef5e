//! The end of a session: the servers behave again, and every honest client must be answered, though
//! the wild ones neither read nor write any more.

use tombolo_proxy::core::{ConnectionId, ServerError};

use super::world::World;

/// Far more rounds than the longest script needs.
const ROUNDS: usize = 20_000;

impl World {
    pub(super) fn settle(&mut self) {
        self.write = usize::MAX;
        if self.tainted {
            for id in self.ids() {
                self.servers.remove(&id);
                self.core.server_failed(id, &ServerError::Closed, self.now);
            }
            self.act();
        }
        for _ in 0..ROUNDS {
            if self.clients.iter().all(|client| !client.open || !client.honest || client.is_done()) {
                return;
            }
            for index in 0..self.clients.len() {
                if self.clients[index].honest && self.clients[index].open {
                    self.send(index, usize::MAX);
                    self.write_client(index, usize::MAX);
                }
            }
            for id in std::mem::take(&mut self.connecting) {
                self.connected(id);
            }
            for id in self.ids() {
                self.write_server(id, usize::MAX);
                if let Some(server) = self.servers.get_mut(&id) {
                    server.stir();
                }
                self.send_from(id, usize::MAX);
            }
            self.act();
            if self.tainted && self.is_quiet() {
                return;
            }
        }
        panic!("a client waits for ever");
    }

    /// Whether nothing moves any more; with answers that were made up, some are never due.
    fn is_quiet(&self) -> bool {
        let silent = |id: &ConnectionId| self.core.server_output(*id).is_empty();
        let still = self.servers.iter().all(|(id, server)| silent(id) && server.output.is_empty());
        still && self.connecting.is_empty()
    }

    fn ids(&self) -> Vec<ConnectionId> {
        self.servers.keys().copied().collect()
    }
}
