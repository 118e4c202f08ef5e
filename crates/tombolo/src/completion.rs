//! `tombolo completion`.

use crate::output::print;
use anyhow::Result;
use clap_complete::Shell;
use std::process::ExitCode;

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: For,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Prints what makes a shell complete the program's words.
pub(crate) fn run(args: &Args, program: clap::Command) -> Result<ExitCode> {
    print(&script(args.shell, program)?);
    Ok(ExitCode::SUCCESS)
}

fn script(shell: For, mut program: clap::Command) -> Result<String> {
    let shell = match shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "tombolo", &mut script);
    Ok(String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, ValueEnum};

    #[test]
    fn shells_complete_verbs_and_flags() {
        for shell in For::value_variants() {
            let script = script(*shell, crate::Cli::command()).unwrap();
            for word in ["serial-output", "no-packets", "firewall-rules"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
