//! `compute instances network-interfaces`.

use crate::gcloud::args::{Body, InZone, constant};
use crate::gcloud::client::encode;
use crate::gcloud::session::{Session, Usage};
use anyhow::Result;
use hyper::Method;
use serde_json::Value;

/// What to do with interfaces.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Change an interface
    #[command(
        after_help = "Example:\n  tombolo compute instances network-interfaces update vm-1 \\\n    --zone us-central1-a --stack-type IPV4_IPV6"
    )]
    Update(Update),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    #[command(flatten)]
    which: InZone,
    /// The interface
    #[arg(long, default_value = "nic0", value_name = "NAME")]
    network_interface: String,
    /// IPV4_IPV6 to make it dual-stack
    #[arg(long, value_parser = constant)]
    stack_type: Option<String>,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        let Verb::Update(Update { which, network_interface, stack_type }) = self;
        let Some(stack) = stack_type else {
            return Err(Usage("At least one property must be specified.".into()).into());
        };
        let path = session.in_zone(super::NOUN, which)?;
        let instance = session.client.get(&path)?;
        let is_it = |nic: &&Value| nic["name"] == network_interface.as_str();
        let nic = instance["networkInterfaces"].as_array().into_iter().flatten().find(is_it);
        let nic = nic.ok_or_else(|| Usage(format!("the instance has no interface {network_interface}")))?;
        let body =
            Body::default().with("fingerprint", nic["fingerprint"].clone()).with("stackType", stack.as_str());
        let path = format!("{path}/updateNetworkInterface?networkInterface={}", encode(network_interface));
        session.update(Method::PATCH, &path, Some(body.json())).map(drop)
    }
}
