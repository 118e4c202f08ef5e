//! What Google's log entries of a network have in common: firewall rules' hits and flows. Pure.

use serde_json::{Value, json};
use std::net::IpAddr;
use tombolo_api::links;
use tombolo_dataplane::Connection;
use tombolo_model::{InstanceKey, NetworkKey, Subnetwork, SubnetworkKey, Timestamp, World};

/// Where an entry is from, and what tells it from others.
pub(crate) struct Origin<'a> {
    /// The log: `firewall` or `vpc_flows`.
    pub(crate) log: &'static str,
    /// The network of the end that it is about.
    pub(crate) network: &'a NetworkKey,
    /// That end.
    pub(crate) end: IpAddr,
    /// When it was, in microseconds since 1970.
    pub(crate) at: u64,
    /// Which one it is of the lab's.
    pub(crate) number: u64,
}

impl Origin<'_> {
    /// The entry with this payload.
    pub(crate) fn entry(&self, world: &World, payload: Value) -> Value {
        let Origin { log, network, end, at, number } = self;
        json!({
            "insertId": format!("{at:x}-{number:x}"),
            "jsonPayload": payload,
            "logName": format!("projects/{}/logs/compute.googleapis.com%2F{log}", network.project),
            "resource": { "type": "gce_subnetwork", "labels": resource(world, network, *end) },
            "timestamp": moment(*at),
        })
    }
}

/// A moment with microseconds: `2020-02-21T21:43:30.435127Z`.
pub(crate) fn moment(micros: u64) -> String {
    let text = Timestamp((micros / 1000) as i64).to_string();
    format!("{}{:03}Z", text.trim_end_matches("+00:00"), micros % 1000)
}

/// Google's 5-tuple.
pub(crate) fn connection(it: &Connection) -> Value {
    json!({
        "src_ip": it.source,
        "src_port": it.source_port,
        "dest_ip": it.destination,
        "dest_port": it.destination_port,
        "protocol": it.protocol,
    })
}

/// An instance.
pub(crate) fn instance_details(key: &InstanceKey) -> Value {
    let region = key.zone.rsplit_once('-').map_or(&*key.zone, |(region, _)| region);
    json!({ "project_id": key.project, "vm_name": key.name, "region": region, "zone": key.zone })
}

/// The place of an address in a network.
pub(crate) fn vpc_details(world: &World, network: &NetworkKey, address: IpAddr) -> Value {
    let mut details = json!({ "project_id": network.project, "vpc_name": network.name });
    if let Some((key, _)) = subnetwork(world, network, address) {
        details["subnetwork_name"] = json!(key.name);
    }
    details
}

/// The labels of a `gce_subnetwork` (Cloud Logging, "Monitored resource types").
fn resource(world: &World, network: &NetworkKey, address: IpAddr) -> Value {
    let mut labels = json!({ "project_id": network.project });
    if let Some((key, subnetwork)) = subnetwork(world, network, address) {
        labels["location"] = json!(key.region);
        labels["subnetwork_id"] = json!(links::id(subnetwork.id));
        labels["subnetwork_name"] = json!(key.name);
    }
    labels
}

/// The subnetwork of a network that has an address.
pub(crate) fn subnetwork<'w>(
    world: &'w World,
    network: &NetworkKey,
    address: IpAddr,
) -> Option<(&'w SubnetworkKey, &'w Subnetwork)> {
    let mut own = world.subnetworks.iter().filter(|(_, subnetwork)| subnetwork.network == *network);
    let found = own.find(|(_, subnetwork)| subnetwork.contains(address));
    found.map(|(key, subnetwork)| (key, &**subnetwork))
}

/// The instance that has an address in a network or in one of its active peers, and the network that it is in.
pub(crate) fn owner_near<'w>(
    world: &'w World,
    network: &'w NetworkKey,
    address: IpAddr,
) -> Option<(&'w NetworkKey, &'w InstanceKey)> {
    let near = [network].into_iter().chain(world.active_peers(network));
    near.into_iter().find_map(|at| Some((at, owner(world, at, address)?)))
}

/// The instance that has an address in a network.
fn owner<'w>(world: &'w World, network: &NetworkKey, address: IpAddr) -> Option<&'w InstanceKey> {
    let has = |nic: &tombolo_model::Nic| nic.network == *network && nic.has(address);
    world.instances.iter().find(|(_, instance)| instance.nics.iter().any(has)).map(|(key, _)| key)
}
