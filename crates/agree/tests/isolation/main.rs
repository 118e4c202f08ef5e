//! What a VM whose root is hostile can do to anybody else: nothing. Every attempt is a row of a table that says what
//! it tries; each is made in a lab with the real kernel, as the user who runs the tests and, when that is root, as an
//! ordinary user too. Where namespaces cannot be had these tests fail.
//!
//! That nothing arrived proves little. So every frame is sent once over a bare wire, where it must arrive; in the lab
//! what is allowed must arrive after every attempt, by the same way; and what a program tries must work where it is
//! allowed.

mod ear;
mod escape;
mod escapes;
mod frame;
mod host;
mod internet;
mod ipv6s;
mod links;
mod packets;
mod published;
mod scene;
mod suite;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

const ORDINARY: u32 = 65534;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().unwrap_or_default();
    match first.to_str() {
        Some("agent") => tombolo_agent::main_agent(args),
        Some("vm-init") => tombolo_agent::main_vm_init(args),
        Some("ear") => ear::main(),
        Some("escape") => escape::main(args.filter_map(|arg| arg.into_string().ok()).collect()),
        _ => run_tests(std::env::args_os().skip(1).collect()),
    }
}

fn run_tests(args: Vec<OsString>) -> ExitCode {
    let filter = args.iter().filter_map(|arg| arg.to_str()).find(|arg| !arg.starts_with('-')).unwrap_or("");
    if args.iter().any(|arg| arg == "--list") {
        suite::names().iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let root = nix::unistd::geteuid().is_root();
    println!("as {}", if root { "root" } else { "an ordinary user" });
    let mut failed = suite::run(filter);
    if root && !as_ordinary_user(&args) {
        failed += 1;
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Again, from a copy that such a user can read wherever the build is.
fn as_ordinary_user(args: &[OsString]) -> bool {
    let dir = tempfile::Builder::new().prefix("tombolo-isolation-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("isolation");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&copy);
    command.args(args).uid(ORDINARY).gid(ORDINARY).current_dir(Path::new("/")).env("HOME", "/nonexistent");
    command.status().unwrap().success()
}
