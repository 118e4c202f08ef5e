//! Settings under `/proc/sys/net`, as the calling thread's network namespace has them.

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, Result, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Settings of a router, made before it has any link but `lo`.
const ROUTER_SYSCTLS: [(&str, &str); 13] = [
    ("ipv4/ip_forward", "1"),
    // What passes is for no socket of the router's: the kernel need not look for one first.
    ("ipv4/ip_early_demux", "0"),
    ("ipv4/conf/all/rp_filter", "0"), // the kernel takes the larger of `all` and the link's own
    ("ipv4/conf/default/rp_filter", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    // Of equal next hops a connection has one by its addresses, protocol and ports, and keeps it.
    ("ipv4/fib_multipath_hash_policy", "1"),
    // Google forgets an idle connection after ten minutes, of whatever protocol (documentation of VPC firewall rules,
    // "Connection tracking"). Until then it outlives the rule that let it in.
    ("netfilter/nf_conntrack_tcp_timeout_established", "600"),
    ("netfilter/nf_conntrack_udp_timeout", "600"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "600"),
    ("netfilter/nf_conntrack_icmp_timeout", "600"),
    ("netfilter/nf_conntrack_generic_timeout", "600"),
];

/// Settings of an endpoint. A new namespace has those of the host, which may forward (Docker) or filter.
const ENDPOINT_SYSCTLS: [(&str, &str); 3] =
    [("ipv4/ip_forward", "0"), ("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")];

/// Settings of every namespace.
const COMMON_SYSCTLS: [(&str, &str); 2] =
    [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// What a router needs to have IPv6 on any of its links.
const ROUTER_IPV6_SYSCTL: (&str, &str) = ("ipv6/conf/all/forwarding", "1");

/// Settings of a link before IPv6 is on it. It has no address but those that it is given, and believes nobody: there are no
/// link-local addresses (`IN6_ADDR_GEN_MODE_NONE`), no router advertisements and no redirects; and nothing is asked for.
const IPV6_SYSCTLS: [(&str, &str); 5] = [
    ("addr_gen_mode", "1"),
    ("accept_ra", "0"),
    ("accept_redirects", "0"),
    ("accept_dad", "0"),
    ("router_solicitations", "0"),
];

/// Has IPv6 on a link of the calling thread's namespace, or not.
pub(super) fn set_ipv6(link: &str, on: bool) -> Result<()> {
    let mut settings = Settings::default();
    let mut set = |name: &str, value: &str| settings.set(&format!("ipv6/conf/{link}/{name}"), value);
    if on && link != "lo" {
        IPV6_SYSCTLS.iter().try_for_each(|(name, value)| set(name, value))?;
    }
    set("disable_ipv6", if on { "0" } else { "1" })?;
    // What is sent to one's own address goes by `lo`.
    if on { settings.set("ipv6/conf/lo/disable_ipv6", "0") } else { Ok(()) }
}

/// Settles a new namespace. A router forwards from the start and, having no rules yet, must not have links yet.
pub(super) fn prepare(router: bool, settings: &mut Settings<'_>) -> Result<()> {
    let own = if router { ROUTER_SYSCTLS.as_slice() } else { &ENDPOINT_SYSCTLS };
    // A kernel without IPv6 has no such settings, and needs none.
    let router_only = router.then_some(&ROUTER_IPV6_SYSCTL);
    let ipv6 = COMMON_SYSCTLS.iter().chain(router_only).filter(|_| settings.folder("ipv6").is_ok());
    let all: Vec<_> = ipv6.chain(own).collect();
    all.into_iter().try_for_each(|(name, value)| settings.set(name, value))
}

/// A `/proc` that nobody else has seen anything in.
///
/// In a mount of it the kernel remembers what was looked at, and finds a namespace's `ipv4` by looking through those of all
/// others that it remembers: with 1,000 it takes longer than all else that is done to settle a namespace.
#[derive(Debug)]
pub(super) struct Proc(OwnedFd);

/// For how many namespaces one is used, so that making it costs little for each of them.
pub(super) const NAMESPACES_PER_PROC: usize = 32;

impl Proc {
    /// Mounts one where nobody sees it; it goes with its descriptor. The calling process must have CAP_SYS_ADMIN over its
    /// mount namespace, and a `/proc` of its pid namespace in full view.
    pub(super) fn new() -> Result<Self> {
        // Source: fsopen(2), fsconfig(2), fsmount(2); `linux/mount.h` for the numbers.
        const CLOSE_ON_EXEC: libc::c_uint = 1;
        const CREATE: libc::c_uint = 6;
        const NO_SUID_NO_DEVICES_NO_EXEC: libc::c_uint = 2 | 4 | 8;
        // SAFETY: the name is a C string; the kernel makes a descriptor that nobody else has.
        let context = unsafe { owned(libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), CLOSE_ON_EXEC)) }?;
        let (raw, none) = (context.as_raw_fd(), std::ptr::null::<libc::c_char>());
        // SAFETY: the command takes no key and no value.
        if unsafe { libc::syscall(libc::SYS_fsconfig, raw, CREATE, none, none, 0) } < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as fsopen.
        unsafe {
            owned(libc::syscall(libc::SYS_fsmount, raw, CLOSE_ON_EXEC, NO_SUID_NO_DEVICES_NO_EXEC)).map(Proc)
        }
    }

    /// One that somebody else has made.
    pub(super) fn adopt(mount: OwnedFd) -> Self {
        Self(mount)
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The descriptor that a system call returned.
///
/// # Safety
/// It must be one that nobody else owns, or an error.
unsafe fn owned(result: libc::c_long) -> Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: by contract.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::last_os_error()),
    }
}

/// What is under `/proc/sys/net` for the calling thread's namespace. Folders are opened once.
#[derive(Debug, Default)]
pub(super) struct Settings<'p> {
    proc: Option<&'p Proc>,
    folders: BTreeMap<String, OwnedFd>,
}

impl<'p> Settings<'p> {
    /// Through this mount of `/proc`, if there is one.
    pub(super) fn through(proc: Option<&'p Proc>) -> Self {
        Self { proc, folders: BTreeMap::new() }
    }

    /// Sets a value, such as that of `ipv4/ip_forward`.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let told = |error: Error| Error::new(error.kind(), format!("/proc/sys/net/{name}: {error}"));
        self.write(name, value).map_err(told)
    }

    fn write(&mut self, name: &str, value: &str) -> Result<()> {
        let (folder, rest) = name.split_once('/').ok_or_else(|| Error::other("it is in no folder"))?;
        let file = openat(self.folder(folder)?, rest, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        fs::File::from(file).write_all(value.as_bytes())
    }

    /// A folder.
    fn folder(&mut self, name: &str) -> Result<&OwnedFd> {
        if !self.folders.contains_key(name) {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let opened = match self.proc {
                Some(proc) => openat(proc, format!("sys/net/{name}").as_str(), flags, Mode::empty())?,
                None => open(format!("/proc/sys/net/{name}").as_str(), flags, Mode::empty())?,
            };
            self.folders.insert(name.to_owned(), opened);
        }
        self.folders.get(name).ok_or_else(|| Error::other("it was not opened"))
    }
}
