//! `tombolo serial-output`.

use crate::lab::{LabArgs, Running};
use crate::output::print;
use anyhow::{Result, anyhow};
use std::process::ExitCode;
use tombolo_fabric::Owner;
use tombolo_server::run::state;
use tombolo_server::{REDIS_PROGRAM, STARTUP_SCRIPT};

/// Arguments of `serial-output`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, or the redis instance
    name: String,
    #[command(flatten)]
    lab: LabArgs,
}

/// Prints what a VM's startup script, or a redis instance's server, printed last.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let running = Running::find(&args.lab)?;
    let view = running.view();
    let (owner, program) = match (view.instance(&args.name), view.redis(&args.name)) {
        (Ok(key), _) => (Owner::Instance(key.clone()), STARTUP_SCRIPT),
        (_, Ok(key)) => (Owner::Redis(key.clone()), REDIS_PROGRAM),
        (Err(error), _) => return Err(anyhow!(error)),
    };
    let endpoint = owner.to_string();
    if state(view.agent, &endpoint, program)?.is_none() {
        return Err(anyhow!("{} has no {program}", args.name));
    }
    print(&view.agent.read_log(&endpoint, program)?.text);
    Ok(ExitCode::SUCCESS)
}
