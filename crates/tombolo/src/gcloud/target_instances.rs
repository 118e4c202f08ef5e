//! `compute target-instances`.

use super::args::{AllInZone, Body, InZone, List, Listed};
use super::client::encode;
use super::session::{Session, last};
use anyhow::Result;

const TABLE: &str = "table(name, zone.basename(), instance.basename(), natPolicy)";

/// What to do with target instances.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a target instance, which forwarding rules may lead to
    #[command(
        after_help = "Example:\n  tombolo compute target-instances create target-1 --instance vm-1 --zone us-central1-a"
    )]
    Create(Create),
    /// List target instances of every zone
    #[command(after_help = "Example:\n  tombolo compute target-instances list")]
    List(ListArgs),
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

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Of these zones only
    #[arg(long)]
    zones: Option<List>,
    #[command(flatten)]
    listed: Listed,
}

fn collection(session: &Session<'_>, zone: Option<&String>) -> Result<String> {
    session.compute(format!("zones/{}/targetInstances", encode(&session.zone(zone)?)))
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => {
                let Create { which, instance, instance_zone, network, description } = create;
                let zone = session.zone(which.zone.as_ref().or(instance_zone.as_ref()))?;
                let at = instance_zone.as_ref().unwrap_or(&zone);
                let instance = match instance.contains('/') {
                    true => instance.clone(),
                    false => format!("projects/{}/zones/{at}/instances/{instance}", session.project()?),
                };
                let network = network.as_deref().map(|network| session.network(network)).transpose()?;
                let body = Body::default()
                    .with("name", which.name.as_str())
                    .with("instance", instance)
                    .maybe("network", network)
                    .maybe("description", description.as_deref())
                    .json();
                session.show_all(session.create(&collection(session, Some(&zone))?, vec![body])?, TABLE)
            }
            Verb::List(ListArgs { zones, listed }) => {
                let path = session.compute("aggregated/targetInstances")?;
                let mut all = session.list(&path, "targetInstances", listed)?;
                if let Some(List(zones)) = zones {
                    all.retain(|item| {
                        let zone = last(item["zone"].as_str().unwrap_or_default());
                        zones.iter().any(|wanted| wanted == zone)
                    });
                }
                session.show_list(all, listed, TABLE)
            }
            Verb::Describe(InZone { name, zone }) => {
                let path = format!("{}/{}", collection(session, zone.as_ref())?, encode(last(name)));
                session.show(session.client.get(&path)?)
            }
            Verb::Delete(AllInZone { names, zone }) => {
                session.delete("target instances", &collection(session, zone.as_ref())?, names)
            }
        }
    }
}
