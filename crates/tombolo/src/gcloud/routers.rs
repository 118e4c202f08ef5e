//! `compute routers`: Cloud Routers and their NAT gateways.

use super::args::{AllInRegion, Body, InRegion, List, ListedByRegion};
use super::client::encode;
use super::session::{Session, Usage, last};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const NOUN: &str = "routers";
const TABLE: &str = "table(name, region.basename(), network.basename())";
const NATS: &str = "table(name, natIpAllocateOption, sourceSubnetworkIpRangesToNat)";

/// What to do with routers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a router, which has no NAT gateways yet
    #[command(
        after_help = "Example:\n  tombolo compute routers create router-1 --network vpc-1 --region us-central1"
    )]
    Create(Create),
    /// List routers of every region
    #[command(after_help = "Example:\n  tombolo compute routers list")]
    List(ListedByRegion),
    /// Show a router with its NAT gateways
    #[command(after_help = "Example:\n  tombolo compute routers describe router-1 --region us-central1")]
    Describe(InRegion),
    /// Show the addresses of a router's NAT gateways
    #[command(after_help = "Example:\n  tombolo compute routers get-status router-1 --region us-central1")]
    GetStatus(InRegion),
    /// Delete routers, and their NAT gateways with them
    #[command(after_help = "Example:\n  tombolo compute routers delete router-1 --region us-central1")]
    Delete(AllInRegion),
    /// Cloud NAT: how instances without an external address reach the internet
    #[command(subcommand)]
    Nats(Nats),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    which: InRegion,
    /// The network whose instances it serves
    #[arg(long)]
    network: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

/// What to do with NAT gateways.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Nats {
    /// Add a NAT gateway to a router
    #[command(
        after_help = "Examples:\n  tombolo compute routers nats create nat-1 --router router-1 \\\n    --region us-central1 --auto-allocate-nat-external-ips \\\n    --nat-all-subnet-ip-ranges\n  tombolo compute routers nats create nat-1 --router router-1 \\\n    --region us-central1 --nat-external-ip-pool a-1,a-2 \\\n    --nat-custom-subnet-ip-ranges subnet-1,subnet-2:ALL"
    )]
    Create(NatArgs),
    /// Change a NAT gateway; what is not said stays
    #[command(
        after_help = "Example:\n  tombolo compute routers nats update nat-1 --router router-1 \\\n    --region us-central1 --nat-external-ip-pool a-1"
    )]
    Update(NatArgs),
    /// List the NAT gateways of a router
    #[command(
        after_help = "Example:\n  tombolo compute routers nats list --router router-1 --region us-central1"
    )]
    List(Of),
    /// Show a NAT gateway
    #[command(
        after_help = "Example:\n  tombolo compute routers nats describe nat-1 --router router-1 \\\n    --region us-central1"
    )]
    Describe(One),
    /// Delete NAT gateways
    #[command(
        after_help = "Example:\n  tombolo compute routers nats delete nat-1 --router router-1 \\\n    --region us-central1"
    )]
    Delete(Several),
}

/// A router.
#[derive(Debug, clap::Args)]
pub(crate) struct Of {
    /// The router
    #[arg(long)]
    router: String,
    /// Its region [default: $CLOUDSDK_COMPUTE_REGION]
    #[arg(long)]
    region: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    name: String,
    #[command(flatten)]
    of: Of,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    of: Of,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NatArgs {
    #[command(flatten)]
    one: One,
    #[command(flatten)]
    addresses: Addresses,
    #[command(flatten)]
    ranges: Ranges,
    /// How many ports each instance may use at least; a number of them is never less here
    #[arg(long)]
    min_ports_per_vm: Option<u32>,
}

/// Its addresses in the internet.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Addresses {
    /// It gets an address
    #[arg(long)]
    auto_allocate_nat_external_ips: bool,
    /// It has these reserved external addresses of its region
    #[arg(long, value_name = "ADDRESSES")]
    nat_external_ip_pool: Option<List>,
}

/// What it serves.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Ranges {
    /// Every subnetwork of the network and region, secondary ranges too
    #[arg(long)]
    nat_all_subnet_ip_ranges: bool,
    /// Every subnetwork, without secondary ranges
    #[arg(long)]
    nat_primary_subnet_ip_ranges: bool,
    /// These subnetworks; with :ALL their secondary ranges too
    #[arg(long, value_name = "SUBNETWORK[:ALL],…")]
    nat_custom_subnet_ip_ranges: Option<List>,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(Create { which, network, description }) => {
                let body = Body::default()
                    .with("name", which.name.as_str())
                    .with("network", session.network(network)?)
                    .maybe("description", description.as_deref())
                    .json();
                let made = session.create(&session.of_region(NOUN, which.region.as_ref())?, vec![body])?;
                session.show_all(made, TABLE)
            }
            Verb::List(list) => session.show_list(session.list_regions(NOUN, list)?, &list.listed, TABLE),
            Verb::Describe(which) => session.show(session.client.get(&session.in_region(NOUN, which)?)?),
            Verb::GetStatus(which) => {
                let path = format!("{}/getRouterStatus", session.in_region(NOUN, which)?);
                session.show(session.client.get(&path)?)
            }
            Verb::Delete(AllInRegion { names, region }) => {
                session.delete("routers", &session.of_region(NOUN, region.as_ref())?, names)
            }
            Verb::Nats(nats) => nats.run(session),
        }
    }
}

impl Of {
    fn path(&self, session: &Session<'_>) -> Result<String> {
        Ok(format!("{}/{}", session.of_region(NOUN, self.region.as_ref())?, encode(last(&self.router))))
    }

    /// The router's gateways as they are.
    fn nats(&self, session: &Session<'_>) -> Result<Vec<Value>> {
        let router = session.client.get(&self.path(session)?)?;
        Ok(router["nats"].as_array().cloned().unwrap_or_default())
    }

    /// Gives the router these gateways.
    fn set(&self, session: &Session<'_>, nats: Vec<Value>) -> Result<()> {
        let body = json!({ "nats": nats });
        session.update(Method::PATCH, &self.path(session)?, Some(body)).map(drop)
    }

    fn missing(&self, name: &str) -> anyhow::Error {
        Usage(format!("NAT `{name}` not found")).into()
    }
}

impl Nats {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Nats::Create(args) => {
                let One { name, of } = &args.one;
                let option = args.addresses.option();
                let ranges = args.ranges.option();
                let (Some(_), Some(_)) = (option, ranges) else {
                    let what = "Exactly one of (--auto-allocate-nat-external-ips | --nat-external-ip-pool) and of \
                                (--nat-all-subnet-ip-ranges | --nat-primary-subnet-ip-ranges | \
                                --nat-custom-subnet-ip-ranges) must be specified.";
                    return Err(Usage(what.into()).into());
                };
                let mut nats = of.nats(session)?;
                nats.push(args.fill(session, json!({ "name": name }))?);
                of.set(session, nats)
            }
            Nats::Update(args) => {
                let One { name, of } = &args.one;
                let mut nats = of.nats(session)?;
                let found = nats.iter_mut().find(|nat| nat["name"] == json!(name));
                let nat = found.ok_or_else(|| of.missing(name))?;
                *nat = args.fill(session, nat.take())?;
                of.set(session, nats)
            }
            Nats::List(of) => session.show_all(of.nats(session)?, NATS),
            Nats::Describe(One { name, of }) => {
                let nat = of.nats(session)?.into_iter().find(|nat| nat["name"] == json!(name));
                session.show(nat.ok_or_else(|| of.missing(name))?)
            }
            Nats::Delete(Several { names, of }) => {
                let mut nats = of.nats(session)?;
                let there = |name: &&String| nats.iter().any(|nat| nat["name"] == json!(name));
                if let Some(name) = names.iter().find(|name| !there(name)) {
                    return Err(of.missing(name));
                }
                let list: String = names.iter().map(|name| format!(" - [{name}]\n")).collect();
                session.confirm(&format!("The following NATs will be deleted:\n{list}"))?;
                nats.retain(|nat| names.iter().all(|name| nat["name"] != json!(name)));
                of.set(session, nats)
            }
        }
    }
}

impl Addresses {
    /// Google's name of what is said.
    fn option(&self) -> Option<&'static str> {
        match &self.nat_external_ip_pool {
            Some(_) => Some("MANUAL_ONLY"),
            None => self.auto_allocate_nat_external_ips.then_some("AUTO_ONLY"),
        }
    }
}

impl Ranges {
    /// Google's name of what is said.
    fn option(&self) -> Option<&'static str> {
        if self.nat_custom_subnet_ip_ranges.is_some() {
            return Some("LIST_OF_SUBNETWORKS");
        }
        let all = self.nat_all_subnet_ip_ranges.then_some("ALL_SUBNETWORKS_ALL_IP_RANGES");
        all.or(self.nat_primary_subnet_ip_ranges.then_some("ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES"))
    }
}

impl NatArgs {
    /// A gateway with what is said of it.
    fn fill(&self, session: &Session<'_>, mut nat: Value) -> Result<Value> {
        let region = session.region(self.one.of.region.as_ref())?;
        let link = |noun: &str, name: &str| session.link(format_args!("regions/{region}/{noun}"), name);
        if let Some(option) = self.addresses.option() {
            nat["natIpAllocateOption"] = json!(option);
            let pool = self.addresses.nat_external_ip_pool.iter().flat_map(|List(names)| names);
            nat["natIps"] =
                pool.map(|name| link("addresses", name).map(Value::from)).collect::<Result<_>>()?;
        }
        if let Some(option) = self.ranges.option() {
            nat["sourceSubnetworkIpRangesToNat"] = json!(option);
            let custom = self.ranges.nat_custom_subnet_ip_ranges.iter().flat_map(|List(names)| names);
            let one = |text: &String| {
                let (name, ranges) = match text.rsplit_once(':') {
                    None => (text.as_str(), "PRIMARY_IP_RANGE"),
                    Some((name, "ALL")) => (name, "ALL_IP_RANGES"),
                    Some((_, range)) => {
                        let what = format!("secondary ranges of their own ({range}) are not supported.");
                        return Err(Usage(format!("argument --nat-custom-subnet-ip-ranges: {what}")).into());
                    }
                };
                Ok(json!({ "name": link("subnetworks", name)?, "sourceIpRangesToNat": [ranges] }))
            };
            nat["subnetworks"] = custom.map(one).collect::<Result<_>>()?;
        }
        if let Some(ports) = self.min_ports_per_vm {
            nat["minPortsPerVm"] = json!(ports);
        }
        Ok(nat)
    }
}
