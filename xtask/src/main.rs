//! The task runner: `cargo xtask VERB`. Exit status 2: something is missing, or a command could not be run.

mod cargo;
mod clients;
mod needs;
mod setup;
mod suites;
mod verbs;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tombolo's tasks
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Install the programs that Tombolo and its tests use, where they are missing (Debian, by apt-get)
    Setup,
    /// Set up, build in release mode and walk the story: arguments go to `tombolo demo`
    Demo(Passed),
    /// Set up, build in release mode and compare traces with packets: arguments go to `tombolo agree`
    Agree(Passed),
    /// Set up, build in release mode and test the proxy with faults: arguments go to `tombolo-proxy-chaos`
    ProxyChaos(Passed),
    /// Give the proxy's parsers and its core any bytes: arguments go to `tombolo-proxy-fuzz`
    Fuzz(Passed),
    /// Run peers' own test suites directly and through tombolo-proxy, and compare
    ProxySuites(suites::Args),
    /// Install Google's client libraries, the one in Rust too, and have each tell the story
    Clients,
    /// Set up, build, and run every test
    Test(Passed),
    /// Formatting, clippy, and every test
    Ci,
    /// Kill Tombolo's processes at random moments, for longer than the tests do
    KillTest {
        /// How many times
        #[arg(long, default_value_t = 200)]
        rounds: u32,
    },
    /// Make the Debian package of tombolo-proxy (needs cargo-deb)
    Deb,
    /// Check licences, sources and advisories of all dependencies (needs cargo-deny)
    Deny,
}

/// Arguments that are passed on as they are.
#[derive(Debug, clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    args: Vec<String>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Verb::Demo(passed) => verbs::tombolo("demo", &passed.args),
        Verb::Agree(passed) => verbs::tombolo("agree", &passed.args),
        Verb::ProxyChaos(passed) => verbs::proxy_chaos(&passed.args),
        Verb::Fuzz(passed) => verbs::fuzz(&passed.args),
        Verb::ProxySuites(args) => suites::run_suites(&args),
        Verb::Clients => clients::test(),
        Verb::Test(passed) => verbs::test(&passed.args),
        Verb::Ci => verbs::ci(),
        Verb::KillTest { rounds } => verbs::kill_test(rounds),
        Verb::Deb => verbs::deb(),
        Verb::Deny => verbs::deny(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(2)
    })
}
