//! Running cargo, and saying so.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    // This package is one folder below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A progress line. It goes to stderr: stdout is the verb's own.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// A cargo command in the workspace, by the cargo that runs this.
pub(crate) fn command(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs cargo; its exit status if it was not success.
pub(crate) fn run(args: &[&str]) -> Result<Option<ExitCode>> {
    run_command(args, &mut command(args))
}

/// Runs a prepared cargo command; its exit status if it was not success.
pub(crate) fn run_command(args: &[&str], command: &mut Command) -> Result<Option<ExitCode>> {
    say(&format!("cargo {}", args.join(" ")));
    let status = command.status().context("run cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok((!status.success()).then(|| ExitCode::from(code)))
}

/// Where cargo puts what it builds: the folder above the one that this program was built into.
pub(crate) fn target() -> Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let target = this.parent().and_then(Path::parent).context("this program is in no target folder")?;
    Ok(target.to_path_buf())
}

/// What cargo builds with a profile, such as `release`.
pub(crate) fn built_binary(profile: &str, name: &str) -> Result<PathBuf> {
    Ok(target()?.join(profile).join(name))
}
