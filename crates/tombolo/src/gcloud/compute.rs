//! `compute`: the nouns of Compute.

use super::session::Session;
use super::{Globals, Noun, addresses, firewall_rules, instances, networks, operations, places, routes};
use anyhow::Result;

/// Networks, instances and what belongs to them.
#[derive(Debug, clap::Args)]
pub(crate) struct Compute {
    #[command(subcommand)]
    noun: ComputeNoun,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum ComputeNoun {
    /// Networks, their subnetworks and peerings
    #[command(subcommand)]
    Networks(networks::Verb),
    /// Firewall rules
    #[command(subcommand)]
    FirewallRules(firewall_rules::Verb),
    /// Routes
    #[command(subcommand)]
    Routes(routes::Verb),
    /// Reserved addresses
    #[command(subcommand)]
    Addresses(addresses::Verb),
    /// VM instances
    #[command(subcommand)]
    Instances(instances::Verb),
    /// Operations: what was asked of the API, and how it went
    #[command(subcommand)]
    Operations(operations::Verb),
    /// Zones
    #[command(subcommand)]
    Zones(places::Verb),
    /// Regions
    #[command(subcommand)]
    Regions(places::Verb),
}

impl Noun for Compute {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        match &self.noun {
            ComputeNoun::Networks(verb) => verb.run(session),
            ComputeNoun::FirewallRules(verb) => verb.run(session),
            ComputeNoun::Routes(verb) => verb.run(session),
            ComputeNoun::Addresses(verb) => verb.run(session),
            ComputeNoun::Instances(verb) => verb.run(session),
            ComputeNoun::Operations(verb) => verb.run(session),
            ComputeNoun::Zones(verb) => verb.run(session, places::ZONES),
            ComputeNoun::Regions(verb) => verb.run(session, places::REGIONS),
        }
    }
}
