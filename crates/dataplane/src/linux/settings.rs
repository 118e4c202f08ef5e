//! Settings under `/proc/sys/net`, as the calling thread's network namespace has them.

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, Result, Write};
use std::os::fd::OwnedFd;

/// Settings of a router, made before it has any link but `lo`.
const ROUTER_SYSCTLS: [(&str, &str); 11] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"), // the kernel takes the larger of `all` and the link's own
    ("ipv4/conf/default/rp_filter", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
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

/// Settles a new namespace. A router forwards from the start and, having no rules yet, must not have links yet.
pub(super) fn prepare(router: bool) -> Result<()> {
    let own = if router { ROUTER_SYSCTLS.as_slice() } else { &ENDPOINT_SYSCTLS };
    let mut folders = Sysctls::default();
    // A kernel without IPv6 has no such settings, and needs none.
    let common = COMMON_SYSCTLS.iter().filter(|_| fs::exists("/proc/sys/net/ipv6").unwrap_or(false));
    common.chain(own).try_for_each(|(name, value)| folders.set(name, value))
}

/// Folders under `/proc/sys/net` as the calling thread's namespace has them. They are opened once: the kernel finds one
/// by looking through those of all namespaces.
#[derive(Debug, Default)]
pub(super) struct Sysctls(BTreeMap<String, OwnedFd>);

impl Sysctls {
    /// Sets a value, such as that of `ipv4/ip_forward`.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let told = |error: Error| Error::new(error.kind(), format!("/proc/sys/net/{name}: {error}"));
        self.write(name, value).map_err(told)
    }

    fn write(&mut self, name: &str, value: &str) -> Result<()> {
        let (folder, rest) = name.split_once('/').ok_or_else(|| Error::other("it is in no folder"))?;
        let folder = match self.0.get(folder) {
            Some(open) => open,
            None => {
                let path = format!("/proc/sys/net/{folder}");
                let opened = open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
                self.0.entry(folder.to_owned()).or_insert(opened)
            }
        };
        let file = openat(folder, rest, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        fs::File::from(file).write_all(value.as_bytes())
    }
}
