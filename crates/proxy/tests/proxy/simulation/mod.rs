//! The core under thousands of random schedules: bytes cut anywhere, servers that answer late,
//! refuse, freeze and drop, clients that stop reading or leave, and that move to connections of
//! their own and back, pools that are replaced, and the end of it all. Every reply is checked: it is the client's own, in its order; no request
//! reaches a server twice, or a connection in another state than its client's. A failure prints
//! its seed.

mod change;
mod client;
mod server;

use std::collections::{HashMap, HashSet};

use crate::dice::{Dice, seeds};
use tombolo_proxy::config::Config;
use tombolo_proxy::core::{Action, ClientId, ConnectionId, Core, Micros, ServerError};

use client::FakeClient;
use server::FakeServer;

/// Schedules to play.
const SEEDS: u64 = 150;
const STEPS: usize = 600;

const CONFIG: &str = "
one:
  listen: 127.0.0.1:1
  redis: true
  distribution: modula
  hash_tag: \"<>\"
  timeout: 50
  server_connections: 2
  servers: [\"127.0.0.1:2:1\", \"127.0.0.1:3:2\", \"127.0.0.1:4:1\"]
two:
  listen: 127.0.0.1:5
  redis: true
  redis_db: 1
  max_pipeline: 3
  max_client_buffer: 1024
  max_buffered_bytes: 2048
  servers: [\"127.0.0.1:6:1\"]
three:
  listen: 127.0.0.1:7
  redis: true
  slowlog_log_slower_than: 0
  redis_db: 1
  timeout: 60
  server_connections: 2
  max_client_buffer: 1024
  servers: [\"127.0.0.1:8:1\"]
";

struct World {
    core: Core,
    /// Which pool of the configuration each pool of the core is, and where the three are now.
    origins: Vec<usize>,
    places: [usize; 3],
    replaced: usize,
    dice: Dice,
    now: Micros,
    clients: HashMap<ClientId, FakeClient>,
    /// In the order they came, so that a seed always plays the same.
    order: Vec<ClientId>,
    pools: HashMap<ClientId, usize>,
    connecting: Vec<ConnectionId>,
    servers: HashMap<ConnectionId, FakeServer>,
    /// Those that are read from no more until the core says so, and whether one more chunk is under way.
    held: HashMap<ConnectionId, bool>,
    held_clients: HashSet<ClientId>,
    executed: HashSet<String>,
    ended: usize,
    draining: bool,
    /// Clients that said so themselves.
    left: usize,
    answered: usize,
    failed: usize,
    next_client: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let config = Config::parse("simulation", CONFIG).expect("a configuration");
        World {
            core: Core::new(&config.pools, seed),
            origins: vec![0, 1, 2],
            places: [0, 1, 2],
            replaced: 0,
            dice: Dice::of(seed),
            now: 0,
            clients: HashMap::new(),
            order: Vec::new(),
            pools: HashMap::new(),
            connecting: Vec::new(),
            servers: HashMap::new(),
            held: HashMap::new(),
            held_clients: HashSet::new(),
            executed: HashSet::new(),
            ended: 0,
            draining: false,
            left: 0,
            answered: 0,
            failed: 0,
            next_client: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.below(18) {
            0 => self.add_client(),
            1..=3 => self.ask(),
            4..=6 => self.client_sends(),
            7 => self.client_takes(),
            8..=9 => self.connect(),
            10 => self.server_takes(),
            11..=13 => self.server_sends(),
            16 => self.server_stirs(),
            14 if self.dice.one_in(8) => self.server_drops(),
            14 if self.dice.one_in(8) => self.client_leaves(),
            17 if self.dice.one_in(4) => self.server_babbles(),
            17 if self.dice.one_in(4) => self.client_ends(),
            17 if self.dice.one_in(6) => self.replace_pool(),
            _ => self.time_passes(),
        }
        self.act();
        self.audit();
    }

    fn add_client(&mut self) {
        if self.clients.len() < 6 {
            let id = self.core.client_connected(self.places[self.next_client % 3]);
            self.next_client += 1;
            self.pools.insert(id, (self.next_client - 1) % 3);
            self.clients.insert(id, FakeClient::default());
            self.order.push(id);
        }
    }

    fn any_client(&mut self) -> Option<ClientId> {
        self.order.retain(|id| self.clients.contains_key(id));
        let limit = self.order.len();
        (limit > 0).then(|| self.order[self.dice.below(limit)])
    }

    /// A client prepares requests, now and then more than it may have in flight.
    fn ask(&mut self) {
        let Some(id) = self.any_client() else { return };
        let several = self.pools[&id] == 0;
        let count = if self.dice.one_in(100) { 3000 } else { 1 + self.dice.below(20) };
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.eof {
            return;
        }
        for _ in 0..count {
            client.prepare(&format!("{id:?}"), &mut self.dice, several);
        }
    }

    fn client_sends(&mut self) {
        let Some(id) = self.any_client() else { return };
        let most = if self.dice.one_in(2) { 30 } else { 60_000 };
        let count = 1 + self.dice.below(most);
        self.feed(id, count);
    }

    fn client_takes(&mut self) {
        if let Some(id) = self.any_client() {
            self.write_client(id);
        }
    }

    fn write_client(&mut self, id: ClientId) {
        let length = self.core.client_output(id).len();
        if length == 0 {
            return;
        }
        let count = if self.dice.one_in(3) { 1 + self.dice.below(length) } else { length };
        let bytes = self.core.client_output(id)[..count].to_vec();
        self.core.client_wrote(id, count, self.now);
        if let Some(client) = self.clients.get_mut(&id) {
            client.input.extend_from_slice(&bytes);
            self.answered += client.check(&mut self.failed);
        }
    }

    fn client_leaves(&mut self) {
        let Some(id) = self.any_client() else { return };
        self.clients.remove(&id);
        self.core.client_gone(id);
    }

    /// A client that has sent all says that this was all.
    fn client_ends(&mut self) {
        let Some(id) = self.any_client() else { return };
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.unsent.is_empty() && !client.eof && self.core.wants_input(id) {
            client.eof = true;
            self.core.client_eof(id);
        }
    }

    fn connect(&mut self) {
        if self.connecting.is_empty() {
            return;
        }
        let index = self.dice.below(self.connecting.len());
        let id = self.connecting.remove(index);
        if self.dice.one_in(4) {
            self.core.server_failed(id, &ServerError::Refused, self.now);
        } else {
            self.connected(id);
        }
    }

    fn connected(&mut self, id: ConnectionId) {
        let home = if self.origins[self.core.place(id).0] == 0 { 0 } else { 1 };
        self.servers.insert(id, FakeServer::new(home));
        self.core.server_connected(id, self.now);
    }

    fn any_server(&mut self) -> Option<ConnectionId> {
        let mut ids: Vec<ConnectionId> = self.servers.keys().copied().collect();
        ids.sort();
        (!ids.is_empty()).then(|| ids[self.dice.below(ids.len())])
    }

    fn server_takes(&mut self) {
        if let Some(id) = self.any_server() {
            self.write_server(id);
        }
    }

    /// The server takes some of what it is sent, and works on the requests that are complete.
    fn write_server(&mut self, id: ConnectionId) {
        let length = self.core.server_output(id).len();
        let Some(server) = self.servers.get_mut(&id) else { return };
        if length == 0 {
            return;
        }
        let count = if self.dice.one_in(3) { 1 + self.dice.below(length) } else { length };
        server.input.extend_from_slice(&self.core.server_output(id)[..count]);
        self.core.server_wrote(id, count);
        server.work(&mut self.executed);
    }

    fn server_stirs(&mut self) {
        if let Some(id) = self.any_server()
            && let Some(server) = self.servers.get_mut(&id)
        {
            server.stir(&mut self.executed);
        }
    }

    fn server_sends(&mut self) {
        let Some(id) = self.any_server() else { return };
        let most = if self.dice.one_in(2) { 20 } else { 100_000 };
        let count = 1 + self.dice.below(most);
        self.send_from(id, count);
    }

    fn send_from(&mut self, id: ConnectionId, count: usize) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if self.held.get(&id) == Some(&false) || server.output.is_empty() {
            return;
        }
        let bytes: Vec<u8> = server.output.drain(..count.min(server.output.len())).collect();
        match self.held.get_mut(&id) {
            Some(one_more) => *one_more = false,
            None if !self.core.wants_server_data(id) => drop(self.held.insert(id, self.dice.one_in(2))),
            None => {}
        }
        self.server_data(id, &bytes).expect("good replies");
    }

    /// Hands in what a server sends, as it is read: behind what was left of the last time, for some
    /// sizes of buffers. Clients take some of their replies at once.
    fn server_data(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), ServerError> {
        let mut buffer = vec![0; self.dice.below(200)];
        let rest = self.core.take_rest(id, &mut buffer);
        buffer.drain(..buffer.len() - rest);
        buffer.extend_from_slice(bytes);
        let (dice, clients, mut takers) = (&mut self.dice, &mut self.clients, Vec::new());
        // Of what was taken, what turns out not to be written: nothing more is taken before that.
        let mut returns: Vec<(ClientId, Vec<u8>)> = Vec::new();
        let mut outlet = |id, bytes: &[u8]| {
            let Some(client) = clients.get_mut(&id) else { return 0 };
            if returns.iter().any(|(other, _)| *other == id) {
                return 0;
            }
            let most = [0, dice.below(bytes.len() + 1), bytes.len()];
            let count = most[dice.below(3)];
            let written = if dice.one_in(4) { dice.below(count + 1) } else { count };
            client.input.extend_from_slice(&bytes[..written]);
            takers.push(id);
            if written < count {
                returns.push((id, bytes[written..count].to_vec()));
            }
            count
        };
        let outcome = self.core.server_data_to(id, &buffer, self.now, &mut outlet);
        for (id, bytes) in returns {
            self.core.client_returned(id, &bytes);
        }
        for id in takers {
            if let Some(client) = self.clients.get_mut(&id) {
                self.answered += client.check(&mut self.failed);
            }
        }
        outcome
    }

    /// A server says what nobody asked for, or what is no reply, behind replies that are right.
    fn server_babbles(&mut self) {
        let Some(id) = self.any_server() else { return };
        let Some(server) = self.servers.get_mut(&id) else { return };
        if !self.core.place(id).2 {
            return;
        }
        if !self.dice.one_in(3) {
            return server.push();
        }
        server.output.extend(b"?\r\n");
        let bytes: Vec<u8> = server.output.drain(..).collect();
        self.servers.remove(&id);
        self.held.remove(&id);
        assert_eq!(self.server_data(id, &bytes), Err(ServerError::Protocol));
    }

    /// Every request is answered, failed or in a queue, and is in one of these once.
    fn audit(&self) {
        for pool in self.core.snapshot().pools {
            let mut sum = [0_i64; 4];
            for stats in pool.servers.iter().map(|server| &server.stats) {
                let (queued, bytes) =
                    (stats.in_queue + stats.out_queue, stats.in_queue_bytes + stats.out_queue_bytes);
                let part = [stats.requests, stats.responses, queued, bytes];
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part as i64);
            }
            let [requests, responses, queued, bytes] = sum;
            let (failed, name) = (pool.stats.forward_error as i64, &pool.name);
            assert_eq!(requests, responses + failed + queued, "requests of pool {name}");
            assert_eq!(queued == 0, bytes == 0, "{queued} requests of pool {name} have {bytes} bytes");
        }
    }

    fn server_drops(&mut self) {
        let Some(id) = self.any_server() else { return };
        self.servers.remove(&id);
        self.held.remove(&id);
        self.core.server_failed(id, &ServerError::Closed, self.now);
    }

    fn time_passes(&mut self) {
        self.now += 1000 * self.dice.below(6) as Micros;
        self.core.tick(self.now);
    }

    fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Connect(id) => self.connecting.push(id),
                Action::CloseServer(id) => {
                    self.servers.remove(&id);
                    self.held.remove(&id);
                    self.connecting.retain(|other| *other != id);
                }
                Action::WriteServer(id) => self.write_server(id),
                // A socket may be full; it says later when it is not.
                Action::WriteClient(_) if self.dice.one_in(3) => {}
                Action::WriteClient(id) => self.write_client(id),
                Action::ResumeClient(id) => drop(self.held_clients.remove(&id)),
                Action::ResumeServer(id) => drop(self.held.remove(&id)),
                Action::CloseClient(id) => {
                    if let Some(client) = self.clients.remove(&id) {
                        let done = self.draining && client.unsent.is_empty() && client.has_all();
                        assert!(done || client.may_end(), "nobody asked for a client's end");
                        self.ended += usize::from(!client.eof);
                        self.left += usize::from(client.eof);
                    }
                }
            }
        }
    }

    /// Lets everything finish: nobody may be left waiting.
    fn settle(&mut self) {
        for _ in 0..200_000 {
            self.core.tick(self.now);
            if self
                .clients
                .values()
                .all(|client| client.answered == client.asked && !client.doomed && !client.eof)
            {
                return self.audit();
            }
            for id in self.order.clone() {
                self.feed(id, 10_000);
                self.write_client(id);
            }
            self.serve();
        }
        panic!("a client waits for ever");
    }
}

#[test]
fn no_reply_is_misdelivered_reordered_or_lost() {
    let (mut answered, mut failed, mut ended, mut left, mut replaced) = (0, 0, 0, 0, 0);
    for seed in seeds(SEEDS) {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            match seed % 3 {
                0 => world.drain(),
                _ => world.settle(),
            }
            (world.answered, world.failed, world.ended, world.left, world.replaced)
        });
        let (some, bad, lost, over, changed) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        answered += some;
        failed += bad;
        ended += lost;
        left += over;
        replaced += changed;
    }
    // The schedules must have met both fortunes, or they prove little.
    let story = format!(
        "{answered} replies, {failed} errors, {ended} clients with lost state, {left} that left, {replaced} pools replaced"
    );
    assert!(
        answered > 5000 && failed > 500 && failed < answered / 2 && ended > 50 && left > 50 && replaced > 100,
        "{story}"
    );
    println!("{story}");
}
