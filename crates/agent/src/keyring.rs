//! Keys that the kernel keeps for processes: those of whoever started the lab are not the lab's.

/// `KEYCTL_JOIN_SESSION_KEYRING`.
const JOIN_SESSION: libc::c_long = 1;

/// Goes over to a new, empty session keyring; children inherit it. A kernel that has no keyrings has no keys.
pub(crate) fn leave() {
    // SAFETY: no name is given, so there is no pointer but a null one.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION, std::ptr::null::<libc::c_char>()) };
}
