//! Keys go where Debian's nutcracker puts them: every hash, both distributions that depend on the
//! key, weights, names, hash tags, binary keys. nutcracker must be installed.

mod common;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Client, Process, Redis, request, simple};
use tombolo_proxy::config::Config;
use tombolo_proxy::placement::{Distribution, Hash};
use tombolo_resp::Value;

const KEYS_PER_POOL: usize = 2000;

/// Keys of all lengths up to 40, of text and of any byte but line breaks (which nutcracker's
/// parser does not mind, but our eyes do), some with a hash tag.
fn keys() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..KEYS_PER_POOL)
        .map(|index| match index % 4 {
            0 => format!("key:{index}").into_bytes(),
            1 => format!("{{user:{}}}:{index}", index % 97).into_bytes(),
            _ => {
                let binary = (0..1 + index % 40).map(|_| byte()).filter(|b| !matches!(b, b'\r' | b'\n'));
                binary.chain(index.to_string().into_bytes()).collect()
            }
        })
        .collect()
}

/// One pool for each hash and distribution, alternately with hash tags and names, on unix sockets.
fn configuration(dir: &Path, servers: &[Redis]) -> (String, Vec<PathBuf>) {
    let mut text = String::new();
    let mut paths = Vec::new();
    for distribution in [Distribution::Ketama, Distribution::Modula] {
        for hash in Hash::ALL {
            let number = paths.len();
            let path = dir.join(format!("{number}.sock"));
            let _ = write!(
                text,
                "pool{number}:\n  listen: {}\n  redis: true\n  hash: {}\n",
                path.display(),
                hash.name()
            );
            let _ = write!(
                text,
                "  distribution: {}\n{}  servers:\n",
                distribution.name(),
                if number % 2 == 0 { "" } else { "  hash_tag: \"{}\"\n" }
            );
            for (index, server) in servers.iter().enumerate() {
                let name = if number % 3 == 0 { format!(" server-{index}") } else { String::new() };
                let _ = writeln!(text, "   - 127.0.0.1:{}:{}{name}", server.port, [1, 3, 1, 2][index % 4]);
            }
            paths.push(path);
        }
    }
    (text, paths)
}

#[test]
fn keys_are_where_nutcracker_puts_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let servers: Vec<Redis> = (0..4).map(|_| Redis::start()).collect();
    let (text, paths) = configuration(dir.path(), &servers);
    let file = dir.path().join("nutcracker.yml");
    std::fs::write(&file, &text).expect("a configuration");
    let config = Config::parse("nutcracker.yml", &text).expect("a configuration that we read too");
    let _nutcracker = nutcracker(&file);
    for (pool, path) in config.pools.iter().zip(&paths) {
        store(&mut Client::unix(path));
        let found = collect(&servers);
        let placement = pool.placement();
        for key in keys() {
            let ours = placement.server(&key, 0);
            let shown = String::from_utf8_lossy(&key).into_owned();
            assert_eq!(found.get(&key), Some(&ours), "{shown:?}, {:?} {:?}", pool.hash, pool.distribution);
        }
    }
}

fn nutcracker(file: &Path) -> Process {
    let child = common::mortal("nutcracker")
        .arg("-c")
        .arg(file)
        .args(["-a", "127.0.0.1", "-s", &common::free_port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nutcracker must be installed: cargo xtask installs what tests need");
    Process(child)
}

fn store(client: &mut Client) {
    let keys = keys();
    for some in keys.chunks(50) {
        let bytes: Vec<u8> = some.iter().flat_map(|key| request(&[b"SET", key, b"v"])).collect();
        client.send(&bytes);
        some.iter().for_each(|_| assert_eq!(client.reply(), simple("OK")));
    }
}

/// Which server has which key; and none has any afterwards.
fn collect(servers: &[Redis]) -> HashMap<Vec<u8>, usize> {
    let mut found = HashMap::new();
    for (index, server) in servers.iter().enumerate() {
        let mut client = server.client();
        for key in client.ask("KEYS *").items() {
            if let Value::Bulk(key) = key {
                found.insert(key.clone(), index);
            }
        }
        client.ask("FLUSHALL");
    }
    found
}
