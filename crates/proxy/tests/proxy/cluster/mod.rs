//! The proxy in front of a real Redis Cluster: clients see one Redis, also while slots move and
//! primaries change.

mod fake;
mod load;
mod nodes;

use std::collections::BTreeSet;

use crate::common::{self, Client, Proxy, bulk, error, simple, wait_for};
use load::Load;
use nodes::Nodes;
use tombolo_proxy::placement::slots;
use tombolo_resp::Value;

/// Seeds are any nodes: here a replica, and a port where nobody listens before it.
fn proxy_with(nodes: &Nodes, options: &[&str]) -> Proxy {
    let mut all = vec!["cluster: true"];
    all.extend(options);
    Proxy::start(&[common::free_port(), nodes.ports()[4]], &all)
}

fn integer(number: i64) -> Value {
    Value::Integer(number)
}

#[test]
fn clients_see_one_redis() {
    let nodes = Nodes::start();
    let proxy = proxy_with(&nodes, &[]);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..200).map(|n| format!("key:{n}")).collect();
    for key in &keys {
        assert_eq!(client.ask(&format!("SET {key} v{key}")), simple("OK"));
    }
    let homes: BTreeSet<usize> = keys.iter().map(|key| Nodes::home(key)).collect();
    assert_eq!(homes.len(), 3, "the keys are everywhere");
    split_commands(&mut client, &keys);
    commands_for_all_nodes(&mut client, &keys);
    transactions_and_scripts(&mut client);
    blocking(&proxy);
    messages(&proxy, &nodes);
    what_is_refused(&mut client);
}

fn split_commands(client: &mut Client, keys: &[String]) {
    let values = Value::Array(keys.iter().map(|key| bulk(&format!("v{key}"))).collect());
    assert_eq!(client.ask(&format!("MGET {}", keys.join(" "))), values);
    assert_eq!(client.ask("MSET a 1 b 2 c 3 {a}d 4"), simple("OK"));
    assert_eq!(
        client.ask("MGET c {a}d none a"),
        Value::Array(vec![bulk("3"), bulk("4"), Value::Null, bulk("1")])
    );
    assert_eq!(client.ask("EXISTS a b c {a}d none"), integer(4));
    assert_eq!(client.ask("TOUCH a b"), integer(2));
    assert_eq!(client.ask("DEL a b"), integer(2));
    assert_eq!(client.ask("UNLINK c {a}d none"), integer(2));
    let crossing = error("CROSSSLOT Keys in request don't hash to the same slot");
    assert_eq!(client.ask("SUNION key:1 key:2"), crossing);
}

fn commands_for_all_nodes(client: &mut Client, keys: &[String]) {
    let all: BTreeSet<String> = keys.iter().cloned().collect();
    assert_eq!(client.ask("DBSIZE"), integer(keys.len() as i64));
    let found: BTreeSet<String> = client.ask("KEYS *").items().iter().map(Value::text).collect();
    assert_eq!(found, all);
    assert!(all.contains(&client.ask("RANDOMKEY").text()));
    let (mut cursor, mut scanned) = ("0".to_string(), BTreeSet::new());
    loop {
        let page = client.ask(&format!("SCAN {cursor} COUNT 7"));
        scanned.extend(page.items()[1].items().iter().map(Value::text));
        cursor = page.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(scanned, all);
    assert!(client.ask("INFO").text().contains("cluster_enabled:1"));
    assert!(client.ask("CLUSTER INFO").text().contains("cluster_known_nodes:6"));
    assert_eq!(client.ask("CLUSTER KEYSLOT foo"), integer(12182));
    assert_eq!(client.ask("CLUSTER COUNTKEYSINSLOT 12182"), integer(0));
}

fn transactions_and_scripts(client: &mut Client) {
    for line in ["WATCH {t}a", "MULTI"] {
        assert_eq!(client.ask(line), simple("OK"));
    }
    assert_eq!(client.ask("INCR {t}a"), simple("QUEUED"));
    assert_eq!(client.ask("INCR {t}b"), simple("QUEUED"));
    assert_eq!(client.ask("EXEC"), Value::Array(vec![integer(1), integer(1)]));
    assert_eq!(client.ask("MULTI"), simple("OK"));
    assert_eq!(client.ask("INCR {t}a"), simple("QUEUED"));
    let far = (0..).map(|n| format!("far:{n}")).find(|key| Nodes::home(key) != Nodes::home("{t}a"));
    let answer = client.ask(&format!("INCR {}", far.expect("a key"))).text();
    assert!(answer.contains("needs another server than this transaction"), "{answer}");
    assert!(client.ask("EXEC").text().starts_with("EXECABORT"));
    assert_eq!(client.ask("GET {t}a"), bulk("1"));

    let script = "return redis.call('INCRBY',KEYS[1],ARGV[1])";
    let eval = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut ask = |words: &[&str]| {
        let words = eval(words);
        client.ask_bytes(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
    };
    assert_eq!(ask(&["EVAL", script, "1", "counter", "5"]), integer(5));
    let sha = ask(&["SCRIPT", "LOAD", script]).text();
    for (n, key) in ["counter", "other", "third", "fourth"].iter().enumerate() {
        assert_eq!(ask(&["EVALSHA", &sha, "1", key, "1"]), integer(if n == 0 { 6 } else { 1 }));
    }
    assert_eq!(ask(&["EVAL", "return 7", "0"]), integer(7));
}

fn blocking(proxy: &Proxy) {
    let (mut one, mut two) = (proxy.client(), proxy.client());
    for key in ["list:1", "list:2", "list:3"] {
        one.send(&common::request(&[b"BLPOP", key.as_bytes(), b"0"]));
        assert_eq!(two.ask(&format!("RPUSH {key} x")), integer(1));
        assert_eq!(one.reply(), Value::Array(vec![bulk(key), bulk("x")]));
    }
}

fn messages(proxy: &Proxy, nodes: &Nodes) {
    let (mut subscriber, mut publisher) = (proxy.client(), proxy.client());
    assert_eq!(
        subscriber.ask("SUBSCRIBE news"),
        Value::Array(vec![bulk("subscribe"), bulk("news"), integer(1)])
    );
    assert_eq!(publisher.ask("PUBLISH news one"), integer(1));
    let message =
        |kind: &str, channel: &str, text: &str| Value::Array(vec![bulk(kind), bulk(channel), bulk(text)]);
    assert_eq!(subscriber.reply(), message("message", "news", "one"));
    // What others publish on other nodes comes too.
    nodes.nodes[2].client().ask("PUBLISH news two");
    assert_eq!(subscriber.reply(), message("message", "news", "two"));
    for channel in ["shard:1", "shard:2", "shard:3"] {
        let mut subscriber = proxy.client();
        subscriber.ask(&format!("SSUBSCRIBE {channel}"));
        assert_eq!(publisher.ask(&format!("SPUBLISH {channel} three")), integer(1));
        assert_eq!(subscriber.reply(), message("smessage", channel, "three"));
    }
}

fn what_is_refused(client: &mut Client) {
    assert_eq!(client.ask("SELECT 1"), error("ERR SELECT is not allowed in cluster mode"));
    for line in ["SELECT 0", "READONLY", "READWRITE"] {
        assert_eq!(client.ask(line), simple("OK"));
    }
    for line in ["CLUSTER FAILOVER", "CONFIG GET save", "CLIENT ID", "WAIT 1 0"] {
        let answer = client.ask(line).text();
        assert!(answer.contains("tombolo-proxy does not support"), "{line}: {answer}");
    }
}

/// The exact number of every counter, as the load's clients have seen it, is in the cluster.
fn check_counters(proxy: &Proxy, outcomes: &[load::Outcome]) {
    let mut client = proxy.client();
    for (name, number) in outcomes.iter().flat_map(|outcome| &outcome.counters) {
        assert_eq!(client.ask(&format!("GET {name}")), bulk(&number.to_string()), "{name}");
    }
}

fn errors(outcomes: &[load::Outcome]) -> Vec<&String> {
    outcomes.iter().flat_map(|outcome| &outcome.errors).collect()
}

#[test]
fn a_slot_moves_under_load() {
    let nodes = Nodes::start();
    let proxy = proxy_with(&nodes, &["timeout: 20000"]);
    let tagged = Load::start(&proxy, 4, 25, Some("t"), true);
    let others = Load::start(&proxy, 2, 25, None, true);
    // Commands of several keys wait while some of them are on their way.
    let mut reader = proxy.client();
    let names: Vec<String> = (0..25).map(|n| format!("{{t}}count:0:{n}")).collect();
    let mget = format!("MGET {}", names.join(" "));
    tagged.wait_for(500);
    // These have the table from before.
    let stale: [_; 2] = [&[], &["read_from: any"][..]].map(|options| proxy_with(&nodes, options));
    for proxy in &stale {
        assert_eq!(proxy.client().ask("SET {t}known 1"), simple("OK"));
    }
    let home = Nodes::home("{t}");
    let round = [home, (home + 1) % 3, home, (home + 2) % 3];
    for hop in round.windows(2) {
        let mut keys = 0;
        nodes.migrate(slots::slot(b"{t}"), hop[0], hop[1], || {
            keys += 1;
            tagged.wait_for(20);
        });
        assert!(keys >= 100, "{keys} keys have moved");
        let values = reader.ask(&mget);
        assert!(values.items().len() == 25 && !values.items().contains(&Value::Null), "{values:?}");
        tagged.wait_for(200);
    }
    sessions_follow_a_slot(&stale);
    others.wait_for(200);
    let outcomes: Vec<_> = tagged.end().into_iter().chain(others.end()).collect();
    assert_eq!(errors(&outcomes), Vec::<&String>::new());
    check_counters(&proxy, &outcomes);
}

/// What needs a connection of its own finds the slot's new node, once each with a table from before.
fn sessions_follow_a_slot(stale: &[Proxy; 2]) {
    let mut blocked = stale[0].client();
    let mut pusher = stale[1].client();
    blocked.send(&common::request(&[b"BLPOP", b"{t}list", b"0"]));
    // The other one is told by WATCH, whose session must not be lost either.
    assert_eq!(pusher.ask("WATCH {t}known"), simple("OK"));
    for line in ["MULTI", "RPUSH {t}list x"] {
        pusher.ask(line);
    }
    assert_eq!(pusher.ask("EXEC"), Value::Array(vec![integer(1)]));
    assert_eq!(blocked.reply(), Value::Array(vec![bulk("{t}list"), bulk("x")]));
    let mut subscriber = stale[1].client();
    let confirmed = Value::Array(vec![bulk("ssubscribe"), bulk("{t}news"), integer(1)]);
    assert_eq!(subscriber.ask("SSUBSCRIBE {t}news"), confirmed);
    assert_eq!(stale[0].client().ask("SPUBLISH {t}news one"), integer(1));
    assert_eq!(subscriber.reply(), Value::Array(vec![bulk("smessage"), bulk("{t}news"), bulk("one")]));
}

#[test]
fn primaries_change_under_load() {
    let mut nodes = Nodes::start();
    let proxy = proxy_with(&nodes, &["timeout: 20000", "server_connections: 2"]);
    let mut subscriber = proxy.client();
    subscriber.ask("SUBSCRIBE news");

    // By hand: the old primary and the new one agree on what was written, so every INCR counts.
    let load = Load::start(&proxy, 6, 20, None, true);
    load.wait_for(500);
    for (node, old) in [(3, 0), (4, 1), (0, 3)] {
        nodes.take_over(node, old, &load);
        load.wait_for(500);
    }
    let outcomes = load.end();
    assert_eq!(errors(&outcomes), Vec::<&String>::new());
    check_counters(&proxy, &outcomes);
    proxy.client().ask("PUBLISH news one");
    assert_eq!(subscriber.reply(), Value::Array(vec![bulk("message"), bulk("news"), bulk("one")]));

    // By force: what was in flight gets an error, what came later waits for the new primary.
    // An old primary that nobody was redirected from since says READONLY, until the table is asked for.
    wait_for("FLUSHALL", || (proxy.client().ask("FLUSHALL") == simple("OK")).then_some(()));
    let load = Load::start(&proxy, 6, 20, None, false);
    load.wait_for(500);
    nodes.nodes[2].kill();
    nodes.wait_for_primary(5, &load);
    load.wait_for(2000);
    let outcomes = load.end();
    for outcome in &outcomes {
        assert!(outcome.errors.len() <= load::PIPELINE, "{:?}", outcome.errors);
        assert!(outcome.errors.iter().all(|error| error.contains("Connection ")), "{:?}", outcome.errors);
    }
    let mut client = proxy.client();
    let lost = (0..).map(|n| format!("key:{n}")).find(|key| Nodes::home(key) == 2).expect("a key");
    assert_eq!(client.ask(&format!("SET {lost} back")), simple("OK"));
    assert_eq!(nodes.nodes[5].client().ask(&format!("GET {lost}")), bulk("back"));

    // A primary that is frozen accepts connections, and says nothing.
    let impatient = proxy_with(&nodes, &["timeout: 1000"]);
    let mut client = impatient.client();
    let frozen = (0..).map(|n| format!("key:{n}")).find(|key| Nodes::home(key) == 1).expect("a key");
    assert_eq!(client.ask(&format!("SET {frozen} 1")), simple("OK"));
    nodes.nodes[4].process.signal("-STOP");
    wait_for("a frozen primary's heir", || {
        (client.ask(&format!("SET {frozen} 2")) == simple("OK")).then_some(())
    });
    assert_eq!(nodes.nodes[1].client().ask(&format!("GET {frozen}")), bulk("2"));
}

#[test]
fn reads_go_to_replicas_and_back() {
    let mut nodes = Nodes::start();
    let proxy = proxy_with(&nodes, &["timeout: 20000", "read_from: replica"]);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..60).map(|n| format!("key:{n}")).collect();
    for key in &keys {
        assert_eq!(client.ask(&format!("SET {key} 1")), simple("OK"));
    }
    // Replication is asynchronous: what was written is read in a moment.
    for key in &keys {
        wait_for("a replica's value", || (client.ask(&format!("GET {key}")) == bulk("1")).then_some(()));
    }
    let reads = |node: usize| {
        let stats = nodes.nodes[node].client().ask("INFO commandstats").text();
        stats
            .lines()
            .find_map(|line| Some(line.strip_prefix("cmdstat_get:calls=")?.split(',').next()?.to_string()))
    };
    assert!((0..3).all(|primary| reads(primary).is_none()) && (3..6).all(|replica| reads(replica).is_some()));
    // Without its replica, a primary is read from; nobody notices, but for who was in flight.
    nodes.nodes[3].kill();
    let mut lost = Vec::new();
    for key in keys.iter().cycle().take(4 * keys.len()) {
        match client.ask(&format!("GET {key}")) {
            Value::Error(error) => lost.push(format!("{key}: {error}")),
            value => assert_eq!(value, bulk("1"), "{key}"),
        }
    }
    // One connection has ended, and there was never more than one request on it.
    let of_the_dead = |error: &String| error.contains("Connection ");
    assert!(lost.len() <= 1 && lost.iter().all(of_the_dead), "{lost:?}");
}

/// A script can answer what a node would say that has not executed it.
#[test]
fn a_script_is_run_once_whatever_it_says() {
    let nodes = Nodes::start();
    let proxy = proxy_with(&nodes, &["timeout: 2000", "server_password: secret"]);
    for port in nodes.ports() {
        Client::connect(port).ask("CONFIG SET requirepass secret");
    }
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    stranger.set_nonblocking(true).expect("a socket");
    let elsewhere = stranger.local_addr().expect("an address").port();
    let (key, slot) = ("{t}runs", slots::slot(b"t"));
    let home = nodes.ports()[Nodes::home(key)];
    let mut client = proxy.client();
    let mut watching = proxy.client();
    for said in [
        format!("MOVED {slot} 127.0.0.1:{elsewhere}"),
        format!("ASK {slot} 127.0.0.1:{elsewhere}"),
        format!("MOVED {slot} 127.0.0.1:{home}"),
        format!("MOVED {} 127.0.0.1:{}", (slot + 1) % 16384, nodes.ports()[3]),
        "TRYAGAIN busy".to_string(),
        "CLUSTERDOWN so it seems".to_string(),
        "LOADING more".to_string(),
    ] {
        let script = format!("redis.call('incr', KEYS[1]) return redis.error_reply('{said}')");
        let run = [b"EVAL".as_slice(), script.as_bytes(), b"1", key.as_bytes()];
        assert_eq!(client.ask(&format!("SET {key} 0")), simple("OK"));
        assert_eq!(client.ask_bytes(&run), error(&said));
        assert_eq!(client.ask(&format!("GET {key}")), bulk("1"), "{said}");
        // On a connection of its own.
        assert_eq!(watching.ask("WATCH {t}other"), simple("OK"));
        assert_eq!(watching.ask_bytes(&run), error(&said));
        assert_eq!(watching.ask("UNWATCH"), simple("OK"));
        assert_eq!(client.ask(&format!("GET {key}")), bulk("2"), "{said}");
    }
    // Believed, but not sent back by the other node.
    let other = nodes.ports()[(Nodes::home(key) + 1) % 3];
    let script =
        format!("redis.call('incr', KEYS[1]) return redis.error_reply('MOVED {slot} 127.0.0.1:{other}')");
    assert_eq!(client.ask(&format!("SET {key} 0")), simple("OK"));
    let said = client.ask_bytes(&[b"EVAL", script.as_bytes(), b"1", key.as_bytes()]).text();
    assert!(said.starts_with("ERR tombolo-proxy: sent on 1 times"), "{said}");
    assert_eq!(client.ask(&format!("GET {key}")), bulk("1"));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(client.ask(&format!("SET {key} v")), simple("OK"));
    }
    let visit = stranger.accept().map(|(_, from)| from).map_err(|error| error.kind());
    assert_eq!(visit, Err(std::io::ErrorKind::WouldBlock), "somebody came to whom no node has sent");
}

#[test]
fn no_node_and_no_cluster() {
    let nobody = Proxy::start(&[common::free_port(), common::free_port()], &["cluster: true"]);
    let answer = nobody.client().ask("GET a").text();
    assert_eq!(answer, "ERR Connection refused (tombolo-proxy: no node of the cluster tells its slots)");
    let single = common::Redis::start();
    let proxy = Proxy::start(&[single.port], &["cluster: true"]);
    let answer = proxy.client().ask("GET a").text();
    assert!(
        answer.starts_with("ERR This instance has cluster support disabled (tombolo-proxy: "),
        "{answer}"
    );
    assert_eq!(proxy.client().ask("PING"), simple("PONG"));
}
