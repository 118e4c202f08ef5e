//! The agent: owns the lab's namespaces and runs programs in its VMs.
//!
//! ```text
//! server ──lease──→ agent (pid 1 of the lab: own user, mnt, pid, net, uts, ipc)
//!                     ├ network namespaces, held as descriptors
//!                     └ per VM in which something runs: init (pid 1 of the VM) ─ programs
//! ```
//! When the lease closes, or any of these processes is killed in whatever way, the kernel takes down all
//! below it. Nothing of the host's (network, mounts, process table) is touched, so nothing can be left behind.
//!
//! Who reads what: a server starts with [`Agent`]; requests are in [`message`]; a new request goes into
//! `dispatch.rs`; how a VM looks from the inside is in `init/`.

mod advice;
mod agent;
mod bind;
mod bootstrap;
mod capture;
mod client;
mod connect;
mod detached;
mod dispatch;
mod fd;
pub mod hits;
mod init;
mod kernel;
mod keyring;
mod lab;
mod late;
mod lease;
pub mod message;
pub mod proto;
mod queues;
mod session;
mod spawn;
mod ssh;
mod terminal;
mod userns;
mod vm;
mod wake;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub use advice::open_files;
pub use bootstrap::{LabError, enter_lab};
pub use capture::dropped;
pub use client::own_stdio;
pub use fd::make_room;
pub use hits::{Hit, Hits};
pub use kernel::ConvergeReport;
pub use lab::Lab;
pub use message::{
    ExecStatus, LogText, ProcessInfo, ProcessState, Program, Request, Response, SshConfig, VmSpec, WinSize,
};
pub use proto::{Conn, ProtoError};
pub use session::{Outcome, Session};
pub use spawn::{Agent, AgentError, SpawnOptions, is_same_user};
pub use terminal::{attach, terminal_size};

use message::Hello;

/// The hidden subcommand `agent --lease-fd N [--listen PATH] [--keep MILLISECONDS] [--hide PATH]…`. `args` are those after the
/// subcommand's name.
///
/// To be called first thing: the process must have no other thread, and descriptors beyond the standard ones
/// are closed.
pub fn main_agent(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Whoever started the agent may hold signals back for itself; the agent must hear them.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
    let options = match agent_options(args) {
        Ok(options) => options,
        Err(message) => return fail(&message),
    };
    let lease = match fd::adopt(options.lease).and_then(|lease| {
        fd::close_others(&lease);
        fd::to_null(0)?;
        Ok(Conn::new(lease))
    }) {
        Ok(lease) => lease,
        Err(error) => return fail(&format!("--lease-fd {}: {error}", options.lease)),
    };
    let AgentOptions { listen, keep, hide, .. } = options;
    let result = enter_lab().map_err(Into::into).and_then(|()| agent::run(&lease, listen, keep, hide));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = format!("{error:#}");
            // Through the lease when somebody holds it, and to a terminal otherwise.
            match lease.send(&Hello::Failed { message: message.clone() }, &[]) {
                Ok(()) => ExitCode::FAILURE,
                Err(_) => fail(&message),
            }
        }
    }
}

/// The hidden subcommand `vm-init`, which only the agent starts.
pub fn main_vm_init(_args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match init::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("vm-init: {error:#}")),
    }
}

struct AgentOptions {
    lease: i32,
    listen: Option<PathBuf>,
    keep: Duration,
    hide: Vec<PathBuf>,
}

fn agent_options(args: impl IntoIterator<Item = OsString>) -> Result<AgentOptions, String> {
    let (mut lease, mut listen, mut keep, mut hide) = (None, None, Duration::ZERO, Vec::new());
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{} needs a value", flag.display()))?;
        match flag.to_str() {
            Some("--lease-fd") => lease = value.to_str().and_then(|text| text.parse().ok()),
            Some("--listen") => listen = Some(PathBuf::from(value)),
            Some("--hide") => hide.push(PathBuf::from(value)),
            Some("--keep") => {
                let millis = value.to_str().and_then(|text| text.parse().ok());
                keep = Duration::from_millis(millis.ok_or("--keep must be a number of milliseconds")?);
            }
            _ => return Err(format!("unknown flag {}", flag.display())),
        }
    }
    let lease = lease.ok_or("--lease-fd must name the lease's descriptor")?;
    Ok(AgentOptions { lease, listen, keep, hide })
}

fn fail(message: &str) -> ExitCode {
    eprintln!("tombolo agent: {message}");
    ExitCode::FAILURE
}
