//! A cluster whose nodes come and go: each says that one of them has every slot, and where it is.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tombolo_proxy::placement::slots;
use tombolo_resp::Value;

use crate::common::{Proxy, bulk, error, free_port, simple, tcp, wait_for};

/// Starts a node; returns its port, which is also what it answers to every command.
fn node(owner: &Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let owner = Arc::clone(owner);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, owner) = (stream.expect("a connection"), Arc::clone(&owner));
            std::thread::spawn(move || serve(stream, port, &owner));
        }
    });
    port
}

fn serve(mut stream: TcpStream, port: u16, owner: &AtomicU16) -> Option<()> {
    let (mut input, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        while let Some((request, length)) = Value::decode(&input) {
            input.drain(..length);
            let owner = owner.load(Ordering::Relaxed);
            let answer = match request.items().first()?.text().as_str() {
                "CLUSTER" => format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n"),
                "MULTI" if owner == port => "+OK\r\n".to_string(),
                _ if owner == port => format!("$5\r\n{port}\r\n"),
                _ => format!("-MOVED {} 127.0.0.1:{owner}\r\n", slots::slot(b"k")),
            };
            stream.write_all(answer.as_bytes()).ok()?;
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            count => input.extend_from_slice(&chunk[..count]),
        }
    }
}

/// The servers that statistics have.
fn told(proxy: &Proxy) -> Vec<String> {
    let mut text = String::new();
    tcp(proxy.stats).read_to_string(&mut text).expect("statistics");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let keys = document["p"].as_object().expect("a pool").keys();
    keys.filter(|key| key.starts_with("127.0.0.1:")).cloned().collect()
}

#[test]
fn a_node_that_comes_has_the_place_of_one_that_has_left() {
    let owner = Arc::new(AtomicU16::new(0));
    let nodes = [(); 4].map(|()| node(&owner));
    owner.store(nodes[0], Ordering::Relaxed);
    let proxy =
        Proxy::with_args(&nodes[..1], &["cluster: true", "timeout: 5000"], &["--stats-interval", "50"]);
    let mut client = proxy.client();
    for &port in nodes.iter().cycle().take(9) {
        owner.store(port, Ordering::Relaxed);
        assert_eq!(client.ask("GET k"), bulk(&port.to_string()));
        let mut expected =
            [nodes[0], port].iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        expected.sort_unstable();
        expected.dedup();
        wait_for("the node before it to have gone", || {
            let mut told = told(&proxy);
            told.sort_unstable();
            (told == expected).then_some(())
        });
    }
}

/// What needs a connection of its own waits for a primary as what shares one does.
#[test]
fn sessions_wait_for_a_primary_that_can_be_reached() {
    let owner = Arc::new(AtomicU16::new(0));
    let nodes = [(); 2].map(|()| node(&owner));
    owner.store(nodes[0], Ordering::Relaxed);
    let proxy = Proxy::start(&nodes[..1], &["cluster: true", "timeout: 20000"]);
    let hasty = Proxy::start(&nodes[..1], &["cluster: true", "timeout: 300"]);
    let mut plain = [&proxy, &hasty].map(Proxy::client);
    for client in &mut plain {
        assert_eq!(client.ask("GET k"), bulk(&nodes[0].to_string()));
    }
    // Nobody listens there.
    owner.store(free_port(), Ordering::Relaxed);
    for client in &mut plain {
        client.send(b"GET k\r\n");
    }
    assert_eq!(plain[1].reply(), error("ERR Connection refused"));
    let transaction = "MULTI\r\nSET k 1\r\nEXEC\r\n";
    for (lines, answered) in [(transaction, true), ("WATCH k\r\n", false), ("BLPOP k 0\r\n", false)] {
        let mut client = hasty.client();
        client.send(lines.as_bytes());
        if answered {
            assert_eq!(client.reply(), simple("OK"));
        }
        assert_eq!(client.reply(), error("ERR Connection refused"), "{lines}");
        if !lines.starts_with("BLPOP") {
            assert_eq!(client.raw(), None, "{lines}");
        }
    }
    let mut waiting = [transaction, "WATCH k\r\nGET k\r\n", "BLPOP k 0\r\nGET k\r\n"].map(|lines| {
        let mut client = proxy.client();
        client.send(lines.as_bytes());
        client
    });
    assert_eq!(waiting[0].reply(), simple("OK"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    owner.store(nodes[1], Ordering::Relaxed);
    for client in &mut waiting {
        let there = bulk(&nodes[1].to_string());
        assert_eq!([client.reply(), client.reply()], [there.clone(), there]);
    }
    assert_eq!(plain[0].reply(), bulk(&nodes[1].to_string()));
}

/// What was answered behind a request is not forgotten when that one can not be sent.
#[test]
fn a_session_with_more_behind_its_first_request_does_not_begin_anew() {
    let owner = Arc::new(AtomicU16::new(0));
    let node = node(&owner);
    owner.store(node, Ordering::Relaxed);
    let options = ["cluster: true", "timeout: 20000", "users: ['default on nopass +@all -get ~* &*']"];
    let proxy = Proxy::start(&[node], &options);
    assert_eq!(proxy.client().ask("TTL k"), bulk(&node.to_string()));
    owner.store(free_port(), Ordering::Relaxed);
    let mut client = proxy.client();
    proxy.client().send(b"TTL k\r\n");
    client.send(b"BLPOP k 0\r\nGET k\r\nECHO third\r\n");
    // Of the node that is not there, or of the one that says so.
    let said = client.reply().text();
    assert!(said.starts_with("ERR Connection refused") || said.starts_with("MOVED"), "{said}");
    assert!(client.reply().text().starts_with("NOPERM"));
    assert_eq!(client.reply(), bulk("third"));
}
