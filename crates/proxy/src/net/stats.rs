//! The statistics that twemproxy gives to whoever connects: one JSON document, then the end.
//!
//! A thread of their own sums up what the workers say when somebody asks and the last answer is
//! older than the interval, so that nobody who reads slowly or often holds up a request.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::gethostname;

use super::NetError;
use super::mailbox::Workers;
use crate::core::{PoolStats, ServerStats, Snapshot};

/// How long a reader may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where statistics are given, and how often they change.
#[derive(Debug, Clone, Copy)]
pub struct StatsOptions {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// How old they may be.
    pub interval: Duration,
}

/// Listens, and starts the thread that answers.
pub(super) fn serve(options: StatsOptions, workers: Workers) -> Result<(), NetError> {
    let failed = |reason| NetError::Stats { address: options.listen, reason };
    let listener = TcpListener::bind(options.listen).map_err(failed)?;
    thread::Builder::new()
        .name("stats".to_string())
        .spawn(move || Stats::new().answer(&listener, &workers, options.interval))
        .map_err(failed)?;
    Ok(())
}

/// Makes the document.
#[derive(Debug)]
pub(super) struct Stats {
    source: String,
    started: Instant,
}

impl Stats {
    pub(super) fn new() -> Stats {
        let source = gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned());
        Stats { source, started: Instant::now() }
    }

    fn answer(&self, listener: &TcpListener, workers: &Workers, interval: Duration) {
        let mut latest: Option<(Instant, String)> = None;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                // No descriptors are left; trying again at once would only keep a core busy.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if latest.as_ref().is_none_or(|(at, _)| at.elapsed() >= interval) {
                // Workers that do not answer have ended, and with them the proxy.
                let Ok(snapshot) = workers.snapshot() else { continue };
                latest = Some((Instant::now(), self.render(&snapshot)));
            }
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let _ = stream.write_all(latest.as_ref().map_or(&[], |(_, text)| text.as_bytes()));
        }
    }

    pub(super) fn render(&self, snapshot: &Snapshot) -> String {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut out = String::from("{");
        text(&mut out, "service", "tombolo-proxy");
        text(&mut out, "source", &self.source);
        text(&mut out, "version", env!("CARGO_PKG_VERSION"));
        let numbers = [
            ("uptime", self.started.elapsed().as_secs()),
            ("timestamp", timestamp),
            ("total_connections", snapshot.total_clients),
            ("curr_connections", snapshot.connections),
        ];
        fields(&mut out, &numbers);
        for pool in &snapshot.pools {
            begin(&mut out, &pool.name);
            fields(&mut out, &pool.stats.named());
            for server in &pool.servers {
                begin(&mut out, &server.name);
                fields(&mut out, &server.stats.named());
                out.push('}');
            }
            out.push('}');
        }
        out.push_str("}\n");
        out
    }
}

/// A comma, unless something has just begun.
fn separate(out: &mut String) {
    if !out.ends_with('{') {
        out.push_str(", ");
    }
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => {
                // Writing to a String never fails.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn text(out: &mut String, name: &str, value: &str) {
    separate(out);
    quoted(out, name);
    out.push(':');
    quoted(out, value);
}

fn begin(out: &mut String, name: &str) {
    separate(out);
    quoted(out, name);
    out.push_str(": {");
}

fn fields(out: &mut String, fields: &[(&str, u64)]) {
    for (name, value) in fields {
        separate(out);
        quoted(out, name);
        let _ = write!(out, ":{value}");
    }
}

/// What `-D` shows: every counter and what it counts.
pub fn describe() -> String {
    let mut out = format!("This is tombolo-proxy {}\n\npool stats:\n", env!("CARGO_PKG_VERSION"));
    let line = |out: &mut String, name: &str| {
        let _ = writeln!(out, "  {name:<20}\"{}\"", meaning(name));
    };
    PoolStats::default().named().iter().for_each(|(name, _)| line(&mut out, name));
    out.push_str("\nserver stats:\n");
    ServerStats::default().named().iter().for_each(|(name, _)| line(&mut out, name));
    out
}

fn meaning(name: &str) -> &'static str {
    match name {
        "client_eof" => "# eof on client connections",
        "client_err" => "# errors on client connections",
        "client_connections" => "# active client connections",
        "server_ejects" => "# times backend server was ejected",
        "forward_error" => "# times we encountered a forwarding error",
        "fragments" => "# fragments created from a multi-vector request",
        "server_eof" => "# eof on server connections",
        "server_err" => "# errors on server connections",
        "server_timedout" => "# timeouts on server connections",
        "server_connections" => "# active server connections",
        "server_ejected_at" => "timestamp when server was ejected in usec since epoch",
        "requests" => "# requests",
        "request_bytes" => "total request bytes",
        "responses" => "# responses",
        "response_bytes" => "total response bytes",
        "in_queue" => "# requests in incoming queue",
        "in_queue_bytes" => "current request bytes in incoming queue",
        "out_queue" => "# requests in outgoing queue",
        "out_queue_bytes" => "current request bytes in outgoing queue",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_fields_separated() {
        let mut out = String::from("{");
        text(&mut out, "a\"b\\c\n", "v");
        begin(&mut out, "p");
        fields(&mut out, &[("x", 1), ("y", 2)]);
        assert_eq!(out, "{\"a\\\"b\\\\c\\u000a\":\"v\", \"p\": {\"x\":1, \"y\":2");
    }

    #[test]
    fn every_counter_is_described() {
        assert!(!describe().contains("\"\""), "{}", describe());
    }
}
