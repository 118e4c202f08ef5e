//! Keys go where nutcracker puts them: 10,000 keys for each of the twelve hashes with both
//! distributions that depend on the key, over plain, weighted and named servers, unix sockets, and
//! with a hash tag. The distribution `random` has no function from keys to servers: it uses them all.
//!
//! ```text
//!  cases.rs ─▶ nutcracker ─▶ servers that say who they are ─┬─▶ vectors.txt (taken once)
//!          └─▶ tombolo_proxy::placement ◀── equal? ─────────┘
//! ```
//!
//! `vectors.txt` has a line for each case: its name, the servers of the first keys as digits, and
//! the start of the SHA-256 of each further block's digits. `TOMBOLO_TAKE_VECTORS=1` writes it
//! anew; `cargo xtask proxy-suites --only vectors --take` does it.

mod cases;
mod nutcracker;

use sha2::{Digest, Sha256};
use tombolo_proxy::config::{Config, Pool};
use tombolo_resp::Value;

use crate::common::{Proxy, Redis, simple};
use cases::{ADDRESSES, SOCKETS, cases, keys};

/// Keys whose servers are written out.
const SHOWN: usize = 100;
/// Keys of one digest.
const BLOCK: usize = 500;

/// Where we put the keys, for each case.
fn ours() -> Vec<Vec<u8>> {
    let (text, _) = cases::configuration(std::path::Path::new("/run"));
    let config = Config::parse("nutcracker.yml", &text).expect("a configuration that we read too");
    let keys = keys();
    let number = |address: &str| {
        let all = ADDRESSES.iter().position(|other| *other == address);
        all.or(SOCKETS.iter().position(|other| *other == address)).expect("one of ours") as u8
    };
    let place = |pool: &Pool| {
        let placement = pool.placement();
        let numbers: Vec<u8> =
            pool.servers.iter().map(|server| number(&server.address.to_string())).collect();
        keys.iter().map(|key| numbers[placement.server(key, 0)]).collect()
    };
    config.pools.iter().map(place).collect()
}

fn digits(numbers: &[u8]) -> String {
    numbers.iter().map(|number| char::from(b'0' + number)).collect()
}

/// A case's line in the file.
fn line(name: &str, numbers: &[u8]) -> String {
    let digest = |block: &[u8]| {
        let hash = Sha256::digest(digits(block));
        hash[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let digests: Vec<String> = numbers.chunks(BLOCK).map(digest).collect();
    format!("{name} {} {}", digits(&numbers[..SHOWN]), digests.join(" "))
}

#[test]
fn keys_are_where_nutcracker_put_them_when_the_vectors_were_taken() {
    let stored: Vec<&str> = include_str!("vectors.txt").lines().collect();
    let cases = cases();
    assert_eq!(stored.len(), cases.len());
    for ((case, numbers), stored) in cases.iter().zip(ours()).zip(stored) {
        assert_eq!(line(&case.name(), &numbers), stored);
    }
}

#[test]
fn keys_are_where_nutcracker_puts_them_now() {
    let theirs = nutcracker::take();
    let names: Vec<String> = cases().iter().map(cases::Case::name).collect();
    if std::env::var_os("TOMBOLO_TAKE_VECTORS").is_some() {
        let lines: String =
            names.iter().zip(&theirs).map(|(name, numbers)| line(name, numbers) + "\n").collect();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/placement/vectors.txt");
        std::fs::write(file, lines).expect("the vectors are written");
    }
    let keys = keys();
    for ((name, theirs), ours) in names.iter().zip(theirs).zip(ours()) {
        for ((key, theirs), ours) in keys.iter().zip(theirs).zip(ours) {
            assert_eq!(ours, theirs, "{name}: {:?}", String::from_utf8_lossy(key));
        }
    }
}

#[test]
fn random_uses_every_server() {
    let servers: Vec<Redis> = (0..3).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let proxy = Proxy::start(&ports, &["distribution: random"]);
    let mut client = proxy.client();
    // The same key each time: that none of them is left out by chance happens once in 10^52.
    for _ in 0..300 {
        assert_eq!(client.ask("SET k v"), simple("OK"));
    }
    for server in &servers {
        assert_eq!(server.client().ask("EXISTS k"), Value::Integer(1));
    }
}
