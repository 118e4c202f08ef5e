//! `services vpc-peerings`: private services access, Service Networking v1.

use super::args::List;
use super::client::encode;
use super::session::Session;
use anyhow::Result;
use hyper::Method;
use serde_json::json;

/// The one peering that a network has with Google's services.
const PEERING: &str = "servicenetworking-googleapis-com";

/// What to do with a network's connection to Google's services.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Connect a network to Google's services
    #[command(
        after_help = "Example:\n  tombolo services vpc-peerings connect --network vpc-1 \\\n    --ranges google-managed-services"
    )]
    Connect(Ranges),
    /// List a network's connections
    #[command(after_help = "Example:\n  tombolo services vpc-peerings list --network vpc-1")]
    List(Which),
    /// Replace the allocated ranges of a network's connection
    #[command(
        after_help = "Example:\n  tombolo services vpc-peerings update --network vpc-1 --ranges range-1,range-2"
    )]
    Update(Update),
    /// End a network's connection
    #[command(after_help = "Example:\n  tombolo services vpc-peerings delete --network vpc-1")]
    Delete(Which),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The network
    #[arg(long)]
    network: String,
    /// The service
    #[arg(long, default_value = "servicenetworking.googleapis.com")]
    service: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ranges {
    #[command(flatten)]
    which: Which,
    /// The allocated ranges: names of global addresses with the purpose VPC_PEERING
    #[arg(long, value_name = "NAMES")]
    ranges: List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    #[command(flatten)]
    ranges: Ranges,
    /// Leave out ranges that the connection has
    #[arg(long)]
    force: bool,
}

impl Which {
    fn collection(&self) -> String {
        format!("/servicenetworking/v1/services/{}/connections", encode(&self.service))
    }
}

impl Ranges {
    fn body(&self, session: &Session<'_>) -> Result<serde_json::Value> {
        let network = session.network(&self.which.network)?;
        Ok(json!({ "network": network, "reservedPeeringRanges": self.ranges.0 }))
    }
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        let operation = match self {
            Verb::Connect(ranges) => {
                let body = ranges.body(session)?;
                session.client.change(Method::POST, &ranges.which.collection(), Some(body))?
            }
            Verb::Update(Update { ranges, force }) => {
                let force = if *force { "&force=true" } else { "" };
                let mask = "updateMask=reservedPeeringRanges";
                let path = format!("{}/{PEERING}?{mask}{force}", ranges.which.collection());
                session.client.change(Method::PATCH, &path, Some(ranges.body(session)?))?
            }
            Verb::Delete(which) => {
                let body = json!({ "consumerNetwork": session.network(&which.network)? });
                let path = format!("{}/{PEERING}", which.collection());
                session.client.change(Method::POST, &path, Some(body))?
            }
            Verb::List(which) => {
                let network = encode(&session.network(&which.network)?);
                let path = format!("{}?network={network}", which.collection());
                let found = session.client.list(&path, "connections")?;
                return found.into_iter().try_for_each(|connection| session.show(connection));
            }
        };
        eprintln!("Operation \"{}\" finished successfully.", operation["name"].as_str().unwrap_or_default());
        Ok(())
    }
}
