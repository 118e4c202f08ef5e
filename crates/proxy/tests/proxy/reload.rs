//! SIGHUP under load: every reply is checked, every increment is counted once, and there is not one
//! error.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::common::{Client, Proxy, Redis, bulk, free_port, pool_text, retry, simple, wait_for};
use tombolo_resp::Value;

/// Clients that ask until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    replies: Arc<AtomicU64>,
    clients: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Plain clients, clients with pipelines, and clients with transactions.
    fn start(port: u16) -> Load {
        let (stop, replies) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..9_usize).map(|index| {
            let (stop, replies) = (Arc::clone(&stop), Arc::clone(&replies));
            let mut client = Client::connect(port);
            thread::spawn(move || {
                let mut increments = 0;
                while !stop.load(Ordering::Relaxed) {
                    increments += round(&mut client, index);
                    replies.fetch_add(1, Ordering::Relaxed);
                }
                increments
            })
        });
        let clients = clients.collect();
        Load { stop, replies, clients }
    }

    /// Waits until the load has gone on for a while.
    fn goes_on(&self) {
        let before = self.replies.load(Ordering::Relaxed);
        wait_for("the load", || (self.replies.load(Ordering::Relaxed) > before + 300).then_some(()));
    }

    /// Ends it; the increments of every client.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().expect("no error")).sum()
    }
}

/// A few requests and their replies; how many increments were among them.
fn round(client: &mut Client, index: usize) -> u64 {
    let count = [1, 50][index % 2];
    let transaction = index.is_multiple_of(3);
    let request = match transaction {
        true => format!("MULTI\r\nINCR n{{{index}}}\r\nECHO {index}\r\nEXEC\r\n"),
        false => format!("INCR n{{{index}}}\r\nECHO {index}\r\n"),
    };
    client.send(request.repeat(count).as_bytes());
    for _ in 0..count {
        match transaction {
            true => {
                assert_eq!(client.reply(), simple("OK"));
                assert_eq!((client.reply(), client.reply()), (simple("QUEUED"), simple("QUEUED")));
                let Value::Array(replies) = client.reply() else { panic!("EXEC has no list of replies") };
                assert!(matches!(replies[..], [Value::Integer(1..), Value::Bulk(_)]), "{replies:?}");
            }
            false => {
                let number = client.reply();
                assert!(matches!(number, Value::Integer(1..)), "{number:?}");
                assert_eq!(client.reply(), bulk(&index.to_string()));
            }
        }
    }
    count as u64
}

/// What all clients have counted on a server.
fn counted(redis: &Redis, login: &str) -> u64 {
    let mut client = redis.client();
    if !login.is_empty() {
        assert_eq!(client.ask(login), simple("OK"));
    }
    (0..9)
        .map(|index| match client.ask(&format!("GET n{{{index}}}")) {
            Value::Null => 0,
            Value::Bulk(digits) => String::from_utf8_lossy(&digits).parse().expect("a number"),
            other => panic!("{other:?}"),
        })
        .sum()
}

/// A proxy on two threads, with a file that can be changed.
struct Reloaded {
    proxy: Proxy,
    listen: String,
    reloads: usize,
}

const READ: &str = "the configuration was read again: ";

impl Reloaded {
    fn start(servers: &[u16], options: &[&str]) -> Reloaded {
        let proxy = Proxy::with_args(servers, options, &["--threads", "2"]);
        let listen = format!("127.0.0.1:{}", proxy.port);
        Reloaded { proxy, listen, reloads: 0 }
    }

    fn hup(&self, text: &str) {
        std::fs::write(self.proxy.file(), text).expect("the file");
        self.proxy.process.signal("-HUP");
    }

    /// Changes the file to pool `p` with these servers and options, and `more`.
    fn change(&mut self, servers: &[u16], options: &[&str], more: &str, expected: &str) {
        self.hup(&(pool_text("p", &self.listen, servers, options) + more));
        self.reloads += 1;
        let said = wait_for("the reload", || {
            let log = self.proxy.log();
            log.split(READ).nth(self.reloads).and_then(|rest| rest.lines().next().map(str::to_string))
        });
        assert_eq!(said, expected);
    }
}

#[test]
fn a_pool_that_changes_under_load_gives_no_error() {
    let (one, two) = (Redis::start(), Redis::start());
    let mut proxy = Reloaded::start(&[one.port], &[]);
    let load = Load::start(proxy.proxy.port);
    load.goes_on();
    proxy.change(&[one.port], &[], "", "pools: 1 unchanged, 0 changed, 0 added, 0 removed");
    load.goes_on();
    let changed = "pools: 0 unchanged, 1 changed, 0 added, 0 removed";
    proxy.change(&[one.port], &["timeout: 20000"], "", changed);
    load.goes_on();
    proxy.change(&[two.port], &["server_connections: 3"], "", changed);
    // The connections to the old server go once nobody uses them; what is left is who asks.
    let mut witness = one.client();
    wait_for("the end of the old connections", || {
        let Value::Bulk(text) = witness.ask("INFO clients") else { panic!("no INFO") };
        String::from_utf8_lossy(&text).contains("connected_clients:1\r\n").then_some(())
    });
    load.goes_on();
    for port in [one.port, two.port, one.port] {
        proxy.change(&[port], &[], "", changed);
        load.goes_on();
    }
    proxy.change(&[one.port, two.port], &["distribution: modula"], "", changed);
    load.goes_on();
    let increments = load.end();
    let (first, second) = (counted(&one, ""), counted(&two, ""));
    assert!(first > 0 && second > 0, "both servers were used: {first}, {second}");
    assert_eq!(first + second, increments, "each increment ran once");
}

#[test]
fn a_password_that_changes_under_load() {
    let redis = Redis::with(&["--requirepass", "old"]);
    let mut proxy = Reloaded::start(&[redis.port], &["server_password: old"]);
    let load = Load::start(proxy.proxy.port);
    load.goes_on();
    let mut admin = redis.client();
    assert_eq!(admin.ask("AUTH old"), simple("OK"));
    // Both are good for a while: whoever connects meanwhile has the old one.
    assert_eq!(admin.ask("ACL SETUSER default >fresh-secret"), simple("OK"));
    proxy.change(
        &[redis.port],
        &["server_password: fresh-secret"],
        "",
        "pools: 0 unchanged, 1 changed, 0 added, 0 removed",
    );
    assert_eq!(admin.ask("ACL SETUSER default <old"), simple("OK"));
    load.goes_on();
    let increments = load.end();
    assert_eq!(counted(&redis, "AUTH fresh-secret"), increments);
    assert!(!proxy.proxy.log().contains("fresh-secret"), "{}", proxy.proxy.log());
}

#[test]
fn a_broken_file_changes_nothing() {
    let redis = Redis::start();
    let proxy = Reloaded::start(&[redis.port], &[]);
    let load = Load::start(proxy.proxy.port);
    let good = pool_text("p", &proxy.listen, &[redis.port], &[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let file = proxy.proxy.file().display().to_string();
    let cases = [
        (
            good.replace("redis: true", "timeout: soon"),
            format!("{file}:3: pool 'p', key 'timeout': bad value: 'soon'"),
        ),
        (good.replace("redis: true", "wish: 1"), "key 'wish': unknown key".to_string()),
        ("nothing".to_string(), file.clone()),
        (format!("{good}  tls_cert: /nowhere\n  tls_key: /nowhere\n"), "/nowhere".to_string()),
        (
            good.clone() + &pool_text("q", &taken, &[redis.port], &[]),
            format!("pool 'q': can not listen on {taken}: "),
        ),
    ];
    for (index, (text, expected)) in cases.into_iter().enumerate() {
        proxy.hup(&text);
        let mark = "the new configuration is not used, the old one stays: ";
        let said = wait_for("the error", || {
            let log = proxy.proxy.log();
            log.split(mark).nth(index + 1).and_then(|rest| rest.lines().next().map(str::to_string))
        });
        assert!(said.contains(&expected), "{said}\nexpected {expected}");
        load.goes_on();
    }
    assert_eq!(load.end(), counted(&redis, ""));
}

#[test]
fn pools_come_and_go() {
    let redis = Redis::start();
    let mut proxy = Reloaded::start(&[redis.port], &[]);
    let load = Load::start(proxy.proxy.port);
    let port = retry("a second pool", || {
        let port = free_port();
        let more = pool_text("q", &format!("127.0.0.1:{port}"), &[redis.port], &[]);
        proxy.change(&[redis.port], &[], &more, "pools: 1 unchanged, 0 changed, 1 added, 0 removed");
        Some(port)
    });
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(port)).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("SET k{index} v")), simple("OK"));
    }
    // One listens, one has begun a request, one waits for a reply that is late.
    assert!(matches!(clients[0].ask("SUBSCRIBE news"), Value::Array(_)));
    clients[1].send(b"*2\r\n$3\r\nGET\r\n$2\r\n");
    clients[2].send(b"BLPOP nothing 0\r\n");
    clients[3].send(b"EVAL 'local i = 0 while i < 3000000 do i = i + 1 end return 7' 0\r\n");
    proxy.change(&[redis.port], &[], "", "pools: 1 unchanged, 0 changed, 0 added, 1 removed");
    assert_eq!(clients[3].reply(), Value::Integer(7));
    clients[1].send(b"k1\r\n");
    assert_eq!(clients[1].reply(), bulk("v"));
    for client in &mut clients {
        assert_eq!(client.raw(), None, "the end");
    }
    wait_for("the closed port", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    load.goes_on();
    assert_eq!(load.end(), counted(&redis, ""));
}

#[test]
fn clients_with_a_connection_of_their_own_stay_until_it_is_given_back() {
    let (one, two) = (Redis::start(), Redis::start());
    assert_eq!(one.client().ask("SET where one"), simple("OK"));
    assert_eq!(two.client().ask("SET where two"), simple("OK"));
    let mut proxy = Reloaded::start(&[one.port], &[]);
    let [mut busy, mut listens, mut plain] = [0; 3].map(|_| proxy.proxy.client());
    assert_eq!(busy.ask("MULTI"), simple("OK"));
    assert_eq!(busy.ask("GET where"), simple("QUEUED"));
    assert!(matches!(listens.ask("SUBSCRIBE news"), Value::Array(_)));
    assert_eq!(plain.ask("GET where"), bulk("one"));
    proxy.change(&[two.port], &[], "", "pools: 0 unchanged, 1 changed, 0 added, 0 removed");
    wait_for("the new server", || (plain.ask("GET where") == bulk("two")).then_some(()));
    assert_eq!(busy.ask("EXEC"), Value::Array(vec![bulk("one")]));
    assert_eq!(busy.ask("GET where"), bulk("two"));
    assert_eq!(one.client().ask("PUBLISH news x"), Value::Integer(1));
    assert_eq!(listens.reply(), Value::Array(vec![bulk("message"), bulk("news"), bulk("x")]));
    assert!(matches!(listens.ask("UNSUBSCRIBE news"), Value::Array(_)));
    assert_eq!(listens.ask("GET where"), bulk("two"));
}

#[test]
fn new_rights_are_also_for_clients_with_a_connection_of_their_own() {
    let redis = Redis::start();
    let users =
        |rules: &str| format!("users: [\"default off\", \"ann on >a {rules}\", \"bob on >b ~* &* +@all\"]");
    let changed = "pools: 0 unchanged, 1 changed, 0 added, 0 removed";
    let few = users("~* &news +@read +@transaction +@connection +subscribe +unsubscribe");
    let mut proxy = Reloaded::start(&[redis.port], &[&users("~* &* +@all")]);
    let port = proxy.proxy.port;
    let ready = |lines: &[&str]| {
        let mut client = Client::connect(port);
        assert_eq!(client.ask("AUTH ann a"), simple("OK"));
        lines.iter().for_each(|line| drop(client.ask(line)));
        client
    };
    let mut apart = [&["HELLO 3"][..], &["CLIENT SETNAME x"], &["SELECT 1"], &["CLIENT ID"]].map(ready);
    let [mut queues, mut empty] = [&["MULTI", "SET k queued"][..], &["MULTI"]].map(ready);
    let mut listens = ready(&["SUBSCRIBE news"]);
    let mut muted = ready(&[]);
    muted.send(b"CLIENT REPLY OFF\r\nSET k muted\r\nMULTI\r\nSET k later\r\nCLIENT REPLY ON\r\n");
    wait_for("the muted client", || (redis.client().ask("GET k") == bulk("muted")).then_some(()));
    let mut resets = ready(&["CLIENT SETNAME x"]);

    // What was queued by the old rights does not run, and what is refused now is refused.
    proxy.change(&[redis.port], &[&few], "", changed);
    for client in &mut apart {
        wait_for("the new rights", || client.ask("SET k v").text().starts_with("NOPERM").then_some(()));
        assert!(matches!(client.ask("GET k"), Value::Bulk(_) | Value::Null));
    }
    assert!(queues.ask("EXEC").text().starts_with("EXECABORT"));
    assert!(empty.ask("SET k v").text().starts_with("NOPERM"));
    assert!(empty.ask("EXEC").text().starts_with("EXECABORT"));
    assert_eq!(listens.raw(), None, "it could listen to all, and may not any more");
    while muted.raw().is_some() {}
    assert_eq!(redis.client().ask("GET k"), bulk("muted"));

    // Who asks for less than it may is left alone, and so is a transaction whose user has all rights.
    let mut listens = ready(&["SUBSCRIBE news"]);
    assert_eq!(queues.ask("MULTI"), simple("OK"));
    assert_eq!(queues.ask("GET k"), simple("QUEUED"));
    proxy.change(&[redis.port], &["timeout: 9000", &few], "", changed);
    wait_for("the same rights", || apart[0].ask("SET k v").text().starts_with("NOPERM").then_some(()));
    assert_eq!(queues.ask("EXEC"), Value::Array(vec![bulk("muted")]));
    assert_eq!(queues.ask("MULTI"), simple("OK"));
    proxy.change(&[redis.port], &[&users("~* &* +@all")], "", changed);
    wait_for("all rights", || (apart[0].ask("SET k v") == simple("OK")).then_some(()));
    assert_eq!(
        [queues.ask("SET k w"), queues.ask("EXEC")],
        [simple("QUEUED"), Value::Array(vec![simple("OK")])]
    );

    // Nobody becomes what is not there any more, and who is it has to go.
    assert_eq!(queues.ask("CLIENT SETNAME x"), simple("OK"));
    assert_eq!(queues.ask("AUTH bob b"), simple("OK"));
    let mut blocks = ready(&[]);
    blocks.send(b"BLPOP nothing 0\r\n");
    wait_for("a blocked client", || {
        redis.client().ask("INFO clients").text().contains("blocked_clients:1").then_some(())
    });
    proxy.change(
        &[redis.port],
        &["users: [\"default on >new ~* &* +@read +@connection\", \"bob on >c ~* &* +@all\"]"],
        "",
        changed,
    );
    for client in apart.iter_mut().chain([&mut blocks, &mut listens, &mut resets]) {
        assert_eq!(client.raw(), None);
    }
    assert!(queues.ask("AUTH ann a").text().starts_with("WRONGPASS"));
    assert!(queues.ask("AUTH bob b").text().starts_with("WRONGPASS"));
    assert_eq!([queues.ask("ACL WHOAMI"), queues.ask("SET k v")], [bulk("bob"), simple("OK")]);
    assert_eq!(queues.ask("RESET"), simple("RESET"));
    assert!(queues.ask("GET k").text().starts_with("NOAUTH"));
}

#[test]
fn a_new_address_a_new_name_and_new_users() {
    let redis = Redis::start();
    let mut proxy =
        Reloaded::start(&[redis.port], &["users: [\"ann on >a allkeys +get\", \"bob on >b allkeys +@all\"]"]);
    let [mut ann, mut bob] = [("ann", "a"), ("bob", "b")].map(|(name, password)| {
        let mut client = proxy.proxy.client();
        assert_eq!(client.ask(&format!("AUTH {name} {password}")), simple("OK"));
        client
    });
    assert!(matches!(ann.ask("SET k v"), Value::Error(_)));
    // Who stays has the new rights; who is not there any more is closed, as in Redis.
    let users = ["users: [\"ann on >other allkeys +@all\"]"];
    proxy.change(&[redis.port], &users, "", "pools: 0 unchanged, 1 changed, 0 added, 0 removed");
    wait_for("the new rights", || (ann.ask("SET k v") == simple("OK")).then_some(()));
    assert_eq!(bob.raw(), None);
    let old = proxy.proxy.port;
    proxy.listen = format!("127.0.0.1:{}", free_port());
    proxy.change(&[redis.port], &users, "", "pools: 0 unchanged, 1 changed, 0 added, 0 removed");
    wait_for("the old port", || TcpStream::connect(("127.0.0.1", old)).is_err().then_some(()));
    assert_eq!(ann.ask("GET k"), bulk("v"));
    let port = proxy.listen.rsplit(':').next().expect("a port").parse().expect("a number");
    assert_eq!(Client::connect(port).ask("GET k"), bulk("v"));
    // Another name on the same socket is another pool.
    proxy.hup(&pool_text("r", &proxy.listen, &[redis.port], &[]));
    assert_eq!(ann.raw(), None);
    wait_for("the new pool", || (Client::connect(port).ask("GET k") == bulk("v")).then_some(()));
}

#[test]
fn a_port_that_the_proxy_has_itself_and_listeners_that_are_not_used() {
    let redis = Redis::start();
    let proxy = Reloaded::start(&[redis.port], &[]);
    let (port, other) = (proxy.proxy.port, free_port());
    let text = pool_text("new", &format!("127.0.0.1:{other}"), &[redis.port], &[])
        + &pool_text("p", &format!("0.0.0.0:{port}"), &[redis.port], &[]);
    proxy.hup(&text);
    let log = wait_for("the refusal", || {
        let log = proxy.proxy.log();
        log.contains("the old one stays").then_some(log)
    });
    let expected = format!(
        "pool 'p': can not listen on 0.0.0.0:{port}: Address already in use (os error 98): this proxy listens \
         on 127.0.0.1:{port} for pool 'p'; another address with the same port needs a restart"
    );
    assert!(log.contains(&expected), "{log}");
    assert_eq!(log.matches("listening on ").count(), 1, "what is not used is not told: {log}");
    assert_eq!(proxy.proxy.client().ask("SET k v"), simple("OK"));
    proxy.hup(&text.replace("0.0.0.0", "127.0.0.1"));
    wait_for("the new pool", || {
        proxy.proxy.log().contains(&format!("pool 'new': listening on 127.0.0.1:{other}")).then_some(())
    });
}
