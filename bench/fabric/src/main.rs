//! `tombolo-bench-fabric`: measures, and prints a table.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tombolo_bench_api::report::{self, Series};
use tombolo_bench_fabric::measure::{FIGURES, Plan, once};
use tombolo_bench_fabric::world::Size;
use tombolo_bench_fabric::{floor, traffic};

/// Measures labs with many VMs.
#[derive(Debug, Parser)]
#[command(name = "tombolo-bench-fabric")]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// The release binary of tombolo, if it is not beside this one
    #[arg(long, value_name = "PATH")]
    tombolo: Option<PathBuf>,
    /// Another binary of tombolo, to measure in turn
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// How often each binary is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Instances
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(4..=20000))]
    vms: u32,
    /// Networks that the instances are in, for all but the changes of rules and tags
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=200))]
    networks: u32,
    /// Firewall rules
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=20000))]
    rules: u32,
    /// Changes of each kind in a round
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10000))]
    changes: u32,
    /// A few seconds that show whether it works, with figures that mean nothing
    #[arg(long, conflicts_with_all = ["rounds", "vms", "networks", "rules", "changes"])]
    quick: bool,
    /// How to print the results
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Makes the floor once, and prints how many milliseconds it took
    #[command(hide = true)]
    Floor {
        /// Instances
        vms: u32,
        /// Networks
        networks: u32,
    },
    /// Measures a plain veth pair once, and prints what it carries
    #[command(hide = true)]
    Plain {
        /// The program at both ends
        program: PathBuf,
        /// Milliseconds of a stream
        millis: u64,
    },
    /// Measures streams and round trips, within a network and across a peering, beside a plain veth pair
    #[command(after_help = "Example: tombolo-bench-fabric traffic --rounds 7")]
    Traffic {
        /// The release binary of tombolo, if it is not beside this one
        #[arg(long, value_name = "PATH")]
        tombolo: Option<PathBuf>,
        /// How often everything is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// How long a stream is, in milliseconds
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        millis: u64,
        /// Firewall rules of each network: the usual number; few and many of them are a tenth and ten times as many
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=2000))]
        rules: u32,
        /// How to print the results
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.part {
        Some(Part::Floor { vms, networks }) => the_floor(vms, networks),
        Some(Part::Plain { program, millis }) => the_veth(&program, millis),
        Some(Part::Traffic { tombolo, rounds, millis, rules, format }) => {
            let plan =
                traffic::Plan { time: Duration::from_millis(millis), rules: [rules / 10, rules, rules * 10] };
            the_traffic(tombolo, rounds, plan, format)
        }
        None => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tombolo-bench-fabric: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn the_floor(vms: u32, networks: u32) -> Result<()> {
    // As the agent does, so that both are the same to the kernel.
    tombolo_agent::enter_lab()?;
    println!("{:.3}", floor::run(vms, networks)?.as_secs_f64() * 1e3);
    Ok(())
}

fn the_veth(program: &Path, millis: u64) -> Result<()> {
    tombolo_agent::enter_lab()?;
    print!("{}", traffic::through_veth(program, millis)?);
    Ok(())
}

fn the_traffic(tombolo: Option<PathBuf>, rounds: u32, plan: traffic::Plan, format: Format) -> Result<()> {
    let own = std::env::current_exe()?;
    let tombolo = tombolo.unwrap_or_else(|| own.with_file_name("tombolo"));
    let program = own.with_file_name("tombolo-bench-traffic");
    if let Some(path) = [&tombolo, &program].into_iter().find(|path| !path.exists()) {
        bail!("{} is not there: cargo build --release -p tombolo -p tombolo-bench-fabric", path.display());
    }
    let mut series = Series { name: "tombolo".to_owned(), rounds: Vec::new() };
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        series.rounds.push(traffic::once(&tombolo, &own, &program, plan)?);
    }
    print(&traffic::FIGURES, &[series], format);
    Ok(())
}

fn print(figures: &[(&str, &str)], all: &[Series], format: Format) {
    match format {
        Format::Text => print!("{}", report::table(figures, all)),
        Format::Json => println!("{:#}", report::json(figures, all)),
    }
}

fn run(args: &Args) -> Result<()> {
    let (plan, rounds) = match args.quick {
        true => {
            let many = Size { vms: 22, networks: 2, rules: 4 };
            (Plan { many, one: Size { networks: 1, ..many }, changes: 4, check_every: 2 }, 1)
        }
        false => {
            let many = Size { vms: args.vms, networks: args.networks, rules: args.rules };
            // One network is not for all rules: what is measured is a change in a network with many VMs.
            let one = Size { networks: 1, rules: args.rules.min(100), ..many };
            (Plan { many, one, changes: args.changes, check_every: 20 }, args.rounds)
        }
    };
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("tombolo");
    let mut binaries = vec![("tombolo", args.tombolo.clone().unwrap_or(beside))];
    binaries.extend(args.before.clone().map(|path| ("before", path)));
    if let Some((_, path)) = binaries.iter().find(|(_, path)| !path.exists()) {
        bail!("{} is not there: cargo build --release -p tombolo, or --tombolo PATH", path.display());
    }
    let mut all: Vec<Series> =
        binaries.iter().map(|(name, _)| Series { name: (*name).to_owned(), rounds: Vec::new() }).collect();
    for round in 1..=rounds {
        for ((name, path), series) in binaries.iter().zip(&mut all) {
            eprintln!("round {round} of {rounds}: {name}");
            series.rounds.push(once(path, &own, plan).with_context(|| (*name).to_owned())?);
        }
    }
    print(&FIGURES, &all, args.format);
    Ok(())
}
