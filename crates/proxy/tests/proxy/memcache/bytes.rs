//! Byte for byte: memcached itself, nutcracker before one, and the proxy before one.

use crate::common::Proxy;
use crate::memcache::server::{Memcached, Nutcracker, exchange};

/// What all three answer alike. Numbers keep their width: whether memcached makes a value shorter or pads it
/// is a matter of chance.
const ALIKE: &[&str] = &[
    "set a 0 0 1\r\n1\r\nset b 7 0 2\r\n22\r\nset c 5 0 0\r\n\r\n",
    "get a\r\nget a b c missing a\r\ngets a b\r\n  get  a  b \r\nget missing\r\n",
    "add a 0 0 1\r\nx\r\nreplace missing 0 0 1\r\nx\r\nappend a 0 0 1\r\n2\r\nprepend a 0 0 1\r\n0\r\nget a\r\n",
    "gets a\r\ncas a 0 0 1 1\r\nx\r\ncas missing 0 0 1 1\r\nx\r\n",
    "set n 0 0 1\r\n5\r\nincr n 5\r\ndecr n 3\r\ndecr n 100\r\nincr missing 1\r\nincr n -1\r\n",
    "incr a 99999999999999999999999\r\nset t 0 0 1\r\nx\r\nincr t 1\r\n",
    "touch a 0\r\ntouch missing 0\r\ntouch t -1\r\nget t\r\n",
    "set q 0 0 1 noreply\r\n1\r\nincr q 1 noreply\r\nget q\r\ndelete q noreply\r\nget q\r\ntouch q 0 noreply\r\nget a\r\n",
    "incr t 1 noreply\r\ncas a 0 0 1 1 noreply\r\nx\r\nadd a 0 0 1 noreply\r\nx\r\ndelete missing noreply\r\nget a\r\n",
    "set q 0 0 1 noreply \r\n1\r\nget q\r\n",
    "delete b\r\ndelete b\r\nget a noreply\r\n",
    "version\r\nget \x01\t\x7f\r\nquit\r\nget a\r\n",
    "set f 4294967295 0 1\r\n1\r\nget f\r\n",
    "set f 4294967297 0 1\r\n1\r\nget f\r\nset f 18446744073709551615 0 1\r\n1\r\nget f\r\n",
    "quit\r\n",
];

/// What the proxy answers as memcached does, where nutcracker closes the connection.
const HELPFUL: &[&str] = &[
    "GET a\r\nget\r\nget \r\nnonsense\r\n\r\nget a\r\n",
    "set a 0 0 x\r\nset a 0 0\r\nset a\r\nset a 0 -1 1\r\n1\r\nget a\r\nset a 0 0 1\n1\r\nget a\n",
    "set a 0 0 1 xyz\r\n1\r\nincr a x\r\nincr a\r\nincr a 1 2\r\ntouch a\r\ntouch a x\r\ntouch a 0 1\r\n",
    "delete b 0\r\ndelete b 5\r\ndelete b 0 noreply\r\ndelete\r\ndelete b n\r\ndelete b 0 1 2\r\n",
    "version x\r\nverbosity 0\r\nverbosity\r\nverbosity x\r\nverbosity 0 noreply\r\nversion\r\n",
    "set a 0 0 x noreply\r\nincr a x noreply\r\nget a\r\n",
    "set m 3 0 2\r\nxx\r\nmg m v\r\nmg m\r\nmg missing v\r\nmg m k f s v O123\r\nmn\r\nmn x\r\n",
    "mg m q v\r\nmg missing q v\r\nmg m q\r\nmn\r\n",
    "ms m 2\r\nyy\r\nms m 2 q\r\nzz\r\nms m 2 ME\r\nzz\r\nms m 2 ME q\r\nzz\r\nms m x\r\nms m\r\nms m S2\r\nmn\r\nget m\r\n",
    "ms k 1 T\r\n1\r\nms k 1 k k\r\n1\r\nms k 1 7\r\n1\r\nmn\r\n",
    "md m q\r\nmd m q\r\nmd m\r\nmn\r\n",
    "set i 0 0 1\r\n1\r\nma i\r\nma i v\r\nma i D5 q\r\nma i v q\r\nma missing\r\nma missing q\r\nma new N0 J5 v\r\nmn\r\n",
    "mg Zm9v b\r\nset foo 0 0 1\r\n1\r\nmg Zm9v b v k\r\nmg !!! b\r\nmg foo v\r\nme missing\r\n",
    "gat 0 a foo missing i\r\ngats 0 foo\r\ngat x a\r\ngat a\r\ngat\r\n",
    "flush_all x\r\nflush_all\r\nget a\r\nset a 0 0 1\r\n1\r\nflush_all 0 noreply\r\nget a\r\n",
];

/// What the proxy answers otherwise than memcached 1.6.18, on purpose.
const OTHERWISE: &[(&str, &str)] = &[
    // What is wrong with a line does not make a command of its data, nor of what is too much of it.
    ("set a -1 0 5\r\nget b\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n"),
    ("set a 0 0 1\r\n12\r\nmn\r\n", "CLIENT_ERROR bad data chunk\r\nMN\r\n"),
    ("cas a 0 0 2\r\nmn\r\nmn\r\n", "ERROR\r\nMN\r\n"),
    (
        "set a\0b 0 0 1\r\n1\r\nget a\rb\r\nmn\r\n",
        "CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\nMN\r\n",
    ),
    (
        "ms a 1 b c d e f g h i j k l m n o p r s t\r\n1\r\nmn\r\n",
        "CLIENT_ERROR options flags are too long\r\nMN\r\n",
    ),
    // Nobody reads an answer to these.
    ("set a 0 0 1 noreply\r\n12\r\nmn\r\n", "MN\r\n"),
    (
        "stats\r\nmn\r\n",
        "CLIENT_ERROR tombolo-proxy does not support 'stats': it is about one server; ask the server itself\r\nMN\r\n",
    ),
    (
        "shutdown\r\nwatch\r\nquit\r\n",
        "CLIENT_ERROR tombolo-proxy does not support 'shutdown': it is about one server; ask the server itself\r\nCLIENT_ERROR tombolo-proxy does not support 'watch': it is about one server; ask the server itself\r\n",
    ),
];

#[test]
fn one_server_is_spoken_to_as_memcached_and_nutcracker_do() {
    let servers: Vec<Memcached> = (0..3).map(|_| Memcached::start()).collect();
    let nutcracker =
        Nutcracker::start(&["redis: false", &format!("servers:\n   - 127.0.0.1:{}:1", servers[1].port)]);
    let proxy = Proxy::start(&[servers[2].port], &["redis: false"]);
    for text in ALIKE {
        let [direct, theirs, ours] =
            [servers[0].port, nutcracker.port, proxy.port].map(|port| exchange(port, text.as_bytes()));
        assert_eq!(ours, direct, "{text:?}: the proxy and memcached");
        assert_eq!(ours, theirs, "{text:?}: the proxy and nutcracker");
    }
    for text in HELPFUL {
        let [direct, ours] = [servers[0].port, proxy.port].map(|port| exchange(port, text.as_bytes()));
        assert_eq!(ours, direct, "{text:?}: the proxy and memcached");
    }
    for (text, expected) in OTHERWISE {
        assert_eq!(exchange(proxy.port, text.as_bytes()), *expected, "{text:?}");
    }
}

#[test]
fn keys_and_values_at_their_limits() {
    let servers: Vec<Memcached> = (0..2).map(|_| Memcached::start()).collect();
    let proxy = Proxy::start(&[servers[1].port], &["redis: false"]);
    let both = |text: &str| [servers[0].port, proxy.port].map(|port| exchange(port, text.as_bytes()));
    let (long, longest) = ("k".repeat(251), "k".repeat(250));
    for text in [
        format!("set {longest} 0 0 1\r\n1\r\nget {longest}\r\nmg {longest} v\r\n"),
        format!("get a {long}\r\n"),
        format!("get {long}\r\nmg {long}\r\ndelete {long}\r\nget {longest}\r\n"),
        format!("set a 0 0 1000000\r\n{}\r\nget a a\r\n", "x".repeat(1_000_000)),
        format!("set a 0 0 2000000\r\n{}\r\nget a\r\n", "get a\r\n".repeat(285_715)[..2_000_000].to_owned()),
        format!("set a 0 0 2000000 noreply\r\n{}\r\nget a\r\n", "x".repeat(2_000_000)),
        format!("get {}\r\n", (0..2000).map(|index| format!("key:{index}")).collect::<Vec<_>>().join(" ")),
    ] {
        let [direct, ours] = both(&text);
        let same = ours.bytes().zip(direct.bytes()).take_while(|(one, other)| one == other).count();
        let rest = |text: &str| String::from_utf8_lossy(&text.as_bytes()[same..]).into_owned();
        assert!(
            ours == direct,
            "{text:.60}: from {same} on {:.60} and not {:.60}",
            rest(&ours),
            rest(&direct)
        );
    }
    assert_eq!(
        exchange(proxy.port, format!("set {long} 0 0 4\r\nmn\r\n\r\nmn\r\n").as_bytes()),
        "CLIENT_ERROR bad command line format\r\nMN\r\n"
    );
    // A line without an end is no reason to keep it.
    assert_eq!(exchange(proxy.port, "a".repeat(5000).as_bytes()), "CLIENT_ERROR line too long\r\n");
}

#[test]
fn several_servers_are_spoken_to_as_nutcracker_does() {
    let servers: Vec<Memcached> = (0..6).map(|_| Memcached::start()).collect();
    // By their names, keys are on the same servers for both.
    let options = |servers: &[Memcached]| {
        let list = servers.iter().zip(["one", "two", "three"]);
        let list: Vec<String> =
            list.map(|(server, name)| format!("\n   - 127.0.0.1:{}:1 {name}", server.port)).collect();
        format!("servers:{}", list.concat())
    };
    let all = |servers: &[Memcached]| {
        ["redis: false", "hash_tag: \"{}\"", "distribution: ketama", "hash: murmur"]
            .map(str::to_string)
            .into_iter()
            .chain([options(servers)])
            .collect::<Vec<_>>()
    };
    let (theirs, ours) = (all(&servers[..3]), all(&servers[3..]));
    let nutcracker = Nutcracker::start(&theirs.iter().map(String::as_str).collect::<Vec<_>>());
    let proxy = Proxy::start(&[], &ours.iter().map(String::as_str).collect::<Vec<_>>());
    let both = |text: &str| {
        let [theirs, ours] = [nutcracker.port, proxy.port].map(|port| exchange(port, text.as_bytes()));
        assert_eq!(ours, theirs, "{text:?}");
        ours
    };
    for index in 0..200 {
        both(&format!(
            "set key:{index} {index} 0 3\r\n{}\r\nset {{tag:{}}}:{index} 0 0 1\r\nx\r\n",
            100 + index,
            index % 7
        ));
    }
    let keys: Vec<String> = (0..200).map(|index| format!("key:{index}")).collect();
    let reply = both(&format!("get {}\r\n", keys.join(" ")));
    assert_eq!(reply.matches("VALUE key:").count(), 200);
    // The unique numbers say which server has a key, and what it was asked before.
    both(&format!("gets {}\r\nget {{tag:1}}:1 {{tag:1}}:8\r\n", keys.join(" ")));
    both("version\r\nincr key:1 1\r\nget missing gone none\r\nget key:1 key:2 key:1\r\n");
    for command in ALIKE.iter().filter(|text| !text.contains("missing a")) {
        both(command);
    }
    // And what is the proxy's only.
    let gat = exchange(proxy.port, format!("gat 0 {}\r\n", keys.join(" ")).as_bytes());
    assert_eq!(gat.matches("VALUE key:").count(), 200);
    assert_eq!(exchange(proxy.port, b"get key:3 missing key:4 gone key:5\r\n").matches("VALUE").count(), 3);
    assert_eq!(exchange(proxy.port, b"verbosity 0\r\nflush_all noreply\r\nmn\r\n"), "OK\r\nMN\r\n");
    assert_eq!(
        exchange(proxy.port, format!("get {}\r\nflush_all\r\n", keys.join(" ")).as_bytes()),
        "END\r\nOK\r\n"
    );
}
