//! The pools that are compared and the keys that they place.
//!
//! Addresses, names, weights and keys are the same for ever: what nutcracker made of them is kept
//! in `vectors.txt`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tombolo_proxy::placement::{Distribution, Hash};

pub(crate) const KEYS: usize = 10_000;

/// Where the servers are: at addresses of the loopback network that nobody else uses. The order is
/// none that sorting gives; the port 11211, which is memcached's, is no part of a server's name.
pub(crate) const ADDRESSES: [&str; 5] =
    ["127.91.7.12:6379", "127.91.7.4:6380", "127.91.7.5:6379", "127.91.7.1:11211", "127.91.7.20:11212"];

/// The same servers' unix sockets.
pub(crate) const SOCKETS: [&str; 5] = [
    "/tmp/tombolo-vectors-b.sock",
    "/tmp/tombolo-vectors-a.sock",
    "/tmp/tombolo-vectors-10.sock",
    "/tmp/tombolo-vectors-9.sock",
    "/tmp/tombolo-vectors-c.sock",
];

/// Servers and options of a pool.
#[derive(Debug)]
pub(crate) struct Servers {
    name: &'static str,
    places: &'static [&'static str; 5],
    weights: [u32; 5],
    names: Option<[&'static str; 5]>,
    hash_tag: Option<&'static str>,
}

const PLAIN: Servers =
    Servers { name: "plain", places: &ADDRESSES, weights: [1; 5], names: None, hash_tag: None };

static SERVERS: [Servers; 5] = [
    PLAIN,
    Servers { name: "weights", weights: [1, 3, 10, 2, 1], ..PLAIN },
    Servers { name: "names", names: Some(["beta", "alpha", "c", "server-10", "server-9"]), ..PLAIN },
    Servers { name: "tag", hash_tag: Some("{}"), ..PLAIN },
    Servers { name: "unix", places: &SOCKETS, ..PLAIN },
];

/// A pool.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) servers: &'static Servers,
    pub(crate) distribution: Distribution,
    pub(crate) hash: Hash,
}

/// Every hash, and every distribution that depends on the key.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for servers in &SERVERS {
        for distribution in [Distribution::Ketama, Distribution::Modula] {
            cases.extend(Hash::ALL.map(|hash| Case { servers, distribution, hash }));
        }
    }
    cases
}

impl Case {
    pub(crate) fn name(&self) -> String {
        format!("{} {} {}", self.servers.name, self.distribution.name(), self.hash.name())
    }
}

/// nutcracker's configuration of all cases, and where each one listens in `dir`.
pub(crate) fn configuration(dir: &Path) -> (String, Vec<PathBuf>) {
    let mut text = String::new();
    let mut paths = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        let path = dir.join(format!("{number}.sock"));
        let _ = write!(text, "pool{number}:\n  listen: {}\n  redis: true\n", path.display());
        let _ = writeln!(text, "  hash: {}\n  distribution: {}", case.hash.name(), case.distribution.name());
        if let Some(tag) = case.servers.hash_tag {
            let _ = writeln!(text, "  hash_tag: \"{tag}\"");
        }
        text.push_str("  servers:\n");
        let servers = case.servers;
        for (server, (place, weight)) in servers.places.iter().zip(&servers.weights).enumerate() {
            let name = servers.names.map(|names| format!(" {}", names[server])).unwrap_or_default();
            let _ = writeln!(text, "   - {place}:{weight}{name}");
        }
        paths.push(path);
    }
    (text, paths)
}

/// Text, with and without a hash tag, an empty one and one that is not closed, and any bytes but
/// line breaks (which nutcracker's parser does not mind, but our eyes do) of all lengths up to 40.
pub(crate) fn keys() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..KEYS)
        .map(|index| match index % 6 {
            0 => format!("key:{index}").into_bytes(),
            1 => format!("{{user:{}}}:{index}", index % 97).into_bytes(),
            2 => format!("cart:{index}:{{user:{}}}", index % 97).into_bytes(),
            3 if index % 4 == 1 => format!("{{}}:{index}").into_bytes(),
            3 => format!("open:{{{index}").into_bytes(),
            _ => {
                let binary = (0..1 + index % 40).map(|_| byte()).filter(|b| !matches!(b, b'\r' | b'\n'));
                binary.chain(index.to_string().into_bytes()).collect()
            }
        })
        .collect()
}
