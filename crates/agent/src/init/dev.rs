//! /dev: the harmless devices of the host and terminals of the VM's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::Result;
use nix::mount::MsFlags;

use super::mounts;

/// `net/tun` is here for VPN programs; using it takes NET_ADMIN over the VM's own network.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "net/tun"];
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

pub(super) fn populate(host: &Path, root: &Path) -> Result<()> {
    let (host, dev) = (host.join("dev"), root.join("dev"));
    for name in ["pts", "shm", "net"] {
        fs::create_dir(dev.join(name))?;
    }
    fs::set_permissions(dev.join("shm"), fs::Permissions::from_mode(0o1777))?;
    for name in DEVICES.iter().filter(|name| host.join(name).exists()) {
        fs::write(dev.join(name), "")?;
        mounts::bind(&host.join(name), &dev.join(name))?;
    }
    for (name, target) in LINKS {
        symlink(target, dev.join(name))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mounts::fresh("devpts", &dev.join("pts").to_string_lossy(), flags, "newinstance,ptmxmode=0666,mode=620")
}
