//! A proxy with few descriptors (RLIMIT_NOFILE): clients can not take those that it needs itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::common::{
    Client, PATIENCE, Process, Redis, error, free_port, listening, mortal, pool_text, retry, simple, wait_for,
};
use tombolo_resp::Value;

struct Short {
    process: Process,
    port: u16,
    metrics: u16,
    dir: tempfile::TempDir,
}

impl Short {
    fn start(servers: &[u16], limit: usize) -> Short {
        retry("tombolo-proxy", || {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let (port, metrics) = (free_port(), free_port());
            let file = dir.path().join("c.yml");
            std::fs::write(&file, text(port, servers, &[])).expect("a file");
            let mut command = mortal("prlimit");
            command.arg(format!("--nofile={limit}:{limit}")).arg(env!("CARGO_BIN_EXE_tombolo-proxy"));
            command.arg("-c").arg(&file).arg("-o").arg(dir.path().join("log"));
            command.args(["-s", &free_port().to_string(), "--metrics", &metrics.to_string()]);
            let child = command.spawn().expect("prlimit");
            listening(Process(child), port).map(|process| Short { process, port, metrics, dir })
        })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("the log")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("c.yml")
    }

    /// Connects until a client is refused; those that are served.
    fn fill(&self) -> Vec<Client> {
        let mut served = Vec::new();
        loop {
            let mut client = Client::connect(self.port);
            match client.ask("PING") {
                Value::Simple(_) => served.push(client),
                refused => {
                    assert_eq!(refused, error("ERR max number of clients reached"));
                    assert_eq!(client.raw(), None);
                    return served;
                }
            }
            assert!(served.len() < 1000, "nobody is refused");
        }
    }

    fn health(&self) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").expect("a write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

fn text(port: u16, servers: &[u16], options: &[&str]) -> String {
    pool_text("p", &format!("127.0.0.1:{port}"), servers, options)
}

#[test]
fn clients_do_not_get_the_last_descriptors() {
    let redis = Redis::start();
    let proxy = Short::start(&[redis.port], 160);
    let mut served = proxy.fill();
    assert!(served.len() > 40, "{}", served.len());
    // However many come: they are refused one by one, and the log hears of it once.
    let crowd: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(("127.0.0.1", proxy.port)).expect("a connection")).collect();
    for mut stream in crowd {
        let mut refusal = String::new();
        stream.read_to_string(&mut refusal).expect("a refusal");
        assert_eq!(refusal, "-ERR max number of clients reached\r\n");
    }
    let said = || proxy.log().matches("pool 'p': clients are refused: ").count();
    wait_for("the log", || (said() > 0).then_some(()));
    assert_eq!(said(), 1, "{}", proxy.log());
    // The connection to the server is lost, and made anew.
    assert_eq!(served[0].ask("SET k v"), simple("OK"));
    assert!(matches!(redis.client().ask("CLIENT KILL TYPE normal SKIPME yes"), Value::Integer(1..)));
    wait_for("service", || (served[0].ask("SET k v") == simple("OK")).then_some(()));
    // Some can have connections of their own, and the others hear why not.
    let before = served.len();
    let mut last = served.pop().expect("a client");
    let subscribed = served.iter_mut().map(|client| client.ask("SUBSCRIBE news"));
    let errors: Vec<Value> = subscribed.filter(|reply| matches!(reply, Value::Error(_))).collect();
    assert!(!errors.is_empty() && errors.len() < before - 2, "{errors:?}");
    assert!(errors.iter().all(|error| error.text().contains("no descriptor is left")), "{errors:?}");
    assert!(proxy.health().starts_with("HTTP/1.1 200 "), "{}", proxy.health());
    assert!(matches!(redis.client().ask("CLIENT KILL TYPE normal SKIPME yes"), Value::Integer(1..)));
    wait_for("service", || (last.ask("SET k v") == simple("OK")).then_some(()));
    // The configuration is read, and more is kept back for what it says.
    std::fs::write(proxy.file(), text(proxy.port, &[redis.port], &["server_connections: 16"]))
        .expect("a file");
    proxy.process.signal("-HUP");
    wait_for("the reload", || proxy.log().contains("the configuration was read again").then_some(()));
    drop((served, last));
    wait_for("room", || (Client::connect(proxy.port).ask("PING") == simple("PONG")).then_some(()));
    wait_for("fewer clients", || (10..before - 20).contains(&proxy.fill().len()).then_some(()));
}
