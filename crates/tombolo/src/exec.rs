//! `tombolo exec` and `tombolo shell`.

use crate::lab::{LabArgs, Running};
use crate::stdin::Input;
use anyhow::{Result, anyhow};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;
use tombolo_agent::{Outcome, Program, attach, own_stdio, terminal_size};

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, or `internet`
    vm: String,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    lab: LabArgs,
}

/// Arguments of `shell`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShellArgs {
    /// The VM, or `internet`
    vm: String,
    #[command(flatten)]
    lab: LabArgs,
}

/// Runs a program; with a terminal of its own where this process has one.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let running = Running::find(&args.lab)?;
    let view = running.view();
    let endpoint = view.machine(&args.vm).map_err(|e| anyhow!(e))?.to_string();
    // The same folder, where the VM has it: the machine's files are there, but not its /tmp and home.
    let cwd = std::env::current_dir().ok().and_then(|dir| dir.to_str().map(str::to_owned));
    // What the terminal can do is for the program to know; the rest of this environment is not the VM's.
    let env = std::env::var("TERM").ok().map(|term| ("TERM".to_owned(), term)).into_iter().collect();
    let program = Program { cwd, env, ..Program::new(args.command) };
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let size = terminal_size(std::io::stdin()).filter(|_| interactive);
    let mut input = None;
    let outcome = attach(|| match size {
        Some(size) => view.agent.exec_tty(&endpoint, program, size),
        None => {
            let [_, stdout, stderr] = own_stdio();
            let stdin = input.insert(Input::new()?);
            view.agent.exec(&endpoint, program, [stdin.as_fd(), stdout, stderr])
        }
    })?;
    if let Some(input) = input {
        input.give_back();
    }
    if let Outcome::Failed { message, .. } = &outcome {
        eprintln!("tombolo: {message}");
    }
    Ok(ExitCode::from(u8::try_from(outcome.code()).unwrap_or(255)))
}

/// Opens a shell.
pub(crate) fn shell(args: ShellArgs) -> Result<ExitCode> {
    let command = ["/bin/sh", "-c", "command -v bash >/dev/null && exec bash -l || exec sh -l"];
    run(Args { vm: args.vm, command: command.map(str::to_owned).to_vec(), lab: args.lab })
}
