//! What a user can do when the kernel refuses a lab.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

/// A setting that keeps ordinary users from having namespaces, the value that does so, and one that does not.
const SETTINGS: [(&str, &str, &str); 4] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "63000"),
    ("user.max_net_namespaces", "0", "63000"),
];

/// Lines to put behind an error; empty when there is nothing to advise.
pub(crate) fn text(errno: Errno) -> String {
    lines(errno, |name| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::read_to_string(path).ok().map(|value| value.trim().to_owned())
    })
}

fn lines(errno: Errno, read: impl Fn(&str) -> Option<String>) -> String {
    if !matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS | Errno::ENOSYS) {
        return String::new();
    }
    let mut text = String::new();
    for (name, bad, good) in SETTINGS {
        if let Some(value) = read(name) {
            text += &format!("\n  {name} is {value}");
            if value == bad {
                text += &format!(", which forbids it; as root: sysctl -w {name}={good}");
            }
        }
    }
    if in_container() {
        text += "\n  this looks like a container: its seccomp profile or masked /proc may forbid namespaces; \
                 docker: --security-opt seccomp=unconfined --security-opt systempaths=unconfined \
                 --security-opt apparmor=unconfined";
    }
    if text.is_empty() {
        text += "\n  user namespaces must be allowed for this user (see user_namespaces(7))";
    }
    text
}

/// A line to put behind an error that may come of a low limit of open files, whoever met it: errors come from other
/// processes as text. Descriptors that were sent and have no room are "no buffer space".
pub fn open_files(error: &str) -> Option<String> {
    // Of the whole system there may be too many too.
    let met = |errno: Errno| error.contains(errno.desc()) && !error.contains("open files in system");
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let text = || {
        format!(
            "\n  a lab needs some open files for itself and several for each VM; the limit is {limit}, and `ulimit -n` raises \
             it (root, or nofile in /etc/security/limits.conf)"
        )
    };
    (met(Errno::EMFILE) || met(Errno::ENOBUFS)).then(text)
}

fn in_container() -> bool {
    Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_at_fault_is_named_with_its_value_and_remedy() {
        let ubuntu =
            |name: &str| (name == "kernel.apparmor_restrict_unprivileged_userns").then(|| "1".to_owned());
        let text = lines(Errno::EPERM, ubuntu);
        assert!(text.contains("restrict_unprivileged_userns is 1"), "{text}");
        assert!(text.contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"), "{text}");

        let debian = |name: &str| (name == "kernel.unprivileged_userns_clone").then(|| "0".to_owned());
        assert!(lines(Errno::EPERM, debian).contains("sysctl -w kernel.unprivileged_userns_clone=1"));

        let fine = |name: &str| (name == "user.max_user_namespaces").then(|| "9".to_owned());
        assert!(lines(Errno::ENOSPC, fine).contains("user.max_user_namespaces is 9"));
        assert_eq!(lines(Errno::ENOMEM, ubuntu), "");
    }

    #[test]
    fn a_limit_of_open_files_is_named_where_it_may_be_met() {
        for error in
            ["accept: Too many open files (os error 24)", "create namespace x: No buffer space available"]
        {
            assert!(open_files(error).is_some_and(|text| text.contains("ulimit -n")), "{error}");
        }
        for error in ["", "Too many open files in system (os error 23)", "Permission denied (os error 13)"] {
            assert_eq!(open_files(error), None);
        }
    }
}
