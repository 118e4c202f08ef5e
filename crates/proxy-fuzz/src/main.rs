//! `tombolo-proxy-fuzz`: fuzzes with a stable compiler. `cargo xtask fuzz` builds and runs it.

mod driver;
mod minimise;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tombolo_proxy_fuzz::Target;

/// Gives tombolo-proxy any bytes and looks for broken promises. Exit status 0: none was found; 1: one was;
/// 2: the search could not be made.
#[derive(Debug, Parser)]
#[command(name = "tombolo-proxy-fuzz", version)]
struct Options {
    /// What to fuzz: request, reply, memcache, config, session [default: each in turn]
    #[arg(long, value_name = "T", value_parser = target)]
    target: Option<Target>,
    /// How long, for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// What the inputs are made from; by default another one each time
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Run a target once, with the bytes of this file
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// Where a run of a child is noted, and its first number
    #[arg(long, hide = true, num_args = 2, value_names = ["FILE", "FROM"], requires = "target")]
    child: Option<Vec<String>>,
}

fn target(name: &str) -> Result<Target, String> {
    Target::named(name).ok_or_else(|| {
        let names: Vec<&str> = Target::ALL.into_iter().map(Target::name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("tombolo-proxy-fuzz: {error:#}");
        ExitCode::from(2)
    })
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u32(..).into());
    if let (Some(target), Some(path)) = (options.target, &options.replay) {
        driver::replay(target, path)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(target), Some([progress, from])) = (options.target, options.child.as_deref()) {
        driver::child(target, seed, from.parse()?, progress.as_ref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut crashes = 0;
    for target in Target::ALL.into_iter().filter(|target| options.target.is_none_or(|only| only == *target)) {
        crashes += driver::search(target, seed, options.seconds)?;
    }
    Ok(if crashes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
