//! What clients see when servers fail: an error for each request, in order, and service again as
//! soon as the server is back. Never a hang, never a close, never a request sent twice.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use crate::common::{Client, PATIENCE, Proxy, Redis, bulk, error, free_port, simple, wait_for};
use tombolo_resp::Value;

#[test]
fn a_server_that_is_not_there_is_refused_in_order() {
    let proxy = Proxy::start(&[free_port()], &[]);
    let mut client = proxy.client();
    client.send(b"GET a\r\nSET b c\r\nPING\r\nGET d\r\n");
    let refused = error("ERR Connection refused");
    for expected in [refused.clone(), refused.clone(), simple("PONG"), refused] {
        assert_eq!(client.reply(), expected);
    }
    proxy.wait_for_log("Connection refused");
}

#[test]
fn a_name_without_an_address() {
    let proxy = Proxy::start(&[], &["timeout: 30000", "servers: [\"no-such-host.invalid:6379:1\"]"]);
    assert_eq!(proxy.client().ask("GET k"), error("ERR Host is down"));
}

#[test]
fn a_killed_server_fails_what_it_had_and_serves_again_when_it_is_back() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k v"), simple("OK"));
    redis.process.signal("-STOP");
    client.send(&b"INCR n\r\n".repeat(100));
    client.send(b"PING\r\n");
    redis.kill();
    for _ in 0..100 {
        let reply = client.reply();
        assert!(matches!(&reply, Value::Error(text) if text.starts_with("ERR Connection re")), "{reply:?}");
    }
    assert_eq!(client.reply(), simple("PONG"));
    assert_eq!(client.ask("GET k"), error("ERR Connection refused"));
    redis.restart();
    assert_eq!(client.ask("SET k w"), simple("OK"));
    assert_eq!(client.ask("GET k"), bulk("w"));
    assert_eq!(client.ask("GET n"), Value::Null, "nothing was sent again");
}

/// The port of a server that answers the first bytes of every connection with `answer`, and ends it:
/// with a reset, if it is to be `abrupt`.
fn ending(answer: &'static [u8], abrupt: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // What is not read when a socket is closed resets the connection.
            let mut request = vec![0; if abrupt { 1 } else { 4096 }];
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(answer));
        }
    });
    port
}

#[test]
fn what_a_server_does_wrong_is_told_in_twemproxys_words() {
    let (reset, wrong) = ("Connection reset by peer", "Invalid argument");
    for (answer, abrupt, text) in [
        (b"".as_slice(), true, reset),
        (b"", false, reset),
        (b"$10\r\nabc", false, reset),
        (b"garbage\r\n", false, wrong),
        (b"$x\r\n", false, wrong),
    ] {
        let proxy = Proxy::start(&[ending(answer, abrupt)], &[]);
        assert_eq!(proxy.client().ask("GET k"), error(&format!("ERR {text}")), "{answer:?}");
        let why = ["the server closed the connection", "Protocol error from the server"];
        wait_for("the log to say why", || why.iter().any(|why| proxy.log().contains(why)).then_some(()));
    }
    let proxy = Proxy::start(&[ending(b"", false)], &["redis: false"]);
    let mut client = proxy.client();
    client.send(b"get a\r\n");
    let mut reply = [0; 64];
    let length = client.stream.read(&mut reply).expect("a reply");
    assert_eq!(&reply[..length], b"SERVER_ERROR Connection reset by peer\r\n");
}

#[test]
fn an_idle_connection_that_the_server_closed_is_made_anew() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k v"), simple("OK"));
    assert!(matches!(redis.client().ask("CLIENT KILL TYPE normal SKIPME yes"), Value::Integer(1..)));
    // The close may still be on its way: then the one request that meets it fails.
    wait_for("service", || (client.ask("GET k") == bulk("v")).then_some(()));
}

#[test]
fn a_frozen_server_times_out_and_holds_up_no_other_pool() {
    let (frozen, live) = (Redis::start(), Redis::start());
    let (_proxy, ports) = Proxy::pools(&[(&[frozen.port], &["timeout: 400"]), (&[live.port], &[])]);
    let (mut stuck, mut other) = (Client::connect(ports[0]), Client::connect(ports[1]));
    assert_eq!(stuck.ask("SET k v"), simple("OK"));
    frozen.process.signal("-STOP");
    let started = Instant::now();
    stuck.send(b"GET k\r\nGET k\r\nPING\r\n");
    for index in 0..100 {
        assert_eq!(other.ask(&format!("SET k {index}")), simple("OK"));
    }
    let timed_out = error("ERR Connection timed out");
    assert_eq!([stuck.reply(), stuck.reply(), stuck.reply()], [timed_out.clone(), timed_out, simple("PONG")]);
    assert!(started.elapsed() < PATIENCE);
    frozen.process.signal("-CONT");
    wait_for("the thawed server", || (stuck.ask("GET k") == bulk("v")).then_some(()));
}

#[test]
fn the_log_says_once_that_a_server_is_silent_or_left_out_and_when_it_is_back() {
    let redis = Redis::start();
    let servers = format!("servers: [\"127.0.0.1:{}:1 one\"]", redis.port);
    let options = [
        "timeout: 100",
        "server_connections: 2",
        "auto_eject_hosts: true",
        "server_failure_limit: 3",
        "server_retry_timeout: 1000",
        &servers,
    ];
    let proxy = Proxy::with_args(&[], &options, &["--threads", "2", "--log-format", "json"]);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("SET k v"), simple("OK")));
    redis.process.signal("-STOP");
    for _ in 0..4 {
        clients.iter_mut().for_each(|client| client.send(b"GET k\r\n"));
        for client in &mut clients {
            // Refused without asking while it is left out.
            let why = client.reply().text();
            assert!(["ERR Connection timed out", "ERR Connection refused"].contains(&why.as_str()), "{why}");
        }
    }
    redis.process.signal("-CONT");
    let said = |text: &str| {
        let is_of_server = |line: &&str| line.contains(text) && line.contains("\"server\":\"one\"");
        proxy.log().lines().filter(is_of_server).count()
    };
    wait_for("its return", || {
        clients.iter_mut().for_each(|client| drop(client.ask("GET k")));
        (said("not left out any more") > 0 && said("it answers again") > 0).then_some(())
    });
    let text = format!("pool 'p': server 127.0.0.1:{}: Connection timed out", redis.port);
    assert_eq!((said(&text), said("it answers again")), (1, 1), "{}", proxy.log());
    let out = said("left out for 1s: 3 failures in a row");
    assert!((1..=2).contains(&out) && said("not left out any more") <= out, "{}", proxy.log());
    assert_eq!(said("connected again"), 0, "the system took connections all the time: {}", proxy.log());
}

#[test]
fn one_dead_server_of_two_fails_only_its_keys() {
    let (live, mut dead) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(&[live.port, dead.port], &["hash: murmur", "distribution: modula"]);
    let mut client = proxy.client();
    dead.kill();
    let mut bytes = Vec::new();
    (0..200).for_each(|index| bytes.extend(format!("SET key:{index} {index}\r\n").into_bytes()));
    client.send(&bytes);
    let replies: Vec<Value> = (0..200).map(|_| client.reply()).collect();
    let (ok, refused) = (simple("OK"), error("ERR Connection refused"));
    assert!(replies.iter().all(|reply| *reply == ok || *reply == refused), "{replies:?}");
    for (index, reply) in replies.iter().enumerate() {
        let stored = live.client().ask(&format!("GET key:{index}"));
        let expected = if *reply == ok { bulk(&index.to_string()) } else { Value::Null };
        assert_eq!(stored, expected, "key:{index}");
    }
    assert!(replies.contains(&ok) && replies.contains(&refused));
}
