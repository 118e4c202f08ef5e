//! What the kernel has: the same data that a plan is made of.

use super::{Held, Kernel, LOOKUP_PRIORITY, RT_TABLE_LOCAL, Watches, netlink, netns};
use crate::rules::Ruleset;
use crate::state::{Desired, Link, Lookup, Namespace, Neighbour, Observed, Route, RouteVia};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{AfSpecInet, AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

impl Kernel {
    /// The state of every namespace of the lab. What nothing was told of is as it was, and is not read again.
    pub fn observe(&mut self) -> Result<Observed> {
        self.observe_as(&Desired::default())
    }

    /// The same. What is as desired is shared with that, so that it is known to be the same without a look at it.
    pub fn observe_as(&mut self, desired: &Desired) -> Result<Observed> {
        let ready = self.watches.ready(self.namespaces.len())?;
        let mut observed = Observed::default();
        let mut wanted = desired.state.namespaces.iter().peekable();
        let mut all = Vec::with_capacity(self.namespaces.len());
        for (name, held) in &mut self.namespaces {
            let of_it = |e: Error| Error::new(e.kind(), format!("{name}: {e}"));
            let mut seen = observe(held, &mut self.watches, |token| ready.contains(&token)).map_err(of_it)?;
            while wanted.next_if(|(other, _)| *other < name).is_some() {}
            if let Some((_, want)) = wanted.next_if(|(other, _)| *other == name)
                && !Arc::ptr_eq(&seen, want)
                && seen == *want
            {
                seen = Arc::clone(want);
                held.seen = Some(Arc::clone(want));
            }
            all.push((name.clone(), seen));
            observed.rules.extend(known_rules(held).map_err(of_it)?.map(|rules| (name.clone(), rules)));
        }
        observed.state.namespaces = all.into_iter().collect();
        Ok(observed)
    }

    /// Looks at some of the namespaces that were not looked at yet, so that the next observation need not; whether there
    /// are more.
    pub fn look_ahead(&mut self, most: usize) -> bool {
        let mut new = self.namespaces.values_mut().filter(|held| held.seen.is_none());
        for held in new.by_ref().take(most) {
            if observe(held, &mut self.watches, |_| true).is_err() {
                // Who needs to know will be told.
                return false;
            }
        }
        new.next().is_some()
    }
}

/// The state of a namespace, but for the rules. `told` is whether the watch with a token has heard something.
fn observe(held: &mut Held, watches: &mut Watches, told: impl Fn(u64) -> bool) -> Result<Arc<Namespace>> {
    // Asked first: what changes while it is read is told of, and found the next time.
    let quiet = match &held.watch {
        Some(watch) => !told(watch.token) || watch.is_quiet(),
        None => {
            held.watch = Some(netns::with(&*held.fd, || watches.open())??);
            false
        }
    };
    let seen = match held.seen.take().filter(|_| quiet) {
        Some(seen) => seen,
        None => {
            let router = held.router;
            let seen = held.with_route(|route| read(route, router))?;
            // Endpoints are many, and seldom looked at: they would cost a descriptor each.
            if !router {
                held.route = None;
            }
            Arc::new(seen)
        }
    };
    held.seen = Some(Arc::clone(&seen));
    Ok(seen)
}

/// The state of a namespace, but for the rules.
fn read(route: &mut netlink::Route, router: bool) -> Result<Namespace> {
    let mut seen = Namespace { router, ..Namespace::default() };
    let mut names = BTreeMap::new();
    for message in route.dump(Message::GetLink(LinkMessage::default()))? {
        if let Message::NewLink(link) = message {
            let (name, seen_link, ipv6) = read_link(&link);
            names.insert(link.header.index, name.clone());
            seen.ipv6.extend((ipv6 && (router || name != "lo")).then(|| name.clone()));
            if name != "lo" {
                seen.links.insert(name, seen_link);
            }
        }
    }
    let name = |index: u32| names.get(&index).cloned().unwrap_or_default();
    // Without IPv6 on any link there is nothing of it to be read.
    let ipv6 = (!seen.ipv6.is_empty()).then_some(AddressFamily::Inet6);
    for family in [AddressFamily::Inet].into_iter().chain(ipv6) {
        let mut request = AddressMessage::default();
        request.header.family = family;
        for message in route.dump(Message::GetAddress(request))? {
            if let Message::NewAddress(address) = message {
                seen.addresses.extend(read_address(&address).map(|a| (name(address.header.index), a)));
            }
        }
        let mut request = NeighbourMessage::default();
        request.header.family = family;
        for message in route.dump(Message::GetNeighbour(request))? {
            if let Message::NewNeighbour(neighbour) = message {
                seen.neighbours.extend(read_neighbour(&neighbour, name(neighbour.header.ifindex)));
            }
        }
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for message in route.dump(Message::GetRoute(request))? {
            if let Message::NewRoute(route) = message {
                seen.routes.extend(read_route(&route, &name));
            }
        }
    }
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet;
    for message in route.dump(Message::GetRule(request))? {
        if let Message::NewRule(rule) = message {
            seen.lookups.extend(read_lookup(&rule));
        }
    }
    Ok(seen)
}

/// The rules, if nobody has changed them since they were loaded.
fn known_rules(held: &mut Held) -> Result<Option<Arc<Ruleset>>> {
    if held.rules.is_none() {
        return Ok(None);
    }
    let generation = held.with_nft(|nft| nft.generation())?;
    let known = held.rules.as_ref().filter(|known| known.generation == generation);
    Ok(known.map(|known| Arc::clone(&known.rules)))
}

/// A link's name, what of it is seen, and whether IPv6 is on it.
fn read_link(message: &LinkMessage) -> (String, Link, bool) {
    let mut ipv6 = false;
    let mut link = Link { mac: [0; 6], mtu: 0, group: 0, strict_source: false, peer: None };
    let mut name = String::new();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name.clone_from(value),
            LinkAttribute::Mtu(value) => link.mtu = *value,
            LinkAttribute::Group(value) => link.group = *value,
            LinkAttribute::IfAlias(value) => {
                link.peer = value.rsplit_once(' ').map(|(namespace, link)| (namespace.into(), link.into()));
            }
            LinkAttribute::Address(value) => link.mac = value.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::AfSpecUnspec(families) => {
                (link.strict_source, ipv6) = (strict_source(families), has_ipv6(families));
            }
            _ => {}
        }
    }
    (name, link, ipv6)
}

/// Whether IPv6 is on a link.
fn has_ipv6(families: &[AfSpecUnspec]) -> bool {
    let inet6 = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet6(settings) => Some(settings),
        _ => None,
    });
    inet6.flatten().any(|setting| matches!(setting, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 == 0))
}

/// Whether a link filters by reverse path.
fn strict_source(families: &[AfSpecUnspec]) -> bool {
    let inet = families.iter().filter_map(|family| match family {
        AfSpecUnspec::Inet(settings) => Some(settings),
        _ => None,
    });
    inet.flatten().any(|setting| matches!(setting, AfSpecInet::DevConf(conf) if conf.rp_filter == 1))
}

/// An interface's address; loopback's own does not count.
fn read_address(message: &AddressMessage) -> Option<IpAddr> {
    // Of IPv6 the kernel tells `Local` only where a link has two ends.
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        AddressAttribute::Address(address @ IpAddr::V6(_)) => Some(*address),
        _ => None,
    });
    address.filter(|address| !address.is_loopback())
}

/// A permanent neighbour.
fn read_neighbour(message: &NeighbourMessage, link: String) -> Option<Neighbour> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => {
                address = Some(IpAddr::from(*value));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => {
                address = Some(IpAddr::from(*value));
            }
            NeighbourAttribute::LinkLayerAddress(value) => mac = value.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour { link, address: address?, mac: mac? })
}

/// A lookup of ours; the kernel's own have no interface.
fn read_lookup(message: &RuleMessage) -> Option<Lookup> {
    let (mut link, mut table, mut priority) = (None, message.header.table.into(), 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Iifname(name) => link = Some(name.clone()),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            _ => {}
        }
    }
    link.filter(|_| priority == LOOKUP_PRIORITY).map(|link| Lookup { link, table })
}

/// A route of the main table or of one of our own, or one of the local table that the kernel did not make by itself.
fn read_route(message: &RouteMessage, name: &impl Fn(u32) -> String) -> Option<Route> {
    let header = &message.header;
    let added = header.table == RT_TABLE_LOCAL && header.protocol == RouteProtocol::Static;
    let number = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    let table = number.filter(|number| *number > u32::from(RT_TABLE_LOCAL));
    if header.table != RouteHeader::RT_TABLE_MAIN && !added && table.is_none() {
        return None;
    }
    let any = match header.address_family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let (mut destination, mut gateway, mut link): (IpAddr, _, _) = (any, None, None);
    let mut gateways = BTreeSet::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(value) => destination = read_ip(value)?,
            RouteAttribute::Gateway(value) => gateway = read_ip(value),
            RouteAttribute::Oif(index) => link = Some(name(*index)),
            RouteAttribute::MultiPath(hops) => {
                gateways.extend(hops.iter().filter_map(|hop| read_hop(hop, name)))
            }
            _ => {}
        }
    }
    let via = match (message.header.kind, link, gateway) {
        (RouteType::BlackHole, ..) => RouteVia::Blackhole,
        (RouteType::Throw, ..) => RouteVia::Throw,
        _ if !gateways.is_empty() => RouteVia::Gateways(gateways),
        (RouteType::Local, Some(link), _) => RouteVia::Local(link),
        (_, Some(link), Some(gateway)) => RouteVia::Gateway(link, gateway),
        (_, Some(link), None) => RouteVia::Link(link),
        (_, None, _) => return None,
    };
    let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { table, destination, via })
}

/// One of several next hops.
fn read_hop(hop: &RouteNextHop, name: &impl Fn(u32) -> String) -> Option<(String, IpAddr)> {
    hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => Some((name(hop.interface_index), read_ip(gateway)?)),
        _ => None,
    })
}

/// An address of a route.
fn read_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
