//! The configuration: any text either says what is wrong, and where, or gives pools that work.

use tombolo_proxy::config::{Config, ConfigError};
use tombolo_proxy::core::Core;

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Config::parse("fuzz.yml", &text) {
        Ok(config) => accepted(&config),
        Err(ConfigError::Read { .. }) => panic!("nothing is read here"),
        Err(ref error @ (ConfigError::Document { line, .. } | ConfigError::Pool { line, .. })) => {
            // A line may be ended by CR, LF or both, and an error may be at the end of the text.
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
            assert!((1..=lines).contains(&line), "{error} in a text of {lines} lines");
            assert!(error.to_string().starts_with(&format!("fuzz.yml:{line}: ")), "{error}");
        }
    }
}

fn accepted(config: &Config) {
    assert!(!config.pools.is_empty());
    for (index, pool) in config.pools.iter().enumerate() {
        assert!(!pool.servers.is_empty() && pool.server_connections > 0);
        assert!(config.pools[..index].iter().all(|other| other.listen != pool.listen));
    }
    // Big tables of servers are slow to make, and nothing new.
    let weight: u64 = config.pools.iter().flat_map(|pool| &pool.servers).map(|s| u64::from(s.weight)).sum();
    let connections: usize =
        config.pools.iter().map(|pool| pool.servers.len() * pool.server_connections).sum();
    if weight > 10_000 || connections > 10_000 {
        return;
    }
    for pool in &config.pools {
        let placement = pool.placement();
        for key in [&b""[..], b"k", b"{a}b", b"{}", b"\xff\0"] {
            assert!(placement.server(key, 7) < pool.servers.len());
        }
    }
    let mut core = Core::new(&config.pools, 1);
    for pool in 0..config.pools.len() {
        core.preconnect(pool, 0);
        core.client_connected(pool);
    }
    while core.poll_action().is_some() {}
    core.tick(u64::MAX - 1);
}
