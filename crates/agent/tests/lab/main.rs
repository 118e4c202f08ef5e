//! The agent with real namespaces: as the user who runs the tests and, when that is root, as an ordinary user
//! too. Where namespaces cannot be had these tests fail.
//!
//! The agent re-executes its own binary, so this test has a main of its own: `lab agent …` and
//! `lab vm-init` are the product's hidden subcommands, `lab vm-sshd` and `lab exec …` stand for its own, and
//! `lab [FILTER]` runs the tests.

mod bench;
mod bind;
mod death;
mod programs;
mod sandbox;
mod ssh;
mod support;
mod tty;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, ExitCode};

const ORDINARY: u32 = 65534;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().unwrap_or_default();
    match first.to_str() {
        Some("agent") => tombolo_agent::main_agent(args),
        Some("vm-init") => tombolo_agent::main_vm_init(args),
        Some("vm-sshd") => ssh::serve_main(),
        Some("exec") => tty::exec_main(args),
        Some("has-key") => {
            let name = args.next().unwrap_or_default();
            if sandbox::has_key(&name.to_string_lossy()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some("spawn-and-fail") => {
            death::spawn_and_fail();
            ExitCode::SUCCESS
        }
        Some("bench") => bench::run(),
        _ => run_tests(std::env::args_os().skip(1).collect()),
    }
}

fn run_tests(args: Vec<OsString>) -> ExitCode {
    let filter = args.iter().filter_map(|arg| arg.to_str()).find(|arg| !arg.starts_with('-')).unwrap_or("");
    let tests = [sandbox::TESTS, programs::TESTS, tty::TESTS, ssh::TESTS, bind::TESTS, death::TESTS].concat();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let root = nix::unistd::geteuid().is_root();
    let user = if root { "root" } else { "an ordinary user" };
    let mut failed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(filter)) {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} (as {user}) ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if root && !as_ordinary_user(&args) {
        failed += 1;
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Again, from a copy that such a user can read wherever the build is.
fn as_ordinary_user(args: &[OsString]) -> bool {
    let dir = tempfile::Builder::new().prefix("tombolo-agent-test").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("lab");
    std::fs::copy("/proc/self/exe", &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&copy);
    command.args(args).uid(ORDINARY).gid(ORDINARY).current_dir(Path::new("/")).env("HOME", "/nonexistent");
    command.status().unwrap().success()
}
