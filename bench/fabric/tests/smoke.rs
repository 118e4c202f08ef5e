//! The benchmark runs, and has a figure wherever one belongs. Nothing is said about speed.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use tombolo_bench_fabric::measure::FIGURES;
use tombolo_bench_fabric::traffic;

/// The binary under test, beside the benchmark. `cargo xtask test` builds it; `cargo test -p` of this crate alone
/// does not.
fn tombolo() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_tombolo-bench-fabric")).with_file_name("tombolo");
    assert!(beside.exists(), "{} is not there: cargo build -p tombolo", beside.display());
    beside
}

#[test]
fn quick_has_every_figure() {
    let bench = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-bench-fabric"));
        command.args(["--quick", "--format", format, "--tombolo"]).arg(tombolo());
        let output = command.output().expect("the benchmark");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let value: Value = serde_json::from_str(&bench("json")).expect("JSON");
    let medians = &value["contenders"][0]["medians"];
    for (name, _) in FIGURES {
        let figure = medians[name].as_f64();
        // So few VMs are lost in what others allocate meanwhile.
        let least = if name.ends_with("memory per VM") { 0.0 } else { f64::MIN_POSITIVE };
        assert!(figure.is_some_and(|figure| figure >= least), "{name}: {medians}");
    }
    let text = bench("text");
    assert!(FIGURES.iter().all(|(name, _)| text.contains(name)), "{text}");
}

#[test]
fn traffic_has_every_figure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-bench-fabric"));
    command.args(["traffic", "--rounds", "1", "--millis", "20", "--rules", "10", "--format", "json"]);
    let output = command.arg("--tombolo").arg(tombolo()).output().expect("the benchmark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let medians = &value["contenders"][0]["medians"];
    for (name, _) in traffic::FIGURES {
        assert!(medians[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {medians}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-bench-fabric"));
    let output = command.args(["--quick", "--tombolo", "/nowhere"]).output().expect("the benchmark");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere is not there"));
}
