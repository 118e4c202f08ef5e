//! `tombolo-proxy`: reads the configuration and runs the proxy until a signal ends it.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::daemon;
use tombolo_proxy::cli::{Args, Verb};
use tombolo_proxy::config::Config;
use tombolo_proxy::{Log, net, top};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            // Help is no error. What is one is 1 with twemproxy; a verb has the 2 of its other errors.
            let is_verb = std::env::args_os().nth(1).is_some_and(|word| word == "top");
            return match error.use_stderr() {
                true => ExitCode::from(if is_verb { 2 } else { 1 }),
                false => ExitCode::SUCCESS,
            };
        }
    };
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
    if args.test_conf {
        let config = Config::load_and_resolve(&args.conf_file)?;
        net::Contexts::default().load(&config)?;
        println!("tombolo-proxy: configuration file '{}' syntax is ok", args.conf_file.display());
        return Ok(());
    }
    let log = Log::open(args.output(), args.verbose, args.log_format).context("the log can not be opened")?;
    let log = Arc::new(log);
    let outcome = start(args, &log).inspect_err(|error| {
        // It is printed too; but whoever looks into the file should find it, and in the background
        // nobody sees what is printed.
        if args.output().is_some() {
            log.line(0, format_args!("{error:#}"));
        }
    });
    log.flush();
    outcome
}

fn start(args: &Args, log: &Arc<Log>) -> anyhow::Result<()> {
    let config = Config::load(&args.conf_file)?;
    raise_descriptor_limit();
    if args.daemonize {
        go_to_the_background(args)?;
    }
    serve(args, &config, log)
}

fn go_to_the_background(args: &Args) -> anyhow::Result<()> {
    // While there is somebody to be told.
    if let Some(path) = args.pid_file() {
        try_to_write(path).with_context(|| unwritable(path))?;
    }
    // Before there is a thread or a descriptor that epoll knows: neither survives a fork.
    daemon(true, false).context("can not go to the background")
}

/// Runs the proxy until a signal ends it.
fn serve(args: &Args, config: &Config, log: &Arc<Log>) -> anyhow::Result<()> {
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
        // twemproxy clears the umask in the background, and its clients may be other users. Our other
        // files keep it.
        unix_mode: args.daemonize.then_some(0o777),
    };
    let mut proxy = net::Proxy::start(config, &options, Arc::clone(log))?;
    if let Some(path) = args.pid_file() {
        fs::write(path, format!("{}\n", std::process::id())).with_context(|| unwritable(path))?;
    }
    let outcome = proxy.run();
    if let Some(path) = args.pid_file()
        // Who has come in its place may have written its own.
        && fs::read_to_string(path).is_ok_and(|text| text.trim() == std::process::id().to_string())
    {
        let _ = fs::remove_file(path);
    }
    Ok(outcome?)
}

/// Whether a file can be written, which stays as it is: it may be another proxy's, whose address then is
/// in use.
fn try_to_write(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        Err(_) => OpenOptions::new().append(true).open(path).map(drop),
    }
}

fn unwritable(path: &Path) -> String {
    format!("{} can not be written", path.display())
}

/// As many descriptors as the system allows: each client takes one. Failing to is no reason not
/// to serve.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
