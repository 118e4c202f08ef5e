//! The few mount operations a VM's root is built of.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

const NONE: Option<&str> = None;

/// Mounts a new file system of the kernel's.
pub(super) fn fresh(kind: &str, at: &str, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), flags, Some(options)).with_context(|| format!("mount {kind} on {at}"))
}

/// Shows `from` at `to`, writable as far as it is.
pub(super) fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).with_context(|| format!("bind {}", to.display()))
}

/// Shows `from` with everything mounted below it at `to`: read-only, and without devices.
///
/// Mounts that come from a more privileged namespace only bind as a whole, hence always recursively.
pub(super) fn bind_read_only(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .and_then(|()| set_read_only(to, libc::AT_RECURSIVE))
        .with_context(|| format!("bind {}", to.display()))
}

/// Makes one mount read-only but not those below it.
pub(super) fn read_only(at: &Path) -> Result<()> {
    set_read_only(at, 0).with_context(|| format!("make {} read-only", at.display()))
}

fn set_read_only(at: &Path, flags: libc::c_int) -> Result<(), nix::Error> {
    let path = CString::new(at.as_os_str().as_bytes()).map_err(|_| nix::Error::EINVAL)?;
    // SAFETY: mount_attr is plain data for which all zeroes is valid.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV;
    // SAFETY: the path and the struct outlive the call, and the size is the struct's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &attr,
            size_of_val(&attr),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(nix::Error::from_raw(io::Error::last_os_error().raw_os_error().unwrap_or(0))),
    }
}
