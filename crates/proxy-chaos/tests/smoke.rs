//! A short run with faults, and the proofs that the checker can fail. The proxy must have been
//! built: `cargo build -p tombolo-proxy`, which `cargo xtask test` does first.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn chaos(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tombolo-proxy-chaos"))
        .args(["--format", "json", "--seed", "7"])
        .args(args)
        .output();
    output.expect("tombolo-proxy-chaos")
}

/// The report and the exit status.
fn report(args: &[&str]) -> (Value, Option<i32>) {
    let output = chaos(args);
    let text = String::from_utf8_lossy(&output.stdout);
    let parsed = serde_json::from_str(&text);
    let report = parsed
        .unwrap_or_else(|error| panic!("{error}: {text:?} {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code())
}

#[test]
fn every_reply_of_a_short_storm_is_right() {
    let proxy = Path::new(env!("CARGO_BIN_EXE_tombolo-proxy-chaos")).with_file_name("tombolo-proxy");
    assert!(proxy.exists(), "build it first: cargo build -p tombolo-proxy");
    let args =
        ["--requests", "20000", "--rate", "4000", "--clients", "16", "--storm", "12000", "--quiet", "1500"];
    let (report, status) = report(&args);
    assert_eq!(status, Some(0), "{report:#}");
    assert!(report["requests"].as_u64() >= Some(20_000), "{report:#}");
    assert!(report["replies"].as_u64() >= Some(15_000), "{report:#}");
    let faults = report["faults"].as_object().expect("an object");
    for kind in ["server killed and restarted", "server frozen", "relay cuts replies"] {
        assert!(faults.contains_key(kind), "{report:#}");
    }
}

#[test]
fn wrong_proxies_are_found_out() {
    for (mutant, kind) in [
        ("swap", "misdelivered"),
        ("reorder", "reordered"),
        ("resend", "duplicated"),
        ("close", "unexpected_close"),
        ("invent", "unexpected_error"),
    ] {
        let (report, status) = report(&["--requests", "5000", "--clients", "8", "--mutant", mutant]);
        assert_eq!(status, Some(1), "{mutant}: {report:#}");
        assert!(report["wrong"][kind].as_u64() > Some(5), "{mutant}: {report:#}");
    }
    let (report, status) = report(&["--requests", "5000", "--clients", "8", "--mutant", "nothing"]);
    assert_eq!(status, Some(0), "what is found is the sabotage: {report:#}");
}
