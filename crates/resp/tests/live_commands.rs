//! The table against a live server: `commands.txt` says what `COMMAND` says, and keys are found
//! where `COMMAND GETKEYS` finds them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tombolo_resp::{RequestParser, Step, Value, command, encode};

/// A redis-server on a unix socket, so that tests can not fight for ports. Killed when dropped.
struct Redis {
    child: Child,
    dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Redis {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let child = Command::new("setpriv")
            // Also when the test itself is killed.
            .args(["--pdeathsig", "KILL", "redis-server"])
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(dir.path().join("s"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        Redis { child, dir }
    }

    fn connect(&self) -> UnixStream {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match UnixStream::connect(self.dir.path().join("s")) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "redis-server does not answer: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(stream: &mut UnixStream, args: &[&[u8]]) -> Value {
    let mut out = Vec::new();
    encode::request(&mut out, args);
    stream.write_all(&out).expect("a write to redis-server");
    let mut input = Vec::new();
    let mut scanner = tombolo_resp::FrameScanner::default();
    let mut chunk = [0; 65536];
    loop {
        let read = stream.read(&mut chunk).expect("a read from redis-server");
        assert!(read > 0, "redis-server closed the connection");
        input.extend_from_slice(&chunk[..read]);
        if let Some(length) = scanner.advance(&input).expect("RESP") {
            assert_eq!(length, input.len());
            return Value::decode(&input).expect("a reply").0;
        }
    }
}

#[test]
fn the_file_says_what_the_server_says() {
    let redis = Redis::start();
    let reply = ask(&mut redis.connect(), &[b"COMMAND"]);
    let mut lines: Vec<String> = Vec::new();
    for command in reply.items() {
        lines.push(describe(command));
        lines.extend(command.items()[9].items().iter().map(describe));
    }
    compare("commands.txt", "name, arity, flags, keys", lines);
}

#[test]
fn access_control_knows_what_the_server_knows() {
    let redis = Redis::start();
    let mut stream = redis.connect();
    let mut lines: Vec<String> = Vec::new();
    for command in ask(&mut stream, &[b"COMMAND"]).items() {
        lines.push(describe_access(command));
        lines.extend(command.items()[9].items().iter().map(describe_access));
    }
    compare("access.txt", "name, categories, what is done with the first key and the others", lines);
    let categories: Vec<String> =
        ask(&mut stream, &[b"ACL", b"CAT"]).items().iter().map(Value::text).collect();
    assert_eq!(categories, command::access::CATEGORIES);
}

/// A command's categories and its access to keys as a line of the file.
fn describe_access(command: &Value) -> String {
    let [name, _, _, _, _, _, categories, _, specs, ..] = command.items() else {
        panic!("COMMAND has changed: {command:?}")
    };
    let categories: Vec<String> =
        categories.items().iter().map(|name| name.text().trim_start_matches('@').to_string()).collect();
    let categories = if categories.is_empty() { "-".to_string() } else { categories.join(",") };
    let keys: Vec<String> = specs.items().iter().map(key_access).collect();
    // Where keys are treated differently, it is always the first one that differs.
    let keys = match &keys[..] {
        [] => "-".to_string(),
        [first, rest @ ..] => {
            let last = rest.last().unwrap_or(first);
            // SORT says where it reads first.
            let differing = rest.iter().filter(|access| *access != last).any(|access| access != first);
            assert!(!differing, "{}: {keys:?}", name.text());
            if first == last { first.clone() } else { format!("{first},{last}") }
        }
    };
    format!("{} {categories} {keys}", name.text())
}

fn key_access(spec: &Value) -> String {
    let flags: Vec<String> = field(spec, "flags").items().iter().map(Value::text).collect();
    let has = |names: &[&str]| flags.iter().any(|flag| names.contains(&flag.as_str()));
    if has(&["not_key"]) {
        return "N".to_string();
    }
    match (has(&["access"]), has(&["insert", "update", "delete"])) {
        (true, true) => "RW",
        (true, false) => "R",
        (false, true) => "W",
        (false, false) => "-",
    }
    .to_string()
}

/// Compares a file with what it should be, or writes it.
fn compare(name: &str, fields: &str, mut lines: Vec<String>) {
    lines.sort();
    let text = format!("# Redis 7.0: {fields}. Written by tests/live_commands.rs.\n{}\n", lines.join("\n"));
    let path = format!("{}/src/command/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TOMBOLO_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the file is written");
    }
    let file = std::fs::read_to_string(&path).expect("the file");
    for (ours, live) in file.lines().zip(text.lines()) {
        assert_eq!(ours, live);
    }
    assert_eq!(file.lines().count(), text.lines().count());
}

/// A command of `COMMAND`'s answer as a line of the file.
fn describe(command: &Value) -> String {
    let [name, arity, flags, first, last, step, _, _, specs, ..] = command.items() else {
        panic!("COMMAND has changed: {command:?}")
    };
    let mut flags: Vec<String> = flags.items().iter().map(Value::text).collect();
    let movable = flags.iter().any(|flag| flag == "movablekeys");
    flags.sort();
    let flags = if flags.is_empty() { "-".to_string() } else { flags.join(",") };
    let keys = match (first.text().as_str(), movable) {
        ("0", false) => "-".to_string(),
        (first, false) => format!("{first}:{}:{}", last.text(), step.text()),
        _ => movable_keys(&name.text(), specs),
    };
    format!("{} {} {flags} {keys}", name.text(), arity.text())
}

fn movable_keys(name: &str, specs: &Value) -> String {
    match name {
        "migrate" => return "migrate".to_string(),
        // Redis itself calls SORT's STORE "unknown" in its specifications.
        "sort" => return "1:1:1,store@2".to_string(),
        "sort_ro" => return "1:1:1".to_string(),
        _ => {}
    }
    let mut keys: Vec<String> = Vec::new();
    for spec in specs.items() {
        let (begin, find) = (field(spec, "begin_search"), field(spec, "find_keys"));
        let (begin_spec, find_spec) = (field(&begin, "spec"), field(&find, "spec"));
        let index = field(&begin_spec, "index").text();
        keys.push(match (field(&begin, "type").text().as_str(), field(&find, "type").text().as_str()) {
            ("index", "range") => format!("{index}:{index}:{}", field(&find_spec, "keystep").text()),
            ("index", "keynum") => format!("count@{index}"),
            ("keyword", _) => match field(&begin_spec, "keyword").text().as_str() {
                // Redis searches from where the keyword can be at the earliest; options are ours
                // to skip, so we start where they start.
                "STREAMS" => "streams@1".to_string(),
                "STOREDIST" => continue,
                keyword => {
                    format!("{}@{}", keyword.to_lowercase(), field(&begin_spec, "startfrom").text())
                }
            },
            other => panic!("{name}: a key specification that nobody has seen: {other:?}"),
        });
    }
    keys.join(",")
}

/// A field of a map, which RESP2 writes as an array of names and values.
fn field(map: &Value, name: &str) -> Value {
    let mut items = map.items().chunks(2);
    items.find(|pair| pair[0].text() == name).map_or(Value::Null, |pair| pair[1].clone())
}

/// Requests whose keys the live server is asked for.
const REQUESTS: &[&str] = &[
    "GET k",
    "SET k v EX 10",
    "MGET a b c",
    "MSET a 1 b 2 c 3",
    "DEL a b",
    "BITOP AND dest a b c",
    "RENAME a b",
    "COPY a b",
    "SMOVE a b m",
    "LMOVE a b LEFT RIGHT",
    "EVAL script 2 a b arg",
    "EVALSHA sha 1 a",
    "EVAL_RO script 3 a b c d",
    "FCALL f 1 a b",
    "ZUNIONSTORE dest 2 a b WEIGHTS 1 2",
    "ZINTER 2 a b",
    "ZDIFF 1 a",
    "ZMPOP 2 a b MIN",
    "LMPOP 1 a LEFT",
    "SINTERCARD 2 a b LIMIT 1",
    "BLMPOP 0 2 a b LEFT",
    "BZMPOP 0 1 a MIN",
    "XREAD COUNT 2 STREAMS a b 0 0",
    "XREAD BLOCK 0 STREAMS a 0",
    "XREADGROUP GROUP g c COUNT 1 STREAMS a b > >",
    "XREADGROUP GROUP STREAMS BLOCK NOACK STREAMS a >",
    "SORT a BY nosort GET # STORE dest",
    "SORT a",
    "SORT a STORE dest BY store",
    "SORT_RO a LIMIT 0 1",
    "GEORADIUS a 1 2 3 m STORE dest",
    "GEORADIUS a 1 2 3 m STOREDIST dest",
    "GEORADIUSBYMEMBER a m 3 m STORE dest",
    "GEORADIUSBYMEMBER a m 3 m",
    "MIGRATE host 1 k 0 10",
    "OBJECT ENCODING k",
    "XINFO STREAM k",
    "XGROUP CREATE k g $",
    "MEMORY USAGE k",
    "BLPOP a b 0",
    "PFCOUNT a b",
    "PFMERGE d a b",
    "XADD k * f v",
    "OBJECT FREQ k",
    "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m",
    "EXISTS a b c",
    "TOUCH a",
    "WATCH a b",
];

#[test]
fn keys_are_where_the_server_finds_them() {
    let redis = Redis::start();
    let mut stream = redis.connect();
    for line in REQUESTS {
        let mut args: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYS"];
        args.extend(line.split(' ').map(str::as_bytes));
        let live: Vec<String> = ask(&mut stream, &args).items().iter().map(Value::text).collect();
        assert!(!live.is_empty(), "{line}: the server knows no keys");
        let ours = keys_of(line);
        assert_eq!(sorted(ours), sorted(live), "{line}");
    }
}

fn keys_of(line: &str) -> Vec<String> {
    let bytes = format!("{line}\r\n").into_bytes();
    let mut parser = RequestParser::default();
    assert_eq!(parser.advance(&bytes), Ok(Step::Complete(bytes.len())));
    let request = parser.request(&bytes);
    let command = command::lookup(request.name(), request.arg(1)).expect(line);
    let mut keys = Vec::new();
    command.keys(&request, |_, key| keys.push(String::from_utf8_lossy(key).into_owned())).expect(line);
    keys
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}
