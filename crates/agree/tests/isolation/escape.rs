//! What a program in a VM tries against the host, the agent and other VMs: the subcommand `escape NAME [ARGUMENT]`. It
//! exits with 0 if it succeeded, with 1 and the kernel's answer if not.

use std::io::Error;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::escapes::{link_names, netlink};

/// `RTM_DELLINK` (linux/rtnetlink.h).
const RTM_DELLINK: u16 = 17;

pub(crate) fn main(args: Vec<String>) -> ExitCode {
    let argument = args.get(1).map_or("", String::as_str);
    let number = || argument.parse::<i32>().unwrap_or(0);
    let none = None::<&str>;
    let result: Result<(), Error> = match args[0].as_str() {
        "abstract-socket" => SocketAddr::from_abstract_name(argument)
            .and_then(|address| UnixStream::connect_addr(&address))
            .map(drop),
        "path-socket" => UnixStream::connect(argument).map(drop),
        "read" => std::fs::read(argument).map(drop),
        "write" => std::fs::OpenOptions::new().write(true).open(argument).map(drop),
        "signal" => kill(Pid::from_raw(number()), None).map_err(Into::into),
        "trace" => trace(number()),
        "enter" => std::fs::File::open(argument)
            .and_then(|file| nix::sched::setns(file, CloneFlags::empty()).map_err(Into::into)),
        "mount" => in_own_namespaces(argument)
            .and_then(|()| Ok(mount(Some("none"), "/mnt", Some("tmpfs"), MsFlags::empty(), none)?)),
        "remount" => {
            mount(none, argument, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, none).map_err(Into::into)
        }
        "device" => {
            let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::S_IRWXU);
            // /dev/mem
            nix::sys::stat::mknod("/tmp/mem", kind, mode, libc::makedev(1, 1)).map_err(Into::into)
        }
        "chroot-out" => nix::unistd::chroot(argument).map_err(Into::into),
        "system-call" => system_call(number().into()),
        "links-beside" => beside(link_names),
        "delete-beside" => beside(|netns| delete(netns, argument)),
        name => panic!("there is no escape {name}"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A system call with arguments of zero, all of which are refused for want of rights before anything is looked at.
fn system_call(number: i64) -> Result<(), Error> {
    // SAFETY: the calls in the table take null pointers and sizes of zero for what they are: nothing.
    match unsafe { libc::syscall(number, 0, 0, 0, 0, 0) } {
        0.. => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// Moves into namespaces in which this process is root, if the argument is `own`.
fn in_own_namespaces(argument: &str) -> Result<(), Error> {
    match argument {
        "own" => Ok(nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?),
        _ => Ok(()),
    }
}

/// Attaches to a process as a debugger does.
fn trace(pid: i32) -> Result<(), Error> {
    // SAFETY: PTRACE_ATTACH ignores both addresses.
    match unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// Does something to the network namespaces that this one has links into: their numbers come with the list of links.
fn beside<T>(mut what: impl FnMut(i32) -> Result<T, Error>) -> Result<(), Error> {
    link_names_here()?;
    let mut last = Error::other("none");
    for number in 0..8 {
        match what(number) {
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {} // no such number
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Lists this namespace's links, by which the kernel gives numbers to the namespaces of their other ends.
fn link_names_here() -> Result<(), Error> {
    netlink(18, 0x300, None, None).map(drop)
}

/// Deletes a link of another namespace.
fn delete(netns: i32, link: &str) -> Result<(), Error> {
    netlink(RTM_DELLINK, 4, Some(netns), Some(link)).map(drop)
}
