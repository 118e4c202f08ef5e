//! The host is as it was: while a lab is up, and after it.

use crate::support::{Snapshot, as_each_user};
use std::os::unix::fs::MetadataExt;

#[test]
fn the_host_is_as_before() {
    as_each_user(|home| {
        let before = Snapshot::take();
        home.run(&["demo"]).exits(0);
        before.assert_unchanged("after a demo");

        home.up(&home.example("article.yaml"));
        before.assert_unchanged("while a lab is up");
        home.sh(
            "vm-1",
            "ip link add dummy-of-vm type veth; ip route add 198.51.100.0/24 via 10.1.0.1 onlink dev eth0",
        )
        .exits(0);
        before.assert_unchanged("while a VM changes its own network");
        home.down();
        before.assert_unchanged("after the lab");
    });
}

/// Nothing of a lab is in the host's namespaces but the server and the stub that waits for the lab.
#[test]
fn what_a_lab_has_is_inside_it() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let number =
            |pid: &str, kind: &str| Some(std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?.ino());
        let processes = home.learn();
        assert!(processes.iter().any(|process| process.comm == "redis-server"), "{processes:#?}");
        for process in &processes {
            // One that has ended by now has none.
            let shares = |kind: &&str| number(&process.pid.to_string(), kind) == number("self", kind);
            let outside: Vec<_> = ["user", "net", "mnt"].into_iter().filter(shares).collect();
            let server = process.args.contains(" up ");
            assert_eq!(outside.is_empty(), !server, "{process:?} shares {outside:?} with the host");
        }
        home.down();
    });
}
