//! Memcached pools against real memcached servers: the same bytes, in the same order, whatever
//! happens to the servers.

mod bytes;
mod schedules;
mod server;

use std::io::Read;
use std::net::TcpStream;

use crate::common::{Process, Proxy, free_port, listening, mortal, pool_text, retry, wait_for};
use server::{Client, Memcached};

const REFUSED: &str = "SERVER_ERROR Connection refused\r\n";

fn pool(servers: usize) -> (Vec<Memcached>, Proxy) {
    let servers: Vec<Memcached> = (0..servers).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(&ports, &["redis: false", "distribution: modula", "timeout: 2000"]);
    (servers, proxy)
}

#[test]
fn a_long_pipeline_of_everything_is_answered_in_order() {
    let (_servers, proxy) = pool(2);
    let (mut bytes, mut expected) = (vec![String::new(); 4], vec![Vec::new(); 4]);
    for index in 0..2000 {
        for client in 0..4 {
            let (key, value) = (format!("{client}:{index}"), format!("value {index}"));
            let (text, replies) = match index % 8 {
                0 => {
                    (format!("set {key} 1 0 {}\r\n{value}\r\n", value.len()), vec!["STORED\r\n".to_string()])
                }
                1 => (format!("set {key} 1 0 {} noreply\r\n{value}\r\n", value.len()), vec![]),
                2 => (format!("get {client}:{} {client}:{}\r\n", index - 1, index - 2), {
                    let value = |index: usize| {
                        format!(
                            "VALUE {client}:{index} 1 {}\r\nvalue {index}\r\n",
                            format!("value {index}").len()
                        )
                    };
                    vec![format!("{}{}END\r\n", value(index - 1), value(index - 2))]
                }),
                3 => (
                    format!("ms {key} 2 q\r\nxx\r\nmg {key} v q\r\nmg no{key} v q\r\n"),
                    vec!["VA 2\r\nxx\r\n".to_string()],
                ),
                4 => ("nonsense\r\n".to_string(), vec!["ERROR\r\n".to_string()]),
                5 => (
                    format!("incr no{key} 1 noreply\r\nincr no{key} 1\r\n"),
                    vec!["NOT_FOUND\r\n".to_string()],
                ),
                6 => (
                    format!("set {key} x 0 4\r\nmn\r\n\r\n"),
                    vec!["CLIENT_ERROR bad command line format\r\n".to_string()],
                ),
                _ => ("mn\r\n".to_string(), vec!["MN\r\n".to_string()]),
            };
            bytes[client].push_str(&text);
            expected[client].extend(replies);
        }
    }
    std::thread::scope(|scope| {
        for (bytes, expected) in bytes.iter().zip(&expected) {
            let mut client = Client::connect(proxy.port);
            scope.spawn(move || {
                client.send(bytes.as_bytes());
                for (place, expected) in expected.iter().enumerate() {
                    assert_eq!(client.next().as_ref(), Some(expected), "reply {place}");
                }
            });
        }
    });
}

#[test]
fn a_server_that_is_not_there_fails_its_keys_and_nobody_waits() {
    let (mut servers, proxy) = pool(2);
    let mut client = Client::connect(proxy.port);
    let set = |index: usize| format!("set key:{index} 0 0 1\r\nx\r\n");
    (0..20).for_each(|index| assert_eq!(client.ask(&set(index)), "STORED\r\n"));
    servers[1].kill();
    wait_for("the loss to be seen", || (client.ask("flush_all\r\n") == REFUSED).then_some(()));
    let replies: Vec<String> = (0..20).map(|index| client.ask(&set(index))).collect();
    assert!(replies.iter().all(|reply| reply == "STORED\r\n" || reply == REFUSED), "{replies:?}");
    let dead = replies.iter().position(|reply| reply == REFUSED).expect("a key of the dead server");
    let live = replies.iter().position(|reply| reply == "STORED\r\n").expect("a key of the other");
    // An error for the whole, once; and the client stays.
    assert_eq!(client.ask(&format!("get key:{live} key:{dead}\r\n")), REFUSED);
    // No answer where none is expected, and the answers behind it are those to their requests.
    client.send(
        format!("set key:{dead} 0 0 1 noreply\r\nx\r\nset key:{live} 0 0 1 noreply\r\ny\r\nmg key:{dead} v q\r\nget key:{live}\r\nmn\r\n").as_bytes(),
    );
    let replies: Vec<_> = (0..3).map(|_| client.next().expect("a reply")).collect();
    assert_eq!(replies, [REFUSED, &format!("VALUE key:{live} 0 1\r\ny\r\nEND\r\n"), "MN\r\n"]);
    servers[1].restart();
    wait_for("service", || (client.ask(&set(dead)) == "STORED\r\n").then_some(()));
}

#[test]
fn a_server_that_is_killed_fails_what_it_had() {
    let (mut servers, proxy) = pool(1);
    let mut client = Client::connect(proxy.port);
    assert_eq!(client.ask("set n 0 0 1\r\n0\r\n"), "STORED\r\n");
    servers[0].process.signal("-STOP");
    client.send(&b"incr n 1\r\nincr n 1 noreply\r\n".repeat(50));
    client.send(b"mn\r\n");
    servers[0].kill();
    for _ in 0..50 {
        let reply = client.next().expect("a reply");
        assert!(reply.starts_with("SERVER_ERROR Connection re"), "{reply}");
    }
    assert_eq!(client.next().as_deref(), Some("MN\r\n"));
    servers[0].restart();
    wait_for("service", || (client.ask("get n\r\n") == "END\r\n").then_some(()));
}

#[test]
fn a_frozen_server_times_out() {
    let (servers, proxy) = pool(1);
    let mut client = Client::connect(proxy.port);
    assert_eq!(client.ask("set k 0 0 1\r\nv\r\n"), "STORED\r\n");
    servers[0].process.signal("-STOP");
    client.send(b"get k\r\nset k 0 0 1 noreply\r\nw\r\nmn\r\n");
    assert_eq!(
        [client.next(), client.next()],
        ["SERVER_ERROR Connection timed out\r\n", "MN\r\n"].map(|text| Some(text.to_string()))
    );
    servers[0].process.signal("-CONT");
    wait_for("the thawed server", || client.ask("get k\r\n").starts_with("VALUE").then_some(()));
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Memcached::start();
    // The connection by which the start was seen may still count.
    let proxy = Proxy::start(&[server.port], &["redis: false", "client_connections: 2"]);
    let mut clients = Vec::new();
    let refused = wait_for("a client too many", || {
        let mut client = Client::connect(proxy.port);
        client.send(b"mn\r\n");
        let reply = client.next();
        clients.push(client);
        (reply.as_deref() != Some("MN\r\n")).then_some(reply)
    });
    assert_eq!(refused.as_deref(), Some("ERROR Too many open connections\r\n"));
}

#[test]
fn statistics_are_shown_as_twemproxy_shows_them() {
    let servers: Vec<Memcached> = (0..2).map(|_| Memcached::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let (_process, _dir, port, stats) = retry("tombolo-proxy", || {
        let (dir, port, stats) =
            (tempfile::tempdir().expect("a temporary directory"), free_port(), free_port());
        let file = dir.path().join("nutcracker.yml");
        let text = pool_text(
            "cache",
            &format!("127.0.0.1:{port}"),
            &ports,
            &["redis: false", "distribution: modula"],
        );
        std::fs::write(&file, text).expect("a file");
        let mut command = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
        let child = command
            .arg("-c")
            .arg(&file)
            .args(["-s", &stats.to_string(), "-i", "20"])
            .spawn()
            .expect("the proxy");
        listening(Process(child), port).map(|process| (process, dir, port, stats))
    });
    let mut client = Client::connect(port);
    for index in 0..10 {
        assert_eq!(client.ask(&format!("set k{index} 0 0 1\r\nx\r\n")), "STORED\r\n");
    }
    client.send(b"delete k9 noreply\r\n");
    let keys: Vec<String> = (0..9).map(|index| format!("k{index}")).collect();
    assert_eq!(client.ask(&format!("get {}\r\n", keys.join(" "))).matches("VALUE").count(), 9);
    let counters = |text: &str, name: &str| -> Vec<u64> {
        let name = format!("\"{name}\":");
        let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        text.split(&name).skip(1).map(|rest| digits(rest).parse().expect("a number")).collect()
    };
    let text = wait_for("the statistics", || {
        let mut text = String::new();
        TcpStream::connect(("127.0.0.1", stats)).ok()?.read_to_string(&mut text).ok()?;
        (counters(&text, "responses").iter().sum::<u64>() == 13).then_some(text)
    });
    assert!(text.contains("\"cache\": {\"client_eof\":"), "{text}");
    assert_eq!(
        (counters(&text, "fragments"), counters(&text, "requests").iter().sum()),
        (vec![2], 13),
        "{text}"
    );
    assert_eq!(counters(&text, "out_queue"), [0, 0]);
}

#[test]
fn browsers_are_closed_before_their_next_line() {
    let (_servers, proxy) = pool(2);
    for line in ["POST / HTTP/1.1", "GET / HTTP/1.1", "Host: memcached"] {
        let mut client = Client::connect(proxy.port);
        client.send(format!("{line}\r\nset k 0 0 1\r\nx\r\n").as_bytes());
        assert_eq!(client.next(), None, "{line}");
    }
    let mut client = Client::connect(proxy.port);
    client.send(b"get k\r\n");
    assert_eq!(client.next().as_deref(), Some("END\r\n"));
}
