//! What a proxy tells about itself over HTTP, against real servers.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::{
    self, Client, PATIENCE, Process, Proxy, Redis, free_port, listening, mortal, simple, wait_for,
};
use tombolo_proxy::top::exposition::{Sample, parse};
use tombolo_resp::Value;

/// A proxy with metrics, and their port.
fn start(servers: &[u16], options: &[&str], args: &[&str]) -> (Proxy, u16) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let proxy = Proxy::with_args(servers, options, &[args, &["--metrics", &address]].concat());
    wait_for("metrics", || TcpStream::connect(&address).ok());
    // Who has looked whether the proxy listens was its first client.
    wait_for("that client to be counted", || {
        (value(&metrics(port), "connections_total", &[]) >= 1.0).then_some(())
    });
    (proxy, port)
}

/// What is answered to these bytes: the status, the head and the body.
fn exchange(port: u16, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request).expect("a write");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_string(), body.to_string())
}

fn get(port: u16, target: &str) -> (u16, String) {
    let (status, head, body) = exchange(port, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    (status, body)
}

fn metrics(port: u16) -> Vec<Sample> {
    let (status, body) = get(port, "/metrics");
    assert_eq!(status, 200);
    assert!(body.ends_with("# EOF\n"), "{body}");
    parse(&body).expect("metrics")
}

/// The sum of the samples of `name` that have these labels; there must be some.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let name = format!("tombolo_proxy_{name}");
    let fits = |sample: &&Sample| {
        sample.name == name && labels.iter().all(|(label, value)| sample.label(label) == *value)
    };
    let found: Vec<f64> = samples.iter().filter(fits).map(|sample| sample.value).collect();
    assert!(!found.is_empty(), "{name} {labels:?}");
    found.iter().sum()
}

#[test]
fn every_metric_is_there_and_moves() {
    let (redis, mut other) = (Redis::start(), Redis::start());
    let options =
        ["hash: murmur", "distribution: modula", "auto_eject_hosts: true", "server_failure_limit: 1"];
    let (proxy, port) = start(&[redis.port, other.port], &options, &["--threads", "2"]);
    let before = metrics(port);
    assert!(before.iter().all(|sample| sample.name.starts_with("tombolo_proxy_")));
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        (0..50).for_each(|index| assert_eq!(client.ask(&format!("SET key:{index} v")), simple("OK")));
        let keys: Vec<String> = (0..20).map(|index| format!("key:{index}")).collect();
        assert!(matches!(client.ask(&format!("MGET {}", keys.join(" "))), Value::Array(_)));
        assert!(matches!(client.ask("BLPOP nothing 0.01"), Value::Null | Value::Array(_)));
    }
    assert!(matches!(clients[0].ask("SUBSCRIBE news"), Value::Array(_)));
    let after = metrics(port);
    let pool = [("pool", "p")];
    let moved = |name, labels: &[(&str, &str)]| value(&after, name, labels) - value(&before, name, labels);
    assert_eq!(moved("server_requests_total", &pool), 208.0);
    assert_eq!(moved("server_responses_total", &pool), 208.0);
    assert!(moved("server_request_bytes_total", &pool) > 200.0 * 30.0);
    assert!(moved("server_response_bytes_total", &pool) >= 200.0 * 5.0);
    assert_eq!(moved("fragments_total", &pool), 8.0);
    assert_eq!(moved("request_duration_seconds_count", &pool), 208.0);
    assert!(moved("request_duration_seconds_sum", &pool) > 0.0);
    assert_eq!(moved("request_duration_seconds_bucket", &[("pool", "p"), ("le", "+Inf")]), 208.0);
    assert_eq!(moved("dedicated_connections", &pool), 1.0);
    assert_eq!(moved("connections_total", &[]), 4.0);
    assert!(value(&after, "clients", &pool) >= 4.0);
    assert_eq!(value(&after, "workers", &[]), 2.0);
    assert_eq!(value(&after, "build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(value(&after, "start_time_seconds", &[]) > 1.6e9);
    for server in [redis.port, other.port].map(|port| format!("127.0.0.1:{port}")) {
        assert_eq!(value(&after, "server_up", &[("server", &server)]), 1.0);
        assert!(value(&after, "server_connections", &[("server", &server)]) >= 2.0);
    }
    // Buckets are cumulative.
    let buckets = after.iter().filter(|sample| sample.name.ends_with("_duration_seconds_bucket"));
    let counts: Vec<f64> = buckets.map(|sample| sample.value).collect();
    assert!(counts.len() > 40 && counts.is_sorted(), "{counts:?}");

    // A server that dies.
    let dead = [("server", format!("127.0.0.1:{}", other.port))];
    let dead = [(dead[0].0, dead[0].1.as_str())];
    other.kill();
    clients.remove(0);
    wait_for("errors", || {
        let replies = (0..50).map(|index| clients[0].ask(&format!("GET key:{index}")));
        (replies.filter(|reply| matches!(reply, Value::Error(_))).count() == 0).then_some(())
    });
    let ill = wait_for("ejection", || {
        let ill = metrics(port);
        (value(&ill, "server_ejected", &dead) == 1.0).then_some(ill)
    });
    assert_eq!(value(&ill, "server_up", &dead), 0.0);
    assert!(value(&ill, "server_ejections_total", &pool) >= 1.0);
    let kinds =
        ["closed", "refused"].map(|kind| value(&ill, "server_failures_total", &[dead[0], ("kind", kind)]));
    assert!(kinds.iter().sum::<f64>() >= 1.0, "{kinds:?}");
    drop(clients);
    wait_for("the clients' end", || {
        (value(&metrics(port), "client_ends_total", &[("reason", "eof")]) >= 4.0).then_some(())
    });
}

#[test]
fn the_table_in_the_readme_has_every_metric_and_no_other() {
    let redis = Redis::start();
    let (_proxy, port) = start(&[redis.port], &[], &[]);
    let family = |sample: &Sample| {
        let name = sample.name.as_str();
        let suffixes = ["_bucket", "_sum", "_count"];
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_string()
    };
    let told: BTreeSet<String> = metrics(port).iter().map(family).collect();
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).expect("README");
    let words = readme.split('`').filter(|word| word.starts_with("tombolo_proxy_"));
    assert_eq!(told, words.map(str::to_string).collect());
}

#[test]
fn what_waits_is_told_while_a_server_is_frozen() {
    let redis = Redis::start();
    let (proxy, port) = start(&[redis.port], &[], &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k v"), simple("OK"));
    redis.process.signal("-STOP");
    client.send(&b"GET k\r\n".repeat(1000));
    wait_for("what waits", || {
        let now = metrics(port);
        let waiting = value(&now, "server_queued_requests", &[("state", "waiting")]);
        let held_up = value(&now, "paused_clients", &[]) == 1.0 && waiting > 100.0;
        (held_up && value(&now, "buffered_bytes", &[]) > 1000.0).then_some(())
    });
    assert_eq!(get(port, "/healthz").0, 200, "the proxy is well");
    redis.process.signal("-CONT");
    wait_for("the end of it", || (value(&metrics(port), "server_queued_requests", &[]) == 0.0).then_some(()));
    let slow = value(&metrics(port), "request_duration_seconds_bucket", &[("le", "+Inf")]);
    assert!(slow >= 257.0, "{slow}");
}

#[test]
fn health_statistics_and_refusals() {
    let redis = Redis::with(&["--requirepass", "hunter2secret"]);
    let (proxy, port) = start(&[redis.port], &["redis_auth: hunter2secret"], &[]);
    let mut client = proxy.client();
    assert_eq!(client.ask("AUTH hunter2secret"), simple("OK"));
    assert_eq!(client.ask("SET k hunter2value"), simple("OK"));
    for target in ["/healthz", "/readyz"] {
        assert_eq!(get(port, target), (200, "ok\n".to_string()));
    }
    let (status, stats) = get(port, "/stats");
    assert_eq!(status, 200);
    let document: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(document["service"], "tombolo-proxy");
    assert_eq!(document["p"][format!("127.0.0.1:{}", redis.port)]["requests"], 1);
    for target in ["/metrics", "/stats", "/healthz", "/readyz", "/hotkeys?seconds=1", "/"] {
        let (_, body) = get(port, target);
        assert!(!body.contains("hunter2"), "{target}: {body}");
    }
    assert_eq!(get(port, "/").0, 404);
    for bad in ["0", "61", "x", ""] {
        let (status, body) = get(port, &format!("/hotkeys?seconds={bad}"));
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("expected a number from 1 to 60"), "{body}");
    }
    assert_eq!(exchange(port, b"POST /metrics HTTP/1.1\r\n\r\n").0, 405);
    assert_eq!(exchange(port, b"PING\r\n\r\n").0, 400);
    // Whoever says nothing holds nobody up.
    let _silent: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a connection")).collect();
    assert_eq!(get(port, "/healthz").0, 200);
}

#[test]
fn health_is_told_whoever_else_asks_or_says_nothing() {
    let redis = Redis::start();
    let (_proxy, port) = start(&[redis.port], &[], &[]);
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream.write_all(bytes).expect("a write");
        stream
    };
    let well = || ["/healthz", "/readyz"].iter().all(|target| get(port, target).0 == 200);
    let silent: Vec<TcpStream> = (0..80).map(|_| send(b"GET /heal")).collect();
    assert!(well());
    drop(silent);
    let looking: Vec<TcpStream> =
        (0..40).map(|_| send(b"GET /hotkeys?seconds=60 HTTP/1.1\r\n\r\n")).collect();
    wait_for("them to look", || (get(port, "/hotkeys?seconds=1").0 != 200).then_some(()));
    assert!(well());
    // Who goes leaves the place to others.
    drop(looking);
    wait_for("a place", || (get(port, "/hotkeys?seconds=1").0 == 200).then_some(()));
}

#[test]
fn keys_that_are_asked_for_most_are_found() {
    let (redis, other) = (Redis::start(), Redis::start());
    for servers in [vec![redis.port], vec![redis.port, other.port]] {
        let (proxy, port) = start(&servers, &[], &["--threads", "2"]);
        let ask = move || get(port, "/hotkeys?seconds=2");
        let (asked, also) = (std::thread::spawn(ask), std::thread::spawn(ask));
        let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
        let mut round = 0;
        while !(asked.is_finished() && also.is_finished()) {
            for client in &mut clients {
                let mut batch = String::new();
                for place in 0..32 {
                    let rare = format!("GET rare:{round}:{place}\r\n");
                    batch.push_str(if place % 2 == 0 { "GET hot\r\n" } else { &rare });
                }
                client.send(batch.as_bytes());
            }
            for client in &mut clients {
                (0..32).for_each(|_| assert_eq!(client.reply(), Value::Null));
            }
            round += 1;
        }
        let (status, body) = asked.join().expect("an answer");
        // Who asks meanwhile gets an answer too.
        let (also, same) = also.join().expect("an answer");
        assert!(also == 200 && same.contains("\"key\":\"hot\""), "{same}");
        assert_eq!(status, 200, "{body}");
        let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let pool = &document["pools"][0];
        assert_eq!((pool["pool"].as_str(), pool["keys"][0]["key"].as_str()), (Some("p"), Some("hot")));
        let (hot, seen) =
            (pool["keys"][0]["count"].as_u64().unwrap_or(0), pool["seen"].as_u64().unwrap_or(0));
        // Half of them are; that it is the fourth or less has a chance of nothing.
        assert!(seen > 20 && hot * 4 > seen, "{hot} of {seen}");
        // Nobody looks any more.
        let (_, idle) = get(port, "/hotkeys?seconds=1");
        assert!(idle.contains("\"seen\":0"), "{idle}");
    }
}

#[test]
fn the_log_in_json_has_fields() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, log) = (dir.path().join("c.yml"), dir.path().join("log"));
    let (process, port, dead) = common::retry("tombolo-proxy", || {
        let (port, dead) = (free_port(), free_port());
        let text = common::pool_text("p", &format!("127.0.0.1:{port}"), &[dead], &[]);
        std::fs::write(&file, text).expect("a file");
        let mut command = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
        command.arg("-c").arg(&file).arg("-o").arg(&log).args(["--log-format", "json"]);
        let child = command.args(["-s", &free_port().to_string()]).spawn().expect("tombolo-proxy");
        listening(Process(child), port).map(|process| (process, port, dead))
    });
    assert!(matches!(Client::connect(port).ask("GET k"), Value::Error(_)));
    let lines: Vec<serde_json::Value> = wait_for("the line about the server", || {
        let text = std::fs::read_to_string(&log).ok()?;
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let lines: Vec<serde_json::Value> = lines.collect();
        lines.iter().any(|line| line["server"] == format!("127.0.0.1:{dead}")).then_some(lines)
    });
    let about = lines.iter().find(|line| !line["server"].is_null()).expect("just seen");
    assert_eq!((about["level"].as_str(), about["pool"].as_str()), (Some("warn"), Some("p")));
    assert!(about["message"].as_str().is_some_and(|text| text.contains("Connection refused")), "{about}");
    assert!(
        lines.iter().all(|line| line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z') && ts.len() == 24))
    );
    drop(process);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let redis = Redis::start();
    let (proxy, port) = start(&[redis.port], &[], &[]);
    // Its own listening address is free for it: nothing but the metrics are in the way.
    let text = std::fs::read_to_string(proxy.file()).expect("its configuration");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("c.yml");
    let moved = text
        .replace(&format!("127.0.0.1:{}\n", proxy.port), &format!("{}\n", dir.path().join("s").display()));
    std::fs::write(&file, moved).expect("a file");
    let mut command = common::proxy_command();
    let output =
        command.arg("-c").arg(&file).args(["--metrics", &port.to_string()]).output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains(&format!("metrics: can not listen on 127.0.0.1:{port}: ")), "{error}");
}

#[test]
fn slow_requests_are_told_over_http_and_in_a_talkative_log() {
    let redis = [(); 2].map(|()| Redis::start());
    for redis in &redis {
        assert_eq!(redis.client().ask("CONFIG SET requirepass hunter2"), simple("OK"));
    }
    let options = ["slowlog_log_slower_than: 0", "slowlog_max_len: 4", "redis_auth: hunter2"];
    let (proxy, port) = start(&redis.each_ref().map(|redis| redis.port), &options, &["--threads", "2"]);
    let slow = || {
        let (status, body) = get(port, "/slowlog");
        assert!(status == 200 && !body.contains("hunter2"), "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        body["pools"][0]["slowlog"].as_array().expect("a list").clone()
    };
    assert_eq!(slow().len(), 0);
    let mut client = proxy.client();
    assert_eq!(client.ask("AUTH hunter2"), simple("OK"));
    assert_eq!(client.ask("SET quiet 1"), simple("OK"));
    let entries = slow();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["arguments"], serde_json::json!(["SET", "quiet", "1"]));
    assert!(entries[0]["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")));
    assert!(entries[0]["timestamp"].as_u64().is_some_and(|seconds| seconds > 1_600_000_000));
    // At the default verbosity, no request has a line; one step more shows them.
    assert!(!proxy.log().contains("quiet"), "{}", proxy.log());
    proxy.process.signal("-TTIN");
    wait_for("a line", || {
        assert_eq!(client.ask("SET loud 1"), simple("OK"));
        proxy.log().contains("\"SET\" \"loud\" \"1\"").then_some(())
    });
    for (line, answer) in [("MULTI", "OK"), ("SET {x}transaction 1", "QUEUED")] {
        assert_eq!(client.ask(line), simple(answer));
    }
    assert!(matches!(client.ask("EXEC"), Value::Array(_)));
    wait_for("all of a transaction", || {
        let log = proxy.log();
        ["\"MULTI\"", "\"{x}transaction\"", "\"EXEC\""].iter().all(|line| log.contains(line)).then_some(())
    });
    assert_eq!((slow().len(), slow()[0]["arguments"][0].as_str()), (4, Some("EXEC")));
    assert!(!proxy.log().contains("hunter2"), "{}", proxy.log());
}
