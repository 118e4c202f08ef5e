//! Short runs with faults, and the proofs that the checker can fail. The proxy must have been
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

/// A run that has to pass, with these faults among others.
fn passes(args: &[&str], faults: &[&str]) {
    let proxy = Path::new(env!("CARGO_BIN_EXE_tombolo-proxy-chaos")).with_file_name("tombolo-proxy");
    assert!(proxy.exists(), "build it first: cargo build -p tombolo-proxy");
    let (report, status) = report(args);
    assert_eq!(status, Some(0), "{report:#}");
    assert!(report["requests"].as_u64() >= Some(12_000), "{report:#}");
    assert!(report["replies"].as_u64() >= Some(7_000), "{report:#}");
    let seen = report["faults"].as_object().expect("an object");
    faults.iter().for_each(|kind| assert!(seen.contains_key(*kind), "{kind}: {report:#}"));
    let together = report["together"].as_object().expect("an object");
    assert_eq!(together.len(), 3, "{report:#}");
    together.values().for_each(|count| assert!(count.as_u64() >= Some(1), "{report:#}"));
    assert_eq!(report["abilities"]["reload of the configuration"], true, "{report:#}");
    assert!(report["max_resident_kib"].as_u64() >= Some(1000), "{report:#}");
}

const SHORT: [&str; 8] = ["--requests", "12000", "--rate", "4000", "--clients", "16", "--quiet", "1500"];

fn with(more: &[&'static str]) -> Vec<&'static str> {
    SHORT.iter().chain(more).copied().collect()
}

#[test]
fn every_reply_of_a_short_storm_is_right() {
    let faults = ["server killed and restarted", "server frozen", "relay cuts replies", "reload"];
    passes(&with(&["--storm", "9000", "--threads", "2"]), &faults);
}

#[test]
fn every_reply_of_a_short_storm_over_tls_is_right() {
    passes(&with(&["--storm", "9000", "--tls"]), &["server killed and restarted", "relay cuts requests"]);
}

#[test]
fn every_reply_of_a_short_storm_in_front_of_a_cluster_is_right() {
    passes(&with(&["--storm", "9000", "--cluster"]), &["slot moved"]);
}

#[test]
fn wrong_proxies_are_found_out() {
    for (mutant, kind, least) in [
        ("swap", "misdelivered", 5),
        ("reorder", "reordered", 5),
        ("resend", "duplicated", 5),
        ("close", "unexpected_close", 5),
        ("invent", "unexpected_error", 5),
        ("unwatch", "not_isolated", 1),
        ("requeue", "duplicated", 1),
        ("repeat", "duplicated", 1),
        ("drop", "lost", 1),
        ("overtake", "reordered", 1),
    ] {
        let (report, status) = report(&["--requests", "8000", "--clients", "16", "--mutant", mutant]);
        assert_eq!(status, Some(1), "{mutant}: {report:#}");
        assert!(report["wrong"][kind].as_u64() >= Some(least), "{mutant}: {report:#}");
    }
    let (report, status) = report(&["--requests", "8000", "--clients", "16", "--mutant", "nothing"]);
    assert_eq!(status, Some(0), "what is found is the sabotage: {report:#}");
}

#[test]
fn a_reload_that_does_not_happen_is_noticed() {
    let args =
        ["--requests", "14000", "--rate", "1800", "--clients", "4", "--servers", "1", "--mutant", "deaf"];
    let (report, status) = report(&args);
    assert_eq!(status, Some(1), "{report:#}");
    assert!(report["wrong"]["not_reloaded"].as_u64() >= Some(1), "{report:#}");
}

#[test]
fn too_much_memory_is_noticed() {
    let args =
        ["--requests", "1000", "--rate", "1000", "--clients", "4", "--quiet", "0", "--max-memory", "1"];
    let (report, status) = report(&args);
    assert_eq!(status, Some(1), "{report:#}");
    assert!(report["wrong"].as_object().expect("an object").values().all(|count| *count == 0), "{report:#}");
}
