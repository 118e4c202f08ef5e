//! /etc: the host's, entry by entry as links, except what makes the VM itself.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use super::mounts;
use crate::message::VmSpec;

/// Entries the host's are not shown for. Those that end in `-` are backups of account files.
const OWN: [&str; 14] = [
    "hostname",
    "hosts",
    "resolv.conf",
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "machine-id",
    "mtab",
    "passwd-",
    "group-",
    "shadow-",
    "gshadow-",
    ".pwd.lock",
];
/// Password hashes: when root started the lab, root in a VM could read them.
const SECRETS: [&str; 4] = ["shadow", "gshadow", "shadow-", "gshadow-"];
/// Ids of accounts that packages make. People's accounts on the host are not the VM's.
const SYSTEM_IDS: std::ops::Range<u32> = 0..1000;
const NOBODY: u32 = 65534;

pub(super) fn populate(host: &Path, root: &Path, vm: &VmSpec) -> Result<()> {
    let (host, etc) = (host.join("etc"), root.join("etc"));
    mounts::bind_read_only(&host, &root.join("run/host/etc"))?;
    for name in SECRETS.map(|name| root.join("run/host/etc").join(name)).iter().filter(|path| path.exists()) {
        mounts::bind(&root.join("dev/null"), name)?;
    }
    for entry in fs::read_dir(&host).context("read the host's /etc")? {
        let entry = entry?;
        let name = entry.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        // A link is copied as it is: what it points to relatively is the same here, and programs that
        // read the link itself (/etc/localtime) see what they expect.
        let target = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => fs::read_link(entry.path())?,
            _ => Path::new("/run/host/etc").join(&name),
        };
        symlink(target, etc.join(&name))?;
    }
    accounts(&host, &etc)?;
    fs::write(etc.join("machine-id"), format!("{:032x}\n", fnv128(&vm.key)))?;
    symlink("../proc/self/mounts", etc.join("mtab"))?;
    names(&etc, vm)
}

/// The files that change when the VM's network does.
pub(super) fn names(etc: &Path, vm: &VmSpec) -> Result<()> {
    replace(&etc.join("hostname"), &format!("{}\n", vm.hostname))?;
    replace(&etc.join("hosts"), &vm.hosts)?;
    replace(&etc.join("resolv.conf"), &vm.resolv_conf)
}

/// A new file in the place of whatever is there: root in the VM may have put a pipe there, which nobody reads.
fn replace(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).open(&beside)?.write_all(text.as_bytes())?;
    Ok(fs::rename(beside, path)?)
}

fn accounts(host: &Path, etc: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(host.join(name)).unwrap_or_default();
    let (passwd, group) = (read("passwd"), read("group"));
    let shell = if etc.join("../usr/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let mut users = format!("root:x:0:0:root:/root:{shell}\n");
    let mut secrets = String::from("root:*:19000:0:99999:7:::\n");
    for line in system_lines(&passwd).into_iter().filter(|line| !line.starts_with("root:")) {
        users += &format!("{line}\n");
        secrets += &format!("{}:*:19000:0:99999:7:::\n", line.split(':').next().unwrap_or_default());
    }
    let mut groups = String::from("root:x:0:\n");
    for line in system_lines(&group).into_iter().filter(|line| !line.starts_with("root:")) {
        groups += &format!("{line}\n");
    }
    fs::write(etc.join("passwd"), users)?;
    fs::write(etc.join("group"), groups)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(etc.join("shadow"))?.write_all(secrets.as_bytes())?;
    Ok(())
}

/// Lines of passwd or group (both have the id third) of accounts that every machine with these packages has.
fn system_lines(text: &str) -> Vec<&str> {
    let id = |line: &str| line.split(':').nth(2).and_then(|id| id.parse::<u32>().ok());
    let system = |line: &&str| id(line).is_some_and(|id| SYSTEM_IDS.contains(&id) || id == NOBODY);
    text.lines().filter(system).collect()
}

/// Only has to be stable and different per VM.
fn fnv128(text: &str) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}
