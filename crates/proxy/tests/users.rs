//! Who the proxy is to servers, and who clients are to the proxy.

mod common;

use common::{Proxy, Redis, bulk, simple};

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
