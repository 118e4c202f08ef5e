//! `compute forwarding-rules`: rules to target instances, and endpoints of Private Service Connect.

use super::args::{AllInRegion, Body, InRegion, List, ListedByRegion, either, upper};
use super::session::{Session, Usage};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const NOUN: &str = "forwardingRules";
const TABLE: &str = "table(name, region.basename(), IPAddress, IPProtocol, firstof(target, backendService).scope():label=TARGET)";

/// What to do with forwarding rules.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a forwarding rule
    #[command(
        after_help = "Examples:\n  tombolo compute forwarding-rules create rule-1 --region us-central1 \\\n    --load-balancing-scheme internal --network vpc-2 --subnet subnet-2 \\\n    --ports 6379 --target-instance target-1 --target-instance-zone us-central1-a\n  tombolo compute forwarding-rules create endpoint-1 --region us-central1 \\\n    --network vpc-1 --address a-1 \\\n    --target-service-attachment \\\n    projects/project-2/regions/us-central1/serviceAttachments/redis"
    )]
    Create(Box<Create>),
    /// List forwarding rules of every region
    #[command(after_help = "Example:\n  tombolo compute forwarding-rules list")]
    List(ListedByRegion),
    /// Show a forwarding rule
    #[command(
        after_help = "Example:\n  tombolo compute forwarding-rules describe rule-1 --region us-central1"
    )]
    Describe(InRegion),
    /// Have a forwarding rule lead to another target instance
    #[command(
        after_help = "Example:\n  tombolo compute forwarding-rules set-target rule-1 --region us-central1 \\\n    --target-instance target-2 --target-instance-zone us-central1-a"
    )]
    SetTarget(SetTarget),
    /// Change whether clients of other regions may use a forwarding rule
    #[command(
        after_help = "Example:\n  tombolo compute forwarding-rules update rule-1 --region us-central1 \\\n    --allow-global-access"
    )]
    Update(Update),
    /// Delete forwarding rules
    #[command(after_help = "Example:\n  tombolo compute forwarding-rules delete rule-1 --region us-central1")]
    Delete(AllInRegion),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    which: InRegion,
    /// internal, for target instances; none for service attachments
    #[arg(long, value_name = "SCHEME")]
    load_balancing_scheme: Option<String>,
    /// The network that its address is in
    #[arg(long)]
    network: Option<String>,
    /// The subnetwork that its address is from
    #[arg(long)]
    subnet: Option<String>,
    /// Its address: a number, or a reserved one's name; a free one when left out
    #[arg(long)]
    address: Option<String>,
    /// TCP, UDP or L3_DEFAULT
    #[arg(long, value_name = "PROTOCOL", ignore_case = true)]
    ip_protocol: Option<String>,
    /// Up to five ports, or ALL
    #[arg(long, value_name = "PORTS")]
    ports: Option<List>,
    #[command(flatten)]
    target: Target,
    /// The published service that it is an endpoint of
    #[arg(long, value_name = "SERVICE_ATTACHMENT", conflicts_with = "target_instance")]
    target_service_attachment: Option<String>,
    /// The region of the published service
    #[arg(long, value_name = "REGION")]
    target_service_attachment_region: Option<String>,
    /// Clients of other regions may use it
    #[arg(long)]
    allow_global_access: bool,
    /// Clients of other regions may use an endpoint
    #[arg(long)]
    allow_psc_global_access: bool,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

/// A target instance.
#[derive(Debug, clap::Args)]
struct Target {
    /// The target instance that it leads to
    #[arg(long)]
    target_instance: Option<String>,
    /// The zone of the target instance [default: $CLOUDSDK_COMPUTE_ZONE]
    #[arg(long)]
    target_instance_zone: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetTarget {
    #[command(flatten)]
    which: InRegion,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    #[command(flatten)]
    which: InRegion,
    /// Clients of other regions may use it
    #[arg(long, conflicts_with = "no_allow_global_access")]
    allow_global_access: bool,
    #[arg(long, hide = true)]
    no_allow_global_access: bool,
    /// Clients of other regions may use an endpoint
    #[arg(long, conflicts_with = "no_allow_psc_global_access")]
    allow_psc_global_access: bool,
    #[arg(long, hide = true)]
    no_allow_psc_global_access: bool,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => {
                let collection = session.of_region(NOUN, create.which.region.as_ref())?;
                let made = session.create(&collection, vec![create.body(session)?])?;
                // gcloud shows a new rule only to who asks for a format.
                if session.has_format() { session.show_all(made, TABLE) } else { Ok(()) }
            }
            Verb::List(list) => session.show_list(session.list_regions(NOUN, list)?, &list.listed, TABLE),
            Verb::Describe(which) => session.show(session.client.get(&session.in_region(NOUN, which)?)?),
            Verb::SetTarget(SetTarget { which, target }) => {
                let path = format!("{}/setTarget", session.in_region(NOUN, which)?);
                let missing = || Usage("argument --target-instance: Must be specified.".into());
                let target = target.link(session)?.ok_or_else(missing)?;
                session.update(Method::POST, &path, Some(json!({ "target": target }))).map(drop)
            }
            Verb::Update(update) => update.run(session),
            Verb::Delete(AllInRegion { names, region }) => {
                session.delete("forwarding rules", &session.of_region(NOUN, region.as_ref())?, names)
            }
        }
    }
}

impl Target {
    /// The link of the target instance, if one is said.
    fn link(&self, session: &Session<'_>) -> Result<Option<String>> {
        let Some(name) = &self.target_instance else { return Ok(None) };
        if name.contains('/') {
            return Ok(Some(name.clone()));
        }
        let zone = session.zone(self.target_instance_zone.as_ref()).map_err(|_| {
            Usage("argument --target-instance-zone: Must be specified, or CLOUDSDK_COMPUTE_ZONE.".into())
        })?;
        session.link(format_args!("zones/{zone}/targetInstances"), name).map(Some)
    }
}

impl Create {
    fn body(&self, session: &Session<'_>) -> Result<Value> {
        let region = session.region(self.which.region.as_ref())?;
        let link = |noun: &str, name: &str| session.link(format_args!("regions/{region}/{noun}"), name);
        let published = self.target_service_attachment_region.as_ref().unwrap_or(&region);
        let attachments = format!("regions/{published}/serviceAttachments");
        let attachment = self.target_service_attachment.as_deref();
        let attachment = attachment.map(|name| session.link(attachments, name)).transpose()?;
        let Some(target) = attachment.or(self.target.link(session)?) else {
            let what = "Exactly one of (--target-instance | --target-service-attachment) must be specified.";
            return Err(Usage(what.into()).into());
        };
        let scheme = self.load_balancing_scheme.as_ref().map(upper);
        let network = self.network.as_deref().map(|network| session.network(network)).transpose()?;
        let subnetwork = self.subnet.as_deref().map(|name| link("subnetworks", name)).transpose()?;
        let address = |said: &str| match said.parse::<std::net::Ipv4Addr>() {
            Ok(_) => Ok(said.to_owned()),
            Err(_) => link("addresses", said),
        };
        let address = self.address.as_deref().map(address).transpose()?;
        let all = |List(ports): &List| ports.iter().any(|port| port.eq_ignore_ascii_case("all"));
        let every = self.ports.as_ref().is_some_and(all);
        Ok(Body::default()
            .with("name", self.which.name.as_str())
            .with("target", target)
            .maybe("loadBalancingScheme", scheme)
            .maybe("network", network)
            .maybe("subnetwork", subnetwork)
            .maybe("IPAddress", address)
            .maybe("IPProtocol", self.ip_protocol.as_ref().map(|protocol| protocol.to_uppercase()))
            .maybe("ports", self.ports.as_ref().filter(|_| !every))
            .maybe("allPorts", every.then_some(true))
            .maybe("allowGlobalAccess", self.allow_global_access.then_some(true))
            .maybe("allowPscGlobalAccess", self.allow_psc_global_access.then_some(true))
            .maybe("description", self.description.as_deref())
            .json())
    }
}

impl Update {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let body = Body::default()
            .maybe("allowGlobalAccess", either(self.allow_global_access, self.no_allow_global_access))
            .maybe(
                "allowPscGlobalAccess",
                either(self.allow_psc_global_access, self.no_allow_psc_global_access),
            );
        if body.is_empty() {
            return Err(Usage("At least one property must be specified.".into()).into());
        }
        session.update(Method::PATCH, &session.in_region(NOUN, &self.which)?, Some(body.json())).map(drop)
    }
}
