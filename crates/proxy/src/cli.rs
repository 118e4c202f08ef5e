//! The command line: nutcracker's flags.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, Subcommand};

use crate::net::EventLoop;
use crate::{LogFormat, top};

/// The highest verbosity that makes a difference in twemproxy.
const MOST_VERBOSE: u8 = 11;

/// A Redis proxy, configured like twemproxy (nutcracker).
#[derive(Debug, Parser)]
#[command(name = "tombolo-proxy", version, disable_help_flag = true)]
#[command(disable_help_subcommand = true, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  tombolo-proxy -t -c nutcracker.yml
  tombolo-proxy -c /etc/tombolo-proxy/tombolo-proxy.yml --threads auto --metrics 22223")]
// As getopt_long has it, which twemproxy's command lines were written for.
#[command(args_override_self = true, infer_long_args = true)]
pub struct Args {
    /// Without one, the proxy runs.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// Show this help
    #[arg(short = 'h', long = "help", short_alias = '?', global = true, action = ArgAction::Help)]
    help: Option<bool>,
    /// Check the configuration and exit
    #[arg(short = 't', long)]
    pub test_conf: bool,
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = "/etc/nutcracker/nutcracker.yml")]
    pub conf_file: PathBuf,
    /// How much to log, from 0 to 11; more is 11
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = verbosity)]
    pub verbose: u8,
    /// Log to this file instead of standard error; SIGHUP opens it anew
    #[arg(short, long, value_name = "FILE", value_parser = any_path())]
    output: Option<PathBuf>,
    /// How to write the log: text, or json with one object a line (ts, level, message, pool, server)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Write the process id to this file; it is removed at the end
    #[arg(short, long, value_name = "FILE", value_parser = any_path())]
    pid_file: Option<PathBuf>,
    /// Accepted for nutcracker's sake and without effect: buffers have the size of what is in them
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(512..=16777216))]
    pub mbuf_size: Option<u32>,
    /// Run in the background
    #[arg(short, long)]
    pub daemonize: bool,
    /// Show what the statistics count, and exit
    #[arg(short = 'D', long)]
    pub describe_stats: bool,
    /// Give statistics on this port
    #[arg(short, long, value_name = "PORT", default_value_t = 22222, value_parser = clap::value_parser!(u16).range(1..))]
    pub stats_port: u16,
    /// Give statistics on this address. twemproxy's default is 0.0.0.0; nothing is told to the
    /// network here unless you say so
    #[arg(short = 'a', long, value_name = "ADDRESS", value_parser = address, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub stats_addr: IpAddr,
    /// How old the statistics may be, in milliseconds
    #[arg(short = 'i', long, value_name = "MS", default_value_t = 30_000)]
    pub stats_interval: u32,
    /// Tell metrics and health over HTTP on this address: /metrics /healthz /readyz /stats /slowlog
    /// /hotkeys. A port alone is one of 127.0.0.1. Nothing is told unless this is given
    #[arg(long, value_name = "ADDR:PORT", value_parser = metrics_address)]
    pub metrics: Option<SocketAddr>,
    /// Threads that serve clients: a number, or 'auto' for one per core. Each has connections to
    /// the servers of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = Threads::parse)]
    pub threads: Threads,
    /// Who reads and writes sockets without TLS: io_uring (Linux 6.1), the proxy when epoll says that
    /// it may, or auto for the first where it can be had
    #[arg(long, value_name = "HOW", env = "TOMBOLO_PROXY_EVENT_LOOP", value_enum, default_value_t)]
    pub event_loop: EventLoop,
    /// How long clients have, after SIGTERM or SIGINT, to get what is under way, in seconds. A
    /// second signal ends the proxy at once
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_timeout: u32,
    /// Further words, which twemproxy does not look at.
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

impl Args {
    /// The file to log to.
    pub fn output(&self) -> Option<&Path> {
        given(self.output.as_ref())
    }

    /// The file for the process id.
    pub fn pid_file(&self) -> Option<&Path> {
        given(self.pid_file.as_ref())
    }
}

/// As in twemproxy, an empty path is none: a script's variable may be empty.
fn given(path: Option<&PathBuf>) -> Option<&Path> {
    path.map(PathBuf::as_path).filter(|path| !path.as_os_str().is_empty())
}

fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// What else there is to do than to run the proxy.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show what a running proxy does: rates, latencies, servers, errors, hot keys
    #[command(after_help = "Example: tombolo-proxy top --metrics 22223 --interval 5 --once --format json")]
    Top(top::Options),
}

fn verbosity(text: &str) -> Result<u8, String> {
    let number = text.parse::<u32>().map_err(|_| "expected a number".to_string())?;
    Ok(number.min(MOST_VERBOSE.into()) as u8)
}

fn address(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let mut found = (text, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().map(|address| address.ip()).ok_or_else(|| "the name has no address".to_string())
}

fn metrics_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.parse()).map_err(|_| "expected ADDRESS:PORT, or a port".to_string())
}

/// A number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One per core that this process may use.
    Auto,
    /// So many.
    Count(NonZeroUsize),
}

impl Threads {
    /// The most; more than any machine has cores is a mistake.
    const MAX: usize = 1024;

    fn parse(text: &str) -> Result<Threads, String> {
        if text == "auto" {
            return Ok(Threads::Auto);
        }
        let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= Threads::MAX);
        count
            .map(Threads::Count)
            .ok_or_else(|| format!("expected 'auto' or a number from 1 to {}", Threads::MAX))
    }

    /// How many that is on this machine.
    pub fn count(self) -> NonZeroUsize {
        match self {
            Threads::Auto => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            Threads::Count(count) => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("tombolo-proxy").chain(args.iter().copied()))
    }

    #[test]
    fn nutcrackers_flags() {
        for args in [
            ["-c", "a.yml"].as_slice(),
            &["--conf-file=a.yml", "-t", "-v", "11", "-o", "log", "-p", "pid", "-m", "16384"],
            &["--test-conf", "--verbose=6", "--output=log", "--pid-file=pid", "--mbuf-size=512"],
            &["-d", "-D", "-s", "1", "-a", "0.0.0.0", "-i", "1000"],
            &["--daemonize", "--describe-stats", "--stats-port=1", "--stats-addr=::1", "--stats-interval=1"],
            &["-d", "-t", "-d", "-t", "-v", "99", "-i", "0", "-a", "localhost", "and", "more"],
        ] {
            assert!(parse(args).is_ok(), "{args:?}");
        }
        for args in
            [["-s", "0"], ["-s", "65536"], ["-a", "nosuch.invalid"], ["-i", "x"], ["-v", "x"], ["-m", "1"]]
        {
            assert!(parse(&args).is_err(), "{args:?}");
        }
        let args = parse(&["--conf=a", "-v9", "--ver=99", "-c", "b", "--stats-a=::1", "-p", "", "-o", ""]);
        assert!(args.is_err(), "'--ver' is --verbose or --version");
        let args =
            parse(&["--conf=a", "-v9", "--verb=99", "-c", "b", "--stats-a=localhost", "-p", "", "-o", ""]);
        let args = args.expect("twemproxy's");
        assert_eq!((args.conf_file.to_str(), args.verbose), (Some("b"), 11));
        assert!(args.stats_addr.is_loopback());
        assert_eq!((args.pid_file(), args.output()), (None, None));
        assert!(matches!(parse(&["top"]).map(|args| args.verb), Ok(Some(Verb::Top(_)))));
    }

    #[test]
    fn the_examples_of_the_help_are_commands() {
        use clap::CommandFactory;
        let help = Args::command().render_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").expect("examples");
        for line in examples.lines() {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            assert!(parse(&words).is_ok(), "{line}");
        }
        for path in ["/metrics", "/healthz", "/readyz", "/stats", "/slowlog", "/hotkeys"] {
            assert!(help.contains(path), "{path}");
        }
    }

    #[test]
    fn statistics_stay_on_this_machine_unless_told_otherwise() {
        let args = parse(&[]).expect("no flag is needed");
        assert!(args.stats_addr.is_loopback());
        assert_eq!((args.stats_port, args.stats_interval), (22222, 30_000));
    }

    #[test]
    fn metrics_stay_on_this_machine_unless_told_otherwise() {
        assert_eq!(parse(&[]).expect("no flag is needed").metrics, None);
        for (text, expected) in [("9000", "127.0.0.1:9000"), ("0.0.0.0:1", "0.0.0.0:1"), ("[::]:1", "[::]:1")]
        {
            let args = parse(&["--metrics", text]).expect(text);
            assert_eq!(args.metrics.map(|address| address.to_string()).as_deref(), Some(expected));
        }
        for bad in ["", "host:1", "127.0.0.1", "70000"] {
            assert!(parse(&["--metrics", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn threads_are_counted_or_found() {
        let threads = |text: &str| parse(&["--threads", text]).map(|args| args.threads.count().get());
        assert_eq!(parse(&[]).expect("no flag is needed").threads.count().get(), 1);
        assert_eq!(threads("3").expect("a number"), 3);
        assert!(threads("auto").expect("a word") >= 1);
        for bad in ["0", "-1", "many", "1025"] {
            assert!(threads(bad).is_err(), "{bad}");
        }
    }
}
