//! Clients with a connection of their own: transactions, subscriptions, commands that wait,
//! databases, RESP3; and their way there and back while others share connections.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Client, Proxy, Redis, bulk, error, request, simple, tcp, wait_for};
use tombolo_resp::Value;

fn array(items: &[Value]) -> Value {
    Value::Array(items.to_vec())
}

fn message(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|word| bulk(word)).collect())
}

pub(crate) fn confirmation(kind: &str, name: &str, left: i64) -> Value {
    array(&[bulk(kind), bulk(name), Value::Integer(left)])
}

/// How many connections the server has, without the one that asks.
fn connections(redis: &Redis) -> usize {
    redis.client().ask("CLIENT LIST").text().lines().count() - 1
}

#[test]
fn a_pipeline_goes_to_a_connection_of_its_own_and_back_in_order() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["server_connections: 2"]);
    let mut client = proxy.client();
    for round in 0..50 {
        let script = format!(
            "SET k {round}\r\nGET k\r\nMULTI\r\nINCR k\r\nGET k\r\nEXEC\r\nGET k\r\nECHO {round}\r\nSELECT 1\r\nGET k\r\nSELECT 0\r\nGET k\r\nMULTI\r\nDISCARD\r\nPING\r\n"
        );
        client.send(script.as_bytes());
        let (old, new) = (bulk(&round.to_string()), bulk(&(round + 1).to_string()));
        let (ok, queued) = (simple("OK"), simple("QUEUED"));
        for expected in [
            ok.clone(),
            old.clone(),
            ok.clone(),
            queued.clone(),
            queued,
            array(&[Value::Integer(round + 1), new.clone()]),
            new.clone(),
            old,
            ok.clone(),
            Value::Null,
            ok.clone(),
            new,
            ok.clone(),
            ok,
            simple("PONG"),
        ] {
            assert_eq!(client.reply(), expected, "round {round}");
        }
    }
    assert!(connections(&redis) <= 3, "two shared ones, and one that was given back each time");
}

#[test]
fn watch_notices_other_clients() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut one, mut two) = (proxy.client(), proxy.client());
    assert_eq!(one.ask("WATCH k"), simple("OK"));
    assert_eq!(two.ask("SET k 1"), simple("OK"));
    assert_eq!([one.ask("MULTI"), one.ask("SET k 2")], [simple("OK"), simple("QUEUED")]);
    assert_eq!(one.ask("EXEC"), Value::Null);
    assert_eq!(one.ask("GET k"), bulk("1"));
    // A watch that was given up, and a transaction whose command is refused.
    assert_eq!([one.ask("WATCH k"), one.ask("UNWATCH")], [simple("OK"), simple("OK")]);
    assert_eq!(two.ask("SET k 3"), simple("OK"));
    assert_eq!([one.ask("MULTI"), one.ask("INCR k")], [simple("OK"), simple("QUEUED")]);
    assert_eq!(one.ask("EXEC"), array(&[Value::Integer(4)]));
    assert_eq!(one.ask("MULTI"), simple("OK"));
    assert!(one.ask("NONSENSE").text().starts_with("ERR unknown command"));
    assert!(one.ask("EXEC").text().starts_with("EXECABORT"));
    assert_eq!(one.ask("EXEC"), error("ERR EXEC without MULTI"));
    assert_eq!(one.ask("GET k"), bulk("4"));
}

#[test]
fn a_transaction_is_not_seen_half_done() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let port = proxy.port;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            thread::spawn(move || {
                let mut client = Client::connect(port);
                for round in 0..200 {
                    client.send(format!("MULTI\r\nSET a {writer}:{round}\r\nSET b {writer}:{round}\r\nEXEC\r\nMGET a b\r\n").as_bytes());
                    (0..3).for_each(|_| assert!(matches!(client.reply(), Value::Simple(_))));
                    assert_eq!(client.reply(), array(&[simple("OK"), simple("OK")]));
                    let both = client.reply();
                    assert_eq!(both.items()[0], both.items()[1]);
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
}

#[test]
fn publications_reach_every_subscriber() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut one, mut two, mut other) = (proxy.client(), proxy.client(), proxy.client());
    one.send(b"GET k\r\nSUBSCRIBE a b\r\n");
    assert_eq!(one.reply(), Value::Null);
    assert_eq!(
        [one.reply(), one.reply()],
        [confirmation("subscribe", "a", 1), confirmation("subscribe", "b", 2)]
    );
    assert_eq!(two.ask("PSUBSCRIBE a*"), confirmation("psubscribe", "a*", 1));
    assert_eq!(two.ask("SSUBSCRIBE s"), confirmation("ssubscribe", "s", 1));
    for index in 0..500 {
        assert_eq!(other.ask(&format!("PUBLISH a {index}")), Value::Integer(2));
    }
    assert_eq!(other.ask("SPUBLISH s m"), Value::Integer(1));
    assert_eq!(one.ask("PING x"), message(&["message", "a", "0"]));
    for index in 1..500 {
        assert_eq!(one.reply(), message(&["message", "a", &index.to_string()]));
    }
    assert_eq!(one.reply(), message(&["pong", "x"]));
    assert!(one.ask("GET k").text().starts_with("ERR Can't execute 'get'"));
    for index in 0..500 {
        assert_eq!(two.reply(), message(&["pmessage", "a*", "a", &index.to_string()]));
    }
    assert_eq!(two.reply(), message(&["smessage", "s", "m"]));
    // Back to sharing as soon as nothing is subscribed to; the pipeline goes on behind it.
    one.send(b"UNSUBSCRIBE\r\nSET k v\r\nGET k\r\n");
    let (mut left, mut names) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let reply = one.reply();
        names.push(reply.items()[1].text());
        left.push(reply.items()[2].clone());
    }
    names.sort();
    assert_eq!(
        (names, left),
        (vec!["a".to_string(), "b".to_string()], vec![Value::Integer(1), Value::Integer(0)])
    );
    assert_eq!([one.reply(), one.reply()], [simple("OK"), bulk("v")]);
    assert_eq!(one.ask("UNSUBSCRIBE"), array(&[bulk("unsubscribe"), Value::Null, Value::Integer(0)]));
    assert_eq!(two.ask("PUNSUBSCRIBE a*"), confirmation("punsubscribe", "a*", 0));
    assert_eq!(two.ask("SUNSUBSCRIBE"), confirmation("sunsubscribe", "s", 0));
    assert_eq!(two.ask("GET k"), bulk("v"));
    assert_eq!(other.ask("PUBSUB NUMPAT"), Value::Integer(0));
}

#[test]
fn those_who_wait_are_woken_in_their_order_while_others_go_on() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["timeout: 400"]);
    let mut waiting: Vec<Client> = (0..3)
        .map(|index| {
            let mut client = proxy.client();
            client.send(b"SET w 1\r\nBLPOP l 0\r\nECHO after\r\n");
            assert_eq!(client.reply(), simple("OK"));
            let blocked = format!("blocked_clients:{}", index + 1);
            wait_for("a blocked client", || {
                redis.client().ask("INFO clients").text().contains(&blocked).then_some(())
            });
            client
        })
        .collect();
    let mut other = proxy.client();
    // Longer than the pool's timeout, which is not for them.
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(900) {
        assert!(matches!(other.ask("INCR n"), Value::Integer(_)));
    }
    assert_eq!(other.ask("RPUSH l a b c"), Value::Integer(3));
    for (client, value) in waiting.iter_mut().zip(["a", "b", "c"]) {
        assert_eq!([client.reply(), client.reply()], [message(&["l", value]), bulk("after")]);
    }
    assert_eq!(waiting[0].ask("BLPOP l 1"), Value::Null);
    assert_eq!(waiting[0].ask("XREAD BLOCK 500 STREAMS x 0"), Value::Null);
    assert_eq!(waiting[0].ask("WAIT 0 0"), Value::Integer(0));
}

#[test]
fn a_client_that_leaves_takes_its_connection_with_it() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut other = proxy.client();
    assert_eq!(other.ask("SET k v"), simple("OK"));
    let before = connections(&redis);
    let mut leaving: Vec<Client> = ["BLPOP l 0", "SUBSCRIBE c", "WATCH k", "MONITOR"]
        .iter()
        .map(|line| {
            let mut client = proxy.client();
            client.send(format!("{line}\r\n").as_bytes());
            client
        })
        .collect();
    wait_for("their connections", || (connections(&redis) == before + 4).then_some(()));
    leaving.clear();
    wait_for("the end of their connections", || (connections(&redis) == before).then_some(()));
    assert_eq!(other.ask("RPUSH l a"), Value::Integer(1));
    assert_eq!(other.ask("LPOP l"), bulk("a"), "nobody is left who could take it");
}

#[test]
fn databases_names_and_ids_are_the_clients_own() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["redis_db: 2"]);
    let (mut one, mut two) = (proxy.client(), proxy.client());
    assert_eq!(one.ask("SET k two"), simple("OK"));
    assert_eq!([one.ask("SELECT 5"), one.ask("SET k five")], [simple("OK"), simple("OK")]);
    assert_eq!([one.ask("GET k"), two.ask("GET k")], [bulk("five"), bulk("two")]);
    assert_eq!(one.ask("SELECT 99"), error("ERR DB index is out of range"));
    assert_eq!(one.ask("GET k"), bulk("five"));
    assert_eq!([one.ask("SELECT 2"), one.ask("GET k")], [simple("OK"), bulk("two")]);
    assert_eq!([one.ask("CLIENT SETNAME me"), one.ask("CLIENT GETNAME")], [simple("OK"), bulk("me")]);
    assert_eq!(two.ask("CLIENT GETNAME"), Value::Null);
    let id = one.ask("CLIENT ID");
    assert_eq!(one.ask("CLIENT ID"), id);
    assert_eq!(one.ask("RESET"), simple("RESET"));
    assert_eq!([one.ask("CLIENT GETNAME"), one.ask("GET k")], [Value::Null, bulk("two")]);
}

#[test]
fn replies_can_be_turned_off() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut client = proxy.client();
    client.send(b"SET n 1\r\nCLIENT REPLY OFF\r\nINCR n\r\nINCR n\r\nCLIENT REPLY ON\r\nGET n\r\nCLIENT REPLY SKIP\r\nINCR n\r\nGET n\r\n");
    for expected in [simple("OK"), simple("OK"), bulk("3"), bulk("4")] {
        assert_eq!(client.reply(), expected);
    }
    assert_eq!(client.ask("QUIT"), simple("OK"));
    assert_eq!(client.raw(), None);
}

/// Everything until the end.
fn all(client: &mut Client) -> Vec<String> {
    std::iter::from_fn(|| client.raw()).map(|reply| String::from_utf8_lossy(&reply).into_owned()).collect()
}

/// As much as fits into no buffer on the way.
fn many_increments() -> String {
    format!("SETRANGE b 0 {}\r\nINCR n\r\n", "x".repeat(30_000)).repeat(300)
}

#[test]
fn what_is_sent_without_replies_runs_also_when_the_client_ends() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut other = redis.client();
    for (start, end) in [
        ("CLIENT REPLY OFF", "QUIT\r\n"),
        ("CLIENT REPLY OFF", "RESET\r\n"),
        ("CLIENT REPLY OFF", ""),
        // It could be blocked, and so is not waited for; what it sent counts.
        ("CLIENT REPLY OFF\r\nRPUSH l a\r\nBLPOP l 0", ""),
        ("CLIENT REPLY SKIP", "QUIT\r\n"),
        ("CLIENT REPLY SKIP", "RESET\r\n"),
    ] {
        assert_eq!(other.ask("SET n 0"), simple("OK"));
        let mut client = proxy.client();
        let replies = if start.ends_with("SKIP") { 599 } else { 0 };
        thread::scope(|scope| {
            let mut half = tcp(proxy.port);
            client = Client::over(half.try_clone().expect("a clone"));
            scope.spawn(move || {
                half.write_all(format!("{start}\r\n{}{end}", many_increments()).as_bytes()).expect("a write");
                if end.is_empty() {
                    half.shutdown(std::net::Shutdown::Both).expect("an end");
                }
            });
            for _ in 0..replies {
                assert!(matches!(client.reply(), Value::Integer(_)), "{start} {end}");
            }
            match end {
                "QUIT\r\n" => assert_eq!((client.reply(), client.raw()), (simple("OK"), None)),
                "" => assert_eq!(client.raw(), None),
                _ => {
                    assert_eq!([client.reply(), client.ask("GET n")], [simple("RESET"), bulk("300")]);
                }
            }
        });
        wait_for("the increments", || (other.ask("GET n") == bulk("300")).then_some(()));
    }
}

#[test]
fn replies_that_can_not_be_told_apart_come_before_the_end() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[redis.port], &["server_password: secret", "redis_db: 1"]);
    let direct = |lines: &str| {
        let mut client = redis.client();
        client.send(format!("AUTH secret\r\nSELECT 1\r\n{lines}QUIT\r\n").as_bytes());
        assert_eq!([client.reply(), client.reply()], [simple("OK"), simple("OK")]);
        all(&mut client)
    };
    for lines in [
        "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\nGET a\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY OFF\r\nGET a\r\nCLIENT REPLY ON\r\nGET a\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY OFF\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\nSET a 2\r\nSET a 3\r\nCLIENT REPLY SKIP\r\nRESET\r\nPING\r\n",
        "MONITOR\r\nGET a\r\nRESET\r\nPING\r\n",
        "MULTI\r\nSUBSCRIBE c\r\nEXEC\r\nPING x\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\nSET a 4\r\nEVAL \"return {ok='RESET'}\" 0\r\nSET a 5\r\n",
    ] {
        // Redis wants the password again after RESET, for everything but QUIT; the proxy has it.
        let of_ping = |reply: &String| !reply.contains("NOAUTH") && reply != "+PONG\r\n";
        let expected: Vec<_> = direct(lines).into_iter().filter(of_ping).collect();
        let mut client = proxy.client();
        client.send(format!("{lines}QUIT\r\n").as_bytes());
        assert_eq!(all(&mut client).into_iter().filter(of_ping).collect::<Vec<_>>(), expected, "{lines}");
        // Who says no more without QUIT gets the same but for its answer; a subscriber is cut.
        if !lines.contains("SUBSCRIBE") {
            let mut stream = tcp(proxy.port);
            stream.write_all(lines.as_bytes()).expect("a write");
            stream.shutdown(std::net::Shutdown::Write).expect("an end");
            let replies: Vec<_> = all(&mut Client::over(stream)).into_iter().filter(of_ping).collect();
            assert_eq!(replies, expected[..expected.len() - 1], "{lines}");
        }
    }
    // The client is as new.
    let mut client = proxy.client();
    client.send(b"CLIENT REPLY OFF\r\nSELECT 2\r\nRESET\r\nGET a\r\nCLIENT GETNAME\r\n");
    assert_eq!([client.reply(), client.reply(), client.reply()], [simple("RESET"), bulk("5"), Value::Null]);
}

#[test]
fn an_array_is_no_push_to_a_subscriber_in_resp3() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &["timeout: 2000"]);
    let mut client = proxy.client();
    assert!(matches!(client.ask("HELLO 3"), Value::Map(_)));
    assert_eq!(client.ask("SUBSCRIBE c"), confirmation("subscribe", "c", 1));
    for word in ["message", "subscribe", "unsubscribe"] {
        assert_eq!(client.ask(&format!("RPUSH {word} {word} a")), Value::Integer(2));
        // More of them than requests may wait.
        for _ in 0..300 {
            assert_eq!(client.ask(&format!("LRANGE {word} 0 -1")), message(&[word, "a"]));
        }
    }
    // Longer than a reply may take.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(client.ask("PING x"), bulk("x"));
    assert_eq!(client.ask("HELLO 2").items().len(), 14);
    client.send(b"UNSUBSCRIBE c\r\nGET k\r\n");
    assert_eq!([client.reply(), client.reply()], [confirmation("unsubscribe", "c", 0), Value::Null]);
}

#[test]
fn who_speaks_resp3_shares_connections_too() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    assert_eq!(redis.client().ask("HSET h f v"), Value::Integer(1));
    let map = Value::Map(vec![(bulk("f"), bulk("v"))]);
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients[..10] {
        client.send(b"HELLO 3\r\nHGETALL h\r\n");
        assert!(matches!(client.reply(), Value::Map(_)));
        assert_eq!(client.reply(), map);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let expected = if index < 10 { map.clone() } else { message(&["f", "v"]) };
        // Theirs on what they share, and on what is theirs for a while.
        assert_eq!(client.ask("HGETALL h"), expected);
        assert_eq!(client.ask("MULTI"), simple("OK"));
        assert_eq!(client.ask("HGETALL h"), simple("QUEUED"));
        assert_eq!(client.ask("EXEC"), Value::Array(vec![expected.clone()]));
        assert_eq!(client.ask("HGETALL h"), expected);
    }
    let connected = redis.client().ask("CLIENT LIST").text().lines().count();
    assert!(connected <= 6, "{connected}");
    // And back, in the middle of what is under way.
    let one = &mut clients[0];
    one.send(b"HGETALL h\r\nHELLO 2\r\nHGETALL h\r\nHELLO 3\r\nHGETALL h\r\nRESET\r\nHGETALL h\r\n");
    assert_eq!(one.reply(), map);
    assert_eq!(one.reply().items().len(), 14);
    assert_eq!(one.reply(), message(&["f", "v"]));
    assert!(matches!(one.reply(), Value::Map(_)));
    assert_eq!([one.reply(), one.reply()], [map, simple("RESET")]);
    assert_eq!(one.reply(), message(&["f", "v"]));
}

#[test]
fn resp3_pushes_what_it_has_to_push() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut one, mut two) = (proxy.client(), proxy.client());
    assert!(matches!(one.ask("HELLO 3"), Value::Map(_)));
    assert_eq!(one.ask("HSET h f v"), Value::Integer(1));
    assert_eq!(one.ask("HGETALL h"), Value::Map(vec![(bulk("f"), bulk("v"))]));
    // Invalidations come when another client writes.
    assert_eq!(one.ask("CLIENT TRACKING ON"), simple("OK"));
    assert_eq!(one.ask("GET k"), Value::Null);
    assert_eq!(two.ask("SET k v"), simple("OK"));
    assert_eq!(one.raw().as_deref(), Some(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n".as_slice()));
    // In RESP3 a subscriber goes on as before.
    one.send(b"SUBSCRIBE c\r\nGET k\r\n");
    assert_eq!([one.reply(), one.reply()], [confirmation("subscribe", "c", 1), bulk("v")]);
    assert_eq!(two.ask("PUBLISH c m"), Value::Integer(1));
    assert_eq!(one.raw().as_deref(), Some(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n".as_slice()));
    assert_eq!([one.ask("RESET"), one.ask("GET k")], [simple("RESET"), bulk("v")]);
    assert_eq!(one.ask("HGETALL h"), message(&["f", "v"]));
}

#[test]
fn monitor_shows_what_others_do() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut monitor, mut other) = (proxy.client(), proxy.client());
    assert_eq!(monitor.ask("MONITOR"), simple("OK"));
    for index in 0..100 {
        assert_eq!(other.ask(&format!("SET k {index}")), simple("OK"));
        let line = monitor.reply().text();
        assert!(line.ends_with(&format!("\"SET\" \"k\" \"{index}\"")), "{line}");
    }
    assert_eq!(monitor.ask("RESET"), simple("RESET"));
    assert_eq!(monitor.ask("GET k"), bulk("99"));
}

#[test]
fn a_script_that_does_not_end_can_be_killed() {
    let redis = Redis::with(&["--busy-reply-threshold", "50"]);
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut stuck, mut other) = (proxy.client(), proxy.client());
    stuck.send(&request(&[b"EVAL", b"while true do end", b"0"]));
    wait_for("the end of the script", || (other.ask("SCRIPT KILL") == simple("OK")).then_some(()));
    assert!(stuck.reply().text().contains("killed by user"));
    assert_eq!(stuck.ask("PING"), simple("PONG"));
}

#[test]
fn users_log_in_at_the_server() {
    let redis = Redis::start();
    redis.client().ask("ACL SETUSER reader on >pass ~* +get +acl|whoami +reset +hello");
    for (options, first) in [([].as_slice(), None), (&["redis_auth: secret"], Some("AUTH secret"))] {
        if first.is_some() {
            assert_eq!(redis.client().ask("CONFIG SET requirepass secret"), simple("OK"));
        }
        let proxy = Proxy::start(&[redis.port], options);
        let mut client = proxy.client();
        client.send(b"AUTH reader pass\r\nACL WHOAMI\r\nSET k v\r\n");
        assert_eq!([client.reply(), client.reply()], [simple("OK"), bulk("reader")]);
        assert!(client.reply().text().starts_with("NOPERM"));
        // A wrong password changes nothing: not for this client, not for one without any.
        assert!(client.ask("AUTH reader wrong").text().starts_with("WRONGPASS"));
        assert_eq!(client.ask("ACL WHOAMI"), bulk("reader"));
        let mut wrong = proxy.client();
        wrong.send(b"AUTH reader wrong\r\nGET k\r\n");
        assert!(wrong.reply().text().starts_with("WRONGPASS"));
        let expected = if first.is_some() { error("NOAUTH Authentication required") } else { Value::Null };
        assert_eq!(wrong.reply(), expected);
        let mut three = proxy.client();
        assert!(matches!(three.ask("HELLO 3 AUTH reader pass"), Value::Map(_)));
        assert_eq!(three.ask("ACL WHOAMI"), bulk("reader"));
        if let Some(first) = first {
            let mut hello = proxy.client();
            assert!(hello.ask("HELLO 3").text().starts_with("NOAUTH HELLO"));
            assert!(hello.ask("HELLO 3 AUTH default wrong").text().starts_with("WRONGPASS"));
            assert!(matches!(hello.ask("HELLO 3 AUTH default secret"), Value::Map(_)));
            assert_eq!(hello.ask("SET k v"), simple("OK"));
            assert_eq!(hello.ask("RESET"), simple("RESET"));
            assert_eq!(hello.ask("GET k"), error("NOAUTH Authentication required"));
            assert_eq!([hello.ask(first), hello.ask("ACL WHOAMI")], [simple("OK"), bulk("default")]);
            // Back from a user to the pool's password, in every way to say it.
            for back in [first, "AUTH default secret", "HELLO 2 AUTH default secret"] {
                client.send(format!("AUTH reader pass\r\n{back}\r\n").as_bytes());
                assert_eq!(client.reply(), simple("OK"));
                assert!(!client.reply().text().starts_with("WRONGPASS"));
                assert_eq!(
                    [client.ask("ACL WHOAMI"), client.ask("SET k v")],
                    [bulk("default"), simple("OK")]
                );
            }
        }
    }
}

#[test]
fn state_that_is_lost_ends_the_client() {
    let mut redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut watching, mut subscribed, mut waiting) = (proxy.client(), proxy.client(), proxy.client());
    watching.send(b"MULTI\r\nINCR n\r\n");
    assert_eq!([watching.reply(), watching.reply()], [simple("OK"), simple("QUEUED")]);
    assert_eq!(subscribed.ask("SUBSCRIBE c"), confirmation("subscribe", "c", 1));
    waiting.send(b"BLPOP l 0\r\n");
    wait_for("a blocked client", || {
        redis.client().ask("INFO clients").text().contains("blocked_clients:1").then_some(())
    });
    redis.kill();
    assert_eq!([watching.raw(), subscribed.raw()], [None, None]);
    // It has lost an answer, and no state.
    assert!(waiting.reply().text().starts_with("ERR Connection reset"));
    assert_eq!(waiting.ask("BLPOP l 0"), error("ERR Connection refused"));
    // What would have been in the transaction must not run outside of it.
    let mut client = proxy.client();
    client.send(b"MULTI\r\n");
    assert_eq!(client.reply(), error("ERR Connection refused"));
    assert_eq!(client.raw(), None);
    redis.restart();
    assert_eq!(waiting.ask("GET n"), Value::Null);
}

#[test]
fn a_subscriber_that_does_not_read_costs_the_proxy_little() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let (mut slow, mut other) = (proxy.client(), redis.client());
    assert_eq!(slow.ask("SUBSCRIBE c"), confirmation("subscribe", "c", 1));
    let payload = vec![b'x'; 100_000];
    let publish = request(&[b"PUBLISH", b"c", &payload]);
    for _ in 0..200 {
        other.stream.write_all(&publish).expect("a write");
        assert_eq!(other.reply(), Value::Integer(1));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.pid())).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 30_000, "the proxy took {peak} kB");
    for _ in 0..200 {
        assert_eq!(slow.reply().items()[2], Value::Bulk(payload.clone()));
    }
}

/// Redis does not answer REPLCONF ACK, but for what is wrong with it: nobody can know which reply is missing.
#[test]
fn a_reply_that_may_not_come_is_nobody_elses() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    for wrong in ["REPLCONF ACK", "REPLCONF GETACK", "REPLCONF ACK 1 ACK", "REPLCONF listening-port x ack 1"]
    {
        let (mut one, mut two, mut other) = (proxy.client(), proxy.client(), proxy.client());
        one.send(format!("{wrong}\r\nBLPOP secret 0\r\n").as_bytes());
        assert!(one.reply().text().starts_with("ERR"), "{wrong}");
        assert_eq!([two.ask("MULTI"), two.ask("GET k")], [simple("OK"), simple("QUEUED")]);
        assert_eq!(other.ask("RPUSH secret top"), Value::Integer(1));
        assert_eq!(one.reply(), message(&["secret", "top"]), "{wrong}");
        assert_eq!(two.ask("EXEC"), array(&[Value::Null]));
    }
    let mut client = proxy.client();
    client.send(b"REPLCONF ACK 1\r\nGET k\r\nQUIT\r\n");
    assert_eq!([client.reply(), client.reply()], [Value::Null, simple("OK")]);
    assert_eq!(client.raw(), None);
    let mut client = proxy.client();
    client.send(b"MULTI\r\nREPLCONF ACK 1\r\n");
    assert_eq!([client.reply(), client.reply()], [simple("OK"), simple("QUEUED")]);
}

/// The connection that answers HELLO may be somebody else's a moment later.
#[test]
fn the_id_that_hello_tells_is_of_no_other_client() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let id = |client: &mut Client, hello: &str| {
        client.send(format!("{hello}\r\n").as_bytes());
        let text = String::from_utf8(client.raw().expect("a reply")).expect("text");
        let rest = text.split("$2\r\nid\r\n:").nth(1).expect("an id").to_string();
        rest.split('\r').next().expect("a number").to_string()
    };
    let (mut one, mut two, mut busy) = (proxy.client(), proxy.client(), proxy.client());
    let ids = [id(&mut one, "HELLO 3"), id(&mut two, "HELLO 2"), id(&mut one, "HELLO")];
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
    assert_eq!([busy.ask("MULTI"), busy.ask("SET k 1")], [simple("OK"), simple("QUEUED")]);
    for id in &ids {
        assert_eq!(one.ask(&format!("CLIENT KILL ID {id}")), Value::Integer(0));
        assert_eq!(one.ask(&format!("CLIENT UNBLOCK {id}")), Value::Integer(0));
    }
    assert_eq!(busy.ask("EXEC"), array(&[simple("OK")]));
    // One that keeps its connection is told what the server calls it.
    let Value::Integer(real) = two.ask("CLIENT ID") else { panic!("no number") };
    assert_eq!(id(&mut two, "HELLO"), real.to_string());
    assert!(two.ask("CLIENT INFO").text().starts_with(&format!("id={real} ")));
}

/// Where replies are turned off the proxy's own are too, and none overtakes one of the server's.
#[test]
fn replies_of_the_proxys_own_keep_to_what_the_server_does() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let proxy = Proxy::start(&[redis.port], &["redis_auth: secret"]);
    let mut client = proxy.client();
    client.send(
        b"AUTH secret\r\nSET a 1\r\nCLIENT REPLY SKIP\r\nGET a\r\nGET a\r\nGET a\r\nAUTH secret\r\nGET a\r\n",
    );
    for expected in [simple("OK"), simple("OK"), bulk("1"), bulk("1"), simple("OK"), bulk("1")] {
        assert_eq!(client.reply(), expected);
    }
    client.send(b"CLIENT REPLY SKIP\r\nAUTH secret\r\nECHO x\r\n");
    assert_eq!(client.reply(), bulk("x"));
    client.send(b"CLIENT REPLY OFF\r\nAUTH wrong\r\nGET a\r\nAUTH secret\r\nCLIENT REPLY ON\r\nGET a\r\n");
    assert_eq!([client.reply(), client.reply()], [simple("OK"), bulk("1")]);
    // Where a server would not run it.
    let mut client = proxy.client();
    client.send(b"AUTH secret\r\nMULTI\r\nSET a 2\r\nAUTH secret\r\nEXEC\r\nAUTH secret\r\nGET a\r\n");
    for expected in [simple("OK"), simple("OK"), simple("QUEUED")] {
        assert_eq!(client.reply(), expected);
    }
    assert_eq!(client.reply(), error("ERR tombolo-proxy: no AUTH in a transaction"));
    assert!(client.reply().text().starts_with("EXECABORT"));
    assert_eq!([client.reply(), client.reply()], [simple("OK"), bulk("1")]);
    let mut opaque = proxy.client();
    opaque.send(b"AUTH secret\r\nMULTI\r\nHELLO 3\r\nEXEC\r\nAUTH secret\r\nGET a\r\n");
    for expected in [simple("OK"), simple("OK"), simple("QUEUED")] {
        assert_eq!(opaque.reply(), expected);
    }
    assert!(matches!(opaque.reply(), Value::Array(_)));
    assert_eq!([opaque.reply(), opaque.reply()], [simple("OK"), bulk("1")]);
    // A server runs no script for who watches it.
    let mut monitor = proxy.client();
    monitor.send(b"AUTH secret\r\nMONITOR\r\n");
    assert_eq!([monitor.reply(), monitor.reply()], [simple("OK"), simple("OK")]);
    assert!(!monitor.ask("AUTH secret").text().starts_with("ERR"));
    client.send(b"SUBSCRIBE c\r\nAUTH wrong\r\nUNSUBSCRIBE c\r\nGET a\r\n");
    assert_eq!(client.reply(), confirmation("subscribe", "c", 1));
    assert!(client.reply().text().starts_with("ERR Can't execute 'auth'"));
    assert_eq!([client.reply(), client.reply()], [confirmation("unsubscribe", "c", 0), bulk("1")]);
}
