//! Suites run in namespaces of their own: no network but a loopback, no process but theirs. Their
//! fixed ports meet nobody else's, what they kill by name is theirs, and nothing outlives them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::cargo::say;

/// Runs a script with bash; its output, both kinds. What goes wrong shows in it.
pub(crate) fn run(script: &str, args: &[&str], seconds: u32, keep: &Path) -> Result<String> {
    let namespaces =
        ["--user", "--map-root-user", "--net", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"];
    let output = Command::new("timeout")
        .args(["--kill-after=5", &seconds.to_string(), "unshare"])
        .args(namespaces)
        .args(["bash", "-c", &format!("exec 2>&1\n{script}"), "suite"])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("run unshare")?;
    if output.status.code() == Some(124) {
        say(&format!("ended after {seconds} s: {}", args.join(" ")));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    std::fs::write(keep, &text).with_context(|| format!("write {}", keep.display()))?;
    Ok(text)
}
