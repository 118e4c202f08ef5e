//! Installing what is missing, as far as that is allowed.

use crate::cargo::say;
use crate::needs::{NEEDS, Need, folders, missing, packages};
use anyhow::{Context, Result, bail};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Installs packages ("$@") as root. Debian starts and enables the services of what it installs: a policy that
/// says no is there for as long as it takes, and the services of these packages are disabled.
const INSTALL: &str = r#"
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "$@"
for package; do
    case $package in redis-server | nutcracker | memcached)
        update-rc.d "$package" disable || echo "note: the service $package stays enabled" ;;
    esac
done
"#;

/// Sees to it that everything is there. Where that cannot be, the error says what to do.
pub(crate) fn run() -> Result<()> {
    run_for(&NEEDS)
}

/// The same for these programs.
pub(crate) fn run_for(needs: &[Need]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lacking = missing(needs, &folders(&path));
    if lacking.is_empty() {
        say("all programs that are needed are installed");
        return Ok(());
    }
    for Need { program, package, why } in &lacking {
        say(&format!("{program} is missing: it {why} (Debian package {package})"));
    }
    let packages = packages(&lacking);
    if !is_debian(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()) {
        bail!("this is not a Debian machine: install what is missing by its own means, then try again");
    }
    let Some(mut install) = installer() else {
        let names = packages.join(" ");
        bail!(
            "not allowed to install; please run\n\n  sudo apt-get update && sudo apt-get install -y \
             --no-install-recommends {names}\n"
        );
    };
    say(&format!("installing {}", packages.join(", ")));
    install.args(["sh", "-euc", INSTALL, "install"]).args(&packages);
    // Its output is progress, and so not for stdout, which is the verb's own.
    let status = install.stdin(Stdio::null()).stdout(std::io::stderr()).status().context("run apt-get")?;
    let left = missing(needs, &folders(&path));
    if !status.success() || !left.is_empty() {
        let left: Vec<_> = left.iter().map(|need| need.program).collect();
        bail!("the installation did not work ({status}); still missing: {}", left.join(", "));
    }
    Ok(())
}

/// What runs a command as root, if this user may.
fn installer() -> Option<Command> {
    if Path::new("/proc/self").metadata().is_ok_and(|meta| meta.uid() == 0) {
        return Some(Command::new("env"));
    }
    let mut sudo = Command::new("sudo");
    let allowed = sudo.args(["-n", "sh", "-c", ":"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    allowed.is_ok_and(|status| status.success()).then(|| {
        let mut sudo = Command::new("sudo");
        sudo.arg("-n");
        sudo
    })
}

/// Whether an os-release file is of Debian or of a distribution made from it.
fn is_debian(os_release: &str) -> bool {
    let ids =
        os_release.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    ids.flat_map(|value| value.trim_matches('"').split_whitespace()).any(|id| id == "debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_children_are_known() {
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(is_debian("ID=mint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\n") && !is_debian("VERSION_ID=debian\n") && !is_debian(""));
    }

    /// With programs in the place of apt-get and update-rc.d: the policy is there while they run, and only then.
    #[test]
    fn nothing_is_started_and_no_policy_is_left() {
        let dir = std::env::temp_dir().join(format!("xtask-setup-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let policy = dir.join("policy-rc.d");
        let log = "#!/bin/sh\necho \"$(basename \"$0\") $*\"\n";
        let script = format!("{log}[ \"$1\" != install ] || \"$POLICY_RC_D\" || echo \"policy: $?\"\n");
        for name in ["apt-get", "update-rc.d"] {
            std::fs::write(dir.join(name), &script).unwrap();
        }
        let run = || {
            let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
            let mut command = Command::new("sh");
            command.args([
                "-euc",
                "chmod +x \"$1\"/apt-get \"$1\"/update-rc.d; shift; eval \"$SCRIPT\"",
                "sh",
            ]);
            command.arg(&dir).args(["nftables", "redis-server"]);
            command.env("PATH", path).env("POLICY_RC_D", &policy).env("SCRIPT", INSTALL);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let want = "apt-get update\napt-get install -y --no-install-recommends nftables redis-server\npolicy: 101\n\
                    update-rc.d redis-server disable\n";
        assert_eq!(run(), want);
        assert!(!policy.exists());

        std::fs::write(&policy, "#!/bin/sh\nexit 7\n").unwrap();
        Command::new("chmod").arg("+x").arg(&policy).status().unwrap();
        assert!(run().contains("policy: 7"));
        assert!(policy.exists(), "one that was there stays");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
