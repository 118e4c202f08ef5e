//! Cloud Routers and their Cloud NAT gateways of a file: to changes, and back.

use crate::file;
use crate::lower::Lower;
use crate::names::network_name;
use crate::owners::Owners;
use crate::value::{Allocation, Sources, Word};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tombolo_model::{
    Change, Nat, NatRanges, NatSources, NatSpec, Router, RouterKey, RouterSpec, SubnetworkKey, World,
};

impl Lower<'_> {
    /// Routers, each with its gateways.
    pub(crate) fn routers(&mut self, owners: &Owners) {
        for (i, (said, owner)) in self.file.routers.iter().zip(&owners.routers).enumerate() {
            let path = format!("routers[{i}]");
            if self.full() {
                return;
            }
            let found = self.names.network(&said.network.0, Some(owner));
            let network = self.noted(found, &format!("{path}.network"));
            let nats = said.nats.iter().enumerate();
            let nats: Vec<_> = nats
                .map(|(at, nat)| self.nat(nat, (owner, &said.region.0), &format!("{path}.nats[{at}]")))
                .collect();
            let (Some(network), Some(nats)) = (network, nats.into_iter().collect()) else { continue };
            let key = RouterKey::new(owner, &said.region.0, &said.name.0);
            self.change(&path, Change::RouterInsert(RouterSpec { key, network, nats }));
        }
    }

    fn nat(&mut self, said: &file::Nat, (owner, region): (&str, &str), path: &str) -> Option<NatSpec> {
        let sources = match said.sources.map(|sources| sources.0) {
            Some(Sources::All(_)) if !said.subnetworks.is_empty() => {
                let message = "It can only be given together with LIST_OF_SUBNETWORKS";
                self.error(&format!("{path}.subnetworks"), message.into());
                return None;
            }
            Some(Sources::All(ranges)) => NatSources::AllSubnetworks(ranges),
            None if said.subnetworks.is_empty() => NatSources::AllSubnetworks(NatRanges::All),
            Some(Sources::Listed) | None => {
                NatSources::Subnetworks(self.nat_subnetworks(said, (owner, region), path)?)
            }
        };
        let (None | Some(Word(Allocation::Auto))) = said.nat_ip_allocate_option; // there is no other
        let min_ports_per_vm = said.min_ports_per_vm.map(|ports| ports.0);
        Some(NatSpec { name: said.name.0.clone(), addresses: None, sources, min_ports_per_vm })
    }

    fn nat_subnetworks(
        &mut self,
        said: &file::Nat,
        (owner, region): (&str, &str),
        path: &str,
    ) -> Option<BTreeMap<SubnetworkKey, NatRanges>> {
        let mut all = BTreeMap::new();
        for (i, one) in said.subnetworks.iter().enumerate() {
            let path = format!("{path}.subnetworks[{i}]");
            let found = self.names.subnetwork(&one.name.0, owner, region);
            let key = self.noted(found, &format!("{path}.name"))?;
            let ranges = match one.ranges.as_slice() {
                [] => NatRanges::All,
                [ranges] => ranges.0,
                _ => {
                    let message = "give either ALL_IP_RANGES or PRIMARY_IP_RANGE";
                    self.error(&format!("{path}.sourceIpRangesToNat"), message.into());
                    return None;
                }
            };
            if all.insert(key, ranges).is_some() {
                self.error(&format!("{path}.name"), "the subnetwork is given twice".into());
                return None;
            }
        }
        Some(all)
    }
}

/// The routers of a World, as the file has them.
pub(crate) fn export(world: &World) -> Value {
    world.routers.iter().map(|(key, found)| router(key, found)).collect()
}

fn router(key: &RouterKey, found: &Router) -> Value {
    let mut map = json!({
        "name": key.name,
        "project": key.project,
        "region": key.region,
        "network": network_name(&found.network),
    });
    if !found.nats.is_empty() {
        map["nats"] = found.nats.iter().map(nat).collect();
    }
    map
}

/// A gateway, but for the reserved addresses that it has: files have no words for these.
fn nat(Nat { spec, .. }: &Nat) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), json!(spec.name));
    map.insert("natIpAllocateOption".into(), json!("AUTO_ONLY"));
    map.insert("sourceSubnetworkIpRangesToNat".into(), json!(spec.sources.option()));
    if let NatSources::Subnetworks(listed) = &spec.sources {
        let one = |(subnetwork, ranges): (&SubnetworkKey, &NatRanges)| json!({ "name": subnetwork.to_string(), "sourceIpRangesToNat": [ranges.option()] });
        map.insert("subnetworks".into(), listed.iter().map(one).collect());
    }
    if let Some(ports) = spec.min_ports_per_vm {
        map.insert("minPortsPerVm".into(), json!(ports));
    }
    Value::Object(map)
}
