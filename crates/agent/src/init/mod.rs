//! A VM's init: made when the first program runs in the VM, and its pid 1 from then on.
//!
//! ```text
//! agent ─ exec ─ vm-init: setns(net), unshare(mnt pid uts ipc cgroup), fork ┬ ends at once
//!                                                                          └ pid 1: root, setns(user), capabilities, serve
//! ```
//! Both are in the process group that the agent gave the first, so the agent, to which pid 1 is handed
//! when the first ends, can wait for exactly these two. See `vm.rs`.

mod caps;
mod dev;
mod etc;
mod mounts;
mod program;
mod root;
mod serve;
mod session;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::unistd::{ForkResult, fork, sethostname};

use crate::message::{InitHello, InitRequest, VmSpec};
use crate::proto::Conn;
use crate::{fd, keyring};

/// Runs the hidden subcommand `vm-init`; its stdin is the agent's socket.
pub(crate) fn main() -> Result<()> {
    let conn = Conn::new(fd::adopt(0)?);
    fd::to_null(0)?;
    if let Err(error) = run(&conn) {
        conn.send(&InitHello::Failed { message: format!("{error:#}") }, &[])?;
    }
    Ok(())
}

fn run(conn: &Conn) -> Result<()> {
    let (InitRequest::Setup { vm, hide }, fds) = conn.recv()? else { bail!("expected to be set up first") };
    let user = enter_namespaces(fds)?;
    // SAFETY: vm-init is single-threaded, so the child may do anything.
    if let ForkResult::Parent { .. } = unsafe { fork() }.context("fork")? {
        // The child speaks for itself, and the agent inherits it.
        return Ok(());
    }
    become_init(&vm, &hide, user)?;
    conn.send(&InitHello::Ready, &[])?;
    // Panics up to here are worth seeing; from here on pid 1 holds nothing of the host.
    fd::to_null(1)?;
    fd::to_null(2)?;
    serve::serve(conn, vm)
}

/// Enters or makes all but the guests' user namespace, which is the answer.
fn enter_namespaces(fds: Vec<OwnedFd>) -> Result<OwnedFd> {
    let [netns, user] =
        <[OwnedFd; 2]>::try_from(fds).ok().context("two namespaces should have come with the setup")?;
    setns(&netns, CloneFlags::CLONE_NEWNET).context("enter the VM's network namespace")?;
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(flags).context("unshare the VM's namespaces")?;
    // Only hides paths in /proc/self/cgroup: a kernel without it is fine.
    let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
    Ok(user)
}

/// In pid 1: after this, nothing of the host is writable and no dangerous capability is left.
fn become_init(vm: &VmSpec, hide: &[PathBuf], user: OwnedFd) -> Result<()> {
    keyring::leave();
    sethostname(&vm.hostname).context("set the hostname")?;
    root::build(vm, hide)?;
    // From here on the lab is somebody else's: its routers, and the mounts that were just made.
    setns(&user, CloneFlags::CLONE_NEWUSER).context("enter the guests' user namespace")?;
    drop(user);
    caps::drop_all_but_kept()?;
    // A root process in the VM may neither trace pid 1 nor look through its descriptors.
    prctl::set_dumpable(false).context("make init opaque")?;
    let _ = prctl::set_name(c"init");
    Ok(())
}
