//! The keys of a pool. `KEYS` is the list of what exists, and those of `auth` and `tls`; `read` is the only place
//! that gives them a meaning.

use std::time::Duration;

use super::address::{Listen, Server, decimal};
use super::document::{Data, Entry, Value};
use super::error::{ConfigError, Problem};
use super::{Eject, Pool, Protocol, auth, limits, slow, tls};
use crate::placement::{Distribution, Hash};

/// Every key of twemproxy's, and our own.
const KEYS: &[&str] = &[
    "auto_eject_hosts",
    "backlog",
    "client_connections",
    "cluster",
    "distribution",
    "hash",
    "hash_tag",
    "listen",
    "preconnect",
    "read_from",
    "redis",
    "redis_auth",
    "redis_db",
    "reuseport",
    "server_connections",
    "server_failure_limit",
    "server_retry_timeout",
    "servers",
    "tcpkeepalive",
    "timeout",
];

const DEFAULT_BACKLOG: u32 = 512;
const DEFAULT_RETRY_MS: u32 = 30_000;
const DEFAULT_FAILURES: u32 = 2;
/// More are accepted, as by twemproxy, and not made: each costs memory and time, used or not.
const MAX_SERVER_CONNECTIONS: usize = 1024;
/// The sum that modula divides by is a number of 32 bits.
const MAX_TOTAL_WEIGHT: u64 = u32::MAX as u64;

pub(super) type Read<T> = Result<T, ConfigError>;

/// Reads one pool, strictly.
pub(super) fn read(file: &str, entry: &Entry) -> Read<Pool> {
    let reader = Reader { file, entry };
    reader.known_keys()?;
    let servers = reader.servers()?;
    let protocol = reader.protocol()?;
    let pool = Pool {
        name: entry.name.clone(),
        protocol,
        listen: reader.listen()?,
        tls: reader.client_tls()?,
        server_tls: reader.server_tls(&servers)?,
        servers,
        hash: reader.named("hash", &Hash::ALL, Hash::name)?.unwrap_or_default(),
        hash_tag: reader.hash_tag()?,
        distribution: reader
            .named("distribution", &Distribution::ALL, Distribution::name)?
            .unwrap_or_default(),
        // As in twemproxy, 0 is no timeout.
        timeout: reader.number("timeout")?.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into())),
        backlog: reader.number("backlog")?.unwrap_or(DEFAULT_BACKLOG) as i32,
        client_connections: reader.number("client_connections")?.unwrap_or(0) as usize,
        tcpkeepalive: reader.flag("tcpkeepalive")?.unwrap_or(false),
        reuseport: reader.flag("reuseport")?.unwrap_or(false),
        preconnect: reader.flag("preconnect")?.unwrap_or(false),
        redis_auth: reader.secret("redis_auth")?,
        users: reader.users()?,
        client_auth: reader.client_auth()?,
        server_credential: reader.credential()?,
        // memcached has no databases, and twemproxy does not look at the key then.
        redis_db: reader.number("redis_db")?.filter(|_| protocol == Protocol::Redis).unwrap_or(0),
        server_connections: reader.server_connections()?,
        eject: reader.eject()?,
        cluster: reader.cluster()?,
        slow_log: reader.slow_log()?,
        limits: reader.limits(protocol == Protocol::Redis)?,
    };
    Ok(pool)
}

/// What is done otherwise than it is written in the pool.
pub(super) fn remark(file: &str, entry: &Entry, pool: &Pool) -> Option<String> {
    let value = entry.get("server_connections")?;
    let Data::Scalar(text) = &value.data else { return None };
    let is_more = text.parse().is_ok_and(|number: usize| number > pool.server_connections);
    is_more.then(|| {
        let (line, name) = (value.line, &pool.name);
        format!("{file}:{line}: pool '{name}', key 'server_connections': '{text}' is taken for {MAX_SERVER_CONNECTIONS}, the most")
    })
}

pub(super) struct Reader<'a> {
    file: &'a str,
    pub(super) entry: &'a Entry,
}

impl<'a> Reader<'a> {
    pub(super) fn error(&self, key: &str, value: &Value, problem: Problem, expected: &str) -> ConfigError {
        ConfigError::Pool {
            file: self.file.to_string(),
            line: value.line,
            pool: self.entry.name.clone(),
            key: key.to_string(),
            problem,
            // A password under a name with a slip in it is one all the same.
            found: match problem == Problem::UnknownKey || is_secret(key) {
                true => "a value".into(),
                false => value.shown().into(),
            },
            expected: expected.into(),
        }
    }

    fn known_keys(&self) -> Read<()> {
        let all = [KEYS, auth::KEYS, limits::KEYS, slow::KEYS, tls::KEYS];
        let known = |name: &str| all.iter().any(|keys| keys.contains(&name));
        let unknown = self.entry.keys.iter().find(|key| !known(&key.name));
        match unknown {
            Some(key) => {
                let expected = format!("one of {}", all.concat().join(", "));
                Err(self.error(&key.name, &key.value, Problem::UnknownKey, &expected))
            }
            None => Ok(()),
        }
    }

    fn eject(&self) -> Read<Option<Eject>> {
        let retry = self.number("server_retry_timeout")?.unwrap_or(DEFAULT_RETRY_MS);
        let failures = self.number("server_failure_limit")?.unwrap_or(DEFAULT_FAILURES);
        let eject = Eject { failures, retry: Duration::from_millis(retry.into()) };
        Ok(self.flag("auto_eject_hosts")?.unwrap_or(false).then_some(eject))
    }

    pub(super) fn missing(&self, key: &str, expected: &str) -> ConfigError {
        self.entry.problem(self.file, key, Problem::Missing, "", expected)
    }

    pub(super) fn text(&self, key: &str) -> Read<Option<&'a str>> {
        match self.entry.get(key) {
            None => Ok(None),
            Some(Value { data: Data::Scalar(text), .. }) => Ok(Some(text)),
            Some(value) => Err(self.error(key, value, Problem::WrongType, "a single value")),
        }
    }

    /// A key whose text must satisfy `parse`.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Read<Option<T>> {
        let (Some(text), Some(value)) = (self.text(key)?, self.entry.get(key)) else { return Ok(None) };
        match parse(text) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.error(key, value, Problem::BadValue, expected)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Read<Option<bool>> {
        self.parsed(key, "'true' or 'false'", |text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    pub(super) fn number(&self, key: &str) -> Read<Option<u32>> {
        let fits = |number: &u32| *number <= i32::MAX as u32;
        self.parsed(key, "a number from 0 to 2147483647", |text| decimal(text).filter(fits))
    }

    pub(super) fn named<T: Copy>(
        &self,
        key: &str,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Read<Option<T>> {
        let names: Vec<&str> = all.iter().map(|&item| name(item)).collect();
        let expected = format!("one of {}", names.join(", "));
        self.parsed(key, &expected, |text| all.iter().copied().find(|&item| name(item) == text))
    }

    fn hash_tag(&self) -> Read<Option<(u8, u8)>> {
        self.parsed("hash_tag", "two characters, such as '{}'", |text| match text.as_bytes() {
            [open, close] => Some((*open, *close)),
            _ => None,
        })
    }

    fn listen(&self) -> Read<Listen> {
        let expected = "host:port, or /path [permissions] for a unix socket, a path of at most 107 bytes";
        self.parsed("listen", expected, Listen::parse)?.ok_or_else(|| self.missing("listen", expected))
    }

    fn server_connections(&self) -> Read<usize> {
        let connections = self.within("server_connections", 1, i32::MAX as u64)?.unwrap_or(1);
        Ok(connections.min(MAX_SERVER_CONNECTIONS))
    }

    fn servers(&self) -> Read<Vec<Server>> {
        let expected = "a list of host:port:weight [name], or /path:weight [name]";
        let Some(value) = self.entry.get("servers") else { return Err(self.missing("servers", expected)) };
        let items = match &value.data {
            Data::List(items) if !items.is_empty() => items,
            _ => return Err(self.error("servers", value, Problem::WrongType, expected)),
        };
        let mut servers: Vec<Server> = Vec::new();
        for item in items {
            let Data::Scalar(text) = &item.data else {
                return Err(self.error("servers", item, Problem::WrongType, expected));
            };
            let bad = |expected: &str| self.error("servers", item, Problem::BadValue, expected);
            let server = Server::parse(text).ok_or_else(|| {
                bad("host:port:weight [name], a weight of at least 1, or a path of at most 107 bytes")
            })?;
            if servers.iter().any(|other| other.name == server.name) {
                return Err(bad("a server that is not in the list yet"));
            }
            servers.push(server);
        }
        let weight: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
        if weight > MAX_TOTAL_WEIGHT {
            let expected = format!("weights that sum to at most {MAX_TOTAL_WEIGHT}");
            return Err(self.error("servers", value, Problem::BadValue, &expected));
        }
        // twemproxy's order, which modula counts in: by the length of the name, then by the name.
        servers.sort_by(|one, other| (one.name.len(), &one.name).cmp(&(other.name.len(), &other.name)));
        Ok(servers)
    }
}

/// Whether the value of a key may be a password.
fn is_secret(key: &str) -> bool {
    let open = ["client_auth", "server_password_file", "server_user"];
    !open.contains(&key)
        && ["auth", "redis_a", "pas", "pw", "secret", "user"].iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    pub(super) fn error(text: &str) -> String {
        Config::parse("nutcracker.yaml", text).expect_err(text).to_string()
    }

    #[test]
    fn the_smallest_useful_file() {
        let text = "redis-1:\n  listen: 0.0.0.0:6379\n  redis: true\n  servers:\n   - 10.34.175.91:6379:1\n";
        let config = Config::parse("nutcracker.yaml", text).expect("a good file");
        let pool = &config.pools[0];
        assert_eq!(
            (pool.name.as_str(), pool.listen.to_string().as_str(), pool.servers.len()),
            ("redis-1", "0.0.0.0:6379", 1)
        );
        assert_eq!((pool.timeout, pool.server_connections, pool.backlog), (None, 1, 512));
        assert_eq!((pool.hash, pool.distribution), (Hash::Fnv1a64, Distribution::Ketama));
    }

    #[test]
    fn every_key_is_read() {
        let text = "a:\n  listen: /run/a.sock 660\n  redis: true\n  hash: murmur\n  hash_tag: \"{}\"\n  distribution: modula\n  timeout: 400\n  backlog: 7\n  tcpkeepalive: true\n  preconnect: true\n  redis_auth: 0123\n  redis_db: 2\n  server_connections: 3\n  client_connections: 9\n  auto_eject_hosts: true\n  server_retry_timeout: 2000\n  server_failure_limit: 1\n  servers:\n   - 127.0.0.1:1:1 one\n   - h:2:2\n";
        let pool = Config::parse("f", text).expect("a good file").pools.remove(0);
        assert_eq!(pool.hash_tag, Some((b'{', b'}')));
        assert_eq!(pool.timeout, Some(Duration::from_millis(400)));
        assert_eq!(pool.redis_auth.as_ref().map(|secret| secret.reveal()), Some("0123"));
        assert_eq!((pool.redis_db, pool.server_connections, pool.client_connections), (2, 3, 9));
        assert_eq!((pool.hash, pool.distribution), (Hash::Murmur, Distribution::Modula));
        assert_eq!(pool.eject, Some(Eject { failures: 1, retry: Duration::from_secs(2) }));
    }

    #[test]
    fn errors_name_file_line_pool_key_value_and_what_was_expected() {
        let with = |line: &str| {
            error(&format!("p:\n  listen: 0.0.0.0:1\n  redis: true\n  servers:\n   - a:1:1\n  {line}\n"))
        };
        for (line, expected) in [
            (
                "timeouts: 1",
                "nutcracker.yaml:6: pool 'p', key 'timeouts': unknown key: a value; expected one of auto_eject",
            ),
            (
                "timeout: soon",
                "nutcracker.yaml:6: pool 'p', key 'timeout': bad value: 'soon'; expected a number",
            ),
            ("timeout: [1]", "key 'timeout': wrong type: a list; expected a single value"),
            ("hash: sha1", "key 'hash': bad value: 'sha1'; expected one of one_at_a_time, md5"),
            ("hash_tag: '{'", "key 'hash_tag': bad value: '{'; expected two characters"),
            ("preconnect: yes", "key 'preconnect': bad value: 'yes'; expected 'true' or 'false'"),
            ("auto_eject_hosts: 1", "key 'auto_eject_hosts': bad value: '1'; expected 'true' or 'false'"),
            ("server_failure_limit: -1", "bad value: '-1'; expected a number from 0 to 2147483647"),
            ("reuseport: on", "key 'reuseport': bad value: 'on'; expected 'true' or 'false'"),
            ("server_connections: 0", "bad value: '0'; expected a number from 1 to 2147483647"),
            ("redis: false", "nutcracker.yaml:6:"),
            ("redis_db: -1", "bad value: '-1'; expected a number from 0"),
            ("redis_auht: hunter2", "key 'redis_auht': unknown key: a value; expected one of"),
            ("credential: hunter2", "key 'credential': unknown key: a value; expected one of"),
        ] {
            let message = with(line);
            assert!(message.contains(expected) && !message.contains("hunter2"), "{line}: {message}");
        }
    }

    #[test]
    fn what_means_nothing_in_a_pool_is_no_error_where_twemproxy_has_none() {
        let of = |lines: &str| {
            let text = format!("p:\n  listen: a:1\n{lines}  servers: [a:1:2000000000 a, a:1:2000000000 b]\n");
            Config::parse("f", &text).expect(lines).pools.remove(0)
        };
        assert_eq!(of("  redis: true\n  server_failure_limit: 0\n").eject, None);
        let eject = of("  server_failure_limit: 0\n  auto_eject_hosts: true\n").eject;
        assert_eq!(eject.map(|eject| eject.failures), Some(0));
        assert_eq!(of("  redis_db: 3\n").redis_db, 0);
        assert_eq!(of("  redis: true\n  redis_db: 3\n").redis_db, 3);
        let placement = of("  distribution: modula\n  hash: crc32a\n").placement();
        let places = (0..100).map(|index| placement.server(format!("key:{index}").as_bytes(), 0));
        assert!((1..100).contains(&places.sum::<usize>()));
        let text = "p:\n  listen: a:1\n  servers: [a:1:2147483647 a, a:1:2147483647 b, a:1:2 c]\n";
        assert!(error(text).contains("weights that sum to at most 4294967295"));
    }

    #[test]
    fn no_more_connections_to_a_server_are_made_than_make_sense() {
        let of = |count: &str| {
            let text = format!("p:\n  listen: a:1\n  server_connections: {count}\n  servers: [a:1:1]\n");
            let config = Config::parse("f", &text).expect(count);
            (config.pools[0].server_connections, config.remarks)
        };
        assert_eq!(of("1024"), (1024, Vec::new()));
        let remark = "f:3: pool 'p', key 'server_connections': '2147483647' is taken for 1024, the most";
        assert_eq!(of("2147483647"), (1024, vec![remark.to_string()]));
    }

    #[test]
    fn deep_files_are_refused_before_they_end_the_stack() {
        for deep in ["- ", "? ", "[", "{a: ", "a: [", "-\n"] {
            let message = error(&deep.repeat(200_000));
            assert!(message.starts_with("nutcracker.yaml:"), "{message}");
        }
        assert!(error(&"- ".repeat(17)).contains("nested deeper than 16"));
    }

    #[test]
    fn files_that_are_no_configuration() {
        for (text, expected) in [
            ("", "nutcracker.yaml:1: "),
            ("- a\n", "expected a map of pool names"),
            (
                "'':\n  listen: a:1\n  servers: [a:1:1]\n",
                "nutcracker.yaml:1: the name of a pool must not be empty",
            ),
            (":\n  listen: a:1\n  servers: [a:1:1]\n", "nutcracker.yaml:1: "),
            ("a: 1\n", "nutcracker.yaml:1: pool 'a': expected a map"),
            ("a:\n  listen: [\n", "nutcracker.yaml:"),
            ("a:\n  redis: true\n  servers:\n   - a:1:1\n", "key 'listen': missing key"),
            ("a:\n  listen: a:1\n  redis: true\n", "key 'servers': missing key"),
            (
                "a:\n  listen: 6379\n  redis: true\n  servers:\n   - a:1:1\n",
                "nutcracker.yaml:2: pool 'a', key 'listen': bad value: '6379'; expected host:port",
            ),
            (
                "a:\n  listen: a:1\n  redis: true\n  servers:\n   - a:1:1\n   - a:1\n",
                "nutcracker.yaml:6: pool 'a', key 'servers': bad value: 'a:1'",
            ),
            ("a:\n  listen: a:1\n  redis: true\n  servers:\n   - a:1:1\n   - a:1:2\n", "not in the list yet"),
            (
                "a: &x\n  listen: a:1\n  redis: true\n  servers:\n   - a:1:1\nb: *x\n",
                "pool 'a' does not listen on",
            ),
        ] {
            let message = error(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
