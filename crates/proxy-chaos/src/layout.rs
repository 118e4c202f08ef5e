//! The configuration of the proxy, and what may be another in it while it runs.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

/// How clients' requests are told in time; the pools that clients use have it.
const TIMEOUTS: [u64; 3] = [400, 350, 300];

/// Pools, with the one that is there at times.
pub const POOLS: usize = 3;
/// What all clients of a pool may not have taken, for each thread; so little that it happens.
pub const MAX_BUFFERED_BYTES: usize = 2 << 20;
/// The same for one client.
const MAX_CLIENT_BUFFER: usize = 64 << 10;

/// What stays.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Where the pool with one server listens, and the one with all.
    pub listen: [SocketAddrV4; 2],
    /// The servers of each.
    pub servers: [Vec<SocketAddrV4>; 2],
    /// Lines that both pools have.
    pub lines: String,
    /// Where a pool listens that is there at times.
    pub extra: SocketAddrV4,
    /// The server of that pool.
    pub home: SocketAddrV4,
    /// The pools are in front of a Redis Cluster.
    pub cluster: bool,
}

/// What changes with a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Which timeout the pools have.
    pub timeout: usize,
    /// Whether the extra pool is there, and the number of its user: nobody else is let in.
    pub extra: Option<u64>,
}

impl Version {
    /// Another one.
    pub fn next(self, number: u64, rng: &mut fastrand::Rng) -> Version {
        let extra = (self.extra.is_none() || rng.bool()).then_some(number);
        Version { timeout: rng.usize(..TIMEOUTS.len()), extra }
    }
}

/// The user of the extra pool, and the password.
pub fn user(number: u64) -> (String, String) {
    (format!("user{number}"), format!("secret{number}"))
}

impl Layout {
    /// The whole file.
    pub fn text(&self, version: Version) -> String {
        let mut text = String::new();
        for (index, name) in ["one", "many"].into_iter().enumerate() {
            let timeout = TIMEOUTS[version.timeout];
            let _ = write!(text, "{name}:\n  listen: {}\n  redis: true\n", self.listen[index]);
            let _ = writeln!(text, "  timeout: {}", if self.cluster { timeout * 5 } else { timeout });
            text += if self.cluster {
                "  cluster: true\n"
            } else {
                "  distribution: ketama\n  hash: fnv1a_64\n  hash_tag: \"{}\"\n"
            };
            let _ = writeln!(text, "  max_client_buffer: {MAX_CLIENT_BUFFER}");
            let _ = writeln!(text, "  max_buffered_bytes: {MAX_BUFFERED_BYTES}");
            text += &self.lines;
            text += "  servers:\n";
            self.servers[index].iter().for_each(|server| text += &format!("   - {server}:1\n"));
        }
        if let Some(number) = version.extra {
            let (name, password) = user(number);
            let _ =
                write!(text, "extra:\n  listen: {}\n  redis: true\n  timeout: 400\n  users:\n", self.extra);
            let _ = write!(text, "   - user default off\n   - user {name} on >{password} ~* +@all\n");
            let _ = write!(text, "  servers:\n   - {}:1\n", self.home);
        }
        text
    }

    /// A file that must be refused as a whole: what comes before the mistake is another version.
    pub fn broken(&self, version: Version, rng: &mut fastrand::Rng) -> String {
        let text = self.text(version);
        let mistakes = ["  timeout: soon\n", "  no_such_key: 1\n", "last:\n  listen: 127.0.0.1:1\n", "]\n"];
        text + mistakes[rng.usize(..mistakes.len())]
    }
}
