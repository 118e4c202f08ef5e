//! `compute instances create`: flags to the body of an insert, with what gcloud says of its own accord.

use super::{Metadata, NOUN, TABLE, items_of};
use crate::gcloud::args::{Body, List, Pairs, constant};
use crate::gcloud::session::{Session, Usage};
use anyhow::Result;
use serde_json::{Value, json};
use std::net::IpAddr;

/// What a VM's service account may do unless said otherwise, as gcloud has it.
const SCOPES: [&str; 7] = [
    "devstorage.read_only",
    "logging.write",
    "monitoring.write",
    "pubsub",
    "service.management.readonly",
    "servicecontrol",
    "trace.append",
];

/// The scopes as the API has them.
pub(super) fn scopes() -> [String; 7] {
    SCOPES.map(|scope| format!("https://www.googleapis.com/auth/{scope}"))
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Their zone [default: $CLOUDSDK_COMPUTE_ZONE]
    #[arg(long)]
    zone: Option<String>,
    #[command(flatten)]
    nic: Nic,
    /// An interface: subnet=NAME, network=NAME, private-network-ip=ADDRESS, no-address, stack-type=IPV4_IPV6; may be said
    /// more than once
    #[arg(
        long,
        value_name = "PROPERTIES",
        conflicts_with_all = ["subnet", "network", "private_network_ip", "no_address", "stack_type"]
    )]
    network_interface: Vec<List>,
    /// Network tags
    #[arg(long)]
    tags: Option<List>,
    /// Let them forward packets that are not their own
    #[arg(long)]
    can_ip_forward: bool,
    /// The service account that their programs act as
    #[arg(long, value_name = "EMAIL", default_value = "default", conflicts_with = "no_service_account")]
    service_account: String,
    /// Give them no service account
    #[arg(long)]
    no_service_account: bool,
    #[command(flatten)]
    metadata: Metadata,
    /// The machine type
    #[arg(long, default_value = "n1-standard-1")]
    machine_type: String,
    /// The image; what runs is the system of this machine, whatever the image
    #[arg(long, conflicts_with = "image_family")]
    image: Option<String>,
    /// The family that the image is the newest of
    #[arg(long, default_value = "debian-12")]
    image_family: String,
    /// The project of the image or family
    #[arg(long, default_value = "debian-cloud")]
    image_project: String,
    /// The boot disk's size, such as 20GB
    #[arg(long, value_name = "SIZE", value_parser = gigabytes)]
    boot_disk_size: Option<u64>,
    /// Labels
    #[arg(long, value_name = "KEY=VALUE,…")]
    labels: Option<Pairs>,
    /// Tag values by their keys: tagKeys/NUMBER=tagValues/NUMBER, or by names: PARENT/KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE,…")]
    resource_manager_tags: Option<Pairs>,
    /// What they are for
    #[arg(long)]
    description: Option<String>,
}

/// The one interface of an instance that says no --network-interface.
#[derive(Debug, Default, clap::Args)]
struct Nic {
    /// The subnetwork, of the zone's region
    #[arg(long)]
    subnet: Option<String>,
    /// The network; it needs no subnetwork said if it is in auto mode
    #[arg(long)]
    network: Option<String>,
    /// A certain address of the subnetwork, or the name of one that is reserved in the zone's region
    #[arg(long, value_name = "ADDRESS")]
    private_network_ip: Option<String>,
    /// Give it no external address
    #[arg(long)]
    no_address: bool,
    /// IPV4_IPV6 for a dual-stack one, or IPV4_ONLY
    #[arg(long, value_parser = constant)]
    stack_type: Option<String>,
}

/// `20GB`, `20` and `1TB` in GB.
fn gigabytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase();
    let factor = match unit.trim_end_matches('B') {
        "" | "G" | "GI" => Some(1),
        "T" | "TI" => Some(1024),
        _ => None,
    };
    let size = digits.parse::<u64>().ok().zip(factor).and_then(|(size, factor)| size.checked_mul(factor));
    size.ok_or_else(|| "expected a size such as 20GB".into())
}

impl Create {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<()> {
        let zone = session.zone(self.zone.as_ref())?;
        let bodies = self.names.iter().map(|name| self.body(session, &zone, name));
        let bodies = bodies.collect::<Result<Vec<_>>>()?;
        session.show_all(session.create(&session.of_zone(NOUN, Some(&zone))?, bodies)?, TABLE)
    }

    fn body(&self, session: &Session<'_>, zone: &str, name: &str) -> Result<Value> {
        let project = session.project()?;
        let nics = match self.network_interface.as_slice() {
            [] => vec![self.nic.body(session, zone)?],
            said => said
                .iter()
                .map(|properties| Nic::of(properties)?.body(session, zone))
                .collect::<Result<Vec<_>>>()?,
        };
        let image = match &self.image {
            Some(image) if image.contains('/') => image.clone(),
            Some(image) => format!("projects/{}/global/images/{image}", self.image_project),
            None => format!("projects/{}/global/images/family/{}", self.image_project, self.image_family),
        };
        let disk = Body::default()
            .with("sourceImage", image)
            .maybe("diskSizeGb", self.boot_disk_size.map(|gb| gb.to_string()));
        let metadata = items_of(&self.metadata.read()?);
        Ok(Body::default()
            .with("name", name)
            .with(
                "machineType",
                format!("projects/{project}/zones/{zone}/machineTypes/{}", self.machine_type),
            )
            .with("canIpForward", self.can_ip_forward)
            .with("networkInterfaces", nics)
            .with(
                "disks",
                json!([{
                    "boot": true, "autoDelete": true, "mode": "READ_WRITE", "type": "PERSISTENT",
                    "initializeParams": disk.json(),
                }]),
            )
            .with("scheduling", json!({ "automaticRestart": true }))
            .maybe(
                "serviceAccounts",
                (!self.no_service_account)
                    .then(|| json!([{ "email": self.service_account, "scopes": scopes() }])),
            )
            .maybe("tags", self.tags.as_ref().map(|tags| json!({ "items": tags.0 })))
            .maybe("metadata", Some(json!({ "items": metadata })).filter(|_| !metadata.is_empty()))
            .maybe("labels", self.labels.as_ref().map(Pairs::map))
            .maybe(
                "params",
                self.resource_manager_tags.as_ref().map(|tags| json!({ "resourceManagerTags": tags.map() })),
            )
            .maybe("description", self.description.as_deref())
            .json())
    }
}

impl Nic {
    /// An interface from `subnet=…,no-address`.
    fn of(properties: &List) -> Result<Nic> {
        let mut nic = Nic::default();
        for property in &properties.0 {
            let (key, value) = property.split_once('=').unwrap_or((property, ""));
            match key {
                "subnet" => nic.subnet = Some(value.to_owned()),
                "network" => nic.network = Some(value.to_owned()),
                "private-network-ip" => nic.private_network_ip = Some(value.to_owned()),
                "no-address" => nic.no_address = true,
                "stack-type" => nic.stack_type = Some(value.to_ascii_uppercase()),
                other => {
                    let why =
                        format!("argument --network-interface: the property '{other}' is not supported");
                    return Err(Usage(why).into());
                }
            }
        }
        Ok(nic)
    }

    fn body(&self, session: &Session<'_>, zone: &str) -> Result<Value> {
        let region = zone.rsplit_once('-').map_or(zone, |(region, _)| region);
        let subnetworks = format!("regions/{region}/subnetworks");
        let subnetwork = self.subnet.as_deref().map(|said| session.link(subnetworks, said)).transpose()?;
        let network = match (&self.network, &subnetwork) {
            (Some(network), _) => Some(session.network(network)?),
            (None, None) => Some(session.network("default")?),
            (None, Some(_)) => None,
        };
        let address = match self.private_network_ip.as_deref() {
            Some(said) if said.parse::<IpAddr>().is_err() => {
                Some(session.link(format_args!("regions/{region}/addresses"), said)?)
            }
            said => said.map(str::to_owned),
        };
        let access = json!([{ "type": "ONE_TO_ONE_NAT", "name": "external-nat" }]);
        Ok(Body::default()
            .maybe("network", network)
            .maybe("subnetwork", subnetwork)
            .maybe("networkIP", address)
            .maybe("stackType", self.stack_type.as_deref())
            .maybe("accessConfigs", (!self.no_address).then_some(access))
            .json())
    }
}

#[cfg(test)]
mod tests {
    use super::gigabytes;

    #[test]
    fn sizes_have_units() {
        for (text, want) in
            [("20", Some(20)), ("20GB", Some(20)), ("1TB", Some(1024)), ("1MB", None), ("x", None)]
        {
            assert_eq!(gigabytes(text).ok(), want, "{text}");
        }
    }
}
