//! Who is trusted and who is not, and what is said then.

use std::io::{Read, Write};

use crate::common::{Client, Proxy, Redis, free_port, pool_text, proxy_command, simple, tcp, wait_for};
use crate::tls::certificates::{Folder, shown};
use crate::tls::{connect, ping, start, tls_redis, toward_clients};

#[test]
fn servers_are_checked() {
    let folder = Folder::new();
    let (ca, other) = (folder.ca("ca"), folder.ca("other"));
    let good = ca.sign("good", &["127.0.0.1"]);
    let named = ca.sign("named", &["redis.example"]);
    let nameless = ca.sign("nameless", &[]);
    let expired = ca.sign_expired("expired", &["127.0.0.1"]);
    // Several CAs in a file, as Google's list has when one is about to follow another.
    let both = folder.write("both.pem", &format!("{}{}", other.pem, ca.pem));
    let trust = |file: &std::path::Path| format!("server_tls_ca: {}", shown(file));
    let chain = "server_tls_verify: chain".to_string();
    let name = "server_tls_name: redis.example".to_string();
    let cases = [
        (&good, vec![trust(&ca.file)], ""),
        (&good, vec![trust(&both)], ""),
        (&good, vec![trust(&other.file)], "the certificate is not signed by a CA that is trusted"),
        (&good, vec![trust(&other.file), chain.clone()], "the certificate is not signed by a CA"),
        (&good, vec!["server_tls: true".to_string()], "the certificate is not signed by a CA"),
        (&named, vec![trust(&ca.file)], "the certificate is for redis.example, expected '127.0.0.1'"),
        (&named, vec![trust(&ca.file), name.clone()], ""),
        (&good, vec![trust(&ca.file), name], "expected 'redis.example'"),
        (&named, vec![trust(&ca.file), chain.clone()], ""),
        (&nameless, vec![trust(&ca.file)], "the certificate is for no name at all, expected '127.0.0.1'"),
        (&nameless, vec![trust(&both), chain.clone()], ""),
        (&expired, vec![trust(&ca.file)], "the certificate has expired"),
        (&expired, vec![trust(&ca.file), chain], "the certificate has expired"),
    ];
    for pair in [&good, &named, &nameless, &expired] {
        let redis = tls_redis(&ca, pair, &["--tls-auth-clients", "no"]);
        for (_, lines, expected) in cases.iter().filter(|(other, ..)| other.cert == pair.cert) {
            let proxy = start(&[redis.tls], lines);
            let reply = proxy.client().ask("GET k").text();
            if expected.is_empty() {
                assert_eq!(proxy.client().ask("SET k v"), simple("OK"), "{lines:?}: {reply}");
            } else {
                assert!(reply.starts_with("ERR TLS: ") && reply.contains(expected), "{lines:?}: {reply}");
                proxy.wait_for_log(expected);
            }
        }
    }
}

#[test]
fn servers_that_want_a_certificate_or_speak_no_tls() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = tls_redis(&ca, &pair, &["--tls-auth-clients", "yes"]);
    let trust = format!("server_tls_ca: {}", shown(&ca.file));
    let proxy = start(&[redis.tls], std::slice::from_ref(&trust));
    let reply = proxy.client().ask("GET k").text();
    assert!(reply.contains("it wants a certificate, and was shown none"), "{reply}");
    let identity = [
        trust.clone(),
        format!("server_tls_cert: {}", shown(&pair.cert)),
        format!("server_tls_key: {}", shown(&pair.key)),
    ];
    assert_eq!(start(&[redis.tls], &identity).client().ask("SET k v"), simple("OK"));
    let plain = Redis::start();
    // It waits for the end of the line that it takes the handshake for.
    let proxy = start(&[plain.port], &[trust.clone(), "timeout: 500".to_string()]);
    assert_eq!(proxy.client().ask("GET k").text(), "ERR Connection timed out");
    proxy.wait_for_log("no answer to TLS's handshake; does it speak TLS?");
    // A server that is not there is still that.
    let reply = start(&[free_port()], &[trust]).client().ask("GET k").text();
    assert_eq!(reply, "ERR Connection refused");
}

#[test]
fn a_server_that_does_not_answer_the_handshake_times_out() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let lines = [format!("server_tls_ca: {}", shown(&ca.file)), "timeout: 300".to_string()];
    let reply = start(&[port], &lines).client().ask("GET k").text();
    assert_eq!(reply, "ERR Connection timed out");
}

#[test]
fn clients_are_checked() {
    let folder = Folder::new();
    let (ca, other) = (folder.ca("ca"), folder.ca("other"));
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let (known, unknown) = (ca.sign("known", &["one"]), other.sign("unknown", &["two"]));
    let redis = Redis::start();
    let mut lines = toward_clients(&pair);
    lines.push(format!("tls_client_ca: {}", shown(&ca.file)));
    let proxy = start(&[redis.port], &lines);
    assert_eq!(connect(proxy.port, &ca.client(Some(&known))).ask("SET k v"), simple("OK"));
    let reason = ping(proxy.port, &ca.client(None)).expect_err("no certificate");
    assert!(reason.contains("CertificateRequired"), "{reason}");
    let reason = ping(proxy.port, &ca.client(Some(&unknown))).expect_err("another CA's certificate");
    assert!(reason.contains("UnknownCA"), "{reason}");
    wait_for("the log", || {
        let log = proxy.log();
        let reasons = ["the peer shows no certificate", "not signed by a CA that is trusted"];
        reasons.iter().any(|reason| log.contains(reason)).then_some(())
    });
}

#[test]
fn a_client_without_tls_hears_of_it() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let proxy = start(&[redis.port], &toward_clients(&pair));
    let mut client = Client::connect(proxy.port);
    client.send(b"PING\r\n");
    assert_eq!(client.reply().text(), "ERR tombolo-proxy: this port speaks TLS");
    assert_eq!(client.raw(), None);
    // Garbage that starts like a handshake.
    let mut stream = tcp(proxy.port);
    stream.write_all(&[22, 3, 1, 255, 255, 1, 2, 3, 4, 5]).expect("a write");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(connect(proxy.port, &ca.client(None)).ask("PING"), simple("PONG"));
    proxy.wait_for_log("a client's TLS handshake failed: ");
}

#[test]
fn files_are_checked_at_the_start_and_named() {
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let (pair, other) = (ca.sign("pair", &["127.0.0.1"]), ca.sign("other", &["127.0.0.1"]));
    let (cert, key) = (shown(&pair.cert), shown(&pair.key));
    let missing = shown(&pair.cert) + ".missing";
    let run = |lines: &[String], test: bool| {
        let text = pool_text("p", &format!("127.0.0.1:{}", free_port()), &[1], &[])
            + &lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
        let file = folder.write("nutcracker.yml", &text);
        let mut command = proxy_command();
        command.arg("-c").arg(file);
        if test {
            command.arg("-t");
        }
        let output = command.output().expect("tombolo-proxy");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (lines, expected) in [
        (
            [format!("tls_cert: {missing}"), format!("tls_key: {key}")].to_vec(),
            format!("pool 'p', key 'tls_cert': {missing}: No such file"),
        ),
        (
            [format!("tls_cert: {cert}"), format!("tls_key: {cert}")].to_vec(),
            format!("pool 'p', key 'tls_key': {cert}: no private key"),
        ),
        (
            [format!("tls_cert: {key}"), format!("tls_key: {key}")].to_vec(),
            format!("pool 'p', key 'tls_cert': {key}: no certificate; expected '-----BEGIN"),
        ),
        (
            [format!("tls_cert: {cert}"), format!("tls_key: {}", shown(&other.key))].to_vec(),
            format!("the private key in {} is not the certificate's", shown(&other.key)),
        ),
        ([format!("server_tls_ca: {key}")].to_vec(), "key 'server_tls_ca'".to_string()),
    ] {
        for test in [true, false] {
            let (success, stderr) = run(&lines, test);
            assert!(!success && stderr.contains(&expected), "{lines:?}: {stderr}");
            assert!(!stderr.contains("PRIVATE KEY-----\n"), "{stderr}");
        }
    }
    assert!(run(&toward_clients(&pair), true).0);
}

#[test]
fn a_key_that_everybody_may_read_is_remarked_upon() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let ca = folder.ca("ca");
    let pair = ca.sign("pair", &["127.0.0.1"]);
    let redis = Redis::start();
    let log = |mode: u32| {
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let proxy: Proxy = start(&[redis.port], &toward_clients(&pair));
        proxy.wait_for_log("listening on");
        proxy.log()
    };
    let remark = format!("{}: everybody on this machine may read the private key", shown(&pair.key));
    assert!(log(0o644).contains(&remark));
    assert!(!log(0o640).contains(&remark));
}
