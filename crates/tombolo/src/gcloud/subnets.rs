//! `compute networks subnets`.

use super::args::{AllInRegion, Body, InRegion, List, ListedByRegion, Pairs, constant, either, upper};
use super::client::path_of;
use super::session::{Session, Usage, last};
use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

const NOUN: &str = "subnetworks";
const TABLE: &str = "table(name, region.basename(), network.basename(), ipCidrRange:label=RANGE, stackType, \
                     ipv6AccessType, internalIpv6Prefix, externalIpv6Prefix)";

/// What to do with subnetworks.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create a subnetwork
    #[command(
        after_help = "Example:\n  tombolo compute networks subnets create subnet-1 --network vpc-1 \\\n    --region us-central1 --range 10.1.0.0/16"
    )]
    Create(Create),
    /// List subnetworks of every region
    #[command(after_help = "Example:\n  tombolo compute networks subnets list --network vpc-1")]
    List(ListArgs),
    /// Show a subnetwork
    #[command(
        after_help = "Example:\n  tombolo compute networks subnets describe subnet-1 --region us-central1"
    )]
    Describe(InRegion),
    /// Delete subnetworks
    #[command(
        after_help = "Example:\n  tombolo compute networks subnets delete subnet-1 --region us-central1"
    )]
    Delete(AllInRegion),
    /// Make a subnetwork's range larger
    #[command(
        after_help = "Example:\n  tombolo compute networks subnets expand-ip-range subnet-1 \\\n    --region us-central1 --prefix-length 15"
    )]
    ExpandIpRange(Expand),
    /// Change a subnetwork
    #[command(
        after_help = "Example:\n  tombolo compute networks subnets update subnet-1 --region us-central1 \\\n    --enable-private-ip-google-access"
    )]
    Update(Update),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    which: InRegion,
    /// The network that it is in
    #[arg(long)]
    network: String,
    /// Its range, such as 10.1.0.0/16
    #[arg(long)]
    range: String,
    /// Further ranges, by name
    #[arg(long, value_name = "NAME=RANGE")]
    secondary_range: Vec<Pairs>,
    #[command(flatten)]
    stack: Stack,
    /// Let instances without an external address reach Google's APIs
    #[arg(long)]
    enable_private_ip_google_access: bool,
    #[command(flatten)]
    flow_logs: FlowLogs,
    /// What it is for, to the network: PRIVATE, or PRIVATE_SERVICE_CONNECT
    #[arg(long)]
    purpose: Option<String>,
    /// What it is for, to people
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Of this network only
    #[arg(long)]
    network: Option<String>,
    #[command(flatten)]
    list: ListedByRegion,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Expand {
    #[command(flatten)]
    which: InRegion,
    /// The new, smaller number after the slash
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=29))]
    prefix_length: u8,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    #[command(flatten)]
    which: InRegion,
    /// Let instances without an external address reach Google's APIs
    #[arg(long, conflicts_with = "no_enable_private_ip_google_access")]
    enable_private_ip_google_access: bool,
    #[arg(long, hide = true)]
    no_enable_private_ip_google_access: bool,
    /// Further ranges, by name, beside those that it has
    #[arg(long, value_name = "NAME=RANGE")]
    add_secondary_ranges: Option<Pairs>,
    /// Further ranges that it has no longer
    #[arg(long, value_name = "NAMES")]
    remove_secondary_ranges: Option<List>,
    #[command(flatten)]
    stack: Stack,
    #[command(flatten)]
    flow_logs: FlowLogs,
}

/// Which versions of IP a subnetwork has.
#[derive(Debug, clap::Args)]
struct Stack {
    /// IPV4_IPV6 for a dual-stack one, or IPV4_ONLY
    #[arg(long, value_parser = constant)]
    stack_type: Option<String>,
    /// Who knows its IPv6 addresses: INTERNAL
    #[arg(long, value_parser = constant)]
    ipv6_access_type: Option<String>,
}

impl Stack {
    fn add(&self, body: Body) -> Body {
        body.maybe("stackType", self.stack_type.as_deref())
            .maybe("ipv6AccessType", self.ipv6_access_type.as_deref())
    }
}

/// What is said of flow logs.
#[derive(Debug, clap::Args)]
pub(crate) struct FlowLogs {
    /// Log what passes of connections: see `tombolo logs flows`
    #[arg(long, conflicts_with = "no_enable_flow_logs")]
    enable_flow_logs: bool,
    #[arg(long, hide = true)]
    no_enable_flow_logs: bool,
    /// How long what passes is summed up
    #[arg(long, value_name = "INTERVAL", value_parser = ["interval-5-sec", "interval-30-sec", "interval-1-min", "interval-5-min", "interval-10-min", "interval-15-min"])]
    logging_aggregation_interval: Option<String>,
    /// The share of connections that are logged, 0 to 1
    #[arg(long, value_name = "SHARE")]
    logging_flow_sampling: Option<f64>,
    /// Whether instances and networks are told
    #[arg(long, value_name = "METADATA", value_parser = ["include-all", "exclude-all"])]
    logging_metadata: Option<String>,
}

impl FlowLogs {
    /// `logConfig` as it is on the wire; `None` when nothing is said.
    fn config(&self) -> Option<Value> {
        let enable = either(self.enable_flow_logs, self.no_enable_flow_logs);
        // gcloud's own default, which is not the API's.
        let metadata = self.logging_metadata.as_ref().map(|text| format!("{}_METADATA", upper(text)));
        let metadata = metadata.or_else(|| self.enable_flow_logs.then(|| "INCLUDE_ALL_METADATA".to_owned()));
        let body = Body::default()
            .maybe("enable", enable)
            .maybe("aggregationInterval", self.logging_aggregation_interval.as_ref().map(upper))
            .maybe("flowSampling", self.logging_flow_sampling)
            .maybe("metadata", metadata)
            .json();
        body.as_object().is_some_and(|fields| !fields.is_empty()).then_some(body)
    }
}

/// Ranges as they are on the wire.
fn ranges(pairs: &Pairs) -> Vec<Value> {
    pairs.0.iter().map(|(name, range)| json!({ "rangeName": name, "ipCidrRange": range })).collect()
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => create.run(session),
            Verb::List(list) => list.run(session),
            Verb::Describe(which) => session.show(session.client.get(&session.in_region(NOUN, which)?)?),
            Verb::Delete(AllInRegion { names, region }) => {
                session.delete("subnetworks", &session.of_region(NOUN, region.as_ref())?, names)
            }
            Verb::ExpandIpRange(expand) => expand.run(session),
            Verb::Update(update) => update.run(session),
        }
    }
}

impl Create {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let secondary: Vec<Value> = self.secondary_range.iter().flat_map(ranges).collect();
        let access = self.enable_private_ip_google_access.then_some(true);
        let body = self
            .stack
            .add(Body::default())
            .with("name", self.which.name.as_str())
            .with("network", session.network(&self.network)?)
            .with("ipCidrRange", self.range.as_str())
            .maybe("privateIpGoogleAccess", access)
            .maybe("secondaryIpRanges", Some(secondary).filter(|ranges| !ranges.is_empty()))
            .maybe("logConfig", self.flow_logs.config())
            .maybe("purpose", self.purpose.as_deref())
            .maybe("description", self.description.as_deref());
        let collection = session.of_region(NOUN, self.which.region.as_ref())?;
        session.show_all(session.create(&collection, vec![body.json()])?, TABLE)
    }
}

impl ListArgs {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let mut all = session.list_regions(NOUN, &self.list)?;
        if let Some(network) = &self.network {
            all.retain(|item| last(item["network"].as_str().unwrap_or_default()) == last(network));
        }
        session.show_list(all, &self.list.listed, TABLE)
    }
}

impl Expand {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let path = session.in_region(NOUN, &self.which)?;
        let present = session.client.get(&path)?;
        let range = present["ipCidrRange"].as_str().unwrap_or_default();
        let larger = larger(range, self.prefix_length).ok_or_else(|| {
            Usage(format!("--prefix-length: '{}' must be less than that of {range}.", self.prefix_length))
        })?;
        session.confirm(&format!(
            "The IP range of subnetwork [{}] will be expanded from {range} to {larger}. This operation may take \
             several minutes to complete and cannot be undone.\n",
            self.which.name
        ))?;
        let body = json!({ "ipCidrRange": larger });
        session.update(Method::POST, &format!("{path}/expandIpCidrRange"), Some(body)).map(drop)
    }
}

/// A range made larger: the network of that length which it is in.
fn larger(range: &str, length: u8) -> Option<String> {
    let (address, present) = range.split_once('/')?;
    let (address, present): (std::net::Ipv4Addr, u8) = (address.parse().ok()?, present.parse().ok()?);
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    let network = std::net::Ipv4Addr::from(u32::from(address) & mask);
    (length < present).then(|| format!("{network}/{length}"))
}

impl Update {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let path = session.in_region(NOUN, &self.which)?;
        let access = either(self.enable_private_ip_google_access, self.no_enable_private_ip_google_access);
        let ranges_change = self.add_secondary_ranges.is_some() || self.remove_secondary_ranges.is_some();
        let log_config = self.flow_logs.config();
        let stack = self.stack.add(Body::default());
        if access.is_none() && !ranges_change && log_config.is_none() && stack.is_empty() {
            return Err(Usage("At least one property must be specified.".into()).into());
        }
        let mut link = String::new();
        if let Some(access) = access {
            let body = json!({ "privateIpGoogleAccess": access });
            link = session.update(Method::POST, &format!("{path}/setPrivateIpGoogleAccess"), Some(body))?;
        }
        if ranges_change {
            let present = session.client.get(&path)?;
            let removed = self.remove_secondary_ranges.clone().unwrap_or_default().0;
            let stays = |range: &&Value| !removed.iter().any(|name| range["rangeName"] == name.as_str());
            let have = present["secondaryIpRanges"].as_array().into_iter().flatten();
            let mut all: Vec<Value> = have.filter(stays).cloned().collect();
            all.extend(self.add_secondary_ranges.iter().flat_map(ranges));
            let body = json!({ "fingerprint": present["fingerprint"], "secondaryIpRanges": all });
            link = session.update(Method::PATCH, &path, Some(body))?;
        }
        if !stack.is_empty() {
            let present = session.client.get(&path)?;
            let body = stack.with("fingerprint", present["fingerprint"].clone()).json();
            link = session.update(Method::PATCH, &path, Some(body))?;
        }
        if let Some(config) = log_config {
            let present = session.client.get(&path)?;
            let mut all = present["logConfig"].as_object().cloned().unwrap_or_default();
            all.extend(config.as_object().cloned().unwrap_or_default());
            let body = json!({ "fingerprint": present["fingerprint"], "logConfig": all });
            link = session.update(Method::PATCH, &path, Some(body))?;
        }
        if session.has_format() { session.show(session.client.get(&path_of(&link))?) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::larger;

    #[test]
    fn a_larger_range_contains_the_present_one() {
        assert_eq!(larger("10.1.0.0/16", 15).as_deref(), Some("10.0.0.0/15"));
        assert_eq!(larger("10.1.0.0/16", 0).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(larger("10.1.0.0/16", 16), None);
    }
}
