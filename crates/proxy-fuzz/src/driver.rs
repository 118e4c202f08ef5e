//! The search: a child runs input after input and notes the number of the one under way; when it
//! dies, by whatever (a panic, the end of the stack or of memory) or stops to move, the number
//! alone gives the input back.
//!
//! ```text
//!  search ──starts──▶ child: input(seed, n) ─▶ Target::run ─▶ n + 1 ...
//!     ▲                        │ n
//!     └── dead or stuck ◀── progress file ──▶ input(seed, n) again, made small, saved
//! ```

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, setrlimit};
use tombolo_proxy_fuzz::{Target, corpus, mutate};

use crate::minimise;

/// Memory that a child may have: an input is small, and nothing it does may need much.
const MAX_MEMORY: u64 = 2 << 30;
/// How long one input may take.
const STUCK: Duration = Duration::from_secs(20);
/// A target with so many crashes has shown enough.
const ENOUGH: usize = 5;

/// Runs one input, in this process.
pub(crate) fn replay(target: Target, path: &Path) -> Result<()> {
    limit_memory()?;
    let mut data = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut data))
        .with_context(|| format!("{} can not be read", path.display()))?;
    target.run(&data);
    Ok(())
}

/// Runs inputs from number `from` on until it is killed.
pub(crate) fn child(target: Target, seed: u64, from: u64, progress: &Path) -> Result<()> {
    limit_memory()?;
    let seeds = corpus::seeds(target)?;
    let progress = File::options().write(true).open(progress)?;
    for iteration in from.. {
        progress.write_all_at(&iteration.to_ne_bytes(), 0)?;
        target.run(&mutate::input(target, &seeds, seed, iteration));
    }
    Ok(())
}

fn limit_memory() -> Result<()> {
    setrlimit(Resource::RLIMIT_AS, MAX_MEMORY, MAX_MEMORY).context("memory can not be limited")
}

/// Searches for `seconds`; returns how many crashes it found.
pub(crate) fn search(target: Target, seed: u64, seconds: u64) -> Result<usize> {
    let name = target.name();
    let progress = tempfile::NamedTempFile::new().context("make a temporary file")?;
    let seeds = corpus::seeds(target)?;
    println!("{name}: {seconds} s from seed {seed}, {} seeds in the corpus", seeds.len());
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut from, mut crashes) = (0_u64, 0);
    while Instant::now() < end && crashes < ENOUGH {
        progress.as_file().write_all_at(&from.to_ne_bytes(), 0)?;
        let number = from.to_string();
        let mut command = this(target)?;
        command.arg("--child").arg(progress.path()).arg(&number).args(["--seed", &seed.to_string()]);
        let mut child = command.spawn().context("start a child")?;
        let ending = watch(&mut child, progress.as_file(), end)?;
        let reached = position(progress.as_file())?;
        let Some(ending) = ending else {
            from = reached;
            break;
        };
        crashes += 1;
        let data = mutate::input(target, &seeds, seed, reached);
        let small = minimise::minimise(data, |data| fails(target, data).unwrap_or(false));
        let path = corpus::save_crash(target, &small)?;
        println!("{name}: input {reached}: {ending}; {} bytes are in {}", small.len(), path.display());
        println!("{name}: again with: cargo xtask fuzz --target {name} --replay {}", path.display());
        from = reached + 1;
    }
    println!("{name}: {from} inputs, {crashes} crashes");
    Ok(crashes)
}

/// How the child ended; `None` when it was killed because the time is up.
fn watch(child: &mut Child, progress: &File, end: Instant) -> Result<Option<String>> {
    let (mut last, mut since) = (u64::MAX, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(describe(status)));
        }
        let reached = position(progress)?;
        if reached != last {
            (last, since) = (reached, Instant::now());
        }
        let stuck = since.elapsed() > STUCK;
        if stuck || Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(stuck.then(|| "no end".to_string()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn describe(status: ExitStatus) -> String {
    if status.code() == Some(101) { "a panic".to_string() } else { status.to_string() }
}

fn position(progress: &File) -> Result<u64> {
    let mut bytes = [0; 8];
    progress.read_exact_at(&mut bytes, 0)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Whether a process of its own dies of `data`, or does not end.
fn fails(target: Target, data: &[u8]) -> Result<bool> {
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().write_all_at(data, 0)?;
    let mut command = this(target)?;
    let mut child = command.arg("--replay").arg(file.path()).stderr(Stdio::null()).spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(!status.success());
        }
        if started.elapsed() > STUCK {
            child.kill()?;
            child.wait()?;
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// This program, for `target`.
fn this(target: Target) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["--target", target.name()]).stdin(Stdio::null());
    Ok(command)
}
