//! The machine's programs that Tombolo, its demo and its tests run, and the Debian packages that have them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A program that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    /// Its name.
    pub(crate) program: &'static str,
    /// The Debian package that has it.
    pub(crate) package: &'static str,
    /// What for.
    pub(crate) why: &'static str,
}

/// All of them.
pub(crate) const NEEDS: [Need; 14] = [
    need("redis-server", "redis-server", "is the Redis of a Memorystore instance"),
    need("memcached", "memcached", "is the server of memcached pools in the tests"),
    need("redis-cli", "redis-tools", "is the client in the demo's VMs"),
    need("nft", "nftables", "loads the firewall rules into the lab"),
    need("ping", "iputils-ping", "is run in VMs by the demo and the tests"),
    need("hostname", "hostname", "is run in VMs by the demo"),
    need("nutcracker", "nutcracker", "is what tombolo-proxy is compared with"),
    need("ip", "iproute2", "shows the tests what the host and VMs have"),
    need("ssh", "openssh-client", "logs in to VMs in the demo and the tests"),
    need("ssh-keygen", "openssh-client", "makes keys in the tests"),
    need("curl", "curl", "asks the metadata server in the tests' VMs"),
    need("setpriv", "util-linux", "runs the tests as an ordinary user too"),
    need("unshare", "util-linux", "makes a place for a test in which no lab can be made"),
    need("kill", "procps", "sends signals in the tests"),
];

/// Those of `cargo xtask proxy-suites` besides.
pub(crate) const SUITES: [Need; 5] = [
    need("tclsh", "tcl", "runs Redis's own suite"),
    need("python3", "python3-venv", "runs twemproxy's tests"),
    need("memcached", "memcached", "is behind the proxy in twemproxy's tests"),
    need("socat", "socat", "is how twemproxy's tests ask whether memcached is there"),
    need("xz", "xz-utils", "unpacks Debian's source packages"),
];

/// Those of the tests with Google's client libraries besides.
pub(crate) const CLIENTS: [Need; 4] = [
    need("python3", "python3-venv", "runs Google's Python clients"),
    need("node", "nodejs", "runs Google's Node clients"),
    need("npm", "npm", "installs Google's Node clients"),
    need("flock", "util-linux", "lets one at a time install them"),
];

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { program, package, why }
}

/// Those of `needs` that are not in any of the folders.
pub(crate) fn missing<'a>(needs: &'a [Need], folders: &[PathBuf]) -> Vec<&'a Need> {
    needs.iter().filter(|need| !folders.iter().any(|folder| runnable(&folder.join(need.program)))).collect()
}

/// Their packages, each once.
pub(crate) fn packages(missing: &[&Need]) -> Vec<&'static str> {
    missing.iter().map(|need| need.package).collect::<BTreeSet<_>>().into_iter().collect()
}

/// PATH, and the folders that ordinary users' PATHs lack.
pub(crate) fn folders(path: &OsStr) -> Vec<PathBuf> {
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(path).chain(system).collect()
}

fn runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_folder_has_is_missing() {
        assert_eq!(missing(&NEEDS, &[]).len(), NEEDS.len());
        assert_eq!(missing(&NEEDS, &[PathBuf::from("/no/such/folder")]).len(), NEEDS.len());
    }

    #[test]
    fn a_package_of_two_programs_is_named_once() {
        let both: Vec<_> = NEEDS.iter().filter(|need| need.package == "util-linux").collect();
        assert_eq!(both.len(), 2);
        assert_eq!(packages(&both), ["util-linux"]);
    }

    #[test]
    fn an_ordinary_users_path_is_completed() {
        let folders = folders(OsStr::new("/a:/b"));
        assert_eq!(folders[..2], [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(folders.contains(&PathBuf::from("/usr/sbin")));
    }
}
