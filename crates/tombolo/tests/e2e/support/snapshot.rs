//! What of the host a lab could spoil.

use std::fs;
use std::process::Command;

/// The host's network and mounts at a moment.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot {
    parts: Vec<(&'static str, String)>,
}

impl Snapshot {
    pub(crate) fn take() -> Self {
        let mut parts = vec![
            ("links", show("ip", &["-o", "link"])),
            ("addresses", show("ip", &["-o", "address"])),
            ("routes", show("ip", &["-4", "route", "show", "table", "all"])),
            ("IPv6 routes", show("ip", &["-6", "route", "show", "table", "all"])),
            ("rules", show("ip", &["rule"])),
            ("mounts", fs::read_to_string("/proc/self/mountinfo").unwrap()),
            ("named namespaces", folder("/run/netns")),
            ("forwarding", fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()),
        ];
        // Only root may ask.
        if nix::unistd::geteuid().is_root() {
            parts.push(("nftables", show("nft", &["list", "ruleset"])));
        }
        Self { parts }
    }

    #[track_caller]
    pub(crate) fn assert_unchanged(&self, when: &str) {
        for (old, new) in self.parts.iter().zip(Self::take().parts) {
            assert_eq!(*old, new, "{when}: the host's {}", old.0);
        }
    }
}

/// What a program prints, without what changes by itself.
fn show(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let steady = |line: &str| {
        let mut words = Vec::new();
        let mut all = line.split_whitespace();
        while let Some(word) = all.next() {
            words.push(word);
            if ["valid_lft", "preferred_lft", "expires"].contains(&word) {
                all.next();
            }
        }
        words.join(" ")
    };
    text.lines().map(steady).collect::<Vec<_>>().join("\n")
}

fn folder(path: &str) -> String {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}
