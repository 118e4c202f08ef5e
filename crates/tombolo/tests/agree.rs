//! A short run of `agree`, and the proof that it can fail: every deliberate bug of the kernel's side is noticed.

use std::process::{Command, Output};

/// Runs `tombolo agree`.
fn agree(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
    command.arg("agree").args(arguments).env("NO_COLOR", "1").output().expect("run tombolo agree")
}

#[test]
fn trace_and_packets_agree_on_ten_worlds() {
    let output = agree(&["--worlds", "10", "--seed", "20260101"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("10 worlds") && text.contains("0 disagreements"), "{text}");
    assert!(text.contains("DELIVERED") && text.contains("FIREWALL_RULE"), "{text}");
}

/// One test for all: each needs a lab, and labs at the same time only slow each other down.
#[test]
fn every_mutant_is_caught() {
    for (mutant, _) in tombolo_agree::MUTANTS {
        // The run ends with the first disagreement, which nearly all have within 20 worlds.
        let output = agree(&["--worlds", "250", "--seed", "1", "--mutant", mutant]);
        let text = String::from_utf8_lossy(&output.stdout);
        let all = format!("{mutant}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{all}");
        assert!(text.contains("wanted") && text.contains("seen") && text.contains("seed"), "{all}");
    }
}
