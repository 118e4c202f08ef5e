//! What root in a VM may not do, even to the lab.

use std::io;

use anyhow::{Context, Result};

/// What programs of a VM have a use for: their files, their users, their network. Anything else, and anything
/// a later kernel adds, is dropped.
const KEPT: [u32; 17] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    11, // NET_BROADCAST
    12, // NET_ADMIN
    13, // NET_RAW
    14, // IPC_LOCK
    18, // SYS_CHROOT
    23, // SYS_NICE
    24, // SYS_RESOURCE
    31, // SETFCAP
];

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Set {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Drops from the bounding set, so that no program gets them back, and from the calling process. (In a user namespace that
/// it makes a program has all of them, as anybody's does, over what it makes there: nothing of the VM's or the lab's.)
pub(super) fn drop_all_but_kept() -> Result<()> {
    let kept = KEPT.iter().fold(0u64, |set, cap| set | 1 << cap);
    for cap in (0..64).filter(|cap| kept & 1 << cap == 0) {
        // SAFETY: takes no pointers. EINVAL says that there are no more capabilities.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap as libc::c_ulong, 0, 0, 0) } != 0 {
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EINVAL) => break,
                error => return Err(error).context("drop capabilities"),
            }
        }
    }
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut sets = [Set::default(); 2];
    // SAFETY: version 3 reads and writes one header and two sets.
    check(unsafe { libc::syscall(libc::SYS_capget, &mut header, &mut sets) })?;
    for (half, set) in sets.iter_mut().enumerate() {
        let keep = (kept >> (32 * half)) as u32;
        set.permitted &= keep;
        set.effective = set.permitted;
        set.inheritable = 0;
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_capset, &mut header, &sets) })
}

fn check(result: libc::c_long) -> Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).context("set capabilities"),
    }
}
