//! The core in front of a fake cluster under random schedules: slots that move key by key, nodes
//! that take over from others or hear of it late, connections that break anywhere, clients that
//! pipeline. No command runs twice, those of one client for one key run in its order, and every
//! reply is the client's own, in its order. A failure prints its seed.
//!
//! One thing is left out: a slot does not come back to a node while requests that were sent to it
//! before, or its answers, are under way. No proxy that pipelines can keep their order then.

mod client;
mod nodes;

use std::collections::{BTreeMap, VecDeque};

use crate::dice::{Dice, seeds};
use client::FakeClient;
use nodes::{Cluster, FIRST_PORT, NODES, TAGS};
use tombolo_proxy::config::{Address, Config};
use tombolo_proxy::core::{Action, ClientId, ConnectionId, Core, Micros, ServerError};
use tombolo_resp::{RequestParser, Step, Value};

/// Schedules to play.
const SEEDS: u64 = 120;
const STEPS: usize = 700;

const CONFIG: &str = "
pool:
  listen: 127.0.0.1:1
  redis: true
  cluster: true
  slowlog_log_slower_than: 0
  timeout: 3000
  server_connections: 2
  servers: [\"127.0.0.1:7002:1\", \"127.0.0.1:7004:1\"]
";

/// A connection's end at a node.
#[derive(Default)]
struct Link {
    parser: RequestParser,
    input: Vec<u8>,
    output: VecDeque<u8>,
    asking: bool,
}

#[derive(Default)]
struct Tally {
    answered: usize,
    failed: usize,
    redirected: usize,
}

struct World {
    core: Core,
    cluster: Cluster,
    dice: Dice,
    now: Micros,
    clients: BTreeMap<ClientId, FakeClient>,
    links: BTreeMap<ConnectionId, Link>,
    connecting: Vec<ConnectionId>,
    /// Dead nodes do not refuse connections: there is no answer.
    silent: bool,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> World {
        let config = Config::parse("simulation", CONFIG).expect("a configuration");
        let mut core = Core::new(&config.pools, seed);
        let clients = (0..4).map(|_| (core.client_connected(0), FakeClient::default())).collect();
        World {
            core,
            cluster: Cluster::new(),
            dice: Dice::of(seed),
            now: 0,
            clients,
            links: BTreeMap::new(),
            connecting: Vec::new(),
            silent: false,
            tally: Tally::default(),
        }
    }

    fn node(&self, id: ConnectionId) -> usize {
        match &self.core.server(id).address {
            Address::Tcp(_, port) => usize::from(port - FIRST_PORT),
            other => panic!("{other}"),
        }
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=2 => self.ask(),
            3..=6 => self.client_sends(),
            7..=8 => self.connect(),
            9..=10 => self.some_link(|world, id| world.write_server(id, false)),
            11..=14 => self.some_link(|world, id| world.server_sends(id, false)),
            15 => self.slots_move(),
            16 => self.gossip(),
            17 if self.dice.one_in(6) => self.nodes_change(),
            18 if self.dice.one_in(12) => self.some_link(World::drop_link),
            _ => self.time_passes(),
        }
        self.act();
    }

    fn any_client(&mut self) -> ClientId {
        let at = self.dice.below(self.clients.len());
        *self.clients.keys().nth(at).expect("a client")
    }

    fn some_link(&mut self, action: impl Fn(&mut World, ConnectionId)) {
        if !self.links.is_empty() {
            let at = self.dice.below(self.links.len());
            let id = *self.links.keys().nth(at).expect("a link");
            action(self, id);
        }
    }

    /// A client prepares requests: GETSET of one key, or MSET of several, with tokens as values.
    fn ask(&mut self) {
        let id = self.any_client();
        let client = self.clients.get_mut(&id).expect("a client");
        for _ in 0..1 + self.dice.below(8) {
            client.prepare(id.index(), &mut self.dice);
        }
    }

    fn client_sends(&mut self) {
        let id = self.any_client();
        let most = if self.dice.one_in(2) { 30 } else { 60_000 };
        let count = 1 + self.dice.below(most);
        if self.core.wants_input(id) {
            let unsent = &mut self.clients.get_mut(&id).expect("a client").unsent;
            let bytes: Vec<u8> = unsent.drain(..count.min(unsent.len())).collect();
            self.core.client_data(id, &bytes, self.now);
        }
    }

    fn write_client(&mut self, id: ClientId) {
        let bytes = self.core.client_output(id).to_vec();
        self.core.client_wrote(id, bytes.len(), self.now);
        let client = self.clients.get_mut(&id).expect("a client");
        client.input.extend(bytes);
        while let Some((reply, length)) = Value::decode(&client.input) {
            client.input.drain(..length);
            let (expected, tokens) = client.expected.pop_front().expect("a reply to a request");
            match reply {
                Value::Error(text) => {
                    let known = ["ERR Connection ", "TRYAGAIN "].iter().any(|known| text.starts_with(known));
                    assert!(known, "{text} in place of {expected:?}");
                    self.tally.failed += 1;
                }
                reply => {
                    assert_eq!(reply, expected);
                    tokens.iter().for_each(|token| assert!(self.cluster.executed.contains(token), "{token}"));
                    self.tally.answered += 1;
                }
            }
        }
    }

    fn connect(&mut self) {
        if !self.connecting.is_empty() {
            let at = self.dice.below(self.connecting.len());
            let id = self.connecting.remove(at);
            self.connected(id);
        }
    }

    fn connected(&mut self, id: ConnectionId) {
        if self.cluster.alive[self.node(id)] {
            self.links.insert(id, Link::default());
            self.core.server_connected(id, self.now);
        } else if !self.silent {
            self.core.server_failed(id, &ServerError::Refused, self.now);
        }
    }

    /// A node takes some of what it is sent, or all, and answers what is complete.
    fn write_server(&mut self, id: ConnectionId, all: bool) {
        let node = self.node(id);
        let length = self.core.server_output(id).len();
        let Some(link) = self.links.get_mut(&id) else { return };
        if length > 0 {
            let count = if !all && self.dice.one_in(3) { 1 + self.dice.below(length) } else { length };
            link.input.extend_from_slice(&self.core.server_output(id)[..count]);
            self.core.server_wrote(id, count);
        }
        // One that is slow leaves the rest for later.
        while all || !self.dice.one_in(5) {
            let Ok(Step::Complete(length)) = link.parser.advance(&link.input) else { break };
            let request = link.parser.request(&link.input);
            let reply = self.cluster.answer(node, &request, &mut link.asking);
            link.output.extend(reply);
            link.input.drain(..length);
        }
    }

    fn server_sends(&mut self, id: ConnectionId, all: bool) {
        let most = if self.dice.one_in(2) { 40 } else { 100_000 };
        let count = if all { usize::MAX } else { 1 + self.dice.below(most) };
        let Some(link) = self.links.get_mut(&id) else { return };
        let bytes: Vec<u8> = link.output.drain(..count.min(link.output.len())).collect();
        if !bytes.is_empty() {
            self.core.server_data(id, &bytes, self.now).expect("good replies");
        }
    }

    fn drop_link(&mut self, id: ConnectionId) {
        self.links.remove(&id);
        self.core.server_failed(id, &ServerError::Closed, self.now);
    }

    /// Nothing that was sent to a node before is under way to it, and no answer of its.
    fn drain(&mut self, node: usize) {
        let ids: Vec<ConnectionId> = self.links.keys().copied().filter(|id| self.node(*id) == node).collect();
        ids.into_iter().for_each(|id| self.write_server(id, true));
        // What waits for a connection to be there would come late as well.
        for id in std::mem::take(&mut self.connecting) {
            if self.node(id) == node {
                self.connected(id);
                self.write_server(id, true);
            } else {
                self.connecting.push(id);
            }
        }
        let ids: Vec<ConnectionId> = self.links.keys().copied().filter(|id| self.node(*id) == node).collect();
        ids.into_iter().for_each(|id| self.server_sends(id, true));
    }

    fn slots_move(&mut self) {
        let tag = self.dice.below(TAGS.len());
        match self.cluster.migrations.get(&tag).copied() {
            None => {
                let to = self.dice.below(NODES);
                let settled = self.cluster.views.iter().all(|view| view[tag] == self.cluster.owners[tag]);
                if to != self.cluster.owners[tag] && settled && self.cluster.alive[to] {
                    self.drain(to);
                    self.cluster.begin(tag, to);
                }
            }
            Some(migration) if self.cluster.owners[tag] == migration.from => {
                if !self.cluster.move_key(tag) {
                    self.drain(migration.to);
                    self.cluster.end(tag, migration);
                }
            }
            Some(migration) => self.cluster.gossip(migration.from, tag),
        }
    }

    fn gossip(&mut self) {
        let (node, tag) = (self.dice.below(NODES), self.dice.below(TAGS.len()));
        self.cluster.gossip(node, tag);
    }

    /// A node dies and another takes over, or one comes back, or takes over from one that lives.
    fn nodes_change(&mut self) {
        let (node, heir) = (self.dice.below(NODES), self.dice.below(NODES));
        let tags = 0..TAGS.len();
        let busy =
            self.cluster.migrations.values().any(|migration| [migration.from, migration.to].contains(&node));
        let settled = self.cluster.views.iter().all(|view| *view == self.cluster.owners);
        if !self.cluster.alive[node] {
            self.cluster.alive[node] = true;
            tags.for_each(|tag| self.cluster.gossip(node, tag));
        } else if node != heir && settled && !busy && self.cluster.alive.iter().all(|alive| *alive) {
            self.drain(heir);
            if self.dice.one_in(2) {
                self.cluster.alive[node] = false;
                let ids: Vec<ConnectionId> =
                    self.links.keys().copied().filter(|id| self.node(*id) == node).collect();
                ids.into_iter().for_each(|id| self.drop_link(id));
            }
            self.cluster.take_over(node, heir);
        }
    }

    fn time_passes(&mut self) {
        self.now += 10_000 * self.dice.below(6) as Micros;
        self.core.tick(self.now);
    }

    fn act(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Connect(id) => self.connecting.push(id),
                Action::CloseServer(id) => {
                    self.links.remove(&id);
                    self.connecting.retain(|other| *other != id);
                }
                Action::WriteServer(id) => {
                    if self.dice.one_in(2) {
                        self.write_server(id, false);
                    }
                }
                Action::WriteClient(id) => self.write_client(id),
                Action::ResumeClient(_) | Action::ResumeServer(_) => {}
                Action::CloseClient(id) => panic!("{id:?} was closed"),
            }
        }
    }

    /// Lets everything finish: nobody may be left waiting.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            if self.clients.values().all(|client| client.expected.is_empty()) {
                self.tally.redirected = self.cluster.redirections;
                return;
            }
            self.now += 20_000;
            self.core.tick(self.now);
            self.act();
            self.slots_move();
            self.gossip();
            for id in self.clients.keys().copied().collect::<Vec<_>>() {
                if self.core.wants_input(id) {
                    let bytes: Vec<u8> =
                        self.clients.get_mut(&id).expect("a client").unsent.drain(..).collect();
                    self.core.client_data(id, &bytes, self.now);
                }
            }
            self.servers_go_on();
        }
        panic!("a client waits for ever");
    }
}

impl World {
    /// Servers are reached, take all that there is for them, and answer.
    fn servers_go_on(&mut self) {
        for id in std::mem::take(&mut self.connecting) {
            self.connected(id);
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.write_server(id, true);
            self.server_sends(id, true);
        }
        self.act();
    }

    /// Everything goes as well as it can for this long.
    fn run_for(&mut self, time: Micros) {
        let end = self.now + time;
        while self.now < end {
            self.now += 10_000;
            self.core.tick(self.now);
            self.act();
            self.servers_go_on();
        }
    }

    /// A client asks for so many GETSETs, all of one slot.
    fn pipeline(&mut self, id: ClientId, count: usize) {
        let client = self.clients.get_mut(&id).expect("a client");
        (0..count).for_each(|_| client.prepare_one(id.index(), TAGS[0]));
        let bytes: Vec<u8> = client.unsent.drain(..).collect();
        self.core.client_data(id, &bytes, self.now);
    }

    /// All that a node has goes to another one, and everybody knows.
    fn hand_over(&mut self, from: usize, to: usize) {
        self.cluster.take_over(from, to);
        (0..NODES).for_each(|node| (0..TAGS.len()).for_each(|tag| self.cluster.gossip(node, tag)));
    }

    /// The ports of the servers that statistics have.
    fn told(&self) -> Vec<u16> {
        let pools = self.core.snapshot().pools;
        let port = |name: &str| name.rsplit(':').next()?.parse().ok();
        let mut ports: Vec<u16> = pools[0].servers.iter().filter_map(|server| port(&server.name)).collect();
        ports.sort_unstable();
        ports
    }

    fn waiting(&self, id: ClientId) -> usize {
        self.clients[&id].expected.len()
    }
}

/// The primary of a slot goes while a client has nothing under way; then it asks for `count` things,
/// and is held up for this long before another node takes over.
fn failover(count: usize, time: Micros) -> (World, ClientId) {
    let mut world = World::new(1);
    let id = *world.clients.keys().next().expect("a client");
    world.pipeline(id, 1);
    world.run_for(200_000);
    assert_eq!(world.waiting(id), 0);
    world.cluster.alive[0] = false;
    let dead: Vec<ConnectionId> = world.links.keys().copied().filter(|id| world.node(*id) == 0).collect();
    dead.into_iter().for_each(|id| world.drop_link(id));
    world.pipeline(id, count);
    world.run_for(time);
    assert_eq!(world.waiting(id), count, "nobody has taken over");
    world.hand_over(0, 1);
    (world, id)
}

#[test]
fn all_that_is_held_for_a_slot_goes_on_when_its_new_node_is_known() {
    let (mut world, id) = failover(50, 500_000);
    world.run_for(700_000);
    assert_eq!((world.waiting(id), world.tally.answered, world.tally.failed), (0, 51, 0));
}

#[test]
fn what_is_held_too_long_gets_its_error_without_waiting_for_those_before() {
    let (mut world, id) = failover(50, 2_500_000);
    // Nobody has taken over after all, and the node does not even refuse connections any more.
    world.hand_over(1, 0);
    world.silent = true;
    world.run_for(3_500_000);
    assert_eq!((world.waiting(id), world.tally.answered, world.tally.failed), (0, 1, 50));
}

#[test]
fn nodes_that_have_left_are_not_told_of_and_leave_their_places_to_others() {
    let mut world = World::new(1);
    let id = *world.clients.keys().next().expect("a client");
    world.pipeline(id, 1);
    world.run_for(200_000);
    // The second and the fourth are configured: they are shown whether they are members or not.
    assert_eq!(world.told(), [7001, 7002, 7003, 7004]);
    world.hand_over(0, 1);
    // It is gone when the table is told without it, not before.
    world.pipeline(id, 1);
    world.run_for(500_000);
    assert_eq!(world.told(), [7002, 7003, 7004]);
    world.hand_over(2, 1);
    world.run_for(11_000_000);
    assert_eq!(world.told(), [7002, 7004]);
    for _ in 0..5 {
        // The fourth has nothing, and is not in the way of one that comes back in another's place.
        for (from, to, expected) in [(1, 2, [7002, 7003, 7004]), (2, 0, [7001, 7002, 7004])] {
            world.hand_over(from, to);
            world.pipeline(id, 3);
            world.run_for(500_000);
            assert_eq!((world.waiting(id), world.told()), (0, expected.to_vec()));
            let snapshot = world.core.snapshot();
            let name = format!("127.0.0.1:{}", usize::from(FIRST_PORT) + to);
            let new = snapshot.pools[0].servers.iter().find(|server| server.name == name);
            let requests = new.map_or(0, |server| server.stats.requests);
            assert!((1..=6).contains(&requests), "{requests}: some are of who had the place before");
        }
        world.hand_over(0, 1);
        world.pipeline(id, 1);
        world.run_for(500_000);
        assert_eq!(world.told(), [7002, 7004]);
    }
    // Four places, each with two connections for clients of each protocol and one for questions about the cluster.
    assert_eq!((world.core.connections().count(), world.tally.failed), (20, 0));
}

#[test]
fn redirections_lose_repeat_and_reorder_nothing() {
    let mut all = Tally::default();
    for seed in seeds(SEEDS) {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.settle();
            world.tally
        });
        let tally = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        all.answered += tally.answered;
        all.failed += tally.failed;
        all.redirected += tally.redirected;
    }
    // The schedules must have met both fortunes, or they prove little.
    let story = format!("{} replies, {} errors, {} redirections", all.answered, all.failed, all.redirected);
    assert!(
        all.answered > 20_000 && all.failed > 100 && all.failed < all.answered / 10 && all.redirected > 5000,
        "{story}"
    );
    println!("{story}");
}
