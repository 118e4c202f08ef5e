//! Private zones of Cloud DNS of a file: to changes, and back.

use crate::file;
use crate::lower::Lower;
use crate::names::network_name;
use crate::owners::Owners;
use crate::value::{Visibility, Word};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tombolo_model::{
    Change, ManagedZone, ManagedZoneKey, ManagedZoneSpec, NetworkKey, RecordSet, World, rdata,
};

/// Seconds, for records that say none: those of the API.
const TTL: u32 = 300;

impl Lower<'_> {
    /// Zones, each with its records.
    pub(crate) fn managed_zones(&mut self, owners: &Owners) {
        for (i, (said, owner)) in self.file.managed_zones.iter().zip(&owners.managed_zones).enumerate() {
            let path = format!("managedZones[{i}]");
            if self.full() {
                return;
            }
            let mut networks = BTreeSet::new();
            let bound = said.private_visibility_config.iter().flat_map(|config| &config.networks);
            for (at, network) in bound.enumerate() {
                let place = format!("{path}.privateVisibilityConfig.networks[{at}]");
                networks.extend(self.zone_network(network, owner, &place));
            }
            let target = said.peering_config.as_ref().map(|config| &config.target_network);
            let place = format!("{path}.peeringConfig.targetNetwork");
            let peering = target.and_then(|target| self.zone_network(target, owner, &place));
            let zone = ManagedZoneKey::new(owner, &said.name.0);
            let (None | Some(Word(Visibility::Private))) = said.visibility; // there is no other
            let dns_name = said.dns_name.0.to_ascii_lowercase();
            let spec = ManagedZoneSpec { key: zone.clone(), dns_name, networks, peering };
            self.change(&path, Change::ManagedZoneInsert(spec));
            let place = |at: usize| format!("{path}.rrsets[{at}]");
            let additions: Vec<_> =
                said.rrsets.iter().enumerate().map(|(at, set)| self.record_set(set, &place(at))).collect();
            if !additions.is_empty() {
                let deletions = Vec::new();
                self.change(&path, Change::RecordSetsChange { zone, deletions, additions });
            }
        }
    }

    fn zone_network(&mut self, said: &file::ZoneNetwork, owner: &str, path: &str) -> Option<NetworkKey> {
        let found = self.names.network(&said.network_url.0, Some(owner));
        self.noted(found, &format!("{path}.networkUrl"))
    }

    fn record_set(&mut self, said: &file::RecordSet, path: &str) -> RecordSet {
        for (i, value) in said.rrdatas.0.iter().enumerate() {
            if let Err(why) = rdata::parse(&said.kind.0, &value.0) {
                self.error(&format!("{path}.rrdatas[{i}]"), format!("'{}' is not accepted. {why}", value.0));
            }
        }
        RecordSet {
            name: said.name.0.to_ascii_lowercase(),
            r#type: said.kind.0.clone(),
            ttl: said.ttl.map_or(TTL, |ttl| ttl.0),
            rrdatas: said.rrdatas.0.iter().map(|value| value.0.clone()).collect(),
        }
    }
}

/// The zones of a World, as the file has them.
pub(crate) fn export(world: &World) -> Value {
    world.managed_zones.iter().map(|(key, found)| zone(key, found)).collect()
}

fn zone(key: &ManagedZoneKey, found: &ManagedZone) -> Value {
    let network = |key: &NetworkKey| json!({ "networkUrl": network_name(key) });
    let mut map = json!({ "name": key.name, "project": key.project, "dnsName": found.dns_name });
    if !found.networks.is_empty() {
        map["privateVisibilityConfig"] =
            json!({ "networks": found.networks.iter().map(network).collect::<Value>() });
    }
    if let Some(target) = &found.peering {
        map["peeringConfig"] = json!({ "targetNetwork": network(target) });
    }
    // Those at the top every zone has anyway.
    let own = |record: &&RecordSet| !["NS", "SOA"].contains(&&*record.r#type);
    let records: Vec<&RecordSet> = found.records.values().filter(own).collect();
    if !records.is_empty() {
        map["rrsets"] = json!(records);
    }
    map
}
