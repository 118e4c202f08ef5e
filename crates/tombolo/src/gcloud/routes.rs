//! `compute routes`.

use super::args::{AllNamed, Body, List, Listed, Named};
use super::client::encode;
use super::session::{Session, last};
use anyhow::Result;
use serde_json::Value;

const TABLE: &str = "table(name, network.basename(), destRange, firstof(nextHopInstance, nextHopGateway, nextHopIp, \
                     nextHopVpnTunnel, nextHopPeering, nextHopNetwork, nextHopHub).scope():label=NEXT_HOP, priority)";

/// What to do with routes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a static route
    #[command(
        after_help = "Example:\n  tombolo compute routes create to-dc --network vpc-1 \\\n    --destination-range 192.168.0.0/16 --next-hop-instance vm-1 \\\n    --next-hop-instance-zone us-central1-a"
    )]
    Create(Create),
    /// List routes
    #[command(after_help = "Example:\n  tombolo compute routes list")]
    List(Listed),
    /// Show a route
    #[command(after_help = "Example:\n  tombolo compute routes describe to-dc")]
    Describe(Named),
    /// Delete routes
    #[command(after_help = "Example:\n  tombolo compute routes delete to-dc")]
    Delete(AllNamed),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// The network whose packets it routes
    #[arg(long, default_value = "default")]
    network: String,
    /// The destinations
    #[arg(long, value_name = "RANGE")]
    destination_range: String,
    #[command(flatten)]
    hop: Hop,
    /// The zone of the instance that forwards [default: $CLOUDSDK_COMPUTE_ZONE]
    #[arg(long, value_name = "ZONE", requires = "next_hop_instance")]
    next_hop_instance_zone: Option<String>,
    /// Of equally specific routes the one with the lowest wins
    #[arg(long, default_value_t = 1000)]
    priority: u16,
    /// Of which instances' packets: those with one of these tags; of everybody's when not given
    #[arg(long, value_name = "TAGS")]
    tags: Option<List>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

/// Where to.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Hop {
    /// The internet: default-internet-gateway
    #[arg(long, value_name = "GATEWAY")]
    next_hop_gateway: Option<String>,
    /// An instance that may forward
    #[arg(long, value_name = "INSTANCE")]
    next_hop_instance: Option<String>,
    /// The address of an instance that may forward
    #[arg(long, value_name = "ADDRESS")]
    next_hop_address: Option<String>,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        let collection = session.compute("global/routes")?;
        match self {
            Verb::Create(create) => {
                let body = create.body(session)?;
                session.show_all(session.create(&collection, vec![body])?, TABLE)
            }
            Verb::List(listed) => {
                session.show_list(session.client.list(&collection, "items")?, listed, TABLE)
            }
            Verb::Describe(Named { name }) => {
                session.show(session.client.get(&format!("{collection}/{}", encode(name)))?)
            }
            Verb::Delete(AllNamed { names }) => session.delete("routes", &collection, names),
        }
    }
}

impl Create {
    fn body(&self, session: &Session<'_>) -> Result<Value> {
        let project = session.project()?;
        let instance = match self.hop.next_hop_instance.as_deref() {
            Some(link) if link.contains('/') => Some(link.to_owned()),
            Some(name) => {
                let zone = session.zone(self.next_hop_instance_zone.as_ref())?;
                Some(format!("projects/{project}/zones/{zone}/instances/{name}"))
            }
            None => None,
        };
        let gateway = self.hop.next_hop_gateway.as_deref();
        let gateway = gateway.map(|name| format!("projects/{project}/global/gateways/{}", last(name)));
        Ok(Body::default()
            .with("name", self.name.as_str())
            .with("network", session.network(&self.network)?)
            .with("destRange", self.destination_range.as_str())
            .with("priority", self.priority)
            .maybe("nextHopGateway", gateway)
            .maybe("nextHopInstance", instance)
            .maybe("nextHopIp", self.hop.next_hop_address.as_deref())
            .maybe("tags", self.tags.as_ref())
            .maybe("description", self.description.as_deref())
            .json())
    }
}
