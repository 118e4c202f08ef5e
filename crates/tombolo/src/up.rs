//! `tombolo up` and `tombolo down`.

use crate::lab::{LabArgs, StartArgs, parse, read, said, warnings};
use crate::output::print;
use crate::serve::Serving;
use crate::status;
use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{DirBuilder, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use tombolo_agent::Agent;
use tombolo_server::control::{ApiAddress, Control, Ended, Request, Response, ask};
use tombolo_server::paths::LabDir;
use tombolo_server::{Begin, Cloud, CloudError, Starting, View, now};

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topology file
    file: PathBuf,
    /// Return when the lab is up, and leave it running
    #[arg(long)]
    detach: bool,
    /// Leave the terminal once the lab is up: how `--detach` starts its server
    #[arg(long, hide = true)]
    leave_terminal: bool,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    lab: LabArgs,
}

/// Arguments of `down`.
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    lab: LabArgs,
}

/// Brings a file up.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.detach {
        return detached(args);
    }
    foreground(args).inspect_err(|error| {
        if args.leave_terminal {
            // For `detached`: the log goes with the lab's folder, and a full disk has no room for it.
            print(&format!("{REASON}{error:#}"));
        }
    })
}

/// Brings a file up and stays.
fn foreground(args: &Args) -> Result<ExitCode> {
    let dir = LabDir::of(&args.lab.lab);
    let control = Control::bind(&dir).or_else(|error| {
        // What is wrong with the file will still be when the lab that is up has ended.
        parse(&args.file)?;
        Err(error).context(dir.path.display().to_string())
    })?;
    let ended = bring_up(args, &dir, &control);
    control.close();
    match ended? {
        Ended::Asked => Ok(ExitCode::SUCCESS),
        Ended::AgentGone => bail!("the agent is gone, and the lab with it"),
    }
}

/// Answers the file's requests and serves what comes of them, as `serve` does, from a folder that goes with the lab.
fn bring_up(args: &Args, dir: &LabDir, control: &Control) -> Result<Ended> {
    let started = Instant::now();
    let state = dir.state();
    // Left by a server that was killed.
    let _ = std::fs::remove_dir_all(&state);
    DirBuilder::new().mode(0o700).create(&state).with_context(|| state.display().to_string())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Nobody asked for a port, so nobody but who can read the token gets in by it.
    let api = ApiAddress { address: listener.local_addr()?, state, token: true };
    // Its World is the file's, anew each time: without the server there is nothing to go on with.
    let keep = Duration::ZERO;
    let (asynchronous, allowed, start) = (false, Vec::new(), args.start);
    let serving = Serving { dir, control, listener, api, asynchronous, allowed, keep, start };
    let begin = |lab| {
        // An empty lab takes as long as a long file.
        let lab = Starting::new(lab)?;
        let topology = parse(&args.file)?;
        if args.leave_terminal {
            print(&warnings(&topology));
        }
        Ok(Begin::File { topology: Box::new(topology), now: now(), lab })
    };
    let is_up = |_: &ApiAddress, cloud: &Cloud| {
        if args.leave_terminal {
            // Until now Ctrl-C in that terminal was for this process too.
            return Ok(control.leave_terminal()?);
        }
        let agent = Agent::connect(&dir.agent())?;
        let view = View::new(cloud.state().world.clone(), &agent);
        print(&status::text(&tombolo_server::status::status(&view)?));
        print(&format!("\nup in {:.2} s; Ctrl-C ends it\n", started.elapsed().as_secs_f64()));
        Ok(())
    };
    serving.run(begin, is_up).map_err(|error| match error.downcast() {
        Ok(CloudError::File(refused)) => said(&args.file, &refused),
        Ok(error) => error.into(),
        Err(error) => error,
    })
}

/// What comes before the reason for which a detached server ends.
const REASON: char = '\0';

/// Has a process of its own bring a file up, and returns when it has.
fn detached(args: &Args) -> Result<ExitCode> {
    let dir = LabDir::of(&args.lab.lab);
    dir.create().with_context(|| dir.path.display().to_string())?;
    let log = OpenOptions::new().create(true).read(true).append(true).open(dir.log());
    let log = log.with_context(|| dir.log().display().to_string())?;
    let before = log.metadata()?.len();
    // What it is to say here, and why it did not come up: this needs no room on a disk, and no name.
    let here = File::from(memfd_create(c"tombolo-up", MFdFlags::MFD_CLOEXEC)?);
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("up").arg(&args.file).args(["--leave-terminal", "--lab", &args.lab.lab]);
    command.args(args.start.given());
    command.stdin(Stdio::null()).stdout(here.try_clone()?).stderr(log.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn().context("start the lab's server")?;
    loop {
        // Only its own child counts: somebody else's server may have been first.
        let served = matches!(ask(&dir, Request::Ping), Some(Response::Pong { pid }) if pid == child.id());
        if served {
            eprint!("{}", text(&here, 0));
            let down = args.lab.command("down");
            print(&format!("up in {:.2} s; `{down}` ends it\n", started.elapsed().as_secs_f64()));
            // The server has said it where nobody looks.
            args.start.note_less();
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = child.try_wait()? {
            // The folder is not this process's to remove while it is somebody's.
            if let Ok(Some(lock)) = dir.lock() {
                lock.remove();
            }
            // Errors in the file belong here, not into a log.
            read(&args.file)?;
            // One that panicked or was killed has said what it has in the log, at best.
            let (here, log) = (text(&here, 0), text(&log, before));
            let said = here.split_once(REASON).map_or(log.as_str(), |(_, reason)| reason);
            let said = match said.trim().trim_start_matches("error: ") {
                "" => format!("its server ended ({status})"),
                said => said.to_owned(),
            };
            bail!("the lab did not come up: {said}");
        }
        // Until it listens; then the question waits.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What there is in an open file from an offset on, whatever has become of its name.
fn text(file: &File, mut from: u64) -> String {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = file.read_at(&mut part, from) {
        bytes.extend(&part[..length]);
        from += length as u64;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ends the lab that a server that was killed has left; whether there was one.
fn end_left(dir: &LabDir) -> Result<bool> {
    if !dir.agent().exists() {
        return Ok(false);
    }
    // Somebody who has the lock is about to serve it.
    let Some(lock) = dir.lock()? else { return Ok(false) };
    let left = Agent::connect(&dir.agent());
    left.iter().for_each(Agent::end);
    let found = left.is_ok();
    if found {
        lock.remove();
    }
    Ok(found)
}

/// Ends a lab, and returns when it has ended.
pub(crate) fn down(args: &DownArgs) -> Result<ExitCode> {
    let dir = LabDir::of(&args.lab.lab);
    let started = Instant::now();
    if ask(&dir, Request::Shutdown).is_none() && !end_left(&dir)? {
        bail!("no lab is up (looked in {})", dir.path.display());
    }
    let deadline = started + Duration::from_secs(30);
    while dir.control().exists() {
        if Instant::now() > deadline {
            bail!("the lab was told to end, and has not");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    print(&format!("down in {:.2} s\n", started.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}
