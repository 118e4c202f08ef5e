//! Peerings: the methods of networks that add, remove and change them.

use crate::failure::Failure;
use crate::operation::Scope;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, links, list, network};
use serde_json::{Value, json};
use tombolo_model::{Change, NetworkKey, Peering, PeeringSpec, PeeringState, Refusal, World, range};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.networks.addPeering", add),
    ("compute.networks.listPeeringRoutes", routes),
    ("compute.networks.removePeering", remove),
];

fn add(call: &Call<'_>) -> Result<Outcome, Failure> {
    let local = network::key(call);
    // Since 2019 everything is in `networkPeering`; before, it was beside it.
    let text = |new: &str, old: &str| call.text(&format!("networkPeering.{new}")).or_else(|| call.text(old));
    let name = text("name", "name").ok_or_else(|| Failure::required("networkPeering.name"))?;
    let peer = text("network", "peerNetwork").ok_or_else(|| Failure::required("networkPeering.network"))?;
    let malformed =
        || Refusal::invalid("networkPeering.network", peer, "The URL is malformed. Must be a full URL.");
    // A name alone does not say in which project.
    let peer: NetworkKey = links::path_of(peer).parse().map_err(|_| malformed())?;
    for (flag, supported) in [
        ("exchangeSubnetRoutes", true),
        ("importCustomRoutes", false),
        ("exportCustomRoutes", false),
        ("importSubnetRoutesWithPublicIp", false),
        ("exportSubnetRoutesWithPublicIp", true),
    ] {
        let said = call.field(&format!("networkPeering.{flag}")).and_then(Value::as_bool);
        if said.is_some_and(|said| said != supported) {
            return Err(Failure::unsupported(format_args!("peerings with {flag}={}", !supported)));
        }
    }
    let spec = PeeringSpec { network: local.clone(), name: name.to_owned(), peer };
    Ok(Commit::compute(call, Scope::Global, "addPeering", local, vec![Change::PeeringAdd(spec)]))
}

fn remove(call: &Call<'_>) -> Result<Outcome, Failure> {
    let network = network::key(call);
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?.to_owned();
    let change = Change::PeeringRemove { network: network.clone(), name };
    Ok(Commit::compute(call, Scope::Global, "removePeering", network, vec![change]))
}

/// The subnet routes that cross a peering, in one direction.
fn routes(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = network::key(call);
    let found = network::find(call.world(), &key)?;
    let name = call.query("peeringName").ok_or_else(|| Failure::required("peeringName"))?;
    let peering = found.peerings.iter().find(|peering| peering.name == name).ok_or_else(|| {
        Failure::invalid(format!(
            "Invalid value for field 'peeringName': '{name}'. There is no such peering."
        ))
    })?;
    let incoming = match call.query("direction") {
        Some("INCOMING") => true,
        Some("OUTGOING") => false,
        said => {
            let said = said.unwrap_or_default();
            let expected = "Must be INCOMING or OUTGOING.";
            return Err(Failure::invalid(format!(
                "Invalid value for field 'direction': '{said}'. {expected}"
            )));
        }
    };
    let active = call.world().peering_state(&key, &peering.peer) == PeeringState::Active;
    let from = if incoming { &peering.peer } else { &key };
    let exported =
        call.world().subnetworks.iter().filter(|(_, subnetwork)| active && subnetwork.network == *from);
    // Ranges of public addresses are exported, and by default not imported.
    let imported = |range: &ipnet::Ipv4Net| range::is_private(range.network());
    let items = exported.map(|(key, subnetwork)| {
        json!({
            "destRange": subnetwork.range.to_string(),
            "type": "SUBNET_PEERING_ROUTE",
            "nextHopRegion": key.region,
            "priority": 0,
            "imported": imported(&subnetwork.range),
        })
    });
    let path = format!("{key}/listPeeringRoutes");
    list::compute(call, "compute#exchangedPeeringRoutesList", &path, items.collect())
}

/// A network's side of a peering on the wire.
pub(crate) fn wire(world: &World, local: &NetworkKey, peering: &Peering) -> Value {
    let state = world.peering_state(local, &peering.peer);
    json!({
        "name": peering.name,
        "network": links::link(&peering.peer),
        "state": state.as_str(),
        "stateDetails": state.details(peering.state_since),
        "autoCreateRoutes": true,
        "exchangeSubnetRoutes": true,
        "exportCustomRoutes": false,
        "importCustomRoutes": false,
        "exportSubnetRoutesWithPublicIp": true,
        "importSubnetRoutesWithPublicIp": false,
        "stackType": "IPV4_ONLY",
    })
}
