//! Private zones and peering zones.
//!
//! Source: Google's documentation of Cloud DNS ("Name resolution order", "Overlapping zones", "Peering zones"); RFC 4592
//! for wildcards.

use super::{Found, answers};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::str::FromStr;
use tombolo_model::managed_zone::{is_within, record_key};
use tombolo_model::{ManagedZone, NetworkKey, RecordSet, World, rdata};

/// The zone that is asked for a name: of those that the network sees, the one with the longest name.
pub(super) fn zone_of<'w>(world: &'w World, network: &NetworkKey, name: &str) -> Option<&'w ManagedZone> {
    let seen = world.managed_zones.values().filter(|zone| zone.networks.contains(network));
    seen.filter(|zone| zone.has_name(name)).max_by_key(|zone| zone.dns_name.len()).map(|zone| &**zone)
}

/// What a zone has under a name.
pub(super) fn find(zone: &ManagedZone, network: &NetworkKey, name: &Name, asked: RecordType) -> Found {
    let text = name.to_lowercase().to_ascii();
    let Some(owner) = owner_of(zone, &text) else {
        let exists = zone.records.values().any(|record| is_within(&record.name, &text));
        return soa(zone).map_or(Found::Failed, if exists { Found::NoData } else { Found::NoName });
    };
    let sets: Vec<_> = of_name(zone, &owner).collect();
    let is = |set: &&&RecordSet, wanted: RecordType| {
        RecordType::from_str(&set.r#type).is_ok_and(|has| answers(wanted, has))
    };
    if let Some(alias) = sets.iter().find(|set| set.r#type == "CNAME").filter(|_| asked != RecordType::CNAME)
    {
        let record = records(name, alias).next();
        return match record.as_ref().map(|record| &record.data) {
            Some(RData::CNAME(target)) => {
                let target = target.0.clone();
                record.map_or(Found::Failed, |record| Found::Alias(record, target, network.clone()))
            }
            _ => Found::Failed,
        };
    }
    let found: Vec<Record> =
        sets.iter().filter(|set| is(set, asked)).flat_map(|set| records(name, set)).collect();
    if found.is_empty() {
        return soa(zone).map_or(Found::Failed, Found::NoData);
    }
    Found::Records(found)
}

fn of_name<'z>(zone: &'z ManagedZone, name: &str) -> impl Iterator<Item = &'z RecordSet> + use<'z> {
    let name = name.to_owned();
    zone.records.values().filter(move |set| set.name == name)
}

/// The name whose records a name has: itself, or the wildcard beside the nearest name above it.
fn owner_of(zone: &ManagedZone, name: &str) -> Option<String> {
    if of_name(zone, name).next().is_some() {
        return Some(name.to_owned());
    }
    let exists = |name: &str| zone.records.values().any(|record| is_within(&record.name, name));
    if exists(name) {
        return None;
    }
    let mut above = name;
    while let Some((_, rest)) = above.split_once('.').filter(|_| above != zone.dns_name) {
        let rest = if rest.is_empty() { "." } else { rest };
        if exists(rest) {
            let wildcard = if rest == "." { "*.".to_owned() } else { format!("*.{rest}") };
            return of_name(zone, &wildcard).next().is_some().then_some(wildcard);
        }
        above = rest;
    }
    None
}

fn records<'r>(name: &'r Name, set: &'r RecordSet) -> impl Iterator<Item = Record> + 'r {
    let data = set.rrdatas.iter().filter_map(|text| rdata::parse(&set.r#type, text).ok());
    data.map(|data| Record::from_rdata(name.clone(), set.ttl, data))
}

/// The zone's SOA, to be kept for as long as it says of names that are not there. Source: RFC 2308, section 5.
fn soa(zone: &ManagedZone) -> Option<Record> {
    let set = zone.records.get(&record_key(&zone.dns_name, "SOA"))?;
    let mut record = records(&Name::from_ascii(&zone.dns_name).ok()?, set).next()?;
    if let RData::SOA(soa) = &record.data {
        record.ttl = record.ttl.min(soa.minimum);
    }
    Some(record)
}
