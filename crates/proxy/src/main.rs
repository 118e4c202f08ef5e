//! `tombolo-proxy`: reads the configuration and runs the worker until a signal ends it.

use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tombolo_proxy::cli::Args;
use tombolo_proxy::config::Config;
use tombolo_proxy::{Log, net};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tombolo-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(reason) = args.unsupported() {
        anyhow::bail!("{reason}");
    }
    let config = Config::load(&args.conf_file)?;
    if args.test_conf {
        println!("tombolo-proxy: configuration file '{}' is good", args.conf_file.display());
        return Ok(());
    }
    let log = Log::open(args.output.as_deref(), args.verbose).context("the log can not be opened")?;
    let mut worker = net::Worker::new(&config, log)?;
    if let Some(path) = &args.pid_file {
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("{} can not be written", path.display()))?;
    }
    let outcome = worker.run();
    if let Some(path) = &args.pid_file {
        let _ = fs::remove_file(path);
    }
    Ok(outcome?)
}
