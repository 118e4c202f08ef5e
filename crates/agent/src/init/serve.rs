//! Pid 1 of a VM at work: starts programs, watches their requesters, reaps everything.
//!
//! Each program has a leash, the connection of whoever asked for it: [`ExecEvent`]s go out on it,
//! [`ExecControl`]s come in. A leash that closes hangs the program up and kills it soon after, unless it was
//! started to be left alone. The agent's socket closing ends the VM.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::program::{self, NotStarted, Started, Stdio3};
use super::{etc, session};
use crate::message::{ExecControl, ExecEvent, ExecStatus, InitRequest, Program, VmSpec, WinSize};
use crate::proto::{Conn, ProtoError};

/// Between the hang-up and the kill.
const GRACE: Duration = Duration::from_millis(300);
/// How long one requester may hold up the others.
const PATIENCE: Duration = Duration::from_secs(2);
/// What programs expect; the agent's own limit is as high as it goes.
const OPEN_FILES: u64 = 1024;

struct Init<'a> {
    agent: &'a Conn,
    vm: VmSpec,
    running: Vec<Running>,
}

struct Running {
    session: Pid,
    leash: Option<Conn>,
    detached: bool,
    kill_at: Option<Instant>,
}

/// Serves until the agent's socket closes.
pub(super) fn serve(agent: &Conn, vm: VmSpec) -> Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("block SIGCHLD")?;
    let children =
        SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")?;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard);
    }
    let mut init = Init { agent, vm, running: Vec::new() };
    loop {
        let ready = init.wait(&children)?;
        // Before reaping, which changes the list that these are places in.
        for index in ready.leashes {
            init.hear(index);
        }
        if ready.children {
            while children.read_signal().is_ok_and(|signal| signal.is_some()) {}
            init.reap();
        }
        init.kill_overdue();
        if ready.agent {
            match init.agent.recv::<InitRequest>() {
                Ok((request, fds)) => init.obey(request, fds),
                Err(ProtoError::Decode(_)) => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

struct Ready {
    agent: bool,
    children: bool,
    leashes: Vec<usize>,
}

impl Init<'_> {
    fn wait(&self, children: &SignalFd) -> Result<Ready> {
        let watched: Vec<usize> =
            (0..self.running.len()).filter(|&i| self.running[i].leash.is_some()).collect();
        let mut fds = vec![PollFd::new(self.agent.as_fd(), PollFlags::POLLIN)];
        fds.push(PollFd::new(children.as_fd(), PollFlags::POLLIN));
        let leashes = self.running.iter().filter_map(|running| running.leash.as_ref());
        fds.extend(leashes.map(|leash| PollFd::new(leash.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let leashes = watched.into_iter().zip(&fds[2..]).filter(|(_, fd)| ready(fd)).map(|(index, _)| index);
        Ok(Ready { agent: ready(&fds[0]), children: ready(&fds[1]), leashes: leashes.collect() })
    }

    fn timeout(&self) -> PollTimeout {
        let Some(next) = self.running.iter().filter_map(|running| running.kill_at).min() else {
            return PollTimeout::NONE;
        };
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn obey(&mut self, request: InitRequest, fds: Vec<OwnedFd>) {
        match request {
            InitRequest::Launch { program, tty, detach } => self.launch(&program, tty, detach, fds),
            InitRequest::Setup { vm, .. } | InitRequest::Refresh(vm) => {
                // A VM whose disk is full keeps its old names; nothing better can be done from here.
                let _ = etc::names(Path::new("/etc"), &vm);
                self.vm = vm;
            }
        }
    }

    fn launch(&mut self, program: &Program, tty: Option<WinSize>, detached: bool, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let Some(leash) = fds.next().map(Conn::new) else { return };
        let _ = leash.set_timeouts(PATIENCE);
        let stdio = match tty {
            Some(size) => Ok(Stdio3::Terminal(size)),
            None => <[OwnedFd; 3]>::try_from(fds.collect::<Vec<_>>())
                .map(Stdio3::Given)
                .map_err(|_| NotStarted::new("stdin, stdout and stderr must come with the request")),
        };
        match stdio.and_then(|stdio| program::start(&self.vm, program, stdio)) {
            Ok(Started { pid, master }) => {
                let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
                // A requester that is gone shows as a closed leash.
                let _ = leash.send(&ExecEvent::Started { pid: pid.as_raw() }, &fds);
                self.running.push(Running { session: pid, leash: Some(leash), detached, kill_at: None });
            }
            Err(NotStarted { code, message }) => drop(leash.send(&ExecEvent::Failed { code, message }, &[])),
        }
    }

    /// A requester said something, or went away.
    fn hear(&mut self, index: usize) {
        let Some(running) = self.running.get_mut(index) else { return };
        let Some(leash) = &running.leash else { return };
        match leash.recv::<ExecControl>() {
            Ok((ExecControl::Signal { signal }, _)) => session::signal(running.session, signal),
            Err(ProtoError::Decode(_)) => {}
            Err(_) => {
                running.leash = None;
                if !running.detached {
                    session::hang_up(running.session);
                    running.kill_at = Some(Instant::now() + GRACE);
                }
            }
        }
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        self.running.retain(|running| match running.kill_at {
            Some(at) if at <= now => {
                session::kill_all(running.session);
                false
            }
            _ => true,
        });
    }

    /// Reaps programs and whatever they left behind.
    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: writes one int. (nix's waitpid loses a child that a realtime signal ended.)
            match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
                pid if pid > 0 => self.ended(Pid::from_raw(pid), decode(status)),
                0 => return,
                _ if Errno::last() == Errno::EINTR => {}
                _ => return,
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: ExecStatus) {
        let Some(index) = self.running.iter().position(|running| running.session == pid) else { return };
        // One that is being killed stays on the list until its whole session is gone.
        if self.running[index].kill_at.is_none() {
            let running = self.running.remove(index);
            if let Some(leash) = running.leash {
                let _ = leash.send(&ExecEvent::Ended(status), &[]);
            }
        }
    }
}

fn decode(status: i32) -> ExecStatus {
    match libc::WIFSIGNALED(status) {
        true => ExecStatus::Signaled { signal: libc::WTERMSIG(status) },
        false => ExecStatus::Exited { code: libc::WEXITSTATUS(status) },
    }
}
