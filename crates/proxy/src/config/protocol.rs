//! What a pool speaks, and which keys make no sense then.

use super::auth;
use super::error::Problem;
use super::pool::{Read, Reader};

/// What a pool's clients and servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RESP: `redis: true`.
    Redis,
    /// The memcached text protocol: `redis: false`, which is twemproxy's default.
    Memcache,
}

impl Reader<'_> {
    /// As in twemproxy, a pool is memcached's unless it says otherwise.
    pub(super) fn protocol(&self) -> Read<Protocol> {
        if self.flag("redis")? == Some(true) {
            return Ok(Protocol::Redis);
        }
        // Whoever wrote one of these meant a Redis; twemproxy refuses its own one, too.
        let of_redis = ["cluster", "read_from", "redis_auth"].iter().chain(auth::KEYS);
        match of_redis.filter_map(|key| Some((key, self.entry.get(key)?))).next() {
            Some((key, value)) => {
                let expected = "no such key in a pool without 'redis: true'";
                Err(self.error(key, value, Problem::BadValue, expected))
            }
            None => Ok(Protocol::Memcache),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(lines: &str) -> Result<Protocol, String> {
        let text = format!("a:\n  listen: a:1\n{lines}  servers:\n   - a:1:1\n");
        let config = Config::parse("nutcracker.yaml", &text).map_err(|error| error.to_string())?;
        Ok(config.pools[0].protocol)
    }

    #[test]
    fn a_pool_is_memcached_s_unless_it_says_otherwise() {
        assert_eq!(parse(""), Ok(Protocol::Memcache));
        assert_eq!(parse("  redis: false\n"), Ok(Protocol::Memcache));
        assert_eq!(parse("  redis: true\n"), Ok(Protocol::Redis));
    }

    #[test]
    fn what_only_a_redis_has_is_refused() {
        for key in ["redis_auth", "server_password", "server_user"] {
            let error = parse(&format!("  redis: false\n  {key}: 17\n")).expect_err(key);
            assert!(
                error.starts_with(&format!("nutcracker.yaml:4: pool 'a', key '{key}': bad value: ")),
                "{error}"
            );
            assert!(error.ends_with("expected no such key in a pool without 'redis: true'"), "{error}");
            assert!(key == "server_user" || !error.contains("17"), "{error}");
        }
    }
}
