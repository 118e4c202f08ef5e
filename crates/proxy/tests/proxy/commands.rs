//! What clients see when everything works: commands, pipelines, refusals, databases, passwords.

use std::thread;

use crate::common::{self, Client, Proxy, Redis, bulk, error, request, simple, wait_for};
use tombolo_resp::Value;

#[test]
fn commands_behave_as_they_do_directly() {
    let (redis, other) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut through, mut direct) = (proxy.client(), other.client());
    for line in [
        "SET k v",
        "GET k",
        "GET missing",
        "set k v2 GET",
        "INCR n",
        "INCRBY n 41",
        "APPEND k x",
        "STRLEN k",
        "LPUSH l a b c",
        "LRANGE l 0 -1",
        "HSET h f v g w",
        "HGETALL h",
        "SADD s a",
        "SMEMBERS s",
        "ZADD z 1 a 2 b",
        "ZRANGE z 0 -1 WITHSCORES",
        "MSET a 1 b 2",
        "MGET a b c",
        "DEL a b nothing",
        "EXISTS k n nothing",
        "EXPIRE k 100",
        "TYPE k",
        "GET l",
        "GET",
        "NONSENSE x y",
        "DBSIZE",
        "SCAN 0 COUNT 1000 MATCH n",
        "EVAL return{KEYS[1],ARGV[1]} 1 k x",
        "EVAL return(1) 0",
        "OBJECT ENCODING n",
        "XADD x 1-1 f v",
        "XLEN x",
        "XREAD STREAMS x 0",
        "SETRANGE r 5 x",
        "GETRANGE r 0 -1",
        "PUBLISH c m",
        "ECHO hello",
        "PING",
        "PING hello",
        "PING a b",
        "FLUSHALL",
        "DBSIZE",
        "COMMAND COUNT",
        "CONFIG GET maxmemory",
        "BITCOUNT k",
        "LPOP l 5",
        "GETDEL k",
        "RENAME nothing x",
        "SORT l",
        "SCRIPT EXISTS a",
        "PFADD p a",
        "PFCOUNT p",
        "TIME extra",
    ] {
        assert_eq!(through.ask(line), direct.ask(line), "{line}");
    }
}

#[test]
fn values_are_bytes_of_any_kind_and_size() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut client = proxy.client();
    let all: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    for value in [b"".as_slice(), b"\r\n", b"*1\r\n$4\r\nPING\r\n", &all] {
        assert_eq!(client.ask_bytes(&[b"SET", b"key\0\xff", value]), simple("OK"));
        assert_eq!(client.ask_bytes(&[b"GET", b"key\0\xff"]), Value::Bulk(value.to_vec()));
    }
    let key = vec![b'k'; 20_000];
    assert_eq!(client.ask_bytes(&[b"SET", &key, b"v"]), simple("OK"), "nutcracker closes on this");
}

#[test]
fn inline_commands_and_empty_ones() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut client = proxy.client();
    client.send(b"\r\n*0\r\nPING\r\n SET k \"a b\"\nGET k\r\n");
    for expected in [simple("PONG"), simple("OK"), bulk("a b")] {
        assert_eq!(client.reply(), expected);
    }
}

#[test]
fn quit_answers_everything_before_it_and_nothing_after() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut client = proxy.client();
    client.send(b"SET k v\r\nGET k\r\nQUIT\r\nGET k\r\n");
    assert_eq!([client.reply(), client.reply(), client.reply()], [simple("OK"), bulk("v"), simple("OK")]);
    assert_eq!(client.raw(), None);
}

#[test]
fn a_client_that_half_closes_gets_its_replies() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    for (requests, replies) in [
        ("SET k v\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n"),
        // What takes long ends all the same.
        ("PFSELFTEST\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n"),
    ] {
        let stream = std::net::TcpStream::connect(("127.0.0.1", proxy.port)).expect("a connection");
        let mut write = stream.try_clone().expect("a clone");
        std::io::Write::write_all(&mut write, requests.as_bytes()).expect("a write");
        stream.shutdown(std::net::Shutdown::Write).expect("a shutdown");
        let mut all = String::new();
        std::io::Read::read_to_string(&mut &stream, &mut all).expect("replies, then the end");
        assert_eq!(all, replies);
    }
}

#[test]
fn protocol_errors_are_answered_as_redis_does_then_closed() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    for bytes in [
        b"*abc\r\n".as_slice(),
        b"*1\r\n+PING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$abc\r\n",
        b"GET \"k\r\n",
        b"*1\r\n$999999999999\r\n",
    ] {
        let answer = |mut client: Client| {
            client.send(b"PING\r\n");
            client.send(bytes);
            let replies = (client.raw(), client.raw());
            assert_eq!(client.raw(), None, "closed after {bytes:?}");
            replies
        };
        assert_eq!(answer(proxy.client()), answer(redis.client()), "{:?}", String::from_utf8_lossy(bytes));
    }
    // Redis closes these without a word; on a shared connection that would hurt others.
    for bytes in [b"POST / HTTP/1.1\r\n".as_slice(), b"Host: x\r\n"] {
        let mut client = proxy.client();
        client.send(bytes);
        assert_eq!(client.raw(), None);
    }
    assert_eq!(proxy.client().ask("PING"), simple("PONG"));
}

#[test]
fn strangers_take_up_no_memory() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[redis.port], &["redis_auth: secret"]);
    for bytes in [b"*11\r\n".as_slice(), b"*2\r\n$4\r\nAUTH\r\n$16385\r\n"] {
        let answer = |mut client: Client| {
            client.send(bytes);
            (client.raw(), client.raw())
        };
        let ours = answer(proxy.client());
        assert_eq!(ours, answer(redis.client()), "{:?}", String::from_utf8_lossy(bytes));
        assert!(ours.0.is_some_and(|reply| reply.starts_with(b"-ERR Protocol error: unauthenticated ")));
    }
    let mut client = proxy.client();
    let value = "v".repeat(20_000);
    client.send(format!("AUTH secret\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000\r\n{value}\r\n").as_bytes());
    assert_eq!([client.reply(), client.reply()], [simple("OK"), simple("OK")]);
    assert_eq!(client.ask("MGET k 2 3 4 5 6 7 8 9 10 11 12").items().len(), 12);
}

#[test]
fn pipelines_of_many_clients_keep_their_order() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["server_connections: 2"]);
    let port = proxy.port;
    let clients: Vec<_> = (0..8).map(|number| thread::spawn(move || pipeline(port, number, 4000))).collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
}

/// Sends `count` pairs of requests in one go while reading, and checks every reply.
fn pipeline(port: u16, number: usize, count: usize) {
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let mut write = stream.try_clone().expect("a clone");
    let sender = thread::spawn(move || {
        let mut bytes = Vec::new();
        for index in 0..count {
            let key = format!("{number}:{}", index % 50);
            let value = format!("value-{number}-{index}");
            bytes.extend(request(&[b"SET", key.as_bytes(), value.as_bytes()]));
            bytes.extend(if index % 7 == 0 {
                request(&[b"ECHO", value.as_bytes()])
            } else {
                request(&[b"GET", key.as_bytes()])
            });
        }
        std::io::Write::write_all(&mut write, &bytes).expect("a write");
    });
    let mut client = Client::connect(port);
    client.stream = Box::new(stream);
    for index in 0..count {
        assert_eq!(client.reply(), simple("OK"));
        assert_eq!(client.reply(), bulk(&format!("value-{number}-{index}")));
    }
    sender.join().expect("the sender");
}

#[test]
fn a_client_that_does_not_read_is_held_back_and_then_gets_everything() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut slow = proxy.client();
    let value = vec![b'v'; 100_000];
    assert_eq!(slow.ask_bytes(&[b"SET", b"big", &value]), simple("OK"));
    let count = 2000;
    slow.send(&request(&[b"GET", b"big"]).repeat(count));
    // 200 MB are asked for; others are served meanwhile, and the proxy stays small.
    let mut other = proxy.client();
    for _ in 0..200 {
        assert_eq!(other.ask("SET k v"), simple("OK"));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.pid())).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 90_000, "the proxy took {peak} kB");
    for _ in 0..count {
        assert_eq!(slow.reply(), Value::Bulk(value.clone()));
    }
}

#[test]
fn several_servers_share_the_keys() {
    let servers = [Redis::start(), Redis::start(), Redis::start()];
    let ports = [servers[0].port, servers[1].port, servers[2].port];
    let proxy = Proxy::start(&ports, &["hash_tag: \"{}\"", "hash: murmur", "distribution: modula"]);
    let mut client = proxy.client();
    for index in 0..300 {
        assert_eq!(client.ask(&format!("SET key:{index} {index}")), simple("OK"));
    }
    for index in 0..300 {
        assert_eq!(client.ask(&format!("GET key:{index}")), bulk(&index.to_string()));
    }
    let sizes: Vec<Value> = servers.iter().map(|server| server.client().ask("DBSIZE")).collect();
    assert!(sizes.iter().all(|size| *size != Value::Integer(0)), "{sizes:?}");
    assert_eq!(client.ask("MSET {t}a 1 {t}b 2"), simple("OK"));
    assert_eq!(client.ask("MGET {t}a {t}b"), Value::Array(vec![bulk("1"), bulk("2")]));
}

#[test]
fn passwords_and_databases() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let options = ["redis_auth: secret", "redis_db: 3", "preconnect: true"];
    let proxy = Proxy::start(&[redis.port], &options);
    let mut client = proxy.client();
    assert_eq!(client.ask("GET k"), error("NOAUTH Authentication required"));
    assert_eq!(client.ask("PING"), error("NOAUTH Authentication required"));
    assert_eq!(client.ask("AUTH wrong"), error("ERR invalid password"));
    assert_eq!(client.ask("AUTH secret"), simple("OK"));
    assert_eq!(client.ask("SET k v"), simple("OK"));
    let mut direct = redis.client();
    direct.ask("AUTH secret");
    assert_eq!(direct.ask("GET k"), Value::Null);
    direct.ask("SELECT 3");
    assert_eq!(direct.ask("GET k"), bulk("v"));

    let wrong = Proxy::start(&[redis.port], &["redis_auth: other"]);
    let mut client = wrong.client();
    assert_eq!(client.ask("AUTH other"), simple("OK"));
    let reply = client.ask("SET k w").text();
    assert!(
        reply.starts_with(
            "NOAUTH Authentication required. tombolo-proxy: the server refused AUTH or SELECT: WRONGPASS"
        ),
        "{reply}"
    );
    // Which is said once, and that it is over when it is.
    for _ in 0..20 {
        assert_eq!(client.ask("SET k w").text(), reply);
    }
    wrong.wait_for_log("WRONGPASS");
    let mut direct = redis.client();
    direct.ask("AUTH secret");
    assert_eq!(direct.ask("CONFIG SET requirepass other"), simple("OK"));
    assert_eq!(client.ask("SET k w"), simple("OK"));
    wrong.wait_for_log("connected again");
    let said = |text: &str| wrong.log().matches(text).count();
    assert_eq!([said("WRONGPASS"), said("connected again")], [1, 1], "{}", wrong.log());

    // As with twemproxy, the password may be for clients alone; a user's may not.
    let open = Redis::start();
    let proxy = Proxy::start(&[open.port], &["redis_auth: secret", "redis_db: 3"]);
    let mut client = proxy.client();
    assert_eq!(client.ask("GET k"), error("NOAUTH Authentication required"));
    assert_eq!(client.ask("AUTH secret"), simple("OK"));
    assert_eq!(client.ask("SET k v"), simple("OK"));
    assert_eq!([client.ask("MULTI"), client.ask("EXEC")], [simple("OK"), Value::Array(Vec::new())]);
    assert_eq!(open.client().ask("GET k"), Value::Null);
    let told = format!("server 127.0.0.1:{}: it has no password", open.port);
    wait_for("the log", || (proxy.log().matches("it has no password").count() == 1).then_some(()));
    proxy.wait_for_log(&told);
    let proxy = Proxy::start(&[open.port], &["server_password: secret"]);
    let reply = proxy.client().ask("GET k").text();
    assert!(reply.contains("the server refused AUTH or SELECT: ERR AUTH <password> called"), "{reply}");

    let open = (Proxy::start(&[open.port], &[]), open);
    assert_eq!(open.0.client().ask("AUTH x"), error("ERR Client sent AUTH, but no password is set"));
}

#[test]
fn a_pool_has_as_many_clients_as_it_allows() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["client_connections: 2"]);
    // The harness' own probe may still be one of them.
    let mut first = common::wait_for("a free place", || {
        let mut client = proxy.client();
        (client.ask("PING") == simple("PONG")).then_some(client)
    });
    let mut second = common::wait_for("a second place", || {
        let mut client = proxy.client();
        (client.ask("PING") == simple("PONG")).then_some(client)
    });
    let mut third = proxy.client();
    assert_eq!(third.reply(), error("ERR max number of clients reached"));
    assert_eq!(third.raw(), None);
    assert_eq!([first.ask("PING"), second.ask("PING")], [simple("PONG"), simple("PONG")]);
}

#[test]
fn unix_sockets_on_both_sides() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (server, listen) = (dir.path().join("redis.sock"), dir.path().join("proxy.sock"));
    let _redis = Redis::with(&["--unixsocket", server.to_str().expect("UTF-8")]);
    let file = dir.path().join("nutcracker.yaml");
    let (server, shown) = (server.display(), listen.display());
    let text = format!("p:\n  listen: {shown} 600\n  redis: true\n  servers: [\"{server}:1 one\"]\n");
    std::fs::write(&file, text).expect("a configuration");
    let child =
        common::proxy_command().arg("-c").arg(&file).args(["-v", "0"]).spawn().expect("tombolo-proxy");
    let mut process = common::Process(child);
    let mut client = Client::unix(&listen);
    assert_eq!([client.ask("SET k v"), client.ask("GET k")], [simple("OK"), bulk("v")]);
    // A client that asks and leaves is still heard.
    Client::unix(&listen).send(&request(&[b"SET", b"left", b"1"]));
    common::wait_for("the last wish of a client", || (client.ask("GET left") == bulk("1")).then_some(()));
    process.signal("-INT");
    assert!(process.0.wait().expect("the end").success());
    assert!(!listen.exists(), "the socket's file is removed");
}

#[test]
fn a_process_that_ends_leaves_its_successor_s_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (listen, pid_file) = (dir.path().join("proxy.sock"), dir.path().join("pid"));
    let redis = Redis::start();
    let file = dir.path().join("nutcracker.yaml");
    let listed = listen.display().to_string();
    std::fs::write(&file, common::pool_text("p", &listed, &[redis.port], &[])).expect("a configuration");
    let start = || {
        let mut command = common::proxy_command();
        let child = command.arg("-c").arg(&file).arg("-p").arg(&pid_file).spawn().expect("tombolo-proxy");
        let process = common::Process(child);
        common::wait_for("its pid file", || {
            let text = std::fs::read_to_string(&pid_file).ok()?;
            (text.trim() == process.pid()).then_some(())
        });
        process
    };
    let (mut old, mut new) = (start(), start());
    old.signal("-TERM");
    assert!(old.0.wait().expect("the end").success());
    assert_eq!(Client::unix(&listen).ask("SET k v"), simple("OK"));
    assert_eq!(std::fs::read_to_string(&pid_file).expect("a pid file").trim(), new.pid());
    new.signal("-TERM");
    assert!(new.0.wait().expect("the end").success());
    assert!(!listen.exists() && !pid_file.exists(), "it removes its own");
}

#[test]
fn several_pools_and_a_clean_end() {
    let servers = [Redis::start(), Redis::start()];
    let (mut proxy, ports) = Proxy::pools(&[(&[servers[0].port], &[]), (&[servers[1].port], &[])]);
    for (port, value) in ports.iter().zip(["one", "two"]) {
        assert_eq!(Client::connect(*port).ask(&format!("SET k {value}")), simple("OK"));
    }
    assert_eq!(servers[0].client().ask("GET k"), bulk("one"));
    assert_eq!(servers[1].client().ask("GET k"), bulk("two"));
    proxy.process.signal("-TERM");
    assert!(proxy.process.0.wait().expect("the end").success());
}
