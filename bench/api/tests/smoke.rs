//! The benchmark runs, and has a figure wherever one belongs. Nothing is said about speed.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use tombolo_bench_api::measure::FIGURES;

/// The binary under test, beside the benchmark. `cargo xtask test` builds it; `cargo test -p` of this crate alone
/// does not.
fn tombolo() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_tombolo-bench-api")).with_file_name("tombolo");
    assert!(beside.exists(), "{} is not there: cargo build -p tombolo", beside.display());
    beside
}

#[test]
fn quick_has_every_figure() {
    let bench = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-bench-api"));
        // Whether the rival is there is not for this test to say.
        command.args(["--quick", "--format", format, "--tombolo"]).arg(tombolo()).env("PATH", "");
        let output = command.output().expect("the benchmark");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        assert!(errors.contains("cloudemu is not on PATH and is left out"), "{errors}");
        String::from_utf8(output.stdout).expect("text")
    };
    let value: Value = serde_json::from_str(&bench("json")).expect("JSON");
    let medians = &value["contenders"][0]["medians"];
    for (name, _) in FIGURES {
        assert!(medians[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {medians}");
    }
    assert_eq!(medians["packets sent"], medians["packets that obeyed"]);
    let text = bench("text");
    assert!(FIGURES.iter().all(|(name, _)| text.contains(name)), "{text}");
}

#[test]
fn what_is_missing_is_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-bench-api"));
    let output = command.args(["--quick", "--tombolo", "/nowhere"]).output().expect("the benchmark");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere is not there"));
}
