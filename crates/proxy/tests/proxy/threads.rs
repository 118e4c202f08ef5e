//! Several threads: clients are spread over them, limits and statistics count all of them.

use std::io::Read;
use std::net::TcpStream;

use crate::common::{self, Client, Proxy, Redis, bulk, error, simple, wait_for};
use tombolo_resp::Value;

/// A number in the statistics that the proxy gives on `port`: the sum over its places.
fn counter(port: u16, name: &str) -> Option<u64> {
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", port)).ok()?.read_to_string(&mut text).ok()?;
    let mark = format!("\"{name}\":");
    let values = text.split(&mark).skip(1).map(|rest| {
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().expect("a number")
    });
    Some(values.sum())
}

/// A proxy on so many threads, and the port of its statistics.
fn start(threads: &str, servers: &[u16], options: &[&str]) -> (Proxy, u16) {
    let proxy = Proxy::with_args(servers, options, &["--threads", threads, "--stats-interval", "1"]);
    let stats = proxy.stats;
    (proxy, stats)
}

#[test]
fn every_thread_serves_and_statistics_are_sums() {
    let (one, two) = (Redis::start(), Redis::start());
    let (proxy, stats) =
        start("4", &[one.port, two.port], &["server_connections: 2", "hash: murmur", "distribution: modula"]);
    let mut clients: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        for key in 0..50 {
            let key = format!("{index}:{key}");
            client.send(format!("SET {key} {index}\r\nGET {key}\r\n").as_bytes());
        }
    }
    for (index, client) in clients.iter_mut().enumerate() {
        for _ in 0..50 {
            assert_eq!((client.reply(), client.reply()), (simple("OK"), bulk(&index.to_string())));
        }
    }
    wait_for("the sum of requests", || (counter(stats, "requests")? == 4000).then_some(()));
    wait_for("the sum of clients", || (counter(stats, "client_connections")? == 40).then_some(()));
    // Ten clients on each thread use both of its connections to each server.
    assert_eq!(counter(stats, "server_connections"), Some(16));
    // A message reaches clients on all threads: the server with the channel sends it.
    for client in &mut clients[..8] {
        assert!(matches!(client.ask("SUBSCRIBE news"), Value::Array(_)));
    }
    assert_eq!(clients[20].ask("PUBLISH news x"), Value::Integer(8));
    let message = Value::Array(vec![bulk("message"), bulk("news"), bulk("x")]);
    assert!(clients[..8].iter_mut().all(|client| client.reply() == message));
    let ended = clients.len() as u64;
    drop(clients);
    wait_for("the clients' end", || (counter(stats, "client_eof")? >= ended).then_some(()));
}

#[test]
fn the_limit_of_clients_counts_all_threads() {
    let redis = Redis::start();
    let (proxy, _) = start("3", &[redis.port], &["client_connections: 7"]);
    let fill = || -> Option<Vec<Client>> {
        let mut clients: Vec<Client> = (0..7).map(|_| proxy.client()).collect();
        clients.iter_mut().all(|client| client.ask("PING") == simple("PONG")).then_some(clients)
    };
    // The connection that waited for the proxy to start may still be counted.
    let mut clients = wait_for("room for all", fill);
    let mut refused = proxy.client();
    assert_eq!(refused.reply(), error("ERR max number of clients reached"));
    assert_eq!(refused.raw(), None);
    drop(refused);
    clients.pop();
    wait_for("a free place", || (proxy.client().ask("PING") == simple("PONG")).then_some(()));
    assert!(clients.iter_mut().all(|client| client.ask("PING") == simple("PONG")));
}

#[test]
fn unix_sockets_are_shared_by_threads_and_ports_by_processes() {
    let redis = Redis::start();
    let (first, _) = start("auto", &[redis.port], &["reuseport: true"]);
    let text = std::fs::read_to_string(first.file()).expect("its configuration");
    let dir = tempfile::tempdir().expect("a directory");
    let (file, socket) = (dir.path().join("c.yml"), dir.path().join("s"));
    let more = common::pool_text("u", &format!("{} 666", socket.display()), &[redis.port], &[]);
    std::fs::write(&file, text + &more).expect("a file");
    let mut command = common::proxy_command();
    let second = command.arg("-c").arg(&file).args(["--threads", "2"]).spawn().expect("tombolo-proxy");
    let _second = common::Process(second);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::unix(&socket)).collect();
    assert!(clients.iter_mut().all(|client| client.ask("SET k v") == simple("OK")));
    // Whoever of the two gets them.
    let mut clients: Vec<Client> = (0..20).map(|_| first.client()).collect();
    assert!(clients.iter_mut().all(|client| client.ask("GET k") == bulk("v")));
}
