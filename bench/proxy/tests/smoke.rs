//! The benchmark runs, and has a figure wherever one belongs. Nothing is said about speed.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tombolo_bench_proxy::floor::EventLoop;

/// The binary under test, beside the benchmark. `cargo xtask test` builds it; `cargo test -p` of this crate alone
/// does not.
fn proxy() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_tombolo-bench-proxy")).with_file_name("tombolo-proxy");
    assert!(beside.exists(), "{} is not there: cargo build -p tombolo-proxy", beside.display());
    beside
}

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-bench-proxy"));
    command.args(args);
    command
}

#[test]
fn quick_has_every_figure() {
    let proxy = proxy();
    let rivals = "nutcracker,direct,floor,floor-mio,floor-tokio,floor-uring";
    let args = ["--quick", "--format", "json", "--rivals", rivals, "--proxy"];
    let output = bench(&args).arg(proxy).output().expect("the benchmark");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let points = value["points"].as_array().expect("points");
    assert_eq!(points.len(), 3);
    for point in points {
        let idle = point["point"].as_str().expect("a name").starts_with("idle");
        for kind in ["tombolo", "nutcracker", "direct", "floor", "floor-mio", "floor-tokio", "floor-uring"] {
            let contender = &point["contenders"][kind];
            if idle && kind == "direct" {
                assert_eq!(contender["unable"], "is no proxy");
                continue;
            }
            if kind == "floor-uring"
                && let Some(expected) = EventLoop::IoUring.unavailable()
            {
                assert_eq!(contender["unable"], expected);
                continue;
            }
            let mut names = Vec::new();
            if !idle {
                names.extend(["thousand_requests_per_second", "p50_ms", "p99_ms"]);
            }
            if !idle && kind != "direct" {
                names.push("cpu_seconds_per_million_requests");
            }
            if kind != "direct" {
                names.push("memory_mib");
            }
            for group in [&contender["median"], &contender["tombolo_ratio"], &contender["rounds"][0]] {
                for name in &names {
                    let figure = group[name].as_f64();
                    assert!(figure.is_some_and(|figure| figure > 0.0), "{kind} {name}: {contender}");
                }
            }
        }
    }
    assert!(!value["targets"].as_array().expect("targets").is_empty());
}

#[test]
fn what_is_missing_or_misspelt_is_named() {
    for (args, expected) in [
        (["--points", "get/64", "--rounds", "1"].as_slice(), "'get/64' is no point"),
        (&["--rivals", "nginx"], "'nginx' is none of tombolo, nutcracker"),
        (&["--proxy", "/nonexistent/tombolo-proxy"], "tombolo-proxy is not there"),
        (&["--quick", "--rounds", "3"], "cannot be used with"),
    ] {
        let output = bench(args).output().expect("the benchmark");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(expected), "{args:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}
