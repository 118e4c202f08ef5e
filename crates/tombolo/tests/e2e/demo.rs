//! The story, from the outside.

use crate::support::{Home, Snapshot, as_each_user};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// The demo as JSON, after which nothing is left.
fn story(home: &Home, args: &[&str]) -> Value {
    let told = home.run(&[&["demo", "--format", "json"], args].concat()).json(0);
    let steps = told["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 8, "{told:#}");
    for (i, step) in steps.iter().enumerate() {
        let keys: Vec<_> = step.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        assert_eq!(step["id"], i + 1, "{told:#}");
        assert_eq!(step["ok"], true, "{told:#}");
        assert_eq!(step["expected"], step["seen"], "{told:#}");
        assert!(step["title"].is_string() && step["millis"].is_u64(), "{told:#}");
    }
    home.assert_nothing_runs();
    told
}

#[test]
fn all_steps_are_as_expected() {
    as_each_user(|home| {
        let told = story(home, &[]);
        // Two outcomes of one command, and what packets did.
        assert_eq!(told["steps"][5]["seen"], "OK; timed out, 0/3 delivered");
        assert_eq!(told["steps"][7]["seen"], "myvalue");
    });
}

#[test]
fn debians_proxy_takes_the_place_of_ours() {
    as_each_user(|home| drop(story(home, &["--proxy", "nutcracker"])));
}

#[test]
fn people_read_a_line_per_step_and_the_reason() {
    as_each_user(|home| {
        let told = home.run(&["demo"]).exits(0);
        let steps = told.lines().filter(|line| line.starts_with("ok   ")).count();
        assert_eq!(steps, 8, "{told}");
        assert!(told.contains("cause  PRIVATE_TRAFFIC_TO_INTERNET"), "{told}");
        assert!(told.contains("3 sent, 0 delivered"), "{told}");
        assert!(told.lines().last().unwrap().starts_with("8/8 as expected in "), "{told}");
        assert!(!told.contains('\x1b'), "colours are for terminals: {told}");
    });
}

/// The proxy's step fails where there is no proxy: the demo says so, and how far it came.
#[test]
fn a_step_that_fails_is_the_last_and_the_exit_status() {
    as_each_user(|home| {
        std::fs::remove_file(home.path.join("tombolo-proxy")).unwrap();
        let told = home.run(&["demo", "--format", "json"]).json(1);
        let steps = told["steps"].as_array().unwrap();
        assert_eq!(
            (steps.len(), &steps[6]["ok"], &told["ok"]),
            (7, &Value::Bool(false), &Value::Bool(false))
        );
    });
}

#[test]
fn two_at_a_time_do_not_meet() {
    let before = Snapshot::take();
    std::thread::scope(|scope| {
        for home in crate::support::homes().into_iter().chain(crate::support::homes()) {
            scope.spawn(move || story(&home, &[]));
        }
    });
    before.assert_unchanged("after demos");
}

/// Whether programs that are started from here never hear of Ctrl-C.
fn ignores_sigint() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    u64::from_str_radix(ignored, 16).unwrap() & 1 << (Signal::SIGINT as u32 - 1) != 0
}

/// In the middle of step 6, most likely: it waits a second there.
#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    if ignores_sigint() {
        return eprintln!("not tested: SIGINT is ignored here, as in a shell's background");
    }
    as_each_user(|home| {
        for millis in [100, 900] {
            let mut demo = home.command(&["demo"]).stdout(Stdio::null()).spawn().unwrap();
            sleep(Duration::from_millis(millis));
            home.learn();
            kill(Pid::from_raw(demo.id() as i32), Signal::SIGINT).unwrap();
            assert!(!demo.wait().unwrap().success());
            home.assert_nothing_runs();
        }
    });
}
