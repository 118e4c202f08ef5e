//! `compute target-instances`.

use super::args::{AllInZone, Body, InZone, ListedByZone};
use super::session::Session;
use anyhow::Result;

const NOUN: &str = "targetInstances";
const TABLE: &str = "table(name, zone.basename(), instance.basename(), natPolicy)";

/// What to do with target instances.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a target instance, which forwarding rules may lead to
    #[command(
        after_help = "Example:\n  tombolo compute target-instances create target-1 --instance vm-1 \\\n    --zone us-central1-a"
    )]
    Create(Create),
    /// List target instances of every zone
    #[command(after_help = "Example:\n  tombolo compute target-instances list")]
    List(ListedByZone),
    /// Show a target instance
    #[command(
        after_help = "Example:\n  tombolo compute target-instances describe target-1 --zone us-central1-a"
    )]
    Describe(InZone),
    /// Delete target instances
    #[command(
        after_help = "Example:\n  tombolo compute target-instances delete target-1 --zone us-central1-a"
    )]
    Delete(AllInZone),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    which: InZone,
    /// The instance, of the same zone
    #[arg(long)]
    instance: String,
    /// Its zone, which is the target instance's
    #[arg(long)]
    instance_zone: Option<String>,
    /// The network whose interface of the instance gets the packets [default: that of nic0]
    #[arg(long)]
    network: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => {
                let Create { which, instance, instance_zone, network, description } = create;
                let zone = session.zone(which.zone.as_ref().or(instance_zone.as_ref()))?;
                let at = instance_zone.as_ref().unwrap_or(&zone);
                let instance = session.link(format_args!("zones/{at}/instances"), instance)?;
                let network = network.as_deref().map(|network| session.network(network)).transpose()?;
                let body = Body::default()
                    .with("name", which.name.as_str())
                    .with("instance", instance)
                    .maybe("network", network)
                    .maybe("description", description.as_deref())
                    .json();
                session.show_all(session.create(&session.of_zone(NOUN, Some(&zone))?, vec![body])?, TABLE)
            }
            Verb::List(list) => session.show_list(session.list_zones(NOUN, list)?, &list.listed, TABLE),
            Verb::Describe(which) => session.show(session.client.get(&session.in_zone(NOUN, which)?)?),
            Verb::Delete(AllInZone { names, zone }) => {
                session.delete("target instances", &session.of_zone(NOUN, zone.as_ref())?, names)
            }
        }
    }
}
