//! Checks: what a file says must work, and what must not.

use std::{fmt, net::IpAddr, time::Duration};
use tombolo_model::{InstanceKey, RedisKey};

/// Something to try from an instance once the lab is up, and what must come of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What it shows, in the file's words.
    pub name: Option<String>,
    /// The instance that it starts from; it is in the file.
    pub from: InstanceKey,
    /// What is tried and expected.
    pub kind: CheckKind,
    /// How long it may take: a probe without an answer by then did not get through; a program still running
    /// then has failed.
    pub timeout: Duration,
}

/// What is tried and expected.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Packets are sent.
    Probe {
        /// Where to.
        to: Target,
        /// What is sent.
        probe: Probe,
        /// Whether it must get there and its answer back (true), or must not (false).
        reachable: bool,
    },
    /// A program is run; it must end with exit status 0.
    Command {
        /// The program and its arguments. Never empty.
        argv: Vec<String>,
        /// What it must print to standard output, compared without the blanks at both ends; anything if `None`.
        output: Option<String>,
    },
}

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The address of an instance's first interface.
    Instance(InstanceKey),
    /// The host of a Redis instance.
    Redis(RedisKey),
    /// An address.
    Address(IpAddr),
}

/// What a probe sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An echo request.
    Icmp,
    /// A connection to a port.
    Tcp(u16),
    /// A datagram to a port.
    Udp(u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(key) => f.write_str(&key.name),
            Self::Redis(key) => f.write_str(&key.name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("icmp"),
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Udp(port) => write!(f, "udp:{port}"),
        }
    }
}

/// What is tried, in one line: `vm-1 to vm-2 icmp`, `vm-2: redis-cli ping`. What is expected is not part of it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = &self.from.name;
        match &self.kind {
            CheckKind::Probe { to, probe, .. } => write!(f, "{from} to {to} {probe}"),
            CheckKind::Command { argv, .. } => match argv.as_slice() {
                [sh, c, script] if sh == "sh" && c == "-c" => write!(f, "{from}: {}", script.trim()),
                argv => write!(f, "{from}: {}", argv.join(" ")),
            },
        }
    }
}
