//! Peers' own suites, directly and through tombolo-proxy: what passes without it must pass with it.
//!
//! ```text
//!  source ─▶ sandbox ─┬─ redis-server ◀───────────────── suite ─▶ Table ─┐
//!                     └─ redis-server ◀─ tombolo-proxy ◀─ suite ─▶ Table ─┴▶ complaints ─▶ exit status
//!                                                            exceptions/*.txt ─┘
//! ```

mod exceptions;
mod redis;
mod sandbox;
mod sources;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::cargo::{built_binary, command, run, run_command, say, target};
use crate::{needs, setup};
use exceptions::{Exception, complaints, parse};
use table::Table;

const REDIS: &str = include_str!("exceptions/redis.txt");
const TWEMPROXY: &str = include_str!("exceptions/twemproxy.txt");
const WITH_REDIS: &str = include_str!("with_redis.sh");
/// More than a whole suite takes on a busy machine.
const SECONDS: u32 = 600;

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Where keys are, compared with the real nutcracker
    Vectors,
    /// twemproxy's tests, with nutcracker and with tombolo-proxy
    Twemproxy,
    /// The compatibility-test-suite-for-redis, when its source is given
    Compat,
    /// Redis's own suite
    Redis,
}

/// What to run, and on what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// This suite only
    #[arg(long, value_enum)]
    only: Option<Suite>,
    /// Redis's source, instead of Debian's source package
    #[arg(long, value_name = "DIR")]
    redis_source: Option<PathBuf>,
    /// twemproxy's source, instead of Debian's source package
    #[arg(long, value_name = "DIR")]
    nutcracker_source: Option<PathBuf>,
    /// The source of compatibility-test-suite-for-redis
    #[arg(long, value_name = "DIR")]
    compat_source: Option<PathBuf>,
    /// Write the placement vectors anew
    #[arg(long)]
    take: bool,
    /// Use a release build of the proxy: faster, and without the debug build's own checks
    #[arg(long)]
    release: bool,
}

/// A suite's outcome.
#[derive(Debug)]
struct Run {
    suite: String,
    direct: Table,
    through: Table,
    listed: usize,
    complaints: Vec<String>,
}

/// Runs the suites. Exit status 1: a test that passes without the proxy does not pass with it and is
/// not listed, or is listed and passes.
pub(crate) fn run_suites(args: &Args) -> Result<ExitCode> {
    setup::run_for(&[&needs::NEEDS[..], &needs::SUITES].concat())?;
    let wanted = |suite| args.only.is_none_or(|only| only == suite);
    let work = target()?.join("proxy-suites");
    fs::create_dir_all(&work).context("make a folder for the suites")?;
    let mut failed = false;
    if wanted(Suite::Vectors) {
        failed |= vectors(args.take)?.is_some();
    }
    let mut build = vec!["build", "--locked", "-p", "tombolo-proxy"];
    build.extend(args.release.then_some("--release"));
    if let Some(failed) = run(&build)? {
        return Ok(failed);
    }
    let proxy = built_binary(if args.release { "release" } else { "debug" }, "tombolo-proxy")?;
    let mut runs = Vec::new();
    if wanted(Suite::Twemproxy) {
        let source = sources::find(
            args.nutcracker_source.as_deref(),
            "nutcracker",
            "tests/lib/server_modules.py",
            &work,
        )?;
        runs.push(twemproxy(&source, &proxy, &work)?);
    }
    match &args.compat_source {
        Some(source) if wanted(Suite::Compat) => runs.push(compat(source, &proxy, &work)?),
        None if args.only == Some(Suite::Compat) => anyhow::bail!("please give --compat-source"),
        _ => {}
    }
    if wanted(Suite::Redis) {
        let source = sources::find(args.redis_source.as_deref(), "redis", "tests/test_helper.tcl", &work)?;
        runs.extend(redis::run(&source, &proxy, &work)?);
    }
    for run in &runs {
        run.complaints.iter().for_each(|complaint| println!("{}: {complaint}", run.suite));
        failed |= !run.complaints.is_empty();
    }
    if !runs.is_empty() {
        println!("{}", summary(&runs));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn summary(runs: &[Run]) -> String {
    let mut text =
        format!("{:<28} {:>8} {:>8} {:>8} {:>8}", "SUITE", "WITHOUT", "THROUGH", "LISTED", "WRONG");
    for run in runs {
        let (direct, through, wrong) = (run.direct.passed(), run.through.passed(), run.complaints.len());
        text += &format!("\n{:<28} {direct:>8} {through:>8} {:>8} {wrong:>8}", run.suite, run.listed);
    }
    text
}

/// The tests that compare with nutcracker; the exit status if one failed.
fn vectors(take: bool) -> Result<Option<ExitCode>> {
    let args = |test| ["test", "--locked", "-p", "tombolo-proxy", "--test", "proxy", "--", test];
    if take {
        let now = args("placement::keys_are_where_nutcracker_puts_them_now");
        if let Some(failed) = run_command(&now, command(&now).env("TOMBOLO_TAKE_VECTORS", "1"))? {
            return Ok(Some(failed));
        }
    }
    // What was taken is built into the test.
    run(&args("placement::keys"))
}

/// An empty folder for a run.
fn folder(work: &Path, name: &str) -> Result<PathBuf> {
    let folder = work.join("runs").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn twemproxy(source: &Path, proxy: &Path, work: &Path) -> Result<Run> {
    let python = sources::python("python-twemproxy", include_str!("requirements-twemproxy.txt"), work)?;
    let tests = source.join("tests").display().to_string();
    let one = |name: &str, program: &Path| -> Result<Table> {
        say(&format!("twemproxy's tests with {}", program.display()));
        let folder = folder(work, name)?;
        let (place, program) = (folder.display().to_string(), program.display().to_string());
        let args = [place.as_str(), program.as_str(), tests.as_str(), &python.display().to_string()];
        let script = include_str!("twemproxy.sh");
        Ok(Table::of_nose(&sandbox::run(script, &args, SECONDS, &folder.join("output"))?))
    };
    let direct = one("twemproxy-nutcracker", Path::new("/usr/sbin/nutcracker"))?;
    let through = one("twemproxy-tombolo-proxy", proxy)?;
    ensure!(direct.passed() > 0, "twemproxy's tests did not run: see {}", work.join("runs").display());
    let list = parse(TWEMPROXY);
    let list: Vec<&Exception> = list.iter().collect();
    let complaints = complaints(&direct, &through, &list);
    Ok(Run { suite: "twemproxy".to_string(), direct, through, listed: list.len(), complaints })
}

fn compat(source: &Path, proxy: &Path, work: &Path) -> Result<Run> {
    let source = sources::find(Some(source), "compatibility-test-suite-for-redis", "cts.json", work)?;
    let python = sources::python("python-compat", include_str!("requirements-compat.txt"), work)?;
    let (python, file) = (python.display().to_string(), source.join("cts.json").display().to_string());
    let program = source.join("redis_compatibility_test.py").display().to_string();
    let one = |name: &str, proxy: &Path| -> Result<Table> {
        let folder = folder(work, name)?;
        let (place, proxy) = (folder.display().to_string(), proxy.display().to_string());
        let mut args = vec![place.as_str(), proxy.as_str(), &python, &program, "--port", "@PORT@"];
        args.extend(["--testfile", &file, "--specific-version", "7.0.0", "--show-failed"]);
        Ok(Table::of_compat(&sandbox::run(WITH_REDIS, &args, SECONDS, &folder.join("output"))?))
    };
    let (direct, through) = (one("compat-direct", Path::new("-"))?, one("compat-through", proxy)?);
    ensure!(direct.passed() > 0, "the suite did not run: see {}", work.join("runs").display());
    let complaints = complaints(&direct, &through, &[]);
    Ok(Run { suite: "compatibility, Redis 7.0".to_string(), direct, through, listed: 0, complaints })
}
