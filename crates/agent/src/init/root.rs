//! The file system a VM sees.
//!
//! ```text
//! /usr /bin /opt /home …   the host's, read-only          /proc /sys /dev   its own
//! /tmp /var /run /root     private, empty, writable       /etc              private; links to /run/host/etc
//! /run/tombolo/bin         binaries that the lab adds     /run/host/etc     the host's, read-only
//! ```
//! Everything private is one tmpfs. It is reached in two turns, as bubblewrap does: first the tmpfs becomes
//! the root with the host's below it, so that nothing of the host is hidden while it is being bound.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::{dev, etc, mounts};
use crate::message::VmSpec;

/// Top-level names of the host that a VM has its own of.
const OWN: [&str; 8] = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var"];
const DIRS: [&str; 16] = [
    "dev",
    "etc",
    "proc",
    "run",
    "run/host",
    "run/host/etc",
    "run/tombolo",
    "run/tombolo/bin",
    "sys",
    "var",
    "var/cache",
    "var/lib",
    "var/log",
    "var/mail",
    "var/spool",
    "var/empty",
];
/// Where anybody may write, as on any Linux.
const SHARED_DIRS: [&str; 3] = ["tmp", "var/tmp", "run/lock"];
/// As container runtimes do: these reach the whole machine, and root of a lab that was started by root could
/// otherwise write them.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sysrq-trigger", "acpi"];
const PROC_HIDDEN: [&str; 5] = ["kcore", "keys", "timer_list", "latency_stats", "sched_debug"];

/// Replaces the calling process's root by one without what is in `hide`. It must be in mount, pid and network namespaces
/// of the VM's.
pub(super) fn build(vm: &VmSpec, hide: &[PathBuf]) -> Result<()> {
    // While the host's paths still mean what they say.
    let binaries =
        vm.bin.iter().map(|path| fs::canonicalize(path).with_context(|| path.display().to_string()));
    let binaries = binaries.collect::<Result<Vec<PathBuf>>>()?;
    // What is not there is hidden already.
    let hidden: Vec<PathBuf> = hide.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    put_host_below()?;
    let (host, root) = (Path::new("/host"), Path::new("/root"));

    make_dirs(root)?;
    kernel_file_systems(root)?;
    dev::populate(host, root)?;
    show_host(host, root)?;
    package_dirs(host, root);
    etc::populate(host, root, vm)?;
    for path in &hidden {
        cover(root, path)?;
    }
    for binary in &binaries {
        show_binary(host, root, binary)?;
    }
    enter(root)
}

/// A tmpfs becomes `/`; the host's root is `/host`, and the VM's, still empty, is `/root`.
fn put_host_below() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make mounts private")?;
    // Any directory does; /proc always exists, and the mount moves to / at once.
    mounts::fresh("tmpfs", "/proc", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    fs::create_dir("/proc/host")?;
    pivot_root("/proc", "/proc/host").context("pivot to the base")?;
    chdir("/")?;
    fs::create_dir("/root")?;
    mounts::fresh("tmpfs", "/root", MsFlags::MS_NODEV, "mode=755")
}

fn enter(root: &Path) -> Result<()> {
    umount2("/host", MntFlags::MNT_DETACH).context("let go of the host's root")?;
    chdir(root)?;
    // Stacks the old root on the new one; the unmount then takes it off.
    pivot_root(".", ".").context("pivot to the VM's root")?;
    umount2(".", MntFlags::MNT_DETACH).context("let go of the base")?;
    chdir("/")?;
    Ok(())
}

fn make_dirs(root: &Path) -> Result<()> {
    for name in DIRS {
        fs::create_dir(root.join(name))?;
    }
    DirBuilder::new().mode(0o700).create(root.join("root"))?;
    for name in SHARED_DIRS {
        fs::create_dir(root.join(name))?;
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o1777))?;
    }
    symlink("/run", root.join("var/run"))?;
    symlink("/run/lock", root.join("var/lock"))?;
    Ok(())
}

/// /proc and /sys. The kernel allows them only while those of the host are still in sight.
fn kernel_file_systems(root: &Path) -> Result<()> {
    let careful = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let path = |name: &str| root.join(name).to_string_lossy().into_owned();
    mounts::fresh("proc", &path("proc"), careful, "")?;
    guard_proc(&root.join("proc"))?;
    // In a container whose own /sys is masked this is not allowed; an empty directory will do.
    let _ = mounts::fresh("sysfs", &path("sys"), careful | MsFlags::MS_RDONLY, "");
    Ok(())
}

/// Leaves of /proc/sys only `net` writable, which is the VM's own.
fn guard_proc(proc: &Path) -> Result<()> {
    let (sys, net) = (proc.join("sys"), proc.join("sys/net"));
    mounts::bind(&sys, &sys)?;
    mounts::bind(&net, &net)?;
    mounts::read_only(&sys)?;
    for name in PROC_READ_ONLY.map(|name| proc.join(name)) {
        if name.exists() {
            mounts::bind(&name, &name)?;
            mounts::read_only(&name)?;
        }
    }
    for name in PROC_HIDDEN.map(|name| proc.join(name)) {
        if name.exists() {
            mounts::bind(Path::new("/host/dev/null"), &name)?;
        }
    }
    Ok(())
}

/// The host's top-level entries. One that cannot be shown is left out: a VM without it beats no VM.
fn show_host(host: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(host)? {
        let entry = entry?;
        let name = entry.file_name();
        // So that relative links below /run/host/etc (../usr/share/…) lead where they do on the host.
        let _ = symlink(Path::new("/").join(&name), root.join("run/host").join(&name));
        let (Ok(kind), false) = (entry.file_type(), OWN.iter().any(|own| name == *own)) else { continue };
        let (from, to) = (entry.path(), root.join(&name));
        let shown = if kind.is_symlink() {
            fs::read_link(&from).and_then(|target| symlink(target, &to)).map_err(Into::into)
        } else if kind.is_dir() {
            fs::create_dir(&to).map_err(Into::into).and_then(|()| mounts::bind_read_only(&from, &to))
        } else if kind.is_file() {
            fs::write(&to, "").map_err(Into::into).and_then(|()| mounts::bind_read_only(&from, &to))
        } else {
            Ok(())
        };
        if shown.is_err() {
            let _ = umount2(&to, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(&to).or_else(|_| fs::remove_file(&to));
        }
    }
    Ok(())
}

/// The folders that the host's packages made below these, empty and the VM's own: nutcracker, for one, ends where
/// /var/log/nutcracker is missing. A host that does not let its own be listed has none to offer.
fn package_dirs(host: &Path, root: &Path) {
    for parent in ["var/cache", "var/lib", "var/log", "var/spool"] {
        let entries = fs::read_dir(host.join(parent)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            // One that exists already is as good.
            let _ = fs::create_dir(root.join(parent).join(entry.file_name()));
        }
    }
}

/// An empty folder over one of the host's, if the VM would see it.
fn cover(root: &Path, path: &Path) -> Result<()> {
    let at = root.join(path.strip_prefix("/").unwrap_or(path));
    if !at.is_dir() {
        return Ok(());
    }
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mounts::fresh("tmpfs", &at.to_string_lossy(), flags, "mode=755,size=4k")
}

fn show_binary(host: &Path, root: &Path, path: &Path) -> Result<()> {
    let name = path.file_name().with_context(|| format!("{} has no file name", path.display()))?;
    let to = root.join("run/tombolo/bin").join(name);
    fs::write(&to, "")?;
    mounts::bind_read_only(&host.join(path.strip_prefix("/").unwrap_or(path)), &to)
}
