//! Pools of several servers: what is split and joined, what goes to all, what goes to one, and
//! what is refused.

use std::collections::BTreeSet;

use crate::common::{Client, Proxy, Redis, bulk, error, simple, wait_for};
use crate::own::confirmation;
use tombolo_resp::Value;

const OPTIONS: &[&str] = &["hash_tag: \"{}\"", "hash: murmur", "distribution: modula"];

fn pool() -> (Vec<Redis>, Proxy) {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(&ports, OPTIONS);
    (servers, proxy)
}

fn fill(client: &mut Client, count: usize) {
    let pairs: Vec<String> = (0..count).map(|index| format!("key:{index} {index}")).collect();
    assert_eq!(client.ask(&format!("MSET {}", pairs.join(" "))), simple("OK"));
}

fn names(count: usize) -> String {
    (0..count).map(|index| format!("key:{index}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn commands_of_many_keys_are_split_and_joined_in_order() {
    let (servers, proxy) = pool();
    let mut client = proxy.client();
    fill(&mut client, 100);
    for server in &servers {
        assert!(matches!(server.client().ask("DBSIZE"), Value::Integer(1..100)));
    }
    let Value::Array(values) = client.ask(&format!("MGET {} gone key:0 key:0", names(100))) else { panic!() };
    let mut expected: Vec<Value> = (0..100).map(|index| bulk(&index.to_string())).collect();
    expected.extend([Value::Null, bulk("0"), bulk("0")]);
    assert_eq!(values, expected);
    assert_eq!(client.ask(&format!("EXISTS {} gone key:0", names(100))), Value::Integer(101));
    assert_eq!(client.ask(&format!("TOUCH {}", names(50))), Value::Integer(50));
    assert_eq!(client.ask(&format!("DEL {} gone", names(30))), Value::Integer(30));
    assert_eq!(client.ask(&format!("UNLINK {}", names(40))), Value::Integer(10));
    assert_eq!(client.ask("DBSIZE"), Value::Integer(60));
    assert_eq!(client.ask("MSET a 1 b"), error("ERR wrong number of arguments for 'mset' command"));
    // In a pipeline, with others before and behind.
    client.send(b"GET key:90\r\nMGET key:91 key:92 key:93 key:94\r\nECHO x\r\nGET key:95\r\n");
    let many = Value::Array([91, 92, 93, 94].map(|index| bulk(&index.to_string())).to_vec());
    for expected in [bulk("90"), many, bulk("x"), bulk("95")] {
        assert_eq!(client.reply(), expected);
    }
}

#[test]
fn what_has_no_key_goes_to_every_server_and_comes_back_as_one() {
    let (_servers, proxy) = pool();
    let mut client = proxy.client();
    assert_eq!([client.ask("DBSIZE"), client.ask("RANDOMKEY")], [Value::Integer(0), Value::Null]);
    fill(&mut client, 200);
    let all: BTreeSet<String> = (0..200).map(|index| format!("key:{index}")).collect();
    let keys = client.ask("KEYS key:*");
    assert_eq!(keys.items().iter().map(Value::text).collect::<BTreeSet<_>>(), all);
    assert!(all.contains(&client.ask("RANDOMKEY").text()));
    let (mut cursor, mut scanned, mut rounds) = ("0".to_string(), Vec::new(), 0);
    loop {
        let reply = client.ask(&format!("SCAN {cursor} COUNT 10"));
        scanned.extend(reply.items()[1].items().iter().map(Value::text));
        cursor = reply.items()[0].text();
        rounds += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!(rounds > 10 && rounds < 100, "{rounds}");
    assert_eq!(scanned.into_iter().collect::<BTreeSet<_>>(), all);
    assert_eq!(client.ask("SCAN nonsense"), error("ERR invalid cursor"));
    // A script is known wherever its key is.
    let sha = client.ask_bytes(&[b"SCRIPT", b"LOAD", b"return redis.call('GET',KEYS[1])"]).text();
    for index in 0..20 {
        assert_eq!(client.ask(&format!("EVALSHA {sha} 1 key:{index}")), bulk(&index.to_string()));
    }
    let flags = |one, two| Value::Array(vec![Value::Integer(one), Value::Integer(two)]);
    assert_eq!(client.ask(&format!("SCRIPT EXISTS {sha} ffff")), flags(1, 0));
    assert_eq!(
        [client.ask("SCRIPT FLUSH"), client.ask(&format!("SCRIPT EXISTS {sha} {sha}"))],
        [simple("OK"), flags(0, 0)]
    );
    let function =
        "#!lua name=l\nredis.register_function('f', function(k) return redis.call('GET', k[1]) end)";
    assert_eq!(client.ask_bytes(&[b"FUNCTION", b"LOAD", function.as_bytes()]), bulk("l"));
    assert_eq!([client.ask("FCALL f 1 key:1"), client.ask("FCALL f 1 key:2")], [bulk("1"), bulk("2")]);
    assert_eq!([client.ask("FLUSHALL"), client.ask("DBSIZE")], [simple("OK"), Value::Integer(0)]);
}

#[test]
fn messages_go_over_one_server() {
    let (_servers, proxy) = pool();
    let (mut one, mut two, mut other) = (proxy.client(), proxy.client(), proxy.client());
    one.send(b"SUBSCRIBE a b c d\r\n");
    for left in 1..=4 {
        assert_eq!(one.reply().items()[2], Value::Integer(left));
    }
    assert_eq!(two.ask("PSUBSCRIBE *").items()[2], Value::Integer(1));
    for channel in ["a", "b", "c", "d"] {
        assert_eq!(other.ask(&format!("PUBLISH {channel} m")), Value::Integer(2));
        assert_eq!([one.reply().items()[1].text(), two.reply().items()[2].text()], [channel, channel]);
    }
    let reply = other.ask("PUBSUB NUMSUB a");
    assert_eq!(reply.items(), [bulk("a"), Value::Integer(1)]);
    one.send(b"UNSUBSCRIBE\r\nMSET {1}x 1 {2}x 2 {3}x 3\r\nMGET {1}x {2}x {3}x\r\n");
    (0..4).for_each(|_| assert_eq!(one.reply().items()[0], bulk("unsubscribe")));
    assert_eq!(
        [one.reply(), one.reply()],
        [simple("OK"), Value::Array(vec![bulk("1"), bulk("2"), bulk("3")])]
    );
    for key in 1..=3 {
        assert_eq!(other.ask(&format!("GET {{{key}}}x")), bulk(&key.to_string()), "where the key belongs");
    }
}

#[test]
fn transactions_have_their_keys_on_one_server() {
    let (_servers, proxy) = pool();
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for tag in ["a", "b", "c", "d", "e", "f"] {
        client.send(
            format!("SET {{{tag}}}n 1\r\nMULTI\r\nINCR {{{tag}}}n\r\nMGET {{{tag}}}n {{{tag}}}m\r\nEXEC\r\nGET {{{tag}}}n\r\n")
                .as_bytes(),
        );
        let queued = simple("QUEUED");
        let done = Value::Array(vec![Value::Integer(2), Value::Array(vec![bulk("2"), Value::Null])]);
        for expected in [simple("OK"), simple("OK"), queued.clone(), queued, done, bulk("2")] {
            assert_eq!(client.reply(), expected, "{tag}");
        }
        // A watch decides about the server, too.
        assert_eq!(client.ask(&format!("WATCH {{{tag}}}n")), simple("OK"));
        assert_eq!(other.ask(&format!("SET {{{tag}}}n 7")), simple("OK"));
        assert_eq!(
            [client.ask("MULTI"), client.ask(&format!("INCR {{{tag}}}n"))],
            [simple("OK"), simple("QUEUED")]
        );
        assert_eq!(client.ask("EXEC"), Value::Null);
    }
    assert_eq!([client.ask("MULTI"), client.ask("EXEC")], [simple("OK"), Value::Array(vec![])]);
    assert_eq!([client.ask("MULTI"), client.ask("DISCARD")], [simple("OK"), simple("OK")]);
    assert_eq!(client.ask("EXEC"), error("ERR EXEC without MULTI"));
    // Nothing of a transaction that can not be as a whole is done.
    for bad in ["SET {b}n 9", "SET {c}n 9", "SET {d}n 9", "SET {e}n 9", "SET {f}n 9"] {
        client.send(format!("MULTI\r\nSET {{a}}n 9\r\n{bad}\r\nMSET {{a}}n 9 {{b}}n 9 {{c}}n 9 {{d}}n 9\r\nEXEC\r\nGET {{a}}n\r\n").as_bytes());
        assert_eq!([client.reply(), client.reply()], [simple("OK"), simple("QUEUED")]);
        let (one, many, exec) = (client.reply(), client.reply().text(), client.reply().text());
        assert!(
            one == simple("QUEUED") || one.text().contains("needs another server than this transaction"),
            "{one:?}"
        );
        assert!(many.contains("are on different servers"), "{many}");
        assert!(exec.starts_with("EXECABORT"), "{exec}");
        assert_eq!(client.reply(), bulk("7"));
    }
    assert_eq!(client.ask("MULTI"), simple("OK"));
    assert!(client.ask("DBSIZE").text().contains("can not be in a transaction"));
    assert!(client.ask("EXEC").text().starts_with("EXECABORT"));
    // The server's own words where the end is none.
    assert_eq!(client.ask("MULTI"), simple("OK"));
    assert!(client.ask("DISCARD x").text().starts_with("ERR wrong number of arguments"));
    assert_eq!(client.ask("GET {a}n"), simple("QUEUED"));
    assert!(client.ask("EXEC x").text().starts_with("EXECABORT"));
}

#[test]
fn a_transaction_for_a_server_that_is_gone_ends_with_an_error() {
    let (mut servers, proxy) = pool();
    let mut client = proxy.client();
    servers.iter_mut().for_each(Redis::kill);
    client.send(b"MULTI\r\nSET k 1\r\nEXEC\r\n");
    assert_eq!([client.reply(), client.reply()], [simple("OK"), error("ERR Connection refused")]);
    assert_eq!(client.raw(), None, "what it has promised is lost");
}

#[test]
fn what_waits_behind_info_is_answered_when_a_server_is_gone() {
    let mut servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(&ports, &["users: ['default on nopass +@all -get ~* &*']"]);
    servers[0].kill();
    let mut client = proxy.client();
    client.send(b"INFO server\r\nGET x\r\nECHO third\r\n");
    client.reply();
    assert!(client.reply().text().starts_with("NOPERM"));
    assert_eq!(client.reply(), bulk("third"));
}

#[test]
fn sort_does_not_look_for_keys_that_may_be_elsewhere() {
    let (_servers, proxy) = pool();
    let mut client = proxy.client();
    for line in ["RPUSH {t}l 1 2 3", "MSET {t}w_1 3 {t}w_2 2 {t}w_3 1 {t}d_1 a {t}d_2 b {t}d_3 c"] {
        assert!(!client.ask(line).text().starts_with("ERR"), "{line}");
    }
    let numbers = |words: [&str; 3]| Value::Array(words.iter().map(|word| bulk(word)).collect());
    assert_eq!(client.ask("SORT {t}l BY {t}w_* GET {t}d_*"), numbers(["c", "b", "a"]));
    assert_eq!(client.ask("SORT {t}l BY nosort GET # LIMIT 0 9"), numbers(["1", "2", "3"]));
    assert_eq!(client.ask("SORT_RO {t}l LIMIT 0 9 DESC"), numbers(["3", "2", "1"]));
    for line in
        ["SORT {t}l BY w_*", "SORT {t}l LIMIT 0 1 GET d_*", "SORT_RO {t}l BY {*}w", "SORT {t}l GET # GET *"]
    {
        let refused = client.ask(line).text();
        assert!(refused.contains("may be on different servers"), "{line}: {refused}");
    }
}

#[test]
fn commands_that_wait_go_to_the_server_of_their_keys() {
    let (_servers, proxy) = pool();
    let mut other = proxy.client();
    for tag in ["a", "b", "c", "d"] {
        let mut client = proxy.client();
        client
            .send(format!("BLPOP {{{tag}}}x {{{tag}}}y 0\r\nMSET 1 1 2 2 3 3\r\nMGET 1 2 3\r\n").as_bytes());
        assert_eq!(other.ask(&format!("RPUSH {{{tag}}}y v")), Value::Integer(1));
        assert_eq!(client.reply(), Value::Array(vec![bulk(&format!("{{{tag}}}y")), bulk("v")]));
        assert_eq!(
            [client.reply(), client.reply()],
            [simple("OK"), Value::Array(vec![bulk("1"), bulk("2"), bulk("3")])]
        );
    }
    assert!(other.ask("BLPOP {a}x {b}x {c}x {d}x 0").text().contains("are on different servers"));
}

#[test]
fn what_is_about_one_server_is_refused_with_the_reason() {
    let (_servers, proxy) = pool();
    let mut client = proxy.client();
    for line in [
        "CONFIG GET save",
        "MONITOR",
        "SELECT 1",
        "CLIENT ID",
        "WAIT 0 0",
        "AUTH u p",
        "SCRIPT KILL",
        "EVAL x 0",
    ] {
        let reply = client.ask(line).text();
        assert!(reply.starts_with("ERR tombolo-proxy does not support "), "{line}: {reply}");
    }
    assert_eq!(client.ask("HELLO 4"), error("NOPROTO unsupported protocol version"));
    assert!(matches!(client.ask("HELLO 2"), Value::Array(_)));
    assert_eq!(client.ask("SELECT 0"), simple("OK"));
    assert!(
        client.ask("SUNION key:1 key:2 key:3 key:4 key:5").text().contains("a hash tag keeps keys together")
    );
    assert_eq!(client.ask("PING"), simple("PONG"));
}

#[test]
fn what_libraries_say_and_ask_at_the_start_is_answered() {
    let redis = Redis::start();
    let (mut servers, proxy) = pool();
    let (mut ours, mut theirs) = (proxy.client(), redis.client());
    for words in [
        &["CLIENT", "GETNAME"][..],
        &["CLIENT", "SETNAME", "one"],
        &["CLIENT", "GETNAME"],
        &["CLIENT", "SETNAME", "a b"],
        &["CLIENT", "SETNAME", "\u{e9}"],
        &["CLIENT", "SETNAME"],
        &["HELLO", "2", "SETNAME", "a\nb"],
        &["HELLO", "2", "SETNAME"],
        &["CLIENT", "GETNAME"],
        &["CLIENT", "SETNAME", ""],
        &["CLIENT", "GETNAME"],
        &["CLIENT", "SETNAME", "two"],
        &["RESET"],
        &["CLIENT", "GETNAME"],
    ] {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        assert_eq!(ours.ask_bytes(&words), theirs.ask_bytes(&words), "{words:?}");
    }
    assert!(matches!(ours.ask("HELLO 2 SETNAME three"), Value::Array(_)));
    assert_eq!(ours.ask("CLIENT GETNAME"), bulk("three"));
    assert_eq!(proxy.client().ask("CLIENT GETNAME"), Value::Null);
    assert_eq!(ours.ask("MGET 1 2 3 4"), Value::Array(vec![Value::Null; 4]), "it is as free as before");
    assert_eq!(ours.ask("CLIENT SETINFO LIB-NAME redis-py"), simple("OK"));
    assert!(servers.iter().all(|server| !server.client().ask("CLIENT LIST").text().contains("name=three")));
    // ioredis waits for this until it is answered.
    let info = ours.ask("INFO server").text();
    let first = servers.iter().position(|server| info.contains(&format!("tcp_port:{}\r\n", server.port)));
    servers[first.expect("one of them")].kill();
    // The next is asked at once, as the first can not have seen the question; nobody knew before.
    let fresh = Proxy::start(&servers.iter().map(|server| server.port).collect::<Vec<_>>(), OPTIONS);
    let reply = fresh.client().ask("INFO server").text();
    assert!(reply.contains("tcp_port:"), "{reply}");
    wait_for("another server to be asked", || {
        ours.ask("INFO server").text().contains("tcp_port:").then_some(())
    });
    servers.iter_mut().for_each(Redis::kill);
    assert_eq!(fresh.client().ask("INFO server"), error("ERR Connection refused"));
    servers.iter_mut().for_each(Redis::restart);
    let mut ours = fresh.client();
    wait_for("all of them", || (ours.ask("DBSIZE") == Value::Integer(0)).then_some(()));
    assert!(matches!(ours.ask("HELLO 2"), Value::Array(_)));
}

/// What newer libraries speak unless they are told otherwise.
#[test]
fn resp3_is_spoken_by_all_servers() {
    let (servers, proxy) = pool();
    let mut others: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut others {
        assert!(matches!(client.ask("HELLO 3"), Value::Map(_)));
        for key in 0..20 {
            client.ask(&format!("GET key:{key}"));
        }
    }
    // They share connections, as others do.
    let connected = |server: &Redis| server.client().ask("CLIENT LIST").text().lines().count();
    assert!(
        servers.iter().map(connected).all(|count| count <= 4),
        "{:?}",
        servers.iter().map(connected).collect::<Vec<_>>()
    );

    let mut client = proxy.client();
    let null = |client: &mut Client, line: &str| {
        client.send(format!("{line}\r\n").as_bytes());
        client.raw()
    };
    assert_eq!(null(&mut client, "CLIENT GETNAME").as_deref(), Some(b"$-1\r\n".as_slice()));
    assert!(matches!(client.ask("HELLO 3"), Value::Map(_)));
    for line in ["CLIENT GETNAME", "RANDOMKEY", "GET key:1"] {
        assert_eq!(null(&mut client, line).as_deref(), Some(b"_\r\n".as_slice()), "{line}");
    }
    fill(&mut client, 50);
    for key in 0..9 {
        assert_eq!(client.ask(&format!("HSET h:{key} f {key}")), Value::Integer(1));
        let map = Value::Map(vec![(bulk("f"), bulk(&key.to_string()))]);
        assert_eq!(client.ask(&format!("HGETALL h:{key}")), map);
    }
    assert_eq!(client.ask("DBSIZE"), Value::Integer(59));
    assert_eq!(client.ask("MGET none:1 none:2 none:3"), Value::Array(vec![Value::Null; 3]));
    assert!(matches!(client.ask("RANDOMKEY"), Value::Bulk(_)));
    assert_eq!(client.ask("MULTI"), simple("OK"));
    assert_eq!(client.ask("HGETALL h:1"), simple("QUEUED"));
    assert_eq!(client.ask("EXEC"), Value::Array(vec![Value::Map(vec![(bulk("f"), bulk("1"))])]));

    // A subscriber may ask for anything in RESP3, and the server that it is subscribed on is not all of them.
    assert_eq!(client.ask("SUBSCRIBE news"), confirmation("subscribe", "news", 1));
    let answers: Vec<Value> = (0..9).map(|key| client.ask(&format!("HGETALL h:{key}"))).collect();
    let refused = |answer: &Value| matches!(answer, Value::Error(_));
    assert!(answers.iter().any(refused) && !answers.iter().all(refused), "{answers:?}");
    for (key, answer) in answers.iter().enumerate().filter(|(_, answer)| !refused(answer)) {
        assert_eq!(*answer, Value::Map(vec![(bulk("f"), bulk(&key.to_string()))]));
    }
    assert!(client.ask("DBSIZE").text().contains("subscribed"));
    assert_eq!(client.ask("PING x"), bulk("x"));
    assert_eq!(proxy.client().ask("PUBLISH news m"), Value::Integer(1));
    assert_eq!(client.raw().as_deref(), Some(b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nm\r\n".as_slice()));
    assert_eq!(client.ask("UNSUBSCRIBE"), confirmation("unsubscribe", "news", 0));
    assert_eq!(client.ask("DBSIZE"), Value::Integer(59));

    assert_eq!(client.ask("RESET"), simple("RESET"));
    assert_eq!(client.ask("HGETALL h:1"), Value::Array(vec![bulk("f"), bulk("1")]));
    assert_eq!(null(&mut client, "GET none").as_deref(), Some(b"$-1\r\n".as_slice()));
    assert_eq!(null(&mut others[0], "GET none").as_deref(), Some(b"_\r\n".as_slice()));
}

#[test]
fn an_error_of_one_server_is_the_reply_and_the_client_stays() {
    let (mut servers, proxy) = pool();
    let mut client = proxy.client();
    fill(&mut client, 50);
    servers[1].kill();
    let refused = error("ERR Connection refused");
    wait_for("the loss to be seen", || (client.ask("DBSIZE") == refused).then_some(()));
    client.send(
        format!("MGET {0}\r\nMSET key:0 0 key:1 1 key:2 2 key:3 3 key:4 4\r\nDEL {0}\r\nPING\r\n", names(50))
            .as_bytes(),
    );
    for expected in [refused.clone(), refused.clone(), refused, simple("PONG")] {
        assert_eq!(client.reply(), expected);
    }
    servers[1].restart();
    wait_for("the server", || (client.ask("DBSIZE") == Value::Integer(0)).then_some(()));
}
