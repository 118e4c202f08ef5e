//! `tombolo-proxy top` against a proxy and real servers.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{self, Proxy, Redis, free_port, mortal, simple};
use tombolo_resp::Value;

fn top(args: &[&str]) -> Output {
    let mut command = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
    command.arg("top").args(args).output().expect("tombolo-proxy top")
}

fn start(servers: &[u16]) -> (Proxy, String) {
    let metrics = format!("127.0.0.1:{}", free_port());
    let options = ["slowlog_log_slower_than: 0"];
    let proxy = Proxy::with_args(servers, &options, &["--metrics", &metrics]);
    common::wait_for("metrics", || std::net::TcpStream::connect(&metrics).ok());
    (proxy, metrics)
}

#[test]
fn once_in_both_formats_under_load() {
    let redis = Redis::start();
    let (proxy, metrics) = start(&[redis.port]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = proxy.client();
            while !done.load(Ordering::Relaxed) {
                client.send(&b"GET hot\r\n".repeat(50));
                (0..50).for_each(|_| assert_eq!(client.reply(), Value::Null));
            }
        });
        let arguments = ["--metrics", &metrics, "--interval", "1", "--once"];
        let outputs = [top(&arguments), top(&[&arguments[..], &["--format", "json"]].concat())];
        done.store(true, Ordering::Relaxed);
        let [text, json] = outputs.map(|output| {
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("UTF-8")
        });
        for part in [
            &format!("tombolo-proxy {}  {metrics}  up ", env!("CARGO_PKG_VERSION")),
            "\npool p  ",
            "  0 errors/s\n",
            &format!("  127.0.0.1:{}  up ", redis.port),
            "  hot ",
            "100.0 %",
            "  SLOW  SERVER, REQUEST\n",
            &format!("  127.0.0.1:{}  GET hot\n", redis.port),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "no colors for a pipe");
        let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let pool = &document["pools"][0];
        assert!(pool["requests_per_second"].as_f64().is_some_and(|rate| rate > 10.0), "{json}");
        let [p50, p99] = ["p50_seconds", "p99_seconds"].map(|name| pool[name].as_f64().expect(name));
        assert!(p50 > 0.0 && p50 <= p99, "{json}");
        assert_eq!(pool["slow"][0]["arguments"], serde_json::json!(["GET", "hot"]));
        assert_eq!(
            (&pool["servers"][0]["state"], &pool["hot_keys"][0]["key"]),
            (&"up".into(), &"hot".into())
        );
    });
}

#[test]
fn a_server_that_is_down_shows_and_so_does_a_proxy_that_is_not_there() {
    let (mut redis, nobody) = (Redis::start(), free_port());
    let (proxy, metrics) = start(&[redis.port]);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k v"), simple("OK"));
    redis.kill();
    common::wait_for("an error", || matches!(client.ask("GET k"), Value::Error(_)).then_some(()));
    let output = top(&["--metrics", &metrics, "--interval", "1", "--once"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(" down ") && text.contains("closed "), "{text}");

    for (address, expected) in [
        (format!("127.0.0.1:{nobody}"), "is a tombolo-proxy with --metrics there?"),
        (format!("127.0.0.1:{}", proxy.port), "this is no answer in HTTP"),
    ] {
        let output = top(&["--metrics", &address, "--once"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.starts_with(&format!("tombolo-proxy top: {address}: ")) && error.contains(expected),
            "{error}"
        );
    }
    assert_eq!(top(&["--metrics", "nonsense"]).status.code(), Some(2));
    let help = top(&["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--interval"));
}

#[test]
fn a_proxy_that_says_nothing_is_told_as_that() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let output = top(&["--metrics", &address, "--once"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, format!("tombolo-proxy top: {address}: no answer within 5 s\n"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let redis = Redis::start();
    let (_proxy, metrics) = start(&[redis.port]);
    for (signal, status) in [("-TERM", 143), ("-HUP", 129)] {
        // `script` gives it a terminal, and its exit status.
        let top = format!("exec {} top --metrics {metrics}", env!("CARGO_BIN_EXE_tombolo-proxy"));
        let mut command = mortal("script");
        command.args(["-q", "-e", "-c", &top, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut terminal = common::Process(command.spawn().expect("script"));
        let mut stdout = terminal.0.stdout.take().expect("piped");
        let (mut seen, mut chunk) = (String::new(), [0; 4096]);
        let mut read_until = |part: &str| {
            while !seen.contains(part) {
                let count = stdout.read(&mut chunk).expect("a read");
                assert!(count > 0, "{part}: {seen:?}");
                seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        };
        read_until("\u{1b}[?1049h");
        let children = format!("/proc/{0}/task/{0}/children", terminal.pid());
        let child = std::fs::read_to_string(children).expect("the child");
        let killed = Command::new("kill").args([signal, child.trim()]).status().expect("kill");
        assert!(killed.success());
        read_until("\u{1b}[?1049l");
        assert_eq!(terminal.0.wait().expect("the end").code(), Some(status), "{signal}");
    }
}
