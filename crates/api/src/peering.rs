//! Peerings: the methods of networks that add, remove and change them.

use crate::failure::Failure;
use crate::operation::Scope;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, links, network};
use serde_json::{Value, json};
use tombolo_model::{Change, NetworkKey, Peering, PeeringSpec, Refusal, World};

pub(crate) const HANDLERS: Handlers =
    &[("compute.networks.addPeering", add), ("compute.networks.removePeering", remove)];

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
