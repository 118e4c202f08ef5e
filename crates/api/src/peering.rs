//! Peerings: the methods of networks that add, remove and change them.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, ipv6, links, list, network, zone};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use tombolo_model::peering::{imported_ipv6_ranges, imported_ranges, imported_routes};
use tombolo_model::{
    Change, Exchange, NetworkKey, Peering, PeeringSpec, PeeringState, Refusal, StackType, World, range,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.networks.addPeering", add),
    ("compute.networks.listPeeringRoutes", routes),
    ("compute.networks.removePeering", remove),
    ("compute.networks.updatePeering", update),
];

const KIND: &str = "compute#exchangedPeeringRoutesList";

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
    let spec = PeeringSpec {
        network: local.clone(),
        name: name.to_owned(),
        peer,
        exchange: exchange(call, Exchange::default())?,
    };
    Ok(Commit::compute(call, "addPeering", local, vec![Change::PeeringAdd(spec)]))
}

/// Changes what is said of a peering, and leaves the rest.
fn update(call: &Call<'_>) -> Result<Outcome, Failure> {
    let local = network::key(call);
    let found = network::find(call.world(), &local)?;
    let name = call.text("networkPeering.name").ok_or_else(|| Failure::required("networkPeering.name"))?;
    let present = found.peerings.iter().find(|peering| peering.name == name);
    if let (Some(peering), Some(said)) = (present, call.text("networkPeering.network"))
        && links::network(call.project(), said).as_ref() != Some(&peering.peer)
    {
        let expected = format!("The peering '{name}' is with '{}', which cannot be changed.", peering.peer);
        return Err(Refusal::invalid("networkPeering.network", said, expected).into());
    }
    // A name that there is not is refused with the change.
    let exchange = exchange(call, present.map(|peering| peering.exchange).unwrap_or_default())?;
    let change = Change::PeeringUpdate { network: local.clone(), name: name.to_owned(), exchange };
    Ok(Commit::compute(call, "updatePeering", local, vec![change]))
}

/// What a body says of the exchange of routes, over what it is without.
fn exchange(call: &Call<'_>, mut exchange: Exchange) -> Result<Exchange, Failure> {
    let said = |name: &str| call.field(&format!("networkPeering.{name}"));
    for (name, only) in [("exchangeSubnetRoutes", true), ("autoCreateRoutes", true)] {
        if said(name).and_then(Value::as_bool).is_some_and(|said| said != only) {
            let expected = "Subnet routes of a peering are always exchanged: must be true.";
            return Err(Refusal::invalid("networkPeering.exchangeSubnetRoutes", "false", expected).into());
        }
    }
    let usual = Exchange::default();
    match said("stackType") {
        Some(stack) => exchange.stack_type = ipv6::stack(stack)?,
        None if call.clears("networkPeering.stackType") => exchange.stack_type = usual.stack_type,
        None => {}
    }
    if let Some(strategy) =
        said("updateStrategy").and_then(Value::as_str).filter(|said| *said != "INDEPENDENT")
    {
        return Err(Failure::unsupported(format_args!("peerings whose updateStrategy is '{strategy}'")));
    }
    for (name, flag, default) in [
        ("exportCustomRoutes", &mut exchange.export_custom_routes, usual.export_custom_routes),
        ("importCustomRoutes", &mut exchange.import_custom_routes, usual.import_custom_routes),
        (
            "exportSubnetRoutesWithPublicIp",
            &mut exchange.export_subnet_routes_with_public_ip,
            usual.export_subnet_routes_with_public_ip,
        ),
        (
            "importSubnetRoutesWithPublicIp",
            &mut exchange.import_subnet_routes_with_public_ip,
            usual.import_subnet_routes_with_public_ip,
        ),
    ] {
        match said(name).and_then(Value::as_bool) {
            Some(said) => *flag = said,
            None if call.clears(&format!("networkPeering.{name}")) => *flag = default,
            None => {}
        }
    }
    Ok(exchange)
}

fn remove(call: &Call<'_>) -> Result<Outcome, Failure> {
    let network = network::key(call);
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?.to_owned();
    let change = Change::PeeringRemove { network: network.clone(), name };
    Ok(Commit::compute(call, "removePeering", network, vec![change]))
}

/// The routes that one side of a peering gives, and whether the other takes them, in one direction.
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
    call.query("region").map(zone::known_region).transpose()?;
    let world = call.world();
    let (importer, exporter) = if incoming { (&key, &peering.peer) } else { (&peering.peer, &key) };
    let takes =
        |range: &Ipv4Net| imported_ranges(world, importer, exporter).any(|(_, taken)| taken == *range);
    // What the exporter gives; whether it is taken is the other side's to say.
    let path = format!("{key}/listPeeringRoutes");
    let active = world.peering_state(&key, &peering.peer) == PeeringState::Active;
    let gives = world
        .networks
        .get(exporter)
        .and_then(|network| network.peerings.iter().find(|peering| peering.peer == *importer))
        .filter(|_| active)
        .map(|peering| peering.exchange);
    let Some(gives) = gives else { return list::compute(call, KIND, &path, Vec::new()) };
    let given =
        |range: &Ipv4Net| range::is_private(range.network()) || gives.export_subnet_routes_with_public_ip;
    let subnets = world.subnetworks.iter().filter(|(_, s)| s.network == *exporter);
    let ranges = subnets.flat_map(|(key, s)| s.ranges().map(move |range| (key, range)));
    // Each with its rank: Google gives these no names.
    let mut items: Vec<(String, Value)> = ranges
        .filter(|(_, range)| given(range))
        .map(|(key, range)| {
            let wire = json!({
                "destRange": range.to_string(),
                "type": "SUBNET_PEERING_ROUTE",
                "nextHopRegion": key.region,
                "priority": 0,
                "imported": takes(&range),
            });
            (format!("0 {key} {range}"), wire)
        })
        .collect();
    let ipv6 = world
        .subnetworks
        .iter()
        .filter(|(_, s)| s.network == *exporter && gives.stack_type == StackType::Ipv4Ipv6);
    let taken: Vec<_> = imported_ipv6_ranges(world, importer, exporter).map(|(_, range)| range).collect();
    items.extend(ipv6.filter_map(|(key, s)| {
        let range = s.ipv6?;
        let wire = json!({
            "destRange": ipv6::range(range),
            "type": "SUBNET_PEERING_ROUTE",
            "nextHopRegion": key.region,
            "priority": 0,
            "imported": taken.contains(&range),
        });
        Some((format!("1 {key}"), wire))
    }));
    let statics = world.routes.iter().filter(|(_, route)| {
        gives.export_custom_routes && route.network == *exporter && route.crosses_peerings()
    });
    items.extend(statics.map(|(key, route)| {
        let wire = json!({
            "destRange": route.dest_range.to_string(),
            "type": "STATIC_PEERING_ROUTE",
            "priority": route.priority,
            "imported": imported_routes(world, importer, exporter).any(|(taken, _)| taken == key),
        });
        (format!("2 {key}"), wire)
    }));
    list::compute(call, KIND, &path, list::ranked(items.into_iter()))
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
        "exportCustomRoutes": peering.exchange.export_custom_routes,
        "importCustomRoutes": peering.exchange.import_custom_routes,
        "exportSubnetRoutesWithPublicIp": peering.exchange.export_subnet_routes_with_public_ip,
        "importSubnetRoutesWithPublicIp": peering.exchange.import_subnet_routes_with_public_ip,
        "stackType": peering.exchange.stack_type.as_str(),
        "updateStrategy": "INDEPENDENT",
    })
}
