//! Fuzzing tombolo-proxy: functions that are given any bytes and panic when a promise is broken.
//!
//! ```text
//!  fuzz/fuzz_targets/NAME.rs (libFuzzer, nightly, coverage) ──┐
//!  cargo xtask fuzz          (stable, mutations of a corpus) ─┼─▶ Target::run(bytes)
//!  cargo test                (a fixed number, and every input │      request · reply · memcache · config · session
//!                             that has ever crashed) ─────────┘
//! ```
//!
//! A target does not only wait for a panic: it compares with an oracle that was written apart, such
//! as a plain reading of Redis' own parser, and it checks what the code's contracts say.

mod config;
pub mod corpus;
mod memcache;
pub mod mutate;
mod oracle;
mod reply;
mod request;
mod session;
mod words;

/// Something to fuzz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Bytes of a client, to requests.
    Request,
    /// Bytes of a server, to replies.
    Reply,
    /// Bytes of memcached's clients and servers, to requests and replies.
    Memcache,
    /// The text of a configuration.
    Config,
    /// Clients, servers and time around the core; see `session`.
    Session,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 5] =
        [Target::Request, Target::Reply, Target::Memcache, Target::Config, Target::Session];

    /// Its name on the command line, and of its folder of seeds.
    pub fn name(self) -> &'static str {
        match self {
            Target::Request => "request",
            Target::Reply => "reply",
            Target::Memcache => "memcache",
            Target::Config => "config",
            Target::Session => "session",
        }
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<Target> {
        Target::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Gives it `data`; panics when that breaks a promise.
    pub fn run(self, data: &[u8]) {
        match self {
            Target::Request => request::run(data),
            Target::Reply => reply::run(data),
            Target::Memcache => memcache::run(data),
            Target::Config => config::run(data),
            Target::Session => session::run(data),
        }
    }

    /// What its inputs are made of, for the mutator.
    pub fn words(self) -> &'static [&'static [u8]] {
        match self {
            Target::Request | Target::Session => words::REQUESTS,
            Target::Reply => words::REPLIES,
            Target::Memcache => words::MEMCACHE,
            Target::Config => words::CONFIG,
        }
    }
}
