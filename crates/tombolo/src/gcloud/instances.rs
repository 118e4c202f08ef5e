//! `compute instances`.

mod create;
mod interfaces;

use super::args::{AllInZone, Body, InZone, List, ListedByZone, Pairs};
use super::client::encode;
use super::session::{Session, Usage, last};
use anyhow::{Context, Result};
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NOUN: &str = "instances";
const TABLE: &str = "table(name, zone.basename(), machineType.machine_type().basename(), \
                     scheduling.preemptible.yesno(yes=true, no=''), \
                     networkInterfaces[].networkIP.notnull().list(separator='\n'):label=INTERNAL_IP, \
                     networkInterfaces[].accessConfigs[0].natIP.notnull().list(separator='\n'):label=EXTERNAL_IP, status)";

/// What to do with instances.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Create instances
    #[command(
        after_help = "Examples:\n  tombolo compute instances create vm-1 --zone us-central1-a --subnet subnet-1 \\\n    --private-network-ip 10.1.0.2 --no-address\n  tombolo compute instances create router --zone us-central1-a \\\n    --can-ip-forward --network-interface subnet=subnet-1,no-address \\\n    --network-interface subnet=subnet-2,no-address"
    )]
    Create(Box<create::Create>),
    /// List instances of every zone
    #[command(
        after_help = "Example:\n  tombolo compute instances list \\\n    --format \"table(name, networkInterfaces[0].networkIP)\""
    )]
    List(ListedByZone),
    /// Show an instance
    #[command(
        after_help = "Example:\n  tombolo compute instances describe vm-1 --zone us-central1-a \\\n    --format \"value(networkInterfaces[0].networkIP)\""
    )]
    Describe(InZone),
    /// Delete instances
    #[command(after_help = "Example:\n  tombolo compute instances delete vm-1 --zone us-central1-a")]
    Delete(AllInZone),
    /// Start instances
    #[command(after_help = "Example:\n  tombolo compute instances start vm-1 --zone us-central1-a")]
    Start(AllInZone),
    /// Stop instances
    #[command(after_help = "Example:\n  tombolo compute instances stop vm-1 --zone us-central1-a")]
    Stop(AllInZone),
    /// Start running instances anew
    #[command(after_help = "Example:\n  tombolo compute instances reset vm-1 --zone us-central1-a")]
    Reset(AllInZone),
    /// Give an instance further network tags
    #[command(
        after_help = "Example:\n  tombolo compute instances add-tags vm-1 --zone us-central1-a --tags web,db"
    )]
    AddTags(AddTags),
    /// Take network tags from an instance
    #[command(
        after_help = "Example:\n  tombolo compute instances remove-tags vm-1 --zone us-central1-a --tags web"
    )]
    RemoveTags(RemoveTags),
    /// Give an interface an external address
    #[command(
        after_help = "Example:\n  tombolo compute instances add-access-config vm-1 --zone us-central1-a\n  tombolo compute instances add-access-config vm-1 --zone us-central1-a \\\n    --address 198.18.0.9"
    )]
    AddAccessConfig(AddAccessConfig),
    /// Take an interface's external address
    #[command(
        after_help = "Example:\n  tombolo compute instances delete-access-config vm-1 --zone us-central1-a"
    )]
    DeleteAccessConfig(AccessConfig),
    /// Interfaces of instances
    #[command(subcommand)]
    NetworkInterfaces(interfaces::Verb),
    /// Give a stopped instance another service account
    #[command(
        after_help = "Example:\n  tombolo compute instances set-service-account vm-1 --zone us-central1-a \\\n    --service-account web@my-project.iam.gserviceaccount.com"
    )]
    SetServiceAccount(SetServiceAccount),
    /// Add to an instance's metadata
    #[command(
        after_help = "Example:\n  tombolo compute instances add-metadata vm-1 --zone us-central1-a \\\n    --metadata-from-file startup-script=boot.sh"
    )]
    AddMetadata(AddMetadata),
    /// Take keys from an instance's metadata
    #[command(
        after_help = "Example:\n  tombolo compute instances remove-metadata vm-1 --zone us-central1-a --keys a,b"
    )]
    RemoveMetadata(RemoveMetadata),
    /// Print what an instance's startup script printed
    #[command(
        after_help = "Example:\n  tombolo compute instances get-serial-port-output vm-1 --zone us-central1-a"
    )]
    GetSerialPortOutput(SerialOutput),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddTags {
    #[command(flatten)]
    which: InZone,
    /// The tags
    #[arg(long)]
    tags: List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveTags {
    #[command(flatten)]
    which: InZone,
    /// The tags
    #[arg(long, required_unless_present = "all")]
    tags: Option<List>,
    /// All its tags
    #[arg(long, conflicts_with = "tags")]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AccessConfig {
    #[command(flatten)]
    which: InZone,
    /// Its name
    #[arg(long, value_name = "NAME", default_value = "external-nat")]
    access_config_name: String,
    /// The interface
    #[arg(long, value_name = "NIC", default_value = "nic0")]
    network_interface: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddAccessConfig {
    #[command(flatten)]
    config: AccessConfig,
    /// A reserved address, as an IP address; a free one when not given
    #[arg(long)]
    address: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetServiceAccount {
    #[command(flatten)]
    which: InZone,
    /// The service account; its scopes stay
    #[arg(long, value_name = "EMAIL", required_unless_present = "no_service_account")]
    service_account: Option<String>,
    /// None
    #[arg(long, conflicts_with = "service_account")]
    no_service_account: bool,
}

/// Metadata that is said, or in files.
#[derive(Debug, clap::Args)]
struct Metadata {
    /// Metadata, by key
    #[arg(long, value_name = "KEY=VALUE,…")]
    metadata: Option<Pairs>,
    /// Metadata in files, by key
    #[arg(long, value_name = "KEY=FILE,…")]
    metadata_from_file: Option<Pairs>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddMetadata {
    #[command(flatten)]
    which: InZone,
    #[command(flatten)]
    metadata: Metadata,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveMetadata {
    #[command(flatten)]
    which: InZone,
    /// The keys
    #[arg(long, required_unless_present = "all")]
    keys: Option<List>,
    /// All its keys
    #[arg(long, conflicts_with = "keys")]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SerialOutput {
    #[command(flatten)]
    which: InZone,
    /// From this byte on
    #[arg(long, value_name = "BYTE")]
    start: Option<u64>,
}

impl Verb {
    pub(crate) fn run(&self, session: &Session<'_>) -> Result<()> {
        match self {
            Verb::Create(create) => create.run(session),
            Verb::List(list) => session.show_list(session.list_zones(NOUN, list)?, &list.listed, TABLE),
            Verb::Describe(which) => session.show(session.client.get(&session.in_zone(NOUN, which)?)?),
            Verb::Delete(AllInZone { names, zone }) => {
                session.delete("instances", &session.of_zone(NOUN, zone.as_ref())?, names)
            }
            Verb::Start(which) => each(session, which, "start"),
            Verb::Stop(which) => each(session, which, "stop"),
            Verb::Reset(which) => each(session, which, "reset"),
            Verb::AddTags(AddTags { which, tags }) => set_tags(session, which, |have| {
                let new = tags.0.iter().filter(|tag| !have.contains(tag)).cloned().collect::<Vec<_>>();
                have.extend(new);
            }),
            Verb::RemoveTags(RemoveTags { which, tags, .. }) => set_tags(session, which, |have| {
                have.retain(|tag| tags.as_ref().is_some_and(|tags| !tags.0.contains(tag)));
            }),
            Verb::AddAccessConfig(AddAccessConfig { config, address }) => {
                let body = Body::default()
                    .with("name", config.access_config_name.as_str())
                    .with("type", "ONE_TO_ONE_NAT")
                    .maybe("natIP", address.as_deref());
                config.post(session, "addAccessConfig", "", Some(body.json()))
            }
            Verb::DeleteAccessConfig(config) => {
                let which = format!("&accessConfig={}", encode(&config.access_config_name));
                config.post(session, "deleteAccessConfig", &which, None)
            }
            Verb::NetworkInterfaces(verb) => verb.run(session),
            Verb::SetServiceAccount(set) => set.run(session),
            Verb::AddMetadata(AddMetadata { which, metadata }) => {
                let said = metadata.read()?;
                if said.is_empty() {
                    let missing = "At least one of [--metadata] or [--metadata-from-file] must be provided.";
                    return Err(Usage(missing.into()).into());
                }
                set_metadata(session, which, |have| have.extend(said))
            }
            Verb::RemoveMetadata(RemoveMetadata { which, keys, .. }) => {
                set_metadata(session, which, |have| {
                    have.retain(|key, _| keys.as_ref().is_some_and(|keys| !keys.0.contains(key)));
                })
            }
            Verb::GetSerialPortOutput(output) => output.run(session),
        }
    }
}

/// Has each of some instances do something.
fn each(session: &Session<'_>, which: &AllInZone, verb: &str) -> Result<()> {
    let collection = session.of_zone(NOUN, which.zone.as_ref())?;
    for name in &which.names {
        session.update(Method::POST, &format!("{collection}/{}/{verb}", encode(last(name))), None)?;
    }
    Ok(())
}

/// Replaces an instance's tags, if nobody else did meanwhile.
fn set_tags(session: &Session<'_>, which: &InZone, change: impl FnOnce(&mut Vec<String>)) -> Result<()> {
    let path = session.in_zone(NOUN, which)?;
    let present = session.client.get(&path)?;
    let items = present["tags"]["items"].as_array().into_iter().flatten();
    let mut tags: Vec<String> = items.filter_map(Value::as_str).map(str::to_owned).collect();
    change(&mut tags);
    let body = json!({ "fingerprint": present["tags"]["fingerprint"], "items": tags });
    session.update(Method::POST, &format!("{path}/setTags"), Some(body)).map(drop)
}

/// Replaces an instance's metadata, if nobody else did meanwhile.
fn set_metadata(
    session: &Session<'_>,
    which: &InZone,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<()> {
    let path = session.in_zone(NOUN, which)?;
    let present = session.client.get(&path)?;
    let items = present["metadata"]["items"].as_array().into_iter().flatten();
    let pair = |item: &Value| {
        Some((item["key"].as_str()?.to_owned(), item["value"].as_str().unwrap_or_default().to_owned()))
    };
    let mut metadata: BTreeMap<String, String> = items.filter_map(pair).collect();
    change(&mut metadata);
    let body = json!({ "fingerprint": present["metadata"]["fingerprint"], "items": items_of(&metadata) });
    session.update(Method::POST, &format!("{path}/setMetadata"), Some(body)).map(drop)
}

/// Metadata as it is on the wire.
fn items_of(metadata: &BTreeMap<String, String>) -> Vec<Value> {
    metadata.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

impl Metadata {
    /// All that is said, files read.
    fn read(&self) -> Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for (key, value) in self.metadata.iter().flat_map(|pairs| &pairs.0) {
            all.insert(key.clone(), value.clone());
        }
        for (key, file) in self.metadata_from_file.iter().flat_map(|pairs| &pairs.0) {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("--metadata-from-file: {file}"))?;
            if all.insert(key.clone(), text).is_some() {
                let twice = format!("Encountered duplicate metadata key [{key}].");
                return Err(Usage(twice).into());
            }
        }
        Ok(all)
    }
}

impl AccessConfig {
    fn post(&self, session: &Session<'_>, verb: &str, more: &str, body: Option<Value>) -> Result<()> {
        let nic = encode(&self.network_interface);
        let path = format!("{}/{verb}?networkInterface={nic}{more}", session.in_zone(NOUN, &self.which)?);
        session.update(Method::POST, &path, body).map(drop)
    }
}

impl SetServiceAccount {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let path = session.in_zone(NOUN, &self.which)?;
        let scopes = session.client.get(&path)?["serviceAccounts"][0]["scopes"].take();
        let scopes = if scopes.is_array() { scopes } else { json!(create::scopes()) };
        let body = match &self.service_account {
            Some(email) => json!({ "email": email, "scopes": scopes }),
            None => json!({}),
        };
        session.update(Method::POST, &format!("{path}/setServiceAccount"), Some(body)).map(drop)
    }
}

impl SerialOutput {
    fn run(&self, session: &Session<'_>) -> Result<()> {
        let start = self.start.map(|start| format!("?start={start}")).unwrap_or_default();
        let output =
            session.client.get(&format!("{}/serialPort{start}", session.in_zone(NOUN, &self.which)?))?;
        crate::output::print(&format!("{}\n", output["contents"].as_str().unwrap_or_default()));
        eprintln!(
            "\nSpecify --start={} in the next get-serial-port-output invocation to get only the new output starting \
             from here.",
            output["next"].as_str().unwrap_or_default()
        );
        Ok(())
    }
}
