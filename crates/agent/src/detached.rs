//! Programs that belong to the lab rather than to a requester: redis-server, startup scripts.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use crate::lab::{Lab, lock};
use crate::message::{ExecControl, ExecEvent, ExecStatus, LogText, ProcessInfo, ProcessState, Program};
use crate::proto::Conn;
use crate::vm::Vm;

/// How much of a program's output is kept.
const KEPT: usize = 256 << 10;
/// Between TERM and KILL: what service managers give a database to write its files.
const GRACE: Duration = Duration::from_secs(10);

/// A detached program, running or ended.
#[derive(Debug)]
pub(crate) struct Detached {
    argv: Vec<String>,
    control: Conn,
    state: Mutex<ProcessState>,
    changed: Condvar,
    log: Mutex<Ring>,
}

/// Starts a program under a name that no running program of the VM has.
pub(crate) fn start(lab: &Lab, vm: &Vm, log: String, program: Program, stdin: Option<Vec<u8>>) -> Result<()> {
    let mut programs = lock(&vm.programs);
    if programs.get(&log).is_some_and(|known| known.is_running()) {
        bail!("{log} is running already");
    }
    let (output, input) = io::pipe()?;
    let input = OwnedFd::from(input);
    let stdio = [source(stdin)?, input.try_clone()?, input];
    let (control, theirs) = Conn::pair()?;
    let argv = program.argv.clone();
    vm.launch(lab, program, None, true, &theirs, &stdio)?;
    // The VM holds these now; here they would hide its end.
    drop((theirs, stdio));

    let pid = match control.recv().context("the VM ended")?.0 {
        ExecEvent::Started { pid } => pid,
        ExecEvent::Failed { message, .. } => bail!(message),
        ExecEvent::Ended(_) => bail!("init gave the events in the wrong order"),
    };
    let state = Mutex::new(ProcessState::Running { pid });
    let detached = Detached { argv, control, state, changed: Condvar::new(), log: Mutex::default() };
    let detached = Arc::new(detached);
    for work in [reader(&detached, output), waiter(&detached)] {
        thread::Builder::new().name("detached".into()).stack_size(64 << 10).spawn(work)?;
    }
    programs.insert(log, detached);
    Ok(())
}

/// All detached programs of a VM.
pub(crate) fn list(vm: &Vm) -> Vec<ProcessInfo> {
    let programs = lock(&vm.programs);
    let info = |(log, known): (&String, &Arc<Detached>)| ProcessInfo {
        log: log.clone(),
        argv: known.argv.clone(),
        state: *lock(&known.state),
    };
    programs.iter().map(info).collect()
}

/// A detached program by name.
pub(crate) fn find(vm: &Vm, log: &str) -> Result<Arc<Detached>> {
    lock(&vm.programs).get(log).cloned().with_context(|| format!("the VM has no program {log}"))
}

impl Detached {
    fn is_running(&self) -> bool {
        matches!(*lock(&self.state), ProcessState::Running { .. })
    }

    /// TERM, then KILL; returns when it has ended.
    pub(crate) fn stop(&self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            // If the VM is gone, so is the program, and the state says so soon.
            let _ = self.control.send(&ExecControl::Signal { signal: signal as i32 }, &[]);
            let running = |state: &mut ProcessState| matches!(state, ProcessState::Running { .. });
            let waited = self.changed.wait_timeout_while(lock(&self.state), GRACE, running);
            if waited.is_ok_and(|(state, _)| matches!(*state, ProcessState::Ended(_))) {
                return;
            }
        }
    }

    /// The kept end of its output.
    pub(crate) fn text(&self) -> LogText {
        lock(&self.log).text()
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// Keeps reading after the program itself has ended: its children may still write.
fn reader(detached: &Arc<Detached>, mut output: PipeReader) -> Work {
    let detached = Arc::clone(detached);
    Box::new(move || {
        let mut buffer = [0; 16 << 10];
        loop {
            match output.read(&mut buffer) {
                Ok(0) => return,
                Ok(got) => lock(&detached.log).push(&buffer[..got]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

fn waiter(detached: &Arc<Detached>) -> Work {
    let detached = Arc::clone(detached);
    Box::new(move || {
        let status = match detached.control.recv() {
            Ok((ExecEvent::Ended(status), _)) => status,
            // The VM was killed, and the program with it.
            _ => ExecStatus::Signaled { signal: libc::SIGKILL },
        };
        *lock(&detached.state) = ProcessState::Ended(status);
        detached.changed.notify_all();
    })
}

/// What a program reads: a file in memory, so that it may be of any size and nobody has to feed it.
fn source(stdin: Option<Vec<u8>>) -> Result<OwnedFd> {
    let Some(bytes) = stdin else {
        return Ok(OpenOptions::new().read(true).open("/dev/null")?.into());
    };
    let mut file = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file.as_fd().try_clone_to_owned()?)
}

/// The last [`KEPT`] bytes of a stream.
#[derive(Debug, Default)]
struct Ring {
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Ring {
    fn push(&mut self, new: &[u8]) {
        self.bytes.extend(new);
        let excess = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..excess);
        self.dropped += excess as u64;
    }

    fn text(&mut self) -> LogText {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous()).into_owned();
        LogText { text, dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_end_and_counts_the_rest() {
        let mut ring = Ring::default();
        ring.push(b"start");
        assert_eq!(ring.text(), LogText { text: "start".into(), dropped: 0 });
        for _ in 0..20 {
            ring.push(&[b'x'; 16 << 10]);
        }
        ring.push(b"end");
        let LogText { text, dropped } = ring.text();
        assert_eq!((text.len(), dropped), (KEPT, 5 + 20 * (16 << 10) + 3 - KEPT as u64));
        assert!(text.ends_with("xend"));
    }
}
