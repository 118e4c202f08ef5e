//! `compute service-attachments`: services that are published by Private Service Connect.

use super::args::{AllInRegion, Body, InRegion, List, ListedByRegion, Pairs, either};
use super::session::{Session, Usage};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const NOUN: &str = "serviceAttachments";
const TABLE: &str =
    "table(name, region.basename(), targetService.basename():label=TARGET_SERVICE, connectionPreference)";

/// What to do with service attachments.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Publish a forwarding rule
    #[command(
        after_help = "Examples:\n  tombolo compute service-attachments create redis --region us-central1 \\\n    --producer-forwarding-rule rule-1 --nat-subnets nat-1 \\\n    --connection-preference ACCEPT_AUTOMATIC\n  tombolo compute service-attachments create redis --region us-central1 \\\n    --target-service rule-1 --nat-subnets nat-1 \\\n    --connection-preference ACCEPT_MANUAL --consumer-accept-list project-1=10"
    )]
    Create(Args),
    /// Change a service attachment; what is not said stays
    #[command(
        after_help = "Example:\n  tombolo compute service-attachments update redis --region us-central1 \\\n    --consumer-accept-list project-1=10,project-2=1"
    )]
    Update(Args),
    /// List service attachments of every region
    #[command(after_help = "Example:\n  tombolo compute service-attachments list")]
    List(ListedByRegion),
    /// Show a service attachment, and the endpoints that ask for it
    #[command(
        after_help = "Example:\n  tombolo compute service-attachments describe redis --region us-central1"
    )]
    Describe(Describe),
    /// Delete service attachments; their endpoints are closed
    #[command(
        after_help = "Example:\n  tombolo compute service-attachments delete redis --region us-central1"
    )]
    Delete(AllInRegion),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: InRegion,
    /// The forwarding rule that is published
    #[arg(long, conflicts_with = "producer_forwarding_rule")]
    target_service: Option<String>,
    /// The same, in other words
    #[arg(long, value_name = "FORWARDING_RULE")]
    producer_forwarding_rule: Option<String>,
    /// Where its clients' addresses are from: subnetworks with the purpose PRIVATE_SERVICE_CONNECT
    #[arg(long, value_name = "SUBNETS")]
    nat_subnets: Option<List>,
    /// Whose endpoints are taken [default of a new one: ACCEPT_AUTOMATIC]
    #[arg(long, value_name = "PREFERENCE", value_parser = ["ACCEPT_AUTOMATIC", "ACCEPT_MANUAL"])]
    connection_preference: Option<String>,
    /// Projects or networks whose endpoints are taken, and how many of each
    #[arg(long, value_name = "PROJECT_OR_NETWORK=LIMIT,…")]
    consumer_accept_list: Option<Pairs>,
    /// Projects or networks whose endpoints are not
    #[arg(long, value_name = "PROJECTS_OR_NETWORKS")]
    consumer_reject_list: Option<List>,
    /// Changes of the lists change what was accepted or rejected before
    #[arg(long, conflicts_with = "no_reconcile_connections")]
    reconcile_connections: bool,
    #[arg(long, hide = true)]
    no_reconcile_connections: bool,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    which: InRegion,
    /// Say what each endpoint's clients become
    #[arg(long)]
    show_nat_ips: bool,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => {
                let preference = create.connection_preference.as_deref().unwrap_or("ACCEPT_AUTOMATIC");
                let body = create
                    .body(session)?
                    .with("name", create.which.name.as_str())
                    .with("connectionPreference", preference);
                let collection = session.of_region(NOUN, create.which.region.as_ref())?;
                session.show_all(session.create(&collection, vec![body.json()])?, TABLE)
            }
            Verb::Update(update) => {
                let body = update.body(session)?;
                if body.is_empty() {
                    return Err(Usage("At least one property must be specified.".into()).into());
                }
                session
                    .update(Method::PATCH, &session.in_region(NOUN, &update.which)?, Some(body.json()))
                    .map(drop)
            }
            Verb::List(list) => session.show_list(session.list_regions(NOUN, list)?, &list.listed, TABLE),
            Verb::Describe(Describe { which, show_nat_ips }) => {
                let query = if *show_nat_ips { "?showNatIps=true" } else { "" };
                session.show(session.client.get(&format!("{}{query}", session.in_region(NOUN, which)?))?)
            }
            Verb::Delete(AllInRegion { names, region }) => {
                session.delete("service attachments", &session.of_region(NOUN, region.as_ref())?, names)
            }
        }
    }
}

impl Args {
    /// What is said of it.
    fn body(&self, session: &Session<'_>) -> Result<Body> {
        let region = session.region(self.which.region.as_ref())?;
        let link = |noun: &str, name: &String| session.link(format_args!("regions/{region}/{noun}"), name);
        let target = self.target_service.as_ref().or(self.producer_forwarding_rule.as_ref());
        let target = target.map(|name| link("forwardingRules", name)).transpose()?;
        let subnets = |List(names): &List| names.iter().map(|name| link("subnetworks", name)).collect();
        let nat: Option<Vec<String>> = self.nat_subnets.as_ref().map(subnets).transpose()?;
        let accept = self.consumer_accept_list.as_ref().map(accepted).transpose()?;
        let reconcile = either(self.reconcile_connections, self.no_reconcile_connections);
        Ok(Body::default()
            .maybe("targetService", target)
            .maybe("natSubnets", nat)
            .maybe("connectionPreference", self.connection_preference.as_deref())
            .maybe("consumerAcceptLists", accept)
            .maybe("consumerRejectLists", self.consumer_reject_list.as_ref())
            .maybe("reconcileConnections", reconcile)
            .maybe("description", self.description.as_deref()))
    }
}

/// `project-1=10`, or a network's link.
fn accepted(Pairs(pairs): &Pairs) -> Result<Value> {
    let one = |(who, limit): &(String, String)| -> Result<Value> {
        let wrong = |_| Usage(format!("argument --consumer-accept-list: '{limit}' is no limit."));
        let limit: u32 = limit.parse().map_err(wrong)?;
        let field = if who.contains("/networks/") { "networkUrl" } else { "projectIdOrNum" };
        Ok(json!({ field: who, "connectionLimit": limit }))
    };
    pairs.iter().map(one).collect()
}
