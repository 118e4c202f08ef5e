//! A VM from the agent's side: a spec, and an init while something runs or ran in it.
//!
//! Reaping without stealing: the agent is pid 1, but never waits for "any child", which would take the exit
//! status from whoever else started one. Each init has a process group of its own, so what the agent is handed
//! (see `init/mod.rs`) can be waited for by group. A group's number is not reused while it has a member,
//! reaped or not.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::detached::Detached;
use crate::lab::{Lab, lock};
use crate::message::{InitHello, InitRequest, Program, VmSpec, WinSize};
use crate::proto::Conn;

/// Against a host directory whose server does not answer: a VM that cannot start must not hold up the lab.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long an init may leave requests unread: it does nothing that takes long.
const SEND_LIMIT: Duration = Duration::from_secs(2);

/// One VM.
#[derive(Debug)]
pub(crate) struct Vm {
    state: Mutex<State>,
    /// Programs started detached, by name.
    pub(crate) programs: Mutex<BTreeMap<String, Arc<Detached>>>,
}

#[derive(Debug)]
struct State {
    /// Shared: it is looked at far more often than it changes, and may be long.
    spec: Arc<VmSpec>,
    init: Option<Init>,
    /// No longer in the lab: a request that still holds it must not start it again.
    removed: bool,
}

impl Vm {
    pub(crate) fn new(spec: VmSpec) -> Self {
        Self {
            state: Mutex::new(State { spec: Arc::new(spec), init: None, removed: false }),
            programs: Mutex::default(),
        }
    }

    /// Runs a program, on an init that is started for it if there is none. `requester` gets the events.
    pub(crate) fn launch(
        &self,
        lab: &Lab,
        program: Program,
        tty: Option<WinSize>,
        detach: bool,
        requester: &Conn,
        stdio: &[OwnedFd],
    ) -> Result<()> {
        let request = InitRequest::Launch { program, tty, detach };
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(requester.as_fd()).chain(stdio.iter().map(AsFd::as_fd)).collect();
        let mut state = lock(&self.state);
        if state.init.is_some() && state.send(&request, &fds).is_ok() {
            return Ok(());
        }
        // No init, or one that was killed since.
        state.stop();
        state.start(lab)?;
        state.send(&request, &fds).context("the VM's init ended at once")
    }

    /// As it was declared last.
    pub(crate) fn spec(&self) -> Arc<VmSpec> {
        Arc::clone(&lock(&self.state).spec)
    }

    pub(crate) fn update(&self, spec: VmSpec) {
        let mut state = lock(&self.state);
        if *state.spec == spec {
            return;
        }
        // What an init can no longer change once it has given its rights up.
        let fixed = |spec: &VmSpec| (spec.netns.clone(), spec.hostname.clone(), spec.bin.clone());
        if fixed(&state.spec) != fixed(&spec) {
            state.stop();
        }
        let refresh = InitRequest::Refresh(spec.clone());
        state.spec = Arc::new(spec);
        // An init that takes nothing is none; the next program gets another.
        if state.init.is_some() && state.send(&refresh, &[]).is_err() {
            state.stop();
        }
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stop();
    }

    pub(crate) fn remove(&self) {
        let mut state = lock(&self.state);
        state.removed = true;
        state.stop();
    }
}

impl State {
    fn send(&self, request: &InitRequest, fds: &[BorrowedFd<'_>]) -> Result<()> {
        Ok(self.init.as_ref().context("the VM does not run")?.conn.send(request, fds)?)
    }

    fn start(&mut self, lab: &Lab) -> Result<()> {
        let key = &self.spec.key;
        if self.removed {
            bail!("the lab has no VM {key} any more");
        }
        let netns = lab.netns_of(&self.spec.netns).with_context(|| format!("VM {key} has no network yet"))?;
        self.init = Some(
            Init::start(&self.spec, &lab.hide, [netns.as_fd(), lab.guests.user()])
                .with_context(|| format!("start VM {key}"))?,
        );
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(init) = self.init.take() {
            init.kill();
        }
    }
}

/// A running init.
#[derive(Debug)]
struct Init {
    conn: Conn,
    group: Arc<Group>,
    watcher: JoinHandle<()>,
}

impl Init {
    fn start(spec: &VmSpec, hide: &[PathBuf], namespaces: [BorrowedFd<'_>; 2]) -> Result<Self> {
        let (conn, theirs) = Conn::pair()?;
        let mut command = Command::new("/proc/self/exe");
        // Its stdin, so that no descriptor is ever open across exec in this many-threaded process.
        command.arg0("init").arg("vm-init").stdin(Stdio::from(theirs.into_fd()));
        command.process_group(0).env_clear().current_dir("/").stdout(Stdio::null());
        let mut child = command.spawn().context("start its init")?;
        drop(command);
        let group = Arc::new(Group(Mutex::new(Some(Pid::from_raw(child.id() as i32)))));

        let setup = InitRequest::Setup { vm: spec.clone(), hide: hide.to_vec() };
        let hello = set_up(&conn, &setup, namespaces);
        // It ends as soon as it has forked, or failed, or found the socket closed.
        if hello.is_err() {
            group.kill();
        }
        let _ = child.wait();
        if let Err(error) = hello {
            group.end();
            return Err(error);
        }
        let (events, watched) = (conn.try_clone()?, Arc::clone(&group));
        let watch = move || {
            // Init says nothing more: this returns when it is gone.
            let _ = events.recv::<InitHello>();
            watched.end();
        };
        let watcher = thread::Builder::new().name("vm".into()).stack_size(64 << 10).spawn(watch)?;
        Ok(Self { conn, group, watcher })
    }

    /// Returns when every process of the VM is gone.
    fn kill(self) {
        self.group.kill();
        let _ = self.watcher.join();
    }
}

fn set_up(conn: &Conn, setup: &InitRequest, namespaces: [BorrowedFd<'_>; 2]) -> Result<()> {
    conn.set_timeouts(START_LIMIT)?;
    conn.send(setup, &namespaces)?;
    match conn.recv().context("its init did not become ready")?.0 {
        InitHello::Ready => {
            // Its end is waited for for ever; that it takes a request is not.
            conn.set_timeouts(Duration::ZERO)?;
            Ok(conn.set_send_timeout(SEND_LIMIT)?)
        }
        InitHello::Failed { message } => bail!(message),
    }
}

/// The process group of one init; `None` once it is reaped, when its number means nothing any more.
#[derive(Debug)]
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn kill(&self) {
        if let Some(pid) = *lock(&self.0) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }

    /// Kills and reaps all of it. An init ends when all of its VM has, so this waits for the VM.
    fn end(&self) {
        let mut group = lock(&self.0);
        let Some(pid) = group.take() else { return };
        let _ = killpg(pid, Signal::SIGKILL);
        loop {
            // SAFETY: no status is asked for, so nothing is written.
            let reaped = unsafe { libc::waitpid(-pid.as_raw(), std::ptr::null_mut(), 0) };
            if reaped < 0 && Errno::last() != Errno::EINTR {
                return;
            }
        }
    }
}
