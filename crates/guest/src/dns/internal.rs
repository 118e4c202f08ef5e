//! The names that instances have by themselves. They are a network's own: no peering carries them.
//!
//! Source: Google's documentation of internal DNS. An instance has its name in the network of its first interface only.

use super::{Found, answers};
use crate::metadata::HOST;
use crate::names::{self, DnsSetting};
use hickory_proto::rr::rdata::{A, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;
use std::net::Ipv4Addr;
use tombolo_fabric::METADATA_SERVER;
use tombolo_model::{InstanceKey, NetworkKey, World};

/// Seconds for which an answer may be kept.
const TTL: u32 = 30;

/// What there is under a name.
pub(super) fn find(world: &World, network: &NetworkKey, name: &Name, asked: RecordType) -> Found {
    let text = name.to_lowercase().to_ascii();
    let text = text.trim_end_matches('.');
    if text.ends_with(".in-addr.arpa") {
        return pointer(world, network, name, asked);
    }
    let inside = text == "internal" || text.ends_with(".internal") || text == "metadata";
    if !inside {
        return Found::NoZone;
    }
    match address(world, network, text) {
        Some(address) if answers(asked, RecordType::A) => {
            Found::Records(vec![Record::from_rdata(name.clone(), TTL, RData::A(A(address)))])
        }
        Some(_) => soa().map_or(Found::NoZone, Found::NoData),
        None if is_above(world, network, text) => soa().map_or(Found::NoZone, Found::NoData),
        None => soa().map_or(Found::NoZone, Found::NoName),
    }
}

/// The address of a name, as a network has it.
fn address(world: &World, network: &NetworkKey, name: &str) -> Option<Ipv4Addr> {
    if ["metadata", "metadata.google.internal"].contains(&name) {
        return Some(METADATA_SERVER);
    }
    let labels: Vec<&str> = name.strip_suffix(".internal")?.split('.').collect();
    match labels[..] {
        [name, zone, "c", project] => in_network(world, network, &InstanceKey::new(project, zone, name)),
        [name, "c", project] => {
            let mut named = world.instances.iter().filter(|(key, instance)| {
                key.name == name
                    && key.project == project
                    && DnsSetting::of(world, key, instance) != DnsSetting::ZonalOnly
            });
            named.find_map(|(key, _)| in_network(world, network, key))
        }
        _ => None,
    }
}

/// The address of an instance's first interface, if that is in the network.
fn in_network(world: &World, network: &NetworkKey, key: &InstanceKey) -> Option<Ipv4Addr> {
    let nic = world.instances.get(key)?.nics.first()?;
    (nic.network == *network).then_some(nic.address)
}

/// Whether there are names below this one.
fn is_above(world: &World, network: &NetworkKey, name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    let (zone, project) = match labels[..] {
        ["internal"] | ["google", "internal"] => return true,
        [project, "internal"] | ["c", project, "internal"] => (None, project),
        [zone, "c", project, "internal"] => (Some(zone), project),
        _ => return false,
    };
    let below = |key: &InstanceKey| key.project == project && zone.is_none_or(|zone| key.zone == zone);
    world.instances.keys().any(|key| below(key) && in_network(world, network, key).is_some())
}

/// The name of an address.
fn pointer(world: &World, network: &NetworkKey, name: &Name, asked: RecordType) -> Found {
    let address = match name.parse_arpa_name() {
        Ok(IpNet::V4(net)) if net.prefix_len() == 32 => net.addr(),
        _ => return Found::NoZone,
    };
    let holder = || {
        let first = |key: &InstanceKey| in_network(world, network, key) == Some(address);
        let (key, instance) = world.instances.iter().find(|(key, _)| first(key))?;
        Some(names::own(world, key, instance))
    };
    let found = if address == METADATA_SERVER { Some(HOST.to_owned()) } else { holder() };
    let Some(target) = found.and_then(|found| Name::from_ascii(found + ".").ok()) else {
        return Found::NoZone;
    };
    if !answers(asked, RecordType::PTR) {
        return soa().map_or(Found::NoZone, Found::NoData);
    }
    Found::Records(vec![Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)))])
}

/// What says for how long it may be remembered that there is nothing.
fn soa() -> Option<Record> {
    let name = |text: &str| Name::from_ascii(text).ok();
    let data = SOA::new(
        name("metadata.google.internal.")?,
        name("cloud-dns-hostmaster.google.com.")?,
        1,
        21600,
        3600,
        259200,
        TTL,
    );
    Some(Record::from_rdata(name("internal.")?, TTL, RData::SOA(data)))
}
