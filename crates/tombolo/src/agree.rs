//! `tombolo agree`.

use crate::lab::options;
use crate::output::{Format, green, json, print, red};
use anyhow::{Result, anyhow};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;
use tombolo_agree::{Mutant, Report, agree};
use tombolo_server::Lab;

/// How many disagreements are printed in full.
const SHOWN: usize = 5;

/// Arguments of `agree`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many worlds
    #[arg(long, default_value_t = 200)]
    worlds: u64,
    /// The first world's seed; the others follow it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many flows in each world
    #[arg(long, default_value_t = 120, value_name = "N")]
    flows: usize,
    /// With lazy VMs, some of which connections wake
    #[arg(long)]
    lazy: bool,
    /// Break the kernel's side on purpose, to see that it is noticed (a test of the test)
    #[arg(long, hide = true)]
    mutant: Option<Mutant>,
    /// Text for people or JSON for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Compares.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let lab = Lab::start(options(None)?)?;
    let (worlds, seed, flows) = (args.worlds, args.seed, args.flows);
    let options = tombolo_agree::Options { worlds, seed, flows, mutant: args.mutant, lazy: args.lazy };
    let progress = std::io::stderr().is_terminal() && args.format == Format::Text;
    let report = agree(lab.agent(), &options, |report| {
        if progress {
            let (worlds, found) = (report.worlds, report.disagreements.len());
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(
                std::io::stderr(),
                "\r{worlds}/{} worlds, {} flows, {found} disagreements",
                args.worlds,
                report.flows
            );
        }
    });
    if progress {
        eprintln!();
    }
    let report = report.map_err(|e| anyhow!(e))?;
    match args.format {
        Format::Text => print(&text(&report, args, started.elapsed().as_secs_f64())),
        Format::Json => json(&as_json(&report))?,
    }
    Ok(ExitCode::from(u8::from(!report.disagreements.is_empty())))
}

/// Disagreements, then how often each verdict was reached, then the totals.
fn text(report: &Report, args: &Args, seconds: f64) -> String {
    let mut out = String::new();
    for disagreement in report.disagreements.iter().take(SHOWN) {
        out += &format!("{disagreement}\n");
    }
    if report.disagreements.len() > SHOWN {
        out += &format!("and {} more\n", report.disagreements.len() - SHOWN);
    }
    let verdicts: Vec<_> = report.verdicts.iter().map(|(name, n)| format!("  {n:>7}  {name}\n")).collect();
    out += &verdicts.concat();
    let found = report.disagreements.len();
    let total = format!(
        "{} worlds from seed {}, {} flows, {found} disagreement{} in {seconds:.1} s",
        report.worlds,
        args.seed,
        report.flows,
        if found == 1 { "" } else { "s" }
    );
    out + &format!("{}\n", if found == 0 { green(&total) } else { red(&total) })
}

/// The report for programs.
fn as_json(report: &Report) -> serde_json::Value {
    let disagreements: Vec<_> =
        report.disagreements.iter().map(|d| json!({"seed": d.seed, "text": d.to_string()})).collect();
    json!({
        "worlds": report.worlds,
        "flows": report.flows,
        "verdicts": report.verdicts,
        "disagreements": disagreements,
    })
}
