//! SIGTERM and SIGINT: whoever has asked something gets the reply, whoever gets no reply has had
//! nothing done, and the exit status is 0.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::common::{self, Client, Proxy, Redis, bulk, mortal, wait_for};
use tombolo_resp::Value;

fn exit(proxy: &mut Proxy) -> ExitStatus {
    wait_for("the proxy's end", || proxy.process.0.try_wait().expect("wait"))
}

/// The start of the answer to whether new clients are welcome.
fn ready(port: u16) -> String {
    let mut stream = wait_for("metrics", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The replies of a connection until its end, of whatever kind that is.
fn increments(port: u16, pipeline: usize, replies: &AtomicU64) {
    let mut client = Client::over(Ending(TcpStream::connect(("127.0.0.1", port)).expect("a connection")));
    let request = "INCR n\r\n".repeat(pipeline);
    loop {
        let sent = client.stream.write_all(request.as_bytes());
        for _ in 0..pipeline {
            let Some(reply) = client.raw() else { return };
            assert!(reply.starts_with(b":"), "{}", String::from_utf8_lossy(&reply));
            replies.fetch_add(1, Ordering::Relaxed);
        }
        if sent.is_err() {
            return;
        }
    }
}

/// A stream for which a reset is an end: what is sent to a peer that has closed is answered so.
struct Ending(TcpStream);

impl std::io::Read for Ending {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buf) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(0),
            outcome => outcome,
        }
    }
}

impl Write for Ending {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn under_load_what_ran_was_answered_and_what_was_not_answered_did_not_run() {
    for (threads, signal) in [("1", "-TERM"), ("3", "-INT")] {
        let redis = Redis::start();
        let mut proxy =
            Proxy::with_args(&[redis.port], &[], &["--threads", threads, "--drain-timeout", "3600"]);
        let replies = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..12)
            .map(|index| {
                let (port, replies) = (proxy.port, Arc::clone(&replies));
                thread::spawn(move || increments(port, [1, 16, 300][index % 3], &replies))
            })
            .collect();
        wait_for("the load", || (replies.load(Ordering::Relaxed) > 5000).then_some(()));
        proxy.process.signal(signal);
        clients.into_iter().for_each(|client| client.join().expect("no error"));
        assert!(exit(&mut proxy).success());
        let replies = replies.load(Ordering::Relaxed).to_string();
        assert_eq!(redis.client().ask("GET n"), bulk(&replies));
        proxy.wait_for_log("every client has what it asked for");
    }
}

#[test]
fn requests_in_flight_and_requests_half_sent_are_waited_for() {
    let redis = Redis::start();
    let metrics = common::free_port();
    let address = format!("127.0.0.1:{metrics}");
    let args = ["--threads", "2", "--drain-timeout", "3600", "--metrics", &address];
    let mut proxy = Proxy::with_args(&[redis.port], &[], &args);
    assert_eq!(ready(metrics), "HTTP/1.1 200");
    let [mut asks, mut begins, mut idle, mut last] = [0; 4].map(|_| proxy.client());
    for client in [&mut asks, &mut begins, &mut idle, &mut last] {
        assert!(matches!(client.ask("INCR n"), Value::Integer(_)));
    }
    redis.process.signal("-STOP");
    asks.send(b"INCR n\r\n");
    begins.send(b"*2\r\n$4\r\nINCR\r\n$1\r\n");
    // What was sent before the signal is in flight, whether or not it was read.
    last.send(&b"INCR n\r\n".repeat(200));
    proxy.process.signal("-TERM");
    assert_eq!(idle.raw(), None, "nothing is owed");
    wait_for("the closed port", || TcpStream::connect(("127.0.0.1", proxy.port)).is_err().then_some(()));
    assert!(proxy.process.0.try_wait().expect("wait").is_none(), "it waits");
    assert_eq!(ready(metrics), "HTTP/1.1 503");
    redis.process.signal("-CONT");
    assert!(matches!(asks.reply(), Value::Integer(_)));
    assert_eq!(asks.raw(), None);
    assert!((0..200).all(|_| matches!(last.reply(), Value::Integer(_))));
    assert_eq!(last.raw(), None);
    begins.send(b"n\r\n");
    assert!(matches!(begins.reply(), Value::Integer(_)));
    assert_eq!(begins.raw(), None);
    assert!(exit(&mut proxy).success());
}

#[test]
fn clients_that_wait_for_ever_are_closed() {
    let redis = Redis::start();
    let mut proxy = Proxy::with_args(&[redis.port], &[], &["--drain-timeout", "3600"]);
    let [mut listens, mut blocks, mut watches, mut transacts] = [0; 4].map(|_| proxy.client());
    assert!(matches!(listens.ask("SUBSCRIBE news"), Value::Array(_)));
    blocks.send(b"BLPOP nothing 0\r\n");
    assert_eq!(watches.ask("MONITOR"), common::simple("OK"));
    assert_eq!(transacts.ask("MULTI"), common::simple("OK"));
    assert_eq!(transacts.ask("SET k v"), common::simple("QUEUED"));
    wait_for("the blocked client", || {
        let Value::Bulk(text) = redis.client().ask("INFO clients") else { panic!("no INFO") };
        String::from_utf8_lossy(&text).contains("blocked_clients:1\r\n").then_some(())
    });
    proxy.process.signal("-TERM");
    for client in [&mut listens, &mut blocks, &mut transacts] {
        assert_eq!(client.raw(), None);
    }
    while watches.raw().is_some() {}
    assert!(exit(&mut proxy).success());
    assert_eq!(redis.client().ask("EXISTS k"), Value::Integer(0));
}

/// Takes a second, and says so.
const SLOW: &[u8] =
    b"EVAL \"local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end \
local start = now() while now() < start + 1000000 do end redis.call('INCR', KEYS[1]) return 'done'\" 1 n\r\n";

#[test]
fn who_could_wait_for_ever_still_gets_the_reply() {
    for start in [
        "HELLO 3\r\nSUBSCRIBE news\r\n",
        "CLIENT REPLY SKIP\r\nGET a\r\nECHO a\r\nECHO b\r\n",
        "CLIENT REPLY OFF\r\nGET a\r\nCLIENT REPLY ON\r\nECHO a\r\n",
    ] {
        for signal in [true, false] {
            let redis = Redis::start();
            let mut proxy = Proxy::with_args(&[redis.port], &[], &["--drain-timeout", "3600"]);
            let stream = common::tcp(proxy.port);
            let mut client = Client::over(stream.try_clone().expect("a clone"));
            client.send(start.as_bytes());
            assert!(client.raw().is_some() && client.raw().is_some());
            client.send(SLOW);
            if signal {
                wait_for("the script", || {
                    let calls = common::tcp(redis.port);
                    calls.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("a timeout");
                    let mut calls = calls;
                    calls.write_all(b"PING\r\n").expect("a write");
                    calls.read(&mut [0; 8]).is_err().then_some(())
                });
                proxy.process.signal("-TERM");
            } else {
                stream.shutdown(std::net::Shutdown::Write).expect("an end");
            }
            assert_eq!((client.reply(), client.raw()), (bulk("done"), None), "{start}");
            assert_eq!(redis.client().ask("GET n"), bulk("1"));
            if signal {
                assert!(exit(&mut proxy).success());
            }
        }
    }
}

#[test]
fn a_second_signal_and_the_end_of_patience() {
    let redis = Redis::start();
    for (timeout, second) in [("3600", true), ("1", false)] {
        let mut proxy = Proxy::with_args(&[redis.port], &[], &["--drain-timeout", timeout]);
        let mut client = proxy.client();
        assert!(matches!(client.ask("INCR n"), Value::Integer(_)));
        redis.process.signal("-STOP");
        client.send(b"INCR n\r\n");
        proxy.process.signal("-TERM");
        if second {
            wait_for("the closed port", || {
                TcpStream::connect(("127.0.0.1", proxy.port)).is_err().then_some(())
            });
            assert!(proxy.process.0.try_wait().expect("wait").is_none(), "it waits");
            proxy.process.signal("-INT");
        }
        assert!(exit(&mut proxy).success());
        assert_eq!(client.raw(), None);
        let expected = if second { "another signal said so" } else { "1 clients still waited" };
        proxy.wait_for_log(expected);
        redis.process.signal("-CONT");
    }
}

#[test]
fn the_service_manager_hears_of_it_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    hears_of_it_all(UnixDatagram::bind(&path).expect("a socket"), path.as_os_str());
    let name = format!("tombolo-proxy-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("an abstract socket");
    hears_of_it_all(socket, format!("@{name}").as_ref());
}

fn hears_of_it_all(socket: UnixDatagram, path: &OsStr) {
    let redis = Redis::start();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("c.yml");
    socket.set_read_timeout(Some(common::PATIENCE)).expect("a timeout");
    let listen = format!("127.0.0.1:{}", common::free_port());
    std::fs::write(&file, common::pool_text("p", &listen, &[redis.port], &[])).expect("a file");
    let mut command = mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
    command.arg("-c").arg(&file).arg(format!("--stats-port={}", common::free_port()));
    command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "40000").env_remove("WATCHDOG_PID");
    let mut proxy = common::Process(command.spawn().expect("tombolo-proxy"));
    let next = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(next(), "READY=1\nSTATUS=serving; pools: 1, threads: 1\n");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1\n");
    }
    let other = || loop {
        let message = next();
        if message != "WATCHDOG=1\n" {
            return message;
        }
    };
    proxy.signal("-HUP");
    let reloading = other();
    let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("RELOADING").trim_end();
    assert!(at.parse::<u64>().is_ok(), "{reloading}");
    assert!(other().starts_with("READY=1\n"));
    proxy.signal("-TERM");
    assert!(other().starts_with("STOPPING=1\n"));
    assert!(wait_for("its end", || proxy.0.try_wait().expect("wait")).success());
}
