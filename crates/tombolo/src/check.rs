//! `tombolo check`.

use crate::lab::{LabArgs, Running, options, read};
use crate::output::{Format, json};
use crate::steps::{Layout, Step, summary};
use anyhow::{Result, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tombolo_server::{Lab, View, checks};
use tombolo_topology::Topology;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topology file
    file: PathBuf,
    /// Check the lab that is up instead of bringing the file up for the checks alone
    #[arg(long)]
    running: bool,
    /// Text for people or JSON for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab: LabArgs,
}

/// Runs a file's checks.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let (topology, world) = read(&args.file)?;
    if topology.checks.is_empty() {
        // As expected, all none of them: nobody who runs this means that.
        bail!("{} has no `checks`: there is nothing to run", args.file.display());
    }
    let steps = if args.running {
        check_all(&Running::find(&args.lab)?.view(), &topology, args.format)?
    } else {
        let mut lab = Lab::start(options(None)?)?;
        lab.become_world(world)?;
        check_all(&lab.view(), &topology, args.format)?
    };
    let ok = steps.iter().all(|step| step.ok);
    match args.format {
        Format::Text => summary(&steps, steps.len(), started.elapsed().as_secs_f64()),
        Format::Json => json(&json!({"ok": ok, "checks": steps}))?,
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

/// Makes all checks, in the file's order.
fn check_all(view: &View, topology: &Topology, format: Format) -> Result<Vec<Step>> {
    let titles: Vec<_> =
        topology.checks.iter().map(|c| (checks::title(&c.value), checks::expected(&c.value))).collect();
    let layout = Layout::of(titles.iter().map(|(title, expected)| (title.as_str(), expected.as_str())));
    if format == Format::Text {
        layout.heading();
    }
    let mut steps = Vec::new();
    for (i, check) in topology.checks.iter().enumerate() {
        let checks::Checked { title, expected, seen, why, ok, millis } = checks::check(view, &check.value)?;
        let step = Step { id: i + 1, title, expected, seen, why, ok, millis };
        if format == Format::Text {
            layout.line(&step);
        }
        steps.push(step);
    }
    Ok(steps)
}
