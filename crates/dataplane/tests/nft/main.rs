//! The kernel's rules, loaded by us and loaded by the `nft` program from their text: it must list the same. And what is
//! observed of a kernel that others change too.
//!
//! In a user and network namespace of its own, as whoever runs the tests. Where these cannot be had, or `nft` is not
//! there, the tests fail.

mod observed;
mod oracle;
mod rulesets;
#[path = "../../../model/tests/model/support.rs"]
mod support;
mod tests;
#[path = "../../../fabric/tests/fabric/worlds.rs"]
mod worlds;

use nix::sched::{CloneFlags, unshare};
use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        all().iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    own_namespaces();
    let filter = args.iter().find(|arg| !arg.starts_with('-')).map_or("", String::as_str);
    let mut failed = 0;
    for (name, test) in all().iter().filter(|(name, _)| name.contains(filter)) {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all() -> Vec<tests::Test> {
    [tests::TESTS, observed::TESTS].concat()
}

/// Becomes root of a user namespace, in which network namespaces can be made.
fn own_namespaces() {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).expect("namespaces of our own");
    std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).expect("uid_map");
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1")).expect("gid_map");
}
