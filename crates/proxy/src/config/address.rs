//! Addresses as twemproxy writes them: `host:port`, `host:port:weight [name]`, or unix paths.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

/// twemproxy leaves this port out of the name that ketama hashes, for libmemcached's sake.
const KETAMA_PORT: u16 = 11211;

/// The longest path of a unix socket, in bytes: the kernel's field ends with a zero.
const MAX_PATH_BYTES: usize = 107;

/// Something to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host name or an IP address, and a port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Something to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: Address,
    /// The permissions of a unix socket, such as 0o660; when absent, the umask's, or everybody's in the
    /// background.
    pub mode: Option<u32>,
}

/// A server of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: Address,
    /// Its share of the keys, at least 1.
    pub weight: u32,
    /// What the distribution hashes.
    pub name: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Listen {
    /// `host:port` or `/path [octal permissions]`. As in twemproxy, it is the last space that ends a path,
    /// and permissions of 0 are none.
    pub fn parse(text: &str) -> Option<Listen> {
        if !text.starts_with('/') {
            return Some(Listen { address: tcp(text)?, mode: None });
        }
        let (path, mode) = match text.rsplit_once(' ') {
            Some((path, mode)) => (path, u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o777)?),
            None => (text, 0),
        };
        Some(Listen { address: unix(path)?, mode: (mode != 0).then_some(mode) })
    }

    /// Why the name that is listened on has no address; an address has itself.
    pub(super) fn resolve(&self) -> io::Result<()> {
        match &self.address {
            Address::Tcp(host, port) => (host.as_str(), *port).to_socket_addrs().map(drop),
            Address::Unix(_) => Ok(()),
        }
    }
}

impl Server {
    /// `host:port:weight [name]` or `/path:weight [name]`.
    pub fn parse(text: &str) -> Option<Server> {
        let (place, name) = match text.rsplit_once(' ') {
            Some((place, name)) => (place, Some(name)),
            None => (text, None),
        };
        let (place, weight) = place.rsplit_once(':')?;
        let weight = decimal(weight).filter(|weight| *weight > 0 && *weight <= i32::MAX as u32)?;
        let address = match place.starts_with('/') {
            true => unix(place)?,
            false => tcp(place)?,
        };
        let name = match (name, &address) {
            (Some(name), _) if !name.is_empty() => name.to_string(),
            (_, Address::Tcp(host, KETAMA_PORT)) => host.clone(),
            // twemproxy takes the colon before the weight along, and hashes it.
            (_, Address::Unix(_)) => format!("{place}:"),
            _ => place.to_string(),
        };
        Some(Server { address, weight, name })
    }
}

fn unix(path: &str) -> Option<Address> {
    (path.len() <= MAX_PATH_BYTES).then(|| Address::Unix(PathBuf::from(path)))
}

fn tcp(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let port = decimal(port).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let valid = !bare.is_empty() && !bare.contains(|c: char| c.is_whitespace() || c == '/');
    valid.then(|| Address::Tcp(bare.to_string(), port))
}

/// Digits only: no sign, no space.
pub(super) fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_twemproxy_writes_them() {
        for (text, shown, weight, name) in [
            ("10.34.175.91:6379:1", "10.34.175.91:6379", 1, "10.34.175.91:6379"),
            ("a.example:6379:3 one", "a.example:6379", 3, "one"),
            ("127.0.0.1:11211:1", "127.0.0.1:11211", 1, "127.0.0.1"),
            ("/run/redis.sock:2", "/run/redis.sock", 2, "/run/redis.sock:"),
            ("/run/redis.sock:2 two", "/run/redis.sock", 2, "two"),
            ("::1:6379:1", "::1:6379", 1, "::1:6379"),
        ] {
            let server = Server::parse(text).unwrap_or_else(|| panic!("{text}"));
            let found = (server.address.to_string(), server.weight, server.name.as_str());
            assert_eq!(found, (shown.to_string(), weight, name), "{text}");
        }
        for text in
            ["", "a", "a:1", ":6379:1", "a:6379:0", "a:0:1", "a:65536:1", "a:6379:x", "a:+1:1", "a b:1:1 n"]
        {
            assert_eq!(Server::parse(text), None, "{text}");
        }
    }

    #[test]
    fn listening_addresses() {
        for text in ["0.0.0.0:6379", "localhost:1", "/run/proxy.sock"] {
            assert_eq!(Listen::parse(text).map(|listen| listen.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Listen::parse("/s 660").and_then(|listen| listen.mode), Some(0o660));
        let spaced = Listen::parse("/my proxy.sock 0660").expect("a path with a space");
        assert_eq!((spaced.to_string().as_str(), spaced.mode), ("/my proxy.sock", Some(0o660)));
        for text in ["/s", "/s 0", "/s 0000"] {
            let listen = Listen::parse(text).map(|listen| (listen.to_string(), listen.mode));
            assert_eq!(listen, Some(("/s".to_string(), None)), "{text}");
        }
        for text in ["", "6379", "a:0", "a:b", "/s 999", "a:70000", "/my sock"] {
            assert_eq!(Listen::parse(text), None, "{text}");
        }
    }

    #[test]
    fn paths_of_unix_sockets_are_as_long_as_the_kernel_takes() {
        let path = |length: usize| format!("/{}", "x".repeat(length - 1));
        let listens = |text: &str| Listen::parse(text).is_some();
        assert!(listens(&path(107)) && listens(&format!("{} 660", path(107))) && !listens(&path(108)));
        let serves = |length| Server::parse(&format!("{}:1 name", path(length))).is_some();
        assert!(serves(107) && !serves(108));
    }
}
