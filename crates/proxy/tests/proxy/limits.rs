//! Limits of a pool's clients, with a real redis-server: each says no, or holds back, where it should,
//! and nobody else notices.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::common::{self, Client, Proxy, Redis, bulk, request, simple, wait_for};
use tombolo_resp::Value;

fn counter(redis: &Redis, line: &str) -> u64 {
    let stats = redis.client().ask("INFO commandstats").text();
    let calls = stats.lines().find_map(|found| found.strip_prefix(line)?.split(',').next()?.parse().ok());
    calls.unwrap_or(0)
}

#[test]
fn requests_that_are_too_long_are_refused() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["max_request_bytes: 4096"]);
    let mut other = proxy.client();
    let mut client = proxy.client();
    let fits = "x".repeat(4000);
    assert_eq!(client.ask(&format!("SET k {fits}")), simple("OK"));
    assert_eq!(client.ask("GET k"), bulk(&fits));
    // Announced is enough; and so it is behind a request that is all right.
    client.send(b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5000\r\n");
    assert_eq!(client.reply(), simple("PONG"));
    assert_eq!(client.reply(), common::error("ERR Protocol error: too big request"));
    assert_eq!(client.raw(), None);
    // Whole, it is not taken the short way either.
    let mut client = proxy.client();
    assert_eq!(
        client.ask(&format!("SET k {}", "y".repeat(4090))),
        common::error("ERR Protocol error: too big request")
    );
    assert_eq!(client.raw(), None);
    assert_eq!(other.ask("GET k"), bulk(&fits));
}

#[test]
fn no_more_requests_are_under_way_than_the_pool_says() {
    // A server that answers when the test says so.
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let proxy = Proxy::start(&[port], &["max_pipeline: 4"]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&request(&[b"INCR", b"n"]).repeat(10));
    let (mut server, _) = server.accept().expect("the proxy");
    server.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
    let (mut seen, mut chunk) = (String::new(), [0; 4096]);
    let mut read_until = |server: &mut TcpStream, seen: &mut String, done: &dyn Fn(&str) -> bool| {
        while !done(seen) {
            let count = server.read(&mut chunk).expect("requests in time");
            assert!(count > 0, "the proxy is there");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    };
    let asked = |seen: &str| seen.matches("\nn\r").count();
    read_until(&mut server, &mut seen, &|seen| asked(seen) >= 4);
    other.send(&request(&[b"INCR", b"m"]));
    read_until(&mut server, &mut seen, &|seen| seen.contains("\nm\r"));
    assert_eq!(asked(&seen), 4, "{seen}");
    // Two of four answered: half of the room is free again.
    server.write_all(b":1\r\n:2\r\n").expect("a write");
    seen.clear();
    read_until(&mut server, &mut seen, &|seen| asked(seen) >= 2);
    assert_eq!(asked(&seen), 2, "{seen}");
    server.write_all(b":3\r\n:4\r\n:1\r\n").expect("a write");
    assert_eq!(
        (1..=4).map(|_| client.reply()).collect::<Vec<_>>(),
        (1..=4).map(Value::Integer).collect::<Vec<_>>()
    );
    assert_eq!(other.reply(), Value::Integer(1));
}

#[test]
fn a_client_that_takes_nothing_is_held_back_or_disconnected() {
    let redis = Redis::start();
    let pools: &[(&[u16], &[&str])] = &[
        (&[redis.port], &["max_client_buffer: 4096"]),
        (&[redis.port], &["max_client_buffer: 4096", "max_client_buffer_hard: 2097152"]),
    ];
    let (_proxy, ports) = Proxy::pools(pools);
    let value = "v".repeat(1 << 20);
    assert_eq!(redis.client().ask(&format!("SET big {value}")), simple("OK"));
    // Held back: what it asked for comes, in the end.
    let (mut greedy, mut other) = (Client::connect(ports[0]), Client::connect(ports[0]));
    greedy.send(&request(&[b"GET", b"big"]).repeat(100));
    assert_eq!(other.ask("GET none"), Value::Null);
    for _ in 0..100 {
        assert_eq!(greedy.reply(), bulk(&value));
    }
    // Disconnected, since so many replies can not be kept.
    let mut greedy = Client::connect(ports[1]);
    let mut other = Client::connect(ports[1]);
    greedy.send(&request(&[b"GET", b"big"]).repeat(100));
    wait_for("all the replies of the server", || {
        (counter(&redis, "cmdstat_get:calls=") >= 200).then_some(())
    });
    assert_eq!(other.ask("GET none"), Value::Null);
    let mut taken = 0;
    let mut chunk = vec![0; 1 << 20];
    // The end, or a reset: bytes of replies are in its way.
    while let Ok(count @ 1..) = greedy.stream.read(&mut chunk) {
        taken += count;
    }
    assert!(taken < 100 << 20, "{taken}");
}

#[test]
fn a_reply_that_no_client_may_be_left_with_is_not_waited_for() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["max_client_buffer_hard: 1048576"]);
    let value = "v".repeat(8 << 20);
    assert_eq!(redis.client().ask(&format!("SET big {value}")), simple("OK"));
    let mut client = proxy.client();
    let refused = client.ask("GET big").text();
    assert!(refused.contains("larger than max_client_buffer_hard"), "{refused}");
    assert_eq!(client.ask("GET none"), Value::Null);
    for line in ["MULTI", "GET big"] {
        assert!(!client.ask(line).text().starts_with("ERR"));
    }
    assert!(client.ask("EXEC").text().contains("larger than max_client_buffer_hard"));
    assert_eq!(client.raw(), None);
}

#[test]
fn clients_that_crowd_a_pool_are_held_back_and_others_are_not() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["max_buffered_bytes: 1048576", "max_pipeline: 100000"]);
    let value = "v".repeat(1 << 18);
    assert_eq!(redis.client().ask(&format!("SET big {value}")), simple("OK"));
    let mut greedy: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    let ask = request(&[b"GET", b"big"]);
    // More than the sockets' buffers take, asked for in two parts.
    let turns = 80;
    for part in 0..2 {
        greedy.iter_mut().for_each(|client| client.send(&ask.repeat(turns / 2)));
        let least = if part == 0 { 4 * turns as u64 / 2 } else { 0 };
        wait_for("the server's work", || (counter(&redis, "cmdstat_get:calls=") >= least).then_some(()));
    }
    let mut subscriber = proxy.client();
    subscriber.ask("SUBSCRIBE news");
    let mut other = proxy.client();
    for n in 1..200 {
        assert_eq!(other.ask("INCR n"), Value::Integer(n));
    }
    assert_eq!(other.ask("PUBLISH news text"), Value::Integer(1));
    assert_eq!(subscriber.reply(), Value::Array(vec![bulk("message"), bulk("news"), bulk("text")]));
    let expected = bulk(&value);
    for client in &mut greedy {
        for _ in 0..turns {
            assert_eq!(client.reply(), expected);
        }
    }
}

#[test]
fn idle_clients_are_closed_and_those_that_wait_are_not() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["client_timeout: 1"]);
    let mut blocked = proxy.client();
    let mut subscriber = proxy.client();
    let mut transaction = proxy.client();
    let mut silent = TcpStream::connect(("127.0.0.1", proxy.port)).expect("a connection");
    silent.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
    subscriber.ask("SUBSCRIBE news");
    blocked.send(&request(&[b"BLPOP", b"list", b"0"]));
    assert_eq!(transaction.ask("MULTI"), simple("OK"));
    // The end, and nothing before it: the first time for one that never said anything.
    assert_eq!(silent.read(&mut [0; 16]).expect("the end"), 0);
    assert_eq!(transaction.raw(), None);
    let mut idle = proxy.client();
    assert_eq!(idle.ask("PING"), simple("PONG"));
    assert_eq!(idle.raw(), None);
    // They have been silent for longer than all those.
    let mut other = redis.client();
    assert_eq!(other.ask("PUBLISH news text"), Value::Integer(1));
    assert_eq!(subscriber.reply(), Value::Array(vec![bulk("message"), bulk("news"), bulk("text")]));
    assert_eq!(other.ask("RPUSH list x"), Value::Integer(1));
    assert_eq!(blocked.reply(), Value::Array(vec![bulk("list"), bulk("x")]));
    // Blocked no more, it is idle as any other.
    assert_eq!(blocked.raw(), None);
}
