//! `compute networks`.

use super::args::{AllNamed, Body, Listed, Named};
use super::client::{encode, path_of};
use super::session::Session;
use super::{peerings, subnets};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const TABLE: &str = "table(name, x_gcloud_subnet_mode:label=SUBNET_MODE, \
                     x_gcloud_bgp_routing_mode:label=BGP_ROUTING_MODE, IPv4Range:label=IPV4_RANGE, gatewayIPv4, \
                     internalIpv6Range)";

/// What to do with networks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a network
    #[command(after_help = "Example:\n  tombolo compute networks create vpc-1 --subnet-mode custom")]
    Create(Create),
    /// List networks
    #[command(after_help = "Example:\n  tombolo compute networks list --format \"value(name)\"")]
    List(Listed),
    /// Show a network
    #[command(
        after_help = "Example:\n  tombolo compute networks describe vpc-1 --format \"value(peerings[0].state)\""
    )]
    Describe(Named),
    /// Show all rules that act in a network: its own, and those of its policies and of what is above its project
    #[command(after_help = "Example:\n  tombolo compute networks get-effective-firewalls vpc-1")]
    GetEffectiveFirewalls(Named),
    /// Delete networks
    #[command(after_help = "Example:\n  tombolo compute networks delete default")]
    Delete(AllNamed),
    /// Change a network
    #[command(after_help = "Example:\n  tombolo compute networks update vpc-1 --bgp-routing-mode global")]
    Update(Update),
    /// Peerings of networks
    #[command(subcommand)]
    Peerings(peerings::Verb),
    /// Subnetworks
    #[command(subcommand)]
    Subnets(subnets::Verb),
}

/// Where a network's dynamic routes are known.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoutingMode {
    Regional,
    Global,
}

/// The field that says when a network's firewall policy is asked.
const ORDER: &str = "networkFirewallPolicyEnforcementOrder";

/// When a network's firewall policy is asked.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Order {
    /// Before the network's own rules
    #[value(name = "BEFORE_CLASSIC_FIREWALL")]
    Before,
    /// After them
    #[value(name = "AFTER_CLASSIC_FIREWALL")]
    After,
}

impl Order {
    fn wire(self) -> &'static str {
        match self {
            Self::Before => "BEFORE_CLASSIC_FIREWALL",
            Self::After => "AFTER_CLASSIC_FIREWALL",
        }
    }
}

/// Whether a network has a subnetwork in every region by itself.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum SubnetMode {
    Auto,
    Custom,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// A subnetwork in every region by itself, or none
    #[arg(long, value_enum, default_value = "auto")]
    subnet_mode: SubnetMode,
    /// Where its dynamic routes are known
    #[arg(long, value_enum, default_value = "regional")]
    bgp_routing_mode: RoutingMode,
    /// Bytes of its largest packets: 1300 to 8896
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
    /// Whether its firewall policy comes before or after its own rules
    #[arg(long, value_enum, ignore_case = true)]
    network_firewall_policy_enforcement_order: Option<Order>,
    #[command(flatten)]
    ula: Ula,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Its name
    name: String,
    /// Where its dynamic routes are known
    #[arg(long, value_enum)]
    bgp_routing_mode: Option<RoutingMode>,
    /// Bytes of its largest packets: 1300 to 8896
    #[arg(long, value_name = "BYTES", conflicts_with = "switch_to_custom_subnet_mode")]
    mtu: Option<u16>,
    /// Whether its firewall policy comes before or after its own rules
    #[arg(long, value_enum, ignore_case = true, conflicts_with = "switch_to_custom_subnet_mode")]
    network_firewall_policy_enforcement_order: Option<Order>,
    #[command(flatten)]
    ula: Ula,
    /// Keep its subnetworks, and make no further ones by itself
    #[arg(long, conflicts_with = "bgp_routing_mode")]
    switch_to_custom_subnet_mode: bool,
}

/// A network's internal IPv6 range.
#[derive(Debug, clap::Args)]
struct Ula {
    /// Give it an internal IPv6 range, which dual-stack subnetworks need
    #[arg(long)]
    enable_ula_internal_ipv6: bool,
    /// A certain range: a /48 of fd20::/20
    #[arg(long, value_name = "RANGE", requires = "enable_ula_internal_ipv6")]
    internal_ipv6_range: Option<String>,
}

impl Ula {
    fn add(&self, body: Body) -> Body {
        body.maybe("enableUlaInternalIpv6", self.enable_ula_internal_ipv6.then_some(true))
            .maybe("internalIpv6Range", self.internal_ipv6_range.as_deref())
    }
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        let collection = session.compute("global/networks")?;
        match self {
            Verb::Create(create) => {
                let made = session.create(&collection, vec![create.body()])?;
                session.show_all(made.into_iter().map(dressed).collect(), TABLE)?;
                eprintln!("{}", hint(&create.name));
                Ok(())
            }
            Verb::List(listed) => {
                let items = session.client.list(&collection, "items")?;
                session.show_list(items.into_iter().map(dressed).collect(), listed, TABLE)
            }
            Verb::Describe(Named { name }) => {
                session.show(dressed(session.client.get(&format!("{collection}/{}", encode(name)))?))
            }
            Verb::GetEffectiveFirewalls(Named { name }) => {
                let path = format!("{collection}/{}/getEffectiveFirewalls", encode(name));
                session.show(session.client.get(&path)?)
            }
            Verb::Delete(AllNamed { names }) => session.delete("networks", &collection, names),
            Verb::Update(update) => {
                let path = format!("{collection}/{}", encode(&update.name));
                let link = match update.switch_to_custom_subnet_mode {
                    true => session.update(Method::POST, &format!("{path}/switchToCustomMode"), None)?,
                    false => session.update(Method::PATCH, &path, Some(update.body()))?,
                };
                // As gcloud: what came of it, only to who asks for a format.
                if session.has_format() {
                    session.show(dressed(session.client.get(&path_of(&link))?))
                } else {
                    Ok(())
                }
            }
            Verb::Peerings(verb) => verb.run(session),
            Verb::Subnets(verb) => verb.run(session),
        }
    }
}

impl Create {
    fn body(&self) -> Value {
        self.ula
            .add(Body::default())
            .with("name", self.name.as_str())
            .with("autoCreateSubnetworks", self.subnet_mode == SubnetMode::Auto)
            .with("routingConfig", self.bgp_routing_mode.wire())
            .maybe("mtu", self.mtu)
            .maybe(ORDER, self.network_firewall_policy_enforcement_order.map(Order::wire))
            .maybe("description", self.description.as_deref())
            .json()
    }
}

impl Update {
    fn body(&self) -> Value {
        let mode = self.bgp_routing_mode.map(RoutingMode::wire);
        let order = self.network_firewall_policy_enforcement_order.map(Order::wire);
        let body = self.ula.add(Body::default());
        body.maybe("routingConfig", mode).maybe("mtu", self.mtu).maybe(ORDER, order).json()
    }
}

impl RoutingMode {
    fn wire(self) -> Value {
        json!({ "routingMode": match self { Self::Regional => "REGIONAL", Self::Global => "GLOBAL" } })
    }
}

/// A network with the two fields that gcloud adds to what the API shows.
fn dressed(mut network: Value) -> Value {
    let mode = match network["autoCreateSubnetworks"].as_bool() {
        Some(true) => "AUTO",
        Some(false) => "CUSTOM",
        None => "LEGACY",
    };
    network["x_gcloud_subnet_mode"] = json!(mode);
    if !network["routingConfig"]["routingMode"].is_null() {
        network["x_gcloud_bgp_routing_mode"] = network["routingConfig"]["routingMode"].clone();
    }
    network
}

/// What a new network needs before anything gets through.
fn hint(name: &str) -> String {
    format!(
        "\nInstances on this network will not be reachable until firewall rules are created, such as:\n\n\
         $ tombolo compute firewall-rules create {name}-allow-ssh --network {name} --allow tcp:22,icmp"
    )
}
