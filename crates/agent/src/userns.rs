//! The lab's user namespace: capabilities over the lab's things and over nothing else.
//!
//! As root every id that exists here exists in the lab too, so files keep their owners. As an ordinary user
//! there is one id, and it is called 0.

use std::fs;
use std::io::{self, Read, Write};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid, getpid};

use crate::bootstrap::LabError;

/// Moves the calling, single-threaded process into a new user namespace with its ids mapped.
pub(crate) fn enter() -> Result<(), LabError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let maps = identity("/proc/self/uid_map").ok().zip(identity("/proc/self/gid_map").ok());
    match maps.filter(|_| uid == 0) {
        Some((uids, gids)) => {
            if let Mapped::All = enter_identity(&uids, &gids)? {
                return Ok(());
            }
        }
        None => unshare_user()?,
    }
    write_single(uid, gid)
}

/// What the helper could do. In some containers root may not map others, but still itself.
enum Mapped {
    All,
    Nothing,
}

/// Only a process outside the new namespace may write a map of more than one id, so a helper is forked before.
fn enter_identity(uids: &str, gids: &str) -> Result<Mapped, LabError> {
    let fail = |step| move |error: io::Error| LabError::at(step, errno_of(&error));
    let (mut wait, go) = io::pipe().map_err(fail("pipe"))?;
    let parent = getpid();
    // SAFETY: the process is single-threaded, so the child may do anything.
    match unsafe { fork() }.map_err(|errno| LabError::at("fork", errno))? {
        ForkResult::Child => {
            drop(go);
            std::process::exit(write_for(&mut wait, parent, uids, gids))
        }
        ForkResult::Parent { child } => {
            drop(wait);
            let unshared = unshare_user();
            if unshared.is_ok() {
                { &go }.write_all(b"!").map_err(fail("pipe"))?;
            }
            drop(go);
            let status = waitpid(child, None);
            unshared?;
            match status {
                Ok(WaitStatus::Exited(_, 0)) => Ok(Mapped::All),
                Ok(WaitStatus::Exited(_, NOTHING_WRITTEN)) => Ok(Mapped::Nothing),
                _ => Err(LabError::at("write gid_map", Errno::EPERM)),
            }
        }
    }
}

const NOTHING_WRITTEN: i32 = 1;
const HALF_WRITTEN: i32 = 2;

/// The helper: waits until the parent is in its namespace, then maps its ids.
fn write_for(wait: &mut impl Read, parent: Pid, uids: &str, gids: &str) -> i32 {
    if wait.read_exact(&mut [0]).is_err() || fs::write(format!("/proc/{parent}/uid_map"), uids).is_err() {
        return NOTHING_WRITTEN;
    }
    match fs::write(format!("/proc/{parent}/gid_map"), gids) {
        Ok(()) => 0,
        Err(_) => HALF_WRITTEN,
    }
}

fn write_single(uid: u32, gid: u32) -> Result<(), LabError> {
    let write = |file: &'static str, step: &'static str, text: String| {
        fs::write(file, text).map_err(|error| LabError::at(step, errno_of(&error)))
    };
    write("/proc/self/setgroups", "write setgroups", "deny".into())?;
    write("/proc/self/uid_map", "write uid_map", format!("0 {uid} 1\n"))?;
    write("/proc/self/gid_map", "write gid_map", format!("0 {gid} 1\n"))
}

fn unshare_user() -> Result<(), LabError> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| LabError::at("unshare a user namespace", errno))
}

/// The map that gives every id of this namespace the same number in a child.
fn identity(file: &str) -> io::Result<String> {
    let mut map = String::new();
    for line in fs::read_to_string(file)?.lines() {
        let mut fields = line.split_whitespace();
        if let (Some(inside), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next()) {
            map += &format!("{inside} {inside} {count}\n");
        }
    }
    Ok(map)
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
