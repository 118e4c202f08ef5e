//! Everything that runs because of a test, wherever it hangs in the process tree.

use super::Home;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long processes may take to go, on a busy machine.
const GONE: Duration = Duration::from_secs(10);

// Of a network namespace: the user namespace that owns it (ioctl_nsfs(2)).
nix::ioctl_none_bad!(ns_get_userns, nix::request_code_none!(0xb7, 1));

/// A process, by its pid on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) comm: String,
    pub(crate) args: String,
}

impl Process {
    /// What it is in a lab.
    pub(crate) fn role(&self, server: u32) -> &'static str {
        match (self.comm.as_str(), self.args.as_str()) {
            _ if self.pid == server as i32 => "server",
            ("redis-server", _) => "redis-server",
            (comm, _) if comm.starts_with("tombolo-proxy") => "tombolo-proxy",
            ("guests", _) => "guests",
            (_, args) if args.contains(" vm-init") || args == "init vm-init" => "init",
            (_, args) if args.contains(" agent ") => "agent",
            _ => "other",
        }
    }

    pub(crate) fn kill(&self) {
        // One that is gone by now is as good.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}

/// A process's name.
pub(crate) fn comm(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

impl Home {
    /// What runs now, and from now on everything in its namespaces too: programs in VMs have neither the test's
    /// binaries nor its environment.
    pub(crate) fn learn(&self) -> Vec<Process> {
        let mut known = self.namespaces.borrow_mut();
        let host = fs::metadata("/proc/self/ns/user").unwrap().ino();
        for pid in pids().into_iter().filter(|pid| self.is_marked(*pid)) {
            // Opened first: the number is only sure while it is open.
            let Ok(namespace) = File::open(format!("/proc/{pid}/ns/user")) else { continue };
            let number = namespace.metadata().unwrap().ino();
            if number != host {
                known.entry(number).or_insert(namespace);
            }
        }
        drop(known);
        self.processes()
    }

    /// What runs now. One that has ended and waits for its parent to notice has nothing any more; when the parent
    /// was killed, that is the host's pid 1, and some look only now and then.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let runs = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        let mine =
            |pid: &i32| (self.is_marked(*pid) || self.is_inside(*pid) || self.is_attached(*pid)) && runs(pid);
        let describe = |pid| {
            let args = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let args = String::from_utf8_lossy(&args).trim_end_matches('\0').replace('\0', " ");
            Some(Process { pid, comm: comm(pid)?, args })
        };
        pids().into_iter().filter(mine).filter_map(describe).collect()
    }

    #[track_caller]
    pub(crate) fn assert_nothing_runs(&self) {
        let start = Instant::now();
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < GONE, "still there after {GONE:?}: {left:#?}");
            sleep(Duration::from_millis(5));
        }
    }

    /// By its binary or by its environment.
    fn is_marked(&self, pid: i32) -> bool {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&self.path))
            || fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                let home = [b"HOME=", self.path.as_os_str().as_bytes()].concat();
                environ.split(|byte| *byte == 0).any(|variable| variable == home)
            })
    }

    /// In a user namespace of the test's.
    fn is_inside(&self, pid: i32) -> bool {
        let number = fs::metadata(format!("/proc/{pid}/ns/user")).map(|meta| meta.ino());
        number.is_ok_and(|number| self.namespaces.borrow().contains_key(&number))
    }

    /// In a network namespace that was made in a user namespace of the test's.
    fn is_attached(&self, pid: i32) -> bool {
        let Ok(net) = File::open(format!("/proc/{pid}/ns/net")) else { return false };
        // SAFETY: the descriptor is open, and the request takes no argument.
        let Ok(owner) = (unsafe { ns_get_userns(net.as_raw_fd()) }) else { return false };
        // SAFETY: the request gives a new descriptor, which nobody else has.
        let owner = File::from(unsafe { OwnedFd::from_raw_fd(owner) });
        self.namespaces.borrow().contains_key(&owner.metadata().unwrap().ino())
    }
}
