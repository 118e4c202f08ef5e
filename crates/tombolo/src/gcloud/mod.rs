//! gcloud's grammar: the same nouns, verbs and flags, the same tables and YAML, the same words for errors.
//!
//! ```text
//!  arguments ─▶ a noun's file: flags to a request ─▶ client ─HTTP─▶ the served lab
//!                                                      │
//!  stdout ◀─ print: table, YAML, value(…) ◀─ the resource as the API shows it
//! ```
//!
//! Nothing here knows the lab but by its API. Flags that are not there are refused by the parser, so that a script
//! made for gcloud either does the same here or says what is missing.

mod addresses;
mod args;
mod client;
mod compute;
mod filter;
mod firewall_policies;
mod firewall_rules;
mod folders;
mod forwarding_rules;
mod instances;
mod network_firewall_policies;
mod networks;
mod operations;
mod peerings;
mod places;
mod print;
mod projection;
mod projects;
mod redis;
mod routers;
mod routes;
mod service_attachments;
mod services;
mod session;
mod shared_vpc;
mod subnets;
mod tags;
mod target_instances;
mod transform;
mod vpc_peerings;
mod yaml;

use crate::clients::Served;
use crate::lab::LabArgs;
use anyhow::Result;
use client::Refused;
use session::{Session, Usage};
use std::process::ExitCode;

pub(crate) use client::{Client, encode};
pub(crate) use compute::Compute;
pub(crate) use folders::{Organizations, ResourceManager};
pub(crate) use projects::Projects;
pub(crate) use redis::Redis;
pub(crate) use services::Services;

/// Flags of every verb.
#[derive(Debug, clap::Args)]
pub(crate) struct Globals {
    /// The project [default: $CLOUDSDK_CORE_PROJECT, else the lab's only one]
    #[arg(long, global = true, value_name = "PROJECT")]
    project: Option<String>,
    /// How to print: json, yaml, table(COLUMNS), value(KEYS), csv(KEYS), none
    #[arg(long, global = true, value_name = "FORMAT")]
    format: Option<projection::Format>,
    /// Do not ask whether to go on
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(flatten)]
    lab: LabArgs,
}

/// A noun with its verbs, and how it is run.
pub(crate) trait Noun {
    /// The flags of all its verbs.
    fn globals(&self) -> &Globals;
    /// Does what the verb says.
    fn run(&self, session: &Session<'_>) -> Result<()>;
}

/// Runs a verb. `name` is the verb's path, such as `compute.networks.list`.
pub(crate) fn run(noun: &impl Noun, name: &str) -> Result<ExitCode> {
    let globals = noun.globals();
    let served = Served::find(&globals.lab)?;
    let session = Session::new(Client::new(&served)?, globals, served.project);
    let Err(error) = noun.run(&session) else { return Ok(ExitCode::SUCCESS) };
    let code = match (error.downcast_ref::<Refused>(), error.downcast_ref::<Usage>()) {
        (Some(_), _) => 1,
        (_, Some(_)) => 2,
        _ => return Err(error),
    };
    eprintln!("ERROR: (tombolo.{name}) {error}");
    Ok(ExitCode::from(code))
}

/// The path of the verb in parsed arguments: `compute.networks.list`.
pub(crate) fn verb_name(matches: &clap::ArgMatches) -> String {
    let levels = std::iter::successors(matches.subcommand(), |(_, matches)| matches.subcommand());
    levels.map(|(name, _)| name).collect::<Vec<_>>().join(".")
}
