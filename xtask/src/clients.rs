//! Google's client libraries, which tests in `crates/tombolo/tests/e2e/clients.rs` run: see `e2e/clients`.

use crate::cargo::{root, run, say, target};
use crate::verbs::{WHOLE, build_tests};
use crate::{needs, setup};
use anyhow::{Context, Result, ensure};
use std::process::{Command, ExitCode, Stdio};

/// Installs clients, in the folder of what is built, where that was not done before.
pub(crate) fn install(clients: &[&str]) -> Result<()> {
    setup::run_for(&needs::CLIENTS)?;
    let script = root().join("e2e/clients/setup.sh");
    let folder = target()?.join("e2e-clients");
    say(&format!("{} {} {}", script.display(), folder.display(), clients.join(" ")));
    let mut command = Command::new(&script);
    let status = command.arg(&folder).args(clients).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("run {}", script.display()))?;
    ensure!(status.success(), "Google's clients could not be installed ({status})");
    Ok(())
}

/// The tests of every client, the slow one too.
pub(crate) fn test() -> Result<ExitCode> {
    setup::run()?;
    install(&["python", "node", "rust"])?;
    if let Some(failed) = build_tests()? {
        return Ok(failed);
    }
    let args = [&WHOLE[..], &["--test", "e2e", "clients::", "--", "--include-ignored"]].concat();
    Ok(run(&args)?.unwrap_or(ExitCode::SUCCESS))
}
