//! How each program is started: one thread, loopback only, otherwise as it comes.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use crate::contender::Kind;
use crate::process::free_port;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// A redis-server that keeps nothing.
pub(crate) fn redis_args(port: u16) -> Vec<String> {
    let port = port.to_string();
    let backlog = BACKLOG.to_string();
    let args = ["--port", &port, "--bind", "127.0.0.1", "--tcp-backlog", &backlog];
    // Not protected: it takes the loopback addresses other than 127.0.0.1 for strangers.
    let more = ["--save", "", "--appendonly", "no", "--maxclients", "15000", "--protected-mode", "no"];
    args.into_iter().chain(more).map(str::to_string).collect()
}

/// Writes the configuration of `kind` to `dir`, for clients at `port`; returns its arguments.
pub(crate) fn configure(kind: Kind, dir: &Path, port: u16, servers: &[u16]) -> anyhow::Result<Vec<String>> {
    // Envoy tells by its name how to read a file.
    let file = dir.join("proxy.yaml");
    let path = file.display().to_string();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<String>>();
    let (text, args) = match kind {
        Kind::Tombolo => (nutcracker(port, servers), words(&["-c", &path])),
        Kind::Nutcracker => {
            let stats = free_port().to_string();
            (nutcracker(port, servers), words(&["-c", &path, "-a", "127.0.0.1", "-s", &stats]))
        }
        Kind::Haproxy => (haproxy(port, servers[0]), words(&["-f", &path, "-db"])),
        Kind::Envoy => {
            let flags = ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"];
            (envoy(port, servers), [words(&["-c", &path]), words(&flags)].concat())
        }
        Kind::Predixy => (predixy(port, servers), words(&[&path])),
        Kind::Floor(event_loop) => {
            let (port, server) = (port.to_string(), servers[0].to_string());
            let ports = ["--listen", &port, "--server", &server];
            let args = [&["floor"][..], &ports, &["--event-loop", event_loop.name()]].concat();
            (String::new(), words(&args))
        }
        Kind::Direct => (String::new(), Vec::new()),
    };
    std::fs::write(&file, text).context(path)?;
    Ok(args)
}

/// tombolo-proxy reads the same file.
fn nutcracker(port: u16, servers: &[u16]) -> String {
    let mut text =
        format!("bench:\n  listen: 127.0.0.1:{port}\n  backlog: {BACKLOG}\n  redis: true\n  servers:\n");
    servers.iter().for_each(|server| text.push_str(&format!("   - 127.0.0.1:{server}:1\n")));
    text
}

fn haproxy(port: u16, server: u16) -> String {
    let limits = "global\n  nbthread 1\n";
    let defaults = "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 2m\n  timeout server 2m\n";
    format!(
        "{limits}{defaults}listen bench\n  bind 127.0.0.1:{port} backlog {BACKLOG}\n  server redis 127.0.0.1:{server}\n"
    )
}

fn envoy(port: u16, servers: &[u16]) -> String {
    let mut endpoints = String::new();
    for server in servers {
        let _ = writeln!(
            endpoints,
            "        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {server}}}}}}}"
        );
    }
    format!(
        r#"static_resources:
  listeners:
  - name: bench
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: bench
          settings: {{op_timeout: 60s}}
          prefix_routes: {{catch_all_route: {{cluster: redis}}}}
  clusters:
  - name: redis
    type: STATIC
    connect_timeout: 10s
    lb_policy: MAGLEV
    circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 10000000, max_requests: 10000000}}]}}
    load_assignment:
      cluster_name: redis
      endpoints:
      - lb_endpoints:
{endpoints}"#
    )
}

fn predixy(port: u16, servers: &[u16]) -> String {
    let mut groups = String::new();
    for (number, server) in servers.iter().enumerate() {
        let _ = write!(groups, "  Group g{number} {{\n    + 127.0.0.1:{server}\n  }}\n");
    }
    format!(
        "Name bench\nBind 127.0.0.1:{port}\nWorkerThreads 1\nAuthority {{\n  Auth {{\n    Mode write\n  }}\n}}\n\
         StandaloneServerPool {{\n  Databases 1\n  Hash crc16\n  HashTag \"{{}}\"\n  Distribution modula\n  \
         RefreshMethod fixed\n{groups}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_name_every_port_and_stay_on_loopback() {
        let dir = tempfile::tempdir().expect("a directory");
        for kind in [Kind::Tombolo, Kind::Nutcracker, Kind::Envoy, Kind::Predixy, Kind::Haproxy] {
            let servers: &[u16] = if kind.parses() { &[7001, 7002] } else { &[7001] };
            configure(kind, dir.path(), 7000, servers).expect("a configuration");
            let text = std::fs::read_to_string(dir.path().join("proxy.yaml")).expect("a file");
            for port in servers.iter().chain([&7000]) {
                assert!(text.contains(&port.to_string()), "{kind}: {port}");
            }
            assert!(!text.contains("0.0.0.0") && text.contains("127.0.0.1"), "{kind}");
        }
    }
}
