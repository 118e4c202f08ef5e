//! What an operator sees: statistics, signals, the background, and servers that are left out.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::common::{
    self, Client, Process, Redis, bulk, error, free_port, listening, mortal, pool_text, proxy_command, retry,
    simple, wait_for,
};
use tombolo_resp::Value;

/// The document that a statistics port gives, without the values.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut value = false;
    for part in text.split_inclusive([':', ',', '{', '}']) {
        if value && !part.contains('{') {
            out.push(part.chars().last().unwrap_or_default());
        } else {
            out.push_str(part);
        }
        value = part.ends_with("\":");
    }
    out.replace([' ', '\n'], "")
}

fn stats(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// The number of a counter after `place`, which names a pool or a server.
fn counter(text: &str, place: &str, name: &str) -> u64 {
    let text = &text[text.find(&format!("\"{place}\": {{")).expect(place)..];
    let text = &text[text.find(&format!("\"{name}\":")).expect(name) + name.len() + 3..];
    text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

struct Running {
    process: Process,
    port: u16,
    stats: u16,
    dir: tempfile::TempDir,
}

/// `program` on a pool `p` with statistics every few milliseconds.
fn start(program: &str, servers: &[u16], options: &[&str]) -> Running {
    retry(program, || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (port, stats) = (free_port(), free_port());
        let file = dir.path().join("nutcracker.yml");
        std::fs::write(&file, pool_text("p", &format!("127.0.0.1:{port}"), servers, options))
            .expect("a file");
        let mut command = match program {
            "tombolo-proxy" => mortal(env!("CARGO_BIN_EXE_tombolo-proxy")),
            other => mortal(other),
        };
        command.arg("-c").arg(&file).arg("-o").arg(dir.path().join("log"));
        command.args(["-s", &stats.to_string(), "-a", "127.0.0.1", "-i", "20"]);
        let child = command.spawn().expect(program);
        listening(Process(child), port).map(|process| Running { process, port, stats, dir })
    })
}

#[test]
fn statistics_have_twemproxys_shape_and_count() {
    let (redis, other) = (Redis::start(), Redis::start());
    let servers = [redis.port, other.port];
    let ours = start("tombolo-proxy", &servers, &["hash: murmur", "distribution: modula"]);
    let theirs = start("nutcracker", &servers, &["hash: murmur", "distribution: modula"]);
    let both = [ours.stats, theirs.stats].map(|port| wait_for("statistics", || stats(port)));
    assert_eq!(shape(&both[0]), shape(&both[1]), "{}\n{}", both[0], both[1]);

    let mut client = Client::connect(ours.port);
    (0..100).for_each(|index| assert_eq!(client.ask(&format!("SET key:{index} v")), simple("OK")));
    assert!(matches!(
        client.ask(&format!(
            "MGET {}",
            (0..20).map(|index| format!("key:{index}")).collect::<Vec<_>>().join(" ")
        )),
        Value::Array(_)
    ));
    let text = wait_for("a fresh document", || {
        stats(ours.stats).filter(|text| counter(text, "p", "fragments") == 2)
    });
    let names = servers.map(|port| format!("127.0.0.1:{port}"));
    let sum = |name| names.iter().map(|server| counter(&text, server, name)).sum::<u64>();
    assert_eq!((sum("requests"), sum("responses"), sum("server_connections")), (102, 102, 2));
    let bytes: usize =
        (0..100).map(|index| common::request(&[b"SET", format!("key:{index}").as_bytes(), b"v"]).len()).sum();
    assert!(sum("request_bytes") > bytes as u64 && sum("response_bytes") > 500);
    assert_eq!((sum("in_queue"), sum("out_queue"), sum("server_err")), (0, 0, 0));
    assert_eq!(counter(&text, "p", "client_connections"), 1);
    drop(client);
    wait_for("the client's end", || stats(ours.stats).filter(|text| counter(text, "p", "client_eof") >= 2));
    // What waits is counted, too.
    redis.process.signal("-STOP");
    let mut client = Client::connect(ours.port);
    (0..50).for_each(|index| client.send(format!("GET key:{index}\r\n").as_bytes()));
    wait_for("waiting requests", || {
        stats(ours.stats).filter(|text| counter(text, &names[0], "out_queue") > 5)
    });
}

#[test]
fn a_server_that_fails_is_left_out_and_comes_back() {
    let (live, mut dead) = (Redis::start(), Redis::start());
    let options = [
        "hash: murmur",
        "distribution: modula",
        "auto_eject_hosts: true",
        "server_failure_limit: 2",
        "server_retry_timeout: 1500",
    ];
    let ours = start("tombolo-proxy", &[live.port, dead.port], &options);
    let mut client = Client::connect(ours.port);
    (0..20).for_each(|index| assert_eq!(client.ask(&format!("SET key:{index} v")), simple("OK")));
    dead.kill();
    // Two failures are answered as such; then the keys are the other server's.
    let mut failures = 0;
    wait_for("the ejection", || {
        let replies: Vec<Value> = (0..20).map(|index| client.ask(&format!("GET key:{index}"))).collect();
        let failed = replies.iter().filter(|reply| matches!(reply, Value::Error(_))).count();
        failures += failed;
        assert!(replies.iter().all(|reply| match reply {
            Value::Error(text) => text.starts_with("ERR Connection re"),
            other => [Value::Null, bulk("v")].contains(other),
        }));
        (failed == 0 && failures > 0).then_some(())
    });
    assert!((1..=2).contains(&failures), "{failures}");
    assert_eq!(client.ask("MSET key:1 w key:2 w key:3 w key:4 w"), simple("OK"));
    let text =
        wait_for("statistics", || stats(ours.stats).filter(|text| counter(text, "p", "server_ejects") == 1));
    assert!(counter(&text, &format!("127.0.0.1:{}", dead.port), "server_ejected_at") > 1_600_000_000_000_000);
    dead.restart();
    wait_for("its return", || {
        (0..20).for_each(|index| assert_eq!(client.ask(&format!("SET key:{index} x")), simple("OK")));
        (dead.client().ask("DBSIZE") != Value::Integer(0)).then_some(())
    });
}

#[test]
fn when_all_servers_are_left_out_requests_are_refused_as_twemproxy_does() {
    let options = [
        "timeout: 400",
        "auto_eject_hosts: true",
        "server_failure_limit: 1",
        "server_retry_timeout: 60000",
        "distribution: modula",
    ];
    for program in ["nutcracker", "tombolo-proxy"] {
        // They take connections, and never answer.
        let silent = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let ports = silent.each_ref().map(|socket| socket.local_addr().expect("an address").port());
        let proxy = start(program, &ports, &options);
        let mut client = Client::connect(proxy.port);
        let replies = (0..8).map(|index| client.ask(&format!("GET w{}", index * 7919)));
        let (slow, refused) = (error("ERR Connection timed out"), error("ERR Connection refused"));
        let mut expected = vec![refused; 8];
        expected[..2].fill(slow);
        assert_eq!(replies.collect::<Vec<_>>(), expected, "{program}");
        wait_for("statistics", || {
            let text = stats(proxy.stats)?;
            let counted = ["server_ejects", "forward_error"].map(|name| counter(&text, "p", name));
            (counted == [2, 8]).then_some(())
        });
    }
}

#[test]
fn keys_of_a_server_that_is_left_out_go_where_twemproxy_sends_them() {
    for distribution in ["ketama", "modula"] {
        let live: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
        let (dead, port) = (free_port(), |index: usize| live[index].port);
        let servers = format!(
            "servers:\n   - 127.0.0.1:{}:1 a\n   - 127.0.0.1:{}:3 b\n   - 127.0.0.1:{dead}:2 c\n   - 127.0.0.1:{}:1 d",
            port(0),
            port(1),
            port(2)
        );
        let distribution = format!("distribution: {distribution}");
        let options = [
            &distribution,
            "auto_eject_hosts: true",
            "server_failure_limit: 1",
            "server_retry_timeout: 60000",
            &servers,
        ];
        for (program, mark) in [("nutcracker", "1"), ("tombolo-proxy", "2")] {
            let proxy = start(program, &[], &options);
            let mut client = Client::connect(proxy.port);
            wait_for("the ejection", || {
                let failed =
                    (0..50).filter(|index| client.ask(&format!("GET probe:{index}")) != Value::Null).count();
                (failed == 0).then_some(())
            });
            for index in 0..500 {
                client.ask(&format!("APPEND key:{index} {mark}"));
            }
        }
        // Both proxies have written each key, and on the same server.
        let counts = live.iter().map(|redis| {
            let mut client = redis.client();
            (0..500).filter(|index| client.ask(&format!("GET key:{index}")) == bulk("12")).count()
        });
        assert_eq!(counts.sum::<usize>(), 500, "{distribution}");
    }
}

/// The permissions of the socket, the pid file and the log of `program` in the background, with a
/// umask of 022.
fn modes(program: &str, listen: &str) -> [u32; 3] {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [file, socket, pid_file, log] = ["c.yml", "s", "pid", "log"].map(|name| dir.path().join(name));
    let listen = format!("{}/{listen}", dir.path().display());
    std::fs::write(&file, pool_text("p", &listen, &[free_port()], &[])).expect("a file");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 022; exec \"$@\"", "sh", program, "-d"]);
    command.arg("-c").arg(&file).arg("-p").arg(&pid_file).arg("-o").arg(&log);
    let status = command.args(["-s", &free_port().to_string()]).status().expect("sh");
    assert!(status.success(), "{program}: {status}");
    let pid =
        wait_for("the pid file", || std::fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok());
    wait_for("the socket", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let modes = [&socket, &pid_file, &log]
        .map(|path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777);
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.expect("kill").success());
    modes
}

#[test]
fn in_the_background_other_users_may_use_a_unix_socket_and_nothing_else() {
    for (listen, mode) in [("s", 0o777), ("s 0600", 0o600)] {
        assert_eq!(modes("nutcracker", listen)[0], mode, "{listen}");
        assert_eq!(modes(env!("CARGO_BIN_EXE_tombolo-proxy"), listen), [mode, 0o644, 0o644], "{listen}");
    }
}

#[test]
fn in_the_background_with_a_pid_file_and_a_log() {
    let redis = Redis::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, pid_file, log) = (dir.path().join("c.yml"), dir.path().join("pid"), dir.path().join("log"));
    let port = retry("tombolo-proxy", || {
        let port = free_port();
        std::fs::write(&file, pool_text("p", &format!("127.0.0.1:{port}"), &[redis.port], &[]))
            .expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tombolo-proxy"));
        command.arg("-d").arg("-c").arg(&file).arg("-p").arg(&pid_file).arg("-o").arg(&log);
        let status =
            command.args(["-s", &free_port().to_string(), "-v", "6"]).status().expect("tombolo-proxy");
        assert!(status.success(), "it returns at once");
        std::thread::sleep(Duration::from_millis(50));
        let up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        (0..100)
            .any(|_| {
                up() || {
                    std::thread::sleep(Duration::from_millis(20));
                    false
                }
            })
            .then_some(port)
    });
    let pid =
        wait_for("the pid file", || std::fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok());
    assert_eq!(Client::connect(port).ask("SET k v"), simple("OK"));
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
        assert!(status.expect("kill").success());
    };
    // A rotated log is opened anew.
    std::fs::rename(&log, dir.path().join("old")).expect("a rotation");
    signal("-HUP");
    wait_for("the new log", || log.exists().then_some(()));
    ["-TTIN", "-TTOU", "-USR1", "-USR2"].into_iter().for_each(signal);
    assert_eq!(Client::connect(port).ask("GET k"), bulk("v"));
    signal("-TERM");
    wait_for("its end", || (!pid_file.exists()).then_some(()));
    wait_for("the log", || std::fs::read_to_string(&log).ok()?.contains("a signal said so").then_some(()));
}

#[test]
fn what_ends_a_start_in_the_background_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (file, log, pid_file) = (dir.path().join("c.yml"), dir.path().join("log"), dir.path().join("pid"));
    let start = |port: u16, pid_file: &Path| {
        std::fs::write(&file, pool_text("p", &format!("127.0.0.1:{port}"), &[1], &[])).expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tombolo-proxy"));
        command.arg("-d").arg("-c").arg(&file).arg("-o").arg(&log).arg("-p").arg(pid_file);
        let output = command.args(["-s", &free_port().to_string()]).output().expect("tombolo-proxy");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, stderr) = start(free_port(), &dir.path().join("missing/pid"));
    assert_eq!(status, Some(1));
    assert!(stderr.contains("missing/pid can not be written: No such file"), "{stderr}");
    // What is only found in the background is in the log, and the pid file is nobody's.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (status, _) = start(taken.local_addr().expect("an address").port(), &pid_file);
    assert_eq!(status, Some(0));
    wait_for("the log", || std::fs::read_to_string(&log).ok()?.contains("can not listen on").then_some(()));
    assert!(!pid_file.exists());
}

#[test]
fn what_statistics_count_and_an_address_in_use() {
    let output = proxy_command().arg("-D").output().expect("tombolo-proxy");
    let described = String::from_utf8_lossy(&output.stdout).into_owned();
    let theirs = std::process::Command::new("nutcracker").arg("-D").output().expect("nutcracker");
    let theirs =
        String::from_utf8_lossy(&theirs.stderr).into_owned() + &String::from_utf8_lossy(&theirs.stdout);
    for line in theirs.lines().filter(|line| line.starts_with("  ")) {
        assert!(described.contains(line), "{line}\n{described}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let running = start("tombolo-proxy", &[free_port()], &[]);
    let file = running.dir.path().join("other.yml");
    std::fs::write(&file, pool_text("p", &format!("127.0.0.1:{}", free_port()), &[1], &[])).expect("a file");
    let mut command = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
    let port = taken.local_addr().expect("an address").port().to_string();
    let log = running.dir.path().join("other-log");
    command.arg("-c").arg(&file).args(["-s", &port]).arg("-o").arg(&log);
    let output = command.output().expect("tombolo-proxy");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = std::fs::read_to_string(log).expect("the log");
    for text in [stderr, log] {
        assert!(text.contains(&format!("statistics: can not listen on 127.0.0.1:{port}: ")), "{text}");
    }
    assert!(!running.process.pid().is_empty());
}
