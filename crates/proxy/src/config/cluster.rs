//! `cluster` and `read_from`: pools over a Redis Cluster.

use super::document::{Data, Value};
use super::error::Problem;
use super::pool::{Read, Reader};
use crate::placement::slots::ReadFrom;

/// Keys that say where other pools' keys are, or which servers are left out; a cluster itself does.
const FOREIGN: &[&str] =
    &["auto_eject_hosts", "distribution", "hash", "server_failure_limit", "server_retry_timeout"];

impl Reader<'_> {
    /// Which nodes reads go to, if the pool is over a cluster.
    pub(super) fn cluster(&self) -> Read<Option<ReadFrom>> {
        let reads = self.named("read_from", &ReadFrom::ALL, ReadFrom::name)?;
        if self.flag("cluster")? != Some(true) {
            return match self.entry.get("read_from") {
                Some(value) => {
                    let expected = "no such key, since the pool has no 'cluster: true'";
                    Err(self.error("read_from", value, Problem::BadValue, expected))
                }
                None => Ok(None),
            };
        }
        for name in FOREIGN {
            let harmless = |value: &&Value| !(is(value, "false") && *name == "auto_eject_hosts");
            if let Some(value) = self.entry.get(name).filter(harmless) {
                let expected = "no such key: with 'cluster: true', the cluster says where keys are";
                return Err(self.error(name, value, Problem::BadValue, expected));
            }
        }
        if let Some(value) = self.entry.get("hash_tag").filter(|value| !is(value, "{}")) {
            return Err(self.error("hash_tag", value, Problem::BadValue, "'{}', as the cluster has it"));
        }
        if let Some(value) = self.entry.get("redis_db").filter(|value| !is(value, "0")) {
            return Err(self.error("redis_db", value, Problem::BadValue, "'0': a cluster has no other"));
        }
        let items = match self.entry.get("servers") {
            Some(Value { data: Data::List(items), .. }) => items.as_slice(),
            _ => &[],
        };
        let unix = |item: &&Value| matches!(&item.data, Data::Scalar(text) if text.starts_with('/'));
        match items.iter().find(unix) {
            Some(item) => {
                let expected = "host:port:weight: a cluster's nodes have no unix sockets";
                Err(self.error("servers", item, Problem::BadValue, expected))
            }
            None => Ok(Some(reads.unwrap_or_default())),
        }
    }
}

fn is(value: &Value, text: &str) -> bool {
    matches!(&value.data, Data::Scalar(found) if found == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Pool};

    fn read(lines: &[&str]) -> Result<Pool, String> {
        let mut text = "p:\n  listen: a:1\n  redis: true\n  servers:\n   - a:1:1\n".to_string();
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        Config::parse("f", &text).map(|mut config| config.pools.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_cluster_and_where_it_is_read_from() {
        for (lines, expected) in [
            ([].as_slice(), None),
            (&["cluster: false"], None),
            (&["cluster: true"], Some(ReadFrom::Primary)),
            (&["cluster: true", "read_from: replica"], Some(ReadFrom::Replica)),
            (&["cluster: true", "read_from: any", "hash_tag: '{}'", "redis_db: 0"], Some(ReadFrom::Any)),
            (&["cluster: true", "auto_eject_hosts: false"], Some(ReadFrom::Primary)),
        ] {
            assert_eq!(read(lines).expect("a good pool").cluster, expected, "{lines:?}");
        }
    }

    #[test]
    fn keys_that_a_cluster_decides_about_are_refused() {
        for (line, expected) in [
            ("hash: md5", "f:7: pool 'p', key 'hash': bad value: 'md5'; expected no such key: with 'cluster"),
            ("distribution: ketama", "key 'distribution': bad value: 'ketama'; expected no such key"),
            ("auto_eject_hosts: true", "key 'auto_eject_hosts': bad value: 'true'; expected no such key"),
            ("server_failure_limit: 1", "key 'server_failure_limit': bad value: '1'; expected no such key"),
            ("hash_tag: '<>'", "key 'hash_tag': bad value: '<>'; expected '{}'"),
            ("redis_db: 1", "key 'redis_db': bad value: '1'; expected '0'"),
            ("read_from: secondary", "bad value: 'secondary'; expected one of primary, replica, any"),
        ] {
            let message = read(&["cluster: true", line]).expect_err(line);
            assert!(message.contains(expected), "{line}: {message}");
        }
        let message = read(&["read_from: any"]).expect_err("no cluster");
        assert!(message.contains("key 'read_from': bad value: 'any'; expected no such key"), "{message}");
        let text = "p:\n  listen: a:1\n  cluster: true\n  servers: ['a:1:1']\n";
        let message = Config::parse("f", text).expect_err(text).to_string();
        assert!(message.contains("expected no such key in a pool without 'redis: true'"), "{message}");
        let text = "p:\n  listen: a:1\n  redis: true\n  cluster: true\n  servers: ['/s:1']\n";
        let message = Config::parse("f", text).expect_err(text).to_string();
        assert!(message.contains("a cluster's nodes have no unix sockets"), "{message}");
    }
}
