//! TLS toward clients and toward servers, with real redis-servers and redis-cli.

mod certificates;
mod trust;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use crate::common::{Client, Proxy, Redis, bulk, free_port, request, retry, simple, tcp, wait_for};
use certificates::{Ca, Folder, Pair, shown};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use tombolo_resp::Value;

/// A redis-server that speaks TLS on `tls`, and plain on its own port, for the test.
struct TlsRedis {
    redis: Redis,
    tls: u16,
}

fn tls_redis(ca: &Ca<'_>, pair: &Pair, options: &[&str]) -> TlsRedis {
    let (ca, cert, key) = (shown(&ca.file), shown(&pair.cert), shown(&pair.key));
    let tls = free_port();
    let port = tls.to_string();
    let mut args = vec!["--tls-port", &port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert];
    args.extend(["--tls-key-file", &key]);
    args.extend(options);
    TlsRedis { redis: Redis::with(&args), tls }
}

/// The lines of a pool that speaks TLS to clients.
fn toward_clients(pair: &Pair) -> Vec<String> {
    vec![format!("tls_cert: {}", shown(&pair.cert)), format!("tls_key: {}", shown(&pair.key))]
}

fn start(servers: &[u16], lines: &[String]) -> Proxy {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Proxy::start(servers, &lines)
}

type TlsStream<S> = StreamOwned<ClientConnection, S>;

fn secure<S: Read + Write>(stream: S, config: &Arc<ClientConfig>) -> TlsStream<S> {
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    StreamOwned::new(ClientConnection::new(config.clone(), name).expect("a client"), stream)
}

fn connect(port: u16, config: &Arc<ClientConfig>) -> Client {
    Client::over(secure(tcp(port), config))
}

/// What a client gets that asks PING: the answer, or why there is none.
fn ping(port: u16, config: &Arc<ClientConfig>) -> Result<Vec<u8>, String> {
    let mut stream = secure(tcp(port), config);
    let mut answer = vec![0; 7];
    let outcome = stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer));
    outcome.map(|()| answer).map_err(|error| error.to_string())
}

#[test]
fn both_sides_small_and_large_and_many() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1", "localhost"]);
    let redis = tls_redis(&ca, &pair, &["--tls-auth-clients", "no"]);
    let mut lines = toward_clients(&pair);
    lines.push(format!("server_tls_ca: {}", shown(&ca.file)));
    let proxy = start(&[redis.tls], &lines);
    let (mut client, mut direct) = (connect(proxy.port, &ca.client(None)), redis.redis.client());
    assert_eq!(client.ask("SET k v"), simple("OK"));
    assert_eq!(direct.ask("GET k"), bulk("v"));
    // Both directions, more than any buffer on the way.
    let big: Vec<u8> = (0..5 << 20).map(|index| (index % 251) as u8).collect();
    for size in [1, 16_383, 16_384, 16_385, 65_536, 131_072, 1 << 20, big.len()] {
        let value = &big[..size];
        assert_eq!(client.ask_bytes(&[b"SET", b"big", value]), simple("OK"), "{size}");
        assert_eq!(client.ask("GET big"), Value::Bulk(value.to_vec()), "{size}");
    }
    for round in 0..20 {
        let pipeline: String = (0..500).map(|n| format!("SET k{n} {round}\r\nGET k{n}\r\n")).collect();
        client.send(pipeline.as_bytes());
        for _ in 0..500 {
            assert_eq!([client.reply(), client.reply()], [simple("OK"), bulk(&round.to_string())]);
        }
    }
    // On a connection of the client's own.
    client.send(b"MULTI\r\nINCR n\r\nEXEC\r\nGET n\r\n");
    let replies: Vec<Value> = (0..4).map(|_| client.reply()).collect();
    let queued = simple("QUEUED");
    assert_eq!(replies, [simple("OK"), queued, Value::Array(vec![Value::Integer(1)]), bulk("1")]);
    let mut other = connect(proxy.port, &ca.client(None));
    other.send(b"SUBSCRIBE c\r\n");
    other.reply();
    assert_eq!(client.ask("PUBLISH c hello"), Value::Integer(1));
    assert_eq!(other.reply().items()[2], bulk("hello"));
    // A pipeline behind which the client says no more still gets its replies.
    let mut last = secure(tcp(proxy.port), &ca.client(None));
    last.write_all(b"GET k\r\nGET n\r\n").expect("a write");
    last.conn.send_close_notify();
    last.flush().expect("a flush");
    let mut text = String::new();
    last.read_to_string(&mut text).expect("replies, and a proper end");
    assert_eq!(text, "$1\r\nv\r\n$1\r\n1\r\n");
}

#[test]
fn many_clients_at_a_time() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = tls_redis(&ca, &pair, &["--tls-auth-clients", "no"]);
    let mut lines = toward_clients(&pair);
    lines.extend([format!("server_tls_ca: {}", shown(&ca.file)), "server_connections: 3".to_string()]);
    let proxy = start(&[redis.tls], &lines);
    let (port, config) = (proxy.port, ca.client(None));
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let config = config.clone();
            thread::spawn(move || {
                let mut client = connect(port, &config);
                for round in 0..50 {
                    let value = format!("{number}:{round}:").repeat(1 + round * 20);
                    let set = request(&[b"SET", format!("k{number}").as_bytes(), value.as_bytes()]);
                    client.send(&[set, request(&[b"GET", format!("k{number}").as_bytes()])].concat());
                    assert_eq!([client.reply(), client.reply()], [simple("OK"), bulk(&value)]);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
}

#[test]
fn redis_cli_speaks_to_it() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let proxy = start(&[redis.port], &toward_clients(&pair));
    let cli = |args: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &proxy.port.to_string(), "--tls", "--cacert", &shown(&ca.file)]);
        let output = command.args(args).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(cli(&["SET", "k", "v"]), "OK\n");
    assert_eq!(cli(&["GET", "k"]), "v\n");
    assert_eq!(cli(&["-3", "HGETALL", "none"]), "\n");
}

#[test]
fn sessions_are_resumed() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let proxy = start(&[redis.port], &toward_clients(&pair));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = ca.client_of(&[version], None);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut stream = secure(tcp(proxy.port), &config);
            let mut answer = [0; 7];
            stream.write_all(b"PING\r\n").expect("a write");
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(&answer, b"+PONG\r\n");
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            kinds.push(stream.conn.handshake_kind());
        }
        let resumed = Some(HandshakeKind::Resumed);
        assert_eq!(kinds[1..], [resumed, resumed], "{:?}", version.version);
    }
}

/// Writes a byte at a time.
struct Dribble(TcpStream);

impl Read for Dribble {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn records_that_come_in_pieces() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let proxy = start(&[redis.port], &toward_clients(&pair));
    let mut client = Client::over(secure(Dribble(tcp(proxy.port)), &ca.client(None)));
    let value = "x".repeat(20_000);
    assert_eq!(client.ask_bytes(&[b"SET", b"k", value.as_bytes()]), simple("OK"));
    assert_eq!(client.ask("GET k"), bulk(&value));
}

fn peak_kb(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.process.pid())).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_client_that_does_not_read_is_felt_and_loses_nothing() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = tls_redis(&ca, &pair, &["--tls-auth-clients", "no"]);
    let mut lines = toward_clients(&pair);
    lines.push(format!("server_tls_ca: {}", shown(&ca.file)));
    let proxy = start(&[redis.tls], &lines);
    let mut slow = connect(proxy.port, &ca.client(None));
    slow.send(b"SUBSCRIBE c\r\n");
    slow.reply();
    let mut direct = redis.redis.client();
    // Between what its connection's buffers take and what Redis would disconnect it for: the
    // messages wait in the kernel and in Redis, not in the proxy.
    let payload = vec![b'x'; 100_000];
    for _ in 0..250 {
        assert_eq!(direct.ask_bytes(&[b"PUBLISH", b"c", &payload]), Value::Integer(1));
    }
    let peak = peak_kb(&proxy);
    assert!(peak < 35_000, "the proxy took {peak} kB");
    for _ in 0..250 {
        assert_eq!(slow.reply().items()[2], Value::Bulk(payload.clone()));
    }
    // Others were served meanwhile, and replies wait as well as messages.
    direct.ask_bytes(&[b"SET", b"k", &payload]);
    let mut late = connect(proxy.port, &ca.client(None));
    late.send("GET k\r\n".repeat(200).as_bytes());
    assert_eq!(connect(proxy.port, &ca.client(None)).ask("PING"), simple("PONG"));
    (0..200).for_each(|_| assert_eq!(late.reply(), Value::Bulk(payload.clone())));
}

#[test]
fn a_server_that_does_not_read_is_waited_for() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = tls_redis(&ca, &pair, &["--tls-auth-clients", "no"]);
    let proxy = start(&[redis.tls], &[format!("server_tls_ca: {}", shown(&ca.file))]);
    let mut client = proxy.client();
    assert_eq!(client.ask("PING"), simple("PONG"));
    assert_eq!(client.ask("GET none"), Value::Null);
    redis.redis.process.signal("-STOP");
    let values: Vec<Vec<u8>> = (0..40).map(|index| vec![b'a' + (index % 26) as u8; 300_000]).collect();
    let port = proxy.port;
    let writers: Vec<_> = values
        .chunks(10)
        .enumerate()
        .map(|(number, values)| {
            let values = values.to_vec();
            thread::spawn(move || {
                let mut client = Client::connect(port);
                for (index, value) in values.iter().enumerate() {
                    let key = format!("k{number}:{index}");
                    client.send(&request(&[b"SET", key.as_bytes(), value]));
                }
                values.iter().for_each(|_| assert_eq!(client.reply(), simple("OK")));
                for (index, value) in values.iter().enumerate() {
                    let stored = client.ask(&format!("GET k{number}:{index}"));
                    assert_eq!(stored, Value::Bulk(value.clone()));
                }
            })
        })
        .collect();
    // Until the proxy can not get rid of what it has.
    wait_for("a full connection", || (!writers[0].is_finished() && stuck(&proxy)).then_some(()));
    redis.redis.process.signal("-CONT");
    writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
}

/// Whether bytes of the proxy wait in the kernel for a server that takes none.
fn stuck(proxy: &Proxy) -> bool {
    let output = Command::new("ss").args(["-tnpH"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let pid = format!("pid={},", proxy.process.pid());
    let queued = |line: &str| line.split_whitespace().nth(2).and_then(|text| text.parse::<u64>().ok());
    text.lines().filter(|line| line.contains(&pid)).any(|line| queued(line) > Some(100_000))
}

#[test]
fn a_certificate_is_renewed_while_clients_are_connected() {
    let folder = Folder::new();
    let (ca, next) = (folder.ca("ca"), folder.ca("next"));
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let proxy = start(&[redis.port], &toward_clients(&pair));
    let mut client = connect(proxy.port, &ca.client(None));
    assert_eq!(client.ask("SET k v"), simple("OK"));
    let refused = ping(proxy.port, &next.client(None)).expect_err("another CA");
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // A certificate whose key is not there yet: the old one stays.
    let renewed = next.sign("renewed", &["127.0.0.1"]);
    let read = |path| std::fs::read_to_string(path).expect("a file");
    folder.write("pair.crt", &read(&renewed.cert));
    let complaint = "the private key in ";
    wait_for("the complaint", || {
        assert_eq!(ping(proxy.port, &ca.client(None)).as_deref(), Ok(b"+PONG\r\n".as_slice()));
        proxy.log().contains(complaint).then_some(())
    });
    folder.write("pair.key", &read(&renewed.key));
    wait_for("the new certificate", || ping(proxy.port, &next.client(None)).ok());
    assert!(ping(proxy.port, &ca.client(None)).is_err());
    assert_eq!(client.ask("GET k"), bulk("v"));
    assert_eq!(proxy.log().matches(complaint).count(), 1, "{}", proxy.log());
}

#[test]
fn a_client_that_says_nothing_does_not_stay() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let mut lines = toward_clients(&pair);
    lines.push("client_connections: 1".to_string());
    let proxy = retry("a proxy", || Some(start(&[redis.port], &lines)));
    let mut silent = tcp(proxy.port);
    // It counts, and whoever is one too many hears so in TLS.
    wait_for("the limit", || {
        let mut stream = secure(tcp(proxy.port), &ca.client(None));
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        assert_eq!(text, "-ERR max number of clients reached\r\n");
        Some(())
    });
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("the end");
    // Its connection ends before its place is free, and those that were refused may still count.
    wait_for("a free place", || {
        (ping(proxy.port, &ca.client(None)).as_deref() == Ok(b"+PONG\r\n")).then_some(())
    });
}

/// Google's Memorystore with AUTH and in-transit encryption: a CA of its own, several of them in a
/// file while one follows another, a certificate without the address as a name that counts, a
/// password; and clients that know nothing of all this.
#[test]
fn memorystore_for_plain_clients_without_a_password() {
    let folder = Folder::new();
    let (ca, next) = (folder.ca("ca"), folder.ca("next"));
    let list = folder.write("server-ca.pem", &format!("{}{}", next.pem, ca.pem));
    let pair = ca.sign("memorystore", &[]);
    let redis = tls_redis(&ca, &pair, &["--tls-auth-clients", "no", "--requirepass", "the AUTH string"]);
    let options = [
        "server_password: the AUTH string".to_string(),
        format!("server_tls_ca: {}", shown(&list)),
        "server_tls_verify: chain".to_string(),
    ];
    let proxy = start(&[redis.tls], &options);
    let mut client = proxy.client();
    assert_eq!(client.ask("SET k v"), simple("OK"));
    assert_eq!(client.ask("GET k"), bulk("v"));
    assert_eq!([client.ask("MULTI"), client.ask("INCR n")], [simple("OK"), simple("QUEUED")]);
    assert_eq!(client.ask("EXEC"), Value::Array(vec![Value::Integer(1)]));
    assert!(client.ask("INFO server").text().contains("redis_version"));
    let cli = Command::new("redis-cli").args(["-p", &proxy.port.to_string(), "GET", "k"]).output();
    assert_eq!(cli.expect("redis-cli").stdout, b"v\n");
    assert!(!proxy.log().contains("AUTH string"));
    // The file of the configuration can be read by everybody, which the log says.
    proxy.wait_for_log("everybody on this machine may read passwords in it");
}
