//! A replica whose master is behind the proxy: SYNC and PSYNC start a stream that is not RESP.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::{self, PATIENCE, Proxy, Redis, bulk, simple, wait_for};

/// More than one read's worth, with bytes that would be RESP's and ones that would not.
fn large_value() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_replica_follows_its_master_through_the_proxy() {
    let (master, replica) = (Redis::start(), Redis::start());
    let proxy = Proxy::start(&[master.port], &["timeout: 400"]);
    let mut writer = proxy.client();
    writer.send(&common::request(&[b"SET", b"large", &large_value()]));
    assert_eq!(writer.reply(), simple("OK"));

    let mut reader = replica.client();
    assert_eq!(reader.ask(&format!("REPLICAOF 127.0.0.1 {}", proxy.port)), simple("OK"));
    wait_for("the first copy", || {
        (reader.ask("STRLEN large") == tombolo_resp::Value::Integer(3_000_000)).then_some(())
    });
    assert_eq!(reader.ask("GET large"), tombolo_resp::Value::Bulk(large_value()));

    // The stream goes on, in both directions: WAIT is answered by the replica's acknowledgements.
    for round in 0..50 {
        assert_eq!(writer.ask(&format!("SET k {round}")), simple("OK"));
    }
    assert_eq!(writer.ask("WAIT 1 0"), tombolo_resp::Value::Integer(1));
    assert_eq!(reader.ask("GET k"), bulk("49"));
}

#[test]
fn sync_takes_what_was_asked_before_first() {
    let redis = Redis::start();
    let proxy = Proxy::start(&[redis.port], &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).expect("the proxy");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"SET k v\r\nMULTI\r\nGET k\r\nEXEC\r\nSYNC\r\n").expect("the proxy reads");
    let expected = b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n";
    let mut before = vec![0; expected.len()];
    stream.read_exact(&mut before).expect("the replies before");
    assert_eq!(before, expected);
    // A database's file, perhaps after keep-alive line breaks.
    let mut copy = Vec::new();
    while !copy.windows(5).any(|window| window == b"REDIS") {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).expect("the copy");
        assert!(count > 0, "closed after {copy:?}");
        copy.extend_from_slice(&some[..count]);
    }
    assert!(copy.iter().find(|byte| **byte != b'\n') == Some(&b'$'), "{copy:?}");
}
