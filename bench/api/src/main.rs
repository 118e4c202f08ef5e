//! `tombolo-bench-api`: measures, and prints a table.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use tombolo_bench_api::measure::{FIGURES, Size, once};
use tombolo_bench_api::report::{Series, json, table};
use tombolo_bench_api::server::Contender;

/// Measures tombolo's Google APIs, in turn with cloudemu where it is on PATH.
#[derive(Debug, Parser)]
#[command(name = "tombolo-bench-api")]
struct Args {
    /// The release binary of tombolo, if it is not beside this one
    #[arg(long, value_name = "PATH")]
    tombolo: Option<PathBuf>,
    /// Another binary of tombolo, to measure in turn
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// The binary of cloudemu, if it is not on PATH
    #[arg(long, value_name = "PATH")]
    rival: Option<PathBuf>,
    /// How often each contender is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Instances
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=5000))]
    vms: u32,
    /// Resources for the rates, the instances among them; the others are firewall rules
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=60000))]
    resources: u32,
    /// A few seconds that show whether it works, with figures that mean nothing
    #[arg(long, conflicts_with_all = ["rounds", "vms", "resources"])]
    quick: bool,
    /// How to print the results
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tombolo-bench-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let (size, rounds) = match args.quick {
        true => (Size { vms: 3, resources: 6, reads: 5, inserts: 3, patches: 4, probe_every: 2 }, 1),
        false => {
            let (vms, resources) = (args.vms, args.resources);
            (Size { vms, resources, reads: 300, inserts: 50, patches: 200, probe_every: 20 }, args.rounds)
        }
    };
    let contenders = contenders(args)?;
    let mut all: Vec<Series> =
        contenders.iter().map(|one| Series { name: one.name().to_owned(), rounds: Vec::new() }).collect();
    for round in 1..=rounds {
        for (contender, series) in contenders.iter().zip(&mut all) {
            eprintln!("round {round} of {rounds}: {}", contender.name());
            series.rounds.push(once(contender, size).with_context(|| contender.name().to_owned())?);
        }
    }
    match args.format {
        Format::Text => print!("{}", table(&FIGURES, &all)),
        Format::Json => println!("{:#}", json(&FIGURES, &all)),
    }
    Ok(())
}

fn contenders(args: &Args) -> Result<Vec<Contender>> {
    let beside = std::env::current_exe()?.with_file_name("tombolo");
    let path = args.tombolo.clone().unwrap_or(beside);
    let tombolo = |name: &str, path: PathBuf| match path.exists() {
        true => Ok(Contender::Tombolo { name: name.into(), path }),
        false => {
            bail!("{} is not there: cargo build --release -p tombolo, or --tombolo PATH", path.display())
        }
    };
    let mut contenders = vec![tombolo("tombolo", path)?];
    if let Some(path) = &args.before {
        contenders.push(tombolo("before", path.clone())?);
    }
    let on_path = || {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join("cloudemu")).find(|path| path.is_file())
    };
    match args.rival.clone().or_else(on_path) {
        Some(path) if path.is_file() => contenders.push(Contender::Cloudemu(path)),
        Some(path) => bail!("{} is not there", path.display()),
        None => eprintln!("cloudemu is not on PATH and is left out"),
    }
    Ok(contenders)
}
