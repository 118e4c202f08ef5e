//! The configuration: twemproxy's `nutcracker.yml`, read strictly.
//!
//! ```text
//!  text ─▶ document (YAML with lines) ─▶ pool (keys, values) ─▶ Config
//! ```
//!
//! An error names the file, the line, the pool, the key, the value and what was expected. A key
//! that this version does not implement is refused when its value would change behaviour; it is
//! never ignored.

mod address;
mod auth;
mod cluster;
mod document;
mod error;
mod limits;
pub mod plan;
mod pool;
mod protocol;
mod secret;
mod slow;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use address::{Address, Listen, Server};
pub(crate) use auth::is_world_readable;
pub use auth::{ClientAuth, Credential};
use document::Entry;
pub use error::{ConfigError, Problem};
pub use limits::Limits;
pub use protocol::Protocol;
pub use secret::Secret;
pub use slow::SlowLog;
pub use tls::{ClientTls, Identity, ServerTls, Verify};

use crate::acl::Users;
pub use crate::placement::slots::ReadFrom;
use crate::placement::{Distribution, Hash, Placement};

/// How long a connection to a server may take to be usable when a pool sets no `timeout`.
/// twemproxy waits as long as the kernel does; a proxy that answers late is no better than one
/// that does not answer.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A whole configuration: at least one pool, no two with the same name or listening address.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pools, in the order of the file.
    pub pools: Vec<Pool>,
    /// What an operator should hear about, such as passwords that everybody may read.
    pub remarks: Vec<String>,
}

/// One pool: where it listens and which servers it shares keys between.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// What its clients and servers speak.
    pub protocol: Protocol,
    /// Where clients connect.
    pub listen: Listen,
    /// The servers; at least one. In the order that they are counted in, which is not the file's.
    pub servers: Vec<Server>,
    /// TLS toward clients, if they are to use it.
    pub tls: Option<ClientTls>,
    /// TLS toward servers, if they use it.
    pub server_tls: Option<ServerTls>,
    /// The hash of keys.
    pub hash: Hash,
    /// The two characters that enclose the hashed part of a key.
    pub hash_tag: Option<(u8, u8)>,
    /// How a hash becomes a server.
    pub distribution: Distribution,
    /// The longest wait for a connection and for each reply; without one, replies are awaited for
    /// ever and connections for [`DEFAULT_CONNECT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// The length of the kernel's queue of connections to accept.
    pub backlog: i32,
    /// The most clients at a time; 0 for no limit.
    pub client_connections: usize,
    /// Whether connections have `SO_KEEPALIVE`.
    pub tcpkeepalive: bool,
    /// Whether listening sockets have `SO_REUSEPORT`, so that several processes can share a port.
    pub reuseport: bool,
    /// Whether servers are connected to at once rather than on the first request.
    pub preconnect: bool,
    /// The password that clients must give, and that servers are given.
    pub redis_auth: Option<Secret>,
    /// Who clients can be, if that makes a difference.
    pub users: Option<Arc<Users>>,
    /// Who checks the passwords of clients.
    pub client_auth: ClientAuth,
    /// What servers are given in the place of `redis_auth`; clients have nothing to do with it.
    pub server_credential: Option<Credential>,
    /// The database of the servers.
    pub redis_db: u32,
    /// Connections to each server; at least 1.
    pub server_connections: usize,
    /// When servers that fail are left out of the distribution; `None` for never.
    pub eject: Option<Eject>,
    /// `cluster: true`, and which nodes reads go to: the servers are some nodes of a Redis Cluster,
    /// which tell the others.
    pub cluster: Option<ReadFrom>,
    /// What its clients are held to.
    pub limits: Limits,
    /// Which requests are told as slow; `None` for none.
    pub slow_log: Option<SlowLog>,
}

/// `auto_eject_hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eject {
    /// How many failures in a row it takes; 0 is as 1.
    pub failures: u32,
    /// How long the server is left out.
    pub retry: Duration,
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::read(path, |_, _, _| Ok(()))
    }

    /// The same, and whether the names that pools listen on have addresses, which is found out anyway by
    /// who listens, but without the line.
    pub fn load_and_resolve(path: &Path) -> Result<Config, ConfigError> {
        Config::read(path, |file, entry, listen| {
            listen.resolve().map_err(|error| {
                let expected = format!("an address, or a name that has one: {error}");
                entry.problem(file, "listen", Problem::BadValue, &listen.to_string(), &expected)
            })
        })
    }

    fn read(
        path: &Path,
        check: impl Fn(&str, &Entry, &Listen) -> Result<(), ConfigError>,
    ) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { file: file.clone(), reason: error.to_string() })?;
        let entries = document::pools(&file, &text)?;
        let mut config = Config::of(&file, &entries)?;
        for (entry, pool) in entries.iter().zip(&config.pools) {
            check(&file, entry, &pool.listen)?;
        }
        for credential in config.pools.iter_mut().filter_map(|pool| pool.server_credential.as_mut()) {
            credential.read()?;
        }
        config.remarks.extend(auth::remarks(path, &config.pools));
        Ok(config)
    }

    /// Checks `text`, which errors call `file`.
    pub fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
        Config::of(file, &document::pools(file, text)?)
    }

    fn of(file: &str, entries: &[Entry]) -> Result<Config, ConfigError> {
        let (mut pools, mut remarks): (Vec<Pool>, Vec<String>) = Default::default();
        for entry in entries {
            let pool = pool::read(file, entry)?;
            if let Some(other) = pools.iter().find(|other| other.listen.address == pool.listen.address) {
                let expected = format!("an address that pool '{}' does not listen on", other.name);
                return Err(entry.problem(
                    file,
                    "listen",
                    Problem::BadValue,
                    &pool.listen.to_string(),
                    &expected,
                ));
            }
            remarks.extend(pool::remark(file, entry, &pool));
            pools.push(pool);
        }
        Ok(Config { pools, remarks })
    }
}

impl Pool {
    /// Where this pool's keys are.
    pub fn placement(&self) -> Placement {
        if let Some(reads) = self.cluster {
            return Placement::cluster(reads);
        }
        let servers: Vec<(&str, u32)> =
            self.servers.iter().map(|server| (server.name.as_str(), server.weight)).collect();
        Placement::new(self.distribution, self.hash, self.hash_tag, &servers)
    }
}
