//! The verbs that build and run.

use crate::cargo::{built_binary, command, run, run_command, say};
use crate::{clients, setup};
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// The tests' lints are the product's.
const CLIPPY: [&str; 7] = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];

/// Builds in release mode and becomes `tombolo VERB ARGS`, whose exit status is then this one's.
pub(crate) fn tombolo(verb: &str, args: &[String]) -> Result<ExitCode> {
    setup::run()?;
    if let Some(failed) = run(&["build", "--release", "--locked", "-p", "tombolo", "-p", "tombolo-proxy"])? {
        return Ok(failed);
    }
    become_program("tombolo", &[&[verb.to_string()], args].concat())
}

/// Builds in release mode and becomes the chaos test, which finds the proxy beside itself.
pub(crate) fn proxy_chaos(args: &[String]) -> Result<ExitCode> {
    setup::run()?;
    let build = ["build", "--release", "--locked", "-p", "tombolo-proxy", "-p", "tombolo-proxy-chaos"];
    if let Some(failed) = run(&build)? {
        return Ok(failed);
    }
    become_program("tombolo-proxy-chaos", args)
}

/// Builds with every check and yet fast, and becomes the search for broken promises.
pub(crate) fn fuzz(args: &[String]) -> Result<ExitCode> {
    if let Some(failed) = run(&["build", "--profile", "fuzz", "--locked", "-p", "tombolo-proxy-fuzz"])? {
        return Ok(failed);
    }
    become_program_of("fuzz", "tombolo-proxy-fuzz", args)
}

fn become_program(name: &str, args: &[String]) -> Result<ExitCode> {
    become_program_of("release", name, args)
}

fn become_program_of(profile: &str, name: &str, args: &[String]) -> Result<ExitCode> {
    let program = built_binary(profile, name)?;
    say(&format!("{name} {}", args.join(" ")));
    let error = Command::new(&program).args(args).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// Runs tests of the whole workspace, or of the programs that are named after it: with other packages in the command
/// their dependencies would have other features, and be compiled once more.
pub(crate) const WHOLE: [&str; 3] = ["test", "--workspace", "--locked"];

/// Builds all tests, and so the binaries of other packages that some of them run, which must be there before the first.
pub(crate) fn build_tests() -> Result<Option<ExitCode>> {
    run(&[&WHOLE[..], &["--no-run"]].concat())
}

/// Every test of every crate; arguments go to `cargo test`.
pub(crate) fn test(args: &[String]) -> Result<ExitCode> {
    setup::run()?;
    clients::install(&["python", "node"])?;
    if let Some(failed) = build_tests()? {
        return Ok(failed);
    }
    // One failure must not hide the next.
    let mut all = [&WHOLE[..], &["--no-fail-fast"]].concat();
    all.extend(args.iter().map(String::as_str));
    let failed = run_command(&all, &mut patient(&all))?;
    if !args.is_empty() {
        return Ok(failed.unwrap_or(ExitCode::SUCCESS));
    }
    // Where there is io_uring, that was with it. Simulations have no event loop.
    let proxy = ["--no-fail-fast", "--test", "proxy", "--test", "chaos", "--", "--skip", "simulation::"];
    let again = [&WHOLE[..], &proxy].concat();
    let again = run_command(&again, patient(&again).env("TOMBOLO_PROXY_EVENT_LOOP", "epoll"))?;
    Ok(failed.or(again).unwrap_or(ExitCode::SUCCESS))
}

/// A cargo command that runs two tests for each processor, unless `RUST_TEST_THREADS` says otherwise: most of them
/// wait for other programs most of the time.
fn patient(args: &[&str]) -> Command {
    let mut command = command(args);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("RUST_TEST_THREADS", (2 * processors).to_string());
    }
    command
}

/// What continuous integration checks, without its machine: see `.ci/run`.
pub(crate) fn ci() -> Result<ExitCode> {
    for args in [&["fmt", "--all", "--check"][..], &CLIPPY] {
        if let Some(failed) = run(args)? {
            return Ok(failed);
        }
    }
    test(&[])
}

/// The test that kills, with more rounds.
pub(crate) fn kill_test(rounds: u32) -> Result<ExitCode> {
    setup::run()?;
    if let Some(failed) = build_tests()? {
        return Ok(failed);
    }
    let args = [&WHOLE[..], &["--test", "e2e", "kills", "--", "--nocapture"]].concat();
    let mut test = command(&args);
    test.env("TOMBOLO_KILL_ROUNDS", rounds.to_string());
    Ok(run_command(&args, &mut test)?.unwrap_or(ExitCode::SUCCESS))
}

/// cargo-deb with the metadata of crates/proxy, and a man page from the command line's own description.
pub(crate) fn deb() -> Result<ExitCode> {
    let probe = command(&["deb", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        bail!("cargo-deb is not installed; please run\n\n  cargo install cargo-deb --locked\n");
    }
    let page = built_binary("release", "tombolo-proxy.1")?;
    let page = page.to_str().context("the target folder's name is not text")?;
    let man = ["run", "--release", "--locked", "-p", "tombolo-proxy", "--example", "man", "--", page];
    if let Some(failed) = run(&man)? {
        return Ok(failed);
    }
    let packed = Command::new("gzip").args(["-9nf", page]).status().context("run gzip")?;
    if !packed.success() {
        bail!("gzip can not pack {page}");
    }
    Ok(run(&["deb", "--locked", "--strip", "-p", "tombolo-proxy"])?.unwrap_or(ExitCode::SUCCESS))
}

/// cargo-deny with deny.toml.
pub(crate) fn deny() -> Result<ExitCode> {
    let probe = command(&["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        bail!("cargo-deny is not installed; please run\n\n  cargo install cargo-deny --locked\n");
    }
    Ok(run(&["deny", "--workspace", "--all-features", "check"])?.unwrap_or(ExitCode::SUCCESS))
}
