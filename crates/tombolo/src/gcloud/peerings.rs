//! `compute networks peerings`.

use super::args::{Body, Listed, constant, either};
use super::client::{encode, path_of};
use super::session::{Session, Usage, last, matching};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

/// Of each peering of the listed networks.
const TABLE: &str = "table(name, source_network.basename():label=NETWORK, \
                     network.scope(projects).segment(0):label=PEER_PROJECT, \
                     network.basename():label=PEER_NETWORK, stackType, peerMtu, importCustomRoutes, \
                     exportCustomRoutes, state, stateDetails)";
const ROUTES: &str = "table(destRange, type, nextHopRegion, priority, status)";

/// What to do with peerings.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a network's side of a peering; both sides make it ACTIVE
    #[command(
        after_help = "Example:\n  tombolo compute networks peerings create vpc-1-to-vpc-2 --network vpc-1 \\\n    --peer-project project-i-2 --peer-network vpc-2"
    )]
    Create(Create),
    /// Change which routes a peering exchanges
    #[command(
        after_help = "Example:\n  tombolo compute networks peerings update vpc-1-to-vpc-2 --network vpc-1 \\\n    --export-custom-routes"
    )]
    Update(Update),
    /// Delete a network's side of a peering
    #[command(
        after_help = "Example:\n  tombolo compute networks peerings delete vpc-1-to-vpc-2 --network vpc-1"
    )]
    Delete(Delete),
    /// List peerings
    #[command(after_help = "Example:\n  tombolo compute networks peerings list --network vpc-1")]
    List(List),
    /// List the routes that cross a peering in one direction
    #[command(
        after_help = "Example:\n  tombolo compute networks peerings list-routes vpc-1-to-vpc-2 --network vpc-1 \\\n    --region us-central1 --direction incoming"
    )]
    ListRoutes(ListRoutes),
}

/// Which routes are exchanged beside the subnetworks' own.
#[derive(Debug, clap::Args)]
struct Exchange {
    /// Import the peer's custom routes
    #[arg(long, conflicts_with = "no_import_custom_routes")]
    import_custom_routes: bool,
    #[arg(long, hide = true)]
    no_import_custom_routes: bool,
    /// Export custom routes to the peer
    #[arg(long, conflicts_with = "no_export_custom_routes")]
    export_custom_routes: bool,
    #[arg(long, hide = true)]
    no_export_custom_routes: bool,
    /// Import subnetworks' routes with public addresses
    #[arg(long, conflicts_with = "no_import_subnet_routes_with_public_ip")]
    import_subnet_routes_with_public_ip: bool,
    #[arg(long, hide = true)]
    no_import_subnet_routes_with_public_ip: bool,
    /// Export subnetworks' routes with public addresses
    #[arg(long, conflicts_with = "no_export_subnet_routes_with_public_ip")]
    export_subnet_routes_with_public_ip: bool,
    #[arg(long, hide = true)]
    no_export_subnet_routes_with_public_ip: bool,
    /// IPV4_IPV6 to exchange IPv6 too, where the other side says so as well, or IPV4_ONLY
    #[arg(long, value_parser = constant)]
    stack_type: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// The network whose side this is
    #[arg(long)]
    network: String,
    /// The network on the other side
    #[arg(long)]
    peer_network: String,
    /// The project of the network on the other side [default: this one]
    #[arg(long)]
    peer_project: Option<String>,
    #[command(flatten)]
    exchange: Exchange,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Its name
    name: String,
    /// The network whose side this is
    #[arg(long)]
    network: String,
    #[command(flatten)]
    exchange: Exchange,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// Its name
    name: String,
    /// The network whose side this is
    #[arg(long)]
    network: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Of this network only
    #[arg(long)]
    network: Option<String>,
    #[command(flatten)]
    listed: Listed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListRoutes {
    /// The peering's name
    name: String,
    /// The network whose side it is
    #[arg(long)]
    network: String,
    /// The region to list routes for
    #[arg(long)]
    region: String,
    /// INCOMING: those that are received; OUTGOING: those that are advertised
    #[arg(long, value_parser = direction)]
    direction: String,
    #[command(flatten)]
    listed: Listed,
}

fn direction(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    let known = ["INCOMING", "OUTGOING"].contains(&upper.as_str());
    known.then_some(upper).ok_or_else(|| "expected INCOMING or OUTGOING".into())
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => create.run(session),
            Verb::Update(update) => update.run(session),
            Verb::Delete(Delete { name, network }) => {
                let path = format!("{}/removePeering", network_path(session, network)?);
                session.update(Method::POST, &path, Some(json!({ "name": name }))).map(drop)
            }
            Verb::List(list) => list.run(session),
            Verb::ListRoutes(list) => list.run(session),
        }
    }
}

fn network_path(session: &Session<'_>, network: &str) -> Result<String> {
    session.compute(format!("global/networks/{}", encode(last(network))))
}

impl Exchange {
    fn add(&self, peering: Body) -> Body {
        peering
            .maybe("importCustomRoutes", either(self.import_custom_routes, self.no_import_custom_routes))
            .maybe("exportCustomRoutes", either(self.export_custom_routes, self.no_export_custom_routes))
            .maybe(
                "importSubnetRoutesWithPublicIp",
                either(self.import_subnet_routes_with_public_ip, self.no_import_subnet_routes_with_public_ip),
            )
            .maybe(
                "exportSubnetRoutesWithPublicIp",
                either(self.export_subnet_routes_with_public_ip, self.no_export_subnet_routes_with_public_ip),
            )
            .maybe("stackType", self.stack_type.as_deref())
    }
}

impl Create {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let peer = match &self.peer_project {
            Some(project) => format!("projects/{project}/global/networks/{}", last(&self.peer_network)),
            None => session.network(&self.peer_network)?,
        };
        let peering = Body::default()
            .with("name", self.name.as_str())
            .with("network", peer)
            .with("exchangeSubnetRoutes", true);
        let body = json!({ "networkPeering": self.exchange.add(peering).json() });
        let path = format!("{}/addPeering", network_path(session, &self.network)?);
        let link = session.update(Method::POST, &path, Some(body))?;
        let network = session.client.get(&path_of(&link))?;
        // Here gcloud shows the network as a list of one, and as YAML.
        session.show_all(vec![network], "yaml")
    }
}

impl Update {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let said = self.exchange.add(Body::default());
        if said.is_empty() {
            return Err(Usage("At least one property must be specified.".into()).into());
        }
        let body = json!({ "networkPeering": said.with("name", self.name.as_str()).json() });
        let path = format!("{}/updatePeering", network_path(session, &self.network)?);
        session.update(Method::PATCH, &path, Some(body)).map(drop)
    }
}

impl List {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let networks = session.client.list(&session.compute("global/networks")?, "items")?;
        let wanted = |network: &Value| self.network.as_ref().is_none_or(|name| network["name"] == last(name));
        let peered = |network: &Value| network["peerings"].is_array() && wanted(network);
        let networks = networks.into_iter().filter(peered).collect();
        // A filter is of networks, whatever is shown of them: that is where gcloud has them filtered.
        let mut networks = matching(networks, &self.listed, TABLE)?;
        for network in &mut networks {
            let link = network["selfLink"].clone();
            for peering in network["peerings"].as_array_mut().into_iter().flatten() {
                peering["source_network"] = link.clone();
            }
        }
        // The table is of peerings; whoever says a format gets the networks that have them, as from gcloud.
        if session.has_format() || self.listed.uri {
            return session.show_matching(networks, &self.listed, TABLE);
        }
        let peerings =
            networks.iter().filter_map(|network| network["peerings"].as_array()).flatten().cloned();
        session.show_matching(peerings.collect(), &self.listed, TABLE)
    }
}

impl ListRoutes {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let path = format!(
            "{}/listPeeringRoutes?peeringName={}&region={}&direction={}",
            network_path(session, &self.network)?,
            encode(&self.name),
            encode(&self.region),
            self.direction
        );
        let mut routes = session.client.list(&path, "items")?;
        for route in &mut routes {
            let status = match (route["imported"] == true, self.direction.as_str()) {
                (true, "INCOMING") => "accepted",
                (true, _) => "accepted by peer",
                (false, "INCOMING") => "rejected by config",
                (false, _) => "rejected by peer config",
            };
            route["status"] = json!(status);
        }
        session.show_list(routes, &self.listed, ROUTES)
    }
}
