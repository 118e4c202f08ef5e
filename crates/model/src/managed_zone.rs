//! Private zones of Cloud DNS: the names that networks see beside their internal ones; and peering zones, which look a
//! name up as another network would.
//!
//! Source: Google's documentation of Cloud DNS ("DNS zones overview", "Peering zones", "DNS records overview").

use crate::{NetworkKey, Refusal, Timestamp, World, key, network, project};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use crate::key::ManagedZoneKey;

/// The types that a record set can have.
pub const TYPES: [&str; 9] = ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];
/// The latest changes that a zone remembers.
const REMEMBERED: usize = 100;

/// A private zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedZone {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub creation_timestamp: Timestamp,
    /// The name that all of its names end in, with a dot at the end, in small letters.
    pub dns_name: String,
    /// The networks that see it.
    pub networks: BTreeSet<NetworkKey>,
    /// The network that names are looked up in, for a peering zone: it has no records.
    pub peering: Option<NetworkKey>,
    /// Its records, by [`RecordSet::key`].
    pub records: BTreeMap<String, RecordSet>,
    /// The latest changes of its records, the oldest first.
    pub changes: Vec<RecordChange>,
    /// When it was itself changed: the latest times, with their numbers.
    pub updates: Vec<(u64, Timestamp)>,
}

/// What a user says of a new zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedZoneSpec {
    /// Which zone.
    pub key: ManagedZoneKey,
    /// See [`ManagedZone::dns_name`].
    pub dns_name: String,
    /// See [`ManagedZone::networks`].
    pub networks: BTreeSet<NetworkKey>,
    /// See [`ManagedZone::peering`].
    pub peering: Option<NetworkKey>,
}

/// The records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSet {
    /// The whole name, with a dot at the end, in small letters.
    pub name: String,
    /// The type, such as `A`.
    pub r#type: String,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// The values, as in zone files.
    pub rrdatas: Vec<String>,
}

impl RecordSet {
    /// What there is one of in a zone.
    pub fn key(&self) -> String {
        record_key(&self.name, &self.r#type)
    }
}

/// How [`ManagedZone::records`] has a name and a type.
pub fn record_key(name: &str, r#type: &str) -> String {
    format!("{name} {}", r#type)
}

/// A change of records, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordChange {
    /// Its number in the zone, from 0 on.
    pub id: u64,
    /// When it was made.
    pub time: Timestamp,
    /// What came.
    pub additions: Vec<RecordSet>,
    /// What went.
    pub deletions: Vec<RecordSet>,
}

impl ManagedZone {
    /// The number that the next change of its records gets.
    pub fn next_change(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.id + 1)
    }

    /// The number that the next change of itself gets.
    pub fn next_update(&self) -> u64 {
        self.updates.last().map_or(0, |(number, _)| number + 1)
    }

    /// Whether a name is in it.
    pub fn has_name(&self, name: &str) -> bool {
        is_within(name, &self.dns_name)
    }
}

/// Whether a name is this one or below it.
pub fn is_within(name: &str, above: &str) -> bool {
    above == "." || name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Creates a zone, with the records that every zone has.
pub(crate) fn insert(world: &mut World, spec: &ManagedZoneSpec, now: Timestamp) -> Result<(), Refusal> {
    let ManagedZoneSpec { key, dns_name, networks, peering } = spec;
    project::require(world, &key.project, project::DNS)?;
    key::check_name("name", &key.name)?;
    check_dns_name("dnsName", dns_name)?;
    if world.managed_zones.contains_key(key) {
        return Err(Refusal::already_exists(key));
    }
    check_networks(world, key, dns_name, networks)?;
    check_target(world, peering.as_ref())?;
    let mut zone = ManagedZone {
        id: world.fresh_id(),
        creation_timestamp: now,
        dns_name: dns_name.clone(),
        networks: networks.clone(),
        peering: peering.clone(),
        records: BTreeMap::new(),
        changes: Vec::new(),
        updates: Vec::new(),
    };
    if peering.is_none() {
        change_records(&mut zone, &[], &own_records(dns_name), now)?;
    }
    world.managed_zones.insert(key.clone(), Arc::new(zone));
    Ok(())
}

/// The records at the top of a new private zone, as Google's are.
fn own_records(dns_name: &str) -> [RecordSet; 2] {
    let server = "ns-gcp-private.googledomains.com.";
    let record = |r#type: &str, data: String| RecordSet {
        name: dns_name.to_owned(),
        r#type: r#type.to_owned(),
        ttl: 21600,
        rrdatas: vec![data],
    };
    let soa = format!("{server} cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300");
    [record("NS", server.to_owned()), record("SOA", soa)]
}

/// Changes which networks see a zone, and what it is a peer of.
pub(crate) fn update(
    world: &mut World,
    key: &ManagedZoneKey,
    networks: &BTreeSet<NetworkKey>,
    peering: Option<&NetworkKey>,
    now: Timestamp,
) -> Result<(), Refusal> {
    project::require(world, &key.project, project::DNS)?;
    let zone = world.managed_zones.get(key).ok_or_else(|| Refusal::not_found(key))?;
    if zone.peering.is_some() != peering.is_some() {
        let expected = "A zone cannot become a peering zone, nor a peering zone another one.";
        return Err(Refusal::invalid("peeringConfig", key, expected));
    }
    check_networks(world, key, &zone.dns_name, networks)?;
    check_target(world, peering)?;
    let mut zone = (**zone).clone();
    zone.networks = networks.clone();
    zone.peering = peering.cloned();
    zone.updates.push((zone.next_update(), now));
    keep_latest(&mut zone.updates);
    world.managed_zones.insert(key.clone(), Arc::new(zone));
    Ok(())
}

/// Deletes a zone that has no records of its user's.
pub(crate) fn delete(world: &mut World, key: &ManagedZoneKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::DNS)?;
    let zone = world.managed_zones.get(key).ok_or_else(|| Refusal::not_found(key))?;
    let own = |record: &RecordSet| record.name == zone.dns_name && ["NS", "SOA"].contains(&&*record.r#type);
    if !zone.records.values().all(own) {
        return Err(Refusal::NotEmpty { resource: key.name.clone(), what: "resource records" });
    }
    world.managed_zones.remove(key);
    Ok(())
}

/// Takes records away and adds others, all or none.
pub(crate) fn change(
    world: &mut World,
    key: &ManagedZoneKey,
    deletions: &[RecordSet],
    additions: &[RecordSet],
    now: Timestamp,
) -> Result<(), Refusal> {
    project::require(world, &key.project, project::DNS)?;
    let zone = world.managed_zones.get_mut(key).map(Arc::make_mut).ok_or_else(|| Refusal::not_found(key))?;
    if zone.peering.is_some() {
        return Err(Refusal::invalid(
            "managedZone",
            &key.name,
            "A peering zone has no resource record sets.",
        ));
    }
    change_records(zone, deletions, additions, now)
}

fn change_records(
    zone: &mut ManagedZone,
    deletions: &[RecordSet],
    additions: &[RecordSet],
    now: Timestamp,
) -> Result<(), Refusal> {
    for (index, record) in deletions.iter().enumerate() {
        let key = record.key();
        match zone.records.get(&key) {
            None => return Err(Refusal::not_found(format!("entity.change.deletions[{index}] {key}"))),
            Some(present) if present != record => {
                return Err(Refusal::PreconditionNotMet {
                    field: format!("entity.change.deletions[{index}]"),
                });
            }
            Some(_) => drop(zone.records.remove(&key)),
        }
    }
    for (index, record) in additions.iter().enumerate() {
        let field = format!("change.additions[{index}]");
        check_record(zone, &field, record)?;
        if zone.records.contains_key(&record.key()) {
            return Err(Refusal::already_exists(format!("entity.{field} {}", record.key())));
        }
        zone.records.insert(record.key(), record.clone());
    }
    for record in additions {
        let same = zone.records.values().filter(|other| other.name == record.name);
        let types: BTreeSet<_> = same.map(|other| other.r#type.as_str()).collect();
        if types.contains("CNAME") && types.len() > 1 {
            let expected = "A name may have either one CNAME resource record set or resource record sets of \
                            other types, but not both.";
            return Err(Refusal::invalid("change.additions", &record.name, expected));
        }
    }
    for r#type in ["NS", "SOA"] {
        if !zone.records.contains_key(&record_key(&zone.dns_name, r#type)) {
            let expected =
                format!("A zone must have exactly one resource record set of type {} at its apex.", r#type);
            return Err(Refusal::invalid("change.deletions", &zone.dns_name, expected));
        }
    }
    let id = zone.next_change();
    let (additions, deletions) = (additions.to_vec(), deletions.to_vec());
    zone.changes.push(RecordChange { id, time: now, additions, deletions });
    keep_latest(&mut zone.changes);
    Ok(())
}

fn keep_latest<T>(of: &mut Vec<T>) {
    of.drain(..of.len().saturating_sub(REMEMBERED));
}

fn check_record(zone: &ManagedZone, field: &str, record: &RecordSet) -> Result<(), Refusal> {
    let RecordSet { name, r#type, rrdatas, .. } = record;
    check_dns_name(&format!("{field}.name"), name.strip_prefix("*.").unwrap_or(name))?;
    if !zone.has_name(name) {
        let expected = format!("The name must be in the zone's '{}'.", zone.dns_name);
        return Err(Refusal::invalid(&format!("{field}.name"), name, expected));
    }
    if !TYPES.contains(&&**r#type) {
        let expected = format!("Must be one of {}.", TYPES.join(", "));
        return Err(Refusal::invalid(&format!("{field}.type"), r#type, expected));
    }
    let top = *name == zone.dns_name;
    // What is delegated would have to be asked of somebody else, and nobody is there.
    if ["NS", "SOA"].contains(&&**r#type) != top && (!top || r#type == "CNAME") {
        let expected = "NS and SOA records are at the zone's apex, and CNAME records are not.";
        return Err(Refusal::invalid(&format!("{field}.type"), r#type, expected));
    }
    let one = ["CNAME", "SOA"].contains(&&**r#type);
    if rrdatas.is_empty() || (one && rrdatas.len() > 1) || rrdatas.len() > 100 {
        let expected = "One value is expected for CNAME and SOA, and 1 to 100 for other types.";
        return Err(Refusal::invalid(&format!("{field}.rrdatas"), rrdatas.len(), expected));
    }
    Ok(())
}

/// A name of letters, digits, hyphens and underscores, with a dot at the end.
fn check_dns_name(field: &str, name: &str) -> Result<(), Refusal> {
    let good_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let good_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(good_byte);
    let good = name == "." || name.strip_suffix('.').is_some_and(|name| name.split('.').all(good_label));
    if good && name.len() <= 254 {
        return Ok(());
    }
    Err(Refusal::invalid(field, name, "Must be a DNS name in small letters that ends with a dot."))
}

/// The networks must be there, and may not see two zones of the same name.
fn check_networks(
    world: &World,
    key: &ManagedZoneKey,
    dns_name: &str,
    networks: &BTreeSet<NetworkKey>,
) -> Result<(), Refusal> {
    const FIELD: &str = "privateVisibilityConfig.networks";
    for wanted in networks {
        network::get_user(world, wanted)?;
        let mut others = world.managed_zones.iter().filter(|(other, _)| *other != key);
        let clash = others.find(|(_, other)| other.dns_name == dns_name && other.networks.contains(wanted));
        if let Some((other, _)) = clash {
            let expected = format!("The network sees the zone '{other}' with the same dnsName.");
            return Err(Refusal::invalid(FIELD, wanted, expected));
        }
    }
    Ok(())
}

fn check_target(world: &World, target: Option<&NetworkKey>) -> Result<(), Refusal> {
    target.map_or(Ok(()), |target| network::get_user(world, target).map(drop))
}

/// A zone that a network is bound to or asked through, which keeps it from being deleted.
pub(crate) fn user_of<'w>(world: &'w World, network: &NetworkKey) -> Option<&'w ManagedZoneKey> {
    let uses = |zone: &ManagedZone| zone.networks.contains(network) || zone.peering.as_ref() == Some(network);
    world.managed_zones.iter().find(|(_, zone)| uses(zone)).map(|(key, _)| key)
}
