//! What happens to a flow, step by step, in the words of Google's Connectivity Tests.
//!
//! The order of checks: the source address, the egress gate, the route, and then in the destination's network the
//! ingress gate. The first that fails ends the trace with Google's cause (networkmanagement v1, `DropInfo.cause`). What an
//! interface's owner sends to itself meets none of them: they are outside of it.

use crate::fabric::{Fabric, Nat, Network, Nic, Owner, internet};
use crate::firewall::{Packet, Rule, decide};
use crate::forwarding;
use crate::route::{Gone, Kind, Route, Via, candidates};
use crate::{Flow, INTERNET_CLIENT, METADATA_SERVER};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use tombolo_model::{Action, NetworkKey, Protocol, ipv6, range};

/// The TCP port of mail servers: nothing goes there at an external address.
pub const SMTP: u16 = 25;

/// The UDP port of DHCP clients: no interface is sent anything there but by Google's own server.
pub const DHCP_CLIENT: u16 = 68;

/// The same of DHCPv6 clients.
pub const DHCP_V6_CLIENT: u16 = 546;

/// Google's names of a trace's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(
    missing_docs,
    reason = "the names are Google's; their documentation is networkmanagement v1, Step.state"
)]
pub enum State {
    StartFromInstance,
    StartFromRedisInstance,
    StartFromPrivateNetwork,
    StartFromInternet,
    ApplyEgressFirewallRule,
    ApplyRoute,
    ApplyForwardingRule,
    ApplyIngressFirewallRule,
    ArriveAtInstance,
    Nat,
    Deliver,
    Forward,
    Drop,
}

/// Why a packet is dropped: Google's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Cause {
    /// The source address is not the interface's own and it may not forward; or a route leads to one that may not.
    ForeignIpDisallowed,
    /// Google Cloud carries no such traffic, whatever the rules and routes: to a multicast address, the limited
    /// broadcast address, loopback or network 0; mail (tcp:25) to an external address; what DHCP servers send
    /// (udp:68; udp:546 of IPv6). Source: Google's documentation of VPC networks, "Broadcast and multicast", and of VPC firewall
    /// rules, "Blocked and limited traffic".
    TrafficTypeBlocked,
    /// A firewall rule denies it.
    FirewallRule,
    /// No route has the destination, or the peer has no route back to the source.
    NoRoute,
    /// The route's next hop is gone.
    RouteBlackhole,
    /// Nothing in the route's network has the address that is its next hop.
    RouteNextHopIpAddressNotResolved,
    /// The address that is the route's next hop is an instance's, and no interface's own one.
    RouteNextHopInstanceNonPrimaryIp,
    /// The instance that is the route's next hop does not exist.
    RouteNextHopResourceNotFound,
    /// The instance that is the route's next hop has no interface in its network.
    RouteNextHopInstanceWrongNetwork,
    /// A private destination that only the route to the internet has.
    PrivateTrafficToInternet,
    /// The route leads to the internet, and the interface has no external address there and no gateway of Cloud NAT.
    NoExternalAddress,
    /// The destination is in a subnetwork's range but no interface has it.
    UnknownInternalAddress,
    /// Nothing in the lab's internet has the destination address.
    UnknownExternalAddress,
    /// The forwarding rule takes other protocols or ports.
    ForwardingRuleMismatch,
    /// The forwarding rule leads to an instance that does not exist.
    ForwardingRuleNoInstances,
    /// The forwarding rule is not for clients of other regions.
    ForwardingRuleRegionMismatch,
    /// The sender, or what the address, the forwarding rule or the route leads to, is an instance that does not run.
    InstanceNotRunning,
    /// The published service does not take the endpoint of Private Service Connect.
    PscConnectionNotAccepted,
    /// An endpoint of Private Service Connect is there for its own network only.
    PscEndpointAccessedFromPeeredNetwork,
    /// A Redis instance listens on another port.
    RedisInstanceUnsupportedPort,
    /// A Redis instance is reached by TCP only.
    RedisInstanceUnsupportedProtocol,
    /// The managed service does not take connections from there.
    DroppedInsideGoogleManagedService,
    /// The flow starts at an interface that does not exist.
    SourceEndpointNotFound,
}

impl Cause {
    /// Google's spelling: `PRIVATE_TRAFFIC_TO_INTERNET`.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::ForeignIpDisallowed => "FOREIGN_IP_DISALLOWED",
            Cause::TrafficTypeBlocked => "TRAFFIC_TYPE_BLOCKED",
            Cause::FirewallRule => "FIREWALL_RULE",
            Cause::NoRoute => "NO_ROUTE",
            Cause::RouteBlackhole => "ROUTE_BLACKHOLE",
            Cause::RouteNextHopIpAddressNotResolved => "ROUTE_NEXT_HOP_IP_ADDRESS_NOT_RESOLVED",
            Cause::RouteNextHopInstanceNonPrimaryIp => "ROUTE_NEXT_HOP_INSTANCE_NON_PRIMARY_IP",
            Cause::RouteNextHopResourceNotFound => "ROUTE_NEXT_HOP_RESOURCE_NOT_FOUND",
            Cause::RouteNextHopInstanceWrongNetwork => "ROUTE_NEXT_HOP_INSTANCE_WRONG_NETWORK",
            Cause::PrivateTrafficToInternet => "PRIVATE_TRAFFIC_TO_INTERNET",
            Cause::NoExternalAddress => "NO_EXTERNAL_ADDRESS",
            Cause::UnknownInternalAddress => "UNKNOWN_INTERNAL_ADDRESS",
            Cause::UnknownExternalAddress => "UNKNOWN_EXTERNAL_ADDRESS",
            Cause::ForwardingRuleMismatch => "FORWARDING_RULE_MISMATCH",
            Cause::ForwardingRuleNoInstances => "FORWARDING_RULE_NO_INSTANCES",
            Cause::ForwardingRuleRegionMismatch => "FORWARDING_RULE_REGION_MISMATCH",
            Cause::InstanceNotRunning => "INSTANCE_NOT_RUNNING",
            Cause::PscConnectionNotAccepted => "PSC_CONNECTION_NOT_ACCEPTED",
            Cause::PscEndpointAccessedFromPeeredNetwork => "PSC_ENDPOINT_ACCESSED_FROM_PEERED_NETWORK",
            Cause::RedisInstanceUnsupportedPort => "REDIS_INSTANCE_UNSUPPORTED_PORT",
            Cause::RedisInstanceUnsupportedProtocol => "REDIS_INSTANCE_UNSUPPORTED_PROTOCOL",
            Cause::DroppedInsideGoogleManagedService => "DROPPED_INSIDE_GOOGLE_MANAGED_SERVICE",
            Cause::SourceEndpointNotFound => "SOURCE_ENDPOINT_NOT_FOUND",
        }
    }
}

/// How a trace ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet arrives at this interface, which has the destination address.
    Delivered {
        /// The network that the interface is in.
        network: NetworkKey,
        /// Its address.
        nic: Ipv4Addr,
    },
    /// The packet arrives at an instance that is to forward it; what that does, the trace cannot know.
    Forwarded {
        /// The network that the interface is in.
        network: NetworkKey,
        /// Its address.
        nic: Ipv4Addr,
    },
    /// The sender has the destination address itself: its kernel delivers the packet, and no network sees it.
    Local,
    /// Google's own server at 169.254.169.254 gets it.
    MetadataServer,
    /// The packet leaves the lab's internet for the host's network; what that does with it, the trace cannot know.
    Host,
    /// The packet is dropped, silently.
    Dropped(Cause),
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Google's name of it.
    pub state: State,
    /// Where it drops the packet, the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The network that it happens in.
    pub network: NetworkKey,
    /// What acts: an interface, a rule, a route.
    pub what: String,
    /// More about it, for people.
    pub detail: String,
    /// At a gate, the rule that decides: [`Rule::id`].
    #[serde(skip)]
    pub rule: Option<String>,
}

/// A flow's way through the Fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The flow.
    pub flow: Flow,
    /// Its steps; the last is where it ends.
    pub steps: Vec<Step>,
    /// How it ends.
    pub verdict: Verdict,
    /// The other ways that it may go: by the other next hops of its destination, one of which its connection is given
    /// by a hash. These have no others themselves.
    pub others: Vec<Trace>,
}

impl Trace {
    /// All ways that the flow may go: this one first.
    pub fn ways(&self) -> impl Iterator<Item = &Trace> {
        std::iter::once(self).chain(&self.others)
    }

    /// Whether the packet gets, by whatever way, to an interface that has its destination address, to Google's server or
    /// to the host's network.
    pub fn reachable(&self) -> bool {
        let there = |way: &Trace| {
            matches!(
                way.verdict,
                Verdict::Delivered { .. } | Verdict::Local | Verdict::MetadataServer | Verdict::Host
            )
        };
        self.ways().all(there)
    }

    /// Whether it is dropped on one way and not on another.
    pub fn ambiguous(&self) -> bool {
        let dropped = |way: &Trace| way.cause().is_some();
        self.ways().any(dropped) && !self.ways().all(dropped)
    }

    /// Why it is dropped, if it is.
    pub fn cause(&self) -> Option<Cause> {
        match self.verdict {
            Verdict::Dropped(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Follows a flow's first packet through the Fabric, on every way that it may go.
pub fn trace(fabric: &Fabric, flow: &Flow) -> Trace {
    let one = |pick| {
        let mut way = Way { pick, of: 1, steps: Vec::new() };
        let verdict = walk(fabric, flow, &mut way);
        (Trace { flow: flow.clone(), steps: way.steps, verdict, others: Vec::new() }, way.of)
    };
    let (mut first, ways) = one(0);
    first.others = (1..ways).map(|pick| one(pick).0).collect();
    first
}

/// The way that is being followed.
pub(crate) struct Way {
    /// Which of equal next hops is taken. Such are met once at most: beyond the first the trace does not see.
    pick: usize,
    /// How many there were to pick from.
    of: usize,
    /// The steps so far.
    steps: Vec<Step>,
}

impl Way {
    /// The route that is taken.
    fn pick<'r>(&mut self, routes: &[&'r Route]) -> Option<&'r Route> {
        self.of = self.of.max(routes.len());
        routes.get(self.pick).or(routes.first()).copied()
    }

    /// What a step says of its next hop.
    fn next_hop(&self, address: Ipv4Addr) -> String {
        match self.of {
            1 => format!("next hop {address}"),
            of => format!("next hop {address}, {} of {of}", self.pick + 1),
        }
    }
}

/// Collects steps until the packet arrives or is dropped.
fn walk(fabric: &Fabric, flow: &Flow, way: &mut Way) -> Verdict {
    let start = fabric.networks.get(&flow.network).and_then(|n| Some((n, n.nics.get(&flow.nic)?)));
    let Some((network, nic)) = start else {
        let stopped = fabric.networks.get(&flow.network).and_then(|network| network.stopped.get(&flow.nic));
        let (cause, what) = match stopped {
            Some(name) => (Cause::InstanceNotRunning, format!("{name} is stopped")),
            None => (Cause::SourceEndpointNotFound, "no such interface".to_owned()),
        };
        return drop(way, flow, cause, what, String::new());
    };
    push(
        way,
        start_state(&nic.owner),
        &flow.network,
        format!("{} nic{}", nic.owner.name(), nic.index),
        place(flow, nic),
    );
    let alike = flow.source.is_ipv4() == flow.destination.is_ipv4();
    let own = fabric.nics_of(&nic.owner).into_iter().find(|(_, own)| own.is_guests(flow.destination));
    if let Some((network, own)) = own.filter(|_| alike) {
        let what = format!("{} nic{}", own.owner.name(), own.index);
        push(way, State::Deliver, network, what, "its own address: nothing leaves it".into());
        return Verdict::Local;
    }
    if !alike || !nic.has(flow.source) && !nic.can_ip_forward {
        let what = format!("source {} is not {}'s own", flow.source, nic.owner.name());
        return drop(way, flow, Cause::ForeignIpDisallowed, what, "canIpForward is false".into());
    }
    if flow.destination == METADATA_SERVER {
        push(way, State::Deliver, &flow.network, "metadata server".into(), "always allowed".into());
        return Verdict::MetadataServer;
    }
    if is_blocked(flow.destination) {
        let what = format!("nothing is sent to {}", flow.destination);
        return drop(way, flow, Cause::TrafficTypeBlocked, what, "no unicast address".into());
    }
    if let Some(verdict) = egress(network, nic, flow, way) {
        return verdict;
    }
    if nic.owner == Owner::Internet {
        return outside(fabric, flow, flow.source, way);
    }
    match way.pick(&candidates(&network.routes, flow.destination, Some(flow.nic))) {
        None => {
            let what = format!("no route to {} in {}", flow.destination, flow.network.name);
            drop(way, flow, Cause::NoRoute, what, String::new())
        }
        Some(route) => follow(fabric, network, route, flow, way),
    }
}

/// Whether no packet ever goes to an address, whoever has a route to it.
fn is_blocked(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_multicast()
                || address.is_broadcast()
                || address.is_loopback()
                || address.octets()[0] == 0
        }
        // Link-local addresses are of no use beyond the link, and the link ends in Google's router.
        IpAddr::V6(address) => {
            address.is_multicast()
                || address.is_unicast_link_local()
                || address.is_loopback()
                || address.is_unspecified()
        }
    }
}

/// Where a flow starts, for people: `vpc-1/subnet-1`.
fn place(flow: &Flow, nic: &Nic) -> String {
    format!("{}/{}", flow.network.name, nic.subnetwork)
}

/// Google's state for a start at such an owner.
fn start_state(owner: &Owner) -> State {
    match owner {
        Owner::Instance(_) => State::StartFromInstance,
        Owner::Redis(_) => State::StartFromRedisInstance,
        Owner::Iap(_) => State::StartFromPrivateNetwork,
        Owner::Internet => State::StartFromInternet,
    }
}

/// The sender's gate. Google's own proxy has none.
fn egress(network: &Network, nic: &Nic, flow: &Flow, way: &mut Way) -> Option<Verdict> {
    if nic.owner.is_iap() || nic.owner == Owner::Internet {
        return None;
    }
    let (far, near) = (flow.destination, flow.source);
    let packet = Packet { far, near, protocol: flow.protocol, port: flow.port };
    let rule = decide(&network.egress, nic.address, &packet);
    gate(
        State::ApplyEgressFirewallRule,
        &flow.network,
        (rule, nic.address, &packet),
        Cause::FirewallRule,
        way,
    )
}

/// Takes a route.
fn follow(fabric: &Fabric, network: &Network, route: &Route, flow: &Flow, way: &mut Way) -> Verdict {
    let routed = format!("{} {}", route.destination, route.name);
    match &route.via {
        Via::Internet => {
            // In the host's network there are such addresses, though not in the internet.
            let private = is_private(flow.destination) && !fabric.host_has(flow.destination);
            if !private && Protocol::Number(flow.protocol) == Protocol::TCP && flow.port == SMTP {
                let what = format!("no mail (tcp:25) is sent to {}", flow.destination);
                return drop(way, flow, Cause::TrafficTypeBlocked, what, "an external address".into());
            }
            let nic = network.nics.get(&flow.nic);
            if let Some(external) = nic.and_then(|nic| nic.outside(flow.source)).filter(|_| !private) {
                let gateway = nic.and_then(|nic| nic.nat.as_ref()).filter(|nat| nat.serves(flow.source));
                if gateway.is_some() && !Nat::PROTOCOLS.contains(&flow.protocol) {
                    let what = "Cloud NAT translates tcp, udp and icmp only".to_owned();
                    return drop(way, flow, Cause::NoExternalAddress, what, String::new());
                }
                push(way, State::ApplyRoute, &flow.network, routed, "next hop internet gateway".into());
                if is_dhcp(flow) {
                    return no_dhcp(way, flow);
                }
                let by = gateway.map_or_else(String::new, |nat| format!(", by Cloud NAT {}", nat.name));
                let detail = format!("for {}{by}", flow.source);
                push(way, State::Nat, &flow.network, external.to_string(), detail);
                return outside(fabric, flow, external.into(), way);
            }
            let cause = if private { Cause::PrivateTrafficToInternet } else { Cause::NoExternalAddress };
            let only = "but the default route";
            let what = format!("no route to {} in {} {only}", flow.destination, flow.network.name);
            drop(way, flow, cause, what, String::new())
        }
        Via::Blackhole(why) => gone(way, &flow.network, route, Some(why)),
        // The way back to Google's proxy is no route of the network's: it beats a static one, and takes only replies.
        Via::Nic(_) | Via::Peer(_) if is_iap(network, flow.destination) => {
            let what = format!("only replies go to {}, Identity-Aware Proxy", flow.destination);
            drop(way, flow, Cause::NoExternalAddress, what, String::new())
        }
        Via::Nic(address) => {
            let hop = way.next_hop(*address);
            push(way, State::ApplyRoute, &flow.network, routed, hop);
            match network.nics.get(address) {
                Some(nic) => arrive(&flow.network, network, nic, flow, way, true),
                None => gone(way, &flow.network, route, None),
            }
        }
        Via::Subnetwork => {
            push(way, State::ApplyRoute, &flow.network, routed, "subnet route".into());
            land(fabric, &flow.network, network, flow, way)
        }
        Via::Peer(peer) => {
            let custom = if route.kind == Kind::PeeringStatic { ", its static route" } else { "" };
            push(way, State::ApplyRoute, &flow.network, routed, format!("peering to {}{custom}", peer.name));
            cross(fabric, peer, flow, way)
        }
    }
}

/// What becomes in the internet of a packet that has this source there.
fn outside(fabric: &Fabric, flow: &Flow, source: IpAddr, way: &mut Way) -> Verdict {
    let key = internet();
    if flow.destination == INTERNET_CLIENT && fabric.networks.contains_key(&key) {
        push(way, State::Deliver, &key, "internet".into(), format!("from {source}"));
        return Verdict::Delivered { network: key, nic: INTERNET_CLIENT };
    }
    let host = fabric.host.as_ref().filter(|host| host.has(flow.destination));
    if let Some(host) = host.filter(|_| fabric.networks.contains_key(&key)) {
        if is_dhcp(flow) {
            return no_dhcp(way, flow);
        }
        if let Some(why) = host.refuses(flow.protocol) {
            return drop(way, flow, Cause::UnknownExternalAddress, why.to_owned(), String::new());
        }
        push(way, State::Deliver, &key, "internet".into(), format!("the host's network, from {source}"));
        return Verdict::Host;
    }
    let Some((key, network, nic)) = fabric.with_external(flow.destination) else {
        let nics = || fabric.networks.values().flat_map(|network| network.nics.values());
        let nat = nics().filter_map(|nic| nic.nat.as_ref()).find(|nat| nat.address == flow.destination);
        let what = match nat {
            Some(nat) => format!("only answers come in by {}, Cloud NAT {}", nat.address, nat.name),
            None => format!("nothing in the lab's internet has {}", flow.destination),
        };
        return drop(way, flow, Cause::UnknownExternalAddress, what, String::new());
    };
    push(way, State::Nat, key, flow.destination.to_string(), format!("to {}", nic.address));
    let inside = Flow { source, destination: nic.address.into(), ..flow.clone() };
    arrive(key, network, nic, &inside, way, false)
}

/// Whether it is what DHCP servers send.
fn is_dhcp(flow: &Flow) -> bool {
    let port = if flow.destination.is_ipv4() { DHCP_CLIENT } else { DHCP_V6_CLIENT };
    Protocol::Number(flow.protocol) == Protocol::UDP && flow.port == port
}

/// Which nobody but Google's own may.
fn no_dhcp(way: &mut Way, flow: &Flow) -> Verdict {
    let what = format!("DHCP's offers (udp:{}) come from Google's server alone", flow.port);
    drop(way, flow, Cause::TrafficTypeBlocked, what, String::new())
}

/// Whether the network's client of Identity-Aware Proxy has the address.
fn is_iap(network: &Network, address: IpAddr) -> bool {
    network.nic_with(address).is_some_and(|nic| nic.owner.is_iap())
}

/// Whether the internet never has the address.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => range::is_private(address),
        IpAddr::V6(address) => ipv6::ULA.contains(&address),
    }
}

/// Enters a peer network. It takes only what it has a route back to, and passes nothing on to its own peers.
fn cross(fabric: &Fabric, peer: &NetworkKey, flow: &Flow, way: &mut Way) -> Verdict {
    let Some(network) = fabric.networks.get(peer) else {
        return drop(way, flow, Cause::RouteBlackhole, peer.to_string(), "the peer network is gone".into());
    };
    let back = candidates(&network.routes, flow.source, None);
    // The network's own client of Identity-Aware Proxy has that address, whatever its routes say.
    if back.iter().all(|route| route.via != Via::Peer(flow.network.clone())) || is_iap(network, flow.source) {
        let what = format!("{} has no route back to {}", peer.name, flow.source);
        return drop(way, flow, Cause::NoRoute, what, String::new());
    }
    let route = way.pick(&candidates(&network.routes, flow.destination, None));
    match route.map(|route| (route, &route.via)) {
        Some((_, Via::Subnetwork)) => land(fabric, peer, network, flow, way),
        Some((route, Via::Nic(address))) => {
            let routed = format!("{} {}", route.destination, route.name);
            let hop = way.next_hop(*address);
            push(way, State::ApplyRoute, peer, routed, hop);
            match network.nics.get(address) {
                Some(nic) => arrive(peer, network, nic, flow, way, true),
                None => gone(way, peer, route, None),
            }
        }
        Some((route, Via::Blackhole(why))) => gone(way, peer, route, Some(why)),
        // To another peer, or to the internet: not for packets that came by a peering.
        Some((_, Via::Peer(_) | Via::Internet)) | None => {
            let what = format!("{} has no route of its own to {}", peer.name, flow.destination);
            drop(way, flow, Cause::NoRoute, what, "peering is not transitive".into())
        }
    }
}

/// The next hop of a route takes nothing.
fn gone(way: &mut Way, network: &NetworkKey, route: &Route, why: Option<&Gone>) -> Verdict {
    let cause = match why {
        None => Cause::RouteBlackhole,
        Some(Gone::NoSuchAddress(_)) => Cause::RouteNextHopIpAddressNotResolved,
        Some(Gone::NotPrimary(..)) => Cause::RouteNextHopInstanceNonPrimaryIp,
        Some(Gone::NoSuchInstance(_)) => Cause::RouteNextHopResourceNotFound,
        Some(Gone::OtherNetwork(_)) => Cause::RouteNextHopInstanceWrongNetwork,
        Some(Gone::Stopped(_)) => Cause::InstanceNotRunning,
        Some(Gone::CannotForward(_)) => Cause::ForeignIpDisallowed,
    };
    let what = format!("{} {}", route.destination, route.name);
    let detail = why.map_or_else(|| "its next hop is gone".to_owned(), Gone::to_string);
    // Whatever the cause is of, it is the route that leads nowhere.
    let (state, network) = (State::ApplyRoute, network.clone());
    way.steps.push(Step { state, cause: Some(cause), network, what, detail, rule: None });
    Verdict::Dropped(cause)
}

/// Finds the interface that has the destination, in a network whose subnetwork has it.
fn land(fabric: &Fabric, key: &NetworkKey, network: &Network, flow: &Flow, way: &mut Way) -> Verdict {
    if let Some(rule) = network.forwarding_at(flow.destination) {
        return forwarding::take(fabric, (key, network), rule, flow, way);
    }
    match network.nic_with(flow.destination).filter(|nic| !nic.owner.is_iap()) {
        Some(nic) => arrive(key, network, nic, flow, way, false),
        None => {
            let stopped = match flow.destination {
                IpAddr::V4(address) => network.stopped.get(&address),
                IpAddr::V6(_) => None,
            };
            let (cause, what) = match stopped {
                Some(name) => (Cause::InstanceNotRunning, format!("{name} is stopped")),
                None => {
                    let what = format!("nothing in {} has {}", key.name, flow.destination);
                    (Cause::UnknownInternalAddress, what)
                }
            };
            drop(way, flow, cause, what, String::new())
        }
    }
}

/// The receiver's gate, and what is behind it.
pub(crate) fn arrive(
    key: &NetworkKey,
    network: &Network,
    nic: &Nic,
    flow: &Flow,
    way: &mut Way,
    forwards: bool,
) -> Verdict {
    if is_dhcp(flow) {
        return no_dhcp(way, flow);
    }
    let (far, near) = (flow.source, flow.destination);
    let packet = Packet { far, near, protocol: flow.protocol, port: flow.port };
    let rule = decide(&network.ingress, nic.address, &packet);
    let cause = ingress_cause(nic, network, flow);
    if let Some(verdict) =
        gate(State::ApplyIngressFirewallRule, key, (rule, nic.address, &packet), cause, way)
    {
        return verdict;
    }
    let (what, at) =
        (format!("{} nic{}", nic.owner.name(), nic.index), format!("{}/{}", key.name, nic.subnetwork));
    if forwards {
        push(way, State::Forward, key, what, format!("{at}, which is to forward it"));
        return Verdict::Forwarded { network: key.clone(), nic: nic.address };
    }
    if matches!(nic.owner, Owner::Instance(_)) {
        push(way, State::ArriveAtInstance, key, what.clone(), at.clone());
    }
    push(way, State::Deliver, key, what, at);
    Verdict::Delivered { network: key.clone(), nic: nic.address }
}

/// Why a receiver's gate would be closed: a managed service has causes of its own.
fn ingress_cause(nic: &Nic, network: &Network, flow: &Flow) -> Cause {
    match &nic.owner {
        Owner::Instance(_) | Owner::Iap(_) | Owner::Internet => Cause::FirewallRule,
        Owner::Redis(_) if Protocol::Number(flow.protocol) != Protocol::TCP => {
            Cause::RedisInstanceUnsupportedProtocol
        }
        Owner::Redis(_) if network.services.get(&nic.address) != Some(&flow.port) => {
            Cause::RedisInstanceUnsupportedPort
        }
        Owner::Redis(_) => Cause::DroppedInsideGoogleManagedService,
    }
}

/// Passes a gate, or says how the trace ends there.
fn gate(
    state: State,
    key: &NetworkKey,
    (rule, nic, packet): (Option<&Rule>, Ipv4Addr, &Packet),
    cause: Cause,
    way: &mut Way,
) -> Option<Verdict> {
    let allow = rule.is_some_and(|r| r.action == Action::Allow);
    let what = rule.map_or_else(String::new, |r| r.name.clone());
    let detail = rule.map_or_else(String::new, |rule| describe(rule, nic, packet));
    let cause = (!allow).then_some(cause);
    way.steps.push(Step { state, cause, network: key.clone(), what, detail, rule: rule.map(Rule::id) });
    cause.map(Verdict::Dropped)
}

/// `allow tcp:22, priority 1000, source tag project-1/role/web`.
fn describe(rule: &Rule, nic: Ipv4Addr, packet: &Packet) -> String {
    if rule.implied {
        return format!("implied, priority {}", rule.priority);
    }
    let action = if rule.action == Action::Allow { "allow" } else { "deny" };
    let matches: Vec<_> = rule.matches.iter().map(ToString::to_string).collect();
    let sources = rule.tags.sources.iter();
    let sources = sources.filter(|(_, far)| far.iter().any(|range| range.contains(&packet.far)));
    let sources = sources.map(|(name, _)| format!(", source tag {name}"));
    let targets = rule.tags.targets.iter().filter(|(_, nics)| nics.contains(&nic));
    let targets = targets.map(|(name, _)| format!(", target tag {name}"));
    let tags: String = sources.chain(targets).collect();
    format!("{action} {}, priority {}{tags}", matches.join(" "), rule.priority)
}

/// Adds a step that the packet passes.
pub(crate) fn push(way: &mut Way, state: State, network: &NetworkKey, what: String, detail: String) {
    way.steps.push(Step { state, cause: None, network: network.clone(), what, detail, rule: None });
}

/// Adds the step that the packet does not pass.
fn drop(way: &mut Way, flow: &Flow, cause: Cause, what: String, detail: String) -> Verdict {
    let network = way.steps.last().map_or_else(|| flow.network.clone(), |s| s.network.clone());
    drop_in(way, &network, cause, what, detail)
}

/// The same, where the packet is in a network already that has no step yet.
pub(crate) fn drop_in(
    way: &mut Way,
    network: &NetworkKey,
    cause: Cause,
    what: String,
    detail: String,
) -> Verdict {
    let state = match cause {
        Cause::NoRoute
        | Cause::RouteBlackhole
        | Cause::PrivateTrafficToInternet
        | Cause::NoExternalAddress => State::ApplyRoute,
        _ => State::Drop,
    };
    let network = network.clone();
    way.steps.push(Step { state, cause: Some(cause), network, what, detail, rule: None });
    Verdict::Dropped(cause)
}
