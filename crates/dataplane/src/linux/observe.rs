//! What the kernel has: the same data that a plan is made of.

use super::{Held, Kernel, RT_TABLE_LOCAL, netlink, netns, nft};
use crate::state::{Link, Namespace, Neighbour, Route, RouteVia, State};
use ipnet::Ipv4Net;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr};

impl Kernel {
    /// Reads the state of every namespace of the lab.
    pub fn observe(&self) -> Result<State> {
        let mut state = State::default();
        for (name, held) in &self.namespaces {
            let seen = netns::with(&*held.fd, || observe_here(held))?;
            state
                .namespaces
                .insert(name.clone(), seen.map_err(|e| Error::new(e.kind(), format!("{name}: {e}")))?);
        }
        Ok(state)
    }
}

/// The state of the calling thread's namespace.
fn observe_here(held: &Held) -> Result<Namespace> {
    let mut route = netlink::Route::open()?;
    let mut seen = Namespace { router: held.router, rules: known_rules(held)?, ..Namespace::default() };
    let mut names = BTreeMap::new();
    for message in route.dump(Message::GetLink(LinkMessage::default()))? {
        if let Message::NewLink(link) = message {
            let (name, seen_link) = read_link(&link);
            names.insert(link.header.index, name.clone());
            if name != "lo" {
                seen.links.insert(name.clone(), Link { strict_source: strict_source(&name), ..seen_link });
            }
        }
    }
    let name = |index: u32| names.get(&index).cloned().unwrap_or_default();
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    for message in route.dump(Message::GetAddress(request))? {
        if let Message::NewAddress(address) = message {
            seen.addresses.extend(read_address(&address).map(|a| (name(address.header.index), a)));
        }
    }
    let mut request = NeighbourMessage::default();
    request.header.family = AddressFamily::Inet;
    for message in route.dump(Message::GetNeighbour(request))? {
        if let Message::NewNeighbour(neighbour) = message {
            seen.neighbours.extend(read_neighbour(&neighbour, name(neighbour.header.ifindex)));
        }
    }
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    for message in route.dump(Message::GetRoute(request))? {
        if let Message::NewRoute(route) = message {
            seen.routes.extend(read_route(&route, &name));
        }
    }
    Ok(seen)
}

/// The fingerprint of the rules, if nobody has changed them since they were loaded.
fn known_rules(held: &Held) -> Result<Option<String>> {
    match &held.rules {
        Some((fingerprint, generation)) if nft::generation()? == *generation => Ok(Some(fingerprint.clone())),
        _ => Ok(None),
    }
}

/// Whether a link filters by reverse path. A link that goes away meanwhile counts as not filtering.
fn strict_source(link: &str) -> bool {
    let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/rp_filter"));
    value.is_ok_and(|v| v.trim() == "1")
}

/// A link's name, and what of it is seen.
fn read_link(message: &LinkMessage) -> (String, Link) {
    let mut link = Link { mac: [0; 6], mtu: 0, strict_source: false, peer: None };
    let mut name = String::new();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name.clone_from(value),
            LinkAttribute::Mtu(value) => link.mtu = *value,
            LinkAttribute::IfAlias(value) => {
                link.peer = value.rsplit_once(' ').map(|(namespace, link)| (namespace.into(), link.into()));
            }
            LinkAttribute::Address(value) => link.mac = value.as_slice().try_into().unwrap_or_default(),
            _ => {}
        }
    }
    (name, link)
}

/// An interface's address; loopback's own does not count.
fn read_address(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) if !address.is_loopback() => Some(*address),
        _ => None,
    })
}

/// A permanent neighbour.
fn read_neighbour(message: &NeighbourMessage, link: String) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => address = Some(*value),
            NeighbourAttribute::LinkLayerAddress(value) => mac = value.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour { link, address: address?, mac: mac? })
}

/// A route of the main table, or one of the local table that the kernel did not make by itself.
fn read_route(message: &RouteMessage, name: &impl Fn(u32) -> String) -> Option<Route> {
    let header = &message.header;
    let added = header.table == RT_TABLE_LOCAL && header.protocol == RouteProtocol::Static;
    if header.table != RouteHeader::RT_TABLE_MAIN && !added {
        return None;
    }
    let (mut destination, mut gateway, mut link) = (Ipv4Addr::UNSPECIFIED, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(value)) => destination = *value,
            RouteAttribute::Gateway(RouteAddress::Inet(value)) => gateway = Some(*value),
            RouteAttribute::Oif(index) => link = Some(name(*index)),
            _ => {}
        }
    }
    let via = match (message.header.kind, link, gateway) {
        (RouteType::BlackHole, ..) => RouteVia::Blackhole,
        (RouteType::Local, Some(link), _) => RouteVia::Local(link),
        (_, Some(link), Some(gateway)) => RouteVia::Gateway(link, gateway),
        (_, Some(link), None) => RouteVia::Link(link),
        (_, None, _) => return None,
    };
    let destination = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, via })
}
