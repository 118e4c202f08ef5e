//! The core under random schedules: bytes cut anywhere, servers that answer late or fail. Every
//! client gets exactly its replies, in order, and nothing for what it wants no reply to.

use proptest::prelude::*;
use tombolo_memcache::{RequestParser, Step};
use tombolo_proxy::config::Config;
use tombolo_proxy::core::{Core, ServerError};

const CONFIG: &str = "p:\n  listen: 127.0.0.1:1\n  distribution: modula\n  servers: [\"127.0.0.1:2:1\", \"127.0.0.1:3:1\", \"127.0.0.1:4:1\"]\n";

/// What a client may send, with `#` for a number of its own; and what it is to get.
const REQUESTS: &[(&str, &str)] = &[
    ("get #\r\n", "VALUE # 0 1\r\nx\r\nEND\r\n"),
    (
        "get # a# b# c#\r\n",
        "VALUE # 0 1\r\nx\r\nVALUE a# 0 1\r\nx\r\nVALUE b# 0 1\r\nx\r\nVALUE c# 0 1\r\nx\r\nEND\r\n",
    ),
    ("set # 0 0 3\r\na\r\n\r\n", "STORED #\r\n"),
    ("set # 0 0 3 noreply\r\nmn\n\r\n", ""),
    ("delete # noreply\n", ""),
    ("ms # 2 q\r\n##\r\n", ""),
    ("md # k\r\n", "HD #\r\n"),
    ("flush_all\r\n", "OK\r\n"),
    ("flush_all noreply\r\n", ""),
    ("set # 0 0 1\r\n12\r\n", "CLIENT_ERROR bad data chunk\r\n"),
    ("set # x 0 4\r\nmn\r\n\r\n", "CLIENT_ERROR bad command line format\r\n"),
    ("mn\r\n", "MN\r\n"),
    ("what # is this\r\n", "ERROR\r\n"),
];

const FAILED: &str = "SERVER_ERROR Connection refused\r\n";

/// A server that answers every whole request in what it was sent, so that the reply names its key.
#[derive(Default)]
struct Server {
    parser: RequestParser,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Server {
    fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let length = match self.parser.advance(&self.input) {
                Ok(Step::Incomplete) => return,
                Ok(Step::Complete(length)) => length,
                other => panic!("a server was sent {other:?}"),
            };
            let request = self.parser.request(&self.input);
            let keys: Vec<_> = request.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
            let reply = match request.word(0) {
                b"get" => {
                    keys.iter().map(|key| format!("VALUE {key} 0 1\r\nx\r\n")).collect::<String>() + "END\r\n"
                }
                b"set" => format!("STORED {}\r\n", keys[0]),
                b"ms" | b"md" => format!("HD {}\r\n", keys[0]),
                b"delete" => "DELETED\r\n".to_string(),
                _ => "OK\r\n".to_string(),
            };
            self.output.extend_from_slice(reply.as_bytes());
            self.input.drain(..length);
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// A client sends some more of what it has to.
    Client(usize, usize),
    /// A server takes what it is sent.
    Serve(usize),
    /// A server sends some of its replies.
    Reply(usize, usize),
    Fail(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..3_usize, 1..60_usize).prop_map(|(client, bytes)| Event::Client(client, bytes)),
        4 => (0..3_usize).prop_map(Event::Serve),
        6 => (0..3_usize, 1..60_usize).prop_map(|(server, bytes)| Event::Reply(server, bytes)),
        1 => (0..3_usize).prop_map(Event::Fail),
    ];
    prop::collection::vec(event, 0..120)
}

/// The core with three servers and three clients.
struct World {
    core: Core,
    servers: Vec<Server>,
    now: u64,
}

impl World {
    fn serve(&mut self, server: usize) {
        let (id, ..) = self.core.connections().nth(server).expect("a connection");
        self.core.server_connected(id, self.now);
        let bytes = self.core.server_output(id).to_vec();
        self.core.server_wrote(id, bytes.len());
        self.servers[server].take(&bytes);
    }

    /// Whether there is something for a server to take.
    fn has_output(&self) -> bool {
        self.core.connections().any(|(id, ..)| !self.core.server_output(id).is_empty())
    }

    fn reply(&mut self, server: usize, count: usize) {
        let (id, ..) = self.core.connections().nth(server).expect("a connection");
        let count = count.min(self.servers[server].output.len());
        let bytes: Vec<u8> = self.servers[server].output.drain(..count).collect();
        self.core.server_data(id, &bytes, self.now).expect("replies to what was asked");
    }

    fn fail(&mut self, server: usize) {
        let (id, ..) = self.core.connections().nth(server).expect("a connection");
        self.servers[server] = Server::default();
        self.core.server_failed(id, &ServerError::Refused, self.now);
    }
}

proptest! {
    #[test]
    fn every_client_gets_its_replies(
        requests in prop::collection::vec(prop::collection::vec(0..REQUESTS.len(), 0..25), 3),
        events in events(),
    ) {
        let config = Config::parse("schedules", CONFIG).expect("a configuration");
        let mut world = World { core: Core::new(&config.pools, 1), servers: Vec::new(), now: 0 };
        world.servers.resize_with(3, Server::default);
        let clients: Vec<_> = (0..3).map(|_| world.core.client_connected(0)).collect();
        // Keys are of two digits, so that data blocks have their lengths.
        let name = |text: &str, client: usize, index: usize| {
            text.replace("##", "yy").replace('#', &format!("{client}.{index}"))
        };
        let fill = |client: usize, which: fn(&(&str, &str)) -> String| -> Vec<String> {
            requests[client].iter().enumerate().map(|(index, kind)| name(&which(&REQUESTS[*kind]), client, index)).collect()
        };
        let mut unsent: Vec<Vec<u8>> = (0..3).map(|client| fill(client, |pair| pair.0.to_string()).concat().into_bytes()).collect();
        let mut failed = false;
        for event in events {
            world.now += 1;
            match event {
                Event::Client(client, count) => {
                    let count = count.min(unsent[client].len());
                    let bytes: Vec<u8> = unsent[client].drain(..count).collect();
                    world.core.client_data(clients[client], &bytes, world.now);
                }
                Event::Serve(server) => world.serve(server),
                Event::Reply(server, count) => world.reply(server, count),
                Event::Fail(server) => {
                    failed = true;
                    world.fail(server);
                }
            }
        }
        for (client, bytes) in clients.iter().zip(&unsent) {
            world.core.client_data(*client, bytes, world.now);
        }
        // What a server is not sent before it has answered, it is sent then.
        loop {
            (0..3).for_each(|server| world.serve(server));
            (0..3).for_each(|server| world.reply(server, usize::MAX));
            if !world.has_output() {
                break;
            }
        }
        for (place, client) in clients.iter().enumerate() {
            let output = String::from_utf8(world.core.client_output(*client).to_vec()).expect("text");
            let expected: Vec<String> = fill(place, |pair| pair.1.to_string());
            if !failed {
                prop_assert_eq!(&output, &expected.concat());
                continue;
            }
            // Each reply is the expected one or the error, in order; that of a quiet request is
            // nothing or the error, so there may be several ways to read the same bytes.
            let mut rests = vec![output.as_str()];
            for (reply, kind) in expected.iter().zip(&requests[place]) {
                let quiet = REQUESTS[*kind].0.starts_with("ms");
                let error = |rest: &&'_ str| rest.starts_with(FAILED).then_some(FAILED.len());
                let whole = |rest: &&'_ str| rest.starts_with(reply.as_str()).then_some(reply.len());
                let mut next: Vec<&str> = rests
                    .iter()
                    .flat_map(|rest| {
                        let error = error(rest).filter(|_| quiet || !reply.is_empty());
                        [whole(rest), error].into_iter().flatten().map(|length| &rest[length..])
                    })
                    .collect();
                next.dedup();
                prop_assert!(!next.is_empty(), "{rests:?} instead of {reply:?}");
                rests = next;
            }
            prop_assert!(rests.contains(&""), "{rests:?}");
        }
    }
}
