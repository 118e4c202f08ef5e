//! Redis's own suite against a server that it did not start (tests/README.md of its source), as
//! Redis's continuous integration runs it. Twice: as it is, where nearly every client selects
//! database 9 and so has a connection of its own, and with one database, where clients share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::exceptions::{Exception, complaints, parse};
use super::table::Table;
use super::{REDIS, Run, WITH_REDIS, sandbox};
use crate::cargo::say;

/// The runs, and what they add to the suite's arguments.
const RUNS: [(&str, &[&str]); 2] = [("own", &[]), ("shared", &["--singledb"])];
/// For one unit. Without progress for `QUIET`, the suite itself gives up.
const SECONDS: u32 = 900;
const QUIET: &str = "300";

/// Runs every unit, each with a server of its own, directly and through the proxy at once.
pub(crate) fn run(source: &Path, proxy: &Path, work: &Path) -> Result<Vec<Run>> {
    let tree = prepare(source, work)?;
    let units = units(&tree)?;
    let exceptions = parse(REDIS);
    let mut runs = Vec::new();
    for (name, more) in RUNS {
        let exceptions: Vec<&Exception> = exceptions.iter().filter(|entry| entry.is_for(name)).collect();
        let (mut direct, mut through) = (Table::default(), Table::default());
        for unit in &units {
            let mut args = vec!["--tags", "-slow", "--durable", "--timeout", QUIET, "--single", unit];
            args.extend(more);
            let skipped = exceptions.iter().filter(|entry| entry.is_skipped());
            let skipped = skipped.filter_map(|entry| entry.test.strip_prefix(&format!("{unit}: ")));
            skipped.for_each(|test| args.extend(["--skiptest", test]));
            let one = |proxy: Option<&Path>| unit_run(&tree, unit, name, proxy, &args, work);
            let (one_direct, one_through) = thread::scope(|scope| {
                let direct = scope.spawn(|| one(None));
                let through = one(Some(proxy));
                (direct.join().expect("no panic"), through)
            });
            let (one_direct, one_through) = (one_direct?, one_through?);
            let ((a, b), (c, d)) =
                ((one_direct.passed(), one_direct.failed()), (one_through.passed(), one_through.failed()));
            say(&format!("{unit} ({name}): {a} pass and {b} fail directly, {c} and {d} through the proxy"));
            direct.extend(one_direct);
            through.extend(one_through);
        }
        ensure!(direct.passed() > 0, "Redis's suite ran no test: see {}", work.display());
        let complaints = complaints(&direct, &through, &exceptions);
        let listed = exceptions.len();
        runs.push(Run { suite: format!("redis, {name} connections"), direct, through, listed, complaints });
    }
    Ok(runs)
}

/// A tree that the suite may write to: its tests, and the machine's programs in place of built ones.
fn prepare(source: &Path, work: &Path) -> Result<PathBuf> {
    let tree = work.join("redis");
    if tree.exists() {
        fs::remove_dir_all(&tree).context("empty the suite's folder")?;
    }
    fs::create_dir_all(tree.join("src"))?;
    let copied = Command::new("cp").arg("-r").arg(source.join("tests")).arg(&tree).status();
    ensure!(copied.context("run cp")?.success(), "could not copy Redis's tests");
    for program in ["redis-server", "redis-cli", "redis-benchmark"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), tree.join("src").join(program))?;
    }
    Ok(tree)
}

/// Those units that have something for a server that is there already.
fn units(tree: &Path) -> Result<Vec<String>> {
    let mut tclsh = Command::new("tclsh");
    tclsh.args(["tests/test_helper.tcl", "--list-tests"]).current_dir(tree);
    let output = tclsh.output().context("run tclsh (Debian package tcl)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Integration tests start their own servers, all of them.
    Ok(text.lines().filter(|unit| unit.starts_with("unit/")).map(str::to_string).collect())
}

fn unit_run(
    tree: &Path,
    unit: &str,
    run: &str,
    proxy: Option<&Path>,
    args: &[&str],
    work: &Path,
) -> Result<Table> {
    let way = if proxy.is_some() { "through" } else { "direct" };
    let folder = work.join("runs").join(format!("{}-{run}-{way}", unit.replace('/', "-")));
    fs::create_dir_all(&folder)?;
    let script = format!("cd '{}'\n{WITH_REDIS}", tree.display());
    let (place, proxy) =
        (folder.display().to_string(), proxy.unwrap_or(Path::new("-")).display().to_string());
    let mut all = vec![place.as_str(), proxy.as_str(), "tclsh", "tests/test_helper.tcl"];
    all.extend(["--host", "127.0.0.1", "--port", "@PORT@"]);
    all.extend(args);
    let output = sandbox::run(&script, &all, SECONDS, &folder.join("output"))?;
    Ok(Table::of_redis(unit, &output))
}
