//! `compute addresses`: reserved addresses of a region, or of none.

use super::args::{Body, Listed, upper};
use super::client::encode;
use super::session::{Session, Usage};
use anyhow::Result;
use serde_json::Value;

const TABLE: &str = "table(name, address_range():label=ADDRESS/RANGE, addressType:label=TYPE, purpose, network.basename(), \
                     region.basename(), subnetwork.basename():label=SUBNET, status)";

/// What to do with reserved addresses.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Reserve an address
    #[command(
        after_help = "Examples:\n  tombolo compute addresses create a-1 --region us-central1 --subnet subnet-1 \\\n    --addresses 10.1.0.9\n  tombolo compute addresses create services --global --purpose VPC_PEERING \\\n    --prefix-length 24 --network vpc-1"
    )]
    Create(Create),
    /// List reserved addresses
    #[command(after_help = "Example:\n  tombolo compute addresses list")]
    List(Listed),
    /// Show a reserved address
    #[command(after_help = "Example:\n  tombolo compute addresses describe a-1 --region us-central1")]
    Describe(One),
    /// Give reserved addresses back
    #[command(after_help = "Example:\n  tombolo compute addresses delete a-1 --region us-central1")]
    Delete(Several),
}

/// Where an address is.
#[derive(Debug, clap::Args)]
struct Scope {
    /// Its region [default: $CLOUDSDK_COMPUTE_REGION]
    #[arg(long, conflicts_with = "global")]
    region: Option<String>,
    /// It is of no region
    #[arg(long)]
    global: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    #[command(flatten)]
    scope: Scope,
    /// A certain address; a free one when left out
    #[arg(long, value_name = "ADDRESS")]
    addresses: Option<String>,
    /// The subnetwork that it is from; without one it is an external address
    #[arg(long)]
    subnet: Option<String>,
    /// The network that a range is kept of
    #[arg(long)]
    network: Option<String>,
    /// What it is for: GCE_ENDPOINT or VPC_PEERING
    #[arg(long)]
    purpose: Option<String>,
    /// How large a range is kept
    #[arg(long, value_name = "BITS")]
    prefix_length: Option<u8>,
    /// What it is for, to people
    #[arg(long)]
    description: Option<String>,
}

impl Scope {
    fn collection(&self, session: &Session<'_>) -> Result<String> {
        match self.global {
            true => session.compute("global/addresses"),
            false => {
                let region = session.region(self.region.as_ref()).map_err(|_| {
                    Usage(
                        "one of --global and --region must be specified, or CLOUDSDK_COMPUTE_REGION.".into(),
                    )
                })?;
                session.compute(format!("regions/{}/addresses", encode(&region)))
            }
        }
    }
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => {
                let made = session.create(&create.scope.collection(session)?, vec![create.body(session)?])?;
                // gcloud shows a new address only to who asks for a format.
                if session.has_format() { session.show_all(made, TABLE) } else { Ok(()) }
            }
            Verb::List(listed) => {
                let all = session.client.list(&session.compute("aggregated/addresses")?, "addresses")?;
                session.show_list(all, listed, TABLE)
            }
            Verb::Describe(One { name, scope }) => {
                let path = format!("{}/{}", scope.collection(session)?, encode(name));
                session.show(session.client.get(&path)?)
            }
            Verb::Delete(Several { names, scope }) => {
                session.delete("addresses", &scope.collection(session)?, names)
            }
        }
    }
}

impl Create {
    fn body(&self, session: &Session<'_>) -> Result<Value> {
        let subnetwork = match self.subnet.as_deref() {
            Some(link) if link.contains('/') => Some(link.to_owned()),
            Some(name) => {
                let region = session.region(self.scope.region.as_ref())?;
                Some(format!("projects/{}/regions/{region}/subnetworks/{name}", session.project()?))
            }
            None => None,
        };
        let network = self.network.as_deref().map(|name| session.network(name)).transpose()?;
        let internal = subnetwork.is_some() || network.is_some();
        Ok(Body::default()
            .with("name", self.name.as_str())
            .maybe("addressType", internal.then_some("INTERNAL"))
            .maybe("address", self.addresses.as_deref())
            .maybe("subnetwork", subnetwork)
            .maybe("network", network)
            .maybe("purpose", self.purpose.as_ref().map(upper))
            .maybe("prefixLength", self.prefix_length)
            .maybe("description", self.description.as_deref())
            .json())
    }
}
