//! `tombolo-proxy`: reads the configuration and runs the proxy until a signal ends it.

use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::daemon;
use tombolo_proxy::cli::{Args, Verb};
use tombolo_proxy::config::Config;
use tombolo_proxy::{Log, net, top};

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Verb::Top(options)) = &args.verb {
        return match top::run(options) {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                eprintln!("tombolo-proxy top: {error}");
                ExitCode::from(2)
            }
        };
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tombolo-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.describe_stats {
        print!("{}", net::describe());
        return Ok(());
    }
    let config = Config::load(&args.conf_file)?;
    if args.test_conf {
        net::Contexts::default().load(&config)?;
        println!("tombolo-proxy: configuration file '{}' syntax is ok", args.conf_file.display());
        return Ok(());
    }
    raise_descriptor_limit();
    let log = Log::open(args.output.as_deref(), args.verbose, args.log_format)
        .context("the log can not be opened")?;
    if args.daemonize {
        // Before there is a thread or a descriptor that epoll knows: neither survives a fork.
        daemon(true, false).context("can not go to the background")?;
    }
    let options = net::Options {
        stats: net::StatsOptions {
            listen: SocketAddr::new(args.stats_addr, args.stats_port),
            interval: Duration::from_millis(args.stats_interval.into()),
        },
        file: args.conf_file.clone(),
        threads: args.threads.count(),
        event_loop: args.event_loop,
        metrics: args.metrics,
        drain_timeout: Duration::from_secs(args.drain_timeout.into()),
    };
    let mut proxy = net::Proxy::start(&config, &options, log).inspect_err(|error| {
        // In the background nobody sees what is printed.
        if args.daemonize
            && let Ok(log) = Log::open(args.output.as_deref(), args.verbose, args.log_format)
        {
            log.line(0, format_args!("{error}"));
        }
    })?;
    if let Some(path) = &args.pid_file {
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("{} can not be written", path.display()))?;
    }
    let outcome = proxy.run();
    if let Some(path) = &args.pid_file
        // Who has come in its place may have written its own.
        && fs::read_to_string(path).is_ok_and(|text| text.trim() == std::process::id().to_string())
    {
        let _ = fs::remove_file(path);
    }
    Ok(outcome?)
}

/// As many descriptors as the system allows: each client takes one. Failing to is no reason not
/// to serve.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
