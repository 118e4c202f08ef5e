//! What Google warns of in a static route: a next hop that takes no packets, or not yet. The route is there all the same.

use crate::links;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tombolo_model::{Instance, InstanceKey, NetworkKey, NextHop, Route, World};

/// The warnings of a route, as they are shown.
pub(crate) fn warnings(world: &World, route: &Route) -> Vec<Value> {
    let network = &route.network;
    match &route.next_hop {
        NextHop::InternetGateway => Vec::new(),
        NextHop::Instance(key) => match world.instances.get(key) {
            None => vec![of_instance("NEXT_HOP_INSTANCE_NOT_FOUND", key, network, "does not exist")],
            Some(found) => of_found(key, found, network),
        },
        NextHop::Address(address) => match holder(world, network, *address) {
            None => vec![not_assigned(*address, network)],
            Some((key, found)) => of_found(key, found, network),
        },
    }
}

/// The instance whose interface in the network has the address as its own; alias ranges do not count.
fn holder<'w>(
    world: &'w World,
    network: &NetworkKey,
    address: Ipv4Addr,
) -> Option<(&'w InstanceKey, &'w Instance)> {
    let subnetworks = world.subnetworks.iter().filter(|(_, subnetwork)| subnetwork.network == *network);
    let mut holders = subnetworks.filter_map(|(key, _)| world.instances.holder(key, address.into()));
    let key = holders.next()?;
    let found = world.instances.get(key)?;
    let has = found.nics.iter().any(|nic| nic.network == *network && nic.address == address);
    has.then_some((key, found))
}

fn of_found(key: &InstanceKey, found: &Instance, network: &NetworkKey) -> Vec<Value> {
    let on_network = found.nics.iter().any(|nic| nic.network == *network);
    let all = [
        (on_network, "NEXT_HOP_INSTANCE_NOT_ON_NETWORK", "is not on the same network as the route"),
        (found.can_ip_forward, "NEXT_HOP_CANNOT_IP_FORWARD", "cannot ip forward"),
        (found.running, "NEXT_HOP_NOT_RUNNING", "does not have a status of RUNNING"),
    ];
    let bad = all.into_iter().filter(|(good, ..)| !good);
    bad.map(|(_, code, why)| of_instance(code, key, network, why)).collect()
}

/// A warning about an instance, in the words that Google's discovery document has for the code.
fn of_instance(code: &str, key: &InstanceKey, network: &NetworkKey, why: &str) -> Value {
    let instance = links::link(key);
    let message = format!("Next hop instance '{instance}' {why}.");
    warning(code, message, [("instance", instance), ("route_network", links::link(network))])
}

/// As the service itself says it.
fn not_assigned(address: Ipv4Addr, network: &NetworkKey) -> Value {
    let network = links::link(network);
    let message = format!(
        "Next hop ip address '{address}' is not assigned to the primary IP address of any instance on '{network}'.  \
         Please ensure that the address is assigned to the primary IP address of an instance on the route's network."
    );
    let data = [("ip_address", address.to_string()), ("route_network", network)];
    warning("NEXT_HOP_ADDRESS_NOT_ASSIGNED", message, data)
}

fn warning(code: &str, message: String, data: [(&str, String); 2]) -> Value {
    let data = data.map(|(key, value)| json!({ "key": key, "value": value }));
    json!({ "code": code, "message": message, "data": data })
}
