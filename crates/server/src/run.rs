//! Running a program in a VM and keeping what it prints, for no longer than it may take.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tombolo_agent::{Agent, AgentError, ProcessState, Program};

/// At most this much of a program's output is kept; the rest is read and thrown away.
const KEPT: usize = 1 << 20;

/// How a program came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// What it printed to stdout and stderr, in that order; invalid UTF-8 replaced.
    pub output: String,
    /// Its exit status as a shell has it; `None` when it was still running at its time limit, and was killed.
    pub code: Option<i32>,
}

/// Runs a program in an endpoint.
pub fn run(agent: &Agent, endpoint: &str, program: Program, limit: Duration) -> Result<Ran, AgentError> {
    run_on(agent, endpoint, program, File::open("/dev/null")?.into(), limit)
}

/// Runs a program in an endpoint with a text on its stdin, which is less than a pipe holds (64 KiB).
pub fn run_fed(
    agent: &Agent,
    endpoint: &str,
    program: Program,
    stdin: &str,
    limit: Duration,
) -> Result<Ran, AgentError> {
    let (read, mut write) = std::io::pipe()?;
    write.write_all(stdin.as_bytes())?;
    drop(write);
    run_on(agent, endpoint, program, read.into(), limit)
}

fn run_on(
    agent: &Agent,
    endpoint: &str,
    program: Program,
    stdin: OwnedFd,
    limit: Duration,
) -> Result<Ran, AgentError> {
    let (stdout, stdout_in) = std::io::pipe()?;
    let (stderr, stderr_in) = std::io::pipe()?;
    let session = agent.exec(endpoint, program, [stdin.as_fd(), stdout_in.as_fd(), stderr_in.as_fd()])?;
    drop((stdin, stdout_in, stderr_in));
    let readers =
        [OwnedFd::from(stdout), OwnedFd::from(stderr)].map(|pipe| std::thread::spawn(|| read_all(pipe)));
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let ended = poll(&mut [PollFd::new(session.as_fd(), PollFlags::POLLIN)], timeout);
    let code = match ended {
        Ok(0) => {
            drop(session); // kills it, which ends its output
            None
        }
        _ => match session.wait()? {
            tombolo_agent::Outcome::Ended(status) => Some(status.code()),
            tombolo_agent::Outcome::Failed { code, message } => {
                return Ok(Ran { output: message, code: Some(code) });
            }
        },
    };
    let output = readers.map(|reader| reader.join().unwrap_or_default()).concat();
    Ok(Ran { output: String::from_utf8_lossy(&output).into_owned(), code })
}

/// The state of an endpoint's detached program, the last of its name; `None` if it was never started.
pub fn state(agent: &Agent, endpoint: &str, name: &str) -> Result<Option<ProcessState>, AgentError> {
    Ok(agent
        .processes(endpoint)?
        .into_iter()
        .rfind(|process| process.log == name)
        .map(|process| process.state))
}

/// Everything that comes out of a pipe, up to a limit.
fn read_all(pipe: OwnedFd) -> Vec<u8> {
    let mut pipe = File::from(pipe);
    let mut kept = Vec::new();
    let mut buffer = [0; 8192];
    // An error ends the output as its end does: what was read is what there is.
    while let Ok(read @ 1..) = pipe.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..read.min(KEPT.saturating_sub(kept.len()))]);
    }
    kept
}
