//! Who the proxy is to servers, and who clients are to the proxy.

use crate::common::{Proxy, Redis, bulk, simple};

#[test]
fn servers_get_a_user_that_clients_know_nothing_of() {
    let redis = Redis::start();
    let mut admin = redis.client();
    assert_eq!(admin.ask("ACL SETUSER proxy on >sesame ~* &* +@all"), simple("OK"));
    assert_eq!(admin.ask("ACL SETUSER default -@all"), simple("OK"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("password");
    std::fs::write(&file, "sesame\n").expect("a file");
    let file = format!("server_password_file: {}", file.display());
    for password in ["server_password: sesame", &file] {
        let proxy = Proxy::start(&[redis.port], &["server_user: proxy", password]);
        let mut client = proxy.client();
        assert_eq!(client.ask("SET k v"), simple("OK"));
        assert_eq!([client.ask("MULTI"), client.ask("GET k")], [simple("OK"), simple("QUEUED")]);
        assert_eq!(client.ask("EXEC").items(), [bulk("v")]);
        assert_eq!(client.ask("ACL WHOAMI"), bulk("proxy"));
        // twemproxy's word for a password that nobody asked for.
        assert_eq!(client.ask("AUTH sesame").text(), "ERR Client sent AUTH, but no password is set");
    }
    // One password for servers, another for clients.
    let options = ["server_user: proxy", "server_password: sesame", "redis_auth: open"];
    let proxy = Proxy::start(&[redis.port], &options);
    let mut client = proxy.client();
    assert!(client.ask("GET k").text().starts_with("NOAUTH"));
    assert_eq!(client.ask("AUTH sesame").text(), "ERR invalid password");
    assert_eq!(client.ask("AUTH open"), simple("OK"));
    assert_eq!(client.ask("GET k"), bulk("v"));
}

const USERS: &[&str] = &[
    "app on >secret ~app:* &app:* +@all -@dangerous +acl|whoami",
    "reader on >secret >other %R~app:* +@read +@connection +@transaction +subscribe",
    "hashed on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~* &* +@all",
    "gone off >secret ~* +@all",
    "sorter on >secret ~app:* +@all",
    "star on >secret %R~* %R~both %W~both +@all",
    "default on >open ~* &* +@all",
];

/// What is said to the proxy and to Redis, with the same answers. `!` begins a new connection.
const TALK: &[&str] = &[
    "GET app:1",
    "AUTH wrong",
    "AUTH open",
    "ACL WHOAMI",
    "SET app:1 v",
    "SET other v",
    "AUTH app wrong",
    "GET other",
    "AUTH gone secret",
    "AUTH nobody secret",
    "AUTH app secret",
    "ACL WHOAMI",
    "GET app:1",
    "GET other",
    "MGET app:1 other",
    "SET app:2 v",
    "DEL other",
    "CONFIG GET save",
    "KEYS *",
    "FLUSHALL",
    "PUBLISH app:c m",
    "PUBLISH c m",
    "MULTI",
    "GET app:1",
    "EXEC",
    "MULTI",
    "GET other",
    "GET app:1",
    "EXEC",
    "GET app:1",
    "WATCH other",
    "WATCH app:1",
    "UNWATCH",
    "SUBSCRIBE c",
    "SUBSCRIBE app:c",
    "UNSUBSCRIBE app:c",
    "RESET",
    "GET app:1",
    "AUTH default open",
    "GET other",
    "!",
    "HELLO 2 AUTH reader wrong",
    "HELLO 3",
    "AUTH reader other",
    "GET app:1",
    "SET app:1 x",
    "COPY app:1 app:3",
    "BLPOP app:l 1",
    "PING",
    "ECHO x",
    "SELECT 1",
    "MULTI",
    "SET app:1 x",
    "DISCARD",
    "AUTH hashed secret",
    "ACL WHOAMI",
    "SET other x",
    "CONFIG GET databases",
    "OBJECT ENCODING other",
    "AUTH a b c",
    "AUTH star secret",
    "GET ",
    "GET other",
    "SET both 1",
    "INCR both",
    "INCR other",
    "BITFIELD other GET u8 0",
    "BITFIELD other SET u8 0 1",
    "LRANGE app:l 0 -1",
    "SORT app:l BY nosort",
    "AUTH app secret",
    "RPUSH app:l 2 1",
    "AUTH default open",
    "SORT app:l BY nosort",
    "AUTH sorter secret",
    "SORT app:l BY nosort",
    "SORT app:l BY nosort LIMIT 0 1",
    "SORT x BY nosort",
    "GET",
];

#[test]
fn users_are_treated_as_redis_treats_them() {
    let (redis, behind) = (Redis::start(), Redis::start());
    let mut admin = redis.client();
    for user in USERS {
        assert_eq!(admin.ask(&format!("ACL SETUSER {user}")), simple("OK"), "{user}");
    }
    let users: String = USERS.iter().map(|user| format!("\n   - '{user}'")).collect();
    let proxy = Proxy::start(&[behind.port], &[&format!("users:{users}")]);
    let (mut ours, mut theirs) = (proxy.client(), redis.client());
    for line in TALK {
        if *line == "!" {
            (ours, theirs) = (proxy.client(), redis.client());
            continue;
        }
        let (our, their) = (ours.ask(line), theirs.ask(line));
        // nutcracker's word, which has no full stop.
        if their.text().starts_with("NOAUTH Authentication required") {
            assert!(our.text().starts_with("NOAUTH Authentication required"), "{line}: {our:?}");
        } else {
            assert_eq!(our, their, "{line}");
        }
    }
    // RESP3, with the password in HELLO; the server behind knows none of this.
    let mut client = proxy.client();
    assert!(client.ask("HELLO 3 AUTH app wrong").text().starts_with("WRONGPASS"));
    client.send(b"HELLO 3 AUTH app secret SETNAME me\r\n");
    assert!(client.raw().expect("a map").starts_with(b"%"));
    assert_eq!([client.ask("GET app:1"), client.ask("CLIENT GETNAME")], [bulk("v"), bulk("me")]);
    assert!(client.ask("GET other").text().starts_with("NOPERM"));
    // What Redis would check inside of a script can not be checked here.
    assert!(client.ask("EVAL return 1 app:1").text().contains("may run scripts"));
    assert!(!proxy.log().contains("secret"));
    // As in Redis, users alone change nothing for who gives no name; the log says so.
    let remark = "clients that give no password may do everything";
    assert!(!proxy.log().contains(remark));
    let open = Proxy::start(&[behind.port], &["users: ['app on >secret ~app:* +@all']"]);
    assert_eq!(open.client().ask("SET other v"), simple("OK"));
    open.wait_for_log(remark);
}

#[test]
fn users_with_several_servers() {
    let (one, two) = (Redis::start(), Redis::start());
    let users = "users:\n   - default off\n   - 'app on >secret ~app:* +@all'";
    let proxy = Proxy::start(&[one.port, two.port], &[users, "hash_tag: \"{}\""]);
    let mut client = proxy.client();
    assert!(client.ask("GET app:1").text().starts_with("NOAUTH"));
    assert_eq!(client.ask("AUTH app secret"), simple("OK"));
    assert_eq!(client.ask("MSET app:1 a app:2 b app:3 c"), simple("OK"));
    assert!(client.ask("MSET app:1 a x b").text().starts_with("NOPERM"));
    // A transaction that no server has seen is spoilt all the same.
    assert_eq!(client.ask("MULTI"), simple("OK"));
    assert!(client.ask("GET x").text().starts_with("NOPERM"));
    assert!(client.ask("EXEC").text().starts_with("EXECABORT"));
    assert_eq!(client.ask("GET app:2"), bulk("b"));
}

#[test]
fn passwords_passed_through_are_the_servers() {
    let redis = Redis::with(&["--requirepass", "open"]);
    let mut admin = redis.client();
    assert_eq!(admin.ask("AUTH open"), simple("OK"));
    assert_eq!(admin.ask("ACL SETUSER app on >secret ~app:* +@all"), simple("OK"));
    let proxy = Proxy::start(&[redis.port], &["client_auth: passthrough"]);
    for words in ["AUTH open", "AUTH default open", "HELLO 2 AUTH default open"] {
        let mut client = proxy.client();
        assert!(client.ask("GET k").text().starts_with("NOAUTH"), "{words}");
        assert!(client.ask("AUTH wrong").text().starts_with("WRONGPASS"), "{words}");
        client.ask(words);
        assert_eq!(client.ask("SET k v"), simple("OK"), "{words}");
        assert_eq!(client.ask("RESET"), simple("RESET"));
        assert!(client.ask("GET k").text().starts_with("NOAUTH"), "{words}");
    }
    let mut client = proxy.client();
    client.send(b"AUTH app secret\r\nSET app:1 v\r\nGET k\r\nACL WHOAMI\r\n");
    assert_eq!([client.reply(), client.reply()], [simple("OK"), simple("OK")]);
    assert!(client.reply().text().starts_with("NOPERM"));
    assert_eq!(client.reply(), bulk("app"));
}
